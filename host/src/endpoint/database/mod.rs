//! The client of a database: its connections, how many there are, and what is tried again.
//!
//! A transaction is one call, so a connection is never held by a plugin. What failed before its commit was not done, and is tried
//! again where that helps; what was lost in its commit is told as such. Knows no plugin, and of SQL only what may not be said.

mod hiveserver2;
mod mysql;
mod postgres;
mod statement;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

pub use statement::{Access, Outcome, Statement};

use crate::config::{Database, Dialect};
use crate::endpoint::teller::Teller;

/// How often a transaction that was in conflict with others is tried again.
const CONFLICTS_MAX: u32 = 5;
/// The pause after a conflict; doubled each time.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);
/// The pause before the next try to connect; doubled each time, up to the longest.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why a transaction did not come about; see `wit/database.wit`. The texts are for plugins: they hold no address and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    #[error("the database refuses it: {0}")]
    Refused(String),
    /// There is no connection. Nothing was done.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// It did not answer in time. Nothing was done.
    #[error("the database did not answer in time")]
    Timeout,
    /// A deadlock, or what could not be serialised. Nothing was done.
    #[error("in conflict with others: {0}")]
    Conflict(String),
    /// The connection was lost during the commit.
    #[error("it is not known whether it was done: {0}")]
    Unknown(String),
    /// A table or column is not there.
    #[error("something is missing: {0}")]
    Missing(String),
    /// Something is wrong with the values of one execution.
    #[error("the database does not take a row: {message}")]
    Wrong {
        /// Which statement.
        statement: u32,
        /// Which execution of it.
        row: u32,
        /// In the database's words.
        message: String,
    },
    /// A statement affected another number of rows.
    #[error("a statement affected {0} rows")]
    Unexpected(u64),
    /// It returns more bytes than it may.
    #[error("it returns more than {0} bytes")]
    TooLarge(u64),
}

/// What became of a connection whose transaction failed.
#[derive(Debug)]
struct Broken {
    failure: Failure,
    /// Whether the connection is as good as before: the transaction was rolled back.
    is_usable: bool,
}

/// Something is wrong with a connection that could not be made. For the operator alone.
#[derive(Debug, thiserror::Error)]
#[error("the database cannot be connected to: {0}")]
struct NotConnected(String);

enum Connection {
    Mysql(Box<mysql::Connection>),
    Postgres(Box<postgres::Connection>),
    HiveServer2(Box<hiveserver2::Connection>),
}

/// The client of one endpoint.
pub struct Client {
    settings: Arc<Database>,
    slots: Semaphore,
    idle: Mutex<Vec<Connection>>,
    teller: Teller,
}

impl Client {
    /// A client that has connected to nothing yet.
    pub fn new(settings: Arc<Database>) -> Self {
        let slots = Semaphore::new(settings.connections_max as usize);
        let teller = Teller::of(&settings.name);
        Client { settings, slots, idle: Mutex::default(), teller }
    }

    /// Whose client it is.
    pub fn settings(&self) -> &Arc<Database> {
        &self.settings
    }

    /// Runs statements in one transaction. Goes on trying until `deadline` while there is no connection.
    pub async fn transact(
        &self,
        statements: &[Statement],
        access: Access,
        deadline: Instant,
        bytes_max: usize,
    ) -> Result<Vec<Outcome>, Failure> {
        statements.iter().try_for_each(Statement::check)?;
        let _slot = match timeout_at(deadline, self.slots.acquire()).await {
            Ok(Ok(slot)) => slot,
            // It is never closed.
            Ok(Err(_)) | Err(_) => return Err(Failure::Timeout),
        };
        let (mut conflicts, mut pause) = (0, CONNECT_PAUSE);
        loop {
            let failure = match self.once(statements, access, deadline, bytes_max).await {
                Err(failure) => failure,
                done => return done,
            };
            let pause = match &failure {
                Failure::Conflict(_) if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    CONFLICT_PAUSE * (1 << conflicts)
                }
                Failure::Unavailable(_) => {
                    let now = pause;
                    pause = (pause * 2).min(CONNECT_PAUSE_MAX);
                    now
                }
                _ => return Err(failure),
            };
            if Instant::now() + pause >= deadline {
                return Err(failure);
            }
            sleep(pause).await;
        }
    }

    async fn once(
        &self,
        statements: &[Statement],
        access: Access,
        deadline: Instant,
        bytes_max: usize,
    ) -> Result<Vec<Outcome>, Failure> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(deadline).await?,
            };
            let until = deadline.min(Instant::now() + self.settings.timeout);
            let done = match &mut connection {
                Connection::Mysql(connection) => connection.transact(statements, access, until, bytes_max).await,
                Connection::Postgres(connection) => connection.transact(statements, access, until, bytes_max).await,
                Connection::HiveServer2(connection) => connection.transact(statements, access, until, bytes_max).await,
            };
            if done.as_ref().err().is_none_or(|broken| broken.is_usable) {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            match done {
                // The server may have closed it while nobody needed it: the next one tells.
                Err(Broken { failure: Failure::Unavailable(_), is_usable: false }) if is_kept => {}
                done => return done.map_err(|broken| broken.failure),
            }
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, Failure> {
        let until = deadline.min(Instant::now() + self.settings.timeout);
        let connected = timeout_at(until, self.connected()).await;
        connected.unwrap_or_else(|_| Err(NotConnected("it takes too long".into()))).map_err(|error| {
            self.teller.tell(&error);
            Failure::Unavailable("it cannot be connected to; the appliance's log says why".into())
        })
    }

    async fn connected(&self) -> Result<Connection, NotConnected> {
        let settings = self.settings.clone();
        // Secrets and certificates are read anew each time: they may have been replaced.
        let password = move || settings.password.as_ref().map(|secret| secret.reveal()).transpose();
        let password = tokio::task::spawn_blocking(password).await;
        let password = password.map_err(|error| NotConnected(error.to_string()))?;
        let password = password.map_err(|error| NotConnected(error.to_string()))?;
        let password = password.as_ref().map(|password| password.expose());
        Ok(match self.settings.dialect {
            Dialect::Mysql => Connection::Mysql(Box::new(mysql::connect(&self.settings, password).await?)),
            Dialect::Postgres => Connection::Postgres(Box::new(postgres::connect(&self.settings, password).await?)),
            Dialect::Impala => self.hiveserver2(password, hiveserver2::Dialect::Impala).await?,
            Dialect::Hive => self.hiveserver2(password, hiveserver2::Dialect::Hive).await?,
            Dialect::Spark => self.hiveserver2(password, hiveserver2::Dialect::Spark).await?,
        })
    }

    async fn hiveserver2(
        &self,
        password: Option<&str>,
        dialect: hiveserver2::Dialect,
    ) -> Result<Connection, NotConnected> {
        let connection = hiveserver2::connect(&self.settings, password, dialect).await?;
        Ok(Connection::HiveServer2(Box::new(connection)))
    }
}

/// What a failure is called where the transaction was being committed: then nobody knows.
fn in_commit(failure: Failure) -> Failure {
    match failure {
        Failure::Unavailable(why) => Failure::Unknown(why),
        Failure::Timeout => Failure::Unknown("no answer to the commit in time".into()),
        known => known,
    }
}
