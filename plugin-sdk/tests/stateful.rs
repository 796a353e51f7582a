//! What a stateful transform sees of the clock.
#![allow(clippy::unwrap_used)]

use weir_plugin::serde_json::json;
use weir_plugin::state::{State, Timer, Timers};
use weir_plugin::testing::{StatefulHarness, test_context};
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
