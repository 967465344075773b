//! A client's stream and a peer's as one (RFC 6062 sections 5.4 and 5.5): bytes of either go to the
//! other.
//!
//! ```text
//!  client ─> layers ─> line.out ─> peer        what one side does not take keeps the other side
//!  client <─ layers <──────── <──── peer       from being read: nothing is lost, nothing grows
//! ```

use std::io::{self, Read as _};
use std::net::Shutdown;

use smallvec::SmallVec;

use super::frames::{Left, READ_BYTES};
use super::peers::{Named, Stage};
use super::serve::{Change, Served};
use super::streams::Half;
use crate::edge::av::{Connected, ConnectionId, Direction, RelayPort};
use crate::limits;
use crate::poll::Token;
use crate::time::Now;

/// How a pass over one direction of a pair ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// Nothing is there, or the other side takes no more: some event will tell.
    Idle,
    /// There may be more.
    More,
    /// The rate is used up; time will help.
    Paused,
    /// That side has sent its last byte.
    Ended,
    /// The pair is over.
    Broken,
}

/// Reads of one side in one turn.
const READS_PER_TURN: usize = limits::READ_BYTES_PER_TURN_MAX / READ_BYTES;

impl Served {
    /// Opens a listener for each port that the core asks for, or none.
    pub(super) fn open_doors(&mut self) -> Result<SmallVec<[Change; 2]>, (RelayPort, io::Error)> {
        let mut opened: SmallVec<[Token; 2]> = SmallVec::new();
        // One that is to go and is wanted again, by the next message of the same read, stays where
        // it is shared: the core knows whose an address is. At a port of one allocation all that
        // waits would be the next one's, so it is as one that somebody else has.
        let mut kept: SmallVec<[Token; 2]> = SmallVec::new();
        for port in &self.out.opens {
            let there = self.streams.peers.of_port(*port);
            if let Some(token) = there.filter(|_| self.relay.shares_ports()) {
                kept.push(token);
                continue;
            }
            let going = there.map(|_| io::ErrorKind::AddrInUse.into());
            match going.map_or_else(|| self.streams.peers.open_port(*port), Err) {
                Ok(token) => opened.push(token),
                Err(error) => {
                    for token in opened {
                        self.streams.peers.close(token);
                    }
                    return Err((*port, error));
                }
            }
        }
        let goes = |token: &Token| Change::StreamClosing(*token);
        self.changes.retain(|change| !kept.iter().any(|token| *change == goes(token)));
        Ok(opened.into_iter().map(Change::StreamOpened).collect())
    }

    /// Begins to connect to a peer.
    pub(super) fn connect(
        &mut self,
        now: Now,
        connection: ConnectionId,
        port: RelayPort,
        peer: std::net::SocketAddr,
    ) {
        match self.streams.peers.connect(port, peer, connection) {
            Ok(token) => self.changes.push_back(Change::StreamOpened(token)),
            Err(error) => {
                tracing::debug!(%error, "a peer cannot be connected to");
                self.relay.connected(now, connection, Connected::Failed, &mut self.out);
            }
        }
    }

    /// The client's stream is the connection's from here on.
    pub(super) fn bind(&mut self, line: u32, connection: ConnectionId) {
        let Some(number) = self.streams.peers.of_connection(connection) else {
            self.close(line);
            return;
        };
        if let Some(peer) = self.streams.peers.get_mut(number) {
            peer.client = Some(line);
        }
        self.streams.bind(line, number);
    }

    /// Serves a peer's stream or a relayed port that became ready.
    pub(super) fn peer_ready(&mut self, now: Now, named: Named) -> Left {
        let left = match named {
            Named::Door(door) => self.accept_peers(now, door),
            Named::Line(number) => {
                let Some(line) = self.streams.peers.get_mut(number) else { return Left::Nothing };
                match line.stage {
                    Stage::Connecting => {
                        self.peer_connected(now, number);
                        Left::Nothing
                    }
                    Stage::Open => self.pump(now, number),
                }
            }
        };
        self.note_closes();
        left
    }

    fn accept_peers(&mut self, now: Now, door: u32) -> Left {
        for _ in 0..limits::ACCEPTS_PER_TURN_MAX {
            let (socket, peer, port) = match self.streams.peers.accept(door) {
                Ok(accepted) => accepted,
                // Whatever it was, the next one that comes is told.
                Err(_) => return Left::Nothing,
            };
            let accepted = self.relay.accepted(now.monotonic, port, peer, &mut self.out);
            let Some(connection) = accepted else {
                tracing::debug!(%peer, port = port.port, "a peer that connects is not let in");
                continue;
            };
            match self.streams.peers.take(socket, connection) {
                Ok(token) => self.changes.push_back(Change::StreamOpened(token)),
                Err(_) => self.relay.connection_gone(connection),
            }
        }
        Left::More
    }

    fn peer_connected(&mut self, now: Now, number: u32) {
        let Some(line) = self.streams.peers.get_mut(number) else { return };
        let connection = line.connection;
        let how = match line.connected() {
            None => return,
            Some(Ok(())) => {
                line.stage = Stage::Open;
                Connected::Open
            }
            Some(Err(_)) => Connected::Failed,
        };
        if how == Connected::Failed {
            self.close_peer(number);
        }
        self.relay.connected(now, connection, how, &mut self.out);
    }

