//! The log of the process: lines on standard error, written by a thread that drops rather than
//! waits.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
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

/// Tells whether a level of the configuration lets notes of the shards through that are for
/// looking closer.
pub(super) fn tells_permits(level: &str) -> bool {
    targets(level).would_enable(super::notes::TARGET, &tracing::Level::DEBUG)
}

/// Reads a level that the configuration has accepted.
///
/// A level without a part is meant for this program: libraries then tell their warnings at most,
/// because at `debug` they would bury the edge's own lines. Who wants them names them.
fn targets(level: &str) -> Targets {
    let mut targets = Targets::new().with_default(LevelFilter::WARN);
    for directive in level.split(',').map(str::trim) {
        match directive.split_once('=') {
            Some((part, level)) => targets = targets.with_target(part, filter(level)),
            None => {
                let own = filter(directive);
                let libraries = own.min(LevelFilter::WARN);
                targets = targets.with_default(libraries).with_target("entente", own);
            }
        }
    }
    targets
}

fn filter(level: &str) -> LevelFilter {
    level.trim().parse().unwrap_or(LevelFilter::INFO)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_without_a_part_is_for_this_program() {
        let debug = targets("debug");
        assert!(debug.would_enable("entente::shard", &Level::DEBUG));
        assert!(!debug.would_enable("hickory_proto", &Level::INFO));
        assert!(debug.would_enable("hickory_proto", &Level::WARN));
        let error = targets("error");
        assert!(!error.would_enable("rustls", &Level::WARN));
        assert!(!error.would_enable("entente", &Level::WARN));
    }

    #[test]
    fn permits_are_told_where_debug_is_for_the_notes() {
        for level in ["debug", "trace", "info,entente::control=debug"] {
            assert!(tells_permits(level), "{level}");
        }
        for level in ["info", "off", "info,entente::tls=debug"] {
            assert!(!tells_permits(level), "{level}");
        }
    }

    #[test]
    fn a_part_is_told_at_its_own_level() {
        let level = targets("info, entente::tls=debug, hickory_proto=trace");
        assert!(level.would_enable("entente::tls", &Level::DEBUG));
        assert!(!level.would_enable("entente::shard", &Level::DEBUG));
        assert!(level.would_enable("hickory_proto", &Level::TRACE));
    }
}
