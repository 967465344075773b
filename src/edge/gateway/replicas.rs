//! What gateways tell each other of who may see whom, so that another one can take over.
//!
//! ```text
//! authorise ─> table ─ all, then news ─> PUBLISH, Event: entente-authorisations ─> other gateway
//!                ^                                                                       │ merge
//!                └── merge <── PUBLISH of another ──            table, store, contacts <─┘
//! ```
//!
//! 1. Every authorisation has a version, and the greater one holds; of two equal ones that which
//!    grants more. So it does not matter in which order or how often something is told: all
//!    gateways come to the same. A version is made of the time and grows with every one that is
//!    heard of, so that a clock that is behind does not undo what was decided after.
//! 2. What was taken back is remembered as such for [`limits::GATEWAY_GRAVE_S`], or a gateway that
//!    was away would bring it back.
//! 3. Each gateway tells each other one, over the connection that requests are handed over by: one
//!    PUBLISH at a time, each line of its body one authorisation. First all there is, then what
//!    changes. The answer's SIP-ETag names the other one's process; whoever publishes to a process
//!    that is another one meanwhile (SIP-If-Match, RFC 3903 section 4.1) gets 412 and begins with
//!    all there is.
//! 4. Only a server whose certificate carries the name of another gateway may publish.
//!
//! Presence, dialogs and chats are not told: they are made anew. Whom a user has written to is
//! ([`super::written`]).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

use super::authorisation::{Authorisation, Change, Direction, Standing};
use super::dialog::{Head, Rest, text};
use super::judge::Refused;
use super::uac::{Answer, Purpose};
use super::written::{self, Written};
use super::{Gateway, keyed};
use crate::dns::Domain;
use crate::edge::{Effects, LegId};
use crate::limits;
use crate::policy::PeerNames;
use crate::sip::{HeaderName, Message};
use crate::time::{Monotonic, Now};
use crate::xmpp::Jid;

/// The event package of what is published.
const PACKAGE: &str = "entente-authorisations";
const CONTENT_TYPE: &str = "application/vnd.entente.authorisations";
/// Standing and version in front of a key, and the end of the line.
const LINE_BYTES: usize = 24;

/// Another gateway.
#[derive(Debug)]
struct Replica {
    name: Domain,
    /// Its process that has been told everything but `walk` and `news`.
    instance: Option<String>,
    /// All is to be told from behind this key on.
    walk: Option<Box<str>>,
    /// What has changed.
    news: VecDeque<Box<str>>,
    written: Written,
    on_way: OnWay,
    failures: u32,
    rest_until: Monotonic,
}

/// What the PUBLISH says that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OnWay {
    Nothing,
    /// All up to this key; `None`: to the end.
    Walk(Option<Box<str>>),
    /// So many of the news.
    News(usize),
    /// What has to be told again in any case.
    Void,
}

/// All that is known of authorisations, and who has been told.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// By direction and addresses. Empty while there is no other gateway.
    table: BTreeMap<Box<str>, (Standing, u64)>,
    /// How many of them were taken back.
    graves: usize,
    /// The greatest version that was heard of.
    clock: u64,
    others: Vec<Replica>,
    /// Which servers have connected to us.
    peers: BTreeMap<LegId, Arc<PeerNames>>,
}

impl Replica {
    fn new(name: Domain) -> Self {
        Self {
            name,
            instance: None,
            walk: Some(Box::default()),
            news: VecDeque::new(),
            written: Written::default(),
            on_way: OnWay::Nothing,
            failures: 0,
            rest_until: Monotonic::default(),
        }
    }

    fn tell(&mut self, key: &str) {
        if self.news.len() < limits::GATEWAY_NEWS_MAX {
            return self.news.push_back(key.into());
        }
        // Too much to be told singly.
        self.news.clear();
        self.walk = Some(Box::default());
        if self.on_way != OnWay::Nothing {
            self.on_way = OnWay::Void;
        }
    }

    fn begin_again(&mut self) {
        self.instance = None;
        self.walk = Some(Box::default());
        self.news.clear();
    }

    /// The other one has what was on its way.
    fn has_it(&mut self) {
        self.written.has_it();
        match std::mem::replace(&mut self.on_way, OnWay::Nothing) {
            OnWay::Walk(rest) => self.walk = rest,
            OnWay::News(count) => drop(self.news.drain(..count)),
            OnWay::Nothing | OnWay::Void => {}
        }
    }
}

