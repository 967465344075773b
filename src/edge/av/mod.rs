//! The A/V Edge: a TURN server (RFC 8656) that speaks the Microsoft dialect as well.
//!
//! ```text
//!  client ── listener ──> from_client ─┬─ message ──> gate, credentials, quotas ──> answer
//!                                      └─ data ─────> channel or address ──> peer
//!  peer ──── relayed port ──> from_peer ─> permission ──> channel or indication ──> client
//! ```
//!
//! One [`Relay`] belongs to one thread, with its own clients and its own ports. What is relayed is
//! a return value that borrows the datagram ([`Step`]); an answer is written into [`Output`]. A
//! peer that is a relayed address of this very relay is reached without the kernel, under both
//! permissions.

mod allocation;
mod another;
mod bucket;
mod chunks;
mod credential;
mod gate;
mod microsoft;
mod nonce;
mod ports;
mod request;
mod table;
mod train;
mod wheel;

use std::net::{IpAddr, SocketAddr};

use foldhash::quality::RandomState;
use ipnet::IpNet;

use crate::limits;
use crate::policy::{AddressRefusal, AddressRule, address};
use crate::stun::{CHANNEL_HEADER_BYTES, ChannelData, Family, Protocol, ms};
use crate::stun::{SecurityFeatures, TransactionId};
use crate::time::{Monotonic, Now};

pub use another::Another;
pub use credential::{Credentials, MrasKey, Secret, Token};
pub use ports::{Ports, RelayPort, RelayedAddress};
pub use request::Opened;
pub use train::{Carried, Toward, Train};

use allocation::{Allocation, Spoken};
use bucket::Bucket;
use gate::Gate;
use nonce::Nonces;
use ports::{Pool, Reservations};
use table::{Holding, Table};
use wheel::Wheel;

/// What a relay is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where usernames are known; at most [`limits::TURN_REALM_BYTES_MAX`] bytes.
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
    /// Networks of the inside that may be peers: users in the office.
    pub internal: Vec<IpNet>,
}

impl Peers {
    /// Judges the address of a peer that is no relayed one and returns it in the form to send to.
    ///
    /// # Errors
    /// [`AddressRefusal`].
    pub fn judge(&self, ip: IpAddr) -> Result<IpAddr, AddressRefusal> {
        let ip = ip.to_canonical();
        // What may be reached for somebody outside is never this edge itself, in whatever network
        // that is allowed it lies.
        let carried = address::carried(ip);
        let own = |own: &&IpAddr| [ip, carried].contains(&own.to_canonical());
        if let Some(own) = self.rule.own.iter().find(own) {
            return Err(AddressRefusal::OwnListener(*own));
        }
        address::permitted(&self.rule, &self.internal, ip)
    }
}

/// How much of everything there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Allocations in all.
    pub allocations: usize,
    /// Allocations of one user.
    pub allocations_per_user: u32,
    /// Kilobits a second of one allocation, both ways together.
    pub allocation_kbit_s: u32,
}

impl Default for Quotas {
    /// The product's own rate for a port (lync-federation 6.9).
    fn default() -> Self {
        Self { allocations: 50_000, allocations_per_user: 32, allocation_kbit_s: 3_000 }
    }
}

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
    /// Open sockets for [`Output::opens`], then call [`Relay::opened`].
    Open,
    /// Send `payload` from a relayed port to a peer.
    ToPeer {
        /// From where.
        port: RelayPort,
        /// To whom.
        peer: SocketAddr,
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
    /// Ports to close, from any call.
    pub closes: Vec<RelayPort>,
}

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

/// What one relay has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Everything that was relayed.
    pub traffic: Traffic,
    /// Of it, what went from client to client within the relay.
    pub within: u64,
    /// What went nowhere, in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Allocations made.
    pub allocations: u64,
    /// Of them, in the Microsoft dialect.
    pub ms_allocations: u64,
    /// Allocations that ran out.
    pub expired: u64,
    /// Errors answered, by number 300 to 599, counted as a whole.
    pub errors: u64,
}

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

/// One thread's relay.
#[derive(Debug)]
pub struct Relay {
    setup: Setup,
    /// The family of each relayed address, by its place.
    families: Vec<Family>,
    pools: Vec<Pool>,
    holding: Holding,
    table: Table,
    reservations: Reservations,
    wheel: Wheel,
    gate: Gate,
    nonces: Nonces,
    /// The allocation whose ports the shell is opening.
    pending: Option<Pending>,
    admission: Admission,
    user_key: RandomState,
    rng: u64,
    counters: Counters,
}

