//! RFC 6062.

use super::super::*;
use super::world::*;
use crate::stun::{AttributeType, Builder, Class, Message, Method};

pub(super) fn stream(world: &World, number: u16) -> Client {
    Client { transport: Transport::Stream, ..world.client(number) }
}

pub(super) fn tcp(request: &mut Builder<'_>) {
    request.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
}

/// A relay, a client with an allocation of TCP, and its port.
fn allocated() -> (World, Client, RelayPort) {
    let mut world = World::new();
    let client = stream(&world, 1);
    let port = allocate(&mut world, client);
    (world, client, port)
}

pub(super) fn allocate(world: &mut World, client: Client) -> RelayPort {
    let answer = world.ask(client, Method::ALLOCATE, tcp);
    assert_eq!(answer.error, None);
    world.relayed(&answer)
}

pub(super) fn connect(world: &mut World, client: Client, peer: SocketAddr) -> Came {
    let request = world.request(client, Method::CONNECT, USER, b"new", |request| {
        request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    });
    world.send(client, &request)
}

pub(super) fn error(came: Came) -> Option<u16> {
    let Came::Answer(answer) = came else { panic!("no answer: {came:?}") };
    Answer::of(&answer, USER, b"new").error
}

fn bind(world: &mut World, client: Client, user: &str, id: Option<ConnectionId>) -> Came {
    let request = world.request(client, Method::CONNECTION_BIND, user, b"new", |request| {
        if let Some(ConnectionId(id)) = id {
            request.number(AttributeType::CONNECTION_ID, id);
        }
    });
    world.send(client, &request)
}

/// Takes the one message that waits for a client.
pub(super) fn told(world: &mut World, client: Client) -> Vec<u8> {
    let messages = std::mem::take(&mut world.out.messages);
    let [(to, message)] = &messages[..] else { panic!("one message: {messages:?}") };
    assert_eq!(*to, client);
    message.clone()
}

#[test]
fn s5_1_an_allocation_of_tcp_is_asked_for_by_tcp_and_alone() {
    let mut world = World::new();
    let datagrams = world.client(1);
    assert_eq!(world.ask(datagrams, Method::ALLOCATE, tcp).error, Some(400));
    let client = stream(&world, 2);
    for kind in [AttributeType::EVEN_PORT, AttributeType::RESERVATION_TOKEN] {
        let answer = world.ask(client, Method::ALLOCATE, |request| {
            tcp(request);
            request.attribute(kind, &[0; 8]);
        });
        assert_eq!(answer.error, Some(400), "{kind:?}");
    }
    assert_eq!(world.ask(client, Method::ALLOCATE, tcp).error, None);
    assert_eq!(world.open.len(), 1);
    let mut none = setup();
    none.quotas.tcp_allocations = 0;
    let mut world = World::of(none);
    assert_eq!(world.ask(client, Method::ALLOCATE, tcp).error, Some(442));
}

#[test]
fn s5_2_a_connection_is_answered_when_the_peer_has_answered() {
    let (mut world, client, port) = allocated();
    let peer = address(PEER);
    let Came::Connect(id, from, to) = connect(&mut world, client, peer) else { panic!() };
    assert_eq!((from, to), (port, peer));
    assert_eq!(error(connect(&mut world, client, peer)), Some(446), "one at a time");
    world.relay.connected(world.now, id, Connected::Open, &mut world.out);
    let answer = told(&mut world, client);
    let answer = Answer::of(&answer, USER, b"new");
    assert_eq!((answer.error, answer.number(AttributeType::CONNECTION_ID)), (None, Some(id.0)));
    assert_eq!(error(connect(&mut world, client, peer)), Some(446), "and while it is there");
    assert_eq!(world.relay.connections(), 1);
}

