//! Properties of the whole grammar, against readers that are slow and plain.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::limits;

/// What the plain reader finds.
#[derive(Debug, PartialEq, Eq)]
struct Plain {
    head_len: usize,
    /// Name as it stands and value without white space around it, of every line with a good name.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    bare_break: bool,
}

/// Reads a head line by line, copying everything. `None`: its end is not there.
fn read_plainly(input: &[u8]) -> Option<Plain> {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut at = 0;
    let mut is_open = false;
    for (place, line) in input.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = line.strip_suffix(b"\n")?;
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        at += line.len();
        if place == 0 {
            continue;
        }
        if text.is_empty() {
            let fields = fields.into_iter().map(|(name, value)| (name, trimmed(&value))).collect();
            return Some(Plain { head_len: at, fields, bare_break: has_bare_break(&input[..at]) });
        }
        if text[0] == b' ' || text[0] == b'\t' {
            if let Some((_, value)) = fields.last_mut().filter(|_| is_open) {
                value.extend_from_slice(b"\r\n");
                value.extend_from_slice(text);
            }
            continue;
        }
        is_open = false;
        let Some(colon) = text.iter().position(|byte| *byte == b':') else { continue };
        let mut name = text[..colon].to_vec();
        while name.last().is_some_and(|byte| *byte == b' ' || *byte == b'\t') {
            name.pop();
        }
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(byte);
        if !name.is_empty() && name.iter().all(is_token) {
            fields.push((name, text[colon + 1..].to_vec()));
            is_open = true;
        }
    }
    None
}

fn trimmed(value: &[u8]) -> Vec<u8> {
    let is_lws = |byte: &u8| b" \t\r\n".contains(byte);
    let from = value.iter().position(|byte| !is_lws(byte)).unwrap_or(value.len());
    let to = value.iter().rposition(|byte| !is_lws(byte)).map_or(from, |last| last + 1);
    value[from..to].to_vec()
}

fn has_bare_break(head: &[u8]) -> bool {
    let mut previous = 0;
    for byte in head.iter().copied().chain([0]) {
        if (previous == b'\r') != (byte == b'\n') {
            return true;
        }
        previous = byte;
    }
    false
}

/// Asks a message for everything; what it answers must lie where it says.
fn ask_everything(message: &Message<'_>) {
    let raw = message.raw();
    let _ = (message.verify(), message.reason(), message.body(), message.status());
    let _ = (message.from().map(|a| a.tag().is_some()), message.to().map(|a| a.tag().is_some()));
    let _ = (message.call_id(), message.cseq(), message.max_forwards(), message.scan_fault());
    assert_eq!(message.uri(), &raw[message.uri_range()]);
    let mut edits = Edits::new();
    for field in message.fields() {
        assert_eq!(&raw[field.value_range.clone()], field.value);
        assert!(raw[field.line.clone()].starts_with(field.name_text));
        assert!(message.present(field.name) && message.count(field.name) > 0);
        let _ = (NameAddr::parse(field.value), Uri::parse(field.value), Via::parse(field.value));
        for value in field.values() {
            assert_eq!(&raw[value.range.clone()], value.bytes);
            assert!(value.remove.start <= value.range.start && value.remove.end >= value.range.end);
        }
        let _ = params(field.value).count();
        message.remove_values(field.name, &mut edits, |value| value.bytes.len() % 2 == 0);
    }
    if let Ok(top) = message.top_via() {
        edits.insert(top.line_start).extend_from_slice(b"Via: x\r\n");
    }
    let mut out = Vec::new();
    edits.apply(raw, &mut out);
    assert_eq!(out.len(), edits.len_after(raw.len()));
    out.clear();
    reply::write(&mut out, message, 400, "Bad Request", b"tag", b"");
    let mut table = HeaderTable::new();
    let Ok(Scan::Message(scanned)) = scan(&out, &mut table) else {
        panic!("our own answer is not a message: {:?}", String::from_utf8_lossy(&out));
    };
    assert_eq!(scanned.total(), out.len());
}

