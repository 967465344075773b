//! INVITE, its dialog, CANCEL, ACK and the route tokens.

use super::world::{World, header, headers, request, request_with, respond, rules, status};
use crate::dns::Domain;
use crate::limits;

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";

/// A call from the partner, answered. Returns the route set each end would use.
fn call(world: &mut World, id: &str) -> (crate::edge::LegId, crate::edge::LegId, [String; 2]) {
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, id));
    let invite = world.read(pool);
    world.send(pool, respond(&invite, 180).as_bytes());
    assert_eq!(status(&world.read(partner)), 180);
    let ok = respond(&invite, 200);
    world.send(pool, ok.as_bytes());
    let answer = world.read(partner);
    assert_eq!(status(&answer), 200);
    let recorded = headers(&answer, "Record-Route");
    let callee = recorded.join(", ");
    let caller = recorded.iter().rev().copied().collect::<Vec<_>>().join(", ");
    (partner, pool, [caller, callee])
}

fn in_dialog(
    method: &str,
    from: &str,
    to: &str,
    tags: [&str; 2],
    id: &str,
    route: &str,
) -> Vec<u8> {
    String::from_utf8(request_with(method, from, to, id, &format!("Route: {route}\r\n")))
        .unwrap()
        .replace(&format!("<sip:{from}>;tag=f{id}"), &format!("<sip:{from}>;tag={}", tags[0]))
        .replace(&format!("To: <sip:{to}>"), &format!("To: <sip:{to}>;tag={}", tags[1]))
        .replace(";branch=z9hG4bK", ";branch=z9hG4bKd")
        .into_bytes()
}

/// Symptom: in-dialog requests through Kamailio ended in 478. Cause: our entries were written below
/// the top Via, so under Record-Route lines that stood above it. Scenario: a proxy before us that
/// writes its Record-Route before its Via.
#[test]
fn s16_6_4_our_record_routes_go_above_those_already_there() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let invite = request("INVITE", JOHN, KIM, "rr1");
    let text = String::from_utf8(invite).expect("text");
    let (line, rest) = text.split_once("\r\n").expect("a start line");
    let before = "Record-Route: <sip:sip.fabrikam.example;transport=tls;lr>\r\n";
    world.send(partner, format!("{line}\r\n{before}{rest}").as_bytes());
    let forwarded = world.read(pool);
    let routes = headers(&forwarded, "Record-Route");
    let hosts = ["lsedge.contoso.example", "sip.contoso.example", "sip.fabrikam.example"];
    assert_eq!(routes.len(), hosts.len(), "{forwarded}");
    for (route, host) in routes.iter().zip(hosts) {
        assert!(route.contains(host), "{routes:?}");
    }
}

#[test]
fn rfc5658_two_record_routes_the_inner_one_on_top() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    let invite = world.read(pool);
    let routes = headers(&invite, "Record-Route");
    assert!(routes[0].starts_with("<sip:lsedge.contoso.example:5061;transport=tls;lr;et="));
    assert!(routes[1].starts_with("<sip:sip.contoso.example:5061;transport=tls;lr;et="));
}

#[test]
fn a_dialog_carries_message_info_reinvite_and_bye_both_ways() {
    let mut world = World::new();
    let (partner, pool, [caller, callee]) = call(&mut world, "c1");
    world.send(partner, &in_dialog("ACK", JOHN, KIM, ["fc1", "t"], "c1", &caller));
    let ack = world.read(pool);
    assert!(ack.starts_with("ACK sip:kim@contoso.example"), "{ack}");
    assert_eq!(header(&ack, "Route"), None, "our entries are off");
    for method in ["MESSAGE", "INFO", "INVITE", "BYE"] {
        world.send(partner, &in_dialog(method, JOHN, KIM, ["fc1", "t"], "c1", &caller));
        let forwarded = world.read(pool);
        assert!(forwarded.starts_with(method), "{method}: {forwarded}");
        assert_eq!(header(&forwarded, "Record-Route"), None);
        world.send(pool, respond(&forwarded, 200).as_bytes());
        assert_eq!(status(&world.read(partner)), 200, "{method}");
    }
    // The callee's way: the edge connects to the partner for it.
    world.send(pool, &in_dialog("BYE", KIM, JOHN, ["t", "fc1"], "c1", &callee));
    if !world.questions.is_empty() {
        world.resolve("sip.fabrikam.example");
    }
    let out = world.grant();
    let bye = world.read(out);
    assert!(bye.starts_with("BYE "), "{bye}");
    world.send(out, respond(&bye, 200).as_bytes());
    assert_eq!(status(&world.read(pool)), 200);
}

