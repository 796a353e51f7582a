//! What a caller says of a server, and who the caller is.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::literal::Dialect;

/// A server, and how it is talked to.
#[derive(Debug, Clone)]
pub struct Options {
    /// A name or an address.
    pub host: String,
    /// 21050 of Impala, 10000 of Hive and Spark, unless configured otherwise.
    pub port: u16,
    /// What kind of server it is.
    pub dialect: Dialect,
    /// Who this is.
    pub login: Login,
    /// TLS from the first byte on, with the authorities that are believed.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// How long it may take until a session is there, all steps together.
    pub connect_timeout: Duration,
    /// Settings of the session, as `SET` has them.
    pub settings: Vec<(String, String)>,
    /// The database whose tables need no name in front.
    pub database: Option<String>,
}

/// Who a client is.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Nobody asks: no SASL (`NOSASL` of Hive and Spark, Impala without LDAP and Kerberos).
    None,
    /// SASL PLAIN, which LDAP is behind. The password crosses as it is: use TLS.
    Plain {
        /// A name, or a distinguished name where the server takes it.
        user: String,
        /// Never empty: an LDAP server takes an empty one as a wish to be nobody, and grants it.
        password: String,
    },
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Login::None => f.write_str("None"),
            Login::Plain { user, password: _ } => f.debug_struct("Plain").field("user", user).finish_non_exhaustive(),
        }
    }
}

impl Login {
    /// Refuses what a server might take for somebody else.
    pub(crate) fn check(&self) -> Result<()> {
        let Login::Plain { user, password } = self else { return Ok(()) };
        let wrong = if user.is_empty() {
            "expected the name of a user, got an empty one"
        } else if password.is_empty() {
            "expected a password, got an empty one"
        } else if user.contains('\0') || password.contains('\0') {
            "expected a user and a password without NUL"
        } else {
            return Ok(());
        };
        Err(Error::Login(wrong.to_owned()))
    }

    /// The message of SASL PLAIN (RFC 4616).
    pub(crate) fn message(user: &str, password: &str) -> Vec<u8> {
        format!("\0{user}\0{password}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown_and_never_empty() {
        let login = |user: &str, password: &str| Login::Plain { user: user.to_owned(), password: password.to_owned() };
        assert_eq!(format!("{:?}", login("etl", "open sesame")), "Plain { user: \"etl\", .. }");
        assert!(login("etl", "open sesame").check().is_ok() && Login::None.check().is_ok());
        for (user, password) in [("etl", ""), ("", "x"), ("etl", "\0x"), ("etl\0root", "x")] {
            assert!(matches!(login(user, password).check(), Err(Error::Login(_))), "{user:?} {password:?}");
        }
    }
}
