//! The scanner: where one message of a stream ends, and which header field lies where.
//!
//! ```text
//!  INVITE sip:bob@fabrikam.example SIP/2.0␍␊Via: SIP/2.0/TLS ...␍␊From: ...␍␊␍␊v=0...
//!  |------------- block of 64 --------------------|----- next block -----
//!                                           ^ its bit
//! ```
//!
//! Each block of 64 bytes becomes a word, a bit for each LF. Each LF ends a line, and the name of a
//! line is recognised from its first sixteen bytes. At the end the CRs are counted: if there are
//! not as many as lines, or one is not where it should be, a line break stands alone, and the
//! message is refused because two readers could see two sets of header fields in it. None of the
//! body is looked at.

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
const _: () = assert!(LONG_HEAD >= limits::SIP_START_LINE_BYTES_MAX);

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
/// head is looked at again when there is more of it, and a long one only once its end is there.
/// Hot: once per message. Bench `sip_scan/message_700`; budget 120 ns.
/// # Errors
/// [`PeerMisbehaved`] for what is not SIP or beyond a limit of [`limits`]: close the leg.
/// Source: RFC 3261 sections 7 and 18.3.
pub fn scan(input: &[u8], table: &mut HeaderTable) -> Result<Scan, PeerMisbehaved> {
    if let Some(keep_alive) = keep_alive(input) {
        return Ok(keep_alive);
    }
    table.clear();
    match head(input, table)? {
        Some(head) => Ok(framed(input, table, head)),
        None => Ok(Scan::NeedMore(input.len() + 1)),
    }
}

/// Reads a head whose body is not there: what was kept of a message that was scanned before.
///
/// `None` if it is no whole head.
pub fn read_head<'a>(text: &'a [u8], table: &'a mut HeaderTable) -> Option<Message<'a>> {
    table.clear();
    let Head { start, len, fault, .. } = head(text, table).ok()??;
    Some(Message::new(text, table, Scanned { start, head_len: len, body_len: 0, fault }))
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

impl Head {
    /// Keeps the first fault; the start line's comes before any other.
    #[cold]
    fn note(&mut self, fault: SyntaxFault) {
        self.fault = self.fault.or(Some(fault));
    }
}

/// Reads a head to its empty line. `None`: it is not there.
#[inline(always)]
fn head(input: &[u8], table: &mut HeaderTable) -> Result<Option<Head>, PeerMisbehaved> {
    let window = input.get(..limits::SIP_HEAD_BYTES_MAX).unwrap_or(input);
    let Some(mut head) = start_line(window)? else { return Ok(None) };
    let mut from = head.len;
    let mut base = head.len;
    let (mut line_feeds, mut carriage_returns) = (0, 0);
    while let Some(rest) = window.get(base..)
        && !rest.is_empty()
    {
        if (LONG_HEAD..LONG_HEAD + BLOCK).contains(&base) && !has_empty_line(rest) {
            return wait_for_line(window);
        }
        let last;
        let chunk = match rest.first_chunk::<BLOCK>() {
            Some(chunk) => chunk,
            None => {
                last = padded(rest);
                &last
            }
        };
        let mut ends = block::line_feeds(chunk);
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            ends &= ends - 1;
            line_feeds += 1;
            let Some(line) = window.get(from..end) else { break };
            let line = match line {
                [line @ .., b'\r'] => line,
                line => {
                    head.bare_break = true;
                    line
                }
            };
            let whole = match line.first() {
                None => {
                    let here = (end + 1 - base) as u8;
                    carriage_returns += block::carriage_returns_before(chunk, here);
                    // With a CR before each LF, more CRs than LFs are CRs that stand alone.
                    head.bare_break |= carriage_returns != line_feeds;
                    head.len = end + 1;
                    return Ok(Some(head));
                }
                Some(b' ' | b'\t') => fold(table, from, end)?,
                Some(_) => field(table, line, window, from, end)?,
            };
            if !whole {
                head.note(SyntaxFault::HeaderLine);
            }
            from = end + 1;
        }
        carriage_returns += block::carriage_returns(chunk);
        base += BLOCK;
    }
    wait_for_line(window)
}

/// Begins a head with its start line. `None`: its end is not there.
#[inline(always)]
fn start_line(window: &[u8]) -> Result<Option<Head>, PeerMisbehaved> {
    let first_break = memchr::memchr2(b'\r', b'\n', window).unwrap_or(window.len());
    let (line_len, len, bare_break) = match window.get(first_break..first_break + 2) {
        Some(b"\r\n") => (first_break, first_break + 2, false),
        _ => match memchr::memchr(b'\n', window) {
            Some(end) => (end, end + 1, true),
            None => return open_start_line(window),
        },
    };
    if line_len > limits::SIP_START_LINE_BYTES_MAX {
        return Err(PeerMisbehaved::StartLineTooLong);
    }
    let line = window.get(..line_len).unwrap_or(&[]);
    let (start, fault) = start_line::read(line)?;
    Ok(Some(Head { start, len, fault, bare_break }))
}

