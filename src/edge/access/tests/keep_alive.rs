//! Pings and idle times (RFC 5626 section 4.4.1, DESIGN 9).

use super::world::{World, request, respond, setup, status};
use crate::edge::{Class, CloseReason, Core as _, Drain, LegId};
use crate::limits;

const PING: &str = "\r\n\r\n";
const PONG: &[u8] = b"\r\n";

/// Lets silence last until the next ping is due, and takes what was said on `leg`.
fn ping(world: &mut World, leg: LegId) -> String {
    world.pass(setup().ping_interval_ms);
    world.read(leg)
}

/// A leg to the pool whose server has answered two pings.
fn answering(world: &mut World) -> (LegId, LegId) {
    let (partner, pool) = world.fabrikam();
    for _ in 0..2 {
        assert_eq!(ping(world, pool), PING);
        world.send(pool, PONG);
    }
    (partner, pool)
}

#[test]
fn s4_4_1_a_silent_connection_of_ours_is_pinged_and_one_of_the_partner_is_not() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    assert_eq!(ping(&mut world, pool), PING);
    assert_eq!(world.read(partner), "");
}

#[test]
fn a_message_puts_the_ping_off() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.pass(setup().ping_interval_ms / 2);
    let message = request("MESSAGE", "john@fabrikam.example", "kim@contoso.example", "again");
    world.send(partner, &message);
    let forwarded = world.read(pool);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    world.pass(setup().ping_interval_ms * 3 / 4);
    assert_eq!(world.read(pool), "", "45 s after the message");
    world.pass(setup().ping_interval_ms / 4);
    assert_eq!(world.read(pool), PING);
}

#[test]
fn s4_4_1_a_peer_that_answered_and_does_not_any_more_loses_the_connection() {
    let mut world = World::new();
    let (partner, pool) = answering(&mut world);
    assert_eq!(ping(&mut world, pool), PING);
    let message = request("SUBSCRIBE", "john@fabrikam.example", "kim@contoso.example", "late");
    world.send(partner, &message);
    world.resolve("sip.fabrikam.example");
    assert!(world.read(pool).starts_with("SUBSCRIBE"));
    world.pass(limits::PONG_MS - 1);
    assert_eq!(world.endings, []);
    world.pass(1);
    assert_eq!(world.endings, [(pool, CloseReason::NoPong)]);
    world.lose(pool, 0);
    world.grant();
    assert_eq!(world.connects.len(), 0, "what was sent in vain goes out by a new connection");
}

#[test]
fn anything_from_the_peer_shows_that_it_lives() {
    let mut world = World::new();
    let (_, pool) = answering(&mut world);
    assert_eq!(ping(&mut world, pool), PING);
    world.send(pool, &request("OPTIONS", "kim@contoso.example", "john@fabrikam.example", "o"));
    world.pass(limits::PONG_MS);
    assert_eq!(world.endings, []);
}

#[test]
fn a_peer_that_never_answers_keeps_its_connection_and_is_still_pinged() {
    let mut world = World::new();
    let (_, pool) = world.fabrikam();
    // A lone CRLF once is no proof that it answers.
    assert_eq!(ping(&mut world, pool), PING);
    world.send(pool, PONG);
    for _ in 0..50 {
        assert_eq!(ping(&mut world, pool), PING);
        world.pass(limits::PONG_MS);
    }
    assert!(world.endings.iter().all(|(leg, _)| *leg != pool));
}

/// Symptom: the loss of a peer that answers pings was never noticed. Cause: one answer that came
/// too late marked it as silent for good. Scenario: a server that is busy at its first ping.
#[test]
fn s4_4_1_a_peer_that_missed_one_ping_is_known_for_its_later_answers() {
    let mut world = World::new();
    let (_, pool) = world.fabrikam();
    assert_eq!(ping(&mut world, pool), PING);
    world.pass(limits::PONG_MS);
    for _ in 0..2 {
        assert_eq!(ping(&mut world, pool), PING);
        world.send(pool, PONG);
    }
    assert_eq!(world.access.counters().pongs, 2);
    assert_eq!(ping(&mut world, pool), PING);
    world.pass(limits::PONG_MS);
    assert!(world.endings.contains(&(pool, CloseReason::NoPong)), "{:?}", world.endings);
}

