//! The distinct local users that one name has addressed in one window.

use super::{AtomicU32, Ordering};

/// A set of marks that only grows; 8 bytes for each user there may be.
///
/// A user is a mark of 32 bits under a secret key. Among a thousand users a stranger is taken for
/// one of them once in four million tries, and then is one more that may be addressed.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) window: u32,
    count: AtomicU32,
    /// Zero is empty; linear probing, at most half full.
    slots: Box<[AtomicU32]>,
}

impl Users {
    /// Returns an empty set of the users of `window`, with room for `max`.
    pub(super) fn new(window: u32, max: u32) -> Self {
        let room = (max as usize * 2).next_power_of_two().max(16);
        let slots = (0..room).map(|_| AtomicU32::new(0)).collect();
        Self { window, count: AtomicU32::new(0), slots }
    }

    /// Returns how many users are in it.
    pub(super) fn len(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Tells whether the user is in it, which it then is; at most `max` are let in, or as many as
    /// were foreseen when the window began.
    pub(super) fn admit(&self, hash: u64, max: u32) -> bool {
        #[allow(clippy::cast_possible_truncation, reason = "the halves are place and mark")]
        let (mark, mut place) = (((hash >> 32) as u32).max(1), hash as usize);
        let max = max.min(u32::try_from(self.slots.len() / 2).unwrap_or(u32::MAX));
        for _ in 0..self.slots.len() {
            let slot = &self.slots[place & (self.slots.len() - 1)];
            let held = match slot.load(Ordering::Relaxed) {
                0 if !self.count_one(max) => return false,
                0 => self.claim(slot, mark),
                held => held,
            };
            if held == mark {
                return true;
            }
            place = place.wrapping_add(1);
        }
        false
    }

    /// Counts one user more, if that is not above `max`.
    fn count_one(&self, max: u32) -> bool {
        let counted = self.count.fetch_add(1, Ordering::Relaxed) < max;
        if !counted {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        counted
    }

    /// Puts the mark of a user that has been counted into a free slot and returns whose slot it is
    /// then: another shard may be faster.
    fn claim(&self, slot: &AtomicU32, mark: u32) -> u32 {
        match slot.compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => mark,
            Err(other) => {
                self.count.fetch_sub(1, Ordering::Relaxed);
                other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads small numbers over 64 bits, as the keyed hash does.
    const fn hash(user: u64) -> u64 {
        user.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ user << 7
    }

    #[test]
    fn only_additional_users_are_blocked() {
        let users = Users::new(0, 1_000);
        assert!((1..=1_000).all(|user| users.admit(hash(user), 1_000)));
        assert!(!users.admit(hash(1_001), 1_000));
        assert!((1..=1_000).all(|user| users.admit(hash(user), 1_000)));
        assert_eq!(users.len(), 1_000);
    }

    #[test]
    fn a_number_raised_within_a_window_is_bounded_by_its_room() {
        let users = Users::new(0, 8);
        let admitted = (1..100).filter(|user| users.admit(hash(*user), 50)).count();
        assert_eq!(admitted, 8);
    }

    #[test]
    fn users_that_share_a_place_are_told_apart() {
        let users = Users::new(0, 8);
        for mark in 1..=8_u64 {
            assert!(users.admit(mark << 32, 8));
        }
        assert!(!users.admit(9 << 32, 8));
        assert!(users.admit(8 << 32, 8));
    }

    #[test]
    fn shards_that_race_never_admit_more_than_the_bound() {
        let users = Users::new(0, 100);
        let admitted: usize = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4)
                .map(|shard| {
                    let users = &users;
                    scope.spawn(move || {
                        let own = (0..1_000_u64).map(|user| hash(user * 4 + shard + 1));
                        own.filter(|hash| users.admit(*hash, 100)).count()
                    })
                })
                .collect();
            shards.into_iter().map(|shard| shard.join().expect("it ends")).sum()
        });
        assert_eq!(users.len(), 100);
        assert!(admitted <= 100, "{admitted}");
    }
}
