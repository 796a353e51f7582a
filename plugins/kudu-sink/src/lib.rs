//! Writes records into a table of Apache Kudu: upserts, inserts, updates and deletes by primary key.
//!
//! Kudu has no transaction that spans rows. A replay writes the same rows with the same keys again, which changes nothing: so each
//! record is there once. A row that Kudu does not take is rejected alone. Where the cluster is away, the task begins
//! again from its last commit.

mod config;
mod table;

pub use config::Config;

use weir_plugin::kudu::{self, Cell, Endpoint, Failure, Operation, Rows};
use weir_plugin::rows::{Mapping, Row, Value};
use weir_plugin::{ConfigError, Context, Delivery, Record, RecordId, Reject, Rejects, Result, Sink};

use config::Mode;
use table::Table;

/// How often in a row a table may turn out to be otherwise than thought.
const SURPRISES_MAX: u32 = 10;
/// Lists of rows of one call.
const LISTS_MAX: usize = 1_000;

/// The plugin.
pub struct KuduSink {
    config: Config,
    mapping: Mapping,
    cluster: Endpoint,
    table: Table,
}

/// Rows as the cluster takes them, and which row of the batch each of them is.
#[derive(Default)]
struct Lists {
    rows: Vec<Rows>,
    places: Vec<Vec<usize>>,
}

impl Sink for KuduSink {
    type Config = Config;

    fn new(config: Config, _: &Context) -> Result<Self, ConfigError> {
        let (mapping, cluster) = (config.check()?, kudu::endpoint(&config.endpoint));
        Ok(KuduSink { table: Table::default(), config, mapping, cluster })
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
        for rows in rows.chunks(self.config.batch_rows_max) {
            write(&self.config, &self.mapping, &self.cluster, &mut self.table, rows, rejects);
        }
    }
}

/// Writes rows, or halves of them where the cluster refuses all together.
fn write(
    config: &Config,
    mapping: &Mapping,
    cluster: &Endpoint,
    table: &mut Table,
    rows: &[Row<'_>],
    rejects: &mut Rejects,
) {
    let mut parts = vec![rows];
    let mut surprises = 0;
    while let Some(part) = parts.pop() {
        let failure = match attempt(config, mapping, cluster, table, part) {
            Ok(wrong) => {
                surprises = 0;
                for (record, reason) in wrong {
                    rejects.add(record, Reject::permanent(reason));
                }
                continue;
            }
            Err(failure) => failure,
        };
        match (&failure, part) {
            (Failure::Refused(_), [only]) => rejects.add(only.record, Reject::permanent(failure.message())),
            (Failure::Refused(_), _) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            // Somebody changed the table meanwhile.
            (Failure::Missing(_), _) if surprises < SURPRISES_MAX && table.is_known() => {
                surprises += 1;
                table.forget();
                parts.push(part);
            }
            _ => kudu::begin_again(&failure.message()),
        }
    }
}

/// Writes rows once. Returns those that were not taken, and why.
fn attempt<'a>(
    config: &Config,
    mapping: &Mapping,
    cluster: &Endpoint,
    table: &mut Table,
    rows: &[Row<'a>],
) -> Result<Vec<(Record<'a>, String)>, Failure> {
    table.prepare(config, mapping, cluster, rows)?;
    let (mut wrong, mut lists) = (Vec::new(), Lists::default());
    for (place, row) in rows.iter().enumerate() {
        if let Err(why) = lists.add(config, table, row, place) {
            wrong.push((row.record, why));
        }
    }
    while !lists.rows.is_empty() {
        let count = lists.rows.len().min(LISTS_MAX);
        let places: Vec<Vec<usize>> = lists.places.drain(..count).collect();
        for refused in cluster.write(&config.table, lists.rows.drain(..count).collect())? {
            let place = places.get(refused.rows as usize).and_then(|list| list.get(refused.row as usize));
            let Some(row) = place.and_then(|place| rows.get(*place)) else { continue };
            wrong.push((row.record, format!("Kudu does not take it: {}", refused.message)));
        }
    }
    Ok(wrong)
}

impl Lists {
    /// Adds a row to the last list, or begins another where it has other columns.
    fn add(&mut self, config: &Config, table: &Table, row: &Row<'_>, place: usize) -> Result<(), String> {
        let mut columns: Vec<&str> = Vec::with_capacity(row.cells.len());
        let mut values: Vec<(&Value<'_>, bool)> = Vec::with_capacity(row.cells.len());
        for (column, value) in &row.cells {
            let Some(kind) = table.kind(column) else {
                if value.is_null() {
                    continue;
                }
                let help = match (table.why_not(column), config.add_columns) {
                    (Some(why), _) => format!(", and cannot have it: {why}"),
                    (None, true) => String::new(),
                    (None, false) => "; with `add_columns: true` it is added".to_owned(),
                };
                return Err(format!("the table has no column {column:?}{help}"));
            };
            columns.push(column);
            values.push((value, kind == "binary"));
        }
        let ready = values.iter().map(|(value, is_binary)| Ready::of(value, *is_binary));
        let ready = ready.zip(&columns).map(|(ready, column)| ready.map_err(|why| format!("column {column:?}: {why}")));
        let ready = ready.collect::<Result<Vec<_>, String>>()?;
        let operation = match (row.is_delete, config.mode) {
            (true, _) => Operation::DeleteIgnore,
            (false, Mode::Upsert) => Operation::Upsert,
            (false, Mode::Insert) => Operation::InsertIgnore,
            (false, Mode::Update) => Operation::Update,
        };
        let is_like = |rows: &Rows| rows.operation == operation && rows.columns.iter().eq(columns.iter());
        if !self.rows.last().is_some_and(is_like) {
            self.rows.push(Rows::new(operation, columns));
            self.places.push(Vec::new());
        }
        if let (Some(rows), Some(places)) = (self.rows.last_mut(), self.places.last_mut()) {
            rows.push(ready.iter().map(Ready::cell));
            places.push(place);
        }
        Ok(())
    }
}

/// What goes into a column.
enum Ready<'a> {
    Null,
    Text(std::borrow::Cow<'a, str>),
    Bytes(Vec<u8>),
}

impl<'a> Ready<'a> {
    fn of(value: &'a Value<'_>, is_binary: bool) -> Result<Self, String> {
        Ok(match (value.is_null(), is_binary) {
            (true, _) => Ready::Null,
            (false, true) => Ready::Bytes(value.bytes()?),
            (false, false) => Ready::Text(value.text()?),
        })
    }

    fn cell(&self) -> Cell<'_> {
        match self {
            Ready::Null => Cell::Null,
            Ready::Text(text) => Cell::Text(text),
            Ready::Bytes(bytes) => Cell::Bytes(bytes),
        }
    }
}

weir_plugin::export_sink!(KuduSink);
