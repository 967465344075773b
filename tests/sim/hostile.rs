//! Discovered partners that flood, guess and enumerate, beside a good one and a listed one, over
//! an edge of several shards that share their scores.
//!
//! Every partner has a connection on every shard and spreads its messages over them. The pool
//! answers at once, so what partners are told is the edge's doing alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use entente::dns::{Answer, Question, Target};
use entente::edge::{Class, Command, Core, LegId};
use entente::policy::{Limits, Scores, Throttles, compile};
use entente::time::Now;

use crate::clock::Chance;
use crate::organisation::{Edge, Shard, address, domain, rules};
use crate::pool::Text;

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
    /// The same, and comes back with another certificate now and then.
    Swaps,
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

struct World {
    edge: Edge,
    scores: Arc<Scores>,
    /// Each shard's connection to the pool.
    pools: [Option<LegId>; SHARDS],
    partners: Vec<Partner>,
    now: Now,
    chance: Chance,
}

impl World {
    fn new(seed: u64, limits: Limits) -> Self {
        let mut rules = rules(0);
        rules.federation.discovery = true;
        let throttles = Throttles { discovered: limits, ..Default::default() };
        let snapshot = compile(rules, 1).expect("no contradiction").with_throttles(throttles);
        let scores = Arc::new(Scores::new([seed, 1]));
        let mut edge = Edge::new(0, SHARDS, seed, &Arc::new(snapshot), &scores);
        let now = Now { unix_s: 1_800_000_000, ..Now::default() }.plus_ms(1_000);
        let partners = [
            ("good.example", Conduct::Good),
            ("fabrikam.example", Conduct::Listed),
            ("flood.example", Conduct::Floods),
            ("guess.example", Conduct::Guesses),
            ("enumerate.example", Conduct::Enumerates),
            ("swap.example", Conduct::Swaps),
        ]
        .map(|(name, conduct)| {
            let hosts = [format!("sip.{name}")];
            let open = |shard: usize| edge.shards[shard].open(now, Class::Federation, &hosts, None);
            Partner {
                domain: name.to_owned(),
                conduct,
                legs: std::array::from_fn(open),
                sent: 0,
                reached: 0,
                users: BTreeSet::new(),
                answers_200: 0,
                answers_480: 0,
            }
        });
        let chance = Chance::new(seed);
        Self { edge, scores, pools: [None; SHARDS], partners: partners.into(), now, chance }
    }

