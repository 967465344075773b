//! Bodies of several parts (RFC 2046 section 5.1).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::content::ContentType;
use crate::limits;

/// One part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    head: &'a [u8],
    /// Its content as it stands.
    pub content: &'a [u8],
}

impl<'a> Part<'a> {
    /// Cuts a head with its empty line from what follows. `None`: there is no empty line.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        // A part without a head begins with the empty line.
        if let Some(content) = bytes.strip_prefix(b"\r\n") {
            return Some(Self { head: &[], content });
        }
        let (end, len) = [&b"\r\n\r\n"[..], b"\n\n"]
            .into_iter()
            .filter_map(|gap| Some((memchr::memmem::find(bytes, gap)?, gap.len())))
            .min()?;
        Some(Self { head: bytes.get(..end)?, content: bytes.get(end + len..)? })
    }

    /// Returns a header's value; folded lines are not joined, nobody folds these.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.head.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (known, value) = line.split_at(colon);
            let is_it = known.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| value.get(1..).unwrap_or_default().trim_ascii())
        })
    }

    /// Returns what the part is; `text/plain` if it does not say (RFC 2046 section 5.1).
    #[must_use]
    pub fn content_type(&self) -> ContentType<'a> {
        ContentType::read(self.header("Content-Type").unwrap_or(b"text/plain"))
    }

    /// Returns the content without its transfer encoding. `None`: an encoding that is not known,
    /// or not kept to.
    #[must_use]
    pub fn decoded(&self) -> Option<Cow<'a, [u8]>> {
        let encoding = self.header("Content-Transfer-Encoding").unwrap_or(b"8bit");
        let is = |name: &[u8]| encoding.eq_ignore_ascii_case(name);
        if is(b"7bit") || is(b"8bit") || is(b"binary") {
            Some(Cow::Borrowed(self.content))
        } else if is(b"base64") {
            base64(self.content).map(Cow::Owned)
        } else {
            None
        }
    }
}

/// Cuts a body at its boundary. `None`: there is no part, more than
/// [`limits::GATEWAY_PARTS_MAX`], or the boundary is none.
#[must_use]
pub fn parts<'a>(boundary: &[u8], body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    // RFC 2046 section 5.1.1: 1 to 70 characters.
    if !(1..=70).contains(&boundary.len()) {
        return None;
    }
    let delimiter = [b"--", boundary].concat();
    let mut rest = behind_delimiter(&delimiter, body)?.1;
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        if parts.len() == limits::GATEWAY_PARTS_MAX {
            return None;
        }
        let line_end = memchr::memchr(b'\n', rest)?;
        let part = rest.get(line_end + 1..)?;
        // A body that was cut short has no closing delimiter; what is there is a part.
        let (content, behind) = behind_delimiter(&delimiter, part).unwrap_or((part, b"--"));
        parts.extend(Part::read(content));
        rest = behind;
    }
    (!parts.is_empty()).then_some(parts)
}

/// Returns what is before and behind the first delimiter that begins a line.
fn behind_delimiter<'a>(delimiter: &[u8], text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let begins_line = |at: &usize| *at == 0 || text.get(at - 1) == Some(&b'\n');
    let at = memchr::memmem::find_iter(text, delimiter).find(begins_line)?;
    let before = text.get(..at)?;
    let before = before.strip_suffix(b"\n").unwrap_or(before);
    let before = before.strip_suffix(b"\r").unwrap_or(before);
    Some((before, text.get(at + delimiter.len()..)?))
}

/// Decodes base64 (RFC 4648 section 4); white space is skipped. `None`: it is none.
#[must_use]
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}
