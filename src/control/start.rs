//! Starting, reloading and draining one edge.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossbeam::channel;
use ring::rand::SecureRandom as _;
use tokio::sync::{mpsc, oneshot};
use tracing_appender::non_blocking::ErrorCounter;

use super::board::{self, AccessCells, Board, Stage};
use super::crl;
use super::listeners::listen;
use super::roles::{Roles, shard_count};
use super::{convert, decisions, log, notes, scores};
use crate::admin::{self, View as _};
use crate::config::{self, Config};
use crate::dns::resolver::{self, Asked, Resolver};
use crate::edge::access::{self, Access, PoolKey, PoolKeys};
use crate::edge::xmpp_proxy::{self, XmppProxy};
use crate::edge::{Class, Drain, Note};
use crate::limits;
use crate::policy::{self, Snapshot};
use crate::poll;
use crate::shard::{self, Budget, Fabric, Links, Published};
use crate::time::Clock;
use crate::tls;
use crate::xmpp::dialback;

/// How often the control thread looks after the shards.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two moments at which idle shards are woken, so that one that hangs is noticed.
const WAKE_EVERY_TICKS: u64 = 5;
/// Ticks between two reports on the partners under limits: an hour, the product's own period.
const REPORT_EVERY_TICKS: u64 = 3_600;
/// One in so many connections is kept for outgoing ones.
const OUTGOING_SHARE: usize = 8;

/// What is not in the configuration file.
#[derive(Debug, Default)]
pub struct Options {
    /// Where notes of the shards go; `None`: to the log, sampled.
    pub notes: Option<channel::Sender<(u16, Note)>>,
    /// Leaves a note for every decision, permits too.
    pub explain: bool,
    /// Writes TLS session keys there, for captures in tests.
    pub key_log: Option<PathBuf>,
    /// Counts the lines that the writer of the log has dropped.
    pub log_dropped: Option<ErrorCounter>,
    /// Keys the names of discovered partners; [`start`] draws it, and it holds for the process.
    pub discovery_key: [u64; 2],
    /// Listening sockets that the service manager has opened, each for the listener of its address.
    pub sockets: Vec<TcpListener>,
    /// Who carries out what is asked on the admin socket; without it none is opened.
    pub orders: Option<mpsc::Sender<admin::Order>>,
}

/// A running edge. To end it, [`Running::drain_and_wait`]; dropped, it ends without notice.
pub struct Running {
    pub(super) board: Arc<Board>,
    pub(super) published: Arc<Published>,
    pub(super) lists: Arc<crl::Lists>,
    pub(super) options: Options,
    shards: Vec<JoinHandle<io::Result<()>>>,
    control: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    notes: Option<JoinHandle<()>>,
    decisions: Option<JoinHandle<()>>,
    freeing: Option<JoinHandle<()>>,
    admin: admin::Running,
    _locks: shard::Locks,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("epoch", &self.board.epoch()).finish_non_exhaustive()
    }
}

