//! Via values (RFC 3261 section 20.42).

use super::fault::SyntaxFault;
use super::text::{self, HOST, PLAIN, TOKEN, quoted_len, trim, trim_end, trim_start};
use super::uri;

/// One Via value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport as it stands; compare without case.
    pub transport: &'a [u8],
    /// Host of sent-by, an IPv6 address in its brackets.
    pub host: &'a [u8],
    /// Port of sent-by.
    pub port: Option<u16>,
    /// The branch; `None` if there is none or an empty one, as RFC 2543 and Lync clients have it.
    pub branch: Option<&'a [u8]>,
    /// From the first semicolon on; may be empty.
    pub params: &'a [u8],
    /// The whole value.
    pub bytes: &'a [u8],
}

/// How every branch begins that identifies a transaction (RFC 3261 section 8.1.1.7).
const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

impl<'a> Via<'a> {
    /// Reads one Via value; white space and folds are allowed wherever RFC 3261 allows them.
    /// # Errors
    /// [`SyntaxFault::Via`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SyntaxFault> {
        Self::read(bytes).ok_or(SyntaxFault::Via)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let transport_on = match bytes.strip_prefix(b"SIP/2.0/") {
            Some(rest) => rest,
            None => odd_protocol(bytes)?,
        };
        let transport_on = trim_start(transport_on);
        let (transport, rest) = transport_on.split_at_checked(TOKEN.span(transport_on))?;
        let sent_by_on = trim_start(rest);
        if transport.is_empty() || sent_by_on.len() == rest.len() {
            return None;
        }
        // An IPv6 reference holds colons, but no semicolon either.
        let host_len = HOST.span(sent_by_on);
        let end = match sent_by_on.get(host_len..)? {
            [] | [b';', ..] => host_len,
            rest => host_len + memchr::memchr(b';', rest).unwrap_or(rest.len()),
        };
        let (sent_by, params) = sent_by_on.split_at_checked(end)?;
        let (host, port) = uri::host_port(trim_end(sent_by))?;
        let params = trim_end(params);
        let branch = read_params(params)?;
        Some(Self { transport, host, port, branch, params, bytes })
    }

    /// Returns whether the branch identifies the transaction; else it is matched the way of RFC
    /// 2543 (RFC 3261 section 17.2.3). A cookie with nothing behind it identifies nothing
    /// (RFC 4475 section 3.2.1).
    #[must_use]
    pub fn has_cookie(&self) -> bool {
        self.branch.is_some_and(|branch| {
            branch.len() > MAGIC_COOKIE.len() && branch.starts_with(MAGIC_COOKIE)
        })
    }

    /// Looks a parameter up by name, ignoring case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        text::param(self.params, name)
    }
}

/// Reads `SIP / 2.0 /` with white space anywhere; returns what follows.
#[cold]
fn odd_protocol(bytes: &[u8]) -> Option<&[u8]> {
    let (name, rest) = bytes.split_at_checked(memchr::memchr(b'/', bytes)?)?;
    let rest = rest.get(1..)?;
    let (version, rest) = rest.split_at_checked(memchr::memchr(b'/', rest)?)?;
    let is_sip = trim_end(name).eq_ignore_ascii_case(b"SIP") && trim(version) == b"2.0";
    if is_sip { rest.get(1..) } else { None }
}

/// Looks at every parameter, and returns the branch.
///
/// `None`: there is an empty parameter (RFC 4475 section 3.1.2.1), one with a name that is no
/// token, or a quote that does not end or is not the whole value.
fn read_params(mut params: &[u8]) -> Option<Option<&[u8]>> {
    let mut branch = None;
    while let [b';', rest @ ..] = params {
        let rest = trim_start(rest);
        let (name, rest) = rest.split_at_checked(TOKEN.span(rest))?;
        params = trim_start(rest);
        if name.is_empty() {
            return None;
        }
        if let [b'=', rest @ ..] = params {
            let rest = trim_start(rest);
            let len = match rest.first() {
                Some(b'"') => quoted_len(rest)?,
                _ => PLAIN.span(rest),
            };
            let (value, rest) = rest.split_at_checked(len)?;
            params = trim_start(rest);
            if branch.is_none() && name.eq_ignore_ascii_case(b"branch") {
                branch = Some(trim_end(value)).filter(|value| !value.is_empty());
            }
        }
    }
    params.is_empty().then_some(branch)
}
