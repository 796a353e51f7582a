//! A crate is one plugin.

use weir_plugin::{ConfigError, Context, NoConfig, Output, Record, Result, Transform, export};

struct Pass;

impl Transform for Pass {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(Pass)
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        out.keep(record);
        Ok(())
    }
}

export!(Pass);
export!(Pass);

fn main() {}
