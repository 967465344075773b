//! What a relay thread has counted, as others may read it.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::handle::sum;
use crate::edge::av::{Classes, Counters, Outlook, Withheld};
use crate::edge::counted::summed;

/// What the shell counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams that came.
    pub received: u64,
    /// Of these, in trains that were judged as one.
    pub received_in_trains: u64,
    /// Datagrams that were longer than a slot.
    pub oversized: u64,
    /// Datagrams whose last hop was the one to this relay.
    pub hop_limit: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Of these, in trains.
    pub sent_in_trains: u64,
    /// Datagrams lost because a socket's buffer was full.
    pub full: u64,
    /// Datagrams that the kernel refused.
    pub refused: u64,
    /// Relayed ports that could not be opened.
    pub unopened: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Payloads handed to other threads.
    pub mailed: u64,
    /// Streams that were closed at once: too many, or no descriptor was left.
    pub streams_refused: u64,
}

impl Tally {
    /// Counts what became of one datagram.
    pub(super) fn sent(&mut self, result: io::Result<usize>) {
        match result {
            Ok(_) => self.sent += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.full += 1,
            Err(_) => self.refused += 1,
        }
    }
}

/// How a relay thread was a moment ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What its core has counted.
    pub core: Counters,
    /// What its shell has.
    pub shell: Tally,
    /// Allocations.
    pub allocations: usize,
    /// Ports that are free; `None` where they are shared.
    pub free_ports: Option<usize>,
    /// Sockets of datagrams that are open.
    pub sockets: usize,
    /// Streams of clients.
    pub streams: usize,
    /// TCP connections with peers.
    pub connections: usize,
    /// Allocations of each kind.
    pub classes: Classes,
    /// Users with allocations, with whatever thread.
    pub users: usize,
    /// Whether no new allocations are taken.
    pub draining: bool,
    /// What runs out.
    pub outlook: Outlook,
    /// What strangers were not answered in the last second.
    pub withheld: Withheld,
}

impl Observed {
    /// Returns what is true of it from when it is told to take no new allocations: they are refused
    /// before anything runs out.
    #[must_use]
    pub(super) const fn draining(mut self) -> Self {
        self.draining = true;
        self.outlook.ports_run_out_s = None;
        self.outlook.allocations_run_out_s = None;
        self
    }

    /// Returns what is true of it once its threads have ended: what was counted. It has nothing and
    /// takes nothing.
    #[must_use]
    pub fn ended(self) -> Self {
        Self { core: self.core, shell: self.shell, draining: true, ..Self::default() }
    }

    /// Returns both threads' together.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self {
            core: self.core + other.core,
            shell: self.shell + other.shell,
            allocations: self.allocations + other.allocations,
            free_ports: sum(self.free_ports, other.free_ports),
            sockets: self.sockets + other.sockets,
            streams: self.streams + other.streams,
            connections: self.connections + other.connections,
            classes: self.classes + other.classes,
            // Each has counted those of all threads, one of them a little later.
            users: self.users.max(other.users),
            draining: self.draining && other.draining,
            outlook: self.outlook.with(&other.outlook),
            withheld: self.withheld.with(&other.withheld),
        }
    }
}

summed!(
    Tally: received, received_in_trains, oversized, hop_limit, sent, sent_in_trains, full, refused,
    unopened, turns, mailed, streams_refused,
);

/// Where one thread leaves it, once a second.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Observed>);

impl Board {
    /// Leaves what there is; the thread never waits for a reader.
    pub(super) fn leave(&self, observed: Observed) {
        if let Ok(mut held) = self.0.try_lock() {
            *held = observed;
        }
    }

    pub(super) fn read(&self) -> Observed {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
