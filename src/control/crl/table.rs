//! Which lists are held, which are wanted, and when each is fetched next. Pure: time and
//! randomness are arguments.
//!
//! A list in force is fetched again when half to four fifths of its time are over, and at least as
//! often as the configuration says, so that a revocation is not seen only when the old list ends.
//! One that cannot be fetched is asked for again after a pause that doubles; while the list before
//! it is in force that pause is never more than half of what is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits;
use crate::time::{Monotonic, Now};
use crate::tls::{Point, PointKey, RevocationList};

/// The points of one edge, at most [`limits::CRL_POINTS_MAX`].
#[derive(Debug)]
pub(super) struct Table {
    entries: BTreeMap<PointKey, Entry>,
    random: u64,
    /// Points that had to make room.
    gone: Vec<PointKey>,
}

#[derive(Debug)]
struct Entry {
    point: Point,
    list: Option<Arc<RevocationList>>,
    /// It was told already that the time of the list is over.
    lapsed: bool,
    /// When it is fetched; without meaning while it is.
    due: Monotonic,
    fetching: bool,
    failures: u32,
    /// When a chain last asked for it.
    used: Monotonic,
    /// Since when it is waited whether anybody uses it still.
    doubted: Option<Monotonic>,
}

/// A point that is to be fetched.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) point: Point,
    /// What is in force or was; a successor must not be older.
    pub(super) held: Option<Arc<RevocationList>>,
    /// It was never tried before.
    pub(super) first: bool,
}

/// What a new list changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There was none in force.
    First,
    /// It differs from the one before.
    Renewed,
    /// It is the one that is held.
    Same,
    /// The point was forgotten while it was fetched.
    Forgotten,
    /// It has more certificates than there is room for, even without lists that nobody uses: as
    /// good as not fetched.
    NoRoom,
}

/// What became of points that no chain has asked for in long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unused {
    /// They are forgotten unless somebody asks: let every open leg ask.
    pub(super) doubted: Vec<PointKey>,
    pub(super) forgotten: Vec<PointKey>,
}

/// How many points are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::control) struct Totals {
    pub(in crate::control) in_force: u64,
    pub(in crate::control) lapsed: u64,
    pub(in crate::control) missing: u64,
    /// Certificates on all lists.
    pub(in crate::control) revoked: u64,
    /// The earliest nextUpdate of a list in force; 0 without one.
    pub(in crate::control) next_update_unix_s: u64,
}

impl Table {
    /// `seed` spreads the fetches of one edge against those of others.
    pub(super) const fn new(seed: u64) -> Self {
        Self { entries: BTreeMap::new(), random: seed, gone: Vec::new() }
    }

    /// Takes a point in; returns whether there was room.
    ///
    /// In a full table the point that was useless for longest makes room, or else the list that
    /// nobody has used for longest ([`limits::CRL_UNUSED_MS`] at least).
    pub(super) fn report(&mut self, now: Now, point: Point) -> bool {
        if let Some(entry) = self.entries.get_mut(&point.key()) {
            entry.used = now.monotonic;
            return true;
        }
        let full = self.entries.len() >= limits::CRL_POINTS_MAX;
        if full && !self.drop_useless() && !self.drop_unused(now) {
            return false;
        }
        let entry = Entry {
            list: None,
            lapsed: false,
            due: now.monotonic,
            fetching: false,
            failures: 0,
            used: now.monotonic,
            doubted: None,
            point,
        };
        self.entries.insert(entry.point.key(), entry);
        true
    }

