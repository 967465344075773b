//! A rate with a little credit.

use crate::time::Monotonic;

/// Units that flow in at a rate and are taken out; what overflows is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Units a second.
    rate: u32,
    /// The most it holds.
    depth: u32,
    /// Units times nanoseconds, so that nothing is lost by rounding.
    held: u64,
    since: Monotonic,
}

const SECOND_NS: u64 = 1_000_000_000;

// What is held has room.
const _: () = assert!(u32::MAX as u64 <= u64::MAX / SECOND_NS);

impl Bucket {
    /// Makes a full one.
    pub(super) const fn new(rate: u32, depth: u32, now: Monotonic) -> Self {
        Self { rate, depth, held: depth as u64 * SECOND_NS, since: now }
    }

    /// Makes a full one of bytes that flow at so many kilobits a second; more than 34 million are
    /// as good as these. What a video's first frame brings at once may pass: it holds half a
    /// second's.
    pub(super) const fn of_kbit_s(kbit_s: u32, now: Monotonic) -> Self {
        let bytes_s = kbit_s.saturating_mul(1_000 / 8);
        Self::new(bytes_s, bytes_s / 2, now)
    }

    /// Lets in what has flowed since it was looked at last.
    fn fill(&mut self, now: Monotonic) {
        let passed = now.0.saturating_sub(self.since.0);
        self.since = now;
        let full = u64::from(self.depth) * SECOND_NS;
        let flowed = passed.saturating_mul(u64::from(self.rate));
        self.held = self.held.saturating_add(flowed).min(full);
    }

    /// Returns how many units could be taken.
    pub(super) fn left(&mut self, now: Monotonic) -> u64 {
        self.fill(now);
        self.held / SECOND_NS
    }

    /// Tells whether `units` are there.
    pub(super) fn holds(&mut self, now: Monotonic, units: u64) -> bool {
        self.fill(now);
        units.checked_mul(SECOND_NS).is_some_and(|wanted| wanted <= self.held)
    }

    /// Takes `units` that are there.
    pub(super) fn spend(&mut self, units: u64) {
        assert!(units * SECOND_NS <= self.held, "looked at before");
        self.held -= units * SECOND_NS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bucket: &mut Bucket, now: Monotonic, units: u64) -> bool {
        let there = bucket.holds(now, units);
        if there {
            bucket.spend(units);
        }
        there
    }

    #[test]
    fn no_more_comes_out_than_flowed_in() {
        let mut bucket = Bucket::new(1_000, 100, Monotonic(0));
        let mut taken = 0;
        for ms in 0..10_000 {
            if take(&mut bucket, Monotonic(ms * 1_000_000), 10) {
                taken += 10;
            }
        }
        assert!((10_000..=10_100).contains(&taken), "{taken}");
    }

    #[test]
    fn the_widest_one_is_full_after_any_pause_and_holds_no_more() {
        let mut bucket = Bucket::of_kbit_s(u32::MAX, Monotonic(0));
        for now in [1 << 40, u64::MAX] {
            let now = Monotonic(now);
            assert!(!take(&mut bucket, now, u64::MAX));
            let depth = bucket.left(now);
            assert_eq!(depth, u64::from(u32::MAX / 2));
            assert!(take(&mut bucket, now, depth));
            assert_eq!(bucket.left(now), 0);
        }
    }
}