impl Replicas {
    pub(super) fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// Puts one into the table. `false`: it was taken back, and there is no room to remember that.
    fn put(&mut self, key: &str, standing: Standing, version: u64) -> bool {
        let fits = standing != Standing::None || self.graves < limits::GATEWAY_GRAVES_MAX;
        let held = match fits {
            true => self.table.insert(key.into(), (standing, version)),
            false => self.table.remove(key),
        };
        self.graves += usize::from(fits && standing == Standing::None);
        self.graves -= usize::from(held.is_some_and(|(held, _)| held == Standing::None));
        fits
    }

    /// Returns version and standing of what is held.
    fn held(&self, key: &str) -> (u64, Standing) {
        self.table.get(key).map_or((0, Standing::None), |(standing, version)| (*version, *standing))
    }

    /// Writes the next PUBLISH's body for one of the others, and notes what is on its way.
    fn next_body(&mut self, at: usize) -> Option<String> {
        let other = self.others.get_mut(at)?;
        let mut body = String::new();
        let mut write = |key: &str, standing: Standing, version: u64| {
            let fits = body.len() + key.len() + LINE_BYTES <= limits::GATEWAY_PUBLISH_BYTES_MAX;
            if fits {
                let _ = writeln!(body, "{} {version:x} {key}", standing.number());
            }
            fits
        };
        other.on_way = if let Some(after) = &other.walk {
            let mut last = after.clone();
            let behind = (Bound::Excluded(after.clone()), Bound::Unbounded);
            let mut range = self.table.range::<Box<str>, _>(behind);
            let full = range.any(|(key, (standing, version))| {
                let fits = write(key, *standing, *version);
                if fits {
                    last.clone_from(key);
                }
                !fits
            });
            OnWay::Walk(full.then_some(last))
        } else if other.news.is_empty() && other.written.is_empty() {
            return None;
        } else {
            let table = &self.table;
            let tells = other.news.iter().take_while(|key| match table.get(*key) {
                Some((standing, version)) => write(key, *standing, *version),
                None => true,
            });
            OnWay::News(tells.count())
        };
        other.written.write(&mut body);
        Some(body)
    }

    pub(super) fn written_mut(&mut self) -> impl Iterator<Item = &mut Written> {
        self.others.iter_mut().map(|other| &mut other.written)
    }

    fn of_name(&mut self, name: &Domain) -> Option<&mut Replica> {
        self.others.iter_mut().find(|other| other.name == *name)
    }
}

impl Gateway {
    /// Names the other gateways after a start or a change of the policy.
    pub(super) fn name_replicas(&mut self) {
        let places = self.snapshot.gateway_hops();
        let named = self.snapshot.next_hops().get(places).unwrap_or_default();
        let own = &self.setup.name;
        // Whoever is not in the list itself is none of them.
        let is_one = named.iter().any(|hop| hop.name == *own);
        let others = named.iter().map(|hop| &hop.name).filter(|name| is_one && *name != own);
        let others: Vec<Domain> = others.cloned().collect();
        let before = std::mem::take(&mut self.replicas.others);
        if before.is_empty() && !others.is_empty() {
            self.fill_table();
        }
        let mut before: Vec<Option<Replica>> = before.into_iter().map(Some).collect();
        for name in others {
            let known = before
                .iter_mut()
                .find(|held| held.as_ref().is_some_and(|replica| replica.name == name));
            let replica = known.and_then(Option::take).unwrap_or_else(|| Replica::new(name));
            self.replicas.others.push(replica);
        }
        if self.replicas.others.is_empty() {
            (self.replicas.table, self.replicas.graves) = (BTreeMap::new(), 0);
        }
    }

    fn fill_table(&mut self) {
        for key in self.contacts.keys() {
            let Some(contact) = self.contacts.get(key) else { continue };
            let (ours, theirs) = (contact.ours.to_string(), contact.theirs.to_string());
            let both = [(Direction::Outward, contact.outward), (Direction::Inward, contact.inward)];
            for (direction, standing) in both.into_iter().filter(|(_, s)| *s != Standing::None) {
                let key = Authorisation::key_of(&ours, &theirs, direction);
                let (version, _) = self.replicas.held(&key);
                self.replicas.put(&key, standing, version.max(1));
            }
        }
    }

