//! The datagram path over a readiness poller: a batch from each socket that has something, and one
//! call for all that leaves by one socket.

use std::io;
use std::os::fd::RawFd;

use super::frames::Left;
use super::plane::{BELL, Came, Judged, Outgoing, Plane, Woken};
use super::ring::slots::Slots;
use super::ring::trains::Trains;
use super::serve::{Change, Served};
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
    /// Watches the bell and every socket of `served`.
    pub(super) fn new(
        mut poller: P,
        bell: RawFd,
        served: &Served,
        trains: Trains,
    ) -> io::Result<Self> {
        poller.add(bell, BELL, Interest::Read)?;
        let mut plane = Self {
            poller,
            slots: Slots::new(Slots::COUNT, trains),
            used: 0,
            outgoing: Outgoing::new(),
            ready: Vec::new(),
            again: Vec::new(),
        };
        for number in served.sockets.numbers() {
            plane.watch(served, number)?;
        }
        for (fd, token) in served.streams.doors() {
            plane.poller.add(fd, token, Interest::Read)?;
        }
        Ok(plane)
    }

    fn watch(&mut self, served: &Served, number: u32) -> io::Result<()> {
        let (Some(fd), Some(token)) = (served.sockets.fd(number), served.sockets.token(number))
        else {
            return Ok(());
        };
        self.poller.add(fd, token, Interest::Read)
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
                self.flush(served);
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
                self.judge(now, socket, slot, served)?;
            }
            if received > 0 && received < most {
                return Ok(());
            }
            asked = (asked * 4).min(limits::RELAY_BATCH_MAX);
        }
        self.again.push(token);
        Ok(())
    }

    fn judge(
        &mut self,
        now: Now,
        socket: u32,
        number: usize,
        served: &mut Served,
    ) -> io::Result<()> {
        let Some(received) = self.slots.received(number) else {
            served.tally.oversized += 1;
            return Ok(());
        };
        let came = Came { socket, slot: number as u16, received };
        if let Judged::InParts(parts) = self.outgoing.judge(now, came, &mut self.slots, served) {
            for part in 0..parts {
                self.outgoing.judge_part(now, came, part, &mut self.slots, served);
                if served.has_changes() {
                    self.change(served)?;
                }
            }
        }
        if served.has_changes() { self.change(served) } else { Ok(()) }
    }

    /// Takes notice of sockets that were opened or are to go.
    fn change(&mut self, served: &mut Served) -> io::Result<()> {
        // What is under way by a socket leaves before it is closed. Slots stay as they are: some of
        // this batch have not been looked at.
        self.send(served);
        while let Some(change) = served.next_change() {
            match change {
                Change::Opened(number) => self.watch(served, number)?,
                Change::Closing(number) => self.forget(served, number),
                Change::StreamOpened(token) => self.watch_stream(served, token)?,
                Change::StreamClosing(token) => self.forget_stream(served, token),
            }
        }
        Ok(())
    }

    fn forget(&mut self, served: &mut Served, number: u32) {
        if let (Some(fd), Some(token)) = (served.sockets.fd(number), served.sockets.token(number)) {
            self.poller.remove(fd, token);
            served.sockets.close(number);
            // The port is free from here on, as the core takes it to be. At once: the ring runs no
            // more than some twenty pieces of work in one call.
            self.poller.settle();
        }
    }

    fn watch_stream(&mut self, served: &Served, token: Token) -> io::Result<()> {
        let Some((fd, interest)) = served.streams.polled(token) else { return Ok(()) };
        self.poller.add(fd, token, interest)
    }

    fn forget_stream(&mut self, served: &mut Served, token: Token) {
        if let Some((fd, _)) = served.streams.polled(token) {
            self.poller.remove(fd, token);
            served.stream_gone(token);
        }
    }

    /// Sends what waits; its slots are free afterwards.
    fn flush(&mut self, served: &mut Served) {
        self.send(served);
        self.used = 0;
    }

    fn send(&mut self, served: &mut Served) {
        self.outgoing.send(&mut self.slots, served);
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
            } else if let Some(named) = served.streams.named(token) {
                if served.stream_ready(now, named) == Left::More {
                    self.again.push(token);
                }
                if served.has_changes() {
                    self.change(served)?;
                }
            }
        }
        self.ready = ready;
        self.settle(now, served)?;
        Ok((now, woken))
    }

    fn settle(&mut self, now: Now, served: &mut Served) -> io::Result<()> {
        self.flush(served);
        served.flush_streams(now);
        if served.has_changes() { self.change(served) } else { Ok(()) }
    }

    fn end(&mut self, served: &mut Served) {
        self.flush(served);
        let numbers: Vec<u32> = served.sockets.numbers().collect();
        for number in numbers {
            self.forget(served, number);
        }
        for (fd, token) in served.streams.doors() {
            self.poller.remove(fd, token);
        }
        for token in served.streams.tokens() {
            self.forget_stream(served, token);
        }
        self.poller.settle();
        served.streams.doors.clear();
    }
}
