//! A test plugin: fails in the way that a record asks for, and lets all other records go on.
//!
//! A value that contains `trap-me` makes it trap, `loop-me` makes it never return, `reject-me` is rejected for good, and
//! `retry-me` is rejected with the hope that a later try succeeds, which it never does.

use weir_plugin::{ConfigError, Context, NoConfig, Output, Record, Reject, Result, Transform};

/// Fails on request.
#[derive(Debug)]
pub struct Touchy;

impl Transform for Touchy {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(Touchy)
    }

    /// # Panics
    /// When the record asks for it.
    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let text = record.text()?;
        assert!(!text.contains("trap-me"), "a record asked for a trap");
        while text.contains("loop-me") {
            std::hint::spin_loop();
        }
        if text.contains("reject-me") {
            return Err(Reject::permanent("the record asked to be rejected"));
        }
        if text.contains("retry-me") {
            return Err(Reject::retriable("the record asked to be tried again"));
        }
        out.keep(record);
        Ok(())
    }
}

weir_plugin::export!(Touchy);

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::{Answer, Harness};

    use super::*;

    #[test]
    fn records_are_rejected_as_they_ask() {
        let run = Harness::<Touchy>::new(json!({})).unwrap().process(["a", "reject-me", "retry-me", "b"]);
        assert_eq!(run.values(), ["a", "b"]);
        let rejects: Vec<_> = run.rejects.iter().map(|reject| (reject.index, reject.retriable)).collect();
        assert_eq!(rejects, [(1, false), (2, true)]);
        assert_eq!(run.answer, Answer::Unchanged);
    }

    #[test]
    #[should_panic(expected = "asked for a trap")]
    fn a_record_may_ask_for_a_trap() {
        Harness::<Touchy>::new(json!({})).unwrap().process(["a", "please trap-me"]);
    }
}
