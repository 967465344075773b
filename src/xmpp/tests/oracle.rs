//! The reader against rxml, an XML reader made for XMPP by others: both take and refuse the same
//! streams, and cut them into the same first-level elements.
//!
//! What is different on purpose:
//! * text between stanzas is refused here ([`PeerMisbehaved::TextBetweenStanzas`]); to rxml it is
//!   content of the stream's element like any other;
//! * the first element has to be a stream ([`PeerMisbehaved::NotAStream`],
//!   [`PeerMisbehaved::StreamNamespace`]); rxml takes any;
//! * the two reserved namespaces may not be declared by other prefixes nor as default (Namespaces
//!   in XML section 3); rxml lets some of it pass;
//! * a namespace is not declared twice for one prefix in one tag (XML 1.0 section 3.1); rxml lets
//!   the last declaration count;
//! * a carriage return in an attribute's value is white space (XML 1.0 section 2.11), which rxml
//!   refuses in some places, so none are put there;
//! * a tag that is not whole is searched for its end here, so that a fault in it is found once the
//!   end is there; rxml finds it at its byte;
//! * bounds ([`Bounds`]) are other ones.

use proptest::prelude::*;
use rxml::error::EndOrError;
use rxml::{Event, Parse as _};

use super::super::*;

/// One item of a stream with the place behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Header(usize),
    Element { name: String, namespace: String, end: usize },
    Close(usize),
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All was taken.
    Whole,
    /// Something is not whole; from here on.
    Open(usize),
    Fault(PeerMisbehaved),
    OracleFault,
}

const BOUNDS: Bounds = Bounds {
    depth: 64,
    element_bytes: 100_000,
    header_bytes: 100_000,
    attributes: 64,
    name_bytes: 256,
    stream_bytes: u64::MAX,
};

/// Reads a stream that arrives in pieces which end at `cuts`.
fn ours(stream: &[u8], cuts: &[usize]) -> (Vec<Item>, End) {
    let mut reader = Reader::new(BOUNDS);
    let mut items = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().filter(|cut| *cut < stream.len()).chain([stream.len()]) {
        loop {
            let there = &stream[from.min(cut)..cut];
            if from >= cut {
                break;
            }
            let consumed = match reader.read(there) {
                Err(fault) => return (items, End::Fault(fault)),
                Ok(Read::NeedMore(more)) => {
                    assert!(more > there.len());
                    break;
                }
                Ok(Read::WhiteSpace { consumed }) => consumed,
                Ok(Read::Header { consumed, .. }) => {
                    items.push(Item::Header(from + consumed));
                    consumed
                }
                Ok(Read::Element { element, consumed }) => {
                    assert_eq!(element.raw(), &there[..consumed]);
                    items.push(Item::Element {
                        name: element.name().to_owned(),
                        namespace: element.namespace().into_owned(),
                        end: from + consumed,
                    });
                    consumed
                }
                Ok(Read::Close { consumed }) => {
                    items.push(Item::Close(from + consumed));
                    consumed
                }
            };
            assert!(consumed > 0);
            from += consumed;
        }
    }
    (items, if from == stream.len() { End::Whole } else { End::Open(from) })
}

fn oracle(stream: &[u8]) -> (Vec<Item>, End) {
    let mut parser = rxml::Parser::new();
    let mut items = Vec::new();
    let mut rest = stream;
    let (mut depth, mut first) = (0_usize, None);
    loop {
        let event = match parser.parse(&mut rest, false) {
            Ok(Some(event)) => event,
            Ok(None) | Err(EndOrError::NeedMoreData) => {
                return (items, End::Open(stream.len()));
            }
            Err(EndOrError::Error(_)) => return (items, End::OracleFault),
        };
        // What was consumed, not the events' own lengths, which leave empty CDATA sections out.
        let at = stream.len() - rest.len();
        match event {
            Event::XmlDeclaration(..) | Event::Text(..) => {}
            Event::StartElement(_, (namespace, name), _) => {
                depth += 1;
                if depth == 1 {
                    items.push(Item::Header(at));
                } else if depth == 2 {
                    first = Some((namespace.to_string(), name.to_string()));
                }
            }
            Event::EndElement(_) => {
                depth -= 1;
                if depth == 1 {
                    let (namespace, name) = first.take().expect("it began");
                    items.push(Item::Element { name, namespace, end: at });
                } else if depth == 0 {
                    items.push(Item::Close(at));
                }
            }
        }
    }
}

