//! The scenario `media`: clients of a TURN relay with their allocations on one side, and the peers
//! behind those on the other.
//!
//! A unit of work is one packet that crosses the relay one way. It is done when it comes out at
//! the far side, where the generator stands too; one clock times both, so that delay is delay and
//! not half a round trip. It counts from when the packet was due, not from when we managed to send
//! it. In a closed loop a packet that is overtaken by a later one of its flow counts as lost and
//! makes room at once; if nothing comes at all for a moment, the window starts afresh.
//!
//! All clients share one socket and one port, and have an address of their own, as have all peers:
//! a relay sees thousands of both, and the generator needs no descriptor for each.

use anyhow::{Result, bail};

use crate::clock::{Clock, ns_of_seconds};
use crate::measure::{Odometers, Span};
use crate::offer::Offer;
use crate::options::{self, Work};
use crate::process::Tree;
use crate::progress::Progress;
use crate::report::{self, Report, Server};

mod address;
mod client;
pub(crate) mod forwarder;
mod load;
mod packet;
mod ports;
mod stream;
mod stun;
#[cfg(test)]
mod tests;
mod udp;

use load::Load;
use ports::Ports;

/// Time in which all allocations must stand.
const SET_UP_NS: u64 = 20_000_000_000;
/// And so much more for each of them.
const SET_UP_NS_PER_ALLOCATION: u64 = 5_000_000;
/// Allocations that are asked for at once before anything is measured.
const SET_UP_WINDOW: usize = 64;
/// Time in which allocations must be gone; what is left then ends by itself.
const RELEASE_NS: u64 = 5_000_000_000;
/// Time that is left to unfinished requests where others have failed.
const GIVE_UP_NS: u64 = 1_000_000_000;
/// Trains or lives started before what is waiting is read.
const STARTS_PER_TURN_MAX: usize = 32;
/// Longest sleep; keeps retries and timeouts going.
const SLEEP_NS_MAX: u64 = 20_000_000;
/// Pause between looks at what has waited too long.
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// A full window of which nothing arrives for so long is lost.
const STALL_NS: u64 = 50_000_000;
/// Pause between looks at whether that is so; a longer one was not of the relay's making.
const LOOK_NS: u64 = 5_000_000;
/// Share of its core at which the relay under test is taken to be saturated.
const SATURATED: f64 = 0.97;

struct Run<'a> {
    load: Load<'a>,
    ports: Ports<'a>,
    clock: Clock,
    busy: bool,
    waiting_ns: u64,
    housekeeping_ns: u64,
    /// When something came last, and how much had come by then.
    moved: (u64, u64),
    /// When we looked last whether anything had.
    looked_ns: u64,
    progress: Progress,
    server: Option<Tree>,
}

impl<'a> Run<'a> {
    fn new(options: &'a options::Media) -> Result<Self> {
        let (clock, ports) = (Clock::start(), Ports::open(options)?);
        Ok(Self {
            load: Load::new(options, clock, ports.peers.number()?)?,
            ports,
            clock,
            busy: options.measured.busy,
            waiting_ns: 0,
            housekeeping_ns: 0,
            moved: (0, 0),
            looked_ns: 0,
            progress: Progress::new("media"),
            server: options.measured.pid.map(Tree::of).transpose()?,
        })
    }

    /// Makes allocations until so many stand.
    fn set_up(&mut self, allocations: usize, relay: std::net::SocketAddr) -> Result<()> {
        let patience_ns = SET_UP_NS + SET_UP_NS_PER_ALLOCATION * allocations as u64;
        let deadline_ns = self.clock.now_ns() + patience_ns;
        while self.load.standing < allocations {
            let now_ns = self.clock.now_ns();
            if now_ns > deadline_ns || self.load.failures > 0 {
                let (standing, why) = (self.load.standing, self.load.last_failure.clone());
                // Else the relay holds them for minutes, and the next run finds its quotas used up.
                self.give_up()?;
                let hint = hint(&why);
                bail!("{standing} of {allocations} allocations of {relay} stand; {why}{hint}");
            }
            while self.load.asking() < SET_UP_WINDOW
                && self.load.standing + self.load.asking() < allocations
            {
                self.load.begin(&mut self.ports, now_ns, now_ns);
            }
            self.turn(now_ns, 1_000_000)?;
        }
        Ok(())
    }

    /// Waits for the allocations that are asked for, and gives back what stands then.
    fn give_up(&mut self) -> Result<()> {
        let deadline_ns = self.clock.now_ns() + GIVE_UP_NS;
        while self.load.asking() > 0 && self.clock.now_ns() < deadline_ns {
            self.turn(self.clock.now_ns(), 1_000_000)?;
        }
        self.release()
    }

