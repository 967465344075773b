//! Waking a shard that waits, from another thread.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// An eventfd with a flag that keeps wakers from writing to it more than once.
///
/// The order is the whole point, and `shard::mailbox` has it checked by loom: a waker *first*
/// leaves its work where the shard will find it, *then* calls [`Waker::wake`]; a woken shard
/// *first* calls [`Waker::rearm`], *then* looks for work.
#[derive(Debug)]
pub struct Waker {
    signalled: AtomicBool,
    event: std::fs::File,
}

impl Waker {
    /// Makes a waker that nobody has used.
    ///
    /// # Errors
    /// The kernel's: no descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        let event = std::fs::File::from(super::epoll::eventfd()?);
        Ok(Self { signalled: AtomicBool::new(false), event })
    }

    /// Makes the shard's wait end, unless somebody has done so since its last look.
    pub fn wake(&self) {
        if !self.signalled.swap(true, Ordering::SeqCst) {
            // It fails only when the counter would pass 2^64 - 2, and then it is readable anyway.
            let _ = (&self.event).write(&1u64.to_ne_bytes());
        }
    }

    /// Lets the next [`Waker::wake`] through. The shard calls it before it looks for work.
    ///
    /// The counter is not read: every write is an edge of its own.
    pub fn rearm(&self) {
        self.signalled.store(false, Ordering::SeqCst);
    }

    /// Returns the descriptor to poll for reading.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