#[test]
fn s5_2_a_peer_that_refuses_or_says_nothing_is_447() {
    let (mut world, client, _) = allocated();
    let peer = address(PEER);
    let Came::Connect(id, ..) = connect(&mut world, client, peer) else { panic!() };
    world.relay.connected(world.now, id, Connected::Failed, &mut world.out);
    let answer = told(&mut world, client);
    assert_eq!(Answer::of(&answer, USER, b"new").error, Some(447));
    let Came::Connect(silent, ..) = connect(&mut world, client, peer) else { panic!() };
    world.pass(limits::TURN_CONNECTION_PENDING_MS - 1_000);
    assert!(world.out.messages.is_empty());
    world.pass(1_000);
    let answer = told(&mut world, client);
    assert_eq!(Answer::of(&answer, USER, b"new").error, Some(447));
    assert_eq!(std::mem::take(&mut world.out.ends), [silent]);
    world.relay.connected(world.now, silent, Connected::Open, &mut world.out);
    assert!(world.out.messages.is_empty(), "it came too late");
    assert_eq!(world.relay.connections(), 0);
}

#[test]
fn s5_2_what_may_not_be_connected_to_is_refused() {
    let (mut world, client, port) = allocated();
    let itself = |port: u16| SocketAddr::new(RELAYED.parse().unwrap(), port);
    for peer in [
        address("127.0.0.1:5000"),
        address("169.254.169.254:80"),
        address("93.184.216.34:25"),
        // What listens beside relayed ports at their address, and a port that nobody has.
        itself(443),
        itself(port.port.wrapping_add(1)),
    ] {
        assert_eq!(error(connect(&mut world, client, peer)), Some(403), "{peer}");
    }
    let https = connect(&mut world, client, address("93.184.216.34:443"));
    assert!(matches!(https, Came::Connect(..)), "{https:?}");
    let own = connect(&mut world, client, itself(port.port));
    assert_eq!(error(own), Some(403), "a port is not both ends");
    let other = stream(&world, 9);
    let other = world.ask(other, Method::ALLOCATE, tcp);
    let theirs = itself(world.relayed(&other).port);
    let theirs = connect(&mut world, client, theirs);
    assert!(matches!(theirs, Came::Connect(..)), "a relayed port of TCP: {theirs:?}");
    let v6 = connect(&mut world, client, address("[2a00:1450::1]:443"));
    assert_eq!(error(v6), Some(443));
    let datagrams = world.client(7);
    world.allocate(datagrams);
    assert_eq!(error(connect(&mut world, datagrams, address(PEER))), Some(403), "of UDP");
    let nobody = stream(&world, 8);
    assert_eq!(error(connect(&mut world, nobody, address(PEER))), Some(437));
    let request = world.request(client, Method::CONNECT, USER, b"new", |_| {});
    assert_eq!(error(world.send(client, &request)), Some(400), "no peer");
}

#[test]
fn s5_3_a_peer_comes_in_where_it_is_permitted() {
    let (mut world, client, port) = allocated();
    let peer = address(PEER);
    let now = world.now.monotonic;
    assert_eq!(world.relay.accepted(now, port, peer, &mut world.out), None);
    let reason = NotAccepted::NoPermission as usize;
    assert_eq!(world.relay.counters().not_accepted[reason], 1);
    assert_eq!(world.permit(client, peer).error, None);
    let id = world.relay.accepted(now, port, peer, &mut world.out).expect("let in");
    let attempt = told(&mut world, client);
    let message = Message::read(&attempt).unwrap();
    assert_eq!(
        (message.kind().class, message.kind().method),
        (Class::Indication, Method::CONNECTION_ATTEMPT)
    );
    let number = message.attribute(AttributeType::CONNECTION_ID).unwrap().number();
    assert_eq!(number, Some(id.0));
    let from = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
    assert_eq!(from.xor_address(message.transaction()), Some(peer));
    world.pass(limits::TURN_CONNECTION_PENDING_MS);
    assert_eq!(std::mem::take(&mut world.out.ends), [id], "nobody has claimed it");
}

