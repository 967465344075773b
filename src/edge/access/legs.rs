//! What the Access Edge remembers of each leg.

use std::fmt::Write as _;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use siphasher::sip::SipHasher24;

use super::branch::{hex, unhex};
use super::keep_alive::{Answering, Watch, Watched};
use super::list::{Linked, Links, List};
use super::refusals::Allowance;
use crate::chunked::Chunked;
use crate::edge::{Class, LegId, Opened, OutletId};
use crate::policy::{Connection, PeerNames};
use crate::time::{Monotonic, Now};

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    generation: u32,
    pub(crate) class: Class,
    pub(crate) outlet: Option<OutletId>,
    pub(crate) names: Option<Arc<PeerNames>>,
    /// Stands for the peer's identity in keys: its certificate, or its address where it has none.
    pub(crate) peer: u64,
    pub(crate) remote: SocketAddr,
    /// Our address on this leg, as text: balancers probe by it.
    pub(crate) local_ip: Box<str>,
    /// What is added to the top Via of a request from this leg (wire-protocols A.8).
    pub(crate) via_suffix: Box<str>,
    /// The kind of federation that it carries, since its first request.
    pub(crate) carries: Option<Connection>,
    /// The epoch in which the shard was told that the peer is a partner whose revocation matters.
    pub(crate) named_in: Option<u64>,
    /// Questions that messages of this leg wait for.
    pub(crate) lookups: usize,
    /// When a message, or the peer's own ping, last passed.
    pub(crate) last_used: Monotonic,
    /// Slots whose request was sent on this leg and is unfinished.
    pub(crate) slots: List,
    /// Plaintext bytes of requests staged on this leg so far.
    pub(crate) staged: u64,
    /// Unfinished requests that came by this leg.
    pub(crate) pending: usize,
    /// A request that came by it was permitted once.
    pub(crate) permitted: bool,
    pub(super) refusals: Allowance,
    /// Something came that was no health check (see [`super::Core::only_probed`]).
    pub(crate) carried: bool,
    pub(super) answering: Answering,
    pub(super) watched: Option<Watched>,
    watch_links: Links,
    peer_links: Links,
}

impl Leg {
    /// Returns whether a transaction of either direction is open on it.
    pub(crate) const fn unfinished(&self) -> bool {
        self.slots.len() > 0 || self.pending > 0
    }
}

/// The legs of a shard by their index, by peer, and by what they wait for in silence.
#[derive(Debug, Default)]
pub(crate) struct Legs {
    legs: Chunked<Option<Leg>>,
    by_peer: HashMap<u64, List, foldhash::quality::RandomState>,
    watched: [List; Watch::KINDS],
}

/// The lists of [`Legs::watched`].
struct ByWatch<'a>(&'a mut Chunked<Option<Leg>>);
/// The lists of [`Legs::by_peer`].
struct ByPeer<'a>(&'a mut Chunked<Option<Leg>>);

impl Linked for ByWatch<'_> {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.0[index as usize].as_mut().expect("only open legs are listed").watch_links
    }
}

impl Linked for ByPeer<'_> {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.0[index as usize].as_mut().expect("only open legs are listed").peer_links
    }
}

impl Legs {
    pub(crate) fn open(&mut self, now: Now, id: LegId, opened: Opened) {
        let index = id.index as usize;
        self.legs.reach(index, || None);
        assert!(self.legs[index].is_none(), "a leg is opened once");
        let peer = identity(&opened);
        self.legs[index] = Some(Leg {
            generation: id.generation,
            class: opened.class,
            outlet: opened.outlet,
            names: opened.peer,
            peer,
            remote: opened.remote,
            local_ip: opened.local.ip().to_string().into_boxed_str(),
            via_suffix: via_suffix(id, opened.remote),
            carries: None,
            named_in: None,
            lookups: 0,
            last_used: now.monotonic,
            slots: List::default(),
            staged: 0,
            pending: 0,
            permitted: false,
            refusals: Allowance::new(now.monotonic),
            carried: false,
            answering: Answering::Unknown,
            watched: None,
            watch_links: Links::LOOSE,
            peer_links: Links::LOOSE,
        });
        self.by_peer.entry(peer).or_default().push(&mut ByPeer(&mut self.legs), id.index);
    }

    pub(crate) fn close(&mut self, id: LegId) -> Option<Leg> {
        let peer = self.get(id)?.peer;
        self.unwatch(id);
        if let Some(list) = self.by_peer.get_mut(&peer) {
            list.remove(&mut ByPeer(&mut self.legs), id.index);
            if list.len() == 0 {
                self.by_peer.remove(&peer);
            }
        }
        self.legs.get_mut(id.index as usize)?.take()
    }

    pub(crate) fn get(&self, id: LegId) -> Option<&Leg> {
        self.legs.get(id.index as usize)?.as_ref().filter(|leg| leg.generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.get_mut(id.index as usize)?.as_mut().filter(|leg| leg.generation == id.generation)
    }

    /// Returns a live leg of the same peer, for a response whose own leg is gone: the oldest.
    pub(crate) fn another(&self, peer: u64) -> Option<LegId> {
        self.at(self.by_peer.get(&peer)?.head()?)
    }

    /// Returns how many places there are; every index lies below.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.legs.len()).expect("legs are bounded by descriptors")
    }

    /// Returns the full name of the leg at `index`.
    pub(super) fn at(&self, index: u32) -> Option<LegId> {
        let leg = self.legs.get(index as usize)?.as_ref()?;
        Some(LegId { index, generation: leg.generation })
    }

