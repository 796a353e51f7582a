//! Real sockets on the loopback interface: what is sent is taken in, whoever sends it and however.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::clock::SystemClock;
use crate::config::TlsListener;
use crate::source::Disposition;
use crate::source::HEADER_TRUNCATED;
use crate::source::intake::Request;
use crate::stop::Stopper;

/// Longer than any of this takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn settings() -> SyslogSource {
    SyslogSource { udp: Some(ANY_PORT), tcp: Some(ANY_PORT), tls: None, message_bytes_max: 1_000, connections_max: 16 }
}

/// A running listener, and the end of its intake.
struct Rig {
    udp: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    received: Arc<Received>,
    requests: mpsc::Receiver<Request>,
    stopper: Stopper,
    run: JoinHandle<Result<(), Error>>,
}

impl Rig {
    fn start(settings: &SyslogSource) -> Self {
        let received = Arc::new(Received::default());
        let listener = SyslogListener::bind("net", settings, Arc::new(SystemClock), received.clone()).unwrap();
        let (udp, tcp, tls) = (listener.udp_address(), listener.tcp_address(), listener.tls_address());
        let (intake, requests) = Intake::channel();
        let (stopper, stop) = stop_signal();
        let run = tokio::spawn(Box::new(listener).run(intake, stop));
        Rig { udp, tcp, tls, received, requests, stopper, run }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.tcp.unwrap()).await.unwrap()
    }

    /// Makes the next batch durable and gives its messages; `None` once the listener has ended.
    async fn batch(&mut self) -> Option<Vec<String>> {
        let request = tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("a batch within a minute")?;
        let text = |record: crate::record::Record<'_>| String::from_utf8_lossy(record.value.unwrap()).into_owned();
        let messages = request.records.iter().map(text).collect();
        request.durable.send(Ok(())).unwrap();
        Some(messages)
    }

    async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.extend(self.batch().await.expect("the listener goes on"));
        }
        messages
    }

    /// Tells it to stop, and gives what it still takes in.
    async fn stop(mut self) -> Vec<String> {
        self.stopper.stop();
        let mut messages = Vec::new();
        while let Some(batch) = self.batch().await {
            messages.extend(batch);
        }
        self.run.await.unwrap().unwrap();
        assert_eq!(self.received.window_records.load(Ordering::Relaxed), 0);
        messages
    }
}

#[tokio::test]
async fn a_datagram_is_a_message() {
    let mut rig = Rig::start(&settings());
    let sender = UdpSocket::bind(ANY_PORT).await.unwrap();
    sender.connect(rig.udp.unwrap()).await.unwrap();
    for datagram in [&b"<1>one\nand more\n\0"[..], b"\n", b"", b"<2>two\r\n", &[b'x'; 1_500]] {
        sender.send(datagram).await.unwrap();
    }
    let messages = rig.messages(3).await;
    assert_eq!(messages[..2], ["<1>one\nand more", "<2>two"]);
    assert_eq!(messages[2], "x".repeat(1_000));
    assert_eq!(rig.stop().await, [""; 0]);
}

#[tokio::test]
async fn a_record_bears_the_address_of_its_peer_and_the_length_that_was_cut() {
    let mut rig = Rig::start(&settings());
    let sender = UdpSocket::bind(ANY_PORT).await.unwrap();
    sender.send_to(&[b'x'; 1_234], rig.udp.unwrap()).await.unwrap();
    let request = rig.requests.recv().await.unwrap();
    let record = request.records.get(0).unwrap();
    let headers: Vec<_> = record.headers().collect();
    assert_eq!(headers, [(HEADER_PEER, Some(&b"127.0.0.1"[..])), (HEADER_TRUNCATED, Some(&b"1234"[..]))]);
    assert_eq!(record.key, None);
    assert!(record.timestamp.0 > 1_600_000_000_000);
}

#[tokio::test]
async fn datagrams_that_the_intake_has_no_room_for_are_counted() {
    let rig = Rig::start(&settings());
    let sender = UdpSocket::bind(ANY_PORT).await.unwrap();
    let datagram = [b'x'; 900];
    let mut sent = 0_u64;
    // Nobody takes the batches, so the socket's buffer fills.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while rig.received.dropped.load(Ordering::Relaxed) == 0 {
        assert!(tokio::time::Instant::now() < deadline, "no drop was counted");
        for _ in 0..1_000 {
            sender.send_to(&datagram, rig.udp.unwrap()).await.unwrap();
            sent += 1;
        }
        tokio::task::yield_now().await;
    }
    let received = rig.received.clone();
    rig.stop().await;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(count(&received.records) + count(&received.dropped), sent);
    assert!(count(&received.window_records_max) > 0);
}

