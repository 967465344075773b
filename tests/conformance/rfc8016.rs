//! RFC 8016: mobility, by tickets.

use entente::edge::av::{Client, Dropped, RelayPort};
use entente::stun::{AttributeType, Builder, ChannelData, ChannelNumber, Class, Message, Method};
use entente::stun::{Proof, Type};

use super::turn::{Answer, Came, PEER, World, address, key, prove_as, udp};

fn ticket(answer: &Answer) -> Option<Vec<u8>> {
    Some(answer.message().attribute(AttributeType::MOBILITY_TICKET)?.value.to_vec())
}

/// A relay, a client that asked for a ticket, its port, and the ticket.
fn mobile() -> (World, Client, RelayPort, Vec<u8>) {
    let mut world = World::new();
    let client = World::client(1);
    let answer = world.ask(client, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::MOBILITY_TICKET, &[]);
    });
    let given = ticket(&answer).expect("a ticket");
    (world, client, answer.relayed()[0], given)
}

fn refresh(world: &mut World, client: Client, shown: &[u8]) -> Answer {
    world.ask(client, Method::REFRESH, |request| {
        request.attribute(AttributeType::MOBILITY_TICKET, shown);
    })
}

fn channel(data: &[u8]) -> Vec<u8> {
    let number = ChannelNumber::new(0x4000).expect("in its range");
    let length = u16::try_from(data.len()).expect("short");
    [&ChannelData::header(number, length)[..], data].concat()
}

#[test]
fn s3_1_2_a_ticket_is_asked_for_by_an_empty_one_and_given_with_the_address() {
    let (mut world, _, _, given) = mobile();
    assert!(!given.is_empty());
    let other = world.ask(World::client(2), Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::MOBILITY_TICKET, &[]);
    });
    assert_ne!(ticket(&other), Some(given), "each has its own");
    let unasked = world.ask(World::client(3), Method::ALLOCATE, udp);
    assert_eq!((unasked.error, ticket(&unasked)), (None, None));
}

#[test]
fn s3_1_2_a_ticket_that_an_allocate_brings_is_400() {
    let (mut world, _, _, given) = mobile();
    for shown in [&given[..], b"x"] {
        let answer = world.ask(World::client(2), Method::ALLOCATE, |request| {
            udp(request);
            request.attribute(AttributeType::MOBILITY_TICKET, shown);
        });
        assert_eq!(answer.error, Some(400));
    }
    assert_eq!(world.relay.allocations(), 1);
}

#[test]
fn s3_1_2_where_mobility_is_forbidden_an_allocate_is_405() {
    let mut world = World::new();
    let answer = world.ask(World::stream(1), Method::ALLOCATE, |request| {
        request.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
        request.attribute(AttributeType::MOBILITY_TICKET, &[]);
    });
    assert_eq!(answer.error, Some(405), "connections of TCP stay where they are");
    assert_eq!(world.relay.allocations(), 0);
}

#[test]
fn s3_2_2_a_refresh_with_a_ticket_moves_the_allocation_and_everything_of_it() {
    let (mut world, client, port, given) = mobile();
    assert_eq!(world.bind(client, 0x4000, PEER), None);
    let moved = World::client(2);
    assert_eq!(world.ask(moved, Method::REFRESH, |_| {}).error, Some(437), "without a ticket");
    let answer = refresh(&mut world, moved, &given);
    assert_eq!((answer.error, answer.number(AttributeType::LIFETIME)), (None, Some(600)));
    assert_eq!(answer.message().integrity(&key()), Proof::Good);
    let next = ticket(&answer).expect("the next one");
    assert_ne!(next, given);
    let back = world.peer_sends(port, PEER, b"here");
    assert_eq!(back, Came::ToClient(moved, channel(b"here")), "the channel came with it");
    let there = world.send(moved, &channel(b"there"));
    assert_eq!(there, Came::ToPeer(port, address(PEER), b"there".to_vec()));
    let old = world.send(client, &channel(b"old"));
    assert_eq!(old, Came::Dropped(Dropped::NoAllocation));
    let further = World::client(3);
    assert_eq!(refresh(&mut world, further, &next).error, None, "and on from there");
}

#[test]
fn s3_2_2_a_ticket_that_is_none_is_400() {
    let (mut world, _, _, given) = mobile();
    let mut forged = given.clone();
    forged[0] ^= 0x40;
    for shown in [&forged[..], &given[1..], b"", b"x"] {
        assert_eq!(refresh(&mut world, World::client(2), shown).error, Some(400), "{shown:?}");
    }
}

#[test]
fn s3_2_2_a_ticket_of_somebody_else_is_441() {
    let (mut world, client, port, given) = mobile();
    let thief = World::client(2);
    let (nonce, id) = (world.nonce(thief), world.id());
    let mut wire = Vec::new();
    let kind = Type { method: Method::REFRESH, class: Class::Request };
    let mut request = Builder::new(&mut wire, kind, id);
    request.attribute(AttributeType::MOBILITY_TICKET, &given);
    prove_as("9999999999:mallory", &mut request, &nonce);
    let Came::Answer(answer) = world.send(thief, &wire) else { panic!("no answer") };
    let message = Message::read(&answer).expect("a message");
    let error = message.attribute(AttributeType::ERROR_CODE).and_then(|error| error.error());
    assert_eq!(error.map(|error| error.0), Some(441));
    world.permit(client, &[PEER]);
    assert!(matches!(world.peer_sends(port, PEER, b"x"), Came::ToClient(to, _) if to == client));
}

/// The answer to a Refresh may be lost or late: what is asked once more says the same ticket, and
/// whoever has only the old one is not shut out.
#[test]
fn s3_2_2_the_ticket_before_is_known_for_thirty_seconds() {
    let (mut world, _, port, given) = mobile();
    let moved = World::client(2);
    let next = ticket(&refresh(&mut world, moved, &given)).expect("the next one");
    let again = refresh(&mut world, moved, &given);
    assert_eq!((again.error, ticket(&again)), (None, Some(next.clone())), "the same answer");
    world.pass(29);
    let further = World::client(3);
    let late = refresh(&mut world, further, &given);
    assert_eq!((late.error, ticket(&late)), (None, Some(next.clone())), "no answer had come");
    world.permit(further, &[PEER]);
    let to = world.peer_sends(port, PEER, b"x");
    assert!(matches!(to, Came::ToClient(to, _) if to == further));
    world.pass(1);
    assert_eq!(refresh(&mut world, World::client(4), &given).error, Some(400), "then no more");
    assert_eq!(refresh(&mut world, World::client(4), &next).error, None);
}

#[test]
fn s3_2_2_a_lifetime_of_zero_ends_what_the_ticket_names() {
    let (mut world, _, _, given) = mobile();
    let ended = world.ask(World::client(2), Method::REFRESH, |request| {
        request.attribute(AttributeType::MOBILITY_TICKET, &given);
        request.number(AttributeType::LIFETIME, 0);
    });
    assert_eq!((ended.error, ticket(&ended)), (None, None));
    assert_eq!(world.relay.allocations(), 0);
}
