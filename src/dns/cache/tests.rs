use super::super::{Domain, Target};
use super::*;

const KEY: [u64; 2] = [21, 22];

fn question(name: &str) -> Question {
    Question::Federation(Domain::parse(name.as_bytes()).unwrap())
}

fn answer(name: &str, ttl_s: u32, outcome: Result<Vec<Target>, Failure>) -> SharedAnswer {
    Arc::new(Answer { question: question(name), outcome, ttl_s })
}

fn found(name: &str, ttl_s: u32) -> SharedAnswer {
    let fqdn = Domain::parse(format!("sip.{name}").as_bytes()).unwrap();
    let target = Target {
        fqdn,
        port: 5061,
        priority: 0,
        weight: 0,
        addresses: Vec::new(),
        direct_tls: true,
    };
    answer(name, ttl_s, Ok(vec![target]))
}

fn at_s(seconds: u64) -> Now {
    Now::default().plus_ms(seconds * 1_000)
}

#[test]
fn a_question_is_asked_once_and_known_until_its_ttl_ends() {
    let mut cache = Cache::new(KEY);
    let q = question("fabrikam.example");
    assert!(matches!(cache.want(at_s(0), &q), Want::Ask));
    assert!(matches!(cache.want(at_s(0), &q), Want::Asked));
    assert_eq!(cache.pending(), 1);
    cache.put(at_s(1), &found("fabrikam.example", 60));
    assert_eq!(cache.pending(), 0);
    assert!(matches!(cache.want(at_s(60), &q), Want::Known(_)));
    assert_eq!(cache.valid_until(at_s(60), &q), at_s(61).monotonic);
    assert!(cache.look(at_s(61), &q).is_none());
    assert!(matches!(cache.want(at_s(61), &q), Want::Ask));
}

#[test]
fn a_failure_is_held_down_and_then_asked_again() {
    let mut cache = Cache::new(KEY);
    let q = question("fabrikam.example");
    for failure in [Failure::ServerFailure, Failure::Timeout, Failure::NoSuchService] {
        cache.put(at_s(0), &answer("fabrikam.example", 30, Err(failure)));
        let Want::Known(known) = cache.want(at_s(29), &q) else { panic!("not held down") };
        assert_eq!(known.outcome, Err(failure));
    }
    assert!(matches!(cache.want(at_s(30), &q), Want::Ask));
}

#[test]
fn an_answer_takes_the_place_of_a_failure() {
    let mut cache = Cache::new(KEY);
    cache.put(at_s(0), &answer("fabrikam.example", 900, Err(Failure::Timeout)));
    cache.put(at_s(1), &found("fabrikam.example", 5));
    let q = question("fabrikam.example");
    assert!(cache.look(at_s(2), &q).unwrap().outcome.is_ok());
    assert!(cache.look(at_s(6), &q).is_none());
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_question_whose_answer_was_lost_is_asked_again() {
    let mut cache = Cache::new(KEY);
    let q = question("fabrikam.example");
    assert!(matches!(cache.want(at_s(0), &q), Want::Ask));
    let later = Now::default().plus_ms(limits::DNS_PENDING_MS);
    assert!(matches!(cache.want(later, &q), Want::Ask));
    cache.withdraw(&q);
    assert!(matches!(cache.want(later, &q), Want::Ask));
}

#[test]
fn invented_names_push_no_answer_out() {
    let mut cache = Cache::with_room(KEY, 4, 8, 8);
    cache.put(at_s(0), &found("fabrikam.example", 600));
    for i in 0..1_000 {
        let name = format!("d{i}.adatum.example");
        cache.put(at_s(0), &answer(&name, 600, Err(Failure::NoSuchService)));
    }
    assert!(cache.look(at_s(1), &question("fabrikam.example")).is_some());
    assert_eq!(cache.len(), 1 + 8);
    assert!(cache.look(at_s(1), &question("d999.adatum.example")).is_some());
    assert!(cache.look(at_s(1), &question("d0.adatum.example")).is_none());
}

#[test]
fn a_full_cache_forgets_what_was_put_first() {
    let mut cache = Cache::with_room(KEY, 3, 1, 1);
    for name in ["a.example", "b.example", "c.example", "a.example", "d.example"] {
        cache.put(at_s(0), &found(name, 600));
    }
    let held = |name| cache.look(at_s(1), &question(name)).is_some();
    assert_eq!(
        [held("a.example"), held("b.example"), held("c.example"), held("d.example")],
        [false, true, true, true]
    );
}

#[test]
fn without_room_to_ask_the_answer_is_a_failure_for_a_second() {
    let mut cache = Cache::with_room(KEY, 4, 4, 2);
    assert!(matches!(cache.want(at_s(0), &question("a.example")), Want::Ask));
    assert!(matches!(cache.want(at_s(0), &question("b.example")), Want::Ask));
    let q = question("c.example");
    let Want::Known(refused) = cache.want(at_s(0), &q) else { panic!("asked without room") };
    assert_eq!(refused.outcome, Err(Failure::ServerFailure));
    // A decision made again right away finds it and does not ask in a circle.
    assert!(cache.look(at_s(0), &q).is_some());
    cache.put(at_s(0), &found("a.example", 60));
    assert!(matches!(cache.want(at_s(1), &q), Want::Ask));
}

#[test]
fn lost_questions_give_their_room_back() {
    let mut cache = Cache::with_room(KEY, 4, 4, 2);
    assert!(matches!(cache.want(at_s(0), &question("a.example")), Want::Ask));
    assert!(matches!(cache.want(at_s(0), &question("b.example")), Want::Ask));
    let later = Now::default().plus_ms(limits::DNS_PENDING_MS);
    assert!(matches!(cache.want(later, &question("c.example")), Want::Ask));
}

#[test]
fn the_line_behind_a_shelf_does_not_grow() {
    let mut cache = Cache::with_room(KEY, 4, 4, 4);
    for i in 0..10_000 {
        let name = format!("d{}.example", i % 7);
        assert!(matches!(cache.want(at_s(i), &question(&name)), Want::Ask));
        cache.put(at_s(i), &found(&name, 1));
        cache.put(at_s(i), &answer(&name, 1, Err(Failure::Timeout)));
        for shelf_line in [&cache.answers.line, &cache.failures.line, &cache.pending.line] {
            assert!(shelf_line.len() <= 9);
        }
    }
}
