//! Ping (XEP-0199).

use super::element::{Element, Stanza};
use super::{ns, write};

/// Appends a ping from one server to another.
pub fn write_ping(from: &str, to: &str, id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<iq");
    for (name, value) in [("type", "get"), ("from", from), ("to", to), ("id", id)] {
        write::attribute(name, value, out);
    }
    out.push(b'>');
    write::empty("ping", ns::PING, out);
    out.extend_from_slice(b"</iq>");
}

/// Tells whether the element is a ping.
#[must_use]
pub fn is_ping(element: &Element<'_>) -> bool {
    element.stanza() == Some(Stanza::Iq)
        && element.kind().as_deref() == Some("get")
        && element.child("ping", ns::PING).is_some()
}

/// Appends the answer to a ping.
pub fn write_pong(ping: &Element<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<iq");
    write::attribute("type", "result", out);
    for (name, value) in [("from", ping.to()), ("to", ping.from()), ("id", ping.id())] {
        if let Some(value) = value {
            write::attribute(name, &value, out);
        }
    }
    out.extend_from_slice(b"/>");
}

/// Tells whether the element answers the ping of this id: a result, or any error, which shows as
/// well that the peer is there (XEP-0199 section 4.1).
#[must_use]
pub fn answers(element: &Element<'_>, id: &str) -> bool {
    element.stanza() == Some(Stanza::Iq)
        && matches!(element.kind().as_deref(), Some("result" | "error"))
        && element.id().as_deref() == Some(id)
}
