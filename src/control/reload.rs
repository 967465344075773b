//! Reloads: from the file into force, all of it or nothing, and back unless confirmed.
//!
//! SIGHUP and the admin socket share [`Reloads::reload`]. A reload that is to be confirmed keeps
//! what was in force before; when its time is over without a word, that is published again, under
//! a number of its own, so that no two decisions of one epoch rest on different policies.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};

use super::board::{Stage, Unconfirmed};
use super::diff::{self, Difference, Side};
use super::start::{self, Running};
use super::steps::{Step, Stopwatch};
use crate::admin::{Command, Outcome, Reply};
use crate::config::{self, Change, Config};
use crate::policy::Snapshot;
use crate::time::Monotonic;
use crate::tls;

/// Problems of a refused file that are told; `entente check` shows all of them.
const PROBLEMS_TOLD_MAX: usize = 10;
/// Changed keys that are named; the rest is told by number.
const KEYS_TOLD_MAX: usize = 20;

/// A configuration that may be put in force: read, compared and compiled.
struct Prepared {
    config: Config,
    changes: Vec<Change>,
    epoch: u64,
    snapshot: Snapshot,
    material: tls::Material,
}

/// What was in force, kept to go back to it.
struct Before {
    config: Arc<Config>,
    /// Kept as it was loaded: its files may have been replaced since.
    material: Arc<tls::Material>,
}

impl Running {
    /// Returns the level of the log that the configuration in force wants.
    #[must_use]
    pub fn log_level(&self) -> String {
        self.board.config.load().log.level.clone()
    }

    fn prepare(&self, config: Config) -> anyhow::Result<Prepared> {
        if self.board.stage() > Stage::Serving {
            bail!("the edge drains");
        }
        let old = self.board.config.load();
        let changes = config::difference(&old, &config);
        if let Some(refusal) = diff::only_by_restart(&old, &config, &changes) {
            bail!("only a restart changes {refusal}");
        }
        let epoch = self.board.epoch() + 1;
        let (snapshot, material) =
            start::compile(&config, epoch, &self.board.clock, &self.options)?;
        Ok(Prepared { config, changes, epoch, snapshot, material })
    }

    fn publish(&self, prepared: Prepared) -> Vec<Change> {
        let Prepared { config, changes, epoch, snapshot, material } = prepared;
        self.publish_parts(epoch, Arc::new(config), snapshot, Arc::new(material));
        self.board.set_candidate(None);
        changes
    }

    fn publish_parts(
        &self,
        epoch: u64,
        config: Arc<Config>,
        snapshot: Snapshot,
        material: Arc<tls::Material>,
    ) {
        self.lists.put_in_force(&material, &config);
        // Told before the epoch is, so that who sees the epoch meets what came with it.
        self.board.relays.adopt(&config, &material);
        self.publish_policy(epoch, &config, snapshot);
        self.board.certificates.store(Arc::new(super::certificates(&material)));
        self.board.config.store(config);
    }

    /// Publishes another policy under the material in force, so that no leg is judged again.
    fn publish_policy(&self, epoch: u64, config: &Arc<Config>, snapshot: Snapshot) {
        assert_eq!(epoch, self.board.epoch() + 1, "epochs grow by one");
        self.board.decisions.put_in_force(epoch, config);
        self.published.snapshot.store(Arc::new(snapshot));
        self.board.fabric.wake_all();
        self.board.set_epoch(epoch);
    }

    fn before(&self) -> Before {
        Before {
            config: self.board.config.load_full(),
            material: self.published.material.load_full(),
        }
    }

    /// Puts what was in force before in force again; returns its new number.
    fn roll_back(&self, before: Before) -> anyhow::Result<u64> {
        let epoch = self.board.epoch() + 1;
        let snapshot = start::compile_policy(&before.config, epoch, &self.options)?;
        self.publish_parts(epoch, before.config, snapshot, before.material);
        self.board.set_candidate(None);
        self.board.count_roll_back();
        Ok(epoch)
    }

    /// Lets the policy of `candidate` be asked beside the one in force, which stays as it is under
    /// a new number; returns that.
    fn shadow(&self, candidate: Option<&Config>) -> anyhow::Result<u64> {
        if self.board.stage() > Stage::Serving {
            bail!("the edge drains");
        }
        let epoch = self.board.epoch() + 1;
        let config = self.board.config.load_full();
        let compiled = |config: &Config| start::compile_policy(config, epoch, &self.options);
        let candidate = candidate.map(compiled).transpose()?.map(Arc::new);
        let snapshot = compiled(&config)?.shadowed_by(candidate);
        self.publish_policy(epoch, &config, snapshot);
        Ok(epoch)
    }

    /// Tells what putting `config` in force would change.
    fn compare(&self, config: &Config) -> anyhow::Result<Difference> {
        let old_config = self.board.config.load_full();
        let old_policy = self.published.snapshot.load_full();
        let epoch = self.board.epoch() + 1;
        let (policy, _) = start::compile(config, epoch, &self.board.clock, &self.options)?;
        let old = Side { config: &old_config, policy: &old_policy };
        let new = Side { config, policy: &policy };
        Ok(diff::difference(&old, &new, self.board.clock.now()))
    }
}

