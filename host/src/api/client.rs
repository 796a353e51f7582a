//! The commands' side of the control socket. Knows the wire, not what is printed.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::dlq::{self, Form};
use super::tap::Begin;
use super::{Failure, FailureBody, Status, socket};
use crate::accept::Consent;
use crate::appliance::reload::Reloaded;
use crate::dlq::act::{Dropped, Replayed};
use crate::dlq::capsule::Head;
use crate::dlq::view::{Group, Select};
use crate::state::view::{TableView, Wanted};

/// The bytes of an answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The bytes of a capsule: a plugin, and a record.
const CAPSULE_BYTES_MAX: usize = 512 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket is not reached.
    #[error(transparent)]
    Socket(#[from] socket::Error),
    /// The appliance refuses.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The connection broke.
    #[error("the connection to the appliance broke: {0}")]
    Broken(String),
}

/// What to tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapRequest {
    /// The stream.
    pub stream: String,
    /// Where to begin.
    pub from: Begin,
    /// One partition alone.
    pub partition: Option<u32>,
    /// How many records.
    pub limit: Option<u64>,
}

/// The lines of an answer, as they come.
pub struct Lines {
    body: Incoming,
    bytes: BytesMut,
    /// Up to where there is no line end in `bytes`.
    searched: usize,
}

/// What runs with a data directory.
pub async fn status(data: &Path) -> Result<Status, Error> {
    json(get(data, "/api/v1/status").await?).await
}

/// Whether records get through the appliance that runs with a data directory, and what each check says.
pub async fn ready(data: &Path) -> Result<(bool, String), Error> {
    let response = send(data, Method::GET, "/readyz?verbose").await?;
    let is_ready = response.status().is_success();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(broken)?;
    Ok((is_ready, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

/// Begins a tap of the appliance that runs with a data directory.
pub async fn tap(data: &Path, request: &TapRequest) -> Result<Lines, Error> {
    let mut path = format!("/api/v1/streams/{}/tap?from={}", encoded(&request.stream), request.from);
    if let Some(partition) = request.partition {
        path.push_str(&format!("&partition={partition}"));
    }
    if let Some(limit) = request.limit {
        path.push_str(&format!("&limit={limit}"));
    }
    Lines::of(data, &path).await
}

/// Has the appliance that runs with a data directory go over to its pipeline file and plugins as they are now.
pub async fn reload(data: &Path, consent: Consent) -> Result<Reloaded, Error> {
    let accept = consent == Consent::Given;
    json(ask(data, Method::POST, &format!("/api/v1/reload?accept={accept}")).await?).await
}

/// Brings back what a step ran before; says which.
pub async fn roll_back(data: &Path, step: &str) -> Result<String, Error> {
    let step: Vec<String> = step.split('/').map(encoded).collect();
    json(ask(data, Method::POST, &format!("/api/v1/rollback/{}", step.join("/"))).await?).await
}

/// The tables of keyed state of the appliance that runs with a data directory.
pub async fn tables(data: &Path, hidden: bool) -> Result<Vec<TableView>, Error> {
    json(get(data, &format!("/api/v1/state?hidden={hidden}")).await?).await
}

/// Entries of a table.
pub async fn entries(data: &Path, table: &str, wanted: &Wanted) -> Result<Lines, Error> {
    let table: Vec<String> = table.split('/').map(encoded).collect();
    let numbers =
        [("partition", wanted.partition.map(|n| n.to_string())), ("limit", wanted.limit.map(|n| n.to_string()))];
    let texts = [("key", wanted.key.clone()), ("prefix", wanted.prefix.clone())];
    let given =
        texts.into_iter().chain(numbers).filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?))));
    let query = given.collect::<Vec<_>>().join("&");
    Lines::of(data, &format!("/api/v1/state/{}?{query}", table.join("/"))).await
}

/// All state of some pipelines.
pub async fn export(data: &Path, pipelines: &[String]) -> Result<Lines, Error> {
    Lines::of(data, &format!("/api/v1/state-export?pipelines={}", encoded(&pipelines.join(",")))).await
}

