//! How far each source was written: a row that changes in the transaction of the records, so that none is written twice.
//!
//! The row names the last record that was written, and those before it that the database did not take. It is changed only where it
//! still says what it said when it was read: of two writers, one that was thought to be dead among them, only one gets through.

use std::collections::VecDeque;

use weir_plugin::database::{Cell, Endpoint, Failure, Statement};

use crate::dialect::Dialect;

/// Records that were not taken, which a row remembers at most; the oldest go first. They matter until the appliance has kept
/// them as dead letters.
const REFUSED_MAX: usize = 1_000;
/// Characters of a source's name; of a longer one a part and a hash.
const SOURCE_CHARACTERS_MAX: usize = 400;

/// The place of a record among those of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The offset of the input record.
    pub offset: u64,
    /// Which of its outputs.
    pub ordinal: u32,
}

/// How far a source was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    last: Option<Id>,
    refused: VecDeque<Id>,
}

impl Progress {
    /// Whether a record was written.
    pub fn has(&self, id: Id) -> bool {
        self.last.is_some_and(|last| id <= last) && !self.refused.contains(&id)
    }

    /// It once these were written.
    pub fn after(&self, ids: &[Id]) -> Progress {
        let mut next = self.clone();
        next.refused.retain(|id| !ids.contains(id));
        next.last = ids.iter().copied().chain(self.last).max();
        next
    }

    /// Keeps that the database did not take a record.
    pub fn refuse(&mut self, id: Id) {
        if self.refused.contains(&id) {
            return;
        }
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(id);
    }

    /// Those that were not taken.
    pub fn refused(self) -> impl Iterator<Item = Id> {
        self.refused.into_iter()
    }

    fn place(&self) -> (String, String) {
        match self.last {
            Some(Id { offset, ordinal }) => (offset.to_string(), ordinal.to_string()),
            None => ("-1".into(), "0".into()),
        }
    }

    fn refused_text(&self) -> String {
        let ids: Vec<String> = self.refused.iter().map(|id| format!("{}:{}", id.offset, id.ordinal)).collect();
        ids.join(",")
    }
}

/// The table of progress, for one sink.
pub struct Book {
    table: String,
    sink: String,
    dialect: Dialect,
}

impl Book {
    /// `table` as it is quoted.
    pub fn new(table: String, sink: String, dialect: Dialect) -> Book {
        Book { table, sink, dialect }
    }

    /// Reads how far a source was written, and sees to it that there is a row and a table.
    pub fn read(&self, database: &Endpoint, source: &str) -> Result<Progress, Failure> {
        let read = self.read_row(database, source);
        if !matches!(read, Err(Failure::Missing(_))) {
            return read;
        }
        let (text, engine) = match self.dialect {
            Dialect::Mysql => ("CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "ENGINE=InnoDB"),
            Dialect::Postgres => ("", ""),
        };
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} (sink VARCHAR(200) {text} NOT NULL, source VARCHAR(500) {text} NOT NULL, \
             record_offset BIGINT NOT NULL, ordinal BIGINT NOT NULL, refused TEXT NOT NULL, PRIMARY KEY (sink, source)) {engine}",
            self.table
        );
        database.transact(vec![Statement::of(create)])?;
        self.read_row(database, source)
    }

    fn read_row(&self, database: &Endpoint, source: &str) -> Result<Progress, Failure> {
        let (mark, name) = (|number| self.dialect.placeholder(number), name(source));
        let key = [Cell::Text(&self.sink), Cell::Text(&name)];
        let insert = match self.dialect {
            Dialect::Mysql => ("INSERT IGNORE INTO", ""),
            Dialect::Postgres => ("INSERT INTO", "ON CONFLICT DO NOTHING"),
        };
        let insert = format!("{} {} VALUES ({}, {}, -1, 0, '') {}", insert.0, self.table, mark(1), mark(2), insert.1);
        let select = format!(
            "SELECT record_offset, ordinal, refused FROM {} WHERE sink = {} AND source = {}",
            self.table,
            mark(1),
            mark(2)
        );
        let done = database.transact(vec![Statement::of(insert).row(key), Statement::of(select).row(key)])?;
        let row: Vec<String> = done.last().into_iter().flat_map(|outcome| outcome.rows.iter()).map(text).collect();
        let [offset, ordinal, refused] = row.as_slice() else {
            return Err(Failure::Unavailable("the row of progress cannot be read".into()));
        };
        let id =
            |offset: &str, ordinal: &str| Some(Id { offset: offset.parse().ok()?, ordinal: ordinal.parse().ok()? });
        let refused = refused.split(',').filter_map(|entry| entry.split_once(':'));
        Ok(Progress { last: id(offset, ordinal), refused: refused.filter_map(|(a, b)| id(a, b)).collect() })
    }

    /// The statement that goes on from one state to the next, and fails where the first is not what is there.
    pub fn advance(&self, source: &str, from: &Progress, to: &Progress) -> Statement {
        let mark = |number| self.dialect.placeholder(number);
        let text = format!(
            "UPDATE {} SET record_offset = {}, ordinal = {}, refused = {} WHERE sink = {} AND source = {} AND record_offset = {} \
             AND ordinal = {}",
            self.table,
            mark(1),
            mark(2),
            mark(3),
            mark(4),
            mark(5),
            mark(6),
            mark(7)
        );
        let ((offset, ordinal), refused, name) = (to.place(), to.refused_text(), name(source));
        let (old_offset, old_ordinal) = from.place();
        let values = [&offset, &ordinal, &refused, &self.sink, &name, &old_offset, &old_ordinal];
        Statement::of(text).row(values.map(|value| Cell::Text(value))).expecting(1)
    }
}

/// A value as text.
pub fn text(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Text(text) => text.to_owned(),
        Cell::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The name of a source as it fits its column.
fn name(source: &str) -> String {
    if source.chars().count() <= SOURCE_CHARACTERS_MAX {
        return source.to_owned();
    }
    let hash =
        |seed: u64| source.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let kept: String = source.chars().take(SOURCE_CHARACTERS_MAX).collect();
    format!("{kept}#{:016x}{:016x}", hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15))
}
