//! What people do: our users behind the pool, contacts behind their servers, and a stranger.

use entente::edge::Class;

use super::inside::{PARTNERS, POOL, Who, names};
use super::oracle::mark;
use super::partner::{OURS, Opened, attribute, name};
use super::wires::End;
use super::{Event, WORKLOAD_MS, World};
use crate::pool::Text;
use crate::world::Faults;

impl World {
    pub(super) fn any_partner(&mut self) -> usize {
        usize::try_from(self.chance.below(PARTNERS.len() as u64)).expect("small")
    }

    /// Somebody writes to somebody.
    pub(super) fn write_something(&mut self) {
        if self.agenda.now_ms > WORKLOAD_MS {
            return;
        }
        let delay = 20 + self.chance.below(180);
        self.agenda.after(delay, Event::Write);
        let at = self.any_partner();
        match self.chance.below(10) {
            0..5 => self.user_writes(at),
            5 => self.user_watches(at),
            _ => self.contact_writes(at),
        }
    }

    fn user_writes(&mut self, at: usize) {
        let id = self.oracle.sends_out(at);
        let domain = PARTNERS[at].0;
        self.note(&format!("out{id} to {domain}"));
        let body = format!("out{id}. Hello");
        self.user_asks("MESSAGE", at, id, "Content-Type: text/plain\r\n", &body);
    }

    fn user_watches(&mut self, at: usize) {
        self.calls += 1;
        let lines = format!("Event: presence\r\nContact: <sip:kim@{POOL}>\r\nExpires: 120\r\n");
        // Numbers of messages are smaller.
        self.user_asks("SUBSCRIBE", at, 1_000_000 + self.calls, &lines, "");
    }

    fn user_asks(&mut self, method: &str, at: usize, number: u64, lines: &str, body: &str) {
        let domain = PARTNERS[at].0;
        let user = if method == "SUBSCRIBE" { number % 4 } else { 0 };
        let text = format!(
            "{method} sip:john{user}@{domain} SIP/2.0\r\n\
             Via: SIP/2.0/TLS {POOL}:5061;branch=z9hG4bKp{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:kim@{OURS}>;tag=t{number}\r\nTo: <sip:john{user}@{domain}>\r\n\
             Call-ID: call{number}\r\nCSeq: {number} {method}\r\n{lines}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let connection = match self.outbound {
            Some(connection) => connection,
            None => {
                let now = self.agenda.now();
                let class = (Class::Internal, None);
                let leg = self.inside.open(now, Who::Access, class, Some(names(&[POOL])));
                let connection = self.join([End::Pool, End::Core(Who::Access, leg)]);
                self.outbound = Some(connection);
                connection
            }
        };
        self.write(connection, 0, text.as_bytes());
    }

    /// The pool reads a message of the edge's or the gateway's.
    pub(super) fn pool_reads(&mut self, connection: usize, side: usize, text: &Text, body: &str) {
        let cseq = text.get("CSeq").unwrap_or_default();
        let (number, method) = cseq.split_once(' ').unwrap_or_default();
        if let Some(status) = text.status() {
            self.note(&format!("pool hears {status} to {method} {number}"));
            if status >= 200 && method == "MESSAGE" {
                let number = number.parse().expect("the edge keeps CSeq");
                self.note(&format!("out{number} is answered with {status}"));
                self.oracle.answered(number, status);
            }
            return;
        }
        let unwell = self.faults == Faults::All;
        let status = match text.method() {
            "ACK" | "BENOTIFY" => return,
            "MESSAGE" => {
                let id = mark(body, "in").expect("every message has its mark");
                self.note(&format!("in{id} arrives"));
                self.oracle.arrived_in(id);
                match self.chance.below(100) {
                    0..3 if unwell => return,
                    3..8 if unwell => 503,
                    8..15 if unwell => 480,
                    _ => 200,
                }
            }
            "SUBSCRIBE" => 403,
            _ => 200,
        };
        let delay = self.chance.below(60);
        let bytes = text.answer(status);
        self.agenda.after(delay, Event::Answer { connection, side, bytes });
    }

    fn contact_writes(&mut self, at: usize) {
        let id = self.oracle.sends_in(at);
        let domain = PARTNERS[at].0;
        self.note(&format!("in{id} from {domain}"));
        self.contact_says(at, message(domain, id));
        if self.is_troubled(at) {
            self.oracle.excuse_in(|partner| partner == at);
        }
    }

