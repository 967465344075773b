//! Transaction slots: a slab found from our own branch, with one FIFO per timer class.
//!
//! A slot keeps the request as it was forwarded (our Via included): CANCEL, the ACK to a failure,
//! the copy for the next target and our own final responses are all built from it.

use hashbrown::HashTable;

use super::branch::STATELESS;
use super::headers::Crossing;
use super::list::{Linked, Links, List};
use super::outlet::GroupId;
use crate::edge::{LegId, OutletId, SlotRef};
use crate::limits;
use crate::policy::{PartnerKey, SourceNetwork};
use crate::sip::Method;
use crate::time::{Monotonic, Now};

/// Where the request came from, and so where its responses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// A leg of this shard; `peer` finds another leg of the same peer if this one is gone.
    Leg { leg: LegId, peer: u64 },
    /// Another shard's slot: this one is a pipe.
    Mailed(SlotRef),
}

/// Where the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Downstream {
    /// Waits for an outlet to open; no byte of it was staged.
    Waiting(OutletId),
    /// Staged on a leg. `end` counts the leg's staged bytes up to the end of this request.
    Sent { leg: LegId, outlet: Option<OutletId>, end: u64 },
    /// Mailed to the shard that owns the connection.
    Mailed(u16),
    /// Nowhere: between targets, or over.
    Nowhere,
}

/// How far a transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No response yet.
    Trying,
    /// A provisional response was seen.
    Proceeding,
    /// INVITE only: the sender cancelled, and downstream must hear of it after its first response.
    CancelWanted,
    /// INVITE only: CANCEL was sent downstream.
    Cancelled,
    /// INVITE only: a failure was passed up; its ACK is awaited (RFC 3261 Timer H).
    Completed,
    /// INVITE only: a 2xx was passed up; more may come (RFC 6026 Timers L and M).
    Accepted,
}

impl State {
    /// Returns whether the sender has its final response.
    pub(crate) const fn is_settled(self) -> bool {
        matches!(self, Self::Accepted | Self::Completed)
    }
}

/// The partner's part of the trust header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// `ms-source-type`.
    pub(crate) source_type: &'static str,
    /// Verified whether or not the partner's edge vouches for its user.
    pub(crate) always: bool,
    /// Verified if it does.
    pub(crate) if_asserted: bool,
    /// `ms-source-network`.
    pub(crate) network: SourceNetwork,
    /// Both ends are of our own domains, one of them with a provider.
    pub(crate) split_domain: bool,
}

impl Stamp {
    pub(crate) const fn verified(self, asserted: bool) -> bool {
        if asserted { self.if_asserted } else { self.always }
    }
}

/// Timers by duration; each class is one FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Waiting for a connection: [`limits::PARKED_MS`].
    Parked,
    /// Timers B, F, H, L and M, which are all 64 * T1.
    Transaction,
    /// Timer C.
    Invite,
}

impl Timer {
    const CLASSES: usize = 3;

    const fn milliseconds(self) -> u64 {
        match self {
            Self::Parked => limits::PARKED_MS,
            Self::Transaction => limits::TIMER_F_MS,
            Self::Invite => limits::TIMER_C_MS,
        }
    }
}

const _: () = assert!(limits::TIMER_F_MS == limits::TIMER_H_MS);
const _: () = assert!(limits::TIMER_F_MS == limits::TIMER_L_MS);

/// One transaction.
#[derive(Debug)]
pub(crate) struct Slot {
    generation: u32,
    taken: bool,
    timer: Option<(Timer, Monotonic)>,
    timer_links: Links,
    outlet_links: Links,
    state: State,
    pub(crate) method: Method,
    pub(crate) crossing: Crossing,
    pub(crate) upstream: Upstream,
    pub(crate) downstream: Downstream,
    pub(crate) group: Option<GroupId>,
    /// Gateways that are tried when that of the group is not reached, in order.
    pub(crate) other_gateways: Box<[u64]>,
    /// Hash of the Call-ID, which keeps a call on one connection.
    pub(crate) spread: u64,
    /// Its partner under the policy in force; `None` where none is involved, or its entry is gone.
    pub(crate) partner: Option<PartnerKey>,
    /// The score its answer counts for, if its sender has limits.
    pub(crate) score: Option<u64>,
    /// When its request came.
    pub(crate) began: Monotonic,
    /// How responses from this partner are stamped.
    pub(crate) stamp: Stamp,
    /// A byte of the request may have left this process.
    pub(crate) written: bool,
    /// Counts targets tried; part of the branch.
    pub(crate) attempt: u8,
    /// The request as forwarded, our Via on it.
    pub(crate) sent: Vec<u8>,
    /// Length of the head in `sent`.
    pub(crate) head_len: usize,
    /// Length of the body the request came with, kept or not.
    pub(crate) body_len: usize,
    /// Where our branch stands in `sent`.
    pub(crate) branch_at: usize,
    /// The Via lines its request came with, where the partner it went to does not see them.
    pub(crate) vias: Box<[u8]>,
    /// Bytes charged to the group.
    pub(crate) charged: usize,
    /// Set for INVITE: its place in the index by the sender's own transaction key.
    pub(crate) invite_key: Option<u128>,
}

