//! The beginning of a connection: what both sides can, TLS, and who the client is.

use bytes::Bytes;
use prost::Message;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::frame::{self, PREAMBLE};
use super::handshake::{Handshake, NEGOTIATION_CALL};
use super::tls::Trust;
use crate::error::{Error, Result};
use crate::options::Encryption;
use crate::proto::rpc::{
    Authentication, AuthenticationType, ConnectionContext, Empty, ErrorStatus, Negotiate, RequestHeader, SaslMechanism,
    SignedToken, feature, step,
};

/// The call id of the message that ends the negotiation.
const CONTEXT_CALL: i32 = -3;

/// A connection, encrypted or not.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What the client has to say for itself.
pub struct Identity<'a> {
    pub address: &'a str,
    pub user: &'a str,
    pub password: &'a str,
    pub encryption: Encryption,
    pub trust: &'a Trust,
    /// Whether the server may not have its certificate yet.
    pub may_lack_certificate: bool,
    /// The authorities that may vouch for this server.
    pub roots: Arc<RootCertStore>,
    /// Handed out by a master; shown only to a server that an authority vouches for.
    pub token: Option<SignedToken>,
}

/// How the client was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    /// By the token of a master.
    Token,
    /// By name and password, or as nobody in particular.
    Sasl,
}

/// Negotiates, and returns the connection on which calls can be made.
pub async fn negotiate(mut tcp: TcpStream, identity: &Identity<'_>) -> Result<(Box<dyn Duplex>, Recognised)> {
    tcp.write_all(&PREAMBLE).await.map_err(|error| identity.lost(&error))?;
    let offer = identity.exchange(&mut tcp, &identity.hello()).await?;
    if offer.step != step::NEGOTIATE {
        return Err(identity.unexpected("step NEGOTIATE", &offer));
    }
    let can_encrypt = offer.supported_features.contains(&feature::TLS);
    let mut stream: Box<dyn Duplex> = match (identity.encryption, can_encrypt) {
        (Encryption::Off, _) | (Encryption::Preferred, false) => Box::new(tcp),
        (_, true) => Box::new(identity.encrypt(tcp).await?),
        (Encryption::Required, false) => return Err(identity.refuse("expected a server with TLS, got one without")),
    };
    let recognised = identity.authenticate(&mut stream, &offer).await?;
    let header = RequestHeader { call_id: CONTEXT_CALL, ..RequestHeader::default() };
    identity.send(&mut stream, &header, &ConnectionContext {}).await?;
    Ok((stream, recognised))
}

