//! Readiness told by a test or a simulation, in the order it was told.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use super::{Interest, Poller, Ready, Token, Wait};

/// A poller without a kernel. Descriptors are numbers whose meaning only the simulation knows.
#[derive(Default)]
pub struct Sim {
    shared: Rc<RefCell<Shared>>,
}

/// The simulation's end of a [`Sim`].
#[derive(Clone, Default)]
pub struct Signals {
    shared: Rc<RefCell<Shared>>,
}

#[derive(Default)]
struct Shared {
    added: BTreeMap<RawFd, (Token, Interest)>,
    ready: VecDeque<Ready>,
}

/// What happened to a simulated descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// There is something to read.
    Readable,
    /// There is room to write.
    Writable,
    /// The other end is gone.
    Hangup,
}

impl Sim {
    /// Makes a poller and the end by which it is told.
    #[must_use]
    pub fn new() -> (Self, Signals) {
        let shared = Rc::<RefCell<Shared>>::default();
        (Self { shared: Rc::clone(&shared) }, Signals { shared })
    }
}

impl Signals {
    /// Reports `signal` on `fd`, if anybody waits for it.
    pub fn signal(&self, fd: RawFd, signal: Signal) {
        let mut shared = self.shared.borrow_mut();
        let Some((token, interest)) = shared.added.get(&fd).copied() else { return };
        let (readable, writable, hangup) = match signal {
            Signal::Readable => (true, false, false),
            Signal::Writable if interest == Interest::Read => return,
            Signal::Writable => (false, true, false),
            Signal::Hangup => (true, true, true),
        };
        shared.ready.push_back(Ready { token, readable, writable, hangup });
    }

    /// Returns how many descriptors are added.
    #[must_use]
    pub fn added(&self) -> usize {
        self.shared.borrow().added.len()
    }

    /// Returns whether a wait would return at once.
    #[must_use]
    pub fn pending(&self) -> bool {
        !self.shared.borrow().ready.is_empty()
    }
}

impl Poller for Sim {
    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let mut shared = self.shared.borrow_mut();
        let before = shared.added.insert(fd, (token, interest));
        assert!(before.is_none(), "a descriptor is added once");
        // What is ready already cannot be known here; a spurious report is allowed.
        let writable = interest == Interest::ReadWrite;
        shared.ready.push_back(Ready { token, readable: true, writable, hangup: false });
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) {
        let removed = self.shared.borrow_mut().added.remove(&fd);
        assert_eq!(removed.map(|(token, _)| token), Some(token), "only what was added is removed");
    }

    fn wait(&mut self, _wait: Wait, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.extend(self.shared.borrow_mut().ready.drain(..));
        Ok(())
    }

    fn name(&self) -> &'static str {
        "sim"
    }
}
