//! RFC 7247: addresses and errors between SIP and XMPP.

use entente::edge::gateway::translate::address::{AddressFault, aor_of, jid_of, uri_of};
use entente::edge::gateway::translate::fault::{
    Addressed, NewPlace, Transaction, condition_of, error_node, read_error, refusal_of,
    stanza_error_of, status_of,
};
use entente::edge::gateway::translate::{Loss, Losses};
use entente::sip::Uri;
use entente::xmpp::{Jid, JidMalformed, Node, ReceivedStanzaError, Stanza, StanzaError, escape};
use proptest::prelude::*;

fn jid(uri: &str) -> String {
    jid_of(uri.as_bytes()).unwrap_or_else(|fault| panic!("{uri}: {fault}")).value.to_string()
}

fn uri(jid: &str) -> String {
    uri_of(&Jid::parse(jid).unwrap()).unwrap_or_else(|fault| panic!("{jid}: {fault}"))
}

/// The examples of section 5, each in both directions.
const BOTH_WAYS: [(&str, &str); 12] = [
    ("sip:f%C3%BC@sip.example", "fü@sip.example"),
    ("sip:o'malley@sip.example", r"o\27malley@sip.example"),
    ("sip:foo@sip.example;gr=bar", "foo@sip.example/bar"),
    ("sip:m&m@xmpp.example", r"m\26m@xmpp.example"),
    ("sip:tsch%C3%BCss@xmpp.example", "tschüss@xmpp.example"),
    ("sip:baz@xmpp.example;gr=qux", "baz@xmpp.example/qux"),
    ("sip:a/b@sip.example", r"a\2fb@sip.example"),
    ("sip:a%20b@sip.example", r"a\20b@sip.example"),
    ("sip:kim%40home@sip.example", r"kim\40home@sip.example"),
    ("sip:a%5Cb@sip.example", r"a\b@sip.example"),
    ("sip:a%5C26b@sip.example", r"a\5c26b@sip.example"),
    ("sip:x@sip.example;gr=%C3%BC%20%3B%2F", "x@sip.example/ü ;/"),
];

#[test]
fn s5_3_and_s5_4_translate_the_table_of_addresses_both_ways() {
    for (sip, xmpp) in BOTH_WAYS {
        assert_eq!(jid(sip), xmpp);
        assert_eq!(uri(xmpp), sip);
    }
}

#[test]
fn s5_1_each_character_of_ascii_is_carried_or_refused_and_never_changed() {
    for c in (' '..='~').filter(|c| !c.is_ascii_uppercase()) {
        let text = format!("a{c}b");
        let local = escape(&text).expect("no space at its edge");
        let there = uri_of(&Jid::new(Some(&local), "sip.example", None).unwrap()).unwrap();
        let parsed = Uri::parse(there.as_bytes()).expect("what is written is a URI");
        assert_eq!(parsed.user_unescaped().as_ref(), text.as_bytes(), "{there}");
        assert_eq!(jid(&there), format!("{local}@sip.example"));
        let allowed = c.is_ascii_alphanumeric() || "!$&'()*+,-./;=_~".contains(c);
        assert_eq!(there.contains('%'), !allowed, "{there}");
    }
}

