//! Rows to be written: checked against the schema, encoded as the wire wants them, and taken apart by tablet.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::cell::{self, Cell};
use crate::error::{Error, Result};
use crate::partition::PartitionSchema;
use crate::proto::common::RowOperations;
use crate::schema::{Column, Schema};
use crate::value::ValueRef;

/// What is done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Adds it; fails where its key is there.
    Insert,
    /// Adds it; does nothing where its key is there.
    InsertIgnore,
    /// Adds it, or changes the columns that it names where its key is there.
    Upsert,
    /// Changes the columns that it names; fails where its key is not there.
    Update,
    /// Changes the columns that it names; does nothing where its key is not there.
    UpdateIgnore,
    /// Removes the row of its key; fails where that is not there.
    Delete,
    /// Removes the row of its key; does nothing where that is not there.
    DeleteIgnore,
}

impl Operation {
    fn wire(self) -> u8 {
        match self {
            Operation::Insert => 1,
            Operation::Update => 2,
            Operation::Delete => 3,
            Operation::Upsert => 5,
            Operation::InsertIgnore => 10,
            Operation::UpdateIgnore => 11,
            Operation::DeleteIgnore => 12,
        }
    }

    /// Whether it may add a row, which then has to be whole.
    fn adds(self) -> bool {
        matches!(self, Operation::Insert | Operation::InsertIgnore | Operation::Upsert)
    }

    fn deletes(self) -> bool {
        matches!(self, Operation::Delete | Operation::DeleteIgnore)
    }
}

/// The values of one row, set in any order. Columns that are not set keep what they hold, or get their defaults.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    schema: Arc<Schema>,
    cells: Vec<Option<ValueRef<'a>>>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        let cells = vec![None; schema.columns().len()];
        Row { schema, cells }
    }

    /// Sets a column by name. The error names the column.
    pub fn set(&mut self, column: &str, value: impl Into<ValueRef<'a>>) -> Result<&mut Self> {
        let index = self.schema.index(column).ok_or_else(|| self.schema.no_column(column))?;
        self.set_at(index, value)
    }

    /// Sets a column by its place in the schema.
    pub fn set_at(&mut self, index: usize, value: impl Into<ValueRef<'a>>) -> Result<&mut Self> {
        let Some((cell, column)) = self.cells.get_mut(index).zip(self.schema.columns().get(index)) else {
            let count = self.schema.columns().len();
            return Err(Error::Invalid(format!("expected a column below {count}, got {index}")));
        };
        let value = value.into();
        check(column, value)?;
        *cell = Some(value);
        Ok(self)
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.cells.fill(None);
    }
}

/// Whether a column takes a value.
fn check<'a>(column: &Column, value: ValueRef<'a>) -> Result<Option<Cell<'a>>> {
    if value == ValueRef::Null {
        let reason = || format!("expected {}, got null: the column is not nullable", column.column_type);
        return if column.is_nullable { Ok(None) } else { Err(Error::column(&column.name, reason())) };
    }
    if column.is_auto_incrementing {
        return Err(Error::column(&column.name, "expected nothing: the server fills in this column"));
    }
    cell::of(column, value).map(Some)
}

/// Rows for one table, in the order in which they are to take effect.
#[derive(Debug, Clone)]
pub struct Batch {
    schema: Arc<Schema>,
    partition: Arc<PartitionSchema>,
    encoded: Encoded,
    /// The keys by which the rows find their tablets.
    keys: Vec<u8>,
    ends: Vec<Ends>,
}

/// Rows as they travel. Where text and bytes lie is written relative to the row's own, until rows are put together.
#[derive(Debug, Clone, Default)]
struct Encoded {
    rows: Vec<u8>,
    indirect: Vec<u8>,
    /// Where in `rows` such places stand.
    places: Vec<usize>,
}

/// Where a row ends in each buffer; it begins where the one before ends.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    rows: usize,
    indirect: usize,
    places: usize,
    keys: usize,
}

