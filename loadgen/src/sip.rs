//! A small SIP reader and writer of the generator's own.
//!
//! It deliberately shares nothing with the server: a codec cannot find its own mistakes.

use memchr::{memchr, memmem};

/// Longest head the generator will look at; an edge that makes a longer one is at fault.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header lines of one message.
const LINES_MAX: usize = 512;
/// What every branch of RFC 3261 begins with.
pub(crate) const MAGIC: &[u8] = b"z9hG4bK";

/// Header fields the generator acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// Via, v
    Via,
    /// From, f
    From,
    /// To, t
    To,
    /// Call-ID, i
    CallId,
    /// CSeq
    CSeq,
    /// Record-Route
    RecordRoute,
    /// Contact, m
    Contact,
    /// Content-Length, l
    ContentLength,
    /// Expires
    Expires,
    /// Subscription-State
    SubscriptionState,
    /// Any other.
    Other,
}

impl Name {
    fn of(name: &[u8]) -> Self {
        let is = |long: &str| name.eq_ignore_ascii_case(long.as_bytes());
        match name.len() {
            1 => match name[0].to_ascii_lowercase() {
                b'v' => Self::Via,
                b'f' => Self::From,
                b't' => Self::To,
                b'i' => Self::CallId,
                b'm' => Self::Contact,
                b'l' => Self::ContentLength,
                _ => Self::Other,
            },
            2 if is("To") => Self::To,
            3 if is("Via") => Self::Via,
            4 if is("From") => Self::From,
            4 if is("CSeq") => Self::CSeq,
            7 if is("Call-ID") => Self::CallId,
            7 if is("Expires") => Self::Expires,
            7 if is("Contact") => Self::Contact,
            12 if is("Record-Route") => Self::RecordRoute,
            14 if is("Content-Length") => Self::ContentLength,
            18 if is("Subscription-State") => Self::SubscriptionState,
            _ => Self::Other,
        }
    }
}

/// One header field: where its line begins, its value, and where the line ends with CRLF.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    name: Name,
    start: usize,
    value: usize,
    end: usize,
}

/// What stands at the front of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// More bytes are needed.
    NeedMore,
    /// So many bytes of line ends between messages: a ping (4) or its answer (2).
    KeepAlive(usize),
    /// A whole message.
    Message {
        /// Bytes of head and body.
        length: usize,
    },
    /// Nothing that could be SIP.
    Garbage,
}

/// Finds the message at the front of `input`; leaves its header lines in `lines`.
pub(crate) fn frame(input: &[u8], lines: &mut Vec<Line>) -> Frame {
    lines.clear();
    let blank = input.iter().take(4).take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
    if blank > 0 {
        // A ping of four may still be on its way when two have come; two are the answer to one.
        return Frame::KeepAlive(blank);
    }
    let Some(first) = memchr(b'\n', input) else { return too_long(input) };
    let mut content_length = 0;
    let mut start = first + 1;
    loop {
        let rest = input.get(start..).unwrap_or_default();
        let Some(length) = memchr(b'\n', rest) else { return too_long(input) };
        let line = &rest[..length];
        let end = start + length + 1;
        if line.is_empty() || line == b"\r" {
            let length = end + content_length;
            return if input.len() < length { Frame::NeedMore } else { Frame::Message { length } };
        }
        if line[0] == b' ' || line[0] == b'\t' {
            if let Some(last) = lines.last_mut() {
                last.end = end;
            }
        } else {
            let Some(colon) = memchr(b':', line) else { return Frame::Garbage };
            let name = Name::of(line[..colon].trim_ascii());
            if name == Name::ContentLength {
                let Some(value) = number(line[colon + 1..].trim_ascii()) else {
                    return Frame::Garbage;
                };
                content_length = value;
            }
            if lines.len() == LINES_MAX {
                return Frame::Garbage;
            }
            lines.push(Line { name, start, value: start + colon + 1, end });
        }
        start = end;
    }
}

