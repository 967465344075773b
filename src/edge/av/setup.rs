//! What a relay is made from.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::credential::Credentials;
use super::pool::PoolRelay;
use super::ports::{Ports, RelayedAddress};
use crate::edge::Side;
use crate::policy::{AddressRefusal, AddressRule, address};

/// What a relay is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where usernames are known; at most [`crate::limits::TURN_REALM_BYTES_MAX`] bytes.
    pub realm: String,
    /// Addresses that clients get ports of, at most one of each family.
    pub relayed: Vec<RelayedAddress>,
    /// The ports of each of them.
    pub ports: Ports,
    /// This node's own address for clients of each listener, by its number.
    pub listeners: Vec<Listener>,
    /// Whom to believe.
    pub credentials: Credentials,
    /// Keys of nonces, the newest first, the same on all edges of the pool.
    pub nonce_keys: Vec<[u8; 32]>,
    /// Which peers there may be.
    pub peers: Peers,
    /// How much of everything.
    pub quotas: Quotas,
    /// Seed of port numbers and tokens.
    pub seed: u64,
}

/// Where clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address of this node that clients are sent to.
    pub node: SocketAddr,
    /// The address that clients of the whole pool are told, if a balancer has one.
    pub vip: Option<SocketAddr>,
}

/// Which peers there may be: the common address rule, and what belongs to the pool.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// The rule; its own addresses are those of every listener of this edge.
    pub rule: AddressRule,
    /// Networks that may be peers of clients outside, beside what is globally routable.
    pub external: Vec<IpNet>,
    /// The same for clients inside: users in the office.
    pub internal: Vec<IpNet>,
    /// Listeners, by number, whose clients are inside.
    pub inside: Vec<u16>,
    /// The relays of the pool's other edges. Their relayed addresses may be peers whatever the rule
    /// says, at relayed ports alone.
    pub pool: Vec<PoolRelay>,
    /// Ports below 1024 that clients may connect to by TCP; others from there on always may.
    pub tcp_low_ports: Vec<u16>,
}

impl Peers {
    /// Returns the side that clients of a listener are on.
    #[must_use]
    pub fn side(&self, listener: u16) -> Side {
        if self.inside.contains(&listener) { Side::Internal } else { Side::External }
    }

    /// Judges the address of a peer that is no relayed one of this edge, for clients on a side, and
    /// returns it in the form to send to.
    ///
    /// # Errors
    /// [`AddressRefusal`].
    pub fn judge(&self, side: Side, ip: IpAddr) -> Result<IpAddr, AddressRefusal> {
        let ip = ip.to_canonical();
        // What may be reached for somebody outside is never this edge itself, in whatever network
        // that is allowed it lies.
        let carried = address::carried(ip);
        let own = |own: &&IpAddr| [ip, carried].contains(&own.to_canonical());
        if let Some(own) = self.rule.own.iter().find(own) {
            return Err(AddressRefusal::OwnListener(*own));
        }
        if self.pool.iter().any(|relay| relay.has(ip)) {
            return Ok(ip);
        }
        let networks = match side {
            Side::External => &self.external,
            Side::Internal => &self.internal,
        };
        address::permitted(&self.rule, networks, ip)
    }

    /// Returns the relay of the pool whose relayed address this is, or whose a translator is asked
    /// for.
    #[must_use]
    pub fn relay_of_pool(&self, ip: IpAddr) -> Option<&PoolRelay> {
        let ip = address::carried(ip.to_canonical());
        self.pool.iter().find(|relay| relay.has(ip))
    }

    /// Returns the relay of the pool whose clients come in here, or where a translator leads.
    #[must_use]
    pub fn listener_of_pool(&self, address: SocketAddr) -> Option<&PoolRelay> {
        let ip = address::carried(address.ip().to_canonical());
        let address = SocketAddr::new(ip, address.port());
        self.pool.iter().find(|relay| relay.listens(address))
    }

    /// Tells whether what is at a peer's port may be reached: at the address of another relay of
    /// the pool nothing but what it has given away, and never where its clients come in, or a
    /// client of this edge could be one of the other's in this edge's name.
    #[must_use]
    pub fn reaches(&self, peer: SocketAddr) -> bool {
        self.listener_of_pool(peer).is_none()
            && self.relay_of_pool(peer.ip()).is_none_or(|relay| relay.gives(peer.port()))
    }

    /// Tells whether an address is another relay's of the pool, and so no client's.
    #[must_use]
    pub fn is_of_pool(&self, address: SocketAddr) -> bool {
        let of = |relay: &PoolRelay| relay.has(address.ip()) && relay.gives(address.port());
        self.pool.iter().any(|relay| of(relay) || relay.listens(address))
    }

    /// Tells whether clients may connect by TCP to this port of a peer. Media has ports of its own
    /// and 443; to what else is found on low ones nobody is to come from here.
    #[must_use]
    pub fn tcp_port(&self, port: u16) -> bool {
        port >= 1_024 || self.tcp_low_ports.contains(&port)
    }
}

/// How much of everything there may be, with all threads of the edge together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Allocations in all.
    pub allocations: usize,
    /// Allocations of one user.
    pub allocations_per_user: u32,
    /// Allocations of all users of one partner: of one domain in their names.
    pub allocations_per_partner: u32,
    /// Allocations of clients in one /24 or one /48.
    pub allocations_per_source: u32,
    /// Allocations of TCP in all; 0: there are none.
    pub tcp_allocations: usize,
    /// Kilobits a second of one allocation, both ways together.
    pub allocation_kbit_s: u32,
    /// Kilobits a second of all allocations of one user, both ways together.
    pub user_kbit_s: u32,
}

impl Default for Quotas {
    /// The product's own rates for a port and a user (lync-federation 6.9).
    fn default() -> Self {
        Self {
            allocations: 50_000,
            allocations_per_user: 32,
            allocations_per_partner: 10_000,
            allocations_per_source: 2_000,
            tcp_allocations: 1_000,
            allocation_kbit_s: 3_000,
            user_kbit_s: 10_000,
        }
    }
}
