//! Legs in a slab with generations, their states, and what a leg keeps between turns.

use std::net::SocketAddr;

use super::close::Why;
use super::connect::Connected;
use super::sources;
use crate::chunked::Chunked;
use crate::dns::Domain;
use crate::edge::{Class, LegId, OutletId};
use crate::poll::Token;
use crate::time::Monotonic;
use crate::tls;

/// Generations count in 31 bits: the top bit of a token marks what is no leg.
const GENERATION_MASK: u32 = u32::MAX >> 1;
const NO_LEG: u64 = 1 << 63;

/// What a token of the poller stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Leg(LegId),
    Listener(usize),
    Waker,
}

impl Source {
    pub(super) const fn token(self) -> Token {
        match self {
            Self::Leg(id) => {
                Token(((id.generation & GENERATION_MASK) as u64) << 32 | id.index as u64)
            }
            Self::Listener(place) => Token(NO_LEG | 1 << 32 | place as u64),
            Self::Waker => Token(NO_LEG),
        }
    }

    pub(super) const fn of(token: Token) -> Self {
        let (high, low) = (token.0 >> 32, token.0 as u32);
        if token.0 & NO_LEG == 0 {
            Self::Leg(LegId { index: low, generation: high as u32 })
        } else if token.0 == NO_LEG {
            Self::Waker
        } else {
            Self::Listener(low as usize)
        }
    }
}

/// One connection. Its memory when idle: this, a box of [`Secure`] and what the TLS session holds.
pub(super) struct Leg<S> {
    pub(super) stream: S,
    pub(super) class: Class,
    /// A balancer opened it for itself, to see whether we live (PROXY protocol, LOCAL).
    pub(super) check: bool,
    pub(super) origin: Origin,
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
    /// When it was accepted or the connection attempt began.
    pub(super) since: Monotonic,
    pub(super) inbox: Inbox,
    pub(super) unsent: Unsent,
    pub(super) state: State,
}

/// Where a leg came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Accepted from the listener at this place of the configuration.
    Accepted { listener: u16 },
    /// Opened for the core.
    Outgoing { outlet: OutletId },
}

/// What is known of the reading side; the poller reports changes only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inbox {
    /// There may be something to read.
    pub(super) readable: bool,
    /// The peer has sent its last byte: a short read does not mean drained.
    pub(super) hangup: bool,
    /// The leg is in the list of those to be served next turn, or in the queue of handshakes.
    pub(super) queued: bool,
}

/// How far a leg has come.
pub(super) enum State {
    /// The kernel connects; part of a dial.
    Connecting { dial: u32 },
    /// Accepted; nothing, or a part of a PROXY header, has come.
    Greeting(Greeting),
    /// TLS is being agreed.
    Handshaking(Box<Handshaking>),
    /// The core has it; TLS stands, or is still to come.
    Established(Box<Established>),
    /// Sealed for the last time; when the last bytes are out, the core hears of the end.
    Flushing(Box<Why>),
    /// The core has forgotten it, or never knew it: the last bytes are on their way out, or the
    /// peer still has to close its side.
    Lingering,
}

/// Nothing is known of the peer yet.
pub(super) struct Greeting {
    pub(super) proxy: ProxyHeader,
    /// What came of the header so far.
    pub(super) received: Vec<u8>,
    /// Its place among the half-open connections of its source; none while that is not known.
    pub(super) source: Option<sources::Place>,
}

/// What a PROXY header is on this leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    Required,
    Refused,
}

/// TLS and what it needs between turns; exists from the first byte to the last.
pub(super) struct Secure {
    pub(super) session: tls::Session,
    /// Ciphertext of a record that is not whole yet.
    pub(super) partial: Vec<u8>,
    /// Plaintext of a message that is not whole yet, or that the turn had no time for.
    pub(super) joined: Joined,
}

