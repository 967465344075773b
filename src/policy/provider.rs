//! Providers: edges that speak for many domains, and the route for what nothing else names.
//!
//! A domain belongs to a provider when the provider's entry names it or when an SRV target of the
//! domain is the provider's FQDN (lync-federation 4.2 rule 9). Nothing else makes a provider speak
//! for a domain.

use std::sync::Arc;

use ipnet::IpNet;

use super::domain::DomainTable;
use super::partner::Terms;
use super::{
    AnchorSet, Date, NameCheck, PeerNames, Revocation, SrvTarget, StatedLimits, Verification,
};
use crate::dns::{Domain, Target};

/// The two kinds of provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProviderKind {
    /// Hosts organisations. Without discovery its domains must be listed one by one.
    Hosting,
    /// A public instant messaging service.
    Public,
}

/// One provider as the configuration states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRule {
    /// What the operator calls it.
    pub name: String,
    /// Which kind.
    pub kind: ProviderKind,
    /// FQDN of its edge; no other provider has it.
    pub edge: Domain,
    /// TCP port of its edge.
    pub port: u16,
    /// Nothing passes to or from it otherwise.
    pub enabled: bool,
    /// Domains it speaks for without any DNS record that says so.
    pub domains: Vec<Domain>,
    /// Own domains that some users have there: the provider may speak for these (split domain).
    pub shared: Vec<Domain>,
    /// Audio and video may pass.
    pub audio_video: bool,
    /// The provider demands the clientAuth usage in our certificate, as AOL did.
    pub needs_client_eku: bool,
    /// The last day on which anything passes.
    pub ends: Option<Date>,
    /// The last day the provider itself has announced; only told.
    pub announced_end: Option<Date>,
    /// How addresses of foreign domains are written to it.
    pub decoration: Option<Decoration>,
    /// Picture that clients may show for it.
    pub icon_url: Option<String>,
    /// The subject common name counts like a dNSName.
    pub common_name: bool,
    /// A certificate of the provider without the clientAuth usage is refused.
    pub require_client_eku: bool,
    /// Its own trust anchors; only these then count.
    pub anchors: Option<AnchorSet>,
    /// Networks its edge may have addresses in although the address rule refuses them.
    pub allow_networks: Vec<IpNet>,
    /// How far its word on its users is believed.
    pub verification: Verification,
}

impl ProviderRule {
    /// Returns an enabled provider with every other setting at its default.
    #[must_use]
    pub fn new(kind: ProviderKind, name: &str, edge: Domain) -> Self {
        let verification = match kind {
            ProviderKind::Hosting => Verification::Source,
            ProviderKind::Public => Verification::Never,
        };
        Self {
            name: name.to_owned(),
            kind,
            edge,
            port: 5061,
            enabled: true,
            domains: Vec::new(),
            shared: Vec::new(),
            audio_video: kind == ProviderKind::Hosting,
            needs_client_eku: false,
            ends: None,
            announced_end: None,
            decoration: None,
            icon_url: None,
            common_name: false,
            require_client_eku: false,
            anchors: None,
            allow_networks: Vec::new(),
            verification,
        }
    }

    /// Returns the domains it speaks for by its entry: those named, and the one that decorated
    /// addresses are sent to.
    pub fn stated_domains(&self) -> impl Iterator<Item = &Domain> {
        let decorated = self.decoration.as_ref().map(|decoration| &decoration.domain);
        self.domains.iter().chain(decorated.filter(|domain| !self.domains.contains(domain)))
    }
}

/// How an address outside the provider's domains is written to it: `user@other.example` as
/// `user(other.example)@domain` (lync-federation 8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoration {
    /// The domain such addresses are sent to.
    pub domain: Domain,
    /// Domains whose addresses are sent as they are.
    pub excluded: Vec<Domain>,
}

impl Decoration {
    /// Returns the address to send to for `user` of `domain`.
    #[must_use]
    pub fn address(&self, user: &str, domain: &Domain) -> String {
        if *domain == self.domain || self.excluded.contains(domain) {
            return format!("{user}@{domain}");
        }
        format!("{user}({domain})@{}", self.domain)
    }
}

/// Whoever takes what nothing else names: a clearing house, or an upstream edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// FQDN of its edge.
    pub edge: Domain,
    /// TCP port of its edge.
    pub port: u16,
    /// What is behind it counts as public instant messaging (`IsPublicProvider`).
    pub public: bool,
    /// The subject common name counts like a dNSName.
    pub common_name: bool,
    /// A certificate without the clientAuth usage is refused.
    pub require_client_eku: bool,
    /// Its own trust anchors; only these then count.
    pub anchors: Option<AnchorSet>,
    /// Networks it may have addresses in although the address rule refuses them.
    pub allow_networks: Vec<IpNet>,
    /// How far its word on users is believed.
    pub verification: Verification,
}

