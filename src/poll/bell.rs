//! The flag that keeps a crowd of wakers from making a system call each.
//!
//! The order is the whole point: a waker *first* leaves its work where the sleeper will find it,
//! *then* rings; the sleeper *first* rearms, *then* looks for work. Whatever it then misses was
//! left after the look, so its ring came after the rearming and is heard. `tests/loom` goes
//! through every interleaving of this file.

use super::sync::{AtomicBool, Ordering};

/// Rung or not, since the sleeper last looked.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
}

/// What a ring asks of the one who rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rang {
    /// The sleeper has to be signalled.
    First,
    /// Somebody else has done so since it last looked.
    Again,
}

impl Bell {
    /// Makes a bell that nobody has rung.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { rung: AtomicBool::new(false) }
    }

    /// Rings it. Work must lie where the sleeper will find it before this is called.
    pub(crate) fn ring(&self) -> Rang {
        if self.rung.swap(true, Ordering::SeqCst) { Rang::Again } else { Rang::First }
    }

    /// Lets the next ring be a first one. The sleeper calls it before it looks for work.
    pub(crate) fn rearm(&self) {
        // A swap, not a store: it must see every ring before it, and with it the work.
        self.rung.swap(false, Ordering::SeqCst);
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}
