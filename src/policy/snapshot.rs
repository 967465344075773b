//! The compiled policy: immutable, shared by every shard until the next one is published.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::domain::DomainTable;
use super::partner::{PartnerTable, Terms};
use super::{Listed, NextHop, PartnerKey, PartnerRule, PeerNames, Rules, SrvTarget};
use crate::dns::Domain;
use crate::limits;

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
    pub(super) discovered: Terms,
    discovery_key: [u64; 2],
}

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
    #[error("own domain {domain} is blocked (blocked[{index}])")]
    OwnDomainBlocked {
        /// Which.
        domain: Domain,
        /// Place in the blocked list.
        index: usize,
    },
    /// Own and a partner.
    #[error("own domain {domain} is listed as a partner (partner[{index}])")]
    OwnDomainAsPartner {
        /// Which.
        domain: Domain,
        /// Place in the partner list.
        index: usize,
    },
    /// Blocked twice.
    #[error("{domain} is blocked twice (blocked[{first}] and blocked[{second}])")]
    BlockedTwice {
        /// Which.
        domain: Domain,
        /// First place.
        first: u32,
        /// Second place.
        second: usize,
    },
    /// A partner listed twice.
    #[error("partner {domain} is listed twice (partner[{first}] and partner[{second}])")]
    PartnerTwice {
        /// Which.
        domain: Domain,
        /// First place.
        first: u32,
        /// Second place.
        second: usize,
    },
    /// Allowed and blocked.
    #[error("{domain} is both allowed (partner[{allowed}]) and blocked (blocked[{blocked}])")]
    AllowedAndBlocked {
        /// Which.
        domain: Domain,
        /// Place in the partner list.
        allowed: usize,
        /// Place in the blocked list.
        blocked: u32,
    },
    /// A list of SRV targets without a name.
    #[error("partner {0} accepts no SRV target: its list of names is empty")]
    NoSrvTargetNames(Domain),
    /// A rule about SRV targets where no SRV is asked.
    #[error("partner {0} states its edge, so a rule about SRV targets cannot apply to it")]
    SrvTargetOfAllowedServer(Domain),
    /// Port zero.
    #[error("{0} has port 0")]
    PortZero(Domain),
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
    /// Connections out of range.
    #[error("{what} has {connections} connections; 1 to {max} are possible",
        max = limits::CONNECTIONS_PER_PARTNER_MAX)]
    Connections {
        /// Whose.
        what: String,
        /// How many were stated.
        connections: u8,
    },
    /// Discovery with a rate of zero.
    #[error("discovered partners may send 0 messages a second: switch discovery off instead")]
    RateZero,
    /// More than are told.
    #[error("and {0} more")]
    More(usize),
}

/// Compiles `rules` into the snapshot number `epoch`.
///
/// # Errors
/// Every contradiction, at most [`limits::CONTRADICTIONS_MAX`] and a count of the rest.
/// Bench `policy/compile_1m`.
pub fn compile(mut rules: Rules, epoch: u64) -> Result<Snapshot, Vec<Contradiction>> {
    let mut found = Found::default();
    let own = own_domains(&rules, &mut found);
    let blocked = blocked_domains(&rules, &own, &mut found);
    let partner_names = partner_names(&rules.partners, &own, &blocked, &mut found);
    let next_hop_of = next_hops(&rules, &own, &mut found);
    judge_switches(&rules, &mut found);
    if let Some(contradictions) = found.finish() {
        return Err(contradictions);
    }
    let partners = PartnerTable::of(partner_names, std::mem::take(&mut rules.partners));
    rules.blocked = Vec::new();
    let internal_names = DomainTable::of(rules.internal_names.iter());
    let discovered = Terms::discovered(rules.federation.revocation);
    Ok(Snapshot {
        epoch,
        rules,
        own,
        next_hop_of,
        internal_names,
        blocked,
        partners,
        discovered,
        discovery_key: [0, 0],
    })
}

/// Contradictions as they are found, up to the bound.
#[derive(Default)]
struct Found {
    told: Vec<Contradiction>,
    more: usize,
}

