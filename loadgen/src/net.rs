//! Connections of the generator: one epoll, TLS on each stream, whole messages to a [`Handler`].
//!
//! Everything sent on one connection between two turns leaves in one write; each message is a
//! record of its own unless packing is asked for.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::sip::{Frame, Line, Message, frame};
use crate::tls::Session;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Payload of one TLS record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Events taken in one turn.
const EVENTS_PER_TURN_MAX: usize = 256;
/// Connections accepted in one turn from one listener.
const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Marks an epoll entry as a listener.
const LISTENER_BIT: u64 = 1 << 63;

/// A connection, valid until its place is used again with another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    fn token(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    fn of_token(token: u64) -> Self {
        Self { index: token as u32, generation: (token >> 32) as u32 }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// We are a partner's edge and connected; the number is the caller's own.
    Partner(u32),
    /// We are the next hop and connected to the edge's internal listener.
    Internal(u32),
    /// The edge connected to us.
    Accepted,
    /// We are a partner's XMPP server and connected; the number is the caller's own.
    Stream(u32),
    /// We are behind the proxy and connected: a gateway, or a component.
    Inner(u32),
    /// The server under test connected to us as to a partner's XMPP server.
    AcceptedStream,
    /// We are a client of the relay and connected; the number is the caller's own.
    Client(u32),
}

impl Role {
    /// Tells whether the handler cuts itself what the connection carries: XMPP, and media.
    fn is_cut_by_handler(self) -> bool {
        matches!(self, Self::Stream(_) | Self::Inner(_) | Self::AcceptedStream | Self::Client(_))
    }
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With TLS.
    Tls,
    /// In the clear; [`Net::start_tls`] may follow.
    Clear,
}

/// Which side of a TLS handshake we are, and with what.
pub(crate) enum Side<'a> {
    /// The connecting side, and whom it expects.
    Client(&'a Arc<ClientConfig>, &'a ServerName<'static>),
    /// The accepting side.
    Server(&'a Arc<ServerConfig>),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer closed in order.
    Closed,
    /// The kernel gave up on the connection.
    Io(ErrorKind),
    /// TLS failed on our side, or the peer sent an alert.
    Tls(String),
    /// What the peer sent is not SIP.
    NotSip,
    /// The XMPP peer refused, in its own words.
    Refused(String),
}

impl Ended {
    /// Returns a short word for counting.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Closed => "closed by peer".into(),
            Self::Io(ErrorKind::ConnectionReset) => "connection reset".into(),
            Self::Io(ErrorKind::ConnectionRefused) => "connection refused".into(),
            Self::Io(kind) => format!("socket: {kind}"),
            Self::Tls(error) => format!("TLS: {error}"),
            Self::NotSip => "not SIP".into(),
            Self::Refused(words) => format!("refused: {words}"),
        }
    }
}

/// Takes what comes in.
pub(crate) trait Handler {
    /// The handshake of `conn` is complete on our side.
    fn established(&mut self, net: &mut Net, conn: ConnId, role: Role);
    /// One whole message came.
    fn message(&mut self, net: &mut Net, conn: ConnId, message: Message<'_>);
    /// Bytes of XMPP or media came, after what was left of those before; returns how many are
    /// done with.
    fn elements(&mut self, _net: &mut Net, _conn: ConnId, bytes: &[u8]) -> usize {
        bytes.len()
    }
    /// `conn` is gone. Not called for [`Net::drop_conn`].
    fn ended(&mut self, net: &mut Net, conn: ConnId, role: Role, why: Ended);
}

/// What passed since the generator started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Reads that brought bytes of established connections.
    pub(crate) reads: u64,
    /// Messages in them.
    pub(crate) messages: u64,
    /// Writes that took bytes.
    pub(crate) writes: u64,
}

struct Conn {
    socket: TcpStream,
    session: Session,
    role: Role,
    generation: u32,
    connecting: bool,
    established: bool,
    finishing: bool,
    dirty: bool,
    waits_for_room: bool,
    /// Start of a record whose rest is still on its way.
    ciphertext: Vec<u8>,
    /// Start of a message whose rest is still on its way.
    plaintext: Vec<u8>,
    /// Messages waiting to share a record.
    packing: Vec<u8>,
    packed: usize,
    out: Vec<u8>,
    written: usize,
}

