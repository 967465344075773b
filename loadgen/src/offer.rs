//! When the next unit of work is due: as soon as one ends, or at a rate that nothing slows down.

/// The rule by which work is offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Offer {
    /// Always so many unfinished.
    Closed {
        /// How many.
        window: usize,
    },
    /// A fixed rate. A unit that finds no room is sent late, and its latency counts from when it
    /// was due, so that a stalled server cannot hide behind the sender it stalled.
    Open {
        /// Units per second.
        per_second: f64,
        /// Due time of the first.
        start_ns: u64,
        /// How many have been handed out.
        sent: u64,
        /// Most unfinished at once.
        window: usize,
    },
}

impl Offer {
    /// `per_second` zero or less is a closed loop.
    pub(crate) fn new(per_second: f64, window: usize, start_ns: u64) -> Self {
        if per_second > 0.0 {
            Self::Open { per_second, start_ns, sent: 0, window }
        } else {
            Self::Closed { window }
        }
    }

    /// Returns the intended time of a unit that may start at `now_ns`, and counts it as handed out.
    pub(crate) fn take(&mut self, now_ns: u64, unfinished: usize) -> Option<u64> {
        let next = self.next_due_ns();
        match self {
            Self::Closed { window } => (unfinished < *window).then_some(now_ns),
            Self::Open { sent, window, .. } => {
                if next > now_ns || unfinished >= *window {
                    return None;
                }
                *sent += 1;
                Some(next)
            }
        }
    }

    /// Returns when the next unit is due; zero in a closed loop, where only an end makes room.
    pub(crate) fn next_due_ns(&self) -> u64 {
        match self {
            Self::Closed { .. } => 0,
            Self::Open { per_second, start_ns, sent, .. } => {
                start_ns + (*sent as f64 * 1e9 / per_second) as u64
            }
        }
    }

    /// Returns how many units were due in `from_ns..to_ns` under an open loop.
    pub(crate) fn due_between(&self, from_ns: u64, to_ns: u64) -> Option<u64> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { per_second, .. } => {
                Some((to_ns.saturating_sub(from_ns) as f64 * per_second / 1e9).round() as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_keeps_its_schedule_when_the_sender_is_late() {
        let mut offer = Offer::new(1000.0, 10, 0);
        assert_eq!(offer.take(0, 0), Some(0));
        assert_eq!(offer.take(500_000, 0), None);
        assert_eq!(offer.take(5_000_000, 0), Some(1_000_000));
        assert_eq!(offer.take(5_000_000, 0), Some(2_000_000));
        assert_eq!(offer.due_between(0, 1_000_000_000), Some(1000));
    }

    #[test]
    fn a_full_window_delays_a_unit_but_not_its_intended_time() {
        let mut offer = Offer::new(1000.0, 1, 0);
        assert_eq!(offer.take(3_000_000, 1), None);
        assert_eq!(offer.take(9_000_000, 0), Some(0));
    }

    #[test]
    fn a_closed_loop_offers_while_the_window_has_room() {
        let mut offer = Offer::new(0.0, 2, 0);
        assert_eq!(offer.take(7, 1), Some(7));
        assert_eq!(offer.take(8, 2), None);
    }
}
