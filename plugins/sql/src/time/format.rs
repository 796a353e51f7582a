//! Writes dates, times and moments by a pattern.

use jiff::tz::TimeZone;

use super::civil::{self, Date};
use super::names::{self, DAYS, ERAS, HALVES, MONTHS};
use super::pattern::{Item, Pattern};
use super::{DAY_MS, zone};

/// What is to be written: a field that is not there cannot be.
struct Parts {
    date: Option<(Date, i64)>,
    /// Milliseconds of the day.
    time: Option<i64>,
    zone: Option<Zone>,
}

struct Zone {
    name: String,
    abbreviation: String,
    offset: i32,
}

/// Writes a moment as the clocks of a zone show it. `None` when the pattern cannot be filled.
pub fn timestamp(pattern: &Pattern, ms: i64, zone: &TimeZone) -> Option<String> {
    let (offset, abbreviation) = zone::offset_at(zone, ms)?;
    let local = ms.checked_add(i64::from(offset) * 1000)?;
    let days = local.div_euclid(DAY_MS);
    let name = zone.iana_name().map_or_else(|| offset_text(offset, 3, "Z"), str::to_owned);
    let parts = Parts {
        date: Some((civil::from_days(days)?, days)),
        time: Some(local.rem_euclid(DAY_MS)),
        zone: Some(Zone { name, abbreviation, offset }),
    };
    written(pattern, &parts)
}

/// Writes a date.
pub fn date(pattern: &Pattern, days: i64) -> Option<String> {
    written(pattern, &Parts { date: Some((civil::from_days(days)?, days)), time: None, zone: None })
}

/// Writes a time of day.
pub fn time(pattern: &Pattern, ms: i64) -> Option<String> {
    written(pattern, &Parts { date: None, time: Some(ms), zone: None })
}

fn written(pattern: &Pattern, parts: &Parts) -> Option<String> {
    let mut out = String::new();
    items(&pattern.items, parts, &mut out)?;
    Some(out)
}

fn items(list: &[Item], parts: &Parts, out: &mut String) -> Option<()> {
    for item in list {
        match item {
            Item::Literal(text) => out.push_str(text),
            Item::Field(letter, count) => field(*letter, *count, parts, out)?,
            Item::Optional(section) => {
                let before = out.len();
                if items(section, parts, out).is_none() {
                    out.truncate(before);
                }
            }
        }
    }
    Some(())
}

fn field(letter: char, count: usize, parts: &Parts, out: &mut String) -> Option<()> {
    match letter {
        'G' | 'y' | 'u' | 'M' | 'L' | 'd' | 'D' | 'E' | 'e' | 'c' | 'Q' | 'q' => {
            let (date, days) = parts.date?;
            out.push_str(&date_field(letter, count, date, days)?);
        }
        'V' | 'z' | 'O' | 'X' | 'x' | 'Z' => out.push_str(&zone_field(letter, count, parts.zone.as_ref()?)),
        'a' => out.push_str(HALVES.get(usize::from(parts.time? >= DAY_MS / 2))?),
        // A fraction of a second shows its leading digits, nine at the most.
        'S' => out.push_str(format!("{:03}000000", parts.time? % 1000).get(..count)?),
        _ => out.push_str(&padded(time_field(letter, parts.time?)?, count)),
    }
    Some(())
}

fn date_field(letter: char, count: usize, date: Date, days: i64) -> Option<String> {
    let Date { year, month, day } = date;
    let quarter = (month - 1) / 3 + 1;
    let year_of_era = if year > 0 { year } else { 1 - year };
    Some(match (letter, count) {
        ('G', _) => (*ERAS.get(usize::from(year > 0))?).to_owned(),
        ('y', 2) => padded(year_of_era % 100, 2),
        ('u', 2) => padded(year.rem_euclid(100), 2),
        ('y', _) => padded(year_of_era, count),
        ('u', _) => padded(year, count),
        ('M' | 'L', 1 | 2) => padded(month, count),
        ('M' | 'L', _) => names::name(&MONTHS, month, count)?.to_owned(),
        ('Q' | 'q', 1 | 2) => padded(quarter, count),
        ('Q' | 'q', 3) => format!("Q{quarter}"),
        ('Q' | 'q', _) => return None,
        ('d', _) => padded(day, count),
        ('D', _) => padded(civil::day_of_year(date), count),
        ('E', _) => names::name(&DAYS, civil::weekday(days), count)?.to_owned(),
        // In the United States a week begins on Sunday.
        _ => padded(civil::weekday(days) % 7 + 1, count),
    })
}

