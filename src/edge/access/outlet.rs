//! Outgoing connections by peer: which targets a partner or next hop has, which of them rest, and
//! the few connections that are open, opening, or backed off.

use std::net::SocketAddr;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::list::List;
use crate::dns::{Domain, SharedAnswer};
use crate::edge::{Class, LegId, OutletId};
use crate::policy::PartnerKey;
use crate::time::{Monotonic, Now};

/// Index of a [`Group`].
pub(crate) type GroupId = u32;

/// Whom a group of connections leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GroupKey {
    /// A partner.
    Partner(PartnerKey),
    /// A next hop by its index in the snapshot. The epoch is part of the key because indexes move
    /// when a configuration changes.
    NextHop { index: usize, epoch: u64 },
}

/// One host of a group.
#[derive(Clone, Debug)]
pub(crate) struct TargetState {
    pub(crate) fqdn: Domain,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) expected_names: Vec<Domain>,
    /// Not used before: it failed, or said 503.
    pub(crate) rest_until: Monotonic,
}

/// How one outlet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutletState {
    Connecting,
    Open(LegId),
}

/// One outgoing connection.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) generation: u32,
    pub(crate) group: GroupId,
    /// Index into the group's targets.
    pub(crate) target: usize,
    pub(crate) state: OutletState,
    /// Slots that wait for it or were sent on it, in order.
    pub(crate) slots: List,
    /// Plaintext bytes staged on its leg so far.
    pub(crate) staged: u64,
    pub(crate) last_used: Monotonic,
}

/// One partner or next hop.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    pub(crate) class: Class,
    pub(crate) anchors: Option<u16>,
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
    last_used: Monotonic,
}

/// First pause after every target failed; doubles up to the last.
const BACK_OFF_FIRST_MS: u64 = 500;
const BACK_OFF_LAST_MS: u64 = 30_000;
/// A failed target rests this long (wire-protocols B.5).
pub(crate) const TARGET_REST_MS: u64 = 32_000;
/// Peers remembered on one shard; a peer without connections makes room for a new one.
const GROUPS_MAX: usize = 65_536;
/// How many groups are looked at for one that can go.
const EVICTION_LOOKS_MAX: usize = 16;

/// All groups and outlets of a shard.
#[derive(Debug, Default)]
pub(crate) struct Outlets {
    groups: Vec<Option<Group>>,
    free_groups: Vec<GroupId>,
    by_key: HashMap<GroupKey, GroupId, foldhash::quality::RandomState>,
    outlets: Vec<Option<Outlet>>,
    free_outlets: Vec<u32>,
    generation: u32,
    eviction_hand: usize,
}

/// What a group is made from or refreshed with.
pub(crate) struct GroupPlan<'a> {
    pub(crate) key: GroupKey,
    pub(crate) class: Class,
    pub(crate) anchors: Option<u16>,
    pub(crate) wanted: usize,
    pub(crate) answer: Option<&'a SharedAnswer>,
}

impl Outlets {
    /// Returns the group, making it if need be. `targets` is called for a new group or when the
    /// answer has changed. `None` when no more peers can be remembered.
    pub(crate) fn group(
        &mut self,
        now: Now,
        plan: &GroupPlan<'_>,
        targets: impl FnOnce() -> Vec<TargetState>,
    ) -> Option<GroupId> {
        if let Some(&id) = self.by_key.get(&plan.key) {
            let group = self.groups[id as usize].as_mut().expect("the index holds live groups");
            group.last_used = now.monotonic;
            let same = match (&group.answer, plan.answer) {
                (Some(held), Some(given)) => std::sync::Arc::ptr_eq(held, given) || held == given,
                (None, None) => true,
                _ => false,
            };
            if !same {
                group.refresh(targets(), plan.answer.cloned());
            }
            group.wanted = plan.wanted;
            return Some(id);
        }
        let id = self.free_group()?;
        self.groups[id as usize] = Some(Group {
            key: plan.key,
            class: plan.class,
            anchors: plan.anchors,
            targets: targets(),
            answer: plan.answer.cloned(),
            outlets: SmallVec::new(),
            wanted: plan.wanted,
            in_flight: 0,
            retained_bytes: 0,
            failures: 0,
            back_off_until: Monotonic::default(),
            last_used: now.monotonic,
        });
        self.by_key.insert(plan.key, id);
        Some(id)
    }

