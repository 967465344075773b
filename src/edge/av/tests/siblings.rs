//! Relays of threads beside each other.

use super::super::*;
use super::tcp::{allocate, connect, error, stream, told};
use super::world::*;
use crate::stun::{AttributeType, Method};

#[test]
fn data_for_a_port_of_another_thread_are_handed_to_it_under_both_permissions() {
    let (mut one, mut other) = (World::new(), World::new());
    let mut setup = setup();
    setup.ports = Ports::Range { first: 60_000, count: 10 };
    other.relay = Relay::new(setup);
    one.relay.beside(vec![Ports::Range { first: 60_000, count: 10 }], Together::of_threads(2));
    let (client, remote) = (one.client(1), other.client(2));
    let (port, theirs) = (one.allocate(client), other.allocate(remote));
    let at = |port: RelayPort| SocketAddr::new(RELAYED.parse().unwrap(), port.port);
    assert_eq!(one.send(client, &channel(0x4000, b"x")), Came::Dropped(Dropped::NoChannel));
    assert_eq!(one.bind(client, 0x4000, at(theirs)).error, None);
    let came = one.send(client, &channel(0x4000, b"x"));
    assert_eq!(came, Came::ToSibling(theirs, at(port), b"x".to_vec()));
    // A train goes one by one.
    let wire = [channel(0x4000, b"x"), channel(0x4000, b"y")].concat();
    let train = Train { bytes: &wire, segment: 5 };
    assert_eq!(one.relay.train_from_client(one.now, &client, train), None);
    let refused = other.peer_sends(theirs, at(port), b"x");
    assert_eq!(refused, Came::Dropped(Dropped::NoPermission));
    assert_eq!(other.bind(remote, 0x4007, at(port)).error, None);
    let came = other.peer_sends(theirs, at(port), b"x");
    assert_eq!(came, Came::ToClient(remote, channel(0x4007, b"x")));
    // What is nobody's is dropped here.
    assert_eq!(one.bind(client, 0x4001, "192.0.2.20:61000".parse().unwrap()).error, None);
    let came = one.send(client, &channel(0x4001, b"x"));
    assert_eq!(came, Came::Dropped(Dropped::NoPermission));
}

/// Relays of two threads, with these ports.
pub(super) fn pair(ports: &Ports) -> [World; 2] {
    let together = Together::of_threads(2);
    let parts = ports.split(2);
    [0, 1].map(|number: usize| {
        let mut setup = setup();
        setup.ports = parts[number].clone();
        setup.quotas.allocations_per_user = 80;
        let mut world = World::of(setup);
        world.relay.beside(vec![parts[1 - number].clone()], together.clone());
        world
    })
}

pub(super) fn at(port: RelayPort) -> SocketAddr {
    SocketAddr::new(RELAYED.parse().unwrap(), port.port)
}

#[test]
fn a_port_of_another_thread_is_a_peer_while_that_has_it_for_tcp() {
    for ports in [Ports::Range { first: 50_000, count: 20 }, Ports::Shared(vec![3_480, 3_482])] {
        let [mut one, mut other] = pair(&ports);
        let (alice, bob) = (stream(&one, 1), stream(&other, 2));
        let of_alice = allocate(&mut one, alice);
        // For datagrams alone it is nobody's, whatever listens there.
        let datagrams = other.client(3);
        let of_datagrams = other.allocate(datagrams);
        assert_eq!(error(connect(&mut one, alice, at(of_datagrams))), Some(403));
        let of_bob = allocate(&mut other, bob);
        let Came::Connect(_, from, to) = connect(&mut one, alice, at(of_bob)) else { panic!() };
        assert_eq!((from, to), (of_alice, at(of_bob)));
        assert_eq!(error(connect(&mut one, alice, at(of_alice))), Some(403), "with itself");
        // There she is a peer as any other.
        let now = other.now.monotonic;
        assert_eq!(other.relay.accepted(now, of_bob, at(of_alice), &mut other.out), None);
        assert_eq!(other.permit(bob, at(of_alice)).error, None);
        other.relay.accepted(now, of_bob, at(of_alice), &mut other.out).expect("let in");
        told(&mut other, bob);
        other.ask(bob, Method::REFRESH, |request| {
            request.number(AttributeType::LIFETIME, 0);
        });
        one.pass(60_000);
        assert_eq!(error(connect(&mut one, alice, at(of_bob))), Some(403), "nobody's any more");
    }
}
