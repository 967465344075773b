//! What the relay is made from, as the configuration has it.

use std::sync::Arc;

use crate::config::{self, AvListener, Config};
use crate::control::convert;
use crate::dns::Domain;
use crate::edge::av::{
    self, Credentials, Listener, MrasKey, Peers, PoolRelay, Ports, Quotas, RelayedAddress, Secret,
    Transport,
};
use crate::edge::{Class, Side};
use crate::limits;
use crate::policy::{IssuingKey, Location, MediaCredentials, MediaRelay};
use crate::poll::Choice;
use crate::relay;
use crate::tls;

pub(super) fn setup(config: &Config, material: &tls::Material, seed: &[u64; 2]) -> relay::Setup {
    let av = &config.av;
    let core = av::Setup {
        realm: realm(config),
        relayed: relayed(config),
        ports: ports(config),
        listeners: config.av_listeners.iter().map(listener).collect(),
        credentials: relay_credentials(config),
        nonce_keys: nonce_keys(config, seed),
        peers: relay_peers(config),
        quotas: quotas(config),
        seed: seed[0] ^ seed[1].rotate_left(32),
    };
    let settings = relay::Settings {
        threads: av.threads,
        core: av.core,
        poller: match av.poller {
            config::Poller::Auto => Choice::Auto,
            config::Poller::IoUring => Choice::IoUring,
            config::Poller::Epoll => Choice::Epoll,
        },
        company_us: av.coalesce_us as u32,
        marks: relay::Marks {
            audio: av.dscp_audio.unwrap_or(av.dscp),
            video: av.dscp_video.unwrap_or(av.dscp),
            other: av.dscp,
        },
        link_kbit_s: av.link_kbit_s,
        trains: relay::Trains::Auto,
    };
    let tls = tls_servers(config, material);
    let listen = config.av_listeners.iter().zip(tls).map(|(listener, tls)| relay::Listen {
        address: listener.address,
        transport: listener.transport,
        tls,
    });
    relay::Setup { core, listen: listen.collect(), settings }
}

/// Returns the identity that a listener shows to TLS; `None` where it accepts none.
fn identity<'a>(config: &'a Config, listener: &AvListener) -> Option<&'a config::Identity> {
    if listener.transport == Transport::Udp {
        return None;
    }
    match &listener.identity {
        Some(name) => config.identities.iter().find(|identity| identity.name == *name),
        None => config.identities.first(),
    }
}

/// Returns how the relay's listeners that accept TLS are to be built, in their order; behind those
/// of the edge and of the gateway. Like remote users' their clients show no certificate.
pub(in crate::control) fn tls_plan(config: &Config) -> impl Iterator<Item = tls::ListenerPlan> {
    let identities = config.av_listeners.iter().filter_map(|listener| identity(config, listener));
    identities.map(|identity| tls::ListenerPlan {
        class: Class::RemoteUsers,
        identity: identity.name.clone(),
    })
}

/// Returns what was built of [`tls_plan`], one for each listener.
pub(super) fn tls_servers(
    config: &Config,
    material: &tls::Material,
) -> Vec<Option<Arc<tls::Server>>> {
    let mut place = config.listeners.len() + config.gateway_listeners().len();
    let of_listener = |listener: &AvListener| {
        identity(config, listener).map(|_| {
            place += 1;
            Arc::clone(material.server(Class::RemoteUsers, place - 1))
        })
    };
    config.av_listeners.iter().map(of_listener).collect()
}

fn listener(listener: &AvListener) -> Listener {
    Listener { node: listener.node.unwrap_or(listener.address), vip: listener.vip }
}

/// Returns the realm that `config` states or means.
fn realm(config: &Config) -> String {
    let realm = config.av.realm.as_ref().or_else(|| config.edge.domains.first());
    realm.map(ToString::to_string).unwrap_or_default()
}

fn relayed(config: &Config) -> Vec<RelayedAddress> {
    let pairs = config.av.relayed.iter().zip(config.relayed_public());
    pairs.map(|(bound, public)| RelayedAddress { bound: *bound, public: *public }).collect()
}

fn ports(config: &Config) -> Ports {
    let av = &config.av;
    if av.shared_ports.is_empty() {
        Ports::Range { first: av.ports_first, count: av.ports_count }
    } else {
        Ports::Shared(av.shared_ports.clone())
    }
}

/// Returns `file:line` of what a relay could not have.
pub(super) fn place(config: &Config, error: &relay::StartError) -> String {
    let key = match error {
        relay::StartError::Bind { address, .. } => {
            let listener = config.av_listeners.iter().position(|l| l.address == *address);
            listener.map_or_else(
                || "av.shared_ports".to_owned(),
                |place| format!("av_listener[{place}].address"),
            )
        }
        relay::StartError::Core { .. } => "av.core".to_owned(),
        relay::StartError::Thread(_) => "av.poller".to_owned(),
    };
    format!("{key}, {}", config.source.whereabouts(&key))
}

