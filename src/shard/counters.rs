//! What a shard counts: plain numbers of its own, copied once a second to where others read them.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::accept::Pause;
use super::close::Why;
use crate::edge::{Class, ConnectFailure};
use crate::tls;

/// One series as the exporter shows it; values come in the same order from [`CounterCells`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Name without the prefix `entente_shard_` and the suffix `_total`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Up to two labels; unused ones are empty.
    pub labels: [(&'static str, &'static str); 2],
    /// How it behaves.
    pub kind: Kind,
}

/// Whether a series only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does; the exporter adds `_total`.
    Counter,
    /// It is a level.
    Gauge,
}

macro_rules! counts {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal,)+) => {
        /// The series without labels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count { $($(#[doc = $help])+ $variant,)+ }

        /// Name and help of each, in the order of [`Count`].
        const COUNTS: &[(&str, &str)] = &[$(($name, concat!($($help),+)),)+];
    };
}

counts! {
    /// Passes of the loop.
    Turns = "turns",
    /// Descriptors reported ready.
    Events = "events",
    /// Calls of read(2).
    Reads = "reads",
    /// Bytes read, as on the wire.
    ReadBytes = "read_bytes",
    /// Records decrypted.
    RecordsRead = "records_read",
    /// Calls of write(2).
    Writes = "writes",
    /// Bytes written, as on the wire.
    WrittenBytes = "written_bytes",
    /// Writes that the kernel did not take whole.
    WritesPartial = "writes_partial",
    /// Times a leg used up its share of a turn and went on in the next.
    LegBudgetsSpent = "leg_budgets_spent",
    /// Times a leg was not read because it did not read either.
    LegsHeld = "legs_held",
    /// Messages that had to be joined from several records.
    RecordsJoined = "records_joined",
    /// Connections accepted by this shard.
    Accepts = "accepts",
    /// Connections that ended as health checks do: before their first byte, after a PROXY header
    /// that named no client, or after nothing but OPTIONS.
    Probes = "probes",
    /// Connections turned away because their source had too many in their handshake.
    SourceRefused = "source_refused",
    /// Accepted sockets handed to another shard.
    Handovers = "handovers",
    /// PROXY headers from somewhere that is no listed balancer.
    ProxyRefused = "proxy_headers_refused",
    /// PROXY headers that a listed balancer owed and did not send, or sent malformed.
    ProxyMalformed = "proxy_headers_malformed",
    /// Steps of TLS handshakes.
    HandshakeSteps = "handshake_steps",
    /// Addresses tried for outgoing legs.
    ConnectAttempts = "connect_attempts",
    /// Commands of the core.
    Commands = "commands",
    /// Mails sent to other shards.
    MailsSent = "mails_sent",
    /// Mails taken from other shards.
    MailsTaken = "mails_taken",
    /// Mails that met a full box.
    MailsRefused = "mails_refused",
    /// Places reserved for an answer that did not come.
    ReservationsExpired = "reservations_expired",
    /// Questions put to the resolver.
    Questions = "questions",
    /// Questions that found too many others outstanding.
    QuestionsRefused = "questions_refused",
    /// Lines for the log that found it busy.
    NotesDropped = "notes_dropped",
    /// Lines for the decision log that found it busy.
    DecisionsDropped = "decisions_dropped",
    /// Legs judged again after new certificates or revocation lists.
    Rejudgements = "rejudgements",
    /// Legs looked up again in new revocation lists; no signature was verified.
    RevocationLookups = "revocation_lookups",
    /// Connection attempts and handshakes under way.
    DialsOpen = "dials_open",
    /// Legs that wait for their next handshake step.
    HandshakesQueued = "handshakes_queued",
}

/// From here on [`COUNTS`] are levels.
const FIRST_GAUGE: usize = Count::DialsOpen as usize;

/// In the order of [`Class`].
const CLASSES: [&str; 7] = [
    "federation",
    "remote_users",
    "internal",
    "xmpp",
    "xmpp_direct_tls",
    "xmpp_link",
    "credentials",
];
const DIRECTIONS: [&str; 2] = ["in", "out"];
const CONNECT_FAILURES: [&str; 5] =
    ["unreachable", "tls_failed", "untrusted", "name_mismatch", "exhausted"];
