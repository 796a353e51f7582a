//! Writes records into a table of MySQL, MariaDB or PostgreSQL: inserts, upserts, updates and deletes, each record exactly once.
//!
//! A batch of rows and how far its source was written are one transaction (`progress.rs`). A record that the database does not
//! take is found by halving, and rejected alone. Where the database is away, the task begins again from its last commit.

mod config;
mod dialect;
mod plan;
mod progress;
mod table;
mod value;

pub use config::Config;

use std::collections::HashMap;

use weir_plugin::database::{self, Endpoint, Failure};
use weir_plugin::rows::{Mapping, Row};
use weir_plugin::{ConfigError, Context, Delivery, Record, RecordId, Reject, Rejects, Result, Sink};

use dialect::Dialect;
use plan::Prepared;
use progress::{Book, Id, Progress};
use table::Table;

/// How often in a row what is written may turn out to be otherwise than thought: another writer, a lost commit, a changed table.
const SURPRISES_MAX: u32 = 10;

/// The plugin.
pub struct SqlSink {
    config: Config,
    mapping: Mapping,
    /// The pipeline and the sink: whose progress it is.
    name: String,
    writer: Option<Writer>,
}

impl Sink for SqlSink {
    type Config = Config;

    fn new(config: Config, context: &Context) -> Result<Self, ConfigError> {
        let pipeline = context.inputs.first().map_or("", String::as_str);
        let name = format!("{pipeline}/{}", context.pipeline).chars().take(200).collect();
        Ok(SqlSink { mapping: config.check()?, config, name, writer: None })
    }

    fn write(&mut self, _: Record<'_>, _: RecordId<'_>) -> Result<()> {
        Err(Reject::permanent("records are written by the batch"))
    }

    fn write_batch(&mut self, delivery: &Delivery<'_>, rejects: &mut Rejects) {
        let mut rows = Vec::new();
        let mut source = "";
        for (record, id) in delivery {
            source = id.source;
            match self.mapping.row(record, id) {
                Ok(row) => rows.push(row),
                Err(reject) => rejects.add(record, reject),
            }
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => match Writer::new(&self.config, &self.name) {
                Ok(writer) => writer,
                Err(why) => database::begin_again(&why),
            },
        };
        for rows in rows.chunks(self.config.batch_rows_max) {
            writer.write(&self.config, source, rows, rejects);
        }
        self.writer = Some(writer);
    }
}

/// What is known of the database.
struct Writer {
    database: Endpoint,
    dialect: Dialect,
    table: Table,
    book: Book,
    progress: HashMap<String, Progress>,
    /// What was not taken of the source that is written, while its progress has to be read again.
    refused: Vec<Id>,
}

impl Writer {
    fn new(config: &Config, name: &str) -> Result<Writer, String> {
        let database = database::endpoint(&config.endpoint).map_err(|failure| failure.message())?;
        let dialect = Dialect::of(database.dialect())?;
        let book = Book::new(dialect.quote(&config.progress_table)?, name.to_owned(), dialect);
        Ok(Writer {
            database,
            dialect,
            table: Table::new(config, dialect)?,
            book,
            progress: HashMap::new(),
            refused: Vec::new(),
        })
    }

    /// Writes rows, all in one transaction, or by halves where the database does not take one of them.
    fn write(&mut self, config: &Config, source: &str, rows: &[Row<'_>], rejects: &mut Rejects) {
        let mut parts = vec![rows];
        let mut surprises = 0;
        while let Some(part) = parts.pop() {
            let failure = match self.attempt(config, source, part, rejects) {
                Ok(()) => {
                    surprises = 0;
                    continue;
                }
                Err(failure) => failure,
            };
            match (&failure, part) {
                (Failure::Wrong { .. } | Failure::Refused(_), [only]) => {
                    if let Some(progress) = self.progress.get_mut(source) {
                        progress.refuse(place(only));
                    }
                    rejects.add(only.record, Reject::permanent(failure.message()));
                }
                (Failure::Wrong { .. } | Failure::Refused(_), _) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                // Somebody was here meanwhile, or the commit was lost: what is there now is asked first.
                (Failure::Unexpected(_) | Failure::Unknown(_) | Failure::Missing(_), _)
                    if surprises < SURPRISES_MAX =>
                {
                    surprises += 1;
                    let known = self.progress.remove(source).unwrap_or_default();
                    self.refused.extend(known.refused());
                    self.table.forget();
                    parts.push(part);
                }
                _ => database::begin_again(&failure.message()),
            }
        }
    }

    fn attempt(
        &mut self,
        config: &Config,
        source: &str,
        rows: &[Row<'_>],
        rejects: &mut Rejects,
    ) -> Result<(), Failure> {
        let mut progress = match self.progress.get(source) {
            Some(known) => known.clone(),
            None => {
                let mut read = self.book.read(&self.database, source)?;
                std::mem::take(&mut self.refused).into_iter().for_each(|id| read.refuse(id));
                self.progress.insert(source.to_owned(), read.clone());
                read
            }
        };
        let rows: Vec<Row<'_>> = rows.iter().filter(|row| !progress.has(place(row))).cloned().collect();
        if rows.is_empty() {
            return Ok(());
        }
        let told = self.table.prepare(config, &self.database, &rows)?;
        let mut prepared = Vec::with_capacity(rows.len());
        for row in &rows {
            match self.prepared(config, row) {
                Ok(row) => prepared.push(row),
                Err(why) => {
                    progress.refuse(place(row));
                    let more = told.first().map(|why| format!(" ({why})")).unwrap_or_default();
                    rejects.add(row.record, Reject::permanent(format!("{why}{more}")));
                }
            }
        }
        let ids: Vec<_> = prepared.iter().map(|row| row.id).collect();
        if ids.is_empty() {
            self.progress.insert(source.to_owned(), progress);
            return Ok(());
        }
        let next = progress.after(&ids);
        let mut statements = vec![self.book.advance(source, &progress, &next)];
        statements.extend(plan::statements(self.dialect, config.mode, &self.table.name, &prepared));
        self.database.transact(statements)?;
        self.progress.insert(source.to_owned(), next);
        Ok(())
    }

    /// A row as the database takes it, or why it does not.
    fn prepared(&self, config: &Config, row: &Row<'_>) -> Result<Prepared, String> {
        let (mut columns, mut values) = (Vec::with_capacity(row.cells.len()), Vec::with_capacity(row.cells.len()));
        let mut seen: Vec<String> = Vec::with_capacity(row.cells.len());
        for (column, value) in &row.cells {
            let quoted = self.dialect.quote(column);
            let Some(kind) = self.table.kind(config, column) else {
                if value.is_null() {
                    continue;
                }
                quoted?;
                let help = if config.add_columns { "" } else { "; with `add_columns: true` it is added" };
                return Err(format!("the table has no column {column:?}{help}"));
            };
            let key = self.table.key(column);
            if seen.contains(&key) {
                return Err(format!("two of its fields go to the column {column:?}"));
            }
            seen.push(key);
            columns.push(quoted?);
            values
                .push(value::ready(value, kind, self.dialect).map_err(|why| format!("the column {column:?}: {why}"))?);
        }
        if columns.is_empty() {
            return Err("it has no value for any column".into());
        }
        Ok(Prepared { id: place(row), is_delete: row.is_delete, keys: row.keys, columns, values })
    }
}

/// The place of a row's record among those of its source.
fn place(row: &Row<'_>) -> Id {
    Id { offset: row.id.offset, ordinal: row.id.ordinal }
}

weir_plugin::export_sink!(SqlSink);
