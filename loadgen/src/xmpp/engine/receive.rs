//! What comes back: stanzas and requests that came out at the far side, answers, reports of a link.

use super::super::Across;
use super::super::stream::{Kind, Stream, Then, Tls};
use super::super::units::Mark;
use super::super::xml::{self, Cut};
use super::{Engine, Link, RETRY_NS};
use crate::net::{ConnId, Ended, Handler, Net, Role, Side};
use crate::options::Inner;
use crate::sip::{self, Message, Name};
use crate::traffic::compose::Branch;

impl Engine<'_> {
    /// Shows the first of what arrived.
    fn show(&mut self, bytes: &[u8]) {
        if self.options.show && self.shown < 4 {
            self.shown += 1;
            eprintln!("--- received\n{}", String::from_utf8_lossy(bytes));
        }
    }

    /// A stanza or MESSAGE came out at the far side, or an error came back.
    pub(super) fn arrived(&mut self, bytes: &[u8]) {
        let Some(mark) = Mark::find(bytes) else { return };
        if bytes.starts_with(b"<") && xml::attribute(bytes, "type") == Some(b"error") {
            let words = String::from_utf8_lossy(bytes);
            let condition = words.split_once("<error").map_or("error", |(_, rest)| rest);
            let condition: String = condition.chars().take(120).collect();
            return self.finish(mark, Err(format!("bounced: {condition}")));
        }
        self.finish(mark, Ok(()));
    }

    /// The link told what became of a stanza; delivery itself is seen at the partner's end.
    fn reported(&mut self, element: &[u8]) {
        let number = xml::attribute(element, "n").and_then(|n| std::str::from_utf8(n).ok());
        let mark = number.and_then(|n| self.numbers.remove(&n.parse().ok()?));
        if let (Some(mark), b"bounced") = (mark, xml::name(element)) {
            let words: String = String::from_utf8_lossy(element).chars().take(160).collect();
            self.finish(mark, Err(format!("bounced: {words}")));
        }
    }

    /// Does what an element means; returns false if the connection was ended over it.
    fn take(&mut self, net: &mut Net, conn: ConnId, element: &[u8]) -> bool {
        let Some(stream) = self.streams.get_mut(&conn) else { return false };
        let mut out = Vec::new();
        let then = stream.element(element, &mut out);
        if stream.kind == Kind::Link && then == Then::Stanza {
            stream.note_done(element);
        }
        if !out.is_empty() {
            net.send(conn, &out);
        }
        match then {
            Then::Nothing => {}
            Then::Stanza => self.stanza(net, element),
            Then::Report => self.reported(element),
            Then::Ready => self.stream_ready(conn),
            Then::Refused(words) => {
                net.refuse(conn, &words, self);
                return false;
            }
            Then::StartTls => {
                let side = match self.streams.get(&conn).map(|stream| stream.kind) {
                    Some(Kind::Accepted) => Side::Server(&self.partner_server),
                    _ => Side::Client(&self.partner, &self.name),
                };
                if let Err(error) = net.start_tls(conn, &side) {
                    net.refuse(conn, &error.to_string(), self);
                    return false;
                }
            }
        }
        true
    }

    /// Tells an edge that it need not keep what has come by its link.
    fn say_done(&mut self, net: &mut Net, conn: ConnId) {
        let mut out = Vec::new();
        if let Some(stream) = self.streams.get_mut(&conn) {
            stream.push_done(&mut out);
        }
        if !out.is_empty() {
            net.send(conn, &out);
        }
    }

    fn stanza(&mut self, net: &mut Net, element: &[u8]) {
        self.show(element);
        if self.across == Across::Gateway && xml::name(element) == b"presence" {
            return self.presence_arrived(net, element);
        }
        self.arrived(element);
    }

    /// A request was answered for good.
    fn answered(&mut self, net: &mut Net, status: u16, response: &Message<'_>) {
        let branch = response.first(Name::Via).and_then(sip::branch).and_then(Branch::parse);
        match branch {
            Some(branch) => {
                let cseq = response.first(Name::CSeq).unwrap_or_default();
                let method = cseq.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                self.subscription_answered(net, (method, branch), status, response);
            }
            None if status >= 300 => {
                if let Some(mark) = Mark::find(response.bytes()) {
                    self.finish(mark, Err(format!("answered with {status}")));
                }
            }
            None => {}
        }
    }

    /// A request of the server under test.
    fn requested(&mut self, net: &mut Net, conn: ConnId, request: &Message<'_>) {
        if request.method() == b"SUBSCRIBE" {
            return self.subscribed(net, conn, request);
        }
        let mut answer = b"SIP/2.0 200 OK\r\n".to_vec();
        for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
            request.copy_lines(name, &mut answer);
        }
        answer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        net.send(conn, &answer);
        match request.method() {
            b"MESSAGE" => self.arrived(request.bytes()),
            b"NOTIFY" => self.notified(net, request),
            _ => {}
        }
    }

    fn stream_ready(&mut self, conn: ConnId) {
        match self.streams.get(&conn).map(|stream| stream.kind) {
            Some(Kind::Partner(index)) => {
                self.links[index].ready = true;
                self.opening = self.opening.saturating_sub(1);
                self.held += 1;
                self.completed += u64::from(self.options.inner() == Inner::None);
            }
            Some(Kind::Link | Kind::Component) => self.inside.ready = true,
            Some(Kind::Accepted) | None => {}
        }
    }
}

