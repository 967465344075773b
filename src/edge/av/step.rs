//! What comes to a relay, and what it says is to be done.

use std::net::SocketAddr;

use super::connections::ConnectionId;
use super::medium::Medium;
use super::ports::RelayPort;
use crate::stun::CHANNEL_HEADER_BYTES;

/// Who a datagram or frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client {
    /// Number of the listener.
    pub listener: u16,
    /// What it came by.
    pub transport: Transport,
    /// Its address as we see it.
    pub remote: SocketAddr,
}

/// What a client's datagrams come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream, with or without TLS.
    Stream,
}

/// What an allocation's data comes from and goes to peers by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// Datagrams.
    #[default]
    Udp,
    /// TCP connections, each with a connection of the client's (RFC 6062).
    Tcp,
}

/// A datagram that came from a client.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// From whom.
    pub client: Client,
    /// The address it was sent to: the node's own, or the pool's.
    pub addressed: SocketAddr,
    /// What; one message where it came by a stream.
    pub datagram: &'a [u8],
}

/// What to do with a datagram. Whatever borrows is sent before the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing; it was counted.
    Drop(Dropped),
    /// Send [`Output::answer`] back the way the datagram came.
    Answer,
    /// Open sockets of this kind for [`Output::opens`], then call [`super::Relay::opened`].
    Open(Carrier),
    /// Connect from a relayed port to a peer, then call [`super::Relay::connected`].
    Connect {
        /// What it is named by.
        connection: ConnectionId,
        /// From where.
        port: RelayPort,
        /// To whom.
        peer: SocketAddr,
    },
    /// Send [`Output::answer`] back; from there on the stream that it goes by carries what this
    /// connection carries, and nothing else.
    Bind {
        /// Which.
        connection: ConnectionId,
    },
    /// Send `payload` from a relayed port to a peer.
    ToPeer {
        /// From where.
        port: RelayPort,
        /// To whom.
        peer: SocketAddr,
        /// What.
        payload: &'a [u8],
        /// What that carries.
        medium: Medium,
    },
    /// Let the relay of another thread have it, whose [`super::Relay::from_peer`] takes it.
    ToSibling {
        /// The relayed port that it is for.
        port: RelayPort,
        /// The relayed address that it comes from.
        from: SocketAddr,
        /// What.
        payload: &'a [u8],
    },
    /// Send to a client: what `around` says, with the payload within.
    ToClient {
        /// To whom.
        client: Client,
        /// What goes before and behind.
        around: Around,
        /// What.
        payload: &'a [u8],
        /// What that carries.
        medium: Medium,
    },
}

/// How a payload is wrapped for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// These four bytes go before it; on a stream, zeros up to a multiple of four go behind.
    Channel([u8; CHANNEL_HEADER_BYTES]),
    /// [`Output::head`] goes before it and this many zeros behind.
    Indication {
        /// Zeros.
        padding: u8,
    },
    /// Nothing: the client has named this peer. On a stream a frame header goes before it.
    Bare,
}

/// Why a datagram went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dropped {
    /// It is no message of any kind known here.
    Malformed,
    /// Its sender has no allocation.
    NoAllocation,
    /// Its channel is not bound.
    NoChannel,
    /// The peer is not permitted, or is nobody's.
    NoPermission,
    /// The peer is one that the address rule refuses.
    PeerRefused,
    /// The allocation has used up its rate.
    Bandwidth,
    /// An answer would have been one too many.
    AnswerRate,
    /// An indication or response that nobody waits for.
    Unexpected,
}

impl Dropped {
    /// Every reason, in order, for the metrics.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::NoAllocation,
        Self::NoChannel,
        Self::NoPermission,
        Self::PeerRefused,
        Self::Bandwidth,
        Self::AnswerRate,
        Self::Unexpected,
    ];

    /// Returns its label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoAllocation => "no_allocation",
            Self::NoChannel => "no_channel",
            Self::NoPermission => "no_permission",
            Self::PeerRefused => "peer_refused",
            Self::Bandwidth => "bandwidth",
            Self::AnswerRate => "answer_rate",
            Self::Unexpected => "unexpected",
        }
    }
}

/// What a relay writes for its shell; owned by the shell, used again and again.
#[derive(Debug, Default)]
pub struct Output {
    /// An answer, or empty.
    pub answer: Vec<u8>,
    /// What goes before an indication's payload.
    pub head: Vec<u8>,
    /// Ports to open.
    pub opens: Vec<RelayPort>,
    /// Ports to close, of what kind, from any call.
    pub closes: Vec<(Carrier, RelayPort)>,
    /// TCP connections to end, on both sides, from any call.
    pub ends: Vec<ConnectionId>,
    /// Messages to clients on streams, from any call.
    pub messages: Vec<(Client, Vec<u8>)>,
}
