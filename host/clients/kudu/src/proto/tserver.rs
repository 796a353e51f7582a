//! What is asked of a tablet server: writes and scans.

use bytes::Bytes;
use prost::Message;

use super::common::{AppStatus, ColumnPredicate, ColumnSchema, RowOperations, SchemaMessage};
use super::rpc::SignedToken;

/// The name of the service.
pub const SERVICE: &str = "kudu.tserver.TabletServerService";

/// Rows as they are now by the server's clock. A replica that follows waits until it has all that the leader had by then.
pub const READ_AT_SNAPSHOT: i32 = 2;

/// What a tablet server refuses a call with.
pub mod code {
    pub const UNKNOWN_ERROR: i32 = 1;
    pub const INVALID_SCHEMA: i32 = 2;
    pub const MISMATCHED_SCHEMA: i32 = 5;
    pub const TABLET_NOT_FOUND: i32 = 6;
    pub const TABLET_NOT_RUNNING: i32 = 12;
    pub const NOT_THE_LEADER: i32 = 15;
    pub const WRONG_SERVER_UUID: i32 = 16;
    pub const THROTTLED: i32 = 19;
    pub const TABLET_FAILED: i32 = 20;
}

#[derive(Clone, PartialEq, Message)]
pub struct TabletServerError {
    #[prost(int32, required, tag = "1")]
    pub code: i32,
    #[prost(message, required, tag = "2")]
    pub status: AppStatus,
}

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub tablet_id: Bytes,
    #[prost(message, optional, tag = "2")]
    pub schema: Option<SchemaMessage>,
    #[prost(message, optional, tag = "3")]
    pub row_operations: Option<RowOperations>,
    #[prost(fixed64, optional, tag = "5")]
    pub propagated_timestamp: Option<u64>,
    #[prost(message, optional, tag = "6")]
    pub authz_token: Option<SignedToken>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WriteResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<TabletServerError>,
    #[prost(message, repeated, tag = "2")]
    pub per_row_errors: Vec<PerRowError>,
    #[prost(fixed64, optional, tag = "3")]
    pub timestamp: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PerRowError {
    #[prost(int32, required, tag = "1")]
    pub row_index: i32,
    #[prost(message, required, tag = "2")]
    pub error: AppStatus,
}

#[derive(Clone, PartialEq, Message)]
pub struct NewScanRequest {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub tablet_id: Bytes,
    #[prost(uint64, optional, tag = "2")]
    pub limit: Option<u64>,
    #[prost(message, repeated, tag = "4")]
    pub projected_columns: Vec<ColumnSchema>,
    #[prost(int32, optional, tag = "5")]
    pub read_mode: Option<i32>,
    #[prost(fixed64, optional, tag = "7")]
    pub propagated_timestamp: Option<u64>,
    #[prost(message, repeated, tag = "13")]
    pub column_predicates: Vec<ColumnPredicate>,
    #[prost(message, optional, tag = "15")]
    pub authz_token: Option<SignedToken>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ScanRequest {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub scanner_id: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    pub new_scan_request: Option<NewScanRequest>,
    #[prost(uint32, optional, tag = "3")]
    pub call_seq_id: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub batch_size_bytes: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub close_scanner: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RowwiseRowBlock {
    #[prost(int32, optional, tag = "1")]
    pub num_rows: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub rows_sidecar: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub indirect_data_sidecar: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ScanResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<TabletServerError>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub scanner_id: Option<Bytes>,
    #[prost(bool, optional, tag = "3")]
    pub has_more_results: Option<bool>,
    #[prost(message, optional, tag = "4")]
    pub data: Option<RowwiseRowBlock>,
    #[prost(fixed64, optional, tag = "6")]
    pub snap_timestamp: Option<u64>,
    #[prost(fixed64, optional, tag = "9")]
    pub propagated_timestamp: Option<u64>,
}
