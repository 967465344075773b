//! How much is answered to those who have proven nothing.
//!
//! The source of a datagram is anybody's word. An answer goes to whoever owns that address, so
//! there are few of them, for each source and in all, and they are small. A source is a network,
//! whose addresses may be with any thread: all of them take from one set of rates.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::rate::{Rate, Takers};
use crate::limits;
use crate::time::Monotonic;

/// A second's answers.
type Answers = Rate<1_000_000_000>;

/// The rates of unauthenticated answers. What is cloned takes from what it was cloned from.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Rates>);

#[derive(Debug)]
struct Rates {
    all: Answers,
    /// A keyed hash of the source's network chooses one; nothing grows and nothing is evicted.
    sources: Box<[Answers]>,
    key: RandomState,
}

impl Gate {
    pub(super) fn new(takers: Takers) -> Self {
        let of_source = || {
            let each_second = limits::TURN_UNAUTHENTICATED_PER_SOURCE;
            Answers::of_each_second(each_second, takers)
        };
        Self(Arc::new(Rates {
            all: Answers::of_each_second(limits::TURN_UNAUTHENTICATED_IN_ALL, takers),
            sources: (0..limits::TURN_SOURCES).map(|_| of_source()).collect(),
            key: RandomState::default(),
        }))
    }

    /// Tells whether `source` may be answered once more. What is withheld costs two reads: nothing
    /// is written where a flood would be.
    pub(super) fn opens(&self, now: Monotonic, source: IpAddr) -> bool {
        let Rates { all, sources, key } = &*self.0;
        let place = key.hash_one(network(source)) as usize % sources.len();
        sources[place].take(now, 1).is_some() && all.take(now, 1).is_some()
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
        let gate = Gate::new(Takers::One);
        let answered = |source: [u8; 4]| {
            (0..10_000).filter(|_| gate.opens(Monotonic(0), IpAddr::from(source))).count() as u32
        };
        assert_eq!(answered([192, 0, 2, 1]), limits::TURN_UNAUTHENTICATED_PER_SOURCE);
        assert_eq!(answered([192, 0, 2, 200]), 0, "of the same network");
        assert!(answered([198, 51, 100, 1]) > 0);
        let spoofed = (0..100_000_u32)
            .filter(|n| gate.opens(Monotonic(0), IpAddr::from((n * 256).to_be_bytes())))
            .count() as u32;
        assert!(spoofed <= limits::TURN_UNAUTHENTICATED_IN_ALL);
    }
}