/// Symptom: a peer that connected was closed as soon as it had come in. Cause: a timer that is
/// started while others are overdue runs out early, and nobody looked at the time. Scenario: the
/// machine stands still for longer than a connection waits, and one comes before it is looked who
/// has waited too long.
#[test]
fn s5_3_a_connection_waits_as_long_after_the_machine_stood_still() {
    let (mut world, client, port) = allocated();
    let accept = |world: &mut World, port_of_peer| {
        let peer = SocketAddr::new(address(PEER).ip(), port_of_peer);
        world.relay.accepted(world.now.monotonic, port, peer, &mut world.out).expect("let in")
    };
    world.permit(client, address(PEER));
    let before = accept(&mut world, 5_000);
    world.now = world.now.plus_ms(3 * limits::TURN_CONNECTION_PENDING_MS);
    let after = accept(&mut world, 5_001);
    let Came::Connect(asked, ..) = connect(&mut world, client, address("93.184.216.35:443")) else {
        panic!()
    };
    world.pass(0);
    assert_eq!(std::mem::take(&mut world.out.ends), [before]);
    world.pass(limits::TURN_CONNECTION_PENDING_MS - 1_000);
    assert_eq!(world.out.ends, []);
    world.pass(1_000);
    let ended = std::mem::take(&mut world.out.ends);
    assert!(ended.len() == 2 && ended.contains(&after) && ended.contains(&asked), "{ended:?}");
}

#[test]
fn s5_4_a_connection_is_claimed_once_by_its_user_on_a_stream_of_its_own() {
    let (mut world, client, port) = allocated();
    let peer = address(PEER);
    world.permit(client, peer);
    let now = world.now.monotonic;
    let id = world.relay.accepted(now, port, peer, &mut world.out).unwrap();
    world.out.messages.clear();
    let datagrams = world.client(2);
    assert_eq!(error(bind(&mut world, datagrams, USER, Some(id))), Some(400), "by UDP");
    assert_eq!(error(bind(&mut world, client, USER, Some(id))), Some(400), "the control stream");
    let fresh = stream(&world, 2);
    assert_eq!(error(bind(&mut world, fresh, USER, None)), Some(400));
    let unknown = ConnectionId(id.0 ^ 1);
    assert_eq!(error(bind(&mut world, fresh, USER, Some(unknown))), Some(400));
    let mallory = "9999999999:mallory";
    let Came::Answer(answer) = bind(&mut world, fresh, mallory, Some(id)) else { panic!() };
    assert_eq!(Answer::of(&answer, mallory, b"new").error, Some(441));
    let Came::Bind(bound, answer) = bind(&mut world, fresh, USER, Some(id)) else { panic!() };
    assert_eq!((bound, Answer::of(&answer, USER, b"new").error), (id, None));
    let other = stream(&world, 3);
    assert_eq!(error(bind(&mut world, other, USER, Some(id))), Some(400), "once");
    world.pass(limits::TURN_CONNECTION_PENDING_MS * 2);
    assert_eq!(world.relay.connections(), 1, "claimed, it stays");
    world.relay.connection_gone(id);
    assert_eq!(world.relay.connections(), 0);
}

#[test]
fn the_end_of_an_allocation_ends_its_connections_and_lets_nobody_in() {
    let (mut world, client, port) = allocated();
    let peer = address(PEER);
    world.permit(client, peer);
    let now = world.now.monotonic;
    let waiting = world.relay.accepted(now, port, peer, &mut world.out).unwrap();
    let Came::Connect(connecting, ..) = connect(&mut world, client, address("93.184.216.35:443"))
    else {
        panic!()
    };
    world.relay.client_gone(&client, &mut world.out);
    assert_eq!(world.out.ends, [waiting, connecting]);
    assert_eq!(world.relay.accepted(now, port, peer, &mut world.out), None);
    assert_eq!((world.relay.connections(), world.relay.allocations()), (0, 0));
}

#[test]
fn s5_datagrams_have_no_way_through_an_allocation_of_tcp() {
    let (mut world, client, port) = allocated();
    let peer = address(PEER);
    world.permit(client, peer);
    assert_eq!(world.bind(client, 0x4000, peer).error, Some(403));
    assert_eq!(world.send_data(client, peer, b"x"), Came::Dropped(Dropped::NoPermission));
    assert_eq!(world.peer_sends(port, peer, b"x"), Came::Dropped(Dropped::NoPermission));
    // Nor from a client of datagrams within the relay.
    let other = world.client(2);
    world.allocate(other);
    let relayed = SocketAddr::new(RELAYED.parse().unwrap(), port.port);
    world.bind(other, 0x4000, relayed);
    let sent = world.send(other, &channel(0x4000, b"x"));
    assert_eq!(sent, Came::Dropped(Dropped::NoPermission));
}