#[test]
fn s5_1_refuses_what_has_no_counterpart() {
    let refused = [
        ("sips:kim@sip.example", AddressFault::Sips),
        ("tel:+15551234", AddressFault::Tel),
        ("http:kim@sip.example", AddressFault::Scheme),
        ("sip:sip.example", AddressFault::NoUser),
        ("sip:kim:secret@sip.example", AddressFault::Password),
        ("sip:k%C3@sip.example", AddressFault::Encoding),
        ("sip:k%G0@sip.example", AddressFault::Encoding),
        ("sip:k%4@sip.example", AddressFault::Encoding),
        ("sip:kim@[2001:db8::1]", AddressFault::Jid(JidMalformed::Domain)),
        ("sip:%20kim@sip.example", AddressFault::Jid(JidMalformed::Local)),
        ("sip:k%00m@sip.example", AddressFault::Jid(JidMalformed::Local)),
        // NFKC makes a backslash, and with it an escape, of the full-width one.
        ("sip:a%EF%BC%BC40b@sip.example", AddressFault::Ambiguous),
        ("kim", AddressFault::Syntax),
        ("sip:a@b@sip.example", AddressFault::Syntax),
    ];
    for (uri, fault) in refused {
        assert_eq!(jid_of(uri.as_bytes()), Err(fault), "{uri}");
    }
    let long = format!("sip:{}@sip.example", "a".repeat(1024));
    assert_eq!(jid_of(long.as_bytes()), Err(AddressFault::Jid(JidMalformed::Length)));
    let server = Jid::parse("xmpp.example").unwrap();
    assert_eq!(aor_of(&server), Err(AddressFault::NoUser));
    // `a\b` is how that user is written; read generously, both would be one.
    for ambiguous in [r"a\5cb@xmpp.example", r"\20kim@xmpp.example"] {
        let jid = Jid::parse(ambiguous).unwrap();
        assert_eq!(uri_of(&jid), Err(AddressFault::Ambiguous), "{ambiguous}");
    }
}

#[test]
fn s5_3_reads_im_and_pres_and_drops_what_is_no_part_of_the_address() {
    assert_eq!(jid("im:kim@sip.example"), "kim@sip.example");
    assert_eq!(jid("PRES:kim@sip.example"), "kim@sip.example");
    assert_eq!(jid("sip:Kim@SIP.example;transport=tls?Subject=x"), "kim@sip.example");
    let with_port = jid_of(b"sip:kim@sip.example:5061").unwrap();
    assert!(with_port.losses.has(Loss::Port));
    assert_eq!(jid("sip:kim@sip.example;gr"), "kim@sip.example");
    assert_eq!(aor_of(&Jid::parse("a@x.example/b").unwrap()).unwrap(), "sip:a@x.example");
}

