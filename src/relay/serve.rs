//! One thread's core and sockets, and what becomes of each datagram.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use smallvec::SmallVec;

use super::board::Tally;
use super::frames::READ_BYTES;
use super::hops::Hops;
use super::marks::Marks;
use super::ring::sends::{self, Piece};
use super::ring::slots::HEADROOM_BYTES;
use super::siblings::{Mail, Mailed, Siblings};
use super::sockets::{Sockets, Use};
use super::streams::Streams;
use crate::edge::av::{
    Another, Around, Arrival, Carrier, Client, Medium, Opened, Output, Relay, RelayPort, Step,
    Toward, Train, Transport,
};
use crate::limits;
use crate::poll::Token;
use crate::time::Now;

/// A core with the sockets it speaks by.
pub(super) struct Served {
    pub(super) relay: Relay,
    pub(super) sockets: Sockets,
    pub(super) streams: Streams,
    pub(super) siblings: Siblings,
    pub(super) tally: Tally,
    pub(super) out: Output,
    /// The datagram socket of each listener, by its number; `None` where streams come in.
    pub(super) listeners: Vec<Option<u32>>,
    /// Sockets that the plane has to take notice of, in order.
    pub(super) changes: VecDeque<Change>,
    /// What streams are read into.
    pub(super) buffer: Box<[u8]>,
    /// A datagram made of a stream's message.
    pub(super) wrapped: Vec<u8>,
    pub(super) marks: Marks,
    /// Streams of peers whose rate is used up.
    pub(super) paused: Vec<u32>,
    /// State of the bytes in hellos that encrypt nothing.
    pub(super) hellos: u64,
}

/// A socket that is new, or is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened(u32),
    /// Open until the plane has forgotten it.
    Closing(u32),
    /// A stream or a relayed port that listens.
    StreamOpened(Token),
    StreamClosing(Token),
}

/// How a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By the socket of this number.
    Socket(u32),
    /// Another thread has put it into the box, for this relayed port.
    Mail(RelayPort),
}

/// A datagram where it was received.
pub(super) struct Arrived<'a> {
    pub(super) by: By,
    pub(super) from: SocketAddr,
    /// Its slot, whole.
    pub(super) slot: &'a mut [u8],
    /// Number of the slot.
    pub(super) number: u16,
    /// Bytes of the datagram, behind the headroom.
    pub(super) length: usize,
    /// How many hops it has left, this one included.
    pub(super) hops: Hops,
}

/// Where bytes of a slot go, before anything is written to it.
enum Way {
    /// The answer, back.
    Answer,
    /// The payload, to a peer.
    Peer { via: u32, to: SocketAddr, start: usize, length: usize, medium: Medium, hops: Hops },
    /// The payload, wrapped.
    Client {
        client: Client,
        around: Around,
        start: usize,
        length: usize,
        medium: Medium,
        hops: Hops,
    },
}

impl Served {
    /// `listeners`: the datagram socket of each listener, by its number.
    pub(super) fn new(
        relay: Relay,
        sockets: Sockets,
        streams: Streams,
        listeners: Vec<Option<u32>>,
        siblings: Siblings,
    ) -> Self {
        Self {
            relay,
            sockets,
            streams,
            siblings,
            tally: Tally::default(),
            out: Output::default(),
            listeners,
            changes: VecDeque::new(),
            buffer: vec![0; READ_BYTES].into(),
            wrapped: Vec::new(),
            marks: Marks::default(),
            paused: Vec::new(),
            hellos: 1,
        }
    }

