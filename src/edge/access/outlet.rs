//! Outgoing connections by peer: which targets a partner or next hop has, which of them rest, and
//! the few connections that are open, opening, or backed off.

use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::diagnostics::FarEnd;
use super::list::List;
use crate::dns::{Domain, SharedAnswer};
use crate::edge::{Class, ConnectFailure, LegId, OutletId};
use crate::policy::{AnchorSet, ExpectedNames, PartnerKey, Snapshot};
use crate::time::{Monotonic, Now};

/// Index of a [`Group`].
pub(crate) type GroupId = u32;

/// Whom a group of connections leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GroupKey {
    /// A partner.
    Partner(PartnerKey),
    /// A next hop, by [`hop_key`] of its name and port, which a reload does not change.
    NextHop(u64),
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
    /// Index into the group's targets; means nothing once it has retired.
    target: usize,
    /// The host it leads to.
    pub(crate) fqdn: Domain,
    pub(crate) state: OutletState,
    /// Slots that wait for it to open, in order.
    pub(crate) slots: List,
    /// Not chosen before: its target said 503.
    pub(crate) resting_until: Monotonic,
    /// Never chosen again: policy or DNS no longer names its host, or demands other names of it.
    retired: bool,
}

impl Outlet {
    /// Tells whether requests may still be given to it, now or after its rest.
    pub(crate) const fn serves(&self) -> bool {
        !self.retired
    }

    /// Returns its place among the group's targets; `None` once it leads to none of them.
    pub(crate) fn target(&self) -> Option<usize> {
        self.serves().then_some(self.target)
    }
}

/// One partner or next hop.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name under the policy in force; `None` once its entry is gone, until nobody waits for an
    /// answer by its connections any more.
    key: Option<GroupKey>,
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
    epoch: u64,
    /// Made once there is a choice between outlets; 1.5 KiB.
    habits: Option<Box<[Habit; HABITS]>>,
}

/// Which outlet a share of the Call-IDs takes.
#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    outlet: Option<OutletId>,
    used: Monotonic,
}

/// Shares into which Call-IDs fall.
const HABITS: usize = 64;
/// A share unused for this long may move: whatever it sent has long arrived.
const HABIT_MS: u64 = 2_000;

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
    /// Outlets that are closed as soon as nobody waits for an answer on them.
    retired: Vec<OutletId>,
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

impl Outlets {
    /// Returns the group, making it if need be. `targets` is called for a new group or when the
    /// answer has changed. `None` when no more peers can be remembered.
    pub(crate) fn group(
        &mut self,
        plan: &GroupPlan<'_>,
        targets: impl FnOnce() -> Vec<TargetState>,
    ) -> Option<GroupId> {
        if let Some(&id) = self.by_key.get(&plan.key) {
            let group = self.groups[id as usize].as_mut().expect("the index holds live groups");
            let same = group.epoch == plan.epoch
                && match (&group.answer, plan.answer) {
                    (Some(held), Some(given)) => Arc::ptr_eq(held, given),
                    (None, None) => true,
                    _ => false,
                };
            if !same {
                let former = group.refresh(targets(), plan);
                self.retire_strays(id, &former);
            }
            return Some(id);
        }
        let id = self.free_group()?;
        self.groups[id as usize] = Some(Group {
            key: Some(plan.key),
            class: plan.class(),
            far_end: plan.far_end,
            anchors: plan.anchors,
            targets: targets(),
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
        });
        self.by_key.insert(plan.key, id);
        Some(id)
    }

    /// After a change of a group's targets: each outlet finds its own among them again, or retires.
    fn retire_strays(&mut self, id: GroupId, former: &Former) {
        let group = self.groups[id as usize].as_ref().expect("refreshed on the line above");
        for &outlet_id in &group.outlets {
            let Some(outlet) = self.outlets[outlet_id.index as usize].as_mut() else { continue };
            if outlet.retired {
                continue;
            }
            let host = former.targets.get(outlet.target);
            let now_at = host.filter(|_| former.anchors == group.anchors).and_then(|host| {
                group.targets.iter().position(|target| {
                    target.fqdn == host.fqdn && target.expected_names == host.expected_names
                })
            });
            match now_at {
                Some(target) => outlet.target = target,
                None => {
                    outlet.retired = true;
                    self.retired.push(outlet_id);
                }
            }
        }
    }

