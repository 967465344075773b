//! Where a partner's edge is: the targets DNS names for it, and which of them it may be.

use std::net::IpAddr;
use std::sync::Arc;

use super::party::Party;
use super::{Asking, Stop};
use crate::dns::{Answer, Failure, SharedAnswer, Target};
use crate::policy::address::permitted;
use crate::policy::refusal::About;
use crate::policy::{AddressRefusal, Listed, RefusalRule, Snapshot};
use crate::time::Monotonic;

impl Snapshot {
    /// Returns the answer about the party's edge, which has targets, and when it ends.
    pub(super) fn targets(
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
    pub(super) fn admitted<'t>(
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
    pub(super) fn reachable(
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
}
