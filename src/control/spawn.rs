//! The shards of an edge: each with the core of its role, and the same ties to everything else.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use crossbeam::channel;
use tokio::sync::mpsc;

use super::authorisations::Keeper;
use super::board::{self, AccessCells, Board};
use super::keys::Keys;
use super::roles::Roles;
use super::start::Options;
use crate::config::{self, Config};
use crate::edge::access::{self, Access};
use crate::edge::gateway::{self, Gateway};
use crate::edge::xmpp_proxy::{self, XmppProxy};
use crate::edge::{Class, Note};
use crate::limits;
use crate::policy::Snapshot;
use crate::poll;
use crate::shard::{self, Links, Published};

/// A shard's thread and the name of what it waits by.
pub(super) type Started = (JoinHandle<io::Result<()>>, &'static str);

/// What all shards of a process are started with.
pub(super) struct Spawning<'a> {
    pub(super) board: &'a Arc<Board>,
    pub(super) published: &'a Arc<Published>,
    pub(super) options: &'a Options,
    pub(super) roles: Roles,
    pub(super) keys: Keys,
    pub(super) ties: Ties,
    /// What the store of a gateway holds.
    pub(super) remembered: Vec<gateway::Authorisation>,
    /// Writes to that store.
    pub(super) keeper: Option<Arc<Keeper>>,
}

/// The ends of the channels that every shard gets a copy of.
pub(super) struct Ties {
    pub(super) questions: mpsc::Sender<(u16, crate::dns::Question)>,
    pub(super) retired: channel::Sender<Arc<Snapshot>>,
    pub(super) notes: channel::Sender<(u16, Note)>,
    pub(super) decisions: channel::Sender<shard::DecidedOn>,
}

impl Spawning<'_> {
    /// Starts shard `number` with its listeners.
    ///
    /// # Errors
    /// The kernel's, as [`shard::spawn`].
    pub(super) fn spawn(
        &mut self,
        number: usize,
        listeners: Vec<shard::ListenerSocket>,
    ) -> anyhow::Result<Started> {
        let config = self.board.config.load_full();
        let setup = setup(&config, number, listeners)?;
        let started = if self.roles.xmpp_proxy().contains(&number) {
            self.xmpp_proxy(setup)
        } else if self.roles.gateway().contains(&number) {
            self.gateway(&config, setup)
        } else {
            self.access(&config, number, setup)
        };
        started.with_context(|| format!("shard {number} cannot start"))
    }

    fn access(
        &self,
        config: &Config,
        number: usize,
        setup: shard::Setup,
    ) -> anyhow::Result<Started> {
        let of_core = self.access_setup(config, number)?;
        let board = Arc::clone(self.board);
        let observe = move |core: &Access| AccessCells::publish(&board.access[number], core);
        let body_bytes_max = config.limits.message_bytes;
        let scores = Arc::clone(&self.board.scores);
        let make = move |snapshot| {
            Access::sharing(of_core, snapshot, scores).with_body_bytes_max(body_bytes_max)
        };
        let links = self.links(Box::new(observe));
        Ok(shard::spawn(setup, links, self.board.clock, make)?)
    }

    fn access_setup(&self, config: &Config, shard: usize) -> anyhow::Result<access::Setup> {
        let shards = self.roles.access().len();
        Ok(access::Setup {
            first_generation: 0,
            shard: u16::try_from(shard)?,
            shards: u16::try_from(shards)?,
            transactions: config.limits.transactions / shards,
            external_port: board::port(config, Class::Federation, 5061),
            internal_port: board::port(config, Class::Internal, 5061),
            remote_port: board::port(config, Class::RemoteUsers, 443),
            process_key: self.keys.process,
            pool_keys: self.keys.pool.clone(),
            seed: self.keys.seed.wrapping_add(shard as u64),
            idle_timeout_ms: config.edge.idle_timeout_s * 1000,
            ping_interval_ms: config.edge.ping_interval_s * 1000,
            explain: self.options.explain,
        })
    }

    fn xmpp_proxy(&self, setup: shard::Setup) -> anyhow::Result<Started> {
        let of_core = xmpp_proxy::Setup {
            process_key: self.keys.process,
            secrets: self.keys.dialback.clone(),
            seed: self.keys.seed,
            explain: self.options.explain,
        };
        let board = Arc::clone(self.board);
        let observe = move |core: &XmppProxy| board.xmpp_proxy.publish(core);
        let make = move |snapshot| XmppProxy::new(of_core, snapshot);
        let links = self.links(Box::new(observe));
        Ok(shard::spawn(setup, links, self.board.clock, make)?)
    }

    fn gateway(&mut self, config: &Config, setup: shard::Setup) -> anyhow::Result<Started> {
        let of_core = gateway::Setup {
            remembered: std::mem::take(&mut self.remembered),
            seed: self.keys.seed,
            ..gateway_setup(config, self.keys.process)
        };
        let board = Arc::clone(self.board);
        let observe = move |core: &Gateway| board.gateway.publish(core);
        let make = move |snapshot| Gateway::new(of_core, snapshot);
        let remember = self
            .keeper
            .take()
            .map(|keeper| -> shard::Remember { Box::new(move |changes| keeper.take(changes)) });
        let links = Links { remember, ..self.links(Box::new(observe)) };
        Ok(shard::spawn(setup, links, self.board.clock, make)?)
    }

    /// Returns what ties one shard to the rest.
    fn links<C>(&self, observe: shard::Observe<C>) -> Links<C> {
        Links {
            fabric: Arc::clone(&self.board.fabric),
            published: Arc::clone(self.published),
            retired: self.ties.retired.clone(),
            questions: self.ties.questions.clone(),
            notes: self.ties.notes.clone(),
            decisions: Some(self.ties.decisions.clone()),
            observe: Some(observe),
            remember: None,
        }
    }
}

