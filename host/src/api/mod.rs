//! The API: HTTP over a Unix domain socket in the data directory, for the commands of the same machine, and over TCP where the
//! pipeline file says so. The routes are the same (`routes.rs` has the table of them); `/api/v1/openapi.json` describes them.
//!
//! An error is answered as `{"error":{"code":...,"message":...}}` ([`Failure`]). Reads the store and the metrics; what is to be changed
//! the [`Operator`] does.

mod access;
pub mod client;
pub mod dlq;
mod handlers;
pub mod http;
mod lag;
mod login;
pub mod openapi;
mod process;
mod prometheus;
pub mod ready;
mod routes;
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
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub use socket::Listening;
pub use status::{CommitTimes, LagStatus, PipelineStatus, Status, StepCounts, StreamStatus, VersionStatus};

use crate::accept::Consent;
use crate::appliance;
use crate::appliance::reload::Reloaded;
use crate::dlq::Letter;
use crate::dlq::capsule::Used;
use crate::dlq::desk::Desk;
use crate::metrics::{Lags, Pipelines};
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
    /// All that is known of the appliance.
    pub status: Arc<appliance::Status>,
    /// Where tasks are asked to replay dead letters.
    pub desk: Desk,
    /// Held while letters are replayed or dropped: one at a time.
    pub replays: Arc<Mutex<()>>,
    /// Who changes what runs, where that can be changed.
    pub operator: Option<Arc<dyn Operator>>,
}

/// Changes what a running appliance does.
#[async_trait]
pub trait Operator: Send + Sync + 'static {
    /// Reads the pipeline file and the plugins again, and goes over to them.
    async fn reload(&self, consent: Consent) -> Reloaded;

    /// What the steps of each pipeline run.
    fn versions(&self) -> Vec<VersionStatus>;

    /// Brings back what a step ran before. The step is `STEP`, or `PIPELINE/STEP`. Says which, or why not.
    fn roll_back(&self, step: &str) -> Result<String, String>;

    /// The plugin that refused a record, of the version that did so where that is there; or why there is none.
    async fn used(&self, letter: &Letter) -> Result<Used, String>;
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    state: ApiState,
    taps: tap::Taps,
    stop: Stop,
}

impl Shared {
    /// What the handlers of one listener share. Each has taps of its own, so that none takes those of another.
    fn new(state: ApiState, stop: Stop) -> Self {
        Shared { state, taps: tap::Taps::default(), stop }
    }
}

/// Takes the socket of a data directory, before anything is served: so that an error stops the start.
pub fn listen(data: &FilePath) -> Result<Listening, socket::Error> {
    Listening::at(data)
}

/// Serves until told to stop. Taps end then; other answers have a second to finish. The socket is removed.
pub async fn serve(listening: Listening, state: ApiState, stop: Stop) -> std::io::Result<()> {
    let router = routes::router(Shared::new(state, stop.clone())).layer(Extension(access::Caller::local()));
    let listener = listening.listener()?;
    let (mut told, mut late) = (stop.clone(), stop);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { told.stopped().await });
    let too_late = async move {
        late.stopped().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        served = async { served.await } => served,
        () = too_late => Ok(()),
    }
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The HTTP status.
    #[serde(skip)]
    status: u16,
    /// A word for programs: `no-route`, `no-method`, `usage`, `unknown-stream`, `unknown-partition`, `unknown-state`, `busy`, `store`,
    /// `no-rollback`, `fixed`, `dead-letters`, `no-plugin`; over TCP also `no-token`, `bad-token`, `bad-login`, `too-many-logins`, `no-directory`, `forbidden`,
    /// `wrong-host`, `wrong-origin`, `too-large`, `too-slow`.
    pub code: String,
    /// For people.
    pub message: String,
    /// The name that was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// How a [`Failure`] is sent.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
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
        let challenge = match self.code.as_str() {
            "no-token" => Some("Bearer realm=\"weir\""),
            "bad-token" => Some("Bearer realm=\"weir\", error=\"invalid_token\""),
            "bad-login" => Some("Basic realm=\"weir\", charset=\"UTF-8\""),
            "forbidden" => Some("Bearer realm=\"weir\", error=\"insufficient_scope\""),
            _ => None,
        };
        let mut response = (status, Json(FailureBody { error: self })).into_response();
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
