//! The gateway between SIP and XMPP: a user agent of its own on each side (RFC 7247).
//!
//! ```text
//!  next hop ── mTLS SIP ──> peers ─> uas ─┬─ pager ────┐             ┌─> links ── 23456 ──> edges
//!                             ^           ├─ chat ─────┤ translate   │
//!                             │           └─ watch ────┤             │
//!                  uac, hops <┴────────────────────────┴─ stanzas <──┘
//! ```
//!
//! What is known of one user of ours and one contact is one [`contacts::Contact`]: who may see
//! whom, the dialogs that say so on the SIP side, and the chat between them. `watch` is presence of
//! contacts for SIP users, `subscription` that of SIP users for contacts.
//!
//! Nothing is handed on before it is translated, and nothing is answered before the other side has
//! taken it: a MESSAGE gets its 200 when the contact's server has the stanza, and an edge keeps the
//! words of a contact until the SIP side has answered for them (`owed`).
//!
//! # Loops
//! Both sides are domains of somebody, and two organisations may each take the other side for the
//! way to a third one. What crosses a gateway carries how many it has crossed, as a header field on
//! the SIP side and an element on the XMPP side; beyond [`limits::GATEWAY_HOPS_MAX`] it is refused.
//!
//! # Several gateways
//! The edges give each pair of domains to one of the gateways that are linked, by a hash that all
//! of them reckon alike ([`crate::policy::rendezvous`]), and tell each who is linked. What comes
//! from inside for a pair of another gateway is handed over to it (`siblings`). All tell each other
//! who may see whom (`replicas`), so that when one dies another subscribes to SIP users for its
//! contacts, and gives them back when it returns (`takeover`).

pub mod authorisation;
mod chat;
mod chat_in;
mod chat_out;
mod contacts;
pub mod counters;
mod dialog;
mod drain;
mod hops;
mod judge;
mod links;
mod notify;
mod owed;
mod pager;
mod peers;
mod presence;
mod queries;
mod replicas;
mod server;
mod siblings;
mod slots;
mod stanzas;
mod subscription;
mod takeover;
#[cfg(test)]
mod tests;
mod timers;
pub mod translate;
mod uac;
mod uas;
mod watch;
mod whereabouts;
mod written;

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

pub use self::authorisation::{Authorisation, Change};
use self::chat::Chat;
use self::contacts::Contacts;
use self::counters::{Counters, LossCounters};
use self::drain::Draining;
use self::hops::Hop;
use self::links::{Edge, Sent, Tag};
use self::peers::Held;
use self::replicas::Replicas;
use self::server::Server;
use self::slots::{Key, Slots};
use self::subscription::Subscription;
use self::takeover::Turn;
use self::timers::{Due, Timers};
use self::translate::Losses;
pub use self::translate::presence::BusyAs;
use self::uac::{Client, Local, Purpose};
use self::watch::Watch;
use super::spread::Spread;
use super::{
    Class, CloseReason, Command, ConnectFailure, Core, Drain, Effects, Fed, LegId, Lost, Mail,
    Note, Opened, OutletId, Severity,
};
use crate::dns::{self, Domain, SharedAnswer};
use crate::limits;
use crate::policy::Snapshot;
use crate::sip::HeaderTable;
use crate::time::{Monotonic, Now};
use crate::xmpp::ReceivedStanzaError;

/// An edge whose proxy the gateway connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeAddress {
    /// The name that its certificate must carry.
    pub name: Domain,
    /// The port of its listener for links.
    pub port: u16,
    /// Its addresses, in order of preference; empty: asked of DNS.
    pub addresses: Vec<IpAddr>,
}

/// What a gateway is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Random per process; fixed in a simulation.
    pub process_key: [u64; 2],
    /// Seed of the generator that spreads what comes back in time.
    pub seed: u64,
    /// The gateway's own name, which its certificate carries: sent-by and Contact on the SIP side,
    /// `from` of its links.
    pub name: Domain,
    /// The port of its SIP listener.
    pub sip_port: u16,
    /// The edges.
    pub edges: Vec<EdgeAddress>,
    /// How long a subscription to a SIP user's presence lives before it is refreshed.
    pub subscription_refresh_s: u32,
    /// How long a chat session is kept when nobody writes.
    pub chat_idle_s: u32,
    /// How long the SIP side may take to answer.
    pub answer_timeout_s: u32,
    /// What a contact who is busy looks like on the SIP side.
    pub busy_as: BusyAs,
    /// How long after its server took a message a contact's error is waited for, before the SIP
    /// user is told that it was delivered.
    pub error_grace_ms: u64,
    /// What the store has kept.
    pub remembered: Vec<Authorisation>,
}

