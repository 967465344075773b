use super::super::fixture::{Authority, NOW_UNIX_S};
use super::*;

const REFRESH_MS: u64 = 14_400_000;

fn at(ms: u64) -> Now {
    Now { monotonic: Monotonic(1_000_000_000), unix_s: NOW_UNIX_S }.plus_ms(ms)
}

/// An authority, its point, and a table that has heard of it.
fn one() -> (Authority, Point, Table) {
    let authority = Authority::new();
    let point = authority.point("http://crl.example/1");
    let mut table = Table::new(7);
    assert!(table.report(at(0), point.clone()));
    (authority, point, table)
}

/// How long after `now` the table has something to do.
fn pause_ms(table: &Table, now: Now) -> u64 {
    let moments = [table.next_due(), table.next_lapse(now)];
    moments.into_iter().flatten().min().unwrap().ms_since(now.monotonic)
}

#[test]
fn a_new_point_is_due_at_once_and_fetched_once_however_often_it_is_reported() {
    let (_, point, mut table) = one();
    table.report(at(1), point.clone());
    let job = table.take_due(at(1)).unwrap();
    assert!(job.first && job.held.is_none());
    assert_eq!(job.point.key(), point.key());
    table.report(at(2), point);
    assert!(table.take_due(at(1_000_000)).is_none(), "it is being fetched");
    assert_eq!(table.totals(), Totals { missing: 1, ..Totals::default() });
}

#[test]
fn a_list_is_fetched_again_when_half_to_four_fifths_of_its_time_are_over() {
    let (authority, point, mut table) = one();
    for round in 0..20 {
        table.take_due(at(round)).unwrap();
        let list = authority.read(&point, &[], NOW_UNIX_S + 100);
        table.fetched(at(round), point.key(), list, REFRESH_MS);
        let pause = pause_ms(&table, at(round));
        assert!((50_000..=80_000).contains(&pause), "{pause}");
        table.entries.get_mut(&point.key()).unwrap().due = at(round).monotonic;
    }
}

#[test]
fn a_list_of_a_year_is_fetched_again_as_often_as_the_configuration_says() {
    let (authority, point, mut table) = one();
    table.take_due(at(0)).unwrap();
    let list = authority.read(&point, &[], NOW_UNIX_S + 31_536_000);
    assert_eq!(table.fetched(at(0), point.key(), list, REFRESH_MS), Change::First);
    let pause = pause_ms(&table, at(0));
    assert!((REFRESH_MS / 4 * 3..=REFRESH_MS).contains(&pause), "{pause}");
}

#[test]
fn a_list_that_ends_at_once_is_not_fetched_in_a_tight_loop() {
    let (authority, point, mut table) = one();
    table.take_due(at(0)).unwrap();
    let list = authority.read(&point, &[], NOW_UNIX_S + 1);
    table.fetched(at(0), point.key(), list, REFRESH_MS);
    assert_eq!(pause_ms(&table, at(0)), limits::CRL_REFRESH_MS_MIN);
}

#[test]
fn only_what_differs_counts_as_a_change() {
    let (authority, point, mut table) = one();
    let bytes = authority.list(&[1], NOW_UNIX_S - 60, NOW_UNIX_S + 100);
    let read = |bytes: &[u8]| {
        let algorithms = crate::tls::algorithms();
        RevocationList::read(bytes, &point, &algorithms, NOW_UNIX_S, 9).unwrap()
    };
    let mut fetch = |list| table.fetched(at(0), point.key(), list, REFRESH_MS);
    assert_eq!(fetch(read(&bytes)), Change::First);
    assert_eq!(fetch(read(&bytes)), Change::Same);
    assert_eq!(fetch(authority.read(&point, &[1, 2], NOW_UNIX_S + 100)), Change::Renewed);
    assert_eq!(table.lists()[0].len(), 2);
    let totals = table.totals();
    assert_eq!((totals.in_force, totals.revoked), (1, 2));
    assert_eq!(totals.next_update_unix_s, NOW_UNIX_S + 100);
}

