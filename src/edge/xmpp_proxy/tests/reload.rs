use super::world::*;
use crate::edge::Drain;
use crate::policy::{Anchors, Negotiation, PeerNames};

#[test]
fn a_removed_partners_streams_end_with_a_stream_error_and_nobody_elses() {
    let mut world = World::new();
    let leg = world.fabrikam();
    let other = world.tls_server(&["tailspin.example"]);
    world.say(other, &header("tailspin.example", "contoso.example"));
    let mut fewer = rules();
    fewer.xmpp.partners.remove(0);
    world.adopt(fewer, 2);
    assert!(ends_with_error(&world.read(leg), "policy-violation"));
    assert!(!world.is_closed(other));
    let told =
        world.say(other, "<db:result from='tailspin.example' to='contoso.example'>k</db:result>");
    assert!(told.contains("type='valid'"), "{told}");
}

#[test]
fn a_stanza_queued_for_a_removed_partner_bounces() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "m");
    let mut fewer = rules();
    fewer.xmpp.partners.remove(0);
    world.adopt(fewer, 2);
    world.exchange(&mut gateway);
    assert_eq!(gateway.bounced.len(), 1);
    assert_eq!(world.proxy.queued_bytes(), 0);
}

#[test]
fn a_proof_that_counts_no_more_ends_its_stream() {
    let mut world = World::new();
    let leg = world.fabrikam();
    let mut changed = rules();
    changed.xmpp.partners[0].sasl = Negotiation::NotSupported;
    changed.xmpp.partners[0].tls = Negotiation::NotSupported;
    world.adopt(changed, 2);
    assert!(ends_with_error(&world.read(leg), "policy-violation"));
}

#[test]
fn the_same_policy_under_a_new_number_ends_nothing() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let leg = world.fabrikam();
    world.adopt(rules(), 2);
    assert_eq!(world.read(leg), "");
    world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", "m"));
    world.exchange(&mut gateway);
    assert_eq!(gateway.stanzas.len(), 1);
}

#[test]
fn a_certificate_that_proves_nothing_any_more_ends_its_stream() {
    let mut world = World::new();
    let leg = world.fabrikam();
    let revoked =
        PeerNames { anchors: Anchors::OfPartner(9), ..(*names(&["fabrikam.example"])).clone() };
    world.judged(leg, std::sync::Arc::new(revoked));
    assert!(ends_with_error(&world.read(leg), "policy-violation"));
}

#[test]
fn draining_tells_everybody_and_takes_nobody_new() {
    let mut world = World::new();
    let gateway = world.gateway("gw1.contoso.example");
    let leg = world.fabrikam();
    world.drain(Drain::Notice);
    assert!(!world.is_closed(leg));
    world.drain(Drain::Closing);
    assert!(ends_with_error(&world.read(leg), "system-shutdown"));
    assert!(ends_with_error(&world.read(gateway.leg), "system-shutdown"));
    let late = world.server();
    assert!(ends_with_error(&world.read(late), "system-shutdown"));
}
