//! What pipelines with state make of the messages of the kill run: windows counted over a topic of Kafka and over a queue of
//! RabbitMQ, and a join of the two, all into Kafka. The join goes there by way of a stream: in which order records of two inputs
//! are taken is not the same each time, and only what is may be sent to Kafka again and be known there.
//!
//! What has to come out is computed from what went in: the topic, and the streams that Weir keeps. Every window that has
//! closed is there once, with its count; every record whose time has passed was joined once, with a row of its key and time.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::account::KEYS;
use crate::harness::{Bench, Running, tell};
use crate::services::Facts;

/// The topics that it writes.
pub const TOPICS: [&str; 4] = ["counts", "queue-counts", "too-late", "joined"];
/// The length of a window, in milliseconds.
const SIZE: i64 = 2_000;
/// How long a window stays open for what comes late, and a record waits to be joined.
const GRACE: i64 = 1_000;
/// How long the last outputs may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A tap that has shown nothing for so long has shown all.
const TAP_SILENCE: Duration = Duration::from_secs(3);

/// Pipelines with state, over the sources of the kill run.
pub fn pipelines() -> String {
    let by_key = format!("{{ sql: 'SELECT n % {KEYS} AS k FROM input' }}");
    let windows =
        format!("{{ plugin: windows, config: {{ windows: {{ size: {SIZE}, advance: {SIZE}, grace: {GRACE} }} }} }}");
    format!(
        "  count: {{ from: topic, steps: [{by_key}, {windows}], to: {{ main: counts, late: too-late }} }}
  count-queue: {{ from: queue, steps: [{by_key}, {windows}], to: {{ main: queue-counts, late: too-late }} }}
  left: {{ from: queue, to: left }}
  right: {{ from: topic, to: right }}
  join: {{ from: [left, right], steps: [{{ plugin: asof, config: {{ grace: {GRACE} }}, limits: {{ batch_time_max: 60s }} }}], to: join-out }}
  joined: {{ from: join-out, to: joined }}
streams:
  left: {{ partitions: 3 }}
  right: {{ partitions: 3 }}"
    )
}

/// Their sinks.
pub fn sinks(kafka: &str) -> String {
    TOPICS.map(|topic| format!("  {topic}: {{ {kafka}, topic: {topic} }}")).join("\n")
}

/// A record that went in.
struct Given {
    partition: u64,
    number: u64,
    time: i64,
}