impl Batch {
    pub(crate) fn new(schema: Arc<Schema>, partition: Arc<PartitionSchema>) -> Self {
        Batch { schema, partition, encoded: Encoded::default(), keys: Vec::new(), ends: Vec::new() }
    }

    /// Adds a row and returns its index. A row with an error is not added, and the error names the column.
    pub fn push(&mut self, operation: Operation, row: &Row<'_>) -> Result<usize> {
        self.push_cells(operation, &row.cells)
    }

    /// As [`Batch::push`], from one value for each column of the table; `None` where a row says nothing of it.
    pub fn push_cells(&mut self, operation: Operation, cells: &[Option<ValueRef<'_>>]) -> Result<usize> {
        let pushed = self.encode(operation, cells);
        if pushed.is_err() {
            let end = self.end();
            self.encoded.rows.truncate(end.rows);
            self.encoded.indirect.truncate(end.indirect);
            self.encoded.places.truncate(end.places);
            self.keys.truncate(end.keys);
        }
        pushed
    }

    fn encode(&mut self, operation: Operation, cells: &[Option<ValueRef<'_>>]) -> Result<usize> {
        let count = self.schema.columns().len();
        if cells.len() != count {
            return Err(Error::Invalid(format!("expected {count} values, got {}", cells.len())));
        }
        let begin = self.end();
        self.encoded.row(operation, &self.schema, cells, begin.indirect)?;
        self.partition.write_key(&self.schema, cells, &mut self.keys)?;
        self.ends.push(Ends {
            rows: self.encoded.rows.len(),
            indirect: self.encoded.indirect.len(),
            places: self.encoded.places.len(),
            keys: self.keys.len(),
        });
        Ok(self.ends.len() - 1)
    }

    /// How many rows it holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What the rows take up, encoded.
    pub fn bytes(&self) -> usize {
        self.encoded.rows.len() + self.encoded.indirect.len()
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn end(&self) -> Ends {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Where a row lies in each buffer.
    fn place(&self, index: usize) -> Option<(Ends, Ends)> {
        let begin = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => Ends::default(),
        };
        Some((begin, *self.ends.get(index)?))
    }

    /// The partition keys of all rows, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| {
            let (begin, end) = self.place(index)?;
            self.keys.get(begin.keys..end.keys)
        })
    }

    /// The bytes that one row takes up.
    pub(crate) fn row_bytes(&self, index: usize) -> usize {
        self.place(index).map_or(0, |(begin, end)| end.rows - begin.rows + end.indirect - begin.indirect)
    }

    /// Some of the rows as one request carries them.
    pub(crate) fn collect(&self, indexes: &[usize]) -> RowOperations {
        let size = |part: fn(&Ends) -> usize| {
            let sizes = indexes.iter().filter_map(|index| self.place(*index)).map(|(b, e)| part(&e) - part(&b));
            sizes.sum::<usize>()
        };
        let (rows, indirect) = (size(|ends| ends.rows), size(|ends| ends.indirect));
        let mut out =
            Encoded { rows: Vec::with_capacity(rows), indirect: Vec::with_capacity(indirect), places: Vec::new() };
        for (begin, end) in indexes.iter().filter_map(|index| self.place(*index)) {
            out.append(&self.encoded, begin, end);
        }
        out.finish()
    }
}

