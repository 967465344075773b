//! The secrets a pool shares: each with a key id, the first one signs, all of them verify.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::report::{Code, Problem, Report, Source};
use crate::limits;

/// Bytes of one secret.
pub(super) const SECRET_BYTES: usize = 32;
/// Secrets of one file: one in use, and those that are being rolled out or in.
const SECRETS_MAX: usize = 8;

/// Characters of a secret of time-limited credentials: fewer are guessed from one credential.
const AV_SECRET_BYTES_MIN: usize = 16;

/// One secret of a pool.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Told in every token, so that the verifier knows which secret to use.
    pub id: u8,
    /// The secret.
    pub key: [u8; SECRET_BYTES],
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.id)
    }
}

/// The secrets of a pool, at least one; the first one signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets(pub Vec<Secret>);

impl Secrets {
    /// Reads a file of `[[secret]]` sections with `id` (0 to 255) and `key` (64 hex digits).
    ///
    /// # Errors
    /// [`Report`], whose text shows no key.
    pub fn load(path: &Path) -> Result<Self, Report> {
        let text = std::fs::read_to_string(path).map_err(|why| Report::unreadable(path, &why))?;
        parse(path, &text)
    }
}

/// Secrets that issuers of time-limited credentials of the A/V Edge share with it, the newest
/// first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AvSecrets(pub Vec<Vec<u8>>);

impl fmt::Debug for AvSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AvSecrets({})", self.0.len())
    }
}

