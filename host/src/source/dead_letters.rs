//! Dead letters as others know them: with the headers that Kafka Connect gives its own (KIP-298), behind all that they have.
//!
//! Every value is text in UTF-8, as Connect writes them. Where a record was refused is told in the words that come nearest: a
//! pipeline is a connector, a step of it a transformation, a sink what a task puts records into.

use async_trait::async_trait;

use super::{Chunk, Error, OnCommit, Reader};
use crate::dlq::{Letter, Stage};
use crate::record::{Batch, Record, push_header};
use crate::store::DEAD_LETTERS;

/// What stands for the class of an exception.
const EXCEPTION: &str = "weir.Rejected";

/// Reads the stream of dead letters for the pipeline that hands them on.
pub struct ConnectReader(pub Box<dyn Reader>);

#[async_trait]
impl Reader for ConnectReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let Some(chunk) = self.0.next().await? else { return Ok(None) };
        Ok(Some(Chunk { records: with_headers(&chunk.records), ..chunk }))
    }

    fn on_commit(&mut self) -> Option<OnCommit> {
        self.0.on_commit()
    }

    fn is_caught_up(&self) -> bool {
        self.0.is_caught_up()
    }
}

/// The letters with Connect's headers. Those that this very pipeline made are left out: they would come again and again.
fn with_headers(letters: &Batch) -> Batch {
    let mut records = Batch::with_capacity(letters.len(), letters.bytes());
    let mut headers = Vec::new();
    for record in letters.iter() {
        headers.clear();
        headers.extend_from_slice(record.headers_raw);
        if let Some((letter, _)) = Letter::of(&record) {
            if letter.pipeline == DEAD_LETTERS {
                continue;
            }
            push(&letter, &mut headers);
        }
        records.push(&Record { headers_raw: &headers, ..record });
    }
    records
}

fn push(letter: &Letter, headers: &mut Vec<u8>) {
    let (topic, partition) = letter.place();
    let stage = match letter.stage {
        Some(Stage::Sink | Stage::Stream) => "TASK_PUT",
        Some(Stage::Step) | None => "TRANSFORMATION",
    };
    let class = letter.plugin.as_deref().unwrap_or(&letter.step);
    let at = format!("{}.{}", letter.pipeline, letter.step);
    let with = letter.plugin_hash.as_ref().map_or_else(|| class.to_owned(), |hash| format!("{class}@{hash}"));
    let stacktrace = format!("{EXCEPTION}: {}\n\tat {at}({with})\n", letter.reason);
    let (partition, offset, task) =
        (partition.unwrap_or(letter.partition).to_string(), letter.offset.to_string(), letter.partition.to_string());
    let added = [
        ("__connect.errors.topic", topic),
        ("__connect.errors.partition", &partition),
        ("__connect.errors.offset", &offset),
        ("__connect.errors.connector.name", &letter.pipeline),
        ("__connect.errors.task.id", &task),
        ("__connect.errors.stage", stage),
        ("__connect.errors.class.name", class),
        ("__connect.errors.exception.class.name", EXCEPTION),
        ("__connect.errors.exception.message", &letter.reason),
        ("__connect.errors.exception.stacktrace", &stacktrace),
    ];
    added.iter().for_each(|(name, value)| push_header(headers, name, Some(value.as_bytes())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;

    #[test]
    fn a_letter_has_connects_headers_behind_its_own_and_what_this_pipeline_made_goes_nowhere() {
        let letter = Letter {
            reason: "no".into(),
            pipeline: "p".into(),
            step: "s".into(),
            stage: Some(Stage::Sink),
            input: Some("in".into()),
            source: "in/orders/3".into(),
            offset: 7,
            partition: 3,
            ..Letter::default()
        };
        let mut batch = Batch::default();
        for letter in [&letter, &Letter { pipeline: DEAD_LETTERS.into(), ..letter.clone() }] {
            let mut headers = Vec::new();
            push_header(&mut headers, "own", Some(b"\xff"));
            letter.push(&mut headers);
            batch.push(&Record { headers_raw: &headers, ..Record::of(b"v", Timestamp(5)) });
        }
        let given = with_headers(&batch);
        assert_eq!(given.len(), 1);
        let record = given.get(0).unwrap();
        assert_eq!(record.headers().next(), Some(("own", Some(&b"\xff"[..]))));
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        let connect: Vec<_> = record
            .headers()
            .filter_map(|(name, value)| Some((name.strip_prefix("__connect.errors.")?, text(value))))
            .collect();
        let expected = [
            ("topic", "orders"),
            ("partition", "3"),
            ("offset", "7"),
            ("connector.name", "p"),
            ("task.id", "3"),
            ("stage", "TASK_PUT"),
            ("class.name", "s"),
            ("exception.class.name", "weir.Rejected"),
            ("exception.message", "no"),
            ("exception.stacktrace", "weir.Rejected: no\n\tat p.s(s)\n"),
        ];
        assert_eq!(connect, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
