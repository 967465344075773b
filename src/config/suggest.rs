//! The word somebody probably meant.

/// Words longer than this are not compared; no key or choice is.
const WORD_BYTES_MAX: usize = 64;

/// Returns the candidate closest to `word`, if any is close enough to be what was meant.
///
/// Close: one that starts with the word (a forgotten unit), or at most a third of its letters
/// wrong, two in a short word.
#[must_use]
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let tolerated = (word.len().max(candidate.len()) / 3).clamp(1, 4);
        let distance = if candidate.starts_with(&word) { 0 } else { distance(&word, candidate) };
        if distance <= tolerated && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Returns how many letters must be added, removed, changed or swapped with their neighbour to
/// make `right` of `left` (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left = left.as_bytes();
    let right = right.as_bytes();
    let width = right.len() + 1;
    let mut table = vec![0_usize; (left.len() + 1) * width];
    for (column, cell) in table.iter_mut().take(width).enumerate() {
        *cell = column;
    }
    for row in 1..=left.len() {
        table[row * width] = row;
        for column in 1..width {
            let same = left[row - 1] == right[column - 1];
            let mut least = (table[(row - 1) * width + column] + 1)
                .min(table[row * width + column - 1] + 1)
                .min(table[(row - 1) * width + column - 1] + usize::from(!same));
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                least = least.min(table[(row - 2) * width + column - 2] + 1);
            }
            table[row * width + column] = least;
        }
    }
    table[left.len() * width + right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_letter_is_one_mistake() {
        assert_eq!(distance("domians", "domains"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_forgotten_unit_finds_its_key() {
        let keys = ["idle_timeout_s", "drain_notice_s", "drain_timeout_s"];
        assert_eq!(closest("idle_timeout", keys), Some("idle_timeout_s"));
        assert_eq!(closest("drain-timeout", keys), Some("drain_timeout_s"));
    }

    #[test]
    fn an_unrelated_word_finds_nothing() {
        assert_eq!(closest("banana", ["shards", "cores", "poller"]), None);
        assert_eq!(closest("", ["shards"]), None);
    }
}
