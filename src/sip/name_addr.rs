//! Addresses with a name and parameters (RFC 3261 section 20.10).

use super::fault::SyntaxFault;
use super::text::{self, PLAIN, URI, quoted_len, trim_end, trim_start};

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
        let display_len = match bytes.first()? {
            b'<' => 0,
            b'"' => {
                let len = quoted_len(bytes)?;
                let behind = bytes.get(len..)?;
                len + behind.len() - trim_start(behind).len()
            }
            _ => match bytes.iter().position(|byte| matches!(byte, b'<' | b';')) {
                Some(at) if bytes.get(at) == Some(&b'<') => at,
                _ => return Self::addr_spec(bytes),
            },
        };
        let (display, rest) = bytes.split_at_checked(display_len)?;
        let rest = rest.strip_prefix(b"<")?;
        let (uri, rest) = rest.split_at_checked(URI.span(rest))?;
        let params = trim_start(rest.strip_prefix(b">")?);
        let display = trim_end(display);
        let is_good = is_display(display) && are_params(params);
        is_good.then_some(Self { display, uri, params })
    }

    /// Without angle brackets, what follows a semicolon belongs to the header, and a URI with
    /// comma or question mark is not allowed (RFC 3261 section 20).
    fn addr_spec(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b';').unwrap_or(bytes.len());
        let (uri, params) = bytes.split_at_checked(end)?;
        let uri = trim_end(uri);
        // An `@` behind the semicolon would make what stands before it a user to some readers.
        let is_good = URI.is_all(uri)
            && memchr::memchr2(b',', b'?', uri).is_none()
            && memchr::memchr(b'@', params).is_none()
            && are_params(params);
        is_good.then_some(Self { display: &[], uri, params })
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
        None => true,
        Some(b'"') => quoted_len(display) == Some(display.len()),
        Some(_) => PLAIN.is_all(display),
    }
}

/// Nothing, or a list that begins with a semicolon and has, outside quotes, no angle bracket and
/// no comma in it.
fn are_params(params: &[u8]) -> bool {
    let mut rest = params;
    loop {
        rest = rest.get(PLAIN.span(rest)..).unwrap_or(&[]);
        let len = match rest.first() {
            None => break,
            Some(b';') => Some(1),
            Some(b'"') => quoted_len(rest),
            Some(_) => None,
        };
        match len.and_then(|len| rest.get(len..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    matches!(params.first(), None | Some(b';'))
}
