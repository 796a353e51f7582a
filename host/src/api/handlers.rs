//! What each route does: it reads the request, asks who knows, and answers.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::Deserialize;

use super::access::{Caller, OPERATOR, VIEWER};
use super::routes::{Answer, Route};
use super::{Failure, Operator, Shared, Status, StreamStatus, openapi, state, tap};
use crate::accept::Consent;
use crate::appliance::reload::Reloaded;
use crate::state::view::{TableView, Wanted};

/// The routes that are answered here.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = show();
    routes.extend(records());
    routes.extend(change());
    routes
}

fn show() -> Vec<Route> {
    vec![
        Route::new(
            Method::GET,
            "/api/v1/status",
            VIEWER,
            "What runs, and what it has counted.",
            Answer::json::<Status>(),
            get(show_status),
        ),
        Route::new(
            Method::GET,
            "/api/v1/streams",
            VIEWER,
            "The streams, and what they hold.",
            Answer::json::<Vec<StreamStatus>>(),
            get(show_streams),
        ),
        Route::new(
            Method::GET,
            "/api/v1/state",
            VIEWER,
            "The tables of keyed state.",
            Answer::json::<Vec<TableView>>(),
            get(show_tables),
        )
        .query::<state::ListQuery>(),
        Route::new(
            Method::GET,
            "/api/v1/openapi.json",
            VIEWER,
            "This description.",
            Answer::json::<serde_json::Value>(),
            get(|| async { Json(openapi::document()) }),
        ),
    ]
}

fn records() -> Vec<Route> {
    vec![
        Route::new(
            Method::GET,
            "/api/v1/streams/{name}/tap",
            OPERATOR,
            "A stream's records as they come.",
            Answer::Lines("A record, or a gap that retention has left."),
            get(show_tap),
        )
        .query::<tap::TapQuery>()
        .fails(&[StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE]),
        Route::new(
            Method::GET,
            "/api/v1/state/{*table}",
            OPERATOR,
            "The entries of a table at the last commit: PIPELINE/STEP/TABLE; the step may be left out where it is the only one with such a table.",
            Answer::Lines("An entry."),
            get(show_entries),
        )
        .query::<Wanted>()
        .fails(&[StatusCode::NOT_FOUND]),
        Route::new(
            Method::GET,
            "/api/v1/state-export",
            OPERATOR,
            "All that pipelines remember, and how far they have read, to be imported elsewhere.",
            Answer::Lines("An entry, or a position."),
            get(show_export),
        )
        .query::<state::ExportQuery>()
        .fails(&[StatusCode::NOT_FOUND]),
    ]
}

fn change() -> Vec<Route> {
    vec![
        Route::new(
            Method::POST,
            "/api/v1/reload",
            OPERATOR,
            "Reads the pipeline file and the plugins again, and goes over to them.",
            Answer::json::<Reloaded>(),
            post(reload),
        )
        .query::<ReloadQuery>()
        .fails(&[StatusCode::CONFLICT]),
        Route::new(
            Method::POST,
            "/api/v1/rollback/{*step}",
            OPERATOR,
            "Brings back what a step ran before: STEP, or PIPELINE/STEP. Says which.",
            Answer::json::<String>(),
            post(roll_back),
        )
        .fails(&[StatusCode::CONFLICT]),
    ]
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

/// How a reload is asked for.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ReloadQuery {
    /// Whether plugins that want more than the versions before are accepted.
    accept: bool,
}

async fn reload(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ReloadQuery>, QueryRejection>,
) -> Result<Json<Reloaded>, Failure> {
    let consent = if query?.0.accept { Consent::Given } else { Consent::Needed };
    let operator = operator(&shared)?;
    tracing::info!(by = caller.name(), "a reload was asked for");
    Ok(Json(operator.reload(consent).await))
}

async fn roll_back(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(step): Path<String>,
) -> Result<Json<String>, Failure> {
    let refused = |why| Failure::new(StatusCode::CONFLICT, "no-rollback", why);
    let operator = operator(&shared)?;
    tracing::info!(by = caller.name(), step, "a rollback was asked for");
    operator.roll_back(&step).map(Json).map_err(refused)
}

pub(super) fn operator(shared: &Shared) -> Result<&dyn Operator, Failure> {
    let none = || Failure::new(StatusCode::CONFLICT, "fixed", "what this appliance runs cannot be changed");
    shared.state.operator.as_deref().ok_or_else(none)
}
