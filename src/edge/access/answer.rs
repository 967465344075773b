//! What the edge says itself: refusals and local answers.

use super::Access;
use super::diagnostics::{Blame, Fault, Reader};
use super::refusals::Owed;
use crate::edge::{Effects, Kind, LegId, Severity};
use crate::limits;
use crate::sip::{Message, Method, reply};

impl Access {
    /// Answers a request with a fault, counts it and leaves a note. ACK and BENOTIFY get silence.
    pub(super) fn refuse(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        fault: &Fault,
        effects: &mut Effects,
    ) {
        self.count(fault.blame);
        if let Some(rule) = fault.rule {
            self.by_rule.refused(rule);
        }
        match self.owed(leg, fault.blame, effects) {
            Owed::Reasons => {}
            Owed::Answer => return self.refuse_barely(leg, message, fault, effects),
            Owed::Nothing => return,
        }
        let decision = match fault.decision {
            0 => self.next_decision(),
            decided => decided,
        };
        let sentence = format!(
            "{} refused with {} {}: {}",
            String::from_utf8_lossy(message.method_token()),
            fault.status,
            fault.reason,
            fault.sentence
        );
        self.note(Some(leg), Severity::Info, sentence, decision, effects);
        if let Some(by) = fault.by {
            self.tell_refused(leg, message, fault, by, decision, effects);
        }
        if matches!(message.method(), Some(Method::Ack | Method::Benotify)) {
            return;
        }
        let inside = self.legs.get(leg).is_some_and(|leg| leg.class.is_inside());
        let mut lines = fault.headers.to_vec();
        let reader = if inside {
            Reader::Inside(&self.names.internal)
        } else {
            Reader::Outside(&self.names.external)
        };
        fault.write_diagnostics(reader, decision, &mut lines);
        if inside {
            self.trust.write_own(&mut lines);
        }
        self.reply(leg, message, fault.status, fault.reason, &lines, effects);
    }

    /// Answers what was for the edge itself.
    pub(super) fn answer_ok(&mut self, leg: LegId, message: &Message<'_>, effects: &mut Effects) {
        self.counters.answered_locally += 1;
        self.reply(leg, message, 200, "OK", b"", effects);
    }

    /// Stages a response to `message` on the leg it came by.
    pub(super) fn reply(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        status: u16,
        reason: &str,
        lines: &[u8],
        effects: &mut Effects,
    ) {
        // A response copies less than the request's head and adds its own few lines.
        let bytes = message.head_len() + lines.len() + limits::OWN_RESPONSE_BYTES_MAX;
        let mut tag = [0u8; 16];
        super::branch::hex(&mut tag, self.random());
        if let Some(out) = effects.stage(leg, Kind::Response, bytes) {
            reply::write(out, message, status, reason, &tag, lines);
        } else {
            self.counters.responses_undeliverable += 1;
        }
    }

    fn count(&mut self, blame: Blame) {
        let counter = match blame {
            Blame::Syntax => &mut self.counters.refused_by_syntax,
            Blame::Policy => &mut self.counters.refused_by_policy,
            Blame::Rate => &mut self.counters.refused_by_rate,
            Blame::Overload => &mut self.counters.refused_by_overload,
            Blame::Unreachable => &mut self.counters.refused_unreachable,
        };
        *counter += 1;
    }
}
