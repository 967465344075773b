//! From the configuration to what policy and TLS are made from.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::{self, Config};
use crate::{policy, tls};

/// Partners' own sets of trust anchors: the sets, and which of them each partner has.
///
/// Partners that name the same files share a set, because an authority may be in one set only.
struct PartnerTrust {
    sets: Vec<Vec<PathBuf>>,
    of_partner: Vec<Option<u16>>,
}

fn partner_trust(config: &Config) -> PartnerTrust {
    let mut sets: Vec<Vec<PathBuf>> = Vec::new();
    let mut of_partner = Vec::with_capacity(config.partners.len());
    for partner in &config.partners {
        if partner.trust.is_empty() {
            of_partner.push(None);
            continue;
        }
        let mut files = partner.trust.clone();
        files.sort();
        files.dedup();
        let index = sets.iter().position(|set| *set == files).unwrap_or_else(|| {
            sets.push(files);
            sets.len() - 1
        });
        // The configuration refuses more sets than an index can name.
        of_partner.push(u16::try_from(index).ok());
    }
    PartnerTrust { sets, of_partner }
}

/// Returns the policy of `config` as plain rules.
#[must_use]
pub fn rules(config: &Config) -> policy::Rules {
    let trust = partner_trust(config);
    let partners = config.partners.iter().zip(trust.of_partner);
    policy::Rules {
        node: config.node().clone(),
        external_fqdn: config.edge.external_fqdn.clone(),
        internal_fqdn: config.internal_fqdn().clone(),
        own_domains: config.edge.domains.clone(),
        federation: policy::FederationSwitches {
            enabled: config.federation.enabled,
            discovery: config.federation.discovery,
            connections_per_partner: config.federation.connections_per_partner,
            messages_per_s: config.federation.messages_per_s,
            revocation: config.tls.revocation,
        },
        remote_users: policy::RemoteUserSwitches {
            enabled: config.remote_users.enabled,
            anonymous: config.remote_users.anonymous,
        },
        blocked: config.blocked.iter().map(|blocked| blocked.domain.clone()).collect(),
        partners: partners
            .map(|(partner, anchors)| partner_rule(config, partner, anchors))
            .collect(),
        internal_names: config.internal_names(),
        next_hops: config.next_hops.iter().map(next_hop).collect(),
        addresses: address_rule(config),
    }
}

fn partner_rule(
    config: &Config,
    partner: &config::Partner,
    anchors: Option<u16>,
) -> policy::PartnerRule {
    let kind = match &partner.edge {
        Some(edge) => policy::Listed::AllowedServer { edge: edge.clone(), port: partner.port },
        None => policy::Listed::AllowedDomain,
    };
    policy::PartnerRule {
        domain: partner.domain.clone(),
        kind,
        srv_target: match &partner.srv_target {
            config::SrvTarget::Strict => policy::SrvTarget::Strict,
            config::SrvTarget::SameDomain => policy::SrvTarget::SameDomain,
            config::SrvTarget::Names(names) => policy::SrvTarget::Names(names.clone()),
        },
        names: match partner.names {
            config::PeerName::Fqdn => policy::NameCheck::Fqdn,
            config::PeerName::SipDomain => policy::NameCheck::SipDomain,
            config::PeerName::Both => policy::NameCheck::Both,
        },
        common_name: partner.common_name,
        require_client_eku: partner.require_client_eku,
        anchors,
        allow_networks: partner.allow_networks.clone(),
        verification: match partner.verification {
            config::Verification::Always => policy::Verification::Always,
            config::Verification::Source => policy::Verification::Source,
            config::Verification::Never => policy::Verification::Never,
        },
        revocation: partner.revocation.unwrap_or(config.tls.revocation),
    }
}

fn next_hop(hop: &config::NextHop) -> policy::NextHop {
    policy::NextHop {
        name: hop.name.clone(),
        port: hop.port,
        addresses: hop.addresses.clone(),
        domains: hop.domains.clone(),
        connections: hop.connections,
    }
}

pub(super) fn address_rule(config: &Config) -> policy::AddressRule {
    let listeners = config.listeners.iter().map(|listener| listener.address.ip());
    let management = config.management.listen.iter().map(std::net::SocketAddr::ip);
    let own: Vec<IpAddr> =
        listeners.chain(management).filter(|address| !address.is_unspecified()).collect();
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
        listeners: config
            .listeners
            .iter()
            .map(|listener| tls::ListenerPlan {
                class: listener.class,
                identity: config.identities[config.listener_identity(listener)].name.clone(),
            })
            .collect(),
        trust: trust_sources(&config.tls.trust),
        internal_trust: trust_sources(config.internal_trust()),
        partner_trust: partner_trust(config).sets,
        crl: config.tls.crl.clone(),
        internal_names: config.internal_names(),
        min_tls13: config.tls.min_version == config::TlsVersion::Tls13,
        key_log,
    }
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
        for name in ["minimal.toml", "full.toml", "pool_behind_balancer.toml", "remote_users.toml"]
        {
            let compiled = policy::compile(rules(&fixture(name)), 1);
            assert!(compiled.is_ok(), "{name}: {compiled:?}");
        }
    }

    #[test]
    fn a_partner_with_an_edge_is_an_allowed_server() {
        let rules = rules(&fixture("full.toml"));
        assert_eq!(rules.partners[0].kind, policy::Listed::AllowedDomain);
        assert!(matches!(rules.partners[1].kind, policy::Listed::AllowedServer { port: 5061, .. }));
        assert_eq!(rules.partners[1].anchors, Some(0));
        assert_eq!(rules.addresses.own.len(), 5);
    }

    #[test]
    fn partners_that_trust_the_same_files_share_a_set() {
        let mut config = fixture("full.toml");
        config.partners[0].trust = vec!["b.pem".into(), "a.pem".into()];
        config.partners[1].trust = vec!["a.pem".into(), "b.pem".into()];
        let trust = partner_trust(&config);
        assert_eq!(trust.sets, [[PathBuf::from("a.pem"), PathBuf::from("b.pem")]]);
        assert_eq!(trust.of_partner, [Some(0), Some(0)]);
    }

    #[test]
    fn the_plan_names_each_listeners_identity() {
        let plan = tls_plan(&fixture("full.toml"), 3, 0, None);
        let names: Vec<_> = plan.listeners.iter().map(|l| l.identity.as_str()).collect();
        assert_eq!(names, ["access", "access", "inside"]);
        assert_eq!(plan.trust, [tls::TrustSource::System]);
        assert_eq!(plan.epoch, 3);
    }
}
