//! RFC 8048: contacts watch our users.

use super::world::*;
use crate::edge::gateway::Setup;

const PIDF: &str = "Content-Type: application/pidf+xml\r\n";

fn presence(kind: &str) -> String {
    format!("<presence from='john@fabrikam.example' to='kim@contoso.example' type='{kind}'/>")
}

fn document(tuples: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:kim@contoso.example'>{tuples}\
         </presence>"
    )
}

fn tuple(id: &str, basic: &str) -> String {
    format!("<tuple id='{id}'><status><basic>{basic}</basic></status></tuple>")
}

/// Returns a NOTIFY in the dialog of a SUBSCRIBE.
fn notify(subscribe: &str, cseq: u32, state: &str, content: &str) -> String {
    let contact = header(subscribe, "Contact");
    let uri = contact.trim_matches(|c| c == '<' || c == '>');
    let kind = if content.is_empty() { "" } else { PIDF };
    format!(
        "NOTIFY {uri} SIP/2.0\r\nVia: SIP/2.0/TLS pool.contoso.example:5061;branch=z9hG4bKn{cseq}\
         \r\nMax-Forwards: 70\r\nFrom: {};tag=inside\r\nTo: {}\r\nCall-ID: {}\r\n\
         CSeq: {cseq} NOTIFY\r\nEvent: presence\r\nSubscription-State: {state}\r\n\
         Contact: <sip:fe1.contoso.example:5061;transport=tls>\r\n{kind}Content-Length: {}\r\n\r\n\
         {content}",
        header(subscribe, "To"),
        header(subscribe, "From"),
        header(subscribe, "Call-ID"),
        content.len()
    )
}

/// John has asked to see Kim, and may. Returns the SUBSCRIBE.
fn granted(world: &mut World) -> Said {
    world.stanza(&presence("subscribe"));
    let subscribe = world.hears_begin("SUBSCRIBE sip:kim@contoso.example SIP/2.0\r\n");
    world.answer(&subscribe, "200 OK", "Expires: 3600\r\nContact: <sip:fe1>\r\n", "");
    world.sip(&notify(&subscribe.text, 1, "active;expires=3600", &document(&tuple("a", "open"))));
    world.hears_begin("SIP/2.0 200 OK");
    assert_eq!(attribute(&world.sees(), "type"), "subscribed");
    let shown = world.sees();
    assert!(shown.contains("from='kim@contoso.example/a'"), "{shown}");
    world.nothing_more();
    subscribe
}

#[test]
fn s4_2_a_contact_is_told_when_our_user_has_decided() {
    let mut world = World::new();
    world.stanza(&presence("subscribe"));
    let subscribe = world.hears_begin("SUBSCRIBE ");
    assert_eq!(header(&subscribe.text, "Event"), "presence");
    assert_eq!(header(&subscribe.text, "Expires"), "31680");
    assert!(header(&subscribe.text, "Accept").contains("application/pidf+xml"));
    world.answer(&subscribe, "202 Accepted", "Expires: 3600\r\nContact: <sip:fe1>\r\n", "");
    world.sip(&notify(&subscribe.text, 1, "pending", ""));
    world.hears_begin("SIP/2.0 200 OK");
    world.nothing_more();
    world.sip(&notify(&subscribe.text, 2, "active", ""));
    world.hears_begin("SIP/2.0 200 OK");
    assert_eq!(attribute(&world.sees(), "type"), "subscribed");
    world.nothing_more();
    assert_eq!(world.store.len(), 1);
}

#[test]
fn s5_each_resource_comes_and_goes_by_itself() {
    let mut world = World::new();
    let subscribe = granted(&mut world);
    let two = document(&(tuple("a", "open") + &tuple("b", "open")));
    world.sip(&notify(&subscribe.text, 2, "active", &two));
    world.hears();
    let shown = world.sees();
    assert!(shown.contains("from='kim@contoso.example/b'"), "only what is new: {shown}");
    world.nothing_more();
    world.sip(&notify(&subscribe.text, 3, "active", &document(&tuple("b", "open"))));
    world.hears();
    let gone = world.sees();
    assert!(gone.contains("/a'") && gone.contains("unavailable"), "{gone}");
    world.nothing_more();
    world.stanza(&presence("probe"));
    assert!(world.sees().contains("from='kim@contoso.example/b'"), "from what is known");
    world.nothing_more();
}

#[test]
fn s4_2_2_a_refusal_inside_is_unsubscribed() {
    let mut world = World::new();
    for status in ["403 Forbidden", "404 Not Found", "489 Bad Event", "603 Decline"] {
        world.stanza(&presence("subscribe"));
        let subscribe = world.hears_begin("SUBSCRIBE ");
        world.answer(&subscribe, status, "", "");
        assert_eq!(attribute(&world.sees(), "type"), "unsubscribed", "{status}");
        assert_eq!((world.gateway.held(), world.store.len()), ([0; 4], 0));
    }
    let subscribe = granted(&mut world);
    world.sip(&notify(&subscribe.text, 2, "terminated;reason=rejected", ""));
    world.hears();
    assert_eq!(attribute(&world.sees(), "type"), "unavailable", "RFC 6121 section 3.2.4");
    assert_eq!(attribute(&world.sees(), "type"), "unsubscribed");
    assert_eq!(world.store.len(), 0);
}

