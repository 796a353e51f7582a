//! From rows to statements: runs of rows with the same columns become one statement each.

use std::collections::BTreeSet;

use weir_plugin::database::{Cell, Cells, Statement};

use crate::config::Mode;
use crate::dialect::Dialect;
use crate::progress::Id;
use crate::value::Ready;

/// Values of a statement: both protocols count them in 16 bits.
const VALUES_MAX: usize = 60_000;

/// A row as the database takes it.
pub struct Prepared {
    /// The record's place.
    pub id: Id,
    /// Whether it deletes.
    pub is_delete: bool,
    /// How many of the columns are of the primary key.
    pub keys: usize,
    /// Quoted names of columns.
    pub columns: Vec<String>,
    /// Their values.
    pub values: Vec<Ready>,
}

impl Prepared {
    fn is_like(&self, other: &Prepared) -> bool {
        self.is_delete == other.is_delete && self.columns == other.columns
    }

    /// Its values as an update takes them.
    fn keys_last(&self) -> Vec<&Ready> {
        let (keys, others) = self.values.split_at_checked(self.keys).unwrap_or_default();
        others.iter().chain(keys).collect()
    }
}

/// The statements that write rows, in their order.
pub fn statements(dialect: Dialect, mode: Mode, table: &str, rows: &[Prepared]) -> Vec<Statement> {
    let mut statements = Vec::new();
    for run in rows.chunk_by(|a, b| a.is_like(b)) {
        let width = run.first().map_or(1, |row| row.columns.len().max(1));
        for run in run.chunks((VALUES_MAX / width).max(1)) {
            statements.extend(statement(dialect, mode, table, run));
        }
    }
    statements
}

fn statement(dialect: Dialect, mode: Mode, table: &str, run: &[Prepared]) -> Option<Statement> {
    let first = run.first()?;
    let (keys, others) = first.columns.split_at_checked(first.keys)?;
    let mark = |number| dialect.placeholder(number);
    let equal = |names: &[String], from: usize, separator: &str| {
        let parts = names.iter().zip(from..).map(|(name, number)| format!("{name} = {}", mark(number)));
        parts.collect::<Vec<_>>().join(separator)
    };
    if first.is_delete {
        let text = format!("DELETE FROM {table} WHERE {}", equal(keys, 1, " AND "));
        return Some(each(text, run.iter().map(|row| row.values.iter().collect())));
    }
    if mode == Mode::Update {
        if others.is_empty() {
            return None;
        }
        let text =
            format!("UPDATE {table} SET {} WHERE {}", equal(others, 1, ", "), equal(keys, others.len() + 1, " AND "));
        return Some(each(text, run.iter().map(Prepared::keys_last)));
    }
    let rows = if mode == Mode::Upsert { latest(run) } else { run.iter().collect() };
    let width = first.columns.len();
    let mut text = format!("INSERT INTO {table} ({}) VALUES ", first.columns.join(", "));
    for row in 0..rows.len() {
        let marks: Vec<String> = (1..=width).map(|number| mark(row * width + number)).collect();
        text.push_str(if row > 0 { ", (" } else { "(" });
        text.push_str(&marks.join(", "));
        text.push(')');
    }
    if mode == Mode::Upsert {
        text.push_str(&otherwise(dialect, keys, others));
    }
    let values: Cells = rows.iter().flat_map(|row| &row.values).map(cell).collect();
    Some(Statement { text, rows: 1, values, expected: None })
}

/// What an upsert does where the row is there.
fn otherwise(dialect: Dialect, keys: &[String], others: &[String]) -> String {
    let set = |of: &dyn Fn(&str) -> String| {
        others.iter().map(|name| format!("{name} = {}", of(name))).collect::<Vec<_>>().join(", ")
    };
    match (dialect, others.is_empty()) {
        (Dialect::Mysql, true) => {
            let first = keys.first().map_or("", String::as_str);
            format!(" ON DUPLICATE KEY UPDATE {first} = {first}")
        }
        (Dialect::Mysql, false) => format!(" ON DUPLICATE KEY UPDATE {}", set(&|name| format!("VALUES({name})"))),
        (Dialect::Postgres, true) => format!(" ON CONFLICT ({}) DO NOTHING", keys.join(", ")),
        (Dialect::Postgres, false) => {
            format!(" ON CONFLICT ({}) DO UPDATE SET {}", keys.join(", "), set(&|name| format!("EXCLUDED.{name}")))
        }
    }
}

/// The last row of each key: one statement must not write a row twice.
fn latest(run: &[Prepared]) -> Vec<&Prepared> {
    let mut seen = BTreeSet::new();
    let mut rows: Vec<&Prepared> = run.iter().rev().filter(|row| seen.insert(row.values.get(..row.keys))).collect();
    rows.reverse();
    rows
}

/// A statement that is executed once a row.
fn each<'a>(text: String, rows: impl Iterator<Item = Vec<&'a Ready>>) -> Statement {
    let (mut values, mut count) = (Cells::default(), 0);
    for row in rows {
        row.into_iter().for_each(|value| values.push(cell(value)));
        count += 1;
    }
    Statement { text, rows: count, values, expected: None }
}

fn cell(value: &Ready) -> Cell<'_> {
    match value {
        Ready::Null => Cell::Null,
        Ready::Text(text) => Cell::Text(text),
        Ready::Bytes(bytes) => Cell::Bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(is_delete: bool, columns: &[&str], values: &[&str]) -> Prepared {
        let columns = columns.iter().map(|name| Dialect::Postgres.quote(name).unwrap()).collect();
        let values = values.iter().map(|value| Ready::Text((*value).into())).collect();
        Prepared { id: Id { offset: 0, ordinal: 0 }, is_delete, keys: 1, columns, values }
    }

    #[test]
    fn rows_alike_are_one_statement_and_their_order_stays() {
        let rows = [
            row(false, &["id", "a"], &["1", "x"]),
            row(false, &["id", "a"], &["2", "x"]),
            row(false, &["id", "a"], &["1", "y"]),
            row(true, &["id"], &["2"]),
            row(false, &["id"], &["2"]),
        ];
        let statements = statements(Dialect::Postgres, Mode::Upsert, "\"t\"", &rows);
        let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "INSERT INTO \"t\" (\"id\", \"a\") VALUES ($1, $2), ($3, $4) ON CONFLICT (\"id\") DO UPDATE SET \"a\" = EXCLUDED.\"a\"",
                "DELETE FROM \"t\" WHERE \"id\" = $1",
                "INSERT INTO \"t\" (\"id\") VALUES ($1) ON CONFLICT (\"id\") DO NOTHING",
            ]
        );
        assert!(statements[0].values.iter().eq(["2", "x", "1", "y"].map(Cell::Text)));
    }
}
