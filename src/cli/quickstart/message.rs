//! SIP text as the quickstart's own servers write and read it.
//!
//! Deliberately not [`crate::sip`]: a server that shares the edge's reader would share its
//! mistakes. It reads what the edge sends and what it wrote itself, and no torture test.

use std::fmt::Write;

use anyhow::{Context, bail, ensure};

const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Request line or status line.
    pub(super) start: String,
    headers: Vec<(String, String)>,
    /// The body; its length goes to Content-Length when the message is written.
    pub(super) body: String,
}

impl Message {
    /// Begins a request.
    pub(super) fn request(method: &str, uri: &str) -> Self {
        let start = format!("{method} {uri} SIP/2.0");
        Self { start, headers: Vec::new(), body: String::new() }
    }

    /// Begins a response that copies what RFC 3261 section 8.2.6.2 says must be copied, and the
    /// Record-Route of section 12.1.1.
    pub(super) fn response(request: &Self, status: u16, reason: &str, to_tag: &str) -> Self {
        let start = format!("SIP/2.0 {status} {reason}");
        let mut response = Self { start, headers: Vec::new(), body: String::new() };
        for (name, value) in &request.headers {
            let copied = ["Via", "From", "Call-ID", "CSeq", "Record-Route"];
            if copied.iter().any(|c| c.eq_ignore_ascii_case(name)) {
                response.add(name, value);
            } else if name.eq_ignore_ascii_case("To") {
                match tag(value) {
                    Some(_) => response.add("To", value),
                    None => response.add("To", &format!("{value};tag={to_tag}")),
                }
            }
        }
        response
    }

    /// Appends a header.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Puts a header before all others.
    pub(super) fn add_first(&mut self, name: &str, value: &str) {
        self.headers.insert(0, (name.to_owned(), value.to_owned()));
    }

    /// Sets the body and its type.
    pub(super) fn set_body(&mut self, content_type: &str, body: &str) {
        self.add("Content-Type", content_type);
        body.clone_into(&mut self.body);
    }

    /// Returns the first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns every value of a header, with lists of several in one line taken apart.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name));
        lines.flat_map(|(_, value)| split_list(value)).collect()
    }

    /// Returns the status of a response.
    pub(super) fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Returns the method of a request, or of the request that a response answers.
    pub(super) fn method(&self) -> &str {
        match self.status() {
            None => self.start.split(' ').next().unwrap_or_default(),
            Some(_) => self.header("CSeq").and_then(|c| c.split(' ').nth(1)).unwrap_or_default(),
        }
    }

    /// Returns what tells the message's transaction from others of the two parties.
    pub(super) fn transaction(&self) -> (&str, &str) {
        (self.header("Call-ID").unwrap_or_default(), self.header("CSeq").unwrap_or_default())
    }

    /// Returns the branch of the topmost Via.
    pub(super) fn branch(&self) -> Option<&str> {
        parameter(self.list("Via").first()?, "branch")
    }

    /// Returns the hosts of all Vias, topmost first.
    pub(super) fn via_hosts(&self) -> Vec<&str> {
        let host = |via: &'_ str| -> Option<(usize, usize)> {
            let from = via.find(' ')? + 1;
            let length = via[from..].find([':', ';']).unwrap_or(via.len() - from);
            Some((from, from + length))
        };
        let vias = self.list("Via").into_iter();
        vias.filter_map(|via| host(via).and_then(|(from, to)| via.get(from..to))).collect()
    }

    /// Returns the bytes of the message.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body);
        text.into_bytes()
    }

    /// Reads one message from the beginning of `input` and tells how long it was; `None` while it
    /// is not whole.
    pub(super) fn read(input: &[u8]) -> anyhow::Result<Option<(Self, usize)>> {
        let Some(head_end) = memchr::memmem::find(input, b"\r\n\r\n") else {
            ensure!(input.len() <= HEAD_BYTES_MAX, "a head of more than {HEAD_BYTES_MAX} bytes");
            return Ok(None);
        };
        let head = std::str::from_utf8(&input[..head_end]).context("a head that is no text")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        let mut body_bytes = 0;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                bail!("a header line without a colon: {line}");
            };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("Content-Length") {
                body_bytes = value.parse().context("Content-Length")?;
            } else {
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
        ensure!(body_bytes <= BODY_BYTES_MAX, "a body of {body_bytes} bytes");
        let total = head_end + 4 + body_bytes;
        let Some(body) = input.get(head_end + 4..total) else { return Ok(None) };
        let body = String::from_utf8(body.to_vec()).context("a body that is no text")?;
        Ok(Some((Self { start, headers, body }, total)))
    }
}

