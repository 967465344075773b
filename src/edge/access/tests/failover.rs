//! Targets that fail, rest and come back; legs that die.

use super::world::{World, domain, header, headers, request, respond, respond_with, rules, status};
use crate::edge::ConnectFailure;
use crate::limits;

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";

/// An own user writes to fabrikam.example, whose edge has two targets.
fn two_targets(world: &mut World, method: &str) -> crate::edge::LegId {
    let pool = world.pool();
    world.send(pool, &request(method, KIM, JOHN, "m1"));
    world.resolve_to(&["a.fabrikam.example", "b.fabrikam.example"]);
    pool
}

#[test]
fn the_next_target_is_used_when_the_first_refuses_the_connection() {
    let mut world = World::new();
    let pool = two_targets(&mut world, "MESSAGE");
    let asked: usize = world.connects.len();
    for _ in 0..asked {
        world.deny(ConnectFailure::Unreachable);
    }
    assert_eq!(world.connects[0].server_name.as_str(), "b.fabrikam.example");
    let second = world.grant();
    let forwarded = world.read(second);
    assert!(forwarded.starts_with("MESSAGE "), "{forwarded}");
    world.send(second, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(pool)), 200);
}

#[test]
fn when_no_target_is_left_the_sender_gets_504_that_says_why() {
    let mut world = World::new();
    let pool = two_targets(&mut world, "MESSAGE");
    let mut tries = 0;
    while !world.connects.is_empty() && tries < 10 {
        world.deny(ConnectFailure::CertificateUntrusted);
        tries += 1;
    }
    let answer = world.read(pool);
    assert_eq!(status(&answer), 504);
    assert!(header(&answer, "ms-diagnostics").unwrap().starts_with("1010;"), "{answer}");
    // While the partner backs off nothing waits and nothing is asked.
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m2"));
    assert_eq!(status(&world.read(pool)), 504);
    assert!(world.connects.is_empty());
    world.pass(1_000);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m3"));
    assert!(!world.connects.is_empty(), "after the back-off it is tried again");
}

#[test]
fn a_message_that_may_have_arrived_is_not_sent_twice() {
    let mut world = World::new();
    let pool = two_targets(&mut world, "MESSAGE");
    let first = world.grant();
    world.read(first);
    world.lose(first, 0);
    let answer = world.read(pool);
    assert_eq!(status(&answer), 504);
}

#[test]
fn a_message_of_which_no_byte_left_goes_to_the_next_connection() {
    let mut world = World::new();
    let pool = two_targets(&mut world, "MESSAGE");
    let first = world.grant();
    let bytes = world.read(first).len();
    world.lose(first, bytes * 2);
    assert_eq!(world.read(pool), "");
    let second = world.grant();
    let forwarded = world.read(second);
    assert!(forwarded.starts_with("MESSAGE "));
    world.send(second, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(pool)), 200);
}

#[test]
fn invite_and_subscribe_are_sent_again_under_a_new_branch() {
    for method in ["INVITE", "SUBSCRIBE"] {
        let mut world = World::new();
        let pool = two_targets(&mut world, method);
        let first = world.grant();
        let sent = world.read(first);
        world.lose(first, 0);
        let second = world.grant();
        let again = world.read(second);
        assert!(again.starts_with(method));
        assert_ne!(headers(&sent, "Via")[0], headers(&again, "Via")[0], "a new branch");
        assert_eq!(header(&sent, "Call-ID"), header(&again, "Call-ID"));
        assert_eq!(header(&sent, "CSeq"), header(&again, "CSeq"));
        // The first target's late answer belongs to nobody.
        world.send(second, respond(&sent, 200).as_bytes());
        assert_eq!(world.read(pool), "");
        world.send(second, respond(&again, 200).as_bytes());
        assert_eq!(status(&world.read(pool)), 200);
    }
}

#[test]
fn a_503_rests_its_target_and_the_sender_never_sees_it() {
    let mut world = World::new();
    let pool = two_targets(&mut world, "MESSAGE");
    let first = world.grant();
    let sent = world.read(first);
    world.send(first, respond_with(&sent, 503, "Retry-After: 20\r\n").as_bytes());
    assert_eq!(world.read(pool), "");
    let mut second = world.grant();
    if world.read(second).is_empty() {
        second = world.grant();
    }
    let _ = second;
    assert_eq!(world.access.counters.retries, 1);
}

#[test]
fn a_503_from_the_only_target_becomes_504() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let sent = world.read(pool);
    world.send(pool, respond_with(&sent, 503, "Retry-After: 5\r\n").as_bytes());
    let answer = world.read(partner);
    assert_eq!(status(&answer), 504, "{answer}");
}

#[test]
fn a_connection_that_never_comes_is_504_after_four_seconds() {
    let mut world = World::new();
    let pool = two_targets(&mut world, "MESSAGE");
    world.pass(limits::PARKED_MS + 1);
    assert_eq!(status(&world.read(pool)), 504);
    assert_eq!(world.access.slots.unfinished(), 0);
}

#[test]
fn a_response_whose_leg_is_gone_takes_another_leg_of_the_same_peer() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    let other = world.partner("sip.fabrikam.example");
    world.lose(partner, 0);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(other)), 200);
}

