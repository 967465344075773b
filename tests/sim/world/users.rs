//! Who is at the far ends: the users of both pools, and the stranger.

use entente::edge::Class;

use super::{Event, Faults, WORKLOAD_MS, World};
use crate::network::End;
use crate::organisation::{DOMAINS, pool_host};
use crate::pool::{Sent, Text, request};

impl World {
    /// A pool sends something.
    pub(super) fn work(&mut self, organisation: usize) {
        if self.agenda.now_ms > WORKLOAD_MS {
            return;
        }
        let delay = 20 + self.chance.below(300);
        self.agenda.after(delay, Event::Work { organisation });
        if self.pools[organisation].down_until_ms > self.agenda.now_ms {
            return;
        }
        let method = ["MESSAGE", "MESSAGE", "SUBSCRIBE", "BENOTIFY", "INVITE", "INVITE"]
            [usize::try_from(self.chance.below(6)).unwrap()];
        let blocked = self.chance.percent(8);
        let to = if blocked { 2 } else { 1 - organisation };
        // Several messages of one call now and then, so that order shows.
        let burst = if method == "MESSAGE" { 1 + self.chance.below(4) } else { 1 };
        let call_id = format!("call{}-{organisation}", self.next_id);
        for _ in 0..burst {
            self.originate(organisation, method, &call_id, to, &[]);
        }
        if method == "INVITE" && self.chance.percent(20) {
            self.cancel_last(organisation);
        }
    }

