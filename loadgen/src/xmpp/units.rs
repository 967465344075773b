//! Unfinished units of work, found by a mark that every stanza carries, and what the next is.

use memchr::memmem;

use crate::options::Ways;
use crate::sip::push_hex;

/// What a mark begins with; nothing a server adds looks like it.
const MARK: &[u8] = b"lg-";
const DIGITS: usize = 8;

/// Which way a unit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From a partner.
    In,
    /// To a partner.
    Out,
}

impl Ways {
    /// Whether units go that way.
    pub(crate) fn has(self, way: Way) -> bool {
        match self {
            Self::In => way == Way::In,
            Self::Out => way == Way::Out,
            Self::Both => true,
        }
    }
}

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A message.
    Message,
    /// Presence: of a standing subscription where there are any.
    Presence,
    /// The life of a subscription.
    Subscription,
}

/// What a unit is and which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What.
    pub(crate) work: Work,
    /// Which way; of a subscription, the side that asks is where it comes from.
    pub(crate) way: Way,
}

impl Plan {
    /// Every name that [`Plan::name`] returns.
    pub(crate) const NAMES: [&str; 6] = [
        "message in",
        "message out",
        "presence in",
        "presence out",
        "subscription in",
        "subscription out",
    ];

    /// Returns under which name it is reported.
    pub(crate) fn name(self) -> &'static str {
        let out = usize::from(self.way == Way::Out);
        Self::NAMES[2 * self.work as usize + out]
    }
}

/// Decides what the next unit is, so that the shares hold from the first units on.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    ways: Ways,
    presence: f64,
    subscriptions: f64,
    /// Units of either kind that are due, and parts of the next.
    due: (f64, f64),
    last: [Way; 3],
}

impl Mix {
    /// The shares are of the whole, from 0 to 1 together.
    pub(crate) fn new(ways: Ways, presence: f64, subscriptions: f64) -> Self {
        Self { ways, presence, subscriptions, due: (0.0, 0.0), last: [Way::Out; 3] }
    }

    /// Returns the next.
    pub(crate) fn next(&mut self) -> Plan {
        self.due = (self.due.0 + self.presence, self.due.1 + self.subscriptions);
        let work = if self.due.0 >= 1.0 {
            self.due.0 -= 1.0;
            Work::Presence
        } else if self.due.1 >= 1.0 {
            self.due.1 -= 1.0;
            Work::Subscription
        } else {
            Work::Message
        };
        let last = &mut self.last[work as usize];
        *last = match (self.ways, *last) {
            (Ways::In, _) | (Ways::Both, Way::Out) => Way::In,
            (Ways::Out, _) | (Ways::Both, Way::In) => Way::Out,
        };
        Plan { work, way: *last }
    }
}

/// Which unit: its place, and which of the successive users of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    place: u32,
    serial: u32,
}

impl Mark {
    /// Writes the mark.
    pub(crate) fn push(self, into: &mut Vec<u8>) {
        into.extend_from_slice(MARK);
        push_hex(into, u64::from(self.place), DIGITS as u32);
        push_hex(into, u64::from(self.serial), DIGITS as u32);
    }

    /// Finds the first mark in `bytes`.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let start = memmem::find(bytes, MARK)? + MARK.len();
        let digits = std::str::from_utf8(bytes.get(start..start + 2 * DIGITS)?).ok()?;
        let value = u64::from_str_radix(digits, 16).ok()?;
        Some(Self { place: (value >> 32) as u32, serial: value as u32 })
    }
}

/// One unfinished unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    serial: u32,
    /// When it should have begun.
    pub(crate) intended_ns: u64,
    /// When it was sent.
    pub(crate) sent_ns: u64,
    /// What it is.
    pub(crate) plan: Plan,
    /// Of which partner, or of which subscription.
    pub(crate) of: usize,
}

/// All unfinished units; places are reused last in, first out.
#[derive(Debug, Default)]
pub(crate) struct Units {
    places: Vec<Option<Unit>>,
    free: Vec<u32>,
    serial: u32,
}

impl Units {
    /// Returns how many are unfinished.
    pub(crate) fn unfinished(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Returns how many of those were intended in `from_ns..to_ns`.
    pub(crate) fn unfinished_of(&self, (from_ns, to_ns): (u64, u64)) -> usize {
        let of = |unit: &&Unit| (from_ns..to_ns).contains(&unit.intended_ns);
        self.places.iter().flatten().filter(of).count()
    }

    /// Adds a unit.
    pub(crate) fn add(&mut self, plan: Plan, of: usize, intended_ns: u64, sent_ns: u64) -> Mark {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.places[place as usize] = Some(Unit { serial, intended_ns, sent_ns, plan, of });
        Mark { place, serial }
    }

    /// Returns the unit of a mark.
    pub(crate) fn get(&self, mark: Mark) -> Option<&Unit> {
        let unit = self.places.get(mark.place as usize)?.as_ref();
        unit.filter(|unit| unit.serial == mark.serial)
    }

    /// Ends the unit of a mark; `None` if it has ended before.
    pub(crate) fn remove(&mut self, mark: Mark) -> Option<Unit> {
        self.get(mark)?;
        self.free.push(mark.place);
        self.places.get_mut(mark.place as usize)?.take()
    }

    /// Returns the marks of units sent before `ns`.
    pub(crate) fn sent_before(&self, ns: u64) -> Vec<Mark> {
        let late = |(place, unit): (usize, &Option<Unit>)| {
            let unit = unit.as_ref().filter(|unit| unit.sent_ns < ns)?;
            Some(Mark { place: place as u32, serial: unit.serial })
        };
        self.places.iter().enumerate().filter_map(late).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_by_its_mark_once() {
        let plan = Plan { work: Work::Message, way: Way::In };
        let mut units = Units::default();
        let first = units.add(plan, 0, 1, 2);
        let mut text = b"<message id='".to_vec();
        first.push(&mut text);
        text.extend_from_slice(b"'/>");
        assert_eq!(Mark::find(&text), Some(first));
        assert_eq!(units.sent_before(3), [first]);
        assert!(units.remove(first).is_some() && units.remove(first).is_none());
        let second = units.add(plan, 0, 1, 2);
        assert!(units.remove(first).is_none() && units.remove(second).is_some());
        assert_eq!(units.unfinished(), 0);
    }

    #[test]
    fn shares_hold_and_both_ways_take_turns_in_each_kind() {
        let mut mix = Mix::new(Ways::Both, 0.25, 0.125);
        let plans: Vec<Plan> = (0..800).map(|_| mix.next()).collect();
        for (work, expected) in
            [(Work::Message, 500), (Work::Presence, 200), (Work::Subscription, 100)]
        {
            let of = |way| plans.iter().filter(|plan| **plan == Plan { work, way }).count();
            let (inward, out) = (of(Way::In), of(Way::Out));
            // The last one may be due and wait for its turn.
            assert!(inward.abs_diff(out) <= 1, "{work:?}: {inward} and {out}");
            assert!((inward + out).abs_diff(expected) <= 1, "{work:?}: {}", inward + out);
        }
        let mut all = Mix::new(Ways::Out, 1.0, 0.0);
        let presence = Plan { work: Work::Presence, way: Way::Out };
        assert!((0..10).all(|_| all.next() == presence));
    }

    #[test]
    fn every_kind_has_its_name() {
        let plan = Plan { work: Work::Subscription, way: Way::Out };
        assert_eq!(plan.name(), "subscription out");
        assert_eq!(Plan { work: Work::Message, way: Way::In }.name(), "message in");
    }
}
