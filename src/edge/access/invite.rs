//! CANCEL and ACK (RFC 3261 sections 9, 13 and 17), and what the edge builds from a retained head.

use super::Access;
use super::diagnostics::Fault;
use super::refusals::Owed;
use super::screen::Stop;
use super::toll::Arrival;
use super::transaction::{Downstream, State, Timer, Upstream};
use crate::edge::{Command, Effects, Kind, LegId, Mail, Severity};
use crate::sip::{self, Edits, HeaderName, Message, Method, Scan};
use crate::time::{Monotonic, Now};

impl Access {
    /// An ACK: to a failure it ends here, to a 2xx it goes on like a request nobody answers.
    pub(super) fn ack(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        edits: &mut Edits,
        deadline: Monotonic,
        arrival: Arrival,
        effects: &mut Effects,
    ) {
        let key = self.transaction_key(leg, message);
        if let Some(index) = key.and_then(|key| self.slots.find_invite(key))
            && self.slots.get(index).state() == State::Completed
        {
            return self.finish(index);
        }
        let screened = self.screen(now, leg, message, edits, effects);
        // What screening refuses may be the ACK to a failure that another shard passed up, which
        // has no route token. What is refused later is the ACK of a dialog, and nobody else's.
        let elsewhere = key.filter(|_| screened.is_err() && self.setup.shards > 1);
        let judged =
            screened.and_then(|plan| self.judge_each(now, leg, message, plan, arrival, effects));
        match judged {
            Ok(plan) => self.forward(now, leg, message, plan, edits, effects),
            Err(Stop::Hold { wait_ms }) => self.hold(now, leg, message, wait_ms),
            Err(Stop::Ask(question)) => {
                self.park(now, leg, message, question, (deadline, arrival), effects);
            }
            Err(Stop::Refuse(fault)) => match elsewhere {
                Some(key) if self.charge_refusal(leg, effects) == Owed::Reasons => {
                    self.offer_to_others(leg, message, key, effects);
                }
                _ => self.drop_ack(leg, &fault.sentence, effects),
            },
            // Only OPTIONS is for the edge itself.
            Err(Stop::Local) => {}
        }
    }

    /// Nobody is told that an ACK went nowhere, so at least the log is.
    pub(super) fn drop_ack(&mut self, leg: LegId, why: &str, effects: &mut Effects) {
        self.counters.acks_dropped += 1;
        if self.charge_refusal(leg, effects) != Owed::Reasons {
            return;
        }
        let sentence = format!("ACK dropped: {why}");
        self.note(Some(leg), Severity::Info, sentence, 0, effects);
    }

    /// A CANCEL: hop by hop, answered at once, and passed on as one of our own.
    pub(super) fn cancel(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        if let Err(fault) = message.verify() {
            return self.refuse(leg, message, &Fault::syntax(&fault), effects);
        }
        let Some(key) = self.transaction_key(leg, message) else { return };
        if let Some(index) = self.slots.find_invite(key) {
            self.reply(leg, message, 200, "OK", b"", effects);
            return self.cancel_slot(now, index, effects);
        }
        let parked = self.parked.cancel(key).map(|waiting| {
            if let super::parked::Source::Leg(leg) = waiting.source {
                self.lookup_over(leg, waiting.asked);
            }
            waiting.bytes
        });
        let held = || self.held.cancel(key).map(|waiting| waiting.bytes);
        if let Some(bytes) = parked.or_else(held) {
            self.reply(leg, message, 200, "OK", b"", effects);
            return self.with_scratch(|access, scratch| {
                if let Ok(Scan::Message(scanned)) = sip::scan(&bytes, &mut scratch.table) {
                    let invite = Message::new(&bytes, &scratch.table, scanned);
                    access.refuse(leg, &invite, &Fault::cancelled(), effects);
                }
            });
        }
        if self.setup.shards > 1 {
            return self.offer_to_others(leg, message, key, effects);
        }
        self.refuse(leg, message, &Fault::no_transaction(), effects);
    }

    /// Cancels the INVITE in `index`.
    pub(super) fn cancel_slot(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let slot = self.slots.get(index);
        match (slot.state(), slot.downstream) {
            (State::Trying, Downstream::Waiting(_) | Downstream::Nowhere) => {
                self.fail(now, index, &Fault::cancelled(), effects);
            }
            // RFC 3261 section 9.1: not before the first provisional response.
            (State::Trying, _) => self.slots.set_state(index, State::CancelWanted),
            (State::Proceeding, _) => {
                self.send_cancel(index, effects);
                self.slots.arm(index, Timer::Transaction, now);
            }
            (State::CancelWanted | State::Cancelled | State::Completed | State::Accepted, _) => {}
        }
    }