/// The reloads of one edge, one after the other.
pub struct Reloads {
    path: PathBuf,
    unconfirmed: Option<Waiting>,
}

/// A reload that waits to be confirmed.
struct Waiting {
    epoch: u64,
    before: Before,
    until: Monotonic,
}

impl std::fmt::Debug for Reloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unconfirmed = self.unconfirmed.as_ref().map(|waiting| waiting.epoch);
        f.debug_struct("Reloads").field("unconfirmed", &unconfirmed).finish_non_exhaustive()
    }
}

impl Reloads {
    /// Returns the reloads of the edge that was started with the file at `path`.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, unconfirmed: None }
    }

    /// Carries out a command other than [`Command::Drain`], which ends the loop that calls this.
    ///
    /// `who` asked for it, for the log.
    pub fn carry_out(&mut self, running: &Running, command: &Command, who: &str) -> Reply {
        match command {
            Command::Reload { confirm_within_s } => self.reload(running, *confirm_within_s, who),
            Command::Confirm => self.confirm(running, who),
            Command::Diff { file } => {
                self.diff(running, file.as_deref().unwrap_or(self.path.as_path()))
            }
            Command::Shadow { file } => self.shadow(running, file.as_deref(), who),
            Command::Relay(order) => running.relay(order, who),
            Command::Drain => Reply::not_done(Outcome::Conflict, "the edge drains"),
        }
    }

    /// Reads the file again and puts it in force, all of it or nothing; the log tells which.
    ///
    /// `confirm_within_s`: go back unless [`Reloads::confirm`] comes within this time.
    pub fn reload(&mut self, running: &Running, confirm_within_s: Option<u64>, who: &str) -> Reply {
        if let Some(waiting) = &self.unconfirmed {
            let why = format!(
                "epoch {} waits to be confirmed; confirm it, or let it be rolled back, first",
                waiting.epoch
            );
            return refuse(running, who, Outcome::Conflict, &why);
        }
        let mut watch = Stopwatch::start(&running.board.clock, &running.board.reload_steps);
        let config = match config::load(&self.path) {
            Ok(config) => config,
            Err(report) => return refuse_report(running, who, &report),
        };
        watch.end(Step::Read);
        let prepared = match running.prepare(config) {
            Ok(prepared) => prepared,
            Err(error) => {
                return refuse(running, who, Outcome::Refused, &format!("{error:#}"));
            }
        };
        watch.end(Step::Compile);
        let before = running.before();
        let old_policy = running.published.snapshot.load_full();
        let old = Side { config: &before.config, policy: &old_policy };
        let new = Side { config: &prepared.config, policy: &prepared.snapshot };
        let difference = diff::difference(&old, &new, running.board.clock.now());
        drop(old_policy);
        watch.end(Step::Compare);
        running.board.reloaded(Ok(()));
        let changes = running.publish(prepared);
        let before = confirm_within_s.map(|seconds| (before, seconds));
        watch.end(Step::Publish);
        let epoch = running.epoch();
        let changed = keys(&changes);
        let (read_ms, compile_ms) = (watch.ms(Step::Read), watch.ms(Step::Compile));
        let compare_ms = watch.ms(Step::Compare);
        tracing::info!(epoch, changed, read_ms, compile_ms, compare_ms, "reloaded, asked by {who}");
        for sentence in &difference.sentences {
            tracing::info!(epoch, "{sentence}");
        }
        let until = before.map(|(before, seconds)| self.wait(running, before, seconds));
        Reply {
            outcome: Outcome::Done,
            body: json!({
                "epoch": epoch,
                "file": self.path.display().to_string(),
                "changed_keys": changes.len(),
                "confirm_until_unix_s": until,
                "difference": difference,
            }),
        }
    }

    /// Keeps `before` for `seconds`; returns until when, in seconds since 1970.
    fn wait(&mut self, running: &Running, before: Before, seconds: u64) -> u64 {
        let now = running.board.clock.now();
        let (epoch, until_unix_s) = (running.epoch(), now.unix_s + seconds);
        let until = now.monotonic.plus_ms(seconds * 1000);
        self.unconfirmed = Some(Waiting { epoch, before, until });
        running.board.set_unconfirmed(Some(Unconfirmed { epoch, until_unix_s }));
        tracing::info!(epoch, "to be confirmed within {seconds} s, or it is rolled back");
        until_unix_s
    }

    /// Keeps what the last reload put in force.
    pub fn confirm(&mut self, running: &Running, who: &str) -> Reply {
        let Some(waiting) = self.unconfirmed.take() else {
            return Reply::not_done(Outcome::Conflict, "no reload waits to be confirmed");
        };
        running.board.set_unconfirmed(None);
        let epoch = waiting.epoch;
        tracing::info!(epoch, "confirmed by {who}");
        Reply { outcome: Outcome::Done, body: json!({ "epoch": epoch }) }
    }

    /// Tells what a reload of `file` would change.
    fn diff(&self, running: &Running, file: &Path) -> Reply {
        let config = match config::load(file) {
            Ok(config) => config,
            Err(report) => return Reply { outcome: Outcome::Refused, body: problems(&report) },
        };
        match running.compare(&config) {
            Ok(difference) => Reply {
                outcome: Outcome::Done,
                body: json!({
                    "epoch": running.epoch(),
                    "file": file.display().to_string(),
                    "difference": difference,
                }),
            },
            Err(error) => Reply::not_done(Outcome::Refused, format!("{error:#}")),
        }
    }

    /// Lets a candidate be asked beside the policy in force, or no more; a reload ends it too.
    fn shadow(&self, running: &Running, file: Option<&Path>, who: &str) -> Reply {
        if let Some(waiting) = &self.unconfirmed {
            let why = format!("epoch {} waits to be confirmed first", waiting.epoch);
            return Reply::not_done(Outcome::Conflict, why);
        }
        let candidate = match file.map(config::load).transpose() {
            Ok(candidate) => candidate,
            Err(report) => return Reply { outcome: Outcome::Refused, body: problems(&report) },
        };
        let epoch = match running.shadow(candidate.as_ref()) {
            Ok(epoch) => epoch,
            Err(error) => return Reply::not_done(Outcome::Refused, format!("{error:#}")),
        };
        let file = file.map(|file| file.display().to_string());
        match &file {
            Some(file) => tracing::info!(epoch, file, "a candidate is asked too, by {who}"),
            None => tracing::info!(epoch, "no candidate is asked any more, by {who}"),
        }
        running.board.set_candidate(file.clone());
        Reply { outcome: Outcome::Done, body: json!({ "epoch": epoch, "candidate": file }) }
    }

    /// Returns how long until [`Reloads::expire`] must be called, if a reload is unconfirmed.
    #[must_use]
    pub fn due_in(&self, running: &Running) -> Option<Duration> {
        let until = self.unconfirmed.as_ref()?.until;
        let left_ms = until.ms_since(running.board.clock.now().monotonic);
        // The moment itself counts as over, so a rounded wait is a millisecond longer.
        Some(Duration::from_millis(left_ms + 1))
    }

    /// Rolls back a reload whose time is over without a word.
    pub fn expire(&mut self, running: &Running) {
        let now = running.board.clock.now().monotonic;
        let Some(waiting) = self.unconfirmed.take_if(|waiting| waiting.until <= now) else {
            return;
        };
        running.board.set_unconfirmed(None);
        let unconfirmed = waiting.epoch;
        match running.roll_back(waiting.before) {
            Ok(epoch) => tracing::warn!(
                epoch,
                unconfirmed,
                "not confirmed in time: rolled back; the file still has what was not confirmed"
            ),
            // What was compiled once compiles again; should it not, the unconfirmed one stays.
            Err(error) => tracing::error!(unconfirmed, "cannot be rolled back: {error:#}"),
        }
    }
}

