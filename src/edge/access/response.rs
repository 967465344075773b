//! Responses on their way back (RFC 3261 section 16.7, RFC 4320, RFC 6026).

use super::diagnostics::{FarEnd, Fault};
use super::headers::{self, Crossing};
use super::outlet::{Outlet, OutletState, TARGET_REST_MS};
use super::topology::Recorded;
use super::transaction::{Downstream, Stamp, State, Timer, Upstream};
use super::{Access, texts};
use crate::edge::{Command, Effects, Kind, LegId, Mail};
use crate::policy::SourceNetwork;
use crate::sip::{Edits, HeaderName, Message, Method};
use crate::time::Now;

impl Access {
    /// A response from `leg`: our branch names its slot, and only who was asked may answer.
    pub(super) fn response(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) {
        let branch = message
            .top_via()
            .ok()
            .and_then(|top| top.via.branch)
            .and_then(|branch| self.branch_key.read(branch));
        let Some(branch) = branch else {
            self.counters.responses_unmatched += 1;
            return;
        };
        // The answer to a CANCEL of ours carries the INVITE's branch (RFC 3261 section 9.1).
        if message.cseq().is_ok_and(|cseq| cseq.method == b"CANCEL") {
            self.counters.responses_absorbed += 1;
            return;
        }
        let index = if branch.slot.shard == self.setup.shard {
            self.slots.find(branch.slot)
        } else {
            self.pipes.get(&branch.slot).copied()
        };
        let Some(index) = index else {
            self.counters.responses_unmatched += 1;
            return;
        };
        let slot = self.slots.get(index);
        let asked = matches!(slot.downstream, Downstream::Sent { leg: asked, .. } if asked == leg);
        let piped = matches!(slot.upstream, Upstream::Mailed(_));
        if !asked || (!piped && branch.attempt != slot.attempt) {
            self.counters.responses_from_stranger += 1;
            return;
        }
        self.slot_response(now, index, message, edits, effects);
    }

    /// A response that belongs to the transaction in `index`.
    pub(super) fn slot_response(
        &mut self,
        now: Now,
        index: u32,
        message: &Message<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) {
        let Some(status) = message.status() else { return };
        let slot = self.slots.get(index);
        if let Upstream::Mailed(origin) = slot.upstream {
            return self.pass_to_origin(now, index, origin, status, message, effects);
        }
        if self.screen_response(now, index, status, message, effects) == Recorded::Bad {
            return;
        }
        let slot = self.slots.get(index);
        match (slot.method, status) {
            (_, 100..=199) => self.provisional(now, index, status, message, edits, effects),
            (_, 503) if matches!(slot.state(), State::Trying | State::Proceeding) => {
                self.unavailable(now, index, message, effects);
            }
            // Cancelled already: there is nothing to retry, and a 503 still may not go up.
            (Method::Invite, 503)
                if matches!(slot.state(), State::CancelWanted | State::Cancelled) =>
            {
                self.send_ack(index, message, effects);
                self.fail(now, index, &Fault::cancelled(), effects);
            }
            (Method::Invite, _) => self.invite_final(now, index, status, message, edits, effects),
            // RFC 4320 section 4.2: a 408 to a non-INVITE only ever comes too late to be of use.
            (_, 408) => {
                self.counters.responses_absorbed += 1;
                self.finish(index);
            }
            (method, _) => {
                if method == Method::Register {
                    self.count_sign_in(now, index, status);
                }
                self.pass_up(now, index, message, edits, effects);
                self.finish(index);
            }
        }
    }

    fn provisional(
        &mut self,
        now: Now,
        index: u32,
        status: u16,
        message: &Message<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) {
        match self.slots.get(index).state() {
            State::Trying => self.slots.set_state(index, State::Proceeding),
            State::CancelWanted => self.send_cancel(index, effects),
            State::Proceeding | State::Cancelled => {}
            State::Completed | State::Accepted => return,
        }
        let slot = self.slots.get(index);
        if slot.method != Method::Invite {
            // RFC 4320 section 4.1: nobody upstream may see it.
            self.counters.responses_absorbed += 1;
            return;
        }
        if slot.state() == State::Cancelled {
            self.slots.arm(index, Timer::Transaction, now);
        } else {
            // The target has it; the copy for the next target is no longer needed.
            self.shed_body(index);
            self.slots.arm(index, Timer::Invite, now);
        }
        if status == 100 {
            self.counters.responses_absorbed += 1;
        } else {
            self.pass_up(now, index, message, edits, effects);
        }
    }

