//! Unfinished transactions, found by the number in their branch.

use crate::traffic::compose::Branch;

/// What a transaction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The 200 of a MESSAGE.
    Message,
    /// The final answer of an INVITE.
    Invite,
    /// The 200 of a BYE.
    Bye,
    /// The 200 of a SUBSCRIBE.
    Subscribe,
    /// The 200 of a NOTIFY.
    Notify,
}

/// One unfinished unit of work.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Distinguishes successive transactions in the place.
    pub(crate) serial: u32,
    /// What comes next.
    pub(crate) step: Step,
    /// When the unit should have begun.
    pub(crate) intended_ns: u64,
    /// When the last request of it was sent.
    pub(crate) sent_ns: u64,
    /// The partner's connection it runs on; `None` for those of the next hop.
    pub(crate) link: Option<usize>,
}

/// All unfinished units. Places are reused last in, first out, so the table stays as small as the
/// work in flight.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    places: Vec<Option<Slot>>,
    free: Vec<u32>,
    serial: u32,
}

impl Slots {
    /// Returns how many units are unfinished.
    pub(crate) fn unfinished(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Adds a unit; returns the branch of its first request.
    pub(crate) fn add(
        &mut self,
        step: Step,
        intended_ns: u64,
        sent_ns: u64,
        link: Option<usize>,
    ) -> Branch {
        let serial = self.next_serial();
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.places[index as usize] = Some(Slot { serial, step, intended_ns, sent_ns, link });
        Branch { slot: index, serial }
    }

    /// Returns a number no unfinished transaction has.
    pub(crate) fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    /// Finds the transaction of a branch.
    pub(crate) fn find(&mut self, branch: Branch) -> Option<&mut Slot> {
        let place = self.places.get_mut(branch.slot as usize)?;
        place.as_mut().filter(|slot| slot.serial == branch.serial)
    }

    /// Ends the unit of a branch.
    pub(crate) fn remove(&mut self, branch: Branch) -> Option<Slot> {
        self.find(branch)?;
        self.free.push(branch.slot);
        self.places.get_mut(branch.slot as usize)?.take()
    }

    /// Returns the branches of all units that satisfy `wanted`, lowest place first.
    pub(crate) fn select(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<Branch> {
        let units = self.places.iter().enumerate();
        units
            .filter_map(|(index, place)| {
                let slot = place.as_ref().filter(|slot| wanted(slot))?;
                Some(Branch { slot: index as u32, serial: slot.serial })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_does_not_find_the_next_user_of_the_place() {
        let mut slots = Slots::default();
        let first = slots.add(Step::Message, 0, 0, Some(0));
        assert!(slots.remove(first).is_some());
        let second = slots.add(Step::Message, 0, 0, Some(0));
        assert_eq!(first.slot, second.slot);
        assert!(slots.find(first).is_none());
        assert!(slots.remove(first).is_none());
        assert_eq!(slots.unfinished(), 1);
    }

    #[test]
    fn units_of_one_link_are_selected() {
        let mut slots = Slots::default();
        let on_zero = slots.add(Step::Message, 0, 0, Some(0));
        slots.add(Step::Invite, 0, 0, Some(1));
        assert_eq!(slots.select(|slot| slot.link == Some(0)), [on_zero]);
    }
}
