//! What the relays of all threads of an edge count by together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::accounts::Accounts;
use super::doors::Doors;
use super::gate::Gate;
use super::rate::Takers;

/// Accounts, answers to strangers and TCP connections, for every thread of the edge. What is cloned
/// counts with what it was cloned from: relays of one edge have one of these.
#[derive(Clone, Debug)]
pub struct Together {
    pub(super) accounts: Accounts,
    pub(super) gate: Gate,
    /// TCP connections with peers.
    pub(super) connections: Total,
    /// Relayed ports that take them.
    pub(super) doors: Doors,
}

impl Together {
    /// Returns that of an edge with so many threads, or of a relay alone.
    #[must_use]
    pub fn of_threads(threads: usize) -> Self {
        let takers = if threads > 1 { Takers::Several } else { Takers::One };
        Self {
            accounts: Accounts::of(takers),
            gate: Gate::new(takers),
            connections: Total::default(),
            doors: Doors::new(),
        }
    }
}

/// How many there are of something, with any thread. What is cloned counts with what it was cloned
/// from.
#[derive(Clone, Debug, Default)]
pub struct Total(Arc<AtomicUsize>);

/// One of a [`Total`], for as long as it is kept.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Total {
    /// Counts one more; `None`: there are `most`.
    #[must_use]
    pub fn one_more(&self, most: usize) -> Option<Counted> {
        one_more(&self.0, most).then(|| Counted(Arc::clone(&self.0)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one more, if there are fewer than `most`; tells whether it did.
pub(super) fn one_more(count: &AtomicUsize, most: usize) -> bool {
    let more = |count: usize| (count < most).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}
