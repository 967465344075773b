//! XEP-0178: SASL EXTERNAL between servers, and the answers of RFC 6120 section 6.

use entente::xmpp::sasl_external::{
    Sasl, SaslFailure, write_auth, write_failure, write_response, write_success,
};

use crate::xmpp::{element, written};

fn read(text: &str) -> Option<Sasl> {
    element(text, Sasl::read)
}

const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>";

#[test]
fn s3_the_initiator_names_its_domain_in_base64() {
    let text = written(|out| write_auth(Some("conference.example.org"), out));
    assert_eq!(text, format!("{AUTH}Y29uZmVyZW5jZS5leGFtcGxlLm9yZw==</auth>"));
    assert_eq!(read(&text), Some(Sasl::Auth(Some("conference.example.org".to_owned()))));
}

#[test]
fn s3_without_a_name_it_sends_an_equals_sign() {
    let text = written(|out| write_auth(None, out));
    assert_eq!(text, format!("{AUTH}=</auth>"));
    assert_eq!(read(&text), Some(Sasl::Auth(None)));
    // RFC 6120 section 6.4.2: no initial response at all means the same here.
    assert_eq!(read(&format!("{AUTH}</auth>")), Some(Sasl::Auth(None)));
    let response = written(|out| write_response(None, out));
    assert_eq!(read(&response), Some(Sasl::Response(None)));
}

#[test]
fn rfc6120_s6_5_what_cannot_be_served_is_refused_with_its_condition() {
    let plain = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>";
    assert_eq!(read(plain), Some(Sasl::Refused(SaslFailure::InvalidMechanism)));
    for wrong in ["Y", "====", "Y29u ZmVy", "\u{fc}"] {
        let text = format!("{AUTH}{wrong}</auth>");
        assert_eq!(read(&text), Some(Sasl::Refused(SaslFailure::IncorrectEncoding)), "{wrong}");
    }
    let no_utf8 = format!("{AUTH}/w==</auth>");
    assert_eq!(read(&no_utf8), Some(Sasl::Refused(SaslFailure::InvalidAuthzid)));
}

#[test]
fn rfc6120_s6_5_every_failure_is_written_and_read() {
    for failure in SaslFailure::ALL {
        let text = written(|out| write_failure(failure, out));
        assert_eq!(read(&text), Some(Sasl::Failure(failure)));
    }
    let unknown = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><new/></failure>";
    assert_eq!(read(unknown), Some(Sasl::Failure(SaslFailure::NotAuthorized)));
}

#[test]
fn rfc6120_s6_4_the_other_elements() {
    assert_eq!(read(&written(write_success)), Some(Sasl::Success));
    let named = |name: &str| format!("<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert_eq!(read(&named("abort")), Some(Sasl::Abort));
    assert_eq!(read(&named("challenge")), Some(Sasl::Challenge));
    assert_eq!(read("<success xmlns='urn:other'/>"), None);
}
