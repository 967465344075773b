//! Statements that cannot hold together, found while the policy is compiled.

use std::collections::BTreeMap;

use super::domain::DomainTable;
use super::{Listed, PartnerRule, Pattern, Place, ProviderKind, ProviderRule, Rules, SrvTarget};
use crate::dns::Domain;
use crate::limits;

/// Two statements of a configuration that cannot both hold, in an operator's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Nothing is ours.
    #[error("no own domain is stated: every request would be refused")]
    NoOwnDomain,
    /// An own domain stated twice.
    #[error("own domain {0} is stated twice")]
    OwnDomainTwice(Domain),
    /// Own and blocked.
    #[error("own domain {domain} is blocked ({place})")]
    OwnDomainBlocked {
        /// Which.
        domain: Domain,
        /// Where it is blocked.
        place: Place,
    },
    /// Own and a partner.
    #[error("own domain {domain} is listed as a partner ({place})")]
    OwnDomainAsPartner {
        /// Which.
        domain: Domain,
        /// Where it is listed.
        place: Place,
    },
    /// Blocked twice.
    #[error("{domain} is blocked twice ({first} and {second})")]
    BlockedTwice {
        /// Which.
        domain: Pattern,
        /// First place.
        first: Place,
        /// Second place.
        second: Place,
    },
    /// A partner listed twice.
    #[error("partner {domain} is listed twice ({first} and {second})")]
    PartnerTwice {
        /// Which.
        domain: Pattern,
        /// First place.
        first: Place,
        /// Second place.
        second: Place,
    },
    /// Allowed and blocked.
    #[error("{domain} is both allowed ({allowed}) and blocked ({blocked})")]
    AllowedAndBlocked {
        /// Which.
        domain: Pattern,
        /// Where it is allowed.
        allowed: Place,
        /// Where it is blocked.
        blocked: Place,
    },
    /// A list of SRV targets without a name.
    #[error("partner {0} accepts no SRV target: its list of names is empty")]
    NoSrvTargetNames(Pattern, Place),
    /// A rule about SRV targets where no SRV is asked.
    #[error("partner {0} states its edge, so a rule about SRV targets cannot apply to it")]
    SrvTargetOfAllowedServer(Pattern, Place),
    /// Port zero.
    #[error("{0} has port 0")]
    PortZero(String),
    /// Two providers of one name.
    #[error("two providers are called {name} ({first} and {second})")]
    ProviderTwice {
        /// Which name.
        name: String,
        /// First place.
        first: Place,
        /// Second place.
        second: Place,
    },
    /// Two providers with one edge: whose rules hold could not be told.
    #[error("providers {first} and {second} have the same edge, {edge}")]
    ProviderEdgeTwice {
        /// Which edge.
        edge: Domain,
        /// First place.
        first: Place,
        /// Second place.
        second: Place,
    },
    /// More providers than a decision should walk through.
    #[error("{0} providers are stated; {max} are possible", max = limits::PROVIDERS_MAX)]
    TooManyProviders(usize),
    /// A provider is reached at this edge itself.
    #[error("the edge of provider {name} is this edge itself ({place})")]
    ProviderIsUs {
        /// Which.
        name: String,
        /// Its place.
        place: Place,
    },
    /// A domain that two entries state, one of them a provider's.
    #[error("{domain} is stated by provider {name} ({place}) and by {other}")]
    ProviderDomainTwice {
        /// Which domain.
        domain: Domain,
        /// Which provider.
        name: String,
        /// Its place.
        place: Place,
        /// Where it is stated too.
        other: Place,
    },
    /// A provider states one of our own domains as its.
    #[error("provider {name} states the own domain {domain}: share it instead ({place})")]
    ProviderStatesOwnDomain {
        /// Which domain.
        domain: Domain,
        /// Which provider.
        name: String,
        /// Its place.
        place: Place,
    },
    /// A shared address space that is not ours.
    #[error("provider {name} shares {domain}, which is not an own domain ({place})")]
    SharedDomainNotOwn {
        /// Which domain.
        domain: Domain,
        /// Which provider.
        name: String,
        /// Its place.
        place: Place,
    },
    /// A shared address space with a public service.
    #[error("provider {name} is public and cannot share a domain of ours ({place})")]
    SharedWithPublicProvider {
        /// Which provider.
        name: String,
        /// Its place.
        place: Place,
    },
    /// A default route beside discovery (lync-federation 5.4).
    #[error("a default route and discovery of partners exclude each other")]
    DefaultRouteWithDiscovery,
    /// A default route beside a provider (lync-federation 5.4).
    #[error("a default route and provider {name} ({place}) exclude each other")]
    DefaultRouteWithProvider {
        /// Which provider.
        name: String,
        /// Its place.
        place: Place,
    },
    /// The default route leads back.
    #[error("the default route leads to this edge itself")]
    DefaultRouteIsUs,
    /// A next hop for a domain that is not ours.
    #[error("next hop {next_hop} serves {domain}, which is not an own domain")]
    NextHopOfForeignDomain {
        /// Which next hop.
        next_hop: Domain,
        /// Which domain.
        domain: Domain,
    },
    /// Two next hops claim a domain.
    #[error("own domain {domain} has two next hops, {first} and {second}")]
    TwoNextHops {
        /// Which domain.
        domain: Domain,
        /// One of them.
        first: Domain,
        /// The other.
        second: Domain,
    },
    /// Two next hops claim what is left.
    #[error("next hops {first} and {second} both serve every other own domain")]
    TwoDefaultNextHops {
        /// One of them.
        first: Domain,
        /// The other.
        second: Domain,
    },
    /// An XMPP domain listed twice.
    #[error("XMPP partner {domain} is listed twice ({first} and {second})")]
    XmppPartnerTwice {
        /// Which.
        domain: Domain,
        /// First place.
        first: Place,
        /// Second place.
        second: Place,
    },
    /// A row of the matrix without a way (lync-federation 7.3).
    #[error("XMPP partner {domain} cannot prove its domain: no way is left by its entry ({place})")]
    XmppPartnerWithoutProof {
        /// Which.
        domain: Domain,
        /// Its place.
        place: Place,
    },
    /// More XMPP partners than keys can name.
    #[error("{0} XMPP partners are stated; {max} are possible", max = u16::MAX)]
    TooManyXmppPartners(usize),
    /// Connections out of range.
    #[error("{what} has {connections} connections; 1 to {max} are possible",
        max = limits::CONNECTIONS_PER_PARTNER_MAX)]
    Connections {
        /// Whose.
        what: String,
        /// How many were stated.
        connections: u8,
    },
    /// More than are told.
    #[error("and {0} more")]
    More(usize),
}

