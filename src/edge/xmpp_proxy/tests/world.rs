//! A world of one XMPP proxy: scripted servers of partners, gateways with the real end of a link,
//! a resolver and a clock of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dns::{Answer, Domain, Failure, Question, Target};
use crate::edge::xmpp_link::{FromEdge, GatewayEnd, Origin};
use crate::edge::xmpp_proxy::{Setup, XmppProxy};
use crate::edge::{
    Class, CloseReason, Command, Connect, ConnectFailure, Core, Decided, Drain, Effects, Fed,
    LegId, Lost, Note, Opened, Secured,
};
use crate::policy::{
    self, Anchors, Negotiation, PeerNames, RevocationState, Rules, Snapshot, XmppPartner,
};
use crate::time::Now;
use crate::xmpp::{ReceivedStanzaError, StreamHeader, dialback, ns};

pub(super) const SECRET: &[u8] = b"s3cr3tf0rd14lb4ck";

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a test's domain is one")
}

pub(super) fn partner(name: &str) -> XmppPartner {
    XmppPartner::new(domain(name))
}

/// The organisation is contoso.example; fabrikam.example proves itself by certificate,
/// tailspin.example by dialback over TLS, google.example by dialback in the clear.
pub(super) fn rules() -> Rules {
    let mut fabrikam = partner("fabrikam.example");
    fabrikam.additional = vec![domain("chat.fabrikam.example")];
    let mut tailspin = partner("tailspin.example");
    tailspin.sasl = Negotiation::NotSupported;
    tailspin.additional = vec![domain("chat.tailspin.example")];
    let mut google = partner("google.example");
    (google.tls, google.sasl) = (Negotiation::NotSupported, Negotiation::NotSupported);
    let mut rules = Rules::new(
        domain("edge1.contoso.example"),
        domain("sip.contoso.example"),
        domain("lsedge.contoso.example"),
        vec![domain("contoso.example"), domain("emea.example")],
    );
    rules.addresses.allow_networks = vec!["192.0.2.0/24".parse().expect("a network")];
    rules.xmpp.partners = vec![fabrikam, tailspin, google];
    rules.xmpp.gateways = vec![domain("gw1.contoso.example"), domain("gw2.contoso.example")];
    rules
}

pub(super) fn snapshot(rules: Rules, epoch: u64) -> Snapshot {
    policy::compile(rules, epoch).expect("no contradiction")
}

