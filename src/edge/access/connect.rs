//! Outgoing connections: choosing, opening, losing and retrying (DESIGN 6.8).

use std::net::SocketAddr;

use super::Access;
use super::branch::{BRANCH_BYTES, Branch};
use super::diagnostics::{FarEnd, Fault};
use super::outlet::{
    GroupId, GroupKey, GroupPlan, OutletState, TARGET_REST_MS, TargetState, hop_key,
};
use super::screen::Stop;
use super::transaction::{Downstream, State, Timer};
use crate::dns::DnsView;
use crate::dns::{self, Domain, Question};
use crate::edge::{
    CloseReason, Command, Connect, ConnectFailure, Effects, LegId, OutletId, Severity,
};
use crate::limits;
use crate::policy::{ExpectedNames, NextHop, PeerNames, Permit};
use crate::sip::Method;
use crate::time::{Monotonic, Now};

impl Access {
    /// Returns the connections to the partner a permit leads to, their targets up to date.
    pub(super) fn partner_group(
        &mut self,
        permit: &Permit,
        domain: &Domain,
    ) -> Result<GroupId, Stop> {
        let far_end = FarEnd::of_network(permit.source_network());
        let Some(route) = permit.route() else {
            return Err(Fault::out_of_service(far_end).into());
        };
        let wanted = per_shard(usize::from(route.connections), usize::from(self.setup.shards));
        let plan = GroupPlan {
            key: GroupKey::Partner(permit.partner()),
            far_end,
            anchors: route.anchors,
            wanted,
            epoch: self.snapshot.epoch,
            answer: Some(&route.targets),
        };
        let mut random = self.random();
        let targets = || {
            let order = dns::order(&route.targets, &mut || {
                random = random.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                random
            });
            let targets = route.targets();
            order
                .into_iter()
                .filter_map(|at| targets.get(at))
                .map(|target| TargetState {
                    fqdn: target.fqdn.clone(),
                    addresses: sockets(&target.addresses, target.port),
                    expected_names: route.expected_names(target, domain),
                    rest_until: Monotonic::default(),
                })
                .collect()
        };
        self.outlets.group(&plan, targets).ok_or_else(|| Fault::overload().into())
    }

    /// Returns the connections to a next hop; asks DNS where no addresses are configured.
    pub(super) fn next_hop_group(&mut self, now: Now, index: usize) -> Result<GroupId, Stop> {
        let hop = &self.snapshot.next_hops()[index];
        let key = GroupKey::NextHop(hop_key(hop.name.as_str(), hop.port));
        let answer = if hop.addresses.is_empty() {
            let question = Question::Host { fqdn: hop.name.clone(), port: hop.port };
            let Some(answer) = self.dns.look(now, &question) else {
                return Err(Stop::Ask(question));
            };
            Some(answer)
        } else {
            None
        };
        let plan = GroupPlan {
            key,
            far_end: FarEnd::Inside,
            anchors: None,
            wanted: usize::from(hop.connections),
            epoch: self.snapshot.epoch,
            answer: answer.as_ref(),
        };
        let found = match answer.as_ref().map(|answer| &answer.outcome) {
            None => None,
            Some(Ok(targets)) => Some(targets),
            Some(Err(failure)) => return Err(Fault::dns(*failure).into()),
        };
        // Asked for only when the group is new or its answer has changed.
        let targets = || {
            let addresses = match found {
                None => sockets(&hop.addresses, hop.port),
                Some(found) => found.iter().flat_map(|t| sockets(&t.addresses, t.port)).collect(),
            };
            vec![TargetState {
                fqdn: hop.name.clone(),
                addresses,
                expected_names: ExpectedNames::host(hop.name.clone()),
                rest_until: Monotonic::default(),
            }]
        };
        self.outlets.group(&plan, targets).ok_or_else(|| Fault::overload().into())
    }

    /// Sends a slot's request by a connection of `group`, opening one if need be.
    pub(super) fn deliver(&mut self, now: Now, index: u32, group: GroupId, effects: &mut Effects) {
        let spread = self.slots.get(index).spread;
        let chosen = self.outlets.choose(now, group, spread);
        let open = chosen.and_then(|id| match self.outlets.outlet(id)?.state {
            OutletState::Open(leg) => Some((id, leg)),
            OutletState::Connecting => None,
        });
        if self.outlets.serving(group) < self.outlets.get(group).wanted {
            self.open_outlet(now, group, effects);
        }
        if let Some((outlet, leg)) = open {
            return self.send_on(now, index, leg, Some(outlet), effects);
        }
        let Some(outlet) = chosen.or_else(|| self.outlets.choose(now, group, spread)) else {
            let fault = Fault::out_of_service(self.outlets.get(group).far_end);
            return self.fail(now, index, &fault, effects);
        };
        let Some(held) = self.outlets.outlet_mut(outlet) else { return };
        self.slots.link(&mut held.slots, index);
        self.slots.get_mut(index).downstream = Downstream::Waiting(outlet);
        self.slots.arm(index, Timer::Parked, now);
    }

