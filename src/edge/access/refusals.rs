//! What one leg may be refused (the rate of the leg, DESIGN 6.5).
//!
//! Whoever has a certificate of an authority that we trust, and on 443 anybody, may send what is
//! refused before there is a partner whose limits could count it. Each refusal costs an answer with
//! its reasons and a line of the log, so each leg has an allowance of them. Beyond it a leg on
//! which something was permitted before gets bare answers, for other organisations may share it;
//! one on which nothing ever was is closed.

use super::Access;
use super::diagnostics::{Blame, Fault};
use crate::edge::{CloseReason, Command, Effects, LegId, Severity};
use crate::limits;
use crate::sip::{Message, Method};
use crate::time::Monotonic;

/// A leg's allowance of refusals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    left: u32,
    /// Up to when it has been filled up again.
    filled: Monotonic,
    /// The log knows that it was used up.
    told: bool,
}

/// What is still owed to whoever is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// An answer with its reasons, and a line of the log.
    Reasons,
    /// An answer.
    Answer,
    /// Nothing: its leg is being closed.
    Nothing,
}

impl Allowance {
    pub(super) const fn new(now: Monotonic) -> Self {
        Self { left: limits::REFUSALS_PER_LEG_MAX, filled: now, told: false }
    }

    /// Fills up what the time since the last call gives.
    ///
    /// Hot: once per message; a comparison and a store while nothing was refused.
    pub(super) fn fill(&mut self, now: Monotonic) {
        if self.left == limits::REFUSALS_PER_LEG_MAX {
            self.filled = now;
            self.told = false;
            return;
        }
        let seconds = now.ms_since(self.filled) / 1_000;
        if seconds > 0 {
            let more = seconds.saturating_mul(u64::from(limits::REFUSALS_PER_LEG_PER_S));
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(limits::REFUSALS_PER_LEG_MAX);
            self.filled = self.filled.plus_ms(seconds * 1_000);
        }
    }

    /// Takes one refusal; returns whether there was one left.
    const fn take(&mut self) -> bool {
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

impl Access {
    /// Charges a refusal to its leg. The inside is not limited: it is ours.
    pub(super) fn charge_refusal(&mut self, leg: LegId, effects: &mut Effects) -> Owed {
        let Some(held) = self.legs.get_mut(leg) else { return Owed::Nothing };
        if held.class.is_inside() || held.refusals.take() {
            return Owed::Reasons;
        }
        let owed = if held.permitted { Owed::Answer } else { Owed::Nothing };
        self.counters.refused_without_reasons += 1;
        if !std::mem::replace(&mut held.refusals.told, true) {
            let what = match owed {
                Owed::Nothing => "closing the connection",
                _ => "answering without reasons",
            };
            let sentence =
                format!("{what}: more requests are refused than one connection may send");
            self.note(Some(leg), Severity::Warn, sentence, 0, effects);
            if owed == Owed::Nothing {
                effects.commands.push(Command::Close { leg, reason: CloseReason::Abuse });
            }
        }
        owed
    }

    /// Charges the refusal of a request by what it was refused for: that its target cannot be
    /// reached, or that this edge is overloaded, is not the sender's doing.
    pub(super) fn owed(&mut self, leg: LegId, blame: Blame, effects: &mut Effects) -> Owed {
        match blame {
            Blame::Syntax | Blame::Policy | Blame::Rate => self.charge_refusal(leg, effects),
            Blame::Overload | Blame::Unreachable => Owed::Reasons,
        }
    }

    /// Answers a request that is refused beyond its leg's allowance. A partner beyond its rate is
    /// told when to come again, as always; who goes on regardless of being refused may come later.
    pub(super) fn refuse_barely(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        fault: &Fault,
        effects: &mut Effects,
    ) {
        if matches!(message.method(), Some(Method::Ack | Method::Benotify)) {
            return;
        }
        let (status, reason, lines) = match fault.blame {
            Blame::Rate => (fault.status, fault.reason, &*fault.headers),
            _ => (480, "Temporarily Unavailable", &b"Retry-After: 5\r\n"[..]),
        };
        self.reply(leg, message, status, reason, lines, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    fn after_ms(milliseconds: u64) -> Monotonic {
        Now::default().plus_ms(milliseconds).monotonic
    }

    fn takes(allowance: &mut Allowance) -> u32 {
        (0..1_000).map(|_| u32::from(allowance.take())).sum()
    }

    #[test]
    fn an_allowance_is_used_up_at_once_and_fills_by_the_second() {
        let mut allowance = Allowance::new(after_ms(0));
        allowance.fill(after_ms(5_000));
        assert_eq!(takes(&mut allowance), limits::REFUSALS_PER_LEG_MAX);
        allowance.fill(after_ms(5_999));
        assert_eq!(takes(&mut allowance), 0);
        allowance.fill(after_ms(7_500));
        assert_eq!(takes(&mut allowance), 2 * limits::REFUSALS_PER_LEG_PER_S);
        allowance.fill(after_ms(8_000));
        assert_eq!(takes(&mut allowance), limits::REFUSALS_PER_LEG_PER_S, "no second is lost");
        allowance.fill(after_ms(86_400_000));
        assert_eq!(takes(&mut allowance), limits::REFUSALS_PER_LEG_MAX);
    }
}
