//! One client's relayed address, and whom it may talk to.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::accounts::Share;
use super::bucket::Bucket;
use super::counters::Load;
use super::peer::{Peer, PeerIp};
use super::ports::RelayPort;
use super::{Carrier, Client, Medium, Traffic};
use crate::limits;
use crate::stun::{self, ChannelNumber};
use crate::time::Monotonic;

/// What an allocation was made by, and the keys its requests are proven with.
#[derive(Debug)]
pub(super) enum Spoken {
    Rfc {
        key: stun::Key,
        /// The request it was made by: sent again, it gets the same answer.
        born: stun::TransactionId,
        /// The proof that is sent back is of the kind that was sent.
        hash: ProofHash,
    },
    Ms {
        key: stun::ms::Key,
        connection: [u8; stun::ms::numbers::CONNECTION_ID_BYTES],
        /// The peer that bare data goes to and comes from.
        active: Option<Peer>,
    },
}

/// Which attribute proves a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofHash {
    Sha1,
    Sha256,
}

/// A client's relayed address.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: Client,
    pub(super) spoken: Spoken,
    /// A hash of the whole username, which is whose the allocation is: what is said about it has
    /// to be proven with its key besides.
    pub(super) owner: u64,
    /// What quotas count, and what it reaches peers by.
    pub(super) share: Share,
    /// What it is for, where the client has said it.
    pub(super) medium: Option<Medium>,
    /// One, or one for each family.
    pub(super) ports: SmallVec<[RelayPort; 2]>,
    pub(super) until: Monotonic,
    /// One for each address that a peer may turn out to have; a call ends with one or two.
    permissions: SmallVec<[Permission; 2]>,
    channels: SmallVec<[Channel; 1]>,
    /// Peers that are its own on shared ports; at most [`limits::TURN_CHANNELS_MAX`].
    pub(super) owned: SmallVec<[(RelayPort, Peer); 1]>,
    pub(super) bandwidth: Bucket,
    pub(super) traffic: Traffic,
}

/// A peer's address that datagrams are taken from and sent to.
#[derive(Clone, Copy, Debug)]
struct Permission {
    ip: PeerIp,
    until: Monotonic,
}

/// A number that stands for a peer.
#[derive(Clone, Copy, Debug)]
struct Channel {
    number: ChannelNumber,
    peer: Peer,
    until: Monotonic,
}

// What an allocation takes is what a relay's memory is made of; its tables and timers add some 60.
const _: () = assert!(size_of::<Allocation>() <= 352);

/// More permissions or channels than an allocation may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CannotBind {
    /// The number stands for another peer, or the peer has another number (RFC 8656 section 12.2).
    Bound,
    /// No place.
    Full,
}

impl Allocation {
    pub(super) fn new(
        client: Client,
        spoken: Spoken,
        owner: u64,
        share: Share,
        ports: SmallVec<[RelayPort; 2]>,
        bandwidth: Bucket,
    ) -> Self {
        Self {
            client,
            spoken,
            owner,
            share,
            medium: None,
            ports,
            until: Monotonic::default(),
            permissions: SmallVec::new(),
            channels: SmallVec::new(),
            owned: SmallVec::new(),
            bandwidth,
            traffic: Traffic::default(),
        }
    }

    /// Returns what it reaches peers by.
    pub(super) const fn carrier(&self) -> Carrier {
        self.share.carrier()
    }

    /// Permits `ip`, or prolongs its permission.
    pub(super) fn permit(&mut self, now: Monotonic, ip: IpAddr) -> Result<(), Full> {
        let until = now.plus_ms(limits::TURN_PERMISSION_MS);
        let ip = PeerIp::from(ip);
        if let Some(known) = self.permissions.iter_mut().find(|known| known.ip == ip) {
            known.until = until;
            return Ok(());
        }
        if self.permissions.len() == limits::TURN_PERMISSIONS_MAX {
            self.permissions.retain(|known| known.until > now);
        }
        if self.permissions.len() == limits::TURN_PERMISSIONS_MAX {
            return Err(Full);
        }
        self.permissions.push(Permission { ip, until });
        Ok(())
    }

