//! Links with edges: what their loss does to what is on its way.

use super::world::*;
use crate::edge::Class;

const KIM: &str = "sip:kim@simple.example";
const JOHN: &str = "sip:john@fabrikam.example";

#[test]
fn the_gateway_connects_to_every_edge_by_name() {
    let mut world = World::of(two_edges());
    assert_eq!(world.gateway.links(), 2);
    world.connected = false;
    let leg = world.edges[0].leg;
    let name = world.edges[0].name.clone();
    world.lose(leg);
    world.pass(3_000);
    let connect = world.connects.first().expect("it tries again");
    assert_eq!((connect.class, connect.server_name.as_str()), (Class::XmppLink, &*name));
    assert_eq!(connect.expected_names.host.as_ref().map(|host| host.as_str()), Some(&*name));
}

#[test]
fn an_edge_or_a_next_hop_that_connects_to_the_gateway_is_tried_at_once() {
    let mut world = World::new();
    let leg = world.edges[0].leg;
    world.connected = false;
    world.lose(leg);
    // Each failure makes the rest longer, up to half a minute.
    for _ in 0..5 {
        world.pass(31_000);
        world.deny();
    }
    world.pass(1_000);
    assert!(world.connects.is_empty(), "it rests");
    world.open(Class::Internal, None, "edge1.contoso.example");
    world.pass(1);
    assert_eq!(world.connects.len(), 1);
    world.grant();
    world.run();
    assert_eq!(world.gateway.links(), 1);

    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", "<body>A</body>"));
    world.deny();
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m2", "<body>B</body>"));
    assert!(world.connects.is_empty(), "the next hop rests");
    world.open(Class::Internal, None, "sip.simple.example");
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m3", "<body>C</body>"));
    assert_eq!(world.connects.len(), 1);
}

#[test]
fn what_a_dead_edge_did_not_report_on_goes_by_another() {
    let mut world = World::of(two_edges());
    for edge in &mut world.edges {
        edge.conduct = Conduct::Silent;
    }
    world.sip(&message(KIM, JOHN, "Hello"));
    let first = world.sees();
    for edge in &mut world.edges {
        edge.conduct = Conduct::Takes;
    }
    let had = world.edges.iter().find(|edge| edge.given == 1).expect("one of them").leg;
    world.lose(had);
    let again = world.sees();
    assert_eq!(attribute(&first, "id"), attribute(&again, "id"));
    assert_eq!(world.gateway.counters().sent_again, 1);
    world.pass(250);
    world.hears_begin("SIP/2.0 200");
    world.nothing_more();
}

#[test]
fn without_a_link_a_message_waits_and_then_is_not_delivered() {
    let mut world = World::new();
    let leg = world.edges[0].leg;
    world.connected = false;
    world.lose(leg);
    world.sip(&message(KIM, JOHN, "Hello"));
    world.pass(9_000);
    world.nothing_more();
    world.pass(2_000);
    world.hears_begin("SIP/2.0 504 ");
    world.nothing_more();
    assert_eq!(world.gateway.counters().no_link, 1);
}

#[test]
fn a_message_that_waits_goes_out_when_a_link_comes_up() {
    let mut world = World::new();
    let leg = world.edges[0].leg;
    world.connected = false;
    world.lose(leg);
    world.sip(&message(KIM, JOHN, "Hello"));
    world.pass(3_000);
    world.connected = true;
    world.pass(1_000);
    assert!(world.sees().contains("<body>Hello</body>"));
    world.pass(250);
    world.hears_begin("SIP/2.0 200");
}

#[test]
fn an_edge_that_bounces_again_and_again_is_given_up() {
    let mut world = World::new();
    world.conduct = Conduct::Silent;
    world.edges[0].conduct = Conduct::Silent;
    world.sip(&message(KIM, JOHN, "Hello"));
    for _ in 0..4 {
        let leg = world.edges[0].leg;
        world.lose(leg);
        world.pass(3_000);
    }
    assert_eq!(world.stanzas.len(), 4, "not more often than the limit");
    world.hears_begin("SIP/2.0 504 ");
}

#[test]
fn an_edge_without_addresses_is_asked_of_dns() {
    let mut setup = setup();
    setup.edges[0].addresses.clear();
    let mut world = World::of(setup);
    assert!(world.edges.is_empty());
    let question = world.questions.remove(0);
    let target = crate::dns::Target {
        fqdn: domain("edge1.contoso.example"),
        port: 23456,
        priority: 0,
        weight: 0,
        addresses: vec!["10.0.0.7".parse().expect("an address")],
        direct_tls: true,
    };
    let answer = crate::dns::Answer { question, outcome: Ok(vec![target]), ttl_s: 60 };
    world.connected = false;
    let (now, effects) = (world.now, &mut world.effects);
    crate::edge::Core::resolved(&mut world.gateway, now, answer.into(), effects);
    world.run();
    assert_eq!(world.connects[0].addresses, ["10.0.0.7:23456".parse().expect("an address")]);
    world.grant();
    world.run();
    assert_eq!(world.gateway.linked_edges(), [domain("edge1.contoso.example")]);
}
