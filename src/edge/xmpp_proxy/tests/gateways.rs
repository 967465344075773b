//! Links of gateways: which one gets what, and what their death does.

use super::world::*;
use crate::edge::{Core, LegId};
use crate::limits;
use crate::xmpp::StanzaError;

#[test]
fn a_pair_goes_to_one_gateway_and_all_of_them_are_used() {
    let mut rules = rules();
    rules.xmpp.partners = (0..40).map(|n| partner(&format!("p{n}.example"))).collect();
    let mut world = World::with(rules);
    let mut gateways = [world.gateway("gw1.contoso.example"), world.gateway("gw2.contoso.example")];
    for n in 0..40 {
        let name = format!("p{n}.example");
        let leg = world.tls_server(&[&name]);
        world.say(leg, &header(&name, "contoso.example"));
        world.say(leg, AUTH);
        world.say(leg, &header(&name, "contoso.example"));
        for id in ["1", "2"] {
            world.say(leg, &message(&format!("a@{name}"), "kim@contoso.example", id));
        }
    }
    let [first, second] = &mut gateways;
    world.exchange(first);
    world.exchange(second);
    let partners = |gateway: &Gateway| {
        let mut partners: Vec<_> = gateway.stanzas.iter().map(|(_, o)| o.partner.clone()).collect();
        let stanzas = partners.len();
        partners.dedup();
        assert_eq!(partners.len() * 2, stanzas, "both stanzas of a pair came here");
        partners.len()
    };
    let (first, second) = (partners(first), partners(second));
    assert_eq!(first + second, 40);
    assert!(first >= 8 && second >= 8, "{first} and {second}");
}

/// Two gateways with a link, of which the first has the pair of fabrikam.example and ours.
fn two(world: &mut World) -> (LegId, [Gateway; 2]) {
    let mut gateways = ["gw1.contoso.example", "gw2.contoso.example"].map(|n| world.gateway(n));
    let leg = world.fabrikam();
    world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", "which"));
    for gateway in &mut gateways {
        world.exchange(gateway);
    }
    gateways.sort_by_key(|gateway| gateway.stanzas.is_empty());
    let first = &mut gateways[0];
    assert_eq!(first.stanzas.len(), 1);
    world.done(first);
    first.stanzas.clear();
    (leg, gateways)
}

#[test]
fn when_a_gateway_dies_the_next_gets_what_it_was_not_done_with() {
    let mut world = World::new();
    let (leg, [mut first, mut second]) = two(&mut world);
    for id in ["read", "done"] {
        world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", id));
    }
    world.exchange(&mut first);
    let read = first.undone.remove(0);
    world.done(&mut first);
    world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", "unread"));
    assert_eq!(first.stanzas.len(), 2, "it has read two, and is done with one");
    world.lose(first.leg, 0);
    world.exchange(&mut second);
    let ids: Vec<String> = second.stanzas.iter().map(|(text, _)| attribute(text, "id")).collect();
    assert_eq!(ids, ["read", "unread"]);
    let marked = |(text, _): &(String, _)| text.contains("entente:again='yes'");
    assert!(second.stanzas.iter().all(marked), "it may have been handed on");
    assert_eq!(second.undone[0], read, "it keeps its number");
    assert_eq!(world.proxy.counters().sent_again, 2);
}

#[test]
fn what_the_last_gateway_was_not_done_with_waits_for_the_next() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let leg = world.fabrikam();
    for id in ["m1", "m2"] {
        world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", id));
    }
    world.exchange(&mut gateway);
    world.lose(gateway.leg, 0);
    assert_eq!(world.proxy.pending(), 2);
    world.pass(limits::XMPP_ORPHANS_MS - 1_000);
    let mut next = world.gateway("gw1.contoso.example");
    world.exchange(&mut next);
    let ids: Vec<String> = next.stanzas.iter().map(|(text, _)| attribute(text, "id")).collect();
    assert_eq!(ids, ["m1", "m2"], "in the order they came");
    world.done(&mut next);
    assert_eq!(world.proxy.pending(), 0);
}

