//! What the API says of keyed state: its tables, their entries, and all of it for another store.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::Failure;
use crate::state::view::{self, Error, TableView, Wanted};
use crate::store::{Snapshot, Store};

/// The lines that wait for a reader.
const LINES_AHEAD: usize = 256;

/// Which tables are listed.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Those too whose name begins with `-`.
    #[serde(default)]
    pub hidden: bool,
}

/// What is exported.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ExportQuery {
    /// The pipelines, divided by commas; all of them, without it.
    #[serde(default)]
    pub pipelines: String,
}

impl ExportQuery {
    /// The pipelines by name.
    pub fn names(&self) -> Vec<String> {
        self.pipelines.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

pub(super) async fn tables(store: &dyn Store, query: &ListQuery) -> Result<Json<Vec<TableView>>, Failure> {
    Ok(Json(view::tables(&*store.snapshot().await?, query.hidden).await?))
}

/// What is sent line by line.
pub enum Lines {
    /// The entries of a table.
    Entries(TableView, Wanted),
    /// All of the state of these pipelines.
    Export(Vec<String>),
}

impl Lines {
    /// Makes them, as long as somebody takes them. What fails is the last that is sent.
    pub async fn send(self, snapshot: Arc<dyn Snapshot>, lines: mpsc::Sender<Result<Bytes, Error>>) {
        let sent = match &self {
            Lines::Entries(view, wanted) => view::entries(&*snapshot, view, wanted, &lines).await,
            Lines::Export(names) => view::export(&*snapshot, names, &lines).await,
        };
        if let Err(error) = sent {
            let _ = lines.send(Err(error)).await;
        }
    }
}

pub(super) async fn entries(store: &dyn Store, path: &str, wanted: Wanted) -> Result<Response, Failure> {
    let snapshot = store.snapshot().await?;
    let view = view::find(&*snapshot, path).await?;
    answer(Lines::Entries(view, wanted), snapshot).await
}

pub(super) async fn export(store: &dyn Store, query: &ExportQuery) -> Result<Response, Failure> {
    answer(Lines::Export(query.names()), store.snapshot().await?).await
}

/// Answers with lines as they are made. What is wrong before the first is an answer of its own; what fails later breaks the
/// connection, so that nobody takes a part for the whole.
async fn answer(lines: Lines, snapshot: Arc<dyn Snapshot>) -> Result<Response, Failure> {
    let (sender, mut receiver) = mpsc::channel(LINES_AHEAD);
    tokio::spawn(lines.send(snapshot, sender));
    let first = receiver.recv().await.transpose()?;
    let rest = ReceiverStream::new(receiver);
    let body = Body::from_stream(tokio_stream::iter(first.map(Ok)).chain(rest));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Store(error) => error.into(),
            Error::Wrong(message) => Failure::new(StatusCode::NOT_FOUND, "unknown-state", message),
        }
    }
}
