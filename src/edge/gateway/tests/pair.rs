//! Two gateways that know of each other, the edges that choose between them, and servers inside
//! that grant everything: one dies, the other takes over, and gives back.

use std::collections::{BTreeMap, BTreeSet};

use super::siblings::rules_of_two;
use super::world::*;
use crate::edge::gateway::authorisation::{Direction, Standing};
use crate::edge::gateway::{Authorisation, Change, EdgeAddress, Gateway, Setup};
use crate::edge::xmpp_link::{EdgeEnd, FromGateway};
use crate::edge::{
    Class, Command, Connect, ConnectFailure, Core, Effects, Fed, LegId, Lost, OutletId,
};
use crate::policy::Rules;
use crate::sip::{HeaderTable, Scan, scan};
use crate::time::Now;

const NAMES: [&str; 2] = ["gw.contoso.example", "gw2.contoso.example"];
const EDGE: &str = "edge1.contoso.example";

/// What is at the other end of a leg of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// An edge.
    Edge,
    /// A server inside.
    Inside,
    /// The other gateway's leg.
    Gateway(LegId),
}

/// One gateway's process, if it lives.
struct Process {
    gateway: Option<Gateway>,
    effects: Effects,
    legs: BTreeMap<LegId, End>,
    edge: Option<EdgeEnd>,
    /// What it was sent and has not consumed.
    rest: BTreeMap<LegId, Vec<u8>>,
    /// What it has written and nobody has consumed.
    out: BTreeMap<LegId, Vec<u8>>,
    /// What its disk holds.
    store: BTreeMap<(String, String, Direction), Authorisation>,
    /// Dialogs of the server inside with it: users by Call-ID of their subscriptions.
    subscribed: BTreeMap<String, String>,
}

struct Pair {
    now: Now,
    rules: Rules,
    processes: [Process; 2],
    legs: u32,
    lives: u64,
    /// How many stanzas came from partners.
    numbers: u64,
    /// Whether gateways reach each other.
    apart: bool,
    /// Stanzas that edges were given, with the gateway that gave them.
    stanzas: Vec<(usize, String)>,
    /// NOTIFYs that watchers were sent.
    notifies: Vec<(usize, String)>,
}

/// A user and a contact, of one of four pairs of domains.
fn addresses(number: usize) -> (String, String) {
    let ours = ["simple.example", "contoso.example"][number % 2];
    let theirs = ["fabrikam.example", "verified.example"][number / 2 % 2];
    (format!("kim{number}@{ours}"), format!("john{number}@{theirs}"))
}

impl Pair {
    fn new() -> Self {
        let process = || Process {
            gateway: None,
            effects: Effects::default(),
            legs: BTreeMap::new(),
            edge: None,
            rest: BTreeMap::new(),
            out: BTreeMap::new(),
            store: BTreeMap::new(),
            subscribed: BTreeMap::new(),
        };
        let mut pair = Self {
            now: Now { unix_s: 1_700_000_000, ..Now::default() },
            rules: rules_of_two(),
            processes: [process(), process()],
            legs: 0,
            lives: 0,
            numbers: 0,
            apart: false,
            stanzas: Vec::new(),
            notifies: Vec::new(),
        };
        pair.begin(0);
        pair.begin(1);
        pair.pass(5_000);
        pair
    }

    /// Starts a gateway with what its disk holds.
    fn begin(&mut self, at: usize) {
        self.lives += 1;
        let edge = EdgeAddress {
            name: domain(EDGE),
            port: 23456,
            addresses: vec!["10.0.0.1".parse().expect("an address")],
        };
        let key = [self.lives, at as u64];
        let setup = Setup {
            remembered: self.processes[at].store.values().cloned().collect(),
            ..Setup::single(key, domain(NAMES[at]), vec![edge])
        };
        let snapshot = snapshot(self.rules.clone(), 1);
        let process = &mut self.processes[at];
        process.gateway = Some(Gateway::new(setup, snapshot));
        process.effects = Effects::default();
        self.run();
    }

