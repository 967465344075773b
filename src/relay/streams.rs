//! The streams of one thread: accepted, named, swept and closed.
//!
//! They share the thread with datagrams, not a plane of their own: an allocation lives on one
//! thread, and a frame handed to another costs a wake-up (some 20 us) where serving it here costs
//! one or two. Their share of a turn is bounded as that of a socket is, handshakes above all.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use slab::Slab;

use super::crowd::{Crowd, Member};
use super::peers::{self, Peers};
use super::stream::{Broken, Stream};
use crate::edge::av::{Client, RelayedAddress, Transport};
use crate::limits;
use crate::poll::{Interest, Token};
use crate::time::Monotonic;
use crate::tls::Server;

/// A door for streams.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    /// Its number among the core's listeners.
    pub(super) number: u16,
    pub(super) addressed: SocketAddr,
    /// How TLS is accepted here.
    pub(super) server: Option<Arc<Server>>,
}

/// A stream with its socket.
pub(super) struct Line {
    pub(super) socket: TcpStream,
    pub(super) client: Client,
    pub(super) addressed: SocketAddr,
    pub(super) stream: Stream,
    /// The DSCP that it is marked with.
    pub(super) mark: u8,
    door: u16,
    generation: u32,
    since: Monotonic,
    member: Member,
    dirty: bool,
    /// The peer's stream that it is one with.
    bound: Option<u32>,
    /// A bound one has sent its last byte.
    ended: bool,
}

/// What a stream that nothing more is sent on still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Reads,
    Neither,
}

/// All streams of one thread.
pub(super) struct Streams {
    pub(super) doors: Vec<Door>,
    /// Those with peers.
    pub(super) peers: Peers,
    lines: Slab<Line>,
    by_client: HashMap<Client, u32, RandomState>,
    /// How many there are with any thread.
    crowd: Crowd,
    dirty: Vec<u32>,
    generation: u32,
    swept: usize,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Door(usize),
    Line(u32),
    Peer(peers::Named),
}

/// Tokens of streams and of doors; those of datagram sockets have neither bit, nor that of peers.
const LINE: u64 = 1 << 63;
const DOOR: u64 = 1 << 62;
const GENERATION_MAX: u32 = 0x1fff_ffff;