    /// Takes what is carried from its rate and from its user's, and counts it, there and in
    /// `counted`; nothing of that, and `false`, where either rate has not enough. Hot: once per
    /// datagram or train.
    pub(super) fn charge(&mut self, counted: &mut Traffic, now: Monotonic, load: Load) -> bool {
        // What the user's rate has given is not given back: the other one is looked at before.
        let enough = self.bandwidth.holds(now, load.bytes)
            && self.share.rate().take(now, load.bytes).is_some();
        if enough {
            self.bandwidth.spend(load.bytes);
            self.count(counted, load);
        }
        enough
    }

    /// Takes what was carried from both rates, there or not, and counts it. What its own has not
    /// got is forgotten; what the user's has not got is owed, since several threads may have
    /// carried what was there once.
    pub(super) fn charge_carried(&mut self, counted: &mut Traffic, now: Monotonic, load: Load) {
        let there = self.bandwidth.left(now);
        self.bandwidth.spend(there.min(load.bytes));
        self.share.rate().owe(now, load.bytes);
        self.count(counted, load);
    }

    /// Returns how many bytes both rates leave.
    pub(super) fn rates_leave(&mut self, now: Monotonic) -> u64 {
        self.bandwidth.left(now).min(self.share.rate().left(now))
    }

    pub(super) const fn count(&mut self, counted: &mut Traffic, load: Load) {
        self.traffic.count(load);
        counted.count(load);
    }

    /// Returns how many further addresses may be permitted at `now`.
    pub(super) fn permissions_left(&self, now: Monotonic) -> usize {
        let running = self.permissions.iter().filter(|known| known.until > now).count();
        limits::TURN_PERMISSIONS_MAX - running
    }

    /// Tells whether datagrams may come from and go to `ip`. Hot: once per datagram.
    pub(super) fn permits(&self, now: Monotonic, ip: impl Into<PeerIp>) -> bool {
        let ip = ip.into();
        self.permissions.iter().any(|known| known.ip == ip && known.until > now)
    }

    /// Lets `number` stand for `peer`, or prolongs that.
    pub(super) fn bind(
        &mut self,
        now: Monotonic,
        number: ChannelNumber,
        peer: SocketAddr,
    ) -> Result<(), CannotBind> {
        let until = now.plus_ms(limits::TURN_CHANNEL_MS);
        let peer = Peer::from(peer);
        // One that has ended may not be given another meaning for a while: what is under way would
        // reach the wrong peer (RFC 8656 section 12).
        let remembered =
            |channel: &Channel| channel.until.plus_ms(limits::TURN_PERMISSION_MS) > now;
        let conflict = self.channels.iter().any(|channel| {
            remembered(channel) && (channel.number == number) != (channel.peer == peer)
        });
        if conflict {
            return Err(CannotBind::Bound);
        }
        self.channels.retain(|channel| remembered(channel));
        if let Some(known) = self.channels.iter_mut().find(|channel| channel.peer == peer) {
            known.until = until;
            return Ok(());
        }
        if self.channels.len() == limits::TURN_CHANNELS_MAX {
            return Err(CannotBind::Full);
        }
        self.channels.push(Channel { number, peer, until });
        Ok(())
    }

    /// Returns the peer that `number` stands for. Hot: once per datagram of a client.
    pub(super) fn peer(&self, now: Monotonic, number: ChannelNumber) -> Option<SocketAddr> {
        let bound = self.channels.iter().find(|channel| channel.number == number)?;
        (bound.until > now).then(|| bound.peer.into())
    }

    /// Forgets a port, and what was permitted and bound of its family.
    pub(super) fn shed(&mut self, port: RelayPort, family: super::Family) {
        let other = |ip: PeerIp| super::Family::of_address(ip.into()) != family;
        self.ports.retain(|held| *held != port);
        self.permissions.retain(|known| other(known.ip));
        self.channels.retain(|channel| other(channel.peer.ip));
    }

    /// Returns the number that stands for `peer`. Hot: once per datagram of a peer.
    pub(super) fn channel(&self, now: Monotonic, peer: SocketAddr) -> Option<ChannelNumber> {
        let peer = Peer::from(peer);
        let bound = self.channels.iter().find(|channel| channel.peer == peer)?;
        (bound.until > now).then_some(bound.number)
    }

    /// Returns the port that reaches `peer`: the one of its family.
    pub(super) fn port_towards(
        &self,
        families: &[super::Family],
        peer: IpAddr,
    ) -> Option<RelayPort> {
        let family = super::Family::of_address(peer);
        let of = |port: &RelayPort| families.get(usize::from(port.address)) == Some(&family);
        self.ports.iter().copied().find(of)
    }
}
