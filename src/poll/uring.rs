//! Readiness from an own io_uring: one multishot poll per descriptor.
//!
//! ```text
//!   add ──> PollAdd(multi) ──┐                       ┌──> completion (more)  ──> Ready
//!                            ├─ io_uring_enter ──────┤
//!   remove ─> AsyncCancel ───┘  submits and waits    └──> completion (last)  ──> Ready, armed anew
//! ```
//!
//! The ring is SINGLE_ISSUER and DEFER_TASKRUN: completions are made when this thread asks for
//! them and never interrupt it. A multishot poll ends by itself when the completion queue
//! overflows; its last completion lacks the "more" flag, and it is armed again, which looks at the
//! descriptor once and so loses no edge.
//!
//! Multishot receive from a ring of lent buffers was measured beside it
//! (`benches/record/epyc-2vcpu/2026-11-22-shell.csv`) and was not better beyond the noise of that
//! machine; it would lend buffers to the kernel for idle legs, so readiness it is.

use std::io;
use std::os::fd::RawFd;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::{COALESCE_EVENTS, Interest, Poller, Ready, Token, Wait, bits, ready};

/// Entries that can wait for one submission: 64 bytes each.
const SUBMISSIONS: u32 = 1024;
/// Completions that can wait for one turn, 16 bytes each; more are kept by the kernel.
const COMPLETIONS: u32 = 8192;

/// The ring, and what is armed on it.
pub struct Uring {
    ring: IoUring,
    armed: HashMap<Token, Armed, RandomState>,
}

#[derive(Clone, Copy)]
struct Armed {
    fd: RawFd,
    bits: u32,
}

impl Uring {
    /// Makes a ring that belongs to the calling thread.
    ///
    /// # Errors
    /// The kernel's: io_uring forbidden (`kernel.io_uring_disabled`, a container's seccomp rules),
    /// too old for the flags (before 6.1), or out of memory.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // Lets a look without waiting see that deferred work exists.
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        Ok(Self { ring, armed: HashMap::default() })
    }

    fn arm(&mut self, token: Token, armed: Armed) -> io::Result<()> {
        let entry = opcode::PollAdd::new(types::Fd(armed.fd), armed.bits).multi(true).build();
        self.push(&entry.user_data(token.0))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the entries made here are PollAdd and AsyncCancel; neither refers to memory, so
        // there is nothing that would have to outlive the operation.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        self.ring.submit()?;
        // SAFETY: as above.
        unsafe { self.ring.submission().push(entry) }.map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    /// Takes what has completed; those whose poll has ended go to `ended`.
    fn reap(&mut self, into: &mut Vec<Ready>, ended: &mut Vec<Token>) {
        for completion in self.ring.completion() {
            let token = Token(completion.user_data());
            if token == Token::NOBODY {
                continue;
            }
            if !cqueue::more(completion.flags()) {
                ended.push(token);
            }
            match u32::try_from(completion.result()) {
                Ok(bits) => into.push(ready(token, bits)),
                // Cancelled because we removed it: its token is not in `armed` any more. Anything
                // else is reported as broken, and its owner finds out by reading.
                Err(_) if self.armed.contains_key(&token) => {
                    into.push(Ready { token, readable: true, writable: true, hangup: true });
                }
                Err(_) => {}
            }
        }
    }
}

impl Poller for Uring {
    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let armed = Armed { fd, bits: bits(interest) };
        self.arm(token, armed)?;
        let before = self.armed.insert(token, armed);
        assert!(before.is_none(), "a token names one descriptor");
        Ok(())
    }

    fn remove(&mut self, _fd: RawFd, token: Token) {
        let armed = self.armed.remove(&token);
        assert!(armed.is_some(), "only what was added is removed");
        // Not PollRemove: it gives up (EALREADY) on a poll whose event is just under way, which
        // would then go on for ever and hold the file open. AsyncCancel marks such a poll.
        let entry = opcode::AsyncCancel::new(token.0).build().user_data(Token::NOBODY.0);
        let pushed = self.push(&entry);
        assert!(pushed.is_ok(), "a submission makes room for one entry");
    }

    /// A poll holds its file open until its cancellation has run, so a listener that was closed
    /// would go on accepting until the next wait. The first call cancels, the second runs what the
    /// cancellation left for this thread.
    fn settle(&mut self) {
        for _ in 0..2 {
            // What fails here is tried again by the next wait, which tells.
            let _ = self.ring.submit();
        }
    }

    fn wait(&mut self, wait: Wait, into: &mut Vec<Ready>) -> io::Result<()> {
        enter(&self.ring, wait)?;
        let mut ended = Vec::new();
        self.reap(into, &mut ended);
        for token in ended {
            if let Some(armed) = self.armed.get(&token).copied() {
                self.arm(token, armed)?;
            }
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

/// Submits what was pushed to `ring`, and waits as `wait` says.
///
/// # Errors
/// The kernel's; a signal and the end of the time are none.
pub(crate) fn enter(ring: &IoUring, wait: Wait) -> io::Result<()> {
    let entered = match wait {
        Wait { at_most_ns: Some(0), .. } => ring.submit(),
        Wait { at_most_ns: None, coalesce_us: 0 } => ring.submit_and_wait(1),
        Wait { at_most_ns, coalesce_us } => {
            // An hour stands for ever: the minimum wait needs a time-out beside it.
            let ns = at_most_ns.unwrap_or(3_600_000_000_000);
            let at_most =
                types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
            let args = types::SubmitArgs::new().timespec(&at_most);
            if coalesce_us == 0 {
                ring.submitter().submit_with_args(1, &args)
            } else {
                let args = args.min_wait_usec(coalesce_us);
                ring.submitter().submit_with_args(COALESCE_EVENTS, &args)
            }
        }
    };
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            // A signal; the time passed; completions wait in the kernel and come out below.
            Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