impl Streams {
    /// `relayed`: the addresses that peers are connected with from.
    pub(super) fn new(doors: Vec<Door>, relayed: Vec<RelayedAddress>, crowd: Crowd) -> Self {
        Self {
            doors,
            peers: Peers::new(relayed),
            lines: Slab::new(),
            by_client: HashMap::default(),
            crowd,
            dirty: Vec::new(),
            generation: 0,
            swept: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns what to poll for new streams.
    pub(super) fn doors(&self) -> impl Iterator<Item = (RawFd, Token)> {
        let token = |place: usize| Token(DOOR | place as u64);
        self.doors
            .iter()
            .enumerate()
            .map(move |(place, door)| (door.listener.as_raw_fd(), token(place)))
    }

    pub(super) fn named(&self, token: Token) -> Option<Named> {
        if Peers::is_one(token) {
            return self.peers.named(token).map(Named::Peer);
        }
        if token.0 & LINE != 0 {
            let number = token.0 as u32;
            return (self.token(number) == Some(token)).then_some(Named::Line(number));
        }
        let place = (token.0 & !DOOR) as usize;
        (token.0 & DOOR != 0 && place < self.doors.len()).then_some(Named::Door(place))
    }

    pub(super) fn token(&self, number: u32) -> Option<Token> {
        let line = self.lines.get(number as usize)?;
        Some(Token(LINE | u64::from(line.generation) << 32 | u64::from(number)))
    }

    /// Returns what to poll for a token of a stream or of a relayed port.
    pub(super) fn polled(&self, token: Token) -> Option<(RawFd, Interest)> {
        match self.named(token)? {
            Named::Door(_) => None,
            Named::Line(number) => {
                let line = self.lines.get(number as usize)?;
                Some((line.socket.as_raw_fd(), Interest::ReadWrite))
            }
            Named::Peer(_) => self.peers.polled(token),
        }
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Line> {
        self.lines.get_mut(number as usize)
    }

    /// Returns the stream of a client.
    pub(super) fn of_client(&mut self, client: &Client) -> Option<(u32, &mut Line)> {
        let number = *self.by_client.get(client)?;
        self.lines.get_mut(number as usize).map(|line| (number, line))
    }

    /// Accepts one stream; `Ok(None)`: it was more than there may be, and is closed again.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` when nobody waits.
    pub(super) fn accept(&mut self, door: usize, now: Monotonic) -> io::Result<Option<u32>> {
        let Door { listener, number, addressed, .. } = &self.doors[door];
        let (socket, remote) = listener.accept()?;
        let client = Client { listener: *number, transport: Transport::Stream, remote };
        let addressed = *addressed;
        if self.by_client.contains_key(&client) {
            return Ok(None);
        }
        let Some(member) = self.crowd.join(remote.ip()) else { return Ok(None) };
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        self.generation = self.generation.wrapping_add(1) & GENERATION_MAX;
        let line = Line {
            socket,
            client,
            addressed,
            stream: Stream::new(),
            mark: 0,
            door: door as u16,
            generation: self.generation,
            since: now,
            member,
            dirty: false,
            bound: None,
            ended: false,
        };
        let number = self.lines.insert(line) as u32;
        self.by_client.insert(client, number);
        Ok(Some(number))
    }

    /// Reads once; returns how many bytes came.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` when nothing is there, `UnexpectedEof` at the end.
    pub(super) fn read(&mut self, number: u32, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.lines.get_mut(number as usize).ok_or(io::ErrorKind::NotFound)?;
        match line.socket.read(buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => Ok(bytes),
        }
    }

    /// Lets the layers of a stream have what was read.
    pub(super) fn take(
        &mut self,
        number: u32,
        input: &mut [u8],
        random: impl FnOnce() -> [u8; 32],
    ) -> Result<(), Broken> {
        let Some(line) = self.lines.get_mut(number as usize) else { return Ok(()) };
        let server = self.doors[usize::from(line.door)].server.as_ref();
        let taken = line.stream.take(input, server, random);
        self.touch(number);
        taken
    }

    /// Notes that something of a stream may have to be written.
    pub(super) fn touch(&mut self, number: u32) {
        if let Some(line) = self.lines.get_mut(number as usize)
            && !line.dirty
        {
            line.dirty = true;
            self.dirty.push(number);
        }
    }

    /// Notes that the client of a stream has an allocation.
    pub(super) fn proven(&mut self, number: u32) {
        if let Some(line) = self.lines.get_mut(number as usize) {
            line.member.proven();
        }
    }

    /// Writes what is staged; returns streams that are broken.
    pub(super) fn flush(&mut self) -> Vec<u32> {
        let mut broken = Vec::new();
        for number in std::mem::take(&mut self.dirty) {
            let Some(line) = self.lines.get_mut(number as usize) else { continue };
            line.dirty = false;
            if line.write().is_err() {
                broken.push(number);
            }
        }
        broken
    }

    /// Looks at some streams, in turn, and returns those whose time without an allocation is over.
    pub(super) fn sweep(
        &mut self,
        now: Monotonic,
        has_allocation: impl Fn(&Client) -> bool,
    ) -> Vec<u32> {
        let mut over = Vec::new();
        let end = self.lines.capacity();
        for _ in 0..limits::RELAY_STREAMS_SWEPT_PER_TURN.min(end) {
            self.swept = (self.swept + 1) % end;
            let Some(line) = self.lines.get_mut(self.swept) else { continue };
            if line.bound.is_some() || has_allocation(&line.client) {
                line.since = now;
            } else if now >= line.since.plus_ms(limits::RELAY_STREAM_UNPROVEN_MS) {
                over.push(self.swept as u32);
            }
        }
        over
    }

    /// Closes a stream that no poller knows any more; returns whose it was.
    pub(super) fn close(&mut self, number: u32) -> Option<Client> {
        let line = self.lines.try_remove(number as usize)?;
        self.by_client.remove(&line.client);
        Some(line.client)
    }

    /// Returns the tokens of everything that is open but the doors.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let lines = self.lines.iter().filter_map(|(number, _)| self.token(number as u32));
        lines.chain(self.peers.tokens()).collect()
    }

    /// Makes a client's stream one with a peer's.
    pub(super) fn bind(&mut self, number: u32, peer: u32) {
        self.proven(number);
        if let Some(line) = self.lines.get_mut(number as usize) {
            line.bound = Some(peer);
            line.stream.make_raw();
        }
    }

    /// The peer's stream is gone.
    pub(super) fn unbind(&mut self, number: u32) {
        if let Some(line) = self.lines.get_mut(number as usize) {
            line.bound = None;
        }
    }

    /// Returns the peer's stream that a client's is one with.
    pub(super) fn bound(&self, number: u32) -> Option<u32> {
        self.lines.get(number as usize).and_then(|line| line.bound)
    }

    /// Tells whether a bound stream has sent its last byte.
    pub(super) fn is_ended(&self, number: u32) -> bool {
        self.lines.get(number as usize).is_none_or(|line| line.ended)
    }

    /// Notes that a bound stream has sent its last byte.
    pub(super) fn note_end(&mut self, number: u32) {
        if let Some(line) = self.lines.get_mut(number as usize) {
            line.ended = true;
        }
    }

    /// Lets the layers of a bound stream have what was read.
    ///
    /// # Errors
    /// `UnexpectedEof` where the client says that nothing more comes; `InvalidData` where its
    /// layers are broken.
    pub(super) fn take_bound(&mut self, number: u32, input: &mut [u8]) -> io::Result<()> {
        // Its layers are known since its first bytes, so that no hello is wanted.
        self.take(number, input, || [0; 32]).map_err(|broken| match broken {
            Broken::Closed => io::ErrorKind::UnexpectedEof.into(),
            Broken::Nonsense | Broken::Oversized => io::ErrorKind::InvalidData.into(),
        })
    }

    /// Exchanges what has come on a bound stream for an empty buffer; returns how much it was.
    pub(super) fn swap_raw(&mut self, number: u32, empty: &mut Vec<u8>) -> usize {
        self.lines.get_mut(number as usize).map_or(0, |line| line.stream.swap_raw(empty))
    }

    /// Stages a peer's bytes for a bound stream.
    pub(super) fn give_raw(&mut self, number: u32, bytes: &[u8]) {
        if let Some(line) = self.lines.get_mut(number as usize) {
            line.stream.give_raw(bytes);
        }
    }

    /// Writes what a bound stream has staged; returns what is left of it.
    pub(super) fn write_bound(&mut self, number: u32) -> Result<usize, Broken> {
        let line = self.lines.get_mut(number as usize).ok_or(Broken::Closed)?;
        line.write()?;
        Ok(line.stream.backlog())
    }

    /// Says on a bound stream, of which everything is written, that nothing more comes.
    pub(super) fn end_towards(&mut self, number: u32) -> Half {
        let Some(line) = self.lines.get_mut(number as usize) else { return Half::Neither };
        if line.stream.end() {
            let _ = line.socket.shutdown(Shutdown::Write);
            return Half::Reads;
        }
        // What the kernel does not take of the alert is lost; the end is seen without it.
        let _ = line.write();
        Half::Neither
    }
}

impl Line {
    /// Writes as much as the kernel takes.
    fn write(&mut self) -> Result<(), Broken> {
        // Bound: every pass writes a byte at least, of a bounded backlog.
        loop {
            let outgoing = self.stream.outgoing()?;
            if outgoing.is_empty() {
                return Ok(());
            }
            match self.socket.write(outgoing) {
                Ok(0) => return Err(Broken::Closed),
                Ok(bytes) => self.stream.wrote(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Broken::Closed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::sockets;

    #[test]
    fn who_says_a_byte_a_minute_is_let_go_of_unless_he_has_an_allocation() {
        let alone = sockets::Share { number: 0, threads: 1 };
        let listener = sockets::bind_door("127.0.0.1:0".parse().unwrap(), alone).unwrap();
        let addressed = listener.local_addr().unwrap();
        let door = Door { listener, number: 0, addressed, server: None };
        let mut streams = Streams::new(vec![door], Vec::new(), Crowd::new());
        let mut client = TcpStream::connect(addressed).unwrap();
        let start = Monotonic(1_000_000_000);
        let number = streams.accept(0, start).unwrap().expect("let in");
        let mut at = start;
        for byte in [0, 3, 0, 8] {
            client.write_all(&[byte]).unwrap();
            streams.take(number, &mut [byte], || [0; 32]).unwrap();
            assert!(streams.sweep(at, |_| true).is_empty(), "it has one");
            at = at.plus_ms(60_000);
        }
        let since = at.plus_ms(limits::RELAY_STREAM_UNPROVEN_MS);
        assert!(streams.sweep(at, |_| true).is_empty());
        client.write_all(&[0]).unwrap();
        streams.take(number, &mut [0], || [0; 32]).unwrap();
        let before = Monotonic(since.0 - 1);
        assert!(streams.sweep(before, |_| false).is_empty());
        assert_eq!(streams.sweep(since, |_| false), [number], "bytes do not buy time");
    }
}