/// Waits for the rest of a start line if what is there may become one.
#[cold]
fn open_start_line(window: &[u8]) -> Result<Option<Head>, PeerMisbehaved> {
    // The line end is not counted, but its CR may be there.
    if window.len() > limits::SIP_START_LINE_BYTES_MAX + 1 {
        Err(PeerMisbehaved::StartLineTooLong)
    } else if !start_line::may_begin(window) {
        Err(PeerMisbehaved::NotSip)
    } else {
        wait(window.len())
    }
}

/// Enters the field that `line` begins. `false`: it has no name.
#[inline(always)]
fn field(
    table: &mut HeaderTable,
    line: &[u8],
    window: &[u8],
    from: usize,
    end: usize,
) -> Result<bool, PeerMisbehaved> {
    if line.len() > limits::SIP_HEADER_BYTES_MAX {
        return Err(PeerMisbehaved::HeaderTooLong);
    }
    let Some(found) = name::recognise(line, window, from) else { return Ok(false) };
    let entry = Entry {
        start: from as u32,
        end: end as u32 + 1,
        colon: found.colon as u16,
        name_len: found.name_len as u16,
        name: found.name,
    };
    if table.push(entry) { Ok(true) } else { Err(PeerMisbehaved::TooManyHeaderFields) }
}

/// A line that begins with white space goes on with the field before it. `false`: the line before
/// is none.
#[cold]
fn fold(table: &mut HeaderTable, from: usize, end: usize) -> Result<bool, PeerMisbehaved> {
    match table.extend_last(from as u32, end as u32 + 1) {
        Some(start) if end - start as usize > limits::SIP_HEADER_BYTES_MAX => {
            Err(PeerMisbehaved::HeaderTooLong)
        }
        Some(_) => Ok(true),
        None => Ok(false),
    }
}

/// Waits for more of a head in the middle of its header fields.
#[cold]
fn wait_for_line(window: &[u8]) -> Result<Option<Head>, PeerMisbehaved> {
    let open = window.len() - memchr::memrchr(b'\n', window).map_or(0, |end| end + 1);
    // The line end is not counted, but its CR may be there.
    if open > limits::SIP_HEADER_BYTES_MAX + 1 {
        return Err(PeerMisbehaved::HeaderTooLong);
    }
    wait(window.len())
}

/// Waits for more of a head of which there are `len` bytes, unless it has all it may have.
fn wait(len: usize) -> Result<Option<Head>, PeerMisbehaved> {
    if len >= limits::SIP_HEAD_BYTES_MAX { Err(PeerMisbehaved::HeadTooLong) } else { Ok(None) }
}

/// Returns whether there is an empty line in `rest`, which may begin in the middle of one.
#[cold]
fn has_empty_line(rest: &[u8]) -> bool {
    let ends = [&b"\n\r\n"[..], b"\n\n"];
    matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..])
        || ends.iter().any(|end| memchr::memmem::find(rest, end).is_some())
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

#[inline(always)]
fn body_len(input: &[u8], table: &HeaderTable) -> Result<usize, FramingFault> {
    let Some(first) = table.first(HeaderName::ContentLength) else {
        return Err(FramingFault::ContentLengthMissing);
    };
    let bytes = content_length(input, first)?;
    if table.repeated() & HeaderName::ContentLength.bit() != 0 {
        for entry in table.entries_from(HeaderName::ContentLength) {
            if entry.name == HeaderName::ContentLength && content_length(input, entry)? != bytes {
                return Err(FramingFault::ContentLengthContradicting);
            }
        }
    }
    if bytes > table.body_bytes_max() {
        return Err(FramingFault::BodyTooLarge);
    }
    Ok(bytes)
}

/// Reads one Content-Length. Digits that do not fit are a length beyond every limit.
#[inline(always)]
fn content_length(input: &[u8], entry: &Entry) -> Result<usize, FramingFault> {
    let from = entry.start as usize + usize::from(entry.colon) + 1;
    let value = text::trim(input.get(from..entry.end as usize).unwrap_or(&[]));
    if value.is_empty() {
        return Err(FramingFault::ContentLengthInvalid);
    }
    let mut bytes = 0_usize;
    for byte in value {
        if !byte.is_ascii_digit() {
            return Err(FramingFault::ContentLengthInvalid);
        }
        bytes = bytes.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
    }
    Ok(bytes)
}
