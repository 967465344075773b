//! Discovered partners that flood, guess and enumerate, beside a good one and a listed one, over
//! an edge of several shards that share their scores.
//!
//! Every partner has a connection on every shard and spreads its messages over them. The pool
//! answers at once, so what partners are told is the edge's doing alone.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use entente::dns::{Answer, Question, Target};
use entente::edge::access::{Access, PoolKey, PoolKeys, Setup};
use entente::edge::{Class, Command, Core, Effects, Fed, LegId, Opened, OutletId};
use entente::policy::{Limits, Scores, compile};
use entente::time::Now;

use crate::organisation::{address, domain, names, rules};

const SHARDS: usize = 3;
const SECONDS: u64 = 120;

/// What a partner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    /// Writes to a few users, well within its rate.
    Good,
    /// Listed: writes far beyond the rate of a discovered partner.
    Listed,
    /// Writes as fast as it can.
    Floods,
    /// Writes to users that are not there.
    Guesses,
    /// Writes to one user after another, all of them there.
    Enumerates,
}

struct Partner {
    domain: String,
    conduct: Conduct,
    legs: [LegId; SHARDS],
    sent: u64,
    /// Of the pool.
    reached: u64,
    users: BTreeSet<String>,
    /// By status.
    answers_200: u64,
    answers_480: u64,
}

struct Shard {
    access: Access,
    effects: Effects,
    pool: Option<LegId>,
    next_leg: u32,
}

impl Shard {
    fn open(&mut self, now: Now, class: Class, host: &str, outlet: Option<OutletId>) -> LegId {
        let leg = LegId { index: self.next_leg, generation: 1 };
        self.next_leg += 1;
        self.effects.open(leg);
        let remote = SocketAddr::from(([198, 51, 100, 7], 40_000));
        let local = SocketAddr::from(([192, 0, 2, 1], 5061));
        let peer = Some(names(&[host.to_owned()]));
        let opened = Opened { class, outlet, peer, remote, local };
        self.access.leg_opened(now, leg, opened, &mut self.effects);
        leg
    }

    fn feed(&mut self, now: Now, leg: LegId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.access.feed(now, leg, bytes, &mut self.effects) {
                Fed::Consumed(consumed) => bytes = &bytes[consumed..],
                Fed::NeedMore(_) | Fed::Dead => break,
            }
        }
    }

    fn read(&mut self, leg: LegId) -> String {
        let staged = self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default();
        String::from_utf8(staged).expect("the simulation writes text")
    }

    /// Does what the shell would: answers questions and grants connections.
    fn run_commands(&mut self, now: Now) {
        while !self.effects.commands.is_empty() {
            for command in std::mem::take(&mut self.effects.commands) {
                match command {
                    Command::Ask(question) => {
                        let Question::Federation(of) = &question else { continue };
                        let target = Target {
                            fqdn: domain(&format!("sip.{of}")),
                            port: 5061,
                            priority: 0,
                            weight: 0,
                            addresses: vec![address(0, 5)],
                        };
                        let answer = Answer { question, outcome: Ok(vec![target]), ttl_s: 300 };
                        self.access.resolved(now, Arc::new(answer), &mut self.effects);
                    }
                    Command::Connect(connect) => {
                        let host = connect.server_name.to_string();
                        let leg = self.open(now, connect.class, &host, Some(connect.outlet));
                        self.pool = Some(leg);
                    }
                    Command::Mail { .. } => panic!("nothing crosses from partners to the pool"),
                    Command::Close { .. } | Command::Note(_) | Command::Decided(_) => {}
                }
            }
        }
    }
}

struct World {
    shards: Vec<Shard>,
    partners: Vec<Partner>,
    scores: Arc<Scores>,
    now: Now,
    seed: u64,
}

