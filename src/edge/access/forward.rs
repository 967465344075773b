//! A screened request on its way: edits, slot, connection.

use super::branch::{BRANCH_BYTES, Branch};
use super::diagnostics::Fault;
use super::headers::{self, Crossing};
use super::route::{self, Entry};
use super::route_token::Facing;
use super::screen::{Egress, Plan};
use super::seal::Entries;
use super::transaction::{Downstream, Timer, Upstream};
use super::{Access, pipe, texts};
use crate::edge::{Effects, Kind, LegId, Severity};
use crate::limits;
use crate::policy::PartnerKind;
use crate::sip::reply::write_number;
use crate::sip::{Edits, HeaderName, Message, Method, NameAddr, Uri};
use crate::time::Now;

/// RFC 3261 section 16.6 step 3.
const MAX_FORWARDS_IF_ABSENT: &[u8] = b"Max-Forwards: 70\r\n";

impl Access {
    /// Forwards a request that screening let pass; `edits` holds what screening took off.
    pub(super) fn forward(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        plan: Plan,
        edits: &mut Edits,
        effects: &mut Effects,
    ) {
        let method = message.method().unwrap_or(Method::Other);
        let Some(held) = self.legs.get(leg) else { return };
        let (peer, class) = (held.peer, held.class);
        if held.pending >= self.slots.share_max() {
            return self.refuse(leg, message, &Fault::too_fast(), effects);
        }
        if let Egress::Group(group) = plan.egress
            && let Err(fault) = self.group_admits(now, group, message.raw().len())
        {
            return self.refuse(leg, message, &fault, effects);
        }
        if let Err(fault) = self.screen_recorded(message, &plan) {
            return self.refuse(leg, message, &fault, effects);
        }
        let Some(index) = self.slots.take() else {
            return self.refuse(leg, message, &Fault::overload(), effects);
        };
        if method == Method::Invite
            && let Some(key) = self.transaction_key(leg, message)
            && !self.slots.index_invite(index, key)
        {
            // The sender repeated itself; the first copy is being answered.
            self.slots.release(index);
            return;
        }
        let slot = self.slots.reference(index);
        let branch = Branch { slot, attempt: 0, loop_hash: self.loop_hash(message, class) };
        let branch = self.branch_key.write(branch);
        let expected_at = self.edit(leg, message, &plan, &branch, edits);
        let vias = self.keep_vias(leg, message, &plan);
        let other_gateways = match (plan.crossing, plan.egress) {
            (Crossing::InsideToGateway, Egress::Group(group)) => {
                self.other_gateways(message, group)
            }
            _ => Box::default(),
        };

        let slot = self.slots.get_mut(index);
        slot.vias = vias;
        slot.other_gateways = other_gateways;
        slot.method = method;
        slot.began = now.monotonic;
        slot.crossing = plan.crossing;
        slot.partner = Some(plan.admission.partner);
        slot.score = plan.score;
        slot.stamp = plan.admission.stamp;
        slot.upstream = Upstream::Leg { leg, peer };
        slot.spread = pipe::call_id_hash(message.call_id());
        slot.group = match plan.egress {
            Egress::Group(group) => Some(group),
            Egress::Flow { .. } => None,
        };
        edits.apply(message.raw(), &mut slot.sent);
        slot.branch_at = branch_place(&slot.sent, &branch, expected_at);
        slot.body_len = message.body().len();
        slot.head_len = slot.sent.len() - slot.body_len;
        self.charge(index);
        self.explain_forward(leg, message, &plan, effects);
        self.dispatch(now, index, message, &plan, effects);
    }

    /// Chooses between this shard's connections, another shard's, and a remote user's.
    fn dispatch(
        &mut self,
        now: Now,
        index: u32,
        message: &Message<'_>,
        plan: &Plan,
        effects: &mut Effects,
    ) {
        let spread = self.slots.get(index).spread;
        match plan.egress {
            Egress::Flow { shard, leg } if shard == self.setup.shard => {
                self.send_on(now, index, leg, None, effects);
            }
            Egress::Flow { shard, leg } => self.mail_to_flow(now, index, shard, leg, effects),
            Egress::Group(group) => match self.owner(plan, spread) {
                Some(shard) => {
                    let to = pipe::destination(message, plan);
                    self.mail_request(now, index, shard, to, spread, effects);
                }
                None => self.deliver(now, index, group, effects),
            },
        }
        let counter = match plan.crossing {
            Crossing::PartnerToInside | Crossing::UserToInside => {
                &mut self.counters.requests_to_inside
            }
            Crossing::InsideToGateway => &mut self.counters.requests_to_gateway,
            Crossing::InsideToPartner => &mut self.counters.requests_to_partners,
            Crossing::InsideToUser => &mut self.counters.requests_to_users,
        };
        *counter += 1;
    }

