//! Relayed ports: one for each allocation, or a few for all.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::limits;
use crate::time::Monotonic;

/// Where relayed ports come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Each allocation has one of its own (the product's 50000 to 59999).
    Range {
        /// The lowest.
        first: u16,
        /// How many.
        count: u16,
    },
    /// Allocations share these; each owns the peers it talks to there.
    Shared(Vec<u16>),
}

impl Ports {
    /// Divides them among threads, as evenly as can be.
    ///
    /// # Panics
    /// If there are fewer ports than threads, or no threads.
    #[must_use]
    pub fn split(&self, threads: usize) -> Vec<Self> {
        let count = match self {
            Self::Range { count, .. } => usize::from(*count),
            Self::Shared(ports) => ports.len(),
        };
        assert!((1..=count).contains(&threads), "a port for each thread");
        let part = |thread: usize| match self {
            Self::Range { first, .. } => {
                let from = count * thread / threads;
                let to = count * (thread + 1) / threads;
                Self::Range { first: first + from as u16, count: (to - from) as u16 }
            }
            Self::Shared(ports) => {
                Self::Shared(ports.iter().skip(thread).step_by(threads).copied().collect())
            }
        };
        (0..threads).map(part).collect()
    }

    /// Tells whether a port is one of them.
    #[must_use]
    pub fn holds(&self, port: u16) -> bool {
        match self {
            Self::Range { first, count } => port.checked_sub(*first).is_some_and(|at| at < *count),
            Self::Shared(ports) => ports.contains(&port),
        }
    }
}

/// A relayed port of one address; the shell has a socket for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayPort {
    /// Place of the address in [`super::Setup::relayed`].
    pub address: u8,
    /// The port.
    pub port: u16,
}

/// The ports of one address.
#[derive(Debug)]
pub(super) enum Pool {
    Range(Range),
    Shared(Shared),
}

/// Ports that are handed out one by one.
#[derive(Debug)]
pub(super) struct Range {
    first: u16,
    /// One bit for each port that is taken.
    taken: Vec<u64>,
    count: u16,
    free: u16,
}

/// Ports that many allocations share.
#[derive(Debug)]
pub(super) struct Shared {
    ports: Vec<SharedPort>,
}

#[derive(Clone, Copy, Debug)]
struct SharedPort {
    port: u16,
    /// How many have it.
    allocations: u32,
    /// Somebody else has it for TCP, or had when it was looked at last.
    barred_until: Monotonic,
}

/// A port kept for whoever shows its token.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) token: [u8; 8],
    pub(super) port: RelayPort,
    /// Whose it is: a token is no bearer's.
    pub(super) user: u64,
    pub(super) until: Monotonic,
}

/// What kind of port is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    Even,
    /// Even, and the next higher one kept.
    EvenWithNext,
}

impl Pool {
    pub(super) fn new(ports: &Ports) -> Self {
        match ports {
            Ports::Range { first, count } => {
                assert!(u32::from(*first) + u32::from(*count) <= 65_536, "ports have 16 bits");
                Self::Range(Range {
                    first: *first,
                    taken: vec![0; usize::from(*count).div_ceil(64)],
                    count: *count,
                    free: *count,
                })
            }
            Ports::Shared(ports) => {
                let free = |port: &u16| SharedPort {
                    port: *port,
                    allocations: 0,
                    barred_until: Monotonic::default(),
                };
                Self::Shared(Shared { ports: ports.iter().map(free).collect() })
            }
        }
    }

    /// Takes a port; `random` spreads the choice, so that ports are not guessed (RFC 8656 section
    /// 7.2).
    pub(super) fn take(&mut self, wanted: Wanted, random: u32) -> Option<u16> {
        match self {
            Self::Range(range) => range.take(wanted, random),
            Self::Shared(shared) => shared.take(wanted),
        }
    }

    /// Takes a shared port for TCP, or in place of `taken`; `weight` tells how much the user has at
    /// each. `None`: it is not one of the shared ones, or there is no other.
    pub(super) fn take_door(
        &mut self,
        now: Monotonic,
        taken: Option<u16>,
        weight: impl Fn(u16) -> u32,
    ) -> Option<u16> {
        match self {
            Self::Range(_) => None,
            Self::Shared(shared) => shared.take_door(now, taken, weight),
        }
    }

    /// Gives a port back.
    pub(super) fn give(&mut self, port: u16) {
        match self {
            Self::Range(range) => range.give(port),
            Self::Shared(shared) => shared.give(port),
        }
    }

    /// Returns how many allocations more there is a port for; `None` where that has no end.
    pub(super) const fn free(&self) -> Option<usize> {
        match self {
            Self::Range(range) => Some(range.free as usize),
            Self::Shared(_) => None,
        }
    }
}

