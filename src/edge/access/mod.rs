//! The SIP Access Edge: who may cross the border, and by which connection.
//!
//! ```text
//! feed ─> sip::scan ─┬─ request ─> screen ─> forward ─> slot + outlet ─> staging of the next leg
//!                    │               │ refuse / answer / park (DNS)
//!                    └─ response ─> branch names the slot ─> staging of the leg it came from
//! ```
//!
//! `screen` judges (DESIGN 6.5), `forward` edits and hands over, `response` takes back,
//! `invite` knows CANCEL and ACK, `outlet` knows whom there is to reach and by which connection,
//! `connect` makes the connections and `keep_alive` keeps them, `parked` waits for DNS, `pipe`
//! talks to the other shards, `answer` writes what the edge says itself, `credentials` serves who
//! wants credentials for the A/V Edge, `topology` and `texts` keep from partners what is the
//! inside's own business.

mod answer;
mod branch;
mod by_rule;
mod connect;
pub mod counters;
mod credentials;
mod diagnostics;
mod forward;
mod gateway;
mod headers;
mod held;
mod invite;
mod keep_alive;
mod legs;
mod list;
mod outlet;
mod parked;
mod pipe;
mod refusals;
mod response;
mod route;
mod route_token;
mod screen;
mod seal;
mod sign_in;
mod texts;
mod told;
mod toll;
mod topology;
mod transaction;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::quality::FixedState;

use self::branch::BranchKey;
pub use self::by_rule::ByRule;
use self::counters::{Counters, Latency};
use self::diagnostics::Fault;
use self::headers::TrustHeader;
use self::held::Held;
use self::keep_alive::DrainWalk;
use self::legs::{FlowKey, Legs};
use self::outlet::Outlets;
use self::parked::Parked;
use self::route::OwnNames;
pub use self::route_token::{PoolKey, PoolKeys};
use self::seal::Seals;
use self::sign_in::SignIns;
use self::toll::Arrival;
use self::transaction::Slots;
use super::decided::Told;
use super::mras;
use super::spread::Spread;
use super::{
    Class, CloseReason, Command, ConnectFailure, Core, Drain, Effects, Fed, LegId, Lost, Mail,
    Note, Opened, OutletId, Severity, SlotRef,
};
use crate::dns::{self, SharedAnswer};
use crate::limits;
use crate::policy::{PeerNames, Scores, Snapshot, VerdictCache};
use crate::sip::{self, Edits, HeaderName, HeaderTable, Message, Method, Scan, StartLine};
use crate::time::{Monotonic, Now};

/// What a shard's Access Edge is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which shard this is, and of how many.
    pub shard: u16,
    /// How many shards the process has.
    pub shards: u16,
    /// Transactions this shard may have at once; about 1.5 KiB each while in use.
    pub transactions: usize,
    /// Port of the federation listener, for Via and Record-Route.
    pub external_port: u16,
    /// Port of the internal listener.
    pub internal_port: u16,
    /// Port of the listener for remote users.
    pub remote_port: u16,
    /// Random per process, the same for all its shards; fixed in a simulation.
    pub process_key: [u64; 2],
    /// The pool's keys for route tokens.
    pub pool_keys: PoolKeys,
    /// Number of the first generation of every slot; a simulation starts close to the wrap.
    pub first_generation: u32,
    /// Seed of the generator that orders targets; differs per shard.
    pub seed: u64,
    /// Legs unused for this long are closed, as far as pings do not keep them.
    pub idle_timeout_ms: u64,
    /// An own leg that was silent for this long is pinged; 0: none is.
    pub ping_interval_ms: u64,
    /// A note is left for every decision, permits too.
    pub explain: bool,
}

impl Setup {
    /// Returns the setup of an edge that is its pool alone, with one shard, on the usual ports:
    /// 1,000 transactions; legs pinged every minute and closed after ten.
    ///
    /// Both keys are the caller's, and as secret as what it does with the edge demands.
    #[must_use]
    pub fn single(process_key: [u64; 2], pool_key: [u8; 16]) -> Self {
        Self {
            shard: 0,
            shards: 1,
            transactions: 1_000,
            external_port: 5061,
            internal_port: 5061,
            remote_port: 443,
            process_key,
            pool_keys: PoolKeys::of_one(pool_key),
            first_generation: 0,
            seed: process_key[0],
            idle_timeout_ms: 600_000,
            ping_interval_ms: 60_000,
            explain: false,
        }
    }
}

