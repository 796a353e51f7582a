//! Dates, times and moments in ISO 8601 form, as CAST reads and writes them.

use super::civil::{self, Date};
use super::{DAY_MS, zone};

/// Writes a date: `2024-02-29`.
pub fn date_text(days: i64) -> String {
    match civil::from_days(days) {
        Some(Date { year, month, day }) => format!("{year:04}-{month:02}-{day:02}"),
        None => format!("{days} days"),
    }
}

/// Writes a time of day as Java does: `10:30`, `10:30:05`, `10:30:05.250`.
pub fn time_text(ms: i64) -> String {
    let (seconds, fraction) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (second, fraction) {
        (0, 0) => format!("{hour:02}:{minute:02}"),
        (_, 0) => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}.{fraction:03}"),
    }
}

/// Writes a moment in UTC: `2024-02-29T10:30:05.250`.
pub fn timestamp_text(ms: i64) -> String {
    let (days, time) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let seconds = time / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{:03}", date_text(days), time % 1000)
}

/// Reads a date: `2024-02-29`, `2024-02`, `2024`. What stands behind a `T` is left out.
pub fn date_in(text: &str) -> Option<i64> {
    let text = text.trim();
    let day = text.split_once(['T', ' ']).map_or(text, |(day, _)| day);
    days_in(day)
}

fn days_in(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let year = digits(parts.next()?, 4..=4)?;
    let month = parts.next().map_or(Some(1), |part| digits(part, 1..=2))?;
    let day = parts.next().map_or(Some(1), |part| digits(part, 1..=2))?;
    civil::to_days(Date { year, month, day })
}

/// Reads a time of day: `10`, `10:30`, `10:30:05`, `10:30:05.250`.
pub fn time_in(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let mut parts = whole.splitn(3, ':');
    let hour = digits(parts.next()?, 1..=2).filter(|hour| *hour < 24)?;
    let minute = parts.next().map_or(Some(0), |part| digits(part, 1..=2)).filter(|minute| *minute < 60)?;
    let second = parts.next().map_or(Some(0), |part| digits(part, 1..=2)).filter(|second| *second < 60)?;
    let ms = match fraction {
        None => 0,
        Some(rest) => {
            digits(rest, 1..=9)?;
            digits(format!("{rest:0<3}").get(..3)?, 3..=3)?
        }
    };
    Some(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

/// Reads a moment: a date, and behind `T` or a blank a time with or without an offset (`Z`, `+02:00`). Without an offset
/// it is UTC.
pub fn timestamp_in(text: &str) -> Option<i64> {
    let text = text.trim();
    let Some((day, rest)) = text.split_once(['T', ' ']) else {
        return days_in(text)?.checked_mul(DAY_MS);
    };
    let split = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, offset) = rest.split_at_checked(split)?;
    let time = if time.is_empty() { 0 } else { time_in(time)? };
    let ahead = match offset {
        "" | "Z" => 0,
        _ => {
            let (seconds, length) = zone::offset_in(offset)?;
            if length == offset.len() { i64::from(seconds) * 1000 } else { return None }
        }
    };
    days_in(day)?.checked_mul(DAY_MS)?.checked_add(time)?.checked_sub(ahead)
}

fn digits(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let good = lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(timestamp_in("1970-01-01T00:00:01.5"), Some(1500));
        assert_eq!(timestamp_in("1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(timestamp_in("1970-01-01 00:00:01Z"), Some(1000));
        assert_eq!(timestamp_in("1971"), Some(365 * DAY_MS));
        assert_eq!(timestamp_in("2021-02-30"), None);
        assert_eq!(timestamp_in("yesterday"), None);
        assert_eq!(timestamp_text(-1), "1969-12-31T23:59:59.999");
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date_text(11_016), "2000-02-29");
        assert_eq!(date_in("2000-02-29T10:00"), Some(11_016));
        assert_eq!(time_text(37_805_250), "10:30:05.250");
        assert_eq!(time_text(37_800_000), "10:30");
        assert_eq!(time_in("10:30:05.25"), Some(37_805_250));
        assert_eq!(time_in("25:00"), None);
    }
}
