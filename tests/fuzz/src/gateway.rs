//! The gateway as a whole: what servers inside and edges may send it, in any order.
//!
//! An input is a script of parts, each after `%%` and a letter: `S` bytes of SIP from inside, `X` a
//! stanza that an edge passes on, `L` raw bytes on the link, `A` a status for the oldest request of
//! the gateway's, `T` seconds that pass, `C` the link or the next hop's connection breaks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use entente::dns::Domain;
use entente::edge::gateway::{EdgeAddress, Gateway, Setup};
use entente::edge::xmpp_link::{EdgeEnd, FromGateway, LinkFault, Origin, Outgoing, Proof};
use entente::edge::{Class, Command, Connect, Core, Effects, Fed, LegId, Lost, Opened, OutletId};
use entente::limits;
use entente::policy::{
    self, Anchors, Dialect, NextHop, PeerNames, RevocationState, Rules, XmppKind, XmppPartner,
};
use entente::sip::{HeaderTable, Message, Scan, SyntaxFault, reply, scan};
use entente::time::Now;
use entente::xmpp::{Bounds, Read, Reader, StreamHeader};

const PARTS_MAX: usize = 60;
/// Waits for an answer after which all that was asked has been given up.
const PATIENCE_MAX: usize = 10;
/// Deadlines looked at in one stretch of time; each moves on.
const TURNS_MAX: usize = 20_000;

struct World {
    gateway: Gateway,
    effects: Effects,
    now: Now,
    pool: LegId,
    hop: Option<LegId>,
    link: Option<(LegId, EdgeEnd)>,
    rest: BTreeMap<LegId, Vec<u8>>,
    heard: BTreeMap<LegId, Vec<u8>>,
    /// Requests of the gateway's that nobody has answered.
    asked: VecDeque<(LegId, Vec<u8>)>,
    legs: u32,
    /// Stanzas that the edge has sent.
    stanzas: u64,
    /// Whether the link has carried what its edge did not send.
    forged: bool,
}

/// Whatever is said, nothing panics, what the gateway writes can be read, it holds no more than its
/// bounds, and in the end nothing waits.
pub fn gateway(input: &[u8]) {
    let mut world = World::new();
    let parts = split(input);
    for (kind, bytes) in parts.into_iter().take(PARTS_MAX) {
        world.part(kind, bytes);
        let held = world.gateway.held();
        assert!(
            held.iter().all(|count| *count <= input.len()),
            "{held:?} of {} bytes",
            input.len()
        );
    }
    // Subscriptions are tried again now and then; between two tries nothing waits.
    let quiet = (0..PATIENCE_MAX).any(|_| {
        world.pass(limits::GATEWAY_SERVER_MS);
        world.gateway.pending() == 0
    });
    assert!(quiet, "something waits for ever");
}

/// Cuts an input at its lines `%%`.
fn split(input: &[u8]) -> Vec<(u8, &[u8])> {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(2).position(|two| two == b"%%") {
        let after = &rest[at + 2..];
        let Some((kind, after)) = after.split_first() else { break };
        let after = after.strip_prefix(b"\n").unwrap_or(after);
        let end = after.windows(2).position(|two| two == b"%%").unwrap_or(after.len());
        parts.push((*kind, &after[..end]));
        rest = &after[end..];
    }
    parts
}

fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a domain")
}

fn rules() -> Rules {
    let mut rules = Rules::new(
        domain("edge1.contoso.example"),
        domain("sip.contoso.example"),
        domain("gw.contoso.example"),
        vec![domain("contoso.example"), domain("simple.example")],
    );
    let hop = |name: &str, own: &str, dialect| NextHop {
        domains: vec![domain(own)],
        addresses: vec!["10.0.0.20".parse().expect("an address")],
        dialect,
        ..NextHop::new(domain(name))
    };
    rules.next_hops = vec![
        hop("pool.contoso.example", "contoso.example", Dialect::Lync),
        hop("sip.simple.example", "simple.example", Dialect::Simple),
    ];
    rules.internal_names = vec![domain("pool.contoso.example"), domain("sip.simple.example")];
    rules.xmpp.partners = vec![
        XmppPartner { kind: XmppKind::Federated, ..XmppPartner::new(domain("fabrikam.example")) },
        XmppPartner {
            kind: XmppKind::PublicUnverified,
            ..XmppPartner::new(domain("public.example"))
        },
    ];
    rules
}

