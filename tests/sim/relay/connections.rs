//! TCP connections of the naive relay (RFC 6062 sections 4 and 5): a list of them, and, where ports
//! are shared, a list of whom an address was promised to.

use std::net::{IpAddr, SocketAddr};

use entente::edge::av::{Carrier, Client, RelayPort, Transport};

use super::model::{Allocation, Holding, Model, permits, reachable};

/// RFC 6062 sections 5.2 and 5.3: who is connected has so long to be claimed, and who is tried has
/// so long to answer.
const CLAIMED_WITHIN_MS: u64 = 30_000;
/// What an allocation may have at once.
const PER_ALLOCATION: usize = 16;
/// An address that was one allocation's at a shared port is nobody else's for so long.
const RESTS_MS: u64 = 64_000;
const PERMISSION_MS: u64 = 5 * 60_000;
/// Ports below are not connected to.
const LOWEST_PORT: u16 = 1_024;

/// A connection with a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) id: u32,
    /// The allocation that it is of.
    pub(crate) of: u64,
    pub(crate) port: RelayPort,
    pub(crate) peer: SocketAddr,
    pub(crate) stage: Stage,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The peer is asked, until then.
    Asked(u64),
    /// It waits to be claimed, until then.
    Pending(u64),
    /// It is one with this stream.
    Active(Client),
}

/// An address at a shared port was promised to an allocation until then.
#[derive(Clone, Copy, Debug)]
struct Promised {
    port: RelayPort,
    ip: IpAddr,
    to: u64,
    until_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) all: Vec<Connection>,
    /// Those that have ended since it was looked at last.
    pub(crate) ended: Vec<u32>,
    /// Whom it was said since then that his peer did not answer.
    pub(crate) unanswered: Vec<Client>,
    promised: Vec<Promised>,
}

impl Connections {
    pub(super) fn ends_ms(&self) -> impl Iterator<Item = u64> {
        self.all.iter().filter_map(|one| match one.stage {
            Stage::Asked(until) | Stage::Pending(until) => Some(until),
            Stage::Active(_) => None,
        })
    }

    /// RFC 6062 section 5.5: no connection outlives its allocation.
    pub(super) fn allocation_ends(&mut self, made: u64, now_ms: u64) {
        self.ended.extend(self.all.iter().filter(|one| one.of == made).map(|one| one.id));
        self.all.retain(|one| one.of != made);
        for promised in self.promised.iter_mut().filter(|promised| promised.to == made) {
            promised.until_ms = promised.until_ms.min(now_ms);
        }
    }

    pub(crate) fn of(&self, id: u32) -> Option<Connection> {
        self.all.iter().copied().find(|one| one.id == id)
    }

    /// Returns the one between a port and a peer: they tell it from any other.
    pub(crate) fn between(&self, port: RelayPort, peer: SocketAddr) -> Option<Connection> {
        self.all.iter().copied().find(|one| (one.port, one.peer) == (port, peer))
    }

    fn has_room(&self, made: u64) -> bool {
        self.all.iter().filter(|one| one.of == made).count() < PER_ALLOCATION
    }

    fn begins(&mut self, connection: Connection) {
        let Connection { id, port, peer, .. } = connection;
        assert!(self.of(id).is_none(), "{id} names one connection");
        assert!(self.between(port, peer).is_none(), "{peer} at {port:?} is one connection");
        self.all.push(connection);
    }

    /// Whichever side has closed it.
    pub(crate) fn gone(&mut self, id: u32) {
        self.all.retain(|one| one.id != id);
    }
}

impl Model {
    /// Those who have a port for TCP.
    pub(crate) fn listening(&self, port: RelayPort) -> impl Iterator<Item = &Allocation> {
        let tcp = self.all.iter().filter(|one| one.carrier == Carrier::Tcp);
        tcp.filter(move |one| one.ports.contains(&port))
    }

    /// Those at a port whom an address may connect to.
    pub(crate) fn permitting(&self, port: RelayPort, ip: IpAddr, now_ms: u64) -> Vec<u64> {
        let permitting = self.listening(port).filter(|one| permits(one, ip, now_ms));
        permitting.map(|one| one.made).collect()
    }

    /// Connections that have waited too long (RFC 6062 sections 5.2 and 5.3).
    pub(super) fn give_up(&mut self, now_ms: u64) {
        let (over, left): (Vec<Connection>, Vec<Connection>) =
            self.tcp.all.iter().partition(|one| match one.stage {
                Stage::Asked(until) | Stage::Pending(until) => until <= now_ms,
                Stage::Active(_) => false,
            });
        self.tcp.all = left;
        for one in over {
            self.tcp.ended.push(one.id);
            if let (Stage::Asked(_), Some(of)) = (one.stage, self.numbered(one.of)) {
                let client = of.client;
                self.tcp.unanswered.push(client);
            }
        }
        self.tcp.promised.retain(|promised| promised.until_ms + RESTS_MS > now_ms);
    }

