//! How partners under limits behave, counted once for all shards.
//!
//! ```text
//! message of (domain, certificate) ─> cell of the domain ─┐
//!                                  └> cell of the certificate ─┴> the stricter of the two rules
//! key -> set of 8 keys (one cache line) -> the cell at the same place
//! ```
//!
//! A partner's score belongs to the partner and not to a shard: a connection is served wherever it
//! was accepted, so the parts of one partner's traffic meet nowhere else. The cells are a fixed
//! table of atomics that all shards share. Mail to an owning shard would do the same with a round
//! trip for each message, with messages that wait for it, and with an answer for every way mail can
//! fail; here a message costs two cache lines, no shard waits for another, and a partner without
//! limits never comes here.
//!
//! Both names count by themselves: a new certificate meets the score of the domain, and a new
//! domain under a known certificate that of the certificate.
//!
//! The table is bounded by [`limits::SCORES`]. In a full set the cell least recently heard of makes
//! room, an unsuspicious one first, and its partner begins afresh when it comes back. Two shards
//! may touch a cell in the moment it changes hands; then a message of the one is counted for the
//! other, which does no harm.

use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use siphasher::sip::SipHasher13;

use super::throttle::Limits;
use crate::limits;
use crate::time::Now;

mod cell;
mod promotion;
mod users;

pub use cell::Score;
pub use promotion::{Evidence, promotion};

use cell::Cell;

/// Keys in a set: a cache line of them.
const WAYS: usize = 8;

const _: () = assert!((limits::SCORES / WAYS).is_power_of_two());

/// Whom a score is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// The discovered partner of this SIP domain.
    Domain(String),
    /// Whoever an entry is about: a listed domain or one below it, or a provider by its name.
    Entry(String),
    /// Whoever holds the certificate that names this host.
    Certificate(String),
}

/// The two names under which a message counts.
#[derive(Clone, Copy, Debug)]
pub struct Parties<'a> {
    /// The SIP domain, as it stands on the wire; of a partner with an entry, what that is called.
    pub domain: &'a [u8],
    /// An entry stands for the partner: it was not discovered.
    pub listed: bool,
    /// Its key, from [`Scores::domain_key`].
    pub domain_key: u64,
    /// Stands for the certificate.
    pub certificate: u64,
    /// A host that the certificate names, for people.
    pub host: &'a str,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toll {
    /// It is in time.
    Paid,
    /// It is paid for and in time after this many milliseconds.
    Hold {
        /// At least 1, at most [`Limits::hold_ms`].
        wait_ms: u64,
    },
    /// It would have to be held for too long. Nothing was taken.
    TooFast {
        /// Milliseconds after which it would be in time.
        wait_ms: u64,
    },
}

/// What addressing a user found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// Within the number of users.
    Admitted,
    /// One user too many.
    TooMany {
        /// Seconds until the window ends.
        wait_s: u64,
    },
}

/// How a request of the partner ended inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It found whom it was for.
    Reached,
    /// There is no such user, or none that may be reached.
    Failed,
}

impl Outcome {
    /// Reads a final response; `None` for one that says nothing of how well the sender knows whom
    /// it writes to: busy, declined, challenged, or a fault of ours.
    #[must_use]
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            200..=299 => Some(Self::Reached),
            403 | 404 | 410 | 484 | 604 => Some(Self::Failed),
            _ => None,
        }
    }
}

/// The scores of one process. About 1 MiB, and 4 bytes for each user that may be addressed twice
/// over, for each partner that addresses any.
#[derive(Debug)]
pub struct Scores {
    key: [u64; 2],
    keys: Box<[AtomicU64]>,
    cells: Box<[Cell]>,
    evicted: AtomicU64,
}

impl Scores {
    /// Returns scores without partners; `key` is random per process (and fixed in a simulation).
    #[must_use]
    pub fn new(key: [u64; 2]) -> Self {
        Self {
            key,
            keys: (0..limits::SCORES).map(|_| AtomicU64::new(0)).collect(),
            cells: (0..limits::SCORES).map(|_| Cell::default()).collect(),
            evicted: AtomicU64::new(0),
        }
    }

    /// Returns the key of a SIP domain as it stands on the wire: case and a trailing dot do not
    /// matter.
    #[must_use]
    pub fn domain_key(&self, domain: &[u8]) -> u64 {
        let mut hasher = self.hasher(b'd');
        let domain = domain.strip_suffix(b".").unwrap_or(domain);
        domain.iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
        hasher.finish().max(1)
    }

    fn certificate_key(&self, certificate: u64) -> u64 {
        let mut hasher = self.hasher(b'c');
        hasher.write_u64(certificate);
        hasher.finish().max(1)
    }

    fn hasher(&self, what: u8) -> SipHasher13 {
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        hasher.write_u8(what);
        hasher
    }

    /// Takes one message out of the partner's second, under both names or under neither.
    ///
    /// The second value tells that the partner has turned suspicious since its last message.
    pub fn charge(&self, now: Now, parties: &Parties<'_>, limits: &Limits) -> (Toll, bool) {
        let [domain, certificate] = self.cells_of(now, parties);
        let suspicious = domain.judge(now, limits) | certificate.judge(now, limits);
        let first = domain.reserve(now, limits);
        if let Toll::TooFast { .. } = first {
            domain.refused();
            return (first, suspicious);
        }
        let second = certificate.reserve(now, limits);
        let toll = match (first, second) {
            (_, Toll::TooFast { .. }) => {
                domain.give_back(now, limits);
                certificate.refused();
                second
            }
            (Toll::Hold { wait_ms: one }, Toll::Hold { wait_ms: other }) => {
                Toll::Hold { wait_ms: one.max(other) }
            }
            (Toll::Paid, second) => second,
            (first, _) => first,
        };
        if let Toll::Hold { .. } = toll {
            domain.held();
            certificate.held();
        }
        (toll, suspicious)
    }

