//! The control socket: HTTP over a Unix domain socket in the data directory, for the commands of the same machine.
//!
//! - `GET /v1/status`: what runs, and what it has counted ([`Status`]).
//! - `GET /v1/streams`: the streams and what they hold ([`StreamStatus`]).
//! - `GET /v1/streams/{name}/tap?from=&partition=&limit=`: a stream's records as they come (see [`tap`]).
//!
//! - `GET /v1/state?hidden=`: the tables of keyed state ([`TableView`](crate::state::view::TableView)).
//! - `GET /v1/state/{pipeline}/{step}/{table}?key=&prefix=&partition=&limit=`: their entries at the last commit, a JSON object a
//!   line; the step may be left out where it is the only one with such a table.
//! - `GET /v1/state-export?pipelines=`: all state, to be imported elsewhere.
//!
//! - `POST /v1/reload`: reads the pipeline file and the plugins again, and goes over to them ([`Reloaded`]).
//! - `POST /v1/rollback/{step}`: brings back what a step ran before; the step is `STEP`, or `PIPELINE/STEP`.
//!
//! An error is answered as `{"error":{"code":...,"message":...}}` ([`Failure`]). Reads the store and the metrics; what is to be changed
//! the [`Operator`] does.

pub mod client;
pub mod socket;
pub mod state;
pub mod status;
pub mod tap;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

pub use socket::Listening;
pub use status::{LagStatus, PipelineStatus, Status, StreamStatus, VersionStatus};

use crate::appliance::reload::Reloaded;
use crate::metrics::{Lags, Pipelines};
use crate::state::view::{TableView, Wanted};
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
    pub pipelines: Arc<Pipelines>,
    /// How far they are behind what they read in place.
    pub lags: Arc<Lags>,
    /// Who changes what runs, where that can be changed.
    pub operator: Option<Arc<dyn Operator>>,
}

/// Changes what a running appliance does.
#[async_trait]
pub trait Operator: Send + Sync + 'static {
    /// Reads the pipeline file and the plugins again, and goes over to them.
    async fn reload(&self) -> Reloaded;

    /// What the steps of each pipeline run.
    fn versions(&self) -> Vec<VersionStatus>;

    /// Brings back what a step ran before. The step is `STEP`, or `PIPELINE/STEP`. Says which, or why not.
    fn roll_back(&self, step: &str) -> Result<String, String>;
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
        .route("/v1/state", get(show_tables))
        .route("/v1/state/{*table}", get(show_entries))
        .route("/v1/state-export", get(show_export))
        .route("/v1/reload", post(reload))
        .route("/v1/rollback/{*step}", post(roll_back))
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
    let Query(query) = query?;
    tap::respond(shared.state, &shared.taps, &name, &query, shared.stop).await
}

async fn show_tables(
    State(shared): State<Shared>,
    query: Result<Query<state::ListQuery>, QueryRejection>,
) -> Result<Json<Vec<TableView>>, Failure> {
    state::tables(&*shared.state.store, &query?.0).await
}

async fn show_entries(
    State(shared): State<Shared>,
    Path(table): Path<String>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Failure> {
    state::entries(&*shared.state.store, &table, query?.0).await
}

async fn show_export(
    State(shared): State<Shared>,
    query: Result<Query<state::ExportQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    state::export(&*shared.state.store, &query?.0).await
}

async fn reload(State(shared): State<Shared>) -> Result<Json<Reloaded>, Failure> {
    Ok(Json(operator(&shared)?.reload().await))
}

async fn roll_back(State(shared): State<Shared>, Path(step): Path<String>) -> Result<Json<String>, Failure> {
    let refused = |why| Failure::new(StatusCode::CONFLICT, "no-rollback", why);
    operator(&shared)?.roll_back(&step).map(Json).map_err(refused)
}

fn operator(shared: &Shared) -> Result<&Arc<dyn Operator>, Failure> {
    let none = || Failure::new(StatusCode::CONFLICT, "fixed", "what this appliance runs cannot be changed");
    shared.state.operator.as_ref().ok_or_else(none)
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The HTTP status.
    #[serde(skip)]
    status: u16,
    /// A word for programs: `no-route`, `usage`, `unknown-stream`, `unknown-partition`, `unknown-state`, `busy`, `store`,
    /// `no-rollback`, `fixed`.
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

impl From<QueryRejection> for Failure {
    fn from(error: QueryRejection) -> Failure {
        Failure::usage(error.body_text())
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