#[test]
fn connections_of_an_allocation_are_few() {
    let (mut world, client, _) = allocated();
    let peer = |n: usize| SocketAddr::from(([93, 184, 216, 34], 2_000 + n as u16));
    for n in 0..limits::TURN_CONNECTIONS_PER_ALLOCATION_MAX {
        assert!(matches!(connect(&mut world, client, peer(n)), Came::Connect(..)), "{n}");
    }
    assert_eq!(error(connect(&mut world, client, peer(100))), Some(508));
}

#[test]
fn a_relayed_address_behind_nat_is_connected_to_where_it_is_bound() {
    let mut nat = setup();
    nat.relayed = vec![RelayedAddress {
        bound: "10.0.0.12".parse().unwrap(),
        public: RELAYED.parse().unwrap(),
    }];
    let mut world = World::of(nat);
    let (one, other) = (stream(&world, 1), stream(&world, 2));
    world.ask(one, Method::ALLOCATE, tcp);
    let answer = world.ask(other, Method::ALLOCATE, tcp);
    let relayed = answer.address(AttributeType::XOR_RELAYED_ADDRESS).unwrap();
    let Came::Connect(_, from, to) = connect(&mut world, one, relayed) else { panic!() };
    assert_eq!(to, SocketAddr::new("10.0.0.12".parse().unwrap(), relayed.port()));
    world.permit(other, relayed);
    let source = SocketAddr::new(to.ip(), from.port);
    let port = RelayPort { address: 0, port: relayed.port() };
    let now = world.now.monotonic;
    assert!(world.relay.accepted(now, port, source, &mut world.out).is_some());
    let attempt = told(&mut world, other);
    let message = Message::read(&attempt).unwrap();
    let told = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
    let public = SocketAddr::new(RELAYED.parse().unwrap(), from.port);
    assert_eq!(told.xor_address(message.transaction()), Some(public));
}

/// A connection of an allocation that may carry 10,000 bytes a second, 5,000 at once.
fn slow_connection() -> (World, ConnectionId) {
    let mut slow = setup();
    slow.quotas.allocation_kbit_s = 80;
    let mut world = World::of(slow);
    let client = stream(&world, 1);
    world.ask(client, Method::ALLOCATE, tcp);
    let Came::Connect(id, ..) = connect(&mut world, client, address(PEER)) else { panic!() };
    (world, id)
}

#[test]
fn what_a_connection_carries_counts_for_its_rates() {
    let (mut world, id) = slow_connection();
    let now = world.now.monotonic;
    assert_eq!(world.relay.connection_room(now, id), 5_000);
    world.relay.connection_carried(now, id, Direction::ToPeer, 5_000);
    assert_eq!(world.relay.connection_room(now, id), 0);
    assert_eq!(world.relay.connection_room(now.plus_ms(100), id), 1_000);
    assert_eq!(world.relay.counters().traffic.bytes_to_peers, 5_000);
    assert_eq!(world.relay.connection_room(now, ConnectionId(id.0 ^ 1)), 0);
}

/// Symptom: a client whose records were longer than what its rate had left was not slowed down.
/// Cause: more than there is was taken from no rate at all. Scenario: room for 5,000 bytes, and the
/// end of a record that brings 16,000.
#[test]
fn what_is_more_than_there_was_room_for_uses_the_rate_up() {
    let (mut world, id) = slow_connection();
    let now = world.now.monotonic;
    world.relay.connection_carried(now, id, Direction::ToPeer, 16_000);
    assert_eq!(world.relay.connection_room(now, id), 0);
    assert_eq!(world.relay.counters().traffic.bytes_to_peers, 16_000);
}
