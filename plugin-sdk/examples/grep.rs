//! A whole plugin: keeps the records that contain a word. A template for your own.
//!
//! In a crate of its own this file is `src/lib.rs`, and `Cargo.toml` says `crate-type = ["cdylib"]` under `[lib]`.

use serde::Deserialize;
use weir_plugin::{ConfigError, Context, Output, Record, Result, Transform};

/// What the pipeline file says under `config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What a record has to contain.
    needle: String,
}

struct Grep(Config);

impl Transform for Grep {
    type Config = Config;

    fn new(config: Config, _: &Context) -> Result<Self, ConfigError> {
        Ok(Grep(config))
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        if record.text()?.contains(&self.0.needle) {
            out.keep(record);
        }
        Ok(())
    }
}

weir_plugin::export!(Grep);

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::{Answer, Harness};

    use super::Grep;

    #[test]
    fn keeps_what_contains_the_needle() {
        let mut grep = Harness::<Grep>::new(json!({ "needle": "hay" })).unwrap();
        let run = grep.process(["haystack", "straw"]);
        assert_eq!(run.values(), ["haystack"]);
        assert_eq!(run.filtered, [1]);
        assert_eq!(run.answer, Answer::Select);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let error = Harness::<Grep>::new(json!({ "nedle": "hay" })).err().unwrap();
        assert_eq!(error.path(), "nedle");
        assert_eq!(error.message(), "unknown field `nedle`, expected `needle`");
    }
}
