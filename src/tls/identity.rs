//! Who we are: certificates with their keys, and which one a peer gets to see.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;

use super::load::{self, LoadError};
use super::peer;
use crate::dns::Domain;

/// A certificate with its key as the configuration names it.
#[derive(Clone, Debug, Default)]
pub struct IdentityPlan {
    /// What listeners refer to.
    pub name: String,
    /// PEM file: our certificate, then its issuers in order, without the root.
    pub certificate: PathBuf,
    /// PEM file.
    pub key: PathBuf,
    /// Also presented where we connect.
    pub client: bool,
    /// Names a peer may send as SNI for it, beside those in the certificate.
    pub sip_domains: Vec<Domain>,
}

/// A loaded identity.
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) client: bool,
    pub(super) key: Arc<CertifiedKey>,
    /// When its own certificate ends; those of its issuers may end before.
    pub(super) not_after_unix_s: u64,
    /// SNI values that choose it: exact dNSNames and the SIP domains.
    names: Vec<Domain>,
    /// Parents of wildcard dNSNames, for SNI on listeners of remote users.
    wildcard_parents: Vec<Domain>,
}

impl Identity {
    /// Loads and checks an identity.
    ///
    /// # Errors
    /// See [`LoadError`]: unreadable, encrypted, mismatched, out of order, expired.
    pub(super) fn load(
        plan: &IdentityPlan,
        provider: &CryptoProvider,
        now_unix_s: u64,
    ) -> Result<Self, LoadError> {
        let chain = load::certificates(&plan.certificate)?;
        let key = provider.key_provider.load_private_key(load::private_key(&plan.key)?).map_err(
            |error| LoadError::BadKey { path: plan.key.clone(), why: error.to_string() },
        )?;
        let certified = CertifiedKey::new(chain, key);
        check_key(plan, &certified)?;
        let not_after_unix_s = check_chain(&plan.certificate, &certified.cert, now_unix_s)?;
        let mut names = plan.sip_domains.clone();
        let mut wildcard_parents = Vec::new();
        collect_names(&plan.certificate, &certified, &mut names, &mut wildcard_parents)?;
        Ok(Self {
            name: plan.name.clone(),
            client: plan.client,
            key: Arc::new(certified),
            not_after_unix_s,
            names,
            wildcard_parents,
        })
    }

    fn is_for(&self, sni: &str) -> bool {
        if self.names.iter().any(|name| name.as_str() == sni) {
            return true;
        }
        let parent = sni.split_once('.').map(|(_, parent)| parent);
        parent.is_some_and(|parent| {
            self.wildcard_parents.iter().any(|wildcard| wildcard.as_str() == parent)
        })
    }
}

fn check_key(plan: &IdentityPlan, certified: &CertifiedKey) -> Result<(), LoadError> {
    match certified.keys_match() {
        // A key that cannot tell its public half fails at the first handshake, if it must.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(Error::InconsistentKeys(_)) => {
            let later = certified.cert.iter().enumerate().skip(1).find(|(_, certificate)| {
                let alone = CertifiedKey::new(vec![(*certificate).clone()], certified.key.clone());
                alone.keys_match().is_ok()
            });
            Err(match later {
                Some((i, _)) => {
                    LoadError::LeafNotFirst { path: plan.certificate.clone(), position: i + 1 }
                }
                None => LoadError::KeyMismatch {
                    key: plan.key.clone(),
                    certificate: plan.certificate.clone(),
                },
            })
        }
        Err(error) => Err(bad_certificate(&plan.certificate, 1, &error.to_string())),
    }
}

