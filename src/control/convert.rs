//! From the configuration to what policy and TLS are made from.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use ring::digest::{Context, SHA256};

use crate::config::lists::{PartnerRow, RowTerms};
use crate::config::{self, Config};
use crate::dns::Domain;
use crate::edge::Class;
use crate::policy::AnchorSet;
use crate::{policy, tls};

/// Partners' own sets of trust anchors: the sets, and which of them each partner has.
///
/// Partners that name the same files share a set, because an authority may be in one set only. A
/// set is called by what its files are called, so that a reload which changes other partners leaves
/// its name, and the legs that were judged by it, alone.
#[derive(Default)]
struct PartnerTrust {
    sets: Vec<tls::AnchorPlan>,
    of_partner: Vec<Option<AnchorSet>>,
    of_provider: Vec<Option<AnchorSet>>,
    of_default_route: Option<AnchorSet>,
    of_xmpp_partner: Vec<Option<AnchorSet>>,
}

impl PartnerTrust {
    fn of(config: &Config) -> Self {
        let mut trust = Self::default();
        for partner in &config.partners {
            let set = trust.set(&partner.trust);
            trust.of_partner.push(set);
        }
        for provider in &config.providers {
            let set = trust.set(&provider.trust);
            trust.of_provider.push(set);
        }
        trust.of_default_route = trust.set(&config.default_route.trust);
        for partner in &config.xmpp_partners {
            let set = trust.set(&partner.trust);
            trust.of_xmpp_partner.push(set);
        }
        trust
    }

    /// Returns the name of a set, which may be one that is known.
    fn set(&mut self, files: &[PathBuf]) -> Option<AnchorSet> {
        if files.is_empty() {
            return None;
        }
        let mut files = files.to_vec();
        files.sort();
        files.dedup();
        if let Some(known) = self.sets.iter().find(|set| set.files == files) {
            return Some(known.name);
        }
        let name = name_of(&files);
        self.sets.push(tls::AnchorPlan { name, files });
        Some(name)
    }
}

/// Returns what the set of the anchors in `files` is called: a quarter of a digest, so that no two
/// of the sets there will ever be are called alike.
fn name_of(files: &[PathBuf]) -> AnchorSet {
    let mut context = Context::new(&SHA256);
    for file in files {
        context.update(file.as_os_str().as_encoded_bytes());
        context.update(&[0]);
    }
    let mut name = [0; size_of::<AnchorSet>()];
    name.copy_from_slice(&context.finish().as_ref()[..size_of::<AnchorSet>()]);
    AnchorSet::from_be_bytes(name)
}

/// Returns the policy of `config` as plain rules; rows of lists in files of their own come after
/// the entries of the configuration, as [`Config::whereabouts`] counts them.
#[must_use]
pub fn rules(config: &Config) -> policy::Rules {
    let trust = PartnerTrust::of(config);
    policy::Rules {
        node: config.node().clone(),
        external_fqdn: config.edge.external_fqdn.clone(),
        internal_fqdn: config.internal_fqdn().clone(),
        own_domains: config.edge.domains.clone(),
        federation: policy::FederationSwitches {
            enabled: config.federation.enabled,
            discovery: config.federation.discovery,
            connections_per_partner: config.federation.connections_per_partner,
            discovered_verification: config.federation.discovered_verification.into(),
            revocation: config.tls.revocation,
        },
        remote_users: policy::RemoteUserSwitches {
            enabled: config.remote_users.enabled,
            anonymous: config.remote_users.anonymous,
        },
        blocked: blocked(config),
        partners: partners(config, &trust),
        providers: providers(config, &trust),
        default_route: default_route(&config.default_route, trust.of_default_route),
        internal_names: config.internal_names(),
        next_hops: config.next_hops.iter().map(next_hop).collect(),
        addresses: address_rule(config),
        xmpp: xmpp(config, &trust),
    }
}