    /// Returns whether there are outlets that wait to be closed.
    pub(crate) const fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Takes the retired outlets that `is_busy` does not name and that are open, to be closed.
    pub(crate) fn take_retired(&mut self, is_busy: impl Fn(LegId) -> bool) -> Vec<LegId> {
        let mut retired = std::mem::take(&mut self.retired);
        let mut closing = Vec::new();
        retired.retain(|id| match self.outlet(*id).map(|outlet| outlet.state) {
            None => false,
            Some(OutletState::Open(leg)) if !is_busy(leg) => {
                closing.push(leg);
                false
            }
            Some(OutletState::Open(_) | OutletState::Connecting) => true,
        });
        self.retired = retired;
        closing
    }

    /// Returns how many outlets of a group may be given requests.
    pub(crate) fn serving(&self, group: GroupId) -> usize {
        let outlets = self.get(group).outlets.iter();
        outlets.filter(|id| self.outlet(**id).is_some_and(Outlet::serves)).count()
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
                if let Some(key) = group.key {
                    self.by_key.remove(&key);
                }
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
    pub(crate) fn open(&mut self, group: GroupId, target: usize) -> OutletId {
        let index = self.free_outlets.pop().unwrap_or_else(|| {
            self.outlets.push(None);
            u32::try_from(self.outlets.len() - 1).expect("outlets are bounded by descriptors")
        });
        self.generation = self.generation.wrapping_add(1);
        let id = OutletId { index, generation: self.generation };
        let fqdn = self.get(group).targets[target].fqdn.clone();
        self.outlets[index as usize] = Some(Outlet {
            generation: self.generation,
            group,
            target,
            fqdn,
            state: OutletState::Connecting,
            slots: List::default(),
            resting_until: Monotonic::default(),
            retired: false,
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
        self.forget_if_gone(outlet.group);
        Some(outlet)
    }

    /// Takes a request that ended, and the bytes kept of it, off the account of its group.
    pub(crate) fn uncharge(&mut self, id: GroupId, bytes: usize) {
        let group = self.get_mut(id);
        assert!(group.in_flight > 0, "a slot is charged to its group until it ends");
        group.in_flight -= 1;
        group.retained_bytes -= bytes;
        self.forget_if_gone(id);
    }

    /// Frees a group whose entry is gone once neither a connection nor a request is left of it.
    fn forget_if_gone(&mut self, id: GroupId) {
        let group = self.get(id);
        if group.key.is_none() && group.outlets.is_empty() && group.in_flight == 0 {
            self.groups[id as usize] = None;
            self.free_groups.push(id);
        }
    }

    /// Tells whether the group's peer is there as far as is known: a connection to it is open and
    /// does not rest, or none has failed since the last one.
    pub(crate) fn is_there(&self, now: Now, group: GroupId) -> bool {
        let held = self.get(group);
        let open = |id: &OutletId| {
            self.outlet(*id).is_some_and(|outlet| {
                let rests = outlet.resting_until > now.monotonic;
                outlet.serves() && !rests && matches!(outlet.state, OutletState::Open(_))
            })
        };
        held.failures == 0 || held.outlets.iter().any(open)
    }

    /// A peer that was not reached has shown itself: it may be tried at once. It counts as not
    /// there until a connection to it is open.
    pub(crate) fn shown(&mut self, now: Now, key: GroupKey) {
        let Some(&id) = self.by_key.get(&key) else { return };
        let group = self.get_mut(id);
        if group.failures > 0 {
            group.back_off_until = now.monotonic;
            for target in &mut group.targets {
                target.rest_until = now.monotonic;
            }
        }
    }

    /// Moves a request, and the bytes kept of it, from the account of one group to another's.
    pub(crate) fn recharge(&mut self, from: GroupId, to: GroupId, bytes: usize) {
        let held = self.get_mut(to);
        held.in_flight += 1;
        held.retained_bytes += bytes;
        self.uncharge(from, bytes);
    }

    /// Chooses an outlet for a request. Requests of one `spread` (one Call-ID) stay on one outlet
    /// while it lives, because another one could overtake it; otherwise an open one is preferred to
    /// one that is connecting.
    pub(crate) fn choose(&mut self, now: Now, group: GroupId, spread: u64) -> Option<OutletId> {
        #[allow(clippy::cast_possible_truncation, reason = "reduced to the number of habits")]
        let habit = spread as usize % HABITS;
        let kept = self.get(group).habits.as_ref().map(|habits| habits[habit]);
        if let Some(Habit { outlet: Some(outlet), used }) = kept
            && now.monotonic.ms_since(used) < HABIT_MS
            && self
                .outlet(outlet)
                .is_some_and(|held| held.serves() && held.resting_until <= now.monotonic)
        {
            self.keep_habit(now, group, habit, outlet);
            return Some(outlet);
        }
        let outlet = self.choose_afresh(now, group, spread)?;
        self.keep_habit(now, group, habit, outlet);
        Some(outlet)
    }

    fn keep_habit(&mut self, now: Now, group: GroupId, habit: usize, outlet: OutletId) {
        let group = self.get_mut(group);
        if group.wanted > 1 || group.outlets.len() > 1 {
            let habits = group.habits.get_or_insert_with(|| Box::new([Habit::default(); HABITS]));
            habits[habit] = Habit { outlet: Some(outlet), used: now.monotonic };
        }
    }

    fn choose_afresh(&self, now: Now, group: GroupId, spread: u64) -> Option<OutletId> {
        let mut open: SmallVec<[OutletId; 4]> = SmallVec::new();
        let mut connecting: SmallVec<[OutletId; 4]> = SmallVec::new();
        for &id in &self.get(group).outlets {
            match self.outlet(id) {
                Some(outlet) if !outlet.serves() || outlet.resting_until > now.monotonic => {}
                Some(Outlet { state: OutletState::Open(_), .. }) => open.push(id),
                Some(Outlet { state: OutletState::Connecting, .. }) => connecting.push(id),
                None => {}
            }
        }
        let from = if open.is_empty() { connecting } else { open };
        if from.is_empty() {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is below four")]
        Some(from[(spread % from.len() as u64) as usize])
    }

    /// Returns the group of a partner under the snapshot `epoch`, if its targets are from there.
    pub(crate) fn of_partner(&self, epoch: u64, partner: PartnerKey) -> Option<GroupId> {
        let id = *self.by_key.get(&GroupKey::Partner(partner))?;
        (self.get(id).epoch == epoch).then_some(id)
    }

    /// Takes over a new snapshot: partners keep their connections under their new key; those of
    /// partners that are no longer listed are returned, to be closed. Their outlets that are
    /// connecting retire.
    pub(crate) fn adopt(&mut self, old: &Snapshot, new: &Snapshot) -> Vec<LegId> {
        let mut gone = Vec::new();
        self.by_key.clear();
        for at in 0..self.groups.len() {
            let Some(group) = self.groups[at].as_mut() else { continue };
            // What was gone before has no name that either policy could read.
            let Some(key) = group.key else { continue };
            let id = u32::try_from(at).expect("bounded by GROUPS_MAX");
            group.key = key.carried_over(old, new);
            if let Some(key) = group.key {
                self.by_key.insert(key, id);
                continue;
            }
            // Without targets what waits for it is answered instead of tried again.
            group.targets.clear();
            for outlet_id in group.outlets.clone() {
                let Some(outlet) = self.outlet_mut(outlet_id) else { continue };
                outlet.retired = true;
                match outlet.state {
                    OutletState::Open(leg) => gone.push(leg),
                    OutletState::Connecting => self.retired.push(outlet_id),
                }
            }
            self.forget_if_gone(id);
        }
        gone
    }
}

impl GroupKey {
    /// Returns the same peer's name under `new`; `None` if it is no longer there.
    fn carried_over(self, old: &Snapshot, new: &Snapshot) -> Option<Self> {
        match self {
            Self::Partner(partner) => new.carry_over(old, partner).map(Self::Partner),
            Self::NextHop(hop) => {
                let kept = |h: &crate::policy::NextHop| hop_key(h.name.as_str(), h.port) == hop;
                new.next_hops().iter().any(kept).then_some(self)
            }
        }
    }
}

/// What a group led to before its targets changed.
struct Former {
    targets: Vec<TargetState>,
    anchors: Option<AnchorSet>,
}

/// Names a next hop across snapshots.
pub(crate) fn hop_key(name: &str, port: u16) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    hasher.write_u16(port);
    hasher.finish()
}

impl Group {
    /// Takes over new targets; one that was resting goes on resting. Returns what it had before.
    fn refresh(&mut self, mut targets: Vec<TargetState>, plan: &GroupPlan<'_>) -> Former {
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
            expected_names: ExpectedNames::default(),
            rest_until: Monotonic::default(),
        }
    }

    fn group(outlets: &mut Outlets) -> GroupId {
        let plan = GroupPlan {
            key: GroupKey::NextHop(0),
            far_end: FarEnd::Inside,
            anchors: None,
            wanted: 2,
            epoch: 1,
            answer: None,
        };
        outlets.group(&plan, || vec![target("a.example"), target("b.example")]).unwrap()
    }

    #[test]
    fn a_group_whose_entry_is_gone_goes_with_its_last_connection_and_request() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        let outlet = outlets.open(id, 0);
        let held = outlets.get_mut(id);
        held.key = None;
        held.in_flight = 2;
        held.retained_bytes = 30;
        outlets.close(outlet);
        outlets.uncharge(id, 10);
        assert_eq!((outlets.get(id).in_flight, outlets.get(id).retained_bytes), (1, 20));
        outlets.uncharge(id, 20);
        assert!(outlets.groups[0].is_none());
        assert_eq!(outlets.free_group(), Some(id), "its place is free");
    }

    #[test]
    fn a_failed_target_rests_and_the_next_is_used() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        let group = outlets.get_mut(id);
        group.target_failed(at(1), 0, TARGET_REST_MS, 0);
        assert_eq!(group.available(at(2)), Some(1));
        assert_eq!(group.available(at(2 + TARGET_REST_MS)), Some(0));
    }