impl AvSecrets {
    /// Reads a file with one secret on each line; empty lines and those that begin with `#` are
    /// none.
    ///
    /// # Errors
    /// [`Report`], whose text shows no secret.
    pub fn load(path: &Path) -> Result<Self, Report> {
        let text = std::fs::read_to_string(path).map_err(|why| Report::unreadable(path, &why))?;
        Self::parse(&text).map_err(|what| {
            let source =
                Source { path: path.to_owned(), text: String::new(), places: BTreeMap::new() };
            let message = format!("{}: {what}", path.display());
            let help = "one secret on each line, as the issuers have it, the newest first";
            let problem = Problem::new(Code::Malformed, None, message, "").help(help);
            Report::new(source, vec![problem])
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // Editors of other systems put a mark before the text: it would become part of a secret.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().map(str::trim).zip(1..);
        let secrets = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let secrets: Vec<(&str, usize)> = secrets.collect();
        let most = limits::TURN_SECRETS_MAX;
        if secrets.is_empty() {
            return Err(format!("there is no secret, expected 1 to {most}"));
        }
        if secrets.len() > most {
            return Err(format!("there are {} secrets, expected 1 to {most}", secrets.len()));
        }
        if let Some((_, line)) = secrets.iter().find(|(it, _)| it.len() < AV_SECRET_BYTES_MIN) {
            let least = AV_SECRET_BYTES_MIN;
            return Err(format!("the secret in line {line} has less than {least} characters"));
        }
        Ok(Self(secrets.into_iter().map(|(secret, _)| secret.as_bytes().to_vec()).collect()))
    }
}

/// Reads the text of a secrets file. Messages name the secret by its number and show no line of
/// the file.
fn parse(path: &Path, text: &str) -> Result<Secrets, Report> {
    let source = Source { path: path.to_owned(), text: String::new(), places: BTreeMap::new() };
    let refuse = |message: String| {
        let help = "each secret is: [[secret]], id = 1, key = \"64 hex digits\"";
        let problem = Problem::new(Code::Malformed, None, message, "").help(help);
        Report::new(source.clone(), vec![problem])
    };
    let document = DeTable::parse(text)
        .map_err(|error| refuse(format!("{}: not TOML: {}", path.display(), error.message())))?;
    let mut secrets: Vec<Secret> = Vec::new();
    for (name, value) in document.get_ref() {
        if name.get_ref() != "secret" {
            return Err(refuse(format!(
                "{}: there is no section `{}`",
                path.display(),
                name.get_ref()
            )));
        }
        let items = value.get_ref().as_array().into_iter().flat_map(|items| items.iter());
        for (index, item) in items.enumerate() {
            let secret = read_secret(item.get_ref()).map_err(|what| {
                refuse(format!("{}: secret {}: {what}", path.display(), index + 1))
            })?;
            if secrets.iter().any(|known| known.id == secret.id) {
                let id = secret.id;
                return Err(refuse(format!("{}: id {id} is given twice", path.display())));
            }
            secrets.push(secret);
        }
    }
    if secrets.is_empty() || secrets.len() > SECRETS_MAX {
        return Err(refuse(format!("{}: expected 1 to {SECRETS_MAX} secrets", path.display())));
    }
    Ok(Secrets(secrets))
}

fn read_secret(value: &DeValue<'_>) -> Result<Secret, &'static str> {
    let table = value.as_table().ok_or("not a section")?;
    let mut id = None;
    let mut key = None;
    for (name, value) in table {
        match name.get_ref().as_ref() {
            "id" => {
                let written = value.get_ref().as_integer().ok_or("id must be an integer")?;
                let parsed = u8::from_str_radix(written.as_str(), written.radix());
                id = Some(parsed.map_err(|_| "id must be 0 to 255")?);
            }
            "key" => {
                let written = value.get_ref().as_str().ok_or("key must be a string")?;
                key = Some(unhex(written).ok_or("key must be 64 hex digits")?);
            }
            _ => return Err("only id and key are known"),
        }
    }
    Ok(Secret { id: id.ok_or("id is missing")?, key: key.ok_or("key is missing")? })
}

fn unhex(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * SECRET_BYTES {
        return None;
    }
    let mut bytes = [0_u8; SECRET_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn read(text: &str) -> Result<Secrets, Report> {
        parse(Path::new("secrets.toml"), text)
    }

    #[test]
    fn the_first_secret_is_the_one_that_signs() {
        let text =
            format!("[[secret]]\nid = 7\nkey = \"{KEY}\"\n[[secret]]\nid = 6\nkey = \"{KEY}\"");
        let secrets = read(&text).unwrap();
        assert_eq!(secrets.0[0].id, 7);
        assert_eq!(secrets.0[0].key[31], 0xff);
        assert_eq!(secrets.0.len(), 2);
    }

    #[test]
    fn a_refusal_shows_no_key() {
        let text = format!("[[secret]]\nid = 7\nkey = \"{}\"", &KEY[2..]);
        let report = read(&text).unwrap_err().to_string();
        assert!(report.contains("secret 1: key must be 64 hex digits"), "{report}");
        assert!(!report.contains(&KEY[2..10]), "{report}");
        assert_eq!(format!("{:?}", Secret { id: 1, key: [7; SECRET_BYTES] }), "Secret(1)");
    }

    #[test]
    fn secrets_of_credentials_are_lines() {
        let read =
            AvSecrets::parse("# rolled in May\nnew-new-new-new-new\n\n  old-old-old-old-old \n");
        let read = read.unwrap();
        assert_eq!(read.0, [b"new-new-new-new-new".to_vec(), b"old-old-old-old-old".to_vec()]);
        assert_eq!(format!("{read:?}"), "AvSecrets(2)");
        let refused = |text: &str| AvSecrets::parse(text).unwrap_err();
        assert_eq!(refused("# nothing"), "there is no secret, expected 1 to 3");
        let four = "a-long-secret-of-ours\n".repeat(4);
        assert_eq!(refused(&four), "there are 4 secrets, expected 1 to 3");
        let short = "# rolled\n\na-long-secret-of-ours\nshort\n";
        assert_eq!(refused(short), "the secret in line 4 has less than 16 characters");
    }

    #[test]
    fn what_editors_leave_around_lines_is_no_part_of_a_secret() {
        let read = AvSecrets::parse("\u{feff}new-new-new-new-new\r\nold-old-old-old-old\r\n");
        let secrets = [b"new-new-new-new-new".to_vec(), b"old-old-old-old-old".to_vec()];
        assert_eq!(read.unwrap().0, secrets);
    }

    #[test]
    fn an_id_stands_for_one_secret() {
        let one = format!("[[secret]]\nid = 7\nkey = \"{KEY}\"\n");
        let report = read(&format!("{one}{one}")).unwrap_err().to_string();
        assert!(report.contains("id 7 is given twice"), "{report}");
        assert!(read("").is_err());
    }
}
