//! What a caller says of a cluster and of the time that things may take.

use std::time::Duration;

use crate::error::{Error, Result};

/// Where masters listen unless an address says otherwise.
const MASTER_PORT: u16 = 7051;

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encryption {
    /// Where the server can, which is Kudu's default.
    #[default]
    Preferred,
    /// Always: a server that cannot is refused.
    Required,
    /// Never, unless the server insists, and then nothing comes about.
    Off,
}

/// A cluster, and how it is talked to.
#[derive(Clone)]
pub struct Options {
    pub(crate) masters: Vec<String>,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) encryption: Encryption,
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) timeout: Duration,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Options { masters, user, encryption, timeout, authority, password: _ } = self;
        let mut out = f.debug_struct("Options");
        out.field("masters", masters).field("user", user).field("encryption", encryption).field("timeout", timeout);
        out.field("has_authority", &authority.is_some()).finish_non_exhaustive()
    }
}

impl Options {
    /// A cluster by the addresses of its masters, each `host:port` or a host alone. Some of them are enough: the others are
    /// learned from those that answer.
    pub fn new<S: Into<String>>(masters: impl IntoIterator<Item = S>) -> Self {
        Options {
            masters: masters.into_iter().map(Into::into).collect(),
            user: "kudu-client".to_owned(),
            password: String::new(),
            encryption: Encryption::default(),
            authority: None,
            timeout: Duration::from_secs(30),
        }
    }

    /// Who this is. Kudu believes it unless something in front of it checks the password.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        (self.user, self.password) = (user.into(), password.into());
        self
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = encryption;
        self
    }

    /// The certificates of authorities, as PEM: servers without a certificate by one of them are refused, masters too.
    /// Implies encryption.
    ///
    /// Without it, masters are believed, and tablet servers need a certificate by the authority that the master names: as
    /// with Kudu's own clients. Names in certificates are not looked at, as Kudu's own authority knows machines by others.
    #[must_use]
    pub fn authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self.encryption = Encryption::Required;
        self
    }

    /// How long one operation may take, all tries together. 30 s unless set.
    ///
    /// Stay below 10 minutes: for so long servers remember how a write ended, which is what makes its repetition harmless.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The addresses as host and port.
    pub(crate) fn addresses(&self) -> Result<Vec<Address>> {
        if self.masters.is_empty() {
            return Err(Error::Invalid("expected the address of a master, got none".to_owned()));
        }
        self.masters.iter().map(|text| Address::parse(text)).collect()
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    fn parse(text: &str) -> Result<Self> {
        let error = || Error::Invalid(format!("expected the address of a master as host:port, got {text:?}"));
        let text = text.trim();
        // An address of IPv6 has its colons in brackets where a port follows.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().map_err(|_| error())?)
            }
            _ => (text, MASTER_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 {
            return Err(error());
        }
        Ok(Address { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for (text, shown) in [
            ("kudu:7052", "kudu:7052"),
            ("kudu", "kudu:7051"),
            ("[::1]:7053", "[::1]:7053"),
            ("::1", "[::1]:7051"),
            (" 127.0.0.1:1 ", "127.0.0.1:1"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for wrong in ["", ":7051", "kudu:port", "kudu:0", "kudu:70000"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Options::new(Vec::<String>::new()).addresses().is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        let options = Options::new(["kudu"]).user("weir", "open sesame");
        assert!(!format!("{options:?}").contains("sesame"));
    }
}
