//! The one place of the generator that reads the clock.

use std::time::Instant;

/// Monotonic nanoseconds since the generator started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts the clock at zero.
    #[expect(clippy::disallowed_methods, reason = "the generator's only look at the clock")]
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Returns nanoseconds since [`Clock::start`].
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Seconds as the command line gives them, in nanoseconds.
pub(crate) fn ns_of_seconds(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}