fn time_field(letter: char, ms: i64) -> Option<i64> {
    let seconds = ms / 1000;
    let hour = seconds / 3600;
    Some(match letter {
        'H' => hour,
        'k' => (hour + 23) % 24 + 1,
        'K' => hour % 12,
        'h' => (hour + 11) % 12 + 1,
        'm' => seconds / 60 % 60,
        's' => seconds % 60,
        'A' => ms,
        'n' => ms % 1000 * 1_000_000,
        'N' => ms * 1_000_000,
        _ => return None,
    })
}

fn zone_field(letter: char, count: usize, zone: &Zone) -> String {
    match (letter, count) {
        ('V', _) => zone.name.clone(),
        ('z', _) => zone.abbreviation.clone(),
        ('O', 1) if zone.offset % 3600 == 0 => match zone.offset / 3600 {
            0 => "GMT".to_owned(),
            hours => format!("GMT{hours:+}"),
        },
        ('O', _) | ('Z', 4) if zone.offset == 0 => "GMT".to_owned(),
        ('O', _) | ('Z', 4) => format!("GMT{}", offset_text(zone.offset, 3, "")),
        ('Z', 5) => offset_text(zone.offset, 5, "Z"),
        ('Z', _) => offset_text(zone.offset, 2, "+0000"),
        ('X', _) => offset_text(zone.offset, count, "Z"),
        (_, 1) => offset_text(zone.offset, 1, "+00"),
        (_, 2 | 4) => offset_text(zone.offset, count, "+0000"),
        _ => offset_text(zone.offset, count, "+00:00"),
    }
}

/// Writes an offset: form 1 is `+02` (minutes when there are any), 2 `+0200`, 3 `+02:00`, 4 and 5 the same with seconds
/// when there are any.
fn offset_text(offset: i32, form: usize, zero: &str) -> String {
    if offset == 0 && !zero.is_empty() {
        return zero.to_owned();
    }
    let sign = if offset < 0 { '-' } else { '+' };
    let size = offset.abs();
    let (hours, minutes, seconds) = (size / 3600, size / 60 % 60, size % 60);
    let colon = if form % 2 == 1 { ":" } else { "" };
    let mut text = format!("{sign}{hours:02}");
    if form == 1 {
        if minutes != 0 {
            text.push_str(&format!("{minutes:02}"));
        }
        return text;
    }
    text.push_str(&format!("{colon}{minutes:02}"));
    if form >= 4 && seconds != 0 {
        text.push_str(&format!("{colon}{seconds:02}"));
    }
    text
}

fn padded(number: i64, width: usize) -> String {
    if number < 0 { format!("-{:0width$}", -number) } else { format!("{number:0width$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(pattern: &str, ms: i64, zone: &str) -> Option<String> {
        timestamp(&Pattern::new(pattern).unwrap(), ms, &zone::find(zone).unwrap())
    }

    #[test]
    fn moments() {
        let ms = 1_720_000_005_250; // 2024-07-03T09:46:45.250Z, a Wednesday
        assert_eq!(show("yyyy-MM-dd'T'HH:mm:ss.SSSX", ms, "UTC").unwrap(), "2024-07-03T09:46:45.250Z");
        assert_eq!(show("EEE, d MMM uu h:mm a z", ms, "Europe/Berlin").unwrap(), "Wed, 3 Jul 24 11:46 AM CEST");
        assert_eq!(
            show("EEEE MMMM D VV xxx Z O", ms, "Asia/Kolkata").unwrap(),
            "Wednesday July 185 Asia/Kolkata +05:30 +0530 GMT+05:30"
        );
        assert_eq!(show("kk KK SSSSSS", 0, "UTC").unwrap(), "24 00 000000");
        assert_eq!(show("yy G", -70_000_000_000_000, "UTC").unwrap(), "50 BC");
    }

    #[test]
    fn dates_and_times_have_only_their_fields() {
        assert_eq!(date(&Pattern::new("dd/MM/yyyy[ HH:mm]").unwrap(), 0).unwrap(), "01/01/1970");
        assert_eq!(date(&Pattern::new("HH").unwrap(), 0), None);
        assert_eq!(time(&Pattern::new("HH:mm:ss").unwrap(), 37_805_250).unwrap(), "10:30:05");
        assert_eq!(time(&Pattern::new("yyyy").unwrap(), 0), None);
    }
}