/// Where a connection goes to.
pub(crate) struct Target<'a> {
    /// Address of the edge.
    pub(crate) address: SocketAddr,
    /// Address to come from, where it matters.
    pub(crate) source: Option<Ipv4Addr>,
    /// Who we are.
    pub(crate) config: &'a Arc<ClientConfig>,
    /// Whom we expect.
    pub(crate) name: &'a ServerName<'static>,
}

struct Listener {
    socket: TcpListener,
    config: Arc<ServerConfig>,
    role: Role,
}

/// All connections and listeners.
pub(crate) struct Net {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    conns: Vec<Option<Conn>>,
    free: Vec<u32>,
    generation: u32,
    listeners: Vec<Listener>,
    dirty: Vec<ConnId>,
    input: Vec<u8>,
    plain: Vec<u8>,
    lines: Vec<Line>,
    pack: usize,
    /// What passed so far.
    pub(crate) counters: Counters,
}

impl Net {
    /// `pack`: messages that share one record, at most.
    pub(crate) fn new(pack: usize) -> Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
            events: Vec::with_capacity(EVENTS_PER_TURN_MAX),
            conns: Vec::new(),
            free: Vec::new(),
            generation: 0,
            listeners: Vec::new(),
            dirty: Vec::new(),
            input: vec![0; 2 * READ_BYTES],
            plain: Vec::with_capacity(2 * READ_BYTES),
            lines: Vec::new(),
            pack: pack.max(1),
            counters: Counters::default(),
        })
    }

    /// Accepts SIP on `address` with `config`.
    pub(crate) fn listen(&mut self, address: SocketAddr, config: Arc<ServerConfig>) -> Result<()> {
        self.listen_for(address, config, Role::Accepted)
    }

    /// Accepts on `address` for `role`: XMPP begins in the clear, SIP with TLS and `config`.
    pub(crate) fn listen_for(
        &mut self,
        address: SocketAddr,
        config: Arc<ServerConfig>,
        role: Role,
    ) -> Result<()> {
        let listener =
            TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        listener.set_nonblocking(true)?;
        let token = LISTENER_BIT | self.listeners.len() as u64;
        epoll::add(
            &self.epoll,
            &listener,
            epoll::EventData::new_u64(token),
            epoll::EventFlags::IN,
        )?;
        self.listeners.push(Listener { socket: listener, config, role });
        Ok(())
    }

    /// Begins to connect; [`Handler::established`] or [`Handler::ended`] follows.
    pub(crate) fn connect(&mut self, target: &Target<'_>, role: Role) -> Result<ConnId> {
        self.connect_with(target, role, Start::Tls)
    }

    /// As [`Net::connect`], beginning as `start` says.
    pub(crate) fn connect_with(
        &mut self,
        target: &Target<'_>,
        role: Role,
        start: Start,
    ) -> Result<ConnId> {
        let domain = Domain::for_address(target.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).context("socket")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = target.source {
            let source = SocketAddr::new(IpAddr::V4(source), 0);
            socket.bind(&SockAddr::from(source)).with_context(|| format!("source {source}"))?;
        }
        match socket.connect(&SockAddr::from(target.address)) {
            Ok(()) => {}
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error).with_context(|| format!("connect {}", target.address)),
        }
        let session = match start {
            Start::Tls => Session::connect(target.config, target.name)?,
            Start::Clear => Session::Clear,
        };
        self.add(socket.into(), session, role, true)
    }

    /// Goes on with TLS after what was sent in the clear; [`Handler::established`] follows again.
    pub(crate) fn start_tls(&mut self, id: ConnId, side: &Side<'_>) -> Result<()> {
        let session = match side {
            Side::Client(config, name) => Session::connect(config, name)?,
            Side::Server(config) => Session::accept(config)?,
        };
        let Some(conn) = self.conn_mut(id) else { return Ok(()) };
        conn.session = session;
        conn.established = false;
        // The first flight of a client is made without any input.
        let (mut none, mut plain) = (Vec::new(), Vec::new());
        conn.session.open(&mut none, &mut plain, &mut conn.out)?;
        self.mark_dirty(id);
        Ok(())
    }

    /// Ends a connection whose peer broke off in words.
    pub(crate) fn refuse(&mut self, id: ConnId, words: &str, handler: &mut impl Handler) {
        self.end(id, Ended::Refused(words.to_owned()), handler);
    }

    fn add(
        &mut self,
        socket: TcpStream,
        session: Session,
        role: Role,
        connecting: bool,
    ) -> Result<ConnId> {
        self.generation = (self.generation + 1) & 0x7fff_ffff;
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            (self.conns.len() - 1) as u32
        });
        let id = ConnId { index, generation: self.generation };
        let events = if connecting { interest_out() } else { epoll::EventFlags::IN };
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(id.token()), events)?;
        self.conns[index as usize] = Some(Conn {
            socket,
            session,
            role,
            generation: id.generation,
            connecting,
            established: false,
            finishing: false,
            dirty: false,
            waits_for_room: connecting,
            ciphertext: Vec::new(),
            plaintext: Vec::new(),
            packing: Vec::new(),
            packed: 0,
            out: Vec::new(),
            written: 0,
        });
        Ok(id)
    }

    /// Returns our address of a connection.
    pub(crate) fn local_address(&self, id: ConnId) -> Option<SocketAddr> {
        self.conn(id)?.socket.local_addr().ok()
    }

    /// Returns the suite negotiated on a connection.
    pub(crate) fn suite(&self, id: ConnId) -> Option<String> {
        self.conn(id)?.session.suite()
    }

    /// Returns how many bytes wait to be written, or `None` for a connection that is gone.
    pub(crate) fn backlog(&self, id: ConnId) -> Option<usize> {
        let conn = self.conn(id)?;
        conn.established.then_some(conn.out.len() - conn.written + conn.packing.len())
    }

    /// Seals one message for `id`; it leaves at the next turn. Returns false if `id` is gone.
    pub(crate) fn send(&mut self, id: ConnId, message: &[u8]) -> bool {
        let pack = self.pack;
        let Some(conn) = self.conn_mut(id) else { return false };
        if !conn.established || conn.finishing {
            return false;
        }
        let sealed = if pack == 1 { conn.seal(message) } else { conn.pack(message, pack) };
        self.mark_dirty(id);
        sealed.is_ok()
    }

    /// Says close_notify and closes our half; [`Handler::ended`] follows when the peer closes too.
    pub(crate) fn finish(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id)
            && !conn.finishing
        {
            conn.finishing = true;
            conn.session.close_notify(&mut conn.ciphertext, &mut conn.out);
            self.mark_dirty(id);
        }
    }

    /// Forgets a connection at once.
    pub(crate) fn drop_conn(&mut self, id: ConnId) -> Option<Role> {
        let place = self.conns.get_mut(id.index as usize)?;
        if place.as_ref()?.generation != id.generation {
            return None;
        }
        let conn = place.take()?;
        self.free.push(id.index);
        Some(conn.role)
    }

    /// Writes what is due, waits at most `wait_ns`, and hands out what came. Returns how much
    /// there was to do, so that a busy-polling caller can tell work from waiting.
    pub(crate) fn turn(&mut self, wait_ns: u64, handler: &mut impl Handler) -> Result<usize> {
        let mut work = self.flush(handler);
        let timeout = Timespec {
            tv_sec: (wait_ns / 1_000_000_000) as i64,
            tv_nsec: (wait_ns % 1_000_000_000) as i64,
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        work += events.len();
        for event in events.drain(..) {
            let (token, flags) = (event.data.u64(), event.flags);
            if token & LISTENER_BIT != 0 {
                self.accept((token & !LISTENER_BIT) as usize)?;
                continue;
            }
            let id = ConnId::of_token(token);
            if flags.contains(epoll::EventFlags::OUT) {
                self.writable(id, handler);
            }
            if flags
                .intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
            {
                self.readable(id, handler);
            }
        }
        self.events = events;
        Ok(work)
    }

    fn accept(&mut self, listener: usize) -> Result<()> {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some(listener) = self.listeners.get(listener) else { return Ok(()) };
            let role = listener.role;
            let Ok((stream, _)) = listener.socket.accept() else { return Ok(()) };
            let session = match role {
                Role::AcceptedStream => Session::Clear,
                _ => Session::accept(&listener.config)?,
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.add(stream, session, role, false)?;
        }
        Ok(())
    }

    fn readable(&mut self, id: ConnId, handler: &mut impl Handler) {
        let mut input = std::mem::take(&mut self.input);
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let read = match self.conn_mut(id) {
            Some(conn) if !conn.connecting => conn.read(&mut input, &mut plain),
            _ => Ok(None),
        };
        self.input = input;
        match read {
            Ok(None) => {}
            Ok(Some(closed)) => {
                self.deliver(id, &plain, handler);
                if closed {
                    self.end(id, Ended::Closed, handler);
                }
            }
            Err(why) => self.end(id, why, handler),
        }
        self.plain = plain;
    }

    /// Hands out the messages of `plain` and keeps the rest.
    fn deliver(&mut self, id: ConnId, plain: &[u8], handler: &mut impl Handler) {
        let Some(conn) = self.conn_mut(id) else { return };
        let (role, fresh) = (conn.role, !conn.established && conn.session.established());
        conn.established |= fresh;
        let waiting = !conn.out.is_empty();
        if fresh {
            handler.established(self, id, role);
        }
        if waiting {
            self.mark_dirty(id);
        }
        if plain.is_empty() {
            return;
        }
        self.counters.reads += 1;
        if role.is_cut_by_handler() {
            let done = handler.elements(self, id, plain);
            if let (Some(conn), Some(rest)) = (self.conn_mut(id), plain.get(done..)) {
                conn.plaintext.extend_from_slice(rest);
            }
            return;
        }
        let mut lines = std::mem::take(&mut self.lines);
        let mut rest = plain;
        loop {
            match frame(rest, &mut lines) {
                Frame::Message { length } => {
                    let (message, after) = rest.split_at(length);
                    self.counters.messages += 1;
                    handler.message(self, id, Message::new(message, &lines));
                    rest = after;
                }
                Frame::KeepAlive(bytes) => {
                    rest = &rest[bytes..];
                    if bytes == 4 {
                        self.send(id, b"\r\n");
                    }
                }
                Frame::NeedMore => break,
                Frame::Garbage => {
                    self.end(id, Ended::NotSip, handler);
                    break;
                }
            }
        }
        self.lines = lines;
        if let Some(conn) = self.conn_mut(id) {
            conn.plaintext.extend_from_slice(rest);
        }
    }

    fn writable(&mut self, id: ConnId, handler: &mut impl Handler) {
        let Some(conn) = self.conn_mut(id) else { return };
        if conn.connecting {
            match conn.socket.take_error() {
                Ok(None) => conn.connecting = false,
                Ok(Some(error)) | Err(error) => {
                    return self.end(id, Ended::Io(error.kind()), handler);
                }
            }
            // The first flight of a client is made without any input.
            let (mut none, mut plain) = (Vec::new(), Vec::new());
            if let Err(error) = conn.session.open(&mut none, &mut plain, &mut conn.out) {
                return self.end(id, Ended::Tls(error.to_string()), handler);
            }
            if matches!(conn.session, Session::Clear) {
                self.deliver(id, &[], handler);
            }
        }
        self.mark_dirty(id);
    }

    /// Writes every connection that has something to write; returns how many there were.
    fn flush(&mut self, handler: &mut impl Handler) -> usize {
        let mut dirty = std::mem::take(&mut self.dirty);
        let count = dirty.len();
        for id in dirty.drain(..) {
            let Some(conn) = self.conn_mut(id) else { continue };
            conn.dirty = false;
            if conn.connecting {
                continue;
            }
            let wrote = match conn.write() {
                Ok(wrote) => wrote,
                Err(why) => {
                    self.end(id, why, handler);
                    continue;
                }
            };
            let wants = conn.written < conn.out.len();
            let changed = wants != conn.waits_for_room;
            conn.waits_for_room = wants;
            self.counters.writes += u64::from(wrote);
            if let (true, Some(conn)) = (changed, self.conn(id)) {
                let events = if wants { interest_out() } else { epoll::EventFlags::IN };
                let token = epoll::EventData::new_u64(id.token());
                // A failure shows as an error of the socket itself at the next turn.
                let _ = epoll::modify(&self.epoll, &conn.socket, token, events);
            }
        }
        // Connections marked while flushing wait for the next turn.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        count
    }

    fn end(&mut self, id: ConnId, why: Ended, handler: &mut impl Handler) {
        if let Some(role) = self.drop_conn(id) {
            handler.ended(self, id, role, why);
        }
    }

    fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    fn conn(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.index as usize)?.as_ref().filter(|conn| conn.generation == id.generation)
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(id.index as usize)?.as_mut();
        conn.filter(|conn| conn.generation == id.generation)
    }
}

