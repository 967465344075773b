//! Half-open connections by source, so that one source cannot take all places there are.
//!
//! A fixed table of counters that all shards share; a keyed hash of the source chooses one. Two
//! sources that meet in one counter share a limit, which is rare (eight counters for each
//! half-open connection there may be) and cannot be brought about without the key; in exchange
//! nothing grows, nothing is evicted, and nobody can push anybody out.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counters for each half-open connection there may be; 4 bytes each.
const CELLS_EACH: usize = 8;
const CELLS_MIN: usize = 1024;
const CELLS_MAX: usize = 1 << 20;
/// Beside the number: a refusal was told since the counter was last zero.
const TOLD: u32 = 1 << 31;

/// The counters.
#[derive(Debug)]
pub(super) struct Sources {
    most: u32,
    cells: Box<[AtomicU32]>,
    key: RandomState,
}

/// A place that was taken; to be given back once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// A source that has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Worth a line.
    First,
    /// Told already, and its connections have not gone meanwhile.
    Again,
}

impl Sources {
    /// `half_open_max`: of all sources together; `most`: of each.
    pub(super) fn new(half_open_max: usize, most: usize) -> Self {
        let wanted = half_open_max.saturating_mul(CELLS_EACH).clamp(CELLS_MIN, CELLS_MAX);
        let cells = (0..wanted.next_power_of_two()).map(|_| AtomicU32::new(0)).collect();
        let most = u32::try_from(most).unwrap_or(TOLD - 1).min(TOLD - 1);
        Self { most, cells, key: RandomState::new() }
    }

    /// Takes one place of `source`.
    pub(super) fn take(&self, source: IpAddr) -> Result<Place, Refused> {
        #[allow(clippy::cast_possible_truncation, reason = "reduced to the table's size")]
        let place = self.key.hash_one(network(source)) as usize & (self.cells.len() - 1);
        let cell = &self.cells[place];
        let one_more = |held: u32| (held & !TOLD < self.most).then_some(held + 1);
        match cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Place(place as u32)),
            Err(_) if cell.fetch_or(TOLD, Ordering::Relaxed) & TOLD == 0 => Err(Refused::First),
            Err(_) => Err(Refused::Again),
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub(super) fn give(&self, place: Place) {
        let cell = &self.cells[place.0 as usize];
        let before = cell.fetch_sub(1, Ordering::Relaxed) & !TOLD;
        assert!(before > 0, "nothing is given back that was not taken");
        if before == 1 {
            // Fails if somebody else came meanwhile, who then clears it.
            let _ = cell.compare_exchange(TOLD, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// What counts as one source: an IPv4 address, or the network that one IPv6 site is given.
fn network(source: IpAddr) -> u128 {
    match source.to_canonical() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_source_has_its_share_and_others_theirs() {
        let sources = Sources::new(100, 2);
        let (flood, other) = (ip("198.51.100.7"), ip("203.0.113.9"));
        let first = sources.take(flood).expect("a place");
        let _second = sources.take(flood).expect("a place");
        assert_eq!(sources.take(flood), Err(Refused::First));
        assert_eq!(sources.take(flood), Err(Refused::Again));
        assert!(sources.take(other).is_ok());
        sources.give(first);
        assert!(sources.take(flood).is_ok());
        assert_eq!(sources.take(flood), Err(Refused::Again));
    }

    #[test]
    fn a_source_is_told_again_after_it_was_gone() {
        let sources = Sources::new(100, 1);
        let place = sources.take(ip("198.51.100.7")).expect("a place");
        assert_eq!(sources.take(ip("198.51.100.7")), Err(Refused::First));
        sources.give(place);
        let _place = sources.take(ip("198.51.100.7")).expect("a place");
        assert_eq!(sources.take(ip("198.51.100.7")), Err(Refused::First));
    }

    #[test]
    fn a_site_of_ipv6_is_one_source_and_a_mapped_address_is_its_ipv4() {
        assert_eq!(network(ip("2001:db8:1:2::1")), network(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(network(ip("2001:db8:1:2::1")), network(ip("2001:db8:1:3::1")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), network(ip("192.0.2.1")));
    }
}
