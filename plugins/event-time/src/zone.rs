//! The zone of times that do not say theirs.

use std::sync::OnceLock;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use weir_plugin::serde::de::Error as _;
use weir_plugin::serde::{Deserialize, Deserializer};

use crate::format::floor_ms;

/// The database that is compiled in: the same on every machine.
static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();

/// A zone.
#[derive(Debug)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Zone(TimeZone::UTC)
    }
}

impl Zone {
    /// A zone by its IANA name.
    pub fn named(name: &str) -> Result<Self, jiff::Error> {
        DATABASE.get_or_init(TimeZoneDatabase::bundled).get(name).map(Zone)
    }

    /// When its clocks show a time: milliseconds since 1970-01-01T00:00:00Z. A time that summer time leaves out moves on by the
    /// gap, and of two the first is taken.
    pub fn moment(&self, local: DateTime) -> Result<i64, jiff::Error> {
        self.0.to_ambiguous_timestamp(local).compatible().map(floor_ms)
    }
}

/// Reads `+hh:mm`, `+hhmm` or `+hh`: the offset in seconds.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let two =
        |text: &str| if text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    let (hours, minutes) = digits.split_at_checked(2)?;
    let hours: i32 = two(hours)?;
    let minutes: i32 = if minutes.is_empty() { 0 } else { two(minutes.strip_prefix(':').unwrap_or(minutes))? };
    if hours > 18 || minutes > 59 { None } else { Some(sign * (hours * 3600 + minutes * 60)) }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.eq_ignore_ascii_case("UTC") || text == "Z" {
            return Ok(Zone::default());
        }
        if let Some(offset) = offset(&text).and_then(|seconds| Offset::from_seconds(seconds).ok()) {
            return Ok(Zone(TimeZone::fixed(offset)));
        }
        let expected = "expected an IANA name such as Europe/Vienna, UTC, or an offset such as +02:00";
        Zone::named(&text).map_err(|_| D::Error::custom(format_args!("{expected}, got `{text}`")))
    }
}
