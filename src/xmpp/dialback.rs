//! Server dialback (XEP-0220) and its keys (XEP-0185).

use ring::{digest, hmac};

use super::element::Element;
use super::stanza_error::{ReceivedStanzaError, StanzaError};
use super::{ns, write};

/// Which question an element of dialback belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `<db:result>`, between originating and receiving server (XEP-0220 sections 2.1 and 2.4).
    Result,
    /// `<db:verify>`, between receiving and authoritative server (XEP-0220 sections 2.2 and 2.3).
    Verify,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Result => "db:result",
            Self::Verify => "db:verify",
        }
    }
}

/// An element of dialback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialback {
    /// Which question it belongs to.
    pub step: Step,
    /// The domain that speaks, as it came.
    pub from: String,
    /// The domain that is spoken to, as it came.
    pub to: String,
    /// The id of the stream that is asked about; with `verify` alone.
    pub id: Option<String>,
    /// What is said.
    pub says: Says,
}

/// What an element of dialback says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Here is the key: the question.
    Key(String),
    /// The key is right.
    Valid,
    /// The key is wrong.
    Invalid,
    /// It could not be found out (XEP-0220 section 2.5).
    Error(ReceivedStanzaError),
}

/// Why an element of dialback cannot be understood: `improper-addressing` or `bad-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialbackFault {
    /// `from` or `to` is not there.
    Addressing,
    /// A question without a key, a `verify` without an id, or an unknown type.
    Format,
}

impl Dialback {
    /// Reads an element. `None`: it is not of dialback.
    #[must_use]
    pub fn read(element: &Element<'_>) -> Option<Result<Self, DialbackFault>> {
        let step = match element.name() {
            "result" => Step::Result,
            "verify" => Step::Verify,
            _ => return None,
        };
        (element.namespace() == ns::DIALBACK).then(|| Self::read_step(step, element))
    }

    fn read_step(step: Step, element: &Element<'_>) -> Result<Self, DialbackFault> {
        let owned = |value: Option<std::borrow::Cow<'_, str>>| {
            value.map(std::borrow::Cow::into_owned).filter(|value| !value.is_empty())
        };
        let from = owned(element.from()).ok_or(DialbackFault::Addressing)?;
        let to = owned(element.to()).ok_or(DialbackFault::Addressing)?;
        let id = owned(element.id());
        if step == Step::Verify && id.is_none() {
            return Err(DialbackFault::Format);
        }
        let says = match element.kind().as_deref() {
            None => Says::Key(key_in(element).ok_or(DialbackFault::Format)?),
            Some("valid") => Says::Valid,
            Some("invalid") => Says::Invalid,
            Some("error") => Says::Error(StanzaError::read(element).unwrap_or(UNKNOWN)),
            Some(_) => return Err(DialbackFault::Format),
        };
        Ok(Self { step, from, to, id, says })
    }
}

const UNKNOWN: ReceivedStanzaError = ReceivedStanzaError {
    condition: StanzaError::UndefinedCondition,
    kind: StanzaError::UndefinedCondition.kind(),
    text: None,
    uri: None,
};

fn key_in(element: &Element<'_>) -> Option<String> {
    let text = element.text();
    let key = text.trim_matches([' ', '\t', '\r', '\n']);
    (!key.is_empty()).then(|| key.to_owned())
}

/// Appends `<db:result>` with a key: the originating server claims its domain.
pub fn write_result_key(from: &str, to: &str, key: &str, out: &mut Vec<u8>) {
    open(Step::Result, from, to, None, None, out);
    close_with(Step::Result, key, out);
}

/// Appends `<db:verify>` with a key: the receiving server asks about the stream `id`.
pub fn write_verify_key(from: &str, to: &str, id: &str, key: &str, out: &mut Vec<u8>) {
    open(Step::Verify, from, to, Some(id), None, out);
    close_with(Step::Verify, key, out);
}

