//! Writes records into tables of Apache Impala, Hive and Spark SQL, by HiveServer2.
//!
//! These have no transactions, so a row is written at least once: into a table of Kudu by its primary key, which repeats nothing. A
//! record that the server does not take is found by halving, and rejected alone. Where the server is away, the task begins again from
//! its last commit.

mod config;
mod table;
mod value;

pub use config::{Config, Mode};

use std::collections::BTreeSet;

use weir_plugin::database::{self, Cell, Dialect, Endpoint, Failure, Statement};
use weir_plugin::rows::{Mapping, Row};
use weir_plugin::{ConfigError, Context, Delivery, Record, RecordId, Reject, Rejects, Result, Sink};

use table::Table;
use value::Ready;

/// How often in a row the table may turn out to be otherwise than thought.
const SURPRISES_MAX: u32 = 3;
/// Values of a statement: they are all in its text.
const VALUES_MAX: usize = 50_000;

/// The plugin.
pub struct ImpalaSink {
    config: Config,
    mapping: Mapping,
    writer: Option<Writer>,
}

impl Sink for ImpalaSink {
    type Config = Config;

    fn new(config: Config, _: &Context) -> Result<Self, ConfigError> {
        Ok(ImpalaSink { mapping: config.check()?, config, writer: None })
    }

    fn write(&mut self, _: Record<'_>, _: RecordId<'_>) -> Result<()> {
        Err(Reject::permanent("records are written by the batch"))
    }

    fn write_batch(&mut self, delivery: &Delivery<'_>, rejects: &mut Rejects) {
        let mut rows = Vec::new();
        for (record, id) in delivery {
            match self.mapping.row(record, id) {
                Ok(row) => rows.push(row),
                Err(reject) => rejects.add(record, reject),
            }
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => match Writer::new(&self.config) {
                Ok(writer) => writer,
                Err(why) => database::begin_again(&why),
            },
        };
        for rows in rows.chunks(self.config.batch_rows_max) {
            writer.write(&self.config, rows, rejects);
        }
        self.writer = Some(writer);
    }
}

/// What is known of the server.
struct Writer {
    database: Endpoint,
    dialect: Dialect,
    table: Table,
    /// Whether this instance has written a row.
    has_written: bool,
}

/// A row as the server takes it.
struct Prepared<'a> {
    row: &'a Row<'a>,
    /// Quoted names of columns.
    columns: Vec<String>,
    /// What stands where their values go.
    marks: Vec<String>,
    values: Vec<Ready>,
}

impl Writer {
    fn new(config: &Config) -> Result<Writer, String> {
        let database = database::endpoint(&config.endpoint).map_err(|failure| failure.message())?;
        let dialect = database.dialect();
        let is_impala = match dialect {
            Dialect::Impala => true,
            Dialect::Hive | Dialect::Spark => false,
            Dialect::Mysql | Dialect::Postgres => {
                return Err("the endpoint speaks no HiveServer2: expected one of Impala, Hive or Spark; `sql-sink` writes to this one".into());
            }
        };
        let of_impala =
            [("create_table", config.create_table), ("add_columns", config.add_columns), ("deletes", config.deletes)];
        if let Some((key, _)) = of_impala.iter().find(|(_, is_wanted)| *is_wanted && !is_impala) {
            return Err(format!("`{key}` is of Impala alone: Hive and Spark cannot do it in a table of Kudu"));
        }
        Ok(Writer { database, dialect, table: Table::new(config, dialect)?, has_written: false })
    }