pub(super) struct Handshaking {
    pub(super) secure: Secure,
    /// The material it was begun with, which judges the certificate.
    pub(super) edition: u64,
    pub(super) input: Input,
    /// `None` once it was given back, and of outgoing legs.
    pub(super) half_open: Option<HalfOpen>,
    pub(super) known: Known,
}

/// Whether the core knows a leg while its TLS is being agreed.
pub(super) enum Known {
    /// It hears of it when TLS stands.
    Not,
    /// It asked for TLS on a leg that began in the clear.
    Yes {
        /// Set once the leg is to be closed, whatever becomes of the handshake.
        ending: Option<Why>,
    },
}

/// What an accepted connection holds that has proven nothing: a place among all of that kind, and
/// one among those of its source. Given back once.
#[derive(Debug)]
pub(super) struct HalfOpen(pub(super) Option<sources::Place>);

/// What has come of a handshake's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Not one byte: if the peer closes, it was a probe.
    Nothing,
    /// [`Secure::partial`] holds bytes that TLS has not seen.
    Fresh,
    /// TLS has seen all of it.
    Seen,
}

pub(super) struct Established {
    pub(super) secure: Secure,
    /// The material its certificate was last judged by.
    pub(super) judged: u64,
    /// Set once it is to be closed: from then on nothing is read.
    pub(super) ending: Option<Why>,
    /// Of a leg that began without TLS and has none yet.
    pub(super) clear: Option<Box<Clear>>,
}

/// What a leg in the clear keeps for its STARTTLS.
pub(super) struct Clear {
    /// Of an accepted one, until the core says that its peer has proven who it is.
    pub(super) half_open: Option<HalfOpen>,
    /// Of an outgoing one: how TLS is to be begun.
    pub(super) connected: Option<Connected>,
    /// Set once the core wants TLS: from then on nothing is read in the clear. As client the name
    /// to ask for, as server the one that was asked for.
    pub(super) begins: Option<Domain>,
}

/// Plaintext kept between records or turns.
#[derive(Default)]
pub(super) struct Joined {
    bytes: Vec<u8>,
    start: usize,
    /// Bytes the core wants to see before it is asked again; 0 if it may be asked at once.
    need: usize,
}

impl Joined {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the core should be asked.
    pub(super) fn due(&self) -> bool {
        !self.is_empty() && self.len() >= self.need
    }

    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Keeps `bytes`; `need` is what the core asked for, counted from the first unread byte.
    pub(super) fn keep(&mut self, bytes: &[u8], need: usize) {
        self.need = need;
        // Growing in one step spares copies; the peer's own word is believed up to what one
        // record may bring, so that an announced length alone takes no memory.
        let announced = need.saturating_sub(self.len());
        self.bytes.reserve(announced.min(bytes.len() + crate::limits::TLS_RECORD_BYTES_MAX));
        self.bytes.extend_from_slice(bytes);
    }

    /// Keeps `bytes` behind what is kept already; what the core wants stays as it is.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.keep(bytes, self.need);
    }

    pub(super) const fn need(&mut self, need: usize) {
        self.need = need;
    }

    /// Forgets what was consumed; an empty one holds no memory.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.need = 0;
        assert!(self.start <= self.bytes.len(), "no more is consumed than was there");
        if self.start == self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Moves the rest to the front, once per turn.
    pub(super) fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

/// Ciphertext the socket has not taken.
#[derive(Default)]
pub(super) struct Unsent {
    bytes: Vec<u8>,
    start: usize,
}

impl Unsent {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets what was sent; an empty one holds no memory.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.start += bytes;
        assert!(self.start <= self.bytes.len(), "no more is sent than was there");
        if self.start == self.bytes.len() {
            *self = Self::default();
        }
    }
}

/// The legs of one shard.
pub(super) struct Legs<S> {
    places: Chunked<Entry<S>>,
    free: Vec<u32>,
}

struct Entry<S> {
    generation: u32,
    leg: Option<Leg<S>>,
}

