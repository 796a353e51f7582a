//! Syslog over TCP and TLS: connections, from being accepted to their last message.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::framing::Framer;
use super::{Shared, flatten, peer_headers};
use crate::record::{Batch, Offset};
use crate::source::lines::Line;
use crate::source::unconfirmed::Unconfirmed;
use crate::source::{BATCH_RECORDS_MAX, Error};

/// What is read of a connection at a time. Each connection has a buffer of this size.
const BUFFER_BYTES: usize = 16 * 1024;
/// The bytes after which a connection's batch is handed over; with `connections_max` it bounds what they all hold.
const BATCH_BYTES_MAX: usize = 128 * 1024;
/// What is still taken from a connection when the listener is told to stop.
const LAST_BYTES_MAX: usize = 4 << 20;
/// How long more is waited for then: what the system has received is on its way.
pub const LAST_WAIT: Duration = Duration::from_millis(100);
/// How long more is taken in all: a peer that never pauses is cut off then, and does not hold up the end.
const LAST_TIME_MAX: Duration = Duration::from_secs(1);
/// A peer that has not finished the handshake by then is not going to.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// The idle time after which the system asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The pause after a failure to accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until it is told to stop, then waits until they have taken in what they read.
pub async fn accept(listener: StdListener, tls: Option<TlsAcceptor>, shared: Shared) -> Result<(), Error> {
    let listener = TcpListener::from_std(listener).map_err(|error| failed(&error))?;
    let mut stop = shared.stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! { biased;
            () = stop.stopped() => break,
            Some(ended) = connections.join_next() => flatten(ended)?,
            (stream, peer, slot) = next(&listener, &shared) => {
                connections.spawn(serve(stream, peer, tls.clone(), shared.clone(), slot));
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        flatten(ended)?;
    }
    Ok(())
}

/// The next connection, once there is a slot for it. Others wait in the system's backlog: nothing of theirs is lost.
async fn next(listener: &TcpListener, shared: &Shared) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let slot = match shared.slots.clone().try_acquire_owned() {
        Ok(slot) => Some(slot),
        Err(_) => {
            tracing::warn!(source = %shared.name, "connections_max is reached: further connections wait");
            shared.slots.clone().acquire_owned().await.ok()
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) => {
                tracing::warn!(source = %shared.name, "a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Receives from a connection until it ends. Fails only where the intake does.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Shared,
    _slot: Option<OwnedSemaphorePermit>,
) -> Result<(), Error> {
    let keepalive = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
    if let Err(error) = keepalive {
        tracing::debug!(%peer, "no keepalive: {error}");
    }
    let Some(tls) = tls else { return Connection::new(stream, peer, shared).run().await };
    let mut stop = shared.stop.clone();
    let handshake = tokio::select! { biased;
        () = stop.stopped() => return Ok(()),
        handshake = tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)) => handshake,
    };
    let error = match handshake {
        Ok(Ok(stream)) => return Connection::new(stream, peer, shared).run().await,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not finished within {HANDSHAKE_TIME_MAX:?}"),
    };
    tracing::warn!(source = %shared.name, %peer, "the TLS handshake failed: {error}");
    Ok(())
}

/// A connection whose messages are taken in.
struct Connection<S> {
    stream: S,
    peer: SocketAddr,
    shared: Shared,
    headers: Vec<u8>,
    buffer: Vec<u8>,
    framer: Framer,
    batch: Batch,
    unconfirmed: Unconfirmed,
}

/// Why no more is read of a connection.
enum End {
    /// The peer has ended it: what is left of a message is all that will come of it.
    Over,
    /// Told to stop, or where the next message begins is not known.
    Given(Option<String>),
}

impl<S: AsyncRead + Unpin> Connection<S> {
    fn new(stream: S, peer: SocketAddr, shared: Shared) -> Self {
        Connection {
            stream,
            peer,
            headers: peer_headers(peer.ip()),
            buffer: vec![0; BUFFER_BYTES],
            framer: Framer::new(shared.message_bytes_max),
            batch: Batch::default(),
            unconfirmed: shared.unconfirmed(),
            shared,
        }
    }

    async fn run(mut self) -> Result<(), Error> {
        let mut stop = self.shared.stop.clone();
        let end = loop {
            let read = tokio::select! { biased;
                confirmed = self.unconfirmed.confirmed() => {
                    confirmed?;
                    continue;
                }
                () = stop.stopped() => break self.take_last().await?,
                read = self.stream.read(&mut self.buffer) => read,
            };
            if let Some(end) = self.take_available(read).await? {
                break end;
            }
        };
        match end {
            End::Over => self.take_rest(),
            End::Given(None) => {}
            End::Given(Some(reason)) => {
                tracing::warn!(source = %self.shared.name, peer = %self.peer, "closing the connection: {reason}");
            }
        }
        self.send().await?;
        self.unconfirmed.finish().await
    }

    /// Takes in what was read, and what more there is without waiting, up to a batch.
    async fn take_available(&mut self, first: io::Result<usize>) -> Result<Option<End>, Error> {
        let mut read = first;
        loop {
            if let Some(end) = self.take(read).await? {
                return Ok(Some(end));
            }
            read = tokio::select! { biased;
                read = self.stream.read(&mut self.buffer), if !self.is_full() => read,
                () = std::future::ready(()) => break,
            };
        }
        self.send().await?;
        Ok(None)
    }

    /// Takes in what has arrived when there is to be an end.
    async fn take_last(&mut self) -> Result<End, Error> {
        let (mut taken, begun) = (0, Instant::now());
        while taken < LAST_BYTES_MAX && begun.elapsed() < LAST_TIME_MAX {
            let last = tokio::time::timeout(LAST_WAIT, self.stream.read(&mut self.buffer));
            let Ok(read) = last.await else { break };
            taken += read.as_ref().map_or(0, |n| *n);
            if let Some(end) = self.take(read).await? {
                return Ok(end);
            }
        }
        Ok(End::Given(None))
    }

    /// Finds the messages in what a read gave.
    async fn take(&mut self, read: io::Result<usize>) -> Result<Option<End>, Error> {
        let len = match read {
            Ok(0) => return Ok(Some(End::Over)),
            Ok(len) => len,
            Err(error) => {
                tracing::debug!(source = %self.shared.name, peer = %self.peer, "the connection broke: {error}");
                return Ok(Some(End::Over));
            }
        };
        let now = self.shared.clock.now();
        let mut input = self.buffer.get(..len).unwrap_or_default();
        loop {
            match self.framer.next(&mut input) {
                Ok(None) => return Ok(None),
                Ok(Some(message)) => message.push_to(&mut self.batch, &self.headers, Offset(0), now),
                Err(malformed) => return Ok(Some(End::Given(Some(malformed.to_string())))),
            }
            if is_full(&self.batch) {
                self.unconfirmed.send(std::mem::take(&mut self.batch)).await?;
            }
        }
    }

    fn take_rest(&mut self) {
        let now = self.shared.clock.now();
        let rest: Option<Line<'_>> = self.framer.finish();
        if let Some(message) = rest {
            message.push_to(&mut self.batch, &self.headers, Offset(0), now);
        }
    }

    fn is_full(&self) -> bool {
        is_full(&self.batch)
    }

    async fn send(&mut self) -> Result<(), Error> {
        self.unconfirmed.send(std::mem::take(&mut self.batch)).await
    }
}

fn is_full(batch: &Batch) -> bool {
    batch.len() >= BATCH_RECORDS_MAX || batch.bytes() >= BATCH_BYTES_MAX
}

fn failed(error: &io::Error) -> Error {
    Error::stop(format!("connections cannot be accepted: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_connections_hold_is_bounded() {
        // The documented default of connections_max and message_bytes_max.
        let held = 1_024 * (BUFFER_BYTES + BATCH_BYTES_MAX + 2 * 64 * 1024);
        assert!(held + crate::source::unconfirmed::BYTES_MAX <= 512 << 20);
    }
}
