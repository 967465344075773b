//! The scenario against the forwarder, or against one that misbehaves on purpose. What it reports
//! must be what happened.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use clap::Parser;

use super::forwarder::Forwarder;
use super::hint;
use super::stream::frame_bytes;
use super::udp::Port;
use crate::options::{self, Options, Scenario};
use crate::report::Report;

/// Something on a thread of its own until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `make`: called on the thread; returns the server and where it listens.
    fn start<S>(
        make: impl FnOnce() -> (S, SocketAddr) + Send + 'static,
        turn: impl Fn(&mut S) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (listening, ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut server, address) = make();
            listening.send(address).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                turn(&mut server);
            }
        });
        Self { address: ready.recv().unwrap(), stop, thread: Some(thread) }
    }

    fn forwarder(trains: bool) -> Self {
        let make = move || {
            let listen = (Ipv4Addr::LOCALHOST, 0).into();
            let options = options::Forwarder { listen, wait: 0, trains };
            let forwarder = Forwarder::new(&options).unwrap();
            let address = forwarder.listens_on();
            (forwarder, address)
        };
        Self::start(make, |forwarder| forwarder.turn().unwrap())
    }

    fn run(&self, more: &str) -> anyhow::Result<Report> {
        let command = format!(
            "entente-loadgen media --relay {} --warmup 0.05 --seconds 0.3 --timeout 1 {more}",
            self.address
        );
        let options = Options::try_parse_from(command.split_ascii_whitespace()).unwrap();
        let Scenario::Media(options) = options.scenario else { panic!("another scenario") };
        super::run(&options)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn assert_flawless(report: &Report) {
    assert!(report.done > 0, "{report}");
    assert!(report.errors.is_empty() && report.offered == report.done, "{report}");
    let media = report.media.as_ref().unwrap();
    assert_eq!((media.again, media.generator_dropped), (0, 0), "{report}");
}

#[test]
fn packets_cross_every_way() {
    let server = Server::forwarder(false);
    for (way, timed) in [("up", 1), ("down", 1), ("both", 2), ("echo", 2)] {
        let report = server.run(&format!("--allocations 20 --rate 2000 --way {way}")).unwrap();
        assert_flawless(&report);
        let delays = report.latency.iter().filter(|one| one.name.starts_with("delay"));
        assert_eq!(delays.filter(|one| one.count > 0).count(), timed, "{report}");
        assert_eq!(report.connections, 20);
    }
}

#[test]
fn a_closed_loop_keeps_its_window_full() {
    let server = Server::forwarder(false);
    let report = server.run("--allocations 8 --window 16 --way both").unwrap();
    assert!(report.done > 100 && report.errors.is_empty(), "{report}");
}

#[test]
fn trains_cross_as_trains_and_as_packets() {
    for trains in [true, false] {
        let server = Server::forwarder(trains);
        for way in ["up", "down"] {
            let more = format!("--profile video --rate 3000 --way {way}");
            let report = server.run(&more).unwrap();
            assert_flawless(&report);
            assert_eq!((report.connections, report.pack), (10, 10), "{report}");
        }
    }
}

#[test]
fn an_open_loop_offers_its_rate_and_as_many_flows_as_it_takes() {
    let report = Server::forwarder(false).run("--rate 1000").unwrap();
    assert_flawless(&report);
    assert!((295..=305).contains(&report.offered) && report.connections == 20, "{report}");
}

#[test]
fn allocations_come_and_go() {
    let report = Server::forwarder(false).run("--work churn --window 4").unwrap();
    assert!(report.done > 0 && report.errors.is_empty(), "{report}");
    assert_eq!(report.offered, report.done, "{report}");
}

#[test]
fn allocations_are_held() {
    let pid = std::process::id();
    let more = format!("--work hold --allocations 30 --first 5 --hold 0.1 --pid {pid}");
    let report = Server::forwarder(false).run(&more).unwrap();
    assert_eq!((report.done, report.connections), (30, 30), "{report}");
    assert!(report.server.unwrap().kib_per_leg.is_some());
}

fn listening_port() -> (Port, SocketAddr) {
    let port = Port::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = (Ipv4Addr::LOCALHOST, port.number().unwrap()).into();
    (port, address)
}

#[test]
fn a_relay_that_is_not_there_is_said_to_be() {
    let silent = Server::start(listening_port, |port| {
        port.receive(|_| {});
        thread::sleep(std::time::Duration::from_millis(1));
    });
    let report = silent.run("--work churn --rate 100").unwrap();
    assert_eq!(report.done, 0, "{report}");
    assert_eq!(report.errors["no answer in time"], report.offered, "{report}");
}

/// TCP before a forwarder: each connection is a client of it.
struct Streams {
    inner: SocketAddr,
    listener: TcpListener,
    /// With what has come of a frame, and what the stream has not taken.
    connections: Vec<(TcpStream, UdpSocket, Vec<u8>, Vec<u8>)>,
}

impl Streams {
    fn new(inner: SocketAddr) -> (Self, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (Self { inner, listener, connections: Vec::new() }, address)
    }

    fn turn(&mut self) {
        if let Ok((stream, _)) = self.listener.accept() {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(self.inner).unwrap();
            stream.set_nonblocking(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            self.connections.push((stream, socket, Vec::new(), Vec::new()));
        }
        let mut buffer = [0; 4096];
        for (stream, socket, input, output) in &mut self.connections {
            if let Ok(count) = stream.read(&mut buffer) {
                input.extend_from_slice(&buffer[..count]);
            }
            while let Some(length) = frame_bytes(input)
                && input.len() >= length
            {
                socket.send(&input[..length]).unwrap();
                input.drain(..length);
            }
            while let Ok(count) = socket.recv(&mut buffer) {
                output.extend_from_slice(&buffer[..count.next_multiple_of(4)]);
            }
            if let Ok(count) = stream.write(output) {
                output.drain(..count);
            }
        }
    }
}

#[test]
fn packets_cross_over_streams() {
    let server = Server::forwarder(false);
    let inner = server.address;
    let before = Server::start(move || Streams::new(inner), Streams::turn);
    for more in ["--way both --rate 1000", "--way echo --window 8"] {
        let report = before.run(&format!("--transport tcp --allocations 6 {more}")).unwrap();
        assert_flawless(&report);
    }
    let report = before.run("--transport tcp --work churn --window 3").unwrap();
    assert!(report.done > 0 && report.errors.is_empty(), "{report}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let server = Server::forwarder(false);
    let refused = |more: &str| server.run(more).unwrap_err().to_string();
    assert_eq!(refused("--users 0"), "--users and --allocations are one at least");
    assert_eq!(refused("--allocations 0"), "--users and --allocations are one at least");
    assert_eq!(refused("--bytes 30"), "--bytes must be a multiple of four, 24 at least");
}

#[test]
fn a_refusal_of_the_relay_comes_with_what_to_look_at() {
    assert!(hint("Allocate: 486").contains("--users"));
    assert!(hint("Allocate: 401").contains("--secret"));
    assert!(hint("ChannelBind: 403").contains("--peers"));
    assert!(hint("nothing came back").contains("--transport"));
    assert_eq!(hint("Allocate: 499"), "");
}

#[test]
fn connections_that_are_refused_are_failures() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let nobody = Server::start(move || ((), gone), |()| thread::yield_now());
    let error = nobody.run("--transport tcp --allocations 2").unwrap_err().to_string();
    assert!(error.contains("0 of 2 allocations") && error.contains("refused"), "{error}");
    let report = nobody.run("--transport tcp --work churn --rate 100").unwrap();
    assert_eq!(report.errors["connection refused"], report.offered, "{report}");
}

/// A forwarder between that keeps packets for itself: every tenth that is not STUN.
struct Lossy {
    inner: SocketAddr,
    outer: Port,
    towards: std::collections::BTreeMap<SocketAddr, Port>,
    count: u32,
}

impl Lossy {
    fn turn(&mut self) {
        let mut came = Vec::new();
        self.outer.receive(|one| came.push((one.from, one.bytes.to_vec())));
        for (from, bytes) in came {
            let port = self.towards.entry(from).or_insert_with(|| Port::open().unwrap());
            self.count += 1;
            if bytes[0] < 4 || !self.count.is_multiple_of(10) {
                port.send(None, self.inner, &bytes, None);
            }
        }
        for (client, port) in &mut self.towards {
            let outer = &self.outer;
            port.receive(|one| {
                outer.send(None, *client, one.bytes, None);
            });
        }
    }
}

#[test]
fn what_is_lost_is_counted_as_lost() {
    let server = Server::forwarder(false);
    let inner = server.address;
    let make = move || {
        let (outer, address) = listening_port();
        (Lossy { inner, outer, towards: std::collections::BTreeMap::new(), count: 0 }, address)
    };
    let between = Server::start(make, Lossy::turn);
    let report = between.run("--allocations 4 --rate 1000").unwrap();
    let lost = report.errors["lost"];
    assert_eq!(report.offered, report.done + lost, "{report}");
    assert!((report.offered / 12..=report.offered / 8).contains(&lost), "{report}");
    // A closed loop goes on all the same.
    let report = between.run("--allocations 4 --window 8").unwrap();
    assert!(report.done > 10 * 8 && report.errors["lost"] > 8, "{report}");
}