    /// A contact's server sends a stanza, or keeps it until it has a stream.
    pub(super) fn contact_says(&mut self, at: usize, stanza: String) {
        self.partners[at].outbox.push_back(stanza);
        self.talk(at);
    }

    /// A contact's server sends what it has, or sees to it that it can.
    pub(super) fn talk(&mut self, at: usize) {
        let now_ms = self.agenda.now_ms;
        let mute_ms = self.partners[at].mute_until_ms.saturating_sub(now_ms);
        if self.over || self.partners[at].outbox.is_empty() {
            return;
        }
        if mute_ms > 0 {
            return self.agenda.after(mute_ms, Event::Talk(at));
        }
        let ready = self.partners[at].ready();
        if ready.is_empty() {
            if !self.partners[at].talks() {
                self.partner_connects(at, Opened::ToTalk);
            }
            return;
        }
        while let Some(stanza) = self.partners[at].outbox.pop_front() {
            let chosen =
                ready[usize::try_from(self.chance.below(ready.len() as u64)).expect("small")];
            self.partner_writes(at, chosen, &stanza);
        }
    }

    pub(super) fn partner_writes(&mut self, at: usize, connection: usize, text: &str) {
        let held = &self.connections[connection];
        if let Some(side) = held.ends.iter().position(|end| *end == End::Partner(at)) {
            self.write(connection, side, text.as_bytes());
        }
    }

    /// A contact's server has a stanza.
    pub(super) fn contact_reads(&mut self, at: usize, stanza: &str) {
        let kind = attribute(stanza, "type").unwrap_or_default();
        let (from, to) = (attribute(stanza, "from"), attribute(stanza, "to"));
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        match (name(stanza), kind.as_str()) {
            ("message", "error") => {
                if let Some(id) = mark(stanza, "in") {
                    self.note(&format!("in{id} comes back: {stanza}"));
                    self.oracle.bounced_in(id);
                }
            }
            ("message", _) => {
                let id = mark(stanza, "out").expect("every message has its mark");
                self.note(&format!("out{id} arrives"));
                self.oracle.arrived_out(id, at);
            }
            ("presence", "subscribe") => {
                self.contact_says(
                    at,
                    format!("<presence from='{to}' to='{from}' type='subscribed'/>"),
                );
                let here =
                    format!("<presence from='{to}/x' to='{from}'><show>away</show></presence>");
                self.contact_says(at, here);
            }
            ("iq", "get") => {
                let id = attribute(stanza, "id").unwrap_or_default();
                self.contact_says(
                    at,
                    format!("<iq from='{to}' to='{from}' id='{id}' type='result'/>"),
                );
            }
            _ => {}
        }
    }

    /// Somebody who is no partner, or pretends to be one, tries.
    pub(super) fn stranger(&mut self) {
        if self.agenda.now_ms > WORKLOAD_MS {
            return;
        }
        let delay = 300 + self.chance.below(900);
        self.agenda.after(delay, Event::Stranger);
        let id = self.oracle.forges();
        let now = self.agenda.now();
        let (class, peer) = match self.chance.percent(50) {
            true => (Class::XmppDirectTls, Some(names(&["evil.example"]))),
            false => (Class::Xmpp, None),
        };
        let leg = self.inside.open(now, Who::Proxy, (class, None), peer);
        let connection = self.join([End::Stranger, End::Core(Who::Proxy, leg)]);
        let claimed = ["evil.example", PARTNERS[0].0, PARTNERS[1].0, PARTNERS[2].0];
        let claimed = claimed[usize::try_from(self.chance.below(4)).expect("small")];
        let header = format!(
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
             xmlns:db='jabber:server:dialback' from='{claimed}' to='{OURS}' version='1.0'>"
        );
        let proof = match self.chance.below(4) {
            0 => String::new(),
            1 => format!(
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>\
                 {header}"
            ),
            2 => format!("<db:result from='{claimed}' to='{OURS}'>guessed</db:result>"),
            _ => "<!DOCTYPE x [<!ENTITY a 'aaaa'>]>".to_owned(),
        };
        let text = format!("{header}{proof}{}", message(claimed, id));
        self.write(connection, 0, text.as_bytes());
        self.collect(Who::Proxy);
    }
}

/// A message of a contact's.
pub(super) fn message(domain: &str, id: u64) -> String {
    format!(
        "<message from='john0@{domain}/x' to='kim@{OURS}' id='in{id}.' type='chat'>\
         <body>in{id}. Hi</body></message>"
    )
}
