//! Datagrams in a row of slots, received and sent many at a time.
//!
//! ```text
//! slot:  | headroom | datagram as received ...            | tail |
//!             ^ a header is written here, before a payload that stays where it is
//! ```
//!
//! Memory belongs to the kernel during a call and at no other time, so nothing here can be taken
//! from under it. The length of a slot is an odd number of cache lines, so that neighbours do not
//! fall on the same ones.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::name::{NAME_BYTES, Name};
use crate::limits;

/// Room before each datagram.
pub(in crate::relay) const HEADROOM_BYTES: usize = 128;
/// Room behind it, for the zeros of an indication.
const TAIL_BYTES: usize = 64;
/// Bytes from one slot to the next.
const STRIDE_BYTES: usize = HEADROOM_BYTES + limits::RELAY_DATAGRAM_BYTES_MAX + TAIL_BYTES;

const _: () = assert!(STRIDE_BYTES % 128 == 64, "an odd number of cache lines");

/// Slots of one thread.
pub(in crate::relay) struct Slots {
    bytes: Box<[u8]>,
    /// Of what was received, by slot.
    came: Calls,
    /// Of what is sent, in the order it is sent.
    goes: Calls,
}

/// What the kernel is told of each datagram of a call. Pointers are good during the call alone and
/// are set anew before each.
struct Calls {
    names: Box<[Name]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Calls {
    fn new() -> Self {
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let header = libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: std::ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        Self {
            names: vec![Name::EMPTY; Slots::COUNT].into(),
            vectors: vec![vector; Slots::COUNT].into(),
            headers: vec![libc::mmsghdr { msg_hdr: header, msg_len: 0 }; Slots::COUNT].into(),
        }
    }

    /// Points call `place` at `part` and at its own name, of which `name_bytes` count.
    fn point(&mut self, place: usize, part: &mut [u8], name_bytes: u32) {
        self.vectors[place] =
            libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() };
        let header = &mut self.headers[place].msg_hdr;
        header.msg_name = std::ptr::from_mut(&mut self.names[place]).cast();
        header.msg_namelen = name_bytes;
        header.msg_iov = std::ptr::from_mut(&mut self.vectors[place]);
        header.msg_iovlen = 1;
        header.msg_flags = 0;
    }
}

/// A datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Received {
    /// From whom.
    pub(in crate::relay) from: SocketAddr,
    /// Its bytes, behind the headroom.
    pub(in crate::relay) length: usize,
}

/// What one slot sends: a part of it, to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Piece {
    /// Number of the socket that it leaves by.
    pub(in crate::relay) via: u32,
    /// Which slot.
    pub(in crate::relay) slot: u16,
    /// When it came, among those that are sent together.
    pub(in crate::relay) order: u32,
    /// First byte in the slot.
    pub(in crate::relay) start: u16,
    /// Bytes.
    pub(in crate::relay) length: u16,
    /// To whom.
    pub(in crate::relay) to: SocketAddr,
}

/// What became of datagrams that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::relay) struct Sent {
    /// Taken by the kernel.
    pub(in crate::relay) sent: u64,
    /// Refused because the socket's buffer is full.
    pub(in crate::relay) full: u64,
    /// Refused for another reason: no route, forbidden, too long.
    pub(in crate::relay) refused: u64,
}

impl Slots {
    /// How many are received into, or sent, between two flushes.
    pub(in crate::relay) const COUNT: usize = limits::RELAY_SLOTS;

    /// Makes `count` slots.
    pub(in crate::relay) fn new(count: usize) -> Self {
        let bytes = vec![0; count * STRIDE_BYTES].into();
        Self { bytes, came: Calls::new(), goes: Calls::new() }
    }

    /// Returns the room of a slot that is lent with `before` bytes of its headroom.
    pub(super) fn lent_room(&mut self, slot: usize, before: usize) -> &mut [u8] {
        &mut self.slot_mut(slot)[HEADROOM_BYTES - before..STRIDE_BYTES - TAIL_BYTES]
    }

