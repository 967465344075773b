//! Where the header fields of one message lie.

use super::name::{COUNT, HeaderName};
use crate::limits;

/// One header field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Offset of the first byte of the name.
    pub(super) start: u32,
    /// Offset behind the line end of the last line of the field.
    pub(super) end: u32,
    /// Bytes from `start` to the colon.
    pub(super) colon: u16,
    /// Bytes of the name, without white space before the colon.
    pub(super) name_len: u16,
    pub(super) name: HeaderName,
}

// Offsets within a line fit because lines are bounded.
const _: () = assert!(limits::SIP_HEADER_BYTES_MAX <= u16::MAX as usize);

const EMPTY: Entry = Entry { start: 0, end: 0, colon: 0, name_len: 0, name: HeaderName::Other };

/// Where the header fields of one message lie: filled by [`super::scan`], read by
/// [`super::Message`]. One per shard, used again for every message.
///
/// Memory: 16 bytes for each of [`limits::SIP_HEADER_FIELDS_MAX`] fields, in one allocation.
#[derive(Clone, Debug)]
pub struct HeaderTable {
    entries: Box<[Entry; limits::SIP_HEADER_FIELDS_MAX]>,
    len: usize,
    /// Names that are there at least once.
    seen: u64,
    /// Names that are there more than once.
    repeated: u64,
    /// Place of the first field of each name in `seen`; anything for other names.
    first: [u8; COUNT],
    body_bytes_max: usize,
}

// A place in the table is a byte.
const _: () = assert!(limits::SIP_HEADER_FIELDS_MAX <= u8::MAX as usize + 1);

impl Default for HeaderTable {
    fn default() -> Self {
        Self::new()
    }
}

impl HeaderTable {
    /// Makes an empty table; messages may have bodies of [`limits::SIP_BODY_BYTES_MAX`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_body_bytes_max(limits::SIP_BODY_BYTES_MAX)
    }

    /// Makes an empty table for messages with bodies of at most `bytes`, which is cut to
    /// [`limits::SIP_BODY_BYTES_MAX`].
    #[must_use]
    pub fn with_body_bytes_max(bytes: usize) -> Self {
        Self {
            entries: Box::new([EMPTY; limits::SIP_HEADER_FIELDS_MAX]),
            len: 0,
            seen: 0,
            repeated: 0,
            first: [0; COUNT],
            body_bytes_max: bytes.min(limits::SIP_BODY_BYTES_MAX),
        }
    }

    pub(super) fn body_bytes_max(&self) -> usize {
        self.body_bytes_max
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.seen = 0;
        self.repeated = 0;
    }

    /// Adds a field; `false` if the table is full.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: Entry) -> bool {
        let Some(place) = self.entries.get_mut(self.len) else { return false };
        *place = entry;
        let bit = entry.name.bit();
        if self.seen & bit == 0 {
            self.first[entry.name as usize] = self.len as u8;
        }
        self.repeated |= self.seen & bit;
        self.seen |= bit;
        self.len += 1;
        true
    }

    /// Moves the end of the field that ends at `from`; returns the field's start.
    pub(super) fn extend_last(&mut self, from: u32, end: u32) -> Option<u32> {
        let last = self.entries.get_mut(self.len.checked_sub(1)?)?;
        if last.end != from {
            return None;
        }
        last.end = end;
        Some(last.start)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        self.entries.get(..self.len).unwrap_or(&[])
    }

    /// Returns the fields from the first of `name` on; none if there is no such field.
    pub(super) fn entries_from(&self, name: HeaderName) -> &[Entry] {
        if self.seen & name.bit() == 0 {
            return &[];
        }
        let first = usize::from(self.first[name as usize]);
        self.entries.get(first..self.len).unwrap_or(&[])
    }

    pub(super) fn first(&self, name: HeaderName) -> Option<&Entry> {
        self.entries_from(name).first()
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }
}
