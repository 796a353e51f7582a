//! What a stateful transform sees of time.
#![allow(clippy::unwrap_used)]

use weir_plugin::serde_json::json;
use weir_plugin::state::{State, Timer, Timers};
use weir_plugin::testing::{StatefulHarness, TestRecord, test_context};
use weir_plugin::{ConfigError, Context, Event, NoConfig, Output, Result, Stateful};

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
