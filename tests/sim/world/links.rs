//! Connections: how bytes get from one end to the other, and what ends with them.

use entente::edge::{Class, Core, LegId, Lost};

use super::{Event, World};
use crate::network::{Connection, End};
use crate::pool::Text;

impl World {
    /// Puts bytes on their way from one side of a connection to the other.
    pub(super) fn write(&mut self, connection: usize, side: usize, bytes: &[u8]) {
        let held = &mut self.connections[connection];
        if !held.open || bytes.is_empty() {
            return;
        }
        held.to[1 - side].extend_from_slice(bytes);
        self.plan(connection, 1 - side);
    }

    fn plan(&mut self, connection: usize, side: usize) {
        let held = &mut self.connections[connection];
        if held.planned[side] || held.to[side].is_empty() {
            return;
        }
        held.planned[side] = true;
        let delay = self.chance.below(8);
        self.agenda.after(delay, Event::Deliver { connection, side });
    }

    pub(super) fn deliver(&mut self, connection: usize, side: usize) {
        let held = &mut self.connections[connection];
        held.planned[side] = false;
        if !held.open {
            return;
        }
        let waiting = held.to[side].len();
        let bytes = if self.chance.percent(30) {
            usize::try_from(self.chance.below(waiting as u64)).unwrap() + 1
        } else {
            waiting
        };
        self.connections[connection].arrive(side, bytes.min(waiting));
        self.understand(connection, side);
        self.plan(connection, side);
    }

    pub(super) fn deliver_rest(&mut self, connection: usize, side: usize) {
        let held = &mut self.connections[connection];
        held.arrive(side, held.to[side].len());
        self.understand(connection, side);
    }

    fn understand(&mut self, connection: usize, side: usize) {
        let mut rest = std::mem::take(&mut self.connections[connection].rest[side]);
        match self.connections[connection].ends[side] {
            End::Edge { organisation, shard, leg } => {
                let now = self.agenda.now();
                let taken = self.shard(organisation, shard).feed(now, leg, &rest);
                rest.drain(..taken);
                self.connections[connection].rest[side] = rest;
                self.collect(organisation, shard);
            }
            end @ (End::Pool { .. } | End::Stranger) => {
                let mut texts = Vec::new();
                while let Some(text) = Text::take(&mut rest) {
                    texts.push(text);
                }
                self.connections[connection].rest[side] = rest;
                for text in texts {
                    self.read(connection, side, end, &text);
                }
            }
        }
    }

    /// A shard of an edge accepts a connection from a peer with a certificate for `hosts`.
    pub(super) fn accept(&mut self, organisation: usize, class: Class, hosts: &[String]) -> End {
        let shards = self.edges[organisation].shards.len() as u64;
        let shard = usize::try_from(self.chance.below(shards)).unwrap();
        let now = self.agenda.now();
        let leg = self.shard(organisation, shard).open(now, class, hosts, None);
        End::Edge { organisation, shard, leg }
    }

    pub(super) fn join(&mut self, ends: [End; 2]) -> usize {
        let connection = self.connections.len();
        for (side, end) in ends.iter().enumerate() {
            if let End::Edge { organisation, shard, leg } = *end {
                self.by_leg.insert((organisation, shard, leg), (connection, side));
            }
        }
        self.connections.push(Connection::new(ends));
        connection
    }

    pub(super) fn break_connection(&mut self, connection: usize) {
        let held = &mut self.connections[connection];
        if !held.open {
            return;
        }
        held.open = false;
        for end in held.ends {
            if let End::Edge { organisation, shard, leg } = end {
                let staged = self.shard(organisation, shard).effects.backlog(leg).unwrap_or(0);
                self.forget_leg(organisation, shard, leg, staged);
            }
        }
        for sender in 0..3 {
            if self.outbound[sender] == Some(connection) {
                self.outbound[sender] = None;
                self.abandon(sender);
            }
        }
    }

    /// Whoever sent by a broken connection may never hear the answer.
    fn abandon(&mut self, sender: usize) {
        let ids: Vec<u64> = match self.pools.get(sender) {
            Some(pool) => pool.sent.keys().copied().collect(),
            None => self.strangers.clone(),
        };
        for id in ids {
            self.oracle.abandoned(id);
        }
    }

    pub(super) fn forget_leg(
        &mut self,
        organisation: usize,
        number: usize,
        leg: LegId,
        unsent: usize,
    ) {
        self.by_leg.remove(&(organisation, number, leg));
        let now = self.agenda.now();
        let shard = self.shard(organisation, number);
        shard.effects.close(leg);
        shard.access.leg_closed(now, leg, Lost::Reset, unsent, &mut shard.effects);
        self.collect(organisation, number);
    }
}
