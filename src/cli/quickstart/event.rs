//! What the parties tell of: the story judges it, and the ladder draws it.

use super::message::Message;
use crate::xmpp::Node;

/// Whether a message was sent or received by the party that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It left the party.
    Sent,
    /// It reached the party.
    Received,
}

/// What a party sent or received.
#[derive(Clone, Debug)]
pub(super) enum Passed {
    /// A request or a response.
    Sip(Message),
    /// A first-level element of a stream, or the stream's own.
    Xmpp(Node),
    /// What a user asks of its relay, or is granted.
    Relay(String),
    /// So many packets of RTP, by the relays of both.
    Rtp(u16),
}

impl Passed {
    /// Returns the SIP message, if it is one.
    pub(super) const fn sip(&self) -> Option<&Message> {
        match self {
            Self::Sip(message) => Some(message),
            Self::Xmpp(_) | Self::Relay(_) | Self::Rtp(_) => None,
        }
    }

    /// Returns the element, if it is one.
    pub(super) const fn xmpp(&self) -> Option<&Node> {
        match self {
            Self::Sip(_) | Self::Relay(_) | Self::Rtp(_) => None,
            Self::Xmpp(node) => Some(node),
        }
    }
}

/// Something that passed as one of the parties saw it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// Which party, by its place in the ladder.
    pub(super) party: usize,
    /// Which way it went.
    pub(super) way: Way,
    /// What it was.
    pub(super) what: Passed,
}
