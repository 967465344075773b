//! The A/V Edge: a TURN server (RFC 8656) that speaks the Microsoft dialect as well.
//!
//! ```text
//!  client ── listener ──> from_client ─┬─ message ──> gate, credentials, quotas ──> answer
//!                                      └─ data ─────> channel or address ──> peer
//!  peer ──── relayed port ──> from_peer ─> permission ──> channel or indication ──> client
//! ```
//!
//! One [`Relay`] belongs to one thread, with its own clients and its own ports; what quotas and
//! limits count it shares with the others of the edge ([`Together`]). What is relayed is a return
//! value that borrows the datagram ([`Step`]); an answer is written into [`Output`]. A peer that is
//! a relayed address of this very relay is reached without the kernel, under both permissions.

mod accounts;
mod allocation;
mod another;
mod bucket;
mod chunks;
mod claims;
mod connections;
mod counters;
mod credential;
mod data;
mod doors;
mod errors;
mod forecast;
mod gate;
mod medium;
mod microsoft;
mod mobility;
mod nonce;
mod numbers;
mod peer;
mod pool;
mod ports;
mod rate;
mod request;
mod setup;
mod step;
mod table;
mod together;
mod train;
mod wheel;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::limits;
use crate::policy::AddressRefusal;
use crate::stun::{Family, Protocol, SecurityFeatures, TransactionId, ms};
use crate::time::{Monotonic, Now};

pub use another::Another;
pub use connections::ConnectionId;
pub use counters::{Admission, Classes, Contended, Counters, NotAccepted, Traffic};
pub use credential::{Credentials, MrasKey, Secret, Token, time_limited_until};
pub use errors::Errors;
pub use forecast::{Forecast, Outlook, Sample};
pub use gate::{Withheld, network};
pub use medium::Medium;
pub use pool::PoolRelay;
pub use ports::{Ports, RelayPort, RelayedAddress};
pub use request::{Connected, Direction, Opened};
pub use setup::{Listener, Peers, Quotas, Setup};
pub use step::{Around, Arrival, Carrier, Client, Dropped, Output, Step, Transport};
pub use together::{Counted, Together, Total};
pub use train::{Carried, Toward, Train};

use accounts::Accounts;
use allocation::{Allocation, Spoken};
use bucket::Bucket;
use claims::Claims;
use connections::Connections;
use gate::Gate;
use mobility::{Ticket, Tickets};
use nonce::Nonces;
use ports::{Pool, Reservations};
use table::{Holding, Table};
use wheel::Wheel;

/// One thread's relay.
#[derive(Debug)]
pub struct Relay {
    setup: Setup,
    /// The family of each relayed address, by its place.
    families: Vec<Family>,
    pools: Vec<Pool>,
    /// The ports that other threads have.
    siblings: Vec<Ports>,
    holding: Holding,
    table: Table,
    accounts: Accounts,
    reservations: Reservations,
    connections: Connections,
    claims: Claims,
    tickets: Tickets,
    /// Domains of users by the places of their allocations, for operators.
    domains: HashMap<u32, Arc<str>, RandomState>,
    /// Allocations of the Microsoft dialect.
    microsoft: usize,
    wheel: Wheel,
    gate: Gate,
    /// Of late, for the log.
    withheld: Withheld,
    nonces: Nonces,
    /// The allocation whose ports the shell is opening.
    pending: Option<Pending>,
    admission: Admission,
    rng: u64,
    counters: Counters,
}

/// Where [`rate`] takes its atomics from; `tests/loom` has another.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// An allocation that waits for its sockets.
#[derive(Debug)]
struct Pending {
    allocation: Allocation,
    /// Of its user's name, to be shown.
    domain: Option<Arc<str>>,
    lifetime_s: u32,
    given: Given,
    request: Answering,
}

/// What a client is given beside its address.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    /// Claims the port that was kept with the relayed one.
    reserved: Option<[u8; 8]>,
    /// Names the allocation from another address.
    ticket: Option<Ticket>,
    /// The second family that it asked for and there is no address of, with the error for it.
    lacks: Option<(Family, u16)>,
}

/// What is needed to answer the request that an allocation is made by.
#[derive(Clone, Copy, Debug)]
enum Answering {
    Rfc(TransactionId),
    Ms { transaction: ms::TransactionId, sequence: u32 },
}