    /// Offers work until `until_ns`.
    fn spin(&mut self, mut offer: Option<&mut Offer>, work: Work, until_ns: u64) -> Result<()> {
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            let mut started = 0;
            let mut sleep_ns = SLEEP_NS_MAX.min(until_ns - now_ns);
            if let Some(offer) = offer.as_deref_mut() {
                while started < STARTS_PER_TURN_MAX
                    && let Some(due_ns) = offer.take(now_ns, self.load.unfinished())
                {
                    self.start(work, due_ns, now_ns);
                    started += 1;
                }
                let ahead_ns = offer.next_due_ns().saturating_sub(now_ns);
                if started == STARTS_PER_TURN_MAX {
                    sleep_ns = 0;
                } else if ahead_ns > 0 {
                    sleep_ns = sleep_ns.min(ahead_ns);
                } else if work == Work::Flows {
                    sleep_ns = sleep_ns.min(LOOK_NS);
                    if self.stalled(now_ns) {
                        self.load.write_off();
                    }
                }
            }
            let sleep_ns = if self.busy { 0 } else { sleep_ns };
            let done = self.turn(now_ns, sleep_ns)? + started;
            if self.busy && done == 0 {
                self.waiting_ns += self.clock.now_ns() - now_ns;
            }
        }
    }

    fn start(&mut self, work: Work, due_ns: u64, now_ns: u64) {
        match work {
            Work::Churn => self.load.begin(&mut self.ports, due_ns, now_ns),
            _ => self.load.send_next(&mut self.ports, due_ns, now_ns),
        }
    }

    /// Whether packets are on their way and none has come for too long, though we looked.
    fn stalled(&mut self, now_ns: u64) -> bool {
        let asleep = now_ns > self.looked_ns + 2 * LOOK_NS;
        self.looked_ns = now_ns;
        if asleep || self.moved.1 != self.load.completed {
            self.moved = (now_ns, self.load.completed);
        }
        let stalled = now_ns > self.moved.0 + STALL_NS && self.load.unfinished() > 0;
        if stalled {
            self.moved.0 = now_ns;
        }
        stalled
    }

    /// Takes what has come, and waits for it if nothing has; returns how much there was to do.
    fn turn(&mut self, now_ns: u64, sleep_ns: u64) -> Result<usize> {
        if now_ns > self.housekeeping_ns {
            self.housekeeping_ns = now_ns + HOUSEKEEPING_NS;
            self.load.housekeep(&mut self.ports, now_ns);
            self.progress.show(now_ns, self.load.completed, self.load.tally.failed());
        }
        let came = self.ports.receive(&mut self.load)?;
        let done = came + self.load.flush(&mut self.ports);
        if done == 0 && sleep_ns > 0 {
            self.ports.wait(sleep_ns)?;
        }
        Ok(done)
    }

    fn odometers(&self) -> Odometers {
        let (now_ns, completed) = (self.clock.now_ns(), self.load.completed);
        Odometers::read(now_ns, self.waiting_ns, completed, self.ports.counters, self.server)
    }

    /// Gives allocations back, as a client that hangs up does.
    fn release(&mut self) -> Result<()> {
        let deadline_ns = self.clock.now_ns() + RELEASE_NS;
        while self.load.standing > 0 {
            let now_ns = self.clock.now_ns();
            if now_ns > deadline_ns {
                break;
            }
            self.load.release(&mut self.ports, SET_UP_WINDOW, now_ns);
            self.turn(now_ns, 1_000_000)?;
        }
        Ok(())
    }
}

