//! One list: read, judged and made small, once, on the control thread.
//!
//! A shard that judges a chain only looks a serial number up. The library's own way would verify
//! the list's signature again with every handshake, which for a list of some megabytes takes
//! longer than the handshake.

use std::sync::atomic::{AtomicBool, Ordering};

use ring::digest::{SHA256, digest};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::der::{self, Reader};
use super::point::{Issuer, Point};
use crate::limits;

/// How far the clock of an authority may be before ours.
const CLOCK_SKEW_S: u64 = 300;

/// Why what was fetched does not count as the list of its issuer; its `Display` goes to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ListFault {
    /// RFC 5280 section 5.1, in DER or PEM.
    #[error("what was fetched is no revocation list")]
    NotAList,
    /// A delta list (RFC 5280 section 5.2.4), an indirect one or one for some reasons only
    /// (5.2.5), another version, or a critical extension that is not known.
    #[error("it is a delta, indirect, partial or otherwise unsupported list")]
    Unsupported,
    /// It is another authority's (RFC 5280 section 6.3.3 (b)).
    #[error("it is the list of another issuer")]
    OtherIssuer,
    /// It is for other certificates of this authority (RFC 5280 section 6.3.3 (b)(2)).
    #[error("it is for certificates of another distribution point")]
    OtherScope,
    /// RFC 5280 section 6.3.3 (g).
    #[error("its signature is not the issuer's")]
    BadSignature,
    /// Its thisUpdate lies ahead.
    #[error("it is not valid yet; compare the clocks")]
    NotYetValid,
    /// Its nextUpdate has passed (RFC 5280 section 6.3.3 (a)).
    #[error("it is out of date")]
    OutOfDate,
    /// It was issued before the one in force: somebody replays an old one.
    #[error("it is older than the one in force")]
    Older,
    /// More certificates than all lists together may hold.
    #[error("it revokes more certificates than there is room for")]
    TooLong,
}

/// For which certificates of its issuer a list speaks (RFC 5280 section 5.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scope {
    only_end_entities: bool,
    only_authorities: bool,
    /// The distribution points it is for; `None`: all.
    urls: Option<Vec<String>>,
}

/// Which kind of certificate is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    EndEntity,
    Authority,
}

/// A list whose signature has been verified. 16 bytes per certificate on it.
#[derive(Debug)]
pub struct RevocationList {
    issuer: [u8; 32],
    scope: Scope,
    /// What serial numbers are known by, sorted.
    revoked: Box<[u128]>,
    /// Tells one edition from another.
    fingerprint: [u8; 32],
    this_update_unix_s: u64,
    next_update_unix_s: u64,
    /// Somebody asked since [`Self::take_used`].
    used: AtomicBool,
}

impl RevocationList {
    /// Reads what was fetched from `point`, in DER or PEM.
    ///
    /// `room`: certificates it may hold. Takes about 100 ms for 10 MiB, not for a shard.
    /// # Errors
    /// [`ListFault`]: what is fetched counts whole or not at all.
    pub fn read(
        bytes: &[u8],
        point: &Point,
        algorithms: &WebPkiSupportedAlgorithms,
        now_unix_s: u64,
        room: usize,
    ) -> Result<Self, ListFault> {
        let der = der_of(bytes)?;
        let list = BorrowedCertRevocationList::from_der(&der).map_err(|error| fault_of(&error))?;
        let signed = Signed::read(&der).ok_or(ListFault::NotAList)?;
        if signed.issuer != point.issuer().name() {
            return Err(ListFault::OtherIssuer);
        }
        if !signed.by(point.issuer(), algorithms) {
            return Err(ListFault::BadSignature);
        }
        if signed.this_update_unix_s > now_unix_s.saturating_add(CLOCK_SKEW_S) {
            return Err(ListFault::NotYetValid);
        }
        if signed.next_update_unix_s <= now_unix_s {
            return Err(ListFault::OutOfDate);
        }
        let mut revoked = Vec::new();
        for entry in &list {
            let entry = entry.map_err(|error| fault_of(&error))?;
            if revoked.len() >= room {
                return Err(ListFault::TooLong);
            }
            revoked.push(serial_mark(entry.serial_number));
        }
        revoked.sort_unstable();
        let scope = match CertRevocationList::from(list).issuing_distribution_point() {
            Some(point) => Scope::read(point).ok_or(ListFault::Unsupported)?,
            None => Scope::default(),
        };
        if !scope.meets(point) {
            return Err(ListFault::OtherScope);
        }
        Ok(Self {
            issuer: point.issuer().digest(),
            scope,
            revoked: revoked.into(),
            fingerprint: sha256(&der),
            this_update_unix_s: signed.this_update_unix_s,
            next_update_unix_s: signed.next_update_unix_s,
            used: AtomicBool::new(false),
        })
    }

