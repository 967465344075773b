//! Notes of the shards become lines of the log: one each, sampled above a rate.

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use crate::edge::{Note, Severity};
use crate::time::{Clock, Monotonic};

/// Lines a second for one severity; a flood of refusals must not cost more than it is worth.
const LINES_PER_S: u64 = 100;
/// Lines at once after silence.
const LINES_BURST: u64 = 300;
/// How often the number of suppressed lines is told.
const TELL_EVERY_MS: u64 = 1_000;
/// Notes that may wait for the log, each about 200 bytes; shards drop and count beyond it.
pub(super) const NOTES_WAITING_MAX: usize = 4096;

/// Where lines of notes come from, as levels of the log name it.
pub(super) const TARGET: &str = module_path!();

/// Lets a bounded number of lines pass and counts the rest. Pure: time is an argument.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    per_s: u64,
    burst: u64,
    /// Thousandths of a line, so that no rate is lost to rounding.
    tokens: u64,
    filled: Monotonic,
    suppressed: u64,
}

impl Sampler {
    /// Returns one that lets `per_s` lines a second pass, and `burst` at once after silence.
    pub(super) const fn new(now: Monotonic, per_s: u64, burst: u64) -> Self {
        Self { per_s, burst, tokens: burst * 1000, filled: now, suppressed: 0 }
    }

    /// Returns whether a line may pass at `now`.
    pub(super) fn admit(&mut self, now: Monotonic) -> bool {
        let elapsed_ms = now.ms_since(self.filled);
        let filled = self.tokens.saturating_add(elapsed_ms.saturating_mul(self.per_s));
        self.tokens = filled.min(self.burst * 1000);
        // What is left of a millisecond counts next time.
        self.filled = self.filled.plus_ms(elapsed_ms);
        if self.tokens >= 1000 {
            self.tokens -= 1000;
            return true;
        }
        self.suppressed += 1;
        false
    }

    /// Returns how many lines were held back since the last call.
    pub(super) const fn take_suppressed(&mut self) -> u64 {
        std::mem::replace(&mut self.suppressed, 0)
    }
}

/// Writes notes until every sender is gone. `suppressed` hears of lines held back.
pub(super) fn spawn(
    notes: Receiver<(u16, Note)>,
    suppressed: impl Fn(u64) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("notes".to_owned()).spawn(move || {
        super::behind::give_way();
        write(&notes, &suppressed);
    })
}

fn write(notes: &Receiver<(u16, Note)>, suppressed: &dyn Fn(u64)) {
    let clock = Clock::start();
    let start = clock.now().monotonic;
    let sampler = Sampler::new(start, LINES_PER_S, LINES_BURST);
    let mut samplers = [sampler.clone(), sampler.clone(), sampler];
    let mut told = start;
    // Ends with the last sender.
    loop {
        match notes.recv_timeout(Duration::from_millis(TELL_EVERY_MS)) {
            Ok((shard, note)) => {
                let now = clock.now().monotonic;
                if samplers[note.severity as usize].admit(now) {
                    tell(shard, &note);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = clock.now().monotonic;
        if now.ms_since(told) >= TELL_EVERY_MS {
            told = now;
            let held: u64 = samplers.iter_mut().map(Sampler::take_suppressed).sum();
            if held > 0 {
                tracing::warn!(lines = held, "lines of the last second were suppressed");
                suppressed(held);
            }
        }
    }
}

fn tell(shard: u16, note: &Note) {
    let leg = note.leg.map_or_else(String::new, |leg| format!("{}.{}", leg.index, leg.generation));
    // As it stands in the answer on the wire; what was not decided has none.
    let decision = (note.decision_id != 0)
        .then(|| tracing::field::display(format!("{:016x}", note.decision_id)));
    let epoch = note.epoch;
    let sentence = note.sentence.as_str();
    match note.severity {
        Severity::Debug => tracing::debug!(shard, leg, decision, epoch, "{sentence}"),
        Severity::Info => tracing::info!(shard, leg, decision, epoch, "{sentence}"),
        Severity::Warn => tracing::warn!(shard, leg, decision, epoch, "{sentence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_passes_at_its_rate_and_the_rest_is_counted() {
        let start = Monotonic(7);
        let mut sampler = Sampler::new(start, LINES_PER_S, LINES_BURST);
        let passed = |sampler: &mut Sampler, from_ms: u64, to_ms: u64| {
            let tries = (from_ms..to_ms).flat_map(|ms| std::iter::repeat_n(ms, 10));
            tries.filter(|ms| sampler.admit(start.plus_ms(*ms))).count() as u64
        };
        let first = passed(&mut sampler, 0, 1000);
        assert_eq!(first, LINES_BURST + LINES_PER_S - 1);
        assert_eq!(sampler.take_suppressed(), 10_000 - first);
        assert_eq!(passed(&mut sampler, 1000, 2000), LINES_PER_S);
        assert_eq!(sampler.take_suppressed(), 10_000 - LINES_PER_S);
        assert_eq!(sampler.take_suppressed(), 0);
    }

    #[test]
    fn silence_fills_the_burst_again_and_no_more() {
        let mut sampler = Sampler::new(Monotonic(0), LINES_PER_S, LINES_BURST);
        while sampler.admit(Monotonic(0)) {}
        let later = Monotonic(0).plus_ms(3_600_000);
        let passed = (0..10_000).filter(|_| sampler.admit(later)).count() as u64;
        assert_eq!(passed, LINES_BURST);
    }

    #[test]
    fn the_writer_ends_with_the_last_sender() {
        let (sender, receiver) = crossbeam::channel::bounded(4);
        let thread = spawn(receiver, |_| {}).unwrap();
        let note = Note {
            leg: None,
            severity: Severity::Debug,
            sentence: "nothing".to_owned(),
            decision_id: 0,
            epoch: 1,
        };
        sender.send((0, note)).unwrap();
        drop(sender);
        assert!(thread.join().is_ok());
    }
}