/// Returns how many descriptors the relay may use: a port for each allocation, streams, doors.
pub(in crate::control) fn descriptors(config: &Config) -> usize {
    let av = &config.av;
    if config.av_listeners.is_empty() {
        return 0;
    }
    let streams = config.av_listeners.iter().any(|of| of.transport == Transport::Stream);
    let streams = if streams { limits::RELAY_STREAMS_MAX.min(av.allocations) } else { 0 };
    // Each TCP connection with a peer has another one with its client, which is among the streams.
    let peers = if config.relays_tcp() { limits::TURN_CONNECTIONS_MAX } else { 0 };
    let relayed = match av.shared_ports.len() {
        0 => usize::from(av.ports_count).min(av.allocations),
        // One for datagrams, and one that peers connect to.
        shared => shared * (1 + usize::from(peers > 0)),
    };
    relayed * av.relayed.len() + streams + peers + config.av_listeners.len()
}

/// Returns whom the relay of `config` believes.
#[must_use]
pub fn relay_credentials(config: &Config) -> Credentials {
    let rest = config.av_secrets.0.iter().map(|secret| Secret::new(secret)).collect();
    let key = |secret| {
        let domains = config.edge.domains.iter().map(Domain::as_str);
        MrasKey::new(&issuing_key(secret).0).knowing(domains)
    };
    Credentials { rest, mras: config.media_secrets().map(key).collect() }
}

fn issuing_key(secret: &config::Secret) -> IssuingKey {
    IssuingKey(derived(secret, b"entente mras 1"))
}

/// Returns what credentials are made from where servers inside ask for them; `None`: nobody can.
pub(in crate::control) fn media_credentials(config: &Config) -> Option<MediaCredentials> {
    config.listeners_of(Class::Credentials).next()?;
    let key = issuing_key(config.media_secrets().next()?);
    let sides = [
        (Side::External, Location::Internet, &config.av.external_fqdn),
        (Side::Internal, Location::Intranet, &config.av.internal_fqdn),
    ];
    let of_side = |(side, location, name): (Side, Location, &Option<Domain>)| {
        let by = |transport| config.av_listener(side, transport);
        let (udp, tcp) = (by(Transport::Udp), by(Transport::Stream));
        let first = listener(udp.or(tcp)?);
        let told = |listener: Listener| listener.vip.unwrap_or(listener.node);
        let port = |of: Option<&AvListener>| of.map(|of| told(listener(of)).port());
        Some(MediaRelay {
            location,
            name: name.clone(),
            pool: told(first).ip(),
            node: first.node.ip(),
            udp_port: port(udp),
            tcp_port: port(tcp),
        })
    };
    let relays = sides.into_iter().filter_map(of_side).collect();
    Some(MediaCredentials { key, lifetime_s: config.av.credentials_lifetime_s, relays })
}

/// One secret, several uses, each with a key of its own.
fn derived(secret: &config::Secret, purpose: &[u8]) -> [u8; 32] {
    let parent = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret.key);
    let mut key = [0; 32];
    key.copy_from_slice(ring::hmac::sign(&parent, purpose).as_ref());
    key
}

fn nonce_keys(config: &Config, seed: &[u64; 2]) -> Vec<[u8; 32]> {
    match &config.secrets {
        Some(secrets) => {
            secrets.0.iter().map(|secret| derived(secret, b"entente turn nonce 1")).collect()
        }
        None => {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&seed[0].to_le_bytes());
            key[8..16].copy_from_slice(&seed[1].to_le_bytes());
            vec![key]
        }
    }
}

/// Returns which peers `config` lets the relay reach.
#[must_use]
pub fn relay_peers(config: &Config) -> Peers {
    let av = &config.av;
    let inner = config.av_listeners.iter().zip(0_u16..);
    let inner = inner.filter(|(listener, _)| listener.side == Side::Internal);
    Peers {
        rule: convert::address_rule(config),
        external: av.external_networks.clone(),
        internal: av.internal_networks.clone(),
        inside: inner.map(|(_, number)| number).collect(),
        pool: pool(config),
        tcp_low_ports: av.tcp_low_ports.clone(),
    }
}

/// Returns the relays of the pool beside that of this edge.
fn pool(config: &Config) -> Vec<PoolRelay> {
    let others = config.pool.iter().flat_map(|pool| pool.others(config));
    let relay = |edge: &config::PoolEdge| PoolRelay {
        name: edge.name.clone(),
        relayed: edge.relayed.clone(),
        ports: edge.ports.clone(),
        listeners: edge.listeners.clone(),
    };
    others.map(relay).collect()
}

pub(super) fn quotas(config: &Config) -> Quotas {
    let av = &config.av;
    Quotas {
        allocations: av.allocations,
        allocations_per_user: av.allocations_per_user,
        allocations_per_partner: av.allocations_per_partner,
        allocations_per_source: av.allocations_per_source,
        tcp_allocations: av.tcp_allocations,
        allocation_kbit_s: av.allocation_kbit_s,
        user_kbit_s: av.user_kbit_s,
    }
}
