//! The shell of the signalling roles: one thread per core that moves bytes between the kernel, TLS
//! and a role core, and decides nothing.
//!
//! ```text
//!  poller ──> accept ─> greeting ─> handshake ─> serve ──> Core::feed
//!                │          │           │                     │ Effects
//!             another    PROXY       queued                   v
//!             shard      header     steps       commands <── run ──> connect, mail, questions
//!                                                  staging ──> flush: seal, one write per leg
//! ```
//!
//! A [`Shard`] is one value on one thread and entirely synchronous (DESIGN 3a). Its loop is generic
//! over the [`Poller`], the [`Network`] and the [`Core`]. What it shares with the other shards is
//! in [`Fabric`]; what the control thread publishes is in [`Published`].
//!
//! # For the control thread
//! Build the [`Fabric`] and [`Published`], [`listen`], then [`spawn`] each shard with its [`Setup`]
//! and its [`Links`]. After publishing anything, call [`Fabric::wake_all`]. Questions come by
//! `Links::questions`; give each exactly one answer with [`Fabric::answer`]. Snapshots that a shard
//! has left come back by `Links::retired` and are freed there. To stop, publish [`Drain::Notice`],
//! later [`Drain::Closing`], and join the threads.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::dns::Question;
use crate::edge::{Core, Drain, Effects, LegId};
use crate::limits;
use crate::poll::{Interest, Poller, Ready, Wait};
use crate::time::{Clock, Monotonic, Now};
use crate::tls;

mod accept;
mod close;
mod commands;
mod connect;
mod counters;
mod drain;
mod fabric;
mod flush;
mod greeting;
mod handshake;
mod judge;
mod legs;
mod listen;
mod mailbox;
mod names;
mod network;
mod reservations;
mod serve;
mod sources;
mod spawn;
mod timers;

pub use counters::{Count, CounterCells, Counters, Kind, Series};
pub use fabric::{Budget, Fabric, Published};
pub use listen::{ListenError, ListenerPlan, ListenerSocket, Locks, adopt, listen};
pub use network::{Kernel, Network, Stream};
pub use spawn::{DecidedOn, Links, Observe, Remember, Settings, Setup, spawn};

use accept::Listening;
use commands::Deferred;
use connect::Dials;
use legs::{Legs, Source};
use reservations::Reservations;
use timers::Fifos;

/// Where [`mailbox`] takes its queue and atomics from; `tests/loom` has another.
mod sync {
    pub(super) use crossbeam::queue::ArrayQueue as Queue;
    pub(super) use std::sync::atomic::{AtomicUsize, Ordering};
}

/// Classes of a leg's one timer; durations in [`Shard::new`].
mod leg_timer {
    pub(super) const PROXY_HEADER: usize = 0;
    pub(super) const HANDSHAKE: usize = 1;
    pub(super) const WRITE_STALL: usize = 2;
    pub(super) const LINGER: usize = 3;
    pub(super) const CLASSES: usize = 4;
}

/// One thread's loop and all it owns.
pub struct Shard<P, N: Network, C> {
    poller: P,
    network: N,
    core: C,
    effects: Effects,
    settings: Settings,
    links: Links<C, N::Stream>,
    material: Arc<tls::Material>,
    snapshot_epoch: u64,
    legs: Legs<N::Stream>,
    names: names::Names,
    timers: Fifos<{ leg_timer::CLASSES }>,
    dials: Dials,
    listeners: Vec<Listening<N::Listener>>,
    /// Legs that have more to read than their share of the last turn.
    again: VecDeque<LegId>,
    handshakes: VecDeque<LegId>,
    /// Legs to be written at the end of the turn.
    dirty: Vec<LegId>,
    deferred: VecDeque<Deferred>,
    reservations: Vec<Reservations>,
    /// Shards that were posted something this turn.
    posted: Vec<u16>,
    /// Questions without an answer yet; each has a place reserved among the answers.
    outstanding: HashSet<Question>,
    /// Other shards or control left something; look at all of it.
    woken: bool,
    /// Mail or sockets were left in their boxes for the next turn.
    more_mail: bool,
    sweep: judge::Sweep,
    drain: drain::Draining,
    read_buffer: Box<[u8]>,
    out: Vec<u8>,
    ready: Vec<Ready>,
    counters: Counters,
    /// When the counters are to be copied; `None` while they are as they were last copied.
    publish_at: Option<Monotonic>,
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Makes a shard around a core that holds the snapshot of `snapshot_epoch`.
    ///
    /// # Errors
    /// The poller's, when it cannot watch the waker or a listener.
    pub fn new(
        mut poller: P,
        network: N,
        core: C,
        listeners: Vec<ListenerSocket<N::Listener>>,
        settings: Settings,
        links: Links<C, N::Stream>,
        snapshot_epoch: u64,
    ) -> io::Result<Self> {
        let own = links.fabric.neighbour(settings.shard).ok_or(io::ErrorKind::InvalidInput)?;
        poller.add(own.waker.fd(), Source::Waker.token(), Interest::Read)?;
        let listeners = Listening::all(&mut poller, listeners)?;
        let (_, reserved) = fabric::box_size(own.role.len());
        let reservations =
            (0..links.fabric.shards()).map(|_| Reservations::new(reserved)).collect();
        let material = links.published.material.load_full();
        let durations_ms = [
            limits::PROXY_HEADER_MS,
            settings.handshake_ms,
            limits::WRITE_STALL_MS,
            limits::LINGER_MS,
        ];
        let buffer = limits::READ_BYTES_PER_TURN_MAX + limits::HANDSHAKE_BYTES_MAX;
        Ok(Self {
            poller,
            network,
            core,
            effects: Effects::default(),
            settings,
            material,
            snapshot_epoch,
            legs: Legs::new(),
            names: names::Names::new(),
            timers: Fifos::new(durations_ms),
            dials: Dials::new(),
            listeners,
            again: VecDeque::new(),
            handshakes: VecDeque::new(),
            dirty: Vec::new(),
            deferred: VecDeque::new(),
            reservations,
            posted: Vec::new(),
            outstanding: HashSet::new(),
            woken: true,
            more_mail: false,
            sweep: judge::Sweep::default(),
            drain: drain::Draining::default(),
            read_buffer: vec![0; buffer].into(),
            out: Vec::new(),
            ready: Vec::new(),
            counters: Counters::default(),
            publish_at: None,
            links,
        })
    }

