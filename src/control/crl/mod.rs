//! Revocation lists of partners' authorities: fetched, kept up to date, published to the shards.
//!
//! ```text
//! shards ─ points without a list ─> Table ─ due ─> fetch (HTTP) or shelf (disk)
//!                                     ^               │ read and verified on a worker
//!                                     └── lists <─────┘
//! Table ─ lists ─> Lists ─> Material of another edition ─> Published ─> shards judge again
//! ```
//!
//! Nothing here is on the way of a message: a shard that lacks a list of a partner says so and
//! goes on.

mod fetch;
#[cfg(test)]
mod fixture;
mod lists;
mod shelf;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::board::Board;
use super::convert;
use crate::config::Config;
use crate::dns::resolver::Resolver;
use crate::limits;
use crate::time::{Clock, Monotonic, Now};
use crate::tls::{self, ListFault, Point, PointKey, RevocationList};
use fetch::{Failure, Terms};
pub(super) use lists::Lists;
use shelf::Shelf;
use table::{Change, Job, Table, Unused};

/// How often it is looked for lists that nobody wants any more.
const FORGET_EVERY_MS: u64 = 3_600_000;
/// A list from disk is fetched again this soon: it may be hours old.
const AFTER_DISK_MS: u64 = 30_000;
/// How often it is told that there is no room: whoever finds none asks again with each leg.
const NO_ROOM_TOLD_EVERY_MS: u64 = 60_000;

/// What a fetch came to.
struct Done {
    point: Point,
    outcome: Result<Found, Failure>,
}

/// A list that counts.
struct Found {
    list: RevocationList,
    /// Where it came from, for the log.
    from: String,
    source: Source,
    /// Why it could not be kept on disk.
    not_kept: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Disk,
    Network,
}

/// What one fetch is done by.
#[derive(Clone)]
struct Means {
    resolver: Resolver,
    clock: Clock,
    terms: Terms,
    shelf: Option<Shelf>,
}

impl Means {
    fn of(config: &Config, resolver: &Resolver, clock: Clock) -> Self {
        Self {
            resolver: resolver.clone(),
            clock,
            terms: Terms {
                addresses: convert::address_rule(config),
                timeout_ms: config.tls.revocation_timeout_ms,
                bytes_max: config.tls.revocation_list_bytes,
            },
            shelf: shelf(config),
        }
    }
}

fn shelf(config: &Config) -> Option<Shelf> {
    config.tls.revocation_cache.as_ref().map(|directory: &PathBuf| Shelf(directory.clone()))
}

