//! Reads what comes out, as fast as it comes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;

use super::input::{Feed, Outputs, TICK, hashed};
use super::program::Running;
use crate::kafka;

/// Time is moved on so often.
const TICK_EVERY: Duration = Duration::from_millis(100);
/// After which nothing more is expected.
const LAST: Duration = Duration::from_secs(900);

/// A reader of all committed outputs.
pub struct Watch {
    reader: BaseConsumer,
    /// All that ever came.
    known: HashSet<u64>,
    /// What came since it was last asked for.
    seen: Outputs,
    /// How often something came that had come before.
    pub repeated: u64,
}

impl Watch {
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        let reader = kafka::reader(bootstrap, topic, Offset::Beginning);
        Watch { reader, known: HashSet::new(), seen: Outputs::default(), repeated: 0 }
    }

    /// Waits for the first output.
    pub fn first(&mut self, feed: &mut Feed, running: &mut Running) {
        self.until(feed, running, 1);
    }

    /// Waits for all outputs. Returns whether they are the right ones.
    pub fn all(&mut self, feed: &mut Feed, running: &mut Running, expected: Outputs) -> bool {
        self.until(feed, running, expected.count);
        std::mem::take(&mut self.seen) == expected
    }

    fn until(&mut self, feed: &mut Feed, running: &mut Running, count: u64) {
        let (begun, mut ticked) = (Instant::now(), Instant::now());
        while self.seen.count < count {
            assert!(begun.elapsed() < LAST, "{} of {count} outputs came", self.seen.count);
            if let Some(message) = self.reader.poll(TICK_EVERY / 10) {
                let message = message.unwrap();
                if message.key() != Some(TICK.as_bytes()) {
                    self.take(hashed(message.payload().unwrap()));
                }
            }
            if ticked.elapsed() > TICK_EVERY {
                running.assert_runs();
                feed.tick();
                ticked = Instant::now();
            }
        }
    }
    fn take(&mut self, hash: u64) {
        if self.known.insert(hash) {
            self.seen.add(hash);
        } else {
            self.repeated += 1;
        }
    }
}