    /// Judges a message to a local user: `user` as it stands on the wire, in any case.
    pub fn address(
        &self,
        now: Now,
        parties: &Parties<'_>,
        user: &[u8],
        host: &[u8],
        limits: &Limits,
    ) -> Addressed {
        if limits.users == 0 {
            return Addressed::Admitted;
        }
        let mut hasher = self.hasher(b'u');
        user.iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
        hasher.write_u8(b'@');
        host.iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
        let hash = hasher.finish();
        let [domain, certificate] = self.cells_of(now, parties);
        match domain.address(now, hash, limits) {
            Addressed::Admitted => certificate.address(now, hash, limits),
            too_many @ Addressed::TooMany { .. } => too_many,
        }
    }

    /// Counts how a request ended. A partner that nobody has charged has no score.
    pub fn answered(&self, now: Now, domain_key: u64, certificate: u64, outcome: Outcome) {
        for key in [domain_key, self.certificate_key(certificate)] {
            if let Some(cell) = self.find(key) {
                cell.answered(now, outcome);
            }
        }
    }

    /// Returns every score, the suspicious first and then those most recently heard of.
    #[must_use]
    pub fn scores(&self, now: Now) -> Vec<Score> {
        let taken = self.keys.iter().zip(&self.cells);
        let taken = taken.filter(|(key, _)| key.load(Ordering::Acquire) != 0);
        let mut scores: Vec<Score> = taken.filter_map(|(_, cell)| cell.read(now)).collect();
        scores.sort_by(|one, other| {
            let rank = |score: &Score| (!score.suspicious, score.silent_s);
            rank(one).cmp(&rank(other)).then_with(|| one.holder.cmp(&other.holder))
        });
        scores
    }

    /// Returns the scores of a name: a SIP domain, an entry of the lists, a certificate's host.
    #[must_use]
    pub fn about(&self, now: Now, name: &str) -> Vec<Score> {
        let key = self.domain_key(name.as_bytes());
        let mut scores = Vec::new();
        for (held, cell) in self.keys.iter().zip(&self.cells) {
            let held = held.load(Ordering::Acquire);
            let Some(score) = (held != 0).then(|| cell.read(now)).flatten() else { continue };
            let (Holder::Domain(holder) | Holder::Entry(holder) | Holder::Certificate(holder)) =
                &score.holder;
            // Discovered partners have keys of another making; their holder is the name itself.
            if held == key || holder.eq_ignore_ascii_case(name) {
                scores.push(score);
            }
        }
        scores.sort_by(|one, other| one.holder.cmp(&other.holder));
        scores
    }

    /// Returns how many scores there are, and how many of them are suspicious.
    #[must_use]
    pub fn count(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for (key, cell) in self.keys.iter().zip(&self.cells) {
            if key.load(Ordering::Relaxed) != 0 {
                counts.0 += 1;
                counts.1 += u64::from(cell.is_suspicious());
            }
        }
        counts
    }

    /// Returns how many scores have made room for others.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn cells_of(&self, now: Now, parties: &Parties<'_>) -> [&Cell; 2] {
        let domain = self.cell(now, parties.domain_key, || {
            let name = String::from_utf8_lossy(parties.domain).to_ascii_lowercase();
            if parties.listed { Holder::Entry(name) } else { Holder::Domain(name) }
        });
        let certificate = self.cell(now, self.certificate_key(parties.certificate), || {
            Holder::Certificate(parties.host.to_owned())
        });
        [domain, certificate]
    }

    fn set_of(key: u64) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "reduced to the table's size")]
        let set = key as usize & (limits::SCORES / WAYS - 1);
        set * WAYS
    }

    fn find(&self, key: u64) -> Option<&Cell> {
        let start = Self::set_of(key);
        let keys = &self.keys[start..start + WAYS];
        let way = keys.iter().position(|held| held.load(Ordering::Acquire) == key)?;
        Some(&self.cells[start + way])
    }

    /// Returns the cell of `key`, which is made if there is none.
    fn cell(&self, now: Now, key: u64, holder: impl FnOnce() -> Holder) -> &Cell {
        if let Some(cell) = self.find(key) {
            return cell;
        }
        let start = Self::set_of(key);
        // Another shard may take the place we have chosen; then the next best is taken. Past the
        // last try the message is counted where it is, for whoever has that cell.
        for _ in 0..WAYS {
            let place = self.place(now, start);
            let held = self.keys[place].load(Ordering::Acquire);
            let ours =
                self.keys[place].compare_exchange(held, key, Ordering::AcqRel, Ordering::Acquire);
            if ours.is_ok() {
                if held != 0 {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                }
                self.cells[place].begin(now, holder());
                break;
            }
            if let Some(cell) = self.find(key) {
                return cell;
            }
        }
        // Two shards that made one each both find the first.
        self.find(key).unwrap_or(&self.cells[start])
    }

    /// Returns the place in a set that is free, or whose partner is missed least.
    fn place(&self, now: Now, start: usize) -> usize {
        let rank = |place: &usize| {
            let free = self.keys[*place].load(Ordering::Acquire) == 0;
            let cell = &self.cells[*place];
            (!free, cell.is_suspicious(), std::cmp::Reverse(cell.silent_s(now)))
        };
        (start..start + WAYS).min_by_key(rank).unwrap_or(start)
    }
}

#[cfg(test)]
mod tests;