    /// Puts a leg behind all others that wait for the same, from `now` on.
    pub(super) fn watch(&mut self, now: Monotonic, id: LegId, what: Watch) {
        self.unwatch(id);
        let Some(leg) = self.get_mut(id) else { return };
        leg.watched = Some(Watched { what, since: now });
        self.watched[what as usize].push(&mut ByWatch(&mut self.legs), id.index);
    }

    pub(super) fn unwatch(&mut self, id: LegId) {
        if let Some(Watched { what, .. }) = self.get_mut(id).and_then(|leg| leg.watched.take()) {
            self.watched[what as usize].remove(&mut ByWatch(&mut self.legs), id.index);
        }
    }

    /// Returns who has waited longest for `what`, and since when.
    pub(super) fn longest(&self, what: Watch) -> Option<(LegId, Monotonic)> {
        let index = self.watched[what as usize].head()?;
        let leg = self.legs.get(index as usize)?.as_ref()?;
        Some((LegId { index, generation: leg.generation }, leg.watched?.since))
    }
}

fn identity(opened: &Opened) -> u64 {
    // The key need not be secret: a certificate's fingerprint cannot be chosen to collide, and an
    // address stands only for itself.
    let mut hasher = SipHasher24::new();
    match &opened.peer {
        Some(names) => hasher.write(&names.fingerprint),
        None => {
            let mut text = String::new();
            let _ = write!(text, "{}", opened.remote);
            hasher.write(text.as_bytes());
        }
    }
    hasher.write_u8(opened.class as u8);
    hasher.finish()
}

fn via_suffix(id: LegId, remote: SocketAddr) -> Box<str> {
    format!(
        ";received={};ms-received-port={};ms-received-cid={:X}{:04X}",
        remote.ip(),
        remote.port(),
        id.index,
        id.generation & 0xffff
    )
    .into_boxed_str()
}

/// Bytes of a flow token: shard, index, generation, MAC.
const FLOW_BYTES: usize = 2 + 8 + 8 + 16;

/// Makes and reads the tokens that name a remote user's connection in Path and Record-Route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowKey(pub(crate) u64, pub(crate) u64);

impl FlowKey {
    fn mac(self, text: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(text);
        hasher.finish()
    }

    pub(crate) fn write(self, shard: u16, leg: LegId) -> [u8; FLOW_BYTES] {
        let mut text = [0u8; FLOW_BYTES];
        hex(&mut text[..2], u64::from(shard));
        hex(&mut text[2..10], u64::from(leg.index));
        hex(&mut text[10..18], u64::from(leg.generation));
        let mac = self.mac(&text[..18]);
        hex(&mut text[18..], mac);
        text
    }

    /// Returns shard and leg; `None` for a token of another process or none at all.
    pub(crate) fn read(self, text: &[u8]) -> Option<(u16, LegId)> {
        if text.len() != FLOW_BYTES || unhex(&text[18..])? != self.mac(&text[..18]) {
            return None;
        }
        let leg = LegId {
            index: u32::try_from(unhex(&text[2..10])?).ok()?,
            generation: u32::try_from(unhex(&text[10..18])?).ok()?,
        };
        Some((u16::try_from(unhex(&text[..2])?).ok()?, leg))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_token_reads_back_and_a_forged_one_does_not() {
        let key = FlowKey(1, 2);
        let leg = LegId { index: 9, generation: 4 };
        let mut text = key.write(3, leg);
        assert_eq!(key.read(&text), Some((3, leg)));
        assert_eq!(FlowKey(1, 3).read(&text), None);
        text[5] = b'f';
        assert_eq!(key.read(&text), None);
        assert_eq!(key.read(b"alice"), None);
    }

    #[test]
    fn a_leg_is_gone_for_everybody_once_closed() {
        let mut legs = Legs::default();
        let id = LegId { index: 2, generation: 1 };
        let remote = "192.0.2.1:5061".parse().unwrap();
        let opened = Opened {
            class: Class::RemoteUsers,
            outlet: None,
            peer: None,
            doubt: None,
            remote,
            local: remote,
        };
        legs.open(Now::default(), id, opened);
        let peer = legs.get(id).unwrap().peer;
        assert_eq!(legs.another(peer), Some(id));
        assert!(legs.close(id).is_some());
        assert!(legs.get(id).is_none());
        assert_eq!(legs.another(peer), None);
        assert!(legs.close(id).is_none());
    }

    #[test]
    fn legs_of_one_peer_leave_in_any_order_and_the_oldest_is_taken() {
        let mut legs = Legs::default();
        let remote = "192.0.2.1:5061".parse().unwrap();
        let ids = [0, 1, 2].map(|index| LegId { index, generation: 0 });
        for id in ids {
            let (class, outlet, peer) = (Class::RemoteUsers, None, None);
            legs.open(
                Now::default(),
                id,
                Opened { class, outlet, peer, doubt: None, remote, local: remote },
            );
        }
        let peer = legs.get(ids[0]).unwrap().peer;
        legs.close(ids[1]);
        assert_eq!(legs.another(peer), Some(ids[0]));
        legs.close(ids[0]);
        assert_eq!(legs.another(peer), Some(ids[2]));
        legs.close(ids[2]);
        assert!(legs.by_peer.is_empty(), "a peer that is gone leaves nothing");
    }
}
