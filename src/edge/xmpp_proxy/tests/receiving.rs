use std::sync::Arc;

use super::world::*;
use crate::edge::xmpp_link::Proof;
use crate::edge::xmpp_proxy::Setup;
use crate::edge::{RefusedBy, Said};
use crate::policy::{Telling, XmppKind};

#[test]
fn a_partner_comes_in_by_starttls_and_certificate() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let leg = world.server();
    let answer = world.say(leg, &header("fabrikam.example", "contoso.example"));
    assert!(answer.contains(" from='contoso.example' to='fabrikam.example' id='"), "{answer}");
    assert!(answer.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/>"));
    assert!(!answer.contains("EXTERNAL") && !answer.contains("dialback/>"));
    assert!(world.say(leg, STARTTLS).starts_with("<proceed"));
    world.secure(leg, &["fabrikam.example"]);
    let second = world.say(leg, &header("fabrikam.example", "contoso.example"));
    assert_ne!(attribute(&answer, "id"), attribute(&second, "id"), "a stream begun anew");
    assert!(second.contains("EXTERNAL") && second.contains("urn:xmpp:features:bidi"), "{second}");
    assert!(!second.contains("<starttls"));
    assert!(world.say(leg, AUTH).contains("<success"));
    let third = world.say(leg, &header("fabrikam.example", "contoso.example"));
    assert!(third.contains("urn:xmpp:sm:3") && !third.contains("EXTERNAL"), "{third}");
    let text = message("john@fabrikam.example/x", "kim@contoso.example", "m1");
    assert_eq!(world.say(leg, &text), "");
    world.exchange(&mut gateway);
    let (text, origin) = &gateway.stanzas[0];
    assert!(text.contains("<body>Hi</body>") && text.contains("id='m1'"), "{text}");
    assert_eq!(origin.partner, domain("fabrikam.example"));
    assert_eq!((origin.kind, origin.proof), (XmppKind::PublicUnverified, Proof::External));
    assert_eq!(world.proxy.counters().messages_in, 1);
}

#[test]
fn what_passes_is_explained_where_that_was_asked_for() {
    let explaining = Setup { explain: true, ..Setup::single([3, 5], SECRET) };
    let mut with_bodies = rules();
    with_bodies.xmpp.log_bodies = true;
    for (rules, setup, told, body) in [
        (rules(), Setup::single([3, 5], SECRET), 0, ""),
        (rules(), explaining.clone(), 1, ""),
        (with_bodies.clone(), Setup::single([3, 5], SECRET), 0, ""),
        (with_bodies, explaining, 1, ": \"Hi\""),
    ] {
        let mut world = World::of(Arc::new(snapshot(rules, 1)), setup);
        let mut gateway = world.gateway("gw1.contoso.example");
        let leg = world.tls_server(&["fabrikam.example"]);
        world.say(leg, &header("fabrikam.example", "contoso.example"));
        world.say(leg, AUTH);
        world.say(leg, &header("fabrikam.example", "contoso.example"));
        world.notes.clear();
        world.say(leg, &message("john@fabrikam.example/x", "kim@contoso.example", "m1"));
        world.exchange(&mut gateway);
        let sentences: Vec<_> = world.notes.iter().map(|note| note.sentence.as_str()).collect();
        let expected = format!(
            "message forwarded, XMPP partner to inside: listed partner domain fabrikam.example, \
             public_unverified (xmpp_partner[0]), by its certificate{body}"
        );
        assert_eq!(sentences, vec![expected.as_str(); told]);
    }
}

#[test]
fn a_refused_stream_has_a_number_in_its_error_the_log_and_the_decision_log() {
    let telling = Telling { verdicts: true, ..Telling::default() };
    let policy = snapshot(rules(), 1).with_telling(telling);
    let mut world = World::of(Arc::new(policy), Setup::single([3, 5], SECRET));
    let mut numbers = Vec::new();
    for (theirs, ours) in [
        ("stranger.example", "contoso.example"),
        ("fabrikam.example", "other.example"),
        ("stranger.example", "contoso.example"),
    ] {
        let leg = world.server();
        let answer = world.say(leg, &header(theirs, ours));
        let note = world.notes.last().expect("the end of a stream is told");
        assert_ne!(note.decision_id, 0, "{}", note.sentence);
        let number = format!("decision={:016x}</text>", note.decision_id);
        assert!(answer.contains(&number), "{answer}");
        numbers.push(note.decision_id);
    }
    let told: Vec<_> = world.decided.iter().map(|decided| decided.decision_id).collect();
    assert_eq!(told, numbers[..2], "the same refusal is told once");
    let first = &world.decided[0];
    assert_eq!(first.from, domain("stranger.example"));
    assert_eq!(first.to, Some(domain("contoso.example")));
    assert!(matches!(&first.said, Said::Refused { by: RefusedBy::Stream, status: 0, .. }));
}

#[test]
fn external_is_offered_only_to_a_certificate_that_carries_the_domain() {
    let mut world = World::new();
    for hosts in [&[][..], &["other.example"][..]] {
        let leg = world.tls_server(hosts);
        let answer = world.say(leg, &header("fabrikam.example", "contoso.example"));
        assert!(!answer.contains("EXTERNAL"), "{answer}");
        let refused = world.say(leg, AUTH);
        assert!(refused.contains("<failure") && refused.contains("<not-authorized/>"), "{refused}");
    }
}

