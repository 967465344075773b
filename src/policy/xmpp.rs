//! Federation with XMPP servers: who is a partner, how it may prove who it is, and the only maker
//! of permits for stanzas (lync-federation 7).
//!
//! Only listed partners exist: there is no discovery, and a domain that no entry names is refused
//! before anything is asked of DNS. Like SIP's, a permit belongs to one snapshot.

use std::fmt;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::contradiction::{Contradiction, Found};
use super::domain::DomainTable;
use super::rendezvous::{Among, weight};
use super::{AnchorSet, Date, NextHop, Place, Rules, Snapshot, SourceNetwork};
use crate::dns::Domain;
use crate::time::{Monotonic, Now};

/// How much of a protection a partner's entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Negotiation {
    /// Nothing passes without it.
    Required,
    /// Used if both sides can.
    Optional,
    /// Neither offered nor used.
    NotSupported,
}

/// What a partner's users may do unasked (lync-federation 7.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XmppKind {
    /// An organisation like ours: may add our users, write to them, and see their notes.
    Federated,
    /// A public service whose users are known to it: may add our users and write to them.
    PublicVerified,
    /// A public service: only after our user has added the contact.
    #[default]
    PublicUnverified,
}

impl XmppKind {
    /// Tells whether its users may subscribe and write without being asked first.
    #[must_use]
    pub const fn may_begin(self) -> bool {
        matches!(self, Self::Federated | Self::PublicVerified)
    }

    /// Tells whether its users see the notes of ours.
    #[must_use]
    pub const fn sees_notes(self) -> bool {
        matches!(self, Self::Federated)
    }

    /// Returns the `ms-source-type` of what its users send (wire-protocols A.3): an organisation is
    /// found by DNS as a partner domain is, a service is one server that many rely on.
    #[must_use]
    pub const fn source_type(self) -> &'static str {
        match self {
            Self::Federated => "AutoFederation",
            Self::PublicVerified | Self::PublicUnverified => "AuthorizedServer",
        }
    }

    /// Returns the network that its users are said to come from.
    #[must_use]
    pub const fn source_network(self) -> SourceNetwork {
        match self {
            Self::Federated => SourceNetwork::Federation,
            Self::PublicVerified | Self::PublicUnverified => SourceNetwork::PublicCloud,
        }
    }

    /// Tells whether its users are stamped as verified.
    #[must_use]
    pub const fn is_verified(self) -> bool {
        matches!(self, Self::Federated | Self::PublicVerified)
    }

    /// Returns what it is called on the link between proxy and gateway, and in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Federated => "federated",
            Self::PublicVerified => "public_verified",
            Self::PublicUnverified => "public_unverified",
        }
    }
}

/// Which way is tried first for messages and presence of own users to a domain that is a partner on
/// both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preferred {
    /// The XMPP gateway.
    #[default]
    Xmpp,
    /// SIP federation.
    Sip,
}

/// One listed XMPP partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppPartner {
    /// Its primary domain.
    pub domain: Domain,
    /// Further domains of it, each named.
    pub additional: Vec<Domain>,
    /// What its users may do unasked.
    pub kind: XmppKind,
    /// TLS, by STARTTLS or from the first byte.
    pub tls: Negotiation,
    /// SASL EXTERNAL, which proves a domain by certificate.
    pub sasl: Negotiation,
    /// Server dialback, which proves a domain by DNS.
    pub dialback: bool,
    /// Silent streams are pinged.
    pub keep_alive: bool,
    /// Streams to and from it at once; unset: [`XmppLimits::partner_connections`].
    pub connection_limit: Option<u16>,
    /// Its server's name and port, instead of SRV.
    pub proxy: Option<(Domain, u16)>,
    /// Its own trust anchors; only these then count.
    pub anchors: Option<AnchorSet>,
    /// Networks its server may have addresses in although the address rule refuses them.
    pub allow_networks: Vec<IpNet>,
    /// Which way own users' messages take first.
    pub prefer: Preferred,
    /// The last day on which the entry allows anything.
    pub expires: Option<Date>,
}

impl XmppPartner {
    /// Returns a partner with every setting at its default: TLS and SASL required, so dialback,
    /// although allowed, is not used (lync-federation 6.5).
    #[must_use]
    pub fn new(domain: Domain) -> Self {
        Self {
            domain,
            additional: Vec::new(),
            kind: XmppKind::default(),
            tls: Negotiation::Required,
            sasl: Negotiation::Required,
            dialback: true,
            keep_alive: true,
            connection_limit: None,
            proxy: None,
            anchors: None,
            allow_networks: Vec::new(),
            prefer: Preferred::Xmpp,
            expires: None,
        }
    }