proptest! {
    #[test]
    fn s5_a_jid_comes_back_from_sip_as_it_was(
        text in "[ -~ü€😀]{1,40}",
        resource in proptest::option::of("[ -~ü€]{1,40}"),
    ) {
        let Some(local) = escape(&text) else { return Ok(()) };
        let Ok(jid) = Jid::new(Some(&local), "xmpp.example", resource.as_deref()) else {
            return Ok(());
        };
        let Ok(uri) = uri_of(&jid) else { return Ok(()) };
        prop_assert!(uri.bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{uri}");
        prop_assert!(Uri::parse(uri.as_bytes()).is_ok());
        let back = jid_of(uri.as_bytes()).expect("it came from a JID");
        prop_assert_eq!(back.value, jid);
        prop_assert_eq!(back.losses, Losses::NONE);
    }

    #[test]
    fn s5_a_prepared_sip_user_comes_back_from_xmpp_as_it_was(user in "[!-?\\[-~ü]{1,40}") {
        let mut uri = "sip:".to_owned();
        for byte in user.bytes() {
            uri.push_str(&format!("%{byte:02X}"));
        }
        uri.push_str("@sip.example");
        let Ok(jid) = jid_of(uri.as_bytes()) else { return Ok(()) };
        let back = aor_of(&jid.value).expect("it came from a URI");
        let back = Uri::parse(back.as_bytes()).unwrap();
        let there = back.user_unescaped();
        prop_assert_eq!(std::str::from_utf8(&there).unwrap(), user);
    }

    #[test]
    fn s5_two_users_of_one_side_are_never_one_of_the_other(
        one in "[a-c\\\\@&%'/ 0-9ü＼＠]{1,8}",
        other in "[a-c\\\\@&%'/ 0-9ü＼＠]{1,8}",
    ) {
        let uri = |user: &str| {
            let escaped: String = user.bytes().map(|byte| format!("%{byte:02X}")).collect();
            jid_of(format!("sip:{escaped}@sip.example").as_bytes())
        };
        if let (Ok(first), Ok(second)) = (uri(&one), uri(&other)) {
            prop_assert!(one == other || first.value != second.value);
        }
    }
}

/// RFC 7247 table 2: the condition, its status to a full and to a bare address.
const TO_SIP: [(StanzaError, u16, u16); 22] = [
    (StanzaError::BadRequest, 400, 400),
    (StanzaError::Conflict, 400, 400),
    (StanzaError::FeatureNotImplemented, 405, 501),
    (StanzaError::Forbidden, 403, 603),
    (StanzaError::Gone, 410, 410),
    (StanzaError::InternalServerError, 500, 500),
    (StanzaError::ItemNotFound, 404, 604),
    (StanzaError::JidMalformed, 400, 400),
    (StanzaError::NotAcceptable, 406, 606),
    (StanzaError::NotAllowed, 403, 403),
    (StanzaError::NotAuthorized, 401, 401),
    (StanzaError::PolicyViolation, 403, 403),
    (StanzaError::RecipientUnavailable, 480, 600),
    (StanzaError::Redirect, 404, 404),
    (StanzaError::RegistrationRequired, 407, 407),
    (StanzaError::RemoteServerNotFound, 404, 404),
    (StanzaError::RemoteServerTimeout, 408, 408),
    (StanzaError::ResourceConstraint, 500, 500),
    (StanzaError::ServiceUnavailable, 403, 403),
    (StanzaError::SubscriptionRequired, 400, 400),
    (StanzaError::UndefinedCondition, 400, 400),
    (StanzaError::UnexpectedRequest, 491, 491),
];

#[test]
fn s4_2_each_condition_has_its_status() {
    for (condition, full, bare) in TO_SIP {
        let status =
            |addressed| status_of(condition, addressed, Transaction::Invite, NewPlace::Unknown);
        assert_eq!(status(Addressed::Full), full, "{condition:?}");
        assert_eq!(status(Addressed::Bare), bare, "{condition:?}");
    }
    let known = |c| status_of(c, Addressed::Bare, Transaction::Invite, NewPlace::Known);
    assert_eq!((known(StanzaError::Gone), known(StanzaError::Redirect)), (301, 302));
}

#[test]
fn rfc4320_s4_2_nothing_but_an_invite_is_answered_with_408() {
    for condition in StanzaError::ALL {
        for addressed in [Addressed::Bare, Addressed::Full] {
            for place in [NewPlace::Known, NewPlace::Unknown] {
                let status = status_of(condition, addressed, Transaction::NonInvite, place);
                assert!(status != 408 && status != 491, "{condition:?}");
                assert!((300..700).contains(&status));
            }
        }
    }
    let timeout = StanzaError::RemoteServerTimeout;
    let place = NewPlace::Unknown;
    assert_eq!(status_of(timeout, Addressed::Bare, Transaction::NonInvite, place), 504);
}

/// RFC 7247 table 3, every row.
const TO_XMPP: [(&[u16], StanzaError); 17] = [
    (&[300, 302, 305, 399], StanzaError::Redirect),
    (&[301, 410], StanzaError::Gone),
    (&[400, 402, 493, 499], StanzaError::BadRequest),
    (&[401], StanzaError::NotAuthorized),
    (&[403], StanzaError::Forbidden),
    (&[404, 481, 484, 485, 604], StanzaError::ItemNotFound),
    (&[405, 420, 439, 501], StanzaError::FeatureNotImplemented),
    (&[380, 406, 415, 416, 421, 482, 483, 488, 505, 606], StanzaError::NotAcceptable),
    (&[407], StanzaError::RegistrationRequired),
    (&[408, 504], StanzaError::RemoteServerTimeout),
    (&[413, 414, 440, 489, 513], StanzaError::PolicyViolation),
    (&[423], StanzaError::ResourceConstraint),
    (&[430, 480, 486, 487], StanzaError::RecipientUnavailable),
    (&[491], StanzaError::UnexpectedRequest),
    (&[500, 503, 599], StanzaError::InternalServerError),
    (&[502], StanzaError::RemoteServerNotFound),
    (&[600, 603, 699], StanzaError::RecipientUnavailable),
];

#[test]
fn s4_3_each_status_has_its_condition() {
    for (statuses, condition) in TO_XMPP {
        for status in statuses {
            assert_eq!(condition_of(*status), Some(condition), "{status}");
        }
    }
    for status in 0..300 {
        assert_eq!(condition_of(status), None);
    }
    assert!((300..1000).all(|status| condition_of(status).is_some()));
}

/// What is the same again after the way there and back; the others end at one of these.
#[test]
fn s4_errors_that_come_back_are_the_same_and_the_rest_settles_at_once() {
    let stays = [
        StanzaError::BadRequest,
        StanzaError::FeatureNotImplemented,
        StanzaError::Forbidden,
        StanzaError::Gone,
        StanzaError::InternalServerError,
        StanzaError::ItemNotFound,
        StanzaError::NotAcceptable,
        StanzaError::NotAuthorized,
        StanzaError::RecipientUnavailable,
        StanzaError::RegistrationRequired,
        StanzaError::RemoteServerTimeout,
        StanzaError::UnexpectedRequest,
    ];
    for condition in StanzaError::ALL {
        let there_and_back = |condition, addressed| {
            let place = NewPlace::Unknown;
            condition_of(status_of(condition, addressed, Transaction::Invite, place)).unwrap()
        };
        let full = there_and_back(condition, Addressed::Full);
        assert_eq!(full == condition, stays.contains(&condition), "{condition:?} {full:?}");
        for addressed in [Addressed::Full, Addressed::Bare] {
            let first = there_and_back(condition, addressed);
            // `forbidden` of a whole user is 603, which anybody who declines sends.
            let is_decline = first == StanzaError::Forbidden && addressed == Addressed::Bare;
            assert!(is_decline || there_and_back(first, addressed) == first, "{condition:?}");
        }
    }
}

fn received(condition: StanzaError, text: Option<&str>, uri: Option<&str>) -> ReceivedStanzaError {
    let (text, uri) = (text.map(str::to_owned), uri.map(str::to_owned));
    ReceivedStanzaError { condition, kind: condition.kind(), text, uri }
}

#[test]
fn s4_text_becomes_the_reason_phrase_and_cannot_leave_its_line() {
    let error = received(StanzaError::ItemNotFound, Some("No\r\nContact: <sip:evil>\u{7}"), None);
    let refusal = refusal_of(&error, Addressed::Full, Transaction::NonInvite).value;
    assert_eq!((refusal.status, &*refusal.reason), (404, "No Contact: <sip:evil>"));
    let without =
        refusal_of(&received(StanzaError::Gone, None, None), Addressed::Bare, Transaction::Invite);
    assert_eq!((without.value.status, &*without.value.reason), (410, "Gone"));
    let error = stanza_error_of(486, b"Busy <Here>", None).unwrap().value;
    assert_eq!(error.text.as_deref(), Some("Busy <Here>"));
    let stanza = Node::stanza(Stanza::Message).with_child(error_node(&error));
    assert_eq!(read_error(&stanza), Some(error));
}

#[test]
fn s4_a_new_address_is_translated_both_ways() {
    let error = received(StanzaError::Gone, None, Some("xmpp:o%5C27m@xmpp.example"));
    let refusal = refusal_of(&error, Addressed::Bare, Transaction::Invite).value;
    assert_eq!((refusal.status, refusal.contact.as_deref()), (301, Some("sip:o'm@xmpp.example")));
    let error = stanza_error_of(301, b"", Some(b"sip:o'm@sip.example")).unwrap().value;
    assert_eq!(error.uri.as_deref(), Some("xmpp:o%5C27m@sip.example"));
    let lost = refusal_of(
        &received(StanzaError::Redirect, None, Some("http://evil.example/")),
        Addressed::Bare,
        Transaction::Invite,
    );
    assert_eq!((lost.value.status, lost.value.contact), (404, None));
    assert!(lost.losses.has(Loss::NewAddress));
}
