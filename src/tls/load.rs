//! Certificates, keys, anchors and revocation lists from files, and what can be wrong with them.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor};
use webpki::{OwnedCertRevocationList, anchor_from_trusted_cert};

use super::peer;
use super::revocation;
use super::trust::FileList;
use crate::edge::Class;

/// Why the TLS part of a configuration cannot be used. Its `Display` is for operators: which file,
/// and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {why}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file is read, but is not what it should be.
    #[error("{}: {why}", .path.display())]
    NotPem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its armour.
        why: String,
    },
    /// There is nothing of the expected kind in the file.
    #[error("{}: holds no {what}", .path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The private key needs a passphrase.
    #[error(
        "{}: the private key is encrypted; store it without a passphrase, readable by this \
         service alone",
        .path.display()
    )]
    EncryptedKey {
        /// Which file.
        path: PathBuf,
    },
    /// The private key is of a kind that cannot be used.
    #[error("{}: the private key cannot be used: {why}", .path.display())]
    BadKey {
        /// Which file.
        path: PathBuf,
        /// What the library said.
        why: String,
    },
    /// A certificate cannot be decoded or used.
    #[error("{}: certificate {position} cannot be used: {why}", .path.display())]
    BadCertificate {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        position: usize,
        /// What is wrong.
        why: String,
    },
    /// The key belongs to another certificate of the same file.
    #[error(
        "{}: the certificate of the key is number {position}; it must come first, then its \
         issuers in order",
        .path.display()
    )]
    LeafNotFirst {
        /// Which file.
        path: PathBuf,
        /// Where the certificate of the key is, counted from 1.
        position: usize,
    },
    /// A certificate is not followed by its issuer.
    #[error(
        "{}: certificate {position} ({subject}) did not issue the one before it, which names \
         {issuer} as its issuer",
        .path.display()
    )]
    ChainOrder {
        /// Which file.
        path: PathBuf,
        /// The one out of order, counted from 1.
        position: usize,
        /// Its subject.
        subject: String,
        /// The issuer that was expected.
        issuer: String,
    },
    /// Key and certificate do not belong together.
    #[error("{}: is not the private key of {}", .key.display(), .certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The certificate, or one of its issuers, is past its end.
    #[error("{}: certificate {position} ({subject}) expired on {date}", .path.display())]
    Expired {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        position: usize,
        /// Whose it is.
        subject: String,
        /// Its notAfter.
        date: String,
    },
    /// The certificate, or one of its issuers, is not valid yet.
    #[error(
        "{}: certificate {position} ({subject}) is not valid before {date}; compare the clock",
        .path.display()
    )]
    NotYetValid {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        position: usize,
        /// Whose it is.
        subject: String,
        /// Its notBefore.
        date: String,
    },
    /// The system has no anchors, or they cannot be read.
    #[error("the system's trust anchors cannot be used: {why}")]
    System {
        /// What was said.
        why: String,
    },
    /// One anchor is in the sets of two partners, so a peer it vouches for could be either.
    #[error(
        "{}: the authority {subject} is also in {}; give both partners the same list",
        .path.display(),
        .other.display()
    )]
    SharedAnchor {
        /// The later file.
        path: PathBuf,
        /// The earlier file.
        other: PathBuf,
        /// The authority.
        subject: String,
    },
    /// A listener names an identity that does not exist.
    #[error("a listener uses the identity \"{name}\", which is not defined")]
    UnknownIdentity {
        /// The name.
        name: String,
    },
    /// Two identities have one name.
    #[error("two identities are called \"{name}\"")]
    DuplicateIdentity {
        /// The name.
        name: String,
    },
    /// Two identities claim to be the client identity of one class.
    #[error(
        "\"{first}\" and \"{second}\" are both marked as the client identity of {class:?} legs"
    )]
    TwoClientIdentities {
        /// The class.
        class: Class,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A class of listener has nothing to check its peers against.
    #[error("{class:?} listeners demand certificates, but no trust anchor is configured for them")]
    NoAnchors {
        /// The class.
        class: Class,
    },
    /// The key log cannot be written.
    #[error("{}: the key log cannot be opened: {why}", .path.display())]
    KeyLog {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The library refused the configuration as a whole.
    #[error("TLS cannot be set up: {why}")]
    Library {
        /// What it said.
        why: String,
    },
}

impl From<rustls::Error> for LoadError {
    fn from(error: rustls::Error) -> Self {
        Self::Library { why: error.to_string() }
    }
}

/// Reads a file whole; certificates and lists are kilobytes, at worst some megabytes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|why| LoadError::Unreadable { path: path.to_owned(), why })
}

