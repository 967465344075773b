//! CSV (RFC 4180) as this edge reads it: one set of rules for every list in a file of its own.
//!
//! The first line names the columns, in any order; every row has a field for each. An empty field
//! is as if the column were not. Empty lines and lines that begin with `#` count for nothing. A
//! field may stand in quotes, a quote in it is written twice, and none goes over the end of its
//! line. Lines end in LF or CRLF. A byte order mark before all of it is passed over: spreadsheets
//! write one.

use std::borrow::Cow;
use std::ops::Range;

use super::report::{Code, Problem};
use super::suggest;
use crate::limits;

/// What a list may say.
pub(super) struct Columns {
    /// Every column there may be.
    pub(super) known: &'static [&'static str],
    /// The one that must be there.
    pub(super) needed: &'static str,
    /// A first line, for a message.
    pub(super) example: &'static str,
}

/// Reads `text` row by row; returns what is wrong with it.
///
/// `keep` returns `None` after it has told of a problem. Reading ends after
/// [`limits::LIST_PROBLEMS_MAX`] of them.
pub(super) fn read(
    text: &str,
    known: &Columns,
    mut keep: impl FnMut(&mut Row<'_, '_>) -> Option<()>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut columns: Option<Vec<&'static str>> = None;
    let mut fields: Vec<Range<usize>> = Vec::new();
    let mut rows = 0;
    for (line, span) in Lines::new(text) {
        if problems.len() >= limits::LIST_PROBLEMS_MAX {
            break;
        }
        if let Some(problem) = split(text, span.clone(), &mut fields) {
            problems.push(problem);
            continue;
        }
        let Some(columns) = &columns else {
            columns = match head(text, &fields, span, known) {
                Ok(columns) => Some(columns),
                // Without its columns nothing else of the file can be read.
                Err(found) => return found,
            };
            continue;
        };
        rows += 1;
        if rows > limits::LIST_ROWS_MAX {
            let message = format!("the list has more than {} rows", limits::LIST_ROWS_MAX);
            problems.push(Problem::new(Code::OutOfRange, Some(span), message, "one too many"));
            break;
        }
        if fields.len() != columns.len() {
            let message = format!("{} fields in a list of {} columns", fields.len(), columns.len());
            let label = "expected one field for each column";
            problems.push(Problem::new(Code::Malformed, Some(span), message, label));
            continue;
        }
        let mut row = Row { text, columns, fields: &fields, line, span, problems: &mut problems };
        let before = row.problems.len();
        let kept = keep(&mut row);
        assert!(kept.is_some() || problems.len() > before, "a row is kept or told of");
    }
    problems
}

/// Returns how many rows `text` has at most. Room for them all at once spares moving a list of a
/// million again and again while it grows.
pub(super) fn rows_at_most(text: &str) -> usize {
    let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
    lines.min(limits::LIST_ROWS_MAX)
}

/// Returns what `wanted` makes of the first row that it wants; rows that are wrong are passed over.
///
/// Cold: for people, who ask where something is written or by whom.
pub(super) fn find<T>(
    text: &str,
    known: &Columns,
    mut wanted: impl FnMut(&mut Row<'_, '_>) -> Option<T>,
) -> Option<T> {
    find_among(text, known, |_| true, &mut wanted)
}

/// Returns what `wanted` makes of the row in line `line`, if there is one.
pub(super) fn at<T>(
    text: &str,
    known: &Columns,
    line: u32,
    mut wanted: impl FnMut(&mut Row<'_, '_>) -> Option<T>,
) -> Option<T> {
    find_among(text, known, |at| at == line, &mut wanted)
}

