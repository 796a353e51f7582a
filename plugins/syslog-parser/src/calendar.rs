//! Days, dates and the year that a line leaves out. Knows nothing of text.

const DAYS_BEFORE_MONTH: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
/// Days of 400 years, after which the calendar repeats.
const DAYS_PER_CYCLE: i64 = 146_097;
/// Days from 0000-01-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_528;
const SECONDS_PER_DAY: i64 = 86_400;
/// How far ahead of the record's time a line may lie. A sender's clock may be fast, and its zone unknown.
const AHEAD_MAX_SECONDS: i64 = SECONDS_PER_DAY;

/// A date and time of day, in no zone. Only holds what exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime {
    /// -9999 to 9999.
    pub year: i16,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// To 23.
    pub hour: u8,
    /// To 59.
    pub minute: u8,
    /// To 59.
    pub second: u8,
}

impl DateTime {
    /// The time with its parts checked. A leap second counts as the second before it, which every reader understands.
    #[inline]
    pub fn checked(self) -> Option<Self> {
        let DateTime { year, month, day, hour, minute, second } = self;
        let exists =
            (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day) && hour < 24 && minute < 60;
        if !exists || second > 60 { None } else { Some(DateTime { second: second.min(59), ..self }) }
    }

    /// Seconds since 1970-01-01T00:00:00, in its own zone.
    #[inline]
    pub fn seconds(&self) -> i64 {
        let time = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        days_from_epoch(self.year, self.month, self.day) * SECONDS_PER_DAY + time
    }

    /// The time that lies so many seconds after 1970-01-01T00:00:00, or the nearest that can be written.
    pub fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY).clamp(-4_371_587, 2_932_896);
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = date_of_day(days);
        let (hour, minute, second) = ((of_day / 3600) as u8, (of_day / 60 % 60) as u8, (of_day % 60) as u8);
        DateTime { year, month, day, hour, minute, second }
    }
}

#[inline]
fn is_leap(year: i16) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[inline]
fn days_of_month(year: i16, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[inline]
fn days_from_epoch(year: i16, month: u8, day: u8) -> i64 {
    let before = i64::from(year) - 1;
    let leap_days = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) + 1;
    let days_of_years = i64::from(year) * 365 + leap_days;
    let before_month = DAYS_BEFORE_MONTH.get(usize::from(month).wrapping_sub(1)).copied().unwrap_or_default();
    let leap_day = i64::from(month > 2 && is_leap(year));
    days_of_years + i64::from(before_month) + leap_day + i64::from(day) - 1 - DAYS_TO_EPOCH
}

fn date_of_day(days: i64) -> (i16, u8, u8) {
    let estimate = ((days + DAYS_TO_EPOCH) * 400).div_euclid(DAYS_PER_CYCLE) as i16;
    let starts = |year: i16| days_from_epoch(year, 1, 1) <= days;
    let year = [estimate + 1, estimate].into_iter().find(|year| starts(*year)).unwrap_or(estimate - 1);
    let month = (2..=12).rev().find(|month| days_from_epoch(year, *month, 1) <= days).unwrap_or(1);
    (year, month, (days - days_from_epoch(year, month, 1) + 1) as u8)
}

/// Finds the year of dates that come without one.
///
/// Logs speak of the past: the year is the latest one that does not put the line more than a day after the time of its
/// record. So the turn of the year needs no special case, and the answer depends on nothing but the record.
#[derive(Debug)]
pub struct Years {
    /// The last limit that was asked for, and what it is as a date; records come by the thousand in the same second.
    limit: (i64, DateTime),
}

impl Years {
    /// Starts with nothing known.
    pub fn new() -> Self {
        Years { limit: (0, DateTime::from_seconds(0)) }
    }

    /// The given date and time in its year. `None` when the date never exists.
    #[inline]
    pub fn complete(&mut self, without_year: DateTime, record_ms: i64) -> Option<DateTime> {
        let seconds = record_ms.div_euclid(1000).saturating_add(AHEAD_MAX_SECONDS);
        if self.limit.0 != seconds {
            self.limit = (seconds, DateTime::from_seconds(seconds));
        }
        let limit = self.limit.1;
        let this_year = DateTime { year: limit.year, ..without_year };
        let latest = if this_year <= limit { limit.year } else { limit.year - 1 };
        let in_year = DateTime { year: latest, ..without_year };
        if without_year.day < 29 { in_year.checked() } else { last_that_exists(in_year) }
    }
}

