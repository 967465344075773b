//! Changes to a message as a list of splices, applied in the one copy that forwarding makes.

use std::ops::Range;

/// One splice: at `at`, the bytes of `text` go in, and those up to `until` go out.
#[derive(Clone, Copy, Debug)]
struct Splice {
    at: usize,
    until: usize,
    /// Range in [`Edits::text`].
    text: (usize, usize),
}

/// A list of splices on one message, in any order. Used again; allocates nothing once warm.
///
/// Several insertions at one place come out in the order they were made. Removals may overlap.
/// What is inserted where something is removed stays, in front of what follows the removal.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Sorted by `at`, then by the order they were made in.
    splices: Vec<Splice>,
    text: Vec<u8>,
    /// The insertion whose text is still being written at the end of `text`.
    open: Option<usize>,
}

impl Edits {
    /// Makes an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all splices.
    pub fn clear(&mut self) {
        self.splices.clear();
        self.text.clear();
        self.open = None;
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.splices.is_empty()
    }

    /// Removes a range.
    pub fn remove(&mut self, range: Range<usize>) {
        self.push(range.start, range.end.max(range.start));
        self.close();
    }

    /// Puts `with` in place of a range.
    pub fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        self.push(range.start, range.end.max(range.start)).extend_from_slice(with);
        self.close();
    }

    /// Inserts before the byte at `at` what is appended to the vector returned.
    ///
    /// The vector holds other insertions before this one: append only.
    pub fn insert(&mut self, at: usize) -> &mut Vec<u8> {
        self.push(at, at)
    }

    /// Returns how long the edited message will be.
    ///
    /// `raw_len`: length of the message to be edited.
    #[must_use]
    pub fn len_after(&self, raw_len: usize) -> usize {
        let mut len = raw_len;
        let mut position = 0;
        for (place, splice) in self.splices.iter().enumerate() {
            len += self.text_of(place, splice).len();
            len -= splice.until.saturating_sub(position.max(splice.at));
            position = position.max(splice.until);
        }
        len
    }

    /// Appends the edited `raw` to `out`.
    /// # Panics
    /// If a splice lies outside `raw`: it was made for another message.
    pub fn apply(&self, raw: &[u8], out: &mut Vec<u8>) {
        out.reserve(self.len_after(raw.len()));
        let mut position = 0;
        for (place, splice) in self.splices.iter().enumerate() {
            assert!(splice.until <= raw.len(), "a splice lies in the message");
            if let Some(kept) = raw.get(position..splice.at) {
                out.extend_from_slice(kept);
            }
            out.extend_from_slice(self.text_of(place, splice));
            position = position.max(splice.until);
        }
        out.extend_from_slice(raw.get(position..).unwrap_or(&[]));
    }

    fn text_of(&self, place: usize, splice: &Splice) -> &[u8] {
        let (from, mut to) = splice.text;
        if self.open == Some(place) {
            to = self.text.len();
        }
        self.text.get(from..to).unwrap_or(&[])
    }

    /// Ends the insertion that is still being written.
    fn close(&mut self) {
        if let Some(splice) = self.open.take().and_then(|open| self.splices.get_mut(open)) {
            splice.text.1 = self.text.len();
        }
    }

    /// Puts a splice in its place in the order and opens its text.
    fn push(&mut self, at: usize, until: usize) -> &mut Vec<u8> {
        self.close();
        let from = self.text.len();
        // Edits are made nearly from front to back, so the place is near the end.
        let behind = self.splices.iter().rev().take_while(|splice| splice.at > at).count();
        let place = self.splices.len() - behind;
        self.splices.insert(place, Splice { at, until, text: (from, from) });
        self.open = Some(place);
        &mut self.text
    }
}