/// An allocation that waits for its sockets.
#[derive(Debug)]
struct Pending {
    allocation: Allocation,
    lifetime_s: u32,
    reserved: Option<[u8; 8]>,
    request: Answering,
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
    pub fn new(setup: Setup, now: Now) -> Self {
        assert!(setup.realm.len() <= limits::TURN_REALM_BYTES_MAX, "a realm fits its answer");
        let families: Vec<Family> =
            setup.relayed.iter().map(|relayed| Family::of_address(relayed.public)).collect();
        assert!(!families.is_empty(), "there is an address to relay by");
        assert!(families.len() == 1 || families[0] != families[1], "one address of each family");
        let features = SecurityFeatures::NONE.with_password_algorithms();
        Self {
            families,
            pools: setup.relayed.iter().map(|_| Pool::new(&setup.ports)).collect(),
            holding: match setup.ports {
                Ports::Range { .. } => Holding::Alone,
                Ports::Shared(_) => Holding::Shared,
            },
            table: Table::default(),
            reservations: Reservations::default(),
            wheel: Wheel::new(limits::TURN_LIFETIME_S_MAX),
            gate: Gate::new(now.monotonic),
            nonces: Nonces::new(&setup.nonce_keys, features),
            pending: None,
            admission: Admission::Open,
            user_key: RandomState::default(),
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

    /// Ends what has run out, and asks for its ports to be closed. Bounded by
    /// [`limits::EXPIRIES_PER_TURN_MAX`].
    pub fn expire(&mut self, now: Now, out: &mut Output) {
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            let Some(index) = self.wheel.pop_due(now.monotonic) else { break };
            self.counters.expired += 1;
            self.end(index, out);
        }
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            let Some(port) = self.reservations.pop_due(now.monotonic) else { break };
            self.pools[usize::from(port.address)].give(port.port);
        }
    }

    /// Returns when [`Self::expire`] wants to be called next; O(1).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        [self.wheel.next_deadline(), self.reservations.next_deadline()].into_iter().flatten().min()
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

    /// Returns how many ports are free at the address with the fewest; `None` where ports are
    /// shared.
    #[must_use]
    pub fn free_ports(&self) -> Option<usize> {
        self.pools.iter().filter_map(Pool::free).min()
    }

    /// Lists allocations for an operator: client, relayed ports, traffic, when they end.
    pub fn list(&self) -> impl Iterator<Item = (Client, &[RelayPort], Traffic, Monotonic)> {
        let told = |allocation: &'_ Allocation| allocation.client;
        self.table.iter().map(move |(_, allocation)| {
            (told(allocation), &*allocation.ports, allocation.traffic, allocation.until)
        })
    }

    /// Judges a peer's address and returns it in the form to send to.
    ///
    /// # Errors
    /// [`AddressRefusal`].
    pub fn judge_peer(&self, ip: IpAddr) -> Result<IpAddr, AddressRefusal> {
        let ip = ip.to_canonical();
        // A relayed address of our own is reached within, and nothing else at that address is.
        if self.setup.relayed.iter().any(|relayed| relayed.public == ip) {
            return Ok(ip);
        }
        self.setup.peers.judge(ip)
    }

