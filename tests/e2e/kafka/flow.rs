//! What goes in comes out: as it was, once, and in the partition where its key belongs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::producer::{BaseRecord, Producer};

use super::client::{Client, Read, headers, send_number, unique};
use super::server::Kafka;
use crate::harness::{Bench, PATIENCE};

/// A pipeline file from one topic to another.
pub fn pipeline(address: &str, from: &str, to: &str, source: &str, sink: &str) -> String {
    format!(
        "version: 1
sources:
  orders: {{ type: kafka, brokers: '{address}', topics: '{from}', {source} }}
pipelines:
  copy: {{ from: orders, to: shop }}
sinks:
  shop: {{ type: kafka, brokers: '{address}', topic: '{to}', {sink} }}
"
    )
}

/// The numbers that a topic holds, in order.
fn numbers(read: &[Read]) -> Vec<u64> {
    let mut numbers: Vec<u64> = read.iter().map(Read::number).collect();
    numbers.sort_unstable();
    numbers
}

fn assert_once(read: &[Read], expected: std::ops::Range<u64>) {
    let mut counts: BTreeMap<u64, u32> = expected.map(|n| (n, 0)).collect();
    read.iter().for_each(|record| *counts.entry(record.number()).or_default() += 1);
    let wrong: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).take(10).collect();
    assert!(wrong.is_empty(), "numbers and how often they came: {wrong:?}");
}

/// In the order in which they were written, for each key.
fn assert_in_order(read: &[Read]) {
    let mut last = BTreeMap::new();
    for record in read {
        let before = last.insert(record.key.clone(), record.number());
        assert!(before.is_none_or(|before| before < record.number()), "{record:?} came after {before:?}");
    }
}

#[test]
fn records_keep_what_they_are_and_keys_their_partition() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let from = client.topic("in", 3, &[]);
    let to = unique("out");
    let producer = client.producer();
    for n in 0..300_i64 {
        let (key, value) = (format!("key-{}", n % 17), format!("value {n}"));
        let mut record = BaseRecord::to(&from).timestamp(1_700_000_000_000 + n);
        record.key = (n % 5 != 0).then_some(&key);
        record.payload = (n % 7 != 0).then_some(&value);
        record.headers = (n % 3 == 0).then(|| headers(&[("one", Some("1")), ("none", None), ("one", Some("again"))]));
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    bench.write(
        "weir.yaml",
        &pipeline(&kafka.address(), &from, &to, "", "compression: zstd, create: { partitions: 3 }"),
    );
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let content = |read: Vec<Read>| {
        let mut content: Vec<_> = read
            .into_iter()
            .map(|of| (of.timestamp, of.key.clone().map(|_| of.partition), of.key, of.value, of.headers))
            .collect();
        content.sort();
        content
    };
    let (read, expected) = (content(client.read(&to)), content(client.read(&from)));
    assert_eq!(read.len(), 300);
    assert_eq!(read, expected);
}

