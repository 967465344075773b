//! The decision: may this domain talk to that one through this peer, and where does it go.
//!
//! The order is DESIGN 6.5 from `blocked` on, with the organisation's own switch before it
//! (lync-federation 5.4). Everything here is cold: a shard asks again only when
//! [`super::VerdictCache`] has forgotten.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::permitted;
use super::partner::{Partner, Terms};
use super::refusal::About;
use super::{
    AddressRefusal, Anchors, Listed, NameCheck, PartnerKey, PeerNames, Permit, Refusal,
    RefusalRule, Route, Rule, Snapshot, Verification,
};
use crate::dns::{Answer, DnsView, Domain, Failure, Question, SharedAnswer, Target};
use crate::time::{Monotonic, Now};

/// What no clock reaches: a decision that rests on no DNS answer.
const FOREVER: Monotonic = Monotonic(u64::MAX);

/// The From host of an anonymous user (RFC 3323 section 4.1.1.3).
const ANONYMOUS: &str = "anonymous.invalid";

/// What policy says.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Forward.
    Permit(Permit),
    /// Answer.
    Refuse(Refusal),
    /// Ask the resolver and decide afresh when it has answered.
    Ask(Question),
}

/// A partner's request.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// Who sent it.
    pub peer: &'a PeerNames,
    /// Domain of the From URI.
    pub from: &'a Domain,
    /// The domain it is for: of the Request-URI, or what a valid route token names in its place.
    pub to: &'a Domain,
}

/// An own user's request on its way to a partner.
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    /// Domain of the From URI.
    pub from: &'a Domain,
    /// Domain of the Request-URI.
    pub to: &'a Domain,
}

/// What ends a decision early.
enum Stop {
    Refuse(Refusal),
    Ask(Question),
}

impl From<Result<Permit, Stop>> for Decision {
    fn from(result: Result<Permit, Stop>) -> Self {
        match result {
            Ok(permit) => Self::Permit(permit),
            Err(Stop::Refuse(refusal)) => Self::Refuse(refusal),
            Err(Stop::Ask(question)) => Self::Ask(question),
        }
    }
}

/// The partner a decision is about, listed or discovered.
struct Party<'a> {
    domain: &'a Domain,
    entry: Option<u32>,
    terms: &'a Terms,
    kind: Listed,
}

impl Party<'_> {
    fn rule(&self) -> Rule {
        let domain = self.domain.clone();
        match (self.entry, &self.kind) {
            (None, _) => Rule::Discovered { domain },
            (Some(index), Listed::AllowedDomain) => Rule::AllowedDomain { index, domain },
            (Some(index), Listed::AllowedServer { edge, .. }) => {
                Rule::AllowedServer { index, domain, edge: edge.clone() }
            }
        }
    }

    fn question(&self) -> Question {
        match &self.kind {
            Listed::AllowedDomain => Question::Federation(self.domain.clone()),
            Listed::AllowedServer { edge, port } => {
                Question::Host { fqdn: edge.clone(), port: *port }
            }
        }
    }

    /// Tells whether `target` may be this partner's edge; one that is stated is beyond doubt.
    fn admits(&self, target: &Target) -> bool {
        match &self.kind {
            Listed::AllowedDomain => self.terms.srv_target.admits(self.domain, &target.fqdn),
            Listed::AllowedServer { .. } => true,
        }
    }
}

impl Snapshot {
    /// Decides on a partner's request. Cold: bench `policy/inbound_cold`; warm is the cache.
    #[must_use]
    pub fn inbound(&self, now: Now, q: &Inbound<'_>, dns: &dyn DnsView) -> Decision {
        self.judge_inbound(now, q, dns).into()
    }

    /// Decides on an own user's request to a partner; the permit has a [`Route`].
    #[must_use]
    pub fn outbound(&self, now: Now, q: &Outbound<'_>, dns: &dyn DnsView) -> Decision {
        self.judge_outbound(now, q, dns).into()
    }

    /// Decides on a request from the listener for remote users, which goes to the next hop only.
    ///
    /// `to`: `None` where the request names no domain, as REGISTER of the own domain may.
    #[must_use]
    pub fn remote_user(&self, from: &Domain, to: Option<&Domain>) -> Decision {
        self.judge_remote_user(from, to).into()
    }

