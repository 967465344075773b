//! What a thread moves datagrams by, in one of two ways.

use std::io;

use super::ring::slots::{Piece, Slots};
use super::serve::Served;
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

/// Sends pieces, those of one socket in one call; the order of each flow stays.
pub(super) fn send(slots: &mut Slots, waiting: &mut Vec<Piece>, served: &mut Served) {
    use std::os::fd::AsRawFd as _;
    // Stable in effect: pieces of one socket are told apart by when they came.
    waiting.sort_unstable_by_key(|piece| (piece.via, piece.order));
    for run in waiting.chunk_by(|one, next| one.via == next.via) {
        let Some(socket) = served.sockets.get(run[0].via) else { continue };
        if let [piece] = run {
            served.tally.sent(socket.send_to(slots.piece(piece), piece.to));
            continue;
        }
        let sent = slots.send(socket.as_raw_fd(), run);
        served.tally.sent += sent.sent;
        served.tally.full += sent.full;
        served.tally.refused += sent.refused;
    }
    waiting.clear();
}
