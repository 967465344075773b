//! What is counted while the generator runs, and when.

use std::collections::BTreeMap;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::net::Counters;
use crate::process::{Cpu, Tree, own_run_and_delay_ns};

/// Longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Latencies of one kind of transaction, from the intended send time.
pub(crate) struct Latency {
    /// What was timed.
    pub(crate) name: &'static str,
    histogram: Histogram<u64>,
    lost: Option<u64>,
}

/// Quantiles in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Quantiles {
    /// What was timed.
    pub(crate) name: &'static str,
    /// How many.
    pub(crate) count: u64,
    /// Half were faster.
    pub(crate) p50_us: f64,
    /// Nine of ten were faster.
    pub(crate) p90_us: f64,
    /// 99 of 100 were faster.
    pub(crate) p99_us: f64,
    /// 999 of 1,000 were faster.
    pub(crate) p999_us: f64,
    /// The slowest.
    pub(crate) max_us: f64,
    /// How many of the kind ended otherwise than well, where each kind is counted on its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u64>,
}

impl Latency {
    fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        Quantiles {
            name: self.name,
            count: self.histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.histogram.max() as f64 / 1e3,
            lost: self.lost,
        }
    }
}

/// Everything counted in one measured span.
#[derive(Default)]
pub(crate) struct Tally {
    /// Units of work whose intended start lies in the span.
    pub(crate) offered: u64,
    /// Of those, how many ended well, however late.
    pub(crate) done: u64,
    /// What went wrong, by kind.
    pub(crate) errors: BTreeMap<String, u64>,
    latencies: Vec<Latency>,
}

impl Tally {
    /// Makes room for the latencies of `names`.
    pub(crate) fn new(names: &[&'static str]) -> Result<Self> {
        let mut tally = Self::default();
        for name in names {
            let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?;
            tally.latencies.push(Latency { name, histogram, lost: None });
        }
        Ok(tally)
    }

    /// The same, where what is lost is counted for each of `names`.
    pub(crate) fn of_each(names: &[&'static str]) -> Result<Self> {
        let mut tally = Self::new(names)?;
        for latency in &mut tally.latencies {
            latency.lost = Some(0);
        }
        Ok(tally)
    }

    /// Records one latency of a kind named to [`Tally::new`].
    pub(crate) fn latency(&mut self, name: &'static str, ns: u64) {
        if let Some(latency) = self.latencies.iter_mut().find(|latency| latency.name == name) {
            latency.histogram.saturating_record(ns.max(1));
        }
    }

    /// Counts one failure.
    pub(crate) fn error(&mut self, kind: impl Into<String>) {
        *self.errors.entry(kind.into()).or_default() += 1;
    }

    /// Counts one failure of a kind named to [`Tally::of_each`].
    pub(crate) fn lost(&mut self, name: &'static str, why: &str) {
        self.error(format!("{name}: {why}"));
        if let Some(latency) = self.latencies.iter_mut().find(|latency| latency.name == name) {
            latency.lost = latency.lost.map(|lost| lost + 1);
        }
    }

    /// Returns all failures.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Returns the quantiles of every kind timed; where each kind is counted on its own, of those
    /// that there were.
    pub(crate) fn quantiles(&self) -> Vec<Quantiles> {
        let idle = |latency: &&Latency| latency.lost == Some(0) && latency.histogram.is_empty();
        self.latencies.iter().filter(|latency| !idle(latency)).map(Latency::quantiles).collect()
    }
}

/// Odometers at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Odometers {
    /// When.
    pub(crate) at_ns: u64,
    /// The generator's own CPU.
    pub(crate) own_ns: u64,
    /// Time the generator was kept from running.
    pub(crate) delayed_ns: u64,
    /// Time the generator spent waiting in a busy poll that found nothing.
    pub(crate) waiting_ns: u64,
    /// CPU of the process under test.
    pub(crate) server: Cpu,
    /// Reads and messages.
    pub(crate) net: Counters,
    /// Units of work completed.
    pub(crate) completed: u64,
}

impl Odometers {
    /// Reads them all.
    pub(crate) fn read(
        at_ns: u64,
        waiting_ns: u64,
        completed: u64,
        net: Counters,
        server: Option<Tree>,
    ) -> Self {
        let server = server.map(Tree::cpu).unwrap_or_default();
        let (own_ns, delayed_ns) = own_run_and_delay_ns();
        Self { at_ns, own_ns, delayed_ns, waiting_ns, server, net, completed }
    }
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Wall time in seconds.
    pub(crate) seconds: f64,
    /// Units of work completed.
    pub(crate) completed: u64,
    /// Share of its core that the generator worked, 0 to 1; busy waiting is not work.
    pub(crate) generator_busy: f64,
    /// Share of the time in which something else kept the generator from running.
    pub(crate) generator_delayed: f64,
    /// CPU of the process under test.
    pub(crate) server: Cpu,
    /// Messages that one read brought, on average.
    pub(crate) messages_per_read: f64,
}

impl Span {
    /// Subtracts.
    pub(crate) fn between(start: &Odometers, end: &Odometers) -> Self {
        let wall_ns = end.at_ns.saturating_sub(start.at_ns).max(1);
        let own_ns = end.own_ns.saturating_sub(start.own_ns);
        let waiting_ns = end.waiting_ns.saturating_sub(start.waiting_ns);
        let reads = end.net.reads - start.net.reads;
        let messages = end.net.messages - start.net.messages;
        Self {
            seconds: wall_ns as f64 / 1e9,
            completed: end.completed - start.completed,
            generator_busy: (own_ns.saturating_sub(waiting_ns) as f64 / wall_ns as f64).min(1.0),
            generator_delayed: end.delayed_ns.saturating_sub(start.delayed_ns) as f64
                / wall_ns as f64,
            server: end.server.since(start.server),
            messages_per_read: if reads == 0 { 0.0 } else { messages as f64 / reads as f64 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_told_in_microseconds() {
        let mut tally = Tally::new(&["MESSAGE"]).unwrap();
        for value in 1..=1000_u64 {
            tally.latency("MESSAGE", value * 1000);
        }
        let quantiles = tally.quantiles();
        assert_eq!(quantiles.len(), 1);
        assert!((quantiles[0].p50_us - 500.0).abs() < 5.0, "{quantiles:?}");
        assert!((quantiles[0].p999_us - 999.0).abs() < 5.0, "{quantiles:?}");
    }

    #[test]
    fn what_is_lost_is_counted_for_its_kind_and_idle_kinds_are_not_told() {
        let mut tally = Tally::of_each(&["message in", "presence in", "presence out"]).unwrap();
        tally.latency("message in", 1_000);
        tally.lost("presence out", "not delivered in time");
        let told: Vec<_> = tally.quantiles().iter().map(|q| (q.name, q.count, q.lost)).collect();
        assert_eq!(told, [("message in", 1, Some(0)), ("presence out", 0, Some(1))]);
        assert_eq!(tally.errors["presence out: not delivered in time"], 1);
    }

    #[test]
    fn waiting_in_a_busy_poll_is_not_work() {
        let start = Odometers::default();
        let end = Odometers { at_ns: 1000, own_ns: 1000, waiting_ns: 750, ..start };
        let span = Span::between(&start, &end);
        assert!((span.generator_busy - 0.25).abs() < 1e-9);
    }
}
