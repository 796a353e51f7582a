//! The way into the appliance for records that cannot be read again: append, make durable, only then acknowledge.

use tokio::sync::{mpsc, oneshot};

use super::{Disposition, Error};
use crate::record::Batch;

/// Batches that may wait for the intake task; the listener waits behind them.
const QUEUE_BATCHES_MAX: usize = 16;

/// Records on their way into an intake stream.
#[derive(Debug)]
pub struct Request {
    /// The records; their offsets are given by the stream.
    pub records: Batch,
    /// Answered once they are durable, or with the reason why they are not.
    pub durable: oneshot::Sender<Result<(), Error>>,
}

/// A listener's way to its intake stream.
#[derive(Debug, Clone)]
pub struct Intake(mpsc::Sender<Request>);

/// The answer to [`Intake::send`]: resolves when the records are durable.
#[derive(Debug)]
pub struct Durable(oneshot::Receiver<Result<(), Error>>);

impl Intake {
    /// An intake, and the end from which the intake task takes the requests.
    pub fn channel() -> (Intake, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(QUEUE_BATCHES_MAX);
        (Intake(sender), receiver)
    }

    /// Hands records over and returns; what it returns resolves when they are durable. Waits while the stream has no
    /// room: the backpressure that a listener passes on to its peers. Records sent earlier come earlier in the stream.
    pub async fn send(&self, records: Batch) -> Result<Durable, Error> {
        let (durable, answer) = oneshot::channel();
        self.0.send(Request { records, durable }).await.map_err(|_| closed())?;
        Ok(Durable(answer))
    }

    /// Hands records over without waiting, or gives them back where there is no room now.
    pub fn try_send(&self, records: Batch) -> Result<Durable, Batch> {
        let (durable, answer) = oneshot::channel();
        match self.0.try_send(Request { records, durable }) {
            Ok(()) => Ok(Durable(answer)),
            Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => Err(back.records),
        }
    }
}

impl Durable {
    /// Resolves when the records are durable, or with the reason why they are not.
    pub async fn wait(self) -> Result<(), Error> {
        self.0.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> Error {
    Error { message: "the intake stream was closed".into(), disposition: Disposition::Retry }
}
