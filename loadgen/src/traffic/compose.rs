//! The messages the generator writes.

use crate::sip::{MAGIC, Message, Name, push_decimal, push_hex, push_padded_body, split, uri};

/// Fills instant messages up to their size.
const TEXT: &[u8] =
    b"Hi Bob, are we still on for the review at three? I moved the deck to the team share. ";
/// An offer as unified-communications clients make it; ends where padding may follow.
const SDP: &[u8] = b"v=0\r\no=- 0 0 IN IP4 203.0.113.20\r\ns=session\r\nc=IN IP4 203.0.113.20\r\n\
b=CT:99980\r\nt=0 0\r\nm=audio 52344 RTP/SAVP 117 104 114 9 8 0 97 101\r\na=ice-ufrag:kA7q\r\n\
a=ice-pwd:Xk4p9vZtR1mYw8uH3sLbQ0\r\n\
a=candidate:1 1 UDP 2130706431 10.20.30.40 24680 typ host\r\n\
a=candidate:3 1 UDP 16648703 203.0.113.20 52344 typ relay raddr 198.51.100.7 rport 51002\r\n\
a=rtcp:53911\r\na=rtpmap:104 SILK/16000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n";
/// A presence document around a note, which takes the padding.
const PIDF_OPEN: &[u8] = b"<?xml version=\"1.0\"?>\n\
<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:bob@fabrikam.example\">\
<tuple id=\"t1\"><status><basic>open</basic></status></tuple><note>";
const PIDF_CLOSE: &[u8] = b"</note></presence>";
/// How a SUBSCRIBE to presence ends.
const SUBSCRIBE: &[u8] = b"Event: presence\r\nAccept: application/pidf+xml\r\n\
Expires: 3600\r\nContent-Length: 0\r\n\r\n";
const AGENT: &[u8] = b"User-Agent: UCCAPI/16.0.10730.20053 OC/16.0.10730.20053\r\n";

/// Ties a response to its transaction: our Via branch in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Place in the transaction table.
    pub(crate) slot: u32,
    /// Distinguishes successive users of the place.
    pub(crate) serial: u32,
}

impl Branch {
    fn push(self, into: &mut Vec<u8>) {
        into.extend_from_slice(MAGIC);
        push_hex(into, u64::from(self.slot), 8);
        push_hex(into, u64::from(self.serial), 8);
    }

    /// Reads a branch of ours back.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let digits = std::str::from_utf8(text.strip_prefix(MAGIC)?).ok()?;
        if digits.len() != 16 {
            return None;
        }
        let value = u64::from_str_radix(digits, 16).ok()?;
        Some(Self { slot: (value >> 32) as u32, serial: value as u32 })
    }
}

/// A user as a request names it.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    /// `sip:user@domain`
    pub(crate) uri: String,
    /// Where its requests go.
    pub(crate) contact: String,
}

/// What a request outside any dialog is made of.
pub(crate) struct Initial<'a> {
    /// Method.
    pub(crate) method: &'a str,
    /// Request-URI.
    pub(crate) uri: &'a str,
    /// Our Via sent-by.
    pub(crate) sent_by: &'a str,
    /// Our Via branch.
    pub(crate) branch: Branch,
    /// Sender.
    pub(crate) from: &'a Party,
    /// Recipient's `sip:user@domain`.
    pub(crate) to: &'a str,
    /// Distinguishes runs, so that no Call-ID comes twice.
    pub(crate) run: u64,
}

impl Initial<'_> {
    fn push_head(&self, into: &mut Vec<u8>) {
        push_start(into, self.method.as_bytes(), self.uri.as_bytes(), self.sent_by, self.branch);
        into.extend_from_slice(b"From: \"Alice\" <");
        into.extend_from_slice(self.from.uri.as_bytes());
        into.extend_from_slice(b">;tag=");
        push_hex(into, u64::from(self.branch.serial), 8);
        into.extend_from_slice(b";epid=3f2a9c01de\r\nTo: <");
        into.extend_from_slice(self.to.as_bytes());
        into.extend_from_slice(b">\r\nCall-ID: ");
        push_hex(into, self.run, 16);
        push_hex(into, u64::from(self.branch.slot), 8);
        push_hex(into, u64::from(self.branch.serial), 8);
        into.extend_from_slice(b"\r\nCSeq: 1 ");
        into.extend_from_slice(self.method.as_bytes());
        into.extend_from_slice(b"\r\n");
        push_contact(into, &self.from.contact);
        into.extend_from_slice(AGENT);
        into.extend_from_slice(b"Supported: timer, ms-safe-transfer\r\n");
    }

    /// Writes a MESSAGE of `bytes` in all.
    pub(crate) fn push_message(&self, into: &mut Vec<u8>, bytes: usize) {
        let start = into.len();
        self.push_head(into);
        into.extend_from_slice(
            b"Ms-Conversation-ID: AdT5oP2mVfX1xv7XQ0y5g0qkqk6w1w==\r\n\
            Content-Type: text/plain; charset=UTF-8\r\n",
        );
        push_padded_body(into, start, bytes, TEXT);
    }

    /// Writes an INVITE with an offer.
    pub(crate) fn push_invite(&self, into: &mut Vec<u8>) {
        self.push_head(into);
        into.extend_from_slice(
            b"Allow: INVITE, BYE, ACK, CANCEL, INFO, UPDATE, REFER, NOTIFY, BENOTIFY, OPTIONS\r\n\
            Session-Expires: 1800\r\nContent-Type: application/sdp\r\n",
        );
        push_body(into, SDP);
    }

    /// Writes a SUBSCRIBE to presence.
    pub(crate) fn push_subscribe(&self, into: &mut Vec<u8>) {
        self.push_head(into);
        into.extend_from_slice(SUBSCRIBE);
    }
}

