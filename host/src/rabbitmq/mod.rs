//! What the source, the sink and the check of RabbitMQ have in common: connections, and their failures in words.
//!
//! A [`Broker`] is a configured server and whether it has ever let us in; a [`Link`] is one connection to it. lapin speaks
//! the protocol; the socket and TLS are ours ([`transport`]), so that a connection can be cut off at any moment, and so
//! that there is one TLS stack. Nothing here reconnects by itself: whoever holds a link decides that.

mod failure;
pub mod message;
pub mod topology;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::time::timeout;

pub use failure::{Failure, explain};

use crate::config::rabbitmq::{RabbitmqLogin, RabbitmqServer};
use crate::metrics::links::LINKS;
use crate::source::{Disposition, Error};
use transport::Cut;

/// How long the socket and TLS may take to be opened.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the broker may take to let us in, and to answer what it is asked. One that has just started leaves the first
/// questions about a quorum queue unanswered, and answers them on the next connection.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take to be closed properly; after that it is cut.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Seconds between heartbeats, unless the broker wants them more often. A connection that is silent for two of them is
/// taken to be dead.
const HEARTBEAT_S: u16 = 10;
/// The first pause before a connection is tried again; doubled each time, and jittered so that many clients of a broker that
/// comes back do not come at once.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// No pause is longer, but for the jitter.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// The reply code of a connection that ends well.
const REPLY_SUCCESS: u16 = 200;

/// A broker as it is configured for one source or sink.
#[derive(Debug)]
pub struct Broker {
    name: Arc<str>,
    server: RabbitmqServer,
    /// Whether it has ever let us in, and had what we need.
    proven: AtomicBool,
}

/// A connection to a broker. Dropping it cuts it off; [`Link::close`] says goodbye.
pub struct Link {
    connection: Arc<Connection>,
    cut: Arc<Cut>,
}

impl Broker {
    /// The broker of a source or sink of this name.
    pub fn new(name: &Arc<str>, server: &RabbitmqServer) -> Self {
        Broker { name: name.clone(), server: server.clone(), proven: AtomicBool::new(false) }
    }

    /// Its address, for messages.
    pub fn address(&self) -> String {
        address(&self.server)
    }

    /// Remembers that all was well once: from now on everything is taken to heal, as a broker that starts again may for a
    /// while refuse what it granted before.
    pub fn prove(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }

    /// What a failure calls for: an operator, where it does not heal and nothing was ever well.
    pub fn disposition(&self, failure: &Failure) -> Disposition {
        if failure.heals || self.proven.load(Ordering::Relaxed) { Disposition::Retry } else { Disposition::Stop }
    }

    /// A failure as the engine knows them.
    pub fn error(&self, failure: Failure) -> Error {
        Error { disposition: self.disposition(&failure), message: failure.message }
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Link, Failure> {
        let opened = self.open().await;
        let link = LINKS.of(&self.owner());
        if opened.is_ok() {
            link.up()
        } else {
            link.down()
        }
        opened
    }

    /// The connection broke while it was used.
    pub fn lost(&self) {
        LINKS.of(&self.owner()).down();
    }

    fn owner(&self) -> String {
        format!("rabbitmq {}", self.name)
    }

    async fn open(&self) -> Result<Link, Failure> {
        let uri = self.uri().await?;
        let address = self.address();
        let opened = timeout(CONNECT_TIME_MAX, transport::open(&self.server)).await;
        let late = |_| Failure::passing(format!("{address} did not answer within {CONNECT_TIME_MAX:?}"));
        let wire = opened.map_err(late)??;
        let cut = wire.cut();
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("weir/{}", self.name).into())
            .with_client_property("product".into(), "Weir".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        let connecting = Connection::connector(uri, transport::runtime(), transport::hand_over(wire), properties);
        let connection = match timeout(ANSWER_TIME_MAX, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                cut.cut();
                return Err(failure::refused(&error, &self.server));
            }
            Err(_) => {
                cut.cut();
                let message = format!("{address} took the connection and did not let us in within {ANSWER_TIME_MAX:?}");
                return Err(Failure::passing(message));
            }
        };
        Ok(Link { connection: Arc::new(connection), cut })
    }

