//! RFC 7573 and XEP-0085: chats with peers that hold them in sessions, and with peers that do not.

use super::world::*;
use crate::xmpp::StanzaError;

const KIM: &str = "sip:kim@contoso.example";
const JOHN: &str = "<sip:john@fabrikam.example>";
const SDP: &str = "v=0\r\no=- 0 0 IN IP4 fe1\r\ns=session\r\nc=IN IP4 fe1\r\nt=0 0\r\n\
    m=message 5060 sip null\r\na=accept-types:text/plain text/html\r\n";
const INVITE: &str = "Contact: <sip:fe1.contoso.example:5061;transport=tls>\r\n\
    Content-Type: application/sdp\r\n";

fn from_john(id: &str, content: &str) -> String {
    chat("john@fabrikam.example/balcony", "kim@contoso.example", id, content)
}

/// Returns a request of Kim's in the session that `answer` has formed.
fn within(answer: &str, method: &str, cseq: u32, lines: &str, content: &str) -> String {
    let to = header(answer, "To");
    let contact = header(answer, "Contact");
    let uri = contact.trim_matches(|c| c == '<' || c == '>');
    sip_request(method, uri, KIM, &to, &cseq.to_string(), lines, content)
}

/// Kim begins a session. Returns the answer that has formed it.
fn begun_by_kim(world: &mut World) -> String {
    world.sip(&request("INVITE", KIM, JOHN, INVITE, SDP));
    let answer = world.hears_begin("SIP/2.0 200 OK").text;
    world.sip(&within(&answer, "ACK", 1, "", ""));
    answer
}

fn text_plain(world: &mut World, answer: &str, cseq: u32, text: &str) {
    let lines = "Content-Type: text/plain\r\n";
    world.sip(&within(answer, "MESSAGE", cseq, lines, text));
}

/// John has written, and Kim's side has accepted. Returns the INVITE and the first MESSAGE.
fn begun_by_john(world: &mut World) -> (Said, Said) {
    world.stanza(&from_john(
        "m1",
        "<thread>t1</thread><body>Hi</body><active xmlns='http://jabber.org/protocol/chatstates'/>",
    ));
    let invite = world.hears_begin("INVITE sip:kim@contoso.example SIP/2.0\r\n");
    assert!(world.said.is_empty(), "the words wait for the session");
    let contact = "Contact: <sip:fe1.contoso.example:5061;transport=tls>\r\n\
        Record-Route: <sip:pool.contoso.example;lr>\r\nContent-Type: application/sdp\r\n";
    world.answer(&invite, "200 OK", contact, SDP);
    let ack = world.hears_begin("ACK sip:fe1.contoso.example:5061;transport=tls SIP/2.0\r\n");
    assert_eq!(header(&ack.text, "CSeq"), "1 ACK");
    let first = world.hears_begin("MESSAGE sip:fe1.contoso.example:5061;transport=tls ");
    assert_eq!(body(&first.text), "Hi");
    (invite, first)
}

#[test]
fn a_contacts_chat_is_a_session_that_ends_with_gone() {
    let mut world = World::new();
    let (invite, first) = begun_by_john(&mut world);
    assert_eq!(header(&invite.text, "Call-ID"), "t1", "RFC 7573: the thread");
    assert!(body(&invite.text).contains("m=message 5060 sip null\r\n"));
    assert_eq!(header(&first.text, "Route"), "<sip:pool.contoso.example;lr>");
    assert_eq!(header(&first.text, "Call-ID"), "t1");
    world.answer(&first, "200 OK", "", "");
    world.stanza(&from_john("m2", "<body>There?</body>"));
    let second = world.hears_begin("MESSAGE ");
    assert_eq!(header(&second.text, "CSeq"), "3 MESSAGE");
    world.answer(&second, "200 OK", "", "");
    let gone = "<gone xmlns='http://jabber.org/protocol/chatstates'/>";
    world.stanza(&from_john("m3", gone));
    let bye = world.hears_begin("BYE ");
    world.answer(&bye, "200 OK", "", "");
    world.nothing_more();
    assert_eq!(world.gateway.held()[3], 0);
}