impl Range {
    fn take(&mut self, wanted: Wanted, random: u32) -> Option<u16> {
        let count = u32::from(self.count);
        if self.free == 0 {
            return None;
        }
        let start = random % count;
        // Bound: each port is looked at once.
        let place = (0..count).map(|step| (start + step) % count).find(|place| {
            let port = u32::from(self.first) + place;
            let even = port.is_multiple_of(2);
            !self.is_taken(*place)
                && match wanted {
                    Wanted::Any => true,
                    Wanted::Even => even,
                    Wanted::EvenWithNext => even && place + 1 < count && !self.is_taken(place + 1),
                }
        })?;
        self.set(place);
        if wanted == Wanted::EvenWithNext {
            self.set(place + 1);
        }
        Some(self.first + place as u16)
    }

    fn give(&mut self, port: u16) {
        let place = u32::from(port - self.first);
        assert!(self.is_taken(place), "a port is given back once");
        self.taken[place as usize / 64] &= !(1 << (place % 64));
        self.free += 1;
    }

    fn set(&mut self, place: u32) {
        self.taken[place as usize / 64] |= 1 << (place % 64);
        self.free -= 1;
    }

    fn is_taken(&self, place: u32) -> bool {
        self.taken[place as usize / 64] & 1 << (place % 64) != 0
    }
}

impl Shared {
    /// Takes the port with the fewest allocations; nothing can be kept beside it.
    fn take(&mut self, wanted: Wanted) -> Option<u16> {
        let fits = |port: u16| match wanted {
            Wanted::Any => true,
            Wanted::Even => port.is_multiple_of(2),
            Wanted::EvenWithNext => false,
        };
        let fitting = self.ports.iter_mut().filter(|shared| fits(shared.port));
        let least = fitting.min_by_key(|shared| shared.allocations)?;
        least.allocations += 1;
        Some(least.port)
    }

    /// Takes the port where the user has the least, and of those the one with the fewest
    /// allocations. One that could not be opened lately is the last choice, and none in place of
    /// another.
    fn take_door(
        &mut self,
        now: Monotonic,
        taken: Option<u16>,
        weight: impl Fn(u16) -> u32,
    ) -> Option<u16> {
        if let Some(taken) = taken
            && let Some(shared) = self.ports.iter_mut().find(|shared| shared.port == taken)
        {
            shared.barred_until = now.plus_ms(limits::TURN_SHARED_PORT_BARRED_MS);
        }
        let others = self.ports.iter_mut().map(|one| (one.barred_until > now, one));
        let others = others.filter(|(barred, _)| taken.is_none() || !barred);
        let (_, least) =
            others.min_by_key(|(barred, one)| (*barred, weight(one.port), one.allocations))?;
        least.allocations += 1;
        Some(least.port)
    }

    fn give(&mut self, port: u16) {
        let held = self.ports.iter_mut().find(|held| held.port == port);
        let held = held.expect("a port that was taken is one of these");
        assert!(held.allocations > 0, "a port is given back once");
        held.allocations -= 1;
    }
}

/// Ports kept for a while, few and in the order they end.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    kept: VecDeque<Reservation>,
    /// The one that was claimed last.
    claimed: Option<RelayPort>,
}

impl Reservations {
    /// Keeps one; gives it back when there are too many.
    pub(super) fn keep(&mut self, reservation: Reservation) -> Result<(), Reservation> {
        if self.kept.len() == limits::TURN_RESERVATIONS_MAX {
            return Err(reservation);
        }
        self.kept.push_back(reservation);
        Ok(())
    }

    /// Takes the port kept under `token` for `user`.
    pub(super) fn claim(&mut self, token: &[u8], user: u64) -> Option<RelayPort> {
        let mine = |kept: &Reservation| kept.token == token && kept.user == user;
        let place = self.kept.iter().position(mine)?;
        self.claimed = self.kept.remove(place).map(|kept| kept.port);
        self.claimed
    }

    /// Returns the token of the port above `port`, while that is kept.
    pub(super) fn beside(&self, port: RelayPort) -> Option<[u8; 8]> {
        let above = port.port.checked_add(1).map(|above| RelayPort { port: above, ..port })?;
        self.kept.iter().find(|kept| kept.port == above).map(|kept| kept.token)
    }

    /// Tells whether `port` is one that was just claimed.
    pub(super) fn was_claimed(&self, port: RelayPort) -> bool {
        self.claimed == Some(port)
    }

    /// Takes out the port kept under `token`, which nobody has been told.
    pub(super) fn release(&mut self, token: &[u8]) -> Option<RelayPort> {
        let place = self.kept.iter().position(|kept| kept.token == token)?;
        self.kept.remove(place).map(|kept| kept.port)
    }

    /// Takes one whose time is over.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<RelayPort> {
        self.kept.front().filter(|kept| kept.until <= now)?;
        self.kept.pop_front().map(|kept| kept.port)
    }

    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.kept.front().map(|kept| kept.until)
    }
}

