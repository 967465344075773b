//! Doubly linked lists threaded through a slab by index: one FIFO per timer class, one list per
//! outgoing connection, one per peer. Insert, remove and move-to-tail are O(1) and allocate nothing.

/// No neighbour.
pub(crate) const NONE: u32 = u32::MAX;

/// One item's place in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    previous: u32,
    next: u32,
}

impl Links {
    pub(crate) const LOOSE: Self = Self { previous: NONE, next: NONE };
}

/// Head and tail of one list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

/// What holds the items: gives the links of item `index` in the kind of list at hand.
pub(crate) trait Linked {
    fn links(&mut self, index: u32) -> &mut Links;
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }
}

impl List {
    pub(crate) const fn head(&self) -> Option<u32> {
        if self.head == NONE { None } else { Some(self.head) }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Appends an item that is in no list of this kind.
    pub(crate) fn push(&mut self, items: &mut impl Linked, index: u32) {
        let previous = self.tail;
        *items.links(index) = Links { previous, next: NONE };
        if previous == NONE {
            self.head = index;
        } else {
            items.links(previous).next = index;
        }
        self.tail = index;
        self.len += 1;
    }

    /// Takes out an item that is in this list.
    pub(crate) fn remove(&mut self, items: &mut impl Linked, index: u32) {
        let Links { previous, next } = *items.links(index);
        if previous == NONE {
            assert_eq!(self.head, index, "an item without a predecessor is the head of its list");
            self.head = next;
        } else {
            items.links(previous).next = next;
        }
        if next == NONE {
            self.tail = previous;
        } else {
            items.links(next).previous = previous;
        }
        *items.links(index) = Links::LOOSE;
        assert!(self.len > 0, "removed from an empty list");
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Linked for Vec<Links> {
        fn links(&mut self, index: u32) -> &mut Links {
            &mut self[index as usize]
        }
    }

    fn drain(list: &mut List, items: &mut Vec<Links>) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(index) = list.head() {
            list.remove(items, index);
            order.push(index);
        }
        order
    }

    #[test]
    fn items_leave_in_the_order_they_came() {
        let mut items = vec![Links::LOOSE; 4];
        let mut list = List::default();
        (0..4).for_each(|index| list.push(&mut items, index));
        assert_eq!(drain(&mut list, &mut items), [0, 1, 2, 3]);
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn an_item_leaves_from_anywhere_and_may_come_back_last() {
        let mut items = vec![Links::LOOSE; 3];
        for victim in 0..3 {
            let mut list = List::default();
            (0..3).for_each(|index| list.push(&mut items, index));
            list.remove(&mut items, victim);
            list.push(&mut items, victim);
            let order = drain(&mut list, &mut items);
            assert_eq!(order.last(), Some(&victim));
            assert_eq!(order.len(), 3);
        }
    }
}
