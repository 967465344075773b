//! Partners' XMPP servers before the whole way of a message, driven by one seed.
//!
//! ```text
//!  partner's server ── XmppProxy ── link ── Gateway ── SIP ── pool
//!                                              └── SIP ── Access ── SIP ──┘
//! ```
//!
//! Three partners prove themselves in three ways. Their connections deliver late and in pieces,
//! stall, and are cut in the middle of a stanza; servers fall silent, restart their streams, open
//! many, show another certificate, send wrong keys, flood, and are not found; links and processes
//! die. [`oracle`] judges what users see, [`bounds`] that nothing grows and everything ends.

mod bounds;
mod faults;
mod inside;
mod oracle;
mod partner;
mod users;
mod wires;

use entente::dns::Question;
use entente::edge::Connect;

use self::inside::{Inside, PARTNERS, Who};
use self::oracle::Oracle;
use self::partner::Server;
use self::wires::Connection;
use crate::clock::{Agenda, Chance};
use crate::trace::Trace;
use crate::world::Faults;

pub(crate) use self::oracle::{Totals, notices_silent_losses};

/// Links stand by then.
const SETTLED_MS: u64 = 1_500;
/// Messages are written this long; after that everything is well again, and the run goes on until
/// every timer has run out.
const WORKLOAD_MS: u64 = 15_000;
const RUN_MS: u64 = 140_000;
const EVENTS_MAX: u64 = 400_000;

#[derive(Debug)]
enum Event {
    Tick,
    Deliver { connection: usize, side: usize },
    Connect { who: Who, connect: Connect },
    Resolve(Question),
    Write,
    Answer { connection: usize, side: usize, bytes: Vec<u8> },
    Talk(usize),
    Stranger,
    Fault,
    GatewayDies,
}

pub(crate) struct World {
    agenda: Agenda<Event>,
    chance: Chance,
    faults: Faults,
    inside: Inside,
    partners: Vec<Server>,
    connections: Vec<Connection>,
    /// By which the pool sends.
    outbound: Option<usize>,
    /// Nobody reaches anybody any more.
    over: bool,
    oracle: Oracle,
    events: u64,
    calls: u64,
    trace: Trace,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults, print: bool) -> Self {
        let mut chance = Chance::new(seed.wrapping_add(77));
        let partners = PARTNERS
            .iter()
            .map(|(domain, proof)| Server::new(domain, *proof, chance.percent(50)))
            .collect();
        let mut world = Self {
            agenda: Agenda::new(),
            chance,
            faults,
            inside: Inside::new(seed),
            partners,
            connections: Vec::new(),
            outbound: None,
            over: false,
            oracle: Oracle::default(),
            events: 0,
            calls: 0,
            trace: Trace::new(print),
        };
        world.agenda.after(0, Event::Tick);
        world.agenda.after(SETTLED_MS, Event::Write);
        if faults == Faults::All {
            world.agenda.after(300, Event::Fault);
            world.agenda.after(50, Event::Stranger);
        }
        world
    }

    pub(crate) fn run(&mut self) {
        while self.agenda.now_ms < RUN_MS {
            let Some(event) = self.agenda.next() else { break };
            self.events += 1;
            assert!(self.events < EVENTS_MAX, "a run is bounded");
            self.happen(event);
        }
    }

    /// Judges the run, and that nothing is left behind.
    pub(crate) fn judge(&mut self) -> Result<Totals, String> {
        let totals = self.oracle.judge(self.faults == Faults::None)?;
        self.ends()?;
        Ok(totals)
    }

    pub(crate) fn trace(self) -> String {
        self.trace.into_text()
    }

    fn note(&mut self, line: &str) {
        self.trace.note(self.agenda.now_ms, line);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Deliver { connection, side } => self.deliver(connection, side),
            Event::Connect { who, connect } => self.connect(who, &connect),
            Event::Resolve(question) => self.resolve(question),
            Event::Write => self.write_something(),
            Event::Answer { connection, side, bytes } => self.write(connection, side, &bytes),
            Event::Talk(partner) => self.talk(partner),
            Event::Stranger => self.stranger(),
            Event::Fault => self.fault(),
            Event::GatewayDies => self.gateway_dies(),
        }
    }

    fn tick(&mut self) {
        let now = self.agenda.now();
        for who in Who::ALL {
            // Bound: each call moves the deadline on.
            for _ in 0..100 {
                let mut due = false;
                self.inside.tell(who, |core, effects| {
                    due = core.next_deadline().is_some_and(|at| at <= now.monotonic);
                    if due {
                        core.expire(now, effects);
                    }
                });
                if !due {
                    break;
                }
                self.collect(who);
            }
        }
        self.is_bounded();
        // Coarser once all is said: only timers of seconds run then.
        let pause = match self.agenda.now_ms {
            _ if self.over => 1_000,
            now_ms if now_ms < 2 * WORKLOAD_MS => 25,
            _ => 250,
        };
        self.agenda.after(pause, Event::Tick);
    }
}
