//! The names and marks of a peer's certificate, read once per handshake.

use ring::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::nom::Parser as _;
use x509_parser::oid_registry::OID_X509_EXT_EXTENDED_KEY_USAGE;
use x509_parser::prelude::FromDer as _;

use super::fault::{Distrust, Fault};
use crate::dns::Domain;
use crate::limits;
use crate::policy::{Anchors, PeerNames, RevocationState};

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
