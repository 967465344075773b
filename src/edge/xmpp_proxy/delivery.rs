//! How a stanza gets to a partner: by its route's stream, or into the queue while one is made.

use std::net::SocketAddr;
use std::sync::Arc;

use super::XmppProxy;
use super::route::{Failing, Goal, Place, Queued, Standing};
use super::stream::{End, Going, Held, OnWay, Side, State, Stream};
use crate::dns::{self, Answer, Domain, Question, Want};
use crate::edge::{
    Class, Command, Connect, ConnectFailure, Effects, Kind, LegId, OutletId, Severity,
};
use crate::limits;
use crate::policy::{AddressRule, ExpectedNames, XmppPartner, address};
use crate::time::Now;
use crate::xmpp::{Management, StanzaError, StreamError, acknowledged};

/// What became of a gateway's stanza.
#[derive(Debug)]
pub(super) enum Report {
    Taken,
    Bounced(StanzaError, Option<String>),
}

impl XmppProxy {
    /// Sends a stanza out: at once if there is a stream for its pair, else it waits for one.
    /// `report`: the link that brought it, and its number there; `None`: it is our own.
    pub(super) fn send_out(
        &mut self,
        now: Now,
        ours: &Domain,
        theirs: &Domain,
        report: Option<(LegId, u64)>,
        bytes: Box<[u8]>,
        effects: &mut Effects,
    ) {
        let deadline = now.monotonic.plus_ms(limits::XMPP_QUEUE_MS);
        let queued = Queued { report, bytes, deadline };
        let Some(at) = self.route_for(now, ours, theirs) else {
            return self.bounce(&queued, StanzaError::ResourceConstraint, "too many domain pairs");
        };
        let Some(route) = self.routes.get(at) else { return };
        let queued = match (route.queue.is_empty(), self.carrier(at)) {
            (true, Some(leg)) => match self.write_to(now, leg, queued, effects) {
                Ok(()) => return,
                Err(queued) => queued,
            },
            _ => queued,
        };
        if let Err(queued) = self.routes.queue(at, queued, Place::Behind) {
            let why = "too much waits for this domain already";
            return self.bounce(&queued, StanzaError::ResourceConstraint, why);
        }
        self.due.push(at);
    }

    fn route_for(&mut self, now: Now, ours: &Domain, theirs: &Domain) -> Option<u32> {
        if let Some(at) = self.routes.find(ours.as_str(), theirs.as_str()) {
            return Some(at);
        }
        let permit = self.snapshot.xmpp(now, ours, theirs).ok()?;
        self.routes.reach(ours, theirs, permit)
    }

    /// Returns the stream that carries a route's stanzas.
    fn carrier(&mut self, at: u32) -> Option<LegId> {
        let route = self.routes.get(at)?;
        let own = match route.standing {
            Standing::Open(leg) => Some(leg),
            _ => None,
        };
        let carries = |stream: &Stream| match stream.side {
            Side::Receiving => stream.state == State::Open && !stream.outbound.is_empty(),
            Side::Initiating(_) => stream.state == State::Ready,
        };
        [route.bidi, own]
            .into_iter()
            .flatten()
            .find(|leg| self.legs.stream(*leg).is_some_and(|stream| carries(stream)))
    }

    /// Writes a stanza to a stream, if it has room.
    ///
    /// Hot: once per stanza to a partner; one copy into staging, and the stanza itself is kept
    /// until it is known to be taken.
    fn write_to(
        &mut self,
        now: Now,
        leg: LegId,
        queued: Queued,
        effects: &mut Effects,
    ) -> Result<(), Queued> {
        let Some(stream) = self.legs.stream(leg) else { return Err(queued) };
        let size = queued.bytes.len();
        let full = stream.on_way.len() >= limits::XMPP_ON_WAY_STANZAS_MAX
            || (stream.on_way_bytes + size > limits::XMPP_ON_WAY_BYTES_MAX
                && !stream.on_way.is_empty());
        if full {
            return Err(queued);
        }
        let Some(out) = effects.stage(leg, Kind::Request, size) else { return Err(queued) };
        let before = out.len();
        out.extend_from_slice(&queued.bytes);
        if let Some(managed) = &mut stream.managed
            && !managed.requested
        {
            managed.requested = true;
            Management::Request.write(out);
        }
        stream.staged += (out.len() - before) as u64;
        stream.stanza_at = now.monotonic;
        let Queued { report, bytes, deadline } = queued;
        stream.on_way_bytes += size;
        stream.on_way.push_back(OnWay { report, bytes, end: stream.staged, deadline });
        if self.settle_at.is_none() {
            self.settle_at = Some(now.monotonic.plus_ms(limits::XMPP_SETTLE_MS));
        }
        Ok(())
    }