/// How often what has time is done, while there is any of it.
const CHORES_MS: u64 = 1_000;

/// One shard's Access Edge.
#[derive(Debug)]
pub struct Access {
    setup: Setup,
    snapshot: Arc<Snapshot>,
    names: OwnNames,
    trust: TrustHeader,
    branch_key: BranchKey,
    flow_key: FlowKey,
    seals: Seals,
    transaction_key: [u64; 2],
    legs: Legs,
    slots: Slots,
    /// Slots that stand for another shard's transactions.
    pipes: hashbrown::HashMap<SlotRef, u32, foldhash::quality::RandomState>,
    outlets: Outlets,
    parked: Parked,
    dns: dns::Cache,
    verdicts: VerdictCache,
    /// How partners under limits behave; shared by all shards.
    scores: Arc<Scores>,
    held: Held,
    sign_ins: SignIns,
    rng: Spread,
    draining: Option<Drain>,
    /// Makes credentials of the A/V Edge, where the policy says so.
    media: Option<Box<mras::Service>>,
    decisions: u64,
    /// Messages that pass leave a note too.
    explains: bool,
    explanation: String,
    /// Legs for [`Effects::named`].
    named: Vec<LegId>,
    told: Told,
    /// Where the candidate policy would have decided otherwise, for the log.
    shadow_findings: Vec<Note>,
    drain_walk: DrainWalk,
    chores_at: Monotonic,
    counters: Counters,
    by_rule: ByRule,
    latency: Latency,
    /// The largest body taken, in bytes.
    body_bytes_max: usize,
    #[allow(
        clippy::vec_box,
        reason = "it is taken out and put back per message: 8 bytes, not 5 KiB"
    )]
    scratch: Vec<Box<Scratch>>,
}

/// What reading and editing one message needs; kept from message to message.
#[derive(Debug)]
struct Scratch {
    table: HeaderTable,
    edits: Edits,
}

impl Access {
    /// Returns an Access Edge without legs that counts the conduct of partners for itself.
    #[must_use]
    pub fn new(setup: Setup, snapshot: Arc<Snapshot>) -> Self {
        let [k0, k1] = setup.process_key;
        let scores = Arc::new(Scores::new([k0 ^ 0x7363_6f72, k1]));
        Self::sharing(setup, snapshot, scores)
    }

    /// Returns an Access Edge without legs with the scores that it shares with the other shards.
    #[must_use]
    pub fn sharing(setup: Setup, snapshot: Arc<Snapshot>, scores: Arc<Scores>) -> Self {
        let [k0, k1] = setup.process_key;
        Self {
            names: own_names(&setup, &snapshot),
            trust: TrustHeader::of(&snapshot),
            // One secret, several uses: each has its own constant mixed in.
            branch_key: BranchKey(k0, k1),
            flow_key: FlowKey(k0 ^ 0x666c_6f77, k1),
            seals: Seals::of(&setup.pool_keys),
            transaction_key: [k0 ^ 0x6b65_7973, k1],
            legs: Legs::default(),
            slots: Slots::new(setup.shard, setup.transactions, setup.first_generation),
            pipes: hashbrown::HashMap::default(),
            outlets: Outlets::default(),
            parked: Parked::default(),
            dns: dns::Cache::new([k0 ^ 0x646e_7373, k1]),
            verdicts: VerdictCache::new([k0 ^ 0x7665_7264, k1]),
            scores,
            held: Held::default(),
            sign_ins: SignIns::new((k0 ^ 0x7369_676e, k1)),
            rng: Spread::new(setup.seed),
            draining: None,
            media: credentials::service(&snapshot),
            decisions: told::first_decision(setup.process_key),
            explains: setup.explain || snapshot.telling().permits,
            explanation: String::new(),
            named: Vec::new(),
            told: Told::default(),
            shadow_findings: Vec::new(),
            drain_walk: DrainWalk::default(),
            chores_at: Monotonic::default(),
            by_rule: ByRule::default(),
            counters: Counters::default(),
            latency: Latency::default(),
            body_bytes_max: limits::SIP_BODY_BYTES_MAX,
            scratch: Vec::new(),
            setup,
            snapshot,
        }
    }

