//! What the shell costs: CPU of the shard's thread for each forwarded 700-byte request and 300-byte
//! response, mutual TLS on both legs, beside a busy generator.
//!
//! `MEASURE_SECONDS=4 cargo test --release --test shell measure -- --nocapture --test-threads 1`
//!
//! With `MEASURE_SECONDS` each row takes so long, on two cores that should be idle otherwise, and
//! its figures are printed; compare only numbers of one run: ring against epoll, saturated against
//! singly. Without it a row takes a moment, wherever it may run, and says only that nothing is
//! lost.
//!
//! They are here and not in `benches/` because they need the shell's own world: real shards with a
//! core that only copies, which is what takes the roles out of the figures.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use entente::dns::{Domain, SharedAnswer};
use entente::edge::{
    Class, Command, Connect, ConnectFailure, Core, Drain, Effects, Fed, Kind, LegId, Lost, Mail,
    Opened, OutletId,
};
use entente::policy::{ExpectedNames, Snapshot};
use entente::poll::{Choice, epoll};
use entente::shard::{self, Budget, Fabric, Links, ListenerPlan, Published, Settings, Setup};
use entente::time::{Clock, Monotonic, Now};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use crate::world::{
    EDGE, PARTNER, PATIENCE, POLLERS, POOL, Pki, Server, descriptors, eventually, snapshot,
};

const REQUEST: usize = 700;
const RESPONSE: usize = 300;
const PAIRS: usize = 8;
/// Requests of one pair that are out at once.
const WINDOW: usize = 32;

/// How long a row takes.
#[derive(Clone, Copy)]
enum Length {
    /// Long enough for figures, on cores of its own.
    Measured(Duration),
    /// Long enough to show that nothing is lost.
    Moment,
}

impl Length {
    fn wanted() -> Self {
        let seconds = std::env::var("MEASURE_SECONDS").ok();
        let Some(seconds) = seconds else { return Self::Moment };
        let seconds = seconds.parse().expect("MEASURE_SECONDS is a number of seconds");
        epoll::pin(1).unwrap();
        Self::Measured(Duration::from_secs(seconds))
    }

    const fn is_measured(self) -> bool {
        matches!(self, Self::Measured(_))
    }

    const fn of_row(self) -> Duration {
        match self {
            Self::Measured(row) => row,
            Self::Moment => Duration::from_millis(500),
        }
    }
}

/// Pairs each accepted leg with one of its own to the pool, and copies fixed lengths between them.
#[derive(Default)]
struct Relay {
    pool: Option<SocketAddr>,
    /// Accepted legs, in the order of their outlets.
    inner: Vec<LegId>,
    /// By index of the leg: where its messages go, and how long they are.
    ways: Vec<Option<(LegId, usize, Kind)>>,
}

impl Relay {
    fn way(&mut self, from: LegId, to: LegId, bytes: usize, kind: Kind) {
        let index = from.index as usize;
        if self.ways.len() <= index {
            self.ways.resize(index + 1, None);
        }
        self.ways[index] = Some((to, bytes, kind));
    }
}

impl Core for Relay {
    fn leg_opened(&mut self, _: Now, leg: LegId, opened: Opened, effects: &mut Effects) {
        if let Some(outlet) = opened.outlet {
            let inner = self.inner[outlet.index as usize];
            self.way(inner, leg, REQUEST, Kind::Request);
            self.way(leg, inner, RESPONSE, Kind::Response);
        } else if let Some(pool) = self.pool {
            let name = Domain::parse(POOL.as_bytes()).unwrap();
            let outlet = OutletId { index: self.inner.len() as u32, generation: 0 };
            self.inner.push(leg);
            effects.commands.push(Command::Connect(Connect {
                outlet,
                class: Class::Internal,
                server_name: name.clone(),
                expected_names: ExpectedNames::host(name),
                addresses: vec![pool],
                anchors: None,
            }));
        }
    }