/// Dead letters of the appliance that runs with a data directory.
pub async fn letters(data: &Path, select: &Select, form: Form) -> Result<Lines, Error> {
    let form = serde_json::to_value(form).map_err(broken)?;
    let form = form.as_str().unwrap_or_default();
    Lines::of(data, &format!("{}?form={form}&{}", dlq::PREFIX, select_query(select))).await
}

/// The kinds of dead letters.
pub async fn letter_groups(data: &Path, select: &Select) -> Result<Vec<Group>, Error> {
    json(get(data, &format!("{}-groups?{}", dlq::PREFIX, select_query(select))).await?).await
}

/// Has dead letters replayed, and waits for it.
pub async fn replay(data: &Path, select: &Select) -> Result<Replayed, Error> {
    json(ask(data, Method::POST, &format!("{}/replay?{}", dlq::PREFIX, select_query(select))).await?).await
}

/// A dead letter as a case: what there is to tell of it, and the component.
pub async fn capsule(data: &Path, id: &str) -> Result<(Head, Vec<u8>), Error> {
    let response = get(data, &format!("{}/capsule?ids={}", dlq::PREFIX, encoded(id))).await?;
    let body = Limited::new(response.into_body(), CAPSULE_BYTES_MAX).collect().await.map_err(broken)?.to_bytes();
    let end = memchr::memchr(b'\n', &body).ok_or_else(|| broken("the answer has no end of its first line"))?;
    let (head, wasm) = body.split_at(end);
    Ok((serde_json::from_slice(head).map_err(broken)?, wasm.get(1..).unwrap_or_default().to_vec()))
}

/// Drops dead letters.
pub async fn drop_letters(data: &Path, select: &Select) -> Result<Dropped, Error> {
    json(ask(data, Method::POST, &format!("{}/drop?{}", dlq::PREFIX, select_query(select))).await?).await
}

fn select_query(select: &Select) -> String {
    let Select { ids, group, pipeline, step } = select;
    let ids = (!ids.is_empty()).then(|| ids.clone());
    let given = [("ids", &ids), ("group", group), ("pipeline", pipeline), ("step", step)];
    let given = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
    given.collect::<Vec<_>>().join("&")
}

impl Lines {
    async fn of(data: &Path, path: &str) -> Result<Self, Error> {
        Ok(Lines { body: get(data, path).await?.into_body(), bytes: BytesMut::new(), searched: 0 })
    }

    /// Whether the next line is here already.
    pub fn is_next_ready(&self) -> bool {
        memchr::memchr(b'\n', self.bytes.get(self.searched..).unwrap_or_default()).is_some()
    }

    /// The next line, without its end; `None` when the appliance has ended the answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', unsearched) {
                let mut line = self.bytes.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.bytes.len();
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                self.bytes.extend_from_slice(&bytes);
            }
        }
    }
}

async fn get(data: &Path, path: &str) -> Result<Response<Incoming>, Error> {
    ask(data, Method::GET, path).await
}

async fn ask(data: &Path, method: Method, path: &str) -> Result<Response<Incoming>, Error> {
    let response = send(data, method, path).await?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    match json::<FailureBody>(response).await {
        Ok(body) => Err(Error::Refused(body.error)),
        Err(_) => Err(Error::Broken(format!("it answered with status {status}"))),
    }
}

async fn send(data: &Path, method: Method, path: &str) -> Result<Response<Incoming>, Error> {
    let stream = UnixStream::from_std(socket::connect(data)?).map_err(broken)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Its errors are those of the answer.
    tokio::spawn(async { drop(connection.await) });
    let request =
        Request::builder().method(method).uri(path).header(HOST, "weir").body(Empty::<Bytes>::new()).map_err(broken)?;
    sender.send_request(request).await.map_err(broken)
}

async fn json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Error> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    serde_json::from_slice(&body.map_err(broken)?.to_bytes()).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Broken(error.to_string())
}

/// Text as a part of a URL's path.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