    /// Lets the core judge a datagram; returns what to send. Hot: once per datagram.
    pub(super) fn datagram(&mut self, now: Now, arrived: Arrived<'_>) -> Option<Piece> {
        let Arrived { by, from, slot, number, length, hops } = arrived;
        let datagram = &slot[HEADROOM_BYTES..][..length];
        let of = match by {
            By::Socket(socket) => {
                self.tally.received += 1;
                self.sockets.of(socket)?
            }
            // The thread that has received it has counted it.
            By::Mail(port) => Use::Port(port),
        };
        let step = match of {
            Use::Listener { number, addressed } => {
                let client = Client { listener: number, transport: Transport::Udp, remote: from };
                let arrival = Arrival { client, addressed, datagram };
                self.relay.from_client(now, arrival, &mut self.out)
            }
            Use::Port(port) => match by {
                By::Socket(_) => self.relay.from_peer(now, port, from, datagram, &mut self.out),
                By::Mail(_) => self.relay.from_sibling(now, port, from, datagram, &mut self.out),
            },
        };
        let place = |payload: &[u8]| {
            let start = payload.as_ptr().addr() - datagram.as_ptr().addr();
            assert!(start + payload.len() <= length, "a payload lies within its datagram");
            (HEADROOM_BYTES + start, payload.len())
        };
        let way = match step {
            Step::Drop(_) => None,
            Step::Answer => Some(Way::Answer),
            Step::Open(carrier) => {
                self.open(now, carrier);
                Some(Way::Answer)
            }
            // What belongs to streams alone.
            Step::Connect { .. } | Step::Bind { .. } => None,
            Step::ToPeer { port, peer, payload, medium } => {
                let (start, length) = place(payload);
                let via = self.sockets.of_port(port).zip(self.pass(hops));
                via.map(|(via, hops)| Way::Peer { via, to: peer, start, length, medium, hops })
            }
            Step::ToSibling { port, from, payload } => {
                self.mail(port, from, payload, hops);
                None
            }
            Step::ToClient { client, around, payload, medium } => {
                let (start, length) = place(payload);
                let onward = self.pass_to(&client, hops);
                onward.map(|hops| Way::Client { client, around, start, length, medium, hops })
            }
        };
        self.note_closes();
        self.write(way?, by, from, slot, number)
    }

    /// Lets the core judge a train at once; `None` where its datagrams have to be judged one by
    /// one. Hot: once per train.
    pub(super) fn train(&mut self, now: Now, arrived: &Arrived<'_>, segment: u16) -> Option<Piece> {
        let &Arrived { by, from, ref slot, number, length, hops } = arrived;
        let By::Socket(socket) = by else { return None };
        // A train that ends here does so datagram by datagram, and is counted so.
        let hops = hops.onward()?;
        let bytes = &slot[HEADROOM_BYTES..][..length];
        let train = Train { bytes, segment: usize::from(segment) };
        let carried = match self.sockets.of(socket)? {
            Use::Listener { number, .. } => {
                let client = Client { listener: number, transport: Transport::Udp, remote: from };
                self.relay.train_from_client(now, &client, train)?
            }
            Use::Port(port) => self.relay.train_from_peer(now, port, from, train)?,
        };
        let (via, to, channel) = match carried.to {
            Toward::Peer { port, peer } => (self.sockets.of_port(port), peer, None),
            Toward::Client { client, channel } => {
                let via = self.listeners.get(usize::from(client.listener)).copied().flatten();
                (via, client.remote, channel)
            }
        };
        let via = via?;
        self.tally.received += train.count() as u64;
        self.tally.received_in_trains += train.count() as u64;
        let shape = sends::Train { segment, skip: carried.skip, channel };
        Some(Piece {
            via,
            order: 0,
            slot: number,
            start: HEADROOM_BYTES as u32,
            length: length as u32,
            to,
            mark: self.marks.beside(carried.medium),
            hops,
            train: Some(shape),
        })
    }

    /// Writes what goes before and behind into the slot.
    fn write(
        &mut self,
        way: Way,
        by: By,
        from: SocketAddr,
        slot: &mut [u8],
        number: u16,
    ) -> Option<Piece> {
        let piece = |via: u32, to: SocketAddr, start: usize, length: usize| Piece {
            via,
            slot: number,
            order: 0,
            start: start as u32,
            length: length as u32,
            to,
            mark: None,
            hops: Hops::Fresh,
            train: None,
        };
        let marks = self.marks;
        match way {
            Way::Answer => {
                // No peer gets one, and so nobody whose mail this is.
                let By::Socket(socket) = by else { return None };
                let answer = &self.out.answer;
                slot[HEADROOM_BYTES..][..answer.len()].copy_from_slice(answer);
                Some(piece(socket, from, HEADROOM_BYTES, answer.len()))
            }
            Way::Peer { via, to, start, length, medium, hops } => {
                Some(Piece { mark: marks.beside(medium), hops, ..piece(via, to, start, length) })
            }
            Way::Client { client, around, start, length, medium, hops } => {
                if client.transport == Transport::Stream {
                    self.deliver(&client, around, &slot[start..][..length], medium, hops);
                    return None;
                }
                let via = (*self.listeners.get(usize::from(client.listener))?)?;
                let (head, padding): (&[u8], usize) = match &around {
                    Around::Channel(header) => (header, 0),
                    Around::Indication { padding } => (&self.out.head, usize::from(*padding)),
                    Around::Bare => (&[], 0),
                };
                slot[start - head.len()..start].copy_from_slice(head);
                slot[start + length..][..padding].fill(0);
                let whole = head.len() + length + padding;
                let piece = piece(via, client.remote, start - head.len(), whole);
                Some(Piece { mark: marks.beside(medium), hops, ..piece })
            }
        }
    }

