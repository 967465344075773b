//! Tickets by which a client that has moved goes on with its allocation (RFC 8016).

use foldhash::quality::RandomState;
use hashbrown::HashMap;

/// Names an allocation to whoever has it; nobody but its user gets anything for it.
pub(super) type Ticket = [u8; 16];

/// Tickets of those allocations that asked for one.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    owners: HashMap<Ticket, u32, RandomState>,
    of_owner: HashMap<u32, Ticket, RandomState>,
}

impl Tickets {
    /// Gives `owner` a ticket in place of the one it had.
    pub(super) fn give(&mut self, owner: u32, ticket: Ticket) {
        self.forget(owner);
        self.owners.insert(ticket, owner);
        self.of_owner.insert(owner, ticket);
    }

    /// Returns whose a ticket is.
    pub(super) fn owner(&self, ticket: &[u8]) -> Option<u32> {
        let ticket: &Ticket = ticket.try_into().ok()?;
        self.owners.get(ticket).copied()
    }

    /// Returns the ticket of `owner`, where it has one.
    pub(super) fn of(&self, owner: u32) -> Option<Ticket> {
        self.of_owner.get(&owner).copied()
    }

    /// Takes the ticket of `owner` back.
    pub(super) fn forget(&mut self, owner: u32) {
        if let Some(ticket) = self.of_owner.remove(&owner) {
            self.owners.remove(&ticket);
        }
    }
}
