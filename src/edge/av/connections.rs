//! TCP connections between relayed ports and peers (RFC 6062), by number and by allocation.

use std::net::SocketAddr;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::allocation::ProofHash;
use super::doors::Doors;
use super::ports::RelayPort;
use super::table::Holding;
use super::together::{Counted, Total};
use super::wheel::Wheel;
use crate::limits;
use crate::stun::TransactionId;
use crate::time::Monotonic;

/// Names a TCP connection with a peer: what CONNECTION-ID carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// A TCP connection with a peer.
#[derive(Debug)]
pub(super) struct Connection {
    /// The allocation it belongs to.
    pub(super) owner: u32,
    /// The relayed port that it is at.
    port: RelayPort,
    /// The peer as the client names it.
    pub(super) peer: SocketAddr,
    pub(super) stage: Stage,
    /// When it ends, unless it is claimed.
    until: Monotonic,
    id: ConnectionId,
    _counted: Counted,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being opened, and this request waits for the outcome.
    Connecting(Asked),
    /// It is open, and the client has not claimed it.
    Waiting,
    /// The client has.
    Bound,
}

/// A Connect request that has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) transaction: TransactionId,
    pub(super) hash: ProofHash,
}

/// Why there cannot be another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unconnected {
    /// The allocation has one with this very peer.
    There,
    /// Another allocation has, at the same port.
    ByAnother,
    /// No place is left, of the allocation or in all.
    Full,
}

/// All connections of one relay.
#[derive(Debug)]
pub(super) struct Connections {
    all: Slab<Connection>,
    /// Ports that listen, with any thread.
    doors: Doors,
    /// How many there are with any thread.
    total: Total,
    by_id: HashMap<ConnectionId, u32, RandomState>,
    /// The one of each port and peer: they tell a connection from any other, for the kernel too.
    by_pair: HashMap<(RelayPort, SocketAddr), ConnectionId, RandomState>,
    /// Those of an allocation.
    of_owner: HashMap<u32, SmallVec<[ConnectionId; 4]>, RandomState>,
    /// Ports that peers may connect to.
    listening: HashMap<RelayPort, Listening, RandomState>,
    /// When those end that nobody has claimed.
    wheel: Wheel,
}

/// Whose a port is that peers may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    /// One allocation's.
    Of(u32),
    /// Shared by so many.
    Shared(u32),
}

/// What ends with an allocation.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) connections: Vec<ConnectionId>,
    /// Ports that nobody has any more.
    pub(super) ports: SmallVec<[RelayPort; 2]>,
}

