//! Certificates against the plan: names, usages, and whether the chain is whole.

use std::collections::BTreeSet;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificates::leaf;
use super::{Checker, Severity};
use crate::cli::plan::deployment;
use crate::config::{Config, Trust};
use crate::edge::Class;
use crate::plan::{self, CertificateRow, Eku};

impl Checker<'_> {
    /// Compares the certificates that there are with those of the plan.
    pub(super) fn planned_certificates(&mut self) {
        let plan = plan::plan(&deployment(self.config));
        for row in plan.certificates.iter().filter(|row| row.served) {
            let found = self.config.identities.iter().position(|i| i.name == row.name);
            let Some(index) = found else { continue };
            self.planned_names(index, row);
            self.usages(index, row);
            self.chain(index);
        }
    }

    /// Names beside those whose absence is an error, which has been told.
    fn planned_names(&mut self, index: usize, row: &CertificateRow) {
        let config = self.config;
        let identity = &config.identities[index];
        let Some(leaf) = leaf(&identity.certificate) else { return };
        let told = [config.edge.external_fqdn.as_str(), config.internal_fqdn().as_str()];
        for san in &row.names {
            let name = san.name.as_str();
            if told.contains(&name) || leaf.carries(name, Class::Federation) {
                continue;
            }
            let planned = san.why.ends_with("not served by this process");
            self.at(
                &format!("identity[{index}].certificate"),
                if planned { Severity::Note } else { Severity::Warning },
                "certificate-name-planned",
                format!("the certificate of {} does not carry {name}: {}", identity.name, san.why),
                format!("order it with that name: entente plan --format csr --certificate {}", {
                    &identity.name
                }),
            );
        }
    }

    fn usages(&mut self, index: usize, row: &CertificateRow) {
        let identity = &self.config.identities[index];
        let Some(leaf) = leaf(&identity.certificate) else { return };
        let Some(usages) = leaf.usages else { return };
        let (key, name) = (format!("identity[{index}].certificate"), identity.name.clone());
        if !usages.server {
            self.at(
                &key,
                Severity::Error,
                "certificate-not-for-servers",
                format!("the certificate of {name} must not be shown by a server (no serverAuth)"),
                "order it with extendedKeyUsage serverAuth",
            );
        }
        if !usages.client {
            let (severity, sentence) = match row.eku {
                Eku::ServerAndClient => (
                    Severity::Warning,
                    format!("the certificate of {name} has no clientAuth, which a partner demands"),
                ),
                Eku::Server => (
                    Severity::Note,
                    format!(
                        "the certificate of {name} has no clientAuth: partners that demand it \
                         refuse what this edge opens"
                    ),
                ),
            };
            self.at(
                &key,
                severity,
                "certificate-not-for-clients",
                sentence,
                "find an authority that still issues both, or have those partners accept it",
            );
        }
    }

    /// Says when a peer could not find its way from the certificate to an authority it knows.
    fn chain(&mut self, index: usize) {
        let identity = &self.config.identities[index];
        let Some(links) = links(&identity.certificate) else { return };
        let key = format!("identity[{index}].certificate");
        let broken = links.windows(2).position(|pair| {
            let [below, above] = pair else { return false };
            below.issuer != above.subject
        });
        let file = identity.certificate.display().to_string();
        if let Some(at) = broken {
            self.at(
                &key,
                Severity::Warning,
                "certificate-chain-order",
                format!("{file}: certificate {} is not of the issuer of the one before", at + 2),
                "put each certificate after the one it signed, without others",
            );
            return;
        }
        let Some(last) = links.last() else { return };
        let ends = last.issuer == last.subject || anchors(self.config).contains(&last.issuer);
        if !ends {
            let issuer = &last.issuer_text;
            self.at(
                &key,
                Severity::Warning,
                "certificate-chain-incomplete",
                format!("{file} does not lead to an authority that this host knows: {issuer}"),
                "append the certificates of the issuers up to one that peers trust",
            );
        }
    }
}

/// A certificate as far as its place in a chain matters; names as they are encoded.
struct Link {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    issuer_text: String,
}

/// Returns the certificates of a PEM file; `None` where loading has told what is wrong.
fn links(path: &Path) -> Option<Vec<Link>> {
    let mut links = Vec::new();
    for der in CertificateDer::pem_file_iter(path).ok()? {
        let der = der.ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        links.push(Link {
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            issuer_text: certificate.issuer().to_string(),
        });
    }
    Some(links)
}

/// Returns the names of every authority that the configuration trusts on either side.
fn anchors(config: &Config) -> BTreeSet<Vec<u8>> {
    let mut subjects = BTreeSet::new();
    for trust in [&config.tls.trust, config.internal_trust()] {
        match trust {
            Trust::Files(files) => {
                let of_file = files.iter().filter_map(|file| links(file)).flatten();
                subjects.extend(of_file.map(|link| link.subject));
            }
            Trust::System => {
                for der in rustls_native_certs::load_native_certs().certs {
                    if let Ok((_, certificate)) = X509Certificate::from_der(&der) {
                        subjects.insert(certificate.subject().as_raw().to_vec());
                    }
                }
            }
        }
    }
    subjects
}
