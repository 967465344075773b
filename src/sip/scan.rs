//! The scanner: where one message of a stream ends, and which header field lies where.
//!
//! ```text
//!  INVITE sip:bob@fabrikam.example SIP/2.0␍␊Via: SIP/2.0/TLS ...␍␊From: ...␍␊␍␊v=0...
//!  |------------- block of 64 --------------------|----- next block -----
//!                                          ^^ bits of CR and LF
//! ```
//!
//! Each block of 64 bytes becomes two words, a bit for each CR and each LF. Shifting the CRs up by
//! one must give the LFs; where it does not, a line break stands alone, and the message is refused
//! because two readers could see two sets of header fields in it. Each LF ends a line, and the name
//! of a line is recognised from its first sixteen bytes. No other byte of the head is looked at,
//! and none of the body.

use super::block::{self, BLOCK};
use super::fault::{FramingFault, PeerMisbehaved, SyntaxFault};
use super::message::Message;
use super::name::{self, HeaderName};
use super::start_line::{self, StartLine};
use super::table::{Entry, HeaderTable};
use super::text;
use crate::limits;

/// A head longer than this is read on only once its end is there.
///
/// A peer that sends a head byte by byte makes it be looked at as often. Up to here a look costs
/// about a microsecond, behind it one fast search for the empty line, which is less than receiving
/// that byte in a record of its own has cost already.
const LONG_HEAD: usize = 8 * 1024;
const _: () = assert!(LONG_HEAD % BLOCK == 0);

/// What the input begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Nothing whole; at least this many bytes are needed in all.
    NeedMore(usize),
    /// Line ends between messages (RFC 5626 section 3.5.1).
    ///
    /// A CRLF at the very end of the input is reported as it is; when the next bytes of the leg are
    /// such a lone CRLF again, the two are a ping that was cut in half.
    KeepAlive {
        /// Bytes to drop.
        consumed: usize,
        /// A CRLFCRLF, which asks for a CRLF; else a lone CRLF, which answers.
        ping: bool,
    },
    /// A whole message.
    Message(Scanned),
    /// A whole head, but the body's end cannot be known: answer and close.
    Broken(Scanned, FramingFault),
}

/// A message at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The start line.
    pub start: StartLine,
    /// Bytes of start line, header fields and the empty line.
    pub head_len: usize,
    /// Bytes of the body; 0 if unknown.
    pub body_len: usize,
    /// What is wrong with the start line or a header line, for [`super::Message::verify`].
    pub fault: Option<SyntaxFault>,
}

impl Scanned {
    /// Returns the length of the message.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.head_len + self.body_len
    }
}

/// Finds what `input` begins with, and fills `table` if that is a message.
///
/// Each byte of the head is looked at once, nothing is copied, nothing allocated. An incomplete
/// head is looked at again when there is more of it; see [`LONG_HEAD`] for what that may cost.
/// Hot: once per message. Bench `sip_scan/message_700`; budget 120 ns.
/// # Errors
/// [`PeerMisbehaved`] for what is not SIP or beyond a limit of [`limits`]: close the leg.
/// Source: RFC 3261 sections 7 and 18.3.
pub fn scan(input: &[u8], table: &mut HeaderTable) -> Result<Scan, PeerMisbehaved> {
    if let Some(keep_alive) = keep_alive(input) {
        return Ok(keep_alive);
    }
    table.clear();
    let mut scanner = Scanner { input, table, start: None, fault: None, line_start: 0 };
    match scanner.head()? {
        Some(head) => Ok(framed(input, table, head)),
        None => Ok(Scan::NeedMore(input.len() + 1)),
    }
}

/// Reads a head whose body is not there: what was kept of a message that was scanned before.
///
/// `None` if it is no whole head.
pub fn read_head<'a>(head: &'a [u8], table: &'a mut HeaderTable) -> Option<Message<'a>> {
    table.clear();
    let mut scanner = Scanner { input: head, table, start: None, fault: None, line_start: 0 };
    let found = scanner.head().ok()??;
    let Head { start, len, fault, .. } = found;
    Some(Message::new(head, table, Scanned { start, head_len: len, body_len: 0, fault }))
}

