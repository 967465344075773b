//! When something runs out, if it goes on as in the last minutes.
//!
//! A straight line through the oldest and the newest of a few samples: an operator wants to know
//! whether there are minutes or days left, and an average over minutes is not moved by one call.

use std::collections::VecDeque;

use crate::limits;
use crate::time::Monotonic;

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Allocations that there are.
    pub allocations: usize,
    /// The same with those of the relays of other threads, which may be as many in all.
    pub allocations_in_all: usize,
    /// How many more there may be, by the quotas in force.
    pub allocations_left: usize,
    /// Ports that are free; `None` where they are shared.
    pub ports_left: Option<usize>,
    /// Bytes relayed so far, both ways.
    pub bytes: u64,
}

/// What comes, if it goes on so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Seconds until no port is free, 0 where none is; `None`: they do not become fewer.
    pub ports_run_out_s: Option<u64>,
    /// Seconds until there may be no more allocations, 0 where there may be none; `None`: they do
    /// not become more.
    pub allocations_run_out_s: Option<u64>,
    /// Seconds until the link is full; `None`: traffic does not grow, or nobody said how much the
    /// link carries.
    pub bandwidth_run_out_s: Option<u64>,
    /// Kilobits a second, of late.
    pub kbit_s: u64,
    allocations: u64,
    /// Allocations that became fewer within `over_ms`.
    ended: u64,
    over_ms: u64,
}

impl Outlook {
    /// Returns that of two relays together: what runs out first, and what both carry.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let sooner = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            ports_run_out_s: sooner(self.ports_run_out_s, other.ports_run_out_s),
            allocations_run_out_s: sooner(self.allocations_run_out_s, other.allocations_run_out_s),
            bandwidth_run_out_s: sooner(self.bandwidth_run_out_s, other.bandwidth_run_out_s),
            kbit_s: self.kbit_s + other.kbit_s,
            allocations: self.allocations + other.allocations,
            ended: self.ended + other.ended,
            over_ms: self.over_ms.max(other.over_ms),
        }
    }

    /// Returns the seconds until no more than `below` allocations are left; `None`: they do not
    /// become fewer.
    #[must_use]
    pub const fn drained_s(&self, below: usize) -> Option<u64> {
        let too_many = self.allocations.saturating_sub(below as u64);
        if too_many == 0 { Some(0) } else { until_gone(too_many, self.ended, self.over_ms) }
    }
}

/// Samples of the last minutes.
#[derive(Debug, Default)]
pub struct Forecast {
    /// With the rate of bytes since the sample before, in kilobits a second.
    samples: VecDeque<(Monotonic, Sample, u64)>,
    newest: Option<(Monotonic, Sample)>,
}

impl Forecast {
    /// Takes a sample, and keeps one every [`limits::FORECAST_STEP_MS`].
    pub fn take(&mut self, now: Monotonic, sample: Sample) {
        self.newest = Some((now, sample));
        let due = self.samples.back().is_none_or(|(at, before, _)| {
            now.ms_since(*at) >= limits::FORECAST_STEP_MS || before.bytes > sample.bytes
        });
        if due {
            let rate = self.rate(now, &sample);
            self.samples.push_back((now, sample, rate));
            if self.samples.len() > limits::FORECAST_SAMPLES {
                self.samples.pop_front();
            }
        }
    }

    /// Returns kilobits a second since the last sample that was kept.
    fn rate(&self, now: Monotonic, sample: &Sample) -> u64 {
        let Some((at, before, rate)) = self.samples.back() else { return 0 };
        match now.ms_since(*at) {
            0 => *rate,
            // A bit for each millisecond is a kilobit for each second.
            ms => sample.bytes.saturating_sub(before.bytes).saturating_mul(8) / ms,
        }
    }

    /// Returns what comes. `link_kbit_s`: what the link carries, where that is known.
    #[must_use]
    pub fn outlook(&self, link_kbit_s: Option<u64>) -> Outlook {
        let (Some((from, old, _)), Some((to, new))) = (self.samples.front(), &self.newest) else {
            return Outlook::default();
        };
        let over_ms = to.ms_since(*from);
        let kbit_s = self.samples.back().map_or(0, |(.., rate)| *rate);
        let allocations = new.allocations as u64;
        let ended = old.allocations.saturating_sub(new.allocations) as u64;
        let base = Outlook { kbit_s, allocations, ended, over_ms, ..Outlook::default() };
        if over_ms < limits::FORECAST_STEP_MS {
            return base;
        }
        let run_out = |left: usize, gone: usize| match left {
            0 => Some(0),
            left => until_gone(left as u64, gone as u64, over_ms),
        };
        // The first sample has no rate of its own.
        let bandwidth_run_out_s = match (self.samples.get(1), self.samples.back(), link_kbit_s) {
            (Some((first, _, before)), Some((last, _, rate)), Some(link)) => until_gone(
                link.saturating_sub(*rate),
                rate.saturating_sub(*before),
                last.ms_since(*first),
            ),
            _ => None,
        };
        let ports = old.ports_left.zip(new.ports_left);
        // Not how many fewer there may be: that changes with the quotas, and allocations do not.
        let begun = new.allocations_in_all.saturating_sub(old.allocations_in_all);
        Outlook {
            ports_run_out_s: ports.and_then(|(old, new)| run_out(new, old.saturating_sub(new))),
            allocations_run_out_s: run_out(new.allocations_left, begun),
            bandwidth_run_out_s,
            ..base
        }
    }
}