    fn free_group(&mut self) -> Option<GroupId> {
        if let Some(id) = self.free_groups.pop() {
            return Some(id);
        }
        if self.groups.len() < GROUPS_MAX {
            self.groups.push(None);
            return u32::try_from(self.groups.len() - 1).ok();
        }
        // A clock hand over the groups: the first idle one it meets goes.
        for _ in 0..EVICTION_LOOKS_MAX {
            self.eviction_hand = (self.eviction_hand + 1) % self.groups.len();
            let at = self.eviction_hand;
            let idle = self.groups[at]
                .as_ref()
                .is_some_and(|group| group.outlets.is_empty() && group.in_flight == 0);
            if idle {
                let group = self.groups[at].take().expect("looked at on the line above");
                self.by_key.remove(&group.key);
                return u32::try_from(at).ok();
            }
        }
        None
    }

    pub(crate) fn get(&self, id: GroupId) -> &Group {
        self.groups[id as usize].as_ref().expect("a slot or outlet keeps its group alive")
    }

    pub(crate) fn get_mut(&mut self, id: GroupId) -> &mut Group {
        self.groups[id as usize].as_mut().expect("a slot or outlet keeps its group alive")
    }

    pub(crate) fn outlet(&self, id: OutletId) -> Option<&Outlet> {
        self.outlets
            .get(id.index as usize)?
            .as_ref()
            .filter(|outlet| outlet.generation == id.generation)
    }

    pub(crate) fn outlet_mut(&mut self, id: OutletId) -> Option<&mut Outlet> {
        self.outlets
            .get_mut(id.index as usize)?
            .as_mut()
            .filter(|outlet| outlet.generation == id.generation)
    }

    /// Makes an outlet of `group` towards its target `target`, connecting.
    pub(crate) fn open(&mut self, now: Now, group: GroupId, target: usize) -> OutletId {
        let index = self.free_outlets.pop().unwrap_or_else(|| {
            self.outlets.push(None);
            u32::try_from(self.outlets.len() - 1).expect("outlets are bounded by descriptors")
        });
        self.generation = self.generation.wrapping_add(1);
        let id = OutletId { index, generation: self.generation };
        self.outlets[index as usize] = Some(Outlet {
            generation: self.generation,
            group,
            target,
            state: OutletState::Connecting,
            slots: List::default(),
            staged: 0,
            last_used: now.monotonic,
        });
        self.get_mut(group).outlets.push(id);
        id
    }

    /// Forgets an outlet and returns it; its slots are the caller's to move on.
    pub(crate) fn close(&mut self, id: OutletId) -> Option<Outlet> {
        self.outlet(id)?;
        let outlet = self.outlets[id.index as usize].take()?;
        self.free_outlets.push(id.index);
        self.get_mut(outlet.group).outlets.retain(|other| *other != id);
        Some(outlet)
    }

    /// Chooses an outlet for a request: an open one by `spread`, else one that is connecting.
    pub(crate) fn choose(&self, group: GroupId, spread: u64) -> Option<OutletId> {
        let group = self.get(group);
        let open: SmallVec<[OutletId; 4]> = group
            .outlets
            .iter()
            .copied()
            .filter(|id| self.outlet(*id).is_some_and(|o| matches!(o.state, OutletState::Open(_))))
            .collect();
        let from = if open.is_empty() { &group.outlets[..] } else { &open[..] };
        if from.is_empty() {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is below four")]
        Some(from[(spread % from.len() as u64) as usize])
    }

    /// Returns open outlets unused since `before`, for the idle close.
    pub(crate) fn idle_since(&self, before: Monotonic) -> impl Iterator<Item = LegId> + '_ {
        self.outlets.iter().flatten().filter_map(move |outlet| match outlet.state {
            OutletState::Open(leg) if outlet.last_used < before && outlet.slots.len() == 0 => {
                Some(leg)
            }
            _ => None,
        })
    }
}