/// Counts and logs a refused reload.
fn refuse(running: &Running, who: &str, outcome: Outcome, why: &str) -> Reply {
    running.board.reloaded(Err(why.to_owned()));
    tracing::error!("reload asked by {who} refused, nothing changed: {why}");
    Reply::not_done(outcome, why)
}

/// Counts and logs a file that cannot be read, each problem with its place.
fn refuse_report(running: &Running, who: &str, report: &config::Report) -> Reply {
    for problem in report.problems().iter().take(PROBLEMS_TOLD_MAX) {
        let (code, place) = (problem.code.as_str(), report.place(problem));
        let help = problem.help.as_deref().unwrap_or(&problem.label);
        tracing::error!(code, place, help, "{}", problem.message);
    }
    let first = report.problems().first().map_or("", |problem| problem.message.as_str());
    let mut reply = refuse(running, who, Outcome::Refused, first);
    reply.body = problems(report);
    reply
}

/// Returns what is wrong with a file, for whoever asked.
fn problems(report: &config::Report) -> Value {
    let told = report.problems().iter().take(PROBLEMS_TOLD_MAX).map(|problem| {
        json!({
            "code": problem.code.as_str(),
            "place": report.place(problem),
            "sentence": problem.message,
            "advice": problem.help.as_deref().unwrap_or(&problem.label),
        })
    });
    let many = report.problems().len();
    let path = report.source().path.display();
    let error = match many {
        1 => format!("{path} has a problem; nothing was changed"),
        many => format!("{path} has {many} problems; nothing was changed"),
    };
    json!({ "error": error, "problems": told.collect::<Vec<_>>() })
}

/// Names the keys that changed, as many as fit a line.
fn keys(changes: &[Change]) -> String {
    let told: Vec<&str> =
        changes.iter().take(KEYS_TOLD_MAX).map(|change| change.key.as_str()).collect();
    let more = changes.len().saturating_sub(KEYS_TOLD_MAX);
    let told = told.join(", ");
    if more > 0 { format!("{told} and {more} more") } else { told }
}