/// Returns the seconds until `left` are gone of which `gone` went in `over_ms`.
const fn until_gone(left: u64, gone: u64, over_ms: u64) -> Option<u64> {
    if gone == 0 {
        return None;
    }
    let ms = left as u128 * over_ms as u128 / gone as u128;
    Some((ms / 1_000) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(second: u64) -> Monotonic {
        Monotonic(second * 1_000_000_000)
    }

    fn sample(allocations: usize, bytes: u64) -> Sample {
        of_most(20_000, allocations, bytes)
    }

    fn of_most(most: usize, allocations: usize, bytes: u64) -> Sample {
        let ports_left = Some(10_000 - allocations);
        let allocations_left = most.saturating_sub(allocations);
        let allocations_in_all = allocations;
        Sample { allocations, allocations_in_all, allocations_left, ports_left, bytes }
    }

    #[test]
    fn what_grows_steadily_runs_out_when_it_says() {
        let mut forecast = Forecast::default();
        assert_eq!(forecast.outlook(None), Outlook::default());
        for at in 0..200 {
            // 10 allocations more each second, and 1 kbit/s more with each of them.
            let bytes = (0..at).map(|second| second * 10 * 125).sum();
            forecast.take(second(at), sample(at as usize * 10, bytes));
        }
        let outlook = forecast.outlook(Some(10_000));
        assert_eq!(outlook.ports_run_out_s, Some((10_000 - 1_990) / 10));
        assert_eq!(outlook.allocations_run_out_s, Some((20_000 - 1_990) / 10));
        let kbit_s = outlook.kbit_s;
        assert!((1_800..=1_990).contains(&kbit_s), "{kbit_s}");
        assert_eq!(outlook.bandwidth_run_out_s, Some((10_000 - kbit_s) / 10));
        assert_eq!(outlook.drained_s(0), None, "they become more");
        assert_eq!(forecast.outlook(None).bandwidth_run_out_s, None, "nobody knows the link");
    }

    #[test]
    fn a_drain_is_over_when_enough_have_gone() {
        let mut forecast = Forecast::default();
        for at in 0..=100 {
            forecast.take(second(at), sample(1_000 - at as usize * 5, at * 1_000));
        }
        let outlook = forecast.outlook(None);
        assert_eq!(outlook.ports_run_out_s, None);
        assert_eq!(outlook.drained_s(100), Some(400 / 5));
        assert_eq!(outlook.drained_s(500), Some(0));
    }

    /// Symptom: after a reload with a lower quota all seemed to run out within minutes, and with a
    /// higher one never to. Cause: how many allocations may come was compared with how many might
    /// before it. Scenario: steady growth, and a reload in the middle.
    #[test]
    fn another_quota_is_followed_at_once() {
        for (most, left_s) in [(3_000, 199), (40_000, 3_899), (1_010, 0), (500, 0)] {
            let mut forecast = Forecast::default();
            for at in 0..=100 {
                forecast.take(second(at), of_most(20_000, at as usize * 10, 0));
            }
            assert_eq!(forecast.outlook(None).allocations_run_out_s, Some(1_900));
            forecast.take(second(101), of_most(most, 1_010, 0));
            assert_eq!(forecast.outlook(None).allocations_run_out_s, Some(left_s), "{most}");
        }
    }

    #[test]
    fn what_has_run_out_is_told_though_it_shrinks_no_more() {
        let mut forecast = Forecast::default();
        for at in 0..2_000 {
            forecast.take(second(at), of_most(700, 700, 0));
        }
        let outlook = forecast.outlook(None);
        assert_eq!((outlook.allocations_run_out_s, outlook.ports_run_out_s), (Some(0), None));
    }

    #[test]
    fn only_the_last_minutes_count() {
        let mut forecast = Forecast::default();
        for at in 0..100 {
            forecast.take(second(at), sample(at as usize * 10, 0));
        }
        for at in 100..2_000 {
            forecast.take(second(at), sample(990, 0));
        }
        assert_eq!(forecast.outlook(Some(1)).ports_run_out_s, None);
        assert!(forecast.samples.len() <= limits::FORECAST_SAMPLES);
    }
}