fn keep_alive(input: &[u8]) -> Option<Scan> {
    match input {
        [b'\r', b'\n', b'\r', b'\n', ..] => Some(Scan::KeepAlive { consumed: 4, ping: true }),
        [b'\r', b'\n', b'\r'] => Some(Scan::NeedMore(4)),
        [b'\r', b'\n', ..] => Some(Scan::KeepAlive { consumed: 2, ping: false }),
        [b'\r'] => Some(Scan::NeedMore(2)),
        [] => Some(Scan::NeedMore(1)),
        _ => None,
    }
}

/// A head, before its body is measured.
struct Head {
    start: StartLine,
    len: usize,
    fault: Option<SyntaxFault>,
    bare_break: bool,
}

struct Scanner<'a> {
    input: &'a [u8],
    table: &'a mut HeaderTable,
    start: Option<StartLine>,
    fault: Option<SyntaxFault>,
    line_start: usize,
}

/// What a line was.
enum Line {
    Field,
    /// The one that ends the head.
    Empty,
}

impl Scanner<'_> {
    /// Reads lines to the empty one. `None`: it is not there.
    fn head(&mut self) -> Result<Option<Head>, PeerMisbehaved> {
        let input = self.input;
        let window = input.get(..limits::SIP_HEAD_BYTES_MAX).unwrap_or(input);
        let (mut carry, mut bare) = (0_u64, 0_u64);
        let mut base = 0;
        while let Some(rest) = window.get(base..)
            && !rest.is_empty()
        {
            if base == LONG_HEAD && self.start.is_some() && !has_empty_line(window) {
                return Self::wait(window.len());
            }
            let found = match rest.first_chunk::<BLOCK>() {
                Some(chunk) => block::breaks(chunk),
                None => block::breaks(&padded(rest)),
            };
            let alone = found.lf ^ (found.cr << 1 | carry);
            carry = found.cr >> 63;
            let mut ends = found.lf;
            while ends != 0 {
                let bit = ends.trailing_zeros();
                ends &= ends - 1;
                let end = base + bit as usize;
                if let Line::Empty = self.line(end)? {
                    // Only what is before the end of the head counts.
                    bare |= alone & (u64::MAX >> (63 - bit));
                    return Ok(self.finished(end + 1, bare != 0));
                }
            }
            bare |= alone;
            base += BLOCK;
        }
        self.unfinished(window.len())
    }

    /// Takes the line from `line_start` to the LF at `end`.
    #[inline(always)]
    fn line(&mut self, end: usize) -> Result<Line, PeerMisbehaved> {
        let from = self.line_start;
        self.line_start = end + 1;
        let line = self.input.get(from..end).unwrap_or(&[]);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.start.is_none() {
            return self.start_line(line);
        }
        let Some(first) = line.first() else { return Ok(Line::Empty) };
        if matches!(first, b' ' | b'\t') {
            return self.fold(end);
        }
        if line.len() > limits::SIP_HEADER_BYTES_MAX {
            return Err(PeerMisbehaved::HeaderTooLong);
        }
        match name::recognise(self.input, from, from + line.len()) {
            Some(found) => {
                let entry = Entry {
                    start: from as u32,
                    end: end as u32 + 1,
                    colon: found.colon as u16,
                    name_len: found.name_len as u16,
                    name: found.name,
                };
                if !self.table.push(entry) {
                    return Err(PeerMisbehaved::TooManyHeaderFields);
                }
            }
            None => self.note(SyntaxFault::HeaderLine),
        }
        Ok(Line::Field)
    }

    fn start_line(&mut self, line: &[u8]) -> Result<Line, PeerMisbehaved> {
        if line.len() > limits::SIP_START_LINE_BYTES_MAX {
            return Err(PeerMisbehaved::StartLineTooLong);
        }
        let (start, fault) = start_line::read(line)?;
        self.start = Some(start);
        self.fault = fault;
        Ok(Line::Field)
    }

    /// A line that begins with white space goes on with the field before it.
    #[cold]
    fn fold(&mut self, end: usize) -> Result<Line, PeerMisbehaved> {
        match self.table.extend_last(end as u32 + 1) {
            Some(start) if end - start as usize > limits::SIP_HEADER_BYTES_MAX => {
                return Err(PeerMisbehaved::HeaderTooLong);
            }
            Some(_) => {}
            None => self.note(SyntaxFault::HeaderLine),
        }
        Ok(Line::Field)
    }

    /// Keeps the first fault; the start line's comes before any other.
    #[cold]
    fn note(&mut self, fault: SyntaxFault) {
        self.fault = self.fault.or(Some(fault));
    }

    fn finished(&self, len: usize, bare_break: bool) -> Option<Head> {
        Some(Head { start: self.start?, len, fault: self.fault, bare_break })
    }

    /// The input ends inside the head: is it worth waiting for more?
    #[cold]
    fn unfinished(&self, len: usize) -> Result<Option<Head>, PeerMisbehaved> {
        let open_line = len - self.line_start;
        if self.start.is_some() {
            // The line end is not counted, but its CR may be there.
            if open_line > limits::SIP_HEADER_BYTES_MAX + 1 {
                return Err(PeerMisbehaved::HeaderTooLong);
            }
        } else if open_line > limits::SIP_START_LINE_BYTES_MAX + 1 {
            return Err(PeerMisbehaved::StartLineTooLong);
        } else if !start_line::may_begin(self.input) {
            return Err(PeerMisbehaved::NotSip);
        }
        Self::wait(len)
    }

    /// Waits for more of a head of which there are `len` bytes, unless it has all it may have.
    fn wait(len: usize) -> Result<Option<Head>, PeerMisbehaved> {
        if len >= limits::SIP_HEAD_BYTES_MAX {
            return Err(PeerMisbehaved::HeadTooLong);
        }
        Ok(None)
    }
}