    /// Opens one more connection to the first target that does not rest.
    pub(super) fn open_outlet(&mut self, now: Now, group: GroupId, effects: &mut Effects) {
        let held = self.outlets.get(group);
        if held.back_off_until > now.monotonic {
            return;
        }
        let Some(target) = held.available(now) else { return };
        let state = &held.targets[target];
        let mut addresses = state.addresses.clone();
        if addresses.is_empty() {
            return;
        }
        // Several connections to one name go to different hosts of it where it has several.
        let turn = (held.outlets.len() + usize::from(self.setup.shard)) % addresses.len();
        addresses.rotate_left(turn);
        let request = (held.class, state.fqdn.clone(), state.expected_names.clone(), held.anchors);
        let outlet = self.outlets.open(group, target);
        let (class, server_name, expected_names, anchors) = request;
        self.counters.connects += 1;
        effects.commands.push(Command::Connect(Connect {
            outlet,
            class,
            server_name,
            expected_names,
            addresses,
            anchors,
        }));
    }

    /// A connection is up: what waited for it goes out, in order.
    pub(super) fn outlet_opened(
        &mut self,
        now: Now,
        outlet: OutletId,
        leg: LegId,
        effects: &mut Effects,
    ) {
        let Some(held) = self.outlets.outlet_mut(outlet) else {
            // The partner went away while the connection was being made.
            effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted });
            return;
        };
        held.state = OutletState::Open(leg);
        let (group, serves) = (held.group, held.serves());
        if !serves {
            let far_end = self.outlets.get(group).far_end;
            return self.outlet_unwanted(now, (outlet, far_end), leg, effects);
        }
        self.outlets.get_mut(group).succeeded();
        while let Some(index) = self.outlets.outlet(outlet).and_then(|held| held.slots.head()) {
            self.detach(index);
            self.send_on(now, index, leg, Some(outlet), effects);
        }
    }

    /// A connection is up that policy or DNS took back while it was being made: what waited for it
    /// is tried elsewhere.
    fn outlet_unwanted(
        &mut self,
        now: Now,
        (outlet, far_end): (OutletId, FarEnd),
        leg: LegId,
        effects: &mut Effects,
    ) {
        effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted });
        let mut waiting = Vec::new();
        while let Some(index) = self.outlets.outlet(outlet).and_then(|held| held.slots.head()) {
            self.detach(index);
            waiting.push(index);
        }
        for index in waiting {
            self.retry(now, index, &Fault::out_of_service(far_end), effects);
        }
    }

    /// An inner server has connected to some shard, so whoever it is is back: what rests because it
    /// was not reached is tried at the next request. Returns the next hops it is.
    pub(super) fn hops_shown(&mut self, now: Now, peer: &PeerNames) -> Vec<u64> {
        let is_peer = |hop: &&NextHop| peer.carries_host(&hop.name, false);
        let hops = self.snapshot.next_hops().iter().filter(is_peer);
        let hops: Vec<u64> = hops.map(|hop| hop_key(hop.name.as_str(), hop.port)).collect();
        for hop in &hops {
            self.outlets.shown(now, GroupKey::NextHop(*hop));
        }
        hops
    }

    /// A connection did not come up: its target rests, and what waited goes to the next one.
    pub(super) fn outlet_failed(
        &mut self,
        now: Now,
        outlet: OutletId,
        why: ConnectFailure,
        effects: &mut Effects,
    ) {
        let Some(held) = self.outlets.outlet(outlet) else { return };
        let (group, target, name) = (held.group, held.target(), held.fqdn.clone());
        let spread = self.random();
        let held = self.outlets.get_mut(group);
        let far_end = held.far_end;
        // A host that policy or DNS took back says nothing of those that are named instead.
        if let Some(target) = target {
            held.last_fault = Some(why);
            held.target_failed(now, target, TARGET_REST_MS, spread);
        }
        let fault = Fault::connect(why, far_end);
        let sentence = format!("no connection to {name}: {}", fault.sentence);
        self.note(None, Severity::Warn, sentence, 0, effects);
        let mut waiting = Vec::new();
        while let Some(index) = self.outlets.outlet(outlet).and_then(|held| held.slots.head()) {
            self.detach(index);
            waiting.push(index);
        }
        self.outlets.close(outlet);
        for index in waiting {
            self.retry(now, index, &fault, effects);
        }
    }

    /// A leg is gone. What was on it fails over, or is answered where it may have been delivered.
    pub(super) fn leg_lost(
        &mut self,
        now: Now,
        leg: &mut super::legs::Leg,
        unsent: usize,
        effects: &mut Effects,
    ) {
        if let Some(outlet) = leg.outlet {
            self.outlets.close(outlet);
        }
        // Records make ciphertext longer than plaintext, so not all of `unsent` is message bytes;
        // what counts as unwritten must surely be so, since a MESSAGE must not arrive twice.
        let surely_unwritten_from = leg.staged - (unsent as u64 * 9 / 10).min(leg.staged);
        while let Some(index) = leg.slots.head() {
            self.slots.unlink(&mut leg.slots, index);
            let slot = self.slots.get_mut(index);
            let Downstream::Sent { end, .. } =
                std::mem::replace(&mut slot.downstream, Downstream::Nowhere)
            else {
                unreachable!("a slot listed with a leg was sent on it")
            };
            let start = end - (slot.sent.len() as u64).min(end);
            slot.written = start < surely_unwritten_from;
            self.interrupted(now, index, effects);
        }
    }

    fn interrupted(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let slot = self.slots.get(index);
        match slot.state() {
            State::Accepted | State::Completed => self.finish(index),
            State::CancelWanted | State::Cancelled => {
                self.fail(now, index, &Fault::cancelled(), effects);
            }
            State::Proceeding => self.fail(now, index, &Fault::lost_after_write(), effects),
            State::Trying => {
                let retriable = matches!(slot.method, Method::Invite | Method::Subscribe);
                if slot.written && !retriable {
                    return self.fail(now, index, &Fault::lost_after_write(), effects);
                }
                self.retry(now, index, &Fault::lost_after_write(), effects);
            }
        }
    }

    /// Sends a request again at the next target, under a new branch; with `fault` if there is none.
    pub(super) fn retry(&mut self, now: Now, index: u32, fault: &Fault, effects: &mut Effects) {
        self.detach(index);
        let slot = self.slots.get_mut(index);
        let Some(group) = slot.group else { return self.fail(now, index, fault, effects) };
        let whole = slot.sent.len() > slot.head_len || slot.body_len == 0;
        if slot.attempt + 1 >= limits::TARGETS_TRIED_MAX || !whole {
            return self.fail(now, index, fault, effects);
        }
        let group = if self.outlets.get(group).available(now).is_some() {
            group
        } else {
            let Some(other) = self.another_gateway(now, index) else {
                return self.fail(now, index, fault, effects);
            };
            let slot = self.slots.get_mut(index);
            slot.group = Some(other);
            self.outlets.recharge(group, other, slot.charged);
            other
        };
        let slot = self.slots.get_mut(index);
        slot.attempt += 1;
        slot.written = false;
        self.slots.set_state(index, State::Trying);
        let slot = self.slots.get(index);
        // A pipe's branch belongs to the shard that asked; that shard told targets apart already.
        let at = slot.branch_at;
        let text = slot.sent.get(at..at + BRANCH_BYTES).map(<[u8]>::to_vec);
        if let Some(branch) = text.and_then(|text| self.branch_key.read(&text))
            && branch.slot.shard == self.setup.shard
        {
            let attempt = self.slots.get(index).attempt;
            let text = self.branch_key.write(Branch { attempt, ..branch });
            self.slots.get_mut(index).sent[at..at + BRANCH_BYTES].copy_from_slice(&text);
        }
        self.counters.retries += 1;
        self.deliver(now, index, group, effects);
    }

    /// A slot's timer has run out.
    pub(super) fn slot_expired(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let slot = self.slots.get(index);
        match (slot.state(), slot.downstream, slot.method) {
            (State::Completed | State::Accepted, ..) => self.finish(index),
            (_, Downstream::Waiting(_), _) => {
                self.fail(now, index, &Fault::no_answer_in_time(), effects);
            }
            (State::Proceeding, _, Method::Invite) => {
                // Timer C: RFC 3261 section 16.8.
                self.counters.timer_c += 1;
                self.send_cancel(index, effects);
                self.slots.arm(index, Timer::Transaction, now);
            }
            (State::Trying, _, Method::Invite) => {
                self.counters.timeouts += 1;
                self.retry(now, index, &Fault::invite_timeout(), effects);
            }
            (State::CancelWanted | State::Cancelled, _, Method::Invite) => {
                self.counters.timeouts += 1;
                self.fail(now, index, &Fault::invite_timeout(), effects);
            }
            _ => {
                // RFC 4320 section 4.2: silence; the sender's own Timer F has run out as well.
                self.counters.timeouts += 1;
                self.finish(index);
            }
        }
    }
}

/// How many connections each shard keeps, so that all together stay within the bound.
fn per_shard(connections: usize, shards: usize) -> usize {
    connections.clamp(1, limits::CONNECTIONS_PER_PARTNER_MAX).div_euclid(shards.max(1)).max(1)
}

fn sockets(addresses: &[std::net::IpAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}