    #[test]
    fn when_all_targets_failed_the_group_backs_off_longer_each_time() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        let group = outlets.get_mut(id);
        group.target_failed(at(1), 0, TARGET_REST_MS, 0);
        group.target_failed(at(1), 1, TARGET_REST_MS, 0);
        let first = group.back_off_until;
        assert_eq!(first, at(1 + BACK_OFF_FIRST_MS).monotonic);
        assert_eq!(group.available(at(1 + BACK_OFF_FIRST_MS)), Some(0));
        let later = at(1 + BACK_OFF_FIRST_MS);
        group.target_failed(later, 0, TARGET_REST_MS, 0);
        group.target_failed(later, 1, TARGET_REST_MS, 0);
        assert_eq!(group.back_off_until, later.plus_ms(2 * BACK_OFF_FIRST_MS).monotonic);
        group.succeeded();
        assert_eq!(group.back_off_until, Monotonic::default());
    }

    #[test]
    fn the_back_off_is_shorter_by_up_to_a_quarter() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        let group = outlets.get_mut(id);
        group.target_failed(at(1), 0, TARGET_REST_MS, 255);
        group.target_failed(at(1), 1, TARGET_REST_MS, 255);
        let pause = group.back_off_until.ms_since(at(1).monotonic);
        assert!((BACK_OFF_FIRST_MS * 3 / 4..BACK_OFF_FIRST_MS).contains(&pause), "{pause}");
    }

    #[test]
    fn a_peer_that_shows_itself_is_tried_at_once_and_counts_as_there_once_it_is_open() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        assert!(outlets.is_there(at(0), id), "nothing is known against it");
        let held = outlets.get_mut(id);
        held.target_failed(at(1), 0, TARGET_REST_MS, 0);
        held.target_failed(at(1), 1, TARGET_REST_MS, 0);
        assert_eq!(held.available(at(2)), None);
        outlets.shown(at(2), GroupKey::NextHop(7));
        assert_eq!(outlets.get(id).available(at(2)), None, "that was another one");
        outlets.shown(at(2), GroupKey::NextHop(0));
        assert_eq!(outlets.get(id).available(at(2)), Some(0));
        assert!(!outlets.is_there(at(2), id));
        let outlet = outlets.open(id, 0);
        outlets.outlet_mut(outlet).unwrap().state =
            OutletState::Open(LegId { index: 0, generation: 1 });
        assert!(outlets.is_there(at(2), id));
    }

    #[test]
    fn open_outlets_are_preferred_and_one_call_stays_on_one() {
        let mut outlets = Outlets::default();
        let id = group(&mut outlets);
        assert_eq!(outlets.choose(at(0), id, 7), None);
        let first = outlets.open(id, 0);
        let second = outlets.open(id, 0);
        let leg = LegId { index: 0, generation: 1 };
        outlets.outlet_mut(second).unwrap().state = OutletState::Open(leg);
        assert_eq!(outlets.choose(at(0), id, 0), Some(second));
        assert_eq!(outlets.choose(at(0), id, 1), Some(second));
        outlets.close(second);
        assert_eq!(outlets.choose(at(0), id, 9), Some(first));
        assert!(outlets.outlet(second).is_none());
    }
}
