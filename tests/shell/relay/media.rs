//! What is relayed arrives as it was sent.

use std::net::SocketAddr;

use entente::edge::av::Ports;

use super::turn::{Client, Edge, POLLERS, Wanted, each_poller, hear, hears_nothing, peer};

/// Distinct in length and content.
fn payload(n: usize) -> Vec<u8> {
    (0..=(n % 900)).map(|at| (n * 31 + at) as u8).collect()
}

#[test]
fn channel_data_goes_both_ways_and_stays_what_it_is() {
    each_poller(|edge| {
        let (mut client, peer) = (edge.client(), peer());
        let relayed = client.allocate();
        assert_eq!(relayed.ip(), edge.relayed);
        assert_eq!(client.bind(0x4001, peer.local_addr().unwrap()), None);
        for round in 0..20 {
            // As many at once as the sockets hold for sure.
            for n in 0..50 {
                client.send_channel(0x4001, &payload(round * 50 + n));
            }
            for n in 0..50 {
                let (data, from) = hear(&peer);
                assert_eq!((data, from), (payload(round * 50 + n), relayed));
            }
            for n in 0..50 {
                peer.send_to(&payload(round * 70 + n), relayed).unwrap();
            }
            for n in 0..50 {
                assert_eq!(client.hear_channel(), (0x4001, payload(round * 70 + n)));
            }
        }
        edge.handle.end();
    });
}

#[test]
fn indications_go_both_ways_and_name_the_peer() {
    each_poller(|edge| {
        let (mut client, peer) = (edge.client(), peer());
        let relayed = client.allocate();
        let address = peer.local_addr().unwrap();
        assert_eq!(client.permit(address), None);
        for n in 0..200 {
            client.send_indication(address, &payload(n));
            assert_eq!(hear(&peer), (payload(n), relayed));
            peer.send_to(&payload(n + 7), relayed).unwrap();
            assert_eq!(client.hear_indication(), (address, payload(n + 7)));
        }
        edge.handle.end();
    });
}

#[test]
fn many_flows_at_once_never_mix() {
    for ports in [Ports::Range { first: 50_000, count: 200 }, Ports::Shared(vec![3_478, 3_480])] {
        for poller in POLLERS {
            let edge = Edge::start(Wanted { ports: ports.clone(), ..Wanted::with(poller) });
            let mut flows: Vec<_> = (0..30).map(|_| edge.flow()).collect();
            for round in 0..10_u8 {
                for (n, (client, peer, relayed)) in flows.iter_mut().enumerate() {
                    for _ in 0..5 {
                        client.send_channel(0x4000, &[n as u8, round]);
                        peer.send_to(&[round, n as u8], *relayed).unwrap();
                    }
                }
                for (n, (client, peer, relayed)) in flows.iter().enumerate() {
                    for _ in 0..5 {
                        assert_eq!(hear(peer), (vec![n as u8, round], *relayed));
                        assert_eq!(client.hear_channel(), (0x4000, vec![round, n as u8]));
                    }
                }
            }
            edge.handle.end();
        }
    }
}

/// An internal and a remote user of one organisation: each one's peer is a relayed address of the
/// same relay, and nothing of it goes by the kernel.
#[test]
fn two_clients_reach_each_other_within_the_relay_under_both_permissions() {
    each_poller(|edge| {
        let (mut one, mut other) = (edge.client(), edge.client());
        let (of_one, of_other) = (one.allocate(), other.allocate());
        assert_eq!(one.bind(0x4000, of_other), None);
        one.send_channel(0x4000, b"too early");
        assert!(hears_nothing(&other.socket), "the other side has not permitted it");
        assert_eq!(other.permit(of_one), None);
        one.send_channel(0x4000, b"hello");
        assert_eq!(other.hear_indication(), (of_one, b"hello".to_vec()));
        other.send_indication(of_other, b"to itself");
        other.send_indication(of_one, b"back");
        assert_eq!(one.hear_channel(), (0x4000, b"back".to_vec()));
        edge.handle.end();
    });
}

#[test]
fn a_stranger_reaches_no_client() {
    for ports in [Ports::Range { first: 50_000, count: 200 }, Ports::Shared(vec![3_478])] {
        for poller in POLLERS {
            let edge = Edge::start(Wanted { ports: ports.clone(), ..Wanted::with(poller) });
            let (mut client, known, stranger) = (edge.client(), peer(), peer());
            let relayed = client.allocate();
            stranger.send_to(b"before any permission", relayed).unwrap();
            let elsewhere: SocketAddr = "127.0.0.9:9".parse().unwrap();
            assert_eq!(client.permit(elsewhere), None);
            stranger.send_to(b"from another address than permitted", relayed).unwrap();
            assert!(hears_nothing(&client.socket));
            client.bind(0x4000, known.local_addr().unwrap());
            known.send_to(b"known", relayed).unwrap();
            assert_eq!(client.hear_channel().1, b"known");
            edge.handle.end();
        }
    }
}

#[test]
fn a_listener_of_the_pool_sends_clients_to_the_node() {
    for poller in POLLERS {
        // The socket is the node's own, and the listener says that it is the pool's.
        let vip: SocketAddr = "192.0.2.1:3478".parse().unwrap();
        let edge = Edge::start(Wanted { vip: Some(vip), ..Wanted::with(poller) });
        let mut client = Client::at(edge.server);
        assert_eq!(client.allocation().error, Some(300));
        edge.handle.end();
    }
}
