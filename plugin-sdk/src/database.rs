//! Transactions in databases that the operator granted by `grants: { database: ENDPOINT }`.
//!
//! ```no_run
//! use weir_plugin::database::{self, Cell, Failure, Statement};
//!
//! fn raise(article: &str) -> Result<u64, Failure> {
//!     let db = database::endpoint("")?; // the only one that was granted
//!     let column = db.dialect().quote("price").map_err(Failure::Refused)?;
//!     let text = format!("UPDATE articles SET {column} = {column} + 1 WHERE id = {}", db.dialect().placeholder(1));
//!     let outcomes = db.transact(vec![Statement::of(text).row([Cell::Text(article)])])?; // all of it, or nothing
//!     Ok(outcomes.first().map_or(0, |outcome| outcome.affected))
//! }
//! ```
//!
//! A plugin knows an endpoint by name alone: address, connections and credentials are the host's. Values are bound, never part of a
//! text; identifiers are quoted by [`Dialect::quote`]. Nothing can be asked while a plugin is being configured.

use crate::bindings::database as wit;
use crate::reject::Reject;

pub use crate::cells::{Cell, Cells};

pub use wit::Dialect;

/// Characters of an identifier in MySQL.
const MYSQL_CHARACTERS_MAX: usize = 64;
/// Characters of an identifier in Impala, Hive and what keeps its tables as they do.
const HIVE_CHARACTERS_MAX: usize = 128;
/// Bytes of an identifier in PostgreSQL, which cuts longer ones.
const POSTGRES_BYTES_MAX: usize = 63;

impl Dialect {
    /// An identifier as it stands in a statement. What no identifier can be is refused, with the reason.
    pub fn quote(self, name: &str) -> Result<String, String> {
        self.check(name)?;
        Ok(match self {
            Dialect::Mysql | Dialect::Hive | Dialect::Spark => format!("`{}`", name.replace('`', "``")),
            Dialect::Impala => format!("`{name}`"),
            Dialect::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        })
    }

    fn check(self, name: &str) -> Result<(), String> {
        let shown = || name.chars().take(80).collect::<String>();
        if name.is_empty() {
            return Err("a name is empty".into());
        }
        if name.chars().any(char::is_control) {
            return Err(format!("the name {:?} has control characters", shown()));
        }
        match self {
            // It takes no other characters, and forgets blanks at the end.
            Dialect::Mysql if name.chars().any(|c| c > '\u{ffff}') || name.ends_with(' ') => {
                Err(format!("MySQL takes no name {:?}", shown()))
            }
            Dialect::Mysql if name.chars().count() > MYSQL_CHARACTERS_MAX => {
                Err(format!("the name {:?} has more than {MYSQL_CHARACTERS_MAX} characters", shown()))
            }
            Dialect::Postgres if name.len() > POSTGRES_BYTES_MAX => {
                Err(format!("the name {:?} has more than {POSTGRES_BYTES_MAX} bytes", shown()))
            }
            // Hive and Spark replace `${...}` in all of a text, whatever stands around it.
            Dialect::Impala | Dialect::Hive | Dialect::Spark if name.contains('\\') || name.contains("${") => {
                Err(format!("no server takes the name {:?}", shown()))
            }
            Dialect::Impala if name.contains('`') => Err(format!("Impala takes no name {:?}", shown())),
            Dialect::Impala | Dialect::Hive | Dialect::Spark if name.chars().count() > HIVE_CHARACTERS_MAX => {
                Err(format!("the name {:?} has more than {HIVE_CHARACTERS_MAX} characters", shown()))
            }
            Dialect::Mysql | Dialect::Postgres | Dialect::Impala | Dialect::Hive | Dialect::Spark => Ok(()),
        }
    }

    /// The placeholder of a value, counted from 1.
    pub fn placeholder(self, number: usize) -> String {
        match self {
            Dialect::Mysql | Dialect::Impala | Dialect::Hive | Dialect::Spark => "?".into(),
            Dialect::Postgres => format!("${number}"),
        }
    }
}

/// A statement and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What is to be done, with placeholders.
    pub text: String,
    /// How often: each time with a row of the values.
    pub rows: u32,
    /// The values of all executions.
    pub values: Cells,
    /// The rows that have to be affected; otherwise nothing is done.
    pub expected: Option<u64>,
}

