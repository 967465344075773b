//! What the policy says, judged by itself: contradictions, and what it probably does not mean.

use super::{Checker, Finding, Severity, certificates};
use crate::control;
use crate::edge::Class;
use crate::plan::Topology;
use crate::policy::{self, Date, Place, Surroundings, XmppServed};

impl Checker<'_> {
    pub(super) fn policy(&mut self) {
        let rules = control::rules(self.config);
        let warnings = policy::lint(&rules, &self.surroundings());
        if let Err(contradictions) = policy::compile(rules, 1) {
            for contradiction in contradictions {
                let mut sentence = contradiction.to_string();
                let places = contradiction.places();
                // The first place is that of the finding.
                for other in places.iter().skip(1) {
                    sentence.push_str(&format!("; see {}", self.config.whereabouts(*other)));
                }
                let (severity, code) = (Severity::Error, "policy-contradiction");
                let place = places.first().copied().unwrap_or(Place::Key("edge"));
                self.about(place, severity, code, sentence, "say only one of the two");
            }
        }
        // Without an Access Edge nobody is waited for.
        let relay_alone = self.config.runs_relay_alone();
        for warning in warnings.into_iter().filter(|of| of.code != "W101" || !relay_alone) {
            let (code, sentence) = (warning.code, warning.sentence);
            self.about(warning.place, Severity::Warning, code, sentence, warning.advice);
        }
    }

    /// Notes a finding about what policy knows as `place`.
    fn about(
        &mut self,
        place: Place,
        severity: Severity,
        code: &'static str,
        sentence: String,
        advice: &str,
    ) {
        let remarks = self.config.remarks(place);
        let sentence = match remarks.is_empty() {
            true => sentence,
            false => format!("{sentence} ({remarks})"),
        };
        let place = self.config.whereabouts(place);
        let advice = advice.to_owned();
        self.findings.push(Finding { code, severity, sentence, place, advice });
    }

    fn surroundings(&self) -> Surroundings {
        let config = self.config;
        let shown: Vec<usize> = config
            .listeners_of(Class::Federation)
            .map(|listener| config.listener_identity(listener))
            .collect();
        let client = shown.iter().find(|index| config.identities[**index].client);
        let identity = client.or(shown.first()).map(|index| &config.identities[*index]);
        Surroundings {
            today: Date::of_unix_s(self.now_unix_s),
            pool_by_dns: config.plan.topology == Topology::PoolDns,
            client_usage: identity.and_then(|i| certificates::client_usage(&i.certificate)),
            xmpp: match (config.runs_xmpp_proxy(), config.runs_gateway()) {
                (true, _) => XmppServed::Proxy,
                (false, true) => XmppServed::GatewayAlone,
                (false, false) => XmppServed::Nothing,
            },
        }
    }
}
