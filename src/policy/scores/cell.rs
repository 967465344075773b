//! One name's score.

use super::users::Users;
use super::{Addressed, Arc, ArcSwapOption, AtomicU32, AtomicU64, Holder, Limits, Ordering};
use super::{Outcome, Toll};
use crate::time::Now;

const NANOSECONDS_PER_MS: u64 = 1_000_000;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// How often a value that another shard changed meanwhile is read again. Every failure is another
/// shard's success, so more would mean more shards than there can be messages of one partner.
const TRIES_MAX: usize = 64;

/// What one name's messages have added up to. Times are of the process, in its own units.
#[derive(Debug, Default)]
pub(super) struct Cell {
    holder: ArcSwapOption<Holder>,
    first_s: AtomicU32,
    seen_s: AtomicU32,
    /// The moment at which the bucket would be full again: the cell rate algorithm of ITU-T I.371.
    full_at_ns: AtomicU64,
    /// [`Ratio`], packed.
    ratio: AtomicU64,
    half_life_s: AtomicU32,
    /// 1 while the last message was judged suspicious.
    suspicious: AtomicU32,
    suspicions: AtomicU32,
    messages: AtomicU64,
    held: AtomicU64,
    refused: AtomicU64,
    answers: AtomicU64,
    failures: AtomicU64,
    users: ArcSwapOption<Users>,
    users_blocked: AtomicU64,
}

/// What is known of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// Whose.
    pub holder: Holder,
    /// Whether it is limited to the suspicious rate.
    pub suspicious: bool,
    /// How often it turned suspicious.
    pub suspicions: u32,
    /// Seconds since its first message.
    pub known_s: u32,
    /// Seconds since its last message.
    pub silent_s: u32,
    /// Share of its requests that fail, with older ones counting less.
    pub failed_percent: u8,
    /// Messages that were let pass, at once or after a while.
    pub messages: u64,
    /// Messages that were held.
    pub held: u64,
    /// Messages refused because they came too fast.
    pub refused: u64,
    /// Requests that were answered, and how many of them failed.
    pub answers: u64,
    /// See `answers`.
    pub failures: u64,
    /// Distinct local users addressed in the window.
    pub users: u32,
    /// Messages refused because they went to one user too many.
    pub users_blocked: u64,
}

fn now_s(now: Now) -> u32 {
    u32::try_from(now.monotonic.0 / NANOSECONDS_PER_SECOND).unwrap_or(u32::MAX)
}

fn interval_ns(per_second: u32) -> u64 {
    NANOSECONDS_PER_SECOND / u64::from(per_second.max(1))
}

impl Cell {
    /// Starts afresh for somebody.
    pub(super) fn begin(&self, now: Now, holder: Holder) {
        let now_s = now_s(now);
        for (cell, value) in [
            (&self.first_s, now_s),
            (&self.seen_s, now_s),
            (&self.suspicious, 0),
            (&self.suspicions, 0),
        ] {
            cell.store(value, Ordering::Relaxed);
        }
        for cell in [
            &self.full_at_ns,
            &self.ratio,
            &self.messages,
            &self.held,
            &self.refused,
            &self.answers,
            &self.failures,
            &self.users_blocked,
        ] {
            cell.store(0, Ordering::Relaxed);
        }
        self.users.store(None);
        self.holder.store(Some(Arc::new(holder)));
    }

    pub(super) fn is_suspicious(&self) -> bool {
        self.suspicious.load(Ordering::Relaxed) != 0
    }

    pub(super) fn silent_s(&self, now: Now) -> u32 {
        now_s(now).saturating_sub(self.seen_s.load(Ordering::Relaxed))
    }

    /// Looks at the ratio of failures; returns whether the holder has turned suspicious by it.
    pub(super) fn judge(&self, now: Now, limits: &Limits) -> bool {
        self.seen_s.store(now_s(now), Ordering::Relaxed);
        self.half_life_s.store(limits.half_life_s, Ordering::Relaxed);
        let ratio = Ratio::unpack(self.ratio.load(Ordering::Relaxed)).at(now, limits.half_life_s);
        let suspicious = ratio.is_suspicious(limits);
        let before = self.suspicious.swap(u32::from(suspicious), Ordering::Relaxed);
        let turned = suspicious && before == 0;
        if turned {
            self.suspicions.fetch_add(1, Ordering::Relaxed);
        }
        turned
    }

    fn rate(&self, limits: &Limits) -> (u64, u64) {
        if self.is_suspicious() {
            return (interval_ns(limits.suspicious_per_s), 0);
        }
        let interval = interval_ns(limits.messages_per_s);
        (interval, interval * u64::from(limits.messages_per_s.max(1) - 1))
    }

