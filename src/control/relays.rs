//! The A/V Edge as control starts, feeds and ends it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::convert;
use super::start::Running;
use crate::admin::{Outcome, RelayOrder, Reply};
use crate::config::{self, AvListener, Config};
use crate::dns::Domain;
use crate::edge::av::{
    self, Admission, Client, Credentials, Dropped, Listener, MrasKey, Peers, Ports, Quotas,
    RelayedAddress, Secret, Transport,
};
use crate::edge::{Class, Side};
use crate::limits;
use crate::metrics::{Exporter, catalogue};
use crate::policy::{IssuingKey, Location, MediaCredentials, MediaRelay};
use crate::poll::Choice;
use crate::relay::{self, Handle, Listed, Listing, Observed};
use crate::time::Clock;
use crate::tls;

/// How often a drain looks whether it is over.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// The running relay, or none. Readers of its counters meet its start and its end.
#[derive(Debug, Default)]
pub(super) struct Relays(Mutex<Option<Arc<Handle>>>);

fn setup(config: &Config, material: &tls::Material, seed: &[u64; 2]) -> relay::Setup {
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
pub(super) fn tls_plan(config: &Config) -> impl Iterator<Item = tls::ListenerPlan> {
    let identities = config.av_listeners.iter().filter_map(|listener| identity(config, listener));
    identities.map(|identity| tls::ListenerPlan {
        class: Class::RemoteUsers,
        identity: identity.name.clone(),
    })
}

/// Returns what was built of [`tls_plan`], one for each listener.
fn tls_servers(config: &Config, material: &tls::Material) -> Vec<Option<Arc<tls::Server>>> {
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
pub(super) fn realm(config: &Config) -> String {
    let realm = config.av.realm.as_ref().or_else(|| config.edge.domains.first());
    realm.map(ToString::to_string).unwrap_or_default()
}

fn relayed(config: &Config) -> Vec<RelayedAddress> {
    let av = &config.av;
    let public =
        |place: usize, bound: IpAddr| av.relayed_public.get(place).copied().unwrap_or(bound);
    let relayed = av.relayed.iter().enumerate();
    relayed
        .map(|(place, bound)| RelayedAddress { bound: *bound, public: public(place, *bound) })
        .collect()
}

fn ports(config: &Config) -> Ports {
    let av = &config.av;
    if av.shared_ports.is_empty() {
        Ports::Range { first: av.ports_first, count: av.ports_count }
    } else {
        Ports::Shared(av.shared_ports.clone())
    }
}

/// Returns how many descriptors the relay may use: a port for each allocation, streams, doors.
pub(super) fn descriptors(config: &Config) -> usize {
    let av = &config.av;
    if config.av_listeners.is_empty() {
        return 0;
    }
    let relayed = match av.shared_ports.len() {
        0 => usize::from(av.ports_count).min(av.allocations),
        shared => shared,
    };
    let streams = config.av_listeners.iter().any(|of| of.transport == Transport::Stream);
    let streams = if streams { limits::RELAY_STREAMS_MAX.min(av.allocations) } else { 0 };
    // Each TCP connection with a peer has another one with its client, which is among the streams.
    let peers =
        if streams > 0 && av.tcp_allocations > 0 { limits::TURN_CONNECTIONS_MAX } else { 0 };
    relayed * av.relayed.len() + streams + peers + config.av_listeners.len()
}

/// Returns whom the relay of `config` believes.
#[must_use]
pub fn relay_credentials(config: &Config) -> Credentials {
    let rest = config.av_secrets.0.iter().map(|secret| Secret::new(secret)).collect();
    let mras = config.media_secrets().map(|secret| MrasKey::new(&issuing_key(secret).0)).collect();
    Credentials { rest, mras }
}

fn issuing_key(secret: &config::Secret) -> IssuingKey {
    IssuingKey(derived(secret, b"entente mras 1"))
}

/// Returns what credentials are made from where servers inside ask for them; `None`: nobody can.
pub(super) fn media_credentials(config: &Config) -> Option<MediaCredentials> {
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
    let public = relayed(config);
    let is_own = |ip: &&IpAddr| public.iter().any(|own| [own.public, own.bound].contains(*ip));
    Peers {
        rule: convert::address_rule(config),
        external: av.external_networks.clone(),
        internal: av.internal_networks.clone(),
        inside: inner.map(|(_, number)| number).collect(),
        siblings: av.pool_relayed.iter().filter(|ip| !is_own(ip)).copied().collect(),
        tcp_low_ports: av.tcp_low_ports.clone(),
    }
}

fn quotas(config: &Config) -> Quotas {
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

impl Relays {
    /// Starts what `config` wants; nothing without an `[[av_listener]]`.
    ///
    /// `seed`: random, for keys that no secret of the pool stands for.
    /// # Errors
    /// In an operator's words: an address cannot be bound.
    pub(super) fn start(
        &self,
        config: &Config,
        material: &tls::Material,
        clock: &Clock,
        seed: &[u64; 2],
    ) -> anyhow::Result<()> {
        if config.av_listeners.is_empty() {
            return Ok(());
        }
        let handle = relay::spawn(setup(config, material, seed), *clock);
        let handle = handle.context("the A/V Edge cannot start")?;
        let listeners: Vec<String> = handle.listeners().iter().map(ToString::to_string).collect();
        let (listeners, path) = (listeners.join(", "), handle.poller());
        let (trains, threads) = (handle.trains(), handle.threads());
        tracing::info!(listeners, path, trains, threads, "the A/V Edge serves");
        *self.held() = Some(Arc::new(handle));
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Handle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> Option<Arc<Handle>> {
        self.held().clone()
    }

    /// Puts what a reload may change in force; allocations stay.
    pub(super) fn adopt(&self, config: &Config, material: &tls::Material) {
        if let Some(handle) = self.handle() {
            handle.adopt_tls(&tls_servers(config, material));
            handle.adopt(relay_credentials(config), relay_peers(config), quotas(config));
        }
    }

    /// Takes no new allocations from here on.
    pub(super) fn announce_drain(&self, config: &Config) {
        if let Some(handle) = self.handle() {
            handle.admit(Admission::Draining { alternate: config.av.drain_to });
        }
    }

    /// Takes new allocations again.
    fn open(&self) {
        if let Some(handle) = self.handle() {
            handle.admit(Admission::Open);
        }
    }

    /// Waits until few enough allocations are left, at most `patience`, and ends.
    pub(super) fn drain(&self, config: &Config, patience: Duration) {
        let Some(handle) = self.handle() else { return };
        handle.admit(Admission::Draining { alternate: config.av.drain_to });
        let looks = patience.as_millis() / DRAIN_LOOK.as_millis();
        // Asked, since what was observed may be a second old and lack the allocation made last.
        let left = || handle.list(usize::MAX).allocations;
        for _ in 0..looks {
            if left() <= config.av.drain_below {
                break;
            }
            std::thread::sleep(DRAIN_LOOK);
        }
        let left = left();
        tracing::info!(left, "the A/V Edge ends");
        drop(handle);
        self.end();
    }

    /// Ends the relay and every allocation. A second call finds none left.
    pub(super) fn end(&self) {
        // Its thread has ended when the last who holds it lets go.
        drop(self.held().take());
    }

    /// Returns how the relay was at most a second ago.
    pub(super) fn observed(&self) -> Option<Observed> {
        self.handle().map(|handle| handle.observed())
    }

    /// Returns what `/status` shows; null where no relay runs.
    pub(super) fn status(&self) -> Value {
        let Some(handle) = self.handle() else { return Value::Null };
        let observed = handle.observed();
        json!({
            "listeners": handle.listeners().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "path": handle.poller(),
            "trains": handle.trains(),
            "threads": handle.threads(),
            "allocations": observed.allocations,
            "free_ports": observed.free_ports,
            "users": observed.users,
            "connections": observed.connections,
            "streams": observed.streams,
            "draining": observed.draining,
            "kbit_s": observed.outlook.kbit_s,
            "ports_run_out_s": observed.outlook.ports_run_out_s,
            "allocations_run_out_s": observed.outlook.allocations_run_out_s,
            "bandwidth_run_out_s": observed.outlook.bandwidth_run_out_s,
        })
    }

    /// Tells the same with how long a drain takes, or would.
    fn full_status(&self, config: &Config) -> Option<Value> {
        let handle = self.handle()?;
        let mut status = self.status();
        let below = config.av.drain_below;
        let drained_s = handle.observed().outlook.drained_s(below);
        status["drain_below"] = json!(below);
        status["drained_s"] = json!(drained_s);
        status["drained_unrefreshed_s"] = json!(handle.unrefreshed_s(below));
        Some(status)
    }

    /// Lists allocations, from the one after `skip` on.
    pub(super) fn list(&self, skip: usize) -> Option<Value> {
        let handle = self.handle()?;
        let Listing { allocations, free_ports, listed } = handle.list(skip);
        let listed: Vec<Value> = listed.iter().map(told).collect();
        Some(json!({
            "allocations": allocations,
            "free_ports": free_ports,
            "skipped": skip,
            "listed": listed,
        }))
    }

    /// Ends the allocation of the client at `remote`, by whatever listener it came; `None` where
    /// no relay runs.
    pub(super) fn kill(&self, remote: SocketAddr) -> Option<bool> {
        let handle = self.handle()?;
        let listeners = handle.listeners().len() as u16;
        let clients = (0..listeners).flat_map(|listener| {
            [Transport::Udp, Transport::Stream].map(|transport| Client {
                listener,
                transport,
                remote,
            })
        });
        // Not `any`: the same address may have come by two listeners.
        Some(clients.map(|client| handle.kill(client)).fold(false, |one, other| one | other))
    }

    pub(super) fn export(&self, exporter: &mut Exporter) {
        let Some(observed) = self.observed() else { return };
        let Observed { core, shell, free_ports, streams, classes, .. } = observed;
        let Observed { connections, users, draining, outlook, .. } = observed;
        let av::Classes { udp, tcp, microsoft } = classes;
        for (class, count) in [("udp", udp), ("tcp", tcp), ("microsoft", microsoft)] {
            exporter.set(&catalogue::RELAY_ALLOCATIONS, &[class], count as u64);
        }
        if let Some(free) = free_ports {
            exporter.set(&catalogue::RELAY_FREE_PORTS, &[], free as u64);
        }
        let made = core.allocations - core.ms_allocations;
        let made = made - core.tcp_allocations;
        exporter.set(&catalogue::RELAY_ALLOCATED, &["rfc"], made);
        exporter.set(&catalogue::RELAY_ALLOCATED, &["rfc_tcp"], core.tcp_allocations);
        exporter.set(&catalogue::RELAY_ALLOCATED, &["microsoft"], core.ms_allocations);
        exporter.set(&catalogue::RELAY_EXPIRED, &[], core.expired);
        exporter.set(&catalogue::RELAY_ERRORS, &[], core.errors);
        let traffic = core.traffic;
        exporter.set(&catalogue::RELAY_DATAGRAMS, &["to_peer"], traffic.to_peers);
        exporter.set(&catalogue::RELAY_DATAGRAMS, &["to_client"], traffic.to_client);
        exporter.set(&catalogue::RELAY_BYTES, &["to_peer"], traffic.bytes_to_peers);
        exporter.set(&catalogue::RELAY_BYTES, &["to_client"], traffic.bytes_to_client);
        exporter.set(&catalogue::RELAY_WITHIN, &[], core.within);
        for (reason, count) in Dropped::ALL.iter().zip(core.dropped) {
            exporter.set(&catalogue::RELAY_DROPPED, &[reason.label()], count);
        }
        let of_kernel = [
            ("oversized", shell.oversized),
            ("buffer_full", shell.full),
            ("refused", shell.refused),
        ];
        for (reason, count) in of_kernel {
            exporter.set(&catalogue::RELAY_DROPPED, &[reason], count);
        }
        exporter.set(&catalogue::RELAY_UNOPENED, &[], shell.unopened);
        exporter.set(&catalogue::RELAY_TURNS, &[], shell.turns);
        exporter.set(&catalogue::RELAY_STREAMS, &[], streams as u64);
        exporter.set(&catalogue::RELAY_CONNECTIONS, &[], connections as u64);
        exporter.set(&catalogue::RELAY_CONNECTED, &[], core.connections);
        exporter.set(&catalogue::RELAY_USERS, &[], users as u64);
        exporter.set(&catalogue::RELAY_DRAINING, &[], u64::from(draining));
        let outlook = [
            ("ports", outlook.ports_run_out_s),
            ("allocations", outlook.allocations_run_out_s),
            ("bandwidth", outlook.bandwidth_run_out_s),
        ];
        for (what, seconds) in outlook {
            if let Some(seconds) = seconds {
                exporter.set(&catalogue::RELAY_RUNS_OUT, &[what], seconds);
            }
        }
        exporter.set(&catalogue::RELAY_STREAMS_REFUSED, &[], shell.streams_refused);
    }
}

impl Running {
    /// Returns the first allocations of the relay, at most [`limits::RELAY_LISTED_MAX`]; none where
    /// no relay runs.
    #[must_use]
    pub fn allocations(&self) -> Vec<Listed> {
        self.board.relays.handle().map_or_else(Vec::new, |handle| handle.list(0).listed)
    }

    /// Carries out an order for the relay; `who` gave it, for the log.
    pub(super) fn relay(&self, order: &RelayOrder, who: &str) -> Reply {
        let relays = &self.board.relays;
        let body = match order {
            RelayOrder::List { skip } => relays.list(*skip),
            RelayOrder::Kill { client } => {
                let killed = relays.kill(*client);
                if killed == Some(true) {
                    tracing::info!(%client, "an allocation was ended, asked by {who}");
                }
                killed.map(|killed| json!({ "ended": killed }))
            }
            RelayOrder::Status => relays.full_status(&self.board.config.load()),
            RelayOrder::Drain => relays.observed().map(|observed| {
                tracing::info!("drain of the A/V Edge asked by {who}");
                let config = self.board.config.load();
                relays.announce_drain(&config);
                let status = relays.full_status(&config);
                status.unwrap_or_else(|| json!({ "allocations": observed.allocations }))
            }),
            RelayOrder::Open => relays.observed().map(|observed| {
                tracing::info!("the A/V Edge takes allocations again, asked by {who}");
                relays.open();
                json!({ "allocations": observed.allocations })
            }),
        };
        match body {
            Some(body) => Reply { outcome: Outcome::Done, body },
            None => Reply::not_done(Outcome::Conflict, "this edge has no [[av_listener]]"),
        }
    }
}

fn told(listed: &Listed) -> Value {
    let ports: Vec<u16> = listed.ports.iter().map(|port| port.port).collect();
    json!({
        "client": listed.client.remote.to_string(),
        "listener": listed.client.listener,
        "transport": match listed.client.transport {
            Transport::Udp => "udp",
            Transport::Stream => "stream",
        },
        "relayed_ports": ports,
        "datagrams_to_peers": listed.traffic.to_peers,
        "bytes_to_peers": listed.traffic.bytes_to_peers,
        "datagrams_to_client": listed.traffic.to_client,
        "bytes_to_client": listed.traffic.bytes_to_client,
        "ends_in_s": listed.ends_in_s,
    })
}
