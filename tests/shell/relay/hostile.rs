//! What strangers send gets nothing, or little, and harms nobody.

use std::net::UdpSocket;

use entente::edge::av::{Dropped, Ports, Quotas};
use entente::limits;
use entente::stun::{AttributeType, Builder, Class, Method, TransactionId, Type};

use super::turn::{Edge, POLLERS, Wanted, each_poller, hear, hears_nothing, peer, socket};
use crate::world::eventually;

/// Waits until the relay has counted so many dropped datagrams of a kind.
fn dropped(edge: &Edge, kind: Dropped, at_least: u64) {
    eventually("what was dropped is counted", || {
        edge.handle.observed().core.dropped[kind as usize] >= at_least
    });
}

#[test]
fn datagrams_that_are_nothing_get_nothing() {
    each_poller(|edge| {
        let stranger = socket("127.0.0.1:0");
        let mut junk: Vec<Vec<u8>> = (0..=255_u8).map(|first| vec![first; 37]).collect();
        junk.push(Vec::new());
        junk.push(vec![0, 1]);
        // A header that promises more than is there.
        junk.push([&[0, 1, 0x7f, 0xfc, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat());
        junk.push(vec![0x40, 0x00, 0xff, 0xff, 1]);
        for datagram in &junk {
            stranger.send_to(datagram, edge.server).unwrap();
        }
        assert!(hears_nothing(&stranger));
        dropped(&edge, Dropped::Malformed, 1);
        dropped(&edge, Dropped::NoAllocation, 1);
        edge.client().allocate();
        edge.handle.end();
    });
}

#[test]
fn oversized_datagrams_are_dropped_and_counted_on_both_sides() {
    each_poller(|edge| {
        let (client, peer, relayed) = edge.flow();
        let longest = limits::RELAY_DATAGRAM_BYTES_MAX;
        client.send_channel(0x4000, &vec![1; longest]);
        peer.send_to(&vec![1; longest + 1], relayed).unwrap();
        peer.send_to(&vec![2; longest], relayed).unwrap();
        assert_eq!(client.hear_channel().1, vec![2; longest]);
        client.send_channel(0x4000, &vec![3; longest - 4]);
        assert_eq!(hear(&peer).0, vec![3; longest - 4]);
        eventually("both are counted", || edge.handle.observed().shell.oversized == 2);
        edge.handle.end();
    });
}

#[test]
fn a_flood_of_bare_requests_is_answered_within_its_limit_and_others_are_served() {
    each_poller(|edge| {
        // Another network than clients have: sources are limited by network.
        let flood = UdpSocket::bind("127.0.9.1:0").unwrap();
        let mut bare = Vec::new();
        let kind = Type { method: Method::ALLOCATE, class: Class::Request };
        Builder::new(&mut bare, kind, TransactionId([7; 12]));
        let (client, peer, relayed) = edge.flow();
        for n in 0..2_000_u16 {
            // What does not fit the socket's buffer is lost, as a flood's may be.
            let _ = flood.send_to(&bare, edge.server);
            if n.is_multiple_of(100) {
                client.send_channel(0x4000, &n.to_be_bytes());
                assert_eq!(hear(&peer), (n.to_be_bytes().to_vec(), relayed));
            }
        }
        dropped(&edge, Dropped::AnswerRate, 500);
        let mut answers = 0;
        flood.set_nonblocking(true).unwrap();
        let mut answer = [0; 2_000];
        while let Ok(length) = flood.recv(&mut answer) {
            assert!(length <= limits::TURN_UNAUTHENTICATED_BYTES_MAX);
            answers += 1;
        }
        assert!(answers > 0, "some are answered");
        assert!(answers < 1_000, "{answers}");
        edge.client().allocate();
        edge.handle.end();
    });
}

#[test]
fn ports_run_out_with_508_and_come_back() {
    for poller in POLLERS {
        let ports = Ports::Range { first: 50_000, count: 4 };
        let edge = Edge::start(Wanted { ports, ..Wanted::with(poller) });
        let mut clients: Vec<_> = (0..4).map(|_| edge.client()).collect();
        let mut taken: Vec<_> = clients.iter_mut().map(|client| client.allocate()).collect();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 4);
        let mut late = edge.client();
        assert_eq!(late.allocation().error, Some(508));
        for client in &mut clients {
            client.release();
        }
        eventually("every port is closed", || edge.handle.observed().sockets == 1);
        for port in &taken {
            drop(UdpSocket::bind(port).expect("the kernel has it back"));
        }
        late.allocate();
        edge.handle.end();
    }
}

#[test]
fn a_port_that_somebody_else_has_is_508_and_leaks_nothing() {
    for poller in POLLERS {
        let ports = Ports::Range { first: 50_000, count: 1 };
        let edge = Edge::start(Wanted { ports, ..Wanted::with(poller) });
        let other = UdpSocket::bind((edge.relayed, 50_000)).unwrap();
        let mut client = edge.client();
        assert_eq!(client.allocation().error, Some(508));
        drop(other);
        client.allocate();
        eventually("one port and the listener", || edge.handle.observed().sockets == 2);
        assert_eq!(edge.handle.observed().shell.unopened, 1);
        edge.handle.end();
    }
}

#[test]
fn where_somebody_else_has_some_ports_another_is_found() {
    for poller in POLLERS {
        let ports = Ports::Range { first: 50_000, count: 5 };
        let edge = Edge::start(Wanted { ports, ..Wanted::with(poller) });
        let others = [50_000, 50_001, 50_003, 50_004]
            .map(|port| UdpSocket::bind((edge.relayed, port)).unwrap());
        // One that is tried is given back and may be tried again: how often, chance says.
        let mut answers = (0..20).map(|_| {
            let mut client = edge.client();
            let answer = client.allocation();
            let relayed = answer.address(AttributeType::XOR_RELAYED_ADDRESS)?;
            client.release();
            Some(relayed.port())
        });
        assert_eq!(answers.find_map(|port| port), Some(50_002));
        drop(others);
        eventually("the listener", || edge.handle.observed().sockets == 1);
        edge.handle.end();
    }
}

#[test]
fn an_allocation_has_its_rate_and_no_more() {
    for poller in POLLERS {
        let quotas = Quotas { allocation_kbit_s: 80, ..Quotas::default() };
        let edge = Edge::start(Wanted { quotas, ..Wanted::with(poller) });
        let (mut client, peer) = (edge.client(), peer());
        client.allocate();
        assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
        // 10,000 bytes a second, and half a second's at once.
        for _ in 0..100 {
            client.send_channel(0x4000, &[0; 1_000]);
        }
        dropped(&edge, Dropped::Bandwidth, 1);
        edge.handle.end();
    }
}
