//! Sets of domain names that stay small by the million: one arena of text, one index over it.
//!
//! A name costs its length, 4 bytes for where it ends and 6 to 11 bytes of index. The hash is not
//! keyed: the names in the table are the operator's, and a peer that asks for names of its choice
//! finds at most the run of slots that the operator's own names have made.
//!
//! A name with everything below it is kept as the text `*.name`, which no name on the wire can be.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::Pattern;
use crate::dns::Domain;

/// Longest name (RFC 1035 section 3.1, in text form).
const NAME_BYTES_MAX: usize = 253;

/// A set of names, each with its number in order of insertion.
#[derive(Debug)]
pub(super) struct DomainTable {
    text: Vec<u8>,
    /// Where each name ends in `text`; it begins where the one before ends.
    ends: Vec<u32>,
    /// Number of the name plus one, zero is empty; linear probing, at most three quarters full.
    slots: Vec<u32>,
    /// How many of the names stand for what lies below them.
    patterns: usize,
}

impl DomainTable {
    /// Returns an empty table for at most `names` names.
    pub(super) fn with_room_for(names: usize) -> Self {
        let slots = (names + names / 3 + 2).next_power_of_two();
        let ends = Vec::with_capacity(names);
        Self { text: Vec::new(), ends, slots: vec![0; slots], patterns: 0 }
    }

    /// Returns the table of `names`; of a name given twice the first counts.
    pub(super) fn of<'a>(names: impl ExactSizeIterator<Item = &'a Domain>) -> Self {
        let mut table = Self::with_room_for(names.len());
        for name in names {
            let _ = table.insert(name);
        }
        table.shrink();
        table
    }

    /// Gives back the room that growing left over.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
    }

    /// Adds `name` and returns its number.
    ///
    /// # Errors
    /// The number it already has.
    pub(super) fn insert(&mut self, name: &Domain) -> Result<u32, u32> {
        self.insert_after(b"", name)
    }

    /// Adds a name, or a name with everything below it.
    ///
    /// # Errors
    /// The number it already has.
    pub(super) fn insert_pattern(&mut self, pattern: &Pattern) -> Result<u32, u32> {
        match pattern {
            Pattern::Exact(name) => self.insert_after(b"", name),
            Pattern::Below(name) => {
                let number = self.insert_after(b"*.", name)?;
                self.patterns += 1;
                Ok(number)
            }
        }
    }

    fn insert_after(&mut self, before: &[u8], name: &Domain) -> Result<u32, u32> {
        assert!(self.ends.len() < self.slots.len() * 3 / 4, "table made for fewer names");
        let start = self.text.len();
        self.text.extend_from_slice(before);
        self.text.extend_from_slice(name.as_str().as_bytes());
        let slot = match self.probe(&self.text[start..]) {
            Probe::Found(number) => {
                self.text.truncate(start);
                return Err(number);
            }
            Probe::Free(slot) => slot,
        };
        let number = u32::try_from(self.ends.len()).expect("fewer names than 2^32");
        self.ends.push(u32::try_from(self.text.len()).expect("text below 4 GiB"));
        self.slots[slot] = number + 1;
        Ok(number)
    }

    /// Returns the number of a name already in lower case.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        match self.probe(name) {
            Probe::Found(number) => Some(number),
            Probe::Free(_) => None,
        }
    }

    /// Returns the number of exactly this pattern.
    pub(super) fn find_pattern(&self, pattern: &Pattern) -> Option<u32> {
        match pattern {
            Pattern::Exact(name) => self.find(name.as_str().as_bytes()),
            Pattern::Below(_) if self.patterns == 0 => None,
            Pattern::Below(_) => self.find(pattern.to_string().as_bytes()),
        }
    }

    /// Returns the number of the narrowest `*.name` that covers a name in lower case.
    pub(super) fn find_below(&self, name: &[u8]) -> Option<u32> {
        if self.patterns == 0 {
            return None;
        }
        // The label before each dot becomes the star in turn, from the left.
        let mut starred = [0_u8; NAME_BYTES_MAX];
        let starred = starred.get_mut(..name.len())?;
        starred.copy_from_slice(name);
        for dot in memchr::memchr_iter(b'.', name) {
            let star = dot.checked_sub(1)?;
            starred[star] = b'*';
            if let Some(number) = self.find(&starred[star..]) {
                return Some(number);
            }
        }
        None
    }

    /// Returns the number of a name in lower case, else of the narrowest `*.name` that covers it.
    pub(super) fn find_covering(&self, name: &[u8]) -> Option<u32> {
        self.find(name).or_else(|| self.find_below(name))
    }

    /// Returns the number of a name as it stands on the wire: any case, one trailing dot.
    pub(super) fn find_folded(&self, name: &[u8]) -> Option<u32> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut folded = [0_u8; NAME_BYTES_MAX];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name);
        folded.make_ascii_lowercase();
        self.find(folded)
    }

    /// Returns the name with this number.
    pub(super) fn name(&self, number: u32) -> Option<&str> {
        if number as usize >= self.ends.len() {
            return None;
        }
        std::str::from_utf8(self.bytes(number)).ok()
    }

    /// Returns how many names there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the bytes this table occupies.
    pub(super) fn memory_bytes(&self) -> usize {
        self.text.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.slots.capacity() * size_of::<u32>()
    }

    fn bytes(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[number] as usize]
    }

    /// Walks from the slot of the name's hash; a quarter of the slots is empty, so the walk ends.
    fn probe(&self, name: &[u8]) -> Probe {
        let mask = self.slots.len() - 1;
        #[allow(clippy::cast_possible_truncation, reason = "only the low bits are used")]
        let mut slot = FixedState::with_seed(0).hash_one(name) as usize & mask;
        loop {
            let Some(number) = self.slots[slot].checked_sub(1) else {
                return Probe::Free(slot);
            };
            if self.bytes(number) == name {
                return Probe::Found(number);
            }
            slot = (slot + 1) & mask;
        }
    }
}

