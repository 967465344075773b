//! The loop over pipes in memory that split, stall and reset wherever a seed says, with real TLS
//! on both ends, without a kernel or a clock.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use entente::edge::{Class, ConnectFailure, Lost};
use entente::limits;
use entente::poll::sim::{Signal, Signals, Sim};
use entente::shard::{
    Budget, Fabric, Links, ListenerSocket, Network, Published, Settings, Shard, Stream,
};
use entente::time::{Clock, Now};
use rustls::ClientConnection;

use crate::lines::{Event, Lines, Seen};
use crate::world::{EDGE, PARTNER, Pki, snapshot};

/// A generator good enough to pick faults.
struct Seed(u64);

impl Seed {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

/// How badly a pipe treats its bytes.
#[derive(Clone, Copy, Debug)]
struct Faults {
    /// Bytes given by one read or taken by one write, at most.
    piece: usize,
    /// Bytes that fit on the way to the peer.
    room: usize,
    /// One call in so many stalls although it could go on; 0 for none.
    stall: usize,
    /// The connection is reset after so many bytes in either direction.
    reset_after: Option<usize>,
}

const GENTLE: Faults = Faults { piece: 65_536, room: 1 << 20, stall: 0, reset_after: None };

/// One direction's bytes on their way, and the other's.
struct Pipe {
    to_edge: VecDeque<u8>,
    to_peer: VecDeque<u8>,
    peer_closed: bool,
    edge_closed: bool,
    reset: bool,
    moved: usize,
    faults: Faults,
    seed: Seed,
    /// The edge met a stall or a full pipe and waits to be told.
    wants_read: bool,
    wants_write: bool,
    dropped: bool,
}

impl Pipe {
    fn new(seed: u64, faults: Faults) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            to_edge: VecDeque::new(),
            to_peer: VecDeque::new(),
            peer_closed: false,
            edge_closed: false,
            reset: false,
            moved: 0,
            faults,
            seed: Seed(seed | 1),
            wants_read: false,
            wants_write: false,
            dropped: false,
        }))
    }

    fn stalls(&mut self) -> bool {
        self.faults.stall > 0 && self.seed.below(self.faults.stall) == 0
    }

    fn piece(&mut self, most: usize) -> io::Result<usize> {
        if self.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let piece = 1 + self.seed.below(self.faults.piece);
        Ok(piece.min(most))
    }

    fn count(&mut self, bytes: usize) {
        self.moved += bytes;
        self.reset |= self.faults.reset_after.is_some_and(|after| self.moved >= after);
    }
}

/// The edge's end of a pipe.
struct End {
    fd: RawFd,
    /// It is being connected, and the other side never answers.
    unanswered: bool,
    pipe: Arc<Mutex<Pipe>>,
}

impl Stream for End {
    /// Reads come in pieces here.
    const SHORT_READ_DRAINS: bool = false;

    fn fd(&self) -> RawFd {
        self.fd
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.pipe.lock().unwrap();
        let most = into.len().min(pipe.to_edge.len());
        let piece = pipe.piece(most)?;
        if most == 0 && pipe.peer_closed {
            return Ok(0);
        }
        if most == 0 || pipe.stalls() {
            pipe.wants_read = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.count(piece);
        for (to, from) in into.iter_mut().zip(pipe.to_edge.drain(..piece)) {
            *to = from;
        }
        Ok(piece)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.pipe.lock().unwrap();
        let room = pipe.faults.room.saturating_sub(pipe.to_peer.len());
        let piece = pipe.piece(room.min(bytes.len()))?;
        if piece == 0 || pipe.stalls() {
            pipe.wants_write = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.count(piece);
        pipe.to_peer.extend(&bytes[..piece]);
        Ok(piece)
    }

    fn shutdown(&mut self, _how: Shutdown) {
        self.pipe.lock().unwrap().edge_closed = true;
    }

    fn connected(&mut self) -> io::Result<()> {
        if self.unanswered { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 5061)))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.pipe.lock().unwrap().dropped = true;
    }
}

