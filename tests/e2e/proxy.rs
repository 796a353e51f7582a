//! A TCP proxy that misbehaves on command: it cuts, resets, stalls, slows and refuses connections. Knows nothing of what
//! passes through it.
//!
//! Each connection has two threads, one a direction. A thread that forwards looks at the proxy's condition before each
//! piece, so a command takes effect within a tenth of a second, whatever the two ends do.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

/// The largest piece that is forwarded at once.
const PIECE: usize = 64 * 1024;

/// How long a thread waits for room before it looks at the proxy's condition again.
const LOOK: Duration = Duration::from_millis(100);

/// A proxy; its connections end when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    condition: Mutex<Condition>,
    changed: Condvar,
    ended: AtomicBool,
    accepted: AtomicU64,
    forwarded: AtomicU64,
}

#[derive(Default)]
struct Condition {
    upstream: Option<SocketAddr>,
    stalled: bool,
    refusing: bool,
    bytes_per_second: Option<u64>,
    connections: Vec<Arc<Connection>>,
}

/// The two ends of a connection, and whether it is to end.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    ended: AtomicBool,
}

impl Proxy {
    /// Listens on a port of 127.0.0.1. Connections are refused until it knows where to forward them.
    pub fn listen() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        // Little is held here, so that who writes feels at once when the proxy is slow. Its connections inherit it.
        SockRef::from(&listener).set_recv_buffer_size(PIECE).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        thread::spawn({
            let shared = shared.clone();
            move || shared.accept(&listener)
        });
        Proxy { port, shared }
    }

    /// Forwards connections to a server from now on.
    pub fn forward_to(&self, upstream: SocketAddr) {
        self.shared.lock().upstream = Some(upstream);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were forwarded so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes were forwarded so far, both ways.
    pub fn forwarded(&self) -> u64 {
        self.shared.forwarded.load(Ordering::Relaxed)
    }

    /// Closes all connections as an orderly end does (FIN). New ones are accepted.
    pub fn cut(&self) -> usize {
        self.end_all(Connection::close)
    }

    /// Closes all connections as a crash does (RST). New ones are accepted.
    pub fn reset(&self) -> usize {
        self.end_all(Connection::reset)
    }

    /// Forwards nothing until it is healed; connections stay open, and new ones are accepted.
    pub fn stall(&self) {
        self.change(|condition| condition.stalled = true);
    }

    /// Forwards at most so many bytes a second until it is healed, on each connection and each way.
    pub fn slow(&self, bytes_per_second: u64) {
        self.change(|condition| condition.bytes_per_second = Some(bytes_per_second.max(1)));
    }

    /// Resets whoever connects, until it is healed. Connections that are open stay so.
    pub fn refuse(&self) {
        self.change(|condition| condition.refusing = true);
    }

    /// Goes back to forwarding everything at once.
    pub fn heal(&self) {
        self.change(|condition| {
            condition.stalled = false;
            condition.refusing = false;
            condition.bytes_per_second = None;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }

    fn end_all(&self, end: fn(&Connection)) -> usize {
        let connections = std::mem::take(&mut self.shared.lock().connections);
        let open = connections.iter().filter(|connection| !connection.ended.load(Ordering::Relaxed));
        let count = open.map(|connection| end(connection)).count();
        self.shared.changed.notify_all();
        count
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread that accepts, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap()
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().flatten() {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            let upstream = Some(self.lock()).filter(|condition| !condition.refusing).and_then(|it| it.upstream);
            match upstream.and_then(|upstream| TcpStream::connect(upstream).ok()) {
                Some(server) => self.join(client, server),
                // Dropped with nothing to linger for: the client gets a reset, as from a port where nobody listens.
                None => SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap(),
            }
        }
    }

    fn join(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
            end.set_write_timeout(Some(LOOK)).unwrap();
        }
        let connection = Arc::new(Connection { client, server, ended: AtomicBool::new(false) });
        let mut condition = self.lock();
        condition.connections.retain(|connection| !connection.ended.load(Ordering::Relaxed));
        condition.connections.push(connection.clone());
        drop(condition);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        for way in [Way::ToServer, Way::ToClient] {
            let (shared, connection) = (self.clone(), connection.clone());
            thread::spawn(move || shared.forward(&connection, way));
        }
    }

    /// Forwards one way until an end closes or the connection is to end.
    fn forward(&self, connection: &Connection, way: Way) {
        let (mut from, to) = match way {
            Way::ToServer => (&connection.client, &connection.server),
            Way::ToClient => (&connection.server, &connection.client),
        };
        let mut buffer = vec![0; PIECE];
        loop {
            match from.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    if !self.pass(connection, to, &buffer[..length]) {
                        break;
                    }
                }
                _ => break,
            }
        }
        // One way closed closes both: neither broker nor client talks on over half a connection.
        connection.close();
    }

    /// Writes a piece when the proxy's condition allows. Returns whether the connection goes on.
    fn pass(&self, connection: &Connection, mut to: &TcpStream, mut piece: &[u8]) -> bool {
        while !piece.is_empty() {
            let Some(leave) = self.wait_for_leave(connection) else { return false };
            match to.write(&piece[..leave.min(piece.len())]) {
                Ok(written) => {
                    piece = &piece[written..];
                    self.forwarded.fetch_add(written as u64, Ordering::Relaxed);
                    self.pace(connection, written);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return false,
            }
        }
        !connection.ended.load(Ordering::Relaxed)
    }

    /// Waits while the proxy is stalled. Returns how many bytes may go at once; nothing where the connection is to end.
    fn wait_for_leave(&self, connection: &Connection) -> Option<usize> {
        let mut condition = self.lock();
        while condition.stalled && !connection.ended.load(Ordering::Relaxed) {
            condition = self.changed.wait_timeout(condition, LOOK).unwrap().0;
        }
        let slowed = condition.bytes_per_second.map(|rate| (rate / 20).clamp(1, PIECE as u64) as usize);
        (!connection.ended.load(Ordering::Relaxed)).then(|| slowed.unwrap_or(PIECE))
    }

    /// Waits as long as the bytes that were written may take, or until the proxy is healed.
    fn pace(&self, connection: &Connection, written: usize) {
        let begun = Instant::now();
        let mut condition = self.lock();
        while let Some(rate) = condition.bytes_per_second {
            let wanted = Duration::from_secs_f64(written as f64 / rate as f64);
            let Some(left) = wanted.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { return };
            if connection.ended.load(Ordering::Relaxed) {
                return;
            }
            condition = self.changed.wait_timeout(condition, left).unwrap().0;
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    ToServer,
    ToClient,
}

impl Connection {
    fn close(&self) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            for end in [&self.client, &self.server] {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }

    /// The kernel sends the reset when the last thread lets go of the sockets: closing them for reading wakes it, and
    /// sends nothing by itself.
    fn reset(&self) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            for end in [&self.client, &self.server] {
                let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
                let _ = end.shutdown(Shutdown::Read);
            }
        }
    }
}