    /// Ends a gateway's process without a word.
    fn kill(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.gateway = None;
        let legs = std::mem::take(&mut process.legs);
        process.edge = None;
        process.rest.clear();
        process.out.clear();
        process.subscribed.clear();
        for end in legs.values() {
            if let End::Gateway(other) = end {
                self.lose(1 - at, *other);
            }
        }
        self.edges_tell();
        self.run();
    }

    fn lose(&mut self, at: usize, leg: LegId) {
        let process = &mut self.processes[at];
        process.legs.remove(&leg);
        process.rest.remove(&leg);
        process.out.remove(&leg);
        process.effects.close(leg);
        if let Some(gateway) = &mut process.gateway {
            gateway.leg_closed(self.now, leg, Lost::Reset, 0, &mut process.effects);
        }
    }

    /// Gateways do not reach each other, or do again; everybody else reaches both.
    fn part(&mut self, apart: bool) {
        self.apart = apart;
        for at in [0, 1] {
            let between = |(leg, end): (&LegId, &End)| match end {
                End::Gateway(_) => Some(*leg),
                _ => None,
            };
            let legs: Vec<LegId> = self.processes[at].legs.iter().filter_map(between).collect();
            for leg in legs {
                self.lose(at, leg);
            }
        }
        self.run();
    }

    fn edges_tell(&mut self) {
        let up = |process: &Process| process.edge.as_ref().is_some_and(EdgeEnd::is_up);
        let named = (0..2).filter(|at| up(&self.processes[*at])).map(|at| NAMES[at]);
        let names = named.collect::<Vec<_>>().join(" ");
        for at in [0, 1] {
            let process = &mut self.processes[at];
            let leg = process.legs.iter().find(|(_, end)| **end == End::Edge).map(|(leg, _)| *leg);
            let (Some(leg), Some(edge)) = (leg, &process.edge) else { continue };
            let mut out = Vec::new();
            edge.tell_gateways(&names, &mut out);
            self.feed(at, leg, &out);
        }
    }

    fn open(&mut self, at: usize, class: Class, outlet: Option<OutletId>, host: &str) -> LegId {
        self.legs += 1;
        let leg = LegId { index: self.legs, generation: 1 };
        let process = &mut self.processes[at];
        process.effects.open(leg);
        let gateway = process.gateway.as_mut().expect("it lives");
        gateway.leg_opened(self.now, leg, opened(class, outlet, host), &mut process.effects);
        leg
    }

    fn connect(&mut self, at: usize, connect: &Connect) {
        let host = connect.server_name.to_string();
        let outlet = Some(connect.outlet);
        if connect.class == Class::XmppLink {
            let leg = self.open(at, connect.class, outlet, &host);
            self.processes[at].legs.insert(leg, End::Edge);
            self.processes[at].edge = Some(EdgeEnd::accept(domain(EDGE), "s".to_owned()));
        } else if let Some(other) = NAMES.iter().position(|name| *name == host) {
            if self.processes[other].gateway.is_none() || self.apart {
                let process = &mut self.processes[at];
                let gateway = process.gateway.as_mut().expect("it lives");
                let why = ConnectFailure::Unreachable;
                gateway.connect_failed(self.now, connect.outlet, why, &mut process.effects);
                return;
            }
            let mine = self.open(at, connect.class, outlet, &host);
            let theirs = self.open(other, connect.class, None, NAMES[at]);
            self.processes[at].legs.insert(mine, End::Gateway(theirs));
            self.processes[other].legs.insert(theirs, End::Gateway(mine));
        } else {
            let leg = self.open(at, connect.class, outlet, &host);
            self.processes[at].legs.insert(leg, End::Inside);
        }
    }