/// What has to come of windows over records that come in this order: those that have closed.
fn closed<'a>(given: impl Iterator<Item = &'a Given>) -> (Vec<String>, usize) {
    let (mut open, mut closed, mut watermark, mut late) = (BTreeMap::<(i64, u64), u64>::new(), Vec::new(), i64::MIN, 0);
    for Given { number, time, .. } in given {
        watermark = watermark.max(*time);
        let start = time - time.rem_euclid(SIZE);
        while let Some(first) = open.first_entry().filter(|first| first.key().0 + SIZE + GRACE <= watermark) {
            let ((start, key), count) = first.remove_entry();
            closed.push(format!(r#"{{"k":{key}}} {start} {} {count}"#, start + SIZE));
        }
        if start + SIZE + GRACE <= watermark {
            late += 1;
        } else {
            *open.entry((start, number % KEYS)).or_default() += 1;
        }
    }
    closed.sort();
    (closed, late)
}

/// Waits until all has come out that is owed, and holds it against what went in.
pub fn check(bench: &Bench, weir: &mut Running, facts: &Facts, bootstrap: &str) {
    let read = |topic: &str| facts.read(&["kafka-read", "--bootstrap", bootstrap, "--topic", topic]);
    let texts = |topic: &str| -> Vec<String> {
        let mut texts: Vec<_> = read(topic).iter().map(|record| record["value"].as_str().unwrap().to_owned()).collect();
        texts.sort();
        texts
    };
    let topic: Vec<Given> = read("in").iter().map(given).collect();
    let (queue, left, right) = (tapped(bench, "queue"), tapped(bench, "left"), tapped(bench, "right"));
    assert_eq!((left.len(), right.len()), (queue.len(), topic.len()), "a stream has not what its source had");
    let by_partition: Vec<_> =
        (0..3).map(|partition| closed(topic.iter().filter(move |given| given.partition == partition))).collect();
    let mut counts: Vec<String> = by_partition.iter().flat_map(|(closed, _)| closed.clone()).collect();
    counts.sort();
    let (queue_counts, queue_late) = closed(queue.iter());
    let late = queue_late + by_partition.iter().map(|(_, late)| late).sum::<usize>();
    let deadline = Instant::now() + PATIENCE;
    let (mut came, mut queue_came, mut late_came) = (texts("counts"), texts("queue-counts"), read("too-late").len());
    while (came.len() < counts.len() || queue_came.len() < queue_counts.len() || late_came < late)
        && Instant::now() < deadline
    {
        weir.assert_runs();
        (came, queue_came, late_came) = (texts("counts"), texts("queue-counts"), read("too-late").len());
    }
    assert!(came == counts, "windows of the topic: {}", difference(&came, &counts));
    assert!(queue_came == queue_counts, "windows of the queue: {}", difference(&queue_came, &queue_counts));
    assert_eq!(late_came, late, "late records");
    tell(format_args!(
        "state: {} windows of the topic over {} records, {} of the queue over {}; each closed once, with its count; {late} records late",
        counts.len(),
        topic.len(),
        queue_counts.len(),
        queue.len()
    ));
    for (name, given) in [("the queue", &queue), ("left", &left), ("right", &right)] {
        let numbers: BTreeSet<u64> = given.iter().map(|given| given.number).collect();
        assert_eq!(numbers.len(), given.len(), "{name} has a number twice");
    }
    let owed: BTreeSet<u64> = (0..3).flat_map(|partition| owed(&left, &right, partition)).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut joined = texts("joined");
    // What came beyond what is owed is no reason to end.
    while !owed.is_subset(&numbers_of(&joined)) && Instant::now() < deadline {
        weir.assert_runs();
        joined = texts("joined");
    }
    check_join(bench, &left, &right, &owed, &joined);
}

/// The numbers of the records that were joined.
fn numbers_of(joined: &[String]) -> BTreeSet<u64> {
    let record = |text: &String| format!("{}}}", text.split_once("} ").unwrap().0);
    joined.iter().map(|text| serde_json::from_str::<Value>(&record(text)).unwrap()["n"].as_u64().unwrap()).collect()
}

fn check_join(bench: &Bench, left: &[Given], right: &[Given], owed: &BTreeSet<u64>, joined: &[String]) {
    let rows: BTreeMap<u64, &Given> = right.iter().map(|given| (given.number, given)).collect();
    let records: BTreeMap<u64, &Given> = left.iter().map(|given| (given.number, given)).collect();
    let mut times = BTreeMap::<u64, u32>::new();
    let mut with_a_row = 0;
    for text in joined {
        let (record, row) = text.split_once("} ").unwrap();
        let record: Value = serde_json::from_str(&format!("{record}}}")).unwrap();
        let record = records[&record["n"].as_u64().unwrap()];
        *times.entry(record.number).or_default() += 1;
        if row != "none" {
            let row: Value = serde_json::from_str(row).unwrap();
            let row = rows[&row["n"].as_u64().unwrap()];
            assert!(row.number % KEYS == record.number % KEYS && row.time <= record.time, "joined wrongly: {text}");
            with_a_row += 1;
        }
    }
    let told = |what: &str, numbers: &[u64]| {
        let first: Vec<_> = numbers.iter().take(10).map(|number| (number, records[number].partition)).collect();
        let dead = tapped_lines(bench, "dead-letters");
        let dead: Vec<_> = dead.iter().take(3).collect();
        format!("{} {what}, first (with partition) {first:?}; dead letters, first {dead:?}", numbers.len())
    };
    let doubled: Vec<u64> = times.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
    if !doubled.is_empty() {
        let inside =
            tapped_lines(bench, "join-out").iter().filter(|line| line.contains(&number_in(doubled[0]))).count();
        panic!("{}; the first is {inside} times in the stream", told("joined twice", &doubled));
    }
    let missing: Vec<u64> = owed.iter().filter(|number| !times.contains_key(number)).copied().collect();
    assert!(missing.is_empty(), "{}", told("owed and not joined", &missing));
    assert!(with_a_row * 2 > joined.len(), "{with_a_row} of {} found a row", joined.len());
    tell(format_args!(
        "state: all {} owed records joined, each once, {with_a_row} of {} with a row",
        owed.len(),
        joined.len()
    ));
}

/// How a value of the join begins where it is shown as JSON.
fn number_in(number: u64) -> String {
    format!(r#""{{\"n\": {number}}}"#)
}

/// The records of a partition whose time both inputs have passed.
fn owed(left: &[Given], right: &[Given], partition: u64) -> Vec<u64> {
    let of = |given: &&Given| given.partition == partition;
    let highest = |given: &[Given]| given.iter().filter(of).map(|given| given.time).max().unwrap_or(i64::MIN);
    let watermark = highest(left).min(highest(right));
    left.iter().filter(of).filter(|given| given.time + GRACE <= watermark).map(|given| given.number).collect()
}

fn given(record: &Value) -> Given {
    let value: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
    Given {
        partition: record["partition"].as_u64().unwrap(),
        number: value["n"].as_u64().unwrap(),
        time: match &record["timestamp"] {
            Value::String(time) => time.parse::<jiff::Timestamp>().unwrap().as_millisecond(),
            time => time.as_i64().unwrap(),
        },
    }
}

/// All records of a stream of the running appliance.
fn tapped(bench: &Bench, stream: &str) -> Vec<Given> {
    tapped_lines(bench, stream).iter().map(|line| given(&serde_json::from_str(line).unwrap())).collect()
}

/// They, as JSON.
fn tapped_lines(bench: &Bench, stream: &str) -> Vec<String> {
    let name = format!("{stream}.tap");
    let file = std::fs::File::create(bench.path(&name)).unwrap();
    let mut tap = bench
        .weir(&["tap", stream, "--from", "earliest", "--json"])
        .stdout(file)
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut size = 0;
    loop {
        std::thread::sleep(TAP_SILENCE);
        if std::mem::replace(&mut size, bench.size(&name)) == bench.size(&name) {
            break;
        }
    }
    tap.kill().unwrap();
    tap.wait().unwrap();
    bench.lines(&name)
}

/// The numbers that RabbitMQ delivered more than once before they were taken in, of a stream that was tapped.
pub fn redelivered(bench: &Bench, stream: &str) -> BTreeSet<u64> {
    let records = bench.lines(&format!("{stream}.tap")).into_iter().map(|line| serde_json::from_str(&line).unwrap());
    let again = records.filter(|record: &Value| record["headers"].get("x-delivery-count").is_some());
    again.map(|record| given(&record).number).collect()
}

fn difference(came: &[String], expected: &[String]) -> String {
    let (came_set, expected_set): (BTreeSet<_>, BTreeSet<_>) = (came.iter().collect(), expected.iter().collect());
    let strange: Vec<_> = came_set.difference(&expected_set).take(5).collect();
    let missing: Vec<_> = expected_set.difference(&came_set).take(5).collect();
    format!("{} came, {} expected; strange {strange:?}, missing {missing:?}", came.len(), expected.len())
}