/// What is answered to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It is right.
    Valid,
    /// It is wrong.
    Invalid,
    /// It could not be found out; only where the peer offered errors, else say `Invalid`.
    Error(StanzaError),
}

/// Appends the answer to a `<db:result>`; `from` is who answers.
pub fn write_result(from: &str, to: &str, answer: Answer, out: &mut Vec<u8>) {
    write_answer(Step::Result, from, to, None, answer, out);
}

/// Appends the answer to a `<db:verify>` about the stream `id`; `from` is who answers.
pub fn write_verify(from: &str, to: &str, id: &str, answer: Answer, out: &mut Vec<u8>) {
    write_answer(Step::Verify, from, to, Some(id), answer, out);
}

fn write_answer(
    step: Step,
    from: &str,
    to: &str,
    id: Option<&str>,
    answer: Answer,
    out: &mut Vec<u8>,
) {
    let kind = match answer {
        Answer::Valid => "valid",
        Answer::Invalid => "invalid",
        Answer::Error(_) => "error",
    };
    open(step, from, to, id, Some(kind), out);
    match answer {
        Answer::Valid | Answer::Invalid => out.extend_from_slice(b"/>"),
        Answer::Error(condition) => {
            out.push(b'>');
            condition.write(None, out);
            out.extend_from_slice(b"</");
            out.extend_from_slice(step.as_str().as_bytes());
            out.push(b'>');
        }
    }
}

fn open(step: Step, from: &str, to: &str, id: Option<&str>, kind: Option<&str>, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(step.as_str().as_bytes());
    write::attribute("from", from, out);
    write::attribute("to", to, out);
    if let Some(id) = id {
        write::attribute("id", id, out);
    }
    if let Some(kind) = kind {
        write::attribute("type", kind, out);
    }
}

fn close_with(step: Step, key: &str, out: &mut Vec<u8>) {
    out.push(b'>');
    write::text(key, out);
    out.extend_from_slice(b"</");
    out.extend_from_slice(step.as_str().as_bytes());
    out.push(b'>');
}

/// The secrets that keys are made with: the current one and those that are still accepted while
/// all edges of a pool learn it.
#[derive(Clone)]
pub struct Secrets {
    current: hmac::Key,
    previous: Vec<hmac::Key>,
}

impl Secrets {
    /// Takes the secrets in.
    #[must_use]
    pub fn new(current: &[u8], previous: &[&[u8]]) -> Self {
        Self { current: key_of(current), previous: previous.iter().map(|s| key_of(s)).collect() }
    }

    /// Returns the key by which `originating` proves itself to `receiving` on the stream `id`.
    ///
    /// Source: XEP-0185 section 3.
    #[must_use]
    pub fn key(&self, receiving: &str, originating: &str, id: &str) -> String {
        hex(hmac::sign(&self.current, &message(receiving, originating, id)).as_ref())
    }

    /// Tells whether `key` was made with one of the secrets, in constant time.
    #[must_use]
    pub fn verify(&self, receiving: &str, originating: &str, id: &str, key: &str) -> bool {
        let Some(tag) = unhex(key) else { return false };
        let message = message(receiving, originating, id);
        let mut secrets = std::iter::once(&self.current).chain(&self.previous);
        secrets.any(|secret| hmac::verify(secret, &message, &tag).is_ok())
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", 1 + self.previous.len())
    }
}

/// XEP-0185 section 3: what is keyed with is the hexadecimal text of the secret's hash.
fn key_of(secret: &[u8]) -> hmac::Key {
    let hashed = hex(digest::digest(&digest::SHA256, secret).as_ref());
    hmac::Key::new(hmac::HMAC_SHA256, hashed.as_bytes())
}

fn message(receiving: &str, originating: &str, id: &str) -> Vec<u8> {
    format!("{receiving} {originating} {id}").into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits =
        bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    digits.map(char::from).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}
