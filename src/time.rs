//! The two clocks of a turn, and the only place that reads them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds on a clock that never goes back; zero is the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// Returns this moment moved `milliseconds` into the future.
    #[must_use]
    pub const fn plus_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds.saturating_mul(1_000_000)))
    }

    /// Returns how many microseconds lie between `earlier` and this moment, zero if it is later.
    #[must_use]
    pub const fn us_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000
    }

    /// Returns how many milliseconds lie between `earlier` and this moment, zero if it is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// The time of one turn: read once, handed to every core that the turn touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines, rates and ages.
    pub monotonic: Monotonic,
    /// Seconds since 1970, for certificates, DNS lifetimes and tokens.
    pub unix_s: u64,
}

impl Now {
    /// Returns this time moved `milliseconds` into the future, for tests and simulation.
    #[must_use]
    pub const fn plus_ms(self, milliseconds: u64) -> Self {
        Self {
            monotonic: self.monotonic.plus_ms(milliseconds),
            unix_s: self.unix_s + milliseconds / 1000,
        }
    }
}

/// Reads the clocks. A shell owns one and reads it once a turn.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts a clock whose monotonic zero is this moment.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Returns the time.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    pub fn now(&self) -> Now {
        let since_start: Duration = self.start.elapsed();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: Monotonic(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX)),
            unix_s: unix.as_secs(),
        }
    }
}
