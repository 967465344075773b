//! TCP connections with peers (RFC 6062): relayed ports that listen, and streams to and from them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use slab::Slab;

use super::sockets;
use crate::edge::av::{ConnectionId, RelayPort, RelayedAddress};
use crate::poll::{Interest, Token};

/// A stream with a peer.
pub(super) struct Line {
    pub(super) socket: TcpStream,
    pub(super) connection: ConnectionId,
    pub(super) stage: Stage,
    /// The client's stream that it is one with.
    pub(super) client: Option<u32>,
    /// What is to be written; the first `written` bytes are.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// It has sent its last byte.
    pub(super) ended: bool,
    /// It is among those whose rate is used up.
    pub(super) paused: bool,
    generation: u32,
}

/// How far a stream with a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Open,
}

/// A relayed port that peers connect to.
struct Door {
    listener: TcpListener,
    port: RelayPort,
    generation: u32,
}

/// All of one thread.
pub(super) struct Peers {
    lines: Slab<Line>,
    by_connection: HashMap<ConnectionId, u32, RandomState>,
    doors: Slab<Door>,
    by_port: HashMap<RelayPort, u32, RandomState>,
    relayed: Vec<RelayedAddress>,
    generation: u32,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Door(u32),
    Line(u32),
}

/// Tokens of what is here; those of other streams and of datagram sockets have no such bit.
const PEER: u64 = 1 << 61;
/// Of these, the tokens of ports that listen.
const DOOR: u64 = 1 << 60;
const GENERATION_MAX: u32 = 0x0fff_ffff;

impl Peers {
    pub(super) fn new(relayed: Vec<RelayedAddress>) -> Self {
        Self {
            lines: Slab::new(),
            by_connection: HashMap::default(),
            doors: Slab::new(),
            by_port: HashMap::default(),
            relayed,
            generation: 0,
        }
    }

    /// Tells whether a token is one of these.
    pub(super) const fn is_one(token: Token) -> bool {
        token.0 & PEER != 0
    }

    pub(super) fn named(&self, token: Token) -> Option<Named> {
        let number = token.0 as u32;
        let (there, named) = if token.0 & DOOR != 0 {
            (self.door_token(number), Named::Door(number))
        } else {
            (self.token(number), Named::Line(number))
        };
        (there == Some(token)).then_some(named)
    }

    pub(super) fn token(&self, number: u32) -> Option<Token> {
        let line = self.lines.get(number as usize)?;
        Some(Token(PEER | u64::from(line.generation) << 32 | u64::from(number)))
    }

    fn door_token(&self, number: u32) -> Option<Token> {
        let door = self.doors.get(number as usize)?;
        Some(Token(PEER | DOOR | u64::from(door.generation) << 32 | u64::from(number)))
    }

    /// Returns what to poll for a token that is one of these.
    pub(super) fn polled(&self, token: Token) -> Option<(RawFd, Interest)> {
        match self.named(token)? {
            Named::Door(number) => {
                let door = self.doors.get(number as usize)?;
                Some((door.listener.as_raw_fd(), Interest::Read))
            }
            Named::Line(number) => {
                let line = self.lines.get(number as usize)?;
                Some((line.socket.as_raw_fd(), Interest::ReadWrite))
            }
        }
    }

    /// Returns the tokens of everything that is open.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let lines = self.lines.iter().filter_map(|(number, _)| self.token(number as u32));
        let doors = self.doors.iter().filter_map(|(number, _)| self.door_token(number as u32));
        lines.chain(doors).collect()
    }

    /// Lets peers connect to a relayed port.
    ///
    /// # Errors
    /// The kernel's: the port is somebody else's, no descriptor is left, the address is not here.
    pub(super) fn open_port(&mut self, port: RelayPort) -> io::Result<Token> {
        let address = self.bound(port);
        let listener = sockets::bind_relayed_door(address)?;
        let generation = self.next_generation();
        let number = self.doors.insert(Door { listener, port, generation }) as u32;
        let before = self.by_port.insert(port, number);
        assert!(before.is_none(), "a port is opened once");
        Ok(self.door_token(number).expect("it was just put there"))
    }

    /// Returns the token of a port that listens.
    pub(super) fn of_port(&self, port: RelayPort) -> Option<Token> {
        self.by_port.get(&port).and_then(|number| self.door_token(*number))
    }

    /// Accepts one connection at a relayed port.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` when nobody waits.
    pub(super) fn accept(&self, door: u32) -> io::Result<(TcpStream, SocketAddr, RelayPort)> {
        let door = self.doors.get(door as usize).ok_or(io::ErrorKind::WouldBlock)?;
        let (socket, peer) = door.listener.accept()?;
        Ok((socket, peer, door.port))
    }

    /// Takes the stream of an accepted connection.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn take(&mut self, socket: TcpStream, id: ConnectionId) -> io::Result<Token> {
        socket.set_nonblocking(true)?;
        self.insert(socket, id, Stage::Open)
    }

    /// Begins to connect to a peer from a relayed port.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn connect(
        &mut self,
        port: RelayPort,
        peer: SocketAddr,
        id: ConnectionId,
    ) -> io::Result<Token> {
        let socket = sockets::connect_from(self.bound(port), peer)?;
        self.insert(socket, id, Stage::Connecting)
    }

    fn insert(&mut self, socket: TcpStream, id: ConnectionId, stage: Stage) -> io::Result<Token> {
        socket.set_nodelay(true)?;
        let generation = self.next_generation();
        let line = Line {
            socket,
            connection: id,
            stage,
            client: None,
            out: Vec::new(),
            written: 0,
            ended: false,
            paused: false,
            generation,
        };
        let number = self.lines.insert(line) as u32;
        self.by_connection.insert(id, number);
        Ok(self.token(number).expect("it was just put there"))
    }

    fn bound(&self, port: RelayPort) -> SocketAddr {
        SocketAddr::new(self.relayed[usize::from(port.address)].bound, port.port)
    }

    const fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1) & GENERATION_MAX;
        self.generation
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Line> {
        self.lines.get_mut(number as usize)
    }

    /// Returns the number of a connection's stream.
    pub(super) fn of_connection(&self, id: ConnectionId) -> Option<u32> {
        self.by_connection.get(&id).copied()
    }

    /// Closes what no poller knows any more; a stream is returned.
    pub(super) fn close(&mut self, token: Token) -> Option<Line> {
        match self.named(token)? {
            Named::Door(number) => {
                let door = self.doors.remove(number as usize);
                self.by_port.remove(&door.port);
                None
            }
            Named::Line(number) => {
                let line = self.lines.remove(number as usize);
                self.by_connection.remove(&line.connection);
                Some(line)
            }
        }
    }
}

impl Line {
    /// Returns bytes that wait to be written.
    pub(super) const fn backlog(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes as much as the kernel takes.
    ///
    /// # Errors
    /// The kernel's; it takes no more is none.
    pub(super) fn write(&mut self) -> io::Result<()> {
        use std::io::Write as _;
        // Bound: every pass writes a byte at least, of a bounded backlog.
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Tells how an attempt to connect stands; `None` while it goes on.
    pub(super) fn connected(&self) -> Option<io::Result<()>> {
        match self.socket.take_error() {
            Ok(Some(error)) | Err(error) => return Some(Err(error)),
            Ok(None) => {}
        }
        match self.socket.peer_addr() {
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        }
    }
}
