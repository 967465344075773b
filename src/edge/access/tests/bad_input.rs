//! What hostile and broken peers send, and that others are unharmed.

use super::world::{World, header, request, request_with, respond, rules, status};
use crate::limits;

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";

/// After whatever came before, an honest partner's message still passes.
fn others_are_unharmed(world: &mut World, partner: crate::edge::LegId, pool: crate::edge::LegId) {
    world.read(pool);
    world.read(partner);
    world.send(partner, &request("MESSAGE", JOHN, KIM, "proof"));
    let forwarded = world.read(pool);
    assert_eq!(header(&forwarded, "Call-ID"), Some("proof"), "{forwarded}");
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(partner)), 200);
}

fn refused(from_host: &str, bytes: &[u8], expected: u16, diagnostics: &str) {
    let mut world = World::new();
    let (good, pool) = world.fabrikam();
    let peer = world.partner(from_host);
    world.send(peer, bytes);
    let answer = world.read(peer);
    assert_eq!(status(&answer), expected, "{answer}");
    if !diagnostics.is_empty() {
        let line = header(&answer, "ms-diagnostics-public").unwrap_or_default();
        assert!(line.starts_with(diagnostics), "{answer}");
        assert_eq!(header(&answer, "ms-diagnostics"), None, "nothing inner goes out");
    }
    assert_eq!(world.read(pool), "", "nothing reaches the inside");
    others_are_unharmed(&mut world, good, pool);
}

#[test]
fn our_own_domain_claimed_from_outside_is_1017() {
    refused(
        "sip.fabrikam.example",
        &request("MESSAGE", "ceo@contoso.example", KIM, "x"),
        403,
        "1017",
    );
}

#[test]
fn a_blocked_domain_is_refused() {
    refused("sip.litware.example", &request("MESSAGE", "a@litware.example", KIM, "x"), 403, "");
}

#[test]
fn a_domain_that_the_peer_may_not_assert_is_refused() {
    refused("edge.northwind.example", &request("MESSAGE", JOHN, KIM, "x"), 403, "");
}

#[test]
fn a_request_for_a_foreign_domain_is_not_relayed() {
    refused(
        "sip.fabrikam.example",
        &request("MESSAGE", JOHN, "a@adatum.example", "x"),
        403,
        "1005",
    );
}

#[test]
fn a_route_to_an_inner_address_is_not_followed() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let lines = "Route: <sip:10.0.0.5:5060;lr>\r\n";
    world.send(partner, &request_with("MESSAGE", JOHN, KIM, "m1", lines));
    let forwarded = world.read(pool);
    assert_eq!(header(&forwarded, "Route"), None, "{forwarded}");
    assert!(world.connects.is_empty());
}

#[test]
fn a_contact_or_via_adds_no_address_to_connect_to() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let lines = "Contact: <sip:x@10.0.0.5;maddr=10.0.0.6>\r\n";
    world.send(
        partner,
        &request_with("MESSAGE", JOHN, "kim@contoso.example;maddr=10.0.0.7", "m1", lines),
    );
    let forwarded = world.read(pool);
    world.lose(partner, 0);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert!(world.connects.is_empty(), "{:?}", world.connects);
}

#[test]
fn methods_that_do_not_cross_are_1027() {
    for method in ["REGISTER", "SERVICE", "PUBLISH"] {
        refused("sip.fabrikam.example", &request(method, JOHN, KIM, "x"), 403, "1027");
    }
}

#[test]
fn s16_3_rejects_a_request_whose_max_forwards_is_zero() {
    let text = String::from_utf8(request("MESSAGE", JOHN, KIM, "x")).unwrap();
    let text = text.replace("Max-Forwards: 70", "Max-Forwards: 0");
    refused("sip.fabrikam.example", text.as_bytes(), 483, "");
}

#[test]
fn s16_3_names_the_extension_it_does_not_know() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request_with("MESSAGE", JOHN, KIM, "x", "Proxy-Require: foo, bar\r\n"));
    let answer = world.read(partner);
    assert_eq!(status(&answer), 420);
    assert_eq!(header(&answer, "Unsupported"), Some("foo, bar"));
    others_are_unharmed(&mut world, partner, pool);
}

#[test]
fn s16_3_unknown_schemes_are_416() {
    let text = String::from_utf8(request("MESSAGE", JOHN, KIM, "x")).unwrap();
    let text = text.replacen("sip:kim@contoso.example", "tel:+15551234", 1);
    refused("sip.fabrikam.example", text.as_bytes(), 416, "");
}

#[test]
fn malformed_requests_get_400_and_the_connection_stays() {
    for broken in
        [("CSeq: 1 MESSAGE", "CSeq: 1 INVITE"), ("Call-ID: x\r\n", ""), ("To: <sip:", "To: <<sip:")]
    {
        let text = String::from_utf8(request("MESSAGE", JOHN, KIM, "x")).unwrap();
        refused("sip.fabrikam.example", text.replacen(broken.0, broken.1, 1).as_bytes(), 400, "");
    }
}

