//! What was received and is not durable yet: the loss window of a listener whose peers get no acknowledgement.
//!
//! Owns the way of a batch from a listener to its intake stream: it bounds what is under way, and counts it, so that the
//! most that a sudden end can lose is a number that can be shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::Semaphore;

use super::{Error, Intake, Received};
use crate::record::Batch;

/// Batches that one peer may have under way; it is not read any further until the oldest is durable.
const BATCHES_MAX: usize = 4;
/// Bytes that all peers of a listener may have under way.
pub const BYTES_MAX: usize = 64 << 20;
/// The unit in which those bytes are counted: a semaphore has 32-bit permits.
const UNIT: usize = 1024;

/// Bytes that may be under way, shared by all peers of a listener.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Budget(Arc::new(Semaphore::new(BYTES_MAX / UNIT)))
    }
}

/// Batches of one peer on their way to being durable.
pub struct Unconfirmed {
    intake: Intake,
    received: Arc<Received>,
    budget: Budget,
    under_way: FuturesOrdered<BoxFuture<'static, Result<(), Error>>>,
}

impl Unconfirmed {
    /// A way into the intake with nothing on it.
    pub fn new(intake: Intake, received: Arc<Received>, budget: Budget) -> Self {
        Unconfirmed { intake, received, budget, under_way: FuturesOrdered::new() }
    }

    /// Hands a batch over. Waits while the stream has no room or too much is under way: that is the backpressure that a
    /// peer feels when it is not read.
    pub async fn send(&mut self, records: Batch) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let held = Held::new(self.received.clone(), &records);
        while self.under_way.len() >= BATCHES_MAX {
            self.confirmed().await?;
        }
        let units = records.bytes().div_ceil(UNIT).min(BYTES_MAX / UNIT) as u32;
        // The semaphore is never closed; without a permit the batch goes all the same.
        let permit = self.budget.0.clone().acquire_many_owned(units).await.ok();
        let durable = self.intake.send(records).await?;
        let confirmed = async move {
            durable.wait().await?;
            held.received.records.fetch_add(held.records, Ordering::Relaxed);
            drop((held, permit));
            Ok(())
        };
        self.under_way.push_back(confirmed.boxed());
        Ok(())
    }

    /// Resolves when the oldest batch is durable; never, where none is under way. Dropping the future loses nothing.
    pub async fn confirmed(&mut self) -> Result<(), Error> {
        match self.under_way.next().await {
            Some(confirmed) => confirmed,
            None => std::future::pending().await,
        }
    }

    /// Resolves when all is durable.
    pub async fn finish(mut self) -> Result<(), Error> {
        while let Some(confirmed) = self.under_way.next().await {
            confirmed?;
        }
        Ok(())
    }
}

/// A batch that counts as under way.
struct Held {
    received: Arc<Received>,
    records: u64,
    bytes: u64,
}

impl Held {
    fn new(received: Arc<Received>, batch: &Batch) -> Self {
        let (records, bytes) = (batch.len() as u64, batch.columns().2.len() as u64);
        let grow = |now: &AtomicU64, max: &AtomicU64, by: u64| {
            max.fetch_max(now.fetch_add(by, Ordering::Relaxed) + by, Ordering::Relaxed);
        };
        grow(&received.window_records, &received.window_records_max, records);
        grow(&received.window_bytes, &received.window_bytes_max, bytes);
        Held { received, records, bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.received.window_records.fetch_sub(self.records, Ordering::Relaxed);
        self.received.window_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, Timestamp};
    use std::time::Duration;

    fn batch_of(records: usize) -> Batch {
        let mut batch = Batch::default();
        (0..records).for_each(|_| batch.push(&Record::of(b"12345", Timestamp(0))));
        batch
    }

    #[tokio::test]
    async fn what_is_not_durable_is_counted_and_bounded() {
        let (intake, mut requests) = Intake::channel();
        let received = Arc::new(Received::default());
        let mut unconfirmed = Unconfirmed::new(intake, received.clone(), Budget::default());
        for _ in 0..BATCHES_MAX {
            unconfirmed.send(batch_of(10)).await.unwrap();
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&received.window_records), count(&received.window_bytes)), (40, 200));
        let full = tokio::time::timeout(Duration::from_millis(20), unconfirmed.send(batch_of(1))).await;
        assert!(full.is_err(), "one more waits for the oldest");
        while let Ok(request) = requests.try_recv() {
            request.durable.send(Ok(())).unwrap();
        }
        unconfirmed.finish().await.unwrap();
        assert_eq!((count(&received.window_records), count(&received.window_bytes)), (0, 0));
        assert_eq!((count(&received.window_records_max), count(&received.window_bytes_max)), (41, 205));
        assert_eq!(count(&received.records), 40);
    }

    #[tokio::test]
    async fn an_intake_that_is_gone_is_an_error() {
        let (intake, requests) = Intake::channel();
        let mut unconfirmed = Unconfirmed::new(intake, Arc::default(), Budget::default());
        unconfirmed.send(batch_of(1)).await.unwrap();
        drop(requests);
        assert!(unconfirmed.send(batch_of(1)).await.is_err());
        assert!(unconfirmed.finish().await.is_err());
    }
}
