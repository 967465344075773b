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
    table.next_deadline(now).unwrap().ms_since(now.monotonic)
}

#[test]
fn a_new_point_is_due_at_once_and_fetched_once_however_often_it_is_reported() {
    let (_, point, mut table) = one();
    table.report(at(1), point.clone());
    let job = table.take_due(at(1)).unwrap();
    assert!(job.first && job.held.is_none());
    assert_eq!((job.point.key(), job.room), (point.key(), limits::CRL_REVOKED_MAX));
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
    assert_eq!(table.take_due(at(90_000)).unwrap().room, limits::CRL_REVOKED_MAX, "its own too");
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
    assert_eq!(table.forget_unused(later), []);
    table.lists()[0].use_it();
    assert_eq!(table.forget_unused(at(limits::CRL_FORGET_MS)), [], "it was used since");
    let much_later = at(2 * limits::CRL_FORGET_MS);
    assert_eq!(table.forget_unused(much_later), [point.key()]);
    assert_eq!(table.lists().len(), 0);
    let late = authority.read(&point, &[], NOW_UNIX_S + 100);
    assert_eq!(table.fetched(much_later, point.key(), late, REFRESH_MS), Change::Forgotten);
}

#[test]
fn in_a_full_table_only_what_never_came_makes_room() {
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
