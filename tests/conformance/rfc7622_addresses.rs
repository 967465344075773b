//! RFC 7622: addresses. Local parts and resources are prepared as RFC 3920 has it, which is what
//! other servers compare.

use entente::xmpp::{Jid, JidMalformed};

fn parts(text: &str) -> (Option<String>, String, Option<String>) {
    let jid = Jid::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(Jid::parse(&jid.to_string()).as_ref(), Ok(&jid), "prepared twice is the same");
    (jid.local().map(Into::into), jid.domain().into(), jid.resource().map(Into::into))
}

fn refused(text: &str) -> JidMalformed {
    Jid::parse(text).expect_err(text)
}

#[test]
fn s3_1_the_first_slash_and_the_first_at_before_it_part_an_address() {
    let some = |text: &str| Some(text.to_owned());
    let domain = || "example.com".to_owned();
    assert_eq!(parts("example.com"), (None, domain(), None));
    assert_eq!(parts("juliet@example.com"), (some("juliet"), domain(), None));
    assert_eq!(parts("juliet@example.com/foo"), (some("juliet"), domain(), some("foo")));
    assert_eq!(parts("juliet@example.com/foo bar"), (some("juliet"), domain(), some("foo bar")));
    assert_eq!(
        parts("juliet@example.com/foo@bar/b"),
        (some("juliet"), domain(), some("foo@bar/b"))
    );
    assert_eq!(parts("example.com/foo@bar"), (None, domain(), some("foo@bar")));
}

#[test]
fn s3_5_the_rfcs_own_examples_are_addresses() {
    for text in [
        "juliet@example.com",
        "foo\\20bar@example.com",
        "fussball@example.com",
        "fußball@example.com",
        "π@example.com",
        "king@example.com/♚",
        "example.com",
        "a.example.com/b@example.net",
    ] {
        parts(text);
    }
}

#[test]
fn s3_5_what_the_rfc_says_is_none_is_refused() {
    assert_eq!(refused("\"juliet\"@example.com"), JidMalformed::Local);
    assert_eq!(refused("foo bar@example.com"), JidMalformed::Local);
    assert_eq!(refused("juliet@example.com/"), JidMalformed::Length);
    assert_eq!(refused("@example.com/"), JidMalformed::Length);
    assert_eq!(refused("@example.com"), JidMalformed::Length);
    assert_eq!(refused("juliet@"), JidMalformed::Length);
    assert_eq!(refused("/foobar"), JidMalformed::Length);
    assert_eq!(refused(""), JidMalformed::Length);
}

#[test]
fn s3_1_a_part_has_at_most_1023_bytes() {
    let part = |bytes: usize| "a".repeat(bytes);
    parts(&format!("{}@example.com/{}", part(1_023), part(1_023)));
    assert_eq!(refused(&format!("{}@example.com", part(1_024))), JidMalformed::Length);
    assert_eq!(refused(&format!("a@example.com/{}", part(1_024))), JidMalformed::Length);
    assert_eq!(refused(&part(1_024)), JidMalformed::Length);
    // Bytes count, not characters.
    assert_eq!(refused(&format!("a@example.com/{}", "ü".repeat(512))), JidMalformed::Length);
}

#[test]
fn s3_2_a_domain_is_compared_in_a_labels_and_lower_case() {
    for (text, domain) in [
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(parts(text).1, domain);
        assert_eq!(Jid::parse(text).unwrap().to_domain().as_str(), domain);
    }
    for text in ["exa mple.com", "a..b", ".", "a@b@c", "a&b.example", "a@b:5269", "-\u{0}-"] {
        assert_eq!(refused(text), JidMalformed::Domain, "{text}");
    }
}

#[test]
fn s3_3_a_local_part_is_compared_in_lower_case_and_normalised() {
    assert_eq!(parts("JULIET@example.com").0.as_deref(), Some("juliet"));
    assert_eq!(parts("ÜSER@example.com").0.as_deref(), Some("üser"));
    assert_eq!(parts("u\u{308}ser@example.com").0.as_deref(), Some("üser"));
    for c in ['"', '&', '\'', ':', '<', '>', ' ', '\u{7f}', '\t', '\u{a0}', '\u{fffd}'] {
        assert_eq!(refused(&format!("a{c}b@example.com")), JidMalformed::Local, "{c:?}");
    }
}

#[test]
fn s3_4_a_resource_keeps_its_case_and_may_be_whatever_people_choose() {
    assert_eq!(parts("a@b.example/Foo Bar").2.as_deref(), Some("Foo Bar"));
    assert_eq!(parts("a@b.example/u\u{308}").2.as_deref(), Some("ü"));
    // An emoji is younger than the tables of RFC 3454.
    assert_eq!(parts("a@b.example/\u{1f600}").2.as_deref(), Some("\u{1f600}"));
    for c in ['\u{0}', '\n', '\u{7f}', '\u{fffd}', '\u{e000}'] {
        assert_eq!(refused(&format!("a@b.example/x{c}")), JidMalformed::Resource, "{c:?}");
        let beside = format!("a@b.example/\u{1f600}{c}");
        assert_eq!(refused(&beside), JidMalformed::Resource, "{c:?} beside an emoji");
    }
}

#[test]
fn an_address_is_made_of_its_parts_and_taken_apart() {
    let jid = Jid::new(Some("A"), "B.example", Some("C")).unwrap();
    assert_eq!(jid.to_string(), "a@b.example/C");
    assert_eq!(jid.bare().to_string(), "a@b.example");
    assert!(jid.bare().is_bare() && !jid.is_bare());
    assert_eq!(jid.bare().with_resource("d").unwrap().to_string(), "a@b.example/d");
    assert_eq!(Jid::new(Some("a@b"), "c.example", None), Err(JidMalformed::Local));
    assert_eq!(Jid::new(Some("a/b"), "c.example", None), Err(JidMalformed::Local));
}
