//! The generator against itself: its partners connect straight to its next hop, or to a server
//! that misbehaves on purpose. What it reports must be what happened.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use clap::Parser;
use tempfile::TempDir;

use crate::net::{ConnId, Ended, Handler, Net, Role};
use crate::options::Options;
use crate::report::Report;
use crate::sip::{Message, Name};
use crate::tls::{self, Identity, Version};

/// Certificates of one throw-away CA in a directory.
struct Pki {
    directory: TempDir,
}

impl Pki {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        for name in ["contoso", "litware", "fabrikam"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let names = vec![format!("sip.{name}.example")];
            let leaf = rcgen::CertificateParams::new(names).unwrap();
            let leaf = leaf.signed_by(&key, &issuer).unwrap();
            std::fs::write(directory.path().join(format!("{name}.pem")), leaf.pem()).unwrap();
            std::fs::write(directory.path().join(format!("{name}.key")), key.serialize_pem())
                .unwrap();
        }
        Self { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs one command line with the certificates of `self`, trusting the CA of `trusted`.
    fn run(&self, trusted: &Self, edge: SocketAddr, scenario: &str, more: &str) -> Report {
        let path = |file: PathBuf| file.to_str().unwrap().to_owned();
        let mut words = vec!["entente-loadgen".to_owned(), scenario.to_owned()];
        words.extend(["--cert".into(), path(self.file("contoso.pem"))]);
        words.extend(["--key".into(), path(self.file("contoso.key"))]);
        words.extend(["--ca".into(), path(trusted.file("ca.pem"))]);
        words.extend(["--edge".into(), edge.to_string()]);
        words.extend(["--warmup", "0.05", "--seconds", "0.3"].map(str::to_owned));
        words.extend(more.split_ascii_whitespace().map(str::to_owned));
        let options = Options::try_parse_from(words).unwrap();
        crate::scenario(&options.scenario).unwrap()
    }

    /// Runs message traffic whose edge is its own next hop.
    fn run_alone(&self, scenario: &str, more: &str) -> Report {
        let edge = free_address();
        let path = |name: &str| self.file(name).to_str().unwrap().to_owned();
        let more = format!(
            "--listen {edge} --connections 4 --window 16 --uas-cert {} --uas-key {} {more}",
            path("fabrikam.pem"),
            path("fabrikam.key")
        );
        self.run(self, edge, scenario, &more)
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// How a server of the tests treats a request.
struct Answering {
    answers_left: usize,
}

impl Handler for Answering {
    fn established(&mut self, _net: &mut Net, _conn: ConnId, _role: Role) {}

    fn message(&mut self, net: &mut Net, conn: ConnId, message: Message<'_>) {
        if self.answers_left == 0 {
            return;
        }
        self.answers_left -= 1;
        let mut answer = b"SIP/2.0 200 OK\r\n".to_vec();
        for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
            message.copy_lines(name, &mut answer);
        }
        answer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        net.send(conn, &answer);
    }

    fn ended(&mut self, _net: &mut Net, _conn: ConnId, _role: Role, _why: Ended) {}
}

/// A server on a thread of its own until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(pki: &Pki, answers: usize) -> Self {
        let (address, stop) = (free_address(), Arc::new(AtomicBool::new(false)));
        let identity = Identity::read(&pki.file("fabrikam.pem"), &pki.file("fabrikam.key"));
        let roots = tls::roots(&pki.file("ca.pem")).unwrap();
        let config = tls::server(Version::Tls13, &identity.unwrap(), &roots).unwrap();
        let stopped = Arc::clone(&stop);
        let (listening, ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut net = Net::new(1).unwrap();
            net.listen(address, config).unwrap();
            listening.send(()).unwrap();
            let mut handler = Answering { answers_left: answers };
            while !stopped.load(Ordering::Relaxed) {
                net.turn(5_000_000, &mut handler).unwrap();
            }
        });
        ready.recv().unwrap();
        Self { address, stop, thread: Some(thread) }
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
    assert!(report.errors.is_empty() && report.strays == 0, "{report}");
    assert!(report.latency.iter().all(|latency| latency.count > 0), "{report}");
    assert_eq!(report.suite.as_deref(), Some("TLS13_AES_128_GCM_SHA256"));
}

#[test]
fn every_traffic_scenario_ends_without_a_fault() {
    let pki = Pki::new();
    for scenario in ["message", "dialog", "presence"] {
        let report = pki.run_alone(scenario, "--subscriptions 10");
        assert_flawless(&report);
        assert_eq!(report.offered, report.done, "{report}");
    }
}

