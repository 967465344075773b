//! A world of one gateway: edges with the real end of a link, scripted servers inside, a resolver
//! and a clock of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dns::{Domain, Question};
use crate::edge::gateway::authorisation::{Direction, Standing};
use crate::edge::gateway::links::{Edge, Tag};
use crate::edge::gateway::uac::Purpose;
use crate::edge::gateway::{Authorisation, Change, EdgeAddress, Gateway, Setup};
use crate::edge::xmpp_link::{EdgeEnd, FromGateway, Origin, Outgoing, Proof};
use crate::edge::{
    Class, CloseReason, Command, Connect, ConnectFailure, Core, Drain, Effects, Fed, LegId, Lost,
    Note, Opened, OutletId,
};
use crate::policy::{
    self, Anchors, Dialect, NextHop, PeerNames, RevocationState, Rules, Snapshot, XmppKind,
    XmppPartner,
};
use crate::sip::{HeaderTable, Scan, scan};
use crate::time::Now;
use crate::xmpp::{Bounds, Read, Reader, StanzaError, StreamHeader};

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a test's domain is one")
}

fn hop(name: &str, own: &str, dialect: Dialect) -> NextHop {
    let mut hop = NextHop::new(domain(name));
    hop.domains = vec![domain(own)];
    hop.addresses = vec!["10.0.0.20".parse().expect("an address")];
    hop.dialect = dialect;
    hop
}

/// contoso.example is served by a pool that speaks as Lync does, simple.example by a server of
/// single messages. fabrikam.example is an organisation, public.example a service of strangers.
pub(super) fn rules() -> Rules {
    let partner = |name: &str, kind| XmppPartner { kind, ..XmppPartner::new(domain(name)) };
    let mut rules = Rules::new(
        domain("edge1.contoso.example"),
        domain("sip.contoso.example"),
        domain("gw.contoso.example"),
        vec![domain("contoso.example"), domain("simple.example")],
    );
    rules.xmpp.partners = vec![
        partner("fabrikam.example", XmppKind::Federated),
        partner("verified.example", XmppKind::PublicVerified),
        partner("public.example", XmppKind::PublicUnverified),
    ];
    rules.next_hops = vec![
        hop("pool.contoso.example", "contoso.example", Dialect::Lync),
        hop("sip.simple.example", "simple.example", Dialect::Simple),
    ];
    rules.internal_names = vec![domain("pool.contoso.example"), domain("sip.simple.example")];
    rules
}

pub(super) fn snapshot(rules: Rules, epoch: u64) -> Arc<Snapshot> {
    Arc::new(policy::compile(rules, epoch).expect("no contradiction"))
}

pub(super) fn setup() -> Setup {
    let edge = |name: &str, ip: &str| EdgeAddress {
        name: domain(name),
        port: 23456,
        addresses: vec![ip.parse().expect("an address")],
    };
    let edges = vec![edge("edge1.contoso.example", "10.0.0.1")];
    Setup::single([3, 5], domain("gw.contoso.example"), edges)
}

pub(super) fn two_edges() -> Setup {
    let mut setup = setup();
    let mut second = setup.edges[0].clone();
    second.name = domain("edge2.contoso.example");
    setup.edges.push(second);
    setup
}

/// A connection of `host`, as a shell tells of it.
pub(super) fn opened(class: Class, outlet: Option<OutletId>, host: &str) -> Opened {
    Opened {
        class,
        outlet,
        peer: Some(names(host)),
        doubt: None,
        remote: "10.0.0.9:4000".parse().expect("an address"),
        local: "10.0.0.30:5061".parse().expect("an address"),
    }
}

pub(super) fn names(host: &str) -> Arc<PeerNames> {
    Arc::new(PeerNames {
        dns_names: vec![domain(host)],
        sip_domains: Vec::new(),
        common_name: None,
        xmpp: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint: [7; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Unknown,
    })
}

/// What an edge does with the stanzas it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    /// Reports that the partner's stream took them.
    Takes,
    /// Says nothing.
    Silent,
    /// Reports that they could not be delivered.
    Bounces(StanzaError),
}

pub(super) struct FakeEdge {
    pub(super) leg: LegId,
    pub(super) name: String,
    pub(super) end: EdgeEnd,
    pub(super) conduct: Conduct,
    /// How many stanzas it was given.
    pub(super) given: usize,
    rest: Vec<u8>,
}

/// A server inside: what it was sent that nobody has looked at.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) leg: LegId,
    pub(super) text: String,
}