/// Holds both readers against each other.
fn both_agree(stream: &[u8], cuts: &[usize]) {
    let shown = || stream.escape_ascii().to_string();
    let (items, end) = ours(stream, &[]);
    let (expected, oracle_end) = oracle(stream);
    match (end, oracle_end) {
        (End::Fault(fault), other) => {
            // What lies before the fault is the same; a text buffered by rxml may hide nothing.
            let own_rule = match fault {
                PeerMisbehaved::TextBetweenStanzas
                | PeerMisbehaved::NotAStream
                | PeerMisbehaved::StreamNamespace => true,
                PeerMisbehaved::Declares => {
                    memchr::memmem::find(stream, b"http://www.w3.org/").is_some()
                }
                PeerMisbehaved::DuplicateAttribute => {
                    let mut tags = stream.split(|byte| *byte == b'<');
                    tags.any(|tag| memchr::memmem::find_iter(tag, b"xmlns").count() > 1)
                }
                // rxml looks at a token once it ends.
                _ => [&b"<x/>"[..], b"]]>"]
                    .iter()
                    .any(|more| oracle(&[stream, more].concat()).1 == End::OracleFault),
            };
            assert!(own_rule || other == End::OracleFault, "{fault:?} but {other:?}: {}", shown());
            assert!(expected.starts_with(&items), "{items:?} {expected:?}: {}", shown());
        }
        (End::Open(_), End::OracleFault) => {
            assert_eq!(items, expected, "{}", shown());
        }
        (End::Whole | End::Open(_), End::Whole | End::Open(_)) => {
            assert_eq!(items, expected, "{}", shown());
        }
        (_, End::OracleFault) => panic!("{end:?}: only the oracle refuses {}", shown()),
        (End::OracleFault, _) | (_, End::Fault(_)) => unreachable!("each has its own"),
    }
    for cuts in [cuts, &(1..stream.len()).collect::<Vec<_>>()] {
        let (in_pieces, end_in_pieces) = ours(stream, cuts);
        assert_eq!(in_pieces, items, "{cuts:?}: {}", shown());
        match (end_in_pieces, end) {
            // In pieces, the fault of a tag may have to wait for the tag's end.
            (End::Fault(_) | End::Open(_), End::Fault(_)) => {}
            (one, other) => assert_eq!(one, other, "{cuts:?}: {}", shown()),
        }
    }
}

const HEADERS: [&str; 5] = [
    "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
        xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
        from='a.example' to='b.example' version='1.0'>",
    "<stream:stream xmlns:stream=\"http://etherx.jabber.org/streams\" xmlns='jabber:server'>",
    "<?xml version=\"1.0\" encoding='UTF-8' ?>\n<stream xmlns='http://etherx.jabber.org/streams' \
        xmlns:db='jabber:server:dialback'  >",
    "<s:stream xmlns:s='http://etherx.jabber.org/&#x73;treams' xmlns:p='urn:p' xmlns:q='urn:p'>",
    "<?xml version='1.0'\tencoding=\"utf-8\" standalone='yes'?> <stream:stream \
        xmlns:stream='http://etherx.jabber.org/streams'>",
];

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "message", "presence", "iq", "body", "a", "b-1", "_x", "x.y", "ü", "日本",
        ]).prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "db:result", "p:a", "q:a", "stream:error", "xml:a", "xmlns:a",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["a:", ":a", "a:b:c", "1a", "-a", "·a", "a·", "p:1"])
            .prop_map(str::to_owned),
    ]
}

fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z@/. ]{0,8}",
        2 => prop::sample::select(vec![
            "&amp;", "&lt;x", "a&#65;b", "&#x41;", "ü", "\u{1f600}", ">", "\t\n",
            "&apos;&quot;&gt;",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "<", "&", "&foo;", "&#0;", "&#x110000;", "&#xD800;", "\u{1}", "&#;", "&#xg;",
            "\u{ffff}",
        ]).prop_map(str::to_owned),
    ]
}

