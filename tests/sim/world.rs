//! The run: everything that happens, in the order one seed gives it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use entente::dns::{Answer, Failure, Question, Target};
use entente::edge::{
    Class, Command, Connect, ConnectFailure, Core, Fed, LegId, Lost, Mail, Opened, OutletId, Place,
};

use crate::clock::{Agenda, Chance};
use crate::network::{Connection, End};
use crate::oracle::Oracle;
use crate::organisation::{DOMAINS, Edge, address, domain, edge_hosts, names, pool_host};
use crate::pool::{Pool, Sent, Text, request};

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    None,
    All,
}

/// New requests are sent this long; after that the run goes on until every timer has run out.
const WORKLOAD_MS: u64 = 12_000;
const RUN_MS: u64 = 300_000;
const EVENTS_MAX: u64 = 500_000;

#[derive(Debug)]
enum Event {
    Tick,
    Deliver { connection: usize, side: usize },
    Flush { organisation: usize, shard: usize },
    Connect { organisation: usize, shard: usize, connect: Connect },
    Resolve { organisation: usize, shard: usize, question: Question },
    Mail { organisation: usize, from: usize, to: usize },
    Work { organisation: usize },
    Stranger,
    Answer { connection: usize, side: usize, bytes: Vec<u8>, id: u64, status: u16 },
    Fault,
    Reload { organisation: usize, shard: usize },
}

/// Boxes of mail by organisation, sender and receiver.
type Boxes = BTreeMap<(usize, usize, usize), VecDeque<Mail>>;