/// Compares the scanner with the plain reader, for input below the limits.
fn compare(input: &[u8]) {
    let mut table = HeaderTable::new();
    let found = scan(input, &mut table);
    let plain = read_plainly(input);
    match found {
        Ok(Scan::Message(scanned) | Scan::Broken(scanned, _)) => {
            let plain = plain.expect("a head has an end");
            let message = Message::new(input, &table, scanned);
            let fields: Vec<_> =
                message.fields().map(|f| (f.name_text.to_vec(), f.value.to_vec())).collect();
            let is_broken = matches!(found, Ok(Scan::Broken(_, FramingFault::BareLineBreak)));
            assert_eq!(is_broken, plain.bare_break);
            assert_eq!(scanned.head_len, plain.head_len);
            if !is_broken {
                assert_eq!(fields, plain.fields);
            }
            ask_everything(&message);
        }
        Ok(Scan::NeedMore(len)) => {
            assert!(len > input.len(), "asks for more than there is");
            if let Some(plain) = plain {
                assert!(!plain.bare_break && len > plain.head_len, "only the body is missing");
            }
        }
        Ok(Scan::KeepAlive { consumed, .. }) => assert!(input[..consumed].starts_with(b"\r\n")),
        Err(_) => {}
    }
}

const NAMES: &[&str] = &[
    "Via",
    "v",
    "From",
    "f",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Route",
    "Contact",
    "l",
    "Content-Length",
    "ms-edge-proxy-message-trust",
    "Proxy-Authentication-Info",
    "X-Other",
    "x",
    "Ms-Conversation-ID",
    "P-Asserted-Identity",
    "User-Agent",
    "A",
    "Unknown-Header-Of-Length-32-____",
];
const VALUES: &[&str] = &[
    "SIP/2.0/TLS a.example;branch=z9hG4bK1",
    "<sip:a@b.example>;tag=1",
    "\"x, y\" <sip:a@b>, <sip:c>",
    "1 INVITE",
    "70",
    "0",
    "",
    "  spaced  ",
    "folded\r\n here",
    "\r\n\ttwice\r\n  folded",
    "(null)",
    "\"open",
    "<open",
    "a:b:c",
    "SIP / 2.0 / TCP [::1] : 5061 ;x",
    ";;;",
    ",,,",
    "\u{fffd}\u{0}",
];