impl Handler for Engine<'_> {
    fn established(&mut self, net: &mut Net, conn: ConnId, role: Role) {
        let suite = net.suite(conn);
        let tls = if suite.is_some() { Tls::Yes } else { Tls::No };
        if self.suite.is_none() {
            self.suite = suite;
        }
        match role {
            Role::Internal(_) => self.inside.ready = true,
            Role::AcceptedStream => {
                let stream =
                    self.streams.entry(conn).or_insert_with(|| Stream::new(Kind::Accepted, "", ""));
                stream.established(tls, &mut Vec::new());
            }
            Role::Stream(_) | Role::Inner(_) => {
                let Some(stream) = self.streams.get_mut(&conn) else { return };
                let mut out = Vec::new();
                stream.established(tls, &mut out);
                net.send(conn, &out);
            }
            Role::Partner(_) | Role::Accepted | Role::Client(_) => {}
        }
    }

    fn elements(&mut self, net: &mut Net, conn: ConnId, bytes: &[u8]) -> usize {
        let mut done = 0;
        loop {
            let rest = bytes.get(done..).unwrap_or_default();
            match xml::cut(rest) {
                Cut::NeedMore => {
                    self.say_done(net, conn);
                    return done;
                }
                Cut::Skip(length) => done += length,
                Cut::Close(length) => {
                    net.finish(conn);
                    return done + length;
                }
                Cut::Open(length) => {
                    let mut out = Vec::new();
                    if let Some(stream) = self.streams.get_mut(&conn) {
                        stream.opened(&rest[..length], &self.options.secret, &mut out);
                    }
                    if !out.is_empty() {
                        net.send(conn, &out);
                    }
                    done += length;
                }
                Cut::Element(length) => {
                    net.counters.messages += 1;
                    if !self.take(net, conn, &rest[..length]) {
                        return bytes.len();
                    }
                    done += length;
                }
            }
        }
    }

    fn message(&mut self, net: &mut Net, conn: ConnId, message: Message<'_>) {
        match message.status() {
            Some(100..=199) => {}
            Some(status) => self.answered(net, status, &message),
            None => {
                self.show(message.bytes());
                self.requested(net, conn, &message);
            }
        }
    }

    fn ended(&mut self, _net: &mut Net, conn: ConnId, role: Role, why: Ended) {
        self.streams.remove(&conn);
        if why != Ended::Closed {
            self.last_failure = why.kind();
        }
        let again_ns = self.clock.now_ns() + RETRY_NS;
        match role {
            Role::Stream(index) => {
                let link = &mut self.links[index as usize];
                if link.ready {
                    self.held = self.held.saturating_sub(1);
                } else {
                    self.opening = self.opening.saturating_sub(1);
                }
                *link = Link { role, conn: None, ready: false, retry_at_ns: again_ns };
                self.last_failure = why.kind();
            }
            Role::Inner(_) | Role::Internal(_) => {
                self.inside = Link { role, conn: None, ready: false, retry_at_ns: again_ns };
                self.last_failure = format!("the inside: {}", why.kind());
                self.numbers.clear();
            }
            _ => {}
        }
    }
}