/// The labels of [`tls::Fault`], then what else ends a handshake.
const HANDSHAKE_FAILURES: [&str; 25] = [
    "not_tls",
    "bad_record",
    "oversized_record",
    "handshake_too_large",
    "malformed",
    "unexpected_message",
    "violation",
    "no_common_suite",
    "no_common_version",
    "incompatible",
    "refused_by_peer",
    "no_certificate",
    "untrusted",
    "expired",
    "revoked",
    "revocation_unknown",
    "name_mismatch",
    "anchors_changed",
    "keys_exhausted",
    "not_open",
    "not_configured",
    "internal",
    "timeout",
    "closed",
    "other",
];

/// A shard's own counters.
#[derive(Clone, Debug)]
pub struct Counters {
    counts: [u64; COUNTS.len()],
    legs_opened: [[u64; 2]; CLASSES.len()],
    legs_closed: [[u64; Why::LABELS.len()]; CLASSES.len()],
    legs_open: [u64; CLASSES.len()],
    handshakes_failed: [u64; HANDSHAKE_FAILURES.len()],
    connects_failed: [u64; CONNECT_FAILURES.len()],
    accept_pauses: [u64; Pause::LABELS.len()],
}

/// Which side opened a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// How a handshake ended badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeEnd<'a> {
    Fault(&'a tls::Fault),
    Timeout,
    Closed,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: [0; COUNTS.len()],
            legs_opened: [[0; 2]; CLASSES.len()],
            legs_closed: [[0; Why::LABELS.len()]; CLASSES.len()],
            legs_open: [0; CLASSES.len()],
            handshakes_failed: [0; HANDSHAKE_FAILURES.len()],
            connects_failed: [0; CONNECT_FAILURES.len()],
            accept_pauses: [0; Pause::LABELS.len()],
        }
    }
}

impl Counters {
    pub(super) const fn add(&mut self, count: Count, by: usize) {
        self.counts[count as usize] += by as u64;
    }

    pub(super) const fn set(&mut self, gauge: Count, to: usize) {
        self.counts[gauge as usize] = to as u64;
    }

    pub(super) const fn leg_opened(&mut self, class: Class, direction: Direction) {
        self.legs_opened[class as usize][direction as usize] += 1;
        self.legs_open[class as usize] += 1;
    }

    pub(super) const fn leg_closed(&mut self, class: Class, why: &Why) {
        self.legs_closed[class as usize][why.place()] += 1;
        self.legs_open[class as usize] -= 1;
    }

    pub(super) fn handshake_failed(&mut self, end: HandshakeEnd<'_>) {
        let label = match end {
            HandshakeEnd::Fault(fault) => fault.label(),
            HandshakeEnd::Timeout => "timeout",
            HandshakeEnd::Closed => "closed",
        };
        let last = HANDSHAKE_FAILURES.len() - 1;
        let place = HANDSHAKE_FAILURES.iter().position(|known| *known == label).unwrap_or(last);
        self.handshakes_failed[place] += 1;
    }

    pub(super) const fn connect_failed(&mut self, why: ConnectFailure) {
        self.connects_failed[why as usize] += 1;
    }

    pub(super) const fn accept_paused(&mut self, why: Pause) {
        self.accept_pauses[why as usize] += 1;
    }

    /// Returns the legs that are open: those the core knows.
    #[must_use]
    pub fn legs_open(&self) -> u64 {
        self.legs_open.iter().sum()
    }

