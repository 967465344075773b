//! Responses the edge makes itself (RFC 3261 section 8.2.6).

use super::message::Message;
use super::name::HeaderName;

/// Writes a response to `request`, without a body.
///
/// Copies every Via, From, To, Call-ID and CSeq that the request has, so that a request that is
/// not well formed gets an answer too; and Timestamp into a 100. Folds become spaces.
///
/// `to_tag`: put on a To that has no tag, except in a 100; nothing if empty. `extra_headers`:
/// whole lines with their CRLF.
pub fn write(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    status: u16,
    reason: &str,
    to_tag: &[u8],
    extra_headers: &[u8],
) {
    write_with(out, request, (status, reason), to_tag, extra_headers, b"");
}

/// Writes a response to `request` as [`write()`] does, with a body; what kind of body it is, one of
/// `extra_headers` says.
pub fn write_with(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    (status, reason): (u16, &str),
    to_tag: &[u8],
    extra_headers: &[u8],
    body: &[u8],
) {
    out.extend_from_slice(b"SIP/2.0 ");
    write_number(out, u32::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    copy(out, request, HeaderName::Via);
    copy(out, request, HeaderName::From);
    let had_tag = request.to().map_or(true, |to| to.tag().is_some());
    for field in request.all(HeaderName::To) {
        line_start(out, HeaderName::To);
        value(out, field.value);
        if status != 100 && !had_tag && !to_tag.is_empty() {
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(to_tag);
        }
        out.extend_from_slice(b"\r\n");
    }
    copy(out, request, HeaderName::CallId);
    copy(out, request, HeaderName::CSeq);
    if status == 100 {
        copy(out, request, HeaderName::Timestamp);
    }
    out.extend_from_slice(extra_headers);
    out.extend_from_slice(b"Content-Length: ");
    write_number(out, body.len() as u32);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

fn copy(out: &mut Vec<u8>, request: &Message<'_>, name: HeaderName) {
    for field in request.all(name) {
        line_start(out, name);
        value(out, field.value);
        out.extend_from_slice(b"\r\n");
    }
}

fn line_start(out: &mut Vec<u8>, name: HeaderName) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
}

/// Writes a value on one line: what a request that is not well formed smuggled in as a line break
/// does not become one of ours.
fn value(out: &mut Vec<u8>, value: &[u8]) {
    let from = out.len();
    out.extend_from_slice(value);
    if memchr::memchr2(b'\r', b'\n', value).is_some() {
        for byte in out.iter_mut().skip(from).filter(|byte| matches!(byte, b'\r' | b'\n')) {
            *byte = b' ';
        }
    }
}

/// Writes a decimal number.
pub fn write_number(out: &mut Vec<u8>, mut number: u32) {
    let mut digits = [0_u8; 10];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or(&[]));
}