/// Returns a contradiction with the lines it is about.
pub(super) fn contradiction(config: &Config, found: &policy::Contradiction) -> String {
    let places = found.places().into_iter().map(|place| config.whereabouts(place));
    let places: Vec<String> = places.collect();
    match places.as_slice() {
        [] => found.to_string(),
        _ => format!("{found} at {}", places.join(" and ")),
    }
}

fn blocked(config: &Config) -> Vec<policy::Pattern> {
    let rows = config.blocked_list.iter().flat_map(|list| &list.rows);
    let stated = config.blocked.iter().map(|blocked| blocked.domain.clone());
    stated.chain(rows.map(|(domain, _)| domain.clone())).collect()
}

fn partners(config: &Config, trust: &PartnerTrust) -> Vec<policy::PartnerRule> {
    let listed = config.partner_list.as_ref().map_or(0, |list| list.rows.len());
    let mut partners = Vec::with_capacity(config.partners.len() + listed);
    for (partner, anchors) in config.partners.iter().zip(&trust.of_partner) {
        partners.push(partner_rule(config, partner, *anchors));
    }
    if let Some(list) = &config.partner_list {
        let rule = |row: &PartnerRow| row_rule(config, row, &list.terms[row.terms as usize]);
        partners.extend(list.rows.iter().map(rule));
    }
    partners
}

/// Returns one entry as a rule; `anchors` names its set of trust anchors.
pub(super) fn partner_rule(
    config: &Config,
    partner: &config::Partner,
    anchors: Option<AnchorSet>,
) -> policy::PartnerRule {
    policy::PartnerRule {
        domain: partner.domain.clone(),
        kind: listed(partner.edge.as_ref(), partner.port),
        srv_target: srv_target(&partner.srv_target),
        names: names(partner.names),
        common_name: partner.common_name,
        require_client_eku: partner.require_client_eku,
        anchors,
        allow_networks: partner.allow_networks.clone(),
        verification: partner.verification.into(),
        expires: partner.expires,
        version: partner.version,
        revocation: partner.revocation.unwrap_or(config.tls.revocation),
        limits: policy::StatedLimits {
            messages_per_s: partner.messages_per_s,
            users: partner.distinct_users,
        },
    }
}

/// Returns one row of a list as a rule.
pub(super) fn row_rule(config: &Config, row: &PartnerRow, terms: &RowTerms) -> policy::PartnerRule {
    policy::PartnerRule {
        kind: listed(row.edge.as_ref(), row.port),
        srv_target: srv_target(&terms.srv_target),
        names: names(terms.names),
        require_client_eku: terms.require_client_eku,
        verification: terms.verification.into(),
        expires: terms.expires,
        version: terms.version,
        common_name: terms.common_name,
        revocation: terms.revocation.unwrap_or(config.tls.revocation),
        limits: policy::StatedLimits {
            messages_per_s: terms.messages_per_s,
            users: terms.distinct_users,
        },
        ..policy::PartnerRule::allowed_domain(row.domain.clone())
    }
}

fn listed(edge: Option<&Domain>, port: u16) -> policy::Listed {
    match edge {
        Some(edge) => policy::Listed::AllowedServer { edge: edge.clone(), port },
        None => policy::Listed::AllowedDomain,
    }
}

fn srv_target(said: &config::SrvTarget) -> policy::SrvTarget {
    match said {
        config::SrvTarget::Strict => policy::SrvTarget::Strict,
        config::SrvTarget::SameDomain => policy::SrvTarget::SameDomain,
        config::SrvTarget::Names(names) => policy::SrvTarget::Names(names.clone()),
    }
}

const fn names(said: config::PeerName) -> policy::NameCheck {
    match said {
        config::PeerName::Fqdn => policy::NameCheck::Fqdn,
        config::PeerName::SipDomain => policy::NameCheck::SipDomain,
        config::PeerName::Both => policy::NameCheck::Both,
    }
}