fn too_long(input: &[u8]) -> Frame {
    if input.len() > HEAD_BYTES_MAX { Frame::Garbage } else { Frame::NeedMore }
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse::<u32>().ok().map(|value| value as usize)
}

/// A whole message with its header lines.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    lines: &'a [Line],
}

impl<'a> Message<'a> {
    /// `bytes` and `lines` as [`frame`] found them.
    pub(crate) fn new(bytes: &'a [u8], lines: &'a [Line]) -> Self {
        Self { bytes, lines }
    }

    /// Returns the status code of a response, `None` for a request.
    pub(crate) fn status(&self) -> Option<u16> {
        let code = self.bytes.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
        std::str::from_utf8(code).ok()?.parse().ok()
    }

    /// Returns the first word: the method of a request.
    pub(crate) fn method(&self) -> &'a [u8] {
        let end = memchr(b' ', self.bytes).unwrap_or(0);
        &self.bytes[..end]
    }

    /// Returns the value of the first field of that name, without white space around it.
    pub(crate) fn first(&self, name: Name) -> Option<&'a [u8]> {
        self.lines.iter().find(|line| line.name == name).map(|line| self.value(line))
    }

    /// Returns the values of all fields of that name, in order.
    pub(crate) fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        let message = *self;
        self.lines.iter().filter(move |line| line.name == name).map(move |line| message.value(line))
    }

    /// Appends all lines of that name as they came.
    pub(crate) fn copy_lines(&self, name: Name, into: &mut Vec<u8>) {
        for line in self.lines.iter().filter(|line| line.name == name) {
            into.extend_from_slice(self.bytes.get(line.start..line.end).unwrap_or_default());
        }
    }

    /// Returns the whole message.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn value(&self, line: &Line) -> &'a [u8] {
        self.bytes.get(line.value..line.end).unwrap_or_default().trim_ascii()
    }
}

