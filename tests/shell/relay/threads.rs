//! Several relay threads are one relay to everybody outside.

use std::net::{SocketAddr, UdpSocket};

use entente::edge::av::{Ports, Quotas};
use entente::stun::{AttributeType, ChannelData, ChannelNumber, Method};

use super::streams::plain;
use super::trains::send_train;
use super::turn::{Client, Datagrams, Edge, POLLERS, Wanted, hear, peer, socket};
use crate::world::eventually;

/// Sources so many that both threads have some for sure: with a fair choice all of them are one
/// thread's once in 2^39.
const SOURCES: u8 = 40;

fn edge(poller: entente::poll::Choice) -> Edge {
    let ports = Ports::Range { first: 50_000, count: 200 };
    Edge::start(Wanted { ports, threads: 2, ..Wanted::with(poller) })
}

/// A client in a network of its own, which is challenged no more often than it may be.
pub(super) fn apart(edge: &Edge, number: u8) -> Client<Datagrams> {
    Client::by(Datagrams::between(socket(&format!("127.4.{number}.1:0")), edge.server))
}

/// Which thread a relayed port is of.
fn thread_of(port: u16) -> usize {
    usize::from(port >= 50_100)
}

#[test]
fn both_threads_have_clients_whose_flows_stay_with_them() {
    for poller in POLLERS {
        let edge = edge(poller);
        assert_eq!(edge.handle.threads(), 2);
        let mut flows: Vec<_> = (1..=SOURCES)
            .map(|number| {
                let (mut client, peer) = (apart(&edge, number), peer());
                let relayed = client.allocate();
                assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
                (client, peer, relayed)
            })
            .collect();
        for round in 0..20_u8 {
            for (n, (client, peer, relayed)) in flows.iter_mut().enumerate() {
                client.send_channel(0x4000, &[n as u8, round]);
                assert_eq!(hear(peer), (vec![n as u8, round], *relayed));
                peer.send_to(&[round, n as u8], *relayed).unwrap();
                assert_eq!(client.hear_channel(), (0x4000, vec![round, n as u8]));
            }
        }
        let of: Vec<usize> = flows.iter().map(|flow| thread_of(flow.2.port())).collect();
        assert!(of.contains(&0) && of.contains(&1), "{of:?}");
        // A second client of each address is with the same thread, so that it may claim what the
        // first has reserved.
        for number in 1..=SOURCES {
            let mut again = apart(&edge, number);
            let relayed = again.allocate();
            assert_eq!(thread_of(relayed.port()), of[usize::from(number) - 1]);
            again.release();
        }
        // An operator sees one relay.
        let listing = edge.handle.list(0);
        let count = usize::from(SOURCES);
        assert_eq!((listing.allocations, listing.listed.len()), (count, count));
        assert_eq!(listing.free_ports, Some(200 - count));
        let rest = edge.handle.list(count - 3).listed;
        assert_eq!(rest, listing.listed[count - 3..]);
        for listed in listing.listed {
            assert!(edge.handle.kill(listed.client));
            assert!(!edge.handle.kill(listed.client));
        }
        eventually("the counters are left once a second", || {
            let observed = edge.handle.observed();
            let traffic = observed.core.traffic;
            let each = 20 * u64::from(SOURCES);
            (observed.allocations, traffic.to_peers, traffic.to_client) == (0, each, each)
        });
        edge.handle.end();
    }
}

#[test]
fn a_port_reserved_by_a_client_is_claimed_from_the_same_address() {
    for poller in POLLERS {
        let edge = edge(poller);
        for number in 1..=8 {
            let (mut one, mut other) = (apart(&edge, number), apart(&edge, number));
            let answer = one.ask(Method::ALLOCATE, |request| {
                request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                request.attribute(AttributeType::EVEN_PORT, &[0x80]);
            });
            let relayed = answer.address(AttributeType::XOR_RELAYED_ADDRESS).unwrap();
            let token = answer.value(AttributeType::RESERVATION_TOKEN).unwrap();
            let answer = other.ask(Method::ALLOCATE, |request| {
                request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                request.attribute(AttributeType::RESERVATION_TOKEN, &token);
            });
            let beside = answer.address(AttributeType::XOR_RELAYED_ADDRESS).unwrap();
            assert_eq!(beside.port(), relayed.port() + 1);
        }
        edge.handle.end();
    }
}

type Allocated = (Client<Datagrams>, SocketAddr);

/// Returns a client of each thread, and the others that were needed to have them.
fn of_both_threads(edge: &Edge) -> (Allocated, Allocated, Vec<Allocated>) {
    let mut clients: Vec<Allocated> = (1..=SOURCES)
        .map(|number| {
            let mut client = apart(edge, number);
            let relayed = client.allocate();
            (client, relayed)
        })
        .collect();
    let mut of = |thread| {
        let mut places = clients.iter();
        let place = places.position(|(_, at)| thread_of(at.port()) == thread).unwrap();
        clients.swap_remove(place)
    };
    let (one, other) = (of(0), of(1));
    (one, other, clients)
}