/// An address that clients are given ports of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedAddress {
    /// Where the sockets are bound.
    pub bound: IpAddr,
    /// What clients and peers are told: another one behind NAT.
    pub public: IpAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, count: u16) -> Pool {
        Pool::new(&Ports::Range { first, count })
    }

    #[test]
    fn every_port_is_handed_out_once_and_again_when_it_is_back() {
        let mut pool = range(50_000, 100);
        let mut taken: Vec<u16> =
            (0..100).map(|n| pool.take(Wanted::Any, n * 7_919).unwrap()).collect();
        assert_eq!(pool.take(Wanted::Any, 5), None);
        assert_eq!(pool.free(), Some(0));
        taken.sort_unstable();
        assert_eq!(taken, (50_000..50_100).collect::<Vec<_>>());
        pool.give(50_042);
        assert_eq!(pool.take(Wanted::Any, 0), Some(50_042));
    }

    #[test]
    fn even_ports_are_even_and_the_next_one_is_kept() {
        let mut pool = range(50_001, 5);
        assert_eq!(pool.take(Wanted::EvenWithNext, 0), Some(50_002));
        assert_eq!(pool.take(Wanted::EvenWithNext, 0), Some(50_004));
        assert_eq!(pool.take(Wanted::Even, 0), None);
        assert_eq!(pool.take(Wanted::Any, 0), Some(50_001));
        pool.give(50_005);
        assert_eq!(pool.take(Wanted::Even, 0), None, "an odd one came back");
    }

    #[test]
    fn the_last_port_of_a_range_has_no_next_one() {
        let mut pool = range(65_534, 1);
        assert_eq!(pool.take(Wanted::EvenWithNext, 0), None);
        assert_eq!(pool.take(Wanted::Even, 0), Some(65_534));
        assert_eq!(range(65_535, 1).take(Wanted::Any, 9), Some(65_535));
    }

    #[test]
    fn shared_ports_are_loaded_evenly() {
        let mut pool = Pool::new(&Ports::Shared(vec![3_478, 3_480]));
        let taken: Vec<_> = (0..4).map(|_| pool.take(Wanted::Any, 0).unwrap()).collect();
        assert_eq!(taken.iter().filter(|port| **port == 3_478).count(), 2);
        assert_eq!(pool.take(Wanted::EvenWithNext, 0), None);
    }

    #[test]
    fn a_user_of_tcp_is_where_he_has_the_least_and_where_nobody_else_is_in_the_way() {
        let mut pool = Pool::new(&Ports::Shared(vec![3_478, 3_480, 3_482]));
        let nothing = |_| 0;
        assert_eq!(pool.take(Wanted::Any, 0), Some(3_478));
        assert_eq!(pool.take_door(Monotonic(1), None, nothing), Some(3_480), "the emptiest");
        let has = |port| u32::from(port == 3_482);
        assert_eq!(pool.take_door(Monotonic(1), None, has), Some(3_478), "he has nothing there");
        let in_place_of =
            |pool: &mut Pool, taken| pool.take_door(Monotonic(2), Some(taken), nothing);
        assert_eq!(in_place_of(&mut pool, 3_482), Some(3_480));
        assert_eq!(in_place_of(&mut pool, 3_480), Some(3_478), "3482 is passed over");
        assert_eq!(in_place_of(&mut pool, 3_478), None, "all of them are");
        assert_eq!(pool.take_door(Monotonic(3), None, nothing), Some(3_482), "tried again");
        let later = Monotonic(2).plus_ms(limits::TURN_SHARED_PORT_BARRED_MS);
        assert!(pool.take_door(later, Some(3_482), nothing).is_some());
        assert_eq!(range(50_000, 9).take_door(later, None, nothing), None);
    }

    #[test]
    fn ports_divided_among_threads_are_each_ones_of_one_thread() {
        let range = Ports::Range { first: 65_436, count: 100 };
        for ports in [range, Ports::Shared((3_000..3_017).collect())] {
            for threads in 1..=17 {
                let parts = ports.split(threads);
                assert_eq!(parts.len(), threads);
                for port in 0..=u16::MAX {
                    let of = parts.iter().filter(|part| part.holds(port)).count();
                    assert_eq!(of, usize::from(ports.holds(port)), "{port} of {threads}");
                }
            }
        }
    }

    #[test]
    fn a_kept_port_is_its_owners_and_only_for_a_while() {
        let mut kept = Reservations::default();
        let port = RelayPort { address: 0, port: 50_003 };
        let until = Monotonic(30);
        kept.keep(Reservation { token: [1; 8], port, user: 1, until }).unwrap();
        assert_eq!(kept.claim(&[1; 8], 2), None, "of another user");
        assert_eq!(kept.claim(&[2; 8], 1), None);
        assert_eq!(kept.pop_due(Monotonic(29)), None);
        assert_eq!(kept.pop_due(Monotonic(30)), Some(port));
        assert_eq!(kept.claim(&[1; 8], 1), None);
    }
}
