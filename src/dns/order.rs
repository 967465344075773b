//! The order in which targets are tried.

use super::{Answer, Target};

/// Returns the indexes of the answer's targets in the order to try them.
///
/// Lower priority first; among equals each next one is drawn with a chance in proportion to its
/// weight, and one of weight 0 with a very small chance. `random` gives 64 uniform bits a call, one
/// call per target; seeded, so that a simulation repeats itself.
/// Source: RFC 2782, "Usage rules"; RFC 3263 section 4.4 (the order holds for one transaction).
#[must_use]
pub fn order(answer: &Answer, random: &mut dyn FnMut() -> u64) -> Vec<usize> {
    let targets = answer.outcome.as_deref().unwrap_or_default();
    let mut left: Vec<(usize, &Target)> = targets.iter().enumerate().collect();
    // Of one priority those of weight 0 stand first: they win only when the draw is zero.
    left.sort_by_key(|(_, target)| (target.priority, target.weight > 0));
    let mut order = Vec::with_capacity(left.len());
    while let Some((_, best)) = left.first() {
        let priority = best.priority;
        let group = left.iter().take_while(|(_, target)| target.priority == priority).count();
        let drawn = draw(&left[..group], random());
        order.push(left.remove(drawn).0);
    }
    order
}

/// Returns the place of the first target whose running sum of weights reaches the draw.
fn draw(group: &[(usize, &Target)], random: u64) -> usize {
    let sum: u64 = group.iter().map(|(_, target)| u64::from(target.weight)).sum();
    let draw = random % (sum + 1);
    let mut running = 0;
    for (place, (_, target)) in group.iter().enumerate() {
        running += u64::from(target.weight);
        if running >= draw {
            return place;
        }
    }
    0
}
