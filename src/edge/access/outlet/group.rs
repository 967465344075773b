//! A partner or next hop: its targets, which of them rest, and how long it is left alone once
//! none was reached.

use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::choice::Habits;
use crate::dns::{Domain, SharedAnswer};
use crate::edge::access::diagnostics::FarEnd;
use crate::edge::{Class, ConnectFailure, OutletId};
use crate::policy::{AnchorSet, ExpectedNames, NextHop, PartnerKey, Snapshot};
use crate::time::{Monotonic, Now};

/// First pause after every target failed; doubles up to the last.
pub(super) const BACK_OFF_FIRST_MS: u64 = 500;
const BACK_OFF_LAST_MS: u64 = 30_000;
/// A failed target rests this long (wire-protocols B.5).
pub(crate) const TARGET_REST_MS: u64 = 32_000;

/// Whom a group of connections leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GroupKey {
    /// A partner.
    Partner(PartnerKey),
    /// A next hop, by [`hop_key`] of its name and port, which a reload does not change.
    NextHop(u64),
}

impl GroupKey {
    /// Returns the same peer's name under `new`; `None` if it is no longer there.
    pub(super) fn carried_over(self, old: &Snapshot, new: &Snapshot) -> Option<Self> {
        match self {
            Self::Partner(partner) => new.carry_over(old, partner).map(Self::Partner),
            Self::NextHop(hop) => {
                let kept = |h: &NextHop| hop_key(h.name.as_str(), h.port) == hop;
                new.next_hops().iter().any(kept).then_some(self)
            }
        }
    }
}

/// Names a next hop across snapshots.
pub(crate) fn hop_key(name: &str, port: u16) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    hasher.write_u16(port);
    hasher.finish()
}

/// One host of a group.
#[derive(Clone, Debug)]
pub(crate) struct TargetState {
    pub(crate) fqdn: Domain,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) expected_names: ExpectedNames,
    /// Not used before: it failed, or said 503.
    pub(crate) rest_until: Monotonic,
}

/// One partner or next hop.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name under the policy in force; `None` once its entry is gone, until nobody waits for an
    /// answer by its connections any more.
    pub(super) key: Option<GroupKey>,
    pub(crate) class: Class,
    pub(crate) far_end: FarEnd,
    pub(crate) anchors: Option<AnchorSet>,
    /// In the order they are tried.
    pub(crate) targets: Vec<TargetState>,
    /// The answer the targets were made from, to see when it has changed.
    answer: Option<SharedAnswer>,
    pub(crate) outlets: SmallVec<[OutletId; 4]>,
    /// How many outlets this shard keeps at most.
    pub(crate) wanted: usize,
    pub(crate) in_flight: usize,
    pub(crate) retained_bytes: usize,
    /// Grows with every round of failures; zero after a success.
    failures: u32,
    pub(crate) back_off_until: Monotonic,
    /// Why the last connection did not come up.
    pub(crate) last_fault: Option<ConnectFailure>,
    /// Snapshot the targets come from.
    pub(super) epoch: u64,
    /// Made once there is a choice between outlets; 1.5 KiB.
    pub(super) habits: Option<Box<Habits>>,
}

/// What a group is made from or refreshed with.
pub(crate) struct GroupPlan<'a> {
    pub(crate) key: GroupKey,
    pub(crate) far_end: FarEnd,
    pub(crate) anchors: Option<AnchorSet>,
    pub(crate) wanted: usize,
    pub(crate) epoch: u64,
    pub(crate) answer: Option<&'a SharedAnswer>,
}

impl GroupPlan<'_> {
    const fn class(&self) -> Class {
        match self.far_end {
            FarEnd::Inside => Class::Internal,
            FarEnd::Partner | FarEnd::PublicProvider => Class::Federation,
        }
    }
}

/// What a group led to before its targets changed.
pub(super) struct Former {
    pub(super) targets: Vec<TargetState>,
    pub(super) anchors: Option<AnchorSet>,
}

impl Group {
    /// Returns one without connections.
    pub(super) fn new(plan: &GroupPlan<'_>, targets: Vec<TargetState>) -> Self {
        Self {
            key: Some(plan.key),
            class: plan.class(),
            far_end: plan.far_end,
            anchors: plan.anchors,
            targets,
            answer: plan.answer.cloned(),
            outlets: SmallVec::new(),
            wanted: plan.wanted,
            in_flight: 0,
            retained_bytes: 0,
            failures: 0,
            back_off_until: Monotonic::default(),
            last_fault: None,
            epoch: plan.epoch,
            habits: None,
        }
    }

    /// Tells whether its targets are what `plan` would make them from.
    pub(super) fn is_of(&self, plan: &GroupPlan<'_>) -> bool {
        self.epoch == plan.epoch
            && match (&self.answer, plan.answer) {
                (Some(held), Some(given)) => Arc::ptr_eq(held, given),
                (None, None) => true,
                _ => false,
            }
    }

    /// Tells whether neither a connection nor a request is left of it.
    pub(super) fn is_idle(&self) -> bool {
        self.outlets.is_empty() && self.in_flight == 0
    }

    /// Tells whether every target has failed since the last connection that came up.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// A peer that was not reached has shown itself: it may be tried at once.
    pub(super) fn shown(&mut self, now: Now) {
        if self.has_failed() {
            self.back_off_until = now.monotonic;
            for target in &mut self.targets {
                target.rest_until = now.monotonic;
            }
        }
    }

    /// Takes over new targets; one that was resting goes on resting. Returns what it had before.
    pub(super) fn refresh(
        &mut self,
        mut targets: Vec<TargetState>,
        plan: &GroupPlan<'_>,
    ) -> Former {
        for target in &mut targets {
            if let Some(held) = self.targets.iter().find(|held| held.fqdn == target.fqdn) {
                target.rest_until = held.rest_until;
            }
        }
        let former = Former {
            targets: std::mem::replace(&mut self.targets, targets),
            anchors: std::mem::replace(&mut self.anchors, plan.anchors),
        };
        self.answer = plan.answer.cloned();
        self.far_end = plan.far_end;
        self.wanted = plan.wanted;
        self.epoch = plan.epoch;
        former
    }

    pub(crate) const fn key(&self) -> Option<GroupKey> {
        self.key
    }

    pub(crate) const fn is_partner(&self) -> bool {
        matches!(self.class, Class::Federation)
    }

    /// Returns the first target that does not rest.
    pub(crate) fn available(&self, now: Now) -> Option<usize> {
        self.targets.iter().position(|target| target.rest_until <= now.monotonic)
    }

    /// Lets a target rest. Once all do, the group backs off as a whole and then starts again from
    /// its first target, so that the rest of a target never outlasts the back-off. `spread`: any
    /// number; it takes up to a quarter off the back-off, so that shards and edges that lost a peer
    /// together do not return to it together.
    pub(crate) fn target_failed(&mut self, now: Now, target: usize, rest_ms: u64, spread: u64) {
        if let Some(target) = self.targets.get_mut(target) {
            target.rest_until = now.monotonic.plus_ms(rest_ms);
        }
        if self.available(now).is_none() {
            let pause = (BACK_OFF_FIRST_MS << self.failures.min(6)).min(BACK_OFF_LAST_MS);
            self.failures = self.failures.saturating_add(1);
            let pause = pause - pause * (spread % 256) / 1_024;
            self.back_off_until = now.monotonic.plus_ms(pause);
            for target in &mut self.targets {
                target.rest_until = target.rest_until.min(self.back_off_until);
            }
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.last_fault = None;
        self.back_off_until = Monotonic::default();
    }
}
