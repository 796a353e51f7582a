//! Tables to be made, and changes to them.

use crate::batch;
use crate::error::{Error, Result};
use crate::proto::common::{
    ColumnIdentifier, HashBucketSchema, Identifier, PartitionSchemaMessage, RangeSchema, RowOperations, range_operation,
};
use crate::proto::master::{
    AddColumn, AlterStep, AlterTableRequest, CreateTableRequest, DropColumn, RangePartition, RenameColumn,
    TableIdentifier, alter_step,
};
use crate::schema::{Column, Schema};
use crate::value::{Value, ValueRef};

/// A range of rows: from the lower bound on, and below the upper bound. Columns that a bound does not name are unbounded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RangeBounds {
    lower: Vec<(String, Value)>,
    upper: Vec<(String, Value)>,
}

impl RangeBounds {
    /// The range of all rows.
    pub fn all() -> Self {
        Self::default()
    }

    /// The range from a value of a column on. For ranges by several columns, call it for each.
    #[must_use]
    pub fn from(mut self, column: impl Into<String>, value: Value) -> Self {
        self.lower.push((column.into(), value));
        self
    }

    /// The range below a value of a column. For ranges by several columns, call it for each.
    #[must_use]
    pub fn below(mut self, column: impl Into<String>, value: Value) -> Self {
        self.upper.push((column.into(), value));
        self
    }
}

fn encode(schema: &Schema, ranges: &[RangeBounds]) -> Result<RowOperations> {
    let mut rows = Vec::new();
    for range in ranges {
        let sides = [(range_operation::LOWER_BOUND, &range.lower), (range_operation::UPPER_BOUND, &range.upper)];
        for (operation, bound) in sides {
            let mut cells: Vec<Option<ValueRef<'_>>> = vec![None; schema.columns().len()];
            for (column, value) in bound {
                let index = schema.index(column).ok_or_else(|| schema.no_column(column))?;
                if let Some(cell) = cells.get_mut(index) {
                    *cell = Some(value.as_ref());
                }
            }
            rows.push((operation, cells));
        }
    }
    batch::bounds(schema, &rows)
}

/// A table to be made. Without partitions it has one tablet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTable {
    pub(crate) name: String,
    schema: Schema,
    hashes: Vec<(Vec<String>, u16, u32)>,
    range_columns: Vec<String>,
    ranges: Vec<RangeBounds>,
    replicas: Option<u8>,
    comment: Option<String>,
}

impl NewTable {
    /// A table with a name and a schema.
    pub fn new(name: impl Into<String>, schema: Schema) -> Self {
        let (name, hashes, ranges) = (name.into(), Vec::new(), Vec::new());
        NewTable { name, schema, hashes, range_columns: Vec::new(), ranges, replicas: None, comment: None }
    }

    /// Spreads rows over so many buckets, at least two, by the hash of some key columns. Several such levels multiply; each
    /// key column is in one at most.
    #[must_use]
    pub fn hash<S: Into<String>>(self, columns: impl IntoIterator<Item = S>, buckets: u16) -> Self {
        self.hash_with_seed(columns, buckets, 0)
    }

    /// As [`NewTable::hash`], with a seed for the hash, so that nobody can choose keys that all fall into one bucket.
    #[must_use]
    pub fn hash_with_seed<S: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = S>,
        buckets: u16,
        seed: u32,
    ) -> Self {
        self.hashes.push((columns.into_iter().map(Into::into).collect(), buckets, seed));
        self
    }

    /// Spreads rows by ranges of some key columns. Rows outside of all ranges are refused.
    #[must_use]
    pub fn range<S: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = S>,
        ranges: impl IntoIterator<Item = RangeBounds>,
    ) -> Self {
        self.range_columns = columns.into_iter().map(Into::into).collect();
        self.ranges = ranges.into_iter().collect();
        self
    }

    /// How many replicas each tablet has: an odd number. The masters decide unless it is set.
    #[must_use]
    pub fn replicas(mut self, count: u8) -> Self {
        self.replicas = Some(count);
        self
    }

    /// The table with a comment.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    pub(crate) fn request(&self) -> Result<CreateTableRequest> {
        let hash = |(columns, buckets, seed): &(Vec<String>, u16, u32)| {
            Ok(HashBucketSchema {
                columns: self.key_columns(columns)?,
                num_buckets: (*buckets).into(),
                seed: (*seed != 0).then_some(*seed),
                hash_algorithm: None,
            })
        };
        let partition = PartitionSchemaMessage {
            hash_schema: self.hashes.iter().map(hash).collect::<Result<_>>()?,
            // Set but empty: without it the masters take all key columns.
            range_schema: Some(RangeSchema { columns: self.key_columns(&self.range_columns)? }),
            custom_hash_schema_ranges: Vec::new(),
        };
        let ranges = if self.ranges.is_empty() { None } else { Some(encode(&self.schema, &self.ranges)?) };
        Ok(CreateTableRequest {
            name: self.name.clone(),
            schema: self.schema.declaration()?,
            num_replicas: self.replicas.map(Into::into),
            split_rows_range_bounds: ranges,
            partition_schema: Some(partition),
            comment: self.comment.clone(),
        })
    }

    fn key_columns(&self, names: &[String]) -> Result<Vec<ColumnIdentifier>> {
        let identifier = |name: &String| {
            if !self.schema.column(name)?.is_key {
                return Err(Error::column(name, "expected a key column, as the table is partitioned by it"));
            }
            Ok(ColumnIdentifier { identifier: Some(Identifier::Name(name.clone())) })
        };
        names.iter().map(identifier).collect()
    }
}

