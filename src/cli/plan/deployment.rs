//! From the configuration to the deployment that is planned.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::config::{AvListener, Config, GatewaySip, PlanNode, PoolEdge, Preset};
use crate::control;
use crate::dns::Domain;
use crate::edge::av::Transport;
use crate::edge::{Class, Side};
use crate::plan::{
    Addresses, Av, Deployment, Doors, Identity, Inner, Node, Planned, Runs, Shows, Version, Vips,
    Xmpp,
};
use crate::policy::{self, Listed, XmppServed};

/// Port at which partners are connected to where nothing else is said.
const PARTNER_PORT: u16 = 5061;
/// Port that records of XMPP servers which begin with TLS usually name.
const DIRECT_TLS_PORT: u16 = 5270;

/// Returns the deployment that `config` describes.
#[must_use]
pub fn deployment(config: &Config) -> Deployment {
    let plan = &config.plan;
    let rules = control::rules(config);
    let below = |label: &str| {
        let domain = config.edge.domains.first().unwrap_or(&config.edge.external_fqdn);
        format!("{label}.{domain}")
    };
    let or_below = |name: &Option<crate::dns::Domain>, label: &str| {
        name.as_ref().map_or_else(|| below(label), ToString::to_string)
    };
    // What clients of the A/V Edge are told need not be said again.
    let or_vips = |stated: &[IpAddr], side| match stated {
        [] => sorted(av_listeners(config, side).filter_map(|l| l.vip).map(|vip| vip.ip())),
        stated => stated.to_vec(),
    };
    let xmpp_domains = if plan.xmpp_domains.is_empty() {
        config.edge.domains.clone()
    } else {
        plan.xmpp_domains.clone()
    };
    Deployment {
        topology: plan.topology,
        roles: roles(config, &rules),
        versions: versions(config, &rules),
        external_fqdn: config.edge.external_fqdn.clone(),
        internal_fqdn: config.internal_fqdn().clone(),
        domains: config.edge.domains.clone(),
        conferencing_fqdn: or_below(&plan.conferencing_fqdn, "webcon"),
        av_fqdn: av_fqdn(config).map_or_else(|| below("av"), ToString::to_string),
        av: av(config),
        xmpp_fqdn: plan.xmpp_fqdn.as_ref().unwrap_or(&config.edge.external_fqdn).to_string(),
        xmpp_domains,
        xmpp: xmpp(config),
        web_fqdn: or_below(&plan.web_fqdn, "webext"),
        web_names: plan.web_names.clone(),
        web_addresses: plan.web_addresses.clone(),
        nodes: nodes(config),
        vips: Vips {
            access: plan.access_vip.clone(),
            conferencing: plan.conferencing_vip.clone(),
            av: or_vips(&plan.av_vip, Side::External),
            internal: or_vips(&plan.internal_vip, Side::Internal),
        },
        federation_port: port(config, Class::Federation).filter(|_| config.federation.enabled),
        partner_ports: partner_ports(&rules),
        remote_user_port: port(config, Class::RemoteUsers).filter(|_| config.remote_users.enabled),
        internal_port: port(config, Class::Internal),
        identities: identities(config),
        next_hops: config
            .next_hops
            .iter()
            .map(|hop| Inner {
                name: hop.name.clone(),
                port: hop.port,
                addresses: hop.addresses.clone(),
            })
            .collect(),
        name_servers: config.dns.servers.clone(),
        management: beyond_loopback(&config.management.listen),
        management_allow: config
            .management
            .allow
            .iter()
            .filter(|net| !net.addr().is_loopback())
            .copied()
            .collect(),
        fetches_lists: fetches_lists(&rules),
        client_eku: plan.client_eku
            || rules.providers.iter().any(|p| p.enabled && p.needs_client_eku),
        idle_timeout_s: config.edge.idle_timeout_s,
    }
}

/// Returns the name that leads to the A/V Edge; of an edge that is nothing else, its own.
fn av_fqdn(config: &Config) -> Option<&Domain> {
    let stated = config.plan.av_fqdn.as_ref().or(config.av.external_fqdn.as_ref());
    stated.or_else(|| config.runs_relay_alone().then_some(&config.edge.external_fqdn))
}

fn beyond_loopback(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    addresses.iter().filter(|address| !address.ip().is_loopback()).copied().collect()
}

fn av_listeners(config: &Config, side: Side) -> impl Iterator<Item = &AvListener> {
    config.av_listeners.iter().filter(move |listener| listener.side == side)
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let values: BTreeSet<T> = values.collect();
    values.into_iter().collect()
}

