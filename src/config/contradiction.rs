//! Values that cannot hold together, found after each of them has been read by itself.

use std::collections::BTreeMap;
use std::ops::Range;

use super::report::{Code, Problem};
use super::{Config, PartnerKind, SrvTarget, suggest};
use crate::edge::Class;
use crate::policy::Pattern;
use crate::policy::users::AccessPolicy;

mod av;
mod plan;
mod xmpp;

/// Returns every contradiction of `config`.
pub(super) fn find(config: &Config) -> Vec<Problem> {
    let mut finder = Finder { config, problems: Vec::new() };
    finder.sections_that_must_be();
    finder.names();
    finder.threads_and_times();
    finder.listeners();
    finder.identities();
    finder.next_hops();
    finder.partners();
    plan::find(&mut finder);
    xmpp::find(&mut finder);
    av::find(&mut finder);
    finder.providers();
    finder.default_route();
    finder.limits_of_partners();
    finder.access_policies();
    finder.problems
}

struct Finder<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
}

impl Finder<'_> {
    fn place(&self, key: &str) -> Option<Range<usize>> {
        self.config.source.place(key)
    }

    /// Notes a contradiction written at `key`; returns it for help and context.
    fn at(&mut self, key: &str, message: impl Into<String>, label: impl Into<String>) {
        let problem = Problem::new(Code::Contradiction, self.place(key), message, label);
        self.problems.push(problem);
    }

    fn help(&mut self, help: impl Into<String>) {
        if let Some(last) = self.problems.last_mut() {
            last.help = Some(help.into());
        }
    }

    fn beside(&mut self, key: &str, label: &str) {
        let place = self.place(key);
        if let Some(last) = self.problems.last_mut() {
            last.context = place.map(|span| (span, label.to_owned()));
        }
    }

    /// Notes each value that was given before; `keys` are the paths of `values`, in order.
    fn no_repetition<T: Ord + ToString>(&mut self, values: &[(String, T)], what: &str) {
        let mut seen: BTreeMap<&T, &str> = BTreeMap::new();
        for (key, value) in values {
            if let Some(first) = seen.get(value) {
                let first = (*first).to_owned();
                let message = format!("{what} {} is given twice", value.to_string());
                self.at(key, message, "given again here");
                self.beside(&first, "given here first");
            } else {
                seen.insert(value, key);
            }
        }
    }

    fn sections_that_must_be(&mut self) {
        let config = self.config;
        // A relay alone needs none of these.
        if config.runs_relay_alone() {
            return self.serves_a_domain();
        }
        let gateway = config.runs_gateway();
        // An XMPP proxy alone speaks to its gateway, and a gateway alone listens for itself.
        // Credentials of the A/V Edge are handed out here, and nothing of that is forwarded.
        let crossing = [Class::Federation, Class::RemoteUsers, Class::Internal];
        let crosses = config.listeners.iter().any(|l| crossing.contains(&l.class));
        let forwards = crosses || gateway || config.listeners.is_empty();
        let missing = [
            ("listener", config.listeners.is_empty() && !gateway, "nobody could connect"),
            ("identity", config.identities.is_empty(), "TLS needs a certificate"),
            (
                "next_hop",
                config.next_hops.is_empty() && forwards,
                "requests would have nowhere to go",
            ),
        ];
        for (name, missing, why) in missing {
            if missing {
                let message = format!("there is no [[{name}]]: {why}");
                self.problems.push(Problem::new(Code::MissingKey, None, message, ""));
                if name == "listener" && config.source.says("av") {
                    self.help("for an A/V Edge alone, say where: [[av_listener]] with its address");
                }
            }
        }
        self.serves_a_domain();
    }

    fn serves_a_domain(&mut self) {
        if self.config.edge.domains.is_empty() {
            self.at("edge.domains", "the edge serves no domain", "expected at least one domain");
        }
    }

    fn names(&mut self) {
        let domains = paths("edge.domains", self.config.edge.domains.iter().cloned());
        self.no_repetition(&domains, "domain");
        let names = paths("internal.names", self.config.internal.names.iter().cloned());
        self.no_repetition(&names, "name");
    }

    fn threads_and_times(&mut self) {
        let edge = &self.config.edge;
        if let (Some(shards), false) = (edge.shards, edge.cores.is_empty())
            && shards != edge.cores.len()
        {
            let message = format!("{} cores for {shards} shards", edge.cores.len());
            self.at("edge.cores", message, "expected one core for each shard");
            self.beside("edge.shards", "this many shards");
        }
        let cores = paths("edge.cores", edge.cores.iter().copied());
        self.no_repetition(&cores, "core");
        if edge.drain_notice_s >= edge.drain_timeout_s {
            let message = "the drain would end before its notice does";
            self.at("edge.drain_notice_s", message, "expected less than drain_timeout_s");
            self.beside("edge.drain_timeout_s", "the whole drain");
        }
        let limits = &self.config.limits;
        if limits.half_open > limits.connections {
            let message = "more half-open connections than connections";
            self.at("limits.half_open", message, "expected at most limits.connections");
            self.beside("limits.connections", "all connections");
        }
        if self.config.federation.discovery && !self.config.federation.enabled {
            let message = "discovery of partners while federation is off";
            self.at("federation.discovery", message, "has no effect");
            self.beside("federation.enabled", "turned off here");
        }
        if self.config.remote_users.anonymous && !self.config.remote_users.enabled {
            let message = "anonymous guests while remote users are off";
            self.at("remote_users.anonymous", message, "has no effect");
            self.beside("remote_users.enabled", "turned off here");
        }
    }

    fn listeners(&mut self) {
        let config = self.config;
        let mut addresses: Vec<_> = config
            .listeners
            .iter()
            .enumerate()
            .map(|(index, listener)| (format!("listener[{index}].address"), listener.address))
            .collect();
        let management = config.management.listen.iter().filter(|address| address.port() != 0);
        addresses.extend(paths("management.listen", management.copied()));
        self.no_repetition(&addresses, "address");
        for (index, listener) in config.listeners.iter().enumerate() {
            let Some(name) = &listener.identity else { continue };
            let mut known = config.identities.iter().map(|identity| identity.name.as_str());
            if known.clone().any(|known| known == name) {
                continue;
            }
            let key = format!("listener[{index}].identity");
            self.at(&key, format!("there is no identity `{name}`"), "unknown identity");
            let names: Vec<&str> = known.by_ref().collect();
            match suggest::closest(name, names.iter().copied()) {
                Some(meant) => self.help(format!("did you mean \"{meant}\"?")),
                None => self.help(format!("identities are: {}", names.join(", "))),
            }
        }
    }

    fn identities(&mut self) {
        let config = self.config;
        let names: Vec<_> = config
            .identities
            .iter()
            .enumerate()
            .map(|(index, identity)| (format!("identity[{index}].name"), identity.name.clone()))
            .collect();
        self.no_repetition(&names, "identity");
        let mut claimed = Vec::new();
        for (index, identity) in config.identities.iter().enumerate() {
            let key = format!("identity[{index}].sip_domains");
            for (key, domain) in paths(&key, identity.sip_domains.iter().cloned()) {
                if !config.edge.domains.contains(&domain) {
                    self.at(&key, format!("{domain} is not an own domain"), "not served here");
                    self.help(format!("add \"{domain}\" to edge.domains"));
                }
                claimed.push((key, domain));
            }
        }
        self.no_repetition(&claimed, "the identity of domain");
        for class in [Class::Federation, Class::Internal] {
            let used: Vec<usize> =
                config.listeners_of(class).map(|l| config.listener_identity(l)).collect();
            let clients: Vec<String> = (0..config.identities.len())
                .filter(|index| config.identities[*index].client && used.contains(index))
                .map(|index| format!("identity[{index}].client"))
                .collect();
            if let [first, second, ..] = clients.as_slice() {
                let message = "two client identities on one side";
                self.at(second, message, "only one can be shown when connecting out");
                self.beside(first, "the other one");
            }
        }
    }

    fn next_hops(&mut self) {
        let config = self.config;
        let mut claimed: Vec<(String, String)> = Vec::new();
        for (index, hop) in config.next_hops.iter().enumerate() {
            let key = format!("next_hop[{index}].domains");
            if hop.domains.is_empty() {
                claimed.push((format!("next_hop[{index}].name"), "everything else".to_owned()));
            }
            for (key, domain) in paths(&key, hop.domains.iter().cloned()) {
                if !config.edge.domains.contains(&domain) {
                    self.at(&key, format!("{domain} is not an own domain"), "not served here");
                    self.help(format!("add \"{domain}\" to edge.domains"));
                }
                claimed.push((key, domain.to_string()));
            }
            let listed =
                config.internal.names.is_empty() || config.internal.names.contains(&hop.name);
            if !listed {
                let key = format!("next_hop[{index}].name");
                let message = format!("{} is no internal name", hop.name);
                self.at(&key, message, "its own requests would be refused");
                self.beside("internal.names", "missing in this list");
            }
        }
        self.no_repetition(&claimed, "the next hop of");
        let covered = config.next_hops.is_empty()
            || config.next_hops.iter().any(|hop| hop.domains.is_empty());
        for (key, domain) in paths("edge.domains", config.edge.domains.iter().cloned()) {
            if !covered && !config.next_hops.iter().any(|hop| hop.domains.contains(&domain)) {
                self.at(&key, format!("no next hop takes {domain}"), "has nowhere to go");
                self.help("name it in one next_hop, or leave the domains of one empty");
            }
        }
    }

    fn partners(&mut self) {
        let config = self.config;
        let keyed = |index: usize, key: &str| format!("partner[{index}].{key}");
        let listed: Vec<_> = config
            .partners
            .iter()
            .enumerate()
            .map(|(index, partner)| (keyed(index, "domain"), partner.domain.clone()))
            .collect();
        self.no_repetition(&listed, "partner");
        let blocked: Vec<_> = config
            .blocked
            .iter()
            .enumerate()
            .map(|(index, blocked)| (format!("blocked[{index}].domain"), blocked.domain.clone()))
            .collect();
        self.no_repetition(&blocked, "blocked domain");
        for domain in &config.edge.domains {
            for (key, _) in blocked.iter().filter(|(_, pattern)| pattern.covers(domain)) {
                let message = format!("{domain} is an own domain");
                self.at(key, message, "blocks the organisation itself");
            }
        }
        let blocked: BTreeMap<&Pattern, &str> =
            blocked.iter().map(|(key, domain)| (domain, key.as_str())).collect();
        for (index, partner) in config.partners.iter().enumerate() {
            let domain = &partner.domain;
            if domain.exact().is_some_and(|domain| config.edge.domains.contains(domain)) {
                let message = format!("{domain} is an own domain");
                self.at(&keyed(index, "domain"), message, "cannot be a partner too");
            }
            if let Some(blocked) = blocked.get(domain) {
                let message = format!("{domain} is a partner and blocked");
                self.at(&keyed(index, "domain"), message, "never reached: blocked wins");
                self.beside(blocked, "blocked here");
            }
            self.partner_edge(index, partner.kind);
        }
    }

    fn limits_of_partners(&mut self) {
        let config = self.config;
        let kinds = config.federation_limits.iter().enumerate();
        let kinds: Vec<_> = kinds
            .map(|(at, limit)| (format!("federation_limit[{at}].kind"), limit.kind.label()))
            .collect();
        self.no_repetition(&kinds, "the limit of");
        for (at, partner) in config.partners.iter().enumerate() {
            if partner.domain.exact().is_some() {
                continue;
            }
            for key in ["messages_per_s", "distinct_users"] {
                let key = format!("partner[{at}].{key}");
                if config.source.says(&key) {
                    let message = "a limit of its own for many domains";
                    self.at(&key, message, "counts one domain, not what lies below it");
                    self.help(
                        "limit the kind with [[federation_limit]], or list the domain itself",
                    );
                }
            }
        }
        for (at, limit) in config.federation_limits.iter().enumerate() {
            let ordinary = limit.messages_per_s.unwrap_or(config.federation.messages_per_s);
            if limit.suspicious_messages_per_s.is_some_and(|suspicious| suspicious > ordinary) {
                let message = "a suspicious partner may send more than another one";
                let key = format!("federation_limit[{at}].suspicious_messages_per_s");
                self.at(&key, message, "expected at most messages_per_s");
            }
        }
        let federation = &config.federation;
        if federation.suspicious_messages_per_s > federation.messages_per_s {
            let message = "a suspicious partner may send more than another one";
            let key = "federation.suspicious_messages_per_s";
            self.at(key, message, "expected at most messages_per_s");
            self.beside("federation.messages_per_s", "the ordinary rate");
        }
        let header = federation.archiving_notice_header.is_some();
        let value = federation.archiving_notice_value.is_some();
        if header != value {
            let (there, missing) = if header { ("header", "value") } else { ("value", "header") };
            let message = format!("an archiving notice without its {missing}");
            let key = format!("federation.archiving_notice_{there}");
            self.at(&key, message, format!("needs `archiving_notice_{missing}` too"));
        }
    }

    fn access_policies(&mut self) {
        let config = self.config;
        let names = config.access_policies.iter().enumerate();
        let names: Vec<_> = names
            .map(|(at, policy)| (format!("external_access_policy[{at}].name"), policy.name.clone()))
            .collect();
        self.no_repetition(&names, "policy");
        let global = config.access_policies.iter().any(|p| p.name == AccessPolicy::GLOBAL);
        if let (Some((first, _)), false) = (names.first(), global) {
            let message = "there are external access policies and no global one";
            self.at(first, message, "what may those do who do not have this one?");
            self.help("add one with name = \"global\"; what it does not open is closed");
        }
        for (at, policy) in config.access_policies.iter().enumerate() {
            let without = [
                ("xmpp", policy.xmpp && !policy.federation, "federation"),
                ("public_av", policy.public_av && !policy.public_im, "public_im"),
            ];
            for (key, contradicts, needed) in without {
                if contradicts {
                    let key = format!("external_access_policy[{at}].{key}");
                    let message = format!("the policy {} opens this without {needed}", policy.name);
                    self.at(&key, message, "has no effect");
                    self.help(format!("write {needed} = true, or leave this out"));
                }
            }
        }
    }

    fn partner_edge(&mut self, index: usize, kind: PartnerKind) {
        let keyed = |key: &str| format!("partner[{index}].{key}");
        let partner = &self.config.partners[index];
        match (kind, &partner.edge) {
            (PartnerKind::AllowedServer, None) => {
                let message = "an allowed server without the name of its edge";
                self.at(&keyed("kind"), message, "needs `edge` too");
                self.help(format!("add for example: edge = \"sip.{}\"", partner.domain.name()));
            }
            (PartnerKind::AllowedDomain, Some(_)) => {
                let message = "the edge of an allowed domain is found by DNS SRV";
                self.at(&keyed("edge"), message, "has no effect");
                self.help("remove it, or write kind = \"allowed_server\"");
            }
            (PartnerKind::AllowedServer, Some(edge)) if *edge == self.config.edge.external_fqdn => {
                let message = format!("{edge} is this edge itself");
                self.at(&keyed("edge"), message, "would connect to itself");
            }
            _ => {}
        }
        if kind == PartnerKind::AllowedDomain && self.config.source.says(&keyed("port")) {
            let message = "the port of an allowed domain comes from its SRV record";
            self.at(&keyed("port"), message, "has no effect");
        }
        if partner.srv_target == SrvTarget::Names(Vec::new()) {
            let message = "an empty list of SRV targets admits none";
            self.at(&keyed("srv_target"), message, "expected at least one name");
        }
        if kind == PartnerKind::AllowedServer && self.config.source.says(&keyed("srv_target")) {
            let message = "an allowed server is not looked up by SRV";
            self.at(&keyed("srv_target"), message, "has no effect");
        }
    }
}

