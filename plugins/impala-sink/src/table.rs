//! The table that is written: which columns it has, and how it comes by those that it lacks.

use std::collections::{BTreeMap, BTreeSet};

use weir_plugin::database::{Cell, Dialect, Endpoint, Failure, Statement};
use weir_plugin::rows::Row;

use crate::config::{Config, Mode};
use crate::value::Kind;

/// A table.
pub struct Table {
    /// Its name, quoted.
    pub name: String,
    dialect: Dialect,
    /// Its columns in lower case, as all of these servers keep them. None while it is not known.
    columns: Option<BTreeMap<String, TableColumn>>,
}

/// What is known of a column.
struct TableColumn {
    /// Its type, where that is one that is written.
    kind: Option<Kind>,
    /// Whether the server says that it takes no null. Impala leaves rows out that break it, without an error.
    needs_value: bool,
}

impl Table {
    /// A table of which nothing is known yet.
    pub fn new(config: &Config, dialect: Dialect) -> Result<Table, String> {
        let parts = config.table.split('.').map(|part| dialect.quote(part));
        let name = parts.collect::<Result<Vec<_>, _>>()?.join(".");
        Ok(Table { name, dialect, columns: None })
    }

    /// Forgets what is known of it.
    pub fn forget(&mut self) {
        self.columns = None;
    }

    /// The type of a column. The error says why nothing can be written there.
    pub fn kind(&self, config: &Config, column: &str) -> Result<&Kind, String> {
        match self.columns.as_ref().and_then(|columns| columns.get(&column.to_lowercase())) {
            Some(TableColumn { kind: Some(kind), .. }) => Ok(kind),
            Some(TableColumn { kind: None, .. }) => {
                Err(format!("the column {column:?} is of a type that is not written"))
            }
            None => {
                let help = if config.add_columns { "" } else { "; with `add_columns: true` it is added" };
                Err(format!("the table has no column {column:?}{help}"))
            }
        }
    }

    /// Whether a column takes no null.
    pub fn needs_value(&self, column: &str) -> bool {
        let known = self.columns.as_ref().and_then(|columns| columns.get(&column.to_lowercase()));
        known.is_some_and(|column| column.needs_value)
    }

