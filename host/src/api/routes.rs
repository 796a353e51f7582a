//! All that can be asked: one table, of which both the router and the description of the API are made, so that neither has
//! what the other lacks.

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::access::{Needs, permit};
use super::{Failure, Shared, dlq, handlers, prometheus, ready};

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One of them.
pub(super) struct Route {
    /// Its method: GET or POST.
    pub(super) method: Method,
    /// Its path, with parameters in braces; one that begins with a star takes the rest of the path.
    pub(super) path: &'static str,
    /// Who may ask.
    pub(super) needs: Needs,
    /// What it does, a sentence.
    pub(super) summary: &'static str,
    /// The parameters of its query.
    pub(super) query: Option<SchemaOf>,
    /// What is answered.
    pub(super) answer: Answer,
    /// The statuses of failures that it has of its own.
    pub(super) failures: &'static [StatusCode],
    /// What answers.
    pub(super) handler: MethodRouter<Shared>,
}

/// What is answered.
pub(super) enum Answer {
    /// A JSON value.
    Json(SchemaOf),
    /// JSON values, one a line, as they come; and what each is.
    Lines(&'static str),
    /// Text of this type.
    Text(&'static str),
}

impl Answer {
    /// A JSON value of a type.
    pub(super) fn json<T: JsonSchema>() -> Self {
        Answer::Json(|schemas| schemas.subschema_for::<T>())
    }
}

impl Route {
    /// A route without parameters of a query.
    pub(super) fn new(
        method: Method,
        path: &'static str,
        needs: Needs,
        summary: &'static str,
        answer: Answer,
        handler: MethodRouter<Shared>,
    ) -> Self {
        Route { method, path, needs, summary, query: None, answer, failures: &[], handler }
    }

    /// With the parameters of its query.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(|schemas| schemas.root_schema_for::<T>());
        self
    }

    /// With the failures that it has of its own.
    pub(super) fn fails(mut self, failures: &'static [StatusCode]) -> Self {
        self.failures = failures;
        self
    }
}

/// All routes.
pub(super) fn all() -> Vec<Route> {
    let parts = [handlers::routes(), dlq::routes(), ready::routes(), prometheus::routes()];
    parts.into_iter().flatten().collect()
}

/// The router of all routes. Who asks is to be said by an extension of each request.
pub(super) fn router(shared: Shared) -> Router {
    let add = |router: Router<Shared>, route: Route| {
        router.route(route.path, route.handler.route_layer(from_fn_with_state(route.needs, permit)))
    };
    all()
        .into_iter()
        .fold(Router::new(), add)
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "no-route", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no-method", "this path does not know the method")
        })
        .with_state(shared)
}
