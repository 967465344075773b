//! Datagrams in a row of slots, received and sent many at a time.
//!
//! ```text
//! slot:  | headroom | datagram as received, or a train of them ...            | tail |
//!             ^ a header is written here, before a payload that stays where it is
//! ```
//!
//! Memory belongs to the kernel during a call and at no other time, so nothing here can be taken
//! from under it. A slot has room for the longest train; what of it was never written to costs no
//! memory, and one datagram touches a page or two. The length of a slot is an odd number of cache
//! lines, so that neighbours do not fall on the same ones.
//!
//! Behind the slots that are received into lie spare ones, for the datagrams of a train that have
//! to be looked at one by one, and for what another thread has received.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::control::{COME_BYTES, Room, Said};
use super::memory::Memory;
use super::name::{NAME_BYTES, Name};
use super::sends::{Piece, Sends, Sent};
use super::trains::Trains;
use super::{NO_HEADER, NO_VECTOR};
use crate::limits;
use crate::relay::hops::Hops;

/// Room before each datagram.
pub(in crate::relay) const HEADROOM_BYTES: usize = 128;
/// Room behind it, for the zeros of an indication.
const TAIL_BYTES: usize = 64;
/// Bytes from one slot to the next.
const STRIDE_BYTES: usize = HEADROOM_BYTES + limits::RELAY_TRAIN_BYTES_MAX + TAIL_BYTES;

const _: () = assert!(STRIDE_BYTES % 128 == 64, "an odd number of cache lines");
// What another thread hands over may be of a stream's message.
const _: () = assert!(limits::RELAY_STREAM_MESSAGE_BYTES_MAX <= limits::RELAY_TRAIN_BYTES_MAX);

/// Slots of one thread.
pub(in crate::relay) struct Slots {
    bytes: Memory,
    /// How many are received into; the spare ones come behind them.
    count: usize,
    came: Calls,
    goes: Sends,
}

/// What the kernel is told of each datagram it is to bring. Pointers are good during the call alone
/// and are set anew before each.
struct Calls {
    names: Box<[Name]>,
    vectors: Box<[libc::iovec]>,
    controls: Box<[Room]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Calls {
    fn new() -> Self {
        Self {
            names: vec![Name::EMPTY; Slots::COUNT].into(),
            vectors: vec![NO_VECTOR; Slots::COUNT].into(),
            controls: vec![Room::EMPTY; Slots::COUNT].into(),
            headers: vec![libc::mmsghdr { msg_hdr: NO_HEADER, msg_len: 0 }; Slots::COUNT].into(),
        }
    }

    /// Points call `place` at `part` and at its own name and control messages.
    fn point(&mut self, place: usize, part: &mut [u8]) {
        self.vectors[place] =
            libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() };
        let header = &mut self.headers[place].msg_hdr;
        header.msg_name = std::ptr::from_mut(&mut self.names[place]).cast();
        header.msg_namelen = NAME_BYTES as u32;
        header.msg_iov = std::ptr::from_mut(&mut self.vectors[place]);
        header.msg_iovlen = 1;
        header.msg_control = std::ptr::from_mut(&mut self.controls[place]).cast();
        header.msg_controllen = COME_BYTES;
        header.msg_flags = 0;
    }
}

/// What came into a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Received {
    /// From whom.
    pub(in crate::relay) from: SocketAddr,
    /// Its bytes, behind the headroom.
    pub(in crate::relay) length: usize,
    /// Set where it is several datagrams: the bytes of each but the last, which may have fewer.
    pub(in crate::relay) segment: Option<u16>,
    /// How many hops it has left, this one included; of a train each.
    pub(in crate::relay) hops: Hops,
}

impl Received {
    /// `control`: what the kernel said beside it. `None`: longer than what is relayed, or more
    /// datagrams at once.
    pub(super) fn new(from: SocketAddr, length: usize, control: &[u8]) -> Option<Self> {
        let Said { segment, hops } = Said::read(control);
        let segment = segment.filter(|segment| usize::from(*segment) < length);
        let each = segment.map_or(length, usize::from);
        let count = segment.map_or(1, |segment| length.div_ceil(segment.into()));
        let fits = each <= limits::RELAY_DATAGRAM_BYTES_MAX && count <= limits::RELAY_TRAIN_MAX;
        fits.then_some(Self { from, length, segment, hops })
    }
}

