//! What becomes of streams and of the messages on them.

use std::io;

use super::hops::Hops;
use super::marks;
use super::peers::Peers;
use super::serve::{Change, Served};
use super::streams::Named;
use crate::edge::av::{Around, Arrival, Client, Medium, Step, Transport};
use crate::limits;
use crate::poll::Token;
use crate::stun::ms::FrameKind;
use crate::time::Now;

/// Whether something may be left that no poller will tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    More,
}

/// Bytes of one read.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// Reads of one stream in one turn.
const READS_PER_TURN: usize = limits::READ_BYTES_PER_TURN_MAX / READ_BYTES;

impl Served {
    /// Serves a door or a stream that became ready.
    pub(super) fn stream_ready(&mut self, now: Now, named: Named) -> Left {
        match named {
            Named::Door(place) => self.accept(now, place),
            Named::Line(number) => {
                // Whatever it was, there may be room to write.
                self.streams.touch(number);
                match self.streams.bound(number) {
                    Some(peer) => self.pump(now, peer),
                    None => self.read(now, number),
                }
            }
            Named::Peer(named) => self.peer_ready(now, named),
        }
    }

    fn accept(&mut self, now: Now, door: usize) -> Left {
        for _ in 0..limits::ACCEPTS_PER_TURN_MAX {
            match self.streams.accept(door, now.monotonic) {
                Ok(Some(number)) => {
                    self.mark(number, Medium::Other);
                    self.changes.extend(self.streams.token(number).map(Change::StreamOpened));
                }
                Ok(None) => self.tally.streams_refused += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Left::Nothing,
                // No descriptor or a connection that is gone; the next one that comes is told.
                Err(_) => {
                    self.tally.streams_refused += 1;
                    return Left::Nothing;
                }
            }
        }
        Left::More
    }