    /// Returns how many certificates are on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Tells whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    /// Returns when the issuer will have issued the next one, Unix seconds.
    #[must_use]
    pub const fn next_update_unix_s(&self) -> u64 {
        self.next_update_unix_s
    }

    /// Tells whether `other` is the same edition, byte for byte.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.scope == other.scope
    }

    /// Tells whether it was issued before `other`.
    #[must_use]
    pub const fn is_older_than(&self, other: &Self) -> bool {
        self.this_update_unix_s < other.this_update_unix_s
    }

    /// Tells whether a chain was judged by it since the last call.
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Returns a list like `other` with `many` certificates on it.
    #[cfg(test)]
    pub(crate) fn with_marks(other: &Self, many: usize) -> Self {
        Self {
            issuer: other.issuer,
            scope: other.scope.clone(),
            revoked: vec![0; many].into(),
            fingerprint: [1; 32],
            used: AtomicBool::new(false),
            ..*other
        }
    }

    /// Does what a chain that is judged by it does.
    #[cfg(test)]
    pub(crate) fn use_it(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    pub(super) const fn issuer(&self) -> &[u8; 32] {
        &self.issuer
    }

    /// Tells whether it may be used at `now_unix_s` to say that a certificate is good.
    pub(super) const fn in_force(&self, now_unix_s: u64) -> bool {
        now_unix_s < self.next_update_unix_s
    }

    /// Tells whether it speaks for a certificate of its issuer; `urls` gives the certificate's own
    /// distribution points and is asked only where that matters.
    pub(super) fn speaks_for<'u>(
        &self,
        role: Role,
        urls: impl FnOnce() -> &'u Vec<String>,
    ) -> bool {
        let excluded = match role {
            Role::EndEntity => self.scope.only_authorities,
            Role::Authority => self.scope.only_end_entities,
        };
        let here = match &self.scope.urls {
            None => true,
            Some(own) => !excluded && urls().iter().any(|url| own.contains(url)),
        };
        !excluded && here
    }

    /// Tells whether the certificate whose serial number has this mark is on it.
    pub(super) fn revokes(&self, mark: u128) -> bool {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        self.revoked.binary_search(&mark).is_ok()
    }
}

/// Returns the DER of a list given as DER or as PEM, as some authorities do against RFC 5280
/// section 4.2.1.13.
fn der_of(bytes: &[u8]) -> Result<CertificateRevocationListDer<'_>, ListFault> {
    if bytes.first() == Some(&der::SEQUENCE) {
        return Ok(CertificateRevocationListDer::from(bytes));
    }
    CertificateRevocationListDer::from_pem_slice(bytes).map_err(|_| ListFault::NotAList)
}

/// Returns what a serial number is known by: serial numbers may be of any length, half a digest is
/// not, and no two of one issuer will ever share it.
pub(super) fn serial_mark(serial: &[u8]) -> u128 {
    let mut mark = [0; 16];
    mark.copy_from_slice(&sha256(serial)[..16]);
    u128::from_be_bytes(mark)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, bytes).as_ref());
    fingerprint
}

