//! Datagrams of one flow that come together are moved together, and arrive as what they were.

use std::net::{SocketAddr, UdpSocket};

use entente::relay::Trains;
use entente::stun::{AttributeType, Builder, ChannelData, ChannelNumber, Class, Method, Type};
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

use super::turn::{Edge, POLLERS, Wanted, hear, peer};
use crate::world::eventually;

/// Sends `bytes` as datagrams of `segment` bytes each, in one call of the kernel.
pub(super) fn send_train(socket: &UdpSocket, to: SocketAddr, bytes: &[u8], segment: usize) {
    let state = UdpSocketState::new(UdpSockRef::from(socket)).unwrap();
    let transmit = Transmit {
        destination: to,
        ecn: None,
        contents: bytes,
        segment_size: Some(segment),
        src_ip: None,
    };
    state.try_send(UdpSockRef::from(socket), &transmit).unwrap();
    // The state has its own ideas of a socket.
    socket.set_nonblocking(false).unwrap();
}

fn payload(n: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (n * 7 + at) as u8).collect()
}

fn channel(number: u16, payload: &[u8]) -> Vec<u8> {
    let number = ChannelNumber::new(number).unwrap();
    [&ChannelData::header(number, payload.len() as u16)[..], payload].concat()
}

/// Sizes of a train: datagrams, bytes of each, bytes of the last. One is sent in two, for what
/// goes before each datagram makes it too long, and of one no datagram fits the Ethernet.
const SHAPES: [(usize, usize, usize); 6] = [
    (2, 160, 160),
    (10, 1_200, 1_200),
    (10, 1_200, 17),
    (54, 1_200, 1_200),
    (64, 1_022, 800),
    (7, 3_000, 3_000),
];

fn train(number: u16, (count, bytes, last): (usize, usize, usize)) -> (Vec<Vec<u8>>, Vec<u8>) {
    let length = |n: usize| if n + 1 == count { last } else { bytes };
    let payloads: Vec<Vec<u8>> = (0..count).map(|n| payload(n, length(n))).collect();
    let wire = payloads.iter().flat_map(|payload| channel(number, payload)).collect();
    (payloads, wire)
}

/// Runs a test by ring and by epoll, with trains and without.
fn each_way(test: impl Fn(&Edge, bool) + Sync) {
    std::thread::scope(|scope| {
        for poller in POLLERS {
            for trains in [Trains::Auto, Trains::Never] {
                let test = &test;
                scope.spawn(move || {
                    let edge = Edge::start(Wanted { trains, ..Wanted::with(poller) });
                    let as_one = edge.handle.trains() == "by GRO and GSO";
                    assert!(!as_one || trains == Trains::Auto);
                    test(&edge, as_one);
                    edge.handle.end();
                });
            }
        }
    });
}

/// What came and went as one is counted so.
fn counted(edge: &Edge, as_one: bool, sent: u64) {
    eventually("what came and went as one is counted", || {
        let shell = edge.handle.observed().shell;
        match as_one {
            true => shell.received_in_trains == sent && shell.sent_in_trains >= sent - 9,
            false => shell.sent > sent,
        }
    });
}

#[test]
fn a_train_of_a_client_arrives_as_its_datagrams() {
    each_way(|edge, as_one| {
        let (client, peer, relayed) = edge.flow();
        let mut sent = 0;
        for shape in SHAPES {
            let (payloads, wire) = train(0x4000, shape);
            send_train(&client.socket, edge.server, &wire, shape.1 + 4);
            for payload in payloads {
                sent += 1;
                assert_eq!(hear(&peer), (payload, relayed));
            }
        }
        counted(edge, as_one, sent);
    });
}

#[test]
fn a_train_of_a_peer_arrives_as_its_datagrams() {
    each_way(|edge, as_one| {
        let (client, peer, relayed) = edge.flow();
        let mut sent = 0;
        for shape in SHAPES {
            let (payloads, _) = train(0x4000, shape);
            send_train(&peer, relayed, &payloads.concat(), shape.1);
            for payload in payloads {
                sent += 1;
                assert_eq!(client.hear_channel(), (0x4000, payload));
            }
        }
        counted(edge, as_one, sent);
    });
}

/// Whatever cannot go as one goes one by one: data of two channels, indications to a client whose
/// peer has no channel, Send indications, what is no data at all.
#[test]
fn a_train_of_all_sorts_is_taken_apart() {
    each_way(|edge, _| {
        let (mut client, one, other) = (edge.client(), peer(), peer());
        let relayed = client.allocate();
        assert_eq!(client.bind(0x4000, one.local_addr().unwrap()), None);
        assert_eq!(client.bind(0x4001, other.local_addr().unwrap()), None);
        let mut wire = Vec::new();
        for n in 0..20 {
            wire.extend(channel(0x4000 + n % 2, &payload(usize::from(n), 500)));
        }
        wire.extend([0x33; 504]);
        send_train(&client.socket, edge.server, &wire, 504);
        for n in 0..20 {
            let peer = if n % 2 == 0 { &one } else { &other };
            assert_eq!(hear(peer), (payload(n, 500), relayed));
        }
        let mut wire = Vec::new();
        for n in 0..40 {
            let id = client.id();
            let kind = Type { method: Method::SEND, class: Class::Indication };
            let mut datagram = Vec::new();
            Builder::new(&mut datagram, kind, id)
                .xor_address(AttributeType::XOR_PEER_ADDRESS, one.local_addr().unwrap())
                .attribute(AttributeType::DATA, &payload(n, 800));
            wire.extend(datagram);
        }
        let each = wire.len() / 40;
        send_train(&client.socket, edge.server, &wire, each);
        for n in 0..40 {
            assert_eq!(hear(&one), (payload(n, 800), relayed));
        }
        // Another client, which has sent no train: its socket takes none either.
        let (mut client, third) = (edge.client(), peer());
        let relayed = client.allocate();
        let address = third.local_addr().unwrap();
        assert_eq!(client.permit(address), None);
        let payloads: Vec<Vec<u8>> = (0..30).map(|n| payload(n, 901)).collect();
        send_train(&third, relayed, &payloads.concat(), 901);
        for payload in payloads {
            assert_eq!(client.hear_indication(), (address, payload));
        }
    });
}

#[test]
fn a_train_within_the_relay_arrives_as_its_datagrams() {
    each_way(|edge, _| {
        let (mut one, mut other) = (edge.client(), edge.client());
        let (of_one, of_other) = (one.allocate(), other.allocate());
        assert_eq!(one.bind(0x4000, of_other), None);
        assert_eq!(other.bind(0x4005, of_one), None);
        for shape in SHAPES {
            let (payloads, wire) = train(0x4000, shape);
            send_train(&one.socket, edge.server, &wire, shape.1 + 4);
            for payload in payloads {
                assert_eq!(other.hear_channel(), (0x4005, payload));
            }
        }
    });
}
