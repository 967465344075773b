//! How much is answered to those who have proven nothing.
//!
//! The source of a datagram is anybody's word. An answer goes to whoever owns that address, so
//! there are few of them, for each source and in all, and they are small. A source is a network,
//! whose addresses may be with any thread: all of them take from one set of rates.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::rate::{Rate, Takers};
use super::{Dropped, Relay};
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

impl Relay {
    /// Tells whether a stranger may be answered once more.
    ///
    /// # Errors
    /// [`Dropped::AnswerRate`]: he is not.
    pub(super) fn answers(&mut self, now: Monotonic, source: IpAddr) -> Result<(), Dropped> {
        if self.gate.opens(now, source) {
            return Ok(());
        }
        self.withheld.count(source);
        Err(Dropped::AnswerRate)
    }

    /// Returns what strangers were not answered since it was asked last.
    pub fn take_withheld(&mut self) -> Withheld {
        std::mem::take(&mut self.withheld)
    }
}

/// Answers that were withheld, and which network most of them were for, if one has more than half
/// of them: the vote of Boyer and Moore, which costs a comparison and keeps two numbers whatever
/// comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    count: u64,
    network: u64,
    /// How many of that network's are not made up for by those of others: so many it has at least.
    lead: u64,
}

impl Withheld {
    fn count(&mut self, source: IpAddr) {
        let network = network(source);
        self.count += 1;
        if self.lead == 0 {
            self.network = network;
        }
        match self.network == network {
            true => self.lead += 1,
            false => self.lead -= 1,
        }
    }

    /// Returns those of two threads together.
    #[must_use]
    pub const fn with(&self, other: &Self) -> Self {
        let count = self.count + other.count;
        let (more, less) = if self.lead < other.lead { (other, self) } else { (self, other) };
        let lead = match more.network == less.network {
            true => more.lead + less.lead,
            false => more.lead - less.lead,
        };
        Self { count, network: more.network, lead }
    }

    /// Returns the network that most were for, and how many at least; `None`: no network stands
    /// out by a tenth of all.
    #[must_use]
    pub fn mostly(&self) -> Option<(IpNet, u64)> {
        let stands_out = self.lead > 0 && self.lead.saturating_mul(10) >= self.count;
        stands_out.then(|| (named(self.network), self.lead))
    }
}

/// Returns the network that [`network`] has made a number of.
fn named(network: u64) -> IpNet {
    match network & 1 << 63 {
        0 => Ipv4Net::new_assert(((network << 8) as u32).into(), 24).into(),
        _ => Ipv6Net::new_assert((u128::from(network & !(1 << 63)) << 80).into(), 48).into(),
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

    fn withheld(sources: impl IntoIterator<Item = IpAddr>) -> Withheld {
        let mut withheld = Withheld::default();
        sources.into_iter().for_each(|source| withheld.count(source));
        withheld
    }

    /// A source of a network that no other number has.
    fn spoofed(number: u32) -> IpAddr {
        (0x0a00_0000 + (number << 8)).to_be_bytes().into()
    }

    #[test]
    fn who_has_most_of_what_was_withheld_is_named_and_nobody_else() {
        assert_eq!(withheld([]).mostly(), None);
        let sources = [[192, 0, 2, 1], [192, 0, 2, 77], [198, 51, 100, 1], [192, 0, 2, 1]];
        let of_network = withheld(sources.map(IpAddr::from)).mostly();
        assert_eq!(of_network, Some(("192.0.2.0/24".parse().unwrap(), 2)));
        let v6 = ["2001:db8:7:1::1", "2001:db8:7:2::1"].map(|source| source.parse().unwrap());
        let network = "2001:db8:7::/48".parse().unwrap();
        assert_eq!(withheld(v6).mostly(), Some((network, 2)));
        let mapped = ["::ffff:192.0.2.9".parse().unwrap()];
        assert_eq!(withheld(mapped).mostly(), Some(("192.0.2.0/24".parse().unwrap(), 1)));
        assert_eq!(withheld((0..1_001).map(spoofed)).mostly(), None, "one of each is nobody");
    }

    #[test]
    fn what_two_threads_have_withheld_names_who_has_most_of_both() {
        let of = |last: u8, count| withheld(vec![IpAddr::from([192, 0, last, 1]); count]);
        let network =
            |last: u8| Some(IpNet::from(Ipv4Net::new_assert([192, 0, last, 0].into(), 24)));
        let mostly = |one: Withheld, other: Withheld| {
            assert_eq!(one.with(&other), other.with(&one), "in either order");
            one.with(&other).mostly().map(|(network, _)| network)
        };
        assert_eq!(mostly(of(2, 5), of(2, 7)), network(2));
        assert_eq!(mostly(of(2, 5), of(3, 9)), network(3));
        assert_eq!(mostly(of(2, 5), Withheld::default()), network(2));
    }
}
