//! The datagram path over the ring that lends slots: no call per socket, and none to learn that a
//! socket is empty.

use std::io;
use std::os::fd::RawFd;

use super::frames::Left;
use super::plane::{self, BELL, Judged, Outgoing, Plane, Woken};
use super::ring::slots::Slots;
use super::ring::uring::{Came, Ring, Watch};
use super::serve::{Change, Served};
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
    /// Watches the bell and every socket of `served`.
    pub(super) fn new(mut ring: Ring, bell: RawFd, served: &Served) -> io::Result<Self> {
        ring.add(bell, BELL, Watch::Readiness(bits(Interest::Read)))?;
        let mut plane = Self {
            ring,
            came: Vec::with_capacity(Slots::COUNT),
            held: Vec::with_capacity(Slots::COUNT),
            outgoing: Outgoing::new(),
            again: Vec::new(),
            left: false,
        };
        for number in served.sockets.numbers() {
            plane.watch(served, number)?;
        }
        for (fd, token) in served.streams.doors() {
            plane.ring.add(fd, token, Watch::Readiness(bits(Interest::Read)))?;
        }
        Ok(plane)
    }

    fn watch(&mut self, served: &Served, number: u32) -> io::Result<()> {
        let (Some(fd), Some(token)) = (served.sockets.fd(number), served.sockets.token(number))
        else {
            return Ok(());
        };
        self.ring.add(fd, token, Watch::Datagrams)
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
                        self.judge(now, socket, slot, served)?;
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

    fn judge(&mut self, now: Now, socket: u32, number: u16, served: &mut Served) -> io::Result<()> {
        let Some(received) = self.ring.received(number) else {
            served.tally.oversized += 1;
            return Ok(());
        };
        let came = plane::Came { socket, slot: number, received };
        let slots = self.ring.slots();
        if let Judged::InParts(parts) = self.outgoing.judge(now, came, slots, served) {
            for part in 0..parts {
                self.outgoing.judge_part(now, came, part, self.ring.slots(), served);
                if served.has_changes() {
                    self.change(served)?;
                }
            }
        }
        if served.has_changes() { self.change(served) } else { Ok(()) }
    }

    fn stream(&mut self, now: Now, token: Token, served: &mut Served) -> io::Result<()> {
        let Some(named) = served.streams.named(token) else { return Ok(()) };
        if served.stream_ready(now, named) == Left::More {
            self.again.push(token);
        }
        if served.has_changes() { self.change(served) } else { Ok(()) }
    }

    /// Takes notice of sockets that were opened or are to go.
    fn change(&mut self, served: &mut Served) -> io::Result<()> {
        // What is under way by a socket leaves before it is closed.
        self.outgoing.send(self.ring.slots(), served);
        while let Some(change) = served.next_change() {
            match change {
                Change::Opened(number) => self.watch(served, number)?,
                Change::Closing(number) => {
                    if let Some(token) = served.sockets.token(number) {
                        self.ring.remove(token);
                        served.sockets.close(number);
                    }
                }
                Change::StreamOpened(token) => {
                    if let Some((fd, interest)) = served.streams.polled(token) {
                        self.ring.add(fd, token, Watch::Readiness(bits(interest)))?;
                    }
                }
                Change::StreamClosing(token) => {
                    if served.streams.named(token).is_some() {
                        self.ring.remove(token);
                        served.stream_gone(token);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends what waits, and lends its slots again.
    fn flush(&mut self, served: &mut Served) -> io::Result<()> {
        self.outgoing.send(self.ring.slots(), served);
        for slot in self.held.drain(..) {
            self.ring.give(slot);
        }
        self.ring.lend()
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

    fn settle(&mut self, now: Now, served: &mut Served) -> io::Result<()> {
        self.flush(served)?;
        served.flush_streams(now);
        if served.has_changes() { self.change(served) } else { Ok(()) }
    }

    fn end(&mut self, served: &mut Served) {
        // Nothing that fails here keeps the thread from ending.
        let _ = self.flush(served);
        let numbers: Vec<u32> = served.sockets.numbers().collect();
        for number in numbers {
            if let Some(token) = served.sockets.token(number) {
                self.ring.remove(token);
                served.sockets.close(number);
            }
        }
        let doors: Vec<Token> = served.streams.doors().map(|(_, token)| token).collect();
        for token in doors {
            self.ring.remove(token);
        }
        for token in served.streams.tokens() {
            self.ring.remove(token);
            served.stream_gone(token);
        }
        served.streams.doors.clear();
    }
}
