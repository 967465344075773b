//! RFC 7573: messages of a conversation.

use entente::edge::gateway::translate::chat_state::Typing;
use entente::edge::gateway::translate::content::{ContentFault, ContentType, TextForm};
use entente::edge::gateway::translate::message::{InstantMessage, MessageType, OfSip, Setting};
use entente::edge::gateway::translate::{ChatState, Loss, document};
use entente::xmpp::{Jid, Node};

fn stanza(text: &str) -> Node {
    document::read(text.replace("<message", "<message xmlns='jabber:server'").as_bytes()).unwrap()
}

#[test]
fn s4_a_chat_message_is_the_text_of_its_dialog() {
    let read = InstantMessage::of_stanza(&stanza(
        "<message type='chat' id='1'><subject>s</subject><thread>29377446</thread>\
         <body>I take thee at thy word ...</body>\
         <active xmlns='http://jabber.org/protocol/chatstates'/></message>",
    ));
    assert_eq!(read.value.kind, MessageType::Chat);
    assert_eq!(read.value.state, Some(ChatState::Active));
    let out = read.value.to_sip(Setting::Session, TextForm::Plain).unwrap();
    assert_eq!(out.value.body.bytes, b"I take thee at thy word ...");
    assert!(out.losses.has(Loss::Subject) && out.value.subject.is_none());
}

#[test]
fn s4_a_word_about_typing_has_no_text() {
    let read = InstantMessage::of_stanza(&stanza(
        "<message type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    ));
    assert_eq!(read.value.to_sip(Setting::Session, TextForm::Plain), None);
    assert_eq!(read.value.state, Some(ChatState::Composing));
}

#[test]
fn s5_a_message_of_a_dialog_is_a_chat_message() {
    let message = InstantMessage {
        kind: MessageType::Chat,
        state: Some(ChatState::Active),
        thread: Some("742507no".to_owned()),
        ..InstantMessage::default()
    };
    let jid = Jid::parse("a@x.example/r").unwrap();
    let mut out = Vec::new();
    message.to_stanza(&jid, &jid, "1").write(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<message from='a@x.example/r' to='a@x.example/r' id='1' type='chat'>\
         <thread>742507no</thread><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    );
}

#[test]
fn s5_typing_is_told_apart_from_text_by_the_type_of_the_body() {
    let body =
        Typing::Idle.write(entente::edge::gateway::translate::chat_state::TypingForm::IsComposing);
    let of_body = |content_type: &[u8], body: &[u8]| {
        InstantMessage::of_body(&ContentType::read(content_type), body).map(|read| read.value)
    };
    assert_eq!(of_body(b"application/im-iscomposing+xml", &body), Ok(OfSip::Typing(Typing::Idle)));
    assert!(matches!(of_body(b"text/plain", &body), Ok(OfSip::Message(_))));
    assert_eq!(of_body(b"application/xml", b"<MusicOnHold/>"), Err(ContentFault::MediaType));
}

#[test]
fn every_type_of_message_is_known_and_the_rest_is_normal() {
    for (text, kind) in [
        ("chat", MessageType::Chat),
        ("normal", MessageType::Normal),
        ("headline", MessageType::Headline),
        ("groupchat", MessageType::GroupChat),
        ("error", MessageType::Error),
        ("other", MessageType::Normal),
    ] {
        let node = stanza(&format!("<message type='{text}'/>"));
        assert_eq!(MessageType::of_stanza(&node), kind);
    }
}