    fn invite_final(
        &mut self,
        now: Now,
        index: u32,
        status: u16,
        message: &Message<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) {
        let state = self.slots.get(index).state();
        if status < 300 {
            self.pass_up(now, index, message, edits, effects);
            if state != State::Accepted {
                self.shed_body(index);
                self.slots.set_state(index, State::Accepted);
                self.slots.arm(index, Timer::Transaction, now);
            }
            return;
        }
        if matches!(state, State::Accepted | State::Completed) {
            self.counters.responses_unmatched += 1;
            return;
        }
        self.send_ack(index, message, effects);
        self.pass_up(now, index, message, edits, effects);
        self.complete(now, index);
    }

    /// The INVITE has its failure; what is left is its sender's ACK.
    pub(super) fn complete(&mut self, now: Now, index: u32) {
        self.detach(index);
        self.shed_body(index);
        self.slots.set_state(index, State::Completed);
        self.slots.arm(index, Timer::Transaction, now);
    }

    /// A 503: that target rests, the next one is asked, and if there is none the sender gets 504,
    /// because a 503 would take this whole edge out of its service (DESIGN 8).
    fn unavailable(&mut self, now: Now, index: u32, message: &Message<'_>, effects: &mut Effects) {
        let slot = self.slots.get(index);
        let (method, group, downstream) = (slot.method, slot.group, slot.downstream);
        if method == Method::Invite {
            self.send_ack(index, message, effects);
        }
        let rest_ms = message
            .first(HeaderName::RetryAfter)
            .and_then(|field| leading_number(field.value))
            .map_or(TARGET_REST_MS, |seconds| seconds.min(3600) * 1000);
        if let (Some(group), Downstream::Sent { outlet: Some(outlet), .. }) = (group, downstream)
            && let Some(target) = self.outlets.outlet(outlet).and_then(Outlet::target)
        {
            let spread = self.random();
            self.outlets.get_mut(group).target_failed(now, target, rest_ms, spread);
            // Its connection is not chosen while it rests.
            if let Some(outlet) = self.outlets.outlet_mut(outlet) {
                outlet.resting_until = now.monotonic.plus_ms(rest_ms);
            }
        }
        let far_end = group.map_or(FarEnd::Inside, |group| self.outlets.get(group).far_end);
        self.retry(now, index, &Fault::out_of_service(far_end), effects);
    }

    /// Forwards a response to where its request came from.
    fn pass_up(
        &mut self,
        now: Now,
        index: u32,
        message: &Message<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) {
        let slot = self.slots.get(index);
        let Upstream::Leg { leg, peer } = slot.upstream else { return };
        // A 2xx to an INVITE may come again; what the sender waited for was the first.
        let answered = matches!(slot.state(), State::Accepted | State::Completed);
        let crossing = slot.crossing.reverse();
        if let Some(status) = message.status().filter(|status| *status >= 200 && !answered) {
            self.latency.observe(slot.crossing as usize, now.monotonic.us_since(slot.began));
            if slot.score.is_some() {
                self.count_answer(now, index, status);
            }
        }
        edits.clear();
        let Ok(top) = message.top_via() else { return };
        if self.slots.get(index).vias.is_empty() {
            edits.remove(top.value.remove);
        } else {
            self.restore(index, message, edits);
        }
        headers::strip(message, crossing, self.slots.get(index).stamp, edits);
        if crossing == Crossing::InsideToPartner {
            texts::withhold_names(message, &self.names.external, edits);
        }
        if self.hides(crossing) {
            self.seal_response(index, message, edits);
        }
        let slot = self.slots.get(index);
        let end = message.head_len() - 2;
        if crossing == Crossing::PartnerToInside {
            let verified = slot.stamp.verified(headers::asserted_verified(message));
            let remote = slot.partner.and_then(|partner| self.snapshot.remote_edge(partner));
            let out = edits.insert(end);
            self.trust.write(slot.stamp, verified, remote, out);
            self.write_missing_diagnostics(message, slot.stamp, out);
        }
        let bytes = edits.len_after(message.raw().len());
        let way = if effects.backlog(leg).is_some() {
            Some(leg)
        } else {
            self.other_way(now, index, peer)
        };
        let Some(out) = way.and_then(|leg| effects.stage(leg, Kind::Response, bytes)) else {
            self.counters.responses_undeliverable += 1;
            return;
        };
        edits.apply(message.raw(), out);
        self.counters.responses_forwarded += 1;
    }