#[tokio::test]
async fn messages_of_a_connection_come_in_order_and_the_last_needs_no_end() {
    let mut rig = Rig::start(&settings());
    let mut stream = rig.connect().await;
    let sent: Vec<_> = (0..20_000).map(|n| format!("<13>message {n}")).collect();
    let encoded: String = sent
        .iter()
        .enumerate()
        .map(|(n, text)| if n % 3 == 0 { format!("{} {text}", text.len()) } else { format!("{text}\n") })
        .collect();
    let writing = tokio::spawn(async move {
        stream.write_all(encoded.as_bytes()).await.unwrap();
        stream.write_all(b"<13>the last").await.unwrap();
    });
    let messages = rig.messages(20_001).await;
    writing.await.unwrap();
    assert!(messages[..20_000] == sent);
    assert_eq!(messages[20_000], "<13>the last");
    assert_eq!(rig.stop().await, [""; 0]);
}

#[tokio::test]
async fn a_message_does_not_wait_for_the_next() {
    let mut rig = Rig::start(&settings());
    let mut stream = rig.connect().await;
    for text in ["one", "two", "three"] {
        stream.write_all(format!("<1>{text}\n").as_bytes()).await.unwrap();
        assert_eq!(rig.messages(1).await, [format!("<1>{text}")]);
    }
}

#[tokio::test]
async fn a_malformed_count_closes_the_connection_after_what_was_complete() {
    let mut rig = Rig::start(&settings());
    let mut stream = rig.connect().await;
    stream.write_all(b"<1>one\n7 <2>two\n12x34").await.unwrap();
    assert_eq!(rig.messages(2).await, ["<1>one", "<2>two"]);
    let closed = tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1])).await;
    assert!(matches!(closed.unwrap(), Ok(0) | Err(_)));
    let mut other = rig.connect().await;
    other.write_all(b"<3>three\n").await.unwrap();
    assert_eq!(rig.messages(1).await, ["<3>three"]);
}

#[tokio::test]
async fn an_intake_without_room_stops_the_reading() {
    let mut rig = Rig::start(&settings());
    let mut stream = rig.connect().await;
    let message = format!("<1>{}\n", "x".repeat(900));
    let block = message.repeat(1_000);
    // The peer can write until all buffers on the way are full, and then no more.
    let mut written = 0;
    while let Ok(n) = tokio::time::timeout(Duration::from_secs(2), stream.write(block.as_bytes())).await {
        written += n.unwrap();
        assert!(written < 256 << 20, "the peer was never made to wait");
    }
    let window = rig.received.window_bytes.load(Ordering::Relaxed);
    assert!(window > 0 && window < 2 << 20, "{window} bytes are under way");
    let taken = written / message.len();
    assert!(rig.messages(taken).await.len() >= taken, "and nothing is lost");
}

#[tokio::test]
async fn what_was_sent_before_the_stop_is_taken_in_but_no_broken_message() {
    let mut rig = Rig::start(&settings());
    let mut stream = rig.connect().await;
    stream.write_all(b"<1>first\n").await.unwrap();
    assert_eq!(rig.messages(1).await, ["<1>first"]);
    stream.write_all(b"<1>second\n<1>half a mess").await.unwrap();
    let address = rig.tcp.unwrap();
    assert_eq!(rig.stop().await, ["<1>second"]);
    assert!(TcpStream::connect(address).await.is_err(), "no connection is accepted any more");
}

