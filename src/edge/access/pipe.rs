//! Between shards: who owns the connections to a partner, and the mail that follows from it.
//!
//! With no more shards than connections per partner every shard has its own and nothing crosses.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::diagnostics::Fault;
use super::headers::{Crossing, host_of};
use super::outlet::{GroupId, GroupKey};
use super::screen::{Plan, Stop};
use super::transaction::{Downstream, State, Timer, Upstream};
use super::{Access, Scratch};
use crate::dns::{Domain, Question};
use crate::edge::{Command, Effects, Kind, LegId, Mail, MailRoute, SlotRef};
use crate::limits;
use crate::sip::{self, Message, Method, Scan};
use crate::time::{Monotonic, Now};

/// Where another shard's request goes from here.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// To a remote user's connection.
    Flow(LegId),
    /// To the connection of a partner that `spread` picks.
    Partner { group: GroupId, spread: u64 },
}

/// Returns a hash by which all requests of one Call-ID take the same connection.
pub(crate) fn call_id_hash(call_id: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(call_id);
    hasher.finish()
}

/// Returns the domain a request to a partner goes to: what screening judged.
pub(crate) fn destination(message: &Message<'_>, plan: &Plan) -> Option<Domain> {
    let host =
        if plan.by_token { host_of(message.to().ok()?.uri)? } else { host_of(message.uri())? };
    Domain::parse(host).ok()
}

impl Access {
    /// Returns the shard whose connection a request must take; `None` if it is this one.
    pub(super) fn owner(&self, plan: &Plan, spread: u64) -> Option<u16> {
        let owners = usize::from(self.snapshot.rules().federation.connections_per_partner)
            .clamp(1, limits::CONNECTIONS_PER_PARTNER_MAX);
        if plan.crossing != Crossing::InsideToPartner || usize::from(self.setup.shards) <= owners {
            return None;
        }
        let mut ranked: Vec<(u64, u16)> = (0..self.setup.shards)
            .map(|shard| {
                let mut hasher = SipHasher13::new();
                std::hash::Hash::hash(&plan.admission.partner, &mut hasher);
                hasher.write_u16(shard);
                (hasher.finish(), shard)
            })
            .collect();
        ranked.sort_unstable();
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is below four")]
        let owner = ranked[(spread % owners as u64) as usize].1;
        (owner != self.setup.shard).then_some(owner)
    }

    pub(super) fn mail_request(
        &mut self,
        now: Now,
        index: u32,
        shard: u16,
        to: Option<Domain>,
        call_id_hash: u64,
        effects: &mut Effects,
    ) {
        let Some(domain) = to else {
            return self.fail(now, index, &Fault::not_a_domain(), effects);
        };
        let route = MailRoute::Partner { domain, call_id_hash };
        self.post_request(now, index, shard, route, effects);
    }

    pub(super) fn mail_to_flow(
        &mut self,
        now: Now,
        index: u32,
        shard: u16,
        leg: LegId,
        effects: &mut Effects,
    ) {
        self.post_request(now, index, shard, MailRoute::Flow(leg), effects);
    }

    fn post_request(
        &mut self,
        now: Now,
        index: u32,
        shard: u16,
        route: MailRoute,
        effects: &mut Effects,
    ) {
        let origin = self.slots.reference(index);
        let slot = self.slots.get_mut(index);
        slot.downstream = Downstream::Mailed(shard);
        let bytes = bytes::Bytes::copy_from_slice(&slot.sent);
        let silent = matches!(slot.method, Method::Ack | Method::Benotify);
        let mail = Mail::Request { origin, route, bytes };
        effects.commands.push(Command::Mail { shard, mail });
        if silent {
            self.finish(index);
        } else {
            self.slots.arm(index, Timer::Transaction, now);
        }
    }