impl Contradiction {
    /// Returns the entry to look at first, where one is to blame.
    #[must_use]
    pub const fn place(&self) -> Option<Place> {
        match self {
            Self::OwnDomainBlocked { place, .. }
            | Self::OwnDomainAsPartner { place, .. }
            | Self::BlockedTwice { second: place, .. }
            | Self::PartnerTwice { second: place, .. }
            | Self::AllowedAndBlocked { allowed: place, .. }
            | Self::NoSrvTargetNames(_, place)
            | Self::SrvTargetOfAllowedServer(_, place)
            | Self::ProviderTwice { second: place, .. }
            | Self::ProviderEdgeTwice { second: place, .. }
            | Self::ProviderIsUs { place, .. }
            | Self::ProviderDomainTwice { place, .. }
            | Self::ProviderStatesOwnDomain { place, .. }
            | Self::SharedDomainNotOwn { place, .. }
            | Self::SharedWithPublicProvider { place, .. }
            | Self::XmppPartnerTwice { second: place, .. }
            | Self::XmppPartnerWithoutProof { place, .. }
            | Self::DefaultRouteWithProvider { place, .. } => Some(*place),
            Self::DefaultRouteWithDiscovery | Self::DefaultRouteIsUs => Some(Place::DefaultRoute),
            Self::NoOwnDomain
            | Self::OwnDomainTwice(_)
            | Self::PortZero(_)
            | Self::NextHopOfForeignDomain { .. }
            | Self::TwoNextHops { .. }
            | Self::TwoDefaultNextHops { .. }
            | Self::Connections { .. }
            | Self::TooManyProviders(_)
            | Self::TooManyXmppPartners(_)
            | Self::More(_) => None,
        }
    }

    /// Returns every entry it speaks of.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let other = match self {
            Self::BlockedTwice { first, .. }
            | Self::PartnerTwice { first, .. }
            | Self::ProviderTwice { first, .. }
            | Self::ProviderEdgeTwice { first, .. }
            | Self::XmppPartnerTwice { first, .. } => Some(*first),
            Self::AllowedAndBlocked { blocked, .. } => Some(*blocked),
            Self::ProviderDomainTwice { other, .. } => Some(*other),
            _ => None,
        };
        self.place().into_iter().chain(other).collect()
    }
}

