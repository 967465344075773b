//! Who speaks for a domain, and under which statement of the policy.

use super::{Asking, FOREVER, Stop};
use crate::dns::{Domain, Failure, Question, Target};
use crate::policy::partner::{Partner, Terms};
use crate::policy::provider::Provider;
use crate::policy::refusal::About;
use crate::policy::{
    Listed, NameCheck, PartnerKey, Place, ProviderKind, RefusalRule, Rule, Snapshot,
};
use crate::time::{Monotonic, Now};

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
pub(super) struct Party<'a> {
    pub(super) domain: &'a Domain,
    under: Under<'a>,
    pub(super) terms: &'a Terms,
    pub(super) kind: Listed,
    /// How long it is this one that speaks for the domain.
    pub(super) until: Monotonic,
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

    pub(super) fn rule(&self, snapshot: &Snapshot) -> Rule {
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
            (Under::Shared(index, provider), _) => Rule::SharedAddressSpace {
                index: *index,
                name: provider.name.clone(),
                domain,
                audio_video: provider.audio_video,
            },
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

    pub(super) fn key(&self, snapshot: &Snapshot) -> PartnerKey {
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

    /// Names the connections that lead there. What lies below a name shares them where only their
    /// host counts; certificates that must carry the SIP domain are each good for one of them.
    pub(super) fn connections_key(&self, snapshot: &Snapshot) -> PartnerKey {
        match self.under {
            Under::Below(_) if self.terms.names != NameCheck::Fqdn => {
                PartnerKey::Subdomain(snapshot.domain_key(self.domain))
            }
            _ => self.key(snapshot),
        }
    }

    pub(super) fn place(&self) -> Option<Place> {
        match self.under {
            Under::Entry(index) | Under::Below(index) => Some(Place::Partner(index)),
            Under::Discovery => None,
            Under::Provider(index, _) | Under::Shared(index, _) => Some(Place::Provider(index)),
            Under::DefaultRoute => Some(Place::DefaultRoute),
        }
    }

    pub(super) fn question(&self) -> Question {
        match &self.kind {
            Listed::AllowedDomain => Question::Federation(self.domain.clone()),
            Listed::AllowedServer { edge, port } => {
                Question::Host { fqdn: edge.clone(), port: *port }
            }
        }
    }

    /// Tells whether `target` may be this partner's edge; one that is stated is beyond doubt.
    pub(super) fn admits(&self, target: &Target) -> bool {
        match &self.kind {
            Listed::AllowedDomain => self.terms.srv_target.admits(self.domain, &target.fqdn),
            Listed::AllowedServer { .. } => true,
        }
    }
}

impl Snapshot {
    /// Finds who speaks for `domain`: an entry that names it, a provider that states it, an entry
    /// for what it lies below, the default route, the provider whose edge its SRV record names,
    /// discovery. An entry without an edge gives way to a provider that the record names.
    pub(super) fn party<'a>(
        &'a self,
        asking: &Asking<'_>,
        domain: &'a Domain,
    ) -> Result<Party<'a>, Stop> {
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
    pub(super) fn sharer<'a>(
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
}
