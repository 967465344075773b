//! Which chains count: anchors, revocation lists, extended key usage and names.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, KeyPurposeIdIter, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::fault::{Distrust, Fault};
use super::peer;
use super::revocation::{self, Link, Revocation, Sent};
use crate::dns::Domain;
use crate::limits;
use crate::policy::{self, AnchorSet, Anchors, ExpectedNames, PeerNames, RevocationState};

/// Which anchors, and so which peers, count on a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A federation peer that came to us: the general anchors, then the partners' own.
    AnyPartner,
    /// A federation peer we went to that is known by the general anchors.
    General,
    /// A partner we went to that has its own set of anchors.
    Partner(AnchorSet),
    /// A next hop or another internal server.
    Internal,
    /// A gateway that came to the XMPP proxy: the anchors of the inside, and its own list of names.
    Gateway,
    /// A server inside that asks for credentials of the A/V Edge: the same anchors, and a list of
    /// names of their own.
    CredentialsAsker,
}

impl Whose {
    /// Tells whether the anchors of the inside count.
    pub(super) const fn is_inside(self) -> bool {
        matches!(self, Self::Internal | Self::Gateway | Self::CredentialsAsker)
    }
}

/// Anchors and revocation lists of one edition; immutable, and cheap to copy.
#[derive(Clone)]
pub struct Trust {
    general: Arc<[TrustAnchor<'static>]>,
    internal: Arc<[TrustAnchor<'static>]>,
    /// All partners' own sets, one after the other.
    partners: Arc<[TrustAnchor<'static>]>,
    /// Their names in that order, each with where in `partners` it ends.
    partner_ends: Arc<[(AnchorSet, usize)]>,
    internal_names: Arc<[Domain]>,
    gateway_names: Arc<[Domain]>,
    credentials_names: Arc<[Domain]>,
    /// Lists from files.
    revocation_lists: Arc<[FileList]>,
    /// Lists that were fetched.
    revocation: Arc<Revocation>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A revocation list from a file.
pub(super) struct FileList {
    pub(super) list: CertRevocationList<'static>,
    pub(super) next_update_unix_s: u64,
}

impl FileList {
    /// Tells whether it says of all certificates of `issuer` whether they are good.
    fn speaks_for(&self, issuer: &[u8], now_unix_s: u64) -> bool {
        self.list.issuer() == issuer
            && self.list.issuing_distribution_point().is_none()
            && now_unix_s < self.next_update_unix_s
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("general", &self.general.len())
            .field("internal", &self.internal.len())
            .field("partner_sets", &self.partner_ends.len())
            .field("revocation_lists", &self.revocation_lists.len())
            .finish_non_exhaustive()
    }
}

/// A chain that passed.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) names: PeerNames,
    /// What its path is looked up by in other lists; empty on the inside.
    pub(super) path: Vec<Link>,
}

/// What [`Trust`] is made of.
pub(super) struct Parts {
    pub(super) general: Vec<TrustAnchor<'static>>,
    pub(super) internal: Vec<TrustAnchor<'static>>,
    pub(super) partners: Vec<PartnerSet>,
    pub(super) internal_names: Vec<Domain>,
    pub(super) gateway_names: Vec<Domain>,
    pub(super) credentials_names: Vec<Domain>,
    pub(super) revocation_lists: Vec<FileList>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// A partner's own set of anchors.
pub(super) struct PartnerSet {
    pub(super) name: AnchorSet,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
}

impl Trust {
    pub(super) fn new(parts: Parts) -> Self {
        let mut partners = Vec::new();
        let mut partner_ends = Vec::with_capacity(parts.partners.len());
        for set in parts.partners {
            partners.extend(set.anchors);
            partner_ends.push((set.name, partners.len()));
        }
        Self {
            general: parts.general.into(),
            internal: parts.internal.into(),
            partners: partners.into(),
            partner_ends: partner_ends.into(),
            internal_names: parts.internal_names.into(),
            gateway_names: parts.gateway_names.into(),
            credentials_names: parts.credentials_names.into(),
            revocation_lists: parts.revocation_lists.into(),
            revocation: Arc::default(),
            algorithms: parts.algorithms,
        }
    }

    /// Returns the same with other fetched lists.
    pub(super) fn with_revocation(&self, revocation: Arc<Revocation>) -> Self {
        Self { revocation, ..self.clone() }
    }

    /// Returns the signature algorithms chains and handshakes may use.
    pub(super) const fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    /// Says whether any chain could count.
    pub(super) fn has_anchors(&self, whose: Whose) -> bool {
        match whose {
            Whose::General => !self.general.is_empty(),
            Whose::Internal | Whose::Gateway | Whose::CredentialsAsker => !self.internal.is_empty(),
            Whose::Partner(name) => self.partner(name).is_ok_and(|set| !set.is_empty()),
            Whose::AnyPartner => !self.general.is_empty() || !self.partners.is_empty(),
        }
    }

    /// Judges a chain: path, validity, revocation, extended key usage, and what is `expected`.
    /// Where that is `None` names and revocation state are policy's business, except that an
    /// internal peer must then carry one of the listed internal names as an exact dNSName, and a
    /// gateway one of the names of gateways.
    ///
    /// Fetched lists are consulted for federation; the inside has lists from files alone. For a
    /// peer we went to those that are lacking are wanted, as `expected` says; whether one that came
    /// to us is a partner is not known yet ([`Self::want_lists`]).
    ///
    /// `intermediates`: as the peer sent them. Cost: about 40 us per ECDSA signature in the chain;
    /// with the partners' own anchors tried only where the general ones do not lead anywhere.
    /// # Errors
    /// Those of [`super::Blame::Denied`].
    /// Source: RFC 5280 section 6, RFC 5922 section 7, DESIGN 6.3.
    pub(super) fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        whose: Whose,
        expected: Option<&ExpectedNames>,
        now_unix_s: u64,
    ) -> Result<Judged, Fault> {
        if intermediates.len() > limits::CHAIN_CERTIFICATES_MAX {
            return Err(Fault::CertificateUntrusted { why: Distrust::TooComplex });
        }
        let certificate = EndEntityCert::try_from(end_entity).map_err(fault_of)?;
        let demand = expected.map(|expected| expected.revocation).unwrap_or_default();
        let fetched = (!whose.is_inside()).then_some(&*self.revocation);
        let sent = Sent { end_entity, intermediates };
        let try_anchors = |anchors: &[TrustAnchor<'static>]| {
            self.verify(&certificate, sent, anchors, fetched, now_unix_s)
        };
        let Judged { names, path } = match whose {
            Whose::General => try_anchors(&self.general)?,
            Whose::Internal | Whose::Gateway | Whose::CredentialsAsker => {
                try_anchors(&self.internal)?
            }
            Whose::Partner(name) => try_anchors(self.partner(name)?)?,
            Whose::AnyPartner => match try_anchors(&self.general) {
                Err(general) if !self.partners.is_empty() => {
                    try_anchors(&self.partners).map_err(|own| more_telling(general, own))?
                }
                other => other?,
            },
        };
        let (carried, missing) = match (expected, whose) {
            (Some(expected), _) => {
                let missing = expected.missing_from(&names);
                (missing.is_empty(), missing)
            }
            (None, whose) if whose.is_inside() => {
                let list = match whose {
                    Whose::Gateway => &self.gateway_names,
                    Whose::CredentialsAsker => &self.credentials_names,
                    _ => &self.internal_names,
                };
                let carried = list.iter().any(|name| names.carries_host(name, false));
                (carried, list.to_vec())
            }
            (None, _) => (true, Vec::new()),
        };
        if !carried {
            let presented = names.dns_names.iter().chain(&names.sip_domains).cloned().collect();
            return Err(Fault::NameMismatch { expected: missing.into(), presented });
        }
        if fetched.is_some() && names.revocation == RevocationState::Unknown {
            if expected.is_some() && demand != policy::Revocation::Off {
                self.want_lists(&path, sent, now_unix_s);
            }
            if !demand.accepts(names.revocation) {
                return Err(Fault::RevocationUnknown);
            }
        }
        Ok(Judged { names, path })
    }

    /// Judges a chain again that has passed before under the same anchors, by its revocation alone.
    ///
    /// `None`: it is revoked, on this path at least. Cost: see [`Revocation::look_up`].
    pub(super) fn look_up(
        &self,
        path: &[Link],
        sent: Sent<'_>,
        now_unix_s: u64,
    ) -> Option<RevocationState> {
        let in_file = |issuer: &[u8]| self.in_file(issuer, now_unix_s);
        self.revocation.look_up(path, sent, now_unix_s, in_file).ok()
    }

    /// Has those lists fetched that are lacking for a chain which is known to be a partner's.
    pub(super) fn want_lists(&self, path: &[Link], sent: Sent<'_>, now_unix_s: u64) {
        let in_file = |issuer: &[u8]| self.in_file(issuer, now_unix_s);
        let spki = |cert: &webpki::Cert<'_>, issuer: &[u8; 32]| {
            let anchors = self.general.iter().chain(&*self.partners);
            let anchors = anchors.filter(|anchor| anchor.subject.as_ref() == cert.issuer());
            let sent =
                sent.intermediates.iter().filter_map(|der| EndEntityCert::try_from(der).ok());
            let sent = sent.filter(|above| above.subject() == cert.issuer());
            let mut keys = anchors
                .map(webpki::spki_for_anchor)
                .chain(sent.map(|above| above.subject_public_key_info()));
            keys.find(|key| revocation::is_issuer(issuer, cert.issuer(), key))
        };
        self.revocation.want(path, sent, now_unix_s, in_file, spki);
    }

    /// Tells whether a list from a file, in force, speaks for the certificates of `issuer`.
    fn in_file(&self, issuer: &[u8], now_unix_s: u64) -> bool {
        self.revocation_lists.iter().any(|file| file.speaks_for(issuer, now_unix_s))
    }

    fn verify(
        &self,
        certificate: &EndEntityCert<'_>,
        sent: Sent<'_>,
        anchors: &[TrustAnchor<'static>],
        fetched: Option<&Revocation>,
        now_unix_s: u64,
    ) -> Result<Judged, Fault> {
        let files = &self.revocation_lists;
        let lists: Vec<&CertRevocationList<'_>> = files.iter().map(|file| &file.list).collect();
        let in_file = |issuer: &[u8]| self.in_file(issuer, now_unix_s);
        let known = RefCell::new((RevocationState::Unknown, Vec::new()));
        // The library goes on to another path, if there is one, where this finds a revoked one.
        let judge = |path: &VerifiedPath<'_>| -> Result<(), webpki::Error> {
            if let Some(fetched) = fetched {
                let judged = fetched.judge(path, sent, now_unix_s, in_file);
                known.replace(judged.map_err(|_| webpki::Error::CertRevoked)?);
            }
            Ok(())
        };
        let path = certificate
            .verify_for_usage(
                self.algorithms.all,
                anchors,
                sent.intermediates,
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_unix_s)),
                TlsOrSip,
                file_options(&lists),
                Some(&judge),
            )
            .map_err(fault_of)?;
        let used = path.intermediate_certificates().map(|used| used.der());
        let names = peer::names(certificate, used, self.anchors_of(&path, anchors))?;
        let (revocation, path) = known.into_inner();
        Ok(Judged { names: PeerNames { revocation, ..names }, path })
    }

