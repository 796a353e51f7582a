//! Time zones by name, from the database that is compiled in: the same on every machine.

use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();

/// Abbreviations that texts carry, with the zone that is meant.
const ABBREVIATIONS: [(&str, &str); 16] = [
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
    ("CET", "Europe/Paris"),
    ("CEST", "Europe/Paris"),
    ("BST", "Europe/London"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("AEST", "Australia/Sydney"),
    ("AEDT", "Australia/Sydney"),
    ("NZST", "Pacific/Auckland"),
];

/// Finds a zone: a region (`Europe/Berlin`), `UTC`, `GMT`, `Z`, an offset (`+02:00`, `GMT+2`) or a known abbreviation.
pub fn find(name: &str) -> Option<TimeZone> {
    let bare = ["UTC", "GMT", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if bare.is_empty() || bare == "Z" {
        return Some(TimeZone::UTC);
    }
    if bare.starts_with(['+', '-']) {
        let (seconds, length) = offset_in(bare)?;
        return if length == bare.len() { fixed(seconds) } else { None };
    }
    let region = ABBREVIATIONS.iter().find(|(short, _)| *short == name).map_or(name, |(_, region)| region);
    DATABASE.get_or_init(TimeZoneDatabase::bundled).get(region).ok()
}

/// The zone that is always so many seconds ahead of UTC.
pub fn fixed(seconds: i32) -> Option<TimeZone> {
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

/// Reads an offset at the start of a text: `+2`, `+02`, `+0230`, `+02:30`, with seconds too. Returns the seconds and the
/// length.
pub fn offset_in(text: &str) -> Option<(i32, usize)> {
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let bytes = text.as_bytes();
    let two = |at: usize| -> Option<i32> {
        let pair = bytes.get(at..at + 2)?;
        let all_digits = pair.iter().all(u8::is_ascii_digit);
        if all_digits { std::str::from_utf8(pair).ok()?.parse().ok() } else { None }
    };
    let Some(hours) = two(1) else {
        let digit = char::from(*bytes.get(1)?).to_digit(10)?;
        return Some((sign * i32::try_from(digit).ok()? * 3600, 2));
    };
    let (mut seconds, mut at) = (hours * 3600, 3);
    for unit in [60, 1] {
        let colon = usize::from(bytes.get(at) == Some(&b':'));
        let Some(part) = two(at + colon).filter(|part| *part < 60) else { break };
        seconds += part * unit;
        at += colon + 2;
    }
    (hours <= 18).then_some((sign * seconds, at))
}

/// How far a zone is ahead of UTC at a moment, in seconds, and what it is called then.
pub fn offset_at(zone: &TimeZone, ms: i64) -> Option<(i32, String)> {
    let moment = Timestamp::from_millisecond(ms).ok()?;
    let info = zone.to_offset_info(moment);
    Some((info.offset().seconds(), info.abbreviation().to_owned()))
}

/// The moment at which the clocks of a zone show `local` milliseconds since 1970-01-01T00:00. A time that is skipped moves
/// on by the gap, and of two equal times the earlier is taken, as in Java.
pub fn to_moment(zone: &TimeZone, local: i64) -> Option<i64> {
    let days = local.div_euclid(super::DAY_MS);
    let ms = local.rem_euclid(super::DAY_MS);
    let date = super::civil::from_days(days)?;
    let date =
        civil::Date::new(i16::try_from(date.year).ok()?, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?)
            .ok()?;
    let second_of_day = ms / 1000;
    let time = civil::Time::new(
        i8::try_from(second_of_day / 3600).ok()?,
        i8::try_from(second_of_day / 60 % 60).ok()?,
        i8::try_from(second_of_day % 60).ok()?,
        i32::try_from(ms % 1000 * 1_000_000).ok()?,
    )
    .ok()?;
    let moment = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()?;
    Some(moment.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_by_name() {
        for name in ["UTC", "Z", "GMT", "Europe/Berlin", "+02:00", "UTC+5", "GMT-03:30", "PST"] {
            assert!(find(name).is_some(), "{name}");
        }
        for name in ["", "Mars/Olympus", "+", "+99:00", "+02:00x"] {
            assert!(find(name).is_none() || name.is_empty(), "{name}");
        }
    }

    #[test]
    fn offsets() {
        assert_eq!(offset_in("+0230rest"), Some((9000, 5)));
        assert_eq!(offset_in("-02:30:10"), Some((-9010, 9)));
        assert_eq!(offset_in("+5"), Some((18000, 2)));
        assert_eq!(offset_in("5"), None);
    }

    #[test]
    fn summer_time() {
        let berlin = find("Europe/Berlin").unwrap();
        assert_eq!(offset_at(&berlin, 1_720_000_000_000), Some((7200, "CEST".to_owned())));
        assert_eq!(offset_at(&berlin, 1_705_000_000_000), Some((3600, "CET".to_owned())));
        // 2024-03-31T02:30 was skipped: it becomes 03:30 summer time, 01:30 UTC.
        assert_eq!(to_moment(&berlin, 1_711_852_200_000), Some(1_711_848_600_000));
    }
}
