//! XEP-0085: chat states, as RFC 3994 and Lync have them.

use entente::edge::gateway::translate::chat_state::{ChatState, Typing, TypingForm};
use entente::edge::gateway::translate::document;
use entente::limits;

const ACTIVE: Typing = Typing::Active { refresh_s: limits::GATEWAY_COMPOSING_REFRESH_S };

#[test]
fn s3_each_state_has_its_word_on_the_sip_side() {
    let rows = [
        (ChatState::Composing, Some(ACTIVE)),
        (ChatState::Active, Some(Typing::Idle)),
        (ChatState::Paused, Some(Typing::Idle)),
        (ChatState::Inactive, Some(Typing::Idle)),
        (ChatState::Gone, None),
    ];
    assert_eq!(rows.map(|(state, _)| state).len(), ChatState::ALL.len());
    for (state, typing) in rows {
        assert_eq!(state.typing(), typing, "{state:?}");
    }
    assert_eq!(ChatState::from(ACTIVE), ChatState::Composing);
    assert_eq!(ChatState::from(Typing::Idle), ChatState::Active);
}

#[test]
fn s3_a_state_is_read_as_it_is_written() {
    for state in ChatState::ALL {
        let text = format!(
            "<message xmlns='jabber:server'><{} xmlns='http://jabber.org/protocol/chatstates'/>\
                </message>",
            state.as_str()
        );
        let stanza = document::read(text.as_bytes()).unwrap();
        assert_eq!(ChatState::of_stanza(&stanza), Some(state));
        assert_eq!(stanza.children().next(), Some(&state.node()));
    }
    let other = b"<message xmlns='jabber:server'><composing xmlns='jabber:x:event'/></message>";
    assert_eq!(ChatState::of_stanza(&document::read(other).unwrap()), None);
}

#[test]
fn rfc3994_s4_reads_what_the_rfc_shows() {
    let body = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
        <isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"\r\n\
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"\r\n\
        xsi:schemaLocation=\"urn:ietf:params:xml:ns:im-composing iscomposing.xsd\">\r\n\
        <state>active</state><contenttype>text/plain</contenttype><refresh>120</refresh>\r\n\
        </isComposing>\r\n";
    assert_eq!(Typing::read(body), Some(Typing::Active { refresh_s: 120 }));
    let with = |inner: &str| {
        let body = format!(
            "<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'>{inner}</isComposing>"
        );
        Typing::read(body.as_bytes())
    };
    assert_eq!(with("<state>idle</state>"), Some(Typing::Idle));
    assert_eq!(with("<state>thinking</state>"), Some(Typing::Idle));
    assert_eq!(with("<state>active</state>"), Some(ACTIVE));
    let refresh = |s: &str| with(&format!("<state>active</state><refresh>{s}</refresh>"));
    assert_eq!(refresh("1"), Some(Typing::Active { refresh_s: 60 }));
    assert_eq!(refresh("4000000000"), Some(Typing::Active { refresh_s: 600 }));
    assert_eq!(refresh("x"), Some(ACTIVE));
    assert_eq!(with(""), None);
}

#[test]
fn lync_keyboard_activity_is_read() {
    let body =
        b"<?xml version=\"1.0\"?><KeyboardActivity><status status=\"type\"/></KeyboardActivity>";
    let refresh_s = limits::GATEWAY_KEYBOARD_ACTIVITY_S;
    assert_eq!(Typing::read(body), Some(Typing::Active { refresh_s }));
    let body = b"<KeyboardActivity>\r\n  <status status=\"idle\" />\r\n</KeyboardActivity>";
    assert_eq!(Typing::read(body), Some(Typing::Idle));
    for none in
        ["<KeyboardActivity/>", "<KeyboardActivity><status/></KeyboardActivity>", "<x/>", ""]
    {
        assert_eq!(Typing::read(none.as_bytes()), None, "{none}");
    }
}

#[test]
fn what_is_written_is_read() {
    for typing in [ACTIVE, Typing::Idle] {
        assert_eq!(Typing::read(&typing.write(TypingForm::IsComposing)), Some(typing));
        let lync = Typing::read(&typing.write(TypingForm::KeyboardActivity)).unwrap();
        assert_eq!(ChatState::from(lync), ChatState::from(typing));
    }
    let body = ACTIVE.write(TypingForm::KeyboardActivity);
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.ends_with("<KeyboardActivity><status status='type'/></KeyboardActivity>"),
        "{body}"
    );
}

#[test]
fn xml_that_could_expand_or_be_read_in_two_ways_is_refused() {
    for body in [
        "<!DOCTYPE x [<!ENTITY a 'b'>]><KeyboardActivity><status status='type'/>\
            </KeyboardActivity>",
        "<KeyboardActivity><!-- x --><status status='type'/></KeyboardActivity>",
        "<KeyboardActivity><?x?><status status='type'/></KeyboardActivity>",
        "<KeyboardActivity><status status='type'/></KeyboardActivity><x/>",
        "<KeyboardActivity><status status='&x;'/></KeyboardActivity>",
        "<?xml version='1.0' encoding='UTF-16'?><KeyboardActivity><status status='type'/>\
            </KeyboardActivity>",
    ] {
        assert_eq!(Typing::read(body.as_bytes()), None, "{body}");
    }
    let deep = "<a>".repeat(64);
    assert_eq!(document::read(deep.as_bytes()), None);
}
