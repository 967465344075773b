//! Request line and status line.

use super::block;
use super::fault::{PeerMisbehaved, SyntaxFault};
use super::method::Method;
use super::text::TOKEN;

/// A start line; pairs are offsets in the input, the second one exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine {
    /// A request line.
    Request {
        /// The method.
        method: Method,
        /// Where its token is.
        method_token: (u32, u32),
        /// Where the Request-URI is.
        uri: (u32, u32),
    },
    /// A status line.
    Response {
        /// From 100 to 699; 0 if it is no such number, which [`super::Message::verify`] refuses.
        status: u16,
        /// Where the reason phrase is; may be empty.
        reason: (u32, u32),
    },
}

const VERSION: &[u8; 8] = b" SIP/2.0";

/// Reads a start line that begins at offset 0.
///
/// The Request-URI is not looked into: white space in it is refused where it is read.
/// `line`: without its line end, at most [`crate::limits::SIP_START_LINE_BYTES_MAX`]. The fault, if
/// there is one, is for [`super::Message::verify`] to report: the message can still be answered.
/// # Errors
/// [`PeerMisbehaved::NotSip`] for what no SIP element of any version would send.
#[inline]
pub(super) fn read(line: &[u8]) -> Result<(StartLine, Option<SyntaxFault>), PeerMisbehaved> {
    if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return Ok(status_line(line));
    }
    if let Some((front, VERSION)) = line.split_last_chunk::<8>()
        && let Some(space) = first_space(front)
        && let Some((token, uri)) = front.split_at_checked(space)
        && uri.len() > 1
    {
        let method = Method::of(token);
        if method != Method::Other || TOKEN.is_all(token) {
            return Ok((request(method, token, space + 1, front.len()), None));
        }
    }
    odd_request_line(line)
}

/// Nearly every method is shorter than eight bytes.
#[inline(always)]
fn first_space(line: &[u8]) -> Option<usize> {
    if let Some(start) = line.first_chunk::<8>() {
        let marks = block::mark(u64::from_le_bytes(*start), b' ');
        if marks != 0 {
            return Some(marks.trailing_zeros() as usize / 8);
        }
    }
    memchr::memchr(b' ', line)
}

fn request(method: Method, token: &[u8], uri_start: usize, uri_end: usize) -> StartLine {
    StartLine::Request {
        method,
        method_token: (0, token.len() as u32),
        uri: (uri_start as u32, uri_end as u32),
    }
}

/// A request line of another version, or one whose parts are still recognisable.
#[cold]
fn odd_request_line(line: &[u8]) -> Result<(StartLine, Option<SyntaxFault>), PeerMisbehaved> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().rposition(|b| !is_space(b)).map_or(0, |last| last + 1);
    let trimmed = line.get(..end).unwrap_or(&[]);
    let last_space = trimmed.iter().rposition(is_space).ok_or(PeerMisbehaved::NotSip)?;
    let version = trimmed.get(last_space + 1..).unwrap_or(&[]);
    let token_len = line.iter().position(is_space).ok_or(PeerMisbehaved::NotSip)?;
    let token = line.get(..token_len).unwrap_or(&[]);
    let number = version.get(4..).unwrap_or(&[]);
    let is_version = version.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/"))
        && number.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    if !is_version || !TOKEN.is_all(token) {
        return Err(PeerMisbehaved::NotSip);
    }
    let between = line.get(token_len..last_space).unwrap_or(&[]);
    let from = between.iter().position(|b| !is_space(b)).unwrap_or(between.len());
    let to = between.iter().rposition(|b| !is_space(b)).map_or(from, |last| last + 1);
    let start = request(Method::of(token), token, token_len + from, token_len + to);
    let uri = between.get(from..to).unwrap_or(&[]);
    // Two single spaces and a version in lower case: that is how RFC 3261 section 7.1 may be read.
    let is_plain = from == 1
        && to == between.len()
        && end == line.len()
        && !line.contains(&b'\t')
        && !uri.is_empty()
        && !uri.iter().any(is_space);
    let fault = match (number == b"2.0", is_plain) {
        (true, true) => None,
        (true, false) => Some(SyntaxFault::RequestLine),
        (false, _) => Some(SyntaxFault::Version),
    };
    Ok((start, fault))
}

fn status_line(line: &[u8]) -> (StartLine, Option<SyntaxFault>) {
    // Peers that have no phrase to say leave out the space behind the code too.
    let code = match line {
        [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            b' ',
            a @ b'1'..=b'6',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            rest @ ..,
        ] if matches!(rest.first(), None | Some(b' ')) => {
            let digit = |byte: &u8| u16::from(*byte - b'0');
            digit(a) * 100 + digit(b) * 10 + digit(c)
        }
        _ => 0,
    };
    let fault = if !line.get(..8).is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/2.0 ")) {
        Some(SyntaxFault::Version)
    } else if code == 0 {
        Some(SyntaxFault::StatusLine)
    } else {
        None
    };
    let end = line.len();
    let reason = (end.min(12) as u32, end as u32);
    (StartLine::Response { status: code, reason }, fault)
}

/// Returns whether `start`, the beginning of a line whose end is not there, may become one.
pub(super) fn may_begin(start: &[u8]) -> bool {
    let word_end = memchr::memchr(b' ', start).unwrap_or(start.len());
    let word = start.get(..word_end).unwrap_or(&[]);
    let is_token = word.iter().all(|&byte| TOKEN.has(byte) || byte == b'/');
    !word.is_empty() && is_token
}