    /// Returns which set the anchor at the end of `path` belongs to.
    fn anchors_of(&self, path: &VerifiedPath<'_>, tried: &[TrustAnchor<'static>]) -> Anchors {
        if !self.partners.as_ptr_range().contains(&tried.as_ptr()) {
            return Anchors::General;
        }
        let position = self.partners.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let position = position.expect("the path ends in an anchor that was tried");
        let set = self.partner_ends.partition_point(|(_, end)| *end <= position);
        let (name, _) = self.partner_ends.get(set).expect("the last set ends where all do");
        Anchors::OfPartner(*name)
    }

    fn partner(&self, name: AnchorSet) -> Result<&[TrustAnchor<'static>], Fault> {
        const MISSING: Fault = Fault::NotConfigured { what: "trust anchors of this partner" };
        let mut start = 0;
        for (own, end) in &*self.partner_ends {
            if *own == name {
                return self.partners.get(start..*end).ok_or(MISSING);
            }
            start = *end;
        }
        Err(MISSING)
    }
}

/// A list counts where it speaks for the issuer; where there is none the chain stands without.
///
/// A list past its nextUpdate still counts: what it revoked stays revoked, and refusing every
/// partner because a file was not renewed would be an outage of our own making.
fn file_options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    Some(builder.with_status_policy(UnknownStatusPolicy::Allow).build())
}

