//! The gateway's core on one message, each way: from what TLS opened to what TLS seals.

use criterion::{Criterion, criterion_group, criterion_main};
use entente::dns::Domain;
use entente::edge::gateway::{EdgeAddress, Gateway, Setup};
use entente::edge::xmpp_link::{EdgeEnd, FromGateway, Origin, Outgoing, Proof};
use entente::edge::{Class, Command, Core, Effects, Fed, LegId, Opened, OutletId};
use entente::policy::{Dialect, NextHop, Rules, XmppKind, XmppPartner, compile};
use entente::time::Now;
use entente::xmpp::{Bounds, Read, Reader, StreamHeader};

fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a domain")
}

/// A gateway with one edge that takes everything, and one next hop.
struct Bench {
    gateway: Gateway,
    effects: Effects,
    now: Now,
    edge: EdgeEnd,
    link: LegId,
    inside: LegId,
    hop: Option<LegId>,
    legs: u32,
}

impl Bench {
    fn new(dialect: Dialect) -> Self {
        let own = || domain("contoso.example");
        let name = domain("gw.contoso.example");
        let mut rules = Rules::new(name.clone(), name.clone(), name.clone(), vec![own()]);
        let mut hop = NextHop::new(domain("pool.contoso.example"));
        hop.addresses = vec!["10.0.0.20".parse().expect("an address")];
        hop.dialect = dialect;
        rules.next_hops = vec![hop];
        let partner = XmppPartner::new(domain("fabrikam.example"));
        rules.xmpp.partners = vec![XmppPartner { kind: XmppKind::Federated, ..partner }];
        let edge = domain("edge1.contoso.example");
        let at = EdgeAddress {
            name: edge.clone(),
            port: 23456,
            addresses: vec!["10.0.0.1".parse().expect("an address")],
        };
        let setup = Setup { error_grace_ms: 0, ..Setup::single([1, 2], name, vec![at]) };
        let snapshot = compile(rules, 1).expect("no contradiction");
        let nowhere = LegId { index: 0, generation: 0 };
        let mut bench = Self {
            gateway: Gateway::new(setup, snapshot.into()),
            effects: Effects::default(),
            now: Now { unix_s: 1_700_000_000, ..Now::default() },
            edge: EdgeEnd::accept(edge, "s1".to_owned()),
            link: nowhere,
            inside: nowhere,
            hop: None,
            legs: 0,
        };
        bench.inside = bench.open(Class::Internal, None);
        bench.gateway.expire(bench.now, &mut bench.effects);
        bench.commands();
        while bench.pump() {}
        assert_eq!(bench.gateway.links(), 1, "the link is up");
        bench
    }

    fn open(&mut self, class: Class, outlet: Option<OutletId>) -> LegId {
        self.legs += 1;
        let leg = LegId { index: self.legs, generation: 1 };
        self.effects.open(leg);
        let opened = Opened {
            class,
            outlet,
            peer: None,
            doubt: None,
            remote: "10.0.0.9:4000".parse().expect("an address"),
            local: "10.0.0.30:5061".parse().expect("an address"),
        };
        self.gateway.leg_opened(self.now, leg, opened, &mut self.effects);
        leg
    }

    fn commands(&mut self) {
        for command in std::mem::take(&mut self.effects.commands) {
            if let Command::Connect(connect) = command {
                let leg = self.open(connect.class, Some(connect.outlet));
                match connect.class {
                    Class::XmppLink => self.link = leg,
                    _ => self.hop = Some(leg),
                }
            }
        }
    }

    fn feed(&mut self, leg: LegId, mut input: &[u8]) {
        while let Fed::Consumed(bytes) = self.gateway.feed(self.now, leg, input, &mut self.effects)
        {
            input = &input[bytes..];
            if input.is_empty() {
                break;
            }
        }
    }

    fn take(&mut self, leg: LegId) -> Vec<u8> {
        self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default()
    }