    pub(super) fn mail_arrived(&mut self, now: Now, mail: Mail, effects: &mut Effects) {
        match mail {
            Mail::Request { origin, route, bytes } => {
                let deadline = now.monotonic.plus_ms(limits::PARKED_MS);
                self.piped_request(now, origin, route, &bytes, deadline, effects);
            }
            Mail::Follow { origin, bytes } => self.piped_follow(origin, &bytes, effects),
            Mail::Final { slot, bytes } | Mail::Provisional { slot, bytes } => {
                self.mailed_response(now, slot, &bytes, effects);
            }
            Mail::NotDelivered { slot, .. } => {
                if let Some(index) = self.slots.find(slot) {
                    let fault = match self.slots.get(index).group {
                        None => Fault::flow_failed(),
                        Some(group) => Fault::out_of_service(self.outlets.get(group).far_end),
                    };
                    self.fail(now, index, &fault, effects);
                }
            }
            Mail::Unmatched { from_shard, leg, key, bytes } => {
                self.unmatched(now, from_shard, leg, key, bytes, effects);
            }
            Mail::Shown { next_hop } => self.outlets.shown(now, GroupKey::NextHop(next_hop)),
            Mail::Reply { leg, bytes } => {
                if let Some(out) = effects.stage(leg, Kind::Response, bytes.len()) {
                    out.extend_from_slice(&bytes);
                }
            }
        }
    }

    /// Tells the other shards of next hops that have connected to this one.
    pub(super) fn tell_shown(&self, next_hops: &[u64], effects: &mut Effects) {
        for shard in (0..self.setup.shards).filter(|shard| *shard != self.setup.shard) {
            for &next_hop in next_hops {
                let mail = Mail::Shown { next_hop };
                effects.commands.push(Command::Mail { shard, mail });
            }
        }
    }

    /// Mail that found no place: what asked for an answer gets one now.
    pub(super) fn mail_bounced(&mut self, now: Now, _: u16, mail: Mail, effects: &mut Effects) {
        if let Mail::Request { origin, .. } = mail
            && let Some(index) = self.slots.find(origin)
        {
            self.fail(now, index, &Fault::partner_full(), effects);
        }
    }

    /// A request for a connection of ours, decided afresh under our own snapshot.
    pub(super) fn piped_request(
        &mut self,
        now: Now,
        origin: SlotRef,
        route: MailRoute,
        bytes: &[u8],
        deadline: Monotonic,
        effects: &mut Effects,
    ) {
        self.with_scratch(|access, scratch| {
            let Scratch { table, .. } = scratch;
            let Ok(Scan::Message(scanned)) = sip::scan(bytes, table) else { return };
            let message = Message::new(bytes, table, scanned);
            match access.way_of(now, &message, &route, effects) {
                Ok(way) => access.pass_on(now, origin, way, &message, effects),
                Err(Some(question)) => {
                    access.park_mail(now, question, origin, route, bytes, deadline, effects);
                }
                Err(None) => access.not_delivered(origin, effects),
            }
        });
    }

    /// Finds the way of another shard's request, the question that comes first, or nothing.
    fn way_of(
        &mut self,
        now: Now,
        message: &Message<'_>,
        route: &MailRoute,
        effects: &mut Effects,
    ) -> Result<Way, Option<Question>> {
        let (domain, spread) = match route {
            MailRoute::Flow(leg) => {
                return self.legs.get(*leg).map(|_| Way::Flow(*leg)).ok_or(None);
            }
            MailRoute::Partner { domain, call_id_hash } => (domain, *call_id_hash),
        };
        let from = message.from().ok().and_then(|from| host_of(from.uri)).unwrap_or_default();
        match self.admit_outbound(now, from, domain.as_str().as_bytes(), effects) {
            Ok((_, group)) => Ok(Way::Partner { group, spread }),
            Err(Stop::Ask(question)) => Err(Some(question)),
            Err(_) => Err(None),
        }
    }

    /// Sends another shard's request on, with a slot that stands for its transaction.
    fn pass_on(
        &mut self,
        now: Now,
        origin: SlotRef,
        way: Way,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let Some(index) = self.slots.take() else { return self.not_delivered(origin, effects) };
        let slot = self.slots.get_mut(index);
        slot.method = message.method().unwrap_or(Method::Other);
        slot.upstream = Upstream::Mailed(origin);
        slot.sent.extend_from_slice(message.raw());
        slot.body_len = message.body().len();
        slot.head_len = slot.sent.len() - slot.body_len;
        if let Way::Partner { group, spread } = way {
            slot.group = Some(group);
            slot.spread = spread;
        }
        self.pipes.insert(origin, index);
        self.charge(index);
        match way {
            Way::Flow(leg) => self.send_on(now, index, leg, None, effects),
            Way::Partner { group, .. } => self.deliver(now, index, group, effects),
        }
    }

