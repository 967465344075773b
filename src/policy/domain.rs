//! Sets of domain names that stay small by the million: one arena of text, one index over it.
//!
//! A name costs its length, 8 bytes of span and 6 to 11 bytes of index. The hash is not keyed: the
//! names in the table are the operator's, and a peer that asks for names of its choice finds at
//! most the run of slots that the operator's own names have made.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::dns::Domain;

/// Longest name (RFC 1035 section 3.1, in text form).
const NAME_BYTES_MAX: usize = 253;

#[derive(Clone, Copy, Debug)]
struct Span {
    at: u32,
    length: u8,
}

/// A set of names, each with its number in order of insertion.
#[derive(Debug)]
pub(super) struct DomainTable {
    text: Vec<u8>,
    spans: Vec<Span>,
    /// Number of the name plus one, zero is empty; linear probing, at most three quarters full.
    slots: Vec<u32>,
}

impl DomainTable {
    /// Returns an empty table for at most `names` names.
    pub(super) fn with_room_for(names: usize) -> Self {
        let slots = (names + names / 3 + 2).next_power_of_two();
        Self { text: Vec::new(), spans: Vec::with_capacity(names), slots: vec![0; slots] }
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
        let name = name.as_str().as_bytes();
        assert!(self.spans.len() < self.slots.len() * 3 / 4, "table made for fewer names");
        let slot = match self.probe(name) {
            Probe::Found(number) => return Err(number),
            Probe::Free(slot) => slot,
        };
        let number = u32::try_from(self.spans.len()).expect("fewer names than 2^32");
        let at = u32::try_from(self.text.len()).expect("text below 4 GiB");
        let length = u8::try_from(name.len()).expect("a domain is at most 253 bytes");
        self.text.extend_from_slice(name);
        self.spans.push(Span { at, length });
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
        let span = self.spans.get(number as usize)?;
        std::str::from_utf8(self.bytes(*span)).ok()
    }

    /// Returns how many names there are.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns the bytes this table occupies.
    pub(super) fn memory_bytes(&self) -> usize {
        self.text.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.slots.capacity() * size_of::<u32>()
    }

    fn bytes(&self, span: Span) -> &[u8] {
        &self.text[span.at as usize..][..usize::from(span.length)]
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
            if self.bytes(self.spans[number as usize]) == name {
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
    fn every_one_of_many_names_is_found() {
        let names: Vec<Domain> = (0..10_000).map(|i| domain(&format!("d{i}.example"))).collect();
        let table = DomainTable::of(names.iter());
        for (number, name) in names.iter().enumerate() {
            assert_eq!(table.find(name.as_str().as_bytes()), u32::try_from(number).ok());
        }
        assert_eq!(table.find(b"d10000.example"), None);
    }
}
