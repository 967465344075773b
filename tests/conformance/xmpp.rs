//! What the tests of XMPP's documents share.

use entente::xmpp::{Bounds, Element, Read, Reader};

/// The header of a stream between servers.
pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='a.example' to='b.example' version='1.0'>";

/// A reader behind the header.
pub(crate) fn opened() -> Reader {
    let mut reader = Reader::new(Bounds::authenticated(262_144));
    assert!(matches!(reader.read(HEADER.as_bytes()), Ok(Read::Header { .. })));
    reader
}

/// Reads one element, which has to be all of `text`.
pub(crate) fn element<T>(text: &str, check: impl FnOnce(&Element<'_>) -> T) -> T {
    match opened().read(text.as_bytes()) {
        Ok(Read::Element { element, consumed }) if consumed == text.len() => check(&element),
        other => panic!("no element: {other:?} in {text}"),
    }
}

/// The ids of the elements in `text`.
pub(crate) fn elements(text: &str) -> Vec<String> {
    let mut reader = opened();
    let mut ids = Vec::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        rest = match reader.read(rest) {
            Ok(Read::Element { element, consumed }) => {
                ids.push(element.id().expect("each has one").into_owned());
                &rest[consumed..]
            }
            Ok(Read::WhiteSpace { consumed }) => &rest[consumed..],
            other => panic!("{other:?}"),
        };
    }
    ids
}

/// What a writer writes.
pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("writers write UTF-8")
}
