//! A stream's records as they come, one JSON object a line:
//!
//! ```json
//! {"stream":"logins","partition":0,"offset":7,"timestamp":"2026-03-01T12:00:00.000Z","key":null,"value":"...","headers":{}}
//! ```
//!
//! Key and value are strings; bytes that are not UTF-8 stand base64-coded under `key_base64` and `value_base64`; headers
//! are as in the record format of [`crate::sink::lines`]. Where retention was faster than the reader, a line
//! `{"gap":{"stream":...,"partition":...,"from":...,"to":...}}` stands for the records that are gone; a last line
//! `{"error":{"code":...,"message":...}}` says why the store could not be read any further.
//!
//! A tap reads the store as any reader does and holds a bounded number of bytes. When its client is slow it waits, and
//! nobody else waits with it.

use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::select_all;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::{ApiState, Failure, FailureBody};
use crate::record::{Batch, Offset, Partition};
use crate::sink::lines::push_record_line;
use crate::stop::Stop;
use crate::store::{Bounds, Error, StreamName, StreamSpec};

/// Taps at once.
const TAPS_MAX: usize = 64;
/// Bytes of records that are read from the store at a time; one stored batch may be larger.
const READ_BYTES_MAX: usize = 256 << 10;
/// Bytes of lines after which a chunk is sent.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may wait for the client.
const QUEUE_CHUNKS_MAX: usize = 4;

/// Names with no more changed letters than this are taken for a slip of the fingers.
const NEAR_MAX: usize = 3;

/// Where a tap begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// With the oldest record.
    Earliest,
    /// With the next record that comes.
    #[default]
    Latest,
    /// At an offset, in each partition.
    At(Offset),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Begin, String> {
        match text {
            "earliest" => Ok(Begin::Earliest),
            "latest" => Ok(Begin::Latest),
            offset => offset
                .parse()
                .map(|offset| Begin::At(Offset(offset)))
                .map_err(|_| format!("expected `earliest`, `latest` or an offset, found `{text}`")),
        }
    }
}

impl std::fmt::Display for Begin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Begin::Earliest => f.write_str("earliest"),
            Begin::Latest => f.write_str("latest"),
            Begin::At(offset) => offset.fmt(f),
        }
    }
}

/// The parameters of a tap, as they stand in the URL.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TapQuery {
    /// `earliest`, `latest` or an offset; `latest` without it.
    from: Option<String>,
    /// One partition alone.
    partition: Option<u32>,
    /// How many records; without it, no end.
    limit: Option<u64>,
}

/// The taps that run.
#[derive(Clone)]
pub(super) struct Taps(Arc<Semaphore>);

impl Default for Taps {
    fn default() -> Self {
        Taps(Arc::new(Semaphore::new(TAPS_MAX)))
    }
}

pub(super) async fn respond(
    state: ApiState,
    taps: &Taps,
    name: &str,
    query: &TapQuery,
    stop: Stop,
) -> Result<Response, Failure> {
    let begin = query.from.as_deref().map_or(Ok(Begin::default()), str::parse);
    let begin = begin.map_err(|error| Failure::usage(format!("from: {error}")))?;
    let spec = find(&state, name).await?;
    let permit = taps.0.clone().try_acquire_owned().map_err(|_| busy())?;
    let mut tap = Tap::open(state, &spec, query.partition, begin).await?;
    tap.left = query.limit.unwrap_or(u64::MAX);
    let (chunks, body) = mpsc::channel(QUEUE_CHUNKS_MAX);
    tokio::spawn(run(tap, chunks, stop, permit));
    let body = Body::from_stream(ReceiverStream::new(body).map(Ok::<Bytes, std::convert::Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn busy() -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", format!("{TAPS_MAX} taps run already"))
}

async fn find(state: &ApiState, name: &str) -> Result<StreamSpec, Failure> {
    if let Some(spec) = state.store.stream(name).await? {
        return Ok(spec);
    }
    let specs = state.store.streams().await?;
    let names: Vec<&str> = specs.iter().map(|spec| &*spec.name).collect();
    let nearest = names.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known)).min();
    let nearest = nearest.filter(|(distance, _)| *distance <= NEAR_MAX).map(|(_, known)| known.to_owned());
    let message = match nearest {
        Some(_) => format!("there is no stream {name}"),
        None => format!("there is no stream {name}; there are: {}", names.join(", ")),
    };
    Err(Failure { nearest, ..Failure::new(StatusCode::NOT_FOUND, "unknown-stream", message) })
}