    /// Writes rows, all in one statement, or by halves where the server does not take one of them.
    fn write(&mut self, config: &Config, rows: &[Row<'_>], rejects: &mut Rejects) {
        let mut parts = vec![rows];
        let mut surprises = 0;
        // Servers say in words of their own why they refuse, and it may not be the row's fault: it is where others are taken.
        let (mut refused, mut are_others_taken) = (Vec::new(), self.has_written && rows.len() == 1);
        while let Some(part) = parts.pop() {
            let failure = match self.attempt(config, part, rejects) {
                Ok(written) => {
                    surprises = 0;
                    are_others_taken |= written > 0;
                    self.has_written |= written > 0;
                    continue;
                }
                Err(failure) => failure,
            };
            match (&failure, part) {
                (Failure::Wrong { .. }, [only]) => rejects.add(only.record, Reject::permanent(failure.message())),
                (Failure::Refused(_), [only]) => refused.push((only.record, failure.message())),
                (Failure::Wrong { .. } | Failure::Refused(_), _) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                (Failure::Missing(_), _) if surprises < SURPRISES_MAX => {
                    surprises += 1;
                    self.table.forget();
                    parts.push(part);
                }
                _ => database::begin_again(&failure.message()),
            }
        }
        if let (Some((_, why)), false) = (refused.first(), are_others_taken) {
            database::begin_again(why);
        }
        refused.into_iter().for_each(|(record, why)| rejects.add(record, Reject::permanent(why)));
    }

    /// Writes rows, as far as they are such as the table takes: how many those are.
    fn attempt(&mut self, config: &Config, rows: &[Row<'_>], rejects: &mut Rejects) -> Result<usize, Failure> {
        match self.table.prepare(config, &self.database, rows) {
            // Of the table, and no row's fault.
            Err(Failure::Refused(why)) => database::begin_again(&why),
            prepared => prepared?,
        }
        let mut prepared = Vec::with_capacity(rows.len());
        for row in rows {
            match self.prepared(config, row) {
                Ok(row) => prepared.push(row),
                Err(why) => rejects.add(row.record, Reject::permanent(why)),
            }
        }
        let is_like = |a: &Prepared<'_>, b: &Prepared<'_>| a.row.is_delete == b.row.is_delete && a.columns == b.columns;
        for run in prepared.chunk_by(is_like) {
            let width = run.first().map_or(1, |row| row.columns.len().max(1));
            for run in run.chunks((VALUES_MAX / width).max(1)) {
                self.run(config, run)?;
            }
        }
        Ok(prepared.len())
    }

    /// Writes or deletes rows of the same columns.
    fn run(&self, config: &Config, run: &[Prepared<'_>]) -> Result<(), Failure> {
        let Some(first) = run.first() else { return Ok(()) };
        let rows: Vec<&Prepared<'_>> = match config.mode {
            Mode::Upsert => latest(run),
            Mode::Insert => run.iter().collect(),
        };
        let text = if first.row.is_delete {
            let equal = |(column, mark): (&String, &String)| format!("{column} = {mark}");
            let one: Vec<_> = first.columns.iter().zip(&first.marks).take(first.row.keys).map(equal).collect();
            let all = vec![format!("({})", one.join(" AND ")); rows.len()];
            format!("DELETE FROM {} WHERE {}", self.table.name, all.join(" OR "))
        } else {
            let verb = match (config.mode, self.dialect) {
                (Mode::Upsert, Dialect::Impala) => "UPSERT INTO",
                // Into a table of Kudu, which is checked, they put a row in the place of another.
                _ => "INSERT INTO",
            };
            let all = vec![format!("({})", first.marks.join(", ")); rows.len()];
            format!("{verb} {} ({}) VALUES {}", self.table.name, first.columns.join(", "), all.join(", "))
        };
        let values = rows.iter().flat_map(|row| {
            let count = if row.row.is_delete { row.row.keys } else { row.values.len() };
            row.values.iter().take(count)
        });
        let statement = Statement::of(text).row(values.map(|value| match value {
            Ready::Null => Cell::Null,
            Ready::Text(text) => Cell::Text(text),
            Ready::Bytes(bytes) => Cell::Bytes(bytes),
        }));
        self.database.transact(vec![statement]).map(drop)
    }

    /// A row as the server takes it, or why it does not.
    fn prepared<'a>(&self, config: &Config, row: &'a Row<'a>) -> Result<Prepared<'a>, String> {
        let mut prepared = Prepared { row, columns: Vec::new(), marks: Vec::new(), values: Vec::new() };
        let mut seen = BTreeSet::new();
        for (at, (column, value)) in row.cells.iter().enumerate() {
            let is_key = at < row.keys;
            let kind = match self.table.kind(config, column) {
                Ok(kind) => kind,
                Err(_) if value.is_null() && !is_key => continue,
                Err(why) => return Err(why),
            };
            if value.is_null() && (is_key || self.table.needs_value(column)) {
                return Err(format!("the column {column:?} takes no null"));
            }
            if !seen.insert(column.to_lowercase()) {
                return Err(format!("two of its fields go to the column {column:?}"));
            }
            prepared.columns.push(self.dialect.quote(column)?);
            prepared.marks.push(kind.placeholder());
            prepared.values.push(kind.ready(value).map_err(|why| format!("the column {column:?}: {why}"))?);
        }
        if prepared.columns.is_empty() {
            return Err("it has no value for any column".into());
        }
        Ok(prepared)
    }
}

/// The last row of each key: which of two in one statement stays is the server's choice.
fn latest<'r, 'a>(run: &'r [Prepared<'a>]) -> Vec<&'r Prepared<'a>> {
    let mut seen = BTreeSet::new();
    let mut rows: Vec<_> = run.iter().rev().filter(|row| seen.insert(row.values.get(..row.row.keys))).collect();
    rows.reverse();
    rows
}

weir_plugin::export_sink!(ImpalaSink);
