//! What a reload would change, in sentences: who is cut off, who gets in, which switches and next
//! hops change, and which keys would refuse it.
//!
//! Who gets in is not guessed from the lists: both policies are asked
//! ([`crate::policy::Snapshot::outbound`]) about each domain that the two say different things of.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use serde::Serialize;

use super::convert;
use crate::config::lists::{PartnerList, PartnerRow, RowTerms};
use crate::config::{self, Change, Config, Reload};
use crate::dns::{DnsView, Domain, Question, SharedAnswer};
use crate::policy::{Decision, Outbound, PartnerRule, Pattern, RefusalRule, Rules, Snapshot};
use crate::time::Now;

mod media;
mod xmpp;

/// Names told of one group; the rest is told by number.
const NAMES_TOLD_MAX: usize = 10;
/// Keys told outside the lists; the rest is told by number.
const KEYS_TOLD_MAX: usize = 50;
/// Bytes of a value that are told.
const VALUE_BYTES_TOLD_MAX: usize = 60;

/// A configuration with the policy compiled from it.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// As it was read.
    pub config: &'a Config,
    /// As it decides.
    pub policy: &'a Snapshot,
}

/// How many, and the first of them by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    /// All of them.
    pub count: usize,
    /// The first ones in alphabetical order.
    pub first: Vec<String>,
}

impl Named {
    /// Adds one, in any order.
    fn push(&mut self, name: &str) {
        self.count += 1;
        self.keep(name);
    }

    /// Adds all of `other`.
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        other.first.iter().for_each(|name| self.keep(name));
    }

    fn keep(&mut self, name: &str) {
        let place = self.first.partition_point(|held| held.as_str() < name);
        if place < NAMES_TOLD_MAX {
            self.first.insert(place, name.to_owned());
            self.first.truncate(NAMES_TOLD_MAX);
        }
    }

    /// Returns the names as the subject of a sentence, with the verb that fits their number.
    fn subject(&self, one: &str, many: &str) -> String {
        let names = self.first.join(", ");
        match self.count - self.first.len() {
            0 if self.count == 1 => format!("{names} {one}"),
            0 => format!("{names} {many}"),
            more => format!("{names} and {more} more ({} in all) {many}", self.count),
        }
    }
}

/// What a reload would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Why it would be refused as a whole; then nothing of the rest would happen.
    pub refused_by: Option<String>,
    /// Domains that lose what they have.
    pub cut_off: Named,
    /// Domains that can be talked to from then on.
    pub let_in: Named,
    /// Domains that stay under other terms.
    pub terms_changed: Named,
    /// All of it in sentences; none if nothing changes.
    pub sentences: Vec<String>,
}

/// Returns what going from `old` to `new` changes at `now`: expired entries count as such.
///
/// Cost: a comparison for each listed domain, a look-up for each that moved and two decisions for
/// each that changed. What is told is bounded. Bench `policy/difference_1m`.
#[must_use]
pub fn difference(old: &Side<'_>, new: &Side<'_>, now: Now) -> Difference {
    let mut found = Difference::default();
    if says_the_same(old.config, new.config) {
        return found;
    }
    let changes = config::difference(old.config, new.config);
    if let Some(refusal) = only_by_restart(old.config, new.config, &changes) {
        let sentence = format!("the reload would be refused: only a restart changes {refusal}");
        found.sentences.push(sentence);
        found.refused_by = Some(refusal);
    }
    own_domains(old, new, &mut found.sentences);
    partners(old, new, now, &mut found);
    strangers(old, new, &mut found.sentences);
    xmpp::partners(old, new, now, &mut found);
    next_hops(old, new, &mut found.sentences);
    if old.config.directory != new.config.directory {
        found.sentences.push("what single users may do changes".to_owned());
    }
    media::files(old.config, new.config, &mut found.sentences);
    keys(old.config, new.config, &changes, &mut found.sentences);
    found
}

