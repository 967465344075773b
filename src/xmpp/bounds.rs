//! How much a peer may make the reader hold and do.

use crate::limits;

/// The bounds of one stream; each is answered with `policy-violation` (RFC 6120 section 4.9.3.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Elements within elements, the first level being 1.
    pub depth: u16,
    /// Bytes of one first-level element.
    pub element_bytes: u32,
    /// Bytes of the stream header and the XML declaration before it.
    pub header_bytes: u32,
    /// Attributes of one tag, namespace declarations included.
    pub attributes: u16,
    /// Bytes of one name with its prefix.
    pub name_bytes: u16,
    /// Bytes of the stream over all its restarts.
    pub stream_bytes: u64,
}

impl Bounds {
    /// What a peer may send before it has proved who it is.
    pub const UNAUTHENTICATED: Self = Self {
        depth: limits::XMPP_UNAUTHENTICATED_DEPTH_MAX,
        element_bytes: limits::XMPP_UNAUTHENTICATED_ELEMENT_BYTES_MAX,
        header_bytes: limits::XMPP_HEADER_BYTES_MAX,
        attributes: limits::XMPP_UNAUTHENTICATED_ATTRIBUTES_MAX,
        name_bytes: limits::XMPP_NAME_BYTES_MAX,
        stream_bytes: limits::XMPP_UNAUTHENTICATED_BYTES_MAX,
    };

    /// Returns the bounds of a peer that is known, whose stanzas have at most `stanza_bytes`.
    #[must_use]
    pub const fn authenticated(stanza_bytes: u32) -> Self {
        Self {
            depth: limits::XMPP_DEPTH_MAX,
            element_bytes: stanza_bytes,
            header_bytes: limits::XMPP_HEADER_BYTES_MAX,
            attributes: limits::XMPP_ATTRIBUTES_MAX,
            name_bytes: limits::XMPP_NAME_BYTES_MAX,
            stream_bytes: u64::MAX,
        }
    }
}