/// One side of a dialog, ready to send within it.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    call_id: Vec<u8>,
    local: Vec<u8>,
    remote: Vec<u8>,
    target: Vec<u8>,
    routes: Vec<u8>,
    cseq: u32,
}

impl Dialog {
    /// The side that asked, from the 2xx it got (RFC 3261 section 12.1.2).
    pub(crate) fn of_caller(response: &Message<'_>) -> Option<Self> {
        let (local, remote) = (response.first(Name::From)?, response.first(Name::To)?);
        let mut routes = record_routes(response);
        routes.reverse();
        Self::new(response, local.to_vec(), remote.to_vec(), &routes, 1)
    }

    /// The side that was asked, from the request and the tag it answered with (12.1.1).
    pub(crate) fn of_callee(request: &Message<'_>, tag: &[u8]) -> Option<Self> {
        let (remote, mut local) = (request.first(Name::From)?, request.first(Name::To)?.to_vec());
        local.extend_from_slice(b";tag=");
        local.extend_from_slice(tag);
        Self::new(request, local, remote.to_vec(), &record_routes(request), 0)
    }

    fn new(
        message: &Message<'_>,
        local: Vec<u8>,
        remote: Vec<u8>,
        route_set: &[&[u8]],
        cseq: u32,
    ) -> Option<Self> {
        let mut routes = Vec::new();
        for route in route_set {
            routes.extend_from_slice(b"Route: ");
            routes.extend_from_slice(route);
            routes.extend_from_slice(b"\r\n");
        }
        let call_id = message.first(Name::CallId)?.to_vec();
        let target = uri(message.first(Name::Contact)?).to_vec();
        Some(Self { call_id, local, remote, target, routes, cseq })
    }

    fn push_head(&self, into: &mut Vec<u8>, method: &str, sent_by: &str, branch: Branch) {
        push_start(into, method.as_bytes(), &self.target, sent_by, branch);
        into.extend_from_slice(&self.routes);
        for (name, value) in
            [("From: ", &self.local), ("To: ", &self.remote), ("Call-ID: ", &self.call_id)]
        {
            into.extend_from_slice(name.as_bytes());
            into.extend_from_slice(value);
            into.extend_from_slice(b"\r\n");
        }
        into.extend_from_slice(b"CSeq: ");
        push_decimal(into, u64::from(self.cseq));
        into.push(b' ');
        into.extend_from_slice(method.as_bytes());
        into.extend_from_slice(b"\r\n");
        into.extend_from_slice(AGENT);
    }

    /// Writes the head of the next request of the dialog, which says where we are.
    fn push_within(
        &mut self,
        into: &mut Vec<u8>,
        method: &str,
        sent_by: &str,
        branch: Branch,
        contact: &str,
    ) {
        self.cseq += 1;
        self.push_head(into, method, sent_by, branch);
        push_contact(into, contact);
    }

    /// Writes the ACK to a 2xx: the INVITE's own CSeq number (13.2.2.4).
    pub(crate) fn push_ack(&self, into: &mut Vec<u8>, sent_by: &str, branch: Branch) {
        self.push_head(into, "ACK", sent_by, branch);
        push_body(into, b"");
    }

    /// Writes a BYE.
    pub(crate) fn push_bye(&mut self, into: &mut Vec<u8>, sent_by: &str, branch: Branch) {
        self.cseq += 1;
        self.push_head(into, "BYE", sent_by, branch);
        push_body(into, b"");
    }

    /// Writes a SUBSCRIBE that refreshes.
    pub(crate) fn push_refresh(
        &mut self,
        into: &mut Vec<u8>,
        sent_by: &str,
        branch: Branch,
        contact: &str,
    ) {
        self.push_within(into, "SUBSCRIBE", sent_by, branch, contact);
        into.extend_from_slice(SUBSCRIBE);
    }

