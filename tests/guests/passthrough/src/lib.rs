//! A test plugin: lets every record go on as it came, so its answer is always `unchanged`.

use weir_plugin::{ConfigError, Context, NoConfig, Output, Record, Result, Transform};

/// Lets every record go on.
#[derive(Debug)]
pub struct Passthrough;

impl Transform for Passthrough {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(Passthrough)
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        out.keep(record);
        Ok(())
    }
}

weir_plugin::export!(Passthrough);

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::{Answer, Harness};

    use super::*;

    #[test]
    fn everything_goes_on_and_nothing_is_copied() {
        let run = Harness::<Passthrough>::new(json!({})).unwrap().process(["a", "", "b"]);
        assert_eq!(run.values(), ["a", "", "b"]);
        assert_eq!(run.answer, Answer::Unchanged);
    }
}