impl Connections {
    /// Returns none, of those that count in `total` and at ports that are told in `doors`.
    pub(super) fn new(total: Total, doors: Doors) -> Self {
        Self {
            all: Slab::new(),
            doors,
            total,
            by_id: HashMap::default(),
            by_pair: HashMap::default(),
            of_owner: HashMap::default(),
            listening: HashMap::default(),
            wheel: Wheel::new((limits::TURN_CONNECTION_PENDING_MS / 1_000) as u32),
        }
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Lets peers connect to `ports`, for allocation `owner`.
    pub(super) fn listen(&mut self, ports: &[RelayPort], owner: u32, how: Holding) {
        self.of_owner.insert(owner, SmallVec::new());
        for port in ports {
            let before = self.listening.get(port);
            let with = match (how, before) {
                (Holding::Alone, None) => Listening::Of(owner),
                (Holding::Shared, None) => Listening::Shared(1),
                (Holding::Shared, Some(Listening::Shared(count))) => Listening::Shared(count + 1),
                (_, Some(_)) => panic!("a port of its own has one allocation"),
            };
            self.listening.insert(*port, with);
            self.doors.open(*port);
        }
    }

    /// Tells whether peers may connect to `port`, which this thread or another one has.
    pub(super) fn is_open(&self, port: RelayPort) -> bool {
        self.doors.is_open(port)
    }

    /// Returns how many allocations peers may connect to.
    pub(super) fn allocations(&self) -> usize {
        self.of_owner.len()
    }

    /// Returns those of `ports` that nobody may connect to yet.
    pub(super) fn unopened(&self, ports: &[RelayPort]) -> SmallVec<[RelayPort; 2]> {
        ports.iter().copied().filter(|port| !self.listening.contains_key(port)).collect()
    }

    /// Returns whose a connection to `port` is, whoever comes; nobody's where it is shared.
    pub(super) fn owner_of(&self, port: RelayPort) -> Option<u32> {
        match self.listening.get(&port) {
            Some(Listening::Of(owner)) => Some(*owner),
            Some(Listening::Shared(_)) | None => None,
        }
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.by_id.get(&id).and_then(|place| self.all.get(*place as usize))
    }

    /// Adds a connection of `owner` at `port` with `peer`; it ends unless it is claimed in time.
    ///
    /// `id`: tried as it is, then the numbers behind it.
    pub(super) fn add(
        &mut self,
        now: Monotonic,
        owner: u32,
        (port, peer): (RelayPort, SocketAddr),
        stage: Stage,
        id: u32,
    ) -> Result<ConnectionId, Unconnected> {
        let own = self.of_owner.get(&owner).ok_or(Unconnected::Full)?;
        if let Some(there) = self.by_pair.get(&(port, peer)) {
            let of_own = own.contains(there);
            return Err(if of_own { Unconnected::There } else { Unconnected::ByAnother });
        }
        if own.len() == limits::TURN_CONNECTIONS_PER_ALLOCATION_MAX {
            return Err(Unconnected::Full);
        }
        let counted = self.total.one_more(limits::TURN_CONNECTIONS_MAX);
        let counted = counted.ok_or(Unconnected::Full)?;
        // Bound: no more numbers are taken than there are connections.
        let mut id = ConnectionId(id);
        while self.by_id.contains_key(&id) {
            id.0 = id.0.wrapping_add(1);
        }
        let until = now.plus_ms(limits::TURN_CONNECTION_PENDING_MS);
        let connection = Connection { owner, port, peer, stage, until, id, _counted: counted };
        let place = self.all.insert(connection) as u32;
        self.by_id.insert(id, place);
        self.by_pair.insert((port, peer), id);
        self.of_owner.entry(owner).or_default().push(id);
        self.wheel.start(place, until);
        Ok(id)
    }

    /// The peer has answered: the client has as long again to claim it. Returns the request that
    /// waited.
    pub(super) fn opened(&mut self, now: Monotonic, id: ConnectionId) -> Option<Asked> {
        let place = *self.by_id.get(&id)?;
        let connection = self.all.get_mut(place as usize)?;
        let Stage::Connecting(asked) = connection.stage else { return None };
        connection.stage = Stage::Waiting;
        connection.until = now.plus_ms(limits::TURN_CONNECTION_PENDING_MS);
        self.wheel.start(place, connection.until);
        Some(asked)
    }

    /// The client has claimed it.
    pub(super) fn bind(&mut self, id: ConnectionId) {
        let Some(place) = self.by_id.get(&id).copied() else { return };
        if let Some(connection) = self.all.get_mut(place as usize) {
            connection.stage = Stage::Bound;
        }
        self.wheel.stop(place);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let place = self.by_id.remove(&id)?;
        self.wheel.stop(place);
        let connection = self.all.try_remove(place as usize)?;
        self.by_pair.remove(&(connection.port, connection.peer));
        if let Some(own) = self.of_owner.get_mut(&connection.owner) {
            own.retain(|other| *other != id);
        }
        Some(connection)
    }

    /// Takes one out that nobody has claimed in time.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<(ConnectionId, Connection)> {
        // Bound: a timer that is started again is due later than it was.
        loop {
            let place = self.wheel.pop_due(now)?;
            let Connection { until, id, .. } = *self.all.get(place as usize)?;
            if until <= now {
                return self.remove(id).map(|connection| (id, connection));
            }
            // A timer that was started late runs out early.
            self.wheel.start(place, until);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.wheel.next_deadline()
    }

    /// Takes out all of `owner`, whose ports nobody may connect to for it any more.
    pub(super) fn end_of(&mut self, owner: u32, ports: &[RelayPort]) -> Ended {
        let mut ended = Ended::default();
        for port in ports {
            match self.listening.get_mut(port) {
                Some(Listening::Shared(count)) if *count > 1 => *count -= 1,
                Some(_) => {
                    self.listening.remove(port);
                    self.doors.close(*port);
                    ended.ports.push(*port);
                }
                None => {}
            }
        }
        let own = self.of_owner.remove(&owner).unwrap_or_default();
        for id in &own {
            self.remove(*id);
        }
        ended.connections = own.into_vec();
        ended
    }
}
