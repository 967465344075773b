//! RFC 7572: single messages, both ways.

use super::world::*;
use crate::xmpp::StanzaError;

const KIM: &str = "sip:kim@simple.example";
const JOHN: &str = "sip:john@fabrikam.example";

#[test]
fn s4_a_message_is_answered_when_the_contacts_server_has_it() {
    let mut world = World::new();
    world.sip(&message(KIM, JOHN, "Hello"));
    let stanza = world.sees();
    assert!(stanza.contains("<body>Hello</body>"), "{stanza}");
    assert_eq!(attribute(&stanza, "from"), "kim@simple.example");
    assert_eq!(attribute(&stanza, "to"), "john@fabrikam.example");
    assert!(!stanza.contains("type="), "RFC 7572 section 5: {stanza}");
    assert!(world.said.is_empty(), "an error may still come");
    world.pass(250);
    let answer = world.hears_begin("SIP/2.0 200 OK\r\n");
    assert!(header(&answer.text, "To").contains(";tag="));
    assert_eq!(answer.leg, world.pool);
    world.nothing_more();
}

#[test]
fn s4_an_error_of_the_contacts_server_is_the_answer() {
    let mut world = World::new();
    world.sip(&message(KIM, JOHN, "Hello"));
    let id = attribute(&world.sees(), "id");
    // Nobody else can say that John is not there.
    world.stanza(&format!(
        "<message from='eve@public.example' to='kim@simple.example' id='{id}' type='error'>\
         <error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    world.nothing_more();
    world.stanza(&format!(
        "<message from='john@fabrikam.example' to='kim@simple.example' id='{id}' type='error'>\
         <error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         </error></message>"
    ));
    world.hears_begin("SIP/2.0 604 ");
    world.pass(60_000);
    world.nothing_more();
    assert_eq!(world.gateway.counters().errors_in_time, 1);
}

#[test]
fn s4_what_an_edge_could_not_deliver_is_answered_by_the_table() {
    let mut world = World::new();
    world.edges[0].conduct = Conduct::Bounces(StanzaError::RemoteServerTimeout);
    world.sip(&message(KIM, JOHN, "Hello"));
    let answer = world.hears_begin("SIP/2.0 504 ");
    assert!(answer.text.contains("ms-diagnostics: 1007;"), "{}", answer.text);
    world.edges[0].conduct = Conduct::Bounces(StanzaError::NotAllowed);
    world.sip(&message(KIM, JOHN, "Hello"));
    world.hears_begin("SIP/2.0 403 not today");
}

#[test]
fn s5_a_stanza_becomes_a_message_with_the_trust_of_its_partner() {
    let mut world = World::new();
    world.stanza(
        "<message from='john@fabrikam.example/balcony' to='kim@simple.example' id='m1' \
         xml:lang='en'><subject>Lunch</subject><body>Now?</body></message>",
    );
    let request = world.hears_begin("MESSAGE sip:kim@simple.example SIP/2.0\r\n");
    assert_eq!(body(&request.text), "Now?");
    assert!(header(&request.text, "From").starts_with("<sip:john@fabrikam.example>;tag="));
    assert_eq!(header(&request.text, "Subject"), "Lunch");
    assert_eq!(header(&request.text, "Content-Language"), "en");
    assert_eq!(
        header(&request.text, "ms-edge-proxy-message-trust"),
        "ms-source-type=AutoFederation;ms-ep-fqdn=gw.contoso.example;\
         ms-source-verified-user=verified;ms-source-network=federation"
    );
    assert!(!request.text.contains("\r\nContact:"), "RFC 3428 section 4");
    world.answer(&request, "200 OK", "", "");
    world.nothing_more();
}

#[test]
fn s5_a_refusal_goes_back_as_an_error_to_the_resource_that_wrote() {
    let mut world = World::new();
    let hi = "<body>Hi</body>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", hi));
    let request = world.hears();
    world.answer(&request, "404 Nobody Here", "", "");
    let stanza = world.sees();
    assert_eq!(attribute(&stanza, "to"), "john@fabrikam.example/x");
    assert_eq!(
        (attribute(&stanza, "id"), attribute(&stanza, "type")),
        ("m1".into(), "error".into())
    );
    assert!(stanza.contains("item-not-found") && stanza.contains("Nobody Here"), "{stanza}");
}

#[test]
fn s5_a_message_beyond_1300_bytes_is_refused() {
    let mut world = World::new();
    let long = format!("<body>{}</body>", "x".repeat(1_300));
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", &long));
    assert!(world.sees().contains("policy-violation"));
    world.nothing_more();
    assert_eq!(world.gateway.counters().refused_size, 1);
}

#[test]
fn a_sip_side_that_never_answers_is_a_remote_server_timeout() {
    let mut world = World::new();
    let hi = "<body>Hi</body>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", hi));
    let request = world.hears();
    world.pass(31_999);
    world.nothing_more();
    world.pass(1);
    assert!(world.sees().contains("remote-server-timeout"));
    world.answer(&request, "200 OK", "", "");
    assert_eq!(world.gateway.counters().stray_responses, 1, "too late");
}

#[test]
fn a_next_hop_that_is_not_reached_is_said_at_once_while_it_rests() {
    let mut world = World::new();
    world.connected = false;
    let hi = "<body>Hi</body>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", hi));
    world.deny();
    assert!(world.sees().contains("remote-server-timeout"));
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m2", hi));
    assert!(world.connects.is_empty(), "it rests");
    assert!(world.sees().contains("remote-server-timeout"));
    world.pass(2_000);
    world.connected = true;
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m3", hi));
    world.hears_begin("MESSAGE ");
}

#[test]
fn an_answer_counts_only_from_whom_was_asked() {
    let mut world = World::new();
    let hi = "<body>Hi</body>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", hi));
    let request = world.hears();
    let forged = Said { leg: world.pool, text: request.text.clone() };
    world.answer(&forged, "603 Decline", "", "");
    world.nothing_more();
    let other = request.text.replace("branch=z9hG4bK0000000000", "branch=z9hG4bK0000000100");
    world.answer(&Said { leg: request.leg, text: other }, "603 Decline", "", "");
    world.nothing_more();
    assert_eq!(world.gateway.counters().stray_responses, 2);
    world.answer(&request, "200 OK", "", "");
    assert_eq!(world.gateway.counters().stray_responses, 2);
}

#[test]
fn a_contact_of_strangers_may_write_once_our_user_has() {
    let mut world = World::new();
    let hi = "<body>Hi</body>";
    world.stanza(&chat("eve@public.example/x", "kim@simple.example", "m1", hi));
    assert!(world.sees().contains("subscription-required"));
    world.sip(&message(KIM, "sip:eve@public.example", "Hello"));
    world.sees();
    world.pass(1_000);
    world.hears_begin("SIP/2.0 200");
    world.stanza(&chat("eve@public.example/x", "kim@simple.example", "m2", hi));
    let request = world.hears_begin("MESSAGE ");
    let trust = header(&request.text, "ms-edge-proxy-message-trust");
    assert!(trust.contains("=unverified;ms-source-network=publiccloud"), "{trust}");
    world.answer(&request, "200 OK", "", "");
    world.pass(700_000);
    world.stanza(&chat("eve@public.example/x", "kim@simple.example", "m3", hi));
    assert!(world.sees().contains("subscription-required"), "it is forgotten");
    assert_eq!(world.gateway.held(), [0; 4]);
}