/// Looks no closer at lines that are not `candidate`s.
fn find_among<T>(
    text: &str,
    known: &Columns,
    candidate: impl Fn(u32) -> bool,
    wanted: &mut dyn FnMut(&mut Row<'_, '_>) -> Option<T>,
) -> Option<T> {
    let (mut fields, mut problems) = (Vec::new(), Vec::new());
    let mut lines = Lines::new(text);
    let (_, span) = lines.next()?;
    if split(text, span.clone(), &mut fields).is_some() {
        return None;
    }
    let columns = head(text, &fields, span, known).ok()?;
    lines.filter(|(line, _)| candidate(*line)).find_map(|(line, span)| {
        if split(text, span.clone(), &mut fields).is_some() || fields.len() != columns.len() {
            return None;
        }
        problems.clear();
        let (columns, fields, problems) = (&columns, &fields, &mut problems);
        wanted(&mut Row { text, columns, fields, line, span, problems })
    })
}

/// The lines of a text that say something, each with its number and place, without its end.
struct Lines<'a> {
    text: &'a str,
    next: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let mark = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        Self { text, next: mark, line: 0 }
    }
}

const BYTE_ORDER_MARK: char = '\u{feff}';

impl Iterator for Lines<'_> {
    type Item = (u32, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.text.len() {
            let start = self.next;
            let end = memchr::memchr(b'\n', &self.text.as_bytes()[start..])
                .map_or(self.text.len(), |length| start + length);
            self.next = end + 1;
            self.line += 1;
            let line = &self.text[start..end];
            let line = line.strip_suffix('\r').unwrap_or(line);
            if !line.starts_with('#') && !line.trim_ascii().is_empty() {
                return Some((self.line, start..start + line.len()));
            }
        }
        None
    }
}

/// Reads the line that names the columns.
fn head(
    text: &str,
    fields: &[Range<usize>],
    line: Range<usize>,
    known: &Columns,
) -> Result<Vec<&'static str>, Vec<Problem>> {
    let mut columns = Vec::with_capacity(fields.len());
    let mut problems = Vec::new();
    for field in fields {
        let name = unquoted(&text[field.clone()]);
        let span = Some(field.clone());
        match known.known.iter().find(|column| **column == name) {
            Some(column) if columns.contains(column) => {
                let message = format!("the column `{name}` is named twice");
                problems.push(Problem::new(Code::Contradiction, span, message, "named again"));
            }
            Some(column) => columns.push(*column),
            None => {
                let message = format!("there is no column `{name}`");
                let problem = Problem::new(Code::UnknownKey, span, message, "unknown column");
                problems.push(match suggest::closest(&name, known.known.iter().copied()) {
                    Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                    None => problem.help(format!("columns are: {}", known.known.join(", "))),
                });
            }
        }
    }
    if problems.is_empty() && !columns.contains(&known.needed) {
        let message = format!("the first line names no column `{}`", known.needed);
        let problem = Problem::new(Code::MissingKey, Some(line), message, "expected the columns");
        problems.push(problem.help(format!("write for example: {}", known.example)));
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}

/// Splits the line written at `span` into its fields, quotes included; returns what is wrong.
fn split(text: &str, span: Range<usize>, fields: &mut Vec<Range<usize>>) -> Option<Problem> {
    fields.clear();
    let bytes = text.as_bytes();
    let malformed = |at: Range<usize>, message: &str, label: &str| {
        Problem::new(Code::Malformed, Some(at), message, label)
    };
    let mut start = span.start;
    loop {
        let rest = &bytes[start..span.end];
        let length = if rest.first() == Some(&b'"') {
            let Some(length) = quoted_length(rest) else {
                let message = "a quote is opened and not closed on its line";
                return Some(malformed(start..span.end, message, "opened here"));
            };
            if !matches!(rest.get(length), None | Some(b',')) {
                let message = "text after a quoted field";
                let label = "expected a comma after the quote";
                return Some(malformed(start..span.end, message, label));
            }
            length
        } else {
            let end = memchr::memchr2(b',', b'"', rest).unwrap_or(rest.len());
            if rest.get(end) == Some(&b'"') {
                let at = start + end..start + end + 1;
                let label = "expected quotes around the whole field";
                return Some(malformed(at, "a quote inside a field", label));
            }
            end
        };
        fields.push(start..start + length);
        start += length;
        if start >= span.end {
            return None;
        }
        // Past the comma; a line that ends in one ends in an empty field.
        start += 1;
    }
}

