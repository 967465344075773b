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
use crate::measure::Span;
use crate::net::Net;
use crate::options::{self, Inner};
use crate::process::Tree;
use crate::report::{Report, Server};
use crate::run::{Engine as _, Run};

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

fn begin<'a>(across: Across, options: &'a options::Xmpp) -> Result<Run<Engine<'a>>> {
    raise_descriptors(2 * options.domains as u64 + SPARE_DESCRIPTORS)?;
    let clock = Clock::start();
    let mut engine = Engine::new(across, options, clock)?;
    let mut net = Net::new(1)?;
    engine.open(&mut net)?;
    Run::new(across.name(), &options.common.measured, clock, (engine, net))
}

/// Lets time pass until `stands` says so.
fn wait<'a>(
    run: &mut Run<Engine<'a>>,
    streams: usize,
    mut stands: impl FnMut(&mut Engine<'a>, &mut Net, u64) -> bool,
) -> Result<()> {
    let patience_ns = PRIME_NS + PRIME_NS_PER_DOMAIN * streams as u64;
    let deadline_ns = run.clock.now_ns() + patience_ns;
    while !stands(&mut run.engine, &mut run.net, run.clock.now_ns()) {
        let now_ns = run.clock.now_ns();
        if now_ns > deadline_ns {
            return run.engine.give_up();
        }
        run.turn(now_ns, 1_000_000)?;
    }
    Ok(())
}

/// Waits until so many streams stand, and then for the hold time.
fn hold(run: &mut Run<Engine<'_>>, streams: usize, hold_ns: u64) -> Result<()> {
    run.engine.restrict(streams);
    wait(run, streams, |engine, _, _| engine.stands(streams))?;
    run.spin(None, run.clock.now_ns() + hold_ns)
}

/// Runs `xmpp` or `gateway` and reports on it.
pub(crate) fn run(across: Across, options: &options::Xmpp) -> Result<Report> {
    if options.inner() == Inner::None {
        return idle(options);
    }
    let measured = &options.common.measured;
    let mut run = begin(across, options)?;
    wait(&mut run, options.domains, Engine::prime)?;
    let (span, memory) = run.measure(measured, options.window())?;

    let engine = &mut run.engine;
    let suite = engine.suite();
    let mut report = Report::new(across.name(), measured.rate, &span, &engine.tally, suite);
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
    let mut run = begin(Across::Proxy, options)?;
    run.engine.measure(0, u64::MAX);
    let start = run.odometers();
    let hold_ns = ns_of_seconds(options.hold);
    hold(&mut run, first, hold_ns)?;
    let memory_of_first = run.server.map(Tree::memory);
    hold(&mut run, options.domains, hold_ns)?;
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
