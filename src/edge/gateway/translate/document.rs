//! XML documents in SIP bodies.

use crate::limits;
use crate::xmpp::{Bounds, Node, document};

pub use crate::xmpp::document::write;

/// What a SIP peer may make us hold: an order of magnitude more than real documents have.
const BOUNDS: Bounds = Bounds {
    depth: limits::GATEWAY_DOCUMENT_DEPTH_MAX,
    element_bytes: limits::GATEWAY_BODY_BYTES_MAX as u32,
    header_bytes: limits::XMPP_HEADER_BYTES_MAX,
    attributes: limits::XMPP_UNAUTHENTICATED_ATTRIBUTES_MAX,
    name_bytes: limits::XMPP_NAME_BYTES_MAX,
    stream_bytes: limits::GATEWAY_BODY_BYTES_MAX as u64 + 1024,
};

/// Reads a document, as [`document::read`] does.
#[must_use]
pub fn read(body: &[u8]) -> Option<Node> {
    document::read(body, BOUNDS)
}