    /// Takes one message out of the second, or out of the seconds that a message may be held.
    pub(super) fn reserve(&self, now: Now, limits: &Limits) -> Toll {
        let (interval_ns, tolerance_ns) = self.rate(limits);
        let hold_ns = u64::from(limits.hold_ms) * NANOSECONDS_PER_MS;
        let now_ns = now.monotonic.0;
        let mut full_at = self.full_at_ns.load(Ordering::Relaxed);
        for _ in 0..TRIES_MAX {
            let ahead = full_at.saturating_sub(now_ns);
            let early = ahead.saturating_sub(tolerance_ns);
            let wait_ms = early.div_ceil(NANOSECONDS_PER_MS);
            if early > hold_ns {
                return Toll::TooFast { wait_ms };
            }
            let next = now_ns.saturating_add(ahead).saturating_add(interval_ns);
            match self.full_at_ns.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) if early == 0 => {
                    self.messages.fetch_add(1, Ordering::Relaxed);
                    return Toll::Paid;
                }
                Ok(_) => {
                    self.messages.fetch_add(1, Ordering::Relaxed);
                    return Toll::Hold { wait_ms };
                }
                Err(other) => full_at = other,
            }
        }
        Toll::TooFast { wait_ms: interval_ns.div_ceil(NANOSECONDS_PER_MS) }
    }

    /// Undoes a reservation, because the other name had none left.
    pub(super) fn give_back(&self, now: Now, limits: &Limits) {
        let (interval_ns, _) = self.rate(limits);
        let undo = |full_at: u64| {
            // A bucket that is full again has nothing of it left to undo.
            let ahead = full_at.saturating_sub(now.monotonic.0);
            Some(full_at - interval_ns.min(ahead))
        };
        let _ = self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, undo);
        // The cell may have begun anew for another name meanwhile.
        let less = |messages: u64| messages.checked_sub(1);
        let _ = self.messages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn held(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a user, unless it is one too many.
    pub(super) fn address(&self, now: Now, hash: u64, limits: &Limits) -> Addressed {
        let window = now_s(now) / limits.users_window_s.max(1);
        let users = match self.users.load_full() {
            Some(users) if users.window == window => users,
            other => {
                let fresh = Some(Arc::new(Users::new(window, limits.users)));
                // Whichever shard is first, its set is the one that counts.
                self.users.compare_and_swap(&other, fresh);
                match self.users.load_full() {
                    Some(users) => users,
                    None => return Addressed::Admitted,
                }
            }
        };
        if users.admit(hash, limits.users) {
            return Addressed::Admitted;
        }
        self.users_blocked.fetch_add(1, Ordering::Relaxed);
        let end_s = u64::from(window + 1) * u64::from(limits.users_window_s);
        Addressed::TooMany { wait_s: end_s.saturating_sub(u64::from(now_s(now))).max(1) }
    }

    pub(super) fn answered(&self, now: Now, outcome: Outcome) {
        let failed = outcome == Outcome::Failed;
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(failed), Ordering::Relaxed);
        let half_life_s = self.half_life_s.load(Ordering::Relaxed);
        let mut packed = self.ratio.load(Ordering::Relaxed);
        for _ in 0..TRIES_MAX {
            let ratio = Ratio::unpack(packed).at(now, half_life_s).plus(failed);
            match self.ratio.compare_exchange_weak(
                packed,
                ratio.pack(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(other) => packed = other,
            }
        }
    }

    pub(super) fn read(&self, now: Now) -> Option<Score> {
        let holder = self.holder.load_full()?;
        let half_life_s = self.half_life_s.load(Ordering::Relaxed);
        let ratio = Ratio::unpack(self.ratio.load(Ordering::Relaxed)).at(now, half_life_s);
        let since = |cell: &AtomicU32| now_s(now).saturating_sub(cell.load(Ordering::Relaxed));
        let count = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Some(Score {
            holder: Holder::clone(&holder),
            suspicious: self.is_suspicious(),
            suspicions: self.suspicions.load(Ordering::Relaxed),
            known_s: since(&self.first_s),
            silent_s: since(&self.seen_s),
            failed_percent: ratio.percent(),
            messages: count(&self.messages),
            held: count(&self.held),
            refused: count(&self.refused),
            answers: count(&self.answers),
            failures: count(&self.failures),
            users: self.users.load().as_ref().map_or(0, |users| users.len()),
            users_blocked: count(&self.users_blocked),
        })
    }
}