impl Statement {
    /// A statement that is executed once, without values so far.
    pub fn of(text: impl Into<String>) -> Self {
        Statement { text: text.into(), rows: 1, values: Cells::default(), expected: None }
    }

    /// Adds values to those of its one execution.
    pub fn row<'a>(mut self, values: impl IntoIterator<Item = Cell<'a>>) -> Self {
        values.into_iter().for_each(|cell| self.values.push(cell));
        self
    }

    /// Says how many rows it has to affect.
    pub fn expecting(mut self, rows: u64) -> Self {
        self.expected = Some(rows);
        self
    }
}

/// What a statement did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The rows that it affected.
    pub affected: u64,
    /// The names of what it returned.
    pub columns: Vec<String>,
    /// What it returned, as many values a row as there are columns.
    pub rows: Cells,
}

impl Outcome {
    /// The rows that it returned.
    pub fn rows(&self) -> impl Iterator<Item = Vec<Cell<'_>>> {
        let width = self.columns.len().max(1);
        (0..self.rows.len() / width).map(move |row| (0..width).map(|at| self.rows.get(row * width + at)).collect())
    }
}

/// Why a transaction did not come about. But for [`Failure::Unknown`] nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    Refused(String),
    /// The database could not be reached, or broke off.
    Unavailable(String),
    /// It did not answer in time.
    Timeout,
    /// A deadlock, or what could not be serialised, several times.
    Conflict(String),
    /// The connection was lost during the commit: all of it was done, or nothing.
    Unknown(String),
    /// A table or column is not there.
    Missing(String),
    /// The database does not take the values of one execution.
    Wrong {
        /// Which statement.
        statement: u32,
        /// Which execution of it.
        row: u32,
        /// In the database's words.
        message: String,
    },
    /// A statement affected another number of rows than it has to.
    Unexpected(u64),
    /// It returns more bytes than this.
    TooLarge(u64),
}

/// A database that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
    dialect: Dialect,
}

/// The database of an endpoint; an empty name is that of the only one. Nothing is connected to.
pub fn endpoint(name: &str) -> Result<Endpoint, Failure> {
    #[cfg(target_family = "wasm")]
    let dialect = wit::speaks(name);
    #[cfg(not(target_family = "wasm"))]
    let dialect = fake::dialect();
    Ok(Endpoint { name: name.to_owned(), dialect: dialect.map_err(Failure::of_wit)? })
}

/// Ends the call of a sink that cannot go on for now: the task begins again from its last commit, with a fresh instance.
pub fn begin_again(why: &str) -> ! {
    #[cfg(target_family = "wasm")]
    wit::begin_again(why);
    #[allow(clippy::panic, reason = "the host does not come back; in tests this is how it looks")]
    {
        panic!("begins again: {why}")
    }
}

impl Endpoint {
    /// Which language it speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Runs statements in one transaction: an outcome for each, or nothing was done.
    pub fn transact(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, Failure> {
        #[cfg(target_family = "wasm")]
        {
            let statements: Vec<wit::Statement> = statements.into_iter().map(Statement::into_wit).collect();
            let outcomes = wit::transact(&self.name, &statements).map_err(Failure::of_wit)?;
            Ok(outcomes.into_iter().map(Outcome::of_wit).collect())
        }
        #[cfg(not(target_family = "wasm"))]
        fake::transact(&statements)
    }
}

#[cfg(target_family = "wasm")]
impl Statement {
    fn into_wit(self) -> wit::Statement {
        wit::Statement { text: self.text, rows: self.rows, values: self.values.into_wit(), expected: self.expected }
    }
}

#[cfg(target_family = "wasm")]
impl Outcome {
    fn of_wit(of: wit::Outcome) -> Self {
        Outcome { affected: of.affected, columns: of.columns, rows: Cells::of_wit(of.rows) }
    }
}

impl Failure {
    /// It in words.
    pub fn message(&self) -> String {
        match self {
            Failure::Refused(why) => format!("the database refuses it: {why}"),
            Failure::Unavailable(why) => format!("the database is not available: {why}"),
            Failure::Timeout => "the database did not answer in time".into(),
            Failure::Conflict(why) => format!("it is in conflict with others in the database: {why}"),
            Failure::Unknown(why) => format!("it is not known whether the database did it: {why}"),
            Failure::Missing(why) => format!("something is missing in the database: {why}"),
            Failure::Wrong { message, .. } => format!("the database does not take it: {message}"),
            Failure::Unexpected(affected) => format!("the database has other rows than expected: {affected}"),
            Failure::TooLarge(limit) => format!("the database returns more than {limit} bytes"),
        }
    }

