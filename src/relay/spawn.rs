//! Starting relay threads: what each of them has, and that all of it is there before one serves.
//!
//! ```text
//!              ┌─ clients of half the sources ─> thread 0: ring, allocations, ports 50000 to 54999
//!  listener ───┤                                   │ box   ^ box      (a peer that is a relayed
//!              └─ clients of the other half ───> thread 1: ring, allocations, ports 55000 to 59999
//! ```
//!
//! The kernel gives all that one source address sends to one thread; each has a part of the relayed
//! ports, and what comes there is its own. Threads share boxes, and what quotas, rates of users and
//! limits of strangers count by.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam::channel::{self, Receiver, Sender};

use super::board::Board;
use super::crowd::Crowd;
use super::handle::{Handle, Thread};
use super::ring::trains::Trains as Known;
use super::serve::Served;
use super::setup::{Listen, Settings, Setup, Trains};
use super::siblings::{Mail, Rung, Sibling, Siblings};
use super::sockets::{self, How, Share, Sockets};
use super::streams::{Door, Streams};
use super::worker::Begin;
use crate::edge::av::{self, Ports, Relay, RelayPort, Together, Transport};
use crate::limits;
use crate::poll::Waker;
use crate::time::Clock;

/// Why a relay did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address of a listener or shared port cannot be bound.
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A thread may not run on its processor core.
    Core {
        /// Which.
        core: usize,
        /// Why.
        error: io::Error,
    },
    /// No thread, no descriptor, or no poller.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } => {
                write!(f, "{address} cannot be bound: {error}")
            }
            Self::Core { core, error } => {
                write!(f, "the relay's thread cannot be pinned to core {core}: {error}")
            }
            Self::Thread(error) => write!(f, "the relay's thread cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What a thread is reached by.
struct Reached {
    mail: (Sender<Mail>, Receiver<Mail>),
    waker: Arc<Waker>,
}

/// What all threads count by.
struct Shared {
    together: Together,
    crowd: Crowd,
}

/// Starts relay threads; returns once their addresses are bound and they serve.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
///
/// # Panics
/// If there are no threads, or more than ports: the configuration is checked before.
pub fn spawn(setup: Setup, clock: Clock) -> Result<Handle, StartError> {
    let Setup { core, mut listen, settings } = setup;
    assert_eq!(core.listeners.len(), listen.len(), "each listener has its socket");
    assert!((1..=limits::RELAY_THREADS_MAX).contains(&settings.threads), "some threads");
    let parts = core.ports.split(settings.threads);
    let reached = (0..parts.len()).map(|_| {
        let waker = Waker::new().map_err(StartError::Thread)?;
        Ok(Reached { mail: channel::bounded(limits::RELAY_MAIL_MAX), waker: Arc::new(waker) })
    });
    let reached = reached.collect::<Result<Vec<Reached>, StartError>>()?;
    let trains = match settings.trains {
        Trains::Auto => Known::detect(),
        Trains::Never => Known::NEVER,
    };
    let how = How { dscp: settings.marks.other, trains };
    let shared = Shared { together: Together::of_threads(parts.len()), crowd: Crowd::new() };
    // Everything is bound before anything is served: the sockets among which the kernel chooses
    // stay the same.
    let mut made = Vec::with_capacity(parts.len());
    for (number, ports) in parts.iter().enumerate() {
        let mut core = core.clone();
        core.ports = ports.clone();
        core.seed = core.seed.wrapping_add(number as u64);
        let siblings = siblings(number, &parts, &reached);
        let share = Share { number, threads: parts.len() };
        made.push(bind(core, &mut listen, how, share, siblings, &shared)?);
    }
    let listeners = listen.iter().map(|listen| listen.address).collect();
    let drains = AtomicBool::new(false);
    let mut handle = Handle { threads: Vec::new(), trains, listeners, drains };
    for (number, (served, reached)) in made.into_iter().zip(reached).enumerate() {
        let core = settings.core.map(|first| first + number);
        let link_kbit_s = settings.link_kbit_s.map(|link| link.div_ceil(parts.len() as u64));
        let settings = Settings { core, link_kbit_s, ..settings };
        // What runs already ends with the handle if this one does not start.
        handle.threads.push(start(served, settings, trains, reached, clock)?);
    }
    Ok(handle)
}

/// Returns what thread `number` knows of the others.
fn siblings(number: usize, parts: &[Ports], reached: &[Reached]) -> Siblings {
    let others = parts.iter().zip(reached).enumerate().filter(|(other, _)| *other != number);
    let others = others.map(|(_, (ports, reached))| Sibling {
        ports: ports.clone(),
        mail: reached.mail.0.clone(),
        waker: Arc::clone(&reached.waker),
        rung: Rung::Yes,
    });
    Siblings { others: others.collect(), inbox: reached[number].mail.1.clone() }
}

/// Binds what one thread serves.
fn bind(
    mut core: av::Setup,
    listen: &mut [Listen],
    how: How,
    share: Share,
    siblings: Siblings,
    shared: &Shared,
) -> Result<Served, StartError> {
    let mut sockets = Sockets::new(core.relayed.clone(), how);
    let mut numbers = Vec::with_capacity(listen.len());
    let mut doors = Vec::new();
    for (place, (listen, of)) in listen.iter_mut().zip(&mut core.listeners).enumerate() {
        let address = listen.address;
        let failed = |error| StartError::Bind { address, error };
        let addressed = |of: &mut av::Listener, bound: SocketAddr| {
            if of.node.port() == 0 {
                of.node.set_port(bound.port());
            }
            of.vip.unwrap_or(of.node)
        };
        match listen.transport {
            Transport::Udp => {
                let socket = sockets::bind_listener(address, how, share).map_err(failed)?;
                listen.address = socket.local_addr().map_err(failed)?;
                let addressed = addressed(of, listen.address);
                numbers.push(Some(sockets.listener(socket, place as u16, addressed)));
            }
            Transport::Stream => {
                let listener = sockets::bind_door(address, share).map_err(failed)?;
                listen.address = listener.local_addr().map_err(failed)?;
                let addressed = addressed(of, listen.address);
                let server = listen.tls.clone();
                doors.push(Door { listener, number: place as u16, addressed, server });
                numbers.push(None);
            }
        }
    }
    if let Ports::Shared(ports) = &core.ports {
        let addresses = 0..core.relayed.len() as u8;
        let all = addresses.flat_map(|address| ports.iter().map(move |port| (address, *port)));
        for (address, port) in all {
            let bound = core.relayed[usize::from(address)].bound;
            sockets.open_shared_port(RelayPort { address, port }).map_err(|error| {
                StartError::Bind { address: SocketAddr::new(bound, port), error }
            })?;
        }
    }
    let relayed = core.relayed.clone();
    let mut relay = Relay::new(core);
    let ports = siblings.others.iter().map(|other| other.ports.clone());
    relay.beside(ports.collect(), shared.together.clone());
    let streams = Streams::new(doors, relayed, shared.crowd.clone());
    Ok(Served::new(relay, sockets, streams, numbers, siblings))
}

/// Starts one thread.
fn start(
    mut served: Served,
    settings: Settings,
    trains: Known,
    reached: Reached,
    clock: Clock,
) -> Result<Thread, StartError> {
    served.marks = settings.marks;
    let Reached { waker, .. } = reached;
    let board = Arc::new(Board::default());
    let (orders, inbox) = channel::bounded(limits::RELAY_ORDERS_MAX);
    let (started, starting) = channel::bounded(1);
    let begin = Begin {
        served,
        settings,
        trains,
        clock,
        inbox,
        waker: Arc::clone(&waker),
        board: Arc::clone(&board),
        started,
    };
    let thread = std::thread::Builder::new().name("relay".to_owned());
    let thread = thread.spawn(move || begin.run()).map_err(StartError::Thread)?;
    let began = starting.recv();
    let ended = || Err(StartError::Thread(io::Error::other("it ended at once")));
    let path = began.unwrap_or_else(|_| ended())?;
    Ok(Thread { path, thread: Some(thread), orders, waker, board })
}
