//! The bytes of one XMPP stream: the reader, and everything that is asked of an element.

use entente::xmpp::{
    Bounds, Element, Features, Jid, Management, Node, PeerMisbehaved, Read, Reader, StanzaError,
    StartTls, StreamError, StreamHeader, dialback, escape, ping, sasl_external, unescape,
};

/// Small, so that inputs of a few hundred bytes meet every one of them.
const BOUNDS: Bounds = Bounds {
    depth: 6,
    element_bytes: 1_000,
    header_bytes: 500,
    attributes: 8,
    name_bytes: 40,
    stream_bytes: 4_000,
};

/// What the reader found, with the place behind it.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Header(StreamHeader, usize),
    Element(String, String, usize),
    Close(usize),
}

/// A stream is the same stream however it is cut, and its elements can be relayed.
pub fn xmpp_stream(input: &[u8]) {
    let (whole, outcome) = found(input, &[]);
    let pieces: Vec<usize> = (1..input.len()).collect();
    for cuts in [&[input.len() / 2, input.len() / 3][..], &pieces] {
        let (cut, cut_outcome) = found(input, cuts);
        // In pieces, more of an element may come than its bounds allow before its fault is seen.
        assert!(whole == cut, "cut at {cuts:?}: {cut:?}, whole: {whole:?}");
        assert!(outcome.is_err() || cut_outcome.is_ok(), "{outcome:?} {cut_outcome:?}");
    }
}

fn found(input: &[u8], cuts: &[usize]) -> (Vec<Found>, Result<(), PeerMisbehaved>) {
    let mut reader = Reader::new(BOUNDS);
    let mut all = Vec::new();
    let mut from = 0;
    let mut cuts: Vec<usize> = cuts.iter().copied().chain([input.len()]).collect();
    cuts.sort_unstable();
    for cut in cuts {
        while from < cut {
            let there = &input[from..cut];
            let consumed = match reader.read(there) {
                Err(fault) => {
                    assert!(!fault.sentence().is_empty());
                    assert!(reader.read(there).is_err(), "a lost stream stays lost");
                    return (all, Err(fault));
                }
                Ok(Read::NeedMore(bytes)) => {
                    assert!(bytes > there.len(), "asks for what it has");
                    assert!(there.len() < BOUNDS.element_bytes as usize, "waits beyond its bound");
                    break;
                }
                Ok(Read::Header { header, consumed }) => {
                    all.push(Found::Header(header, from + consumed));
                    consumed
                }
                Ok(Read::Element { element, consumed }) => {
                    assert_eq!(element.raw(), &there[..consumed]);
                    everything_is_told(&element);
                    relayed(&element);
                    let namespace = element.namespace().into_owned();
                    all.push(Found::Element(element.name().to_owned(), namespace, from + consumed));
                    consumed
                }
                Ok(Read::WhiteSpace { consumed }) => consumed,
                Ok(Read::Close { consumed }) => {
                    all.push(Found::Close(from + consumed));
                    consumed
                }
            };
            assert!(0 < consumed && consumed <= there.len());
            from += consumed;
            assert_eq!(reader.taken(), from as u64);
            assert!(reader.taken() <= BOUNDS.stream_bytes);
        }
    }
    (all, Ok(()))
}

/// Asks an element everything.
fn everything_is_told(element: &Element<'_>) {
    for address in [element.from_jid(), element.to_jid()].into_iter().flatten().flatten() {
        let text = address.to_string();
        let again = Jid::parse(&text).expect("a prepared address is one");
        assert_eq!(again, address, "prepared twice is prepared once");
        let _ = address.to_domain();
        if let Some(local) = address.local() {
            let plain = unescape(local);
            if let Some(escaped) = escape(&plain) {
                assert_eq!(unescape(&escaped), plain, "escaped and back");
            }
        }
    }
    let _ = (
        element.id(),
        element.kind(),
        element.lang(),
        element.text(),
        element.attributes().count(),
    );
    let _ = (Features::read(element), StreamError::read(element), StanzaError::read(element));
    let _ = (StartTls::read(element), sasl_external::Sasl::read(element));
    let _ = (dialback::Dialback::read(element), Management::read(element), ping::is_ping(element));
    let mut out = Vec::new();
    if StanzaError::BadRequest.reply(element, Some("<&>"), &mut out).is_some() {
        read_back(&out, |answer| assert_eq!(answer.kind().as_deref(), Some("error")));
    } else {
        assert!(out.is_empty());
    }
}

/// On another stream the element means the same, with other attributes and as a tree.
fn relayed(element: &Element<'_>) {
    let node = Node::from(element);
    let mut out = Vec::new();
    element.write_detached(&mut out);
    read_back(&out, |copy| assert_eq!(Node::from(copy), node));
    out.clear();
    let attributes =
        [("from", Some("a'<&\">\n")), ("to", None), ("xmlns:e", Some("urn:e")), ("e:e", Some("1"))];
    element.write_with(&attributes, &mut out);
    read_back(&out, |copy| {
        assert_eq!(copy.from().as_deref(), Some("a'<&\">\n"));
        assert_eq!(copy.to(), None);
        assert_eq!(copy.attribute("e:e").as_deref(), Some("1"));
        assert_eq!(copy.id(), element.id());
        assert_eq!((copy.name(), copy.namespace()), (element.name(), element.namespace()));
    });
    out.clear();
    node.write(&mut out);
    read_back(&out, |copy| assert_eq!(Node::from(copy), node));
}

/// Reads one element on a stream of ours.
fn read_back(written: &[u8], check: impl FnOnce(&Element<'_>)) {
    let mut reader = Reader::new(Bounds::authenticated(1_000_000));
    let mut header = Vec::new();
    StreamHeader::between("a.example", "b.example").write(&mut header);
    assert!(matches!(reader.read(&header), Ok(Read::Header { .. })));
    match reader.read(written) {
        Ok(Read::Element { element, consumed }) if consumed == written.len() => check(&element),
        other => panic!("{other:?} from {}", written.escape_ascii()),
    }
}
