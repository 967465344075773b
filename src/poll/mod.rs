//! Readiness: which descriptors may be read or written, and nothing else.
//!
//! A [`Poller`] says that a descriptor *became* ready; the kernel never owns a buffer of ours
//! (DESIGN 3a). All three forms are edge-triggered, so their user must read until the kernel says
//! "would block" (or a stream gave fewer bytes than asked for, see
//! [`Stream::SHORT_READ_DRAINS`](crate::shard::Stream::SHORT_READ_DRAINS)) and remember for itself
//! what it left unread.
//!
//! * [`uring`]: multishot poll on an own ring; the first choice.
//! * [`epoll`]: where the kernel or a container forbids io_uring.
//! * [`sim`]: readiness told by a test.

use std::io;
use std::os::fd::RawFd;

mod bell;
#[allow(
    unsafe_code,
    reason = "libc: epoll, eventfd and sched_setaffinity have no safe form in std"
)]
pub mod epoll;
pub mod sim;
#[allow(unsafe_code, reason = "pushing entries to the ring is unsafe by its nature")]
pub mod uring;
mod wake;

pub use wake::Waker;

/// Where [`bell`] takes its atomics from; `tests/loom` has another.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering};
}

/// Names a descriptor in what [`Poller::wait`] reports; chosen by the caller, unique while added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

impl Token {
    /// Not to be used by callers: completions nobody waits for carry it.
    pub const NOBODY: Self = Self(u64::MAX);
}

/// What to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read or accept, and the peer's hang-up.
    Read,
    /// The same, and room to write.
    ///
    /// Costs nothing while there is room: the kernel reports room only after a write met none.
    ReadWrite,
}

/// A descriptor that became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// As given to [`Poller::add`]. May be stale: removal and report can cross.
    pub token: Token,
    /// There may be something to read.
    pub readable: bool,
    /// There may be room to write, or a connection attempt has ended.
    pub writable: bool,
    /// The peer sent its last byte or the connection broke: a short read does not mean drained.
    pub hangup: bool,
}

/// How long to wait, and for how much company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Nanoseconds after which to return empty-handed; zero looks without waiting, `None` waits
    /// for ever.
    pub at_most_ns: Option<u64>,
    /// Microseconds to wait for more events before returning with the first; 0 turns it off.
    pub coalesce_us: u32,
}

/// Events that end a coalescing wait early.
pub const COALESCE_EVENTS: usize = 16;

/// Tells when descriptors become ready. One thread owns it.
pub trait Poller {
    /// Reports `fd` from here on under `token`; what is ready at this moment is reported too.
    ///
    /// # Errors
    /// The kernel's, when it has no memory or the descriptor cannot be polled.
    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()>;

    /// Stops reporting. Must come before the descriptor is closed.
    fn remove(&mut self, fd: RawFd, token: Token);

    /// Lets go of every descriptor that was removed; without it, that happens with the next wait.
    fn settle(&mut self) {}

    /// Waits and appends what became ready.
    ///
    /// Returns early and empty when a signal comes.
    /// # Errors
    /// The kernel's; none of them is expected and none can be mended by trying again.
    fn wait(&mut self, wait: Wait, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Returns the name for the log and the metrics.
    fn name(&self) -> &'static str;
}

/// Which poller to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The ring where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// The ring, or do not start.
    IoUring,
    /// epoll.
    Epoll,
}

/// Folds the kernel's poll bits, which epoll and the ring share, into a [`Ready`].
fn ready(token: Token, bits: u32) -> Ready {
    #[allow(clippy::cast_sign_loss, reason = "bits from a header that declares them signed")]
    const fn bit(of: libc::c_int) -> u32 {
        of as u32
    }
    let broken = bits & (bit(libc::EPOLLHUP) | bit(libc::EPOLLERR)) != 0;
    Ready {
        token,
        readable: broken || bits & (bit(libc::EPOLLIN) | bit(libc::EPOLLRDHUP)) != 0,
        writable: broken || bits & bit(libc::EPOLLOUT) != 0,
        hangup: broken || bits & bit(libc::EPOLLRDHUP) != 0,
    }
}

/// Returns the kernel's poll bits for `interest`.
pub(crate) fn bits(interest: Interest) -> u32 {
    #[allow(clippy::cast_sign_loss, reason = "bits from a header that declares them signed")]
    match interest {
        Interest::Read => (libc::EPOLLIN | libc::EPOLLRDHUP) as u32,
        Interest::ReadWrite => (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLOUT) as u32,
    }
}

#[cfg(test)]
mod tests;
