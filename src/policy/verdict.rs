//! What was decided before, so that the second message of a pair of domains costs a table look-up.
//!
//! A fixed table, set-associative, allocated once. Permits and refusals live apart: whoever sends
//! for a thousand invented domains wears out the refusals and leaves the partners' permits alone.
//!
//! ```text
//! key (128-bit keyed hash of direction, peer, From domain, To domain)
//!   low bits -> set of 4 keys (one cache line) -> the verdict at the same place
//! ```

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

use super::{Anchors, Decision, PeerNames, Permit, Refusal, RefusalRule, RevocationState};
use crate::dns::Domain;
use crate::limits;
use crate::time::{Monotonic, Now};

/// Places a key may be in; four keys fill a cache line.
const WAYS: usize = 4;

const _: () = assert!((limits::VERDICT_PERMITS / WAYS).is_power_of_two());
const _: () = assert!((limits::VERDICT_REFUSALS / WAYS).is_power_of_two());

/// Which way a request crosses the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a partner to us.
    Inbound,
    /// From us to a partner.
    Outbound,
    /// From an own user outside.
    RemoteUser,
}

/// Names a pair of domains and a peer; 128 bits under a secret key, so that nobody can make two
/// that are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VerdictKey(u128);

/// What was decided.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Forward.
    Permit(&'a Permit),
    /// Answer.
    Refuse(&'a Refusal),
}

impl Verdict<'_> {
    /// As [`Decision::minds_revocation`] for what is remembered.
    #[must_use]
    pub fn minds_revocation(&self) -> bool {
        match self {
            Self::Permit(permit) => permit.minds_revocation(),
            Self::Refuse(refusal) => refusal.rule() == RefusalRule::RevocationUnknown,
        }
    }
}

/// The verdicts of one shard. About 2 MiB.
#[derive(Debug)]
pub struct VerdictCache {
    key: [u64; 2],
    permits: Table<Permit>,
    refusals: Table<Refusal>,
}

impl VerdictCache {
    /// Returns an empty cache; `key` is random per process (and fixed in a simulation).
    #[must_use]
    pub fn new(key: [u64; 2]) -> Self {
        Self {
            key,
            permits: Table::new(limits::VERDICT_PERMITS),
            refusals: Table::new(limits::VERDICT_REFUSALS),
        }
    }

    /// Returns the key of a question put to policy.
    ///
    /// `peer`: who sent it, where the decision looks at that (inbound).
    /// `to`: `None` where the request names none.
    #[must_use]
    pub fn key(
        &self,
        direction: Direction,
        peer: Option<&PeerNames>,
        from: &Domain,
        to: Option<&Domain>,
    ) -> VerdictKey {
        self.key_of_hosts(
            direction,
            peer,
            from.as_str().as_bytes(),
            to.map_or(b"", |to| to.as_str().as_bytes()),
        )
    }

    /// Returns the same key for hosts as they stand on the wire: case and a trailing dot do not
    /// matter. No allocation; `to` is empty where the request names none.
    #[must_use]
    pub fn key_of_hosts(
        &self,
        direction: Direction,
        peer: Option<&PeerNames>,
        from: &[u8],
        to: &[u8],
    ) -> VerdictKey {
        let mut text = KeyText::new();
        // A fixed head, then both names, each ended by a zero byte, so that nothing runs together.
        // The anchors are not in the fingerprint: one certificate may come with two chains. Nor is
        // what is known of its revocation, which changes while a leg is open.
        let mut head = [0_u8; HEAD_BYTES];
        head[0] = direction as u8;
        if let Some(peer) = peer {
            head[12..].copy_from_slice(&peer.fingerprint);
            head[1] = u8::from(peer.revocation == RevocationState::Good) << 1;
            if let Anchors::OfPartner(anchors) = peer.anchors {
                head[1] |= 1;
                head[4..12].copy_from_slice(&anchors.to_le_bytes());
            }
        }
        text.extend_from_slice(&head);
        push_folded(&mut text, from);
        push_folded(&mut text, to);
        // One write: the hasher costs more per call than per word.
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        hasher.write(&text);
        VerdictKey(hasher.finish128().as_u128())
    }

