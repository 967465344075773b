//! A rate that several threads take from.
//!
//! ```text
//!            now               full_at             now + SPAN
//!  ───────────┼───────────────────┼───────────────────┼──────>
//!             │<── was taken ────>│<── may be taken ─>│
//! ```
//!
//! One number says how much there is: when it is full again, if nothing more is taken. What is
//! taken moves that moment on by as long as it takes to flow in, and it may not lie further ahead
//! than it takes to fill the whole (the virtual scheduling of ITU-T I.371, Annex A). So no thread
//! takes a lock, and none takes what another has taken.
//!
//! Threads read the clock each for itself. One whose time is a little behind finds less than there
//! is, and never more. Where there is one thread alone it writes that number as any other: an
//! atomic exchange would take longer than all the rest.

use super::sync::{AtomicU64, Ordering};
use crate::limits;
use crate::time::Monotonic;

/// How long the whole of a user's rate takes to fill: what a video's first frame brings at once may
/// pass.
const USER_SPAN_NS: u64 = 500_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// The most that is owed for one piece that was carried.
const OWED_NS_MAX: u64 = 10_000_000_000;
/// Bits of a part of a nanosecond. Of the fastest rate a byte takes 0.23 ns.
const PART_BITS: u32 = 28;

/// Bytes, or answers, that flow in at a rate and are taken out, by any thread. It holds what flows
/// in within `SPAN_NS`.
#[derive(Debug)]
pub(super) struct Rate<const SPAN_NS: u64 = USER_SPAN_NS> {
    /// When it is full, in nanoseconds of the process.
    full_at: AtomicU64,
    /// How long one takes to flow in, in parts of a nanosecond, rounded up.
    one: u64,
    takers: Takers,
}

/// Who takes from a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Takers {
    /// One thread.
    #[default]
    One,
    /// Several at once.
    Several,
}

/// What was taken, for who has to give it back.
#[derive(Debug)]
pub(super) struct Taken {
    before: u64,
    after: u64,
}

impl Rate {
    /// Makes a full one of bytes that flow at so many kilobits a second; more than 34 million are
    /// as good as these. It holds half a second's.
    pub(super) fn of_kbit_s(kbit_s: u32, takers: Takers) -> Self {
        Self::of_each_second(kbit_s.saturating_mul(1_000 / 8), takers)
    }
}

impl<const SPAN_NS: u64> Rate<SPAN_NS> {
    /// Makes a full one of which so many flow in each second.
    pub(super) fn of_each_second(count: u32, takers: Takers) -> Self {
        // Of none nothing ever comes.
        let one = match count {
            0 => u64::MAX,
            count => (SECOND_NS << PART_BITS).div_ceil(u64::from(count)),
        };
        Self { full_at: AtomicU64::new(0), one, takers }
    }

    /// Returns how many nanoseconds `bytes` take to flow in, rounded up.
    const fn cost(&self, bytes: u64) -> u64 {
        let parts = bytes.saturating_mul(self.one);
        parts.saturating_add((1 << PART_BITS) - 1) >> PART_BITS
    }

    /// Returns how many bytes could be taken.
    pub(super) fn left(&self, now: Monotonic) -> u64 {
        let taken = self.full_at.load(Ordering::Relaxed).saturating_sub(now.0);
        (SPAN_NS.saturating_sub(taken) << PART_BITS) / self.one
    }

    /// Takes `bytes`, if they are there. Hot: once per datagram or train; no lock.
    pub(super) fn take(&self, now: Monotonic, bytes: u64) -> Option<Taken> {
        let before = self.full_at.load(Ordering::Relaxed);
        let after = self.after(now, before, bytes)?;
        if self.takers == Takers::One {
            self.full_at.store(after, Ordering::Relaxed);
            return Some(Taken { before, after });
        }
        match self.exchange(before, after) {
            Ok(taken) => Some(taken),
            Err(other) => self.take_again(now, other, bytes),
        }
    }

    /// Returns when it is full, once `bytes` are taken that are there.
    fn after(&self, now: Monotonic, before: u64, bytes: u64) -> Option<u64> {
        let (cost, taken) = (self.cost(bytes), before.saturating_sub(now.0));
        (cost <= SPAN_NS.saturating_sub(taken)).then(|| now.0.saturating_add(taken + cost))
    }

    fn exchange(&self, before: u64, after: u64) -> Result<Taken, u64> {
        // Nothing else is published by it.
        let order = Ordering::Relaxed;
        let exchanged = self.full_at.compare_exchange(before, after, order, order);
        exchanged.map(|_| Taken { before, after })
    }

    /// As [`Self::take`], where another thread has taken something in between; it may again.
    #[cold]
    fn take_again(&self, now: Monotonic, mut before: u64, bytes: u64) -> Option<Taken> {
        for _ in 1..limits::RATE_TRIES_MAX {
            let after = self.after(now, before, bytes)?;
            match self.exchange(before, after) {
                Ok(taken) => return Some(taken),
                Err(other) => before = other,
            }
        }
        self.take_first(now, bytes)
    }

    /// Takes what is asked for and gives it back where it was not there, which no other thread can
    /// make fail. One that asks meanwhile may be refused what is about to be given back.
    pub(super) fn take_first(&self, now: Monotonic, bytes: u64) -> Option<Taken> {
        let cost = self.cost(bytes);
        if cost > SPAN_NS {
            return None;
        }
        self.full_at.fetch_max(now.0, Ordering::Relaxed);
        let before = self.full_at.fetch_add(cost, Ordering::Relaxed);
        let after = before.saturating_add(cost);
        if after <= now.0.saturating_add(SPAN_NS) {
            return Some(Taken { before, after });
        }
        self.full_at.fetch_sub(cost, Ordering::Relaxed);
        None
    }

    /// Gives back what was taken, unless somebody has taken more since: nobody can tell then
    /// whether it has not flowed in already.
    pub(super) fn give_back(&self, taken: Taken) {
        let _ = self.exchange(taken.after, taken.before);
    }

    /// Takes bytes that were carried already. Those that were not there are owed: nothing may be
    /// taken before they have flowed in.
    pub(super) fn owe(&self, now: Monotonic, bytes: u64) {
        self.full_at.fetch_max(now.0, Ordering::Relaxed);
        self.full_at.fetch_add(self.cost(bytes).min(OWED_NS_MAX), Ordering::Relaxed);
    }
}
