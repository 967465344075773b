//! A world of one Access Edge and the peers around it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::dns::{Answer, Domain, Failure, Question, Target};
use crate::edge::access::{Access, Setup};
use crate::edge::{
    Class, CloseReason, Command, Connect, ConnectFailure, Core, Decided, Effects, Fed, LegId, Lost,
    Note, Opened,
};
use crate::policy::{
    self, Anchors, NextHop, PartnerRule, PeerNames, RevocationState, Rules, Snapshot,
};
use crate::time::Now;

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a test's domain is one")
}

/// The organisation is contoso.example; fabrikam.example is an allowed domain, northwind.example
/// an allowed server, litware.example blocked.
pub(super) fn rules() -> Rules {
    let mut fabrikam = PartnerRule::allowed_domain(domain("fabrikam.example"));
    fabrikam.allow_networks = vec!["192.0.2.0/24".parse().unwrap()];
    let mut northwind = PartnerRule::allowed_server(
        domain("northwind.example"),
        domain("edge.northwind.example"),
        5061,
    );
    northwind.allow_networks = vec!["192.0.2.0/24".parse().unwrap()];
    Rules {
        remote_users: policy::RemoteUserSwitches { enabled: true, anonymous: false },
        blocked: vec![domain("litware.example").into()],
        partners: vec![fabrikam, northwind],
        internal_names: vec![domain("pool.contoso.example")],
        next_hops: vec![NextHop {
            addresses: vec!["192.0.2.10".parse().unwrap()],
            ..NextHop::new(domain("pool.contoso.example"))
        }],
        ..Rules::new(
            domain("edge1.contoso.example"),
            domain("sip.contoso.example"),
            domain("lsedge.contoso.example"),
            vec![domain("contoso.example")],
        )
    }
}

pub(super) fn snapshot(rules: Rules, epoch: u64) -> Arc<Snapshot> {
    Arc::new(policy::compile(rules, epoch).expect("a test's rules do not contradict each other"))
}

pub(super) fn setup() -> Setup {
    Setup::single([1, 2], [9; 16])
}

/// What a certificate of this host says.
pub(super) fn names(host: &str) -> Arc<PeerNames> {
    let mut fingerprint = [0u8; 32];
    for (at, byte) in host.bytes().enumerate() {
        fingerprint[at % 32] ^= byte.rotate_left(u32::try_from(at % 7).unwrap());
    }
    Arc::new(PeerNames {
        dns_names: vec![domain(host)],
        sip_domains: vec![],
        common_name: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint,
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Unknown,
        xmpp: None,
    })
}