impl Slot {
    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Returns the retained head with the Vias it came with: ours is off, and those that the
    /// partner does not see are on.
    pub(crate) fn head_as_received(&self) -> Vec<u8> {
        let head = &self.sent[..self.head_len];
        let (before, ours) = head.split_at(self.branch_at);
        let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let end = memchr::memchr(b'\n', ours).map_or(head.len(), |at| self.branch_at + at + 1);
        let mut copy = Vec::with_capacity(head.len() + self.vias.len());
        copy.extend_from_slice(&head[..start]);
        copy.extend_from_slice(&self.vias);
        copy.extend_from_slice(&head[end..]);
        copy
    }

    fn empty() -> Self {
        Self {
            generation: 0,
            taken: false,
            timer: None,
            timer_links: Links::LOOSE,
            outlet_links: Links::LOOSE,
            state: State::Trying,
            method: Method::Other,
            crossing: Crossing::PartnerToInside,
            upstream: Upstream::Leg { leg: LegId { index: 0, generation: 0 }, peer: 0 },
            downstream: Downstream::Nowhere,
            group: None,
            other_gateways: Box::default(),
            spread: 0,
            partner: None,
            score: None,
            began: Monotonic::default(),
            stamp: Stamp::default(),
            written: false,
            attempt: 0,
            sent: Vec::new(),
            head_len: 0,
            body_len: 0,
            branch_at: 0,
            vias: Box::default(),
            charged: 0,
            invite_key: None,
        }
    }
}

/// Buffers kept for the next requests; above this they go back to the allocator.
const SPARE_BUFFERS_MAX: usize = 1024;
/// A spare buffer larger than this is not kept.
const SPARE_BUFFER_BYTES_MAX: usize = 8 * 1024;

/// The slab.
#[derive(Debug)]
pub(crate) struct Slots {
    shard: u16,
    first_generation: u32,
    slots: Vec<Slot>,
    free: Vec<u32>,
    max: usize,
    timers: [List; Timer::CLASSES],
    invites: HashTable<u32>,
    /// Taken slots whose transaction is answered and only lingers.
    settled: usize,
    spare: Vec<Vec<u8>>,
}

struct ByTimer<'a>(&'a mut [Slot]);
struct ByOutlet<'a>(&'a mut [Slot]);

impl Linked for ByTimer<'_> {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.0[index as usize].timer_links
    }
}

impl Linked for ByOutlet<'_> {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.0[index as usize].outlet_links
    }
}

impl Slots {
    /// `max`: transactions this shard may have at once.
    pub(crate) fn new(shard: u16, max: usize, first_generation: u32) -> Self {
        assert!(max < STATELESS as usize, "slot numbers end below the stateless one");
        Self {
            shard,
            first_generation,
            slots: Vec::new(),
            free: Vec::new(),
            max,
            timers: [List::default(); Timer::CLASSES],
            invites: HashTable::new(),
            settled: 0,
            spare: Vec::new(),
        }
    }

    /// Returns how many transactions still owe somebody an answer; O(1).
    pub(crate) const fn unfinished(&self) -> usize {
        self.slots.len() - self.free.len() - self.settled
    }

    /// Moves a transaction on.
    pub(crate) fn set_state(&mut self, index: u32, state: State) {
        let slot = self.get_mut(index);
        let before = std::mem::replace(&mut slot.state, state);
        self.settled += usize::from(state.is_settled());
        self.settled -= usize::from(before.is_settled());
    }