    /// Sends what a route has waiting, or takes the next step towards a stream for it.
    pub(super) fn pursue(&mut self, now: Now, at: u32, effects: &mut Effects) {
        if let Some(leg) = self.carrier(at) {
            return self.flush(now, at, leg, effects);
        }
        let Some(route) = self.routes.get(at) else { return };
        if !route.is_wanted() {
            return;
        }
        match route.standing.clone() {
            Standing::Idle if route.rest_until <= now.monotonic && self.draining.is_none() => {
                self.resolve(now, at, effects);
            }
            Standing::Resolving(question) => self.resolved_for(now, at, question, effects),
            Standing::Open(leg) => {
                if let Some(mut stream) = self.legs.take_stream(leg) {
                    if stream.state == State::Asking {
                        self.ask_claims(&mut stream, effects);
                        let queue = self.routes.get(at).is_some_and(|r| !r.queue.is_empty());
                        if queue {
                            self.prove_late(&mut stream, effects);
                        }
                    }
                    self.legs.put(leg, Held::Stream(stream));
                }
            }
            Standing::Idle | Standing::Connecting(_) => {}
        }
    }

    fn flush(&mut self, now: Now, at: u32, leg: LegId, effects: &mut Effects) {
        while let Some(queued) = self.routes.pop(at) {
            if let Err(queued) = self.write_to(now, leg, queued, effects) {
                // Its place was its own a moment ago.
                let _ = self.routes.queue(at, queued, Place::Before);
                break;
            }
        }
        let own = self.routes.get(at).map(|route| route.standing == Standing::Open(leg));
        let claims = self.routes.get(at).is_some_and(|route| route.claims > 0);
        if claims && own == Some(true) {
            if let Some(mut stream) = self.legs.take_stream(leg) {
                self.ask_claims(&mut stream, effects);
                self.legs.put(leg, Held::Stream(stream));
            }
        } else if claims && let Some(route) = self.routes.get(at) {
            // A claim on a stream of the peer's is asked about on one of ours.
            match route.standing.clone() {
                Standing::Idle if route.rest_until <= now.monotonic => {
                    self.resolve(now, at, effects);
                }
                Standing::Resolving(question) => self.resolved_for(now, at, question, effects),
                _ => {}
            }
        }
    }

    fn resolve(&mut self, now: Now, at: u32, effects: &mut Effects) {
        let Some(route) = self.routes.get(at) else { return };
        let Some(partner) = self.snapshot.xmpp_partner(route.permit.partner()) else { return };
        let question = match &partner.proxy {
            Some((fqdn, port)) => Question::Host { fqdn: fqdn.clone(), port: *port },
            None => Question::Xmpp(route.theirs.clone()),
        };
        self.resolved_for(now, at, question, effects);
    }

    fn resolved_for(&mut self, now: Now, at: u32, question: Question, effects: &mut Effects) {
        match self.dns.want(now, &question) {
            Want::Known(answer) => return self.take_answer(now, at, &answer, effects),
            Want::Ask => {
                self.counters.questions += 1;
                effects.commands.push(Command::Ask(question.clone()));
            }
            Want::Asked => {}
        }
        if let Some(route) = self.routes.get_mut(at) {
            route.standing = Standing::Resolving(question);
        }
    }

