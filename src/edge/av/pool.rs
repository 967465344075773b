//! The pool: relays of other edges. What they have given their clients are peers like any others;
//! what else is at their addresses is nothing that a client has to seek, and none of it is a client
//! itself, or relays could be pointed at each other in a circle.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use crate::dns::Domain;

/// The relay of another edge of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRelay {
    /// The edge's own name.
    pub name: Domain,
    /// Its relayed addresses, as peers see them.
    pub relayed: Vec<IpAddr>,
    /// The relayed ports of each of them.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Where its clients come in, as they see it.
    pub listeners: Vec<SocketAddr>,
}

impl PoolRelay {
    /// Tells whether `ip` is one of its relayed addresses.
    #[must_use]
    pub fn has(&self, ip: IpAddr) -> bool {
        self.relayed.iter().any(|relayed| relayed.to_canonical() == ip.to_canonical())
    }

    /// Tells whether a port is one that its clients are given.
    #[must_use]
    pub fn gives(&self, port: u16) -> bool {
        self.ports.iter().any(|ports| ports.contains(&port))
    }

    /// Tells whether its clients come in here.
    #[must_use]
    pub fn listens(&self, address: SocketAddr) -> bool {
        self.listeners.iter().any(|listener| same(*listener, address))
    }
}

/// Tells whether two addresses are one, whichever of them is written as a mapped one.
pub(super) fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}