pub(super) struct World {
    pub(super) gateway: Gateway,
    pub(super) now: Now,
    pub(super) effects: Effects,
    pub(super) edges: Vec<FakeEdge>,
    pub(super) conduct: Conduct,
    /// Stanzas that edges were given, in order.
    pub(super) stanzas: Vec<String>,
    pub(super) said: Vec<Said>,
    pub(super) connects: Vec<Connect>,
    pub(super) questions: Vec<Question>,
    pub(super) closed: Vec<(LegId, CloseReason)>,
    pub(super) notes: Vec<Note>,
    /// What the store was told, and holds.
    pub(super) changes: Vec<Change>,
    pub(super) store: BTreeMap<(String, String, Direction), Authorisation>,
    /// Connections that are asked for come up by themselves.
    pub(super) connected: bool,
    /// The connection that the servers inside have opened.
    pub(super) pool: LegId,
    /// Answers to pings.
    pub(super) pongs: usize,
    /// How many stanzas came from partners.
    pub(super) numbers: u64,
    rest: BTreeMap<LegId, Vec<u8>>,
    sip: BTreeMap<LegId, Vec<u8>>,
    legs: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(setup())
    }

    pub(super) fn of(setup: Setup) -> Self {
        Self::with(setup, rules())
    }

    pub(super) fn with(setup: Setup, rules: Rules) -> Self {
        let mut world = Self {
            gateway: Gateway::new(setup, snapshot(rules, 1)),
            now: Now { unix_s: 1_700_000_000, ..Now::default() },
            effects: Effects::default(),
            edges: Vec::new(),
            conduct: Conduct::Takes,
            stanzas: Vec::new(),
            said: Vec::new(),
            connects: Vec::new(),
            questions: Vec::new(),
            closed: Vec::new(),
            notes: Vec::new(),
            changes: Vec::new(),
            store: BTreeMap::new(),
            connected: true,
            pool: LegId { index: 0, generation: 0 },
            pongs: 0,
            numbers: 0,
            rest: BTreeMap::new(),
            sip: BTreeMap::new(),
            legs: 0,
        };
        world.pool = world.open(Class::Internal, None, "pool.contoso.example");
        world.sip.insert(world.pool, Vec::new());
        world.pass(0);
        world
    }

    pub(super) fn open(&mut self, class: Class, outlet: Option<OutletId>, host: &str) -> LegId {
        self.legs += 1;
        let leg = LegId { index: self.legs, generation: 1 };
        self.effects.open(leg);
        let opened = opened(class, outlet, host);
        self.gateway.leg_opened(self.now, leg, opened, &mut self.effects);
        leg
    }

    /// Lets a connection that was asked for come up.
    pub(super) fn grant(&mut self) -> LegId {
        let connect = self.connects.remove(0);
        let host = connect.server_name.to_string();
        let leg = self.open(connect.class, Some(connect.outlet), &host);
        if connect.class == Class::XmppLink {
            self.edges.push(FakeEdge {
                leg,
                end: EdgeEnd::accept(connect.server_name, "s1".to_owned()),
                name: host,
                conduct: self.conduct,
                given: 0,
                rest: Vec::new(),
            });
        } else {
            self.sip.insert(leg, Vec::new());
        }
        leg
    }

    pub(super) fn deny(&mut self) {
        let connect = self.connects.remove(0);
        let why = ConnectFailure::Unreachable;
        self.gateway.connect_failed(self.now, connect.outlet, why, &mut self.effects);
        self.run();
    }

    pub(super) fn run(&mut self) {
        for _ in 0..10_000 {
            self.collect();
            if self.connected && !self.connects.is_empty() {
                self.grant();
                continue;
            }
            let edges = self.edges.len();
            let moved = (0..edges).any(|at| self.edge_reads(at));
            if !moved && !self.sip_reads() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn edge_reads(&mut self, at: usize) -> bool {
        let Some(edge) = self.edges.get_mut(at) else { return false };
        let leg = edge.leg;
        let staged = self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default();
        edge.rest.extend(staged);
        let mut out = Vec::new();
        let consumed = match edge.end.read(&edge.rest, &mut out).expect("the gateway is right") {
            FromGateway::NeedMore(_) => 0,
            FromGateway::Done { consumed }
            | FromGateway::Named { consumed, .. }
            | FromGateway::Up { consumed }
            | FromGateway::Ended { consumed } => consumed,
            FromGateway::Stanza { element, number, consumed } => {
                let text = String::from_utf8(element.raw().to_vec()).expect("text");
                self.stanzas.push(text);
                edge.given += 1;
                match edge.conduct {
                    Conduct::Takes => edge.end.taken(number, &mut out),
                    Conduct::Silent => {}
                    Conduct::Bounces(error) => {
                        edge.end.bounced(number, error, Some("not today"), &mut out);
                    }
                }
                consumed
            }
        };
        edge.rest.drain(..consumed);
        if !out.is_empty() {
            self.feed(leg, &out);
        }
        consumed > 0 || !out.is_empty()
    }

    fn sip_reads(&mut self) -> bool {
        let legs: Vec<LegId> = self.sip.keys().copied().collect();
        let mut moved = false;
        for leg in legs {
            let staged = self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default();
            let Some(held) = self.sip.get_mut(&leg) else { continue };
            held.extend(staged);
            let mut table = HeaderTable::new();
            loop {
                match scan(held, &mut table) {
                    Ok(Scan::Message(scanned)) => {
                        let message: Vec<u8> = held.drain(..scanned.total()).collect();
                        let text = String::from_utf8(message).expect("text");
                        self.said.push(Said { leg, text });
                    }
                    Ok(Scan::KeepAlive { consumed, .. }) => {
                        held.drain(..consumed);
                        self.pongs += 1;
                    }
                    Ok(Scan::NeedMore(_)) => break,
                    other => panic!("the gateway writes SIP: {other:?}"),
                }
                moved = true;
            }
        }
        moved
    }

    pub(super) fn feed(&mut self, leg: LegId, bytes: &[u8]) {
        let mut input = self.rest.remove(&leg).unwrap_or_default();
        input.extend_from_slice(bytes);
        let mut at = 0;
        while at < input.len() {
            match self.gateway.feed(self.now, leg, &input[at..], &mut self.effects) {
                Fed::Consumed(bytes) => at += bytes,
                Fed::NeedMore(_) => break,
                Fed::Dead => at = input.len(),
            }
            self.collect();
        }
        if at < input.len() {
            self.rest.insert(leg, input.split_off(at));
        }
    }

    fn collect(&mut self) {
        for command in std::mem::take(&mut self.effects.commands) {
            match command {
                Command::Connect(connect) => self.connects.push(connect),
                Command::Ask(question) => self.questions.push(question),
                Command::Close { leg, reason } => self.closed.push((leg, reason)),
                Command::Note(note) => self.notes.push(note),
                _ => panic!("not of this core"),
            }
        }
        for change in std::mem::take(&mut self.effects.authorisations) {
            self.changes.push(change.clone());
            match change {
                Change::Remember(one) => {
                    let key = (one.ours.clone(), one.theirs.clone(), one.direction);
                    self.store.insert(key, one);
                }
                Change::Forget { ours, theirs, direction } => {
                    self.store.remove(&(ours, theirs, direction));
                }
            }
        }
    }

    /// Lets time pass, with everything that is due in it.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        let end = self.now.plus_ms(milliseconds).monotonic;
        while let Some(due) = self.gateway.next_deadline().filter(|due| *due <= end) {
            let step = due.ms_since(self.now.monotonic);
            self.now = self.now.plus_ms(step);
            if self.now.monotonic < due {
                self.now = self.now.plus_ms(1);
            }
            self.gateway.expire(self.now, &mut self.effects);
            self.run();
        }
        let left = end.ms_since(self.now.monotonic);
        self.now = self.now.plus_ms(left);
        self.run();
    }

    pub(super) fn lose(&mut self, leg: LegId) {
        self.effects.close(leg);
        self.edges.retain(|edge| edge.leg != leg);
        self.sip.remove(&leg);
        self.gateway.leg_closed(self.now, leg, Lost::Reset, 0, &mut self.effects);
        self.run();
    }

    /// A connection that the gateway has opened to a next hop.
    pub(super) fn own_sip_leg(&self) -> Option<LegId> {
        self.sip.keys().copied().find(|leg| *leg != self.pool)
    }

    /// Reads what is written on a connection that a server inside has opened.
    pub(super) fn hear(&mut self, leg: LegId) {
        self.sip.insert(leg, Vec::new());
    }

    /// The edges tell which gateways they are linked with.
    pub(super) fn tell(&mut self, names: &str) {
        for at in 0..self.edges.len() {
            let (mut out, edge) = (Vec::new(), &self.edges[at]);
            let leg = edge.leg;
            edge.end.tell_gateways(names, &mut out);
            assert!(!out.is_empty(), "a gateway wants to know");
            self.feed(leg, &out);
        }
        self.run();
    }

    pub(super) fn drain(&mut self, stage: Drain) {
        self.gateway.drain(self.now, stage, &mut self.effects);
        self.run();
    }

    pub(super) fn adopt(&mut self, rules: Rules, epoch: u64) {
        self.gateway.adopt(self.now, snapshot(rules, epoch), &mut self.effects);
        self.run();
    }

    /// A server inside says something on the connection that it has opened.
    pub(super) fn sip(&mut self, text: &str) {
        let pool = self.pool;
        self.feed(pool, text.as_bytes());
        self.run();
    }

    /// The oldest message that servers inside were sent; panics if there is none.
    pub(super) fn hears(&mut self) -> Said {
        assert!(!self.said.is_empty(), "nothing was sent inside");
        self.said.remove(0)
    }

    /// The same, of which the first line begins so.
    pub(super) fn hears_begin(&mut self, begins: &str) -> Said {
        let said = self.hears();
        assert!(said.text.starts_with(begins), "not {begins}: {}", said.text);
        said
    }

    /// Answers a request of the gateway's.
    pub(super) fn answer(&mut self, said: &Said, status: &str, lines: &str, body: &str) {
        let text = response(&said.text, status, lines, body);
        self.feed(said.leg, text.as_bytes());
        self.run();
    }

    /// A partner's stanza comes by the first edge.
    pub(super) fn stanza(&mut self, text: &str) {
        self.at_once(&[text.to_owned()]);
    }

    /// Several come in one turn.
    pub(super) fn at_once(&mut self, texts: &[String]) {
        let numbers = self.numbers + 1..;
        let outgoing: Vec<Outgoing> =
            texts.iter().zip(numbers).map(|(text, number)| of_partner(text, number)).collect();
        self.numbers += texts.len() as u64;
        let edge = self.edges.first_mut().expect("a link");
        let (leg, mut out) = (edge.leg, Vec::new());
        for outgoing in outgoing {
            edge.end.send(outgoing, &mut out).expect("the window is open");
        }
        self.feed(leg, &out);
        self.run();
    }

    /// The oldest stanza that an edge was given; panics if there is none.
    pub(super) fn sees(&mut self) -> String {
        assert!(!self.stanzas.is_empty(), "no stanza was sent");
        self.stanzas.remove(0)
    }

    pub(super) fn nothing_more(&self) {
        self.sees_nothing();
        self.nothing_more_said();
    }

    pub(super) fn sees_nothing(&self) {
        assert!(self.stanzas.is_empty(), "{:?}", self.stanzas);
    }

    pub(super) fn nothing_more_said(&self) {
        assert!(self.said.is_empty(), "{:?}", self.said);
    }
}

