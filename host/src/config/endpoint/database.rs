//! Settings of databases that a plugin may be granted.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::lookup::{Cache, cache};
use crate::config::Secret;
use crate::config::build::Secrets;
use crate::config::client::{ClientTls, client_tls, secret};
use crate::config::shape;
use crate::config::view::{Result, View};
use crate::config::yaml::Node;

/// A database that a plugin may be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is.
    pub address: Address,
    /// The password of its user, where there is one.
    pub password: Option<Secret>,
    /// Whom to trust and what to show. `None`: no TLS.
    pub tls: Option<ClientTls>,
    /// Connections at once, of all plugins together. Default 8.
    pub connections_max: u32,
    /// How long a connection or a transaction may take. Default 30 s.
    pub timeout: Duration,
    /// What is kept of answers to lookups.
    pub cache: Cache,
}

/// The language and protocol of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL and MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgres,
    /// Apache Impala, by HiveServer2.
    Impala,
    /// Apache Hive, by HiveServer2.
    Hive,
    /// Apache Spark SQL, by HiveServer2.
    Spark,
}

impl Dialect {
    /// Its word in the pipeline file, which is the scheme of its URLs too.
    pub fn word(self) -> &'static str {
        match self {
            Dialect::Mysql => "mysql",
            Dialect::Postgres => "postgres",
            Dialect::Impala => "impala",
            Dialect::Hive => "hive",
            Dialect::Spark => "spark",
        }
    }

    pub(super) fn of(word: &str) -> Option<Dialect> {
        use Dialect::{Hive, Impala, Mysql, Postgres, Spark};
        [Mysql, Postgres, Impala, Hive, Spark].into_iter().find(|dialect| dialect.word() == word)
    }
}

/// Where a database is, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The database's name on that server.
    pub database: String,
}

/// An endpoint of a checked file.
pub(super) fn endpoint(
    view: View<'_>,
    name: &Arc<str>,
    node: &Node,
    secrets: &Secrets,
    dialect: Dialect,
) -> Result<Database> {
    let shape = match dialect {
        Dialect::Mysql => &shape::MYSQL_ENDPOINT,
        Dialect::Postgres => &shape::POSTGRES_ENDPOINT,
        Dialect::Impala => &shape::IMPALA_ENDPOINT,
        Dialect::Hive => &shape::HIVE_ENDPOINT,
        Dialect::Spark => &shape::SPARK_ENDPOINT,
    };
    let view = View { node: Some(node), shape, ..view };
    let tls = || client_tls(view.group("tls", &shape::CLIENT_TLS));
    Ok(Database {
        name: name.clone(),
        dialect,
        address: address(&view.text("url")?, dialect).map_err(|_| view.unread("url"))?,
        password: view.has("password").then(|| secret(view, "password", secrets)).transpose()?,
        tls: view.has("tls").then(tls).transpose()?,
        connections_max: view.number("connections_max")?,
        timeout: view.duration("timeout")?,
        cache: cache(view)?,
    })
}

/// Reads where a database is.
pub fn address(text: &str, dialect: Dialect) -> std::result::Result<Address, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    if url.scheme() != dialect.word() {
        return Err(format!("the URL begins with `{}:`, expected `{}:`", url.scheme(), dialect.word()));
    }
    if url.password().is_some() {
        return Err("the URL holds a password; that has a key of its own, `password`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL has a query or a fragment; what can be set has keys of its own".into());
    }
    let read = |part: &str| -> std::result::Result<String, String> {
        let bytes: Vec<u8> = percent_decoded(part);
        String::from_utf8(bytes).map_err(|_| format!("{part:?} is not UTF-8"))
    };
    let database = url.path().trim_start_matches('/');
    if url.username().is_empty() || database.is_empty() || database.contains('/') {
        return Err("the URL lacks a user or a database".into());
    }
    let port = match dialect {
        Dialect::Mysql => 3306,
        Dialect::Postgres => 5432,
        Dialect::Impala => 21050,
        Dialect::Hive | Dialect::Spark => 10000,
    };
    Ok(Address {
        host: url.host_str().ok_or("the URL lacks a host")?.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(port),
        user: read(url.username())?,
        database: read(database)?,
    })
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let coded = tail.first_chunk::<2>().filter(|_| *first == b'%');
        let hex = coded.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_user_host_and_database_and_holds_no_password() {
        let expected = Address { host: "::1".into(), port: 5432, user: "we@ir".into(), database: "shop".into() };
        assert_eq!(address("postgres://we%40ir@[::1]/shop", Dialect::Postgres).unwrap(), expected);
        assert_eq!(address("mysql://u@db:1/s", Dialect::Mysql).unwrap().port, 1);
        let named = address("impala://uid=etl,ou=people,dc=example@impala-1/default", Dialect::Impala).unwrap();
        assert_eq!((named.user.as_str(), named.port), ("uid=etl,ou=people,dc=example", 21050));
        let wrong = ["mysql://u:p@db/s", "mysql://db/s", "mysql://u@db", "mysql://u@db/", "mysql://u@db/s?x=1", "db"];
        for wrong in wrong.into_iter().chain(["postgres://u@db/s", "mysql://u@db/a/b"]) {
            assert!(address(wrong, Dialect::Mysql).is_err(), "{wrong}");
        }
    }
}
