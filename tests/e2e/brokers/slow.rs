//! Sinks that crawl: the appliance holds back its sources, keeps within its memory, and loses nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::flow::{number, rabbitmq, with_head, write_secrets};
use crate::harness::{Bench, Running, tell};
use crate::proxy::Proxy;
use crate::services::{Facts, Servers, address, unique};

/// Far more than the appliance may hold: it would show in its memory.
const MESSAGES: u64 = 60_000;
const MESSAGE_BYTES: usize = 4_000;

/// A hundredth, at most, of what passes without the brake: that was some 10 MB a second in a development build.
const BYTES_PER_SECOND: u64 = 50_000;

const MINUTE: Duration = Duration::from_secs(60);

/// Settles: the program and its plugins are loaded, the first records are on their way.
const SETTLED: Duration = Duration::from_secs(5);

/// What a task may hold, and how often that may be in memory: read, encoded for the sink, and in the client's buffers.
const IN_FLIGHT: u64 = 8 << 20;
const COPIES: u64 = 6;

fn lines() -> String {
    let filler = "x".repeat(MESSAGE_BYTES);
    (0..MESSAGES).map(|n| format!("{{\"n\":{n},\"filler\":\"{filler}\"}}\n")).collect()
}

fn pipeline(source: &str, sink: &str) -> String {
    with_head(&format!(
        "
limits: {{ task_bytes_in_flight_max: {mib}MiB }}
sources: {{ in: {{ {source} }} }}
pipelines: {{ pass: {{ from: in, to: out }} }}
sinks: {{ out: {{ {sink} }} }}
",
        mib = IN_FLIGHT >> 20
    ))
}

/// Lets the appliance work against the brake for a minute, and holds its memory to what so many tasks may have.
fn crawl(weir: &mut Running, proxy: &Proxy, tasks: u64) {
    let begun = Instant::now();
    let mut settled = 0;
    let mut largest = 0;
    let before = proxy.forwarded();
    weir.until("something behind the brake", || proxy.forwarded() > before);
    while begun.elapsed() < MINUTE {
        weir.assert_runs();
        let rss = weir.rss();
        if begun.elapsed() < SETTLED {
            settled = rss;
        }
        largest = largest.max(rss);
        std::thread::sleep(Duration::from_millis(100));
    }
    tell(format_args!(
        "slow broker: memory {} MiB settled, {} MiB at most in the minute",
        settled >> 20,
        largest >> 20
    ));
    assert!(
        largest < settled + tasks * COPIES * IN_FLIGHT,
        "memory grew from {settled} to {largest} bytes; weir said: {}",
        weir.said()
    );
    assert!(proxy.forwarded() > before, "nothing passed in the minute");
}

#[test]
fn a_crawling_rabbitmq_holds_back_kafka() {
    let facts = Facts::shared();
    let (bench, proxy) = (Bench::new(), Proxy::listen());
    let (slow, slow_in) = (unique("slow"), unique("slow-in"));
    proxy.forward_to(address(facts.rabbitmq_address()));
    write_secrets(&bench, &facts);
    let (url, bootstrap) = (facts.rabbitmq_url(facts.rabbitmq_address()), facts.text("kafka", "bootstrap"));
    facts.ask(&["rabbit-declare", "--url", &url, "--queue", &slow, "--type", "classic"]);
    facts.ask(&["kafka-create", "--bootstrap", bootstrap, "--topic", &slow_in, "--partitions", "1"]);
    facts.put(&["kafka-put", "--bootstrap", bootstrap, "--topic", &slow_in], &lines());
    let sink =
        format!("{}, exchange: '', routing_key: {slow}", rabbitmq(&facts, &format!("127.0.0.1:{}", proxy.port())));
    bench.write("weir.yaml", &pipeline(&format!("type: kafka, brokers: ['{bootstrap}'], topics: [{slow_in}]"), &sink));
    proxy.slow(BYTES_PER_SECOND);
    let mut weir = bench.start(&["weir.yaml"]);
    crawl(&mut weir, &proxy, 1);
    proxy.heal();
    let mut numbers = BTreeSet::new();
    weir.until("the rest", || {
        let messages = facts.read(&["rabbit-read", "--url", &url, "--queue", &slow]);
        numbers.extend(messages.iter().map(|message| number(message, "n")));
        numbers.len() as u64 == MESSAGES
    });
    assert_eq!(weir.terminate(), 0);
}

#[test]
fn a_crawling_kafka_holds_back_rabbitmq() {
    let facts = Facts::shared();
    let (bench, proxy) = (Bench::new(), Proxy::listen());
    let (slow, slow_in) = (unique("slow"), unique("slow-in"));
    // A Kafka of its own: its clients have to be told to come to the proxy.
    let kafka = Servers::up(&["kafka"], Some(proxy.port()));
    proxy.forward_to(address(kafka.facts.text("kafka", "proxied")));
    write_secrets(&bench, &facts);
    let (url, bootstrap) = (facts.rabbitmq_url(facts.rabbitmq_address()), kafka.facts.text("kafka", "bootstrap"));
    facts.ask(&["rabbit-declare", "--url", &url, "--queue", &slow_in, "--type", "classic"]);
    facts.ask(&["kafka-create", "--bootstrap", bootstrap, "--topic", &slow, "--partitions", "1"]);
    facts.put(&["rabbit-put", "--url", &url, "--queue", &slow_in], &lines());
    let source = format!("{}, queue: {slow_in}", rabbitmq(&facts, facts.rabbitmq_address()));
    bench.write(
        "weir.yaml",
        &pipeline(&source, &format!("type: kafka, brokers: ['127.0.0.1:{}'], topic: {slow}", proxy.port())),
    );
    proxy.slow(BYTES_PER_SECOND);
    let mut weir = bench.start(&["weir.yaml"]);
    // One task takes the messages in, one brings them out.
    crawl(&mut weir, &proxy, 2);
    proxy.heal();
    let read = ["kafka-read", "--bootstrap", bootstrap, "--topic", &slow];
    let number_of = |record: &serde_json::Value| {
        let value: serde_json::Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
        value["n"].as_u64().unwrap()
    };
    let mut numbers: Vec<u64> = Vec::new();
    weir.until("the rest", || {
        numbers = facts.read(&read).iter().map(number_of).collect();
        numbers.len() as u64 >= MESSAGES
    });
    assert_eq!(weir.terminate(), 0);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<u64>>());
}
