//! Connections, and what a shell does for its core: bytes carried, commands run, names resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use entente::dns::{Answer, Failure, Question, Target};
use entente::edge::{Class, Command, Connect, ConnectFailure, Fed, LegId, Secured};
use entente::policy::PeerNames;

use super::inside::{EDGE, GATEWAY, PARTNERS, POOL, Who, names};
use super::partner::{self, Certificate, Does, Opened};
use super::{Event, World};
use crate::organisation::domain;
use crate::pool::Text;
use crate::world::Faults;

/// What a socket takes before its peer has read.
const WINDOW: usize = 8 * 1024;

/// Who is at an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Core(Who, LegId),
    Pool,
    Partner(usize),
    Stranger,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [End; 2],
    pub(super) open: bool,
    /// Bytes under way to each end.
    to: [Vec<u8>; 2],
    /// What an end has not understood yet.
    rest: [Vec<u8>; 2],
    /// Until when an end reads nothing.
    pub(super) stalled_until_ms: [u64; 2],
    planned: [bool; 2],
    /// Which ends wait for TLS.
    secures: [bool; 2],
}

impl World {
    pub(super) fn join(&mut self, ends: [End; 2]) -> usize {
        let connection = self.connections.len();
        for (side, end) in ends.iter().enumerate() {
            if let End::Core(who, leg) = *end {
                self.inside.process(who).legs.insert(leg, (connection, side));
            }
        }
        self.connections.push(Connection {
            ends,
            open: true,
            to: [Vec::new(), Vec::new()],
            rest: [Vec::new(), Vec::new()],
            stalled_until_ms: [0; 2],
            planned: [false; 2],
            secures: [false; 2],
        });
        connection
    }

    /// Puts bytes on their way from one side of a connection to the other.
    pub(super) fn write(&mut self, connection: usize, side: usize, bytes: &[u8]) {
        let held = &mut self.connections[connection];
        if !held.open || bytes.is_empty() {
            return;
        }
        held.to[1 - side].extend_from_slice(bytes);
        self.plan(connection, 1 - side);
    }

    /// Returns for how long an end reads nothing.
    fn silence_ms(&self, connection: usize, side: usize) -> u64 {
        let held = &self.connections[connection];
        let mute_ms = match held.ends[side] {
            End::Partner(at) => self.partners[at].mute_until_ms,
            _ => 0,
        };
        held.stalled_until_ms[side].max(mute_ms).saturating_sub(self.agenda.now_ms)
    }

    fn plan(&mut self, connection: usize, side: usize) {
        let silence_ms = self.silence_ms(connection, side);
        let held = &mut self.connections[connection];
        if held.planned[side] || held.to[side].is_empty() {
            return;
        }
        held.planned[side] = true;
        let delay = self.chance.below(8).max(silence_ms);
        self.agenda.after(delay, Event::Deliver { connection, side });
    }

    pub(super) fn deliver(&mut self, connection: usize, side: usize) {
        let held = &mut self.connections[connection];
        held.planned[side] = false;
        if !held.open {
            return;
        }
        if self.silence_ms(connection, side) > 0 {
            return self.plan(connection, side);
        }
        let waiting = self.connections[connection].to[side].len();
        let bytes = match self.chance.percent(30) {
            true => usize::try_from(self.chance.below(waiting as u64)).expect("small") + 1,
            false => waiting,
        };
        let held = &mut self.connections[connection];
        let moved: Vec<u8> = held.to[side].drain(..bytes.min(waiting)).collect();
        held.rest[side].extend(moved);
        self.understand(connection, side);
        self.plan(connection, side);
        // There is room again for what the other end's shell could not write.
        if let End::Core(who, _) = self.connections[connection].ends[1 - side] {
            self.collect(who);
        }
    }

    fn understand(&mut self, connection: usize, side: usize) {
        match self.connections[connection].ends[side] {
            End::Core(who, leg) => self.feed(connection, side, who, leg),
            End::Pool => {
                let mut rest = std::mem::take(&mut self.connections[connection].rest[side]);
                // Its marks are in bodies, which this reader leaves out.
                while let Some((text, body)) = take_with_body(&mut rest) {
                    self.pool_reads(connection, side, &text, &body);
                }
                self.connections[connection].rest[side] = rest;
            }
            End::Partner(at) => {
                // One by one: what is read may end the connection.
                while self.connections[connection].open {
                    let rest = &mut self.connections[connection].rest[side];
                    let Some(piece) = partner::take(rest) else { break };
                    for does in self.partners[at].read(connection, &piece) {
                        self.partner_does(connection, side, at, does);
                    }
                }
            }
            End::Stranger => self.connections[connection].rest[side].clear(),
        }
    }

