//! A stateful transform without its third parameter.

use weir_plugin::{ConfigError, Context, Event, NoConfig, Output, Result, Stateful, export_stateful};

struct Count;

impl Stateful for Count {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(Count)
    }

    fn process(&mut self, _: &Event<'_>, _: &mut Output<'_>) -> Result<()> {
        Ok(())
    }
}

export_stateful!(Count);

fn main() {}