/// Runs `media` and reports on it.
pub(crate) fn run(options: &options::Media) -> Result<Report> {
    if options.work == Work::Hold {
        return hold(options);
    }
    let (measured, work) = (&options.measured, options.work);
    let mut run = Run::new(options)?;
    let train = match work {
        Work::Churn => 1,
        _ => options.train(),
    };
    if work == Work::Flows {
        run.set_up(options.allocations(), options.relay)?;
    }
    let clock = run.clock;
    let start_ns = clock.now_ns() + ns_of_seconds(measured.warmup);
    let end_ns = start_ns + ns_of_seconds(measured.seconds);
    let per_second = measured.rate / train as f64;
    let mut offer = Offer::new(per_second, options.window(), clock.now_ns());
    run.load.measure(start_ns, end_ns);
    run.spin(Some(&mut offer), work, start_ns)?;
    let dropped = run.ports.dropped();
    let first = run.odometers();
    run.spin(Some(&mut offer), work, end_ns)?;
    let last = run.odometers();
    let memory = run.server.map(Tree::memory);
    // What was due in the last moment before the end, and no more.
    while measured.rate > 0.0
        && let Some(due_ns) = offer.take(end_ns - 1, run.load.unfinished())
    {
        run.start(work, due_ns, clock.now_ns());
    }
    drain(&mut run, work, ns_of_seconds(measured.timeout))?;
    let dropped = run.ports.dropped() - dropped;
    let standing = run.load.standing;

    let tally = &mut run.load.tally;
    // What was due and never sent was offered all the same.
    if let Some(due) = offer.due_between(start_ns, end_ns) {
        tally.offered = tally.offered.max(due * train as u64);
    }
    let lost = tally.offered.saturating_sub(tally.done + tally.failed());
    if lost > 0 {
        tally.errors.insert("lost".into(), lost);
    }
    let span = Span::between(&first, &last);
    let mut report = Report::new("media", measured.rate, &span, tally, run.ports.suite());
    report.connections = standing;
    report.window = if measured.rate > 0.0 { 0 } else { options.window() };
    report.pack = train;
    report.last_failure = (report.done == 0).then(|| run.load.last_failure.clone());
    report.server = memory.map(|memory| Server::of(&span, memory));
    if report.server.as_ref().is_some_and(|server| server.cores > SATURATED) {
        // Both had all they could do; then it is the relay that sets the rate.
        report.claim_rate(&span);
    }
    report.media = Some(report::Media {
        late: run.load.counts.late,
        again: run.load.counts.again,
        generator_dropped: dropped,
    });
    run.release()?;
    Ok(report)
}

/// Waits for what is on its way, no longer than a timeout.
fn drain(run: &mut Run<'_>, work: Work, timeout_ns: u64) -> Result<()> {
    let deadline_ns = run.clock.now_ns() + timeout_ns + 20 * HOUSEKEEPING_NS;
    let (mut before, mut quiet) = (u64::MAX, 0);
    // What is lost never comes: half a second without anything is enough for a packet.
    while run.load.unfinished() > 0 && run.clock.now_ns() < deadline_ns && quiet < 25 {
        run.spin(None, work, run.clock.now_ns() + SLEEP_NS_MAX)?;
        quiet = if before == run.load.completed && work != Work::Churn { quiet + 1 } else { 0 };
        before = run.load.completed;
    }
    Ok(())
}

/// Says what to look at after a failure, where that is known; empty where it is not.
fn hint(why: &str) -> &'static str {
    const HINTS: [(&str, &str); 6] = [
        ("401", ": compare --secret, or --user and --password, with the relay's, and both clocks"),
        ("403", ": the relay refuses these peers; name others by --peers, or permit them there"),
        ("486", ": a quota of the relay; spread them by --users, or raise it there"),
        ("508", ": the relay has no more ports or allocations, or drains"),
        ("300", ": this address sends clients elsewhere; name the node itself by --relay"),
        ("nothing came back", ": is there a relay at --relay, for this --transport?"),
    ];
    HINTS.iter().find(|(end, _)| why.ends_with(end)).map_or("", |(_, hint)| hint)
}

/// Makes allocations, leaves them alone, and tells the memory of each.
fn hold(options: &options::Media) -> Result<Report> {
    let allocations = options.allocations();
    let first = options.first.min(allocations - 1);
    let mut run = Run::new(options)?;
    let start = run.odometers();
    let hold_ns = ns_of_seconds(options.hold);
    run.set_up(first, options.relay)?;
    run.spin(None, Work::Hold, run.clock.now_ns() + hold_ns)?;
    let memory_of_first = run.server.map(Tree::memory);
    run.set_up(allocations, options.relay)?;
    run.spin(None, Work::Hold, run.clock.now_ns() + hold_ns)?;
    run.load.completed = run.load.standing as u64;
    let last = run.odometers();
    let memory = run.server.map(Tree::memory);
    run.load.tally.offered = allocations as u64;
    run.load.tally.done = run.load.standing as u64;
    let span = Span::between(&start, &last);
    let mut report = Report::new("media", 0.0, &span, &run.load.tally, run.ports.suite());
    report.connections = run.load.standing;
    report.server = memory.zip(memory_of_first).map(|(memory, before)| {
        let grown = memory.pss_kib as f64 - before.pss_kib as f64;
        let mut server = Server::of(&span, memory);
        server.kib_per_leg = Some(grown / (allocations - first) as f64);
        server
    });
    run.release()?;
    Ok(report)
}
