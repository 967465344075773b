//! The decision: may this domain talk to that one through this peer, and where does it go.
//!
//! The order is DESIGN 6.5 from `blocked` on, with the organisation's own switch before it
//! (lync-federation 5.4). Everything here is cold: a shard asks again only when
//! [`super::VerdictCache`] has forgotten. `party` finds who speaks for a domain, `targets` where
//! its edge is.

mod party;
mod targets;

use self::party::Party;
use super::permit::Connection;
use super::refusal::About;
use super::{
    Anchors, Listed, NameCheck, PartnerKey, PeerNames, Permit, Place, Refusal, RefusalRule,
    Revocation, Route, Rule, Snapshot, Verification,
};
use crate::dns::{DnsView, Domain, Question};
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

impl Decision {
    /// Tells whether the peer that asked is a partner whose revocation matters.
    #[must_use]
    pub fn minds_revocation(&self) -> bool {
        match self {
            Self::Permit(permit) => permit.minds_revocation(),
            Self::Refuse(refusal) => refusal.rule() == RefusalRule::RevocationUnknown,
            Self::Ask(_) => false,
        }
    }
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

/// What a decision may look at beside the domains.
#[derive(Clone, Copy)]
struct Asking<'a> {
    now: Now,
    dns: &'a dyn DnsView,
    /// Who sent it; `None` where it goes out.
    peer: Option<&'a PeerNames>,
}

