//! The client of a web service: what a request may be, where it goes, and what is attached to it on the way.
//!
//! A name is resolved for each connection, and only addresses that pass are connected to, so a name that resolves to something
//! else the second time gains nothing. Redirects are followed within the endpoint's own origin alone.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, StatusCode};
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::address::is_public;
use super::teller::Teller;
use crate::config::{HttpAuth, HttpEndpoint, HttpMethod};
use crate::tls;

/// Redirects that are followed within an origin.
const REDIRECTS_MAX: usize = 5;
/// Headers that a request may bring, beside those of the endpoint.
const HEADERS_MAX: usize = 100;
/// Headers that say where a request goes, how long it is, or who sends it.
const OURS: [&str; 14] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// A request to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: HttpMethod,
    /// What stands behind the endpoint's URL.
    pub path: String,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer. The texts are for plugins: they hold no address and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    #[error("the request is refused: {0}")]
    Refused(String),
    /// The service could not be reached, or broke off.
    #[error("the service is not available: {0}")]
    Unavailable(String),
    /// It did not answer in time.
    #[error("the service did not answer in time")]
    Timeout,
    /// The answer has more bytes than it may.
    #[error("the answer has more than {0} bytes")]
    TooLarge(u64),
}

/// A name resolved to nothing that may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("its name resolves to no public address")]
struct NotPublic;

/// The client of one endpoint.
pub struct Client {
    settings: Arc<HttpEndpoint>,
    http: OnceCell<reqwest::Client>,
    /// What is attached; read again after the service refused it.
    login: tokio::sync::Mutex<Option<Option<(HeaderName, HeaderValue)>>>,
    slots: Semaphore,
    teller: Teller,
}

impl Client {
    /// A client that has connected to nothing yet.
    pub fn new(settings: Arc<HttpEndpoint>) -> Self {
        let (slots, teller) = (Semaphore::new(settings.requests_max as usize), Teller::of(&settings.name));
        Client { settings, http: OnceCell::new(), login: tokio::sync::Mutex::default(), slots, teller }
    }

    /// Whose client it is.
    pub fn settings(&self) -> &Arc<HttpEndpoint> {
        &self.settings
    }

    /// Sends a request and reads its answer, of at most `bytes_max` bytes.
    pub async fn send(&self, request: Request, bytes_max: usize) -> Result<Response, Failure> {
        let (url, headers) = (self.url(&request.path)?, self.headers(&request.headers)?);
        let method = self.method(request.method)?;
        // Never closed.
        let _slot = self.slots.acquire().await.map_err(|_| Failure::Timeout)?;
        let http = self.http.get_or_try_init(|| self.connectable()).await?;
        let mut sent = http.request(method, url).headers(headers).timeout(self.settings.timeout).body(request.body);
        if let Some((name, value)) = self.login().await? {
            sent = sent.header(name, value);
        }
        let answer = sent.send().await.map_err(|error| self.failure(&error.without_url()))?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // The secret may have been replaced meanwhile.
            *self.login.lock().await = None;
        }
        self.read(answer, bytes_max.min(self.settings.response_bytes_max)).await
    }

    async fn read(&self, mut answer: reqwest::Response, bytes_max: usize) -> Result<Response, Failure> {
        let header = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
        let (status, headers) = (answer.status().as_u16(), answer.headers().iter().map(header).collect());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failure(&error.without_url()))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(Failure::TooLarge(bytes_max as u64));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }

    /// Where a request goes: behind the endpoint's URL, and nowhere else.
    fn url(&self, path: &str) -> Result<Url, Failure> {
        let base = &self.settings.url;
        let refused = |why: String| Failure::Refused(format!("the path {path:?} {why}"));
        let mut url = Url::parse(&format!("{base}{}", path.strip_prefix('/').unwrap_or(path)))
            .map_err(|error| refused(format!("makes no URL: {error}")))?;
        url.set_fragment(None);
        if url.origin() != base.origin() || !url.path().starts_with(base.path()) || url.username() != base.username() {
            return Err(refused("leads out of the endpoint's own".into()));
        }
        Ok(url)
    }

    fn headers(&self, wanted: &[(String, Vec<u8>)]) -> Result<HeaderMap, Failure> {
        let refused = |name: &str, why: &str| Failure::Refused(format!("the header {name:?} {why}"));
        if wanted.len() > HEADERS_MAX {
            return Err(Failure::Refused(format!("it has {} headers, {HEADERS_MAX} are allowed", wanted.len())));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in wanted {
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused(name, "has no well-formed name"))?;
            let value =
                HeaderValue::from_bytes(value).map_err(|_| refused(name, "has a value with control characters"))?;
            let is_theirs = |ours: &str| header.as_str().eq_ignore_ascii_case(ours);
            let of_login = match &self.settings.auth {
                HttpAuth::Header { name, .. } => is_theirs(name),
                HttpAuth::None | HttpAuth::Bearer(_) | HttpAuth::Basic { .. } => false,
            };
            if OURS.into_iter().any(is_theirs) || self.settings.headers.keys().any(|ours| is_theirs(ours)) || of_login {
                return Err(refused(name, "is the host's to set"));
            }
            headers.append(header, value);
        }
        Ok(headers)
    }

    fn method(&self, method: HttpMethod) -> Result<Method, Failure> {
        if !self.settings.methods.contains(&method) {
            let allowed = self.settings.methods.iter().map(|method| method.word()).collect::<Vec<_>>().join(", ");
            return Err(Failure::Refused(format!("the endpoint allows {allowed}, not {}", method.word())));
        }
        Ok(match method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
        })
    }

    async fn connectable(&self) -> Result<reqwest::Client, Failure> {
        let settings = self.settings.clone();
        let built = tokio::task::spawn_blocking(move || build(&settings)).await;
        let built = built.map_err(|error| error.to_string()).and_then(|built| built);
        built.map_err(|why| self.not_usable(&why))
    }

    /// The header that says who we are, where there is one.
    async fn login(&self) -> Result<Option<(HeaderName, HeaderValue)>, Failure> {
        let mut login = self.login.lock().await;
        if let Some(known) = &*login {
            return Ok(known.clone());
        }
        let settings = self.settings.clone();
        let read = tokio::task::spawn_blocking(move || login_of(&settings.auth)).await;
        let read = read.map_err(|error| error.to_string()).and_then(|read| read);
        Ok(login.insert(read.map_err(|why| self.not_usable(&why))?).clone())
    }

    /// What only the operator can mend, and only the operator is told in full.
    fn not_usable(&self, why: &str) -> Failure {
        self.teller.tell(&why);
        Failure::Unavailable("the endpoint is not set up; the appliance's log says why".into())
    }

    fn failure(&self, error: &reqwest::Error) -> Failure {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut last = String::new();
        while let Some(inner) = cause {
            if inner.is::<NotPublic>() {
                self.teller.tell(&"its name resolves to no public address; `private_addresses: true` would allow it");
                return Failure::Refused(NotPublic.to_string());
            }
            last = inner.to_string();
            cause = inner.source();
        }
        if error.is_timeout() {
            return Failure::Timeout;
        }
        Failure::Unavailable(last)
    }
}