impl Setup {
    /// Returns the setup of a gateway with every setting at its default. The key is the caller's
    /// and has to be random where peers are strangers.
    #[must_use]
    pub const fn single(process_key: [u64; 2], name: Domain, edges: Vec<EdgeAddress>) -> Self {
        Self {
            process_key,
            seed: process_key[0],
            name,
            sip_port: 5061,
            edges,
            subscription_refresh_s: 28_800,
            chat_idle_s: 600,
            answer_timeout_s: 32,
            busy_as: BusyAs::DoNotDisturb,
            error_grace_ms: 250,
            remembered: Vec::new(),
        }
    }
}

/// The gateway of one process.
#[derive(Debug)]
pub struct Gateway {
    setup: Setup,
    snapshot: Arc<Snapshot>,
    legs: BTreeMap<LegId, Held>,
    edges: Vec<Edge>,
    /// Stanzas that wait for a link.
    waiting: VecDeque<(Box<[u8]>, Sent)>,
    waiting_bytes: usize,
    hops: Vec<Hop>,
    clients: Slots<Client>,
    /// How many of them there are for each domain of contacts.
    in_flight: BTreeMap<String, usize>,
    /// Dialogs whose NOTIFY found no room.
    starved: VecDeque<Key>,
    servers: Slots<Server>,
    /// Which request waits for what becomes of a stanza.
    by_stanza: BTreeMap<String, Key>,
    /// Dialogs by our tag, which nobody can guess.
    dialogs: BTreeMap<String, DialogOf>,
    contacts: Contacts,
    watches: Slots<Watch>,
    subscriptions: Slots<Subscription>,
    chats: Slots<Chat>,
    timers: Timers,
    dns: dns::Cache,
    counters: Counters,
    losses: LossCounters,
    table: Option<Box<HeaderTable>>,
    rng: Spread,
    numbers: u64,
    decisions: u64,
    outlets: u32,
    /// Lines of the log since the last chores.
    told: u32,
    draining: Draining,
    chores_at: Monotonic,
    /// When edges are to be told what is done with.
    report_at: Option<Monotonic>,
    replicas: Replicas,
    turn: Turn,
    /// What came of requests and stanzas before they left, told once the caller has returned.
    concluded: VecDeque<(Purpose, Local)>,
    settled: VecDeque<(Tag, Settled)>,
}

/// What became of a stanza.
#[derive(Clone, Debug)]
enum Settled {
    /// The contact's server has it.
    Taken,
    /// It did not get there.
    Bounced(ReceivedStanzaError),
}

/// Whose dialog it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DialogOf {
    Chat(Key),
    Watch(Key),
    Subscription(Key),
}

impl Gateway {
    /// Returns a gateway that has said nothing yet; it connects when it is first told the time.
    #[must_use]
    pub fn new(mut setup: Setup, snapshot: Arc<Snapshot>) -> Self {
        let [k0, k1] = setup.process_key;
        let remembered = std::mem::take(&mut setup.remembered);
        let mut gateway = Self {
            edges: setup.edges.iter().cloned().map(Edge::new).collect(),
            dns: dns::Cache::new([k0 ^ 0x6777_646e, k1]),
            rng: Spread::new(setup.seed),
            numbers: 0,
            decisions: keyed(setup.process_key, b"decision", 0),
            snapshot,
            legs: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            hops: Vec::new(),
            clients: Slots::new(limits::GATEWAY_CLIENTS_MAX),
            in_flight: BTreeMap::new(),
            starved: VecDeque::new(),
            servers: Slots::new(limits::GATEWAY_SERVERS_MAX),
            by_stanza: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            contacts: Contacts::default(),
            watches: Slots::new(limits::GATEWAY_WATCHES_MAX),
            subscriptions: Slots::new(limits::GATEWAY_SUBSCRIPTIONS_MAX),
            chats: Slots::new(limits::GATEWAY_CHATS_MAX),
            timers: Timers::default(),
            counters: Counters::default(),
            losses: LossCounters::default(),
            table: None,
            outlets: 0,
            told: 0,
            draining: Draining::No,
            chores_at: Monotonic::default(),
            report_at: None,
            replicas: Replicas::default(),
            turn: Turn::default(),
            concluded: VecDeque::new(),
            settled: VecDeque::new(),
            setup,
        };
        gateway.recall(remembered);
        gateway.name_replicas();
        gateway
    }

