//! RFC 6120: streams, their negotiation, their errors, and what XML may be in them.

use entente::limits;
use entente::xmpp::{
    Bounds, DialbackOffer, ErrorKind, Features, Offer, Offered, PeerMisbehaved, Read, Reader,
    StanzaError, StartTls, StreamError, StreamHeader,
};

use crate::xmpp::{HEADER, element, elements, opened, written};

/// What the reader says of a stream that begins with `bytes`.
fn first(bytes: &[u8]) -> Result<Read<'_>, PeerMisbehaved> {
    Reader::new(Bounds::UNAUTHENTICATED).read(bytes)
}

/// The stream error for what follows the header.
fn refused(bytes: &str) -> StreamError {
    let mut reader = opened();
    let mut rest = bytes.as_bytes();
    loop {
        rest = match reader.read(rest) {
            Ok(Read::Element { consumed, .. } | Read::WhiteSpace { consumed }) => &rest[consumed..],
            Ok(other) => panic!("{bytes} should be refused: {other:?}"),
            Err(fault) => return fault.stream_error(),
        };
    }
}

fn header_of(bytes: &str) -> StreamHeader {
    match first(bytes.as_bytes()) {
        Ok(Read::Header { header, consumed }) if consumed == bytes.len() => header,
        other => panic!("{bytes}: {other:?}"),
    }
}

#[test]
fn s4_2_the_first_element_has_to_be_a_stream() {
    for other in ["<message xmlns='http://etherx.jabber.org/streams'>", "<streams/>", "<html>"] {
        assert!(first(other.as_bytes()).is_err(), "{other}");
    }
    let closed = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>";
    assert_eq!(first(closed.as_bytes()).unwrap_err().stream_error(), StreamError::BadFormat);
}

#[test]
fn s4_4_a_stream_ends_with_its_end_tag_and_nothing_comes_after() {
    let mut reader = opened();
    let end = b"</stream:stream>";
    assert!(matches!(reader.read(end), Ok(Read::Close { consumed }) if consumed == end.len()));
    assert!(matches!(reader.read(b""), Ok(Read::NeedMore(1))));
    assert!(matches!(reader.read(b" \n"), Ok(Read::WhiteSpace { consumed: 2 })));
    assert_eq!(reader.read(b"<a/>").unwrap_err().stream_error(), StreamError::NotWellFormed);
    assert_eq!(refused("</stream>"), StreamError::NotWellFormed);
}

#[test]
fn s4_6_1_white_space_between_stanzas_keeps_a_stream_open() {
    let mut reader = opened();
    assert!(matches!(reader.read(b" "), Ok(Read::WhiteSpace { consumed: 1 })));
    assert!(matches!(reader.read(b"\n\t <a"), Ok(Read::WhiteSpace { consumed: 3 })));
    assert_eq!(refused("hello"), StreamError::BadFormat);
    assert_eq!(refused("&#32;"), StreamError::BadFormat);
    assert_eq!(refused("<![CDATA[ ]]>"), StreamError::BadFormat);
}

