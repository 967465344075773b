//! Allocations by client, by port and, on shared ports, by peer.

use std::net::SocketAddr;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::allocation::Allocation;
use super::chunks::Chunks;
use super::numbers::Numbers;
use super::peer::Peer;
use super::ports::RelayPort;
use super::{Carrier, Client, Family};
use crate::limits;
use crate::time::Monotonic;

/// All allocations of one thread.
#[derive(Debug, Default)]
pub(super) struct Table {
    allocations: Chunks<Allocation>,
    by_client: Numbers,
    /// On ports that belong to one allocation each.
    by_port: HashMap<RelayPort, u32, RandomState>,
    /// On shared ports: who owns which peer.
    owners: Numbers,
}

/// Whether a port has one allocation or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    Alone,
    Shared,
}

/// Why a peer on a shared port is not an allocation's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotOwned {
    /// Another allocation on the same port owns it.
    ByAnother,
    /// The allocation owns as many as it may.
    Full,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.allocations.len()
    }

    /// Returns whose the datagrams of a client are. Hot: once per datagram of a client.
    pub(super) fn of_client(&self, client: &Client) -> Option<u32> {
        self.by_client.find(client, |index| self.get(index).is_some_and(|of| of.client == *client))
    }

    /// Returns whose a datagram from `peer` to `port` is. Hot: once per datagram of a peer.
    pub(super) fn of_peer(&self, port: RelayPort, peer: SocketAddr, how: Holding) -> Option<u32> {
        match how {
            Holding::Alone => self.by_port.get(&port).copied(),
            Holding::Shared => self.owner(&(port, peer.into())),
        }
    }

    fn owner(&self, owned: &(RelayPort, Peer)) -> Option<u32> {
        self.owners.find(owned, |index| self.get(index).is_some_and(|of| of.owned.contains(owned)))
    }

    pub(super) fn get(&self, index: u32) -> Option<&Allocation> {
        self.allocations.get(index as usize)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Allocation> {
        self.allocations.get_mut(index as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Allocation)> {
        self.allocations.iter().map(|(index, allocation)| (index as u32, allocation))
    }

    pub(super) fn insert(&mut self, allocation: Allocation, how: Holding) -> u32 {
        let client = allocation.client;
        assert!(self.of_client(&client).is_none(), "a client has one allocation");
        let ports = allocation.ports.clone();
        let of_datagrams = allocation.carrier() == Carrier::Udp;
        let index = self.allocations.insert(allocation) as u32;
        self.by_client.insert(&client, index);
        if how == Holding::Alone && of_datagrams {
            for port in ports {
                let before = self.by_port.insert(port, index);
                assert!(before.is_none(), "a port of its own has one allocation");
            }
        }
        index
    }

    /// Gives `peer` on `port` to `index`, whose it may be already. Where it owns too many, it lets
    /// go of those that it may not talk to any more.
    pub(super) fn own(
        &mut self,
        now: Monotonic,
        port: RelayPort,
        peer: SocketAddr,
        index: u32,
    ) -> Result<(), NotOwned> {
        let owned = (port, Peer::from(peer));
        match self.owner(&owned) {
            Some(owner) if owner == index => return Ok(()),
            Some(_) => return Err(NotOwned::ByAnother),
            None => {}
        }
        if self.owns_all(index) {
            self.disown_unpermitted(index, now);
        }
        if self.owns_all(index) {
            return Err(NotOwned::Full);
        }
        let allocation = self.allocations.get_mut(index as usize).ok_or(NotOwned::ByAnother)?;
        allocation.owned.push(owned);
        self.owners.insert(&owned, index);
        Ok(())
    }

    fn owns_all(&self, index: u32) -> bool {
        self.get(index).is_some_and(|of| of.owned.len() == limits::TURN_CHANNELS_MAX)
    }

    /// Lets go of the peers that `index` owns and may not talk to any more.
    fn disown_unpermitted(&mut self, index: u32, now: Monotonic) {
        let Some(allocation) = self.allocations.get_mut(index as usize) else { return };
        let owned = std::mem::take(&mut allocation.owned);
        for one in owned {
            if allocation.permits(now, one.1.ip) {
                allocation.owned.push(one);
            } else {
                self.owners.remove(&one, index);
            }
        }
    }

    /// The client of an allocation is another one now, which has none.
    pub(super) fn moved(&mut self, index: u32, client: Client) {
        assert!(self.of_client(&client).is_none(), "a client has one allocation");
        let Some(allocation) = self.allocations.get_mut(index as usize) else { return };
        self.by_client.remove(&allocation.client, index);
        allocation.client = client;
        self.by_client.insert(&client, index);
    }

    /// Takes one port from an allocation, with all that it had there of peers of that family.
    pub(super) fn shed(&mut self, index: u32, port: RelayPort, family: Family) {
        let Some(allocation) = self.allocations.get_mut(index as usize) else { return };
        allocation.shed(port, family);
        self.by_port.remove(&port);
        let owned = std::mem::take(&mut allocation.owned);
        for one in owned {
            if one.0 == port {
                self.owners.remove(&one, index);
            } else {
                allocation.owned.push(one);
            }
        }
    }

    /// Takes an allocation out, with all it owns.
    pub(super) fn remove(&mut self, index: u32) -> Option<Allocation> {
        let allocation = self.allocations.try_remove(index as usize)?;
        self.by_client.remove(&allocation.client, index);
        for port in &allocation.ports {
            self.by_port.remove(port);
        }
        for owned in &allocation.owned {
            self.owners.remove(owned, index);
        }
        Some(allocation)
    }
}
