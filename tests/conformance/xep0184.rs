//! XEP-0184: message delivery receipts.

use entente::edge::gateway::translate::message::InstantMessage;
use entente::edge::gateway::translate::receipt::ReceiptPart;
use entente::xmpp::{Jid, Node};

use super::xmpp::element;

fn read(content: &str) -> InstantMessage {
    let text = format!(
        "<message from='john@fabrikam.example/x' to='kim@contoso.example' id='m1'>{content}\
         </message>"
    );
    let node = element(&text, |element| Node::from(element));
    InstantMessage::of_stanza(&node).value
}

#[test]
fn s5_1_a_message_asks_for_a_receipt() {
    let message = read("<body>Hi</body><request xmlns='urn:xmpp:receipts'/>");
    assert_eq!(message.receipt, Some(ReceiptPart::Request));
    assert_eq!(read("<body>Hi</body>").receipt, None);
    let foreign = read("<body>Hi</body><request xmlns='urn:example'/>");
    assert_eq!(foreign.receipt, None, "the namespace decides");
}

#[test]
fn s5_2_a_receipt_names_the_message() {
    let message = read("<received xmlns='urn:xmpp:receipts' id='q7'/>");
    assert_eq!(message.receipt, Some(ReceiptPart::Received("q7".to_owned())));
    assert!(message.words.is_none(), "a receipt has no words");
}

#[test]
fn s5_what_is_written_is_read() {
    let jid = Jid::parse("kim@contoso.example/desk").expect("an address");
    for content in [
        "<body>Hi</body><request xmlns='urn:xmpp:receipts'/>",
        "<received xmlns='urn:xmpp:receipts' id='q7'/>",
    ] {
        let message = read(content);
        let stanza = message.to_stanza(&jid, &jid, "m2");
        assert_eq!(InstantMessage::of_stanza(&stanza).value.receipt, message.receipt);
    }
}
