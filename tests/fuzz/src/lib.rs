//! What must hold for any bytes whatever. A target returns, or it has found a mistake of ours.

use std::path::Path;

use entente::limits;
use entente::proxy_protocol::{self, Parsed};
use entente::sip::{
    Edits, HeaderName, HeaderTable, Message, Method, NameAddr, Scan, StartLine, Uri, Via, params,
    reply, scan,
};

mod gateway;
mod relay;
mod translator;
mod turn;
mod xmpp;

pub use gateway::gateway;
pub use relay::relay;
pub use translator::translator;
pub use turn::{ms_turn, turn};
pub use xmpp::xmpp_stream;

/// The bytes of one leg: framing, and everything a proxy asks of a message.
pub fn framing(input: &[u8]) {
    let mut table = HeaderTable::new();
    let mut rest = input;
    // Every round but the last consumes at least a byte.
    for _ in 0..=input.len() {
        let outcome = scan(rest, &mut table);
        scan_of_a_prefix_does_not_contradict(rest, outcome.ok());
        let outcome = scan(rest, &mut table);
        let consumed = match outcome {
            Ok(Scan::NeedMore(bytes)) => {
                assert!(bytes > rest.len(), "asks for what it has");
                assert!(bytes <= limits::SIP_MESSAGE_BYTES_MAX + 4, "asks for more than the limit");
                return;
            }
            Ok(Scan::KeepAlive { consumed, .. }) => consumed,
            Ok(Scan::Message(scanned)) => {
                let message = Message::new(rest, &table, scanned);
                everything_is_told(message);
                if message.verify().is_ok() && message.method().is_some() {
                    forwarded(message);
                    answered(message);
                }
                scanned.total()
            }
            Ok(Scan::Broken(scanned, _)) => {
                let message = Message::new(rest, &table, scanned);
                everything_is_told(message);
                if message.verify().is_ok() && message.method().is_some() {
                    answered(message);
                }
                return;
            }
            Err(_) => return,
        };
        assert!(consumed > 0, "consumes nothing and would be called for ever");
        rest = rest.get(consumed..).expect("consumes no more than there is");
    }
    panic!("more messages than bytes");
}

/// A message that is whole is the same message when more of the stream is there, and is not whole
/// before its last byte. A faulty one may be given up as soon as the fault shows.
fn scan_of_a_prefix_does_not_contradict(input: &[u8], whole: Option<Scan>) {
    let Some(Scan::Message(expected)) = whole else { return };
    let mut table = HeaderTable::new();
    let exactly = input.get(..expected.total()).expect("the message lies in the input");
    assert_eq!(scan(exactly, &mut table), Ok(Scan::Message(expected)));
    for cut in [1, expected.head_len / 2, expected.head_len, expected.total() - 1] {
        let prefix = &exactly[..cut.min(expected.total() - 1)];
        match scan(prefix, &mut table) {
            Ok(Scan::NeedMore(bytes)) => assert!(bytes <= exactly.len()),
            Err(_) if expected.fault.is_some() => {}
            other => panic!("{cut} of {} bytes: {other:?}", exactly.len()),
        }
    }
}

/// Asks a message everything, and takes it apart.
fn everything_is_told(message: Message<'_>) {
    let raw = message.raw();
    assert_eq!(message.head_len() + message.body().len(), raw.len());
    let mut out = Vec::new();
    Edits::new().apply(raw, &mut out);
    assert_eq!(out, raw, "no edits, no change");
    let mut edits = Edits::new();
    for field in message.fields() {
        assert_eq!(raw.get(field.value_range.clone()), Some(field.value));
        assert!(field.line.end <= message.head_len() && field.line.start < field.line.end);
        assert!(field.line.start <= field.value_range.start);
        assert!(field.value_range.end <= field.line.end);
        for value in field.values() {
            assert_eq!(raw.get(value.range.clone()), Some(value.bytes));
            assert!(field.line.start <= value.remove.start && value.remove.end <= field.line.end);
            via(value.bytes);
            uri(value.bytes);
        }
        edits.remove(field.line);
    }
    let _ = (message.top_via(), message.from(), message.to(), message.cseq(), message.call_id());
    let _ = (message.max_forwards(), message.vias().count(), message.uri());
    out.clear();
    edits.apply(raw, &mut out);
    assert_eq!(out.len(), edits.len_after(raw.len()), "the length is told before the edit");
}

/// What is sound stays sound behind one more Via.
fn forwarded(message: Message<'_>) {
    let top = message.top_via().expect("verified");
    let mut edits = Edits::new();
    edits
        .insert(top.line_start)
        .extend_from_slice(b"Via: SIP/2.0/TLS e.example;branch=z9hG4bKe\r\n");
    let mut out = Vec::new();
    edits.apply(message.raw(), &mut out);
    if message.count(HeaderName::Via) >= limits::SIP_VIAS_MAX
        || message.fields().count() >= limits::SIP_HEADER_FIELDS_MAX
        || message.head_len() + 64 > limits::SIP_HEAD_BYTES_MAX
    {
        return;
    }
    let mut table = HeaderTable::new();
    let Ok(Scan::Message(scanned)) = scan(&out, &mut table) else { panic!("edited to no message") };
    assert_eq!(scanned.total(), out.len());
    let copy = Message::new(&out, &table, scanned);
    assert_eq!(copy.body(), message.body());
    assert_eq!(copy.call_id(), message.call_id());
    let via = copy.top_via().expect("the edge's own").via;
    assert_eq!((via.host, via.branch), (&b"e.example"[..], Some(&b"z9hG4bKe"[..])));
}

