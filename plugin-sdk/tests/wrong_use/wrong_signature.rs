//! `process` has no place to put its records.

use weir_plugin::{ConfigError, Context, NoConfig, Record, Result, Transform, export};

struct Pass;

impl Transform for Pass {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(Pass)
    }

    fn process(&mut self, record: Record<'_>) -> Result<()> {
        record.text().map(|_| ())
    }
}

export!(Pass);

fn main() {}
