//! What only policy can make: the permission to forward, with its reason and its way out.

use super::{ExpectedNames, NameCheck, Revocation, Verification};
use crate::dns::{Domain, SharedAnswer, Target};
use crate::time::Monotonic;

/// The permission to forward one request, and the requests like it until it ends.
///
/// Cloning costs a few reference counts.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(super) epoch: u64,
    pub(super) rule: Rule,
    pub(super) partner: PartnerKey,
    pub(super) verification: Verification,
    pub(super) valid_until: Monotonic,
    pub(super) route: Option<Route>,
}

impl Permit {
    /// Returns the number of the snapshot that gave it; under another one it is void.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the rule that allowed it.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Returns which partner it is about.
    #[must_use]
    pub const fn partner(&self) -> PartnerKey {
        self.partner
    }

    /// Returns under which kind of federation it falls.
    #[must_use]
    pub const fn kind(&self) -> PartnerKind {
        match self.rule {
            Rule::AllowedDomain { .. } => PartnerKind::AllowedDomain,
            Rule::AllowedServer { .. } => PartnerKind::AllowedServer,
            Rule::Discovered { .. } => PartnerKind::Discovered,
            Rule::RemoteUser { .. } | Rule::Anonymous => PartnerKind::RemoteUser,
        }
    }

    /// Returns the `ms-source-type` to stamp (wire-protocols A.3).
    #[must_use]
    pub const fn source_type(&self) -> &'static str {
        match self.kind() {
            PartnerKind::AllowedServer => "DirectPartner",
            PartnerKind::AllowedDomain | PartnerKind::Discovered => "AutoFederation",
            PartnerKind::RemoteUser => "InternetUser",
        }
    }

    /// Returns whether the sender is stamped `verified`; `asserted`: its own edge said so.
    #[must_use]
    pub const fn source_verified(&self, asserted: bool) -> bool {
        match self.verification {
            Verification::Always => true,
            Verification::Source => asserted,
            Verification::Never => false,
        }
    }

    /// Returns when the DNS answer it rests on ends; the end of time if it rests on none.
    #[must_use]
    pub const fn valid_until(&self) -> Monotonic {
        self.valid_until
    }

    /// Returns the way to the partner; `None` if the way leads to a next hop.
    #[must_use]
    pub const fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }
}

/// Where a permitted request may be connected to, and what the certificate there must say.
#[derive(Clone, Debug)]
pub struct Route {
    /// The targets that passed every rule; its outcome is `Ok` and not empty, each with an address.
    pub targets: SharedAnswer,
    /// The partner's own trust anchors.
    pub anchors: Option<u16>,
    /// Outgoing connections over all shards, 1 to 4.
    pub connections: u8,
    pub(super) names: NameCheck,
    pub(super) common_name: bool,
    pub(super) revocation: Revocation,
}

impl Route {
    /// Returns the targets, not yet ordered ([`crate::dns::order`]).
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        self.targets.outcome.as_deref().unwrap_or_default()
    }

    /// Returns what the certificate of `target` must carry if it is to serve `domain`.
    #[must_use]
    pub fn expected_names(&self, target: &Target, domain: &Domain) -> ExpectedNames {
        let host = matches!(self.names, NameCheck::Fqdn | NameCheck::Both);
        let sip_domain = matches!(self.names, NameCheck::SipDomain | NameCheck::Both);
        ExpectedNames {
            host: host.then(|| target.fqdn.clone()),
            sip_domain: sip_domain.then(|| domain.clone()),
            common_name: self.common_name,
            revocation: self.revocation,
        }
    }
}

/// Names a partner among the partners of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartnerKey {
    /// By its place in the list; another snapshot may have another one there
    /// ([`super::Snapshot::carry_over`]).
    Listed(u32),
    /// By a keyed hash of its domain, the same under every snapshot of the process.
    Discovered(u64),
    /// No partner: the inside.
    NextHop,
}

/// The kinds of federation this cut knows, for limits and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartnerKind {
    /// Listed, edge stated.
    AllowedServer,
    /// Listed, edge by SRV.
    AllowedDomain,
    /// Not listed, edge by SRV; limited.
    Discovered,
    /// An own user outside.
    RemoteUser,
}

impl PartnerKind {
    /// Returns the word metrics use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AllowedServer => "allowed_server",
            Self::AllowedDomain => "allowed_domain",
            Self::Discovered => "discovered",
            Self::RemoteUser => "remote_user",
        }
    }
}

/// The rule that allowed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An entry with a domain.
    AllowedDomain {
        /// Place in the list.
        index: u32,
        /// The partner's domain.
        domain: Domain,
    },
    /// An entry with a domain and its edge.
    AllowedServer {
        /// Place in the list.
        index: u32,
        /// The partner's domain.
        domain: Domain,
        /// Its edge.
        edge: Domain,
    },
    /// Discovery.
    Discovered {
        /// The partner's domain.
        domain: Domain,
    },
    /// An own user outside.
    RemoteUser {
        /// The own domain.
        domain: Domain,
    },
    /// An anonymous user.
    Anonymous,
}

impl Rule {
    /// Returns what an operator reads.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::AllowedDomain { domain, .. } => format!("allowed partner domain {domain}"),
            Self::AllowedServer { domain, edge, .. } => {
                format!("allowed partner server {edge} of {domain}")
            }
            Self::Discovered { domain } => format!("discovered partner domain {domain}"),
            Self::RemoteUser { domain } => format!("remote user of {domain}"),
            Self::Anonymous => "anonymous remote user".to_owned(),
        }
    }

    /// Returns the configuration entry that says so, as `partner[3]`, or the switch.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::AllowedDomain { index, .. } | Self::AllowedServer { index, .. } => {
                format!("partner[{index}]")
            }
            Self::Discovered { .. } => "federation.discovery".to_owned(),
            Self::RemoteUser { .. } => "remote_users.enabled".to_owned(),
            Self::Anonymous => "remote_users.anonymous".to_owned(),
        }
    }
}
