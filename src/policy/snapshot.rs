//! The compiled policy: immutable, shared by every shard until the next one is published.

use std::hash::Hasher;
use std::ops::Range;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::contradiction::{
    Contradiction, Found, blocked_domains, judge_default_route, judge_providers, judge_switches,
    next_hops, own_domains, partner_names,
};
use super::domain::DomainTable;
use super::media::MediaCredentials;
use super::partner::{PartnerTable, Terms};
use super::provider::ProviderTable;
use super::throttle::Throttling;
use super::users::Directory;
use super::xmpp::XmppTable;
use super::{DefaultRoute, NextHop, Outgoing, PartnerKey, Pattern, PeerNames, ProviderKind, Rules};
use crate::dns::Domain;

/// One immutable compiled policy.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of this snapshot, growing by one with each publication.
    pub epoch: u64,
    pub(super) rules: Rules,
    pub(super) own: DomainTable,
    /// Next hop of each own domain, by its number in `own`.
    next_hop_of: Vec<Option<usize>>,
    internal_names: DomainTable,
    pub(super) blocked: DomainTable,
    pub(super) partners: PartnerTable,
    pub(super) providers: ProviderTable,
    pub(super) xmpp: XmppTable,
    /// Places of the XMPP gateways among the next hops: the last ones.
    gateway_hops: Range<usize>,
    default_route_terms: Option<Terms>,
    pub(super) discovered: Terms,
    pub(super) throttling: Throttling,
    directory: Arc<Directory>,
    outgoing: Outgoing,
    telling: Telling,
    media: Option<Arc<MediaCredentials>>,
    discovery_key: [u64; 2],
    /// A candidate that is asked the same questions, without effect.
    candidate: Option<Arc<Self>>,
}

/// What is told of decisions beside refusals; neither costs anything while it is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// A note for each message that passes.
    pub permits: bool,
    /// A line of the decision log for each verdict newly reached.
    pub verdicts: bool,
}

/// Compiles `rules` into the snapshot number `epoch`.
///
/// # Errors
/// Every contradiction, at most [`crate::limits::CONTRADICTIONS_MAX`] and a count of the rest.
/// Bench `policy/compile_1m`.
pub fn compile(mut rules: Rules, epoch: u64) -> Result<Snapshot, Vec<Contradiction>> {
    let mut found = Found::default();
    let own = own_domains(&rules, &mut found);
    let blocked = blocked_domains(&rules, &mut found);
    let partner_names = partner_names(&rules.partners, &own, &blocked, &mut found);
    let next_hop_of = next_hops(&rules, &own, &mut found);
    judge_switches(&rules, &mut found);
    judge_providers(&rules, &own, &partner_names, &mut found);
    judge_default_route(&rules, &mut found);
    let xmpp = XmppTable::of(&rules, &own, &blocked, &mut found);
    if let Some(contradictions) = found.finish() {
        return Err(contradictions);
    }
    let partners = PartnerTable::of(partner_names, std::mem::take(&mut rules.partners));
    rules.blocked = Vec::new();
    let first_gateway = rules.next_hops.len();
    rules.next_hops.extend(rules.xmpp.gateway_hops.iter().cloned());
    let gateway_hops = first_gateway..rules.next_hops.len();
    let throttling = Throttling::default();
    let internal_names = DomainTable::of(rules.internal_names.iter());
    let revocation = rules.federation.revocation;
    let providers = ProviderTable::of(&rules.providers, revocation);
    let default_route_terms = rules.default_route.as_ref().map(|route| route.terms(revocation));
    let discovered = Terms::discovered(rules.federation.discovered_verification, revocation);
    Ok(Snapshot {
        epoch,
        rules,
        own,
        next_hop_of,
        internal_names,
        blocked,
        partners,
        providers,
        xmpp,
        gateway_hops,
        default_route_terms,
        discovered,
        throttling,
        directory: Arc::default(),
        outgoing: Outgoing::default(),
        telling: Telling::default(),
        media: None,
        discovery_key: [0, 0],
        candidate: None,
    })
}

impl Snapshot {
    /// Sets the key of [`PartnerKey::Discovered`]: random per process, the same for all snapshots.
    ///
    /// Without a key a stranger could search for a domain that shares its key with another one.
    #[must_use]
    pub const fn keyed(mut self, key: [u64; 2]) -> Self {
        self.discovery_key = key;
        self
    }

    /// Puts `candidate` beside this policy ([`super::shadow`]). It belongs to this snapshot, so
    /// every pair of domains is decided once under both.
    #[must_use]
    pub fn shadowed_by(mut self, candidate: Option<Arc<Self>>) -> Self {
        self.candidate = candidate;
        self
    }

    /// Returns the candidate that is asked beside this policy.
    #[must_use]
    pub const fn candidate(&self) -> Option<&Arc<Self>> {
        self.candidate.as_ref()
    }

    /// Sets what single users may do; without it they may do all that the organisation may.
    #[must_use]
    pub fn with_directory(mut self, directory: Arc<Directory>) -> Self {
        self.directory = directory;
        self
    }

    /// Returns what single users may do.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Sets what partners are told, and what they are not.
    #[must_use]
    pub fn with_outgoing(mut self, outgoing: Outgoing) -> Self {
        self.outgoing = outgoing;
        self
    }

    /// Returns what partners are told, and what they are not.
    #[must_use]
    pub const fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// Sets what is told of decisions beside refusals.
    #[must_use]
    pub const fn with_telling(mut self, telling: Telling) -> Self {
        self.telling = telling;
        self
    }

    /// Returns what is told of decisions beside refusals.
    #[must_use]
    pub const fn telling(&self) -> Telling {
        self.telling
    }

