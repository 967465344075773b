//! A scanned message, and what may be asked of it.

use std::ops::Range;

use super::edit::Edits;
use super::fault::SyntaxFault;
use super::method::Method;
use super::name::{HeaderName, HeaderSet};
use super::name_addr::NameAddr;
use super::scan::Scanned;
use super::start_line::StartLine;
use super::table::{Entry, HeaderTable};
use super::text;
use super::values::{Value, Values};
use super::via::Via;

/// A scanned message: the received bytes and where things are in them. Decodes what is asked for.
///
/// All ranges are offsets in [`Message::raw`], which begins where the input did.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    table: &'a HeaderTable,
    scanned: Scanned,
}

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which.
    pub name: HeaderName,
    /// The name as it stands.
    pub name_text: &'a [u8],
    /// The value without white space around it; folds are still in it.
    pub value: &'a [u8],
    /// The whole field with its line ends and folded lines; deleting it deletes the field.
    pub line: Range<usize>,
    /// Where the value is.
    pub value_range: Range<usize>,
}

impl<'a> Field<'a> {
    /// Walks the values of this field alone.
    #[must_use]
    pub fn values(&self) -> Values<'a> {
        let base = self.value_range.start;
        Values::new(self.value, base, self.line.clone(), self.name.is_list())
    }
}

/// The first Via value of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopVia<'a> {
    /// Decoded.
    pub via: Via<'a>,
    /// As a value, for deleting it.
    pub value: Value<'a>,
    /// A Via line of our own goes here.
    pub line_start: usize,
}

/// A CSeq header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// The method token.
    pub method: &'a [u8],
}

impl<'a> Message<'a> {
    /// Joins what [`super::scan`] was given, filled and found.
    #[must_use]
    pub fn new(input: &'a [u8], table: &'a HeaderTable, scanned: Scanned) -> Self {
        Self { raw: input.get(..scanned.total()).unwrap_or(input), table, scanned }
    }

