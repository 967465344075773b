//! One shard over the kernel: in, out, and what may go wrong on the way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use entente::edge::{Class, ConnectFailure, Lost, Severity};
use entente::poll::Choice;

use crate::lines::Event;
use crate::world::{
    BlackHole, EDGE, Edge, PARTNER, POLLERS, POOL, Peer, Server, Wanted, eventually,
};

fn each_poller(test: impl Fn(Edge)) {
    for poller in POLLERS {
        test(Edge::start(Wanted::with(poller)));
    }
}

#[test]
fn a_partner_is_accepted_named_heard_and_answered() {
    each_poller(|edge| {
        let mut partner = edge.partner();
        assert_eq!(partner.ask("echo hello"), "hello");
        let events = edge.seen.all();
        let Event::Opened { class, outlet, peer, .. } = &events[0] else { panic!("{events:?}") };
        assert_eq!((*class, *outlet, peer.as_deref()), (Class::Federation, None, Some(PARTNER)));
        partner.close();
        assert_eq!(partner.hear(), "", "the edge closes too");
        eventually("the core hears of the end", || {
            let closed =
                |e: &Event| matches!(e, Event::Closed { lost: Lost::ClosedByPeer, unsent: 0, .. });
            edge.seen.count(closed) == 1
        });
        edge.stop();
    });
}

#[test]
fn many_messages_in_one_write_are_answered_in_order() {
    each_poller(|edge| {
        let mut partner = edge.partner();
        let lines: Vec<_> = (0..1000).map(|n| format!("echo {n}")).collect();
        partner.say(&lines.join("\n"));
        for n in 0..1000 {
            assert_eq!(partner.hear(), n.to_string());
        }
        edge.stop();
    });
}

#[test]
fn a_message_over_many_records_is_joined() {
    each_poller(|edge| {
        let mut partner = edge.partner();
        let long = "y".repeat(300_000);
        assert_eq!(partner.ask(&format!("echo {long}")), long);
        assert_eq!(partner.ask("big 500000").len(), 500_000);
        edge.stop();
    });
}

#[test]
fn a_federation_listener_lets_nobody_in_without_a_trusted_certificate() {
    each_poller(|edge| {
        for shows in [None, Some(("other", PARTNER))] {
            let mut stranger = edge.peer(Class::Federation, shows);
            let outcome = stranger.try_say("echo x").and_then(|()| stranger.try_hear());
            assert!(outcome.is_err(), "{outcome:?}");
        }
        assert_eq!(edge.seen.all(), []);
        let (_, note) = edge.notes.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(note.sentence.ends_with("the peer gave no certificate"), "{}", note.sentence);
        eventually("both places are free", || edge.fabric.budget.used() == (0, 0, 0));
        edge.stop();
    });
}

#[test]
fn remote_users_need_no_certificate_and_internal_peers_a_listed_name() {
    each_poller(|edge| {
        assert_eq!(edge.peer(Class::RemoteUsers, None).ask("echo a"), "a");
        assert_eq!(edge.peer(Class::Internal, Some(("ca", POOL))).ask("echo b"), "b");
        let mut other = edge.peer(Class::Internal, Some(("ca", PARTNER)));
        assert!(other.try_say("echo c").and_then(|()| other.try_hear()).is_err());
        edge.stop();
    });
}

#[test]
fn closing_waits_for_what_is_staged() {
    each_poller(|edge| {
        let mut partner = edge.partner();
        partner.say("big 200000\nbye\necho never");
        assert_eq!(partner.hear().len(), 200_000);
        assert_eq!(partner.hear(), "bye");
        assert_eq!(partner.hear(), "");
        let closed =
            |e: &Event| matches!(e, Event::Closed { lost: Lost::ClosedByUs, unsent: 0, .. });
        eventually("the core hears of the end", || edge.seen.count(closed) == 1);
        edge.stop();
    });
}

