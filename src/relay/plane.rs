//! What a thread moves datagrams by, in one of two ways.

use std::io;
use std::os::fd::RawFd;

use super::frames::Left;
use super::hops::Hops;
use super::marks;
use super::ring::sends::Piece;
use super::ring::slots::{Received, Slots};
use super::serve::{Arrived, By, Change, Served};
use super::siblings::Mail;
use crate::limits;
use crate::poll::{Interest, Token, Wait};
use crate::time::{Clock, Now};

/// The bell of the thread's box.
pub(super) const BELL: Token = Token(u64::MAX - 1);

/// Whether the bell was rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    ByBell,
    Otherwise,
}

/// A way of moving datagrams: what differs between both, and what is the same for them.
pub(super) trait Plane {
    /// Returns its name for the log.
    fn name(&self) -> &'static str;

    /// Waits, serves what came, and sends what that made.
    fn turn(&mut self, wait: Wait, clock: &Clock, served: &mut Served) -> io::Result<(Now, Woken)>;

    /// Returns what waits to be sent, and the slots that it lies in.
    fn outgoing(&mut self) -> (&mut Outgoing, &mut Slots);

    /// Takes from here on what comes to a socket for datagrams.
    fn receive_by(&mut self, fd: RawFd, token: Token) -> io::Result<()>;

    /// Tells from here on what a stream or a door is ready for.
    fn watch(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()>;

    /// Lets go of a descriptor, so that closing it, then [`Self::closed`], frees its address.
    fn forget(&mut self, fd: RawFd, token: Token);

    /// Sockets that were forgotten are closed.
    fn closed(&mut self) {}

    /// Looks at a stream again that had more than one turn serves.
    fn again(&mut self, token: Token);

    /// Sends what waits, and has its slots again.
    fn flush(&mut self, served: &mut Served) -> io::Result<()>;

    /// Watches the bell and everything that `served` has.
    fn begin(&mut self, bell: RawFd, served: &Served) -> io::Result<()> {
        self.watch(bell, BELL, Interest::Read)?;
        for number in served.sockets.numbers() {
            self.opened(served, number)?;
        }
        for (fd, token) in served.streams.doors() {
            self.watch(fd, token, Interest::Read)?;
        }
        Ok(())
    }

    fn opened(&mut self, served: &Served, number: u32) -> io::Result<()> {
        match (served.sockets.fd(number), served.sockets.token(number)) {
            (Some(fd), Some(token)) => self.receive_by(fd, token),
            _ => Ok(()),
        }
    }

    /// Serves what came into a slot; `None`: it is longer than what is relayed.
    fn judge(&mut self, now: Now, came: Option<Came>, served: &mut Served) -> io::Result<()> {
        let Some(came) = came else {
            served.tally.oversized += 1;
            return Ok(());
        };
        let (outgoing, slots) = self.outgoing();
        if let Judged::InParts(parts) = outgoing.judge(now, came, slots, served) {
            for part in 0..parts {
                let (outgoing, slots) = self.outgoing();
                outgoing.judge_part(now, came, part, slots, served);
                self.change(served)?;
            }
        }
        self.change(served)
    }

    /// Gives clients what other threads have put into the box, with all else that this turn sends.
    fn take_mail(&mut self, now: Now, served: &mut Served) -> io::Result<Left> {
        for _ in 0..limits::RELAY_MAIL_PER_TURN_MAX {
            let Ok(mail) = served.siblings.inbox.try_recv() else { return Ok(Left::Nothing) };
            let (outgoing, slots) = self.outgoing();
            outgoing.judge_mail(now, &mail, slots, served);
            self.change(served)?;
        }
        Ok(Left::More)
    }

    /// Serves a stream or a door that is ready; a token may be stale.
    fn stream(&mut self, now: Now, token: Token, served: &mut Served) -> io::Result<()> {
        let Some(named) = served.streams.named(token) else { return Ok(()) };
        if served.stream_ready(now, named) == Left::More {
            self.again(token);
        }
        self.change(served)
    }

    /// Takes notice of sockets that were opened or are to go.
    fn change(&mut self, served: &mut Served) -> io::Result<()> {
        if !served.has_changes() {
            return Ok(());
        }
        // What is under way by a socket leaves before it is closed. Slots stay as they are: some of
        // this batch have not been looked at.
        let (outgoing, slots) = self.outgoing();
        outgoing.send(slots, served);
        while let Some(change) = served.next_change() {
            match change {
                Change::Opened(number) => self.opened(served, number)?,
                Change::Closing(number) => self.close(served, number),
                Change::StreamOpened(token) => {
                    if let Some((fd, interest)) = served.streams.polled(token) {
                        self.watch(fd, token, interest)?;
                    }
                }
                Change::StreamClosing(token) => self.close_stream(served, token),
            }
        }
        Ok(())
    }

    /// Closes a socket for datagrams: its port is free from here on, as the core takes it to be.
    fn close(&mut self, served: &mut Served, number: u32) {
        if let (Some(fd), Some(token)) = (served.sockets.fd(number), served.sockets.token(number)) {
            self.forget(fd, token);
            served.sockets.close(number);
            self.closed();
        }
    }

    fn close_stream(&mut self, served: &mut Served, token: Token) {
        if let Some((fd, _)) = served.streams.polled(token) {
            self.forget(fd, token);
            served.stream_gone(token);
        }
    }

    /// Sends what waits, and what changed meanwhile takes hold.
    fn settle(&mut self, now: Now, served: &mut Served) -> io::Result<()> {
        self.flush(served)?;
        served.flush_streams(now);
        self.change(served)
    }

    /// Closes every socket, so that each address is free when the thread has ended.
    fn end(&mut self, served: &mut Served) {
        // Nothing that fails here keeps the thread from ending.
        let _ = self.flush(served);
        let numbers: Vec<u32> = served.sockets.numbers().collect();
        for number in numbers {
            self.close(served, number);
        }
        for (fd, token) in served.streams.doors() {
            self.forget(fd, token);
        }
        for token in served.streams.tokens() {
            self.close_stream(served, token);
        }
        served.streams.doors.clear();
        self.closed();
    }
}

/// What came into a slot, by which socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) socket: u32,
    pub(super) slot: u16,
    pub(super) received: Received,
}

