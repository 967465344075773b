//! Waking a shard that waits, from another thread.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};

use super::bell::{Bell, Rang};

/// An eventfd behind a `Bell`.
#[derive(Debug)]
pub struct Waker {
    bell: Bell,
    event: std::fs::File,
}

impl Waker {
    /// Makes a waker that nobody has used.
    ///
    /// # Errors
    /// The kernel's: no descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { bell: Bell::new(), event: std::fs::File::from(super::epoll::eventfd()?) })
    }

    /// Ends the shard's wait, unless somebody has done so since it last looked for work.
    ///
    /// The work must lie where the shard will find it before this is called.
    pub fn wake(&self) {
        if self.bell.ring() == Rang::First {
            // It fails only when the counter would pass 2^64 - 2, and then it is readable anyway.
            let _ = (&self.event).write(&1u64.to_ne_bytes());
        }
    }

    /// Lets the next [`Waker::wake`] through. The shard calls it before it looks for work.
    ///
    /// The counter is never read: to an edge-triggered poller every write is an edge of its own.
    pub fn rearm(&self) {
        self.bell.rearm();
    }

    /// Returns the descriptor to poll for reading.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
