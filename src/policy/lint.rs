//! What a policy probably does not mean: it holds, and somebody should look.
//!
//! Each kind of finding has a code that never changes its meaning, so that a pipeline can allow it.

use std::collections::BTreeMap;

use super::domain::DomainTable;
use super::{
    Date, Listed, PartnerRule, Pattern, Place, ProviderKind, ProviderRule, Rules, Verification,
};
use crate::dns::Domain;
use crate::limits;

mod xmpp;

/// Days before the end of an entry from which on it is told.
const EXPIRY_NOTICE_DAYS: u32 = 30;

/// What the rules themselves do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The day it is.
    pub today: Date,
    /// Several edges serve together, and peers find a living one by DNS (`plan.topology`).
    pub pool_by_dns: bool,
    /// Our certificate for partners allows the clientAuth usage, as far as that is known.
    pub client_usage: Option<bool>,
    /// What of XMPP this process serves.
    pub xmpp: XmppServed,
}

/// What of XMPP a process serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XmppServed {
    /// Nothing.
    #[default]
    Nothing,
    /// The gateway alone, whose edges are other processes.
    GatewayAlone,
    /// The proxy, with or without a gateway.
    Proxy,
}

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable name of the kind.
    pub code: &'static str,
    /// The entry to look at.
    pub place: Place,
    /// What is the case.
    pub sentence: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// Codes, with what each of them means.
const CODES: [(&str, &str); 21] = [
    ("W101", "nobody is allowed and discovery is off"),
    ("W102", "an entry that another one makes useless"),
    ("W103", "an allowed domain under a blocked pattern"),
    ("W104", "a provider behind a blocked domain"),
    ("W105", "an entry that has expired"),
    ("W106", "an entry that expires soon"),
    ("W107", "a provider whose announced end is past"),
    ("W108", "an allowed pattern as wide as a registry"),
    ("W109", "strangers whose word on their users is always believed"),
    ("W110", "an entry that lets a partner be anywhere"),
    ("W111", "a partner that is reached at a provider's edge"),
    ("W112", "a partner that does not fail over in a pool balanced by DNS"),
    ("W113", "a provider that wants a usage our certificate lacks"),
    ("W114", "a hosting provider whose domains nothing lists"),
    ("W115", "an XMPP partner whose stanzas may pass in the clear"),
    ("W116", "an XMPP partner of a type that the guide does not recommend"),
    ("W117", "XMPP partners where nothing of XMPP is served"),
    ("W118", "an XMPP listener without any partner"),
    ("W119", "an XMPP partner whose required SASL dialback replaces"),
    ("W120", "an XMPP partner that prefers a SIP way there is not"),
    ("W121", "a gateway that only one of stanzas and requests can choose"),
];

/// Returns the codes with their meanings, in Markdown.
#[must_use]
pub fn lint_reference() -> String {
    let mut text = "# Warnings about the policy\n\n| code | meaning |\n| --- | --- |\n".to_owned();
    for (code, meaning) in CODES {
        text.push_str(&format!("| {code} | {meaning} |\n"));
    }
    text
}

/// Returns what should be looked at, in the order of codes and entries.
///
/// `rules`: as stated, not those of a snapshot. Cold: a pass over the lists.
#[must_use]
pub fn lint(rules: &Rules, surroundings: &Surroundings) -> Vec<Warning> {
    let mut linter = Linter {
        rules,
        surroundings,
        blocked: table(rules.blocked.iter(), rules.blocked.len()),
        found: BTreeMap::new(),
    };
    linter.nobody();
    linter.blocked();
    for (index, partner) in (0_u32..).zip(&rules.partners) {
        linter.partner(Place::Partner(index), partner);
    }
    for (index, provider) in (0_u16..).zip(&rules.providers).filter(|(_, rule)| rule.enabled) {
        linter.provider(Place::Provider(index), provider);
    }
    linter.strangers();
    xmpp::lint(&mut linter);
    linter.finish()
}

fn table<'a>(patterns: impl Iterator<Item = &'a Pattern>, count: usize) -> DomainTable {
    let mut table = DomainTable::with_room_for(count);
    for pattern in patterns {
        // A second of the same is a contradiction, told elsewhere.
        let _ = table.insert_pattern(pattern);
    }
    table
}

