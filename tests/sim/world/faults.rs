//! What breaks on purpose.

use super::{Event, WORKLOAD_MS, World};
use crate::network::End;

impl World {
    /// Something breaks.
    pub(super) fn fault(&mut self) {
        if self.agenda.now_ms > WORKLOAD_MS {
            return;
        }
        let delay = 100 + self.chance.below(900);
        self.agenda.after(delay, Event::Fault);
        let organisation = usize::try_from(self.chance.below(2)).unwrap();
        match self.chance.below(5) {
            0 | 1 => self.break_something(),
            2 => self.stall_something(),
            3 => {
                self.note(&format!("pool {organisation} goes down"));
                self.pools[organisation].down_until_ms =
                    self.agenda.now_ms + 200 + self.chance.below(3_000);
                for connection in 0..self.connections.len() {
                    let end = End::Pool { organisation };
                    if self.connections[connection].ends.contains(&end) {
                        self.break_connection(connection);
                    }
                }
            }
            _ => {
                self.note(&format!("edge {organisation} reloads"));
                self.edges[organisation].epoch += 1;
                for shard in 0..self.edges[organisation].shards.len() {
                    let delay = self.chance.below(40);
                    self.agenda.after(delay, Event::Reload { organisation, shard });
                }
            }
        }
    }

    fn open_connections(&self) -> Vec<usize> {
        (0..self.connections.len()).filter(|at| self.connections[*at].open).collect()
    }

    fn break_something(&mut self) {
        let open = self.open_connections();
        if open.is_empty() {
            return;
        }
        let chosen = open[usize::try_from(self.chance.below(open.len() as u64)).unwrap()];
        self.note(&format!("connection {chosen} breaks: {:?}", self.connections[chosen].ends));
        self.break_connection(chosen);
    }

    fn stall_something(&mut self) {
        let open = self.open_connections();
        if open.is_empty() {
            return;
        }
        let chosen = open[usize::try_from(self.chance.below(open.len() as u64)).unwrap()];
        let side = usize::try_from(self.chance.below(2)).unwrap();
        let until = self.agenda.now_ms + 100 + self.chance.below(2_000);
        self.note(&format!("side {side} of connection {chosen} stalls until {until}"));
        self.connections[chosen].stalled_until_ms[side] = until;
    }
}