/// Returns a stanza as an edge passes it on.
pub(super) fn of_partner(text: &str, number: u64) -> Outgoing {
    let theirs = attribute(text, "from");
    let theirs = theirs.split('@').next_back().unwrap_or_default();
    let partner = domain(theirs.split('/').next().unwrap_or_default());
    let kind = match partner.as_str() {
        "public.example" => XmppKind::PublicUnverified,
        "verified.example" => XmppKind::PublicVerified,
        _ => XmppKind::Federated,
    };
    let origin = Origin { partner, kind, proof: Proof::External };
    with_element(text, |element| Outgoing::of(element, &origin, number).expect("no forged marks"))
}

fn with_element<R>(text: &str, work: impl FnOnce(&crate::xmpp::Element<'_>) -> R) -> R {
    let mut head = Vec::new();
    StreamHeader::between("fabrikam.example", "contoso.example").write(&mut head);
    let mut reader = Reader::new(Bounds::authenticated(1_000_000));
    assert!(matches!(reader.read(&head), Ok(Read::Header { .. })));
    match reader.read(text.as_bytes()) {
        Ok(Read::Element { element, .. }) => work(&element),
        other => panic!("no element: {other:?}"),
    }
}

/// Returns the value of an attribute's first appearance.
pub(super) fn attribute(text: &str, name: &str) -> String {
    let opens = format!(" {name}='");
    let at = text.find(&opens).unwrap_or_else(|| panic!("no {name} in {text}"));
    let rest = &text[at + opens.len()..];
    rest[..rest.find('\'').expect("closed")].to_owned()
}

/// Returns the value of a header field's first appearance.
pub(super) fn header(text: &str, name: &str) -> String {
    let opens = format!("\r\n{name}: ");
    let at = text.find(&opens).unwrap_or_else(|| panic!("no {name} in {text}"));
    let rest = &text[at + opens.len()..];
    rest[..rest.find("\r\n").expect("a line")].to_owned()
}

pub(super) fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").expect("a head").1
}

