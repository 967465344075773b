//! What a run found, as text or as one JSON object.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::measure::{Quantiles, Span, Tally};
use crate::process::Memory;

/// Share of its core above which the generator, not the server, sets the rate.
const GENERATOR_BOUND: f64 = 0.9;
/// Share of time kept from running above which the machine was not quiet enough to measure on.
const DISTURBED: f64 = 0.02;

/// The process under test.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Server {
    /// CPU of one unit of work; `None` if none was completed.
    pub(crate) cpu_us_per_unit: Option<f64>,
    /// Cores kept busy.
    pub(crate) cores: f64,
    /// Share of system time, 0 to 1.
    pub(crate) system_share: f64,
    /// Memory at the end of the span.
    #[serde(flatten)]
    pub(crate) memory: Memory,
    /// Memory of one idle connection; only of `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kib_per_leg: Option<f64>,
}

impl Server {
    /// Divides what was used by what was done.
    pub(crate) fn of(span: &Span, memory: Memory) -> Self {
        let run_us = span.server.run_ns as f64 / 1e3;
        Self {
            cpu_us_per_unit: (span.completed > 0).then(|| run_us / span.completed as f64),
            cores: span.server.run_ns as f64 / 1e9 / span.seconds,
            system_share: span.server.system_share(),
            memory,
            kib_per_leg: None,
        }
    }
}

/// What only packets of `media` are asked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Media {
    /// Packets that came after one that was sent after them, or after they had been given up.
    pub(crate) late: u64,
    /// Packets that came again.
    pub(crate) again: u64,
    /// Datagrams that the kernel dropped because the generator did not fetch them in time. They
    /// are among the lost, and not the relay's fault.
    pub(crate) generator_dropped: u64,
}

/// Everything a run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Which scenario.
    pub(crate) scenario: &'static str,
    /// Suite of the connections.
    pub(crate) suite: Option<String>,
    /// Connections to the edge.
    pub(crate) connections: usize,
    /// Unfinished units at once, at most.
    pub(crate) window: usize,
    /// Offered rate; 0 is a closed loop.
    pub(crate) offered_per_s: f64,
    /// Messages per record.
    pub(crate) pack: usize,
    /// Seconds measured.
    pub(crate) seconds: f64,
    /// Units whose intended start lies in the span.
    pub(crate) offered: u64,
    /// Of those, how many ended well.
    pub(crate) done: u64,
    /// Of those, how many did not, by kind.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What went wrong last, counted or not; only where nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_failure: Option<String>,
    /// Units completed in the span.
    pub(crate) completed: u64,
    /// Units per second; `None` where the generator was the limit.
    pub(crate) per_second: Option<f64>,
    /// Share of its core the generator worked.
    pub(crate) generator_busy: f64,
    /// Whether that is too much for a claim about the rate.
    pub(crate) generator_bound: bool,
    /// Share of time something else kept the generator from running.
    pub(crate) generator_delayed: f64,
    /// Whether that is too much to compare this run with another.
    pub(crate) disturbed: bool,
    /// Messages that one read brought.
    pub(crate) messages_per_read: f64,
    /// Responses that belong to no request.
    pub(crate) strays: u64,
    /// ACKs that reached the next hop; only of `dialog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acks: Option<u64>,
    /// Only of `media`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media: Option<Media>,
    /// Latency, by kind of transaction.
    pub(crate) latency: Vec<Quantiles>,
    /// The process under test.
    pub(crate) server: Option<Server>,
}

impl Report {
    /// Puts together what every scenario counts.
    pub(crate) fn new(
        scenario: &'static str,
        rate: f64,
        span: &Span,
        tally: &Tally,
        suite: Option<String>,
    ) -> Self {
        let generator_bound = span.generator_busy > GENERATOR_BOUND;
        Self {
            scenario,
            suite,
            connections: 0,
            window: 0,
            offered_per_s: rate,
            pack: 1,
            seconds: span.seconds,
            offered: tally.offered,
            done: tally.done,
            errors: tally.errors.clone(),
            last_failure: None,
            completed: span.completed,
            per_second: (!generator_bound).then(|| span.completed as f64 / span.seconds),
            generator_busy: span.generator_busy,
            generator_bound,
            generator_delayed: span.generator_delayed,
            disturbed: span.generator_delayed > DISTURBED,
            messages_per_read: span.messages_per_read,
            strays: 0,
            acks: None,
            media: None,
            latency: tally.quantiles(),
            server: None,
        }
    }

