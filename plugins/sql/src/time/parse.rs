//! Reads dates, times and moments by a pattern.
//!
//! What the pattern does not mention is taken from 1970-01-01T00:00. As in Java's SMART style, a day of the month up to 31
//! that the month does not have becomes its last day, and 24:00 is the end of the day.

use jiff::tz::TimeZone;

use super::civil::{self, Date};
use super::names::{self, DAYS, ERAS, HALVES, MONTHS};
use super::pattern::{Item, Pattern};
use super::{DAY_MS, zone};

/// The fields that were read.
#[derive(Clone, Default)]
struct Fields {
    year: Option<i64>,
    year_of_era: Option<i64>,
    before_christ: bool,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    weekday: Option<i64>,
    hour: Option<i64>,
    hour_of_half: Option<i64>,
    afternoon: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    nanosecond: Option<i64>,
    ms_of_day: Option<i64>,
    zone: Option<TimeZone>,
}

/// Reads a moment. Without a zone in the text it is as the clocks of `default` show it.
pub fn timestamp(pattern: &Pattern, text: &str, default: &TimeZone) -> Option<i64> {
    let fields = fields(pattern, text)?;
    let (time, days_over) = fields.time()?;
    let local = fields.days()?.checked_add(days_over)?.checked_mul(DAY_MS)?.checked_add(time)?;
    zone::to_moment(fields.zone.as_ref().unwrap_or(default), local)
}

/// Reads a date, in days since 1970-01-01. A pattern with a time of day is for moments.
pub fn date(pattern: &Pattern, text: &str) -> Option<i64> {
    date_of(&fields(pattern, text)?)
}

/// Reads the date at the start of a text, whatever follows.
pub fn date_at_start(pattern: &Pattern, text: &str) -> Option<i64> {
    let mut fields = Fields::default();
    items(&pattern.items, text, 0, &mut fields)?;
    date_of(&fields)
}

fn date_of(fields: &Fields) -> Option<i64> {
    if fields.has_time() { None } else { fields.days() }
}

/// Reads a time of day, in milliseconds. A pattern with a date is for moments.
pub fn time(pattern: &Pattern, text: &str) -> Option<i64> {
    let fields = fields(pattern, text)?;
    if fields.has_date() {
        return None;
    }
    fields.time().map(|(ms, _)| ms)
}

fn fields(pattern: &Pattern, text: &str) -> Option<Fields> {
    let mut fields = Fields::default();
    let end = items(&pattern.items, text, 0, &mut fields)?;
    (end == text.len()).then_some(fields)
}

/// Reads the items from `at` on and returns where they end.
fn items(list: &[Item], text: &str, mut at: usize, fields: &mut Fields) -> Option<usize> {
    for (place, item) in list.iter().enumerate() {
        at = match item {
            Item::Literal(literal) => text.get(at..)?.starts_with(literal.as_str()).then_some(at + literal.len())?,
            Item::Field(letter, count) => {
                let reserved = reserved(list.get(place + 1..).unwrap_or_default());
                field(*letter, *count, reserved, text, at, fields)?
            }
            Item::Optional(section) => {
                let mut attempt = fields.clone();
                match items(section, text, at, &mut attempt) {
                    Some(end) => {
                        *fields = attempt;
                        end
                    }
                    None => at,
                }
            }
        };
    }
    Some(at)
}

/// The digits that belong to the fields of fixed width that follow at once: `yyyyMMdd` leaves four to month and day.
fn reserved(rest: &[Item]) -> usize {
    rest.iter()
        .map_while(|item| match item {
            Item::Field('M' | 'L' | 'd' | 'H' | 'k' | 'K' | 'h' | 'm' | 's' | 'y' | 'u', 2) => Some(2),
            Item::Field('D', 3) => Some(3),
            Item::Field('S', count) => Some(*count),
            _ => None,
        })
        .sum()
}

/// The widths that a numeric field may have.
fn widths(letter: char, count: usize) -> (usize, usize) {
    match (letter, count) {
        ('y' | 'u', 2) => (2, 2),
        ('y' | 'u', 1..=4) => (count, 10),
        ('y' | 'u', _) => (count, count.max(10)),
        ('S', _) => (count, count),
        ('D', 2) => (2, 3),
        ('A' | 'n' | 'N', _) => (count, 19),
        (_, 1) => (1, 19),
        _ => (count, count),
    }
}

