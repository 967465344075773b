//! The listed partners, compiled: a name, 12 bytes, and terms that many entries share.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;

use ipnet::IpNet;

use super::domain::DomainTable;
use super::{
    AnchorSet, Date, Listed, NameCheck, PartnerRule, Pattern, Revocation, SrvTarget, StatedLimits,
    Verification,
};
use crate::dns::Domain;

/// What is demanded of a partner and believed of it; entries that say the same share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) srv_target: SrvTarget,
    pub(super) names: NameCheck,
    pub(super) common_name: bool,
    pub(super) require_client_eku: bool,
    pub(super) anchors: Option<AnchorSet>,
    pub(super) allow_networks: Vec<IpNet>,
    pub(super) verification: Verification,
    /// The last day on which they hold.
    pub(super) expires: Option<Date>,
    pub(super) revocation: Revocation,
    pub(super) limits: StatedLimits,
}

impl Terms {
    /// Returns the terms of a discovered partner; no entry may loosen them.
    pub(super) const fn discovered(verification: Verification, revocation: Revocation) -> Self {
        Self {
            srv_target: SrvTarget::Strict,
            names: NameCheck::Fqdn,
            common_name: false,
            require_client_eku: false,
            anchors: None,
            allow_networks: Vec::new(),
            verification,
            expires: None,
            revocation,
            limits: StatedLimits::NONE,
        }
    }

    /// Tells whether a provider may speak for a partner with these terms: not where the entry
    /// trusts other anchors or demands a name that a provider's certificate does not carry.
    pub(super) const fn admit_providers(&self) -> bool {
        self.anchors.is_none() && matches!(self.names, NameCheck::Fqdn)
    }
}

/// One compiled entry.
#[derive(Clone, Copy, Debug)]
struct Entry {
    terms: u32,
    edge_at: u32,
    /// Zero: an allowed partner domain.
    edge_length: u8,
    port: u16,
}

/// A listed partner as the decision sees it.
#[derive(Clone, Debug)]
pub(super) struct Partner<'a> {
    pub(super) index: u32,
    pub(super) terms: &'a Terms,
    pub(super) kind: Listed,
    /// The entry is about the domains below its name, of which this is one.
    pub(super) below: bool,
}

/// All listed partners.
#[derive(Debug)]
pub(super) struct PartnerTable {
    names: DomainTable,
    entries: Vec<Entry>,
    edges: Vec<u8>,
    terms: Vec<Terms>,
}

impl PartnerTable {
    /// Compiles `rules`, whose domains are `names`; an entry's index is its place in the list.
    pub(super) fn of(names: DomainTable, rules: Vec<PartnerRule>) -> Self {
        let mut table = Self {
            names,
            entries: Vec::with_capacity(rules.len()),
            edges: Vec::new(),
            terms: Vec::new(),
        };
        let mut known: HashMap<Terms, u32> = HashMap::new();
        let mut last = 0;
        for rule in rules {
            let PartnerRule {
                domain: _,
                kind,
                srv_target,
                names,
                common_name,
                require_client_eku,
                anchors,
                allow_networks,
                verification,
                expires,
                version: _,
                revocation,
                limits,
            } = rule;
            let terms = Terms {
                srv_target,
                names,
                common_name,
                require_client_eku,
                anchors,
                allow_networks,
                verification,
                expires,
                revocation,
                limits,
            };
            // Most entries say what the one before says.
            if table.terms.get(last as usize) != Some(&terms) {
                last = match known.entry(terms) {
                    MapEntry::Occupied(entry) => *entry.get(),
                    MapEntry::Vacant(entry) => {
                        let number = u32::try_from(table.terms.len()).expect("fewer than 2^32");
                        table.terms.push(entry.key().clone());
                        *entry.insert(number)
                    }
                };
            }
            let entry = table.entry(last, &kind);
            table.entries.push(entry);
        }
        table.edges.shrink_to_fit();
        assert_eq!(table.names.len(), table.entries.len(), "a partner domain is listed once");
        table
    }

    fn entry(&mut self, terms: u32, kind: &Listed) -> Entry {
        match kind {
            Listed::AllowedDomain => Entry { terms, edge_at: 0, edge_length: 0, port: 0 },
            Listed::AllowedServer { edge, port } => {
                let edge_at = u32::try_from(self.edges.len()).expect("text below 4 GiB");
                let edge_length = u8::try_from(edge.as_str().len()).expect("at most 253 bytes");
                self.edges.extend_from_slice(edge.as_str().as_bytes());
                Entry { terms, edge_at, edge_length, port: *port }
            }
        }
    }

    /// Returns the entry of exactly `domain`. Allocates only for the edge of an allowed server.
    pub(super) fn find(&self, domain: &Domain) -> Option<Partner<'_>> {
        self.partner(self.names.find(domain.as_str().as_bytes())?, false)
    }

    /// Returns the narrowest entry for what lies below a name, that `domain` lies below.
    pub(super) fn find_below(&self, domain: &Domain) -> Option<Partner<'_>> {
        self.partner(self.names.find_below(domain.as_str().as_bytes())?, true)
    }

    fn partner(&self, index: u32, below: bool) -> Option<Partner<'_>> {
        let entry = self.entries.get(index as usize)?;
        let kind = if entry.edge_length == 0 {
            Listed::AllowedDomain
        } else {
            let edge = &self.edges[entry.edge_at as usize..][..usize::from(entry.edge_length)];
            let edge = Domain::parse(edge).expect("was a domain when it was stored");
            Listed::AllowedServer { edge, port: entry.port }
        };
        Some(Partner { index, terms: &self.terms[entry.terms as usize], kind, below })
    }

    /// Returns the domain of the entry with this index, `*.name` for what lies below a name.
    pub(super) fn domain(&self, index: u32) -> Option<&str> {
        self.names.name(index)
    }

    /// Returns the index of the entry with this name, as [`PartnerTable::domain`] tells it.
    pub(super) fn index(&self, domain: &str) -> Option<u32> {
        self.names.find(domain.as_bytes())
    }

    /// Returns the index of the entry for exactly `pattern`.
    pub(super) fn place(&self, pattern: &Pattern) -> Option<u32> {
        self.names.find_pattern(pattern)
    }

    /// Returns the number of an entry's terms in [`PartnerTable::terms`].
    pub(super) fn terms_of(&self, index: u32) -> Option<u32> {
        self.entries.get(index as usize).map(|entry| entry.terms)
    }

    /// Returns all terms, each once.
    pub(super) fn terms(&self) -> &[Terms] {
        &self.terms
    }

    /// Returns how many partners are listed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes this table occupies, without what single terms hold.
    pub(super) fn memory_bytes(&self) -> usize {
        self.names.memory_bytes()
            + self.entries.capacity() * size_of::<Entry>()
            + self.edges.capacity()
            + self.terms.capacity() * size_of::<Terms>()
    }
}