    fn feed(&mut self, _: Now, leg: LegId, input: &[u8], effects: &mut Effects) -> Fed {
        let Some(Some((to, bytes, kind))) = self.ways.get(leg.index as usize).copied() else {
            return Fed::NeedMore(input.len() + 1);
        };
        let Some(message) = input.get(..bytes) else { return Fed::NeedMore(bytes) };
        // There is always room within the window; at the end the other leg is gone.
        if let Some(staging) = effects.stage(to, kind, bytes) {
            staging.extend_from_slice(message);
        }
        Fed::Consumed(bytes)
    }

    fn leg_closed(&mut self, _: Now, _: LegId, _: Lost, _: usize, _: &mut Effects) {}
    fn connect_failed(&mut self, _: Now, _: OutletId, why: ConnectFailure, _: &mut Effects) {
        panic!("{why:?}");
    }
    fn resolved(&mut self, _: Now, _: SharedAnswer, _: &mut Effects) {}
    fn mail(&mut self, _: Now, _: Mail, _: &mut Effects) {}
    fn mail_refused(&mut self, _: Now, _: u16, _: Mail, _: &mut Effects) {}
    fn adopt(&mut self, _: Now, new: Arc<Snapshot>, _: &mut Effects) -> Arc<Snapshot> {
        new
    }
    fn drain(&mut self, _: Now, _: Drain, _: &mut Effects) {}
    fn expire(&mut self, _: Now, _: &mut Effects) {}
    fn next_deadline(&self) -> Option<Monotonic> {
        None
    }
    fn pending(&self) -> usize {
        0
    }
}

struct Rig {
    pki: Pki,
    fabric: Arc<Fabric>,
    published: Arc<Published>,
    address: SocketAddr,
    pool: Server,
    thread: std::thread::JoinHandle<io::Result<()>>,
    _locks: shard::Locks,
}

impl Rig {
    fn start(poller: Choice, coalesce_us: u32, relays: bool, length: Length) -> Self {
        let pki = Pki::new();
        let pool = Server::start();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let (class, proxy_from) = (Class::Federation, Vec::new());
        let plan = ListenerPlan { address, class, proxy_from, shards: 0..1 };
        let (mut sockets, locks) = shard::listen(&[plan], 1, pki.directory()).unwrap();
        let listeners = sockets.remove(0);
        let address = listeners[0].listener.local_addr().unwrap();
        let fabric = Fabric::new(1, Budget::new(20_000, 100, 20_000)).unwrap();
        let material = pki.material(1, "ca", &[Class::Federation]);
        let published = Arc::new(Published::new(snapshot(1), material));
        let (notes, _) = crossbeam::channel::bounded(1);
        let (questions, _) = tokio::sync::mpsc::channel(1);
        let (retired, _) = crossbeam::channel::unbounded();
        let links = Links {
            fabric: Arc::clone(&fabric),
            published: Arc::clone(&published),
            retired,
            questions,
            notes,
            decisions: None,
            observe: None,
            remember: None,
        };
        let settings = Settings { coalesce_us, ..Settings::new(0) };
        let core = length.is_measured().then_some(0);
        let setup = Setup { listeners, core, poller, settings };
        let to = relays.then_some(pool.address);
        let make = move |_| Relay { pool: to, ..Relay::default() };
        let (thread, _) = shard::spawn(setup, links, Clock::start(), make).unwrap();
        Self { pki, fabric, published, address, pool, thread, _locks: locks }
    }

    fn stop(self) {
        self.published.drain(Drain::Closing);
        self.fabric.wake_all();
        self.thread.join().unwrap().unwrap();
    }
}

/// Nanoseconds of CPU of the thread called `shard-0`.
fn shard_cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let of = |path: std::path::PathBuf| {
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let stat = std::fs::read_to_string(path.join("schedstat")).ok()?;
        (name.trim() == "shard-0").then(|| stat.split(' ').next().unwrap().parse::<u64>().unwrap())
    };
    tasks.filter_map(|task| of(task.path())).sum()
}

