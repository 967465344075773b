//! The scenarios that send messages: prove every connection, warm up, measure, drain.

use anyhow::Result;

use crate::clock::{Clock, ns_of_seconds};
use crate::measure::{Odometers, Span};
use crate::net::Net;
use crate::offer::Offer;
use crate::options;
use crate::process::Tree;
use crate::progress::Progress;
use crate::report::{Report, Server};

pub(crate) mod compose;
mod engine;
mod names;
mod slots;

use engine::Engine;

/// Time in which every connection must have carried one unit of work.
const PRIME_NS_MAX: u64 = 20_000_000_000;
/// Units started before what is waiting is read.
const STARTS_PER_TURN_MAX: usize = 512;
/// Longest sleep; keeps retries and timeouts going.
const SLEEP_NS_MAX: u64 = 20_000_000;
/// Pause between looks at what has waited too long.
const HOUSEKEEPING_NS: u64 = 50_000_000;

/// Which traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// MESSAGE.
    Message,
    /// INVITE to BYE.
    Dialog,
    /// SUBSCRIBE and NOTIFY.
    Presence,
}

impl Kind {
    fn method(self) -> &'static str {
        match self {
            Self::Message => "MESSAGE",
            Self::Dialog => "INVITE",
            Self::Presence => "SUBSCRIBE",
        }
    }

    fn latencies(self) -> &'static [&'static str] {
        match self {
            Self::Message => &["MESSAGE"],
            Self::Dialog => &["INVITE", "BYE"],
            Self::Presence => &["NOTIFY"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Dialog => "dialog",
            Self::Presence => "presence",
        }
    }
}

/// The loop around an engine.
struct Run<'a> {
    engine: Engine<'a>,
    net: Net,
    clock: Clock,
    busy: bool,
    waiting_ns: u64,
    housekeeping_ns: u64,
    progress: Progress,
    server: Option<Tree>,
}

/// Runs one scenario and reports on it.
pub(crate) fn run(kind: Kind, options: &options::Traffic) -> Result<Report> {
    let clock = Clock::start();
    let common = &options.common;
    let mut run = Run {
        engine: Engine::new(kind, options, clock)?,
        net: Net::new(options.pack)?,
        clock,
        busy: common.measured.busy,
        waiting_ns: 0,
        housekeeping_ns: 0,
        progress: Progress::new(kind.name()),
        server: common.measured.pid.map(Tree::of).transpose()?,
    };
    run.engine.open(&mut run.net)?;
    run.prime()?;

    let start_ns = clock.now_ns() + ns_of_seconds(common.measured.warmup);
    let end_ns = start_ns + ns_of_seconds(common.measured.seconds);
    let mut offer = Offer::new(common.measured.rate, options.window(), clock.now_ns());
    run.engine.measure(start_ns, end_ns);
    run.spin(Some(&mut offer), start_ns)?;
    let first = run.odometers();
    run.spin(Some(&mut offer), end_ns)?;
    let last = run.odometers();
    let suite = run.engine.suite(&run.net);
    let memory = run.server.map(Tree::memory);
    run.drain(common.measured.timeout)?;

    let engine = &mut run.engine;
    // What was due and never found room was offered all the same.
    if let Some(due) = offer.due_between(start_ns, end_ns) {
        engine.tally.offered = engine.tally.offered.max(due);
    }
    let span = Span::between(&first, &last);
    let mut report = Report::new(kind.name(), common.measured.rate, &span, &engine.tally, suite);
    report.connections = options.connections;
    report.window = options.window();
    report.pack = options.pack;
    report.last_failure = (report.done == 0).then(|| engine.last_failure.clone());
    report.strays = engine.strays;
    report.acks = (kind == Kind::Dialog).then_some(engine.acks);
    report.server = memory.map(|memory| Server::of(&span, memory));
    Ok(report)
}

impl Run<'_> {
    fn prime(&mut self) -> Result<()> {
        let deadline_ns = self.clock.now_ns() + PRIME_NS_MAX;
        loop {
            let now_ns = self.clock.now_ns();
            if self.engine.prime(&mut self.net, now_ns)? {
                return Ok(());
            }
            if now_ns > deadline_ns {
                return self.engine.give_up();
            }
            self.turn(now_ns, 1_000_000)?;
        }
    }

    /// Offers work until `until_ns`.
    fn spin(&mut self, mut offer: Option<&mut Offer>, until_ns: u64) -> Result<()> {
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            let mut started = 0;
            let mut sleep_ns = SLEEP_NS_MAX.min(until_ns - now_ns);
            if let Some(offer) = offer.as_deref_mut() {
                while started < STARTS_PER_TURN_MAX
                    && self.engine.ready(&self.net)
                    && let Some(intended_ns) = offer.take(now_ns, self.engine.unfinished())
                {
                    self.engine.start(&mut self.net, intended_ns, now_ns);
                    started += 1;
                }
                if started == STARTS_PER_TURN_MAX {
                    sleep_ns = 0;
                } else if let Some(ahead_ns) = offer.next_due_ns().checked_sub(now_ns)
                    && ahead_ns > 0
                {
                    sleep_ns = sleep_ns.min(ahead_ns);
                }
            }
            let sleep_ns = if self.busy { 0 } else { sleep_ns };
            let work = self.turn(now_ns, sleep_ns)? + started;
            if self.busy && work == 0 {
                self.waiting_ns += self.clock.now_ns() - now_ns;
            }
        }
    }

    /// Waits for the answers to what was measured.
    fn drain(&mut self, timeout: f64) -> Result<()> {
        let deadline_ns = self.clock.now_ns() + ns_of_seconds(timeout) + HOUSEKEEPING_NS * 2;
        while self.engine.unfinished_measured() > 0 && self.clock.now_ns() < deadline_ns {
            self.spin(None, self.clock.now_ns() + SLEEP_NS_MAX)?;
        }
        Ok(())
    }

    fn turn(&mut self, now_ns: u64, sleep_ns: u64) -> Result<usize> {
        if now_ns > self.housekeeping_ns {
            self.housekeeping_ns = now_ns + HOUSEKEEPING_NS;
            self.engine.housekeep(&mut self.net, now_ns)?;
            self.progress.show(now_ns, self.engine.completed, self.engine.tally.failed());
        }
        self.net.turn(sleep_ns, &mut self.engine)
    }

    fn odometers(&self) -> Odometers {
        let completed = self.engine.completed;
        let now_ns = self.clock.now_ns();
        Odometers::read(now_ns, self.waiting_ns, completed, self.net.counters, self.server)
    }
}
