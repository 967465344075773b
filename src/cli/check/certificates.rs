//! Keys, certificates, names, dates, trust anchors and revocation lists.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{Checker, Severity};
use crate::config::Trust;
use crate::control;
use crate::edge::Class;
use crate::tls;

/// Seconds before the end of a certificate from which on it is mentioned.
pub(super) const EXPIRY_NOTICE_S: u64 = 30 * 86_400;
/// Bits of a key file's mode that let others read it.
const READABLE_BY_OTHERS: u32 = 0o007;

impl Checker<'_> {
    pub(super) fn certificates(&mut self) {
        let mut sound = true;
        for index in 0..self.config.identities.len() {
            sound &= self.identity(index);
        }
        sound &= self.anchors("tls.trust", &self.config.tls.trust);
        if let Some(trust) = &self.config.tls.internal_trust {
            sound &= self.anchors("tls.internal_trust", trust);
        }
        let partners = self.config.partners.iter().map(|partner| &partner.trust).enumerate();
        let providers = self.config.providers.iter().map(|provider| &provider.trust).enumerate();
        let own_sets = partners
            .map(|(index, trust)| (format!("partner[{index}].trust"), trust))
            .chain(providers.map(|(index, trust)| (format!("provider[{index}].trust"), trust)))
            .chain([("default_route.trust".to_owned(), &self.config.default_route.trust)]);
        for (key, files) in own_sets.filter(|(_, files)| !files.is_empty()) {
            sound &= self.anchors(&key, &Trust::Files(files.clone()));
        }
        if sound {
            self.whole();
        }
        self.revocation_cache();
    }

    fn revocation_cache(&mut self) {
        let Some(directory) = &self.config.tls.revocation_cache else { return };
        let told = directory.display();
        let what = if !directory.is_dir() {
            format!("{told} is no directory: lists do not survive a restart")
        } else if let Err(why) = try_writing(directory) {
            format!("nothing can be kept in {told} ({why}): lists do not survive a restart")
        } else {
            return;
        };
        self.at(
            "tls.revocation_cache",
            Severity::Warning,
            "revocation-cache-unusable",
            what,
            "make it, writable by the service alone",
        );
    }

    /// Loads one identity as the edge would; returns whether it could be.
    fn identity(&mut self, index: usize) -> bool {
        let identity = &self.config.identities[index];
        let plan = tls::Plan {
            now_unix_s: self.now_unix_s,
            identities: vec![control::identity_plan(identity)],
            ..tls::Plan::default()
        };
        let loaded = tls::Material::build(&plan);
        if let Err(error) = &loaded {
            let about_key = error.to_string().starts_with(&*identity.key.to_string_lossy());
            let key = if about_key { "key" } else { "certificate" };
            self.at(
                &format!("identity[{index}].{key}"),
                Severity::Error,
                "identity-unusable",
                error.to_string(),
                "put the certificate with its issuers and its own key there, in PEM",
            );
        }
        self.key_mode(index);
        if let Some(leaf) = leaf(&identity.certificate) {
            self.expiry(index, &leaf);
            self.names(index, &leaf);
        }
        loaded.is_ok()
    }

    fn key_mode(&mut self, index: usize) {
        let path = &self.config.identities[index].key;
        let Ok(metadata) = fs::metadata(path) else { return };
        if metadata.permissions().mode() & READABLE_BY_OTHERS != 0 {
            self.at(
                &format!("identity[{index}].key"),
                Severity::Warning,
                "key-readable-by-others",
                format!("{} can be read by every user of this host", path.display()),
                format!("chmod o= {}", path.display()),
            );
        }
    }

    fn expiry(&mut self, index: usize, leaf: &Leaf) {
        let left_s = leaf.not_after_unix_s.saturating_sub(self.now_unix_s);
        if left_s > 0 && left_s < EXPIRY_NOTICE_S {
            let name = &self.config.identities[index].name;
            self.at(
                &format!("identity[{index}].certificate"),
                Severity::Warning,
                "certificate-expires-soon",
                format!("the certificate of {name} ends in {} days", left_s / 86_400),
                "renew it and reload (SIGHUP); open connections stay",
            );
        }
    }

    /// Checks that what peers will look for is in the certificate: the external FQDN where
    /// partners and users connect, the internal FQDN or the node's on the inside.
    fn names(&mut self, index: usize, leaf: &Leaf) {
        let config = self.config;
        let shown =
            |class: Class| config.listeners_of(class).any(|l| config.listener_identity(l) == index);
        let key = format!("identity[{index}].certificate");
        let name = &config.identities[index].name;
        let external = config.edge.external_fqdn.as_str();
        for (class, who) in [(Class::Federation, "partners"), (Class::RemoteUsers, "users")] {
            if shown(class) && !leaf.carries(external, class) {
                self.at(
                    &key,
                    Severity::Error,
                    "certificate-name-missing",
                    format!("the certificate of {name} does not carry {external}, as {who} expect"),
                    format!("order it with the subjectAltName DNS:{external}"),
                );
            }
        }
        let inside = [config.internal_fqdn().as_str(), config.node().as_str()];
        let carried = inside.iter().any(|name| leaf.carries(name, Class::Internal));
        let inner = shown(Class::Internal) || shown(Class::Credentials);
        if inner && !carried {
            self.at(
                &key,
                Severity::Error,
                "certificate-name-missing",
                format!(
                    "the certificate of {name} carries neither {} nor {}",
                    inside[0], inside[1]
                ),
                format!("order it with the subjectAltName DNS:{}", inside[0]),
            );
        }
        for domain in &config.identities[index].sip_domains {
            let host = format!("sip.{domain}");
            if shown(Class::RemoteUsers) && !leaf.carries(&host, Class::RemoteUsers) {
                self.at(
                    &key,
                    Severity::Note,
                    "certificate-sign-in-name-missing",
                    format!("the certificate of {name} does not carry {host}"),
                    "needed where clients of that domain find the edge by its fixed name",
                );
            }
        }
    }

    fn anchors(&mut self, key: &str, trust: &Trust) -> bool {
        let plan = tls::Plan {
            now_unix_s: self.now_unix_s,
            trust: control::trust_sources(trust),
            ..tls::Plan::default()
        };
        let Err(error) = tls::Material::build(&plan) else { return true };
        self.at(
            key,
            Severity::Error,
            "trust-unusable",
            error.to_string(),
            "put the certificates of the authorities there, in PEM",
        );
        false
    }

    /// Loads everything together, once each part alone is sound: revocation lists, authorities in
    /// two sets, a side without a client identity.
    fn whole(&mut self) {
        let plan = control::tls_plan(self.config, 1, self.now_unix_s, None);
        if let Err(error) = tls::Material::build(&plan) {
            self.at(
                "tls",
                Severity::Error,
                "tls-unusable",
                error.to_string(),
                "correct the file or what names it; `run` would refuse it in the same words",
            );
        }
    }
}

