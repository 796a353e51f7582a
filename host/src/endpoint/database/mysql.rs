//! Transactions in MySQL and MariaDB, over a connection of crate `mysql_async`.

use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Column, Conn, Error, OptsBuilder, Params, ServerError, SslOpts, Value};
use tokio::time::{Instant, timeout_at};

use super::{Access, Broken, Failure, NotConnected, Outcome, Statement, in_commit};
use crate::config::{ClientTls, Database};
use crate::endpoint::cells::{Cell, Cells};

/// What a statement must mean, whatever the server is set to: what does not fit a column is an error, and times are UTC.
const SETUP: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
                     time_zone = '+00:00', TRANSACTION_ISOLATION = 'READ-COMMITTED'";
/// The same for servers that call it otherwise, as MariaDB 10.
const SETUP_OLD: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
                         time_zone = '+00:00', TX_ISOLATION = 'READ-COMMITTED'";
/// Statements that a connection keeps prepared.
const PREPARED_MAX: usize = 64;

/// A connection.
pub(super) struct Connection(Conn);

/// Connects.
pub(super) async fn connect(settings: &Database, password: Option<&str>) -> Result<Connection, NotConnected> {
    let address = &settings.address;
    let options = OptsBuilder::default()
        .ip_or_hostname(&address.host)
        .tcp_port(address.port)
        .user(Some(&address.user))
        .pass(password)
        .db_name(Some(&address.database))
        .prefer_socket(false)
        .client_found_rows(true)
        .stmt_cache_size(PREPARED_MAX)
        .ssl_opts(settings.tls.as_ref().map(tls).transpose()?);
    let connected = Conn::new(options).await;
    let mut connection = connected.map_err(|error| NotConnected(error.to_string()))?;
    if connection.query_drop(SETUP).await.is_err() {
        connection.query_drop(SETUP_OLD).await.map_err(|error| NotConnected(error.to_string()))?;
    }
    Ok(Connection(connection))
}

fn tls(settings: &ClientTls) -> Result<SslOpts, NotConnected> {
    let roots = match &settings.ca {
        Some(path) => vec![path.clone().into()],
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            found.into_iter().map(|certificate| certificate.to_vec().into()).collect()
        }
    };
    if roots.is_empty() {
        return Err(NotConnected("this system has no certificate authorities; name yours by `tls: {ca: FILE}`".into()));
    }
    let identity = settings.identity.clone();
    let identity = identity.map(|(chain, key)| ClientIdentity::new(chain.into(), key.into()));
    // Those that are built in would stand beside the ones that were named.
    let options = SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(true);
    Ok(options.with_client_identity(identity))
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
        let late = || Broken { failure: Failure::Timeout, is_usable: false };
        let run = match timeout_at(until, self.run(statements, access, bytes_max)).await {
            Ok(run) => run,
            Err(_) => return Err(late()),
        };
        let outcomes = match run {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                let is_open = !matches!(failure, Failure::Unavailable(_));
                let rolled_back = timeout_at(until, self.0.query_drop("ROLLBACK"));
                let is_usable = is_open && matches!(rolled_back.await, Ok(Ok(())));
                return Err(Broken { failure, is_usable });
            }
        };
        let committed = match timeout_at(until, self.0.query_drop("COMMIT")).await {
            Ok(Ok(())) => return Ok(outcomes),
            Ok(Err(error)) => failure(&error, 0, 0),
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
            Access::Read => "START TRANSACTION READ ONLY",
            Access::Write => "START TRANSACTION",
        };
        self.0.query_drop(begin).await.map_err(|error| failure(&error, 0, 0))?;
        let (mut outcomes, mut bytes_left) = (Vec::with_capacity(statements.len()), bytes_max);
        for (number, statement) in (0..).zip(statements) {
            let mut outcome = Outcome::default();
            for row in 0..statement.rows {
                let before = outcome.rows.bytes();
                let done = self.execute(statement, row, &mut outcome, before + bytes_left).await;
                done.map_err(|error| failure(&error, number, row as u32))?;
                let returned = outcome.rows.bytes() - before;
                bytes_left = bytes_left.checked_sub(returned).ok_or(Failure::TooLarge(bytes_max as u64))?;
            }
            statement.judge(outcome.affected)?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Executes a statement with one of its rows. What it returns is read up to a number of bytes, and just past them.
    async fn execute(
        &mut self,
        statement: &Statement,
        row: usize,
        outcome: &mut Outcome,
        bytes_max: usize,
    ) -> Result<(), Error> {
        let width = statement.width();
        let values = (row * width..(row + 1) * width).map(|at| value(statement.values.get(at))).collect::<Vec<_>>();
        let params = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
        let mut result = self.0.exec_iter(statement.text.as_str(), params).await?;
        if let Some(columns) = result.columns() {
            outcome.columns = columns.iter().map(|column| column.name_str().into_owned()).collect();
            outcome.verbatim = columns.iter().map(is_verbatim).collect();
        }
        while let Some(row) = result.next().await? {
            if outcome.rows.bytes() > bytes_max {
                break;
            }
            let columns = row.columns();
            for (value, column) in row.unwrap().into_iter().zip(columns.iter()) {
                // What is said of numbers is that they are in this set, too.
                let is_binary = column.character_set() == BINARY && !is_verbatim(column);
                push(&mut outcome.rows, value, is_binary);
            }
        }
        outcome.affected += result.affected_rows();
        result.drop_result().await
    }
}

