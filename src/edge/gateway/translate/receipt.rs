//! Receipts (XEP-0184, RFC 5438, Lync's `application/ms-imdn+xml`).

use super::text::xml_text;
use super::{document, ns};
use crate::limits;
use crate::xmpp::Node;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// It was shown to a client of the addressee.
    Delivered,
    /// It was not. XEP-0184 has no word for that: an error stanza has.
    Failed,
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the message.
    pub message_id: String,
    /// What became of it.
    pub disposition: Disposition,
}

/// What a stanza has to do with receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptPart {
    /// It asks for one under its own id.
    Request,
    /// It is one for this id.
    Received(String),
}

impl ReceiptPart {
    /// Reads it of a stanza; `None`: nothing. A request without an id for the receipt to name is
    /// none (XEP-0184 section 5.1).
    #[must_use]
    pub fn of_stanza(stanza: &Node) -> Option<Self> {
        if let Some(received) = stanza.child("received", ns::RECEIPTS) {
            // Drafts before 1.1 put the id on the stanza itself.
            let id = received.attribute("id").or(stanza.attribute("id"))?;
            return message_id(id).map(Self::Received);
        }
        stanza.child("request", ns::RECEIPTS)?;
        stanza.attribute("id").map(|_| Self::Request)
    }

    /// Returns the element.
    #[must_use]
    pub fn node(&self) -> Node {
        match self {
            Self::Request => Node::new("request", ns::RECEIPTS),
            Self::Received(id) => Node::new("received", ns::RECEIPTS).with("id", &**id),
        }
    }
}

/// Returns an id that may stand in one line.
fn message_id(id: &str) -> Option<String> {
    let fits = (1..=limits::GATEWAY_MESSAGE_ID_BYTES_MAX).contains(&id.len());
    (fits && !id.contains(char::is_control)).then(|| id.to_owned())
}

impl Receipt {
    /// Reads a body of `message/imdn+xml`, or of `application/ms-imdn+xml`. `None`: it is none, or
    /// tells of something else than delivery.
    ///
    /// Source: RFC 5438 section 7.1. Of Lync's form only the names of its elements are relied on.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let root = document::read(body)?;
        if root.name() != "imdn" {
            return None;
        }
        let id = find(&root, "message-id", 4)?.text();
        let status = find(&root, "status", 4)?;
        let disposition = match status.children().next().map(Node::name) {
            Some("delivered" | "displayed") => Disposition::Delivered,
            Some("failed" | "error" | "forbidden") => Disposition::Failed,
            Some(_) => return None,
            // Lync writes a SIP status code.
            None => match status.text().trim().parse::<u16>().ok()? {
                200..300 => Disposition::Delivered,
                300.. => Disposition::Failed,
                _ => return None,
            },
        };
        let message_id = message_id(id.trim())?;
        Some(Self { message_id, disposition })
    }

    /// Writes a body of `message/imdn+xml`.
    ///
    /// `date_time`: when it was delivered, as RFC 3339 has it.
    #[must_use]
    pub fn write(&self, date_time: &str) -> Vec<u8> {
        let node = |name: &'static str| Node::new(name, ns::IMDN);
        let status = node("status").with_child(node(match self.disposition {
            Disposition::Delivered => "delivered",
            Disposition::Failed => "failed",
        }));
        let id = xml_text(&self.message_id, limits::GATEWAY_MESSAGE_ID_BYTES_MAX).value;
        let root = node("imdn")
            .with_child(node("message-id").with_text(id))
            .with_child(node("datetime").with_text(date_time))
            .with_child(node("delivery-notification").with_child(status));
        document::write(&root)
    }
}

/// Finds the first element of a name, at most `depth` levels down.
fn find<'a>(node: &'a Node, name: &str, depth: u8) -> Option<&'a Node> {
    let depth = depth.checked_sub(1)?;
    node.children()
        .find_map(|child| if child.name() == name { Some(child) } else { find(child, name, depth) })
}