    /// Takes a hop from what is passed on; `None`: it had no other, which is counted.
    const fn pass(&mut self, hops: Hops) -> Option<Hops> {
        let onward = hops.onward();
        if onward.is_none() {
            self.tally.hop_limit += 1;
        }
        onward
    }

    /// As [`Self::pass`], for a client; on a stream nothing has hops.
    const fn pass_to(&mut self, client: &Client, hops: Hops) -> Option<Hops> {
        match client.transport {
            Transport::Udp => self.pass(hops),
            Transport::Stream => Some(Hops::Fresh),
        }
    }

    /// Puts what is for another thread's client into that thread's box.
    pub(super) fn mail(&mut self, port: RelayPort, from: SocketAddr, payload: &[u8], hops: Hops) {
        match self.siblings.mail(Mail { port, from, payload: payload.into(), hops }) {
            Mailed::Yes => self.tally.mailed += 1,
            Mailed::Full => self.tally.full += 1,
            // It ends, and so does this one.
            Mailed::Nobody => self.tally.refused += 1,
        }
    }

    /// Opens what the core asks for, all of it or nothing, and lets it answer.
    pub(super) fn open(&mut self, now: Now, carrier: Carrier) {
        for _ in 0..limits::RELAY_PORT_TRIES_MAX {
            let opened = match carrier {
                Carrier::Udp => self.open_all(),
                Carrier::Tcp => self.open_doors(),
            };
            let (port, error) = match opened {
                Ok(opened) => {
                    self.changes.extend(opened);
                    self.relay.opened(now, Opened::All, &mut self.out);
                    return;
                }
                Err(failed) => failed,
            };
            self.tally.unopened += 1;
            tracing::debug!(%error, port = port.port, "a relayed port cannot be opened");
            // Without descriptors another port is no better.
            if error.kind() != io::ErrorKind::AddrInUse
                || self.relay.another(now, port, &mut self.out) == Another::None
            {
                break;
            }
        }
        self.relay.opened(now, Opened::Failed, &mut self.out);
    }

    fn open_all(&mut self) -> Result<SmallVec<[Change; 2]>, (RelayPort, io::Error)> {
        let mut opened: SmallVec<[u32; 2]> = SmallVec::new();
        for port in &self.out.opens {
            match self.sockets.open_port(*port) {
                Ok(number) => opened.push(number),
                Err(error) => {
                    for number in opened {
                        self.sockets.close(number);
                    }
                    return Err((*port, error));
                }
            }
        }
        Ok(opened.into_iter().map(Change::Opened).collect())
    }

    /// Notes what the core has let go of, and tells clients what it has to tell.
    pub(super) fn note_closes(&mut self) {
        for (carrier, port) in self.out.closes.drain(..) {
            let closing = match carrier {
                Carrier::Udp => self.sockets.of_port(port).map(Change::Closing),
                Carrier::Tcp => self.streams.peers.of_port(port).map(Change::StreamClosing),
            };
            self.changes.extend(closing);
        }
        if !self.out.ends.is_empty() {
            self.end_connections();
        }
        if !self.out.messages.is_empty() {
            self.tell_clients();
        }
    }

    /// Ends what has run out.
    pub(super) fn expire(&mut self, now: Now) {
        if self.relay.next_deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            self.relay.expire(now, &mut self.out);
            self.note_closes();
        }
    }

    /// Ends one client's allocation; tells whether there was one.
    pub(super) fn kill(&mut self, client: &Client) -> bool {
        let killed = self.relay.kill(client, &mut self.out);
        self.note_closes();
        killed
    }

    /// Returns a change that the plane has not seen; what was queued to be sent goes first.
    pub(super) fn next_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Tells whether the plane has something to take notice of.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }
}
