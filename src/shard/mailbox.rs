//! Mail from one shard to one other: bounded, with room kept free for answers that were promised.
//!
//! ```text
//!             capacity = room + reserved
//!   requests, provisionals ──> take a credit of `room`;       none left: refused
//!   finals, "not delivered" ─> place reserved by the request: always there
//! ```
//!
//! The credits of `room` are the sender's to take and the receiver's to give back. Who may use the
//! other part is counted by the shard that asked (see [`super::reservations`]): it never has more
//! requests out than there are places, so an answer never meets a full box and no shard waits for
//! another. `tests/loom` goes through the interleavings of this file.

use super::sync::{AtomicUsize, Ordering, Queue};

/// The box of one sender at one receiver.
pub(crate) struct PostBox<T> {
    queue: Queue<Item<T>>,
    room: AtomicUsize,
}

enum Item<T> {
    /// Took a credit, which is given back when it is taken out.
    Counted(T),
    /// Came into a reserved place.
    Reserved(T),
}

impl<T> PostBox<T> {
    /// Makes an empty box for `room` items that nobody asked for and `reserved` answers.
    #[must_use]
    pub(crate) fn new(room: usize, reserved: usize) -> Self {
        Self { queue: Queue::new(room + reserved), room: AtomicUsize::new(room) }
    }

    /// Posts if there is room. Only the sender calls it.
    ///
    /// # Errors
    /// Gives the item back if there is none.
    pub(crate) fn post(&self, item: T) -> Result<(), T> {
        // Only this thread takes credits, so what is seen here cannot become less.
        if self.room.load(Ordering::Acquire) == 0 {
            return Err(item);
        }
        self.room.fetch_sub(1, Ordering::AcqRel);
        self.push(Item::Counted(item)).inspect_err(|_| {
            self.room.fetch_add(1, Ordering::AcqRel);
        })
    }

    /// Posts into a place that the receiver reserved. Only the sender calls it.
    ///
    /// # Errors
    /// Gives the item back if the box is full, which takes more answers than were asked for.
    pub(crate) fn post_reserved(&self, item: T) -> Result<(), T> {
        self.push(Item::Reserved(item))
    }

    /// Takes the oldest item. Only the receiver calls it.
    pub(crate) fn take(&self) -> Option<T> {
        match self.queue.pop()? {
            Item::Counted(item) => {
                self.room.fetch_add(1, Ordering::AcqRel);
                Some(item)
            }
            Item::Reserved(item) => Some(item),
        }
    }

    fn push(&self, item: Item<T>) -> Result<(), T> {
        self.queue.push(item).map_err(|item| match item {
            Item::Counted(item) | Item::Reserved(item) => item,
        })
    }
}

impl<T> std::fmt::Debug for PostBox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostBox").field("room", &self.room).finish_non_exhaustive()
    }
}
