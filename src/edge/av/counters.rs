//! What is counted, and whether more may come.

use std::net::SocketAddr;

use super::errors::Errors;
use super::request::Direction;
use super::step::Dropped;
use crate::edge::counted::summed;

/// Datagrams and bytes of one allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams to peers.
    pub to_peers: u64,
    /// Their payload in bytes.
    pub bytes_to_peers: u64,
    /// Datagrams to the client.
    pub to_client: u64,
    /// Their payload in bytes.
    pub bytes_to_client: u64,
}

/// What is carried at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) direction: Direction,
    pub(super) datagrams: u64,
    /// Of their payload.
    pub(super) bytes: u64,
}

impl Load {
    pub(super) const fn datagram(direction: Direction, payload: &[u8]) -> Self {
        Self { direction, datagrams: 1, bytes: payload.len() as u64 }
    }
}

impl Traffic {
    /// Counts a load more.
    pub(super) const fn count(&mut self, load: Load) {
        let (datagrams, bytes) = match load.direction {
            Direction::ToPeer => (&mut self.to_peers, &mut self.bytes_to_peers),
            Direction::ToClient => (&mut self.to_client, &mut self.bytes_to_client),
        };
        *datagrams += load.datagrams;
        *bytes += load.bytes;
    }
}

/// What one relay has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Everything that was relayed.
    pub traffic: Traffic,
    /// What clients were given by clients within the relay, or with the one beside it.
    pub within: u64,
    /// What went nowhere, in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Allocations made.
    pub allocations: u64,
    /// Of them, in the Microsoft dialect.
    pub ms_allocations: u64,
    /// Allocations of TCP.
    pub tcp_allocations: u64,
    /// TCP connections with peers that were opened, from either side.
    pub connections: u64,
    /// Those of peers that were closed at once, in the order of [`NotAccepted::ALL`].
    pub not_accepted: [u64; NotAccepted::ALL.len()],
    /// Requests for what another allocation at the same shared port has, in the order of
    /// [`Contended::ALL`].
    pub contended: [u64; Contended::ALL.len()],
    /// Allocations that ran out.
    pub expired: u64,
    /// Errors answered, by number.
    pub errors: Errors,
}

summed!(Traffic: to_peers, bytes_to_peers, to_client, bytes_to_client);

impl std::ops::Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            traffic: self.traffic + other.traffic,
            within: self.within + other.within,
            dropped: each(self.dropped, other.dropped),
            allocations: self.allocations + other.allocations,
            ms_allocations: self.ms_allocations + other.ms_allocations,
            tcp_allocations: self.tcp_allocations + other.tcp_allocations,
            connections: self.connections + other.connections,
            not_accepted: each(self.not_accepted, other.not_accepted),
            contended: each(self.contended, other.contended),
            expired: self.expired + other.expired,
            errors: self.errors + other.errors,
        }
    }
}

fn each<const N: usize>(mut these: [u64; N], others: [u64; N]) -> [u64; N] {
    these.iter_mut().zip(others).for_each(|(one, other)| *one += other);
    these
}

/// Why a peer that connected to a relayed port was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAccepted {
    /// Nobody there permits its address.
    NoPermission,
    /// There are as many connections as there may be.
    Full,
}

impl NotAccepted {
    /// Every reason, in order, for the metrics.
    pub const ALL: [Self; 2] = [Self::NoPermission, Self::Full];

    /// Returns its label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoPermission => "no_permission",
            Self::Full => "full",
        }
    }
}

/// What was asked for that another allocation at the same shared port has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contended {
    /// A channel to a peer.
    Channel,
    /// A TCP connection to a peer.
    Connect,
    /// TCP connections from an address.
    Permission,
}

impl Contended {
    /// Every kind, in order, for the metrics.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Connect, Self::Permission];

    /// Returns its label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Connect => "connect",
            Self::Permission => "permission",
        }
    }
}

/// Allocations that there are, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Of RFC 8656, whose data are datagrams.
    pub udp: usize,
    /// Of RFC 6062.
    pub tcp: usize,
    /// Of the Microsoft dialect.
    pub microsoft: usize,
}

summed!(Classes: udp, tcp, microsoft);

/// Whether new allocations are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    #[default]
    Open,
    /// No: the edge drains. Clients are sent to another edge, where one is named.
    Draining {
        /// Whom to try instead.
        alternate: Option<SocketAddr>,
    },
}
