//! RFC 6062: TCP allocations, and the connections that go by them.

use std::net::SocketAddr;

use entente::edge::av::{Client, Connected, ConnectionId, Dropped, Ports, RelayPort};
use entente::stun::{AttributeType, Builder, Class, Message, Method, Type};

use super::turn::{Answer, Came, OTHER, PEER, PEER6, USER, World, address, prove_as, udp};

/// Nobody waits longer for a connection to open, or to be claimed.
const PENDING_S: u64 = 30;

fn tcp(request: &mut Builder<'_>) {
    request.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
}

/// A relay, a client with an allocation of TCP, and its port.
fn allocated() -> (World, Client, RelayPort) {
    let mut world = World::new();
    let client = World::stream(1);
    let answer = world.ask(client, Method::ALLOCATE, tcp);
    assert_eq!(answer.error, None);
    let port = answer.relayed()[0];
    (world, client, port)
}

fn connect(world: &mut World, client: Client, peer: &str) -> Came {
    let request = world.request(client, Method::CONNECT, |request| {
        request.xor_address(AttributeType::XOR_PEER_ADDRESS, address(peer));
    });
    world.send(client, &request)
}

/// Asks to connect, where that goes as far as an attempt.
fn attempt(world: &mut World, client: Client, peer: &str) -> ConnectionId {
    match connect(world, client, peer) {
        Came::Connect(id, ..) => id,
        other => panic!("no attempt: {other:?}"),
    }
}

fn bind(world: &mut World, client: Client, user: &str, id: Option<ConnectionId>) -> Came {
    let (nonce, transaction) = (world.nonce(client), world.id());
    let mut wire = Vec::new();
    let kind = Type { method: Method::CONNECTION_BIND, class: Class::Request };
    let mut request = Builder::new(&mut wire, kind, transaction);
    if let Some(ConnectionId(id)) = id {
        request.number(AttributeType::CONNECTION_ID, id);
    }
    prove_as(user, &mut request, &nonce);
    world.send(client, &wire)
}

fn error(came: Came) -> Option<u16> {
    let Came::Answer(wire) = came else { panic!("no answer: {came:?}") };
    let message = Message::read(&wire).expect("a message");
    message.attribute(AttributeType::ERROR_CODE).and_then(|error| error.error()).map(|e| e.0)
}

/// Takes the one message that waits for a client.
fn told(world: &mut World, client: Client) -> Vec<u8> {
    let messages = std::mem::take(&mut world.out.messages);
    let [(to, message)] = &messages[..] else { panic!("one message: {messages:?}") };
    assert_eq!(*to, client);
    message.clone()
}

/// Lets a peer in that was permitted, and takes what the client is told.
fn accepted(world: &mut World, client: Client, port: RelayPort, peer: &str) -> ConnectionId {
    let now = world.now.monotonic;
    let id = world.relay.accepted(now, port, address(peer), &mut world.out).expect("let in");
    told(world, client);
    id
}

#[test]
fn s5_1_a_tcp_allocation_is_asked_for_over_a_stream_and_without_what_is_of_udp() {
    let mut world = World::new();
    let datagrams = World::client(1);
    assert_eq!(world.ask(datagrams, Method::ALLOCATE, tcp).error, Some(400), "over UDP");
    let client = World::stream(2);
    for (kind, value) in
        [(AttributeType::EVEN_PORT, &[0x80][..]), (AttributeType::RESERVATION_TOKEN, &[7; 8][..])]
    {
        let answer = world.ask(client, Method::ALLOCATE, |request| {
            tcp(request);
            request.attribute(kind, value);
        });
        assert_eq!(answer.error, Some(400), "{kind:?}");
    }
    // This server knows no DONT-FRAGMENT, of whatever allocation: it says so (RFC 8656, 7.2).
    let answer = world.ask(client, Method::ALLOCATE, |request| {
        tcp(request);
        request.attribute(AttributeType::DONT_FRAGMENT, &[]);
    });
    assert_eq!(answer.error, Some(420));
    assert_eq!(world.relay.allocations(), 0);
    let answer = world.ask(client, Method::ALLOCATE, tcp);
    assert_eq!(answer.number(AttributeType::LIFETIME), Some(600));
    assert_eq!(world.ask(client, Method::ALLOCATE, tcp).error, Some(437), "it has one");
}

