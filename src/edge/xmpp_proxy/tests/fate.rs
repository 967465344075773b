//! A seeded world in which connections, names, gateways and policy come and go: what is promised
//! of every stanza holds all the same.

use std::collections::{BTreeMap, BTreeSet};

use super::world::*;
use crate::dns::Failure;
use crate::edge::LegId;
use crate::limits;

const SEEDS: u64 = 200;
const STEPS: usize = 120;
const GATEWAYS: [&str; 2] = ["gw1.contoso.example", "gw2.contoso.example"];

/// A server that one of our streams leads to; it takes us by certificate.
#[derive(Default)]
struct Server {
    headers: u32,
    stanzas: u32,
    managed: bool,
}

struct Fate {
    world: World,
    rng: u64,
    gateways: Vec<Option<Gateway>>,
    /// What a gateway that died had not heard of, to be sent by the next link.
    orphans: Vec<String>,
    servers: BTreeMap<LegId, Server>,
    partners: Vec<LegId>,
    sent_out: BTreeSet<String>,
    ended: BTreeMap<String, usize>,
    /// Stanzas that partners' servers got.
    delivered: BTreeSet<String>,
    /// Stanzas that partners were permitted to send.
    sent_in: BTreeSet<String>,
    received: BTreeSet<String>,
    answered: BTreeSet<String>,
    losses: usize,
    next: u32,
    epoch: u64,
}