#[test]
fn an_outgoing_leg_is_opened_used_and_lost() {
    each_poller(|edge| {
        let server = Server::start();
        let address = server.address;
        let config = edge.pki.server_config("ca", POOL);
        let mut partner = edge.partner();
        partner.say(&format!("dial internal {POOL} {address}"));
        let mut pool = Peer::server(server.accept(), &config);
        // rustls does its part of the handshake while it reads.
        let (asked, heard) = std::thread::scope(|scope| {
            let heard = scope.spawn(|| pool.hear());
            eventually("the leg is up", || {
                edge.seen.count(|e| matches!(e, Event::Opened { outlet: Some(_), .. })) == 1
            });
            partner.say("forward question");
            (partner.socket().peer_addr().unwrap(), heard.join().unwrap())
        });
        assert_eq!((asked, heard.as_str()), (edge.address(Class::Federation), "question"));
        pool.say("answer");
        assert_eq!(partner.hear(), "answer");
        drop(pool);
        let lost =
            |e: &Event| matches!(e, Event::Closed { lost: Lost::ClosedByPeer | Lost::Reset, .. });
        eventually("its loss is told", || edge.seen.count(lost) == 1);
        assert_eq!(partner.ask("echo still here"), "still here");
        edge.stop();
    });
}

#[test]
fn a_dead_address_does_not_keep_a_live_one_waiting() {
    each_poller(|edge| {
        let server = Server::start();
        let address = server.address;
        let config = edge.pki.server_config("ca", POOL);
        let refused = Server::start().address;
        let silent = BlackHole::dig();
        let mut partner = edge.partner();
        partner.say(&format!("dial internal {POOL} {refused} {} {address}", silent.address));
        let mut pool = Peer::server(server.accept(), &config);
        let heard = std::thread::spawn(move || (pool.hear(), pool));
        eventually("the leg is up", || {
            edge.seen.count(|e| matches!(e, Event::Opened { outlet: Some(_), .. })) == 1
        });
        partner.say("forward x");
        let (heard, _pool) = heard.join().unwrap();
        assert_eq!(heard, "x");
        assert_eq!(edge.fabric.budget.used().1, 1, "the losing attempts are gone");
        edge.stop();
    });
}

#[test]
fn why_a_connection_did_not_come_up_is_told() {
    each_poller(|edge| {
        let mut partner = edge.partner();
        let refused = Server::start().address;
        partner.say(&format!("dial internal {POOL} {refused}"));
        let failed = |index: usize| {
            let mut failures = edge.seen.all().into_iter().filter_map(|event| match event {
                Event::ConnectFailed { why, .. } => Some(why),
                _ => None,
            });
            failures.nth(index)
        };
        eventually("the first failure", || failed(0) == Some(ConnectFailure::Unreachable));
        let servers = [
            (edge.pki.server_config("other", POOL), ConnectFailure::CertificateUntrusted),
            (edge.pki.server_config("ca", PARTNER), ConnectFailure::CertificateNameMismatch),
        ];
        for (place, (config, expected)) in servers.into_iter().enumerate() {
            let server = Server::start();
            let address = server.address;
            partner.say(&format!("dial internal {POOL} {address}"));
            let mut peer = Peer::server(server.accept(), &config);
            assert!(peer.try_hear().is_err());
            eventually("another failure", || failed(place + 1) == Some(expected));
        }
        let server = Server::start();
        let address = server.address;
        partner.say(&format!("dial internal {POOL} {address}"));
        drop(server.accept());
        eventually("the last failure", || failed(3) == Some(ConnectFailure::TlsFailed));
        partner.say(&format!("dial internal {POOL}"));
        eventually("no address at all", || failed(4) == Some(ConnectFailure::Unreachable));
        edge.stop();
    });
}

#[test]
fn a_probe_is_counted_and_not_logged() {
    each_poller(|edge| {
        for _ in 0..3 {
            drop(TcpStream::connect(edge.address(Class::Federation)).unwrap());
        }
        eventually("all are gone", || edge.counter("probes") == 3);
        assert_eq!((edge.notes.len(), edge.counter("handshakes_failed")), (0, 0));
        edge.stop();
    });
}