/// The answer to a sound request is a sound response to it and nothing beside.
fn answered(message: Message<'_>) {
    let mut out = Vec::new();
    reply::write(&mut out, &message, 403, "Forbidden", b"edge", b"X-E: 1\r\n");
    let mut table = HeaderTable::new();
    let Ok(Scan::Message(scanned)) = scan(&out, &mut table) else {
        panic!("answered with no message")
    };
    assert_eq!(scanned.total(), out.len(), "one response, no more");
    assert!(matches!(scanned.start, StartLine::Response { status: 403, .. }));
    let response = Message::new(&out, &table, scanned);
    assert_eq!(response.vias().count(), message.vias().count());
    assert_eq!(response.count(HeaderName::Other), 1, "no header is smuggled into the answer");
    // NEGOTIATE may name nobody in From and To; a response to it is not asked what it is.
    if message.method() != Some(Method::Negotiate) {
        assert_eq!(response.verify(), Ok(()));
    }
}

/// URIs, bare and in addresses.
pub fn uri(input: &[u8]) {
    if let Ok(uri) = Uri::parse(input) {
        for part in [uri.host, uri.params, uri.headers, uri.user.unwrap_or_default()] {
            assert_inside(input, part);
        }
        assert!(!uri.host.iter().any(|byte| matches!(byte, b'@' | b'/' | b';' | b'?' | b' ')));
        let _ = (uri.param("transport"), uri.param("gruu"));
    }
    if let Ok(address) = NameAddr::parse(input) {
        for part in [address.display, address.uri, address.params] {
            assert_inside(input, part);
        }
        let _ = (address.tag(), address.param("epid"));
        let confusing = |byte: &u8| matches!(byte, b'<' | b'>' | b'"' | b' ');
        if Uri::parse(address.uri).is_ok() {
            assert!(!address.uri.iter().any(confusing), "two readers see two addresses");
        }
    }
    parameters(input);
}

/// Via values.
pub fn via(input: &[u8]) {
    if let Ok(via) = Via::parse(input) {
        for part in [via.transport, via.host, via.params, via.branch.unwrap_or_default()] {
            assert_inside(input, part);
        }
        assert!(!via.transport.is_empty() && !via.host.is_empty());
        let _ = (via.has_cookie(), via.param("received"));
        parameters(via.params);
    }
}

fn parameters(input: &[u8]) {
    for (name, value) in params(input).take(input.len() + 1) {
        assert_inside(input, name);
        assert_inside(input, value.unwrap_or_default());
    }
}

/// A part lies inside what it was read from; nothing was invented.
fn assert_inside(whole: &[u8], part: &[u8]) {
    let (whole, part) = (whole.as_ptr_range(), part.as_ptr_range());
    let inside = whole.start <= part.start && part.end <= whole.end;
    assert!(inside || part.start == part.end, "a part from elsewhere");
}

/// The first bytes of a connection from a balancer.
pub fn proxy_header(input: &[u8]) {
    match proxy_protocol::read(input) {
        Ok(Parsed::NeedMore(bytes)) => {
            assert!(input.len() < bytes && bytes <= limits::PROXY_V2_BYTES_MAX);
        }
        Ok(Parsed::Header(header)) => {
            assert!(0 < header.consumed && header.consumed <= input.len());
            assert_eq!(header.source.is_some(), header.destination.is_some());
            for tlv in header.tlvs() {
                assert_inside(input, tlv.value);
            }
            let _ = (header.authority(), header.alpn(), header.unique_id());
            // What follows is the connection's own and changes nothing.
            let exactly = proxy_protocol::read(&input[..header.consumed]);
            assert_eq!(exactly, Ok(Parsed::Header(header)));
        }
        Err(_) => {}
    }
}

/// The configuration file, and the same text as the file of a pool: refused with a message, or
/// accepted without contradiction.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match entente::config::parse(Path::new("fuzz/entente.toml"), text) {
        Ok(config) => {
            assert!(entente::config::difference(&config, &config).is_empty());
        }
        Err(report) => refused(&report),
    }
    // Read once: it costs more than most inputs do.
    static LEAST: std::sync::OnceLock<entente::config::Config> = std::sync::OnceLock::new();
    let least = LEAST.get_or_init(|| {
        let text = include_str!("../../fixtures/least.toml");
        let config = entente::config::parse(Path::new("fuzz/entente.toml"), text);
        config.expect("the least configuration is accepted")
    });
    match entente::config::pool::Pool::parse(Path::new("fuzz/pool.toml"), text, least) {
        Ok(pool) => assert!(!pool.edges.is_empty(), "a pool of nobody"),
        Err(report) => refused(&report),
    }
}

fn refused(report: &entente::config::Report) {
    assert!(!report.problems().is_empty(), "refused without a reason");
    assert!(!report.render(entente::config::Paint::Plain).is_empty());
}