enum Probe {
    Found(u32),
    Free(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_is_found_in_any_case_and_with_a_trailing_dot() {
        let names = [domain("contoso.example"), domain("fabrikam.example")];
        let table = DomainTable::of(names.iter());
        assert_eq!(table.find_folded(b"Fabrikam.EXAMPLE."), Some(1));
        assert_eq!(table.find(b"fabrikam.example"), Some(1));
        assert_eq!(table.name(1), Some("fabrikam.example"));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_subdomain_and_a_parent_are_other_names() {
        let names = [domain("contoso.example")];
        let table = DomainTable::of(names.iter());
        for other in ["sip.contoso.example", "example", "ontoso.example", ""] {
            assert_eq!(table.find_folded(other.as_bytes()), None, "{other}");
        }
        assert_eq!(table.find_folded(&[b'a'; 300]), None);
        assert_eq!(DomainTable::of([].iter()).find(b"contoso.example"), None);
    }

    #[test]
    fn a_name_given_twice_keeps_its_first_number() {
        let mut table = DomainTable::with_room_for(2);
        assert_eq!(table.insert(&domain("a.example")), Ok(0));
        assert_eq!(table.insert(&domain("A.example")), Err(0));
    }

    #[test]
    fn the_narrowest_pattern_covers_and_a_name_comes_before_it() {
        let below = |name: &str| Pattern::Below(domain(name));
        let patterns = [
            below("example"),
            below("fabrikam.example"),
            Pattern::Exact(domain("it.fabrikam.example")),
        ];
        let mut table = DomainTable::with_room_for(patterns.len());
        for (number, pattern) in patterns.iter().enumerate() {
            assert_eq!(table.insert_pattern(pattern).ok(), u32::try_from(number).ok());
        }
        let cases = [
            ("it.fabrikam.example", Some(2)),
            ("hr.fabrikam.example", Some(1)),
            ("a.b.c.fabrikam.example", Some(1)),
            ("fabrikam.example", Some(0)),
            ("example", None),
            ("fabrikam.other", None),
            ("", None),
        ];
        for (name, number) in cases {
            assert_eq!(table.find_covering(name.as_bytes()), number, "{name}");
        }
        assert_eq!(table.find_below(&[b'.'; 300]), None);
        assert_eq!(table.find_below(b"..example"), None);
        assert_eq!(table.insert_pattern(&below("example")), Err(0));
        assert_eq!(table.name(1), Some("*.fabrikam.example"));
        assert_eq!(table.name(2), Some("it.fabrikam.example"));
    }

    #[test]
    fn every_one_of_many_names_is_found() {
        let names: Vec<Domain> = (0..10_000).map(|i| domain(&format!("d{i}.example"))).collect();
        let table = DomainTable::of(names.iter());
        for (number, name) in names.iter().enumerate() {
            assert_eq!(table.find(name.as_str().as_bytes()), u32::try_from(number).ok());
        }
        assert_eq!(table.find(b"d10000.example"), None);
    }
}
