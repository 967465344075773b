//! One stream with a partner's server, and the table of everything that is connected.

use std::collections::VecDeque;
use std::sync::Arc;

use super::links::Link;
use crate::dns::Domain;
use crate::edge::xmpp_link::Proof;
use crate::edge::{CloseReason, LegId};
use crate::policy::{Anchors, PeerNames, XmppKey, XmppPartner, XmppPermit};
use crate::time::Monotonic;
use crate::xmpp::{Bounds, Features, Offered, PeerMisbehaved, Reader, StreamError};

/// A domain of ours and one of a partner's between which a stream carries stanzas.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) ours: Domain,
    pub(super) theirs: Domain,
    pub(super) proof: Proof,
    pub(super) permit: XmppPermit,
}

/// Whether a stream is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    Clear,
    Tls,
}

/// Which side of the stream we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The peer connected.
    Receiving,
    /// We did, for the route at this place.
    Initiating(u32),
}

/// How far the stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The peer's header is awaited, the first or that after a restart.
    Header,
    /// Receiving: headers are exchanged, the peer negotiates or sends.
    Open,
    /// Initiating: the peer's features are awaited.
    Features,
    /// Initiating: `<proceed/>` is awaited.
    Proceed,
    /// TLS is being agreed after STARTTLS.
    Securing,
    /// Initiating: the outcome of SASL is awaited.
    Sasl,
    /// Initiating: not authenticated, and there to ask about dialback claims alone.
    Asking,
    /// Initiating: the answer to our dialback key is awaited.
    Result,
    /// Initiating: stream management is awaited.
    Enabling,
    /// Initiating: stanzas may be sent.
    Ready,
    /// We have ended our direction and wait for the peer to end its own.
    Closing(Monotonic, CloseReason),
    /// A close was asked for.
    Dead,
}

/// A stanza that was written to a stream and is not known to be taken.
#[derive(Debug)]
pub(super) struct OnWay {
    /// Where to report: the link and the number there.
    pub(super) report: Option<(LegId, u64)>,
    pub(super) bytes: Box<[u8]>,
    /// Its last byte in the count of what was staged.
    pub(super) end: u64,
    pub(super) deadline: Monotonic,
}

/// Our count of what the peer acknowledges (XEP-0198).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Managed {
    pub(super) acknowledged: u32,
    /// An answer is awaited.
    pub(super) requested: bool,
}

/// A stream with a partner's server.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) leg: LegId,
    pub(super) side: Side,
    pub(super) reader: Reader,
    pub(super) cover: Cover,
    pub(super) state: State,
    pub(super) names: Option<Arc<PeerNames>>,
    pub(super) doubt: Option<Arc<str>>,
    /// The id that dialback keys are made with: that of the receiving side.
    pub(super) id: String,
    pub(super) header_sent: bool,
    /// Domains of the stream's header.
    pub(super) ours: Option<Domain>,
    pub(super) theirs: Option<Domain>,
    pub(super) partner: Option<XmppKey>,
    /// What the peer may send stanzas for.
    pub(super) inbound: Vec<Pair>,
    /// What we may; the first is the route's.
    pub(super) outbound: Vec<Pair>,
    /// XEP-0288 was asked for.
    pub(super) bidi: Offered,
    /// What the peer offered.
    pub(super) features: Features,
    /// The peer's header said that features follow (RFC 6120 section 4.7.5).
    pub(super) modern: bool,
    pub(super) dialback_declared: bool,
    pub(super) sasl_failures: u8,
    /// Stanzas of the peer that were handled, since it asked for them to be counted.
    pub(super) handled: Option<u32>,
    /// The same of ours.
    pub(super) managed: Option<Managed>,
    pub(super) on_way: VecDeque<OnWay>,
    pub(super) on_way_bytes: usize,
    /// Bytes staged since the beginning.
    pub(super) staged: u64,
    pub(super) opened_at: Monotonic,
    pub(super) heard_at: Monotonic,
    pub(super) stanza_at: Monotonic,
    pub(super) pinged_at: Option<Monotonic>,
}

impl Stream {
    pub(super) fn new(now: Monotonic, leg: LegId, side: Side) -> Self {
        Self {
            leg,
            side,
            reader: Reader::new(Bounds::UNAUTHENTICATED),
            cover: Cover::Clear,
            state: State::Header,
            names: None,
            doubt: None,
            id: String::new(),
            header_sent: false,
            ours: None,
            theirs: None,
            partner: None,
            inbound: Vec::new(),
            outbound: Vec::new(),
            bidi: Offered::No,
            features: Features::default(),
            modern: false,
            dialback_declared: false,
            sasl_failures: 0,
            handled: None,
            managed: None,
            on_way: VecDeque::new(),
            on_way_bytes: 0,
            staged: 0,
            opened_at: now,
            heard_at: now,
            stanza_at: now,
            pinged_at: None,
        }
    }

    pub(super) fn is_authenticated(&self) -> bool {
        !self.inbound.is_empty() || !self.outbound.is_empty()
    }

    /// Tells whether the certificate proves `domain`, by the anchors that count for the partner.
    pub(super) fn proves(&self, partner: &XmppPartner, domain: &Domain) -> bool {
        let counts = |names: &PeerNames| match (partner.anchors, names.anchors) {
            (None, Anchors::General) => true,
            (Some(wanted), Anchors::OfPartner(set)) => wanted == set,
            _ => false,
        };
        let names = self.names.as_deref();
        self.cover == Cover::Tls
            && names.is_some_and(|names| counts(names) && names.carries_xmpp_domain(domain))
    }

