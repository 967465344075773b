//! Why something may not pass, as a wire answer and as a sentence.

use super::{AddressRefusal, Date, Place};
use crate::dns::Domain;
use crate::time::Monotonic;

/// The rules that refuse, in the order they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalRule {
    /// Federation is switched off.
    FederationOff,
    /// Remote users are switched off.
    RemoteUsersOff,
    /// Anonymous users are switched off.
    AnonymousOff,
    /// The domain is on the blocked list.
    Blocked,
    /// An outsider asks for a domain that is not ours: the edge is no relay.
    DestinationNotOurs,
    /// An outsider claims to be of our own domain.
    OwnDomainFromOutside,
    /// A next hop sends for a domain that is not ours.
    SenderNotOurs,
    /// A next hop sends to our own domain by way of the edge.
    DestinationIsOurs,
    /// A remote user claims a domain that is not ours.
    NotOurUser,
    /// No entry names the domain and discovery is off.
    UnknownDomain,
    /// The entry of the domain has expired.
    EntryExpired,
    /// The provider's time, as the operator set it, is over.
    ProviderEnded,
    /// The domain resolves to a hosting provider, discovery is off and no entry names the domain.
    HostedNotListed,
    /// The peer's chain leads to anchors that may not speak for this domain.
    AnchorsOfAnother,
    /// The entry demands the clientAuth usage and the certificate lacks it.
    ClientUsageMissing,
    /// No SRV record (lync-federation 4.2 rule 1).
    NoSuchService,
    /// The SRV record says that there is no service (RFC 2782).
    ServiceRefused,
    /// The name servers failed on the SRV record or what it names.
    SrvLookupFailed,
    /// The name servers failed on the edge stated for the partner.
    HostLookupFailed,
    /// A host was found or stated, an address for it was not.
    NoAddress,
    /// No SRV target lies where the entry wants it (lync-federation 4.2 rules 2 and 3).
    SrvTargetOutsideDomain,
    /// Every address found fails the address rule.
    AddressesRefused,
    /// The certificate does not carry the name it should (lync-federation 4.2 rules 6 and 8).
    CertificateNameMismatch,
    /// A provider sends for a domain that does not resolve to it (lync-federation 4.2 rule 9).
    ProviderOfAnother,
    /// The entry demands to know that the certificate is not revoked, and nobody says.
    RevocationUnknown,
    /// The connection carries another kind of federation (lync-federation 4.2 rule 10).
    OtherKindOnConnection,
}

/// One row of the table of answers.
struct Row {
    status: u16,
    diagnostics: u16,
    reason: &'static str,
    label: &'static str,
}

const fn row(status: u16, diagnostics: u16, reason: &'static str, label: &'static str) -> Row {
    Row { status, diagnostics, reason, label }
}

impl RefusalRule {
    /// The one table from rules to answers (lync-federation 12.2 and 12.3, wire-protocols A.10).
    const fn row(self) -> Row {
        match self {
            Self::FederationOff => {
                row(403, 1002, "From URI not authorized for federation", "federation_off")
            }
            Self::RemoteUsersOff => {
                row(403, 4003, "Remote access is not enabled", "remote_users_off")
            }
            Self::AnonymousOff => {
                row(403, 4004, "Anonymous access is not enabled", "anonymous_off")
            }
            Self::Blocked => row(403, 1005, "Cannot route to destination domain", "blocked"),
            Self::DestinationNotOurs => {
                row(404, 1005, "Cannot route to destination domain", "destination_not_ours")
            }
            Self::OwnDomainFromOutside => {
                row(403, 1017, "Cannot route From and To domains", "own_domain_from_outside")
            }
            Self::SenderNotOurs => {
                row(403, 1017, "Cannot route From and To domains", "sender_not_ours")
            }
            Self::DestinationIsOurs => {
                row(403, 1017, "Cannot route From and To domains", "destination_is_ours")
            }
            Self::NotOurUser => row(403, 4004, "Not authorized to act as From URI", "not_our_user"),
            Self::UnknownDomain => {
                row(403, 1005, "Cannot route to destination domain", "unknown_domain")
            }
            Self::EntryExpired => {
                row(403, 1005, "Cannot route to destination domain", "entry_expired")
            }
            Self::ProviderEnded => {
                row(403, 1005, "Cannot route to destination domain", "provider_ended")
            }
            Self::HostedNotListed => {
                row(403, 1028, "Hosted domain is not on the allow list", "hosted_not_listed")
            }
            Self::AnchorsOfAnother => {
                row(403, 1016, "Asserted domain does not match source", "anchors_of_another")
            }
            Self::ClientUsageMissing => {
                row(504, 1010, "Certificate trust with partner failed", "client_usage_missing")
            }
            Self::NoSuchService => row(504, 1008, "Unable to resolve DNS SRV", "no_such_service"),
            Self::ServiceRefused => row(504, 1008, "Unable to resolve DNS SRV", "service_refused"),
            Self::SrvLookupFailed => {
                row(504, 1008, "Unable to resolve DNS SRV", "srv_lookup_failed")
            }
            Self::HostLookupFailed => {
                row(504, 1014, "Unable to resolve DNS A", "host_lookup_failed")
            }
            Self::NoAddress => row(504, 1014, "Unable to resolve DNS A", "no_address"),
            Self::SrvTargetOutsideDomain => row(
                504,
                1009,
                "No match for domain in DNS SRV results",
                "srv_target_outside_domain",
            ),
            Self::AddressesRefused => {
                row(504, 1014, "Unable to resolve DNS A", "addresses_refused")
            }
            Self::CertificateNameMismatch => {
                row(403, 1016, "Asserted domain does not match source", "certificate_name_mismatch")
            }
            Self::ProviderOfAnother => {
                row(403, 1016, "Asserted domain does not match source", "provider_of_another")
            }
            Self::OtherKindOnConnection => {
                row(403, 1016, "Asserted domain does not match source", "other_kind_on_connection")
            }
            Self::RevocationUnknown => {
                row(504, 1010, "Certificate trust with partner failed", "revocation_unknown")
            }
        }
    }

