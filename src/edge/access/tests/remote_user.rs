//! Own users outside: 443, Path, flows.

use super::world::{World, header, headers, request, request_with, respond, rules, status};

const KIM: &str = "kim@contoso.example";
const JOHN: &str = "john@fabrikam.example";

#[test]
fn register_gets_a_path_with_the_flow_and_credentials_pass() {
    let mut world = World::new();
    let user = world.user();
    let lines = "Contact: <sip:10.1.1.1:5060;transport=tls>;proxy=replace;expires=60\r\n\
                 Authorization: NTLM xyz\r\nms-edge-proxy-message-trust: forged\r\n";
    world.send(user, &request_with("REGISTER", KIM, KIM, "r1", lines));
    let pool = world.grant();
    let forwarded = world.read(pool);
    let path = header(&forwarded, "Path").expect("a Path");
    assert!(path.contains("@edge1.contoso.example:5061;transport=tls;lr>"), "{path}");
    assert_eq!(header(&forwarded, "Authorization"), Some("NTLM xyz"));
    assert_eq!(headers(&forwarded, "ms-edge-proxy-message-trust").len(), 1);
    assert!(forwarded.contains("ms-source-type=InternetUser;"));
    let contact = header(&forwarded, "Contact").unwrap();
    assert!(contact.starts_with("<sip:192.0.2.77:"), "{contact}");
    assert!(!contact.contains("proxy=replace"));
    assert!(contact.contains(";expires=60"));
    // The pool's challenge goes back whole.
    world.send(
        pool,
        respond(&forwarded, 401)
            .replace("Content-Length", "WWW-Authenticate: NTLM\r\nContent-Length")
            .as_bytes(),
    );
    let answer = world.read(user);
    assert_eq!(header(&answer, "WWW-Authenticate"), Some("NTLM"));
}

#[test]
fn the_pool_reaches_the_user_by_the_path_and_a_lost_flow_is_430() {
    let mut world = World::new();
    let user = world.user();
    world.send(user, &request("REGISTER", KIM, KIM, "r1"));
    let pool = world.grant();
    let path = header(&world.read(pool), "Path").unwrap().to_owned();
    let route = format!("Route: {path}\r\n");
    world.send(pool, &request_with("MESSAGE", "lee@contoso.example", KIM, "m1", &route));
    let forwarded = world.read(user);
    assert!(forwarded.starts_with("MESSAGE "), "{forwarded}");
    assert_eq!(header(&forwarded, "Route"), None);
    world.send(user, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(pool)), 200);
    world.lose(user, 0);
    world.send(pool, &request_with("MESSAGE", "lee@contoso.example", KIM, "m2", &route));
    assert_eq!(status(&world.read(pool)), 430);
}

#[test]
fn a_user_and_a_partner_talk_through_one_edge_and_it_is_no_loop() {
    let mut world = World::new();
    let user = world.user();
    world.send(user, &request("INVITE", KIM, JOHN, "c1"));
    let pool = world.grant();
    let inside = world.read(pool);
    assert!(inside.starts_with("INVITE sip:john@fabrikam.example"), "{inside}");
    // The pool sends it on to the edge, its own Via above ours.
    let onward = inside.replacen(
        "Via: ",
        "Via: SIP/2.0/TLS pool.contoso.example;branch=z9hG4bKp\r\nVia: ",
        1,
    );
    world.send(pool, onward.as_bytes());
    world.resolve("sip.fabrikam.example");
    let partner = world.grant();
    let outside = world.read(partner);
    assert!(outside.starts_with("INVITE sip:john@fabrikam.example"), "{outside}");
    world.send(partner, respond(&outside, 200).as_bytes());
    let back_inside = world.read(pool);
    assert_eq!(status(&back_inside), 200);
    let up =
        back_inside.replacen("Via: SIP/2.0/TLS pool.contoso.example;branch=z9hG4bKp", "X: y", 1);
    let up = up.split("\r\n").filter(|l| !l.starts_with("X: y")).collect::<Vec<_>>().join("\r\n");
    world.send(pool, up.as_bytes());
    assert_eq!(status(&world.read(user)), 200);
}

#[test]
fn a_stranger_on_443_is_refused() {
    let mut world = World::new();
    let user = world.user();
    world.send(user, &request("MESSAGE", JOHN, KIM, "m1"));
    let answer = world.read(user);
    assert_eq!(status(&answer), 403);
    // lync-federation 12.1: whoever is outside and unknown gets neither names nor sentences.
    assert_eq!(header(&answer, "ms-diagnostics"), None, "{answer}");
    assert!(!answer.contains("lsedge.contoso.example"), "{answer}");
    assert!(header(&answer, "ms-diagnostics-public").is_some());
    assert!(world.connects.is_empty());
}

#[test]
fn remote_users_can_be_switched_off() {
    let mut rules = rules();
    rules.remote_users.enabled = false;
    let mut world = World::with(rules);
    let user = world.user();
    world.send(user, &request("REGISTER", KIM, KIM, "r1"));
    assert_eq!(status(&world.read(user)), 403);
}

#[test]
fn failed_sign_ins_of_one_user_are_limited_and_another_user_is_not() {
    let mut world = World::new();
    let user = world.user();
    let bad =
        |id: &str, who: &str| request_with("REGISTER", who, who, id, "Authorization: bad\r\n");
    world.send(user, &bad("r0", KIM));
    let pool = world.grant();
    for at in 1..=10 {
        let forwarded = world.read(pool);
        world.send(pool, respond(&forwarded, 403).as_bytes());
        assert_eq!(status(&world.read(user)), 403);
        world.send(user, &bad(&format!("r{at}"), KIM));
    }
    assert_eq!(world.read(pool), "", "the eleventh is not even tried");
    assert!(header(&world.read(user), "Retry-After").is_some());
    world.send(user, &bad("other", "lee@contoso.example"));
    assert!(world.read(pool).starts_with("REGISTER "));
}

#[test]
fn a_users_dialog_comes_back_by_its_flow() {
    let mut world = World::new();
    let user = world.user();
    world.send(user, &request("INVITE", KIM, "lee@contoso.example", "c1"));
    let pool = world.grant();
    let invite = world.read(pool);
    let routes = headers(&invite, "Record-Route");
    assert_eq!(routes.len(), 2);
    let route = format!("Route: {}\r\n", routes.join(", "));
    world.send(pool, respond(&invite, 200).as_bytes());
    world.read(user);
    let bye = String::from_utf8(request_with("BYE", "lee@contoso.example", KIM, "c1", &route))
        .unwrap()
        .replace(";tag=fc1", ";tag=t")
        .replace("To: <sip:kim@contoso.example>", "To: <sip:kim@contoso.example>;tag=fc1");
    world.send(pool, bye.as_bytes());
    assert!(world.read(user).starts_with("BYE "));
}
