//! A day of the calendar, as an operator writes it: `2014-06-30`.

use std::fmt;

use crate::time::{Monotonic, Now};

const SECONDS_PER_DAY: u64 = 86_400;
const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A day, in UTC, from 1970 to 9999; the number of days since the first of January 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(u32);

/// The text is no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date such as 2026-12-31")]
pub struct NotADate;

impl Date {
    /// Returns the day, if the calendar has it.
    #[must_use]
    pub const fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let (year, month, day) = (year as u32, month as u32, day as u32);
        if year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 {
            return None;
        }
        if day > days_of_month(year, month) {
            return None;
        }
        let mut days = days_before(year) + day - 1;
        let mut before = 1;
        while before < month {
            days += days_of_month(year, before);
            before += 1;
        }
        Some(Self(days))
    }

    /// Reads `YYYY-MM-DD`.
    ///
    /// # Errors
    /// [`NotADate`] for any other form and for days that no calendar has.
    pub fn parse(text: &str) -> Result<Self, NotADate> {
        let mut parts = text.split('-');
        let (Some(year), Some(month), Some(day), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotADate);
        };
        let digits = |part: &str, count| {
            part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
            return Err(NotADate);
        }
        let (Ok(year), Ok(month), Ok(day)) = (year.parse(), month.parse(), day.parse()) else {
            return Err(NotADate);
        };
        Self::new(year, month, day).ok_or(NotADate)
    }

    /// Returns the day of a moment in Unix seconds.
    #[must_use]
    pub fn of_unix_s(unix_s: u64) -> Self {
        let last = days_before(10_000) - 1;
        Self(u32::try_from(unix_s / SECONDS_PER_DAY).unwrap_or(last).min(last))
    }

    /// Returns the first second after this day, in Unix seconds.
    #[must_use]
    pub const fn end_unix_s(self) -> u64 {
        (self.0 as u64 + 1) * SECONDS_PER_DAY
    }

    /// Tells whether this day is over.
    #[must_use]
    pub const fn is_past(self, now: Now) -> bool {
        now.unix_s >= self.end_unix_s()
    }

    /// Returns when this day is over on the clock that never goes back.
    #[must_use]
    pub const fn end(self, now: Now) -> Monotonic {
        let left_s = self.end_unix_s().saturating_sub(now.unix_s);
        now.monotonic.plus_ms(left_s.saturating_mul(1_000))
    }

    /// Returns how many days lie from `earlier` to this day; zero if it is later.
    #[must_use]
    pub const fn days_since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

const fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_month(year: u32, month: u32) -> u32 {
    if month == 2 && is_leap(year) { 29 } else { DAYS[month as usize - 1] }
}

/// Days from 1970 to the beginning of `year`.
const fn days_before(year: u32) -> u32 {
    const fn leaps_to(year: u32) -> u32 {
        year / 4 - year / 100 + year / 400
    }
    365 * (year - 1970) + leaps_to(year - 1) - leaps_to(1969)
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A year has at most 366 days, so the estimate is never late and the walk is short.
        let mut year = 1970 + self.0 / 366;
        while days_before(year + 1) <= self.0 {
            year += 1;
        }
        let mut day = self.0 - days_before(year);
        let mut month = 1;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        write!(f, "{year:04}-{month:02}-{:02}", day + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_written_the_same_way() {
        for text in ["1970-01-01", "2000-02-29", "2014-06-30", "2026-12-31", "9999-12-31"] {
            assert_eq!(Date::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_day_that_no_calendar_has_is_refused() {
        let wrong = [
            "2013-02-29",
            "1900-01-01",
            "2014-13-01",
            "2014-00-10",
            "2014-06-31",
            "2014-06-00",
            "2014-6-30",
            "14-06-30",
            "2014-06-30T00:00",
            "",
            "2014-06",
            "+014-06-30",
        ];
        for text in wrong {
            assert_eq!(Date::parse(text), Err(NotADate), "{text}");
        }
    }

    #[test]
    fn a_day_ends_where_the_next_begins() {
        let day = Date::parse("2014-06-30").unwrap();
        assert_eq!(day.end_unix_s(), 1_404_172_800);
        assert_eq!(Date::of_unix_s(day.end_unix_s() - 1), day);
        assert_eq!(Date::of_unix_s(day.end_unix_s()).to_string(), "2014-07-01");
        let at = |unix_s| Now { unix_s, ..Now::default() };
        assert!(!day.is_past(at(day.end_unix_s() - 1)));
        assert!(day.is_past(at(day.end_unix_s())));
        assert_eq!(day.end(at(day.end_unix_s() - 2)), Monotonic(2_000_000_000));
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut days = 0;
        for year in 1970..2370_u16 {
            for month in 1..=12_u8 {
                for day in 1..=31_u8 {
                    let Some(date) = Date::new(year, month, day) else { continue };
                    assert_eq!(date, Date(days));
                    assert_eq!(date.to_string(), format!("{year}-{month:02}-{day:02}"));
                    days += 1;
                }
            }
        }
        assert_eq!(days, 400 * 365 + 97);
    }
}
