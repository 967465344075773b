//! What has its time: silence, patience and pauses, a new snapshot, and the end of the edge.

use super::XmppProxy;
use super::links::Dead;
use super::route::{Failing, Standing};
use super::stream::{End, Held, Side, State, Stream};
use crate::edge::{CloseReason, Command, Effects, LegId};
use crate::limits;
use crate::policy::Snapshot;
use crate::time::Now;
use crate::xmpp::{StanzaError, StreamError, ping, write};

impl XmppProxy {
    pub(super) fn has_chores(&self) -> bool {
        self.legs.stream_count() > 0
            || self.routes.len() > 0
            || !self.claims.is_empty()
            || !self.orphans.is_empty()
            || self.legs.links().next().is_some()
    }

    /// Looks after everything that waits. The walks are bounded by the limits of streams, routes
    /// and claims; a thousand of each cost some ten microseconds.
    pub(super) fn do_chores(&mut self, now: Now, effects: &mut Effects) {
        self.told = 0;
        for leg in self.legs.ids() {
            match self.legs.take(leg) {
                Some(Held::Stream(mut stream)) => {
                    self.look_after(now, &mut stream, effects);
                    self.legs.put(leg, Held::Stream(stream));
                }
                Some(Held::Link(mut link)) => {
                    let silent_ms = now.monotonic.ms_since(link.written_at);
                    if silent_ms >= limits::XMPP_LINK_KEEP_ALIVE_MS && link.dead == Dead::No {
                        let mut out = Vec::new();
                        link.end.keep_alive(&mut out);
                        link.written_at = now.monotonic;
                        self.stage(leg, &out, effects);
                    }
                    self.legs.put(leg, Held::Link(link));
                }
                None => {}
            }
        }
        self.forget_orphans(now);
        let error = StanzaError::RemoteServerTimeout;
        self.fail_claims(now, error, |claim| claim.deadline <= now.monotonic, effects);
        for at in self.routes.ids() {
            self.look_after_route(now, at);
        }
    }

    fn look_after(&mut self, now: Now, stream: &mut Stream, effects: &mut Effects) {
        let limits = *self.snapshot.xmpp_limits();
        if let State::Closing(since, reason) = stream.state {
            if now.monotonic.ms_since(since) >= limits::XMPP_CLOSE_MS {
                stream.state = State::Dead;
                effects.commands.push(Command::Close { leg: stream.leg, reason });
            }
            return;
        }
        if stream.state == State::Dead {
            return;
        }
        let ms = |seconds: u32| u64::from(seconds) * 1_000;
        if !stream.is_authenticated() {
            if now.monotonic.ms_since(stream.opened_at) >= ms(limits.establishment_s) {
                let why = "no domain was authenticated in time";
                let error = StreamError::ConnectionTimeout;
                return self.end_stream(stream, &End::abuse(error, why), effects);
            }
            let asks = self.claims.iter().any(|claim| claim.asked == Some(stream.leg));
            if stream.state == State::Asking && !asks {
                self.begin_close(now, stream, CloseReason::Ended, effects);
            }
            return;
        }
        if now.monotonic.ms_since(stream.stanza_at) >= ms(limits.inactivity_s) {
            return self.begin_close(now, stream, CloseReason::Idle, effects);
        }
        if let Some(pinged_at) = stream.pinged_at {
            if stream.heard_at > pinged_at {
                stream.pinged_at = None;
            } else if now.monotonic.ms_since(pinged_at) >= limits::XMPP_PONG_MS {
                self.counters.pings_unanswered += 1;
                let end = End {
                    error: Some(StreamError::ConnectionTimeout),
                    reason: CloseReason::NoPong,
                    sentence: "the peer does not answer pings".to_owned(),
                };
                self.end_stream(stream, &end, effects);
            }
        } else if now.monotonic.ms_since(stream.heard_at) >= ms(limits.keep_alive_s) {
            self.ping(now, stream, effects);
        }
    }

    fn ping(&mut self, now: Now, stream: &mut Stream, effects: &mut Effects) {
        let partner = stream.partner.and_then(|key| self.snapshot.xmpp_partner(key));
        if !partner.is_some_and(|partner| partner.keep_alive) {
            return;
        }
        let mut out = Vec::new();
        if let Some(pair) = stream.outbound.first()
            && matches!(stream.state, State::Ready | State::Open)
            && stream.managed.is_none()
        {
            let id = self.ping_id(stream.leg);
            ping::write_ping(pair.ours.as_str(), pair.theirs.as_str(), &id, &mut out);
            stream.pinged_at = Some(now.monotonic);
            self.counters.pings_sent += 1;
        } else if stream.managed.is_some() {
            // Its answer shows that the peer is there, and comes on this very stream.
            crate::xmpp::Management::Request.write(&mut out);
            stream.pinged_at = Some(now.monotonic);
            self.counters.pings_sent += 1;
        } else {
            out.extend_from_slice(write::KEEP_ALIVE);
            // Only what is written keeps the connection: nothing comes back on this stream.
            stream.heard_at = now.monotonic;
        }
        stream.staged += out.len() as u64;
        self.stage(stream.leg, &out, effects);
    }

    /// Ends our direction and waits a while for the peer to end its own.
    fn begin_close(
        &mut self,
        now: Now,
        stream: &mut Stream,
        reason: CloseReason,
        effects: &mut Effects,
    ) {
        self.stage(stream.leg, write::STREAM_END, effects);
        stream.state = State::Closing(now.monotonic, reason);
    }

