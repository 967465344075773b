//! The link between XMPP proxy and gateway, port 23456: how a stanza crosses it and is accounted
//! for. What Microsoft's parts said to each other here is not known, so this is our own.
//!
//! ```text
//! gateway ── TCP, TLS with certificates of listed names on both sides ──> edge
//!         ── <stream:stream from='gateway' to='edge' version='1.0'> ─────>
//!         <── <stream:stream from='edge' to='gateway' id='…' version='1.0'>
//!         <── <stream:features><link xmlns='urn:entente:link:2' stanzas='…' bytes='…'/></…>
//!         ── <link xmlns='urn:entente:link:2' stanzas='…' bytes='…' gateways='told'/> ─>
//!         <── <gateways xmlns='urn:entente:link:2' names='gateway other.gateway'/>
//!         ── <message entente:n='1' …/> ─────────────────────────────────>
//!         <── <taken n='1'/>, or <bounced n='1'><error …/></bounced>
//!         <── <message entente:n='7001' entente:partner='…' entente:type='…' entente:auth='…' …/>
//!         ── <done n='7001'/> ───────────────────────────────────────────>
//! ```
//!
//! 1. One `jabber:server` stream per gateway and edge, both directions on it. The gateway connects
//!    and speaks first; a gateway may not send stanzas before its `<link/>`, an edge not before it
//!    has seen that.
//! 2. The version of the protocol is in the namespace. An edge may offer several; a gateway that
//!    finds none it knows ends the stream with `unsupported-version`.
//! 3. `stanzas` and `bytes` say how much the side that states them takes before it has accounted
//!    for it. Whoever sends more is cut off with `policy-violation`.
//! 4. Each stanza of a gateway is numbered, `entente:n`, from 1 in steps of 1. The edge reports on
//!    each by itself, in any order: `<taken n=''/>` once the partner's stream took it (with
//!    XEP-0198 there, once it is acknowledged; else once the kernel took all of its bytes), or
//!    `<bounced n=''>` with the stanza error that its sender is to get. The gateway keeps a stanza
//!    until then. A cumulative count would not do: one partner that cannot be reached would hold
//!    up the reports of all.
//! 5. Each stanza of an edge has three attributes that its partner cannot make, since no stanza of
//!    a partner passes that knows their prefix: `entente:partner`, the partner's first domain;
//!    `entente:type`, one of `federated`, `public_verified`, `public_unverified`; `entente:auth`,
//!    how it proved the stanza's domain, one of `external`, `dialback`, `dialback-clear`.
//!    It is numbered too, by which the gateway says of each when it is done with it, in any order:
//!    `<done n='7001 7003'/>`. A message is done with when the SIP side has answered for it, or
//!    when an edge has reported on the error that its sender gets. The edge keeps it until then.
//!    XEP-0198 says only how many were read: a gateway that dies after that takes them with it.
//! 6. When a link dies, each side sends what is not accounted for again by another link, or
//!    bounces it. So a stanza may come twice across the loss of a link, and is never lost unsaid.
//!    An edge's stanza keeps its number then, and says `entente:again='yes'`: the gateway that has
//!    it already, whose link broke and not itself, takes it for the same. The numbers of an edge's
//!    process begin where nobody guesses, so that it is not taken for the process before it.
//! 7. White space keeps a silent link open.
//! 8. A gateway that says `gateways='told'` is told the names of the gateways that are linked with
//!    the edge, itself among them: once it is up, and whenever they change. The edge gives each
//!    pair of domains to one of them ([`crate::policy::rendezvous`]), so each knows its pairs.

mod edge;
mod gateway;
#[cfg(test)]
mod tests;
mod window;

pub use edge::{EdgeEnd, FromGateway, Outgoing, without_marks};
pub use gateway::{FromEdge, GatewayEnd, Unreported};
pub use window::{Full, Window};

use std::borrow::Cow;

use crate::dns::Domain;
use crate::limits;
use crate::policy::XmppKind;
use crate::xmpp::{Bounds, Element, PeerMisbehaved, StreamError};

/// The namespace of the protocol, with its version.
pub const NAMESPACE: &str = "urn:entente:link:2";
/// The prefix that its attributes always have.
pub const PREFIX: &str = "entente";

const DECLARES: &str = "xmlns:entente";
const NUMBER: &str = "entente:n";
/// What a stanza of an edge has that was sent by another link before.
const AGAIN: (&str, &str) = ("entente:again", "yes");
const PARTNER: &str = "entente:partner";
const KIND: &str = "entente:type";
const PROOF: &str = "entente:auth";
/// With which value a `<link/>` asks for `<gateways/>`.
const TOLD: (&str, &str) = ("gateways", "told");

