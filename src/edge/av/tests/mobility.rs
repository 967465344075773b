//! RFC 8016.

use super::super::*;
use super::world::*;
use crate::stun::{AttributeType, Method};

fn ticket(answer: &Answer) -> Vec<u8> {
    let ticket = answer.message().attribute(AttributeType::MOBILITY_TICKET);
    ticket.expect("a ticket").value.to_vec()
}

/// A relay, a client with a ticket, its port and the ticket.
fn mobile() -> (World, Client, RelayPort, Vec<u8>) {
    mobile_in(World::new())
}

fn mobile_in(mut world: World) -> (World, Client, RelayPort, Vec<u8>) {
    let client = world.client(1);
    let answer = world.ask(client, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::MOBILITY_TICKET, &[]);
    });
    let port = world.relayed(&answer);
    let ticket = ticket(&answer);
    (world, client, port, ticket)
}

fn elsewhere() -> Client {
    Client { listener: 0, transport: Transport::Udp, remote: address("198.51.100.77:4000") }
}

#[test]
fn s3_2_a_client_that_has_moved_goes_on_with_its_ticket() {
    let (mut world, client, port, shown) = mobile();
    let peer = address(PEER);
    world.bind(client, 0x4000, peer);
    let moved = elsewhere();
    assert_eq!(world.ask(moved, Method::REFRESH, |_| {}).error, Some(437), "without it");
    let answer = world.ask(moved, Method::REFRESH, |request| {
        request.attribute(AttributeType::MOBILITY_TICKET, &shown);
    });
    assert_eq!((answer.error, answer.number(AttributeType::LIFETIME)), (None, Some(600)));
    let next = ticket(&answer);
    assert_ne!(next, shown);
    let back = world.peer_sends(port, peer, b"here");
    assert_eq!(back, Came::ToClient(moved, channel(0x4000, b"here")));
    let there = world.send(moved, &channel(0x4000, b"there"));
    assert_eq!(there, Came::ToPeer(port, peer, b"there".to_vec()));
    let old = world.send(client, &channel(0x4000, b"old"));
    assert_eq!(old, Came::Dropped(Dropped::NoAllocation));
    world.pass(limits::TURN_TICKET_BEFORE_MS);
    let again = world.ask(client, Method::REFRESH, |request| {
        request.attribute(AttributeType::MOBILITY_TICKET, &shown);
    });
    assert_eq!(again.error, Some(400), "a ticket is good until the next one is there for sure");
    world.relay.client_gone(&client, &mut world.out);
    assert_eq!(world.relay.allocations(), 1, "what ends where it was does not concern it");
}

#[test]
fn a_ticket_is_worth_nothing_to_others_and_ends_with_its_allocation() {
    let (mut world, client, _, shown) = mobile();
    let mallory = "9999999999:mallory";
    let request = world.request(elsewhere(), Method::REFRESH, mallory, b"new", |request| {
        request.attribute(AttributeType::MOBILITY_TICKET, &shown);
    });
    let Came::Answer(answer) = world.send(elsewhere(), &request) else { panic!() };
    assert_eq!(Answer::of(&answer, mallory, b"new").error, Some(441));
    let ended = world.ask(elsewhere(), Method::REFRESH, |request| {
        request.attribute(AttributeType::MOBILITY_TICKET, &shown);
        request.number(AttributeType::LIFETIME, 0);
    });
    assert_eq!(ended.error, None, "its user may end it from anywhere");
    assert_eq!(world.relay.allocations(), 0);
    let over = world.ask(client, Method::REFRESH, |request| {
        request.attribute(AttributeType::MOBILITY_TICKET, &shown);
    });
    assert_eq!(over.error, Some(400));
}

#[test]
fn a_ticket_leads_neither_to_the_other_side_nor_to_a_relay_of_the_pool() {
    let mut pool = setup();
    pool.listeners.push(pool.listeners[0]);
    pool.peers.inside = vec![1];
    pool.peers.pool = vec![of_pool("edge2.contoso.example", SECOND, 60_000..=60_009)];
    let (mut world, client, _, shown) = mobile_in(World::of(pool));
    let inside = Client { listener: 1, ..elsewhere() };
    let relay = Client { remote: SocketAddr::new(SECOND, 60_009), ..elsewhere() };
    let own = Client { remote: address(VIP), ..elsewhere() };
    for refused in [inside, relay, own] {
        let answer = world.ask(refused, Method::REFRESH, |request| {
            request.attribute(AttributeType::MOBILITY_TICKET, &shown);
        });
        assert_eq!(answer.error, Some(403));
    }
    assert_eq!(world.ask(client, Method::REFRESH, |_| {}).error, None, "it stays where it was");
}

#[test]
fn nobody_gets_a_ticket_who_has_not_asked_and_tcp_has_none() {
    let mut world = World::new();
    let client = world.client(1);
    let answer = world.ask(client, Method::ALLOCATE, udp);
    assert!(answer.message().attribute(AttributeType::MOBILITY_TICKET).is_none());
    let stream = Client { transport: Transport::Stream, ..world.client(2) };
    let tcp = world.ask(stream, Method::ALLOCATE, |request| {
        request.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
        request.attribute(AttributeType::MOBILITY_TICKET, &[]);
    });
    assert_eq!(tcp.error, Some(405));
}