    /// Lists what changes in the message (DESIGN 6.7). Returns where our branch will stand if
    /// nothing in front of our Via changes.
    fn edit(
        &self,
        leg: LegId,
        message: &Message<'_>,
        plan: &Plan,
        branch: &[u8; BRANCH_BYTES],
        edits: &mut Edits,
    ) -> usize {
        headers::strip(message, plan.crossing, plan.admission.stamp, edits);
        let places = plan.places;
        let out = edits.insert(places.via_line);
        let branch_at = places.via_line + self.write_via(plan.crossing, branch, out);
        if self.hides(plan.crossing) {
            self.hide(leg, message, plan, edits);
        } else {
            self.record(leg, message, plan, edits);
        }
        match (message.first(HeaderName::MaxForwards), places.hops) {
            (Some(field), Some(hops)) => {
                let at = field.value_range.start;
                edits.remove(field.value_range);
                write_number(edits.insert(at), hops.saturating_sub(1));
            }
            _ => edits.insert(places.via_line).extend_from_slice(MAX_FORWARDS_IF_ABSENT),
        }
        // The end of the head: before the empty line.
        let end = message.head_len() - 2;
        match plan.crossing {
            Crossing::PartnerToInside => {
                let stamp = plan.admission.stamp;
                let verified = stamp.verified(headers::asserted_verified(message));
                let remote = self.snapshot.remote_edge(plan.admission.partner);
                self.trust.write(stamp, verified, remote, edits.insert(end));
            }
            Crossing::UserToInside => {
                let out = edits.insert(end);
                let stamp = plan.admission.stamp;
                self.trust.write(stamp, stamp.verified(false), None, out);
                out.extend_from_slice(b"ms-user-logon-data: RemoteUser\r\n");
                self.replace_contact(leg, message, edits);
            }
            Crossing::InsideToPartner => {
                texts::withhold_names(message, &self.names.external, edits);
                self.write_outgoing(message, edits.insert(end));
            }
            Crossing::InsideToUser | Crossing::InsideToGateway => {}
        }
        branch_at
    }

    /// Says in the sender's Via where it was received from, and pushes our entries.
    fn record(&self, leg: LegId, message: &Message<'_>, plan: &Plan, edits: &mut Edits) {
        let places = plan.places;
        if plan.dialog_forming {
            // Ours go above those already there, wherever the last proxy wrote them.
            // COMPAT(kamailio, 5.6): its Record-Route lines stand before its Via.
            let recorded = match message.method() {
                Some(Method::Register) => HeaderName::Path,
                _ => HeaderName::RecordRoute,
            };
            let at = message.first(recorded).map_or(places.via_line, |field| field.line.start);
            self.write_record_routes(leg, message, plan, None, edits.insert(at));
        }
        if let Some(held) = self.legs.get(leg) {
            edits.insert(places.via_end).extend_from_slice(held.via_suffix.as_bytes());
        }
    }

    /// What a partner is told of our user and of our archive.
    fn write_outgoing(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let outgoing = self.snapshot.outgoing();
        if outgoing.mark_verifiable {
            out.extend_from_slice(headers::ASSERT_VERIFIED);
        }
        // An instant message travels in a MESSAGE, the first of a conversation in its INVITE.
        if let Some(notice) = &outgoing.archiving_notice
            && matches!(message.method(), Some(Method::Message | Method::Invite))
        {
            out.extend_from_slice(notice.line());
        }
    }

    /// Internal Via carries the node's own name, because the transaction lives in this node; a
    /// partner sees the pool's. Returns how far the branch is from the start of the line.
    fn write_via(
        &self,
        crossing: Crossing,
        branch: &[u8; BRANCH_BYTES],
        out: &mut Vec<u8>,
    ) -> usize {
        let names = &self.names;
        let (host, port) = match crossing {
            Crossing::PartnerToInside | Crossing::UserToInside | Crossing::InsideToGateway => {
                (&names.node, names.internal_port)
            }
            Crossing::InsideToPartner => (&names.external, names.external_port),
            Crossing::InsideToUser => (&names.node, names.remote_port),
        };
        let start = out.len();
        out.extend_from_slice(b"Via: SIP/2.0/TLS ");
        out.extend_from_slice(host.as_bytes());
        out.push(b':');
        write_number(out, u32::from(port));
        out.extend_from_slice(b";branch=");
        let branch_at = out.len() - start;
        out.extend_from_slice(branch);
        out.extend_from_slice(b"\r\n");
        branch_at
    }

