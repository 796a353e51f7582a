//! Gives each record the time that a field or a header of it tells, which joins and windows then go by.

mod format;
mod pattern;
mod unix;
mod zone;

use weir_plugin::json::{self, Path};
use weir_plugin::{ConfigError, Context, Output, Record, Reject, Result, Transform, serde};

use crate::format::Format;
use crate::zone::Zone;

/// What stands under `config`.
#[derive(Debug, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// The field of the JSON value that holds the time; dots lead into objects. This or `header`.
    #[serde(default)]
    field: Option<Path>,
    /// The header that holds the time. This or `field`.
    #[serde(default)]
    header: Option<String>,
    /// How the time is written. Default: `rfc3339`.
    #[serde(default)]
    format: Format,
    /// The zone of times that do not say theirs: an IANA name, `UTC`, or an offset such as `+02:00`. Default: `UTC`.
    #[serde(default)]
    timezone: Zone,
    /// What becomes of a record whose time cannot be read. Default: `dead_letter`.
    #[serde(default)]
    on_error: OnError,
}

/// What becomes of a record whose time cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
enum OnError {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// It goes on with the time that it has.
    Pass,
}

/// Where a record's time stands.
#[derive(Debug)]
enum Place {
    Field(Path),
    Header(String),
}

/// The plugin.
#[derive(Debug)]
pub struct EventTime {
    place: Place,
    format: Format,
    timezone: Zone,
    on_error: OnError,
}

impl Transform for EventTime {
    type Config = Config;

    fn new(config: Config, _: &Context) -> Result<Self, ConfigError> {
        let Config { field, header, format, timezone, on_error } = config;
        let place = match (field, header) {
            (Some(field), None) => Place::Field(field),
            (None, Some(header)) => Place::Header(header),
            (None, None) => return Err("expected `field` or `header`, got neither".into()),
            (Some(_), Some(_)) => return Err(ConfigError::at("header", "expected `field` or `header`, got both")),
        };
        Ok(EventTime { place, format, timezone, on_error })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        match self.time_of(record) {
            Ok(time) if time == record.timestamp() => out.keep(record),
            Ok(time) => out.build(record).timestamp(time).same_value(),
            Err(_) if self.on_error == OnError::Pass => out.keep(record),
            Err(reject) => return Err(reject),
        }
        Ok(())
    }

    fn sets_time(&self) -> bool {
        true
    }
}

impl EventTime {
    fn time_of(&self, record: Record<'_>) -> Result<i64> {
        let read = |text: &str| self.format.read(text, &self.timezone);
        match &self.place {
            Place::Field(path) => {
                let doc = record.value().ok_or_else(|| Reject::permanent("expected a JSON object, got a tombstone"))?;
                read_field(doc, path, read).map_err(|wrong| about(format_args!("the field {path}"), &wrong))
            }
            Place::Header(name) => {
                read_header(record, name, read).map_err(|wrong| about(format_args!("the header {name}"), &wrong))
            }
        }
    }
}

fn read_field(doc: &[u8], path: &Path, read: impl Fn(&str) -> Result<i64>) -> Result<i64> {
    let place = path.find(doc)?.ok_or_else(|| Reject::permanent("expected a time, found no such field"))?;
    let value = doc.get(place).unwrap_or_default();
    match value.first() {
        Some(b'"') => read(&json::text::decode(value.get(1..value.len() - 1).unwrap_or_default())?),
        Some(b'-' | b'0'..=b'9') => read(std::str::from_utf8(value)?),
        Some(b'n') => Err(Reject::permanent("expected a time, got null")),
        Some(b'{') => Err(Reject::permanent("expected a text or a number, got an object")),
        Some(b'[') => Err(Reject::permanent("expected a text or a number, got an array")),
        _ => Err(Reject::permanent("expected a text or a number, got a boolean")),
    }
}

fn read_header(record: Record<'_>, name: &str, read: impl Fn(&str) -> Result<i64>) -> Result<i64> {
    let found = record.headers().find(|(given, _)| *given == name);
    match found {
        None => Err(Reject::permanent("expected a time, found no such header")),
        Some((_, None)) => Err(Reject::permanent("expected a time, got null")),
        Some((_, Some(value))) => read(std::str::from_utf8(value)?),
    }
}

#[cold]
fn about(place: impl std::fmt::Display, wrong: &Reject) -> Reject {
    Reject::permanent(format_args!("{place}: {}", wrong.reason()))
}

weir_plugin::export!(EventTime);