/// Returns an answer to a request; To gets a tag if it has none.
pub(super) fn response(request: &str, status: &str, lines: &str, body: &str) -> String {
    let mut to = header(request, "To");
    if !to.contains(";tag=") {
        to.push_str(";tag=inside");
    }
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         {lines}Content-Length: {}\r\n\r\n{body}",
        header(request, "Via"),
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len()
    )
}

/// Returns a request of one of our users to a contact. `to`: with its tag, if it has one.
pub(super) fn request(method: &str, from: &str, to: &str, lines: &str, body: &str) -> String {
    let uri = to.split([';', '>']).next().unwrap_or_default().trim_start_matches('<');
    sip_request(method, uri, from, to, "1", lines, body)
}

pub(super) fn sip_request(
    method: &str,
    uri: &str,
    from: &str,
    to: &str,
    cseq: &str,
    lines: &str,
    body: &str,
) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS pool.contoso.example:5061;branch=z9hG4bK{cseq}x\
         \r\nMax-Forwards: 69\r\nFrom: <{from}>;tag=ours\r\nTo: {to}\r\nCall-ID: call1\r\n\
         CSeq: {cseq} {method}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn message(from: &str, to: &str, text: &str) -> String {
    let to = format!("<{to}>");
    request("MESSAGE", from, &to, "Content-Type: text/plain\r\n", text)
}