#[test]
fn what_our_user_writes_in_the_session_goes_to_the_resource_that_wrote() {
    let mut world = World::new();
    let (invite, first) = begun_by_john(&mut world);
    world.answer(&first, "200 OK", "", "");
    let contact = header(&invite.text, "Contact");
    let text = format!(
        "MESSAGE {} SIP/2.0\r\nVia: SIP/2.0/TLS fe1;branch=z9hG4bKq\r\nMax-Forwards: 70\r\n\
         From: <{KIM}>;tag=inside\r\nTo: {}\r\nCall-ID: t1\r\nCSeq: 7 MESSAGE\r\n\
         Content-Type: text/html\r\nContent-Length: 16\r\n\r\nYes, <b>now</b>!",
        contact.trim_matches(|c| c == '<' || c == '>'),
        header(&invite.text, "From"),
    );
    world.sip(&text);
    let stanza = world.sees();
    assert_eq!(attribute(&stanza, "to"), "john@fabrikam.example/balcony");
    assert_eq!(attribute(&stanza, "type"), "chat");
    assert!(stanza.contains("<thread>t1</thread>") && stanza.contains("Yes, now!"), "{stanza}");
    assert!(stanza.contains("<active "), "XEP-0085 section 5.1");
    world.pass(250);
    world.hears_begin("SIP/2.0 200 OK");
}

#[test]
fn an_invite_that_is_refused_fails_every_message_that_waits() {
    let mut world = World::new();
    world.stanza(&from_john("m1", "<body>Hi</body>"));
    let invite = world.hears_begin("INVITE ");
    world.stanza(&from_john("m2", "<body>There?</body>"));
    world.answer(&invite, "480 Gone Home", "", "");
    let ack = world.hears_begin("ACK ");
    assert_eq!(header(&ack.text, "Via"), header(&invite.text, "Via"), "of the transaction");
    for id in ["m1", "m2"] {
        let error = world.sees();
        assert_eq!(attribute(&error, "id"), id);
        assert!(error.contains("recipient-unavailable"), "{error}");
    }
    world.nothing_more();
    assert_eq!(world.gateway.held()[3], 0);
}

#[test]
fn an_invite_that_nobody_answers_is_cancelled_and_a_late_acceptance_ended() {
    let mut world = World::new();
    world.stanza(&from_john("m1", "<body>Hi</body>"));
    let invite = world.hears_begin("INVITE ");
    world.answer(&invite, "180 Ringing", "", "");
    world.pass(32_000);
    let cancel = world.hears_begin("CANCEL ");
    assert_eq!(header(&cancel.text, "Via"), header(&invite.text, "Via"));
    assert!(world.sees().contains("remote-server-timeout"));
    world.answer(&invite, "200 OK", "Contact: <sip:fe1>\r\n", SDP);
    world.hears_begin("ACK ");
    world.hears_begin("BYE ");
    world.nothing_more();
    assert_eq!(world.gateway.held()[3], 0);
}

#[test]
fn without_a_provisional_answer_the_cancel_waits_for_one() {
    let mut world = World::new();
    world.stanza(&from_john("m1", "<body>Hi</body>"));
    let invite = world.hears_begin("INVITE ");
    world.pass(32_000);
    world.sees();
    world.nothing_more();
    world.answer(&invite, "180 Ringing", "", "");
    world.hears_begin("CANCEL ");
    world.answer(&invite, "487 Terminated", "", "");
    world.hears_begin("ACK ");
    world.nothing_more();
}

#[test]
fn who_leaves_before_the_session_stands_is_heard_all_the_same() {
    let mut world = World::new();
    world.stanza(&from_john("m1", "<body>Hi</body>"));
    let invite = world.hears_begin("INVITE ");
    world.stanza(&from_john("s", "<gone xmlns='http://jabber.org/protocol/chatstates'/>"));
    world.nothing_more();
    world.answer(&invite, "200 OK", "Contact: <sip:fe1>\r\n", SDP);
    world.hears_begin("ACK ");
    assert_eq!(body(&world.hears_begin("MESSAGE ").text), "Hi");
    world.hears_begin("BYE ");
    world.nothing_more();
}

#[test]
fn words_that_wait_when_the_gateway_ends_are_not_lost_unsaid() {
    let mut world = World::new();
    world.stanza(&from_john("m1", "<body>Hi</body>"));
    world.hears_begin("INVITE ");
    world.drain(crate::edge::Drain::Closing);
    world.pass(0);
    assert!(world.sees().contains("remote-server-timeout"));
}

