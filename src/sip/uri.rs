//! URIs as far as a proxy reads them (RFC 3261 section 19.1).

use core::net::Ipv6Addr;

use super::fault::SyntaxFault;
use super::text::{self, Class, trim_end, trim_start};

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

/// `unreserved`, `escaped` and `user-unreserved`, and what is seen beside them: `#` and UTF-8 are
/// not in it.
const USER: Class = Class::alphanumeric_and(b"-_.!~*'()%&=+$,;?/#");
const HOST: Class = Class::alphanumeric_and(b"-._");
const SCHEME: Class = Class::alphanumeric_and(b"+-.");

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
        if bytes.iter().fold(false, |found, &byte| found | is_never_in_a_uri(byte)) {
            return None;
        }
        let (scheme, rest) = split_scheme(bytes)?;
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::sip(scheme, rest),
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

    fn sip(scheme: Scheme, rest: &'a [u8]) -> Option<Self> {
        let mut uri = Self::bare(scheme);
        let mut host_on = rest;
        if let Some(at) = memchr::memchr(b'@', rest) {
            let (user, behind) = rest.split_at_checked(at)?;
            host_on = behind.get(1..)?;
            uri.read_user(user)?;
            if memchr::memchr(b'@', host_on).is_some() {
                return None;
            }
        }
        let question = memchr::memchr(b'?', host_on).unwrap_or(host_on.len());
        let (before, headers) = host_on.split_at_checked(question)?;
        uri.headers = headers.get(1..).unwrap_or(&[]);
        let semicolon = memchr::memchr(b';', before).unwrap_or(before.len());
        let (sent_to, params) = before.split_at_checked(semicolon)?;
        uri.params = params;
        (uri.host, uri.port) = host_port(sent_to)?;
        Some(uri)
    }

    fn read_user(&mut self, userinfo: &'a [u8]) -> Option<()> {
        let colon = memchr::memchr(b':', userinfo).unwrap_or(userinfo.len());
        let (user, password) = userinfo.split_at_checked(colon)?;
        self.user = Some(user);
        self.password = password.get(1..);
        let readable = |byte: &u8| USER.has(*byte) || !byte.is_ascii();
        let is_good = user.iter().all(readable)
            && self.password.unwrap_or(&[]).iter().all(|byte| readable(byte) || *byte == b':');
        (!user.is_empty() && is_good).then_some(())
    }

    /// Looks a URI parameter up by name, ignoring case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        text::param(self.params, name)
    }
}

/// Returns whether RFC 3986 has no place for `byte` and a second reader might cut there.
const fn is_never_in_a_uri(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f || byte == b'<' || byte == b'>' || byte == b'"'
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
    } else if SCHEME.is_all(name) && name.first()?.is_ascii_alphabetic() {
        Scheme::Other
    } else {
        return None;
    };
    Some((scheme, rest.get(1..)?))
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; white space is allowed around the colon, as
/// Via has it.
pub(super) fn host_port(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_len = if text.first() == Some(&b'[') {
        let end = memchr::memchr(b']', text)? + 1;
        is_ipv6(text.get(1..end - 1)?).then_some(end)?
    } else {
        memchr::memchr(b':', text).unwrap_or(text.len())
    };
    let (host, rest) = text.split_at_checked(host_len)?;
    if host.first() != Some(&b'[') && !HOST.is_all(trim_end(host)) {
        return None;
    }
    let port = match trim_start(rest) {
        [] => None,
        [b':', digits @ ..] => Some(port(trim_start(digits))?),
        _ => return None,
    };
    Some((trim_end(host), port))
}

fn port(digits: &[u8]) -> Option<u16> {
    let number = text::number(digits)?;
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// RFC 5954: the grammar of RFC 3986, not the one of RFC 3261.
fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}
