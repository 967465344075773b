//! Unfinished units of work, found by a mark that every stanza carries.

use memchr::memmem;

use crate::sip::push_hex;

/// What a mark begins with; nothing a server adds looks like it.
const MARK: &[u8] = b"lg-";
const DIGITS: usize = 8;

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
    /// The partner's domain that it is of.
    pub(crate) partner: usize,
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
    pub(crate) fn add(&mut self, intended_ns: u64, sent_ns: u64, partner: usize) -> Mark {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.places[place as usize] = Some(Unit { serial, intended_ns, sent_ns, partner });
        Mark { place, serial }
    }

    /// Ends the unit of a mark; `None` if it has ended before.
    pub(crate) fn remove(&mut self, mark: Mark) -> Option<Unit> {
        let place = self.places.get_mut(mark.place as usize)?;
        if place.as_ref()?.serial != mark.serial {
            return None;
        }
        self.free.push(mark.place);
        place.take()
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
        let mut units = Units::default();
        let first = units.add(1, 2, 0);
        let mut text = b"<message id='".to_vec();
        first.push(&mut text);
        text.extend_from_slice(b"'/>");
        assert_eq!(Mark::find(&text), Some(first));
        assert_eq!(units.sent_before(3), [first]);
        assert!(units.remove(first).is_some() && units.remove(first).is_none());
        let second = units.add(1, 2, 0);
        assert!(units.remove(first).is_none() && units.remove(second).is_some());
        assert_eq!(units.unfinished(), 0);
    }
}
