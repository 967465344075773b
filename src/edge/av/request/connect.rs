//! TCP connections with peers: Connect, ConnectionAttempt, ConnectionBind (RFC 6062).

use std::net::SocketAddr;

use super::{Proven, Refused, peer_address, prove, seal};
use crate::edge::av::allocation::Spoken;
use crate::edge::av::connections::{Asked, Connection, ConnectionId, Stage, Unconnected};
use crate::edge::av::counters::{Contended, Load, NotAccepted};
use crate::edge::av::table::Holding;
use crate::edge::av::{
    Arrival, Carrier, Output, Relay, RelayPort, Step, Transport, next, random_id,
};
use crate::stun::{
    Attribute, AttributeType, Builder, Class, ErrorCode, Message, Method, TransactionId, Type,
};
use crate::time::{Monotonic, Now};

impl Relay {
    /// RFC 6062 section 5.2. The answer comes once the peer has answered.
    pub(super) fn connect<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
    ) -> Result<Step<'a>, Refused> {
        let message = proven.message;
        let index = self.table.of_client(&arrival.client).ok_or(437_u16)?;
        if self.table.get(index).is_none_or(|allocation| allocation.carrier() != Carrier::Tcp) {
            return Err(403.into());
        }
        let peer = peer_address(message).ok_or(400_u16)?;
        let peer = SocketAddr::new(self.peer(index, peer.ip())?, peer.port());
        let port = self.table.get(index).and_then(|a| a.port_towards(&self.families, peer.ip()));
        let port = port.ok_or(443_u16)?;
        let to = self.tcp_peer(peer).filter(|_| self.setup.peers.reaches(peer)).ok_or(403_u16)?;
        // A port cannot be both ends of a connection.
        let bound = self.setup.relayed[usize::from(port.address)].bound;
        if to == SocketAddr::new(bound, port.port) {
            return Err(403.into());
        }
        let asked = Asked { transaction: message.transaction(), hash: proven.hash };
        let id = next(&mut self.rng) as u32;
        let stage = Stage::Connecting(asked);
        let added = self.connections.add(now.monotonic, index, (port, peer), stage, id);
        let connection = added.map_err(|why| match why {
            Unconnected::There => 446_u16,
            // 446 would say that the client has it, and 447 that the peer was asked.
            Unconnected::ByAnother => self.contended(Contended::Connect),
            Unconnected::Full => 508,
        })?;
        Ok(Step::Connect { connection, port, peer: to })
    }

    /// Judges the port of a peer that the address rule lets through, and returns where to connect.
    fn tcp_peer(&self, peer: SocketAddr) -> Option<SocketAddr> {
        let relayed = &self.setup.relayed;
        if let Some(place) = relayed.iter().position(|relayed| relayed.public == peer.ip()) {
            // What listens at a relayed address besides relayed ports is none of a peer's.
            let port = RelayPort { address: place as u8, port: peer.port() };
            // One of another thread is reached by the kernel as well, which has it accepted there.
            let there = self.connections.is_open(port);
            return there.then(|| SocketAddr::new(relayed[place].bound, peer.port()));
        }
        self.setup.peers.tcp_port(peer.port()).then_some(peer)
    }

    /// The shell has connected [`Step::Connect`]'s peer, or could not; an answer to the client is
    /// among [`Output::messages`]. A connection that has ended meanwhile is passed over.
    pub fn connected(
        &mut self,
        now: Now,
        connection: ConnectionId,
        how: Connected,
        out: &mut Output,
    ) {
        let Some(owner) = self.connections.get(connection).map(|one| one.owner) else { return };
        let asked = match how {
            Connected::Open => self.connections.opened(now.monotonic, connection),
            Connected::Failed => match self.connections.remove(connection) {
                Some(Connection { stage: Stage::Connecting(asked), .. }) => Some(asked),
                _ => None,
            },
        };
        if let Some(asked) = asked {
            let answer = (how == Connected::Open).then_some(connection);
            self.answer_connect(owner, asked, answer, out);
        }
    }

    /// Answers a Connect request: with the connection's number, or that there is none.
    fn answer_connect(
        &mut self,
        owner: u32,
        asked: Asked,
        connection: Option<ConnectionId>,
        out: &mut Output,
    ) {
        let Some(allocation) = self.table.get(owner) else { return };
        let Spoken::Rfc { key, .. } = &allocation.spoken else { return };
        let mut wire = Vec::new();
        let class = if connection.is_some() { Class::Success } else { Class::Error };
        let kind = Type { method: Method::CONNECT, class };
        let mut answer = Builder::new(&mut wire, kind, asked.transaction);
        match connection {
            Some(ConnectionId(id)) => {
                answer.number(AttributeType::CONNECTION_ID, id);
                self.counters.connections += 1;
            }
            None => {
                answer.error(ErrorCode(447));
                self.counters.errors.count(447);
            }
        }
        prove(&mut answer, key, asked.hash);
        out.messages.push((allocation.client, wire));
    }

    /// A peer has connected to a relayed port (RFC 6062 section 5.3). The client is told by a
    /// message among [`Output::messages`]; `None`: close the connection at once.
    pub fn accepted(
        &mut self,
        now: Monotonic,
        port: RelayPort,
        peer: SocketAddr,
        out: &mut Output,
    ) -> Option<ConnectionId> {
        let peer = self.told_peer(peer);
        let index = match self.holding {
            Holding::Alone => self.connections.owner_of(port),
            Holding::Shared => self.claims.owner(now, port, peer.ip().into()),
        };
        let of = index.and_then(|index| self.table.get(index).map(|of| (index, of)));
        let Some((index, of)) = of.filter(|(_, of)| of.permits(now, peer.ip())) else {
            self.counters.not_accepted[NotAccepted::NoPermission as usize] += 1;
            return None;
        };
        let client = of.client;
        let id = next(&mut self.rng) as u32;
        let added = self.connections.add(now, index, (port, peer), Stage::Waiting, id);
        let Ok(connection) = added else {
            self.counters.not_accepted[NotAccepted::Full as usize] += 1;
            return None;
        };
        self.counters.connections += 1;
        let mut wire = Vec::new();
        let kind = Type { method: Method::CONNECTION_ATTEMPT, class: Class::Indication };
        let transaction = TransactionId(random_id(&mut self.rng));
        Builder::new(&mut wire, kind, transaction)
            .number(AttributeType::CONNECTION_ID, connection.0)
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        out.messages.push((client, wire));
        Some(connection)
    }

    /// Returns a peer's address as clients know it: a relayed one of this edge by its public form.
    fn told_peer(&self, peer: SocketAddr) -> SocketAddr {
        let ip = peer.ip().to_canonical();
        let relayed = self.setup.relayed.iter().find(|relayed| relayed.bound == ip);
        SocketAddr::new(relayed.map_or(ip, |relayed| relayed.public), peer.port())
    }

    /// RFC 6062 section 5.4: the stream that asks is the connection's from the answer on.
    pub(super) fn connection_bind<'a>(
        &mut self,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let of_stream = arrival.client.transport == Transport::Stream
            && self.table.of_client(&arrival.client).is_none();
        let id = connection_id(proven.message).filter(|_| of_stream).ok_or(400_u16)?;
        let connection = self.connections.get(id);
        let waits = |one: &&Connection| one.stage == Stage::Waiting;
        let owner = connection.filter(waits).ok_or(400_u16)?.owner;
        if self.table.get(owner).is_none_or(|allocation| allocation.share.user() != proven.user) {
            return Err(441.into());
        }
        self.connections.bind(id);
        out.answer.clear();
        let kind = Type { method: Method::CONNECTION_BIND, class: Class::Success };
        let mut answer = Builder::new(&mut out.answer, kind, proven.message.transaction());
        answer.number(AttributeType::CONNECTION_ID, id.0);
        seal(&mut answer, proven);
        Ok(Step::Bind { connection: id })
    }

    /// Returns the allocation that a ConnectionBind request speaks of, whose owner need not be
    /// asked again whether his time is over.
    pub(super) fn owner_named(&self, message: Message<'_>) -> Option<u32> {
        if message.kind().method != Method::CONNECTION_BIND {
            return None;
        }
        connection_id(message).and_then(|id| self.connections.get(id)).map(|one| one.owner)
    }

    /// A connection is over, on whichever side it ended.
    pub fn connection_gone(&mut self, connection: ConnectionId) {
        self.connections.remove(connection);
    }

    /// Ends what nobody has claimed in time.
    pub(in crate::edge::av) fn expire_connection(
        &mut self,
        now: Monotonic,
        out: &mut Output,
    ) -> bool {
        let Some((id, connection)) = self.connections.pop_due(now) else { return false };
        if let Stage::Connecting(asked) = connection.stage {
            self.answer_connect(connection.owner, asked, None, out);
        }
        out.ends.push(id);
        true
    }

    /// Returns how many bytes a connection may carry at once; 0 where its rate is used up.
    pub fn connection_room(&mut self, now: Monotonic, connection: ConnectionId) -> usize {
        let Some(owner) = self.connections.get(connection).map(|one| one.owner) else { return 0 };
        let left = self.table.get_mut(owner).map_or(0, |allocation| allocation.rates_leave(now));
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Counts what a connection has carried. Where that is more than there was room for, as when
    /// the end of a TLS record brings all of it, or another thread has carried as much for the same
    /// user, the whole of the rate is used up, and the user's owes the rest.
    pub fn connection_carried(
        &mut self,
        now: Monotonic,
        connection: ConnectionId,
        direction: Direction,
        bytes: usize,
    ) {
        let Some(owner) = self.connections.get(connection).map(|one| one.owner) else { return };
        let Some(allocation) = self.table.get_mut(owner) else { return };
        let load = Load { direction, datagrams: 0, bytes: bytes as u64 };
        allocation.charge_carried(&mut self.counters.traffic, now, load);
    }

    /// Returns how many TCP connections with peers there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}

fn connection_id(message: Message<'_>) -> Option<ConnectionId> {
    let id = message.attribute(AttributeType::CONNECTION_ID)?;
    Attribute::number(&id).map(ConnectionId)
}

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// The peer has answered.
    Open,
    /// It has not, or refused.
    Failed,
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToPeer,
    /// From the peer.
    ToClient,
}
