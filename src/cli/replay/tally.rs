//! What came of the lines, in bounded memory.

use std::collections::BTreeMap;

use crate::control::decisions::{Line, Moment, Way};
use crate::dns::Domain;
use crate::policy::shadow::Difference;

/// Pairs of domains that are told apart over all reasons, about 600 bytes each; further decisions
/// are counted for their reason.
pub(super) const PAIRS_MAX: usize = 10_000;

/// What came of all lines.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Decisions that come to the same.
    pub(super) same: u64,
    /// Decisions that rest on what the log does not hold: users, limits, connections, contents.
    pub(super) not_asked: u64,
    pub(super) unreadable: Unreadable,
    /// Last lines without an end.
    pub(super) torn: u64,
    /// The first and the last moment.
    pub(super) time: Option<(Moment, Moment)>,
    pub(super) reasons: BTreeMap<Difference, Reason>,
    pairs: usize,
}

/// Lines that are no decisions.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    pub(super) lines: u64,
    /// Where the first is, and what is wrong with it.
    pub(super) first: Option<String>,
}

/// Decisions that differ in one way.
#[derive(Debug, Default)]
pub(super) struct Reason {
    pub(super) decisions: u64,
    pub(super) pairs: BTreeMap<Pair, Group>,
    /// Decisions about pairs beyond [`PAIRS_MAX`].
    pub(super) beyond: u64,
}

/// Who wanted to talk to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) way: Way,
    pub(super) from: Domain,
    pub(super) to: Option<Domain>,
}

/// The decisions about one pair.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) decisions: u64,
    pub(super) first: Moment,
    pub(super) last: Moment,
    /// The number of the first, for the log.
    pub(super) decision: String,
    pub(super) told: Differing,
}

/// The first of them in words.
#[derive(Debug)]
pub(super) struct Differing {
    pub(super) before: String,
    pub(super) now: String,
}

impl Tally {
    /// Returns how many lines were decisions.
    pub(super) fn decisions(&self) -> u64 {
        self.same + self.not_asked + self.differ()
    }

    /// Returns how many would be decided otherwise.
    pub(super) fn differ(&self) -> u64 {
        self.reasons.values().map(|reason| reason.decisions).sum()
    }

    pub(super) fn seen(&mut self, time: Moment) {
        let (first, last) = self.time.unwrap_or((time, time));
        self.time = Some((first.min(time), last.max(time)));
    }

    pub(super) fn unreadable(&mut self, log: &str, number: u64, why: &str) {
        self.unreadable.lines += 1;
        self.unreadable.first.get_or_insert_with(|| format!("{log}:{number}: {why}"));
    }

    /// Counts a decision that differs; `told` is asked for the first of its pair.
    pub(super) fn differs(
        &mut self,
        difference: Difference,
        line: &Line,
        told: impl FnOnce() -> Differing,
    ) {
        let reason = self.reasons.entry(difference).or_default();
        reason.decisions += 1;
        let to = line.to.as_ref().map(|to| to.0.clone());
        let pair = Pair { way: line.direction, from: line.from.0.clone(), to };
        if let Some(group) = reason.pairs.get_mut(&pair) {
            group.decisions += 1;
            group.first = group.first.min(line.time);
            group.last = group.last.max(line.time);
            return;
        }
        if self.pairs >= PAIRS_MAX {
            reason.beyond += 1;
            return;
        }
        self.pairs += 1;
        let (first, last, decision) = (line.time, line.time, line.decision.clone());
        let group = Group { decisions: 1, first, last, decision, told: told() };
        reason.pairs.insert(pair, group);
    }
}
