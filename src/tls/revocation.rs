//! Revocation by fetched lists: who is on one, who is not, and which lists are lacking.
//!
//! ```text
//!  shard:    chain ──> Revocation::judge ──> revoked | good | unknown, and its links
//!            links of a partner's chain ──> Revocation::want ── Point ──> Reports ──┐
//!  control:  RevocationList <── fetch, verify <─────────────────────────────────────┘
//!            Revocation::new(lists) ──> Material::with_revocation ──> shards
//!  shard:    links ──> Revocation::look_up ──> revoked | good | unknown
//! ```
//!
//! Chains are judged before their peer has proved that it has the key, and anybody may send a chain
//! that is public. So a judgement asks for no list: what is lacking is wanted once it is known that
//! the chain is a partner's.
//!
//! Lists from files (`tls.crl`) are the library's business, as they are verified against whatever
//! issuer a chain leads to; here they count only as known.

mod der;
mod list;
mod point;
mod report;

use std::cell::LazyCell;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use webpki::{Cert, EndEntityCert, VerifiedPath, spki_for_anchor};

pub(super) use list::next_update_unix_s;
pub use list::{ListFault, RevocationList};
pub use point::{Issuer, Point, PointKey};
pub use report::Reports;

use crate::policy::RevocationState;
use list::{Role, serial_mark};

/// The fetched lists of one edition; immutable. The default knows none and wants none.
#[derive(Debug, Default)]
pub struct Revocation {
    /// By issuer.
    lists: Box<[Arc<RevocationList>]>,
    reports: Option<Arc<Reports>>,
}

/// One certificate of a verified path below its anchor, to look it up in other lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Stands for the name and the key of who issued it.
    issuer: [u8; 32],
    /// Its place in what the peer sent, whose own certificate is the first.
    place: usize,
}

/// The certificates that a peer sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) end_entity: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
}

impl<'a> Sent<'a> {
    fn get(self, place: usize) -> Option<&'a CertificateDer<'a>> {
        match place.checked_sub(1) {
            None => Some(self.end_entity),
            Some(above) => self.intermediates.get(above),
        }
    }

    fn place_of(self, intermediate: &[u8]) -> usize {
        let mut places = self.intermediates.iter();
        let above = places.position(|sent| sent.as_ref() == intermediate);
        above.expect("a path goes by what was sent") + 1
    }
}

/// A chain has a certificate that its issuer has revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revoked;

impl Revocation {
    /// Publishes `lists`; what is lacking goes to `reports`, unless nothing is to be fetched.
    #[must_use]
    pub fn new(mut lists: Vec<Arc<RevocationList>>, reports: Option<Arc<Reports>>) -> Self {
        lists.sort_by(|a, b| a.issuer().cmp(b.issuer()));
        Self { lists: lists.into(), reports }
    }

    /// Judges a path that leads to an anchor, each certificate by the issuer that signed it, and
    /// returns what it is looked up by from then on.
    ///
    /// `in_file`: tells whether a list from a file, in force, speaks for an issuer's certificates.
    /// Cost: two digests and a binary search per certificate.
    pub(super) fn judge(
        &self,
        path: &VerifiedPath<'_>,
        sent: Sent<'_>,
        now_unix_s: u64,
        in_file: impl Fn(&[u8]) -> bool,
    ) -> Result<(RevocationState, Vec<Link>), Revoked> {
        let mut links = Vec::with_capacity(sent.intermediates.len() + 1);
        let mut good = true;
        let mut judge_one = |cert: &Cert<'_>, place: usize, spki: &[u8]| {
            let link = Link { issuer: point::digest_of(cert.issuer(), spki), place };
            good &= self.knows(cert, link, now_unix_s, &in_file)?;
            links.push(link);
            Ok(())
        };
        let mut cert: &Cert<'_> = path.end_entity();
        let mut place = 0;
        for issuer in path.intermediate_certificates() {
            judge_one(cert, place, issuer.subject_public_key_info().as_ref())?;
            (cert, place) = (issuer, sent.place_of(&issuer.der()));
        }
        judge_one(cert, place, spki_for_anchor(path.anchor()).as_ref())?;
        Ok((state(good), links))
    }

    /// Judges a path again that was found before, by what is looked up alone.
    ///
    /// Cost: some microseconds for a chain; no signature is verified.
    pub(super) fn look_up(
        &self,
        links: &[Link],
        sent: Sent<'_>,
        now_unix_s: u64,
        in_file: impl Fn(&[u8]) -> bool,
    ) -> Result<RevocationState, Revoked> {
        let mut good = true;
        for link in links {
            let Some(cert) = certificate(*link, sent) else { return Ok(RevocationState::Unknown) };
            good &= self.knows(&cert, *link, now_unix_s, &in_file)?;
        }
        Ok(state(good))
    }

    /// Wants the lists that a partner's path lacks, and counts that it lacks some.
    ///
    /// `spki`: finds the key that a certificate was signed with, by what stands for it.
    /// Cost: a certificate is read again for each list that is lacking.
    pub(super) fn want(
        &self,
        links: &[Link],
        sent: Sent<'_>,
        now_unix_s: u64,
        in_file: impl Fn(&[u8]) -> bool,
        spki: impl Fn(&Cert<'_>, &[u8; 32]) -> Option<SubjectPublicKeyInfoDer<'static>>,
    ) {
        let Some(reports) = &self.reports else { return };
        reports.count_unknown();
        for link in links {
            let Some(cert) = certificate(*link, sent) else { continue };
            if self.knows(&cert, *link, now_unix_s, &in_file) != Ok(false) {
                continue;
            }
            let issuer = spki(&cert, &link.issuer);
            if let Some(point) = issuer.and_then(|spki| Point::of(&cert, spki.as_ref())) {
                reports.wanted(point);
            }
        }
    }

    /// Tells whether a list in force says that a certificate is good.
    fn knows(
        &self,
        cert: &Cert<'_>,
        link: Link,
        now_unix_s: u64,
        in_file: &impl Fn(&[u8]) -> bool,
    ) -> Result<bool, Revoked> {
        let role = if link.place == 0 { Role::EndEntity } else { Role::Authority };
        // Authorities that divide their lists have hundreds of one issuer.
        let urls = LazyCell::new(|| point::urls_of(cert));
        let mark = LazyCell::new(|| serial_mark(cert.serial()));
        let first = self.lists.partition_point(|list| *list.issuer() < link.issuer);
        let of_issuer = self.lists.iter().skip(first).take_while(|l| *l.issuer() == link.issuer);
        let mut known = in_file(cert.issuer());
        for list in of_issuer {
            if list.speaks_for(role, || &urls) {
                if list.revokes(*mark) {
                    return Err(Revoked);
                }
                known |= list.in_force(now_unix_s);
            }
        }
        Ok(known)
    }
}

/// Tells whether `issuer` stands for this name with this key.
pub(super) fn is_issuer(issuer: &[u8; 32], name: &[u8], spki: &[u8]) -> bool {
    point::digest_of(name, spki) == *issuer
}

const fn state(good: bool) -> RevocationState {
    if good { RevocationState::Good } else { RevocationState::Unknown }
}

/// Reads a certificate of a path once more; nothing of it is verified.
fn certificate<'a>(link: Link, sent: Sent<'a>) -> Option<EndEntityCert<'a>> {
    EndEntityCert::try_from(sent.get(link.place)?).ok()
}
