//! With `--live`: whom the edge reaches, and what they show.
//!
//! Next hops, providers and listed partners are connected to as the edge would, each with a bounded
//! wait and only at addresses that the address rule permits; nothing is sent but the handshake with
//! this edge's certificate. Of partners at most `--limit` are chosen ([`sample`]), and several are
//! looked at at once. With `--running` the edge's own listeners are connected to as well.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Checker, Severity};
use crate::control;
use crate::dns::resolver::Resolver;
use crate::dns::{Answer, Domain, Question};
use crate::edge::Class;
use crate::policy::{Date, ExpectedNames, PeerNames, Place, ProviderRule, Rules, Snapshot};
use crate::time::Clock;
use crate::tls::Material;

pub(super) mod doors;
pub(super) mod handshake;
mod own;
mod sample;

use doors::{ADDRESSES_MAX, Examiner, Found};
use handshake::{Reached, reach};
use sample::Sample;

/// Partners that are connected to unless `--limit` says otherwise.
pub(super) const LIMIT: u16 = 64;
/// Partners that are connected to at once. Most of the time is spent waiting for dead ones.
const WORKERS: usize = 8;

/// Whose edge is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Provider(u16),
    DefaultRoute,
    Partner(u32),
}

impl Who {
    const fn place(self) -> Place {
        match self {
            Self::Provider(index) => Place::Provider(index),
            Self::DefaultRoute => Place::DefaultRoute,
            Self::Partner(index) => Place::Partner(index),
        }
    }
}

