//! Own users' messages to XMPP partners: which way they take, and who may.

use std::sync::Arc;

use super::world::{World, domain, header, headers, request, request_with, respond, rules, status};
use crate::dns::Failure;
use crate::edge::{ConnectFailure, LegId};
use crate::policy::users::{AccessPolicy, DirectoryBuilder, Home, MarksCount};
use crate::policy::{NextHop, Preferred, Rules, XmppPartner, compile};

const KIM: &str = "kim@contoso.example";
/// A partner on XMPP alone.
const ROMEO: &str = "romeo@partner.example";
/// A partner on both sides: fabrikam.example is listed for SIP.
const JOHN: &str = "john@fabrikam.example";
const GATEWAY: &str = "gw.contoso.example";

fn with(prefer: Preferred) -> Rules {
    let mut rules = rules();
    rules.internal_names.push(domain(GATEWAY));
    rules.xmpp.gateway_hops = vec![NextHop {
        addresses: vec!["192.0.2.30".parse().unwrap()],
        ..NextHop::new(domain(GATEWAY))
    }];
    rules.xmpp.partners = ["partner.example", "fabrikam.example"]
        .map(|name| XmppPartner { prefer, ..XmppPartner::new(domain(name)) })
        .to_vec();
    rules
}

fn world(prefer: Preferred) -> (World, LegId) {
    let mut world = World::with(with(prefer));
    let pool = world.pool();
    (world, pool)
}

fn asks_for(world: &World) -> Vec<String> {
    world.connects.iter().map(|connect| connect.server_name.to_string()).collect()
}

#[test]
fn a_message_to_a_domain_of_xmpp_alone_goes_to_the_gateway_unchanged() {
    for prefer in [Preferred::Xmpp, Preferred::Sip] {
        let (mut world, pool) = world(prefer);
        let marks = "ms-user-data: ms-federation=TRUE\r\nMs-Edge-Proxy-Message-Trust: x\r\n";
        world.send(pool, &request_with("MESSAGE", KIM, ROMEO, "m1", marks));
        assert_eq!(asks_for(&world), [GATEWAY], "{prefer:?}");
        assert!(world.questions.is_empty(), "nobody asks DNS for a stranger");
        let gateway = world.grant();
        let forwarded = world.read(gateway);
        assert!(forwarded.starts_with("MESSAGE sip:romeo@partner.example"), "{forwarded}");
        assert_eq!(header(&forwarded, "ms-user-data"), Some("ms-federation=TRUE"));
        assert_eq!(header(&forwarded, "Ms-Edge-Proxy-Message-Trust"), Some("x"));
        assert_eq!(header(&forwarded, "Max-Forwards"), Some("69"));
        let via = headers(&forwarded, "Via")[0];
        assert!(via.starts_with("SIP/2.0/TLS edge1.contoso.example:5061;branch="), "{via}");
        world.send(gateway, respond(&forwarded, 200).as_bytes());
        assert_eq!(status(&world.read(pool)), 200);
        assert_eq!(world.access.counters().requests_to_gateway, 1);
    }
}

#[test]
fn a_session_of_messages_crosses_without_a_record_route_and_a_call_does_not() {
    let (mut world, pool) = world(Preferred::Xmpp);
    world.send(pool, &request("INVITE", KIM, ROMEO, "i1"));
    let gateway = world.grant();
    let invite = world.read(gateway);
    assert!(invite.starts_with("INVITE "), "{invite}");
    assert_eq!(header(&invite, "Record-Route"), None);
    let presence = "Event: presence\r\nExpires: 3600\r\n";
    world.send(pool, &request_with("SUBSCRIBE", KIM, ROMEO, "s1", presence));
    assert!(world.read(gateway).starts_with("SUBSCRIBE "));
    world.read(pool);
    let other = "Event: conference\r\n";
    world.send(pool, &request_with("SUBSCRIBE", KIM, ROMEO, "s2", other));
    assert_eq!(status(&world.read(pool)), 403, "XMPP partners have no conferences");
    let call = String::from_utf8(request("INVITE", KIM, ROMEO, "i2")).unwrap();
    let body = "v=0\r\nm=audio 50000 RTP/AVP 0\r\n";
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    world.send(pool, call.replace("Content-Length: 2\r\n\r\nhi", &length).as_bytes());
    let answer = world.read(pool);
    assert_eq!(status(answer.rsplit("SIP/2.0 100").next().unwrap()), 403, "{answer}");
    assert_eq!(world.read(gateway), "");
}

#[test]
fn of_two_ways_the_preferred_one_is_taken() {
    let (mut world, pool) = self::world(Preferred::Xmpp);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    assert_eq!(asks_for(&world), [GATEWAY]);
    let (mut world, pool) = self::world(Preferred::Sip);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    world.resolve("sip.fabrikam.example");
    assert_eq!(asks_for(&world), ["sip.fabrikam.example"]);
}

#[test]
fn the_gateway_takes_what_sip_has_no_way_for() {
    let (mut world, pool) = world(Preferred::Sip);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    world.resolve_nothing(Failure::NoSuchService);
    assert_eq!(asks_for(&world), [GATEWAY]);
}

#[test]
fn a_side_that_cannot_be_connected_to_leaves_the_next_message_to_the_other() {
    let (mut world, pool) = self::world(Preferred::Sip);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    world.resolve("sip.fabrikam.example");
    world.deny(ConnectFailure::Unreachable);
    assert_eq!(status(&world.read(pool)), 504, "the one that waited is answered");
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m2"));
    assert_eq!(asks_for(&world), [GATEWAY]);

    let (mut world, pool) = self::world(Preferred::Xmpp);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    world.deny(ConnectFailure::Unreachable);
    assert!(status(&world.read(pool)) >= 500);
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m2"));
    world.resolve("sip.fabrikam.example");
    assert_eq!(asks_for(&world), ["sip.fabrikam.example"]);
    world.send(pool, &request("MESSAGE", KIM, ROMEO, "m3"));
    let answer = world.read(pool);
    assert!(status(&answer) >= 500, "the way that was meant is told, not the other: {answer}");
}