/// Of two refusals, prefers the one that found a path.
fn more_telling(general: Fault, own: Fault) -> Fault {
    const NO_PATH: Fault = Fault::CertificateUntrusted { why: Distrust::UnknownIssuer };
    if own == NO_PATH { general } else { own }
}

/// Accepts serverAuth, clientAuth, id-kp-sipDomain (RFC 5924), anyExtendedKeyUsage, or no such
/// extension: public authorities stop issuing clientAuth, so a serverAuth certificate must pass
/// here; whether clientAuth is demanded is the partner entry's business.
struct TlsOrSip;

impl webpki::ExtendedKeyUsageValidator for TlsOrSip {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        use webpki::KeyPurposeId;
        const ACCEPTED: [KeyPurposeId<'static>; 4] = [
            KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]),
            KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 2]),
            KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 20]),
            KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0]),
        ];
        let mut restricted = false;
        for purpose in purposes {
            restricted = true;
            if ACCEPTED.contains(&purpose?) {
                return Ok(());
            }
        }
        if restricted { Err(wrong_purpose()) } else { Ok(()) }
    }
}

/// The error by which [`fault_of`] knows a refusal of [`TlsOrSip`].
fn wrong_purpose() -> webpki::Error {
    webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext {
        required: webpki::KeyUsage::client_auth(),
        present: Vec::new(),
    })
}

