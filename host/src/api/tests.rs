//! The API through real sockets, over the store in memory.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::client::{self, Lines, TapRequest};
use super::tap::Begin;
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::record::{Batch, Partition, Record, Timestamp, push_header};
use crate::stop::{Stopper, stop_signal};
use crate::store::committer::{Commit, CommitLimits, Lane};
use crate::store::memory::MemoryStore;
use crate::store::{Append, Changes, Retention, StreamSpec};

/// An appliance as the API sees it.
pub(crate) struct Rig {
    data: tempfile::TempDir,
    state: ApiState,
    stopper: Stopper,
    served: JoinHandle<std::io::Result<()>>,
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        let data = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        for (name, partitions) in [("logins", 2), ("dead-letters", 1)] {
            let retention = Retention { age_ms: Some(1000), bytes_max: 1 << 30, compact: false };
            store.create_stream(&StreamSpec { name: name.into(), partitions, retention }).await.unwrap();
        }
        // Nothing is trimmed behind the test's back: it does that itself.
        let limits = CommitLimits { trim_every: Duration::from_secs(3600), ..CommitLimits::default() };
        let (committer, commit_loop) = Committer::new(store.clone(), Arc::new(SystemClock), limits);
        let status = Arc::new(appliance::Status::new(store.clone(), committer.clone()));
        let pipelines = status.pipelines.clone();
        pipelines.set_names([&"parse".into()].into_iter());
        let metrics = pipelines.of("parse");
        metrics.records_in.add(7);
        metrics.dead.add(1);
        let lags = status.lags.clone();
        lags.tell(&"parse".into(), &"orders".into(), "orders-eu", Partition(1), 5, Some(8));
        let (desk, replays) = Default::default();
        let state = ApiState { store, committer, pipelines, lags, status, desk, replays, operator: None };
        let (stopper, stop) = stop_signal();
        tokio::spawn(commit_loop.run(stop.clone()));
        let served = tokio::spawn(serve(listen(data.path()).unwrap(), state.clone(), stop));
        Rig { data, state, stopper, served }
    }

    pub(crate) async fn append(&self, partition: u32, values: &[&[u8]]) {
        let mut records = Batch::default();
        for value in values {
            records.push(&Record::of(value, Timestamp(1_772_366_400_000)));
        }
        self.append_batch(partition, records).await;
    }

    async fn append_batch(&self, partition: u32, records: Batch) {
        let append = Append { stream: "logins".into(), partition: Partition(partition), records };
        let commit = Commit { changes: Changes { appends: vec![append], ..Changes::default() }, staged: Vec::new() };
        self.state.committer.submit(&Lane::default(), commit).await.await.unwrap();
    }

    /// What the API shows.
    pub(crate) fn state(&self) -> ApiState {
        self.state.clone()
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &FilePath {
        self.data.path()
    }

    /// Gives the signal to stop.
    pub(crate) fn stop(&self) {
        self.stopper.stop();
    }

    async fn tap(&self, from: &str, partition: Option<u32>, limit: Option<u64>) -> Lines {
        let request = TapRequest { stream: "logins".into(), from: from.parse().unwrap(), partition, limit };
        client::tap(self.data.path(), &request).await.unwrap()
    }

    async fn refused(&self, request: &TapRequest) -> Failure {
        match client::tap(self.data.path(), request).await {
            Err(client::Error::Refused(failure)) => failure,
            _ => panic!("expected a refusal"),
        }
    }
}

async fn next(lines: &mut Lines) -> Value {
    serde_json::from_slice(&lines.next().await.unwrap().expect("a line")).unwrap()
}

async fn values(mut lines: Lines) -> Vec<String> {
    let mut values = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        let line: Value = serde_json::from_slice(&line).unwrap();
        values.push(format!("{}/{} {}", line["partition"], line["offset"], line["value"].as_str().unwrap()));
    }
    values
}