    fn take_answer(&mut self, now: Now, at: u32, answer: &Arc<Answer>, effects: &mut Effects) {
        let mut random = self.random();
        let order = dns::order(answer, &mut || {
            random = random.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            random
        });
        let Some(route) = self.routes.get_mut(at) else { return };
        let Some(partner) = self.snapshot.xmpp_partner(route.permit.partner()) else { return };
        let targets = match &answer.outcome {
            Ok(targets) => targets,
            Err(failure) => {
                let why = match failure {
                    dns::Failure::ServerFailure | dns::Failure::Timeout => Failing::Unreachable,
                    _ => Failing::NotFound,
                };
                let sentence = format!("DNS has no server for {}", route.theirs);
                return self.attempt_failed(now, at, why, &sentence, effects);
            }
        };
        let rule = &self.snapshot.rules().addresses;
        let goals = order.into_iter().filter_map(|place| targets.get(place));
        route.goals = goals
            .map(|target| goal(rule, partner, target, &answer.question))
            .filter(|goal| !goal.addresses.is_empty())
            .filter(|goal| goal.class == Class::Xmpp || partner.methods().over_tls())
            .take(limits::TARGETS_TRIED_MAX as usize)
            .collect();
        if route.goals.is_empty() {
            let sentence = format!("no address of {} may be connected to", route.theirs);
            return self.attempt_failed(now, at, Failing::Unreachable, &sentence, effects);
        }
        self.connect_next(now, at, effects);
    }

    /// Connects to the next target of the round, or ends the round.
    pub(super) fn connect_next(&mut self, now: Now, at: u32, effects: &mut Effects) {
        let Some(route) = self.routes.get_mut(at) else { return };
        route.standing = Standing::Idle;
        let theirs = route.theirs.clone();
        let permit = route.permit;
        let Some(goal) = route.goals.pop_front() else {
            let sentence = format!("no server of {theirs} can be talked to");
            return self.attempt_failed(now, at, Failing::Unreachable, &sentence, effects);
        };
        let Some(partner) = self.snapshot.xmpp_partner(permit.partner()) else { return };
        let limits = self.snapshot.xmpp_limits();
        let own = usize::from(partner.connection_limit.unwrap_or(limits.partner_connections));
        let full = self.partner_streams(permit.partner()) >= own
            || self.legs.stream_count() >= limits.connections as usize;
        if full {
            self.counters.refused_by_limit += 1;
            let sentence = format!("no stream to {theirs}: there are too many");
            return self.attempt_failed(now, at, Failing::Exhausted, &sentence, effects);
        }
        let anchors = partner.anchors;
        self.outlets = self.outlets.wrapping_add(1);
        let outlet = OutletId { index: at, generation: self.outlets };
        if let Some(route) = self.routes.get_mut(at) {
            route.standing = Standing::Connecting(outlet);
        }
        self.counters.streams_opened += 1;
        effects.commands.push(Command::Connect(Connect {
            outlet,
            class: goal.class,
            // The certificate is of the XMPP domain, not of the host (wire-protocols C.1).
            server_name: theirs,
            expected_names: ExpectedNames::default(),
            addresses: goal.addresses,
            anchors,
        }));
    }

    pub(super) fn not_connected(
        &mut self,
        now: Now,
        outlet: OutletId,
        why: ConnectFailure,
        effects: &mut Effects,
    ) {
        let Some(route) = self.routes.get(outlet.index) else { return };
        if route.standing != Standing::Connecting(outlet) {
            return;
        }
        let sentence = format!("no connection to a server of {}: {why:?}", route.theirs);
        self.note(None, Severity::Debug, sentence, 0, effects);
        self.connect_next(now, outlet.index, effects);
    }

    /// A round of attempts is over without a stream. What waits goes on waiting for the next one,
    /// unless nothing will come of that.
    fn attempt_failed(
        &mut self,
        now: Now,
        at: u32,
        why: Failing,
        sentence: &str,
        effects: &mut Effects,
    ) {
        let random = self.random();
        let Some(route) = self.routes.get_mut(at) else { return };
        route.failed(now, why, random);
        let rest_s = route.rest_until.ms_since(now.monotonic) / 1_000;
        let (ours, theirs) = (route.ours.clone(), route.theirs.clone());
        let sentence = format!("{sentence}; the next attempt is in {rest_s} s");
        self.note(None, Severity::Warn, sentence, 0, effects);
        let error = match why {
            Failing::NotFound => StanzaError::RemoteServerNotFound,
            _ => StanzaError::RemoteServerTimeout,
        };
        if why == Failing::NotFound {
            while let Some(queued) = self.routes.pop(at) {
                self.bounce(&queued, error, "the domain has no XMPP server");
            }
        }
        self.fail_claims(now, error, |claim| claim.is_of(&ours, &theirs), effects);
    }