    /// Returns what the gateway was made from, without what the store had kept.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Returns what was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns what translations have lost so far.
    #[must_use]
    pub const fn losses(&self) -> &LossCounters {
        &self.losses
    }

    /// Returns how many links with edges are up.
    #[must_use]
    pub fn links(&self) -> usize {
        self.edges.iter().filter(|edge| edge.is_up()).count()
    }

    /// Returns how many contacts, watching dialogs, subscriptions and chats there are.
    #[must_use]
    pub fn held(&self) -> [usize; 4] {
        [self.contacts.len(), self.watches.len(), self.subscriptions.len(), self.chats.len()]
    }

    fn note(&self, leg: Option<LegId>, severity: Severity, sentence: String, fx: &mut Effects) {
        let epoch = self.snapshot.epoch;
        let note = Note { leg, severity, sentence, decision_id: 0, epoch };
        fx.commands.push(Command::Note(note));
    }

    /// Tells of a refusal, unless too many were told already, and returns its number.
    fn tell(&mut self, leg: Option<LegId>, sentence: &str, effects: &mut Effects) -> u64 {
        self.decisions = self.decisions.wrapping_add(1);
        let decision = self.decisions & 0xffff_ffff_ffff;
        self.told += 1;
        if self.told <= limits::XMPP_NOTES_PER_S_MAX {
            let sentence = format!("refused: {sentence}");
            let epoch = self.snapshot.epoch;
            let severity = Severity::Info;
            let note = Note { leg, severity, sentence, decision_id: decision, epoch };
            effects.commands.push(Command::Note(note));
        }
        decision
    }

    const fn random(&mut self) -> u64 {
        self.rng.draw()
    }

    /// Returns text that nobody can guess: a tag, a Call-ID, the id of a stanza.
    fn unguessable(&mut self) -> String {
        self.numbers += 1;
        format!("{:016x}", keyed(self.setup.process_key, b"id", self.numbers))
    }

    fn count(&mut self, losses: Losses) {
        self.losses.add(losses);
    }

    fn next_outlet(&mut self) -> OutletId {
        self.outlets = self.outlets.wrapping_add(1);
        OutletId { index: self.outlets, generation: 1 }
    }

    fn due(&mut self, now: Now, due: Due, effects: &mut Effects) {
        match due {
            Due::Client(key) => self.client_unanswered(now, key, effects),
            Due::Server(key) => self.server_due(now, key, effects),
            Due::Watch(key) => self.watch_due(now, key, effects),
            Due::Subscription(key) => self.subscription_due(now, key, effects),
            Due::Chat(key) => self.chat_due(now, key, effects),
            Due::Typing(key) => self.typing_due(now, key, effects),
            Due::Contact(key) => self.contact_due(now, key, effects),
            Due::Taken(key) => self.taken_due(now, key, effects),
        }
    }

    fn do_chores(&mut self, now: Now, effects: &mut Effects) {
        self.told = 0;
        for at in 0..self.edges.len() {
            self.look_after_edge(now, at, effects);
        }
        self.forget_waiting(now);
        self.feed_starved(now, effects);
        self.drain_some(now, effects);
        self.take_and_give(now, effects);
        self.chores_at = now.monotonic.plus_ms(limits::XMPP_CHORES_MS);
    }

    /// Tells what came of requests and stanzas that never left. Each is told once; a request made
    /// because of it fails the same way and is told in its turn.
    fn finish(&mut self, now: Now, effects: &mut Effects) {
        self.wind_clock(now);
        self.publish(now, effects);
        for _ in 0..limits::GATEWAY_OUTCOMES_PER_TURN_MAX {
            if let Some((tag, settled)) = self.settled.pop_front() {
                self.stanza_settled(now, tag, settled, effects);
            } else if let Some((purpose, local)) = self.concluded.pop_front() {
                self.answered(now, purpose, &uac::Answer::Local(local), effects);
            } else {
                return;
            }
        }
        // The rest is told in the next turn, which is due at once.
        self.chores_at = now.monotonic;
    }
}