    fn feed(&mut self, connection: usize, side: usize, who: Who, leg: LegId) {
        let now = self.agenda.now();
        loop {
            let held = &mut self.connections[connection];
            if !held.open || held.rest[side].is_empty() {
                return;
            }
            let rest = std::mem::take(&mut held.rest[side]);
            let fed = self.inside.feed(now, who, leg, &rest);
            let consumed = match fed {
                Fed::Consumed(consumed) => consumed,
                Fed::NeedMore(_) => 0,
                Fed::Dead => {
                    self.oracle.lost(&rest);
                    rest.len()
                }
            };
            // What came after is in front of what comes later.
            let held = &mut self.connections[connection];
            held.rest[side].splice(..0, rest[consumed..].iter().copied());
            self.collect(who);
            if !matches!(fed, Fed::Consumed(_)) {
                return;
            }
        }
    }

    /// Runs what a core wants, and moves what it staged.
    pub(super) fn collect(&mut self, who: Who) {
        for _ in 0..1_000 {
            let process = self.inside.process(who);
            process.effects.authorisations.clear();
            process.effects.named.clear();
            let commands = std::mem::take(&mut process.effects.commands);
            if commands.is_empty() {
                return self.flush(who);
            }
            for command in commands {
                self.run_command(who, command);
            }
        }
        panic!("a core's commands beget commands without end");
    }

    fn run_command(&mut self, who: Who, command: Command) {
        match command {
            Command::Connect(connect) => {
                let delay = 1 + self.chance.below(20);
                self.agenda.after(delay, Event::Connect { who, connect });
            }
            Command::Ask(question) => {
                assert_eq!(who, Who::Proxy, "the others have addresses");
                let delay = 1 + self.chance.below(50);
                self.agenda.after(delay, Event::Resolve(question));
            }
            Command::Close { leg, .. } => self.close(who, leg),
            Command::StartTls { leg, .. } => {
                self.flush(who);
                if let Some(&(connection, side)) = self.inside.process(who).legs.get(&leg) {
                    self.wants_tls(connection, side);
                }
            }
            Command::Note(note) => self.note(&format!("{who:?}: {}", note.sentence)),
            Command::Mail { .. } => panic!("there is one shard of each"),
            Command::Admitted { .. } | Command::Decided(_) => {}
        }
    }

    /// Moves what is staged, as far as sockets take it.
    pub(super) fn flush(&mut self, who: Who) {
        let mut none = Vec::new();
        self.inside.process(who).effects.take_dirty(&mut none);
        let legs: Vec<_> = self.inside.process(who).legs.iter().map(|(l, at)| (*l, *at)).collect();
        for (leg, (connection, side)) in legs {
            let room = WINDOW.saturating_sub(self.connections[connection].to[1 - side].len());
            let staged = self.inside.process(who).effects.staged_mut(leg);
            let Some(staged) = staged.filter(|staged| !staged.is_empty()) else { continue };
            let taken: Vec<u8> = staged.drain(..room.min(staged.len())).collect();
            self.write(connection, side, &taken);
        }
    }

    /// A core closes a leg: what it has staged arrives before.
    fn close(&mut self, who: Who, leg: LegId) {
        let Some(&(connection, side)) = self.inside.process(who).legs.get(&leg) else { return };
        let staged = self.inside.process(who).effects.staged_mut(leg).map(std::mem::take);
        let held = &mut self.connections[connection];
        let under_way = std::mem::take(&mut held.to[1 - side]);
        held.rest[1 - side].extend(under_way.into_iter().chain(staged.unwrap_or_default()));
        self.understand(connection, 1 - side);
        self.cut(connection);
    }

    /// A connection is gone, with all that was under way on it. Who had sent it knows no better,
    /// but on a link both ends do.
    pub(super) fn cut(&mut self, connection: usize) {
        let link = |end: &End| matches!(end, End::Core(Who::Gateway | Who::Proxy, _));
        let is_link = self.connections[connection].ends.iter().all(link);
        for bytes in self.sever(connection) {
            if !is_link {
                self.oracle.lost(&bytes);
            }
        }
    }

