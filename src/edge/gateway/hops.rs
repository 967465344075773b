//! Connections to next hops, one to each, and the requests that wait for one.

use std::collections::VecDeque;

use super::Gateway;
use super::peers::Held;
use super::slots::Key;
use super::uac::Local;
use super::whereabouts::Whereabouts;
use crate::dns::{Domain, Question};
use crate::edge::{
    Class, CloseReason, Command, Connect, ConnectFailure, Effects, Kind, LegId, OutletId, Severity,
};
use crate::limits;
use crate::policy::{Dialect, ExpectedNames, NextHop, PeerNames};
use crate::time::{Monotonic, Now};

/// A next hop that something was sent to.
#[derive(Debug)]
pub(super) struct Hop {
    name: Domain,
    port: u16,
    standing: Standing,
    waiting: VecDeque<(Key, Vec<u8>)>,
    waiting_bytes: usize,
    /// Requests that wait for their answers.
    pub(super) in_flight: usize,
    failures: u32,
    rest_until: Monotonic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Idle,
    Resolving(Question),
    Connecting(OutletId),
    Open(LegId),
}

impl Gateway {
    /// Returns the next hop of an own domain.
    pub(super) fn next_hop(&self, domain: &str) -> Option<&NextHop> {
        let at = self.snapshot.next_hop_of(domain.as_bytes())?;
        self.snapshot.next_hops().get(at)
    }

    /// Returns how the next hop of an own domain speaks of messages.
    pub(super) fn dialect(&self, domain: &str) -> Dialect {
        self.next_hop(domain).map_or_else(Dialect::default, |hop| hop.dialect)
    }

    /// Returns the place of an own domain's next hop, made if need be.
    pub(super) fn hop_of(&mut self, domain: &str) -> Option<usize> {
        let place = self.snapshot.next_hop_of(domain.as_bytes())?;
        Some(self.hop_at(place))
    }

    /// Returns the place of the next hop at `place` of the policy's, made if need be.
    pub(super) fn hop_at(&mut self, place: usize) -> usize {
        let listed = &self.snapshot.next_hops()[place];
        let (name, port) = (listed.name.clone(), listed.port);
        let known = self.hops.iter().position(|hop| hop.name == name && hop.port == port);
        known.unwrap_or_else(|| {
            self.hops.push(Hop {
                name,
                port,
                standing: Standing::Idle,
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                in_flight: 0,
                failures: 0,
                rest_until: Monotonic::default(),
            });
            self.hops.len() - 1
        })
    }

    /// Returns the connection to the next hop of an own domain, if it is there.
    pub(super) fn open_leg(&mut self, domain: &str) -> Option<LegId> {
        let at = self.hop_of(domain)?;
        match self.hops.get(at)?.standing {
            Standing::Open(leg) => Some(leg),
            _ => None,
        }
    }

    /// Writes a request to its next hop, or lets it wait for the connection.
    pub(super) fn send_inside(
        &mut self,
        now: Now,
        at: usize,
        client: Key,
        bytes: Vec<u8>,
        effects: &mut Effects,
    ) {
        let Some(hop) = self.hops.get_mut(at) else { return };
        if let Standing::Open(leg) = hop.standing {
            return self.write_to(leg, client, &bytes, effects);
        }
        if hop.rest_until > now.monotonic && hop.standing == Standing::Idle {
            self.counters.unreachable += 1;
            return self.conclude(client, Local::Unreachable);
        }
        let full = hop.waiting.len() >= limits::GATEWAY_HOP_WAITING_MAX
            || hop.waiting_bytes + bytes.len() > limits::RETAINED_BYTES_PER_PARTNER_MAX;
        if full {
            self.counters.refused_by_limit += 1;
            return self.conclude(client, Local::Full);
        }
        hop.waiting_bytes += bytes.len();
        hop.waiting.push_back((client, bytes));
        if !matches!(hop.standing, Standing::Connecting(_)) {
            self.pursue_hop(now, at, effects);
        }
    }

    fn write_to(&mut self, leg: LegId, client: Key, bytes: &[u8], effects: &mut Effects) {
        match effects.stage(leg, Kind::Request, bytes.len()) {
            Some(out) => {
                out.extend_from_slice(bytes);
                self.counters.requests_out += 1;
                self.client_written(client, leg);
            }
            None => {
                self.counters.refused_by_limit += 1;
                self.conclude(client, Local::Full);
            }
        }
    }

    fn pursue_hop(&mut self, now: Now, at: usize, effects: &mut Effects) {
        let Some(hop) = self.hops.get(at) else { return };
        let (name, port) = (hop.name.clone(), hop.port);
        let mut listed = self.snapshot.next_hops().iter();
        let listed = listed.find(|listed| listed.name == name && listed.port == port);
        let Some(listed) = listed else { return self.fail_hop(at) };
        let stated = listed.addresses.clone();
        let addresses = match self.whereabouts(now, (&name, port), &stated, effects) {
            Whereabouts::Known(addresses) => addresses,
            Whereabouts::Asked(question) => return self.set_hop(at, Standing::Resolving(question)),
        };
        if addresses.is_empty() {
            return self.hop_rests(now, at, "its name has no address", effects);
        }
        let outlet = self.next_outlet();
        self.set_hop(at, Standing::Connecting(outlet));
        effects.commands.push(Command::Connect(Connect {
            outlet,
            class: Class::Internal,
            server_name: name.clone(),
            expected_names: ExpectedNames::host(name),
            addresses,
            anchors: None,
        }));
    }

