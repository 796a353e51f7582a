//! Dead letters: what is kept of a record that was refused, and how it goes through its pipeline again once.
//!
//! A dead letter is a record of the stream [`DEAD_LETTERS`]: the record as it came, and behind its own headers those that a
//! [`Letter`] is written as. The stream is a log, so what is over is kept beside it: the letters that are settled, replayed
//! or dropped, and those that are asked to be replayed. Both are keyed state, so the commit that makes the effects of a
//! replay durable settles its letter. Knows the store; not tasks, which look here for what they are asked.

pub mod act;
pub mod capsule;
pub mod desk;
pub mod signature;
pub mod view;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::record::{Batch, Headers, Offset, Partition, Record, push_header};
use crate::store::{DEAD_LETTERS, StateChange, TableId};

/// The header that a letter begins with. A record that is refused may be a dead letter itself, so the last one counts.
const REASON: &str = "weir-reason";

/// What is known of a refused record beside the record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Letter {
    /// Why it was refused.
    pub reason: String,
    /// The pipeline.
    pub pipeline: String,
    /// The step, sink or stream that refused it.
    pub step: String,
    /// Which of the three; unknown of letters of old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// The plugin that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The blake3 hash of that plugin, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_hash: Option<String>,
    /// The input of the task that the record comes from; none where time alone brought it about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Where the input record was read.
    pub source: String,
    /// Its offset there.
    pub offset: u64,
    /// The partition of the task.
    pub partition: u32,
    /// When it was refused, by the clock, in RFC 3339 form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// How often it was replayed before.
    pub replays: u32,
}

/// What refused a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A step of the pipeline.
    Step,
    /// A sink.
    Sink,
    /// A stream that found no key in it.
    Stream,
}

/// The short and lasting name of a dead letter: partition and offset in the stream of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

/// How a letter was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was replayed, and nothing refused it.
    Replayed,
    /// It was replayed and refused again: there is another letter.
    Again,
    /// Somebody dropped it.
    Dropped,
}

impl Letter {
    /// Reads the letter that a record of the stream holds, and where in its headers it begins. `None`: it is no dead letter.
    pub fn of(record: &Record<'_>) -> Option<(Letter, usize)> {
        let (mut at, mut begins) = (0, None);
        for (name, value) in record.headers() {
            if name == REASON {
                begins = Some(at);
            }
            at += 8 + name.len() + value.map_or(0, <[u8]>::len);
        }
        let begins = begins?;
        Some((Letter::read(Headers::of(record.headers_raw.get(begins..)?)), begins))
    }

    fn read(headers: Headers<'_>) -> Letter {
        let mut letter = Letter::default();
        for (name, value) in headers {
            let text = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            match name {
                REASON => letter.reason = text,
                "weir-pipeline" => letter.pipeline = text,
                "weir-step" => letter.step = text,
                "weir-stage" => letter.stage = Stage::of(&text),
                "weir-plugin" => letter.plugin = Some(text),
                "weir-plugin-hash" => letter.plugin_hash = Some(text),
                "weir-input" => letter.input = Some(text),
                "weir-source" => letter.source = text,
                "weir-partition" => letter.partition = text.parse().unwrap_or_default(),
                "weir-offset" => letter.offset = text.parse().unwrap_or_default(),
                "weir-time" => letter.time = Some(text),
                "weir-replays" => letter.replays = text.parse().unwrap_or_default(),
                _ => {}
            }
        }
        letter
    }

    /// Appends it to the headers of the record that was refused.
    pub fn push(&self, headers: &mut Vec<u8>) {
        let mut push = |name, value: &str| push_header(headers, name, Some(value.as_bytes()));
        push(REASON, &self.reason);
        push("weir-pipeline", &self.pipeline);
        push("weir-step", &self.step);
        push("weir-source", &self.source);
        push("weir-partition", &self.partition.to_string());
        push("weir-offset", &self.offset.to_string());
        let texts = [
            ("weir-stage", self.stage.map(Stage::word)),
            ("weir-plugin", self.plugin.as_deref()),
            ("weir-plugin-hash", self.plugin_hash.as_deref()),
            ("weir-input", self.input.as_deref()),
            ("weir-time", self.time.as_deref()),
        ];
        texts.iter().filter_map(|(name, text)| Some((name, (*text)?))).for_each(|(name, text)| push(name, text));
        push("weir-replays", &self.replays.to_string());
    }