/// Warnings of one kind: those that are told, and how many more there are.
#[derive(Default)]
struct Told {
    warnings: Vec<Warning>,
    more: usize,
}

struct Linter<'a> {
    rules: &'a Rules,
    surroundings: &'a Surroundings,
    blocked: DomainTable,
    found: BTreeMap<&'static str, Told>,
}

impl Linter<'_> {
    fn warn(&mut self, code: &'static str, place: Place, sentence: String, advice: &'static str) {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "{code} is declared");
        let told = self.found.entry(code).or_default();
        if told.warnings.len() < limits::LINT_WARNINGS_MAX {
            told.warnings.push(Warning { code, place, sentence, advice });
        } else {
            told.more += 1;
        }
    }

    fn finish(self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for told in self.found.into_values() {
            let last = told.warnings.last().cloned();
            warnings.extend(told.warnings);
            if let Some(last) = last.filter(|_| told.more > 0) {
                let sentence = format!("and {} more like it", told.more);
                warnings.push(Warning { sentence, ..last });
            }
        }
        warnings
    }

    fn nobody(&mut self) {
        let rules = self.rules;
        let today = self.surroundings.today;
        let somebody = rules.federation.discovery
            || rules.default_route.is_some()
            || rules.providers.iter().any(|provider| provider.enabled)
            || rules.partners.iter().any(|partner| partner.expires.is_none_or(|day| day >= today))
            || !rules.xmpp.partners.is_empty();
        if rules.federation.enabled && !somebody {
            let sentence = "federation is on, but nobody is allowed and discovery is off";
            let advice = "list a partner, enable a provider, or set federation.discovery";
            self.warn("W101", Place::Key("federation.discovery"), sentence.to_owned(), advice);
        }
    }

    /// Returns the blocked entry that covers all that `pattern` does, and is not the same.
    fn blocked_above(&self, pattern: &Pattern) -> Option<u32> {
        self.blocked.find_below(pattern.name().as_str().as_bytes())
    }

    fn blocked(&mut self) {
        let advice = "remove the narrower entry";
        for (index, pattern) in (0_u32..).zip(&self.rules.blocked) {
            if let Some(wider) = self.blocked_above(pattern) {
                let wider = self.blocked.name(wider).unwrap_or_default().to_owned();
                let sentence = format!("{pattern} is blocked, and so is all of {wider}");
                self.warn("W102", Place::Blocked(index), sentence, advice);
            }
        }
    }

    fn partner(&mut self, place: Place, partner: &PartnerRule) {
        let pattern = &partner.domain;
        if let Some(wider) = self.blocked_above(pattern) {
            let wider = self.blocked.name(wider).unwrap_or_default();
            let sentence = format!("{pattern} is allowed, but all of {wider} is blocked");
            let advice = "remove one of the two: blocked wins";
            self.warn("W103", place, sentence, advice);
        }
        if let Some(day) = partner.expires {
            self.expiry(place, &pattern.to_string(), day);
        }
        if let Pattern::Below(name) = pattern
            && is_registry(name)
        {
            let sentence = format!("{pattern} allows everybody who registers a name there");
            self.warn("W108", place, sentence, "list the partners one by one");
        }
        let everywhere = partner.allow_networks.iter().any(|network| network.prefix_len() == 0);
        if everywhere {
            let sentence = format!("the edge of {pattern} may have any address, our own included");
            self.warn("W110", place, sentence, "state the networks its edge is in");
        }
        if let Listed::AllowedServer { edge, .. } = &partner.kind {
            self.stated_edge(place, pattern, edge);
        }
        let stays = partner.version.is_some_and(|version| !version.follows_dns_balancing());
        if stays && self.surroundings.pool_by_dns {
            let sentence = format!(
                "{pattern} stays with the first edge that answered, and fails with it: its \
                 version does not follow balancing by DNS"
            );
            let advice = "put a hardware balancer before the pool, or bear it";
            self.warn("W112", place, sentence, advice);
        }
    }

    fn stated_edge(&mut self, place: Place, pattern: &Pattern, edge: &Domain) {
        let mut providers = self.rules.providers.iter().filter(|provider| provider.enabled);
        if let Some(provider) = providers.find(|provider| provider.edge == *edge) {
            let sentence = format!(
                "{pattern} is reached at {edge}, the edge of provider {}: one connection cannot \
                 carry both",
                provider.name
            );
            let advice = "make it an allowed domain, or name it in the provider's domains";
            self.warn("W111", place, sentence, advice);
        }
    }

    fn expiry(&mut self, place: Place, what: &str, day: Date) {
        let today = self.surroundings.today;
        if day < today {
            let sentence = format!("{what} was allowed until {day} and is refused");
            self.warn("W105", place, sentence, "remove the entry, or extend it");
        } else if day.days_since(today) <= EXPIRY_NOTICE_DAYS {
            let sentence = format!("{what} is allowed until {day}");
            self.warn("W106", place, sentence, "extend the entry in time");
        }
    }

    fn provider(&mut self, place: Place, provider: &ProviderRule) {
        let name = &provider.name;
        for domain in provider.stated_domains().chain([&provider.edge]) {
            if self.blocked.find_covering(domain.as_str().as_bytes()).is_some() {
                let sentence = format!("provider {name} is enabled, but {domain} is blocked");
                self.warn("W104", place, sentence, "disable the provider, or unblock the domain");
            }
        }
        if let Some(day) = provider.ends {
            self.expiry(place, &format!("provider {name}"), day);
        }
        if let Some(day) = provider.announced_end.filter(|day| *day < self.surroundings.today) {
            let sentence = format!("provider {name} announced its end for {day}");
            self.warn("W107", place, sentence, "disable the provider");
        }
        if provider.kind == ProviderKind::Public && provider.verification == Verification::Always {
            let sentence = format!(
                "provider {name} is open to everybody, and its word on its users is always believed"
            );
            self.warn("W109", place, sentence, "set verification = \"never\" or \"source\"");
        }
        if provider.allow_networks.iter().any(|network| network.prefix_len() == 0) {
            let sentence = format!("the edge of provider {name} may have any address");
            self.warn("W110", place, sentence, "state the networks its edge is in");
        }
        if provider.needs_client_eku && self.surroundings.client_usage == Some(false) {
            let sentence = format!(
                "provider {name} demands the clientAuth usage, which our certificate lacks"
            );
            self.warn("W113", place, sentence, "ask for a certificate with both usages");
        }
        let unlisted = !self.rules.federation.discovery
            && self.rules.partners.is_empty()
            && provider.stated_domains().next().is_none()
            && provider.shared.is_empty();
        if provider.kind == ProviderKind::Hosting && unlisted {
            let sentence = format!(
                "provider {name} is enabled, but without discovery its domains must be listed, \
                 and none is"
            );
            self.warn("W114", place, sentence, "list its domains as partners");
        }
    }

    fn strangers(&mut self) {
        let federation = &self.rules.federation;
        if federation.discovery && federation.discovered_verification == Verification::Always {
            let sentence = "everybody with an SRV record may say who their users are, unverified";
            let place = Place::Key("federation.discovered_verification");
            self.warn("W109", place, sentence.to_owned(), "set it to \"source\" or \"never\"");
        }
        let Some(route) = &self.rules.default_route else { return };
        if route.verification == Verification::Always {
            let sentence =
                format!("{} speaks for every domain, and is always believed", route.edge);
            let place = Place::DefaultRoute;
            self.warn("W109", place, sentence, "set verification = \"source\" or \"never\"");
        }
        if route.allow_networks.iter().any(|network| network.prefix_len() == 0) {
            let sentence = "the default route may have any address".to_owned();
            self.warn("W110", Place::DefaultRoute, sentence, "state the networks it is in");
        }
    }
}

/// Guesses whether strangers register names directly below `name`: a top-level domain, or a
/// generic word below a country's (`co.uk`, `com.au`).
fn is_registry(name: &Domain) -> bool {
    const GENERIC: [&str; 9] = ["ac", "co", "com", "edu", "gov", "net", "ne", "or", "org"];
    match name.as_str().split_once('.') {
        None => true,
        Some((word, country)) => country.len() == 2 && GENERIC.contains(&word),
    }
}

#[cfg(test)]
mod tests;
