//! Starting a relay thread, and what others may ask of it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{self, Receiver, Sender};

use super::board::{Board, Observed};
use super::marks::Marks;
use super::multishot::Multishot;
use super::plane::{Plane, Woken};
use super::portable::Portable;
use super::ring::trains::Trains as Known;
use super::ring::uring::Ring;
use super::serve::Served;
use super::sockets::{self, How, Sockets};
use super::streams::{Door, Streams};
use crate::edge::av::{
    self, Admission, Client, Credentials, Forecast, Peers, Ports, Quotas, Relay, RelayPort,
    Traffic, Transport,
};
use crate::limits;
use crate::poll::epoll::{self, Epoll};
use crate::poll::{Choice, Wait, Waker};
use crate::time::{Clock, Monotonic, Now};
use crate::tls;

/// What a relay thread is made from.
#[derive(Debug)]
pub struct Setup {
    /// Its core. A listener whose node has port 0 is told by the port that its socket gets.
    pub core: av::Setup,
    /// The socket of each listener, in the order of the core's listeners.
    pub listen: Vec<Listen>,
    /// Numbers.
    pub settings: Settings,
}

/// A socket that clients come in by.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where it is bound.
    pub address: SocketAddr,
    /// What comes by it.
    pub transport: Transport,
    /// How TLS is accepted on its streams; `None`: it is not.
    pub tls: Option<Arc<tls::Server>>,
}

/// The numbers a relay thread works by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The processor core it is pinned to.
    pub core: Option<usize>,
    /// How it waits.
    pub poller: Choice,
    /// Microseconds to wait for company after a small turn, at most [`limits::COALESCE_US_MAX`].
    pub company_us: u32,
    /// Marks of the datagrams it sends.
    pub marks: Marks,
    /// Kilobits a second that the link carries, for forecasts.
    pub link_kbit_s: Option<u64>,
    /// Whether datagrams of one flow that come together are moved as one.
    pub trains: Trains,
}

/// Whether datagrams of one flow that come together are moved as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trains {
    /// Where the kernel can (UDP GRO and GSO).
    #[default]
    Auto,
    /// Never.
    Never,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            core: None,
            poller: Choice::Auto,
            company_us: 0,
            marks: Marks::default(),
            link_kbit_s: None,
            trains: Trains::Auto,
        }
    }
}

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
    /// No thread, no descriptor, no poller, or the processor core is not ours.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } => {
                write!(f, "{address} cannot be bound: {error}")
            }
            Self::Thread(error) => write!(f, "the relay's thread cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// An allocation as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose.
    pub client: Client,
    /// Its relayed ports.
    pub ports: Vec<RelayPort>,
    /// What it has carried.
    pub traffic: Traffic,
    /// Seconds until it ends unless it is refreshed.
    pub ends_in_s: u64,
}

/// Some allocations of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// How many allocations there are.
    pub allocations: usize,
    /// Ports that are free; `None` where they are shared.
    pub free_ports: Option<usize>,
    /// Those that were asked for.
    pub listed: Vec<Listed>,
}

/// What is asked of the thread.
enum Order {
    Adopt(Box<(Credentials, Peers, Quotas)>),
    AdoptTls(Vec<Option<Arc<tls::Server>>>),
    Admit(Admission),
    List { skip: usize, most: usize, reply: Sender<Listing> },
    Kill { client: Client, reply: Sender<bool> },
    Lasting { left: usize, reply: Sender<u64> },
    End,
}