    /// Returns the word metrics use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.row().label
    }

    /// Every rule, in order, for tables and metrics.
    pub const ALL: [Self; 26] = [
        Self::FederationOff,
        Self::RemoteUsersOff,
        Self::AnonymousOff,
        Self::Blocked,
        Self::DestinationNotOurs,
        Self::OwnDomainFromOutside,
        Self::SenderNotOurs,
        Self::DestinationIsOurs,
        Self::NotOurUser,
        Self::UnknownDomain,
        Self::EntryExpired,
        Self::ProviderEnded,
        Self::HostedNotListed,
        Self::AnchorsOfAnother,
        Self::ClientUsageMissing,
        Self::NoSuchService,
        Self::ServiceRefused,
        Self::SrvLookupFailed,
        Self::HostLookupFailed,
        Self::NoAddress,
        Self::SrvTargetOutsideDomain,
        Self::AddressesRefused,
        Self::CertificateNameMismatch,
        Self::ProviderOfAnother,
        Self::RevocationUnknown,
        Self::OtherKindOnConnection,
    ];
}

/// What a refusal was about beside the domain, for the sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    Nothing,
    /// The certificate names that would have passed.
    Names(Vec<Domain>),
    /// An SRV target that did not pass.
    Target(Domain),
    /// An SRV target that is the edge of a provider that is not enabled, and its name.
    Disabled(Domain, String),
    /// An address that did not pass.
    Address(AddressRefusal),
    /// The last day that something held.
    Ended(Date),
    /// The provider that the rule speaks of.
    Provider(String),
}

/// A decision against forwarding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(super) rule: RefusalRule,
    pub(super) domain: Domain,
    /// The entry that the rule speaks of.
    pub(super) entry: Option<Place>,
    pub(super) about: About,
    pub(super) epoch: u64,
    pub(super) valid_until: Monotonic,
}

impl Refusal {
    /// Returns the rule that refused.
    #[must_use]
    pub const fn rule(&self) -> RefusalRule {
        self.rule
    }