#[test]
fn an_authzid_is_the_domain_of_the_stream_or_nothing() {
    use base64::Engine as _;
    let auth = |name: &str| {
        let name = base64::engine::general_purpose::STANDARD.encode(name);
        AUTH.replace(">=<", &format!(">{name}<"))
    };
    let mut world = World::new();
    let leg = world.tls_server(&["fabrikam.example", "chat.fabrikam.example"]);
    world.say(leg, &header("fabrikam.example", "contoso.example"));
    assert!(world.say(leg, &auth("chat.fabrikam.example")).contains("<invalid-authzid/>"));
    assert!(world.say(leg, &auth("Fabrikam.example")).contains("<success"));
}

#[test]
fn sasl_may_fail_three_times() {
    let mut world = World::new();
    let leg = world.tls_server(&[]);
    world.say(leg, &header("fabrikam.example", "contoso.example"));
    world.say(leg, AUTH);
    world.say(leg, AUTH);
    let last = world.say(leg, AUTH);
    assert!(ends_with_error(&last, "policy-violation"), "{last}");
}

#[test]
fn a_header_is_judged_before_anything_is_asked() {
    for (from, to, condition) in [
        ("fabrikam.example", "other.example", "host-unknown"),
        ("unlisted.example", "contoso.example", "policy-violation"),
        ("", "contoso.example", "improper-addressing"),
    ] {
        let mut world = World::new();
        let leg = world.server();
        let answer = world.say(leg, &header(from, to));
        assert!(ends_with_error(&answer, condition), "{answer}");
        assert!(answer.starts_with("<?xml"), "an error follows a header of ours");
        assert!(world.is_closed(leg));
        assert!(world.questions.is_empty() && world.connects.is_empty());
    }
}

#[test]
fn bidi_carries_the_answer_on_the_peers_stream() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let leg = world.tls_server(&["fabrikam.example"]);
    world.say(leg, &header("fabrikam.example", "contoso.example"));
    world.say(leg, "<bidi xmlns='urn:xmpp:bidi'/>");
    world.say(leg, AUTH);
    world.say(leg, &header("fabrikam.example", "contoso.example"));
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "b1");
    let sent = world.read(leg);
    assert!(sent.contains("id='b1'") && !sent.contains("entente"), "{sent}");
    assert!(world.connects.is_empty() && world.questions.is_empty());
    world.pass(10);
    world.exchange(&mut gateway);
    assert_eq!(gateway.taken, ["b1"]);
}

#[test]
fn pings_are_answered_and_never_reach_the_gateway() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let out = world.ours_to_fabrikam(&mut gateway, "");
    let leg = world.fabrikam();
    let ping = "<iq type='get' id='p1' from='fabrikam.example' to='contoso.example'>\
                <ping xmlns='urn:xmpp:ping'/></iq>";
    assert_eq!(world.say(leg, ping), "");
    let pong = world.read(out);
    assert_eq!(pong, "<iq type='result' from='contoso.example' to='fabrikam.example' id='p1'/>");
    world.exchange(&mut gateway);
    assert!(gateway.stanzas.is_empty());
}

#[test]
fn acknowledgements_are_given_where_they_are_asked_for() {
    let mut world = World::new();
    let _gateway = world.gateway("gw1.contoso.example");
    let leg = world.fabrikam();
    assert!(world.say(leg, "<enable xmlns='urn:xmpp:sm:3'/>").contains("<enabled"));
    world.say(leg, &message("john@fabrikam.example", "kim@contoso.example", "1"));
    world.say(leg, &message("john@fabrikam.example", "kim@contoso.example", "2"));
    world.say(leg, &message("john@fabrikam.example", "@contoso.example", "refused"));
    let answer = world.say(leg, "<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(answer, "<a xmlns='urn:xmpp:sm:3' h='3'/>");
    assert!(world.say(leg, "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>").contains("<failed"));
}

#[test]
fn without_a_gateway_the_sender_hears_of_it() {
    let mut world = World::new();
    let leg = world.fabrikam();
    world.say(leg, &message("john@fabrikam.example", "kim@contoso.example", "m1"));
    assert_eq!(world.proxy.counters().no_gateway, 1);
    world.resolve_to(&["xmpp.fabrikam.example"], &["192.0.2.50"], true);
    let out = world.grant(&["fabrikam.example"]);
    world.read(out);
    world.say(
        out,
        &(header_with_id("fabrikam.example", "contoso.example", "a") + &features(EXTERNAL)),
    );
    world.say(out, SUCCESS);
    let sent = world
        .say(out, &(header_with_id("fabrikam.example", "contoso.example", "b") + &features("")));
    assert!(sent.contains("type='error'") && sent.contains("remote-server-timeout"), "{sent}");
    assert!(sent.contains("id='m1'") && !sent.contains("Hi"), "{sent}");
}

#[test]
fn a_stream_that_is_ended_in_order_is_ended_in_order() {
    let mut world = World::new();
    let leg = world.fabrikam();
    assert_eq!(world.say(leg, "</stream:stream>"), "</stream:stream>");
    assert!(world.is_closed(leg));
}