/// Contradictions as they are found, up to the bound.
#[derive(Default)]
pub(super) struct Found {
    told: Vec<Contradiction>,
    more: usize,
}

impl Found {
    pub(super) fn push(&mut self, contradiction: Contradiction) {
        if self.told.len() < limits::CONTRADICTIONS_MAX {
            self.told.push(contradiction);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn finish(mut self) -> Option<Vec<Contradiction>> {
        if self.more > 0 {
            self.told.push(Contradiction::More(self.more));
        }
        (!self.told.is_empty()).then_some(self.told)
    }
}

pub(super) fn own_domains(rules: &Rules, found: &mut Found) -> DomainTable {
    if rules.own_domains.is_empty() {
        found.push(Contradiction::NoOwnDomain);
    }
    let mut own = DomainTable::with_room_for(rules.own_domains.len());
    for domain in &rules.own_domains {
        if own.insert(domain).is_err() {
            found.push(Contradiction::OwnDomainTwice(domain.clone()));
        }
    }
    own
}

pub(super) fn blocked_domains(rules: &Rules, found: &mut Found) -> DomainTable {
    let mut blocked = DomainTable::with_room_for(rules.blocked.len());
    for (index, pattern) in (0_u32..).zip(&rules.blocked) {
        let place = Place::Blocked(index);
        if let Err(first) = blocked.insert_pattern(pattern) {
            let (domain, first) = (pattern.clone(), Place::Blocked(first));
            found.push(Contradiction::BlockedTwice { domain, first, second: place });
        }
    }
    for domain in &rules.own_domains {
        if let Some(index) = blocked.find_covering(domain.as_str().as_bytes()) {
            let (domain, place) = (domain.clone(), Place::Blocked(index));
            found.push(Contradiction::OwnDomainBlocked { domain, place });
        }
    }
    blocked
}

pub(super) fn partner_names(
    partners: &[PartnerRule],
    own: &DomainTable,
    blocked: &DomainTable,
    found: &mut Found,
) -> DomainTable {
    let mut names = DomainTable::with_room_for(partners.len());
    for (index, partner) in (0_u32..).zip(partners) {
        let (pattern, place) = (&partner.domain, Place::Partner(index));
        if let Pattern::Exact(domain) = pattern
            && own.find(domain.as_str().as_bytes()).is_some()
        {
            let domain = domain.clone();
            found.push(Contradiction::OwnDomainAsPartner { domain, place });
        }
        // Blocked wins over a wider or narrower entry; of the same one it cannot be meant.
        if let Some(at) = blocked.find_pattern(pattern) {
            let (domain, blocked) = (pattern.clone(), Place::Blocked(at));
            found.push(Contradiction::AllowedAndBlocked { domain, allowed: place, blocked });
        }
        if let Err(first) = names.insert_pattern(pattern) {
            let (domain, first) = (pattern.clone(), Place::Partner(first));
            found.push(Contradiction::PartnerTwice { domain, first, second: place });
        }
        match (&partner.kind, &partner.srv_target) {
            (Listed::AllowedDomain, SrvTarget::Names(names)) if names.is_empty() => {
                found.push(Contradiction::NoSrvTargetNames(pattern.clone(), place));
            }
            (Listed::AllowedServer { port: 0, .. }, _) => {
                found.push(Contradiction::PortZero(pattern.to_string()));
            }
            (Listed::AllowedServer { .. }, SrvTarget::SameDomain | SrvTarget::Names(_)) => {
                found.push(Contradiction::SrvTargetOfAllowedServer(pattern.clone(), place));
            }
            _ => {}
        }
    }
    names.shrink();
    names
}

/// Returns the next hop of each own domain, by its number in `own`.
pub(super) fn next_hops(rules: &Rules, own: &DomainTable, found: &mut Found) -> Vec<Option<usize>> {
    let mut stated: Vec<Option<usize>> = vec![None; own.len()];
    let mut rest: Option<usize> = None;
    for (index, next_hop) in rules.next_hops.iter().enumerate() {
        if next_hop.port == 0 {
            found.push(Contradiction::PortZero(next_hop.name.to_string()));
        }
        judge_connections(&format!("next hop {}", next_hop.name), next_hop.connections, found);
        if next_hop.domains.is_empty()
            && let Some(first) = rest.replace(index)
        {
            let first = rules.next_hops[first].name.clone();
            let second = next_hop.name.clone();
            found.push(Contradiction::TwoDefaultNextHops { first, second });
        }
        for domain in &next_hop.domains {
            let Some(number) = own.find(domain.as_str().as_bytes()) else {
                let (next_hop, domain) = (next_hop.name.clone(), domain.clone());
                found.push(Contradiction::NextHopOfForeignDomain { next_hop, domain });
                continue;
            };
            if let Some(first) = stated[number as usize].replace(index) {
                let first = rules.next_hops[first].name.clone();
                let second = next_hop.name.clone();
                found.push(Contradiction::TwoNextHops { domain: domain.clone(), first, second });
            }
        }
    }
    stated.into_iter().map(|hop| hop.or(rest)).collect()
}

pub(super) fn judge_switches(rules: &Rules, found: &mut Found) {
    let federation = &rules.federation;
    judge_connections("a partner", federation.connections_per_partner, found);
}

fn judge_connections(what: &str, connections: u8, found: &mut Found) {
    if !(1..=limits::CONNECTIONS_PER_PARTNER_MAX).contains(&usize::from(connections)) {
        found.push(Contradiction::Connections { what: what.to_owned(), connections });
    }
}

pub(super) fn judge_providers(
    rules: &Rules,
    own: &DomainTable,
    partners: &DomainTable,
    found: &mut Found,
) {
    let providers = rules.providers.len();
    if providers > limits::PROVIDERS_MAX {
        found.push(Contradiction::TooManyProviders(providers));
        return;
    }
    let mut stated: BTreeMap<&Domain, Place> = BTreeMap::new();
    for (index, provider) in (0_u16..).zip(&rules.providers) {
        let place = Place::Provider(index);
        let name = || provider.name.clone();
        for (first, earlier) in (0_u16..index).zip(&rules.providers) {
            let first = Place::Provider(first);
            if earlier.name == provider.name {
                found.push(Contradiction::ProviderTwice { name: name(), first, second: place });
            }
            if earlier.edge == provider.edge {
                let edge = provider.edge.clone();
                found.push(Contradiction::ProviderEdgeTwice { edge, first, second: place });
            }
        }
        if provider.edge == rules.external_fqdn {
            found.push(Contradiction::ProviderIsUs { name: name(), place });
        }
        if provider.port == 0 {
            found.push(Contradiction::PortZero(name()));
        }
        for domain in provider.stated_domains() {
            let text = domain.as_str().as_bytes();
            if own.find(text).is_some() {
                let (domain, name) = (domain.clone(), name());
                found.push(Contradiction::ProviderStatesOwnDomain { domain, name, place });
            }
            // What a disabled provider once served may be listed or served by another: that is how
            // one moves off it.
            if !provider.enabled {
                continue;
            }
            let listed = partners.find(text).map(Place::Partner);
            if let Some(other) = stated.insert(domain, place).or(listed) {
                let (domain, name) = (domain.clone(), name());
                found.push(Contradiction::ProviderDomainTwice { domain, name, place, other });
            }
        }
        judge_shared(provider, place, own, found);
    }
}

fn judge_shared(provider: &ProviderRule, place: Place, own: &DomainTable, found: &mut Found) {
    if provider.kind == ProviderKind::Public && !provider.shared.is_empty() {
        let name = provider.name.clone();
        found.push(Contradiction::SharedWithPublicProvider { name, place });
    }
    for domain in &provider.shared {
        if own.find(domain.as_str().as_bytes()).is_none() {
            let (domain, name) = (domain.clone(), provider.name.clone());
            found.push(Contradiction::SharedDomainNotOwn { domain, name, place });
        }
    }
}

/// A default route excludes what finds edges by DNS SRV of its own accord (lync-federation 5.4).
pub(super) fn judge_default_route(rules: &Rules, found: &mut Found) {
    let Some(route) = &rules.default_route else { return };
    if route.edge == rules.external_fqdn {
        found.push(Contradiction::DefaultRouteIsUs);
    }
    if route.port == 0 {
        found.push(Contradiction::PortZero(route.edge.to_string()));
    }
    if rules.federation.discovery {
        found.push(Contradiction::DefaultRouteWithDiscovery);
    }
    for (index, provider) in (0_u16..).zip(&rules.providers).filter(|(_, rule)| rule.enabled) {
        let (name, place) = (provider.name.clone(), Place::Provider(index));
        found.push(Contradiction::DefaultRouteWithProvider { name, place });
    }
}
