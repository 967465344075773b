//! The one place of the generator that reads the clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// Seconds since 1970, for what names a time on the wire.
#[expect(clippy::disallowed_methods, reason = "the generator's only look at the calendar")]
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
