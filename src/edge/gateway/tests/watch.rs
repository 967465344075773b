//! RFC 8048: our users watch contacts.

use super::world::*;
use crate::xmpp::StanzaError;

const KIM: &str = "sip:kim@contoso.example";
const JOHN: &str = "<sip:john@fabrikam.example>";
const LINES: &str = "Event: presence\r\nContact: <sip:pool.contoso.example:5061;transport=tls>\r\n\
    Record-Route: <sip:pool.contoso.example:5061;transport=tls;lr>\r\n\
    Accept: application/xpidf+xml, application/pidf+xml\r\n";

fn subscribe(expires: u32) -> String {
    request("SUBSCRIBE", KIM, JOHN, &format!("{LINES}Expires: {expires}\r\n"), "")
}

/// Returns a request of Kim's within the dialog that `answer` has formed.
fn within(answer: &str, cseq: u32, expires: u32) -> String {
    let to = header(answer, "To");
    let contact = header(answer, "Contact");
    let uri = contact.trim_matches(|c| c == '<' || c == '>');
    let lines = format!("Event: presence\r\nExpires: {expires}\r\n");
    sip_request("SUBSCRIBE", uri, KIM, &to, &cseq.to_string(), &lines, "")
}

fn presence(kind: &str, content: &str) -> String {
    let kind = if kind.is_empty() { String::new() } else { format!(" type='{kind}'") };
    let from = if kind.contains("subscri") { "" } else { "/balcony" };
    format!(
        "<presence from='john@fabrikam.example{from}' to='kim@contoso.example'{kind}>{content}\
         </presence>"
    )
}

/// A world in which Kim watches John, who lets her. Returns the answer that formed the dialog.
fn watching(world: &mut World) -> String {
    world.sip(&subscribe(3_600));
    let answer = world.hears_begin("SIP/2.0 200 OK").text;
    let first = world.hears_begin("NOTIFY ");
    assert!(header(&first.text, "Subscription-State").starts_with("pending;"), "{}", first.text);
    assert_eq!(body(&first.text), "");
    world.answer(&first, "200 OK", "", "");
    let asked = world.sees();
    assert_eq!(attribute(&asked, "type"), "subscribe");
    assert_eq!(attribute(&asked, "from"), "kim@contoso.example");
    world.stanza(&presence("subscribed", ""));
    let second = world.hears_begin("NOTIFY ");
    assert!(header(&second.text, "Subscription-State").starts_with("active;"), "{}", second.text);
    world.answer(&second, "200 OK", "", "");
    answer
}

#[test]
fn s4_3_a_subscription_is_pending_until_the_contact_grants_it() {
    let mut world = World::new();
    let answer = watching(&mut world);
    assert_eq!(header(&answer, "Expires"), "600");
    assert!(answer.contains("Record-Route: <sip:pool.contoso.example:5061;transport=tls;lr>"));
    world.stanza(&presence("", "<show>away</show><status>Lunch</status>"));
    let notify = world.hears_begin("NOTIFY sip:pool.contoso.example:5061;transport=tls SIP/2.0");
    assert_eq!(header(&notify.text, "Content-Type"), "application/pidf+xml");
    assert_eq!(header(&notify.text, "Route"), "<sip:pool.contoso.example:5061;transport=tls;lr>");
    let document = body(&notify.text);
    assert!(document.contains("open") && document.contains("Lunch"), "{document}");
    assert!(document.contains("ID-balcony"), "{document}");
    world.answer(&notify, "200 OK", "", "");
    world.stanza(&presence("unavailable", ""));
    let notify = world.hears_begin("NOTIFY ");
    assert!(body(&notify.text).contains("closed"));
    world.nothing_more();
    assert_eq!(world.store.len(), 1);
}

#[test]
fn a_busy_contact_looks_as_the_configuration_says() {
    let mut world = World::new();
    watching(&mut world);
    world.stanza(&presence("", "<show>dnd</show>"));
    let notify = world.hears_begin("NOTIFY ");
    assert!(body(&notify.text).contains("do-not-disturb"), "{}", notify.text);
}

#[test]
fn a_contact_who_changes_often_costs_one_notify_at_a_time() {
    let mut world = World::new();
    watching(&mut world);
    for n in 0..100 {
        world.stanza(&presence("", &format!("<status>{n}</status>")));
    }
    let first = world.hears_begin("NOTIFY ");
    world.nothing_more();
    world.answer(&first, "200 OK", "", "");
    let second = world.hears_begin("NOTIFY ");
    assert!(body(&second.text).contains(">99<"), "the last word counts");
    world.answer(&second, "200 OK", "", "");
    world.nothing_more();
}

#[test]
fn s4_3_2_a_contact_who_refuses_ends_the_subscription() {
    let mut world = World::new();
    world.sip(&subscribe(3_600));
    world.hears_begin("SIP/2.0 200 OK");
    let first = world.hears_begin("NOTIFY ");
    world.answer(&first, "200 OK", "", "");
    world.sees();
    world.stanza(&presence("unsubscribed", ""));
    let last = world.hears_begin("NOTIFY ");
    assert_eq!(header(&last.text, "Subscription-State"), "terminated;reason=rejected");
    assert_eq!((world.gateway.held(), world.store.len()), ([0; 4], 0));
}

