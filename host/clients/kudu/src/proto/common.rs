//! Schemas, partitions, rows and predicates, as masters and tablet servers share them.

use bytes::Bytes;
use prost::Message;

use super::rpc::Empty;

/// How columns are typed on the wire.
pub mod data_type {
    pub const INT8: i32 = 1;
    pub const INT16: i32 = 3;
    pub const INT32: i32 = 5;
    pub const INT64: i32 = 7;
    pub const STRING: i32 = 8;
    pub const BOOL: i32 = 9;
    pub const FLOAT: i32 = 10;
    pub const DOUBLE: i32 = 11;
    pub const BINARY: i32 = 12;
    pub const UNIXTIME_MICROS: i32 = 13;
    pub const DECIMAL32: i32 = 15;
    pub const DECIMAL64: i32 = 16;
    pub const DECIMAL128: i32 = 17;
    pub const VARCHAR: i32 = 19;
    pub const DATE: i32 = 20;
}

/// Operations on ranges, which stand where rows stand; those on rows are [`crate::Operation`].
pub mod range_operation {
    pub const LOWER_BOUND: u8 = 6;
    pub const UPPER_BOUND: u8 = 7;
}

#[derive(Clone, PartialEq, Message)]
pub struct AppStatus {
    #[prost(int32, required, tag = "1")]
    pub code: i32,
    #[prost(string, optional, tag = "2")]
    pub message: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct HostPort {
    #[prost(string, required, tag = "1")]
    pub host: String,
    #[prost(uint32, required, tag = "2")]
    pub port: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ColumnTypeAttributes {
    #[prost(int32, optional, tag = "1")]
    pub precision: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub scale: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub length: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ColumnSchema {
    #[prost(uint32, optional, tag = "1")]
    pub id: Option<u32>,
    #[prost(string, required, tag = "2")]
    pub name: String,
    #[prost(int32, required, tag = "3")]
    pub data_type: i32,
    #[prost(bool, optional, tag = "4")]
    pub is_key: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub is_nullable: Option<bool>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub read_default_value: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub write_default_value: Option<Bytes>,
    #[prost(message, optional, tag = "11")]
    pub type_attributes: Option<ColumnTypeAttributes>,
    #[prost(string, optional, tag = "12")]
    pub comment: Option<String>,
    #[prost(bool, optional, tag = "13")]
    pub immutable: Option<bool>,
    #[prost(bool, optional, tag = "14")]
    pub is_auto_incrementing: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SchemaMessage {
    #[prost(message, repeated, tag = "1")]
    pub columns: Vec<ColumnSchema>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RowOperations {
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub rows: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub indirect_data: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionSchemaMessage {
    #[prost(message, repeated, tag = "1")]
    pub hash_schema: Vec<HashBucketSchema>,
    #[prost(message, optional, tag = "2")]
    pub range_schema: Option<RangeSchema>,
    #[prost(message, repeated, tag = "5")]
    pub custom_hash_schema_ranges: Vec<RangeWithHashSchema>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HashBucketSchema {
    #[prost(message, repeated, tag = "1")]
    pub columns: Vec<ColumnIdentifier>,
    #[prost(int32, required, tag = "2")]
    pub num_buckets: i32,
    #[prost(uint32, optional, tag = "3")]
    pub seed: Option<u32>,
    #[prost(int32, optional, tag = "4")]
    pub hash_algorithm: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RangeSchema {
    #[prost(message, repeated, tag = "1")]
    pub columns: Vec<ColumnIdentifier>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RangeWithHashSchema {
    #[prost(message, repeated, tag = "2")]
    pub hash_schema: Vec<HashBucketSchema>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ColumnIdentifier {
    #[prost(oneof = "Identifier", tags = "1, 2")]
    pub identifier: Option<Identifier>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Identifier {
    #[prost(int32, tag = "1")]
    Id(i32),
    #[prost(string, tag = "2")]
    Name(String),
}

#[derive(Clone, PartialEq, Message)]
pub struct Partition {
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub partition_key_start: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub partition_key_end: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ColumnPredicate {
    #[prost(string, optional, tag = "1")]
    pub column: Option<String>,
    #[prost(oneof = "PredicateKind", tags = "2, 3, 4, 5, 6")]
    pub predicate: Option<PredicateKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum PredicateKind {
    #[prost(message, tag = "2")]
    Range(RangePredicate),
    #[prost(message, tag = "3")]
    Equality(EqualityPredicate),
    #[prost(message, tag = "4")]
    IsNotNull(Empty),
    #[prost(message, tag = "5")]
    InList(InListPredicate),
    #[prost(message, tag = "6")]
    IsNull(Empty),
}

#[derive(Clone, PartialEq, Message)]
pub struct RangePredicate {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub lower: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub upper: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EqualityPredicate {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub value: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct InListPredicate {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub values: Vec<Bytes>,
}