/// Starts an edge and returns once it accepts connections.
///
/// Several edges can run in one process, as long as their addresses differ.
/// # Errors
/// In an operator's words: a contradiction of the policy, a file of TLS, an address that cannot be
/// listened on. Nothing is left running then.
pub fn start(config: Config, mut options: Options) -> anyhow::Result<Running> {
    refuse_what_no_shell_runs(&config)?;
    let clock = Clock::start();
    options.discovery_key = keys(&config)?.process;
    let (snapshot, material) = compile(&config, 1, &clock, &options)?;
    let roles = Roles::of(&config)?;
    raise_descriptors(&config);
    let passed = std::mem::take(&mut options.sockets);
    let (sockets, locks) = listen(&config, &roles, passed)?;
    let fabric = Fabric::of_roles(&roles.sizes(), budget(&config));
    let fabric = fabric.context("no descriptors for the shards")?;
    let log_dropped = options.log_dropped.clone();
    let scores = Arc::new(policy::Scores::new(options.discovery_key));
    let (reports, reported) = tls::Reports::new();
    let lists = Arc::new(crl::Lists::new(Arc::clone(&fabric), Arc::new(reports)));
    let material = lists.first(&material, &config);
    let published_lists = Arc::clone(&lists);
    let board =
        Board::new(clock, Arc::clone(&fabric), roles, config, scores, log_dropped, published_lists);
    let board = Arc::new(board);
    board.set_epoch(1);
    board.certificates.store(Arc::new(super::certificates(&material)));
    let published = Arc::new(Published::new(Arc::new(snapshot), Arc::new(material)));
    lists.publish_to(Arc::clone(&published));

    let view: Arc<dyn admin::View> = Arc::clone(&board) as Arc<dyn admin::View>;
    let management = board.config.load().management.clone();
    let desk = management.socket.clone().zip(options.orders.take());
    let desk = desk.map(|(path, orders)| admin::Desk { path, orders });
    let admin = admin::start(&management.listen, desk, view)?;
    let (notes_to, notes) = notes_channel(&options, &board)?;
    board.decisions.put_in_force(1, &board.config.load_full());
    let (decisions_to, decided) = channel::bounded(decisions::DECISIONS_WAITING_MAX);
    let decisions = decisions::spawn(decided, Arc::clone(&board.decisions), clock)?;
    let (control, questions) = spawn_control(&board, roles.total(), &lists, reported)?;
    let (retired, retirees) = channel::unbounded();
    let freeing = super::behind::free_behind(retirees)?;
    let material = published.material.load_full();
    board.relays.start(&board.config.load(), &material, &clock, &options.discovery_key)?;
    let mut running = Running {
        board,
        published,
        lists,
        options,
        shards: Vec::with_capacity(roles.total()),
        control: Some(control),
        notes,
        decisions: Some(decisions),
        freeing: Some(freeing),
        admin,
        _locks: locks,
    };
    let links = Ties { questions, retired, notes: notes_to, decisions: decisions_to };
    // Dropping `running` on an error ends the shards that have been started.
    running.spawn_shards(&roles, sockets, &links)?;
    running.board.set_stage(Stage::Serving);
    Ok(running)
}

/// Refuses a role that can be stated, checked, planned and explained, and that nothing here runs.
fn refuse_what_no_shell_runs(config: &Config) -> anyhow::Result<()> {
    if config.runs_gateway() {
        bail!("this version does not run the XMPP gateway: take [gateway] and its edges out");
    }
    Ok(())
}

/// The ends of the channels that every shard gets a copy of.
struct Ties {
    questions: mpsc::Sender<(u16, crate::dns::Question)>,
    retired: channel::Sender<Arc<Snapshot>>,
    notes: channel::Sender<(u16, Note)>,
    decisions: channel::Sender<shard::DecidedOn>,
}

impl Running {
    /// Returns where metrics and health are asked, with the ports the kernel chose.
    #[must_use]
    pub fn management(&self) -> Vec<SocketAddr> {
        self.admin.addresses().to_vec()
    }