fn fault_of(error: &webpki::Error) -> ListFault {
    use webpki::Error as E;
    match error {
        E::UnsupportedCrlVersion
        | E::UnsupportedDeltaCrl
        | E::UnsupportedIndirectCrl
        | E::UnsupportedCrlIssuingDistributionPoint
        | E::UnsupportedCriticalExtension
        | E::UnsupportedRevocationReason
        | E::UnsupportedRevocationReasonsPartitioning => ListFault::Unsupported,
        _ => ListFault::NotAList,
    }
}

/// The parts of a list that its signature and its time are judged by.
struct Signed<'a> {
    to_be_signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    this_update_unix_s: u64,
    next_update_unix_s: u64,
}

impl<'a> Signed<'a> {
    /// Finds them (RFC 5280 section 5.1).
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(Reader(bytes).expect(der::SEQUENCE)?.content);
        let to_be_signed = outer.expect(der::SEQUENCE)?;
        let algorithm = outer.expect(der::SEQUENCE)?.content;
        let signature = der::whole_bytes(outer.expect(der::BIT_STRING)?.content)?;
        let mut inner = Reader(to_be_signed.content);
        inner.expect(der::INTEGER)?;
        inner.expect(der::SEQUENCE)?;
        let issuer = inner.expect(der::SEQUENCE)?.content;
        let this_update_unix_s = unix_s(inner.next()?.whole)?;
        let next_update_unix_s = unix_s(inner.next()?.whole)?;
        let to_be_signed = to_be_signed.whole;
        Some(Self {
            to_be_signed,
            algorithm,
            signature,
            issuer,
            this_update_unix_s,
            next_update_unix_s,
        })
    }

    /// Verifies the signature by what chains are verified by.
    fn by(&self, issuer: &Issuer, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let Some((key_algorithm, key)) = issuer.key() else { return false };
        algorithms
            .all
            .iter()
            .filter(|known| known.public_key_alg_id().as_ref() == key_algorithm)
            .filter(|known| known.signature_alg_id().as_ref() == self.algorithm)
            .any(|known| known.verify_signature(key, self.to_be_signed, self.signature).is_ok())
    }
}

/// Returns the end of a list that the library could read, Unix seconds.
pub(in crate::tls) fn next_update_unix_s(der: &[u8]) -> Option<u64> {
    Signed::read(der).map(|signed| signed.next_update_unix_s)
}

fn unix_s(time: &[u8]) -> Option<u64> {
    let (_, time) = ASN1Time::from_der(time).ok()?;
    u64::try_from(time.timestamp()).ok()
}

impl Scope {
    /// Reads the extension, whose form and support the library has checked.
    fn read(extension: &[u8]) -> Option<Self> {
        let mut fields = Reader(Reader(extension).expect(der::SEQUENCE)?.content);
        let mut scope = Self::default();
        if let Some(point) = fields.optional(der::CONTEXT_0) {
            let mut names = Reader(Reader(point.content).expect(der::CONTEXT_0)?.content);
            let mut urls = Vec::new();
            while let Some(name) = names.next() {
                if name.tag == der::CONTEXT_6_PRIMITIVE && urls.len() < limits::CRL_URLS_MAX {
                    urls.push(String::from_utf8(name.content.to_vec()).ok()?);
                }
            }
            scope.urls = Some(urls);
        }
        let truth = |field: Option<der::Element<'_>>| field.is_some_and(|f| f.content != [0]);
        scope.only_end_entities = truth(fields.optional(der::CONTEXT_1_PRIMITIVE));
        scope.only_authorities = truth(fields.optional(der::CONTEXT_2_PRIMITIVE));
        Some(scope)
    }

    /// Tells whether certificates that name `point` could be within it.
    fn meets(&self, point: &Point) -> bool {
        let named = |urls: &Vec<String>| point.named().iter().any(|url| urls.contains(url));
        self.urls.as_ref().is_none_or(named)
    }
}
