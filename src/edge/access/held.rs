//! Messages that came earlier than their sender's limits allow, until they are in time.
//!
//! Each has its place in its sender's seconds already, so they leave in the order they came, and
//! one sender's are no more than fit in the time a message may be held.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::edge::LegId;
use crate::limits;
use crate::time::{Monotonic, Now};

/// One held message.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) leg: LegId,
    pub(crate) bytes: Vec<u8>,
    /// The sender's transaction key, by which a CANCEL finds an INVITE.
    pub(crate) key: Option<u128>,
}

/// All held messages of a shard.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// By when they are due; those of one moment in the order they came.
    queue: BTreeMap<(Monotonic, u64), Waiting>,
    per_leg: HashMap<LegId, usize, foldhash::quality::RandomState>,
    bytes: usize,
    count: u64,
}

impl Held {
    /// Tells whether a message of this many bytes may be held; asked before it is made to pay.
    pub(crate) fn has_room(&self, leg: LegId, bytes: usize) -> bool {
        let of_leg = self.per_leg.get(&leg).copied().unwrap_or(0);
        self.queue.len() < limits::HELD_MESSAGES_MAX
            && self.bytes + bytes <= limits::HELD_BYTES_MAX
            && of_leg + bytes <= limits::HELD_BYTES_PER_LEG_MAX
    }

    /// Holds a message, for which there is room, until `due`.
    pub(crate) fn hold(&mut self, due: Monotonic, waiting: Waiting) {
        let size = waiting.bytes.len();
        assert!(self.has_room(waiting.leg, size), "room is asked for before a message pays");
        self.bytes += size;
        *self.per_leg.entry(waiting.leg).or_default() += size;
        self.count += 1;
        self.queue.insert((due, self.count), waiting);
    }

    /// Returns one message that is in time.
    pub(crate) fn due(&mut self, now: Now) -> Option<Waiting> {
        let first = self.queue.first_entry().filter(|entry| entry.key().0 <= now.monotonic)?;
        let waiting = first.remove();
        self.uncharge(&waiting);
        Some(waiting)
    }

    /// Takes out the INVITE that a CANCEL is about.
    pub(crate) fn cancel(&mut self, key: u128) -> Option<Waiting> {
        // A CANCEL for a held INVITE is rare and the queue is bounded, so it is searched.
        let place = self.queue.iter().find(|(_, w)| w.key == Some(key)).map(|(place, _)| *place)?;
        let waiting = self.queue.remove(&place)?;
        self.uncharge(&waiting);
        Some(waiting)
    }

    /// Tells whether a message of `leg` is held.
    pub(crate) fn holds_of(&self, leg: LegId) -> bool {
        self.per_leg.contains_key(&leg)
    }

    /// Removes the messages of a leg that is gone.
    pub(crate) fn forget(&mut self, leg: LegId) {
        if let Some(bytes) = self.per_leg.remove(&leg) {
            self.bytes -= bytes;
            self.queue.retain(|_, waiting| waiting.leg != leg);
        }
    }

    /// Returns when the next message is in time.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.queue.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    fn uncharge(&mut self, waiting: &Waiting) {
        self.bytes -= waiting.bytes.len();
        if let Some(held) = self.per_leg.get_mut(&waiting.leg) {
            *held -= waiting.bytes.len();
            if *held == 0 {
                self.per_leg.remove(&waiting.leg);
            }
        }
    }
}

const _: () = assert!(limits::HELD_BYTES_PER_LEG_MAX * 16 <= limits::HELD_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(leg: u32, bytes: usize) -> Waiting {
        let leg = LegId { index: leg, generation: 0 };
        Waiting { leg, bytes: vec![b'x'; bytes], key: Some(bytes as u128) }
    }

    fn at_ms(milliseconds: u64) -> Now {
        Now::default().plus_ms(milliseconds)
    }

    #[test]
    fn messages_leave_when_they_are_due_and_in_the_order_they_came() {
        let mut held = Held::default();
        for (due_ms, bytes) in [(20, 1), (10, 2), (10, 3)] {
            held.hold(at_ms(due_ms).monotonic, waiting(1, bytes));
        }
        assert_eq!(held.next_deadline(), Some(at_ms(10).monotonic));
        assert!(held.due(at_ms(9)).is_none());
        let order: Vec<usize> =
            std::iter::from_fn(|| held.due(at_ms(20))).map(|w| w.bytes.len()).collect();
        assert_eq!(order, [2, 3, 1]);
        assert_eq!((held.bytes, held.len(), held.per_leg.len()), (0, 0, 0));
    }

    #[test]
    fn one_leg_cannot_fill_the_room_of_all() {
        let mut held = Held::default();
        let half = limits::HELD_BYTES_PER_LEG_MAX / 2;
        held.hold(at_ms(1).monotonic, waiting(1, half));
        held.hold(at_ms(1).monotonic, waiting(1, half));
        let room_for = |leg| held.has_room(LegId { index: leg, generation: 0 }, 1);
        assert_eq!((room_for(1), room_for(2)), (false, true));
    }

    #[test]
    fn a_lost_leg_takes_its_messages_along_and_a_cancel_finds_one() {
        let mut held = Held::default();
        held.hold(at_ms(1).monotonic, waiting(1, 5));
        held.hold(at_ms(1).monotonic, waiting(2, 7));
        held.forget(LegId { index: 1, generation: 0 });
        assert!(held.cancel(5).is_none());
        assert_eq!(held.cancel(7).map(|waiting| waiting.bytes.len()), Some(7));
        assert_eq!((held.bytes, held.len()), (0, 0));
    }
}