/// Connections that wait to be accepted, and attempts to connect.
#[derive(Clone, Default)]
struct Pipes {
    waiting: Rc<RefCell<VecDeque<End>>>,
    /// What accepting or connecting meets instead.
    trouble: Rc<Cell<Option<i32>>>,
    /// Addresses tried, none of which answers; port 1 refuses at once.
    tried: Rc<RefCell<Vec<SocketAddr>>>,
}

struct Door;

impl AsRawFd for Door {
    fn as_raw_fd(&self) -> RawFd {
        0
    }
}

impl Network for Pipes {
    type Stream = End;
    type Listener = Door;

    fn accept(&mut self, _: &Door) -> io::Result<(End, SocketAddr)> {
        if let Some(error) = self.trouble.get() {
            return Err(io::Error::from_raw_os_error(error));
        }
        let end = self.waiting.borrow_mut().pop_front().ok_or(ErrorKind::WouldBlock)?;
        Ok((end, SocketAddr::from(([192, 0, 2, 1], 4000))))
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<End> {
        if let Some(error) = self.trouble.get() {
            return Err(io::Error::from_raw_os_error(error));
        }
        let mut tried = self.tried.borrow_mut();
        tried.push(to);
        if to.port() == 1 {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let fd = 20_000 + tried.len() as RawFd;
        Ok(End { fd, pipe: Pipe::new(1, GENTLE), unanswered: true })
    }
}

/// A client over a pipe.
struct Client {
    fd: RawFd,
    pipe: Arc<Mutex<Pipe>>,
    tls: ClientConnection,
    heard: Vec<u8>,
    reads: bool,
    ended: bool,
}

impl Client {
    fn say(&mut self, text: &str) {
        self.tls.writer().write_all(text.as_bytes()).unwrap();
    }

    /// Moves what can be moved between TLS and the pipe.
    fn pump(&mut self) {
        let mut pipe = self.pipe.lock().unwrap();
        if pipe.reset {
            self.ended = true;
            return;
        }
        while self.tls.wants_write() {
            let mut bytes = Vec::new();
            self.tls.write_tls(&mut bytes).unwrap();
            pipe.to_edge.extend(bytes);
        }
        if self.reads {
            let bytes: Vec<u8> = pipe.to_peer.drain(..).collect();
            let mut bytes = bytes.as_slice();
            while !bytes.is_empty() && self.tls.read_tls(&mut bytes).unwrap() > 0 {
                let state = self.tls.process_new_packets();
                self.ended |= state.map_or(true, |state| state.peer_has_closed());
                let mut plain = Vec::new();
                let _ = self.tls.reader().read_to_end(&mut plain);
                self.heard.extend(plain);
            }
        }
        while self.tls.wants_write() {
            let mut bytes = Vec::new();
            self.tls.write_tls(&mut bytes).unwrap();
            pipe.to_edge.extend(bytes);
        }
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.heard).lines().map(ToOwned::to_owned).collect()
    }
}

/// A shard whose thread is the test.
struct World {
    pki: Pki,
    shard: Shard<Sim, Pipes, Lines>,
    signals: Signals,
    pipes: Pipes,
    fabric: Arc<Fabric<End>>,
    clients: BTreeMap<RawFd, Client>,
    seen: Seen,
    now: Now,
}

impl World {
    fn new() -> Self {
        let pki = Pki::new();
        let (poller, signals) = Sim::new();
        let pipes = Pipes::default();
        let fabric = Fabric::new(1, Budget::new(100, 10, 100)).unwrap();
        let material = pki.material(1, "ca", &[Class::Federation]);
        let published = Arc::new(Published::new(snapshot(1), material));
        let seen = Seen::default();
        let (notes, _) = crossbeam::channel::bounded(0);
        let (questions, _) = tokio::sync::mpsc::channel(1);
        let (retired, _) = crossbeam::channel::unbounded();
        let fabric_link = Arc::clone(&fabric);
        let links = Links {
            fabric: fabric_link,
            published,
            retired,
            questions,
            notes,
            decisions: None,
            observe: None,
            remember: None,
        };
        let door = ListenerSocket {
            listener: Door,
            class: Class::Federation,
            index: 0,
            proxy_from: Arc::new([]),
        };
        let core = Lines::new(0, seen.clone(), snapshot(1));
        let settings = Settings::new(0);
        let shard =
            Shard::new(poller, pipes.clone(), core, vec![door], settings, links, 1).unwrap();
        let now = Clock::start().now();
        Self { pki, shard, signals, pipes, fabric, clients: BTreeMap::new(), seen, now }
    }

