//! Running relay threads, and what others may ask of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{self, Sender};

use super::board::{Board, Observed};
use super::ring::trains::Trains;
use super::worker::Order;
use crate::edge::av::{Admission, Client, Credentials, Peers, Quotas, RelayPort, Traffic};
use crate::limits;
use crate::poll::Waker;
use crate::tls;

/// An allocation as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose.
    pub client: Client,
    /// The domain in the user's name, where it is known.
    pub domain: Option<Arc<str>>,
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

/// Running relay threads. Dropped, they end, and their allocations with them.
pub struct Handle {
    pub(super) threads: Vec<Thread>,
    pub(super) trains: Trains,
    pub(super) listeners: Vec<SocketAddr>,
    /// Whether new allocations were forbidden last.
    pub(super) drains: AtomicBool,
}

/// One of them.
pub(super) struct Thread {
    /// What it moves datagrams by.
    pub(super) path: &'static str,
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) orders: Sender<Order>,
    pub(super) waker: Arc<Waker>,
    pub(super) board: Arc<Board>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Handle {
    /// Returns the addresses that clients come in by, with the ports the kernel chose.
    #[must_use]
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Returns what the threads move datagrams by, and how many of them by each: a ring that one
    /// could not have any more another one may have got.
    #[must_use]
    pub fn paths(&self) -> BTreeMap<&'static str, usize> {
        let mut paths = BTreeMap::new();
        for thread in &self.threads {
            *paths.entry(thread.path).or_default() += 1;
        }
        paths
    }

    /// Returns how trains of datagrams are moved: by what of the kernel, or not.
    #[must_use]
    pub const fn trains(&self) -> &'static str {
        self.trains.name()
    }

    /// Returns how many threads there are.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Returns how the threads were at most a second ago, taken together; whether they take new
    /// allocations, as it was ordered last.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let boards = self.threads.iter().map(|thread| thread.board.read());
        let observed = boards.reduce(|one, other| one.with(&other)).unwrap_or_default();
        match self.drains.load(Ordering::Relaxed) {
            true => observed.draining(),
            false => Observed { draining: false, ..observed },
        }
    }

    /// Puts other credentials, peers and quotas in force; allocations stay.
    pub fn adopt(&self, credentials: Credentials, peers: Peers, quotas: Quotas) {
        let adopted = (credentials, peers, quotas);
        for thread in &self.threads {
            thread.order(Order::Adopt(Box::new(adopted.clone())));
        }
    }

    /// Accepts TLS by other material from here on: one for each listener.
    pub fn adopt_tls(&self, of_listeners: &[Option<Arc<tls::Server>>]) {
        for thread in &self.threads {
            thread.order(Order::AdoptTls(of_listeners.to_vec()));
        }
    }

    /// Takes new allocations, or no more.
    pub fn admit(&self, admission: Admission) {
        self.drains.store(admission != Admission::Open, Ordering::Relaxed);
        for thread in &self.threads {
            thread.order(Order::Admit(admission));
        }
    }

    /// Lists allocations, at most [`limits::RELAY_LISTED_MAX`] from the one after `skip` on, those
    /// of one thread after those of another; empty when the threads have ended.
    #[must_use]
    pub fn list(&self, skip: usize) -> Listing {
        let mut all = Listing::default();
        for thread in &self.threads {
            let (reply, answer) = channel::bounded(1);
            let skip = skip.saturating_sub(all.allocations);
            let most = limits::RELAY_LISTED_MAX - all.listed.len();
            thread.order(Order::List { skip, most, reply });
            let Listing { allocations, free_ports, listed } = answer.recv().unwrap_or_default();
            all.allocations += allocations;
            all.free_ports = sum(all.free_ports, free_ports);
            all.listed.extend(listed);
        }
        all
    }

    /// Returns the seconds until no more than `left` allocations are there if none is refreshed; a
    /// little more where threads have them unevenly.
    #[must_use]
    pub fn unrefreshed_s(&self, left: usize) -> u64 {
        let left = left / self.threads.len().max(1);
        let lasting = self.threads.iter().map(|thread| {
            let (reply, answer) = channel::bounded(1);
            thread.order(Order::Lasting { left, reply });
            answer.recv().unwrap_or_default()
        });
        lasting.max().unwrap_or_default()
    }

    /// Ends the allocation of a client; tells whether there was one.
    #[must_use]
    pub fn kill(&self, client: Client) -> bool {
        let killed = self.threads.iter().map(|thread| {
            let (reply, answer) = channel::bounded(1);
            thread.order(Order::Kill { client, reply });
            answer.recv().unwrap_or(false)
        });
        killed.fold(false, |one, other| one | other)
    }

    /// Ends the threads and every allocation.
    ///
    /// # Panics
    /// If a thread has panicked.
    pub fn end(mut self) {
        assert!(self.close().is_ok(), "the relay's threads end as they are told");
    }

    /// Ends the threads as dropping does; returns what they have counted to their end.
    #[must_use]
    pub fn into_counted(mut self) -> Observed {
        // The panic of a thread was told by the hook.
        let _ = self.close();
        self.observed().ended()
    }

    fn close(&mut self) -> std::thread::Result<()> {
        for thread in &self.threads {
            thread.order(Order::End);
        }
        let mut ended = Ok(());
        for thread in self.threads.iter_mut().filter_map(|thread| thread.thread.take()) {
            // Each is waited for, whatever has become of another.
            ended = ended.and(thread.join());
        }
        ended
    }
}

impl Thread {
    fn order(&self, order: Order) {
        // It fails when the thread has ended, and then nothing is left to order.
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever drops it does not wait for its result.
        let _ = self.close();
    }
}

/// Adds numbers of which either both are there or none.
pub(super) fn sum(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}