impl Relay {
    /// Returns a relay without allocations.
    ///
    /// # Panics
    /// If `setup` names no relayed address, two of one family, no key, or too long a realm: the
    /// configuration is checked before.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        assert!(setup.realm.len() <= limits::TURN_REALM_BYTES_MAX, "a realm fits its answer");
        let families: Vec<Family> =
            setup.relayed.iter().map(|relayed| Family::of_address(relayed.public)).collect();
        assert!(!families.is_empty(), "there is an address to relay by");
        assert!(families.len() == 1 || families[0] != families[1], "one address of each family");
        let features = SecurityFeatures::NONE.with_password_algorithms();
        let Together { accounts, gate, connections, doors } = Together::of_threads(1);
        Self {
            families,
            pools: setup.relayed.iter().map(|_| Pool::new(&setup.ports)).collect(),
            siblings: Vec::new(),
            holding: match setup.ports {
                Ports::Range { .. } => Holding::Alone,
                Ports::Shared(_) => Holding::Shared,
            },
            table: Table::default(),
            accounts,
            reservations: Reservations::default(),
            connections: Connections::new(connections, doors),
            claims: Claims::new(),
            tickets: Tickets::default(),
            domains: HashMap::default(),
            microsoft: 0,
            wheel: Wheel::new(limits::TURN_LIFETIME_S_MAX),
            gate,
            withheld: Withheld::default(),
            nonces: Nonces::new(&setup.nonce_keys, features),
            pending: None,
            admission: Admission::Open,
            rng: setup.seed | 1,
            counters: Counters::default(),
            setup,
        }
    }

    /// Serves a datagram or frame of a client. Hot where it carries data: bench `av/channel_data`.
    pub fn from_client<'a>(
        &mut self,
        now: Now,
        arrival: Arrival<'a>,
        out: &mut Output,
    ) -> Step<'a> {
        let datagram = arrival.datagram;
        let step = match datagram.first().copied().map(Protocol::of) {
            Some(Protocol::Stun) if ms::Message::is_likely(datagram) => {
                self.ms_message(now, arrival, out)
            }
            Some(Protocol::Stun) => self.message(now, arrival, out),
            _ => self.data(now.monotonic, &arrival.client, datagram),
        };
        match step {
            Ok(step) => self.within(now.monotonic, step, out),
            Err(dropped) => self.dropped(dropped),
        }
    }

    /// Serves what a frame says is data and no message, whatever it begins with.
    pub fn from_client_data<'a>(
        &mut self,
        now: Now,
        arrival: Arrival<'a>,
        out: &mut Output,
    ) -> Step<'a> {
        match self.data(now.monotonic, &arrival.client, arrival.datagram) {
            Ok(step) => self.within(now.monotonic, step, out),
            Err(dropped) => self.dropped(dropped),
        }
    }

    /// Serves a datagram that came from `peer` to a relayed port. Hot: bench `av/peer_data`.
    pub fn from_peer<'a>(
        &mut self,
        now: Now,
        port: RelayPort,
        peer: SocketAddr,
        datagram: &'a [u8],
        out: &mut Output,
    ) -> Step<'a> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.send_to_client(now.monotonic, port, peer, datagram, out)
            .unwrap_or_else(|dropped| self.dropped(dropped))
    }

    /// Serves what a client of another thread has sent from its relayed address, `peer`, to a
    /// relayed port of this one ([`Step::ToSibling`]).
    pub fn from_sibling<'a>(
        &mut self,
        now: Now,
        port: RelayPort,
        peer: SocketAddr,
        payload: &'a [u8],
        out: &mut Output,
    ) -> Step<'a> {
        let step = self.from_peer(now, port, peer, payload, out);
        self.counters.within += u64::from(matches!(step, Step::ToClient { .. }));
        step
    }

    /// Ends what has run out, and asks for its ports to be closed. Bounded by
    /// [`limits::EXPIRIES_PER_TURN_MAX`].
    pub fn expire(&mut self, now: Now, out: &mut Output) {
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            let Some(index) = self.wheel.pop_due(now.monotonic) else { break };
            // A timer that was started late runs out early.
            if let Some(until) = self.table.get(index).map(|of| of.until)
                && until > now.monotonic
            {
                self.wheel.start(index, until);
                continue;
            }
            self.counters.expired += 1;
            self.end(index, out);
        }
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            let Some(port) = self.reservations.pop_due(now.monotonic) else { break };
            self.pools[usize::from(port.address)].give(port.port);
        }
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            if !self.expire_connection(now.monotonic, out) {
                break;
            }
        }
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            if !self.claims.expire(now.monotonic) {
                break;
            }
        }
    }

    /// Returns when [`Self::expire`] wants to be called next; O(1).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let deadlines = [
            self.wheel.next_deadline(),
            self.reservations.next_deadline(),
            self.connections.next_deadline(),
            self.claims.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Tells whether a client has an allocation.
    #[must_use]
    pub fn has_allocation(&self, client: &Client) -> bool {
        self.table.of_client(client).is_some()
    }

    /// A client that came by a stream is gone, and its allocation with it.
    pub fn client_gone(&mut self, client: &Client, out: &mut Output) {
        if let Some(index) = self.table.of_client(client) {
            self.end(index, out);
        }
    }

    /// Ends the allocation of a client, as an operator asks; tells whether there was one.
    pub fn kill(&mut self, client: &Client, out: &mut Output) -> bool {
        let index = self.table.of_client(client);
        if let Some(index) = index {
            self.end(index, out);
        }
        index.is_some()
    }

    /// Takes new allocations, or no more.
    pub const fn admit(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// Puts other credentials, peers and quotas in force; allocations stay.
    pub fn adopt(&mut self, credentials: Credentials, peers: Peers, quotas: Quotas) {
        self.setup.credentials = credentials;
        self.setup.peers = peers;
        self.setup.quotas = quotas;
    }

    /// Names the ports of the relays of other threads: what is for these is theirs to judge. All of
    /// them count users, partners, sources, strangers and what there is in all `together`.
    ///
    /// # Panics
    /// If there are allocations: they would count apart.
    pub fn beside(&mut self, siblings: Vec<Ports>, together: Together) {
        assert_eq!(self.allocations(), 0, "nothing has been counted before");
        let Together { accounts, gate, connections, doors } = together;
        self.siblings = siblings;
        self.accounts = accounts;
        self.gate = gate;
        self.connections = Connections::new(connections, doors);
    }

    /// Returns what was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns how many allocations there are.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.table.len()
    }

    /// Returns how many allocations there are of each kind.
    #[must_use]
    pub fn classes(&self) -> Classes {
        let (tcp, microsoft) = (self.connections.allocations(), self.microsoft);
        Classes { udp: self.allocations() - tcp - microsoft, tcp, microsoft }
    }

    /// Returns what a forecast goes by.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let allocations = self.allocations();
        let Traffic { bytes_to_peers, bytes_to_client, .. } = self.counters.traffic;
        let allocations_in_all = self.accounts.allocations();
        Sample {
            allocations,
            allocations_in_all,
            allocations_left: self.setup.quotas.allocations.saturating_sub(allocations_in_all),
            ports_left: self.free_ports(),
            bytes: bytes_to_peers + bytes_to_client,
        }
    }

    /// Returns when no more than `left` allocations are there, if none is refreshed. Looks at each:
    /// for operators, not for a datagram.
    #[must_use]
    pub fn unrefreshed_until(&self, left: usize) -> Monotonic {
        let mut until: Vec<Monotonic> = self.table.iter().map(|(_, of)| of.until).collect();
        match until.len().checked_sub(left + 1) {
            Some(place) => *until.select_nth_unstable(place).1,
            None => Monotonic::default(),
        }
    }

    /// Tells whether new allocations are taken.
    #[must_use]
    pub const fn admission(&self) -> Admission {
        self.admission
    }

    /// Returns how many users have allocations, with this relay or those beside it.
    #[must_use]
    pub fn users(&self) -> usize {
        self.accounts.users()
    }

    /// Returns how many ports are free at the address with the fewest; `None` where ports are
    /// shared.
    #[must_use]
    pub fn free_ports(&self) -> Option<usize> {
        self.pools.iter().filter_map(Pool::free).min()
    }

    /// Tells whether one port may be several allocations'.
    #[must_use]
    pub fn shares_ports(&self) -> bool {
        self.holding == Holding::Shared
    }

    /// Lists allocations for an operator: client, relayed ports, traffic, when they end.
    pub fn list(&self) -> impl Iterator<Item = (Client, &[RelayPort], Traffic, Monotonic)> {
        let told = |allocation: &'_ Allocation| allocation.client;
        self.table.iter().map(move |(_, allocation)| {
            (told(allocation), &*allocation.ports, allocation.traffic, allocation.until)
        })
    }

    /// Returns the domain of the user that a client's allocation is of, where it is known.
    #[must_use]
    pub fn domain_of(&self, client: &Client) -> Option<&Arc<str>> {
        self.domains.get(&self.table.of_client(client)?)
    }

    /// Judges a peer's address for clients of a listener and returns it in the form to send to.
    ///
    /// # Errors
    /// [`AddressRefusal`].
    pub fn judge_peer(&self, listener: u16, ip: IpAddr) -> Result<IpAddr, AddressRefusal> {
        let ip = ip.to_canonical();
        // A relayed address of our own is reached within, and nothing else at that address is.
        if self.setup.relayed.iter().any(|relayed| relayed.public == ip) {
            return Ok(ip);
        }
        self.setup.peers.judge(self.setup.peers.side(listener), ip)
    }

    /// Tells whether an address is a relay's: one that another relay of the pool has given a
    /// client or listens at, or a listener of this one, by whatever means its datagrams came with
    /// it. What such a client is sent would come back as what a client sends.
    fn is_relays(&self, client: SocketAddr) -> bool {
        let own = |listener: &Listener| {
            let addresses = [Some(listener.node), listener.vip];
            addresses.into_iter().flatten().any(|address| pool::same(address, client))
        };
        self.setup.peers.is_of_pool(client) || self.setup.listeners.iter().any(own)
    }

    /// Takes an allocation out and gives back what it had.
    fn end(&mut self, index: u32, out: &mut Output) {
        let Some(allocation) = self.table.remove(index) else { return };
        self.wheel.stop(index);
        self.tickets.forget(index);
        self.domains.remove(&index);
        self.microsoft -= usize::from(matches!(allocation.spoken, Spoken::Ms { .. }));
        for port in &allocation.ports {
            self.pools[usize::from(port.address)].give(port.port);
        }
        let carrier = allocation.carrier();
        let closing = |port: &RelayPort| (carrier, *port);
        match (carrier, self.holding) {
            (Carrier::Udp, Holding::Alone) => {
                out.closes.extend(allocation.ports.iter().map(closing));
            }
            // For datagrams they stay open.
            (Carrier::Udp, Holding::Shared) => {}
            (Carrier::Tcp, holding) => {
                let ended = self.connections.end_of(index, &allocation.ports);
                out.ends.extend(ended.connections);
                out.closes.extend(ended.ports.iter().map(closing));
                if holding == Holding::Shared {
                    self.claims.end_of(index);
                    let user = allocation.share.user();
                    let leave = |port: &RelayPort| self.claims.leave(user, *port);
                    allocation.ports.iter().for_each(leave);
                }
            }
        }
    }

    /// Takes one of two ports from an allocation of datagrams, which goes on by the other.
    fn end_port(&mut self, index: u32, port: RelayPort, out: &mut Output) {
        self.table.shed(index, port, self.families[usize::from(port.address)]);
        self.pools[usize::from(port.address)].give(port.port);
        if self.holding == Holding::Alone {
            out.closes.push((Carrier::Udp, port));
        }
    }

    const fn dropped<'a>(&mut self, dropped: Dropped) -> Step<'a> {
        self.counters.dropped[dropped as usize] += 1;
        Step::Drop(dropped)
    }

    /// Returns what stands for a name, or a part of one, where it is compared or counted by.
    fn name_hash(&self, name: &[u8]) -> u64 {
        self.accounts.name_hash(name)
    }

    fn bandwidth(&self, now: Monotonic) -> Bucket {
        Bucket::of_kbit_s(self.setup.quotas.allocation_kbit_s, now)
    }
}

/// Returns bytes that need be different, not secret.
fn random_id<const N: usize>(rng: &mut u64) -> [u8; N] {
    let mut id = [0; N];
    for chunk in id.chunks_mut(8) {
        let bytes = next(rng).to_be_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    id
}

/// splitmix64.
const fn next(rng: &mut u64) -> u64 {
    *rng = rng.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *rng;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