impl Finder<'_> {
    /// What a provider's own entry leaves open; how entries go together policy judges.
    fn providers(&mut self) {
        let config = self.config;
        for (index, provider) in config.providers.iter().enumerate() {
            let section = format!("provider[{index}]");
            let keyed = |key: &str| format!("{section}.{key}");
            let missing = [
                ("name", provider.name.is_none(), "\"online\""),
                ("kind", provider.kind.is_none(), "\"hosting\""),
                ("edge", provider.edge.is_none(), "\"sipfed.hoster.example\""),
            ];
            let missing = missing.into_iter().filter(|_| provider.preset.is_none());
            for (key, _, example) in missing.filter(|(_, missing, _)| *missing) {
                let message = format!("a provider needs `{key}`, or a preset");
                self.at(&section, message, format!("`{key}` is missing here"));
                self.help(format!("add for example: {key} = {example}"));
            }
            let excluded = provider.name_decoration_excluded.is_some();
            let decorated = provider.resolved().is_some_and(|rule| rule.decoration.is_some());
            if excluded && !decorated {
                let message = "domains excluded from a decoration that there is not";
                self.at(&keyed("name_decoration_excluded"), message, "has no effect");
                self.help("add name_decoration_domain");
            }
            for (key, domain) in paths(&keyed("shared_address_space"), provider.shared()) {
                if !config.edge.domains.contains(domain) {
                    self.at(&key, format!("{domain} is not an own domain"), "not ours to share");
                    self.help("a domain that only the provider serves belongs to `domains`");
                }
            }
        }
    }

    fn default_route(&mut self) {
        let route = &self.config.default_route;
        let says = |key: &str| self.config.source.says(key);
        if route.edge.is_none() && says("default_route") {
            let message = "a default route without the name of its edge";
            self.at("default_route", message, "needs `edge`");
            self.help("add for example: edge = \"hub.clearing.example\"");
        }
        if route.edge.is_some() && self.config.federation.discovery {
            let message = "a default route and discovery of partners exclude each other";
            self.at("default_route.edge", message, "takes what discovery would find");
            self.beside("federation.discovery", "turned on here");
        }
    }
}

/// Pairs each of `values` with its path in the list `key`.
fn paths<T>(key: &str, values: impl Iterator<Item = T>) -> Vec<(String, T)> {
    values.enumerate().map(|(index, value)| (format!("{key}[{index}]"), value)).collect()
}
