//! RFC 2782, "Usage rules": the order in which SRV targets are tried.

use std::collections::BTreeMap;

use entente::dns::{self, Answer, Domain, Failure, Question, Target};

/// A seeded generator (splitmix64): the same seed gives the same order.
fn generator(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a domain")
}

fn answer(records: &[(u16, u16)]) -> Answer {
    let target = |(place, &(priority, weight)): (usize, &(u16, u16))| Target {
        fqdn: domain(&format!("sip{place}.fabrikam.example")),
        port: 5061,
        priority,
        weight,
        addresses: Vec::new(),
        direct_tls: true,
    };
    let targets = records.iter().enumerate().map(target).collect();
    let question = Question::Federation(domain("fabrikam.example"));
    Answer { question, outcome: Ok(targets), ttl_s: 60 }
}

/// How often each target comes first in `rounds` rounds.
fn first_places(records: &[(u16, u16)], rounds: u32) -> BTreeMap<usize, u32> {
    let (answer, mut random) = (answer(records), generator(2782));
    let mut first = BTreeMap::new();
    for _ in 0..rounds {
        let order = dns::order(&answer, &mut random);
        *first.entry(order[0]).or_default() += 1;
    }
    first
}

#[test]
fn a_client_must_attempt_the_lowest_numbered_priority_it_can_reach() {
    let answer = answer(&[(20, 100), (10, 1), (30, 0), (10, 65_535)]);
    let mut random = generator(1);
    for _ in 0..1_000 {
        let order = dns::order(&answer, &mut random);
        let mut best = [order[0], order[1]];
        best.sort_unstable();
        assert_eq!(best, [1, 3]);
        assert_eq!(order[2..], [0, 2]);
    }
}

#[test]
fn every_target_is_in_the_order_exactly_once() {
    let mut random = generator(2);
    for count in 0..20_u16 {
        let records: Vec<(u16, u16)> = (0..count).map(|i| (i % 3, i * 7 % 5)).collect();
        let mut order = dns::order(&answer(&records), &mut random);
        order.sort_unstable();
        assert_eq!(order, (0..usize::from(count)).collect::<Vec<_>>());
    }
}

#[test]
fn larger_weights_have_a_proportionately_higher_probability() {
    let rounds = 60_000;
    let first = first_places(&[(0, 10), (0, 20), (0, 30)], rounds);
    for (place, share) in [(0, 10), (1, 20), (2, 30)] {
        let expected = rounds * share / 60;
        let found = first[&place];
        // The draw includes zero, which falls to the first: 1/61 of a share at most.
        assert!(found.abs_diff(expected) < rounds / 50, "{place}: {found}, not {expected}");
    }
}

#[test]
fn the_second_choice_is_drawn_among_the_rest_by_weight_again() {
    let (answer, mut random) = (answer(&[(0, 1_000), (0, 30), (0, 10)]), generator(3));
    let (mut second, mut third) = (0_u32, 0_u32);
    for _ in 0..60_000 {
        match dns::order(&answer, &mut random)[..] {
            [0, 1, 2] => second += 1,
            [0, 2, 1] => third += 1,
            _ => {}
        }
    }
    let ratio = f64::from(second) / f64::from(third);
    assert!((2.5..3.5).contains(&ratio), "{ratio}");
}

#[test]
fn in_the_presence_of_weights_weight_zero_has_a_very_small_chance() {
    let rounds = 100_000;
    let first = first_places(&[(0, 100), (0, 0)], rounds);
    let zero = first.get(&1).copied().unwrap_or_default();
    assert!(zero > 0, "never selected");
    assert!(zero < rounds / 50, "{zero} of {rounds}");
}

#[test]
fn targets_without_any_weight_keep_the_order_of_the_answer() {
    let order = dns::order(&answer(&[(0, 0), (0, 0), (0, 0)]), &mut generator(4));
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn the_same_seed_gives_the_same_order() {
    let answer = answer(&[(0, 5), (0, 5), (0, 5), (1, 5), (1, 5)]);
    for seed in 0..50 {
        let one = dns::order(&answer, &mut generator(seed));
        assert_eq!(one, dns::order(&answer, &mut generator(seed)));
    }
}

#[test]
fn an_answer_without_targets_has_no_order() {
    let mut failed = answer(&[]);
    failed.outcome = Err(Failure::ServiceRefused);
    assert!(dns::order(&failed, &mut generator(5)).is_empty());
}