    /// The stream or topic that the input record was read from, and its partition there, where the place has one.
    pub fn place(&self) -> (&str, Option<u32>) {
        let input = self.input.as_deref().unwrap_or_default();
        // That of a stream ends with the store that it is in.
        let source = self.source.rsplit_once('~').map_or(&*self.source, |(source, _)| source);
        let below = source.strip_prefix(input).and_then(|rest| rest.strip_prefix('/'));
        let (topic, partition) = match below.map(|rest| rest.rsplit_once('/').unwrap_or((input, rest))) {
            Some((topic, partition)) => (topic, partition.parse().ok()),
            None => source.rsplit_once('/').map_or((source, None), |(topic, n)| (topic, n.parse().ok())),
        };
        if partition.is_some() { (topic, partition) } else { (&self.source, None) }
    }
}

impl Stage {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Step => "step",
            Stage::Sink => "sink",
            Stage::Stream => "stream",
        }
    }

    fn of(word: &str) -> Option<Stage> {
        [Stage::Step, Stage::Sink, Stage::Stream].into_iter().find(|stage| stage.word() == word)
    }
}

/// The record of a dead letter as it came to who refused it.
pub fn original<'a>(record: &Record<'a>, letter_at: usize) -> Record<'a> {
    Record { headers_raw: record.headers_raw.get(..letter_at).unwrap_or_default(), ..*record }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Id, String> {
        let parts = text.split_once('-').and_then(|(partition, offset)| {
            Some(Id { partition: Partition(partition.parse().ok()?), offset: Offset(offset.parse().ok()?) })
        });
        parts.ok_or_else(|| format!("`{text}` is no id of a dead letter: expected PARTITION-OFFSET, as 0-17"))
    }
}

/// The table of the letters of a partition that are settled: by offset, how. No pipeline has an empty name.
pub fn settled_table(partition: Partition) -> TableId {
    TableId { pipeline: "".into(), step: DEAD_LETTERS.into(), table: "settled".into(), partition }
}

/// The table of what a task is asked to replay, in the order in which it was asked for.
pub fn requests_table(pipeline: &Arc<str>, partition: Partition) -> TableId {
    TableId { pipeline: "".into(), step: pipeline.clone(), table: REQUESTS.into(), partition }
}

const REQUESTS: &str = "replays";

/// Whether a table holds what a task is asked to replay.
fn is_requests(table: &TableId) -> bool {
    table.pipeline.is_empty() && *table.table == *REQUESTS
}

/// A letter that a task is asked to replay. Each time that somebody asks has a number of its own, so within one number the
/// letters' offsets ascend: what a sink remembers of ids relies on that.
#[derive(Debug, Clone)]
pub struct Request {
    /// The number.
    pub number: u64,
    /// The letter.
    pub id: Id,
    /// A copy of it as it lies in the stream, which may let it go.
    pub record: Batch,
}

impl Request {
    /// As an entry of the table.
    pub fn entry(&self) -> (Bytes, Bytes) {
        let (partition, offset) = (self.id.partition.0.to_be_bytes(), self.id.offset.0.to_be_bytes());
        let key = [&self.number.to_be_bytes()[..], &partition, &offset].concat();
        (key.into(), self.record.encode().into())
    }