/// Returns the length of a quoted field with its quotes; a quote in it is written twice.
fn quoted_length(field: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr(b'"', field.get(at..)?)?;
        if field.get(at + 1) != Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Returns a field without its quotes and the spaces around it.
fn unquoted(field: &str) -> Cow<'_, str> {
    match field.strip_prefix('"').and_then(|field| field.strip_suffix('"')) {
        Some(inner) if inner.contains('"') => inner.replace("\"\"", "\"").into(),
        Some(inner) => inner.into(),
        None => field.trim().into(),
    }
}

/// One row while it is read.
pub(super) struct Row<'a, 'p> {
    text: &'a str,
    columns: &'a [&'static str],
    fields: &'a [Range<usize>],
    line: u32,
    span: Range<usize>,
    problems: &'p mut Vec<Problem>,
}

impl<'a> Row<'a, '_> {
    /// Returns the number of its line.
    pub(super) const fn line(&self) -> u32 {
        self.line
    }

    /// Returns the place of a field, of the row where it is empty or there is no such column.
    pub(super) fn span(&self, column: &str) -> Range<usize> {
        self.field(column).map_or_else(|| self.span.clone(), |(span, _)| span)
    }

    /// Tells of a problem that only the reader of the list can see.
    pub(super) fn tell(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Returns the field of a column, unless it is empty or there is no such column.
    pub(super) fn field(&self, column: &str) -> Option<(Range<usize>, Cow<'a, str>)> {
        let place = self.columns.iter().position(|known| *known == column)?;
        let span = self.fields.get(place)?.clone();
        let written = self.text.get(span.clone())?;
        let field = unquoted(written);
        let spaces = written.len() - written.trim_start().len();
        let start = span.start + spaces;
        (!field.is_empty()).then(|| (start..start + written.trim().len(), field))
    }

    /// Reads a field; the outer `None` after a problem.
    #[allow(clippy::option_option, reason = "read badly and not there are two things")]
    pub(super) fn read<T>(
        &mut self,
        column: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<Option<T>> {
        let Some((span, field)) = self.field(column) else { return Some(None) };
        match parse(&field) {
            Ok(kept) => Some(Some(kept)),
            Err(expected) => {
                let message = format!("line {}: `{field}` is no {column}", self.line);
                self.problems.push(Problem::new(Code::Malformed, Some(span), message, expected));
                None
            }
        }
    }

    /// Reads a field that must be there.
    pub(super) fn needed<T>(
        &mut self,
        column: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let read = self.read(column, parse)?;
        if read.is_none() {
            let message = format!("line {}: the {column} is missing", self.line);
            let span = Some(self.span.clone());
            self.problems.push(Problem::new(Code::MissingKey, span, message, "in this row"));
        }
        read
    }

    /// Reads one of a few words.
    #[allow(clippy::option_option, reason = "read badly and not there are two things")]
    pub(super) fn one_of<T: Clone>(
        &mut self,
        column: &str,
        choices: &[(&'static str, T)],
    ) -> Option<Option<T>> {
        let Some((span, field)) = self.field(column) else { return Some(None) };
        if let Some((_, kept)) = choices.iter().find(|(word, _)| *word == field) {
            return Some(Some(kept.clone()));
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let message = format!("line {}: `{column}` cannot be `{field}`", self.line);
        let label = format!("expected one of: {}", words.join(", "));
        self.problems.push(Problem::new(Code::OutOfRange, Some(span), message, label));
        None
    }

    /// Notes that a field has no place in this row.
    pub(super) fn refuse<T>(&mut self, column: &str, message: &str) -> Option<T> {
        let span = self.span(column);
        let message = format!("line {}: {message}", self.line);
        self.problems.push(Problem::new(Code::Contradiction, Some(span), message, "has no effect"));
        None
    }
}

#[cfg(test)]
mod tests;
