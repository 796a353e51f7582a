//! The API over real TCP connections: who is let in, what is refused, and what bounds hold.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::api::openapi;
use crate::api::tests::Rig;
use crate::config::http::{Proof, Role, Token};

const TOKENS: [(&str, Role); 3] =
    [("weir_viewer", Role::Viewer), ("weir_operator", Role::Operator), ("weir_admin", Role::Admin)];

fn settings(tokens: &[(&str, Role)]) -> Http {
    let token = |(token, role): &(&str, Role)| Token {
        name: role.word().into(),
        role: *role,
        proof: Proof::Hash(blake3::hash(token.as_bytes()).into()),
    };
    Http {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tokens: tokens.iter().map(token).collect(),
        login: None,
        tls: None,
        hosts: vec!["weir.test".into()],
        connections_max: 8,
        body_bytes_max: 1 << 10,
        request_time_max: Duration::from_secs(20),
    }
}

/// An appliance that is served over TCP.
struct Served {
    rig: Rig,
    endpoint: Endpoint,
    address: SocketAddr,
}

impl Served {
    async fn start(settings: &Http) -> Served {
        let rig = Rig::start().await;
        let mut endpoint = Endpoint::default();
        let server = endpoint.open(settings).unwrap();
        let address = server.address().unwrap();
        endpoint.begin(Some(server), rig.state()).unwrap();
        Served { rig, endpoint, address }
    }

    async fn ask(&self, line: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Answer::to(stream, line, headers, "").await
    }

    async fn ask_with(&self, token: Option<&str>, line: &str) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
        self.ask(line, &headers).await
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn to(
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            request.push_str("host: localhost\r\n");
        }
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).await.unwrap();
        Answer::of(stream).await
    }

    async fn of(mut stream: impl AsyncRead + Unpin) -> Answer {
        let mut bytes = Vec::new();
        // A connection may be cut once all has been said.
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        Answer { status, head: head.to_ascii_lowercase(), body: body.into() }
    }

    fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// The routes as the published description has them: method, a path to ask for, and the role that is needed.
fn described() -> Vec<(String, String, Option<Role>)> {
    let document = openapi::document();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let role = operation["x-weir-role"].as_str();
            let role = role.map(|word| TOKENS.iter().find(|(_, role)| role.word() == word).unwrap().1);
            let parameters = operation["parameters"].as_array().unwrap();
            // Taps are not to be waited for.
            let limit = if parameters.iter().any(|of| of["name"] == "limit") { "?limit=0" } else { "" };
            let parts = path.split('/').map(|part| if part.starts_with('{') { "logins" } else { part });
            let path = format!("{}{limit}", parts.collect::<Vec<_>>().join("/"));
            routes.push((method.to_ascii_uppercase(), path, role));
        }
    }
    routes
}

#[tokio::test]
async fn every_route_lets_those_in_who_have_its_role_and_nobody_else() {
    let served = Served::start(&settings(&TOKENS)).await;
    let routes = described();
    assert!(routes.len() >= 9, "{routes:?}");
    for (method, path, needed) in routes {
        let line = format!("{method} {path}");
        for token in [None, Some("weir_another"), Some("")] {
            let answer = served.ask_with(token, &line).await;
            let refused = answer.status == 401 && answer.head.contains("www-authenticate: bearer");
            assert_eq!(refused, needed.is_some(), "{line} with {token:?}: {}", answer.head);
        }
        for (token, role) in TOKENS {
            let answer = served.ask_with(Some(token), &line).await;
            let refused = answer.status == 403 && answer.code() == "forbidden";
            assert_eq!(refused, needed.is_some_and(|needed| role < needed), "{line} as {role:?}: {}", answer.head);
            assert_ne!(answer.status, 401, "{line} as {role:?}");
        }
        let socket = tokio::net::UnixStream::connect(crate::api::socket::path(served.rig.data())).await.unwrap();
        let answer = Answer::to(socket, &line, &[], "").await;
        assert!(!matches!(answer.status, 0 | 401 | 403 | 405), "{line} by the socket: {}", answer.head);
    }
    assert_eq!(served.ask_with(Some(TOKENS[2].0), "GET /api/v1/nothing").await.code(), "no-route");
    assert_eq!(served.ask_with(Some(TOKENS[2].0), "DELETE /api/v1/status").await.code(), "no-method");
    assert_eq!(served.ask_with(None, "GET /api/v1/status").await.code(), "no-token");
    assert_eq!(served.ask_with(Some("weir_x"), "GET /api/v1/status").await.code(), "bad-token");
    let basic = served.ask("GET /api/v1/status", &[("authorization", "Basic d2Vpcjp3ZWly")]).await;
    assert_eq!(basic.code(), "bad-token");
}