/// Returns what the configuration says of the gateway.
fn gateway_setup(config: &Config, process_key: [u64; 2]) -> gateway::Setup {
    let said = &config.gateway;
    let edges = config.gateway_edges.iter().map(|edge| gateway::EdgeAddress {
        name: edge.name.clone(),
        port: edge.port,
        addresses: edge.addresses.clone(),
    });
    let seconds = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let single =
        gateway::Setup::single(process_key, config.internal_fqdn().clone(), edges.collect());
    gateway::Setup {
        sip_port: said.listen.first().map_or(5061, std::net::SocketAddr::port),
        subscription_refresh_s: seconds(said.subscription_refresh_s),
        chat_idle_s: seconds(said.chat_idle_s),
        answer_timeout_s: seconds(said.answer_timeout_s),
        busy_as: match said.dnd {
            config::Dnd::DoNotDisturb => gateway::BusyAs::DoNotDisturb,
            config::Dnd::Busy => gateway::BusyAs::Busy,
        },
        ..single
    }
}

/// Returns what every shard is, whatever its role.
fn setup(
    config: &Config,
    number: usize,
    listeners: Vec<shard::ListenerSocket>,
) -> anyhow::Result<shard::Setup> {
    let edge = &config.edge;
    let closing_s = edge.drain_timeout_s.saturating_sub(edge.drain_notice_s);
    Ok(shard::Setup {
        listeners,
        core: edge.cores.get(number).copied(),
        poller: match edge.poller {
            config::Poller::Auto => poll::Choice::Auto,
            config::Poller::IoUring => poll::Choice::IoUring,
            config::Poller::Epoll => poll::Choice::Epoll,
        },
        settings: shard::Settings {
            coalesce_us: u32::try_from(edge.coalesce_us).unwrap_or(limits::COALESCE_US_MAX),
            handshake_ms: config.tls.handshake_timeout_ms,
            drain_timeout_ms: closing_s * 1000,
            ..shard::Settings::new(u16::try_from(number)?)
        },
    })
}
