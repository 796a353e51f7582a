//! The configuration does not derive `Deserialize`.

use weir_plugin::{ConfigError, Context, Output, Record, Result, Transform, export};

struct Settings {
    needle: String,
}

struct Grep(Settings);

impl Transform for Grep {
    type Config = Settings;

    fn new(config: Settings, _: &Context) -> Result<Self, ConfigError> {
        Ok(Grep(config))
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        if record.text()?.contains(&self.0.needle) {
            out.keep(record);
        }
        Ok(())
    }
}

export!(Grep);

fn main() {}