impl<S> Legs<S> {
    pub(super) fn new() -> Self {
        Self { places: Chunked::default(), free: Vec::new() }
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Returns how many places there are, used or not; every index lies below.
    pub(super) fn places(&self) -> u32 {
        self.places.len() as u32
    }

    pub(super) fn insert(&mut self, leg: Leg<S>) -> LegId {
        let index = self
            .free
            .pop()
            .unwrap_or_else(|| self.places.push(Entry { generation: 0, leg: None }) as u32);
        let entry = &mut self.places[index as usize];
        assert!(entry.leg.is_none(), "a free place is empty");
        entry.leg = Some(leg);
        LegId { index, generation: entry.generation }
    }

    pub(super) fn get_mut(&mut self, id: LegId) -> Option<&mut Leg<S>> {
        let entry = self.places.get_mut(id.index as usize)?;
        if entry.generation == id.generation { entry.leg.as_mut() } else { None }
    }

    pub(super) fn get(&self, id: LegId) -> Option<&Leg<S>> {
        let entry = self.places.get(id.index as usize)?;
        if entry.generation == id.generation { entry.leg.as_ref() } else { None }
    }

    /// Returns the full name of whoever is at `index`.
    pub(super) fn at(&self, index: u32) -> Option<LegId> {
        let entry = self.places.get(index as usize)?;
        entry.leg.as_ref().map(|_| LegId { index, generation: entry.generation })
    }

    /// Returns whether `holds` for every leg.
    pub(super) fn all(&self, holds: impl Fn(&Leg<S>) -> bool) -> bool {
        self.places.iter().filter_map(|entry| entry.leg.as_ref()).all(holds)
    }

    pub(super) fn remove(&mut self, id: LegId) -> Option<Leg<S>> {
        let entry = self.places.get_mut(id.index as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        let leg = entry.leg.take()?;
        entry.generation = (entry.generation + 1) & GENERATION_MASK;
        self.free.push(id.index);
        Some(leg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_for_what_it_was_made_of() {
        let leg = LegId { index: u32::MAX, generation: GENERATION_MASK };
        for source in [Source::Leg(leg), Source::Listener(0), Source::Listener(70), Source::Waker] {
            assert_eq!(Source::of(source.token()), source);
            assert_ne!(source.token(), Token::NOBODY);
        }
    }

    #[test]
    fn a_leg_without_its_session_stays_small() {
        assert!(size_of::<Entry<std::net::TcpStream>>() <= 224, "of 5.4 KiB for an idle leg");
    }

    #[test]
    fn joined_bytes_wait_until_the_core_has_what_it_wants() {
        let mut joined = Joined::default();
        joined.keep(b"abc", 5);
        assert!(!joined.due());
        joined.keep(b"de", 5);
        assert!(joined.due());
        joined.consume(4);
        assert!(joined.due());
        joined.need(2);
        assert!(!joined.due());
        joined.compact();
        assert_eq!(joined.unread(), b"e");
        joined.consume(1);
        assert_eq!(joined.bytes.capacity(), 0, "an idle leg holds no buffer");
    }

    #[test]
    fn an_announced_length_takes_no_memory_before_its_bytes_come() {
        let mut joined = Joined::default();
        joined.keep(b"Content-Length: 1000000", crate::limits::SIP_MESSAGE_BYTES_MAX);
        assert!(joined.bytes.capacity() < 2 * crate::limits::TLS_RECORD_BYTES_MAX);
    }

    #[test]
    fn unsent_bytes_hold_memory_only_while_there_are_some() {
        let mut unsent = Unsent::default();
        unsent.keep(b"abcdef");
        unsent.sent(4);
        assert_eq!(unsent.bytes(), b"ef");
        unsent.keep(b"g");
        unsent.sent(3);
        assert!(unsent.is_empty());
        assert_eq!(unsent.bytes.capacity(), 0);
    }
}
