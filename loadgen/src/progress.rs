//! A line on a terminal that says how far the run has come.

use std::io::{IsTerminal, Write, stderr};

/// Pause between two showings.
const EVERY_NS: u64 = 500_000_000;

/// The line. Shows nothing where standard error is not a terminal.
pub(crate) struct Progress {
    name: &'static str,
    terminal: bool,
    next_ns: u64,
    last: (u64, u64),
}

impl Progress {
    /// `name`: of the scenario.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, terminal: stderr().is_terminal(), next_ns: 0, last: (0, 0) }
    }

    /// Shows the line if it is time.
    pub(crate) fn show(&mut self, now_ns: u64, completed: u64, failed: u64) {
        if !self.terminal || now_ns < self.next_ns {
            return;
        }
        self.next_ns = now_ns + EVERY_NS;
        let (last_ns, last) = self.last;
        let seconds = now_ns.saturating_sub(last_ns).max(1) as f64 / 1e9;
        let rate = completed.saturating_sub(last) as f64 / seconds;
        self.last = (now_ns, completed);
        let line = format!(
            "\r{} {:6.1} s {completed:>10} done {rate:>9.0}/s {failed} failed ",
            self.name,
            now_ns as f64 / 1e9
        );
        // A terminal that is gone is no reason to stop measuring.
        let _ = stderr().write_all(line.as_bytes());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = stderr().write_all(b"\r\x1b[K");
        }
    }
}