    /// Claims the rate of a run in which the server under test was seen to be the limit.
    pub(crate) fn claim_rate(&mut self, span: &Span) {
        self.generator_bound = false;
        self.per_second = Some(span.completed as f64 / span.seconds);
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let suite = self.suite.as_deref().unwrap_or("no TLS");
        let form = if self.offered_per_s > 0.0 {
            format!("open loop at {}/s", self.offered_per_s)
        } else {
            format!("closed loop of {}", self.window)
        };
        writeln!(
            out,
            "{}: {form}, {} connections, {} per record, {suite}, {:.2} s",
            self.scenario, self.connections, self.pack, self.seconds
        )?;
        let failed: u64 = self.errors.values().sum();
        writeln!(out, "  offered {}  done {}  failed {failed}", self.offered, self.done)?;
        for (kind, count) in &self.errors {
            writeln!(out, "    {count} x {kind}")?;
        }
        let unsent = self.offered.saturating_sub(self.done + failed);
        if unsent > 0 {
            writeln!(out, "    {unsent} x never found room in the window, or unfinished")?;
        }
        if let Some(failure) = &self.last_failure {
            writeln!(out, "    last failure: {failure}")?;
        }
        match self.per_second {
            Some(rate) => writeln!(out, "  rate {rate:.0}/s")?,
            None => writeln!(out, "  GENERATOR-BOUND: no claim about the rate")?,
        }
        let told = |latency: &&Quantiles| latency.count > 0 || latency.lost > Some(0);
        for latency in self.latency.iter().filter(told) {
            write!(
                out,
                "  {} us: p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0}  (n {}",
                latency.name,
                latency.p50_us,
                latency.p90_us,
                latency.p99_us,
                latency.p999_us,
                latency.max_us,
                latency.count
            )?;
            match latency.lost {
                Some(lost) => writeln!(out, ", lost {lost})")?,
                None => writeln!(out, ")")?,
            }
        }
        if self.disturbed {
            let share = self.generator_delayed * 100.0;
            writeln!(
                out,
                "  DISTURBED: the generator waited {share:.0} % of the time for its core"
            )?;
        }
        write!(
            out,
            "  generator {:.0} % of its core, {:.1} messages per read",
            self.generator_busy * 100.0,
            self.messages_per_read
        )?;
        if self.strays > 0 {
            write!(out, ", {} stray responses", self.strays)?;
        }
        if let Some(acks) = self.acks {
            write!(out, ", {acks} ACKs arrived")?;
        }
        if let Some(media) = &self.media {
            let Media { late, again, generator_dropped } = media;
            write!(out, ", {late} late, {again} doubled, {generator_dropped} dropped by us")?;
        }
        if let Some(server) = &self.server {
            write!(out, "\n  server {:.2} cores", server.cores)?;
            if let Some(cpu) = server.cpu_us_per_unit {
                write!(
                    out,
                    ", {cpu:.2} us CPU each ({:.0} % system)",
                    server.system_share * 100.0
                )?;
            }
            write!(out, ", PSS {} KiB, RSS {} KiB", server.memory.pss_kib, server.memory.rss_kib)?;
            if let Some(kib) = server.kib_per_leg {
                write!(out, ", {kib:.1} KiB per connection")?;
            }
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Odometers;

    fn report(busy_ns: u64) -> Report {
        let start = Odometers::default();
        let end = Odometers { at_ns: 1_000_000, own_ns: busy_ns, completed: 5, ..start };
        let span = Span::between(&start, &end);
        Report::new("handshake", 0.0, &span, &Tally::default(), None)
    }

    #[test]
    fn no_rate_is_claimed_where_the_generator_was_the_limit() {
        let bound = report(950_000);
        assert!(bound.generator_bound && bound.per_second.is_none());
        assert!(bound.to_string().contains("GENERATOR-BOUND"));
        assert_eq!(report(500_000).per_second.map(f64::round), Some(5000.0));
    }

    #[test]
    fn a_report_is_one_json_object() {
        let text = serde_json::to_string(&report(1)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["completed"], 5);
    }
}