    /// A partner is heard of: what waits for it is tried at once.
    pub(super) fn contacted(&mut self, theirs: &Domain) {
        for at in self.routes.ids() {
            if let Some(route) = self.routes.get_mut(at)
                && route.theirs == *theirs
                && route.failures > 0
            {
                route.succeeded();
                self.due.push(at);
            }
        }
    }

    /// Bounces what a link brought; what is our own is dropped.
    pub(super) fn bounce(&mut self, queued: &Queued, error: StanzaError, why: &str) {
        if let Some((link, number)) = queued.report {
            self.bounce_as(link, number, error, Some(why.to_owned()));
        } else {
            self.counters.dropped += 1;
        }
    }

    pub(super) fn bounce_as(
        &mut self,
        link: LegId,
        number: u64,
        error: StanzaError,
        text: Option<String>,
    ) {
        let counter = match error {
            StanzaError::RemoteServerNotFound => &mut self.counters.bounced_not_found,
            StanzaError::RemoteServerTimeout => &mut self.counters.bounced_timeout,
            StanzaError::ResourceConstraint => &mut self.counters.bounced_full,
            StanzaError::BadRequest | StanzaError::JidMalformed => {
                &mut self.counters.bounced_malformed
            }
            _ => &mut self.counters.bounced_policy,
        };
        *counter += 1;
        self.reports.push((link, number, Report::Bounced(error, text)));
    }

    /// The peer has acknowledged stanzas (XEP-0198 section 4).
    pub(super) fn acknowledged(
        &mut self,
        now: Now,
        stream: &mut Stream,
        handled: u32,
        effects: &mut Effects,
    ) -> Going {
        let outstanding = u32::try_from(stream.on_way.len()).unwrap_or(u32::MAX);
        let Some(managed) = &mut stream.managed else { return Ok(()) };
        let Some(fresh) = acknowledged(managed.acknowledged, handled, outstanding) else {
            let why = "the peer acknowledges more stanzas than were sent";
            return Err(End::abuse(StreamError::UndefinedCondition, why));
        };
        managed.acknowledged = handled;
        managed.requested = false;
        stream.heard_at = now.monotonic;
        for _ in 0..fresh {
            self.settled(stream);
        }
        let mut out = Vec::new();
        if !stream.on_way.is_empty()
            && let Some(managed) = &mut stream.managed
        {
            managed.requested = true;
            Management::Request.write(&mut out);
            stream.staged += out.len() as u64;
            self.stage(stream.leg, &out, effects);
        }
        if fresh > 0
            && let Some(pair) = stream.outbound.first()
        {
            self.due.extend(self.routes.find(pair.ours.as_str(), pair.theirs.as_str()));
        }
        Ok(())
    }

    /// The oldest stanza on its way is taken.
    fn settled(&mut self, stream: &mut Stream) {
        let Some(on_way) = stream.on_way.pop_front() else { return };
        stream.on_way_bytes -= on_way.bytes.len();
        if let Some((link, number)) = on_way.report {
            self.counters.taken += 1;
            self.reports.push((link, number, Report::Taken));
        }
    }

    /// Looks what the kernel has taken, on streams without stream management.
    pub(super) fn settle(&mut self, now: Now, effects: &mut Effects) {
        let mut unsettled = false;
        for leg in self.legs.ids() {
            let Some(stream) = self.legs.stream(leg) else { continue };
            if stream.on_way.is_empty() || stream.managed.is_some() {
                continue;
            }
            let Some(mut stream) = self.legs.take_stream(leg) else { continue };
            // Ciphertext is longer than its plaintext, so this errs on the safe side.
            let backlog = effects.backlog(leg).unwrap_or(0) as u64;
            let taken = stream.staged.saturating_sub(backlog);
            while stream.on_way.front().is_some_and(|on_way| on_way.end <= taken) {
                self.settled(&mut stream);
            }
            unsettled |= !stream.on_way.is_empty();
            for pair in &stream.outbound {
                self.due.extend(self.routes.find(pair.ours.as_str(), pair.theirs.as_str()));
            }
            self.legs.put(leg, Held::Stream(stream));
        }
        if unsettled {
            self.settle_at = Some(now.monotonic.plus_ms(limits::XMPP_SETTLE_MS));
        }
    }

