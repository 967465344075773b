//! How groups and their connections come, rest and go.

use super::group::BACK_OFF_FIRST_MS;
use super::*;
use crate::edge::access::diagnostics::FarEnd;
use crate::policy::ExpectedNames;

fn at(ms: u64) -> Now {
    Now::default().plus_ms(ms)
}

fn target(name: &str) -> TargetState {
    TargetState {
        fqdn: Domain::parse(name.as_bytes()).unwrap(),
        addresses: vec![],
        expected_names: ExpectedNames::default(),
        rest_until: Monotonic::default(),
    }
}

fn group(outlets: &mut Outlets) -> GroupId {
    let plan = GroupPlan {
        key: GroupKey::NextHop(0),
        far_end: FarEnd::Inside,
        anchors: None,
        wanted: 2,
        epoch: 1,
        answer: None,
    };
    outlets.group(&plan, || vec![target("a.example"), target("b.example")]).unwrap()
}

#[test]
fn a_group_whose_entry_is_gone_goes_with_its_last_connection_and_request() {
    let mut outlets = Outlets::default();
    let id = group(&mut outlets);
    let outlet = outlets.open(id, 0);
    let held = outlets.get_mut(id);
    held.key = None;
    held.in_flight = 2;
    held.retained_bytes = 30;
    outlets.close(outlet);
    outlets.uncharge(id, 10);
    assert_eq!((outlets.get(id).in_flight, outlets.get(id).retained_bytes), (1, 20));
    outlets.uncharge(id, 20);
    assert!(outlets.groups[0].is_none());
    assert_eq!(outlets.free_group(), Some(id), "its place is free");
}

#[test]
fn a_failed_target_rests_and_the_next_is_used() {
    let mut outlets = Outlets::default();
    let id = group(&mut outlets);
    let group = outlets.get_mut(id);
    group.target_failed(at(1), 0, TARGET_REST_MS, 0);
    assert_eq!(group.available(at(2)), Some(1));
    assert_eq!(group.available(at(2 + TARGET_REST_MS)), Some(0));
}

#[test]
fn when_all_targets_failed_the_group_backs_off_longer_each_time() {
    let mut outlets = Outlets::default();
    let id = group(&mut outlets);
    let group = outlets.get_mut(id);
    group.target_failed(at(1), 0, TARGET_REST_MS, 0);
    group.target_failed(at(1), 1, TARGET_REST_MS, 0);
    let first = group.back_off_until;
    assert_eq!(first, at(1 + BACK_OFF_FIRST_MS).monotonic);
    assert_eq!(group.available(at(1 + BACK_OFF_FIRST_MS)), Some(0));
    let later = at(1 + BACK_OFF_FIRST_MS);
    group.target_failed(later, 0, TARGET_REST_MS, 0);
    group.target_failed(later, 1, TARGET_REST_MS, 0);
    assert_eq!(group.back_off_until, later.plus_ms(2 * BACK_OFF_FIRST_MS).monotonic);
    group.succeeded();
    assert_eq!(group.back_off_until, Monotonic::default());
}

#[test]
fn the_back_off_is_shorter_by_up_to_a_quarter() {
    let mut outlets = Outlets::default();
    let id = group(&mut outlets);
    let group = outlets.get_mut(id);
    group.target_failed(at(1), 0, TARGET_REST_MS, 255);
    group.target_failed(at(1), 1, TARGET_REST_MS, 255);
    let pause = group.back_off_until.ms_since(at(1).monotonic);
    assert!((BACK_OFF_FIRST_MS * 3 / 4..BACK_OFF_FIRST_MS).contains(&pause), "{pause}");
}

#[test]
fn a_peer_that_shows_itself_is_tried_at_once_and_counts_as_there_once_it_is_open() {
    let mut outlets = Outlets::default();
    let id = group(&mut outlets);
    assert!(outlets.is_there(at(0), id), "nothing is known against it");
    let held = outlets.get_mut(id);
    held.target_failed(at(1), 0, TARGET_REST_MS, 0);
    held.target_failed(at(1), 1, TARGET_REST_MS, 0);
    assert_eq!(held.available(at(2)), None);
    outlets.shown(at(2), GroupKey::NextHop(7));
    assert_eq!(outlets.get(id).available(at(2)), None, "that was another one");
    outlets.shown(at(2), GroupKey::NextHop(0));
    assert_eq!(outlets.get(id).available(at(2)), Some(0));
    assert!(!outlets.is_there(at(2), id));
    let outlet = outlets.open(id, 0);
    outlets.outlet_mut(outlet).unwrap().state =
        OutletState::Open(LegId { index: 0, generation: 1 });
    assert!(outlets.is_there(at(2), id));
}

#[test]
fn open_outlets_are_preferred_and_one_call_stays_on_one() {
    let mut outlets = Outlets::default();
    let id = group(&mut outlets);
    assert_eq!(outlets.choose(at(0), id, 7), None);
    let first = outlets.open(id, 0);
    let second = outlets.open(id, 0);
    let leg = LegId { index: 0, generation: 1 };
    outlets.outlet_mut(second).unwrap().state = OutletState::Open(leg);
    assert_eq!(outlets.choose(at(0), id, 0), Some(second));
    assert_eq!(outlets.choose(at(0), id, 1), Some(second));
    outlets.close(second);
    assert_eq!(outlets.choose(at(0), id, 9), Some(first));
    assert!(outlets.outlet(second).is_none());
}