/// Keeps the lists of one edge, on the control thread, until the reports end.
pub(super) async fn serve(
    board: Arc<Board>,
    lists: Arc<Lists>,
    resolver: Resolver,
    seed: u64,
    mut reported: mpsc::Receiver<Point>,
) {
    let now = board.clock.now();
    let mut desk = Desk {
        board,
        lists,
        resolver,
        table: Table::new(seed),
        fetches: JoinSet::new(),
        publish_at: None,
        no_room_told_at: None,
        refused: 0,
        forget_at: now.monotonic.plus_ms(FORGET_EVERY_MS),
    };
    // The one loop without a bound: it is the life of the service.
    loop {
        let pause = desk.turn();
        tokio::select! {
            point = reported.recv() => match point {
                Some(point) => desk.report(point),
                None => return,
            },
            Some(done) = desk.fetches.join_next(), if !desk.fetches.is_empty() => {
                desk.done(done.expect("a fetch does not panic"));
            }
            () = desk.lists.reconfigured.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The state of [`serve`].
struct Desk {
    board: Arc<Board>,
    lists: Arc<Lists>,
    resolver: Resolver,
    table: Table,
    fetches: JoinSet<Done>,
    /// When what has changed is shown to the shards.
    publish_at: Option<Monotonic>,
    no_room_told_at: Option<Monotonic>,
    /// Points that found no room since it was told.
    refused: u64,
    forget_at: Monotonic,
}

impl Desk {
    /// Does what is due; returns how long nothing else will be.
    fn turn(&mut self) -> Duration {
        let now = self.board.clock.now();
        for point in self.table.lapse(now) {
            let issuer = point.issuer().text();
            tracing::warn!(
                issuer,
                "the revocation list of this authority is out of date and its successor could not \
                 be fetched: what it revoked stays revoked, of others nothing is known"
            );
            self.publish_soon();
        }
        if self.forget_at <= now.monotonic {
            self.forget_at = now.monotonic.plus_ms(FORGET_EVERY_MS);
            self.forget();
        }
        let wanted = self.lists.wanted();
        while wanted
            && self.fetches.len() < limits::CRL_FETCHES_MAX
            && let Some(job) = self.table.take_due(now)
        {
            let means = Means::of(&self.board.config.load(), &self.resolver, self.board.clock);
            self.fetches.spawn(run(job, means));
        }
        if self.publish_at.is_some_and(|at| at <= now.monotonic) {
            self.publish_at = None;
            self.lists.publish(self.table.lists());
        }
        // What is told is what the shards have.
        if self.publish_at.is_none() {
            self.lists.tally.set(self.table.totals());
        }
        let busy = self.fetches.len() >= limits::CRL_FETCHES_MAX;
        let due = if busy || !wanted { None } else { self.table.next_due() };
        let moments = [due, self.table.next_lapse(now), self.publish_at];
        let next = moments.into_iter().flatten().fold(self.forget_at, Monotonic::min);
        Duration::from_millis(next.ms_since(now.monotonic) + 1)
    }

    fn report(&mut self, point: Point) {
        let key = point.key();
        let now = self.board.clock.now();
        let issuer = point.issuer().text().to_owned();
        if !self.table.report(now, point) {
            self.lists.reports.hear_again(key);
            self.refused += 1;
            let told_at = self.no_room_told_at;
            let told = |at: Monotonic| now.monotonic.ms_since(at) < NO_ROOM_TOLD_EVERY_MS;
            if !told_at.is_some_and(told) {
                self.no_room_told_at = Some(now.monotonic);
                let refused = std::mem::take(&mut self.refused);
                tracing::warn!(
                    issuer,
                    refused,
                    "no room for another authority's revocation list; all that are held are in use"
                );
            }
        }
        self.let_go();
    }

    /// Does what is left to do for points that had to make room.
    fn let_go(&mut self) {
        let gone = self.table.take_gone();
        self.drop_kept(&gone);
    }

    fn drop_kept(&mut self, keys: &[PointKey]) {
        let shelf = shelf(&self.board.config.load());
        for key in keys {
            if let Some(shelf) = &shelf {
                shelf.drop(*key);
            }
            self.lists.reports.hear_again(*key);
            self.publish_soon();
        }
    }

    fn done(&mut self, done: Done) {
        let now = self.board.clock.now();
        let Done { point, outcome } = done;
        // Whoever uses it in vain tells again, so that it is not forgotten.
        self.lists.reports.hear_again(point.key());
        match outcome.and_then(|found| self.take(now, &point, found)) {
            Ok(Source::Network) => self.lists.tally.count(Ok(())),
            // Nothing was fetched.
            Ok(Source::Disk) => {}
            Err(why) => {
                self.lists.tally.count(Err(&why));
                self.table.failed(now, point.key());
                let (issuer, from) = (point.issuer().text(), point.named().join(" "));
                tracing::warn!(
                    issuer,
                    from,
                    "a revocation list cannot be fetched: {why}; partners under \"soft\" pass \
                     unchecked, those under \"hard\" are refused once no list is in force"
                );
            }
        }
        self.let_go();
    }

    /// Puts a list that counts among the others, if there is room for it.
    fn take(&mut self, now: Now, point: &Point, found: Found) -> Result<Source, Failure> {
        let Found { list, from, source, not_kept } = found;
        let (issuer, key) = (point.issuer().text(), point.key());
        let (revoked, until) = (list.len(), list.next_update_unix_s());
        let refresh_ms = match source {
            Source::Disk => AFTER_DISK_MS,
            Source::Network => self.board.config.load().tls.revocation_refresh_s * 1_000,
        };
        if let Some(why) = not_kept {
            tracing::warn!(issuer, why, "a revocation list cannot be kept on disk");
        }
        match self.table.fetched(now, key, list, refresh_ms) {
            Change::First => {
                let sentence = "the revocation list of this authority is in force";
                tracing::info!(issuer, from, revoked, until, "{sentence}");
                self.publish_soon();
            }
            Change::Renewed => {
                tracing::debug!(issuer, from, revoked, until, "revocation list renewed");
                self.publish_soon();
            }
            Change::Same => {}
            Change::Forgotten => self.drop_kept(&[key]),
            Change::NoRoom => return Err(Failure::List(ListFault::TooLong)),
        }
        Ok(source)
    }

    /// Forgets lists that nobody has wanted for long; those that seem to be so are shown to every
    /// open leg before.
    fn forget(&mut self) {
        let Unused { doubted, forgotten } = self.table.forget_unused(self.board.clock.now());
        for key in doubted {
            self.lists.reports.hear_again(key);
            self.publish_soon();
        }
        self.drop_kept(&forgotten);
    }

    fn publish_soon(&mut self) {
        let now = self.board.clock.now().monotonic;
        self.publish_at.get_or_insert(now.plus_ms(limits::CRL_PUBLISH_MS));
    }
}

/// Gets the list of one point: from disk the first time, if it is there, else from its places in
/// the certificate's order.
async fn run(job: Job, means: Means) -> Done {
    let point = job.point.clone();
    if job.first
        && let Some(shelf) = means.shelf.clone()
    {
        let (key, bytes_max) = (point.key(), means.terms.bytes_max);
        let from = shelf.directory().display().to_string();
        let kept = tokio::task::spawn_blocking(move || shelf.read(key, bytes_max)).await;
        // What is on disk and does not count any more is as good as nothing.
        if let Ok(Some(bytes)) = kept
            && let Ok(list) = read(&job, &means, bytes.into()).await
        {
            let found = Found { list, from, source: Source::Disk, not_kept: None };
            return Done { point, outcome: Ok(found) };
        }
    }
    let mut outcome = Err(Failure::NoHttpPlace);
    for url in point.urls() {
        outcome = from_network(&job, &means, url).await;
        if outcome.is_ok() {
            break;
        }
    }
    Done { point, outcome }
}

async fn from_network(job: &Job, means: &Means, url: &str) -> Result<Found, Failure> {
    let bytes = fetch::get(&means.resolver, url, &means.terms).await?;
    let list = read(job, means, bytes.clone()).await?;
    let mut not_kept = None;
    if let Some(shelf) = means.shelf.clone() {
        let key = job.point.key();
        let kept = tokio::task::spawn_blocking(move || shelf.keep(key, &bytes)).await;
        not_kept = match kept {
            Ok(kept) => kept.err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
    }
    Ok(Found { list, from: url.to_owned(), source: Source::Network, not_kept })
}

/// Reads and verifies a list on a worker: names must be resolved meanwhile.
async fn read(
    job: &Job,
    means: &Means,
    bytes: hyper::body::Bytes,
) -> Result<RevocationList, Failure> {
    let (point, held) = (job.point.clone(), job.held.clone());
    let room = limits::CRL_REVOKED_MAX;
    let now_unix_s = means.clock.now().unix_s;
    let reading = tokio::task::spawn_blocking(move || {
        let list = RevocationList::read(&bytes, &point, &tls::algorithms(), now_unix_s, room)?;
        match held {
            Some(held) if list.is_older_than(&held) => Err(ListFault::Older),
            _ => Ok(list),
        }
    });
    let list = reading.await.map_err(|error| Failure::Broken(error.to_string()))?;
    list.map_err(Failure::List)
}
