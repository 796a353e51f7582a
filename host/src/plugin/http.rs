//! The interface `http` as a guest calls it: what it names is looked up among what its step was granted.
//!
//! Judges what a guest hands over and bounds how long it waits; requests are sent by `endpoint/http.rs`.

use futures_util::future::join_all;
use tokio::time::Instant;
use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::bindings::{HTTP, HttpFailureIn, HttpHeader, HttpMethodOut, HttpRequestOut, HttpResponseIn};
use super::limits::State;
use super::reach::Reach;
use crate::config::HttpMethod;
use crate::endpoint::http::{Client, Failure, Request, Response};

/// Requests of one call.
const REQUESTS_MAX: usize = 1_000;
/// Bytes of all the answers to one call.
const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// What a step was granted of the web.
pub(super) type Web = Reach<Client>;

/// More requests than a call may make. Shown as the cause of the trap.
#[derive(Debug, thiserror::Error)]
#[error("http: it sends {0} requests at once, {REQUESTS_MAX} are allowed")]
struct TooMany(usize);

/// Links the web, where the component wants it.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Params = (Vec<HttpRequestOut>,);
    type Answers = Vec<std::result::Result<HttpResponseIn, HttpFailureIn>>;
    linker.instance(HTTP)?.func_wrap_async("send", |mut store: StoreContextMut<'_, State>, (requests,): Params| {
        Box::new(async move {
            if requests.len() > REQUESTS_MAX {
                return Err(TooMany(requests.len()).into());
            }
            let web = store.data().web.clone();
            let began = Instant::now();
            let answers: Answers = send_all(&web, requests, began + web.wait_left).await;
            store.data_mut().web.wait_left = web.wait_left.saturating_sub(began.elapsed());
            Ok((answers,))
        })
    })
}

async fn send_all(
    web: &Web,
    requests: Vec<HttpRequestOut>,
    deadline: Instant,
) -> Vec<std::result::Result<HttpResponseIn, HttpFailureIn>> {
    let send = async |of: HttpRequestOut| {
        let client = web.client(&of.endpoint).map_err(Failure::Refused)?;
        let sent = client.send(request(of), ANSWERS_BYTES_MAX);
        tokio::time::timeout_at(deadline, sent).await.unwrap_or(Err(Failure::Timeout))
    };
    let mut left = ANSWERS_BYTES_MAX;
    let mut admit = |answer: Response| match left.checked_sub(answer.body.len()) {
        Some(rest) => {
            left = rest;
            Ok(response(answer))
        }
        None => Err(HttpFailureIn::TooLarge(ANSWERS_BYTES_MAX as u64)),
    };
    let answers = join_all(requests.into_iter().map(send)).await;
    answers.into_iter().map(|answer| answer.map_err(failure).and_then(&mut admit)).collect()
}

fn request(of: HttpRequestOut) -> Request {
    let method = match of.method {
        HttpMethodOut::Get => HttpMethod::Get,
        HttpMethodOut::Head => HttpMethod::Head,
        HttpMethodOut::Post => HttpMethod::Post,
        HttpMethodOut::Put => HttpMethod::Put,
        HttpMethodOut::Patch => HttpMethod::Patch,
        HttpMethodOut::Delete => HttpMethod::Delete,
    };
    let headers = of.headers.into_iter().map(|header| (header.name, header.value)).collect();
    Request { method, path: of.path, headers, body: of.body }
}

fn response(of: Response) -> HttpResponseIn {
    let headers = of.headers.into_iter().map(|(name, value)| HttpHeader { name, value }).collect();
    HttpResponseIn { status: of.status, headers, body: of.body }
}

fn failure(of: Failure) -> HttpFailureIn {
    match of {
        Failure::Refused(why) => HttpFailureIn::Refused(why),
        Failure::Unavailable(why) => HttpFailureIn::Unavailable(why),
        Failure::Timeout => HttpFailureIn::Timeout,
        Failure::TooLarge(limit) => HttpFailureIn::TooLarge(limit),
    }
}
