//! What the shell costs: CPU of the shard's thread for each forwarded 700-byte request and 300-byte
//! response, mutual TLS on both legs, beside a busy generator.
//!
//! `cargo test --release --test shell measure -- --ignored --nocapture --test-threads 1`
//!
//! They are here and not in `benches/` because they need the shell's own world: real shards with a
//! core that only copies, which is what takes the roles out of the figures.
//!
//! Compare only numbers of one run: ring against epoll, saturated against singly.

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

use crate::world::{EDGE, PARTNER, POOL, Pki, Server, descriptors, eventually, snapshot};

const REQUEST: usize = 700;
const RESPONSE: usize = 300;
const PAIRS: usize = 8;

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
    fn start(poller: Choice, coalesce_us: u32, relays: bool) -> Self {
        let pki = Pki::new();
        let pool = Server::start();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let plan = ListenerPlan { address, class: Class::Federation, proxy_from: Vec::new() };
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
        };
        let settings = Settings { coalesce_us, ..Settings::new(0) };
        let setup = Setup { listeners, core: Some(0), poller, settings };
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

    fn send(&mut self, messages: usize, bytes: usize) {
        for _ in 0..messages {
            self.tls.writer().write_all(&[b'm'; REQUEST][..bytes]).unwrap();
        }
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

/// Runs for `seconds` and prints one row. `rate`: requests a second, or 0 with `window` each.
fn run(poller: Choice, coalesce_us: u32, rate: u64, window: usize, seconds: u64) {
    let rig = Rig::start(poller, coalesce_us, true);
    let (mut partners, mut pools) = sides(&rig);
    let start = clock();
    let (mut sent, mut done, mut next) = (0u64, 0u64, 0usize);
    let mut in_flight = [0usize; PAIRS];
    let mut asked: Vec<VecDeque<Instant>> = vec![VecDeque::new(); PAIRS];
    let mut latencies_us = Vec::new();
    let (mut cpu, mut from) = (0, 0u64);
    let mut began = start;
    loop {
        let elapsed = start.elapsed();
        if cpu == 0 && elapsed > Duration::from_millis(500) {
            (cpu, from, began) = (shard_cpu_ns(), done, clock());
            latencies_us.clear();
        }
        if elapsed > Duration::from_secs(seconds) {
            break;
        }
        if rate > 0 && elapsed.as_micros() as u64 * rate / 1_000_000 > sent {
            partners[next].send(1, REQUEST);
            asked[next].push_back(clock());
            sent += 1;
            next = (next + 1) % PAIRS;
        }
        for (pair, partner) in partners.iter_mut().enumerate() {
            if rate == 0 {
                partner.send(window - in_flight[pair], REQUEST);
                in_flight[pair] = window;
            }
            let came = partner.pump();
            done += came as u64;
            in_flight[pair] -= came.min(in_flight[pair]);
            let of_pair = &mut asked[pair];
            for asked in of_pair.drain(..came.min(of_pair.len())) {
                latencies_us.push(asked.elapsed().as_micros());
            }
        }
        for pool in &mut pools {
            let came = pool.pump();
            pool.send(came, RESPONSE);
        }
    }
    let (count, took) = (done - from, began.elapsed());
    let cpu_us = (shard_cpu_ns() - cpu) as f64 / 1_000.0 / count as f64;
    latencies_us.sort_unstable();
    let at = |share: f64| latencies_us.get((latencies_us.len() as f64 * share) as usize);
    println!(
        "{poller:?} coalesce {coalesce_us} rate {rate} window {window}: \
         {cpu_us:.2} us/transaction, {:.0}/s, p50 {:?} p99 {:?}",
        count as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
    );
    drop((partners, pools));
    rig.stop();
}

#[test]
#[ignore = "a measurement: 24 s of two otherwise idle cores, and nothing to assert"]
fn measure_forwarding() {
    epoll::pin(1).unwrap();
    for _ in 0..2 {
        for poller in [Choice::IoUring, Choice::Epoll] {
            run(poller, 0, 0, 32, 4);
            run(poller, 0, 10_000, 0, 4);
            run(poller, 200, 10_000, 0, 4);
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
#[ignore = "a measurement: resident memory means something only where nothing else runs"]
fn measure_idle_legs() {
    epoll::pin(1).unwrap();
    let rig = Rig::start(Choice::IoUring, 0, false);
    let config = rig.pki.client_config(Some(("ca", PARTNER)));
    let mut held = Vec::new();
    let mut connect = |count: usize| {
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
    };
    connect(500);
    let settle = || {
        eventually("all are established", || rig.fabric.budget.used().2 == 0);
        std::thread::sleep(Duration::from_millis(200));
        resident_kib()
    };
    let before = settle();
    let cpu = shard_cpu_ns();
    connect(2_000);
    let after = settle();
    println!(
        "{:.2} KiB for each idle leg; {:.0} us for each handshake; {} descriptors",
        (after - before) as f64 / 2_000.0,
        (shard_cpu_ns() - cpu) as f64 / 1_000.0 / 2_000.0,
        descriptors(),
    );
    drop(held);
    rig.stop();
}
