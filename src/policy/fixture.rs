//! Names, peers and answers for the tests of this module.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Anchors, NextHop, PartnerRule, PeerNames, RevocationState, Rules, Snapshot, compile};
use crate::dns::{Answer, DnsView, Domain, Failure, Question, SharedAnswer, Target};
use crate::time::{Monotonic, Now};

/// When the answers of [`Answers`] end.
pub(super) const UNTIL: Monotonic = Monotonic(60_000_000_000);

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a domain")
}

pub(super) fn rules(partners: Vec<PartnerRule>) -> Rules {
    Rules {
        blocked: vec![domain("litware.example").into()],
        partners,
        internal_names: vec![domain("pool.contoso.example")],
        next_hops: vec![NextHop::new(domain("pool.contoso.example"))],
        ..Rules::new(
            domain("edge1.contoso.example"),
            domain("sip.contoso.example"),
            domain("lsedge.contoso.example"),
            vec![domain("contoso.example"), domain("contoso-emea.example")],
        )
    }
}

pub(super) fn snapshot(rules: Rules) -> Snapshot {
    compile(rules, 7).expect("no contradiction")
}

/// A peer whose certificate carries these host names and chains to the general anchors.
pub(super) fn peer(names: &[&str]) -> PeerNames {
    PeerNames {
        dns_names: names.iter().map(|name| domain(name)).collect(),
        sip_domains: Vec::new(),
        common_name: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint: [0x5a; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Unknown,
        xmpp: None,
    }
}

pub(super) fn target(fqdn: &str, addresses: &[&str]) -> Target {
    Target {
        fqdn: domain(fqdn),
        port: 5061,
        priority: 0,
        weight: 0,
        addresses: addresses.iter().map(|ip| ip.parse::<IpAddr>().expect("an address")).collect(),
        direct_tls: true,
    }
}

/// What DNS is taken to have answered, until [`UNTIL`].
#[derive(Default)]
pub(super) struct Answers(BTreeMap<Question, SharedAnswer>);

impl Answers {
    pub(super) fn of(question: Question, outcome: Result<Vec<Target>, Failure>) -> Self {
        let answer = Arc::new(Answer { question: question.clone(), outcome, ttl_s: 60 });
        Self(BTreeMap::from([(question, answer)]))
    }

    /// Adds another answer.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn srv(of: &str, targets: &[Target]) -> Self {
        Self::of(Question::Federation(domain(of)), Ok(targets.to_vec()))
    }
}

impl DnsView for Answers {
    fn look(&self, now: Now, question: &Question) -> Option<SharedAnswer> {
        self.0.get(question).filter(|_| now.monotonic < UNTIL).cloned()
    }

    fn valid_until(&self, _: Now, _: &Question) -> Monotonic {
        UNTIL
    }
}
