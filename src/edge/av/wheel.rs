//! When allocations end: a wheel of seconds, so that starting, moving and running out cost the same
//! however many there are.
//!
//! Lifetimes are what clients ask for, up to an hour, so one list per duration will not do. A wheel
//! with a place for each second of the longest lifetime needs no levels: an entry never waits for
//! more than one turn.

use crate::time::Monotonic;

const NONE: u32 = u32::MAX;
const SECOND_NS: u64 = 1_000_000_000;

/// Timers of slab places, one each.
#[derive(Debug)]
pub(super) struct Wheel {
    /// First entry due at each second.
    heads: Box<[u32]>,
    links: Vec<Link>,
    /// The second up to which everything has run out.
    done: u64,
    running: usize,
}

/// An entry's place in the list of its second.
#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    /// The second it is due, of the 136 years that a process may run; 0 while it does not run.
    due: u32,
}

impl Link {
    const IDLE: Self = Self { before: NONE, after: NONE, due: 0 };
}

impl Wheel {
    /// `longest_s`: no timer is started for longer. Memory: 4 bytes for each second, and 12 for
    /// each place.
    pub(super) fn new(longest_s: u32) -> Self {
        let seconds = longest_s as usize + 2;
        Self { heads: vec![NONE; seconds].into(), links: Vec::new(), done: 0, running: 0 }
    }

    /// Starts the timer of `index`, or moves it. It runs out at the first whole second that is not
    /// before `at`; earlier, by as long as nobody has asked, where something has been due since.
    pub(super) fn start(&mut self, index: u32, at: Monotonic) {
        self.stop(index);
        let due = at.0.div_ceil(SECOND_NS).max(self.done + 1);
        if self.running == 0 {
            // Nobody has asked while nothing ran, so `done` may lie far behind: whatever lies
            // before it has run out as well.
            self.done = self.done.max(due.saturating_sub(self.heads.len() as u64 - 1));
        }
        // The thread, or the whole machine, may have stood still since it asked last.
        let furthest = self.heads.len() as u64 - 1;
        // Bound: no more seconds than the wheel has are passed before one of them is not empty.
        while due - self.done > furthest && self.heads[self.place(self.done + 1)] == NONE {
            self.done += 1;
        }
        let due = due.min(self.done + furthest);
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, Link::IDLE);
        }
        let place = self.place(due);
        let after = std::mem::replace(&mut self.heads[place], index);
        if after != NONE {
            self.links[after as usize].before = index;
        }
        self.links[index as usize] = Link { before: NONE, after, due: due as u32 };
        self.running += 1;
    }

    /// Stops the timer of `index`, if it runs.
    pub(super) fn stop(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index as usize).filter(|link| link.due != 0) else {
            return;
        };
        let Link { before, after, due } = std::mem::replace(link, Link::IDLE);
        match before {
            NONE => {
                let place = self.place(u64::from(due));
                self.heads[place] = after;
            }
            before => self.links[before as usize].after = after,
        }
        if after != NONE {
            self.links[after as usize].before = before;
        }
        self.running -= 1;
    }

    /// Takes one entry that is due at `now`.
    ///
    /// Whole seconds that nothing is due at are passed in one call each, at most the wheel's size.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<u32> {
        let second = now.0 / SECOND_NS;
        if self.running == 0 {
            self.done = self.done.max(second);
            return None;
        }
        // Bound: `done` comes closer to `second` with each pass, and beyond one turn of the wheel
        // nothing runs.
        while self.done < second {
            let place = self.place(self.done + 1);
            match self.heads[place] {
                NONE => self.done += 1,
                index => {
                    self.stop(index);
                    return Some(index);
                }
            }
        }
        None
    }

    /// Returns when [`Self::pop_due`] is to be asked again. O(1); up to a second early.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        (self.running > 0).then(|| Monotonic((self.done + 1) * SECOND_NS))
    }

    fn place(&self, second: u64) -> usize {
        (second % self.heads.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(second: u64) -> Monotonic {
        Monotonic(second * SECOND_NS)
    }

    #[test]
    fn a_timer_runs_out_at_its_second_and_not_before() {
        let mut wheel = Wheel::new(600);
        wheel.start(3, at(600));
        assert_eq!(wheel.pop_due(at(599)), None);
        assert_eq!(wheel.pop_due(at(600)), Some(3));
        assert_eq!(wheel.pop_due(at(10_000)), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    /// Symptom: the relay's thread ended with "no timer is longer than the wheel". Cause: a wheel
    /// on which nothing runs is not asked, so that it took a pause for a part of the next timer.
    /// Scenario: no allocation for longer than the longest lifetime, then one.
    #[test]
    fn a_timer_starts_after_any_pause() {
        let mut wheel = Wheel::new(600);
        wheel.start(3, at(1));
        assert_eq!(wheel.pop_due(at(1)), Some(3));
        wheel.start(3, at(100_000 + 600));
        wheel.start(4, at(100_000 + 1));
        assert_eq!(wheel.pop_due(at(100_000)), None);
        assert_eq!(wheel.pop_due(at(100_001)), Some(4));
        assert_eq!(wheel.pop_due(at(100_599)), None);
        assert_eq!(wheel.pop_due(at(100_600)), Some(3));
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_list_would(
            steps in prop::collection::vec((0_u32..20, 0_u64..50, 0_u64..30), 1..200),
        ) {
            let mut wheel = Wheel::new(60);
            let mut naive = std::collections::BTreeMap::new();
            let mut now = 0;
            for (index, lifetime, passes) in steps {
                if lifetime == 0 {
                    wheel.stop(index);
                    naive.remove(&index);
                } else {
                    wheel.start(index, at(now + lifetime));
                    naive.insert(index, now + lifetime);
                }
                now += passes;
                let mut popped = Vec::new();
                while let Some(index) = wheel.pop_due(at(now)) {
                    popped.push(index);
                }
                popped.sort_unstable();
                let due: Vec<u32> =
                    naive.iter().filter(|(_, due)| **due <= now).map(|(index, _)| *index).collect();
                naive.retain(|_, due| *due > now);
                prop_assert_eq!(popped, due);
                prop_assert_eq!(wheel.next_deadline().is_some(), !naive.is_empty());
            }
        }
    }

    /// Symptom: the relay ended with "no timer is longer than the wheel". Cause: a timer of the
    /// longest time was started before anybody had asked what was due. Scenario: the machine stands
    /// still for some seconds, and the first thing that comes is a request.
    #[test]
    fn a_machine_that_stood_still_is_no_reason_to_end() {
        let mut wheel = Wheel::new(10);
        wheel.start(0, at(5));
        wheel.start(1, at(13));
        assert_eq!(wheel.pop_due(at(4)), None);
        wheel.start(2, at(29));
        let due: Vec<_> = (5..=30).map(|second| (second, wheel.pop_due(at(second)))).collect();
        let due = due.iter().filter_map(|(second, due)| due.map(|index| (*second, index)));
        assert_eq!(due.collect::<Vec<_>>(), [(5, 0), (13, 1), (15, 2)], "none is lost");
        // Where nothing was due meanwhile it is as long as it was asked for.
        wheel.start(0, at(100));
        wheel.start(1, at(110));
        assert_eq!((wheel.pop_due(at(109)), wheel.pop_due(at(109))), (Some(0), None));
        assert_eq!(wheel.pop_due(at(110)), Some(1));
    }
}
