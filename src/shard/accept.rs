//! Accepting: sockets come in here and go to the shard with the fewest legs.
//!
//! By readiness and accept(2), as all else. Multishot accept was measured beside it (one thread's
//! CPU for each connection, the peer's address included; 2 vCPU EPYC, kernel 6.18,
//! 2026-11-22, least of seven runs of 6,400): in bursts of 16 11.3 us against 11.7 us multishot, in
//! bursts of 64 13.5 against 13.9, singly 44 against 40. Within the noise of that machine; and it
//! takes connections before there is a place for them, and gives no address.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::close::{Unborn, refusal};
use super::counters::Count;
use super::fabric::{Full, Handover, Neighbour};
use super::legs::{Greeting, HalfOpen, Inbox, Leg, Origin, ProxyHeader, Source, State, Unsent};
use super::listen::ListenerSocket;
use super::network::{Network, Stream};
use super::{Shard, leg_timer, sources};
use crate::edge::{Class, Core, LegId, Severity};
use crate::limits;
use crate::poll::{Interest, Poller};
use crate::time::{Monotonic, Now};

/// Why accepting rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// The process or the system has no descriptor left.
    Descriptors,
    /// All connections the configuration allows are open.
    Connections,
    /// Too many have not finished their handshake.
    HalfOpen,
    /// The kernel is short of something else.
    Kernel,
}