fn fault_of(error: webpki::Error) -> Fault {
    use webpki::Error as E;
    let why = match error {
        E::CertExpired { .. } => return Fault::Expired,
        E::CertRevoked => return Fault::Revoked,
        E::UnknownIssuer => Distrust::UnknownIssuer,
        E::CertNotValidYet { .. } => Distrust::NotYetValid,
        E::InvalidSignatureForPublicKey | E::SignatureAlgorithmMismatch => Distrust::BadSignature,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Distrust::WrongPurpose,
        E::CaUsedAsEndEntity => Distrust::AuthorityAsPeer,
        E::EndEntityUsedAsCa
        | E::NameConstraintViolation
        | E::PathLenConstraintViolated
        | E::MalformedNameConstraint
        | E::CertDistrusted => Distrust::Constraint,
        E::MaximumNameConstraintComparisonsExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded => Distrust::TooComplex,
        E::InvalidCrlSignatureForPublicKey
        | E::IssuerNotCrlSigner
        | E::UnsupportedCrlSignatureAlgorithmContext(_)
        | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
        | E::UnsupportedCrlIssuingDistributionPoint
        | E::UnsupportedIndirectCrl
        | E::UnsupportedDeltaCrl => Distrust::BadRevocationList,
        E::UnsupportedCertVersion
        | E::UnsupportedCriticalExtension
        | E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Distrust::Unsupported,
        _ => Distrust::BadEncoding,
    };
    Fault::CertificateUntrusted { why }
}