impl Found {
    fn push(&mut self, contradiction: Contradiction) {
        if self.told.len() < limits::CONTRADICTIONS_MAX {
            self.told.push(contradiction);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Option<Vec<Contradiction>> {
        if self.more > 0 {
            self.told.push(Contradiction::More(self.more));
        }
        (!self.told.is_empty()).then_some(self.told)
    }
}

fn own_domains(rules: &Rules, found: &mut Found) -> DomainTable {
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

fn blocked_domains(rules: &Rules, own: &DomainTable, found: &mut Found) -> DomainTable {
    let mut blocked = DomainTable::with_room_for(rules.blocked.len());
    for (index, domain) in rules.blocked.iter().enumerate() {
        if own.find(domain.as_str().as_bytes()).is_some() {
            found.push(Contradiction::OwnDomainBlocked { domain: domain.clone(), index });
        }
        if let Err(first) = blocked.insert(domain) {
            let domain = domain.clone();
            found.push(Contradiction::BlockedTwice { domain, first, second: index });
        }
    }
    blocked
}

fn partner_names(
    partners: &[PartnerRule],
    own: &DomainTable,
    blocked: &DomainTable,
    found: &mut Found,
) -> DomainTable {
    let mut names = DomainTable::with_room_for(partners.len());
    for (index, partner) in partners.iter().enumerate() {
        let domain = &partner.domain;
        let name = domain.as_str().as_bytes();
        if own.find(name).is_some() {
            found.push(Contradiction::OwnDomainAsPartner { domain: domain.clone(), index });
        }
        if let Some(at) = blocked.find(name) {
            let (domain, blocked) = (domain.clone(), at);
            found.push(Contradiction::AllowedAndBlocked { domain, allowed: index, blocked });
        }
        if let Err(first) = names.insert(domain) {
            let domain = domain.clone();
            found.push(Contradiction::PartnerTwice { domain, first, second: index });
        }
        match (&partner.kind, &partner.srv_target) {
            (Listed::AllowedDomain, SrvTarget::Names(names)) if names.is_empty() => {
                found.push(Contradiction::NoSrvTargetNames(domain.clone()));
            }
            (Listed::AllowedServer { port: 0, .. }, _) => {
                found.push(Contradiction::PortZero(domain.clone()));
            }
            (Listed::AllowedServer { .. }, SrvTarget::SameDomain | SrvTarget::Names(_)) => {
                found.push(Contradiction::SrvTargetOfAllowedServer(domain.clone()));
            }
            _ => {}
        }
    }
    names.shrink();
    names
}

/// Returns the next hop of each own domain, by its number in `own`.
fn next_hops(rules: &Rules, own: &DomainTable, found: &mut Found) -> Vec<Option<usize>> {
    let mut stated: Vec<Option<usize>> = vec![None; own.len()];
    let mut rest: Option<usize> = None;
    for (index, next_hop) in rules.next_hops.iter().enumerate() {
        if next_hop.port == 0 {
            found.push(Contradiction::PortZero(next_hop.name.clone()));
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

fn judge_switches(rules: &Rules, found: &mut Found) {
    let federation = &rules.federation;
    judge_connections("a partner", federation.connections_per_partner, found);
    if federation.discovery && federation.messages_per_s == 0 {
        found.push(Contradiction::RateZero);
    }
}

fn judge_connections(what: &str, connections: u8, found: &mut Found) {
    if !(1..=limits::CONNECTIONS_PER_PARTNER_MAX).contains(&usize::from(connections)) {
        found.push(Contradiction::Connections { what: what.to_owned(), connections });
    }
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

    /// Returns the next hops.
    #[must_use]
    pub fn next_hops(&self) -> &[NextHop] {
        &self.rules.next_hops
    }

    /// Tells whether a peer with these names is one of the internal servers.
    #[must_use]
    pub fn is_internal_name(&self, peer: &PeerNames) -> bool {
        peer.dns_names.iter().any(|n| self.internal_names.find(n.as_str().as_bytes()).is_some())
    }

    /// Returns what it was compiled from, without `partners` and `blocked`, compiled away.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns how many partners are listed.
    #[must_use]
    pub fn partners(&self) -> usize {
        self.partners.len()
    }

    /// Returns the domain of a listed partner.
    #[must_use]
    pub fn partner_domain(&self, key: PartnerKey) -> Option<&str> {
        match key {
            PartnerKey::Listed(index) => self.partners.domain(index),
            PartnerKey::Discovered(_) | PartnerKey::NextHop => None,
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
            PartnerKey::Discovered(_) | PartnerKey::NextHop => Some(key),
        }
    }

    /// Returns the bytes that the lists occupy.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.own.memory_bytes()
            + self.internal_names.memory_bytes()
            + self.blocked.memory_bytes()
            + self.partners.memory_bytes()
    }

    pub(super) fn discovered_key(&self, domain: &Domain) -> PartnerKey {
        let [k0, k1] = self.discovery_key;
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        hasher.write(domain.as_str().as_bytes());
        PartnerKey::Discovered(hasher.finish())
    }
}

#[cfg(test)]
mod tests;