#[test]
fn a_session_that_the_other_side_has_forgotten_is_begun_anew() {
    let mut world = World::new();
    let (_, first) = begun_by_john(&mut world);
    world.answer(&first, "200 OK", "", "");
    world.stanza(&from_john("m2", "<body>Again</body>"));
    let second = world.hears_begin("MESSAGE ");
    world.answer(&second, "481 Restarted", "", "");
    let invite = world.hears_begin("INVITE ");
    let contact = "Contact: <sip:fe2>\r\nContent-Type: application/sdp\r\n";
    world.answer(&invite, "200 OK", contact, SDP);
    world.hears_begin("ACK ");
    let again = world.hears_begin("MESSAGE sip:fe2 ");
    assert_eq!(body(&again.text), "Again");
    world.answer(&again, "200 OK", "", "");
    world.nothing_more();
}

#[test]
fn a_silent_session_ends_and_a_receipt_is_the_answer() {
    let mut world = World::new();
    let (_, first) = begun_by_john(&mut world);
    world.answer(&first, "200 OK", "", "");
    world.stanza(&from_john("m2", "<body>!</body><request xmlns='urn:xmpp:receipts'/>"));
    let second = world.hears_begin("MESSAGE ");
    world.answer(&second, "200 OK", "", "");
    let receipt = world.sees();
    assert!(receipt.contains("<received xmlns='urn:xmpp:receipts' id='m2'/>"), "{receipt}");
    world.pass(599_000);
    world.nothing_more();
    world.pass(1_000);
    world.hears_begin("BYE ");
    assert_eq!(world.gateway.counters().sessions_idle, 1);
}

#[test]
fn our_users_session_is_accepted_and_its_end_is_gone() {
    let mut world = World::new();
    let answer = begun_by_kim(&mut world);
    assert!(body(&answer).contains("m=message 5060 sip null\r\na=accept-types:text/plain"));
    text_plain(&mut world, &answer, 2, "Hello");
    let stanza = world.sees();
    assert_eq!(attribute(&stanza, "type"), "chat");
    world.pass(250);
    world.hears_begin("SIP/2.0 200 OK");
    // His client answers, and shows that it says who types.
    let state = "<body>Yes</body><active xmlns='http://jabber.org/protocol/chatstates'/>";
    world.stanza(&from_john("m1", state));
    let reply = world.hears_begin("MESSAGE sip:fe1.contoso.example:5061;transport=tls ");
    world.answer(&reply, "200 OK", "", "");
    world.sip(&within(&answer, "BYE", 3, "", ""));
    world.hears_begin("SIP/2.0 200 OK");
    let gone = world.sees();
    assert!(gone.contains("<gone "), "{gone}");
    assert_eq!(attribute(&gone, "to"), "john@fabrikam.example/balcony");
    world.nothing_more();
}

#[test]
fn typing_passes_both_ways_and_ends_by_itself() {
    let mut world = World::new();
    let answer = begun_by_kim(&mut world);
    let typing = "<KeyboardActivity><status status=\"type\"/></KeyboardActivity>";
    let lines = "Content-Type: application/xml\r\n";
    world.sip(&within(&answer, "INFO", 2, lines, typing));
    world.hears_begin("SIP/2.0 200 OK");
    world.nothing_more();
    let state = |state: &str| format!("<{state} xmlns='http://jabber.org/protocol/chatstates'/>");
    world.stanza(&from_john("s1", &state("composing")));
    let info = world.hears_begin("INFO ");
    assert!(body(&info.text).contains("status='type'"), "{}", info.text);
    world.answer(&info, "200 OK", "", "");
    world.stanza(&from_john("s2", &state("paused")));
    let info = world.hears_begin("INFO ");
    assert!(body(&info.text).contains("status='idle'"), "{}", info.text);
    world.answer(&info, "200 OK", "", "");
    world.stanza(&from_john("s3", &state("inactive")));
    world.nothing_more();
    world.sip(&within(&answer, "INFO", 3, lines, typing));
    world.hears_begin("SIP/2.0 200 OK");
    assert!(world.sees().contains("<composing "));
    world.pass(15_000);
    assert!(world.sees().contains("<paused "));
    world.nothing_more();
}

#[test]
fn the_first_words_come_with_the_invite_and_are_said_once() {
    let mut world = World::new();
    let lines = format!("{INVITE}ms-text-format: text/plain; charset=UTF-8; ms-body=SGVsbG8=\r\n");
    world.sip(&request("INVITE", KIM, JOHN, &lines, SDP));
    let answer = world.hears_begin("SIP/2.0 200 OK").text;
    assert!(world.sees().contains("<body>Hello</body>"));
    world.sip(&within(&answer, "ACK", 1, "", ""));
    text_plain(&mut world, &answer, 2, "Hello");
    world.hears_begin("SIP/2.0 200 OK");
    world.nothing_more();
    text_plain(&mut world, &answer, 3, "Hello");
    assert!(world.sees().contains("<body>Hello</body>"), "the second is a second");
}

