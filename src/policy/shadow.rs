//! A candidate policy beside the one in force: it is asked the same questions, and only where it
//! would have said something else is that told. Traffic follows the policy in force alone.

use super::{Decision, PartnerKind, RefusalRule};

/// How a candidate's decision differs from the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// What was decided before, as far as a comparison looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before<'a> {
    /// It passed.
    Permitted {
        /// Under which kind of federation.
        kind: PartnerKind,
        /// Under which rule, in a sentence.
        rule: &'a str,
        /// Whether its user counted as verified, without the sender's word and with it.
        verified: [bool; 2],
    },
    /// It was refused under this rule.
    Refused(RefusalRule),
}

impl Difference {
    /// Compares two decisions about one request; `None` if they come to the same.
    #[must_use]
    pub fn between(live: &Decision, candidate: &Decision) -> Option<Self> {
        match live {
            // It waits for the same or another look-up and is decided afresh after that.
            Decision::Ask(_) => None,
            Decision::Refuse(refusal) => Self::since(&Before::Refused(refusal.rule()), candidate),
            Decision::Permit(permit) => {
                let rule = match candidate {
                    Decision::Permit(_) => permit.rule().sentence(),
                    _ => String::new(),
                };
                let verified = [permit.source_verified(false), permit.source_verified(true)];
                let kind = permit.kind();
                Self::since(&Before::Permitted { kind, rule: &rule, verified }, candidate)
            }
        }
    }

    /// Compares a decision with what was decided before; `None` if they come to the same.
    #[must_use]
    pub fn since(before: &Before<'_>, candidate: &Decision) -> Option<Self> {
        match (before, candidate) {
            (_, Decision::Ask(_)) => Some(Self::WouldAsk),
            (Before::Permitted { .. }, Decision::Refuse(refusal)) => {
                Some(Self::WouldRefuse(refusal.rule()))
            }
            (Before::Refused(_), Decision::Permit(_)) => Some(Self::WouldPermit),
            (Before::Refused(before), Decision::Refuse(refusal)) => {
                (*before != refusal.rule()).then_some(Self::OtherRefusal(refusal.rule()))
            }
            (Before::Permitted { kind, rule, verified }, Decision::Permit(permit)) => {
                // Places in the list differ between two files; what counts is what is said there.
                let same = *kind == permit.kind()
                    && *rule == permit.rule().sentence()
                    && *verified == [permit.source_verified(false), permit.source_verified(true)];
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
