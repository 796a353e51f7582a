//! The connection: TCP, TLS where it is asked for, SASL, and where messages begin and end.
//!
//! With SASL PLAIN each message has its length in front; without SASL it has not. Lengths are not believed: what is made room for
//! is what came.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{Error, Result};
use crate::options::{Login, Options};
use crate::scan::Scan;

/// The longest message of a server while it looks at the login.
const SASL_BYTES_MAX: usize = 1 << 16;

/// What is read at a time where no length says how much comes.
const PIECE_BYTES: usize = 1 << 16;

/// The states of SASL in Thrift's transport.
const START: u8 = 1;
const OK: u8 = 2;
const COMPLETE: u8 = 5;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection on which messages go both ways.
pub struct Transport {
    stream: Box<dyn Stream>,
    is_framed: bool,
    /// What came behind the last message, where no length tells.
    rest: Vec<u8>,
}

/// Why no message came.
#[derive(Debug)]
pub enum Failure {
    /// The connection is of no use any more.
    Lost(String),
    /// A message is longer than was asked for.
    TooLarge,
    /// What came is no message.
    Strange(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
        Failure::Lost(if is_end { "the server closed the connection".to_owned() } else { error.to_string() })
    }
}

impl Transport {
    /// Connects, and proves who this is.
    pub async fn connect(options: &Options) -> Result<Self> {
        let address = (options.host.as_str(), options.port);
        let told = |error: &dyn std::fmt::Display| Error::Connect(format!("{}:{}: {error}", address.0, address.1));
        let socket = TcpStream::connect(address).await.map_err(|error| told(&error))?;
        socket.set_nodelay(true).map_err(|error| told(&error))?;
        let stream: Box<dyn Stream> = match &options.tls {
            None => Box::new(socket),
            Some(tls) => {
                let name = ServerName::try_from(options.host.clone()).map_err(|error| told(&error))?;
                let connector = TlsConnector::from(Arc::clone(tls));
                let secured = connector.connect(name, socket).await;
                Box::new(secured.map_err(|error| told(&format_args!("TLS failed: {error}")))?)
            }
        };
        Self::over(stream, &options.login).await
    }

    /// Proves who this is, on a stream.
    async fn over(stream: Box<dyn Stream>, login: &Login) -> Result<Self> {
        let is_framed = matches!(login, Login::Plain { .. });
        let mut transport = Transport { stream, is_framed, rest: Vec::new() };
        if let Login::Plain { user, password } = login {
            transport.log_in(user, password).await?;
        }
        Ok(transport)
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        let mut hello = negotiation(START, b"PLAIN");
        hello.extend(negotiation(OK, &Login::message(user, password)));
        let answer = async {
            self.stream.write_all(&hello).await?;
            self.stream.flush().await?;
            let state = self.stream.read_u8().await?;
            let size = self.stream.read_u32().await? as usize;
            Ok::<_, Failure>((state, self.exactly(size, SASL_BYTES_MAX).await?))
        };
        match answer.await {
            Ok((COMPLETE, _)) => Ok(()),
            Ok((state, words)) => {
                let words = String::from_utf8_lossy(&words);
                let words = if words.is_empty() { format!("state {state}") } else { words.into_owned() };
                Err(Error::Login(format!("the server says: {words}")))
            }
            Err(Failure::Lost(reason)) => Err(Error::Connect(format!("while the login was looked at: {reason}"))),
            Err(_) => Err(Error::protocol("an answer to the login", "a longer one")),
        }
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        if self.is_framed {
            let size = u32::try_from(message.len()).map_err(|_| Failure::TooLarge)?;
            self.stream.write_u32(size).await?;
        }
        self.stream.write_all(message).await?;
        Ok(self.stream.flush().await?)
    }

    /// Receives a message of so many bytes at most.
    pub async fn receive(&mut self, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        if !self.is_framed {
            return self.receive_bare(bytes_max).await;
        }
        let size = self.stream.read_u32().await? as usize;
        self.exactly(size, bytes_max).await
    }

