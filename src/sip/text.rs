//! Characters, white space, quotes and parameter lists.

/// One bit per byte value, for the classes of RFC 3261 section 25.1.
#[derive(Clone, Copy)]
pub(super) struct Class([u64; 4]);

impl Class {
    /// Letters and digits and the bytes of `extra`.
    pub(super) const fn alphanumeric_and(extra: &[u8]) -> Self {
        let mut bits = [0_u64; 4];
        let mut byte = 0_usize;
        while byte < 256 {
            if (byte as u8).is_ascii_alphanumeric() {
                bits[byte >> 6] |= 1 << (byte & 63);
            }
            byte += 1;
        }
        let mut at = 0;
        while at < extra.len() {
            bits[(extra[at] >> 6) as usize] |= 1 << (extra[at] & 63);
            at += 1;
        }
        Self(bits)
    }

    /// Returns whether `byte` is in the class.
    pub(super) const fn has(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 == 1
    }

    /// Returns whether `text` is not empty and all in the class.
    pub(super) fn is_all(&self, text: &[u8]) -> bool {
        !text.is_empty() && text.iter().all(|&byte| self.has(byte))
    }
}

/// `token` of RFC 3261.
pub(super) const TOKEN: Class = Class::alphanumeric_and(b"-.!%*_+`'~");

/// White space inside a header field; CR and LF are there only as part of a fold.
pub(super) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Returns `text` without white space at either end.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Returns `text` without white space in front.
pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_lws(*first)
    {
        text = rest;
    }
    text
}

/// Returns `text` without white space behind.
pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_lws(*last)
    {
        text = rest;
    }
    text
}

/// Returns the length of the quoted string that `text` begins with, both quotes included.
///
/// `None`: it does not end. `text` begins with a quote.
pub(super) fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        // A backslash takes the next byte with it, whatever it is (quoted-pair).
        at += 2;
    }
}

/// Returns where `wanted` first stands in `text` outside quoted strings.
///
/// A quoted string that does not end hides everything after its quote.
pub(super) fn find_unquoted(wanted: u8, text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(wanted, b'"', text.get(at..)?)?;
        if text.get(at) == Some(&wanted) {
            return Some(at);
        }
        at += quoted_len(text.get(at..)?)?;
    }
}

/// Reads a decimal number of digits only.
///
/// Leading zeros are allowed, as RFC 4475 section 3.1.1.1 uses them. `None` if there is anything
/// else, nothing, or more than fits.
pub(super) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0_u32;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
    }
    Some(value)
}

/// Walks a list of parameters: `;name`, `;name=value`, `;name="value; with anything"`.
///
/// `list` may begin with or without a semicolon. White space around names and values is taken off,
/// quotes stay on; empty parameters are skipped.
pub fn params(list: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = find_unquoted(b';', rest);
            let (one, after) = match end {
                Some(end) => (rest.get(..end)?, rest.get(end + 1..)?),
                None => (rest, &[][..]),
            };
            rest = after;
            let one = trim(one);
            if !one.is_empty() {
                return Some(split_param(one));
            }
        }
    })
}

fn split_param(one: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', one).and_then(|at| one.split_at_checked(at)) {
        Some((name, value)) => (trim_end(name), Some(trim_start(value.get(1..).unwrap_or(&[])))),
        None => (one, None),
    }
}

/// Looks a parameter up by name, ignoring case; the first of that name counts.
pub(super) fn param<'a>(list: &'a [u8], name: &str) -> Option<Option<&'a [u8]>> {
    params(list).find(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
}
