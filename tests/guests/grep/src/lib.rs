//! A test plugin: keeps the records whose value contains a text, and filters out the others.

use memchr::memmem::Finder;
use serde::Deserialize;
use weir_plugin::{ConfigError, Context, Output, Record, Result, Transform};

/// What to look for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What a record has to contain.
    pub needle: String,
}

/// Keeps the records that contain the needle.
#[derive(Debug)]
pub struct Grep(Finder<'static>);

impl Transform for Grep {
    type Config = Config;

    fn new(config: Config, _: &Context) -> Result<Self, ConfigError> {
        Ok(Grep(Finder::new(&config.needle).into_owned()))
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        if self.0.find(record.text()?.as_bytes()).is_some() {
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

    use super::*;

    #[test]
    fn what_does_not_contain_the_needle_is_filtered_out() {
        let mut grep = Harness::<Grep>::new(json!({ "needle": "b" })).unwrap();
        let run = grep.process(["abc", "xyz", "b"]);
        assert_eq!(run.values(), ["abc", "b"]);
        assert_eq!(run.filtered, [1]);
        assert_eq!(run.answer, Answer::Select);
    }
}
