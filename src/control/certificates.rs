//! When the certificates of the identities end.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::board::Certificate;
use crate::config::Config;

/// Reads the end of each identity's certificate; one that is unreadable is left out, since loading
/// it has told.
pub(super) fn certificates(config: &Config) -> Vec<Certificate> {
    let mut certificates = Vec::with_capacity(config.identities.len());
    for identity in &config.identities {
        let Ok(der) = CertificateDer::from_pem_file(&identity.certificate) else { continue };
        let Ok((_, certificate)) = X509Certificate::from_der(&der) else { continue };
        let not_after = certificate.validity().not_after.timestamp();
        certificates.push(Certificate {
            identity: identity.name.clone(),
            not_after_unix_s: u64::try_from(not_after).unwrap_or(0),
        });
    }
    certificates
}