/// How a partner proved the domain that a stanza comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proof {
    /// By its certificate.
    External,
    /// By DNS, over TLS.
    Dialback,
    /// By DNS, in the clear.
    DialbackClear,
}

impl Proof {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::External, Self::Dialback, Self::DialbackClear];

    /// Returns the value of `entente:auth`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Dialback => "dialback",
            Self::DialbackClear => "dialback-clear",
        }
    }
}

/// Whether a stanza was sent before, so that it may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It comes for the first time.
    No,
    /// It was sent by a link that was lost.
    Yes,
}

impl Again {
    fn read(element: &Element<'_>) -> Self {
        let is_marked = element.attribute(AGAIN.0).as_deref() == Some(AGAIN.1);
        if is_marked { Self::Yes } else { Self::No }
    }
}

/// Who a stanza of an edge is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The partner's first domain.
    pub partner: Domain,
    /// What its users may do unasked.
    pub kind: XmppKind,
    /// How it proved the domain of the stanza's `from`.
    pub proof: Proof,
}

impl Origin {
    fn read(element: &Element<'_>) -> Option<Self> {
        let partner = Domain::parse(element.attribute(PARTNER)?.as_bytes()).ok()?;
        let kind = element.attribute(KIND)?;
        let kinds = [XmppKind::Federated, XmppKind::PublicVerified, XmppKind::PublicUnverified];
        let kind = kinds.into_iter().find(|known| known.as_str() == kind)?;
        let proof = element.attribute(PROOF)?;
        let proof = Proof::ALL.into_iter().find(|known| known.as_str() == proof)?;
        Some(Self { partner, kind, proof })
    }
}

/// What the other end of a link did wrong. Answer with the stream error and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkFault {
    /// The bytes are no stream.
    Stream(PeerMisbehaved),
    /// The header names nobody.
    Nameless,
    /// The edge offers no version of the protocol that is known.
    Version,
    /// An element that may not be there.
    Unexpected,
    /// A number, count or mark is missing or wrong.
    Accounting,
    /// More than the window was sent.
    Window,
    /// The other end sent this stream error.
    Told(StreamError),
}

impl LinkFault {
    /// Returns the stream error to answer with; none if the other end has ended the stream so.
    #[must_use]
    pub const fn stream_error(self) -> Option<StreamError> {
        match self {
            Self::Stream(fault) => Some(fault.stream_error()),
            Self::Nameless => Some(StreamError::ImproperAddressing),
            Self::Version => Some(StreamError::UnsupportedVersion),
            Self::Unexpected => Some(StreamError::UnsupportedStanzaType),
            Self::Accounting => Some(StreamError::UndefinedCondition),
            Self::Window => Some(StreamError::PolicyViolation),
            Self::Told(_) => None,
        }
    }

    /// Returns what happened, in words for an operator.
    #[must_use]
    pub fn sentence(self) -> Cow<'static, str> {
        match self {
            Self::Stream(fault) => fault.sentence().into(),
            Self::Nameless => "the header of the link names nobody".into(),
            Self::Version => "no version of the link's protocol is known to both ends".into(),
            Self::Unexpected => "an element that has no place on a link".into(),
            Self::Accounting => "a number of the link is missing or wrong".into(),
            Self::Window => "more stanzas than the window of the link".into(),
            Self::Told(error) => format!("the other end says {}", error.as_str()).into(),
        }
    }
}

impl From<PeerMisbehaved> for LinkFault {
    fn from(fault: PeerMisbehaved) -> Self {
        Self::Stream(fault)
    }
}

/// Both ends are our own servers; a bounce wraps an error, so that it is one level deeper.
const fn bounds() -> Bounds {
    Bounds::authenticated(limits::XMPP_LINK_ELEMENT_BYTES_MAX)
}

/// Returns the window that a `<link/>` states, as far as this end goes along.
fn window_of(attribute: impl Fn(&str) -> Option<usize>) -> Option<Window> {
    let (stanzas, bytes) = (attribute("stanzas")?, attribute("bytes")?);
    let own = Window::default();
    Some(Window { stanzas: stanzas.min(own.stanzas), bytes: bytes.min(own.bytes) })
}

/// Returns how long `<` and the name are that a written element begins with.
fn name_of(element: &[u8]) -> usize {
    let ends_name = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>');
    element.iter().position(ends_name).unwrap_or(element.len())
}
