//! The log of the process: lines on standard error, written by a thread that drops rather than
//! waits.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use crate::config::{self, LogFormat};

/// Lines that may wait for the writer, about 200 bytes each; further ones are dropped and counted.
const LINES_WAITING_MAX: usize = 16 * 1024;

/// The installed log. Dropping it writes what waits.
pub struct Log {
    dropped: ErrorCounter,
    level: reload::Handle<Targets, Registry>,
    _writer: WorkerGuard,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Makes this process log as `settings` say. Once per process.
    ///
    /// # Errors
    /// The process has a log already.
    pub fn install(settings: &config::Log) -> anyhow::Result<Self> {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(LINES_WAITING_MAX)
            .thread_name("log")
            .finish(std::io::stderr());
        let dropped = writer.error_counter();
        let (filter, level) = reload::Layer::new(targets(&settings.level));
        let lines = fmt::layer().with_writer(writer);
        let lines = match settings.format {
            LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        // The filter lies below the lines, so that a change of level reaches both formats.
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .try_init()
            .context("the log is installed once per process")?;
        Ok(Self { dropped, level, _writer: guard })
    }

    /// Changes what is told.
    pub fn set_level(&self, level: &str) {
        // Fails only when the subscriber is gone, and then nobody listens.
        let _ = self.level.reload(targets(level));
    }

    /// Returns what counts the lines that the writer could not keep up with.
    #[must_use]
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Reads a level that the configuration has accepted.
fn targets(level: &str) -> Targets {
    level.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO))
}
