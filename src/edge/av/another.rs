//! Another port in place of one that cannot be opened: some other program on this machine has it.

use super::ports::{RelayPort, Reservation, Wanted};
use super::table::Holding;
use super::{Output, Relay, next};
use crate::limits;
use crate::time::Now;

/// Whether there is another port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Another {
    /// [`Output::opens`] says what to open in place of all that it said before.
    Open,
    /// No: [`Relay::opened`] is to be told that it failed.
    None,
}

impl Relay {
    /// Looks for a port in place of `taken`, which the shell could not open because somebody else
    /// has it, with all that was promised of it: even, or even with the next one kept. A port that
    /// was reserved is what its token stands for and has no other.
    ///
    /// # Panics
    /// If nothing was to be opened.
    pub fn another(&mut self, now: Now, taken: RelayPort, out: &mut Output) -> Another {
        let random = next(&mut self.rng) as u32;
        let pending = self.pending.as_mut().expect("a port is opened because it was asked for");
        let held = pending.allocation.ports.iter_mut().find(|port| **port == taken);
        let held = held.expect("a port that was asked for");
        if self.reservations.was_claimed(taken) {
            return Another::None;
        }
        if self.holding == Holding::Shared {
            let pool = &mut self.pools[usize::from(taken.address)];
            let user = pending.allocation.share.user();
            let weight = |port| self.claims.weight(user, RelayPort { port, ..taken });
            let port = pool.take_door(now.monotonic, Some(taken.port), weight);
            let Some(port) = port else { return Another::None };
            pool.give(taken.port);
            *held = RelayPort { port, ..taken };
            let opens = self.connections.unopened(&pending.allocation.ports);
            out.opens.clear();
            out.opens.extend(opens);
            return Another::Open;
        }
        let wanted = match pending.given.reserved {
            Some(_) => Wanted::EvenWithNext,
            None if taken.port.is_multiple_of(2) => Wanted::Even,
            None => Wanted::Any,
        };
        let pool = &mut self.pools[usize::from(taken.address)];
        let Some(port) = pool.take(wanted, random) else { return Another::None };
        pool.give(taken.port);
        *held = RelayPort { port, ..taken };
        if let Some(token) = pending.given.reserved {
            let user = pending.allocation.share.user();
            if let Some(kept) = self.reservations.release(&token) {
                pool.give(kept.port);
            }
            let until = now.monotonic.plus_ms(limits::TURN_RESERVATION_MS);
            let beside = RelayPort { port: port + 1, ..taken };
            let kept = self.reservations.keep(Reservation { token, port: beside, user, until });
            assert!(kept.is_ok(), "the place of the one that was released");
        }
        out.opens.clear();
        out.opens.extend_from_slice(&pending.allocation.ports);
        Another::Open
    }
}
