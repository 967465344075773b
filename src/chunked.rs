//! A table that grows in pieces.
//!
//! A vector that doubles holds up to half of its memory for nobody, and while it moves, all of it
//! twice; with a place for every connection that is the largest part of what an idle one costs
//! beside its TLS. Here nothing moves, and at most one piece is partly used.

use std::ops::{Index, IndexMut};

/// Bytes of one piece: as much as an allocator hands out without a page of its own.
const PIECE_BYTES: usize = 8 * 1024;

/// Items by their index. A look-up costs one load more than a vector's.
#[derive(Debug)]
pub(crate) struct Chunked<T> {
    /// All full but the last; none ever grows beyond what it was made with.
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T> Chunked<T> {
    /// Items of one piece, a power of two.
    const PER_PIECE: usize = {
        let fit = PIECE_BYTES / if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        if fit < 8 { 8 } else { 1 << fit.ilog2() }
    };
    const SHIFT: u32 = Self::PER_PIECE.ilog2();

    /// Returns how many items there are; every index lies below.
    pub(crate) fn len(&self) -> usize {
        match self.pieces.split_last() {
            None => 0,
            Some((last, full)) => full.len() * Self::PER_PIECE + last.len(),
        }
    }

    /// Appends an item; returns its index.
    pub(crate) fn push(&mut self, item: T) -> usize {
        let index = self.len();
        match self.pieces.last_mut() {
            Some(last) if last.len() < Self::PER_PIECE => last.push(item),
            _ => {
                let mut piece = Vec::with_capacity(Self::PER_PIECE);
                piece.push(item);
                self.pieces.push(piece);
            }
        }
        index
    }

    /// Appends what `make` gives until `index` exists.
    pub(crate) fn reach(&mut self, index: usize, mut make: impl FnMut() -> T) {
        for _ in self.len()..=index {
            self.push(make());
        }
    }

    /// Returns the item at `index`.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.pieces.get(index >> Self::SHIFT)?.get(index & (Self::PER_PIECE - 1))
    }

    /// Returns the item at `index`, to change it.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pieces.get_mut(index >> Self::SHIFT)?.get_mut(index & (Self::PER_PIECE - 1))
    }

    /// Returns all items in the order of their indexes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }
}

impl<T> Index<usize> for Chunked<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.pieces[index >> Self::SHIFT][index & (Self::PER_PIECE - 1)]
    }
}

impl<T> IndexMut<usize> for Chunked<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.pieces[index >> Self::SHIFT][index & (Self::PER_PIECE - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_where_they_were_put_and_never_move() {
        let mut table = Chunked::default();
        let mut addresses = Vec::new();
        for item in 0..5_000_u32 {
            assert_eq!(table.push(item), item as usize);
            addresses.push(std::ptr::from_ref(&table[item as usize]));
        }
        assert_eq!(table.len(), 5_000);
        assert!(table.iter().copied().eq(0..5_000));
        for (item, address) in addresses.iter().enumerate() {
            assert_eq!(table.get(item).map(std::ptr::from_ref), Some(*address));
        }
        table[4_999] += 1;
        assert_eq!((table.get_mut(4_999).copied(), table.get(5_000)), (Some(5_000), None));
    }

    #[test]
    fn what_lies_between_is_filled_up() {
        let mut table = Chunked::default();
        table.reach(300, || [7_u8; 100]);
        table.reach(2, || [8_u8; 100]);
        assert_eq!(table.len(), 301);
        assert!(table.iter().all(|item| item[0] == 7));
    }

    #[test]
    fn at_most_one_piece_is_held_for_nobody() {
        let mut table = Chunked::default();
        for _ in 0..1_000 {
            table.push([0_u8; 200]);
            let held: usize = table.pieces.iter().map(Vec::capacity).sum();
            assert!((held - table.len()) * 200 < PIECE_BYTES);
        }
    }
}