/// One connection of the generator, without blocking.
struct Side {
    stream: TcpStream,
    tls: Connection,
    received: usize,
    message: usize,
}

impl Side {
    fn new(stream: TcpStream, tls: Connection, message: usize) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, tls, received: 0, message }
    }

    fn send(&mut self, bytes: usize) {
        self.tls.writer().write_all(&[b'm'; REQUEST][..bytes]).unwrap();
    }

    /// Moves bytes both ways; returns whole messages that came.
    fn pump(&mut self) -> usize {
        while self.tls.wants_write() && self.tls.write_tls(&mut self.stream).is_ok() {}
        match self.tls.read_tls(&mut self.stream) {
            Ok(0) => panic!("closed"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
            Err(error) => panic!("{error}"),
        }
        self.tls.process_new_packets().unwrap();
        let mut plain = [0; 65_536];
        while let Ok(bytes) = self.tls.reader().read(&mut plain) {
            self.received += bytes;
        }
        while self.tls.wants_write() && self.tls.write_tls(&mut self.stream).is_ok() {}
        let whole = self.received / self.message;
        self.received %= self.message;
        whole
    }
}

fn sides(rig: &Rig) -> (Vec<Side>, Vec<Side>) {
    let client = rig.pki.client_config(Some(("ca", PARTNER)));
    let server = rig.pki.server_config("ca", POOL);
    let (mut partners, mut pools) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let name = ServerName::try_from(EDGE).unwrap();
        let tls = ClientConnection::new(Arc::clone(&client), name).unwrap();
        let stream = TcpStream::connect(rig.address).unwrap();
        let mut partner = Side::new(stream, tls.into(), RESPONSE);
        while partner.tls.is_handshaking() || partner.tls.wants_write() {
            partner.pump();
        }
        let tls = ServerConnection::new(Arc::clone(&server)).unwrap();
        let mut pool = Side::new(rig.pool.accept(), tls.into(), REQUEST);
        while pool.tls.is_handshaking() || pool.tls.wants_write() {
            pool.pump();
        }
        partners.push(partner);
        pools.push(pool);
    }
    (partners, pools)
}

#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn clock() -> Instant {
    Instant::now()
}

/// The generator: partners that ask and pools that answer.
struct Load {
    partners: Vec<Side>,
    pools: Vec<Side>,
    /// When the requests that wait for a response went out, by pair.
    asked: Vec<VecDeque<Instant>>,
    next: usize,
    sent: u64,
    done: u64,
    latencies_us: Vec<u128>,
}

impl Load {
    fn new(rig: &Rig) -> Self {
        let (partners, pools) = sides(rig);
        let asked = vec![VecDeque::new(); PAIRS];
        Self { partners, pools, asked, next: 0, sent: 0, done: 0, latencies_us: Vec::new() }
    }

    /// Sends what the windows take, or the one request that is due at `rate` a second.
    fn offer(&mut self, rate: Option<u64>, elapsed: Duration) {
        let Some(rate) = rate else {
            return (0..PAIRS).for_each(|pair| while self.ask(pair) {});
        };
        let due = elapsed.as_micros() as u64 * rate / 1_000_000;
        if self.sent < due && self.ask(self.next) {
            self.next = (self.next + 1) % PAIRS;
        }
    }

    /// Sends one request if the window takes it.
    fn ask(&mut self, pair: usize) -> bool {
        if self.asked[pair].len() == WINDOW {
            return false;
        }
        self.partners[pair].send(REQUEST);
        self.asked[pair].push_back(clock());
        self.sent += 1;
        true
    }