impl AsFd for Net {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn interest_out() -> epoll::EventFlags {
    epoll::EventFlags::IN | epoll::EventFlags::OUT
}

impl Conn {
    /// Reads once and opens what came after what was left over. `None`: nothing was there;
    /// `Some(true)`: the peer is done.
    fn read(&mut self, input: &mut Vec<u8>, plain: &mut Vec<u8>) -> Result<Option<bool>, Ended> {
        let kept = self.ciphertext.len();
        if input.len() < kept + READ_BYTES {
            input.resize(kept + READ_BYTES, 0);
        }
        input[..kept].copy_from_slice(&self.ciphertext);
        let count = match self.socket.read(&mut input[kept..kept + READ_BYTES]) {
            Ok(0) => return Err(Ended::Closed),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(Ended::Io(error.kind())),
        };
        plain.append(&mut self.plaintext);
        let filled = &mut input[..kept + count];
        let opened = match self.session.open(filled, plain, &mut self.out) {
            Ok(opened) => opened,
            Err(error) => {
                // The peer may be gone; then there is nobody to tell.
                let _ = self.write();
                return Err(Ended::Tls(error.to_string()));
            }
        };
        self.ciphertext.clear();
        self.ciphertext.extend_from_slice(&filled[opened.consumed..]);
        Ok(Some(opened.closed))
    }

