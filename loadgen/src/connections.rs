//! The scenarios about connections themselves: `handshake` and `idle`.

use anyhow::{Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls_pki_types::ServerName;

use crate::clock::{Clock, ns_of_seconds};
use crate::measure::{Odometers, Span, Tally};
use crate::net::{ConnId, Ended, Handler, Net, Role, Target};
use crate::offer::Offer;
use crate::options::{Common, Handshakes, Idle};
use crate::partner::{self, Partner, source};
use crate::process::Tree;
use crate::progress::Progress;
use crate::report::{Report, Server};
use crate::sip::Message;

/// Longest sleep of the loop.
const SLEEP_NS_MAX: u64 = 20_000_000;
/// Connections begun before what is waiting is read.
const STARTS_PER_TURN_MAX: usize = 64;
/// Time in which all idle connections must stand.
const IDLE_OPEN_NS_MAX: u64 = 120_000_000_000;
/// Descriptors beside those of the connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// What happens once a handshake is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Say close_notify, and count it done when the server has closed too: only then has a
    /// server of TLS 1.3 surely checked our certificate.
    Close,
    /// Keep it.
    Hold,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    intended_ns: u64,
    established: bool,
}

/// Opens connections and follows them.
struct Opener {
    clock: Clock,
    then: Then,
    partners: Vec<Partner>,
    name: ServerName<'static>,
    attempts: Vec<Option<Attempt>>,
    free: Vec<u32>,
    begun: usize,
    held: usize,
    completed: u64,
    tally: Tally,
    span_ns: (u64, u64),
    suite: Option<String>,
    last_failure: String,
}

impl Opener {
    fn new(common: &Common, clock: Clock, then: Then) -> Result<Self> {
        Ok(Self {
            clock,
            then,
            partners: partner::all(common)?,
            name: ServerName::try_from(common.server_name.clone())?,
            attempts: Vec::new(),
            free: Vec::new(),
            begun: 0,
            held: 0,
            completed: 0,
            tally: Tally::new(&["handshake"])?,
            span_ns: (u64::MAX, u64::MAX),
            suite: None,
            last_failure: "none yet".into(),
        })
    }

    /// Handshakes under way.
    fn unfinished(&self) -> usize {
        self.attempts.len() - self.free.len() - self.held
    }

    fn start(&mut self, net: &mut Net, common: &Common, intended_ns: u64) -> Result<()> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.attempts.push(None);
            (self.attempts.len() - 1) as u32
        });
        self.attempts[place as usize] = Some(Attempt { intended_ns, established: false });
        let (from_ns, to_ns) = self.span_ns;
        self.tally.offered += u64::from((from_ns..to_ns).contains(&intended_ns));
        let target = Target {
            address: common.edge,
            source: source(common, self.begun),
            config: &self.partners[self.begun % self.partners.len()].config,
            name: &self.name,
        };
        self.begun += 1;
        net.connect(&target, Role::Partner(place))?;
        Ok(())
    }

    fn remove(&mut self, role: Role) -> Option<Attempt> {
        let Role::Partner(place) = role else { return None };
        let attempt = self.attempts.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(attempt)
    }
}

impl Handler for Opener {
    fn established(&mut self, net: &mut Net, conn: ConnId, role: Role) {
        let Role::Partner(place) = role else { return };
        let Some(Some(attempt)) = self.attempts.get_mut(place as usize) else { return };
        attempt.established = true;
        let (from_ns, to_ns) = self.span_ns;
        if (from_ns..to_ns).contains(&attempt.intended_ns) {
            let now_ns = self.clock.now_ns();
            self.tally.latency("handshake", now_ns.saturating_sub(attempt.intended_ns));
        }
        if self.suite.is_none() {
            self.suite = net.suite(conn);
        }
        match self.then {
            Then::Close => net.finish(conn),
            Then::Hold => {
                self.held += 1;
                self.completed += 1;
            }
        }
    }

