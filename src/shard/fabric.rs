//! What the shards of one process share: how to reach each other, and what they may use together.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use super::counters::CounterCells;
use super::legs::ProxyHeader;
use super::mailbox::PostBox;
use super::sources::{self, Sources};
use crate::dns::SharedAnswer;
use crate::edge::{Class, Drain, LegId, Mail};
use crate::limits;
use crate::policy::Snapshot;
use crate::poll::Waker;
use crate::tls;

/// The shards as they see each other, and as the control thread sees them.
pub struct Fabric<S = TcpStream> {
    neighbours: Box<[CachePadded<Neighbour<S>>]>,
    /// What all shards together may use.
    pub budget: Budget,
}

/// One shard as others see it.
pub(super) struct Neighbour<S> {
    /// The shards that serve the same role: they give each other sockets and mail.
    pub(super) role: Range<u16>,
    pub(super) waker: Waker,
    /// Legs it has, for the choice of where an accepted socket goes.
    pub(super) load: AtomicUsize,
    pub(super) handovers: ArrayQueue<Handover<S>>,
    pub(super) answers: ArrayQueue<SharedAnswer>,
    /// One for each sender.
    pub(super) boxes: Box<[PostBox<Mail>]>,
    pub(super) counters: CounterCells,
    /// The leg that is being served, for the line a failed assertion leaves behind.
    pub(super) serving: AtomicU64,
}

/// An accepted socket on its way to the shard that will serve it.
pub(super) struct Handover<S> {
    pub(super) stream: S,
    pub(super) remote: SocketAddr,
    pub(super) class: Class,
    /// Place in the list of listeners, the same in every shard.
    pub(super) listener: u16,
    pub(super) proxy: ProxyHeader,
}

impl<S> Fabric<S> {
    /// Makes the meeting place of `shards` shards of one role.
    ///
    /// Memory: about 0.5 MiB for each pair of two shards, falling to a sixteenth of that with many.
    /// # Errors
    /// The kernel's, when no descriptor is left for a waker.
    pub fn new(shards: usize, budget: Budget) -> io::Result<Arc<Self>> {
        Self::of_roles(&[shards], budget)
    }

    /// Makes the meeting place of shards that serve different roles: so many of the first, then so
    /// many of the second. All use one budget, one resolver and what is published; nothing else
    /// passes from role to role.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_roles(roles: &[usize], budget: Budget) -> io::Result<Arc<Self>> {
        let shards: usize = roles.iter().sum();
        assert!(shards <= limits::SHARDS_MAX, "shards are numbered by eight bits");
        let neighbour = |role: Range<u16>, receiver: u16| -> io::Result<_> {
            let post_box = |sender: usize| {
                let (room, reserved) = box_size(role.len());
                let mails = role.contains(&(sender as u16)) && sender != usize::from(receiver);
                // Nobody mails to himself; a queue wants one place all the same.
                if mails { PostBox::new(room, reserved) } else { PostBox::new(1, 0) }
            };
            Ok(CachePadded::new(Neighbour {
                boxes: (0..shards).map(post_box).collect(),
                role,
                waker: Waker::new()?,
                load: AtomicUsize::new(0),
                handovers: ArrayQueue::new(limits::HANDOVERS_MAX),
                answers: ArrayQueue::new(limits::QUESTIONS_MAX),
                counters: CounterCells::default(),
                serving: AtomicU64::new(0),
            }))
        };
        let mut neighbours = Vec::with_capacity(shards);
        for wanted in roles {
            let first = neighbours.len() as u16;
            let role = first..first + *wanted as u16;
            for receiver in role.clone() {
                neighbours.push(neighbour(role.clone(), receiver)?);
            }
        }
        Ok(Arc::new(Self { neighbours: neighbours.into(), budget }))
    }

    /// Returns how many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.neighbours.len()
    }

    /// Wakes one shard, after something was put where it will look.
    pub fn wake(&self, shard: u16) {
        if let Some(neighbour) = self.neighbours.get(usize::from(shard)) {
            neighbour.waker.wake();
        }
    }

    /// Wakes all shards, after something was published.
    pub fn wake_all(&self) {
        for neighbour in &self.neighbours {
            neighbour.waker.wake();
        }
    }

    /// Gives a shard the answer to a question it asked, and wakes it.
    ///
    /// Each question reserved the place of its answer, so there always is one.
    pub fn answer(&self, shard: u16, answer: SharedAnswer) {
        let Some(neighbour) = self.neighbours.get(usize::from(shard)) else { return };
        let pushed = neighbour.answers.push(answer);
        assert!(pushed.is_ok(), "one answer for each question");
        neighbour.waker.wake();
    }

    /// Returns the counters of one shard.
    #[must_use]
    pub fn counters(&self, shard: u16) -> Option<&CounterCells> {
        self.neighbours.get(usize::from(shard)).map(|neighbour| &neighbour.counters)
    }

    /// Returns the leg one shard serves or served last, for a panic hook.
    #[must_use]
    pub fn serving(&self, shard: u16) -> Option<LegId> {
        let both = self.neighbours.get(usize::from(shard))?.serving.load(Ordering::Relaxed);
        Some(LegId { index: both as u32, generation: (both >> 32) as u32 })
    }

    pub(super) fn neighbour(&self, shard: u16) -> Option<&Neighbour<S>> {
        self.neighbours.get(usize::from(shard)).map(|padded| &**padded)
    }

    /// Returns the shard of the same role with the fewest legs, `own` if none has fewer.
    pub(super) fn least_loaded(&self, own: u16) -> u16 {
        let load = |shard: u16| self.neighbours[usize::from(shard)].load.load(Ordering::Relaxed);
        let mut best = own;
        for shard in self.neighbours[usize::from(own)].role.clone() {
            if load(shard) < load(best) {
                best = shard;
            }
        }
        best
    }
}

