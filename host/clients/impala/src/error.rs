//! What can go wrong, and whether a statement may have been carried out nevertheless.

/// The result of what this client does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the client, of the network, or told by a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// User or password were refused, by the server or, as with an empty password, before anything was sent.
    #[error("user or password were refused: {0}")]
    Login(String),
    /// No session came about. Nothing was carried out.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection, or the session at the server, ended while it was used.
    #[error("lost the connection: {reason}")]
    Broken {
        /// What was seen last.
        reason: String,
        /// Whether the statement had been handed over: it may have been carried out.
        is_sent: bool,
    },
    /// The time for the statement was over. It may have been carried out.
    #[error("the statement was not done in time")]
    Timeout,
    /// The server refused the statement, or failed at it.
    #[error("the server says: {message}{}", .state.as_ref().map(|state| format!(" (SQLSTATE {state})")).unwrap_or_default())]
    Server {
        /// The five characters of SQLSTATE.
        state: Option<String>,
        /// The server's own number of the error.
        code: Option<i32>,
        /// The server's words.
        message: String,
    },
    /// The answer is larger than the caller wants. The statement was carried out.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The other side does not speak the protocol, or not as expected.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether the statement may have been carried out though no answer says so.
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Error::Broken { is_sent, .. } => *is_sent,
            Error::Timeout | Error::Protocol(_) => true,
            Error::Login(_) | Error::Connect(_) | Error::Server { .. } | Error::TooLarge(_) => false,
        }
    }

    pub(crate) fn protocol(expected: &str, got: impl std::fmt::Display) -> Self {
        Error::Protocol(format!("expected {expected}, got {got}"))
    }
}

impl From<thrift::Error> for Error {
    fn from(error: thrift::Error) -> Self {
        Error::Protocol(error.to_string())
    }
}
