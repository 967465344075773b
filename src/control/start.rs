//! Starting, reloading and draining one edge.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use crossbeam::channel;
use tokio::sync::{mpsc, oneshot};
use tracing_appender::non_blocking::ErrorCounter;

use super::authorisations::{Keeper, Store};
use super::board::{Board, Stage};
use super::crl;
use super::keys::Keys;
use super::listeners::listen;
use super::relays::Strangers;
use super::roles::Roles;
use super::spawn::{Spawning, Ties};
use super::{convert, decisions, log, notes, scores};
use crate::admin::{self, View as _};
use crate::config::Config;
use crate::dns::resolver::{self, Asked, Resolver};
use crate::edge::gateway::Authorisation;
use crate::edge::{Drain, Note};
use crate::limits;
use crate::policy::{self, Snapshot};
use crate::poll;
use crate::shard::{self, Budget, Fabric, Published};
use crate::time::Clock;
use crate::tls;

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
    let clock = Clock::start();
    let keys = Keys::of(&config)?;
    options.discovery_key = keys.process;
    let (snapshot, material) = compile(&config, 1, &clock, &options)?;
    let roles = Roles::of(&config)?;
    let (remembered, keeper) = authorisations(&config, &clock)?;
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
    let (control, questions) =
        spawn_control(&board, roles.total(), keys.process, &lists, reported)?;
    let (retired, retirees) = channel::unbounded();
    let freeing = super::behind::free_behind(retirees)?;
    board.gateway.keep_with(keeper.clone());
    let material = published.material.load_full();
    board.relays.start(&board.config.load(), &material, &clock, &keys.process)?;
    let mut running = Running {
        board,
        published,
        lists,
        options: Options::default(),
        shards: Vec::with_capacity(roles.total()),
        control: Some(control),
        notes,
        decisions: Some(decisions),
        freeing: Some(freeing),
        admin,
        _locks: locks,
    };
    let mut spawning = Spawning {
        board: &Arc::clone(&running.board),
        published: &Arc::clone(&running.published),
        options: &options,
        roles,
        keys,
        ties: Ties { questions, retired, notes: notes_to, decisions: decisions_to },
        remembered,
        keeper,
    };
    // Dropping `running` on an error ends the shards that have been started.
    for (number, listeners) in sockets.into_iter().enumerate() {
        let (thread, poller) = spawning.spawn(number, listeners)?;
        running.shards.push(thread);
        running.board.set_poller(poller);
    }
    drop(spawning);
    running.options = options;
    running.board.set_stage(Stage::Serving);
    Ok(running)
}

/// Opens the store of authorisations where a gateway has one; returns what it holds, and who writes
/// to it.
fn authorisations(config: &Config, clock: &Clock) -> anyhow::Result<Authorisations> {
    let store = config.gateway.store.as_ref().filter(|_| config.runs_gateway());
    let Some(file) = store else { return Ok((Vec::new(), None)) };
    let (store, remembered) = Store::open(file, clock.now().unix_s)?;
    let keeper = Keeper::start(store).context("no thread for the store of authorisations")?;
    Ok((remembered, Some(Arc::new(keeper))))
}

type Authorisations = (Vec<Authorisation>, Option<Arc<Keeper>>);

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
        self.board.gateway.keep_with(None);
        for thread in [self.notes.take(), self.decisions.take(), self.freeing.take()] {
            let _ = thread.map(JoinHandle::join);
        }
        result
    }
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
        .with_media(super::relays::media_credentials(config).map(Arc::new))
        .with_directory(Arc::clone(&config.directory)))
}

/// Returns how many descriptors the limits of `config` amount to.
#[must_use]
pub fn descriptors(config: &Config) -> u64 {
    let relay = super::relays::descriptors(config);
    (config.limits.connections + relay + limits::OTHER_DESCRIPTORS) as u64
}

/// Asks for as many descriptors as the limits amount to; fewer only make accepting pause earlier.
fn raise_descriptors(config: &Config) {
    let needed = descriptors(config);
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
    seed: [u64; 2],
    lists: &Arc<crl::Lists>,
    reported: mpsc::Receiver<tls::Point>,
) -> anyhow::Result<(Control, Questions)> {
    let settings = resolver_settings(&board.config.load());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // A relay alone has no shard, and a queue wants one place all the same.
    let (questions, mut asked) = mpsc::channel(limits::QUESTIONS_MAX * shards.max(1));
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
    let mut strangers = Strangers::default();
    loop {
        ticks.tick().await;
        count += 1;
        board.watch();
        board.relays.tell_of_strangers(&mut strangers, board.clock.now().monotonic);
        if count.is_multiple_of(WAKE_EVERY_TICKS) {
            board.fabric.wake_all();
        }
        if count.is_multiple_of(REPORT_EVERY_TICKS) {
            scores::report(&board.scores, board.clock.now());
        }
    }
}
