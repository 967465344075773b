use std::collections::BTreeSet;

use super::*;
use crate::edge::gateway::authorisation::Direction;

fn one(ours: &str, direction: Direction, standing: Standing) -> Authorisation {
    let theirs = "john@fabrikam.example".to_owned();
    Authorisation { ours: ours.to_owned(), theirs, direction, standing, version: 5 }
}

fn forget(one: &Authorisation) -> Change {
    let Authorisation { ours, theirs, direction, .. } = one.clone();
    Change::Forget { ours, theirs, direction }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn many(count: usize) -> Vec<Change> {
    let each = (0..count).map(|n| {
        Change::Remember(one(&format!("u{n}@c.example"), Direction::Inward, Standing::Granted))
    });
    each.collect()
}

#[test]
fn what_was_remembered_is_there_after_the_next_start() {
    let folder = folder();
    let file = folder.path().join("store");
    let (store, held) = Store::open(&file, 1).expect("a new store");
    assert_eq!(held, []);
    let kim = one("kim@c.example", Direction::Outward, Standing::Asked);
    let ann = one("ann@c.example", Direction::Inward, Standing::Granted);
    let remember = |one: &Authorisation| Change::Remember(one.clone());
    store.apply(&[remember(&kim), remember(&ann)]).expect("written");
    let granted = Authorisation { standing: Standing::Granted, ..kim };
    store.apply(&[remember(&granted), forget(&ann), forget(&ann)]).expect("written");
    drop(store);
    let (_, held) = Store::open(&file, 2).expect("the store");
    assert_eq!(held, [granted]);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_good_start_keeps_a_backup_that_opens() {
    let folder = folder();
    let file = folder.path().join("store");
    let (store, _) = Store::open(&file, 1).expect("a new store");
    store.apply(&many(100)).expect("written");
    drop(store);
    drop(Store::open(&file, 2).expect("the store"));
    let (_, held) = Store::open(&backup_of(&file), 3).expect("the backup");
    assert_eq!(held.len(), 100);
}

#[test]
fn only_one_process_has_the_store() {
    let folder = folder();
    let file = folder.path().join("store");
    let (_store, _) = Store::open(&file, 1).expect("a new store");
    let fault = Store::open(&file, 2).expect_err("in use");
    assert!(matches!(fault, StoreFault::InUse(_)), "{fault}");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = folder();
    let file = folder.path().join("store");
    for text in [&b"x"[..], &[b'x'; 100_000], &[0; 100_000]] {
        fs::write(&file, text).expect("written");
        let fault = Store::open(&file, 7).expect_err("no store");
        let StoreFault::Damaged { copy, .. } = &fault else { panic!("{fault}") };
        assert_eq!(fs::read(copy).expect("a copy"), text);
        assert_eq!(fs::read(&file).expect("the file"), text, "it is where it was");
        let said = fault.to_string();
        assert!(said.contains("is damaged") && said.contains(".backup"), "{said}");
        fs::remove_file(&file).expect("removed");
    }
}

#[test]
fn a_file_cut_short_is_refused() {
    let folder = folder();
    let file = folder.path().join("store");
    let (store, _) = Store::open(&file, 1).expect("a new store");
    store.apply(&many(2_000)).expect("written");
    drop(store);
    let whole = fs::read(&file).expect("the file");
    for keep in [9, 100, 4_096, 10_000, whole.len() / 2, whole.len() - 5_000] {
        let file = folder.path().join(keep.to_string());
        fs::write(&file, &whole[..keep]).expect("written");
        let fault = Store::open(&file, 7).map(|(_, held)| held.len()).expect_err("damaged");
        assert!(matches!(fault, StoreFault::Damaged { .. }), "{keep}: {fault}");
        assert_eq!(fs::read(&file).expect("the file").len(), keep, "it is left alone");
    }
}

#[test]
fn a_bit_that_flipped_is_found_or_does_not_matter() {
    let folder = folder();
    let file = folder.path().join("store");
    let (store, _) = Store::open(&file, 1).expect("a new store");
    store.apply(&many(2_000)).expect("written");
    drop(store);
    let whole = fs::read(&file).expect("the file");
    let right: BTreeSet<String> = (0..2_000).map(|n| format!("u{n}@c.example")).collect();
    let (mut refused, mut harmless, mut panics) = (0, 0, Vec::new());
    // All of the header, and then with a stride that falls on every part of a page.
    let stride = (64..whole.len()).step_by(whole.len() / 40 + 13);
    for at in (0..64).chain(stride) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let file = folder.path().join(at.to_string());
        fs::write(&file, &bytes).expect("written");
        let opened = std::panic::catch_unwind(|| Store::open(&file, 7).map(|(_, held)| held));
        match opened {
            Ok(Err(StoreFault::Damaged { .. } | StoreFault::Version { .. })) => refused += 1,
            Ok(Ok(held)) => {
                let held: BTreeSet<String> = held.into_iter().map(|one| one.ours).collect();
                assert!(held == right || held.is_empty(), "{at}: {} are left", held.len());
                harmless += 1;
            }
            Ok(Err(other)) => panic!("{at}: {other}"),
            Err(_) => panics.push(at),
        }
    }
    assert!(panics.is_empty(), "the database panics on a bit of {panics:?}");
    assert!(refused > 20, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_later_layout_is_left_alone() {
    let folder = folder();
    let file = folder.path().join("store");
    let (store, _) = Store::open(&file, 1).expect("a new store");
    let write = store.database.begin_write().expect("a transaction");
    write.open_table(ABOUT).expect("a table").insert("version", 3).expect("written");
    write.commit().expect("committed");
    drop(store);
    let fault = Store::open(&file, 2).expect_err("another layout");
    assert!(matches!(fault, StoreFault::Version { found: 3, .. }), "{fault}");
}

#[test]
fn a_store_of_the_first_layout_is_brought_up() {
    let folder = folder();
    let file = folder.path().join("store");
    let (store, _) = Store::open(&file, 1).expect("a new store");
    let write = store.database.begin_write().expect("a transaction");
    write.delete_table(GRANTS).expect("deleted");
    let key = "i ann@c.example john@fabrikam.example";
    write.open_table(GRANTS_1).expect("a table").insert(key, 2).expect("written");
    write.open_table(ABOUT).expect("a table").insert("version", 1).expect("written");
    write.commit().expect("committed");
    drop(store);
    let ann = one("ann@c.example", Direction::Inward, Standing::Granted);
    let ann = Authorisation { version: 0, ..ann };
    for _ in 0..2 {
        let (_, held) = Store::open(&file, 2).expect("the store");
        assert_eq!(held, std::slice::from_ref(&ann));
    }
}

#[test]
fn what_was_taken_back_is_kept_for_a_while() {
    let folder = folder();
    let file = folder.path().join("store");
    let (store, _) = Store::open(&file, 1).expect("a new store");
    let back = one("ann@c.example", Direction::Inward, Standing::None);
    let back = Authorisation { version: 100 << 20, ..back };
    let kim = one("kim@c.example", Direction::Inward, Standing::Granted);
    let both = [back.clone(), kim.clone()].map(Change::Remember);
    store.apply(&both).expect("written");
    drop(store);
    let (_, held) = Store::open(&file, 100 + limits::GATEWAY_GRAVE_S).expect("the store");
    assert_eq!(held, [back, kim.clone()]);
    for _ in 0..2 {
        let (_, held) = Store::open(&file, 101 + limits::GATEWAY_GRAVE_S).expect("the store");
        assert_eq!(held, std::slice::from_ref(&kim));
    }
}

#[test]
fn the_keeper_has_written_everything_when_it_ends() {
    let folder = folder();
    let file = folder.path().join("store");
    let (store, _) = Store::open(&file, 1).expect("a new store");
    let keeper = Keeper::start(store).expect("a thread");
    let mut changes = many(5_000);
    keeper.take(&mut changes);
    assert!(changes.is_empty());
    let failed = keeper.failed();
    drop(keeper);
    let (_, held) = Store::open(&file, 2).expect("the store");
    assert_eq!((held.len(), failed), (5_000, 0));
}
