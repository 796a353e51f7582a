//! The client before a service that answers as it is told: when it asks, what it asks again, and what it tells of it.

use std::collections::VecDeque;
use std::path::PathBuf;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::config::Secret;

/// Long enough that nothing on a busy machine takes it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least time between messages to a channel.
const PACE: Duration = Duration::from_millis(100);

/// What was asked: when, as whom, and what.
#[derive(Clone)]
struct Asked {
    at: Instant,
    path: String,
    login: String,
    body: Value,
}

#[derive(Default)]
struct Service {
    asked: Vec<Asked>,
    /// What is answered: status, seconds of `retry-after`, body. Then messages are taken.
    answers: VecDeque<(u16, Option<u32>, String)>,
}

type Shared = Arc<Mutex<Service>>;

struct Bench {
    directory: tempfile::TempDir,
    service: Shared,
    port: u16,
}

async fn answer(State(service): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let login = head.headers.get("authorization").map_or("-", |value| value.to_str().unwrap()).to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let mut service = service.lock().unwrap();
    service.asked.push(Asked { at: Instant::now(), path: head.uri.path().to_owned(), login, body });
    let number = service.asked.len();
    match service.answers.pop_front() {
        Some((status, after, body)) => {
            let headers = after.map(|after| [("retry-after", after.to_string())]);
            let status = StatusCode::from_u16(status).unwrap();
            headers.map_or_else(
                || (status, body.clone()).into_response(),
                |headers| (status, headers, body.clone()).into_response(),
            )
        }
        None if head.uri.path().starts_with("/services/") => "ok".into_response(),
        None => json!({ "ok": true, "channel": "C1", "ts": format!("{number}.5") }).to_string().into_response(),
    }
}

impl Bench {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Shared::default();
        let router = Router::new().fallback(answer).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let bench = Bench { directory: tempfile::tempdir().unwrap(), service, port };
        bench.write("xoxb-first");
        bench
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("secret")
    }

    fn write(&self, secret: &str) {
        std::fs::write(self.path(), format!("{secret}\n")).unwrap();
    }

    fn answers(&self, answers: &[(u16, Option<u32>, &str)]) {
        let answers = answers.iter().map(|(status, after, body)| (*status, *after, (*body).to_owned()));
        self.service.lock().unwrap().answers = answers.collect();
    }

    fn refuses(&self, word: &str) {
        self.answers(&[(200, None, &json!({ "ok": false, "error": word }).to_string())]);
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.service.lock().unwrap().asked)
    }

    fn client(&self) -> Client {
        let url = format!("http://127.0.0.1:{}/api/", self.port).parse().unwrap();
        self.client_by(SlackLogin::Token { token: Secret::File(self.path()), url })
    }

    fn client_by(&self, login: SlackLogin) -> Client {
        let settings =
            Slack { name: "soc".into(), login, tls: Default::default(), timeout: Duration::from_secs(10), pace: PACE };
        Client::new(Arc::new(settings), Arc::new(Memory::new("soc".into(), Arc::default())))
    }
}

fn to(channel: &str, text: &str) -> Message {
    Message {
        channel: Some(channel.into()),
        text: text.into(),
        ids: vec![format!("{channel}/{text}")],
        ..Message::default()
    }
}

fn texts(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(|asked| asked.body["text"].as_str().unwrap().to_owned()).collect()
}

fn rejected(code: &str) -> Result<(), Failure> {
    Err(Failure::Rejected(Rejection { code: code.into(), details: String::new() }))
}

#[tokio::test]
async fn a_channel_has_its_messages_in_order_and_no_faster_than_the_pace() {
    let bench = Bench::start().await;
    let client = bench.client();
    let messages = vec![to("a", "1"), to("b", "x"), to("#a", "2"), to("a", "3")];
    assert_eq!(client.post(messages, PATIENCE).await, vec![Ok(()); 4]);
    assert_eq!(client.post(vec![to("a", "4")], PATIENCE).await, [Ok(())]);
    let asked = bench.asked();
    assert!(asked.iter().all(|asked| asked.path == "/api/chat.postMessage" && asked.login == "Bearer xoxb-first"));
    let of_a: Vec<Asked> = asked.into_iter().filter(|asked| asked.body["channel"] == "a").collect();
    assert_eq!(texts(&of_a), ["1", "2", "3", "4"]);
    assert!(of_a.windows(2).all(|pair| pair[1].at - pair[0].at >= PACE));
    assert_eq!(client.told(&["a/1".into(), "#a/2".into(), "a/9".into()]).await, Ok(vec![true, true, false]));
}

