//! Outgoing connections by peer: the few that are open, opening or to be closed, and their way from
//! one policy to the next.
//!
//! [`Group`] knows a peer's targets and how long they rest, `choice` finds the connection for a
//! request.

use hashbrown::HashMap;

use super::list::List;
use crate::dns::Domain;
use crate::edge::{LegId, OutletId};
use crate::policy::{PartnerKey, Snapshot};
use crate::time::{Monotonic, Now};

mod choice;
mod group;

use group::Former;
pub(crate) use group::{Group, GroupKey, GroupPlan, TARGET_REST_MS, TargetState, hop_key};

/// Index of a [`Group`].
pub(crate) type GroupId = u32;

/// Peers remembered on one shard; a peer without connections makes room for a new one.
const GROUPS_MAX: usize = 65_536;
/// How many groups are looked at for one that can go.
const EVICTION_LOOKS_MAX: usize = 16;

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
            if !group.is_of(plan) {
                let former = group.refresh(targets(), plan);
                self.retire_strays(id, &former);
            }
            return Some(id);
        }
        let id = self.free_group()?;
        self.groups[id as usize] = Some(Group::new(plan, targets()));
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
            if self.groups[at].as_ref().is_some_and(Group::is_idle) {
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
        if group.key.is_none() && group.is_idle() {
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
        !held.has_failed() || held.outlets.iter().any(open)
    }

    /// A peer that was not reached has shown itself: it may be tried at once. It counts as not
    /// there until a connection to it is open.
    pub(crate) fn shown(&mut self, now: Now, key: GroupKey) {
        let Some(&id) = self.by_key.get(&key) else { return };
        self.get_mut(id).shown(now);
    }

    /// Moves a request, and the bytes kept of it, from the account of one group to another's.
    pub(crate) fn recharge(&mut self, from: GroupId, to: GroupId, bytes: usize) {
        let held = self.get_mut(to);
        held.in_flight += 1;
        held.retained_bytes += bytes;
        self.uncharge(from, bytes);
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

#[cfg(test)]
mod tests;