    fn set_hop(&mut self, at: usize, standing: Standing) {
        if let Some(hop) = self.hops.get_mut(at) {
            hop.standing = standing;
        }
    }

    pub(super) fn hops_resolved(&mut self, now: Now, asked: &Question, effects: &mut Effects) {
        for at in 0..self.hops.len() {
            let standing = self.hops.get(at).map(|hop| &hop.standing);
            if matches!(standing, Some(Standing::Resolving(question)) if question == asked) {
                self.pursue_hop(now, at, effects);
            }
        }
    }

    pub(super) fn hop_opened(
        &mut self,
        now: Now,
        leg: LegId,
        outlet: OutletId,
        effects: &mut Effects,
    ) {
        let connecting = Standing::Connecting(outlet);
        let Some(at) = self.hops.iter().position(|hop| hop.standing == connecting) else {
            effects.commands.push(Command::Close { leg, reason: CloseReason::Ended });
            return;
        };
        self.legs.insert(leg, Held::Sip { hop: Some(at) });
        let Some(hop) = self.hops.get_mut(at) else { return };
        hop.standing = Standing::Open(leg);
        (hop.failures, hop.rest_until, hop.waiting_bytes) = (0, now.monotonic, 0);
        for (client, bytes) in std::mem::take(&mut hop.waiting) {
            // Some were given up meanwhile.
            if self.clients.get(client).is_some() {
                self.write_to(leg, client, &bytes, effects);
            }
        }
    }

    pub(super) fn hop_unreachable(
        &mut self,
        now: Now,
        outlet: OutletId,
        why: ConnectFailure,
        effects: &mut Effects,
    ) {
        let connecting = Standing::Connecting(outlet);
        if let Some(at) = self.hops.iter().position(|hop| hop.standing == connecting) {
            self.hop_rests(now, at, &format!("{why:?}"), effects);
        }
    }

    fn hop_rests(&mut self, now: Now, at: usize, why: &str, effects: &mut Effects) {
        let random = self.random();
        let Some(hop) = self.hops.get_mut(at) else { return };
        hop.rest_until = now.monotonic.plus_ms(super::rest_ms(hop.failures, random));
        hop.failures = hop.failures.saturating_add(1);
        let severity = if hop.failures == 1 { Severity::Warn } else { Severity::Debug };
        let sentence = format!("no connection to the next hop {}: {why}", hop.name);
        self.note(None, severity, sentence, effects);
        self.fail_hop(at);
    }

    /// A server inside has connected to us: if it rests as one that was not reached, it is back.
    pub(super) fn peer_shown(&mut self, now: Now, peer: &PeerNames) {
        for hop in self.hops.iter_mut().filter(|hop| peer.carries_host(&hop.name, false)) {
            hop.rest_until = now.monotonic;
        }
        self.edge_shown(now, peer);
    }

    /// Everything that waits for a connection is told that there is none.
    fn fail_hop(&mut self, at: usize) {
        let Some(hop) = self.hops.get_mut(at) else { return };
        hop.standing = Standing::Idle;
        hop.waiting_bytes = 0;
        for (client, _) in std::mem::take(&mut hop.waiting) {
            self.counters.unreachable += 1;
            self.conclude(client, Local::Unreachable);
        }
    }

    /// A SIP connection is gone, and with it what was to be answered on it.
    pub(super) fn sip_leg_lost(&mut self, leg: LegId, hop: Option<usize>) {
        if let Some(hop) = hop.and_then(|at| self.hops.get_mut(at))
            && hop.standing == Standing::Open(leg)
        {
            hop.standing = Standing::Idle;
        }
        for client in self.clients.keys() {
            if self.clients.get(client).is_some_and(|sent| sent.leg == Some(leg)) {
                self.conclude(client, Local::Lost);
            }
        }
    }

    /// Closes connections to next hops that the policy in force does not name.
    pub(super) fn retire_hops(&mut self, effects: &mut Effects) {
        for at in 0..self.hops.len() {
            let Some(hop) = self.hops.get(at) else { continue };
            let mut listed = self.snapshot.next_hops().iter();
            if listed.any(|listed| listed.name == hop.name && listed.port == hop.port) {
                continue;
            }
            match hop.standing {
                Standing::Open(leg) => {
                    let reason = CloseReason::NotPermitted;
                    effects.commands.push(Command::Close { leg, reason });
                }
                _ => self.fail_hop(at),
            }
        }
    }
}
