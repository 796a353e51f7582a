//! `Config` and `new` are missing.

use weir_plugin::{Output, Record, Result, Transform, export};

struct Pass;

impl Transform for Pass {
    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        out.keep(record);
        Ok(())
    }
}

export!(Pass);

fn main() {}
