//! Addresses (RFC 7247 section 5).
//!
//! ```text
//!  sip:o'malley;x%C3%BC@sip.example;gr=bar      o\27malley;xü@sip.example/bar
//!      user  percent-decoded ──> text ── XEP-0106 ──> local part
//!      host                                            domain
//!      gr    percent-decoded                           resource
//! ```
//!
//! Two users of one side must never become one user of the other. So a JID whose escapes are not
//! the ones its text would get is refused rather than read generously, and so is a SIP user that
//! preparation (RFC 7622) would turn into another text with escapes or separators in it. What is
//! guaranteed:
//!
//! * JID -> URI -> JID is the same JID, for each JID that is not refused.
//! * URI -> JID -> URI is an equal user, host and `gr` for each SIP URI whose user is already
//!   prepared (lower case, normalised). Other users are prepared on the way, since XMPP does not
//!   tell `Kim` from `kim`. Ports, headers and other parameters do not come back.

use std::borrow::Cow;

use super::{Loss, Losses, Translated};
use crate::sip::{Scheme, Uri};
use crate::xmpp::{Jid, JidMalformed, escape, unescape};

/// Why an address has no counterpart on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AddressFault {
    /// It is no URI.
    #[error("the address is no URI")]
    Syntax,
    /// `sips` demands TLS to the end, which nobody can promise behind a gateway (RFC 7247 section
    /// 5.1).
    #[error("a sips address is not translated")]
    Sips,
    /// A telephone number is no XMPP user.
    #[error("a telephone number has no XMPP address")]
    Tel,
    /// Another scheme than `sip`, `im` and `pres`.
    #[error("the scheme of the address is not known")]
    Scheme,
    /// The address names a server, not a user.
    #[error("the address has no user")]
    NoUser,
    /// A password in a URI is part of who is meant (RFC 3261 section 19.1.4) and not to be shown.
    #[error("the address has a password")]
    Password,
    /// The user or the resource is, decoded, not UTF-8, or a percent sign begins no escape.
    #[error("the user is not written in UTF-8")]
    Encoding,
    /// Preparation or escaping would make the same address of two users.
    #[error("the address could be taken for another one")]
    Ambiguous,
    /// It is no XMPP address.
    #[error(transparent)]
    Jid(#[from] JidMalformed),
}

/// Returns the JID of a SIP, `im` or `pres` URI.
///
/// `uri`: without angle brackets and white space around it.
/// # Errors
/// [`AddressFault`]: why it has none.
/// Source: RFC 7247 section 5.3; XEP-0106.
pub fn jid_of(uri: &[u8]) -> Result<Translated<Jid<'static>>, AddressFault> {
    let mut losses = Losses::NONE;
    let sip;
    let uri = match Uri::parse(uri).map_err(|_| AddressFault::Syntax)? {
        parsed if parsed.scheme == Scheme::Other => {
            sip = as_sip(uri).ok_or(AddressFault::Scheme)?;
            Uri::parse(&sip).map_err(|_| AddressFault::Syntax)?
        }
        parsed => parsed,
    };
    match uri.scheme {
        Scheme::Sip => {}
        Scheme::Sips => return Err(AddressFault::Sips),
        Scheme::Tel => return Err(AddressFault::Tel),
        Scheme::Other => return Err(AddressFault::Scheme),
    }
    if uri.password.is_some() {
        return Err(AddressFault::Password);
    }
    if uri.port.is_some() {
        losses.add(Loss::Port);
    }
    let user = percent_decoded(uri.user.ok_or(AddressFault::NoUser)?)?;
    let host = std::str::from_utf8(uri.host).map_err(|_| AddressFault::Encoding)?;
    // Without a value it marks a temporary GRUU (RFC 5627 section 3.1.2), which names no resource.
    let resource = match uri.param("gr").flatten() {
        Some(value) if !value.is_empty() => Some(percent_decoded(value)?),
        _ => None,
    };
    let local = escape(&user).ok_or(AddressFault::Jid(JidMalformed::Local))?;
    let jid = Jid::new(Some(&local), host, resource.as_deref())?.into_owned();
    let prepared = unescape(jid.local().unwrap_or_default());
    if !separators(&prepared).eq(separators(&user)) {
        return Err(AddressFault::Ambiguous);
    }
    Ok(Translated { value: jid, losses })
}

/// Reads `im:` (RFC 3860) and `pres:` (RFC 3859) as the SIP address they stand for.
fn as_sip(uri: &[u8]) -> Option<Vec<u8>> {
    let colon = memchr::memchr(b':', uri)?;
    let (scheme, rest) = (uri.get(..colon)?, uri.get(colon + 1..)?);
    let is_known = [&b"im"[..], b"pres"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    is_known.then(|| [b"sip:", rest].concat())
}

/// Returns the SIP URI of a JID, with its resource as `gr` if it has one.
///
/// # Errors
/// [`AddressFault::NoUser`] for a server; [`AddressFault::Ambiguous`] for escapes that the text
/// would not get, or a local part whose text is not prepared.
/// Source: RFC 7247 section 5.4; XEP-0106.
pub fn uri_of(jid: &Jid<'_>) -> Result<String, AddressFault> {
    let mut uri = aor_of(jid)?;
    if let Some(resource) = jid.resource() {
        uri.push_str(";gr=");
        percent_encode(resource, |byte| is_unreserved(byte) || b"[]:&+$".contains(&byte), &mut uri);
    }
    Ok(uri)
}

/// Returns the SIP URI of a JID's user: the same without the resource.
///
/// # Errors
/// As [`uri_of`].
pub fn aor_of(jid: &Jid<'_>) -> Result<String, AddressFault> {
    let local = jid.local().ok_or(AddressFault::NoUser)?;
    let user = unescape(local);
    if escape(&user).as_deref() != Some(local) {
        return Err(AddressFault::Ambiguous);
    }
    let mut uri = String::with_capacity(8 + local.len() + jid.domain().len());
    uri.push_str("sip:");
    // The question mark may stand in a user, but some readers begin the headers at it.
    percent_encode(&user, |byte| is_unreserved(byte) || b"&=+$,;/".contains(&byte), &mut uri);
    uri.push('@');
    uri.push_str(jid.domain());
    Ok(uri)
}

/// `unreserved` of RFC 3261 section 25.1.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
}

/// Appends text with all bytes but the plain ones escaped (RFC 3986 section 2.1).
pub(super) fn percent_encode(text: &str, is_plain: impl Fn(u8) -> bool, out: &mut String) {
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Takes the escapes out of text.
pub(super) fn percent_decoded(text: &[u8]) -> Result<Cow<'_, str>, AddressFault> {
    if !text.contains(&b'%') {
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| AddressFault::Encoding);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        rest = behind;
        let mut byte = *first;
        if byte == b'%' {
            let [high, low, behind @ ..] = rest else { return Err(AddressFault::Encoding) };
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = digit(*high).zip(digit(*low)).ok_or(AddressFault::Encoding)?;
            byte = (high * 16 + low) as u8;
            rest = behind;
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| AddressFault::Encoding)
}

/// Returns the characters that mean something to one of the two grammars, in their order.
fn separators(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|c| " \"&'/:<>@\\".contains(*c))
}
