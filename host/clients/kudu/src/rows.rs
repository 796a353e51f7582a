//! Rows that a scan has read, as the bytes in which they came.

use std::sync::Arc;

use bytes::Bytes;

use crate::cell;
use crate::error::{Error, Result};
use crate::proto::common::ColumnSchema;
use crate::proto::tserver::RowwiseRowBlock;
use crate::schema::Column;
use crate::value::{Value, ValueRef};

/// Where the cells of a row are.
#[derive(Debug)]
pub struct Layout {
    columns: Vec<Column>,
    offsets: Vec<usize>,
    /// Where the bitmap of nulls begins, if any column is nullable.
    nulls: Option<usize>,
    width: usize,
}

impl Layout {
    pub fn new(columns: Vec<Column>) -> Self {
        let mut width = 0;
        let mut offsets = Vec::with_capacity(columns.len());
        for column in &columns {
            offsets.push(width);
            width += column.column_type.width();
        }
        let nulls = columns.iter().any(|column| column.is_nullable).then_some(width);
        if nulls.is_some() {
            width += columns.len().div_ceil(8);
        }
        Layout { columns, offsets, nulls, width }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn projection(&self) -> Vec<ColumnSchema> {
        self.columns.iter().map(Column::projection).collect()
    }
}

/// Rows of a scan.
#[derive(Debug, Clone)]
pub struct Rows {
    layout: Arc<Layout>,
    count: usize,
    data: Bytes,
    indirect: Bytes,
}

impl Rows {
    /// Takes what came beside an answer. An error says what came instead.
    pub(crate) fn from_wire(
        layout: &Arc<Layout>,
        block: Option<&RowwiseRowBlock>,
        beside: &[Bytes],
    ) -> Result<Self, String> {
        let block = block.cloned().unwrap_or_default();
        let part = |index: Option<i32>| {
            let index = index.and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| beside.get(index)).cloned().unwrap_or_default()
        };
        let count = usize::try_from(block.num_rows()).unwrap_or_default();
        let (data, indirect) = (part(block.rows_sidecar), part(block.indirect_data_sidecar));
        if count * layout.width != data.len() {
            return Err(format!("{} bytes for {count} rows of {} bytes", data.len(), layout.width));
        }
        Ok(Rows { layout: Arc::clone(layout), count, data, indirect })
    }

    /// The first so many of them.
    pub(crate) fn first(mut self, count: usize) -> Self {
        self.count = self.count.min(count);
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        let width = self.layout.width;
        (0..self.count).map(move |index| {
            let bytes = self.data.get(index * width..(index + 1) * width).unwrap_or_default();
            RowRef { layout: &self.layout, bytes, indirect: &self.indirect }
        })
    }
}

/// A row of a scan.
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    layout: &'a Layout,
    bytes: &'a [u8],
    indirect: &'a [u8],
}

impl<'a> RowRef<'a> {
    /// The value of a column, by its place among those that are read.
    pub fn get(&self, index: usize) -> Result<ValueRef<'a>> {
        let layout = self.layout;
        let Some((column, offset)) = layout.columns.get(index).zip(layout.offsets.get(index)) else {
            let count = layout.columns.len();
            return Err(Error::Invalid(format!("expected a column below {count}, got {index}")));
        };
        if self.is_null(index) {
            return Ok(ValueRef::Null);
        }
        let value = self.cell(column, *offset).and_then(|bytes| cell::parse(column.column_type, bytes));
        value.ok_or_else(|| Error::column(&column.name, format!("expected {}, got other bytes", column.column_type)))
    }

    /// The value of a column, by its name.
    pub fn get_by_name(&self, name: &str) -> Result<ValueRef<'a>> {
        let index = self.layout.columns.iter().position(|column| column.name == name);
        let absent = || Error::column(name, "expected a column that is read, got one that is not");
        self.get(index.ok_or_else(absent)?)
    }

    /// Copies of all values.
    pub fn values(&self) -> Result<Vec<Value>> {
        (0..self.layout.columns.len()).map(|index| self.get(index).map(ValueRef::to_owned)).collect()
    }

    fn is_null(&self, index: usize) -> bool {
        let byte = self.layout.nulls.and_then(|nulls| self.bytes.get(nulls + index / 8));
        byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    fn cell(&self, column: &Column, offset: usize) -> Option<&'a [u8]> {
        let cell = self.bytes.get(offset..offset + column.column_type.width())?;
        if !column.column_type.is_indirect() {
            return Some(cell);
        }
        let (begin, length) = cell.split_first_chunk::<8>()?;
        let begin = usize::try_from(u64::from_le_bytes(*begin)).ok()?;
        let length = usize::try_from(u64::from_le_bytes(*length.first_chunk::<8>()?)).ok()?;
        self.indirect.get(begin..begin.checked_add(length)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ColumnType;

    fn layout() -> Arc<Layout> {
        Arc::new(Layout::new(vec![
            Column::key("id", ColumnType::Int16),
            Column::nullable("name", ColumnType::String),
            Column::nullable("n", ColumnType::Int8),
        ]))
    }

    fn block(num_rows: i32) -> RowwiseRowBlock {
        RowwiseRowBlock { num_rows: Some(num_rows), rows_sidecar: Some(0), indirect_data_sidecar: Some(1) }
    }

    #[test]
    fn cells_are_found_by_their_places() {
        let mut data = vec![1, 0];
        data.extend([2_u64.to_le_bytes(), 3_u64.to_le_bytes()].concat());
        data.extend([0xff, 0b000]);
        data.extend([2, 0]);
        data.extend([0; 17]);
        data.push(0b110);
        let beside = [Bytes::from(data), Bytes::from_static(b"..abc")];
        let rows = Rows::from_wire(&layout(), Some(&block(2)), &beside).unwrap();
        let values: Vec<_> = rows.iter().map(|row| row.values().unwrap()).collect();
        assert_eq!(values[0], [Value::Int16(1), Value::String("abc".to_owned()), Value::Int8(-1)]);
        assert_eq!(values[1], [Value::Int16(2), Value::Null, Value::Null]);
        let first = rows.iter().next().unwrap();
        assert_eq!(first.get_by_name("name").unwrap(), ValueRef::String("abc"));
        assert!(first.get(3).is_err() && first.get_by_name("other").is_err());
        assert_eq!(rows.first(1).iter().count(), 1);
    }

    #[test]
    fn bytes_that_are_no_rows_are_refused() {
        let beside = [Bytes::from_static(b"abc"), Bytes::new()];
        assert_eq!(Rows::from_wire(&layout(), Some(&block(1)), &beside).unwrap_err(), "3 bytes for 1 rows of 20 bytes");
        assert!(Rows::from_wire(&layout(), None, &[]).unwrap().is_empty());
    }

    #[test]
    fn a_text_beyond_its_buffer_is_an_error() {
        let mut data = vec![1, 0];
        data.extend([9_u64.to_le_bytes(), 3_u64.to_le_bytes()].concat());
        data.extend([0, 0]);
        let rows = Rows::from_wire(&layout(), Some(&block(1)), &[Bytes::from(data), Bytes::new()]).unwrap();
        let error = rows.iter().next().unwrap().get(1).unwrap_err().to_string();
        assert_eq!(error, "column name: expected string, got other bytes");
    }
}