#[test]
fn s4_2_2_423_and_481_are_tried_again_in_a_dialog_of_their_own() {
    let mut world = World::new();
    world.stanza(&presence("subscribe"));
    let first = world.hears_begin("SUBSCRIBE ");
    world.answer(&first, "423 Interval Too Brief", "Min-Expires: 90000\r\n", "");
    world.pass(1_000);
    let second = world.hears_begin("SUBSCRIBE ");
    assert_eq!(header(&second.text, "Expires"), "90000");
    assert_ne!(header(&first.text, "Call-ID"), header(&second.text, "Call-ID"));
    world.answer(&second, "481 Nope", "", "");
    world.pass(1_000);
    let third = world.hears_begin("SUBSCRIBE ");
    assert_ne!(header(&second.text, "Call-ID"), header(&third.text, "Call-ID"));
    world.answer(&third, "481 Nope", "", "");
    world.pass(1_000);
    world.nothing_more();
}

#[test]
fn a_demand_for_longer_subscriptions_never_makes_them_shorter() {
    let long = Setup { subscription_refresh_s: 604_800, ..setup() };
    let mut world = World::of(long);
    for demanded in ["1", "604800", "4294967295", "x"] {
        world.stanza(&presence("subscribe"));
        let first = world.hears_begin("SUBSCRIBE ");
        assert_eq!(header(&first.text, "Expires"), "665280");
        let lines = format!("Min-Expires: {demanded}\r\n");
        world.answer(&first, "423 Interval Too Brief", &lines, "");
        world.pass(1_000);
        let second = world.hears_begin("SUBSCRIBE ");
        assert_eq!(header(&second.text, "Expires"), "665280", "{demanded}");
        world.answer(&second, "403 Forbidden", "", "");
        world.sees();
    }
}

#[test]
fn a_side_that_does_not_answer_is_asked_less_and_less_and_then_no_more() {
    let mut world = World::new();
    world.stanza(&presence("subscribe"));
    let mut asked = 0;
    for _ in 0..500 {
        world.pass(60_000);
        asked += world.said.len();
        world.said.clear();
    }
    assert_eq!(asked, 8);
    world.nothing_more();
    assert_eq!((world.gateway.held(), world.store.len()), ([0; 4], 0));
}

#[test]
fn a_subscription_is_refreshed_before_it_expires() {
    let mut world = World::new();
    let subscribe = granted(&mut world);
    world.pass(3_000_000);
    world.nothing_more();
    world.pass(272_800);
    let refresh = world.hears_begin("SUBSCRIBE sip:fe1.contoso.example:5061;transport=tls ");
    assert_eq!(header(&refresh.text, "Call-ID"), header(&subscribe.text, "Call-ID"));
    assert_eq!(header(&refresh.text, "CSeq"), "2 SUBSCRIBE");
    assert!(header(&refresh.text, "To").ends_with(";tag=inside"));
    world.answer(&refresh, "481 Restarted", "", "");
    world.pass(1_000);
    let anew = world.hears_begin("SUBSCRIBE sip:kim@contoso.example ");
    assert_ne!(header(&anew.text, "Call-ID"), header(&subscribe.text, "Call-ID"));
    world.answer(&anew, "200 OK", "Expires: 3600\r\nContact: <sip:fe2>\r\n", "");
    let same = document(&tuple("a", "open"));
    world.sip(&notify(&anew.text, 1, "active", &same));
    world.hears();
    world.nothing_more();
}

#[test]
fn s4_2_3_unsubscribe_ends_the_dialog_and_is_confirmed_after_it() {
    let mut world = World::new();
    let subscribe = granted(&mut world);
    world.stanza(&presence("unsubscribe"));
    let ending = world.hears_begin("SUBSCRIBE ");
    assert_eq!(header(&ending.text, "Expires"), "0");
    assert_eq!(header(&ending.text, "Call-ID"), header(&subscribe.text, "Call-ID"));
    assert_eq!(attribute(&world.sees(), "type"), "unavailable");
    world.nothing_more();
    world.answer(&ending, "200 OK", "", "");
    assert_eq!(attribute(&world.sees(), "type"), "unsubscribed");
    assert_eq!((world.gateway.held(), world.store.len()), ([0; 4], 0));
    world.stanza(&presence("unsubscribe"));
    assert_eq!(attribute(&world.sees(), "type"), "unsubscribed", "said again where nothing is");
    world.nothing_more();
}

