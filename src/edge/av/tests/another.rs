//! Another port where one cannot be opened.

use super::super::*;
use super::world::*;
use crate::stun::{AttributeType, Method};

/// Asks for an allocation with `even`, lets the first `failures` openings fail, and returns the
/// port that was opened in the end with the answer.
fn allocate(world: &mut World, even: Option<u8>, failures: usize) -> (RelayPort, Answer) {
    let client = world.client(1);
    let wire = world.request(client, Method::ALLOCATE, USER, b"new", |request| {
        udp(request);
        if let Some(bits) = even {
            request.attribute(AttributeType::EVEN_PORT, &[bits]);
        }
    });
    let arrival = Arrival { client, addressed: address(NODE), datagram: &wire };
    let step = world.relay.from_client(world.now, arrival, &mut world.out);
    assert!(!matches!(step, Step::Drop(_) | Step::Answer));
    for _ in 0..failures {
        let failed = world.out.opens[0];
        let another = world.relay.another(world.now, failed, &mut world.out);
        assert_eq!(another, Another::Open);
        assert_eq!(world.out.opens.len(), 1);
        assert_ne!(world.out.opens[0], failed);
    }
    let port = world.out.opens[0];
    world.open.insert(port);
    world.relay.opened(world.now, Opened::All, &mut world.out);
    (port, Answer::of(&world.out.answer, USER, b"new"))
}

#[test]
fn the_port_that_was_opened_is_told_and_the_others_are_free() {
    let mut world = World::new();
    let (port, answer) = allocate(&mut world, None, 5);
    assert_eq!(world.relayed(&answer), port);
    assert_eq!(world.relay.free_ports(), Some(99));
    world.pass(600_000);
    assert_eq!((world.relay.free_ports(), world.open.len()), (Some(100), 0));
}

#[test]
fn it_is_even_where_an_even_one_was_asked_for() {
    for failures in 1..20 {
        let mut world = World::new();
        let (port, _) = allocate(&mut world, Some(0), failures);
        assert!(port.port.is_multiple_of(2));
        assert_eq!(world.relay.free_ports(), Some(99));
    }
}

#[test]
fn the_next_one_is_kept_under_the_token_and_has_no_other() {
    let mut world = World::new();
    let (port, answer) = allocate(&mut world, Some(0x80), 3);
    assert!(port.port.is_multiple_of(2));
    assert_eq!(world.relay.free_ports(), Some(98));
    let token = answer.message().attribute(AttributeType::RESERVATION_TOKEN).unwrap();
    let token = token.value.to_vec();
    let client = world.client(2);
    let wire = world.request(client, Method::ALLOCATE, USER, b"new", |request| {
        udp(request);
        request.attribute(AttributeType::RESERVATION_TOKEN, &token);
    });
    let arrival = Arrival { client, addressed: address(NODE), datagram: &wire };
    world.relay.from_client(world.now, arrival, &mut world.out);
    let beside = RelayPort { port: port.port + 1, ..port };
    assert_eq!(world.out.opens, [beside]);
    let another = world.relay.another(world.now, beside, &mut world.out);
    assert_eq!(another, Another::None);
    world.relay.opened(world.now, Opened::Failed, &mut world.out);
    assert_eq!(Answer::of(&world.out.answer, USER, b"new").error, Some(508));
    assert_eq!(world.relay.free_ports(), Some(99));
}

#[test]
fn where_every_port_is_taken_there_is_none() {
    let mut setup = setup();
    setup.ports = Ports::Range { first: 50_000, count: 1 };
    let mut world = World::of(setup);
    let client = world.client(1);
    let wire = world.request(client, Method::ALLOCATE, USER, b"new", udp);
    let arrival = Arrival { client, addressed: address(NODE), datagram: &wire };
    world.relay.from_client(world.now, arrival, &mut world.out);
    let port = world.out.opens[0];
    assert_eq!(world.relay.another(world.now, port, &mut world.out), Another::None);
    world.relay.opened(world.now, Opened::Failed, &mut world.out);
    assert_eq!(world.relay.free_ports(), Some(1));
}