    /// Returns how many slots one peer may hold, so that no peer takes more than half.
    pub(crate) const fn share_max(&self) -> usize {
        self.max / 2
    }

    /// Takes a slot; `None` when the shard's pool is used up.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.max => {
                self.slots.push(Slot { generation: self.first_generation, ..Slot::empty() });
                u32::try_from(self.slots.len() - 1).expect("max is below u32::MAX")
            }
            None => return None,
        };
        let sent = self.spare.pop().unwrap_or_default();
        let slot = &mut self.slots[index as usize];
        assert!(!slot.taken, "a free slot is not taken");
        let generation = slot.generation.wrapping_add(1);
        *slot = Slot { generation, taken: true, sent, ..Slot::empty() };
        Some(index)
    }

    /// Frees a slot that is in no outlet's list.
    pub(crate) fn release(&mut self, index: u32) {
        self.disarm(index);
        self.unindex(index);
        let slot = &mut self.slots[index as usize];
        assert!(slot.taken, "a slot is freed once");
        slot.taken = false;
        self.settled -= usize::from(slot.state.is_settled());
        slot.vias = Box::default();
        slot.other_gateways = Box::default();
        let mut buffer = std::mem::take(&mut slot.sent);
        if self.spare.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
        self.free.push(index);
    }

    pub(crate) fn reference(&self, index: u32) -> SlotRef {
        SlotRef { shard: self.shard, index, generation: self.slots[index as usize].generation }
    }

    /// Returns the place of the slot a branch or mail names, if it is still the same transaction.
    pub(crate) fn find(&self, slot: SlotRef) -> Option<u32> {
        let held = self.slots.get(slot.index as usize)?;
        let same = slot.shard == self.shard && held.taken && held.generation == slot.generation;
        same.then_some(slot.index)
    }

    pub(crate) fn get(&self, index: u32) -> &Slot {
        let slot = &self.slots[index as usize];
        assert!(slot.taken, "only taken slots are looked at");
        slot
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Slot {
        let slot = &mut self.slots[index as usize];
        assert!(slot.taken, "only taken slots are changed");
        slot
    }

    /// Gives every transaction the name its partner has under a new policy.
    pub(crate) fn rename_partners(&mut self, renamed: impl Fn(PartnerKey) -> Option<PartnerKey>) {
        // Transactions of one partner stand together more often than not.
        let mut last = None;
        for slot in self.slots.iter_mut().filter(|slot| slot.taken) {
            let Some(old) = slot.partner else { continue };
            slot.partner = match last {
                Some((known, new)) if known == old => new,
                _ => renamed(old),
            };
            last = Some((old, slot.partner));
        }
    }

    /// Starts or restarts the slot's one timer.
    pub(crate) fn arm(&mut self, index: u32, timer: Timer, now: Now) {
        self.disarm(index);
        let deadline = now.monotonic.plus_ms(timer.milliseconds());
        self.slots[index as usize].timer = Some((timer, deadline));
        self.timers[timer as usize].push(&mut ByTimer(&mut self.slots), index);
    }

    pub(crate) fn disarm(&mut self, index: u32) {
        if let Some((timer, _)) = self.slots[index as usize].timer.take() {
            self.timers[timer as usize].remove(&mut ByTimer(&mut self.slots), index);
        }
    }

    /// Returns the earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.timers
            .iter()
            .filter_map(List::head)
            .filter_map(|index| self.slots[index as usize].timer.map(|(_, deadline)| deadline))
            .min()
    }

    /// Returns one slot whose timer has run out, its timer disarmed.
    pub(crate) fn due(&mut self, now: Now) -> Option<u32> {
        for class in 0..Timer::CLASSES {
            let Some(index) = self.timers[class].head() else { continue };
            let (_, deadline) =
                self.slots[index as usize].timer.expect("a listed slot has a timer");
            if deadline <= now.monotonic {
                self.disarm(index);
                return Some(index);
            }
        }
        None
    }

    /// Lists the slot with an outlet.
    pub(crate) fn link(&mut self, list: &mut List, index: u32) {
        list.push(&mut ByOutlet(&mut self.slots), index);
    }

    pub(crate) fn unlink(&mut self, list: &mut List, index: u32) {
        list.remove(&mut ByOutlet(&mut self.slots), index);
    }

    /// Indexes an INVITE by its sender's transaction key. Returns `false` if one is there already:
    /// the sender repeated itself.
    pub(crate) fn index_invite(&mut self, index: u32, key: u128) -> bool {
        if self.find_invite(key).is_some() {
            return false;
        }
        self.slots[index as usize].invite_key = Some(key);
        let Self { invites, slots, .. } = self;
        invites.insert_unique(fold(key), index, |&other| {
            slots[other as usize].invite_key.map_or(0, fold)
        });
        true
    }

    /// Returns the INVITE that a CANCEL or ACK with this key is about.
    pub(crate) fn find_invite(&self, key: u128) -> Option<u32> {
        self.invites
            .find(fold(key), |&index| self.slots[index as usize].invite_key == Some(key))
            .copied()
    }

    fn unindex(&mut self, index: u32) {
        let Some(key) = self.slots[index as usize].invite_key else { return };
        if let Ok(entry) = self.invites.find_entry(fold(key), |&other| other == index) {
            entry.remove();
        }
        self.slots[index as usize].invite_key = None;
    }
}

