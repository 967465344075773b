//! Streams of ours: when they are made, when not, and what becomes of stanzas meanwhile.

use super::world::*;
use crate::dns::Failure;
use crate::edge::Class;
use crate::xmpp::StanzaError;

const SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";

#[test]
fn direct_tls_asks_for_the_domain_and_offers_our_certificate() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "m");
    world.resolve_to(&["xmpp.fabrikam.example"], &["192.0.2.50", "10.0.0.1"], true);
    let connect = &world.connects[0];
    assert_eq!(connect.class, Class::XmppDirectTls);
    assert_eq!(connect.server_name, domain("fabrikam.example"), "not the target of the SRV");
    assert_eq!(connect.addresses.len(), 1, "the address rule holds");
}

#[test]
fn a_stanza_counts_as_taken_when_the_kernel_has_all_of_it() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let out = world.ours_to_fabrikam(&mut gateway, "");
    world.pass(10);
    world.exchange(&mut gateway);
    assert_eq!(gateway.taken, ["first"]);
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "second");
    world.pass(50);
    world.exchange(&mut gateway);
    assert_eq!(gateway.taken.len(), 1, "it is staged and not taken");
    world.effects.set_unsent(out, 40);
    assert!(world.read(out).contains("id='second'"));
    world.pass(50);
    world.exchange(&mut gateway);
    assert_eq!(gateway.taken.len(), 1, "a part is with us");
    world.effects.set_unsent(out, 0);
    world.pass(50);
    world.exchange(&mut gateway);
    assert_eq!(gateway.taken, ["first", "second"]);
}

#[test]
fn with_stream_management_a_stanza_counts_as_taken_when_it_is_acknowledged() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let out = world.ours_to_fabrikam(&mut gateway, SM);
    let sent = world.say(out, "<enabled xmlns='urn:xmpp:sm:3'/>");
    assert!(sent.contains("id='first'") && sent.contains("<r xmlns='urn:xmpp:sm:3'/>"), "{sent}");
    world.pass(1_000);
    world.exchange(&mut gateway);
    assert!(gateway.taken.is_empty());
    world.say(out, "<a xmlns='urn:xmpp:sm:3' h='1'/>");
    world.exchange(&mut gateway);
    assert_eq!(gateway.taken, ["first"]);
    let answer = world.say(out, "<a xmlns='urn:xmpp:sm:3' h='9'/>");
    assert!(ends_with_error(&answer, "undefined-condition"), "{answer}");
}

#[test]
fn what_was_not_acknowledged_goes_again_by_the_next_stream() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let out = world.ours_to_fabrikam(&mut gateway, SM);
    world.say(out, "<enabled xmlns='urn:xmpp:sm:3'/>");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "second");
    world.read(out);
    world.lose(out, 0);
    world.pass(2_000);
    let out = world.ready_again("");
    assert!(out.contains("id='first'") && out.contains("id='second'"), "{out}");
    assert!(out.find("first") < out.find("second"), "in the order they came");
    assert_eq!(world.proxy.counters().sent_again, 2);
}

impl World {
    /// Our next stream to fabrikam.example becomes ready; returns what is sent on it.
    fn ready_again(&mut self, offers: &str) -> String {
        let leg = self.grant(&["fabrikam.example"]);
        let head = |id: &str| header_with_id("fabrikam.example", "contoso.example", id);
        self.read(leg);
        self.say(leg, &(head("n1") + &features(EXTERNAL)));
        self.say(leg, SUCCESS);
        self.say(leg, &(head("n2") + &features(offers)))
    }
}

#[test]
fn a_domain_without_a_server_bounces_at_once() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "m");
    world.resolve_nothing(Failure::NoSuchService);
    world.exchange(&mut gateway);
    assert_eq!(gateway.bounced[0].1.condition, StanzaError::RemoteServerNotFound);
}

#[test]
fn a_domain_that_cannot_be_reached_bounces_when_patience_ends() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "m");
    world.resolve(&["a.fabrikam.example", "b.fabrikam.example"]);
    world.deny();
    assert_eq!(world.connects.len(), 1, "the next target");
    world.deny();
    assert!(world.connects.is_empty(), "then a pause");
    world.exchange(&mut gateway);
    assert!(gateway.bounced.is_empty());
    let mut attempts = 0;
    for _ in 0..31 {
        world.pass(1_000);
        while !world.connects.is_empty() {
            attempts += 1;
            world.deny();
        }
    }
    world.exchange(&mut gateway);
    assert_eq!(gateway.bounced[0].1.condition, StanzaError::RemoteServerTimeout);
    assert!((2..=10).contains(&attempts), "paced: {attempts} attempts in 30 s");
}

