//! Requests to web services that the operator granted by `grants: { http: ENDPOINT }`.
//!
//! ```no_run
//! use weir_plugin::{Record, Reject, Result, http};
//!
//! fn country(record: Record<'_>) -> Result<String> {
//!     let answer = http::get(format!("lookup?ip={}", record.text()?)).send()?; // an error rejects the record; see `Failure`
//!     match answer.status {
//!         200 => Ok(answer.text()?.to_owned()),
//!         429 | 500.. => Err(Reject::retriable(format!("the service answered {}", answer.status))),
//!         status => Err(Reject::permanent(format!("the service answered {status}"))),
//!     }
//! }
//! ```
//!
//! A plugin knows an endpoint by name alone: address and credentials are the host's. What it learns may differ from one time to
//! the next, so its results are not repeated when records are replayed. It cannot ask while it is being configured.

pub use crate::bindings::http::Method;
use crate::bindings::http::{self as wit};
use crate::reject::Reject;

/// A request, to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The endpoint; empty for the only one that was granted.
    pub endpoint: String,
    /// What is to be done.
    pub method: Method,
    /// What stands behind the endpoint's URL: a path and a query.
    pub path: String,
    /// Headers beside those that the host sets.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer. As the error of [`Transform::process`](crate::Transform::process) it rejects the record: for good where
/// the request was refused or the answer too large, and to be tried again otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The request is not allowed, or not well formed.
    Refused(String),
    /// The service could not be reached, or broke off.
    Unavailable(String),
    /// It did not answer in time.
    Timeout,
    /// The answer has more bytes than this, the endpoint's limit.
    TooLarge(u64),
}

/// A request that reads.
pub fn get(path: impl Into<String>) -> Request {
    Request { endpoint: String::new(), method: Method::Get, path: path.into(), headers: Vec::new(), body: Vec::new() }
}

/// A request that brings a body.
pub fn post(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
    Request { method: Method::Post, body: body.into(), ..get(path) }
}

/// Sends requests side by side; an answer for each, in their order. At most 1,000.
pub fn send_all(requests: Vec<Request>) -> Vec<Result<Response, Failure>> {
    let requests: Vec<wit::Request> = requests.into_iter().map(Request::into_wit).collect();
    #[cfg(target_family = "wasm")]
    let answers = wit::send(&requests);
    #[cfg(not(target_family = "wasm"))]
    let answers = crate::testing::answer(requests);
    answers.into_iter().map(|answer| answer.map(Response::of_wit).map_err(Failure::of_wit)).collect()
}

impl Request {
    /// Names the endpoint, where more than one was granted.
    pub fn to(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into();
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Sends it and waits for the answer.
    pub fn send(self) -> Result<Response, Failure> {
        let unanswered = || Err(Failure::Unavailable("the host gave no answer".into()));
        send_all(vec![self]).pop().unwrap_or_else(unanswered)
    }

    fn into_wit(self) -> wit::Request {
        let headers = self.headers.into_iter().map(|(name, value)| wit::Header { name, value }).collect();
        wit::Request { endpoint: self.endpoint, method: self.method, path: self.path, headers, body: self.body }
    }
}

impl Response {
    /// The first value of a header; its name in lower case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The body as text. An error rejects the record.
    pub fn text(&self) -> crate::Result<&str> {
        std::str::from_utf8(&self.body).map_err(|error| Reject::permanent(format!("the answer is not UTF-8: {error}")))
    }

    fn of_wit(of: wit::Response) -> Self {
        let headers = of.headers.into_iter().map(|header| (header.name, header.value)).collect();
        Response { status: of.status, headers, body: of.body }
    }
}

impl Failure {
    /// It in words.
    pub fn message(&self) -> String {
        match self {
            Failure::Refused(why) => format!("the request is refused: {why}"),
            Failure::Unavailable(why) => format!("the service is not available: {why}"),
            Failure::Timeout => "the service did not answer in time".into(),
            Failure::TooLarge(limit) => format!("the answer has more than {limit} bytes"),
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Failure::Unavailable(_) | Failure::Timeout)
    }

    fn of_wit(of: wit::Failure) -> Self {
        match of {
            wit::Failure::Refused(why) => Failure::Refused(why),
            wit::Failure::Unavailable(why) => Failure::Unavailable(why),
            wit::Failure::Timeout => Failure::Timeout,
            wit::Failure::TooLarge(limit) => Failure::TooLarge(limit),
        }
    }

    #[cfg(not(target_family = "wasm"))]
    fn into_wit(self) -> wit::Failure {
        match self {
            Failure::Refused(why) => wit::Failure::Refused(why),
            Failure::Unavailable(why) => wit::Failure::Unavailable(why),
            Failure::Timeout => wit::Failure::Timeout,
            Failure::TooLarge(limit) => wit::Failure::TooLarge(limit),
        }
    }
}

/// It is not displayed as other errors are, so that `?` does not make every failure a reject for good.
impl From<Failure> for Reject {
    fn from(failure: Failure) -> Self {
        match failure.is_retriable() {
            true => Reject::retriable(failure.message()),
            false => Reject::permanent(failure.message()),
        }
    }
}

/// Answers requests in tests: see [`testing::serve_http`](crate::testing::serve_http).
#[cfg(not(target_family = "wasm"))]
pub(crate) fn by(
    serve: &mut dyn FnMut(&Request) -> Result<Response, Failure>,
    requests: Vec<wit::Request>,
) -> Vec<Result<wit::Response, wit::Failure>> {
    let mut answer = |of: wit::Request| {
        let headers = of.headers.into_iter().map(|header| (header.name, header.value)).collect();
        let request = Request { endpoint: of.endpoint, method: of.method, path: of.path, headers, body: of.body };
        let Response { status, headers, body } = serve(&request).map_err(Failure::into_wit)?;
        let headers = headers.into_iter().map(|(name, value)| wit::Header { name, value }).collect();
        Ok(wit::Response { status, headers, body })
    };
    requests.into_iter().map(&mut answer).collect()
}