    fn judge_inbound(&self, now: Now, q: &Inbound<'_>, dns: &dyn DnsView) -> Result<Permit, Stop> {
        self.judge_federation(q.from, q.to)?;
        if !self.is_own_domain(q.to) {
            return Err(self.stop(RefusalRule::DestinationNotOurs, q.to));
        }
        if self.is_own_domain(q.from) {
            return Err(self.stop(RefusalRule::OwnDomainFromOutside, q.from));
        }
        let party = self.party(q.from)?;
        self.judge_certificate(q.peer, &party)?;
        let valid_until = match party.terms.names {
            NameCheck::Fqdn => self.judge_host_name(now, q.peer, &party, dns)?,
            NameCheck::SipDomain => {
                self.judge_domain_name(q.peer, &party)?;
                FOREVER
            }
            NameCheck::Both => {
                self.judge_domain_name(q.peer, &party)?;
                self.judge_host_name(now, q.peer, &party, dns)?
            }
        };
        Ok(self.permit(&party, valid_until, None))
    }

    fn judge_outbound(
        &self,
        now: Now,
        q: &Outbound<'_>,
        dns: &dyn DnsView,
    ) -> Result<Permit, Stop> {
        self.judge_federation(q.from, q.to)?;
        if !self.is_own_domain(q.from) {
            return Err(self.stop(RefusalRule::SenderNotOurs, q.from));
        }
        if self.is_own_domain(q.to) {
            return Err(self.stop(RefusalRule::DestinationIsOurs, q.to));
        }
        let party = self.party(q.to)?;
        let (answer, valid_until) = self.targets(now, &party, dns)?;
        let targets = self.reachable(&party, answer, valid_until)?;
        let route = Route {
            targets,
            anchors: party.terms.anchors,
            connections: self.rules.federation.connections_per_partner,
            names: party.terms.names,
            common_name: party.terms.common_name,
            revocation: party.terms.revocation,
        };
        Ok(self.permit(&party, valid_until, Some(route)))
    }

    fn judge_remote_user(&self, from: &Domain, to: Option<&Domain>) -> Result<Permit, Stop> {
        let switches = self.rules.remote_users;
        if !switches.enabled {
            return Err(self.stop(RefusalRule::RemoteUsersOff, from));
        }
        self.judge_blocked(from)?;
        if let Some(to) = to {
            self.judge_blocked(to)?;
        }
        let rule = if self.is_own_domain(from) {
            Rule::RemoteUser { domain: from.clone() }
        } else if from.as_str() != ANONYMOUS {
            return Err(self.stop(RefusalRule::NotOurUser, from));
        } else if !switches.anonymous {
            return Err(self.stop(RefusalRule::AnonymousOff, from));
        } else if let Some(to) = to.filter(|to| !self.is_own_domain(to)) {
            // An anonymous user joins our conferences and goes nowhere else.
            return Err(self.stop(RefusalRule::DestinationNotOurs, to));
        } else {
            Rule::Anonymous
        };
        // The internal pool authenticates an own user; nobody vouches for an anonymous one.
        let verification = match rule {
            Rule::Anonymous => Verification::Never,
            _ => Verification::Always,
        };
        let (epoch, partner) = (self.epoch, PartnerKey::NextHop);
        Ok(Permit { epoch, rule, partner, verification, valid_until: FOREVER, route: None })
    }

    /// The organisation's switch, then the blocked list, From before To.
    fn judge_federation(&self, from: &Domain, to: &Domain) -> Result<(), Stop> {
        if !self.rules.federation.enabled {
            return Err(self.stop(RefusalRule::FederationOff, from));
        }
        self.judge_blocked(from)?;
        self.judge_blocked(to)
    }

    fn judge_blocked(&self, domain: &Domain) -> Result<(), Stop> {
        match self.blocked.find(domain.as_str().as_bytes()) {
            None => Ok(()),
            Some(index) => {
                let mut refusal = self.refusal(RefusalRule::Blocked, domain);
                refusal.entry = Some(index);
                Err(Stop::Refuse(refusal))
            }
        }
    }