    /// Returns what the shards wait by.
    #[must_use]
    pub fn poller(&self) -> &'static str {
        self.board.poller()
    }

    /// Returns why the process should be started again; empty while it need not.
    #[must_use]
    pub fn dead(&self) -> Vec<String> {
        self.board.dead()
    }

    /// Returns the number of the configuration in force.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.board.epoch()
    }

    /// Makes a panic of any thread leave a line with shard, leg and epoch. Once per process.
    pub fn tell_panics(&self) {
        let board = Arc::clone(&self.board);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let shard = thread.name().and_then(|name| name.strip_prefix("shard-"));
            let shard: Option<u16> = shard.and_then(|number| number.parse().ok());
            let leg = shard.and_then(|shard| board.fabric.serving(shard));
            let epoch = board.epoch();
            eprintln!("entente: failed assertion: shard {shard:?}, leg {leg:?}, epoch {epoch}");
            before(panic);
        }));
    }

    /// Makes readiness fail, so that balancers send nothing new; [`Running::drain_and_wait`] goes
    /// on from there.
    pub fn announce_drain(&self) {
        self.board.set_stage(Stage::Notice);
        self.published.drain(Drain::Notice);
        self.board.fabric.wake_all();
        self.board.relays.announce_drain(&self.board.config.load());
    }

    /// Drains as DESIGN 9 says and returns when every shard has ended.
    ///
    /// Readiness fails at once; after `drain_notice_s` listeners close; what is left is closed at
    /// the latest when `drain_timeout_s` are over.
    /// # Errors
    /// A shard ended in another way than by its drain.
    pub fn drain_and_wait(mut self) -> anyhow::Result<()> {
        self.announce_drain();
        let config = self.board.config.load_full();
        std::thread::sleep(Duration::from_secs(config.edge.drain_notice_s));
        // Media ends beside signalling, each in its own time.
        let board = Arc::clone(&self.board);
        let relays = std::thread::spawn(move || {
            let left_s = config.edge.drain_timeout_s.saturating_sub(config.edge.drain_notice_s);
            board.relays.drain(&config, Duration::from_secs(left_s));
        });
        let closed = self.close();
        // Its panic was told by the hook.
        let _ = relays.join();
        closed
    }

    /// Closes listeners and waits for the shards to end. A second call finds none left.
    fn close(&mut self) -> anyhow::Result<()> {
        self.board.set_stage(Stage::Closing);
        self.published.drain(Drain::Closing);
        self.board.fabric.wake_all();
        let mut result = Ok(());
        for (number, thread) in self.shards.drain(..).enumerate() {
            let ended = match thread.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(anyhow::Error::new(error)),
                Err(_) => Err(anyhow::anyhow!("it panicked")),
            };
            result = result.and(ended.with_context(|| format!("shard {number} ended")));
        }
        if let Some((stop, thread)) = self.control.take() {
            drop(stop);
            // Its panic was told by the hook.
            let _ = thread.join();
        }
        for thread in [self.notes.take(), self.decisions.take(), self.freeing.take()] {
            let _ = thread.map(JoinHandle::join);
        }
        result
    }

    fn spawn_shards(
        &mut self,
        roles: &Roles,
        sockets: Vec<Vec<shard::ListenerSocket>>,
        ties: &Ties,
    ) -> anyhow::Result<()> {
        let config = self.board.config.load_full();
        let keys = keys(&config)?;
        for (number, listeners) in sockets.into_iter().enumerate() {
            let started = if roles.xmpp_proxy().contains(&number) {
                self.spawn_xmpp_proxy(&config, &keys, number, listeners, ties)
            } else {
                self.spawn_access(&config, &keys, number, listeners, ties)
            };
            let (thread, poller) =
                started.with_context(|| format!("shard {number} cannot start"))?;
            self.shards.push(thread);
            self.board.set_poller(poller);
        }
        Ok(())
    }

    fn spawn_access(
        &self,
        config: &Config,
        keys: &Keys,
        number: usize,
        listeners: Vec<shard::ListenerSocket>,
        ties: &Ties,
    ) -> anyhow::Result<Started> {
        let of_core = access_setup(config, keys, number, &self.options)?;
        let board = Arc::clone(&self.board);
        let observe = move |core: &Access| {
            AccessCells::publish(&board.access[number], core);
        };
        let body_bytes_max = config.limits.message_bytes;
        let scores = Arc::clone(&self.board.scores);
        let make = move |snapshot| {
            Access::sharing(of_core, snapshot, scores).with_body_bytes_max(body_bytes_max)
        };
        let setup = shard_setup(config, number, listeners)?;
        let links = ties.links(&self.board, &self.published, Box::new(observe));
        Ok(shard::spawn(setup, links, self.board.clock, make)?)
    }

    fn spawn_xmpp_proxy(
        &self,
        config: &Config,
        keys: &Keys,
        number: usize,
        listeners: Vec<shard::ListenerSocket>,
        ties: &Ties,
    ) -> anyhow::Result<Started> {
        let of_core = xmpp_proxy_setup(config, keys);
        let board = Arc::clone(&self.board);
        let observe = move |core: &XmppProxy| board.xmpp_proxy.publish(core);
        let make = move |snapshot| XmppProxy::new(of_core, snapshot);
        let setup = shard_setup(config, number, listeners)?;
        let links = ties.links(&self.board, &self.published, Box::new(observe));
        Ok(shard::spawn(setup, links, self.board.clock, make)?)
    }
}