#[test]
fn s4_7_a_header_says_from_to_id_version_and_language() {
    let header = header_of(
        "<?xml version='1.0'?><stream:stream from='a.example' to='b.example' id='++TR84Sm6A3hnt3Q' \
         version='1.0' xml:lang='de' xmlns='jabber:server' \
         xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    assert_eq!(header.from.as_deref(), Some("a.example"));
    assert_eq!(header.to.as_deref(), Some("b.example"));
    assert_eq!(header.id.as_deref(), Some("++TR84Sm6A3hnt3Q"));
    assert_eq!(header.lang.as_deref(), Some("de"));
    assert_eq!(header.default_namespace, "jabber:server");
    assert!(header.has_features() && !header.declares_dialback);
}

#[test]
fn s4_7_a_header_that_is_written_is_read_as_it_was() {
    let header = StreamHeader::between("a.example", "b.example").with_id("x<'&>\"");
    let mut out = Vec::new();
    header.write(&mut out);
    assert_eq!(header_of(std::str::from_utf8(&out).unwrap()), header);
}

#[test]
fn s4_7_5_without_a_version_there_are_no_features() {
    let version = |version: &str| {
        header_of(&format!(
            "<stream:stream {version} xmlns='jabber:server' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        ))
    };
    assert!(!version("").has_features());
    assert!(!version("version='0.9'").has_features());
    assert!(!version("version='x'").has_features());
    assert!(version("version='1.0'").has_features());
    assert!(version("version='1.1'").has_features());
    assert!(version("version='10.0'").has_features());
}

#[test]
fn s4_8_1_another_stream_namespace_is_invalid_namespace() {
    for stream in [
        "<stream:stream xmlns='jabber:server' xmlns:stream='http://wrong.example/'>",
        "<stream xmlns='jabber:server'>",
        "<stream>",
    ] {
        let fault = first(stream.as_bytes()).unwrap_err();
        assert_eq!(fault.stream_error(), StreamError::InvalidNamespace, "{stream}");
    }
}

#[test]
fn s4_8_2_the_default_namespace_is_told_and_not_judged() {
    let client = "<stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
    assert_eq!(header_of(client).default_namespace, "jabber:client");
}

#[test]
fn s4_8_3_stanzas_may_be_prefixed_if_the_stream_is_the_default() {
    let header = "<stream xmlns='http://etherx.jabber.org/streams' xmlns:s='jabber:server'>";
    let mut reader = Reader::new(Bounds::UNAUTHENTICATED);
    assert!(matches!(reader.read(header.as_bytes()), Ok(Read::Header { .. })));
    let stanza = b"<s:message to='b.example'><s:body>x</s:body></s:message>";
    let Ok(Read::Element { element, .. }) = reader.read(stanza) else { panic!("a stanza") };
    assert!(element.stanza().is_some());
    let mut out = Vec::new();
    element.write_detached(&mut out);
    // On a stream of ours the prefix has to be declared again.
    element_on_ours(&out);
}

fn element_on_ours(bytes: &[u8]) {
    element(std::str::from_utf8(bytes).unwrap(), |element| {
        assert!(element.is("message", "jabber:server"));
        assert_eq!(element.child("body", "jabber:server").unwrap().text(), "x");
    });
}

#[test]
fn s4_8_5_a_prefix_that_nothing_declares_is_bad_namespace_prefix() {
    assert_eq!(refused("<x:a/>"), StreamError::BadNamespacePrefix);
    assert_eq!(refused("<a x:b='1'/>"), StreamError::BadNamespacePrefix);
    assert_eq!(refused("<a><b xmlns:x='urn:x'/><x:c/></a>"), StreamError::BadNamespacePrefix);
}

#[test]
fn s4_9_3_every_condition_is_written_and_read() {
    assert_eq!(StreamError::ALL.len(), 25);
    for error in StreamError::ALL {
        let text = written(|out| error.write(Some("why <&>"), out));
        element(&text, |element| {
            let received = StreamError::read(element).expect("an error");
            assert_eq!(received.condition, error);
            assert_eq!(received.text.as_deref(), Some("why <&>"));
        });
    }
}

#[test]
fn s4_9_3_18_what_xmpp_forbids_is_restricted_xml() {
    for restricted in [
        "<!-- a comment -->",
        "<a><!-- a comment --></a>",
        "<?instruction?>",
        "<a><?instruction?></a>",
        "<!DOCTYPE a>",
        "<a>&own;</a>",
        "<a b='&own;'/>",
        "<a><!ENTITY own 'x'></a>",
    ] {
        assert_eq!(refused(restricted), StreamError::RestrictedXml, "{restricted}");
    }
    let laughs = b"<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'>";
    assert_eq!(first(laughs).unwrap_err().stream_error(), StreamError::RestrictedXml);
}

#[test]
fn s4_9_3_19_another_host_is_told_and_an_unknown_condition_is_undefined() {
    let text = "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
        [2001:db8::1]:5269</see-other-host></stream:error>";
    element(text, |element| {
        let received = StreamError::read(element).unwrap();
        assert_eq!(received.other_host.as_deref(), Some("[2001:db8::1]:5269"));
    });
    element("<stream:error><new xmlns='urn:new'/></stream:error>", |element| {
        let received = StreamError::read(element).unwrap();
        assert_eq!(received.condition, StreamError::UndefinedCondition);
    });
}

#[test]
fn s4_9_3_22_other_encodings_are_unsupported() {
    let utf16 = b"<?xml version='1.0' encoding='UTF-16'?>";
    assert_eq!(first(utf16).unwrap_err().stream_error(), StreamError::UnsupportedEncoding);
    for bytes in [&b"<a>\xff</a>"[..], b"<a>\xc0\x80</a>", b"<a>\xed\xa0\x80</a>", b"<a b='\x80'/>"]
    {
        let fault = opened().read(bytes).unwrap_err();
        assert_eq!(fault.stream_error(), StreamError::UnsupportedEncoding, "{bytes:?}");
    }
    // Bytes that can no longer become UTF-8 are refused before the element is whole.
    assert!(opened().read(b"<a>\xc3\x28").is_err());
    assert!(matches!(opened().read(b"<a>\xc3"), Ok(Read::NeedMore(5))));
}

#[test]
fn s5_starttls_is_offered_asked_for_and_granted() {
    for step in [StartTls::StartTls, StartTls::Proceed, StartTls::Failure] {
        element(&written(|out| step.write(out)), |element| {
            assert_eq!(StartTls::read(element), Some(step));
        });
    }
    for starttls in [Offer::Absent, Offer::Optional, Offer::Required] {
        let features = Features { starttls, ..Features::default() };
        element(&written(|out| features.write(out)), |element| {
            assert_eq!(Features::read(element), Some(features));
        });
    }
}

#[test]
fn s4_3_2_features_are_read_as_they_are_written() {
    for external in [Offered::No, Offered::Yes] {
        for dialback in [DialbackOffer::Absent, DialbackOffer::Plain, DialbackOffer::WithErrors] {
            let features = Features {
                starttls: Offer::Absent,
                external,
                dialback,
                bidi: external,
                management: external,
            };
            element(&written(|out| features.write(out)), |element| {
                assert_eq!(Features::read(element), Some(features));
            });
        }
    }
}

#[test]
fn s6_4_1_other_mechanisms_beside_external_do_not_hide_it() {
    let text = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
        <mechanism>SCRAM-SHA-1</mechanism><mechanism> EXTERNAL </mechanism></mechanisms>\
        <unknown xmlns='urn:unknown'><required/></unknown></stream:features>";
    element(text, |element| {
        assert_eq!(Features::read(element).unwrap().external, Offered::Yes);
    });
    let text = text.replace("EXTERNAL", "EXTERNAL-PLUS");
    element(&text, |element| {
        assert_eq!(Features::read(element).unwrap().external, Offered::No);
    });
}

#[test]
fn s5_4_3_3_and_s6_4_6_a_stream_begins_anew() {
    let mut reader = opened();
    let stanza = b"<db:result from='a.example' to='b.example'>k</db:result>";
    assert!(matches!(reader.read(stanza), Ok(Read::Element { .. })));
    reader.restart();
    // What the old header declared is forgotten.
    let header = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>";
    assert!(matches!(reader.read(header.as_bytes()), Ok(Read::Header { .. })));
    let fault = reader.read(stanza).unwrap_err();
    assert_eq!(fault.stream_error(), StreamError::BadNamespacePrefix);
}

#[test]
fn s8_3_1_an_error_answers_with_addresses_exchanged_and_the_same_id() {
    let text =
        "<message from='a@a.example/x' to='b@b.example' id='&apos;1' type='chat'><body/></message>";
    element(text, |stanza| {
        let answer = written(|out| {
            assert!(StanzaError::ServiceUnavailable.reply(stanza, None, out).is_some())
        });
        element(&answer, |answer| {
            assert_eq!(answer.name(), "message");
            assert_eq!(answer.from().as_deref(), Some("b@b.example"));
            assert_eq!(answer.to().as_deref(), Some("a@a.example/x"));
            assert_eq!(answer.id().as_deref(), Some("'1"));
            assert_eq!(answer.kind().as_deref(), Some("error"));
            let error = StanzaError::read(answer).unwrap();
            assert_eq!(error.condition, StanzaError::ServiceUnavailable);
            assert_eq!(error.kind, ErrorKind::Cancel);
        });
    });
}

#[test]
fn s8_3_1_an_error_is_never_answered_with_an_error() {
    for unanswered in [
        "<message from='a.example' to='b.example' type='error'/>",
        "<presence from='a.example' to='b.example' type='error'/>",
        "<iq from='a.example' to='b.example' type='error' id='1'/>",
        "<iq from='a.example' to='b.example' type='result' id='1'/>",
        "<db:result from='a.example' to='b.example'>k</db:result>",
    ] {
        element(unanswered, |stanza| {
            let mut out = Vec::new();
            assert_eq!(StanzaError::BadRequest.reply(stanza, None, &mut out), None);
            assert!(out.is_empty());
        });
    }
}

#[test]
fn s8_3_3_every_condition_is_written_and_read_with_its_type() {
    assert_eq!(StanzaError::ALL.len(), 22);
    for condition in StanzaError::ALL {
        let error = written(|out| condition.write(Some("why"), out));
        element(&format!("<iq type='error'>{error}</iq>"), |stanza| {
            let received = StanzaError::read(stanza).unwrap();
            assert_eq!((received.condition, received.kind), (condition, condition.kind()));
            assert_eq!(received.text.as_deref(), Some("why"));
        });
    }
    use ErrorKind::{Auth, Cancel, Modify, Wait};
    for (condition, kind) in [
        (StanzaError::BadRequest, Modify),
        (StanzaError::Forbidden, Auth),
        (StanzaError::ItemNotFound, Cancel),
        (StanzaError::RemoteServerNotFound, Cancel),
        (StanzaError::RemoteServerTimeout, Wait),
        (StanzaError::ResourceConstraint, Wait),
        (StanzaError::SubscriptionRequired, Auth),
    ] {
        assert_eq!(condition.kind(), kind, "{condition:?}");
    }
}

#[test]
fn s11_1_cdata_and_the_five_entities_are_text() {
    let text = "<a>&lt;&gt;&amp;&apos;&quot;&#65;&#x42;<![CDATA[<&]]></a>";
    element(text, |element| assert_eq!(element.text(), "<>&'\"AB<&"));
}

#[test]
fn s11_3_xml_that_is_not_well_formed_ends_the_stream() {
    for broken in [
        "<a></b>",
        "<a b=1/>",
        "<a b/>",
        "<a b='1' b='1'/>",
        "<a b='1'c='2'/>",
        "<a b='<'/>",
        "<a>]]></a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>\u{0}</a>",
        "<a>\u{b}</a>",
        "<a>\u{ffff}</a>",
        "<a>&</a>",
        "<a>& b;</a>",
        "<1/>",
        "<a:b:c/>",
        "< a/>",
        "</a>",
        "<a xmlns:b=''/>",
        "<a xmlns:xmlns='urn:b'/>",
        "<a xmlns:p='urn:p' xmlns:q='urn:p' p:b='' q:b=''/>",
    ] {
        assert_eq!(refused(broken), StreamError::NotWellFormed, "{broken}");
    }
}

#[test]
fn s11_4_the_xml_declaration_comes_first_or_not_at_all() {
    let header = &HEADER["<?xml version='1.0'?>".len()..];
    for declaration in [
        "",
        "\n",
        "<?xml version='1.0'?>\r\n",
        "<?xml version=\"1.0\" encoding='utf-8' standalone='no' ?>",
    ] {
        header_of(&format!("{declaration}{header}"));
    }
    for declaration in [
        " <?xml version='1.0'?>",
        "<?xml version='1.1'?>",
        "<?xml?>",
        "<?xml version='1.0'?><?xml version='1.0'?>",
        "<?xml encoding='utf-8' version='1.0'?>",
        "<?xml version='1.0'encoding='utf-8'?>",
        "<?xml version='1.0' >",
        "\u{feff}",
    ] {
        assert!(first(format!("{declaration}{header}").as_bytes()).is_err(), "{declaration}");
    }
}

#[test]
fn s13_12_a_stanza_of_10000_bytes_is_never_too_large() {
    let body = "x".repeat(10_000 - "<a></a>".len());
    let stanza = format!("<a>{body}</a>");
    let mut reader = Reader::new(Bounds::UNAUTHENTICATED);
    assert!(matches!(reader.read(HEADER.as_bytes()), Ok(Read::Header { .. })));
    assert!(matches!(reader.read(stanza.as_bytes()), Ok(Read::Element { .. })));
    let larger = stanza.replace("<a>", "<a >");
    let fault = reader.read(larger.as_bytes()).unwrap_err();
    assert_eq!(fault, PeerMisbehaved::ElementTooLarge);
    assert_eq!(fault.stream_error(), StreamError::PolicyViolation);
}

#[test]
fn s13_12_every_bound_is_answered_with_policy_violation() {
    let unauthenticated = |bytes: &str| {
        let mut reader = Reader::new(Bounds::UNAUTHENTICATED);
        assert!(matches!(reader.read(HEADER.as_bytes()), Ok(Read::Header { .. })));
        let fault = reader.read(bytes.as_bytes()).unwrap_err();
        assert_eq!(fault.stream_error(), StreamError::PolicyViolation);
        fault
    };
    assert_eq!(unauthenticated(&"<a>".repeat(9)), PeerMisbehaved::TooDeep);
    assert_eq!(unauthenticated(&format!("<{}", "n".repeat(300))), PeerMisbehaved::NameTooLong);
    let attributes: String = (0..17).map(|n| format!(" a{n}='1'")).collect();
    assert_eq!(unauthenticated(&format!("<a{attributes}/>")), PeerMisbehaved::TooManyAttributes);
    assert_eq!(
        unauthenticated(&format!("<a>{}", "x".repeat(10_000))),
        PeerMisbehaved::ElementTooLarge
    );
    let endless =
        format!("<stream:stream a='{}", "x".repeat(limits::XMPP_HEADER_BYTES_MAX as usize));
    assert_eq!(first(endless.as_bytes()).unwrap_err(), PeerMisbehaved::HeaderTooLarge);
}

#[test]
fn s13_12_what_a_stranger_may_send_in_all_is_bounded() {
    let mut reader = Reader::new(Bounds::UNAUTHENTICATED);
    let stanza = format!("<a>{}</a>", "x".repeat(9_000));
    let fault = loop {
        reader.restart();
        let Ok(Read::Header { .. }) = reader.read(HEADER.as_bytes()) else { panic!("a header") };
        if let Err(fault) = reader.read(stanza.as_bytes()) {
            break fault;
        }
    };
    assert_eq!(fault, PeerMisbehaved::TooManyBytes);
    assert!(reader.taken() <= limits::XMPP_UNAUTHENTICATED_BYTES_MAX);
}

#[test]
fn a_stream_of_stanzas_is_cut_at_its_elements() {
    let text = "<message id='1'/> <presence id='2'></presence>\n<iq id='3'><q xmlns='urn:q'/></iq>";
    assert_eq!(elements(text), ["1", "2", "3"]);
}
