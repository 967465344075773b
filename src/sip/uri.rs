//! URIs as far as a proxy reads them (RFC 3261 section 19.1).

use core::net::Ipv6Addr;
use std::borrow::Cow;

use super::fault::SyntaxFault;
use super::text::{self, HOST, TOKEN, URI, URI_PIECE, USER, trim_start};

/// A URI scheme as far as the edge has rules about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip`
    Sip,
    /// `sips`
    Sips,
    /// `tel` (RFC 3966)
    Tel,
    /// Any other; what follows the colon is not read.
    Other,
}

/// A URI, cut in its parts, nothing unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The user, or the number of a `tel` URI; `None` if there is no `@`.
    pub user: Option<&'a [u8]>,
    /// The password, which nobody should use (RFC 3261 section 19.1.1).
    pub password: Option<&'a [u8]>,
    /// The host, an IPv6 address in its brackets; empty unless the scheme is `sip` or `sips`.
    pub host: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// From the first semicolon behind the host to the headers; may be empty.
    pub params: &'a [u8],
    /// Behind the question mark; may be empty.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI that has no white space around it.
    ///
    /// What a second reader could take for another host is refused: a second `@`, control
    /// characters, white space, quotes or angle brackets anywhere.
    /// # Errors
    /// [`SyntaxFault::Uri`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SyntaxFault> {
        Self::read(bytes).ok_or(SyntaxFault::Uri)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (scheme, rest) = split_scheme(bytes)?;
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::sip(scheme, rest),
            _ if !URI.is_all(rest) => None,
            Scheme::Tel => {
                let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
                let (number, params) = rest.split_at_checked(end)?;
                let tel = Self { user: Some(number), params, ..Self::bare(scheme) };
                (!number.is_empty()).then_some(tel)
            }
            Scheme::Other => Some(Self::bare(scheme)),
        }
    }

    fn bare(scheme: Scheme) -> Self {
        Self {
            scheme,
            user: None,
            password: None,
            host: &[],
            port: None,
            params: &[],
            headers: &[],
        }
    }

    /// Reads what follows `sip:` in one pass.
    fn sip(scheme: Scheme, rest: &'a [u8]) -> Option<Self> {
        let mut uri = Self::bare(scheme);
        // Where the host begins and ends, and where the headers begin. Semicolons and question
        // marks before an `@` are part of the user.
        let (mut host_from, mut host_to, mut question) = (0, None, None);
        let mut at = URI_PIECE.span(rest);
        while let Some((byte, behind)) = rest.get(at..).and_then(<[u8]>::split_first) {
            match byte {
                b'@' if host_from > 0 => return None,
                b'@' => {
                    uri.read_user(rest.get(..at)?)?;
                    (host_from, host_to, question) = (at + 1, None, None);
                }
                b'?' => {
                    question = question.or(Some(at));
                    host_to = host_to.or(question);
                }
                b';' => host_to = host_to.or(Some(at)),
                _ => return None,
            }
            at += 1 + URI_PIECE.span(behind);
        }
        let host_to = host_to.unwrap_or(rest.len());
        let question = question.unwrap_or(rest.len());
        uri.params = rest.get(host_to..question)?;
        uri.headers = rest.get(question + 1..).unwrap_or(&[]);
        (uri.host, uri.port) = host_port(rest.get(host_from..host_to)?)?;
        Some(uri)
    }

    fn read_user(&mut self, userinfo: &'a [u8]) -> Option<()> {
        let colon = userinfo.iter().position(|&byte| byte == b':').unwrap_or(userinfo.len());
        let (user, password) = userinfo.split_at_checked(colon)?;
        self.user = Some(user);
        self.password = password.get(1..);
        (!user.is_empty() && USER.is_all(userinfo)).then_some(())
    }

    /// Returns the user as it is compared: escaped characters are the characters themselves (RFC
    /// 3261 section 19.1.4). Empty without a user.
    #[must_use]
    pub fn user_unescaped(&self) -> Cow<'a, [u8]> {
        let user = self.user.unwrap_or_default();
        let Some(first) = memchr::memchr(b'%', user) else { return Cow::Borrowed(user) };
        let (plain, mut rest) = user.split_at(first);
        let mut unescaped = plain.to_vec();
        while let Some((&byte, behind)) = rest.split_first() {
            let escaped = (byte == b'%').then(|| escaped(behind)).flatten();
            unescaped.push(escaped.unwrap_or(byte));
            rest = if escaped.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
        }
        Cow::Owned(unescaped)
    }

    /// Looks a URI parameter up by name, ignoring case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        text::param(self.params, name)
    }
}

/// Reads the two digits behind a percent sign.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn split_scheme(bytes: &[u8]) -> Option<(Scheme, &[u8])> {
    if let Some(rest) = bytes.strip_prefix(b"sip:") {
        return Some((Scheme::Sip, rest));
    }
    let (name, rest) = bytes.split_at_checked(memchr::memchr(b':', bytes)?)?;
    let scheme = if name.eq_ignore_ascii_case(b"sip") {
        Scheme::Sip
    } else if name.eq_ignore_ascii_case(b"sips") {
        Scheme::Sips
    } else if name.eq_ignore_ascii_case(b"tel") {
        Scheme::Tel
    } else if is_scheme(name) {
        Scheme::Other
    } else {
        return None;
    };
    Some((scheme, rest.get(1..)?))
}

/// Wider than RFC 3986, which has only letters, digits, `+`, `-` and `.`: the scheme is not used.
fn is_scheme(name: &[u8]) -> bool {
    TOKEN.is_all(name) && name.first().is_some_and(u8::is_ascii_alphabetic)
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; white space is allowed around the colon, as
/// Via has it.
pub(super) fn host_port(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_len = if text.first() == Some(&b'[') {
        let end = memchr::memchr(b']', text)? + 1;
        is_ipv6(text.get(1..end - 1)?).then_some(end)?
    } else {
        HOST.span(text)
    };
    let (host, rest) = text.split_at_checked(host_len)?;
    let port = match trim_start(rest) {
        [] => None,
        [b':', digits @ ..] => Some(port(trim_start(digits))?),
        _ => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

fn port(digits: &[u8]) -> Option<u16> {
    let number = text::number(digits)?;
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// RFC 5954: the grammar of RFC 3986, not the one of RFC 3261.
fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}
