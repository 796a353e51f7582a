//! What a stateful transform sees of time.
#![allow(clippy::unwrap_used)]

use weir_plugin::serde_json::json;
use weir_plugin::state::{State, Table, Timer, Timers};
use weir_plugin::testing::{StatefulHarness, TestRecord, test_context};
use weir_plugin::{ConfigError, Context, Event, Migration, NoConfig, Output, Result, Stateful};

/// Tells each record the time of the clock as soon as it knows it, and once more 10 ms later.
struct Clock {
    timers: Timers<String>,
}

impl Stateful for Clock {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
        Ok(Clock { timers: state.clock_timers("clock")? })
    }

    fn process(&mut self, event: &Event<'_>, _: &mut Output<'_>) -> Result<()> {
        self.timers.set(0, &event.text()?.to_owned());
        Ok(())
    }

    fn timer(&mut self, timer: &Timer<'_>, out: &mut Output<'_>) -> Result<()> {
        if let Some(text) = self.timers.key_of(timer) {
            out.make(0).value(format!("{text} {}", timer.now()));
            if timer.at() == 0 {
                self.timers.set(timer.now() + 10, &text);
            }
        }
        Ok(())
    }
}

#[test]
fn a_timer_for_a_time_that_is_past_tells_the_clock() {
    let mut clock = StatefulHarness::<Clock>::new(json!({})).unwrap();
    clock.process(["a"]);
    assert_eq!(clock.writes(), 1);
    assert_eq!(clock.alarms(), (None, Some(0)));
    let told = |clock: &mut StatefulHarness<Clock>, now| {
        clock.advance(None, now)[..].iter().map(|o| o.text()).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut clock, 1000), ["a 1000"]);
    assert_eq!((clock.alarms(), clock.writes()), ((None, Some(1010)), 3));
    let mut clock = clock.restart_with_context(json!({}), &test_context()).unwrap();
    assert_eq!(told(&mut clock, 1009), [""; 0]);
    assert_eq!(told(&mut clock, 1011), ["a 1011"]);
}

/// Sets timers, each of which sets one more for a time that is past.
struct Echo {
    timers: Timers<(u64, u64)>,
}

impl Stateful for Echo {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
        Ok(Echo { timers: state.timers("timers")? })
    }

    fn process(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<()> {
        for number in 0..event.text()?.parse()? {
            self.timers.set(event.timestamp() + 1 + number as i64, &(number, 0));
        }
        out.keep(**event);
        Ok(())
    }

    fn timer(&mut self, timer: &Timer<'_>, out: &mut Output<'_>) -> Result<()> {
        if let Some((number, echo)) = self.timers.key_of(timer) {
            out.make(timer.at()).value(format!("{number} {echo}"));
            if echo == 0 {
                self.timers.set(0, &(number, 1));
            }
        }
        Ok(())
    }
}

#[test]
fn however_many_timers_are_due_they_fire_in_order_and_before_what_comes_after_them() {
    let mut echo = StatefulHarness::<Echo>::new(json!({})).unwrap();
    let at = |value: &str, time| TestRecord::of(value).timestamp(time);
    // 12,000 firings, in more calls than one: the first record behind them has to wait.
    let run = echo.process([at("6000", 1), at("0", 5000), at("0", 10_000), at("3", 10_000)]);
    let fired = |numbers: std::ops::Range<u64>| numbers.flat_map(|n| [format!("{n} 0"), format!("{n} 1")]);
    let expected: Vec<String> = std::iter::once("6000".to_owned())
        .chain(fired(0..4999))
        .chain(["0".to_owned()])
        .chain(fired(4999..6000))
        .chain(["0", "3"].map(str::to_owned))
        .collect();
    assert!(run.values() == expected);
    assert!(run.filtered.is_empty() && run.rejects.is_empty());
    assert_eq!(echo.advance(10_002, 0).len(), 4);
    assert_eq!(echo.alarms(), (Some(10_003), None));
}

/// Counts records by their value.
struct Counts {
    counts: Table<String, u64>,
}

impl Stateful for Counts {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
        Ok(Counts { counts: state.table_with_ttl("counts", 1_000)? })
    }

    fn process(&mut self, event: &Event<'_>, _: &mut Output<'_>) -> Result<()> {
        let key = event.text()?.to_owned();
        let count = self.counts.get(&key, event.watermark()).unwrap_or_default() + 1;
        self.counts.put(&key, &count, event.timestamp());
        Ok(())
    }
}

/// The next version of it, whose counts are text; it drops those of `b`.
struct Texts {
    counts: Table<String, String>,
}

impl Stateful for Texts {
    type Config = NoConfig;

    const SCHEMA: u32 = 2;

    fn new(_: NoConfig, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
        Ok(Texts { counts: state.table_with_ttl("counts", 1_000)? })
    }

    fn migrate(&mut self, from: u32) -> Result<Migration> {
        assert_eq!(from, 1);
        self.counts.rewrite(|key, count: u64| (key != "b").then(|| format!("{count} of {key}")))
    }

    fn process(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<()> {
        let key = event.text()?.to_owned();
        out.emit(**event, self.counts.get(&key, event.watermark()).unwrap_or_default());
        Ok(())
    }
}

#[test]
fn another_version_rewrites_what_is_remembered_and_when_it_was_written_stays() {
    let mut counts = StatefulHarness::<Counts>::new(json!({})).unwrap();
    let many: Vec<String> = (0..2_500).map(|n| format!("key {n}")).collect();
    counts.process(many.iter().map(|key| TestRecord::from(key.as_str()).timestamp(100)));
    counts.process(["a", "a", "b"].map(|key| TestRecord::from(key).timestamp(500)));
    let mut texts = counts.upgrade::<Texts>(json!({})).unwrap();
    assert_eq!(texts.table("counts").len(), 2_501);
    let told = texts.process(["a", "b", "key 2499"].map(|key| TestRecord::from(key).timestamp(600)));
    assert_eq!(told.values(), ["2 of a", "", "1 of key 2499"]);
    let told = texts.process(["a", "key 0"].map(|key| TestRecord::from(key).timestamp(1_200)));
    assert_eq!(told.values(), ["2 of a", ""], "what was written at 100 is gone");
}

#[test]
fn what_no_migration_reads_is_said() {
    let mut echo = StatefulHarness::<Texts>::new(json!({})).unwrap();
    echo.process(["a"]);
    let error = echo.upgrade::<Counts>(json!({})).err().unwrap();
    assert_eq!(error.message(), "it knows no migration: it has no `fn migrate`");
}
