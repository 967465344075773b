//! A candidate policy beside the one in force: it is asked the same questions, and only where it
//! would have said something else is that told. Traffic follows the policy in force alone.

use super::{Decision, RefusalRule};

/// How a candidate's decision differs from the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Difference {
    /// What passes would be refused under this rule.
    WouldRefuse(RefusalRule),
    /// What is refused would pass.
    WouldPermit,
    /// Both refuse; the candidate under this rule.
    OtherRefusal(RefusalRule),
    /// Both permit, under another kind of federation or another entry.
    OtherRule,
    /// The candidate would have to ask DNS, which the policy in force did not.
    WouldAsk,
}

impl Difference {
    /// Compares two decisions about one request; `None` if they come to the same.
    #[must_use]
    pub fn between(live: &Decision, candidate: &Decision) -> Option<Self> {
        match (live, candidate) {
            // It waits for the same or another look-up and is decided afresh after that.
            (Decision::Ask(_), _) => None,
            (Decision::Permit(_) | Decision::Refuse(_), Decision::Ask(_)) => Some(Self::WouldAsk),
            (Decision::Permit(_), Decision::Refuse(refusal)) => {
                Some(Self::WouldRefuse(refusal.rule()))
            }
            (Decision::Refuse(_), Decision::Permit(_)) => Some(Self::WouldPermit),
            (Decision::Refuse(live), Decision::Refuse(candidate)) => {
                (live.rule() != candidate.rule()).then_some(Self::OtherRefusal(candidate.rule()))
            }
            (Decision::Permit(live), Decision::Permit(candidate)) => {
                // Places in the list differ between two files; what counts is what is said there.
                let same = live.kind() == candidate.kind()
                    && live.rule().sentence() == candidate.rule().sentence()
                    && live.source_verified(true) == candidate.source_verified(true)
                    && live.source_verified(false) == candidate.source_verified(false);
                (!same).then_some(Self::OtherRule)
            }
        }
    }
}

/// Returns what a reader is told after "the candidate policy would": the verb and the rule.
#[must_use]
pub fn sentence(candidate: &Decision) -> String {
    match candidate {
        Decision::Permit(permit) => {
            format!("permit it: {} ({})", permit.rule().sentence(), permit.rule().place())
        }
        Decision::Refuse(refusal) => format!("refuse it: {}", refusal.sentence()),
        Decision::Ask(_) => "ask DNS first".to_owned(),
    }
}
