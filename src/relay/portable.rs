//! The datagram path over a readiness poller: a batch from each socket that has something, and one
//! call for all that leaves by one socket.

use std::io;
use std::os::fd::RawFd;

use super::plane::{BELL, Came, Outgoing, Plane, Woken};
use super::ring::slots::Slots;
use super::ring::trains::Trains;
use super::serve::Served;
use crate::limits;
use crate::poll::{Interest, Poller, Ready, Token, Wait};
use crate::time::{Clock, Now};

/// A poller, memory for datagrams, and what waits to be sent.
pub(super) struct Portable<P> {
    poller: P,
    slots: Slots,
    /// Slots in use, from the first one on.
    used: usize,
    outgoing: Outgoing,
    ready: Vec<Ready>,
    /// Sockets that had more than one turn serves.
    again: Vec<Token>,
}

impl<P: Poller> Portable<P> {
    /// Watches the bell and everything that `served` has.
    pub(super) fn new(poller: P, bell: RawFd, served: &Served, trains: Trains) -> io::Result<Self> {
        let mut plane = Self {
            poller,
            slots: Slots::new(Slots::COUNT, trains),
            used: 0,
            outgoing: Outgoing::new(),
            ready: Vec::new(),
            again: Vec::new(),
        };
        plane.begin(bell, served)?;
        Ok(plane)
    }

    /// Receives from one socket, at most [`limits::RELAY_DATAGRAMS_PER_TURN_MAX`].
    fn serve(
        &mut self,
        now: Now,
        token: Token,
        socket: u32,
        served: &mut Served,
    ) -> io::Result<()> {
        let Some(fd) = served.sockets.fd(socket) else { return Ok(()) };
        let mut asked = limits::RELAY_FIRST_BATCH;
        let mut came = 0;
        while came < limits::RELAY_DATAGRAMS_PER_TURN_MAX {
            if self.used == Slots::COUNT {
                self.flush(served)?;
            }
            let most = asked.min(Slots::COUNT - self.used);
            let received = match self.slots.receive(fd, self.used, most) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // An error that the kernel kept for the socket; it is gone with its telling.
                Err(_) => 0,
            };
            let first = self.used;
            self.used += received;
            came += received.max(1);
            for slot in first..first + received {
                let received = self.slots.received(slot);
                let came = received.map(|received| Came { socket, slot: slot as u16, received });
                self.judge(now, came, served)?;
            }
            if received > 0 && received < most {
                return Ok(());
            }
            asked = (asked * 4).min(limits::RELAY_BATCH_MAX);
        }
        self.again.push(token);
        Ok(())
    }
}

impl<P: Poller> Plane for Portable<P> {
    fn name(&self) -> &'static str {
        self.poller.name()
    }

    fn turn(&mut self, wait: Wait, clock: &Clock, served: &mut Served) -> io::Result<(Now, Woken)> {
        let wait = if self.again.is_empty() { wait } else { Wait { at_most_ns: Some(0), ..wait } };
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(wait, &mut ready)?;
        let now = clock.now();
        let mut woken = Woken::Otherwise;
        // What was left comes after what is new only in this list, and has its own bound.
        let left = std::mem::take(&mut self.again);
        for token in left.into_iter().chain(ready.drain(..).map(|ready| ready.token)) {
            if token == BELL {
                woken = Woken::ByBell;
            } else if let Some(number) = served.sockets.named(token) {
                self.serve(now, token, number, served)?;
            } else {
                self.stream(now, token, served)?;
            }
        }
        self.ready = ready;
        self.settle(now, served)?;
        Ok((now, woken))
    }

    fn outgoing(&mut self) -> (&mut Outgoing, &mut Slots) {
        (&mut self.outgoing, &mut self.slots)
    }

    fn receive_by(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.poller.add(fd, token, Interest::Read)
    }

    fn watch(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.poller.add(fd, token, interest)
    }

    fn forget(&mut self, fd: RawFd, token: Token) {
        self.poller.remove(fd, token);
    }

    fn closed(&mut self) {
        // At once: the ring runs no more than some twenty pieces of work in one call.
        self.poller.settle();
    }

    fn again(&mut self, token: Token) {
        self.again.push(token);
    }

    fn flush(&mut self, served: &mut Served) -> io::Result<()> {
        self.outgoing.send(&mut self.slots, served);
        self.used = 0;
        Ok(())
    }
}