impl Encoded {
    fn row(
        &mut self,
        operation: Operation,
        schema: &Schema,
        cells: &[Option<ValueRef<'_>>],
        base: usize,
    ) -> Result<()> {
        let bitmap = schema.columns().len().div_ceil(8);
        let begin = self.rows.len();
        let (set, null) = (begin + 1, begin + 1 + bitmap);
        let bitmaps = if schema.has_nullable { 2 * bitmap } else { bitmap };
        self.rows.push(operation.wire());
        self.rows.resize(begin + 1 + bitmaps, 0);
        for (index, (column, value)) in schema.columns().iter().zip(cells).enumerate() {
            let Some(value) = value else {
                check_unset(operation, column)?;
                continue;
            };
            if operation.deletes() && !column.is_key {
                return Err(Error::column(&column.name, "expected key columns alone in a row to be deleted"));
            }
            self.raise(set, index);
            match check(column, *value)? {
                Some(cell) => self.cell(cell, base),
                None => self.raise(null, index),
            }
        }
        Ok(())
    }

    fn raise(&mut self, bitmap: usize, index: usize) {
        if let Some(byte) = self.rows.get_mut(bitmap + index / 8) {
            *byte |= 1 << (index % 8);
        }
    }

    fn cell(&mut self, cell: Cell<'_>, base: usize) {
        match cell {
            Cell::Fixed(..) => self.rows.extend_from_slice(cell.bytes()),
            Cell::Bytes(bytes) => {
                self.places.push(self.rows.len());
                self.rows.extend(((self.indirect.len() - base) as u64).to_le_bytes());
                self.rows.extend((bytes.len() as u64).to_le_bytes());
                self.indirect.extend_from_slice(bytes);
            }
        }
    }

    /// Copies a row, and moves the places of its text and bytes behind what is there already.
    fn append(&mut self, from: &Encoded, begin: Ends, end: Ends) {
        let (at, base) = (self.rows.len(), self.indirect.len() as u64);
        self.rows.extend_from_slice(from.rows.get(begin.rows..end.rows).unwrap_or_default());
        self.indirect.extend_from_slice(from.indirect.get(begin.indirect..end.indirect).unwrap_or_default());
        for place in from.places.get(begin.places..end.places).unwrap_or_default() {
            let place: Range<usize> = place - begin.rows + at..place - begin.rows + at + 8;
            if let Some(bytes) = self.rows.get_mut(place).and_then(|bytes| bytes.first_chunk_mut::<8>()) {
                *bytes = (u64::from_le_bytes(*bytes) + base).to_le_bytes();
            }
        }
    }

    fn finish(self) -> RowOperations {
        RowOperations { rows: Some(Bytes::from(self.rows)), indirect_data: Some(Bytes::from(self.indirect)) }
    }
}

/// Whether a row may say nothing of a column.
fn check_unset(operation: Operation, column: &Column) -> Result<()> {
    if column.is_auto_incrementing {
        return Ok(());
    }
    if column.is_key {
        return Err(Error::column(&column.name, "expected a value, as the column is part of the key"));
    }
    if operation.adds() && !column.is_nullable && column.default.is_none() {
        return Err(Error::column(&column.name, "expected a value, as the column has no default and is not nullable"));
    }
    Ok(())
}

/// Bounds of ranges, which travel as rows do: an operation, and the values of the columns that bound.
pub(crate) fn bounds(schema: &Schema, bounds: &[(u8, Vec<Option<ValueRef<'_>>>)]) -> Result<RowOperations> {
    let mut out = Encoded::default();
    let bitmap = schema.columns().len().div_ceil(8);
    for (operation, cells) in bounds {
        let begin = out.rows.len();
        out.rows.push(*operation);
        let bitmaps = if schema.has_nullable { 2 * bitmap } else { bitmap };
        out.rows.resize(begin + 1 + bitmaps, 0);
        for (index, (column, value)) in schema.columns().iter().zip(cells).enumerate() {
            if let Some(value) = value {
                out.raise(begin + 1, index);
                out.cell(cell::of(column, *value)?, 0);
            }
        }
    }
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::common::PartitionSchemaMessage;
    use crate::schema::ColumnType;
    use crate::value::Value;

    fn batch(columns: Vec<Column>) -> Batch {
        let schema = Schema::new(columns).unwrap();
        let partition = PartitionSchema::from_wire(&PartitionSchemaMessage::default(), &schema).unwrap();
        Batch::new(Arc::new(schema), Arc::new(partition))
    }

    fn mixed() -> Batch {
        batch(vec![
            Column::key("id", ColumnType::Int16),
            Column::nullable("name", ColumnType::String),
            Column::new("flag", ColumnType::Bool).with_default(Value::Bool(true)),
            Column::nullable("note", ColumnType::String),
        ])
    }

    #[test]
    fn a_row_is_operation_bitmaps_and_cells() {
        let mut batch = mixed();
        let mut row = Row::new(Arc::clone(batch.schema()));
        row.set("name", "ab").unwrap().set("id", 258_i64).unwrap().set("note", ValueRef::Null).unwrap();
        assert_eq!(batch.push(Operation::Upsert, &row).unwrap(), 0);
        let wire = batch.collect(&[0]);
        let mut expected = vec![5, 0b1011, 0b1000, 2, 1];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(wire.rows.unwrap(), expected);
        assert_eq!(wire.indirect_data.unwrap(), "ab");
    }

    #[test]
    fn there_is_no_bitmap_of_nulls_where_nothing_is_nullable() {
        let mut batch = batch(vec![Column::key("id", ColumnType::Int8)]);
        batch.push_cells(Operation::Delete, &[Some(ValueRef::Int8(7))]).unwrap();
        assert_eq!(batch.collect(&[0]).rows.unwrap(), [3, 1, 7].as_slice());
    }

    #[test]
    fn rows_that_are_put_together_keep_their_texts() {
        let mut batch = mixed();
        for (id, name, note) in [(0, "zero", "no"), (1, "one", ""), (2, "two", "yes")] {
            let cells = [Some(ValueRef::Int16(id)), Some(name.into()), None, Some(note.into())];
            batch.push_cells(Operation::Insert, &cells).unwrap();
        }
        let wire = batch.collect(&[2, 0]);
        assert_eq!(wire.indirect_data.unwrap(), "twoyeszerono");
        let rows = wire.rows.unwrap();
        let place = |at: usize| u64::from_le_bytes(rows[at..at + 8].try_into().unwrap());
        // Operation, two bitmaps, an int16 and two places.
        let width = 3 + 2 + 32;
        assert_eq!([place(5), place(21), place(width + 5), place(width + 21)], [0, 3, 6, 10]);
        assert_eq!(batch.row_bytes(1), width + 3);
    }

    #[test]
    fn a_row_with_an_error_is_not_added() {
        let mut batch = mixed();
        let bad = [Some(ValueRef::Int16(1)), Some("x".into()), Some(ValueRef::Null), None];
        let error = batch.push_cells(Operation::Insert, &bad).unwrap_err().to_string();
        assert_eq!(error, "column flag: expected bool, got null: the column is not nullable");
        assert!(batch.is_empty() && batch.bytes() == 0);
        let good = [Some(ValueRef::Int16(1)), Some("y".into()), None, None];
        assert_eq!(batch.push_cells(Operation::Insert, &good).unwrap(), 0);
        assert_eq!(batch.collect(&[0]).indirect_data.unwrap(), "y");
    }

    #[test]
    fn what_a_row_has_to_name_depends_on_the_operation() {
        let columns = vec![Column::key("id", ColumnType::Int16), Column::new("n", ColumnType::Int8)];
        let mut batch = batch(columns);
        let id = Some(ValueRef::Int16(1));
        fn error(batch: &mut Batch, operation: Operation, cells: &[Option<ValueRef<'_>>]) -> String {
            batch.push_cells(operation, cells).unwrap_err().to_string()
        }
        assert!(error(&mut batch, Operation::Upsert, &[id, None]).starts_with("column n: expected a value"));
        assert!(error(&mut batch, Operation::Update, &[None, id]).starts_with("column id: expected a value"));
        assert!(error(&mut batch, Operation::Delete, &[id, Some(ValueRef::Int8(1))]).starts_with("column n: "));
        assert!(batch.push_cells(Operation::Update, &[id, None]).is_ok());
        assert!(batch.push_cells(Operation::DeleteIgnore, &[id, None]).is_ok());
    }
}
