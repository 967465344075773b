//! Messages that wait for DNS.

use super::world::{World, header, request, respond, rules, status};
use crate::dns::Failure;
use crate::limits;

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";

#[test]
fn one_question_per_name_and_the_messages_leave_in_order() {
    let mut world = World::new();
    let partner = world.partner("sip.fabrikam.example");
    for id in ["m1", "m2", "m3"] {
        world.send(partner, &request("MESSAGE", JOHN, KIM, id));
    }
    assert_eq!(world.questions.len(), 1);
    world.resolve("sip.fabrikam.example");
    let pool = world.grant();
    let forwarded = world.read(pool);
    let at = |id: &str| forwarded.find(&format!("Call-ID: {id}\r\n")).expect(id);
    assert!(at("m1") < at("m2") && at("m2") < at("m3"));
}

#[test]
fn a_domain_that_does_not_resolve_is_refused_and_held_down() {
    let mut world = World::new();
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    world.resolve_nothing(Failure::NoSuchService);
    let answer = world.read(pool);
    assert_eq!(status(&answer), 504);
    assert!(header(&answer, "ms-diagnostics").unwrap().starts_with("1008;"));
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m2"));
    assert_eq!(status(&world.read(pool)), 504);
    assert!(world.questions.is_empty(), "the name server is not asked again");
}

#[test]
fn a_name_server_that_never_answers_costs_the_sender_four_seconds() {
    let mut world = World::new();
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    world.pass(limits::PARKED_MS - 1);
    assert_eq!(world.read(pool), "");
    world.pass(2);
    assert_eq!(status(&world.read(pool)), 504);
}

#[test]
fn other_domains_of_the_leg_go_on_meanwhile() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let inside = world.pool();
    world.send(inside, &request("MESSAGE", KIM, "n@northwind.example", "slow"));
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    assert_eq!(header(&forwarded, "Call-ID"), Some("m1"));
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(partner)), 200);
}

#[test]
fn a_leg_that_floods_look_ups_is_stopped_and_others_are_not() {
    let mut rules = rules();
    rules.federation.discovery = true;
    let mut world = World::with(rules);
    let (good, pool) = world.fabrikam();
    let flood = world.partner("sip.flood.example");
    for at in 0..50 {
        let from = format!("x@d{at}.example");
        world.send(flood, &request("MESSAGE", &from, KIM, &format!("f{at}")));
    }
    assert_eq!(world.questions.len(), limits::LOOKUPS_PER_LEG_MAX);
    assert!(world.read(flood).contains("SIP/2.0 480 "));
    world.send(good, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(good)), 200);
}

#[test]
fn a_waiting_invite_can_be_cancelled() {
    let mut world = World::new();
    let pool = world.pool();
    world.send(pool, &request("INVITE", KIM, JOHN, "c1"));
    let cancel = String::from_utf8(request("CANCEL", KIM, JOHN, "c1"))
        .unwrap()
        .replace("z9hG4bKc1CANCEL", "z9hG4bKc1INVITE");
    world.send(pool, cancel.as_bytes());
    let answers = world.read(pool);
    assert!(answers.contains("SIP/2.0 200 OK"), "{answers}");
    assert!(answers.contains("SIP/2.0 487 "), "{answers}");
    world.resolve("sip.fabrikam.example");
    assert!(world.connects.is_empty(), "nothing is left to send");
}

#[test]
fn the_loss_of_the_sender_removes_what_waits() {
    let mut world = World::new();
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    world.lose(pool, 0);
    world.resolve("sip.fabrikam.example");
    assert!(world.connects.is_empty());
}

#[test]
fn cancelled_invites_give_their_look_ups_back() {
    let mut rules = rules();
    rules.federation.discovery = true;
    let mut world = World::with(rules);
    let pool = world.pool();
    for at in 0..=limits::LOOKUPS_PER_LEG_MAX {
        let (to, id) = (format!("x@d{at}.example"), format!("c{at}"));
        world.send(pool, &request("INVITE", KIM, &to, &id));
        let cancel = String::from_utf8(request("CANCEL", KIM, &to, &id))
            .unwrap()
            .replace(&format!("z9hG4bK{id}CANCEL"), &format!("z9hG4bK{id}INVITE"));
        world.send(pool, cancel.as_bytes());
    }
    assert!(!world.read(pool).contains("SIP/2.0 480 "));
    assert_eq!(world.questions.len(), limits::LOOKUPS_PER_LEG_MAX + 1);
}

#[test]
fn a_question_that_found_no_room_can_be_asked_again() {
    let mut world = World::new();
    let pool = world.pool();
    let large = "x".repeat(600_000);
    let text = String::from_utf8(request("MESSAGE", KIM, JOHN, "m1")).unwrap();
    let text = text.replace("Content-Length: 2", "Content-Length: 600000");
    world.send(pool, text.replace("\r\n\r\nhi", &format!("\r\n\r\n{large}")).as_bytes());
    assert_eq!(status(&world.read(pool)), 504);
    assert!(world.questions.is_empty());
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m2"));
    assert_eq!(world.questions.len(), 1, "the name is not left pending");
}

#[test]
fn a_request_that_waited_is_counted_once() {
    let mut world = World::new();
    let partner = world.partner("sip.fabrikam.example");
    world.send(partner, &request("MESSAGE", JOHN, KIM, "once"));
    assert_eq!(world.access.counters().parked, 1);
    world.resolve("sip.fabrikam.example");
    assert_eq!(world.access.counters().requests_from_partners, 1);
}
