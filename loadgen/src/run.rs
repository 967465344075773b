//! The loop around an engine: work is offered, what has come is handed out, and the generator's
//! waiting is told from its working.

use anyhow::Result;

use crate::clock::{Clock, ns_of_seconds};
use crate::measure::{Odometers, Span, Tally};
use crate::net::{Handler, Net};
use crate::offer::Offer;
use crate::options::Measured;
use crate::process::{Memory, Tree};
use crate::progress::Progress;

/// Units started before what is waiting is read.
const STARTS_PER_TURN_MAX: usize = 512;
/// Longest sleep; keeps retries and timeouts going.
const SLEEP_NS_MAX: u64 = 20_000_000;
/// Pause between looks at what has waited too long.
const HOUSEKEEPING_NS: u64 = 50_000_000;

/// Both sides of the server under test as one state machine.
pub(crate) trait Engine: Handler {
    /// Whether a unit could start now.
    fn ready(&mut self, net: &Net) -> bool;
    /// Starts the unit that was due at `intended_ns`.
    fn start(&mut self, net: &mut Net, intended_ns: u64, now_ns: u64);
    /// Reconnects, and gives up on what has waited too long.
    fn housekeep(&mut self, net: &mut Net, now_ns: u64) -> Result<()>;
    /// From now on, units intended in `from_ns..to_ns` are counted.
    fn measure(&mut self, from_ns: u64, to_ns: u64);
    /// Returns how many units are unfinished.
    fn unfinished(&self) -> usize;
    /// Returns how many units of the measured span are unfinished.
    fn unfinished_measured(&self) -> usize;
    /// Returns how many units ended well, ever.
    fn completed(&self) -> u64;
    /// Returns the counts of the measured span.
    fn tally(&mut self) -> &mut Tally;
}

/// An engine and what runs it.
pub(crate) struct Run<E> {
    /// What is run.
    pub(crate) engine: E,
    /// Its connections.
    pub(crate) net: Net,
    /// Time since the start.
    pub(crate) clock: Clock,
    /// The process under test.
    pub(crate) server: Option<Tree>,
    busy: bool,
    waiting_ns: u64,
    housekeeping_ns: u64,
    progress: Progress,
}

impl<E: Engine> Run<E> {
    /// `name`: of the scenario.
    pub(crate) fn new(
        name: &'static str,
        measured: &Measured,
        clock: Clock,
        (engine, net): (E, Net),
    ) -> Result<Self> {
        Ok(Self {
            engine,
            net,
            clock,
            server: measured.pid.map(Tree::of).transpose()?,
            busy: measured.busy,
            waiting_ns: 0,
            housekeeping_ns: 0,
            progress: Progress::new(name),
        })
    }

    /// Warms up, measures, and waits for what is unfinished then.
    pub(crate) fn measure(
        &mut self,
        measured: &Measured,
        window: usize,
    ) -> Result<(Span, Option<Memory>)> {
        let start_ns = self.clock.now_ns() + ns_of_seconds(measured.warmup);
        let end_ns = start_ns + ns_of_seconds(measured.seconds);
        let mut offer = Offer::new(measured.rate, window, self.clock.now_ns());
        self.engine.measure(start_ns, end_ns);
        self.spin(Some(&mut offer), start_ns)?;
        let first = self.odometers();
        self.spin(Some(&mut offer), end_ns)?;
        let last = self.odometers();
        let memory = self.server.map(Tree::memory);
        let patience_ns = ns_of_seconds(measured.timeout) + HOUSEKEEPING_NS * 2;
        let deadline_ns = self.clock.now_ns() + patience_ns;
        while self.engine.unfinished_measured() > 0 && self.clock.now_ns() < deadline_ns {
            self.spin(None, self.clock.now_ns() + SLEEP_NS_MAX)?;
        }
        // What was due and never found room was offered all the same.
        if let Some(due) = offer.due_between(start_ns, end_ns) {
            let tally = self.engine.tally();
            tally.offered = tally.offered.max(due);
        }
        Ok((Span::between(&first, &last), memory))
    }

    /// Offers work until `until_ns`.
    pub(crate) fn spin(&mut self, mut offer: Option<&mut Offer>, until_ns: u64) -> Result<()> {
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

    /// Waits at most `sleep_ns` for what comes; returns how much there was to do.
    pub(crate) fn turn(&mut self, now_ns: u64, sleep_ns: u64) -> Result<usize> {
        if now_ns > self.housekeeping_ns {
            self.housekeeping_ns = now_ns + HOUSEKEEPING_NS;
            self.engine.housekeep(&mut self.net, now_ns)?;
            let failed = self.engine.tally().failed();
            self.progress.show(now_ns, self.engine.completed(), failed);
        }
        self.net.turn(sleep_ns, &mut self.engine)
    }

    /// Reads all odometers.
    pub(crate) fn odometers(&self) -> Odometers {
        let completed = self.engine.completed();
        let now_ns = self.clock.now_ns();
        Odometers::read(now_ns, self.waiting_ns, completed, self.net.counters, self.server)
    }
}
