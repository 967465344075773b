//! The Access core without a shell: what one message costs between being read and being sealed.
//!
//! `cargo bench --bench access` measures time. Instructions do not depend on who else runs:
//!
//! ```text
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*measured*' \
//!     target/release/deps/access-... --turns transaction_turn 2000
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput};
use entente::dns::{Answer, Domain, Target};
use entente::edge::access::{Access, Setup};
use entente::edge::{Class, Command, Core, Effects, Fed, LegId, Opened, OutletId};
use entente::policy::{self, Anchors, NextHop, PartnerRule, PeerNames, RevocationState, Rules};
use entente::time::Now;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages of one kind in a row: a burst that a shard may well see, and long enough to time.
const BATCH: usize = 64;
/// Bytes of an edge branch behind its cookie, which is what differs between two turns.
const BRANCH_BYTES: usize = 50;
const COOKIE: &str = "z9hG4bK";

/// A federated instant message as a Lync client's server sends it: 12 header fields, 700 bytes.
/// `NNNNNNNN` is the number of the transaction.
const MESSAGE: &str = "\
MESSAGE sip:bob@contoso.example;transport=tls SIP/2.0\r\n\
Via: SIP/2.0/TLS 192.0.2.77:49152;branch=z9hG4bKNNNNNNNN\r\n\
Max-Forwards: 70\r\n\
From: \"Alice\" <sip:alice@fabrikam.example>;tag=5e498d41;epid=3f2a9c01de\r\n\
To: <sip:bob@contoso.example>TO-TAG\r\n\
Call-ID: 10c92e7d4b7f4e0ca3d1f9a27c15b8e2\r\n\
CSeq: 1000000000 MESSAGE\r\n\
ROUTEContact: <sip:alice@fabrikam.example;opaque=user:epid:KkWm2x1vG1aPq3;gruu>\r\n\
User-Agent: UCCAPI/16.0.10730.20053 OC/16.0.10730.20053\r\n\
Supported: timer, ms-safe-transfer\r\n\
Ms-Conversation-ID: AdT5oP2mVfX1xv7XQ0y5g0qkqk6w1w==\r\n\
Content-Type: text/plain; charset=UTF-8\r\n\
Content-Length: 113\r\n\
\r\n\
Hi Bob, are we still on for the review at three? I moved the deck to the team share. \
Hi Bob, are we still on for ";

/// The head of what begins, acknowledges and ends a call from the partner.
const CALL: &str = "\
METHOD sip:bob@contoso.example SIP/2.0\r\n\
Via: SIP/2.0/TLS 192.0.2.77:49152;branch=z9hG4bKNNNNNNNNMETHOD\r\n\
Via: SIP/2.0/TLS 10.20.30.40:61822;branch=z9hG4bK31e5fd27;ms-received-port=61822;\
ms-received-cid=1F00\r\n\
Max-Forwards: 69\r\n\
From: \"Alice\" <sip:alice@fabrikam.example>;tag=6a3414b2;epid=3f2a9c01de\r\n\
To: <sip:bob@contoso.example>TO-TAG\r\n\
Call-ID: 95b1f7764b7f4e0ca3d1f9a27c15b8e2\r\n\
CSeq: 1 METHOD\r\n\
ROUTEContact: <sip:alice@fabrikam.example;opaque=user:epid:KkWm2x1vG1aPq3;gruu>\r\n\
User-Agent: UCCAPI/16.0.10730.20053 OC/16.0.10730.20053\r\n\
Supported: timer, histinfo, ms-safe-transfer, ms-early-media\r\n\
Allow: INVITE, BYE, ACK, CANCEL, INFO, UPDATE, REFER, NOTIFY, BENOTIFY, OPTIONS\r\n\
Ms-Conversation-ID: AdT5oP2mVfX1xv7XQ0y5g0qkqk6w1w==\r\n";

fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a bench's domain is one")
}

