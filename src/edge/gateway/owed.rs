//! What edges keep until the gateway is done with it.
//!
//! Presence and queries are done with when they are read: whoever wants to know asks again. Words
//! are done with when the SIP side has answered for them, or an edge has reported on the error that
//! their sender gets. So a gateway that dies takes no message along: its edges give what they keep
//! to the next one.
//!
//! When only the link breaks, the same stanzas come again with their numbers, and are taken for
//! what they are: on their way still, or done with, which the edge has not heard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Gateway;
use crate::edge::xmpp_link::Again;
use crate::edge::{Effects, LegId};
use crate::limits;
use crate::time::Now;

/// A stanza that an edge keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    /// The edge's place.
    pub(super) edge: usize,
    /// The stanza's number there.
    pub(super) number: u64,
}

/// What is owed to one edge.
#[derive(Debug, Default)]
pub(super) struct Debts {
    /// Numbers that are not done with, and by which link each came last.
    open: BTreeMap<u64, LegId>,
    /// Those that were, the oldest in front: at most [`limits::GATEWAY_DONE_MAX`].
    done: VecDeque<u64>,
    known: BTreeSet<u64>,
    /// What the edge is to be told by the link there is.
    reports: Vec<u64>,
}

/// What a stanza is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    First,
    /// It is there, or was.
    Before,
}

impl Debts {
    /// A stanza has come by a link.
    fn begin(&mut self, number: u64, again: Again, leg: LegId) -> Seen {
        if let Some(held) = self.open.get_mut(&number) {
            *held = leg;
            return Seen::Before;
        }
        if again == Again::Yes && self.known.contains(&number) {
            self.reports.push(number);
            return Seen::Before;
        }
        self.open.insert(number, leg);
        Seen::First
    }

    /// A stanza is done with. `leg`: of the link there is.
    fn end(&mut self, number: u64, leg: Option<LegId>) {
        let Some(came_by) = self.open.remove(&number) else { return };
        if self.done.len() >= limits::GATEWAY_DONE_MAX
            && let Some(oldest) = self.done.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.done.push_back(number);
        self.known.insert(number);
        if leg == Some(came_by) {
            self.reports.push(number);
        }
    }

    /// The link is gone, and with it what was to be told by it.
    pub(super) fn link_lost(&mut self) {
        self.reports.clear();
    }

    /// Returns how many stanzas are not done with.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// What was taken to be told found no room.
    pub(super) fn tell_again(&mut self, numbers: Vec<u64>) {
        self.reports.splice(..0, numbers);
    }

    /// Takes some of what is to be told.
    pub(super) fn take_reports(&mut self) -> Vec<u64> {
        let some = self.reports.len().min(limits::XMPP_LINK_DONE_MAX);
        self.reports.drain(..some).collect()
    }
}

impl Gateway {
    /// A stanza has come from an edge. `None`: it is here already, or was.
    pub(super) fn owe(
        &mut self,
        now: Now,
        (edge, leg): (usize, LegId),
        number: u64,
        again: Again,
    ) -> Option<Owed> {
        let seen = self.edges.get_mut(edge)?.debts.begin(number, again, leg);
        if seen == Seen::Before {
            self.counters.repeated_stanzas += 1;
            self.report_at = Some(now.monotonic);
            return None;
        }
        Some(Owed { edge, number })
    }

    /// Nothing is left to do for a stanza: its edge need not keep it.
    pub(super) fn done_with(&mut self, now: Now, owed: Option<Owed>) {
        let Some(Owed { edge, number }) = owed else { return };
        if let Some(edge) = self.edges.get_mut(edge) {
            let leg = edge.leg();
            edge.debts.end(number, leg);
            self.report_at = Some(now.monotonic);
        }
    }

    /// Tells the edges what is done with; what finds no room is told with the next chores.
    pub(super) fn report_done(&mut self, effects: &mut Effects) {
        self.report_at = None;
        for edge in &mut self.edges {
            edge.report_done(effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LegId = LegId { index: 1, generation: 1 };
    const TWO: LegId = LegId { index: 2, generation: 1 };

    #[test]
    fn a_stanza_that_comes_again_is_taken_for_what_it_is() {
        let mut debts = Debts::default();
        assert_eq!(debts.begin(7, Again::No, ONE), Seen::First);
        assert_eq!(debts.begin(8, Again::No, ONE), Seen::First);
        debts.end(8, Some(ONE));
        debts.link_lost();
        assert_eq!(debts.begin(7, Again::Yes, TWO), Seen::Before, "it is on its way");
        assert_eq!(debts.begin(8, Again::Yes, TWO), Seen::Before, "it was done with");
        assert_eq!(debts.begin(9, Again::Yes, TWO), Seen::First, "another gateway had it");
        assert_eq!(debts.take_reports(), [8]);
        debts.end(7, Some(TWO));
        debts.end(7, Some(TWO));
        assert_eq!((debts.take_reports(), debts.open()), (vec![7], 1));
    }

    #[test]
    fn what_came_by_a_link_that_is_gone_is_not_reported_by_the_next() {
        let mut debts = Debts::default();
        debts.begin(7, Again::No, ONE);
        debts.end(7, Some(TWO));
        assert!(debts.take_reports().is_empty());
        assert_eq!(debts.begin(7, Again::Yes, TWO), Seen::Before);
        assert_eq!(debts.take_reports(), [7]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut debts = Debts::default();
        let max = limits::GATEWAY_DONE_MAX as u64;
        for number in 0..=max {
            debts.begin(number, Again::No, ONE);
            debts.end(number, Some(ONE));
        }
        assert_eq!(
            (debts.done.len(), debts.known.len()),
            (limits::GATEWAY_DONE_MAX, debts.done.len())
        );
        assert_eq!(debts.begin(0, Again::Yes, TWO), Seen::First, "it is forgotten");
        assert_eq!(debts.begin(max, Again::Yes, TWO), Seen::Before);
        assert_eq!(debts.take_reports().len(), limits::XMPP_LINK_DONE_MAX);
    }
}