impl Fate {
    fn new(seed: u64) -> Self {
        let mut fate = Self {
            world: World::new(),
            rng: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            gateways: vec![None, None],
            orphans: Vec::new(),
            servers: BTreeMap::new(),
            partners: Vec::new(),
            sent_out: BTreeSet::new(),
            ended: BTreeMap::new(),
            delivered: BTreeSet::new(),
            sent_in: BTreeSet::new(),
            received: BTreeSet::new(),
            answered: BTreeSet::new(),
            losses: 0,
            next: 0,
            epoch: 1,
        };
        fate.link(0);
        fate
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        (self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn id(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{}", self.next)
    }

    fn link(&mut self, which: usize) {
        if self.gateways[which].is_none() {
            let mut gateway = self.world.gateway(GATEWAYS[which]);
            for id in std::mem::take(&mut self.orphans) {
                self.world.send(&mut gateway, "kim@contoso.example", "a@fabrikam.example", &id);
            }
            self.gateways[which] = Some(gateway);
        }
    }

    fn step(&mut self) {
        match self.dice(16) {
            0..=3 => self.gateway_sends(),
            4..=6 => self.partner_sends(),
            7 => {
                let leg = self.world.fabrikam();
                self.partners.push(leg);
            }
            8 => {
                let which = usize::from(self.dice(2) == 0);
                self.link(which);
            }
            9 if self.dice(3) == 0 => self.gateway_dies(),
            10 => self.stream_dies(),
            11 if self.dice(6) == 0 => {
                self.epoch += 1;
                self.world.adopt(rules(), self.epoch);
            }
            12 => self.forge(),
            13 => {
                let ms = self.dice(20_000);
                self.world.pass(ms);
            }
            _ => {
                let ms = self.dice(200);
                self.world.pass(ms);
            }
        }
        self.answer_the_world(true);
    }

    fn gateway_sends(&mut self) {
        let which = usize::from(self.dice(2) == 0);
        let Some(mut gateway) = self.gateways[which].take() else { return };
        let id = self.id("out");
        self.sent_out.insert(id.clone());
        self.world.send(&mut gateway, "kim@contoso.example", "a@fabrikam.example", &id);
        self.gateways[which] = Some(gateway);
    }

    fn partner_sends(&mut self) {
        let Some(leg) = self.partners.last().copied() else { return };
        let id = self.id("in");
        self.sent_in.insert(id.clone());
        self.world.say(leg, &message("a@fabrikam.example", "kim@contoso.example", &id));
    }

    fn forge(&mut self) {
        let leg = if self.dice(2) == 0 { self.world.server() } else { self.world.fabrikam() };
        let id = self.id("forged");
        self.world.say(leg, &header("fabrikam.example", "contoso.example"));
        self.world.say(leg, &message("a@tailspin.example", "kim@contoso.example", &id));
        self.world.lose(leg, 0);
    }

    fn gateway_dies(&mut self) {
        let which = usize::from(self.dice(2) == 0);
        if let Some(mut gateway) = self.gateways[which].take() {
            self.losses += 1;
            self.collect_of(&mut gateway);
            self.world.lose(gateway.leg, 0);
            self.orphans.extend(gateway.end.into_unreported().map(|stanza| stanza.tag));
        }
    }

    fn stream_dies(&mut self) {
        let legs: Vec<_> = self.servers.keys().copied().chain(self.partners.clone()).collect();
        if legs.is_empty() {
            return;
        }
        let at = usize::try_from(self.dice(legs.len() as u64)).expect("small");
        let unsent = usize::try_from(self.dice(300)).expect("small");
        self.close(legs[at], unsent);
    }

    fn close(&mut self, leg: LegId, unsent: usize) {
        self.losses += 1;
        self.servers.remove(&leg);
        self.partners.retain(|held| *held != leg);
        self.world.lose(leg, unsent);
    }

    /// DNS, connections and servers answer; `faults`: not always as one would wish.
    fn answer_the_world(&mut self, faults: bool) {
        for _ in 0..40 {
            let mut quiet = true;
            if !self.world.questions.is_empty() {
                quiet = false;
                if faults && self.dice(5) == 0 {
                    self.world.resolve_nothing(Failure::ServerFailure);
                } else {
                    let hosts = ["a.fabrikam.example", "b.fabrikam.example"];
                    self.world.resolve_to(&hosts, &["192.0.2.50"], true);
                }
            }
            if !self.world.connects.is_empty() {
                quiet = false;
                if faults && self.dice(3) == 0 {
                    self.world.deny();
                } else {
                    let leg = self.world.grant(&["fabrikam.example"]);
                    let managed = self.dice(2) == 0;
                    self.servers.insert(leg, Server { managed, ..Server::default() });
                }
            }
            for leg in self.servers.keys().copied().collect::<Vec<_>>() {
                quiet &= !self.serve(leg);
            }
            let closed = std::mem::take(&mut self.world.closed);
            for (leg, _) in closed {
                quiet = false;
                self.close(leg, 0);
            }
            for which in 0..GATEWAYS.len() {
                if let Some(mut gateway) = self.gateways[which].take() {
                    self.collect_of(&mut gateway);
                    self.gateways[which] = Some(gateway);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn serve(&mut self, leg: LegId) -> bool {
        let text = self.world.read(leg);
        if text.is_empty() {
            return false;
        }
        let Some(server) = self.servers.get_mut(&leg) else { return false };
        for stanza in text.split("<message ").skip(1) {
            server.stanzas += 1;
            let id = attribute(&format!(" {stanza}"), "id");
            let list = if stanza.contains("type='error'") {
                &mut self.answered
            } else {
                &mut self.delivered
            };
            list.insert(id);
        }
        let mut said = String::new();
        if text.contains("<stream:stream") {
            server.headers += 1;
            said += &header_with_id("fabrikam.example", "contoso.example", "s");
            said += &match (server.headers, server.managed) {
                (1, _) => features(EXTERNAL),
                (_, true) => features("<sm xmlns='urn:xmpp:sm:3'/>"),
                (_, false) => features(""),
            };
        }
        if text.contains("<auth") {
            said += SUCCESS;
        }
        if text.contains("<enable ") {
            said += "<enabled xmlns='urn:xmpp:sm:3'/>";
        }
        if text.contains("<r ") {
            said += &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", server.stanzas);
        }
        if text.contains("</stream:stream>") {
            said += "</stream:stream>";
        }
        self.world.tell(leg, &said);
        true
    }

    fn collect_of(&mut self, gateway: &mut Gateway) {
        self.world.exchange(gateway);
        for id in gateway.taken.drain(..).chain(gateway.bounced.drain(..).map(|(id, _)| id)) {
            *self.ended.entry(id).or_default() += 1;
        }
        for (text, origin) in gateway.stanzas.drain(..) {
            assert_eq!(origin.partner, domain("fabrikam.example"));
            assert_eq!(attribute(&text, "from"), "a@fabrikam.example", "forged: {text}");
            self.received.insert(attribute(&text, "id"));
        }
    }

    /// Everything comes up again, and time passes until nothing waits.
    fn heal(&mut self) {
        self.link(0);
        self.link(1);
        for _ in 0..700 {
            self.answer_the_world(false);
            self.world.pass(100);
        }
        self.answer_the_world(false);
    }
}

#[test]
fn whatever_happens_each_stanza_ends_and_none_passes_under_a_pair_that_was_not_proved() {
    let mut totals = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut fate = Fate::new(seed);
        for _ in 0..STEPS {
            fate.step();
            assert!(fate.world.proxy.queued_bytes() <= limits::XMPP_QUEUES_BYTES_MAX);
        }
        fate.heal();
        for id in &fate.sent_out {
            assert!(fate.ended.contains_key(id), "seed {seed}: {id} was lost unsaid");
        }
        for (id, times) in &fate.ended {
            assert!(*times == 1 || fate.losses > 0, "seed {seed}: {id} ended {times} times");
        }
        for id in &fate.sent_in {
            let known = fate.received.contains(id) || fate.answered.contains(id);
            let counted = fate.world.proxy.counters().dropped > 0 || fate.losses > 0;
            assert!(known || counted, "seed {seed}: {id} was lost unsaid");
        }
        assert!(!fate.received.iter().any(|id| id.starts_with("forged")), "seed {seed}");
        assert_eq!(fate.world.proxy.queued_bytes(), 0, "seed {seed}: something waits for ever");
        totals.0 += fate.delivered.len();
        totals.1 += fate.received.len();
        totals.2 += fate.losses;
    }
    let (delivered, received, losses) = totals;
    assert!(delivered > 1_000 && received > 1_000 && losses > 500, "{totals:?}: a tame world");
}
