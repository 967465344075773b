//! Connections: two ends, bytes in order, delivered late and in pieces, stalled or broken.

use entente::edge::LegId;

/// Who is at an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// A leg of a shard of an organisation's edge.
    Edge { organisation: usize, shard: usize, leg: LegId },
    /// The pool of an organisation.
    Pool { organisation: usize },
    /// The blocked organisation.
    Stranger,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    pub(crate) open: bool,
    /// Bytes under way to each end.
    pub(crate) to: [Vec<u8>; 2],
    /// What the end has not understood yet.
    pub(crate) rest: [Vec<u8>; 2],
    /// Until when nothing is taken from the opposite end: its socket is full.
    pub(crate) stalled_until_ms: [u64; 2],
    /// A delivery is planned.
    pub(crate) planned: [bool; 2],
}

impl Connection {
    pub(crate) fn new(ends: [End; 2]) -> Self {
        Self {
            ends,
            open: true,
            to: [Vec::new(), Vec::new()],
            rest: [Vec::new(), Vec::new()],
            stalled_until_ms: [0, 0],
            planned: [false, false],
        }
    }

    /// Lets the first `bytes` that are under way to an end arrive there.
    pub(crate) fn arrive(&mut self, side: usize, bytes: usize) {
        self.rest[side].extend_from_slice(&self.to[side][..bytes]);
        self.to[side].drain(..bytes);
    }
}
