//! Peers that do not read, do not finish, or come in crowds; and that others are unharmed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use entente::edge::Class;
use entente::limits;

use crate::lines::Event;
use crate::world::{Edge, PARTNER, POLLERS, POOL, Peer, Wanted, descriptors, eventually};

/// Requests whose answers are more than the kernel's buffers hold, while they themselves are not.
const ASKED: usize = 4_000;
/// One turn's share of answers fits between high water and what a leg may stage.
const PADDING: usize = 550;

/// A peer that asks much and does not read the answers.
fn greedy(edge: &Edge, class: Class, name: &str) -> (Peer, String) {
    let mut greedy = edge.peer(class, Some(("ca", name)));
    socket2::SockRef::from(greedy.socket()).set_recv_buffer_size(32 * 1024).unwrap();
    let padding = "p".repeat(PADDING);
    let line = format!("thrice {padding}\n");
    greedy.say(line.repeat(ASKED).trim_end());
    (greedy, padding)
}

fn lines_heard(edge: &Edge) -> usize {
    edge.seen.count(|e| matches!(e, Event::Line { text, .. } if text.starts_with("thrice")))
}

#[test]
fn a_partner_that_never_reads_is_not_read_and_nobody_else_notices() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let mut other = edge.partner();
        let (mut greedy, padding) = greedy(&edge, Class::Federation, PARTNER);
        eventually("the edge stops reading", || edge.counter("legs_held") > 0);
        assert!(lines_heard(&edge) < ASKED, "the rest stays in the socket");
        assert_eq!(other.ask("echo b"), "b");
        // It goes on where it stopped once the peer reads, and nothing was lost.
        for _ in 0..3 * ASKED {
            assert_eq!(greedy.hear(), padding);
        }
        edge.stop();
    }
}

#[test]
fn a_next_hop_that_does_not_read_is_read_all_the_same() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let (pool, _) = greedy(&edge, Class::Internal, POOL);
        eventually("all was read", || lines_heard(&edge) == ASKED);
        assert_eq!(edge.counter("legs_held"), 0);
        drop(pool);
        edge.stop();
    }
}

#[test]
fn half_open_handshakes_are_bounded_and_established_traffic_goes_on() {
    for poller in POLLERS {
        let edge =
            Edge::start(Wanted { budget: (100, 10, 5), handshake_ms: 500, ..Wanted::with(poller) });
        let mut partner = edge.partner();
        assert_eq!(partner.ask("echo a"), "a");
        let idle: Vec<_> =
            (0..20).map(|_| TcpStream::connect(edge.address(Class::Federation)).unwrap()).collect();
        eventually("accepting rests", || edge.counter("accept_pauses") > 0);
        assert!(edge.fabric.budget.used().2 <= 5);
        assert_eq!(partner.ask("echo b"), "b");
        // Their time runs out, five by five, and whoever comes then gets in.
        let mut late = edge.partner();
        assert_eq!(late.ask("echo c"), "c");
        drop(idle);
        edge.stop();
    }
}

#[test]
fn one_source_cannot_take_all_half_open_places() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted {
            budget: (100, 10, 8),
            half_open_per_source: 3,
            shards: 2,
            ..Wanted::with(poller)
        });
        let flood: Vec<_> =
            (0..20).map(|_| TcpStream::connect(edge.address(Class::Federation)).unwrap()).collect();
        eventually("the rest is turned away", || edge.counter("source_refused") == 17);
        assert_eq!(edge.fabric.budget.used(), (3, 0, 3));
        let mut other = Peer::client(from([127, 0, 0, 2], &edge), &partner(&edge));
        assert_eq!(other.ask("echo a"), "a");
        drop(flood);
        eventually("its places come back", || edge.fabric.budget.used() == (1, 0, 0));
        assert_eq!(edge.partner().ask("echo b"), "b");
        let about = |note: &entente::edge::Note| note.sentence.contains("its source has too many");
        assert_eq!(edge.notes.try_iter().filter(|(_, note)| about(note)).count(), 1, "told once");
        drop(other);
        edge.stop();
    }
}

#[test]
fn behind_a_balancer_the_source_is_the_one_it_names() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted {
            budget: (100, 10, 8),
            half_open_per_source: 3,
            proxy_from: vec!["127.0.0.0/8"],
            ..Wanted::with(poller)
        });
        let behind = |client: &str| {
            let mut stream = TcpStream::connect(edge.address(Class::Federation)).unwrap();
            write!(stream, "PROXY TCP4 {client} 198.51.100.1 4000 5061\r\n").unwrap();
            stream
        };
        let flood: Vec<_> = (0..10).map(|_| behind("192.0.2.7")).collect();
        eventually("the rest is turned away", || edge.counter("source_refused") == 7);
        let mut other = Peer::client(behind("192.0.2.8"), &partner(&edge));
        assert_eq!(other.ask("echo a"), "a");
        drop((flood, other));
        edge.stop();
    }
}

fn partner(edge: &Edge) -> std::sync::Arc<rustls::ClientConfig> {
    edge.pki.client_config(Some(("ca", PARTNER)))
}

