//! A test plugin: counts records by their value, in windows of a fixed size or in sessions, and says each count once the
//! window has closed. What comes too late goes to the port `late`.

use weir_plugin::state::{Sessions, State, Timer, Windows};
use weir_plugin::{ConfigError, Context, Event, Output, Port, Result, Stateful, serde};

const LATE: Port = Port(1);

/// How to count; times in milliseconds.
#[derive(Debug, Clone, Copy, serde::Deserialize, serde::Serialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields, rename_all = "lowercase")]
pub enum Config {
    /// In windows of a fixed size, which may overlap.
    Windows {
        /// How long each is.
        size: u64,
        /// How far apart they begin.
        advance: u64,
        /// How late a record may be.
        grace: u64,
    },
    /// In sessions.
    Sessions {
        /// How far apart the records of one may be.
        gap: u64,
        /// How late a record may be.
        grace: u64,
    },
}

/// The counts.
pub enum Counter {
    /// By window.
    Windows(Windows<String, u64>),
    /// By session.
    Sessions(Sessions<String, u64>),
}

impl Stateful for Counter {
    type Config = Config;

    fn new(config: Config, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
        Ok(match config {
            Config::Windows { size, advance, grace } => {
                Counter::Windows(state.hopping("counts", size, advance, grace)?)
            }
            Config::Sessions { gap, grace } => Counter::Sessions(state.sessions("counts", gap, grace)?),
        })
    }

    fn process(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<()> {
        let key = event.text()?.to_owned();
        let is_counted = match self {
            Counter::Windows(windows) => windows.add(&key, event, |_, count| *count += 1) > 0,
            Counter::Sessions(sessions) => sessions.add(&key, event, |all, more| *all += more, |count| *count += 1),
        };
        if !is_counted {
            out.count_late();
            out.keep_to(LATE, **event);
        }
        Ok(())
    }

    fn timer(&mut self, timer: &Timer<'_>, out: &mut Output<'_>) -> Result<()> {
        let closed = match self {
            Counter::Windows(windows) => {
                windows.closed(timer).map(|(key, window, count)| (key, window.start, window.end, count))
            }
            Counter::Sessions(sessions) => {
                sessions.closed(timer).map(|(key, session, count)| (key, session.first, session.last, count))
            }
        };
        if let Some((key, start, end, count)) = closed {
            out.make(end).key(&key).value(format!("{key} {start} {end} {count}"));
        }
        Ok(())
    }

    fn ports(&self) -> Vec<&str> {
        vec!["late"]
    }
}

weir_plugin::export_stateful!(Counter);

#[cfg(test)]
mod tests {
    use weir_plugin::testing::{StatefulHarness, TestRecord};

    use super::*;

    fn at(key: &str, timestamp: i64) -> TestRecord {
        TestRecord::of(key).timestamp(timestamp)
    }

    #[test]
    fn windows_close_once_the_watermark_is_past_their_grace() {
        let config = Config::Windows { size: 10, advance: 10, grace: 5 };
        let mut counter = StatefulHarness::<Counter>::new(config).unwrap();
        let run = counter.process([at("a", 1), at("b", 3), at("a", 14), at("a", 9)]);
        assert_eq!(run.values(), [""; 0]);
        assert_eq!(counter.alarms(), (Some(15), None));
        let run = counter.process([at("a", 15), at("a", 9)]);
        assert_eq!(run.values(), ["a 0 10 2", "b 0 10 1"]);
        assert_eq!((run.values_of(1), counter.late()), (vec!["a".to_owned()], 1));
        let mut counter = counter.restart(config).unwrap();
        let made = counter.advance(100, 0);
        assert_eq!(made.iter().map(|made| made.text()).collect::<Vec<_>>(), ["a 10 20 2"]);
        assert!(counter.table("counts").is_empty());
    }

    #[test]
    fn a_record_between_two_sessions_joins_them() {
        let mut counter = StatefulHarness::<Counter>::new(Config::Sessions { gap: 5, grace: 10 }).unwrap();
        assert_eq!(counter.process([at("a", 0), at("a", 10), at("b", 4), at("a", 5)]).values(), [""; 0]);
        let made = counter.advance(100, 0);
        assert_eq!(made.iter().map(|made| made.text()).collect::<Vec<_>>(), ["b 4 4 1", "a 0 10 3"]);
    }

    #[test]
    fn overlapping_windows_each_count() {
        let config = Config::Windows { size: 10, advance: 4, grace: 0 };
        let mut counter = StatefulHarness::<Counter>::new(config).unwrap();
        counter.process([at("a", 9)]);
        let made = counter.advance(100, 0);
        assert_eq!(made.iter().map(|made| made.text()).collect::<Vec<_>>(), ["a 0 10 1", "a 4 14 1", "a 8 18 1"]);
    }
}