    /// Writes a NOTIFY of `bytes` in all, padded in the note of its presence document, which
    /// begins with `note` whatever that makes of the size.
    pub(crate) fn push_notify(
        &mut self,
        into: &mut Vec<u8>,
        sent_by: &str,
        branch: Branch,
        contact: &str,
        (note, bytes): (&[u8], usize),
    ) {
        let start = into.len();
        self.push_within(into, "NOTIFY", sent_by, branch, contact);
        into.extend_from_slice(
            b"Event: presence\r\nSubscription-State: active;expires=3600\r\n\
            Content-Type: application/pidf+xml\r\n",
        );
        let markup = PIDF_OPEN.len() + PIDF_CLOSE.len();
        let head = into.len() - start + "Content-Length: 000\r\n\r\n".len();
        let length = bytes.saturating_sub(head + markup).max(note.len());
        into.extend_from_slice(b"Content-Length: ");
        push_decimal(into, (markup + length) as u64);
        into.extend_from_slice(b"\r\n\r\n");
        into.extend_from_slice(PIDF_OPEN);
        into.extend_from_slice(note);
        into.resize(into.len() + length - note.len(), b'.');
        into.extend_from_slice(PIDF_CLOSE);
    }

    /// Writes the NOTIFY that ends a subscription.
    pub(crate) fn push_last_notify(
        &mut self,
        into: &mut Vec<u8>,
        sent_by: &str,
        branch: Branch,
        contact: &str,
    ) {
        self.push_within(into, "NOTIFY", sent_by, branch, contact);
        into.extend_from_slice(
            b"Event: presence\r\nSubscription-State: terminated;reason=timeout\r\n",
        );
        push_body(into, b"");
    }
}

fn push_contact(into: &mut Vec<u8>, contact: &str) {
    into.extend_from_slice(b"Contact: <");
    into.extend_from_slice(contact.as_bytes());
    into.extend_from_slice(b">\r\n");
}

fn record_routes<'a>(message: &Message<'a>) -> Vec<&'a [u8]> {
    message.all(Name::RecordRoute).flat_map(split).collect()
}

fn push_start(into: &mut Vec<u8>, method: &[u8], uri: &[u8], sent_by: &str, branch: Branch) {
    into.extend_from_slice(method);
    into.push(b' ');
    into.extend_from_slice(uri);
    into.extend_from_slice(b" SIP/2.0\r\nVia: SIP/2.0/TLS ");
    into.extend_from_slice(sent_by.as_bytes());
    into.extend_from_slice(b";branch=");
    branch.push(into);
    into.extend_from_slice(b"\r\nMax-Forwards: 70\r\n");
}

fn push_body(into: &mut Vec<u8>, body: &[u8]) {
    into.extend_from_slice(b"Content-Length: ");
    push_decimal(into, body.len() as u64);
    into.extend_from_slice(b"\r\n\r\n");
    into.extend_from_slice(body);
}

/// Writes the ACK to a final response other than 2xx: the request's own branch (17.1.1.3).
pub(crate) fn push_refusal_ack(
    into: &mut Vec<u8>,
    response: &Message<'_>,
    uri: &str,
    sent_by: &str,
    branch: Branch,
) {
    push_start(into, b"ACK", uri.as_bytes(), sent_by, branch);
    for name in [Name::From, Name::To, Name::CallId] {
        response.copy_lines(name, into);
    }
    into.extend_from_slice(b"CSeq: 1 ACK\r\n");
    push_body(into, b"");
}

/// What an answer is made of.
pub(crate) struct Answer<'a> {
    /// Code and reason.
    pub(crate) status: &'a str,
    /// Tag added to To where the request has none.
    pub(crate) tag: &'a [u8],
    /// Contact, which makes the answer establish a dialog: Record-Route is copied too.
    pub(crate) contact: Option<&'a str>,
    /// Further fields, each with CRLF.
    pub(crate) fields: &'a str,
    /// Whether an SDP answer goes with it.
    pub(crate) sdp: Sdp,
}

/// Whether a message carries a session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sdp {
    /// It does.
    With,
    /// It does not.
    Without,
}