    fn run(&mut self) {
        for _ in 0..20_000 {
            let moved = [0, 1].map(|at| self.step(at));
            if moved == [false, false] {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn step(&mut self, at: usize) -> bool {
        let process = &mut self.processes[at];
        let mut moved = false;
        for change in std::mem::take(&mut process.effects.authorisations) {
            match change {
                Change::Remember(one) => {
                    let key = (one.ours.clone(), one.theirs.clone(), one.direction);
                    process.store.insert(key, one);
                }
                Change::Forget { ours, theirs, direction } => {
                    process.store.remove(&(ours, theirs, direction));
                }
            }
        }
        for command in std::mem::take(&mut process.effects.commands) {
            moved = true;
            match command {
                Command::Connect(connect) => self.connect(at, &connect),
                Command::Close { leg, .. } => self.lose(at, leg),
                _ => {}
            }
        }
        let legs: Vec<(LegId, End)> =
            self.processes[at].legs.iter().map(|(leg, end)| (*leg, *end)).collect();
        for (leg, end) in legs {
            let staged = self.processes[at].effects.staged_mut(leg).map(std::mem::take);
            let Some(staged) = staged.filter(|staged| !staged.is_empty()) else { continue };
            moved = true;
            match end {
                End::Gateway(other) => self.feed(1 - at, other, &staged),
                End::Edge => self.edge_reads(at, leg, &staged),
                End::Inside => self.inside_reads(at, leg, &staged),
            }
        }
        moved
    }

    fn feed(&mut self, at: usize, leg: LegId, bytes: &[u8]) {
        let process = &mut self.processes[at];
        let Some(gateway) = &mut process.gateway else { return };
        let mut input = process.rest.remove(&leg).unwrap_or_default();
        input.extend_from_slice(bytes);
        let mut from = 0;
        while from < input.len() {
            match gateway.feed(self.now, leg, &input[from..], &mut process.effects) {
                Fed::Consumed(bytes) => from += bytes,
                Fed::NeedMore(_) => break,
                Fed::Dead => from = input.len(),
            }
        }
        if from < input.len() {
            process.rest.insert(leg, input.split_off(from));
        }
    }

    fn edge_reads(&mut self, at: usize, leg: LegId, bytes: &[u8]) {
        self.processes[at].out.entry(leg).or_default().extend_from_slice(bytes);
        loop {
            let process = &mut self.processes[at];
            let Some(edge) = &mut process.edge else { return };
            let Some(held) = process.out.get_mut(&leg) else { return };
            let mut out = Vec::new();
            let mut came_up = false;
            let consumed = match edge.read(held, &mut out).expect("the gateway is right") {
                FromGateway::NeedMore(_) => 0,
                FromGateway::Done { consumed }
                | FromGateway::Named { consumed, .. }
                | FromGateway::Ended { consumed } => consumed,
                FromGateway::Up { consumed } => {
                    came_up = true;
                    consumed
                }
                FromGateway::Stanza { element, number, consumed } => {
                    let text = String::from_utf8(element.raw().to_vec()).expect("text");
                    self.stanzas.push((at, text));
                    edge.taken(number, &mut out);
                    consumed
                }
            };
            held.drain(..consumed);
            if !out.is_empty() {
                self.feed(at, leg, &out);
            }
            if came_up {
                self.edges_tell();
            }
            if consumed == 0 {
                return;
            }
        }
    }

    /// The servers inside grant every subscription, show everybody as open, and take all the rest.
    fn inside_reads(&mut self, at: usize, leg: LegId, bytes: &[u8]) {
        let mut held = self.processes[at].out.remove(&leg).unwrap_or_default();
        held.extend_from_slice(bytes);
        let mut table = HeaderTable::new();
        while let Ok(Scan::Message(scanned)) = scan(&held, &mut table) {
            let message: Vec<u8> = held.drain(..scanned.total()).collect();
            let text = String::from_utf8(message).expect("text");
            if text.starts_with("SIP/2.0") {
                continue;
            }
            let lines = "Contact: <sip:fe1>\r\nExpires: 36000\r\n";
            self.feed(at, leg, response(&text, "200 OK", lines, "").as_bytes());
            if text.starts_with("SUBSCRIBE") {
                self.granted(at, leg, &text);
            } else if text.starts_with("NOTIFY") {
                self.notifies.push((at, text));
            }
        }
        self.processes[at].out.insert(leg, held);
    }

    fn granted(&mut self, at: usize, leg: LegId, subscribe: &str) {
        let call_id = header(subscribe, "Call-ID");
        let uri = subscribe.split(' ').nth(1).expect("a URI").to_owned();
        let (from, to) = (header(subscribe, "From"), header(subscribe, "To"));
        let to = if to.contains(";tag=") { to } else { format!("{to};tag=inside") };
        let ends = header(subscribe, "Expires") == "0";
        if ends {
            self.processes[at].subscribed.remove(&call_id);
        } else {
            let user = header(subscribe, "To");
            let user = user.trim_start_matches("<sip:").split('>').next().expect("a URI");
            let contact = from.trim_start_matches("<sip:").split('>').next().expect("a URI");
            let both = format!("{user} {contact}");
            self.processes[at].subscribed.insert(call_id.clone(), both);
        }
        let state = if ends { "terminated;reason=timeout" } else { "active;expires=3600" };
        let aor = uri.trim_start_matches("sip:");
        let body = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:{aor}'><tuple id='t'>\
             <status><basic>open</basic></status></tuple></presence>"
        );
        let notify = format!(
            "NOTIFY sip:gw SIP/2.0\r\nVia: SIP/2.0/TLS fe1;branch=z9hG4bK{call_id}n\r\n\
             Max-Forwards: 70\r\nFrom: {to}\r\nTo: {from}\r\nCall-ID: {call_id}\r\n\
             CSeq: {} NOTIFY\r\nContact: <sip:fe1>\r\nEvent: presence\r\n\
             Subscription-State: {state}\r\nContent-Type: application/pidf+xml\r\n\
             Content-Length: {}\r\n\r\n{body}",
            header(subscribe, "CSeq").split(' ').next().expect("a number"),
            body.len()
        );
        self.feed(at, leg, notify.as_bytes());
    }

    fn pass(&mut self, milliseconds: u64) {
        let end = self.now.plus_ms(milliseconds).monotonic;
        self.run();
        loop {
            let due = self.processes.iter().filter_map(|process| process.gateway.as_ref());
            let due = due.filter_map(Core::next_deadline).min().filter(|due| *due <= end);
            let Some(due) = due else { break };
            self.now = self.now.plus_ms(due.ms_since(self.now.monotonic));
            if self.now.monotonic < due {
                self.now = self.now.plus_ms(1);
            }
            for process in &mut self.processes {
                if let Some(gateway) = &mut process.gateway
                    && gateway.next_deadline().is_some_and(|at| at <= self.now.monotonic)
                {
                    gateway.expire(self.now, &mut process.effects);
                }
            }
            self.run();
        }
        self.now = self.now.plus_ms(end.ms_since(self.now.monotonic));
    }

    /// The gateway that the edges give a pair of domains to.
    fn active(&self, ours: &str, theirs: &str) -> usize {
        let host = |address: &str| domain(address.split('@').next_back().expect("a domain"));
        let snapshot = snapshot(self.rules.clone(), 1);
        let places = snapshot.gateways_of(&host(ours), &host(theirs));
        let names = places.iter().map(|place| snapshot.next_hops()[*place].name.to_string());
        let mut numbers = names.map(|name| NAMES.iter().position(|one| *one == name).expect("one"));
        let up = |at: &usize| self.processes[*at].edge.as_ref().is_some_and(EdgeEnd::is_up);
        numbers.find(up).expect("one is linked")
    }

    /// A partner's stanza, which its edge gives to the gateway that has the pair.
    fn stanza(&mut self, ours: &str, theirs: &str, kind: &str) {
        let at = self.active(ours, theirs);
        self.numbers += 1;
        let text = format!("<presence from='{theirs}' to='{ours}' type='{kind}'/>");
        let process = &mut self.processes[at];
        let leg = process.legs.iter().find(|(_, end)| **end == End::Edge).map(|(leg, _)| *leg);
        let (leg, edge) = (leg.expect("linked"), process.edge.as_mut().expect("linked"));
        let mut out = Vec::new();
        edge.send(of_partner(&text, self.numbers), &mut out).expect("the window is open");
        self.feed(at, leg, &out);
        self.run();
    }

    /// Contacts whom a gateway has subscribed for, as servers inside have it: user and contact.
    fn subscribed(&self, at: usize) -> BTreeSet<String> {
        self.processes[at].subscribed.values().cloned().collect()
    }

    /// What both know, once it is the same.
    fn agreed(&self) -> BTreeMap<Box<str>, (Standing, u64)> {
        let known = |at: usize| {
            let gateway = self.processes[at].gateway.as_ref().expect("it lives");
            gateway.replicas.known().clone()
        };
        assert_eq!(known(0), known(1));
        let on_disk = |at: usize| {
            let held = self.processes[at].store.values();
            held.map(|one| (one.ours.clone(), one.theirs.clone(), one.standing, one.version))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(on_disk(0), on_disk(1), "the stores too");
        for process in &self.processes {
            process.gateway.as_ref().expect("it lives").check();
        }
        known(0)
    }

    /// Each pair's users are subscribed to for each contact that may see them, by the gateway that
    /// has the pair and by no other one.
    fn serves_right(&self) {
        let live = |at: &usize| self.processes[*at].gateway.is_some();
        let first = (0..2).find(live).expect("one lives");
        let known = self.processes[first].gateway.as_ref().expect("it lives").replicas.known();
        let mut expected = [BTreeSet::new(), BTreeSet::new()];
        for (key, (standing, _)) in known {
            let parts: Vec<&str> = key.split(' ').collect();
            if parts[0] == "i" && *standing != Standing::None {
                expected[self.active(parts[1], parts[2])]
                    .insert(format!("{} {}", parts[1], parts[2]));
            }
        }
        for at in (0..2).filter(live) {
            assert_eq!(self.subscribed(at), expected[at], "by {}", NAMES[at]);
        }
    }
}

fn both() -> Vec<(String, String)> {
    (0..12).map(addresses).collect()
}

#[test]
fn what_one_gateway_learns_the_other_one_knows() {
    let mut pair = Pair::new();
    for (ours, theirs) in both() {
        pair.stanza(&ours, &theirs, "subscribe");
    }
    pair.pass(1_000);
    assert_eq!(pair.agreed().len(), 12);
    pair.serves_right();
    assert!((0..2).all(|at| !pair.subscribed(at).is_empty()), "both have pairs");
    let (ours, theirs) = &both()[0];
    pair.stanza(ours, theirs, "unsubscribe");
    pair.pass(1_000);
    let known = pair.agreed();
    assert_eq!(known[&*format!("i {ours} {theirs}")].0, Standing::None, "it is remembered");
    pair.serves_right();
}

#[test]
fn when_a_gateway_dies_the_other_subscribes_for_its_contacts_who_see_our_users_again() {
    let mut pair = Pair::new();
    for (ours, theirs) in both() {
        pair.stanza(&ours, &theirs, "subscribe");
    }
    pair.pass(1_000);
    let orphans = pair.subscribed(0);
    pair.stanzas.clear();
    pair.kill(0);
    pair.pass(4_000);
    pair.serves_right();
    for orphan in orphans {
        let (user, contact) = orphan.split_once(' ').expect("both");
        let sees = pair.stanzas.iter().any(|(at, stanza)| {
            *at == 1
                && attribute(stanza, "to") == contact
                && attribute(stanza, "from").starts_with(user)
                && !stanza.contains("type=")
        });
        assert!(sees, "{contact} sees {user}: {:?}", pair.stanzas);
    }
    assert!(!pair.stanzas.iter().any(|(_, stanza)| stanza.contains("unavailable")));
}

#[test]
fn a_gateway_that_is_back_gets_what_it_missed_and_its_pairs() {
    let mut pair = Pair::new();
    for (ours, theirs) in &both()[..6] {
        pair.stanza(ours, theirs, "subscribe");
    }
    pair.pass(1_000);
    pair.kill(0);
    pair.pass(60_000);
    for (ours, theirs) in &both()[6..] {
        pair.stanza(ours, theirs, "subscribe");
    }
    let (ours, theirs) = &both()[1];
    pair.stanza(ours, theirs, "unsubscribe");
    pair.pass(60_000);
    pair.begin(0);
    pair.pass(3_000);
    pair.agreed();
    pair.pass(5_000);
    pair.agreed();
    pair.serves_right();
    assert!(!pair.subscribed(0).is_empty() && !pair.subscribed(1).is_empty());
    let given_back =
        |at: usize| pair.processes[at].gateway.as_ref().map(|g| g.counters().given_back);
    assert!(given_back(1).is_some_and(|count| count > 0));
    assert_eq!(given_back(0), Some(0));
}

#[test]
fn a_store_that_was_away_does_not_bring_back_what_was_taken_back() {
    let mut pair = Pair::new();
    let (ours, theirs) = &both()[0];
    pair.stanza(ours, theirs, "subscribe");
    pair.pass(1_000);
    let away = 1 - pair.active(ours, theirs);
    pair.kill(away);
    pair.stanza(ours, theirs, "unsubscribe");
    pair.pass(1_000);
    pair.begin(away);
    pair.pass(10_000);
    let known = pair.agreed();
    assert_eq!(known[&*format!("i {ours} {theirs}")].0, Standing::None);
    pair.serves_right();
}

#[test]
fn only_another_gateway_may_publish() {
    let mut world = World::with(setup(), rules_of_two());
    world.said.clear();
    let lines = "Event: entente-authorisations\r\n";
    let body = "2 7fffffff i kim@contoso.example eve@public.example\n";
    let publish =
        sip_request("PUBLISH", "sip:gw.contoso.example", "sip:pool", "<sip:gw>", "1", lines, body);
    world.sip(&publish);
    world.hears_begin("SIP/2.0 403 ");
    assert_eq!(world.gateway.held(), [0; 4]);
    let other = world.open(Class::Internal, None, "gw2.contoso.example");
    world.hear(other);
    world.feed(other, publish.as_bytes());
    world.run();
    let answer = world.hears_begin("SIP/2.0 200 ");
    assert_eq!(world.gateway.held()[0], 1);
    let instance = header(&answer.text, "SIP-ETag");
    for (expected, status) in [(instance.as_str(), "200"), ("0", "412")] {
        let matching = format!("SIP-If-Match: {expected}\r\nEvent");
        world.feed(other, publish.replace("Event", &matching).as_bytes());
        world.run();
        world.hears_begin(&format!("SIP/2.0 {status} "));
    }
    world.feed(other, publish.replace("2 7ff", "9 7ff").as_bytes());
    world.run();
    world.hears_begin("SIP/2.0 400 ");
}

/// Whatever comes in whichever order: gateways that reach each other know the same, and each pair
/// is served by the gateway that has it.
#[test]
fn after_any_deaths_and_partings_gateways_agree() {
    for seed in 1..=12 {
        let mut rng = crate::edge::spread::Spread::new(seed * 7_919);
        let mut pair = Pair::new();
        let people = both();
        for _ in 0..40 {
            let live = [0, 1].map(|at| pair.processes[at].gateway.is_some());
            let drawn = rng.draw();
            let (ours, theirs) = &people[drawn as usize / 64 % people.len()];
            match drawn % 16 {
                0 if live == [true, true] => pair.kill(drawn as usize / 16 % 2),
                0..=2 if live != [true, true] => {
                    let dead = usize::from(live[0]);
                    pair.begin(dead);
                }
                3 => pair.part(true),
                4 | 5 => pair.part(false),
                6 | 7 => pair.pass(drawn / 64 % 20_000),
                8..=12 => pair.stanza(ours, theirs, "subscribe"),
                _ => pair.stanza(ours, theirs, "unsubscribe"),
            }
            pair.pass(drawn / 64 % 500);
        }
        for at in [0, 1] {
            if pair.processes[at].gateway.is_none() {
                pair.begin(at);
            }
        }
        pair.part(false);
        pair.pass(120_000);
        pair.agreed();
        pair.serves_right();
    }
}
