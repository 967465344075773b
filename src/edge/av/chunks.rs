//! Values by number, in chunks that never move.
//!
//! A slab in one piece is copied whenever it doubles, and what it leaves behind is half as much
//! again that the process holds until its allocator gives it back. Chunks are made one by one, as
//! values come, and a number finds its chunk by a shift.

/// Values of one chunk.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 6;

/// No place.
const NONE: u32 = u32::MAX;

/// Values, each with a number of its own while it is here.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    chunks: Vec<Box<[Place<T>]>>,
    /// The first place that is free.
    free: u32,
    taken: usize,
}

#[derive(Debug)]
enum Place<T> {
    Free { next: u32 },
    Taken(T),
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: NONE, taken: 0 }
    }
}

impl<T> Chunks<T> {
    pub(super) const fn len(&self) -> usize {
        self.taken
    }

    pub(super) fn insert(&mut self, value: T) -> usize {
        if self.free == NONE {
            self.grow();
        }
        let number = self.free as usize;
        let place = &mut self.chunks[number >> CHUNK_BITS][number % CHUNK];
        let Place::Free { next } = std::mem::replace(place, Place::Taken(value)) else {
            unreachable!("a place of the list of free ones is free")
        };
        self.free = next;
        self.taken += 1;
        number
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        assert!(first < NONE - CHUNK as u32, "numbers have 32 bits");
        let next = |n: usize| if n + 1 == CHUNK { NONE } else { first + n as u32 + 1 };
        self.chunks.push((0..CHUNK).map(|n| Place::Free { next: next(n) }).collect());
        self.free = first;
    }

    pub(super) fn try_remove(&mut self, number: usize) -> Option<T> {
        let place = self.chunks.get_mut(number >> CHUNK_BITS)?.get_mut(number % CHUNK)?;
        if let Place::Free { .. } = place {
            return None;
        }
        match std::mem::replace(place, Place::Free { next: self.free }) {
            Place::Taken(value) => {
                self.free = number as u32;
                self.taken -= 1;
                Some(value)
            }
            Place::Free { .. } => unreachable!("looked at above"),
        }
    }

    pub(super) fn get(&self, number: usize) -> Option<&T> {
        match self.chunks.get(number >> CHUNK_BITS)?.get(number % CHUNK)? {
            Place::Taken(value) => Some(value),
            Place::Free { .. } => None,
        }
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        match self.chunks.get_mut(number >> CHUNK_BITS)?.get_mut(number % CHUNK)? {
            Place::Taken(value) => Some(value),
            Place::Free { .. } => None,
        }
    }

    /// Goes through all of them, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let places = self.chunks.iter().flat_map(|chunk| chunk.iter()).enumerate();
        places.filter_map(|(number, place)| match place {
            Place::Taken(value) => Some((number, value)),
            Place::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(
            steps in prop::collection::vec((any::<bool>(), 0_usize..300), 1..600),
        ) {
            let mut chunks = Chunks::default();
            let mut naive = std::collections::BTreeMap::new();
            for (n, (insert, number)) in steps.into_iter().enumerate() {
                if insert {
                    let number = chunks.insert(n);
                    prop_assert_eq!(naive.insert(number, n), None, "a number of its own");
                } else {
                    prop_assert_eq!(chunks.get_mut(number).copied(), naive.get(&number).copied());
                    prop_assert_eq!(chunks.try_remove(number), naive.remove(&number));
                    prop_assert_eq!(chunks.get(number), None);
                }
                prop_assert_eq!(chunks.len(), naive.len());
            }
            let held: Vec<_> = chunks.iter().map(|(number, value)| (number, *value)).collect();
            prop_assert_eq!(held, naive.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn numbers_are_used_again_before_there_are_new_ones() {
        let mut chunks = Chunks::default();
        let numbers: Vec<usize> = (0..100).map(|n| chunks.insert(n)).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        chunks.try_remove(70);
        chunks.try_remove(3);
        assert_eq!([chunks.insert(0), chunks.insert(0), chunks.insert(0)], [3, 70, 100]);
    }
}