#[tokio::test]
async fn a_peer_that_never_pauses_does_not_hold_up_the_stop() {
    let mut rig = Rig::start(&settings());
    let mut stream = rig.connect().await;
    let sender = tokio::spawn(async move {
        while stream.write_all(b"<1>again\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(rig.messages(1).await.first().map(String::as_str), Some("<1>again"));
    tokio::time::timeout(PATIENCE / 3, rig.stop()).await.expect("the listener ends though messages come");
    tokio::time::timeout(PATIENCE, sender).await.expect("the connection is closed").unwrap();
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_a_slot() {
    let mut rig = Rig::start(&SyslogSource { connections_max: 1, ..settings() });
    let mut first = rig.connect().await;
    first.write_all(b"<1>first\n").await.unwrap();
    assert_eq!(rig.messages(1).await, ["<1>first"]);
    let mut second = rig.connect().await;
    second.write_all(b"<1>second\n").await.unwrap();
    first.write_all(b"<1>third\n").await.unwrap();
    assert_eq!(rig.messages(1).await, ["<1>third"]);
    drop(first);
    assert_eq!(rig.messages(1).await, ["<1>second"]);
}

#[tokio::test]
async fn an_intake_that_fails_ends_the_listener() {
    let mut rig = Rig::start(&settings());
    rig.connect().await.write_all(b"<1>one\n").await.unwrap();
    let request = rig.requests.recv().await.unwrap();
    let error = Error::stop("the disk is gone");
    request.durable.send(Err(error)).unwrap();
    let ended = tokio::time::timeout(PATIENCE, rig.run).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().message, "the disk is gone");
}

#[test]
fn a_busy_address_is_an_error_at_the_start() {
    let taken = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap();
    let settings = SyslogSource { tcp: Some(address), ..settings() };
    let error = SyslogListener::bind("net", &settings, Arc::new(SystemClock), Arc::default()).err().unwrap();
    assert!(error.message.starts_with(&format!("cannot listen on tcp {address}: ")), "{error}");
    assert_eq!(error.disposition, Disposition::Stop);
}

/// Certificates for a test: an authority, a server and a client that it signed.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            std::fs::write(dir.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Certificates { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn listener(&self, client_ca: Option<PathBuf>) -> SyslogSource {
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        let tls = Some(TlsListener { address: ANY_PORT, certificate, key, client_ca });
        SyslogSource { udp: None, tcp: None, tls, ..settings() }
    }

    fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
    }

    async fn connect(&self, address: SocketAddr, shows_certificate: bool) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        Certificates::chain(&self.path("ca.pem")).into_iter().for_each(|root| roots.add(root).unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let config = if shows_certificate {
            let key = PrivateKeyDer::from_pem_file(self.path("client.key")).unwrap();
            builder.with_client_auth_cert(Certificates::chain(&self.path("client.pem")), key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }
}

#[tokio::test]
async fn tls_carries_the_same_messages() {
    let certificates = Certificates::new();
    let mut rig = Rig::start(&certificates.listener(None));
    let mut stream = certificates.connect(rig.tls.unwrap(), false).await.unwrap();
    stream.write_all(b"7 <1>oneX<2>two\n<3>three").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(rig.messages(2).await, ["<1>oneX", "<2>two"]);
    drop(stream);
    assert_eq!(rig.messages(1).await, ["<3>three"], "also where the peer just goes away");
}

#[tokio::test]
async fn a_peer_without_tls_does_not_hold_up_others() {
    let certificates = Certificates::new();
    let mut rig = Rig::start(&certificates.listener(None));
    let mut plain = TcpStream::connect(rig.tls.unwrap()).await.unwrap();
    plain.write_all(b"<1>no handshake\n").await.unwrap();
    let mut stream = certificates.connect(rig.tls.unwrap(), false).await.unwrap();
    stream.write_all(b"<1>hello\n").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(rig.messages(1).await, ["<1>hello"]);
    assert_eq!(rig.stop().await, [""; 0]);
}

#[tokio::test]
async fn where_a_client_ca_is_set_only_its_clients_are_heard() {
    let certificates = Certificates::new();
    let mut rig = Rig::start(&certificates.listener(Some(certificates.path("ca.pem"))));
    // The client learns of the refusal after its own side of the handshake.
    if let Ok(mut stream) = certificates.connect(rig.tls.unwrap(), false).await {
        let _ = stream.write_all(b"<1>stranger\n").await;
        let _ = stream.flush().await;
        assert!(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1]).await.is_err());
    }
    let mut stream = certificates.connect(rig.tls.unwrap(), true).await.unwrap();
    stream.write_all(b"<1>known\n").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(rig.messages(1).await, ["<1>known"]);
}

#[test]
fn bad_certificates_are_errors_at_the_start() {
    let certificates = Certificates::new();
    let refused = |change: &dyn Fn(&mut TlsListener)| {
        let mut settings = certificates.listener(None);
        change(settings.tls.as_mut().unwrap());
        let error = SyslogListener::bind("net", &settings, Arc::new(SystemClock), Arc::default()).err().unwrap();
        assert_eq!(error.disposition, Disposition::Stop);
        error.message
    };
    let message = refused(&|tls| tls.certificate = certificates.path("none.pem"));
    assert!(message.contains("none.pem cannot be read"), "{message}");
    let message = refused(&|tls| tls.certificate = certificates.path("server.key"));
    assert!(message.ends_with("server.key holds no certificate in PEM"), "{message}");
    let message = refused(&|tls| tls.key = certificates.path("client.key"));
    assert!(message.contains("server.pem and "), "{message}");
    let message = refused(&|tls| tls.client_ca = Some(certificates.path("client.key")));
    assert!(message.ends_with("client.key holds no certificate in PEM"), "{message}");
}