    fn originate(
        &mut self,
        organisation: usize,
        method: &'static str,
        call_id: &str,
        to: usize,
        routes: &[String],
    ) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let expected = (to < 2).then_some(to);
        let sent = Sent { id, method, call_id: call_id.to_owned(), to, acked: false };
        self.oracle.sent(id, method, call_id, expected);
        self.note(&format!("pool {organisation} sends {method} {id} to {}", DOMAINS[to]));
        let bytes = request(organisation, &sent, id, routes);
        self.pools[organisation].sent.insert(id, sent);
        let connection = self.way_out(organisation);
        self.write(connection, 0, &bytes);
        id
    }

    fn cancel_last(&mut self, organisation: usize) {
        let Some((_, sent)) = self.pools[organisation].sent.iter().next_back() else { return };
        let sent = Sent { method: "CANCEL", ..sent.clone() };
        self.oracle.cancelled(sent.id);
        let bytes = request(organisation, &sent, sent.id, &[]);
        let connection = self.way_out(organisation);
        self.write(connection, 0, &bytes);
    }

    /// The connection by which a pool reaches its edge.
    fn way_out(&mut self, organisation: usize) -> usize {
        if let Some(connection) = self.outbound[organisation] {
            return connection;
        }
        let hosts = [pool_host(organisation)];
        let edge = self.accept(organisation, Class::Internal, &hosts);
        let connection = self.join([End::Pool { organisation }, edge]);
        self.outbound[organisation] = Some(connection);
        connection
    }

    /// The blocked organisation tries under its own name and under another's.
    pub(super) fn stranger(&mut self) {
        if self.agenda.now_ms > WORKLOAD_MS {
            return;
        }
        self.agenda.after(700, Event::Stranger);
        let victim = usize::try_from(self.chance.below(2)).unwrap();
        let claimed = if self.chance.percent(50) { 2 } else { 1 - victim };
        let connection = match self.outbound[2] {
            Some(connection) => connection,
            None => {
                let hosts = [format!("sip.{}", DOMAINS[2])];
                let edge = self.accept(victim, Class::Federation, &hosts);
                let connection = self.join([End::Stranger, edge]);
                self.outbound[2] = Some(connection);
                connection
            }
        };
        let End::Edge { organisation, .. } = self.connections[connection].ends[1] else { return };
        self.next_id += 1;
        let id = self.next_id;
        let call_id = format!("stranger{id}");
        self.oracle.sent(id, "MESSAGE", &call_id, None);
        self.strangers.push(id);
        let sent = Sent { id, method: "MESSAGE", call_id, to: organisation, acked: false };
        let claimed = if claimed == organisation { 2 } else { claimed };
        let bytes = request(claimed, &sent, id, &[]);
        self.write(connection, 0, &bytes);
    }

    /// A pool or the stranger reads a message.
    pub(super) fn read(&mut self, connection: usize, side: usize, end: End, text: &Text) {
        let cseq = text.get("CSeq").unwrap_or_default();
        let (number, method) = cseq.split_once(' ').unwrap_or_default();
        let number: u64 = number.parse().expect("the edge keeps CSeq");
        match (text.status(), end) {
            (Some(status), _) if status < 200 || method == "CANCEL" => {}
            (Some(status), End::Pool { organisation }) => {
                self.note(&format!("pool {organisation} gets {status} for {method} {number}"));
                let own = format!("SIP/2.0/TLS {}:", pool_host(organisation));
                let via = text.get("Via").unwrap_or_default();
                assert!(via.starts_with(&own), "a response carries its request's Via: {via}");
                self.oracle.finished(number, status);
                if method == "INVITE" {
                    self.acknowledge(organisation, number, status, text);
                }
            }
            (Some(status), _) => self.oracle.finished(number, status),
            (None, End::Pool { organisation }) => {
                self.serve(connection, side, organisation, number, text);
            }
            (None, _) => panic!("nobody sends requests to a stranger: {}", text.first),
        }
    }

    fn acknowledge(&mut self, organisation: usize, invite: u64, status: u16, text: &Text) {
        let Some(sent) = self.pools[organisation].sent.get_mut(&invite) else { return };
        if std::mem::replace(&mut sent.acked, true) {
            return;
        }
        let sent = sent.clone();
        if status >= 300 {
            let ack = Sent { method: "ACK", ..sent };
            // Hop by hop, with the INVITE's own branch.
            let bytes = request(organisation, &ack, ack.id, &[]);
            let connection = self.way_out(organisation);
            return self.write(connection, 0, &bytes);
        }
        let routes: Vec<String> =
            text.all("Record-Route").into_iter().rev().map(ToOwned::to_owned).collect();
        for method in ["ACK", "MESSAGE", "MESSAGE", "BYE"] {
            self.originate(organisation, method, &sent.call_id, sent.to, &routes);
        }
    }

    /// The pool's users answer.
    fn serve(
        &mut self,
        connection: usize,
        side: usize,
        organisation: usize,
        number: u64,
        text: &Text,
    ) {
        let method = text.method().to_owned();
        let Some(id) = text.id() else {
            return self.hop_by_hop(connection, side, organisation, number, &method, text);
        };
        let trust = text.all("ms-edge-proxy-message-trust");
        let forged = trust.iter().filter(|value| value.contains("forged")).count();
        let trusted = trust.len() + 10 * forged;
        self.note(&format!("pool {organisation} receives {method} {id}"));
        self.oracle.delivered(id, organisation, trusted);
        if matches!(method.as_str(), "ACK" | "BENOTIFY") {
            return;
        }
        let mut delay = self.chance.below(60);
        if method == "INVITE" {
            self.pools[organisation].ringing.insert(number, text.clone());
            for (wait, status) in [(0, 100), (20, 180)] {
                self.answer(connection, side, wait, text, id, status);
            }
            delay += 60;
        }
        let unwell = self.faults == Faults::All;
        let status = match self.chance.below(100) {
            0..3 if unwell => return,
            3..6 if unwell => 503,
            6..12 => 486,
            12..15 => 404,
            _ => 200,
        };
        self.answer(connection, side, delay, text, id, status);
    }

    fn answer(
        &mut self,
        connection: usize,
        side: usize,
        delay: u64,
        text: &Text,
        id: u64,
        status: u16,
    ) {
        let bytes = text.answer(status);
        self.agenda.after(delay, Event::Answer { connection, side, bytes, id, status });
    }

    /// ACK to a failure and CANCEL, which the edge makes itself.
    fn hop_by_hop(
        &mut self,
        connection: usize,
        side: usize,
        organisation: usize,
        number: u64,
        method: &str,
        text: &Text,
    ) {
        match method {
            "ACK" => {}
            "CANCEL" => {
                let bytes = text.answer(200);
                self.write(connection, side, &bytes);
                self.note(&format!("pool {organisation} is asked to cancel {number}"));
            }
            other => panic!("the edge lost the number of a {other}"),
        }
    }
}
