//! What the API says of dead letters, and does with them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::access::OPERATOR;
use super::routes::{Answer, Route};
use super::{Failure, Shared};
use crate::dlq::act::{self, Dropped, Error, Replayed};
use crate::dlq::capsule::Head;
use crate::dlq::view::{self, Found, Group, Scan, Select};
use crate::record::Batch;
use crate::store::Store;

/// Below which path they are.
pub const PREFIX: &str = "/api/v1/dlq";
/// The lines that wait for a reader.
const LINES_AHEAD: usize = 256;

/// How letters are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// What is known of each.
    #[default]
    List,
    /// With its record.
    Whole,
    /// As it lies in the stream.
    Export,
}

impl Form {
    fn line(self, found: &Found) -> Vec<u8> {
        match self {
            Form::List => found.list_line(),
            Form::Whole => found.whole_line(),
            Form::Export => found.export_line(),
        }
    }
}

/// The routes that are answered here. What records hold, and what changes something, is the operator's.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::new(
            Method::GET,
            PREFIX,
            OPERATOR,
            "Dead letters that are not settled.",
            Answer::Lines("A dead letter; `form=whole`: with its record; `form=export`: as it lies in the stream."),
            get(show),
        )
        .query::<ShowQuery>(),
        Route::new(
            Method::GET,
            "/api/v1/dlq-groups",
            OPERATOR,
            "Dead letters by kind of error.",
            Answer::json::<Vec<Group>>(),
            get(groups),
        )
        .query::<Select>(),
        Route::new(
            Method::GET,
            "/api/v1/dlq/capsule",
            OPERATOR,
            "A dead letter as a case: a line of JSON, then the plugin's component.",
            Answer::Text("application/octet-stream"),
            get(capsule),
        )
        .query::<Select>(),
    ];
    routes.push(changing("/api/v1/dlq/replay", "Has dead letters replayed.", Answer::json::<Replayed>(), post(replay)));
    routes.push(changing("/api/v1/dlq/drop", "Drops dead letters.", Answer::json::<Dropped>(), post(drop_letters)));
    routes.into_iter().map(|route| route.fails(&[StatusCode::NOT_FOUND, StatusCode::CONFLICT])).collect()
}

fn changing(path: &'static str, summary: &'static str, answer: Answer, handler: MethodRouter<Shared>) -> Route {
    Route::new(Method::POST, path, OPERATOR, summary, answer, handler).query::<Select>()
}

/// What is in a URL: which letters, and in which form.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct ShowQuery {
    #[serde(default)]
    ids: String,
    group: Option<String>,
    pipeline: Option<String>,
    step: Option<String>,
    #[serde(default)]
    form: Form,
}

async fn show(
    State(shared): State<Shared>,
    query: Result<Query<ShowQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(ShowQuery { ids, group, pipeline, step, form }) = query?;
    let select = Select { ids, group, pipeline, step };
    let (sender, mut receiver) = mpsc::channel(LINES_AHEAD);
    tokio::spawn(send(shared.state.store.clone(), select, form, sender));
    // What is wrong before the first line is an answer of its own; what fails later breaks the connection.
    let first = receiver.recv().await.transpose()?;
    let rest = ReceiverStream::new(receiver);
    let body = Body::from_stream(tokio_stream::iter(first.map(Ok)).chain(rest));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Makes the lines of letters, as long as somebody takes them. What fails is the last that is sent.
pub async fn send(store: Arc<dyn Store>, select: Select, form: Form, lines: mpsc::Sender<Result<Bytes, Error>>) {
    let sent = async {
        let mut scan = Scan::open(&*store, &select).await?;
        while let Some(found) = scan.next().await? {
            if lines.send(Ok(form.line(&found).into())).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    if let Err(error) = sent.await {
        let _ = lines.send(Err(error)).await;
    }
}

async fn groups(
    State(shared): State<Shared>,
    query: Result<Query<Select>, QueryRejection>,
) -> Result<Json<Vec<Group>>, Failure> {
    Ok(Json(view::groups(&*shared.state.store, &query?.0).await?))
}

async fn capsule(
    State(shared): State<Shared>,
    query: Result<Query<Select>, QueryRejection>,
) -> Result<Response, Failure> {
    let (Query(select), state) = (query?, &shared.state);
    let found = Scan::open(&*state.store, &select).await?.next().await?;
    let none =
        || Failure::new(StatusCode::NOT_FOUND, "dead-letters", format!("there is no dead letter {}", select.ids));
    let found = found.ok_or_else(none)?;
    let mut record = Batch::default();
    found.record().iter().for_each(|of| record.push(of));
    let refused = |why| Failure::new(StatusCode::CONFLICT, "no-plugin", why);
    let used = super::handlers::operator(&shared)?.used(&found.letter).await.map_err(refused)?;
    let head = Head::of(found.id, &found.letter, &record, &used);
    // Text and numbers always can be written.
    let mut body = serde_json::to_vec(&head).unwrap_or_default();
    body.push(b'\n');
    body.extend_from_slice(&used.wasm);
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

async fn replay(
    State(shared): State<Shared>,
    query: Result<Query<Select>, QueryRejection>,
) -> Result<Json<Replayed>, Failure> {
    let (Query(select), state) = (query?, &shared.state);
    let busy = |_| Failure::new(StatusCode::CONFLICT, "busy", "dead letters are being replayed or dropped already");
    let _alone = state.replays.try_lock().map_err(busy)?;
    Ok(Json(act::replay(&*state.store, &state.committer, &state.desk, &select).await?))
}

async fn drop_letters(
    State(shared): State<Shared>,
    query: Result<Query<Select>, QueryRejection>,
) -> Result<Json<Dropped>, Failure> {
    let (Query(select), state) = (query?, &shared.state);
    let busy = |_| Failure::new(StatusCode::CONFLICT, "busy", "dead letters are being replayed or dropped already");
    let _alone = state.replays.try_lock().map_err(busy)?;
    Ok(Json(act::drop_letters(&*state.store, &state.committer, &state.desk, &select).await?))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Wrong(message) => Failure::new(StatusCode::NOT_FOUND, "dead-letters", message),
            Error::Store(error) => error.into(),
            Error::Commit(error) => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "store", error.to_string()),
        }
    }
}