#[test]
fn a_contact_whose_server_does_not_exist_is_no_resource() {
    let mut world = World::new();
    world.edges[0].conduct = Conduct::Bounces(StanzaError::RemoteServerNotFound);
    world.sip(&subscribe(3_600));
    world.hears_begin("SIP/2.0 200 OK");
    world.hears_begin("NOTIFY ");
    let last = world.hears_begin("NOTIFY ");
    assert_eq!(header(&last.text, "Subscription-State"), "terminated;reason=noresource");
    world.edges[0].conduct = Conduct::Bounces(StanzaError::RemoteServerTimeout);
    world.sip(&subscribe(3_600));
    world.hears_begin("SIP/2.0 200 OK");
    world.hears_begin("NOTIFY ");
    let last = world.hears_begin("NOTIFY ");
    let state = header(&last.text, "Subscription-State");
    assert_eq!(state, "terminated;reason=giveup;retry-after=300");
    assert_eq!(world.gateway.held(), [0; 4]);
}

#[test]
fn s4_3_3_unsubscribing_tells_the_contact_that_the_user_left_and_keeps_the_authorisation() {
    let mut world = World::new();
    let answer = watching(&mut world);
    world.sip(&within(&answer, 2, 0));
    world.hears_begin("SIP/2.0 200 OK");
    let last = world.hears_begin("NOTIFY ");
    assert_eq!(header(&last.text, "Subscription-State"), "terminated;reason=timeout");
    assert_eq!(attribute(&world.sees(), "type"), "unavailable");
    assert_eq!(world.store.len(), 1, "he may still be seen");
    // Asked anew, the contact need not decide again.
    world.sip(&subscribe(3_600));
    world.hears_begin("SIP/2.0 200 OK");
    let first = world.hears_begin("NOTIFY ");
    assert!(header(&first.text, "Subscription-State").starts_with("active;"));
    assert_eq!(attribute(&world.sees(), "type"), "probe");
}

#[test]
fn a_subscription_that_is_not_refreshed_ends() {
    let mut world = World::new();
    let answer = watching(&mut world);
    world.pass(500_000);
    world.sip(&within(&answer, 2, 3_600));
    world.hears_begin("SIP/2.0 200 OK");
    let notify = world.hears_begin("NOTIFY ");
    assert_eq!(header(&notify.text, "Subscription-State"), "active;expires=600");
    world.answer(&notify, "200 OK", "", "");
    world.pass(599_000);
    world.nothing_more();
    world.pass(1_000);
    let last = world.hears_begin("NOTIFY ");
    assert_eq!(header(&last.text, "Subscription-State"), "terminated;reason=timeout");
    world.sip(&within(&answer, 3, 3_600));
    world.hears_begin("SIP/2.0 481 ");
}

#[test]
fn a_dialog_that_our_side_does_not_know_is_forgotten() {
    let mut world = World::new();
    watching(&mut world);
    world.stanza(&presence("", ""));
    let notify = world.hears_begin("NOTIFY ");
    world.answer(&notify, "481 Call/Transaction Does Not Exist", "", "");
    world.stanza(&presence("", "<status>x</status>"));
    world.nothing_more();
    assert_eq!(world.gateway.held(), [1, 0, 0, 0], "only the authorisation is left");
}

#[test]
fn a_poll_is_answered_once_by_what_the_contact_says_or_after_a_moment() {
    let mut world = World::new();
    let answer = watching(&mut world);
    world.sip(&within(&answer, 2, 0));
    world.hears();
    world.hears();
    world.sees();
    world.sip(&subscribe(0));
    world.hears_begin("SIP/2.0 200 OK");
    world.nothing_more_said();
    assert_eq!(attribute(&world.sees(), "type"), "probe");
    world.stanza(&presence("", "<status>Here</status>"));
    let only = world.hears_begin("NOTIFY ");
    assert_eq!(header(&only.text, "Subscription-State"), "terminated;reason=timeout");
    assert!(body(&only.text).contains("Here"));
    world.sip(&subscribe(0));
    world.hears_begin("SIP/2.0 200 OK");
    world.pass(4_000);
    let only = world.hears_begin("NOTIFY ");
    assert_eq!(body(&only.text), "", "nothing is known");
}

#[test]
fn what_cannot_be_subscribed_to_is_said() {
    let mut world = World::new();
    let cases = [
        ("Event: dialog\r\nExpires: 60\r\n", "489"),
        ("Expires: 60\r\n", "489"),
        ("Event: presence\r\nExpires: 59\r\n", "423"),
        ("Event: presence\r\nAccept: text/xml+msrtc.pidf\r\n", "406"),
    ];
    for (lines, status) in cases {
        world.sip(&request("SUBSCRIBE", KIM, JOHN, lines, ""));
        let answer = world.hears();
        assert!(answer.text.starts_with(&format!("SIP/2.0 {status} ")), "{}", answer.text);
        if status == "423" {
            assert_eq!(header(&answer.text, "Min-Expires"), "60");
        }
    }
    world.nothing_more();
}

#[test]
fn one_user_and_contact_have_as_many_dialogs_as_devices_and_ask_once() {
    let mut world = World::new();
    for n in 0..9 {
        let text = subscribe(3_600).replace("call1", &format!("call{n}"));
        world.sip(&text);
    }
    let answers = world.said.iter().filter(|said| said.text.starts_with("SIP/2.0 200")).count();
    let refused = world.said.iter().filter(|said| said.text.starts_with("SIP/2.0 480")).count();
    assert_eq!((answers, refused), (8, 1));
    assert_eq!(world.stanzas.len(), 1, "the contact is asked once");
    world.said.clear();
    world.stanza(&presence("subscribed", ""));
    assert!(world.said.is_empty(), "each has a NOTIFY on its way");
}

#[test]
fn presence_of_whom_nobody_watches_is_dropped() {
    let mut world = World::new();
    world.stanza(&presence("", ""));
    world.stanza(&presence("subscribed", ""));
    world.stanza(&presence("unsubscribed", ""));
    world.nothing_more();
    assert_eq!(world.gateway.held(), [0; 4]);
    assert_eq!(world.gateway.counters().dropped, 3);
}
