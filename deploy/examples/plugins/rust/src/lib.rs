//! An example of a plugin: keeps the records whose value contains a text, and can mark or reject them. The same plugin is
//! beside this one in C and in JavaScript; README.md there says what its settings are.

use serde::Deserialize;
use weir_plugin::{ConfigError, Context, Output, Record, Reject, Result, Transform};

/// What the pipeline file says under `config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What a value has to contain.
    needle: String,
    /// The header that says what was found, for records that go on; none: they go on as they came.
    mark: Option<String>,
    /// Records with this in their value become dead letters.
    reject: Option<String>,
    /// Records with this in their value are to be tried again.
    retry: Option<String>,
}

/// Keeps the records that contain the needle.
#[derive(Debug)]
pub struct Grep(Config);

fn contains(value: &[u8], text: &str) -> bool {
    value.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Transform for Grep {
    type Config = Config;

    fn new(config: Config, _: &Context) -> Result<Self, ConfigError> {
        let needle = Some(&config.needle);
        let settings = [("needle", needle), ("mark", config.mark.as_ref()), ("reject", config.reject.as_ref())];
        for (path, text) in settings.into_iter().chain([("retry", config.retry.as_ref())]) {
            if text.is_some_and(String::is_empty) {
                return Err(ConfigError::at(path, "expected a text, got an empty one"));
            }
        }
        Ok(Grep(config))
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let Grep(Config { needle, mark, reject, retry }) = self;
        let Some(value) = record.value() else { return Ok(()) };
        if let Some(text) = reject.as_ref().filter(|text| contains(value, text)) {
            return Err(Reject::permanent(format_args!("the value contains {text:?}, which `reject` names")));
        }
        if let Some(text) = retry.as_ref().filter(|text| contains(value, text)) {
            return Err(Reject::retriable(format_args!("the value contains {text:?}, which `retry` names")));
        }
        match mark {
            _ if !contains(value, needle) => {}
            None => out.keep(record),
            Some(header) => out.build(record).header(header, needle.as_bytes()).same_value(),
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
