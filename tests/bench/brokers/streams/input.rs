//! The records of the jobs, and what has to come out of them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rdkafka::producer::BaseRecord;

use super::Job;
use crate::kafka::{self, Producer};
use crate::nanoseconds;

/// How many keys are counted.
pub const KEYS: u64 = 10_000;
/// Records a minute of event time.
pub const PER_MINUTE: u64 = 300_000;
/// How far records may be out of order: less than what the programs wait for.
pub const LATE_MS_MAX: u64 = 10_000;
/// Records for a start.
pub const MORE: u64 = 10_000;

const MINUTE_MS: i64 = 60_000;
/// What closes a window comes so much later than the last record in it.
const PAUSE_MS: i64 = 3 * MINUTE_MS;

/// Outputs in no order, by what [`hashed`] makes of each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Outputs {
    pub count: u64,
    sum: u64,
}

impl Outputs {
    /// Takes one more.
    pub fn add(&mut self, hash: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

pub fn hashed(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Fills the topic of a job.
pub struct Feed {
    job: Job,
    topic: String,
    producer: Producer,
    rows: u64,
    /// How many records were sent.
    sent: u64,
    /// The event time that the next records begin at.
    time: i64,
}

impl Feed {
    pub fn new(bootstrap: &str, job: Job, topic: &str) -> Self {
        let mut config = kafka::settings(bootstrap);
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        let producer = config.create_with_context(kafka::Strict).unwrap();
        // Two hours ago: Kafka deletes what is too old, and takes nothing from far ahead.
        let time = (nanoseconds() / 1_000_000).cast_signed() / MINUTE_MS * MINUTE_MS - 120 * MINUTE_MS;
        Feed { job, topic: topic.to_owned(), producer, rows: 0, sent: 0, time }
    }

    /// Fills a table.
    pub fn rows(&mut self, topic: &str, rows: u64) {
        for number in 0..rows {
            let (key, value) = (host(number), row(number));
            kafka::send(&self.producer, BaseRecord::to(topic).key(&key).payload(&value).timestamp(self.time));
        }
        kafka::flush(&self.producer);
        (self.rows, self.time) = (rows, self.time + MINUTE_MS);
    }

    /// Sends more records, and tells what has to come out.
    pub fn records(&mut self, count: u64) -> Outputs {
        let expected = match self.job {
            Job::Count => self.counted(count),
            Job::Enrich => self.joined(count),
        };
        kafka::flush(&self.producer);
        self.sent += count;
        expected
    }

    fn counted(&mut self, count: u64) -> Outputs {
        let mut counts = HashMap::<(u64, i64), u64>::new();
        for number in self.sent..self.sent + count {
            let after = ((number - self.sent) * MINUTE_MS.unsigned_abs() / PER_MINUTE).cast_signed();
            let late = scattered(number, LATE_MS_MAX).cast_signed();
            let time = self.time + after + LATE_MS_MAX.cast_signed() - late;
            let key = scattered(!number, KEYS);
            *counts.entry((key, time / MINUTE_MS)).or_default() += 1;
            let key = customer(key);
            kafka::send(&self.producer, BaseRecord::to(&self.topic).key(&key).payload(&key).timestamp(time));
        }
        let length = (count * MINUTE_MS.unsigned_abs() / PER_MINUTE + LATE_MS_MAX).cast_signed();
        self.time = (self.time + length + PAUSE_MS) / MINUTE_MS * MINUTE_MS;
        let mut expected = Outputs::default();
        for ((key, minute), count) in counts {
            let (key, start) = (customer(key), minute * MINUTE_MS);
            expected.add(hashed(format!("{key} {start} {} {count}", start + MINUTE_MS).as_bytes()));
        }
        expected
    }

    fn joined(&mut self, count: u64) -> Outputs {
        let mut expected = Outputs::default();
        for number in self.sent..self.sent + count {
            let of = scattered(number, self.rows);
            let (key, value) = (host(of), record(number));
            kafka::send(&self.producer, BaseRecord::to(&self.topic).key(&key).payload(&value).timestamp(self.time));
            let joined = format!("{},\"host\":{}}}", value.trim_end_matches('}'), row(of));
            expected.add(hashed(joined.as_bytes()));
        }
        expected
    }

    /// Moves time on in each partition, so that windows close. What is sent for it is not counted by [`super::watch`].
    pub fn tick(&mut self) {
        if self.job == Job::Count {
            self.time += 1;
            for partition in 0..kafka::PARTITIONS {
                let tick = BaseRecord::to(&self.topic).partition(partition).key(TICK).payload(TICK);
                kafka::send(&self.producer, tick.timestamp(self.time));
            }
            kafka::flush(&self.producer);
        }
    }
}

/// The key of what moves time.
pub const TICK: &str = "tick";

fn customer(number: u64) -> String {
    format!("customer-{number:06}")
}

fn host(number: u64) -> String {
    format!("host-{number:09}")
}

/// A row of the table, of about 100 bytes.
fn row(number: u64) -> String {
    let [site, rack, team] = [40, 200, 90].map(|bound| scattered(number ^ bound, bound));
    format!(
        r#"{{"number":{number},"site":"site-{site}","rack":{rack},"owner":"team-{team}","system":"Debian GNU/Linux"}}"#
    )
}

/// A record of about 200 bytes.
fn record(number: u64) -> String {
    let [process, port] = [30_000, 65_536].map(|bound| scattered(number ^ bound, bound));
    format!(
        r#"{{"id":{number},"program":"sshd","process":{process},"level":"info","message":"Failed password for invalid user admin from 203.0.113.7 port {port} ssh2","facility":"auth"}}"#
    )
}

/// A number below a bound that follows from another (splitmix64).
fn scattered(number: u64, bound: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % bound
}