    /// Runs until the drain is complete. The one loop without a bound: it is the thread's life.
    ///
    /// # Errors
    /// The poller's, none of which can be mended.
    pub fn run(&mut self, clock: &Clock) -> io::Result<()> {
        let mut now = clock.now();
        while !self.finished() {
            self.wait(now)?;
            now = clock.now();
            self.turn(now);
        }
        self.publish_counters();
        Ok(())
    }

    /// Waits for the next turn's events, no longer than the next deadline.
    ///
    /// # Errors
    /// The poller's.
    pub fn wait(&mut self, now: Now) -> io::Result<()> {
        let at_most_ns = if self.has_work() {
            Some(0)
        } else {
            self.next_deadline().map(|deadline| deadline.0.saturating_sub(now.monotonic.0))
        };
        let small = self.ready.len() < limits::SMALL_TURN_EVENTS;
        let coalesce_us = if small { self.settings.coalesce_us } else { 0 };
        self.ready.clear();
        self.poller.wait(Wait { at_most_ns, coalesce_us }, &mut self.ready)
    }

    /// Serves what is ready and due, once; `now` must not go back.
    pub fn turn(&mut self, now: Now) {
        self.counters.add(Count::Turns, 1);
        self.counters.add(Count::Events, self.ready.len());
        if !self.ready.is_empty() && self.publish_at.is_none() {
            self.publish_at = Some(now.monotonic.plus_ms(limits::COUNTERS_PUBLISH_MS));
        }
        let left_over = self.again.len();
        self.serve_events(now);
        self.serve_again(now, left_over);
        self.deliver_deferred(now);
        if std::mem::take(&mut self.woken) || self.more_mail {
            self.look_around(now);
        }
        self.expire(now);
        self.step_handshakes(now);
        self.accept_all(now);
        self.sweep_legs(now);
        self.drain_on(now);
        self.flush(now);
        self.wake_posted();
        if self.publish_at.is_some_and(|at| at <= now.monotonic) {
            self.publish_counters();
        }
    }