/// A running relay thread. Dropped, it ends, and its allocations with it.
pub struct Handle {
    thread: Option<JoinHandle<()>>,
    orders: Sender<Order>,
    waker: Arc<Waker>,
    board: Arc<Board>,
    poller: &'static str,
    trains: Known,
    listeners: Vec<SocketAddr>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Starts a relay thread; returns once its addresses are bound and it serves.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub fn spawn(setup: Setup, clock: Clock) -> Result<Handle, StartError> {
    let Setup { mut core, listen, settings } = setup;
    assert_eq!(core.listeners.len(), listen.len(), "each listener has its socket");
    let trains = match settings.trains {
        Trains::Auto => Known::detect(),
        Trains::Never => Known::NEVER,
    };
    let how = How { dscp: settings.marks.other, trains };
    let mut sockets = Sockets::new(core.relayed.clone(), how);
    let mut numbers = Vec::with_capacity(listen.len());
    let mut listeners = Vec::with_capacity(listen.len());
    let mut doors = Vec::new();
    for (place, (listen, of)) in listen.into_iter().zip(&mut core.listeners).enumerate() {
        let address = listen.address;
        let failed = |error| StartError::Bind { address, error };
        let addressed = |of: &mut av::Listener, bound: SocketAddr| {
            if of.node.port() == 0 {
                of.node.set_port(bound.port());
            }
            of.vip.unwrap_or(of.node)
        };
        let bound = match listen.transport {
            Transport::Udp => {
                let socket = sockets::bind_listener(address, how).map_err(failed)?;
                let bound = socket.local_addr().map_err(failed)?;
                let addressed = addressed(of, bound);
                numbers.push(Some(sockets.listener(socket, place as u16, addressed)));
                bound
            }
            Transport::Stream => {
                let listener = sockets::bind_door(address).map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                let addressed = addressed(of, bound);
                let server = listen.tls;
                doors.push(Door { listener, number: place as u16, addressed, server });
                numbers.push(None);
                bound
            }
        };
        listeners.push(bound);
    }
    if let Ports::Shared(ports) = &core.ports {
        let addresses = 0..core.relayed.len() as u8;
        let all = addresses.flat_map(|address| ports.iter().map(move |port| (address, *port)));
        for (address, port) in all {
            let bound = core.relayed[usize::from(address)].bound;
            sockets.open_port(RelayPort { address, port }).map_err(|error| StartError::Bind {
                address: SocketAddr::new(bound, port),
                error,
            })?;
        }
    }
    let waker = Arc::new(Waker::new().map_err(StartError::Thread)?);
    let board = Arc::new(Board::default());
    let (orders, inbox) = channel::bounded(limits::RELAY_ORDERS_MAX);
    let relayed = core.relayed.clone();
    let mut served =
        Served::new(Relay::new(core, clock.now()), sockets, Streams::new(doors, relayed), numbers);
    served.marks = settings.marks;
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
    let poller = began.unwrap_or_else(|_| Err(io::Error::other("it ended at once")));
    let poller = poller.map_err(StartError::Thread)?;
    Ok(Handle { thread: Some(thread), orders, waker, board, poller, trains, listeners })
}

impl Handle {
    /// Returns the addresses that clients come in by, with the ports the kernel chose.
    #[must_use]
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Returns what the thread moves datagrams by.
    #[must_use]
    pub const fn poller(&self) -> &'static str {
        self.poller
    }

