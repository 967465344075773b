//! The policy as the configuration states it: plain data; [`super::compile`] judges it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    AddressRule, AnchorSet, Date, DefaultRoute, Pattern, ProviderRule, Revocation, StatedLimits,
    XmppRules,
};
use crate::dns::Domain;

/// Everything the policy is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// This node's own FQDN.
    pub node: Domain,
    /// The pool's Access Edge FQDN as partners know it.
    pub external_fqdn: Domain,
    /// The pool's FQDN as the inside knows it.
    pub internal_fqdn: Domain,
    /// The SIP domains of this organisation.
    pub own_domains: Vec<Domain>,
    /// Switches for federation as a whole.
    pub federation: FederationSwitches,
    /// Switches for the organisation's own users outside.
    pub remote_users: RemoteUserSwitches,
    /// Domains that are refused whatever else is said of them.
    pub blocked: Vec<Pattern>,
    /// Listed partners. Empty in [`super::Snapshot::rules`]: compiled away.
    pub partners: Vec<PartnerRule>,
    /// Hosting and public IM providers, each of which speaks for many domains.
    pub providers: Vec<ProviderRule>,
    /// Whoever takes what nothing else names.
    pub default_route: Option<DefaultRoute>,
    /// Certificate names accepted on internal listeners.
    pub internal_names: Vec<Domain>,
    /// Where requests for own domains go.
    pub next_hops: Vec<NextHop>,
    /// Where a connection to a partner may go.
    pub addresses: AddressRule,
    /// Federation with XMPP servers.
    pub xmpp: XmppRules,
}

impl Rules {
    /// Returns the rules of an organisation that lists nobody, with every setting at its default.
    #[must_use]
    pub fn new(
        node: Domain,
        external_fqdn: Domain,
        internal_fqdn: Domain,
        own_domains: Vec<Domain>,
    ) -> Self {
        Self {
            node,
            external_fqdn,
            internal_fqdn,
            own_domains,
            federation: FederationSwitches::default(),
            remote_users: RemoteUserSwitches::default(),
            blocked: Vec::new(),
            partners: Vec::new(),
            providers: Vec::new(),
            default_route: None,
            internal_names: Vec::new(),
            next_hops: Vec::new(),
            addresses: AddressRule::default(),
            xmpp: XmppRules::default(),
        }
    }
}

/// Switches for federation as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FederationSwitches {
    /// Any federation at all (`AllowFederatedUsers`).
    pub enabled: bool,
    /// Partners that no list names, found by DNS SRV (`EnablePartnerDiscovery`).
    pub discovery: bool,
    /// Outgoing connections per partner over all shards, 1 to 4.
    pub connections_per_partner: u8,
    /// How far a discovered partner's word is believed (`DiscoveredPartnerVerificationLevel`).
    pub discovered_verification: Verification,
    /// What is demanded of the revocation state of partners that no list names.
    pub revocation: Revocation,
}

impl Default for FederationSwitches {
    fn default() -> Self {
        Self {
            enabled: true,
            discovery: false,
            connections_per_partner: 4,
            discovered_verification: Verification::Source,
            revocation: Revocation::Soft,
        }
    }
}

/// Switches for the organisation's own users outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteUserSwitches {
    /// Own users may sign in from outside (`AllowOutsideUsers`).
    pub enabled: bool,
    /// Anonymous users may join conferences (`AllowAnonymousUsers`).
    pub anonymous: bool,
}

impl Default for RemoteUserSwitches {
    fn default() -> Self {
        Self { enabled: true, anonymous: false }
    }
}

/// An internal server that requests for own domains are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// FQDN; its certificate must carry it.
    pub name: Domain,
    /// TCP port.
    pub port: u16,
    /// Fixed addresses; empty: by DNS.
    pub addresses: Vec<IpAddr>,
    /// The own domains it serves; empty: all that no other next hop names.
    pub domains: Vec<Domain>,
    /// Connections per shard, 1 to 4.
    pub connections: u8,
    /// How it speaks of messages, for the XMPP gateway.
    pub dialect: Dialect,
}

/// How an internal server speaks of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// In sessions: INVITE with `m=message`, MESSAGE in the dialog, typing by INFO.
    #[default]
    Lync,
    /// In single MESSAGE requests (RFC 3428) with is-composing notices (RFC 3994).
    Simple,
}

impl NextHop {
    /// Returns a next hop on the usual port, with every setting at its default.
    #[must_use]
    pub const fn new(name: Domain) -> Self {
        Self {
            name,
            port: 5061,
            addresses: Vec::new(),
            domains: Vec::new(),
            connections: 1,
            dialect: Dialect::Lync,
        }
    }
}