impl Group {
    /// Takes over new targets; one that was resting goes on resting.
    fn refresh(&mut self, mut targets: Vec<TargetState>, answer: Option<SharedAnswer>) {
        for target in &mut targets {
            if let Some(held) = self.targets.iter().find(|held| held.fqdn == target.fqdn) {
                target.rest_until = held.rest_until;
            }
        }
        self.targets = targets;
        self.answer = answer;
    }

    /// Returns the first target that does not rest.
    pub(crate) fn available(&self, now: Now) -> Option<usize> {
        self.targets.iter().position(|target| target.rest_until <= now.monotonic)
    }

    /// Lets a target rest. Once all do, the group backs off as a whole and then starts again from
    /// its first target, so that the rest of a target never outlasts the back-off.
    pub(crate) fn target_failed(&mut self, now: Now, target: usize, rest_ms: u64) {
        if let Some(target) = self.targets.get_mut(target) {
            target.rest_until = now.monotonic.plus_ms(rest_ms);
        }
        if self.available(now).is_none() {
            let pause = (BACK_OFF_FIRST_MS << self.failures.min(6)).min(BACK_OFF_LAST_MS);
            self.failures = self.failures.saturating_add(1);
            self.back_off_until = now.monotonic.plus_ms(pause);
            for target in &mut self.targets {
                target.rest_until = target.rest_until.min(self.back_off_until);
            }
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.back_off_until = Monotonic::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::default().plus_ms(ms)
    }

    fn target(name: &str) -> TargetState {
        TargetState {
            fqdn: Domain::parse(name.as_bytes()).unwrap(),
            addresses: vec![],
            expected_names: vec![],
            rest_until: Monotonic::default(),
        }
    }

    fn group(outlets: &mut Outlets) -> GroupId {
        let plan = GroupPlan {
            key: GroupKey::NextHop { index: 0, epoch: 1 },
            class: Class::Internal,
            anchors: None,
            wanted: 2,
            answer: None,
        };
        outlets.group(at(0), &plan, || vec![target("a.example"), target("b.example")]).unwrap()
    }

    #[test]
    fn a_failed_target_rests_and_the_next_is_used() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        let group = outlets.get_mut(id);
        group.target_failed(at(1), 0, TARGET_REST_MS);
        assert_eq!(group.available(at(2)), Some(1));
        assert_eq!(group.available(at(2 + TARGET_REST_MS)), Some(0));
    }

    #[test]
    fn when_all_targets_failed_the_group_backs_off_longer_each_time() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        let group = outlets.get_mut(id);
        group.target_failed(at(1), 0, TARGET_REST_MS);
        group.target_failed(at(1), 1, TARGET_REST_MS);
        let first = group.back_off_until;
        assert_eq!(first, at(1 + BACK_OFF_FIRST_MS).monotonic);
        assert_eq!(group.available(at(1 + BACK_OFF_FIRST_MS)), Some(0));
        let later = at(1 + BACK_OFF_FIRST_MS);
        group.target_failed(later, 0, TARGET_REST_MS);
        group.target_failed(later, 1, TARGET_REST_MS);
        assert_eq!(group.back_off_until, later.plus_ms(2 * BACK_OFF_FIRST_MS).monotonic);
        group.succeeded();
        assert_eq!(group.back_off_until, Monotonic::default());
    }

    #[test]
    fn open_outlets_are_preferred_and_one_call_stays_on_one() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        assert_eq!(outlets.choose(id, 7), None);
        let first = outlets.open(at(0), id, 0);
        let second = outlets.open(at(0), id, 0);
        let leg = LegId { index: 0, generation: 1 };
        outlets.outlet_mut(second).unwrap().state = OutletState::Open(leg);
        assert_eq!(outlets.choose(id, 0), Some(second));
        assert_eq!(outlets.choose(id, 1), Some(second));
        outlets.close(second);
        assert_eq!(outlets.choose(id, 9), Some(first));
        assert!(outlets.outlet(second).is_none());
    }
}