/// A shard's thread and the name of what it waits by.
type Started = (JoinHandle<io::Result<()>>, &'static str);

impl Ties {
    /// Returns what ties one shard to the rest.
    fn links<C>(
        &self,
        board: &Board,
        published: &Arc<Published>,
        observe: shard::Observe<C>,
    ) -> Links<C> {
        Links {
            fabric: Arc::clone(&board.fabric),
            published: Arc::clone(published),
            retired: self.retired.clone(),
            questions: self.questions.clone(),
            notes: self.notes.clone(),
            decisions: Some(self.decisions.clone()),
            observe: Some(observe),
        }
    }
}

/// Returns what every shard is, whatever its role.
fn shard_setup(
    config: &Config,
    number: usize,
    listeners: Vec<shard::ListenerSocket>,
) -> anyhow::Result<shard::Setup> {
    Ok(shard::Setup {
        listeners,
        core: config.edge.cores.get(number).copied(),
        poller: match config.edge.poller {
            config::Poller::Auto => poll::Choice::Auto,
            config::Poller::IoUring => poll::Choice::IoUring,
            config::Poller::Epoll => poll::Choice::Epoll,
        },
        settings: settings(config, u16::try_from(number)?),
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.shards.is_empty() || self.control.is_some() {
            // Whoever drops it does not wait for its result.
            let _ = self.close();
        }
        self.board.relays.end();
    }
}

/// Returns the policy that an edge with `config` would have, to ask it without running one.
///
/// # Errors
/// In an operator's words: the policy contradicts itself.
pub fn policy(config: &Config) -> anyhow::Result<Snapshot> {
    compile_policy(config, 1, &Options::default())
}

/// Compiles policy and TLS material number `epoch`.
pub(super) fn compile(
    config: &Config,
    epoch: u64,
    clock: &Clock,
    options: &Options,
) -> anyhow::Result<(Snapshot, tls::Material)> {
    let snapshot = compile_policy(config, epoch, options)?;
    let now_unix_s = clock.now().unix_s;
    let plan = convert::tls_plan(config, epoch, now_unix_s, options.key_log.clone());
    let material = tls::Material::build(&plan)?;
    Ok((snapshot, material))
}

/// Compiles the policy of `config` as number `epoch`; reads no file.
pub(super) fn compile_policy(
    config: &Config,
    epoch: u64,
    options: &Options,
) -> anyhow::Result<Snapshot> {
    let snapshot = policy::compile(convert::rules(config), epoch).map_err(|contradictions| {
        let told: Vec<String> =
            contradictions.iter().map(|found| convert::contradiction(config, found)).collect();
        anyhow::anyhow!("the policy contradicts itself: {}", told.join("; "))
    })?;
    let telling = policy::Telling {
        permits: log::tells_permits(&config.log.level),
        verdicts: config.log.decisions.is_some(),
    };
    Ok(snapshot
        // Without a secret a stranger could search for a domain that shares a partner's key.
        .keyed(options.discovery_key)
        .with_throttles(super::throttles(config))
        .with_outgoing(super::outgoing(config))
        .with_telling(telling)
        .with_directory(Arc::clone(&config.directory)))
}

/// Asks for as many descriptors as the limits amount to; fewer only make accepting pause earlier.
fn raise_descriptors(config: &Config) {
    let needed = (config.limits.connections + limits::OTHER_DESCRIPTORS) as u64;
    match poll::epoll::raise_descriptors(needed) {
        Ok(allowed) if allowed < needed => tracing::warn!(
            allowed,
            needed,
            "fewer descriptors than the limits amount to; raise LimitNOFILE"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of descriptors cannot be read"),
    }
}

fn budget(config: &Config) -> Budget {
    let connections = config.limits.connections;
    // The configuration has at least 16, so that something is left to accept.
    Budget::new(connections, connections.div_ceil(OUTGOING_SHARE), config.limits.half_open)
        .with_half_open_per_source(config.limits.half_open_per_source)
}

fn settings(config: &Config, shard: u16) -> shard::Settings {
    let edge = &config.edge;
    let closing_s = edge.drain_timeout_s.saturating_sub(edge.drain_notice_s);
    shard::Settings {
        coalesce_us: u32::try_from(edge.coalesce_us).unwrap_or(limits::COALESCE_US_MAX),
        handshake_ms: config.tls.handshake_timeout_ms,
        drain_timeout_ms: closing_s * 1000,
        ..shard::Settings::new(shard)
    }
}

/// What is secret: made at the start, or derived from the pool's file.
struct Keys {
    process: [u64; 2],
    seed: u64,
    dialback: [u8; 32],
    pool: PoolKeys,
}

fn keys(config: &Config) -> anyhow::Result<Keys> {
    let random = ring::rand::SystemRandom::new();
    let (mut bytes, mut dialback) = ([0_u8; 40], [0_u8; 32]);
    for part in [bytes.as_mut_slice(), dialback.as_mut_slice()] {
        random.fill(part).map_err(|_| anyhow::anyhow!("the kernel gives no random bytes"))?;
    }
    let word = |place: usize| {
        let mut word = [0_u8; 8];
        word.copy_from_slice(&bytes[place..place + 8]);
        u64::from_le_bytes(word)
    };
    let pool = match &config.secrets {
        Some(secrets) => PoolKeys(secrets.0.iter().map(route_key).collect()),
        None => {
            let mut key = [0_u8; 16];
            key.copy_from_slice(&bytes[24..]);
            PoolKeys::of_one(key)
        }
    };
    Ok(Keys { process: [word(0), word(8)], seed: word(16), dialback, pool })
}

/// Derives the key of route tokens: one secret, several uses, each with a key of its own.
fn route_key(secret: &config::Secret) -> PoolKey {
    let parent = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret.key);
    let derived = ring::hmac::sign(&parent, b"entente route token 1");
    let mut key = [0_u8; 16];
    key.copy_from_slice(&derived.as_ref()[..16]);
    PoolKey { id: secret.id, key }
}

fn access_setup(
    config: &Config,
    keys: &Keys,
    shard: usize,
    options: &Options,
) -> anyhow::Result<access::Setup> {
    let shards = shard_count(config)?;
    Ok(access::Setup {
        first_generation: 0,
        shard: u16::try_from(shard)?,
        shards: u16::try_from(shards)?,
        transactions: config.limits.transactions / shards,
        external_port: board::port(config, Class::Federation, 5061),
        internal_port: board::port(config, Class::Internal, 5061),
        remote_port: board::port(config, Class::RemoteUsers, 443),
        process_key: keys.process,
        pool_keys: keys.pool.clone(),
        seed: keys.seed.wrapping_add(shard as u64),
        idle_timeout_ms: config.edge.idle_timeout_s * 1000,
        ping_interval_ms: config.edge.ping_interval_s * 1000,
        explain: options.explain,
    })
}

fn xmpp_proxy_setup(config: &Config, keys: &Keys) -> xmpp_proxy::Setup {
    let secrets = super::dialback_secrets(config);
    let secrets = match secrets.split_first() {
        Some((first, others)) => {
            let others: Vec<&[u8]> = others.iter().map(<[u8; 32]>::as_slice).collect();
            dialback::Secrets::new(first, &others)
        }
        // Of an edge that is its pool alone: nobody else has to know its keys.
        None => dialback::Secrets::new(&keys.dialback, &[]),
    };
    xmpp_proxy::Setup { process_key: keys.process, secrets, seed: keys.seed }
}

type NotesTo = channel::Sender<(u16, Note)>;

fn notes_channel(
    options: &Options,
    board: &Arc<Board>,
) -> anyhow::Result<(NotesTo, Option<JoinHandle<()>>)> {
    if let Some(notes) = &options.notes {
        return Ok((notes.clone(), None));
    }
    let (sender, receiver) = channel::bounded(notes::NOTES_WAITING_MAX);
    let board = Arc::clone(board);
    let thread = notes::spawn(receiver, move |lines| {
        board.lines_suppressed.fetch_add(lines, Ordering::Relaxed);
    })?;
    Ok((sender, Some(thread)))
}

/// Returns how the resolver of an edge with this configuration asks.
#[must_use]
pub fn resolver_settings(config: &Config) -> resolver::Settings {
    let dns = &config.dns;
    resolver::Settings {
        servers: dns.servers.clone(),
        timeout_ms: dns.timeout_ms,
        attempts: dns.attempts,
        hold_down_s: dns.hold_down_s,
        sips_srv: dns.sips_srv,
    }
}

type Control = (oneshot::Sender<()>, JoinHandle<()>);
type Questions = mpsc::Sender<(u16, crate::dns::Question)>;

/// Starts the thread that resolves names, fetches revocation lists and watches the shards.
fn spawn_control(
    board: &Arc<Board>,
    shards: usize,
    lists: &Arc<crl::Lists>,
    reported: mpsc::Receiver<tls::Point>,
) -> anyhow::Result<(Control, Questions)> {
    let settings = resolver_settings(&board.config.load());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seed = keys(&board.config.load())?.process;
    let (questions, mut asked) = mpsc::channel(limits::QUESTIONS_MAX * shards);
    let (stop, stopped) = oneshot::channel::<()>();
    let (made, making) = channel::bounded(1);
    let (board, lists) = (Arc::clone(board), Arc::clone(lists));
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.block_on(async move {
            // The resolver belongs to the runtime it is made in.
            let resolver = match Resolver::new(&settings, seed[0]) {
                Ok(resolver) => resolver,
                Err(error) => return drop(made.send(Err(error))),
            };
            let _ = made.send(Ok(()));
            // Only a hand-over: what waits, waits in the shards' channel.
            let (hand_over, handed) = mpsc::channel(1);
            tokio::spawn(async move {
                while let Some((shard, question)) = asked.recv().await {
                    if hand_over.send(Asked { shard, question }).await.is_err() {
                        break;
                    }
                }
            });
            let fetcher = resolver.clone();
            tokio::spawn(crl::serve(Arc::clone(&board), lists, fetcher, seed[1], reported));
            let fabric = Arc::clone(&board.fabric);
            let deliver = move |shard, answer| fabric.answer(shard, answer);
            tokio::spawn(resolver::serve(resolver, board.clock, seed, handed, deliver));
            tokio::select! {
                () = watch(&board) => {}
                _ = stopped => {}
            }
        });
    })?;
    making.recv().context("the control thread did not start")??;
    Ok(((stop, thread), questions))
}

/// Looks after the shards for as long as the control thread lives.
async fn watch(board: &Board) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut count = 0_u64;
    loop {
        ticks.tick().await;
        count += 1;
        board.watch();
        if count.is_multiple_of(WAKE_EVERY_TICKS) {
            board.fabric.wake_all();
        }
        if count.is_multiple_of(REPORT_EVERY_TICKS) {
            scores::report(&board.scores, board.clock.now());
        }
    }
}
