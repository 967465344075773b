//! The XMPP grammar's parts on one message stanza, beside rxml as the naive twin.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use entente::xmpp::{Bounds, Jid, Node, Read, Reader};
use rxml::Parse as _;

/// A stream header as servers send it.
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='fabrikam.example' to='contoso.example' version='1.0' xml:lang='en'>";

/// A chat message with its state: 250 bytes.
const STANZA: &str = "<message from='bob@fabrikam.example/laptop' to='alice@contoso.example' \
    id='c3f0a7d4-51' type='chat'><body>Are we still on for the review at three? I moved it.\
    </body><active xmlns='http://jabber.org/protocol/chatstates'/><origin-id xmlns='urn:xmpp:s'/>\
    </message>";

/// A reader behind the header.
fn opened() -> Reader {
    let mut reader = Reader::new(Bounds::authenticated(262_144));
    match reader.read(HEADER.as_bytes()) {
        Ok(Read::Header { .. }) => reader,
        other => panic!("the bench header is none: {other:?}"),
    }
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("xmpp");
    group.throughput(Throughput::Bytes(STANZA.len() as u64));
    let mut reader = opened();
    group.bench_function("element_250", |b| {
        b.iter(|| match reader.read(black_box(STANZA.as_bytes())) {
            Ok(Read::Element { consumed, .. }) => consumed,
            other => panic!("the bench stanza is none: {other:?}"),
        });
    });
    group.bench_function("element_250_rxml", |b| {
        let mut parser = rxml::Parser::new();
        let mut header = HEADER.as_bytes();
        while !header.is_empty() && parser.parse(&mut header, false).is_ok() {}
        b.iter(|| {
            let mut stanza = black_box(STANZA.as_bytes());
            let mut events = 0;
            while let Ok(Some(_)) = parser.parse(&mut stanza, false) {
                events += 1;
            }
            events
        });
    });
    group.finish();
}

/// What the proxy does to a stanza: read it, look at both addresses, and write it with an attribute
/// more.
fn relaying(criterion: &mut Criterion) {
    let mut reader = opened();
    let mut out = Vec::with_capacity(1024);
    let mut group = criterion.benchmark_group("xmpp_relay");
    group.bench_function("element_250", |b| {
        b.iter(|| {
            let Ok(Read::Element { element, .. }) = reader.read(black_box(STANZA.as_bytes()))
            else {
                panic!("the bench stanza is none")
            };
            let (Some(Ok(from)), Some(Ok(to))) = (element.from_jid(), element.to_jid()) else {
                panic!("the bench stanza has addresses")
            };
            assert!(from.domain() == "fabrikam.example" && to.domain() == "contoso.example");
            out.clear();
            element.write_with(&[("e:n", Some("17"))], &mut out);
            out.len()
        });
    });
    group.bench_function("jid", |b| {
        b.iter(|| Jid::parse(black_box("bob@fabrikam.example/laptop")).map(|jid| jid.is_bare()));
    });
    group.bench_function("node_250", |b| {
        let Ok(Read::Element { element, .. }) = reader.read(STANZA.as_bytes()) else {
            panic!("the bench stanza is none")
        };
        b.iter(|| Node::from(black_box(&element)));
    });
    group.finish();
}

criterion_group! {
    name = xmpp;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = reading, relaying
}
criterion_main!(xmpp);