    /// A stream is gone: what it had not taken goes again by another one.
    pub(super) fn stream_lost(
        &mut self,
        now: Now,
        mut stream: Stream,
        unsent: usize,
        effects: &mut Effects,
    ) {
        let leg = stream.leg;
        self.forget_claims(leg);
        if !stream.is_authenticated() && stream.state != State::Dead {
            self.counters.closed_unauthenticated += 1;
        }
        let taken = stream.staged.saturating_sub(unsent as u64);
        while stream.managed.is_none()
            && stream.on_way.front().is_some_and(|on_way| on_way.end <= taken)
        {
            self.settled(&mut stream);
        }
        let at = match stream.side {
            Side::Initiating(at) => Some(at),
            Side::Receiving => {
                let pair = stream.outbound.first();
                pair.and_then(|pair| self.routes.find(pair.ours.as_str(), pair.theirs.as_str()))
            }
        };
        for pair in &stream.outbound {
            let route = self.routes.find(pair.ours.as_str(), pair.theirs.as_str());
            if let Some(route) = route.and_then(|at| self.routes.get_mut(at))
                && route.bidi == Some(leg)
            {
                route.bidi = None;
            }
        }
        while let Some(OnWay { report, bytes, deadline, .. }) = stream.on_way.pop_back() {
            let queued = Queued { report, bytes, deadline };
            self.counters.sent_again += 1;
            let back = at.ok_or(()).map_err(|()| None);
            let back =
                back.and_then(|at| self.routes.queue(at, queued, Place::Before).map_err(Some));
            if let Err(Some(queued)) = back {
                self.bounce(&queued, StanzaError::RemoteServerTimeout, "the stream was lost");
            }
        }
        let Some(at) = at else { return };
        self.due.push(at);
        let Some(route) = self.routes.get_mut(at) else { return };
        if route.standing != Standing::Open(leg) {
            return;
        }
        route.standing = Standing::Idle;
        let failed = stream.outbound.is_empty() && stream.state != State::Asking;
        if failed && route.is_wanted() {
            self.connect_next(now, at, effects);
        } else if !stream.outbound.is_empty() {
            // A peer that takes streams and drops them is not to be asked without a pause.
            route.rest_until = now.monotonic.plus_ms(limits::XMPP_CHORES_MS);
        }
        let error = StanzaError::RemoteServerTimeout;
        self.fail_claims(now, error, |claim| claim.asked == Some(leg), effects);
    }

    pub(super) fn deliver_report(
        &mut self,
        link: LegId,
        number: u64,
        report: Report,
        effects: &mut Effects,
    ) {
        let Some(link) = self.legs.link(link) else { return };
        let mut out = std::mem::take(&mut link.scratch);
        match report {
            Report::Taken => link.end.taken(number, &mut out),
            Report::Bounced(error, text) => {
                link.end.bounced(number, error, text.as_deref(), &mut out);
            }
        }
        let leg = link.leg;
        let staged = effects.stage(leg, Kind::Response, out.len());
        let full = staged.is_none();
        if let Some(staged) = staged {
            staged.extend_from_slice(&out);
        }
        out.clear();
        link.scratch = out;
        if full {
            // A gateway that does not read gets its stanzas back by the loss of the link.
            self.drop_link(leg, "the gateway does not take its reports", effects);
        }
    }
}

/// Returns what there is to connect to at one target.
fn goal(
    rule: &AddressRule,
    partner: &XmppPartner,
    target: &dns::Target,
    question: &Question,
) -> Goal {
    let permitted = target
        .addresses
        .iter()
        .filter_map(|ip| address::permitted(rule, &partner.allow_networks, *ip).ok());
    // A host named in the entry listens where XMPP servers do, and begins in the clear.
    let direct = target.direct_tls && matches!(question, Question::Xmpp(_));
    Goal {
        class: if direct { Class::XmppDirectTls } else { Class::Xmpp },
        addresses: permitted.map(|ip| SocketAddr::new(ip, target.port)).collect(),
    }
}