    /// Whether the same may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Failure::Unavailable(_) | Failure::Timeout | Failure::Conflict(_) | Failure::Unknown(_))
    }

    fn of_wit(of: wit::Failure) -> Self {
        match of {
            wit::Failure::Refused(why) => Failure::Refused(why),
            wit::Failure::Unavailable(why) => Failure::Unavailable(why),
            wit::Failure::Timeout => Failure::Timeout,
            wit::Failure::Conflict(why) => Failure::Conflict(why),
            wit::Failure::Unknown(why) => Failure::Unknown(why),
            wit::Failure::Missing(why) => Failure::Missing(why),
            wit::Failure::Wrong(wit::WrongRow { statement, row, message }) => {
                Failure::Wrong { statement, row, message }
            }
            wit::Failure::Unexpected(affected) => Failure::Unexpected(affected),
            wit::Failure::TooLarge(limit) => Failure::TooLarge(limit),
        }
    }
}

/// It is not displayed as other errors are, so that `?` does not make every failure a reject for good.
impl From<Failure> for Reject {
    fn from(failure: Failure) -> Self {
        match failure.is_retriable() {
            true => Reject::retriable(failure.message()),
            false => Reject::permanent(failure.message()),
        }
    }
}

/// What stands in for the host in tests; see [`testing`](crate::testing).
#[cfg(not(target_family = "wasm"))]
pub(crate) mod fake {
    use std::cell::RefCell;

    use super::{Dialect, Failure, Outcome, Statement, wit};

    type Database = Box<dyn FnMut(&[Statement]) -> Result<Vec<Outcome>, Failure>>;

    thread_local! {
        static DATABASE: RefCell<Option<(Dialect, Database)>> = const { RefCell::new(None) };
    }

    /// Has the transactions of plugins on this thread run by a function, from now on. Without one they are refused.
    pub fn serve_database(dialect: Dialect, run: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Failure> + 'static) {
        DATABASE.set(Some((dialect, Box::new(run))));
    }

    pub(super) fn dialect() -> Result<Dialect, wit::Failure> {
        let refused = || wit::Failure::Refused("no endpoint is granted".into());
        DATABASE.with_borrow(|database| database.as_ref().map(|(dialect, _)| *dialect).ok_or_else(refused))
    }

    pub(super) fn transact(statements: &[Statement]) -> Result<Vec<Outcome>, Failure> {
        DATABASE.with_borrow_mut(|database| match database {
            Some((_, run)) => run(statements),
            None => Err(Failure::Refused("no endpoint is granted".into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_or_refused() {
        assert_eq!(Dialect::Mysql.quote("a`; DROP TABLE b").unwrap(), "`a``; DROP TABLE b`");
        assert_eq!(Dialect::Postgres.quote("a\"b\\").unwrap(), "\"a\"\"b\\\"");
        for name in ["", "a\0b", "a\nb"] {
            assert!(Dialect::Mysql.quote(name).is_err() && Dialect::Postgres.quote(name).is_err(), "{name:?}");
        }
        assert!(Dialect::Mysql.quote(&"ä".repeat(64)).is_ok() && Dialect::Mysql.quote(&"a".repeat(65)).is_err());
        assert!(Dialect::Postgres.quote(&"a".repeat(63)).is_ok() && Dialect::Postgres.quote(&"ä".repeat(32)).is_err());
        assert!(Dialect::Mysql.quote("😀").is_err() && Dialect::Mysql.quote("a ").is_err());
        assert!(Dialect::Postgres.quote("😀").is_ok());
        assert_eq!(Dialect::Spark.quote("a`b").unwrap(), "`a``b`");
        assert!(Dialect::Impala.quote("a`b").is_err() && Dialect::Impala.quote("a b").is_ok());
        for name in ["${env:HOME}", "a\\", &"a".repeat(129)] {
            assert!(Dialect::Spark.quote(name).is_err() && Dialect::Impala.quote(name).is_err(), "{name:?}");
        }
    }
}