/// Tells whether two configurations are the same, with what they read from other files.
fn says_the_same(old: &Config, new: &Config) -> bool {
    old.source.text == new.source.text
        && old.secrets == new.secrets
        && old.credentials_secrets == new.credentials_secrets
        && old.av_secrets == new.av_secrets
        && old.pool == new.pool
        && old.partner_list == new.partner_list
        && old.blocked_list == new.blocked_list
        && old.directory == new.directory
}

/// Returns what only a restart changes, with its places; `None` if a reload can take it all.
#[must_use]
pub(super) fn only_by_restart(old: &Config, new: &Config, changes: &[Change]) -> Option<String> {
    let mut keys: Vec<String> = changes
        .iter()
        .filter(|change| change.reload == Reload::Restart)
        .map(|change| format!("{} ({})", change.key, change.whereabouts))
        .collect();
    if old.secrets != new.secrets {
        keys.push("the secrets of the pool".to_owned());
    }
    (!keys.is_empty()).then(|| keys.join(", "))
}

fn own_domains(old: &Side<'_>, new: &Side<'_>, sentences: &mut Vec<String>) {
    let of = |side: &Side<'_>| side.config.edge.domains.iter().cloned().collect::<BTreeSet<_>>();
    let (before, after) = (of(old), of(new));
    let named = |names: std::collections::btree_set::Difference<'_, Domain>| {
        let mut named = Named::default();
        names.for_each(|name| named.push(name.as_str()));
        named
    };
    let gained = named(after.difference(&before));
    if gained.count > 0 {
        sentences.push(gained.subject("becomes an own domain", "become own domains"));
    }
    let lost = named(before.difference(&after));
    if lost.count > 0 {
        let (one, many) = ("is no own domain any more", "are no own domains any more");
        sentences.push(format!("{}: its users are cut off", lost.subject(one, many)));
    }
}

/// By what a domain that is not refused comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    /// An entry for it, or for everything below a name it lies below.
    Entry,
    /// The default route, which takes what nothing else names.
    DefaultRoute,
    /// Discovery, if DNS names its edge.
    Discovery,
    /// A provider, if DNS names one.
    Provider,
}

/// What becomes of single domains, found one by one.
#[derive(Default)]
struct Fates {
    cut_off: BTreeMap<RefusalRule, Named>,
    let_in: Named,
    moved: BTreeMap<(By, By), Named>,
}