    /// Returns how trains of datagrams are moved: by what of the kernel, or not.
    #[must_use]
    pub const fn trains(&self) -> &'static str {
        self.trains.name()
    }

    /// Returns how the thread was at most a second ago.
    #[must_use]
    pub fn observed(&self) -> Observed {
        self.board.read()
    }

    /// Puts other credentials, peers and quotas in force; allocations stay.
    pub fn adopt(&self, credentials: Credentials, peers: Peers, quotas: Quotas) {
        self.order(Order::Adopt(Box::new((credentials, peers, quotas))));
    }

    /// Accepts TLS by other material from here on: one for each listener.
    pub fn adopt_tls(&self, of_listeners: Vec<Option<Arc<tls::Server>>>) {
        self.order(Order::AdoptTls(of_listeners));
    }

    /// Takes new allocations, or no more.
    pub fn admit(&self, admission: Admission) {
        self.order(Order::Admit(admission));
    }

    /// Lists allocations, at most [`limits::RELAY_LISTED_MAX`] from the one after `skip` on; empty
    /// when the thread has ended.
    #[must_use]
    pub fn list(&self, skip: usize) -> Listing {
        let (reply, answer) = channel::bounded(1);
        self.order(Order::List { skip, most: limits::RELAY_LISTED_MAX, reply });
        answer.recv().unwrap_or_default()
    }

    /// Returns the seconds until no more than `left` allocations are there if none is refreshed.
    #[must_use]
    pub fn unrefreshed_s(&self, left: usize) -> u64 {
        let (reply, answer) = channel::bounded(1);
        self.order(Order::Lasting { left, reply });
        answer.recv().unwrap_or_default()
    }

    /// Ends the allocation of a client; tells whether there was one.
    #[must_use]
    pub fn kill(&self, client: Client) -> bool {
        let (reply, answer) = channel::bounded(1);
        self.order(Order::Kill { client, reply });
        answer.recv().unwrap_or(false)
    }

    /// Ends the thread and every allocation.
    ///
    /// # Panics
    /// If the thread has panicked.
    pub fn end(mut self) {
        assert!(self.close().is_ok(), "the relay's thread ends as it is told");
    }

    fn close(&mut self) -> std::thread::Result<()> {
        self.order(Order::End);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }

    fn order(&self, order: Order) {
        // It fails when the thread has ended, and then nothing is left to order.
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // Whoever drops it does not wait for its result.
            let _ = self.close();
        }
    }
}

/// What the new thread takes with it.
struct Begin {
    served: Served,
    settings: Settings,
    trains: Known,
    clock: Clock,
    inbox: Receiver<Order>,
    waker: Arc<Waker>,
    board: Arc<Board>,
    started: Sender<io::Result<&'static str>>,
}

impl Begin {
    fn run(self) {
        let pinned = self.settings.core.map_or(Ok(()), epoll::pin);
        // Where a filter of system calls forbids it, media waits longer and nothing else happens.
        let _ = epoll::wake_promptly();
        // A ring belongs to the thread that makes it, so it is made here.
        let chosen = self.settings.poller;
        let bell = self.waker.fd();
        match pinned.and_then(|()| choose(chosen, self.trains)) {
            Ok(Chosen::Ring(ring)) => match Multishot::new(ring, bell, &self.served) {
                Ok(plane) => self.run_with(plane),
                Err(error) => drop(self.started.send(Err(error))),
            },
            Ok(Chosen::Epoll(epoll)) => match Portable::new(epoll, bell, &self.served, self.trains)
            {
                Ok(plane) => self.run_with(plane),
                Err(error) => drop(self.started.send(Err(error))),
            },
            Err(error) => drop(self.started.send(Err(error))),
        }
    }

    fn run_with<P: Plane>(self, plane: P) {
        let Self { served, settings, clock, inbox, waker, board, started, .. } = self;
        let _ = started.send(Ok(plane.name()));
        let published = clock.now().monotonic;
        let forecast = Forecast::default();
        let worker =
            Worker { plane, served, settings, clock, inbox, waker, board, published, forecast };
        worker.run();
    }
}

enum Chosen {
    Ring(Ring),
    Epoll(Epoll),
}

fn choose(choice: Choice, trains: Known) -> io::Result<Chosen> {
    match choice {
        Choice::Epoll => Epoll::new().map(Chosen::Epoll),
        Choice::IoUring => Ring::new(trains).map(Chosen::Ring),
        Choice::Auto => {
            Ring::new(trains).map(Chosen::Ring).or_else(|_| Epoll::new().map(Chosen::Epoll))
        }
    }
}

/// The thread's loop.
struct Worker<P> {
    plane: P,
    served: Served,
    settings: Settings,
    clock: Clock,
    inbox: Receiver<Order>,
    waker: Arc<Waker>,
    board: Arc<Board>,
    /// When counters were left last.
    published: Monotonic,
    forecast: Forecast,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Serve,
    End,
}

