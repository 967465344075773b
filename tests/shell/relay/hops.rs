//! A relay takes a hop from what it passes on, and what has no other goes nowhere.

use std::net::{SocketAddr, UdpSocket};

use entente::edge::av::Ports;
use entente::stun::{AttributeType, ChannelData, ChannelNumber, Method};

use super::streams::plain;
use super::trains::send_train;
use super::turn::{
    Client, Datagrams, Edge, POLLERS, Wanted, each_poller, hear, hears_nothing, peer, socket,
};
use crate::world::eventually;

/// Has what `socket` sends go so many hops.
fn reach(socket: &UdpSocket, hops: u32) {
    let options = socket2::SockRef::from(socket);
    match socket.local_addr().unwrap() {
        SocketAddr::V4(_) => options.set_ttl_v4(hops).unwrap(),
        SocketAddr::V6(_) => options.set_unicast_hops_v6(hops).unwrap(),
    }
}

fn dropped(edge: &Edge) -> u64 {
    edge.handle.observed().shell.hop_limit
}

fn counted(edge: &Edge, so_many: u64) {
    eventually("what ended here is counted", || dropped(edge) == so_many);
}

/// Both ways between a client and a peer; the relay is at `at`, as the peer reaches it.
fn both_ways(edge: &Edge, client: &mut Client, at: SocketAddr, peer: &UdpSocket) {
    assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
    for (hops, payload) in [(1, b"ends"), (2, b"goes")] {
        reach(&client.socket, hops);
        client.send_channel(0x4000, payload);
        reach(peer, hops);
        peer.send_to(payload, at).unwrap();
    }
    // What ended came first, so it would be heard first.
    assert_eq!(hear(peer), (b"goes".to_vec(), at));
    assert_eq!(client.hear_channel(), (0x4000, b"goes".to_vec()));
    // What the relay answers is new.
    reach(&client.socket, 1);
    assert_eq!(client.permit(peer.local_addr().unwrap()), None);
    counted(edge, 2);
}

#[test]
fn the_last_hop_is_the_one_to_the_relay() {
    each_poller(|edge| {
        let (mut client, peer) = (edge.client(), peer());
        let relayed = client.allocate();
        both_ways(&edge, &mut client, relayed, &peer);
        edge.handle.end();
    });
}

#[test]
fn the_last_hop_is_the_one_to_the_relay_by_ipv6() {
    for poller in POLLERS {
        let edge = Edge::start_v6(Wanted::with(poller));
        let mut client = Client::by(Datagrams::between(socket("[::1]:0"), edge.server));
        let answer = client.ask(Method::ALLOCATE, |request| {
            request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        });
        let relayed = answer.address(AttributeType::XOR_RELAYED_ADDRESS).expect("an address");
        let at = SocketAddr::new(edge.relayed, relayed.port());
        both_ways(&edge, &mut client, at, &socket("[::1]:0"));
        edge.handle.end();
    }
}

/// Clients of two relays, each one's peer the other's relayed address: each relay takes one.
#[test]
fn each_relay_takes_one_hop() {
    for poller in POLLERS {
        let edges = [(); 2].map(|()| Edge::start(Wanted::with(poller)));
        let [mut near, mut far] = [edges[0].client(), edges[1].client()];
        let (of_near, of_far) = (near.allocate(), far.allocate());
        assert_eq!(near.bind(0x4000, of_far), None);
        assert_eq!(far.bind(0x4001, of_near), None);
        // However they change on the way of one client.
        for (n, hops) in [3, 1, 2, 255, 3, 2, 3].into_iter().enumerate() {
            reach(&near.socket, hops);
            near.send_channel(0x4000, &[n as u8]);
        }
        for n in [0, 3, 4, 6] {
            assert_eq!(far.hear_channel(), (0x4001, vec![n]));
        }
        counted(&edges[0], 1);
        counted(&edges[1], 2);
        for edge in edges {
            edge.handle.end();
        }
    }
}

#[test]
fn the_way_within_takes_one_hop_whether_a_thread_has_both_clients_or_not() {
    for poller in POLLERS {
        let ports = Ports::Range { first: 50_000, count: 200 };
        let edge = Edge::start(Wanted { ports, threads: 2, ..Wanted::with(poller) });
        let mut one = edge.client();
        let of_one = one.allocate();
        let mut seen = [false; 2];
        let mut ended = 0;
        // Both threads have some of so many sources for sure, see `threads.rs`.
        for number in 1..=40_u16 {
            let own = socket(&format!("127.0.5.{number}:0"));
            let mut other = Client::by(Datagrams::between(own, edge.server));
            let of_other = other.allocate();
            let halves = [of_one, of_other].map(|at| at.port() >= 50_100);
            seen[usize::from(halves[0] != halves[1])] = true;
            assert_eq!(one.bind(0x4000 + number, of_other), None);
            assert_eq!(other.bind(0x4000, of_one), None);
            for hops in 1..=2 {
                reach(&one.socket, hops);
                one.send_channel(0x4000 + number, &[hops as u8]);
            }
            assert_eq!(other.hear_channel(), (0x4000, vec![2]));
            ended += 1;
        }
        assert_eq!(seen, [true; 2]);
        counted(&edge, ended);
        edge.handle.end();
    }
}

#[test]
fn a_client_on_a_stream_hears_what_came_by_its_last_hop() {
    each_poller(|edge| {
        let (mut client, peer) = (plain(&edge), peer());
        let relayed = client.allocate();
        assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
        reach(&peer, 1);
        peer.send_to(b"by a stream", relayed).unwrap();
        assert_eq!(client.hear_channel(), (0x4000, b"by a stream".to_vec()));
        // And what it sends is new.
        client.send_channel(0x4000, b"back");
        assert_eq!(hear(&peer), (b"back".to_vec(), relayed));
        assert_eq!(dropped(&edge), 0);
        edge.handle.end();
    });
}

#[test]
fn a_train_ends_as_its_datagrams_do() {
    each_poller(|edge| {
        let (client, peer, relayed) = edge.flow();
        let number = ChannelNumber::new(0x4000).unwrap();
        let wire = |n: u8| {
            let one = [&ChannelData::header(number, 200)[..], &[n; 200]].concat();
            one.repeat(10)
        };
        for hops in 1..=2 {
            reach(&client.socket, hops);
            send_train(&client.socket, edge.server, &wire(hops as u8), 204);
        }
        for _ in 0..10 {
            assert_eq!(hear(&peer), (vec![2; 200], relayed));
        }
        assert!(hears_nothing(&peer));
        counted(&edge, 10);
        edge.handle.end();
    });
}
