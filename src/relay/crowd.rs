//! How many streams clients have, with any thread of an edge: in all, and of those without an
//! allocation yet.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::edge::av::{Counted, Total, network};
use crate::limits;

/// The streams of an edge. What is cloned counts with what it was cloned from.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    all: Total,
    unproven: Total,
    /// Those without an allocation, by a hash of their network.
    unproven_from: Arc<[Total]>,
    key: RandomState,
}

/// One stream of the crowd, for as long as it is kept.
#[derive(Debug)]
pub(super) struct Member {
    _all: Counted,
    /// In all and of its network, while its client has no allocation.
    unproven: Option<[Counted; 2]>,
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self {
            all: Total::default(),
            unproven: Total::default(),
            unproven_from: (0..limits::TURN_SOURCES).map(|_| Total::default()).collect(),
            key: RandomState::default(),
        }
    }

    /// Counts a stream from `source` more; `None`: there are as many as there may be.
    pub(super) fn join(&self, source: IpAddr) -> Option<Member> {
        let all = self.all.one_more(limits::RELAY_STREAMS_MAX)?;
        let unproven = self.unproven.one_more(limits::RELAY_STREAMS_UNPROVEN_MAX)?;
        let place = self.key.hash_one(network(source)) as usize % self.unproven_from.len();
        let most = limits::RELAY_STREAMS_UNPROVEN_PER_SOURCE_MAX;
        let of_source = self.unproven_from[place].one_more(most)?;
        Some(Member { _all: all, unproven: Some([unproven, of_source]) })
    }
}

impl Member {
    /// Its client has an allocation.
    pub(super) fn proven(&mut self) {
        self.unproven = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_counts_for_every_thread_until_it_ends_and_as_unproven_until_it_is() {
        let one = Crowd::new();
        let other = one.clone();
        let source = IpAddr::from([192, 0, 2, 1]);
        let most = limits::RELAY_STREAMS_UNPROVEN_PER_SOURCE_MAX;
        let threads = [&one, &other].into_iter().cycle();
        let mut members: Vec<Member> =
            threads.take(most).map(|of| of.join(source).expect("there is room")).collect();
        assert!(one.join(source).is_none() && other.join(source).is_none());
        members[0].proven();
        members.push(other.join(source).expect("one of them is proven"));
        assert!(one.join(source).is_none());
        drop(members.pop());
        members.push(one.join(source).expect("one of them is gone"));
        assert!(other.join(source).is_none());
    }

    #[test]
    fn no_more_are_there_than_may_be_from_wherever_they_come() {
        let (one, other) = (Crowd::new(), Crowd::new());
        let from = |number: u32| IpAddr::from((number << 8).to_be_bytes());
        let most = limits::RELAY_STREAMS_UNPROVEN_MAX;
        let unproven: Vec<Member> = (0..20_000).filter_map(|n| one.join(from(n))).collect();
        assert_eq!(unproven.len(), most);
        let proven = (0..20_000).filter_map(|n| {
            let mut member = other.join(from(n))?;
            member.proven();
            Some(member)
        });
        assert_eq!(proven.collect::<Vec<_>>().len(), limits::RELAY_STREAMS_MAX);
    }
}