    /// Returns the SIP status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.rule.row().status
    }

    /// Returns the `reason` of `ms-diagnostics`; it names nobody and may be shown to anybody.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.rule.row().reason
    }

    /// Returns the number of `ms-diagnostics`.
    #[must_use]
    pub const fn diagnostics(&self) -> u16 {
        self.rule.row().diagnostics
    }

    /// Returns the domain it was about.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Returns the certificate names of which one would have passed, where it was about them.
    #[must_use]
    pub fn expected_names(&self) -> &[Domain] {
        match &self.about {
            About::Names(names) => names,
            _ => &[],
        }
    }

    /// Returns the number of the snapshot that refused.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns when the DNS answer it rests on ends; the end of time if it rests on none.
    #[must_use]
    pub const fn valid_until(&self) -> Monotonic {
        self.valid_until
    }

    /// Returns the configuration entry or switch that refused.
    #[must_use]
    pub fn entry(&self) -> Option<Place> {
        match self.rule {
            RefusalRule::FederationOff => Some(Place::Key("federation.enabled")),
            RefusalRule::RemoteUsersOff => Some(Place::Key("remote_users.enabled")),
            RefusalRule::AnonymousOff => Some(Place::Key("remote_users.anonymous")),
            RefusalRule::UnknownDomain => Some(Place::Key("federation.discovery")),
            RefusalRule::RevocationUnknown => self.entry.or(Some(Place::Key("tls.revocation"))),
            _ => self.entry,
        }
    }

    /// Returns the same as text, as `blocked[0]`.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        self.entry().map(|place| place.to_string())
    }

    /// Returns what an operator reads after "refused: ".
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut sentence = self.finding();
        if let Some(place) = self.place() {
            sentence.push_str(" (rule ");
            sentence.push_str(&place);
            sentence.push(')');
        }
        sentence
    }

    fn finding(&self) -> String {
        let domain = &self.domain;
        match self.rule {
            RefusalRule::FederationOff => "federation is switched off".to_owned(),
            RefusalRule::RemoteUsersOff => "remote users are switched off".to_owned(),
            RefusalRule::AnonymousOff => "anonymous users are switched off".to_owned(),
            RefusalRule::Blocked => format!("{domain} is blocked"),
            RefusalRule::DestinationNotOurs => {
                format!("{domain} is not a domain of this organisation")
            }
            RefusalRule::OwnDomainFromOutside => {
                format!("the own domain {domain} is claimed from outside")
            }
            RefusalRule::SenderNotOurs => {
                format!("a next hop sends for {domain}, which is not a domain of this organisation")
            }
            RefusalRule::DestinationIsOurs => {
                format!("a next hop sends to the own domain {domain} by way of the edge")
            }
            RefusalRule::NotOurUser => {
                format!("a remote user claims {domain}, which is not a domain of this organisation")
            }
            RefusalRule::UnknownDomain => {
                format!("{domain} is no listed partner and discovery is off")
            }
            RefusalRule::HostedNotListed => {
                format!("{domain} is hosted by a provider, is not listed, and discovery is off")
            }
            RefusalRule::OtherKindOnConnection => {
                format!("{domain} comes on a connection that carries another kind of federation")
            }
            RefusalRule::AnchorsOfAnother => {
                format!("the peer's certificate comes from anchors that may not speak for {domain}")
            }
            RefusalRule::ClientUsageMissing => {
                format!("the certificate of {domain} lacks the clientAuth usage its entry demands")
            }
            RefusalRule::RevocationUnknown => format!(
                "it is not known whether the certificate of {domain} has been revoked, which its \
                 entry demands"
            ),
            RefusalRule::NoSuchService => format!("{domain} publishes no federation SRV record"),
            RefusalRule::ServiceRefused => format!("{domain} publishes that it does not federate"),
            RefusalRule::SrvLookupFailed => {
                format!("the name servers did not answer for the SRV record of {domain}")
            }
            RefusalRule::HostLookupFailed => {
                format!("the name servers did not answer for the edge of {domain}")
            }
            RefusalRule::NoAddress => format!("the edge of {domain} has no address in DNS"),
            RefusalRule::EntryExpired
            | RefusalRule::ProviderEnded
            | RefusalRule::SrvTargetOutsideDomain
            | RefusalRule::AddressesRefused
            | RefusalRule::CertificateNameMismatch
            | RefusalRule::ProviderOfAnother => self.finding_with_evidence(),
        }
    }

    fn finding_with_evidence(&self) -> String {
        let domain = &self.domain;
        match &self.about {
            About::Target(target) => {
                format!("the SRV record of {domain} names {target}, which may not be its edge")
            }
            About::Disabled(target, name) => {
                format!(
                    "the SRV record of {domain} names {target}, the edge of provider {name}, \
                     which is not enabled"
                )
            }
            About::Ended(day) if self.rule == RefusalRule::ProviderEnded => {
                format!("the provider of {domain} was to be used until {day}")
            }
            About::Ended(day) => format!("the entry of {domain} expired after {day}"),
            About::Provider(name) => {
                format!("provider {name} sends for {domain}, which does not resolve to it")
            }
            About::Address(address) => format!("the edge of {domain} is refused: {address}"),
            About::Names(names) => {
                let names: Vec<&str> = names.iter().map(Domain::as_str).collect();
                let names = names.join(" or ");
                format!("the certificate does not carry {names}, which speaks for {domain}")
            }
            About::Nothing => format!("{domain} is refused"),
        }
    }
}
