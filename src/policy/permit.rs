//! What only policy can make: the permission to forward, with its reason and its way out.

use std::sync::Arc;

use super::{
    AnchorSet, ExpectedNames, NameCheck, Place, ProviderKind, Revocation, SourceNetwork,
    Verification,
};
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
    pub(super) revocation: Revocation,
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
            Rule::Provider { kind: ProviderKind::Hosting, .. }
            | Rule::SharedAddressSpace { .. } => PartnerKind::HostingProvider,
            Rule::Provider { kind: ProviderKind::Public, .. } => PartnerKind::PublicProvider,
            Rule::DefaultRoute { .. } => PartnerKind::DefaultRoute,
            Rule::RemoteUser { .. } | Rule::Anonymous => PartnerKind::RemoteUser,
        }
    }

    /// Returns the `ms-source-type` to stamp (wire-protocols A.3).
    #[must_use]
    pub const fn source_type(&self) -> &'static str {
        self.kind().source_type()
    }

    /// Returns the `ms-source-network` to stamp.
    #[must_use]
    pub const fn source_network(&self) -> SourceNetwork {
        match self.rule {
            Rule::Provider { kind: ProviderKind::Public, .. }
            | Rule::DefaultRoute { public: true, .. } => SourceNetwork::PublicCloud,
            _ => SourceNetwork::Federation,
        }
    }

    /// Returns whether the sender is stamped `verified`; `asserted`: its own edge said so.
    #[must_use]
    pub const fn source_verified(&self, asserted: bool) -> bool {
        self.verification.verified(asserted)
    }

    /// Returns whether audio and video may pass; a provider's entry may refuse them.
    #[must_use]
    pub const fn audio_video(&self) -> bool {
        match self.rule {
            Rule::Provider { audio_video, .. } | Rule::SharedAddressSpace { audio_video, .. } => {
                audio_video
            }
            _ => true,
        }
    }

    /// Returns whether both ends are of our own domains, one of them with a provider: the headers
    /// of the split then pass, which nobody else may send.
    #[must_use]
    pub const fn is_split_domain(&self) -> bool {
        matches!(self.rule, Rule::SharedAddressSpace { .. })
    }

    /// Returns what a connection carries from the first request under this permit on.
    #[must_use]
    pub const fn connection(&self) -> Connection {
        let carries = match self.rule {
            Rule::AllowedServer { .. } => Carries::Direct,
            Rule::AllowedDomain { .. } | Rule::Discovered { .. } => Carries::Automatic,
            Rule::Provider { index, .. } | Rule::SharedAddressSpace { index, .. } => {
                Carries::Provider(index)
            }
            Rule::DefaultRoute { .. } => Carries::DefaultRoute,
            Rule::RemoteUser { .. } | Rule::Anonymous => Carries::Users,
        };
        Connection { epoch: self.epoch, carries }
    }

    /// Returns whether it matters if the partner's certificate has been revoked: lists that would
    /// say so are then worth fetching.
    #[must_use]
    pub fn minds_revocation(&self) -> bool {
        self.revocation != Revocation::Off
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
    pub anchors: Option<AnchorSet>,
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
    /// A domain that a `*.name` entry covers and that has connections of its own, since its edge is
    /// found by SRV or must carry its name: by the same hash; under the limits of its kind alone.
    Subdomain(u64),
    /// All domains of a provider, by its place in the list.
    Provider(u16),
    /// All that the default route takes.
    DefaultRoute,
    /// No partner: the inside.
    NextHop,
}

/// What one connection carries: one kind of federation, set by its first request
/// (lync-federation 4.2 rule 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub(super) epoch: u64,
    pub(super) carries: Carries,
}

/// The kinds a connection is held to. Allowed and discovered domains are one: their edges are
/// found the same way, and the inside is told the same of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    Direct,
    Automatic,
    Provider(u16),
    DefaultRoute,
    Users,
}