#[tokio::test]
async fn what_slack_asks_to_be_waited_is_waited_and_no_patience_is_lost() {
    let bench = Bench::start().await;
    bench.answers(&[(429, Some(2), r#"{"ok":false,"error":"ratelimited"}"#)]);
    // Less than the wait.
    let patience = Duration::from_secs(1);
    assert_eq!(bench.client().post(vec![to("a", "1"), to("b", "2")], patience).await, [Ok(()), Ok(())]);
    let asked = bench.asked();
    let held = texts(&asked)[0].clone();
    let times: Vec<_> =
        asked.iter().filter(|asked| asked.body["text"] == held.as_str()).map(|asked| asked.at).collect();
    assert_eq!((asked.len(), times.len()), (3, 2));
    assert!(times[1] - times[0] >= Duration::from_secs(2), "{:?}", times[1] - times[0]);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_told() {
    let bench = Bench::start().await;
    let client = bench.client();
    bench.answers(&[
        (503, None, ""),
        (200, None, r#"{"ok":false,"error":"internal_error"}"#),
        (200, None, "<html>"),
        (200, None, r#"{"ok":false,"error":"is_archived"}"#),
    ]);
    let outcomes = client.post(vec![to("a", "1"), to("a", "2")], PATIENCE).await;
    assert_eq!(outcomes, [rejected("is_archived"), Ok(())]);
    assert_eq!(texts(&bench.asked()), ["1", "1", "1", "1", "2"]);
    assert_eq!(client.told(&["a/1".into(), "a/2".into()]).await, Ok(vec![false, true]));
    // Nobody listens there. What is behind a message that was not posted is not tried.
    let port = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port() };
    let url = format!("http://127.0.0.1:{port}/api/").parse().unwrap();
    let away = bench.client_by(SlackLogin::Token { token: Secret::File(bench.path()), url });
    let outcomes = away.post(vec![to("a", "1"), to("a", "2")], Duration::from_millis(300)).await;
    let [Err(Failure::Unavailable(first)), Err(Failure::Unavailable(second))] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert!(first == second && !first.contains("127.0.0.1"), "{first}");
}

#[tokio::test]
async fn later_messages_of_a_thread_answer_the_first() {
    let bench = Bench::start().await;
    let client = bench.client();
    let threaded = |channel: &str, text: &str| Message { thread: Some("web1".into()), ..to(channel, text) };
    let messages = vec![threaded("a", "1"), to("a", "2"), threaded("a", "3"), threaded("a", "4")];
    assert_eq!(client.post(messages, PATIENCE).await, vec![Ok(()); 4]);
    let threads = |asked: Vec<Asked>| -> Vec<Option<String>> {
        asked.iter().map(|asked| asked.body["thread_ts"].as_str().map(str::to_owned)).collect()
    };
    let first = Some("1.5".to_owned());
    assert_eq!(threads(bench.asked()), [None, None, first.clone(), first.clone()]);
    // Another channel has threads of its own.
    assert_eq!(client.post(vec![threaded("b", "5")], PATIENCE).await, [Ok(())]);
    assert_eq!(threads(bench.asked()), [None]);
    // Where the first message is gone another begins the thread.
    bench.refuses("thread_not_found");
    assert_eq!(client.post(vec![threaded("a", "6"), threaded("a", "7")], PATIENCE).await, [Ok(()), Ok(())]);
    assert_eq!(threads(bench.asked()), [first, None, Some("2.5".to_owned())]);
}

#[tokio::test]
async fn a_token_that_was_replaced_is_read_once_the_old_one_is_refused() {
    let bench = Bench::start().await;
    let client = bench.client();
    assert_eq!(client.post(vec![to("a", "1")], PATIENCE).await, [Ok(())]);
    bench.write("xoxb-second");
    bench.refuses("token_revoked");
    assert_eq!(client.post(vec![to("a", "2")], PATIENCE).await, [Ok(())]);
    let no = r#"{"ok":false,"error":"invalid_auth"}"#;
    bench.answers(&[(200, None, no), (200, None, no)]);
    assert_eq!(client.post(vec![to("a", "3")], PATIENCE).await, [rejected("invalid_auth")]);
    let logins: Vec<String> = bench.asked().into_iter().map(|asked| asked.login).collect();
    let [first, second] = ["Bearer xoxb-first", "Bearer xoxb-second"].map(str::to_owned);
    assert_eq!(logins, [first.clone(), first, second.clone(), second.clone(), second]);
}

#[tokio::test]
async fn a_webhook_is_asked_at_its_own_url_and_has_one_pace() {
    let bench = Bench::start().await;
    let url = format!("http://127.0.0.1:{}/services/T0/B0/canary", bench.port);
    bench.write(&url);
    let client = bench.client_by(SlackLogin::Webhook(Secret::File(bench.path())));
    let threaded = Message { thread: Some("web1".into()), ..to("a", "3") };
    let messages = vec![to("a", "1"), Message { channel: None, ..to("b", "2") }, threaded];
    let outcomes = client.post(messages, PATIENCE).await;
    assert!(
        matches!(&outcomes[..], [Ok(()), Ok(()), Err(Failure::Refused(why))] if why.contains("token")),
        "{outcomes:?}"
    );
    let asked = bench.asked();
    assert_eq!(texts(&asked), ["1", "2"]);
    assert!(asked.iter().all(|asked| asked.path == "/services/T0/B0/canary" && asked.login == "-"));
    assert!(asked.iter().all(|asked| asked.body.get("channel").is_none()));
    assert!(asked[1].at - asked[0].at >= PACE);
    bench.answers(&[(404, None, "no_service"), (404, None, "no_service"), (410, None, "channel_is_archived")]);
    let outcomes = client.post(vec![to("a", "1"), to("a", "2")], PATIENCE).await;
    assert_eq!(outcomes, [rejected("no_service"), rejected("channel_is_archived")]);
    // What is no URL is told to the operator, and not repeated.
    bench.write("canary");
    bench.answers(&[(404, None, "no_service")]);
    let outcomes = client.post(vec![to("a", "1")], Duration::from_millis(100)).await;
    assert!(matches!(&outcomes[..], [Err(Failure::Unavailable(why))] if !why.contains("canary")), "{outcomes:?}");
}

#[tokio::test]
async fn a_message_without_a_channel_is_refused() {
    let bench = Bench::start().await;
    let messages = vec![Message { channel: None, ..to("a", "1") }, to("# ", "2"), to("a", "3")];
    let outcomes = bench.client().post(messages, PATIENCE).await;
    assert!(matches!(&outcomes[..], [Err(Failure::Refused(_)), Err(Failure::Refused(_)), Ok(())]), "{outcomes:?}");
    assert_eq!(texts(&bench.asked()), ["3"]);
}