    fn read(&mut self, now: Now, number: u32) -> Left {
        for _ in 0..READS_PER_TURN {
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = self.streams.read(number, &mut buffer);
            let taken = match read {
                Ok(bytes) => {
                    let random = random(&mut self.hellos);
                    let input = buffer.get_mut(..bytes).unwrap_or_default();
                    Some(self.streams.take(number, input, || random).is_ok())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(_) => Some(false),
            };
            self.buffer = buffer;
            match taken {
                None => return Left::Nothing,
                // What came before the end counts still.
                Some(whole) => {
                    let framed = self.messages(now, number);
                    if let Some(peer) = self.streams.bound(number) {
                        if !whole {
                            self.streams.note_end(number);
                        }
                        return self.pump(now, peer);
                    }
                    if !whole || !framed {
                        self.close(number);
                        return Left::Nothing;
                    }
                }
            }
        }
        Left::More
    }

    /// Serves every whole message that came on a stream; tells whether it may go on.
    fn messages(&mut self, now: Now, number: u32) -> bool {
        let Some(line) = self.streams.get_mut(number) else { return true };
        let (client, addressed) = (line.client, line.addressed);
        let came = line.stream.came();
        let mut at = 0;
        let mut framed = true;
        // Bound: a message has four bytes at least, and less than one was left of the last read.
        for _ in 0..=came.len() / 4 {
            let Some(line) = self.streams.get_mut(number) else { break };
            match line.stream.next(&came, at) {
                Ok(Some(cut)) => {
                    let datagram = &came[cut.start..][..cut.length];
                    let arrival = Arrival { client, addressed, datagram };
                    self.message(now, number, cut.kind, arrival);
                    at = cut.next;
                    if self.streams.bound(number).is_some() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    framed = false;
                    break;
                }
            }
        }
        if let Some(line) = self.streams.get_mut(number) {
            line.stream.keep(came, at);
        }
        framed
    }

    fn message(&mut self, now: Now, number: u32, kind: Option<FrameKind>, arrival: Arrival<'_>) {
        self.tally.received += 1;
        let client = arrival.client;
        let step = match kind {
            Some(FrameKind::Data) => self.relay.from_client_data(now, arrival, &mut self.out),
            Some(FrameKind::Control) | None => self.relay.from_client(now, arrival, &mut self.out),
        };
        match step {
            Step::Drop(_) => {}
            Step::Answer => self.answer(number, &client),
            Step::Open(carrier) => {
                self.open(now, carrier);
                self.answer(number, &client);
            }
            Step::Connect { connection, port, peer } => self.connect(now, connection, port, peer),
            Step::Bind { connection } => {
                self.answer(number, &client);
                self.bind(number, connection);
            }
            Step::ToPeer { port, peer, payload, medium } => {
                // A client that was on datagrams before it moved may have left its hops.
                if let Some(via) = self.sockets.of_port(port)
                    && self.sockets.gives(via, Hops::Fresh)
                    && let Some(socket) = self.sockets.get(via)
                {
                    let mark = self.marks.beside(medium);
                    self.tally.sent(marks::send_to(socket, payload, peer, mark, Hops::Fresh));
                }
            }
            Step::ToSibling { port, from, payload } => {
                self.mail(port, from, payload, Hops::Fresh);
            }
            Step::ToClient { client, around, payload, medium } => {
                self.deliver(&client, around, payload, medium, Hops::Fresh);
            }
        }
        self.note_closes();
    }

    fn answer(&mut self, number: u32, client: &Client) {
        if self.relay.has_allocation(client) {
            self.streams.proven(number);
        }
        let answer = std::mem::take(&mut self.out.answer);
        self.say(number, &answer);
        self.out.answer = answer;
    }

    /// Stages a message that is no data. Who asks and does not read what is answered is let go of.
    fn say(&mut self, number: u32, message: &[u8]) {
        let Some(line) = self.streams.get_mut(number) else { return };
        if line.stream.backlog() + message.len() > limits::RELAY_STREAM_OUT_BYTES_MAX {
            self.close(number);
            return;
        }
        line.stream.answer(message);
        self.streams.touch(number);
    }

    /// Gives clients what the core has to tell them.
    pub(super) fn tell_clients(&mut self) {
        for (client, message) in std::mem::take(&mut self.out.messages) {
            if let Some((number, _)) = self.streams.of_client(&client) {
                self.say(number, &message);
            }
        }
    }

    /// Gives a client what is for it, wherever the payload lies. `hops`: of a datagram.
    pub(super) fn deliver(
        &mut self,
        client: &Client,
        around: Around,
        payload: &[u8],
        medium: Medium,
        hops: Hops,
    ) {
        if client.transport == Transport::Stream {
            let Some((number, _)) = self.streams.of_client(client) else { return };
            self.mark(number, medium);
            let Some(line) = self.streams.get_mut(number) else { return };
            if line.stream.deliver(&around, &self.out.head, payload) {
                self.tally.sent += 1;
                self.streams.touch(number);
            } else {
                self.tally.full += 1;
            }
            return;
        }
        let via = self.listeners.get(usize::from(client.listener)).copied().flatten();
        let Some(socket) = via.and_then(|via| self.sockets.get(via)) else { return };
        self.wrapped.clear();
        let padding = match &around {
            Around::Channel(header) => {
                self.wrapped.extend_from_slice(header);
                0
            }
            Around::Indication { padding } => {
                self.wrapped.extend_from_slice(&self.out.head);
                usize::from(*padding)
            }
            Around::Bare => 0,
        };
        self.wrapped.extend_from_slice(payload);
        self.wrapped.resize(self.wrapped.len() + padding, 0);
        let mark = self.marks.beside(medium);
        self.tally.sent(marks::send_to(socket, &self.wrapped, client.remote, mark, hops));
    }

    /// Marks a stream by the medium that goes on it from here on. One of several is marked by what
    /// came last: its bytes are in one order.
    fn mark(&mut self, number: u32, medium: Medium) {
        let mark = self.marks.of(medium);
        let Some(line) = self.streams.get_mut(number) else { return };
        if line.mark != mark {
            line.mark = mark;
            marks::mark_stream(&line.socket, &line.client.remote, mark);
        }
    }

    /// Lets the plane close a stream.
    pub(super) fn close(&mut self, number: u32) {
        if let Some(token) = self.streams.token(number) {
            self.changes.push_back(Change::StreamClosing(token));
        }
    }

    /// Ends a stream that no poller knows any more, and the allocation of its client.
    pub(super) fn stream_gone(&mut self, token: Token) {
        if Peers::is_one(token) {
            self.peer_gone(token);
            return;
        }
        let Some(Named::Line(number)) = self.streams.named(token) else { return };
        if let Some(peer) = self.streams.bound(number) {
            if let Some(line) = self.streams.peers.get_mut(peer) {
                line.client = None;
            }
            self.close_peer(peer);
        }
        if let Some(client) = self.streams.close(number) {
            self.relay.client_gone(&client, &mut self.out);
            self.note_closes();
        }
    }

    /// Writes what streams have staged, and looks after those whose time is over.
    pub(super) fn flush_streams(&mut self, now: Now) {
        let relay = &self.relay;
        let over = self.streams.sweep(now.monotonic, |client| relay.has_allocation(client));
        for number in over.into_iter().chain(self.streams.flush()) {
            self.close(number);
        }
    }
}

/// Returns bytes for a hello that encrypts nothing: they only have to differ.
fn random(hellos: &mut u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        *hellos = hellos.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        chunk.copy_from_slice(&(*hellos >> 7).to_be_bytes());
    }
    bytes
}