/// One listed partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerRule {
    /// The partner's SIP domain, or what its SIP domains lie below.
    pub domain: Pattern,
    /// How its edge is found.
    pub kind: Listed,
    /// Which SRV targets count as its edge.
    pub srv_target: SrvTarget,
    /// Which names its certificate must carry.
    pub names: NameCheck,
    /// The subject common name counts like a dNSName.
    pub common_name: bool,
    /// A certificate without the clientAuth usage is refused.
    pub require_client_eku: bool,
    /// Its own trust anchors; only these then count.
    pub anchors: Option<AnchorSet>,
    /// Networks its edge may have addresses in although the address rule refuses them.
    pub allow_networks: Vec<IpNet>,
    /// How far its word on its users is believed.
    pub verification: Verification,
    /// The last day on which the entry allows anything.
    pub expires: Option<Date>,
    /// What the partner runs, where that is known.
    pub version: Option<Version>,
    /// What is demanded of the revocation state of its certificate.
    pub revocation: Revocation,
    /// What it may do in a time, as far as that is stated for it alone.
    pub limits: StatedLimits,
}

impl PartnerRule {
    /// Returns an allowed partner domain with every setting at its default.
    #[must_use]
    pub fn allowed_domain(domain: impl Into<Pattern>) -> Self {
        Self {
            domain: domain.into(),
            kind: Listed::AllowedDomain,
            srv_target: SrvTarget::Strict,
            names: NameCheck::Fqdn,
            common_name: false,
            require_client_eku: false,
            anchors: None,
            allow_networks: Vec::new(),
            verification: Verification::Source,
            expires: None,
            version: None,
            revocation: Revocation::Soft,
            limits: StatedLimits::NONE,
        }
    }

    /// Returns an allowed partner server with every setting at its default.
    #[must_use]
    pub fn allowed_server(domain: impl Into<Pattern>, edge: Domain, port: u16) -> Self {
        Self { kind: Listed::AllowedServer { edge, port }, ..Self::allowed_domain(domain) }
    }
}

/// What a partner's edge runs, as far as it matters to us (lync-federation 2.5 and 2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Office Communications Server 2007.
    Ocs2007,
    /// Office Communications Server 2007 R2.
    Ocs2007R2,
    /// Lync Server 2010.
    Lync2010,
    /// Lync Server 2013 or later.
    Lync2013,
    /// Something else.
    Other,
}

impl Version {
    /// Tells whether it walks all addresses of a name when one does not answer.
    #[must_use]
    pub const fn follows_dns_balancing(self) -> bool {
        !matches!(self, Self::Ocs2007 | Self::Ocs2007R2)
    }
}

/// How the edge of a listed partner is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listed {
    /// By DNS SRV ("enhanced federation").
    AllowedDomain,
    /// It is stated ("direct federation").
    AllowedServer {
        /// FQDN of the partner's edge.
        edge: Domain,
        /// TCP port.
        port: u16,
    },
}

/// Which SRV targets count as the edge of a SIP domain (lync-federation 4.2, rules 2 and 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SrvTarget {
    /// Hosts exactly one label below the SIP domain.
    Strict,
    /// The SIP domain itself and every host below it.
    SameDomain,
    /// These hosts and no others.
    Names(Vec<Domain>),
}

impl SrvTarget {
    /// Tells whether `target` may be the edge of `domain`.
    ///
    /// A guard against forged DNS answers: a host outside the domain can be anybody's.
    #[must_use]
    pub fn admits(&self, domain: &Domain, target: &Domain) -> bool {
        let below =
            target.as_str().strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
        match self {
            Self::Strict => below.is_some_and(|label| !label.contains('.')),
            Self::SameDomain => below.is_some() || target == domain,
            Self::Names(names) => names.contains(target),
        }
    }
}

/// Which names a partner's certificate must carry (DESIGN 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NameCheck {
    /// The FQDN of its edge, stated or found by SRV: what real edges carry.
    #[default]
    Fqdn,
    /// The SIP domain itself (RFC 5922 section 7); inbound it needs no DNS then.
    SipDomain,
    /// Both.
    Both,
}

/// How far a partner's word on its users is believed (wire-protocols A.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verification {
    /// Everything from there counts as verified.
    Always,
    /// What the partner's edge marked counts; unmarked is unverified.
    #[default]
    Source,
    /// Nothing counts as verified.
    Never,
}
