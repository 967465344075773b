//! Scores over certificates, domains, shards and time.

use super::*;

fn at_ms(milliseconds: u64) -> Now {
    Now::default().plus_ms(milliseconds)
}

fn scores() -> Scores {
    Scores::new([1, 2])
}

fn parties<'a>(scores: &Scores, domain: &'a str, certificate: u64) -> Parties<'a> {
    let key = scores.domain_key(domain.as_bytes());
    let (domain, host) = (domain.as_bytes(), "sip.edge.example");
    Parties { domain, listed: false, domain_key: key, certificate, host }
}

/// Strict to the message: nothing is held.
fn strict() -> Limits {
    Limits { hold_ms: 0, ..Limits::default() }
}

fn pass(scores: &Scores, now: Now, who: &Parties<'_>, limits: &Limits) -> usize {
    (0..100).filter(|_| scores.charge(now, who, limits).0 == Toll::Paid).count()
}

#[test]
fn a_burst_passes_at_once_and_then_one_per_interval() {
    let scores = scores();
    let who = parties(&scores, "fabrikam.example", 1);
    assert_eq!(pass(&scores, at_ms(1_000), &who, &strict()), 20);
    let early = scores.charge(at_ms(1_000), &who, &strict()).0;
    assert_eq!(early, Toll::TooFast { wait_ms: 50 });
    assert_eq!(scores.charge(at_ms(1_050), &who, &strict()).0, Toll::Paid);
    assert_eq!(scores.charge(at_ms(1_051), &who, &strict()).0, Toll::TooFast { wait_ms: 49 });
}

#[test]
fn a_message_that_can_wait_is_held_in_its_turn() {
    let scores = scores();
    let who = parties(&scores, "fabrikam.example", 1);
    let limits = Limits { hold_ms: 100, ..Limits::default() };
    assert_eq!(pass(&scores, at_ms(1_000), &who, &Limits { hold_ms: 0, ..limits }), 20);
    let tolls: Vec<Toll> = (0..3).map(|_| scores.charge(at_ms(1_000), &who, &limits).0).collect();
    assert_eq!(
        tolls,
        [Toll::Hold { wait_ms: 50 }, Toll::Hold { wait_ms: 100 }, Toll::TooFast { wait_ms: 150 }]
    );
}

#[test]
fn a_new_certificate_inherits_the_score_of_the_domain() {
    let scores = scores();
    let old = parties(&scores, "fabrikam.example", 1);
    let new = parties(&scores, "FABRIKAM.example.", 2);
    assert_eq!(pass(&scores, at_ms(1_000), &old, &strict()), 20);
    assert_eq!(pass(&scores, at_ms(1_000), &new, &strict()), 0);
}

#[test]
fn a_new_domain_under_a_known_certificate_inherits_its_score() {
    let scores = scores();
    let one = parties(&scores, "one.example", 1);
    let other = parties(&scores, "other.example", 1);
    assert_eq!(pass(&scores, at_ms(1_000), &one, &strict()), 20);
    assert_eq!(pass(&scores, at_ms(1_000), &other, &strict()), 0);
    let stranger = parties(&scores, "stranger.example", 3);
    assert_eq!(pass(&scores, at_ms(1_000), &stranger, &strict()), 20);
}

#[test]
fn what_one_name_refuses_the_other_has_not_paid() {
    let scores = scores();
    let one = parties(&scores, "one.example", 1);
    let other = parties(&scores, "other.example", 1);
    pass(&scores, at_ms(1_000), &one, &strict());
    pass(&scores, at_ms(1_000), &other, &strict());
    let other = parties(&scores, "other.example", 2);
    assert_eq!(pass(&scores, at_ms(1_000), &other, &strict()), 20);
}

fn user(scores: &Scores, now: Now, who: &Parties<'_>, number: usize, limits: &Limits) -> bool {
    let user = format!("user{number}");
    let found = scores.address(now, who, user.as_bytes(), b"contoso.example", limits);
    found == Addressed::Admitted
}

#[test]
fn only_additional_users_are_blocked_until_the_window_ends() {
    let scores = scores();
    let who = parties(&scores, "fabrikam.example", 1);
    let limits = Limits { users: 10, users_window_s: 60, ..Limits::default() };
    assert!((0..10).all(|number| user(&scores, at_ms(0), &who, number, &limits)));
    assert!(!user(&scores, at_ms(30_000), &who, 10, &limits));
    let found = scores.address(at_ms(30_000), &who, b"x", b"contoso.example", &limits);
    assert_eq!(found, Addressed::TooMany { wait_s: 30 });
    assert!((0..10).all(|number| user(&scores, at_ms(30_000), &who, number, &limits)));
    let again = scores.address(at_ms(30_000), &who, b"USER3", b"CONTOSO.example", &limits);
    assert_eq!(again, Addressed::Admitted, "names are compared in any case");
    assert!(user(&scores, at_ms(60_000), &who, 10, &limits), "the next window has begun");
}

