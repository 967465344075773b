//! Datagrams that leave by one socket, many in one call: alone, as the trains that they came in,
//! or as trains made of neighbours that go to the same address.
//!
//! ```text
//! came:   | head | payload | head | payload | head | pay |      one piece, three datagrams
//! goes:          |_________|      |_________|      |_____|      one message, a vector for each
//!         | ours |_________| ours |_________| ours |_____|      or two, where a head goes before
//! ```
//!
//! Nothing is copied: the kernel is told of each part, and at what length to cut. What it cannot
//! cut (a datagram longer than the path's MTU, a card without checksums) goes one by one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::control::{CONTROL_BYTES, Control};
use super::name::Name;
use super::{NO_HEADER, NO_VECTOR, whole};
use crate::limits;
use crate::relay::hops::Hops;
use crate::stun::{CHANNEL_HEADER_BYTES, ChannelData, ChannelNumber};

/// Messages of one call.
const MESSAGES: usize = limits::RELAY_SLOTS;
/// Parts that the messages of one call have together.
const VECTORS: usize = 4 * MESSAGES;

/// A train of the longest kind finds room in an empty call, cut or not.
const _: () = assert!(limits::RELAY_TRAIN_MAX <= MESSAGES);
const _: () = assert!(2 * limits::RELAY_TRAIN_MAX <= VECTORS);

/// What one slot sends: a part of it, to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Piece {
    /// Number of the socket that it leaves by.
    pub(in crate::relay) via: u32,
    /// When it came, among those that are sent together.
    pub(in crate::relay) order: u32,
    /// Which slot.
    pub(in crate::relay) slot: u16,
    /// First byte in the slot.
    pub(in crate::relay) start: u32,
    /// Bytes.
    pub(in crate::relay) length: u32,
    /// To whom.
    pub(in crate::relay) to: SocketAddr,
    /// The DSCP that it is marked with; `None`: its socket's.
    pub(in crate::relay) mark: Option<u8>,
    /// How many hops it has left; of a train each.
    pub(in crate::relay) hops: Hops,
    /// Set where it is several datagrams.
    pub(in crate::relay) train: Option<Train>,
}

/// How the datagrams of a train lie in their piece, and what goes before each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Train {
    /// Bytes of each as it came; the last may have fewer.
    pub(in crate::relay) segment: u16,
    /// How many at the start of each are not sent.
    pub(in crate::relay) skip: u8,
    /// Whose header goes before each.
    pub(in crate::relay) channel: Option<ChannelNumber>,
}

/// What became of datagrams that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::relay) struct Sent {
    /// Taken by the kernel.
    pub(in crate::relay) sent: u64,
    /// Of these, in trains.
    pub(in crate::relay) in_trains: u64,
    /// Refused because the socket's buffer is full.
    pub(in crate::relay) full: u64,
    /// Refused for another reason: no route, forbidden, too long.
    pub(in crate::relay) refused: u64,
}

/// What the kernel is told of each message of a call. Pointers are good during the call alone and
/// are set anew before each.
pub(super) struct Sends {
    names: Box<[Name]>,
    /// Of each message that of all datagrams but the last, and that of the last.
    heads: Box<[[u8; CHANNEL_HEADER_BYTES]]>,
    vectors: Box<[libc::iovec]>,
    /// Of each message its mark, its hops and its cut, as far as it has them.
    controls: Box<[[Control; 3]]>,
    headers: Box<[libc::mmsghdr]>,
    shapes: Box<[Shape]>,
    /// Messages and vectors in use.
    messages: usize,
    used: usize,
    /// Whether the kernel cuts trains.
    cuts: bool,
}

/// How a message is made up.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// Its first vector.
    first: usize,
    datagrams: usize,
    /// Vectors of each datagram.
    parts: usize,
    /// Control messages of each datagram: all but the cut.
    controls: usize,
}

impl Sends {
    /// `cuts`: the kernel knows GSO.
    pub(super) fn new(cuts: bool) -> Self {
        Self {
            names: vec![Name::EMPTY; MESSAGES].into(),
            heads: vec![[0; CHANNEL_HEADER_BYTES]; 2 * MESSAGES].into(),
            vectors: vec![NO_VECTOR; VECTORS].into(),
            controls: vec![[Control::EMPTY; 3]; MESSAGES].into(),
            headers: vec![libc::mmsghdr { msg_hdr: NO_HEADER, msg_len: 0 }; MESSAGES].into(),
            shapes: vec![Shape::default(); MESSAGES].into(),
            messages: 0,
            used: 0,
            cuts,
        }
    }