#[test]
fn the_idle_time_ends_a_partners_connection_that_nobody_keeps_and_only_that() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let (user, server) = (world.user(), world.pool());
    let pinging = world.partner("sip.fabrikam.example");
    for _ in 0..11 {
        world.send(pinging, PING.as_bytes());
        assert_eq!(world.read(pinging), "\r\n");
        world.pass(60_000);
    }
    assert_eq!(world.endings, [(partner, CloseReason::Idle)]);
    let _ = (pool, user, server);
}

#[test]
fn many_connections_that_become_idle_at_once_are_closed_over_several_turns() {
    let mut world = World::new();
    let legs: Vec<_> = (0..600).map(|_| world.partner("sip.fabrikam.example")).collect();
    let mut turns = 0;
    while world.endings.len() < legs.len() {
        let before = world.endings.len();
        world.pass(if turns == 0 { setup().idle_timeout_ms } else { 0 });
        turns += 1;
        assert!(world.endings.len() - before <= limits::EXPIRIES_PER_TURN_MAX);
        assert!(turns < 10, "each turn closes some");
    }
    assert!(turns > 1);
    assert!(world.endings.iter().map(|(leg, _)| *leg).eq(legs), "the longest silent go first");
    assert_eq!(world.access.next_deadline(), None, "nothing is left to wait for");
}

#[test]
fn a_closing_drain_closes_what_has_no_transaction_some_in_each_second() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let message = request("MESSAGE", "john@fabrikam.example", "kim@contoso.example", "open");
    world.send(partner, &message);
    let users: Vec<_> = (0..300).map(|_| world.user()).collect();
    world.access.drain(world.now, Drain::Closing, &mut world.effects);
    world.pass(0);
    assert_eq!(world.endings.len(), limits::CLOSES_PER_SWEEP_MAX);
    world.pass(1_000);
    let closed = |leg| world.endings.contains(&(leg, CloseReason::Draining));
    assert!(users.into_iter().all(closed));
    assert!(!closed(pool), "an answer is awaited there");
    assert!(!closed(partner), "and is to be told here");
    let forwarded = world.read(pool);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(partner)), 200);
    world.pass(1_000);
    for leg in [partner, pool] {
        assert!(world.endings.contains(&(leg, CloseReason::Draining)));
    }
}

/// Symptom: a drain lost messages without an answer. Cause: what waited for DNS was no transaction
/// yet, so its leg counted as idle. Scenario: a drain begins during a look-up.
#[test]
fn a_closing_drain_waits_for_a_message_that_waits_for_dns() {
    let mut world = World::new();
    let partner = world.partner("sip.fabrikam.example");
    let message = request("MESSAGE", "john@fabrikam.example", "kim@contoso.example", "m1");
    world.send(partner, &message);
    world.access.drain(world.now, Drain::Closing, &mut world.effects);
    world.pass(1_000);
    assert_eq!(world.endings, []);
    world.resolve("sip.fabrikam.example");
    let pool = world.grant();
    let forwarded = world.read(pool);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(partner)), 200);
    world.pass(1_000);
    assert!(world.endings.contains(&(partner, CloseReason::Draining)));
}

#[test]
fn only_health_checks_leave_a_leg_probed() {
    let mut world = World::new();
    let leg = world.partner("sip.fabrikam.example");
    assert!(world.access.only_probed(leg));
    world.send(leg, &request("OPTIONS", "check@192.0.2.7", "192.0.2.1", "o1"));
    assert!(world.access.only_probed(leg));
    let message = request("MESSAGE", "john@fabrikam.example", "kim@contoso.example", "m");
    world.send(leg, &message);
    assert!(!world.access.only_probed(leg));
    assert_eq!(world.access.legs.get(leg).map(|leg| leg.class), Some(Class::Federation));
}