#[test]
fn a_response_for_nobody_is_dropped_and_counted() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    world.lose(partner, 0);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(world.access.counters.responses_undeliverable, 1);
    assert_eq!(world.access.slots.unfinished(), 0);
}

#[test]
fn a_response_from_someone_who_was_not_asked_is_dropped() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    let stranger = world.partner("edge.northwind.example");
    world.send(stranger, respond(&forwarded, 200).as_bytes());
    assert_eq!(world.read(partner), "");
    assert_eq!(world.access.counters.responses_from_stranger, 1);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(partner)), 200, "the real answer still counts");
}

#[test]
fn a_503_to_a_cancelled_invite_ends_as_487() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    let invite = world.read(pool);
    let cancel = String::from_utf8(request("CANCEL", JOHN, KIM, "c1"))
        .unwrap()
        .replace("z9hG4bKc1CANCEL", "z9hG4bKc1INVITE");
    world.send(partner, cancel.as_bytes());
    world.read(partner);
    world.send(pool, respond(&invite, 503).as_bytes());
    assert!(world.read(pool).starts_with("ACK "));
    assert_eq!(status(&world.read(partner)), 487);
}

/// DNS no longer names the host that a connection leads to: nothing new goes there, what is under
/// way ends there, then it is closed.
#[test]
fn a_connection_to_a_host_that_dns_took_back_is_drained() {
    let mut rules = rules();
    rules.federation.connections_per_partner = 1;
    let mut world = World::with(rules);
    let (_, pool) = world.fabrikam();
    world.pass(59_000);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o1"));
    let old = world.grant();
    let first = world.read(old);
    assert!(first.starts_with("MESSAGE"), "{first}");
    world.pass(2_000);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o2"));
    world.resolve("other.fabrikam.example");
    let new = world.grant();
    assert!(world.read(new).contains("Call-ID: o2"));
    assert_eq!(world.read(old), "", "nothing new goes to the host of yesterday");
    world.pass(1_000);
    assert!(world.closed.is_empty(), "an answer may still come");
    world.send(old, respond(&first, 200).as_bytes());
    assert_eq!(status(&world.read(pool)), 200);
    world.pass(1_000);
    assert_eq!(world.closed, [old]);
}

#[test]
fn a_reload_that_demands_other_names_of_a_partner_retires_its_connections() {
    let mut world = World::new();
    let (_, pool) = world.fabrikam();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o1"));
    let old = world.grant();
    let first = world.read(old);
    world.send(old, respond(&first, 200).as_bytes());
    let mut rules = rules();
    rules.partners[0].names = crate::policy::NameCheck::Both;
    world.adopt(rules, 2);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o2"));
    assert_eq!(world.read(old), "", "it was never asked for its SIP domain");
    assert_eq!(world.connects.len(), 1);
    let expected = &world.connects[0].expected_names;
    assert_eq!(expected.host.as_ref().map(|name| name.as_str()), Some("sip.fabrikam.example"));
    assert_eq!(expected.sip_domain.as_ref().map(|name| name.as_str()), Some("fabrikam.example"));
    world.pass(1_000);
    assert_eq!(world.closed, [old]);
}

/// Symptom: messages for one subdomain went to a server whose certificate was never asked for it.
/// Cause: all that lies below a name shared the connections of whoever was first. Scenario: a
/// `*.name` entry with a stated edge that must carry the SIP domain.
#[test]
fn rfc5922_a_connection_verified_for_one_subdomain_carries_no_other() {
    use crate::policy::{NameCheck, PartnerRule, Pattern};
    for (names, shared) in
        [(NameCheck::Fqdn, true), (NameCheck::SipDomain, false), (NameCheck::Both, false)]
    {
        let mut rules = rules();
        rules.federation.connections_per_partner = 1;
        let below = Pattern::Below(domain("adatum.example"));
        let mut adatum = PartnerRule::allowed_server(below, domain("edge.adatum.example"), 5061);
        adatum.allow_networks = vec!["192.0.2.0/24".parse().unwrap()];
        adatum.names = names;
        rules.partners.push(adatum);
        let mut world = World::with(rules);
        let pool = world.pool();
        world.send(pool, &request("MESSAGE", KIM, "a@one.adatum.example", "o1"));
        world.resolve("edge.adatum.example");
        let one = world.grant();
        assert!(world.read(one).contains("Call-ID: o1"));
        world.send(pool, &request("MESSAGE", KIM, "b@two.adatum.example", "o2"));
        assert_eq!(world.read(one).contains("Call-ID: o2"), shared, "{names:?}");
        let asked: Vec<_> = world.connects.iter().map(|c| &c.expected_names.sip_domain).collect();
        let two = Some(domain("two.adatum.example"));
        assert_eq!(asked, if shared { vec![] } else { vec![&two] }, "{names:?}");
    }
}

#[test]
fn a_connection_asked_for_before_its_partner_went_is_closed_unused() {
    let mut world = World::new();
    let (_, pool) = world.fabrikam();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "o1"));
    let mut rules = rules();
    rules.partners.remove(0);
    world.adopt(rules, 2);
    let leg = world.grant();
    assert_eq!(world.closed, [leg]);
    assert_eq!(world.read(leg), "", "not a byte for a partner that is gone");
    assert_eq!(status(&world.read(pool)), 504);
}
