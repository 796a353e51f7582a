//! Transactions in PostgreSQL, over a connection of crate `tokio-postgres`; socket and TLS are ours.
//!
//! Values go there as text, which the server reads as the type that it expects, so no type is known here but those that are read.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, TryStreamExt, pin_mut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls, Row};
use tokio_rustls::TlsConnector;

use super::{Access, Broken, Failure, NotConnected, Outcome, Statement, in_commit};
use crate::config::Database;
use crate::endpoint::cells::{Cell, Cells};
use crate::tls;

/// Statements that a connection keeps prepared.
const PREPARED_MAX: usize = 64;
/// Executions of a statement that are on their way at once.
const AHEAD_MAX: usize = 256;
/// What a statement must mean, whatever the server is set to.
const SETUP: &str =
    "SET TIME ZONE 'UTC'; SET standard_conforming_strings = on; SET default_transaction_isolation = 'read committed'";

type Prepared = HashMap<String, tokio_postgres::Statement>;

/// A connection, and the task that moves its bytes.
pub(super) struct Connection {
    client: Client,
    prepared: Prepared,
    mover: JoinHandle<()>,
}

impl Drop for Connection {
    /// What is abandoned midway must not wait for a server that does not answer.
    fn drop(&mut self) {
        self.mover.abort();
    }
}

/// Connects.
pub(super) async fn connect(settings: &Database, password: Option<&str>) -> Result<Connection, NotConnected> {
    let address = &settings.address;
    let mut config = Config::new();
    config.user(&address.user).dbname(&address.database).application_name("weir");
    if let Some(password) = password {
        config.password(password);
    }
    let opened = TcpStream::connect((address.host.as_str(), address.port)).await;
    let socket = opened.map_err(|error| NotConnected(error.to_string()))?;
    socket.set_nodelay(true).map_err(|error| NotConnected(error.to_string()))?;
    let (client, mover) = match &settings.tls {
        None => {
            config.ssl_mode(SslMode::Disable);
            let (client, moves) = config.connect_raw(socket, NoTls).await.map_err(|error| not_connected(&error))?;
            (client, tokio::spawn(moves.map(drop)))
        }
        Some(settings) => {
            config.ssl_mode(SslMode::Require);
            let settings = settings.clone();
            let made = tokio::task::spawn_blocking(move || tls::client(&settings)).await;
            let made = made.map_err(|error| NotConnected(error.to_string()))?;
            let connector = TlsConnector::from(Arc::new(made.map_err(|error| NotConnected(error.to_string()))?));
            let name = ServerName::try_from(address.host.clone()).map_err(|error| NotConnected(error.to_string()))?;
            let tls = Tls { connector, name };
            let (client, moves) = config.connect_raw(socket, tls).await.map_err(|error| not_connected(&error))?;
            (client, tokio::spawn(moves.map(drop)))
        }
    };
    let connection = Connection { client, prepared: Prepared::new(), mover };
    connection.client.batch_execute(SETUP).await.map_err(|error| not_connected(&error))?;
    Ok(connection)
}

fn not_connected(error: &Error) -> NotConnected {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    NotConnected(format!("{error}{cause}"))
}