/// Changes to a table, made all at once or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alteration {
    steps: Vec<Change>,
    pub(crate) new_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    Add(Column),
    Drop(String),
    Rename(String, String),
    AddRange(RangeBounds),
    DropRange(RangeBounds),
}

impl Alteration {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column, which is nullable or has a default for the rows that are there.
    #[must_use]
    pub fn add_column(self, column: Column) -> Self {
        self.with(Change::Add(column))
    }

    /// Drops a column with all that it holds.
    #[must_use]
    pub fn drop_column(self, name: impl Into<String>) -> Self {
        self.with(Change::Drop(name.into()))
    }

    /// Gives a column another name.
    #[must_use]
    pub fn rename_column(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.with(Change::Rename(from.into(), to.into()))
    }

    /// Adds a range that overlaps no other.
    #[must_use]
    pub fn add_range(self, range: RangeBounds) -> Self {
        self.with(Change::AddRange(range))
    }

    /// Drops a range with all of its rows.
    #[must_use]
    pub fn drop_range(self, range: RangeBounds) -> Self {
        self.with(Change::DropRange(range))
    }

    /// Gives the table another name.
    #[must_use]
    pub fn rename_table(mut self, name: impl Into<String>) -> Self {
        self.new_name = Some(name.into());
        self
    }

    fn with(mut self, change: Change) -> Self {
        self.steps.push(change);
        self
    }

    /// Whether it speaks of ranges, for which the schema of the table has to be known.
    pub(crate) fn has_ranges(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Change::AddRange(_) | Change::DropRange(_)))
    }

    pub(crate) fn request(&self, table: TableIdentifier, schema: Option<&Schema>) -> Result<AlterTableRequest> {
        let steps = self.steps.iter().map(|change| step(change, schema)).collect::<Result<_>>()?;
        let schema = schema.map(Schema::declaration).transpose()?;
        Ok(AlterTableRequest { table, alter_schema_steps: steps, new_table_name: self.new_name.clone(), schema })
    }
}

fn step(change: &Change, schema: Option<&Schema>) -> Result<AlterStep> {
    let range = |bounds: &RangeBounds| {
        let schema = schema.ok_or_else(|| Error::Invalid("expected the schema for ranges, got none".to_owned()))?;
        Ok(Some(RangePartition { range_bounds: Some(encode(schema, std::slice::from_ref(bounds))?) }))
    };
    let none = AlterStep::default();
    Ok(match change {
        Change::Add(column) => AlterStep {
            kind: Some(alter_step::ADD_COLUMN),
            add_column: Some(AddColumn { schema: column.declaration()? }),
            ..none
        },
        Change::Drop(name) => AlterStep {
            kind: Some(alter_step::DROP_COLUMN),
            drop_column: Some(DropColumn { name: name.clone() }),
            ..none
        },
        Change::Rename(from, to) => AlterStep {
            kind: Some(alter_step::RENAME_COLUMN),
            rename_column: Some(RenameColumn { old_name: from.clone(), new_name: to.clone() }),
            ..none
        },
        Change::AddRange(bounds) => {
            AlterStep { kind: Some(alter_step::ADD_RANGE_PARTITION), add_range_partition: range(bounds)?, ..none }
        }
        Change::DropRange(bounds) => {
            AlterStep { kind: Some(alter_step::DROP_RANGE_PARTITION), drop_range_partition: range(bounds)?, ..none }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ColumnType;

    fn schema() -> Schema {
        let columns = vec![Column::key("id", ColumnType::Int32), Column::nullable("name", ColumnType::String)];
        Schema::new(columns).unwrap()
    }

    #[test]
    fn ranges_travel_as_pairs_of_rows() {
        let range = RangeBounds::all().from("id", Value::Int32(1)).below("id", Value::Int32(2));
        let rows = encode(&schema(), &[range, RangeBounds::all()]).unwrap().rows.unwrap();
        let expected = [6, 1, 0, 1, 0, 0, 0, 7, 1, 0, 2, 0, 0, 0, 6, 0, 0, 7, 0, 0];
        assert_eq!(rows, expected.as_slice());
    }

    #[test]
    fn partitions_are_by_key_columns_alone() {
        let error = NewTable::new("t", schema()).hash(["name"], 2).request().unwrap_err().to_string();
        assert!(error.starts_with("column name: expected a key column"), "{error}");
        let request = NewTable::new("t", schema()).hash_with_seed(["id"], 2, 7).replicas(3).request().unwrap();
        let partition = request.partition_schema.unwrap();
        assert_eq!((partition.hash_schema[0].num_buckets, partition.hash_schema[0].seed), (2, Some(7)));
        assert_eq!(partition.range_schema, Some(RangeSchema::default()));
        assert_eq!(request.num_replicas, Some(3));
    }

    #[test]
    fn a_default_that_does_not_fit_is_refused() {
        let column = Column::new("n", ColumnType::Int8).with_default(Value::Int64(1_000));
        let error = Alteration::new().add_column(column).request(TableIdentifier::default(), None).unwrap_err();
        assert!(error.to_string().starts_with("column n: "), "{error}");
    }
}
