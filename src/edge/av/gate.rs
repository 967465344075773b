//! How much is answered to those who have proven nothing.
//!
//! The source of a datagram is anybody's word. An answer goes to whoever owns that address, so
//! there are few of them, for each source and in all, and they are small.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::quality::RandomState;

use super::bucket::Bucket;
use crate::limits;
use crate::time::Monotonic;

/// The rates of unauthenticated answers.
#[derive(Debug)]
pub(super) struct Gate {
    all: Bucket,
    /// A keyed hash of the source's network chooses one; nothing grows and nothing is evicted.
    sources: Box<[Bucket]>,
    key: RandomState,
}

impl Gate {
    pub(super) fn new(now: Monotonic) -> Self {
        let of_source = limits::TURN_UNAUTHENTICATED_PER_SOURCE;
        let in_all = limits::TURN_UNAUTHENTICATED_IN_ALL;
        Self {
            all: Bucket::new(in_all, in_all, now),
            sources: vec![Bucket::new(of_source, of_source, now); limits::TURN_SOURCES].into(),
            key: RandomState::default(),
        }
    }

    /// Tells whether `source` may be answered once more.
    pub(super) fn opens(&mut self, now: Monotonic, source: IpAddr) -> bool {
        let place = self.key.hash_one(network(source)) as usize % self.sources.len();
        self.sources[place].take(now, 1) && self.all.take(now, 1)
    }
}

/// Returns what counts as one source: a /24, or a /48.
#[must_use]
pub fn network(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => (ip.to_bits() >> 80) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_does_not_use_up_what_others_may_have() {
        let mut gate = Gate::new(Monotonic(0));
        let answered = |gate: &mut Gate, source: [u8; 4]| {
            (0..10_000).filter(|_| gate.opens(Monotonic(0), IpAddr::from(source))).count() as u32
        };
        assert_eq!(answered(&mut gate, [192, 0, 2, 1]), limits::TURN_UNAUTHENTICATED_PER_SOURCE);
        assert_eq!(answered(&mut gate, [192, 0, 2, 200]), 0, "of the same network");
        assert!(answered(&mut gate, [198, 51, 100, 1]) > 0);
        let spoofed = (0..100_000_u32)
            .filter(|n| gate.opens(Monotonic(0), IpAddr::from((n * 256).to_be_bytes())))
            .count() as u32;
        assert!(spoofed <= limits::TURN_UNAUTHENTICATED_IN_ALL);
    }
}
