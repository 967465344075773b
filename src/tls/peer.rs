//! The names and marks of a peer's certificate, read once per handshake.

use ring::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser as _;
use x509_parser::oid_registry::{OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME};
use x509_parser::prelude::FromDer as _;

use super::fault::{Distrust, Fault};
use crate::dns::Domain;
use crate::limits;
use crate::policy::{Anchors, PeerNames, RevocationState, XmppNames};

const UNREADABLE: Fault = Fault::CertificateUntrusted { why: Distrust::BadEncoding };

/// Reads what counts of a verified chain.
///
/// `path`: the certificates between the end entity and the anchor that verification used. What is
/// known of its revocation is not in it.
/// # Errors
/// [`Distrust::BadEncoding`] where the certificate cannot be decoded.
pub(super) fn names<'a>(
    end_entity: &webpki::EndEntityCert<'_>,
    path: impl Iterator<Item = CertificateDer<'a>>,
    anchors: Anchors,
) -> Result<PeerNames, Fault> {
    let der = end_entity.der();
    let parsed = parse(&der)?;
    let mut expires = parsed.validity().not_after.timestamp();
    for certificate in path {
        expires = expires.min(parse(&certificate)?.validity().not_after.timestamp());
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, &der).as_ref());
    Ok(PeerNames {
        dns_names: dns_names(end_entity),
        sip_domains: end_entity
            .valid_uri_names()
            .filter_map(sip_domain)
            .take(limits::CERTIFICATE_NAMES_MAX)
            .collect(),
        common_name: common_name(&parsed),
        client_auth: client_auth(&parsed),
        anchors,
        fingerprint,
        expires_unix_s: u64::try_from(expires).unwrap_or(0),
        revocation: RevocationState::Unknown,
        xmpp: None,
    })
}

/// Returns the exact dNSNames; wildcards are no [`Domain`] and fall out (RFC 5922 section 7.2).
pub(super) fn dns_names(certificate: &webpki::EndEntityCert<'_>) -> Vec<Domain> {
    certificate
        .valid_dns_names()
        .filter_map(|name| Domain::parse(name.as_bytes()).ok())
        .take(limits::CERTIFICATE_NAMES_MAX)
        .collect()
}

/// id-on-xmppAddr (RFC 6120 section 13.7.1.4), without its tag and length.
const XMPP_ADDR: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 8, 5];
/// id-on-dnsSRV (RFC 4985).
const DNS_SRV: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 8, 7];
/// What an id-on-dnsSRV of a server that talks to servers begins with.
const SERVICE: &[u8] = b"_xmpp-server.";

/// Returns what counts between XMPP servers alone; `None` if there is nothing of it.
///
/// Source: RFC 6120 section 13.7.1.2.
pub(super) fn xmpp_names(der: &CertificateDer<'_>) -> Option<XmppNames> {
    let certificate = parse(der).ok()?;
    let extension = certificate
        .extensions()
        .iter()
        .find(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME)?;
    let (_, names) = SubjectAlternativeName::from_der(extension.value).ok()?;
    let mut found = XmppNames::default();
    for name in names.general_names.iter().take(limits::CERTIFICATE_NAMES_MAX) {
        match name {
            GeneralName::DNSName(name) => {
                let parent = name.strip_prefix("*.").map(str::as_bytes);
                found.wildcards.extend(parent.and_then(|parent| Domain::parse(parent).ok()));
            }
            GeneralName::OtherName(oid, value) if oid.as_bytes() == DNS_SRV => {
                let service = text_of(value).filter(|text| {
                    let begin = text.get(..SERVICE.len());
                    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(SERVICE))
                });
                let domain = service.and_then(|text| text.get(SERVICE.len()..));
                found.services.extend(domain.and_then(|domain| Domain::parse(domain).ok()));
            }
            GeneralName::OtherName(oid, value) if oid.as_bytes() == XMPP_ADDR => {
                found.addresses.extend(text_of(value).and_then(|text| Domain::parse(text).ok()));
            }
            _ => {}
        }
    }
    (found != XmppNames::default()).then_some(found)
}

/// Returns the string in an otherName's `[0] EXPLICIT` value: UTF8String for addresses, IA5String
/// for services; some authorities use the one for the other.
fn text_of(value: &[u8]) -> Option<&[u8]> {
    const EXPLICIT_0: u8 = 0xa0;
    const UTF8_STRING: u8 = 0x0c;
    const IA5_STRING: u8 = 0x16;
    let (_, inner) = element(value).filter(|(tag, _)| *tag == EXPLICIT_0)?;
    let (_, text) = element(inner).filter(|(tag, _)| matches!(*tag, UTF8_STRING | IA5_STRING))?;
    Some(text)
}

/// Reads one element of DER that fills `bytes`: its tag and content; a name has a short length.
fn element(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, content) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        _ => return None,
    };
    (content.len() == length).then_some((*tag, content))
}

/// Decodes one certificate without looking into its extensions.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Fault> {
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    match parser.parse(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err(UNREADABLE),
    }
}

/// Returns the most specific common name if it is a domain name.
pub(super) fn common_name(certificate: &X509Certificate<'_>) -> Option<Domain> {
    let name = certificate.subject().iter_common_name().last()?;
    Domain::parse(name.as_str().ok()?.as_bytes()).ok()
}

/// Says whether the extended key usage allows client authentication (RFC 5280 section 4.2.1.12).
fn client_auth(certificate: &X509Certificate<'_>) -> bool {
    let extension =
        certificate.extensions().iter().find(|e| e.oid == OID_X509_EXT_EXTENDED_KEY_USAGE);
    match extension.map(|e| ExtendedKeyUsage::from_der(e.value)) {
        None => true,
        Some(Ok((_, usage))) => usage.client_auth || usage.any,
        Some(Err(_)) => false,
    }
}

/// Returns the host of a `sip:` URI without userinfo (RFC 5922 section 7.1).
fn sip_domain(uri: &str) -> Option<Domain> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("sip") || rest.contains('@') {
        return None;
    }
    let host = rest.split([':', ';', '?']).next()?;
    Domain::parse(host.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_1_only_sip_uris_without_userinfo_name_a_domain() {
        let host = |uri| sip_domain(uri).map(|domain| domain.as_str().to_owned());
        assert_eq!(host("sip:Fabrikam.example").as_deref(), Some("fabrikam.example"));
        assert_eq!(
            host("SIP:fabrikam.example:5061;transport=tls").as_deref(),
            Some("fabrikam.example")
        );
        assert_eq!(host("sip:alice@fabrikam.example"), None);
        assert_eq!(host("sips:fabrikam.example"), None);
        assert_eq!(host("https://fabrikam.example"), None);
        assert_eq!(host("fabrikam.example"), None);
    }
}