    /// Returns what was decided under this epoch, unless what it rested on has ended.
    ///
    /// Hot: once per request. Bench `policy/verdict_warm`, at most 100 ns with its key.
    #[must_use]
    pub fn get(&self, now: Now, epoch: u64, key: VerdictKey) -> Option<Verdict<'_>> {
        if let Some(permit) = self.permits.get(now, epoch, key) {
            return Some(Verdict::Permit(permit));
        }
        self.refusals.get(now, epoch, key).map(Verdict::Refuse)
    }

    /// Remembers a decision; one that only asks is not remembered.
    pub fn put(&mut self, now: Now, key: VerdictKey, decision: &Decision) {
        match decision {
            Decision::Permit(permit) => self.permits.put(now, key, permit.clone()),
            Decision::Refuse(refusal) => self.refusals.put(now, key, refusal.clone()),
            Decision::Ask(_) => {}
        }
    }
}

/// What a key is made from: a head and two names. Never on the heap.
type KeyText = SmallVec<[u8; HEAD_BYTES + 2 * (NAME_BYTES_MAX + 1)]>;

/// Direction and marks in four bytes, the anchors in eight, the certificate's fingerprint.
const HEAD_BYTES: usize = 4 + 8 + 32;

/// A longer name is no domain, so nothing is ever remembered under its key.
const NAME_BYTES_MAX: usize = 253;

/// Adds a name in the form in which names are compared, and a zero byte.
fn push_folded(text: &mut KeyText, name: &[u8]) {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
    let start = text.len();
    text.extend_from_slice(name);
    text[start..].make_ascii_lowercase();
    text.push(0);
}

/// Something that holds under one epoch until a moment.
trait Ends {
    fn holds(&self, now: Monotonic, epoch: u64) -> bool;
    fn made_in(&self) -> u64;
}

impl Ends for Permit {
    fn holds(&self, now: Monotonic, epoch: u64) -> bool {
        self.epoch() == epoch && now < self.valid_until()
    }

    fn made_in(&self) -> u64 {
        self.epoch()
    }
}

impl Ends for Refusal {
    fn holds(&self, now: Monotonic, epoch: u64) -> bool {
        self.epoch() == epoch && now < self.valid_until()
    }

    fn made_in(&self) -> u64 {
        self.epoch()
    }
}

/// A set: its keys, and whose turn it is to go.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Keys([u128; WAYS]);

#[derive(Debug)]
struct Table<V> {
    keys: Box<[Keys]>,
    values: Box<[Option<V>]>,
    /// The way of each set that is overwritten next, when none is free.
    next: Box<[u8]>,
}

impl<V: Ends> Table<V> {
    fn new(places: usize) -> Self {
        let sets = places / WAYS;
        assert!(sets.is_power_of_two(), "a set is chosen by the low bits of a key");
        Self {
            keys: vec![Keys([0; WAYS]); sets].into_boxed_slice(),
            values: std::iter::repeat_with(|| None).take(places).collect(),
            next: vec![0; sets].into_boxed_slice(),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "only the low bits are used")]
    fn set(&self, key: VerdictKey) -> usize {
        key.0 as usize & (self.keys.len() - 1)
    }

    fn get(&self, now: Now, epoch: u64, key: VerdictKey) -> Option<&V> {
        let set = self.set(key);
        let way = self.keys[set].0.iter().position(|&known| known == key.0)?;
        let value = self.values[set * WAYS + way].as_ref()?;
        value.holds(now.monotonic, epoch).then_some(value)
    }

    fn put(&mut self, now: Now, key: VerdictKey, value: V) {
        let set = self.set(key);
        let places = set * WAYS..(set + 1) * WAYS;
        let epoch = value.made_in();
        let known = self.keys[set].0.iter().position(|&known| known == key.0);
        let free = || {
            self.values[places.clone()]
                .iter()
                .position(|held| held.as_ref().is_none_or(|v| !v.holds(now.monotonic, epoch)))
        };
        let way = known.or_else(free).unwrap_or_else(|| {
            let way = usize::from(self.next[set]) % WAYS;
            self.next[set] = self.next[set].wrapping_add(1);
            way
        });
        self.keys[set].0[way] = key.0;
        self.values[set * WAYS + way] = Some(value);
    }
}

#[cfg(test)]
mod tests;
