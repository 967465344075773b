//! What a thread moves datagrams by, in one of two ways.

use std::io;

use super::hops::Hops;
use super::ring::sends::Piece;
use super::ring::slots::{Received, Slots};
use super::serve::{Arrived, Served};
use crate::poll::{Token, Wait};
use crate::time::{Clock, Now};

/// The bell of the thread's box.
pub(super) const BELL: Token = Token(u64::MAX - 1);

/// Whether the bell was rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    ByBell,
    Otherwise,
}

/// A way of moving datagrams.
pub(super) trait Plane {
    /// Returns its name for the log.
    fn name(&self) -> &'static str;

    /// Waits, serves what came, and sends what that made.
    fn turn(&mut self, wait: Wait, clock: &Clock, served: &mut Served) -> io::Result<(Now, Woken)>;

    /// Sends what waits, and what changed meanwhile takes hold.
    fn settle(&mut self, now: Now, served: &mut Served) -> io::Result<()>;

    /// Closes every socket, so that each address is free when the thread has ended.
    fn end(&mut self, served: &mut Served);
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
pub(super) enum Judged {
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
    pub(super) fn judge(
        &mut self,
        now: Now,
        came: Came,
        slots: &mut Slots,
        served: &mut Served,
    ) -> Judged {
        let Came { socket, slot: number, received } = came;
        let Received { from, hops, .. } = received;
        let slot = slots.slot_mut(usize::from(number));
        let arrived = Arrived { socket, from, slot, number, length: received.length, hops };
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
    pub(super) fn judge_part(
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
        if self.spares == Slots::SPARE {
            self.send(slots, served);
        }
        let number = slots.set_apart(slot, start..end, self.spares);
        self.spares += 1;
        let Received { from, hops, .. } = received;
        let slot = slots.slot_mut(usize::from(number));
        let arrived = Arrived { socket, from, slot, number, length: end - start, hops };
        if let Some(piece) = served.datagram(now, arrived) {
            self.push(piece);
        }
    }

    /// Sends what waits, that of one socket in one call; the order of each flow stays.
    pub(super) fn send(&mut self, slots: &mut Slots, served: &mut Served) {
        use std::os::fd::AsRawFd as _;
        // Stable in effect: pieces of one socket are told apart by when they came.
        self.pieces.sort_unstable_by_key(|piece| (piece.via, piece.order));
        for run in self.pieces.chunk_by(|one, next| one.via == next.via) {
            let Some(socket) = served.sockets.get(run[0].via) else { continue };
            if let [piece @ Piece { train: None, mark: None, hops: Hops::Fresh, .. }] = run {
                served.tally.sent(socket.send_to(slots.piece(piece), piece.to));
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
