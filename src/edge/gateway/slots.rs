//! Places for what lives for a while and is named meanwhile: a key that outlives its place names
//! nothing.

/// Names a value of one [`Slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// The place.
    pub(super) index: u32,
    /// Which of its successive values.
    pub(super) generation: u32,
}

/// Values in places, at most so many.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    max: usize,
}

impl<T> Slots<T> {
    pub(super) const fn new(max: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), max }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    /// Puts a value in a place. `None`: there is no room.
    pub(super) fn insert(&mut self, value: T) -> Option<Key> {
        if self.is_full() {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.places.push((0, None));
                u32::try_from(self.places.len() - 1).ok()?
            }
        };
        let place = self.places.get_mut(index as usize)?;
        assert!(place.1.is_none(), "a free place is empty");
        place.0 = place.0.wrapping_add(1);
        place.1 = Some(value);
        Some(Key { index, generation: place.0 })
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.places.get(key.index as usize)?;
        value.as_ref().filter(|_| *generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.places.get_mut(key.index as usize)?;
        value.as_mut().filter(|_| *generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, value) = self.places.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = value.take()?;
        self.free.push(key.index);
        Some(value)
    }

    /// Returns the keys of all values, in the order of their places.
    pub(super) fn keys(&self) -> Vec<Key> {
        let used = (0_u32..).zip(&self.places).filter(|(_, (_, value))| value.is_some());
        used.map(|(index, (generation, _))| Key { index, generation: *generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_value_and_none_that_comes_after() {
        let mut slots = Slots::new(2);
        let first = slots.insert("a").expect("room");
        let second = slots.insert("b").expect("room");
        assert_eq!(slots.insert("c"), None, "no more than two");
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!((slots.remove(first), slots.get(first)), (None, None));
        let third = slots.insert("c").expect("room again");
        assert_eq!((third.index, slots.get(first)), (first.index, None));
        assert_eq!((slots.get(second), slots.get(third)), (Some(&"b"), Some(&"c")));
        assert_eq!(slots.keys(), [third, second]);
    }
}
