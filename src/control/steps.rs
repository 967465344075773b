//! How long the steps of reloads take.

use std::sync::atomic::{AtomicU64, Ordering};

use super::board::seconds;
use crate::metrics::{Buckets, Exporter, catalogue};
use crate::time::Clock;

/// What a reload does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Reads the configuration and the lists it names.
    Read,
    /// Compiles policy and TLS material.
    Compile,
    /// Finds out what changes.
    Compare,
    /// Hands it to the shards and frees what was before.
    Publish,
}

impl Step {
    const ALL: [Self; 4] = [Self::Read, Self::Compile, Self::Compare, Self::Publish];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Compile => "compile",
            Self::Compare => "compare",
            Self::Publish => "publish",
        }
    }
}

/// Bounds of the histogram, in microseconds: from a small file to a million partners on a machine
/// without a moment to spare.
const BOUNDS_US: [u64; 9] =
    [1_000, 10_000, 100_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 20_000_000, 100_000_000];

/// The steps of all reloads so far.
#[derive(Debug, Default)]
pub(super) struct Steps([OfStep; Step::ALL.len()]);

#[derive(Debug, Default)]
struct OfStep {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Steps {
    pub(super) fn count(&self, step: Step, us: u64) {
        let of_step = &self.0[step as usize];
        let place = BOUNDS_US.partition_point(|bound| *bound < us);
        of_step.counts[place].fetch_add(1, Ordering::Relaxed);
        of_step.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(super) fn export(&self, exporter: &mut Exporter) {
        for (step, of_step) in Step::ALL.iter().zip(&self.0) {
            let counts = of_step.counts.iter().map(|count| count.load(Ordering::Relaxed));
            let buckets = Buckets {
                bounds: BOUNDS_US.iter().map(|us| seconds(*us)).collect(),
                counts: counts.collect(),
                sum: seconds(of_step.sum_us.load(Ordering::Relaxed)),
            };
            exporter.set_buckets(&catalogue::RELOAD_SECONDS, step.as_str(), buckets);
        }
    }
}

/// Times the steps of one reload.
pub(super) struct Stopwatch<'a> {
    clock: &'a Clock,
    steps: &'a Steps,
    since_ns: u64,
    took_us: [u64; Step::ALL.len()],
}

impl<'a> Stopwatch<'a> {
    /// Begins with the first step.
    pub(super) fn start(clock: &'a Clock, steps: &'a Steps) -> Self {
        let since_ns = clock.now().monotonic.0;
        Self { clock, steps, since_ns, took_us: [0; Step::ALL.len()] }
    }

    /// Ends a step and begins the next one.
    pub(super) fn end(&mut self, step: Step) {
        let now_ns = self.clock.now().monotonic.0;
        let us = now_ns.saturating_sub(self.since_ns) / 1_000;
        self.since_ns = now_ns;
        self.took_us[step as usize] += us;
        self.steps.count(step, us);
    }

    /// Returns the milliseconds of a step that has ended.
    pub(super) fn ms(&self, step: Step) -> u64 {
        self.took_us[step as usize] / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_counted_in_the_bucket_of_its_time() {
        let steps = Steps::default();
        for us in [10, 1_000, 1_001, 999_999_999] {
            steps.count(Step::Compile, us);
        }
        let mut exporter = Exporter::new();
        steps.export(&mut exporter);
        let text = exporter.render();
        for line in [
            "entente_control_reload_seconds_bucket{step=\"compile\",le=\"0.001\"} 2\n",
            "entente_control_reload_seconds_bucket{step=\"compile\",le=\"0.01\"} 3\n",
            "entente_control_reload_seconds_bucket{step=\"compile\",le=\"100\"} 3\n",
            "entente_control_reload_seconds_count{step=\"compile\"} 4\n",
            "entente_control_reload_seconds_count{step=\"read\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn each_step_lasts_from_the_one_before() {
        let (clock, steps) = (Clock::start(), Steps::default());
        let mut watch = Stopwatch::start(&clock, &steps);
        std::thread::sleep(std::time::Duration::from_millis(3));
        watch.end(Step::Read);
        watch.end(Step::Compile);
        assert!(watch.ms(Step::Read) >= 3);
        assert!(watch.took_us[Step::Compile as usize] < watch.took_us[Step::Read as usize]);
    }
}