/// The key is a keyed hash already; its low half spreads well.
#[allow(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn fold(key: u128) -> u64 {
    key as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::default().plus_ms(ms)
    }

    #[test]
    fn a_slot_is_not_found_once_its_place_is_used_again() {
        let mut slots = Slots::new(0, 1, 0);
        let index = slots.take().unwrap();
        let old = slots.reference(index);
        slots.release(index);
        assert_eq!(slots.find(old), None);
        let index = slots.take().unwrap();
        assert_eq!(slots.find(old), None);
        assert_eq!(slots.find(slots.reference(index)), Some(index));
    }

    #[test]
    fn a_transaction_that_is_answered_is_no_longer_unfinished() {
        let mut slots = Slots::new(0, 4, 0);
        let (a, b) = (slots.take().unwrap(), slots.take().unwrap());
        assert_eq!(slots.unfinished(), 2);
        slots.set_state(a, State::Proceeding);
        assert_eq!(slots.unfinished(), 2);
        slots.set_state(a, State::Accepted);
        slots.set_state(a, State::Accepted);
        assert_eq!(slots.unfinished(), 1);
        slots.release(a);
        assert_eq!(slots.unfinished(), 1);
        slots.release(b);
        assert_eq!(slots.unfinished(), 0);
        slots.take().unwrap();
        assert_eq!(slots.unfinished(), 1);
    }

    #[test]
    fn generations_wrap_without_a_panic() {
        let mut slots = Slots::new(0, 1, 0);
        let index = slots.take().unwrap();
        slots.slots[0].generation = u32::MAX;
        slots.release(index);
        let index = slots.take().unwrap();
        assert_eq!(slots.reference(index).generation, 0);
    }

    #[test]
    fn the_pool_ends_at_its_bound() {
        let mut slots = Slots::new(0, 2, 0);
        assert!(slots.take().is_some());
        assert!(slots.take().is_some());
        assert!(slots.take().is_none());
    }

    #[test]
    fn timers_run_out_in_order_and_restart_moves_to_the_tail() {
        let mut slots = Slots::new(0, 4, 0);
        let (a, b) = (slots.take().unwrap(), slots.take().unwrap());
        slots.arm(a, Timer::Transaction, at(0));
        slots.arm(b, Timer::Transaction, at(10));
        slots.arm(a, Timer::Transaction, at(20));
        assert_eq!(slots.next_deadline(), Some(at(10 + limits::TIMER_F_MS).monotonic));
        assert_eq!(slots.due(at(limits::TIMER_F_MS)), None);
        assert_eq!(slots.due(at(limits::TIMER_F_MS + 30)), Some(b));
        assert_eq!(slots.due(at(limits::TIMER_F_MS + 30)), Some(a));
        assert_eq!(slots.due(at(limits::TIMER_F_MS + 30)), None);
    }

    #[test]
    fn an_invite_is_found_by_its_key_until_released() {
        let mut slots = Slots::new(0, 4, 0);
        let index = slots.take().unwrap();
        assert!(slots.index_invite(index, 5));
        assert_eq!(slots.find_invite(5), Some(index));
        let again = slots.take().unwrap();
        assert!(!slots.index_invite(again, 5));
        slots.release(index);
        assert_eq!(slots.find_invite(5), None);
    }
}
