use super::world::*;
use crate::edge::CloseReason;
use crate::limits;
use crate::xmpp::StanzaError;

#[test]
fn one_partner_has_its_number_of_streams() {
    let mut rules = rules();
    rules.xmpp.partners[0].connection_limit = Some(2);
    let mut world = World::with(rules);
    let (first, second) = (world.fabrikam(), world.fabrikam());
    let third = world.tls_server(&["fabrikam.example"]);
    let answer = world.say(third, &header("fabrikam.example", "contoso.example"));
    assert!(ends_with_error(&answer, "resource-constraint"), "{answer}");
    assert!(!world.is_closed(first) && !world.is_closed(second));
    let other = world.tls_server(&["tailspin.example"]);
    let answer = world.say(other, &header("tailspin.example", "contoso.example"));
    assert!(answer.contains("<stream:features>"), "{answer}");
}

#[test]
fn all_partners_have_theirs() {
    let mut rules = rules();
    rules.xmpp.limits.connections = 2;
    let mut world = World::with(rules);
    world.fabrikam();
    world.fabrikam();
    let leg = world.server();
    assert!(ends_with_error(&world.read(leg), "resource-constraint"));
    assert_eq!(world.proxy.counters().refused_by_limit, 1);
}

#[test]
fn streams_that_are_not_authenticated_are_few() {
    let mut rules = rules();
    rules.xmpp.limits.connections = 10_000;
    let mut world = World::with(rules);
    for _ in 0..limits::XMPP_HALF_OPEN_MAX {
        world.server();
    }
    let leg = world.server();
    assert!(ends_with_error(&world.read(leg), "resource-constraint"));
}

#[test]
fn a_queue_is_bounded_and_bounces() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    for id in 0..limits::XMPP_QUEUE_STANZAS_MAX + 5 {
        world.send(&mut gateway, "kim@contoso.example", "a@fabrikam.example", &id.to_string());
    }
    assert_eq!(gateway.bounced.len(), 5);
    assert!(gateway.bounced.iter().all(|(_, e)| e.condition == StanzaError::ResourceConstraint));
}

#[test]
fn a_partner_that_sends_too_much_is_told_to_wait() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let leg = world.fabrikam();
    for id in 0..4_100 {
        world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", &id.to_string()));
        if id % 100 == 0 {
            world.exchange(&mut gateway);
        }
    }
    world.exchange(&mut gateway);
    assert_eq!(gateway.stanzas.len(), 4_000, "two seconds' worth at once");
    assert_eq!(world.proxy.counters().refused_by_rate, 100);
    world.pass(1_000);
    world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", "later"));
    world.exchange(&mut gateway);
    assert_eq!(gateway.stanzas.len(), 4_001);
}

#[test]
fn a_stream_without_stanzas_is_ended_in_order() {
    let mut rules = rules();
    rules.xmpp.limits.keep_alive_s = 100_000;
    let mut world = World::with(rules);
    let leg = world.fabrikam();
    world.pass(599_000);
    assert_eq!(world.read(leg), "");
    world.pass(2_000);
    assert_eq!(world.read(leg), "</stream:stream>");
    assert!(!world.is_closed(leg));
    world.say(leg, "</stream:stream>");
    assert_eq!(world.closed, [(leg, CloseReason::Idle)]);
}

#[test]
fn a_silent_stream_is_pinged_and_closed_if_nobody_answers() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let out = world.ours_to_fabrikam(&mut gateway, "");
    world.pass(302_000);
    let ping = world.read(out);
    assert!(ping.contains("urn:xmpp:ping"), "{ping}");
    let id = attribute(&ping, "id");
    let leg = world.fabrikam();
    let pong =
        format!("<iq type='result' from='fabrikam.example' to='contoso.example' id='{id}'/>");
    world.say(leg, &pong);
    world.pass(120_000);
    assert!(!world.is_closed(out), "the answer came, by the other stream");
    world.pass(250_000);
    assert!(world.closed.contains(&(out, CloseReason::NoPong)) || world.is_closed(out));
}
