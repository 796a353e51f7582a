//! Who asks over the network, and what they may do: tokens, logins, roles, and requests that a browser was tricked into sending.
//!
//! A token is 256 random bits, so its plain BLAKE3 hash tells nobody anything: there is no list of likely tokens to try. Hashes are
//! compared in constant time. Whoever reaches the control socket is past all this: its file permissions have let them in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::Failure;
use super::login::{Login, Shown};
use crate::config::Http;
use crate::config::http::{Proof, Role, Token};

/// The characters that a token from `secrets` has at least: fewer could be guessed.
const TOKEN_CHARS_MIN: usize = 32;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: anybody may ask.
    Nothing,
    /// A token of this role, or of one that may do more.
    Role(Role),
}

/// For names, counts and sizes: nothing of what records hold.
pub(super) const VIEWER: Needs = Needs::Role(Role::Viewer);
/// For what records hold, and what changes something.
pub(super) const OPERATOR: Needs = Needs::Role(Role::Operator);

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The name of the token or of the user, for the log.
    name: Arc<str>,
    role: Result<Role, Failure>,
}

/// The rules of one listener.
pub(super) struct Access {
    tokens: Vec<Known>,
    login: Option<Login>,
    /// The names that it may be called by, beside loopback addresses; `None`: any.
    hosts: Option<Vec<String>>,
    body_bytes_max: usize,
    body_time_max: Duration,
}

struct Known {
    name: Arc<str>,
    role: Role,
    hash: blake3::Hash,
}

impl Caller {
    /// Whoever reaches the control socket, or a loopback address without tokens and logins.
    pub(super) fn local() -> Self {
        Caller { name: "local".into(), role: Ok(Role::Admin) }
    }

    fn nobody(code: &str, message: &str) -> Self {
        Caller { name: "nobody".into(), role: Err(Failure::new(StatusCode::UNAUTHORIZED, code, message)) }
    }

    /// Whether it may do what needs a role.
    pub(super) fn may(&self, role: Role) -> bool {
        self.role.as_ref().is_ok_and(|own| *own >= role)
    }

    /// Its name, for the log.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Access {
    /// Reads the rules. The error says which token cannot be had, and nothing of it.
    pub(super) fn of(settings: &Http) -> Result<Self, String> {
        // A page in a browser may have its own name lead to this machine; it cannot choose what it calls it then.
        let hosts = settings.listen.ip().is_loopback().then(|| settings.hosts.clone());
        Ok(Access {
            tokens: settings.tokens.iter().map(Known::of).collect::<Result<_, _>>()?,
            login: settings.login.as_ref().map(Login::of),
            hosts,
            body_bytes_max: settings.body_bytes_max,
            body_time_max: settings.request_time_max,
        })
    }

    async fn caller(&self, headers: &HeaderMap) -> Caller {
        if self.tokens.is_empty() && self.login.is_none() {
            return Caller::local();
        }
        let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let behind = |scheme: &[u8]| {
            let (given, rest) = shown?.split_at_checked(scheme.len())?;
            given.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        if let (Some(login), Some(basic)) = (&self.login, behind(b"basic ")) {
            return match Shown::read(basic) {
                Some(shown) => Caller { role: login.role(&shown).await, name: shown.user.into() },
                None => {
                    Caller::nobody("bad-login", "expected `Authorization: Basic`, and a user and a password in base64")
                }
            };
        }
        let token = behind(b"bearer ").map(|token| blake3::hash(token.trim_ascii()));
        // All are compared, each in constant time.
        let known = self.tokens.iter().fold(None, |found, known| match token {
            Some(token) if known.hash == token => Some(known),
            _ => found,
        });
        match (known, shown) {
            (Some(known), _) => Caller { name: known.name.clone(), role: Ok(known.role) },
            (None, Some(_)) => Caller::nobody("bad-token", "no token of the pipeline file is this one"),
            (None, None) if self.login.is_some() => Caller::nobody(
                "bad-login",
                "expected the header `Authorization`, with `Bearer TOKEN` or with `Basic` and a login",
            ),
            (None, None) => Caller::nobody("no-token", "expected the header `Authorization: Bearer TOKEN`"),
        }
    }

    /// Refuses what a page of another origin has a browser send.
    fn check_origin(&self, request: &Request) -> Result<(), Failure> {
        let header = |name: HeaderName| request.headers().get(name).map(HeaderValue::to_str);
        let called = request.uri().authority().cloned().or_else(|| header(HOST)?.ok()?.parse::<Authority>().ok());
        let Some(called) = called else {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "wrong-host",
                "expected one header Host with a host's name",
            ));
        };
        if self.hosts.as_ref().is_some_and(|hosts| !is_known(hosts, called.host())) {
            let message =
                format!("{} is not a name of this listener; `http.hosts` has those beside localhost", called.host());
            return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, "wrong-host", message));
        }
        let Some(origin) = header(ORIGIN) else { return Ok(()) };
        let origin = origin.ok().and_then(|origin| origin.split_once("://"));
        if origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(called.as_str())) {
            return Ok(());
        }
        Err(Failure::new(StatusCode::FORBIDDEN, "wrong-origin", "a page of another origin may not ask"))
    }

    async fn body(&self, body: Body) -> Result<Bytes, Failure> {
        let read = Limited::new(body, self.body_bytes_max).collect();
        match tokio::time::timeout(self.body_time_max, read).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!("the body has more than {} bytes", self.body_bytes_max);
                Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message))
            }
            Ok(Err(error)) => Err(Failure::usage(format!("the body cannot be read: {error}"))),
            Err(_) => {
                let message = format!("the body did not come in {:?}", self.body_time_max);
                Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message))
            }
        }
    }

    async fn admit(&self, request: Request) -> Result<Request, Failure> {
        self.check_origin(&request)?;
        let caller = self.caller(request.headers()).await;
        let (mut head, body) = request.into_parts();
        let body = self.body(body).await?;
        head.extensions.insert(caller);
        Ok(Request::from_parts(head, Body::from(body)))
    }
}

impl Known {
    fn of(token: &Token) -> Result<Self, String> {
        let hash = match &token.proof {
            Proof::Hash(hash) => (*hash).into(),
            Proof::Secret(secret) => {
                let token_text = secret.reveal().map_err(|error| format!("token {}: {error}", token.name))?;
                let chars = token_text.expose().chars().count();
                if chars < TOKEN_CHARS_MIN {
                    return Err(format!(
                        "token {}: its secret has {chars} characters, expected at least {TOKEN_CHARS_MIN}: `weir token new` makes one",
                        token.name
                    ));
                }
                blake3::hash(token_text.expose().as_bytes())
            }
        };
        Ok(Known { name: token.name.clone(), role: token.role, hash })
    }
}

/// Lets in what comes over the network, and says who asks.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut response = match access.admit(request).await {
        Ok(request) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Lets those through who may do what a route needs.
pub(super) async fn permit(
    State(needs): State<Needs>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let Needs::Role(role) = needs else { return next.run(request).await };
    if caller.may(role) {
        return next.run(request).await;
    }
    let failure = caller.role.map(|own| {
        let message = format!("{} has the role {}, expected {}", caller.name, own.word(), role.word());
        Failure::new(StatusCode::FORBIDDEN, "forbidden", message)
    });
    failure.unwrap_or_else(|failure| failure).into_response()
}

fn is_known(hosts: &[String], name: &str) -> bool {
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = literal.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let is_named = |host: &String| host.eq_ignore_ascii_case(name);
    is_loopback || name.eq_ignore_ascii_case("localhost") || hosts.iter().any(is_named)
}