impl Pause {
    /// In the order of the variants.
    pub(super) const LABELS: [&'static str; 4] =
        ["descriptors", "connections", "half_open", "kernel"];
}

/// A listener of this shard.
pub(super) struct Listening<L> {
    socket: ListenerSocket<L>,
    /// Connections may be waiting.
    pub(super) readable: bool,
    /// When to try again after a pause.
    paused_until: Option<Monotonic>,
}

impl<L: AsRawFd> Listening<L> {
    pub(super) fn all(
        poller: &mut impl Poller,
        sockets: Vec<ListenerSocket<L>>,
    ) -> io::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let token = Source::Listener(all.len()).token();
            poller.add(socket.listener.as_raw_fd(), token, Interest::Read)?;
            all.push(Self { socket, readable: true, paused_until: None });
        }
        Ok(all)
    }

    /// Listed balancers owe a PROXY header, everybody else may not send one.
    fn proxy_header(&self, from: SocketAddr) -> ProxyHeader {
        let address = from.ip().to_canonical();
        if self.socket.proxy_from.iter().any(|network| network.contains(&address)) {
            ProxyHeader::Required
        } else {
            ProxyHeader::Refused
        }
    }
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Accepts from every listener that has something and does not rest.
    pub(super) fn accept_all(&mut self, now: Now) {
        for place in 0..self.listeners.len() {
            self.accept(now, place, limits::ACCEPTS_PER_TURN_MAX);
        }
    }

    fn accept(&mut self, now: Now, place: usize, most: usize) {
        for _ in 0..most {
            let Some(listening) = self.listeners.get_mut(place) else { return };
            let resting = listening.paused_until.is_some_and(|until| until > now.monotonic);
            if !listening.readable || resting {
                return;
            }
            listening.paused_until = None;
            if let Err(full) = self.links.fabric.budget.take_accepted() {
                let pause = match full {
                    Full::Connections => Pause::Connections,
                    Full::HalfOpen => Pause::HalfOpen,
                };
                self.pause(now, place, pause);
                return;
            }
            match self.network.accept(&listening.socket.listener) {
                Ok((stream, remote)) => {
                    self.counters.add(Count::Accepts, 1);
                    let (class, listener) = (listening.socket.class, listening.socket.index);
                    let proxy = listening.proxy_header(remote);
                    self.place(now, Handover { stream, remote, class, listener, proxy });
                }
                Err(error) => {
                    self.links.fabric.budget.give_half_open(None);
                    self.links.fabric.budget.give_accepted();
                    if !self.accept_failed(now, place, &error) {
                        return;
                    }
                }
            }
        }
    }

    /// Returns whether the next connection should be tried at once.
    fn accept_failed(&mut self, now: Now, place: usize, error: &io::Error) -> bool {
        match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(listening) = self.listeners.get_mut(place) {
                    listening.readable = false;
                }
                return false;
            }
            Some(libc::EMFILE | libc::ENFILE) => self.pause(now, place, Pause::Descriptors),
            Some(libc::ENOBUFS | libc::ENOMEM) => self.pause(now, place, Pause::Kernel),
            // The connection died while it waited, or a signal came.
            _ => return true,
        }
        false
    }

    fn pause(&mut self, now: Now, place: usize, why: Pause) {
        self.counters.accept_paused(why);
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.paused_until = Some(now.monotonic.plus_ms(limits::ACCEPT_PAUSE_MS));
        }
    }

    /// Ends a pause early, because a leg of this shard went.
    pub(super) fn resume_accepting(&mut self) {
        for listening in &mut self.listeners {
            listening.paused_until = None;
        }
    }

    /// Returns whether a turn without events would accept something.
    pub(super) fn accepting(&self) -> bool {
        self.listeners.iter().any(|l| l.readable && l.paused_until.is_none())
    }

    pub(super) fn accept_deadline(&self) -> Option<Monotonic> {
        let resting = self.listeners.iter().filter(|listening| listening.readable);
        resting.filter_map(|listening| listening.paused_until).min()
    }

    /// Gives an accepted socket to the shard with the fewest legs, which may be this one.
    fn place(&mut self, now: Now, socket: Handover<N::Stream>) {
        let own = self.settings.shard;
        let fabric = Arc::clone(&self.links.fabric);
        let best = fabric.least_loaded(own);
        let socket = match fabric.neighbour(best) {
            Some(neighbour) if best != own => match neighbour.handovers.push(socket) {
                Ok(()) => {
                    neighbour.load.fetch_add(1, Ordering::Relaxed);
                    self.counters.add(Count::Handovers, 1);
                    self.post_to(best);
                    return;
                }
                // It has more waiting than it takes up; better here than nowhere.
                Err(socket) => socket,
            },
            _ => socket,
        };
        self.count_load();
        self.begin(now, socket);
    }

    /// Takes the sockets other shards have accepted for this one.
    pub(super) fn take_handovers(&mut self, now: Now, own: &Neighbour<N::Stream>) {
        for _ in 0..limits::HANDOVERS_MAX {
            let Some(socket) = own.handovers.pop() else { return };
            self.begin(now, socket);
        }
    }

    /// Makes a leg of an accepted socket.
    fn begin(&mut self, now: Now, socket: Handover<N::Stream>) {
        let Handover { stream, remote, class, listener, proxy } = socket;
        // Behind a balancer the source is known only when its header has come.
        let source = match proxy {
            ProxyHeader::Required => None,
            ProxyHeader::Refused => match self.links.fabric.budget.take_source(remote.ip()) {
                Ok(place) => Some(place),
                Err(refused) => return self.turn_away(remote, class, refused),
            },
        };
        let fd = stream.fd();
        let local = stream.local_address();
        let leg = Leg {
            stream,
            class,
            check: false,
            origin: Origin::Accepted { listener },
            remote,
            local: local.unwrap_or(remote),
            since: now.monotonic,
            inbox: Inbox::default(),
            unsent: Unsent::default(),
            state: State::Greeting(Greeting { proxy, received: Vec::new(), source }),
        };
        let id = self.legs.insert(leg);
        if self.poller.add(fd, Source::Leg(id).token(), Interest::ReadWrite).is_err() {
            self.give_half_open(id);
            self.release(id);
            return;
        }
        let timer = match proxy {
            ProxyHeader::Required => leg_timer::PROXY_HEADER,
            ProxyHeader::Refused => leg_timer::HANDSHAKE,
        };
        self.timers.start(now.monotonic, id.index, timer);
    }

    /// Empties the accept queues and closes the listeners.
    pub(super) fn close_listeners(&mut self, now: Now) {
        for place in 0..self.listeners.len() {
            if let Some(listening) = self.listeners.get_mut(place) {
                listening.readable = true;
                listening.paused_until = None;
            }
            self.accept(now, place, limits::HANDOVERS_MAX);
        }
        let listeners = std::mem::take(&mut self.listeners);
        for (place, listening) in listeners.iter().enumerate() {
            let fd = listening.socket.listener.as_raw_fd();
            self.poller.remove(fd, Source::Listener(place).token());
        }
        // The kernel accepts for a socket as long as anybody holds it, the poller included.
        self.poller.settle();
    }

    /// Drops a connection of a source that has as many half-open ones as it may.
    fn turn_away(&mut self, remote: SocketAddr, class: Class, refused: sources::Refused) {
        let fabric = Arc::clone(&self.links.fabric);
        fabric.budget.give_half_open(None);
        fabric.budget.give_accepted();
        if let Some(own) = fabric.neighbour(self.settings.shard) {
            own.load.fetch_sub(1, Ordering::Relaxed);
        }
        self.counters.add(Count::SourceRefused, 1);
        if refused == sources::Refused::First {
            let sentence = refusal(remote, class, &Unborn::SourceFull(refused).sentence());
            self.note_of(None, Severity::Info, sentence);
        }
    }

    /// Gives back what an accepted connection took until it proves who it is.
    pub(super) fn give_half_open(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let half_open = match &mut leg.state {
            State::Greeting(greeting) => Some(HalfOpen(greeting.source.take())),
            State::Handshaking(handshaking) => handshaking.half_open.take(),
            State::Established(established) => {
                established.clear.as_mut().and_then(|clear| clear.half_open.take())
            }
            _ => None,
        };
        if let Some(HalfOpen(source)) = half_open {
            self.links.fabric.budget.give_half_open(source);
            self.resume_accepting();
        }
    }

    /// Counts one more leg of this shard.
    pub(super) fn count_load(&self) {
        if let Some(own) = self.links.fabric.neighbour(self.settings.shard) {
            own.load.fetch_add(1, Ordering::Relaxed);
        }
    }
}
