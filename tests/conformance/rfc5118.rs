//! RFC 5118, torture test messages for IPv6, written after its descriptions.

use super::{accepted, refused, request};
use entente::sip::{HeaderName, NameAddr, SyntaxFault, Uri};

#[test]
fn s4_1_a_valid_ipv6_reference_is_accepted() {
    let message = request(
        "REGISTER sip:[2001:db8::10] SIP/2.0",
        &[
            "To: sip:user@contoso.example",
            "From: sip:user@contoso.example;tag=81x2",
            "Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111",
            "Contact: \"Caller\" <sip:caller@[2001:db8::1]>",
        ],
    );
    accepted(&message, |m| {
        let uri = Uri::parse(m.uri()).unwrap();
        assert_eq!((uri.host, uri.port), (&b"[2001:db8::10]"[..], None));
        let via = m.top_via().unwrap().via;
        assert_eq!((via.host, via.port), (&b"[2001:db8::9:1]"[..], None));
        let contact = NameAddr::parse(m.first(HeaderName::Contact).unwrap().value).unwrap();
        assert_eq!(Uri::parse(contact.uri).unwrap().host, b"[2001:db8::1]");
    });
}

#[test]
fn s4_2_an_ipv6_address_without_brackets_is_refused() {
    let message = request("REGISTER sip:2001:db8::10 SIP/2.0", &[]);
    assert_eq!(refused(&message), SyntaxFault::RequestUri);
}

#[test]
fn s4_3_a_port_inside_the_brackets_is_part_of_the_address() {
    let message = request("REGISTER sip:[2001:db8::10:5070] SIP/2.0", &[]);
    accepted(&message, |m| {
        let uri = Uri::parse(m.uri()).unwrap();
        assert_eq!((uri.host, uri.port), (&b"[2001:db8::10:5070]"[..], None));
    });
}

#[test]
fn s4_4_a_port_behind_the_brackets_is_a_port() {
    let message = request("REGISTER sip:[2001:db8::10]:5070 SIP/2.0", &[]);
    accepted(&message, |m| {
        let uri = Uri::parse(m.uri()).unwrap();
        assert_eq!((uri.host, uri.port), (&b"[2001:db8::10]"[..], Some(5070)));
    });
}

#[test]
fn s4_5_received_is_accepted_with_and_without_brackets() {
    for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
        let via = format!("Via: SIP/2.0/TLS [2001:db8::9:1];received={received};branch=z9hG4bKa-1");
        accepted(&request("BYE sip:user@[2001:db8::10] SIP/2.0", &[&via]), |m| {
            let via = m.top_via().unwrap().via;
            assert_eq!(via.param("received"), Some(Some(received.as_bytes())));
            assert!(via.has_cookie());
        });
    }
}

#[test]
fn s4_6_a_session_description_with_ipv6_is_a_body_like_any_other() {
    let sdp = "v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=-\r\n\
        c=IN IP6 2001:db8::20\r\nt=3338481189 3370017201\r\nm=audio 6000 RTP/AVP 2\r\n";
    let length = format!("Content-Length: {}", sdp.len());
    let mut message = request("INVITE sip:user@[2001:db8::10] SIP/2.0", &[&length]);
    message.extend_from_slice(sdp.as_bytes());
    accepted(&message, |m| assert_eq!(m.body(), sdp.as_bytes()));
}

#[test]
fn s4_7_both_kinds_of_address_may_be_in_one_message() {
    let message = request(
        "INVITE sip:user@contoso.example SIP/2.0",
        &[
            "Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111",
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144",
            "Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200",
            "Contact: \"Caller\" <sip:caller@[2001:db8::9:1]>, <sip:caller@192.0.2.1>",
        ],
    );
    accepted(&message, |m| {
        let hosts: Vec<_> = m.vias().map(|via| via.unwrap().host).collect();
        let expected: [&[u8]; 3] = [b"[2001:db8::9:1]", b"192.0.2.1", b"[2001:db8::9:255]"];
        assert_eq!(hosts, expected);
        assert_eq!(m.values(HeaderName::Contact).count(), 2);
    });
}

#[test]
fn s4_8_both_kinds_of_address_may_be_in_one_body() {
    let sdp = "v=0\r\no=bob 280744730 28977631 IN IP4 host.fabrikam.example\r\ns=-\r\nt=0 0\r\n\
        m=audio 22334 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n\
        m=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::1\r\n";
    let length = format!("Content-Length: {}", sdp.len());
    let mut message = request("INVITE sip:user@contoso.example SIP/2.0", &[&length]);
    message.extend_from_slice(sdp.as_bytes());
    accepted(&message, |m| assert_eq!(m.body(), sdp.as_bytes()));
}

#[test]
fn s4_9_an_ipv4_mapped_address_is_accepted() {
    let message = request(
        "INVITE sip:user@contoso.example SIP/2.0",
        &[
            "Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3",
            "Contact: \"T. desk phone\" <sip:ted@[::ffff:192.0.2.2]>",
        ],
    );
    accepted(&message, |m| {
        let contact = NameAddr::parse(m.first(HeaderName::Contact).unwrap().value).unwrap();
        assert_eq!(Uri::parse(contact.uri).unwrap().host, b"[::ffff:192.0.2.2]");
    });
}

/// RFC 3261 lets three colons pass by mistake; RFC 5954 mends its grammar.
#[test]
fn s4_10_three_colons_are_refused_as_rfc_5954_says() {
    assert_eq!(
        refused(&request("OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0", &[])),
        SyntaxFault::RequestUri
    );
    accepted(&request("OPTIONS sip:user@[2001:db8::192.0.2.1] SIP/2.0", &[]), |_| ());
}