#[test]
fn a_check_that_asks_and_resets_is_counted_and_told_to_nobody_who_did_not_ask() {
    each_poller(|edge| {
        let mut check = edge.partner();
        assert_eq!(check.ask("check"), "ok");
        socket2::SockRef::from(check.socket()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(check);
        let mut partner = edge.partner();
        assert_eq!((partner.ask("check"), partner.ask("echo a")), ("ok".into(), "a".into()));
        socket2::SockRef::from(partner.socket()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(partner);
        let severity = || edge.notes.recv_timeout(Duration::from_secs(5)).unwrap().1.severity;
        assert_eq!((severity(), severity()), (Severity::Debug, Severity::Info));
        eventually("it is counted", || edge.counter("probes") == 1);
        edge.stop();
    });
}

#[test]
fn a_balancers_own_connection_may_end_anywhere_and_is_a_probe() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { proxy_from: vec!["127.0.0.0/8"], ..Wanted::with(poller) });
        // The header alone, and a handshake begun or spoilt behind it.
        for behind in [&[] as &[u8], &[0x16, 3, 1, 0, 200, 1], b"OPTIONS sip:x SIP/2.0\r\n"] {
            let mut stream = TcpStream::connect(edge.address(Class::Federation)).unwrap();
            stream.write_all(b"PROXY UNKNOWN\r\n").unwrap();
            stream.write_all(behind).unwrap();
        }
        eventually("all are counted", || edge.counter("probes") == 3);
        assert_eq!((edge.notes.len(), edge.counter("handshakes_failed")), (0, 0));
        edge.stop();
    }
}

#[test]
fn a_listed_balancer_owes_a_header_and_its_source_is_the_peers() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { proxy_from: vec!["127.0.0.0/8"], ..Wanted::with(poller) });
        let mut stream = TcpStream::connect(edge.address(Class::Federation)).unwrap();
        stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(b"100.1 4000 5061\r\n").unwrap();
        let mut partner = Peer::client(stream, &edge.pki.client_config(Some(("ca", PARTNER))));
        assert_eq!(partner.ask("echo a"), "a");
        let events = edge.seen.all();
        let Event::Opened { remote, .. } = &events[0] else { panic!("{events:?}") };
        assert_eq!(remote.to_string(), "192.0.2.7:4000");
        let mut bare = edge.partner();
        assert!(bare.try_say("echo a").and_then(|()| bare.try_hear()).is_err());
        eventually("it is counted", || edge.counter("proxy_headers_malformed") == 1);
        edge.stop();
    }
}

#[test]
fn a_header_from_anybody_else_ends_the_connection() {
    each_poller(|edge| {
        let mut stream = TcpStream::connect(edge.address(Class::Federation)).unwrap();
        stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 5061\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
        eventually("it is counted", || edge.counter("proxy_headers_refused") == 1);
        edge.stop();
    });
}

#[test]
fn a_silent_connection_is_closed_after_the_handshake_time() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { handshake_ms: 200, ..Wanted::with(poller) });
        let mut silent = TcpStream::connect(edge.address(Class::Federation)).unwrap();
        let mut half = TcpStream::connect(edge.address(Class::Federation)).unwrap();
        half.write_all(&[0x16, 3, 1, 0, 200, 1]).unwrap();
        for stream in [&mut silent, &mut half] {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0);
        }
        eventually("their places are free", || edge.fabric.budget.used() == (0, 0, 0));
        edge.stop();
    }
}

#[test]
fn a_core_is_woken_for_its_deadline() {
    each_poller(|edge| {
        edge.partner().say("timer 30");
        eventually("the timer ran", || edge.seen.count(|e| *e == Event::Mail("timer".into())) == 1);
        edge.stop();
    });
}

#[test]
fn plain_text_on_a_tls_port_is_told_apart() {
    let edge = Edge::start(Wanted::with(Choice::Auto));
    let mut stream = TcpStream::connect(edge.address(Class::Federation)).unwrap();
    stream.write_all(format!("OPTIONS sip:{EDGE} SIP/2.0\r\n\r\n").as_bytes()).unwrap();
    let (_, note) = edge.notes.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(note.sentence.ends_with("the peer does not speak TLS"), "{}", note.sentence);
    drop(stream);
    edge.stop();
}
