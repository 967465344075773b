//! Credentials of the A/V Edge: whether every edge of the pool can make and believe them, and
//! whether clients find a relay with them.

use super::{Checker, Severity};
use crate::edge::{Class, Side};
use crate::limits;
use crate::plan::Topology;

impl Checker<'_> {
    /// Looks at what credentials are made from and what is told with them.
    pub(super) fn media(&mut self) {
        if self.config.av_listeners.is_empty() {
            if self.config.source.says("av.relayed") {
                self.at(
                    "av.relayed",
                    Severity::Warning,
                    "relay-not-served",
                    "nothing relays: there is no [[av_listener]], where clients would come in",
                    "add one with its address, or leave [av] out",
                );
            }
            return;
        }
        self.media_without_effect();
        self.media_secrets();
        let handed_out = self.config.listeners.iter().position(|l| l.class == Class::Credentials);
        if let Some(listener) = handed_out {
            self.relays_that_are_told(listener);
        }
    }

    pub(super) fn is_pool(&self) -> bool {
        self.config.plan.topology != Topology::Single || self.config.edge.pool_members > 1
    }

    /// Names what is said of the relay and counts for nothing.
    fn media_without_effect(&mut self) {
        let config = self.config;
        let av = &config.av;
        let networks = [
            (Side::External, "external", &av.external_networks),
            (Side::Internal, "internal", &av.internal_networks),
        ];
        for (side, word, networks) in networks {
            if !networks.is_empty() && !config.av_listeners.iter().any(|l| l.side == side) {
                self.at(
                    &format!("av.{word}_networks"),
                    Severity::Warning,
                    "relay-networks-unused",
                    format!("no client comes in on the {word} side, whose peers these would be"),
                    format!("give an [[av_listener]] side = \"{word}\", or leave it out"),
                );
            }
        }
        let range = ["av.ports_first", "av.ports_count"];
        let stated = range.iter().find(|key| config.source.says(key));
        if let Some(key) = stated.filter(|_| !av.shared_ports.is_empty()) {
            self.at(
                key,
                Severity::Note,
                "relay-range-unused",
                "av.shared_ports stands in place of the range of ports",
                "leave one of them out",
            );
        }
    }

    fn media_secrets(&mut self) {
        let config = self.config;
        let (key, stated) = match &config.av.credentials_secrets {
            Some(_) => ("av.credentials_secrets", config.media_secrets().count()),
            None => ("edge.secrets", config.media_secrets().count()),
        };
        if stated == 0 && self.is_pool() {
            self.at(
                "av",
                Severity::Warning,
                "relay-secrets-not-shared",
                "this edge of a pool shares no secret for its relay: what one edge makes, the \
                 others do not know",
                "set edge.secrets, or av.credentials_secrets, to a file that is the same on every \
                 edge",
            );
        }
        let most = limits::TURN_SECRETS_MAX;
        if stated > most {
            self.at(
                key,
                Severity::Warning,
                "relay-secrets-too-many",
                format!("of {stated} secrets the relay believes what the first {most} have made"),
                format!("drop the oldest, so that {most} are left"),
            );
        }
    }

    fn relays_that_are_told(&mut self, listener: usize) {
        let config = self.config;
        let place = format!("listener[{listener}].class");
        let sides = [
            (Side::External, "outside", "external", &config.av.external_fqdn),
            (Side::Internal, "inside", "internal", &config.av.internal_fqdn),
        ];
        for (side, who, word, name) in sides {
            if !config.av_listeners.iter().any(|listener| listener.side == side) {
                self.at(
                    &place,
                    Severity::Note,
                    "relay-side-missing",
                    format!("clients {who} get no credentials: no relay listens on their side"),
                    format!("add an [[av_listener]] with side = \"{word}\", if there are such"),
                );
            } else if name.is_none() && self.is_pool() {
                self.at(
                    &place,
                    Severity::Warning,
                    "relay-told-by-address",
                    format!("clients {who} are told the address of one edge of the pool"),
                    format!("set av.{word}_fqdn to the name that leads to all of them"),
                );
            }
        }
        let (told, planned) = (&config.av.external_fqdn, &config.plan.av_fqdn);
        if let (Some(told), Some(planned)) = (told, planned)
            && told != planned
        {
            self.at(
                "plan.av_fqdn",
                Severity::Warning,
                "relay-names-differ",
                format!("clients are told {told}, and the plan has records of {planned}"),
                "write one name in av.external_fqdn and plan.av_fqdn, or leave plan.av_fqdn out",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::config::fixture::LEAST;

    const RELAY: &str = "
[av]
relayed = [\"192.0.2.12\"]
secrets = \"turn-secrets.txt\"
[[av_listener]]
address = \"192.0.2.12:3478\"
";
    const HANDS_OUT: &str = "[[listener]]\naddress = \"10.0.0.9:5062\"\nclass = \"credentials\"\n";

    fn found(text: &str) -> Vec<&'static str> {
        let config = config::parse(Path::new("e.toml"), text).unwrap_or_else(|r| panic!("{r}"));
        let mut checker = Checker { config: &config, now_unix_s: 0, findings: Vec::new() };
        checker.media();
        checker.findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn edges_of_a_pool_share_what_their_relays_believe() {
        let text = format!("{LEAST}{RELAY}");
        assert_eq!(found(&text), Vec::<&str>::new());
        let pool = text.replace("[edge]\n", "[edge]\npool_members = 2\n");
        assert_eq!(found(&pool), ["relay-secrets-not-shared"]);
    }

    #[test]
    fn what_counts_for_nothing_is_named() {
        let text = format!("{LEAST}{RELAY}");
        let with = |more: &str| text.replace("[av]\n", &format!("[av]\n{more}\n"));
        let inside = with("internal_networks = [\"10.0.0.0/8\"]");
        assert_eq!(found(&inside), ["relay-networks-unused"]);
        let served =
            format!("{inside}[[av_listener]]\naddress = \"10.0.0.9:3478\"\nside = \"internal\"\n");
        assert_eq!(found(&served), Vec::<&str>::new());
        assert_eq!(found(&with("external_networks = [\"10.0.0.0/8\"]")), Vec::<&str>::new());
        let both = with("ports_first = 20000\nshared_ports = [3480]");
        assert_eq!(found(&both), ["relay-range-unused"]);
        let nowhere = text.split("[[av_listener]]").next().unwrap();
        assert_eq!(found(nowhere), ["relay-not-served"]);
    }

    #[test]
    fn clients_are_told_a_name_that_leads_to_the_pool() {
        let text = format!("{LEAST}{RELAY}{HANDS_OUT}");
        let text = text.replace("[av]\n", "[av]\ncredentials_secrets = \"m.toml\"\n");
        assert_eq!(found(&text), ["relay-side-missing"], "nobody inside");
        let pool = "[plan]\ntopology = \"pool_dns\"\nav_fqdn = \"av.contoso.example\"\n";
        let pool = format!("{text}{pool}");
        let codes = found(&pool);
        let expected = ["relay-secrets-not-shared", "relay-told-by-address", "relay-side-missing"];
        assert_eq!(codes, expected);
        let other = pool.replace("[av]\n", "[av]\nexternal_fqdn = \"turn.contoso.example\"\n");
        let expected = ["relay-secrets-not-shared", "relay-side-missing", "relay-names-differ"];
        assert_eq!(found(&other), expected);
    }
}