/// One edge and what its shell would know.
pub(super) struct World {
    pub(super) access: Access,
    pub(super) effects: Effects,
    pub(super) now: Now,
    pub(super) connects: Vec<Connect>,
    pub(super) questions: Vec<Question>,
    pub(super) closed: Vec<LegId>,
    /// The same, with why.
    pub(super) endings: Vec<(LegId, CloseReason)>,
    pub(super) notes: Vec<Note>,
    pub(super) decided: Vec<Decided>,
    rest: BTreeMap<LegId, Vec<u8>>,
    next_leg: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(rules())
    }

    pub(super) fn with(rules: Rules) -> Self {
        Self {
            access: Access::new(setup(), snapshot(rules, 1)),
            effects: Effects::default(),
            now: Now { unix_s: 1_800_000_000, ..Now::default() }.plus_ms(1000),
            connects: Vec::new(),
            questions: Vec::new(),
            closed: Vec::new(),
            endings: Vec::new(),
            notes: Vec::new(),
            decided: Vec::new(),
            rest: BTreeMap::new(),
            next_leg: 0,
        }
    }

    pub(super) fn open(&mut self, class: Class, host: Option<&str>) -> LegId {
        self.open_for(class, host, None)
    }

    fn open_for(
        &mut self,
        class: Class,
        host: Option<&str>,
        outlet: Option<crate::edge::OutletId>,
    ) -> LegId {
        let leg = LegId { index: self.next_leg, generation: 1 };
        self.next_leg += 1;
        self.effects.open(leg);
        let remote = SocketAddr::from(([192, 0, 2, 77], 40_000 + self.next_leg as u16));
        let local = "192.0.2.1:5061".parse().unwrap();
        let opened = Opened { class, outlet, peer: host.map(names), doubt: None, remote, local };
        self.access.leg_opened(self.now, leg, opened, &mut self.effects);
        self.collect();
        leg
    }

    /// A partner's edge connects.
    pub(super) fn partner(&mut self, host: &str) -> LegId {
        self.open(Class::Federation, Some(host))
    }

    /// The pool connects.
    pub(super) fn pool(&mut self) -> LegId {
        self.open(Class::Internal, Some("pool.contoso.example"))
    }

    /// A user of ours connects from outside.
    pub(super) fn user(&mut self) -> LegId {
        self.open(Class::RemoteUsers, None)
    }

    /// Grants the oldest connection the edge has asked for.
    pub(super) fn grant(&mut self) -> LegId {
        assert!(!self.connects.is_empty(), "the edge asked for a connection");
        let connect = self.connects.remove(0);
        let host = connect.server_name.to_string();
        self.open_for(connect.class, Some(&host), Some(connect.outlet))
    }

    pub(super) fn deny(&mut self, why: ConnectFailure) {
        let connect = self.connects.remove(0);
        self.access.connect_failed(self.now, connect.outlet, why, &mut self.effects);
        self.collect();
    }

    /// The shell has judged a leg's peer again.
    pub(super) fn judged(&mut self, leg: LegId, peer: Arc<PeerNames>) {
        self.access.leg_judged(self.now, leg, peer, &mut self.effects);
        self.collect();
    }

    pub(super) fn lose(&mut self, leg: LegId, unsent: usize) {
        self.effects.close(leg);
        self.access.leg_closed(self.now, leg, Lost::Reset, unsent, &mut self.effects);
        self.collect();
    }

    /// Answers the oldest question with one target, directly below the domain.
    pub(super) fn resolve(&mut self, host: &str) {
        self.resolve_to(&[host]);
    }

    pub(super) fn resolve_to(&mut self, hosts: &[&str]) {
        let question = self.questions.remove(0);
        let targets = hosts
            .iter()
            .enumerate()
            .map(|(at, host)| Target {
                fqdn: domain(host),
                port: 5061,
                priority: u16::try_from(at).unwrap(),
                weight: 0,
                addresses: vec![format!("192.0.2.{}", 50 + at).parse().unwrap()],
                direct_tls: true,
            })
            .collect();
        self.answer(Answer { question, outcome: Ok(targets), ttl_s: 60 });
    }

    pub(super) fn resolve_nothing(&mut self, failure: Failure) {
        let question = self.questions.remove(0);
        self.answer(Answer { question, outcome: Err(failure), ttl_s: 30 });
    }

    fn answer(&mut self, answer: Answer) {
        self.access.resolved(self.now, Arc::new(answer), &mut self.effects);
        self.collect();
    }

    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.now = self.now.plus_ms(milliseconds);
        self.access.expire(self.now, &mut self.effects);
        self.collect();
    }

    pub(super) fn adopt(&mut self, rules: Rules, epoch: u64) {
        self.access.adopt(self.now, snapshot(rules, epoch), &mut self.effects);
        self.collect();
    }

    /// Puts a snapshot in force whose limits are these.
    pub(super) fn limit(&mut self, rules: Rules, throttles: policy::Throttles, epoch: u64) {
        let snapshot = policy::compile(rules, epoch).expect("no contradiction");
        self.publish(snapshot.with_throttles(throttles));
    }

    pub(super) fn publish(&mut self, snapshot: Snapshot) {
        self.access.adopt(self.now, Arc::new(snapshot), &mut self.effects);
        self.collect();
    }

    /// Feeds bytes as the shell would: what is left over waits for more.
    pub(super) fn send(&mut self, leg: LegId, bytes: &[u8]) {
        let mut input = self.rest.remove(&leg).unwrap_or_default();
        input.extend_from_slice(bytes);
        let mut at = 0;
        while at < input.len() {
            match self.access.feed(self.now, leg, &input[at..], &mut self.effects) {
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

    /// Takes what is staged on a leg.
    pub(super) fn read(&mut self, leg: LegId) -> String {
        let staged = self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default();
        String::from_utf8(staged).expect("tests write text")
    }

    fn collect(&mut self) {
        for command in std::mem::take(&mut self.effects.commands) {
            match command {
                Command::Connect(connect) => self.connects.push(connect),
                Command::Ask(question) => self.questions.push(question),
                Command::Close { leg, reason } => {
                    self.closed.push(leg);
                    self.endings.push((leg, reason));
                }
                Command::Note(note) => self.notes.push(note),
                Command::Decided(decided) => self.decided.push(*decided),
                Command::StartTls { .. } | Command::Admitted { .. } => {
                    panic!("SIP begins with TLS")
                }
                Command::Mail { .. } => panic!("one shard has nobody to write to"),
            }
        }
    }

    /// A partner leg of fabrikam.example whose first look-up is answered, and the pool's leg.
    pub(super) fn fabrikam(&mut self) -> (LegId, LegId) {
        let partner = self.partner("sip.fabrikam.example");
        self.send(
            partner,
            &request("MESSAGE", "john@fabrikam.example", "kim@contoso.example", "warm"),
        );
        self.resolve("sip.fabrikam.example");
        let pool = self.grant();
        let forwarded = self.read(pool);
        self.send(pool, respond(&forwarded, 200).as_bytes());
        self.read(partner);
        (partner, pool)
    }
}

/// A request as an edge would send it.
pub(super) fn request(method: &str, from: &str, to: &str, id: &str) -> Vec<u8> {
    request_with(method, from, to, id, "")
}

/// The same with further header lines.
pub(super) fn request_with(method: &str, from: &str, to: &str, id: &str, lines: &str) -> Vec<u8> {
    format!(
        "{method} sip:{to} SIP/2.0\r\n\
         Via: SIP/2.0/TLS 198.51.100.7:5061;branch=z9hG4bK{id}{method}\r\n\
         Max-Forwards: 70\r\n\
         From: \"F\" <sip:{from}>;tag=f{id};epid=01\r\n\
         To: <sip:{to}>\r\n\
         Call-ID: {id}\r\n\
         CSeq: 1 {method}\r\n\
         {lines}Content-Type: text/plain\r\n\
         Content-Length: 2\r\n\r\nhi"
    )
    .into_bytes()
}

/// The response a UAS would give to a forwarded request.
pub(super) fn respond(request: &str, status: u16) -> String {
    respond_with(request, status, "")
}

pub(super) fn respond_with(request: &str, status: u16, lines: &str) -> String {
    let mut out = format!("SIP/2.0 {status} Whatever\r\n");
    for line in request.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        match name {
            "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => {
                out.push_str(line);
                out.push_str("\r\n");
            }
            "To" => {
                out.push_str(line);
                if !line.contains(";tag=") {
                    out.push_str(";tag=t");
                }
                out.push_str("\r\n");
            }
            _ => {}
        }
    }
    out.push_str(lines);
    out.push_str("Content-Length: 0\r\n\r\n");
    out
}

/// Returns the value of the first header with this name.
pub(super) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    headers(message, name).into_iter().next()
}

/// Returns the values of all headers with this name.
pub(super) fn headers<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    message
        .split("\r\n")
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

/// Returns the status of a response.
pub(super) fn status(message: &str) -> u16 {
    message.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}
