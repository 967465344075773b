//! What the process tells of itself: health, status and metrics, gathered when asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tracing_appender::non_blocking::ErrorCounter;

use super::cells::{GatewayCells, XmppProxyCells};
use super::listeners::listening;
use super::relays::Relays;
use super::roles::{Roles, running_roles};
use super::steps::Steps;
use super::{crl, decisions, process, scores};
use crate::admin;
use crate::config::Config;
use crate::edge::access::Access;
use crate::edge::access::counters::{CROSSINGS, Counters, LATENCY_BOUNDS_US, OfCrossing};
use crate::metrics::{Buckets, Exporter, catalogue};
use crate::policy::{RefusalRule, Scores};
use crate::shard::{self, Fabric};
use crate::time::Clock;

/// A shard or the control thread that has not moved for this long is told as dead.
const STALLED_MS: u64 = 20_000;

/// How far the life of the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// Shards are being started.
    Starting,
    /// Everything is served.
    Serving,
    /// The drain was announced; listeners are open still.
    Notice,
    /// Listeners are closed.
    Closing,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Starting, Self::Serving, Self::Notice, Self::Closing];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Notice => "drain-notice",
            Self::Closing => "drain-closing",
        }
    }
}

/// One shard as the control thread watches it.
#[derive(Debug, Default)]
struct Watched {
    turns: AtomicU64,
    moved_at_ms: AtomicU64,
}

/// An identity as `/status` and the metrics show it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) identity: String,
    pub(super) not_after_unix_s: u64,
}

/// A reload that is taken back unless somebody confirms it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unconfirmed {
    /// What is in force meanwhile.
    pub(super) epoch: u64,
    /// Until when.
    pub(super) until_unix_s: u64,
}

/// State that control writes and the admin thread reads.
pub(super) struct Board {
    pub(super) clock: Clock,
    pub(super) started_unix_s: u64,
    pub(super) fabric: Arc<Fabric>,
    pub(super) access: Box<[AccessCells]>,
    pub(super) xmpp_proxy: XmppProxyCells,
    pub(super) gateway: GatewayCells,
    pub(super) config: ArcSwap<Config>,
    /// How partners under limits behave; the shards write it.
    pub(super) scores: Arc<Scores>,
    pub(super) certificates: ArcSwap<Vec<Certificate>>,
    pub(super) log_dropped: Option<ErrorCounter>,
    pub(super) lines_suppressed: AtomicU64,
    /// What the writer of the decision log works by and counts.
    pub(super) decisions: Arc<decisions::Shared>,
    lists: Arc<crl::Lists>,
    /// The A/V Edge.
    pub(super) relays: Relays,
    pub(super) reloads_accepted: AtomicU64,
    pub(super) reloads_refused: AtomicU64,
    epoch: AtomicU64,
    poller: Mutex<&'static str>,
    last_refusal: Mutex<Option<String>>,
    rolled_back: AtomicU64,
    pub(super) reload_steps: Steps,
    unconfirmed: Mutex<Option<Unconfirmed>>,
    candidate: Mutex<Option<String>>,
    stage: AtomicU8,
    watched: Box<[Watched]>,
    control_beat_ms: AtomicU64,
    exporter: Mutex<Exporter>,
}

/// One shard's counters of the Access Edge, as they were at most a second ago.
pub(super) struct AccessCells {
    values: Box<[AtomicU64]>,
    by_rule: Box<[AtomicU64]>,
    /// For each crossing its buckets, then its sum.
    waits: Box<[AtomicU64]>,
}

/// Cells of one crossing: its buckets and its sum.
const WAIT_CELLS: usize = LATENCY_BOUNDS_US.len() + 2;

impl AccessCells {
    fn new() -> Self {
        let zeros = |many: usize| (0..many).map(|_| AtomicU64::new(0)).collect();
        let by_rule = zeros(2 * RefusalRule::ALL.len());
        Self {
            values: zeros(Counters::NAMES.len()),
            by_rule,
            waits: zeros(CROSSINGS.len() * WAIT_CELLS),
        }
    }

    /// Copies what the core of the calling shard has counted.
    pub(super) fn publish(&self, core: &Access) {
        for (cell, value) in self.values.iter().zip(core.counters().values()) {
            cell.store(value, Ordering::Relaxed);
        }
        for (cell, value) in self.by_rule.iter().zip(core.by_rule().values()) {
            cell.store(value, Ordering::Relaxed);
        }
        for (cells, waits) in self.waits.chunks_exact(WAIT_CELLS).zip(core.latency().crossings()) {
            let OfCrossing { counts, sum_us } = waits;
            for (cell, value) in cells.iter().zip(counts.iter().chain([sum_us])) {
                cell.store(*value, Ordering::Relaxed);
            }
        }
    }
}

