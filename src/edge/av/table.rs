//! Allocations by client, by port and, on shared ports, by peer.

use std::net::SocketAddr;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::allocation::Allocation;
use super::chunks::Chunks;
use super::ports::RelayPort;
use super::{Carrier, Client};
use crate::time::Monotonic;

/// All allocations of one thread.
#[derive(Debug, Default)]
pub(super) struct Table {
    allocations: Chunks<Allocation>,
    by_client: HashMap<Client, u32, RandomState>,
    /// On ports that belong to one allocation each.
    by_port: HashMap<RelayPort, u32, RandomState>,
    /// On shared ports: who owns which peer.
    owners: HashMap<(RelayPort, SocketAddr), u32, RandomState>,
}

/// Another allocation on the same shared port owns the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnedByAnother;

/// Whether a port has one allocation or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    Alone,
    Shared,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.allocations.len()
    }

    pub(super) fn of_client(&self, client: &Client) -> Option<u32> {
        self.by_client.get(client).copied()
    }

    /// Returns whose a datagram from `peer` to `port` is. Hot: once per datagram of a peer.
    pub(super) fn of_peer(&self, port: RelayPort, peer: SocketAddr, how: Holding) -> Option<u32> {
        match how {
            Holding::Alone => self.by_port.get(&port).copied(),
            Holding::Shared => self.owners.get(&(port, peer)).copied(),
        }
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
        let ports = allocation.ports.clone();
        let of_datagrams = allocation.carrier == Carrier::Udp;
        let index = self.allocations.insert(allocation) as u32;
        let before = self.by_client.insert(client, index);
        assert!(before.is_none(), "a client has one allocation");
        if how == Holding::Alone && of_datagrams {
            for port in ports {
                let before = self.by_port.insert(port, index);
                assert!(before.is_none(), "a port of its own has one allocation");
            }
        }
        index
    }

    /// Gives `peer` on `port` to `index`, whose it may be already.
    pub(super) fn own(
        &mut self,
        port: RelayPort,
        peer: SocketAddr,
        index: u32,
    ) -> Result<(), OwnedByAnother> {
        match self.owners.insert((port, peer), index) {
            Some(other) if other != index => {
                self.owners.insert((port, peer), other);
                Err(OwnedByAnother)
            }
            _ => Ok(()),
        }
    }

    /// Lets go of the peers that `index` owns and may not talk to any more.
    pub(super) fn disown_unpermitted(&mut self, index: u32, now: Monotonic) {
        let Some(allocation) = self.allocations.get_mut(index as usize) else { return };
        let owned = std::mem::take(&mut allocation.owned);
        for (port, peer) in owned {
            if allocation.permits(now, peer.ip()) {
                allocation.owned.push((port, peer));
            } else {
                self.owners.remove(&(port, peer));
            }
        }
    }

    /// The client of an allocation is another one now, which has none.
    pub(super) fn moved(&mut self, index: u32, client: Client) {
        let Some(allocation) = self.allocations.get_mut(index as usize) else { return };
        self.by_client.remove(&allocation.client);
        allocation.client = client;
        let before = self.by_client.insert(client, index);
        assert!(before.is_none(), "a client has one allocation");
    }

    /// Takes an allocation out, with all it owns.
    pub(super) fn remove(&mut self, index: u32) -> Option<Allocation> {
        let allocation = self.allocations.try_remove(index as usize)?;
        self.by_client.remove(&allocation.client);
        for port in &allocation.ports {
            self.by_port.remove(port);
        }
        for (port, peer) in &allocation.owned {
            self.owners.remove(&(*port, *peer));
        }
        Some(allocation)
    }
}