    /// Takes what the store has kept into the table, what was taken back included.
    pub(super) fn recall_version(&mut self, one: &Authorisation) {
        self.replicas.clock = self.replicas.clock.max(one.version);
        let key = Authorisation::key_of(&one.ours, &one.theirs, one.direction);
        self.replicas.put(&key, one.standing, one.version);
    }

    /// Gives a decision its version, and has the others told. Returns what the store is to do.
    pub(super) fn decided(&mut self, mut one: Authorisation) -> Change {
        self.replicas.clock += 1;
        one.version = self.replicas.clock;
        if self.replicas.others.is_empty() {
            return Change::of(one);
        }
        let key = Authorisation::key_of(&one.ours, &one.theirs, one.direction);
        let kept = self.replicas.put(&key, one.standing, one.version);
        for other in &mut self.replicas.others {
            other.tell(&key);
        }
        if kept { Change::Remember(one) } else { Change::of(one) }
    }

    /// A server inside has connected.
    pub(super) fn peer_is_known(&mut self, now: Now, leg: LegId, peer: Arc<PeerNames>) {
        self.peer_shown(now, &peer);
        for other in &mut self.replicas.others {
            if peer.carries_host(&other.name, false) {
                other.rest_until = now.monotonic;
            }
        }
        self.replicas.peers.insert(leg, peer);
    }

    pub(super) fn peer_is_gone(&mut self, leg: LegId) {
        self.replicas.peers.remove(&leg);
    }

    /// Lets versions grow with the time.
    pub(super) fn wind_clock(&mut self, now: Now) {
        self.replicas.clock = self.replicas.clock.max(Authorisation::version_at(now.unix_s));
    }

    /// Publishes to every other gateway that has an ear for it.
    pub(super) fn publish(&mut self, now: Now, effects: &mut Effects) {
        for at in 0..self.replicas.others.len() {
            let Some(other) = self.replicas.others.get(at) else { return };
            let idle = other.on_way == OnWay::Nothing && other.rest_until <= now.monotonic;
            if idle && !self.is_draining() {
                self.publish_to(now, at, effects);
            }
        }
    }

    fn publish_to(&mut self, now: Now, at: usize, effects: &mut Effects) {
        let Some(body) = self.replicas.next_body(at) else { return };
        let Some(other) = self.replicas.others.get(at) else { return };
        let (name, instance) = (other.name.clone(), other.instance.clone());
        let mut places = self.snapshot.gateway_hops();
        let place = places.find(|place| self.snapshot.next_hops()[*place].name == name);
        let Some(place) = place else { return };
        let hop = self.hop_at(place);
        let uri = format!("sip:{name}:{};transport=tls", self.snapshot.next_hops()[place].port);
        let (tag, call_id) = (self.unguessable(), self.unguessable());
        let head = Head {
            from: format!("<sip:{}>;tag={tag}", self.setup.name),
            to: format!("<{uri}>"),
            call_id: format!("{call_id}@{}", self.setup.name),
            cseq: 1,
            routes: Vec::new(),
            uri,
        };
        let mut lines = format!("Event: {PACKAGE}\r\n");
        if let Some(instance) = instance {
            lines.push_str(&format!("SIP-If-Match: {instance}\r\n"));
        }
        let purpose = Purpose::Publish(name.clone());
        let theirs = name.to_string();
        let Some(client) = self.reserve(now, hop, "PUBLISH", theirs, None, purpose) else {
            return self.not_published(now, &name);
        };
        self.counters.published += 1;
        let rest = Rest { lines: &lines, body: Some((CONTENT_TYPE, body.as_bytes())) };
        let bytes = head.write("PUBLISH", &self.via(client), rest);
        self.send_inside(now, hop, client, bytes, effects);
    }

    fn not_published(&mut self, now: Now, name: &Domain) {
        let random = self.random();
        let Some(other) = self.replicas.of_name(name) else { return };
        other.rest_until = now.monotonic.plus_ms(super::rest_ms(other.failures, random));
        other.failures = other.failures.saturating_add(1);
        other.on_way = OnWay::Nothing;
    }

