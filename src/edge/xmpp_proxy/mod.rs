//! The XMPP proxy at the border: streams with the servers of partners on one side, links with the
//! gateways on the other (wire-protocols C, lync-federation 7).
//!
//! ```text
//! partner ─> receiving ── negotiates, authenticates ─> inward ── judges ─> link ─> gateway
//!                 │ claims: dialback asked about by a route of ours
//! partner <─ initiating <─ delivery: route, queue, DNS, attempts <─ outward ── judges <─ link
//! ```
//!
//! A stream carries only the domain pairs that were authenticated on it. What goes out for one
//! pair is a route: it has one stream, or attempts to get one, and a bounded queue meanwhile.
//! Nothing is asked of DNS, and nothing connected to, for a domain that no entry names.

mod accounts;
mod chores;
mod claims;
pub mod counters;
mod delivery;
mod explain;
mod initiating;
mod inward;
mod links;
mod orphans;
mod outward;
mod receiving;
mod route;
mod stream;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use self::accounts::Accounts;
use self::claims::Claim;
use self::counters::Counters;
use self::delivery::Report;
use self::orphans::Orphans;
use self::route::Routes;
use self::stream::{End, Held, Legs, Side, State, Stream};
use super::decided::Told;
use super::spread::Spread;
use super::{
    Class, CloseReason, Command, ConnectFailure, Core, Decided, Drain, Effects, Fed, Kind, LegId,
    Lost, Mail, Note, Opened, OutletId, RefusedBy, Said, Secured, Severity,
};
use crate::dns::{self, Domain, SharedAnswer};
use crate::limits;
use crate::policy::{Direction, PeerNames, Snapshot, XmppKey};
use crate::time::{Monotonic, Now};
use crate::xmpp::{StreamError, StreamHeader, dialback, write};

/// What an XMPP proxy is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Random per process; fixed in a simulation.
    pub process_key: [u64; 2],
    /// The pool's secrets for dialback keys; those that roll out are still accepted.
    pub secrets: dialback::Secrets,
    /// Seed of the generator that orders targets and spreads attempts.
    pub seed: u64,
    /// Leaves a note for every stanza that passes.
    pub explain: bool,
}

impl Setup {
    /// Returns the setup of a proxy that is its pool alone.
    ///
    /// Both secrets are the caller's, and as secret as what it does with the proxy demands.
    #[must_use]
    pub fn single(process_key: [u64; 2], secret: &[u8]) -> Self {
        let secrets = dialback::Secrets::new(secret, &[]);
        Self { process_key, secrets, seed: process_key[0], explain: false }
    }
}

/// The XMPP proxy of one process.
#[derive(Debug)]
pub struct XmppProxy {
    setup: Setup,
    snapshot: Arc<Snapshot>,
    legs: Legs,
    routes: Routes,
    claims: Vec<Claim>,
    dns: dns::Cache,
    accounts: Accounts,
    counters: Counters,
    rng: Spread,
    ids: u64,
    /// Of the last stanza that was handed over.
    numbers: u64,
    orphans: Orphans,
    decisions: u64,
    outlets: u32,
    draining: Option<Drain>,
    /// Refusals told since the last chores.
    told: u32,
    chores_at: Option<Monotonic>,
    settle_at: Option<Monotonic>,
    /// What is done once every leg is in its place again.
    reports: Vec<(LegId, u64, Report)>,
    replies: Vec<(Domain, Domain, Box<[u8]>)>,
    due: Vec<u32>,
    /// Refused streams that the decision log was told of.
    refusals_told: Told,
    /// A link has come up or gone, and the other gateways have not been told.
    linked_changed: bool,
}

impl XmppProxy {
    /// Returns a proxy without streams.
    #[must_use]
    pub fn new(setup: Setup, snapshot: Arc<Snapshot>) -> Self {
        let [k0, k1] = setup.process_key;
        Self {
            accounts: Accounts::new(&snapshot),
            dns: dns::Cache::new([k0 ^ 0x646e_7373, k1]),
            legs: Legs::default(),
            routes: Routes::default(),
            claims: Vec::new(),
            counters: Counters::default(),
            rng: Spread::new(setup.seed),
            ids: 0,
            // Half of what there is, so that none comes round.
            numbers: keyed(setup.process_key, b"stanza", 0) >> 1,
            orphans: Orphans::default(),
            decisions: keyed(setup.process_key, b"decision", 0),
            outlets: 0,
            draining: None,
            told: 0,
            chores_at: None,
            settle_at: None,
            reports: Vec::new(),
            replies: Vec::new(),
            due: Vec::new(),
            refusals_told: Told::default(),
            linked_changed: false,
            setup,
            snapshot,
        }
    }