    fn connect(&mut self, seed: u64, faults: Faults) -> RawFd {
        let fd = 10_000 + self.clients.len() as RawFd;
        let pipe = Pipe::new(seed, faults);
        let config = self.pki.client_config(Some(("ca", PARTNER)));
        let name = rustls::pki_types::ServerName::try_from(EDGE).unwrap();
        let mut tls = ClientConnection::new(config, name).unwrap();
        tls.set_buffer_limit(None);
        self.pipes.waiting.borrow_mut().push_back(End {
            fd,
            pipe: Arc::clone(&pipe),
            unanswered: false,
        });
        let client = Client { fd, pipe, tls, heard: Vec::new(), reads: true, ended: false };
        self.clients.insert(fd, client);
        self.signals.signal(0, Signal::Readable);
        fd
    }

    fn client(&mut self, fd: RawFd) -> &mut Client {
        self.clients.get_mut(&fd).unwrap()
    }

    /// Lets clients and shard take turns, a millisecond each, until `done` or `turns` have passed.
    fn run(&mut self, turns: usize, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        for _ in 0..turns {
            for client in self.clients.values_mut() {
                client.pump();
                let mut pipe = client.pipe.lock().unwrap();
                if pipe.reset {
                    self.signals.signal(client.fd, Signal::Hangup);
                }
                if pipe.wants_read && (!pipe.to_edge.is_empty() || pipe.peer_closed) {
                    pipe.wants_read = false;
                    self.signals.signal(client.fd, Signal::Readable);
                }
                if pipe.wants_write && pipe.to_peer.len() < pipe.faults.room {
                    pipe.wants_write = false;
                    self.signals.signal(client.fd, Signal::Writable);
                }
            }
            self.shard.wait(self.now).unwrap();
            self.now = self.now.plus_ms(1);
            self.shard.turn(self.now);
            if done(self) {
                return true;
            }
        }
        false
    }

