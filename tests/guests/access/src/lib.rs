//! A test plugin: does with many keys of its state what a record asks for. `get` reads keys from the host, `known` reads keys
//! that the instance has seen, `put` writes them. Each goes over all keys in one go.

use weir_plugin::bindings::state::{self, Strings};
use weir_plugin::state::{State, Table};
use weir_plugin::{ConfigError, Context, Event, Output, Result, Stateful, serde};

/// The number of the table: it is the only one.
const TABLE: u32 = 0;

/// What it works with.
#[derive(Debug, Clone, Copy, serde::Deserialize, serde::Serialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// How many keys.
    keys: u64,
}

/// The keys.
pub struct Access {
    keys: u64,
    /// All of them, as the host is asked.
    asked: Strings,
    table: Table<u64, u64>,
    round: u64,
}

impl Stateful for Access {
    type Config = Config;

    fn new(config: Config, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
        let mut asked = Strings { ends: Vec::new(), data: Vec::new() };
        for key in 0..config.keys {
            asked.data.extend_from_slice(&key.to_be_bytes());
            asked.ends.push(asked.data.len() as u32);
        }
        Ok(Access { keys: config.keys, asked, table: state.table("table")?, round: 0 })
    }

    fn process(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<()> {
        let found = match event.text()? {
            "put" => {
                self.round += 1;
                (0..self.keys).for_each(|key| self.table.put(&key, &(self.round + key), event.timestamp()));
                self.keys
            }
            "known" => (0..self.keys).filter(|key| self.table.contains(key, event.watermark())).count() as u64,
            "get" => {
                let found = state::get(TABLE, &self.asked);
                (found.values.ends.len() - found.missing.len()) as u64
            }
            other => return Err(format!("expected put, known or get, found {other}").into()),
        };
        out.emit(**event, found.to_string());
        Ok(())
    }
}

weir_plugin::export_stateful!(Access);
