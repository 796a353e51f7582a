//! What can go wrong, told with what was expected and what came, and whether trying again makes sense.

use std::io;
use std::time::Duration;

use crate::proto::{common, master, rpc, tserver};

/// The result of what this client does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the client, of the network, or told by a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection came about: nobody listens there, or the name is unknown.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The host and port.
        address: String,
        /// What the system told.
        source: io::Error,
    },
    /// A connection ended while it was used.
    #[error("lost the connection to {address}: {reason}")]
    ConnectionLost {
        /// The host and port.
        address: String,
        /// What was seen last.
        reason: String,
    },
    /// The other side does not speak Kudu's protocol, or not as expected.
    #[error("{address}: expected {expected}, got {got}")]
    Protocol {
        /// The host and port.
        address: String,
        /// What the protocol demands.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// Server and client agree on no way to authenticate or to encrypt.
    #[error("{address} cannot be used: {reason}")]
    Negotiation {
        /// The host and port.
        address: String,
        /// What is missing on which side.
        reason: String,
    },
    /// TLS failed: most often a certificate that the given authority has not signed.
    #[error("TLS with {address} failed: {source}")]
    Tls {
        /// The host and port.
        address: String,
        /// What was wrong.
        source: io::Error,
        /// Whether the server may just not have its certificate yet: a tablet server gets it from a master once it has started.
        retriable: bool,
    },
    /// A server refused a call before it looked at what was asked.
    #[error("{address} refused {method}: {message}")]
    Call {
        /// The host and port.
        address: String,
        /// The method that was called.
        method: &'static str,
        /// The number of the refusal in Kudu's protocol.
        code: i32,
        /// What the server said.
        message: String,
    },
    /// The leader master refused what was asked.
    #[error("the master refused {method}: {status}")]
    Master {
        /// The method that was called.
        method: &'static str,
        /// The number of the refusal in Kudu's protocol.
        code: i32,
        /// What the master said.
        status: Status,
    },
    /// A tablet server refused what was asked of a tablet.
    #[error("tablet {tablet} at {address} refused: {status}")]
    Tablet {
        /// The tablet's id.
        tablet: String,
        /// The host and port.
        address: String,
        /// The number of the refusal in Kudu's protocol.
        code: i32,
        /// What the tablet server said.
        status: Status,
    },
    /// None of the masters leads.
    #[error("expected a leader among the masters {masters}: {reason}")]
    NoLeader {
        /// The masters that were asked.
        masters: String,
        /// What each of them said.
        reason: String,
        /// Whether a later try may find one.
        retriable: bool,
    },
    /// No range partition of the table covers a row.
    #[error("table {table}: no range partition covers the row")]
    NotCovered {
        /// The table's name.
        table: String,
    },
    /// The time for all tries is over. What was asked may have been done nevertheless where `uncertain` is set.
    #[error("{what} was not done within {} ms: {last}", .within.as_millis())]
    TimedOut {
        /// What was asked.
        what: String,
        /// The time it had.
        within: Duration,
        /// The last failure.
        last: String,
        /// Whether a server may have carried it out without an answer coming back.
        uncertain: bool,
    },
    /// A value does not fit its column.
    #[error("column {column}: {reason}")]
    Column {
        /// The column's name.
        column: String,
        /// What was expected and what came.
        reason: String,
    },
    /// What the caller asked for makes no sense, whatever the server says.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// Whether the same may succeed later, with nothing changed by the caller.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::ConnectionLost { .. } | Error::TimedOut { .. } => true,
            Error::NoLeader { retriable, .. } | Error::Tls { retriable, .. } => *retriable,
            Error::Call { code, .. } => is_retriable_call(*code),
            Error::Master { code, status, .. } => is_retriable_master(*code, status),
            Error::Tablet { code, status, .. } => is_retriable_tablet(*code, status),
            Error::Protocol { .. } | Error::Negotiation { .. } => false,
            Error::NotCovered { .. } | Error::Column { .. } | Error::Invalid(_) => false,
        }
    }

    /// Whether it says that the table is not there.
    pub fn is_table_missing(&self) -> bool {
        matches!(self, Error::Master { code: master::code::TABLE_NOT_FOUND, .. })
    }

    /// Whether it says that a table of that name is there already.
    pub fn is_table_present(&self) -> bool {
        matches!(self, Error::Master { code: master::code::TABLE_ALREADY_PRESENT, .. })
    }

    /// Whether it says that the table has other columns now: open it again.
    pub fn is_schema_outdated(&self) -> bool {
        use tserver::code::{INVALID_SCHEMA, MISMATCHED_SCHEMA};
        matches!(self, Error::Tablet { code: INVALID_SCHEMA | MISMATCHED_SCHEMA, .. })
    }

    /// The general code that is nearest.
    pub fn code(&self) -> Code {
        match self {
            Error::Master { status, .. } | Error::Tablet { status, .. } => status.code,
            Error::TimedOut { .. } => Code::TimedOut,
            Error::Connect { .. } | Error::ConnectionLost { .. } | Error::NoLeader { .. } => Code::NetworkError,
            Error::Call { code, .. } if is_retriable_call(*code) => Code::ServiceUnavailable,
            Error::NotCovered { .. } => Code::NotFound,
            Error::Column { .. } | Error::Invalid(_) => Code::InvalidArgument,
            Error::Negotiation { .. } | Error::Tls { .. } => Code::NotAuthorized,
            Error::Call { .. } | Error::Protocol { .. } => Code::RemoteError,
        }
    }

    /// Whether a server may have done what was asked though no answer came.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Error::ConnectionLost { .. } => true,
            Error::TimedOut { uncertain, .. } => *uncertain,
            // It is not known whether the operation that the leader had begun was replicated.
            Error::Tablet { status, .. } => matches!(status.code, Code::TimedOut | Code::Aborted),
            Error::Call { code, .. } => *code == rpc::code::REQUEST_STALE,
            _ => false,
        }
    }

    pub(crate) fn column(column: &str, reason: impl Into<String>) -> Self {
        Error::Column { column: column.to_owned(), reason: reason.into() }
    }

    pub(crate) fn protocol(address: &str, expected: &'static str, got: impl Into<String>) -> Self {
        Error::Protocol { address: address.to_owned(), expected, got: got.into() }
    }
}