pub(crate) struct World {
    agenda: Agenda<Event>,
    chance: Chance,
    faults: Faults,
    edges: [Edge; 2],
    pools: [Pool; 2],
    connections: Vec<Connection>,
    /// Where a leg's bytes go: connection and our side of it.
    by_leg: BTreeMap<(usize, usize, LegId), (usize, usize)>,
    /// The connection by which a pool (or, last, the stranger) sends.
    outbound: [Option<usize>; 3],
    boxes: Boxes,
    /// Numbers of what the stranger sent.
    strangers: Vec<u64>,
    pub(crate) oracle: Oracle,
    next_id: u64,
    events: u64,
    trace: String,
    print: bool,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults, print: bool) -> Self {
        let mut chance = Chance::new(seed.wrapping_add(1));
        // More shards than connections per partner now and then, so that mail crosses.
        let shards = [1, 2, 4, 6][usize::try_from(chance.below(4)).unwrap()];
        let mut world = Self {
            agenda: Agenda::new(),
            faults,
            edges: [Edge::new(0, shards, seed), Edge::new(1, shards, seed)],
            pools: [Pool::default(), Pool::default()],
            connections: Vec::new(),
            by_leg: BTreeMap::new(),
            outbound: [None; 3],
            boxes: Boxes::new(),
            strangers: Vec::new(),
            oracle: Oracle::default(),
            next_id: 0,
            events: 0,
            trace: String::new(),
            print,
            chance,
        };
        world.note(format!("{shards} shards"));
        for organisation in 0..2 {
            world.agenda.after(10, Event::Work { organisation });
        }
        world.agenda.after(20, Event::Stranger);
        world.agenda.after(0, Event::Tick);
        if faults == Faults::All {
            world.agenda.after(500, Event::Fault);
        }
        world
    }

    pub(crate) fn run(&mut self) {
        while let Some(event) = self.agenda.next() {
            self.events += 1;
            assert!(self.events < EVENTS_MAX, "a run is bounded");
            if self.agenda.now_ms > RUN_MS {
                break;
            }
            self.happen(event);
        }
    }

    pub(crate) fn trace(self) -> String {
        self.trace
    }

    /// Judges the run, and that nothing is left behind.
    pub(crate) fn judge(&self) -> Result<(), String> {
        self.oracle.judge(self.faults == Faults::All)?;
        for (organisation, edge) in self.edges.iter().enumerate() {
            for (number, shard) in edge.shards.iter().enumerate() {
                let pending = shard.access.pending();
                if pending != 0 {
                    return Err(format!("{pending} left on shard {number} of edge {organisation}"));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, line: String) {
        if self.print {
            println!("{:>8} {line}", self.agenda.now_ms);
        }
        let _ = writeln!(self.trace, "{} {line}", self.agenda.now_ms);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Deliver { connection, side } => self.deliver(connection, side),
            Event::Flush { organisation, shard } => self.collect(organisation, shard),
            Event::Connect { organisation, shard, connect } => {
                self.connect(organisation, shard, &connect);
            }
            Event::Resolve { organisation, shard, question } => {
                self.resolve(organisation, shard, question);
            }
            Event::Mail { organisation, from, to } => self.mail(organisation, from, to),
            Event::Work { organisation } => self.work(organisation),
            Event::Stranger => self.stranger(),
            Event::Answer { connection, side, bytes, id, status } => {
                if status >= 200 {
                    self.oracle.answered(id, status);
                }
                self.write(connection, side, &bytes);
            }
            Event::Fault => self.fault(),
            Event::Reload { organisation, shard } => {
                let now = self.agenda.now();
                self.edges[organisation].reload(organisation, shard, now);
                self.collect(organisation, shard);
            }
        }
    }

    fn tick(&mut self) {
        let now = self.agenda.now();
        for organisation in 0..2 {
            for number in 0..self.edges[organisation].shards.len() {
                let shard = &mut self.edges[organisation].shards[number];
                if shard.access.next_deadline().is_some_and(|at| at <= now.monotonic) {
                    shard.access.expire(now, &mut shard.effects);
                    self.collect(organisation, number);
                }
            }
        }
        self.agenda.after(500, Event::Tick);
    }

    /// Runs what a shard's core wants, and moves what it staged.
    fn collect(&mut self, organisation: usize, number: usize) {
        for _ in 0..1_000 {
            let commands = std::mem::take(&mut self.shard(organisation, number).effects.commands);
            if commands.is_empty() {
                return self.flush(organisation, number);
            }
            for command in commands {
                self.run_command(organisation, number, command);
            }
        }
        panic!("a core's commands beget commands without end");
    }

    fn shard(&mut self, organisation: usize, number: usize) -> &mut crate::organisation::Shard {
        &mut self.edges[organisation].shards[number]
    }

    fn run_command(&mut self, organisation: usize, shard: usize, command: Command) {
        match command {
            Command::Connect(connect) => {
                let delay = 1 + self.chance.below(20);
                self.agenda.after(delay, Event::Connect { organisation, shard, connect });
            }
            Command::Ask(question) => {
                let lost = self.faults == Faults::All && self.chance.percent(3);
                let delay = if lost { 6_000 } else { 1 + self.chance.below(50) };
                self.agenda.after(delay, Event::Resolve { organisation, shard, question });
            }
            Command::Close { leg, .. } => {
                self.flush(organisation, shard);
                if let Some(&(connection, side)) = self.by_leg.get(&(organisation, shard, leg)) {
                    self.deliver_rest(connection, 1 - side);
                    self.break_connection(connection);
                }
            }
            Command::Mail { shard: to, mail } => {
                self.post(organisation, shard, usize::from(to), mail)
            }
            Command::Note(note) => {
                self.note(format!("edge {organisation}.{shard}: {}", note.sentence))
            }
            Command::Decided(_) => {}
        }
    }

    fn post(&mut self, organisation: usize, from: usize, to: usize, mail: Mail) {
        let unlucky = self.faults == Faults::All && self.chance.percent(3);
        match mail.place() {
            Place::IfRoom if unlucky => return,
            Place::Reserving if unlucky => {
                let now = self.agenda.now();
                let shard = self.shard(organisation, from);
                let to = u16::try_from(to).unwrap();
                shard.access.mail_refused(now, to, mail, &mut shard.effects);
                return;
            }
            _ => {}
        }
        self.boxes.entry((organisation, from, to)).or_default().push_back(mail);
        let delay = self.chance.below(4);
        self.agenda.after(delay, Event::Mail { organisation, from, to });
    }

    fn mail(&mut self, organisation: usize, from: usize, to: usize) {
        let mail = self.boxes.get_mut(&(organisation, from, to)).and_then(VecDeque::pop_front);
        let Some(mail) = mail else { return };
        let now = self.agenda.now();
        let shard = self.shard(organisation, to);
        shard.access.mail(now, mail, &mut shard.effects);
        self.collect(organisation, to);
    }

    fn flush(&mut self, organisation: usize, number: usize) {
        let mut dirty = Vec::new();
        let now_ms = self.agenda.now_ms;
        self.shard(organisation, number).effects.take_dirty(&mut dirty);
        for leg in dirty {
            let Some(&(connection, side)) = self.by_leg.get(&(organisation, number, leg)) else {
                continue;
            };
            let until = self.connections[connection].stalled_until_ms[side];
            if until > now_ms {
                // Its socket is full: the bytes stay ours, and are taken later.
                self.agenda.after(until - now_ms, Event::Flush { organisation, shard: number });
                self.restage(organisation, number, leg);
                continue;
            }
            let staged = self.shard(organisation, number).effects.staged_mut(leg);
            let bytes = staged.map(std::mem::take).unwrap_or_default();
            self.write(connection, side, &bytes);
        }
    }

    /// Marks a leg as dirty again, so that the planned flush finds it.
    fn restage(&mut self, organisation: usize, number: usize, leg: LegId) {
        let shard = self.shard(organisation, number);
        let _ = shard.effects.stage(leg, entente::edge::Kind::Response, 0);
    }

    /// Puts bytes on their way from one side of a connection to the other.
    fn write(&mut self, connection: usize, side: usize, bytes: &[u8]) {
        let held = &mut self.connections[connection];
        if !held.open || bytes.is_empty() {
            return;
        }
        held.to[1 - side].extend(bytes);
        self.plan(connection, 1 - side);
    }

    fn plan(&mut self, connection: usize, side: usize) {
        let held = &mut self.connections[connection];
        if held.planned[side] || held.to[side].is_empty() {
            return;
        }
        held.planned[side] = true;
        let delay = self.chance.below(8);
        self.agenda.after(delay, Event::Deliver { connection, side });
    }

    fn deliver(&mut self, connection: usize, side: usize) {
        let held = &mut self.connections[connection];
        held.planned[side] = false;
        if !held.open {
            return;
        }
        let waiting = held.to[side].len();
        let bytes = if self.chance.percent(30) {
            usize::try_from(self.chance.below(waiting as u64)).unwrap() + 1
        } else {
            waiting
        };
        let held = &mut self.connections[connection];
        let taken: Vec<u8> = held.to[side].drain(..bytes.min(waiting)).collect();
        held.rest[side].extend(taken);
        self.understand(connection, side);
        self.plan(connection, side);
    }

    fn deliver_rest(&mut self, connection: usize, side: usize) {
        let held = &mut self.connections[connection];
        let all: Vec<u8> = held.to[side].drain(..).collect();
        held.rest[side].extend(all);
        self.understand(connection, side);
    }

    fn understand(&mut self, connection: usize, side: usize) {
        let mut rest = std::mem::take(&mut self.connections[connection].rest[side]);
        match self.connections[connection].ends[side] {
            End::Edge { organisation, shard, leg } => {
                let now = self.agenda.now();
                let mut at = 0;
                while at < rest.len() {
                    let held = self.shard(organisation, shard);
                    match held.access.feed(now, leg, &rest[at..], &mut held.effects) {
                        Fed::Consumed(bytes) => at += bytes,
                        Fed::NeedMore(_) => break,
                        Fed::Dead => panic!("an edge could not read what an edge or pool wrote"),
                    }
                }
                rest.drain(..at);
                self.connections[connection].rest[side] = rest;
                self.collect(organisation, shard);
            }
            end @ (End::Pool { .. } | End::Stranger) => {
                let mut texts = Vec::new();
                while let Some(text) = Text::take(&mut rest) {
                    texts.push(text);
                }
                self.connections[connection].rest[side] = rest;
                for text in texts {
                    self.read(connection, side, end, &text);
                }
            }
        }
    }

    fn connect(&mut self, organisation: usize, shard: usize, connect: &Connect) {
        let target = connect.addresses[0].ip();
        let broken = self.faults == Faults::All && self.chance.percent(8);
        let now_ms = self.agenda.now_ms;
        let (end, hosts) = match connect.class {
            Class::Internal => {
                assert_eq!(target, address(organisation, 9), "a next hop is the own pool");
                let down = self.pools[organisation].down_until_ms > now_ms;
                let end = (!down).then_some(End::Pool { organisation });
                (end, vec![pool_host(organisation)])
            }
            Class::Federation => {
                let other = 1 - organisation;
                let known = [address(other, 1), address(other, 2)].contains(&target);
                assert!(known, "an edge connects only to the partner's edge, not to {target}");
                (
                    Some(self.accept(other, Class::Federation, &edge_hosts(organisation))),
                    edge_hosts(other).to_vec(),
                )
            }
            Class::RemoteUsers => panic!("nobody connects to a remote user"),
        };
        let end = match end {
            Some(end) if !broken => end,
            refused => {
                if let Some(End::Edge { organisation, shard, leg }) = refused {
                    self.forget_leg(organisation, shard, leg, 0);
                }
                return self.connect_failed(organisation, shard, connect.outlet);
            }
        };
        let leg = self.open_leg(organisation, shard, connect.class, &hosts, Some(connect.outlet));
        let ours = End::Edge { organisation, shard, leg };
        self.join([ours, end]);
        self.collect(organisation, shard);
    }

    fn connect_failed(&mut self, organisation: usize, shard: usize, outlet: OutletId) {
        let now = self.agenda.now();
        let held = self.shard(organisation, shard);
        let why = ConnectFailure::Unreachable;
        held.access.connect_failed(now, outlet, why, &mut held.effects);
        self.collect(organisation, shard);
    }

    /// A shard of an edge accepts a connection from a peer with a certificate for `hosts`.
    fn accept(&mut self, organisation: usize, class: Class, hosts: &[String]) -> End {
        let shards = self.edges[organisation].shards.len() as u64;
        let shard = usize::try_from(self.chance.below(shards)).unwrap();
        let leg = self.open_leg(organisation, shard, class, hosts, None);
        End::Edge { organisation, shard, leg }
    }

    fn open_leg(
        &mut self,
        organisation: usize,
        number: usize,
        class: Class,
        hosts: &[String],
        outlet: Option<OutletId>,
    ) -> LegId {
        let now = self.agenda.now();
        let shard = self.shard(organisation, number);
        let leg = LegId { index: shard.next_leg, generation: 1 };
        shard.next_leg += 1;
        let remote = SocketAddr::from(([192, 0, 2, 200], 40_000));
        let local = SocketAddr::new(address(organisation, 1), 5061);
        let opened = Opened { class, outlet, peer: Some(names(hosts)), remote, local };
        shard.effects.open(leg);
        shard.access.leg_opened(now, leg, opened, &mut shard.effects);
        leg
    }

    fn join(&mut self, ends: [End; 2]) -> usize {
        let connection = self.connections.len();
        for (side, end) in ends.iter().enumerate() {
            if let End::Edge { organisation, shard, leg } = *end {
                self.by_leg.insert((organisation, shard, leg), (connection, side));
            }
        }
        self.connections.push(Connection::new(ends));
        connection
    }

    fn break_connection(&mut self, connection: usize) {
        let held = &mut self.connections[connection];
        if !held.open {
            return;
        }
        held.open = false;
        for end in held.ends {
            if let End::Edge { organisation, shard, leg } = end {
                let staged = self.shard(organisation, shard).effects.backlog(leg).unwrap_or(0);
                self.forget_leg(organisation, shard, leg, staged);
            }
        }
        for sender in 0..3 {
            if self.outbound[sender] == Some(connection) {
                self.outbound[sender] = None;
                self.abandon(sender);
            }
        }
    }

    /// Whoever sent by a broken connection may never hear the answer.
    fn abandon(&mut self, sender: usize) {
        let ids: Vec<u64> = match self.pools.get(sender) {
            Some(pool) => pool.sent.keys().copied().collect(),
            None => self.strangers.clone(),
        };
        for id in ids {
            self.oracle.abandoned(id);
        }
    }

    fn forget_leg(&mut self, organisation: usize, number: usize, leg: LegId, unsent: usize) {
        self.by_leg.remove(&(organisation, number, leg));
        let now = self.agenda.now();
        let shard = self.shard(organisation, number);
        shard.effects.close(leg);
        shard.access.leg_closed(now, leg, Lost::Reset, unsent, &mut shard.effects);
        self.collect(organisation, number);
    }

    fn resolve(&mut self, organisation: usize, number: usize, question: Question) {
        let outcome = match &question {
            Question::Federation(name) => {
                let other = DOMAINS.iter().position(|domain| *domain == name.as_str());
                let failing = self.faults == Faults::All && self.chance.percent(5);
                match other {
                    Some(_) if failing => Err(Failure::ServerFailure),
                    Some(other) => Ok(self.targets(other)),
                    None => Err(Failure::NoSuchService),
                }
            }
            Question::Host { .. } => Err(Failure::NoAddress),
        };
        let ttl_s = if outcome.is_ok() { 5 } else { 1 };
        let now = self.agenda.now();
        let answer = Arc::new(Answer { question, outcome, ttl_s });
        let shard = self.shard(organisation, number);
        shard.access.resolved(now, answer, &mut shard.effects);
        self.collect(organisation, number);
    }

    fn targets(&self, organisation: usize) -> Vec<Target> {
        let hosts = edge_hosts(organisation);
        let target = |(place, host): (usize, &String)| Target {
            fqdn: domain(host),
            port: 5061,
            priority: u16::try_from(place).unwrap(),
            weight: 0,
            addresses: vec![address(organisation, u8::try_from(place).unwrap() + 1)],
        };
        hosts.iter().enumerate().map(target).collect()
    }

    /// A pool sends something.
    fn work(&mut self, organisation: usize) {
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
        self.note(format!("pool {organisation} sends {method} {id} to {}", DOMAINS[to]));
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
    fn stranger(&mut self) {
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
    fn read(&mut self, connection: usize, side: usize, end: End, text: &Text) {
        let cseq = text.get("CSeq").unwrap_or_default();
        let (number, method) = cseq.split_once(' ').unwrap_or_default();
        let number: u64 = number.parse().expect("the edge keeps CSeq");
        match (text.status(), end) {
            (Some(status), _) if status < 200 || method == "CANCEL" => {}
            (Some(status), End::Pool { organisation }) => {
                self.note(format!("pool {organisation} gets {status} for {method} {number}"));
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
        self.note(format!("pool {organisation} receives {method} {id}"));
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
                self.note(format!("pool {organisation} is asked to cancel {number}"));
            }
            other => panic!("the edge lost the number of a {other}"),
        }
    }

    /// Something breaks.
    fn fault(&mut self) {
        if self.agenda.now_ms > WORKLOAD_MS {
            return;
        }
        let delay = 100 + self.chance.below(900);
        self.agenda.after(delay, Event::Fault);
        let organisation = usize::try_from(self.chance.below(2)).unwrap();
        match self.chance.below(5) {
            0 | 1 => self.break_something(),
            2 => self.stall_something(),
            3 => {
                self.note(format!("pool {organisation} goes down"));
                self.pools[organisation].down_until_ms =
                    self.agenda.now_ms + 200 + self.chance.below(3_000);
                for connection in 0..self.connections.len() {
                    let end = End::Pool { organisation };
                    if self.connections[connection].ends.contains(&end) {
                        self.break_connection(connection);
                    }
                }
            }
            _ => {
                self.note(format!("edge {organisation} reloads"));
                self.edges[organisation].epoch += 1;
                for shard in 0..self.edges[organisation].shards.len() {
                    let delay = self.chance.below(40);
                    self.agenda.after(delay, Event::Reload { organisation, shard });
                }
            }
        }
    }

    fn open_connections(&self) -> Vec<usize> {
        (0..self.connections.len()).filter(|at| self.connections[*at].open).collect()
    }

    fn break_something(&mut self) {
        let open = self.open_connections();
        if open.is_empty() {
            return;
        }
        let chosen = open[usize::try_from(self.chance.below(open.len() as u64)).unwrap()];
        self.note(format!("connection {chosen} breaks: {:?}", self.connections[chosen].ends));
        self.break_connection(chosen);
    }

    fn stall_something(&mut self) {
        let open = self.open_connections();
        if open.is_empty() {
            return;
        }
        let chosen = open[usize::try_from(self.chance.below(open.len() as u64)).unwrap()];
        let side = usize::try_from(self.chance.below(2)).unwrap();
        let until = self.agenda.now_ms + 100 + self.chance.below(2_000);
        self.note(format!("side {side} of connection {chosen} stalls until {until}"));
        self.connections[chosen].stalled_until_ms[side] = until;
    }
}
