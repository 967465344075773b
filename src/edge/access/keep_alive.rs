//! What happens to connections on which nothing happens.
//!
//! Balancers forget a silent connection (after 90 s by default, DESIGN 9), and the next message on
//! it is lost. So the edge pings the connections it has opened itself, to partners and next hops:
//! a double CRLF, answered by a single one (RFC 5626 section 4.4.1).
//!
//! ```text
//!   outgoing:  Quiet ── ping ──> Pong ── anything from the peer ──> Quiet
//!                ^                │ 10 s of nothing
//!                ├── not known to answer: it counts as silent, and stays
//!                └── has answered twice before: closed, its transactions fail over
//!   accepted from a partner:  Idle ── idle time without a message or a ping of the peer ──> closed
//! ```
//!
//! # Who wins, the ping or the idle time
//! COMPAT(Lync Server, Skype for Business): their keep-alive has no pong (wire-protocols A.6), so
//! silence after a ping says nothing of them. A peer must therefore have answered *twice* before a
//! missing answer ends its connection; one that happens to send a lone CRLF once is not taken for
//! one that answers. Nor is a peer that was once too slow silent for good: every ping's answer is
//! waited for, so that one which begins to answer is known for it. A connection whose peer answers
//! is kept for ever, whatever the idle time says. One whose peer does not is still pinged, which
//! keeps balancers from forgetting it, and closed after the idle time if it leads to a partner; to
//! a next hop it stays, as does everything that users and inner servers have opened to us. A
//! partner's connection to us is the partner's to keep: its pings count as use, ours would only
//! tell the balancer the same.
//!
//! RFC 5626 has clients choose a random moment between 80 and 100 % of the interval, for a crowd
//! behind one server. Edges keep a few connections each, opened as traffic wanted them; here all
//! wait equally long, so that who is due is always at the head of a list.

use super::Access;
use super::legs::Leg;
use crate::edge::{Class, CloseReason, Command, Drain, Effects, Kind, LegId, OutletId, Severity};
use crate::limits;
use crate::time::{Monotonic, Now};

/// RFC 5626 section 4.4.1: the ping, and how long its answer may take.
const PING: &[u8; 4] = b"\r\n\r\n";
/// A use moves a leg to the end of its list at most this often, so that a busy leg costs nothing;
/// deadlines come early by as much.
const USE_COUNTS_EVERY_MS: u64 = 1_000;
/// How often a drain looks for legs that have become idle.
const DRAIN_SWEEP_MS: u64 = 1_000;
/// Places one look of the drain goes over.
const DRAIN_LOOKS_MAX: u32 = 4_096;

/// What a leg waits for in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// To be closed.
    Idle,
    /// To be pinged.
    Quiet,
    /// For the answer to a ping.
    Pong,
}

impl Watch {
    pub(super) const KINDS: usize = 3;
    const ALL: [Self; Self::KINDS] = [Self::Idle, Self::Quiet, Self::Pong];
}

/// What a leg waits for, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) what: Watch,
    pub(super) since: Monotonic,
}

/// What is known of how a peer takes pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    Unknown,
    /// It sent a CRLF once when one was due.
    Once,
    /// It answers: silence means that it is gone.
    Always,
    /// It let the last ping go unanswered, and has not answered two before.
    Silent,
}

/// A drain's walk over the legs.
#[derive(Debug, Default)]
pub(super) struct DrainWalk {
    at: Option<Monotonic>,
    place: u32,
}

impl Access {
    /// Begins to watch a leg that was opened; `outlet`: its name if the edge opened it.
    pub(super) fn watch_leg(&mut self, now: Now, leg: LegId, outlet: Option<OutletId>) {
        let federation = self.legs.get(leg).is_some_and(|leg| leg.class == Class::Federation);
        let pinged = outlet.is_some() && self.setup.ping_interval_ms > 0;
        match (pinged, federation) {
            (true, _) => self.legs.watch(now.monotonic, leg, Watch::Quiet),
            (false, true) => self.legs.watch(now.monotonic, leg, Watch::Idle),
            (false, false) => {}
        }
    }

    /// A message passed on a leg, either way.
    pub(super) fn leg_used(&mut self, now: Now, leg: LegId) {
        let Some(held) = self.legs.get_mut(leg) else { return };
        held.last_used = now.monotonic;
        held.refusals.fill(now.monotonic);
        if let Some(watched) = held.watched
            && watched.what != Watch::Pong
            && now.monotonic.ms_since(watched.since) >= USE_COUNTS_EVERY_MS
        {
            self.legs.watch(now.monotonic, leg, watched.what);
        }
    }

    /// Something came from a leg's peer, so it lives.
    pub(super) fn leg_heard(&mut self, now: Now, leg: LegId) {
        let Some(held) = self.legs.get(leg) else { return };
        if held.watched.is_some_and(|watched| watched.what == Watch::Pong) {
            self.legs.watch(now.monotonic, leg, Watch::Quiet);
        }
        self.leg_used(now, leg);
    }