#[test]
fn the_pause_after_a_failure_doubles_up_to_its_bound() {
    let (_, point, mut table) = one();
    let mut bound = limits::CRL_RETRY_MS_MIN;
    let mut now = at(0);
    for _ in 0..30 {
        table.take_due(now).unwrap();
        table.failed(now, point.key());
        let pause = pause_ms(&table, now);
        assert!((bound - bound / 4..=bound).contains(&pause), "{pause} of {bound}");
        bound = (bound * 2).min(limits::CRL_RETRY_MS_MAX);
        now = now.plus_ms(pause);
    }
}

#[test]
fn a_list_that_ends_soon_is_asked_for_more_urgently() {
    let (authority, point, mut table) = one();
    let list = authority.read(&point, &[], NOW_UNIX_S + 10);
    table.fetched(at(0), point.key(), list, REFRESH_MS);
    for _ in 0..6 {
        table.failed(at(6_000), point.key());
    }
    let pause = pause_ms(&table, at(6_000));
    assert!(pause <= 2_000, "{pause} of the 4 s that are left");
}

#[test]
fn the_end_of_a_list_is_told_once_and_what_it_revoked_stays() {
    let (authority, point, mut table) = one();
    let list = authority.read(&point, &[66], NOW_UNIX_S + 10);
    table.fetched(at(0), point.key(), list, REFRESH_MS);
    table.failed(at(9_000), point.key());
    assert_eq!(table.lapse(at(9_000)), []);
    assert_eq!(table.lapse(at(10_000)), std::slice::from_ref(&point));
    assert_eq!(table.lapse(at(11_000)), []);
    assert_eq!(table.lists().len(), 1);
    assert_eq!(table.totals(), Totals { lapsed: 1, revoked: 1, ..Totals::default() });
    let next = authority.read(&point, &[66], NOW_UNIX_S + 100);
    assert_eq!(table.fetched(at(12_000), point.key(), next, REFRESH_MS), Change::First);
    assert_eq!(table.totals().in_force, 1);
}

#[test]
fn a_list_that_nobody_uses_is_forgotten_and_one_in_use_is_not() {
    let (authority, point, mut table) = one();
    table.fetched(at(0), point.key(), authority.read(&point, &[], u64::MAX >> 32), REFRESH_MS);
    let later = at(limits::CRL_FORGET_MS - 1);
    let nothing = Unused::default();
    assert_eq!(table.forget_unused(later), nothing);
    table.lists()[0].use_it();
    assert_eq!(table.forget_unused(at(limits::CRL_FORGET_MS)), nothing, "it was used since");
    let much_later = at(2 * limits::CRL_FORGET_MS + limits::CRL_UNUSED_MS);
    table.forget_unused(at(2 * limits::CRL_FORGET_MS));
    let unused = table.forget_unused(much_later);
    assert_eq!(unused, Unused { forgotten: vec![point.key()], ..nothing });
    assert_eq!(table.lists().len(), 0);
    let late = authority.read(&point, &[], NOW_UNIX_S + 100);
    assert_eq!(table.fetched(much_later, point.key(), late, REFRESH_MS), Change::Forgotten);
}

#[test]
fn in_a_full_table_what_never_came_makes_room_first() {
    let authority = Authority::new();
    let point = |n: usize| authority.point(&format!("http://crl.example/{n}"));
    let mut table = Table::new(7);
    let first = point(0);
    assert!((0..limits::CRL_POINTS_MAX).all(|n| table.report(at(n as u64), point(n))));
    let more = point(limits::CRL_POINTS_MAX);
    assert!(!table.report(at(5_000), more.clone()), "all of them may come yet");
    let list = authority.read(&first, &[], NOW_UNIX_S + 100);
    table.fetched(at(5_000), first.key(), list, REFRESH_MS);
    table.failed(at(5_000), point(1).key());
    assert!(table.report(at(5_001), more.clone()));
    assert!(table.entries.contains_key(&first.key()) && table.entries.contains_key(&more.key()));
    assert!(!table.entries.contains_key(&point(1).key()));
    assert_eq!(table.entries.len(), limits::CRL_POINTS_MAX);
}

