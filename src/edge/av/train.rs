//! Trains: datagrams of one flow that came as one, judged at once where they are all alike.
//!
//! A flow of video comes in runs of equal datagrams. Where all of a run are data of one channel, or
//! all come from one peer that has a channel, one look at allocation, permission and rate is enough
//! for them; each still counts. Anything else is for [`Relay::from_client`] and
//! [`Relay::from_peer`], datagram by datagram, and nothing of it has been counted here.

use std::net::SocketAddr;

use super::allocation::{Allocation, Spoken};
use super::counters::Load;
use super::medium;
use super::ports::RelayPort;
use super::{Client, Direction, Medium, Relay, Transport};
use crate::stun::{CHANNEL_HEADER_BYTES, ChannelData, ChannelNumber};
use crate::time::{Monotonic, Now};

/// Datagrams that came as one: `bytes` cut at every `segment` of them; the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    /// All of them.
    pub bytes: &'a [u8],
    /// Bytes of each; at least one.
    pub segment: usize,
}

/// Where a whole train goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Bytes at the start of each datagram that are not its payload.
    pub skip: u8,
    /// To whom.
    pub to: Toward,
    /// What it carries.
    pub medium: Medium,
}

/// Who a train is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// A peer.
    Peer {
        /// From where.
        port: RelayPort,
        /// To whom.
        peer: SocketAddr,
    },
    /// A client, by datagrams.
    Client {
        /// To whom.
        client: Client,
        /// The channel whose header goes before each datagram; `None` for a client that has named
        /// this peer.
        channel: Option<ChannelNumber>,
    },
}

impl Train<'_> {
    /// Returns how many datagrams there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.segment)
    }

    /// Returns what it carries; `skip`: bytes of each datagram that are no payload.
    const fn load(&self, direction: Direction, skip: usize) -> Load {
        let datagrams = self.count();
        let bytes = (self.bytes.len() - datagrams * skip) as u64;
        Load { direction, datagrams: datagrams as u64, bytes }
    }

    /// Returns the channel that all of them are data of, if they fill their datagrams.
    fn channel(&self) -> Option<ChannelNumber> {
        let channel = ChannelData::read(self.bytes)?.channel;
        let full = u16::try_from(self.segment.checked_sub(CHANNEL_HEADER_BYTES)?).ok()?;
        let full = ChannelData::header(channel, full);
        let (last, before) = {
            let last = (self.count() - 1) * self.segment;
            (self.bytes.get(last..)?, self.bytes.get(..last)?)
        };
        let end = u16::try_from(last.len().checked_sub(CHANNEL_HEADER_BYTES)?).ok()?;
        let alike = before.chunks_exact(self.segment).all(|datagram| datagram.starts_with(&full))
            && last.starts_with(&ChannelData::header(channel, end));
        alike.then_some(channel)
    }
}

impl Relay {
    /// Serves a train of a client at once; `None`: its datagrams are to be served one by one. Hot:
    /// once per train.
    pub fn train_from_client(
        &mut self,
        now: Now,
        client: &Client,
        train: Train<'_>,
    ) -> Option<Carried> {
        let now = now.monotonic;
        let channel = train.channel()?;
        let index = self.table.of_client(client)?;
        let allocation = self.table.get(index)?;
        let Spoken::Rfc { .. } = allocation.spoken else { return None };
        let peer =
            allocation.peer(now, channel).filter(|peer| allocation.permits(now, peer.ip()))?;
        let port = allocation.port_towards(&self.families, peer.ip())?;
        let load = train.load(Direction::ToPeer, CHANNEL_HEADER_BYTES);
        let within = self.setup.relayed.iter().position(|relayed| relayed.public == peer.ip());
        let to = match within {
            None => {
                let allocation = self.table.get_mut(index)?;
                let paid = allocation.charge(&mut self.counters.traffic, now, load);
                paid.then_some(Toward::Peer { port, peer })?
            }
            Some(place) => {
                let theirs = RelayPort { address: place as u8, port: peer.port() };
                let public = self.setup.relayed[usize::from(port.address)].public;
                let from = SocketAddr::new(public, port.port);
                let other = self.table.of_peer(theirs, from, self.holding)?;
                let to = toward_client(self.table.get(other)?, now, from)?;
                self.charge_both(now, [index, other], load)?;
                self.counters.within += load.datagrams;
                to
            }
        };
        let allocation = self.table.get(index)?;
        let payload = train.bytes.get(CHANNEL_HEADER_BYTES..).unwrap_or_default();
        let medium = medium::of(allocation.medium, &allocation.traffic, payload);
        Some(Carried { skip: CHANNEL_HEADER_BYTES as u8, to, medium })
    }

    /// Serves a train that came from `peer` to a relayed port at once; `None`: its datagrams are to
    /// be served one by one. Hot: once per train.
    pub fn train_from_peer(
        &mut self,
        now: Now,
        port: RelayPort,
        peer: SocketAddr,
        train: Train<'_>,
    ) -> Option<Carried> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let now = now.monotonic;
        let index = self.table.of_peer(port, peer, self.holding)?;
        let allocation = self.table.get_mut(index)?;
        let to = toward_client(allocation, now, peer)?;
        let load = train.load(Direction::ToClient, 0);
        if !allocation.charge(&mut self.counters.traffic, now, load) {
            return None;
        }
        let medium = medium::of(allocation.medium, &allocation.traffic, train.bytes);
        Some(Carried { skip: 0, to, medium })
    }

    /// Charges a client that sends within the relay and the one that it sends to, or neither of
    /// them. One user at both ends pays twice, and a client that is its own peer all the more.
    fn charge_both(&mut self, now: Monotonic, [from, to]: [u32; 2], load: Load) -> Option<()> {
        let each = if from == to { 2 * load.bytes } else { load.bytes };
        for index in [from, to] {
            let enough = self.table.get_mut(index)?.bandwidth.holds(now, each);
            enough.then_some(())?;
        }
        let taken = self.table.get(from)?.share.rate().take(now, load.bytes)?;
        if self.table.get(to)?.share.rate().take(now, load.bytes).is_none() {
            self.table.get(from)?.share.rate().give_back(taken);
            return None;
        }
        let theirs = Load { direction: Direction::ToClient, ..load };
        for (index, load) in [(from, load), (to, theirs)] {
            let allocation = self.table.get_mut(index)?;
            allocation.bandwidth.spend(load.bytes);
            allocation.count(&mut self.counters.traffic, load);
        }
        Some(())
    }
}

/// Returns how a client is reached with what comes from `peer`; `None` where it has to be looked at
/// datagram by datagram.
fn toward_client(allocation: &Allocation, now: Monotonic, peer: SocketAddr) -> Option<Toward> {
    let client = allocation.client;
    if client.transport != Transport::Udp || !allocation.permits(now, peer.ip()) {
        return None;
    }
    let channel = bare_or_channel(allocation, now, peer)?;
    Some(Toward::Client { client, channel })
}

/// Returns what goes before data of `peer`: a channel's header or nothing; `None` where it has to
/// be an indication.
fn bare_or_channel(
    allocation: &Allocation,
    now: Monotonic,
    peer: SocketAddr,
) -> Option<Option<ChannelNumber>> {
    match &allocation.spoken {
        Spoken::Rfc { .. } => allocation.channel(now, peer).map(Some),
        Spoken::Ms { active, .. } => (*active == Some(peer.into())).then_some(None),
    }
}
