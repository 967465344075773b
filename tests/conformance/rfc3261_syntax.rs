//! RFC 3261 sections 7, 8.1.1, 18.3, 19.1, 20 and 25, with RFC 5626 keep-alives, and the input
//! that Lync servers and clients really send.

use super::{accepted, broken, crlf, refused, request, scanned};
use entente::limits;
use entente::sip::{
    Edits, FramingFault, HeaderName, HeaderTable, Method, NameAddr, PeerMisbehaved, Scan, Scheme,
    SyntaxFault, Uri, scan,
};

const OPTIONS: &str = "OPTIONS sip:contoso.example SIP/2.0";

fn misbehaved(bytes: &[u8]) -> PeerMisbehaved {
    scan(bytes, &mut HeaderTable::new()).expect_err("this is past understanding")
}

// Section 7: start lines

#[test]
fn s7_1_methods_are_case_sensitive() {
    accepted(&request("message sip:a@contoso.example SIP/2.0", &[]), |m| {
        assert_eq!(m.method(), Some(Method::Other));
    });
    accepted(&request("MESSAGE sip:a@contoso.example SIP/2.0", &[]), |m| {
        assert_eq!(m.method(), Some(Method::Message));
    });
}

#[test]
fn s7_1_the_version_is_not_case_sensitive() {
    accepted(&request("OPTIONS sip:contoso.example sip/2.0", &[]), |m| {
        assert_eq!(m.uri(), b"sip:contoso.example");
    });
}

#[test]
fn s7_1_every_known_method_has_its_number() {
    for name in [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "BENOTIFY",
        "INFO",
        "OPTIONS",
        "REGISTER",
        "REFER",
        "UPDATE",
        "PRACK",
        "PUBLISH",
        "SERVICE",
        "NEGOTIATE",
    ] {
        accepted(&request(&format!("{name} sip:contoso.example SIP/2.0"), &[]), |m| {
            let method = m.method().unwrap();
            assert_ne!(method, Method::Other, "{name}");
            assert_eq!((method.as_str(), m.method_token()), (name, name.as_bytes()));
        });
    }
}

