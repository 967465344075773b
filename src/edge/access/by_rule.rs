//! Refusals counted by the rule of policy that made them.

use crate::policy::RefusalRule;

/// How often each rule refused, and how often a candidate policy would have refused by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByRule {
    refused: [u64; RefusalRule::ALL.len()],
    shadow: [u64; RefusalRule::ALL.len()],
}

impl ByRule {
    /// Counts an answer that refuses by `rule`.
    pub(super) const fn refused(&mut self, rule: RefusalRule) {
        self.refused[rule as usize] += 1;
    }

    /// Counts a verdict that the candidate would have turned into a refusal by `rule`, or made by
    /// that rule instead of another.
    pub(super) const fn would_refuse(&mut self, rule: RefusalRule) {
        self.shadow[rule as usize] += 1;
    }

    /// Returns refusals, then what the candidate would have refused, each in the order of
    /// [`RefusalRule::ALL`].
    pub fn values(&self) -> impl Iterator<Item = u64> {
        self.refused.iter().chain(&self.shadow).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_counted_in_the_order_in_which_they_are_listed() {
        for (place, rule) in RefusalRule::ALL.into_iter().enumerate() {
            assert_eq!(rule as usize, place, "{rule:?}");
            let mut counted = ByRule::default();
            counted.refused(rule);
            counted.would_refuse(rule);
            counted.would_refuse(rule);
            let values: Vec<u64> = counted.values().collect();
            let (refused, shadow) = values.split_at(RefusalRule::ALL.len());
            assert_eq!((refused[place], shadow[place], values.iter().sum::<u64>()), (1, 2, 3));
        }
    }
}