    /// Lets time pass and asserts that nothing is left.
    fn assert_empty(mut self) {
        for client in self.clients.values_mut() {
            client.pipe.lock().unwrap().peer_closed = true;
            self.signals.signal(client.fd, Signal::Hangup);
        }
        let settle = limits::LINGER_MS as usize + limits::WRITE_STALL_MS as usize + 100;
        assert!(self.run(settle, |world| world.shard.open() == 0), "legs are left");
        assert_eq!(self.fabric.budget.used(), (0, 0, 0));
        assert_eq!(self.signals.added(), 2, "the waker and the listener");
        assert!(self.clients.values().all(|client| client.pipe.lock().unwrap().dropped));
        let opened = self.seen.count(|e| matches!(e, Event::Opened { .. }));
        let closed = self.seen.count(|e| matches!(e, Event::Closed { .. }));
        assert_eq!(opened, closed, "each leg the core heard of it heard the end of");
    }
}

/// Lines of every length around what a record and a read hold, and what must come back.
fn conversation() -> (String, Vec<String>) {
    let lengths = [0, 1, 2, 100, 700, 16_380, 16_384, 16_390, 70_000];
    let texts: Vec<_> = lengths.iter().map(|length| "m".repeat(*length)).collect();
    let asked = texts.iter().map(|text| format!("echo {text}\n")).collect();
    (asked, texts)
}

#[test]
fn every_message_arrives_however_the_bytes_are_cut() {
    let (asked, texts) = conversation();
    for seed in 1..=40 {
        let mut pick = Seed(seed * 7919);
        let faults = Faults {
            piece: [1, 3, 50, 1_000, 65_536][pick.below(5)],
            room: [10, 1_000, 100_000][pick.below(3)],
            stall: [0, 2, 10][pick.below(3)],
            reset_after: None,
        };
        let mut world = World::new();
        let fd = world.connect(seed, faults);
        world.client(fd).say(&asked);
        let whole = texts.iter().map(|text| text.len() + 1).sum::<usize>();
        let done = world.run(200_000, |world| world.client(fd).heard.len() == whole);
        assert!(done, "seed {seed}: {} of {whole}, {faults:?}", world.client(fd).heard.len());
        assert!(world.client(fd).lines() == texts, "seed {seed}: {faults:?}");
        world.assert_empty();
    }
}

#[test]
fn one_byte_at_a_time_is_a_handshake_and_a_message_too() {
    let mut world = World::new();
    let fd = world.connect(3, Faults { piece: 1, room: 1, ..GENTLE });
    world.client(fd).say("echo a\n");
    assert!(world.run(50_000, |world| world.client(fd).heard == b"a\n"));
    world.assert_empty();
}

#[test]
fn a_reset_after_any_number_of_bytes_leaves_nothing_behind() {
    let (asked, _) = conversation();
    let mut after = 0;
    while after < 8_000 {
        after += 97;
        let mut world = World::new();
        let faults = Faults { piece: 500, room: 4_000, stall: 5, reset_after: Some(after) };
        let fd = world.connect(after as u64, faults);
        let steady = world.connect(1, GENTLE);
        world.client(fd).say(&asked);
        world.client(steady).say("echo still here\n");
        assert!(world.run(5_000, |world| world.client(steady).heard == b"still here\n"));
        world.run(2_000, |world| world.client(fd).ended);
        world.assert_empty();
    }
}

#[test]
fn a_peer_that_never_takes_a_byte_is_closed_after_the_stall_time_and_not_before() {
    let mut world = World::new();
    let fd = world.connect(1, Faults { room: 20_000, ..GENTLE });
    world.client(fd).say("echo a\n");
    assert!(world.run(1_000, |world| world.client(fd).heard == b"a\n"));
    world.client(fd).reads = false;
    world.client(fd).say("big 100000\n");
    let stalled = |world: &mut World| world.seen.count(|e| matches!(e, Event::Closed { .. })) > 0;
    assert!(!world.run(limits::WRITE_STALL_MS as usize - 10, stalled));
    assert!(world.run(100, stalled));
    let closed = world.seen.all().pop();
    let Some(Event::Closed { lost: Lost::WriteStalled, unsent, .. }) = closed else {
        panic!("{closed:?}");
    };
    assert!((80_000..110_000).contains(&unsent), "{unsent}");
    world.assert_empty();
}

#[test]
fn a_leg_above_high_water_is_left_unread_until_it_drains() {
    let mut world = World::new();
    let fd = world.connect(1, Faults { room: 1_000, ..GENTLE });
    world.client(fd).say("echo a\n");
    assert!(world.run(1_000, |world| world.client(fd).heard == b"a\n"));
    world.client(fd).reads = false;
    world.client(fd).say("big 150000\n");
    world.run(20, |_| false);
    world.client(fd).say("echo later\n");
    world.run(50, |_| false);
    let later = |e: &Event| matches!(e, Event::Line { text, .. } if text == "echo later");
    assert_eq!(world.seen.count(later), 0);
    world.client(fd).reads = true;
    assert!(world.run(20_000, |world| world.client(fd).heard.ends_with(b"later\n")));
    world.assert_empty();
}

/// Symptom: a request stayed unread until its sender sent another. Cause: the leg was held for what
/// others had staged on it earlier in the turn, all of that went out in one write, and only a write
/// that had to wait made the leg be read again.
#[test]
fn a_leg_held_for_what_goes_out_at_once_is_read_in_the_next_turn() {
    let mut world = World::new();
    let teller = world.connect(1, GENTLE);
    let held = world.connect(2, GENTLE);
    for fd in [teller, held] {
        world.client(fd).say("echo a\n");
        assert!(world.run(100, |world| world.client(fd).heard == b"a\n"));
    }
    world.client(teller).say("tell 1 150000\n");
    world.client(held).say("echo b\n");
    assert!(world.run(50, |world| world.client(held).heard.ends_with(b"b\n")));
    let holds = world.shard.counters().count(entente::shard::Count::LegsHeld);
    assert_eq!(holds, 1, "the case that is tested");
    world.assert_empty();
}

#[test]
fn the_goodbye_is_said_even_when_it_has_to_wait_for_room() {
    let mut world = World::new();
    let fd = world.connect(1, Faults { room: 100, ..GENTLE });
    world.client(fd).say("big 50000\nbye\n");
    assert!(world.run(10_000, |world| world.client(fd).ended));
    assert!(world.client(fd).heard.ends_with(b"bye\n"));
    world.assert_empty();
}

#[test]
fn without_a_descriptor_accepting_rests_and_goes_on_when_there_is_one() {
    let mut world = World::new();
    world.pipes.trouble.set(Some(libc::EMFILE));
    let fd = world.connect(1, GENTLE);
    world.client(fd).say("echo a\n");
    let heard = |world: &mut World| world.client(fd).heard == b"a\n";
    assert!(!world.run(350, heard));
    let mut pauses = 0;
    world.shard.counters().visit(|series, value| {
        let descriptors = series.labels[0] == ("reason", "descriptors");
        pauses += if series.name == "accept_pauses" && descriptors { value } else { 0 };
    });
    assert!((3..=5).contains(&pauses), "it rests between attempts: {pauses}");
    assert_eq!(world.fabric.budget.used(), (0, 0, 0));
    world.pipes.trouble.set(None);
    assert!(world.run(limits::ACCEPT_PAUSE_MS as usize + 50, heard));
    world.assert_empty();
}

/// Lets a partner ask for a connection to `addresses`; returns the milliseconds until it failed,
/// why, and the addresses tried.
fn dial(world: &mut World, addresses: &str) -> (usize, ConnectFailure, Vec<u16>) {
    let fd = world.connect(1, GENTLE);
    world.client(fd).say("echo a\n");
    assert!(world.run(100, |world| world.client(fd).heard == b"a\n"));
    world.client(fd).say(&format!("dial internal {PARTNER}{addresses}\n"));
    let mut turns = 0;
    let mut failure = None;
    world.run(20_000, |world| {
        turns += 1;
        failure = world.seen.all().into_iter().find_map(|event| match event {
            Event::ConnectFailed { why, .. } => Some(why),
            _ => None,
        });
        failure.is_some()
    });
    let ports = world.pipes.tried.borrow().iter().map(SocketAddr::port).collect();
    (turns, failure.unwrap(), ports)
}

#[test]
fn dead_addresses_are_tried_a_little_apart_and_given_up_in_time() {
    let mut world = World::new();
    let (took, why, ports) =
        dial(&mut world, " 192.0.2.1:5061 192.0.2.2:5062 192.0.2.3:1 [2001:db8::1]:5063");
    assert_eq!((why, ports), (ConnectFailure::Unreachable, vec![5061, 5063, 5062, 1]));
    // The fourth is refused at once, so the time of the last attempt runs from when it was due.
    let most =
        (2 * limits::CONNECT_STAGGER_MS + limits::CONNECT_MS + limits::CONNECT_STAGGER_MS) as usize;
    assert!((most - 300..most + 20).contains(&took), "{took} ms");
    assert_eq!(world.fabric.budget.used().1, 0, "no attempt is left");
    world.assert_empty();
}

#[test]
fn without_a_descriptor_connecting_fails_as_exhausted() {
    let mut world = World::new();
    world.pipes.trouble.set(None);
    let fd = world.connect(1, GENTLE);
    world.client(fd).say("echo a\n");
    assert!(world.run(100, |world| world.client(fd).heard == b"a\n"));
    world.pipes.trouble.set(Some(libc::EMFILE));
    world.client(fd).say(&format!("dial internal {PARTNER} 192.0.2.1:5061\n"));
    let exhausted =
        |e: &Event| matches!(e, Event::ConnectFailed { why: ConnectFailure::Exhausted, .. });
    assert!(world.run(100, |world| world.seen.count(exhausted) == 1));
    world.assert_empty();
}
