//! Readiness from epoll, edge-triggered like the ring's; and the few libc calls beside it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{COALESCE_EVENTS, Interest, Poller, Ready, Token, Wait, bits, ready};

/// Events taken by one system call: 12 bytes each.
const EVENTS: usize = 256;

/// An epoll instance.
pub struct Epoll {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
}

impl Epoll {
    /// Makes an epoll instance.
    ///
    /// # Errors
    /// The kernel's: no descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call above made `fd` and nobody else knows it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS].into() })
    }

    fn collect(&mut self, timeout_ms: libc::c_int, into: &mut Vec<Ready>) -> io::Result<usize> {
        // SAFETY: the kernel writes at most EVENTS entries into `events`, which holds as many and
        // is borrowed for the whole call.
        let taken = check(unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                timeout_ms,
            )
        });
        let taken = match taken {
            Ok(taken) => usize::try_from(taken).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        into.extend(
            self.events.iter().take(taken).map(|event| ready(Token(event.u64), event.events)),
        );
        Ok(taken)
    }
}

impl Poller for Epoll {
    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        #[allow(clippy::cast_sign_loss, reason = "a bit from a header that declares it signed")]
        let mut event =
            libc::epoll_event { events: bits(interest) | libc::EPOLLET as u32, u64: token.0 };
        // SAFETY: `event` lives through the call, which only reads it.
        check(unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
        })?;
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, _token: Token) {
        // SAFETY: deletion takes no event; a null pointer is allowed since Linux 2.6.9.
        let removed = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut())
        };
        assert_eq!(removed, 0, "only what was added is removed");
    }

    fn wait(&mut self, wait: Wait, into: &mut Vec<Ready>) -> io::Result<()> {
        let timeout_ms = match wait.at_most_ns {
            None => -1,
            // Rounded up, or a deadline within the millisecond would be waited for by spinning.
            Some(ns) => libc::c_int::try_from(ns.div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX),
        };
        let taken = self.collect(timeout_ms, into)?;
        if wait.coalesce_us > 0 && taken > 0 && taken < COALESCE_EVENTS {
            std::thread::sleep(Duration::from_micros(u64::from(wait.coalesce_us)));
            self.collect(0, into)?;
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "epoll"
    }
}

/// Makes an event counter that never blocks.
///
/// # Errors
/// The kernel's: no descriptor or no memory left.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the call above made `fd` and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins the calling thread to one core.
///
/// # Errors
/// The kernel's: the core does not exist or this process may not use it.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a CPU set of zeros is a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE (checked above), so the bit lies inside `set`.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` lives through the call, which reads as many bytes as it is long.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })?;
    Ok(())
}

/// Lets the calling thread run only where no other wants to; it cannot come forward again.
///
/// It has the last place in the queue, never takes a core from who runs, and gives its own back
/// after a tenth of a millisecond: since Linux 6.6 who runs is left alone for its slice even when
/// somebody with a better place wakes up. Not `SCHED_IDLE`, which a machine under full load would
/// never let finish.
///
/// # Errors
/// The kernel's; none is expected, as anybody may step back.
pub fn step_back() -> io::Result<()> {
    const SIZE: libc::c_uint = size_of::<libc::sched_attr>() as libc::c_uint;
    let attributes = libc::sched_attr {
        size: SIZE,
        sched_policy: libc::SCHED_BATCH as libc::c_uint,
        sched_flags: 0,
        sched_nice: 19,
        sched_priority: 0,
        // Of a thread that is not of real time this is the slice; kernels before 6.12 ignore it.
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: thread 0 is the caller; `attributes` lives through the call, which reads as many
    // bytes as it says it is long.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0_u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The shortest slice the kernel gives.
const SLICE_NS: u64 = 100_000;

/// Lets this process open `wanted` descriptors, as far as its hard limit goes; returns how many it
/// may open from here on. Never lowers the limit.
///
/// # Errors
/// The kernel's; none is expected for a value within the hard limit.
pub fn raise_descriptors(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through the call, which writes one `rlimit` to it.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let raised = wanted.min(limit.rlim_max);
    if raised > limit.rlim_cur {
        limit.rlim_cur = raised;
        // SAFETY: `limit` lives through the call, which reads one `rlimit` from it.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(limit.rlim_cur)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
