//! Timers of fixed durations: one first-in-first-out list per duration.
//!
//! Every timer of one class runs equally long, so the list is always sorted: starting is moving to
//! the tail, the next deadline is the least of the heads, and nothing is ever searched. A timer is
//! known by the index of what it is for (a leg, a dial); each index has at most one running.

use crate::chunked::Chunked;
use crate::time::Monotonic;

const NONE: u32 = u32::MAX;

/// Lists for `CLASSES` durations over one index space. Memory: 24 bytes per index.
pub(super) struct Fifos<const CLASSES: usize> {
    durations_ms: [u64; CLASSES],
    lists: [List; CLASSES],
    nodes: Chunked<Node>,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

#[derive(Clone, Copy)]
struct Node {
    deadline: Monotonic,
    previous: u32,
    next: u32,
    /// The list it is in; `NONE` if it does not run.
    class: u32,
}

impl<const CLASSES: usize> Fifos<CLASSES> {
    /// Makes empty lists; `durations_ms` says how long a timer of each class runs.
    pub(super) fn new(durations_ms: [u64; CLASSES]) -> Self {
        let empty = List { head: NONE, tail: NONE };
        Self { durations_ms, lists: [empty; CLASSES], nodes: Chunked::default() }
    }

    /// Starts the timer of `index`, again if it runs already.
    pub(super) fn start(&mut self, now: Monotonic, index: u32, class: usize) {
        self.stop(index);
        let place = index as usize;
        let idle = Node { deadline: now, previous: NONE, next: NONE, class: NONE };
        self.nodes.reach(place, || idle);
        let list = &mut self.lists[class];
        let deadline = now.plus_ms(self.durations_ms[class]);
        self.nodes[place] = Node { deadline, previous: list.tail, next: NONE, class: class as u32 };
        match list.tail {
            NONE => list.head = index,
            tail => {
                assert!(self.nodes[tail as usize].deadline <= deadline, "time goes forward");
                self.nodes[tail as usize].next = index;
            }
        }
        list.tail = index;
    }

    /// Stops the timer of `index`, if it runs.
    pub(super) fn stop(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        if node.class == NONE {
            return;
        }
        let Node { previous, next, class, .. } = *node;
        node.class = NONE;
        let list = &mut self.lists[class as usize];
        match previous {
            NONE => list.head = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => list.tail = previous,
            next => self.nodes[next as usize].previous = previous,
        }
    }

    /// Returns the class of the running timer of `index`.
    pub(super) fn running(&self, index: u32) -> Option<usize> {
        let node = self.nodes.get(index as usize)?;
        (node.class != NONE).then_some(node.class as usize)
    }

    /// Returns when the first timer is due; a look at each list's head.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        let heads = self.lists.iter().filter(|list| list.head != NONE);
        heads.map(|list| self.nodes[list.head as usize].deadline).min()
    }

    /// Takes one timer that is due: its index and its class.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<(u32, usize)> {
        for class in 0..CLASSES {
            let head = self.lists[class].head;
            if head != NONE && self.nodes[head as usize].deadline <= now {
                self.stop(head);
                return Some((head, class));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DURATIONS_MS: [u64; 3] = [3, 10, 30];

    #[test]
    fn a_restarted_timer_runs_its_whole_duration_again() {
        let mut timers = Fifos::new(DURATIONS_MS);
        let start = Monotonic(0);
        timers.start(start, 0, 1);
        timers.start(start, 1, 1);
        timers.start(start.plus_ms(5), 0, 1);
        assert_eq!(timers.next_deadline(), Some(start.plus_ms(10)));
        assert_eq!(timers.pop_due(start.plus_ms(10)), Some((1, 1)));
        assert_eq!(timers.pop_due(start.plus_ms(14)), None);
        assert_eq!(timers.pop_due(start.plus_ms(15)), Some((0, 1)));
        assert_eq!(timers.next_deadline(), None);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Start(u32, usize),
        Stop(u32),
        Pass(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0u32..6, 0usize..3).prop_map(|(index, class)| Act::Start(index, class)),
            (0u32..6).prop_map(Act::Stop),
            (0u64..12).prop_map(Act::Pass),
        ]
    }

    proptest! {
        /// Against a table of deadlines that is searched from end to end.
        #[test]
        fn timers_fire_as_a_plain_table_says(acts in prop::collection::vec(act(), 0..200)) {
            let mut timers = Fifos::new(DURATIONS_MS);
            let mut table = [None::<(Monotonic, usize)>; 6];
            let mut now = Monotonic(0);
            for act in acts {
                match act {
                    Act::Start(index, class) => {
                        timers.start(now, index, class);
                        table[index as usize] = Some((now.plus_ms(DURATIONS_MS[class]), class));
                    }
                    Act::Stop(index) => {
                        timers.stop(index);
                        table[index as usize] = None;
                    }
                    Act::Pass(ms) => now = now.plus_ms(ms),
                }
                while let Some((index, class)) = timers.pop_due(now) {
                    let (deadline, expected) = table[index as usize].take().expect("running");
                    prop_assert!(deadline <= now);
                    prop_assert_eq!(class, expected);
                }
                prop_assert!(table.iter().flatten().all(|(deadline, _)| *deadline > now));
                let least = table.iter().flatten().map(|(deadline, _)| *deadline).min();
                prop_assert_eq!(timers.next_deadline(), least);
                for (index, entry) in table.iter().enumerate() {
                    prop_assert_eq!(timers.running(index as u32), entry.map(|(_, class)| class));
                }
            }
        }
    }
}