#[test]
fn users_are_counted_under_the_certificate_too() {
    let scores = scores();
    let limits = Limits { users: 10, ..Limits::default() };
    let one = parties(&scores, "one.example", 1);
    assert!((0..10).all(|number| user(&scores, at_ms(0), &one, number, &limits)));
    let other = parties(&scores, "other.example", 1);
    assert!(!user(&scores, at_ms(0), &other, 10, &limits));
    assert!(user(&scores, at_ms(0), &other, 9, &limits));
}

#[test]
fn no_bound_on_users_counts_none() {
    let scores = scores();
    let who = parties(&scores, "fabrikam.example", 1);
    let limits = Limits { users: 0, ..Limits::default() };
    assert!((0..5_000).all(|number| user(&scores, at_ms(0), &who, number, &limits)));
}

fn answer(scores: &Scores, now: Now, who: &Parties<'_>, outcome: Outcome, many: usize) {
    for _ in 0..many {
        scores.answered(now, who.domain_key, who.certificate, outcome);
    }
}

#[test]
fn failures_lower_the_rate_and_time_raises_it_again() {
    let scores = scores();
    let who = parties(&scores, "fabrikam.example", 1);
    assert_eq!(pass(&scores, at_ms(0), &who, &strict()), 20);
    answer(&scores, at_ms(0), &who, Outcome::Reached, 10);
    answer(&scores, at_ms(0), &who, Outcome::Failed, 30);
    let (_, turned) = scores.charge(at_ms(10_000), &who, &strict());
    assert!(turned, "it is said once");
    assert_eq!(pass(&scores, at_ms(10_000), &who, &strict()), 0);
    assert_eq!(pass(&scores, at_ms(11_000), &who, &strict()), 1);
    assert!(!scores.charge(at_ms(11_000), &who, &strict()).1);
    let list = scores.scores(at_ms(11_000));
    assert!(list[0].suspicious && list[0].failed_percent == 75, "{:?}", list[0]);
    assert_eq!(scores.count(), (2, 2));
    // 40 answers are 20 after one half-life and 10, too few to say anything, after two.
    assert_eq!(pass(&scores, at_ms(301_000), &who, &strict()), 1);
    assert_eq!(pass(&scores, at_ms(601_000), &who, &strict()), 20);
    assert_eq!(scores.count(), (2, 0));
}

#[test]
fn only_answers_that_tell_of_guessing_count() {
    let counted: Vec<u16> =
        (100..700).filter(|status| Outcome::of_status(*status) == Some(Outcome::Failed)).collect();
    assert_eq!(counted, [403, 404, 410, 484, 604]);
    assert!(Outcome::of_status(202) == Some(Outcome::Reached));
    for neutral in [180, 302, 401, 407, 408, 480, 486, 487, 500, 503, 603] {
        assert_eq!(Outcome::of_status(neutral), None, "{neutral}");
    }
}

#[test]
fn the_table_stays_bounded_and_keeps_the_suspicious() {
    let scores = scores();
    let bad = parties(&scores, "bad.example", 1);
    scores.charge(at_ms(0), &bad, &strict());
    answer(&scores, at_ms(0), &bad, Outcome::Failed, 40);
    scores.charge(at_ms(1_000), &bad, &strict());
    for number in 0..4 * limits::SCORES {
        let name = format!("d{number}.example");
        let who = parties(&scores, &name, 1_000 + number as u64);
        scores.charge(at_ms(2_000 + number as u64), &who, &strict());
    }
    let list = scores.scores(at_ms(60_000));
    assert!(list.len() <= limits::SCORES);
    assert!(scores.evicted() > 0);
    assert_eq!(list[0].holder, Holder::Domain("bad.example".to_owned()));
    assert_eq!(list[1].holder, Holder::Certificate("sip.edge.example".to_owned()));
}

#[test]
fn shards_together_let_no_more_pass_than_one_would() {
    let scores = scores();
    let who = parties(&scores, "fabrikam.example", 1);
    assert_eq!(scores.charge(at_ms(1_000), &who, &strict()).0, Toll::Paid);
    let passed: usize = std::thread::scope(|scope| {
        let shards: Vec<_> = (0..4)
            .map(|_| {
                let scores = &scores;
                scope.spawn(move || {
                    let who = parties(scores, "fabrikam.example", 1);
                    pass(scores, at_ms(1_000), &who, &strict())
                })
            })
            .collect();
        shards.into_iter().map(|shard| shard.join().expect("it ends")).sum()
    });
    assert_eq!(passed, 19);
}

#[test]
fn a_score_is_named_after_the_entry_it_counts_for() {
    let scores = Scores::new([1, 2]);
    let key = scores.domain_key(b"hoster");
    let one = Parties { listed: true, ..parties(&scores, "hoster", 7) };
    assert_eq!(one.domain_key, key);
    let _ = scores.charge(Now::default(), &one, &Limits::default());
    let list = scores.scores(Now::default());
    assert!(list.iter().any(|score| score.holder == Holder::Entry("hoster".to_owned())));
}