fn field(letter: char, count: usize, reserved: usize, text: &str, at: usize, fields: &mut Fields) -> Option<usize> {
    let rest = text.get(at..)?;
    match (letter, count) {
        ('G', _) => {
            let (number, length) = names::find(&ERAS, rest, 4)?;
            fields.before_christ = number == 1;
            return Some(at + length);
        }
        ('M' | 'L', 3..) => {
            let (month, length) = names::find(&MONTHS, rest, count)?;
            return set(&mut fields.month, month).map(|()| at + length);
        }
        ('E', _) => {
            let (day, length) = names::find(&DAYS, rest, count)?;
            return set(&mut fields.weekday, day).map(|()| at + length);
        }
        ('a', _) => {
            let (half, length) = names::find(&HALVES, rest, 4)?;
            fields.afternoon = Some(half == 2);
            return Some(at + length);
        }
        ('V' | 'z' | 'O' | 'X' | 'x' | 'Z', _) => {
            let (found, length) = zone_in(letter, rest)?;
            fields.zone = Some(found);
            return Some(at + length);
        }
        ('Q' | 'q' | 'e' | 'c', _) => return None,
        _ => {}
    }
    let (least, most) = widths(letter, count);
    let signed = matches!(letter, 'y' | 'u') && count != 2;
    let (number, length) = number(rest, least, most, reserved, signed)?;
    store(letter, count, number, fields).map(|()| at + length)
}

/// Reads digits: at least `least`, at most `most`, leaving `reserved` of them to what follows.
fn number(text: &str, least: usize, most: usize, reserved: usize, signed: bool) -> Option<(i64, usize)> {
    let sign = usize::from(signed && text.starts_with(['-', '+']));
    let digits = text.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
    let width = digits.saturating_sub(reserved).max(least).min(most);
    if digits < width {
        return None;
    }
    let number: i64 = text.get(sign..sign + width)?.parse().ok()?;
    Some((if text.starts_with('-') && sign == 1 { -number } else { number }, sign + width))
}

fn store(letter: char, count: usize, number: i64, fields: &mut Fields) -> Option<()> {
    let within = |low: i64, high: i64| (low..=high).contains(&number).then_some(number);
    match letter {
        // Two digits are a year of this century.
        'y' if count == 2 => set(&mut fields.year_of_era, 2000 + number),
        'u' if count == 2 => set(&mut fields.year, 2000 + number),
        'y' => set(&mut fields.year_of_era, within(1, 9999)?),
        'u' => set(&mut fields.year, number),
        'M' | 'L' => set(&mut fields.month, within(1, 12)?),
        'd' => set(&mut fields.day, within(1, 31)?),
        'D' => set(&mut fields.day_of_year, within(1, 366)?),
        'H' => set(&mut fields.hour, within(0, 24)?),
        'k' => set(&mut fields.hour, within(1, 24)? % 24),
        'K' => set(&mut fields.hour_of_half, within(0, 11)?),
        'h' => set(&mut fields.hour_of_half, within(1, 12)? % 12),
        'm' => set(&mut fields.minute, within(0, 59)?),
        's' => set(&mut fields.second, within(0, 59)?),
        'S' => {
            let scale = 10i64.checked_pow(u32::try_from(9usize.checked_sub(count)?).ok()?)?;
            set(&mut fields.nanosecond, number.checked_mul(scale)?)
        }
        'n' => set(&mut fields.nanosecond, within(0, 999_999_999)?),
        'A' => set(&mut fields.ms_of_day, within(0, DAY_MS - 1)?),
        'N' => set(&mut fields.ms_of_day, within(0, DAY_MS * 1_000_000 - 1)? / 1_000_000),
        _ => None,
    }
}

/// Sets a field; a second value for it has to be the same.
fn set(field: &mut Option<i64>, value: i64) -> Option<()> {
    match field {
        Some(known) if *known != value => None,
        _ => {
            *field = Some(value);
            Some(())
        }
    }
}

/// Reads a zone or an offset.
fn zone_in(letter: char, text: &str) -> Option<(TimeZone, usize)> {
    match letter {
        'X' | 'Z' if text.starts_with('Z') => Some((TimeZone::UTC, 1)),
        'X' | 'x' | 'Z' if text.starts_with(['+', '-']) => {
            let (seconds, length) = zone::offset_in(text)?;
            Some((zone::fixed(seconds)?, length))
        }
        'X' | 'x' => None,
        _ => {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || "/_+-:".contains(letter);
            let length = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
            Some((zone::find(text.get(..length).filter(|name| !name.is_empty())?)?, length))
        }
    }
}

impl Fields {
    fn has_time(&self) -> bool {
        let parts = [self.hour, self.hour_of_half, self.minute, self.second, self.nanosecond, self.ms_of_day];
        parts.iter().any(Option::is_some) || self.afternoon.is_some()
    }

    fn has_date(&self) -> bool {
        let parts = [self.year, self.year_of_era, self.month, self.day, self.day_of_year, self.weekday];
        parts.iter().any(Option::is_some)
    }