impl Checker<'_> {
    /// Connects to next hops and partners.
    pub(super) fn live(&mut self, limit: usize) {
        let plan = control::tls_plan(self.config, 1, self.now_unix_s, None);
        // What is wrong with certificates, or with the policy, has been told.
        let Some((material, snapshot)) =
            Material::build(&plan).ok().zip(control::policy(self.config).ok())
        else {
            let sentence = "nothing was connected to, because the edge itself could not be loaded";
            let advice = "correct the errors first, then ask for --live again";
            self.at("edge", Severity::Note, "live-not-done", sentence, advice);
            return;
        };
        self.next_hops(&material);
        if let Some(ask) = self.asker() {
            self.gateway_edges(&material, &ask);
        }
        if self.config.federation.enabled {
            self.xmpp_partners(&snapshot, limit);
            self.doors(&control::rules(self.config), &snapshot, &material, limit);
        }
    }

    /// Makes what a thread of its own needs to ask DNS; the servers are those of the edge.
    fn asker(&self) -> Option<impl Fn(&Question) -> Answer + use<>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let servers = self.config.dns.servers.clone();
        let resolver: Resolver = runtime.block_on(async { self.resolver(servers) })?;
        Some(move |question: &Question| runtime.block_on(resolver.answer(question)))
    }

    fn next_hops(&mut self, material: &Material) {
        let Some(ask) = self.asker() else { return };
        for (index, hop) in self.config.next_hops.iter().enumerate() {
            let key = format!("next_hop[{index}].name");
            let mut addresses = hop.addresses.clone();
            if addresses.is_empty() {
                let found = ask(&Question::Host { fqdn: hop.name.clone(), port: hop.port }).outcome;
                let found = found.unwrap_or_default().into_iter();
                addresses = found.flat_map(|target| target.addresses).collect();
            }
            if addresses.is_empty() {
                let sentence = format!("{} has no address", hop.name);
                let advice = "publish one, or set next_hop.addresses";
                self.at(&key, Severity::Warning, "next-hop-not-found", sentence, advice);
            }
            let expected = ExpectedNames::host(hop.name.clone());
            for address in addresses.into_iter().take(ADDRESSES_MAX) {
                let address = SocketAddr::new(address, hop.port);
                let who = format!("{} at {address}", hop.name);
                match reach(material, Class::Internal, None, address, &hop.name, &expected) {
                    Reached::Yes(names) => self.next_hop_shows(&key, &hop.name, &names),
                    Reached::No(why) => self.at(
                        &key,
                        Severity::Warning,
                        "next-hop-unreachable",
                        format!("{who} cannot be reached: {why}"),
                        "start it, or let the rule of `entente plan --section firewall` through",
                    ),
                    Reached::Refused(why, _) => self.at(
                        &key,
                        Severity::Warning,
                        "next-hop-handshake",
                        format!("{who} does not become a peer: {why}"),
                        "compare its certificate with internal.names and tls.internal_trust",
                    ),
                }
            }
        }
    }

    fn next_hop_shows(&mut self, key: &str, name: &Domain, names: &PeerNames) {
        let ends = doors::ends_soon(name.as_str(), names.expires_unix_s, self.now_unix_s);
        if let Some(sentence) = ends {
            let code = "next-hop-certificate-expires-soon";
            let advice = "renew it there; from that day on nothing passes";
            self.at(key, Severity::Warning, code, sentence, advice);
        }
    }

    /// Looks at the edges of providers and partners, as many as `limit`.
    fn doors(&mut self, rules: &Rules, snapshot: &Snapshot, material: &Material, limit: usize) {
        let today = Date::of_unix_s(self.now_unix_s);
        let used = |rule: &ProviderRule| rule.enabled && rule.ends.is_none_or(|day| day >= today);
        let providers = (0_u16..).zip(&rules.providers).filter(|(_, rule)| used(rule));
        let mut all: Vec<Who> = providers.map(|(index, _)| Who::Provider(index)).collect();
        all.extend(rules.default_route.as_ref().map(|_| Who::DefaultRoute));
        all.truncate(limit);
        let sample =
            sample::choose(&rules.partners, self.config.partners.len(), today, limit - all.len());
        all.extend(sample.chosen.iter().map(|&index| Who::Partner(index)));
        self.tell_sample(&sample);
        for (who, found) in self.looked_at(&all, rules, snapshot, material) {
            let place = self.config.whereabouts(who.place());
            self.findings.extend(found.into_iter().map(|found| super::Finding {
                code: found.code,
                severity: Severity::Warning,
                sentence: found.sentence,
                place: place.clone(),
                advice: found.advice,
            }));
        }
    }

    /// Says who was left out, and by which rule.
    fn tell_sample(&mut self, sample: &Sample) {
        if !sample.is_partial() {
            return;
        }
        let Sample { stated, listed, stated_chosen, listed_chosen, .. } = *sample;
        let list = self.config.federation.partners_csv.as_ref();
        let rows = list.map_or_else(String::new, |list| {
            format!(" and {listed_chosen} of {listed} rows of {}", list.display())
        });
        let key = if list.is_some() { "federation.partners_csv" } else { "partner[0].domain" };
        self.at(
            key,
            Severity::Note,
            "partners-sampled",
            format!(
                "{stated_chosen} of {stated} partners of the file{rows} were connected to, evenly \
                 spread from the first on"
            ),
            format!("--limit {} connects to all of them", (stated + listed).min(u16::MAX.into())),
        );
    }

    /// Looks at everybody, several at once; returns what was found in the order of `all`.
    fn looked_at(
        &self,
        all: &[Who],
        rules: &Rules,
        snapshot: &Snapshot,
        material: &Material,
    ) -> Vec<(Who, Vec<Found>)> {
        let next = AtomicUsize::new(0);
        let work = || {
            let Some(ask) = self.asker() else { return Vec::new() };
            let now = crate::time::Now { unix_s: self.now_unix_s, ..Clock::start().now() };
            let examiner = Examiner { rules, snapshot, material, now, ask };
            let mut done = Vec::new();
            // Each takes the next one, so that a dead partner holds nobody else up.
            while let Some((place, who)) = {
                let place = next.fetch_add(1, Ordering::Relaxed);
                all.get(place).map(|who| (place, *who))
            } {
                done.push((place, who, examine(&examiner, who)));
            }
            done
        };
        let mut done = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS.min(all.len())).map(|_| scope.spawn(work)).collect();
            // A panic of a worker is ours.
            let joined = workers.into_iter().map(|worker| worker.join().expect("a worker"));
            joined.flatten().collect::<Vec<_>>()
        });
        done.sort_by_key(|(place, ..)| *place);
        done.into_iter().map(|(_, who, found)| (who, found)).collect()
    }
}

fn examine<A: Fn(&Question) -> Answer>(examiner: &Examiner<'_, A>, who: Who) -> Vec<Found> {
    let rules = examiner.rules;
    match who {
        Who::Partner(index) => examiner.partner(index),
        Who::Provider(index) => rules
            .providers
            .get(usize::from(index))
            .map_or_else(Vec::new, |rule| examiner.provider(rule)),
        Who::DefaultRoute => {
            rules.default_route.as_ref().map_or_else(Vec::new, |rule| examiner.default_route(rule))
        }
    }
}