#[test]
fn when_another_gateway_has_died_a_probe_is_enough_to_go_on() {
    let mut world = World::new();
    world.stanza(&presence("probe"));
    let subscribe = world.hears_begin("SUBSCRIBE ");
    world.answer(&subscribe, "200 OK", "Expires: 3600\r\nContact: <sip:fe1>\r\n", "");
    world.sip(&notify(&subscribe.text, 1, "active", &document(&tuple("a", "open"))));
    world.hears_begin("SIP/2.0 200 OK");
    let shown = world.sees();
    assert!(shown.contains("from='kim@contoso.example/a'"), "nobody is asked again: {shown}");
    world.nothing_more();
    assert_eq!(world.store.len(), 1, "and it is known from here on");
    // Where our side knows better, the contact's server hears of it.
    world.stanza(&presence("probe").replace("john", "jim"));
    world.sees_nothing();
    let subscribe = world.hears_begin("SUBSCRIBE ");
    world.answer(&subscribe, "403 Forbidden", "", "");
    assert_eq!(attribute(&world.sees(), "type"), "unsubscribed");
}

#[test]
fn a_server_that_is_not_reached_ends_nothing_and_a_contact_that_is_gone_does() {
    use crate::xmpp::StanzaError;
    let mut world = World::new();
    granted(&mut world);
    // Our user watches the contact too, so that a refresh asks whether he is still there.
    let lines = "Event: presence\r\nContact: <sip:fe1>\r\nExpires: 36000\r\n";
    let john = "<sip:john@fabrikam.example>";
    world.sip(&request("SUBSCRIBE", "sip:kim@contoso.example", john, lines, ""));
    world.stanza(&presence("subscribed"));
    world.said.clear();
    world.stanzas.clear();
    world.edges[0].conduct = Conduct::Bounces(StanzaError::RemoteServerNotFound);
    world.pass(3_300_000);
    assert_eq!(attribute(&world.sees(), "type"), "probe");
    assert_eq!(world.store.len(), 2, "what was granted stays");
    world.edges[0].conduct = Conduct::Takes;
    world.said.clear();
    world.stanza(
        "<presence from='john@fabrikam.example' to='kim@contoso.example' type='error'>\
         <error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         </error></presence>",
    );
    assert_eq!(world.store.len(), 1, "he is not subscribed for any more");
}

#[test]
fn strangers_may_not_see_our_users_unasked() {
    let mut world = World::new();
    let ask = |kind: &str| {
        format!("<presence from='eve@public.example' to='kim@contoso.example' type='{kind}'/>")
    };
    world.stanza(&ask("subscribe"));
    assert_eq!(attribute(&world.sees(), "type"), "unsubscribed");
    world.stanza(&ask("probe"));
    world.nothing_more();
    assert_eq!(world.gateway.counters().refused_unasked, 2);
    // Once our user has added her, she may.
    let lines = "Event: presence\r\nContact: <sip:fe1>\r\n";
    let eve = "<sip:eve@public.example>";
    world.sip(&request("SUBSCRIBE", "sip:kim@contoso.example", eve, lines, ""));
    world.said.clear();
    world.stanzas.clear();
    world.stanza(&ask("subscribe"));
    world.hears_begin("SUBSCRIBE ");
}

#[test]
fn notes_are_for_organisations_alone() {
    for (theirs, sees) in [("fabrikam.example", true), ("verified.example", false)] {
        let mut world = World::new();
        world.stanza(&presence("subscribe").replace("fabrikam.example", theirs));
        let subscribe = world.hears_begin("SUBSCRIBE ");
        world.answer(&subscribe, "200 OK", "Expires: 3600\r\nContact: <sip:fe1>\r\n", "");
        let noted = document(
            "<tuple id='a'><status><basic>open</basic></status><note>Secret</note></tuple>",
        );
        world.sip(&notify(&subscribe.text, 1, "active", &noted));
        world.sees();
        assert_eq!(world.sees().contains("Secret"), sees, "{theirs}");
    }
}

#[test]
fn lyncs_own_document_is_read_too() {
    let mut world = World::new();
    let subscribe = granted(&mut world);
    let categories = "<categories xmlns='http://schemas.microsoft.com/2006/09/sip/categories'>\
        <category name='state'><state xmlns='http://schemas.microsoft.com/2006/09/sip/state'>\
        <availability>6500</availability></state></category></categories>";
    let text = notify(&subscribe.text, 2, "active", categories)
        .replace("application/pidf+xml", "application/msrtc-event-categories+xml");
    world.sip(&text);
    world.hears();
    let both = world.sees() + &world.sees();
    assert!(both.contains("<show>dnd</show>") && both.contains("unavailable"), "{both}");
}

#[test]
fn a_notify_for_nobody_is_481_and_an_old_one_is_refused() {
    let mut world = World::new();
    let subscribe = granted(&mut world);
    let forged = notify(&subscribe.text, 2, "active", "").replace("tag=inside", "tag=other");
    world.sip(&forged);
    world.hears_begin("SIP/2.0 481 ");
    world.sip(&notify(&subscribe.text, 0, "active", ""));
    world.hears_begin("SIP/2.0 500 ");
    let other = notify(&subscribe.text, 2, "active", "").replace("NOTIFY", "BENOTIFY");
    world.sip(&other);
    world.nothing_more();
}