    /// Moves bytes on all connections, and answers.
    fn turn(&mut self) {
        for (partner, asked) in self.partners.iter_mut().zip(&mut self.asked) {
            for _ in 0..partner.pump() {
                let asked = asked.pop_front().expect("a response answers a request");
                self.latencies_us.push(asked.elapsed().as_micros());
                self.done += 1;
            }
        }
        for pool in &mut self.pools {
            (0..pool.pump()).for_each(|_| pool.send(RESPONSE));
        }
    }

    fn latency_us(&self, share: f64) -> Option<u128> {
        self.latencies_us.get((self.latencies_us.len() as f64 * share) as usize).copied()
    }
}

/// Runs one row: `rate` requests a second one by one, or as many as the windows take.
fn forward(poller: Choice, coalesce_us: u32, rate: Option<u64>, length: Length) {
    let rig = Rig::start(poller, coalesce_us, true, length);
    let mut load = Load::new(&rig);
    let start = clock();
    let run = |load: &mut Load, until: Duration| {
        while start.elapsed() < until {
            load.offer(rate, start.elapsed());
            load.turn();
        }
    };
    run(&mut load, length.of_row() / 8);
    load.latencies_us.clear();
    let (cpu, done, began) = (shard_cpu_ns(), load.done, clock());
    run(&mut load, length.of_row());
    if length.is_measured() {
        let (count, took) = (load.done - done, began.elapsed());
        let cpu_us = (shard_cpu_ns() - cpu) as f64 / 1_000.0 / count as f64;
        load.latencies_us.sort_unstable();
        println!(
            "{poller:?} coalesce {coalesce_us} rate {rate:?}: \
             {cpu_us:.2} us/transaction, {:.0}/s, p50 {:?} p99 {:?}",
            count as f64 / took.as_secs_f64(),
            load.latency_us(0.5),
            load.latency_us(0.99),
        );
    }
    let end = clock();
    while load.done < load.sent {
        assert!(end.elapsed() < PATIENCE, "{} of {} came back", load.done, load.sent);
        load.turn();
    }
    assert!(load.sent > 0, "nothing was sent");
    drop(load);
    rig.stop();
}

#[test]
fn measure_forwarding_everything_sent_is_answered() {
    let length = Length::wanted();
    for _ in 0..if length.is_measured() { 2 } else { 1 } {
        for poller in POLLERS {
            forward(poller, 0, None, length);
            forward(poller, 0, Some(10_000), length);
            forward(poller, 200, Some(10_000), length);
        }
    }
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The clients close over no TLS state: their sessions are dropped and their sockets kept.
#[test]
fn measure_idle_legs_all_are_established() {
    let length = Length::wanted();
    let rig = Rig::start(Choice::IoUring, 0, false, length);
    let config = rig.pki.client_config(Some(("ca", PARTNER)));
    let mut held = Vec::new();
    let connect = |held: &mut Vec<TcpStream>, count: usize| {
        for _ in 0..count {
            let name = ServerName::try_from(EDGE).unwrap();
            let tls = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let stream = TcpStream::connect(rig.address).unwrap();
            let mut side = Side::new(stream, tls.into(), RESPONSE);
            while side.tls.is_handshaking() || side.tls.wants_write() {
                side.pump();
            }
            held.push(side.stream);
        }
        let all = (held.len(), 0, 0);
        eventually("all are established", || rig.fabric.budget.used() == all);
    };
    if let Length::Measured(_) = length {
        let settle = || {
            std::thread::sleep(Duration::from_millis(200));
            resident_kib()
        };
        connect(&mut held, 500);
        let (before, cpu) = (settle(), shard_cpu_ns());
        connect(&mut held, 2_000);
        println!(
            "{:.2} KiB for each idle leg; {:.0} us for each handshake; {} descriptors",
            (settle() - before) as f64 / 2_000.0,
            (shard_cpu_ns() - cpu) as f64 / 1_000.0 / 2_000.0,
            descriptors(),
        );
    } else {
        connect(&mut held, 100);
    }
    drop(held);
    eventually("all are forgotten", || rig.fabric.budget.used() == (0, 0, 0));
    rig.stop();
}