/// 29 February exists in one of eight years at least.
fn last_that_exists(latest: DateTime) -> Option<DateTime> {
    (0..=8).find_map(|back| DateTime { year: latest.year - back, ..latest }.checked())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(year: i16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> DateTime {
        DateTime { year, month, day, hour, minute, second }
    }

    fn ms(time: DateTime) -> i64 {
        time.seconds() * 1000
    }

    #[test]
    fn well_known_days_are_where_they_belong() {
        assert_eq!(at(1970, 1, 1, 0, 0, 0).seconds(), 0);
        assert_eq!(at(2001, 9, 9, 1, 46, 40).seconds(), 1_000_000_000);
        assert_eq!(at(2000, 2, 29, 0, 0, 0).seconds(), 951_782_400);
        assert_eq!(at(1969, 12, 31, 23, 59, 59).seconds(), -1);
        assert_eq!(DateTime::from_seconds(-1), at(1969, 12, 31, 23, 59, 59));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        assert_eq!(at(2023, 2, 29, 0, 0, 0).checked(), None);
        assert_eq!(at(2024, 13, 1, 0, 0, 0).checked(), None);
        assert_eq!(at(2024, 0, 1, 0, 0, 0).checked(), None);
        assert_eq!(at(2024, 4, 31, 0, 0, 0).checked(), None);
        assert_eq!(at(2024, 4, 30, 24, 0, 0).checked(), None);
        assert_eq!(at(2016, 12, 31, 23, 59, 60).checked(), Some(at(2016, 12, 31, 23, 59, 59)));
    }

    #[test]
    fn the_year_is_the_latest_that_is_not_in_the_future() {
        let complete = |line: DateTime, record: DateTime| Years::new().complete(line, ms(record)).map(|time| time.year);
        let new_year = at(2025, 1, 1, 0, 0, 5);
        assert_eq!(complete(at(0, 12, 31, 23, 59, 58), new_year), Some(2024));
        assert_eq!(complete(at(0, 1, 1, 0, 0, 4), new_year), Some(2025));
        // A fast clock at the turn of the year: the line is a little ahead of its record.
        assert_eq!(complete(at(0, 1, 1, 0, 0, 4), at(2024, 12, 31, 23, 59, 58)), Some(2025));
        assert_eq!(complete(at(0, 12, 10, 6, 55, 46), at(2026, 11, 21, 0, 0, 0)), Some(2025));
        assert_eq!(complete(at(0, 2, 29, 1, 0, 0), at(2026, 3, 1, 0, 0, 0)), Some(2024));
        assert_eq!(complete(at(0, 2, 30, 1, 0, 0), at(2026, 3, 1, 0, 0, 0)), None);
    }

    proptest! {
        #[test]
        fn dates_and_seconds_are_two_names_of_the_same(seconds in -377_705_116_800i64..=253_402_300_799) {
            let time = DateTime::from_seconds(seconds);
            prop_assert_eq!(time.checked(), Some(time));
            prop_assert_eq!(time.seconds(), seconds);
        }

        #[test]
        fn the_calendar_is_the_one_of_jiff(seconds in -377_705_000_000i64..=253_402_200_000) {
            let expected = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC).datetime();
            let time = DateTime::from_seconds(seconds);
            prop_assert_eq!((time.year, i16::from(time.month), i16::from(time.day)),
                (expected.year(), i16::from(expected.month()), i16::from(expected.day())));
            prop_assert_eq!((time.hour as i8, time.minute as i8, time.second as i8),
                (expected.hour(), expected.minute(), expected.second()));
        }

        #[test]
        fn any_record_time_gives_an_existing_date(record in any::<i64>(), month in 1u8..=12, day in 1u8..=31) {
            if let Some(time) = Years::new().complete(at(0, month, day, 0, 0, 0), record) {
                prop_assert_eq!(time.checked(), Some(time));
            }
        }
    }
}