    /// Sets what credentials of the A/V Edge are made from; without it none are.
    #[must_use]
    pub fn with_media(mut self, media: Option<Arc<MediaCredentials>>) -> Self {
        self.media = media;
        self
    }

    /// Returns what credentials of the A/V Edge are made from.
    #[must_use]
    pub const fn media(&self) -> Option<&Arc<MediaCredentials>> {
        self.media.as_ref()
    }

    /// Tells whether `domain`, as it stands on the wire, is one of ours. No allocation.
    #[must_use]
    pub fn is_own(&self, domain: &[u8]) -> bool {
        self.own.find_folded(domain).is_some()
    }

    /// Returns the place in [`Snapshot::next_hops`] that requests for `domain` go to.
    #[must_use]
    pub fn next_hop_for(&self, domain: &Domain) -> Option<usize> {
        let number = self.own.find(domain.as_str().as_bytes())?;
        self.next_hop_of.get(number as usize).copied().flatten()
    }

    /// Returns the same for a domain as it stands on the wire. No allocation.
    #[must_use]
    pub fn next_hop_of(&self, domain: &[u8]) -> Option<usize> {
        let number = self.own.find_folded(domain)?;
        self.next_hop_of.get(number as usize).copied().flatten()
    }

    /// Returns the places in [`Snapshot::next_hops`] of the XMPP gateways.
    #[must_use]
    pub fn gateway_hops(&self) -> Range<usize> {
        self.gateway_hops.clone()
    }

    /// Returns the next hops; XMPP gateways, to which no own domain goes, are the last ones.
    #[must_use]
    pub fn next_hops(&self) -> &[NextHop] {
        &self.rules.next_hops
    }

    /// Tells whether a peer with these names is one of the internal servers.
    #[must_use]
    pub fn is_internal_name(&self, peer: &PeerNames) -> bool {
        peer.dns_names.iter().any(|n| self.internal_names.find(n.as_str().as_bytes()).is_some())
    }

    /// Tells whether `host`, as it stands on the wire, is one of the internal servers. No
    /// allocation.
    #[must_use]
    pub fn is_internal_host(&self, host: &[u8]) -> bool {
        self.internal_names.find_folded(host).is_some()
    }

    /// Returns what it was compiled from, without `partners` and `blocked`, compiled away.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Tells whether an own domain, as it stands on the wire, has users with a hosting provider:
    /// requests for it may then leave by way of the edge. No allocation.
    #[must_use]
    pub fn shares(&self, domain: &[u8]) -> bool {
        self.providers.shares(domain)
    }

    pub(super) fn default_route(&self) -> Option<(&DefaultRoute, &Terms)> {
        self.rules.default_route.as_ref().zip(self.default_route_terms.as_ref())
    }

    /// Returns the place of the entry for exactly `pattern` among the listed partners, in the order
    /// of [`Rules::partners`]. One look-up.
    #[must_use]
    pub fn partner_place(&self, pattern: &Pattern) -> Option<usize> {
        self.partners.place(pattern).map(|index| index as usize)
    }

    /// Tells whether exactly `pattern` is blocked; what only lies below a blocked name is not.
    #[must_use]
    pub fn is_blocked(&self, pattern: &Pattern) -> bool {
        self.blocked.find_pattern(pattern).is_some()
    }

    /// Returns how many partners are listed.
    #[must_use]
    pub fn partners(&self) -> usize {
        self.partners.len()
    }

    /// Returns what a listed partner or a provider is called; `*.name` for what lies below one.
    #[must_use]
    pub fn partner_domain(&self, key: PartnerKey) -> Option<&str> {
        match key {
            PartnerKey::Listed(index) => self.partners.domain(index),
            PartnerKey::Provider(index) => self.providers.get(index).map(|p| &*p.name),
            PartnerKey::Discovered(_)
            | PartnerKey::Subdomain(_)
            | PartnerKey::DefaultRoute
            | PartnerKey::NextHop => None,
        }
    }

    /// Returns the edge of a public service, which many domains share.
    #[must_use]
    pub fn remote_edge(&self, key: PartnerKey) -> Option<&Domain> {
        match key {
            PartnerKey::Provider(index) => self
                .providers
                .get(index)
                .filter(|provider| provider.kind == ProviderKind::Public)
                .map(|provider| &provider.edge),
            PartnerKey::DefaultRoute => {
                let (route, _) = self.default_route().filter(|(route, _)| route.public)?;
                Some(&route.edge)
            }
            _ => None,
        }
    }

    /// Returns the key under this snapshot of a partner known under `older`; `None` if its entry
    /// is gone.
    #[must_use]
    pub fn carry_over(&self, older: &Self, key: PartnerKey) -> Option<PartnerKey> {
        match key {
            PartnerKey::Listed(index) => {
                let domain = older.partners.domain(index)?;
                self.partners.index(domain).map(PartnerKey::Listed)
            }
            PartnerKey::Provider(index) => {
                let name = &older.providers.get(index)?.name;
                self.providers.named(name).map(PartnerKey::Provider)
            }
            PartnerKey::DefaultRoute => self.default_route().map(|_| key),
            PartnerKey::Discovered(_) | PartnerKey::Subdomain(_) | PartnerKey::NextHop => Some(key),
        }
    }

    /// Returns the bytes that the lists occupy.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.own.memory_bytes()
            + self.internal_names.memory_bytes()
            + self.blocked.memory_bytes()
            + self.partners.memory_bytes()
            + self.providers.memory_bytes()
            + self.xmpp.memory_bytes()
    }

    /// Returns the key of a partner that no entry of its own names.
    pub(super) fn domain_key(&self, domain: &Domain) -> u64 {
        let [k0, k1] = self.discovery_key;
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        hasher.write(domain.as_str().as_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests;