impl Fates {
    fn judge(&mut self, before: &Entries<'_>, after: &Entries<'_>, now: Now, domain: &Pattern) {
        let name = domain.to_string();
        match (before.stance(now, domain), after.stance(now, domain)) {
            (Ok(_), Err(rule)) => self.cut_off.entry(rule).or_default().push(&name),
            (Err(_), Ok(_)) => self.let_in.push(&name),
            (Ok(was), Ok(is)) if was != is || !before.says_like(after, domain) => {
                self.moved.entry((was, is)).or_default().push(&name);
            }
            (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
        }
    }

    fn tell(self, found: &mut Difference) {
        for (rule, names) in self.cut_off {
            let why = why(rule);
            found.sentences.push(format!("{}: {why}", names.subject("is cut off", "are cut off")));
            found.cut_off.add(&names);
        }
        if self.let_in.count > 0 {
            found.sentences.push(self.let_in.subject("gets in", "get in"));
        }
        found.let_in = self.let_in;
        for ((was, is), names) in self.moved {
            found.sentences.push(other_terms(was, is, &names));
            found.terms_changed.add(&names);
        }
    }
}

fn partners(old: &Side<'_>, new: &Side<'_>, now: Now, found: &mut Difference) {
    let (before, after) = (Entries::of(old), Entries::of(new));
    let mut fates = Fates::default();
    let mut judged = HashSet::new();
    for domain in candidates(&before, &after) {
        if judged.insert(domain) {
            fates.judge(&before, &after, now, domain);
        }
    }
    fates.tell(found);
}

/// Returns the domains that the two may decide differently on, some more than once: those whose
/// entries differ, those listed below a pattern that differs, or all that are listed where
/// something changes that all of them rest on.
fn candidates<'a>(before: &Entries<'a>, after: &Entries<'a>) -> Vec<&'a Pattern> {
    let common = {
        let (old, new) = (before.policy.rules(), after.policy.rules());
        let switches = |rules: &Rules| (rules.federation.enabled, rules.federation.discovery);
        switches(old) != switches(new)
            || old.own_domains != new.own_domains
            || old.default_route != new.default_route
    };
    let mut candidates = Vec::new();
    for (one, other) in [(before, after), (after, before)] {
        let blocked = one.blocked();
        candidates.extend(blocked.filter(|domain| !other.policy.is_blocked(domain)));
        let mut near = 0;
        for entry in one.iter() {
            let place = other.find(entry.domain(), near);
            near = place.map_or(near, |place| place + 1);
            let alike = match place.and_then(|place| other.at(place)) {
                Some(same) => entry.says_like(one.config, &same, other.config),
                None => one.says_like(other, entry.domain()),
            };
            if common || !alike {
                candidates.push(entry.domain());
            }
        }
    }
    let patterns = candidates.iter().filter(|domain| domain.exact().is_none());
    let above_some: HashSet<Domain> = patterns.map(|pattern| pattern.name().clone()).collect();
    if !above_some.is_empty() {
        let listed = before.iter().chain(after.iter()).map(|entry| entry.domain());
        let below = |domain: &&Pattern| above(domain.name()).any(|name| above_some.contains(&name));
        candidates.extend(listed.filter(below));
    }
    candidates
}

/// Tells what changes for domains that are not refused before or after.
fn other_terms(was: By, is: By, names: &Named) -> String {
    let (one, many) = match (was, is) {
        (By::Entry, By::Entry) => ("stays, under a changed entry", "stay, under changed entries"),
        (By::Entry, By::Discovery) => (
            "is no longer listed and stays as a discovered partner, with the limits of one",
            "are no longer listed and stay as discovered partners, with the limits of such",
        ),
        (By::Entry, By::DefaultRoute) => (
            "is no longer listed and goes by the default route",
            "are no longer listed and go by the default route",
        ),
        (By::Entry, By::Provider) => (
            "is no longer listed and stays only if DNS names an enabled provider",
            "are no longer listed and stay only if DNS names an enabled provider",
        ),
        (By::Discovery, By::Entry) => (
            "is listed from then on and loses the limits of a discovered partner",
            "are listed from then on and lose the limits of discovered partners",
        ),
        (By::DefaultRoute, By::Entry) => (
            "is listed from then on and leaves the default route",
            "are listed from then on and leave the default route",
        ),
        (By::Provider, By::Entry) => (
            "is listed from then on; until then only a provider can speak for it",
            "are listed from then on; until then only a provider can speak for them",
        ),
        // Only listed domains are asked about, so these have lost an entry that was refused.
        (_, By::DefaultRoute) => ("goes by the default route", "go by the default route"),
        (_, By::Discovery) => ("is left to discovery", "are left to discovery"),
        (_, By::Provider) => (
            "stays only if DNS names an enabled provider",
            "stay only if DNS names an enabled provider",
        ),
    };
    names.subject(one, many)
}

/// What a side lists, in the order in which its policy numbers the partners.
struct Entries<'a> {
    config: &'a Config,
    policy: &'a Snapshot,
    list: Option<&'a PartnerList>,
}

impl<'a> Entries<'a> {
    fn of(side: &Side<'a>) -> Self {
        let list = side.config.partner_list.as_deref();
        Self { config: side.config, policy: side.policy, list }
    }