impl<S> std::fmt::Debug for Fabric<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fabric").field("shards", &self.neighbours.len()).finish_non_exhaustive()
    }
}

/// Returns room and reserved places of one box, so that a shard's boxes together stay bounded.
pub(super) fn box_size(shards: usize) -> (usize, usize) {
    let senders = shards.saturating_sub(1).max(1);
    let share = |most: usize| (4 * most / senders).clamp(most / 16, most);
    (share(limits::MAIL_ROOM), share(limits::MAIL_RESERVED_MAX))
}

/// What all shards together may use.
#[derive(Debug)]
pub struct Budget {
    /// Accepted and outgoing connections together; each is a descriptor.
    connections_max: usize,
    /// Of these, kept for outgoing ones.
    outgoing_reserved: usize,
    half_open_max: usize,
    sources: Sources,
    accepted: CachePadded<AtomicUsize>,
    outgoing: CachePadded<AtomicUsize>,
    half_open: CachePadded<AtomicUsize>,
}

impl Budget {
    /// Makes an unused budget of `connections_max` connections, of which `outgoing_reserved` are
    /// never given to accepted ones, and of `half_open_max` accepted ones without finished TLS.
    #[must_use]
    pub fn new(connections_max: usize, outgoing_reserved: usize, half_open_max: usize) -> Self {
        assert!(outgoing_reserved < connections_max, "something is left to accept");
        let none = || CachePadded::new(AtomicUsize::new(0));
        Self {
            connections_max,
            outgoing_reserved,
            half_open_max,
            sources: Sources::new(half_open_max, half_open_max),
            accepted: none(),
            outgoing: none(),
            half_open: none(),
        }
    }

    /// Returns this budget with at most `most` half-open connections of one source.
    ///
    /// Memory: 32 bytes for each half-open connection there may be, 4 MiB at most.
    #[must_use]
    pub fn with_half_open_per_source(mut self, most: usize) -> Self {
        self.sources = Sources::new(self.half_open_max, most);
        self
    }

    /// Returns accepted, outgoing and half-open connections.
    #[must_use]
    pub fn used(&self) -> (usize, usize, usize) {
        let read = |cell: &AtomicUsize| cell.load(Ordering::Relaxed);
        (read(&self.accepted), read(&self.outgoing), read(&self.half_open))
    }

    /// Takes the place of an accepted connection, half-open at first.
    pub(super) fn take_accepted(&self) -> Result<(), Full> {
        let for_accepted = self.connections_max - self.outgoing_reserved;
        if !take(&self.accepted, for_accepted) {
            return Err(Full::Connections);
        }
        let (accepted, outgoing, _) = self.used();
        if accepted + outgoing > self.connections_max {
            give(&self.accepted);
            return Err(Full::Connections);
        }
        if !take(&self.half_open, self.half_open_max) {
            give(&self.accepted);
            return Err(Full::HalfOpen);
        }
        Ok(())
    }

    pub(super) fn give_accepted(&self) {
        give(&self.accepted);
    }

    /// Takes a place among the half-open connections of one source.
    pub(super) fn take_source(&self, source: IpAddr) -> Result<sources::Place, sources::Refused> {
        self.sources.take(source)
    }

    /// `source`: the connection's place among those of its source, if it came to have one.
    pub(super) fn give_half_open(&self, source: Option<sources::Place>) {
        give(&self.half_open);
        if let Some(place) = source {
            self.sources.give(place);
        }
    }

