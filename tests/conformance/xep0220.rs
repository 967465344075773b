//! XEP-0220: server dialback.

use entente::xmpp::dialback::{
    Answer, Dialback, DialbackFault, Says, Step, write_result, write_result_key, write_verify,
    write_verify_key,
};
use entente::xmpp::{ErrorKind, StanzaError};

use crate::xmpp::{element, written};

fn read(text: &str) -> Result<Dialback, DialbackFault> {
    element(text, |element| Dialback::read(element).expect("of dialback"))
}

#[test]
fn s2_1_the_originating_server_sends_a_key() {
    let text = written(|out| write_result_key("a.example", "b.example", "k3y", out));
    assert_eq!(text, "<db:result from='a.example' to='b.example'>k3y</db:result>");
    let dialback = read(&text).unwrap();
    assert_eq!((dialback.step, dialback.says), (Step::Result, Says::Key("k3y".to_owned())));
    assert_eq!((&*dialback.from, &*dialback.to, dialback.id), ("a.example", "b.example", None));
}

#[test]
fn s2_2_the_receiving_server_asks_with_the_streams_id() {
    let text = written(|out| write_verify_key("b.example", "a.example", "id1", "k3y", out));
    let dialback = read(&text).unwrap();
    assert_eq!(dialback.step, Step::Verify);
    assert_eq!(dialback.id.as_deref(), Some("id1"));
    assert_eq!(dialback.says, Says::Key("k3y".to_owned()));
    let without = "<db:verify from='b.example' to='a.example'>k3y</db:verify>";
    assert_eq!(read(without), Err(DialbackFault::Format));
}

#[test]
fn s2_3_and_s2_4_a_key_is_valid_or_invalid() {
    for (answer, says) in [(Answer::Valid, Says::Valid), (Answer::Invalid, Says::Invalid)] {
        let result = read(&written(|out| write_result("b.example", "a.example", answer, out)));
        assert_eq!(result.unwrap().says, says);
        let verify = written(|out| write_verify("a.example", "b.example", "id1", answer, out));
        let verify = read(&verify).unwrap();
        assert_eq!((verify.says, verify.id.as_deref()), (says, Some("id1")));
    }
}

#[test]
fn s2_5_an_error_says_why_it_could_not_be_found_out() {
    for condition in [
        StanzaError::ItemNotFound,
        StanzaError::RemoteServerNotFound,
        StanzaError::RemoteServerTimeout,
        StanzaError::PolicyViolation,
        StanzaError::NotAcceptable,
    ] {
        let answer = Answer::Error(condition);
        let text = written(|out| write_result("b.example", "a.example", answer, out));
        match read(&text).unwrap().says {
            Says::Error(error) => assert_eq!(error.condition, condition),
            other => panic!("{other:?}"),
        }
    }
    let bare = "<db:verify from='a.example' to='b.example' id='1' type='error'/>";
    match read(bare).unwrap().says {
        Says::Error(error) => {
            assert_eq!(error.condition, StanzaError::UndefinedCondition);
            assert_eq!(error.kind, ErrorKind::Cancel);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn s2_an_element_without_addresses_or_key_is_a_fault() {
    for text in [
        "<db:result to='b.example'>k</db:result>",
        "<db:result from='a.example'>k</db:result>",
        "<db:result from='' to='b.example'>k</db:result>",
    ] {
        assert_eq!(read(text), Err(DialbackFault::Addressing), "{text}");
    }
    for text in [
        "<db:result from='a.example' to='b.example'/>",
        "<db:result from='a.example' to='b.example'> </db:result>",
        "<db:result from='a.example' to='b.example' type='maybe'>k</db:result>",
    ] {
        assert_eq!(read(text), Err(DialbackFault::Format), "{text}");
    }
}

#[test]
fn s2_1_1_the_namespace_decides_not_the_prefix() {
    let other =
        "<x:result xmlns:x='jabber:server:dialback' from='a.example' to='b.example'>k</x:result>";
    assert!(read(other).is_ok());
    let not = "<db:result xmlns:db='urn:other' from='a.example' to='b.example'>k</db:result>";
    element(not, |element| assert!(Dialback::read(element).is_none()));
}
