//! Times by a pattern in the manner of strftime.

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::format::floor_ms;
use crate::zone::Zone;

/// A pattern that is known to tell a moment.
#[derive(Debug)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// Takes a pattern; an error says what it lacks.
    ///
    /// To find that out, a time is written by it and read again.
    pub fn new(text: &str) -> Result<Self, String> {
        let pattern = Pattern { text: text.to_owned() };
        let refused = |why: &dyn std::fmt::Display| {
            format!("expected a pattern that tells a date and a time, got {text:?}: {why}")
        };
        let sample = DateTime::constant(2001, 2, 3, 14, 5, 6, 0).to_zoned(TimeZone::UTC).map_err(|e| refused(&e))?;
        let written = BrokenDownTime::from(&sample).to_string(text).map_err(|e| refused(&e))?;
        pattern.read(&written, &Zone::default()).map_err(|e| refused(&e))?;
        Ok(pattern)
    }

    /// Reads a time: milliseconds since 1970-01-01T00:00:00Z.
    pub fn read(&self, text: &str, zone: &Zone) -> Result<i64, jiff::Error> {
        let time = BrokenDownTime::parse(&self.text, text)?;
        if time.timestamp().is_some() || (time.offset().is_some() && time.iana_time_zone().is_none()) {
            return time.to_timestamp().map(floor_ms);
        }
        match time.iana_time_zone() {
            Some(name) => Zone::named(name)?.moment(time.to_datetime()?),
            None => zone.moment(time.to_datetime()?),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