    /// Carries what is there, both ways.
    pub(super) fn pump(&mut self, now: Now, number: u32) -> Left {
        let Some(line) = self.streams.peers.get_mut(number) else { return Left::Nothing };
        // What a peer sends before the client has claimed it waits in the kernel.
        let Some(client) = line.client else { return Left::Nothing };
        let passed =
            [self.pass_to_peer(now, number, client), self.pass_to_client(now, number, client)];
        if passed.contains(&Passed::Broken) || passed == [Passed::Ended; 2] {
            self.close(client);
            self.close_peer(number);
            return Left::Nothing;
        }
        if passed.contains(&Passed::Paused)
            && let Some(line) = self.streams.peers.get_mut(number)
            && !std::mem::replace(&mut line.paused, true)
        {
            self.paused.push(number);
        }
        if passed.contains(&Passed::More) { Left::More } else { Left::Nothing }
    }

    fn pass_to_peer(&mut self, now: Now, number: u32, client: u32) -> Passed {
        for _ in 0..READS_PER_TURN {
            let ended = self.streams.is_ended(client);
            let Some(peer) = self.streams.peers.get_mut(number) else { return Passed::Broken };
            let connection = peer.connection;
            if peer.write().is_err() {
                return Passed::Broken;
            }
            if peer.backlog() > 0 {
                return Passed::Idle;
            }
            if ended {
                // It has everything that there was.
                let _ = peer.socket.shutdown(Shutdown::Write);
                return Passed::Ended;
            }
            let room = self.relay.connection_room(now.monotonic, connection).min(READ_BYTES);
            if room == 0 {
                return Passed::Paused;
            }
            let mut out = std::mem::take(&mut peer.out);
            let read = self.read_client(client, room);
            let bytes = self.streams.swap_raw(client, &mut out);
            if let Some(peer) = self.streams.peers.get_mut(number) {
                peer.out = out;
            }
            self.relay.connection_carried(now.monotonic, connection, Direction::ToPeer, bytes);
            match read {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && bytes == 0 => {
                    return Passed::Idle;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.streams.note_end(client);
                }
                Err(_) => return Passed::Broken,
            }
        }
        Passed::More
    }

    /// Reads once from a client's stream, through its layers.
    fn read_client(&mut self, client: u32, room: usize) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.streams.read(client, &mut buffer[..room]);
        let taken = read.and_then(|bytes| {
            self.streams.take_bound(client, buffer.get_mut(..bytes).unwrap_or_default())
        });
        self.buffer = buffer;
        taken
    }

    fn pass_to_client(&mut self, now: Now, number: u32, client: u32) -> Passed {
        for _ in 0..READS_PER_TURN {
            match self.streams.write_bound(client) {
                Err(_) => return Passed::Broken,
                Ok(backlog) if backlog > 0 => return Passed::Idle,
                Ok(_) => {}
            }
            let Some(peer) = self.streams.peers.get_mut(number) else { return Passed::Broken };
            let connection = peer.connection;
            if peer.ended {
                return match self.streams.end_towards(client) {
                    Half::Reads => Passed::Ended,
                    Half::Neither => Passed::Broken,
                };
            }
            let room = self.relay.connection_room(now.monotonic, connection).min(READ_BYTES);
            if room == 0 {
                return Passed::Paused;
            }
            match peer.socket.read(&mut self.buffer[..room]) {
                Ok(0) => peer.ended = true,
                Ok(bytes) => {
                    self.streams.give_raw(client, &self.buffer[..bytes]);
                    let now = now.monotonic;
                    self.relay.connection_carried(now, connection, Direction::ToClient, bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Passed::Idle,
                Err(_) => return Passed::Broken,
            }
        }
        Passed::More
    }

    /// Looks again at pairs whose rate was used up.
    pub(super) fn resume(&mut self, now: Now) {
        for number in std::mem::take(&mut self.paused) {
            let Some(line) = self.streams.peers.get_mut(number) else { continue };
            line.paused = false;
            if self.pump(now, number) == Left::More
                && let Some(line) = self.streams.peers.get_mut(number)
                && !std::mem::replace(&mut line.paused, true)
            {
                self.paused.push(number);
            }
        }
        self.note_closes();
    }

    /// Lets the plane close a peer's stream.
    pub(super) fn close_peer(&mut self, number: u32) {
        if let Some(token) = self.streams.peers.token(number) {
            self.changes.push_back(Change::StreamClosing(token));
        }
    }

    /// Ends a stream that no poller knows any more, and what it was one with.
    pub(super) fn peer_gone(&mut self, token: Token) {
        let Some(line) = self.streams.peers.close(token) else { return };
        self.relay.connection_gone(line.connection);
        if let Some(client) = line.client {
            self.streams.unbind(client);
            self.close(client);
        }
    }

    /// Ends both sides of connections that the core has ended.
    pub(super) fn end_connections(&mut self) {
        for connection in std::mem::take(&mut self.out.ends) {
            let Some(number) = self.streams.peers.of_connection(connection) else { continue };
            if let Some(client) = self.streams.peers.get_mut(number).and_then(|peer| peer.client) {
                self.close(client);
            }
            self.close_peer(number);
        }
    }
}