    /// Lets `partner` send one message on a shard of its choice.
    fn send(&mut self, partner: usize) {
        let shard = usize::try_from(self.chance.below(SHARDS as u64)).unwrap();
        let few = self.chance.below(30);
        let Partner { domain, conduct, legs, sent, .. } = &mut self.partners[partner];
        *sent += 1;
        let user = match conduct {
            Conduct::Good | Conduct::Listed => format!("user{few}"),
            Conduct::Floods => "user1".to_owned(),
            Conduct::Guesses => format!("nobody{sent}"),
            Conduct::Enumerates | Conduct::Swaps => format!("user{sent}"),
        };
        let text = format!(
            "MESSAGE sip:{user}@contoso.example SIP/2.0\r\n\
             Via: SIP/2.0/TLS 198.51.100.7:5061;branch=z9hG4bK{partner}x{sent}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@{domain}>;tag=1\r\n\
             To: <sip:{user}@contoso.example>\r\nCall-ID: {partner}-{sent}\r\n\
             CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
        self.edge.shards[shard].feed(self.now, legs[shard], text.as_bytes());
        self.settle(shard);
    }

    /// Lets the pool answer all that has reached it, and counts what partners are told.
    fn settle(&mut self, number: usize) {
        self.run_commands(number);
        let Self { edge, pools, partners, now, .. } = self;
        let shard = &mut edge.shards[number];
        if let Some(pool) = pools[number] {
            let mut forwarded = shard.take_staged(pool);
            while let Some(text) = Text::take(&mut forwarded) {
                let user = text.first.split([':', '@']).nth(1).unwrap_or_default().to_owned();
                let call_id = text.get("Call-ID").unwrap_or_default();
                let sender: usize = call_id.split('-').next().unwrap().parse().unwrap();
                let partner = &mut partners[sender];
                partner.reached += 1;
                let status = if user.starts_with("nobody") { 404 } else { 200 };
                partner.users.insert(user);
                shard.feed(*now, pool, &text.answer(status));
            }
        }
        for partner in partners {
            let mut answers = shard.take_staged(partner.legs[number]);
            while let Some(text) = Text::take(&mut answers) {
                partner.answers_200 += u64::from(text.status() == Some(200));
                partner.answers_480 += u64::from(text.status() == Some(480));
            }
        }
    }

    /// Does what the shell would: answers questions and grants connections.
    fn run_commands(&mut self, number: usize) {
        let shard = &mut self.edge.shards[number];
        while !shard.effects.commands.is_empty() {
            for command in std::mem::take(&mut shard.effects.commands) {
                match command {
                    Command::Ask(question) => {
                        let Question::Federation(of) = &question else { continue };
                        let target = Target {
                            fqdn: domain(&format!("sip.{of}")),
                            port: 5061,
                            priority: 0,
                            weight: 0,
                            addresses: vec![address(0, 5)],
                            direct_tls: true,
                        };
                        let answer = Answer { question, outcome: Ok(vec![target]), ttl_s: 300 };
                        shard.access.resolved(self.now, Arc::new(answer), &mut shard.effects);
                    }
                    Command::Connect(connect) => {
                        let hosts = [connect.server_name.to_string()];
                        let outlet = Some(connect.outlet);
                        self.pools[number] =
                            Some(shard.open(self.now, connect.class, &hosts, outlet));
                    }
                    Command::Mail { .. } => panic!("nothing crosses from partners to the pool"),
                    Command::StartTls { .. } | Command::Admitted { .. } => {
                        panic!("SIP begins with TLS")
                    }
                    Command::Close { .. } | Command::Note(_) | Command::Decided(_) => {}
                }
            }
        }
    }

    /// Runs a tenth of a second.
    fn step(&mut self) {
        let (guessed, enumerated) = (1 + self.chance.below(2), 1 + self.chance.below(2));
        // Ten times the rate is flood enough; more of it only costs the run its time.
        for (partner, messages) in [(0, 1), (1, 8), (2, 20), (3, guessed), (4, enumerated)] {
            (0..messages).for_each(|_| self.send(partner));
        }
        self.advance();
    }

    /// Lets a partner leave every shard and come back with another certificate for its edge.
    fn swap(&mut self, partner: usize, number: usize) {
        let Self { edge, partners, now, .. } = self;
        let Partner { domain, legs, .. } = &mut partners[partner];
        let hosts = [format!("sip.{domain}"), format!("c{number}.{domain}")];
        for (shard, leg) in edge.shards.iter_mut().zip(legs) {
            shard.close(*now, *leg);
            *leg = shard.open(*now, Class::Federation, &hosts, None);
        }
    }

    fn advance(&mut self) {
        self.now = self.now.plus_ms(100);
        for shard in 0..SHARDS {
            let Shard { access, effects, .. } = &mut self.edge.shards[shard];
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
                Conduct::Swaps => assert_eq!(partner.sent, 0, "{told}"),
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

/// A new certificate begins no new score: what its domain has done stays with it, on every shard
/// and connection.
#[test]
fn a_certificate_swapped_mid_life_inherits_what_its_domain_has_done() {
    const SWAPS: usize = 5;
    for seed in 1..=10 {
        let mut world = World::new(seed, Limits { users: 100, ..Limits::default() });
        for round in 0..400 {
            if round % 20 == 10 {
                world.swap(SWAPS, round);
            }
            let messages = 1 + world.chance.below(2);
            (0..messages).for_each(|_| world.send(SWAPS));
            world.advance();
        }
        let partner = &world.partners[SWAPS];
        assert!(partner.sent > 400, "seed {seed}");
        assert_eq!(partner.users.len(), 100, "seed {seed}: {} certificates", 400 / 20);
        assert_eq!(partner.reached, 100, "seed {seed}");
        let suspicious = world.scores.scores(world.now).into_iter().any(|s| s.suspicious);
        assert!(suspicious, "seed {seed}: so many refusals are remembered");
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
