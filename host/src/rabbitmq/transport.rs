//! The socket under a connection, with TLS or without, and the runtime that lapin works on.
//!
//! lapin gives each connection a thread that ends with its socket. So that no thread outlives its connection, whatever
//! the peer does, every socket here can be cut: from then on all that is asked of it fails.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::stream::{Stream, StreamExt};
use futures_util::task::AtomicWaker;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::AMQPUri;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::IntervalStream;

use super::{Failure, address, failure};
use crate::config::rabbitmq::RabbitmqServer;
use crate::tls;

/// An open socket.
pub struct Wire {
    socket: Socket,
    cut: Arc<Cut>,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Ends a socket from outside.
#[derive(Debug, Default)]
pub struct Cut {
    is_cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cut {
    /// Lets everything that is done on the socket fail from now on.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    fn check(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        // Registered first: a cut in between is seen by one of the two.
        waker.register(cx.waker());
        if self.is_cut.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up"));
        }
        Ok(())
    }
}

/// Opens a socket to a server.
pub async fn open(server: &RabbitmqServer) -> Result<Wire, Failure> {
    let at = address(server);
    let unreachable = |error: io::Error| {
        Failure::passing(format!("cannot connect to {at}: {error}; is RabbitMQ running there, and is the port right?"))
    };
    let socket = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(unreachable)?;
    // Acknowledgements and confirms are small, and somebody waits for each.
    socket.set_nodelay(true).map_err(unreachable)?;
    let Some(settings) = &server.tls else {
        return Ok(Wire { socket: Socket::Plain(socket), cut: Arc::default() });
    };
    let settings = settings.clone();
    let config = tokio::task::spawn_blocking(move || tls::client(&settings)).await;
    let config = config.map_err(|error| Failure::passing(error.to_string()))?;
    let config = config.map_err(|error| Failure::lasting(error.to_string()))?;
    let name = ServerName::try_from(server.host.clone())
        .map_err(|error| Failure::lasting(format!("{:?} is no name that a certificate has: {error}", server.host)))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    let stream = stream.map_err(|error| failure::tls(&error, &at))?;
    Ok(Wire { socket: Socket::Tls(Box::new(stream)), cut: Arc::default() })
}

impl Wire {
    /// What cuts it.
    pub fn cut(&self) -> Arc<Cut> {
        self.cut.clone()
    }
}

type Kit = RuntimeParts<Tokio, Sockets>;

/// The runtime for a connection: the one that this is called on.
pub fn runtime() -> Runtime<Kit> {
    Runtime::new(RuntimeParts::new(Tokio::current(), Sockets(tokio::runtime::Handle::current())))
}

/// What gives lapin a socket that is open already. It asks once, as it does not reconnect.
pub fn hand_over(
    wire: Wire,
) -> impl AsyncFn(AMQPUri, Runtime<Kit>) -> lapin::Result<AsyncTcpStream<Wire>> + Send + Sync + 'static {
    let wire = Mutex::new(Some(wire));
    async move |_, _| {
        let wire = wire.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wire = wire.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection was used up"))?;
        Ok(AsyncTcpStream::Plain(wire))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.reader, cx)?;
        let mut buffer = ReadBuf::new(bytes);
        ready!(match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.writer, cx)?;
        match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.writer, cx)?;
        match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.writer, cx)?;
        match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// The part of a runtime that has to do with sockets and time. lapin opens no socket by it.
#[derive(Debug, Clone)]
pub struct Sockets(tokio::runtime::Handle);

impl Reactor for Sockets {
    type TcpStream = Wire;
    type Sleep = tokio::time::Sleep;

    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Wire, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        let _entered = self.0.enter();
        tokio::time::sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        let _entered = self.0.enter();
        IntervalStream::new(tokio::time::interval(period)).map(tokio::time::Instant::into_std)
    }

    fn tcp_connect_addr(&self, _: SocketAddr) -> impl Future<Output = io::Result<Wire>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
