//! A rate with a little credit.

use crate::time::Monotonic;

/// Units that flow in at a rate and are taken out; what overflows is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Units a second.
    rate: u64,
    /// The most it holds.
    depth: u64,
    /// Units times nanoseconds, so that nothing is lost by rounding.
    held: u128,
    since: Monotonic,
}

const SECOND_NS: u128 = 1_000_000_000;

impl Bucket {
    /// Makes a full one.
    pub(super) const fn new(rate: u64, depth: u64, now: Monotonic) -> Self {
        Self { rate, depth, held: depth as u128 * SECOND_NS, since: now }
    }

    /// Makes a full one of bytes that flow at so many kilobits a second. What a video's first frame
    /// brings at once may pass: it holds half a second's.
    pub(super) const fn of_kbit_s(kbit_s: u32, now: Monotonic) -> Self {
        let bytes_s = kbit_s as u64 * 1_000 / 8;
        Self::new(bytes_s, bytes_s / 2, now)
    }

    /// Lets in what has flowed since it was looked at last.
    fn fill(&mut self, now: Monotonic) {
        let passed = u128::from(now.0.saturating_sub(self.since.0));
        self.since = now;
        let full = u128::from(self.depth) * SECOND_NS;
        self.held = (self.held + passed * u128::from(self.rate)).min(full);
    }

    /// Returns how many units could be taken.
    pub(super) fn left(&mut self, now: Monotonic) -> u64 {
        self.fill(now);
        (self.held / SECOND_NS) as u64
    }

    /// Takes `units`, if they are there.
    pub(super) fn take(&mut self, now: Monotonic, units: u64) -> bool {
        self.fill(now);
        let wanted = u128::from(units) * SECOND_NS;
        let enough = self.held >= wanted;
        if enough {
            self.held -= wanted;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_comes_out_than_flowed_in() {
        let mut bucket = Bucket::new(1_000, 100, Monotonic(0));
        let mut taken = 0;
        for ms in 0..10_000 {
            if bucket.take(Monotonic(ms * 1_000_000), 10) {
                taken += 10;
            }
        }
        assert!((10_000..=10_100).contains(&taken), "{taken}");
    }
}