/// Answers and failures among them, each halved with every half-life: 8 bytes.
///
/// Counted in sixteenths, so that a few answers do not vanish with the first halving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ratio {
    /// Number of the half-life the counts are of, modulo 65,536.
    half_life: u16,
    answers: u32,
    failures: u32,
}

/// One answer.
const ONE: u32 = 16;
/// The counts have 24 bits each.
const COUNT_MAX: u32 = (1 << 24) - 1;

impl Ratio {
    const fn unpack(packed: u64) -> Self {
        let mask = COUNT_MAX as u64;
        Self {
            half_life: (packed >> 48) as u16,
            answers: (packed >> 24 & mask) as u32,
            failures: (packed & mask) as u32,
        }
    }

    const fn pack(self) -> u64 {
        (self.half_life as u64) << 48 | (self.answers as u64) << 24 | self.failures as u64
    }

    /// Returns the counts as they are at `now`.
    fn at(self, now: Now, half_life_s: u32) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "modulo 65,536, as it is kept")]
        let half_life = (now_s(now) / half_life_s.max(1)) as u16;
        // Another shard's turn began past the boundary already: its counts are the newer ones.
        if self.half_life == half_life.wrapping_add(1) {
            return self;
        }
        let halvings = u32::from(half_life.wrapping_sub(self.half_life));
        let halved = |count: u32| count.checked_shr(halvings).unwrap_or(0);
        Self { half_life, answers: halved(self.answers), failures: halved(self.failures) }
    }

    fn plus(self, failed: bool) -> Self {
        let Self { half_life, mut answers, mut failures } = self;
        if answers > COUNT_MAX - ONE {
            answers /= 2;
            failures /= 2;
        }
        answers += ONE;
        failures += if failed { ONE } else { 0 };
        Self { half_life, answers, failures: failures.min(answers) }
    }

    fn percent(self) -> u8 {
        let percent = u64::from(self.failures) * 100 / u64::from(self.answers.max(1));
        u8::try_from(percent).unwrap_or(100)
    }

    fn is_suspicious(self, limits: &Limits) -> bool {
        limits.failed_percent > 0
            && self.answers / ONE >= limits.failed_least
            && self.percent() >= limits.failed_percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_s(seconds: u64) -> Now {
        Now::default().plus_ms(seconds * 1000)
    }

    #[test]
    fn answers_count_half_as_much_with_every_half_life() {
        let mut ratio = Ratio::default();
        for place in 0..40 {
            ratio = ratio.at(after_s(10), 300).plus(place % 2 == 0);
        }
        assert_eq!(Ratio::unpack(ratio.pack()), ratio);
        assert_eq!((ratio.answers / ONE, ratio.failures / ONE, ratio.percent()), (40, 20, 50));
        let later = ratio.at(after_s(301), 300);
        assert_eq!((later.answers / ONE, later.percent()), (20, 50));
        assert_eq!(ratio.at(after_s(300 * 40), 300).answers, 0);
    }

    #[test]
    fn a_shard_that_is_behind_a_boundary_loses_no_count() {
        let early = after_s(299);
        let ahead = Ratio::default().at(after_s(300), 300).plus(true).plus(false);
        let behind = ahead.at(early, 300).plus(true);
        assert_eq!((behind.answers / ONE, behind.failures / ONE), (3, 2));
        assert_eq!(behind.at(after_s(301), 300), behind);
    }

    #[test]
    fn what_is_given_back_to_a_cell_that_began_anew_is_nothing() {
        let (cell, limits) = (Cell::default(), Limits::default());
        cell.give_back(after_s(10), &limits);
        assert_eq!(cell.full_at_ns.load(Ordering::Relaxed), 0);
        assert_eq!(cell.messages.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_ratio_of_few_answers_says_nothing() {
        let limits = Limits { failed_least: 3, failed_percent: 50, ..Limits::default() };
        let failures = |many: usize| (0..many).fold(Ratio::default(), |r, _| r.plus(true));
        assert!(!failures(2).is_suspicious(&limits));
        assert!(failures(3).is_suspicious(&limits));
        let never = Limits { failed_percent: 0, ..limits };
        assert!(!failures(100).is_suspicious(&never));
    }

    #[test]
    fn counts_never_leave_their_bits() {
        let full = Ratio { half_life: 1, answers: COUNT_MAX, failures: COUNT_MAX };
        let more = full.plus(true);
        assert!(more.answers <= COUNT_MAX && more.failures <= more.answers);
        assert_eq!(Ratio::unpack(more.pack()), more);
    }
}