    /// Lets the edge read and report. `false`: there was nothing to read.
    fn pump(&mut self) -> bool {
        let link = self.link;
        let (staged, mut out) = (self.take(link), Vec::new());
        let mut rest = &staged[..];
        while !rest.is_empty() {
            let consumed = match self.edge.read(rest, &mut out).expect("the gateway is right") {
                FromGateway::NeedMore(_) => panic!("what is staged is whole"),
                FromGateway::Stanza { number, consumed, .. } => {
                    self.edge.taken(number, &mut out);
                    consumed
                }
                FromGateway::Done { consumed }
                | FromGateway::Named { consumed, .. }
                | FromGateway::Up { consumed }
                | FromGateway::Ended { consumed } => consumed,
            };
            rest = &rest[consumed..];
        }
        self.feed(link, &out);
        !staged.is_empty()
    }
}

fn request(number: u32) -> String {
    format!(
        "MESSAGE sip:john@fabrikam.example SIP/2.0\r\n\
         Via: SIP/2.0/TLS pool.contoso.example:5061;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 69\r\nFrom: <sip:kim@contoso.example>;tag=a{number}\r\n\
         To: <sip:john@fabrikam.example>\r\nCall-ID: c{number}@pool.contoso.example\r\n\
         CSeq: 1 MESSAGE\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: 51\r\n\r\n\
         Are we still on for the review at three? I moved it"
    )
}

/// A chat message with its state: 250 bytes.
const STANZA: &str = "<message from='john@fabrikam.example/laptop' to='kim@contoso.example' \
    id='c3f0a7d4-51' type='chat'><body>Are we still on for the review at three? I moved it.\
    </body><active xmlns='http://jabber.org/protocol/chatstates'/></message>";

fn outgoing() -> Outgoing {
    let mut head = Vec::new();
    StreamHeader::between("fabrikam.example", "contoso.example").write(&mut head);
    let mut reader = Reader::new(Bounds::authenticated(100_000));
    assert!(matches!(reader.read(&head), Ok(Read::Header { .. })));
    let Ok(Read::Element { element, .. }) = reader.read(STANZA.as_bytes()) else {
        panic!("the bench stanza is none");
    };
    let origin = Origin {
        partner: domain("fabrikam.example"),
        kind: XmppKind::Federated,
        proof: Proof::External,
    };
    Outgoing::of(&element, &origin, 1).expect("it has no marks")
}

fn to_xmpp(criterion: &mut Criterion) {
    let mut bench = Bench::new(Dialect::Simple);
    let inside = bench.inside;
    let mut number = 0;
    criterion.bench_function("gateway/message_to_xmpp", |b| {
        b.iter(|| {
            number += 1;
            let text = request(number);
            bench.feed(inside, text.as_bytes());
            assert!(bench.pump());
            let answer = bench.take(inside);
            assert!(answer.starts_with(b"SIP/2.0 200"));
        });
    });
}

fn to_sip(criterion: &mut Criterion) {
    let mut bench = Bench::new(Dialect::Simple);
    let stanza = outgoing();
    criterion.bench_function("gateway/message_to_sip", |b| {
        b.iter(|| {
            let (link, mut out) = (bench.link, Vec::new());
            bench.edge.send(stanza.clone(), &mut out).expect("the window is open");
            bench.feed(link, &out);
            if bench.hop.is_none() {
                bench.commands();
            }
            let hop = bench.hop.expect("the next hop is connected");
            let request = String::from_utf8(bench.take(hop)).expect("text");
            assert!(request.starts_with("MESSAGE "));
            let lines = request.split("\r\n").skip(1).filter(|line| {
                ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|n| line.starts_with(n))
            });
            let lines: Vec<&str> = lines.collect();
            let answer =
                format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"));
            bench.feed(hop, answer.as_bytes());
            bench.gateway.expire(bench.now, &mut bench.effects);
            bench.pump();
            assert_eq!(bench.edge.kept(), 0);
        });
    });
    assert_eq!(bench.gateway.pending(), 0);
}

criterion_group!(benches, to_xmpp, to_sip);
criterion_main!(benches);