impl Board {
    pub(super) fn new(
        clock: Clock,
        fabric: Arc<Fabric>,
        roles: Roles,
        config: Config,
        scores: Arc<Scores>,
        log_dropped: Option<ErrorCounter>,
        lists: Arc<crl::Lists>,
    ) -> Self {
        let now = clock.now();
        let now_ms = now.monotonic.0 / 1_000_000;
        let shards = fabric.shards();
        let watched = || Watched { turns: AtomicU64::new(0), moved_at_ms: AtomicU64::new(now_ms) };
        Self {
            clock,
            started_unix_s: now.unix_s,
            access: roles.access().map(|_| AccessCells::new()).collect(),
            xmpp_proxy: XmppProxyCells::new(),
            gateway: GatewayCells::new(),
            fabric,
            config: ArcSwap::from_pointee(config),
            scores,
            certificates: ArcSwap::default(),
            log_dropped,
            lines_suppressed: AtomicU64::new(0),
            decisions: Arc::default(),
            lists,
            relays: Relays::default(),
            reloads_accepted: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            poller: Mutex::new("none"),
            last_refusal: Mutex::new(None),
            rolled_back: AtomicU64::new(0),
            reload_steps: Steps::default(),
            unconfirmed: Mutex::new(None),
            candidate: Mutex::new(None),
            stage: AtomicU8::new(Stage::Starting as u8),
            watched: (0..shards).map(|_| watched()).collect(),
            control_beat_ms: AtomicU64::new(now_ms),
            exporter: Mutex::new(Exporter::new()),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Ordering::Relaxed))]
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    pub(super) fn set_poller(&self, name: &'static str) {
        *held(&self.poller) = name;
    }

    pub(super) fn poller(&self) -> &'static str {
        *held(&self.poller)
    }

    /// Counts a reload; `Err` says why it was refused.
    pub(super) fn reloaded(&self, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.reloads_accepted.fetch_add(1, Ordering::Relaxed);
                *held(&self.last_refusal) = None;
            }
            Err(why) => {
                self.reloads_refused.fetch_add(1, Ordering::Relaxed);
                *held(&self.last_refusal) = Some(why);
            }
        }
    }

    /// Tells which reload waits to be confirmed, if one does.
    pub(super) fn set_unconfirmed(&self, unconfirmed: Option<Unconfirmed>) {
        *held(&self.unconfirmed) = unconfirmed;
    }

    /// Tells which file's policy is asked beside the one in force, if one is.
    pub(super) fn set_candidate(&self, file: Option<String>) {
        *held(&self.candidate) = file;
    }

    /// Counts a reload that was taken back.
    pub(super) fn count_roll_back(&self) {
        self.rolled_back.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the control thread moves, and which shards have moved since the last call.
    pub(super) fn watch(&self) {
        let now_ms = self.now_ms();
        self.control_beat_ms.store(now_ms, Ordering::Relaxed);
        for (shard, watched) in self.watched.iter().enumerate() {
            let turns = self.turns(shard);
            if watched.turns.swap(turns, Ordering::Relaxed) != turns {
                watched.moved_at_ms.store(now_ms, Ordering::Relaxed);
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().monotonic.0 / 1_000_000
    }

    fn turns(&self, shard: usize) -> u64 {
        let cells = u16::try_from(shard).ok().and_then(|shard| self.fabric.counters(shard));
        let read = cells.map(shard::CounterCells::read).unwrap_or_default();
        read.iter().find(|(series, _)| series.name == "turns").map_or(0, |(_, value)| *value)
    }

    fn export(&self, exporter: &mut Exporter) {
        self.export_shards(exporter);
        self.export_access(exporter);
        self.xmpp_proxy.export(exporter);
        self.gateway.export(exporter);
        self.export_control(exporter);
        scores::export(&self.scores, exporter);
        self.export_revocation(exporter);
        self.relays.export(exporter);
        process::export(exporter);
    }

    /// Series without labels are told for each shard, the others as sums over all of them, so that
    /// their number does not grow by shards times labels.
    fn export_shards(&self, exporter: &mut Exporter) {
        let mut sums: Vec<(shard::Series, u64)> = Vec::new();
        for index in 0..self.fabric.shards() {
            let cells = u16::try_from(index).ok().and_then(|shard| self.fabric.counters(shard));
            let Some(cells) = cells else { continue };
            let mut place = 0;
            for (series, value) in cells.read() {
                if series.labels[0].0.is_empty() {
                    let series = catalogue::of_shard(&series);
                    exporter.set(&series, &[&index.to_string()], value);
                    continue;
                }
                // The order is the same in every shard.
                match sums.get_mut(place) {
                    Some((_, sum)) => *sum += value,
                    None => sums.push((series, value)),
                }
                place += 1;
            }
        }
        for (series, value) in sums {
            let values: Vec<&str> =
                series.labels.iter().filter(|label| !label.0.is_empty()).map(|l| l.1).collect();
            exporter.set(&catalogue::of_shard(&series), &values, value);
        }
        let (accepted, outgoing, half_open) = self.fabric.budget.used();
        for (kind, value) in
            [("accepted", accepted), ("outgoing", outgoing), ("half_open", half_open)]
        {
            exporter.set(&catalogue::CONNECTIONS, &[kind], value as u64);
        }
    }

    fn export_access(&self, exporter: &mut Exporter) {
        for (place, series) in catalogue::access().iter().enumerate() {
            let values = self.access.iter().filter_map(|cells| cells.values.get(place));
            let sum = values.map(|value| value.load(Ordering::Relaxed)).sum();
            exporter.set(series, &[], sum);
        }
        let series = [&catalogue::REFUSALS, &catalogue::SHADOW_REFUSALS];
        let series = series.iter().flat_map(|series| RefusalRule::ALL.map(|rule| (series, rule)));
        for (place, (series, rule)) in series.enumerate() {
            let values = self.access.iter().filter_map(|cells| cells.by_rule.get(place));
            let sum = values.map(|value| value.load(Ordering::Relaxed)).sum();
            exporter.set(series, &[rule.label()], sum);
        }
        for (crossing, name) in CROSSINGS.iter().enumerate() {
            let mut sums = [0_u64; WAIT_CELLS];
            for cells in &self.access {
                let of_crossing = cells.waits.iter().skip(crossing * WAIT_CELLS);
                for (sum, cell) in sums.iter_mut().zip(of_crossing) {
                    *sum += cell.load(Ordering::Relaxed);
                }
            }
            let [counts @ .., sum_us] = sums;
            let buckets = Buckets {
                bounds: LATENCY_BOUNDS_US.iter().map(|us| seconds(*us)).collect(),
                counts: counts.to_vec(),
                sum: seconds(sum_us),
            };
            exporter.set_buckets(&catalogue::REQUEST_SECONDS, name, buckets);
        }
    }

    fn export_revocation(&self, exporter: &mut Exporter) {
        for (result, value) in self.lists.tally.fetches() {
            exporter.set(&catalogue::REVOCATION_FETCHES, &[result], value);
        }
        let totals = self.lists.tally.totals();
        let states =
            [("in_force", totals.in_force), ("lapsed", totals.lapsed), ("missing", totals.missing)];
        for (state, value) in states {
            exporter.set(&catalogue::REVOCATION_LISTS, &[state], value);
        }
        exporter.set(&catalogue::REVOCATION_ENTRIES, &[], totals.revoked);
        exporter.set(&catalogue::REVOCATION_ENDS, &[], totals.next_update_unix_s);
        let reports = &self.lists.reports;
        exporter.set(&catalogue::REVOCATION_UNKNOWN, &[], reports.unknown());
        exporter.set(&catalogue::REVOCATION_REPORTS_DROPPED, &[], reports.dropped());
    }

    fn export_control(&self, exporter: &mut Exporter) {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        exporter.set(&catalogue::RELOADS, &["accepted"], read(&self.reloads_accepted));
        exporter.set(&catalogue::RELOADS, &["refused"], read(&self.reloads_refused));
        exporter.set(&catalogue::RELOADS, &["rolled_back"], read(&self.rolled_back));
        self.reload_steps.export(exporter);
        exporter.set(&catalogue::EPOCH, &[], self.epoch());
        exporter.set(&catalogue::STAGE, &[], self.stage() as u64);
        exporter.set(&catalogue::SHARDS, &[self.poller()], self.fabric.shards() as u64);
        exporter.set(&catalogue::LINES_SUPPRESSED, &[], read(&self.lines_suppressed));
        let dropped = self.log_dropped.as_ref().map_or(0, ErrorCounter::dropped_lines);
        exporter.set(&catalogue::LINES_DROPPED, &[], dropped as u64);
        let (written, unwritable) = self.decisions.lines();
        exporter.set(&catalogue::DECISION_LINES, &["written"], written);
        exporter.set(&catalogue::DECISION_LINES, &["unwritable"], unwritable);
        let suppressed = self.decisions.suppressed();
        exporter.set(&catalogue::DECISION_LINES, &["suppressed"], suppressed);
        exporter.set(&catalogue::BUILD, &[env!("CARGO_PKG_VERSION")], 1);
        exporter.set(&catalogue::START_TIME, &[], self.started_unix_s);
        for certificate in self.certificates.load().iter() {
            let labels = [certificate.identity.as_str()];
            exporter.set(&catalogue::CERTIFICATE_ENDS, &labels, certificate.not_after_unix_s);
        }
        let config = self.config.load();
        exporter.set(&catalogue::PARTNERS, &[], listed_partners(&config) as u64);
        let limits = [
            ("connections", config.limits.connections),
            ("half_open", config.limits.half_open),
            ("transactions", config.limits.transactions),
        ];
        for (name, value) in limits {
            exporter.set(&catalogue::LIMITS, &[name], value as u64);
        }
    }
}

impl admin::View for Board {
    fn metrics(&self) -> String {
        let mut exporter = held(&self.exporter);
        self.export(&mut exporter);
        exporter.render()
    }

    fn dead(&self) -> Vec<String> {
        let now_ms = self.now_ms();
        let since = |cell: &AtomicU64| now_ms.saturating_sub(cell.load(Ordering::Relaxed));
        let mut reasons = Vec::new();
        let control = since(&self.control_beat_ms);
        if control > STALLED_MS {
            reasons.push(format!("the control thread has not moved for {} s", control / 1000));
            // Who does not move cannot say who else does.
            return reasons;
        }
        for (shard, watched) in self.watched.iter().enumerate() {
            let still = since(&watched.moved_at_ms);
            if still > STALLED_MS && self.stage() < Stage::Closing {
                reasons.push(format!("shard {shard} has not moved for {} s", still / 1000));
            }
        }
        reasons
    }

    fn not_ready(&self) -> Vec<String> {
        let mut reasons = self.dead();
        match self.stage() {
            Stage::Serving => {}
            Stage::Starting => reasons.push("the edge is starting".to_owned()),
            Stage::Notice => reasons.push("the edge drains; listeners are open still".to_owned()),
            Stage::Closing => reasons.push("the edge drains; listeners are closed".to_owned()),
        }
        reasons
    }

    fn status(&self) -> serde_json::Value {
        let config = self.config.load();
        let (accepted, outgoing, half_open) = self.fabric.budget.used();
        let certificates: Vec<_> = self
            .certificates
            .load()
            .iter()
            .map(|certificate| {
                serde_json::json!({
                    "identity": certificate.identity,
                    "not_after_unix_s": certificate.not_after_unix_s,
                })
            })
            .collect();
        let unconfirmed = held(&self.unconfirmed).map(|unconfirmed| {
            serde_json::json!({
                "epoch": unconfirmed.epoch,
                "until_unix_s": unconfirmed.until_unix_s,
            })
        });
        let listeners: Vec<_> = listening(&config).iter().map(ToString::to_string).collect();
        serde_json::json!({
            "node": config.node().as_str(),
            "external_fqdn": config.edge.external_fqdn.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "stage": self.stage().as_str(),
            "not_ready": self.not_ready(),
            "epoch": self.epoch(),
            "started_unix_s": self.started_unix_s,
            "candidate": *held(&self.candidate),
            "configuration": config.source.path.display().to_string(),
            "shards": self.fabric.shards(),
            "poller": self.poller(),
            "connections": { "accepted": accepted, "outgoing": outgoing, "half_open": half_open },
            "roles": running_roles(&config),
            "listeners": listeners,
            "partners": listed_partners(&config),
            "certificates": certificates,
            "scores": scores::status(&self.scores, self.clock.now()),
            "revocation_lists": self.revocation_status(),
            "relay": self.relays.status(),
            "reloads": {
                "accepted": self.reloads_accepted.load(Ordering::Relaxed),
                "refused": self.reloads_refused.load(Ordering::Relaxed),
                "rolled_back": self.rolled_back.load(Ordering::Relaxed),
                "last_refusal": *held(&self.last_refusal),
                "unconfirmed": unconfirmed,
            },
        })
    }

    fn score(&self, name: &str) -> serde_json::Value {
        scores::about(&self.scores, self.clock.now(), name)
    }

    fn allows(&self, peer: IpAddr) -> bool {
        self.config.load().management.allow.iter().any(|network| network.contains(&peer))
    }
}

impl Board {
    fn revocation_status(&self) -> serde_json::Value {
        let totals = self.lists.tally.totals();
        serde_json::json!({
            "in_force": totals.in_force,
            "lapsed": totals.lapsed,
            "missing": totals.missing,
            "revoked_certificates": totals.revoked,
            "first_next_update_unix_s": totals.next_update_unix_s,
        })
    }
}

/// Returns how many partners are listed, in the configuration and in its file of partners.
fn listed_partners(config: &Config) -> usize {
    config.partners.len() + config.partner_list.as_ref().map_or(0, |list| list.rows.len())
}

/// Returns microseconds as the exposition writes times.
#[allow(clippy::cast_precision_loss, reason = "the format has no integers")]
pub(super) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Returns what the lock guards; a panic of another holder left it whole, as nothing in here is
/// changed in more than one step.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the port of the first listener of a class, or the port such listeners have by custom.
pub(super) fn port(config: &Config, class: crate::edge::Class, by_custom: u16) -> u16 {
    config.listeners_of(class).next().map_or(by_custom, |l| SocketAddr::port(&l.address))
}