#[test]
fn a_token_replaces_the_test_that_the_request_uri_is_ours() {
    let mut world = World::new();
    let (partner, pool, [caller, _]) = call(&mut world, "c1");
    let bye = String::from_utf8(in_dialog("BYE", JOHN, KIM, ["fc1", "t"], "c1", &caller))
        .unwrap()
        .replace("BYE sip:kim@contoso.example", "BYE sip:10.0.0.5:5061;transport=tls");
    world.send(partner, bye.as_bytes());
    assert!(world.read(pool).starts_with("BYE sip:10.0.0.5:5061"));
}

#[test]
fn a_token_of_another_dialog_side_or_key_is_481_and_says_1004() {
    let mut world = World::new();
    let (partner, pool, [caller, callee]) = call(&mut world, "c1");
    let other_dialog = in_dialog("BYE", JOHN, KIM, ["fc2", "t2"], "c2", &caller);
    let other_side = in_dialog("BYE", JOHN, KIM, ["fc1", "t"], "c1", &callee);
    let retired = caller.replace("et=00", "et=07");
    let retired = in_dialog("BYE", JOHN, KIM, ["fc1", "t"], "c1", &retired);
    for (what, bytes) in [("dialog", other_dialog), ("side", other_side), ("key", retired)] {
        world.send(partner, &bytes);
        let answer = world.read(partner);
        assert_eq!(status(&answer), 481, "{what}: {answer}");
        assert!(header(&answer, "ms-diagnostics-public").unwrap().starts_with("1004;"), "{what}");
        assert_eq!(world.read(pool), "", "{what}");
    }
}

#[test]
fn a_token_never_grants_a_permit_to_another_partner() {
    let mut world = World::new();
    let (_, pool, [caller, _]) = call(&mut world, "c1");
    let northwind = world.partner("edge.northwind.example");
    world.send(northwind, &in_dialog("BYE", JOHN, KIM, ["fc1", "t"], "c1", &caller));
    assert_eq!(status(&world.read(northwind)), 403);
    assert_eq!(world.read(pool), "");
}

#[test]
fn a_domain_blocked_in_mid_dialog_is_refused_at_the_next_message() {
    let mut world = World::new();
    let (partner, pool, [caller, _]) = call(&mut world, "c1");
    let mut blocked = rules();
    blocked.blocked.push(Domain::parse(b"fabrikam.example").unwrap().into());
    blocked.partners.retain(|rule| rule.domain.name().as_str() != "fabrikam.example");
    world.adopt(blocked, 2);
    world.send(partner, &in_dialog("INFO", JOHN, KIM, ["fc1", "t"], "c1", &caller));
    assert_eq!(status(&world.read(partner)), 403);
    assert_eq!(world.read(pool), "");
}

#[test]
fn s16_7_a_failure_is_acknowledged_here_and_the_senders_ack_ends_here() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    let invite = world.read(pool);
    world.send(pool, respond(&invite, 486).as_bytes());
    let ack = world.read(pool);
    assert!(ack.starts_with("ACK sip:kim@contoso.example SIP/2.0\r\n"), "{ack}");
    assert!(header(&ack, "To").unwrap().ends_with(";tag=t"));
    assert_eq!(header(&ack, "Via"), headers(&invite, "Via").first().copied());
    assert_eq!(status(&world.read(partner)), 486);
    let ack = String::from_utf8(request("ACK", JOHN, KIM, "c1"))
        .unwrap()
        .replace("z9hG4bKc1ACK", "z9hG4bKc1INVITE");
    world.send(partner, ack.as_bytes());
    assert_eq!(world.read(pool), "");
    assert_eq!(world.access.slots.unfinished(), 0);
}

fn cancel(id: &str) -> Vec<u8> {
    String::from_utf8(request("CANCEL", JOHN, KIM, id))
        .unwrap()
        .replace(&format!("z9hG4bK{id}CANCEL"), &format!("z9hG4bK{id}INVITE"))
        .into_bytes()
}

#[test]
fn s9_2_cancel_is_answered_and_passed_on_after_a_provisional_response() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    let invite = world.read(pool);
    world.send(partner, &cancel("c1"));
    assert_eq!(status(&world.read(partner)), 200);
    assert_eq!(world.read(pool), "", "not before a provisional response");
    world.send(pool, respond(&invite, 100).as_bytes());
    let passed = world.read(pool);
    assert!(passed.starts_with("CANCEL "), "{passed}");
    assert_eq!(header(&passed, "CSeq"), Some("1 CANCEL"));
    world.send(pool, respond(&passed, 200).as_bytes());
    world.send(pool, respond(&invite, 487).as_bytes());
    assert_eq!(status(&world.read(partner)), 487);
}

#[test]
fn s9_2_cancel_without_a_transaction_is_481() {
    let mut world = World::new();
    let (partner, _) = world.fabrikam();
    world.send(partner, &cancel("c9"));
    assert_eq!(status(&world.read(partner)), 481);
}