impl Asking<'_> {
    fn until(&self, question: &Question) -> Monotonic {
        self.dns.valid_until(self.now, question)
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
        let asking = Asking { now, dns, peer: Some(q.peer) };
        let party = if self.is_own_domain(q.from) {
            self.sharer(&asking, q.from, RefusalRule::OwnDomainFromOutside)?
        } else {
            self.party(&asking, q.from)?
        };
        self.judge_certificate(q.peer, &party)?;
        let valid_until = match party.terms.names {
            NameCheck::Fqdn => self.judge_host_name(&asking, q.peer, &party)?,
            NameCheck::SipDomain => {
                self.judge_domain_name(q.peer, &party)?;
                FOREVER
            }
            NameCheck::Both => {
                self.judge_domain_name(q.peer, &party)?;
                self.judge_host_name(&asking, q.peer, &party)?
            }
        };
        // Last: the lists that may be lacking are fetched for a peer that is who it says it is.
        if !party.terms.revocation.accepts(q.peer.revocation) {
            let rule = RefusalRule::RevocationUnknown;
            return Err(self.stop_until(rule, &party, About::Nothing, valid_until));
        }
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
        let asking = Asking { now, dns, peer: None };
        let party = if self.is_own_domain(q.to) {
            self.sharer(&asking, q.to, RefusalRule::DestinationIsOurs)?
        } else {
            self.party(&asking, q.to)?
        };
        let (answer, valid_until) = self.targets(&asking, &party)?;
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
        // The pool authenticates an own user, after the edge has stamped the request; nobody
        // vouches for an anonymous one.
        let verification = Verification::Never;
        let (epoch, partner) = (self.epoch, PartnerKey::NextHop);
        let (revocation, valid_until) = (Revocation::Off, FOREVER);
        Ok(Permit { epoch, rule, partner, verification, revocation, valid_until, route: None })
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
        match self.blocked.find_covering(domain.as_str().as_bytes()) {
            None => Ok(()),
            Some(index) => {
                let place = Place::Blocked(index);
                Err(self.stop_at(RefusalRule::Blocked, domain, place, About::Nothing))
            }
        }
    }

    /// Judges what needs no name: where the chain leads, and the usage.
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
        Ok(())
    }

    /// Judges the edge's FQDN, stated or by SRV; returns how long that holds.
    fn judge_host_name(
        &self,
        asking: &Asking<'_>,
        peer: &PeerNames,
        party: &Party<'_>,
    ) -> Result<Monotonic, Stop> {
        let (hosts, valid_until) = match &party.kind {
            Listed::AllowedServer { edge, .. } => (vec![edge.clone()], FOREVER),
            Listed::AllowedDomain => {
                let (answer, valid_until) = self.targets(asking, party)?;
                let admitted = self.admitted(party, &answer, valid_until)?;
                (admitted.into_iter().map(|target| target.fqdn.clone()).collect(), valid_until)
            }
        };
        if hosts.iter().any(|host| peer.carries_host(host, party.terms.common_name)) {
            return Ok(valid_until);
        }
        let (rule, about) = match self.providers.carried_by(peer) {
            Some(provider) => {
                (RefusalRule::ProviderOfAnother, About::Provider(provider.name.to_string()))
            }
            None => (RefusalRule::CertificateNameMismatch, About::Names(hosts)),
        };
        Err(self.stop_until(rule, party, about, valid_until))
    }

    fn judge_domain_name(&self, peer: &PeerNames, party: &Party<'_>) -> Result<(), Stop> {
        if peer.carries_sip_domain(party.domain, party.terms.common_name) {
            return Ok(());
        }
        let about = About::Names(vec![party.domain.clone()]);
        Err(self.stop_party(RefusalRule::CertificateNameMismatch, party, about))
    }

    fn is_own_domain(&self, domain: &Domain) -> bool {
        self.own.find(domain.as_str().as_bytes()).is_some()
    }

    fn permit(&self, party: &Party<'_>, valid_until: Monotonic, route: Option<Route>) -> Permit {
        let partner = match route {
            Some(_) => party.connections_key(self),
            None => party.key(self),
        };
        Permit {
            epoch: self.epoch,
            rule: party.rule(self),
            partner,
            verification: party.terms.verification,
            revocation: party.terms.revocation,
            valid_until: valid_until.min(party.until),
            route,
        }
    }

    /// Judges whether a permitted request may come on a connection that carries `held`, and
    /// returns what it carries from then on. `from`: the sender's domain as it stands on the wire.
    ///
    /// # Errors
    /// [`RefusalRule::OtherKindOnConnection`] (lync-federation 4.2 rule 10).
    pub fn one_kind(
        &self,
        held: Option<Connection>,
        permitted: Connection,
        from: &[u8],
    ) -> Result<Connection, Refusal> {
        if permitted.may_join(held) {
            return Ok(permitted);
        }
        // Whoever has a permit has a domain; the edge's own name stands in for one that has none.
        let from = Domain::parse(from).unwrap_or_else(|_| self.rules.external_fqdn.clone());
        Err(self.refusal(RefusalRule::OtherKindOnConnection, &from))
    }

    fn refusal(&self, rule: RefusalRule, domain: &Domain) -> Refusal {
        let (domain, epoch) = (domain.clone(), self.epoch);
        let about = About::Nothing;
        Refusal { rule, domain, entry: None, about, epoch, valid_until: FOREVER }
    }

    fn stop(&self, rule: RefusalRule, domain: &Domain) -> Stop {
        Stop::Refuse(self.refusal(rule, domain))
    }

    fn stop_at(&self, rule: RefusalRule, domain: &Domain, place: Place, about: About) -> Stop {
        let refusal = self.refusal(rule, domain);
        Stop::Refuse(Refusal { entry: Some(place), about, ..refusal })
    }

    fn stop_for_now(
        &self,
        rule: RefusalRule,
        domain: &Domain,
        entry: Option<Place>,
        valid_until: Monotonic,
    ) -> Stop {
        Stop::Refuse(Refusal { entry, valid_until, ..self.refusal(rule, domain) })
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
        let (entry, valid_until) = (party.place(), valid_until.min(party.until));
        let refusal = self.refusal(rule, party.domain);
        Stop::Refuse(Refusal { entry, about, valid_until, ..refusal })
    }
}

#[cfg(test)]
mod tests;