/// Whether what is read of a column is JSON as it stands.
fn is_verbatim(column: &Column) -> bool {
    use ColumnType as Of;
    matches!(
        column.column_type(),
        Of::MYSQL_TYPE_TINY
            | Of::MYSQL_TYPE_SHORT
            | Of::MYSQL_TYPE_INT24
            | Of::MYSQL_TYPE_LONG
            | Of::MYSQL_TYPE_LONGLONG
            | Of::MYSQL_TYPE_YEAR
            | Of::MYSQL_TYPE_FLOAT
            | Of::MYSQL_TYPE_DOUBLE
            | Of::MYSQL_TYPE_DECIMAL
            | Of::MYSQL_TYPE_NEWDECIMAL
            | Of::MYSQL_TYPE_JSON
    )
}

/// The character set of bytes that are no text.
const BINARY: u16 = 63;

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::NULL,
        Cell::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
        Cell::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

fn push(cells: &mut Cells, value: Value, is_binary: bool) {
    match value {
        Value::NULL => cells.push(Cell::Null),
        Value::Bytes(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) if !is_binary => cells.push(Cell::Text(text)),
            _ => cells.push(Cell::Bytes(&bytes)),
        },
        Value::Int(number) => cells.push(Cell::Text(&number.to_string())),
        Value::UInt(number) => cells.push(Cell::Text(&number.to_string())),
        Value::Float(number) => cells.push(Cell::Text(&number.to_string())),
        Value::Double(number) => cells.push(Cell::Text(&number.to_string())),
        Value::Date(year, month, day, 0, 0, 0, 0) => {
            cells.push(Cell::Text(&format!("{year:04}-{month:02}-{day:02}")));
        }
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let time = format!("{hour:02}:{minute:02}:{second:02}.{micros:06}");
            cells.push(Cell::Text(&format!("{year:04}-{month:02}-{day:02} {time}")));
        }
        Value::Time(is_negative, days, hours, minutes, seconds, micros) => {
            let (sign, hours) = (if is_negative { "-" } else { "" }, days * 24 + u32::from(hours));
            cells.push(Cell::Text(&format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")));
        }
    }
}

fn failure(error: &Error, statement: u32, row: u32) -> Failure {
    match error {
        Error::Server(error) => refusal(error, statement, row),
        Error::Driver(mysql_async::DriverError::PacketTooLarge) => {
            Failure::Wrong { statement, row, message: "it is larger than the server's `max_allowed_packet`".into() }
        }
        Error::Driver(
            error @ (mysql_async::DriverError::StmtParamsMismatch { .. } | mysql_async::DriverError::MixedParams),
        ) => Failure::Refused(error.to_string()),
        Error::Driver(_) | Error::Io(_) | Error::Other(_) | Error::Url(_) => {
            Failure::Unavailable("the connection broke off".into())
        }
    }
}

/// By the number, where its state says nothing or something else.
fn refusal(ServerError { code, message, state }: &ServerError, statement: u32, row: u32) -> Failure {
    let message = message.clone();
    match (code, state.get(..2)) {
        // Deadlock, lock wait timeout, record changed since (MariaDB 11).
        (1213 | 1205 | 1020, _) => Failure::Conflict(message),
        // No such table, unknown table or column.
        (1146 | 1051 | 1054 | 1109, _) => Failure::Missing(message),
        // Not permitted, no room: the operator of the database can help.
        (1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1021 | 1114, _) => Failure::Unavailable(message),
        // Too many connections, shutdown, interrupted, killed, read only for now, gone by its timeout.
        (1040 | 1203 | 1053 | 1077 | 1317 | 1927 | 1290 | 1836 | 4031, _) => Failure::Unavailable(message),
        // A value that is missing, wrong, cut, out of its check or of its partitions.
        (1364 | 1366 | 1265 | 3819 | 4025 | 1526 | 1118 | 1153, _) => Failure::Wrong { statement, row, message },
        (_, Some("22" | "23")) => Failure::Wrong { statement, row, message },
        (_, Some("40")) => Failure::Conflict(message),
        (_, Some("08")) => Failure::Unavailable(message),
        _ => Failure::Refused(message),
    }
}
