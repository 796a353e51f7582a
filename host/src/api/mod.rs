//! The control socket: HTTP over a Unix domain socket in the data directory, for the commands of the same machine.
//!
//! - `GET /v1/status`: what runs, and what it has counted ([`Status`]).
//! - `GET /v1/streams`: the streams and what they hold ([`StreamStatus`]).
//! - `GET /v1/streams/{name}/tap?from=&partition=&limit=`: a stream's records as they come (see [`tap`]).
//!
//! An error is answered as `{"error":{"code":...,"message":...}}` ([`Failure`]). Reads the store and the metrics; changes
//! nothing.

pub mod client;
pub mod socket;
pub mod status;
pub mod tap;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

pub use socket::Listening;
pub use status::{LagStatus, PipelineStatus, Status, StreamStatus};

use crate::metrics::{Lags, PipelineMetrics};
use crate::stop::Stop;
use crate::store::committer::Committer;
use crate::store::{self, Store};

/// How long answers that are being written may take once the appliance stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What the API shows.
#[derive(Clone)]
pub struct ApiState {
    /// Where the streams are.
    pub store: Arc<dyn Store>,
    /// Who tells of new records.
    pub committer: Committer,
    /// What the pipelines count, by name.
    pub pipelines: BTreeMap<Arc<str>, Arc<PipelineMetrics>>,
    /// How far they are behind what they read in place.
    pub lags: Arc<Lags>,
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    state: ApiState,
    taps: tap::Taps,
    stop: Stop,
}

/// Takes the socket of a data directory, before anything is served: so that an error stops the start.
pub fn listen(data: &FilePath) -> Result<Listening, socket::Error> {
    Listening::at(data)
}

/// Serves until told to stop. Taps end then; other answers have a second to finish. The socket is removed.
pub async fn serve(listening: Listening, state: ApiState, stop: Stop) -> std::io::Result<()> {
    let shared = Shared { state, taps: tap::Taps::default(), stop: stop.clone() };
    let listener = listening.listener()?;
    let (mut told, mut late) = (stop.clone(), stop);
    let served = axum::serve(listener, router(shared)).with_graceful_shutdown(async move { told.stopped().await });
    let too_late = async move {
        late.stopped().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        served = async { served.await } => served,
        () = too_late => Ok(()),
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/status", get(show_status))
        .route("/v1/streams", get(show_streams))
        .route("/v1/streams/{name}/tap", get(show_tap))
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "no-route", "there is nothing at this path") })
        .with_state(shared)
}

async fn show_status(State(shared): State<Shared>) -> Result<Json<Status>, Failure> {
    Ok(Json(Status::of(&shared.state).await?))
}

async fn show_streams(State(shared): State<Shared>) -> Result<Json<Vec<StreamStatus>>, Failure> {
    Ok(Json(StreamStatus::all(&*shared.state.store).await?))
}

async fn show_tap(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    query: Result<Query<tap::TapQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| Failure::usage(error.body_text()))?;
    tap::respond(shared.state, &shared.taps, &name, &query, shared.stop).await
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The HTTP status.
    #[serde(skip)]
    status: u16,
    /// A word for programs: `no-route`, `usage`, `unknown-stream`, `unknown-partition`, `busy`, `store`.
    pub code: String,
    /// For people.
    pub message: String,
    /// The name that was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// How a [`Failure`] is sent.
#[derive(Debug, Serialize, Deserialize)]
struct FailureBody {
    error: Failure,
}

impl Failure {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Failure {
        Failure { status: status.as_u16(), code: code.into(), message: message.into(), nearest: None }
    }

    fn usage(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "usage", message)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        match error {
            store::Error::NoPartition { .. } => {
                Failure::new(StatusCode::NOT_FOUND, "unknown-partition", error.to_string())
            }
            _ => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "store", error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(FailureBody { error: self })).into_response()
    }
}
