//! The end of the gateway, and a new policy.

use super::world::*;
use crate::edge::{CloseReason, Drain};

const KIM: &str = "sip:kim@contoso.example";
const JOHN: &str = "<sip:john@fabrikam.example>";
const WATCH: &str = "Event: presence\r\nContact: <sip:fe1>\r\nExpires: 3600\r\n";

#[test]
fn a_gateway_that_ends_sends_its_users_elsewhere_and_closes_last() {
    let mut world = World::new();
    world.sip(&request("SUBSCRIBE", KIM, JOHN, WATCH, ""));
    world.said.clear();
    world.stanza("<presence from='j@fabrikam.example' to='kim@contoso.example' type='subscribe'/>");
    let subscribe = world.hears_begin("SUBSCRIBE ");
    world.answer(&subscribe, "200 OK", "Contact: <sip:fe1>\r\nExpires: 3600\r\n", "");
    world.stanzas.clear();
    world.drain(Drain::Notice);
    let options = request("OPTIONS", KIM, "<sip:gw.contoso.example>", "", "");
    world.sip(&options);
    world.hears_begin("SIP/2.0 503 ");
    world.sip(&request("SUBSCRIBE", KIM, "<sip:x@fabrikam.example>", WATCH, ""));
    world.hears_begin("SIP/2.0 480 ");
    world.drain(Drain::Closing);
    world.pass(0);
    let last = world.hears_begin("NOTIFY ");
    assert_eq!(header(&last.text, "Subscription-State"), "terminated;reason=deactivated");
    let ending = world.hears_begin("SUBSCRIBE ");
    assert_eq!(header(&ending.text, "Expires"), "0");
    assert!(world.closed.is_empty(), "answers are waited for");
    assert!(crate::edge::Core::pending(&world.gateway) > 0);
    world.answer(&last, "200 OK", "", "");
    world.answer(&ending, "200 OK", "", "");
    world.pass(40_000);
    assert_eq!(crate::edge::Core::pending(&world.gateway), 0);
    let reasons: Vec<_> = world.closed.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons.len(), 3, "the link, the pool's connection and ours");
    assert!(reasons.contains(&CloseReason::Draining) && reasons.contains(&CloseReason::Ended));
    assert!(world.stanzas.is_empty(), "contacts hear nothing: {:?}", world.stanzas);
    assert_eq!(world.store.len(), 2, "what people decided stays");
}

#[test]
fn a_next_hop_that_policy_no_longer_names_is_left() {
    let mut world = World::new();
    let hi = chat("john@fabrikam.example/x", "kim@simple.example", "m1", "<body>Hi</body>");
    world.stanza(&hi);
    let request = world.hears_begin("MESSAGE ");
    let mut rules = rules();
    rules.next_hops[1].name = domain("sip2.simple.example");
    world.adopt(rules, 2);
    assert_eq!(world.closed, [(request.leg, CloseReason::NotPermitted)]);
    world.lose(request.leg);
    assert!(world.sees().contains("remote-server-timeout"));
    world.stanza(&hi);
    let moved = world.hears_begin("MESSAGE ");
    assert_ne!(moved.leg, request.leg);
}

#[test]
fn a_partner_that_is_no_longer_listed_is_refused() {
    let mut world = World::new();
    let mut rules = rules();
    rules.xmpp.partners.remove(0);
    world.adopt(rules, 2);
    world.sip(&message("sip:kim@simple.example", "sip:john@fabrikam.example", "Hello"));
    world.hears_begin("SIP/2.0 404 ");
}

#[test]
fn a_gateway_without_a_list_of_partners_leaves_the_decision_to_the_edges() {
    let mut rules = rules();
    rules.xmpp.partners.clear();
    let mut world = World::with(setup(), rules);
    world.sip(&message("sip:kim@simple.example", "sip:john@anywhere.example", "Hello"));
    assert_eq!(attribute(&world.sees(), "to"), "john@anywhere.example");
}
