//! Numbers of allocations, found by something that the allocations themselves hold.
//!
//! A map would keep every key a second time, 36 bytes of a client or of a peer at a port, in a
//! table that is half empty as a rule. What is kept here is the number and half of the key's hash;
//! the key itself is compared where it is.

use std::hash::{BuildHasher as _, Hash};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// Numbers by the hashes of keys that are elsewhere.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    table: HashTable<Entry>,
    key: RandomState,
}

/// One of them. Those that are alike stand for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    hash: u32,
    number: u32,
}

impl Numbers {
    /// Returns the number of `key`; `has` tells whether a number's key is this one. Hot: once or
    /// twice per datagram.
    pub(super) fn find(&self, key: &impl Hash, has: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.hash(key);
        let found = self.table.find(wide(hash), |one| one.hash == hash && has(one.number));
        found.map(|one| one.number)
    }

    /// Adds a number whose key is not there.
    pub(super) fn insert(&mut self, key: &impl Hash, number: u32) {
        let hash = self.hash(key);
        self.table.insert_unique(wide(hash), Entry { hash, number }, |one| wide(one.hash));
    }

    /// Takes the number of a key out, whatever has become of the key where it was.
    pub(super) fn remove(&mut self, key: &impl Hash, number: u32) {
        let hash = self.hash(key);
        let entry = Entry { hash, number };
        if let Ok(found) = self.table.find_entry(wide(hash), |one| *one == entry) {
            found.remove();
        }
    }

    fn hash(&self, key: &impl Hash) -> u32 {
        self.key.hash_one(key) as u32
    }
}

/// Returns a hash of which the lowest and the highest bits are good, which is where a table looks.
const fn wide(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_found_by_its_key_as_in_a_map(
            steps in prop::collection::vec((any::<bool>(), 0_u16..400), 1..1_200),
        ) {
            let mut numbers = Numbers::default();
            let mut keys: Vec<u16> = Vec::new();
            let mut naive = std::collections::BTreeMap::new();
            for (insert, key) in steps {
                let found = numbers.find(&key, |number| keys[number as usize] == key);
                prop_assert_eq!(found, naive.get(&key).copied());
                match (insert, found) {
                    (true, None) => {
                        let number = keys.len() as u32;
                        keys.push(key);
                        numbers.insert(&key, number);
                        naive.insert(key, number);
                    }
                    (false, Some(number)) => {
                        numbers.remove(&key, number);
                        naive.remove(&key);
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(numbers.table.len(), naive.len());
        }
    }

    /// One allocation may have two keys of one hash: either entry is as good for either.
    #[test]
    fn of_two_keys_with_one_hash_the_other_one_stays() {
        let mut numbers = Numbers::default();
        numbers.insert(&7_u16, 3);
        numbers.insert(&7_u16, 3);
        numbers.remove(&7_u16, 3);
        assert_eq!(numbers.find(&7_u16, |number| number == 3), Some(3));
        numbers.remove(&7_u16, 3);
        assert_eq!(numbers.find(&7_u16, |_| true), None);
    }
}
