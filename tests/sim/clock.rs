//! Virtual time and chance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use entente::time::{Monotonic, Now};

/// xorshift64*: the same seed gives the same run.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Things to happen, earliest first, in the order they were planned where they coincide.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    events: std::collections::BTreeMap<u64, E>,
    planned: u64,
    pub(crate) now_ms: u64,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            events: std::collections::BTreeMap::new(),
            planned: 0,
            now_ms: 0,
        }
    }

    pub(crate) fn after(&mut self, milliseconds: u64, event: E) {
        self.planned += 1;
        self.heap.push(Reverse((self.now_ms + milliseconds, self.planned)));
        self.events.insert(self.planned, event);
    }

    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse((at, number)) = self.heap.pop()?;
        self.now_ms = self.now_ms.max(at);
        self.events.remove(&number)
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            monotonic: Monotonic((self.now_ms + 1_000) * 1_000_000),
            unix_s: 1_800_000_000 + self.now_ms / 1000,
        }
    }
}
