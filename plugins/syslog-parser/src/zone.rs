//! Time zones: the one for lines that name none, and the names that lines use.

use jiff::tz::TimeZone;
use weir_plugin::ConfigError;

use crate::calendar::DateTime;

/// The abbreviations that devices write and that mean one thing nearly everywhere, with their offset in minutes.
/// The others (IST and AST, say) mean different things in different places, so the configured zone decides.
const ABBREVIATIONS: [(&[u8], i16); 24] = [
    (b"UTC", 0),
    (b"GMT", 0),
    (b"Z", 0),
    (b"WET", 0),
    (b"WEST", 60),
    (b"BST", 60),
    (b"CET", 60),
    (b"CEST", 120),
    (b"EET", 120),
    (b"EEST", 180),
    (b"MSK", 180),
    (b"JST", 540),
    (b"KST", 540),
    (b"AEST", 600),
    (b"AEDT", 660),
    (b"NZST", 720),
    (b"EST", -300),
    (b"EDT", -240),
    (b"CST", -360),
    (b"CDT", -300),
    (b"MST", -420),
    (b"MDT", -360),
    (b"PST", -480),
    (b"PDT", -420),
];

/// The offset from UTC that an abbreviation stands for, in seconds.
pub fn abbreviation(name: &[u8]) -> Option<i32> {
    let found = ABBREVIATIONS.iter().find(|(known, _)| *known == name)?;
    Some(i32::from(found.1) * 60)
}

/// The zone of lines that do not say theirs.
#[derive(Debug)]
pub enum Zone {
    /// Always the same offset from UTC, in seconds.
    Fixed(i32),
    /// A place, with its summer time.
    Named(TimeZone),
}

impl Zone {
    /// Reads the setting: an IANA name such as `Europe/Vienna`, `UTC`, or an offset such as `+02:00`.
    pub fn from_setting(setting: &str) -> Result<Self, ConfigError> {
        if let Some((offset, [])) = offset(setting.as_bytes()) {
            return Ok(Zone::Fixed(offset));
        }
        if setting.eq_ignore_ascii_case("UTC") {
            return Ok(Zone::Fixed(0));
        }
        let zone = TimeZone::get(setting).map_err(|_| {
            let wanted = "expected an IANA name such as Europe/Vienna, UTC, or an offset such as +02:00";
            ConfigError::at("timezone", format_args!("{wanted}, got `{setting}`"))
        })?;
        Ok(Zone::Named(zone))
    }

    /// The offset from UTC that holds at a local time, in seconds. Where summer time makes an hour twice, the first.
    #[inline]
    pub fn offset_at(&self, local: &DateTime) -> i32 {
        match self {
            Zone::Fixed(offset) => *offset,
            Zone::Named(zone) => named_offset(zone, local).unwrap_or_default(),
        }
    }
}

fn named_offset(zone: &TimeZone, local: &DateTime) -> Option<i32> {
    let [month, day, hour, minute, second] =
        [local.month, local.day, local.hour, local.minute, local.second].map(u8::cast_signed);
    let civil = jiff::civil::DateTime::new(local.year, month, day, hour, minute, second, 0).ok()?;
    let moment = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
    Some(zone.to_offset(moment).seconds())
}

/// Reads `Z`, `+hh:mm`, `+hhmm` or `+hh`: the offset in seconds, and what follows.
pub fn offset(text: &[u8]) -> Option<(i32, &[u8])> {
    let (sign, rest) = match text {
        [b'Z' | b'z', rest @ ..] => return Some((0, rest)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let [h1, h2, rest @ ..] = rest else { return None };
    let hours = i32::from(two_digits(*h1, *h2)?);
    let (minutes, rest) = match rest {
        [b':', m1, m2, rest @ ..] => (two_digits(*m1, *m2)?, rest),
        [m1, m2, rest @ ..] if m1.is_ascii_digit() => (two_digits(*m1, *m2)?, rest),
        rest => (0, rest),
    };
    if hours > 18 || minutes > 59 { None } else { Some((sign * (hours * 3600 + i32::from(minutes) * 60), rest)) }
}

/// A number of two digits.
#[inline]
pub fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { None } else { Some(tens * 10 + ones) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(month: u8, hour: u8) -> DateTime {
        DateTime { year: 2024, month, day: 31, hour, minute: 30, second: 0 }
    }

    #[test]
    fn offsets_are_read_in_all_their_forms() {
        for (text, seconds) in [("Z", 0), ("+00:00", 0), ("+02:00", 7200), ("-0330", -12_600), ("+05", 18_000)] {
            assert_eq!(offset(text.as_bytes()), Some((seconds, &b""[..])), "{text}");
        }
        assert_eq!(offset(b"+02:00 host"), Some((7200, &b" host"[..])));
        for text in ["", "02:00", "+2:00", "+19:00", "+02:60", "UTC"] {
            assert_eq!(offset(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_setting_is_a_place_or_an_offset() {
        assert!(matches!(Zone::from_setting("utc"), Ok(Zone::Fixed(0))));
        assert!(matches!(Zone::from_setting("-05:30"), Ok(Zone::Fixed(-19_800))));
        let vienna = Zone::from_setting("Europe/Vienna").unwrap();
        assert_eq!(vienna.offset_at(&local(1, 12)), 3600);
        assert_eq!(vienna.offset_at(&local(7, 12)), 7200);
        // On 31 March 2024 the hour from 2 to 3 does not exist there.
        assert_eq!(vienna.offset_at(&local(3, 2)), 7200);
        let error = Zone::from_setting("Mars/Olympus").unwrap_err();
        assert_eq!(error.path(), "timezone");
        assert!(error.message().ends_with("got `Mars/Olympus`"), "{}", error.message());
    }
}