impl World {
    fn new(seed: u64, limits: Limits) -> Self {
        let mut rules = rules(0);
        rules.federation.discovery = true;
        let throttles = entente::policy::Throttles { discovered: limits, ..Default::default() };
        let snapshot = compile(rules, 1).expect("no contradiction").with_throttles(throttles);
        let snapshot = Arc::new(snapshot);
        let scores = Arc::new(Scores::new([seed, 1]));
        let shard = |number: usize| Setup {
            shard: u16::try_from(number).unwrap(),
            shards: u16::try_from(SHARDS).unwrap(),
            transactions: 4_000,
            external_port: 5061,
            internal_port: 5061,
            remote_port: 443,
            process_key: [seed, 3],
            pool_keys: PoolKeys(vec![PoolKey { id: 1, key: [1; 16] }]),
            first_generation: 0,
            seed: seed ^ number as u64,
            idle_timeout_ms: 600_000,
            ping_interval_ms: 60_000,
            explain: false,
        };
        let shards = (0..SHARDS).map(|number| Shard {
            access: Access::new(shard(number), Arc::clone(&snapshot))
                .with_scores(Arc::clone(&scores)),
            effects: Effects::default(),
            pool: None,
            next_leg: 0,
        });
        let now = Now { unix_s: 1_800_000_000, ..Now::default() }.plus_ms(1_000);
        let mut world =
            Self { shards: shards.collect(), partners: Vec::new(), scores, now, seed: seed | 1 };
        for (name, conduct) in [
            ("good.example", Conduct::Good),
            ("fabrikam.example", Conduct::Listed),
            ("flood.example", Conduct::Floods),
            ("guess.example", Conduct::Guesses),
            ("enumerate.example", Conduct::Enumerates),
        ] {
            let host = format!("sip.{name}");
            let legs = std::array::from_fn(|shard| {
                world.shards[shard].open(now, Class::Federation, &host, None)
            });
            world.partners.push(Partner {
                domain: name.to_owned(),
                conduct,
                legs,
                sent: 0,
                reached: 0,
                users: BTreeSet::new(),
                answers_200: 0,
                answers_480: 0,
            });
        }
        world
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    /// Lets `partner` send one message on a shard of its choice.
    fn send(&mut self, partner: usize) {
        let shard = self.random() as usize % SHARDS;
        let few = self.random() % 30;
        let Partner { domain, conduct, legs, sent, .. } = &mut self.partners[partner];
        *sent += 1;
        let user = match conduct {
            Conduct::Good | Conduct::Listed => format!("user{few}"),
            Conduct::Floods => "user1".to_owned(),
            Conduct::Guesses => format!("nobody{sent}"),
            Conduct::Enumerates => format!("user{sent}"),
        };
        let text = format!(
            "MESSAGE sip:{user}@contoso.example SIP/2.0\r\n\
             Via: SIP/2.0/TLS 198.51.100.7:5061;branch=z9hG4bK{partner}x{sent}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@{domain}>;tag=1\r\n\
             To: <sip:{user}@contoso.example>\r\nCall-ID: {partner}-{sent}\r\n\
             CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
        let leg = legs[shard];
        self.shards[shard].feed(self.now, leg, text.as_bytes());
        self.settle(shard);
    }

    /// Lets the pool answer all that has reached it, and counts what partners are told.
    fn settle(&mut self, shard: usize) {
        let Self { shards, partners, now, .. } = self;
        let shard_of = &mut shards[shard];
        shard_of.run_commands(*now);
        if let Some(pool) = shard_of.pool {
            let forwarded = shard_of.read(pool);
            for message in forwarded.split_inclusive("\r\n\r\n") {
                let value = |name: &str| {
                    let line = message.split("\r\n").find(|line| line.starts_with(name));
                    line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value)
                };
                let user = message.split([':', '@']).nth(1).unwrap_or_default().to_owned();
                let sender: usize = value("Call-ID").split('-').next().unwrap().parse().unwrap();
                let partner = &mut partners[sender];
                partner.reached += 1;
                let status = if user.starts_with("nobody") { 404 } else { 200 };
                partner.users.insert(user);
                let mut answer = format!("SIP/2.0 {status} x\r\n");
                for line in message.split("\r\n").skip(1) {
                    if ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|n| line.starts_with(n))
                    {
                        answer.push_str(line);
                        answer.push_str("\r\n");
                    }
                }
                answer.push_str("Content-Length: 0\r\n\r\n");
                shard_of.feed(*now, pool, answer.as_bytes());
            }
        }
        for partner in partners {
            let answers = shard_of.read(partner.legs[shard]);
            partner.answers_200 += answers.matches("SIP/2.0 200 ").count() as u64;
            partner.answers_480 += answers.matches("SIP/2.0 480 ").count() as u64;
        }
    }

    /// Runs a tenth of a second.
    fn step(&mut self) {
        for (partner, messages) in
            [(0, 1), (1, 8), (2, 40), (3, 1 + self.random() % 2), (4, 1 + self.random() % 2)]
        {
            (0..messages).for_each(|_| self.send(partner));
        }
        self.now = self.now.plus_ms(100);
        for shard in 0..SHARDS {
            let Shard { access, effects, .. } = &mut self.shards[shard];
            access.expire(self.now, effects);
            self.settle(shard);
        }
    }
}

#[test]
fn floods_guesses_and_enumerations_are_bounded_and_others_unharmed() {
    for seed in 1..=5 {
        let limits = Limits { users: 100, ..Limits::default() };
        let mut world = World::new(seed, limits);
        for _ in 0..SECONDS * 10 {
            world.step();
        }
        for partner in &world.partners {
            let told = format!("seed {seed}, {}: {} reached", partner.domain, partner.reached);
            match partner.conduct {
                Conduct::Good | Conduct::Listed => {
                    assert_eq!(partner.answers_200, partner.sent, "{told}");
                    assert_eq!(partner.answers_480, 0, "{told}");
                }
                Conduct::Floods => {
                    // A burst, then the rate; what is held is of the same seconds.
                    let most = 20 + 20 * SECONDS + 40;
                    assert!((20 * SECONDS..=most).contains(&partner.reached), "{told}");
                    assert!(partner.answers_480 > 30 * SECONDS, "{told}");
                }
                Conduct::Guesses => {
                    // Suspicious after some twenty answers, then one a second.
                    assert!(partner.reached < 60 + SECONDS, "{told}");
                    assert!(partner.users.len() <= 100, "{told}");
                }
                Conduct::Enumerates => {
                    assert_eq!(partner.users.len(), 100, "{told}");
                    assert_eq!(partner.reached, 100, "{told}");
                }
            }
        }
        let suspicious = world.scores.scores(world.now).into_iter().filter(|s| s.suspicious);
        // The two that guess and enumerate, each under its domain and its certificate.
        assert_eq!(suspicious.count(), 4, "seed {seed}");
    }
}

#[test]
fn the_same_seed_ends_the_same() {
    let run = || {
        let mut world = World::new(9, Limits::default());
        (0..200).for_each(|_| world.step());
        world.partners.iter().map(|p| (p.reached, p.answers_480)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
