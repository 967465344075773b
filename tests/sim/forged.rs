//! Partners that speak for domains of others, while name servers say one thing after another.
//!
//! Every partner has one connection and sends from any domain: its own, those of the others, one
//! that a provider may or may not host, our own, a blocked one. What DNS answers changes all the
//! time: a domain's record names its own edge, somebody else's or the provider's, is not there, or
//! its name servers fail, in bursts. Judged by two rules that hold whatever DNS says, and that all
//! is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use entente::dns::{Answer, Failure, Question, Target};
use entente::edge::{Class, Command, Core, LegId};
use entente::policy::{ProviderKind, ProviderRule, Scores, compile};
use entente::time::Now;

use crate::clock::Chance;
use crate::organisation::{DOMAINS, Edge, address, domain, rules};
use crate::pool::Text;

/// The edge of the hosting provider, and that of the pool.
const PROVIDER: &str = "sipfed.online.example";
const GOOD: &str = "sip.good.example";
const EVIL: &str = "sip.evil.example";
const HOSTS: [&str; 3] = [GOOD, EVIL, PROVIDER];
/// Whom they claim to be: ourselves and a blocked domain among them.
const CLAIMED: [&str; 6] =
    ["good.example", "evil.example", "hosted.example", "nobody.example", DOMAINS[0], DOMAINS[2]];
const TTL_S: u32 = 2;

/// What the name servers say of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Names(&'static str),
    OwnEdge,
    Fails(Failure),
}

impl Record {
    fn any(chance: &mut Chance) -> Self {
        match chance.below(8) {
            0 => Self::Names(GOOD),
            1 => Self::Names(EVIL),
            2 | 3 => Self::Names(PROVIDER),
            4 => Self::Fails(Failure::NoSuchService),
            5 => Self::Fails(Failure::ServerFailure),
            _ => Self::OwnEdge,
        }
    }

    fn host(self, of: &str) -> Result<String, Failure> {
        match self {
            Self::Names(host) => Ok(host.to_owned()),
            Self::OwnEdge => Ok(format!("sip.{of}")),
            Self::Fails(failure) => Err(failure),
        }
    }
}

struct World {
    edge: Edge,
    legs: [LegId; HOSTS.len()],
    pool: Option<LegId>,
    records: BTreeMap<&'static str, Record>,
    /// Until when all name servers fail.
    burst_until_ms: u64,
    /// When DNS last named the provider as the edge of a domain.
    of_provider_ms: BTreeMap<String, u64>,
    sent: u64,
    answered: BTreeSet<String>,
    reached: BTreeMap<(usize, &'static str), u64>,
    now: Now,
    now_ms: u64,
    chance: Chance,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rules = rules(0);
        rules.federation.discovery = true;
        let provider = ProviderRule::new(ProviderKind::Hosting, "online", domain(PROVIDER));
        rules.providers = vec![ProviderRule { enabled: true, ..provider }];
        let snapshot = Arc::new(compile(rules, 1).expect("no contradiction"));
        let scores = Arc::new(Scores::new([seed, 1]));
        let mut edge = Edge::new(0, 1, seed, &snapshot, &scores);
        let now = Now { unix_s: 1_800_000_000, ..Now::default() }.plus_ms(1_000);
        let legs =
            HOSTS.map(|host| edge.shards[0].open(now, Class::Federation, &[host.to_owned()], None));
        Self {
            edge,
            legs,
            pool: None,
            records: CLAIMED.into_iter().map(|claimed| (claimed, Record::OwnEdge)).collect(),
            burst_until_ms: 0,
            of_provider_ms: BTreeMap::new(),
            sent: 0,
            answered: BTreeSet::new(),
            reached: BTreeMap::new(),
            now,
            now_ms: 0,
            chance: Chance::new(seed),
        }
    }

    fn step(&mut self) {
        if self.chance.percent(20) {
            let place = usize::try_from(self.chance.below(CLAIMED.len() as u64)).unwrap();
            let record = Record::any(&mut self.chance);
            self.records.insert(CLAIMED[place], record);
        }
        if self.chance.percent(2) {
            self.burst_until_ms = self.now_ms + 1_500;
        }
        let from = usize::try_from(self.chance.below(HOSTS.len() as u64)).unwrap();
        let claimed = usize::try_from(self.chance.below(CLAIMED.len() as u64)).unwrap();
        self.send(from, claimed);
        self.advance(100);
    }

