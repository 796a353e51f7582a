//! A test plugin of which many versions are made without a compiler: what it does and which version it is stands in a text of
//! its data, which tests replace in the compiled file.

use std::hint::black_box;

use weir_plugin::{ConfigError, Context, NoConfig, Output, Record, Result, Transform};

/// What to do, and the version's number: `good`, `trap`, `spin` or `deny`, a blank, and eight digits.
static MARK: [u8; 26] = *b"weir-version:good 00000000";
/// What stands before what is to be read.
const BEFORE: usize = b"weir-version:".len();

/// One of the versions.
#[derive(Debug)]
pub struct Versioned {
    deed: &'static [u8],
    number: String,
}

impl Transform for Versioned {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        // The compiler is not to know what stands there.
        let mark = black_box(&MARK).get(BEFORE..).unwrap_or_default();
        let (deed, number) = mark.split_at_checked(4).ok_or_else(|| ConfigError::from("the mark is too short"))?;
        Ok(Versioned { deed, number: String::from_utf8_lossy(number).trim().to_owned() })
    }

    /// Adds its number behind the value of each record, if it is a good one.
    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        match self.deed {
            b"trap" => std::process::abort(),
            b"spin" => loop {
                black_box(&self.number);
            },
            b"deny" => Err(format!("version {} takes nothing", self.number).into()),
            _ => {
                let value = format!("{} {}", record.text()?, self.number);
                out.emit(record, value);
                Ok(())
            }
        }
    }
}

weir_plugin::export!(Versioned);

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::Harness;

    use super::*;

    #[test]
    fn its_number_goes_behind_each_value() {
        let run = Harness::<Versioned>::new(json!({})).unwrap().process(["a", "b"]);
        assert_eq!(run.values(), ["a 00000000", "b 00000000"]);
    }
}