#[tokio::test]
async fn without_tokens_whoever_reaches_the_loopback_address_may_ask() {
    let served = Served::start(&settings(&[])).await;
    let answer = served.ask("GET /api/v1/status", &[]).await;
    assert_eq!(answer.status, 200);
    let status: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(status["pipelines"][0]["records_in"], 7);
    assert!(answer.head.contains("x-content-type-options: nosniff") && answer.head.contains("cache-control: no-store"));
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let served = Served::start(&settings(&[])).await;
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("weir.test", 200),
        ("evil.test", 421),
        ("localhost.evil.test", 421),
        ("192.0.2.1", 421),
        ("", 400),
    ] {
        let answer = served.ask("GET /api/v1/status", &[("host", host)]).await;
        assert_eq!(answer.status, status, "{host}: {}", answer.body);
    }
    for (origin, status) in [
        ("http://localhost:8080", 409),
        ("http://localhost", 403),
        ("http://localhost:8081", 403),
        ("https://evil.test", 403),
        ("null", 403),
    ] {
        let answer = served.ask("POST /api/v1/reload", &[("host", "localhost:8080"), ("origin", origin)]).await;
        assert_eq!(answer.status, status, "{origin}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_is_too_large_or_too_slow_is_cut_off() {
    let mut settings = settings(&[]);
    settings.request_time_max = Duration::from_millis(200);
    let served = Served::start(&settings).await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let answer = Answer::to(stream, "POST /api/v1/reload", &[], &"x".repeat(2 << 10)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too-large"));
    let long = "x".repeat(4 * HEAD_BYTES_MAX);
    assert_eq!(served.ask("GET /api/v1/status", &[("x-long", &long)]).await.status, 431);
    for (begun, status) in [
        ("GET /api/v1/status HTTP/1.1\r\nhost: loc", [0, 408]),
        ("POST /api/v1/reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nx", [408, 408]),
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), Answer::of(stream)).await.unwrap();
        assert!(status.contains(&answer.status), "{begun:?}: {}", answer.head);
    }
}

#[tokio::test]
async fn more_connections_than_there_may_be_wait() {
    let served = Served::start(&Http { connections_max: 1, ..settings(&[]) }).await;
    let mut held = TcpStream::connect(served.address).await.unwrap();
    held.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    // It is served now, and stays open.
    held.read_u8().await.unwrap();
    let second = served.ask("GET /api/v1/status", &[]);
    tokio::pin!(second);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut second).await.is_err());
    drop(held);
    assert_eq!(second.await.status, 200);
}

#[tokio::test]
async fn other_tokens_hold_at_once_on_the_address_that_is_open() {
    let mut served = Served::start(&settings(&[("weir_old", Role::Viewer)])).await;
    assert_eq!(served.ask_with(Some("weir_old"), "GET /api/v1/status").await.status, 200);
    let new = settings(&[("weir_new", Role::Viewer)]);
    assert!(!served.endpoint.serves(Some(&new)));
    let server = served.endpoint.open(&new).unwrap();
    assert_eq!(server.address().unwrap(), served.address);
    served.endpoint.serve(Some(server)).unwrap();
    assert!(served.endpoint.serves(Some(&new)));
    // The one before may still accept a connection that was on its way.
    while served.ask_with(Some("weir_old"), "GET /api/v1/status").await.status == 200 {}
    assert_eq!(served.ask_with(Some("weir_old"), "GET /api/v1/status").await.code(), "bad-token");
    assert_eq!(served.ask_with(Some("weir_new"), "GET /api/v1/status").await.status, 200);
    served.endpoint.serve(None).unwrap();
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_secret_that_could_be_guessed_is_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let with = |text: &str| {
        let path = directory.path().join("token");
        std::fs::write(&path, text).unwrap();
        let proof = Proof::Secret(crate::config::Secret::File(path));
        Http { tokens: vec![Token { name: "ci".into(), role: Role::Viewer, proof }], ..settings(&[]) }
    };
    let error = Endpoint::default().open(&with("hunter2\n")).err().unwrap().to_string();
    assert!(error.contains("token ci") && error.contains("7 characters") && !error.contains("hunter2"), "{error}");
    let token = "t".repeat(32);
    let served = Served::start(&with(&format!("{token}\n"))).await;
    assert_eq!(served.ask_with(Some(&token), "GET /api/v1/status").await.status, 200);
}

#[tokio::test]
async fn with_tls_nothing_is_said_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, text: String| std::fs::write(path(name), text).unwrap();
    write("cert.pem", made.cert.pem());
    write("key.pem", made.signing_key.serialize_pem());
    let tls = Some((path("cert.pem"), path("key.pem")));
    let served = Served::start(&Http { tls, ..settings(&[]) }).await;
    let plain = served.ask("GET /api/v1/status", &[]).await;
    assert!(!plain.body.contains("records_in"), "{}", plain.body);
    let stream = connected(served.address, &path("cert.pem")).await;
    assert_eq!(Answer::to(stream, "GET /api/v1/status", &[], "").await.status, 200);
    let tls = Some((path("none.pem"), path("key.pem")));
    let error = served.endpoint.open(&Http { tls, ..settings(&[]) }).err().unwrap().to_string();
    assert!(error.contains("none.pem cannot be read"), "{error}");
}

async fn connected(address: SocketAddr, ca: &Path) -> tokio_rustls::client::TlsStream<TcpStream> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}
