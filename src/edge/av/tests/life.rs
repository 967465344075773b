use std::collections::BTreeMap;

use super::super::*;
use super::world::*;
use crate::stun::{AttributeType, Method};

#[test]
fn allocation_is_freed_when_its_lifetime_ends() {
    let mut world = World::new();
    let client = world.client(1);
    world.allocate(client);
    world.pass(599_000);
    assert_eq!(world.relay.allocations(), 1);
    assert_eq!(
        world.ask(client, Method::REFRESH, |_| {}).number(AttributeType::LIFETIME),
        Some(600)
    );
    world.pass(599_999);
    assert_eq!(world.relay.allocations(), 1);
    world.pass(1);
    assert_eq!((world.relay.allocations(), world.open.len()), (0, 0));
    assert_eq!(world.relay.counters().expired, 1);
}

#[test]
fn rfc8656_7_2_lifetimes_are_granted_within_bounds() {
    let mut world = World::new();
    let client = world.client(1);
    for (asked, granted) in [(1, 600), (700, 700), (100_000, 3_600), (u32::MAX, 3_600)] {
        let answer = world.ask(client, Method::ALLOCATE, |request| {
            udp(request);
            request.number(AttributeType::LIFETIME, asked);
        });
        assert_eq!(answer.number(AttributeType::LIFETIME), Some(granted));
        let ended = world.ask(client, Method::REFRESH, |request| {
            request.number(AttributeType::LIFETIME, 0);
        });
        assert_eq!(ended.number(AttributeType::LIFETIME), Some(0));
    }
    assert_eq!(world.relay.free_ports(), Some(100));
}

#[test]
fn a_relay_that_had_nothing_to_do_for_a_day_serves_again() {
    let mut world = World::new();
    let client = world.client(1);
    world.allocate(client);
    world.pass(600_000);
    assert_eq!(world.relay.allocations(), 0);
    world.pass(24 * 3_600_000);
    world.allocate(client);
    world.pass(600_000);
    assert_eq!(world.relay.allocations(), 0);
}

#[test]
fn a_stream_that_is_gone_takes_its_allocation_along() {
    let mut world = World::new();
    let client = Client { transport: Transport::Stream, ..world.client(1) };
    world.allocate(client);
    world.relay.client_gone(&client, &mut world.out);
    world.pass(0);
    assert_eq!((world.relay.allocations(), world.open.len()), (0, 0));
}

/// Twenty-four hours of virtual time beside a model that forgets nothing it should keep and keeps
/// nothing it should forget.
#[test]
fn a_day_of_allocations_leaves_nothing_behind() {
    let mut world = World::new();
    let mut naive: BTreeMap<u16, u64> = BTreeMap::new();
    let mut rng = 42;
    let end = world.now.monotonic.plus_ms(24 * 3_600_000);
    let mut steps = 0;
    while world.now.monotonic < end {
        steps += 1;
        let number = (next(&mut rng) % 60) as u16;
        // Each in a network and of a user of its own, so that no quota plays a part.
        let mut client = world.client(number);
        client.remote.set_ip([203, 0, number as u8, 1].into());
        let user = format!("9999999999:user{number}");
        let lifetime = (next(&mut rng) % 4_000) as u32;
        let method = if naive.contains_key(&number) { Method::REFRESH } else { Method::ALLOCATE };
        let request = world.request(client, method, &user, b"new", |request| {
            if method == Method::ALLOCATE {
                udp(request);
            }
            request.number(AttributeType::LIFETIME, lifetime);
        });
        let Came::Answer(answer) = world.send(client, &request) else { panic!("no answer") };
        assert_eq!(Answer::of(&answer, &user, b"new").error, None);
        let now_s = world.now.monotonic.0 / 1_000_000_000;
        if method == Method::REFRESH && lifetime == 0 {
            naive.remove(&number);
        } else {
            let granted = lifetime.clamp(600, 3_600);
            naive.insert(number, now_s + u64::from(granted));
        }
        world.pass(1_000 * (next(&mut rng) % 120));
        let now_s = world.now.monotonic.0 / 1_000_000_000;
        naive.retain(|_, until| *until > now_s);
        assert_eq!(world.relay.allocations(), naive.len());
        assert_eq!(world.open.len(), naive.len());
        assert_eq!(world.relay.free_ports(), Some(100 - naive.len()));
    }
    assert!(steps > 1_000, "{steps}");
    world.pass(3_700_000);
    assert_eq!((world.relay.allocations(), world.open.len()), (0, 0));
    assert_eq!(world.relay.next_deadline(), None);
}
