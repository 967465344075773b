//! Several gateways: requests that reach the one that does not have their pair of domains.

use super::world::*;
use crate::edge::Class;
use crate::policy::{NextHop, Rules};

const GW: &str = "gw.contoso.example";
const OTHER: &str = "gw2.contoso.example";
const BOTH: &str = "gw.contoso.example gw2.contoso.example";

pub(super) fn rules_of_two() -> Rules {
    let mut rules = rules();
    let hop = |(name, ip): (&str, &str)| NextHop {
        addresses: vec![ip.parse().expect("an address")],
        ..NextHop::new(domain(name))
    };
    rules.xmpp.gateway_hops = [(GW, "10.0.0.30"), (OTHER, "10.0.0.31")].map(hop).to_vec();
    rules
}

/// A user and a contact whose pair of domains falls to a gateway.
fn pair_of(gateway: &str) -> (String, String) {
    let snapshot = snapshot(rules_of_two(), 1);
    let ours = ["simple.example", "contoso.example"];
    let theirs = ["fabrikam.example", "verified.example", "public.example"];
    let pairs = ours.into_iter().flat_map(|ours| theirs.map(|theirs| (ours, theirs)));
    let falls = |(ours, theirs): &(&str, &str)| {
        let first = snapshot.gateways_of(&domain(ours), &domain(theirs))[0];
        snapshot.next_hops()[first].name.as_str() == gateway
    };
    let (ours, theirs) = pairs.into_iter().find(falls).expect("each has one of six");
    (format!("sip:kim@{ours}"), format!("sip:john@{theirs}"))
}

/// A world in which the other gateway is linked and connected to, and knows what this one knows.
fn world() -> World {
    let mut world = World::with(setup(), rules_of_two());
    world.tell(BOTH);
    let published = world.hears_begin("PUBLISH sip:gw2.contoso.example:5061;");
    world.answer(&published, "200 OK", "SIP-ETag: first\r\n", "");
    world.nothing_more();
    world
}

/// The answer of the other gateway, which copies both Vias.
fn answered(request: &str, status: &str) -> String {
    let vias = request.lines().filter(|line| line.starts_with("Via: "));
    let vias: Vec<&str> = vias.map(|line| line.trim_start_matches("Via: ")).collect();
    assert_eq!(vias.len(), 2, "{request}");
    let second = format!("Via: {}\r\n", vias[1]);
    response(request, status, &second, "")
}

#[test]
fn a_request_for_the_pair_of_another_gateway_is_handed_over_once() {
    let mut world = world();
    let leg = world.own_sip_leg().expect("the other gateway's");
    let (kim, john) = pair_of(OTHER);
    world.sip(&message(&kim, &john, "Hello"));
    let handed = world.hears_begin("MESSAGE ");
    assert_eq!(handed.leg, leg);
    assert_eq!(header(&handed.text, "Entente-Handed-Over"), GW);
    assert_eq!(header(&handed.text, "Max-Forwards"), "68");
    assert!(header(&handed.text, "Via").starts_with("SIP/2.0/TLS gw.contoso.example:5061;"));
    assert!(handed.text.ends_with("\r\n\r\nHello"), "{}", handed.text);
    world.sees_nothing();
    let answer = answered(&handed.text, "200 OK");
    world.feed(leg, answer.as_bytes());
    world.run();
    let heard = world.hears_begin("SIP/2.0 200 OK");
    assert_eq!(heard.leg, world.pool);
    assert!(header(&heard.text, "Via").contains("pool.contoso.example"), "{}", heard.text);
    assert_eq!(heard.text.matches("Via: ").count(), 1);
    world.nothing_more();
    assert_eq!(world.gateway.counters().handed_over, 1);
    world.gateway.check();
}

#[test]
fn its_own_pairs_and_what_was_handed_over_to_it_a_gateway_serves() {
    let mut world = world();
    let (kim, john) = pair_of(GW);
    world.sip(&message(&kim, &john, "Hello"));
    assert!(world.sees().contains("Hello"));
    let (kim, john) = pair_of(OTHER);
    let marked = message(&kim, &john, "Hello again")
        .replace("Max-Forwards", &format!("Entente-Handed-Over: {OTHER}\r\nMax-Forwards"));
    world.sip(&marked);
    assert!(world.sees().contains("Hello again"));
    assert_eq!(world.gateway.counters().handed_over, 0);
}