impl Connection {
    /// Runs statements and commits.
    pub(super) async fn transact(
        &mut self,
        statements: &[Statement],
        access: Access,
        until: Instant,
        bytes_max: usize,
    ) -> Result<Vec<Outcome>, Broken> {
        let run = match timeout_at(until, self.run(statements, access, bytes_max)).await {
            Ok(run) => run,
            Err(_) => return Err(Broken { failure: Failure::Timeout, is_usable: false }),
        };
        let outcomes = match run {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                let rolled_back = timeout_at(until, self.client.batch_execute("ROLLBACK"));
                let is_usable = matches!(rolled_back.await, Ok(Ok(())));
                return Err(Broken { failure, is_usable });
            }
        };
        let committed = match timeout_at(until, self.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => return Ok(outcomes),
            // What is deferred to the commit may refuse it.
            Ok(Err(error)) => self.failure(&error, 0, 0),
            Err(_) => Failure::Timeout,
        };
        Err(Broken { failure: in_commit(committed), is_usable: false })
    }

    async fn run(
        &mut self,
        statements: &[Statement],
        access: Access,
        bytes_max: usize,
    ) -> Result<Vec<Outcome>, Failure> {
        let begin = match access {
            Access::Read => "BEGIN READ ONLY",
            Access::Write => "BEGIN",
        };
        self.client.batch_execute(begin).await.map_err(|error| self.failure(&error, 0, 0))?;
        let (mut outcomes, mut bytes_left) = (Vec::with_capacity(statements.len()), bytes_max);
        for (number, statement) in (0..).zip(statements) {
            let prepared = match self.prepare(&statement.text).await {
                Ok(prepared) => prepared,
                Err(error) => return Err(self.failure(&error, number, 0)),
            };
            if prepared.params().len() != statement.width() {
                let (expected, width) = (prepared.params().len(), statement.width());
                return Err(Failure::Refused(format!("a statement takes {expected} values, and is given {width}")));
            }
            let outcome = self.execute(&prepared, statement, number, bytes_left).await?;
            bytes_left = bytes_left.checked_sub(outcome.rows.bytes()).ok_or(Failure::TooLarge(bytes_max as u64))?;
            statement.judge(outcome.affected)?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn prepare(&mut self, text: &str) -> Result<tokio_postgres::Statement, Error> {
        if let Some(known) = self.prepared.get(text) {
            return Ok(known.clone());
        }
        let prepared = self.client.prepare(text).await?;
        if self.prepared.len() >= PREPARED_MAX {
            self.prepared.clear();
        }
        self.prepared.insert(text.to_owned(), prepared.clone());
        Ok(prepared)
    }

    /// Executes a statement with all of its rows, which are on their way together.
    async fn execute(
        &mut self,
        prepared: &tokio_postgres::Statement,
        statement: &Statement,
        number: u32,
        bytes_max: usize,
    ) -> Result<Outcome, Failure> {
        let columns = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        let mut outcome = Outcome { columns, ..Outcome::default() };
        let rows: Vec<usize> = (0..statement.rows).collect();
        for rows in rows.chunks(AHEAD_MAX) {
            let executions = rows.iter().map(|row| execute(&self.client, prepared, statement, *row, bytes_max));
            let done = join_all(executions).await;
            for (row, done) in rows.iter().zip(done) {
                let (affected, returned) = match done {
                    Ok(done) => done,
                    Err(error) => return Err(self.failed(error, number, *row as u32)),
                };
                outcome.affected += affected;
                for row in &returned {
                    read(row, &mut outcome.rows)?;
                }
            }
        }
        Ok(outcome)
    }

    fn failed(&mut self, error: Failed, statement: u32, row: u32) -> Failure {
        match error {
            Failed::Sql(error) => {
                if error.code().is_some_and(|code| code.code() == "0A000") {
                    // The table has changed since the statement was prepared.
                    self.prepared.clear();
                    return Failure::Conflict(error.to_string());
                }
                self.failure(&error, statement, row)
            }
            Failed::TooLarge(limit) => Failure::TooLarge(limit as u64),
        }
    }

    /// By the state, whose first two characters are a class.
    fn failure(&self, error: &Error, statement: u32, row: u32) -> Failure {
        let Some(told) = error.as_db_error() else {
            return match self.client.is_closed() || error.is_closed() {
                true => Failure::Unavailable("the connection broke off".into()),
                false => Failure::Refused(not_connected(error).0),
            };
        };
        let message = match told.detail() {
            Some(detail) => format!("{} ({detail})", told.message()),
            None => told.message().to_owned(),
        };
        match told.code().code() {
            "40001" | "40P01" | "55P03" => Failure::Conflict(message),
            "42P01" | "42703" | "3F000" => Failure::Missing(message),
            // Read only for now, as a standby is; not permitted: the operator of the database can help.
            "25006" | "42501" => Failure::Unavailable(message),
            // An index row that is too large.
            "54000" => Failure::Wrong { statement, row, message },
            code => match code.get(..2) {
                Some("22" | "23") => Failure::Wrong { statement, row, message },
                Some("08" | "53" | "57") => Failure::Unavailable(message),
                _ => Failure::Refused(message),
            },
        }
    }
}

enum Failed {
    Sql(Error),
    TooLarge(usize),
}

async fn execute(
    client: &Client,
    prepared: &tokio_postgres::Statement,
    statement: &Statement,
    row: usize,
    bytes_max: usize,
) -> Result<(u64, Vec<Row>), Failed> {
    let width = statement.width();
    let values = (row * width..(row + 1) * width).map(|at| Value(statement.values.get(at)));
    let returned = client.query_raw(prepared, values.collect::<Vec<_>>()).await.map_err(Failed::Sql)?;
    pin_mut!(returned);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = returned.try_next().await.map_err(Failed::Sql)? {
        bytes += row.raw_size_bytes();
        if bytes > bytes_max {
            return Err(Failed::TooLarge(bytes_max));
        }
        rows.push(row);
    }
    Ok((returned.rows_affected().unwrap_or_default(), rows))
}

/// A value on its way to the server.
#[derive(Debug)]
struct Value<'a>(Cell<'a>);