/// Returns the branch of a Via value.
pub(crate) fn branch(via: &[u8]) -> Option<&[u8]> {
    let start = memmem::find(via, b";branch=")? + 8;
    let rest = &via[start..];
    let end = rest.iter().position(|&byte| matches!(byte, b';' | b',' | b' ' | b'\r'));
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// Returns the tag parameter of a From or To value.
pub(crate) fn tag(address: &[u8]) -> Option<&[u8]> {
    let after_uri = memchr(b'>', address).map_or(address, |end| &address[end..]);
    let start = memmem::find(after_uri, b";tag=")? + 5;
    let rest = &after_uri[start..];
    let end = rest.iter().position(|&byte| matches!(byte, b';' | b' ' | b'\r'));
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// Returns the URI of a name-addr or addr-spec.
pub(crate) fn uri(address: &[u8]) -> &[u8] {
    match memchr(b'<', address) {
        Some(open) => {
            let rest = &address[open + 1..];
            &rest[..memchr(b'>', rest).unwrap_or(rest.len())]
        }
        None => &address[..memchr(b';', address).unwrap_or(address.len())],
    }
}

/// Splits a field value at the commas outside angle brackets and quotes.
pub(crate) fn split(value: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut start, mut in_uri, mut quoted) = (Vec::new(), 0, false, false);
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            b'"' if !in_uri => quoted = !quoted,
            b'<' if !quoted => in_uri = true,
            b'>' if !quoted => in_uri = false,
            b',' if !quoted && !in_uri => {
                parts.push(value[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(value[start..].trim_ascii());
    parts
}

/// Appends `value` as exactly `digits` lower-case hexadecimal digits.
pub(crate) fn push_hex(into: &mut Vec<u8>, value: u64, digits: u32) {
    for place in (0..digits).rev() {
        let nibble = (value >> (place * 4)) & 0xf;
        into.push(b"0123456789abcdef"[nibble as usize]);
    }
}

/// Appends `value` in decimal.
pub(crate) fn push_decimal(into: &mut Vec<u8>, value: u64) {
    let (mut digits, mut at, mut rest) = ([0_u8; 20], 20, value);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    into.extend_from_slice(&digits[at..]);
}

/// Ends the head with Content-Length and appends a body of text that fills `message` up to
/// `total` bytes counted from `start`, or none if it is that long already.
pub(crate) fn push_padded_body(message: &mut Vec<u8>, start: usize, total: usize, text: &[u8]) {
    const LENGTH_AND_BLANK: usize = "Content-Length: \r\n\r\n".len();
    let head = message.len() - start + LENGTH_AND_BLANK;
    // The digits of the length count too; one step suffices because a body only shrinks by them.
    let guess = total.saturating_sub(head + 1);
    let body = total.saturating_sub(head + decimal_digits(guess));
    message.extend_from_slice(b"Content-Length: ");
    push_decimal(message, body as u64);
    message.extend_from_slice(b"\r\n\r\n");
    let mut missing = body;
    while missing > 0 && !text.is_empty() {
        let piece = &text[..missing.min(text.len())];
        message.extend_from_slice(piece);
        missing -= piece.len();
    }
}

fn decimal_digits(value: usize) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"SIP/2.0 200 OK\r\n\
        v: SIP/2.0/TLS 127.0.0.1:1;branch=z9hG4bKabc;x=1\r\n\
        Via: SIP/2.0/TLS b\r\nTo: <sip:b@y;tag=no>;tag=t1\r\n\
        Record-Route: <sip:a;lr>,\r\n <sip:b;lr>\r\n\
        Content-Length: 4\r\n\r\nbodyNEXT";

    fn parse(input: &[u8]) -> (Vec<Line>, usize) {
        let mut lines = Vec::new();
        match frame(input, &mut lines) {
            Frame::Message { length } => (lines, length),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_ends_where_content_length_says() {
        let (lines, length) = parse(RESPONSE);
        let message = Message::new(&RESPONSE[..length], &lines);
        assert!(message.bytes().ends_with(b"body"));
        assert_eq!(message.status(), Some(200));
    }

    #[test]
    fn compact_and_folded_fields_are_read() {
        let (lines, length) = parse(RESPONSE);
        let message = Message::new(&RESPONSE[..length], &lines);
        let via = message.first(Name::Via).and_then(branch);
        assert_eq!(via, Some(&b"z9hG4bKabc"[..]));
        assert_eq!(message.all(Name::Via).count(), 2);
        assert_eq!(message.first(Name::To).and_then(tag), Some(&b"t1"[..]));
        let routes: Vec<_> = message.all(Name::RecordRoute).flat_map(split).map(uri).collect();
        assert_eq!(routes, [&b"sip:a;lr"[..], b"sip:b;lr"]);
    }

    #[test]
    fn every_cut_of_a_message_needs_more() {
        let (_, length) = parse(RESPONSE);
        for cut in 0..length {
            assert_eq!(frame(&RESPONSE[..cut], &mut Vec::new()), Frame::NeedMore, "cut at {cut}");
        }
    }

    #[test]
    fn line_ends_between_messages_are_keep_alives() {
        assert_eq!(frame(b"\r\n\r\nMESSAGE", &mut Vec::new()), Frame::KeepAlive(4));
        assert_eq!(frame(b"\r\nSIP", &mut Vec::new()), Frame::KeepAlive(2));
    }

    #[test]
    fn a_padded_message_has_the_length_asked_for() {
        for total in 60..1300 {
            let mut message = b"MESSAGE sip:b SIP/2.0\r\n".to_vec();
            push_padded_body(&mut message, 0, total, b"text ");
            // One byte is lost where the length gains a digit.
            assert!((total - 1..=total).contains(&message.len()), "{total} {}", message.len());
            let (_, length) = parse(&message);
            assert_eq!(length, message.len());
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        let mut text = Vec::new();
        push_decimal(&mut text, 0);
        push_decimal(&mut text, 1_000_000_000);
        push_hex(&mut text, 0xab, 4);
        assert_eq!(text, b"0100000000000ab");
    }
}