#[test]
fn s5_1_a_server_without_tcp_allocations_says_442_and_one_that_is_full_508() {
    let client = World::stream(1);
    let mut none = World::with(|setup| setup.quotas.tcp_allocations = 0);
    assert_eq!(none.ask(client, Method::ALLOCATE, tcp).error, Some(442));
    let mut one = World::with(|setup| setup.quotas.tcp_allocations = 1);
    assert_eq!(one.ask(client, Method::ALLOCATE, tcp).error, None);
    assert_eq!(one.ask(World::stream(2), Method::ALLOCATE, tcp).error, Some(508));
    assert_eq!(one.ask(World::stream(2), Method::ALLOCATE, udp).error, None, "UDP has room");
}

#[test]
fn s5_1_an_address_of_ipv6_listens_as_well() {
    let mut world = World::new();
    let client = World::stream(1);
    let answer = world.ask(client, Method::ALLOCATE, |request| {
        tcp(request);
        request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    let port = answer.relayed()[0];
    assert_eq!(port.address, 1);
    assert_eq!(error(connect(&mut world, client, PEER)), Some(443), "a peer of IPv4");
    let Came::Connect(_, from, to) = connect(&mut world, client, PEER6) else { panic!() };
    assert_eq!((from, to), (port, address(PEER6)));
}

#[test]
fn s5_2_a_connect_without_allocation_without_peer_or_to_nobody_it_may_reach() {
    let (mut world, client, _) = allocated();
    assert_eq!(error(connect(&mut world, World::stream(2), PEER)), Some(437), "no allocation");
    let no_peer = world.ask(client, Method::CONNECT, |_| {});
    assert_eq!(no_peer.error, Some(400));
    let short = world.ask(client, Method::CONNECT, |request| {
        request.attribute(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 2]);
    });
    assert_eq!(short.error, Some(400), "no address");
    for peer in ["127.0.0.1:5000", "10.0.0.1:5061", "169.254.169.254:80", "93.184.216.34:25"] {
        assert_eq!(error(connect(&mut world, client, peer)), Some(403), "{peer}");
    }
    assert_eq!(error(connect(&mut world, client, PEER6)), Some(443), "no address of its family");
    let datagrams = World::client(3);
    world.allocate(datagrams);
    assert_eq!(error(connect(&mut world, datagrams, PEER)), Some(403), "it is of UDP");
    assert_eq!(world.relay.connections(), 0);
}

#[test]
fn s5_2_a_peer_is_connected_to_once_at_a_time() {
    let (mut world, client, port) = allocated();
    let Came::Connect(id, from, to) = connect(&mut world, client, PEER) else { panic!() };
    assert_eq!((from, to), (port, address(PEER)), "from the relayed address");
    assert_eq!(error(connect(&mut world, client, PEER)), Some(446), "while it is tried");
    let other = attempt(&mut world, client, OTHER);
    assert_ne!(other, id, "another peer is another connection");
    world.relay.connected(world.now, id, Connected::Open, &mut world.out);
    let answer = Answer::of(told(&mut world, client));
    assert_eq!((answer.error, answer.number(AttributeType::CONNECTION_ID)), (None, Some(id.0)));
    assert_eq!(error(connect(&mut world, client, PEER)), Some(446), "while it is open");
    let data = World::stream(2);
    assert!(matches!(bind(&mut world, data, USER, Some(id)), Came::Bind(..)));
    assert_eq!(error(connect(&mut world, client, PEER)), Some(446), "while it is used");
    world.relay.connection_gone(id);
    attempt(&mut world, client, PEER);
}

#[test]
fn s5_2_a_peer_that_refuses_or_is_silent_for_thirty_seconds_is_447() {
    let (mut world, client, _) = allocated();
    let refused = attempt(&mut world, client, PEER);
    world.relay.connected(world.now, refused, Connected::Failed, &mut world.out);
    assert_eq!(Answer::of(told(&mut world, client)).error, Some(447));
    let silent = attempt(&mut world, client, PEER);
    world.pass(PENDING_S - 1);
    assert!(world.out.messages.is_empty(), "at least thirty seconds");
    world.pass(1);
    assert_eq!(Answer::of(told(&mut world, client)).error, Some(447));
    assert_eq!(world.out.ends, [silent], "nobody goes on trying");
    assert_eq!(world.relay.connections(), 0);
}

#[test]
fn s5_2_what_was_connected_and_is_not_claimed_within_thirty_seconds_is_closed() {
    let (mut world, client, _) = allocated();
    let id = attempt(&mut world, client, PEER);
    world.pass(20);
    world.relay.connected(world.now, id, Connected::Open, &mut world.out);
    told(&mut world, client);
    world.pass(PENDING_S - 1);
    assert!(world.out.ends.is_empty(), "they begin when the peer has answered");
    world.pass(1);
    assert_eq!(world.out.ends, [id]);
    assert_eq!(error(bind(&mut world, World::stream(2), USER, Some(id))), Some(400), "too late");
}

#[test]
fn s5_3_a_peer_comes_in_under_a_permission_and_the_client_is_told() {
    let (mut world, client, port) = allocated();
    let peer = address(PEER);
    let now = world.now.monotonic;
    assert_eq!(world.relay.accepted(now, port, peer, &mut world.out), None, "no permission");
    assert!(world.out.messages.is_empty(), "and nobody is told");
    assert_eq!(world.permit(client, &[PEER]), None);
    let id = world.relay.accepted(now, port, peer, &mut world.out).expect("let in");
    let attempt = told(&mut world, client);
    let message = Message::read(&attempt).expect("a message");
    let kind = Type { method: Method::CONNECTION_ATTEMPT, class: Class::Indication };
    assert_eq!(message.kind(), kind);
    let number = message.attribute(AttributeType::CONNECTION_ID).and_then(|id| id.number());
    assert_eq!(number, Some(id.0));
    let from = message.attribute(AttributeType::XOR_PEER_ADDRESS).expect("it is there");
    assert_eq!(from.xor_address(message.transaction()), Some(peer));
    world.pass(PENDING_S);
    assert_eq!(world.out.ends, [id], "closed where nobody claims it");
    world.pass(300 - PENDING_S);
    let late = world.relay.accepted(world.now.monotonic, port, peer, &mut world.out);
    assert_eq!(late, None, "a permission ends as it does for UDP");
}

#[test]
fn s5_4_a_connection_is_bound_over_a_stream_of_its_own_by_its_number() {
    let (mut world, client, port) = allocated();
    world.permit(client, &[PEER]);
    let id = accepted(&mut world, client, port, PEER);
    let datagrams = World::client(2);
    assert_eq!(error(bind(&mut world, datagrams, USER, Some(id))), Some(400), "over UDP");
    let control = bind(&mut world, client, USER, Some(id));
    assert_eq!(error(control), Some(400), "the control connection is none of data");
    let data = World::stream(2);
    assert_eq!(error(bind(&mut world, data, USER, None)), Some(400), "no number");
    let unknown = ConnectionId(id.0.wrapping_add(1));
    assert_eq!(error(bind(&mut world, data, USER, Some(unknown))), Some(400), "nobody's number");
    let Came::Bind(bound, wire) = bind(&mut world, data, USER, Some(id)) else { panic!() };
    assert_eq!((bound, Answer::of(wire).error), (id, None));
    let again = bind(&mut world, World::stream(3), USER, Some(id));
    assert_eq!(error(again), Some(400), "no connection waits any more");
    world.pass(2 * PENDING_S);
    assert_eq!(world.relay.connections(), 1, "it stays");
}

#[test]
fn s5_4_a_number_before_its_peer_has_answered_is_nobodys() {
    let (mut world, client, _) = allocated();
    let id = attempt(&mut world, client, PEER);
    assert_eq!(error(bind(&mut world, World::stream(2), USER, Some(id))), Some(400));
}

#[test]
fn s5_4_a_connection_is_of_who_made_the_allocation() {
    let (mut world, client, port) = allocated();
    world.permit(client, &[PEER]);
    let id = accepted(&mut world, client, port, PEER);
    let mallory = bind(&mut world, World::stream(2), "9999999999:mallory", Some(id));
    assert_eq!(error(mallory), Some(441));
    assert!(matches!(bind(&mut world, World::stream(2), USER, Some(id)), Came::Bind(..)));
}

#[test]
fn s3_what_carries_datagrams_does_not_carry_anything_here() {
    let (mut world, client, port) = allocated();
    world.permit(client, &[PEER]);
    assert_eq!(world.bind(client, 0x4000, PEER), Some(403));
    assert_eq!(world.indicate(client, PEER, b"x"), Came::Dropped(Dropped::NoPermission));
    assert_eq!(world.peer_sends(port, PEER, b"x"), Came::Dropped(Dropped::NoPermission));
}

#[test]
fn s5_5_the_end_of_an_allocation_is_the_end_of_its_connections() {
    for end in [0, 600] {
        let (mut world, client, port) = allocated();
        world.permit(client, &[PEER]);
        let used = accepted(&mut world, client, port, PEER);
        let data = World::stream(2);
        assert!(matches!(bind(&mut world, data, USER, Some(used)), Came::Bind(..)));
        if end == 0 {
            world.ask(client, Method::REFRESH, |request| {
                request.number(AttributeType::LIFETIME, 0);
            });
        } else {
            world.pass(end);
        }
        assert_eq!(world.out.ends, [used]);
        assert_eq!((world.relay.allocations(), world.relay.connections()), (0, 0));
        let now = world.now.monotonic;
        let peer: SocketAddr = address(PEER);
        assert_eq!(world.relay.accepted(now, port, peer, &mut world.out), None, "nobody's port");
    }
}

/// A relay whose allocations share ports, and two clients at one of them.
fn sharing() -> (World, [Client; 2], RelayPort) {
    let mut world = World::with(|setup| setup.ports = Ports::Shared(vec![3_480]));
    let clients = [World::stream(1), World::stream(2)];
    let port = RelayPort { address: 0, port: 3_480 };
    for client in clients {
        assert_eq!(world.ask(client, Method::ALLOCATE, tcp).relayed(), [port]);
    }
    (world, clients, port)
}

#[test]
fn s5_2_a_peer_that_another_allocation_at_a_shared_port_has_is_403_and_no_446() {
    let (mut world, [one, other], port) = sharing();
    let Came::Connect(id, from, to) = connect(&mut world, one, PEER) else { panic!() };
    assert_eq!((from, to), (port, address(PEER)));
    assert_eq!(error(connect(&mut world, other, PEER)), Some(403), "by local policy");
    assert_eq!(error(connect(&mut world, one, PEER)), Some(446));
    attempt(&mut world, other, OTHER);
    world.relay.connected(world.now, id, Connected::Failed, &mut world.out);
    assert_eq!(Answer::of(told(&mut world, one)).error, Some(447));
    attempt(&mut world, other, PEER);
}

#[test]
fn s5_3_at_a_shared_port_a_peer_comes_in_to_who_alone_has_permitted_its_address() {
    let (mut world, [one, other], port) = sharing();
    assert_eq!(world.permit(one, &[PEER]), None);
    assert_eq!(world.permit(other, &[OTHER, PEER]), Some(403), "all of them, or none");
    let now = world.now.monotonic;
    let from_other = world.relay.accepted(now, port, address(OTHER), &mut world.out);
    assert_eq!(from_other, None);
    assert_eq!(world.permit(other, &[OTHER]), None);
    let id = accepted(&mut world, one, port, PEER);
    let his = accepted(&mut world, other, port, OTHER);
    for (stream, id) in [(3, id), (4, his)] {
        let claimed = bind(&mut world, World::stream(stream), USER, Some(id));
        assert!(matches!(claimed, Came::Bind(bound, _) if bound == id));
    }
    world.relay.client_gone(&one, &mut world.out);
    assert_eq!(world.out.ends, [id], "the other one's goes on");
    assert!(world.out.closes.is_empty(), "and so does the port");
}