    /// Data, to the peer of its channel; without any header, to the peer that a client of the
    /// Microsoft dialect has named.
    fn data<'a>(
        &mut self,
        now: Monotonic,
        client: &Client,
        datagram: &'a [u8],
    ) -> Result<Step<'a>, Dropped> {
        let index = self.table.of_client(client).ok_or(Dropped::NoAllocation)?;
        let allocation = self.table.get(index).ok_or(Dropped::NoAllocation)?;
        let (peer, payload) = match &allocation.spoken {
            Spoken::Rfc { .. } => {
                let data = ChannelData::read(datagram).ok_or(Dropped::Malformed)?;
                let peer = allocation.peer(now, data.channel).ok_or(Dropped::NoChannel)?;
                (peer, data.payload)
            }
            Spoken::Ms { active, .. } => (active.ok_or(Dropped::Malformed)?, datagram),
        };
        self.send_to_peer(now, index, peer, payload)
    }

    /// Sends data of allocation `index` to a peer that it may talk to.
    fn send_to_peer<'a>(
        &mut self,
        now: Monotonic,
        index: u32,
        peer: SocketAddr,
        payload: &'a [u8],
    ) -> Result<Step<'a>, Dropped> {
        let allocation = self.table.get_mut(index).ok_or(Dropped::NoAllocation)?;
        if !allocation.permits(now, peer.ip()) {
            return Err(Dropped::NoPermission);
        }
        let port = allocation.port_towards(&self.families, peer.ip());
        let port = port.ok_or(Dropped::NoPermission)?;
        if !allocation.bandwidth.take(now, payload.len() as u64) {
            return Err(Dropped::Bandwidth);
        }
        allocation.traffic.to_peers += 1;
        allocation.traffic.bytes_to_peers += payload.len() as u64;
        self.counters.traffic.to_peers += 1;
        self.counters.traffic.bytes_to_peers += payload.len() as u64;
        Ok(Step::ToPeer { port, peer, payload })
    }

    /// Takes the short way where the peer is one of our own relayed addresses.
    fn within<'a>(&mut self, now: Monotonic, step: Step<'a>, out: &mut Output) -> Step<'a> {
        let Step::ToPeer { port, peer, payload } = step else { return step };
        let place = self.setup.relayed.iter().position(|relayed| relayed.public == peer.ip());
        let Some(place) = place else { return step };
        let theirs = RelayPort { address: place as u8, port: peer.port() };
        let from = SocketAddr::new(self.setup.relayed[usize::from(port.address)].public, port.port);
        self.counters.within += 1;
        self.send_to_client(now, theirs, from, payload, out)
            .unwrap_or_else(|dropped| self.dropped(dropped))
    }

    fn send_to_client<'a>(
        &mut self,
        now: Monotonic,
        port: RelayPort,
        peer: SocketAddr,
        payload: &'a [u8],
        out: &mut Output,
    ) -> Result<Step<'a>, Dropped> {
        let index = self.table.of_peer(port, peer, self.holding).ok_or(Dropped::NoPermission)?;
        let allocation = self.table.get_mut(index).ok_or(Dropped::NoPermission)?;
        if !allocation.permits(now, peer.ip()) {
            return Err(Dropped::NoPermission);
        }
        if !allocation.bandwidth.take(now, payload.len() as u64) {
            return Err(Dropped::Bandwidth);
        }
        let length = u16::try_from(payload.len()).map_err(|_| Dropped::Malformed)?;
        allocation.traffic.to_client += 1;
        allocation.traffic.bytes_to_client += payload.len() as u64;
        self.counters.traffic.to_client += 1;
        self.counters.traffic.bytes_to_client += payload.len() as u64;
        let client = allocation.client;
        let around = match &allocation.spoken {
            Spoken::Rfc { .. } => match allocation.channel(now, peer) {
                Some(channel) => Around::Channel(ChannelData::header(channel, length)),
                None => {
                    let id = random_id(&mut self.rng);
                    request::data_indication(&mut out.head, TransactionId(id), peer, length)
                }
            },
            Spoken::Ms { active: Some(active), .. } if *active == peer => Around::Bare,
            Spoken::Ms { connection, .. } => {
                let id = random_id(&mut self.rng);
                let id = ms::TransactionId(id);
                microsoft::data_indication(&mut out.head, id, connection, peer, length)
            }
        };
        Ok(Step::ToClient { client, around, payload })
    }

    /// Takes an allocation out and gives back what it had.
    fn end(&mut self, index: u32, out: &mut Output) {
        let Some(allocation) = self.table.remove(index) else { return };
        self.wheel.stop(index);
        self.give_ports(&allocation, out);
    }

    fn give_ports(&mut self, allocation: &Allocation, out: &mut Output) {
        for port in &allocation.ports {
            self.pools[usize::from(port.address)].give(port.port);
            if self.holding == Holding::Alone {
                out.closes.push(*port);
            }
        }
    }

    /// Permits `ip` for `index`, once the rule has.
    fn permit(&mut self, now: Monotonic, index: u32, ip: IpAddr) -> Result<(), Dropped> {
        let allocation = self.table.get_mut(index).ok_or(Dropped::NoAllocation)?;
        allocation.permit(now, ip).map_err(|_| Dropped::NoPermission)
    }

    /// On shared ports, makes `peer` belong to `index` alone.
    fn own(&mut self, now: Monotonic, index: u32, peer: SocketAddr) -> Result<(), NotOwned> {
        if self.holding == Holding::Alone {
            return Ok(());
        }
        let allocation = self.table.get(index).ok_or(NotOwned::ByAnother)?;
        let port = allocation.port_towards(&self.families, peer.ip());
        let port = port.ok_or(NotOwned::ByAnother)?;
        if allocation.owned.contains(&(port, peer)) {
            return Ok(());
        }
        if allocation.owned.len() == limits::TURN_CHANNELS_MAX {
            self.table.disown_unpermitted(index, now);
        }
        if self.table.get(index).is_none_or(|a| a.owned.len() == limits::TURN_CHANNELS_MAX) {
            return Err(NotOwned::Full);
        }
        self.table.own(port, peer, index).map_err(|_| NotOwned::ByAnother)?;
        if let Some(allocation) = self.table.get_mut(index) {
            allocation.owned.push((port, peer));
        }
        Ok(())
    }

    const fn dropped<'a>(&mut self, dropped: Dropped) -> Step<'a> {
        self.counters.dropped[dropped as usize] += 1;
        Step::Drop(dropped)
    }

    fn bandwidth(&self, now: Monotonic) -> Bucket {
        let bytes_s = u64::from(self.setup.quotas.allocation_kbit_s) * 1_000 / 8;
        // What a video's first frame brings at once may pass.
        Bucket::new(bytes_s, bytes_s / 2, now)
    }
}

/// Why a peer on a shared port is not this allocation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotOwned {
    ByAnother,
    Full,
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