    /// Returns all of a slot: headroom, datagram and tail.
    pub(in crate::relay) fn slot_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut self.bytes[slot * STRIDE_BYTES..][..STRIDE_BYTES]
    }

    /// Returns what a piece covers.
    pub(in crate::relay) fn piece(&self, piece: &Piece) -> &[u8] {
        let start = usize::from(piece.slot) * STRIDE_BYTES + usize::from(piece.start);
        &self.bytes[start..][..usize::from(piece.length)]
    }

    /// Receives into at most `most` slots from `first` on; returns how many datagrams came. Fewer
    /// than asked for means that no more were there.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` where nothing was there.
    pub(in crate::relay) fn receive(
        &mut self,
        fd: RawFd,
        first: usize,
        most: usize,
    ) -> io::Result<usize> {
        assert!(most > 0 && first + most <= Self::COUNT, "slots that are there");
        let slots = self.bytes[first * STRIDE_BYTES..].chunks_exact_mut(STRIDE_BYTES);
        for (place, slot) in (first..first + most).zip(slots) {
            let room = &mut slot[HEADROOM_BYTES..STRIDE_BYTES - TAIL_BYTES];
            self.came.point(place, room, NAME_BYTES as u32);
        }
        // SAFETY: `most` headers from `first` on are there (asserted above), and the loop above has
        // pointed each at one name, one vector and one room of this very slot, all of them borrowed
        // mutably through `self` for the whole call, with their true lengths.
        let came = unsafe {
            libc::recvmmsg(
                fd,
                self.came.headers[first..].as_mut_ptr(),
                most as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(came).map_err(|_| io::Error::last_os_error())
    }

    /// Returns what came into a slot; `None` where it was longer than a slot holds.
    pub(in crate::relay) fn received(&self, slot: usize) -> Option<Received> {
        let header = &self.came.headers[slot];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let from = self.came.names[slot].read()?;
        Some(Received { from, length: header.msg_len as usize })
    }

    /// Sends pieces by one socket, each a datagram, in order. What the kernel does not take is
    /// lost, as datagrams are.
    pub(in crate::relay) fn send(&mut self, fd: RawFd, pieces: &[Piece]) -> Sent {
        assert!(pieces.len() <= Self::COUNT, "one piece of each slot");
        for (place, piece) in pieces.iter().enumerate() {
            let start = usize::from(piece.slot) * STRIDE_BYTES + usize::from(piece.start);
            let part = &mut self.bytes[start..][..usize::from(piece.length)];
            let name_bytes = self.goes.names[place].write(piece.to);
            self.goes.point(place, part, name_bytes);
        }
        let mut tally = Sent::default();
        let mut done = 0;
        // Bound: every pass sends or gives up at least one.
        while done < pieces.len() {
            let left = &mut self.goes.headers[done..pieces.len()];
            // SAFETY: `left` holds as many headers as are passed, and the loop above has pointed
            // each at a name, a vector and a part of `bytes` that live as long as `self`, which is
            // borrowed mutably for the whole call.
            let sent = unsafe {
                libc::sendmmsg(
                    fd,
                    left.as_mut_ptr(),
                    left.len() as libc::c_uint,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => {
                    done += sent;
                    tally.sent += sent as u64;
                }
                _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {
                    tally.full += (pieces.len() - done) as u64;
                    break;
                }
                _ => {
                    tally.refused += 1;
                    done += 1;
                }
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn socket(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        socket
    }

    /// The safe twins, `send_to` and `recv_from`, on the other end.
    #[test]
    fn what_one_end_sends_the_other_receives() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (ours, theirs) = (socket(address), socket(address));
            let mut slots = Slots::new(Slots::COUNT);
            let nothing = slots.receive(ours.as_raw_fd(), 0, 4).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            for n in 0..6_u8 {
                theirs.send_to(&vec![n; usize::from(n) * 100], ours.local_addr().unwrap()).unwrap();
            }
            let mut came = slots.receive(ours.as_raw_fd(), 10, 4).unwrap();
            assert_eq!(came, 4);
            came += slots.receive(ours.as_raw_fd(), 14, 4).unwrap();
            assert_eq!(came, 6, "fewer than asked for: no more were there");
            let mut pieces = Vec::new();
            for n in 0..6_usize {
                let received = slots.received(10 + n).unwrap();
                let from = theirs.local_addr().unwrap();
                assert_eq!(received, Received { from, length: n * 100 });
                let slot = slots.slot_mut(10 + n);
                assert_eq!(slot[HEADROOM_BYTES..][..n * 100], vec![n as u8; n * 100]);
                slot[HEADROOM_BYTES - 1] = 0xaa;
                pieces.push(Piece {
                    via: 0,
                    order: 0,
                    slot: 10 + n as u16,
                    start: HEADROOM_BYTES as u16 - 1,
                    length: n as u16 * 100 + 1,
                    to: from,
                });
            }
            let sent = slots.send(ours.as_raw_fd(), &pieces);
            assert_eq!(sent, Sent { sent: 6, full: 0, refused: 0 });
            for piece in &pieces {
                let mut back = [0; 2_000];
                let (length, from) = theirs.recv_from(&mut back).unwrap();
                assert_eq!(from, ours.local_addr().unwrap());
                assert_eq!(back[..length], *slots.piece(piece));
            }
        }
    }

    #[test]
    fn a_datagram_longer_than_a_slot_is_told_and_touches_no_other() {
        let (ours, theirs) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let mut slots = Slots::new(Slots::COUNT);
        slots.slot_mut(1).fill(7);
        let to = ours.local_addr().unwrap();
        theirs.send_to(&vec![1; limits::RELAY_DATAGRAM_BYTES_MAX + 1], to).unwrap();
        assert_eq!(slots.receive(ours.as_raw_fd(), 0, 1).unwrap(), 1);
        assert_eq!(slots.received(0), None);
        assert!(slots.slot_mut(1).iter().all(|byte| *byte == 7));
        theirs.send_to(&vec![1; limits::RELAY_DATAGRAM_BYTES_MAX], to).unwrap();
        assert_eq!(slots.receive(ours.as_raw_fd(), 0, 1).unwrap(), 1);
        assert_eq!(slots.received(0).unwrap().length, limits::RELAY_DATAGRAM_BYTES_MAX);
    }

    #[test]
    fn one_that_cannot_be_sent_does_not_keep_the_others() {
        let (ours, theirs) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let mut slots = Slots::new(Slots::COUNT);
        let good = theirs.local_addr().unwrap();
        let bad: SocketAddr = "[::1]:9".parse().unwrap();
        let piece = |slot, to| Piece { via: 0, slot, order: 0, start: 0, length: 10, to };
        let pieces = [piece(0, good), piece(1, bad), piece(2, good)];
        let sent = slots.send(ours.as_raw_fd(), &pieces);
        assert_eq!(sent, Sent { sent: 2, full: 0, refused: 1 });
    }
}