const SECOND: &str = "gw2.contoso.example";

/// A world of two gateways; their names, that of contoso's and the partner's pair first.
fn world_of_two() -> (World, LegId, [String; 2]) {
    let mut rules = with(Preferred::Xmpp);
    rules.internal_names.push(domain(SECOND));
    rules.xmpp.gateway_hops.push(NextHop {
        addresses: vec!["192.0.2.31".parse().unwrap()],
        ..NextHop::new(domain(SECOND))
    });
    let snapshot = compile(rules.clone(), 1).unwrap();
    let places = snapshot.gateways_of(&domain("contoso.example"), &domain("partner.example"));
    let name = |place: usize| snapshot.next_hops()[place].name.to_string();
    let names = [name(places[0]), name(places[1])];
    let mut world = World::with(rules);
    let pool = world.pool();
    (world, pool, names)
}

#[test]
fn of_several_gateways_that_of_the_pair_is_taken_and_the_next_when_it_is_not_reached() {
    let (mut world, pool, [first, second]) = world_of_two();
    assert_ne!(first, second);
    world.send(pool, &request("MESSAGE", KIM, ROMEO, "m1"));
    assert_eq!(asks_for(&world), [first.as_str()]);
    world.deny(ConnectFailure::Unreachable);
    assert_eq!(asks_for(&world), [second.as_str()], "the one that waited goes on");
    let gateway = world.grant();
    let forwarded = world.read(gateway);
    assert!(forwarded.starts_with("MESSAGE sip:romeo@partner.example"), "{forwarded}");
    world.send(gateway, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(pool)), 200);
}

#[test]
fn a_gateway_that_is_down_is_tried_beside_and_gets_its_pairs_again() {
    let (mut world, pool, [first, _]) = world_of_two();
    world.send(pool, &request("MESSAGE", KIM, ROMEO, "m1"));
    world.deny(ConnectFailure::Unreachable);
    let gateway = world.grant();
    world.read(gateway);
    world.send(pool, &request("MESSAGE", KIM, ROMEO, "m2"));
    assert!(world.read(gateway).starts_with("MESSAGE "), "at once");
    assert!(world.connects.is_empty(), "the first rests");
    world.pass(1_000);
    world.send(pool, &request("MESSAGE", KIM, ROMEO, "m3"));
    assert!(world.read(gateway).starts_with("MESSAGE "), "nothing waits for a trial");
    assert_eq!(asks_for(&world), [first.as_str()]);
    let back = world.grant();
    world.send(pool, &request("MESSAGE", KIM, ROMEO, "m4"));
    assert!(world.read(back).starts_with("MESSAGE "), "it has its pair again");
    assert_eq!(world.read(gateway), "");
}

#[test]
fn when_its_connection_is_lost_what_was_not_written_goes_to_the_next_gateway() {
    let (mut world, pool, [_, second]) = world_of_two();
    world.send(pool, &request_with("SUBSCRIBE", KIM, ROMEO, "s1", "Event: presence\r\n"));
    let gateway = world.grant();
    assert!(world.read(gateway).starts_with("SUBSCRIBE "));
    world.lose(gateway, 0);
    world.deny(ConnectFailure::Unreachable);
    assert_eq!(asks_for(&world), [second.as_str()], "a subscription may come twice");
    let gateway = world.grant();
    assert!(world.read(gateway).starts_with("SUBSCRIBE "));
}

#[test]
fn without_a_gateway_an_xmpp_partner_is_a_stranger_to_sip() {
    let mut rules = with(Preferred::Xmpp);
    rules.xmpp.gateway_hops.clear();
    let mut world = World::with(rules);
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, ROMEO, "m1"));
    assert_eq!(status(&world.read(pool)), 403);
    assert!(world.connects.is_empty());
}

#[test]
fn a_user_needs_the_right_to_xmpp_and_a_home_that_can() {
    let policy = |name: &str, xmpp| AccessPolicy {
        name: name.to_owned(),
        federation: true,
        xmpp,
        ..AccessPolicy::default()
    };
    let policies = vec![policy("global", false), policy("all", true)];
    let mut builder = DirectoryBuilder::new([1, 2], policies, MarksCount::Decide, 2);
    builder.add("kim", "contoso.example", "", "all", Home::Pool).unwrap();
    builder.add("bo", "contoso.example", "", "all", Home::BranchAppliance).unwrap();
    let snapshot = compile(with(Preferred::Xmpp), 2).expect("no contradiction");
    let (mut world, pool) = world(Preferred::Xmpp);
    world.publish(snapshot.with_directory(Arc::new(builder.finish())));
    world.send(pool, &request("MESSAGE", KIM, ROMEO, "m1"));
    let gateway = world.grant();
    assert!(world.read(gateway).starts_with("MESSAGE "));
    for (user, id) in [("max@contoso.example", "m2"), ("bo@contoso.example", "m3")] {
        world.send(pool, &request("MESSAGE", user, ROMEO, id));
        let answer = world.read(pool);
        assert_eq!(status(&answer), 403, "{user}: {answer}");
        assert!(header(&answer, "ms-diagnostics").unwrap().starts_with("1002;"), "{answer}");
        assert_eq!(world.read(gateway), "");
    }
    assert!(world.notes.last().unwrap().sentence.contains("branch appliance"));
}
