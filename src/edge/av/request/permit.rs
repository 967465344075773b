//! Permissions, channels and what is sent without one (RFC 8656 sections 10 to 12).

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::{KNOWN, Proven, Refused, peer_address};
use crate::edge::av::allocation::CannotBind;
use crate::edge::av::claims::Unclaimed;
use crate::edge::av::counters::Contended;
use crate::edge::av::peer::PeerIp;
use crate::edge::av::table::{Holding, NotOwned};
use crate::edge::av::{Around, Arrival, Carrier, Dropped, Output, Relay, RelayPort, Step};
use crate::stun::{
    Attribute, AttributeType, Builder, ChannelNumber, Class, Message, Method, TransactionId, Type,
};
use crate::time::{Monotonic, Now};

impl Relay {
    /// RFC 8656 section 10.2: all of the peers, or none.
    pub(super) fn create_permission<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let message = proven.message;
        let index = self.table.of_client(&arrival.client).ok_or(437_u16)?;
        let of_peers =
            |attribute: &Attribute<'_>| attribute.kind == AttributeType::XOR_PEER_ADDRESS;
        let mut peers: SmallVec<[IpAddr; 8]> = SmallVec::new();
        for attribute in message.attributes().filter(of_peers) {
            let peer = attribute.xor_address(message.transaction()).ok_or(400_u16)?;
            peers.push(self.peer(index, peer.ip())?);
        }
        if peers.is_empty() {
            return Err(400.into());
        }
        let left = self.table.get(index).map_or(0, |a| a.permissions_left(now.monotonic));
        if peers.len() > left {
            // Those that run already need no place; counted only where it matters.
            let new = peers.iter().filter(|peer| {
                self.table.get(index).is_some_and(|a| !a.permits(now.monotonic, **peer))
            });
            if new.count() > left {
                return Err(508.into());
            }
        }
        self.claim(now.monotonic, index, &peers)?;
        for peer in peers {
            self.permit(now.monotonic, index, peer).map_err(|_| 508_u16)?;
        }
        self.write_success(proven, out);
        Ok(Step::Answer)
    }

    /// At a shared port of TCP, makes addresses allocation `index`'s alone: all of them, or, where
    /// one is another's, none.
    fn claim(&mut self, now: Monotonic, index: u32, peers: &[IpAddr]) -> Result<(), u16> {
        let Some(allocation) = self.table.get(index) else { return Err(437) };
        if (self.holding, allocation.carrier()) != (Holding::Shared, Carrier::Tcp) {
            return Ok(());
        }
        let user = allocation.share.user();
        let port = |peer: &IpAddr| allocation.port_towards(&self.families, *peer);
        let at = |peer: &IpAddr| port(peer).map(|port| (port, PeerIp::from(*peer)));
        let all: SmallVec<[(RelayPort, PeerIp); 8]> = peers.iter().filter_map(at).collect();
        let free = |(port, ip): &(RelayPort, PeerIp)| {
            self.claims.judge(now, *port, *ip, index) != Err(Unclaimed::ByAnother)
        };
        if !all.iter().all(free) {
            return Err(self.contended(Contended::Permission));
        }
        let taken = all.into_iter().try_for_each(|one| self.claims.take(now, one, index, user));
        taken.map_err(|_| 508)
    }

    /// Counts that another allocation at the same shared port has a peer, and returns what is
    /// answered: "local policy" is what RFC 6062 section 5.2 calls such a reason, and RFC 8656
    /// section 10.2 a value that is not allowed.
    pub(super) const fn contended(&mut self, what: Contended) -> u16 {
        self.counters.contended[what as usize] += 1;
        403
    }

    /// RFC 8656 section 12.2.
    pub(super) fn channel_bind<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let message = proven.message;
        let index = self.table.of_client(&arrival.client).ok_or(437_u16)?;
        if self.table.get(index).is_some_and(|of| of.carrier() == Carrier::Tcp) {
            // RFC 6062 section 3: its data has connections, and nothing else.
            return Err(403.into());
        }
        let number = message.attribute(AttributeType::CHANNEL_NUMBER).ok_or(400_u16)?;
        let number = match number.value {
            [n0, n1, ..] => ChannelNumber::new(u16::from_be_bytes([*n0, *n1])),
            _ => None,
        };
        let number = number.ok_or(400_u16)?;
        let peer = peer_address(message).ok_or(400_u16)?;
        let peer = SocketAddr::new(self.peer(index, peer.ip())?, peer.port());
        if !self.setup.peers.reaches(peer) {
            return Err(403.into());
        }
        self.own(now.monotonic, index, peer).map_err(|not| match not {
            NotOwned::ByAnother => self.contended(Contended::Channel),
            NotOwned::Full => 508,
        })?;
        let allocation = self.table.get_mut(index).ok_or(437_u16)?;
        allocation.bind(now.monotonic, number, peer).map_err(|cannot| match cannot {
            CannotBind::Bound => 400_u16,
            CannotBind::Full => 508,
        })?;
        self.permit(now.monotonic, index, peer.ip()).map_err(|_| 508_u16)?;
        self.write_success(proven, out);
        Ok(Step::Answer)
    }

    /// RFC 8656 section 11.2; never answered.
    pub(super) fn send<'a>(
        &mut self,
        now: Monotonic,
        arrival: &Arrival<'a>,
        message: Message<'a>,
    ) -> Result<Step<'a>, Dropped> {
        if message.unknown(KNOWN).next().is_some() {
            return Err(Dropped::Malformed);
        }
        let index = self.table.of_client(&arrival.client).ok_or(Dropped::NoAllocation)?;
        let peer = peer_address(message).ok_or(Dropped::Malformed)?;
        let data = message.attribute(AttributeType::DATA).ok_or(Dropped::Malformed)?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let allocation = self.table.get(index).ok_or(Dropped::NoAllocation)?;
        if !allocation.permits(now, peer.ip()) || allocation.carrier() == Carrier::Tcp {
            return Err(Dropped::NoPermission);
        }
        if !self.setup.peers.reaches(peer) {
            return Err(Dropped::PeerRefused);
        }
        self.own(now, index, peer).map_err(|_| Dropped::PeerRefused)?;
        self.send_to_peer(now, index, peer, data.value)
    }

    /// Judges a peer that allocation `index` asks for.
    pub(super) fn peer(&self, index: u32, ip: IpAddr) -> Result<IpAddr, u16> {
        let allocation = self.table.get(index).ok_or(437_u16)?;
        let listener = allocation.client.listener;
        let ip = self.judge_peer(listener, ip).map_err(|_| 403_u16)?;
        allocation.port_towards(&self.families, ip).map(|_| ip).ok_or(443)
    }
}

/// Writes what goes before a Data indication's payload (RFC 8656 section 11.3).
pub(in crate::edge::av) fn data_indication(
    head: &mut Vec<u8>,
    transaction: TransactionId,
    peer: SocketAddr,
    length: u16,
) -> Around {
    head.clear();
    let kind = Type { method: Method::DATA, class: Class::Indication };
    Builder::new(head, kind, transaction).xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    head.extend_from_slice(&AttributeType::DATA.0.to_be_bytes());
    head.extend_from_slice(&length.to_be_bytes());
    let padded = length.next_multiple_of(4);
    let whole = head.len() as u16 - 20 + padded;
    head[2..4].copy_from_slice(&whole.to_be_bytes());
    Around::Indication { padding: (padded - length) as u8 }
}
