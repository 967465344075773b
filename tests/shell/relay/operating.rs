//! What an operator does to a running relay.

use std::net::UdpSocket;

use entente::edge::av::{Admission, Credentials, Ports, Quotas, Secret};
use entente::relay::StartError;

use super::turn::{Edge, POLLERS, Wanted, credentials, each_poller, hear, hears_nothing, peers};
use crate::world::eventually;

#[test]
fn allocations_outlive_a_reload() {
    each_poller(|edge| {
        let (mut client, peer, relayed) = edge.flow();
        let other = Credentials { rest: vec![Secret::new(b"another")], mras: Vec::new() };
        edge.handle.adopt(other, peers(), Quotas::default());
        client.send_channel(0x4000, b"still here");
        assert_eq!(hear(&peer), (b"still here".to_vec(), relayed));
        let refreshed = client.bind(0x4000, peer.local_addr().unwrap());
        assert_eq!(refreshed, None, "whoever made it may speak of it");
        let quotas = Quotas { allocations: 1, ..Quotas::default() };
        edge.handle.adopt(credentials(), peers(), quotas);
        assert_eq!(edge.client().allocation().error, Some(508));
        edge.handle.end();
    });
}

#[test]
fn a_draining_relay_takes_nobody_new_and_serves_who_is_there() {
    each_poller(|edge| {
        let (client, peer, relayed) = edge.flow();
        edge.handle.admit(Admission::Draining { alternate: None });
        assert_eq!(edge.client().allocation().error, Some(508));
        let alternate = Some("192.0.2.9:3478".parse().unwrap());
        edge.handle.admit(Admission::Draining { alternate });
        assert_eq!(edge.client().allocation().error, Some(300));
        client.send_channel(0x4000, b"still here");
        assert_eq!(hear(&peer), (b"still here".to_vec(), relayed));
        edge.handle.admit(Admission::Open);
        edge.client().allocate();
        edge.handle.end();
    });
}

#[test]
fn an_allocation_can_be_seen_and_ended() {
    each_poller(|edge| {
        let (client, peer, relayed) = edge.flow();
        client.send_channel(0x4000, b"seven77");
        hear(&peer);
        let listing = edge.handle.list(0);
        assert_eq!((listing.allocations, listing.free_ports), (1, Some(199)));
        let listed = listing.listed;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].client.remote, client.socket.local_addr().unwrap());
        assert_eq!(listed[0].ports[0].port, relayed.port());
        assert_eq!((listed[0].traffic.to_peers, listed[0].traffic.bytes_to_peers), (1, 7));
        assert!((1..=600).contains(&listed[0].ends_in_s), "{}", listed[0].ends_in_s);
        assert!(edge.handle.list(1).listed.is_empty());
        assert!(edge.handle.kill(listed[0].client));
        assert!(!edge.handle.kill(listed[0].client));
        client.send_channel(0x4000, b"gone");
        assert!(hears_nothing(&peer));
        drop(UdpSocket::bind(relayed).expect("its port is closed"));
        edge.handle.end();
    });
}

#[test]
fn what_was_relayed_is_counted() {
    each_poller(|edge| {
        let (client, peer, relayed) = edge.flow();
        for _ in 0..10 {
            client.send_channel(0x4000, &[0; 160]);
            hear(&peer);
            peer.send_to(&[0; 100], relayed).unwrap();
            client.hear_channel();
        }
        eventually("the counters are left once a second", || {
            let observed = edge.handle.observed();
            let traffic = observed.core.traffic;
            let bytes = (traffic.bytes_to_peers, traffic.bytes_to_client);
            (traffic.to_peers, traffic.to_client) == (10, 10)
                && bytes == (1_600, 1_000)
                && observed.allocations == 1
                && observed.free_ports == Some(199)
        });
        edge.handle.end();
    });
}

#[test]
fn an_end_leaves_no_socket_behind() {
    for ports in [Ports::Range { first: 50_000, count: 200 }, Ports::Shared(vec![3_478])] {
        for poller in POLLERS {
            let edge = Edge::start(Wanted { ports: ports.clone(), ..Wanted::with(poller) });
            let mut clients: Vec<_> = (0..20).map(|_| edge.client()).collect();
            let relayed: Vec<_> = clients.iter_mut().map(|client| client.allocate()).collect();
            let server = edge.server;
            edge.handle.end();
            drop(UdpSocket::bind(server).expect("the listener is closed"));
            for port in relayed {
                drop(UdpSocket::bind(port).expect("every port is closed"));
            }
        }
    }
}

#[test]
fn an_address_that_is_taken_is_told() {
    let edge = Edge::start(Wanted::with(POLLERS[0]));
    let core = entente::edge::av::Setup {
        realm: "x".to_owned(),
        relayed: vec![entente::edge::av::RelayedAddress {
            bound: edge.relayed,
            public: edge.relayed,
        }],
        ports: Ports::Range { first: 60_000, count: 1 },
        listeners: vec![entente::edge::av::Listener { node: edge.server, vip: None }],
        credentials: credentials(),
        nonce_keys: vec![[0; 32]],
        peers: peers(),
        quotas: Quotas::default(),
        seed: 1,
    };
    let settings = entente::relay::Settings::default();
    let listen = entente::relay::Listen {
        address: edge.server,
        transport: entente::edge::av::Transport::Udp,
        tls: None,
    };
    let setup = entente::relay::Setup { core, listen: vec![listen], settings };
    let error = entente::relay::spawn(setup, entente::time::Clock::start()).unwrap_err();
    assert!(matches!(&error, StartError::Bind { address, .. } if *address == edge.server));
    assert!(error.to_string().starts_with(&format!("{} cannot be bound", edge.server)));
    edge.handle.end();
}