#[tokio::test]
async fn status_tells_what_runs_and_what_is_held() {
    let rig = Rig::start().await;
    rig.append(1, &[b"a", b"b"]).await;
    let status = client::status(rig.data.path()).await.unwrap();
    assert_eq!((status.version.as_str(), status.pid), (env!("CARGO_PKG_VERSION"), std::process::id()));
    let pipeline = &status.pipelines[0];
    assert_eq!((pipeline.name.as_str(), pipeline.records_in, pipeline.dead), ("parse", 7, 1));
    let names: Vec<_> = status.streams.iter().map(|stream| (stream.name.as_str(), stream.partitions.len())).collect();
    assert_eq!(names, [("dead-letters", 1), ("logins", 2)]);
    let partition = &status.streams[1].partitions[1];
    assert_eq!((partition.partition, partition.start, partition.end), (1, 0, 2));
    assert_eq!(status.streams[1].retention_ms, Some(1000));
    let [lag] = status.lag.as_slice() else { panic!("{:?}", status.lag) };
    assert_eq!((lag.pipeline.as_str(), lag.source.as_str(), lag.topic.as_str()), ("parse", "orders", "orders-eu"));
    assert_eq!((lag.partition, lag.records), (1, 3));
}

#[tokio::test]
async fn a_line_holds_the_whole_record() {
    let rig = Rig::start().await;
    let mut headers_raw = Vec::new();
    push_header(&mut headers_raw, "host", Some(b"web1"));
    let mut records = Batch::default();
    let record = Record::of(b"\xff\x00", Timestamp(1_772_366_400_007));
    records.push(&Record { key: Some(b"k"), headers_raw: &headers_raw, ..record });
    rig.append_batch(0, records).await;
    let mut lines = rig.tap("earliest", None, Some(1)).await;
    let expected = json!({
        "stream": "logins", "partition": 0, "offset": 0, "timestamp": "2026-03-01T12:00:00.007Z",
        "key": "k", "value_base64": "/wA=", "headers": {"host": "web1"},
    });
    assert_eq!(next(&mut lines).await, expected);
    assert!(lines.next().await.unwrap().is_none());
}

#[tokio::test]
async fn it_begins_where_it_is_told_and_ends_at_its_limit() {
    let rig = Rig::start().await;
    rig.append(0, &[b"a", b"b", b"c"]).await;
    rig.append(1, &[b"d"]).await;
    assert_eq!(values(rig.tap("earliest", None, Some(4)).await).await, ["0/0 a", "0/1 b", "0/2 c", "1/0 d"]);
    assert_eq!(values(rig.tap("earliest", Some(1), Some(1)).await).await, ["1/0 d"]);
    assert_eq!(values(rig.tap("1", Some(0), Some(2)).await).await, ["0/1 b", "0/2 c"]);
    assert_eq!(values(rig.tap("earliest", None, Some(0)).await).await, [""; 0]);
    let latest = rig.tap("latest", None, Some(2)).await;
    let future = rig.tap("5", Some(0), Some(1)).await;
    rig.append(0, &[b"e"]).await;
    rig.append(1, &[b"f"]).await;
    rig.append(0, &[b"g", b"h"]).await;
    let latest = values(latest).await;
    assert!(latest == ["0/3 e", "1/1 f"] || latest == ["0/3 e", "0/4 g"], "{latest:?}");
    assert_eq!(values(future).await, ["0/5 h"]);
}

#[tokio::test]
async fn it_follows_for_ever_and_ends_when_the_appliance_stops() {
    let rig = Rig::start().await;
    let mut lines = rig.tap("latest", None, None).await;
    for value in ["a", "b"] {
        rig.append(1, &[value.as_bytes()]).await;
        assert_eq!(next(&mut lines).await["value"], value);
    }
    let begun = std::time::Instant::now();
    rig.stopper.stop();
    assert!(lines.next().await.unwrap().is_none());
    rig.served.await.unwrap().unwrap();
    assert!(begun.elapsed() < STOP_GRACE, "{:?}", begun.elapsed());
    assert!(!socket::path(rig.data.path()).exists());
}