    /// Returns one value.
    #[must_use]
    pub const fn count(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// Shows every series with its value, in an order that never changes.
    pub fn visit(&self, mut see: impl FnMut(Series, u64)) {
        let none = ("", "");
        let counter = |name, help, labels| Series { name, help, labels, kind: Kind::Counter };
        for (place, ((name, help), value)) in COUNTS.iter().zip(self.counts).enumerate() {
            let kind = if place < FIRST_GAUGE { Kind::Counter } else { Kind::Gauge };
            see(Series { name, help: help.trim(), labels: [none; 2], kind }, value);
        }
        for (class, of_class) in CLASSES.iter().zip(self.legs_opened) {
            for (direction, value) in DIRECTIONS.iter().zip(of_class) {
                let labels = [("class", *class), ("direction", *direction)];
                see(
                    counter(
                        "legs_opened",
                        "Legs that came up; of class xmpp before their TLS.",
                        labels,
                    ),
                    value,
                );
            }
        }
        for (class, of_class) in CLASSES.iter().zip(self.legs_closed) {
            for (reason, value) in Why::LABELS.iter().zip(of_class) {
                let labels = [("class", *class), ("reason", *reason)];
                see(counter("legs_closed", "Legs that ended, by what ended them.", labels), value);
            }
        }
        for (class, value) in CLASSES.iter().zip(self.legs_open) {
            let labels = [("class", *class), none];
            let help = "Legs that are up.";
            see(Series { name: "legs_open", help, labels, kind: Kind::Gauge }, value);
        }
        for (reason, value) in HANDSHAKE_FAILURES.iter().zip(self.handshakes_failed) {
            let labels = [("reason", *reason), none];
            see(counter("handshakes_failed", "TLS handshakes that failed.", labels), value);
        }
        for (reason, value) in CONNECT_FAILURES.iter().zip(self.connects_failed) {
            let labels = [("reason", *reason), none];
            see(counter("connects_failed", "Outgoing legs that did not come up.", labels), value);
        }
        for (reason, value) in Pause::LABELS.iter().zip(self.accept_pauses) {
            let labels = [("reason", *reason), none];
            see(counter("accept_pauses", "Times accepting had to rest.", labels), value);
        }
    }
}

/// One shard's counters as they were at most a second ago.
#[derive(Debug)]
pub struct CounterCells {
    cells: CachePadded<Box<[AtomicU64]>>,
}

impl Default for CounterCells {
    fn default() -> Self {
        let mut cells = Vec::new();
        Counters::default().visit(|_, value| cells.push(AtomicU64::new(value)));
        Self { cells: CachePadded::new(cells.into()) }
    }
}

impl CounterCells {
    /// Copies all values. Called by the shard that owns them.
    pub(super) fn publish(&self, counters: &Counters) {
        let mut cells = self.cells.iter();
        counters.visit(|_, value| {
            if let Some(cell) = cells.next() {
                cell.store(value, Ordering::Relaxed);
            }
        });
    }

    /// Returns every series with its value; the order is the same in every shard.
    #[must_use]
    pub fn read(&self) -> Vec<(Series, u64)> {
        let mut all = Vec::with_capacity(self.cells.len());
        let mut cells = self.cells.iter();
        Counters::default().visit(|series, _| {
            let value = cells.next().map_or(0, |cell| cell.load(Ordering::Relaxed));
            all.push((series, value));
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read_under_its_name_and_labels() {
        let mut counters = Counters::default();
        counters.add(Count::Reads, 3);
        counters.leg_opened(Class::Internal, Direction::Out);
        counters.handshake_failed(HandshakeEnd::Timeout);
        counters.connect_failed(ConnectFailure::Exhausted);
        let cells = CounterCells::default();
        cells.publish(&counters);
        let seen: Vec<_> = cells.read().into_iter().filter(|(_, value)| *value > 0).collect();
        let text: Vec<_> = seen
            .iter()
            .map(|(series, value)| {
                let [a, b] = series.labels;
                format!("{} {}={} {}={} {value}", series.name, a.0, a.1, b.0, b.1)
            })
            .collect();
        assert_eq!(
            text,
            [
                "reads = = 3",
                "legs_opened class=internal direction=out 1",
                "legs_open class=internal = 1",
                "handshakes_failed reason=timeout = 1",
                "connects_failed reason=exhausted = 1",
            ]
        );
    }

    #[test]
    fn every_series_is_named_once() {
        let mut names = std::collections::BTreeSet::new();
        Counters::default().visit(|series, _| {
            assert!(names.insert(format!("{}{:?}", series.name, series.labels)));
            assert!(series.help.ends_with('.'), "{}", series.help);
        });
    }
}
