//! Whether the appliance lives, and whether records get through it: `/livez` and `/readyz`, as orchestrators ask for them.
//!
//! Both need no token. What is wrong with which pipeline is listed for those who have one (or need none); the error that a task
//! begins again with, which may repeat what a broker or plugin said, for operators alone.

use axum::extract::{Extension, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use schemars::JsonSchema;
use serde::Deserialize;

use super::access::{Caller, Needs};
use super::routes::{Answer, Route};
use super::{ApiState, Shared};
use crate::config::http::Role;
use crate::metrics::links::LINKS;
use crate::metrics::vitals::Trouble;

/// What `/readyz` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct ReadyQuery {
    /// Whether each check is to be listed; no value means yes.
    verbose: Option<String>,
}

/// One thing that has to be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What: `store`, `pipeline/NAME` or `link/NAME`.
    pub name: String,
    /// Why it is not so, where it is not.
    pub trouble: Option<Trouble>,
}

/// The routes that are answered here.
pub(super) fn routes() -> Vec<Route> {
    let text = || Answer::Text("text/plain");
    let live = "Whether the process serves.";
    let ready = "Whether the store is open, and records get through every pipeline; `verbose` lists each check for who has a token.";
    vec![
        Route::new(Method::GET, "/livez", Needs::Nothing, live, text(), get(|| async { "ok\n" })),
        Route::new(Method::GET, "/readyz", Needs::Nothing, ready, text(), get(show_ready))
            .query::<ReadyQuery>()
            .fails(&[StatusCode::SERVICE_UNAVAILABLE]),
    ]
}

/// Everything that has to be so for records to get through.
pub async fn checks(state: &ApiState) -> Vec<Check> {
    let trouble = |what: String| Trouble { what, failure: None };
    let store = state
        .store
        .streams()
        .await
        .err()
        .map(|error| Trouble { what: "cannot be read".into(), failure: Some(error.to_string()) });
    let mut checks = vec![Check { name: "store".into(), trouble: store }];
    for (name, metrics) in &*state.pipelines.all() {
        let tasks = metrics.tasks();
        let none = tasks.is_empty().then(|| trouble("has no task yet".into()));
        let first = tasks.iter().find_map(|(partition, task)| {
            let Trouble { what, failure } = task.trouble()?;
            Some(Trouble { what: format!("task {partition} {what}"), failure })
        });
        checks.push(Check { name: format!("pipeline/{name}"), trouble: none.or(first) });
    }
    let links = LINKS.all().into_iter().map(|(owner, link)| Check {
        name: format!("link/{}", owner.replace(' ', "/")),
        trouble: (!link.is_up()).then(|| trouble("is not connected".into())),
    });
    checks.extend(links);
    checks
}

async fn show_ready(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ReadyQuery>,
) -> Response {
    let checks = checks(&shared.state).await;
    let is_ready = checks.iter().all(|check| check.trouble.is_none());
    let is_verbose = query.verbose.is_some_and(|value| value != "false");
    let text = match is_verbose {
        true if caller.may(Role::Viewer) => listed(&checks, caller.may(Role::Operator)),
        _ if is_ready => "ok\n".into(),
        _ => "not ready\n".into(),
    };
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn listed(checks: &[Check], with_failures: bool) -> String {
    let mut text = String::new();
    for Check { name, trouble } in checks {
        match trouble {
            None => text.push_str(&format!("[+]{name} ok\n")),
            Some(Trouble { what, failure }) => {
                let failure = failure.as_ref().filter(|_| with_failures);
                let failure = failure.map(|failure| format!(": {}", failure.replace('\n', " "))).unwrap_or_default();
                text.push_str(&format!("[-]{name} failed: {what}{failure}\n"));
            }
        }
    }
    let failed = checks.iter().filter(|check| check.trouble.is_some()).count();
    text + &if failed == 0 {
        "readyz check passed\n".into()
    } else {
        format!("readyz check failed: {failed} of {}\n", checks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::Rig;

    #[tokio::test]
    async fn what_hinders_records_is_listed_to_those_who_may_know() {
        let rig = Rig::start().await;
        let state = rig.state();
        let of = |checks: &[Check]| checks.iter().find(|check| check.name == "pipeline/parse").cloned().unwrap();
        assert_eq!(of(&checks(&state).await).trouble.unwrap().what, "has no task yet");
        let task = state.pipelines.of("parse").task(3);
        task.opened();
        let fine = checks(&state).await;
        assert_eq!(of(&fine).trouble, None);
        assert!(listed(&fine, true).starts_with("[+]store ok\n[+]pipeline/parse ok\n"));
        (0..3).for_each(|_| task.failed("out: the disk\nis full".into()));
        let checks = checks(&state).await;
        let line = "[-]pipeline/parse failed: task 3 began again 3 times without a commit";
        assert!(listed(&checks, false).contains(&format!("{line}\n")), "{}", listed(&checks, false));
        assert!(listed(&checks, true).contains(&format!("{line}: out: the disk is full\n")));
    }
}