impl ToSql for Value<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Cell::Null => return Ok(IsNull::Yes),
            Cell::Text(text) => out.extend_from_slice(text.as_bytes()),
            Cell::Bytes(bytes) => out.extend_from_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.to_sql(ty, out)
    }

    fn encode_format(&self, ty: &Type) -> Format {
        // As text, bytes would have to be written as digits.
        if *ty == Type::BYTEA { Format::Binary } else { Format::Text }
    }
}

/// The bytes of a value that comes from the server.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn read(row: &Row, cells: &mut Cells) -> Result<(), Failure> {
    for (at, column) in row.columns().iter().enumerate() {
        let raw: Option<Raw<'_>> =
            row.try_get(at).map_err(|error| Failure::Refused(format!("the column {}: {error}", column.name())))?;
        let Some(Raw(raw)) = raw else {
            cells.push(Cell::Null);
            continue;
        };
        match text(column.type_(), raw) {
            Some(Read::Text(text)) => cells.push(Cell::Text(&text)),
            Some(Read::Bytes) => cells.push(Cell::Bytes(raw)),
            None => {
                let (name, ty) = (column.name(), column.type_());
                return Err(Failure::Refused(format!("the column {name} is of type {ty}: read it as `{name}::text`")));
            }
        }
    }
    Ok(())
}

enum Read {
    Text(String),
    Bytes,
}

/// A value as text, of the types whose binary form is plain.
fn text(ty: &Type, raw: &[u8]) -> Option<Read> {
    let text = match *ty {
        Type::BYTEA => return Some(Read::Bytes),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::UNKNOWN => {
            String::from_utf8(raw.to_vec()).ok()?
        }
        Type::JSONB => String::from_utf8(raw.get(1..)?.to_vec()).ok()?,
        Type::BOOL => (raw.first()? == &1).to_string(),
        Type::INT2 => i16::from_be_bytes(raw.try_into().ok()?).to_string(),
        Type::INT4 => i32::from_be_bytes(raw.try_into().ok()?).to_string(),
        Type::INT8 => i64::from_be_bytes(raw.try_into().ok()?).to_string(),
        Type::OID => u32::from_be_bytes(raw.try_into().ok()?).to_string(),
        Type::FLOAT4 => f32::from_be_bytes(raw.try_into().ok()?).to_string(),
        Type::FLOAT8 => f64::from_be_bytes(raw.try_into().ok()?).to_string(),
        _ => return None,
    };
    Some(Read::Text(text))
}

/// Makes TLS of a socket, for this name.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<TcpStream> for Tls {
    type Stream = Secured;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Secured, std::io::Error>>;

    fn connect(self, socket: TcpStream) -> Self::Future {
        async move { Ok(Secured(self.connector.connect(self.name, socket).await?)) }.boxed()
    }
}

/// A socket with TLS.
struct Secured(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
