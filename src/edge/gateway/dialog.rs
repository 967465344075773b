//! Requests as they are written, and the dialogs they belong to (RFC 3261 section 12).

use crate::limits;
use crate::sip::{HeaderName, Message, NameAddr, Uri, reply};

/// What a request of ours begins with, kept of an INVITE for its ACK and CANCEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Request-URI.
    pub(super) uri: String,
    /// Values of Route.
    pub(super) routes: Vec<String>,
    /// The value of From.
    pub(super) from: String,
    /// The value of To.
    pub(super) to: String,
    pub(super) call_id: String,
    pub(super) cseq: u32,
}

/// What a request of ours carries beside its head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rest<'a> {
    /// Whole lines with their CRLF.
    pub(super) lines: &'a str,
    /// Type and bytes of the body.
    pub(super) body: Option<(&'a str, &'a [u8])>,
}

impl Head {
    /// Writes the request. `via`: the value of our Via.
    pub(super) fn write(&self, method: &str, via: &str, rest: Rest<'_>) -> Vec<u8> {
        let mut out = format!("{method} {} SIP/2.0\r\nVia: {via}\r\n", self.uri);
        for route in &self.routes {
            out.push_str("Route: ");
            out.push_str(route);
            out.push_str("\r\n");
        }
        let Self { from, to, call_id, cseq, .. } = self;
        out.push_str(&format!(
            "Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} \
             {method}\r\n"
        ));
        out.push_str(rest.lines);
        let mut out = out.into_bytes();
        write_body(rest.body, &mut out);
        out
    }
}

/// Appends what describes a body, the empty line, and the body.
pub(super) fn write_body(body: Option<(&str, &[u8])>, out: &mut Vec<u8>) {
    let (content_type, body) = body.unwrap_or_default();
    if !content_type.is_empty() {
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(content_type.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Content-Length: ");
    reply::write_number(out, u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// A dialog, the SIP user at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    pub(super) our_tag: String,
    /// Not there before the other side has said anything.
    pub(super) their_tag: Option<String>,
    /// The contact, whom we stand for.
    pub(super) our_uri: String,
    /// The SIP user.
    pub(super) their_uri: String,
    /// Where the next request goes: the other side's Contact.
    target: String,
    routes: Vec<String>,
    /// CSeq of our last request.
    cseq: u32,
    /// That of theirs.
    their_cseq: Option<u32>,
}

/// Whether a request within a dialog comes in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Next,
    Old,
}

impl Dialog {
    /// Returns what may become a dialog once a request of ours is answered.
    pub(super) fn begin(
        call_id: String,
        our_tag: String,
        our_uri: String,
        their_uri: String,
    ) -> Self {
        let target = their_uri.clone();
        Self {
            call_id,
            our_tag,
            their_tag: None,
            our_uri,
            their_uri,
            target,
            routes: Vec::new(),
            cseq: 0,
            their_cseq: None,
        }
    }

    /// Returns the dialog that a request of the other side begins. `None`: it lacks a tag, or its
    /// Contact cannot be written to.
    pub(super) fn of_request(request: &Message<'_>, our_tag: String) -> Option<Self> {
        let (from, to) = (request.from().ok()?, request.to().ok()?);
        Some(Self {
            call_id: text(request.call_id())?,
            our_tag,
            their_tag: Some(text(from.tag()?)?),
            our_uri: text(to.uri)?,
            their_uri: text(from.uri)?,
            target: contact_of(request)?,
            routes: record_routes(request),
            cseq: 0,
            their_cseq: request.cseq().ok().map(|cseq| cseq.number),
        })
    }

    /// Tells whether a request within a dialog is of this one.
    pub(super) fn is_of(&self, request: &Message<'_>) -> bool {
        let tag = request.from().ok().and_then(|from| from.tag());
        let known = self.their_tag.as_deref().map(str::as_bytes);
        request.call_id() == self.call_id.as_bytes() && (known.is_none() || known == tag)
    }

    /// Takes in what a request of the other side says of itself (RFC 3261 section 12.2.2).
    pub(super) fn heard(&mut self, request: &Message<'_>) -> Turn {
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        if self.their_cseq.is_some_and(|last| cseq < last) {
            return Turn::Old;
        }
        self.their_cseq = Some(cseq);
        if self.their_tag.is_none() {
            // A NOTIFY that comes before the answer to its SUBSCRIBE (RFC 6665 section 4.4.1).
            let tag = request.from().ok().and_then(|from| from.tag());
            self.their_tag = tag.and_then(text);
            self.routes = record_routes(request);
        }
        if let Some(target) = contact_of(request) {
            self.target = target;
        }
        Turn::Next
    }

    /// Takes in an answer below 300 to the request that began it, or a later one.
    pub(super) fn answered(&mut self, response: &Message<'_>) {
        if self.their_tag.is_none() {
            let tag = response.to().ok().and_then(|to| to.tag());
            self.their_tag = tag.and_then(text);
            self.routes = record_routes(response);
            self.routes.reverse();
        }
        if let Some(target) = contact_of(response) {
            self.target = target;
        }
    }

    /// Returns the head of the next request within the dialog, or of the one that begins it.
    pub(super) fn next(&mut self) -> Head {
        self.cseq += 1;
        self.head(self.cseq)
    }

    /// Returns the head of the ACK to a 2xx, which has the INVITE's CSeq (RFC 3261 section
    /// 13.2.2.4).
    pub(super) fn head(&self, cseq: u32) -> Head {
        let to = match &self.their_tag {
            Some(tag) => format!("<{}>;tag={tag}", self.their_uri),
            None => format!("<{}>", self.their_uri),
        };
        let (uri, routes) = self.way();
        Head {
            uri,
            routes,
            from: format!("<{}>;tag={}", self.our_uri, self.our_tag),
            to,
            call_id: self.call_id.clone(),
            cseq,
        }
    }

    /// Loose routing, or strict where the first hop asks for it (RFC 3261 section 12.2.1.1).
    fn way(&self) -> (String, Vec<String>) {
        let strict = self.routes.first().and_then(|first| {
            let address = NameAddr::parse(first.as_bytes()).ok()?;
            let uri = Uri::parse(address.uri).ok()?;
            if uri.param("lr").is_some() { None } else { text(address.uri) }
        });
        match strict {
            None => (self.target.clone(), self.routes.clone()),
            Some(first) => {
                let mut routes = self.routes.get(1..).unwrap_or_default().to_vec();
                routes.push(format!("<{}>", self.target));
                (first, routes)
            }
        }
    }
}

/// Returns text that may stand in a line of ours. `None`: it has line ends, or is no UTF-8.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

fn contact_of(message: &Message<'_>) -> Option<String> {
    let value = message.values(HeaderName::Contact).next()?;
    let contact = NameAddr::parse(value.bytes).ok()?;
    Uri::parse(contact.uri).ok()?;
    text(contact.uri)
}

/// Returns the Record-Route of a request as the answer that forms a dialog repeats it (RFC 3261
/// section 12.1.1).
pub(super) fn record_route_lines(request: &Message<'_>) -> String {
    record_routes(request).iter().map(|value| format!("Record-Route: {value}\r\n")).collect()
}

/// Folded values are left out, as are more than a message may have of them.
fn record_routes(message: &Message<'_>) -> Vec<String> {
    let values = message.values(HeaderName::RecordRoute).filter_map(|value| text(value.bytes));
    values.take(limits::SIP_ROUTES_MAX).collect()
}