/// Returns the ports of the A/V Edge: those of this process, else those of the guide.
fn av(config: &Config) -> Av {
    let av = &config.av;
    if config.av_listeners.is_empty() {
        return Av::default();
    }
    let doors = |side| {
        // Clients are told the balancer's port, or the one of the Internet.
        let told = |listener: &AvListener| {
            listener.vip.or(listener.node).unwrap_or(listener.address).port()
        };
        let by = |transport| {
            let listeners = av_listeners(config, side).filter(|l| l.transport == transport);
            sorted(listeners.map(told))
        };
        Doors { udp: by(Transport::Udp), tcp: by(Transport::Stream) }
    };
    Av {
        runs: Runs::Here,
        external: doors(Side::External),
        internal: doors(Side::Internal),
        relayed: config.relayed_ports(),
        relays_tcp: config.relays_tcp(),
        credentials: port(config, Class::Credentials),
        internal_fqdn: av.internal_fqdn.as_ref().map(ToString::to_string),
    }
}

/// Returns the port of the first listener of a class: the others of it serve the same peers.
fn port(config: &Config, class: Class) -> Option<u16> {
    config.listeners_of(class).map(|listener| listener.address.port()).next()
}

/// Returns what of XMPP this process runs, and with whom it speaks.
fn xmpp(config: &Config) -> Xmpp {
    let unsaid = Xmpp::default();
    let proxy = config.runs_xmpp_proxy();
    let inner = |name: &Domain, port, addresses: &[IpAddr]| Inner {
        name: name.clone(),
        port,
        addresses: addresses.to_vec(),
    };
    let proxies = config.xmpp_partners.iter().filter_map(|partner| partner.proxy.as_ref());
    let mut partner_ports: BTreeSet<u16> = proxies.map(|proxy| proxy.port).collect();
    partner_ports.insert(unsaid.port);
    if proxy {
        partner_ports.insert(DIRECT_TLS_PORT);
    }
    let edges = config.gateway_edges.iter();
    let named = config.gateways_sip();
    let of_gateway = |gateway: &GatewaySip| inner(&gateway.name, gateway.port, &gateway.addresses);
    // Whoever is not in the list itself is none of them.
    let own = config.internal_fqdn();
    let is_one = config.runs_gateway() && named.iter().any(|gateway| gateway.name == *own);
    let others = named.iter().filter(|gateway| is_one && gateway.name != *own);
    let gateways = named.iter().filter(|_| config.runs_access_edge());
    Xmpp {
        served: match (proxy, config.runs_gateway()) {
            (true, _) => XmppServed::Proxy,
            (false, true) => XmppServed::GatewayAlone,
            (false, false) => XmppServed::Nothing,
        },
        port: port(config, Class::Xmpp).unwrap_or(unsaid.port),
        direct_port: port(config, Class::XmppDirectTls),
        link_port: port(config, Class::XmppLink).unwrap_or(unsaid.link_port),
        partner_ports: partner_ports.into_iter().collect(),
        gateway_ports: config.gateway.listen.iter().map(SocketAddr::port).collect(),
        edges: edges.map(|edge| inner(&edge.name, edge.port, &edge.addresses)).collect(),
        gateways: gateways.map(of_gateway).collect(),
        others: others.map(of_gateway).collect(),
    }
}

/// Returns every port at which the edge connects to partners, lowest first.
fn partner_ports(rules: &policy::Rules) -> Vec<u16> {
    let named = rules.partners.iter().filter_map(|partner| match partner.kind {
        Listed::AllowedServer { port, .. } => Some(port),
        Listed::AllowedDomain => None,
    });
    let providers = rules.providers.iter().filter(|provider| provider.enabled).map(|p| p.port);
    let route = rules.default_route.iter().map(|route| route.port);
    let ports: BTreeSet<u16> = named.chain(providers).chain(route).chain([PARTNER_PORT]).collect();
    ports.into_iter().collect()
}

