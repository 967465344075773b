//! Revocation by fetched lists: who is on one, who is not, and which lists are lacking.
//!
//! ```text
//!  shard:    chain ──> Revocation::judge ──> revoked | good | unknown
//!                               └── Point ──> Reports ──┐
//!  control:  RevocationList <── fetch, verify <─────────┘
//!            Revocation::new(lists) ──> Material::with_revocation ──> shards
//! ```
//!
//! Lists from files (`tls.crl`) are the library's business, as they are verified against whatever
//! issuer a chain leads to; here they count only as known.

mod der;
mod list;
mod point;
mod report;

use std::cell::Cell;
use std::sync::Arc;

use webpki::{VerifiedPath, spki_for_anchor};

pub(super) use list::next_update_unix_s;
pub use list::{ListFault, RevocationList};
pub use point::{Issuer, Point, PointKey};
pub use report::Reports;

use crate::policy::RevocationState;
use list::Role;

/// The fetched lists of one edition; immutable. The default knows none and wants none.
#[derive(Debug, Default)]
pub struct Revocation {
    /// By issuer.
    lists: Box<[Arc<RevocationList>]>,
    reports: Option<Arc<Reports>>,
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

    /// Judges a path that leads to an anchor, each certificate by the issuer that signed it.
    ///
    /// `in_file`: tells whether a list from a file, in force, speaks for an issuer's certificates.
    /// Cost: two digests and a binary search per certificate; where a list is lacking, the
    /// certificate is read again for its distribution points (about 3 us).
    pub(super) fn judge(
        &self,
        path: &VerifiedPath<'_>,
        now_unix_s: u64,
        in_file: impl Fn(&[u8]) -> bool,
    ) -> Result<RevocationState, Revoked> {
        let good = Cell::new(true);
        let judge_one = |cert: &webpki::Cert<'_>, role: Role, spki: &[u8]| {
            let issuer = point::digest_of(cert.issuer(), spki);
            let first = self.lists.partition_point(|list| *list.issuer() < issuer);
            let of_issuer = self.lists.iter().skip(first).take_while(|l| *l.issuer() == issuer);
            let mut known = in_file(cert.issuer());
            for list in of_issuer {
                if list.speaks_for(role, || point::urls_of(cert)) {
                    if list.revokes(cert.serial()) {
                        return Err(Revoked);
                    }
                    known |= list.in_force(now_unix_s);
                }
            }
            if !known {
                good.set(false);
                self.want(cert, spki);
            }
            Ok(())
        };
        let mut cert: &webpki::Cert<'_> = path.end_entity();
        let mut role = Role::EndEntity;
        for issuer in path.intermediate_certificates() {
            judge_one(cert, role, issuer.subject_public_key_info().as_ref())?;
            (cert, role) = (issuer, Role::Authority);
        }
        judge_one(cert, role, spki_for_anchor(path.anchor()).as_ref())?;
        Ok(if good.get() { RevocationState::Good } else { RevocationState::Unknown })
    }

    /// Counts a chain that was admitted without being known.
    pub(super) fn count(&self, state: RevocationState) {
        if let (RevocationState::Unknown, Some(reports)) = (state, &self.reports) {
            reports.count_unknown();
        }
    }

    fn want(&self, cert: &webpki::Cert<'_>, issuer_spki: &[u8]) {
        let Some(reports) = &self.reports else { return };
        if let Some(point) = Point::of(cert, issuer_spki) {
            reports.wanted(point);
        }
    }
}