/// Runs a tap until it has sent what was asked for, its client is gone, or the appliance stops.
async fn run(mut tap: Tap, chunks: mpsc::Sender<Bytes>, mut stop: Stop, _permit: OwnedSemaphorePermit) {
    tokio::select! {
        () = stop.stopped() => {}
        () = chunks.closed() => {}
        () = tap.feed(&chunks) => {}
    }
}

struct Tap {
    state: ApiState,
    stream: StreamName,
    cursors: Vec<Cursor>,
    left: u64,
}

/// How far a partition was read.
struct Cursor {
    partition: Partition,
    next: Offset,
    bounds: watch::Receiver<Bounds>,
}

/// The client has gone.
struct Gone;

impl Tap {
    async fn open(state: ApiState, spec: &StreamSpec, partition: Option<u32>, begin: Begin) -> Result<Tap, Failure> {
        let partitions = partition.map_or(0..spec.partitions, |one| one..one.saturating_add(1));
        let mut cursors = Vec::new();
        for partition in partitions.map(Partition) {
            let bounds = state.committer.watch(&spec.name, partition).await?;
            let Bounds { start, end, .. } = *bounds.borrow();
            let next = match begin {
                Begin::Earliest => start,
                Begin::Latest => end,
                Begin::At(offset) => offset,
            };
            cursors.push(Cursor { partition, next, bounds });
        }
        Ok(Tap { state, stream: spec.name.clone(), cursors, left: u64::MAX })
    }

    async fn feed(&mut self, chunks: &mpsc::Sender<Bytes>) {
        while self.left > 0 {
            match self.round(chunks).await {
                Err(Gone) => return,
                Ok(true) => {}
                Ok(false) => self.wait().await,
            }
        }
    }

    /// Reads once from each partition that has records. Says whether there were any.
    async fn round(&mut self, chunks: &mpsc::Sender<Bytes>) -> Result<bool, Gone> {
        let mut any = false;
        let Tap { state, stream, cursors, left } = self;
        for cursor in cursors {
            if *left == 0 || cursor.bounds.borrow_and_update().end <= cursor.next {
                continue;
            }
            any = true;
            match state.store.read(stream, cursor.partition, cursor.next, READ_BYTES_MAX).await {
                Ok(batch) => cursor.send(stream, &batch, left, chunks).await?,
                Err(Error::Trimmed { start, .. }) => cursor.skip(stream, start, chunks).await?,
                Err(error) => {
                    let mut line = serde_json::to_vec(&FailureBody { error: error.into() }).unwrap_or_default();
                    line.push(b'\n');
                    chunks.send(line.into()).await.map_err(|_| Gone)?;
                    return Err(Gone);
                }
            }
        }
        Ok(any)
    }

    /// Waits for a change of any partition.
    async fn wait(&mut self) {
        let changes = self.cursors.iter_mut().map(|cursor| Box::pin(cursor.bounds.changed()));
        let (changed, _, others) = select_all(changes).await;
        drop(others);
        if changed.is_err() {
            // The committer is gone: nothing will come.
            self.left = 0;
        }
    }
}

impl Cursor {
    async fn send(
        &mut self,
        stream: &str,
        batch: &Batch,
        left: &mut u64,
        chunks: &mpsc::Sender<Bytes>,
    ) -> Result<(), Gone> {
        let mut lines = Vec::with_capacity(CHUNK_BYTES);
        for record in batch.iter().take(usize::try_from(*left).unwrap_or(usize::MAX)) {
            push_record_line(&mut lines, stream, self.partition, &record);
            self.next = Offset(record.offset.0 + 1);
            *left -= 1;
            if lines.len() >= CHUNK_BYTES {
                chunks.send(std::mem::take(&mut lines).into()).await.map_err(|_| Gone)?;
            }
        }
        if lines.is_empty() { Ok(()) } else { chunks.send(lines.into()).await.map_err(|_| Gone) }
    }

    async fn skip(&mut self, stream: &str, to: Offset, chunks: &mpsc::Sender<Bytes>) -> Result<(), Gone> {
        let (partition, from) = (self.partition.0, self.next.0);
        let gap = serde_json::json!({"gap": {"stream": stream, "partition": partition, "from": from, "to": to.0}});
        self.next = to;
        chunks.send(format!("{gap}\n").into()).await.map_err(|_| Gone)
    }
}
