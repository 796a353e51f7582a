//! A test plugin: sends odd numbers to the port `odd`, what begins with `late` to the port `late`, and lets all else go on.

use weir_plugin::{ConfigError, Context, NoConfig, Output, Port, Record, Result, Transform};

const ODD: Port = Port(1);
const LATE: Port = Port(2);

/// Sorts records by what their value says.
#[derive(Debug)]
pub struct Ports;

impl Transform for Ports {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(Ports)
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let text = record.text()?;
        if text.parse::<i64>().is_ok_and(|number| number % 2 != 0) {
            out.keep_to(ODD, record);
        } else if text.starts_with("late") {
            out.keep_to(LATE, record);
        } else {
            out.keep(record);
        }
        Ok(())
    }

    fn ports(&self) -> Vec<&str> {
        vec!["odd", "late"]
    }
}

weir_plugin::export!(Ports);

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::Harness;

    use super::*;

    #[test]
    fn records_leave_by_the_port_that_their_value_says() {
        let mut ports = Harness::<Ports>::new(json!({})).unwrap();
        assert_eq!(ports.ports(), ["odd", "late"]);
        let run = ports.process(["1", "2", "late one", "-3", "other"]);
        assert_eq!(run.values(), ["2", "other"]);
        assert_eq!(run.values_of(1), ["1", "-3"]);
        assert_eq!(run.values_of(2), ["late one"]);
    }
}