    /// Finds who `domain` is to us: listed, else discovered if that is allowed.
    fn party<'a>(&'a self, domain: &'a Domain) -> Result<Party<'a>, Stop> {
        if let Some(Partner { index, terms, kind }) = self.partners.find(domain) {
            return Ok(Party { domain, entry: Some(index), terms, kind });
        }
        if !self.rules.federation.discovery {
            return Err(self.stop(RefusalRule::UnknownDomain, domain));
        }
        let (terms, kind) = (&self.discovered, Listed::AllowedDomain);
        Ok(Party { domain, entry: None, terms, kind })
    }

    /// Judges what needs no name: where the chain leads, the usage, and whether it is known not to
    /// be revoked.
    ///
    /// Anchors of one partner speak for it alone, and a partner that has anchors of its own is
    /// spoken for by nobody else's.
    fn judge_certificate(&self, peer: &PeerNames, party: &Party<'_>) -> Result<(), Stop> {
        let anchors = party.terms.anchors.map_or(Anchors::General, Anchors::OfPartner);
        if peer.anchors != anchors {
            return Err(self.stop_party(RefusalRule::AnchorsOfAnother, party, About::Nothing));
        }
        if party.terms.require_client_eku && !peer.client_auth {
            return Err(self.stop_party(RefusalRule::ClientUsageMissing, party, About::Nothing));
        }
        if !party.terms.revocation.accepts(peer.revocation) {
            return Err(self.stop_party(RefusalRule::RevocationUnknown, party, About::Nothing));
        }
        Ok(())
    }

    /// Judges the edge's FQDN, stated or by SRV; returns how long that holds.
    fn judge_host_name(
        &self,
        now: Now,
        peer: &PeerNames,
        party: &Party<'_>,
        dns: &dyn DnsView,
    ) -> Result<Monotonic, Stop> {
        let (hosts, valid_until) = match &party.kind {
            Listed::AllowedServer { edge, .. } => (vec![edge.clone()], FOREVER),
            Listed::AllowedDomain => {
                let (answer, valid_until) = self.targets(now, party, dns)?;
                let admitted = self.admitted(party, &answer, valid_until)?;
                (admitted.into_iter().map(|target| target.fqdn.clone()).collect(), valid_until)
            }
        };
        if hosts.iter().any(|host| peer.carries_host(host, party.terms.common_name)) {
            return Ok(valid_until);
        }
        let about = About::Names(hosts);
        Err(self.stop_until(RefusalRule::CertificateNameMismatch, party, about, valid_until))
    }

    fn judge_domain_name(&self, peer: &PeerNames, party: &Party<'_>) -> Result<(), Stop> {
        if peer.carries_sip_domain(party.domain, party.terms.common_name) {
            return Ok(());
        }
        let about = About::Names(vec![party.domain.clone()]);
        Err(self.stop_party(RefusalRule::CertificateNameMismatch, party, about))
    }

    /// Returns the answer about the party's edge, which has targets, and when it ends.
    fn targets(
        &self,
        now: Now,
        party: &Party<'_>,
        dns: &dyn DnsView,
    ) -> Result<(SharedAnswer, Monotonic), Stop> {
        let question = party.question();
        let Some(answer) = dns.look(now, &question) else {
            return Err(Stop::Ask(question));
        };
        let valid_until = dns.valid_until(now, &question);
        let rule = match (&answer.outcome, &party.kind) {
            (Ok(_), _) => return Ok((answer, valid_until)),
            (Err(Failure::NoAddress), _) => RefusalRule::NoAddress,
            (Err(Failure::NoSuchService), Listed::AllowedServer { .. }) => RefusalRule::NoAddress,
            (Err(Failure::NoSuchService), Listed::AllowedDomain) => RefusalRule::NoSuchService,
            (Err(Failure::ServiceRefused), _) => RefusalRule::ServiceRefused,
            (Err(Failure::ServerFailure | Failure::Timeout), Listed::AllowedServer { .. }) => {
                RefusalRule::HostLookupFailed
            }
            (Err(Failure::ServerFailure | Failure::Timeout), Listed::AllowedDomain) => {
                RefusalRule::SrvLookupFailed
            }
        };
        Err(self.stop_until(rule, party, About::Nothing, valid_until))
    }