    /// Reads its columns, and creates or adds what rows want and may be had.
    pub fn prepare(&mut self, config: &Config, database: &Endpoint, rows: &[Row<'_>]) -> Result<(), Failure> {
        if self.columns.is_none() {
            match self.load(config, database) {
                Err(Failure::Missing(_)) if config.create_table => {
                    self.create(config, database, rows)?;
                    self.load(config, database)?;
                }
                Err(Failure::Missing(why)) => {
                    let help = format!("there is no table {}; with `create_table: true` Impala creates it", self.name);
                    return Err(Failure::Missing(format!("{help} ({why})")));
                }
                loaded => loaded?,
            }
        }
        let wanted = if config.add_columns { self.wanted(config, rows) } else { Vec::new() };
        if !wanted.is_empty() {
            let columns = wanted.join(", ");
            let add = format!("ALTER TABLE {} ADD COLUMNS ({columns})", self.name);
            match database.transact(vec![Statement::of(add)]) {
                // Another writer may have added it meanwhile; what is not there is told of where it is written.
                Ok(_) | Err(Failure::Refused(_) | Failure::Wrong { .. }) => {}
                Err(failure) => return Err(failure),
            }
            self.load(config, database)?;
        }
        Ok(())
    }

    fn load(&mut self, config: &Config, database: &Endpoint) -> Result<(), Failure> {
        if config.mode == Mode::Upsert {
            let told = database.transact(vec![Statement::of(format!("DESCRIBE FORMATTED {}", self.name))])?;
            if !told.iter().flat_map(|outcome| outcome.rows()).any(|row| is_of_kudu(&row)) {
                let what = "a row takes the place of another in tables of Kudu alone, and this is none";
                return Err(Failure::Refused(format!("{}: {what}; with `mode: insert` rows are added", self.name)));
            }
        }
        let told = database.transact(vec![Statement::of(format!("DESCRIBE {}", self.name))])?;
        let mut columns = BTreeMap::new();
        let nullable = told.first().and_then(|outcome| outcome.columns.iter().position(|name| name == "nullable"));
        for row in told.iter().flat_map(|outcome| outcome.rows()) {
            let [name, kind, ..] = row.as_slice() else { continue };
            let name = text(*name).trim().to_lowercase();
            // What partitions a table of Hive or Spark is told once more behind this.
            if name.is_empty() || name.starts_with('#') {
                break;
            }
            let needs_value = nullable.and_then(|at| row.get(at)).is_some_and(|cell| text(*cell) == "false");
            columns.insert(name, TableColumn { kind: Kind::read(text(*kind)), needs_value });
        }
        self.columns = Some(columns);
        Ok(())
    }

    /// The columns that rows have and the table lacks, as they are declared. One that is null in all of them can wait.
    fn wanted(&self, config: &Config, rows: &[Row<'_>]) -> Vec<String> {
        let mut wanted = BTreeMap::new();
        let known =
            |column: &str| self.columns.as_ref().is_some_and(|columns| columns.contains_key(&column.to_lowercase()));
        for (column, value) in rows.iter().flat_map(|row| &row.cells).filter(|(_, value)| !value.is_null()) {
            let Ok(quoted) = self.dialect.quote(column) else { continue };
            if !known(column) {
                let kind = config.kind(column).cloned().unwrap_or_else(|| Kind::of(value));
                wanted.entry(column.to_lowercase()).or_insert_with(|| format!("{quoted} {kind}"));
            }
        }
        wanted.into_values().collect()
    }

    fn create(&self, config: &Config, database: &Endpoint, rows: &[Row<'_>]) -> Result<(), Failure> {
        let Some(first) = rows.iter().find(|row| !row.is_delete).or(rows.first()) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        let (mut columns, mut keys) = (Vec::new(), Vec::new());
        for (at, (column, value)) in first.cells.iter().enumerate() {
            let (is_key, quoted) = (at < first.keys, self.dialect.quote(column));
            let Ok(quoted) = quoted else { continue };
            if (value.is_null() && config.kind(column).is_none() && !is_key) || !seen.insert(column.to_lowercase()) {
                continue;
            }
            let kind = config.kind(column).cloned().unwrap_or_else(|| Kind::of(value));
            columns.push(format!("{quoted} {kind}{}", if is_key { " NOT NULL" } else { "" }));
            if is_key {
                keys.push(quoted);
            }
        }
        let (columns, keys, partitions) = (columns.join(", "), keys.join(", "), config.partitions);
        let replicas =
            config.replicas.map(|replicas| format!(" TBLPROPERTIES ('kudu.num_tablet_replicas' = '{replicas}')"));
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} ({columns}, PRIMARY KEY ({keys})) PARTITION BY HASH ({keys}) PARTITIONS {partitions} STORED AS KUDU{}",
            self.name,
            replicas.unwrap_or_default()
        );
        database.transact(vec![Statement::of(create)]).map(drop)
    }
}

/// Whether a line of what a table is says that Kudu keeps it: as provider of Spark, storage handler of Hive and Impala, or property.
fn is_of_kudu(line: &[Cell<'_>]) -> bool {
    let words: Vec<String> = line.iter().map(|cell| text(*cell).trim().to_ascii_lowercase()).collect();
    let says_who =
        |name: &str| matches!(name.trim_end_matches(':'), "provider" | "storage_handler" | "storage handler");
    let is_named = words.windows(2).any(|pair| matches!(pair, [name, who] if says_who(name) && who.contains("kudu")));
    is_named || words.iter().any(|word| word == "kudu.table_name" || word == "kudu.master_addresses")
}

fn text(cell: Cell<'_>) -> &str {
    if let Cell::Text(text) = cell { text } else { "" }
}