    fn look_after_route(&mut self, now: Now, at: u32) {
        while let Some(route) = self.routes.get(at) {
            if route.queue.front().is_none_or(|queued| queued.deadline > now.monotonic) {
                break;
            }
            let (error, why) = match route.failing {
                Failing::NotFound => {
                    (StanzaError::RemoteServerNotFound, "the domain has no XMPP server")
                }
                Failing::Exhausted => {
                    (StanzaError::ResourceConstraint, "there are too many XMPP streams")
                }
                Failing::No | Failing::Unreachable => {
                    (StanzaError::RemoteServerTimeout, "no stream came about in time")
                }
            };
            if let Some(queued) = self.routes.pop(at) {
                self.bounce(&queued, error, why);
            }
        }
        let Some(route) = self.routes.get(at) else { return };
        if route.is_wanted() {
            return self.due.push(at);
        }
        let over = matches!(route.standing, Standing::Idle | Standing::Resolving(_));
        if over && route.bidi.is_none() && route.rest_until <= now.monotonic {
            self.routes.forget(at);
        }
    }

    /// A new snapshot: routes and streams are judged by it before anything else passes.
    pub(super) fn adopted(&mut self, now: Now, older: &Snapshot, effects: &mut Effects) {
        let newer = std::sync::Arc::clone(&self.snapshot);
        self.accounts.adopt(older, &newer);
        let carried = |key| newer.xmpp_carry_over(older, key);
        for claim in &mut self.claims {
            if let Some(key) = carried(*claim.partner_mut()) {
                *claim.partner_mut() = key;
            }
        }
        for leg in self.legs.ids() {
            if let Some(mut stream) = self.legs.take_stream(leg) {
                stream.partner = stream.partner.and_then(carried);
                self.judge_again(now, &mut stream, effects);
                self.legs.put(leg, Held::Stream(stream));
            }
        }
        for at in self.routes.ids() {
            let Some(route) = self.routes.get_mut(at) else { continue };
            let judged = newer.xmpp(now, &route.ours, &route.theirs);
            if let Ok(permit) = judged {
                route.permit = permit;
                continue;
            }
            let (ours, theirs) = (route.ours.clone(), route.theirs.clone());
            while let Some(queued) = self.routes.pop(at) {
                self.bounce(&queued, StanzaError::NotAllowed, "the partner was removed");
            }
            let error = StanzaError::PolicyViolation;
            self.fail_claims(now, error, |claim| claim.is_of(&ours, &theirs), effects);
            self.routes.forget(at);
        }
    }

    /// Judges a stream by what is known now: its pairs, and how each was proved.
    pub(super) fn judge_again(&mut self, now: Now, stream: &mut Stream, effects: &mut Effects) {
        if stream.state == State::Dead {
            return;
        }
        let (Some(ours), Some(theirs)) = (stream.ours.clone(), stream.theirs.clone()) else {
            return;
        };
        let Ok(permit) = self.snapshot.xmpp(now, &ours, &theirs) else {
            let why = "the partner may not talk to us any more";
            return self.end_stream(
                stream,
                &End::refused(StreamError::PolicyViolation, why),
                effects,
            );
        };
        stream.partner = Some(permit.partner());
        let holds = |pair: &super::stream::Pair| {
            let Ok(permit) = self.snapshot.xmpp(now, &pair.ours, &pair.theirs) else {
                return false;
            };
            let Some(partner) = self.snapshot.xmpp_partner(permit.partner()) else { return false };
            let certified = pair.proof != crate::edge::xmpp_link::Proof::External
                || stream.side != Side::Receiving
                || stream.proves(partner, &pair.theirs);
            certified && self.permits_proof(permit, pair.proof)
        };
        if !stream.inbound.iter().chain(&stream.outbound).all(holds) {
            let why = "what the stream has proved does not count any more";
            return self.end_stream(
                stream,
                &End::refused(StreamError::PolicyViolation, why),
                effects,
            );
        }
        let snapshot = &self.snapshot;
        for pair in stream.inbound.iter_mut().chain(&mut stream.outbound) {
            if let Ok(permit) = snapshot.xmpp(now, &pair.ours, &pair.theirs) {
                pair.permit = permit;
            }
        }
    }

    /// Ends every stream: `system-shutdown`, so that partners come back to another edge.
    pub(super) fn close_for_drain(&mut self, effects: &mut Effects) {
        for leg in self.legs.ids() {
            match self.legs.take(leg) {
                Some(Held::Stream(mut stream)) => {
                    self.shut_down(&mut stream, effects);
                    self.legs.put(leg, Held::Stream(stream));
                }
                Some(Held::Link(link)) => self.legs.put(leg, Held::Link(link)),
                None => {}
            }
        }
        for at in self.routes.ids() {
            while let Some(queued) = self.routes.pop(at) {
                self.bounce(&queued, StanzaError::RemoteServerTimeout, "the edge drains");
            }
        }
        // The reports go out before the end of the links they are for.
        self.flush_reports(effects);
        let links: Vec<LegId> = self.legs.links().map(|link| link.leg).collect();
        for leg in links {
            if let Some(mut link) = self.legs.take_link(leg) {
                let error = Some(StreamError::SystemShutdown);
                self.end_link(&mut link, error, "the edge drains", effects);
                self.legs.put(leg, Held::Link(link));
            }
        }
    }

    fn shut_down(&mut self, stream: &mut Stream, effects: &mut Effects) {
        if matches!(stream.state, State::Closing(..) | State::Dead) {
            return;
        }
        let end = End {
            error: Some(StreamError::SystemShutdown),
            reason: CloseReason::Draining,
            sentence: "the edge drains".to_owned(),
        };
        self.end_stream(stream, &end, effects);
    }
}
