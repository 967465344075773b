//! A rate of 80 kbit/s, which holds 5,000 bytes, and threads that take from it in one instant.

use entente::time::Monotonic;
use loom::sync::Arc;
use loom::thread;

use crate::rate::{Rate, Takers};

const NOW: Monotonic = Monotonic(1_000_000_000);
const FULL: u64 = 5_000;

/// Runs `parts` beside each other on a full rate, in every order; returns what each has given out
/// to `then`, with what is left.
fn beside<const N: usize>(parts: [fn(&Rate) -> u64; N], then: fn(&[u64], u64)) {
    loom::model(move || {
        let rate = Arc::new(Rate::of_kbit_s(80, Takers::Several));
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| {
                let rate = Arc::clone(&rate);
                thread::spawn(move || part(&rate))
            })
            .collect();
        let given: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        then(&given, rate.left(NOW));
    });
}

fn take(rate: &Rate, bytes: u64) -> u64 {
    rate.take(NOW, bytes).map_or(0, |_| bytes)
}

#[test]
fn threads_take_what_is_there_once_and_all_of_it() {
    let twice = |rate: &Rate| take(rate, 2_000) + take(rate, 2_000);
    beside([twice, twice], |given, left| {
        assert_eq!((given.iter().sum::<u64>(), left), (4_000, 1_000));
    });
}

/// How it is taken where looking first has failed again and again.
#[test]
fn what_is_taken_without_looking_is_given_back_where_it_was_not_there() {
    let first = |rate: &Rate| rate.take_first(NOW, 4_000).map_or(0, |_| 4_000);
    let looks = |rate: &Rate| take(rate, 2_000) + take(rate, 1_000);
    beside([first, looks], |given, left| {
        let given: u64 = given.iter().sum();
        assert_eq!(given + left, FULL, "nothing is lost and nothing given twice");
    });
}

#[test]
fn what_is_given_back_was_given_to_nobody_else() {
    let back = |rate: &Rate| {
        let taken = rate.take(NOW, 3_000).expect("there is enough for both");
        rate.give_back(taken);
        0
    };
    let keeps = |rate: &Rate| take(rate, 2_000);
    beside([back, keeps], |given, left| {
        assert_eq!(given.iter().sum::<u64>(), 2_000);
        assert!(left == FULL - 2_000 || left == 0, "{left}");
    });
}

#[test]
fn what_is_owed_is_owed_by_all() {
    let owes = |rate: &Rate| {
        rate.owe(NOW, 4_000);
        4_000
    };
    let takes = |rate: &Rate| take(rate, 2_000);
    beside([owes, takes], |given, left| {
        let taken = given.iter().sum::<u64>();
        assert_eq!(left, FULL.saturating_sub(taken));
    });
}
