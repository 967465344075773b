//! The scenarios that send messages: prove every connection, warm up, measure, drain.

use anyhow::Result;

use crate::clock::Clock;
use crate::net::Net;
use crate::options;
use crate::report::{Report, Server};
use crate::run::Run;

pub(crate) mod compose;
mod engine;
mod names;
mod slots;

use engine::Engine;

/// Time in which every connection must have carried one unit of work.
const PRIME_NS_MAX: u64 = 20_000_000_000;

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

/// Runs one scenario and reports on it.
pub(crate) fn run(kind: Kind, options: &options::Traffic) -> Result<Report> {
    let clock = Clock::start();
    let measured = &options.common.measured;
    let mut engine = Engine::new(kind, options, clock)?;
    let mut net = Net::new(options.pack)?;
    engine.open(&mut net)?;
    let mut run = Run::new(kind.name(), measured, clock, (engine, net))?;
    prime(&mut run)?;
    let (span, memory) = run.measure(measured, options.window())?;

    let suite = run.engine.suite(&run.net);
    let engine = &run.engine;
    let mut report = Report::new(kind.name(), measured.rate, &span, &engine.tally, suite);
    report.connections = options.connections;
    report.window = options.window();
    report.pack = options.pack;
    report.last_failure = (report.done == 0).then(|| engine.last_failure.clone());
    report.strays = engine.strays;
    report.acks = (kind == Kind::Dialog).then_some(engine.acks);
    report.server = memory.map(|memory| Server::of(&span, memory));
    Ok(report)
}

fn prime(run: &mut Run<Engine<'_>>) -> Result<()> {
    let deadline_ns = run.clock.now_ns() + PRIME_NS_MAX;
    loop {
        let now_ns = run.clock.now_ns();
        if run.engine.prime(&mut run.net, now_ns)? {
            return Ok(());
        }
        if now_ns > deadline_ns {
            return run.engine.give_up();
        }
        run.turn(now_ns, 1_000_000)?;
    }
}