/// Symptom: a `hard` partner whose connection was open for a week was refused. Cause: only
/// judgements tell that a list is used, and an open leg is not judged while nothing changes.
#[test]
fn before_a_list_is_forgotten_whoever_uses_it_is_asked() {
    let (authority, point, mut table) = one();
    table.fetched(at(0), point.key(), authority.read(&point, &[], u64::MAX >> 32), REFRESH_MS);
    let week = limits::CRL_FORGET_MS;
    let doubted = Unused { doubted: vec![point.key()], ..Unused::default() };
    assert_eq!(table.forget_unused(at(week)), doubted);
    assert_eq!(table.forget_unused(at(week + 1)), Unused::default(), "they have an hour");
    table.lists()[0].use_it();
    let hour = limits::CRL_UNUSED_MS;
    assert_eq!(table.forget_unused(at(week + hour)), Unused::default());
    assert_eq!(table.lists().len(), 1);
    assert_eq!(table.forget_unused(at(2 * week + hour)), doubted, "and again a week later");
}

/// Symptom: once 1,024 lists were held, no other partner's list was fetched for a week. Cause: what
/// has a list never made room.
#[test]
fn in_a_table_full_of_lists_the_one_unused_for_longest_makes_room() {
    let authority = Authority::new();
    let point = |n: usize| authority.point(&format!("http://crl.example/{n}"));
    let mut table = Table::new(7);
    for n in 0..limits::CRL_POINTS_MAX {
        let point = point(n);
        assert!(table.report(at(n as u64), point.clone()));
        let list = authority.read(&point, &[], u64::MAX >> 32);
        table.fetched(at(n as u64), point.key(), list, REFRESH_MS);
    }
    let more = point(limits::CRL_POINTS_MAX);
    assert!(!table.report(at(5_000), more.clone()), "all of them were asked for lately");
    let (oldest, next) = (point(0).key(), point(1).key());
    let of_oldest = table.entries[&oldest].list.clone().unwrap();
    of_oldest.use_it();
    assert!(table.report(at(5_000 + limits::CRL_UNUSED_MS), more));
    assert_eq!(table.take_gone(), [next], "the oldest is in use");
    assert_eq!(table.take_gone(), []);
    assert_eq!(table.entries.len(), limits::CRL_POINTS_MAX);
}

/// Symptom: four lists fetched at once could hold four times what all lists may. Cause: each was
/// given the whole room.
#[test]
fn all_lists_together_never_hold_more_than_they_may() {
    let authority = Authority::new();
    let point = |n: usize| authority.point(&format!("http://crl.example/{n}"));
    let (one, two) = (point(1), point(2));
    let mut table = Table::new(7);
    for point in [&one, &two] {
        table.report(at(0), point.clone());
        table.take_due(at(0)).unwrap();
    }
    let long = |point: &Point| {
        let half = limits::CRL_REVOKED_MAX / 2 + 1;
        RevocationList::with_marks(&authority.read(point, &[], u64::MAX >> 32), half)
    };
    assert_eq!(table.fetched(at(1), one.key(), long(&one), REFRESH_MS), Change::First);
    assert_eq!(table.fetched(at(2), two.key(), long(&two), REFRESH_MS), Change::NoRoom);
    assert_eq!(table.totals().in_force, 1);
    table.failed(at(2), two.key());
    assert_eq!(table.fetched(at(3), one.key(), long(&one), REFRESH_MS), Change::Same, "its own");
    let later = at(limits::CRL_UNUSED_MS + 3);
    assert_eq!(table.fetched(later, two.key(), long(&two), REFRESH_MS), Change::First);
    assert_eq!(table.take_gone(), [one.key()], "nobody had used it for an hour");
}
