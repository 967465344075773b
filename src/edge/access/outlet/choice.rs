//! Which of a group's connections a request takes.

use smallvec::SmallVec;

use super::{GroupId, Outlet, OutletState, Outlets};
use crate::edge::OutletId;
use crate::time::{Monotonic, Now};

/// Which outlet a share of the Call-IDs takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habit {
    outlet: Option<OutletId>,
    used: Monotonic,
}

/// What each share of a group's Call-IDs does.
pub(super) type Habits = [Habit; HABITS];

/// Shares into which Call-IDs fall.
const HABITS: usize = 64;
/// A share unused for this long may move: whatever it sent has long arrived.
const HABIT_MS: u64 = 2_000;

impl Outlets {
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
}