fn rules() -> Rules {
    let mut fabrikam = PartnerRule::allowed_domain(domain("fabrikam.example"));
    fabrikam.allow_networks = vec!["192.0.2.0/24".parse().expect("a network")];
    Rules {
        remote_users: policy::RemoteUserSwitches { enabled: true, anonymous: false },
        blocked: vec![domain("litware.example").into()],
        partners: vec![fabrikam],
        internal_names: vec![domain("pool.contoso.example")],
        next_hops: vec![NextHop {
            addresses: vec!["192.0.2.10".parse().expect("an address")],
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

fn names(host: &str) -> Arc<PeerNames> {
    Arc::new(PeerNames {
        dns_names: vec![domain(host)],
        sip_domains: vec![],
        common_name: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint: [host.len() as u8; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Unknown,
        xmpp: None,
    })
}

/// One edge with a partner's leg and one to the pool, both warm.
struct Edge {
    access: Access,
    effects: Effects,
    now: Now,
    partner: LegId,
    pool: LegId,
    dirty: Vec<LegId>,
    serial: u32,
}

impl Edge {
    fn new() -> Self {
        let setup = Setup {
            transactions: 10_000,
            idle_timeout_ms: u64::MAX,
            ping_interval_ms: 0,
            ..Setup::single([1, 2], [9; 16])
        };
        let snapshot = Arc::new(policy::compile(rules(), 1).expect("rules without contradiction"));
        let none = LegId { index: 0, generation: 1 };
        let mut edge = Self {
            access: Access::new(setup, snapshot),
            effects: Effects::default(),
            now: Now { unix_s: 1_800_000_000, ..Now::default() }.plus_ms(1000),
            partner: none,
            pool: none,
            dirty: Vec::new(),
            serial: 0,
        };
        edge.partner = edge.open(0, Class::Federation, "sip.fabrikam.example", None);
        edge.warm();
        edge
    }

    fn open(&mut self, index: u32, class: Class, host: &str, outlet: Option<OutletId>) -> LegId {
        let leg = LegId { index, generation: 1 };
        self.effects.open(leg);
        let remote = "192.0.2.77:40000".parse().expect("an address");
        let local = "192.0.2.1:5061".parse().expect("an address");
        let opened = Opened { class, outlet, peer: Some(names(host)), doubt: None, remote, local };
        self.access.leg_opened(self.now, leg, opened, &mut self.effects);
        leg
    }

    /// The first message asks DNS for the verdict and a connection for the way; both are granted.
    fn warm(&mut self) {
        let first = self.number(MESSAGE);
        self.access.feed(self.now, self.partner, first.as_bytes(), &mut self.effects);
        for command in std::mem::take(&mut self.effects.commands) {
            let Command::Ask(question) = command else { panic!("the first message asks DNS") };
            let target = Target {
                fqdn: domain("sip.fabrikam.example"),
                port: 5061,
                priority: 0,
                weight: 0,
                addresses: vec!["192.0.2.50".parse().expect("an address")],
                direct_tls: true,
            };
            let answer = Answer { question, outcome: Ok(vec![target]), ttl_s: u32::MAX };
            self.access.resolved(self.now, Arc::new(answer), &mut self.effects);
        }
        for command in std::mem::take(&mut self.effects.commands) {
            let Command::Connect(connect) = command else { panic!("and then for its way") };
            let host = connect.server_name.to_string();
            self.pool = self.open(1, connect.class, &host, Some(connect.outlet));
        }
        let request = self.staged(self.pool);
        let response = respond(&request, 200);
        self.access.feed(self.now, self.pool, response.as_bytes(), &mut self.effects);
        assert!(self.staged(self.partner).starts_with("SIP/2.0 200 "), "the edge is warm");
    }

    /// Fills in the next transaction's number, and leaves out what is only for dialogs.
    fn number(&mut self, text: &str) -> String {
        self.number_in_dialog(text, "", "")
    }

    fn number_in_dialog(&mut self, text: &str, to_tag: &str, route: &str) -> String {
        self.serial += 1;
        text.replace("NNNNNNNN", &format!("{:08}", self.serial))
            .replace("TO-TAG", to_tag)
            .replace("ROUTE", route)
    }

    fn staged(&mut self, leg: LegId) -> String {
        let staged = self.effects.staged_mut(leg).expect("the leg is open").clone();
        self.seal(leg);
        String::from_utf8(staged).expect("the bench writes text")
    }

    /// What the shell does at the end of a turn, but for TLS.
    fn seal(&mut self, leg: LegId) {
        self.dirty.clear();
        self.effects.take_dirty(&mut self.dirty);
        self.effects.clear_staged(leg);
    }

    /// Feeds every text as a message of its own turn, and keeps what it became.
    #[inline(never)]
    fn measured(&mut self, from: LegId, texts: &[String], to: LegId, out: &mut [Vec<u8>]) {
        for (text, out) in texts.iter().zip(out) {
            let fed = self.access.feed(self.now, from, text.as_bytes(), &mut self.effects);
            assert_eq!(fed, Fed::Consumed(text.len()), "one message is fed at a time");
            self.effects.commands.clear();
            out.clear();
            let staged = self.effects.staged_mut(to).expect("the leg is open");
            out.extend_from_slice(staged);
            self.seal(to);
        }
    }

    /// One request to the pool and its 200 back; `response` answers any turn but for its branch.
    #[inline(never)]
    fn measured_turn(&mut self, request: &[u8], response: &mut [u8], branches: [usize; 2]) {
        let [theirs, ours] = branches;
        black_box(self.access.feed(self.now, self.partner, request, &mut self.effects));
        let staged = self.effects.staged_mut(self.pool).expect("the leg is open");
        response[ours..ours + BRANCH_BYTES].copy_from_slice(&staged[theirs..theirs + BRANCH_BYTES]);
        self.seal(self.pool);
        black_box(self.access.feed(self.now, self.pool, response, &mut self.effects));
        assert!(self.effects.backlog(self.partner).is_some_and(|bytes| bytes > 0));
        self.seal(self.partner);
    }
}

/// The response a next hop gives to a forwarded request.
fn respond(request: &str, status: u16) -> String {
    let mut out = format!("SIP/2.0 {status} OK\r\n");
    for line in request.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if matches!(name, "Via" | "From" | "To" | "Call-ID" | "CSeq" | "Record-Route") {
            out.push_str(line);
            if name == "To" && !line.contains(";tag=") {
                out.push_str(";tag=a7c3f19b02");
            }
            out.push_str("\r\n");
        }
    }
    out.push_str("User-Agent: RTCC/6.0.0.0 UAS\r\nContent-Length: 0\r\n\r\n");
    out
}

fn answers(requests: &[Vec<u8>], status: u16) -> Vec<String> {
    let text = |request| std::str::from_utf8(request).expect("the bench writes text");
    requests.iter().map(|request| respond(text(request), status)).collect()
}

/// Room for what a batch of messages becomes.
fn room() -> Vec<Vec<u8>> {
    (0..BATCH).map(|_| Vec::with_capacity(4096)).collect()
}

/// What is measured of one kind of exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Requests,
    Responses,
    Both,
}

impl Part {
    fn has_requests(self) -> bool {
        self != Self::Responses
    }

    fn has_responses(self) -> bool {
        self != Self::Requests
    }
}

/// Measures a phase of a batch, or only runs it.
fn phase(total: &mut Duration, counts: bool, work: impl FnOnce()) {
    let started = WallTime.start();
    work();
    let took = WallTime.end(started);
    if counts {
        *total += took;
    }
}

/// `BATCH` requests made from `text` and their responses.
fn exchange(edge: &mut Edge, part: Part, text: &str, dialog: &Dialog) -> Duration {
    let mut total = Duration::ZERO;
    let (mut forwarded, mut answered) = (room(), room());
    let (partner, pool) = (edge.partner, edge.pool);
    let requests: Vec<String> =
        (0..BATCH).map(|_| edge.number_in_dialog(text, dialog.to_tag, &dialog.route)).collect();
    phase(&mut total, part.has_requests(), || {
        edge.measured(partner, &requests, pool, &mut forwarded);
    });
    let responses = answers(&forwarded, 200);
    phase(&mut total, part.has_responses(), || {
        edge.measured(pool, &responses, partner, &mut answered);
    });
    assert!(answered.iter().all(|answer| answer.starts_with(b"SIP/2.0 200 ")));
    total
}

/// What makes a request one within a dialog.
#[derive(Default)]
struct Dialog {
    to_tag: &'static str,
    route: String,
}

fn call(method: &str, body: usize) -> String {
    let filler = "a=candidate:1 1 UDP 2130706431 10.20.30.40 24680 typ host\r\n";
    let mut text = CALL.replace("METHOD", method);
    if body > 0 {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {body}\r\n\r\n"));
    text.push_str(&filler.repeat(body / filler.len() + 1)[..body]);
    text
}

/// Takes the Route set of the partner's side from what its call became.
fn dialog_of(invite: &str) -> Dialog {
    let entries = invite.split("\r\n").filter_map(|line| line.strip_prefix("Record-Route: "));
    let entries: Vec<&str> = entries.collect();
    let route = entries.iter().rev().map(|entry| format!("Route: {entry}\r\n")).collect();
    Dialog { to_tag: ";tag=a7c3f19b02", route }
}

fn begin_dialog(edge: &mut Edge, text: &str) -> Dialog {
    let invite = edge.number(&text.replace("MESSAGE", "INVITE"));
    edge.access.feed(edge.now, edge.partner, invite.as_bytes(), &mut edge.effects);
    let forwarded = edge.staged(edge.pool);
    let (pool, answer) = (edge.pool, respond(&forwarded, 200));
    edge.access.feed(edge.now, pool, answer.as_bytes(), &mut edge.effects);
    edge.staged(edge.partner);
    dialog_of(&forwarded)
}

/// Calls with ringing, answer, ACK and BYE: seven messages each.
fn calls(edge: &mut Edge) -> Duration {
    let mut total = Duration::ZERO;
    let (mut forwarded, mut answered) = (room(), room());
    let (partner, pool) = (edge.partner, edge.pool);
    let invite = call("INVITE", 561);
    let invites: Vec<String> = (0..BATCH).map(|_| edge.number(&invite)).collect();
    phase(&mut total, true, || edge.measured(partner, &invites, pool, &mut forwarded));
    let dialog = dialog_of(std::str::from_utf8(&forwarded[0]).expect("the bench writes text"));
    for status in [180, 200] {
        let responses = answers(&forwarded, status);
        phase(&mut total, true, || edge.measured(pool, &responses, partner, &mut answered));
        assert!(answered.iter().all(|answer| answer.starts_with(b"SIP/2.0 ")));
    }
    for method in ["ACK", "BYE"] {
        let text = call(method, 0);
        let requests: Vec<String> = (0..BATCH)
            .map(|_| edge.number_in_dialog(&text, dialog.to_tag, &dialog.route))
            .collect();
        phase(&mut total, true, || edge.measured(partner, &requests, pool, &mut forwarded));
        assert!(forwarded.iter().all(|text| text.starts_with(method.as_bytes())));
    }
    let responses = answers(&forwarded, 200);
    phase(&mut total, true, || edge.measured(pool, &responses, partner, &mut answered));
    assert!(answered.iter().all(|answer| answer.starts_with(b"SIP/2.0 200 ")));
    // Answered INVITE transactions linger for repeated 2xx (RFC 6026); let them end.
    edge.now = edge.now.plus_ms(33_000);
    while edge.access.pending() > 0
        || edge.access.next_deadline().is_some_and(|at| at <= edge.now.monotonic)
    {
        edge.access.expire(edge.now, &mut edge.effects);
    }
    edge.effects.commands.clear();
    total
}

/// The one turn of `access/transaction_turn`, ready to be repeated.
struct Turn {
    edge: Edge,
    request: String,
    response: Vec<u8>,
    branches: [usize; 2],
}

impl Turn {
    fn new() -> Self {
        let mut edge = Edge::new();
        let request = edge.number(MESSAGE);
        edge.access.feed(edge.now, edge.partner, request.as_bytes(), &mut edge.effects);
        let forwarded = edge.staged(edge.pool);
        let response = respond(&forwarded, 200).into_bytes();
        edge.access.feed(edge.now, edge.pool, &response, &mut edge.effects);
        edge.staged(edge.partner);
        let branch_in = |text: &[u8]| {
            memchr::memmem::find(text, COOKIE.as_bytes()).expect("a Via with our branch")
        };
        let branches = [branch_in(forwarded.as_bytes()), branch_in(&response)];
        Self { edge, request, response, branches }
    }

    fn run(&mut self) {
        let Self { edge, request, response, branches } = self;
        edge.measured_turn(request.as_bytes(), response, *branches);
    }
}

/// Runs one kind of exchange about `count` times; returns how long that took and how many it were.
fn run(name: &str, count: u64) -> (Duration, u64) {
    let batches = count.div_ceil(BATCH as u64);
    let mut total = Duration::ZERO;
    if name == "transaction_turn" {
        let mut turn = Turn::new();
        phase(&mut total, true, || (0..count).for_each(|_| turn.run()));
        return (total, count);
    }
    let mut edge = Edge::new();
    let part = match name {
        "request" => Part::Requests,
        "response" => Part::Responses,
        _ => Part::Both,
    };
    let dialog = match name {
        "in_dialog_message" => begin_dialog(&mut edge, MESSAGE),
        _ => Dialog::default(),
    };
    for _ in 0..batches {
        total += match name {
            "invite_dialog" => calls(&mut edge),
            _ => exchange(&mut edge, part, MESSAGE, &dialog),
        };
    }
    (total, batches * BATCH as u64)
}

const NAMES: [&str; 5] =
    ["transaction_turn", "request", "response", "in_dialog_message", "invite_dialog"];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--turns") {
        let name = arguments.get(at + 1).map_or("", String::as_str);
        let count = arguments.get(at + 2).and_then(|count| count.parse().ok()).unwrap_or(1);
        let (_, count) = run(name, count);
        println!("{name}: {count}");
        return;
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("access");
    group.throughput(Throughput::Elements(1));
    for name in NAMES {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let (total, ran) = run(name, count);
                total.mul_f64(count as f64 / ran as f64)
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