/// A message with the fields given, framed, whose body is `body_len` bytes of line ends and text.
fn build(fields: &[(&str, &str)], body_len: usize) -> Vec<u8> {
    let mut text = String::from("INVITE sip:bob@contoso.example SIP/2.0\r\n");
    for (name, value) in fields {
        if !["l", "Content-Length"].contains(name) {
            text.push_str(&format!("{name}:{value}\r\n"));
        }
    }
    text.push_str(&format!("Content-Length: {body_len}\r\n\r\n"));
    let body = "a\r\n\r\nb\n\r".bytes().cycle().take(body_len);
    text.bytes().chain(body).collect()
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    vec((select(NAMES), select(VALUES)), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn scan_finds_what_a_plain_reader_finds(fields in fields(), body_len in 0_usize..200) {
        let message = build(&fields, body_len);
        compare(&message);
        let found = scan(&message, &mut HeaderTable::new());
        let is_whole = matches!(found, Ok(Scan::Message(s)) if s.total() == message.len());
        prop_assert!(is_whole);
    }

    #[test]
    fn scan_of_any_prefix_waits_and_the_whole_is_found_as_if_at_once(
        fields in fields(),
        body_len in 0_usize..100,
    ) {
        let message = build(&fields, body_len);
        let mut fresh = HeaderTable::new();
        let expected = scan(&message, &mut fresh);
        let mut table = HeaderTable::new();
        for len in 1..message.len() {
            match scan(&message[..len], &mut table) {
                Ok(Scan::NeedMore(need)) => prop_assert!(need > len && need <= message.len()),
                other => prop_assert!(false, "{other:?} at {len} of {}", message.len()),
            }
        }
        prop_assert_eq!(scan(&message, &mut table), expected);
        // What follows on the stream changes nothing.
        let mut more = message.clone();
        more.extend_from_slice(b"\r\n\r\nINVITE sip:next SIP/2.0\r\n");
        prop_assert_eq!(scan(&more, &mut table), expected);
        compare(&more);
    }

    #[test]
    fn scan_of_a_mutated_message_agrees_with_the_plain_reader(
        fields in fields(),
        edits in vec((any::<Index>(), 0_u8..3, select(&b"\r\n\t :;,<>\"\\\0\xffaA/="[..])), 1..8),
    ) {
        let mut message = build(&fields, 20);
        for (at, how, byte) in edits {
            let at = at.index(message.len());
            match how {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => drop(message.remove(at)),
            }
        }
        compare(&message);
    }

    #[test]
    fn scan_of_random_bytes_never_panics(bytes in vec(any::<u8>(), 0..300)) {
        compare(&bytes);
        compare(&[&b"SIP/2.0 200 OK\r\n"[..], &bytes, b"\r\n\r\n"].concat());
        compare(&[&b"BYE sip:a@b SIP/2.0\r\nl:0\r\n"[..], &bytes, b"\r\n\r\n"].concat());
    }

    #[test]
    fn decoders_never_panic(text in "[a:;,<>\"\\\\@?=\\[\\] \t\r\n0-9/.]{0,60}") {
        let _ = (Uri::parse(text.as_bytes()), NameAddr::parse(text.as_bytes()));
        let _ = (Via::parse(text.as_bytes()), params(text.as_bytes()).count());
        let via = format!("SIP/2.0/TLS {text}");
        let _ = Via::parse(via.as_bytes());
        let uri = format!("sip:{text}");
        let _ = Uri::parse(uri.as_bytes());
    }

    #[test]
    fn edits_do_what_a_byte_by_byte_rewrite_does(
        raw in vec(any::<u8>(), 0..60),
        splices in vec((any::<Index>(), 0_usize..20, vec(any::<u8>(), 0..6)), 0..10),
    ) {
        let mut edits = Edits::new();
        let mut removed = vec![false; raw.len()];
        let mut inserted = vec![Vec::new(); raw.len() + 1];
        // Twice, because a list is used again.
        edits.insert(0).push(1);
        edits.clear();
        for (at, len, text) in &splices {
            let at = at.index(raw.len() + 1);
            let end = (at + len).min(raw.len());
            match (len % 3, text.is_empty()) {
                (0, _) => edits.insert(at).extend_from_slice(text),
                (_, true) => edits.remove(at..end),
                (_, false) => edits.replace(at..end, text),
            }
            inserted[at].extend_from_slice(text);
            if len % 3 != 0 {
                removed[at..end].fill(true);
            }
        }
        let mut expected = Vec::new();
        for at in 0..=raw.len() {
            expected.extend_from_slice(&inserted[at]);
            if at < raw.len() && !removed[at] {
                expected.push(raw[at]);
            }
        }
        let mut out = b"before".to_vec();
        edits.apply(&raw, &mut out);
        prop_assert_eq!(edits.len_after(raw.len()), expected.len());
        prop_assert_eq!(&out[6..], &expected[..]);
    }

    #[test]
    fn values_are_split_as_character_by_character(text in "[ab,<>\"\\\\ ;]{0,40}") {
        let line = format!("OPTIONS sip:a SIP/2.0\r\nRoute:{text}\r\nl:0\r\n\r\n");
        let mut table = HeaderTable::new();
        let Ok(Scan::Message(scanned)) = scan(line.as_bytes(), &mut table) else { panic!() };
        let message = Message::new(line.as_bytes(), &table, scanned);
        let found: Vec<_> = message.values(HeaderName::Route).map(|v| v.bytes.to_vec()).collect();
        prop_assert_eq!(found, split_plainly(text.as_bytes()));
    }

    #[test]
    fn names_are_known_exactly(name in select(NAMES), at in any::<Index>(), byte in any::<u8>()) {
        let mut text = name.as_bytes().to_vec();
        text[at.index(name.len())] = byte;
        let known = HeaderName::of(name.as_bytes());
        let is_same = text.eq_ignore_ascii_case(name.as_bytes());
        if known != HeaderName::Other && name.len() > 1 {
            prop_assert_eq!(HeaderName::of(&text) == known, is_same, "{:?}", text);
        }
    }
}

/// Splits at commas outside quotes and angle brackets; what does not end takes the rest.
fn split_plainly(text: &[u8]) -> Vec<Vec<u8>> {
    let mut values = vec![Vec::new()];
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    for byte in trimmed(text) {
        if escaped {
            escaped = false;
        } else if quoted {
            escaped = byte == b'\\';
            quoted = byte != b'"';
        } else if bracketed {
            bracketed = byte != b'>';
        } else if byte == b',' {
            values.push(Vec::new());
            continue;
        } else {
            quoted = byte == b'"';
            bracketed = byte == b'<';
        }
        if let Some(last) = values.last_mut() {
            last.push(byte);
        }
    }
    values.into_iter().map(|value| trimmed(&value)).filter(|value| !value.is_empty()).collect()
}

#[test]
fn check_hands_on_what_it_read() {
    let text = b"REFER sips:a@b.example;x SIP/2.0\r\nVia: SIP/2.0/TLS v.example\r\n\
        From: <sip:c@d.example>;tag=9\r\nTo: <tel:+1>\r\nCall-ID: 7\r\nCSeq: 3 REFER\r\n\
        Max-Forwards: 9\r\nContent-Length: 0\r\n\r\n";
    let mut table = HeaderTable::new();
    let Ok(Scan::Message(scanned)) = scan(text, &mut table) else { panic!("not a message") };
    let message = Message::new(text, &table, scanned);
    let read = message.check().expect("well formed");
    assert_eq!(Ok(&read.top_via), message.top_via().as_ref());
    assert_eq!((Ok(read.from), Ok(read.to)), (message.from(), message.to()));
    assert_eq!((Ok(read.cseq), Ok(read.max_forwards)), (message.cseq(), message.max_forwards()));
    assert_eq!(read.request_uri.map(|uri| uri.scheme), Some(Scheme::Sips));
    assert_eq!(read.from_uri.map(|uri| uri.host), Some(&b"d.example"[..]));
    assert_eq!(read.to_uri.map(|uri| uri.scheme), Some(Scheme::Tel));
}

/// A head fed byte by byte past the point where looking at it again would be dear.
#[test]
fn scan_of_every_prefix_of_a_long_head_waits() {
    let long = "v".repeat(6_000);
    let fields = [("X-A", &*long), ("X-B", &*long), ("X-C", &*long)];
    let message = build(&fields, 3);
    let mut table = HeaderTable::new();
    for len in (8_000..8_400).chain(12_000..12_200).chain(message.len() - 200..message.len()) {
        let found = scan(&message[..len], &mut table);
        assert!(matches!(found, Ok(Scan::NeedMore(need)) if need > len && need <= message.len()));
    }
    assert!(matches!(scan(&message, &mut table), Ok(Scan::Message(_))));
    compare(&message);
}

/// The blocks of the scanner begin where the start line ends: every phase is tried.
#[test]
fn scan_does_not_depend_on_where_blocks_begin() {
    for shift in 0..130 {
        let value = "x".repeat(shift);
        let message = build(&[("X-A", &value), ("From", "<sip:a@b>\r\n ;tag=1"), ("To", "t")], 5);
        compare(&message);
        for at in 0..message.len() - 5 {
            let mut torn = message.clone();
            torn[at] = b'\r';
            compare(&torn);
            torn[at] = b'\n';
            compare(&torn);
        }
    }
}

#[test]
fn a_table_is_used_again_without_remembering() {
    let mut table = HeaderTable::new();
    let first = build(&[("Route", "<sip:a>"), ("Route", "<sip:b>"), ("Path", "x")], 0);
    let second = build(&[("From", "<sip:a@b>")], 0);
    assert!(scan(&first, &mut table).is_ok());
    let Ok(Scan::Message(scanned)) = scan(&second, &mut table) else { panic!("not a message") };
    let message = Message::new(&second, &table, scanned);
    assert!(!message.present(HeaderName::Route) && !message.present(HeaderName::Path));
    assert_eq!(message.count(HeaderName::Route), 0);
    assert_eq!(message.all(HeaderName::Route).count(), 0);
    assert!(message.first(HeaderName::Route).is_none() && message.find("path").is_none());
}

#[test]
fn a_reply_copies_what_ties_it_to_its_request() {
    let text = b"INVITE sip:a@b.example SIP/2.0\r\n\
        v: SIP/2.0/TLS x.example\r\n ;branch=z9hG4bK1\r\n\
        X: y\r\nVia: SIP/2.0/tls y.example\r\nf: <sip:c@d.example>;tag=9\r\n\
        t: \"T\" <sip:a@b.example>\r\n\
        i: 77\r\nCSeq: 3 INVITE\r\nTimestamp: 54\r\nl: 0\r\n\r\n";
    let mut table = HeaderTable::new();
    let Ok(Scan::Message(scanned)) = scan(text, &mut table) else { panic!("not a message") };
    let message = Message::new(text, &table, scanned);
    let written = |status, tag: &[u8], extra: &[u8]| {
        let mut out = Vec::new();
        reply::write(&mut out, &message, status, "Why", tag, extra);
        String::from_utf8(out).expect("ASCII")
    };
    let common = "Via: SIP/2.0/TLS x.example   ;branch=z9hG4bK1\r\nVia: SIP/2.0/tls y.example\r\n\
        From: <sip:c@d.example>;tag=9\r\nTo: \"T\" <sip:a@b.example>";
    assert_eq!(
        written(403, b"ab", b"ms-diagnostics-public: 1\r\n"),
        format!(
            "SIP/2.0 403 Why\r\n{common};tag=ab\r\nCall-ID: 77\r\nCSeq: 3 INVITE\r\n\
             ms-diagnostics-public: 1\r\nContent-Length: 0\r\n\r\n"
        )
    );
    assert_eq!(
        written(100, b"ab", b""),
        format!(
            "SIP/2.0 100 Why\r\n{common}\r\nCall-ID: 77\r\nCSeq: 3 INVITE\r\nTimestamp: 54\r\n\
             Content-Length: 0\r\n\r\n"
        )
    );
    assert!(written(500, b"", b"").contains("To: \"T\" <sip:a@b.example>\r\n"));
}

#[test]
fn a_number_is_written_in_decimal() {
    for number in [0, 7, 10, 100, 65_535, u32::MAX] {
        let mut out = Vec::new();
        reply::write_number(&mut out, number);
        assert_eq!(out, number.to_string().into_bytes());
    }
}

#[test]
fn a_splice_outside_the_message_is_our_mistake() {
    let mut edits = Edits::new();
    edits.remove(3..9);
    let applied = std::panic::catch_unwind(|| edits.apply(b"short", &mut Vec::new()));
    assert!(applied.is_err());
}

#[test]
fn limits_leave_room_for_what_the_table_stores() {
    assert!(limits::SIP_MESSAGE_BYTES_MAX < u32::MAX as usize);
    assert_eq!(size_of::<table::Entry>(), 16);
}