    /// Another gateway has answered what was published to it, or nobody has.
    pub(super) fn publish_answered(&mut self, now: Now, name: &Domain, answer: &Answer<'_>) {
        let Answer::Response(message) = answer else { return self.not_published(now, name) };
        let status = answer.status();
        let Some(other) = self.replicas.of_name(name) else { return };
        if status == 412 && other.instance.is_some() {
            other.on_way = OnWay::Nothing;
            return other.begin_again();
        }
        let instance = message.find("SIP-ETag").and_then(|field| text(field.value));
        if !answer.is_success() || instance.is_none() {
            return self.not_published(now, name);
        }
        // Begun without knowing whom we talk to, so whoever answers has had all so far.
        other.instance = instance;
        other.failures = 0;
        other.has_it();
    }

    /// Tells whether a request publishes authorisations.
    pub(super) fn is_publication(message: &Message<'_>) -> bool {
        message.first(HeaderName::Event).is_some_and(|event| event.value == PACKAGE.as_bytes())
    }

    /// Another gateway tells what it knows.
    pub(super) fn published(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let names = self.replicas.peers.get(&leg);
        let known = names.is_some_and(|names| {
            self.replicas.others.iter().any(|other| names.carries_host(&other.name, false))
        });
        if !known {
            self.counters.refused_by_policy += 1;
            let refused = Refused::new(403, "Forbidden", "whoever publishes is no other gateway");
            return self.refuse(leg, message, &refused, "", effects);
        }
        let instance = format!("{:016x}", keyed(self.setup.process_key, b"instance", 0));
        let expected = message.find("SIP-If-Match").map(|field| field.value);
        if expected.is_some_and(|expected| expected != instance.as_bytes()) {
            let reason = "Conditional Request Failed";
            return self.reply(leg, message, 412, reason, "", effects);
        }
        let told = std::str::from_utf8(message.body()).ok();
        let told = told.and_then(|body| body.lines().map(Told::read).collect::<Option<Vec<_>>>());
        let Some(told) = told else {
            self.counters.malformed += 1;
            return self.reply(leg, message, 400, "Malformed Body", "", effects);
        };
        for told in told {
            match told {
                Told::Authorisation(one) => self.merge(now, one, effects),
                Told::Written(ours, theirs) => self.written_elsewhere(now, &ours, &theirs),
            }
        }
        let lines = format!("SIP-ETag: {instance}\r\nExpires: 3600\r\n");
        self.reply(leg, message, 200, "OK", &lines, effects);
    }

    /// Takes in what another gateway knows, if it is newer than what is known here.
    fn merge(&mut self, now: Now, one: Authorisation, effects: &mut Effects) {
        // A clock that is days ahead would make its gateway right for days.
        let latest =
            Authorisation::version_at(now.unix_s.saturating_add(limits::GATEWAY_CLOCK_AHEAD_S));
        let Some((ours, theirs)) = one.addresses().filter(|_| one.version < latest) else {
            self.counters.dropped += 1;
            return;
        };
        self.replicas.clock = self.replicas.clock.max(one.version);
        let key = Authorisation::key_of(&one.ours, &one.theirs, one.direction);
        if (one.version, one.standing) <= self.replicas.held(&key) {
            return;
        }
        self.counters.replicated += 1;
        let (direction, standing) = (one.direction, one.standing);
        let kept = self.replicas.put(&key, standing, one.version);
        effects.authorisations.push(if kept { Change::Remember(one) } else { Change::of(one) });
        self.replicate(now, (&ours, &theirs), direction, standing, effects);
    }
}

/// A line of a publication.
enum Told {
    Authorisation(Authorisation),
    /// One of our users has written to a contact.
    Written(Jid<'static>, Jid<'static>),
}

impl Told {
    fn read(line: &str) -> Option<Self> {
        let written = || written::read(line).map(|(ours, theirs)| Self::Written(ours, theirs));
        read_line(line).map(Self::Authorisation).or_else(written)
    }
}

/// Reads a line about an authorisation: standing, version, direction, our user, the contact.
fn read_line(line: &str) -> Option<Authorisation> {
    let mut parts = line.splitn(3, ' ');
    let standing = Standing::of_number(parts.next()?.parse().ok()?)?;
    let version = u64::from_str_radix(parts.next()?, 16).ok()?;
    Authorisation::of_key(parts.next()?, standing, version)
}

#[cfg(test)]
impl Replicas {
    /// All that is known, to be compared.
    pub(super) fn known(&self) -> &BTreeMap<Box<str>, (Standing, u64)> {
        &self.table
    }
}