    /// The same; returns what was under way.
    pub(super) fn sever(&mut self, connection: usize) -> Vec<Vec<u8>> {
        let held = &mut self.connections[connection];
        if !std::mem::replace(&mut held.open, false) {
            return Vec::new();
        }
        let ends = held.ends;
        let lost: Vec<Vec<u8>> =
            held.to.iter_mut().chain(&mut held.rest).map(std::mem::take).collect();
        let now = self.agenda.now();
        for end in ends {
            match end {
                End::Core(who, leg) => {
                    if self.inside.process(who).legs.contains_key(&leg) {
                        self.inside.close(now, who, leg);
                        self.collect(who);
                    }
                }
                End::Partner(at) => {
                    self.partners[at].streams.remove(&connection);
                    let delay = 50 + self.chance.below(400);
                    self.agenda.after(delay, Event::Talk(at));
                }
                End::Pool if self.outbound == Some(connection) => {
                    self.outbound = None;
                    self.oracle.excuse_unanswered();
                }
                End::Pool | End::Stranger => {}
            }
        }
        lost
    }

    /// An end goes on with TLS, once the other does.
    pub(super) fn wants_tls(&mut self, connection: usize, side: usize) {
        let held = &mut self.connections[connection];
        held.secures[side] = true;
        if held.secures != [true; 2] {
            return;
        }
        held.secures = [false; 2];
        let ends = held.ends;
        let now = self.agenda.now();
        for (side, end) in ends.into_iter().enumerate() {
            match end {
                End::Core(who, leg) => {
                    let peer = self.certificate_of(ends[1 - side]);
                    let doubt = peer.is_none().then(|| Arc::from("nobody trusts its issuer"));
                    let secured = Secured { peer, doubt };
                    self.inside.tell(who, |core, effects| {
                        core.leg_secured(now, leg, secured, effects);
                    });
                    self.collect(who);
                }
                End::Partner(at) => {
                    let certificate = self.partners[at].certificate;
                    if let Some(stream) = self.partners[at].streams.get_mut(&connection) {
                        stream.certificate = certificate;
                    }
                    let said = self.partners[at].secured(connection);
                    self.write(connection, side, said.as_bytes());
                }
                End::Pool | End::Stranger => {}
            }
        }
    }

    fn certificate_of(&self, end: End) -> Option<Arc<PeerNames>> {
        let End::Partner(at) = end else { return None };
        let partner = &self.partners[at];
        match partner.certificate {
            Certificate::Own => Some(names(&[partner.domain])),
            Certificate::SomebodyElses => Some(names(&["somebody.example"])),
            Certificate::Untrusted => None,
        }
    }

    pub(super) fn connect(&mut self, who: Who, connect: &Connect) {
        let now = self.agenda.now();
        let host = connect.server_name.to_string();
        let unlucky = self.faults == Faults::All && self.chance.percent(5);
        let partner = PARTNERS.iter().position(|(domain, _)| *domain == host);
        let down = partner.is_some_and(|at| self.partners[at].lost_until_ms > self.agenda.now_ms);
        if self.over || unlucky || down {
            let (outlet, why) = (connect.outlet, ConnectFailure::Unreachable);
            self.inside.tell(who, |core, effects| core.connect_failed(now, outlet, why, effects));
            return self.collect(who);
        }
        let ours = (connect.class, Some(connect.outlet));
        let (other, peer) = match (who, connect.class, partner) {
            (Who::Access, Class::Internal, _) if host == GATEWAY => {
                let leg = self.inside.open(
                    now,
                    Who::Gateway,
                    (Class::Internal, None),
                    Some(names(&[EDGE])),
                );
                (End::Core(Who::Gateway, leg), Some(names(&[GATEWAY])))
            }
            (Who::Gateway, Class::XmppLink, _) => {
                let class = (Class::XmppLink, None);
                let leg = self.inside.open(now, Who::Proxy, class, Some(names(&[GATEWAY])));
                (End::Core(Who::Proxy, leg), Some(names(&[EDGE])))
            }
            (Who::Gateway, Class::Internal, _) => (End::Pool, Some(names(&[POOL]))),
            (Who::Proxy, Class::XmppDirectTls, Some(at)) => {
                (End::Partner(at), self.certificate_of(End::Partner(at)))
            }
            (Who::Proxy, Class::Xmpp, Some(at)) => (End::Partner(at), None),
            _ => panic!("{who:?} connects to {host} as {:?}", connect.class),
        };
        let leg = self.inside.open(now, who, ours, peer);
        let connection = self.join([End::Core(who, leg), other]);
        if let End::Partner(at) = other {
            let tls = connect.class == Class::XmppDirectTls;
            self.partners[at].begin(connection, Opened::ByTheProxy, tls);
        }
        self.collect(who);
        if let End::Core(other, _) = other {
            self.collect(other);
        }
    }

