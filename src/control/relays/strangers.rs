//! What the log says of strangers that are not answered: a line when it begins, one a minute while
//! it goes on, and one when it is over. Pure: time is an argument.

use crate::limits;
use crate::time::Monotonic;

/// Whether strangers ask more than is answered.
#[derive(Debug, Default)]
pub(in crate::control) struct Strangers {
    /// Answers withheld, when it was looked last.
    withheld: u64,
    flood: Option<Flood>,
}

#[derive(Debug)]
struct Flood {
    began: Monotonic,
    /// When somebody was not answered last.
    latest: Monotonic,
    /// Answers withheld since it began.
    unanswered: u64,
    /// When it was told last, and how many of these were not told.
    told: Monotonic,
    untold: u64,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// So many were not answered since the last line.
    Goes { unanswered: u64 },
    /// Nobody was for a minute; so many were since it began, within that time.
    Over { unanswered: u64, lasted_s: u64 },
}

impl Strangers {
    /// Looks how many answers were withheld so far.
    pub(super) fn look(&mut self, now: Monotonic, withheld: u64) -> Option<Line> {
        let more = withheld - self.withheld;
        self.withheld = withheld;
        let Some(flood) = &mut self.flood else {
            let began = Flood { began: now, latest: now, unanswered: more, told: now, untold: 0 };
            self.flood = (more > 0).then_some(began);
            return (more > 0).then_some(Line::Goes { unanswered: more });
        };
        flood.unanswered += more;
        flood.untold += more;
        if more > 0 {
            flood.latest = now;
        }
        if now < flood.told.plus_ms(limits::STRANGERS_TOLD_MS) {
            return None;
        }
        if flood.untold > 0 {
            flood.told = now;
            return Some(Line::Goes { unanswered: std::mem::take(&mut flood.untold) });
        }
        let lasted_s = flood.latest.ms_since(flood.began) / 1_000;
        let over = Line::Over { unanswered: flood.unanswered, lasted_s };
        self.flood = None;
        Some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second while `each` are withheld in it; returns each line with its second.
    fn lines(each: impl Fn(u64) -> u64, seconds: u64) -> Vec<(u64, Line)> {
        let (mut strangers, mut withheld) = (Strangers::default(), 0);
        let looks = (0..seconds).filter_map(|second| {
            withheld += each(second);
            let now = Monotonic(0).plus_ms(second * 1_000);
            strangers.look(now, withheld).map(|line| (second, line))
        });
        looks.collect()
    }

    #[test]
    fn a_flood_is_told_when_it_begins_once_a_minute_and_when_it_is_over() {
        let flood = |second| if (5..100).contains(&second) { 1_000 } else { 0 };
        let expected = [
            (5, Line::Goes { unanswered: 1_000 }),
            (65, Line::Goes { unanswered: 60_000 }),
            (125, Line::Goes { unanswered: 34_000 }),
            (185, Line::Over { unanswered: 95_000, lasted_s: 94 }),
        ];
        assert_eq!(lines(flood, 1_000), expected);
    }

    #[test]
    fn floods_that_come_and_go_are_no_more_than_a_line_a_minute_and_lose_nothing() {
        let told = lines(|second| u64::from(second.is_multiple_of(7)), 1_000);
        assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 60), "{told:?}");
        let of = |(_, line): &(u64, Line)| match line {
            Line::Goes { unanswered } => *unanswered,
            Line::Over { .. } => 0,
        };
        let last = told.last().map_or(0, |(second, _)| *second);
        assert_eq!(told.iter().map(of).sum::<u64>(), last / 7 + 1);
        assert_eq!(lines(|_| 0, 1_000), []);
    }
}
