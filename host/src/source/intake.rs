//! The way into the appliance for records that cannot be read again: append, make durable, only then acknowledge.

use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::Error;
use crate::record::{Batch, Partition};
use crate::store::committer::{Commit, CommitError, Committer, Lane, Pending};
use crate::store::{Append, Changes, StateChange, StreamName};

/// Batches that may wait for the intake task; the listener waits behind them.
const QUEUE_BATCHES_MAX: usize = 16;

/// Records on their way into an intake stream.
#[derive(Debug)]
pub struct Request {
    /// The records; their offsets are given by the stream.
    pub records: Batch,
    /// What the listener keeps in mind about them: part of the same commit, so that neither is there without the other.
    pub state: Vec<StateChange>,
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
        self.0.send(Request { records, state: Vec::new(), durable }).await.map_err(|_| closed())?;
        Ok(Durable(answer))
    }

    /// Waits until there is room for one request. Dropping the future loses nothing.
    pub async fn room(&self) -> Result<Room<'_>, Error> {
        self.0.reserve().await.map(Room).map_err(|_| closed())
    }

    /// Hands records over without waiting, or gives them back where there is no room now.
    pub fn try_send(&self, records: Batch) -> Result<Durable, Batch> {
        let (durable, answer) = oneshot::channel();
        match self.0.try_send(Request { records, state: Vec::new(), durable }) {
            Ok(()) => Ok(Durable(answer)),
            Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => Err(back.records),
        }
    }
}

/// Room for one request, which nobody else can take.
#[derive(Debug)]
pub struct Room<'a>(mpsc::Permit<'a, Request>);

impl Room<'_> {
    /// Hands records over, with what the listener keeps in mind about them.
    pub fn send(self, records: Batch, state: Vec<StateChange>) -> Durable {
        let (durable, answer) = oneshot::channel();
        self.0.send(Request { records, state, durable });
        Durable(answer)
    }
}

impl Durable {
    /// Resolves when the records are durable, or with the reason why they are not.
    pub async fn wait(self) -> Result<(), Error> {
        self.0.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Appends what a listener sends to its intake stream, until the listener is gone and all is durable. The batches go to
/// the partitions in turn. While the next partition is full of records that are still to be read, the listener waits.
pub async fn serve(mut requests: mpsc::Receiver<Request>, stream: StreamName, partitions: u32, committer: Committer) {
    let lane = Lane::default();
    let mut pending = FuturesOrdered::new();
    let mut turn = (0..partitions.max(1)).map(Partition).cycle().peekable();
    loop {
        tokio::select! { biased;
            Some(()) = pending.next() => {}
            request = next(&mut requests, &committer, &stream, turn.peek().copied().unwrap_or_default()) => {
                let Some(Request { records, state, durable }) = request else { break };
                let append = Append { stream: stream.clone(), partition: turn.next().unwrap_or_default(), records };
                let changes = Changes { appends: vec![append], state, ..Changes::default() };
                let commit = committer.submit(&lane, Commit { changes, ..Commit::default() }).await;
                pending.push_back(answer(commit, durable));
            }
        }
    }
    while pending.next().await.is_some() {}
}

async fn next(
    requests: &mut mpsc::Receiver<Request>,
    committer: &Committer,
    stream: &StreamName,
    partition: Partition,
) -> Option<Request> {
    if let Err(error) = committer.room(stream, partition).await {
        tracing::error!(%stream, "{error}; the intake ends");
        return None;
    }
    requests.recv().await
}

async fn answer(commit: Pending, durable: oneshot::Sender<Result<(), Error>>) {
    let failed = |error: CommitError| Error::stop(error.to_string());
    // A listener that no longer waits for the answer has been stopped.
    let _ = durable.send(commit.await.map_err(failed));
}

fn closed() -> Error {
    Error::retry("the intake stream was closed")
}