    fn message(&mut self, _net: &mut Net, _conn: ConnId, _message: Message<'_>) {}

    fn ended(&mut self, _net: &mut Net, _conn: ConnId, role: Role, why: Ended) {
        let Some(attempt) = self.remove(role) else { return };
        let (from_ns, to_ns) = self.span_ns;
        let measured = (from_ns..to_ns).contains(&attempt.intended_ns);
        // Some servers reset instead of closing; that is their business after the handshake.
        let closed = matches!(why, Ended::Closed | Ended::Io(_));
        if self.then == Then::Close && attempt.established && closed {
            self.completed += 1;
            self.tally.done += u64::from(measured);
            return;
        }
        if attempt.established {
            self.held = self.held.saturating_sub(1);
        }
        self.last_failure = why.kind();
        if measured {
            self.tally.error(why.kind());
        }
    }
}

/// Opens and closes connections, each with a full mutual handshake.
pub(crate) fn handshake(options: &Handshakes) -> Result<Report> {
    let common = &options.common;
    let clock = Clock::start();
    let server = common.measured.pid.map(Tree::of).transpose()?;
    let mut net = Net::new(1)?;
    let mut opener = Opener::new(common, clock, Then::Close)?;
    let mut progress = Progress::new("handshake");
    let start_ns = clock.now_ns() + ns_of_seconds(common.measured.warmup);
    let end_ns = start_ns + ns_of_seconds(common.measured.seconds);
    opener.span_ns = (start_ns, end_ns);
    let mut offer = Offer::new(common.measured.rate, options.window.max(1), clock.now_ns());
    let (mut waiting_ns, mut first) = (0, None);
    loop {
        let now_ns = clock.now_ns();
        if now_ns >= end_ns {
            break;
        }
        if first.is_none() && now_ns >= start_ns {
            let (completed, counters) = (opener.completed, net.counters);
            first = Some(Odometers::read(now_ns, waiting_ns, completed, counters, server));
        }
        let mut started = 0;
        while started < STARTS_PER_TURN_MAX
            && let Some(intended_ns) = offer.take(now_ns, opener.unfinished())
        {
            opener.start(&mut net, common, intended_ns)?;
            started += 1;
        }
        let ahead_ns = offer.next_due_ns().saturating_sub(now_ns);
        let sleep_ns = if ahead_ns > 0 { ahead_ns.min(SLEEP_NS_MAX) } else { SLEEP_NS_MAX };
        let work =
            net.turn(if common.measured.busy { 0 } else { sleep_ns }, &mut opener)? + started;
        if common.measured.busy && work == 0 {
            waiting_ns += clock.now_ns() - now_ns;
        }
        progress.show(now_ns, opener.completed, opener.tally.failed());
    }
    let (completed, counters) = (opener.completed, net.counters);
    let last = Odometers::read(clock.now_ns(), waiting_ns, completed, counters, server);
    let memory = server.map(Tree::memory);
    drain(&mut net, &mut opener, ns_of_seconds(common.measured.timeout))?;
    if let Some(due) = offer.due_between(start_ns, end_ns) {
        opener.tally.offered = opener.tally.offered.max(due);
    }
    let span = Span::between(&first.unwrap_or(last), &last);
    let suite = opener.suite.take();
    let mut report = Report::new("handshake", common.measured.rate, &span, &opener.tally, suite);
    report.window = options.window;
    report.last_failure = (report.done == 0).then_some(opener.last_failure);
    report.server = memory.map(|memory| Server::of(&span, memory));
    Ok(report)
}

/// Waits for handshakes under way; what is left then counts as lost.
fn drain(net: &mut Net, opener: &mut Opener, timeout_ns: u64) -> Result<()> {
    let deadline_ns = opener.clock.now_ns() + timeout_ns;
    while opener.unfinished() > 0 && opener.clock.now_ns() < deadline_ns {
        net.turn(SLEEP_NS_MAX, opener)?;
    }
    for _ in 0..opener.unfinished() {
        opener.tally.error("no answer in time");
    }
    Ok(())
}

/// Opens connections and holds them.
pub(crate) fn idle(options: &Idle) -> Result<Report> {
    let common = &options.common;
    raise_descriptors(options.legs as u64 + SPARE_DESCRIPTORS)?;
    let clock = Clock::start();
    let server = common.measured.pid.map(Tree::of).transpose()?;
    let mut net = Net::new(1)?;
    let mut opener = Opener::new(common, clock, Then::Hold)?;
    let mut progress = Progress::new("idle");
    opener.span_ns = (0, u64::MAX);
    let first = options.first.min(options.legs.saturating_sub(1));
    let read = |opener: &Opener, net: &Net| {
        Odometers::read(clock.now_ns(), 0, opener.completed, net.counters, server)
    };
    let start = read(&opener, &net);
    hold(&mut net, &mut opener, options, &mut progress, first)?;
    let memory_of_first = server.map(Tree::memory);
    hold(&mut net, &mut opener, options, &mut progress, options.legs)?;
    let last = read(&opener, &net);
    let memory = server.map(Tree::memory);

    opener.tally.done = opener.held as u64;
    let span = Span::between(&start, &last);
    let suite = opener.suite.take();
    let mut report = Report::new("idle", common.measured.rate, &span, &opener.tally, suite);
    report.connections = opener.held;
    report.window = options.window;
    report.server = memory.zip(memory_of_first).map(|(memory, before)| {
        let grown = memory.pss_kib as f64 - before.pss_kib as f64;
        let mut server = Server::of(&span, memory);
        server.kib_per_leg = Some(grown / (options.legs - first).max(1) as f64);
        server
    });
    Ok(report)
}

/// Opens connections until `legs` stand, then leaves everything alone for the hold time.
fn hold(
    net: &mut Net,
    opener: &mut Opener,
    options: &Idle,
    progress: &mut Progress,
    legs: usize,
) -> Result<()> {
    let common = &options.common;
    let deadline_ns = opener.clock.now_ns() + IDLE_OPEN_NS_MAX;
    let mut offer = Offer::new(common.measured.rate, options.window.max(1), opener.clock.now_ns());
    let failures_max = legs as u64 / 10 + 10;
    while opener.held < legs {
        let now_ns = opener.clock.now_ns();
        if now_ns > deadline_ns || opener.tally.failed() > failures_max {
            bail!(
                "{} of {legs} connections to {} stand; last failure: {}",
                opener.held,
                common.edge,
                opener.last_failure
            );
        }
        while opener.held + opener.unfinished() < legs
            && let Some(intended_ns) = offer.take(now_ns, opener.unfinished())
        {
            opener.start(net, common, intended_ns)?;
        }
        net.turn(1_000_000, opener)?;
        progress.show(now_ns, opener.completed, opener.tally.failed());
    }
    let until_ns = opener.clock.now_ns() + ns_of_seconds(options.hold);
    loop {
        let now_ns = opener.clock.now_ns();
        if now_ns >= until_ns {
            return Ok(());
        }
        net.turn(SLEEP_NS_MAX.min(until_ns - now_ns), opener)?;
        progress.show(now_ns, opener.completed, opener.tally.failed());
    }
}

/// Makes room for so many open files, as far as the system lets us.
pub(crate) fn raise_descriptors(wanted: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        limit.maximum = limit.maximum.map(|maximum| maximum.max(wanted));
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}