    async fn exactly(&mut self, size: usize, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        if size > bytes_max {
            return Err(Failure::TooLarge);
        }
        let mut bytes = Vec::with_capacity(size.min(PIECE_BYTES));
        (&mut self.stream).take(size as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < size { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(bytes) }
    }

    async fn receive_bare(&mut self, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let (mut bytes, mut scan) = (std::mem::take(&mut self.rest), Scan::new());
        loop {
            if let Some(end) = scan.end(&bytes).map_err(Failure::Strange)? {
                self.rest = bytes.split_off(end);
                return Ok(bytes);
            }
            if scan.at_least().max(bytes.len()) > bytes_max {
                return Err(Failure::TooLarge);
            }
            bytes.reserve(PIECE_BYTES);
            if self.stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// A message of SASL in Thrift's transport.
fn negotiation(state: u8, text: &[u8]) -> Vec<u8> {
    // Names and passwords come from a configuration; what is longer than the server takes, it refuses.
    let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&[state][..], &size.to_be_bytes(), text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login::Plain { user: "uid=etl,dc=org".to_owned(), password: "pa ss".to_owned() }
    }

    async fn answered(answer: &[u8]) -> (Result<Transport>, Vec<u8>) {
        let (client, mut server) = tokio::io::duplex(1 << 10);
        server.write_all(answer).await.unwrap();
        server.shutdown().await.unwrap();
        let connected = Transport::over(Box::new(client), &login()).await;
        let mut sent = vec![0; 64];
        let size = server.read(&mut sent).await.unwrap();
        sent.truncate(size);
        (connected, sent)
    }

    #[tokio::test]
    async fn the_login_is_one_message_of_sasl_behind_the_other() {
        let (connected, sent) = answered(b"\x05\0\0\0\0").await;
        assert!(connected.is_ok());
        assert_eq!(sent, b"\x01\0\0\0\x05PLAIN\x02\0\0\0\x15\0uid=etl,dc=org\0pa ss");
    }

    #[tokio::test]
    async fn a_refused_login_is_told_in_the_words_of_the_server() {
        for (answer, expected) in [
            (&b"\x03\0\0\0\x02no"[..], "user or password were refused: the server says: no"),
            (b"\x04\0\0\0\0", "user or password were refused: the server says: state 4"),
            (b"\x03", "cannot connect: while the login was looked at: the server closed the connection"),
            (b"\x03\0\0\0\x09no", "cannot connect: while the login was looked at: the server closed the connection"),
            (b"\x03\xff\xff\xff\xff", "unexpected answer: expected an answer to the login, got a longer one"),
        ] {
            let (connected, _) = answered(answer).await;
            assert_eq!(connected.err().unwrap().to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_not_read() {
        let (client, mut server) = tokio::io::duplex(1 << 10);
        let mut transport = Transport { stream: Box::new(client), is_framed: true, rest: Vec::new() };
        server.write_all(b"\0\0\0\x02ab\x7f\xff\xff\xff").await.unwrap();
        assert_eq!(transport.receive(2).await.unwrap(), b"ab");
        assert!(matches!(transport.receive(1 << 20).await, Err(Failure::TooLarge)));
    }

    #[tokio::test]
    async fn messages_without_lengths_are_told_apart() {
        let one = crate::codec::Writer::call("One", 1, |writer| writer.bytes(1, b"text")).unwrap();
        let two = crate::codec::Writer::call("Two", 2, |writer| {
            writer.text_map(4, &[("a".to_owned(), "b".to_owned()), (String::new(), String::new())])
        });
        let two = two.unwrap();
        let (client, mut server) = tokio::io::duplex(1 << 10);
        let mut transport = Transport { stream: Box::new(client), is_framed: false, rest: Vec::new() };
        let (all, expected) = ([&one[..], &two, &one, b"nonsense"].concat(), [one.clone(), two, one]);
        let sender = tokio::spawn(async move {
            for byte in all {
                server.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            server
        });
        for message in expected {
            assert_eq!(transport.receive(1 << 10).await.unwrap(), message);
        }
        assert!(matches!(transport.receive(1 << 10).await, Err(Failure::Strange(_))));
        drop(sender.await.unwrap());
    }
}
