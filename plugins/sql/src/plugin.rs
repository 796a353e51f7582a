//! The statement as a Weir plugin: takes it out of the configuration and runs it over batches.

use weir_plugin::{ConfigError, Context, Output, Record, Reject, Result, Transform};

use crate::json::Malformed;
use crate::query::Query;
use crate::row::{Place, Scratch};

/// The configuration.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The statement: `SELECT .. FROM input [WHERE ..]`.
    pub statement: String,
}

/// A statement that runs over the records of one partition.
#[derive(Debug)]
pub struct Sql {
    query: Query,
    partition: u32,
    scratch: Scratch,
}

impl Transform for Sql {
    type Config = Config;

    fn new(config: Config, context: &Context) -> Result<Sql, ConfigError> {
        let query = Query::compile(&config.statement, &context.inputs)
            .map_err(|e| ConfigError::at("statement", e.excerpt(&config.statement)))?;
        Ok(Sql { query, partition: context.partition, scratch: Scratch::default() })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let query = &self.query;
        if !query.filters() && !query.projects() {
            out.keep(record);
            return Ok(());
        }
        let Some(value) = record.value() else {
            // As in ksqlDB: a tombstone passes no WHERE, and a projection of it is a tombstone.
            if !query.filters() {
                out.keep(record);
            }
            return Ok(());
        };
        let place = Place {
            key: record.key(),
            timestamp: record.timestamp(),
            partition: self.partition,
            offset: i64::try_from(record.offset()).unwrap_or(i64::MAX),
        };
        let mut row = query.open(value, place, &mut self.scratch).map_err(malformed)?;
        if !query.passes(&mut row).map_err(malformed)? {
            return Ok(());
        }
        if !query.projects() {
            out.keep(record);
            return Ok(());
        }
        out.build(record).try_value_with(|buffer| query.write(&mut row, buffer)).map_err(malformed)
    }
}

/// A record that cannot be read now never will be.
fn malformed(fault: Malformed) -> Reject {
    Reject::permanent(fault)
}

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::{Answer, Harness, TestRecord};

    use super::*;

    fn harness(statement: &str) -> Harness<Sql> {
        Harness::new(json!({ "statement": statement })).unwrap()
    }

    #[test]
    fn a_filter_answers_with_select() {
        let run =
            harness("SELECT * FROM input WHERE n > 1").process([r#"{"n":1}"#, r#"{"n":2}"#, "broken", r#"{"n":"x"}"#]);
        assert_eq!(run.values(), [r#"{"n":2}"#]);
        assert!(matches!(run.answer, Answer::Select));
        assert_eq!(run.rejects.len(), 1);
        assert_eq!(run.rejects[0].index, 2);
        assert_eq!(run.rejects[0].reason, "malformed JSON at byte 0: expected a JSON object");
        assert!(!run.rejects[0].retriable);
    }

    #[test]
    fn everything_goes_on_unchanged_and_unread() {
        let run = harness("SELECT * FROM input").process(["broken", r#"{"n":2}"#]);
        assert!(matches!(run.answer, Answer::Unchanged));
        assert_eq!(run.values().len(), 2);
    }

    #[test]
    fn a_projection_keeps_key_time_and_headers() {
        let record = TestRecord::of(r#"{"n":2}"#).key("k").timestamp(7).header("h", "v");
        let run = harness("SELECT n + 1 AS m, ROWTIME AS t, ROWKEY AS k FROM input").process([record]);
        assert_eq!(run.values(), [r#"{"m":3,"t":7,"k":"k"}"#]);
        let record = &run.outputs[0].record;
        assert_eq!((record.key.as_deref(), record.timestamp, record.headers.len()), (Some(b"k".as_slice()), 7, 1));
    }

    #[test]
    fn a_record_that_breaks_halfway_leaves_nothing_behind() {
        let run = harness("SELECT a, b FROM input").process([r#"{"a":1,"b":[1,,2]}"#, r#"{"a":1,"b":2}"#]);
        assert_eq!(run.values(), [r#"{"a":1,"b":2}"#]);
        assert_eq!(run.rejects.len(), 1);
    }

    #[test]
    fn tombstones_pass_projections_and_no_filter() {
        let tombstone = || TestRecord::of("").key("k").tombstone();
        let run = harness("SELECT a FROM input").process([tombstone()]);
        assert_eq!(run.outputs[0].record.value, None);
        let run = harness("SELECT * FROM input WHERE a IS NULL").process([tombstone()]);
        assert!(run.outputs.is_empty() && run.rejects.is_empty());
    }

    #[test]
    fn a_wrong_statement_is_drawn() {
        let refused = Harness::<Sql>::new(json!({ "statement": "SELECT a\nFROM input WHERE LEN(a) = 'x'" }));
        let Err(error) = refused else { panic!("it must be refused") };
        assert_eq!(error.path(), "statement");
        let wanted = "line 2:18: LEN(a) (INTEGER) cannot be compared with 'x' (VARCHAR)\n  FROM input WHERE LEN(a) = 'x'\n                   ^";
        assert_eq!(error.message(), wanted);
        assert!(Harness::<Sql>::new(json!({ "statemnt": "SELECT 1 FROM input" })).is_err());
    }

    #[test]
    fn a_pipeline_may_name_its_input() {
        let mut context = weir_plugin::testing::test_context();
        context.inputs = vec!["logins".to_owned()];
        assert!(Harness::<Sql>::with_context(json!({ "statement": "SELECT l.a FROM logins l" }), &context).is_ok());
    }
}