    /// Another leg of the same peer, or our own connection to that partner.
    fn other_way(&mut self, now: Now, index: u32, peer: u64) -> Option<LegId> {
        self.legs.another(peer).or_else(|| {
            let slot = self.slots.get(index);
            if slot.crossing != Crossing::PartnerToInside {
                return None;
            }
            let group = self.outlets.of_partner(self.snapshot.epoch, slot.partner?)?;
            let outlet = self.outlets.choose(now, group, 0)?;
            match self.outlets.outlet(outlet)?.state {
                OutletState::Open(leg) => Some(leg),
                OutletState::Connecting => None,
            }
        })
    }

    /// A failure without a word of why gets one for the inside (wire-protocols A.5).
    fn write_missing_diagnostics(&self, message: &Message<'_>, stamp: Stamp, out: &mut Vec<u8>) {
        let failure = message.status().is_some_and(|status| status >= 400);
        if !failure || message.present(HeaderName::MsDiagnosticsPublic) {
            return;
        }
        let who: &[u8] = match (stamp.split_domain, stamp.network) {
            (true, _) => b"1036;reason=\"Previous hop shared address space peer",
            (false, SourceNetwork::PublicCloud) => b"1035;reason=\"Previous hop public IM provider",
            (false, SourceNetwork::Federation) => b"1034;reason=\"Previous hop federated peer",
        };
        out.extend_from_slice(b"ms-diagnostics: ");
        out.extend_from_slice(who);
        out.extend_from_slice(b" did not report diagnostic information\";source=\"");
        out.extend_from_slice(self.names.internal.as_bytes());
        out.extend_from_slice(b"\"");
        if let Some(domain) = message.to().ok().and_then(|to| headers::host_of(to.uri)) {
            out.extend_from_slice(b";Domain=\"");
            out.extend_from_slice(domain);
            out.extend_from_slice(b"\"");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// A pipe passes a response to the shard whose transaction it is.
    fn pass_to_origin(
        &mut self,
        now: Now,
        index: u32,
        origin: crate::edge::SlotRef,
        status: u16,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let bytes = bytes::Bytes::copy_from_slice(message.raw());
        let mail = if status < 200 {
            // From here on it is not sent again: the target has it.
            if self.slots.get(index).state() == State::Trying {
                self.slots.set_state(index, State::Proceeding);
            }
            self.slots.arm(index, Timer::Invite, now);
            Mail::Provisional { slot: origin, bytes }
        } else {
            Mail::Final { slot: origin, bytes }
        };
        effects.commands.push(Command::Mail { shard: origin.shard, mail });
        if status < 200 {
            return;
        }
        if self.slots.get(index).method == Method::Invite {
            // The origin's ACK still has to find this connection.
            self.slots.set_state(index, State::Accepted);
            self.slots.arm(index, Timer::Transaction, now);
        } else {
            self.finish(index);
        }
    }

    /// Drops the body of the retained copy once no other target can need it.
    fn shed_body(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if slot.sent.len() == slot.head_len {
            return;
        }
        let freed = slot.sent.len() - slot.head_len;
        slot.sent.truncate(slot.head_len);
        slot.charged -= freed;
        if let Some(group) = slot.group {
            self.outlets.get_mut(group).retained_bytes -= freed;
        }
    }

    fn count_sign_in(&mut self, now: Now, index: u32, status: u16) {
        let slot = self.slots.get(index);
        let Upstream::Leg { leg, .. } = slot.upstream else { return };
        let Some(source) = self.legs.get(leg).map(|leg| leg.remote.ip()) else { return };
        let head = slot.sent[..slot.head_len].to_vec();
        self.with_scratch(|access, scratch| {
            if let Some(request) = crate::sip::read_head(&head, &mut scratch.table) {
                access.sign_ins.answered(now, source, &request, status);
            }
        });
    }
}

/// Reads the digits at the start of `Retry-After` (RFC 3261 section 20.33).
fn leading_number(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}
