//! What a reload would change, in sentences: who is cut off, who gets in, which switches and next
//! hops change, and which keys would refuse it.
//!
//! Who gets in is not guessed from the lists: both policies are asked
//! ([`crate::policy::Snapshot::outbound`]) about each domain that the two say different things of.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::convert;
use crate::config::lists::{PartnerList, PartnerRow, RowTerms};
use crate::config::{self, Change, Config, Reload};
use crate::dns::{DnsView, Domain, Question, SharedAnswer};
use crate::policy::{Decision, Outbound, PartnerRule, Pattern, RefusalRule, Rules, Snapshot};
use crate::time::Now;

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
    fn add(&mut self, other: Self) {
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
    next_hops(old, new, &mut found.sentences);
    if old.config.directory != new.config.directory {
        found.sentences.push("what single users may do changes".to_owned());
    }
    keys(old.config, new.config, &changes, &mut found.sentences);
    found
}

/// Tells whether two configurations are the same, with what they read from other files.
fn says_the_same(old: &Config, new: &Config) -> bool {
    old.source.text == new.source.text
        && old.secrets == new.secrets
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

/// What becomes of single domains, found one by one.
#[derive(Default)]
struct Fates {
    cut_off: Named,
    why_cut_off: BTreeMap<RefusalRule, Named>,
    let_in: Named,
    to_discovered: Named,
    from_discovered: Named,
    terms: Named,
}

impl Fates {
    /// Asks both policies about `domain`; `listed` tells whether it has an entry before and after,
    /// and `alike` whether the two say the same.
    fn judge(
        &mut self,
        sides: (&Side<'_>, &Side<'_>),
        now: Now,
        domain: &Pattern,
        listed: (bool, bool),
        alike: bool,
    ) {
        let (before, after) = (stance(sides.0, now, domain), stance(sides.1, now, domain));
        let name = domain.to_string();
        match (before, after) {
            (Ok(()), Err(rule)) => {
                self.cut_off.push(&name);
                self.why_cut_off.entry(rule).or_default().push(&name);
            }
            (Err(_), Ok(())) => self.let_in.push(&name),
            (Ok(()), Ok(())) => match listed {
                (true, false) => self.to_discovered.push(&name),
                (false, true) => self.from_discovered.push(&name),
                (true, true) if !alike => self.terms.push(&name),
                _ => {}
            },
            (Err(_), Err(_)) => {}
        }
    }

    fn tell(self, found: &mut Difference) {
        for (rule, names) in &self.why_cut_off {
            let why = why(*rule);
            found.sentences.push(format!("{}: {why}", names.subject("is cut off", "are cut off")));
        }
        let mut tell = |names: &Named, one: &str, many: &str| {
            if names.count > 0 {
                found.sentences.push(names.subject(one, many));
            }
        };
        tell(&self.let_in, "gets in", "get in");
        tell(
            &self.to_discovered,
            "is no longer listed and stays as a discovered partner, with the limits of one",
            "are no longer listed and stay as discovered partners, with the limits of such",
        );
        tell(
            &self.from_discovered,
            "is listed from then on and loses the limits of a discovered partner",
            "are listed from then on and lose the limits of discovered partners",
        );
        tell(&self.terms, "stays, under a changed entry", "stay, under changed entries");
        let mut changed = Named::default();
        for names in [self.to_discovered, self.from_discovered, self.terms] {
            changed.add(names);
        }
        found.terms_changed = changed;
        found.cut_off = self.cut_off;
        found.let_in = self.let_in;
    }
}

/// Tells of all domains that the two may decide differently on: those whose entries differ, or all
/// that are listed where something changes that all of them rest on.
fn partners(old: &Side<'_>, new: &Side<'_>, now: Now, found: &mut Difference) {
    let common = {
        let (old, new) = (old.policy.rules(), new.policy.rules());
        let switches = |rules: &Rules| (rules.federation.enabled, rules.federation.discovery);
        switches(old) != switches(new)
            || old.own_domains != new.own_domains
            || old.default_route != new.default_route
    };
    let (before, after) = (Entries::of(old), Entries::of(new));
    let mut fates = Fates::default();
    let mut near = 0;
    for entry in before.iter() {
        let domain = entry.domain();
        let place = after.find(domain, near);
        let alike = place.is_some_and(|place| {
            near = place + 1;
            after.at(place).is_some_and(|other| entry.says_like(old, &other, new))
        });
        if common || !alike {
            fates.judge((old, new), now, domain, (true, place.is_some()), alike);
        }
    }
    near = 0;
    for entry in after.iter() {
        match before.find(entry.domain(), near) {
            Some(place) => near = place + 1,
            None => fates.judge((old, new), now, entry.domain(), (false, true), false),
        }
    }
    // What one of them lists and the other blocks was judged with what they list.
    let unlisted = |domain: &&Pattern| {
        [old, new].iter().all(|side| side.policy.partner_place(domain).is_none())
    };
    for (one, other) in [(old, new), (new, old)] {
        let blocked = blocked(one.config).filter(|domain| !other.policy.is_blocked(domain));
        for domain in blocked.filter(unlisted) {
            fates.judge((old, new), now, domain, (false, false), true);
        }
    }
    fates.tell(found);
}

fn blocked(config: &Config) -> impl Iterator<Item = &Pattern> {
    let rows = config.blocked_list.iter().flat_map(|list| &list.rows);
    config.blocked.iter().map(|blocked| &blocked.domain).chain(rows.map(|(domain, _)| domain))
}

/// The listed partners of a side, in the order in which its policy numbers them.
struct Entries<'a> {
    policy: &'a Snapshot,
    stated: &'a [config::Partner],
    list: Option<&'a PartnerList>,
}

