//! How the rows of a table are spread over its tablets: hash buckets, then ranges.

use std::collections::HashMap;

use crate::cell;
use crate::error::{Error, Result};
use crate::proto::common::{ColumnIdentifier, HashBucketSchema, Identifier, PartitionSchemaMessage};
use crate::schema::Schema;
use crate::value::ValueRef;

/// The one algorithm that tables use.
const MURMUR_HASH_2: i32 = 1;

/// How a table is partitioned, by the places of columns.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionSchema {
    hashes: Vec<Hash>,
    ranges: Vec<usize>,
    /// Ranges with hash buckets of their own, whose rows this client cannot place.
    has_custom_hashes: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Hash {
    columns: Vec<usize>,
    buckets: u64,
    seed: u64,
}

impl PartitionSchema {
    /// Reads what a master tells.
    pub(crate) fn from_wire(message: &PartitionSchemaMessage, schema: &Schema) -> Result<Self> {
        let ids: HashMap<i32, usize> = (schema.columns().iter().enumerate())
            .filter_map(|(index, column)| Some((i32::try_from(column.id?).ok()?, index)))
            .collect();
        let place = |column: &ColumnIdentifier| match &column.identifier {
            Some(Identifier::Id(id)) => ids.get(id).copied().ok_or_else(|| unknown(format!("column {id}"))),
            Some(Identifier::Name(name)) => schema.index(name).ok_or_else(|| unknown(format!("column {name}"))),
            None => Err(unknown("a column without id".to_owned())),
        };
        let places = |columns: &[ColumnIdentifier]| columns.iter().map(place).collect::<Result<Vec<_>>>();
        let hash = |hash: &HashBucketSchema| {
            let algorithm = hash.hash_algorithm.unwrap_or(MURMUR_HASH_2);
            let buckets = u64::try_from(hash.num_buckets).ok().filter(|count| *count > 0);
            match buckets.filter(|_| algorithm == MURMUR_HASH_2) {
                Some(buckets) => Ok(Hash { columns: places(&hash.columns)?, buckets, seed: hash.seed().into() }),
                None => Err(unknown(format!("{} buckets by algorithm {algorithm}", hash.num_buckets))),
            }
        };
        Ok(PartitionSchema {
            hashes: message.hash_schema.iter().map(hash).collect::<Result<_>>()?,
            ranges: message.range_schema.as_ref().map_or_else(|| Ok(Vec::new()), |range| places(&range.columns))?,
            has_custom_hashes: !message.custom_hash_schema_ranges.is_empty(),
        })
    }

    /// Refuses tables whose rows cannot be placed.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.has_custom_hashes {
            let reason = "expected the same hash buckets in all ranges, got ranges with buckets of their own: \
                          such tables can be read, not written";
            return Err(Error::Invalid(reason.to_owned()));
        }
        Ok(())
    }

    /// Appends the key by which a row finds its tablet. The values were checked before.
    pub(crate) fn write_key(&self, schema: &Schema, cells: &[Option<ValueRef<'_>>], key: &mut Vec<u8>) -> Result<()> {
        let mut scratch = Vec::new();
        for hash in &self.hashes {
            scratch.clear();
            encode(schema, &hash.columns, cells, &mut scratch)?;
            // There are as many buckets as fit an i32.
            let bucket = (murmur2_64(&scratch, hash.seed) % hash.buckets) as u32;
            key.extend(bucket.to_be_bytes());
        }
        encode(schema, &self.ranges, cells, key)
    }
}

fn unknown(got: String) -> Error {
    Error::Invalid(format!("expected partitions of known columns and algorithms, got {got}"))
}

fn encode(schema: &Schema, columns: &[usize], cells: &[Option<ValueRef<'_>>], key: &mut Vec<u8>) -> Result<()> {
    for (number, index) in columns.iter().enumerate() {
        let (Some(column), Some(Some(value))) = (schema.columns().get(*index), cells.get(*index)) else {
            return Err(Error::Invalid("expected a value for every key column".to_owned()));
        };
        cell::of(column, *value)?.write_key(number + 1 == columns.len(), key);
    }
    Ok(())
}

/// `MurmurHash2` for 64-bit machines, by which Kudu finds the bucket of a row.
fn murmur2_64(data: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (data.len() as u64).wrapping_mul(M);
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ hash >> R).wrapping_mul(M);
    hash ^ hash >> R
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::common::RangeSchema;
    use crate::schema::{Column, ColumnType};

    fn names(names: &[&str]) -> Vec<ColumnIdentifier> {
        let name = |name: &&str| ColumnIdentifier { identifier: Some(Identifier::Name((*name).to_owned())) };
        names.iter().map(name).collect()
    }

    #[test]
    fn hashes_are_those_of_kudu() {
        // The same values as the tests of Kudu's Java client expect.
        assert_eq!(murmur2_64(b"", 0), 0);
        assert_eq!(murmur2_64(b"ab", 0), 7_115_271_465_109_541_368);
        assert_eq!(murmur2_64(b"abcdefg", 0), 2_601_573_339_036_254_301);
        assert_eq!(murmur2_64(b"quick brown fox", 42), 3_575_930_248_840_144_026);
    }

    #[test]
    fn a_key_is_buckets_and_then_the_range() {
        let schema = Schema::new(vec![
            Column::key("a", ColumnType::Int32),
            Column::key("b", ColumnType::String),
            Column::key("c", ColumnType::String),
        ])
        .unwrap();
        let hash = |columns: &[&str], seed| HashBucketSchema {
            columns: names(columns),
            num_buckets: 32,
            seed: Some(seed),
            hash_algorithm: None,
        };
        let message = PartitionSchemaMessage {
            hash_schema: vec![hash(&["a", "b"], 0), hash(&["c"], 42)],
            range_schema: Some(RangeSchema { columns: names(&["a", "b", "c"]) }),
            custom_hash_schema_ranges: Vec::new(),
        };
        let partition = PartitionSchema::from_wire(&message, &schema).unwrap();
        let key = |a: i32, b: &str, c: &str| {
            let mut key = Vec::new();
            let cells = [Some(ValueRef::Int32(a)), Some(ValueRef::String(b)), Some(ValueRef::String(c))];
            partition.write_key(&schema, &cells, &mut key).unwrap();
            key
        };
        assert_eq!(key(0, "", ""), b"\0\0\0\0\0\0\0\x14\x80\0\0\0\0\0");
        assert_eq!(key(1, "", ""), b"\0\0\0\x05\0\0\0\x14\x80\0\0\x01\0\0");
        assert_eq!(key(0, "b", "c"), b"\0\0\0\x1a\0\0\0\x1d\x80\0\0\0b\0\0c");
        assert_eq!(key(1, "b", "c"), b"\0\0\0\0\0\0\0\x1d\x80\0\0\x01b\0\0c");
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        let schema = Schema::new(vec![Column::key("a", ColumnType::Int32)]).unwrap();
        let hash = HashBucketSchema { columns: names(&["a"]), num_buckets: 2, seed: None, hash_algorithm: Some(2) };
        let message = PartitionSchemaMessage { hash_schema: vec![hash], ..PartitionSchemaMessage::default() };
        let error = PartitionSchema::from_wire(&message, &schema).unwrap_err().to_string();
        assert!(error.contains("algorithm 2"), "{error}");
        let custom =
            PartitionSchemaMessage { custom_hash_schema_ranges: vec![Default::default()], ..Default::default() };
        assert!(PartitionSchema::from_wire(&custom, &schema).unwrap().check_writable().is_err());
    }
}
