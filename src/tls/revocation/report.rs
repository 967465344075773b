//! How the control thread hears which lists partners' chains lack.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::point::{Point, PointKey};
use crate::limits;

/// Where shards leave the points whose list a partner's chain lacks; shared by all of them.
///
/// A shard never waits here: what finds the queue full is dropped and counted, and comes again
/// with the next judgement.
#[derive(Debug)]
pub struct Reports {
    queue: mpsc::Sender<Point>,
    /// Points reported lately, each in the one place its key leads to, so that a thousand
    /// handshakes with one partner make one report. Two that share a place are told twice.
    lately: Box<[AtomicU64]>,
    dropped: AtomicU64,
    unknown: AtomicU64,
}

impl Reports {
    /// Makes the desk and the end that the control thread reads.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Point>) {
        let (queue, reported) = mpsc::channel(limits::CRL_REPORTS_MAX);
        let lately = (0..limits::CRL_POINTS_MAX * 4).map(|_| AtomicU64::new(0)).collect();
        let (dropped, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
        (Self { queue, lately, dropped, unknown }, reported)
    }

    /// Tells that the list of `point` is wanted.
    pub(super) fn wanted(&self, point: Point) {
        let (place, mark) = self.place(point.key());
        if place.swap(mark, Ordering::Relaxed) == mark {
            return;
        }
        if self.queue.try_send(point).is_err() {
            place.store(0, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets a point be reported again: its list was looked for, or is not held any more.
    pub fn hear_again(&self, key: PointKey) {
        let (place, mark) = self.place(key);
        // Whoever has taken the place meanwhile keeps it.
        let _ = place.compare_exchange(mark, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Counts a partner's chain whose state is not known.
    pub(super) fn count_unknown(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many chains of partners were judged without every list they need.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Returns how many reports found the queue full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn place(&self, key: PointKey) -> (&AtomicU64, u64) {
        let place = (key >> 64) as u64 % self.lately.len() as u64;
        // Zero stands for an empty place.
        (&self.lately[place as usize], (key as u64).max(1))
    }
}
