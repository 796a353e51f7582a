//! What a plugin reaches of the web: the endpoints that its step was granted, as they are, and nothing beside them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;
use tokio::net::TcpListener;
use weir::config::{ClientTls, Grants, HttpAuth, HttpEndpoint, HttpMethod, Secret, StepLimits};
use weir::plugin::load::Problem;
use weir::plugin::{Answer, Factory, Failure, Plugin, StartError};
use weir::record::Batch;

use crate::guests::{Runs as _, batch, built, context, limits, load};

/// What a service was asked: method, path and query, the header `authorization`, another header, the body.
type Asked = Arc<Mutex<Vec<String>>>;

/// A service on this machine.
struct Service {
    port: u16,
    asked: Asked,
    at_once: Arc<AtomicUsize>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, at_once) = (Asked::default(), Arc::default());
        let router = Router::new().fallback(answer).with_state((asked.clone(), Arc::clone(&at_once)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Service { port, asked, at_once }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn endpoint(&self) -> HttpEndpoint {
        endpoint(&format!("http://127.0.0.1:{}/v1/", self.port))
    }
}

/// Answers by the end of the path.
async fn answer(State((asked, at_once)): State<(Asked, Arc<AtomicUsize>)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let of = |name: &str| head.headers.get(name).map_or("-", |value| value.to_str().unwrap_or("?")).to_owned();
    let body = String::from_utf8_lossy(&body);
    let said = format!("{} {} {} {} {body}", head.method, head.uri, of("authorization"), of("x-own"));
    asked.lock().unwrap().push(said.clone());
    let path = head.uri.path();
    let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
    let answer = match path.rsplit('/').next().unwrap_or_default() {
        "large" => vec![b'x'; 100_000].into_response(),
        "never" => std::future::pending().await,
        "slow" => {
            tokio::time::sleep(Duration::from_millis(30)).await;
            now.to_string().into_response()
        }
        "teapot" => StatusCode::IM_A_TEAPOT.into_response(),
        "who" if of("authorization") != "Bearer new" => StatusCode::UNAUTHORIZED.into_response(),
        "hop" => Redirect::temporary("/v1/landed").into_response(),
        "away" => Redirect::temporary("http://localhost:1/secrets").into_response(),
        "round" => Redirect::temporary("/v1/round").into_response(),
        "metadata" => ([(header::LOCATION, "http://169.254.169.254/latest/")], StatusCode::FOUND).into_response(),
        _ => said.into_response(),
    };
    at_once.fetch_sub(1, Ordering::SeqCst);
    answer
}

fn endpoint(url: &str) -> HttpEndpoint {
    HttpEndpoint {
        name: "geo".into(),
        url: url.parse().unwrap(),
        auth: HttpAuth::None,
        headers: BTreeMap::new(),
        methods: vec![HttpMethod::Get, HttpMethod::Post],
        private_addresses: true,
        tls: ClientTls::default(),
        timeout: Duration::from_secs(20),
        requests_max: 8,
        response_bytes_max: 10_000,
    }
}

async fn asker() -> Plugin {
    load(built("asker")).await
}

/// What the asker gives on for each of its records, which are requests.
async fn ask_with(endpoints: Vec<HttpEndpoint>, limits: StepLimits, records: &[&str]) -> Vec<String> {
    let grants = Grants { http: endpoints.into_iter().map(Arc::new).collect(), ..Grants::default() };
    let factory = asker().await.granted(&grants).transform(context(), json!({}), limits).unwrap();
    let (mut instance, _) = factory.start().await.unwrap();
    match instance.run(&batch(records)).await.unwrap().answer {
        Answer::Replaced { records, .. } => values(&records),
        other => panic!("{other:?}"),
    }
}

async fn ask(endpoint: HttpEndpoint, records: &[&str]) -> Vec<String> {
    ask_with(vec![endpoint], limits(), records).await
}

fn values(batch: &Batch) -> Vec<String> {
    batch.iter().map(|record| String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned()).collect()
}

fn secret(directory: &tempfile::TempDir, text: &str) -> (Secret, PathBuf) {
    let path = directory.path().join("token");
    std::fs::write(&path, text).unwrap();
    (Secret::File(path.clone()), path)
}

#[tokio::test]
async fn a_request_goes_behind_the_endpoints_url_with_its_credentials() {
    let service = Service::start().await;
    let directory = tempfile::tempdir().unwrap();
    let auth = HttpAuth::Bearer(secret(&directory, "s3cret\n").0);
    let headers = BTreeMap::from([("x-own".into(), "from the file".to_owned())]);
    let geo = HttpEndpoint { auth, headers, ..service.endpoint() };
    let told = ask(geo, &["GET lookup?ip=1.2.3.4", "POST /add\nx-more: 1\n\nbody"]).await;
    let expected =
        ["GET /v1/lookup?ip=1.2.3.4 Bearer s3cret from the file ", "POST /v1/add Bearer s3cret from the file body"];
    assert_eq!(told, expected.map(|said| format!("200 {said}")));
    assert_eq!(service.asked().len(), 2);
}

#[tokio::test]
async fn a_step_reaches_what_it_was_granted_by_its_name() {
    let (one, other) = (Service::start().await, Service::start().await);
    let named = |service: &Service, name: &str| HttpEndpoint { name: name.into(), ..service.endpoint() };
    let endpoints = vec![named(&one, "one"), named(&other, "other")];
    let told = ask_with(endpoints, limits(), &["GET one::a", "GET other::b", "GET third::c", "GET d"]).await;
    assert_eq!((one.asked().len(), other.asked().len()), (1, 1));
    assert!(told[2].contains("was not granted an endpoint \"third\", but `one`, `other`"), "{told:?}");
    assert!(told[3].contains("it names no endpoint; granted are `one`, `other`"), "{told:?}");
}

#[tokio::test]
async fn no_path_leads_out_of_the_endpoint() {
    let service = Service::start().await;
    let out = [
        "GET ../admin",
        "GET a/../../admin",
        "GET ..\\admin",
        "GET %2e%2e/admin",
        "GET .%2E/admin",
        "GET x/%2e%2e/..//169.254.169.254/",
    ];
    for said in ask(service.endpoint(), &out).await {
        assert!(said.contains("leads out of the endpoint's own"), "{said}");
    }
    assert_eq!(service.asked(), Vec::<String>::new());
    // What looks like another host is a path of this one.
    let within = ["GET //169.254.169.254/", "GET @evil/", "GET http://evil/", "GET :80/"];
    for said in ask(service.endpoint(), &within).await {
        assert!(said.starts_with("200 GET /v1/"), "{said}");
    }
}

#[tokio::test]
async fn headers_that_say_who_asks_and_where_are_the_hosts() {
    let service = Service::start().await;
    let headers = BTreeMap::from([("x-own".into(), "ours".to_owned())]);
    let geo = HttpEndpoint { headers, ..service.endpoint() };
    for header in [
        "Authorization: me",
        "host: evil",
        "Cookie: a=b",
        "content-length: 5",
        "Transfer-Encoding: chunked",
        "X-Own: theirs",
    ] {
        let said = ask(geo.clone(), &[&format!("GET a\n{header}")]).await;
        assert!(said[0].contains("is the host's to set"), "{header}: {said:?}");
    }
    let said = ask(geo.clone(), &["GET a\nbad header: x", "GET a\nx-new: \u{1b}[31m"]).await;
    assert!(said[0].contains("no well-formed name") && said[1].contains("control characters"), "{said:?}");
    assert_eq!(service.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn redirects_stay_within_the_origin() {
    let service = Service::start().await;
    let said = ask(service.endpoint(), &["GET hop", "GET away", "GET metadata", "GET round"]).await;
    assert!(said[0].starts_with("200 GET /v1/landed"), "{said:?}");
    assert_eq!((said[1].as_str(), said[2].as_str()), ("307 ", "302 "));
    assert!(said[3].contains("redirects too often"), "{said:?}");
}

#[tokio::test]
async fn no_private_address_is_connected_to_unless_the_endpoint_says_so() {
    let service = Service::start().await;
    let by_name = |private_addresses| HttpEndpoint {
        private_addresses,
        ..endpoint(&format!("http://localhost:{}/v1/", service.port))
    };
    let said = ask(by_name(false), &["GET a"]).await;
    assert_eq!(said, ["failed: the request is refused: its name resolves to no public address"]);
    assert_eq!(service.asked(), Vec::<String>::new());
    assert!(ask(by_name(true), &["GET a"]).await[0].starts_with("200 "));
}

#[tokio::test]
async fn answers_are_bounded_in_bytes_and_time_and_told_as_they_are() {
    let service = Service::start().await;
    let hurried = HttpEndpoint { timeout: Duration::from_millis(200), ..service.endpoint() };
    let said = ask(hurried, &["GET large", "GET never", "GET teapot", "DELETE a"]).await;
    let expected = [
        "failed: the answer has more than 10000 bytes",
        "failed: the service did not answer in time",
        "418 ",
        "failed: the request is refused: the endpoint allows GET, POST, not DELETE",
    ];
    assert_eq!(said, expected);
    let closed = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port() };
    let said = ask(endpoint(&format!("http://127.0.0.1:{closed}/")), &["GET a"]).await;
    assert!(said[0].starts_with("failed: the service is not available: "), "{said:?}");
    assert!(!said[0].contains("127.0.0.1"), "a guest learns no address: {said:?}");
}

#[tokio::test]
async fn a_call_waits_no_longer_than_its_step_may() {
    let service = Service::start().await;
    let began = Instant::now();
    let short = StepLimits { wait_time_max: Duration::from_millis(300), ..limits() };
    // What rejects is asked alone, one after the other: all of them share the time.
    let records = ["GET never", "GET never reject-on-failure", "GET never reject-on-failure"];
    let grants = Grants { http: vec![Arc::new(service.endpoint())], ..Grants::default() };
    let factory = asker().await.granted(&grants).transform(context(), json!({}), short).unwrap();
    let (mut instance, _) = factory.start().await.unwrap();
    let outcome = instance.run(&batch(&records)).await.unwrap();
    assert!(outcome.rejects.iter().all(|reject| reject.retriable), "{outcome:?}");
    assert_eq!(outcome.rejects.len(), 2);
    // The endpoint itself would wait for a minute.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn requests_go_out_side_by_side_up_to_the_endpoints_bound() {
    let service = Service::start().await;
    let geo = HttpEndpoint { requests_max: 3, ..service.endpoint() };
    let said = ask(geo, &["GET slow"; 12]).await;
    let most = said.iter().filter_map(|said| said.strip_prefix("200 ")?.parse().ok()).max();
    assert_eq!(most, Some(3), "{said:?}");
    assert_eq!(service.at_once.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn too_many_requests_of_one_call_end_it() {
    let service = Service::start().await;
    let grants = Grants { http: vec![Arc::new(service.endpoint())], ..Grants::default() };
    let factory = asker().await.granted(&grants).transform(context(), json!({}), limits()).unwrap();
    let (mut instance, _) = factory.start().await.unwrap();
    let failure = instance.run(&batch(&["GET a"; 1_001])).await.unwrap_err();
    assert!(failure.to_string().contains("it sends 1001 requests at once, 1000 are allowed"), "{failure}");
    assert!(matches!(failure, Failure::Answer(_)));
    assert_eq!(service.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_asked_without_a_grant_or_while_a_plugin_is_configured() {
    let refused = asker().await.transform(context(), json!({}), limits()).err().unwrap();
    assert_eq!(refused.problem, Problem::NotGranted { imports: vec!["weir:plugin/http@0.1.0".into()] });
    assert!(refused.to_string().contains("grants: {http: NAME}"), "{refused}");
    let service = Service::start().await;
    let grants = Grants { http: vec![Arc::new(service.endpoint())], ..Grants::default() };
    let granted = asker().await.granted(&grants);
    let factory = granted.transform(context(), json!({ "asks_at_start": true }), limits()).unwrap();
    match factory.start().await.err() {
        Some(StartError::Config { message, .. }) => {
            assert!(message.contains("while a plugin is configured"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(service.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_secret_that_was_replaced_is_read_again_once_the_old_one_is_refused() {
    let service = Service::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (token, path) = secret(&directory, "old");
    let grants = Grants {
        http: vec![Arc::new(HttpEndpoint { auth: HttpAuth::Bearer(token), ..service.endpoint() })],
        ..Grants::default()
    };
    let factory = asker().await.granted(&grants).transform(context(), json!({}), limits()).unwrap();
    let (mut instance, _) = factory.start().await.unwrap();
    let mut told = Vec::new();
    for token in ["old", "new", "new"] {
        std::fs::write(&path, token).unwrap();
        match instance.run(&batch(&["GET who"])).await.unwrap().answer {
            Answer::Replaced { records, .. } => told.extend(values(&records)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["401 ", "200 GET /v1/who Bearer new - ", "200 GET /v1/who Bearer new - "]);
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_told_to_the_operator_and_not_to_the_plugin() {
    let service = Service::start().await;
    let auth = HttpAuth::Bearer(Secret::File("/nonexistent/token".into()));
    let said = ask(HttpEndpoint { auth, ..service.endpoint() }, &["GET a"]).await;
    assert_eq!(
        said,
        ["failed: the service is not available: the endpoint is not set up; the appliance's log says why"]
    );
    assert_eq!(service.asked(), Vec::<String>::new());
}