    fn days(&self) -> Option<i64> {
        let year = match (self.year, self.year_of_era) {
            (Some(year), _) => year,
            (None, Some(year)) if self.before_christ => 1 - year,
            (None, Some(year)) => year,
            (None, None) => 1970,
        };
        let days = match self.day_of_year {
            Some(366) if !civil::is_leap(year) => return None,
            Some(day) if self.month.is_none() => civil::to_days(Date { year, month: 1, day: 1 })? + day - 1,
            _ => {
                let month = self.month.unwrap_or(1);
                let day = self.day.unwrap_or(1).min(civil::month_length(year, month));
                civil::to_days(Date { year, month, day })?
            }
        };
        // A weekday does not say more than the date, but may not say otherwise.
        let agrees = self.weekday.is_none_or(|weekday| weekday == civil::weekday(days) || !self.names_a_day());
        agrees.then_some(days)
    }

    fn names_a_day(&self) -> bool {
        self.day.is_some() || self.day_of_year.is_some()
    }

    /// The milliseconds of the day, and the days that 24:00 adds.
    fn time(&self) -> Option<(i64, i64)> {
        if let Some(ms) = self.ms_of_day {
            return Some((ms, 0));
        }
        let hour = match (self.hour, self.hour_of_half) {
            (Some(hour), _) => hour,
            (None, Some(hour)) => hour + if self.afternoon == Some(true) { 12 } else { 0 },
            (None, None) => 0,
        };
        let (minute, second) = (self.minute.unwrap_or(0), self.second.unwrap_or(0));
        let ms = ((hour * 60 + minute) * 60 + second) * 1000 + self.nanosecond.unwrap_or(0) / 1_000_000;
        match hour {
            24 if ms == DAY_MS => Some((0, 1)),
            24 => None,
            _ => Some((ms, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::format;

    fn moment(pattern: &str, text: &str) -> Option<i64> {
        timestamp(&Pattern::new(pattern).unwrap(), text, &TimeZone::UTC)
    }

    #[test]
    fn moments() {
        assert_eq!(moment("yyyy-MM-dd'T'HH:mm:ss.SSS", "1970-01-01T00:00:01.500"), Some(1500));
        assert_eq!(moment("yyyyMMddHHmmss", "19700101000001"), Some(1000));
        assert_eq!(moment("yyyy-MM-dd HH:mm:ss XXX", "1970-01-01 02:00:00 +02:00"), Some(0));
        assert_eq!(moment("yyyy-MM-dd HH:mm z", "1970-01-01 01:00 CET"), Some(0));
        assert_eq!(moment("d MMM yyyy h:mm a", "3 jul 2024 9:46 am"), Some(1_719_999_960_000));
        assert_eq!(moment("EEE d MMM yyyy", "Wed 3 Jul 2024"), Some(1_719_964_800_000));
        assert_eq!(moment("EEE d MMM yyyy", "Tue 3 Jul 2024"), None);
        assert_eq!(moment("MMM d HH:mm:ss", "Jan  2 00:00:00"), None, "one blank is one blank");
        assert_eq!(moment("yyyy[-MM[-dd]]", "1971"), Some(365 * DAY_MS));
        assert_eq!(moment("yyyy-MM-dd HH:mm", "1970-01-01 24:00"), Some(DAY_MS));
    }

    #[test]
    fn what_does_not_fit() {
        for text in ["", "1970-13-01", "1970-1-01", "1970-01-01x", "x1970-01-01", "1970-01-00"] {
            assert_eq!(moment("yyyy-MM-dd", text), None, "{text}");
        }
        assert_eq!(moment("yyyy-MM-dd", "2021-02-31"), moment("yyyy-MM-dd", "2021-02-28"));
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date(&Pattern::new("yyyy-MM-dd").unwrap(), "2000-02-29"), Some(11_016));
        assert_eq!(date(&Pattern::new("yyyy-MM-dd HH").unwrap(), "2000-02-29 10"), None);
        assert_eq!(time(&Pattern::new("HH:mm").unwrap(), "10:30"), Some(37_800_000));
        assert_eq!(time(&Pattern::new("yyyy HH").unwrap(), "2000 10"), None);
    }

    proptest! {
        #[test]
        fn reads_what_was_written(ms in -60_000_000_000_000i64..200_000_000_000_000) {
            for text in ["uuuu-MM-dd'T'HH:mm:ss.SSSXXXXX", "D uuuu A VV", "G yyyy MMMM d EEEE hh:mm:ss.SSS a"] {
                let pattern = Pattern::new(text).unwrap();
                let zone = zone::find("UTC").unwrap();
                let written = format::timestamp(&pattern, ms, &zone).unwrap();
                prop_assert_eq!(timestamp(&pattern, &written, &zone), Some(ms), "{}", written);
            }
        }

        #[test]
        fn hostile_text_never_panics(pattern in "[yMdHhmsSaEzXx' \\[\\]-]{0,12}", text in "\\PC{0,20}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                let _ = timestamp(&pattern, &text, &TimeZone::UTC);
                let _ = format::timestamp(&pattern, 0, &TimeZone::UTC);
            }
        }
    }
}
