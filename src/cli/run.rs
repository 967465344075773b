//! `entente run`: the edge as a service. Signals, the service manager and the log are here; the
//! edge itself is [`control::start`].

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::{Command, Order, Outcome, Reply};
use crate::config;
use crate::control::{self, Log, Options, Reloads, Running};

/// Commands of the admin socket that may wait for the one before; more are refused with 503.
const ORDERS_WAITING_MAX: usize = 4;

/// Arguments of `entente run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Leaves a line in the log for every decision, permits too.
    #[arg(long)]
    pub explain: bool,
    /// Writes TLS session keys to a file, for captures in tests. Whoever reads it reads everything.
    #[arg(long, value_name = "FILE", hide = true)]
    pub key_log: Option<PathBuf>,
}

/// Runs the edge until SIGTERM or SIGINT has drained it.
///
/// # Errors
/// The configuration is refused ([`config::Report`]), or the edge cannot start.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let log = Log::install(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(serve(args, config, &log));
    // A drain that a second signal cut short still waits on a thread of this runtime.
    runtime.shutdown_background();
    code
}

/// The signals a service manager and an operator send.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over, so that none of them ends the process while it starts.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Waits for the word to end.
async fn end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn serve(args: &Args, config: config::Config, log: &Log) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let sockets = passed_sockets()?;
    let (orders, mut asked) = mpsc::channel(ORDERS_WAITING_MAX);
    let options = Options {
        explain: args.explain,
        key_log: args.key_log.clone(),
        log_dropped: Some(log.dropped()),
        sockets,
        orders: Some(orders),
        ..Options::default()
    };
    let node = config.node().to_string();
    let roles = control::running_roles(&config).join(", ");
    let listeners: Vec<String> =
        control::listening(&config).iter().map(ToString::to_string).collect();
    let listeners = listeners.join(", ");
    let running = control::start(config, options)?;
    running.tell_panics();
    let management: Vec<String> = running.management().iter().map(ToString::to_string).collect();
    let (management, poller) = (management.join(", "), running.poller());
    tracing::info!(node, roles, listeners, management, poller, "the edge serves");
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
    let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut watchdog = tokio::time::interval(every.unwrap_or(Duration::from_secs(3600)));
    let mut reloads = Reloads::new(std::path::absolute(&args.config)?);
    // The one loop without a bound: it is the life of the service.
    loop {
        let due_in = reloads.due_in(&running);
        tokio::select! {
            _ = signals.hangup.recv() => {
                reloading(&running, every, || reloads.reload(&running, None, "SIGHUP"));
            }
            Some(order) = asked.recv() => {
                if carry_out(order, &mut reloads, &running, every) == Then::Drain {
                    break;
                }
            }
            () = end(&mut signals.terminate, &mut signals.interrupt) => break,
            () = tokio::time::sleep(due_in.unwrap_or_default()), if due_in.is_some() => {
                reloading(&running, every, || reloads.expire(&running));
            }
            _ = watchdog.tick(), if every.is_some() => pet(&running),
        }
        log.set_level(&running.log_level());
    }
    drain(running, &mut signals, &mut asked).await
}

/// What follows a command of the admin socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Serve,
    Drain,
}

/// Carries out one command of the admin socket.
fn carry_out(
    order: Order,
    reloads: &mut Reloads,
    running: &Running,
    watchdog: Option<Duration>,
) -> Then {
    let Order { command, caller, reply } = order;
    let who = caller.to_string();
    let (answer, then) = match &command {
        Command::Drain => {
            tracing::info!("drain asked by {who}");
            running.announce_drain();
            let body = serde_json::json!({ "stage": "drain-notice" });
            (Reply { outcome: Outcome::Done, body }, Then::Drain)
        }
        Command::Reload { .. } => {
            let reload = || reloads.carry_out(running, &command, &who);
            (reloading(running, watchdog, reload), Then::Serve)
        }
        Command::Relay(_) => (reloads.carry_out(running, &command, &who), Then::Serve),
        // Comparing and shadowing compile too.
        Command::Confirm | Command::Diff { .. } | Command::Shadow { .. } => {
            let work = || reloads.carry_out(running, &command, &who);
            (giving_way(running, watchdog, work), Then::Serve)
        }
    };
    // Whoever asked may have gone; what was done is in the log.
    let _ = reply.send(answer);
    then
}

/// Takes the listening sockets that the service manager has opened (`LISTEN_FDS`).
fn passed_sockets() -> std::io::Result<Vec<TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut sockets = Vec::with_capacity(passed.len());
    for index in 0..passed.len() {
        sockets.extend(passed.take_tcp_listener(index)?);
    }
    Ok(sockets)
}

/// Tells the service manager that the configuration is read again, for as long as `work` takes.
fn reloading<R: Send>(
    running: &Running,
    watchdog: Option<Duration>,
    work: impl FnOnce() -> R + Send,
) -> R {
    let now = NotifyState::monotonic_usec_now().ok();
    let mut states = vec![NotifyState::Reloading];
    states.extend(now);
    tell(&states);
    let result = giving_way(running, watchdog, work);
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
    result
}

/// Does `work` behind the shards, with the watchdog looked after meanwhile.
fn giving_way<R: Send>(
    running: &Running,
    watchdog: Option<Duration>,
    work: impl FnOnce() -> R + Send,
) -> R {
    control::behind(work, || {
        if watchdog.is_some() {
            pet(running);
        }
    })
}

/// Tells the service manager that the edge is alive, if it is.
fn pet(running: &Running) {
    let dead = running.dead();
    if dead.is_empty() {
        tell(&[NotifyState::Watchdog]);
    } else {
        tracing::error!("no sign of life for the watchdog: {}", dead.join("; "));
    }
}

/// Drains; a second signal ends the process at once, with exit code 1.
///
/// `asked`: what concerns the relay is carried out, since whoever waits for media to end looks and
/// may want to help; other commands are told that the edge drains.
async fn drain(
    running: Running,
    signals: &mut Signals,
    asked: &mut mpsc::Receiver<Order>,
) -> anyhow::Result<ExitCode> {
    tracing::info!("the edge drains");
    let desk = running.relay_desk();
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    let drained = tokio::task::spawn_blocking(move || running.drain_and_wait());
    let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut watchdog = tokio::time::interval(every.unwrap_or(Duration::from_secs(3600)));
    tokio::pin!(drained);
    loop {
        tokio::select! {
            result = &mut drained => {
                result??;
                tracing::info!("the edge has drained");
                return Ok(ExitCode::SUCCESS);
            }
            () = end(&mut signals.terminate, &mut signals.interrupt) => {
                tracing::warn!("a second signal: the edge ends before it has drained");
                return Ok(ExitCode::FAILURE);
            }
            Some(Order { command, caller, reply }) = asked.recv() => {
                // Dropped, the reply says that the edge drains.
                if let Command::Relay(order) = &command {
                    let _ = reply.send(desk.carry_out(order, &caller.to_string()));
                }
            }
            // The drain has an end of its own; the watchdog need not watch it.
            _ = watchdog.tick(), if every.is_some() => tell(&[NotifyState::Watchdog]),
        }
    }
}

/// Tells the service manager; where there is none, nobody hears it.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