#[test]
fn a_session_without_messages_is_not_acceptable() {
    let mut world = World::new();
    let audio = SDP.replace("m=message 5060 sip null", "m=audio 4000 RTP/AVP 0");
    world.sip(&request("INVITE", KIM, JOHN, INVITE, &audio));
    world.hears_begin("SIP/2.0 488 ");
    assert_eq!(world.gateway.held(), [0; 4]);
}

#[test]
fn an_acceptance_that_is_not_acknowledged_is_ended() {
    let mut world = World::new();
    world.sip(&request("INVITE", KIM, JOHN, INVITE, SDP));
    world.hears_begin("SIP/2.0 200 OK");
    world.pass(31_999);
    world.nothing_more();
    world.pass(1);
    world.hears_begin("BYE ");
}

#[test]
fn a_contact_who_is_not_there_is_said_by_the_answer_to_the_message() {
    let mut world = World::new();
    let answer = begun_by_kim(&mut world);
    world.edges[0].conduct = Conduct::Bounces(StanzaError::RemoteServerNotFound);
    text_plain(&mut world, &answer, 2, "Hello");
    world.hears_begin("SIP/2.0 404 ");
}

#[test]
fn a_peer_of_single_messages_hears_of_typing_and_asks_for_receipts() {
    let mut world = World::new();
    let john = "john@fabrikam.example/balcony";
    let state = |state: &str| format!("<{state} xmlns='http://jabber.org/protocol/chatstates'/>");
    world.stanza(&chat(john, "kim@simple.example", "s1", &state("composing")));
    let typing = world.hears_begin("MESSAGE sip:kim@simple.example ");
    assert_eq!(header(&typing.text, "Content-Type"), "application/im-iscomposing+xml");
    assert!(body(&typing.text).contains("<state>active</state>"));
    world.answer(&typing, "200 OK", "", "");
    let asks = "<body>Hi</body><request xmlns='urn:xmpp:receipts'/>";
    world.stanza(&chat(john, "kim@simple.example", "m1", asks));
    let wrapped = world.hears_begin("MESSAGE ");
    assert_eq!(header(&wrapped.text, "Content-Type"), "message/cpim");
    assert!(body(&wrapped.text).contains("imdn.Message-ID: m1"));
    world.answer(&wrapped, "415 Unsupported", "", "");
    let plain = world.hears_begin("MESSAGE ");
    assert_eq!(body(&plain.text), "Hi");
    world.answer(&plain, "200 OK", "", "");
    assert!(world.sees().contains("<received xmlns='urn:xmpp:receipts' id='m1'/>"));
    // What our user answers is of the chat.
    world.sip(&message("sip:kim@simple.example", "sip:john@fabrikam.example", "Hello"));
    let stanza = world.sees();
    assert_eq!(
        (attribute(&stanza, "type"), attribute(&stanza, "to")),
        ("chat".into(), john.into())
    );
}

#[test]
fn receipts_of_both_sides_find_their_messages() {
    let mut world = World::new();
    let kim = "sip:kim@simple.example";
    let cpim = "From: <sip:kim@simple.example>\r\nTo: <sip:john@fabrikam.example>\r\n\
        NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: k1\r\n\
        imdn.Disposition-Notification: positive-delivery\r\n\r\n\
        Content-Type: text/plain\r\n\r\nHello";
    world.sip(&request("MESSAGE", kim, JOHN, "Content-Type: message/cpim\r\n", cpim));
    let stanza = world.sees();
    assert_eq!(attribute(&stanza, "id"), "k1");
    assert!(stanza.contains("<request xmlns='urn:xmpp:receipts'/>"));
    world.pass(250);
    world.hears_begin("SIP/2.0 200 OK");
    let received = "<received xmlns='urn:xmpp:receipts' id='k1'/>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "r", received));
    let imdn = world.hears_begin("MESSAGE sip:kim@simple.example ");
    let told = body(&imdn.text);
    assert!(told.contains("message/imdn+xml") && told.contains("<message-id>k1<"), "{told}");
    assert!(told.contains("<delivered/>") && told.contains("2023-11-14T"), "{told}");
    world.answer(&imdn, "200 OK", "", "");
    world.nothing_more();
}
