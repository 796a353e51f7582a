//! The table that is written: which columns it has, and how it comes by those that it lacks.

use std::collections::BTreeMap;

use weir_plugin::kudu::{Column, Endpoint, Failure, Hash, NewTable};
use weir_plugin::rows::{Mapping, Row, Value};

use crate::config::{Config, Kind};

/// Columns that are added one by one in a call: as many as a table of Kudu has at most, unless it is set otherwise.
const ADDED_MAX: usize = 300;
/// Columns that were refused, which are remembered.
const REFUSED_MAX: usize = 10_000;

/// A table.
#[derive(Default)]
pub struct Table {
    /// The types of its columns; none while it is not known.
    columns: Option<BTreeMap<String, String>>,
    /// Columns that it cannot have, and why.
    refused: BTreeMap<String, String>,
}

impl Table {
    /// Whether its columns are known.
    pub fn is_known(&self) -> bool {
        self.columns.is_some()
    }

    /// Forgets what is known of it.
    pub fn forget(&mut self) {
        self.columns = None;
    }

    /// The type of a column.
    pub fn kind(&self, column: &str) -> Option<&str> {
        self.columns.as_ref()?.get(column).map(String::as_str)
    }

    /// Why it has no such column.
    pub fn why_not(&self, column: &str) -> Option<&str> {
        self.refused.get(column).map(String::as_str)
    }

    /// Reads its columns, and creates or adds what rows want and may be had.
    pub fn prepare(
        &mut self,
        config: &Config,
        mapping: &Mapping,
        cluster: &Endpoint,
        rows: &[Row<'_>],
    ) -> Result<(), Failure> {
        if self.columns.is_none() && !self.load(config, cluster)? {
            if !config.create_table {
                let missing = format!("there is no table {:?}; with `create_table: true` it is created", config.table);
                return Err(Failure::Missing(missing));
            }
            create(config, mapping, cluster, rows)?;
            self.load(config, cluster)?;
        }
        let wanted = self.wanted(config, rows);
        if wanted.is_empty() {
            return Ok(());
        }
        if config.add_columns {
            self.add(config, cluster, &wanted)?;
        }
        // Somebody else may have added them.
        self.load(config, cluster).map(drop)
    }

    /// Adds columns together, or else one by one: a name that cannot be is no matter of the others.
    fn add(&mut self, config: &Config, cluster: &Endpoint, wanted: &[Column]) -> Result<(), Failure> {
        match cluster.add_columns(&config.table, wanted) {
            Err(Failure::Refused(_)) => {}
            done => return done,
        }
        for column in wanted.iter().take(ADDED_MAX) {
            match cluster.add_columns(&config.table, std::slice::from_ref(column)) {
                Ok(()) => {}
                Err(Failure::Refused(why)) if self.refused.len() < REFUSED_MAX => {
                    self.refused.insert(column.name.clone(), why);
                }
                Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Whether it is there.
    fn load(&mut self, config: &Config, cluster: &Endpoint) -> Result<bool, Failure> {
        let columns = cluster.describe(&config.table)?;
        let kinds = |columns: Vec<Column>| columns.into_iter().map(|column| (column.name, column.kind)).collect();
        self.columns = columns.map(kinds);
        Ok(self.columns.is_some())
    }

    /// The columns that rows have and the table lacks. One that is null in all of them can wait.
    fn wanted(&self, config: &Config, rows: &[Row<'_>]) -> Vec<Column> {
        let mut wanted: BTreeMap<&str, &Value<'_>> = BTreeMap::new();
        for (column, value) in rows.iter().flat_map(|row| &row.cells).filter(|(_, value)| !value.is_null()) {
            if self.kind(column).is_none() && !self.refused.contains_key(&**column) {
                wanted.entry(column).or_insert(value);
            }
        }
        wanted.into_iter().map(|(name, value)| column(config, name, Some(value), false)).collect()
    }
}

/// A column as it is to be made.
fn column(config: &Config, name: &str, value: Option<&Value<'_>>, is_key: bool) -> Column {
    let declared = config.kind(name).cloned();
    let kind = declared.unwrap_or_else(|| value.map_or_else(|| Kind::plain("string"), kind)).text().to_owned();
    Column { name: name.to_owned(), kind, is_key, is_nullable: !is_key }
}

/// The type of a column that takes a value, where none was declared.
fn kind(value: &Value<'_>) -> Kind {
    match value.first() {
        b'"' | b'{' | b'[' => Kind::plain("string"),
        b't' | b'f' => Kind::plain("bool"),
        _ if value.json().contains(['.', 'e', 'E']) => Kind::plain("double"),
        _ if value.json().parse::<i64>().is_ok() => Kind::plain("int64"),
        _ => Kind::plain("decimal(38, 0)"),
    }
}

/// Creates the table, with the columns that are declared and those of the rows.
fn create(config: &Config, mapping: &Mapping, cluster: &Endpoint, rows: &[Row<'_>]) -> Result<(), Failure> {
    let value = |name: &str| {
        let cells = rows.iter().flat_map(|row| &row.cells);
        cells.filter(|(column, value)| column == name && !value.is_null()).map(|(_, value)| value).next()
    };
    let keys: Vec<&str> = mapping.key_columns().collect();
    let mut columns: Vec<Column> = keys.iter().map(|name| column(config, name, value(name), true)).collect();
    let seen =
        rows.iter().flat_map(|row| &row.cells).filter(|(_, value)| !value.is_null()).map(|(column, _)| &**column);
    for name in config.declared().map(|(name, _)| name).chain(seen) {
        let is_name = !name.is_empty() && name.len() <= 256 && !name.contains('\0');
        if is_name && !columns.iter().any(|column| column.name == name) {
            columns.push(column(config, name, value(name), false));
        }
    }
    let hash = match config.hash.columns.as_slice() {
        [] => keys.into_iter().map(str::to_owned).collect(),
        some => some.to_vec(),
    };
    let hashes = vec![Hash { columns: hash, buckets: config.hash.buckets }];
    let sure = mapping.key_columns().count() + config.declared().count();
    let mut definition = NewTable { columns, hashes, replicas: config.replicas };
    let created = match cluster.create(&config.table, &definition) {
        // Perhaps for a name of a column that a record brought.
        Err(Failure::Refused(_)) if definition.columns.len() > sure => {
            definition.columns.truncate(sure);
            cluster.create(&config.table, &definition)
        }
        created => created,
    };
    // What was configured is no fault of the records: they wait.
    created.map_err(|failure| match failure {
        Failure::Refused(why) => Failure::Unavailable(format!("the table {:?} cannot be created: {why}", config.table)),
        other => other,
    })
}