    /// Sends pieces by one socket, in order. `slot`: the bytes of a slot.
    pub(super) fn send<'a>(
        &mut self,
        fd: RawFd,
        pieces: &[Piece],
        slot: impl Fn(u16) -> &'a [u8],
    ) -> Sent {
        let mut tally = Sent::default();
        let mut done = 0;
        // Bound: every pass takes one piece at least.
        while done < pieces.len() {
            done += self.load(&pieces[done..], &slot);
            if !self.call(fd, &mut tally) {
                // The buffer is full: what is left would meet the same.
                tally.full +=
                    pieces[done..].iter().map(|piece| piece.datagrams() as u64).sum::<u64>();
                break;
            }
        }
        tally
    }

    /// Makes messages of the first pieces; returns of how many.
    fn load<'a>(&mut self, pieces: &[Piece], slot: &impl Fn(u16) -> &'a [u8]) -> usize {
        (self.messages, self.used) = (0, 0);
        let mut loaded = 0;
        // Bound: every pass takes one piece at least, or ends.
        while loaded < pieces.len() {
            let first = &pieces[loaded];
            let run = match first.train {
                Some(_) => 1,
                None => self.run(&pieces[loaded..]),
            };
            // Of a train so many at most: a message for each, two vectors for each.
            let most = if first.train.is_some() { first.datagrams() } else { 1 };
            let room = self.messages + most <= MESSAGES
                && self.used + (2 * first.datagrams()).max(run) <= VECTORS;
            if !room {
                break;
            }
            match first.train {
                Some(train) => self.train(first, train, slot(first.slot)),
                None => self.neighbours(&pieces[loaded..][..run], slot),
            }
            loaded += run;
        }
        assert!(loaded > 0, "an empty call has room for the longest train");
        loaded
    }

    /// Returns how many pieces from the first one on may go as one.
    fn run(&self, pieces: &[Piece]) -> usize {
        let Some((first, rest)) = pieces.split_first() else { return 0 };
        if rest.is_empty() || !self.may_cut(first.length as usize) {
            return 1;
        }
        let (mut run, mut bytes) = (1, first.length);
        for next in rest.iter().take(limits::RELAY_GSO_MAX - 1) {
            bytes += next.length;
            let joins = next.to == first.to
                && next.train.is_none()
                && next.mark == first.mark
                && next.hops == first.hops
                && (1..=first.length).contains(&next.length)
                && bytes as usize <= limits::RELAY_GSO_BYTES_MAX;
            if !joins {
                break;
            }
            run += 1;
            if next.length < first.length {
                break;
            }
        }
        run
    }

    const fn may_cut(&self, datagram: usize) -> bool {
        self.cuts && datagram > 0 && datagram <= limits::RELAY_GSO_DATAGRAM_BYTES_MAX
    }

    /// Makes one message of pieces that are a datagram each.
    fn neighbours<'a>(&mut self, pieces: &[Piece], slot: &impl Fn(u16) -> &'a [u8]) {
        let first = self.used;
        for piece in pieces {
            self.part(&slot(piece.slot)[piece.start as usize..][..piece.length as usize]);
        }
        let shape = Shape { first, datagrams: pieces.len(), parts: 1, controls: 0 };
        self.message(&pieces[0], shape, pieces[0].length as u16);
    }

    /// Makes as few messages of a train as the kernel lets.
    fn train(&mut self, piece: &Piece, train: Train, slot: &[u8]) {
        let bytes = &slot[piece.start as usize..][..piece.length as usize];
        let skip = usize::from(train.skip);
        let head = train.channel.map_or(0, |_| CHANNEL_HEADER_BYTES);
        let goes = (usize::from(train.segment) - skip) + head;
        let at_once = if self.may_cut(goes) {
            (limits::RELAY_GSO_BYTES_MAX / goes).min(limits::RELAY_GSO_MAX)
        } else {
            1
        };
        for bytes in bytes.chunks(usize::from(train.segment) * at_once) {
            let (first, of_message) = (self.used, 2 * self.messages);
            let mut datagrams = 0;
            for came in bytes.chunks(usize::from(train.segment)) {
                let payload = came.get(skip..).unwrap_or_default();
                if let Some(channel) = train.channel {
                    // Those of full size share one.
                    let place = of_message + usize::from(came.len() < train.segment.into());
                    self.heads[place] = ChannelData::header(channel, payload.len() as u16);
                    let head: *const [u8; CHANNEL_HEADER_BYTES] = &raw const self.heads[place];
                    self.vectors[self.used] = libc::iovec {
                        iov_base: head.cast_mut().cast(),
                        iov_len: CHANNEL_HEADER_BYTES,
                    };
                    self.used += 1;
                }
                self.part(payload);
                datagrams += 1;
            }
            let parts = 1 + usize::from(train.channel.is_some());
            let shape = Shape { first, datagrams, parts, controls: 0 };
            self.message(piece, shape, goes as u16);
        }
    }

    fn part(&mut self, part: &[u8]) {
        // The kernel only reads it.
        let base = part.as_ptr().cast_mut();
        self.vectors[self.used] = libc::iovec { iov_base: base.cast(), iov_len: part.len() };
        self.used += 1;
    }

    /// Makes a message of the vectors of `shape`, which goes as `piece` does, cut into datagrams of
    /// `cut` bytes if they are several.
    fn message(&mut self, piece: &Piece, mut shape: Shape, cut: u16) {
        let place = self.messages;
        let header = &mut self.headers[place].msg_hdr;
        header.msg_namelen = self.names[place].write(piece.to);
        header.msg_name = (&raw mut self.names[place]).cast();
        header.msg_iov = &raw mut self.vectors[shape.first];
        header.msg_iovlen = shape.datagrams * shape.parts;
        (header.msg_control, header.msg_controllen) = (std::ptr::null_mut(), 0);
        let controls = &mut self.controls[place];
        if let Some(mark) = piece.mark {
            controls[0] = Control::mark(&piece.to, mark);
            shape.controls = 1;
        }
        if let Hops::Left(hops) = piece.hops {
            controls[shape.controls] = Control::hops(&piece.to, hops);
            shape.controls += 1;
        }
        let mut used = shape.controls;
        if shape.datagrams > 1 {
            controls[used] = Control::cut(cut);
            used += 1;
        }
        if used > 0 {
            header.msg_control = controls.as_mut_ptr().cast();
            header.msg_controllen = used * CONTROL_BYTES;
        }
        self.shapes[place] = shape;
        self.messages += 1;
    }

    /// Sends what was loaded; tells whether the socket has room for more.
    fn call(&mut self, fd: RawFd, tally: &mut Sent) -> bool {
        let mut done = 0;
        // Bound: every pass sends or gives up at least one.
        while done < self.messages {
            let left = &mut self.headers[done..self.messages];
            // SAFETY: `left` holds as many headers as are passed. Each was pointed at a name, at
            // vectors and perhaps at control messages of this value, which is borrowed mutably
            // for the whole call, and the vectors at heads of it and at slots that
            // [`Self::send`] borrows, all with their true lengths.
            let sent = unsafe {
                match left {
                    // One alone costs less so. It may be empty, which is sent as well.
                    [one] => match libc::sendmsg(fd, &raw const one.msg_hdr, FLAGS) {
                        ..0 => -1,
                        _ => 1,
                    },
                    _ => libc::sendmmsg(fd, left.as_mut_ptr(), left.len() as libc::c_uint, FLAGS)
                        as isize,
                }
            };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => {
                    for shape in &self.shapes[done..done + sent] {
                        tally.sent += shape.datagrams as u64;
                        if shape.datagrams > 1 {
                            tally.in_trains += shape.datagrams as u64;
                        }
                    }
                    done += sent;
                }
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() == io::ErrorKind::WouldBlock {
                        let left = self.shapes[done..self.messages].iter();
                        tally.full += left.map(|shape| shape.datagrams as u64).sum::<u64>();
                        return false;
                    }
                    match self.shapes[done].datagrams {
                        1 if !whole::too_long(&error) => tally.refused += 1,
                        _ => self.apart(fd, done, &error, tally),
                    }
                    done += 1;
                }
            }
        }
        true
    }

    /// Sends the datagrams of a message one by one: as a train the kernel has refused it, or as one
    /// that is too long to go whole.
    fn apart(&mut self, fd: RawFd, place: usize, error: &io::Error, tally: &mut Sent) {
        if error.raw_os_error() == Some(libc::EIO) {
            // The card cannot, and will not be able to the next time.
            self.cuts = false;
        }
        let Shape { first, datagrams, parts, controls } = self.shapes[place];
        let mut header = self.headers[place].msg_hdr;
        // What is said of each comes first and stays, the cut goes.
        header.msg_controllen = controls * CONTROL_BYTES;
        header.msg_iovlen = parts;
        for datagram in 0..datagrams {
            header.msg_iov = &raw mut self.vectors[first + datagram * parts];
            let send = || {
                // SAFETY: as in `call`; the vectors of this datagram lie within those of its
                // message.
                match unsafe { libc::sendmsg(fd, &raw const header, FLAGS) } {
                    ..0 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                }
            };
            match whole::or_cut(fd, send(), send) {
                Ok(()) => tally.sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tally.full += 1,
                Err(_) => tally.refused += 1,
            }
        }
    }
}

impl Piece {
    /// Returns how many datagrams it is.
    pub(in crate::relay) fn datagrams(&self) -> usize {
        let segment = |train: Train| (self.length as usize).div_ceil(train.segment.into());
        self.train.map_or(1, segment)
    }
}

const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