#[test]
fn attempts_are_paced_up_to_a_cap() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    let (mut attempts, mut id) = (0, 0);
    for second in 0..3_600 {
        if second % 10 == 0 {
            id += 1;
            world.send(&mut gateway, "kim@contoso.example", "a@fabrikam.example", &id.to_string());
        }
        if !world.questions.is_empty() {
            world.resolve(&["a.fabrikam.example"]);
        }
        while !world.connects.is_empty() {
            attempts += 1;
            world.deny();
        }
        world.pass(1_000);
        world.exchange(&mut gateway);
    }
    assert!((12..40).contains(&attempts), "{attempts} attempts in an hour");
}

#[test]
fn a_partner_that_contacts_us_is_retried_at_once() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "m");
    world.resolve(&["a.fabrikam.example"]);
    world.deny();
    assert!(world.connects.is_empty());
    world.fabrikam();
    assert_eq!(world.connects.len(), 1);
}

#[test]
fn a_stanza_that_policy_refuses_bounces_and_asks_nothing() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    for (from, to, condition) in [
        ("kim@contoso.example", "a@unlisted.example", StanzaError::RemoteServerNotFound),
        ("kim@other.example", "a@fabrikam.example", StanzaError::BadRequest),
        ("kim@contoso.example", "@fabrikam.example", StanzaError::JidMalformed),
    ] {
        world.send(&mut gateway, from, to, "m");
        assert_eq!(gateway.bounced.pop().expect("a bounce").1.condition, condition);
    }
    assert!(world.questions.is_empty() && world.connects.is_empty());
}

#[test]
fn a_refused_certificate_falls_back_to_dialback_where_the_entry_allows_it() {
    let mut rules = rules();
    rules.xmpp.partners[0].sasl = crate::policy::Negotiation::Optional;
    let mut world = World::with(rules);
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "m");
    world.resolve_to(&["xmpp.fabrikam.example"], &["192.0.2.50"], true);
    let leg = world.grant(&[]);
    world.read(leg);
    let offers = features(&format!("{EXTERNAL}{DIALBACK}"));
    world.say(leg, &(header_with_id("fabrikam.example", "contoso.example", "x1") + &offers));
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    let said = world.say(leg, failure);
    assert!(said.contains(&key("fabrikam.example", "contoso.example", "x1")), "{said}");
}

#[test]
fn a_proxy_fqdn_replaces_the_service_record() {
    let mut rules = rules();
    rules.xmpp.partners[0].proxy = Some((domain("xmpp.hoster.example"), 5270));
    let mut world = World::with(rules);
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "m");
    let question = &world.questions[0];
    let host = crate::dns::Question::Host { fqdn: domain("xmpp.hoster.example"), port: 5270 };
    assert_eq!(*question, host);
}

/// XEP-0288: we ask for it before we prove ourselves, and what the peer sends on our stream counts.
#[test]
fn a_stream_of_ours_carries_the_peers_stanzas_too_where_it_offers_that() {
    let mut world = World::new();
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "john@fabrikam.example", "first");
    world.resolve_to(&["xmpp.fabrikam.example"], &["192.0.2.50"], true);
    let leg = world.grant(&["fabrikam.example"]);
    world.read(leg);
    let offers = EXTERNAL.to_owned() + "<bidi xmlns='urn:xmpp:features:bidi'/>";
    let header = |id| header_with_id("fabrikam.example", "contoso.example", id);
    let asked = world.say(leg, &(header("a1") + &features(&offers)));
    let (bidi, auth) = (asked.find("<bidi xmlns='urn:xmpp:bidi'/>"), asked.find("<auth"));
    assert!(bidi.is_some() && bidi < auth, "{asked}");
    world.say(leg, SUCCESS);
    let sent = world.say(leg, &(header("a2") + &features("")));
    assert!(sent.contains("id='first'"), "{sent}");
    world.say(leg, &message("john@fabrikam.example", "kim@contoso.example", "answer"));
    world.exchange(&mut gateway);
    assert_eq!(gateway.stanzas.len(), 1, "it came on the stream that we opened");
}
