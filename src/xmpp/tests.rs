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
