//! The edges of partners, providers and the default route: found as policy finds them, connected
//! to where the address rule allows it, and looked at for what will fail later.

use std::net::SocketAddr;

use super::handshake::{Reached, reach};
use crate::cli::check::certificates::EXPIRY_NOTICE_S;
use crate::cli::explain::Answers;
use crate::dns::{Answer, Domain, Failure, Question, Target};
use crate::edge::Class;
use crate::policy::address::permitted;
use crate::policy::{
    AnchorSet, Date, Decision, DefaultRoute, ExpectedNames, NameCheck, Outbound, PartnerKey,
    PeerNames, ProviderRule, Refusal, RefusalRule, Revocation, Rules, Snapshot,
};
use crate::time::Now;
use crate::tls::Material;

/// Edges of one partner that are connected to: the first ones of its record.
const TARGETS_MAX: usize = 3;
/// Addresses of one name that are tried.
pub(in crate::cli::check) const ADDRESSES_MAX: usize = 2;
/// Questions that one decision needs: the record, and that of a provider.
const QUESTIONS_MAX: usize = 3;

/// What is wrong with one partner. A warning: others are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::check) struct Found {
    pub(in crate::cli::check) code: &'static str,
    pub(in crate::cli::check) sentence: String,
    pub(in crate::cli::check) advice: String,
}

impl Found {
    fn new(code: &'static str, sentence: String, advice: impl Into<String>) -> Self {
        Self { code, sentence, advice: advice.into() }
    }
}

/// Whose edge stands somewhere, and what is demanded of it.
struct Door {
    who: String,
    anchors: Option<AnchorSet>,
    /// Its certificate must be for clients too.
    demands_client: bool,
    /// Where that is said.
    demanded_by: &'static str,
}

/// What is needed to look at doors; `ask` puts a question to DNS.
pub(in crate::cli::check) struct Examiner<'a, A> {
    pub(in crate::cli::check) rules: &'a Rules,
    pub(in crate::cli::check) snapshot: &'a Snapshot,
    pub(in crate::cli::check) material: &'a Material,
    pub(in crate::cli::check) now: Now,
    pub(in crate::cli::check) ask: A,
}

impl<A: Fn(&Question) -> Answer> Examiner<'_, A> {
    /// Looks at the edge of a listed partner, by its place in the rules.
    pub(in crate::cli::check) fn partner(&self, index: u32) -> Vec<Found> {
        let Some(rule) = self.rules.partners.get(index as usize) else { return Vec::new() };
        let Some(from) = self.rules.own_domains.first() else { return Vec::new() };
        let to = match rule.domain.exact() {
            Some(domain) => domain.clone(),
            // All domains below the name are at the edge that is stated; which of them is asked
            // for does not matter unless its certificate must carry it.
            None if rule.names == NameCheck::Fqdn => {
                let below = format!("any.{}", rule.domain.name());
                let Ok(domain) = Domain::parse(below.as_bytes()) else { return Vec::new() };
                domain
            }
            None => return Vec::new(),
        };
        let mut answers = Answers::default();
        for _ in 0..QUESTIONS_MAX {
            match self.snapshot.outbound(self.now, &Outbound { from, to: &to }, &answers) {
                Decision::Ask(question) => answers.0.push((self.ask)(&question).into()),
                Decision::Refuse(refusal) => return refused(&refusal).into_iter().collect(),
                Decision::Permit(permit) => {
                    let Some(route) = permit.route() else { break };
                    let (demands_client, demanded_by) = match permit.partner() {
                        PartnerKey::Provider(number) => {
                            let provider = self.rules.providers.get(usize::from(number));
                            let demands = provider.is_some_and(|p| p.require_client_eku);
                            (demands, "provider.require_client_eku")
                        }
                        _ => (rule.require_client_eku, "partner.require_client_eku"),
                    };
                    let who = rule.domain.to_string();
                    let door = Door { who, anchors: route.anchors, demands_client, demanded_by };
                    let expected = |target: &Target| route.expected_names(target, &to);
                    return self.knock(&door, route.targets(), expected);
                }
            }
        }
        Vec::new()
    }

    /// Looks at the edge of a provider.
    pub(in crate::cli::check) fn provider(&self, rule: &ProviderRule) -> Vec<Found> {
        let door = Door {
            who: format!("provider {}", rule.name),
            anchors: rule.anchors,
            demands_client: rule.require_client_eku,
            demanded_by: "provider.require_client_eku",
        };
        self.stated(&door, &rule.edge, rule.port, &rule.allow_networks, rule.common_name)
    }

    /// Looks at the edge that takes what nothing else names.
    pub(in crate::cli::check) fn default_route(&self, rule: &DefaultRoute) -> Vec<Found> {
        let door = Door {
            who: "the default route".to_owned(),
            anchors: rule.anchors,
            demands_client: rule.require_client_eku,
            demanded_by: "default_route.require_client_eku",
        };
        self.stated(&door, &rule.edge, rule.port, &rule.allow_networks, rule.common_name)
    }

    /// Looks at an edge whose name is stated and belongs to no single domain.
    fn stated(
        &self,
        door: &Door,
        edge: &Domain,
        port: u16,
        networks: &[ipnet::IpNet],
        common_name: bool,
    ) -> Vec<Found> {
        let answer = (self.ask)(&Question::Host { fqdn: edge.clone(), port });
        let who = &door.who;
        let mut targets = match answer.outcome {
            Ok(targets) => targets,
            Err(failure) => {
                let sentence = format!("the edge of {who} is not found: {edge} {}", told(failure));
                let advice = "see what `dig` says of it, and ask its administrator";
                return vec![Found::new("partner-not-found", sentence, advice)];
            }
        };
        let mut refused = None;
        for target in &mut targets {
            let judged = target.addresses.iter();
            let judged = judged.map(|ip| permitted(&self.rules.addresses, networks, *ip));
            let mut passed = Vec::new();
            for address in judged {
                match address {
                    Ok(address) => passed.push(address),
                    Err(refusal) => refused = Some(refusal),
                }
            }
            target.addresses = passed;
        }
        targets.retain(|target| !target.addresses.is_empty());
        if let Some(refusal) = refused.filter(|_| targets.is_empty()) {
            let sentence = format!("the edge of {who}, {edge}, is not connected to: {refusal}");
            return vec![Found::new("partner-address-refused", sentence, ADDRESS_ADVICE)];
        }
        let expected = |target: &Target| ExpectedNames {
            common_name,
            ..ExpectedNames::host(target.fqdn.clone())
        };
        self.knock(door, &targets, expected)
    }

    /// Connects to the first targets, and tells what is wrong with each of them once.
    fn knock(
        &self,
        door: &Door,
        targets: &[Target],
        expected: impl Fn(&Target) -> ExpectedNames,
    ) -> Vec<Found> {
        let mut ordered: Vec<&Target> = targets.iter().collect();
        ordered.sort_by_key(|target| target.priority);
        let mut found = Vec::new();
        for target in ordered.into_iter().take(TARGETS_MAX) {
            // Lists are the running edge's to fetch; one that is known counts here too.
            let expected = ExpectedNames { revocation: Revocation::Soft, ..expected(target) };
            for finding in self.target(door, target, &expected) {
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
        found
    }

    fn target(&self, door: &Door, target: &Target, expected: &ExpectedNames) -> Vec<Found> {
        let Door { who, anchors, .. } = door;
        let mut failed = None;
        for address in target.addresses.iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(*address, target.port);
            let class = Class::Federation;
            match reach(self.material, class, *anchors, address, &target.fqdn, expected) {
                Reached::Yes(names) => return self.shown_by(door, &names),
                reached => failed = Some(reached),
            }
        }
        let at = format!("{}:{} of {who}", target.fqdn, target.port);
        let found = match failed {
            Some(Reached::No(why)) => Found::new(
                "partner-unreachable",
                format!("{at} cannot be reached: {why}"),
                "let this edge's outgoing connections through, or ask its administrator",
            ),
            Some(Reached::Refused(why, advice)) => Found::new(
                "partner-handshake",
                format!("{at} does not become a peer: {why}"),
                advice,
            ),
            Some(Reached::Yes(_)) | None => return Vec::new(),
        };
        vec![found]
    }

    /// Looks at what a partner has shown for what will fail later.
    fn shown_by(&self, door: &Door, names: &PeerNames) -> Vec<Found> {
        let Door { who, demanded_by, .. } = door;
        let mut found = Vec::new();
        if let Some(sentence) = ends_soon(who, names.expires_unix_s, self.now.unix_s) {
            let advice = "tell its administrator; from that day on nothing passes";
            found.push(Found::new("partner-certificate-expires-soon", sentence, advice));
        }
        if door.demands_client && !names.client_auth {
            found.push(Found::new(
                "partner-without-client-eku",
                format!(
                    "the certificate of {who} has no clientAuth, which its entry demands: what it \
                     opens is refused"
                ),
                format!("have it renewed with clientAuth, or remove {demanded_by}"),
            ));
        }
        found
    }
}