    /// Returns this Access Edge with `bytes` as the largest body it takes; larger ones get 513.
    #[must_use]
    pub fn with_body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self.scratch.clear();
        self
    }

    /// Returns how long senders waited for their final responses.
    #[must_use]
    pub const fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Returns what was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns what was refused by which rule.
    #[must_use]
    pub const fn by_rule(&self) -> &ByRule {
        &self.by_rule
    }

    /// Runs `work` with a scratch of its own; nested calls get another one.
    fn with_scratch<R>(&mut self, work: impl FnOnce(&mut Self, &mut Scratch) -> R) -> R {
        let mut scratch = self.scratch.pop().unwrap_or_else(|| {
            let table = HeaderTable::with_body_bytes_max(self.body_bytes_max);
            Box::new(Scratch { table, edits: Edits::default() })
        });
        let result = work(self, &mut scratch);
        self.scratch.push(scratch);
        result
    }

    fn received(
        &mut self,
        now: Now,
        leg: LegId,
        input: &[u8],
        scratch: &mut Scratch,
        effects: &mut Effects,
    ) -> Fed {
        let Scratch { table, edits } = scratch;
        match sip::scan(input, table) {
            Ok(Scan::NeedMore(bytes)) => Fed::NeedMore(bytes),
            Ok(Scan::KeepAlive { consumed, ping }) => {
                self.keep_alive(now, leg, ping, effects);
                Fed::Consumed(consumed)
            }
            Ok(Scan::Message(scanned)) => {
                let message = Message::new(input, table, scanned);
                let consumed = scanned.head_len + scanned.body_len;
                self.leg_heard(now, leg);
                let Some(held) = self.legs.get_mut(leg) else { return Fed::Dead };
                held.carried |= message.method() != Some(Method::Options);
                let class = held.class;
                match scanned.start {
                    StartLine::Request { .. } => {
                        self.count_request(class);
                        let deadline = now.monotonic.plus_ms(limits::PARKED_MS);
                        let arrival = Arrival::Fresh;
                        self.admit(now, leg, &message, edits, deadline, arrival, effects);
                    }
                    StartLine::Response { .. } => {
                        self.response(now, leg, &message, edits, effects);
                    }
                }
                Fed::Consumed(consumed)
            }
            Ok(Scan::Broken(scanned, fault)) => {
                let message = Message::new(input, table, scanned);
                if matches!(scanned.start, StartLine::Request { .. }) {
                    self.refuse(leg, &message, &Fault::framing(fault), effects);
                }
                self.framing_lost(leg, fault.reason(), effects)
            }
            Err(fault) => self.framing_lost(leg, fault.sentence(), effects),
        }
    }

    const fn count_request(&mut self, class: Class) {
        let counter = match class {
            Class::Federation => &mut self.counters.requests_from_partners,
            Class::Internal => &mut self.counters.requests_from_inside,
            Class::Credentials => &mut self.counters.credentials_requests,
            Class::RemoteUsers => &mut self.counters.requests_from_users,
            Class::Xmpp | Class::XmppDirectTls | Class::XmppLink => return,
        };
        *counter += 1;
    }

    fn framing_lost(&mut self, leg: LegId, why: &str, effects: &mut Effects) -> Fed {
        self.counters.framing_lost += 1;
        let sentence = format!("closing the connection: {why}");
        self.note(Some(leg), Severity::Info, sentence, 0, effects);
        effects.commands.push(Command::Close { leg, reason: CloseReason::FramingLost });
        Fed::Dead
    }

    /// A request that has been counted: passes, is answered, or waits for DNS or its turn.
    /// `deadline`: until when it may wait for DNS.
    fn admit(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        edits: &mut Edits,
        deadline: Monotonic,
        arrival: Arrival,
        effects: &mut Effects,
    ) {
        edits.clear();
        if self.legs.get(leg).is_some_and(|leg| leg.class == Class::Credentials) {
            return self.serve_credentials(now, leg, message, effects);
        }
        match message.method() {
            Some(Method::Ack) => {
                return self.ack(now, leg, message, edits, deadline, arrival, effects);
            }
            Some(Method::Cancel) => return self.cancel(now, leg, message, effects),
            _ => {}
        }
        let stop = match self.screen_each(now, leg, message, edits, arrival, effects) {
            Ok(plan) => return self.forward(now, leg, message, plan, edits, effects),
            Err(stop) => stop,
        };
        match stop {
            screen::Stop::Refuse(fault) => self.refuse(leg, message, &fault, effects),
            screen::Stop::Local => self.answer_ok(leg, message, effects),
            screen::Stop::Ask(question) => {
                self.park(now, leg, message, question, (deadline, arrival), effects);
            }
            screen::Stop::Hold { wait_ms } => self.hold(now, leg, message, wait_ms),
        }
    }

    /// Returns the key by which CANCEL and ACK find their INVITE: the sender's branch and sent-by,
    /// or for a sender without a branch what RFC 3261 section 17.2.3 names instead.
    fn transaction_key(&self, leg: LegId, message: &Message<'_>) -> Option<u128> {
        let peer = self.legs.get(leg)?.peer;
        let top = message.top_via().ok()?;
        let [k0, k1] = self.transaction_key;
        let mut hasher = siphasher::sip128::SipHasher13::new_with_keys(k0, k1);
        hasher.write_u64(peer);
        hasher.write(top.via.host);
        hasher.write_u16(top.via.port.unwrap_or(0));
        match top.via.branch.filter(|branch| branch.starts_with(branch::MAGIC)) {
            Some(branch) => hasher.write(branch),
            None => {
                hasher.write(message.call_id());
                hasher.write(message.from().ok()?.tag().unwrap_or_default());
                hasher.write_u32(message.cseq().ok()?.number);
            }
        }
        Some(siphasher::sip128::Hasher128::finish128(&hasher).as_u128())
    }

    /// RFC 5393 section 4.2.2: a hash of what routing looks at.
    fn loop_hash(&self, message: &Message<'_>, class: Class) -> u32 {
        // A fast hash will do: it is compared only with what a branch of ours says, and that has a
        // MAC of its own.
        let mut hasher = FixedState::with_seed(self.transaction_key[0]).build_hasher();
        // Once from 443 and once from inside is a spiral, so the side is part of it.
        hasher.write_u8(class as u8);
        hasher.write(message.uri());
        hasher.write(message.call_id());
        for name in [HeaderName::From, HeaderName::To, HeaderName::CSeq, HeaderName::Route] {
            if let Some(field) = message.first(name) {
                hasher.write(field.value);
            }
        }
        (hasher.finish() >> 32) as u32
    }

    fn note(
        &self,
        leg: Option<LegId>,
        severity: Severity,
        sentence: String,
        decision_id: u64,
        effects: &mut Effects,
    ) {
        let epoch = self.snapshot.epoch;
        effects.commands.push(Command::Note(Note { leg, severity, sentence, decision_id, epoch }));
    }

    /// A number that ties an answer on the wire to a line in the log.
    const fn next_decision(&mut self) -> u64 {
        self.decisions = self.decisions.wrapping_add(1);
        (self.setup.shard as u64) << 48 | (self.decisions & 0xffff_ffff_ffff)
    }

    const fn random(&mut self) -> u64 {
        self.rng.draw()
    }

    fn has_chores(&self) -> bool {
        self.outlets.has_retired() || !self.shadow_findings.is_empty()
    }

    /// Closes the connections that policy or DNS took back, once nobody waits for an answer there,
    /// and tells what the candidate policy found.
    fn do_chores(&mut self, now: Now, effects: &mut Effects) {
        if !self.has_chores() || self.chores_at > now.monotonic {
            return;
        }
        self.chores_at = now.monotonic.plus_ms(CHORES_MS);
        let legs = &self.legs;
        let is_busy = |leg| legs.get(leg).is_some_and(|held| held.slots.len() > 0);
        for leg in self.outlets.take_retired(is_busy) {
            effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted });
        }
        effects.commands.extend(self.shadow_findings.drain(..).map(Command::Note));
    }
}

