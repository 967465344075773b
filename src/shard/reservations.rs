//! The places this shard reserved in its own boxes for answers to requests it mailed.
//!
//! Each mailed request gets one answer or its slot's timer (DESIGN 3). The shell does not hear of
//! that timer, so a place whose answer never comes is freed after [`limits::MAIL_RESERVATION_MS`],
//! longer than any transaction lives.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use slab::Slab;

use super::timers::Fifos;
use crate::edge::SlotRef;
use crate::limits;
use crate::time::Monotonic;

/// What one shard has asked of one other and was not answered yet.
pub(super) struct Reservations {
    max: usize,
    places: HashMap<SlotRef, usize, RandomState>,
    slots: Slab<SlotRef>,
    timers: Fifos<1>,
}

impl Reservations {
    /// Makes an account of `max` places. Memory: 64 bytes for each place used at the same time.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            places: HashMap::default(),
            slots: Slab::new(),
            timers: Fifos::new([limits::MAIL_RESERVATION_MS]),
        }
    }

    /// Reserves a place for the answer to `slot`; `false` if all are taken.
    ///
    /// A slot that asks again (a retry at another target) keeps the place it has.
    pub(super) fn reserve(&mut self, now: Monotonic, slot: SlotRef) -> bool {
        if let Some(&place) = self.places.get(&slot) {
            self.timers.start(now, place as u32, 0);
            return true;
        }
        if self.places.len() >= self.max {
            return false;
        }
        let place = self.slots.insert(slot);
        self.places.insert(slot, place);
        self.timers.start(now, place as u32, 0);
        true
    }

    /// Frees the place of `slot`, if it has one: its answer came or its request could not go.
    pub(super) fn release(&mut self, slot: SlotRef) {
        if let Some(place) = self.places.remove(&slot) {
            self.timers.stop(place as u32);
            self.slots.remove(place);
        }
    }

    /// Frees at most `most` places whose answer did not come; returns how many.
    pub(super) fn expire(&mut self, now: Monotonic, most: usize) -> usize {
        let mut freed = 0;
        while freed < most
            && let Some((place, _)) = self.timers.pop_due(now)
        {
            let slot = self.slots.remove(place as usize);
            self.places.remove(&slot);
            freed += 1;
        }
        freed
    }

    /// Returns when [`Reservations::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.timers.next_deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(index: u32) -> SlotRef {
        SlotRef { shard: 0, index, generation: 1 }
    }

    #[test]
    fn no_more_requests_go_out_than_there_are_places_for_answers() {
        let mut reservations = Reservations::new(2);
        let now = Monotonic(0);
        assert!(reservations.reserve(now, slot(1)) && reservations.reserve(now, slot(2)));
        assert!(!reservations.reserve(now, slot(3)));
        assert!(reservations.reserve(now, slot(2)), "a retry keeps its place");
        reservations.release(slot(1));
        assert!(reservations.reserve(now, slot(3)));
    }

    #[test]
    fn a_second_final_of_one_request_frees_nobody_elses_place() {
        let mut reservations = Reservations::new(1);
        let now = Monotonic(0);
        assert!(reservations.reserve(now, slot(1)));
        reservations.release(slot(1));
        assert!(reservations.reserve(now, slot(2)));
        reservations.release(slot(1));
        assert!(!reservations.reserve(now, slot(3)));
    }

    #[test]
    fn a_place_whose_answer_never_comes_is_freed_after_the_longest_transaction() {
        let mut reservations = Reservations::new(1);
        let now = Monotonic(0);
        assert!(reservations.reserve(now, slot(1)));
        let late = now.plus_ms(limits::MAIL_RESERVATION_MS);
        assert_eq!(reservations.next_deadline(), Some(late));
        assert_eq!(reservations.expire(now.plus_ms(limits::TIMER_C_MS), 9), 0);
        assert_eq!(reservations.expire(late, 9), 1);
        assert!(reservations.reserve(late, slot(2)));
    }
}