fn providers(config: &Config, trust: &PartnerTrust) -> Vec<policy::ProviderRule> {
    let rule = |(provider, anchors): (&config::Provider, &Option<AnchorSet>)| {
        // The configuration refuses a provider that does not say who it is.
        let rule = provider.resolved()?;
        Some(policy::ProviderRule { anchors: *anchors, ..rule })
    };
    config.providers.iter().zip(&trust.of_provider).filter_map(rule).collect()
}

fn default_route(
    route: &config::DefaultRoute,
    anchors: Option<AnchorSet>,
) -> Option<policy::DefaultRoute> {
    Some(policy::DefaultRoute {
        edge: route.edge.clone()?,
        port: route.port,
        public: route.public,
        common_name: route.common_name,
        require_client_eku: route.require_client_eku,
        anchors,
        allow_networks: route.allow_networks.clone(),
        verification: route.verification.into(),
    })
}

fn xmpp(config: &Config, trust: &PartnerTrust) -> policy::XmppRules {
    let said = &config.xmpp;
    let partners = config.xmpp_partners.iter().zip(&trust.of_xmpp_partner);
    policy::XmppRules {
        partners: partners.map(|(partner, anchors)| xmpp_partner(partner, *anchors)).collect(),
        limits: policy::XmppLimits {
            connections: said.connections,
            partner_connections: said.partner_connections,
            keep_alive_s: whole(said.keep_alive_s),
            establishment_s: whole(said.establishment_s),
            inactivity_s: whole(said.inactivity_s),
            stanza_bytes: whole(said.stanza_bytes as u64),
            partner_stanzas_per_s: said.partner_stanzas_per_s,
            partner_bytes_per_s: whole(said.partner_bytes_per_s as u64),
        },
        gateways: said.gateways.clone(),
        log_bodies: said.log_bodies,
        gateway_hops: config.gateways_sip().into_iter().map(gateway_hop).collect(),
    }
}

fn gateway_hop(gateway: config::GatewaySip) -> policy::NextHop {
    let config::GatewaySip { name, port, addresses } = gateway;
    policy::NextHop { port, addresses, ..policy::NextHop::new(name) }
}