    /// A partner's server connects to the proxy. Returns the connection.
    pub(super) fn partner_connects(&mut self, at: usize, opened: Opened) -> usize {
        let now = self.agenda.now();
        let direct = self.partners[at].proof == partner::Proof::External && self.chance.percent(30);
        let (class, peer) = match direct {
            true => (Class::XmppDirectTls, self.certificate_of(End::Partner(at))),
            false => (Class::Xmpp, None),
        };
        let leg = self.inside.open(now, Who::Proxy, (class, None), peer);
        let connection = self.join([End::Partner(at), End::Core(Who::Proxy, leg)]);
        let said = self.partners[at].begin(connection, opened, direct);
        self.write(connection, 0, said.as_bytes());
        self.collect(Who::Proxy);
        connection
    }

    fn partner_does(&mut self, connection: usize, side: usize, at: usize, does: Does) {
        match does {
            Does::Write(text) => self.write(connection, side, text.as_bytes()),
            Does::Secure => self.wants_tls(connection, side),
            Does::Got(stanza) => self.contact_reads(at, &stanza),
            Does::Ready => {
                if let Some(stream) = self.partners[at].streams.get_mut(&connection) {
                    stream.ready = true;
                }
                self.talk(at);
            }
            Does::Verify { id, key } => {
                self.partner_connects(at, Opened::ToVerify { about: connection, id, key });
            }
            Does::Verified { about, valid } => {
                let held = self.connections.get(about).filter(|held| held.open);
                let place =
                    held.and_then(|held| held.ends.iter().position(|e| *e == End::Partner(at)));
                if let Some(place) = place
                    && let Some(said) = self.partners[at].verified(about, valid)
                {
                    self.write(about, place, said.as_bytes());
                }
            }
            Does::Close => self.cut(connection),
            Does::Wrong(fault) => self.oracle.wrong(fault),
        }
    }

    pub(super) fn resolve(&mut self, question: Question) {
        let Question::Xmpp(name) = &question else { panic!("nothing else is asked") };
        let at = PARTNERS.iter().position(|(domain, _)| *domain == name.as_str());
        let at = at.expect("nobody but partners is asked for");
        let lost = self.partners[at].lost_until_ms > self.agenda.now_ms;
        let failures = [Failure::ServerFailure, Failure::Timeout, Failure::NoSuchService];
        let outcome = if lost || self.over {
            Err(failures[usize::try_from(self.chance.below(3)).expect("small")])
        } else {
            let direct_tls =
                self.partners[at].proof == partner::Proof::External && self.chance.percent(50);
            Ok(vec![Target {
                fqdn: domain(&format!("xmpp.{name}")),
                port: 5269,
                priority: 0,
                weight: 0,
                addresses: vec!["192.0.2.50".parse().expect("an address")],
                direct_tls,
            }])
        };
        let answer =
            Arc::new(Answer { ttl_s: if outcome.is_ok() { 5 } else { 1 }, question, outcome });
        let now = self.agenda.now();
        self.inside.tell(Who::Proxy, |core, effects| core.resolved(now, answer, effects));
        self.collect(Who::Proxy);
    }

    /// Returns the connections that are open, by who is at their ends.
    pub(super) fn open_connections(&self) -> BTreeMap<usize, [End; 2]> {
        let all = self.connections.iter().enumerate();
        all.filter(|(_, held)| held.open).map(|(at, held)| (at, held.ends)).collect()
    }
}

/// Takes one message with its body off the front of `bytes`.
fn take_with_body(bytes: &mut Vec<u8>) -> Option<(Text, String)> {
    let before = bytes.clone();
    let text = Text::take(bytes)?;
    let whole = &before[..before.len() - bytes.len()];
    let body = memchr::memmem::find(whole, b"\r\n\r\n").map_or(&b""[..], |at| &whole[at + 4..]);
    Some((text, String::from_utf8_lossy(body).into_owned()))
}
