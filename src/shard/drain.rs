//! Leaving: after the notice, listeners close, legs with nothing left to do close gradually, and
//! the shard ends when nothing is pending or its time is up (DESIGN 9).

use super::Shard;
use super::close::Why;
use super::legs::{Leg, State};
use super::network::Network;
use crate::edge::{CloseReason, Core, Drain};
use crate::limits;
use crate::poll::Poller;
use crate::time::{Monotonic, Now};

/// Time between two steps of closing legs.
const STEP_MS: u64 = 50;
/// Steps for which peers may still close their side when nothing else is left to wait for.
const LINGER_STEPS: u32 = 5;
const STEPS: usize = (limits::DRAIN_SPREAD_MS / STEP_MS) as usize;

/// How far this shard has come.
#[derive(Debug, Default)]
pub(super) struct Draining {
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Serving,
    Noticed,
    Closing(Closing),
    Over,
}

#[derive(Debug)]
struct Closing {
    /// When legs are closed whatever goes on.
    until: Monotonic,
    next_step: Monotonic,
    /// Legs to close in each step; counted when the core has nothing pending for the first time.
    each_step: Option<usize>,
    /// The next place to look at.
    place: u32,
    /// Steps since only legs are left whose peers have not closed their side yet.
    lingering_steps: u32,
}

impl Draining {
    /// Returns whether this stage is new.
    pub(super) fn begin(&mut self, now: Monotonic, stage: Drain, timeout_ms: u64) -> bool {
        match (stage, &self.stage) {
            (Drain::Notice, Stage::Serving) => self.stage = Stage::Noticed,
            (Drain::Closing, Stage::Serving | Stage::Noticed) => {
                let until = now.plus_ms(timeout_ms);
                let next_step = now;
                self.stage = Stage::Closing(Closing {
                    until,
                    next_step,
                    each_step: None,
                    place: 0,
                    lingering_steps: 0,
                });
            }
            _ => return false,
        }
        true
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    pub(super) const fn next_deadline(&self) -> Option<Monotonic> {
        match &self.stage {
            Stage::Closing(closing) => Some(closing.next_step),
            _ => None,
        }
    }
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Takes the drain's next step, if it is time.
    pub(super) fn drain_on(&mut self, now: Now) {
        let Stage::Closing(closing) = &mut self.drain.stage else { return };
        if closing.next_step > now.monotonic {
            return;
        }
        closing.next_step = now.monotonic.plus_ms(STEP_MS);
        let (until, mut place) = (closing.until, closing.place);
        let late = until <= now.monotonic;
        let idle = self.core.pending() == 0;
        let done =
            |leg: &Leg<N::Stream>| matches!(leg.state, State::Lingering) && leg.unsent.is_empty();
        let lingering = (late || idle) && self.legs.all(done);
        closing.lingering_steps = if lingering { closing.lingering_steps + 1 } else { 0 };
        let over = lingering && (self.legs.len() == 0 || closing.lingering_steps > LINGER_STEPS);
        if over || until.plus_ms(limits::LINGER_MS) <= now.monotonic {
            self.abandon(now);
            self.drain.stage = Stage::Over;
            return;
        }
        let each_step = match closing.each_step {
            _ if late => usize::MAX,
            Some(legs) => legs,
            None if idle => *closing.each_step.insert(self.legs.len().div_ceil(STEPS)),
            None => 0,
        };
        if !late && !idle {
            return;
        }
        let mut closed = 0;
        for _ in 0..self.legs.places() {
            if closed >= each_step {
                break;
            }
            place = if place + 1 < self.legs.places() { place + 1 } else { 0 };
            let Some(id) = self.legs.at(place) else { continue };
            let Some(leg) = self.legs.get_mut(id) else { continue };
            match leg.state {
                State::Established(_) => self.end(id, Why::Core(CloseReason::Draining)),
                State::Greeting(_) | State::Handshaking(_) | State::Connecting { .. } => {
                    self.lose(now, id, Why::Core(CloseReason::Draining));
                }
                State::Flushing(_) | State::Lingering => continue,
            }
            closed += 1;
        }
        if let Stage::Closing(closing) = &mut self.drain.stage {
            closing.place = place;
        }
        self.run_commands(now);
    }

    /// Drops whatever is left.
    fn abandon(&mut self, now: Now) {
        for place in 0..self.legs.places() {
            if let Some(id) = self.legs.at(place) {
                self.lose(now, id, Why::Core(CloseReason::Draining));
            }
        }
        self.run_commands(now);
    }
}