/// Checks order and validity of a chain as we would present it; returns when its first
/// certificate ends.
fn check_chain(
    path: &Path,
    chain: &[CertificateDer<'_>],
    now_unix_s: u64,
) -> Result<u64, LoadError> {
    let mut not_after_unix_s = None;
    let mut issuer_of_previous: Option<(Vec<u8>, String)> = None;
    for (i, der) in chain.iter().enumerate() {
        let position = i + 1;
        let certificate = peer::parse(der)
            .map_err(|_| bad_certificate(path, position, "it cannot be decoded"))?;
        let subject = certificate.subject().to_string();
        if let Some((raw, issuer)) = issuer_of_previous
            && raw != certificate.subject().as_raw()
        {
            return Err(LoadError::ChainOrder { path: path.to_owned(), position, subject, issuer });
        }
        check_validity(path, position, &certificate, now_unix_s)?;
        let not_after = certificate.validity().not_after.timestamp();
        not_after_unix_s.get_or_insert(u64::try_from(not_after).unwrap_or(0));
        let issuer = certificate.issuer();
        issuer_of_previous = Some((issuer.as_raw().to_vec(), issuer.to_string()));
    }
    Ok(not_after_unix_s.unwrap_or(0))
}

fn check_validity(
    path: &Path,
    position: usize,
    certificate: &X509Certificate<'_>,
    now_unix_s: u64,
) -> Result<(), LoadError> {
    let now = i64::try_from(now_unix_s).unwrap_or(i64::MAX);
    let (path, subject) = (path.to_owned(), certificate.subject().to_string());
    let date = |time: ASN1Time| time.to_string();
    let validity = certificate.validity();
    if validity.not_after.timestamp() < now {
        let date = date(validity.not_after);
        return Err(LoadError::Expired { path, position, subject, date });
    }
    if validity.not_before.timestamp() > now {
        let date = date(validity.not_before);
        return Err(LoadError::NotYetValid { path, position, subject, date });
    }
    Ok(())
}

fn collect_names(
    path: &Path,
    certified: &CertifiedKey,
    names: &mut Vec<Domain>,
    wildcard_parents: &mut Vec<Domain>,
) -> Result<(), LoadError> {
    let der = certified
        .end_entity_cert()
        .map_err(|error| bad_certificate(path, 1, &error.to_string()))?;
    let certificate = webpki::EndEntityCert::try_from(der)
        .map_err(|error| bad_certificate(path, 1, &error.to_string()))?;
    names.extend(peer::dns_names(&certificate));
    let parents = certificate.valid_dns_names().filter_map(|name| name.strip_prefix("*."));
    wildcard_parents.extend(parents.filter_map(|name| Domain::parse(name.as_bytes()).ok()));
    Ok(())
}

fn bad_certificate(path: &Path, position: usize, why: &str) -> LoadError {
    LoadError::BadCertificate { path: path.to_owned(), position, why: why.to_owned() }
}

/// Chooses the identity of an accepted connection: by SNI and what the peer can verify, else the
/// listener's own.
pub(super) struct Chooser {
    /// The listener's default, then the others a peer may ask for.
    candidates: Vec<Arc<Identity>>,
}

impl Chooser {
    /// `candidates`: at least one; the first is the default.
    pub(super) fn new(candidates: Vec<Arc<Identity>>) -> Self {
        assert!(!candidates.is_empty(), "a listener has an identity");
        Self { candidates }
    }

    fn choose(&self, sni: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Identity>> {
        let usable = |identity: &&Arc<Identity>| identity.key.key.choose_scheme(schemes).is_some();
        if let Some(sni) = sni.map(str::to_ascii_lowercase) {
            let mut named = self.candidates.iter().filter(|identity| identity.is_for(&sni));
            let first = named.clone().next();
            if let Some(chosen) = named.find(usable).or(first) {
                return Some(chosen);
            }
        }
        self.candidates.first()
    }
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.candidates.iter().map(|identity| identity.name.as_str());
        f.debug_list().entries(names).finish()
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.choose(hello.server_name(), hello.signature_schemes());
        chosen.map(|identity| Arc::clone(&identity.key))
    }
}

/// A [`Chooser`] for one connection, which knows whom the peer asked for before TLS.
pub(super) struct Asked {
    pub(super) chooser: Arc<Chooser>,
    /// Chooses where the peer sends no SNI.
    pub(super) name: Domain,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Asked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or(self.name.as_str());
        let chosen = self.chooser.choose(Some(name), hello.signature_schemes());
        chosen.map(|identity| Arc::clone(&identity.key))
    }
}

/// Presents one identity to every server that asks.
pub(super) struct Presenter(pub(super) Arc<Identity>);

impl fmt::Debug for Presenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl ResolvesClientCert for Presenter {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