impl Slots {
    /// How many are received into, or sent, between two flushes.
    pub(in crate::relay) const COUNT: usize = limits::RELAY_SLOTS;
    /// How many are spare.
    pub(in crate::relay) const SPARE: usize = limits::RELAY_TRAIN_MAX;

    /// Makes `count` slots, and spare ones.
    pub(in crate::relay) fn new(count: usize, trains: Trains) -> Self {
        let bytes = Memory::new((count + Self::SPARE) * STRIDE_BYTES);
        Self { bytes, count, came: Calls::new(), goes: Sends::new(trains.go) }
    }

    /// Returns the room of a slot that is lent with `before` bytes of its headroom.
    pub(super) fn lent_room(&mut self, slot: usize, before: usize) -> &mut [u8] {
        &mut self.slot_mut(slot)[HEADROOM_BYTES - before..STRIDE_BYTES - TAIL_BYTES]
    }

    /// Returns all of a slot: headroom, datagram and tail.
    pub(in crate::relay) fn slot_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut self.bytes[slot * STRIDE_BYTES..][..STRIDE_BYTES]
    }

    /// Copies a part of what came into `slot` to a spare slot, as a datagram of its own; returns
    /// the number of that slot.
    pub(in crate::relay) fn set_apart(
        &mut self,
        slot: u16,
        part: std::ops::Range<usize>,
        spare: usize,
    ) -> u16 {
        assert!(spare < Self::SPARE, "a spare slot that is there");
        let to = self.count + spare;
        let start = usize::from(slot) * STRIDE_BYTES + HEADROOM_BYTES;
        self.bytes
            .copy_within(start + part.start..start + part.end, to * STRIDE_BYTES + HEADROOM_BYTES);
        to as u16
    }

    /// Copies what came in no slot to a spare one; returns the number of that slot.
    pub(in crate::relay) fn put_apart(&mut self, payload: &[u8], spare: usize) -> u16 {
        assert!(spare < Self::SPARE, "a spare slot that is there");
        let number = self.count + spare;
        self.slot_mut(number)[HEADROOM_BYTES..][..payload.len()].copy_from_slice(payload);
        number as u16
    }

    /// Returns what a piece covers.
    pub(in crate::relay) fn piece(&self, piece: &Piece) -> &[u8] {
        let start = usize::from(piece.slot) * STRIDE_BYTES + piece.start as usize;
        &self.bytes[start..][..piece.length as usize]
    }

    /// Receives into at most `most` slots from `first` on; returns how many datagrams or trains
    /// came. Fewer than asked for means that no more were there.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` where nothing was there.
    pub(in crate::relay) fn receive(
        &mut self,
        fd: RawFd,
        first: usize,
        most: usize,
    ) -> io::Result<usize> {
        assert!(most > 0 && first + most <= Self::COUNT.min(self.count), "slots that are there");
        let slots = self.bytes[first * STRIDE_BYTES..].chunks_exact_mut(STRIDE_BYTES);
        for (place, slot) in (first..first + most).zip(slots) {
            self.came.point(place, &mut slot[HEADROOM_BYTES..STRIDE_BYTES - TAIL_BYTES]);
        }
        // SAFETY: `most` headers from `first` on are there (asserted above), and the loop above has
        // pointed each at one name, one vector, control messages and one room of this very slot,
        // all of them borrowed mutably through `self` for the whole call, with their true lengths.
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

    /// Returns what came into a slot; `None` where it is longer than what is relayed.
    pub(in crate::relay) fn received(&self, slot: usize) -> Option<Received> {
        let header = &self.came.headers[slot];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let from = self.came.names[slot].read()?;
        let control = self.came.controls[slot].written(header.msg_hdr.msg_controllen);
        Received::new(from, header.msg_len as usize, control)
    }

    /// Sends pieces by one socket, in order. What the kernel does not take is lost, as datagrams
    /// are.
    pub(in crate::relay) fn send(&mut self, fd: RawFd, pieces: &[Piece]) -> Sent {
        let bytes = &self.bytes;
        self.goes
            .send(fd, pieces, |slot| &bytes[usize::from(slot) * STRIDE_BYTES..][..STRIDE_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;

    use super::super::sends::Train;
    use super::super::tests::said_of;
    use super::*;
    use crate::stun::{ChannelData, ChannelNumber};

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
            let mut slots = Slots::new(Slots::COUNT, Trains::detect());
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
                assert_eq!(
                    received,
                    Received { from, length: n * 100, segment: None, hops: Hops::Fresh }
                );
                let slot = slots.slot_mut(10 + n);
                assert_eq!(slot[HEADROOM_BYTES..][..n * 100], vec![n as u8; n * 100]);
                slot[HEADROOM_BYTES - 1] = 0xaa;
                pieces.push(Piece {
                    via: 0,
                    order: 0,
                    slot: 10 + n as u16,
                    start: HEADROOM_BYTES as u32 - 1,
                    length: n as u32 * 100 + 1,
                    to: from,
                    mark: None,
                    hops: Hops::Fresh,
                    train: None,
                });
            }
            let sent = slots.send(ours.as_raw_fd(), &pieces);
            assert_eq!(sent, Sent { sent: 6, ..Sent::default() });
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
        let mut slots = Slots::new(Slots::COUNT, Trains::detect());
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
        let mut slots = Slots::new(Slots::COUNT, Trains::detect());
        let good = theirs.local_addr().unwrap();
        let bad: SocketAddr = "[::1]:9".parse().unwrap();
        let piece = |slot, to| Piece {
            via: 0,
            slot,
            order: 0,
            start: 0,
            length: 10,
            to,
            mark: None,
            hops: Hops::Fresh,
            train: None,
        };
        let pieces = [piece(0, good), piece(1, bad), piece(2, good)];
        let sent = slots.send(ours.as_raw_fd(), &pieces);
        assert_eq!(sent, Sent { sent: 2, refused: 1, ..Sent::default() });
    }

    /// Fills slot `number` with `count` datagrams of a client's channel data, all of one size.
    fn fill(slots: &mut Slots, number: usize, count: usize) -> (Piece, Vec<Vec<u8>>) {
        let channel = ChannelNumber::new(0x4321).unwrap();
        let payloads: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8; 100]).collect();
        let came: Vec<u8> = payloads.iter().flat_map(|one| [&[9; 4], &one[..]].concat()).collect();
        slots.slot_mut(number)[HEADROOM_BYTES..][..came.len()].copy_from_slice(&came);
        let piece = Piece {
            via: 0,
            order: 0,
            slot: number as u16,
            start: HEADROOM_BYTES as u32,
            length: came.len() as u32,
            to: "127.0.0.1:9".parse().unwrap(),
            mark: None,
            hops: Hops::Fresh,
            train: Some(Train { segment: 104, skip: 4, channel: Some(channel) }),
        };
        let header = ChannelData::header(channel, 100);
        let goes = payloads.iter().map(|payload| [&header[..], payload].concat());
        (piece, goes.collect())
    }

    #[test]
    fn a_train_arrives_as_its_datagrams_whether_the_kernel_cuts_it_or_we() {
        for trains in [Trains::detect(), Trains::NEVER] {
            let (ours, theirs) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
            let mut slots = Slots::new(2, trains);
            let (piece, goes) = fill(&mut slots, 1, 70);
            let piece = Piece { to: theirs.local_addr().unwrap(), ..piece };
            let sent = slots.send(ours.as_raw_fd(), &[piece]);
            let in_trains = if trains.go { 70 } else { 0 };
            assert_eq!(sent, Sent { sent: 70, in_trains, ..Sent::default() });
            for datagram in goes {
                let mut back = [0; 2_000];
                let (length, _) = theirs.recv_from(&mut back).unwrap();
                assert_eq!(back[..length], datagram);
            }
            // And what cannot be sent is told of each.
            let piece = Piece { to: "[::1]:9".parse().unwrap(), ..piece };
            let sent = slots.send(ours.as_raw_fd(), &[piece]);
            assert_eq!(sent, Sent { refused: 70, ..Sent::default() });
        }
    }

    #[test]
    fn a_train_and_neighbours_come_as_one_where_trains_are_taken() {
        let trains = Trains::detect();
        if !trains.come || !trains.go {
            return;
        }
        let (ours, theirs) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        super::super::trains::take(theirs.as_raw_fd()).unwrap();
        let mut slots = Slots::new(8, trains);
        let to = theirs.local_addr().unwrap();
        let (piece, goes) = fill(&mut slots, 7, 10);
        let piece = Piece { to, ..piece };
        let alone = |slot: u16, length| Piece { slot, start: 128, length, train: None, ..piece };
        // Some equal ones and a shorter one are a train; the one behind it begins another.
        let pieces = [piece, alone(1, 60), alone(2, 60), alone(3, 50), alone(4, 60), alone(5, 70)];
        for slot in 1..6 {
            slots.slot_mut(slot)[HEADROOM_BYTES..][..70].fill(slot as u8);
        }
        let sent = slots.send(ours.as_raw_fd(), &pieces);
        assert_eq!(sent, Sent { sent: 15, in_trains: 13, ..Sent::default() });
        assert_eq!(slots.receive(theirs.as_raw_fd(), 0, 6).unwrap(), 4);
        let came: Vec<_> = (0..4).map(|slot| slots.received(slot).unwrap()).collect();
        let lengths: Vec<_> = came.iter().map(|came| (came.length, came.segment)).collect();
        assert_eq!(lengths, [(1_040, Some(104)), (170, Some(60)), (60, None), (70, None)]);
        assert_eq!(slots.slot_mut(0)[HEADROOM_BYTES..][..1_040], goes.concat());
        let parts = [[1; 60].as_slice(), &[2; 60], &[3; 50]].concat();
        assert_eq!(slots.slot_mut(1)[HEADROOM_BYTES..][..170], parts);
        let number = slots.set_apart(1, 60..120, 0);
        assert_eq!(slots.slot_mut(usize::from(number))[HEADROOM_BYTES..][..60], [2; 60]);
    }

    /// Receives one datagram; returns its TOS byte.
    fn tos_of(socket: &UdpSocket) -> u8 {
        let (level, kind, tos) = said_of(socket);
        assert_eq!((level, kind), (libc::IPPROTO_IP, libc::IP_TOS));
        // It is a byte; what lies behind it was never written.
        tos as u8
    }

    #[test]
    fn a_datagram_arrives_with_its_mark_alone_in_company_and_in_a_train() {
        let (ours, theirs) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        socket2::SockRef::from(&theirs).set_recv_tos_v4(true).unwrap();
        let to = theirs.local_addr().unwrap();
        let mut slots = Slots::new(Slots::COUNT, Trains::detect());
        let piece = |slot, mark| Piece {
            via: 0,
            slot,
            order: 0,
            start: 0,
            length: 100,
            to,
            mark,
            hops: Hops::Fresh,
            train: None,
        };
        let company = [
            piece(0, Some(46)),
            piece(1, None),
            piece(2, Some(34)),
            piece(3, Some(34)),
            piece(4, Some(34)),
        ];
        assert_eq!(slots.send(ours.as_raw_fd(), &company).sent, 5);
        assert_eq!([(); 5].map(|()| tos_of(&theirs)), [46 << 2, 0, 34 << 2, 34 << 2, 34 << 2]);
        let train = super::super::sends::Train { segment: 40, skip: 0, channel: None };
        let train = Piece { mark: Some(34), train: Some(train), ..piece(5, None) };
        assert_eq!(slots.send(ours.as_raw_fd(), &[train]).sent, 3);
        assert_eq!([(); 3].map(|()| tos_of(&theirs)), [34 << 2; 3]);
        let send = |mark| crate::relay::marks::send_to(&ours, b"alone", to, mark, Hops::Fresh);
        send(Some(46)).unwrap();
        assert_eq!(tos_of(&theirs), 46 << 2);
        send(None).unwrap();
        assert_eq!(tos_of(&theirs), 0);
    }
}