    /// Reads an entry of the table. `None`: it is none.
    pub fn read(key: &[u8], value: &[u8]) -> Option<Request> {
        let (number, rest) = key.split_first_chunk::<8>()?;
        let (partition, offset) = rest.split_first_chunk::<4>()?;
        let offset = Offset(u64::from_be_bytes(offset.try_into().ok()?));
        let id = Id { partition: Partition(u32::from_be_bytes(*partition)), offset };
        Some(Request { number: u64::from_be_bytes(*number), id, record: Batch::decode(value).ok()? })
    }
}

/// What settles a letter.
pub fn settle(id: Id, how: Settled) -> StateChange {
    let value = match how {
        Settled::Replayed => &b"r"[..],
        Settled::Again => b"a",
        Settled::Dropped => b"d",
    };
    let key = Bytes::copy_from_slice(&id.offset.0.to_be_bytes());
    StateChange { table: settled_table(id.partition), key, value: Some(Bytes::from_static(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;

    fn letter() -> Letter {
        Letter {
            reason: "no".into(),
            pipeline: "p".into(),
            step: "s".into(),
            stage: Some(Stage::Sink),
            plugin: Some("plug".into()),
            plugin_hash: Some("00ff".into()),
            input: Some("in".into()),
            source: "in/topic/3".into(),
            offset: 7,
            partition: 3,
            time: Some("2026-03-01T12:00:00.000Z".into()),
            replays: 2,
        }
    }

    #[test]
    fn a_letter_is_read_as_it_was_written_and_the_record_is_as_it_came() {
        let mut own = Vec::new();
        // The record may have been a dead letter before.
        letter().push(&mut own);
        push_header(&mut own, "k", None);
        let mut headers = own.clone();
        let second = Letter { reason: "again".into(), stage: None, plugin: None, input: None, ..letter() };
        second.push(&mut headers);
        let record = Record { headers_raw: &headers, ..Record::of(b"v", Timestamp(5)) };
        let (read, at) = Letter::of(&record).unwrap();
        assert_eq!(read, second);
        assert_eq!(original(&record, at), Record { headers_raw: &own, ..record });
        assert_eq!(Letter::of(&Record::of(b"v", Timestamp(5))), None);
    }

    #[test]
    fn the_place_of_an_input_is_taken_apart() {
        let of = |input: Option<&str>, source: &str| {
            let letter = Letter { input: input.map(Into::into), source: source.into(), ..Letter::default() };
            let (topic, partition) = letter.place();
            (topic.to_owned(), partition)
        };
        assert_eq!(of(Some("in"), "in/topic/3"), ("topic".into(), Some(3)));
        assert_eq!(of(Some("logins"), "logins/0"), ("logins".into(), Some(0)));
        assert_eq!(of(Some("logins"), "logins/0~00ff00ff00ff00ff"), ("logins".into(), Some(0)));
        assert_eq!(of(Some("lines"), "lines:ab/cd"), ("lines:ab/cd".into(), None));
        assert_eq!(of(None, "logins/2"), ("logins".into(), Some(2)));
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = Id { partition: Partition(0), offset: Offset(17) };
        assert_eq!((id.to_string(), "0-17".parse()), ("0-17".to_owned(), Ok(id)));
        for wrong in ["17", "0-", "a-1", "0-1-2", "-1-2"] {
            assert!(wrong.parse::<Id>().unwrap_err().contains("PARTITION-OFFSET"), "{wrong}");
        }
    }

    #[test]
    fn requests_lie_in_the_order_in_which_they_were_asked_for() {
        let request = |number, offset| {
            let mut record = Batch::default();
            record.push(&Record::of(b"v", Timestamp(5)));
            Request { number, id: Id { partition: Partition(0), offset: Offset(offset) }, record }
        };
        let (first, second, third) = (request(1, 300), request(2, 5), request(2, 256));
        assert!(first.entry().0 < second.entry().0 && second.entry().0 < third.entry().0);
        let (key, value) = third.entry();
        let read = Request::read(&key, &value).unwrap();
        assert_eq!((read.number, read.id, read.record), (third.number, third.id, third.record));
        assert!(Request::read(b"short", &value).is_none());
    }
}