    /// Returns the targets that may be the party's edge, at least one.
    fn admitted<'t>(
        &self,
        party: &Party<'_>,
        answer: &'t Answer,
        valid_until: Monotonic,
    ) -> Result<Vec<&'t Target>, Stop> {
        let targets = answer.outcome.as_deref().unwrap_or_default();
        let admitted: Vec<&Target> = targets.iter().filter(|target| party.admits(target)).collect();
        if !admitted.is_empty() {
            return Ok(admitted);
        }
        let about = targets.first().map_or(About::Nothing, |t| About::Target(t.fqdn.clone()));
        Err(self.stop_until(RefusalRule::SrvTargetOutsideDomain, party, about, valid_until))
    }

    /// Returns `answer` with the targets and addresses that may be connected to, at least one.
    fn reachable(
        &self,
        party: &Party<'_>,
        answer: SharedAnswer,
        valid_until: Monotonic,
    ) -> Result<SharedAnswer, Stop> {
        let mut refused = None;
        let mut targets = Vec::new();
        for target in self.admitted(party, &answer, valid_until)? {
            let addresses = self.permitted_addresses(party, &target.addresses, &mut refused);
            if !addresses.is_empty() {
                targets.push(Target { addresses, ..target.clone() });
            }
        }
        if targets.is_empty() {
            let (rule, about) = match refused {
                Some(refusal) => (RefusalRule::AddressesRefused, About::Address(refusal)),
                None => (RefusalRule::NoAddress, About::Nothing),
            };
            return Err(self.stop_until(rule, party, about, valid_until));
        }
        if answer.outcome.as_deref() == Ok(&targets) {
            return Ok(answer);
        }
        let (question, ttl_s) = (answer.question.clone(), answer.ttl_s);
        Ok(Arc::new(Answer { question, outcome: Ok(targets), ttl_s }))
    }

    /// Returns the addresses that pass the address rule; the last that does not goes to `refused`.
    fn permitted_addresses(
        &self,
        party: &Party<'_>,
        addresses: &[IpAddr],
        refused: &mut Option<AddressRefusal>,
    ) -> Vec<IpAddr> {
        let mut passed = Vec::with_capacity(addresses.len());
        for &address in addresses {
            match permitted(&self.rules.addresses, &party.terms.allow_networks, address) {
                Ok(address) => passed.push(address),
                Err(refusal) => *refused = Some(refusal),
            }
        }
        passed
    }

    fn is_own_domain(&self, domain: &Domain) -> bool {
        self.own.find(domain.as_str().as_bytes()).is_some()
    }

    fn permit(&self, party: &Party<'_>, valid_until: Monotonic, route: Option<Route>) -> Permit {
        let partner = match party.entry {
            Some(index) => PartnerKey::Listed(index),
            None => self.discovered_key(party.domain),
        };
        Permit {
            epoch: self.epoch,
            rule: party.rule(),
            partner,
            verification: party.terms.verification,
            valid_until,
            route,
        }
    }

    fn refusal(&self, rule: RefusalRule, domain: &Domain) -> Refusal {
        let (domain, epoch) = (domain.clone(), self.epoch);
        let about = About::Nothing;
        Refusal { rule, domain, entry: None, about, epoch, valid_until: FOREVER }
    }

    fn stop(&self, rule: RefusalRule, domain: &Domain) -> Stop {
        Stop::Refuse(self.refusal(rule, domain))
    }

    fn stop_party(&self, rule: RefusalRule, party: &Party<'_>, about: About) -> Stop {
        self.stop_until(rule, party, about, FOREVER)
    }

    fn stop_until(
        &self,
        rule: RefusalRule,
        party: &Party<'_>,
        about: About,
        valid_until: Monotonic,
    ) -> Stop {
        let entry = party.entry;
        let refusal = self.refusal(rule, party.domain);
        Stop::Refuse(Refusal { entry, about, valid_until, ..refusal })
    }
}

#[cfg(test)]
mod tests;
