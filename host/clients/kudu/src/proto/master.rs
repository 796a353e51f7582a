//! What is asked of a master: the leader, tables, and where their tablets are.

use bytes::Bytes;
use prost::Message;

use super::common::{
    AppStatus, ColumnSchema, HostPort, Partition, PartitionSchemaMessage, RowOperations, SchemaMessage,
};
use super::rpc::SignedToken;

/// The name of the service.
pub const SERVICE: &str = "kudu.master.MasterService";

/// The role of a replica, of a tablet as of the catalog: the leader serves.
pub const ROLE_LEADER: i32 = 1;

/// What a master refuses a call with.
pub mod code {
    pub const UNKNOWN_ERROR: i32 = 1;
    pub const TABLE_NOT_FOUND: i32 = 3;
    pub const TABLE_ALREADY_PRESENT: i32 = 4;
    pub const CATALOG_MANAGER_NOT_INITIALIZED: i32 = 6;
    pub const NOT_THE_LEADER: i32 = 7;
    pub const TABLET_NOT_RUNNING: i32 = 9;
}

/// Steps of a change to a table.
pub mod alter_step {
    pub const ADD_COLUMN: i32 = 1;
    pub const DROP_COLUMN: i32 = 2;
    pub const RENAME_COLUMN: i32 = 3;
    pub const ADD_RANGE_PARTITION: i32 = 5;
    pub const DROP_RANGE_PARTITION: i32 = 6;
}

#[derive(Clone, PartialEq, Message)]
pub struct MasterError {
    #[prost(int32, required, tag = "1")]
    pub code: i32,
    #[prost(message, required, tag = "2")]
    pub status: AppStatus,
}

/// An answer of a master, which may be an error.
pub trait Answer: Message + Default {
    fn take_error(&mut self) -> Option<MasterError>;
}

macro_rules! answers {
    ($($name:ty),+) => {
        $(impl Answer for $name {
            fn take_error(&mut self) -> Option<MasterError> {
                self.error.take()
            }
        })+
    };
}

answers!(
    ConnectToMasterResponse,
    CreateTableResponse,
    DoneResponse,
    DeleteTableResponse,
    ListTablesResponse,
    GetTableSchemaResponse,
    GetTableLocationsResponse,
    AlterTableResponse
);

#[derive(Clone, PartialEq, Message)]
pub struct ConnectToMasterRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct ConnectToMasterResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<MasterError>,
    #[prost(int32, optional, tag = "2")]
    pub role: Option<i32>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub ca_cert_der: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    pub authn_token: Option<SignedToken>,
    #[prost(message, repeated, tag = "5")]
    pub master_addrs: Vec<HostPort>,
    #[prost(string, optional, tag = "8")]
    pub cluster_id: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TableIdentifier {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub table_id: Option<Bytes>,
    #[prost(string, optional, tag = "2")]
    pub table_name: Option<String>,
}

/// A request that names a table and nothing else.
#[derive(Clone, PartialEq, Message)]
pub struct TableRequest {
    #[prost(message, required, tag = "1")]
    pub table: TableIdentifier,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateTableRequest {
    #[prost(string, required, tag = "1")]
    pub name: String,
    #[prost(message, required, tag = "2")]
    pub schema: SchemaMessage,
    #[prost(int32, optional, tag = "4")]
    pub num_replicas: Option<i32>,
    #[prost(message, optional, tag = "6")]
    pub split_rows_range_bounds: Option<RowOperations>,
    #[prost(message, optional, tag = "7")]
    pub partition_schema: Option<PartitionSchemaMessage>,
    #[prost(string, optional, tag = "13")]
    pub comment: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateTableResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<MasterError>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub table_id: Option<Bytes>,
}

/// Whether a table is created, or altered, on all of its tablets.
#[derive(Clone, PartialEq, Message)]
pub struct DoneResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<MasterError>,
    #[prost(bool, optional, tag = "3")]
    pub done: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DeleteTableResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<MasterError>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListTablesRequest {
    #[prost(string, optional, tag = "1")]
    pub name_filter: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListTablesResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<MasterError>,
    #[prost(message, repeated, tag = "2")]
    pub tables: Vec<TableInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TableInfo {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub id: Bytes,
    #[prost(string, required, tag = "2")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetTableSchemaResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<MasterError>,
    #[prost(message, optional, tag = "2")]
    pub schema: Option<SchemaMessage>,
    #[prost(int32, optional, tag = "3")]
    pub num_replicas: Option<i32>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub table_id: Option<Bytes>,
    #[prost(message, optional, tag = "5")]
    pub partition_schema: Option<PartitionSchemaMessage>,
    #[prost(string, optional, tag = "7")]
    pub table_name: Option<String>,
    #[prost(message, optional, tag = "8")]
    pub authz_token: Option<SignedToken>,
    #[prost(string, optional, tag = "11")]
    pub comment: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetTableLocationsRequest {
    #[prost(message, required, tag = "1")]
    pub table: TableIdentifier,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub partition_key_start: Option<Bytes>,
    #[prost(uint32, optional, tag = "5")]
    pub max_returned_locations: Option<u32>,
    #[prost(bool, optional, tag = "7")]
    pub intern_ts_infos_in_response: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetTableLocationsResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<MasterError>,
    #[prost(message, repeated, tag = "2")]
    pub tablet_locations: Vec<TabletLocations>,
    #[prost(message, repeated, tag = "4")]
    pub ts_infos: Vec<TabletServerInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TabletLocations {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub tablet_id: Bytes,
    #[prost(message, optional, tag = "6")]
    pub partition: Option<Partition>,
    #[prost(message, repeated, tag = "7")]
    pub interned_replicas: Vec<InternedReplica>,
}

#[derive(Clone, PartialEq, Message)]
pub struct InternedReplica {
    #[prost(uint32, required, tag = "1")]
    pub ts_info_idx: u32,
    #[prost(int32, required, tag = "2")]
    pub role: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct TabletServerInfo {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub permanent_uuid: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub rpc_addresses: Vec<HostPort>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AlterTableRequest {
    #[prost(message, required, tag = "1")]
    pub table: TableIdentifier,
    #[prost(message, repeated, tag = "2")]
    pub alter_schema_steps: Vec<AlterStep>,
    #[prost(string, optional, tag = "3")]
    pub new_table_name: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub schema: Option<SchemaMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AlterTableResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<MasterError>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AlterStep {
    #[prost(int32, optional, tag = "1")]
    pub kind: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub add_column: Option<AddColumn>,
    #[prost(message, optional, tag = "3")]
    pub drop_column: Option<DropColumn>,
    #[prost(message, optional, tag = "4")]
    pub rename_column: Option<RenameColumn>,
    #[prost(message, optional, tag = "5")]
    pub add_range_partition: Option<RangePartition>,
    #[prost(message, optional, tag = "6")]
    pub drop_range_partition: Option<RangePartition>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AddColumn {
    #[prost(message, required, tag = "1")]
    pub schema: ColumnSchema,
}

#[derive(Clone, PartialEq, Message)]
pub struct DropColumn {
    #[prost(string, required, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RenameColumn {
    #[prost(string, required, tag = "1")]
    pub old_name: String,
    #[prost(string, required, tag = "2")]
    pub new_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RangePartition {
    #[prost(message, optional, tag = "1")]
    pub range_bounds: Option<RowOperations>,
}
