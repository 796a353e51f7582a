//! From the outputs of a batch to a commit: sends to sinks, appends to streams, dead letters.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::StreamTarget;
use super::chain::{By, Refused};
use super::spec::TaskSpec;
use crate::config::StreamKey;
use crate::dlq::{Letter, Stage};
use crate::record::{Batch, Offset, Output, Partition, Position, Record, Timestamp};
use crate::sink::lines::iso;
use crate::sink::{Confirm, Delivery, Error, Sink};
use crate::store::committer::Staged;
use crate::store::{Append, DEAD_LETTERS, PositionKey, StreamName};

/// How often a record that a sink refused for now is sent again before it becomes a dead letter.
const RETRIES: u32 = 5;
/// The pause before the first time; doubled each time.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A sink of a task.
pub struct Outlet {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// The connection.
    pub sink: Box<dyn Sink>,
}

/// A batch that was sent to one sink.
pub struct Sent {
    outlet: usize,
    output: Arc<Output>,
    confirm: Confirm,
}

/// A batch that one sink has dealt with.
pub struct Confirmed {
    /// Which sink of the task.
    pub outlet: usize,
    /// What it was sent.
    pub output: Arc<Output>,
    /// What it answered.
    pub delivery: Delivery,
}

/// What a sink's final answer adds to the commit.
#[derive(Default)]
pub struct Settled {
    /// Records that it confirmed or staged.
    pub delivered: u64,
    /// Records that it refused for good.
    pub refused: Option<Refused>,
    /// Bytes that become part of the commit.
    pub staged: Vec<Staged>,
    /// What the sink wants to know after a restart.
    pub positions: Vec<(PositionKey, Position)>,
}

impl Outlet {
    /// Sends a batch; `outlet` is this sink's number in the task.
    pub async fn send(&mut self, outlet: usize, output: Arc<Output>) -> Result<Sent, Error> {
        let confirm = self.sink.send(output.clone()).await?;
        Ok(Sent { outlet, output, confirm })
    }

    /// Sends again what was refused for now, until nothing is or the retries are used up.
    pub async fn settle(&mut self, confirmed: Confirmed) -> Result<Settled, Error> {
        let Confirmed { outlet, mut output, mut delivery } = confirmed;
        let mut settled = Settled::default();
        let mut pause = RETRY_PAUSE;
        for attempt in 0.. {
            settled.delivered += (output.records.len() - delivery.rejects.len()) as u64;
            settled.staged.append(&mut delivery.staged);
            settled.positions.append(&mut delivery.positions);
            let (again, refused): (Vec<_>, Vec<_>) =
                delivery.rejects.into_iter().partition(|reject| reject.retriable && attempt < RETRIES);
            if !refused.is_empty() {
                let by = By { stage: Stage::Sink, name: self.name.clone(), plugin: self.sink.identity() };
                let more = Refused::of(by, &output.records, refused);
                match &mut settled.refused {
                    None => settled.refused = Some(more),
                    Some(all) => {
                        all.records.append(&more.records);
                        all.reasons.extend(more.reasons);
                    }
                }
            }
            if again.is_empty() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            let places: Vec<u32> = again.iter().map(|reject| reject.index).collect();
            output = Arc::new(select(&output, &places));
            delivery = self.send(outlet, output.clone()).await?.confirm.await?;
        }
        Ok(settled)
    }
}

impl Sent {
    /// Waits for the sink's answer.
    pub async fn confirmed(self) -> Result<Confirmed, Error> {
        Ok(Confirmed { outlet: self.outlet, output: self.output, delivery: self.confirm.await? })
    }
}

fn select(output: &Output, places: &[u32]) -> Output {
    let ordinals = places.iter().filter_map(|at| output.ordinals.get(*at as usize).copied()).collect();
    Output { source: output.source.clone(), records: output.records.select(places), ordinals }
}

/// Records with the keys that a stream gives them, and those that have no such key. A tombstone keeps its own: there is
/// nothing else to know it by.
pub fn keyed<'a>(stream: &StreamTarget, records: &'a Batch) -> (Cow<'a, Batch>, Option<Refused>) {
    let Some(key) = &stream.key else { return (Cow::Borrowed(records), None) };
    let key_of = |record: &Record<'_>| match (key, record.value) {
        (_, None) => Ok(record.key.map(<[u8]>::to_vec)),
        (StreamKey::Field(path), Some(value)) => match path.text(value) {
            Ok(key) => Ok(Some(key.into_bytes())),
            Err(error) => Err(format!("it has no key for the stream {}: {error}", stream.name)),
        },
        (StreamKey::Header(name), Some(_)) => match record.headers().filter(|(other, _)| other == name).last() {
            Some((_, Some(key))) => Ok(Some(key.to_vec())),
            _ => Err(format!("it has no key for the stream {}: it has no header {name}", stream.name)),
        },
    };
    let mut keyed = Batch::with_capacity(records.len(), records.bytes());
    let (mut places, mut reasons) = (Vec::new(), Vec::new());
    for (at, record) in (0..).zip(records.iter()) {
        match key_of(&record) {
            Ok(key) => keyed.push(&Record { key: key.as_deref(), ..record }),
            Err(reason) => {
                places.push(at);
                reasons.push(reason);
            }
        }
    }
    let by = By { stage: Stage::Stream, name: stream.name.clone(), plugin: None };
    let refused = || Refused { by, records: records.select(&places), reasons };
    let refused = (!places.is_empty()).then(refused);
    (Cow::Owned(keyed), refused)
}