/// Returns how long somebody is left alone who was not reached `failures` times before: longer each
/// time, and up to a quarter shorter by chance, so that gateways do not come back all at once.
fn rest_ms(failures: u32, random: u64) -> u64 {
    let doubled = limits::GATEWAY_REST_MS << failures.min(16);
    let rest = doubled.min(limits::GATEWAY_REST_MS_MAX);
    rest - random % (rest / 4 + 1)
}

/// Returns 64 bits that only the holder of the key can know.
fn keyed([k0, k1]: [u64; 2], what: &[u8], number: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(k0 ^ 0x6761_7465, k1);
    hasher.write(what);
    hasher.write_u64(number);
    hasher.finish()
}

impl Core for Gateway {
    fn leg_opened(&mut self, now: Now, leg: LegId, opened: Opened, effects: &mut Effects) {
        match (opened.class, opened.outlet) {
            (Class::XmppLink, Some(outlet)) => self.link_opened(now, leg, outlet, effects),
            (Class::Internal, Some(outlet)) => self.hop_opened(now, leg, outlet, effects),
            (Class::Internal, None) => {
                self.legs.insert(leg, Held::Sip { hop: None });
                if let Some(peer) = opened.peer {
                    self.peer_is_known(now, leg, peer);
                }
            }
            _ => effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted }),
        }
        self.finish(now, effects);
    }

    fn feed(&mut self, now: Now, leg: LegId, input: &[u8], effects: &mut Effects) -> Fed {
        let fed = match self.legs.get(&leg) {
            Some(Held::Link(at)) => self.link_fed(now, leg, *at, input, effects),
            Some(Held::Sip { .. }) => self.sip_fed(now, leg, input, effects),
            None => Fed::Dead,
        };
        self.finish(now, effects);
        fed
    }

    fn leg_closed(&mut self, now: Now, leg: LegId, _: Lost, _: usize, effects: &mut Effects) {
        self.peer_is_gone(leg);
        match self.legs.remove(&leg) {
            Some(Held::Link(at)) => self.link_lost(now, leg, at, effects),
            Some(Held::Sip { hop }) => self.sip_leg_lost(leg, hop),
            None => {}
        }
        self.finish(now, effects);
    }

    fn connect_failed(
        &mut self,
        now: Now,
        outlet: OutletId,
        why: ConnectFailure,
        effects: &mut Effects,
    ) {
        self.counters.connect_failures += 1;
        self.edge_unreachable(now, outlet, why, effects);
        self.hop_unreachable(now, outlet, why, effects);
        self.finish(now, effects);
    }

    fn resolved(&mut self, now: Now, answer: SharedAnswer, effects: &mut Effects) {
        self.dns.put(now, &answer);
        self.edges_resolved(now, &answer.question, effects);
        self.hops_resolved(now, &answer.question, effects);
        self.finish(now, effects);
    }

    fn mail(&mut self, _: Now, _: Mail, _: &mut Effects) {}

    fn mail_refused(&mut self, _: Now, _: u16, _: Mail, _: &mut Effects) {}

    fn adopt(&mut self, now: Now, snapshot: Arc<Snapshot>, effects: &mut Effects) -> Arc<Snapshot> {
        let older = std::mem::replace(&mut self.snapshot, snapshot);
        self.retire_hops(effects);
        self.finish(now, effects);
        older
    }

    fn drain(&mut self, now: Now, stage: Drain, effects: &mut Effects) {
        self.begin_drain(now, stage);
        self.finish(now, effects);
    }

    fn expire(&mut self, now: Now, effects: &mut Effects) {
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            let Some(due) = self.timers.take(now) else { break };
            self.due(now, due, effects);
        }
        if self.chores_at <= now.monotonic {
            self.do_chores(now, effects);
        }
        self.finish(now, effects);
        self.report_done(effects);
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        let timer = self.timers.next();
        [Some(self.chores_at), self.report_at, timer].into_iter().flatten().min()
    }

    fn pending(&self) -> usize {
        let unreported: usize = self.edges.iter().map(Edge::unreported).sum();
        self.clients.len() + self.servers.len() + self.waiting.len() + unreported
    }
}