#[test]
fn a_topic_is_filtered_by_sql() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 2, &[]), client.topic("out", 2, &[]));
    let producer = client.producer();
    for n in 0..1_000 {
        let value = format!(r#"{{"n":{n},"kind":"{}"}}"#, if n % 4 == 0 { "keep" } else { "drop" });
        producer.send(BaseRecord::to(&from).key(&n.to_string()).payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let file = pipeline(&kafka.address(), &from, &to, "", "")
        .replace("to: shop", "steps: [ { sql: \"SELECT n FROM input WHERE kind = 'keep'\" } ], to: shop");
    bench.write("weir.yaml", &file);
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let read = client.read(&to);
    assert_eq!(read.len(), 250);
    assert!(read.iter().all(|record| record.value == Some(format!(r#"{{"n":{}}}"#, record.key.as_ref().unwrap()))));
    assert_eq!(
        client.committed("weir-copy", &from, 2).values().sum::<i64>(),
        1_000,
        "the group has what was committed"
    );
}

#[test]
fn nothing_is_lost_or_doubled_by_kill_9() {
    const KILLS: u64 = 8;
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 3, &[]), client.topic("out", 3, &[]));
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "", ""));
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let producer = client.producer();
            while !stop.load(Ordering::Relaxed) {
                let n = sent.load(Ordering::Relaxed);
                (n..n + 50).for_each(|n| send_number(&producer, &from, n, 50));
                sent.store(n + 50, Ordering::Relaxed);
                producer.poll(Duration::from_millis(10));
            }
            producer.flush(PATIENCE).unwrap();
        });
        for kill in 0..KILLS {
            let before = Client::new(&kafka.address()).read(&to).len();
            let mut weir = bench.start(&["weir.yaml"]);
            let reader = Client::new(&kafka.address());
            weir.until("output", || reader.read(&to).len() > before);
            std::thread::sleep(Duration::from_millis(37 * kill % 100));
            weir.kill();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let read = client.read(&to);
    assert_once(&read, 0..sent.load(Ordering::Relaxed));
    assert_in_order(&read);
}

/// A crash after the broker's commit and before Weir's leaves the data as it was before, while the topic has the outputs.
#[test]
fn what_was_in_doubt_is_not_sent_again() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 1, &[]), client.topic("out", 1, &[]));
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "", ""));
    let run = || {
        let output = bench.run(&["run", "--once", "weir.yaml"]);
        assert!(output.status.success(), "{output:?}");
    };
    let copy = |from: &str, to: &str| {
        let _ = std::fs::remove_dir_all(bench.path(to));
        let done =
            std::process::Command::new("cp").arg("-r").args([bench.path(from), bench.path(to)]).status().unwrap();
        assert!(done.success());
    };
    client.write_numbers(&from, 0..1_500, 10);
    run();
    copy("weir-data", "before");
    client.write_numbers(&from, 1_500..4_000, 10);
    run();
    assert_once(&client.read(&to), 0..4_000);
    copy("before", "weir-data");
    client.write_numbers(&from, 4_000..5_000, 10);
    run();
    let read = client.read(&to);
    assert_once(&read, 0..5_000);
    assert_in_order(&read);
    client.write_numbers(&from, 5_000..5_500, 10);
    run();
    assert_once(&client.read(&to), 0..5_500);
}

#[test]
fn partitions_and_topics_that_are_added_are_found() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let prefix = unique("grow");
    let (first, to) = (client.topic(&prefix, 1, &[]), client.topic("out", 2, &[]));
    let source = "start: latest, properties: { topic.metadata.refresh.interval.ms: 300 }";
    bench.write("weir.yaml", &pipeline(&kafka.address(), &format!("^{prefix}-.*"), &to, source, ""));
    client.write_numbers(&first, 1_000_000..1_000_010, 10);
    let mut weir = bench.start(&["weir.yaml"]);
    // Until it follows, what is written is older than `latest`.
    let mut next = 2_000_000;
    weir.until("the first record", || {
        client.write_numbers(&first, next..next + 1, 10);
        next += 1;
        !client.read(&to).is_empty()
    });
    client.add_partitions(&first, 3);
    client.write_numbers(&first, 0..300, 30);
    let second = client.topic(&prefix, 2, &[]);
    client.write_numbers(&second, 300..600, 30);
    let small = |read: &[Read]| read.iter().filter(|record| record.number() < 1_000).cloned().collect::<Vec<_>>();
    weir.until("what is in new partitions and topics", || small(&client.read(&to)).len() >= 600);
    assert_eq!(weir.terminate(), 0);
    let read = client.read(&to);
    assert_once(&small(&read), 0..600);
    assert!(read.iter().all(|record| !(1_000_000..1_000_010).contains(&record.number())), "it began before `latest`");
}

#[test]
fn a_start_by_time_leaves_out_what_is_older() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 1, &[]), client.topic("out", 1, &[]));
    let producer = client.producer();
    for n in 0..100_i64 {
        let record = BaseRecord::to(&from).key("k").timestamp(1_700_000_000_000 + n * 1_000);
        producer.send(record.payload(&n.to_string())).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    // 1_700_000_000 s and 60 s.
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "start: '2023-11-14T22:14:20Z'", ""));
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(numbers(&client.read(&to)), (60..100).collect::<Vec<_>>());
}

#[test]
fn at_least_once_names_each_output() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 1, &[]), client.topic("out", 1, &[("max.message.bytes", "2000")]));
    client.write_numbers(&from, 0..500, 7);
    let large = "7".repeat(5_000);
    let producer = client.producer();
    producer.send(BaseRecord::to(&from).key("k").payload(&large)).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "", "delivery: at_least_once"));
    let output = bench.run(&["run", "--once", "--json", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["total"]["dead"], 1, "{summary}");
    let read = client.read(&to);
    assert_once(&read, 0..500);
    let ids: Vec<_> = read.iter().map(|record| record.headers.clone()).collect();
    assert_eq!(ids[7], [("weir-id".to_owned(), Some(format!("orders/{from}/0@7.0")))]);
}
