//! Statements at HiveServer2, of Impala, Hive and Spark, over a session of crate `impala-client`.
//!
//! It has no transactions: what is to be all or nothing is one statement. It has no values beside the text either: the client
//! writes them into it, as literals of text or bytes.

use std::sync::Arc;

use impala_client::{Answer, Column, Error, Literal, Login, Options, Session, Value, bind};
use tokio::time::Instant;

pub(super) use impala_client::Dialect;

use super::{Access, Broken, Failure, NotConnected, Outcome, Statement};
use crate::config::Database;
use crate::endpoint::cells::{Cell, Cells};
use crate::tls;

/// What Hive and Spark take for anybody's, where nobody has to prove who they are.
const ANY_PASSWORD: &str = "anonymous";
/// How servers say that something is not there: Spark's error classes, Impala's and Hive's words.
const MISSING: [&str; 9] = [
    "TABLE_OR_VIEW_NOT_FOUND",
    "SCHEMA_NOT_FOUND",
    "UNRESOLVED_COLUMN",
    "Could not resolve table reference",
    "Could not resolve column/field reference",
    "Table does not exist",
    "Database does not exist",
    "Unknown column",
    "Table not found",
];
/// How they say that it may work later, or that their operator can help.
const AWAY: [&str; 20] = [
    "AuthorizationException",
    "HiveAccessControlException",
    "Permission denied",
    "MetaException",
    "No space left",
    "not enough live tablet servers",
    "Job aborted",
    "Rejected query from pool",
    "Admission for query exceeded timeout",
    "Memory limit exceeded",
    "Cancelled",
    "INSUFFICIENT_PERMISSIONS",
    "Network error",
    "Service unavailable",
    "Timed out",
    "Unreachable",
    "connection refused",
    "Connection refused",
    "SparkContext was shut down",
    "OutOfMemoryError",
];
/// How they say that a value is wrong.
const WRONG: [&str; 8] = [
    "CAST_INVALID_INPUT",
    "CAST_OVERFLOW",
    "NUMERIC_VALUE_OUT_OF_RANGE",
    "NOT_NULL_CONSTRAINT_VIOLATION",
    "CANNOT_SAFELY_CAST",
    "Row with null value violates nullability constraint",
    "failed to write",
    "Null value for NOT NULL",
];

/// A connection.
pub(super) struct Connection {
    session: Session,
    dialect: Dialect,
}

/// Connects.
pub(super) async fn connect(
    settings: &Database,
    password: Option<&str>,
    dialect: Dialect,
) -> Result<Connection, NotConnected> {
    let address = &settings.address;
    let plain = |password: &str| Login::Plain { user: address.user.clone(), password: password.to_owned() };
    let login = match (password, dialect) {
        (Some(password), _) => plain(password),
        (None, Dialect::Impala) => Login::None,
        (None, Dialect::Hive | Dialect::Spark) => plain(ANY_PASSWORD),
    };
    let not_connected = |error: &dyn std::error::Error| NotConnected(error.to_string());
    let tls = match settings.tls.clone() {
        None => None,
        Some(settings) => {
            let made = tokio::task::spawn_blocking(move || tls::client(&settings)).await;
            Some(Arc::new(made.map_err(|error| not_connected(&error))?.map_err(|error| not_connected(&error))?))
        }
    };
    let options = Options {
        host: address.host.clone(),
        port: address.port,
        dialect,
        login,
        tls,
        connect_timeout: settings.timeout,
        settings: Vec::new(),
        database: Some(address.database.clone()),
    };
    let session = Session::open(&options).await.map_err(|error| not_connected(&error))?;
    Ok(Connection { session, dialect })
}