const ADDRESS_ADVICE: &str = "if it is reached through a private line, add that network to the \
                              allow_networks of its entry; otherwise its name has a wrong address";

/// Returns what follows from a refusal that the world caused; what the policy itself says is told
/// by its own warnings.
fn refused(refusal: &Refusal) -> Option<Found> {
    let domain = refusal.domain();
    let record = format!("_sipfederationtls._tcp.{domain}");
    let (code, advice) = match refusal.rule() {
        RefusalRule::NoSuchService | RefusalRule::ServiceRefused => (
            "partner-not-found",
            format!("ask its administrator to publish {record}, or state its edge in the entry"),
        ),
        RefusalRule::SrvLookupFailed => (
            "partner-not-found",
            format!("see whether `dig {record} SRV` is answered; its name servers may be down"),
        ),
        RefusalRule::HostLookupFailed | RefusalRule::NoAddress => (
            "partner-not-found",
            "ask its administrator for the A or AAAA record of its edge".to_owned(),
        ),
        RefusalRule::SrvTargetOutsideDomain => (
            "partner-srv-elsewhere",
            "make sure with its administrator; then list that host in partner.srv_target, or \
             enable the provider it belongs to"
                .to_owned(),
        ),
        RefusalRule::AddressesRefused => ("partner-address-refused", ADDRESS_ADVICE.to_owned()),
        _ => return None,
    };
    Some(Found::new(code, refusal.sentence(), advice))
}

/// Returns how a stated host failed, after its name.
const fn told(failure: Failure) -> &'static str {
    match failure {
        Failure::NoSuchService | Failure::NoAddress => "has no address",
        Failure::ServiceRefused => "is said not to federate",
        Failure::ServerFailure => "makes the name servers fail",
        Failure::Timeout => "is not answered for by the name servers",
    }
}

/// Says when a certificate ends within the time that is mentioned.
pub(in crate::cli::check) fn ends_soon(
    who: &str,
    expires_unix_s: u64,
    now_unix_s: u64,
) -> Option<String> {
    let left_s = expires_unix_s.saturating_sub(now_unix_s);
    (left_s < EXPIRY_NOTICE_S).then(|| {
        let (days, date) = (left_s / 86_400, Date::of_unix_s(expires_unix_s));
        format!("the certificate of {who} ends in {days} days, on {date}")
    })
}
