//! Syslog messages over UDP, TCP and TLS, kept as they came.
//!
//! Each message is a record: its value the payload (RFC 3164, 5424, or what devices send), its time the time of
//! receiving, its key null, and a header with the address of the peer. A datagram is a message; over TCP [`framing`]
//! finds them. None of the three has an acknowledgement. So what was received and is not durable is counted as the loss
//! window, and kept small; over TCP a slow intake stops reading, which the peer feels, and over UDP the socket's buffer
//! fills, and what the kernel drops then is counted.

mod connection;
mod framing;
mod udp;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use async_trait::async_trait;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::unconfirmed::{Budget, Unconfirmed};
use super::{Error, HEADER_PEER, Intake, Listener, Received};
use crate::clock::Clock;
use crate::config::SyslogSource;
use crate::record::push_header;
use crate::stop::{Stop, stop_signal};
use crate::tls;

/// Connections that may wait to be accepted, where the system allows as many.
const BACKLOG: i32 = 1_024;
/// The receive buffer that is asked for on the UDP socket: a second of 40,000 messages of 200 bytes.
const UDP_BUFFER_BYTES: usize = 8 << 20;

/// Takes in syslog messages.
pub struct SyslogListener {
    name: Arc<str>,
    settings: SyslogSource,
    clock: Arc<dyn Clock>,
    received: Arc<Received>,
    udp: Option<UdpSocket>,
    tcp: Option<TcpListener>,
    tls: Option<(TcpListener, TlsAcceptor)>,
}

/// What all connections and sockets of a listener share.
#[derive(Clone)]
struct Shared {
    name: Arc<str>,
    message_bytes_max: usize,
    clock: Arc<dyn Clock>,
    received: Arc<Received>,
    intake: Intake,
    budget: Budget,
    /// One for each connection that may still be accepted.
    slots: Arc<Semaphore>,
    stop: Stop,
}

impl SyslogListener {
    /// Takes the addresses, and reads certificates, so that what is wrong with them is known at the start.
    pub fn bind(
        name: &str,
        settings: &SyslogSource,
        clock: Arc<dyn Clock>,
        received: Arc<Received>,
    ) -> Result<Self, Error> {
        let tls = match &settings.tls {
            None => None,
            Some(of) => {
                Some((bind_tcp(of.address, "tls")?, tls::acceptor(&of.certificate, &of.key, of.client_ca.as_deref())?))
            }
        };
        Ok(SyslogListener {
            name: name.into(),
            settings: settings.clone(),
            clock,
            received,
            udp: settings.udp.map(bind_udp).transpose()?,
            tcp: settings.tcp.map(|address| bind_tcp(address, "tcp")).transpose()?,
            tls,
        })
    }

    /// Where it listens for datagrams.
    pub fn udp_address(&self) -> Option<SocketAddr> {
        self.udp.as_ref()?.local_addr().ok()
    }

    /// Where it listens for connections.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }

    /// Where it listens for connections with TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref()?.0.local_addr().ok()
    }
}

#[async_trait]
impl Listener for SyslogListener {
    async fn run(self: Box<Self>, intake: Intake, mut stop: Stop) -> Result<(), Error> {
        let (stopper, stop_all) = stop_signal();
        let shared = Shared {
            name: self.name,
            message_bytes_max: self.settings.message_bytes_max,
            clock: self.clock,
            received: self.received,
            intake,
            budget: Budget::default(),
            slots: Arc::new(Semaphore::new(self.settings.connections_max)),
            stop: stop_all,
        };
        let mut sockets = JoinSet::new();
        if let Some(socket) = self.udp {
            sockets.spawn(udp::receive(socket, shared.clone()));
        }
        if let Some(listener) = self.tcp {
            sockets.spawn(connection::accept(listener, None, shared.clone()));
        }
        if let Some((listener, acceptor)) = self.tls {
            sockets.spawn(connection::accept(listener, Some(acceptor), shared.clone()));
        }
        let mut result = Ok(());
        loop {
            tokio::select! { biased;
                ended = sockets.join_next() => match ended {
                    None => return result,
                    Some(ended) => {
                        result = result.and(flatten(ended));
                        stopper.stop();
                    }
                },
                () = stop.stopped(), if !shared.stop.is_stopped() => stopper.stop(),
            }
        }
    }
}

impl Shared {
    fn unconfirmed(&self) -> Unconfirmed {
        Unconfirmed::new(self.intake.clone(), self.received.clone(), self.budget.clone())
    }
}

/// The headers of a message from a peer. An IPv4 peer is written as such, even on a socket that speaks IPv6.
fn peer_headers(peer: IpAddr) -> Vec<u8> {
    let mut headers = Vec::new();
    push_header(&mut headers, HEADER_PEER, Some(peer.to_canonical().to_string().as_bytes()));
    headers
}

fn flatten(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|defect| Err(Error::stop(format!("receiving ended early: {defect}"))))
}

fn bind_udp(address: SocketAddr) -> Result<UdpSocket, Error> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
        bind(&socket, address)?;
        Ok(socket)
    };
    let socket: Socket = bind().map_err(|error| cannot_listen("udp", address, &error))?;
    // Linux doubles what is asked for, to have room for its own records, and caps it at net.core.rmem_max.
    if let Ok(granted) = socket.recv_buffer_size()
        && granted < UDP_BUFFER_BYTES
    {
        tracing::info!(%address, "the socket's buffer has {granted} bytes; raise net.core.rmem_max for {UDP_BUFFER_BYTES}");
    }
    Ok(socket.into())
}

fn bind_tcp(address: SocketAddr, protocol: &str) -> Result<TcpListener, Error> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // So that connections of an earlier run, which linger, do not keep the address busy.
        socket.set_reuse_address(true)?;
        bind(&socket, address)?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    bind().map(Socket::into).map_err(|error| cannot_listen(protocol, address, &error))
}

fn bind(socket: &Socket, address: SocketAddr) -> std::io::Result<()> {
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())
}

fn cannot_listen(protocol: &str, address: SocketAddr, error: &std::io::Error) -> Error {
    let message = format!("cannot listen on {protocol} {address}: {error}");
    Error::stop(message)
}