fn own_names(setup: &Setup, snapshot: &Snapshot) -> OwnNames {
    let rules = snapshot.rules();
    OwnNames {
        external: rules.external_fqdn.as_str().into(),
        internal: rules.internal_fqdn.as_str().into(),
        node: rules.node.as_str().into(),
        external_port: setup.external_port,
        internal_port: setup.internal_port,
        remote_port: setup.remote_port,
    }
}

impl Core for Access {
    fn leg_opened(&mut self, now: Now, leg: LegId, opened: Opened, effects: &mut Effects) {
        let outlet = opened.outlet;
        let shown = (opened.class == Class::Internal && outlet.is_none())
            .then(|| opened.peer.clone())
            .flatten();
        self.legs.open(now, leg, opened);
        self.watch_leg(now, leg, outlet);
        if let Some(peer) = shown {
            let next_hops = self.hops_shown(now, &peer);
            self.tell_shown(&next_hops, effects);
        }
        if let Some(outlet) = outlet {
            self.outlet_opened(now, outlet, leg, effects);
        }
    }

    fn leg_judged(&mut self, _: Now, leg: LegId, peer: Arc<PeerNames>, _: &mut Effects) {
        // The verdicts remembered of this peer have what was known of it in their keys.
        if let Some(held) = self.legs.get_mut(leg) {
            held.names = Some(peer);
        }
    }