    /// Two entries, the receiver's side on top (RFC 5658); REGISTER gets Path instead.
    ///
    /// `hidden`: takes the value of the one that faces the inside, where a partner does not see it.
    pub(super) fn write_record_routes(
        &self,
        leg: LegId,
        message: &Message<'_>,
        plan: &Plan,
        hidden: Option<&mut Entries>,
        out: &mut Vec<u8>,
    ) {
        let names = &self.names;
        let register = message.method() == Some(Method::Register);
        let flow = match (plan.crossing, plan.egress) {
            (Crossing::UserToInside, _) => Some(self.flow_key.write(self.setup.shard, leg)),
            (_, Egress::Flow { shard, leg }) => Some(self.flow_key.write(shard, leg)),
            _ => None,
        };
        if register {
            let flow = flow.as_ref().map(<[u8; _]>::as_slice);
            let path = Entry {
                header: "Path",
                user: flow,
                host: &names.node,
                port: names.internal_port,
                token: None,
            };
            path.write(out);
            return;
        }
        let Some(dialog) = route::dialog_begun(message) else { return };
        let keys = &self.setup.pool_keys;
        let inside_token = keys.sign(Facing::Inside, &dialog);
        let outside_facing =
            if plan.crossing.with_partner() { Facing::Partner } else { Facing::RemoteUser };
        let outside_token = keys.sign(outside_facing, &dialog);
        // Towards a remote user the entry names the connection, which only this node has.
        let flow = flow.as_ref().map(<[u8; _]>::as_slice);
        let (inside_host, outside_host, outside_port) = if plan.crossing.with_partner() {
            (&names.internal, &names.external, names.external_port)
        } else {
            (&names.node, &names.node, names.remote_port)
        };
        let inside = Entry {
            header: "Record-Route",
            user: flow,
            host: inside_host,
            port: names.internal_port,
            token: Some(&inside_token),
        };
        let outside = Entry {
            header: "Record-Route",
            user: flow,
            host: outside_host,
            port: outside_port,
            token: Some(&outside_token),
        };
        if let Some(hidden) = hidden {
            let mut value = Vec::with_capacity(route::ENTRY_BYTES_MAX);
            inside.write_value(&mut value);
            hidden.push(&value);
            return outside.write(out);
        }
        let [top, below] =
            if plan.crossing.to_inside() { [inside, outside] } else { [outside, inside] };
        top.write(out);
        below.write(out);
    }

    /// `Contact;proxy=replace`: the client asks that its real address take the place of the one it
    /// knows (wire-protocols A.8).
    fn replace_contact(&self, leg: LegId, message: &Message<'_>, edits: &mut Edits) {
        let Some(held) = self.legs.get(leg) else { return };
        let Some(contact) = message.values(HeaderName::Contact).next() else { return };
        let Ok(name) = NameAddr::parse(contact.bytes) else { return };
        if name.param("proxy") != Some(Some(b"replace")) {
            return;
        }
        let Ok(uri) = Uri::parse(name.uri) else { return };
        let mut text = Vec::with_capacity(contact.bytes.len() + 32);
        text.extend_from_slice(b"<sip:");
        if let Some(user) = uri.user {
            text.extend_from_slice(user);
            text.push(b'@');
        }
        text.extend_from_slice(format!("{};transport=tls", held.remote).as_bytes());
        for (key, value) in crate::sip::params(uri.params) {
            if !key.eq_ignore_ascii_case(b"transport") && !key.eq_ignore_ascii_case(b"maddr") {
                push_param(&mut text, key, value);
            }
        }
        text.push(b'>');
        for (key, value) in crate::sip::params(name.params) {
            if !key.eq_ignore_ascii_case(b"proxy") {
                push_param(&mut text, key, value);
            }
        }
        edits.replace(contact.range, &text);
    }

    /// Sends a slot's request on an open leg, or answers for it if the leg has no room.
    pub(super) fn send_on(
        &mut self,
        now: Now,
        index: u32,
        leg: LegId,
        outlet: Option<crate::edge::OutletId>,
        effects: &mut Effects,
    ) {
        let slot = self.slots.get(index);
        let bytes = slot.sent.len();
        let Some(out) = effects.stage(leg, Kind::Request, bytes) else {
            let fault = if outlet.is_some() { Fault::partner_full() } else { Fault::flow_failed() };
            return self.fail(now, index, &fault, effects);
        };
        out.extend_from_slice(&slot.sent);
        let expects_response = !matches!(slot.method, Method::Ack | Method::Benotify);
        let Some(held) = self.legs.get_mut(leg) else {
            return self.fail(now, index, &Fault::partner_full(), effects);
        };
        held.staged += bytes as u64;
        let end = held.staged;
        self.leg_used(now, leg);
        if !expects_response {
            return self.finish(index);
        }
        let Some(held) = self.legs.get_mut(leg) else { return };
        self.slots.link(&mut held.slots, index);
        self.slots.get_mut(index).downstream = Downstream::Sent { leg, outlet, end };
        self.slots.arm(index, Timer::Transaction, now);
    }