impl Connection {
    /// Runs one statement that writes, or any number that read.
    pub(super) async fn transact(
        &mut self,
        statements: &[Statement],
        access: Access,
        until: Instant,
        bytes_max: usize,
    ) -> Result<Vec<Outcome>, Broken> {
        let (mut outcomes, mut bytes_left) = (Vec::with_capacity(statements.len()), bytes_max);
        for (number, statement) in (0..).zip(statements) {
            let done = match self.check(statement, statements.len(), access) {
                Ok(sql) => self.session.execute(&sql, until, bytes_left).await.map_err(|error| {
                    // What only reads has changed nothing, whatever became of it.
                    let is_open = error.leaves_doubt() && access == Access::Write && !reads(statement);
                    failure(&error, number, is_open, bytes_max)
                }),
                Err(refused) => Err(Failure::Refused(refused)),
            };
            let outcome = match done {
                Ok(answer) => outcome(answer),
                Err(failure) => return Err(Broken { failure, is_usable: self.session.is_usable() }),
            };
            bytes_left = bytes_left.saturating_sub(outcome.rows.bytes());
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// The statement with its values in it.
    fn check(&self, statement: &Statement, count: usize, access: Access) -> Result<String, String> {
        if access == Access::Read && !reads(statement) {
            return Err("a statement that reads begins with SELECT".into());
        }
        if statement.expected.is_some() {
            return Err("nothing is rolled back here, so no number of rows can be expected".into());
        }
        if statement.rows != 1 || (count != 1 && access == Access::Write) {
            return Err("there are no transactions here: expected one statement, executed once".into());
        }
        let values = (0..statement.values.len()).map(|at| match statement.values.get(at) {
            Cell::Null => Literal::Null,
            Cell::Text(text) => Literal::Text(text),
            Cell::Bytes(bytes) => Literal::Bytes(bytes),
        });
        bind(self.dialect, &statement.text, &values.collect::<Vec<_>>()).map_err(|error| error.to_string())
    }
}

/// Whether a statement can but read.
fn reads(statement: &Statement) -> bool {
    statement.text.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("SELECT"))
}

fn outcome(answer: Answer) -> Outcome {
    let mut rows = Cells::default();
    for value in answer.rows.iter().flatten() {
        match value {
            Value::Null => rows.push(Cell::Null),
            Value::Bool(value) => rows.push(Cell::Text(if *value { "true" } else { "false" })),
            Value::I64(number) => rows.push(Cell::Text(&number.to_string())),
            Value::F64(number) => rows.push(Cell::Text(&number.to_string())),
            Value::Text(text) => rows.push(Cell::Text(text)),
            Value::Bytes(bytes) => rows.push(Cell::Bytes(bytes)),
        }
    }
    let verbatim = answer.columns.iter().map(is_verbatim).collect();
    let columns = answer.columns.into_iter().map(|column| column.name).collect();
    Outcome { affected: answer.affected.unwrap_or_default(), columns, verbatim, rows }
}

/// Whether what is read of a column is JSON as it stands.
fn is_verbatim(column: &Column) -> bool {
    let word = column.type_name.split(['(', '_', '<', ' ']).next().unwrap_or_default();
    let numbers = ["BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL"];
    numbers.iter().any(|number| word.eq_ignore_ascii_case(number))
}

fn failure(error: &Error, statement: u32, is_open: bool, bytes_max: usize) -> Failure {
    match error {
        Error::Server { message, .. } => {
            let gist = gist(message);
            let says = |words: &[&str]| words.iter().any(|word| gist.contains(word));
            let message = message.clone();
            match () {
                () if says(&WRONG) => Failure::Wrong { statement, row: 0, message },
                () if says(&MISSING) => Failure::Missing(message),
                () if says(&AWAY) => Failure::Unavailable(message),
                () => Failure::Refused(message),
            }
        }
        Error::TooLarge(_) => Failure::TooLarge(bytes_max as u64),
        Error::Timeout if !is_open => Failure::Timeout,
        _ if is_open => Failure::Unknown("the connection broke off, or there was no answer in time".into()),
        _ => Failure::Unavailable("the connection broke off".into()),
    }
}

/// What is the server's own of a message: values and the statement, which it repeats, could say anything. Spark begins with a class
/// of errors, `[LIKE_THIS]`, which says it all.
fn gist(message: &str) -> String {
    let class = message.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(class, _)| class);
    let is_class =
        |class: &&str| class.bytes().all(|byte| byte.is_ascii_uppercase() || b"._0123456789".contains(&byte));
    if let Some(class) = class.filter(is_class).filter(|class| class.len() > 2) {
        return class.to_owned();
    }
    let told = message.split("== SQL").next().unwrap_or_default();
    let (mut gist, mut quote) = (String::new(), None);
    for c in told.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"' | '`') => quote = Some(c),
            None => gist.push(c),
        }
    }
    gist
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_what_the_server_says_and_not_what_a_value_says() {
        let of = |message: &str| {
            let error = Error::Server { state: None, code: None, message: message.to_owned() };
            failure(&error, 3, false, 1)
        };
        let value =
            "[CAST_INVALID_INPUT] The value 'Connection refused' of the type \"STRING\" cannot be cast to \"BIGINT\"";
        assert!(matches!(of(value), Failure::Wrong { statement: 3, row: 0, .. }));
        assert!(matches!(
            of("[TABLE_OR_VIEW_NOT_FOUND] The table or view `Timed out` cannot be found."),
            Failure::Missing(_)
        ));
        assert!(matches!(
            of("AnalysisException: Could not resolve table reference: 'Network error'"),
            Failure::Missing(_)
        ));
        assert!(matches!(of("AuthorizationException: User 'etl' does not have privileges"), Failure::Unavailable(_)));
        assert!(matches!(of("ParseException: Syntax error near 'Connection refused'"), Failure::Refused(_)));
        assert!(matches!(
            of("[PARSE_SYNTAX_ERROR] Syntax error at or near 'x'\n== SQL ==\nSELECT 'Timed out'"),
            Failure::Refused(_)
        ));
    }
}