    /// At a shared port an address is promised to one allocation, or the permission is refused.
    pub(super) fn claim(
        &mut self,
        client: &Client,
        peers: &[SocketAddr],
        now_ms: u64,
    ) -> Result<(), u16> {
        let Some(allocation) = self.of(client) else { return Err(437) };
        if self.holding == Holding::Alone || allocation.carrier == Carrier::Udp {
            return Ok(());
        }
        let to = allocation.made;
        let at = |peer: &SocketAddr| Some((self.port_towards(client, peer.ip())?, peer.ip()));
        let wanted: Vec<(RelayPort, IpAddr)> = peers.iter().filter_map(at).collect();
        let others = |promised: &&Promised| {
            promised.to != to
                && promised.until_ms + RESTS_MS > now_ms
                && wanted.contains(&(promised.port, promised.ip))
        };
        if self.tcp.promised.iter().any(|promised| others(&promised)) {
            return Err(403);
        }
        let until_ms = now_ms + PERMISSION_MS;
        let again = |one: &Promised| one.to == to && wanted.contains(&(one.port, one.ip));
        self.tcp.promised.retain(|promised| !again(promised));
        let promised = wanted.into_iter().map(|(port, ip)| Promised { port, ip, to, until_ms });
        self.tcp.promised.extend(promised);
        Ok(())
    }

    /// RFC 6062 section 5.2: returns the port to connect from, or what is answered at once.
    /// `own`: which relayed port the peer is, if it is at a relayed address.
    pub(crate) fn may_connect(
        &self,
        client: &Client,
        peer: SocketAddr,
        own: Option<RelayPort>,
    ) -> Result<RelayPort, u16> {
        let allocation = self.of(client).ok_or(437_u16)?;
        if allocation.carrier == Carrier::Udp {
            return Err(403);
        }
        reachable(allocation, peer.ip())?;
        let port = self.port_towards(client, peer.ip()).ok_or(443_u16)?;
        let forbidden = match own {
            // A port is not both ends, and at a relayed address nothing else is reached.
            Some(own) => own == port || self.listening(own).next().is_none(),
            None => peer.port() < LOWEST_PORT,
        };
        if forbidden {
            return Err(403);
        }
        match self.tcp.between(port, peer) {
            Some(one) if one.of == allocation.made => Err(446),
            Some(_) => Err(403),
            None if !self.tcp.has_room(allocation.made) => Err(508),
            None => Ok(port),
        }
    }

    pub(crate) fn connects(
        &mut self,
        client: &Client,
        id: u32,
        (port, peer): (RelayPort, SocketAddr),
        now_ms: u64,
    ) {
        let of = self.of(client).expect("it may connect").made;
        let stage = Stage::Asked(now_ms + CLAIMED_WITHIN_MS);
        self.tcp.begins(Connection { id, of, port, peer, stage });
    }

    /// The peer has answered, or has not; returns who is told.
    pub(crate) fn answered(&mut self, id: u32, opens: bool, now_ms: u64) -> Option<Client> {
        let one = self.tcp.all.iter_mut().find(|one| one.id == id)?;
        let of = one.of;
        if opens {
            one.stage = Stage::Pending(now_ms + CLAIMED_WITHIN_MS);
        } else {
            self.tcp.gone(id);
        }
        self.numbered(of).map(|of| of.client)
    }

    /// RFC 6062 section 5.3: returns whose a connection that comes in is.
    pub(crate) fn may_come_in(
        &self,
        port: RelayPort,
        peer: SocketAddr,
        now_ms: u64,
    ) -> Option<u64> {
        let permitting = self.permitting(port, peer.ip(), now_ms);
        assert!(permitting.len() <= 1, "{peer} at {port:?} is promised twice");
        let of = *permitting.first()?;
        let free = self.tcp.between(port, peer).is_none() && self.tcp.has_room(of);
        free.then_some(of)
    }

    pub(crate) fn comes_in(
        &mut self,
        id: u32,
        of: u64,
        (port, peer): (RelayPort, SocketAddr),
        now_ms: u64,
    ) -> Client {
        let stage = Stage::Pending(now_ms + CLAIMED_WITHIN_MS);
        self.tcp.begins(Connection { id, of, port, peer, stage });
        self.numbered(of).expect("it lets somebody in").client
    }

    /// RFC 6062 section 5.4, and RFC 8656 section 5 of who may speak of an allocation.
    pub(crate) fn bind_connection(&mut self, by: Client, user: usize, id: u32) -> Result<(), u16> {
        let named = self.tcp.of(id);
        let own = self.of(&by);
        let spoken_of = own.or_else(|| self.numbered(named?.of));
        if spoken_of.is_some_and(|of| of.user != user) {
            return Err(441);
        }
        let pending = named.is_some_and(|one| matches!(one.stage, Stage::Pending(_)));
        if by.transport == Transport::Udp || own.is_some() || !pending {
            return Err(400);
        }
        let one = self.tcp.all.iter_mut().find(|one| one.id == id).expect("it is pending");
        one.stage = Stage::Active(by);
        Ok(())
    }

    /// Bytes of a connection that count for its allocation.
    pub(crate) fn carries(&mut self, id: u32, bytes: u64) {
        let of = self.tcp.of(id).expect("it is there").of;
        let client = self.numbered(of).expect("it has an allocation").client;
        self.of_mut(&client).expect("it is there").bytes += bytes;
    }
}