#[test]
fn packing_and_several_partners_and_users_change_nothing_in_the_outcome() {
    let pki = Pki::new();
    let file = |name: &str| pki.file(name).to_str().unwrap().to_owned();
    let litware = format!("litware.example:{}:{}", file("litware.pem"), file("litware.key"));
    let report = pki.run_alone("message", &format!("--pack 20 --users 50 --partner {litware}"));
    assert_flawless(&report);
    assert!(report.messages_per_read > 1.0, "{report}");
}

#[test]
fn an_open_loop_offers_its_rate() {
    let report = Pki::new().run_alone("message", "--rate 1000");
    assert_flawless(&report);
    assert!((295..=305).contains(&report.offered), "{report}");
}

#[test]
fn every_call_that_was_answered_was_acknowledged() {
    let report = Pki::new().run_alone("dialog", "");
    assert!(report.acks.unwrap() >= report.done, "{report}");
}

#[test]
fn answers_that_do_not_come_are_counted_as_lost() {
    let pki = Pki::new();
    let server = Server::start(&pki, 4);
    let listen = free_address();
    let more = format!(
        "--server-name sip.fabrikam.example --listen {listen} --connections 4 --window 8 \
         --timeout 0.1"
    );
    let report = pki.run(&pki, server.address, "message", &more);
    assert_eq!(report.done, 0, "{report}");
    assert!(report.errors["no answer in time"] >= 8, "{report}");
}

#[test]
fn handshakes_are_done_when_the_server_has_closed_too() {
    let pki = Pki::new();
    let server = Server::start(&pki, 0);
    let report = pki.run(&pki, server.address, "handshake", "--window 4");
    assert_flawless(&report);
}

#[test]
fn a_certificate_that_the_server_does_not_trust_is_no_handshake() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let server = Server::start(&pki, 0);
    let report = stranger.run(&pki, server.address, "handshake", "--window 4");
    assert_eq!(report.done, 0, "{report}");
    assert!(report.errors.keys().all(|kind| kind.contains("fatal alert")), "{report}");
    assert!(!report.errors.is_empty(), "{report}");
}

#[test]
fn idle_connections_stand_until_the_end() {
    let pki = Pki::new();
    let server = Server::start(&pki, 0);
    let more = format!("--legs 30 --first 5 --hold 0.1 --pid {}", std::process::id());
    let report = pki.run(&pki, server.address, "idle", &more);
    assert_eq!((report.done, report.connections), (30, 30), "{report}");
    assert!(report.server.unwrap().kib_per_leg.is_some());
}

/// XMPP streams of the generator's partners straight to its own server of partners.
fn run_xmpp(more: &str) -> Report {
    run_streams("xmpp", more)
}

fn run_streams(scenario: &str, more: &str) -> Report {
    let edge = free_address();
    let more = format!("--server-name sip.contoso.example --listen {edge} {more}");
    let pki = Pki::new();
    pki.run(&pki, edge, scenario, &more)
}

#[test]
fn a_gateway_has_a_sip_next_hop_inside_unless_told_otherwise() {
    // The inside of `xmpp` would be a link, which nobody offers here.
    let report = run_streams("gateway", "--domains 3 --window 8");
    assert_flawless(&report);
    assert_eq!((report.scenario, report.connections), ("gateway", 3), "{report}");
}

#[test]
fn stanzas_cross_streams_with_starttls_and_external() {
    for what in ["message", "presence"] {
        let report = run_xmpp(&format!("--inner sip --domains 5 --window 16 --what {what}"));
        assert_flawless(&report);
        assert_eq!((report.offered, report.connections), (report.done, 5), "{report}");
    }
}

#[test]
fn an_open_loop_of_stanzas_offers_its_rate() {
    let report = run_xmpp("--inner sip --domains 2 --rate 1000");
    assert_flawless(&report);
    assert!((295..=305).contains(&report.offered), "{report}");
}

#[test]
fn authenticated_streams_stand_until_the_end() {
    let pid = std::process::id();
    let report = run_xmpp(&format!("--inner none --domains 20 --first 5 --hold 0.1 --pid {pid}"));
    assert_eq!((report.done, report.connections), (20, 20), "{report}");
    assert!(report.server.unwrap().kib_per_leg.is_some());
}
