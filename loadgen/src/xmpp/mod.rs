//! The scenarios `xmpp` and `gateway`: streams of partners on one side of the server under test,
//! and on the other a gateway's link, a component, or a SIP next hop.
//!
//! A unit of work is one stanza that crosses the server one way. It is done when it comes out at
//! the far side, where the generator stands too, so that nothing is taken on trust. Across a
//! gateway presence belongs to subscriptions, which stand before anything is measured; there the
//! life of a subscription is a unit too.

use anyhow::{Result, bail};

use crate::clock::{Clock, ns_of_seconds};
use crate::connections::raise_descriptors;
use crate::measure::{Odometers, Span};
use crate::net::Net;
use crate::offer::Offer;
use crate::options::{self, Inner};
use crate::process::Tree;
use crate::progress::Progress;
use crate::report::{Report, Server};

mod compose;
mod engine;
mod stream;
mod subscriptions;
mod units;
mod xml;

use engine::Engine;

/// Time in which every domain must have carried one stanza; each costs a handshake.
const PRIME_NS: u64 = 20_000_000_000;
/// And so much more for each of them.
const PRIME_NS_PER_DOMAIN: u64 = 20_000_000;
/// Units started before what is waiting is read.
const STARTS_PER_TURN_MAX: usize = 512;
/// Longest sleep; keeps retries and timeouts going.
const SLEEP_NS_MAX: u64 = 20_000_000;
/// Pause between looks at what has waited too long.
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// Descriptors beside those of the streams.
const SPARE_DESCRIPTORS: u64 = 64;

/// What stands between both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Across {
    /// A server that relays stanzas.
    Proxy,
    /// A gateway: SIP is inside.
    Gateway,
}

impl Across {
    fn name(self) -> &'static str {
        match self {
            Self::Proxy => "xmpp",
            Self::Gateway => "gateway",
        }
    }
}

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

impl<'a> Run<'a> {
    fn new(across: Across, options: &'a options::Xmpp) -> Result<Self> {
        raise_descriptors(2 * options.domains as u64 + SPARE_DESCRIPTORS)?;
        let clock = Clock::start();
        let common = &options.common;
        let mut run = Self {
            engine: Engine::new(across, options, clock)?,
            net: Net::new(1)?,
            clock,
            busy: common.measured.busy,
            waiting_ns: 0,
            housekeeping_ns: 0,
            progress: Progress::new(across.name()),
            server: common.measured.pid.map(Tree::of).transpose()?,
        };
        run.engine.open(&mut run.net)?;
        Ok(run)
    }

    fn prime(&mut self, domains: usize) -> Result<()> {
        let patience_ns = PRIME_NS + PRIME_NS_PER_DOMAIN * domains as u64;
        let deadline_ns = self.clock.now_ns() + patience_ns;
        while !self.engine.prime(&mut self.net, self.clock.now_ns()) {
            let now_ns = self.clock.now_ns();
            if now_ns > deadline_ns {
                return self.engine.give_up();
            }
            self.turn(now_ns, 1_000_000)?;
        }
        Ok(())
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

    /// Waits until so many streams stand, and then for the hold time.
    fn hold(&mut self, streams: usize, hold_ns: u64) -> Result<()> {
        self.engine.restrict(streams);
        let patience_ns = PRIME_NS + PRIME_NS_PER_DOMAIN * streams as u64;
        let deadline_ns = self.clock.now_ns() + patience_ns;
        while !self.engine.stands(streams) {
            let now_ns = self.clock.now_ns();
            if now_ns > deadline_ns {
                return self.engine.give_up();
            }
            self.turn(now_ns, 1_000_000)?;
        }
        self.spin(None, self.clock.now_ns() + hold_ns)
    }
}

/// Runs `xmpp` or `gateway` and reports on it.
pub(crate) fn run(across: Across, options: &options::Xmpp) -> Result<Report> {
    if options.inner() == Inner::None {
        return idle(options);
    }
    let common = &options.common;
    let mut run = Run::new(across, options)?;
    run.prime(options.domains)?;

    let clock = run.clock;
    let start_ns = clock.now_ns() + ns_of_seconds(common.measured.warmup);
    let end_ns = start_ns + ns_of_seconds(common.measured.seconds);
    let mut offer = Offer::new(common.measured.rate, options.window(), clock.now_ns());
    run.engine.measure(start_ns, end_ns);
    run.spin(Some(&mut offer), start_ns)?;
    let first = run.odometers();
    run.spin(Some(&mut offer), end_ns)?;
    let last = run.odometers();
    let memory = run.server.map(Tree::memory);
    let deadline_ns = clock.now_ns() + ns_of_seconds(common.measured.timeout) + HOUSEKEEPING_NS * 2;
    while run.engine.unfinished_measured() > 0 && clock.now_ns() < deadline_ns {
        run.spin(None, clock.now_ns() + SLEEP_NS_MAX)?;
    }

    let engine = &mut run.engine;
    // What was due and never found room was offered all the same.
    if let Some(due) = offer.due_between(start_ns, end_ns) {
        engine.tally.offered = engine.tally.offered.max(due);
    }
    let suite = engine.suite();
    let span = Span::between(&first, &last);
    let mut report = Report::new(across.name(), common.measured.rate, &span, &engine.tally, suite);
    report.connections = options.domains;
    report.window = options.window();
    report.last_failure = (report.done == 0).then(|| engine.last_failure.clone());
    report.strays = engine.strays;
    report.server = memory.map(|memory| Server::of(&span, memory));
    Ok(report)
}

/// Opens authenticated streams, leaves them alone, and tells the memory of each.
fn idle(options: &options::Xmpp) -> Result<Report> {
    let common = &options.common;
    let first = options.first.min(options.domains.saturating_sub(1));
    let mut run = Run::new(Across::Proxy, options)?;
    run.engine.measure(0, u64::MAX);
    let start = run.odometers();
    let hold_ns = ns_of_seconds(options.hold);
    run.hold(first, hold_ns)?;
    let memory_of_first = run.server.map(Tree::memory);
    run.hold(options.domains, hold_ns)?;
    let last = run.odometers();
    let memory = run.server.map(Tree::memory);
    let held = run.engine.held;
    if held < options.domains {
        bail!("{held} of {} streams were left after the hold time", options.domains);
    }
    run.engine.tally.offered = options.domains as u64;
    run.engine.tally.done = held as u64;
    let suite = run.engine.suite();
    let span = Span::between(&start, &last);
    let mut report = Report::new("xmpp", common.measured.rate, &span, &run.engine.tally, suite);
    report.connections = held;
    report.server = memory.zip(memory_of_first).map(|(memory, before)| {
        let grown = memory.pss_kib as f64 - before.pss_kib as f64;
        let mut server = Server::of(&span, memory);
        server.kib_per_leg = Some(grown / (held - first).max(1) as f64);
        server
    });
    Ok(report)
}
