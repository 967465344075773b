//! The wrapper that asks for receipts (RFC 3862, RFC 5438).
//!
//! ```text
//!  From: <im:kim@contoso.example>        message headers
//!  NS: imdn <urn:ietf:params:imdn>
//!  imdn.Message-ID: 34jk324j
//!  imdn.Disposition-Notification: positive-delivery
//!
//!  Content-Type: text/plain              headers of the content
//!
//!  Hello
//! ```

use super::multipart::Part;

/// The namespace of the headers of RFC 5438.
const IMDN: &[u8] = b"urn:ietf:params:imdn";

/// A wrapper, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpim<'a> {
    message: Part<'a>,
    /// What is wrapped.
    pub content: Part<'a>,
}

impl<'a> Cpim<'a> {
    /// Reads a `message/cpim` body. `None`: it is none.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let message = Part::read(body)?;
        Some(Self { message, content: Part::read(message.content)? })
    }

    /// Returns the id that a receipt is to name. `None`: there is none, or one that no stanza
    /// could carry.
    #[must_use]
    pub fn message_id(&self) -> Option<&'a str> {
        let id = std::str::from_utf8(self.imdn("Message-ID")?).ok()?;
        (!id.is_empty() && !id.contains(char::is_control)).then_some(id)
    }

    /// Tells whether a receipt for delivery is asked for (RFC 5438 section 6.2).
    #[must_use]
    pub fn wants_receipt(&self) -> bool {
        let wanted = self.imdn("Disposition-Notification").unwrap_or_default();
        let mut wanted = wanted.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        wanted.any(|kind| kind.eq_ignore_ascii_case(b"positive-delivery"))
    }

    /// Returns when it was written, as it stands.
    #[must_use]
    pub fn date_time(&self) -> Option<&'a str> {
        std::str::from_utf8(self.message.header("DateTime")?).ok()
    }

    /// Returns a header of RFC 5438, whatever prefix it was given.
    fn imdn(&self, name: &str) -> Option<&'a [u8]> {
        let declared = self.message.header("NS")?;
        let open = memchr::memchr(b'<', declared)?;
        let (prefix, uri) = declared.split_at(open);
        if uri.get(1..)?.strip_suffix(b">")? != IMDN {
            return None;
        }
        let prefix = std::str::from_utf8(prefix.trim_ascii()).ok()?;
        self.message.header(&format!("{prefix}.{name}"))
    }
}

/// Writes a wrapper.
///
/// `from`, `to`: URIs. `message_id`: of one line; asks for a receipt if `wants_receipt`.
#[must_use]
pub fn write(
    from: &str,
    to: &str,
    message_id: &str,
    asks: Asks,
    content_type: &str,
    content: &[u8],
) -> Vec<u8> {
    let mut out = format!("From: <{from}>\r\nTo: <{to}>\r\nNS: imdn <urn:ietf:params:imdn>\r\n");
    out.push_str(&format!("imdn.Message-ID: {message_id}\r\n"));
    if asks == Asks::Delivery {
        out.push_str("imdn.Disposition-Notification: positive-delivery\r\n");
    }
    out.push_str(&format!("\r\nContent-Type: {content_type}\r\n\r\n"));
    let mut out = out.into_bytes();
    out.extend_from_slice(content);
    out
}

/// What a wrapped message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asks {
    /// Nothing: it is a receipt itself, or wrapped for its id.
    Nothing,
    /// To be told of its delivery.
    Delivery,
}
