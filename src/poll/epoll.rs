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
/// It has the last place in the queue and never takes a core from who runs. Not `SCHED_IDLE`, which
/// a machine under full load would never let finish.
///
/// # Errors
/// The kernel's; none is expected, as anybody may step back.
pub fn step_back() -> io::Result<()> {
    schedule(libc::SCHED_BATCH, NICE_LAST, 0)
}

/// Lets the calling thread have a core as soon as something wakes it, at the priority it has.
///
/// Since Linux 6.6 who runs is left alone for its slice, and then until the next tick, which is
/// 4 ms of waiting for a thread that wakes up beside a log writer. Since Linux 6.12 a thread of a
/// shorter slice is an exception, and so the calling thread gets the shortest that there is.
/// Kernels before that take no notice.
///
/// # Errors
/// The kernel's; none is expected, as nobody's priority is raised.
pub fn wake_promptly() -> io::Result<()> {
    let now = scheduling()?;
    // A thread of real time waits for nobody's slice.
    if now.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    schedule(libc::SCHED_OTHER, now.sched_nice, SLICE_NS)
}

/// Gives the calling thread a tenth of the weight that it has, for work that others should not
/// wait for and that must not be left undone either.
///
/// Of a core that somebody of the old weight keeps busy it still gets a tenth. Of equal weight it
/// would be due a half, and whoever has had more than that must wait when it wakes up.
///
/// # Errors
/// The kernel's; none is expected, as anybody may step back.
pub fn give_way() -> io::Result<()> {
    let now = scheduling()?;
    if now.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    schedule(libc::SCHED_OTHER, (now.sched_nice + NICE_TENTH).min(NICE_LAST), 0)
}

/// What is added to a nice value for a tenth of the weight: 1.25 to a step (sched(7)).
const NICE_TENTH: i32 = 10;

/// The last place in the queue.
const NICE_LAST: i32 = 19;

/// Returns how the calling thread is scheduled.
fn scheduling() -> io::Result<libc::sched_attr> {
    // SAFETY: zeros are a valid value of this structure of integers.
    let mut now: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: thread 0 is the caller; `now` lives through the call, which writes at most as many
    // bytes as it is told.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, SCHED_ATTR_SIZE, 0_u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(now) }
}

const SCHED_ATTR_SIZE: libc::c_uint = size_of::<libc::sched_attr>() as libc::c_uint;

/// The shortest slice the kernel gives.
const SLICE_NS: u64 = 100_000;

/// Schedules the calling thread by `policy` and `nice`; a slice of 0 is the kernel's own.
fn schedule(policy: libc::c_int, nice: i32, slice_ns: u64) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: SCHED_ATTR_SIZE,
        sched_policy: policy as libc::c_uint,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        // Of a thread that is not of real time this is the slice; kernels before 6.12 ignore it.
        sched_runtime: slice_ns,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: thread 0 is the caller; `attributes` lives through the call, which reads as many
    // bytes as it says it is long.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0_u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

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
