//! Header fields with several values (RFC 3261 section 7.3.1).

use std::ops::Range;

use super::text::{quoted_len, trim_end, trim_start};

/// One value of a header field that may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The value without white space around it.
    pub bytes: &'a [u8],
    /// Where it lies in the input.
    pub range: Range<usize>,
    /// Deleting this deletes the value and its comma, or the whole header field if it is alone.
    ///
    /// The ranges of values of one field do not add up; to delete several, use
    /// [`super::Message::remove_values`].
    pub remove: Range<usize>,
}

/// The values of one header field, in order; empty ones are skipped.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    text: &'a [u8],
    /// Offset of `text` in the input.
    base: usize,
    line: Range<usize>,
    is_list: bool,
    previous_end: Option<usize>,
    /// The next value's range in `text`.
    next: Option<Range<usize>>,
    /// Where in `text` the one after it is to be looked for.
    from: usize,
}

impl<'a> Values<'a> {
    /// `text`: the value of a whole header field, which lies at `base`. `line`: the field.
    pub(super) fn new(text: &'a [u8], base: usize, line: Range<usize>, is_list: bool) -> Self {
        let mut values =
            Self { text, base, line, is_list, previous_end: None, next: None, from: 0 };
        values.next = values.seek();
        values
    }

    /// Finds the next value that is not empty.
    fn seek(&mut self) -> Option<Range<usize>> {
        loop {
            let rest = self.text.get(self.from..).filter(|rest| !rest.is_empty())?;
            let end = if self.is_list { comma(rest) } else { rest.len() };
            let raw = rest.get(..end)?;
            let value = trim_start(raw);
            let start = self.from + raw.len() - value.len();
            self.from += end + 1;
            let value = trim_end(value);
            if !value.is_empty() {
                return Some(start..start + value.len());
            }
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let here = self.next.take()?;
        self.next = self.seek();
        let range = self.base + here.start..self.base + here.end;
        let remove = match (&self.next, self.previous_end) {
            (Some(next), _) => range.start..self.base + next.start,
            (None, Some(previous_end)) => previous_end..range.end,
            (None, None) => self.line.clone(),
        };
        self.previous_end = Some(range.end);
        Some(Value { bytes: self.text.get(here)?, range, remove })
    }
}

/// Returns the length of the first value of `text`: up to a comma that is neither quoted nor
/// inside angle brackets.
///
/// A quote or bracket that does not end takes the rest with it.
fn comma(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or(&[]);
        let Some(found) = memchr::memchr3(b',', b'"', b'<', rest) else { return text.len() };
        let special = rest.get(found..).unwrap_or(&[]);
        let skipped = match special.first() {
            Some(b'"') => quoted_len(special),
            Some(b'<') => memchr::memchr(b'>', special),
            _ => return at + found,
        };
        match skipped {
            Some(len) => at += found + len,
            None => return text.len(),
        }
    }
}