impl Connection {
    /// Tells whether a request of this kind may come on a connection that carries `held`.
    ///
    /// What was set under another policy counts no more: a partner may have been listed meanwhile.
    #[must_use]
    pub fn may_join(self, held: Option<Self>) -> bool {
        held.is_none_or(|held| held.epoch != self.epoch || held.carries == self.carries)
    }
}

/// The kinds of federation, for limits and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartnerKind {
    /// Listed, edge stated.
    AllowedServer,
    /// Listed, edge by SRV.
    AllowedDomain,
    /// Not listed, edge by SRV; limited.
    Discovered,
    /// A provider that hosts organisations.
    HostingProvider,
    /// A public instant messaging service.
    PublicProvider,
    /// Whoever takes what nothing else names.
    DefaultRoute,
    /// An own user outside.
    RemoteUser,
}

impl PartnerKind {
    /// Every kind, in order.
    pub const ALL: [Self; 7] = [
        Self::AllowedServer,
        Self::AllowedDomain,
        Self::Discovered,
        Self::HostingProvider,
        Self::PublicProvider,
        Self::DefaultRoute,
        Self::RemoteUser,
    ];

    /// Returns the word metrics use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AllowedServer => "allowed_server",
            Self::AllowedDomain => "allowed_domain",
            Self::Discovered => "discovered",
            Self::HostingProvider => "hosting_provider",
            Self::PublicProvider => "public_provider",
            Self::DefaultRoute => "default_route",
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
    /// A provider, for a domain that resolves to it or that its entry names.
    Provider {
        /// Place in the list.
        index: u16,
        /// What it is called.
        name: Arc<str>,
        /// Which kind.
        kind: ProviderKind,
        /// Its edge.
        edge: Domain,
        /// The domain it speaks for.
        domain: Domain,
        /// Audio and video may pass.
        audio_video: bool,
    },
    /// A hosting provider, for one of our own domains (split domain).
    SharedAddressSpace {
        /// Place in the list of providers.
        index: u16,
        /// What it is called.
        name: Arc<str>,
        /// The own domain.
        domain: Domain,
        /// Audio and video may pass.
        audio_video: bool,
    },
    /// The default route.
    DefaultRoute {
        /// Its edge.
        edge: Domain,
        /// The domain it takes.
        domain: Domain,
        /// What is behind it counts as public.
        public: bool,
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
            Self::Provider { name, domain, kind: ProviderKind::Hosting, .. } => {
                format!("hosting provider {name} for {domain}")
            }
            Self::Provider { name, domain, kind: ProviderKind::Public, .. } => {
                format!("public provider {name} for {domain}")
            }
            Self::SharedAddressSpace { name, domain, .. } => {
                format!("hosting provider {name} for the shared own domain {domain}")
            }
            Self::DefaultRoute { edge, domain, .. } => {
                format!("default route {edge} for {domain}")
            }
            Self::RemoteUser { domain } => format!("remote user of {domain}"),
            Self::Anonymous => "anonymous remote user".to_owned(),
        }
    }

    /// Returns the configuration entry that says so, or the switch.
    #[must_use]
    pub const fn entry(&self) -> Place {
        match self {
            Self::AllowedDomain { index, .. } | Self::AllowedServer { index, .. } => {
                Place::Partner(*index)
            }
            Self::Discovered { .. } => Place::Key("federation.discovery"),
            Self::Provider { index, .. } | Self::SharedAddressSpace { index, .. } => {
                Place::Provider(*index)
            }
            Self::DefaultRoute { .. } => Place::DefaultRoute,
            Self::RemoteUser { .. } => Place::Key("remote_users.enabled"),
            Self::Anonymous => Place::Key("remote_users.anonymous"),
        }
    }

    /// Returns the same as text, as `partner[3]`.
    #[must_use]
    pub fn place(&self) -> String {
        self.entry().to_string()
    }
}