pub(super) fn names(hosts: &[&str]) -> Arc<PeerNames> {
    Arc::new(PeerNames {
        dns_names: hosts.iter().map(|host| domain(host)).collect(),
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

/// A header as a server sends it.
pub(super) fn header(from: &str, to: &str) -> String {
    let mut out = Vec::new();
    StreamHeader::between(from, to).write(&mut out);
    String::from_utf8(out).expect("text")
}

/// The header of the side that was connected to.
pub(super) fn header_with_id(from: &str, to: &str, id: &str) -> String {
    let mut out = Vec::new();
    StreamHeader::between(from, to).with_id(id).write(&mut out);
    String::from_utf8(out).expect("text")
}

pub(super) fn features(content: &str) -> String {
    format!("<stream:features>{content}</stream:features>")
}

pub(super) const EXTERNAL: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>EXTERNAL</mechanism></mechanisms>";
pub(super) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const DIALBACK: &str =
    "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
pub(super) const AUTH: &str =
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
pub(super) const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

pub(super) fn message(from: &str, to: &str, id: &str) -> String {
    format!("<message from='{from}' to='{to}' id='{id}' type='chat'><body>Hi</body></message>")
}

/// A gateway with its end of a link.
pub(super) struct Gateway {
    pub(super) leg: LegId,
    pub(super) end: GatewayEnd<String>,
    pub(super) stanzas: Vec<(String, Origin)>,
    /// Numbers of those that it is not done with.
    pub(super) undone: Vec<u64>,
    pub(super) taken: Vec<String>,
    pub(super) bounced: Vec<(String, ReceivedStanzaError)>,
    /// The gateways that it was told are linked.
    pub(super) others: String,
    rest: Vec<u8>,
}

pub(super) struct World {
    pub(super) proxy: XmppProxy,
    pub(super) now: Now,
    pub(super) effects: Effects,
    pub(super) connects: Vec<Connect>,
    pub(super) questions: Vec<Question>,
    pub(super) closed: Vec<(LegId, CloseReason)>,
    pub(super) notes: Vec<Note>,
    pub(super) decided: Vec<Decided>,
    pub(super) starttls: Vec<LegId>,
    pub(super) admitted: Vec<LegId>,
    rest: BTreeMap<LegId, Vec<u8>>,
    legs: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(rules())
    }

    pub(super) fn with(rules: Rules) -> Self {
        Self::of(Arc::new(snapshot(rules, 1)), Setup::single([3, 5], SECRET))
    }

    pub(super) fn of(snapshot: Arc<Snapshot>, setup: Setup) -> Self {
        Self {
            proxy: XmppProxy::new(setup, snapshot),
            now: Now { unix_s: 1_700_000_000, ..Now::default() },
            effects: Effects::default(),
            connects: Vec::new(),
            questions: Vec::new(),
            closed: Vec::new(),
            notes: Vec::new(),
            decided: Vec::new(),
            starttls: Vec::new(),
            admitted: Vec::new(),
            rest: BTreeMap::new(),
            legs: 0,
        }
    }

    fn open(
        &mut self,
        class: Class,
        outlet: Option<crate::edge::OutletId>,
        peer: Option<Arc<PeerNames>>,
    ) -> LegId {
        let leg = LegId { index: self.legs, generation: 1 };
        self.legs += 1;
        self.effects.open(leg);
        let opened = Opened {
            class,
            outlet,
            peer,
            doubt: None,
            remote: "192.0.2.9:4000".parse().expect("an address"),
            local: "192.0.2.1:5269".parse().expect("an address"),
        };
        self.proxy.leg_opened(self.now, leg, opened, &mut self.effects);
        self.collect();
        leg
    }

    /// A partner's server connects in the clear.
    pub(super) fn server(&mut self) -> LegId {
        self.open(Class::Xmpp, None, None)
    }

    /// A partner's server connects with TLS from the first byte.
    pub(super) fn tls_server(&mut self, hosts: &[&str]) -> LegId {
        let peer = (!hosts.is_empty()).then(|| names(hosts));
        self.open(Class::XmppDirectTls, None, peer)
    }

    /// The connection asked for first comes up.
    pub(super) fn grant(&mut self, hosts: &[&str]) -> LegId {
        let connect = self.connects.remove(0);
        let peer = (!hosts.is_empty()).then(|| names(hosts));
        self.open(connect.class, Some(connect.outlet), peer)
    }

    pub(super) fn deny(&mut self) {
        let connect = self.connects.remove(0);
        let why = ConnectFailure::Unreachable;
        self.proxy.connect_failed(self.now, connect.outlet, why, &mut self.effects);
        self.collect();
    }

    /// TLS comes to stand on a leg that asked for STARTTLS.
    pub(super) fn secure(&mut self, leg: LegId, hosts: &[&str]) {
        assert_eq!(self.starttls.pop(), Some(leg), "STARTTLS was asked for");
        let peer = (!hosts.is_empty()).then(|| names(hosts));
        let secured = Secured { peer, doubt: None };
        self.proxy.leg_secured(self.now, leg, secured, &mut self.effects);
        self.collect();
    }

    /// Feeds bytes as the shell would, and returns what is staged in answer.
    pub(super) fn say(&mut self, leg: LegId, text: &str) -> String {
        self.feed(leg, text.as_bytes());
        self.read(leg)
    }

    /// Feeds bytes and leaves what is staged in answer where it is.
    pub(super) fn tell(&mut self, leg: LegId, text: &str) {
        self.feed(leg, text.as_bytes());
    }

    fn feed(&mut self, leg: LegId, bytes: &[u8]) {
        let mut input = self.rest.remove(&leg).unwrap_or_default();
        input.extend_from_slice(bytes);
        let mut at = 0;
        while at < input.len() {
            match self.proxy.feed(self.now, leg, &input[at..], &mut self.effects) {
                Fed::Consumed(bytes) => at += bytes,
                Fed::NeedMore(_) => break,
                Fed::Dead => at = input.len(),
            }
            self.collect();
        }
        self.collect();
        if at < input.len() {
            self.rest.insert(leg, input.split_off(at));
        }
    }

    /// Takes what is staged on a leg: the kernel has it then.
    pub(super) fn read(&mut self, leg: LegId) -> String {
        let staged = self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default();
        String::from_utf8(staged).expect("the proxy writes text")
    }

    pub(super) fn pass(&mut self, milliseconds: u64) {
        let end = self.now.plus_ms(milliseconds).monotonic;
        while let Some(due) = self.proxy.next_deadline().filter(|due| *due <= end) {
            let step = due.ms_since(self.now.monotonic).max(1);
            self.now = self.now.plus_ms(step);
            self.proxy.expire(self.now, &mut self.effects);
            self.collect();
        }
        let left = end.ms_since(self.now.monotonic);
        self.now = self.now.plus_ms(left);
    }

    pub(super) fn lose(&mut self, leg: LegId, unsent: usize) {
        self.effects.close(leg);
        self.proxy.leg_closed(self.now, leg, Lost::Reset, unsent, &mut self.effects);
        self.collect();
    }

    pub(super) fn adopt(&mut self, rules: Rules, epoch: u64) {
        self.publish(snapshot(rules, epoch));
    }

    pub(super) fn publish(&mut self, snapshot: Snapshot) {
        self.proxy.adopt(self.now, Arc::new(snapshot), &mut self.effects);
        self.collect();
    }

    pub(super) fn drain(&mut self, stage: Drain) {
        self.proxy.drain(self.now, stage, &mut self.effects);
        self.collect();
    }

    pub(super) fn judged(&mut self, leg: LegId, peer: Arc<PeerNames>) {
        self.proxy.leg_judged(self.now, leg, peer, &mut self.effects);
        self.collect();
    }

    fn collect(&mut self) {
        for command in std::mem::take(&mut self.effects.commands) {
            match command {
                Command::Connect(connect) => self.connects.push(connect),
                Command::Ask(question) => self.questions.push(question),
                Command::Close { leg, reason } => self.closed.push((leg, reason)),
                Command::Note(note) => self.notes.push(note),
                Command::StartTls { leg, .. } => self.starttls.push(leg),
                Command::Admitted { leg } => self.admitted.push(leg),
                Command::Decided(decided) => self.decided.push(*decided),
                Command::Mail { .. } => panic!("not of this core"),
            }
        }
    }

    pub(super) fn is_closed(&self, leg: LegId) -> bool {
        self.closed.iter().any(|(closed, _)| *closed == leg)
    }

    /// Answers the oldest question: these hosts, with STARTTLS.
    pub(super) fn resolve(&mut self, hosts: &[&str]) {
        self.resolve_to(hosts, ["192.0.2.50"; 1].as_slice(), false);
    }

    pub(super) fn resolve_to(&mut self, hosts: &[&str], addresses: &[&str], direct_tls: bool) {
        let targets = hosts
            .iter()
            .zip(0..)
            .map(|(host, priority)| Target {
                fqdn: domain(host),
                port: 5269,
                priority,
                weight: 0,
                addresses: addresses.iter().map(|ip| ip.parse().expect("an address")).collect(),
                direct_tls,
            })
            .collect();
        self.answer(Ok(targets));
    }

    pub(super) fn resolve_nothing(&mut self, failure: Failure) {
        self.answer(Err(failure));
    }

    fn answer(&mut self, outcome: Result<Vec<Target>, Failure>) {
        let question = self.questions.remove(0);
        let answer = Arc::new(Answer { question, outcome, ttl_s: 3_600 });
        self.proxy.resolved(self.now, answer, &mut self.effects);
        self.collect();
    }

    /// Somebody connects to the port of the link.
    pub(super) fn link_of(&mut self, hosts: &[&str]) -> LegId {
        self.open(Class::XmppLink, None, Some(names(hosts)))
    }

    /// A gateway connects and its link comes up.
    pub(super) fn gateway(&mut self, name: &str) -> Gateway {
        let leg = self.open(Class::XmppLink, None, Some(names(&[name])));
        let mut out = Vec::new();
        let end = GatewayEnd::connect(&domain(name), &domain("lsedge.contoso.example"), &mut out);
        let mut gateway = Gateway {
            leg,
            end,
            stanzas: Vec::new(),
            undone: Vec::new(),
            taken: Vec::new(),
            bounced: Vec::new(),
            others: String::new(),
            rest: Vec::new(),
        };
        self.feed(leg, &out);
        self.exchange(&mut gateway);
        assert!(gateway.end.is_up(), "the link is up");
        gateway
    }

    /// Lets a gateway read what is staged for it and answer, until it is quiet.
    pub(super) fn exchange(&mut self, gateway: &mut Gateway) {
        loop {
            let staged = self.effects.staged_mut(gateway.leg).map(std::mem::take);
            gateway.rest.extend(staged.unwrap_or_default());
            let (mut at, mut out) = (0, Vec::new());
            while at < gateway.rest.len() {
                match gateway.end.read(&gateway.rest[at..], &mut out).expect("the proxy is right") {
                    FromEdge::NeedMore(_) => break,
                    FromEdge::Done { consumed }
                    | FromEdge::Up { consumed }
                    | FromEdge::Ended { consumed } => at += consumed,
                    FromEdge::Stanza { element, origin, number, consumed, .. } => {
                        gateway.undone.push(number);
                        let text = String::from_utf8(element.raw().to_vec()).expect("text");
                        gateway.stanzas.push((text, origin));
                        at += consumed;
                    }
                    FromEdge::Gateways { names, consumed } => {
                        let names = names.iter().map(ToString::to_string);
                        gateway.others = names.collect::<Vec<_>>().join(" ");
                        at += consumed;
                    }
                    FromEdge::Taken { stanza, consumed } => {
                        gateway.taken.push(stanza.tag);
                        at += consumed;
                    }
                    FromEdge::Bounced { stanza, error, consumed } => {
                        gateway.bounced.push((stanza.tag, error));
                        at += consumed;
                    }
                }
            }
            gateway.rest.drain(..at);
            if out.is_empty() {
                return;
            }
            self.feed(gateway.leg, &out);
        }
    }

    /// A gateway is done with all it was given.
    pub(super) fn done(&mut self, gateway: &mut Gateway) {
        let (mut out, numbers) = (Vec::new(), std::mem::take(&mut gateway.undone));
        gateway.end.done(&numbers, &mut out);
        self.feed(gateway.leg, &out);
        self.exchange(gateway);
    }

    /// A gateway sends a stanza; its tag is the id.
    pub(super) fn send(&mut self, gateway: &mut Gateway, from: &str, to: &str, id: &str) {
        let text = message(from, to, id);
        let mut out = Vec::new();
        gateway
            .end
            .send_bytes(text.into_bytes().into(), id.to_owned(), &mut out)
            .expect("the window is open");
        self.feed(gateway.leg, &out);
        self.exchange(gateway);
    }

    /// A stream of fabrikam.example's with TLS, authenticated by certificate.
    pub(super) fn fabrikam(&mut self) -> LegId {
        let leg = self.tls_server(&["fabrikam.example"]);
        self.say(leg, &header("fabrikam.example", "contoso.example"));
        let answer = self.say(leg, AUTH);
        assert!(answer.contains("<success"), "{answer}");
        self.say(leg, &header("fabrikam.example", "contoso.example"));
        leg
    }

    /// A stream of ours to fabrikam.example, asked for by `gateway`'s stanza and ready.
    pub(super) fn ours_to_fabrikam(&mut self, gateway: &mut Gateway, offers: &str) -> LegId {
        self.send(gateway, "kim@contoso.example", "john@fabrikam.example", "first");
        if !self.questions.is_empty() {
            self.resolve_to(&["xmpp.fabrikam.example"], &["192.0.2.50"], true);
        }
        let leg = self.grant(&["fabrikam.example"]);
        self.read(leg);
        let answer =
            header_with_id("fabrikam.example", "contoso.example", "a1") + &features(EXTERNAL);
        let auth = self.say(leg, &answer);
        assert!(auth.contains("mechanism='EXTERNAL'"), "{auth}");
        self.say(leg, SUCCESS);
        let answer =
            header_with_id("fabrikam.example", "contoso.example", "a2") + &features(offers);
        let sent = self.say(leg, &answer);
        if !offers.contains("urn:xmpp:sm:3") {
            assert!(sent.contains("id='first'"), "{sent}");
        }
        leg
    }
}

/// The key by which `originating` proves itself to us on a stream.
pub(super) fn key(receiving: &str, originating: &str, id: &str) -> String {
    dialback::Secrets::new(SECRET, &[]).key(receiving, originating, id)
}

/// Returns the value of an attribute's first appearance.
pub(super) fn attribute(text: &str, name: &str) -> String {
    let opens = format!(" {name}='");
    let at = text.find(&opens).unwrap_or_else(|| panic!("no {name} in {text}"));
    let rest = &text[at + opens.len()..];
    rest[..rest.find('\'').expect("closed")].to_owned()
}

/// Tells whether a stream error of this condition was written and the stream ended.
pub(super) fn ends_with_error(text: &str, condition: &str) -> bool {
    text.contains(&format!("<stream:error><{condition} xmlns='{}'", ns::STREAM_ERRORS))
        && text.ends_with("</stream:stream>")
}
