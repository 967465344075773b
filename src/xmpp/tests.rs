//! The reader on whole streams.

use super::*;

mod oracle;

const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='a.example' to='b.example' version='1.0' xml:lang='en'>";

/// Reads the header and returns a reader that stands behind it.
fn opened() -> Reader {
    let mut reader = Reader::new(Bounds::authenticated(crate::limits::XMPP_STANZA_BYTES_MAX));
    match reader.read(HEADER) {
        Ok(Read::Header { consumed, header }) => {
            assert_eq!(consumed, HEADER.len());
            assert_eq!(header.from.as_deref(), Some("a.example"));
            assert!(header.has_features() && header.declares_dialback);
        }
        other => panic!("{other:?}"),
    }
    reader
}

#[test]
fn a_stanza_is_read_with_its_attributes_and_children() {
    let text = "<message from='a@a.example/x' to='b&amp;@b.example' id='1' type='chat'>\
        <body>a &lt; b</body><active xmlns='http://jabber.org/protocol/chatstates'/></message> ";
    let mut reader = opened();
    let Ok(Read::Element { element, consumed }) = reader.read(text.as_bytes()) else {
        panic!("an element")
    };
    assert_eq!(consumed, text.len() - 1);
    assert_eq!(element.stanza(), Some(Stanza::Message));
    assert_eq!(element.from_jid().unwrap().unwrap().resource(), Some("x"));
    assert_eq!(element.to().as_deref(), Some("b&@b.example"));
    assert_eq!(element.kind().as_deref(), Some("chat"));
    assert_eq!(element.child("body", ns::SERVER).unwrap().text(), "a < b");
    assert!(element.child("active", "http://jabber.org/protocol/chatstates").is_some());
    let node = Node::from(&element);
    let mut out = Vec::new();
    node.write(&mut out);
    assert_eq!(out.len(), consumed, "{}", String::from_utf8_lossy(&out));
    assert!(matches!(reader.read(b" "), Ok(Read::WhiteSpace { consumed: 1 })));
    assert!(matches!(reader.read(b"</stream:stream>"), Ok(Read::Close { consumed: 16 })));
}

#[test]
fn a_stream_is_read_byte_by_byte_as_at_once() {
    let text = b"<iq type='get' id='1'><a b='>'>\xc3\xbc &#x41; <![CDATA[ <x> ]] ]]></a ></iq>";
    let mut reader = opened();
    for end in 0..text.len() {
        let read = reader.read(&text[..end]);
        assert!(matches!(read, Ok(Read::NeedMore(more)) if more == end + 1), "{end} {read:?}");
    }
    assert!(
        matches!(reader.read(text), Ok(Read::Element { consumed, .. }) if consumed == text.len())
    );
}

#[test]
fn a_large_stanza_that_comes_byte_by_byte_is_looked_at_once() {
    // Looking at it again with every byte would take minutes.
    let filling = "x".repeat(60_000);
    let tags = "<b c='d'>e&amp;</b>".repeat(4_000);
    let stanza =
        format!("<a b='{filling}'>{filling}<![CDATA[{filling}]]>{tags}</a{}>", " ".repeat(20_000));
    let mut reader = Reader::new(Bounds::authenticated(1_000_000));
    assert!(matches!(reader.read(HEADER), Ok(Read::Header { .. })));
    for end in 0..stanza.len() {
        assert!(matches!(reader.read(&stanza.as_bytes()[..end]), Ok(Read::NeedMore(_))));
    }
    let whole = reader.read(stanza.as_bytes());
    assert!(matches!(whole, Ok(Read::Element { consumed, .. }) if consumed == stanza.len()));
}

#[test]
fn an_element_is_relayed_with_what_it_takes_from_its_header() {
    let header = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='urn:d' \
        xmlns:p='urn:p' xmlns:unused='urn:unused' xmlns:db='jabber:server:dialback'>";
    let mut reader = Reader::new(Bounds::UNAUTHENTICATED);
    assert!(matches!(reader.read(header.as_bytes()), Ok(Read::Header { .. })));
    let mut detached = |text: &str| {
        let Ok(Read::Element { element, .. }) = reader.read(text.as_bytes()) else { panic!("one") };
        let mut out = Vec::new();
        element.write_detached(&mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(detached("<a><p:b/></a>"), "<a xmlns='urn:d' xmlns:p='urn:p'><p:b/></a>");
    assert_eq!(detached("<p:a p:c=''/>"), "<p:a xmlns:p='urn:p' p:c=''/>");
    assert_eq!(detached("<db:result/>"), "<db:result/>");
    assert_eq!(detached("<a xmlns='urn:own'><b/></a>"), "<a xmlns='urn:own'><b/></a>");
    // What is in a standard header needs no declaration.
    let mut reader = opened();
    let text = b"<message><body/><db:x/><stream:y/></message>";
    let Ok(Read::Element { element, .. }) = reader.read(text) else { panic!("one") };
    let mut out = Vec::new();
    element.write_detached(&mut out);
    assert_eq!(out, text);
}

#[test]
fn attributes_are_added_replaced_and_removed_without_touching_the_rest() {
    let text = b"<message from=\"a'b\" to='c' id = 'd'\n><body a='>'/></message>";
    let mut reader = opened();
    let Ok(Read::Element { element, .. }) = reader.read(text) else { panic!("one") };
    let with = |attributes: &[(&str, Option<&str>)]| {
        let mut out = Vec::new();
        element.write_with(attributes, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(with(&[]).as_bytes(), text);
    assert_eq!(
        with(&[("to", None), ("id", Some("<'>")), ("x:n", Some("1")), ("none", None)]),
        "<message from=\"a'b\" id='&lt;&apos;&gt;' x:n='1'><body a='>'/></message>"
    );
    let Ok(Read::Element { element, .. }) = opened().read(b"<a b='c'/>") else { panic!("one") };
    let mut out = Vec::new();
    element.write_with(&[("b", None)], &mut out);
    assert_eq!(out, b"<a/>");
}

#[test]
fn a_tree_is_built_changed_and_written() {
    let mut node = Node::stanza(Stanza::Message)
        .with("to", "a@a.example")
        .with_some("id", None::<String>)
        .with_child(Node::new("body", ns::SERVER).with_text("1 < 2").with_text(" & 3"))
        .with_child(Node::new("x", "urn:x").with_child(Node::new("y", "urn:x")));
    node.set("to", "b@b.example");
    node.set("type", "chat");
    assert_eq!(node.remove("type").as_deref(), Some("chat"));
    let mut out = Vec::new();
    node.write(&mut out);
    let expected = "<message to='b@b.example'><body>1 &lt; 2 &amp; 3</body>\
        <x xmlns='urn:x'><y/></x></message>";
    assert_eq!(std::str::from_utf8(&out), Ok(expected));
    let Ok(Read::Element { element, .. }) = opened().read(expected.as_bytes()) else {
        panic!("one")
    };
    assert_eq!(Node::from(&element), node);
    let x = element.child("x", "urn:x").expect("it is there");
    assert_eq!(Some(&Node::from(&x)), node.child("x", "urn:x"));
}