    fn send(&mut self, from: usize, claimed: usize) {
        self.sent += 1;
        let (number, claims) = (self.sent, CLAIMED[claimed]);
        let text = format!(
            "MESSAGE sip:kim@contoso.example SIP/2.0\r\n\
             Via: SIP/2.0/TLS 198.51.100.7:5061;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@{claims}>;tag=1\r\n\
             To: <sip:kim@contoso.example>\r\nCall-ID: {from}-{claimed}-{number}\r\n\
             CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
        self.edge.shards[0].feed(self.now, self.legs[from], text.as_bytes());
        self.settle();
    }

    fn advance(&mut self, milliseconds: u64) {
        self.now_ms += milliseconds;
        self.now = self.now.plus_ms(milliseconds);
        let shard = &mut self.edge.shards[0];
        shard.access.expire(self.now, &mut shard.effects);
        self.settle();
    }

    fn settle(&mut self) {
        self.run_commands();
        let shard = &mut self.edge.shards[0];
        let mut forwarded = self.pool.map(|pool| shard.take_staged(pool)).unwrap_or_default();
        while let Some(text) = Text::take(&mut forwarded) {
            let call_id = text.get("Call-ID").unwrap_or_default().to_owned();
            let mut numbers = call_id.split('-').map(|part| part.parse::<usize>().unwrap());
            let (from, claimed) = (numbers.next().unwrap(), CLAIMED[numbers.next().unwrap()]);
            let seen_ms = self.of_provider_ms.get(claimed).copied();
            judge(HOSTS[from], claimed, seen_ms, self.now_ms);
            *self.reached.entry((from, claimed)).or_default() += 1;
            let answer = text.answer(200);
            self.edge.shards[0].feed(self.now, self.pool.unwrap(), &answer);
        }
        for leg in self.legs {
            let mut answers = self.edge.shards[0].take_staged(leg);
            while let Some(text) = Text::take(&mut answers) {
                if text.status().is_some_and(|status| status >= 200) {
                    let call_id = text.get("Call-ID").unwrap_or_default().to_owned();
                    assert!(self.answered.insert(call_id), "answered twice");
                }
            }
        }
    }

    /// Does what the shell would; nobody is cut off, because each keeps to its allowance.
    fn run_commands(&mut self) {
        while !self.edge.shards[0].effects.commands.is_empty() {
            for command in std::mem::take(&mut self.edge.shards[0].effects.commands) {
                match command {
                    Command::Ask(question) => self.answer(question),
                    Command::Connect(connect) => {
                        let hosts = [connect.server_name.to_string()];
                        let outlet = Some(connect.outlet);
                        let shard = &mut self.edge.shards[0];
                        self.pool = Some(shard.open(self.now, connect.class, &hosts, outlet));
                    }
                    Command::Close { leg, reason } => panic!("{leg:?} is closed: {reason:?}"),
                    Command::Mail { .. } | Command::StartTls { .. } | Command::Admitted { .. } => {
                        panic!("not in this world")
                    }
                    Command::Note(_) | Command::Decided(_) => {}
                }
            }
        }
    }

    fn answer(&mut self, question: Question) {
        let Question::Federation(of) = &question else { panic!("asked {question:?}") };
        let record = self.records.get(of.as_str()).copied().unwrap_or(Record::OwnEdge);
        let failing = self.now_ms < self.burst_until_ms;
        let record = if failing { Record::Fails(Failure::ServerFailure) } else { record };
        let host = record.host(of.as_str());
        if host.as_deref() == Ok(PROVIDER) {
            self.of_provider_ms.insert(of.as_str().to_owned(), self.now_ms);
        }
        let outcome = host.map(|host| {
            vec![Target {
                fqdn: domain(&host),
                port: 5061,
                priority: 0,
                weight: 0,
                addresses: vec![address(0, 5)],
                direct_tls: true,
            }]
        });
        let answer = Answer { question, outcome, ttl_s: TTL_S };
        let shard = &mut self.edge.shards[0];
        shard.access.resolved(self.now, Arc::new(answer), &mut shard.effects);
    }
}

/// The rules. `provider_ms`: when DNS last said that the provider is the edge of `claimed`.
fn judge(host: &str, claimed: &str, provider_ms: Option<u64>, now_ms: u64) {
    assert!(![DOMAINS[0], DOMAINS[2]].contains(&claimed), "{host} spoke for {claimed}");
    if host == PROVIDER {
        // It speaks for whom DNS gives to it, no longer than that is believed.
        let known = provider_ms.is_some_and(|at| now_ms <= at + u64::from(TTL_S) * 1_000);
        assert!(known, "{claimed} at {now_ms}: given to the provider at {provider_ms:?}");
    } else {
        // Whatever a record names, an edge lies right below its domain.
        assert_eq!(host, format!("sip.{claimed}"), "forged");
    }
}

#[test]
fn nobody_speaks_for_others_whatever_dns_says() {
    let mut reached: BTreeMap<(usize, &str), u64> = BTreeMap::new();
    for seed in crate::seeds() {
        let mut world = World::new(seed);
        (0..300).for_each(|_| world.step());
        // Every timer runs out.
        (0..40).for_each(|_| world.advance(1_000));
        let silent = world.sent - world.answered.len() as u64;
        assert_eq!(silent, 0, "seed {seed}: {silent} of {} without an answer", world.sent);
        assert_eq!(world.edge.shards[0].access.pending(), 0, "seed {seed}");
        for (who, count) in world.reached {
            *reached.entry(who).or_default() += count;
        }
    }
    // Who speaks for itself is heard in between, and the provider for whom it was given.
    for who in [(0, "good.example"), (1, "evil.example"), (2, "hosted.example")] {
        assert!(reached.contains_key(&who), "{who:?} was never heard: {reached:?}");
    }
}