impl<'a> Entries<'a> {
    fn of(side: &Side<'a>) -> Self {
        let list = side.config.partner_list.as_deref();
        Self { policy: side.policy, stated: &side.config.partners, list }
    }

    fn at(&self, place: usize) -> Option<Entry<'a>> {
        let Some(row) = place.checked_sub(self.stated.len()) else {
            return self.stated.get(place).map(Entry::Stated);
        };
        let list = self.list?;
        let row = list.rows.get(row)?;
        Some(Entry::Row(row, list.terms.get(row.terms as usize)?))
    }

    fn iter(&self) -> impl Iterator<Item = Entry<'a>> {
        (0..).map_while(|place| self.at(place))
    }

    /// Returns the place of the entry for `domain`. It is at `near` where nothing came or went
    /// since the last one that was found; else it is looked up.
    fn find(&self, domain: &Pattern, near: usize) -> Option<usize> {
        if self.at(near).is_some_and(|entry| entry.domain() == domain) {
            return Some(near);
        }
        self.policy.partner_place(domain)
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

    /// Tells whether it says what `other`, of the same domain, does.
    fn says_like(&self, side: &Side<'_>, other: &Self, of: &Side<'_>) -> bool {
        if let (Self::Row(row, terms), Self::Row(other, others)) = (self, other)
            && (&row.edge, row.port) == (&other.edge, other.port)
            && terms == others
            && side.config.tls.revocation == of.config.tls.revocation
        {
            return true;
        }
        self.rule(side.config) == other.rule(of.config)
    }

    fn rule(&self, config: &Config) -> PartnerRule {
        match self {
            Self::Stated(partner) => {
                // Sets of anchors are numbered anew with each reading; whether there is one stays.
                let anchors = (!partner.trust.is_empty()).then_some(0);
                convert::partner_rule(config, partner, anchors)
            }
            Self::Row(row, terms) => convert::row_rule(config, row, terms),
        }
    }
}

/// Returns what a policy says of `domain` before any look-up: `Ok` where it would go on and ask.
fn stance(side: &Side<'_>, now: Now, domain: &Pattern) -> Result<(), RefusalRule> {
    let Some(from) = side.config.edge.domains.first() else { return Ok(()) };
    let below;
    let to = match domain {
        Pattern::Exact(domain) => domain,
        // Any domain below it will do that has no entry of its own.
        Pattern::Below(name) => match Domain::parse(format!("any.{name}").as_bytes()) {
            Ok(any) => {
                below = any;
                &below
            }
            Err(_) => return Ok(()),
        },
    };
    match side.policy.outbound(now, &Outbound { from, to }, &Unasked) {
        Decision::Refuse(refusal) => Err(refusal.rule()),
        Decision::Permit(_) | Decision::Ask(_) => Ok(()),
    }
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
        let told = ["partner[", "blocked[", "next_hop[", "edge.domains"];
        !told.iter().any(|prefix| change.key.starts_with(prefix))
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
