//! Whole XML documents, as bodies of other protocols carry them, read by the strict reader of
//! streams.

use super::bounds::Bounds;
use super::node::Node;
use super::reader::{Read, Reader};

/// What stands before a document, so that the reader takes it for a stanza. An element without a
/// namespace of its own has the one of stanzas.
const OPENING: &[u8] = b"<stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams'>";

/// Reads a document of at most `bounds.element_bytes`. `None`: it is not well formed, too large or
/// too deep, not UTF-8, or has a document type, comment, processing instruction or entity.
#[must_use]
pub fn read(body: &[u8], bounds: Bounds) -> Option<Node> {
    if body.len() > bounds.element_bytes as usize {
        return None;
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let body = without_declaration(body)?.trim_ascii();
    let mut reader = Reader::new(bounds);
    let Ok(Read::Header { .. }) = reader.read(OPENING) else { return None };
    match reader.read(body) {
        Ok(Read::Element { element, consumed }) if consumed == body.len() => {
            Some(Node::from(&element))
        }
        _ => None,
    }
}

/// Returns what is behind the XML declaration. `None`: it names another encoding than UTF-8.
fn without_declaration(body: &[u8]) -> Option<&[u8]> {
    let body = body.trim_ascii_start();
    let Some(rest) = body.strip_prefix(b"<?xml") else { return Some(body) };
    let end = memchr::memmem::find(rest, b"?>")?;
    let declaration = rest.get(..end)?.to_ascii_lowercase();
    let is_utf8 = match memchr::memmem::find(&declaration, b"encoding") {
        None => true,
        // What is ASCII is UTF-8.
        Some(_) => [&b"utf-8"[..], b"us-ascii"]
            .iter()
            .any(|encoding| memchr::memmem::find(&declaration, encoding).is_some()),
    };
    is_utf8.then(|| rest.get(end + 2..)).flatten()
}

/// Writes a document with its declaration.
#[must_use]
pub fn write(root: &Node) -> Vec<u8> {
    let mut out = b"<?xml version='1.0' encoding='UTF-8'?>\r\n".to_vec();
    root.write_within("", &mut out);
    out
}