    /// Returns its domains, the primary one first.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        std::iter::once(&self.domain).chain(&self.additional)
    }

    /// Returns how it may prove its domains.
    #[must_use]
    pub const fn methods(&self) -> Methods {
        Methods::of(self.tls, self.sasl, self.dialback)
    }

    /// Tells whether `domain` is one of its domains.
    #[must_use]
    pub fn has(&self, domain: &Domain) -> bool {
        self.domain == *domain || self.additional.contains(domain)
    }
}

/// How a partner may prove a domain, and we ours to it (lync-federation 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Methods {
    /// SASL EXTERNAL over TLS.
    pub external: bool,
    /// Dialback over TLS.
    pub dialback_tls: bool,
    /// Dialback in the clear.
    pub dialback_clear: bool,
}

impl Methods {
    /// Returns what an entry amounts to; [`Methods::NONE`] for one that is refused.
    ///
    /// Where the sources contradict each other (lync-federation 11): TLS required with SASL
    /// optional never means dialback in the clear, and SASL without any TLS is refused, as the
    /// product's interface does, although its cmdlet only warns.
    #[must_use]
    pub const fn of(tls: Negotiation, sasl: Negotiation, dialback: bool) -> Self {
        use Negotiation::{NotSupported, Optional, Required};
        let (external, over_tls, in_the_clear) = match (tls, sasl) {
            (Required, Required) => (true, false, false),
            (Required, Optional) => (true, dialback, false),
            (Required, NotSupported) => (false, dialback, false),
            (Optional, Required | Optional) => (true, dialback, dialback),
            (Optional, NotSupported) => (false, dialback, dialback),
            (NotSupported, Required | Optional) => (false, false, false),
            (NotSupported, NotSupported) => (false, false, dialback),
        };
        Self { external, dialback_tls: over_tls, dialback_clear: in_the_clear }
    }

    /// No way at all: such an entry is refused.
    pub const NONE: Self = Self { external: false, dialback_tls: false, dialback_clear: false };

    /// Tells whether there is any way.
    #[must_use]
    pub const fn any(self) -> bool {
        self.external || self.dialback_tls || self.dialback_clear
    }

    /// Tells whether there is a way over TLS.
    #[must_use]
    pub const fn over_tls(self) -> bool {
        self.external || self.dialback_tls
    }
}

/// Bounds of all XMPP streams together (lync-federation 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XmppLimits {
    /// Streams of all partners (`ConnectionLimit`).
    pub connections: u32,
    /// Streams of one partner that has no limit of its own (`PartnerConnectionLimit`).
    pub partner_connections: u16,
    /// Silence after which a stream is pinged, in seconds (`KeepAliveInterval`).
    pub keep_alive_s: u32,
    /// Time from the connection to the first authenticated domain, in seconds
    /// (`StreamEstablishmentTimeout`).
    pub establishment_s: u32,
    /// Time without a stanza after which a stream is closed, in seconds
    /// (`StreamInactivityTimeout`).
    pub inactivity_s: u32,
    /// The largest stanza, in bytes; never below 10,000 (RFC 6120 section 13.12).
    pub stanza_bytes: u32,
    /// Stanzas of one partner in a second, in the long run; twice as many may come at once.
    pub partner_stanzas_per_s: u32,
    /// Bytes of stanzas of one partner in a second, likewise.
    pub partner_bytes_per_s: u32,
}

impl Default for XmppLimits {
    fn default() -> Self {
        Self {
            connections: 1_000,
            partner_connections: 20,
            keep_alive_s: 300,
            establishment_s: 60,
            inactivity_s: 600,
            stanza_bytes: 262_144,
            partner_stanzas_per_s: 2_000,
            partner_bytes_per_s: 8 * 1024 * 1024,
        }
    }
}

/// What the configuration states of XMPP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XmppRules {
    /// Listed partners, in the order of the configuration.
    pub partners: Vec<XmppPartner>,
    /// Bounds.
    pub limits: XmppLimits,
    /// Names of which the certificate of a gateway must carry one (the proxy's side of the link).
    pub gateways: Vec<Domain>,
    /// Bodies of messages may be written to the log.
    pub log_bodies: bool,
    /// The gateways as the Access Edge, and each of them, reach them with SIP: for own users'
    /// messages to XMPP partners. At most [`crate::limits::XMPP_LINKS_MAX`].
    pub gateway_hops: Vec<NextHop>,
}