    pub(super) fn not_delivered(&mut self, origin: SlotRef, effects: &mut Effects) {
        let mail = Mail::NotDelivered { slot: origin, written: false };
        effects.commands.push(Command::Mail { shard: origin.shard, mail });
    }

    /// CANCEL or ACK for an INVITE that went through this shard.
    fn piped_follow(&mut self, origin: SlotRef, bytes: &[u8], effects: &mut Effects) {
        let Some(&index) = self.pipes.get(&origin) else { return };
        if let Downstream::Sent { leg, .. } = self.slots.get(index).downstream
            && let Some(out) = effects.stage(leg, Kind::Response, bytes.len())
        {
            out.extend_from_slice(bytes);
            if let Some(leg) = self.legs.get_mut(leg) {
                leg.staged += bytes.len() as u64;
            }
        }
        if bytes.starts_with(b"ACK ") {
            self.finish(index);
        }
    }

    fn mailed_response(&mut self, now: Now, slot: SlotRef, bytes: &[u8], effects: &mut Effects) {
        let Some(index) = self.slots.find(slot) else {
            self.counters.responses_unmatched += 1;
            return;
        };
        if !matches!(self.slots.get(index).downstream, Downstream::Mailed(_)) {
            self.counters.responses_from_stranger += 1;
            return;
        }
        self.with_scratch(|access, scratch| {
            let Scratch { table, edits } = scratch;
            if let Ok(Scan::Message(scanned)) = sip::scan(bytes, table) {
                let message = Message::new(bytes, table, scanned);
                access.slot_response(now, index, &message, edits, effects);
            }
        });
    }

    /// Offers a CANCEL or ACK without a transaction here to the next shard round the ring.
    pub(super) fn offer_to_others(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        key: u128,
        effects: &mut Effects,
    ) {
        if self.setup.shards < 2 {
            return;
        }
        let from_shard = self.setup.shard;
        let bytes = bytes::Bytes::copy_from_slice(message.raw());
        let mail = Mail::Unmatched { from_shard, leg, key, bytes };
        let shard = (self.setup.shard + 1) % self.setup.shards;
        effects.commands.push(Command::Mail { shard, mail });
    }

    fn unmatched(
        &mut self,
        now: Now,
        from_shard: u16,
        leg: LegId,
        key: u128,
        bytes: bytes::Bytes,
        effects: &mut Effects,
    ) {
        let came_round = from_shard == self.setup.shard;
        let found = self.slots.find_invite(key);
        self.with_scratch(|access, scratch| {
            let Ok(Scan::Message(scanned)) = sip::scan(&bytes, &mut scratch.table) else { return };
            let message = Message::new(&bytes, &scratch.table, scanned);
            let cancel = message.method() == Some(Method::Cancel);
            match found {
                Some(index) if cancel => {
                    let mut text = Vec::new();
                    sip::reply::write(&mut text, &message, 200, "OK", b"cancel", b"");
                    let mail = Mail::Reply { leg, bytes: text.into() };
                    effects.commands.push(Command::Mail { shard: from_shard, mail });
                    access.cancel_slot(now, index, effects);
                }
                Some(index) => {
                    if access.slots.get(index).state() == State::Completed {
                        access.finish(index);
                    }
                }
                None if came_round && cancel => {
                    access.refuse(leg, &message, &Fault::no_transaction(), effects);
                }
                None if came_round => {
                    access.drop_ack(leg, "no shard has its transaction", effects);
                }
                None => {
                    let shard = (access.setup.shard + 1) % access.setup.shards;
                    let bytes = bytes.clone();
                    let mail = Mail::Unmatched { from_shard, leg, key, bytes };
                    effects.commands.push(Command::Mail { shard, mail });
                }
            }
        });
    }
}
