//! The run: everything that happens, in the order one seed gives it.
//!
//! `links` carries bytes, `shell` does for the cores what a shell does, `users` are at the far ends
//! and `faults` breaks things.

mod faults;
mod links;
mod shell;
mod users;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use entente::dns::Question;
use entente::edge::{Connect, Core, LegId, Mail};
use entente::policy::Scores;

use crate::clock::{Agenda, Chance};
use crate::network::Connection;
use crate::oracle::Oracle;
use crate::organisation::{Edge, Shard, snapshot};
use crate::pool::Pool;
use crate::trace::Trace;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    None,
    All,
}

/// New requests are sent this long; after that the run goes on until every timer has run out.
const WORKLOAD_MS: u64 = 12_000;
const RUN_MS: u64 = 300_000;
const EVENTS_MAX: u64 = 500_000;

#[derive(Debug)]
enum Event {
    Tick,
    Deliver { connection: usize, side: usize },
    Flush { organisation: usize, shard: usize },
    Connect { organisation: usize, shard: usize, connect: Connect },
    Resolve { organisation: usize, shard: usize, question: Question },
    Mail { organisation: usize, from: usize, to: usize },
    Work { organisation: usize },
    Stranger,
    Answer { connection: usize, side: usize, bytes: Vec<u8>, id: u64, status: u16 },
    Fault,
    Reload { organisation: usize, shard: usize },
}

/// Boxes of mail by organisation, sender and receiver.
type Boxes = BTreeMap<(usize, usize, usize), VecDeque<Mail>>;

pub(crate) struct World {
    agenda: Agenda<Event>,
    chance: Chance,
    faults: Faults,
    edges: [Edge; 2],
    pools: [Pool; 2],
    connections: Vec<Connection>,
    /// Where a leg's bytes go: connection and our side of it.
    by_leg: BTreeMap<(usize, usize, LegId), (usize, usize)>,
    /// The connection by which a pool (or, last, the stranger) sends.
    outbound: [Option<usize>; 3],
    boxes: Boxes,
    /// Numbers of what the stranger sent.
    strangers: Vec<u64>,
    pub(crate) oracle: Oracle,
    next_id: u64,
    events: u64,
    trace: Trace,
}

impl World {
    /// `scores`: one table for any number of runs, because partners that are listed leave nothing
    /// in it.
    pub(crate) fn new(seed: u64, faults: Faults, print: bool, scores: &Arc<Scores>) -> Self {
        let mut chance = Chance::new(seed.wrapping_add(1));
        // More shards than connections per partner now and then, so that mail crosses.
        let shards = [1, 2, 4, 6][usize::try_from(chance.below(4)).unwrap()];
        let mut world = Self {
            agenda: Agenda::new(),
            faults,
            edges: [0, 1].map(|own| Edge::new(own, shards, seed, &snapshot(own, 1), scores)),
            pools: [Pool::default(), Pool::default()],
            connections: Vec::new(),
            by_leg: BTreeMap::new(),
            outbound: [None; 3],
            boxes: Boxes::new(),
            strangers: Vec::new(),
            oracle: Oracle::default(),
            next_id: 0,
            events: 0,
            trace: Trace::new(print),
            chance,
        };
        world.note(&format!("{shards} shards"));
        for organisation in 0..2 {
            world.agenda.after(10, Event::Work { organisation });
        }
        world.agenda.after(20, Event::Stranger);
        world.agenda.after(0, Event::Tick);
        if faults == Faults::All {
            world.agenda.after(500, Event::Fault);
        }
        world
    }

    pub(crate) fn run(&mut self) {
        while let Some(event) = self.agenda.next() {
            self.events += 1;
            assert!(self.events < EVENTS_MAX, "a run is bounded");
            if self.agenda.now_ms > RUN_MS {
                break;
            }
            self.happen(event);
        }
    }

    pub(crate) fn trace(self) -> String {
        self.trace.into_text()
    }

    /// Judges the run, and that nothing is left behind.
    pub(crate) fn judge(&self) -> Result<(), String> {
        self.oracle.judge(self.faults == Faults::All)?;
        for (organisation, edge) in self.edges.iter().enumerate() {
            for (number, shard) in edge.shards.iter().enumerate() {
                let pending = shard.access.pending();
                if pending != 0 {
                    return Err(format!("{pending} left on shard {number} of edge {organisation}"));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, line: &str) {
        self.trace.note(self.agenda.now_ms, line);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Deliver { connection, side } => self.deliver(connection, side),
            Event::Flush { organisation, shard } => self.collect(organisation, shard),
            Event::Connect { organisation, shard, connect } => {
                self.connect(organisation, shard, &connect);
            }
            Event::Resolve { organisation, shard, question } => {
                self.resolve(organisation, shard, question);
            }
            Event::Mail { organisation, from, to } => self.mail(organisation, from, to),
            Event::Work { organisation } => self.work(organisation),
            Event::Stranger => self.stranger(),
            Event::Answer { connection, side, bytes, id, status } => {
                if status >= 200 {
                    self.oracle.answered(id, status);
                }
                self.write(connection, side, &bytes);
            }
            Event::Fault => self.fault(),
            Event::Reload { organisation, shard } => {
                let now = self.agenda.now();
                self.edges[organisation].reload(organisation, shard, now);
                self.collect(organisation, shard);
            }
        }
    }

    fn tick(&mut self) {
        let now = self.agenda.now();
        for organisation in 0..2 {
            for number in 0..self.edges[organisation].shards.len() {
                let shard = &mut self.edges[organisation].shards[number];
                if shard.access.next_deadline().is_some_and(|at| at <= now.monotonic) {
                    shard.access.expire(now, &mut shard.effects);
                    self.collect(organisation, number);
                }
            }
        }
        self.agenda.after(500, Event::Tick);
    }

    fn shard(&mut self, organisation: usize, number: usize) -> &mut Shard {
        &mut self.edges[organisation].shards[number]
    }
}