#[tokio::test]
async fn trimmed_records_are_told_as_a_gap() {
    let rig = Rig::start().await;
    rig.append(0, &[b"old"]).await;
    let later = Timestamp(SystemClock.now().0 + 1_000_000);
    rig.state.store.trim(later, &|_, _| None).await.unwrap();
    rig.append(0, &[b"new"]).await;
    let mut lines = rig.tap("0", Some(0), Some(1)).await;
    assert_eq!(next(&mut lines).await, json!({"gap": {"stream": "logins", "partition": 0, "from": 0, "to": 1}}));
    assert_eq!(next(&mut lines).await["value"], "new");
    assert!(lines.next().await.unwrap().is_none());
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let rig = Rig::start().await;
    let request = TapRequest { stream: "logns".into(), from: Begin::Latest, partition: None, limit: None };
    let failure = rig.refused(&request).await;
    assert_eq!((failure.code.as_str(), failure.nearest.as_deref()), ("unknown-stream", Some("logins")));
    let failure = rig.refused(&TapRequest { stream: "logins".into(), partition: Some(2), ..request.clone() }).await;
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("unknown-partition", "stream logins has no partition 2")
    );
    let failure = rig.refused(&TapRequest { stream: "a/b?c".into(), ..request }).await;
    assert_eq!(failure.message, "there is no stream a/b?c; there are: dead-letters, logins");
    assert_eq!(failure.nearest, None);
}

/// Sends a request as it stands and returns the status line and the body.
async fn raw(rig: &Rig, target: &str) -> (String, Value) {
    let mut stream = tokio::net::UnixStream::connect(socket::path(rig.data.path())).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn bad_requests_are_answered_with_words() {
    let rig = Rig::start().await;
    for (target, status, code) in [
        ("/api/v1/nothing", 404, "no-route"),
        ("/api/v1/streams/logins/tap?from=never", 400, "usage"),
        ("/api/v1/streams/logins/tap?limit=x", 400, "usage"),
        ("/api/v1/streams/logins/tap?limits=1", 400, "usage"),
    ] {
        let (head, body) = raw(&rig, target).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {head}");
        assert_eq!(body["error"]["code"], code, "{target}");
    }
    let (_, body) = raw(&rig, "/api/v1/streams/logins/tap?from=never").await;
    assert_eq!(body["error"]["message"], "from: expected `earliest`, `latest` or an offset, found `never`");
    let (_, streams) = raw(&rig, "/api/v1/streams").await;
    assert_eq!(streams[1]["name"], "logins");
}

/// A client that does not read holds back its own tap; appends and other taps go on.
#[tokio::test]
async fn a_slow_client_slows_nobody() {
    let rig = Rig::start().await;
    let mut slow = rig.tap("latest", None, None).await;
    let value = vec![b'x'; 1 << 20];
    for _ in 0..12 {
        rig.append(0, &[&value]).await;
    }
    let fast = rig.tap("earliest", None, Some(12)).await;
    assert_eq!(values(fast).await.len(), 12);
    for offset in 0..12 {
        assert_eq!(next(&mut slow).await["offset"], offset);
    }
}

#[tokio::test]
async fn a_client_that_goes_frees_its_place() {
    let rig = Rig::start().await;
    let mut taps = Vec::new();
    let request = TapRequest { stream: "logins".into(), from: Begin::Latest, partition: None, limit: None };
    while let Ok(tap) = client::tap(rig.data.path(), &request).await {
        taps.push(tap);
    }
    assert_eq!(taps.len(), 64);
    assert_eq!(rig.refused(&request).await.code, "busy");
    drop(taps);
    // That the clients are gone is noticed when the server next looks at their connections.
    let freed = async {
        while client::tap(rig.data.path(), &request).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed).await.unwrap();
}

#[tokio::test]
async fn without_an_appliance_the_client_says_so() {
    let nowhere = PathBuf::from("/nonexistent/weir-data");
    let error = client::status(&nowhere).await.unwrap_err();
    assert_eq!(error.to_string(), "no appliance runs with the data directory /nonexistent/weir-data");
}

#[tokio::test]
async fn an_answer_that_never_ends_does_not_hold_up_the_stop() {
    let rig = Rig::start().await;
    let value = vec![b'x'; 8 << 20];
    rig.append(0, &[&value]).await;
    let unread = rig.tap("earliest", None, None).await;
    rig.stopper.stop();
    tokio::time::timeout(Duration::from_secs(20), rig.served).await.unwrap().unwrap().unwrap();
    drop(unread);
}