#[test]
fn when_no_gateway_comes_senders_hear_of_it() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let out = world.ours_to_fabrikam(&mut gateway, "");
    let leg = world.fabrikam();
    world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", "m7"));
    world.lose(gateway.leg, 0);
    assert_eq!(world.read(out), "");
    world.pass(limits::XMPP_ORPHANS_MS + limits::XMPP_CHORES_MS);
    let sent = world.read(out);
    assert!(sent.contains("id='m7'") && sent.contains("type='error'"), "{sent}");
    assert_eq!(world.proxy.counters().no_gateway, 1);
}

#[test]
fn what_a_dead_gateway_had_queued_is_its_own_to_send_again() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "m");
    assert!(world.proxy.queued_bytes() > 0);
    world.lose(gateway.leg, 0);
    assert_eq!(world.proxy.queued_bytes(), 0);
    let left: Vec<_> = gateway.end.into_unreported().map(|stanza| stanza.tag).collect();
    assert_eq!(left, ["m"]);
}

#[test]
fn a_gateway_is_who_its_certificate_says() {
    let mut world = World::new();
    let gateway = world.gateway("gw1.contoso.example");
    let leg = world.link_of(&["gw2.contoso.example"]);
    let answer = world.say(leg, &header("gw1.contoso.example", "lsedge.contoso.example"));
    assert!(ends_with_error(&answer, "invalid-from"), "{answer}");
    assert!(!world.is_closed(gateway.leg));
}

#[test]
fn an_own_user_without_xmpp_is_refused_both_ways_with_a_number() {
    use crate::policy::users::{AccessPolicy, DirectoryBuilder, Home, MarksCount};
    let mut builder =
        DirectoryBuilder::new([1, 2], vec![open(AccessPolicy::GLOBAL)], MarksCount::Decide, 2);
    builder.add("branch", "contoso.example", "", "", Home::BranchAppliance).expect("added");
    let directory = std::sync::Arc::new(builder.finish());
    let snapshot = snapshot(rules(), 2).with_directory(directory);
    let mut world = World::new();
    world.publish(snapshot);
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "branch@contoso.example", "john@fabrikam.example", "b");
    let (_, error) = gateway.bounced.pop().expect("a bounce");
    assert_eq!(error.condition, StanzaError::Forbidden);
    let note = world.notes.iter().find(|note| note.sentence.contains("branch appliance"));
    let note = note.expect("a note");
    assert!(error.text.expect("a text").contains(&note.decision_id.to_string()));
    let out = world.ours_to_fabrikam(&mut gateway, "");
    let leg = world.fabrikam();
    world.say(leg, &message("john@fabrikam.example", "branch@contoso.example", "i"));
    let answer = world.read(out);
    assert!(answer.contains("policy-violation") && answer.contains("id='i'"), "{answer}");
    world.exchange(&mut gateway);
    assert!(gateway.stanzas.is_empty());
}

fn open(name: &str) -> crate::policy::users::AccessPolicy {
    crate::policy::users::AccessPolicy {
        name: name.to_owned(),
        federation: true,
        xmpp: true,
        public_im: true,
        public_av: true,
        outside: true,
    }
}

#[test]
fn a_stanza_that_knows_the_marks_of_the_link_is_refused() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let out = world.ours_to_fabrikam(&mut gateway, "");
    let leg = world.fabrikam();
    let forged = "<message xmlns:entente='urn:entente:link:2' entente:auth='external' \
                  from='a@fabrikam.example' to='kim@contoso.example' id='x'/>";
    world.say(leg, forged);
    world.exchange(&mut gateway);
    assert!(gateway.stanzas.is_empty());
    assert!(world.read(out).contains("bad-request"));
}

#[test]
fn gateways_are_told_which_of_them_are_linked() {
    let mut world = World::new();
    let mut one = world.gateway("gw1.contoso.example");
    world.exchange(&mut one);
    assert_eq!(one.others, "gw1.contoso.example");
    let mut two = world.gateway("gw2.contoso.example");
    for gateway in [&mut one, &mut two] {
        world.exchange(gateway);
        assert_eq!(gateway.others, "gw1.contoso.example gw2.contoso.example");
    }
    world.lose(two.leg, 0);
    world.exchange(&mut one);
    assert_eq!(one.others, "gw1.contoso.example");
}