    async fn uri(&self) -> Result<AMQPUri, Failure> {
        let server = &self.server;
        let mut query = AMQPQueryString { heartbeat: Some(HEARTBEAT_S), ..AMQPQueryString::default() };
        let mut userinfo = AMQPUserInfo::default();
        match &server.login {
            RabbitmqLogin::External => query.auth_mechanism = Some(SASLMechanism::External),
            RabbitmqLogin::Plain { user, password } => {
                userinfo.username.clone_from(user);
                if let Some(secret) = password.clone() {
                    let revealed = tokio::task::spawn_blocking(move || secret.reveal()).await;
                    let revealed = revealed.map_err(|error| Failure::passing(error.to_string()))?;
                    let revealed = revealed.map_err(|error| Failure::lasting(error.to_string()))?;
                    userinfo.password = revealed.expose().to_owned();
                }
            }
        }
        Ok(AMQPUri {
            scheme: if server.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority { userinfo, host: server.host.clone(), port: server.port },
            vhost: server.vhost.clone(),
            query,
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        LINKS.forget(&self.owner());
    }
}

/// Where a server is.
pub fn address(server: &RabbitmqServer) -> String {
    if server.host.contains(':') {
        format!("[{}]:{}", server.host, server.port)
    } else {
        format!("{}:{}", server.host, server.port)
    }
}

impl Link {
    /// Opens a channel.
    pub async fn channel(&self) -> Result<Channel, Failure> {
        answer("a channel", self.connection.create_channel()).await
    }

    /// The connection, to hear of what happens on it beside what it is used for.
    pub fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    /// The bytes that a frame may have.
    pub fn frame_bytes_max(&self) -> usize {
        usize::try_from(self.connection.configuration().frame_max()).unwrap_or(usize::MAX)
    }

    /// Ends the connection as the protocol wants it, or cuts it where that takes too long.
    pub async fn close(self) {
        // What cannot be closed properly is cut when `self` is dropped: that is all that can be done.
        let _ = timeout(CLOSE_TIME_MAX, self.connection.close(REPLY_SUCCESS, "weir ends".into())).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut.cut();
    }
}

/// Waits for the broker's answer, in words where it is an error or does not come.
pub async fn answer<T>(to: &str, asked: impl Future<Output = lapin::Result<T>>) -> Result<T, Failure> {
    match timeout(ANSWER_TIME_MAX, asked).await {
        Ok(answered) => answered.map_err(|error| explain(&error)),
        Err(_) => Err(Failure::passing(format!("the broker did not answer to {to} within {ANSWER_TIME_MAX:?}"))),
    }
}

/// Says what an event means, where somebody should know.
pub fn tell(what: &str, name: &str, event: &Event) {
    match event {
        Event::ConnectionBlocked(reason) => tracing::warn!(
            "{what} {name}: the broker takes nothing more for now ({reason}): it is short of memory or disk; waiting"
        ),
        Event::ConnectionUnblocked => tracing::info!("{what} {name}: the broker takes messages again"),
        _ => {}
    }
}

/// The pauses between attempts to connect.
#[derive(Debug)]
pub struct Pauses(ExponentialBackoff);

impl Default for Pauses {
    fn default() -> Self {
        let pauses = ExponentialBuilder::default().with_jitter().with_min_delay(PAUSE_MIN).with_max_delay(PAUSE_MAX);
        Pauses(pauses.without_max_times().build())
    }
}

impl Pauses {
    /// The next one.
    pub fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let mut pauses = Pauses::default();
        let all: Vec<Duration> = (0..50).map(|_| pauses.next()).collect();
        assert!(all[0] >= PAUSE_MIN && all[0] <= 2 * PAUSE_MIN, "{:?}", all[0]);
        assert!(all.iter().all(|pause| *pause <= 2 * PAUSE_MAX));
        let late = &all[20..];
        assert!(late.iter().all(|pause| *pause >= PAUSE_MAX), "{late:?}");
        assert!(late.iter().any(|pause| *pause != late[0]), "no jitter: {late:?}");
    }

    #[test]
    fn what_does_not_heal_needs_an_operator_until_all_was_well_once() {
        let server = RabbitmqServer {
            host: "::1".into(),
            port: 5672,
            vhost: "/".into(),
            tls: None,
            login: RabbitmqLogin::External,
        };
        let broker = Broker::new(&"bus".into(), &server);
        assert_eq!(broker.address(), "[::1]:5672");
        let lasting = Failure::lasting("wrong password");
        assert_eq!(broker.disposition(&lasting), Disposition::Stop);
        assert_eq!(broker.disposition(&Failure::passing("down")), Disposition::Retry);
        broker.prove();
        assert_eq!(broker.disposition(&lasting), Disposition::Retry);
    }
}