impl<P: Plane> Worker<P> {
    fn run(mut self) {
        let mut now = self.clock.now();
        // The one loop without a bound: it is the life of the thread.
        loop {
            let wait = self.wait(now.monotonic);
            let turned = self.turn(wait);
            match turned {
                Ok((at, Then::Serve)) => now = at,
                Ok((_, Then::End)) => break,
                // A relay that cannot wait any more ends the process, and what watches over it
                // starts another: clients would take it for alive.
                Err(error) => panic!("the relay cannot wait for the network any more: {error}"),
            }
        }
        self.plane.end(&mut self.served);
        self.publish(now.monotonic);
    }

    fn wait(&self, now: Monotonic) -> Wait {
        let publish = self.published.plus_ms(limits::COUNTERS_PUBLISH_MS);
        let deadline = self.served.relay.next_deadline().map_or(publish, |at| at.min(publish));
        let deadline = match self.served.paused[..] {
            [] => deadline,
            [..] => deadline.min(now.plus_ms(limits::RELAY_PAUSE_MS)),
        };
        let at_most_ns = Some(deadline.0.saturating_sub(now.0));
        Wait { at_most_ns, coalesce_us: self.settings.company_us }
    }

    fn turn(&mut self, wait: Wait) -> io::Result<(Now, Then)> {
        let (now, woken) = self.plane.turn(wait, &self.clock, &mut self.served)?;
        self.served.tally.turns += 1;
        let mut then = Then::Serve;
        if woken == Woken::ByBell {
            self.waker.rearm();
            // Bound: the box holds no more than RELAY_ORDERS_MAX.
            while let Ok(order) = self.inbox.try_recv() {
                if self.obey(now, order) == Then::End {
                    then = Then::End;
                }
            }
        }
        self.served.expire(now);
        self.served.resume(now);
        self.plane.settle(now, &mut self.served)?;
        if now.monotonic >= self.published.plus_ms(limits::COUNTERS_PUBLISH_MS) {
            self.publish(now.monotonic);
        }
        Ok((now, then))
    }

    fn obey(&mut self, now: Now, order: Order) -> Then {
        match order {
            Order::Adopt(adopted) => {
                let (credentials, peers, quotas) = *adopted;
                self.served.relay.adopt(credentials, peers, quotas);
            }
            Order::AdoptTls(of_listeners) => {
                for door in &mut self.served.streams.doors {
                    door.server = of_listeners.get(usize::from(door.number)).cloned().flatten();
                }
            }
            Order::Admit(admission) => self.served.relay.admit(admission),
            Order::List { skip, most, reply } => {
                let listed = self.served.relay.list().skip(skip).take(most);
                let listed = listed.map(|(client, ports, traffic, until)| Listed {
                    client,
                    ports: ports.to_vec(),
                    traffic,
                    ends_in_s: until.ms_since(now.monotonic) / 1_000,
                });
                let listed = listed.collect();
                let allocations = self.served.relay.allocations();
                let free_ports = self.served.relay.free_ports();
                // Who asked may have gone.
                let _ = reply.send(Listing { allocations, free_ports, listed });
            }
            Order::Kill { client, reply } => {
                let _ = reply.send(self.served.kill(&client));
            }
            Order::Lasting { left, reply } => {
                let until = self.served.relay.unrefreshed_until(left);
                let _ = reply.send(until.ms_since(now.monotonic).div_ceil(1_000));
            }
            Order::End => return Then::End,
        }
        Then::Serve
    }

    fn publish(&mut self, now: Monotonic) {
        self.published = now;
        self.forecast.take(now, self.served.relay.sample());
        self.board.leave(Observed {
            core: *self.served.relay.counters(),
            shell: self.served.tally,
            allocations: self.served.relay.allocations(),
            free_ports: self.served.relay.free_ports(),
            sockets: self.served.sockets.len(),
            streams: self.served.streams.len(),
            connections: self.served.relay.connections(),
            classes: self.served.relay.classes(),
            users: self.served.relay.users(),
            draining: self.served.relay.admission() != Admission::Open,
            outlook: self.forecast.outlook(self.settings.link_kbit_s),
        });
    }
}