#[test]
fn a_gateway_serves_the_pairs_of_one_that_is_not_linked_or_not_reached() {
    let (kim, john) = pair_of(OTHER);
    let mut world = world();
    world.tell(GW);
    world.sip(&message(&kim, &john, "Hello"));
    assert!(world.sees().contains("Hello"));
    assert_eq!(world.gateway.counters().handed_over, 0);

    let mut world = self::world();
    let leg = world.own_sip_leg().expect("the other gateway's");
    world.connected = false;
    world.lose(leg);
    world.sip(&message(&kim, &john, "Hello"));
    assert_eq!(world.connects[0].server_name.as_str(), OTHER);
    world.deny();
    assert!(world.sees().contains("Hello"));
    world.pass(500);
    world.hears_begin("SIP/2.0 200 OK");
    let counters = world.gateway.counters();
    assert_eq!((counters.handed_over, counters.handed_back), (1, 1));
    world.sip(&message(&kim, &john, "Hello").replace("call1", "call2"));
    assert!(world.sees().contains("Hello"), "while it rests nothing waits for it");
    world.gateway.check();
}

#[test]
fn what_the_other_gateway_may_have_is_served_nowhere_else() {
    let mut world = world();
    let (kim, john) = pair_of(OTHER);
    world.sip(&message(&kim, &john, "Hello"));
    let handed = world.hears_begin("MESSAGE ");
    world.lose(handed.leg);
    world.hears_begin("SIP/2.0 504 ");
    world.nothing_more();
    world.gateway.check();
}

#[test]
fn the_refusal_of_an_invite_is_passed_back_and_acknowledged() {
    let mut world = world();
    let (kim, john) = pair_of(OTHER);
    let (to, lines) = (format!("<{john}>"), "Contact: <sip:pool.contoso.example>\r\n");
    world.sip(&request("INVITE", &kim, &to, lines, ""));
    let handed = world.hears_begin("INVITE ");
    let answer = answered(&handed.text, "488 Not Acceptable Here");
    world.feed(handed.leg, answer.as_bytes());
    world.run();
    let mut said = [world.hears(), world.hears()];
    said.sort_by_key(|said| said.leg == world.pool);
    let [ack, refusal] = said;
    assert!(ack.text.starts_with("ACK ") && ack.leg == handed.leg, "{}", ack.text);
    assert_eq!(header(&ack.text, "Via"), header(&handed.text, "Via"));
    assert!(refusal.text.starts_with("SIP/2.0 488 "), "{}", refusal.text);
    world.nothing_more();
    world.gateway.check();
}

#[test]
fn without_a_link_of_its_own_a_gateway_leaves_requests_to_another() {
    let mut world = world();
    let leg = world.edges[0].leg;
    world.connected = false;
    world.lose(leg);
    let (kim, john) = pair_of(GW);
    world.sip(&message(&kim, &john, "Hello"));
    let handed = world.hears_begin("MESSAGE ");
    assert_eq!(Some(handed.leg), world.own_sip_leg());
}

#[test]
fn whom_a_user_has_written_to_may_answer_by_another_gateway() {
    let mut world = world();
    let (kim, eve) = ("sip:kim@simple.example", "sip:eve@public.example");
    // Handed over, so that it is served here whoever has the pair.
    let marked = message(kim, eve, "Hello")
        .replace("Max-Forwards", &format!("Entente-Handed-Over: {OTHER}\r\nMax-Forwards"));
    world.sip(&marked);
    assert!(world.sees().contains("Hello"));
    let published = world.hears_begin("PUBLISH ");
    assert_eq!(body(&published.text), "w kim@simple.example eve@public.example\n");
    world.answer(&published, "200 OK", "SIP-ETag: first\r\n", "");
    world.pass(1_000);
    world.hears_begin("SIP/2.0 200 ");
    world.nothing_more();
    // To a contact who may write unasked it is nothing to tell.
    let marked = marked.replace("eve@public", "john@fabrikam").replace("call1", "call2");
    world.sip(&marked);
    world.pass(1_000);
    world.hears_begin("SIP/2.0 200 ");
    world.nothing_more_said();

    let mut world = self::world();
    let answers = |world: &mut World| {
        let hi = "<body>Hi</body>";
        world.stanza(&chat("eve@public.example/x", "kim@simple.example", "m", hi));
    };
    answers(&mut world);
    assert!(world.sees().contains("subscription-required"), "she was not written to");
    let other = world.open(Class::Internal, None, OTHER);
    world.hear(other);
    let lines = "Event: entente-authorisations\r\n";
    let publish = sip_request(
        "PUBLISH",
        &format!("sip:{GW}"),
        "sip:gw2",
        "<sip:gw>",
        "1",
        lines,
        body(&published.text),
    );
    world.feed(other, publish.as_bytes());
    world.run();
    world.hears_begin("SIP/2.0 200 ");
    answers(&mut world);
    let message = world.hears_begin("MESSAGE ");
    world.answer(&message, "200 OK", "", "");
    world.pass(600_000);
    assert_eq!(world.gateway.held(), [0; 4], "it is forgotten");
    answers(&mut world);
    assert!(world.sees().contains("subscription-required"));
    world.gateway.check();
}
