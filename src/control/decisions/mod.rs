//! The decision log: verdicts of the shards become lines of a file, which `entente replay` asks
//! another policy about.
//!
//! ```text
//! shards ─ verdicts ─> bounded channel ─> decisions thread ─> file ─> file.1
//!          full: dropped, counted           unwritable: warned of once, counted
//!                                           refusals above a rate: counted
//! ```
//!
//! Nobody waits for the disk but the thread that writes. Whoever sends for invented domains makes
//! refusals without end; they have a rate, so that they push nobody's permits out of the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use crossbeam::channel::{Receiver, RecvTimeoutError};

mod file;
mod line;

pub use line::{
    By, Found, Led, Line, Looked, Moment, Name, NotFound, Peer, Verdict, Verification, Way,
};

use super::notes::Sampler;
use crate::config::Config;
use crate::edge::{Decided, Said};
use crate::policy::Decision;
use crate::shard::DecidedOn;
use crate::time::{Clock, Monotonic};
use file::LogFile;

/// Verdicts that may wait for the writer, each about 400 bytes and what it shares; shards drop and
/// count beyond it.
pub(super) const DECISIONS_WAITING_MAX: usize = 8_192;
/// Bytes of lines written at once.
const BATCH_BYTES: usize = 64 * 1024;
/// How often a reload is looked for while nothing is decided.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Refusals a second that are written.
const REFUSALS_PER_S: u64 = 50;
/// Refusals at once after silence: as many as the shards of a large machine remember.
const REFUSALS_BURST: u64 = 20_000;
/// How long a file that cannot be opened is left alone.
const OPEN_AGAIN_MS: u64 = 5_000;

/// What the writer shares with the rest of control.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The configuration in force with its number: where to write, and where entries are written.
    in_force: ArcSwapOption<InForce>,
    written: AtomicU64,
    unwritable: AtomicU64,
    suppressed: AtomicU64,
}

#[derive(Debug)]
struct InForce {
    epoch: u64,
    config: Arc<Config>,
}

impl Shared {
    /// Makes the writer work by `config`, number `epoch`; the file is opened again. Called before
    /// the shards see that number.
    pub(super) fn put_in_force(&self, epoch: u64, config: &Arc<Config>) {
        let config = Arc::clone(config);
        self.in_force.store(Some(Arc::new(InForce { epoch, config })));
    }

    /// Returns how many lines were written, and how many could not be.
    pub(super) fn lines(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.unwritable.load(Ordering::Relaxed))
    }

    /// Returns how many refusals were above their rate.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }
}

/// Writes decisions until every sender is gone.
pub(super) fn spawn(
    decisions: Receiver<DecidedOn>,
    shared: Arc<Shared>,
    clock: Clock,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("decisions".to_owned()).spawn(move || {
        super::behind::give_way();
        let mut writer = Writer {
            shared,
            clock,
            in_force: None,
            file: None,
            open_again_at: Monotonic::default(),
            failing: false,
            batch: Vec::new(),
            refusals: Sampler::new(clock.now().monotonic, REFUSALS_PER_S, REFUSALS_BURST),
        };
        writer.run(&decisions);
    })
}

struct Writer {
    shared: Arc<Shared>,
    clock: Clock,
    in_force: Option<Arc<InForce>>,
    file: Option<LogFile>,
    open_again_at: Monotonic,
    /// A failure was told, and nothing was written since.
    failing: bool,
    batch: Vec<u8>,
    refusals: Sampler,
}

impl Writer {
    fn run(&mut self, decisions: &Receiver<DecidedOn>) {
        // Ends with the last sender.
        loop {
            let first = match decisions.recv_timeout(LOOK_EVERY) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.follow();
            let mut lines = 0;
            for told in first.into_iter().chain(decisions.try_iter()) {
                lines += u64::from(self.add(&told));
                if self.batch.len() >= BATCH_BYTES {
                    self.write(std::mem::take(&mut lines));
                }
            }
            self.write(lines);
        }
    }

    /// Opens the file that the configuration in force names.
    fn follow(&mut self) {
        let in_force = self.shared.in_force.load_full();
        let same = match (&in_force, &self.in_force) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (new, old) => new.is_none() && old.is_none(),
        };
        let now = self.clock.now().monotonic;
        if same && (self.file.is_some() || now < self.open_again_at) {
            return;
        }
        self.in_force = in_force;
        self.file = None;
        self.open_again_at = now.plus_ms(OPEN_AGAIN_MS);
        let Some(log) = self.in_force.as_ref().map(|in_force| &in_force.config.log) else { return };
        let Some(path) = &log.decisions else { return };
        match LogFile::open(path, log.decisions_bytes as u64) {
            Ok(file) => self.file = Some(file),
            Err(error) => self.fail(&error),
        }
    }

    /// Adds a line to the batch; returns whether there is room for it in its rate.
    fn add(&mut self, told: &DecidedOn) -> bool {
        if is_refusal(&told.decided) && !self.refusals.admit(self.clock.now().monotonic) {
            self.shared.suppressed.fetch_add(self.refusals.take_suppressed(), Ordering::Relaxed);
            return false;
        }
        let in_force = self.in_force.as_deref();
        // Entries are numbered within one configuration.
        let of_epoch = in_force.filter(|in_force| in_force.epoch == told.decided.epoch);
        let line = Line::of(&told.decided, told.shard, told.unix_s, |place| {
            of_epoch.map(|in_force| in_force.config.whereabouts(place))
        });
        line.write(&mut self.batch);
        true
    }

    /// Writes the batch, which has so many lines.
    fn write(&mut self, lines: u64) {
        if lines == 0 {
            return;
        }
        let written = self.file.as_mut().map(|file| file.append(&self.batch));
        self.batch.clear();
        match written {
            Some(Ok(())) => {
                self.shared.written.fetch_add(lines, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    let lost = self.shared.unwritable.load(Ordering::Relaxed);
                    tracing::info!(lost, "the decision log is written again");
                }
            }
            Some(Err(error)) => {
                self.shared.unwritable.fetch_add(lines, Ordering::Relaxed);
                self.fail(&error);
            }
            None => {
                self.shared.unwritable.fetch_add(lines, Ordering::Relaxed);
            }
        }
    }

    /// Tells of a failure, once until it is over.
    fn fail(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            let path = self.in_force.as_ref().and_then(|in_force| {
                Some(in_force.config.log.decisions.as_ref()?.display().to_string())
            });
            let path = path.unwrap_or_default();
            tracing::warn!(path, "the decision log cannot be written: {error}; traffic goes on");
        }
    }
}

const fn is_refusal(decided: &Decided) -> bool {
    !matches!(decided.said, Said::Verdict(Decision::Permit(_)))
}

#[cfg(test)]
mod tests;
