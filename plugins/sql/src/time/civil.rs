//! The calendar: days since 1970-01-01 to year, month and day, and back, in the proleptic Gregorian calendar.

/// The years that are known: what the time zone database can be asked about.
pub const YEARS: std::ops::RangeInclusive<i64> = -9998..=9998;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// The year; 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

/// The day that is so many days after 1970-01-01. `None` outside of [`YEARS`].
///
/// The calendar is taken to begin on 1 March, so that the leap day is the last of its year; 400 years have 146,097 days.
pub fn from_days(days: i64) -> Option<Date> {
    let shifted = days.checked_add(719_468)?;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    YEARS.contains(&year).then_some(Date { year, month, day })
}

/// The days from 1970-01-01 to a day. `None` when there is no such day.
pub fn to_days(date: Date) -> Option<i64> {
    let Date { year, month, day } = date;
    if !YEARS.contains(&year) || !(1..=12).contains(&month) || day < 1 || day > month_length(year, month) {
        return None;
    }
    let shifted_year = year - i64::from(month <= 2);
    let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Whether a year has a leap day.
pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The days of a month.
pub fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day of the year, from 1.
pub fn day_of_year(date: Date) -> i64 {
    (1..date.month).map(|month| month_length(date.year, month)).sum::<i64>() + date.day
}

/// The day of the week: 1 is Monday.
pub fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days() {
        assert_eq!(from_days(0), Some(Date { year: 1970, month: 1, day: 1 }));
        assert_eq!(to_days(Date { year: 2000, month: 2, day: 29 }), Some(11_016));
        assert_eq!(to_days(Date { year: 1900, month: 2, day: 29 }), None);
        assert_eq!(weekday(0), 4, "a Thursday");
        assert_eq!(day_of_year(Date { year: 2024, month: 12, day: 31 }), 366);
    }

    proptest! {
        #[test]
        fn there_and_back(days in -3_000_000i64..2_900_000) {
            let date = from_days(days).unwrap();
            prop_assert_eq!(to_days(date), Some(days));
            prop_assert_eq!(jiff::civil::date(date.year as i16, date.month as i8, date.day as i8).weekday().to_monday_one_offset() as i64, weekday(days));
        }
    }
}
