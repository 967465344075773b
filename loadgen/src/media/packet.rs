//! What the payload of a relayed packet says about itself, and what a receiver makes of the order
//! in which they come.

/// Shortest payload: an RTP header, a number and a time.
pub(crate) const BYTES_MIN: usize = 24;

/// One of the two ways through an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the peer.
    Up,
    /// From the peer to the client.
    Down,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Of which flow it is.
    pub(crate) flow: u32,
    /// Which way it goes.
    pub(crate) way: Way,
    /// Its number among those.
    pub(crate) sequence: u32,
    /// When it was due to be sent.
    pub(crate) due_ns: u64,
}

impl Stamp {
    /// Writes the start of a payload: the header of RTP (RFC 3550 section 5.1), so that what looks
    /// at packets sees media, then number and time.
    pub(crate) fn write(&self, payload: &mut [u8]) {
        let source = self.flow << 1 | u32::from(self.way == Way::Down);
        payload[..2].copy_from_slice(&[0x80, 0]);
        payload[2..4].copy_from_slice(&(self.sequence as u16).to_be_bytes());
        payload[4..8].copy_from_slice(&self.sequence.wrapping_mul(160).to_be_bytes());
        payload[8..12].copy_from_slice(&source.to_be_bytes());
        payload[12..16].copy_from_slice(&self.sequence.to_be_bytes());
        payload[16..24].copy_from_slice(&self.due_ns.to_be_bytes());
    }

    /// Reads it back.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let head = payload.first_chunk::<BYTES_MIN>()?;
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let source = word(8);
        (head[0] == 0x80).then(|| Self {
            flow: source >> 1,
            way: if source & 1 == 0 { Way::Up } else { Way::Down },
            sequence: word(12),
            due_ns: u64::from(word(16)) << 32 | u64::from(word(20)),
        })
    }
}

/// What an arrival means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Later than all before, so many having been left out.
    Next {
        /// How many.
        skipped: u32,
    },
    /// After one that was sent after it.
    Late,
    /// It had come before.
    Again,
}

/// One way of a flow, at both its ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    sent: u32,
    expected: u32,
    /// Which of the 64 numbers before the expected one have come; the lowest bit is the last.
    seen: u64,
    transit_ns: Option<u64>,
}

impl Lane {
    /// Returns the number of the next packet to send.
    pub(crate) fn next(&mut self) -> u32 {
        self.sent = self.sent.wrapping_add(1);
        self.sent.wrapping_sub(1)
    }

    /// Takes the number of a packet that came.
    pub(crate) fn arrived(&mut self, sequence: u32) -> Arrival {
        let ahead = sequence.wrapping_sub(self.expected);
        if ahead < u32::MAX / 2 {
            self.seen = self.seen.checked_shl(ahead + 1).unwrap_or(0) | 1;
            self.expected = sequence.wrapping_add(1);
            return Arrival::Next { skipped: ahead };
        }
        let bit = 1_u64.checked_shl(u32::MAX - ahead).unwrap_or(0);
        if self.seen & bit != 0 {
            return Arrival::Again;
        }
        self.seen |= bit;
        Arrival::Late
    }

    /// Expects nothing of what was sent; what comes all the same is late.
    pub(crate) fn give_up(&mut self) {
        (self.expected, self.seen) = (self.sent, 0);
    }

    /// Returns by how much the transit of a packet differs from that of the one before (RFC 3550
    /// section 6.4.1, before smoothing).
    pub(crate) fn jitter_ns(&mut self, transit_ns: u64) -> Option<u64> {
        self.transit_ns.replace(transit_ns).map(|before_ns| before_ns.abs_diff(transit_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        for way in [Way::Up, Way::Down] {
            let stamp = Stamp { flow: 70_000, way, sequence: 99_999, due_ns: u64::MAX - 5 };
            let mut payload = [0xAA; 160];
            stamp.write(&mut payload);
            assert_eq!(Stamp::read(&payload), Some(stamp));
            assert_eq!(Stamp::read(&payload[..BYTES_MIN - 1]), None);
        }
    }

    #[test]
    fn a_lane_tells_lost_from_late_from_doubled() {
        let mut lane = Lane::default();
        assert_eq!(lane.arrived(0), Arrival::Next { skipped: 0 });
        assert_eq!(lane.arrived(3), Arrival::Next { skipped: 2 });
        assert_eq!(lane.arrived(1), Arrival::Late);
        assert_eq!(lane.arrived(1), Arrival::Again);
        assert_eq!(lane.arrived(3), Arrival::Again);
        assert_eq!(lane.arrived(200), Arrival::Next { skipped: 196 });
        assert_eq!(lane.arrived(137), Arrival::Late);
        assert_eq!(lane.arrived(137), Arrival::Again);
        assert_eq!(lane.arrived(200), Arrival::Again);
    }

    #[test]
    fn numbers_go_round() {
        let mut lane = Lane { sent: u32::MAX, expected: u32::MAX, ..Lane::default() };
        assert_eq!((lane.next(), lane.next()), (u32::MAX, 0));
        assert_eq!(lane.arrived(u32::MAX), Arrival::Next { skipped: 0 });
        assert_eq!(lane.arrived(0), Arrival::Next { skipped: 0 });
        assert_eq!(lane.arrived(u32::MAX), Arrival::Again);
    }

    #[test]
    fn jitter_is_the_change_of_the_transit() {
        let mut lane = Lane::default();
        assert_eq!(lane.jitter_ns(100), None);
        assert_eq!(lane.jitter_ns(130), Some(30));
        assert_eq!(lane.jitter_ns(90), Some(40));
    }
}
