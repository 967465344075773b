//! What the Access Edge remembers of each leg.

use std::fmt::Write as _;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use siphasher::sip::SipHasher24;
use smallvec::SmallVec;

use super::branch::{hex, unhex};
use super::list::List;
use crate::edge::{Class, LegId, Opened, OutletId};
use crate::policy::{Connection, PeerNames};
use crate::time::Now;

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
    /// Questions that messages of this leg wait for.
    pub(crate) lookups: usize,
    pub(crate) last_used: Now,
    /// Slots whose request was sent on this leg and is unfinished.
    pub(crate) slots: List,
    /// Plaintext bytes of requests staged on this leg so far.
    pub(crate) staged: u64,
    /// Unfinished requests that came by this leg.
    pub(crate) pending: usize,
}

/// The legs of a shard by their index, and by peer.
#[derive(Debug, Default)]
pub(crate) struct Legs {
    legs: Vec<Option<Leg>>,
    by_peer: HashMap<u64, SmallVec<[LegId; 4]>, foldhash::quality::RandomState>,
    count: usize,
}

impl Legs {
    pub(crate) fn open(&mut self, now: Now, id: LegId, opened: Opened) {
        let index = id.index as usize;
        if self.legs.len() <= index {
            self.legs.resize_with(index + 1, || None);
        }
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
            lookups: 0,
            last_used: now,
            slots: List::default(),
            staged: 0,
            pending: 0,
        });
        self.by_peer.entry(peer).or_default().push(id);
        self.count += 1;
    }

    pub(crate) fn close(&mut self, id: LegId) -> Option<Leg> {
        self.get(id)?;
        let leg = self.legs[id.index as usize].take()?;
        if let Some(list) = self.by_peer.get_mut(&leg.peer) {
            list.retain(|other| *other != id);
            if list.is_empty() {
                self.by_peer.remove(&leg.peer);
            }
        }
        self.count -= 1;
        Some(leg)
    }

    pub(crate) fn get(&self, id: LegId) -> Option<&Leg> {
        self.legs.get(id.index as usize)?.as_ref().filter(|leg| leg.generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.get_mut(id.index as usize)?.as_mut().filter(|leg| leg.generation == id.generation)
    }

    /// Returns a live leg of the same peer, for a response whose own leg is gone.
    pub(crate) fn another(&self, peer: u64) -> Option<LegId> {
        self.by_peer.get(&peer)?.first().copied()
    }

    /// Calls `visit` for every leg.
    pub(crate) fn each(&self, mut visit: impl FnMut(LegId, &Leg)) {
        for (index, leg) in self.legs.iter().enumerate() {
            if let Some(leg) = leg {
                let index = u32::try_from(index).expect("legs are bounded by descriptors");
                visit(LegId { index, generation: leg.generation }, leg);
            }
        }
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
        let opened =
            Opened { class: Class::RemoteUsers, outlet: None, peer: None, remote, local: remote };
        legs.open(Now::default(), id, opened);
        let peer = legs.get(id).unwrap().peer;
        assert_eq!(legs.another(peer), Some(id));
        assert!(legs.close(id).is_some());
        assert!(legs.get(id).is_none());
        assert_eq!(legs.another(peer), None);
        assert!(legs.close(id).is_none());
    }
}