fn names(host: &str) -> Arc<PeerNames> {
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

impl World {
    fn new() -> Self {
        let edge = EdgeAddress {
            name: domain("edge1.contoso.example"),
            port: 23456,
            addresses: vec!["10.0.0.1".parse().expect("an address")],
        };
        let setup = Setup {
            chat_idle_s: 60,
            ..Setup::single([3, 5], domain("gw.contoso.example"), vec![edge])
        };
        let snapshot = Arc::new(policy::compile(rules(), 1).expect("no contradiction"));
        let mut world = Self {
            gateway: Gateway::new(setup, snapshot),
            effects: Effects::default(),
            now: Now { unix_s: 1_700_000_000, ..Now::default() },
            pool: LegId { index: 0, generation: 0 },
            hop: None,
            link: None,
            rest: BTreeMap::new(),
            heard: BTreeMap::new(),
            asked: VecDeque::new(),
            legs: 0,
            stanzas: 0,
            forged: false,
        };
        world.pool = world.open(Class::Internal, None, "pool.contoso.example");
        world.pass(0);
        world
    }

    fn open(&mut self, class: Class, outlet: Option<OutletId>, host: &str) -> LegId {
        self.legs += 1;
        let leg = LegId { index: self.legs, generation: 1 };
        self.effects.open(leg);
        let opened = Opened {
            class,
            outlet,
            peer: Some(names(host)),
            doubt: None,
            remote: "10.0.0.9:4000".parse().expect("an address"),
            local: "10.0.0.30:5061".parse().expect("an address"),
        };
        self.gateway.leg_opened(self.now, leg, opened, &mut self.effects);
        leg
    }

    fn part(&mut self, kind: u8, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        match kind {
            b'S' => self.feed(self.pool, bytes),
            b'X' => self.stanza(bytes),
            b'L' => {
                if let Some((leg, _)) = self.link {
                    self.forged = true;
                    self.feed(leg, bytes);
                }
            }
            b'A' => self.answer(text.parse().unwrap_or(200)),
            b'T' => self.pass(text.parse::<u64>().unwrap_or(1).min(10_000) * 1_000),
            _ if text.starts_with('h') => {
                if let Some(leg) = self.hop.take() {
                    self.lose(leg);
                }
            }
            _ => {
                if let Some((leg, _)) = self.link.take() {
                    self.lose(leg);
                }
            }
        }
        self.run();
    }

    fn lose(&mut self, leg: LegId) {
        self.asked.retain(|(on, _)| *on != leg);
        self.effects.close(leg);
        self.gateway.leg_closed(self.now, leg, Lost::Reset, 0, &mut self.effects);
    }

    fn feed(&mut self, leg: LegId, bytes: &[u8]) {
        let mut input = self.rest.remove(&leg).unwrap_or_default();
        input.extend_from_slice(bytes);
        let mut at = 0;
        while at < input.len() {
            match self.gateway.feed(self.now, leg, &input[at..], &mut self.effects) {
                Fed::Consumed(consumed) => {
                    assert!(consumed > 0, "consumes nothing and would be called for ever");
                    at += consumed;
                }
                Fed::NeedMore(wanted) => {
                    assert!(wanted > input.len() - at, "asks for what it has");
                    break;
                }
                Fed::Dead => at = input.len(),
            }
        }
        self.rest.insert(leg, input.split_off(at));
    }

    /// An edge passes on a stanza of a partner's, which it has read and judged.
    fn stanza(&mut self, bytes: &[u8]) {
        let mut head = Vec::new();
        StreamHeader::between("fabrikam.example", "contoso.example").write(&mut head);
        let mut reader = Reader::new(Bounds::authenticated(limits::XMPP_STANZA_BYTES_MAX));
        assert!(matches!(reader.read(&head), Ok(Read::Header { .. })));
        let Ok(Read::Element { element, .. }) = reader.read(bytes) else { return };
        let Some(Ok(from)) = element.from_jid() else { return };
        let kind = match from.domain() {
            "fabrikam.example" => XmppKind::Federated,
            "public.example" => XmppKind::PublicUnverified,
            _ => return,
        };
        let origin = Origin { partner: from.to_domain(), kind, proof: Proof::External };
        self.stanzas += 1;
        let Some(outgoing) = Outgoing::of(&element, &origin, self.stanzas) else { return };
        let Some((leg, end)) = &mut self.link else { return };
        let (leg, mut out) = (*leg, Vec::new());
        if end.is_up() && end.send(outgoing, &mut out).is_ok() {
            self.feed(leg, &out);
        }
    }

    /// Answers the oldest request of the gateway's.
    fn answer(&mut self, status: u16) {
        let Some((leg, bytes)) = self.asked.pop_front() else { return };
        let mut table = HeaderTable::new();
        let Ok(Scan::Message(scanned)) = scan(&bytes, &mut table) else { return };
        let request = Message::new(&bytes, &table, scanned);
        let mut out = Vec::new();
        let lines = b"Contact: <sip:fe1>\r\nExpires: 60\r\n";
        reply::write(&mut out, &request, status.clamp(100, 699), "Said", b"inside", lines);
        self.feed(leg, &out);
    }

    fn pass(&mut self, milliseconds: u64) {
        let end = self.now.plus_ms(milliseconds).monotonic;
        for _ in 0..TURNS_MAX {
            self.run();
            let due = self.gateway.next_deadline().filter(|due| *due <= end);
            let Some(due) = due else { break };
            let step = due.ms_since(self.now.monotonic).max(1);
            self.now = self.now.plus_ms(step);
            self.gateway.expire(self.now, &mut self.effects);
        }
        let left = end.ms_since(self.now.monotonic);
        self.now = self.now.plus_ms(left);
        self.run();
    }

    /// Does for the gateway what it wants, and reads what it says, until it is quiet.
    fn run(&mut self) {
        for _ in 0..1_000 {
            let mut connects: Vec<Connect> = Vec::new();
            for command in std::mem::take(&mut self.effects.commands) {
                match command {
                    Command::Connect(connect) => connects.push(connect),
                    Command::Close { leg, .. } => self.closed(leg),
                    _ => {}
                }
            }
            self.effects.authorisations.clear();
            let quiet = connects.is_empty();
            connects.into_iter().for_each(|connect| self.connect(&connect));
            let read = self.link_reads() | self.sip_reads();
            if quiet && !read && self.effects.commands.is_empty() {
                return;
            }
        }
        panic!("the gateway does not come to rest");
    }

    fn closed(&mut self, leg: LegId) {
        if self.link.as_ref().is_some_and(|(link, _)| *link == leg) {
            self.link = None;
        }
        if self.hop == Some(leg) {
            self.hop = None;
        }
        self.rest.remove(&leg);
        self.lose(leg);
        if leg == self.pool {
            self.pool = self.open(Class::Internal, None, "pool.contoso.example");
        }
    }

    fn connect(&mut self, connect: &Connect) {
        let host = connect.server_name.to_string();
        let leg = self.open(connect.class, Some(connect.outlet), &host);
        match connect.class {
            Class::XmppLink => {
                let end = EdgeEnd::accept(connect.server_name.clone(), "s1".to_owned());
                (self.link, self.forged) = (Some((leg, end)), false);
            }
            _ => self.hop = Some(leg),
        }
        self.heard.insert(leg, Vec::new());
    }

    fn link_reads(&mut self) -> bool {
        let Some((leg, end)) = &mut self.link else { return false };
        let leg = *leg;
        let heard = self.heard.entry(leg).or_default();
        let staged = self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default();
        heard.extend(staged);
        let (mut at, mut out) = (0, Vec::new());
        while at < heard.len() {
            let read = match end.read(&heard[at..], &mut out) {
                Err(LinkFault::Accounting) if self.forged => {
                    // The gateway is done with what this edge has never sent.
                    self.closed(leg);
                    return true;
                }
                read => read.expect("the gateway keeps to its link"),
            };
            match read {
                FromGateway::NeedMore(_) => break,
                FromGateway::Done { consumed }
                | FromGateway::Named { consumed, .. }
                | FromGateway::Up { consumed }
                | FromGateway::Ended { consumed } => at += consumed,
                FromGateway::Stanza { element, number, consumed } => {
                    assert!(element.from_jid().is_some() && element.to_jid().is_some());
                    at += consumed;
                    end.taken(number, &mut out);
                }
            }
        }
        heard.drain(..at);
        if !out.is_empty() {
            self.feed(leg, &out);
        }
        at > 0
    }

    fn sip_reads(&mut self) -> bool {
        let mut any = false;
        for leg in [Some(self.pool), self.hop].into_iter().flatten() {
            let staged = self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default();
            let heard = self.heard.entry(leg).or_default();
            heard.extend(staged);
            let mut table = HeaderTable::new();
            while !heard.is_empty() {
                match scan(heard, &mut table) {
                    Ok(Scan::Message(scanned)) => {
                        let bytes: Vec<u8> = heard.drain(..scanned.total()).collect();
                        let message = Message::new(&bytes, &table, scanned);
                        if message.status().is_none() {
                            // A Contact of the inside is where its requests go, whatever it is.
                            let sound =
                                matches!(message.verify(), Ok(()) | Err(SyntaxFault::Scheme));
                            assert!(sound, "{}", bytes.escape_ascii());
                            self.asked.push_back((leg, bytes));
                        }
                    }
                    Ok(Scan::KeepAlive { consumed, .. }) => drop(heard.drain(..consumed)),
                    other => panic!("the gateway writes SIP: {other:?}"),
                }
                any = true;
            }
        }
        any
    }
}