#[test]
fn lost_framing_is_answered_and_the_connection_closed() {
    let mut world = World::new();
    let (good, pool) = world.fabrikam();
    for (what, with) in [("Content-Length: 2\r\n", ""), ("Content-Length: 2", "Content-Length: -2")]
    {
        let bad = world.partner("sip.fabrikam.example");
        let text = String::from_utf8(request("MESSAGE", JOHN, KIM, "x")).unwrap();
        world.send(bad, text.replace(what, with).as_bytes());
        assert_eq!(status(&world.read(bad)), 400);
        assert_eq!(world.closed.last(), Some(&bad));
    }
    others_are_unharmed(&mut world, good, pool);
}

#[test]
fn bytes_that_are_not_sip_close_the_connection() {
    let mut world = World::new();
    let (good, pool) = world.fabrikam();
    let bad = world.partner("sip.fabrikam.example");
    world.send(bad, &[b'\x16'; 70_000]);
    assert_eq!(world.closed, [bad]);
    others_are_unharmed(&mut world, good, pool);
}

#[test]
fn an_endless_head_closes_the_connection() {
    let mut world = World::new();
    let (good, pool) = world.fabrikam();
    let bad = world.partner("sip.fabrikam.example");
    let mut text = b"MESSAGE sip:kim@contoso.example SIP/2.0\r\n".to_vec();
    while text.len() <= limits::SIP_HEAD_BYTES_MAX + 100 {
        text.extend_from_slice(b"X-Long: ");
        text.extend(std::iter::repeat_n(b'x', 1000));
        text.extend_from_slice(b"\r\n");
    }
    world.send(bad, &text);
    assert_eq!(world.closed, [bad]);
    others_are_unharmed(&mut world, good, pool);
}

#[test]
fn a_body_over_the_limit_is_513() {
    let mut world = World::new();
    let bad = world.partner("sip.fabrikam.example");
    let text = String::from_utf8(request("MESSAGE", JOHN, KIM, "x")).unwrap();
    let text = text.replace("Content-Length: 2", "Content-Length: 99999999");
    world.send(bad, text.as_bytes());
    assert_eq!(status(&world.read(bad)), 513);
    assert_eq!(world.closed, [bad]);
}

#[test]
fn no_ack_is_ever_answered() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("ACK", "a@litware.example", KIM, "x"));
    world.send(partner, &request("BENOTIFY", "a@litware.example", KIM, "x"));
    assert_eq!(world.read(partner), "");
    assert_eq!(world.read(pool), "");
}

#[test]
fn a_pool_that_reads_nothing_gets_no_more_than_the_bound() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    for at in 0..2_000 {
        world.send(partner, &request("MESSAGE", JOHN, KIM, &format!("m{at}")));
        world.read(partner);
    }
    let held = world.effects.backlog(pool).unwrap();
    assert!(held <= limits::LEG_OUT_BYTES_MAX, "{held}");
}

#[test]
fn one_partner_cannot_take_every_transaction() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    for at in 0..900 {
        world.send(partner, &request("MESSAGE", JOHN, KIM, &format!("m{at}")));
        world.read(pool);
    }
    assert!(world.access.slots.unfinished() <= 500);
    let northwind = world.partner("edge.northwind.example");
    world.send(northwind, &request("MESSAGE", "n@northwind.example", KIM, "n1"));
    if !world.questions.is_empty() {
        world.resolve("edge.northwind.example");
    }
    assert!(world.read(pool).contains("Call-ID: n1\r\n"));
}

#[test]
fn a_discovered_partner_above_its_rate_is_held_back_with_480() {
    let mut rules = rules();
    rules.federation.discovery = true;
    let mut world = World::with(rules);
    let partner = world.partner("sip.adatum.example");
    let from = "a@adatum.example";
    world.send(partner, &request("MESSAGE", from, KIM, "m0"));
    world.resolve("sip.adatum.example");
    // A second's worth passes, two more are held, and what is left is too much.
    for at in 1..70 {
        world.send(partner, &request("MESSAGE", from, KIM, &format!("m{at}")));
    }
    let answers = world.read(partner);
    assert!(answers.contains("SIP/2.0 480 "), "{answers}");
    assert!(answers.contains("Retry-After: "));
}

#[test]
fn random_bytes_never_panic() {
    let mut world = World::new();
    let mut seed = 0x1234_5678_9abc_def0_u64;
    let template = request("INVITE", JOHN, KIM, "x");
    for _ in 0..2_000 {
        let mut bytes = template.clone();
        for _ in 0..8 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = usize::try_from(seed % bytes.len() as u64).unwrap();
            bytes[at] = (seed >> 32) as u8;
        }
        let peer = world.partner("sip.fabrikam.example");
        world.send(peer, &bytes);
        world.lose(peer, 0);
    }
}