#[test]
fn rfc2543_cancel_and_ack_match_an_invite_without_a_branch() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let bare = |method: &str| {
        String::from_utf8(request(method, JOHN, KIM, "c1"))
            .unwrap()
            .replace(&format!(";branch=z9hG4bKc1{method}"), "")
            .into_bytes()
    };
    world.send(partner, &bare("INVITE"));
    let invite = world.read(pool);
    world.send(partner, &bare("CANCEL"));
    assert_eq!(status(&world.read(partner)), 200);
    world.send(pool, respond(&invite, 180).as_bytes());
    assert!(world.read(pool).starts_with("CANCEL "));
    world.send(pool, respond(&invite, 487).as_bytes());
    world.read(pool);
    world.send(partner, &bare("ACK"));
    assert_eq!(world.read(pool), "", "the ACK ends here");
}

#[test]
fn s16_8_timer_c_cancels_downstream_and_408_goes_up() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    let invite = world.read(pool);
    world.send(pool, respond(&invite, 180).as_bytes());
    world.read(partner);
    world.pass(limits::TIMER_C_MS + 1);
    assert!(world.read(pool).starts_with("CANCEL "));
    world.pass(limits::TIMER_F_MS + 1);
    assert_eq!(status(&world.read(partner)), 408);
}

#[test]
fn rfc6026_a_second_2xx_of_another_fork_passes_too() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    let invite = world.read(pool);
    for tag in ["t", "u"] {
        world.send(
            pool,
            respond(&invite, 200).replace(";tag=t\r\n", &format!(";tag={tag}\r\n")).as_bytes(),
        );
        let answer = world.read(partner);
        assert_eq!(status(&answer), 200);
        assert!(header(&answer, "To").unwrap().ends_with(tag));
    }
    world.pass(limits::TIMER_L_MS + 1);
    world.send(pool, respond(&invite, 200).as_bytes());
    assert_eq!(world.read(partner), "");
}

#[test]
fn a_request_that_comes_back_is_a_loop() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    let forwarded = world.read(pool);
    // The pool sends it back out by mistake, and the partner returns it as it went.
    let returned =
        forwarded.replacen("Via: ", "Via: SIP/2.0/TLS 198.51.100.9;branch=z9hG4bKx\r\nVia: ", 1);
    world.send(partner, returned.as_bytes());
    assert_eq!(status(&world.read(partner)), 482);
}

#[test]
fn a_repeated_invite_is_absorbed() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    assert!(world.read(pool).starts_with("INVITE "));
    world.send(partner, &request("INVITE", JOHN, KIM, "c1"));
    assert_eq!(world.read(pool), "");
}

/// A strict router writes our entry into the Request-URI and the remote target at the end.
fn through_a_strict_router(request: Vec<u8>, remote_target: &str) -> Vec<u8> {
    let text = String::from_utf8(request).expect("text");
    let (line, rest) = text.split_once("\r\n").expect("a start line");
    let method = line.split(' ').next().expect("a method");
    let route = header(rest, "Route").expect("a route set");
    let mut entries: Vec<&str> = route.split(", ").collect();
    let first = entries.remove(0).trim_start_matches('<').trim_end_matches('>');
    let target = format!("<{remote_target}>");
    entries.push(&target);
    let routes = format!("Route: {}\r\n", entries.join(", "));
    let rest = rest.replace(&format!("Route: {route}\r\n"), &routes);
    format!("{method} {first} SIP/2.0\r\n{rest}").into_bytes()
}

#[test]
fn s16_4_what_a_strict_router_did_is_undone_before_the_request_is_judged() {
    let mut world = World::new();
    let (partner, pool, [caller, callee]) = call(&mut world, "c1");
    let target = "sip:10.0.0.5:5061;transport=tls";
    for method in ["ACK", "INFO"] {
        let request = in_dialog(method, JOHN, KIM, ["fc1", "t"], "c1", &caller);
        world.send(partner, &through_a_strict_router(request, target));
        let forwarded = world.read(pool);
        assert!(forwarded.starts_with(&format!("{method} {target} SIP/2.0")), "{forwarded}");
        assert_eq!(header(&forwarded, "Route"), None, "{forwarded}");
    }
    let target = "sip:john@198.51.100.9:5061;transport=tls";
    let request = in_dialog("BYE", KIM, JOHN, ["t", "fc1"], "c1", &callee);
    world.send(pool, &through_a_strict_router(request, target));
    if !world.questions.is_empty() {
        world.resolve("sip.fabrikam.example");
    }
    let out = world.grant();
    let bye = world.read(out);
    assert!(bye.starts_with(&format!("BYE {target} SIP/2.0")), "{bye}");
}

#[test]
fn s16_4_a_route_token_of_another_dialog_in_the_request_uri_is_481() {
    let mut world = World::new();
    let (partner, _, [caller, _]) = call(&mut world, "c1");
    let foreign = in_dialog("INFO", JOHN, KIM, ["fc2", "t2"], "c2", &caller);
    world.send(partner, &through_a_strict_router(foreign, "sip:10.0.0.5:5061"));
    assert_eq!(status(&world.read(partner)), 481);
}