impl Identity<'_> {
    fn shows_token(&self) -> bool {
        self.token.is_some() && !self.roots.is_empty() && self.encryption != Encryption::Off
    }

    fn hello(&self) -> Negotiate {
        let mut features = vec![feature::APPLICATION_FEATURE_FLAGS];
        let mut kinds = vec![Authentication::Sasl(Empty {})];
        if self.encryption != Encryption::Off {
            features.push(feature::TLS);
        }
        if self.shows_token() {
            kinds.push(Authentication::Token(Empty {}));
        }
        let kind = |kind| AuthenticationType { kind: Some(kind) };
        Negotiate {
            step: step::NEGOTIATE,
            supported_features: features,
            authn_types: kinds.into_iter().map(kind).collect(),
            ..Negotiate::default()
        }
    }

    async fn encrypt(&self, tcp: TcpStream) -> Result<impl Duplex + use<>> {
        let settings = self.trust.settings(Arc::clone(&self.roots))?;
        // Certificates are checked by authority alone, so any name will do.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let connected = TlsConnector::from(settings).connect(name, Handshake::new(tcp)).await;
        let retriable = self.may_lack_certificate;
        let failed = |source| Error::Tls { address: self.address.to_owned(), source, retriable };
        let mut stream = connected.map_err(failed)?;
        stream.get_mut().0.finish();
        Ok(stream)
    }

    async fn authenticate(&self, stream: &mut Box<dyn Duplex>, offer: &Negotiate) -> Result<Recognised> {
        // A server that says nothing knows no other way than SASL.
        match offer.authn_types.first().and_then(|chosen| chosen.kind.as_ref()) {
            Some(Authentication::Token(_)) => {
                let token =
                    Negotiate { step: step::TOKEN_EXCHANGE, authn_token: self.token.clone(), ..Negotiate::default() };
                let answer = self.exchange(stream, &token).await?;
                let is_taken = answer.step == step::TOKEN_EXCHANGE;
                if is_taken { Ok(Recognised::Token) } else { Err(self.unexpected("step TOKEN_EXCHANGE", &answer)) }
            }
            Some(Authentication::Sasl(_)) | None => self.sasl(stream, offer).await.map(|()| Recognised::Sasl),
            Some(Authentication::Certificate(_)) => {
                Err(self.refuse("expected a way to authenticate that was offered, got certificates"))
            }
        }
    }

    async fn sasl(&self, stream: &mut Box<dyn Duplex>, offer: &Negotiate) -> Result<()> {
        let offered: Vec<&str> = offer.sasl_mechanisms.iter().map(|offered| offered.mechanism.as_str()).collect();
        let (mechanism, token) = if offered.contains(&"PLAIN") {
            let (user, password) = (self.user, self.password);
            ("PLAIN", Bytes::from(format!("\0{user}\0{password}")))
        } else if offered.contains(&"ANONYMOUS") {
            ("ANONYMOUS", Bytes::new())
        } else {
            return Err(self.refuse(&format!("expected SASL PLAIN or ANONYMOUS, got {}", offered.join(", "))));
        };
        let message = Negotiate {
            step: step::SASL_INITIATE,
            token: Some(token),
            sasl_mechanisms: vec![SaslMechanism { mechanism: mechanism.to_owned() }],
            ..Negotiate::default()
        };
        let answer = self.exchange(stream, &message).await?;
        match answer.step {
            step::SASL_SUCCESS => Ok(()),
            step::SASL_CHALLENGE => Err(self.refuse(&format!("SASL {mechanism} was answered with a challenge"))),
            _ => Err(self.unexpected("step SASL_SUCCESS", &answer)),
        }
    }

    async fn exchange(&self, stream: &mut impl Duplex, message: &Negotiate) -> Result<Negotiate> {
        let header = RequestHeader { call_id: NEGOTIATION_CALL, ..RequestHeader::default() };
        self.send(stream, &header, message).await?;
        let frame = frame::read(stream).await.map_err(|error| self.broken(&error))?;
        if frame.header.is_error() {
            let status = ErrorStatus::decode(frame.body).map_err(|error| self.garbled(error))?;
            let address = self.address.to_owned();
            let (code, message) = (status.code(), status.message);
            return Err(Error::Call { address, method: "the connection", code, message });
        }
        Negotiate::decode(frame.body).map_err(|error| self.garbled(error))
    }

    async fn send(&self, stream: &mut impl Duplex, header: &RequestHeader, message: &impl Message) -> Result<()> {
        let frame = frame::encode(header, message);
        stream.write_all(&frame).await.map_err(|error| self.lost(&error))?;
        stream.flush().await.map_err(|error| self.lost(&error))
    }

    /// A server that hangs up without a word, or speaks otherwise, is none of Kudu's, or is just coming up.
    fn broken(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::InvalidData => Error::protocol(self.address, "Kudu's negotiation", error.to_string()),
            _ => self.lost(error),
        }
    }

    fn lost(&self, error: &io::Error) -> Error {
        Error::ConnectionLost { address: self.address.to_owned(), reason: format!("while it was negotiated: {error}") }
    }

    fn garbled(&self, error: prost::DecodeError) -> Error {
        Error::protocol(self.address, "Kudu's negotiation", error.to_string())
    }

    fn unexpected(&self, expected: &'static str, got: &Negotiate) -> Error {
        Error::protocol(self.address, expected, format!("step {}", got.step))
    }

    fn refuse(&self, reason: &str) -> Error {
        Error::Negotiation { address: self.address.to_owned(), reason: reason.to_owned() }
    }
}