/// The end-entity certificate of an identity, as far as checks look at it.
pub(super) struct Leaf {
    not_after_unix_s: u64,
    dns_names: Vec<String>,
    /// What it may be shown for; `None` where it does not say, which allows everything.
    pub(super) usages: Option<Usages>,
}

/// What extendedKeyUsage allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usages {
    /// serverAuth.
    pub(super) server: bool,
    /// clientAuth.
    pub(super) client: bool,
}

impl Leaf {
    /// Returns whether the name is there; a wildcard counts for users alone (RFC 5922 section 7.2).
    pub(super) fn carries(&self, name: &str, class: Class) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.dns_names.iter().any(|carried| {
            carried.eq_ignore_ascii_case(name)
                || (class == Class::RemoteUsers
                    && carried.strip_prefix("*.").is_some_and(|above| Some(above) == parent))
        })
    }
}

/// Makes a file in `directory` and takes it away again: modes tell nothing of a file system that is
/// mounted to be read.
fn try_writing(directory: &Path) -> std::io::Result<()> {
    let probe = directory.join(format!(".entente-check-{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(&probe)
}

/// Reads the first certificate of a PEM file; `None` if there is none, which loading has told.
pub(super) fn leaf(path: &Path) -> Option<Leaf> {
    let der = CertificateDer::from_pem_file(path).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let dns_names = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    let not_after = certificate.validity().not_after.timestamp();
    let usages = certificate.extended_key_usage().ok().flatten().map(|usage| Usages {
        server: usage.value.any || usage.value.server_auth,
        client: usage.value.any || usage.value.client_auth,
    });
    Some(Leaf { not_after_unix_s: u64::try_from(not_after).unwrap_or(0), dns_names, usages })
}

/// Returns whether a certificate may be shown by a client; `None` if it cannot be read.
pub(super) fn client_usage(path: &Path) -> Option<bool> {
    let der = CertificateDer::from_pem_file(path).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let usage = certificate.extended_key_usage().ok()?;
    Some(usage.is_none_or(|usage| usage.value.client_auth || usage.value.any))
}