/// What one thread was sent together the other sends together.
#[test]
fn a_train_to_a_client_of_another_thread_leaves_as_a_train() {
    for poller in POLLERS {
        let edge = edge(poller);
        let (one, other, _) = of_both_threads(&edge);
        let ((mut one, of_one), (mut other, of_other)) = (one, other);
        assert_eq!(one.bind(0x4000, of_other), None);
        assert_eq!(other.bind(0x4001, of_one), None);
        let number = ChannelNumber::new(0x4000).unwrap();
        let header = ChannelData::header(number, 300);
        // More than there are spare slots, in trains that the kernel takes.
        for round in 0..20_u8 {
            let payloads = (0..20).map(|n| vec![round ^ n; 300]);
            let train: Vec<u8> =
                payloads.clone().flat_map(|p| [&header[..], &p].concat()).collect();
            send_train(&one.socket, edge.server, &train, 304);
            for payload in payloads {
                assert_eq!(other.hear_channel(), (0x4001, payload));
            }
        }
        eventually("all is counted", || edge.handle.observed().shell.mailed == 400);
        if edge.handle.trains() == "by GRO and GSO" {
            eventually("some left together", || edge.handle.observed().shell.sent_in_trains > 0);
        }
        edge.handle.end();
    }
}

/// Nothing of it is cut off: messages of streams are longer than datagrams.
#[test]
fn what_a_stream_says_reaches_a_client_of_another_thread_whole() {
    for poller in POLLERS {
        let edge = edge(poller);
        let mut one = plain(&edge);
        let of_one = one.allocate();
        let (first, second, _) = of_both_threads(&edge);
        let far = if thread_of(of_one.port()) == 0 { second } else { first };
        let (mut other, of_other) = far;
        assert_eq!(one.bind(0x4000, of_other), None);
        assert_eq!(other.bind(0x4001, of_one), None);
        let payload: Vec<u8> = (0..12_000_usize).map(|at| (at * 7) as u8).collect();
        one.send_channel(0x4000, &payload);
        assert_eq!(other.hear_channel(), (0x4001, payload));
        other.send_channel(0x4001, b"back");
        assert_eq!(one.hear_channel(), (0x4000, b"back".to_vec()));
        edge.handle.end();
    }
}

/// Each one's peer is a relayed address of the other's thread: nothing goes by the kernel, and
/// both permissions count.
#[test]
fn clients_of_different_threads_reach_each_other_within_the_process() {
    for poller in POLLERS {
        let edge = edge(poller);
        let (one, other, clients) = of_both_threads(&edge);
        let ((mut one, of_one), (mut other, of_other)) = (one, other);
        assert_eq!(one.bind(0x4000, of_other), None);
        one.send_channel(0x4000, b"too early");
        eventually("the other thread has refused it", || {
            edge.handle.observed().core.dropped.iter().sum::<u64>() == 1
        });
        assert_eq!(other.permit(of_one), None);
        for n in 0..100_u8 {
            one.send_channel(0x4000, &[n; 33]);
            assert_eq!(other.hear_indication(), (of_one, vec![n; 33]));
            other.send_indication(of_one, &[n; 34]);
            assert_eq!(one.hear_channel(), (0x4000, vec![n; 34]));
        }
        eventually("what was handed over is counted, and what was given", || {
            let observed = edge.handle.observed();
            (observed.shell.mailed, observed.core.within) == (201, 200)
        });
        // A port of this relay that nobody has is nobody's.
        let taken: Vec<u16> = clients.iter().map(|(_, at)| at.port()).collect();
        let free = (50_100..50_200).find(|port| !taken.contains(port) && *port != of_other.port());
        let free = SocketAddr::new(edge.relayed, free.unwrap());
        let nobody = UdpSocket::bind(free).unwrap();
        assert_eq!(one.bind(0x4001, free), None);
        one.send_channel(0x4001, b"for nobody");
        eventually("the other thread has refused it", || {
            edge.handle.observed().core.dropped.iter().sum::<u64>() == 2
        });
        assert_eq!(edge.handle.observed().core.within, 200);
        drop(nobody);
        edge.handle.end();
    }
}

#[test]
fn an_end_leaves_no_socket_of_any_thread_behind_and_the_address_is_nobody_elses_before() {
    for poller in POLLERS {
        for ports in [Ports::Range { first: 50_000, count: 200 }, Ports::Shared(vec![3_478, 3_480])]
        {
            let quotas = Quotas::default();
            let wanted = Wanted { ports, threads: 2, quotas, ..Wanted::with(poller) };
            let edge = Edge::start(wanted);
            let mut clients: Vec<_> = (1..=10).map(|number| apart(&edge, number)).collect();
            let relayed: Vec<_> = clients.iter_mut().map(|client| client.allocate()).collect();
            let server = edge.server;
            assert!(UdpSocket::bind(server).is_err());
            edge.handle.end();
            drop(UdpSocket::bind(server).expect("the listener is closed"));
            for port in relayed {
                drop(UdpSocket::bind(port).expect("every port is closed"));
            }
        }
    }
}
