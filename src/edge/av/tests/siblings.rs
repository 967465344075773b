//! Relays of threads beside each other.

use super::super::*;
use super::world::*;

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
