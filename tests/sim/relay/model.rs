//! The naive relay: a list of allocations, each with lists of what it may, searched from front to
//! back. It knows RFC 8656 and nothing of wheels, tables or slots; what it knows of RFC 6062 is in
//! [`super::connections`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use entente::edge::av::{Carrier, Client, RelayPort, Transport};

use super::connections::Connections;

const PERMISSION_MS: u64 = 5 * 60_000;
const CHANNEL_MS: u64 = 10 * 60_000;
/// A channel that has ended means nothing else for so long (RFC 8656 section 12).
const CHANNEL_RESTS_MS: u64 = 5 * 60_000;

#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    /// Tells it from every other one that there has ever been.
    pub(crate) made: u64,
    pub(crate) client: Client,
    pub(crate) user: usize,
    pub(crate) carrier: Carrier,
    pub(crate) ports: Vec<RelayPort>,
    pub(crate) until_ms: u64,
    /// What its connections have carried.
    pub(crate) bytes: u64,
    permissions: Vec<(IpAddr, u64)>,
    channels: Vec<(u16, SocketAddr, u64)>,
}

/// Whether two allocations may have one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Alone,
    Shared,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) holding: Holding,
    /// Ports of each address, where each is one allocation's.
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) allocations_max: usize,
    pub(crate) allocations_per_user: usize,
    pub(crate) all: Vec<Allocation>,
    /// Whose a peer is on a shared port.
    owners: Vec<(RelayPort, SocketAddr, Client)>,
    made: u64,
    pub(crate) tcp: Connections,
}

/// What an Allocate asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks<'a> {
    pub(crate) user: usize,
    /// Which addresses, by their places.
    pub(crate) places: &'a [usize],
    pub(crate) even: bool,
    pub(crate) carrier: Carrier,
}

/// What becomes of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goes {
    Nowhere,
    ToPeer(RelayPort, SocketAddr),
    /// With the channel, if there is one for the peer.
    ToClient(Client, Option<u16>),
}

/// Which addresses an Allocate asks for, by their places.
pub(crate) const V4: usize = 0;
pub(crate) const V6: usize = 1;

fn place_of(ip: IpAddr) -> u8 {
    u8::try_from(if ip.is_ipv4() { V4 } else { V6 }).expect("small")
}

impl Model {
    pub(crate) fn new(
        holding: Holding,
        ports: BTreeSet<u16>,
        allocations_max: usize,
        allocations_per_user: usize,
    ) -> Self {
        Self {
            holding,
            ports,
            allocations_max,
            allocations_per_user,
            all: Vec::new(),
            owners: Vec::new(),
            made: 0,
            tcp: Connections::default(),
        }
    }

    /// Time has come so far.
    pub(crate) fn pass(&mut self, now_ms: u64) {
        let over: Vec<Client> =
            self.all.iter().filter(|one| one.until_ms <= now_ms).map(|one| one.client).collect();
        for client in over {
            self.end(&client, now_ms);
        }
        self.give_up(now_ms);
    }