/// Names an XMPP partner by its place in [`XmppRules::partners`] of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XmppKey(pub u16);

/// The permission to pass stanzas between one domain of ours and one of a partner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XmppPermit {
    epoch: u64,
    partner: XmppKey,
    valid_until: Monotonic,
}

impl XmppPermit {
    /// Returns the number of the snapshot that gave it; under another one it is void.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whose domain it is.
    #[must_use]
    pub const fn partner(&self) -> XmppKey {
        self.partner
    }

    /// Returns when the entry expires; the end of time if it never does.
    #[must_use]
    pub const fn valid_until(&self) -> Monotonic {
        self.valid_until
    }
}

/// Why two domains may not exchange stanzas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XmppRefusal {
    /// Federation is switched off.
    FederationOff,
    /// The domain is blocked.
    Blocked,
    /// No XMPP partner is listed under it.
    NotListed,
    /// The other domain is not ours.
    NotOurs,
    /// The entry has expired.
    Expired,
}

impl XmppRefusal {
    /// Every reason, in the order they are looked at.
    pub const ALL: [Self; 5] =
        [Self::FederationOff, Self::Blocked, Self::NotOurs, Self::NotListed, Self::Expired];

    /// Returns the word metrics use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::FederationOff => "federation_off",
            Self::Blocked => "blocked",
            Self::NotListed => "not_listed",
            Self::NotOurs => "not_ours",
            Self::Expired => "entry_expired",
        }
    }
}

impl fmt::Display for XmppRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FederationOff => "federation is switched off",
            Self::Blocked => "the domain is blocked",
            Self::NotListed => "no XMPP partner is listed under this domain",
            Self::NotOurs => "the other domain is none of ours",
            Self::Expired => "the entry of this XMPP partner has expired",
        })
    }
}

/// Domains of XMPP partners, compiled: one look-up, however many there are.
#[derive(Debug)]
pub(super) struct XmppTable {
    names: DomainTable,
    /// Place of the partner of each domain, by the domain's number in `names`.
    partner_of: Vec<u16>,
}

impl XmppTable {
    /// Compiles the domains of `rules` and notes what cannot hold together.
    pub(super) fn of(
        rules: &Rules,
        own: &DomainTable,
        blocked: &DomainTable,
        found: &mut Found,
    ) -> Self {
        let partners = &rules.xmpp.partners;
        let domains = partners.iter().map(|partner| 1 + partner.additional.len()).sum();
        let mut names = DomainTable::with_room_for(domains);
        let mut partner_of: Vec<u16> = Vec::with_capacity(domains);
        if partners.len() > usize::from(u16::MAX) {
            found.push(Contradiction::TooManyXmppPartners(partners.len()));
            return Self { names, partner_of };
        }
        for (index, partner) in (0_u16..).zip(partners) {
            let place = Place::XmppPartner(index);
            for domain in partner.domains() {
                let text = domain.as_str().as_bytes();
                if own.find(text).is_some() {
                    let domain = domain.clone();
                    found.push(Contradiction::OwnDomainAsPartner { domain, place });
                }
                // A wider pattern wins as everywhere; of the very name it cannot be meant.
                if let Some(at) = blocked.find(text) {
                    let (domain, blocked) = (domain.clone().into(), Place::Blocked(at));
                    found.push(Contradiction::AllowedAndBlocked {
                        domain,
                        allowed: place,
                        blocked,
                    });
                }
                match names.insert(domain) {
                    Ok(_) => partner_of.push(index),
                    Err(first) => {
                        let first = Place::XmppPartner(partner_of[first as usize]);
                        let domain = domain.clone();
                        found.push(Contradiction::XmppPartnerTwice {
                            domain,
                            first,
                            second: place,
                        });
                    }
                }
            }
            if !partner.methods().any() {
                let domain = partner.domain.clone();
                found.push(Contradiction::XmppPartnerWithoutProof { domain, place });
            }
            if partner.proxy.as_ref().is_some_and(|(_, port)| *port == 0) {
                found.push(Contradiction::PortZero(format!("the proxy of {}", partner.domain)));
            }
        }
        names.shrink();
        Self { names, partner_of }
    }