fn is_retriable_call(code: i32) -> bool {
    use rpc::code::{
        FATAL_INVALID_AUTHENTICATION_TOKEN, FATAL_SERVER_SHUTTING_DOWN, INVALID_AUTHORIZATION_TOKEN, SERVER_TOO_BUSY,
        UNAVAILABLE,
    };
    // Tokens are asked for anew before the next try.
    let tokens = [FATAL_INVALID_AUTHENTICATION_TOKEN, INVALID_AUTHORIZATION_TOKEN];
    [SERVER_TOO_BUSY, UNAVAILABLE, FATAL_SERVER_SHUTTING_DOWN].contains(&code) || tokens.contains(&code)
}

fn is_retriable_master(code: i32, status: &Status) -> bool {
    use master::code::{CATALOG_MANAGER_NOT_INITIALIZED, NOT_THE_LEADER, TABLET_NOT_RUNNING, UNKNOWN_ERROR};
    match code {
        CATALOG_MANAGER_NOT_INITIALIZED | NOT_THE_LEADER | TABLET_NOT_RUNNING => true,
        UNKNOWN_ERROR => matches!(status.code, Code::ServiceUnavailable | Code::TimedOut | Code::NetworkError),
        _ => status.code == Code::ServiceUnavailable,
    }
}