    /// Returns when the next thing ends by itself.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let allocations = self.all.iter().map(|one| one.until_ms);
        allocations.chain(self.tcp.ends_ms()).min()
    }

    pub(crate) fn end(&mut self, client: &Client, now_ms: u64) {
        if let Some(made) = self.of(client).map(|one| one.made) {
            self.tcp.allocation_ends(made, now_ms);
        }
        self.all.retain(|one| one.client != *client);
        self.owners.retain(|(_, _, owner)| owner != client);
    }

    /// Returns the allocation with a number.
    pub(super) fn numbered(&self, made: u64) -> Option<&Allocation> {
        self.all.iter().find(|one| one.made == made)
    }

    pub(crate) fn client_of(&self, made: u64) -> Option<Client> {
        self.numbered(made).map(|one| one.client)
    }

    pub(crate) fn of(&self, client: &Client) -> Option<&Allocation> {
        self.all.iter().find(|one| one.client == *client)
    }

    pub(super) fn of_mut(&mut self, client: &Client) -> Option<&mut Allocation> {
        self.all.iter_mut().find(|one| one.client == *client)
    }

    fn free(&self, place: usize, parity: Option<u16>) -> bool {
        if self.holding == Holding::Shared {
            return true;
        }
        let mut fit = self.ports.iter().filter(|port| parity.is_none_or(|p| *port % 2 == p));
        fit.any(|port| !self.taken().contains(&(place, *port)))
    }

    fn taken(&self) -> BTreeSet<(usize, u16)> {
        let ports = self.all.iter().flat_map(|one| &one.ports);
        ports.map(|port| (usize::from(port.address), port.port)).collect()
    }

    /// Ports that no allocation has, at the address with the fewest.
    pub(crate) fn free_ports(&self) -> usize {
        let taken = self.taken();
        let of = |place| taken.iter().filter(|(at, _)| *at == place).count();
        self.ports.len() - of(V4).max(of(V6))
    }

    /// An Allocate for the addresses at `places`, of which one at least must be there (RFC 8656
    /// section 7.2, step 9). Returns the error, or which addresses are given.
    pub(crate) fn may_allocate(&self, client: &Client, asks: Asks<'_>) -> Result<Vec<usize>, u16> {
        if self.of(client).is_some() {
            return Err(437);
        }
        let of_user = self.all.iter().filter(|one| one.user == asks.user);
        if of_user.count() >= self.allocations_per_user {
            return Err(486);
        }
        if self.all.len() >= self.allocations_max {
            return Err(508);
        }
        // RFC 6062 section 5.1: it is asked for over TCP, and no parity goes with it.
        if asks.carrier == Carrier::Tcp && (client.transport == Transport::Udp || asks.even) {
            return Err(400);
        }
        let parity = asks.even.then_some(0);
        let given: Vec<usize> =
            asks.places.iter().copied().filter(|place| self.free(*place, parity)).collect();
        if given.is_empty() {
            return Err(508);
        }
        Ok(given)
    }

    pub(crate) fn allocated(
        &mut self,
        (client, user, carrier): (Client, usize, Carrier),
        ports: Vec<RelayPort>,
        until_ms: u64,
    ) {
        if self.holding == Holding::Alone {
            let taken = self.taken();
            for port in &ports {
                assert!(!taken.contains(&(usize::from(port.address), port.port)), "given twice");
            }
        }
        self.made += 1;
        self.all.push(Allocation {
            made: self.made,
            client,
            user,
            carrier,
            ports,
            until_ms,
            bytes: 0,
            permissions: Vec::new(),
            channels: Vec::new(),
        });
    }

    pub(crate) fn refresh(
        &mut self,
        client: &Client,
        until_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), u16> {
        let allocation = self.of_mut(client).ok_or(437_u16)?;
        match until_ms {
            Some(until_ms) => allocation.until_ms = until_ms,
            None => self.end(client, now_ms),
        }
        Ok(())
    }

    pub(crate) fn permit(
        &mut self,
        client: &Client,
        peers: &[SocketAddr],
        now_ms: u64,
    ) -> Result<(), u16> {
        let allocation = self.of_mut(client).ok_or(437_u16)?;
        for peer in peers {
            reachable(allocation, peer.ip())?;
        }
        self.claim(client, peers, now_ms)?;
        let allocation = self.of_mut(client).ok_or(437_u16)?;
        for peer in peers {
            permit(allocation, peer.ip(), now_ms);
        }
        Ok(())
    }

    pub(crate) fn bind(
        &mut self,
        client: &Client,
        number: u16,
        peer: SocketAddr,
        now_ms: u64,
    ) -> Result<(), u16> {
        let allocation = self.of(client).ok_or(437_u16)?;
        if allocation.carrier == Carrier::Tcp {
            return Err(403);
        }
        reachable(allocation, peer.ip())?;
        if !self.own(client, peer) {
            return Err(403);
        }
        let allocation = self.of_mut(client).ok_or(437_u16)?;
        allocation.channels.retain(|(.., until)| until + CHANNEL_RESTS_MS > now_ms);
        let clash = |(n, p, _): &(u16, SocketAddr, u64)| (*n == number) != (*p == peer);
        if allocation.channels.iter().any(clash) {
            return Err(400);
        }
        allocation.channels.retain(|(n, ..)| *n != number);
        allocation.channels.push((number, peer, now_ms + CHANNEL_MS));
        permit(allocation, peer.ip(), now_ms);
        Ok(())
    }

    /// Makes a peer the client's own on a shared port, unless it is another's.
    fn own(&mut self, client: &Client, peer: SocketAddr) -> bool {
        let Some(port) = self.port_towards(client, peer.ip()) else { return false };
        let owner = self.owners.iter().find(|(at, whose, _)| (*at, *whose) == (port, peer));
        match (self.holding, owner) {
            (Holding::Alone, _) => true,
            (Holding::Shared, Some((.., owner))) => owner == client,
            (Holding::Shared, None) => {
                self.owners.push((port, peer, *client));
                true
            }
        }
    }

    pub(super) fn port_towards(&self, client: &Client, ip: IpAddr) -> Option<RelayPort> {
        let ports = &self.of(client)?.ports;
        ports.iter().copied().find(|port| port.address == place_of(ip))
    }

    /// A Send indication.
    pub(crate) fn send(&mut self, client: &Client, peer: SocketAddr, now_ms: u64) -> Goes {
        let permitted = self
            .of(client)
            .is_some_and(|one| one.carrier == Carrier::Udp && permits(one, peer.ip(), now_ms));
        if !permitted || !self.own(client, peer) {
            return Goes::Nowhere;
        }
        let port = self.port_towards(client, peer.ip()).expect("its peer is its own");
        Goes::ToPeer(port, peer)
    }

    /// ChannelData.
    pub(crate) fn channel_data(&self, client: &Client, number: u16, now_ms: u64) -> Goes {
        let Some(allocation) = self.of(client) else { return Goes::Nowhere };
        let bound =
            allocation.channels.iter().find(|(n, _, until)| *n == number && *until > now_ms);
        match bound {
            Some((_, peer, _)) if permits(allocation, peer.ip(), now_ms) => {
                let port = self.port_towards(client, peer.ip()).expect("it was bound");
                Goes::ToPeer(port, *peer)
            }
            _ => Goes::Nowhere,
        }
    }

    /// A datagram of a peer's.
    pub(crate) fn peer_sends(&self, port: RelayPort, peer: SocketAddr, now_ms: u64) -> Goes {
        let allocation = match self.holding {
            Holding::Alone => self.all.iter().find(|one| one.ports.contains(&port)),
            Holding::Shared => {
                let owner = self.owners.iter().find(|(at, whose, _)| (*at, *whose) == (port, peer));
                owner.and_then(|(.., client)| self.of(client))
            }
        };
        match allocation {
            Some(one) if one.carrier == Carrier::Udp && permits(one, peer.ip(), now_ms) => {
                let mut bound = one.channels.iter().filter(|(.., until)| *until > now_ms);
                let channel =
                    bound.find(|(_, whose, _)| *whose == peer).map(|(number, ..)| *number);
                Goes::ToClient(one.client, channel)
            }
            _ => Goes::Nowhere,
        }
    }
}

/// RFC 8656 section 10.2: an address of a family that the allocation has none of is 443.
pub(super) fn reachable(allocation: &Allocation, ip: IpAddr) -> Result<(), u16> {
    let has = allocation.ports.iter().any(|port| port.address == place_of(ip));
    if has { Ok(()) } else { Err(443) }
}

pub(super) fn permits(allocation: &Allocation, ip: IpAddr, now_ms: u64) -> bool {
    allocation.permissions.iter().any(|(known, until)| *known == ip && *until > now_ms)
}

fn permit(allocation: &mut Allocation, ip: IpAddr, now_ms: u64) {
    allocation.permissions.retain(|(known, _)| *known != ip);
    allocation.permissions.push((ip, now_ms + PERMISSION_MS));
}
