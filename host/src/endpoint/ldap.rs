//! The client of an LDAP directory: its connection, searches by the operator's filter, and the proof of a password by a bind.
//!
//! The protocol is the crate `ldap3`'s. One connection carries all searches, which do not wait for each other; a password is proved on
//! one of its own. Knows no plugin and keeps no answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, ResultEntry, SearchEntry, SearchOptions};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::config::{LdapServer, Scope, Search};
use crate::tls;

/// Result codes of RFC 4511, appendix A.
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_CREDENTIALS: u32 = 49;
/// What a search asks for: one entry, and whether there are more.
const ENTRIES_MAX: i32 = 2;

/// Why a directory did not answer, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A secret or a certificate cannot be read, or is none.
    #[error("{0}")]
    Here(String),
    /// There is no connection, or it broke off.
    #[error("the directory cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("the directory did not answer in time")]
    Timeout,
    /// It does not know who asks.
    #[error("the directory refuses the login of {0:?}: its password is wrong, or there is no such entry")]
    Login(String),
    /// It answered with an error.
    #[error("the directory answers {0}")]
    Answer(Code),
}

impl Trouble {
    /// Whether the base of a search is not there, or may not be seen.
    pub fn is_no_object(&self) -> bool {
        matches!(self, Trouble::Answer(Code { number: NO_SUCH_OBJECT, .. }))
    }
}

/// An error of a directory.
#[derive(Debug)]
pub struct Code {
    number: u32,
    text: String,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.number {
            1 => "operationsError",
            2 => "protocolError",
            3 => "timeLimitExceeded",
            8 => "strongerAuthRequired",
            11 => "adminLimitExceeded",
            13 => "confidentialityRequired",
            32 => "noSuchObject: is the base right, and may who asks read it?",
            34 => "invalidDNSyntax",
            48 => "inappropriateAuthentication",
            50 => "insufficientAccessRights",
            51 => "busy",
            52 => "unavailable",
            53 => "unwillingToPerform",
            _ => "an error",
        };
        write!(f, "with the code {} ({name})", self.number)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl From<LdapError> for Trouble {
    fn from(error: LdapError) -> Self {
        match error {
            LdapError::Timeout { .. } => Trouble::Timeout,
            LdapError::LdapResult { result } => result.into(),
            error => Trouble::Unreachable(error.to_string()),
        }
    }
}

impl From<LdapResult> for Trouble {
    fn from(LdapResult { rc, text, .. }: LdapResult) -> Self {
        Trouble::Answer(Code { number: rc, text })
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No entry.
    Nothing,
    /// One: its distinguished name, and what of it is told.
    One(String, Map<String, Value>),
    /// More than one: nobody knows which is meant.
    Several,
}

/// The client of one directory.
pub struct Client {
    server: LdapServer,
    connection: Mutex<Kept>,
}

/// The connection that carries searches, and how many there were before it.
#[derive(Default)]
struct Kept {
    ldap: Option<Ldap>,
    number: u64,
}

impl Client {
    /// A client that has connected to nothing yet.
    pub fn new(server: LdapServer) -> Self {
        Client { server, connection: Mutex::default() }
    }

    /// Looks for the one entry that a filter with these values matches. `deadline` bounds it, and the endpoint's time each part.
    pub async fn search(&self, search: &Search, values: &[&[u8]], deadline: Instant) -> Result<Found, Trouble> {
        let filter = search.filter.with(values);
        let (number, ldap) = self.connected(deadline).await?;
        let found = self.search_on(ldap, search, &filter, deadline).await;
        if matches!(found, Err(Trouble::Unreachable(_) | Trouble::Timeout)) {
            // It may be that nobody is at its other end.
            let mut kept = self.connection.lock().await;
            if kept.number == number {
                kept.ldap = None;
            }
        }
        match found {
            // The server may have closed it while nobody asked: a new connection tells.
            Err(Trouble::Unreachable(_)) => {
                let (_, ldap) = self.connected(deadline).await?;
                self.search_on(ldap, search, &filter, deadline).await
            }
            done => done,
        }
    }

    async fn search_on(
        &self,
        mut ldap: Ldap,
        search: &Search,
        filter: &str,
        deadline: Instant,
    ) -> Result<Found, Trouble> {
        let scope = match search.scope {
            Scope::Subtree => ldap3::Scope::Subtree,
            Scope::One => ldap3::Scope::OneLevel,
            Scope::Base => ldap3::Scope::Base,
        };
        // Without any, all would come; "1.1" is none (RFC 4511, 4.5.1.8).
        let wanted = search.attributes.iter().map(String::as_str).filter(|name| !name.eq_ignore_ascii_case("dn"));
        let wanted: Vec<&str> = wanted.chain(["1.1"]).collect();
        ldap.with_timeout(self.until(deadline)).with_search_options(SearchOptions::new().sizelimit(ENTRIES_MAX));
        let found = ldap.search(&search.base, scope, filter, wanted).await?;
        if !matches!(found.1.rc, SUCCESS | SIZE_LIMIT_EXCEEDED) {
            return Err(found.1.into());
        }
        if found.1.rc == SIZE_LIMIT_EXCEEDED {
            return Ok(Found::Several);
        }
        let mut entries = found.0.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
        Ok(match (entries.next(), entries.next()) {
            (None, _) => Found::Nothing,
            (Some(entry), None) => told(entry, search),
            (Some(_), Some(_)) => Found::Several,
        })
    }

