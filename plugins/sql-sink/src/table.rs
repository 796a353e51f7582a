//! The table that is written: which columns it has, and how it comes by those that it lacks.

use std::collections::{BTreeMap, BTreeSet};

use weir_plugin::database::{Cell, Endpoint, Failure, Statement};
use weir_plugin::rows::Row;

use crate::config::Config;
use crate::dialect::Dialect;
use crate::progress::text;
use crate::value::{Kind, kind};

/// A table.
pub struct Table {
    /// Its name, quoted.
    pub name: String,
    dialect: Dialect,
    /// Its columns, by the name by which they are looked up; none while it is not known.
    columns: Option<BTreeMap<String, Kind>>,
}

impl Table {
    /// A table of which nothing is known yet.
    pub fn new(config: &Config, dialect: Dialect) -> Result<Table, String> {
        Ok(Table { name: dialect.quote(&config.table)?, dialect, columns: None })
    }

    /// Forgets what is known of it.
    pub fn forget(&mut self) {
        self.columns = None;
    }

    /// The type of a column.
    pub fn kind(&self, config: &Config, column: &str) -> Option<Kind> {
        let there = self.columns.as_ref()?.get(&self.key(column)).copied()?;
        // What was declared says more where the database keeps it as something else, as MariaDB does with JSON.
        Some(match (config.kind(column), there) {
            (Some(declared), Kind::Text | Kind::Other) => declared,
            _ => there,
        })
    }

    /// MySQL does not tell upper from lower case in names of columns.
    pub fn key(&self, column: &str) -> String {
        match self.dialect {
            Dialect::Mysql => column.to_lowercase(),
            Dialect::Postgres => column.to_owned(),
        }
    }

    /// Reads its columns, and creates or adds what rows want and may be had. What of it is refused is told by `prepare`'s caller,
    /// who finds that a column is not there.
    pub fn prepare(&mut self, config: &Config, database: &Endpoint, rows: &[Row<'_>]) -> Result<Vec<String>, Failure> {
        let mut told = Vec::new();
        if self.columns.is_none() {
            self.load(config, database)?;
        }
        if self.columns.as_ref().is_some_and(BTreeMap::is_empty) {
            if !config.create_table {
                let missing = format!("there is no table {}; with `create_table: true` it is created", self.name);
                return Err(Failure::Missing(missing));
            }
            self.create(config, database, rows)?;
            self.load(config, database)?;
        }
        if config.add_columns {
            let wanted = self.wanted(config, rows);
            for (column, declared) in &wanted {
                let Ok(quoted) = self.dialect.quote(column) else { continue };
                let add = format!("ALTER TABLE {} ADD COLUMN {quoted} {declared}", self.name);
                match database.transact(vec![Statement::of(add)]) {
                    Ok(_) => {}
                    // Of a name that cannot be, or that another writer has added meanwhile.
                    Err(Failure::Refused(why) | Failure::Wrong { message: why, .. }) => told.push(why),
                    Err(failure) => return Err(failure),
                }
            }
            if !wanted.is_empty() {
                self.load(config, database)?;
            }
        }
        Ok(told)
    }

    fn load(&mut self, config: &Config, database: &Endpoint) -> Result<(), Failure> {
        let select = match self.dialect {
            Dialect::Mysql => {
                "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?"
            }
            Dialect::Postgres => {
                "SELECT column_name::text, data_type::text FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name::text = $1"
            }
        };
        let done = database.transact(vec![Statement::of(select).row([Cell::Text(&config.table)])])?;
        let mut columns = BTreeMap::new();
        for row in done.iter().flat_map(|outcome| outcome.rows()) {
            if let [name, data_type] = row.as_slice() {
                columns.insert(self.key(&text(*name)), Kind::of_column(&text(*data_type)));
            }
        }
        self.columns = Some(columns);
        Ok(())
    }

    /// The columns that rows have and the table lacks, and what they are declared as. One that is null in all of them can wait.
    fn wanted(&self, config: &Config, rows: &[Row<'_>]) -> BTreeMap<String, String> {
        let mut wanted = BTreeMap::new();
        for (column, value) in rows.iter().flat_map(|row| &row.cells).filter(|(_, value)| !value.is_null()) {
            if !wanted.contains_key(&**column) && self.kind(config, column).is_none() {
                let kind = config.kind(column).unwrap_or_else(|| kind(value));
                wanted.insert(column.to_string(), kind.declared(self.dialect, false));
            }
        }
        wanted
    }

    fn create(&self, config: &Config, database: &Endpoint, rows: &[Row<'_>]) -> Result<(), Failure> {
        let Some(first) = rows.iter().find(|row| !row.is_delete).or(rows.first()) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        let (mut columns, mut keys) = (Vec::new(), Vec::new());
        for (at, (column, value)) in first.cells.iter().enumerate() {
            let is_key = at < first.keys;
            let kind = config.kind(column).unwrap_or_else(|| kind(value));
            let quoted = self.dialect.quote(column);
            if (value.is_null() && !is_key) || quoted.is_err() || !seen.insert(self.key(column)) {
                continue;
            }
            let quoted = quoted.unwrap_or_default();
            columns.push(format!(
                "{quoted} {}{}",
                kind.declared(self.dialect, is_key),
                if is_key { " NOT NULL" } else { "" }
            ));
            if is_key {
                keys.push(quoted);
            }
        }
        if !keys.is_empty() {
            columns.push(format!("PRIMARY KEY ({})", keys.join(", ")));
        }
        let suffix = match self.dialect {
            Dialect::Mysql => " ENGINE=InnoDB CHARACTER SET utf8mb4",
            Dialect::Postgres => "",
        };
        let create = format!("CREATE TABLE IF NOT EXISTS {} ({}){suffix}", self.name, columns.join(", "));
        database.transact(vec![Statement::of(create)]).map(drop)
    }
}