#[test]
fn s7_1_what_is_not_sip_is_past_understanding() {
    for line in [
        "GET / HTTP/1.1",
        "INVITE sip:a@b SIP/2.0x",
        "\u{16}\u{3}\u{1}",
        "INVITE",
        "IN<VITE sip:a@b SIP/2.0",
        " INVITE sip:a@b SIP/2.0",
        "<stream:stream>",
        "SIPX/2.0 200 OK",
    ] {
        let text = format!("{line}\r\nVia: x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(misbehaved(text.as_bytes()), PeerMisbehaved::NotSip, "{line}");
    }
}

#[test]
fn s7_1_a_request_line_without_its_parts_is_answered() {
    for line in ["INVITE SIP/2.0", "INVITE\tsip:a@b.example SIP/2.0", "INVITE  SIP/2.0"] {
        let message = request(line, &["CSeq: 1 INVITE"]);
        assert_eq!(refused(&message).status(), 400, "{line}");
    }
}

#[test]
fn s7_1_what_cannot_become_sip_is_refused_before_its_line_ends() {
    assert_eq!(misbehaved(b"\x16\x03\x01\x02"), PeerMisbehaved::NotSip);
    assert_eq!(misbehaved(b"\n"), PeerMisbehaved::NotSip);
    assert_eq!(scan(b"INVI", &mut HeaderTable::new()), Ok(Scan::NeedMore(5)));
    assert_eq!(scan(b"SIP/2.0 2", &mut HeaderTable::new()), Ok(Scan::NeedMore(10)));
}

#[test]
fn s7_2_status_codes_are_three_digits_from_100_to_699() {
    for (line, status) in [
        ("SIP/2.0 100 Trying", Some(100)),
        ("SIP/2.0 699 ", Some(699)),
        ("SIP/2.0 200", Some(200)),
        ("SIP/2.0 099 Low", None),
        ("SIP/2.0 700 High", None),
        ("SIP/2.0 20 OK", None),
        ("SIP/2.0 2000 OK", None),
        ("SIP/2.0 -20 OK", None),
        ("SIP/2.0  200 OK", None),
    ] {
        let message = request(line, &["CSeq: 1 OPTIONS"]);
        scanned(&message, |m| {
            assert_eq!(m.status(), Some(status.unwrap_or(0)), "{line}");
            let expected = if status.is_some() { Ok(()) } else { Err(SyntaxFault::StatusLine) };
            assert_eq!(m.verify(), expected, "{line}");
        });
    }
    assert_eq!(refused(&request("SIP/3.0 200 OK", &[])), SyntaxFault::Version);
}

// Section 7.3: header fields

#[test]
fn s7_3_1_names_are_not_case_sensitive() {
    accepted(&request(OPTIONS, &["MS-EDGE-proxy-message-TRUST: x", "cSEQ: 1 OPTIONS"]), |m| {
        assert!(m.present(HeaderName::MsEdgeProxyMessageTrust));
    });
}

/// A name that only begins like a known one, or is one letter off, is another name.
#[test]
fn s7_3_1_a_name_is_known_whole_or_not_at_all() {
    accepted(
        &request(
            OPTIONS,
            &[
                "ms-edge-proxy-message-trus: x",
                "ms-edge-proxy-message-trustx: x",
                "ms-edge-proxy-message-tRusu: x",
                "Vi: x",
                "Proxy-Authenticatee: x",
            ],
        ),
        |m| {
            assert!(!m.present(HeaderName::MsEdgeProxyMessageTrust));
            assert!(!m.present(HeaderName::ProxyAuthenticate));
            assert_eq!(m.count(HeaderName::Via), 1);
            assert_eq!(m.count(HeaderName::Other), 5);
        },
    );
}

#[test]
fn s7_3_1_space_before_the_colon_hides_no_header_field() {
    accepted(&request(OPTIONS, &["ms-edge-proxy-message-trust \t : x", "Path\t: <sip:p>"]), |m| {
        assert!(m.present(HeaderName::MsEdgeProxyMessageTrust));
        let path = m.first(HeaderName::Path).unwrap();
        assert_eq!((path.name_text, path.value), (&b"Path"[..], &b"<sip:p>"[..]));
    });
}

#[test]
fn s7_3_1_a_name_that_is_no_token_is_refused() {
    for line in ["no colon at all", ": nothing", "two words: x", "null\0: x", "a\"b: x", "(c): x"] {
        assert_eq!(refused(&request(OPTIONS, &[line])), SyntaxFault::HeaderLine, "{line}");
    }
}

#[test]
fn s7_3_1_a_folded_line_belongs_to_the_field_before_it() {
    let message = crlf(
        "OPTIONS sip:contoso.example SIP/2.0\n\
         Via: SIP/2.0/TLS a.example\n ;branch=z9hG4bKx\nTo: <sip:a@b.example>\n\
         X-Note:\n one\n\t two\nFrom: <sip:c@d.example>;tag=1\nCall-ID: 1\n\
         CSeq: 1\n OPTIONS\nContent-Length:\n 0\n\n",
    );
    accepted(&message, |m| {
        let note = m.find("x-note").unwrap();
        assert_eq!(note.value, b"one\r\n\t two");
        assert_eq!(&m.raw()[note.line.clone()], b"X-Note:\r\n one\r\n\t two\r\n");
        assert_eq!(&m.raw()[note.value_range.clone()], note.value);
        let mut edits = Edits::new();
        edits.remove(note.line);
        let mut out = Vec::new();
        edits.apply(m.raw(), &mut out);
        accepted(&out, |m| assert!(m.find("X-Note").is_none()));
        assert_eq!(m.top_via().unwrap().via.branch, Some(&b"z9hG4bKx"[..]));
    });
}

#[test]
fn s7_3_1_the_first_header_line_cannot_be_a_fold() {
    let message = crlf("OPTIONS sip:a.example SIP/2.0\n X: y\nContent-Length: 0\n\n");
    assert_eq!(refused(&message), SyntaxFault::HeaderLine);
}

#[test]
fn s7_3_1_comma_separated_values_and_lines_of_their_own_are_the_same() {
    let lines = ["Route: <sip:a;x=\",\">, \"b, c\" <sip:b,c>", "Route: <sip:d>,<sip:e>;f=\"g,h\""];
    accepted(&request(OPTIONS, &lines), |m| {
        let values: Vec<_> = m.values(HeaderName::Route).map(|value| value.bytes).collect();
        let expected: [&[u8]; 4] =
            [b"<sip:a;x=\",\">", b"\"b, c\" <sip:b,c>", b"<sip:d>", b"<sip:e>;f=\"g,h\""];
        assert_eq!(values, expected);
        for value in m.values(HeaderName::Route) {
            assert_eq!(&m.raw()[value.range.clone()], value.bytes);
        }
    });
}

#[test]
fn s7_3_1_removing_a_value_leaves_a_list() {
    let removed = |line: &str, unwanted: &[u8]| {
        let message = request(OPTIONS, &[line, "Last: x"]);
        accepted(&message, |m| {
            let mut edits = Edits::new();
            let value = m.values(HeaderName::Route).find(|v| v.bytes == unwanted).unwrap();
            edits.remove(value.remove);
            let mut out = Vec::new();
            edits.apply(m.raw(), &mut out);
            assert_eq!(out.len(), edits.len_after(m.raw().len()));
            let text = String::from_utf8(out).unwrap();
            text.lines().find(|l| l.starts_with("Route")).map(str::to_owned)
        })
    };
    let list = "Route: <sip:a> , <sip:b>,\t<sip:c>";
    assert_eq!(removed(list, b"<sip:a>").unwrap(), "Route: <sip:b>,\t<sip:c>");
    assert_eq!(removed(list, b"<sip:b>").unwrap(), "Route: <sip:a> , <sip:c>");
    assert_eq!(removed(list, b"<sip:c>").unwrap(), "Route: <sip:a> , <sip:b>");
    assert_eq!(removed("Route: <sip:a>", b"<sip:a>"), None);
}

#[test]
fn s7_3_1_several_values_are_removed_together() {
    for (unwanted, expected) in [
        ("ab", Some("Route: <sip:c>")),
        ("bc", Some("Route: <sip:a>")),
        ("ac", Some("Route: <sip:b>")),
        ("abc", None),
        ("", Some("Route: <sip:a>, <sip:b>, <sip:c>")),
    ] {
        let message = request(OPTIONS, &["Route: <sip:a>, <sip:b>, <sip:c>"]);
        accepted(&message, |m| {
            let mut edits = Edits::new();
            m.remove_values(HeaderName::Route, &mut edits, |value| {
                unwanted.as_bytes().contains(&value.bytes[5])
            });
            let mut out = Vec::new();
            edits.apply(m.raw(), &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.lines().find(|l| l.starts_with("Route")), expected, "{unwanted}");
        });
    }
}

#[test]
fn s7_3_1_single_header_fields_may_not_repeat() {
    for (line, name) in [
        ("From: <sip:x@y.example>", HeaderName::From),
        ("t: <sip:x@y.example>", HeaderName::To),
        ("i: 2", HeaderName::CallId),
        ("CSeq: 1 OPTIONS", HeaderName::CSeq),
        ("Max-Forwards: 70", HeaderName::MaxForwards),
        ("l: 0", HeaderName::ContentLength),
        ("ms-diagnostics-public: 1;reason=\"x\"", HeaderName::MsDiagnosticsPublic),
    ] {
        let text = String::from_utf8(request(OPTIONS, &["ms-diagnostics-public: 1"])).unwrap();
        let twice = text.replacen("\r\nVia", &format!("\r\n{line}\r\nVia"), 1);
        assert_eq!(refused(twice.as_bytes()), SyntaxFault::Repeated(name), "{line}");
    }
}

#[test]
fn s7_3_3_every_compact_form_is_its_full_name() {
    for (compact, full) in [
        ("a", HeaderName::AcceptContact),
        ("b", HeaderName::ReferredBy),
        ("c", HeaderName::ContentType),
        ("d", HeaderName::RequestDisposition),
        ("e", HeaderName::ContentEncoding),
        ("f", HeaderName::From),
        ("i", HeaderName::CallId),
        ("j", HeaderName::RejectContact),
        ("k", HeaderName::Supported),
        ("l", HeaderName::ContentLength),
        ("m", HeaderName::Contact),
        ("n", HeaderName::IdentityInfo),
        ("o", HeaderName::Event),
        ("r", HeaderName::ReferTo),
        ("s", HeaderName::Subject),
        ("t", HeaderName::To),
        ("u", HeaderName::AllowEvents),
        ("v", HeaderName::Via),
        ("x", HeaderName::SessionExpires),
        ("y", HeaderName::Identity),
    ] {
        assert_eq!(HeaderName::of(compact.as_bytes()), full);
        assert_eq!(HeaderName::of(compact.to_uppercase().as_bytes()), full);
        assert_eq!(HeaderName::of(full.as_str().as_bytes()), full);
    }
    for unused in ["g", "h", "p", "q", "w", "z"] {
        assert_eq!(HeaderName::of(unused.as_bytes()), HeaderName::Other);
    }
}

// Section 7.5 and 18.3: framing

#[test]
fn s7_5_line_ends_between_messages_are_keep_alives() {
    let table = &mut HeaderTable::new();
    assert_eq!(scan(b"\r\n\r\nOPT", table), Ok(Scan::KeepAlive { consumed: 4, ping: true }));
    assert_eq!(scan(b"\r\nOPT", table), Ok(Scan::KeepAlive { consumed: 2, ping: false }));
    assert_eq!(scan(b"\r\n", table), Ok(Scan::KeepAlive { consumed: 2, ping: false }));
    assert_eq!(scan(b"\r\n\r", table), Ok(Scan::NeedMore(4)));
    assert_eq!(scan(b"\r", table), Ok(Scan::NeedMore(2)));
    assert_eq!(scan(b"", table), Ok(Scan::NeedMore(1)));
}

#[test]
fn s18_3_a_message_needs_a_content_length_on_a_stream() {
    let message = crlf("OPTIONS sip:a.example SIP/2.0\nVia: SIP/2.0/TLS a\n\n");
    assert_eq!(broken(&message), FramingFault::ContentLengthMissing);
}

#[test]
fn s18_3_a_content_length_is_digits_and_nothing_else() {
    for bad in ["", "+1", "-1", "0x1", "1;a=b", "1 1", "1,1", "one", "1.0"] {
        let message = request(OPTIONS, &[&format!("Content-Length: {bad}")]);
        assert_eq!(broken(&message), FramingFault::ContentLengthInvalid, "{bad}");
    }
}

#[test]
fn s18_3_a_body_beyond_the_limit_is_answered_513() {
    for bytes in ["1048577", "4294967296", "99999999999999999999999999"] {
        let fault = broken(&request(OPTIONS, &[&format!("Content-Length: {bytes}")]));
        assert_eq!((fault, fault.status()), (FramingFault::BodyTooLarge, 513));
    }
    let message = request(OPTIONS, &["Content-Length: 1048576"]);
    let expected = Ok(Scan::NeedMore(message.len() + 1_048_576));
    assert_eq!(scan(&message, &mut HeaderTable::new()), expected);
    let mut small = HeaderTable::with_body_bytes_max(10);
    let found = scan(&request(OPTIONS, &["Content-Length: 11"]), &mut small);
    assert!(matches!(found, Ok(Scan::Broken(_, FramingFault::BodyTooLarge))));
}

#[test]
fn s18_3_equal_content_lengths_frame_but_are_refused() {
    let message = request(OPTIONS, &["Content-Length: 2", "Content-Length: 02"]);
    let with_body = [&message[..], b"ab"].concat();
    assert_eq!(refused(&with_body), SyntaxFault::Repeated(HeaderName::ContentLength));
    let message = request(OPTIONS, &["Content-Length: 2", "Content-Length: 3"]);
    assert_eq!(broken(&message), FramingFault::ContentLengthContradicting);
}

/// A reader that ends lines at a bare LF or CR would see a From that this one does not.
#[test]
fn s7_a_line_break_alone_in_the_head_is_refused() {
    for smuggled in [
        "X: a\nFrom: <sip:evil@contoso.example>",
        "X: a\rFrom: <sip:evil@contoso.example>",
        "X: a\r\rb",
        "X: a\r",
        "X: a\n b",
    ] {
        let message = request(OPTIONS, &[smuggled]);
        assert_eq!(broken(&message), FramingFault::BareLineBreak, "{smuggled:?}");
    }
    let message = request("OPTIONS sip:contoso.example SIP/2.0\r", &[]);
    assert_eq!(misbehaved(&message), PeerMisbehaved::NotSip);
    assert_eq!(broken(&request("SIP/2.0 200 O\rK", &[])), FramingFault::BareLineBreak);
    let bare = String::from_utf8(request(OPTIONS, &[])).unwrap().replace('\r', "");
    assert_eq!(broken(bare.as_bytes()), FramingFault::BareLineBreak);
    // In a body they are nobody's business.
    let mut message = request(OPTIONS, &["Content-Length: 4"]);
    message.extend_from_slice(b"\r\r\n\n");
    accepted(&message, |m| assert_eq!(m.body(), b"\r\r\n\n"));
}

// The limits of the stream

#[test]
fn limits_a_start_line_has_its_bound() {
    let line = |len: usize| {
        let fixed = "OPTIONS sip:@contoso.example SIP/2.0".len();
        format!("OPTIONS sip:{}@contoso.example SIP/2.0", "u".repeat(len - fixed))
    };
    let max = limits::SIP_START_LINE_BYTES_MAX;
    accepted(&request(&line(max), &[]), |_| ());
    assert_eq!(misbehaved(&request(&line(max + 1), &[])), PeerMisbehaved::StartLineTooLong);
    let open = format!("OPTIONS sip:{}", "u".repeat(max));
    assert_eq!(misbehaved(open.as_bytes()), PeerMisbehaved::StartLineTooLong);
}

#[test]
fn limits_a_header_field_has_its_bound_folds_included() {
    let max = limits::SIP_HEADER_BYTES_MAX;
    let line = format!("X-A: {}", "v".repeat(max - 5));
    accepted(&request(OPTIONS, &[&line]), |_| ());
    let message = request(OPTIONS, &[&format!("{line}v")]);
    assert_eq!(misbehaved(&message), PeerMisbehaved::HeaderTooLong);
    let folded = format!("X-A: {}\r\n {}", "v".repeat(max / 2), "v".repeat(max / 2));
    assert_eq!(misbehaved(&request(OPTIONS, &[&folded])), PeerMisbehaved::HeaderTooLong);
    let open = format!("{OPTIONS}\r\nX-A: {}", "v".repeat(max));
    assert_eq!(misbehaved(open.as_bytes()), PeerMisbehaved::HeaderTooLong);
}

#[test]
fn limits_a_head_has_its_bound() {
    let lines: Vec<String> = (0..5).map(|_| format!("X-A: {}", "v".repeat(13_100))).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let message = request(OPTIONS, &lines);
    accepted(&request(OPTIONS, &lines[..4]), |_| ());
    let table = &mut HeaderTable::new();
    let almost = &message[..limits::SIP_HEAD_BYTES_MAX - 1];
    assert_eq!(scan(almost, table), Ok(Scan::NeedMore(limits::SIP_HEAD_BYTES_MAX)));
    let whole = &message[..limits::SIP_HEAD_BYTES_MAX];
    assert_eq!(misbehaved(whole), PeerMisbehaved::HeadTooLong);
    assert_eq!(misbehaved(&message), PeerMisbehaved::HeadTooLong);
}

#[test]
fn limits_header_fields_are_counted() {
    let own = 7;
    let lines = vec!["X-A: y"; limits::SIP_HEADER_FIELDS_MAX - own];
    accepted(&request(OPTIONS, &lines), |m| assert_eq!(m.fields().count(), 256));
    let lines = vec!["X-A: y"; limits::SIP_HEADER_FIELDS_MAX - own + 1];
    assert_eq!(misbehaved(&request(OPTIONS, &lines)), PeerMisbehaved::TooManyHeaderFields);
}

#[test]
fn limits_via_and_route_values_are_counted_however_they_are_written() {
    let vias = |count: usize| vec!["SIP/2.0/TLS a.example;branch=z9hG4bK1"; count].join(", ");
    accepted(&request(OPTIONS, &[&format!("Via: {}", vias(limits::SIP_VIAS_MAX))]), |_| ());
    let message = request(OPTIONS, &[&format!("Via: {}", vias(limits::SIP_VIAS_MAX + 1))]);
    assert_eq!(refused(&message), SyntaxFault::TooManyVias);
    let routes = vec!["Route: <sip:a.example;lr>"; limits::SIP_ROUTES_MAX];
    accepted(&request(OPTIONS, &routes), |_| ());
    let routes = vec!["Route: <sip:a.example;lr>"; limits::SIP_ROUTES_MAX + 1];
    assert_eq!(refused(&request(OPTIONS, &routes)), SyntaxFault::TooManyRoutes);
}

// Section 8.1.1: what every request has

#[test]
fn s8_1_1_five_header_fields_must_be_there() {
    for (name, header) in [
        ("Via", HeaderName::Via),
        ("From", HeaderName::From),
        ("To", HeaderName::To),
        ("Call-ID", HeaderName::CallId),
        ("CSeq", HeaderName::CSeq),
    ] {
        let message = request(OPTIONS, &[&format!("{name}:-")]);
        let fault = refused(&message);
        assert_eq!((fault, fault.status()), (SyntaxFault::Missing(header), 400));
        assert!(fault.reason().ends_with(name));
    }
    accepted(&request(OPTIONS, &["Max-Forwards:-"]), |m| {
        assert_eq!(m.max_forwards(), Ok(None), "a proxy adds it");
    });
    let empty = refused(&request(OPTIONS, &["Call-ID:"]));
    assert_eq!(empty, SyntaxFault::Missing(HeaderName::CallId));
}

#[test]
fn s8_1_1_5_cseq_is_a_number_below_2_31_and_a_method() {
    for good in ["0 OPTIONS", "2147483647 OPTIONS", "00001\t OPTIONS"] {
        accepted(&request(OPTIONS, &[&format!("CSeq: {good}")]), |_| ());
    }
    for bad in ["2147483648 OPTIONS", "OPTIONS", "1", "1OPTIONS", "-1 OPTIONS", "1 OPT IONS", ""] {
        let message = request(OPTIONS, &[&format!("CSeq: {bad}")]);
        assert_eq!(refused(&message), SyntaxFault::CSeq, "{bad}");
    }
}

#[test]
fn s20_22_max_forwards_is_a_number_up_to_255() {
    for bad in ["256", "-1", "", "7O", "70 70", "99999999999"] {
        let message = request(OPTIONS, &[&format!("Max-Forwards: {bad}")]);
        assert_eq!(refused(&message), SyntaxFault::MaxForwards, "{bad}");
    }
}

// Section 19.1: URIs

#[test]
fn s19_1_1_a_sip_uri_has_its_parts() {
    let uri =
        Uri::parse(b"SIPS:al%20ice:pw@Sip.Contoso.example:5061;transport=tls;lr?a=b&c=d").unwrap();
    assert_eq!(uri.scheme, Scheme::Sips);
    assert_eq!((uri.user, uri.password), (Some(&b"al%20ice"[..]), Some(&b"pw"[..])));
    assert_eq!((uri.host, uri.port), (&b"Sip.Contoso.example"[..], Some(5061)));
    assert_eq!(uri.param("Transport"), Some(Some(&b"tls"[..])));
    assert_eq!((uri.param("lr"), uri.param("maddr")), (Some(None), None));
    assert_eq!((uri.params, uri.headers), (&b";transport=tls;lr"[..], &b"a=b&c=d"[..]));
}

#[test]
fn s19_1_4_escaped_characters_are_the_characters() {
    let unescaped = |text: &str| {
        let uri = Uri::parse(text.as_bytes()).unwrap();
        String::from_utf8(uri.user_unescaped().into_owned()).unwrap()
    };
    assert_eq!(unescaped("sip:l%65e@contoso.example"), "lee");
    assert_eq!(unescaped("sip:%6C%65%65@contoso.example"), "lee");
    assert_eq!(unescaped("sip:lee@contoso.example"), "lee");
    // What is escaped once is read once, and half an escape is what it says.
    assert_eq!(unescaped("sip:l%2565e@contoso.example"), "l%65e");
    assert_eq!(unescaped("sip:l%6@contoso.example"), "l%6");
    assert_eq!(unescaped("sip:contoso.example"), "");
}

#[test]
fn s19_1_1_a_tel_uri_keeps_its_number() {
    let uri = Uri::parse(b"tel:+1-201-555-0123;ext=7").unwrap();
    assert_eq!((uri.scheme, uri.user), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
    assert_eq!(uri.param("ext"), Some(Some(&b"7"[..])));
}

/// Each of these names two hosts, depending on where a reader cuts.
#[test]
fn s19_1_1_a_uri_that_can_be_read_two_ways_is_refused() {
    for bad in [
        "sip:a@contoso.example@fabrikam.example",
        "sip:a@contoso.example;x=@fabrikam.example",
        "sip:a@contoso.example?x=@fabrikam.example",
        "sip:a@",
        "sip:",
        "sip:@contoso.example",
        "sip:a b@contoso.example",
        "sip:a@contoso.example\0.fabrikam.example",
        "sip:a@contoso.example>",
        "sip:a@contoso.example:",
        "sip:a@contoso.example:0",
        "sip:a@contoso.example:65536",
        "sip:a@contoso.example:5061x",
        "sip:a@[::1",
        "sip:a@[::1]x",
        "sip:a@[fe80::1%eth0]",
        "sip:a@cont/oso.example",
        "contoso.example",
        "",
        ":a@b",
        "1x:a",
        "sip:a@contoso.example\\fabrikam.example",
        "sip:a@contöso.example",
    ] {
        assert_eq!(Uri::parse(bad.as_bytes()), Err(SyntaxFault::Uri), "{bad:?}");
    }
}

#[test]
fn s19_1_1_gruu_and_lync_parameters_are_kept_in_order() {
    let text = b"sip:alice@contoso.example;gruu;opaque=app:conf:focus:id:A1B2;grid=7";
    let uri = Uri::parse(text).unwrap();
    assert_eq!(uri.params, b";gruu;opaque=app:conf:focus:id:A1B2;grid=7");
    assert_eq!(uri.param("opaque"), Some(Some(&b"app:conf:focus:id:A1B2"[..])));
    assert_eq!(uri.param("gruu"), Some(None));
}

// Section 20: addresses and Via

#[test]
fn s20_10_an_address_has_its_parts() {
    let text = b"\"A, \\\"B\\\" <c>\"  <sip:a;b@c.example;d>;tag=1;e=\"f;g\"";
    let address = NameAddr::parse(text).unwrap();
    assert_eq!(address.display, b"\"A, \\\"B\\\" <c>\"");
    assert_eq!(address.uri, b"sip:a;b@c.example;d");
    assert_eq!((address.tag(), address.param("E")), (Some(&b"1"[..]), Some(Some(&b"\"f;g\""[..]))));
}

#[test]
fn s20_10_an_address_that_can_be_read_two_ways_is_refused() {
    for bad in [
        "\"open <sip:a@b>",
        "<sip:a@b",
        "sip:a@b>",
        "a\" <sip:a@b>",
        "<sip:a@b> junk",
        "sip:a@b,sip:c@d",
        "sip:a@b?c=d",
        "sip:a@b;c@d",
        "sip:a b@c",
        "x, y <sip:a@b>",
        "<<sip:a@b>>",
        "<sip:a@b>, <sip:c@d>",
        "<sip:a@b>;x=<sip:c@d>",
        "<sip:a@b>;x=\"open",
        "",
        ";tag=1",
        "\"a\" sip:a@b",
    ] {
        assert_eq!(NameAddr::parse(bad.as_bytes()), Err(SyntaxFault::NameAddr), "{bad:?}");
    }
}

#[test]
fn s20_42_a_via_that_names_no_sender_is_refused() {
    for bad in [
        "SIP/2.0/TLS",
        "SIP/2.0/TLS ;branch=x",
        "SIP/2.0 a.example",
        "SIP/3.0/TLS a.example",
        "HTTP/2.0/TLS a.example",
        "SIP/2.0/T<S a.example",
        "SIP/2.0/TLS a b.example",
        "SIP/2.0/TLS a.example:99999",
        "SIP/2.0/TLS [::1",
        "SIP/2.0/TLS a.example;;x",
        "SIP/2.0/TLS a.example;",
        "SIP/2.0/TLS a.example;b\"c=d",
        "",
    ] {
        let message = request(OPTIONS, &[&format!("Via: {bad}")]);
        assert_eq!(refused(&message), SyntaxFault::Via, "{bad}");
    }
}

#[test]
fn s20_42_via_parameters_may_be_quoted() {
    let via = "Via: SIP/2.0/TLS 10.0.0.1:5061;ms-internal-info=\"a;branch=b,c\";\
        branch=z9hG4bK8.E1;branched=FALSE";
    accepted(&request(OPTIONS, &[via, "via: SIP/2.0/TCP b.example"]), |m| {
        let top = m.top_via().unwrap();
        assert_eq!(top.via.branch, Some(&b"z9hG4bK8.E1"[..]));
        assert_eq!(top.via.param("ms-internal-info"), Some(Some(&b"\"a;branch=b,c\""[..])));
        assert_eq!(m.vias().count(), 2);
    });
}

// What Lync sends

#[test]
fn lync_a_client_via_has_no_branch_and_a_lower_case_transport() {
    for via in ["Via: SIP/2.0/tls 192.0.2.2:2616", "Via: SIP/2.0/tls 192.0.2.2:2616;branch="] {
        accepted(&request(OPTIONS, &[via]), |m| {
            let via = m.top_via().unwrap().via;
            assert_eq!((via.transport, via.host), (&b"tls"[..], &b"192.0.2.2"[..]));
            assert_eq!((via.port, via.branch), (Some(2616), None));
            assert!(!via.has_cookie());
        });
    }
}

#[test]
fn lync_a_contact_of_null_is_let_pass() {
    accepted(&request(OPTIONS, &["Contact: (null)"]), |m| {
        let values: Vec<_> = m.values(HeaderName::Contact).map(|value| value.bytes).collect();
        assert_eq!(values, [b"(null)"]);
    });
}

#[test]
fn lync_header_fields_may_stand_between_vias() {
    let message = crlf(
        "OPTIONS sip:alice@contoso.example SIP/2.0\n\
         Via: SIP/2.0/TLS 10.0.0.1:5061;branch=z9hG4bK84.E1;branched=FALSE;ms-internal-info=\"x\"\n\
         Max-Forwards: 67\nRecord-Route: <sip:pool.example:5061;transport=tls;ms-fe=fe.example;\
         opaque=state:F:Ci.Rabf6d00;lr;ms-route-sig=a>;ms-rrsig=b;tag=0F\n\
         Via: SIP/2.0/TLS 10.0.0.2:50013;ms-received-port=50013;ms-received-cid=545400\n\
         From: <sip:bob@fabrikam.example>;tag=1;epid=01020304aa\n\
         Record-Route: <sip:edge.example;lr>\n\
         Via: SIP/2.0/tls 192.168.1.4:6000\n\
         To: <sip:alice@contoso.example>;tag=2;epid=0a\nCall-ID: 1\nCSeq: 4 OPTIONS\n\
         Content-Length: 0\n\n",
    );
    accepted(&message, |m| {
        assert_eq!(m.vias().map(|via| u32::from(via.unwrap().port.unwrap())).sum::<u32>(), 61_074);
        assert_eq!(m.values(HeaderName::RecordRoute).count(), 2);
        let top = m.top_via().unwrap();
        let mut edits = Edits::new();
        edits.remove(top.value.remove);
        let mut out = Vec::new();
        edits.apply(m.raw(), &mut out);
        accepted(&out, |m| assert_eq!(m.top_via().unwrap().via.port, Some(50013)));
    });
}

#[test]
fn lync_negotiate_with_max_forwards_of_zero_and_nobody_in_it_is_accepted() {
    let message = request(
        "NEGOTIATE sip:127.0.0.1:5061 SIP/2.0",
        &[
            "Via: SIP/2.0/TLS 192.0.2.2:2616",
            "From: <sip:192.0.2.2:2616>;tag=0A",
            "To: <>",
            "Max-Forwards: 0",
            "Compression: LZ77-8K",
        ],
    );
    accepted(&message, |m| {
        assert_eq!((m.method(), m.max_forwards()), (Some(Method::Negotiate), Ok(Some(0))));
        assert!(m.present(HeaderName::Compression));
    });
    let message = request("MESSAGE sip:a@contoso.example SIP/2.0", &["To: <>"]);
    assert_eq!(refused(&message), SyntaxFault::To);
}