fn build(settings: &HttpEndpoint) -> Result<reqwest::Client, String> {
    let tls = tls::client(&settings.tls).map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in &settings.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("header {name:?}: {error}"))?;
        headers.insert(header, HeaderValue::from_str(value).map_err(|error| format!("header {name:?}: {error}"))?);
    }
    let mut client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .default_headers(headers)
        .redirect(Policy::custom(within_origin))
        .referer(false)
        .no_proxy()
        .connect_timeout(settings.timeout)
        .pool_max_idle_per_host(settings.requests_max as usize);
    if !settings.private_addresses {
        client = client.dns_resolver(Arc::new(PublicOnly(Arc::new(System))));
    }
    client.build().map_err(|error| format!("the client cannot be set up: {error}"))
}

fn within_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let is_ours = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    match attempt.previous().len() {
        n if n > REDIRECTS_MAX => attempt.error("it redirects too often"),
        _ if is_ours => attempt.follow(),
        // The plugin is given the answer that redirects.
        _ => attempt.stop(),
    }
}

fn login_of(auth: &HttpAuth) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let (name, text) = match auth {
        HttpAuth::None => return Ok(None),
        HttpAuth::Bearer(token) => {
            (AUTHORIZATION, format!("Bearer {}", token.reveal().map_err(|error| error.to_string())?.expose()))
        }
        HttpAuth::Basic { user, password } => {
            let password = password.reveal().map_err(|error| error.to_string())?;
            (AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose()))))
        }
        HttpAuth::Header { name, value } => {
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("header {name:?}: {error}"))?;
            (header, value.reveal().map_err(|error| error.to_string())?.expose().to_owned())
        }
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| "the secret has characters that no header may have")?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

/// How names are resolved.
trait Names: Send + Sync + 'static {
    fn look_up(&self, name: String) -> futures_util::future::BoxFuture<'static, std::io::Result<Vec<SocketAddr>>>;
}

/// As the system does.
struct System;

impl Names for System {
    fn look_up(&self, name: String) -> futures_util::future::BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// Leaves only public addresses of what a name resolves to.
struct PublicOnly(Arc<dyn Names>);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.look_up(name.as_str().to_owned());
        Box::pin(async move {
            let public: Vec<SocketAddr> = found.await?.into_iter().filter(|at| is_public(at.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Mutex;

    use super::*;

    /// Resolves to something else each time, as a name does that wants to be taken for another.
    struct Rebinding(Mutex<Vec<Vec<&'static str>>>);

    impl Names for Rebinding {
        fn look_up(&self, _: String) -> futures_util::future::BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
            let next = self.0.lock().unwrap().remove(0);
            let addresses = next.into_iter().map(|address| SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0));
            let addresses: Vec<SocketAddr> = addresses.collect();
            Box::pin(async move { Ok(addresses) })
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_something_else_the_second_time_gains_nothing() {
        let answers = vec![vec!["8.8.8.8"], vec!["169.254.169.254"], vec!["127.0.0.1", "9.9.9.9", "::1"], vec![]];
        let resolver = PublicOnly(Arc::new(Rebinding(Mutex::new(answers))));
        let name = || "geo.example.org".parse::<Name>().unwrap();
        let mut found = Vec::new();
        for _ in 0..4 {
            found.push(resolver.resolve(name()).await.map(|found| found.map(|at| at.ip().to_string()).collect()).ok());
        }
        let public = |address: &str| Some(vec![address.to_owned()]);
        assert_eq!(found, [public("8.8.8.8"), None, public("9.9.9.9"), None]);
    }
}