impl DefaultRoute {
    /// Returns a default route with every other setting at its default.
    #[must_use]
    pub const fn new(edge: Domain) -> Self {
        Self {
            edge,
            port: 5061,
            public: false,
            common_name: false,
            require_client_eku: false,
            anchors: None,
            allow_networks: Vec::new(),
            verification: Verification::Source,
        }
    }

    pub(super) fn terms(&self, revocation: Revocation) -> Terms {
        Terms {
            srv_target: SrvTarget::Strict,
            names: NameCheck::Fqdn,
            common_name: self.common_name,
            require_client_eku: self.require_client_eku,
            anchors: self.anchors,
            allow_networks: self.allow_networks.clone(),
            verification: self.verification,
            expires: None,
            revocation,
            limits: StatedLimits::NONE,
        }
    }
}

/// One compiled provider.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: Arc<str>,
    pub(super) kind: ProviderKind,
    pub(super) edge: Domain,
    pub(super) port: u16,
    pub(super) audio_video: bool,
    pub(super) ends: Option<Date>,
    pub(super) terms: Terms,
    enabled: bool,
}

impl Provider {
    fn of(rule: &ProviderRule, revocation: Revocation) -> Self {
        let terms = Terms {
            srv_target: SrvTarget::Strict,
            names: NameCheck::Fqdn,
            common_name: rule.common_name,
            require_client_eku: rule.require_client_eku,
            anchors: rule.anchors,
            allow_networks: rule.allow_networks.clone(),
            verification: rule.verification,
            expires: None,
            revocation,
            limits: StatedLimits::NONE,
        };
        Self {
            name: rule.name.as_str().into(),
            kind: rule.kind,
            edge: rule.edge.clone(),
            port: rule.port,
            audio_video: rule.audio_video,
            ends: rule.ends,
            terms,
            enabled: rule.enabled,
        }
    }
}

/// All providers. Only enabled ones are found; the others are there to be told of.
#[derive(Debug)]
pub(super) struct ProviderTable {
    providers: Vec<Provider>,
    /// Names of the domains stated, and whose each is.
    domains: DomainTable,
    owner: Vec<u16>,
    /// Own domains that a provider shares, and which one does.
    shared: DomainTable,
    sharer: Vec<u16>,
}

impl ProviderTable {
    /// Compiles `rules`, in which no name, edge or domain is given twice; `revocation` is demanded
    /// of all of them.
    pub(super) fn of(rules: &[ProviderRule], revocation: Revocation) -> Self {
        let enabled = || (0_u16..).zip(rules).filter(|(_, rule)| rule.enabled);
        let rooms = |count: fn(&ProviderRule) -> usize| enabled().map(|(_, r)| count(r)).sum();
        let mut domains = DomainTable::with_room_for(rooms(|r| r.stated_domains().count()));
        let mut shared = DomainTable::with_room_for(rooms(|r| r.shared.len()));
        let (mut owner, mut sharer) = (Vec::new(), Vec::new());
        for (number, rule) in enabled() {
            for domain in rule.stated_domains() {
                if domains.insert(domain).is_ok() {
                    owner.push(number);
                }
            }
            for domain in &rule.shared {
                if shared.insert(domain).is_ok() {
                    sharer.push(number);
                }
            }
        }
        assert_eq!(domains.len(), owner.len(), "each domain has one owner");
        let providers = rules.iter().map(|rule| Provider::of(rule, revocation)).collect();
        Self { providers, domains, owner, shared, sharer }
    }

    /// Returns the provider with this number.
    pub(super) fn get(&self, number: u16) -> Option<&Provider> {
        self.providers.get(usize::from(number))
    }

    fn enabled(&self) -> impl Iterator<Item = (u16, &Provider)> {
        (0_u16..).zip(&self.providers).filter(|(_, provider)| provider.enabled)
    }

    /// Tells whether there is one that anything may pass to.
    pub(super) fn any(&self) -> bool {
        self.enabled().next().is_some()
    }

    /// Returns whose a domain is by its entry.
    pub(super) fn stating(&self, domain: &Domain) -> Option<u16> {
        let number = self.domains.find(domain.as_str().as_bytes())?;
        self.owner.get(number as usize).copied()
    }

    /// Returns who shares an own domain in lower case.
    pub(super) fn sharing(&self, domain: &Domain) -> Option<u16> {
        let number = self.shared.find(domain.as_str().as_bytes())?;
        self.sharer.get(number as usize).copied()
    }

