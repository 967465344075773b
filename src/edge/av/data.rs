//! Data between clients and peers: what is relayed, and under which permission.

use std::net::{IpAddr, SocketAddr};

use super::allocation::Spoken;
use super::counters::Load;
use super::table::{Holding, NotOwned};
use super::{
    Around, Client, Direction, Dropped, Output, Relay, RelayPort, Step, medium, microsoft,
    random_id, request,
};
use crate::stun::{ChannelData, TransactionId, ms};
use crate::time::Monotonic;

impl Relay {
    /// Data, to the peer of its channel; without any header, to the peer that a client of the
    /// Microsoft dialect has named.
    pub(super) fn data<'a>(
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
            Spoken::Ms { active, .. } => (active.ok_or(Dropped::Malformed)?.into(), datagram),
        };
        self.send_to_peer(now, index, peer, payload)
    }

    /// Sends data of allocation `index` to a peer that it may talk to.
    pub(super) fn send_to_peer<'a>(
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
        let load = Load::datagram(Direction::ToPeer, payload);
        if !allocation.charge(&mut self.counters.traffic, now, load) {
            return Err(Dropped::Bandwidth);
        }
        let medium = medium::of(allocation.medium, &allocation.traffic, payload);
        Ok(Step::ToPeer { port, peer, payload, medium })
    }

    /// Takes the short way where the peer is one of our own relayed addresses.
    pub(super) fn within<'a>(
        &mut self,
        now: Monotonic,
        step: Step<'a>,
        out: &mut Output,
    ) -> Step<'a> {
        let Step::ToPeer { port, peer, payload, .. } = step else { return step };
        let place = self.setup.relayed.iter().position(|relayed| relayed.public == peer.ip());
        let Some(place) = place else { return step };
        let theirs = RelayPort { address: place as u8, port: peer.port() };
        let from = SocketAddr::new(self.setup.relayed[usize::from(port.address)].public, port.port);
        if self.siblings.iter().any(|ports| ports.holds(peer.port())) {
            return Step::ToSibling { port: theirs, from, payload };
        }
        match self.send_to_client(now, theirs, from, payload, out) {
            Ok(step) => {
                self.counters.within += 1;
                step
            }
            Err(dropped) => self.dropped(dropped),
        }
    }

    pub(super) fn send_to_client<'a>(
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
        let length = u16::try_from(payload.len()).map_err(|_| Dropped::Malformed)?;
        let load = Load::datagram(Direction::ToClient, payload);
        if !allocation.charge(&mut self.counters.traffic, now, load) {
            return Err(Dropped::Bandwidth);
        }
        let client = allocation.client;
        let medium = medium::of(allocation.medium, &allocation.traffic, payload);
        let around = match &allocation.spoken {
            Spoken::Rfc { .. } => match allocation.channel(now, peer) {
                Some(channel) => Around::Channel(ChannelData::header(channel, length)),
                None => {
                    let id = random_id(&mut self.rng);
                    request::data_indication(&mut out.head, TransactionId(id), peer, length)
                }
            },
            Spoken::Ms { active: Some(active), .. } if *active == peer.into() => Around::Bare,
            Spoken::Ms { connection, .. } => {
                let id = random_id(&mut self.rng);
                let id = ms::TransactionId(id);
                microsoft::data_indication(&mut out.head, id, connection, peer, length)
            }
        };
        Ok(Step::ToClient { client, around, payload, medium })
    }

    /// Permits `ip` for `index`, once the rule has.
    pub(super) fn permit(&mut self, now: Monotonic, index: u32, ip: IpAddr) -> Result<(), Dropped> {
        let allocation = self.table.get_mut(index).ok_or(Dropped::NoAllocation)?;
        allocation.permit(now, ip).map_err(|_| Dropped::NoPermission)
    }

    /// On shared ports, makes `peer` belong to `index` alone.
    pub(super) fn own(
        &mut self,
        now: Monotonic,
        index: u32,
        peer: SocketAddr,
    ) -> Result<(), NotOwned> {
        if self.holding == Holding::Alone {
            return Ok(());
        }
        let allocation = self.table.get(index).ok_or(NotOwned::ByAnother)?;
        let port = allocation.port_towards(&self.families, peer.ip());
        self.table.own(now, port.ok_or(NotOwned::ByAnother)?, peer, index)
    }
}
