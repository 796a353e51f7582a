//! One connection to each server, made when it is first needed and again when it has broken.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::Connection;
use super::negotiate::{Identity, negotiate};
use super::tls::Trust;
use crate::error::{Error, Result};
use crate::options::{Address, Options};
use crate::proto::rpc::{SignedToken, code};

/// The longest that a connection may take to come about: what Kudu's own servers give each other.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// For so long a server that did not answer is asked after those that did.
const SUSPECT_FOR: Duration = Duration::from_secs(5);

/// Whether a server is a master: masters hand out tokens, and tablet servers take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    Master,
    TabletServer,
}

/// All connections of one client.
#[derive(Debug)]
pub struct Pool {
    options: Options,
    trust: Trust,
    token: Mutex<Option<SignedToken>>,
    /// The lock of a slot is held while its connection comes about, so that there is one.
    slots: Mutex<HashMap<(Peer, Address), Slot>>,
    /// Servers that did not answer, and when that was.
    suspects: Mutex<HashMap<Address, Instant>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

impl Pool {
    pub fn new(options: Options) -> Result<Self> {
        let trust = Trust::new(options.authority.as_deref())?;
        Ok(Pool { options, trust, token: Mutex::default(), slots: Mutex::default(), suspects: Mutex::default() })
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Takes over what the leader master says: the authorities of its cluster, and a token for its tablet servers.
    pub fn learn(&self, authorities: &[Vec<u8>], token: Option<SignedToken>) {
        self.trust.learn(authorities);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// The connection to a server, made where there is none that can be used.
    pub async fn get(&self, peer: Peer, address: &Address, until: Instant) -> Result<Arc<Connection>> {
        let until = until.min(Instant::now() + CONNECT_MAX);
        let slot = self.slot(peer, address);
        let work = async {
            let mut slot = slot.lock().await;
            if let Some(connection) = slot.as_ref().filter(|connection| connection.is_alive()) {
                return Ok(Arc::clone(connection));
            }
            let connection = Arc::new(self.connect(peer, address).await?);
            *slot = Some(Arc::clone(&connection));
            Ok(connection)
        };
        match tokio::time::timeout_at(until, work).await {
            Ok(connected) => connected,
            Err(_) => {
                let source = io::Error::new(io::ErrorKind::TimedOut, "no connection came about in time");
                Err(Error::Connect { address: address.to_string(), source })
            }
        }
    }

    /// Whether a server did not answer a moment ago: it may hang, which takes long to find out again.
    pub fn is_suspect(&self, address: &Address) -> bool {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.get(address).is_some_and(|since| since.elapsed() < SUSPECT_FOR)
    }

    /// Remembers whether a server has answered.
    pub fn note(&self, address: &Address, has_answered: bool) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if has_answered {
            suspects.remove(address);
        } else {
            suspects.insert(address.clone(), Instant::now());
        }
    }

    fn slot(&self, peer: Peer, address: &Address) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry((peer, address.clone())).or_default())
    }

    async fn connect(&self, peer: Peer, address: &Address) -> Result<Connection> {
        let name = address.to_string();
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await;
        let tcp = tcp.map_err(|source| Error::Connect { address: name.clone(), source })?;
        // Calls are written whole; waiting for more would only delay them.
        tcp.set_nodelay(true).map_err(|source| Error::Connect { address: name.clone(), source })?;
        let (roots, token) = match peer {
            Peer::Master => (self.trust.for_masters(), None),
            Peer::TabletServer => (self.trust.for_tablet_servers(), self.token()),
        };
        let identity = Identity {
            address: &name,
            user: &self.options.user,
            password: &self.options.password,
            encryption: self.options.encryption,
            trust: &self.trust,
            may_lack_certificate: peer == Peer::TabletServer,
            roots,
            token,
        };
        let negotiated = negotiate(tcp, &identity).await;
        if matches!(&negotiated, Err(Error::Call { code: code::FATAL_INVALID_AUTHENTICATION_TOKEN, .. })) {
            self.token.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let (stream, recognised) = negotiated?;
        tracing::debug!(address = name, ?peer, ?recognised, "connected");
        Ok(Connection::new(name, stream))
    }

    fn token(&self) -> Option<SignedToken> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
