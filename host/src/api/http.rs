//! The API over TCP: connections, their bounds, and TLS. What may be asked, and by whom, is [`super::access`]'s to say.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::access::{Access, guard};
use super::{ApiState, STOP_GRACE, Shared, routes};
use crate::config::Http;
use crate::stop::{Stop, Stopper, stop_signal};
use crate::tls;

/// The bytes that the line and the headers of a request may have.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The headers that a request may have.
const HEADERS_MAX: usize = 100;
/// The pause after a connection could not be accepted, as where there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the API is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("http: cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// A certificate or a token cannot be had.
    #[error("http: {0}")]
    Settings(String),
}

/// A listener that is bound, with its rules.
pub struct Server {
    settings: Http,
    listener: TcpListener,
    access: Arc<Access>,
    tls: Option<TlsAcceptor>,
}

/// The API over TCP as it is served now, if it is. Ends when this is dropped.
#[derive(Default)]
pub struct Endpoint {
    state: Option<ApiState>,
    served: Option<(Http, TcpListener, Stopper)>,
}

impl Endpoint {
    /// Opens what the settings ask for. Nothing changes for those who are served now.
    pub fn open(&self, settings: &Http) -> Result<Server, Error> {
        let failed = |error| Error::Bind { address: settings.listen, error };
        let listener = match &self.served {
            Some((now, listener, _)) if now.listen == settings.listen => listener.try_clone(),
            _ => TcpListener::bind(settings.listen),
        };
        let listener = listener.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let tls = settings.tls.as_ref().map(|(certificate, key)| tls::acceptor(certificate, key, None)).transpose();
        Ok(Server {
            settings: settings.clone(),
            listener,
            access: Arc::new(Access::of(settings).map_err(Error::Settings)?),
            tls: tls.map_err(|error| Error::Settings(error.to_string()))?,
        })
    }

    /// Whether these are the settings that are served.
    pub fn serves(&self, settings: Option<&Http>) -> bool {
        self.served.as_ref().map(|(now, ..)| now) == settings
    }

    /// Serves an appliance from now on.
    pub fn begin(&mut self, server: Option<Server>, state: ApiState) -> Result<(), Error> {
        self.state = Some(state);
        self.serve(server)
    }

    /// Serves under other settings from now on, or not at all: requests that are being answered have a second.
    pub fn serve(&mut self, server: Option<Server>) -> Result<(), Error> {
        let Some((server, state)) = server.zip(self.state.clone()) else {
            self.served = None;
            return Ok(());
        };
        let failed = |error| Error::Bind { address: server.settings.listen, error };
        let (stopper, stop) = stop_signal();
        let kept = server.listener.try_clone().map_err(failed)?;
        let settings = server.settings.clone();
        let address = server.listener.local_addr().map_err(failed)?;
        tracing::info!("the HTTP API listens on {address}{}", if server.tls.is_some() { " with TLS" } else { "" });
        tokio::spawn(server.run(state, stop));
        self.served = Some((settings, kept, stopper));
        Ok(())
    }
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until told to stop.
    pub async fn run(self, state: ApiState, mut stop: Stop) {
        let shared = Shared::new(state, stop.clone());
        let router = routes::router(shared).layer(from_fn_with_state(self.access.clone(), guard));
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("the HTTP API is not served: {error}"),
        };
        let slots = Arc::new(Semaphore::new(self.settings.connections_max));
        let mut connections = JoinSet::new();
        loop {
            let (stream, slot) = tokio::select! { biased;
                () = stop.stopped() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = accept(&listener, &slots) => match accepted {
                    Some(accepted) => accepted,
                    None => continue,
                },
            };
            let connection =
                Connection { router: router.clone(), tls: self.tls.clone(), time_max: self.settings.request_time_max };
            let stop = stop.clone();
            connections.spawn(async move {
                connection.serve(stream, stop).await;
                drop(slot);
            });
        }
        // What is not answered by then is cut off.
        let _ = tokio::time::timeout(STOP_GRACE, async { while connections.join_next().await.is_some() {} }).await;
    }
}

/// The next connection, once there is room for one. Dropping the future loses nothing.
async fn accept(
    listener: &tokio::net::TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::debug!("the HTTP API cannot accept a connection: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// How one connection is served.
struct Connection {
    router: Router,
    tls: Option<TlsAcceptor>,
    time_max: Duration,
}

impl Connection {
    async fn serve(self, stream: TcpStream, stop: Stop) {
        // Small answers are not to wait for more.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = self.tls.clone() else { return self.requests(stream, stop).await };
        match tokio::time::timeout(self.time_max, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream, stop).await,
            Ok(Err(error)) => tracing::debug!("a client of the HTTP API speaks no TLS that is known: {error}"),
            Err(_) => tracing::debug!("a client of the HTTP API did not begin TLS in {:?}", self.time_max),
        }
    }

    async fn requests(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, mut stop: Stop) {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.time_max);
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
        tokio::pin!(served);
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = stop.stopped() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection of the HTTP API broke: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
