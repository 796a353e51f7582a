//! A sink is exported as a transform.

use weir_plugin::{ConfigError, Context, NoConfig, Record, RecordId, Result, Sink};

struct Mail;

impl Sink for Mail {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(Mail)
    }

    fn write(&mut self, _: Record<'_>, _: RecordId<'_>) -> Result<()> {
        Ok(())
    }
}

weir_plugin::export!(Mail);

fn main() {}
