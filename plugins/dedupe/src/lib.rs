//! Lets the first record of each key go on, and drops those that repeat it within a time.
//!
//! What it has seen is keyed state: after a crash it knows exactly what it has let go on. Times are those of the records, so
//! a replay drops the same records again.

mod by;

pub use by::By;

use weir_plugin::state::{State, Table};
use weir_plugin::{Batch, ConfigError, Context, Duration, Event, Output, Port, Result, Stateful, serde};

/// Where records go that repeat another.
const REPEATED: Port = Port(1);

/// What stands under `config`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// What two records have in common when one repeats the other.
    #[serde(default)]
    by: By,
    /// How far apart in time they may be.
    within: Duration,
    /// What becomes of records so late that it is no longer known whether they repeat another.
    #[serde(default)]
    late: Late,
}

/// What becomes of a record that comes later than `within`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
enum Late {
    /// It goes on: rather twice than never.
    #[default]
    Pass,
    /// It is dropped.
    Drop,
}

/// The plugin.
pub struct Dedupe {
    config: Config,
    /// The time of the record that went on, by its key.
    seen: Table<Vec<u8>, i64>,
    key: Vec<u8>,
}

impl Stateful for Dedupe {
    type Config = Config;

    fn new(config: Config, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
        // A record that is late by as much as is still told repeats one that went on as much earlier than itself.
        let seen = state.table_with_ttl("seen", config.within.as_ms().saturating_mul(2))?;
        Ok(Dedupe { config, seen, key: Vec::new() })
    }

    fn prefetch(&mut self, batch: &Batch<'_>) {
        let by = &self.config.by;
        self.seen.prefetch(batch.iter().filter_map(|record| {
            let mut key = Vec::new();
            by.write(&record, &mut key).is_ok().then_some(key)
        }));
    }

    fn process(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<()> {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        let written = self.config.by.write(event, &mut key);
        let decided = written.map(|()| self.decide(&key, event));
        self.key = key;
        match decided? {
            Seen::First => out.keep(**event),
            Seen::Repeated => out.keep_to(REPEATED, **event),
            Seen::TooLate => {
                out.count_late();
                if self.config.late == Late::Pass {
                    out.keep(**event);
                }
            }
        }
        Ok(())
    }

    fn ports(&self) -> Vec<&str> {
        vec!["repeated"]
    }
}

/// What is known of a record's key.
enum Seen {
    First,
    Repeated,
    TooLate,
}

impl Dedupe {
    fn decide(&mut self, key: &Vec<u8>, event: &Event<'_>) -> Seen {
        let (time, within) = (event.timestamp(), self.config.within.as_ms());
        if event.watermark() > time.saturating_add_unsigned(within) {
            return Seen::TooLate;
        }
        if self.seen.get(key, event.watermark()).is_some_and(|first| time.abs_diff(first) <= within) {
            return Seen::Repeated;
        }
        self.seen.put(key, &time, time);
        Seen::First
    }
}

weir_plugin::export_stateful!(Dedupe);
