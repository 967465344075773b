//! What is due when. Far more kinds of time than a proxy has, most of them cancelled before they
//! are due, so one ordered map rather than a queue for each.

use std::collections::BTreeMap;

use super::slots::Key;
use crate::time::{Monotonic, Now};

/// What is to be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A request of ours was not answered.
    Client(Key),
    /// A request to us waits for its answer no longer.
    Server(Key),
    /// A dialog of a SIP user who watches a contact ends.
    Watch(Key),
    /// A subscription of a contact to a SIP user is refreshed, or tried again.
    Subscription(Key),
    /// A chat was silent, or its answer or ACK did not come.
    Chat(Key),
    /// Nobody types any more.
    Typing(Key),
    /// What was said between two users is forgotten.
    Contact(Key),
    /// A contact whose pair of domains another gateway had is subscribed for.
    Taken(Key),
}

/// Names a timer that runs.
pub(super) type TimerId = (Monotonic, u64);

/// All timers that run.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<TimerId, Due>,
    number: u64,
}

impl Timers {
    pub(super) fn start(&mut self, at: Monotonic, due: Due) -> TimerId {
        self.number += 1;
        self.due.insert((at, self.number), due);
        (at, self.number)
    }

    pub(super) fn start_in(&mut self, now: Now, milliseconds: u64, due: Due) -> TimerId {
        self.start(now.monotonic.plus_ms(milliseconds), due)
    }

    pub(super) fn stop(&mut self, timer: Option<TimerId>) {
        if let Some(timer) = timer {
            self.due.remove(&timer);
        }
    }

    /// Returns when the first is due. A walk down the left side of the tree: four steps for 100,000
    /// timers.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next that is due, in the order of their times.
    pub(super) fn take(&mut self, now: Now) -> Option<Due> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now.monotonic).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_due_in_order_and_never_once_stopped() {
        let mut timers = Timers::default();
        let (now, key) = (Now::default(), Key { index: 1, generation: 1 });
        let late = timers.start_in(now, 20, Due::Chat(key));
        timers.start_in(now, 10, Due::Watch(key));
        timers.start_in(now, 10, Due::Client(key));
        assert_eq!(timers.next(), Some(now.monotonic.plus_ms(10)));
        assert_eq!(timers.take(now.plus_ms(9)), None);
        assert_eq!(timers.take(now.plus_ms(10)), Some(Due::Watch(key)));
        assert_eq!(timers.take(now.plus_ms(30)), Some(Due::Client(key)));
        timers.stop(Some(late));
        timers.stop(None);
        assert_eq!((timers.take(now.plus_ms(30)), timers.next()), (None, None));
    }
}