    /// Returns what dialback on this stream proves.
    pub(super) const fn dialback_proof(&self) -> Proof {
        match self.cover {
            Cover::Clear => Proof::DialbackClear,
            Cover::Tls => Proof::Dialback,
        }
    }

    pub(super) fn inbound_pair(&self, ours: &str, theirs: &str) -> Option<usize> {
        let is = |pair: &Pair| pair.ours.as_str() == ours && pair.theirs.as_str() == theirs;
        self.inbound.iter().position(is)
    }

    /// Begins the stream anew, after STARTTLS or SASL.
    pub(super) fn restart(&mut self) {
        self.reader.restart();
        self.state = State::Header;
        self.header_sent = false;
        self.features = Features::default();
    }
}

/// Why a stream ends, and how.
#[derive(Debug)]
pub(super) struct End {
    pub(super) error: Option<StreamError>,
    pub(super) reason: CloseReason,
    /// A sentence without user parts; goes to the log, and not to the peer.
    pub(super) sentence: String,
}

pub(super) type Going = Result<(), End>;

impl End {
    pub(super) fn refused(error: StreamError, sentence: impl Into<String>) -> Self {
        let reason = CloseReason::NotPermitted;
        Self { error: Some(error), reason, sentence: sentence.into() }
    }

    pub(super) fn abuse(error: StreamError, sentence: impl Into<String>) -> Self {
        Self { error: Some(error), reason: CloseReason::Abuse, sentence: sentence.into() }
    }

    /// Tells whether the peer is refused something, for which there is a number then.
    pub(super) fn is_refusal(&self) -> bool {
        let refuses = matches!(
            self.reason,
            CloseReason::NotPermitted | CloseReason::Abuse | CloseReason::FramingLost
        );
        refuses && self.error.is_some()
    }

    pub(super) fn ended(sentence: impl Into<String>) -> Self {
        Self { error: None, reason: CloseReason::Ended, sentence: sentence.into() }
    }
}

impl From<PeerMisbehaved> for End {
    fn from(fault: PeerMisbehaved) -> Self {
        let reason = CloseReason::FramingLost;
        Self { error: Some(fault.stream_error()), reason, sentence: fault.sentence().to_owned() }
    }
}

/// What a leg is.
#[derive(Debug)]
pub(super) enum Held {
    Stream(Box<Stream>),
    Link(Box<Link>),
}

/// Everything that is connected, by leg; walked in the order of the legs' places.
#[derive(Debug, Default)]
pub(super) struct Legs {
    places: Vec<Option<(LegId, Held)>>,
    streams: usize,
}

impl Legs {
    pub(super) fn put(&mut self, leg: LegId, held: Held) {
        let index = leg.index as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        self.streams += usize::from(matches!(held, Held::Stream(_)));
        let before = self.places[index].replace((leg, held));
        assert!(before.is_none(), "a leg's place is taken once");
    }

    /// Takes a leg out, so that the proxy can be changed while it is worked on.
    pub(super) fn take(&mut self, leg: LegId) -> Option<Held> {
        let place = self.places.get_mut(leg.index as usize)?;
        let (_, held) = place.take_if(|(id, _)| *id == leg)?;
        self.streams -= usize::from(matches!(held, Held::Stream(_)));
        Some(held)
    }

    /// Takes a stream out; a link at this place stays where it is.
    pub(super) fn take_stream(&mut self, leg: LegId) -> Option<Box<Stream>> {
        self.stream(leg)?;
        match self.take(leg)? {
            Held::Stream(stream) => Some(stream),
            Held::Link(_) => unreachable!("it was a stream a line above"),
        }
    }

    /// Takes a link out; a stream at this place stays where it is.
    pub(super) fn take_link(&mut self, leg: LegId) -> Option<Box<Link>> {
        self.link(leg)?;
        match self.take(leg)? {
            Held::Link(link) => Some(link),
            Held::Stream(_) => unreachable!("it was a link a line above"),
        }
    }

    pub(super) fn stream(&mut self, leg: LegId) -> Option<&mut Stream> {
        match self.places.get_mut(leg.index as usize)?.as_mut()? {
            (id, Held::Stream(stream)) if *id == leg => Some(stream),
            _ => None,
        }
    }

    pub(super) fn link(&mut self, leg: LegId) -> Option<&mut Link> {
        match self.places.get_mut(leg.index as usize)?.as_mut()? {
            (id, Held::Link(link)) if *id == leg => Some(link),
            _ => None,
        }
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.places.iter().flatten().filter_map(|(_, held)| match held {
            Held::Stream(stream) => Some(&**stream),
            Held::Link(_) => None,
        })
    }

    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.places.iter().flatten().filter_map(|(_, held)| match held {
            Held::Link(link) => Some(&**link),
            Held::Stream(_) => None,
        })
    }

    pub(super) const fn stream_count(&self) -> usize {
        self.streams
    }

    pub(super) fn ids(&self) -> Vec<LegId> {
        self.places.iter().flatten().map(|(leg, _)| *leg).collect()
    }
}
