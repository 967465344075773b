//! The datagram path over the ring that lends slots: no call per socket, and none to learn that a
//! socket is empty.

use std::io;
use std::os::fd::RawFd;

use super::plane::{self, BELL, Outgoing, Plane, Woken};
use super::ring::slots::Slots;
use super::ring::uring::{Came, Ring, Watch};
use super::serve::Served;
use crate::limits;
use crate::poll::{Interest, Token, Wait, bits};
use crate::time::{Clock, Now};

/// A ring, and what waits to be sent from its slots.
pub(super) struct Multishot {
    ring: Ring,
    came: Vec<Came>,
    /// Slots that are ours until what is in them has been sent.
    held: Vec<u16>,
    outgoing: Outgoing,
    /// Streams that had more than one turn serves.
    again: Vec<Token>,
    /// Whether completions are left.
    left: bool,
}

impl Multishot {
    /// Watches the bell and everything that `served` has.
    pub(super) fn new(ring: Ring, bell: RawFd, served: &Served) -> io::Result<Self> {
        let mut plane = Self {
            ring,
            came: Vec::with_capacity(Slots::COUNT),
            held: Vec::with_capacity(Slots::COUNT),
            outgoing: Outgoing::new(),
            again: Vec::new(),
            left: false,
        };
        plane.begin(bell, served)?;
        Ok(plane)
    }

    /// Serves one batch; tells whether more is there.
    fn batch(&mut self, now: Now, served: &mut Served, woken: &mut Woken) -> io::Result<bool> {
        let mut came = std::mem::take(&mut self.came);
        let more = self.ring.take(&mut came, Slots::COUNT);
        for Came { token, slot } in came.drain(..) {
            match slot {
                Some(slot) => {
                    self.held.push(slot);
                    if let Some(socket) = served.sockets.named(token) {
                        let received = self.ring.received(slot);
                        let came = received.map(|received| plane::Came { socket, slot, received });
                        self.judge(now, came, served)?;
                    }
                }
                None if token == BELL => *woken = Woken::ByBell,
                None => self.stream(now, token, served)?,
            }
        }
        self.came = came;
        self.flush(served)?;
        Ok(more)
    }
}

impl Plane for Multishot {
    fn name(&self) -> &'static str {
        "io_uring with multishot receive"
    }

    fn turn(&mut self, wait: Wait, clock: &Clock, served: &mut Served) -> io::Result<(Now, Woken)> {
        let busy = self.left || !self.again.is_empty();
        let wait = if busy { Wait { at_most_ns: Some(0), ..wait } } else { wait };
        self.ring.wait(wait)?;
        let now = clock.now();
        let mut woken = Woken::Otherwise;
        for token in std::mem::take(&mut self.again) {
            self.stream(now, token, served)?;
        }
        self.left = true;
        for _ in 0..limits::RELAY_BATCHES_PER_TURN {
            self.left = self.batch(now, served, &mut woken)?;
            if !self.left {
                break;
            }
        }
        self.settle(now, served)?;
        Ok((now, woken))
    }

    fn outgoing(&mut self) -> (&mut Outgoing, &mut Slots) {
        (&mut self.outgoing, self.ring.slots())
    }

    fn receive_by(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.ring.add(fd, token, Watch::Datagrams)
    }

    fn watch(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.ring.add(fd, token, Watch::Readiness(bits(interest)))
    }

    fn forget(&mut self, _: RawFd, token: Token) {
        self.ring.remove(token);
    }

    fn again(&mut self, token: Token) {
        self.again.push(token);
    }

    fn flush(&mut self, served: &mut Served) -> io::Result<()> {
        self.outgoing.send(self.ring.slots(), served);
        for slot in self.held.drain(..) {
            self.ring.give(slot);
        }
        self.ring.lend()
    }
}
