//! The description of the API, in OpenAPI 3.1: made of the table of routes and of the types that they answer with.

use axum::http::{Method, StatusCode};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::FailureBody;
use super::access::Needs;
use super::routes::{self, Answer, Route};

/// What every answer may be instead, where a token is needed.
const UNAUTHORIZED: &[StatusCode] =
    &[StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];

/// The whole description.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for route in routes::all() {
        let path = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(route.method.as_str().to_ascii_lowercase(), operation(&route, &mut schemas));
        }
    }
    schemas.subschema_for::<FailureBody>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weir",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a running appliance tells of itself, and what it can be told to do. The same routes are served by the socket `weir.sock` in the data directory, where no token is needed.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "A token of `http.tokens`. Where the pipeline file has neither tokens nor a login, none is needed." }, "login": { "type": "http", "scheme": "basic", "description": "A user of the directory of `http.login`." } },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    responses.insert("200".into(), answer(&route.answer, schemas));
    let denied: &[StatusCode] = if route.needs == Needs::Nothing { &[] } else { UNAUTHORIZED };
    let usage: &[StatusCode] = if route.query.is_some() { &[StatusCode::BAD_REQUEST] } else { &[] };
    for status in [usage, denied, route.failures].concat() {
        let words = status.canonical_reason().unwrap_or_default();
        let schema = json!({ "$ref": "#/components/schemas/FailureBody" });
        let content = json!({ "application/json": { "schema": schema } });
        responses.insert(status.as_str().into(), json!({ "description": words, "content": content }));
    }
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.summary,
        "parameters": parameters(route, schemas),
        "responses": responses,
        "security": [],
    });
    if let (Needs::Role(role), Some(operation)) = (route.needs, operation.as_object_mut()) {
        operation.insert("security".into(), json!([{ "token": [] }, { "login": [] }]));
        operation.insert("x-weir-role".into(), role.word().into());
    }
    operation
}

fn id(route: &Route) -> String {
    let name = route.path.trim_start_matches("/api/v1").trim_end_matches(".json");
    let words = name.split(['/', '-']).filter(|part| !part.is_empty());
    let words = words.map(|part| part.trim_matches(['{', '}', '*']));
    let verb = if route.method == Method::GET { "get" } else { "post" };
    std::iter::once(verb).chain(words).collect::<Vec<_>>().join("-")
}

fn answer(answer: &Answer, schemas: &mut SchemaGenerator) -> Value {
    match answer {
        Answer::Json(schema) => {
            json!({ "description": "OK", "content": { "application/json": { "schema": schema(schemas) } } })
        }
        Answer::Lines(what) => json!({
            "description": format!("One JSON object a line. {what}"),
            "content": { "application/x-ndjson": { "schema": { "type": "string" } } },
        }),
        Answer::Text(kind) => {
            json!({ "description": "OK", "content": { *kind: { "schema": { "type": "string" } } } })
        }
    }
}

fn parameters(route: &Route, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name.trim_start_matches('*'), "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(route.query.map(|schema| in_query(&schema(schemas))).unwrap_or_default());
    parameters
}

fn in_query(schema: &Schema) -> Vec<Value> {
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
    };
    properties.into_iter().map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_description_is_that_of_this_version() {
        let path = "../deploy/weir.openapi.json";
        let text = format!("{:#}\n", document());
        if std::env::var_os("WEIR_UPDATE_GOLDENS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == text, "{path} is not the description of this version");
    }

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        let routes = routes::all();
        assert!(routes.len() >= 9);
        for route in &routes {
            let path = route.path.replace("{*", "{");
            let operation = &document["paths"][&path][route.method.as_str().to_ascii_lowercase()];
            assert_eq!(operation["summary"], route.summary, "{path}");
        }
        let described = document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len());
        assert_eq!(described.sum::<usize>(), routes.len());
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document["components"]["schemas"].get(reference).is_some(), "{reference}");
        }
    }
}