/// A connection from another address of this machine.
fn from(source: [u8; 4], edge: &Edge) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&edge.address(Class::Federation).into()).unwrap();
    socket.into()
}

#[test]
fn connections_are_bounded_and_places_come_back() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { budget: (8, 2, 8), ..Wanted::with(poller) });
        let mut partners: Vec<_> = (0..6).map(|_| edge.partner()).collect();
        for partner in &mut partners {
            assert_eq!(partner.ask("echo a"), "a");
        }
        let waiting = TcpStream::connect(edge.address(Class::Federation)).unwrap();
        eventually("accepting rests", || edge.counter("accept_pauses") > 0);
        assert_eq!(edge.fabric.budget.used().0, 6, "two are kept for outgoing legs");
        partners.pop();
        let mut late = Peer::client(waiting, &edge.pki.client_config(Some(("ca", PARTNER))));
        assert_eq!(late.ask("echo b"), "b");
        drop((partners, late));
        edge.stop();
    }
}

#[test]
fn a_storm_of_handshakes_leaves_established_traffic_its_turns() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let mut partner = edge.partner();
        assert_eq!(partner.ask("echo a"), "a");
        let config = edge.pki.client_config(Some(("ca", PARTNER)));
        let address = edge.address(Class::Federation);
        let slowest = std::thread::scope(|scope| {
            let storm = scope.spawn(|| {
                let mut all: Vec<_> = (0..60)
                    .map(|_| Peer::client(TcpStream::connect(address).unwrap(), &config))
                    .collect();
                assert!(all.iter_mut().all(|peer| peer.ask("echo s") == "s"));
            });
            let mut slowest = Duration::ZERO;
            while !storm.is_finished() {
                #[allow(clippy::disallowed_methods, reason = "a test measures")]
                let asked = Instant::now();
                assert_eq!(partner.ask("echo b"), "b");
                slowest = slowest.max(asked.elapsed());
            }
            slowest
        });
        // Two cores shared with the storm itself; what would fail is waiting for all of it.
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        edge.stop();
    }
}

#[test]
fn a_leg_that_floods_shares_its_turns() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let mut flood = edge.partner();
        let mut quiet = edge.partner();
        assert_eq!(quiet.ask("echo a"), "a");
        let lines = "note\n".repeat(50_000);
        std::thread::scope(|scope| {
            scope.spawn(|| flood.say(lines.trim_end()));
            for n in 0..20 {
                assert_eq!(quiet.ask(&format!("echo {n}")), n.to_string());
            }
        });
        eventually("every line was served", || {
            edge.seen.count(|e| matches!(e, Event::Line { text, .. } if text == "note")) == 50_000
        });
        eventually("it is counted", || edge.counter("leg_budgets_spent") > 0);
        edge.stop();
    }
}

#[test]
fn resets_at_any_moment_leave_no_leg_and_no_descriptor() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let mut steady = edge.partner();
        assert_eq!(steady.ask("echo a"), "a");
        let before = (descriptors(), edge.fabric.budget.used());
        for bytes in [0usize, 1, 5, 100, 300, 600, 1200] {
            let mut raw = TcpStream::connect(edge.address(Class::Federation)).unwrap();
            let config = edge.pki.client_config(Some(("ca", PARTNER)));
            let name = rustls::pki_types::ServerName::try_from(crate::world::EDGE).unwrap();
            let mut client = rustls::ClientConnection::new(config, name).unwrap();
            let mut hello = Vec::new();
            client.write_tls(&mut hello).unwrap();
            hello.resize(1200, 0x17);
            raw.write_all(&hello[..bytes]).unwrap();
            let socket = socket2::SockRef::from(&raw);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        for _ in 0..5 {
            let mut partner = edge.partner();
            partner.say("big 200000");
            let socket = socket2::SockRef::from(partner.socket());
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        eventually("all are gone", || edge.fabric.budget.used() == before.1);
        eventually("every descriptor too", || descriptors() <= before.0);
        let opened = edge.seen.count(|e| matches!(e, Event::Opened { .. }));
        let closed = edge.seen.count(|e| matches!(e, Event::Closed { .. }));
        assert_eq!(opened, closed + 1, "each leg the core heard of it heard the end of");
        assert_eq!(steady.ask("echo b"), "b");
        edge.stop();
    }
}

#[test]
fn a_line_without_an_end_ends_the_leg() {
    let edge = Edge::start(Wanted::with(POLLERS[0]));
    let mut partner = edge.partner();
    partner.socket().set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let endless = "z".repeat(64 * 1024);
    let most = 4 * limits::SIP_MESSAGE_BYTES_MAX / endless.len();
    let _ = (0..most).find(|_| partner.try_say(&endless.replace('\n', "")).is_err());
    let mut rest = [0; 1];
    let _ = partner.socket().read(&mut rest);
    drop(partner);
    eventually("the leg is gone", || edge.fabric.budget.used().0 == 0);
    edge.stop();
}