mod tests {
    use super::*;

    /// A server that sends back what it gets, and a proxy before it.
    fn echo() -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Proxy::listen();
        proxy.forward_to(listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut answers = stream.try_clone().unwrap();
                    let _ = std::io::copy(&mut stream, &mut answers);
                });
            }
        });
        proxy
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn ask(stream: &mut TcpStream, question: &[u8]) -> Vec<u8> {
        stream.write_all(question).unwrap();
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer).unwrap();
        answer
    }

    /// Waits until so many bytes are counted: the reader has them a moment before the proxy has counted them.
    fn counts(proxy: &Proxy, bytes: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while proxy.forwarded() < bytes && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(proxy.forwarded(), bytes);
    }

    #[test]
    fn the_proxy_forwards_both_ways() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream, b"hello"), b"hello");
        let large = vec![7; 300_000];
        let writer = thread::spawn({
            let (mut stream, large) = (stream.try_clone().unwrap(), large.clone());
            move || stream.write_all(&large).unwrap()
        });
        let mut back = vec![0; large.len()];
        stream.read_exact(&mut back).unwrap();
        writer.join().unwrap();
        assert!(back == large);
        assert_eq!(proxy.accepted(), 1);
        counts(&proxy, 2 * (5 + 300_000));
    }

    #[test]
    fn a_cut_ends_what_is_open_and_lets_new_connections_in() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        ask(&mut stream, b"x");
        assert_eq!(proxy.cut(), 1);
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "an orderly end");
        let mut next = connect(&proxy);
        assert_eq!(ask(&mut next, b"again"), b"again");
        assert_eq!(proxy.cut(), 1);
    }

    #[test]
    fn a_reset_is_seen_as_one() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        ask(&mut stream, b"x");
        assert_eq!(proxy.reset(), 1);
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(ask(&mut connect(&proxy), b"again"), b"again");
    }

    #[test]
    fn a_reset_reaches_a_connection_that_is_stalled() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        ask(&mut stream, b"x");
        proxy.stall();
        stream.write_all(b"held").unwrap();
        thread::sleep(LOOK);
        proxy.reset();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_stall_holds_everything_and_loses_nothing() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        ask(&mut stream, b"x");
        counts(&proxy, 2);
        proxy.stall();
        stream.write_all(b"held").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(matches!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert_eq!(proxy.forwarded(), 2);
        proxy.heal();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"held");
    }

    #[test]
    fn a_slow_proxy_takes_its_time_until_it_is_healed() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        ask(&mut stream, b"x");
        proxy.slow(1_000);
        let begun = Instant::now();
        ask(&mut stream, &[1; 400]);
        let slow = begun.elapsed();
        assert!(slow > Duration::from_millis(300), "400 bytes at 1,000 a second took {slow:?}");
        proxy.heal();
        let begun = Instant::now();
        ask(&mut stream, &[1; 4_000]);
        let healed = begun.elapsed();
        assert!(healed < Duration::from_secs(3), "4,000 bytes took {healed:?} after healing");
    }

    #[test]
    fn new_connections_are_refused_until_it_is_healed() {
        let proxy = echo();
        let mut open = connect(&proxy);
        ask(&mut open, b"x");
        proxy.refuse();
        let refused = TcpStream::connect(("127.0.0.1", proxy.port())).and_then(|mut stream| stream.read(&mut [0; 8]));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(ask(&mut open, b"still open"), b"still open");
        proxy.heal();
        assert_eq!(ask(&mut connect(&proxy), b"in"), b"in");
    }

    #[test]
    fn nobody_behind_the_proxy_is_a_refusal() {
        let proxy = Proxy::listen();
        let refused = TcpStream::connect(("127.0.0.1", proxy.port())).and_then(|mut stream| stream.read(&mut [0; 8]));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