fn attributes() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => prop::sample::select(vec!["from", "to", "id", "type", "xml:lang", "p:a", "q:a", "a"]),
        3 => prop::sample::select(vec!["xmlns", "xmlns:p", "xmlns:q", "xmlns:ü"]),
        1 => prop::sample::select(vec!["xmlns:xml", "xmlns:xmlns", "a:b:c", "xmlns:", "9",
            "xmlnsa"]),
    ];
    let namespace = prop::sample::select(vec![
        "urn:p",
        "urn:q",
        "jabber:server",
        "",
        "http://www.w3.org/XML/1998/namespace",
        "http://www.w3.org/2000/xmlns/",
        "urn:&#112;",
    ])
    .prop_map(str::to_owned);
    (name, values(), namespace, any::<bool>()).prop_map(|(name, value, namespace, double)| {
        let value = if name.starts_with("xmlns") { namespace } else { value };
        let quote = if double { '"' } else { '\'' };
        format!(" {name}={quote}{value}{quote}")
    })
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z ]{0,12}",
        2 => values(),
        1 => prop::sample::select(vec![
            "<![CDATA[ <x> ]] ]]>", "<![CDATA[]]>", "]]", "]]>", "<![CDATA[a]]]]>", "\r\n", "]",
            "<!-- c -->", "<?pi?>", "<!DOCTYPE a>", "<![INCLUDE[", "\u{0}",
        ]).prop_map(str::to_owned),
    ]
}

fn elements() -> impl Strategy<Value = String> {
    let leaf = (names(), prop::collection::vec(attributes(), 0..3))
        .prop_map(|(name, attributes)| format!("<{name}{}/>", attributes.concat()));
    leaf.prop_recursive(4, 16, 4, |inner| {
        let content = prop::collection::vec(prop_oneof![inner, texts()], 0..4);
        (names(), prop::collection::vec(attributes(), 0..3), content, 0..40_u8).prop_map(
            |(name, attributes, content, ending)| {
                let end = match ending {
                    0 => "</wrong>".to_owned(),
                    1 => format!("</{name}  >"),
                    2 => format!("</{name} a='b'>"),
                    3 => format!("</ {name}>"),
                    _ => format!("</{name}>"),
                };
                format!("<{name}{}>{}{end}", attributes.concat(), content.concat())
            },
        )
    })
}

fn streams() -> impl Strategy<Value = String> {
    let between = prop_oneof![
        8 => Just(String::new()),
        3 => Just(" ".to_owned()),
        1 => texts(),
    ];
    let header = prop::sample::select(HEADERS.to_vec());
    let items = prop::collection::vec((elements(), between), 0..5);
    (header, items, any::<bool>()).prop_map(|(header, items, closed)| {
        let mut stream = header.to_owned();
        for (element, between) in items {
            stream.push_str(&element);
            stream.push_str(&between);
        }
        let open = header.rsplit('<').next().unwrap_or_default();
        let name = open.split([' ', '>']).next().unwrap_or_default();
        if closed {
            stream.push_str(&format!("</{name}>"));
        }
        stream
    })
}

/// A change of some bytes: where, how many go, and what comes.
type Change = (prop::sample::Index, usize, Vec<u8>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let telling =
        prop::sample::select(b"<>&;'\"=/?!:[]-# \t\nax0\x00\x7f\x80\xc3\xef\xff".to_vec());
    let one = (any::<prop::sample::Index>(), 0..3_usize, prop::collection::vec(telling, 0..3));
    prop::collection::vec(one, 0..4)
}

fn changed(stream: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = stream.as_bytes().to_vec();
    for (at, gone, come) in changes {
        let at = at.index(bytes.len());
        let end = (at + gone).min(bytes.len());
        bytes.splice(at..end, come.iter().copied());
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_reader_cuts_a_stream_as_rxml_does(
        stream in streams(),
        cuts in prop::collection::btree_set(0..2_000_usize, 0..6),
    ) {
        both_agree(stream.as_bytes(), &cuts.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_reader_refuses_what_rxml_refuses(
        stream in streams(),
        changes in changes(),
        cuts in prop::collection::btree_set(0..2_000_usize, 0..6),
    ) {
        both_agree(&changed(&stream, &changes), &cuts.into_iter().collect::<Vec<_>>());
    }
}