/// Returns the planned roles, and those that enabled providers bring with them.
fn roles(config: &Config, rules: &policy::Rules) -> Vec<Planned> {
    let mut roles = config.plan.roles.clone();
    let enabled = || rules.providers.iter().filter(|provider| provider.enabled);
    let public = enabled().any(|provider| provider.kind == policy::ProviderKind::Public);
    let push = config.providers.iter().any(|p| p.preset == Some(Preset::Push) && p.enabled);
    let xmpp = config.runs_xmpp_proxy();
    let av = !config.av_listeners.is_empty();
    for (role, there) in [
        (Planned::PublicIm, public),
        (Planned::Push, push),
        (Planned::Xmpp, xmpp),
        (Planned::Av, av),
    ] {
        if there && !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles
}

/// Returns what partners run: what the plan says, and what their entries do.
fn versions(config: &Config, rules: &policy::Rules) -> Vec<Version> {
    let mut versions = config.plan.partner_versions.clone();
    let entries = rules.partners.iter().filter_map(|partner| partner.version);
    for version in entries.map(|version| match version {
        policy::Version::Ocs2007 => Version::Ocs2007,
        policy::Version::Ocs2007R2 => Version::Ocs2007R2,
        policy::Version::Lync2010 => Version::Lync2010,
        policy::Version::Lync2013 => Version::Lync2013,
        policy::Version::Other => Version::Other,
    }) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions
}

/// Returns whether the edge fetches revocation lists for any peer.
fn fetches_lists(rules: &policy::Rules) -> bool {
    let off = |revocation| revocation == policy::Revocation::Off;
    !off(rules.federation.revocation) || rules.partners.iter().any(|p| !off(p.revocation))
}

fn identities(config: &Config) -> Vec<Identity> {
    let of_identity = |index: usize| {
        let mut classes: Vec<Class> = Vec::new();
        for listener in &config.listeners {
            let shows = config.listener_identity(listener) == index;
            if shows && !classes.contains(&listener.class) {
                classes.push(listener.class);
            }
        }
        let gateway = config.runs_gateway() && config.gateway_identity() == index;
        let gateway = if gateway { Shows::ToGatewaysPeers } else { Shows::ToNobody };
        let streams = config.av_listeners.iter().filter(|l| l.transport == Transport::Stream);
        let shown = |listener: &&AvListener| match &listener.identity {
            Some(name) => config.identities[index].name == *name,
            None => index == 0,
        };
        let media = sorted(streams.filter(shown).map(|listener| listener.side));
        Identity { name: config.identities[index].name.clone(), classes, gateway, media }
    };
    (0..config.identities.len()).map(of_identity).collect()
}

/// Returns the edges; without any in the file, this one with the addresses of its listeners.
fn nodes(config: &Config) -> Vec<Node> {
    let own = |inside: bool| {
        let listeners = config.listeners.iter();
        let of_side = listeners.filter(|l| l.class.is_inside() == inside);
        let gateway = config.gateway.listen.iter().filter(|_| inside && config.runs_gateway());
        let media = av_listeners(config, Side::Internal).filter(|_| inside);
        let addresses = of_side
            .map(|listener| listener.address.ip())
            .chain(gateway.map(SocketAddr::ip))
            .chain(media.map(|listener| listener.address.ip()));
        sorted(addresses.filter(|address| !address.is_unspecified()))
    };
    let node = config.node();
    let mut nodes: Vec<Node> = config.plan_nodes.iter().map(planned).collect();
    if nodes.is_empty() {
        nodes.push(Node {
            name: node.clone(),
            access: Addresses::default(),
            conferencing: Addresses::default(),
            av: Addresses::default(),
            relayed: Addresses::default(),
            relayed_ports: Vec::new(),
            internal: Vec::new(),
        });
    }
    // What this node's listeners say need not be said again.
    let alone = nodes.len() == 1;
    for this in nodes.iter_mut().filter(|this| alone || this.name == *node) {
        if this.access.bound.is_empty() {
            this.access.bound = own(false);
        }
        if this.access.public.is_empty() {
            this.access.public.clone_from(&this.access.bound);
        }
        if this.internal.is_empty() {
            this.internal = own(true);
        }
        if this.av.bound.is_empty() {
            this.av = doors(config);
        }
        this.relayed = relayed(config);
        this.relayed_ports = config.relayed_ports();
    }
    for edge in config.pool.iter().flat_map(|pool| pool.others(config)) {
        let others = nodes.iter_mut().filter(|other| other.name == edge.name);
        others.for_each(|other| listed_in_pool(other, edge));
    }
    nodes
}

/// Returns where this node's A/V Edge takes clients from outside, as bound and as they see it.
fn doors(config: &Config) -> Addresses {
    let pairs = av_listeners(config, Side::External);
    let pairs = pairs.map(|l| (l.address.ip(), l.node.unwrap_or(l.address).ip()));
    let (bound, public) = sorted(pairs).into_iter().unzip();
    Addresses { bound, public }
}

/// Returns what clients are given ports of.
fn relayed(config: &Config) -> Addresses {
    let av = &config.av;
    if config.av_listeners.is_empty() {
        return Addresses::default();
    }
    Addresses { bound: av.relayed.clone(), public: config.relayed_public().to_vec() }
}

/// Takes what the file of the pool says of another edge.
fn listed_in_pool(node: &mut Node, edge: &PoolEdge) {
    node.relayed_ports.clone_from(&edge.ports);
    // Behind a translation the file has what the Internet sees alone.
    if node.av.bound == node.av.public {
        node.relayed = Addresses { bound: edge.relayed.clone(), public: edge.relayed.clone() };
    }
}

fn planned(node: &PlanNode) -> Node {
    let addresses = |bound: &[IpAddr], public: &[IpAddr]| Addresses {
        bound: bound.to_vec(),
        public: if public.is_empty() { bound.to_vec() } else { public.to_vec() },
    };
    Node {
        name: node.name.clone(),
        access: addresses(&node.access, &node.access_public),
        conferencing: addresses(&node.conferencing, &node.conferencing_public),
        av: addresses(&node.av, &node.av_public),
        relayed: Addresses::default(),
        relayed_ports: Vec::new(),
        internal: node.internal.clone(),
    }
}
