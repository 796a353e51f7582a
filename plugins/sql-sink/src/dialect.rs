//! The databases whose tables can be written exactly once: those that have transactions.

use weir_plugin::database;

/// Which language a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL and MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgres,
}

impl Dialect {
    /// That of an endpoint, or why rows cannot be written there.
    pub fn of(dialect: database::Dialect) -> Result<Self, String> {
        match dialect {
            database::Dialect::Mysql => Ok(Dialect::Mysql),
            database::Dialect::Postgres => Ok(Dialect::Postgres),
            database::Dialect::Impala | database::Dialect::Hive | database::Dialect::Spark => {
                Err("the endpoint has no transactions: expected one of MySQL or PostgreSQL; `impala-sink` writes to this one".into())
            }
        }
    }

    /// An identifier as it stands in a statement.
    pub fn quote(self, name: &str) -> Result<String, String> {
        self.spoken().quote(name)
    }

    /// The placeholder of a value, counted from 1.
    pub fn placeholder(self, number: usize) -> String {
        self.spoken().placeholder(number)
    }

    fn spoken(self) -> database::Dialect {
        match self {
            Dialect::Mysql => database::Dialect::Mysql,
            Dialect::Postgres => database::Dialect::Postgres,
        }
    }
}
