//! XEP-0106: escaping of local parts.

use entente::xmpp::{Jid, escape, unescape};

#[test]
fn s2_every_character_of_the_table_is_escaped_and_back() {
    for (plain, escaped) in [
        ("space cadet", "space\\20cadet"),
        ("call me \"ishmael\"", "call\\20me\\20\\22ishmael\\22"),
        ("at&t guy", "at\\26t\\20guy"),
        ("d'artagnan", "d\\27artagnan"),
        ("/.fanboy", "\\2f.fanboy"),
        ("::foo::", "\\3a\\3afoo\\3a\\3a"),
        ("<foo>", "\\3cfoo\\3e"),
        ("user@host", "user\\40host"),
        ("c:\\net", "c\\3a\\net"),
        ("c:\\\\net", "c\\3a\\\\net"),
        ("c:\\cool stuff", "c\\3a\\cool\\20stuff"),
        ("c:\\5commas", "c\\3a\\5c5commas"),
    ] {
        assert_eq!(escape(plain).as_deref(), Some(escaped), "{plain}");
        assert_eq!(unescape(escaped), plain);
        Jid::new(Some(escaped), "example.com", None).expect("an escaped local part is one");
    }
}

#[test]
fn s4_2_a_space_at_the_edge_cannot_be_escaped() {
    for plain in [" a", "a ", " ", ""] {
        assert_eq!(escape(plain), None, "{plain:?}");
    }
}

#[test]
fn s4_3_what_is_no_escape_stays() {
    for local in ["a\\", "\\2", "\\zz", "\\5Ca", "\\2F", "a\\ü"] {
        assert_eq!(unescape(local), local);
    }
    assert_eq!(unescape("\\5c27"), "\\27");
    assert_eq!(escape("\\27").as_deref(), Some("\\5c27"));
    assert_eq!(escape("\\a").as_deref(), Some("\\a"));
}