    /// Returns head and body as received.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Returns the length of the head, empty line included.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.scanned.head_len
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.raw.get(self.scanned.head_len..).unwrap_or(&[])
    }

    /// Returns the start line.
    #[must_use]
    pub fn start_line(&self) -> StartLine {
        self.scanned.start
    }

    /// Returns what the scanner found wrong with the start line or a header line.
    #[must_use]
    pub fn scan_fault(&self) -> Option<SyntaxFault> {
        self.scanned.fault
    }

    /// Returns the method; `None` for a response.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        match self.scanned.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// Returns the method as it stands; empty for a response.
    #[must_use]
    pub fn method_token(&self) -> &'a [u8] {
        match self.scanned.start {
            StartLine::Request { method_token, .. } => self.slice(method_token),
            StartLine::Response { .. } => &[],
        }
    }

    /// Returns the Request-URI; empty for a response.
    #[must_use]
    pub fn uri(&self) -> &'a [u8] {
        self.raw.get(self.uri_range()).unwrap_or(&[])
    }

    /// Returns where the Request-URI is; empty for a response.
    #[must_use]
    pub fn uri_range(&self) -> Range<usize> {
        match self.scanned.start {
            StartLine::Request { uri: (from, to), .. } => from as usize..to as usize,
            StartLine::Response { .. } => 0..0,
        }
    }

    /// Returns the status code, 0 if it is none; `None` for a request.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.scanned.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// Returns the reason phrase; empty for a request.
    #[must_use]
    pub fn reason(&self) -> &'a [u8] {
        match self.scanned.start {
            StartLine::Request { .. } => &[],
            StartLine::Response { reason, .. } => self.slice(reason),
        }
    }

    /// Returns the first header field of a name.
    #[must_use]
    pub fn first(&self, name: HeaderName) -> Option<Field<'a>> {
        self.table.first(name).map(|entry| self.field(entry))
    }

    /// Walks the header fields of a name in order.
    pub fn all(&self, name: HeaderName) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let message = *self;
        self.entries(name)
            .iter()
            .filter(move |entry| entry.name == name)
            .map(move |entry| message.field(entry))
    }

    /// Walks all header fields in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let message = *self;
        self.table.entries().iter().map(move |entry| message.field(entry))
    }

    /// Returns how many header fields of a name there are.
    #[must_use]
    pub fn count(&self, name: HeaderName) -> usize {
        self.entries(name).iter().filter(|entry| entry.name == name).count()
    }

    /// Returns whether there is a header field of a name. Costs one bit test.
    #[must_use]
    pub fn present(&self, name: HeaderName) -> bool {
        self.table.seen() & name.bit() != 0
    }

    /// Walks the header fields whose name is in `names`. Costs one bit test if there are none.
    pub fn all_of(&self, names: HeaderSet) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let message = *self;
        let any = self.table.seen() & names.0 != 0;
        let entries = if any { self.table.entries() } else { &[] };
        entries
            .iter()
            .filter(move |entry| names.0 & entry.name.bit() != 0)
            .map(move |entry| message.field(entry))
    }

    /// Returns the first header field named `name`, ignoring case, in full or compact form.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Field<'a>> {
        match HeaderName::of(name.as_bytes()) {
            HeaderName::Other => self
                .all(HeaderName::Other)
                .find(|field| field.name_text.eq_ignore_ascii_case(name.as_bytes())),
            known => self.first(known),
        }
    }

    /// Walks the values of all header fields of a name.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = Value<'a>> + use<'a> {
        self.all(name).flat_map(|field| field.values())
    }

    /// Removes the values of `name` that `unwanted` picks; a field with none left goes with its
    /// line.
    pub fn remove_values(
        &self,
        name: HeaderName,
        edits: &mut Edits,
        mut unwanted: impl FnMut(&Value<'a>) -> bool,
    ) {
        for field in self.all(name) {
            let mut kept_end = None;
            // Start and end of the unwanted values since the last wanted one.
            let mut run: Option<Range<usize>> = None;
            for value in field.values() {
                if unwanted(&value) {
                    let start = run.map_or(value.range.start, |run| run.start);
                    run = Some(start..value.range.end);
                } else {
                    if let Some(run) = run.take() {
                        edits.remove(run.start..value.range.start);
                    }
                    kept_end = Some(value.range.end);
                }
            }
            match (run, kept_end) {
                (Some(run), Some(kept_end)) => edits.remove(kept_end..run.end),
                (Some(_), None) => edits.remove(field.line),
                (None, _) => {}
            }
        }
    }

    /// Returns the first Via value.
    /// # Errors
    /// [`SyntaxFault::Missing`] or [`SyntaxFault::Via`].
    pub fn top_via(&self) -> Result<TopVia<'a>, SyntaxFault> {
        const MISSING: SyntaxFault = SyntaxFault::Missing(HeaderName::Via);
        let field = self.first(HeaderName::Via).ok_or(MISSING)?;
        let value = field.values().next().ok_or(SyntaxFault::Via)?;
        Ok(TopVia { via: Via::parse(value.bytes)?, value, line_start: field.line.start })
    }

    /// Walks all Via values, top first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'a>, SyntaxFault>> + use<'a> {
        self.values(HeaderName::Via).map(|value| Via::parse(value.bytes))
    }

    /// Returns From.
    /// # Errors
    /// [`SyntaxFault::Missing`] or [`SyntaxFault::From`].
    pub fn from(&self) -> Result<NameAddr<'a>, SyntaxFault> {
        self.address(HeaderName::From, SyntaxFault::From)
    }

    /// Returns To.
    /// # Errors
    /// [`SyntaxFault::Missing`] or [`SyntaxFault::To`].
    pub fn to(&self) -> Result<NameAddr<'a>, SyntaxFault> {
        self.address(HeaderName::To, SyntaxFault::To)
    }

    /// Returns Call-ID; empty if there is none.
    #[must_use]
    pub fn call_id(&self) -> &'a [u8] {
        self.first(HeaderName::CallId).map_or(&[], |field| field.value)
    }

    /// Returns CSeq.
    /// # Errors
    /// [`SyntaxFault::Missing`] or [`SyntaxFault::CSeq`].
    pub fn cseq(&self) -> Result<CSeq<'a>, SyntaxFault> {
        const MISSING: SyntaxFault = SyntaxFault::Missing(HeaderName::CSeq);
        let value = self.first(HeaderName::CSeq).ok_or(MISSING)?.value;
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = value.split_at_checked(digits).ok_or(SyntaxFault::CSeq)?;
        let method = text::trim_start(rest);
        let number = text::number(number).filter(|n| *n < 1 << 31).ok_or(SyntaxFault::CSeq)?;
        if method.len() == rest.len() || !text::TOKEN.is_all(method) {
            return Err(SyntaxFault::CSeq);
        }
        Ok(CSeq { number, method })
    }

    /// Returns Max-Forwards; `None` if there is none.
    /// # Errors
    /// [`SyntaxFault::MaxForwards`] for anything but a number up to 255.
    pub fn max_forwards(&self) -> Result<Option<u32>, SyntaxFault> {
        let Some(field) = self.first(HeaderName::MaxForwards) else { return Ok(None) };
        match text::number(field.value) {
            Some(hops) if hops <= 255 => Ok(Some(hops)),
            _ => Err(SyntaxFault::MaxForwards),
        }
    }

    /// Returns a number that no count of values of `name` exceeds, without looking at them: a value
    /// and its comma are two bytes at least.
    pub(super) fn values_max(&self, name: HeaderName) -> usize {
        let lines = self.entries(name).iter().filter(|entry| entry.name == name);
        lines.map(|entry| 1 + (entry.end - entry.start) as usize / 2).sum()
    }

    pub(super) fn table(&self) -> &'a HeaderTable {
        self.table
    }

    fn address(&self, name: HeaderName, fault: SyntaxFault) -> Result<NameAddr<'a>, SyntaxFault> {
        let field = self.first(name).ok_or(SyntaxFault::Missing(name))?;
        NameAddr::parse(field.value).map_err(|_| fault)
    }

    /// Returns the entries among which those of `name` are.
    fn entries(&self, name: HeaderName) -> &'a [Entry] {
        let from_first = self.table.entries_from(name);
        if self.table.repeated() & name.bit() == 0 {
            return from_first.get(..1).unwrap_or(&[]);
        }
        from_first
    }

    fn field(&self, entry: &Entry) -> Field<'a> {
        let start = entry.start as usize;
        let line = start..entry.end as usize;
        let from = start + usize::from(entry.colon) + 1;
        let raw = self.raw.get(from..line.end).unwrap_or(&[]);
        let rest = text::trim_start(raw);
        let value = text::trim_end(rest);
        let value_start = from + raw.len() - rest.len();
        Field {
            name: entry.name,
            name_text: self.raw.get(start..start + usize::from(entry.name_len)).unwrap_or(&[]),
            value,
            line,
            value_range: value_start..value_start + value.len(),
        }
    }

    fn slice(&self, (from, to): (u32, u32)) -> &'a [u8] {
        self.raw.get(from as usize..to as usize).unwrap_or(&[])
    }
}