    fn seal(&mut self, payload: &[u8]) -> Result<()> {
        for record in payload.chunks(RECORD_BYTES_MAX) {
            self.session.seal(record, &mut self.ciphertext, &mut self.out)?;
        }
        Ok(())
    }

    fn pack(&mut self, message: &[u8], pack: usize) -> Result<()> {
        if self.packing.len() + message.len() > RECORD_BYTES_MAX {
            self.unpack()?;
        }
        self.packing.extend_from_slice(message);
        self.packed += 1;
        if self.packed >= pack { self.unpack() } else { Ok(()) }
    }

    /// Seals what waits to share a record.
    fn unpack(&mut self) -> Result<()> {
        let packing = std::mem::take(&mut self.packing);
        let sealed = self.seal(&packing);
        self.packing = packing;
        self.packing.clear();
        self.packed = 0;
        sealed
    }

    /// Writes what there is; returns whether the kernel took any of it.
    fn write(&mut self) -> Result<bool, Ended> {
        if !self.packing.is_empty() {
            self.unpack().map_err(|error| Ended::Tls(error.to_string()))?;
        }
        let rest = &self.out[self.written..];
        if rest.is_empty() {
            return Ok(false);
        }
        match self.socket.write(rest) {
            Ok(count) => self.written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(Ended::Io(error.kind())),
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            if self.finishing {
                // The peer may have gone already, which the next read tells.
                let _ = self.socket.shutdown(Shutdown::Write);
            }
        }
        Ok(true)
    }
}
