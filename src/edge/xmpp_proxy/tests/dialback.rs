use super::world::*;
use crate::dns::Failure;
use crate::edge::xmpp_link::Proof;
use crate::limits;

/// tailspin.example claims its domain on a stream over TLS; returns the stream and its id.
fn claim(world: &mut World) -> (crate::edge::LegId, String) {
    let leg = world.tls_server(&[]);
    let answer = world.say(leg, &header("tailspin.example", "contoso.example"));
    assert!(answer.contains("<dialback xmlns='urn:xmpp:features:dialback'><errors/>"), "{answer}");
    assert!(!answer.contains("EXTERNAL"));
    let text = "<db:result from='tailspin.example' to='contoso.example'>k3y</db:result>";
    assert_eq!(world.say(leg, text), "");
    (leg, attribute(&answer, "id"))
}

/// Our stream to the authoritative server of tailspin.example, up to its features over TLS.
fn ask(world: &mut World) -> (crate::edge::LegId, String) {
    world.resolve_to(&["xmpp.tailspin.example"], &["192.0.2.60"], true);
    let leg = world.grant(&[]);
    world.read(leg);
    let answer = header_with_id("tailspin.example", "contoso.example", "t1") + &features(DIALBACK);
    let asked = world.say(leg, &answer);
    (leg, asked)
}

#[test]
fn a_claim_is_verified_by_the_domains_own_server() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let (leg, id) = claim(&mut world);
    let (out, asked) = ask(&mut world);
    let expected = format!(
        "<db:verify from='contoso.example' to='tailspin.example' id='{id}'>k3y</db:verify>"
    );
    assert_eq!(asked, expected, "the question alone: nothing of ours is to be proved");
    let valid =
        format!("<db:verify from='tailspin.example' to='contoso.example' id='{id}' type='valid'/>");
    world.say(out, &valid);
    let told = world.read(leg);
    assert_eq!(told, "<db:result from='contoso.example' to='tailspin.example' type='valid'/>");
    world.say(leg, &message("a@tailspin.example", "kim@contoso.example", "m"));
    world.exchange(&mut gateway);
    assert_eq!(gateway.stanzas[0].1.proof, Proof::Dialback);
}

#[test]
fn a_partner_that_knocks_while_its_name_leads_nowhere_leaves_the_pace_alone() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "a@tailspin.example", "m");
    world.resolve_nothing(Failure::ServerFailure);
    for _ in 0..5 {
        let leg = world.tls_server(&[]);
        world.say(leg, &header("tailspin.example", "contoso.example"));
        let claim = "<db:result from='tailspin.example' to='contoso.example'>k3y</db:result>";
        let told = world.say(leg, claim);
        assert!(
            told.contains("<remote-server-timeout"),
            "what is known is no longer asked: {told}"
        );
    }
    let routes = &world.proxy.routes;
    let route = routes.get(routes.find("contoso.example", "tailspin.example").unwrap()).unwrap();
    assert_eq!(route.failures, 1, "the claims' rounds were out of turn");
    assert!(route.rest_until <= world.now.monotonic.plus_ms(limits::XMPP_REST_MS));
}

#[test]
fn a_wrong_key_ends_the_stream() {
    let mut world = World::new();
    let (leg, id) = claim(&mut world);
    let (out, _) = ask(&mut world);
    let invalid = format!(
        "<db:verify from='tailspin.example' to='contoso.example' id='{id}' type='invalid'/>"
    );
    world.say(out, &invalid);
    let told = world.read(leg);
    assert!(
        told.starts_with(
            "<db:result from='contoso.example' to='tailspin.example' type='invalid'/>"
        )
    );
    assert!(ends_with_error(&told, "not-authorized"), "{told}");
    assert_eq!(world.proxy.counters().dialback_denied, 1);
}

#[test]
fn an_answer_of_somebody_else_verifies_nothing() {
    let mut world = World::new();
    let (leg, id) = claim(&mut world);
    let (out, _) = ask(&mut world);
    for (from, to, id) in [
        ("google.example", "contoso.example", id.as_str()),
        ("tailspin.example", "emea.example", id.as_str()),
        ("tailspin.example", "contoso.example", "other"),
    ] {
        world.say(out, &format!("<db:verify from='{from}' to='{to}' id='{id}' type='valid'/>"));
        assert_eq!(world.read(leg), "");
    }
    let stray = world.fabrikam();
    let valid =
        format!("<db:verify from='tailspin.example' to='contoso.example' id='{id}' type='valid'/>");
    assert!(ends_with_error(&world.say(stray, &valid), "unsupported-stanza-type"));
    assert_eq!(world.read(leg), "");
}