    /// Sends our CANCEL for the INVITE in `index`.
    pub(super) fn send_cancel(&mut self, index: u32, effects: &mut Effects) {
        self.slots.set_state(index, State::Cancelled);
        self.send_derived(index, "CANCEL", None, effects);
    }

    /// Acknowledges a failure downstream.
    pub(super) fn send_ack(&mut self, index: u32, response: &Message<'_>, effects: &mut Effects) {
        let to = response.first(HeaderName::To).map(|field| field.value.to_vec());
        self.send_derived(index, "ACK", to, effects);
    }

    /// Sends a request built from the retained INVITE, on the connection the INVITE went by.
    fn send_derived(
        &mut self,
        index: u32,
        method: &str,
        to: Option<Vec<u8>>,
        effects: &mut Effects,
    ) {
        let slot = self.slots.get(index);
        let downstream = slot.downstream;
        let head = slot.sent[..slot.head_len].to_vec();
        let origin = self.slots.reference(index);
        let mut text = Vec::with_capacity(head.len());
        self.with_scratch(|_, scratch| {
            if let Some(invite) = sip::read_head(&head, &mut scratch.table) {
                derive(&invite, method, to.as_deref(), &mut text);
            }
        });
        match downstream {
            Downstream::Sent { leg, .. } => {
                if let Some(out) = effects.stage(leg, Kind::Response, text.len()) {
                    out.extend_from_slice(&text);
                    if let Some(leg) = self.legs.get_mut(leg) {
                        leg.staged += text.len() as u64;
                    }
                }
            }
            Downstream::Mailed(shard) => {
                let mail = Mail::Follow { origin, bytes: text.into() };
                effects.commands.push(Command::Mail { shard, mail });
            }
            Downstream::Waiting(_) | Downstream::Nowhere => {}
        }
    }

    /// Ends a request with an answer of ours; an INVITE then waits for its ACK.
    pub(super) fn fail(&mut self, now: Now, index: u32, fault: &Fault, effects: &mut Effects) {
        let slot = self.slots.get(index);
        let (method, state) = (slot.method, slot.state());
        if matches!(state, State::Completed | State::Accepted) {
            return self.finish(index);
        }
        match slot.upstream {
            Upstream::Leg { leg, .. } => {
                let head = slot.head_as_received();
                self.with_scratch(|access, scratch| {
                    if let Some(request) = sip::read_head(&head, &mut scratch.table) {
                        access.refuse(leg, &request, fault, effects);
                    }
                });
            }
            Upstream::Mailed(origin) => {
                let mail = Mail::NotDelivered { slot: origin, written: slot.written };
                effects.commands.push(Command::Mail { shard: origin.shard, mail });
                return self.finish(index);
            }
        }
        if method == Method::Invite {
            self.complete(now, index);
        } else {
            self.finish(index);
        }
    }
}

/// Writes the CANCEL or the ACK to a failure that belongs to `invite` (RFC 3261 sections 9.1 and
/// 17.1.1.3): its Request-URI, top Via, Route set, From, To, Call-ID and CSeq number.
fn derive(invite: &Message<'_>, method: &str, to: Option<&[u8]>, out: &mut Vec<u8>) {
    let mut line = |parts: &[&[u8]]| {
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.extend_from_slice(b"\r\n");
    };
    line(&[method.as_bytes(), b" ", invite.uri(), b" SIP/2.0"]);
    if let Ok(top) = invite.top_via() {
        line(&[b"Via: ", top.value.bytes]);
    }
    for route in invite.all(HeaderName::Route) {
        line(&[b"Route: ", route.value]);
    }
    line(&[b"Max-Forwards: 70"]);
    if let Some(from) = invite.first(HeaderName::From) {
        line(&[b"From: ", from.value]);
    }
    let own = invite.first(HeaderName::To).map(|field| field.value);
    line(&[b"To: ", to.or(own).unwrap_or_default()]);
    line(&[b"Call-ID: ", invite.call_id()]);
    let number = invite.cseq().map_or(0, |cseq| cseq.number).to_string();
    line(&[b"CSeq: ", number.as_bytes(), b" ", method.as_bytes()]);
    line(&[b"Content-Length: 0"]);
    line(&[]);
}