impl Answer<'_> {
    /// Writes the answer to `request` (8.2.6).
    pub(crate) fn push(&self, into: &mut Vec<u8>, request: &Message<'_>) {
        into.extend_from_slice(b"SIP/2.0 ");
        into.extend_from_slice(self.status.as_bytes());
        into.extend_from_slice(b"\r\n");
        request.copy_lines(Name::Via, into);
        if self.contact.is_some() {
            request.copy_lines(Name::RecordRoute, into);
        }
        request.copy_lines(Name::From, into);
        let to = request.first(Name::To).unwrap_or_default();
        into.extend_from_slice(b"To: ");
        into.extend_from_slice(to);
        if crate::sip::tag(to).is_none() {
            into.extend_from_slice(b";tag=");
            into.extend_from_slice(self.tag);
        }
        into.extend_from_slice(b"\r\n");
        request.copy_lines(Name::CallId, into);
        request.copy_lines(Name::CSeq, into);
        if let Some(contact) = self.contact {
            push_contact(into, contact);
        }
        into.extend_from_slice(b"User-Agent: RTCC/6.0.0.0 UAS\r\n");
        into.extend_from_slice(self.fields.as_bytes());
        match self.sdp {
            Sdp::With => {
                into.extend_from_slice(b"Content-Type: application/sdp\r\n");
                push_body(into, SDP);
            }
            Sdp::Without => push_body(into, b""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Frame, frame};

    fn with_message<T>(bytes: &[u8], check: impl FnOnce(Message<'_>) -> T) -> T {
        let mut lines = Vec::new();
        match frame(bytes, &mut lines) {
            Frame::Message { length } if length == bytes.len() => {
                check(Message::new(bytes, &lines))
            }
            other => panic!("{other:?} of {}", String::from_utf8_lossy(bytes)),
        }
    }

    fn initial<'a>(method: &'a str, from: &'a Party) -> Initial<'a> {
        Initial {
            method,
            uri: "sip:bob@fabrikam.example",
            sent_by: "127.0.0.1:49152",
            branch: Branch { slot: 3, serial: 0xdead_beef },
            from,
            to: "sip:bob@fabrikam.example",
            run: 7,
        }
    }

    fn alice() -> Party {
        Party { uri: "sip:alice@contoso.example".into(), contact: "sip:alice@c;gruu".into() }
    }

    #[test]
    fn a_branch_is_read_back_from_the_answer() {
        let (alice, mut request, mut answer) = (alice(), Vec::new(), Vec::new());
        initial("MESSAGE", &alice).push_message(&mut request, 700);
        assert_eq!(request.len(), 700);
        with_message(&request, |request| {
            Answer { status: "200 OK", tag: b"t", contact: None, fields: "", sdp: Sdp::Without }
                .push(&mut answer, &request);
        });
        with_message(&answer, |answer| {
            let via = answer.first(Name::Via).and_then(crate::sip::branch).unwrap();
            assert_eq!(Branch::parse(via), Some(Branch { slot: 3, serial: 0xdead_beef }));
            assert_eq!(answer.first(Name::To).and_then(crate::sip::tag), Some(&b"t"[..]));
        });
    }

    #[test]
    fn s12_1_the_caller_reverses_the_record_routes_and_the_callee_does_not() {
        let (alice, mut request) = (alice(), Vec::new());
        initial("INVITE", &alice).push_invite(&mut request);
        let text = String::from_utf8(request).unwrap();
        let routed = text.replacen(
            "Max-Forwards",
            "Record-Route: <sip:a;lr>, <sip:b;lr>\r\nMax-Forwards",
            1,
        );
        let mut answer = Vec::new();
        let callee = with_message(routed.as_bytes(), |request| {
            Answer {
                status: "200 OK",
                tag: b"t",
                contact: Some("sip:bob@here"),
                fields: "",
                sdp: Sdp::With,
            }
            .push(&mut answer, &request);
            Dialog::of_callee(&request, b"t").unwrap()
        });
        let caller = with_message(&answer, |answer| Dialog::of_caller(&answer).unwrap());
        assert_eq!(callee.routes, b"Route: <sip:a;lr>\r\nRoute: <sip:b;lr>\r\n");
        assert_eq!(caller.routes, b"Route: <sip:b;lr>\r\nRoute: <sip:a;lr>\r\n");
        assert_eq!(caller.target, b"sip:bob@here");
        assert_eq!(callee.local, caller.remote);
    }

    #[test]
    fn requests_within_a_dialog_are_whole_and_counted_up() {
        let (alice, mut request) = (alice(), Vec::new());
        initial("SUBSCRIBE", &alice).push_subscribe(&mut request);
        let mut dialog =
            with_message(&request, |request| Dialog::of_callee(&request, b"t").unwrap());
        for cseq in 1..=2 {
            let mut notify = Vec::new();
            let branch = Branch { slot: 0, serial: cseq };
            let note = (&b"in a meeting"[..], 1000);
            dialog.push_notify(&mut notify, "127.0.0.1:1", branch, "sip:bob@here", note);
            assert_eq!(notify.len(), 1000);
            with_message(&notify, |notify| {
                assert_eq!(notify.method(), b"NOTIFY");
                let expected = format!("{cseq} NOTIFY");
                assert_eq!(notify.first(Name::CSeq), Some(expected.as_bytes()));
            });
        }
    }
}