    fn find(&self, domain: &[u8]) -> Option<u16> {
        self.partner_of.get(self.names.find(domain)? as usize).copied()
    }

    fn find_folded(&self, domain: &[u8]) -> Option<u16> {
        self.partner_of.get(self.names.find_folded(domain)? as usize).copied()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.names.memory_bytes() + self.partner_of.capacity() * size_of::<u16>()
    }
}

impl Snapshot {
    /// Returns the bounds of XMPP streams.
    #[must_use]
    pub const fn xmpp_limits(&self) -> &XmppLimits {
        &self.rules.xmpp.limits
    }

    /// Returns the partner of a key that this snapshot gave.
    #[must_use]
    pub fn xmpp_partner(&self, key: XmppKey) -> Option<&XmppPartner> {
        self.rules.xmpp.partners.get(usize::from(key.0))
    }

    /// Returns the key of the partner one of whose domains `domain` is, expired or not.
    #[must_use]
    pub fn xmpp_key(&self, domain: &Domain) -> Option<XmppKey> {
        self.xmpp.find(domain.as_str().as_bytes()).map(XmppKey)
    }

    /// Returns the key under this snapshot of a partner known under `older`; `None` if its entry
    /// is gone.
    #[must_use]
    pub fn xmpp_carry_over(&self, older: &Self, key: XmppKey) -> Option<XmppKey> {
        let place = self.xmpp_key(&older.xmpp_partner(key)?.domain)?;
        // Another partner may have taken the domain over as an additional one.
        let same = self.xmpp_partner(place)?.domain == older.xmpp_partner(key)?.domain;
        same.then_some(place)
    }

    /// Returns which way messages and presence of own users to `domain`, as it stands on the wire,
    /// take first; `None` if there is no gateway, or no entry that holds names the domain: then
    /// there is only the SIP way. No allocation for a domain that is not listed.
    #[must_use]
    pub fn xmpp_way(&self, now: Now, domain: &[u8]) -> Option<Preferred> {
        if self.gateway_hops().is_empty() {
            return None;
        }
        let place = self.xmpp.find_folded(domain)?;
        let partner = self.xmpp_partner(XmppKey(place))?;
        let named = domain.strip_suffix(b".").unwrap_or(domain).to_ascii_lowercase();
        let holds = self.rules.federation.enabled
            && partner.expires.is_none_or(|day| !day.is_past(now))
            && self.blocked.find_covering(&named).is_none();
        holds.then_some(partner.prefer)
    }

    /// Returns the places of the gateways in [`Snapshot::next_hops`] in the order in which they
    /// have a pair of domains: the first one that is there has it.
    #[must_use]
    pub fn gateways_of(&self, ours: &Domain, theirs: &Domain) -> SmallVec<[usize; 4]> {
        let mut places: SmallVec<[usize; 4]> = self.gateway_hops().collect();
        if places.len() > 1 {
            places.sort_by_cached_key(|place| {
                let name = self.next_hops()[*place].name.as_str();
                let weight = weight(Among::Gateways, name, ours.as_str(), theirs.as_str());
                std::cmp::Reverse(weight)
            });
        }
        places
    }

    /// Decides whether stanzas may pass between `ours` and `theirs`, in either direction.
    ///
    /// Who has authenticated as what is the caller's business; users are judged by
    /// [`Snapshot::directory`]. No allocation.
    /// # Errors
    /// [`XmppRefusal`], the first rule that refuses.
    pub fn xmpp(
        &self,
        now: Now,
        ours: &Domain,
        theirs: &Domain,
    ) -> Result<XmppPermit, XmppRefusal> {
        if !self.rules.federation.enabled {
            return Err(XmppRefusal::FederationOff);
        }
        if self.blocked.find_covering(theirs.as_str().as_bytes()).is_some() {
            return Err(XmppRefusal::Blocked);
        }
        if !self.is_own(ours.as_str().as_bytes()) {
            return Err(XmppRefusal::NotOurs);
        }
        let key = self.xmpp_key(theirs).ok_or(XmppRefusal::NotListed)?;
        let partner = self.xmpp_partner(key).ok_or(XmppRefusal::NotListed)?;
        let valid_until = match partner.expires {
            None => Monotonic(u64::MAX),
            Some(day) if day.is_past(now) => return Err(XmppRefusal::Expired),
            Some(day) => day.end(now),
        };
        Ok(XmppPermit { epoch: self.epoch, partner: key, valid_until })
    }
}

#[cfg(test)]
mod tests;
