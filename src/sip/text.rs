//! Characters, white space, quotes and parameter lists.

/// A set of byte values, as a bit in [`CLASSES`].
#[derive(Clone, Copy)]
pub(super) struct Class(u8);

/// `token` of RFC 3261 section 25.1.
pub(super) const TOKEN: Class = Class(1);
/// What may stand before the `@` of a SIP URI: `unreserved`, `escaped`, `user-unreserved`, the
/// colon before a password, and what is seen beside them: `#` and UTF-8.
pub(super) const USER: Class = Class(2);
/// Host names, with the underscore that is seen in the wild; not IPv6 references.
pub(super) const HOST: Class = Class(4);
/// What may stand anywhere in a URI: not white space, controls, quotes or angle brackets, at
/// which a second reader might cut.
pub(super) const URI: Class = Class(8);
/// White space inside a header field; CR and LF are there only as part of a fold.
pub(super) const LWS: Class = Class(16);
/// The same without `@`, `;` and `?`, at which a SIP URI is cut.
pub(super) const URI_PIECE: Class = Class(32);
/// What a parameter's value or a bracketed URI is made of: all but `"`, `<`, `>`, `,` and `;`.
pub(super) const PLAIN: Class = Class(64);

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let any = byte.is_ascii_alphanumeric();
        let is_control = byte <= b' ' || byte == 0x7f;
        let is_bracket = matches!(byte, b'"' | b'<' | b'>');
        classes[at] = bit(TOKEN, any || is_in(b"-.!%*_+`'~", byte))
            | bit(USER, any || byte >= 0x80 || is_in(b"-_.!~*'()%&=+$,;?/#:", byte))
            | bit(HOST, any || is_in(b"-._", byte))
            | bit(URI, !is_control && !is_bracket)
            | bit(LWS, is_in(b" \t\r\n", byte))
            | bit(URI_PIECE, !is_control && !is_bracket && !is_in(b"@;?", byte))
            | bit(PLAIN, !is_bracket && byte != b',' && byte != b';');
        at += 1;
    }
    classes
};

const fn bit(class: Class, has: bool) -> u8 {
    if has { class.0 } else { 0 }
}

const fn is_in(set: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

impl Class {
    /// Returns whether `byte` is in the class.
    #[inline(always)]
    pub(super) fn has(self, byte: u8) -> bool {
        CLASSES[usize::from(byte)] & self.0 != 0
    }

    /// Returns how many bytes at the start of `text` are in the class.
    ///
    /// Four at a time, and one branch for the four: a branch for each byte is guessed wrong once
    /// for each text, and costs more than all the looking.
    #[inline]
    pub(super) fn span(self, text: &[u8]) -> usize {
        let (fours, rest) = text.as_chunks::<4>();
        for (place, &[a, b, c, d]) in fours.iter().enumerate() {
            // The classes that all bytes up to this one are in.
            let one = CLASSES[usize::from(a)];
            let two = one & CLASSES[usize::from(b)];
            let three = two & CLASSES[usize::from(c)];
            if three & CLASSES[usize::from(d)] & self.0 == 0 {
                let before = |all: u8| usize::from(all & self.0 != 0);
                return 4 * place + before(one) + before(two) + before(three);
            }
        }
        let whole = text.len() - rest.len();
        whole + rest.iter().position(|&byte| !self.has(byte)).unwrap_or(rest.len())
    }

    /// Returns whether `text` is not empty and all in the class.
    #[inline]
    pub(super) fn is_all(self, text: &[u8]) -> bool {
        !text.is_empty() && self.span(text) == text.len()
    }
}

/// Returns whether `byte` is white space inside a header field.
#[inline(always)]
pub(super) fn is_lws(byte: u8) -> bool {
    LWS.has(byte)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_at_the_first_byte_outside_of_the_class() {
        for class in [TOKEN, USER, HOST, URI, LWS, URI_PIECE, PLAIN] {
            let inside = (0..=u8::MAX).rev().find(|byte| class.has(*byte)).unwrap();
            let outside = (0..=u8::MAX).find(|byte| !class.has(*byte)).unwrap();
            for len in 0..=12 {
                let mut text = vec![inside; len];
                assert_eq!(class.span(&text), len);
                for place in (0..len).rev() {
                    text[place] = outside;
                    assert_eq!(class.span(&text), place);
                }
            }
        }
    }
}