    /// Returns what the proxy was made from.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Returns what was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns how many streams there are, authenticated or not.
    #[must_use]
    pub const fn streams(&self) -> usize {
        self.legs.stream_count()
    }

    /// Returns how many bytes of stanzas wait for a stream.
    #[must_use]
    pub const fn queued_bytes(&self) -> usize {
        self.routes.bytes
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

    /// Tells of a refusal, unless too many were told already, and returns its number.
    fn tell(&mut self, leg: LegId, sentence: &str, effects: &mut Effects) -> u64 {
        let decision = self.next_decision();
        self.told += 1;
        if self.told <= limits::XMPP_NOTES_PER_S_MAX {
            let sentence = format!("refused: {sentence}");
            self.note(Some(leg), Severity::Info, sentence, decision, effects);
        }
        decision
    }

    const fn next_decision(&mut self) -> u64 {
        self.decisions = self.decisions.wrapping_add(1);
        self.decisions & 0xffff_ffff_ffff
    }

    /// Tells the decision log of a stream that was refused, once for each pair of domains and
    /// reason. A stream that named no domain is in the log alone.
    fn tell_stream_refused(
        &mut self,
        stream: &Stream,
        sentence: &str,
        decision_id: u64,
        effects: &mut Effects,
    ) {
        let Some(theirs) = stream.theirs.clone().filter(|_| self.snapshot.telling().verdicts)
        else {
            return;
        };
        let (ours, epoch) = (stream.ours.clone(), self.snapshot.epoch);
        let mut hasher = SipHasher13::new_with_keys(self.setup.process_key[0], epoch);
        (&theirs, &ours, sentence).hash(&mut hasher);
        if !self.refusals_told.first(hasher.finish()) {
            return;
        }
        let (direction, from, to) = match (stream.side, ours) {
            (Side::Receiving, ours) => (Direction::Inbound, theirs, ours),
            (Side::Initiating(_), Some(ours)) => (Direction::Outbound, ours, Some(theirs)),
            (Side::Initiating(_), None) => return,
        };
        let (by, status, diagnostics) = (RefusedBy::Stream, 0, 0);
        let said = Said::Refused { by, status, diagnostics, sentence: sentence.to_owned() };
        let (peer, answers) = (stream.names.clone(), Vec::new());
        let decided = Decided { decision_id, epoch, direction, peer, from, to, answers, said };
        effects.commands.push(Command::Decided(Box::new(decided)));
    }

    const fn random(&mut self) -> u64 {
        self.rng.draw()
    }

    /// Returns the id of a stream, which no peer can guess (RFC 6120 section 4.7.3).
    fn next_id(&mut self) -> String {
        self.ids += 1;
        let key = self.setup.process_key;
        format!("{:016x}{:016x}", keyed(key, b"id", self.ids), keyed(key, b"di", self.ids))
    }

    /// Returns the number of a stanza on its way to a gateway, which no process of this edge gives
    /// to another.
    const fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn stage(&self, leg: LegId, text: &[u8], effects: &mut Effects) {
        if let Some(out) = effects.stage(leg, Kind::Response, text.len()) {
            out.extend_from_slice(text);
        }
    }

    fn partner_streams(&self, partner: XmppKey) -> usize {
        self.legs.streams().filter(|stream| stream.partner == Some(partner)).count()
    }

    /// Ends a stream at once: our header if it is missing, the error, the end, the close.
    fn end_stream(&mut self, stream: &mut Stream, end: &End, effects: &mut Effects) {
        if stream.state == State::Dead {
            return;
        }
        let mut out = Vec::new();
        if !stream.header_sent && stream.state != State::Securing {
            self.write_header(stream, &mut out);
        }
        let decision = if end.is_refusal() { self.next_decision() } else { 0 };
        if let Some(error) = end.error {
            self.counters.stream_errors_sent += 1;
            // Who is refused learns the number and not the reason: the operator finds it by that.
            let text = (decision != 0).then(|| format!("decision={decision:016x}"));
            error.write(text.as_deref(), &mut out);
        }
        if stream.header_sent && !matches!(stream.state, State::Closing(..)) {
            out.extend_from_slice(write::STREAM_END);
        }
        if !stream.is_authenticated() {
            self.counters.closed_unauthenticated += 1;
        }
        if end.error == Some(StreamError::InvalidFrom) {
            self.counters.forged += 1;
        }
        if end.reason == CloseReason::FramingLost {
            self.counters.malformed += 1;
        }
        self.stage(stream.leg, &out, effects);
        stream.state = State::Dead;
        let severity = match end.reason {
            CloseReason::Ended | CloseReason::Idle | CloseReason::Draining => Severity::Debug,
            _ => Severity::Info,
        };
        let with = stream.theirs.as_ref().map(|theirs| format!(" with {theirs}"));
        let sentence =
            format!("closing the XMPP stream{}: {}", with.unwrap_or_default(), end.sentence);
        self.note(Some(stream.leg), severity, sentence, decision, effects);
        if decision != 0 {
            self.tell_stream_refused(stream, &end.sentence, decision, effects);
        }
        effects.commands.push(Command::Close { leg: stream.leg, reason: end.reason });
    }

    fn write_header(&self, stream: &mut Stream, out: &mut Vec<u8>) {
        let ours = stream.ours.as_ref().unwrap_or(&self.snapshot.rules().external_fqdn);
        let mut header = StreamHeader::between(ours.as_str(), "");
        header.to = stream.theirs.as_ref().map(Domain::to_string);
        if stream.side == Side::Receiving {
            header.id = Some(stream.id.clone());
        }
        header.write(out);
        stream.header_sent = true;
    }

    /// Does what had to wait until every leg was in its place.
    fn finish(&mut self, now: Now, effects: &mut Effects) {
        if std::mem::take(&mut self.linked_changed) {
            self.tell_gateways(now, effects);
            self.adopt_orphans(now, effects);
        }
        for (ours, theirs, bytes) in std::mem::take(&mut self.replies) {
            self.send_out(now, &ours, &theirs, None, bytes, effects);
        }
        let mut due = std::mem::take(&mut self.due);
        due.sort_unstable();
        due.dedup();
        for at in due {
            self.pursue(now, at, effects);
        }
        self.flush_reports(effects);
        if self.chores_at.is_none() && self.has_chores() {
            self.chores_at = Some(now.monotonic.plus_ms(limits::XMPP_CHORES_MS));
        }
    }

    fn flush_reports(&mut self, effects: &mut Effects) {
        for (link, number, report) in std::mem::take(&mut self.reports) {
            self.deliver_report(link, number, report, effects);
        }
    }

    fn accept(&mut self, now: Now, leg: LegId, opened: Opened, effects: &mut Effects) {
        let mut stream = Stream::new(now.monotonic, leg, Side::Receiving);
        stream.cover = match opened.class {
            Class::Xmpp => stream::Cover::Clear,
            _ => stream::Cover::Tls,
        };
        (stream.names, stream.doubt) = (opened.peer, opened.doubt);
        stream.id = self.next_id();
        self.counters.streams_accepted += 1;
        let half_open = |s: &&Stream| s.side == Side::Receiving && !s.is_authenticated();
        let too_many = self.legs.stream_count() >= self.snapshot.xmpp_limits().connections as usize
            || self.legs.streams().filter(half_open).count() >= limits::XMPP_HALF_OPEN_MAX;
        let end = match (too_many, self.draining) {
            (true, _) => Some((StreamError::ResourceConstraint, "there are too many XMPP streams")),
            (_, Some(_)) => Some((StreamError::SystemShutdown, "the edge drains")),
            _ => None,
        };
        if let Some((error, why)) = end {
            self.counters.refused_by_limit += u64::from(too_many);
            self.end_stream(&mut stream, &End::refused(error, why), effects);
        }
        self.legs.put(leg, Held::Stream(Box::new(stream)));
    }
}

/// Returns 64 bits that only the holder of the key can know.
fn keyed([k0, k1]: [u64; 2], what: &[u8], number: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(k0 ^ 0x786d_7070, k1);
    hasher.write(what);
    hasher.write_u64(number);
    hasher.finish()
}

impl Core for XmppProxy {
    fn leg_opened(&mut self, now: Now, leg: LegId, opened: Opened, effects: &mut Effects) {
        match (opened.class, opened.outlet) {
            (Class::XmppLink, _) => self.link_opened(now, leg, opened, effects),
            (Class::Xmpp | Class::XmppDirectTls, Some(outlet)) => {
                self.stream_opened(now, leg, outlet, opened, effects);
            }
            (Class::Xmpp | Class::XmppDirectTls, None) => self.accept(now, leg, opened, effects),
            (Class::Federation | Class::RemoteUsers | Class::Internal | Class::Credentials, _) => {
                effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted });
            }
        }
        self.finish(now, effects);
    }

    fn leg_secured(&mut self, now: Now, leg: LegId, secured: Secured, effects: &mut Effects) {
        let Some(stream) = self.legs.stream(leg) else { return };
        if stream.state != State::Securing {
            return;
        }
        stream.cover = stream::Cover::Tls;
        (stream.names, stream.doubt) = (secured.peer, secured.doubt);
        stream.restart();
        stream.heard_at = now.monotonic;
        if stream.side == Side::Receiving {
            // The keys of the clear stream are void with it (RFC 6120 section 5.4.3.3).
            let id = self.next_id();
            if let Some(stream) = self.legs.stream(leg) {
                stream.id = id;
            }
        } else if let Some(mut stream) = self.legs.take_stream(leg) {
            self.begin(&mut stream, effects);
            self.legs.put(leg, Held::Stream(stream));
        }
    }

    fn leg_judged(&mut self, now: Now, leg: LegId, peer: Arc<PeerNames>, effects: &mut Effects) {
        if let Some(mut stream) = self.legs.take_stream(leg) {
            stream.names = Some(peer);
            self.judge_again(now, &mut stream, effects);
            self.legs.put(leg, Held::Stream(stream));
        }
        self.finish(now, effects);
    }

    fn leg_doubted(&mut self, now: Now, leg: LegId, doubt: Arc<str>, effects: &mut Effects) {
        if let Some(mut stream) = self.legs.take_stream(leg) {
            (stream.names, stream.doubt) = (None, Some(doubt));
            self.judge_again(now, &mut stream, effects);
            self.legs.put(leg, Held::Stream(stream));
        }
        self.finish(now, effects);
    }

    fn feed(&mut self, now: Now, leg: LegId, input: &[u8], effects: &mut Effects) -> Fed {
        let fed = match self.legs.take(leg) {
            Some(Held::Stream(mut stream)) => {
                let fed = self.stream_fed(now, &mut stream, input, effects);
                self.legs.put(leg, Held::Stream(stream));
                fed
            }
            Some(Held::Link(mut link)) => {
                let fed = self.link_fed(now, &mut link, input, effects);
                self.legs.put(leg, Held::Link(link));
                fed
            }
            None => Fed::Dead,
        };
        self.finish(now, effects);
        fed
    }

    fn leg_closed(&mut self, now: Now, leg: LegId, _: Lost, unsent: usize, effects: &mut Effects) {
        match self.legs.take(leg) {
            Some(Held::Stream(stream)) => self.stream_lost(now, *stream, unsent, effects),
            Some(Held::Link(link)) => self.link_lost(now, *link, effects),
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
        self.not_connected(now, outlet, why, effects);
        self.finish(now, effects);
    }

    fn resolved(&mut self, now: Now, answer: SharedAnswer, effects: &mut Effects) {
        self.dns.put(now, &answer);
        for at in self.routes.ids() {
            let asked = self.routes.get(at).map(|route| &route.standing);
            if matches!(asked, Some(route::Standing::Resolving(q)) if *q == answer.question) {
                self.due.push(at);
            }
        }
        self.finish(now, effects);
    }

    fn mail(&mut self, _: Now, _: Mail, _: &mut Effects) {}

    fn mail_refused(&mut self, _: Now, _: u16, _: Mail, _: &mut Effects) {}

    fn adopt(&mut self, now: Now, snapshot: Arc<Snapshot>, effects: &mut Effects) -> Arc<Snapshot> {
        let older = std::mem::replace(&mut self.snapshot, snapshot);
        self.adopted(now, &older, effects);
        self.finish(now, effects);
        older
    }

    fn drain(&mut self, now: Now, stage: Drain, effects: &mut Effects) {
        self.draining = Some(stage);
        if stage == Drain::Closing {
            self.close_for_drain(effects);
        }
        self.finish(now, effects);
    }

    fn expire(&mut self, now: Now, effects: &mut Effects) {
        if self.settle_at.is_some_and(|at| at <= now.monotonic) {
            self.settle_at = None;
            self.settle(now, effects);
        }
        if self.chores_at.is_some_and(|at| at <= now.monotonic) {
            self.chores_at = None;
            self.do_chores(now, effects);
        }
        self.finish(now, effects);
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        [self.chores_at, self.settle_at].into_iter().flatten().min()
    }

    fn pending(&self) -> usize {
        self.orphans.len()
            + self.routes.queued()
            + self.legs.streams().map(|stream| stream.on_way.len()).sum::<usize>()
    }
}