    fn feed(&mut self, now: Now, leg: LegId, input: &[u8], effects: &mut Effects) -> Fed {
        let fed =
            self.with_scratch(|access, scratch| access.received(now, leg, input, scratch, effects));
        effects.named.append(&mut self.named);
        fed
    }

    fn leg_closed(&mut self, now: Now, leg: LegId, _: Lost, unsent: usize, effects: &mut Effects) {
        self.parked.forget(leg);
        self.held.forget(leg);
        if let Some(mut held) = self.legs.close(leg) {
            self.leg_lost(now, &mut held, unsent, effects);
        }
    }

    fn connect_failed(
        &mut self,
        now: Now,
        outlet: OutletId,
        why: ConnectFailure,
        effects: &mut Effects,
    ) {
        self.counters.connect_failures += 1;
        self.outlet_failed(now, outlet, why, effects);
    }

    fn resolved(&mut self, now: Now, answer: SharedAnswer, effects: &mut Effects) {
        self.dns.put(now, &answer);
        self.unpark(now, &answer.question, effects);
        effects.named.append(&mut self.named);
    }

    fn mail(&mut self, now: Now, mail: Mail, effects: &mut Effects) {
        self.mail_arrived(now, mail, effects);
    }

    fn mail_refused(&mut self, now: Now, shard: u16, mail: Mail, effects: &mut Effects) {
        self.mail_bounced(now, shard, mail, effects);
    }

    fn adopt(&mut self, _: Now, snapshot: Arc<Snapshot>, effects: &mut Effects) -> Arc<Snapshot> {
        self.names = own_names(&self.setup, &snapshot);
        self.trust = TrustHeader::of(&snapshot);
        self.slots.rename_partners(|partner| snapshot.carry_over(&self.snapshot, partner));
        self.explains = self.setup.explain || snapshot.telling().permits;
        self.media = credentials::service(&snapshot);
        for leg in self.outlets.adopt(&self.snapshot, &snapshot) {
            effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted });
        }
        std::mem::replace(&mut self.snapshot, snapshot)
    }

    fn drain(&mut self, now: Now, stage: Drain, _: &mut Effects) {
        self.begin_drain(now, stage);
    }

    fn expire(&mut self, now: Now, effects: &mut Effects) {
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            if let Some(slot) = self.slots.due(now) {
                self.slot_expired(now, slot, effects);
            } else if let Some(waiting) = self.parked.due(now) {
                self.waited_in_vain(&waiting, effects);
            } else if let Some(waiting) = self.held.due(now) {
                self.release(now, &waiting, effects);
            } else if !self.silence_over(now, effects) {
                break;
            }
        }
        self.drain_legs(now, effects);
        self.do_chores(now, effects);
        effects.named.append(&mut self.named);
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        let deadlines = [
            self.slots.next_deadline(),
            self.parked.next_deadline(),
            self.held.next_deadline(),
            self.silence_deadline(),
            self.has_chores().then_some(self.chores_at),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn pending(&self) -> usize {
        self.slots.unfinished() + self.parked.len() + self.held.len()
    }

    fn only_probed(&self, leg: LegId) -> bool {
        self.legs.get(leg).is_some_and(|leg| !leg.carried)
    }
}

#[cfg(test)]
mod tests;