/// Appends records to a stream: those with a key by its hash, those without by where their batch begins, so that a
/// partition gets whole runs of them.
pub fn append(stream: &StreamName, partitions: u32, records: &Batch) -> Vec<Append> {
    let to = |partition: u32, records| Append { stream: stream.clone(), partition: Partition(partition), records };
    if partitions <= 1 {
        return vec![to(0, records.clone())];
    }
    let run = records.first_offset().map_or(0, |offset| murmur2(&offset.0.to_le_bytes()));
    let mut split: Vec<Batch> = (0..partitions).map(|_| Batch::default()).collect();
    for record in records.iter() {
        let hash = record.key.map_or(run, murmur2);
        if let Some(batch) = split.get_mut(((hash & 0x7fff_ffff) % partitions) as usize) {
            batch.push(&record);
        }
    }
    (0..).zip(split).filter(|(_, batch)| !batch.is_empty()).map(|(at, batch)| to(at, batch)).collect()
}

/// Where a record that is refused comes from.
pub struct Origin<'a> {
    /// Where its input record was read.
    pub source: &'a str,
    /// The offset of that.
    pub offset: u64,
    /// The input that gave it.
    pub input: Option<&'a str>,
    /// How often it was replayed before.
    pub replays: u32,
}

/// Refused records as they are appended to the stream of dead letters: each as it came, with headers that say why, where it
/// came from and that it was now. `origin` says that of an offset.
pub fn dead_letters<'a>(
    spec: &TaskSpec,
    now: Timestamp,
    refused: &Refused,
    origin: impl Fn(Offset) -> Origin<'a>,
) -> Append {
    let mut records = Batch::with_capacity(refused.records.len(), refused.records.bytes());
    let mut headers = Vec::new();
    let By { stage, name, plugin } = &refused.by;
    for (record, reason) in refused.records.iter().zip(&refused.reasons) {
        headers.clear();
        headers.extend_from_slice(record.headers_raw);
        let Origin { source, offset, input, replays } = origin(record.offset);
        let letter = Letter {
            reason: reason.clone(),
            pipeline: spec.pipeline.to_string(),
            step: name.to_string(),
            stage: Some(*stage),
            plugin: plugin.as_ref().map(|plugin| plugin.plugin.to_string()),
            plugin_hash: plugin.as_ref().map(|plugin| plugin.hash.to_string()),
            input: input.map(str::to_owned),
            source: source.to_owned(),
            offset,
            partition: spec.partition.0,
            time: iso(now),
            replays,
        };
        letter.push(&mut headers);
        records.push(&Record { headers_raw: &headers, ..record });
    }
    Append { stream: DEAD_LETTERS.into(), partition: Partition(0), records }
}

/// The hash by which Kafka's clients partition (MurmurHash2, 32 bits, seed 0x9747b28c), so that a key has the same
/// partition in a stream here as in a topic there.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::FieldPath;
    use crate::record::push_header;

    #[test]
    fn a_stream_gives_its_records_their_keys() {
        let stream = |key| StreamTarget { name: "by-host".into(), partitions: 4, key };
        let mut records = Batch::default();
        let mut headers = Vec::new();
        push_header(&mut headers, "tenant", Some(b"acme"));
        let values: [Option<&[u8]>; 4] = [Some(br#"{"host":"a"}"#), Some(b"{}"), None, Some(br#"{"host":7}"#)];
        for value in values {
            let record = Record::of(b"", crate::record::Timestamp(0));
            records.push(&Record { key: Some(b"old"), value, headers_raw: &headers, ..record });
        }
        let keys = |of: &Batch| {
            let text = |key: Option<&[u8]>| String::from_utf8(key.unwrap().to_vec()).unwrap();
            of.iter().map(|record| text(record.key)).collect::<Vec<_>>()
        };
        let (by_field, refused) = keyed(&stream(Some(StreamKey::Field(FieldPath::new("host")))), &records);
        assert_eq!(keys(&by_field), ["a", "old", "7"]);
        let refused = refused.unwrap();
        assert_eq!(refused.reasons, ["it has no key for the stream by-host: the value has not the field host"]);
        assert_eq!((keys(&refused.records), &*refused.by.name), (vec!["old".to_owned()], "by-host"));
        let (by_header, refused) = keyed(&stream(Some(StreamKey::Header("tenant".into()))), &records);
        assert_eq!(
            (keys(&by_header), refused.is_none()),
            (["acme", "acme", "old", "acme"].map(str::to_owned).into(), true)
        );
        assert_eq!(keys(&keyed(&stream(None), &records).0), ["old"; 4]);
    }

    #[test]
    fn keys_hash_as_kafka_hashes_them() {
        // The values of Apache Kafka's own test of `Utils.murmur2`.
        let cases = [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)];
        for (key, expected) in cases {
            assert_eq!(murmur2(key.as_bytes()) as i32, expected, "{key}");
        }
    }
}