/// Returns the tag of a From or To value.
pub(super) fn tag(value: &str) -> Option<&str> {
    parameter(value.rsplit('>').next()?, "tag")
}

/// Returns the URI between angle brackets.
pub(super) fn uri(value: &str) -> &str {
    let inside = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(value, |(uri, _)| uri)
}

/// Returns a parameter of a value in which parameters follow semicolons.
pub(super) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let pairs = value.split(';').skip(1).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Takes a list apart at its commas, but not at those between angle brackets or quotes.
fn split_list(value: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut from) = (0_i32, false, 0);
    let mut values = Vec::new();
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'<' if !quoted => depth += 1,
            b'>' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                values.push(value[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    values.push(value[from..].trim());
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:bob@fabrikam.example SIP/2.0\r\n\
        Via: SIP/2.0/TLS sip.contoso.example:5061;branch=z9hG4bKedge, \
            SIP/2.0/TLS pool;branch=z9hG4bKp\r\n\
        Via: SIP/2.0/TLS 192.0.2.1:4711\r\n\
        Record-Route: <sip:a,b@x;lr>, <sip:c;lr>\r\n\
        from: <sip:alice@contoso.example>;tag=1\r\n\
        To: <sip:bob@fabrikam.example>\r\n\
        Call-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 4\r\n\r\nbodyNEXT";

    #[test]
    fn a_message_is_read_when_it_is_whole_and_not_before() {
        let whole = INVITE.len() - "NEXT".len();
        for cut in 0..whole {
            assert!(Message::read(&INVITE.as_bytes()[..cut]).unwrap().is_none());
        }
        let (message, length) = Message::read(INVITE.as_bytes()).unwrap().unwrap();
        assert_eq!((length, message.body.as_str()), (whole, "body"));
        assert_eq!(message.via_hosts(), ["sip.contoso.example", "pool", "192.0.2.1"]);
        assert_eq!(message.branch(), Some("z9hG4bKedge"));
        assert_eq!(message.list("Record-Route"), ["<sip:a,b@x;lr>", "<sip:c;lr>"]);
        assert_eq!(message.transaction(), ("c1", "1 INVITE"));
        let (again, _) = Message::read(&message.write()).unwrap().unwrap();
        assert_eq!(again, message);
    }

    #[test]
    fn a_response_copies_what_it_must_and_tags_to_once() {
        let (request, _) = Message::read(INVITE.as_bytes()).unwrap().unwrap();
        let response = Message::response(&request, 200, "OK", "b2");
        assert_eq!((response.status(), response.method()), (Some(200), "INVITE"));
        assert_eq!(response.list("Via"), request.list("Via"));
        assert_eq!(response.list("Record-Route"), request.list("Record-Route"));
        assert_eq!(tag(response.header("To").unwrap()), Some("b2"));
        let mut in_dialog = request.clone();
        in_dialog.headers.retain(|(name, _)| name != "To");
        in_dialog.add("To", "<sip:bob@fabrikam.example;x=1>;tag=b1");
        let response = Message::response(&in_dialog, 200, "OK", "b2");
        assert_eq!(tag(response.header("To").unwrap()), Some("b1"));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(Message::read(b"X y SIP/2.0\r\nno colon\r\n\r\n").is_err());
        assert!(Message::read(b"X y SIP/2.0\r\nContent-Length: x\r\n\r\n").is_err());
        assert!(Message::read(&vec![b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