    /// Tells whether an own domain, as it stands on the wire, is shared.
    pub(super) fn shares(&self, domain: &[u8]) -> bool {
        self.shared.find_folded(domain).is_some()
    }

    /// Returns whose edge is among `targets`, the best of them.
    pub(super) fn among(&self, targets: &[Target]) -> Option<u16> {
        targets.iter().find_map(|target| self.with_edge(&target.fqdn))
    }

    fn with_edge(&self, edge: &Domain) -> Option<u16> {
        self.enabled().find(|(_, provider)| provider.edge == *edge).map(|(number, _)| number)
    }

    /// Returns the provider whose edge a certificate names.
    pub(super) fn carried_by(&self, peer: &PeerNames) -> Option<&Provider> {
        let mut providers = self.enabled().map(|(_, provider)| provider);
        providers.find(|provider| peer.carries_host(&provider.edge, provider.terms.common_name))
    }

    /// Returns the provider that has this edge and is not enabled.
    pub(super) fn disabled(&self, edge: &Domain) -> Option<&Provider> {
        self.providers.iter().find(|provider| !provider.enabled && provider.edge == *edge)
    }

    /// Returns the number of the enabled provider with this name.
    pub(super) fn named(&self, name: &str) -> Option<u16> {
        self.enabled().find(|(_, provider)| *provider.name == *name).map(|(number, _)| number)
    }

    /// Returns the bytes the tables of names occupy.
    pub(super) fn memory_bytes(&self) -> usize {
        self.domains.memory_bytes()
            + self.shared.memory_bytes()
            + self.providers.capacity() * size_of::<Provider>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{domain, peer, target};
    use super::*;

    fn skype() -> ProviderRule {
        let edge = domain("federation.skype.example");
        let decoration =
            Decoration { domain: domain("msn.example"), excluded: vec![domain("live.example")] };
        ProviderRule {
            domains: vec![domain("live.example")],
            decoration: Some(decoration),
            ..ProviderRule::new(ProviderKind::Public, "skype", edge)
        }
    }

    fn online() -> ProviderRule {
        ProviderRule {
            shared: vec![domain("contoso.example")],
            ..ProviderRule::new(ProviderKind::Hosting, "online", domain("sipfed.online.example"))
        }
    }

    #[test]
    fn a_domain_belongs_to_the_provider_that_states_it_or_that_dns_names() {
        let table = ProviderTable::of(&[online(), skype()], Revocation::Soft);
        assert_eq!(table.stating(&domain("live.example")), Some(1));
        assert_eq!(table.stating(&domain("msn.example")), Some(1), "decorated addresses go there");
        assert_eq!(table.stating(&domain("fabrikam.example")), None);
        let found = [target("sip.fabrikam.example", &[]), target("sipfed.online.example", &[])];
        assert_eq!(table.among(&found), Some(0));
        assert_eq!(table.among(&found[..1]), None);
        assert!(table.shares(b"Contoso.Example."));
        assert_eq!(table.sharing(&domain("contoso.example")), Some(0));
    }

    #[test]
    fn a_provider_that_is_not_enabled_is_found_by_nothing() {
        let off = |rule: ProviderRule| ProviderRule { enabled: false, ..rule };
        let table = ProviderTable::of(&[off(online()), off(skype())], Revocation::Soft);
        let edge = domain("sipfed.online.example");
        assert!(!table.any());
        assert_eq!(table.stating(&domain("live.example")), None);
        assert_eq!(table.sharing(&domain("contoso.example")), None);
        assert_eq!(table.among(&[target(edge.as_str(), &[])]), None);
        assert!(table.carried_by(&peer(&[edge.as_str()])).is_none());
        assert_eq!(table.named("online"), None);
        assert_eq!(table.disabled(&edge).map(|provider| &*provider.name), Some("online"));
    }

    #[test]
    fn a_provider_is_recognised_by_the_certificate_of_its_edge() {
        let table = ProviderTable::of(&[online(), skype()], Revocation::Soft);
        let found = |names: &[&str]| table.carried_by(&peer(names)).map(|p| p.name.to_string());
        assert_eq!(found(&["a.example", "federation.skype.example"]).as_deref(), Some("skype"));
        assert_eq!(found(&["msn.example"]), None);
    }

    /// lync-federation 8.3.
    #[test]
    fn addresses_of_other_domains_are_decorated() {
        let decoration = skype().decoration.unwrap();
        let written = |name: &str| decoration.address("kim", &domain(name));
        assert_eq!(written("other.example"), "kim(other.example)@msn.example");
        assert_eq!(written("live.example"), "kim@live.example");
        assert_eq!(written("msn.example"), "kim@msn.example");
    }
}
