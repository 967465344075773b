//! A user's rate against one that rounds nothing; what threads do to each other is in `tests/loom`.

use proptest::prelude::*;

use super::super::rate::{Rate, Takers};
use crate::time::Monotonic;

const SECOND_NS: u128 = 1_000_000_000;

/// Bytes times nanoseconds that are there.
struct Naive {
    bytes_s: u128,
    held: u128,
    since: u64,
}

impl Naive {
    fn of_kbit_s(kbit_s: u32) -> Self {
        let bytes_s = u128::from(kbit_s) * 125;
        Self { bytes_s, held: bytes_s * SECOND_NS / 2, since: 0 }
    }

    fn fill(&mut self, now: u64) {
        let flowed = u128::from(now - self.since) * self.bytes_s;
        self.held = (self.held + flowed).min(self.bytes_s * SECOND_NS / 2);
        self.since = now;
    }
}

fn takers() -> impl Strategy<Value = Takers> {
    prop_oneof![Just(Takers::One), Just(Takers::Several)]
}

proptest! {
    /// Never more than there is, and what rounding keeps back is less than a byte, and ten
    /// nanoseconds of the rate for each time something was taken.
    #[test]
    fn what_a_rate_gives_is_what_has_flowed_in(
        kbit_s in prop_oneof![64_u32..2_000, 2_000_u32..10_000_000, Just(34_000_000)],
        takers in takers(),
        steps in prop::collection::vec((0_u64..40_000_000, 0_u64..100), 1..200),
    ) {
        let (rate, mut naive) = (Rate::of_kbit_s(kbit_s, takers), Naive::of_kbit_s(kbit_s));
        let mut now = 0;
        let mut taken: u128 = 0;
        for (passed, percent) in steps {
            now += passed;
            naive.fill(now);
            let lost = (taken + 1) * naive.bytes_s * 10;
            let left = u128::from(rate.left(Monotonic(now))) * SECOND_NS;
            prop_assert!(left <= naive.held && naive.held < left + SECOND_NS + lost);
            // Sometimes more than there is.
            let bytes = naive.held * u128::from(percent) / 90 / SECOND_NS;
            let given = rate.take(Monotonic(now), bytes as u64).is_some();
            if given {
                prop_assert!(bytes * SECOND_NS <= naive.held, "nothing is given twice");
                naive.held -= bytes * SECOND_NS;
                taken += 1;
            } else {
                prop_assert!(naive.held < bytes * SECOND_NS + lost, "what is there is given");
            }
        }
    }

    #[test]
    fn what_is_left_can_be_taken_and_a_byte_more_cannot(
        kbit_s in 1_u32..34_359_738,
        before in 0_u64..2_000_000_000,
        takers in takers(),
        looks in any::<bool>(),
        now in 0_u64..1_000_000_000_000_000_000,
    ) {
        let rate = Rate::of_kbit_s(kbit_s, takers);
        let now = Monotonic(now);
        let _ = rate.take(now, before);
        let left = rate.left(now);
        prop_assert!(rate.take(now, left + 1).is_none());
        prop_assert!(rate.take_first(now, left + 1).is_none());
        prop_assert_eq!(rate.left(now), left, "what is refused takes nothing");
        let taken = if looks { rate.take(now, left) } else { rate.take_first(now, left) };
        prop_assert!(taken.is_some());
        prop_assert_eq!(rate.left(now), 0);
    }
}

#[test]
fn what_is_given_back_is_there_again_unless_more_was_taken() {
    let (rate, now) = (Rate::of_kbit_s(80, Takers::Several), Monotonic(7_000_000_000));
    let taken = rate.take(now, 3_000).expect("it is full");
    rate.give_back(taken);
    assert_eq!(rate.left(now), 5_000);
    let taken = rate.take(now, 3_000).expect("it is full");
    assert!(rate.take(now, 1_000).is_some());
    rate.give_back(taken);
    assert_eq!(rate.left(now), 1_000);
}

#[test]
fn what_is_owed_flows_in_before_anything_is_given() {
    let (rate, now) = (Rate::of_kbit_s(80, Takers::Several), Monotonic(7_000_000_000));
    rate.owe(now, 15_000);
    let after = |ms| now.plus_ms(ms);
    assert!(rate.take(after(1_000), 1).is_none());
    assert_eq!((rate.left(after(1_000)), rate.left(after(1_100))), (0, 1_000));
}

#[test]
fn a_clock_that_is_behind_finds_no_more_than_there_is() {
    let rate = Rate::of_kbit_s(80, Takers::Several);
    let now = Monotonic(7_000_000_000);
    assert!(rate.take(now, 5_000).is_some());
    assert!(rate.take(Monotonic(6_900_000_000), 1).is_none());
    assert_eq!(rate.left(Monotonic(6_900_000_000)), 0);
    assert_eq!(rate.left(now.plus_ms(10)), 100);
}

#[test]
fn the_ends_of_what_can_be_said_hold() {
    for kbit_s in [0, 1, u32::MAX] {
        let rate = Rate::of_kbit_s(kbit_s, Takers::Several);
        for now in [0, u64::MAX] {
            assert!(rate.take(Monotonic(now), u64::MAX).is_none(), "{kbit_s}");
        }
        let depth = u64::from(kbit_s.saturating_mul(125) / 2);
        // A byte's time is rounded up to a part of some ten millions.
        let left = rate.left(Monotonic(0));
        assert!(left <= depth && depth - left <= 1 + depth / 10_000_000, "{kbit_s}: {left}");
    }
}