fn is_retriable_tablet(code: i32, status: &Status) -> bool {
    use tserver::code::{
        NOT_THE_LEADER, TABLET_FAILED, TABLET_NOT_FOUND, TABLET_NOT_RUNNING, THROTTLED, UNKNOWN_ERROR,
        WRONG_SERVER_UUID,
    };
    match code {
        TABLET_NOT_FOUND | TABLET_NOT_RUNNING | TABLET_FAILED | NOT_THE_LEADER | THROTTLED | WRONG_SERVER_UUID => true,
        UNKNOWN_ERROR => {
            matches!(status.code, Code::ServiceUnavailable | Code::TimedOut | Code::Aborted | Code::IllegalState)
        }
        _ => status.code == Code::ServiceUnavailable,
    }
}

/// What a server tells of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What kind of failure.
    pub code: Code,
    /// The server's words.
    pub message: String,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl From<common::AppStatus> for Status {
    fn from(status: common::AppStatus) -> Self {
        Status { code: Code::from_wire(status.code), message: status.message.unwrap_or_default() }
    }
}

/// Kinds of failure, as Kudu's servers tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of Kudu, and say all that Kudu says of them")]
pub enum Code {
    Unknown,
    NotFound,
    Corruption,
    NotSupported,
    InvalidArgument,
    IoError,
    AlreadyPresent,
    RuntimeError,
    NetworkError,
    IllegalState,
    NotAuthorized,
    Aborted,
    RemoteError,
    ServiceUnavailable,
    TimedOut,
    Uninitialized,
    ConfigurationError,
    Incomplete,
    EndOfFile,
    Cancelled,
    Immutable,
}

impl Code {
    /// In the order of Kudu's numbers, from 1.
    const ALL: [Code; 20] = [
        Code::NotFound,
        Code::Corruption,
        Code::NotSupported,
        Code::InvalidArgument,
        Code::IoError,
        Code::AlreadyPresent,
        Code::RuntimeError,
        Code::NetworkError,
        Code::IllegalState,
        Code::NotAuthorized,
        Code::Aborted,
        Code::RemoteError,
        Code::ServiceUnavailable,
        Code::TimedOut,
        Code::Uninitialized,
        Code::ConfigurationError,
        Code::Incomplete,
        Code::EndOfFile,
        Code::Cancelled,
        Code::Immutable,
    ];

    fn from_wire(number: i32) -> Self {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        index.and_then(|index| Self::ALL.get(index)).copied().unwrap_or(Code::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablet(code: i32, status: Code) -> Error {
        let status = Status { code: status, message: String::new() };
        Error::Tablet { tablet: "t".to_owned(), address: "a:1".to_owned(), code, status }
    }

    #[test]
    fn codes_have_the_numbers_of_the_protocol() {
        assert_eq!(Code::from_wire(1), Code::NotFound);
        assert_eq!(Code::from_wire(6), Code::AlreadyPresent);
        assert_eq!(Code::from_wire(14), Code::TimedOut);
        assert_eq!(Code::from_wire(20), Code::Immutable);
        assert_eq!(Code::from_wire(999), Code::Unknown);
        assert_eq!(Code::from_wire(0), Code::Unknown);
    }

    #[test]
    fn a_tablet_that_moves_is_tried_again_and_a_wrong_schema_is_not() {
        assert!(tablet(tserver::code::NOT_THE_LEADER, Code::IllegalState).is_retriable());
        assert!(tablet(tserver::code::UNKNOWN_ERROR, Code::ServiceUnavailable).is_retriable());
        let outdated = tablet(tserver::code::MISMATCHED_SCHEMA, Code::InvalidArgument);
        assert!(outdated.is_schema_outdated() && !outdated.is_retriable());
        assert!(!tablet(tserver::code::UNKNOWN_ERROR, Code::NotFound).is_retriable());
    }

    #[test]
    fn an_operation_that_the_old_leader_dropped_leaves_doubt() {
        assert!(tablet(tserver::code::UNKNOWN_ERROR, Code::Aborted).leaves_doubt());
        assert!(!tablet(tserver::code::NOT_THE_LEADER, Code::IllegalState).leaves_doubt());
    }
}
