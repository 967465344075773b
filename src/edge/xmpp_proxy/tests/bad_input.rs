//! What peers may not do: the RFC's own error, the stream closed, and nobody else's notices.

use super::world::*;
use crate::edge::{CloseReason, LegId};

/// Runs `bad` on a stream and checks that a good one beside it goes on working.
fn nobody_else_notices(bad: impl FnOnce(&mut World) -> (LegId, String), condition: &str) {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let good = world.fabrikam();
    let (leg, answer) = bad(&mut world);
    assert!(ends_with_error(&answer, condition), "expected {condition}: {answer}");
    assert!(world.is_closed(leg));
    world.lose(leg, 0);
    assert!(!world.is_closed(good) && !world.is_closed(gateway.leg));
    assert_eq!(world.say(good, &message("j@fabrikam.example", "kim@contoso.example", "ok")), "");
    world.exchange(&mut gateway);
    assert_eq!(gateway.stanzas.len(), 1, "only the good stanza came through");
    assert!(world.questions.is_empty() && world.connects.is_empty());
}

fn authenticated(text: &str, condition: &str) {
    let bad = |world: &mut World| {
        let leg = world.fabrikam();
        (leg, world.say(leg, text))
    };
    nobody_else_notices(bad, condition);
}

fn before_authentication(text: &str, condition: &str) {
    let bad = |world: &mut World| {
        let leg = world.server();
        world.say(leg, &header("fabrikam.example", "contoso.example"));
        (leg, world.say(leg, text))
    };
    nobody_else_notices(bad, condition);
}

#[test]
fn malformed_xml() {
    authenticated(
        "<message from='a@fabrikam.example' to='b@contoso.example'></presence>",
        "not-well-formed",
    );
    before_authentication("<a></b>", "not-well-formed");
    authenticated("<!-- comment -->", "restricted-xml");
    authenticated("<?target?>", "restricted-xml");
}

#[test]
fn entity_tricks() {
    authenticated(
        "<message from='a@fabrikam.example' to='b@contoso.example'><body>&lol;</body></message>",
        "restricted-xml",
    );
    nobody_else_notices(
        |world| {
            let leg = world.server();
            (leg, world.say(leg, "<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>"))
        },
        "restricted-xml",
    );
}

#[test]
fn forged_from() {
    authenticated(&message("kim@contoso.example", "kim@contoso.example", "f"), "invalid-from");
    authenticated(&message("a@tailspin.example", "kim@contoso.example", "f"), "invalid-from");
    authenticated(&message("a@chat.fabrikam.example", "kim@contoso.example", "f"), "invalid-from");
    authenticated(&message("a@fabrikam.example", "kim@other.example", "f"), "host-unknown");
    authenticated("<message to='kim@contoso.example'/>", "improper-addressing");
    authenticated("<message from='a@fabrikam.example'/>", "improper-addressing");
}

#[test]
fn unauthenticated_stanzas() {
    before_authentication(
        &message("a@fabrikam.example", "kim@contoso.example", "f"),
        "not-authorized",
    );
    before_authentication("<enable xmlns='urn:xmpp:sm:3'/><x xmlns='y'/>", "not-authorized");
}

#[test]
fn a_stanza_over_the_limit() {
    let body = "x".repeat(300_000);
    authenticated(
        &format!("<message from='a@fabrikam.example' to='b@contoso.example'><body>{body}"),
        "policy-violation",
    );
    before_authentication(&format!("<auth>{body}"), "policy-violation");
}

#[test]
fn deep_nesting() {
    let deep = "<x>".repeat(70);
    authenticated(
        &format!("<message from='a@fabrikam.example' to='b@contoso.example'>{deep}"),
        "policy-violation",
    );
    before_authentication(&"<x>".repeat(9), "policy-violation");
}

#[test]
fn a_slow_header() {
    let mut world = World::new();
    let good = world.fabrikam();
    let leg = world.server();
    let text = header("fabrikam.example", "contoso.example");
    for byte in text.chars().take(59) {
        world.say(leg, &byte.to_string());
        world.pass(1_000);
    }
    assert!(!world.is_closed(leg));
    world.pass(2_000);
    let answer = world.read(leg);
    assert!(ends_with_error(&answer, "connection-timeout"), "{answer}");
    assert!(world.closed.contains(&(leg, CloseReason::Abuse)) && !world.is_closed(good));
}

#[test]
fn all_that_is_sent_before_authentication_is_bounded() {
    let mut world = World::new();
    let leg = world.server();
    let mut answer = world.say(leg, &header("google.example", "contoso.example"));
    let verify = format!(
        "<db:verify from='google.example' to='contoso.example' id='1'>{}</db:verify>",
        "0".repeat(400)
    );
    for _ in 0..200 {
        answer = world.say(leg, &verify);
        if world.is_closed(leg) {
            break;
        }
    }
    assert!(ends_with_error(&answer, "policy-violation"), "{answer}");
}

#[test]
fn going_on_in_the_clear_behind_starttls_is_no_part_of_the_encrypted_stream() {
    nobody_else_notices(
        |world| {
            let leg = world.server();
            world.say(leg, &header("fabrikam.example", "contoso.example"));
            world.say(leg, STARTTLS);
            let answer = world.say(leg, &header("fabrikam.example", "contoso.example"));
            // The stream's header of the clear part is there already.
            (leg, answer)
        },
        "policy-violation",
    );
}

#[test]
fn starttls_where_it_is_not_offered_fails() {
    let mut world = World::new();
    let leg = world.server();
    world.say(leg, &header("google.example", "contoso.example"));
    let answer = world.say(leg, STARTTLS);
    assert!(answer.starts_with("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'"), "{answer}");
    assert!(world.is_closed(leg) && world.starttls.is_empty());
}

#[test]
fn a_malformed_addressee_is_answered_and_the_stream_goes_on() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let out = world.ours_to_fabrikam(&mut gateway, "");
    let leg = world.fabrikam();
    assert_eq!(world.say(leg, &message("a@fabrikam.example", "@contoso.example", "m")), "");
    let answer = world.read(out);
    assert!(answer.contains("jid-malformed"), "{answer}");
    assert!(!world.is_closed(leg));
}

#[test]
fn notes_have_no_user_parts_and_no_bodies() {
    let mut world = World::new();
    let leg = world.fabrikam();
    world.say(leg, &message("secretuser@tailspin.example", "kim@contoso.example", "f"));
    world.say(leg, &message("secretuser@fabrikam.example", "kim@contoso.example", "f"));
    for note in &world.notes {
        let sentence = &note.sentence;
        assert!(!sentence.contains("secretuser") && !sentence.contains("kim"), "{sentence}");
        assert!(!sentence.contains("Hi"), "{sentence}");
    }
    assert!(!world.notes.is_empty());
}
