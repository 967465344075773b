//! RFC 4475, SIP torture test messages: all 49, each with what this edge does to it.
//!
//! The messages are written after the descriptions of the document, with names of our own; in the
//! fixtures lines end in LF and `{{XX}}` is a byte. An edge is a proxy on a stream: it accepts
//! some messages that an end would refuse, and says so here.

use super::{accepted, broken, refused, scanned};
use entente::sip::{
    FramingFault, HeaderName, HeaderTable, Message, Method, NameAddr, Scan, Scheme, SyntaxFault,
    Uri, reply, scan,
};

macro_rules! message {
    ($name:literal) => {
        bytes(include_str!(concat!("../fixtures/rfc4475/", $name, ".sip")))
    };
}

/// Turns LF into CRLF and `{{XX}}` into a byte.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let escaped = rest.strip_prefix("{{").and_then(|rest| {
            let byte = u8::from_str_radix(rest.get(..2)?, 16).ok()?;
            Some((byte, rest.get(2..)?.strip_prefix("}}")?))
        });
        if let Some((byte, after)) = escaped {
            out.push(byte);
            rest = after;
            continue;
        }
        if next == '\n' {
            out.push(b'\r');
        }
        out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[next.len_utf8()..];
    }
    out
}

/// A valid message is accepted, and nothing is left over behind it.
fn valid<T>(message: &[u8], check: impl FnOnce(&Message<'_>) -> T) -> T {
    accepted(message, |m| {
        assert_eq!(m.raw().len(), message.len());
        check(m)
    })
}

// 3.1.1: valid messages

#[test]
fn s3_1_1_1_a_short_tortuous_invite_is_accepted() {
    valid(&message!("wsinv"), |m| {
        assert_eq!(m.method(), Some(Method::Invite));
        assert_eq!(m.max_forwards(), Ok(Some(68)));
        let cseq = m.cseq().unwrap();
        assert_eq!((cseq.number, cseq.method), (9, &b"INVITE"[..]));
        assert_eq!(m.to().unwrap().tag(), Some(&b"1918181833n"[..]));
        let from = m.from().unwrap();
        assert_eq!(
            (from.tag(), from.uri),
            (Some(&b"98asjd8"[..]), &b"sip:joe@fabrikam.example"[..])
        );
        assert_eq!(from.display, br#""J Bloggs \\\"""#);
        let vias: Vec<_> = m.vias().map(|via| via.unwrap()).collect();
        let read: Vec<_> = vias.iter().map(|v| (v.transport, v.host, v.branch.unwrap())).collect();
        let expected: [(&[u8], &[u8], &[u8]); 3] = [
            (b"UDP", b"192.0.2.2", b"390skdjuw"),
            (b"TCP", b"spindle.contoso.example", b"z9hG4bK9ikj8"),
            (b"UDP", b"192.168.255.111", b"z9hG4bK30239"),
        ];
        assert_eq!(read, expected);
        assert_eq!(m.find("subject").unwrap().value, b"");
        assert_eq!(
            m.find("newfangledheader").unwrap().value.len(),
            "newfangled value\r\n continued newfangled value".len()
        );
        assert_eq!(m.find("UnknownHeaderWithUnusualValue").unwrap().value, b";;,,;;,;");
        let contact = NameAddr::parse(m.first(HeaderName::Contact).unwrap().value).unwrap();
        assert_eq!(contact.param("q"), Some(Some(&b"0.33"[..])));
        assert_eq!(contact.param("secondparam"), Some(None));
    });
}

#[test]
fn s3_1_1_2_a_wide_range_of_valid_characters_is_accepted() {
    valid(&message!("intmeth"), |m| {
        assert_eq!(m.method(), Some(Method::Other));
        assert_eq!(m.method_token(), b"!interesting-Method0123456789_*+`.%indeed'~");
        let uri = Uri::parse(m.uri()).unwrap();
        assert_eq!(uri.host, b"contoso.example");
        assert_eq!(uri.user, Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
        assert_eq!(uri.password, Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..]));
        assert_eq!(m.to().unwrap().display, b"\"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f\"");
        assert_eq!(m.from().unwrap().tag(), Some(&b"_token~1'+`*%!-."[..]));
        assert_eq!(m.find("extensionHeader-!.%*+_`'~").unwrap().value, "大停電".as_bytes());
    });
}

#[test]
fn s3_1_1_3_escapes_are_left_as_they_are() {
    valid(&message!("esc01"), |m| {
        let uri = Uri::parse(m.uri()).unwrap();
        assert_eq!(uri.scheme, Scheme::Sip);
        assert_eq!(uri.user, Some(&b"sips%3Auser%40contoso.example"[..]));
        assert_eq!(uri.host, b"fabrikam.example");
        let from = Uri::parse(m.from().unwrap().uri).unwrap();
        assert_eq!(from.user, Some(&b"I%20have%20spaces"[..]));
    });
}

#[test]
fn s3_1_1_4_escaped_nulls_cut_nothing_off() {
    valid(&message!("escnull"), |m| {
        let to = m.to().unwrap();
        assert_eq!(Uri::parse(to.uri).unwrap().user, Some(&b"null-%00-null"[..]));
        assert_eq!(m.values(HeaderName::Contact).count(), 2);
    });
}

#[test]
fn s3_1_1_5_a_percent_sign_that_escapes_nothing_is_itself() {
    valid(&message!("esc02"), |m| {
        assert_eq!(m.method(), Some(Method::Other), "RE%47IST%45R is not REGISTER");
        assert_eq!(m.count(HeaderName::Contact), 2, "C%6Fntact is not Contact");
        assert!(m.find("C%6Fntact").is_some());
        assert_eq!(m.top_via().unwrap().via.branch, Some(&b"z9hG4bK209%fzsnel234"[..]));
    });
}

#[test]
fn s3_1_1_6_no_space_is_needed_before_an_angle_bracket() {
    valid(&message!("lwsdisp"), |m| {
        let from = m.from().unwrap();
        assert_eq!((from.display, from.uri), (&b"caller"[..], &b"sip:caller@fabrikam.example"[..]));
    });
}

#[test]
fn s3_1_1_7_long_values_are_accepted() {
    valid(&message!("longreq"), |m| {
        assert_eq!(m.vias().filter(|via| via.is_ok()).count(), 34);
        assert_eq!(m.from().unwrap().tag().unwrap().len(), 2 + 150 + 3);
        assert_eq!(Uri::parse(m.to().unwrap().uri).unwrap().port, Some(6000));
    });
}

#[test]
fn s3_1_1_8_on_a_stream_what_follows_a_message_is_the_next_one() {
    let two = message!("dblreq");
    let first = accepted(&two, |m| {
        assert_eq!(m.method(), Some(Method::Register));
        m.raw().len()
    });
    valid(&two[first..], |m| assert_eq!(m.method(), Some(Method::Invite)));
}

#[test]
fn s3_1_1_9_a_semicolon_may_be_part_of_a_user() {
    valid(&message!("semiuri"), |m| {
        let uri = Uri::parse(m.uri()).unwrap();
        assert_eq!(uri.user, Some(&b"user;par=u%40fabrikam.example"[..]));
        assert_eq!((uri.host, uri.params), (&b"contoso.example"[..], &b""[..]));
    });
}

#[test]
fn s3_1_1_10_unknown_transports_are_accepted() {
    valid(&message!("transports"), |m| {
        let transports: Vec<_> = m.vias().map(|via| via.unwrap().transport).collect();
        let expected: [&[u8]; 5] = [b"UDP", b"SCTP", b"TLS", b"UNKNOWN", b"TCP"];
        assert_eq!(transports, expected);
    });
}

#[test]
fn s3_1_1_11_a_body_may_hold_anything() {
    valid(&message!("mpart01"), |m| {
        assert!(m.body().windows(4).any(|four| four == b"\r\n\r\n"));
        assert!(m.body().contains(&0));
        assert_eq!(m.vias().count(), 2);
    });
}

#[test]
fn s3_1_1_12_a_reason_phrase_may_be_unusual() {
    valid(&message!("unreason"), |m| {
        assert_eq!(m.status(), Some(200));
        assert!(m.reason().starts_with(b"= 2**3 * 5**2 "));
    });
}

#[test]
fn s3_1_1_13_a_reason_phrase_may_be_empty() {
    valid(&message!("noreason"), |m| {
        assert_eq!((m.status(), m.reason()), (Some(100), &b""[..]));
    });
}

// 3.1.2: invalid messages

#[test]
fn s3_1_2_1_empty_via_parameters_are_refused() {
    assert_eq!(refused(&message!("badinv01")), SyntaxFault::Via);
}

#[test]
fn s3_1_2_2_on_a_stream_a_content_length_beyond_the_message_is_waited_for() {
    let message = message!("clerr");
    let head = message.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let found = scan(&message, &mut HeaderTable::new());
    assert_eq!(found, Ok(Scan::NeedMore(head + 9999)));
}

#[test]
fn s3_1_2_3_a_negative_content_length_breaks_the_stream() {
    assert_eq!(broken(&message!("ncl")), FramingFault::ContentLengthInvalid);
    assert_eq!(FramingFault::ContentLengthInvalid.status(), 400);
}

#[test]
fn s3_1_2_4_overlarge_numbers_in_a_request_are_refused() {
    let message = message!("scalar02");
    assert_eq!(refused(&message), SyntaxFault::CSeq);
    scanned(&message, |m| assert_eq!(m.max_forwards(), Err(SyntaxFault::MaxForwards)));
}

#[test]
fn s3_1_2_5_a_response_with_overlarge_numbers_is_to_be_dropped() {
    assert_eq!(refused(&message!("scalarlg")), SyntaxFault::CSeq);
}

#[test]
fn s3_1_2_6_a_quoted_string_must_end() {
    assert_eq!(refused(&message!("quotbal")), SyntaxFault::To);
}

#[test]
fn s3_1_2_7_angle_brackets_around_the_request_uri_are_refused() {
    assert_eq!(refused(&message!("ltgtruri")), SyntaxFault::RequestUri);
}

#[test]
fn s3_1_2_8_white_space_in_the_request_uri_is_refused() {
    assert_eq!(refused(&message!("lwsruri")), SyntaxFault::RequestUri);
}

#[test]
fn s3_1_2_9_several_spaces_in_the_request_line_are_refused() {
    assert_eq!(refused(&message!("lwsstart")), SyntaxFault::RequestUri);
}

#[test]
fn s3_1_2_10_spaces_at_the_end_of_the_request_line_are_refused() {
    assert_eq!(refused(&message!("trws")), SyntaxFault::RequestLine);
}

#[test]
fn s3_1_2_11_header_fields_in_the_request_uri_are_refused() {
    assert_eq!(refused(&message!("escruri")), SyntaxFault::RequestUriHeaders);
}

/// An end may refuse it; a proxy does not read Date.
#[test]
fn s3_1_2_12_a_date_of_another_zone_passes_a_proxy() {
    valid(&message!("baddate"), |m| assert!(m.present(HeaderName::Date)));
}

/// A registrar refuses it; a proxy does not read Contact, and here it says what it found.
#[test]
fn s3_1_2_13_an_ambiguous_contact_passes_a_proxy_and_cannot_be_read() {
    valid(&message!("regbadct"), |m| {
        let contact = m.first(HeaderName::Contact).unwrap().value;
        assert_eq!(NameAddr::parse(contact), Err(SyntaxFault::NameAddr));
    });
}

#[test]
fn s3_1_2_14_spaces_inside_angle_brackets_are_refused() {
    assert_eq!(refused(&message!("badaspec")), SyntaxFault::To);
}

#[test]
fn s3_1_2_15_a_comma_in_an_unquoted_display_name_is_refused() {
    assert_eq!(refused(&message!("baddn")), SyntaxFault::From);
}

#[test]
fn s3_1_2_16_another_version_is_answered_505() {
    let fault = refused(&message!("badvers"));
    assert_eq!((fault, fault.status()), (SyntaxFault::Version, 505));
}

#[test]
fn s3_1_2_17_the_method_of_cseq_must_be_that_of_the_request() {
    assert_eq!(refused(&message!("mismatch01")), SyntaxFault::CSeqMethod);
}

#[test]
fn s3_1_2_18_the_same_holds_for_an_unknown_method() {
    assert_eq!(refused(&message!("mismatch02")), SyntaxFault::CSeqMethod);
}

#[test]
fn s3_1_2_19_a_status_code_of_ten_digits_is_to_be_dropped() {
    let message = message!("bigcode");
    assert_eq!(refused(&message), SyntaxFault::StatusLine);
    scanned(&message, |m| assert_eq!(m.status(), Some(0)));
}

// 3.2 to 3.4: transactions and applications

#[test]
fn s3_2_1_a_branch_of_nothing_but_the_cookie_identifies_nothing() {
    valid(&message!("badbranch"), |m| assert!(!m.top_via().unwrap().via.has_cookie()));
}

#[test]
fn s3_3_1_missing_required_header_fields_are_refused_and_answered() {
    let message = message!("insuf");
    assert_eq!(refused(&message), SyntaxFault::Missing(HeaderName::From));
    scanned(&message, |m| {
        let mut out = Vec::new();
        reply::write(&mut out, m, 400, "Missing From", b"t", b"");
        let expected = "SIP/2.0 400 Missing From\r\n\
            Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf\r\n\
            CSeq: 193942 INVITE\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    });
}

#[test]
fn s3_3_2_a_request_uri_of_an_unknown_scheme_is_answered_416() {
    let fault = refused(&message!("unkscm"));
    assert_eq!((fault, fault.status()), (SyntaxFault::Scheme, 416));
}

#[test]
fn s3_3_3_a_request_uri_of_an_atypical_scheme_is_answered_416() {
    assert_eq!(refused(&message!("novelsc")), SyntaxFault::Scheme);
}

#[test]
fn s3_3_4_unknown_schemes_in_to_and_from_pass_the_grammar() {
    valid(&message!("unksm2"), |m| {
        assert_eq!(Uri::parse(m.to().unwrap().uri).unwrap().scheme, Scheme::Other);
        assert_eq!(Uri::parse(m.from().unwrap().uri).unwrap().scheme, Scheme::Other);
    });
}

/// The grammar shows the option tags; the role answers 420 with those of Proxy-Require.
#[test]
fn s3_3_5_proxy_require_is_read_tag_by_tag() {
    valid(&message!("bext01"), |m| {
        let tags: Vec<_> = m.values(HeaderName::ProxyRequire).map(|value| value.bytes).collect();
        let expected: [&[u8]; 2] = [b"noProxiesSupportThis", b"norDoAnyProxiesSupportThis"];
        assert_eq!(tags, expected);
        assert_eq!(m.values(HeaderName::Require).count(), 2);
    });
}

/// The user agent answers 415.
#[test]
fn s3_3_6_an_unknown_content_type_passes_a_proxy() {
    valid(&message!("invut"), |_| ());
}

/// The registrar challenges; credentials are one value, whatever commas are in them.
#[test]
fn s3_3_7_an_unknown_authorization_scheme_passes_a_proxy() {
    valid(&message!("regaut01"), |m| {
        assert_eq!(m.values(HeaderName::Authorization).count(), 1);
    });
}

#[test]
fn s3_3_8_repeated_single_header_fields_are_refused() {
    assert_eq!(refused(&message!("multi01")), SyntaxFault::Repeated(HeaderName::To));
}

#[test]
fn s3_3_9_several_content_lengths_break_the_stream() {
    assert_eq!(broken(&message!("mcl01")), FramingFault::ContentLengthContradicting);
}

/// Nothing in the grammar makes it wrong. The role drops it, as it does any response whose top Via
/// is not its own, and never sends to an address read from a Via.
#[test]
fn s3_3_10_a_broadcast_address_in_a_via_is_only_text() {
    valid(&message!("bcast"), |m| {
        let second = m.vias().nth(1).unwrap().unwrap();
        assert_eq!(second.host, b"255.255.255.255");
    });
}

/// The role answers 483, or the OPTIONS itself.
#[test]
fn s3_3_11_max_forwards_of_zero_is_read_as_zero() {
    valid(&message!("zeromf"), |m| assert_eq!(m.max_forwards(), Ok(Some(0))));
}

#[test]
fn s3_3_12_outside_angle_brackets_a_parameter_belongs_to_the_contact() {
    valid(&message!("cparam01"), |m| {
        let contact = NameAddr::parse(m.first(HeaderName::Contact).unwrap().value).unwrap();
        assert_eq!(contact.param("unknownparam"), Some(None));
        assert_eq!(contact.uri, b"sip:+19725552222@gw1.contoso.example");
    });
}

#[test]
fn s3_3_13_inside_angle_brackets_a_parameter_belongs_to_the_uri() {
    valid(&message!("cparam02"), |m| {
        let contact = NameAddr::parse(m.first(HeaderName::Contact).unwrap().value).unwrap();
        assert_eq!(contact.params, b"");
        assert_eq!(Uri::parse(contact.uri).unwrap().param("unknownparam"), Some(None));
    });
}

#[test]
fn s3_3_14_a_contact_may_carry_escaped_header_fields() {
    valid(&message!("regescrt"), |m| {
        let contact = NameAddr::parse(m.first(HeaderName::Contact).unwrap().value).unwrap();
        let uri = Uri::parse(contact.uri).unwrap();
        assert_eq!(uri.headers, b"Route=%3Csip:sip.contoso.example%3E");
    });
}

/// The user agent answers 406.
#[test]
fn s3_3_15_an_unacceptable_accept_passes_a_proxy() {
    valid(&message!("sdp01"), |_| ());
}

/// Only the missing Content-Length is fatal, and only because this is a stream.
#[test]
fn s3_4_1_an_rfc_2543_invite_is_well_formed_but_needs_a_content_length_on_a_stream() {
    let message = message!("inv2543");
    assert_eq!(broken(&message), FramingFault::ContentLengthMissing);
    let text = String::from_utf8(message).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let framed = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    valid(framed.as_bytes(), |m| {
        assert_eq!(m.top_via().unwrap().via.branch, None);
        assert_eq!(m.from().unwrap().tag(), None);
        assert_eq!(m.max_forwards(), Ok(None));
    });
}