    /// RFC 5626 section 4.4.1: a ping is answered with one CRLF, and one CRLF answers a ping.
    pub(super) fn keep_alive(&mut self, now: Now, leg: LegId, ping: bool, effects: &mut Effects) {
        if ping {
            self.leg_heard(now, leg);
            self.counters.pings += 1;
            if let Some(out) = effects.stage(leg, Kind::Response, 2) {
                out.extend_from_slice(b"\r\n");
            }
            return;
        }
        let Some(held) = self.legs.get_mut(leg) else { return };
        if held.watched.is_some_and(|watched| watched.what == Watch::Pong) {
            self.counters.pongs += 1;
            held.answering = match held.answering {
                Answering::Unknown | Answering::Silent => Answering::Once,
                Answering::Once | Answering::Always => Answering::Always,
            };
            self.legs.watch(now.monotonic, leg, Watch::Quiet);
        }
    }

    const fn patience_ms(&self, what: Watch) -> u64 {
        match what {
            Watch::Idle => self.setup.idle_timeout_ms,
            Watch::Quiet => self.setup.ping_interval_ms,
            Watch::Pong => limits::PONG_MS,
        }
    }

    /// Returns when the next leg has waited long enough; a look at each list's head.
    pub(super) fn silence_deadline(&self) -> Option<Monotonic> {
        let heads = Watch::ALL.into_iter().filter_map(|what| {
            self.legs.longest(what).map(|(_, since)| since.plus_ms(self.patience_ms(what)))
        });
        heads.chain(self.drain_walk.at).min()
    }

    /// Deals with one leg that has waited long enough; `false` if there is none.
    pub(super) fn silence_over(&mut self, now: Now, effects: &mut Effects) -> bool {
        for what in Watch::ALL {
            let Some((leg, since)) = self.legs.longest(what) else { continue };
            if since.plus_ms(self.patience_ms(what)) > now.monotonic {
                continue;
            }
            match what {
                Watch::Idle => self.idle(now, leg, effects),
                Watch::Quiet => self.quiet(now, leg, effects),
                Watch::Pong => self.unanswered(now, leg, effects),
            }
            return true;
        }
        false
    }

    fn idle(&mut self, now: Now, leg: LegId, effects: &mut Effects) {
        if self.is_busy(leg) {
            return self.legs.watch(now.monotonic, leg, Watch::Idle);
        }
        self.legs.unwatch(leg);
        effects.commands.push(Command::Close { leg, reason: CloseReason::Idle });
    }

    /// Pings a leg, unless it is of those that pings cannot keep.
    fn quiet(&mut self, now: Now, leg: LegId, effects: &mut Effects) {
        let Some(held) = self.legs.get(leg) else { return };
        let answering = held.answering;
        let idle_ms = now.monotonic.ms_since(held.last_used);
        if answering == Answering::Silent
            && held.class == Class::Federation
            && idle_ms >= self.setup.idle_timeout_ms
            && !held.unfinished()
        {
            return self.idle(now, leg, effects);
        }
        let sent = effects.stage(leg, Kind::Response, PING.len()).is_some_and(|out| {
            out.extend_from_slice(PING);
            true
        });
        self.counters.pings_sent += u64::from(sent);
        // A leg without room for four bytes is not silent: the shell watches that it goes on.
        self.legs.watch(now.monotonic, leg, if sent { Watch::Pong } else { Watch::Quiet });
    }

    fn unanswered(&mut self, now: Now, leg: LegId, effects: &mut Effects) {
        let Some(held) = self.legs.get_mut(leg) else { return };
        if held.answering != Answering::Always {
            held.answering = Answering::Silent;
            return self.legs.watch(now.monotonic, leg, Watch::Quiet);
        }
        self.counters.pings_unanswered += 1;
        self.legs.unwatch(leg);
        let sentence = "closing the connection: the peer answered pings and does not any more";
        self.note(Some(leg), Severity::Info, sentence.to_owned(), 0, effects);
        effects.commands.push(Command::Close { leg, reason: CloseReason::NoPong });
    }

    /// Tells whether a message of either direction still needs the leg: under way, or waiting for
    /// DNS or its turn, after which its sender is answered here.
    fn is_busy(&self, leg: LegId) -> bool {
        self.legs.get(leg).is_some_and(Leg::unfinished)
            || self.parked.holds_of(leg)
            || self.held.holds_of(leg)
    }

    /// From [`Drain::Closing`] on, legs that nothing needs are closed, some in each second.
    pub(super) fn drain_legs(&mut self, now: Now, effects: &mut Effects) {
        if self.drain_walk.at.is_none_or(|at| at > now.monotonic) {
            return;
        }
        self.drain_walk.at = Some(now.monotonic.plus_ms(DRAIN_SWEEP_MS));
        let mut closed = 0;
        for _ in 0..self.legs.places().min(DRAIN_LOOKS_MAX) {
            if closed == limits::CLOSES_PER_SWEEP_MAX {
                return;
            }
            self.drain_walk.place = (self.drain_walk.place + 1) % self.legs.places();
            let Some(leg) = self.legs.at(self.drain_walk.place) else { continue };
            if !self.is_busy(leg) {
                closed += 1;
                self.legs.unwatch(leg);
                effects.commands.push(Command::Close { leg, reason: CloseReason::Draining });
            }
        }
    }

    /// The edge drains from `stage` on.
    pub(super) const fn begin_drain(&mut self, now: Now, stage: Drain) {
        self.draining = Some(stage);
        if matches!(stage, Drain::Closing) {
            self.drain_walk.at = Some(now.monotonic);
        }
    }
}
