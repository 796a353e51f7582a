//! How long a record takes from one broker to the other when they come one by one.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;

use crate::job::{From, Guarantee, Job, Placed, Who};
use crate::{Measure, Servers, kafka, nanoseconds, rabbitmq, table, unique};

const PER_SECOND: u64 = 1_000;
const TIME: Duration = Duration::from_secs(15);
/// What comes in the first seconds is not counted: programs start.
const WARM: Duration = Duration::from_secs(5);
/// After which nothing more is expected.
const LAST: Duration = Duration::from_secs(10);

const JOBS: [Job; 8] = [
    Job::new(From::Kafka, Guarantee::ExactlyOnce, Who::Loop),
    Job::new(From::Kafka, Guarantee::ExactlyOnce, Who::Weir),
    Job::new(From::Kafka, Guarantee::ExactlyOnce, Who::WeirFilter),
    Job::new(From::Kafka, Guarantee::AtLeastOnce, Who::Loop),
    Job::new(From::Kafka, Guarantee::AtLeastOnce, Who::Weir),
    Job::new(From::RabbitMq, Guarantee::AtLeastOnce, Who::Loop),
    Job::new(From::RabbitMq, Guarantee::ExactlyOnce, Who::Weir),
    Job::new(From::RabbitMq, Guarantee::AtLeastOnce, Who::Weir),
];

/// Ends a program when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures all, one after the other, and returns a table.
pub fn run(measure: &Measure, servers: &Servers) -> String {
    let row = |job: &Job| {
        let times = one_run(measure, servers, *job);
        let way = job.from.way();
        let of = |part| format!("{:.1}", table::quantile(times.clone(), part));
        eprintln!("{way}: {}: p50 {} ms, p99 {} ms", job.title(), of(0.5), of(0.99));
        vec![way.to_owned(), job.title().to_owned(), of(0.5), of(0.99)]
    };
    let rows: Vec<Vec<String>> = JOBS.iter().map(row).collect();
    format!(
        "{PER_SECOND} records a second for {} s, the first {} s not counted; from when a record is made to when a reader of \
         committed records has it, both brokers' part of it included. Each line is one run.\n\n{}",
        TIME.as_secs(),
        WARM.as_secs(),
        table::markdown(&["way", "program", "p50 ms", "p99 ms"], &rows)
    )
}

/// The times of the records, in milliseconds.
fn one_run(measure: &Measure, servers: &Servers, job: Job) -> Vec<f64> {
    let (source, target) = (unique("sent"), unique("copy"));
    kafka::create(&servers.bootstrap, &target);
    match job.from {
        From::Kafka => kafka::create(&servers.bootstrap, &source),
        From::RabbitMq => rabbitmq::fill(&servers.rabbitmq_login(), &source, 0),
    }
    let placed = Placed { job, measure, servers, source: &source, target: &target };
    let _program = Ended(placed.command(None).spawn().unwrap());
    let reader = kafka::reader(&servers.bootstrap, &target, Offset::Beginning);
    let is_sent = AtomicBool::new(false);
    let (begun, wanted) = (nanoseconds() + WARM.as_nanos() as u64, PER_SECOND * TIME.as_secs());
    let (mut times, mut seen) = (Vec::new(), 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            match job.from {
                From::Kafka => send_evenly(&servers.bootstrap, &source),
                From::RabbitMq => rabbitmq::publish_evenly(&servers.rabbitmq_login(), &source, PER_SECOND, TIME),
            }
            is_sent.store(true, Ordering::Relaxed);
        });
        let mut last = Instant::now();
        while seen < wanted && !(is_sent.load(Ordering::Relaxed) && last.elapsed() > LAST) {
            let Some(message) = reader.poll(Duration::from_millis(100)) else { continue };
            let (message, now) = (message.unwrap(), nanoseconds());
            let sent = sent(message.payload().unwrap());
            seen += 1;
            last = Instant::now();
            if sent > begun {
                times.push((now.saturating_sub(sent)) as f64 / 1e6);
            }
        }
    });
    assert_eq!(seen, wanted, "{}: records are missing", job.title());
    times
}

fn send_evenly(bootstrap: &str, topic: &str) {
    let producer = kafka::settings(bootstrap).set("linger.ms", "0").create_with_context(kafka::Strict).unwrap();
    let begun = Instant::now();
    for number in 0..PER_SECOND * TIME.as_secs() {
        let due = Duration::from_secs(1) * number as u32 / PER_SECOND as u32;
        thread::sleep(due.saturating_sub(begun.elapsed()));
        kafka::send_numbered(&producer, topic, number, "order");
    }
    kafka::flush(&producer);
}

/// When a record was made.
fn sent(value: &[u8]) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(value).unwrap();
    value["sent"].as_u64().unwrap()
}
