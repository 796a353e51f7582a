//! Parses syslog lines into JSON: RFC 3164, RFC 5424, and what programs and devices really send.
//!
//! A record's value is a line; what goes on is the same record with a JSON object as its value:
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `timestamp` | string | RFC 3339, with the digits and the offset of the line (`Z` for UTC) |
//! | `host` | string | who wrote it |
//! | `appname` | string | the program, or the message code of a device (`%SYS-5-CONFIG_I`) |
//! | `procid` | string | the process |
//! | `msgid` | string | the kind of message (RFC 5424) |
//! | `facility` | string | `kern`, `user`, `mail`, `daemon`, `auth`, ... `local7` |
//! | `severity` | string | `emerg`, `alert`, `crit`, `err`, `warning`, `notice`, `info`, `debug` |
//! | `version` | number | 1 for RFC 5424, else absent |
//! | `structured_data` | object | `{"id": {"name": "value"}}`; a repeated name has an array of its values |
//! | `raw` | string | the line as it came but for its end, when `keep_raw` is set |
//! | `message` | string | the rest; always there |
//!
//! A field that the line does not have is absent, which SQL reads as NULL: so are `facility` and `severity` of a line
//! without priority. A line with a priority and without a timestamp has no `timestamp`; its record still has one.
//!
//! A line without a year is put in the latest year that does not place it more than a day after its record's timestamp,
//! so the answer is the same whenever it is asked for.

mod calendar;
mod line;
mod message;
mod rfc3164;
mod rfc5424;
mod sloppy;
mod stamp;
mod structured;
mod zone;

use serde::Deserialize;
use weir_plugin::{ConfigError, Context, Output, Record, Reject, Result, Transform};

use crate::line::{Parser, without_framing};
use crate::stamp::Stamps;
use crate::zone::Zone;

/// What can be set. All of it has a default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What becomes of a line that cannot be parsed. Default: `dead_letter`.
    pub on_error: OnError,
    /// The zone of timestamps that do not say theirs: an IANA name, `UTC`, or an offset such as `+02:00`. Default: `UTC`.
    pub timezone: String,
    /// Whether the time in the line becomes the record's timestamp, which joins and windows go by. Default: false.
    pub event_time: bool,
    /// Whether the line as it came is kept in the field `raw`. Default: false.
    pub keep_raw: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { on_error: OnError::DeadLetter, timezone: "UTC".to_owned(), event_time: false, keep_raw: false }
    }
}

/// What becomes of a line that cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It becomes a dead letter.
    DeadLetter,
    /// It goes on as `{"message": line, "error": reason}`.
    Pass,
}

/// Parses syslog lines.
#[derive(Debug)]
pub struct SyslogParser {
    config: Config,
    parser: Parser,
}

impl Transform for SyslogParser {
    type Config = Config;

    fn new(config: Config, _: &Context) -> Result<Self, ConfigError> {
        let stamps = Stamps::new(Zone::from_setting(&config.timezone)?);
        Ok(SyslogParser { config, parser: Parser::new(stamps) })
    }

    #[inline]
    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let line = record.bytes();
        match self.parser.parse(line, record.timestamp()) {
            Ok(message) => {
                let stamp = message.stamp.filter(|_| self.config.event_time);
                let timestamp = stamp.map_or(record.timestamp(), |stamp| stamp.millis());
                let raw = self.config.keep_raw.then(|| without_framing(line));
                out.build(record).timestamp(timestamp).value_with(|json| message.push(json, raw));
                Ok(())
            }
            Err(reason) if self.config.on_error == OnError::DeadLetter => Err(Reject::permanent(reason)),
            Err(reason) => {
                out.emit_with(record, |json| message::push_unparsed(json, without_framing(line), &reason));
                Ok(())
            }
        }
    }

    fn sets_time(&self) -> bool {
        self.config.event_time
    }
}

weir_plugin::export!(SyslogParser);
