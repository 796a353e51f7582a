//! A test plugin: joins each record of the first input with the value that its key had, at the record's time, in the table
//! that is the second input. A record waits until the watermark is past its time by `grace`, so that rows of the table may
//! be late by as much.

use weir_plugin::state::{State, Table, Timer, Timers};
use weir_plugin::{ConfigError, Context, Event, Output, Result, Stateful, serde};

/// The input that is the table.
const TABLE: u32 = 1;

/// How long to wait, in milliseconds.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Config {
    grace: u64,
}

/// The join.
pub struct AsOf {
    grace: u64,
    /// By key and time.
    versions: Table<(String, i64), Vec<u8>>,
    /// By the number under which a record waits: key, time, value.
    waiting: Table<u64, (String, (i64, Vec<u8>))>,
    /// How many have waited.
    count: Table<(), u64>,
    due: Timers<u64>,
}

impl Stateful for AsOf {
    type Config = Config;

    fn new(config: Config, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
        Ok(AsOf {
            grace: config.grace,
            versions: state.table("versions")?,
            waiting: state.table("waiting")?,
            count: state.table("count")?,
            due: state.timers("due")?,
        })
    }

    fn process(&mut self, event: &Event<'_>, _: &mut Output<'_>) -> Result<()> {
        let (watermark, time) = (event.watermark(), event.timestamp());
        let key = String::from_utf8(event.key().unwrap_or_default().to_vec())?;
        if event.input() == TABLE {
            self.versions.put(&(key, time), &event.bytes().to_vec(), time);
            return Ok(());
        }
        let number = self.count.get(&(), watermark).unwrap_or(0);
        self.count.put(&(), &(number + 1), time);
        self.waiting.put(&number, &(key, (time, event.bytes().to_vec())), time);
        self.due.set(time.saturating_add_unsigned(self.grace), &number);
        Ok(())
    }

    fn timer(&mut self, timer: &Timer<'_>, out: &mut Output<'_>) -> Result<()> {
        let Some(number) = self.due.key_of(timer) else { return Ok(()) };
        let Some((key, (time, value))) = self.waiting.get(&number, timer.watermark()) else { return Ok(()) };
        self.waiting.delete(&number);
        let mut version = b"none".to_vec();
        self.versions.scan_while(&key, timer.watermark(), |(_, since), found| {
            if since <= time {
                version = found;
            }
            since <= time
        });
        out.make(time).key(&key).value([value.as_slice(), b" ", &version].concat());
        Ok(())
    }
}

weir_plugin::export_stateful!(AsOf);

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::{StatefulHarness, TestRecord};

    use super::*;

    #[test]
    fn a_record_meets_the_version_of_its_time() {
        let mut join = StatefulHarness::<AsOf>::new(json!({"grace": 5})).unwrap();
        let at = |value: &str, time| TestRecord::of(value).key("k").timestamp(time);
        join.process_input(1, [at("v1", 0), at("v2", 10)]);
        assert_eq!(join.process([at("a", 9), at("b", 10), at("c", -1), at("d", 14)]).values(), ["c none", "a v1"]);
        join.process_input(1, [at("v3", 12)]);
        let made = join.advance(100, 0);
        assert_eq!(made.iter().map(|made| made.text()).collect::<Vec<_>>(), ["b v2", "d v3"]);
    }
}
