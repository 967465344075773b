//! Where a certificate says the list of its issuer is.

use std::sync::Arc;

use ring::digest::{Context, SHA256};
use webpki::Cert;
use x509_parser::extensions::{CRLDistributionPoints, DistributionPointName, GeneralName};
use x509_parser::oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS;
use x509_parser::prelude::FromDer as _;

use super::der::{self, Reader};
use crate::limits;
use crate::tls::peer;

/// Who issues certificates and their lists: a name with a key.
#[derive(Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The distinguished name, DER without its outer header.
    name: Box<[u8]>,
    /// The SubjectPublicKeyInfo, DER.
    spki: Box<[u8]>,
    /// The distinguished name in words.
    text: Box<str>,
}

impl Issuer {
    /// Returns its distinguished name in words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        digest_of(&self.name, &self.spki)
    }

    /// Returns algorithm and bits of its key.
    pub(super) fn key(&self) -> Option<(&[u8], &[u8])> {
        let mut fields = Reader(Reader(&self.spki).expect(der::SEQUENCE)?.content);
        let algorithm = fields.expect(der::SEQUENCE)?.content;
        let key = der::whole_bytes(fields.expect(der::BIT_STRING)?.content)?;
        Some((algorithm, key))
    }
}

/// Stands for a name with a key.
pub(super) fn digest_of(name: &[u8], spki: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&(name.len() as u64).to_be_bytes());
    context.update(name);
    context.update(spki);
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Names a [`Point`] in tables.
pub type PointKey = u128;

/// The places of one list, all of which should hold the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    issuer: Arc<Issuer>,
    urls: Vec<String>,
    key: PointKey,
}

impl Point {
    /// Returns the place of the list that `cert` wants, by the issuer that verification found.
    ///
    /// `None` where the certificate names none. Points for some reasons only, and those of a list
    /// that another authority issues, are left out: such lists are not supported.
    pub(super) fn of(cert: &Cert<'_>, issuer_spki: &[u8]) -> Option<Self> {
        let der = cert.der();
        let parsed = peer::parse(&der).ok()?;
        let urls = urls(&parsed);
        if urls.is_empty() {
            return None;
        }
        let issuer = Issuer {
            name: cert.issuer().into(),
            spki: issuer_spki.into(),
            text: parsed.issuer().to_string().into(),
        };
        let mut context = Context::new(&SHA256);
        context.update(&issuer.digest());
        for url in &urls {
            context.update(url.as_bytes());
            context.update(&[0]);
        }
        let mut key = [0; 16];
        key.copy_from_slice(context.finish().as_ref().get(..16)?);
        Some(Self { issuer: Arc::new(issuer), urls, key: PointKey::from_be_bytes(key) })
    }

    /// Returns the place of the list that `cert` wants, were it issued by `issuer`.
    #[cfg(test)]
    pub(crate) fn of_certificate(
        cert: &rustls::pki_types::CertificateDer<'_>,
        issuer: &rustls::pki_types::CertificateDer<'_>,
    ) -> Option<Self> {
        let issuer = webpki::anchor_from_trusted_cert(issuer).ok()?;
        let cert = webpki::EndEntityCert::try_from(cert).ok()?;
        Self::of(&cert, webpki::spki_for_anchor(&issuer).as_ref())
    }

    /// Returns who issues the list.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns what it is known by.
    #[must_use]
    pub const fn key(&self) -> PointKey {
        self.key
    }

    /// Returns the places that can be asked: those of HTTP, as RFC 5280 section 8 advises, in the
    /// order of the certificate.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let http = |url: &&String| url.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("http://"));
        self.urls.iter().filter(http).map(String::as_str)
    }

    /// Returns every place that was named, those of other schemes too.
    #[must_use]
    pub fn named(&self) -> &[String] {
        &self.urls
    }
}

/// Returns the distribution points of `cert`, all schemes.
pub(super) fn urls_of(cert: &Cert<'_>) -> Vec<String> {
    let der = cert.der();
    peer::parse(&der).map(|parsed| urls(&parsed)).unwrap_or_default()
}

fn urls(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<String> {
    let mut extensions = certificate.extensions().iter();
    let extension = extensions.find(|e| e.oid == OID_X509_EXT_CRL_DISTRIBUTION_POINTS);
    let points = extension.and_then(|e| CRLDistributionPoints::from_der(e.value).ok());
    let Some((_, points)) = points else { return Vec::new() };
    let whole = points.points.iter().filter(|p| p.reasons.is_none() && p.crl_issuer.is_none());
    let names = whole.filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    names
        .flatten()
        .filter_map(|name| match name {
            GeneralName::URI(url) if url.len() <= limits::CRL_URL_BYTES_MAX => {
                Some((*url).to_owned())
            }
            _ => None,
        })
        .take(limits::CRL_URLS_MAX)
        .collect()
}