    /// Charges a request to its sender's leg and its receiver's group.
    pub(super) fn charge(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        slot.charged = slot.sent.len() + slot.vias.len();
        let (bytes, group, upstream) = (slot.charged, slot.group, slot.upstream);
        if let Some(group) = group {
            let group = self.outlets.get_mut(group);
            group.in_flight += 1;
            group.retained_bytes += bytes;
        }
        if let Upstream::Leg { leg, .. } = upstream
            && let Some(leg) = self.legs.get_mut(leg)
        {
            leg.pending += 1;
            leg.permitted = true;
        }
    }

    /// Ends a transaction: takes it out of every list and account.
    pub(super) fn finish(&mut self, index: u32) {
        self.detach(index);
        let slot = self.slots.get(index);
        let (group, charged, upstream) = (slot.group, slot.charged, slot.upstream);
        if let Some(group) = group {
            self.outlets.uncharge(group, charged);
        }
        match upstream {
            Upstream::Leg { leg, .. } => {
                if let Some(leg) = self.legs.get_mut(leg) {
                    leg.pending -= 1;
                }
            }
            Upstream::Mailed(origin) => {
                self.pipes.remove(&origin);
            }
        }
        self.slots.release(index);
    }

    /// Takes a slot off the leg or outlet it is listed with.
    pub(super) fn detach(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        match std::mem::replace(&mut slot.downstream, Downstream::Nowhere) {
            Downstream::Sent { leg, .. } => {
                if let Some(leg) = self.legs.get_mut(leg) {
                    self.slots.unlink(&mut leg.slots, index);
                }
            }
            Downstream::Waiting(outlet) => {
                if let Some(outlet) = self.outlets.outlet_mut(outlet) {
                    self.slots.unlink(&mut outlet.slots, index);
                }
            }
            Downstream::Mailed(_) | Downstream::Nowhere => {}
        }
    }

    /// May this group take one more request? (DESIGN 8)
    pub(super) fn group_admits(
        &self,
        now: Now,
        group: super::outlet::GroupId,
        bytes: usize,
    ) -> Result<(), Fault> {
        let group = self.outlets.get(group);
        if group.outlets.is_empty() && group.back_off_until > now.monotonic {
            let far_end = group.far_end;
            return Err(match group.last_fault {
                Some(why) => Fault::connect(why, far_end),
                None => Fault::out_of_service(far_end),
            });
        }
        if !group.is_partner() {
            return Ok(());
        }
        let full = group.in_flight >= limits::IN_FLIGHT_PER_PARTNER_MAX.min(self.slots.share_max())
            || group.retained_bytes + bytes > limits::RETAINED_BYTES_PER_PARTNER_MAX;
        if full { Err(Fault::partner_full()) } else { Ok(()) }
    }

    fn explain_forward(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        plan: &Plan,
        effects: &mut Effects,
    ) {
        if !self.explains {
            return;
        }
        let way = match plan.crossing {
            Crossing::PartnerToInside => "partner to inside",
            Crossing::InsideToPartner => "inside to partner",
            Crossing::UserToInside => "remote user to inside",
            Crossing::InsideToUser => "inside to remote user",
            Crossing::InsideToGateway => "inside to the XMPP gateway",
        };
        let why = std::mem::take(&mut self.explanation);
        let why = match (why.is_empty(), plan.admission.kind) {
            (true, PartnerKind::RemoteUser) => "flow of a remote user".to_owned(),
            _ => why,
        };
        let method = String::from_utf8_lossy(message.method_token()).into_owned();
        let sentence = format!("{method} forwarded, {way}: {why}");
        let decision = match plan.admission.decision {
            0 => self.next_decision(),
            decided => decided,
        };
        self.note(Some(leg), Severity::Debug, sentence, decision, effects);
    }
}

/// Returns where our branch stands: as a rule where it was `expected`, for hardly a message has
/// something taken off in front of its top Via.
fn branch_place(sent: &[u8], branch: &[u8; BRANCH_BYTES], expected: usize) -> usize {
    if sent.get(expected..expected + BRANCH_BYTES) == Some(branch) {
        return expected;
    }
    // Only our own branch is as long and as random as this, so it cannot be found too early.
    memchr::memmem::find(sent, branch).unwrap_or(0)
}

fn push_param(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    out.push(b';');
    out.extend_from_slice(name);
    if let Some(value) = value {
        out.push(b'=');
        out.extend_from_slice(value);
    }
}
