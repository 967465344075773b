//! What a reload leaves behind: transactions under way and connections, each still its partner's
//! although the places in the list have changed.

use super::world::{World, domain, header, request, respond, rules, status};
use crate::edge::{ConnectFailure, LegId};
use crate::policy::{PartnerRule, ProviderKind, ProviderRule, Rules};

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";
const ANN: &str = "ann@northwind.example";

/// One connection per partner, so that a second one would show.
fn single() -> Rules {
    let mut rules = rules();
    rules.federation.connections_per_partner = 1;
    rules
}

fn without(mut rules: Rules, place: usize) -> Rules {
    rules.partners.remove(place);
    rules
}

/// An own user writes to Ann, whose organisation answers.
fn to_northwind(world: &mut World, pool: LegId, id: &str) -> LegId {
    world.send(pool, &request("MESSAGE", KIM, ANN, id));
    world.resolve("edge.northwind.example");
    let leg = world.grant();
    let sent = world.read(leg);
    world.send(leg, respond(&sent, 200).as_bytes());
    assert_eq!(status(&world.read(pool)), 200);
    leg
}

/// Symptom: a partner read the answer to another partner's message. Cause: the transaction kept the
/// partner's place in the list of the former policy. Scenario: the first partner is removed while
/// its message is at the pool, so the second one has its place.
#[test]
fn s6_10_an_answer_never_leaves_by_the_connection_of_whoever_has_its_partners_place() {
    let mut world = World::with(single());
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let asked = world.read(pool);
    world.adopt(without(single(), 0), 2);
    world.lose(partner, 0);
    let other = to_northwind(&mut world, pool, "o1");
    world.send(pool, respond(&asked, 200).as_bytes());
    assert_eq!(world.read(other), "", "it is not theirs");
    assert_eq!(world.access.counters().responses_undeliverable, 1);
}

#[test]
fn s6_10_an_answer_finds_its_partners_own_connection_after_two_reloads() {
    let mut world = World::with(single());
    let (partner, pool) = world.fabrikam();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o1"));
    let own = world.grant();
    let sent = world.read(own);
    world.send(own, respond(&sent, 200).as_bytes());
    world.read(pool);
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let asked = world.read(pool);
    let mut moved = single();
    moved.partners.reverse();
    world.adopt(moved, 2);
    let mut moved = single();
    moved.partners.insert(0, PartnerRule::allowed_domain(domain("adatum.example")));
    moved.partners.reverse();
    world.adopt(moved, 3);
    world.lose(partner, 0);
    // The policy in force has to find that connection good before anything is written on it.
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o2"));
    assert!(world.read(own).contains("Call-ID: o2"));
    world.send(pool, respond(&asked, 200).as_bytes());
    let answer = world.read(own);
    assert!(answer.contains("Call-ID: m1") && status(&answer) == 200, "{answer}");
}

#[test]
fn a4_the_public_service_of_an_answer_is_the_one_that_was_asked_also_after_a_reload() {
    let provider = |name: &str, edge: &str, stated: &str| {
        let mut provider = ProviderRule::new(ProviderKind::Public, name, domain(edge));
        provider.domains = vec![domain(stated)];
        provider.allow_networks = vec!["192.0.2.0/24".parse().unwrap()];
        provider
    };
    let mut both = single();
    both.providers = vec![
        provider("one", "sip.one.example", "users.one.example"),
        provider("two", "sip.two.example", "users.two.example"),
    ];
    let mut world = World::with(both.clone());
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, "tim@users.one.example", "m1"));
    world.resolve("sip.one.example");
    let one = world.grant();
    let sent = world.read(one);
    both.providers.reverse();
    world.adopt(both, 2);
    world.send(one, respond(&sent, 200).as_bytes());
    let answer = world.read(pool);
    let trust = header(&answer, "ms-edge-proxy-message-trust").unwrap_or_default();
    assert!(trust.ends_with(";ms-remote-fqdn=sip.one.example"), "{answer}");
}

/// Symptom: a partner's open connections were not used any more after the second reload. Cause: the
/// connections of a partner that was removed kept its place in the list, which the next reload read
/// under the wrong list. Scenario: the first of two partners, the younger in use, is removed.
#[test]
fn a_removed_partner_takes_nobody_elses_connections() {
    let mut world = World::with(single());
    let (_, pool) = world.fabrikam();
    let northwind = to_northwind(&mut world, pool, "o1");
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o2"));
    let fabrikam = world.grant();
    world.adopt(without(single(), 0), 2);
    assert_eq!(world.closed, [fabrikam]);
    world.adopt(without(single(), 0), 3);
    world.send(pool, &request("MESSAGE", KIM, ANN, "o3"));
    assert_eq!(world.connects, []);
    assert!(world.read(northwind).contains("Call-ID: o3"));
    // What is still under way with the removed one ends without harm, and it may come back.
    world.lose(fabrikam, 0);
    world.adopt(single(), 4);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o4"));
    let again = world.grant();
    assert!(world.read(again).contains("Call-ID: o4"));
}

/// Symptom: a host that works was not used for 32 s. Cause: a connection that retired kept its
/// place in the former list of hosts. Scenario: DNS names other hosts while a connection to one it
/// named before is being made, and that one fails.
#[test]
fn a_retired_connection_that_fails_rests_no_host_of_the_new_list() {
    let mut world = World::with(single());
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o1"));
    world.resolve("old.fabrikam.example");
    world.pass(61_000);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o2"));
    world.resolve("new.fabrikam.example");
    assert_eq!(world.connects.len(), 2);
    world.deny(ConnectFailure::Unreachable);
    let told = &world.notes.last().expect("somebody is told").sentence;
    assert!(told.starts_with("no connection to old.fabrikam.example: "), "{told}");
    let new = world.grant();
    let sent = world.read(new);
    assert!(sent.contains("Call-ID: o2"), "{sent}");
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o3"));
    assert!(world.read(new).contains("Call-ID: o3"));
    // Lost, it is made again at once: its host does not rest.
    world.lose(new, 0);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o4"));
    assert_eq!(world.connects[0].server_name.as_str(), "new.fabrikam.example");
}

#[test]
fn a_503_of_a_retired_connection_rests_no_host_of_the_new_list() {
    let mut world = World::with(single());
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o1"));
    world.resolve("old.fabrikam.example");
    let old = world.grant();
    let first = world.read(old);
    world.pass(61_000);
    // Its ping.
    world.read(old);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o2"));
    world.resolve("new.fabrikam.example");
    let new = world.grant();
    world.read(new);
    world.send(old, respond(&first, 503).as_bytes());
    world.lose(new, 0);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o3"));
    assert_eq!(world.connects[0].server_name.as_str(), "new.fabrikam.example");
}