/// Whether the datagrams of a slot were judged, or have to be one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    Whole,
    /// By [`Outgoing::judge_part`], each of so many.
    InParts(usize),
}

/// What waits to be sent.
pub(super) struct Outgoing {
    pieces: Vec<Piece>,
    /// Spare slots in use.
    spares: usize,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self { pieces: Vec::with_capacity(2 * Slots::COUNT), spares: 0 }
    }

    fn push(&mut self, mut piece: Piece) {
        piece.order = self.pieces.len() as u32;
        self.pieces.push(piece);
    }

    /// Lets the core judge what came, and keeps what it makes of it.
    fn judge(&mut self, now: Now, came: Came, slots: &mut Slots, served: &mut Served) -> Judged {
        let Came { socket, slot: number, received } = came;
        let Received { from, hops, .. } = received;
        let slot = slots.slot_mut(usize::from(number));
        let arrived =
            Arrived { by: By::Socket(socket), from, slot, number, length: received.length, hops };
        let piece = match received.segment {
            None => served.datagram(now, arrived),
            Some(segment) => match served.train(now, &arrived, segment) {
                Some(piece) => Some(piece),
                None => return Judged::InParts(received.length.div_ceil(segment.into())),
            },
        };
        if let Some(piece) = piece {
            self.push(piece);
        }
        Judged::Whole
    }

    /// Judges one datagram of a train, in a slot of its own: what is written before it must not
    /// fall on the one that came before.
    fn judge_part(
        &mut self,
        now: Now,
        came: Came,
        part: usize,
        slots: &mut Slots,
        served: &mut Served,
    ) {
        let Came { socket, slot, received } = came;
        let segment = received.segment.map_or(received.length, usize::from);
        let start = part * segment;
        let end = received.length.min(start + segment);
        let spare = self.spare(slots, served);
        let number = slots.set_apart(slot, start..end, spare);
        let Received { from, hops, .. } = received;
        let slot = slots.slot_mut(usize::from(number));
        let arrived =
            Arrived { by: By::Socket(socket), from, slot, number, length: end - start, hops };
        if let Some(piece) = served.datagram(now, arrived) {
            self.push(piece);
        }
    }

    /// Judges what another thread has handed over.
    fn judge_mail(&mut self, now: Now, mail: &Mail, slots: &mut Slots, served: &mut Served) {
        let &Mail { port, from, ref payload, hops } = mail;
        let spare = self.spare(slots, served);
        let number = slots.put_apart(payload, spare);
        let slot = slots.slot_mut(usize::from(number));
        let by = By::Mail(port);
        let arrived = Arrived { by, from, slot, number, length: payload.len(), hops };
        if let Some(piece) = served.datagram(now, arrived) {
            self.push(piece);
        }
    }

    /// Takes a spare slot; where none is left, what waits is sent first.
    fn spare(&mut self, slots: &mut Slots, served: &mut Served) -> usize {
        if self.spares == Slots::SPARE {
            self.send(slots, served);
        }
        self.spares += 1;
        self.spares - 1
    }

    /// Sends what waits, that of one socket in one call; the order of each flow stays.
    pub(super) fn send(&mut self, slots: &mut Slots, served: &mut Served) {
        use std::os::fd::AsRawFd as _;
        // Stable in effect: pieces of one socket are told apart by when they came.
        self.pieces.sort_unstable_by_key(|piece| (piece.via, piece.order));
        for run in self.pieces.chunk_by_mut(|one, next| one.via == next.via) {
            let (via, hops) = (run[0].via, run[0].hops);
            if run.iter().all(|piece| piece.hops == hops) && served.sockets.gives(via, hops) {
                run.iter_mut().for_each(|piece| piece.hops = Hops::Fresh);
            }
            let Some(socket) = served.sockets.get(via) else { continue };
            if let [piece @ Piece { train: None, mark: None, hops: Hops::Fresh, .. }] = &*run {
                served.tally.sent(marks::send_to(
                    socket,
                    slots.piece(piece),
                    piece.to,
                    None,
                    Hops::Fresh,
                ));
                continue;
            }
            let sent = slots.send(socket.as_raw_fd(), run);
            served.tally.sent += sent.sent;
            served.tally.sent_in_trains += sent.in_trains;
            served.tally.full += sent.full;
            served.tally.refused += sent.refused;
        }
        self.pieces.clear();
        self.spares = 0;
    }
}