    /// Takes the place of an outgoing connection.
    pub(super) fn take_outgoing(&self) -> Result<(), Full> {
        let accepted = self.accepted.load(Ordering::Relaxed);
        if take(&self.outgoing, self.connections_max.saturating_sub(accepted)) {
            Ok(())
        } else {
            Err(Full::Connections)
        }
    }

    pub(super) fn give_outgoing(&self) {
        give(&self.outgoing);
    }
}

/// Which part of a [`Budget`] is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Connections,
    HalfOpen,
}

fn take(cell: &AtomicUsize, most: usize) -> bool {
    let one_more = |used: usize| (used < most).then_some(used + 1);
    cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
}

fn give(cell: &AtomicUsize) {
    let before = cell.fetch_sub(1, Ordering::Relaxed);
    assert!(before > 0, "nothing is given back that was not taken");
}

/// What the control thread publishes: each cell holds the latest value, and none is a queue.
///
/// After a change, [`Fabric::wake_all`] makes the shards look.
pub struct Published {
    /// Policy; each shard hands back the one it leaves.
    pub snapshot: ArcSwap<Snapshot>,
    /// Certificates, keys and trust.
    pub material: ArcSwap<tls::Material>,
    drain: AtomicU8,
}

impl Published {
    /// Publishes the first policy and the first material.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, material: Arc<tls::Material>) -> Self {
        Self {
            snapshot: ArcSwap::new(snapshot),
            material: ArcSwap::new(material),
            drain: AtomicU8::new(0),
        }
    }

    /// Begins a stage of the drain; there is no way back.
    pub fn drain(&self, stage: Drain) {
        self.drain.fetch_max(stage as u8 + 1, Ordering::Release);
    }

    /// Returns how far the drain is to come.
    #[must_use]
    pub fn drain_stage(&self) -> Option<Drain> {
        match self.drain.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Drain::Notice),
            _ => Some(Drain::Closing),
        }
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").field("drain", &self.drain_stage()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_leave_the_reserve_for_outgoing_ones() {
        let budget = Budget::new(5, 2, 100);
        for _ in 0..3 {
            assert_eq!(budget.take_accepted(), Ok(()));
        }
        assert_eq!(budget.take_accepted(), Err(Full::Connections));
        assert_eq!((budget.take_outgoing(), budget.take_outgoing()), (Ok(()), Ok(())));
        assert_eq!(budget.take_outgoing(), Err(Full::Connections));
        budget.give_accepted();
        assert_eq!(budget.take_outgoing(), Ok(()), "outgoing ones may use what is not accepted");
        assert_eq!(budget.take_accepted(), Err(Full::Connections));
    }

    #[test]
    fn half_open_connections_are_bounded_apart() {
        let budget = Budget::new(10, 1, 1);
        assert_eq!(budget.take_accepted(), Ok(()));
        assert_eq!(budget.take_accepted(), Err(Full::HalfOpen));
        budget.give_half_open(None);
        assert_eq!(budget.take_accepted(), Ok(()));
        assert_eq!(budget.used(), (2, 0, 1));
    }

    #[test]
    fn an_accepted_socket_goes_where_the_fewest_legs_are_and_stays_when_equal() {
        let fabric = Fabric::<TcpStream>::new(3, Budget::new(10, 1, 1)).expect("wakers");
        assert_eq!(fabric.least_loaded(1), 1);
        for (shard, load) in [(0, 4), (1, 4), (2, 3)] {
            fabric.neighbour(shard).expect("a shard").load.store(load, Ordering::Relaxed);
        }
        assert_eq!(fabric.least_loaded(1), 2);
    }

    #[test]
    fn a_socket_stays_within_its_role_however_idle_another_is() {
        let fabric = Fabric::<TcpStream>::of_roles(&[2, 1], Budget::new(10, 1, 1)).expect("wakers");
        for (shard, load) in [(0, 9), (1, 7), (2, 0)] {
            fabric.neighbour(shard).expect("a shard").load.store(load, Ordering::Relaxed);
        }
        assert_eq!((fabric.least_loaded(0), fabric.least_loaded(2)), (1, 2));
    }

    #[test]
    fn the_boxes_of_a_shard_stay_bounded_together() {
        assert_eq!(box_size(2), (limits::MAIL_ROOM, limits::MAIL_RESERVED_MAX));
        let (room, reserved) = box_size(limits::SHARDS_MAX);
        assert_eq!((room, reserved), (limits::MAIL_ROOM / 16, limits::MAIL_RESERVED_MAX / 16));
    }
}