/// Returns whether an empty line follows the first [`LONG_HEAD`] bytes.
#[cold]
fn has_empty_line(window: &[u8]) -> bool {
    let rest = window.get(LONG_HEAD - 3..).unwrap_or(&[]);
    [&b"\n\r\n"[..], b"\n\n"].iter().any(|end| memchr::memmem::find(rest, end).is_some())
}

#[cold]
fn padded(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (to, from) in block.iter_mut().zip(rest) {
        *to = *from;
    }
    block
}

/// Measures the body by Content-Length alone (RFC 3261 section 18.3).
fn framed(input: &[u8], table: &HeaderTable, head: Head) -> Scan {
    let Head { start, len, fault, bare_break } = head;
    let mut scanned = Scanned { start, head_len: len, body_len: 0, fault };
    if bare_break {
        return Scan::Broken(scanned, FramingFault::BareLineBreak);
    }
    match body_len(input, table) {
        Ok(body_len) => scanned.body_len = body_len,
        Err(fault) => return Scan::Broken(scanned, fault),
    }
    if input.len() < scanned.total() {
        return Scan::NeedMore(scanned.total());
    }
    Scan::Message(scanned)
}

fn body_len(input: &[u8], table: &HeaderTable) -> Result<usize, FramingFault> {
    let mut known = None;
    for entry in table.entries_from(HeaderName::ContentLength) {
        if entry.name != HeaderName::ContentLength {
            continue;
        }
        let from = entry.start as usize + usize::from(entry.colon) + 1;
        let value = text::trim(input.get(from..entry.end as usize).unwrap_or(&[]));
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(FramingFault::ContentLengthInvalid);
        }
        // Digits that do not fit are a length beyond every limit.
        let bytes = text::number(value).map_or(usize::MAX, |number| number as usize);
        if known.is_some_and(|other| other != bytes) {
            return Err(FramingFault::ContentLengthContradicting);
        }
        known = Some(bytes);
        if table.repeated() & HeaderName::ContentLength.bit() == 0 {
            break;
        }
    }
    match known {
        None => Err(FramingFault::ContentLengthMissing),
        Some(bytes) if bytes > table.body_bytes_max() => Err(FramingFault::BodyTooLarge),
        Some(bytes) => Ok(bytes),
    }
}
