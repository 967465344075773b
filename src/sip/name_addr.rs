//! Addresses with a name and parameters (RFC 3261 section 20.10).

use super::fault::SyntaxFault;
use super::text::{self, find_unquoted, quoted_len, trim, trim_end, trim_start};

/// A `name-addr` or `addr-spec` with its header parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as it stands, quotes on; may be empty.
    pub display: &'a [u8],
    /// The URI, not read.
    pub uri: &'a [u8],
    /// Header parameters from their first semicolon on; may be empty.
    pub params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads one address without white space around it.
    ///
    /// What a second reader could take for another address is refused: an unquoted comma or
    /// quote in the display name, a URI outside angle brackets that needs them.
    /// # Errors
    /// [`SyntaxFault::NameAddr`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SyntaxFault> {
        Self::read(bytes).ok_or(SyntaxFault::NameAddr)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let display_len = if bytes.first() == Some(&b'"') {
            let len = quoted_len(bytes)?;
            let behind = bytes.get(len..)?;
            len + behind.len() - trim_start(behind).len()
        } else {
            match memchr::memchr2(b'<', b';', bytes) {
                Some(at) if bytes.get(at) == Some(&b'<') => at,
                _ => return Self::addr_spec(bytes),
            }
        };
        let (display, rest) = bytes.split_at_checked(display_len)?;
        let rest = rest.strip_prefix(b"<")?;
        let (uri, rest) = rest.split_at_checked(memchr::memchr(b'>', rest)?)?;
        let params = trim_start(rest.get(1..)?);
        let is_good = is_display(trim_end(display))
            && memchr::memchr3(b' ', b'\t', b'<', uri).is_none()
            && memchr::memchr(b'"', uri).is_none()
            && are_params(params);
        is_good.then_some(Self { display: trim_end(display), uri, params })
    }

    /// Without angle brackets, what follows a semicolon belongs to the header, and a URI with
    /// comma or question mark is not allowed (RFC 3261 section 20).
    fn addr_spec(bytes: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
        let (uri, params) = bytes.split_at_checked(end)?;
        let uri = trim(uri);
        // An `@` behind the semicolon would make what stands before it a user to some readers.
        let is_good = memchr::memchr3(b',', b'?', b'"', uri).is_none()
            && !uri.iter().any(|&byte| text::is_lws(byte) || matches!(byte, b'<' | b'>'))
            && find_unquoted(b'@', params).is_none()
            && are_params(params);
        (!uri.is_empty() && is_good).then_some(Self { display: &[], uri, params })
    }

    /// Returns the tag; `None` if there is none or an empty one.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.param("tag").flatten().filter(|tag| !tag.is_empty())
    }

    /// Looks a header parameter up by name, ignoring case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        text::param(self.params, name)
    }
}

/// A quoted string, or words without the characters that separate.
///
/// Wider than the token of RFC 3261: UTF-8 and parentheses without quotes are common.
fn is_display(display: &[u8]) -> bool {
    match display.first() {
        Some(b'"') => quoted_len(display) == Some(display.len()),
        _ => memchr::memchr3(b',', b'"', b'>', display).is_none(),
    }
}

/// Nothing, or a list that begins with a semicolon and has no angle bracket or comma in it.
fn are_params(params: &[u8]) -> bool {
    match params.first() {
        None => true,
        Some(b';') => {
            find_unquoted(b',', params).is_none()
                && find_unquoted(b'<', params).is_none()
                && are_quotes_balanced(params)
        }
        Some(_) => false,
    }
}

fn are_quotes_balanced(mut text: &[u8]) -> bool {
    while let Some(at) = memchr::memchr(b'"', text) {
        let Some(quoted) = text.get(at..) else { return false };
        let Some(len) = quoted_len(quoted) else { return false };
        text = quoted.get(len..).unwrap_or(&[]);
    }
    true
}