    fn at(&self, place: usize) -> Option<Entry<'a>> {
        let stated = &self.config.partners;
        let Some(row) = place.checked_sub(stated.len()) else {
            return stated.get(place).map(Entry::Stated);
        };
        let list = self.list?;
        let row = list.rows.get(row)?;
        Some(Entry::Row(row, list.terms.get(row.terms as usize)?))
    }

    fn iter(&self) -> impl Iterator<Item = Entry<'a>> {
        (0..).map_while(|place| self.at(place))
    }

    /// Returns the place of the entry for exactly `domain`. It is at `near` where nothing came or
    /// went since the last one that was found; else it is looked up.
    fn find(&self, domain: &Pattern, near: usize) -> Option<usize> {
        if self.at(near).is_some_and(|entry| entry.domain() == domain) {
            return Some(near);
        }
        self.policy.partner_place(domain)
    }

    /// Returns the entry that counts for a domain: its own, else the narrowest that covers it.
    fn entry(&self, domain: &Pattern) -> Option<Entry<'a>> {
        let own = self.policy.partner_place(domain);
        let covering = || {
            above(domain.name()).find_map(|name| self.policy.partner_place(&Pattern::Below(name)))
        };
        self.at(own.or_else(covering)?)
    }

    fn blocked(&self) -> impl Iterator<Item = &'a Pattern> {
        let rows = self.config.blocked_list.iter().flat_map(|list| &list.rows);
        let stated = self.config.blocked.iter().map(|blocked| &blocked.domain);
        stated.chain(rows.map(|(domain, _)| domain))
    }

    /// Tells whether the two say the same of a domain, or both nothing.
    fn says_like(&self, other: &Self, domain: &Pattern) -> bool {
        match (self.entry(domain), other.entry(domain)) {
            (None, None) => true,
            (Some(one), Some(two)) => one.says_like(self.config, &two, other.config),
            _ => false,
        }
    }

    /// Returns what a policy says of `domain` before any look-up: the refusal, or by what it comes
    /// in.
    fn stance(&self, now: Now, domain: &Pattern) -> Result<By, RefusalRule> {
        if let Some(Decision::Refuse(refusal)) = asked(self, now, domain) {
            return Err(refusal.rule());
        }
        Ok(if self.entry(domain).is_some() {
            By::Entry
        } else if self.config.default_route.edge.is_some() {
            By::DefaultRoute
        } else if self.config.federation.discovery {
            By::Discovery
        } else {
            By::Provider
        })
    }
}

/// A listed partner as it is written.
#[derive(Clone, Copy)]
enum Entry<'a> {
    Stated(&'a config::Partner),
    Row(&'a PartnerRow, &'a RowTerms),
}

impl<'a> Entry<'a> {
    const fn domain(&self) -> &'a Pattern {
        match self {
            Self::Stated(partner) => &partner.domain,
            Self::Row(row, _) => &row.domain,
        }
    }

    /// Tells whether it says of its domain what `other` says of its own.
    fn says_like(&self, config: &Config, other: &Self, of: &Config) -> bool {
        if let (Self::Row(row, terms), Self::Row(other, others)) = (self, other)
            && (&row.edge, row.port) == (&other.edge, other.port)
            && terms == others
            && config.tls.revocation == of.tls.revocation
        {
            return true;
        }
        // A set of anchors is its files, and those are compared.
        let rule = PartnerRule { domain: other.domain().clone(), ..self.rule(config) };
        rule == other.rule(of) && self.anchors() == other.anchors()
    }

    fn rule(&self, config: &Config) -> PartnerRule {
        match self {
            Self::Stated(partner) => convert::partner_rule(config, partner, None),
            Self::Row(row, terms) => convert::row_rule(config, row, terms),
        }
    }

    fn anchors(&self) -> BTreeSet<&'a PathBuf> {
        match self {
            Self::Stated(partner) => partner.trust.iter().collect(),
            Self::Row(..) => BTreeSet::new(),
        }
    }
}

/// Returns the names that a domain lies below, the narrowest first.
fn above(domain: &Domain) -> impl Iterator<Item = Domain> {
    let text = domain.as_str();
    let dots = memchr::memchr_iter(b'.', text.as_bytes());
    dots.filter_map(|dot| Domain::parse(text.get(dot + 1..)?.as_bytes()).ok())
}

/// Asks a policy about `domain`; `None` where it cannot be asked.
fn asked(side: &Entries<'_>, now: Now, domain: &Pattern) -> Option<Decision> {
    let from = side.config.edge.domains.first()?;
    let below;
    let to = match domain {
        Pattern::Exact(domain) => domain,
        // Any domain below it will do that has no entry of its own.
        Pattern::Below(name) => {
            below = Domain::parse(format!("any.{name}").as_bytes()).ok()?;
            &below
        }
    };
    Some(side.policy.outbound(now, &Outbound { from, to }, &Unasked))
}

