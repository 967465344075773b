//! What is judged for every message and never cached: rates, and whom a stranger addresses.

use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::time::{Monotonic, Now};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// A rate with a burst, in 24 bytes: the moment at which the bucket would be full again.
///
/// One message moves that moment one interval on; a message that would move it more than a burst
/// ahead of the present is too early (the cell rate algorithm of ITU-T I.371).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    interval_ns: u64,
    tolerance_ns: u64,
    full_at: Monotonic,
}

/// A message came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooEarly {
    /// When it would be in time, in milliseconds from the present, at least 1.
    pub wait_ms: u64,
}

impl TokenBucket {
    /// Returns a full bucket of `burst` tokens that gains `per_second` of them a second.
    ///
    /// Zero of either counts as one.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval_ns = NANOSECONDS_PER_SECOND / u64::from(per_second.max(1));
        let tolerance_ns = interval_ns * u64::from(burst.max(1) - 1);
        Self { interval_ns, tolerance_ns, full_at: Monotonic(0) }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// [`TooEarly`] if there is none; nothing is taken then.
    pub fn take(&mut self, now: Now) -> Result<(), TooEarly> {
        let ahead_ns = self.full_at.0.saturating_sub(now.monotonic.0);
        if let Some(early_ns) = ahead_ns.checked_sub(self.tolerance_ns).filter(|&ns| ns > 0) {
            return Err(TooEarly { wait_ms: early_ns.div_ceil(1_000_000) });
        }
        self.full_at = Monotonic((now.monotonic.0 + ahead_ns).saturating_add(self.interval_ns));
        Ok(())
    }

    /// Tells whether nothing was taken for so long that a new bucket would be the same.
    #[must_use]
    pub const fn is_full(&self, now: Now) -> bool {
        self.full_at.0 <= now.monotonic.0
    }
}

/// The local users a stranger has addressed; more than its bound it may not (lync-federation 5.3).
///
/// Users already addressed stay within reach: only additional ones are blocked. 8 bytes a user.
#[derive(Debug)]
pub struct DistinctUsers {
    key: [u64; 2],
    users: HashTable<u64>,
    max: usize,
}

/// What [`DistinctUsers::admit`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Addressed before.
    Known,
    /// Counted as one more.
    Added,
    /// One too many; not counted.
    Blocked,
}

impl DistinctUsers {
    /// Returns an empty set for at most `max` users; `key` is random per process.
    #[must_use]
    pub const fn new(key: [u64; 2], max: usize) -> Self {
        Self { key, users: HashTable::new(), max }
    }

    /// Judges a message to `user`, which is compared byte by byte.
    pub fn admit(&mut self, user: &[u8]) -> Admission {
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        hasher.write(user);
        let hash = hasher.finish();
        if self.users.find(hash, |&known| known == hash).is_some() {
            return Admission::Known;
        }
        if self.users.len() >= self.max {
            return Admission::Blocked;
        }
        self.users.insert_unique(hash, hash, |&known| known);
        Admission::Added
    }

    /// Returns how many users were addressed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Tells whether nobody was addressed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Forgets everybody, at the end of a period.
    pub fn clear(&mut self) {
        self.users.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(milliseconds: u64) -> Now {
        Now::default().plus_ms(milliseconds)
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_per_interval() {
        let mut bucket = TokenBucket::new(20, 20);
        for _ in 0..20 {
            assert_eq!(bucket.take(at_ms(1_000)), Ok(()));
        }
        assert_eq!(bucket.take(at_ms(1_000)), Err(TooEarly { wait_ms: 50 }));
        assert_eq!(bucket.take(at_ms(1_049)), Err(TooEarly { wait_ms: 1 }));
        assert_eq!(bucket.take(at_ms(1_050)), Ok(()));
        assert_eq!(bucket.take(at_ms(1_050)), Err(TooEarly { wait_ms: 50 }));
    }

    #[test]
    fn a_refused_message_takes_nothing() {
        let mut bucket = TokenBucket::new(1, 1);
        assert_eq!(bucket.take(at_ms(0)), Ok(()));
        for milliseconds in 0..1_000 {
            assert!(bucket.take(at_ms(milliseconds)).is_err());
        }
        assert_eq!(bucket.take(at_ms(1_000)), Ok(()));
    }

    #[test]
    fn a_bucket_never_holds_more_than_its_burst() {
        let mut bucket = TokenBucket::new(10, 5);
        let taken = (0..100).filter(|_| bucket.take(at_ms(3_600_000)).is_ok()).count();
        assert_eq!(taken, 5);
        assert!(!bucket.is_full(at_ms(3_600_499)));
        assert!(bucket.is_full(at_ms(3_600_500)));
    }

    #[test]
    fn the_rate_holds_over_a_long_time() {
        let mut bucket = TokenBucket::new(20, 1);
        let taken = (0..10_000).filter(|&ms| bucket.take(at_ms(ms)).is_ok()).count();
        assert_eq!(taken, 200);
    }

    #[test]
    fn only_additional_users_are_blocked() {
        let mut users = DistinctUsers::new([1, 2], 3);
        for user in ["alice@contoso.example", "bob@contoso.example", "carol@contoso.example"] {
            assert_eq!(users.admit(user.as_bytes()), Admission::Added);
        }
        assert_eq!(users.admit(b"dave@contoso.example"), Admission::Blocked);
        assert_eq!(users.admit(b"alice@contoso.example"), Admission::Known);
        assert_eq!(users.len(), 3);
        users.clear();
        assert!(users.is_empty());
        assert_eq!(users.admit(b"dave@contoso.example"), Admission::Added);
    }
}