#[test]
fn a_claim_that_cannot_be_verified_is_answered_with_an_error() {
    let mut world = World::new();
    let (leg, _) = claim(&mut world);
    world.resolve_nothing(crate::dns::Failure::NoSuchService);
    let told = world.read(leg);
    assert!(told.contains("type='error'") && told.contains("remote-server-not-found"), "{told}");
    let mut world = World::new();
    let (leg, _) = claim(&mut world);
    world.pass(61_000);
    let told = world.read(leg);
    assert!(told.contains("remote-server") || told.contains("connection-timeout"), "{told}");
}

#[test]
fn we_answer_for_keys_of_the_pool() {
    let mut world = World::new();
    let leg = world.tls_server(&[]);
    world.say(leg, &header("tailspin.example", "contoso.example"));
    let key = key("tailspin.example", "contoso.example", "D60000229F");
    let ask = |key: &str| {
        format!(
            "<db:verify from='tailspin.example' to='contoso.example' id='D60000229F'>{key}\
             </db:verify>"
        )
    };
    let answer = world.say(leg, &ask(&key));
    assert_eq!(
        answer,
        "<db:verify from='contoso.example' to='tailspin.example' id='D60000229F' type='valid'/>"
    );
    assert!(world.say(leg, &ask("0123")).contains("type='invalid'"));
    let counters = world.proxy.counters();
    assert_eq!((counters.dialback_keys_valid, counters.dialback_keys_invalid), (1, 1));
}

#[test]
fn a_certificate_that_carries_the_domain_spares_the_question() {
    let mut world = World::new();
    let leg = world.tls_server(&["tailspin.example"]);
    world.say(leg, &header("tailspin.example", "contoso.example"));
    let text = "<db:result from='tailspin.example' to='contoso.example'>k3y</db:result>";
    let told = world.say(leg, text);
    assert_eq!(told, "<db:result from='contoso.example' to='tailspin.example' type='valid'/>");
    assert!(world.questions.is_empty());
}

#[test]
fn further_pairs_come_by_dialback_on_the_same_stream() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let leg = world.tls_server(&["tailspin.example", "chat.tailspin.example"]);
    world.say(leg, &header("tailspin.example", "contoso.example"));
    for (from, to) in
        [("tailspin.example", "contoso.example"), ("chat.tailspin.example", "emea.example")]
    {
        let told = world.say(leg, &format!("<db:result from='{from}' to='{to}'>k</db:result>"));
        assert!(told.contains("type='valid'"), "{told}");
    }
    world.say(leg, &message("a@chat.tailspin.example", "kim@emea.example", "m"));
    world.exchange(&mut gateway);
    assert_eq!(gateway.stanzas.len(), 1);
    let forged = world.say(leg, &message("a@chat.tailspin.example", "kim@contoso.example", "m"));
    assert!(ends_with_error(&forged, "invalid-from"), "a pair that was not authenticated");
}

#[test]
fn claims_that_policy_refuses_ask_nothing() {
    let mut world = World::new();
    let leg = world.tls_server(&[]);
    world.say(leg, &header("tailspin.example", "contoso.example"));
    for (from, to, condition) in [
        ("unlisted.example", "contoso.example", "policy-violation"),
        ("tailspin.example", "other.example", "item-not-found"),
        ("google.example", "contoso.example", "policy-violation"),
    ] {
        let told = world.say(leg, &format!("<db:result from='{from}' to='{to}'>k</db:result>"));
        assert!(told.contains("type='error'") && told.contains(condition), "{told}");
    }
    assert!(world.questions.is_empty() && world.connects.is_empty());
}

#[test]
fn few_claims_of_one_partner_wait_at_once() {
    let mut world = World::new();
    let mut refused = 0;
    for _ in 0..crate::limits::XMPP_CLAIMS_PER_PARTNER_MAX + 3 {
        let leg = world.tls_server(&[]);
        world.say(leg, &header("tailspin.example", "contoso.example"));
        let text = "<db:result from='tailspin.example' to='contoso.example'>k</db:result>";
        refused += usize::from(world.say(leg, text).contains("resource-constraint"));
    }
    assert_eq!(refused, 3);
    assert_eq!(world.questions.len(), 1);
}

#[test]
fn ours_is_proved_by_the_key_that_xep_0185_gives() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "a@tailspin.example", "m1");
    let (out, said) = ask(&mut world);
    let expected = key("tailspin.example", "contoso.example", "t1");
    assert_eq!(
        said,
        format!("<db:result from='contoso.example' to='tailspin.example'>{expected}</db:result>")
    );
    let sent =
        world.say(out, "<db:result from='tailspin.example' to='contoso.example' type='valid'/>");
    assert!(sent.contains("id='m1'"), "{sent}");
    world.pass(10);
    world.exchange(&mut gateway);
    assert_eq!(gateway.taken, ["m1"]);
}