pub(super) fn chat(from: &str, to: &str, id: &str, content: &str) -> String {
    format!("<message from='{from}' to='{to}' id='{id}' type='chat'>{content}</message>")
}

/// What must hold between calls, whatever happened.
impl Gateway {
    pub(super) fn check(&self) {
        let [_, watches, subscriptions, chats] = self.held();
        assert_eq!(self.dialogs.len(), watches + subscriptions + chats, "a tag for each dialog");
        let in_flight: usize = self.in_flight.values().sum();
        assert_eq!(in_flight, self.clients.len());
        assert!(self.by_stanza.len() <= self.servers.len());
        let (mut watched, mut subscribed) = (0, 0);
        for key in self.contacts.keys() {
            let contact = self.contacts.get(key).expect("a key of its own");
            watched += contact.watches.len();
            subscribed += usize::from(contact.subscription.is_some());
            for watch in &contact.watches {
                assert_eq!(self.watches.get(*watch).map(|watch| watch.contact), Some(key));
            }
            if let Some(chat) = contact.chat {
                assert_eq!(self.chats.get(chat).map(|chat| chat.contact), Some(key));
            }
        }
        assert_eq!((watched, subscribed), (watches, subscriptions), "each has its contact");
        self.check_owed();
    }

    /// What an edge keeps has somebody here who will be done with it, and once.
    fn check_owed(&self) {
        let of_purpose = |purpose: &Purpose| match purpose {
            Purpose::Pager(sent) => sent.owed(),
            Purpose::InSession(_, sent) => sent.sender.owed,
            _ => None,
        };
        let of_tag = |tag: &Tag| match tag {
            Tag::Failure(owed) => Some(*owed),
            _ => None,
        };
        let clients = self.clients.keys().into_iter().filter_map(|key| self.clients.get(key));
        let chats = self.chats.keys().into_iter().filter_map(|key| self.chats.get(key));
        let held = clients
            .map(|client| of_purpose(client.purpose()))
            .chain(self.concluded.iter().map(|(purpose, _)| of_purpose(purpose)))
            .chain(chats.flat_map(|chat| chat.waiting.iter().map(|(_, sender)| sender.owed)))
            .chain(self.edges.iter().flat_map(Edge::tags).map(of_tag))
            .chain(self.waiting.iter().map(|(_, sent)| of_tag(&sent.tag)))
            .chain(self.settled.iter().map(|(tag, _)| of_tag(tag)));
        let mut held: Vec<_> = held.flatten().map(|owed| (owed.edge, owed.number)).collect();
        let all = held.len();
        held.sort_unstable();
        held.dedup();
        assert_eq!(held.len(), all, "a message is in one hand");
        let open: usize = self.edges.iter().map(|edge| edge.debts.open()).sum();
        assert_eq!(open, all, "no message has slipped out of it");
    }

    /// How many authorisations there are, and contacts with any.
    pub(super) fn authorisations(&self) -> usize {
        let held = self.contacts.keys().into_iter().filter_map(|key| self.contacts.get(key));
        held.map(|contact| {
            usize::from(contact.outward != Standing::None)
                + usize::from(contact.inward != Standing::None)
        })
        .sum()
    }

    pub(super) fn contacts_authorised(&self) -> usize {
        let held = self.contacts.keys().into_iter().filter_map(|key| self.contacts.get(key));
        held.filter(|contact| contact.outward != Standing::None || contact.inward != Standing::None)
            .count()
    }
}
