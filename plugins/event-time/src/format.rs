//! How times are written, by the name that the configuration gives it.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::fmt::temporal::DateTimeParser;
use weir_plugin::serde::de::Error as _;
use weir_plugin::serde::{Deserialize, Deserializer};
use weir_plugin::{Reject, Result};

use crate::pattern::Pattern;
use crate::unix::{self, Unit};
use crate::zone::Zone;

/// How much of a wrong text is told.
const SHOWN_CHARS_MAX: usize = 80;

static PARSER: DateTimeParser = DateTimeParser::new();

/// A way of writing times.
#[derive(Debug, Default)]
pub enum Format {
    /// `2024-07-03T09:46:00.5+02:00`; with a blank for the `T`, and without the zone, as well.
    #[default]
    Rfc3339,
    /// A number of units since 1970-01-01T00:00:00Z, which may have a fraction.
    Unix(Unit),
    /// As strftime writes it.
    Pattern(Pattern),
}

impl Format {
    /// Reads a time: milliseconds since 1970-01-01T00:00:00Z, rounded down.
    pub fn read(&self, text: &str, zone: &Zone) -> Result<i64> {
        let text = text.trim();
        match self {
            Format::Rfc3339 => rfc3339(text, zone).map_err(|error| unlike("a time as in RFC 3339", text, error)),
            Format::Unix(unit) => unix::milliseconds(text, *unit)
                .map_err(|wrong| unlike(format_args!("a number of {unit} since 1970"), text, wrong)),
            Format::Pattern(pattern) => pattern
                .read(text, zone)
                .map_err(|error| unlike(format_args!("a time as in {}", pattern.as_str()), text, error)),
        }
    }
}

fn rfc3339(text: &str, zone: &Zone) -> Result<i64, jiff::Error> {
    match PARSER.parse_timestamp(text) {
        Ok(moment) => Ok(floor_ms(moment)),
        Err(error) => {
            let pieces = PARSER.parse_pieces(text)?;
            if pieces.offset().is_some() || pieces.time_zone_annotation().is_some() {
                return Err(error);
            }
            zone.moment(pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight())))
        }
    }
}

/// The millisecond in which a moment lies: before 1970, that is not the one to which jiff rounds.
pub fn floor_ms(moment: Timestamp) -> i64 {
    moment.as_nanosecond().div_euclid(1_000_000) as i64
}

#[cold]
fn unlike(expected: impl std::fmt::Display, text: &str, why: impl std::fmt::Display) -> Reject {
    let end = text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text.len(), |(at, _)| at);
    let (shown, more) = (text.get(..end).unwrap_or_default(), if end < text.len() { "..." } else { "" });
    Reject::permanent(format_args!("expected {expected}, got {shown:?}{more}: {why}"))
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "rfc3339" => Ok(Format::Rfc3339),
            "unix" => Ok(Format::Unix(Unit::Seconds)),
            "unix_ms" => Ok(Format::Unix(Unit::Milliseconds)),
            "unix_us" => Ok(Format::Unix(Unit::Microseconds)),
            "unix_ns" => Ok(Format::Unix(Unit::Nanoseconds)),
            pattern if pattern.contains('%') => Pattern::new(pattern).map(Format::Pattern).map_err(D::Error::custom),
            _ => Err(D::Error::custom(format_args!(
                "expected rfc3339, unix, unix_ms, unix_us, unix_ns or a pattern as %Y-%m-%d %H:%M:%S, got {text:?}"
            ))),
        }
    }
}