/// Name servers that nobody has asked.
struct Unasked;

impl DnsView for Unasked {
    fn look(&self, _: Now, _: &Question) -> Option<SharedAnswer> {
        None
    }
}

fn why(rule: RefusalRule) -> String {
    match rule {
        RefusalRule::Blocked => "blocked".to_owned(),
        RefusalRule::UnknownDomain => "not listed, and discovery is off".to_owned(),
        RefusalRule::FederationOff => "federation is switched off".to_owned(),
        RefusalRule::DestinationIsOurs => "an own domain".to_owned(),
        RefusalRule::EntryExpired => "its entry has expired".to_owned(),
        other => other.label().replace('_', " "),
    }
}

/// Tells what becomes of domains that no list names.
fn strangers(old: &Side<'_>, new: &Side<'_>, sentences: &mut Vec<String>) {
    let open = |side: &Side<'_>| side.config.federation.enabled && side.config.federation.discovery;
    match (open(old), open(new)) {
        (false, true) => sentences.push(
            "every domain that no list names gets in as a discovered partner, if DNS names its edge"
                .to_owned(),
        ),
        (true, false) => {
            sentences.push("every domain that no list names is cut off".to_owned());
        }
        _ => {}
    }
}

fn next_hops(old: &Side<'_>, new: &Side<'_>, sentences: &mut Vec<String>) {
    let name_for = |side: &Side<'_>, domain: &Domain| {
        let hop = side.policy.next_hops().get(side.policy.next_hop_for(domain)?)?;
        Some(hop.name.clone())
    };
    let mut moved: BTreeMap<(Domain, Domain), Named> = BTreeMap::new();
    let domains: BTreeSet<&Domain> = new.config.edge.domains.iter().collect();
    for domain in domains {
        let Some((before, after)) = name_for(old, domain).zip(name_for(new, domain)) else {
            continue;
        };
        if before != after {
            moved.entry((before, after)).or_default().push(domain.as_str());
        }
    }
    for ((before, after), names) in &moved {
        let verb = format!("to {after} instead of {before}");
        let subject = names.subject("goes", "go");
        sentences.push(format!("what is for {subject} {verb}"));
    }
    for hop in &old.config.next_hops {
        if !new.config.next_hops.iter().any(|other| other.name == hop.name) {
            sentences.push(format!("next hop {} is not used any more", hop.name));
        }
    }
    for hop in &new.config.next_hops {
        match old.config.next_hops.iter().find(|other| other.name == hop.name) {
            None => sentences.push(format!("next hop {} is new", hop.name)),
            Some(before) if before != hop => {
                sentences.push(format!("next hop {} has a changed entry", hop.name));
            }
            Some(_) => {}
        }
    }
}

/// Tells the keys outside the lists, each with what it was and becomes.
fn keys(old: &Config, new: &Config, changes: &[Change], sentences: &mut Vec<String>) {
    let listed = |change: &&Change| {
        let told = ["partner[", "blocked[", "xmpp_partner[", "next_hop[", "edge.domains"];
        // Where only the content of a named file changes, that has been told.
        !told.iter().any(|prefix| change.key.starts_with(prefix))
            && written(old, &change.key) != written(new, &change.key)
    };
    let mut rest = changes.iter().filter(listed);
    for change in rest.by_ref().take(KEYS_TOLD_MAX) {
        let (before, after) = (written(old, &change.key), written(new, &change.key));
        let hold = match change.reload {
            Reload::Live => "at once",
            Reload::NewConnections => "for new connections",
            Reload::Restart => "only by a restart",
        };
        let key = &change.key;
        sentences.push(format!("{key} becomes {after}, was {before}; takes hold {hold}"));
    }
    let more = rest.count();
    if more > 0 {
        sentences.push(format!("{more} more keys change"));
    }
}

/// Returns what the file says at `key`, on one line and not too long.
fn written(config: &Config, key: &str) -> String {
    let span = config.source.places.get(key);
    let Some(text) = span.and_then(|span| config.source.text.get(span.clone())) else {
        return "unset".to_owned();
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(VALUE_BYTES_TOLD_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
