//! The decision: may this domain talk to that one through this peer, and where does it go.
//!
//! The order is DESIGN 6.5 from `blocked` on, with the organisation's own switch before it
//! (lync-federation 5.4). Everything here is cold: a shard asks again only when
//! [`super::VerdictCache`] has forgotten.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::permitted;
use super::partner::{Partner, Terms};
use super::permit::Connection;
use super::provider::Provider;
use super::refusal::About;
use super::{
    AddressRefusal, Anchors, Listed, NameCheck, PartnerKey, PeerNames, Permit, Place, ProviderKind,
    Refusal, RefusalRule, Route, Rule, Snapshot, Verification,
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

/// Under which statement of the policy a partner falls.
enum Under<'a> {
    Entry(u32),
    /// An entry for what lies below a name.
    Below(u32),
    Discovery,
    Provider(u16, &'a Provider),
    /// A provider, for one of our own domains.
    Shared(u16, &'a Provider),
    DefaultRoute,
}

/// The partner a decision is about.
struct Party<'a> {
    domain: &'a Domain,
    under: Under<'a>,
    terms: &'a Terms,
    kind: Listed,
    /// How long it is this one that speaks for the domain.
    until: Monotonic,
}

impl<'a> Party<'a> {
    fn of_provider(
        domain: &'a Domain,
        under: Under<'a>,
        provider: &'a Provider,
        until: Monotonic,
    ) -> Self {
        let kind = Listed::AllowedServer { edge: provider.edge.clone(), port: provider.port };
        Self { domain, under, terms: &provider.terms, kind, until }
    }

    fn rule(&self, snapshot: &Snapshot) -> Rule {
        let domain = self.domain.clone();
        match (&self.under, &self.kind) {
            (Under::Entry(index) | Under::Below(index), Listed::AllowedDomain) => {
                Rule::AllowedDomain { index: *index, domain }
            }
            (Under::Entry(index) | Under::Below(index), Listed::AllowedServer { edge, .. }) => {
                Rule::AllowedServer { index: *index, domain, edge: edge.clone() }
            }
            (Under::Discovery, _) => Rule::Discovered { domain },
            (Under::Provider(index, provider), _) => Rule::Provider {
                index: *index,
                name: provider.name.clone(),
                kind: provider.kind,
                edge: provider.edge.clone(),
                domain,
                audio_video: provider.audio_video,
            },
            (Under::Shared(index, provider), _) => {
                Rule::SharedAddressSpace { index: *index, name: provider.name.clone(), domain }
            }
            (Under::DefaultRoute, kind) => {
                let edge = match kind {
                    Listed::AllowedServer { edge, .. } => edge.clone(),
                    Listed::AllowedDomain => domain.clone(),
                };
                let public = snapshot.rules.default_route.as_ref().is_some_and(|r| r.public);
                Rule::DefaultRoute { edge, domain, public }
            }
        }
    }

    fn key(&self, snapshot: &Snapshot) -> PartnerKey {
        match (&self.under, &self.kind) {
            // Whatever lies below the name goes to the one edge that is stated.
            (Under::Entry(index), _) | (Under::Below(index), Listed::AllowedServer { .. }) => {
                PartnerKey::Listed(*index)
            }
            (Under::Below(_), Listed::AllowedDomain) => {
                PartnerKey::Subdomain(snapshot.domain_key(self.domain))
            }
            (Under::Discovery, _) => PartnerKey::Discovered(snapshot.domain_key(self.domain)),
            (Under::Provider(index, _) | Under::Shared(index, _), _) => {
                PartnerKey::Provider(*index)
            }
            (Under::DefaultRoute, _) => PartnerKey::DefaultRoute,
        }
    }

    fn place(&self) -> Option<Place> {
        match self.under {
            Under::Entry(index) | Under::Below(index) => Some(Place::Partner(index)),
            Under::Discovery => None,
            Under::Provider(index, _) | Under::Shared(index, _) => Some(Place::Provider(index)),
            Under::DefaultRoute => Some(Place::DefaultRoute),
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
        // The pool authenticates an own user, after the edge has stamped the request; nobody vouches
        // for an anonymous one.
        let verification = Verification::Never;
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
        match self.blocked.find_covering(domain.as_str().as_bytes()) {
            None => Ok(()),
            Some(index) => {
                let place = Place::Blocked(index);
                Err(self.stop_at(RefusalRule::Blocked, domain, place, About::Nothing))
            }
        }
    }

    /// Finds who speaks for `domain`: an entry that names it, the provider whose edge its SRV
    /// record names, an entry for what it lies below, discovery, the default route.
    fn party<'a>(&'a self, asking: &Asking<'_>, domain: &'a Domain) -> Result<Party<'a>, Stop> {
        if let Some(partner) = self.partners.find(domain) {
            return self.listed(asking, domain, partner);
        }
        if let Some(number) = self.providers.stating(domain) {
            return self.provided(asking.now, domain, number, FOREVER);
        }
        if let Some(partner) = self.partners.find_below(domain) {
            return self.listed(asking, domain, partner);
        }
        self.unlisted(asking, domain)
    }

    fn listed<'a>(
        &'a self,
        asking: &Asking<'_>,
        domain: &'a Domain,
        partner: Partner<'a>,
    ) -> Result<Party<'a>, Stop> {
        let Partner { index, terms, kind, below } = partner;
        let mut until = FOREVER;
        if let Some(day) = terms.expires {
            if day.is_past(asking.now) {
                let place = Place::Partner(index);
                return Err(self.stop_at(
                    RefusalRule::EntryExpired,
                    domain,
                    place,
                    About::Ended(day),
                ));
            }
            until = day.end(asking.now);
        }
        if kind == Listed::AllowedDomain
            && terms.admit_providers()
            && let Some((number, found_until)) = self.provider_by_srv(asking, domain)?
        {
            return self.provided(asking.now, domain, number, until.min(found_until));
        }
        let under = if below { Under::Below(index) } else { Under::Entry(index) };
        Ok(Party { domain, under, terms, kind, until })
    }

    fn unlisted<'a>(&'a self, asking: &Asking<'_>, domain: &'a Domain) -> Result<Party<'a>, Stop> {
        if let Some((route, terms)) = self.default_route() {
            // From outside it is only the default route itself that may speak for others.
            if asking.peer.is_none_or(|peer| peer.carries_host(&route.edge, terms.common_name)) {
                let kind = Listed::AllowedServer { edge: route.edge.clone(), port: route.port };
                let under = Under::DefaultRoute;
                return Ok(Party { domain, under, terms, kind, until: FOREVER });
            }
        }
        let discovery = self.rules.federation.discovery;
        // Without discovery a stranger gets no DNS question asked; a provider may.
        let mut known_until = FOREVER;
        if discovery || asking.peer.is_none_or(|peer| self.providers.carried_by(peer).is_some()) {
            if let Some((number, until)) = self.provider_by_srv(asking, domain)? {
                let provider = self.providers.get(number);
                let hosting = provider.is_some_and(|p| p.kind == ProviderKind::Hosting);
                if hosting && !discovery {
                    let (rule, place) = (RefusalRule::HostedNotListed, Place::Provider(number));
                    return Err(self.stop_for_now(rule, domain, Some(place), until));
                }
                return self.provided(asking.now, domain, number, until);
            }
            if self.providers.any() {
                known_until = asking.until(&Question::Federation(domain.clone()));
            }
        }
        if !discovery {
            return Err(self.stop_for_now(RefusalRule::UnknownDomain, domain, None, known_until));
        }
        let (under, kind) = (Under::Discovery, Listed::AllowedDomain);
        Ok(Party { domain, under, terms: &self.discovered, kind, until: FOREVER })
    }

    /// Returns the enabled provider whose edge the domain's SRV record names, and how long it does.
    /// Asks nothing where no provider is enabled.
    fn provider_by_srv(
        &self,
        asking: &Asking<'_>,
        domain: &Domain,
    ) -> Result<Option<(u16, Monotonic)>, Stop> {
        if !self.providers.any() {
            return Ok(None);
        }
        let question = Question::Federation(domain.clone());
        let Some(answer) = asking.dns.look(asking.now, &question) else {
            return Err(Stop::Ask(question));
        };
        let targets = match &answer.outcome {
            Ok(targets) => targets.as_slice(),
            // Whose it is cannot be known now; discovery says so itself when it asks again.
            Err(Failure::ServerFailure | Failure::Timeout) if !self.rules.federation.discovery => {
                let until = asking.until(&question);
                return Err(self.stop_for_now(RefusalRule::SrvLookupFailed, domain, None, until));
            }
            Err(_) => &[],
        };
        let number = self.providers.among(targets);
        Ok(number.map(|number| (number, asking.until(&question))))
    }

    /// Returns the provider `number` as the party that speaks for `domain`.
    fn provided<'a>(
        &'a self,
        now: Now,
        domain: &'a Domain,
        number: u16,
        until: Monotonic,
    ) -> Result<Party<'a>, Stop> {
        let provider = self.providers.get(number).expect("numbers are of this table");
        let until = self.still_used(now, domain, number, provider)?.min(until);
        let under = Under::Provider(number, provider);
        Ok(Party::of_provider(domain, under, provider, until))
    }

    /// Returns the provider that shares the own domain `domain`; inbound only if it is the peer.
    fn sharer<'a>(
        &'a self,
        asking: &Asking<'_>,
        domain: &'a Domain,
        otherwise: RefusalRule,
    ) -> Result<Party<'a>, Stop> {
        let shared = self.providers.sharing(domain);
        let Some((number, provider)) = shared.and_then(|n| Some((n, self.providers.get(n)?)))
        else {
            return Err(self.stop(otherwise, domain));
        };
        if asking
            .peer
            .is_some_and(|peer| !peer.carries_host(&provider.edge, provider.terms.common_name))
        {
            return Err(self.stop(otherwise, domain));
        }
        let until = self.still_used(asking.now, domain, number, provider)?;
        let under = Under::Shared(number, provider);
        Ok(Party::of_provider(domain, under, provider, until))
    }

    /// Returns how long the operator wants to use a provider; refuses where that is over.
    fn still_used(
        &self,
        now: Now,
        domain: &Domain,
        number: u16,
        provider: &Provider,
    ) -> Result<Monotonic, Stop> {
        match provider.ends {
            None => Ok(FOREVER),
            Some(day) if !day.is_past(now) => Ok(day.end(now)),
            Some(day) => {
                let (rule, place) = (RefusalRule::ProviderEnded, Place::Provider(number));
                Err(self.stop_at(rule, domain, place, About::Ended(day)))
            }
        }
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

    /// Returns the answer about the party's edge, which has targets, and when it ends.
    fn targets(
        &self,
        asking: &Asking<'_>,
        party: &Party<'_>,
    ) -> Result<(SharedAnswer, Monotonic), Stop> {
        let question = party.question();
        let Some(answer) = asking.dns.look(asking.now, &question) else {
            return Err(Stop::Ask(question));
        };
        let valid_until = asking.until(&question);
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
        let about = match targets.first().map(|target| target.fqdn.clone()) {
            None => About::Nothing,
            Some(fqdn) => match self.providers.disabled(&fqdn) {
                Some(provider) => About::Disabled(fqdn, provider.name.to_string()),
                None => About::Target(fqdn),
            },
        };
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
        Permit {
            epoch: self.epoch,
            rule: party.rule(self),
            partner: party.key(self),
            verification: party.terms.verification,
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