/// Reads the certificates of a PEM file, or the one of a DER file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    sections(path, &read(path)?, "certificate")
}

/// Reads the first private key of a PEM file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, LoadError> {
    let bytes = read(path)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let path = path.to_owned();
            if memchr::memmem::find(&bytes, b"BEGIN ENCRYPTED PRIVATE KEY").is_some() {
                return Err(LoadError::EncryptedKey { path });
            }
            Err(LoadError::Empty { path, what: "private key in PEM form" })
        }
        Err(error) => Err(LoadError::NotPem { path: path.to_owned(), why: armour_text(&error) }),
    }
}

/// Reads the trust anchors of a file.
pub(super) fn anchors(path: &Path) -> Result<Vec<TrustAnchor<'static>>, LoadError> {
    let mut anchors = Vec::new();
    for (i, certificate) in certificates(path)?.iter().enumerate() {
        let anchor = anchor_from_trusted_cert(certificate).map_err(|error| {
            let why = format!("it is no trust anchor ({error})");
            LoadError::BadCertificate { path: path.to_owned(), position: i + 1, why }
        })?;
        anchors.push(anchor.to_owned());
    }
    Ok(anchors)
}

/// Returns the subject of one anchor of a file in words.
pub(super) fn anchor_name(path: &Path, anchor: &TrustAnchor<'_>) -> String {
    let found = certificates(path).unwrap_or_default().into_iter().find_map(|der| {
        let spki = anchor_from_trusted_cert(&der).ok()?.subject_public_key_info.to_vec();
        let same = spki == anchor.subject_public_key_info.as_ref();
        same.then(|| Some(peer::parse(&der).ok()?.subject().to_string()))?
    });
    found.unwrap_or_else(|| "in it".to_owned())
}

/// Reads the system's trust anchors; those that cannot be used are left out, if some can.
pub(super) fn system_anchors() -> Result<Vec<TrustAnchor<'static>>, LoadError> {
    let found = rustls_native_certs::load_native_certs();
    let anchors: Vec<_> = found
        .certs
        .iter()
        .filter_map(|certificate| Some(anchor_from_trusted_cert(certificate).ok()?.to_owned()))
        .collect();
    if anchors.is_empty() {
        let why = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "there are none".to_owned(),
        };
        return Err(LoadError::System { why });
    }
    Ok(anchors)
}

/// Reads the revocation lists of a PEM file, or the one of a DER file.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<FileList>, LoadError> {
    let ders: Vec<CertificateRevocationListDer<'_>> =
        sections(path, &read(path)?, "revocation list")?;
    let mut lists = Vec::new();
    for der in &ders {
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| {
            let why = format!("a revocation list in it cannot be used: {error}");
            LoadError::NotPem { path: path.to_owned(), why }
        })?;
        let next_update_unix_s = revocation::next_update_unix_s(der).unwrap_or(0);
        lists.push(FileList { list: list.into(), next_update_unix_s });
    }
    Ok(lists)
}

/// Reads all PEM sections of one kind; a file that begins like DER is one such object.
fn sections<T: PemObject + From<Vec<u8>>>(
    path: &Path,
    bytes: &[u8],
    what: &'static str,
) -> Result<Vec<T>, LoadError> {
    const DER_SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![T::from(bytes.to_vec())]);
    }
    let found: Result<Vec<T>, _> = T::pem_slice_iter(bytes).collect();
    let found = found
        .map_err(|error| LoadError::NotPem { path: path.to_owned(), why: armour_text(&error) })?;
    if found.is_empty() {
        return Err(LoadError::Empty { path: path.to_owned(), what });
    }
    Ok(found)
}

fn armour_text(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("the line {} is missing", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("the line {:?} cannot be read", String::from_utf8_lossy(line))
        }
        pem::Error::Base64Decode(_) => "what is between the lines is not base64".to_owned(),
        other => other.to_string(),
    }
}