/// Returns a number that the schema bounds far below 2^32.
fn whole(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Returns one entry of an XMPP partner as a rule; `anchors` names its set of trust anchors.
pub(super) fn xmpp_partner(
    partner: &config::XmppPartner,
    anchors: Option<AnchorSet>,
) -> policy::XmppPartner {
    policy::XmppPartner {
        domain: partner.domain.clone(),
        additional: partner.additional_domains.clone(),
        kind: partner.kind,
        tls: partner.tls,
        sasl: partner.sasl,
        dialback: partner.dialback,
        keep_alive: partner.keep_alive,
        connection_limit: partner.connection_limit,
        proxy: partner.proxy.as_ref().map(|proxy| (proxy.host.clone(), proxy.port)),
        anchors,
        allow_networks: partner.allow_networks.clone(),
        prefer: partner.prefer,
        expires: partner.expires,
    }
}

fn next_hop(hop: &config::NextHop) -> policy::NextHop {
    policy::NextHop {
        name: hop.name.clone(),
        port: hop.port,
        addresses: hop.addresses.clone(),
        domains: hop.domains.clone(),
        connections: hop.connections,
        dialect: hop.dialect,
    }
}

pub(super) fn address_rule(config: &Config) -> policy::AddressRule {
    let listeners = config.listeners.iter().map(|listener| listener.address.ip());
    let management = config.management.listen.iter().map(std::net::SocketAddr::ip);
    let gateway = config.gateway.listen.iter().map(std::net::SocketAddr::ip);
    let media = config.av_listeners.iter().flat_map(|listener| {
        [Some(listener.address), listener.node, listener.vip].into_iter().flatten()
    });
    let media = media.map(|address| address.ip());
    let relayed = config.av.relayed.iter().chain(&config.av.relayed_public).copied();
    let mut own: Vec<IpAddr> = listeners
        .chain(management)
        .chain(gateway)
        .chain(media)
        .chain(relayed)
        .filter(|address| !address.is_unspecified())
        .collect();
    own.sort_unstable();
    own.dedup();
    // Allowing everybody to ask for metrics does not make every network one of management.
    let management: Vec<IpNet> =
        config.management.allow.iter().filter(|net| net.prefix_len() > 0).copied().collect();
    policy::AddressRule { allow_networks: config.addresses.allow_networks.clone(), own, management }
}

/// Returns what TLS is built from: `epoch` is the configuration's number, `now_unix_s` the time
/// certificates are judged at.
#[must_use]
pub fn tls_plan(
    config: &Config,
    epoch: u64,
    now_unix_s: u64,
    key_log: Option<PathBuf>,
) -> tls::Plan {
    tls::Plan {
        epoch,
        now_unix_s,
        identities: config.identities.iter().map(identity_plan).collect(),
        listeners: listener_plans(config),
        trust: trust_sources(&config.tls.trust),
        internal_trust: trust_sources(config.internal_trust()),
        partner_trust: PartnerTrust::of(config).sets,
        crl: config.tls.crl.clone(),
        internal_names: config.internal_names(),
        gateway_names: config.xmpp.gateways.clone(),
        credentials_names: config.credentials_names(),
        min_tls13: config.tls.min_version == config::TlsVersion::Tls13,
        key_log,
    }
}

/// Returns what TLS knows of listeners: those of the edge, then those of the gateway.
fn listener_plans(config: &Config) -> Vec<tls::ListenerPlan> {
    let identity = |index: usize| config.identities[index].name.clone();
    let of_edge = config.listeners.iter().map(|listener| tls::ListenerPlan {
        class: listener.class,
        identity: identity(config.listener_identity(listener)),
    });
    let of_gateway = config.gateway_listeners().iter().map(|_| tls::ListenerPlan {
        class: Class::Internal,
        identity: identity(config.gateway_identity()),
    });
    of_edge.chain(of_gateway).chain(super::relays::tls_plan(config)).collect()
}

/// Returns one identity as TLS loads it.
pub fn identity_plan(identity: &config::Identity) -> tls::IdentityPlan {
    tls::IdentityPlan {
        name: identity.name.clone(),
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        client: identity.client,
        sip_domains: identity.sip_domains.clone(),
    }
}

/// Returns trust anchors as TLS loads them.
pub fn trust_sources(trust: &config::Trust) -> Vec<tls::TrustSource> {
    match trust {
        config::Trust::System => vec![tls::TrustSource::System],
        config::Trust::Files(files) => files.iter().cloned().map(tls::TrustSource::File).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn fixture(name: &str) -> Config {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs").join(name);
        config::load(&path).unwrap_or_else(|report| panic!("{report}"))
    }

    #[test]
    fn every_example_compiles_to_a_policy() {
        let files =
            ["minimal", "full", "pool_behind_balancer", "remote_users", "clearing_house", "xmpp"];
        for name in files.map(|name| format!("{name}.toml")) {
            let name = name.as_str();
            let compiled = policy::compile(rules(&fixture(name)), 1);
            assert!(compiled.is_ok(), "{name}: {compiled:?}");
        }
    }

    #[test]
    fn a_partner_with_an_edge_is_an_allowed_server() {
        let rules = rules(&fixture("full.toml"));
        assert_eq!(rules.partners[0].kind, policy::Listed::AllowedDomain);
        assert!(matches!(rules.partners[1].kind, policy::Listed::AllowedServer { port: 5061, .. }));
        let sets = PartnerTrust::of(&fixture("full.toml")).sets;
        assert_eq!(rules.partners[1].anchors, Some(sets[0].name));
        assert_eq!(rules.addresses.own.len(), 5);
        assert_eq!(rules.providers[0].anchors, Some(sets[1].name));
    }

    #[test]
    fn rows_of_lists_come_after_the_entries_of_the_configuration() {
        let rules = rules(&fixture("full.toml"));
        let names: Vec<String> =
            rules.partners.iter().map(|partner| partner.domain.to_string()).collect();
        let listed = ["northwind.example", "wingtip.example", "*.proseware.example"];
        assert_eq!(names[3..], listed);
        let policy::Listed::AllowedServer { edge, .. } = &rules.partners[4].kind else {
            panic!("its edge is stated");
        };
        assert_eq!(edge.as_str(), "edge.wingtip.example");
        assert_eq!(rules.partners[4].version, Some(policy::Version::Ocs2007R2));
        assert_eq!(rules.partners[4].revocation, policy::Revocation::Hard);
        let limits = policy::StatedLimits { messages_per_s: Some(100), users: Some(5_000) };
        assert_eq!(rules.partners[3].limits, limits);
        assert_eq!(rules.partners[4].limits, policy::StatedLimits::NONE);
        assert_eq!(rules.blocked.len(), 3);
    }

    #[test]
    fn a_contradiction_between_files_is_told_with_both_lines() {
        let mut config = fixture("full.toml");
        let text = "domain\nfabrikam.example\n".to_owned();
        let list = config::lists::PartnerList::parse(Path::new("more.csv"), text).unwrap();
        config.partner_list = Some(std::sync::Arc::new(list));
        let found = policy::compile(rules(&config), 1).unwrap_err();
        let told = contradiction(&config, &found[0]);
        let listed_twice = "partner fabrikam.example is listed twice (partner[0] and partner[3]) \
                            at more.csv:2 and ";
        assert!(told.starts_with(listed_twice), "{told}");
    }

    #[test]
    fn partners_that_trust_the_same_files_share_a_set() {
        let mut config = fixture("full.toml");
        config.partners[0].trust = vec!["b.pem".into(), "a.pem".into()];
        config.partners[1].trust = vec!["a.pem".into(), "b.pem".into()];
        let trust = PartnerTrust::of(&config);
        assert_eq!(trust.sets[0].files, [PathBuf::from("a.pem"), PathBuf::from("b.pem")]);
        let name = Some(trust.sets[0].name);
        assert_eq!(trust.of_partner, [name, name, None]);
    }

    /// Symptom: a reload that added a partner with its own `trust` closed the legs of every such
    /// partner behind it. Cause: sets were numbered in the order of the entries, and open legs are
    /// judged again under the new configuration by the number of the old one.
    #[test]
    fn a_set_keeps_its_name_whatever_comes_before_it() {
        let mut config = fixture("full.toml");
        config.partners[1].trust = vec!["b.pem".into()];
        let before = PartnerTrust::of(&config);
        config.partners[0].trust = vec!["a.pem".into()];
        let after = PartnerTrust::of(&config);
        assert_eq!(after.of_partner[1], before.of_partner[1]);
        assert_eq!(after.of_provider, before.of_provider);
        assert_ne!(after.of_partner[0], after.of_partner[1]);
        let rejoined = name_of(&["a".into(), "b".into()]);
        assert_ne!(rejoined, name_of(&["ab".into()]), "names do not run together");
    }

    #[test]
    fn the_plan_names_each_listeners_identity() {
        let plan = tls_plan(&fixture("full.toml"), 3, 0, None);
        let names: Vec<_> = plan.listeners.iter().map(|l| l.identity.as_str()).collect();
        // Those of the edge, then the gateway's own, then the relay's.
        let of_edge = ["access", "access", "inside", "access", "access", "inside", "inside"];
        let others = ["inside", "access"];
        assert_eq!(names.split_at(of_edge.len()), (of_edge.as_slice(), others.as_slice()));
        assert_eq!(plan.trust, [tls::TrustSource::System]);
        assert_eq!(plan.epoch, 3);
    }
}