    /// Returns whether the drain is complete and the thread may end.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.drain.is_over()
    }

    /// Returns the core, for tests.
    #[must_use]
    pub const fn core(&self) -> &C {
        &self.core
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns legs, connection attempts and descriptors of this shard, in whatever state.
    #[must_use]
    pub fn open(&self) -> usize {
        self.legs.len()
    }

    fn serve_events(&mut self, now: Now) {
        let ready = std::mem::take(&mut self.ready);
        for event in &ready {
            match Source::of(event.token) {
                Source::Leg(id) => self.leg_ready(now, id, *event),
                Source::Listener(place) => {
                    if let Some(listening) = self.listeners.get_mut(place) {
                        listening.readable = true;
                    }
                }
                Source::Waker => self.woken = true,
            }
        }
        self.ready = ready;
    }

    fn leg_ready(&mut self, now: Now, id: LegId, event: Ready) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.inbox.readable |= event.readable;
        leg.inbox.hangup |= event.hangup;
        match &leg.state {
            legs::State::Connecting { dial } => {
                let dial = *dial;
                self.attempt_ready(now, id, dial);
                return;
            }
            legs::State::Established(established) if established.ending.is_some() => {
                self.dirty.push(id);
                return;
            }
            _ => {}
        }
        if event.writable && !leg.unsent.is_empty() {
            self.dirty.push(id);
        }
        if event.readable && !leg.inbox.queued {
            self.serve(now, id);
        }
    }

    /// Serves the legs that were left over by the turn before; what they leave is for the next.
    fn serve_again(&mut self, now: Now, left_over: usize) {
        for _ in 0..left_over {
            let Some(id) = self.again.pop_front() else { return };
            if let Some(leg) = self.legs.get_mut(id) {
                leg.inbox.queued = false;
                self.serve(now, id);
            }
        }
    }

    /// Looks at everything other threads may have left; the waker is rearmed first.
    fn look_around(&mut self, now: Now) {
        let fabric = Arc::clone(&self.links.fabric);
        let Some(own) = fabric.neighbour(self.settings.shard) else { return };
        own.waker.rearm();
        self.adopt_published(now);
        for _ in 0..limits::QUESTIONS_MAX {
            let Some(answer) = own.answers.pop() else { break };
            self.outstanding.remove(&answer.question);
            self.core.resolved(now, answer, &mut self.effects);
            self.run_commands(now);
        }
        self.take_handovers(now, own);
        self.take_mail(now, own);
    }

    /// Runs what is due: the core's timers, the legs', the dials' and forgotten reservations.
    fn expire(&mut self, now: Now) {
        if self.core.next_deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            self.core.expire(now, &mut self.effects);
            self.run_commands(now);
        }
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            let Some((index, class)) = self.timers.pop_due(now.monotonic) else { break };
            self.leg_timed_out(now, index, class);
        }
        for _ in 0..limits::EXPIRIES_PER_TURN_MAX {
            let Some(dial) = self.dials.pop_due(now.monotonic) else { break };
            self.dial_timed_out(now, dial);
        }
        for reservations in &mut self.reservations {
            let freed = reservations.expire(now.monotonic, limits::EXPIRIES_PER_TURN_MAX);
            self.counters.add(Count::ReservationsExpired, freed);
        }
    }

    /// Returns whether something is left that no event will announce.
    fn has_work(&self) -> bool {
        self.woken
            || self.more_mail
            || self.accepting()
            || self.sweep.running()
            || ![self.again.len(), self.handshakes.len(), self.dirty.len(), self.deferred.len()]
                .iter()
                .all(|left| *left == 0)
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        let reservations = self.reservations.iter().filter_map(Reservations::next_deadline);
        let fixed = [
            self.core.next_deadline(),
            self.timers.next_deadline(),
            self.dials.next_deadline(),
            self.accept_deadline(),
            self.sweep.next_deadline(),
            self.drain.next_deadline(),
            self.publish_at,
        ];
        fixed.into_iter().flatten().chain(reservations).min()
    }

    fn publish_counters(&mut self) {
        self.publish_at = None;
        self.counters.set(Count::DialsOpen, self.dials.len());
        self.counters.set(Count::HandshakesQueued, self.handshakes.len());
        if let Some(own) = self.links.fabric.neighbour(self.settings.shard) {
            own.counters.publish(&self.counters);
        }
        if let Some(observe) = &mut self.links.observe {
            observe(&self.core);
        }
    }

    /// Says which leg is being served, for the line that a failed assertion leaves behind.
    fn serving(&self, id: LegId) {
        if let Some(own) = self.links.fabric.neighbour(self.settings.shard) {
            let both = u64::from(id.generation) << 32 | u64::from(id.index);
            own.serving.store(both, Ordering::Relaxed);
        }
    }

    /// Takes over what control has published since the last look.
    fn adopt_published(&mut self, now: Now) {
        let published = Arc::clone(&self.links.published);
        let material = published.material.load_full();
        if material.edition() != self.material.edition() {
            self.material = material;
            self.sweep.start_judging();
        }
        let snapshot = published.snapshot.load_full();
        if snapshot.epoch != self.snapshot_epoch {
            self.snapshot_epoch = snapshot.epoch;
            let retired = self.core.adopt(now, snapshot, &mut self.effects);
            // Whoever frees them lives as long as a shard may send; at the end the need is gone.
            let _ = self.links.retired.send(retired);
            self.run_commands(now);
        }
        if let Some(stage) = published.drain_stage() {
            self.begin_drain(now, stage);
        }
    }

    fn begin_drain(&mut self, now: Now, stage: Drain) {
        for due in [Drain::Notice, Drain::Closing] {
            if due <= stage && self.drain.begin(now.monotonic, due, self.settings.drain_timeout_ms)
            {
                if due == Drain::Closing {
                    self.close_listeners(now);
                }
                self.core.drain(now, due, &mut self.effects);
                self.run_commands(now);
            }
        }
    }
}
