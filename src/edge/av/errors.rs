//! Errors that were answered, by number.

/// Numbers that are counted by themselves.
const NUMBERS: [u16; 15] =
    [300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 447, 486, 508];
/// The place of challenges, behind the numbers.
const CHALLENGE: usize = NUMBERS.len();
/// The place of all other numbers.
const OTHER: usize = CHALLENGE + 1;

/// Whether a request came with anything that could prove who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// It did, and in vain.
    Yes,
    /// It did not: what is answered is the challenge that each client needs once.
    No,
}

/// Errors answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors([u64; OTHER + 1]);

impl Errors {
    /// Words for [`Self::counts`], in order, for the metrics.
    pub const LABELS: [&str; OTHER + 1] = [
        "300",
        "400",
        "401",
        "403",
        "405",
        "420",
        "437",
        "438",
        "440",
        "441",
        "442",
        "443",
        "447",
        "486",
        "508",
        "challenge",
        "other",
    ];

    /// Counts an answer to somebody who has proven who he is, or had no need to.
    pub(super) fn count(&mut self, number: u16) {
        let place = NUMBERS.iter().position(|known| *known == number).unwrap_or(OTHER);
        self.0[place] += 1;
    }

    /// Counts an answer to a stranger. A 401 to who has not tried is a challenge: apart, so that
    /// wrong passwords are seen beside the first step of every client.
    pub(super) fn count_stranger(&mut self, number: u16, tried: Tried) {
        match (number, tried) {
            (401, Tried::No) => self.0[CHALLENGE] += 1,
            _ => self.count(number),
        }
    }

    /// Returns how many there were of each, in the order of [`Self::LABELS`].
    #[must_use]
    pub const fn counts(&self) -> &[u64; OTHER + 1] {
        &self.0
    }

    /// Returns how many there were of one of [`Self::LABELS`]; 0 for any other word.
    #[must_use]
    pub fn of(&self, label: &str) -> u64 {
        let place = Self::LABELS.iter().position(|known| *known == label);
        place.map_or(0, |place| self.0[place])
    }
}

impl std::ops::Add for Errors {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        for (one, other) in self.0.iter_mut().zip(other.0) {
            *one += other;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_own_word() {
        for (number, label) in NUMBERS.iter().zip(Errors::LABELS) {
            assert_eq!(number.to_string(), label);
        }
        let mut errors = Errors::default();
        errors.count(508);
        errors.count(599);
        errors.count_stranger(401, Tried::No);
        errors.count_stranger(401, Tried::Yes);
        errors.count_stranger(438, Tried::No);
        let twice = errors + errors;
        for label in ["508", "other", "challenge", "401", "438"] {
            assert_eq!((errors.of(label), twice.of(label)), (1, 2), "{label}");
        }
        assert_eq!((errors.counts().iter().sum::<u64>(), errors.of("nonsense")), (5, 0));
    }
}