    /// Whether a password is that of an entry, by a bind. An empty one never is: the server would take it for nobody's, and agree.
    pub async fn proves(&self, dn: &str, password: &str, deadline: Instant) -> Result<bool, Trouble> {
        if password.is_empty() || dn.is_empty() {
            return Ok(false);
        }
        let mut ldap = self.connect(deadline).await?;
        ldap.with_timeout(self.until(deadline));
        let bound = ldap.simple_bind(dn, password).await;
        drop(ldap.unbind().await);
        match bound? {
            LdapResult { rc: SUCCESS, .. } => Ok(true),
            LdapResult { rc: INVALID_CREDENTIALS, .. } => Ok(false),
            other => Err(other.into()),
        }
    }

    fn until(&self, deadline: Instant) -> Duration {
        self.server.timeout.min(deadline.saturating_duration_since(Instant::now()))
    }

    /// The connection, made where there is none.
    async fn connected(&self, deadline: Instant) -> Result<(u64, Ldap), Trouble> {
        let mut kept = self.connection.lock().await;
        let number = kept.number;
        if let Some(ldap) = kept.ldap.as_mut()
            && !ldap.is_closed()
        {
            return Ok((number, ldap.clone()));
        }
        let mut ldap = self.connect(deadline).await?;
        if let Some((dn, password)) = &self.server.login {
            let secret = password.clone();
            let revealed = tokio::task::spawn_blocking(move || secret.reveal()).await;
            let revealed = revealed.map_err(|error| Trouble::Here(error.to_string()))?;
            let revealed = revealed.map_err(|error| Trouble::Here(error.to_string()))?;
            if revealed.expose().is_empty() {
                return Err(Trouble::Here(format!(
                    "the password of {dn:?} is empty: a server would take that for nobody's"
                )));
            }
            ldap.with_timeout(self.until(deadline));
            match ldap.simple_bind(dn, revealed.expose()).await? {
                LdapResult { rc: SUCCESS, .. } => {}
                LdapResult { rc: INVALID_CREDENTIALS, .. } => return Err(Trouble::Login(dn.clone())),
                other => return Err(other.into()),
            }
        }
        *kept = Kept { ldap: Some(ldap.clone()), number: number + 1 };
        Ok((number + 1, ldap))
    }

    async fn connect(&self, deadline: Instant) -> Result<Ldap, Trouble> {
        let LdapServer { url, is_plaintext, tls, .. } = &self.server;
        let mut settings = LdapConnSettings::new();
        if url.scheme() == "ldaps" || !is_plaintext {
            // Certificates are read anew each time: they may have been replaced.
            let tls = tls.clone();
            let made = tokio::task::spawn_blocking(move || tls::client(&tls)).await;
            let made = made.map_err(|error| Trouble::Here(error.to_string()))?;
            let made = made.map_err(|error| Trouble::Here(error.to_string()))?;
            settings = settings.set_config(Arc::new(made)).set_starttls(url.scheme() == "ldap");
        }
        let until = Instant::now() + self.until(deadline);
        let connecting = LdapConnAsync::with_settings(settings, url.as_str());
        let (connection, ldap) = timeout_at(until, connecting).await.map_err(|_| Trouble::Timeout)??;
        tokio::spawn(async move { drop(connection.drive().await) });
        Ok(ldap)
    }
}

/// What of an entry is told, by the names that were asked for: a server may write them otherwise.
fn told(entry: ResultEntry, search: &Search) -> Found {
    let SearchEntry { dn, attrs, bin_attrs } = SearchEntry::construct(entry);
    let mut told = Map::new();
    for name in &search.attributes {
        if name.eq_ignore_ascii_case("dn") {
            told.insert(name.clone(), dn.clone().into());
            continue;
        }
        let is_it = |given: &str| given.eq_ignore_ascii_case(name);
        let texts = attrs.iter().filter(|(given, _)| is_it(given)).flat_map(|(_, values)| values.iter().cloned());
        let bytes = bin_attrs.iter().filter(|(given, _)| is_it(given)).flat_map(|(_, values)| values);
        let mut values: Vec<Value> =
            texts.map(Value::from).chain(bytes.map(|bytes| BASE64.encode(bytes).into())).collect();
        let is_list = search.lists.iter().any(|list| list == name);
        let value = match (values.len(), is_list) {
            (0, false) => continue,
            (1, false) => values.remove(0),
            _ => Value::Array(values),
        };
        told.insert(name.clone(), value);
    }
    Found::One(dn, told)
}