    fn drop_useless(&mut self) -> bool {
        let useless = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.list.is_none() && entry.failures > 0 && !entry.fetching)
            .min_by_key(|(_, entry)| entry.used)
            .map(|(key, _)| *key);
        useless.is_some_and(|key| self.drop_one(key))
    }

    fn drop_unused(&mut self, now: Now) -> bool {
        self.note_used(now);
        let unused = |entry: &Entry| now.monotonic.ms_since(entry.used) >= limits::CRL_UNUSED_MS;
        let longest = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.list.is_some() && unused(entry) && !entry.fetching)
            .min_by_key(|(_, entry)| entry.used)
            .map(|(key, _)| *key);
        longest.is_some_and(|key| self.drop_one(key))
    }

    fn drop_one(&mut self, key: PointKey) -> bool {
        self.gone.push(key);
        self.entries.remove(&key).is_some()
    }

    /// Returns the points that have made room since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<PointKey> {
        std::mem::take(&mut self.gone)
    }

    /// Notes which lists chains were judged by since the last look.
    fn note_used(&mut self, now: Now) {
        for entry in self.entries.values_mut() {
            if entry.list.as_ref().is_some_and(|list| list.take_used()) {
                entry.used = now.monotonic;
            }
        }
    }

    /// Takes the point that is longest due; it counts as being fetched from now on.
    pub(super) fn take_due(&mut self, now: Now) -> Option<Job> {
        let due = |entry: &&mut Entry| !entry.fetching && entry.due <= now.monotonic;
        let entry = self.entries.values_mut().filter(due).min_by_key(|entry| entry.due)?;
        entry.fetching = true;
        Some(Job {
            point: entry.point.clone(),
            held: entry.list.clone(),
            first: entry.failures == 0 && entry.list.is_none(),
        })
    }

    /// Makes room for `wanted` certificates on the list of `key`; returns whether there is.
    fn make_room(&mut self, now: Now, key: PointKey, wanted: usize) -> bool {
        // Bound: each pass drops an entry.
        loop {
            let others = self.entries.iter().filter(|(other, _)| **other != key);
            let lists = others.filter_map(|(_, entry)| entry.list.as_ref());
            let held: usize = lists.map(|list| list.len()).sum();
            if held + wanted <= limits::CRL_REVOKED_MAX {
                return true;
            }
            if !self.drop_unused(now) {
                return false;
            }
        }
    }

    /// Takes a list that was fetched; `refresh_ms` is the longest time until the next fetch.
    ///
    /// Whatever was fetched meanwhile, all lists together hold [`limits::CRL_REVOKED_MAX`] at most.
    pub(super) fn fetched(
        &mut self,
        now: Now,
        key: PointKey,
        list: RevocationList,
        refresh_ms: u64,
    ) -> Change {
        let left_ms = list.next_update_unix_s().saturating_sub(now.unix_s).saturating_mul(1_000);
        let of_list = self.between(left_ms / 2, left_ms / 5 * 4);
        let of_configuration = self.between(refresh_ms / 4 * 3, refresh_ms);
        if !self.entries.contains_key(&key) {
            return Change::Forgotten;
        }
        if !self.make_room(now, key, list.len()) {
            return Change::NoRoom;
        }
        let Some(entry) = self.entries.get_mut(&key) else { return Change::Forgotten };
        let pause_ms = of_list.min(of_configuration).max(limits::CRL_REFRESH_MS_MIN);
        entry.due = now.monotonic.plus_ms(pause_ms);
        entry.fetching = false;
        entry.failures = 0;
        let change = match &entry.list {
            Some(held) if held.is_same(&list) => return Change::Same,
            Some(_) if !entry.lapsed => Change::Renewed,
            _ => Change::First,
        };
        entry.lapsed = false;
        entry.list = Some(Arc::new(list));
        change
    }

    /// Notes that a point could not be fetched.
    pub(super) fn failed(&mut self, now: Now, key: PointKey) {
        let random = self.next_random();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.fetching = false;
        let doubled = limits::CRL_RETRY_MS_MIN << entry.failures.min(16);
        let mut pause_ms = doubled.min(limits::CRL_RETRY_MS_MAX);
        if let Some(list) = entry.list.as_ref().filter(|_| !entry.lapsed) {
            let left_ms = list.next_update_unix_s().saturating_sub(now.unix_s) * 1_000;
            pause_ms = pause_ms.min((left_ms / 2).max(limits::CRL_REFRESH_MS_MIN));
        }
        // Spread by a quarter: whatever failed may have failed for every edge at once.
        let pause_ms = pause_ms - pause_ms / 4 + random % (pause_ms / 4 + 1);
        entry.failures = entry.failures.saturating_add(1);
        entry.due = now.monotonic.plus_ms(pause_ms);
    }

    /// Notes lists whose time is over; returns their points.
    ///
    /// They stay: what they revoked stays revoked.
    pub(super) fn lapse(&mut self, now: Now) -> Vec<Point> {
        let mut lapsed = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| !entry.lapsed) {
            let over = |list: &Arc<RevocationList>| list.next_update_unix_s() <= now.unix_s;
            if entry.list.as_ref().is_some_and(over) {
                entry.lapsed = true;
                lapsed.push(entry.point.clone());
            }
        }
        lapsed
    }

    /// Doubts points that no chain has asked for in [`limits::CRL_FORGET_MS`], and forgets those
    /// that nobody asked for although every open leg was judged again
    /// [`limits::CRL_UNUSED_MS`] ago: a leg that stays open while its list stays the same never
    /// asks by itself.
    pub(super) fn forget_unused(&mut self, now: Now) -> Unused {
        self.note_used(now);
        let mut unused = Unused::default();
        self.entries.retain(|key, entry| {
            if now.monotonic.ms_since(entry.used) < limits::CRL_FORGET_MS || entry.fetching {
                entry.doubted = None;
                return true;
            }
            let Some(since) = entry.doubted else {
                entry.doubted = Some(now.monotonic);
                unused.doubted.push(*key);
                return true;
            };
            let keep = now.monotonic.ms_since(since) < limits::CRL_UNUSED_MS;
            if !keep {
                unused.forgotten.push(*key);
            }
            keep
        });
        unused
    }

    /// Returns when [`Self::take_due`] has something to do.
    pub(super) fn next_due(&self) -> Option<Monotonic> {
        self.entries.values().filter(|entry| !entry.fetching).map(|entry| entry.due).min()
    }

    /// Returns when [`Self::lapse`] has something to do.
    pub(super) fn next_lapse(&self, now: Now) -> Option<Monotonic> {
        let lapses = self.entries.values().filter(|entry| !entry.lapsed).filter_map(|entry| {
            let left_s = entry.list.as_ref()?.next_update_unix_s().saturating_sub(now.unix_s);
            Some(now.monotonic.plus_ms(left_s.saturating_mul(1_000)))
        });
        lapses.min()
    }

    /// Returns every list, those whose time is over included.
    pub(super) fn lists(&self) -> Vec<Arc<RevocationList>> {
        self.entries.values().filter_map(|entry| entry.list.clone()).collect()
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for entry in self.entries.values() {
            let Some(list) = &entry.list else {
                totals.missing += 1;
                continue;
            };
            totals.revoked += list.len() as u64;
            if entry.lapsed {
                totals.lapsed += 1;
                continue;
            }
            totals.in_force += 1;
            let next = list.next_update_unix_s();
            let earliest = totals.next_update_unix_s;
            totals.next_update_unix_s = if earliest == 0 { next } else { earliest.min(next) };
        }
        totals
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next_random() % (to.saturating_sub(from) + 1)
    }

    /// SplitMix64.
    const fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests;
