//! Characters, names and references of XML 1.0, as far as XMPP lets them pass.

use std::borrow::Cow;

use super::PeerMisbehaved;

/// May begin a name; every byte above ASCII may until its character has been looked at.
const START: u8 = 1;
/// May stand in a name.
const NAME: u8 = 2;
/// White space.
const SPACE: u8 = 4;
/// May stand in a name, and is ASCII.
const PLAIN: u8 = 8;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        classes[byte] = match c {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => START | NAME | PLAIN,
            0x80.. => START | NAME,
            b'0'..=b'9' | b'-' | b'.' => NAME | PLAIN,
            b' ' | b'\t' | b'\r' | b'\n' => SPACE,
            _ => 0,
        };
        byte += 1;
    }
    classes
}

/// Tells whether `byte` is white space of XML.
#[inline]
pub(super) const fn is_space(byte: u8) -> bool {
    CLASSES[byte as usize] & SPACE != 0
}

#[inline]
pub(super) const fn may_begin_name(byte: u8) -> bool {
    CLASSES[byte as usize] & START != 0
}

#[inline]
pub(super) const fn may_be_in_name(byte: u8) -> bool {
    CLASSES[byte as usize] & NAME != 0
}

#[inline]
pub(super) const fn is_plain_in_name(byte: u8) -> bool {
    CLASSES[byte as usize] & PLAIN != 0
}

/// Returns where the white space that begins at `at` ends.
#[inline]
pub(super) fn skip_space(input: &[u8], mut at: usize) -> usize {
    while input.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

/// Checks the characters of a part of a name that has bytes above ASCII (XML 1.0 section 2.3).
#[cold]
pub(super) fn check_name(part: &[u8]) -> Result<(), PeerMisbehaved> {
    let text = std::str::from_utf8(part).map_err(|_| PeerMisbehaved::NotUtf8)?;
    let mut characters = text.chars();
    let first = characters.next().is_some_and(is_name_start);
    let rest = |c: char| {
        is_name_start(c)
            || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}')
            || matches!(c, '\u{203f}'..='\u{2040}')
    };
    if first && characters.all(rest) { Ok(()) } else { Err(PeerMisbehaved::Syntax) }
}

const fn is_name_start(c: char) -> bool {
    matches!(c,
        'a'..='z' | 'A'..='Z' | '_'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
        | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

/// Tells whether XML allows a character (XML 1.0 section 2.2).
pub(super) const fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..)
}

/// Reads `bytes` as text of allowed characters. A character that is cut off at the end is the
/// caller's to wait for: `Ok` holds what lies before it.
pub(super) fn text(bytes: &[u8]) -> Result<&str, PeerMisbehaved> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(whole).map_err(|_| PeerMisbehaved::NotUtf8)?
        }
        Err(_) => return Err(PeerMisbehaved::NotUtf8),
    };
    let control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    // Without a branch inside, so that it becomes a few vector instructions.
    let controls = text.bytes().fold(false, |found, byte| found | control(byte));
    // U+FFFE and U+FFFF begin with EF BF, as all of the half-width forms do.
    let rare = |text: &str| memchr::memchr(0xef, text.as_bytes()).is_some();
    if controls || (rare(text) && !text.chars().all(is_allowed)) {
        return Err(PeerMisbehaved::Character);
    }
    Ok(text)
}

/// The longest reference; leading zeros beyond are nobody's habit.
const REFERENCE_BYTES_MAX: usize = 16;

/// Reads the reference at the start of `input` and returns its length and character. `None`: its
/// end is not there.
pub(super) fn reference(input: &[u8]) -> Result<Option<(usize, char)>, PeerMisbehaved> {
    let window = input.get(..REFERENCE_BYTES_MAX).unwrap_or(input);
    let Some(end) = memchr::memchr(b';', window) else {
        let plausible = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'#';
        return match window.get(1..) {
            Some(rest) if !rest.iter().all(plausible) => Err(PeerMisbehaved::Syntax),
            _ if window.len() == REFERENCE_BYTES_MAX => Err(PeerMisbehaved::Entity),
            _ => Ok(None),
        };
    };
    let name = window.get(1..end).unwrap_or_default();
    let c = match name {
        b"lt" => '<',
        b"gt" => '>',
        b"amp" => '&',
        b"apos" => '\'',
        b"quot" => '"',
        [b'#', b'x', digits @ ..] => numbered(digits, 16)?,
        [b'#', digits @ ..] => numbered(digits, 10)?,
        [first, ..] if may_begin_name(*first) && name.iter().all(|b| may_be_in_name(*b)) => {
            return Err(PeerMisbehaved::Entity);
        }
        _ => return Err(PeerMisbehaved::Syntax),
    };
    Ok(Some((end + 1, c)))
}

fn numbered(digits: &[u8], radix: u32) -> Result<char, PeerMisbehaved> {
    if digits.is_empty() {
        return Err(PeerMisbehaved::Syntax);
    }
    let mut number = 0_u32;
    for digit in digits {
        let digit = char::from(*digit).to_digit(radix).ok_or(PeerMisbehaved::Syntax)?;
        number = number.saturating_mul(radix).saturating_add(digit);
    }
    let c = char::from_u32(number).filter(|c| is_allowed(*c));
    c.ok_or(PeerMisbehaved::CharacterReference)
}

/// Decodes character data that the reader let pass: references, and line ends (XML 1.0 section
/// 2.11).
pub(super) fn decode_text(raw: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'&', b'\r', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    decode(raw, |byte| if byte == b'\r' { Some('\n') } else { None })
}

/// Decodes the text of a CDATA section: line ends alone.
pub(super) fn decode_lines(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\r', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Decodes an attribute's value that the reader let pass: references, and white space, which all
/// becomes spaces (XML 1.0 section 3.3.3).
pub(super) fn decode_value(raw: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte != b'&' && byte >= b' ';
    if raw.bytes().all(plain) {
        return Cow::Borrowed(raw);
    }
    decode(raw, |byte| if matches!(byte, b'\t' | b'\n' | b'\r') { Some(' ') } else { None })
}

fn decode(raw: &str, instead: impl Fn(u8) -> Option<char>) -> Cow<'_, str> {
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.bytes().position(|byte| byte == b'&' || instead(byte).is_some()) {
        let (before, special) = rest.split_at(at);
        decoded.push_str(before);
        let bytes = special.as_bytes();
        let (len, c) = match bytes {
            [b'&', ..] => reference(bytes).ok().flatten().expect("the reader let it pass"),
            [b'\r', b'\n', ..] => (2, instead(b'\r').expect("both know line ends")),
            [byte, ..] => (1, instead(*byte).expect("it is why we stopped")),
            [] => break,
        };
        decoded.push(c);
        rest = &special[len..];
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}
