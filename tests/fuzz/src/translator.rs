//! What one side says, said on the other, whatever it is.
//!
//! An input is a Content-Type, a line end, and a body; the body is also tried as each thing that
//! crosses the gateway.

use entente::edge::gateway::translate::chat_state::{Typing, TypingForm};
use entente::edge::gateway::translate::content::{ContentType, TextForm, Words, first_text};
use entente::edge::gateway::translate::cpim::Cpim;
use entente::edge::gateway::translate::message::{InstantMessage, OfSip, Setting};
use entente::edge::gateway::translate::presence::{Notes, Presence};
use entente::edge::gateway::translate::receipt::Receipt;
use entente::edge::gateway::translate::subscription::SubscriptionState;
use entente::edge::gateway::translate::{address, document, fault, html, ns, pidf, rtf, xhtml};
use entente::limits;
use entente::sip::Uri;
use entente::xmpp::{Jid, Node, StanzaError};

/// Nothing panics, and what is written to a side is something that side can read.
pub fn translator(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (content_type, body) = input.split_at(end);
    let body = body.get(1..).unwrap_or(body);
    let content_type = ContentType::read(content_type.trim_ascii());
    if let Ok(read) = InstantMessage::of_body(&content_type, body) {
        match read.value {
            OfSip::Message(message) => said(&message),
            OfSip::Typing(typing) => typed(typing),
            OfSip::Receipt(receipt) => received(&receipt),
        }
    }
    let _ = (first_text(body), Cpim::read(body), SubscriptionState::read(body));
    formatted(&String::from_utf8_lossy(body));
    let _ = rtf::plain(body);
    addressed(input);
    present(body);
    if let Some(root) = document::read(body) {
        stanza(&root);
    }
}

/// Writes a node as it goes on a stream, and reads it back.
fn carried(node: &Node) -> Node {
    let mut bytes = Vec::new();
    node.write(&mut bytes);
    let fits = bytes.len() <= limits::GATEWAY_BODY_BYTES_MAX;
    let read = document::read(&bytes);
    assert!(read.is_some() || !fits, "{}", String::from_utf8_lossy(&bytes));
    read.unwrap_or_else(|| node.clone())
}

fn said(message: &InstantMessage) {
    let jid = Jid::parse("kim@contoso.example/desk").expect("an address");
    let read = carried(&message.to_stanza(&jid, &jid, "1"));
    let back = InstantMessage::of_stanza(&read).value;
    let plain = |words: &Option<Words>| words.as_ref().map(|words| words.plain.clone());
    assert_eq!(plain(&back.words), plain(&message.words));
    for (setting, form) in [(Setting::Pager, TextForm::Plain), (Setting::Session, TextForm::Html)] {
        let Some(parts) = message.to_sip(setting, form) else { continue };
        let headers = [&parts.value.subject, &parts.value.language, &parts.value.call_id];
        for value in headers.into_iter().flatten() {
            assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
        }
        let asking = parts.value.asking_for_receipt("sip:a@b.example", "sip:c@d.example", "x");
        assert!(Cpim::read(&asking.body.bytes).expect("ours").wants_receipt());
    }
}

fn typed(typing: Typing) {
    for form in [TypingForm::IsComposing, TypingForm::KeyboardActivity] {
        assert!(Typing::read(&typing.write(form)).is_some());
    }
}

fn received(receipt: &Receipt) {
    let written = receipt.write("2026-01-01T00:00:00Z");
    assert_eq!(Receipt::read(&written).map(|read| read.disposition), Some(receipt.disposition));
}

fn formatted(page: &str) {
    let body = html::sanitised(page).value;
    allowed(&body);
    assert_eq!(carried(&xhtml::wrapped(&body)).child("body", ns::XHTML), Some(&body));
    let again = html::sanitised(&xhtml::to_html(&body)).value;
    allowed(&again);
    assert_eq!(xhtml::plain(&again), xhtml::plain(&body));
}

fn allowed(node: &Node) {
    assert!(xhtml::ELEMENTS.contains(&node.name()) && node.namespace() == ns::XHTML);
    assert!(node.attributes().all(|(name, _)| xhtml::ATTRIBUTES.contains(&name)));
    node.children().for_each(allowed);
}

fn addressed(input: &[u8]) {
    if let Ok(jid) = address::jid_of(input) {
        let uri = address::uri_of(&jid.value).expect("it came from a URI");
        assert!(Uri::parse(uri.as_bytes()).is_ok(), "{uri}");
        let back = address::jid_of(uri.as_bytes()).expect("it came from a JID");
        assert_eq!(back.value, jid.value);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(jid) = Jid::parse(text)
        && let Ok(uri) = address::uri_of(&jid)
    {
        let back = address::jid_of(uri.as_bytes()).expect("it came from a JID");
        assert_eq!(back.value, jid);
    }
    if !text.is_empty() {
        assert_eq!(pidf::resource_of(&pidf::tuple_id(text)).as_deref(), Some(text));
    }
    if let Some(error) = fault::stanza_error_of(301, input, Some(input)) {
        carried(&fault::error_node(&error.value));
    }
}

fn present(body: &[u8]) {
    let read = pidf::read(body).map(|read| read.value);
    let category = pidf::read_categories(body).map(|read| vec![read.value]);
    for presences in [read, category].into_iter().flatten() {
        let written = pidf::write("sip:kim@contoso.example", &presences, Notes::Shown).value;
        let again = pidf::read(&written).expect("what is written is a document").value;
        let states = |of: &[Presence]| of.iter().map(|p| p.availability).collect::<Vec<_>>();
        assert!(presences.is_empty() || states(&again) == states(&presences));
        let jid = Jid::parse("kim@contoso.example").expect("an address");
        for presence in &presences {
            let stanza = carried(&presence.to_stanza(&jid, &jid, Notes::Shown).value);
            let back = Presence::of_stanza(&stanza).expect("a presence").value;
            assert_eq!(back.availability, presence.availability);
        }
    }
}

fn stanza(root: &Node) {
    said(&InstantMessage::of_stanza(root).value);
    if let Some(presence) = Presence::of_stanza(root) {
        let written = pidf::write("sip:kim@contoso.example", &[presence.value], Notes::Shown);
        assert!(pidf::read(&written.value).is_some());
    }
    if let Some(error) = fault::read_error(root) {
        assert!(StanzaError::ALL.contains(&error.condition));
        let (full, invite) = (fault::Addressed::Full, fault::Transaction::Invite);
        let refusal = fault::refusal_of(&error, full, invite).value;
        assert!((300..700).contains(&refusal.status));
        assert!(!refusal.reason.contains(['\r', '\n']));
    }
}
