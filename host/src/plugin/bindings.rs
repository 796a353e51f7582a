//! The types of `wit/` as wasmtime reads and writes them in a guest's memory, and the names under which they stand there.
//!
//! Written by hand and not by `bindgen!`, for two reasons: lists go in as slices of the batch and come out as vectors, one
//! copy each; and the log message stays in the guest until the host has decided to read it. Nothing is checked here beyond
//! what the canonical ABI demands: `validate.rs` judges answers. A component whose functions have other types is refused
//! when it is loaded (see `load.rs`).
#![allow(unsafe_code)] // wasmtime's derives write `unsafe impl`; nothing unsafe is written by hand here.

use wasmtime::component::{ComponentType, Lift, Lower, WasmList};

/// The interface that a plugin of the world `transform` exports.
pub(super) const STEP: &str = "weir:plugin/step@0.1.0";
/// The interface that a plugin of the world `stateful-transform` exports.
pub(super) const STATEFUL_STEP: &str = "weir:plugin/stateful-step@0.1.0";
/// The interface that a plugin of the world `sink` exports.
pub(super) const DELIVERY: &str = "weir:plugin/delivery@0.1.0";
/// The capability that is always granted.
pub(super) const LOG: &str = "weir:plugin/log@0.1.0";
/// The keyed state of a stateful transform.
pub(super) const STATE: &str = "weir:plugin/state@0.1.0";
/// Requests to web services, granted by endpoint.
pub(super) const HTTP: &str = "weir:plugin/http@0.1.0";
/// Transactions in databases, granted by endpoint.
pub(super) const DATABASE: &str = "weir:plugin/database@0.1.0";
/// Tables of Kudu clusters, granted by endpoint.
pub(super) const KUDU: &str = "weir:plugin/kudu@0.1.0";
/// Messages to Slack, granted by endpoint.
pub(super) const SLACK: &str = "weir:plugin/slack@0.1.0";
/// Lookups in directories and databases. Whoever imports it may ask the endpoints that it was granted, and nothing without.
pub(super) const LOOKUP: &str = "weir:plugin/lookup@0.1.0";
/// Types alone; nothing is called there, so there is nothing to grant.
pub(super) const TYPES: &str = "weir:plugin/types@0.1.0";

/// A `batch` on its way into a guest.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct BatchIn<'a> {
    pub(super) index: &'a [u32],
    pub(super) meta: &'a [i64],
    pub(super) data: &'a [u8],
}

/// A `batch` out of a guest: unchecked columns.
#[derive(Debug, Clone, Default, ComponentType, Lift)]
#[component(record)]
pub(super) struct BatchOut {
    pub(super) index: Vec<u32>,
    pub(super) meta: Vec<i64>,
    pub(super) data: Vec<u8>,
}

/// A `context`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct Context<'a> {
    pub(super) pipeline: &'a str,
    pub(super) step: &'a str,
    pub(super) partition: u32,
    pub(super) inputs: &'a [String],
    pub(super) tables: &'a [String],
}

/// A `config-error`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct ConfigError {
    pub(super) path: String,
    pub(super) message: String,
}

/// A `description`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct DescriptionOut {
    pub(super) ports: Vec<String>,
    #[component(name = "sets-time")]
    pub(super) sets_time: bool,
}

/// A `reject`, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct RejectOut {
    pub(super) index: u32,
    pub(super) reason: String,
    pub(super) retriable: bool,
}

/// A `replacement`, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct Replacement {
    pub(super) origin: Vec<u32>,
    pub(super) records: BatchOut,
}

/// An `answer`, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub(super) enum AnswerOut {
    #[component(name = "unchanged")]
    Unchanged,
    #[component(name = "select")]
    Select(Vec<u32>),
    #[component(name = "replaced")]
    Replaced(Replacement),
}

/// An `outcome`, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct OutcomeOut {
    pub(super) answer: AnswerOut,
    pub(super) rejects: Vec<RejectOut>,
}

/// A `level` of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "wasmtime makes the cases from what stands in the guest's memory")]
pub(super) enum Level {
    #[component(name = "error")]
    Error,
    #[component(name = "warn")]
    Warn,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
}

/// A `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "wasmtime makes the cases from what stands in the guest's memory")]
pub(super) enum FormatOut {
    #[component(name = "bytes")]
    Bytes,
    #[component(name = "text")]
    Text,
    #[component(name = "json")]
    Json,
    #[component(name = "unsigned")]
    Unsigned,
    #[component(name = "signed")]
    Signed,
}

/// A `table`.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct TableOut {
    pub(super) name: String,
    pub(super) key: FormatOut,
    pub(super) value: FormatOut,
    #[component(name = "ttl-ms")]
    pub(super) ttl_ms: Option<u64>,
}

/// A `description` of a stateful step.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct StatefulDescriptionOut {
    pub(super) ports: Vec<String>,
    #[component(name = "sets-time")]
    pub(super) sets_time: bool,
    pub(super) tables: Vec<TableOut>,
    pub(super) schema: u32,
}

/// `alarms`.
#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(record)]
pub(super) struct AlarmsOut {
    #[component(name = "event-time")]
    pub(super) event_time: Option<i64>,
    #[component(name = "clock-time")]
    pub(super) clock_time: Option<i64>,
}

/// A `replacement` of a stateful step, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct StatefulReplacement {
    pub(super) origin: Vec<u32>,
    pub(super) fired: Vec<i64>,
    pub(super) records: BatchOut,
}

/// An `answer` of a stateful step, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub(super) enum StatefulAnswerOut {
    #[component(name = "unchanged")]
    Unchanged,
    #[component(name = "select")]
    Select(Vec<u32>),
    #[component(name = "replaced")]
    Replaced(StatefulReplacement),
}

/// An `outcome` of a stateful step, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct StatefulOutcomeOut {
    pub(super) answer: StatefulAnswerOut,
    pub(super) rejects: Vec<RejectOut>,
    pub(super) late: u32,
    pub(super) postponed: u32,
    pub(super) alarms: AlarmsOut,
}

/// What `advance` answers, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct AdvancedOut {
    pub(super) origin: Vec<u32>,
    pub(super) fired: Vec<i64>,
    pub(super) records: BatchOut,
    pub(super) alarms: AlarmsOut,
}

/// `strings` in a guest's memory, unchecked; read where they lie.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct StringsOut {
    pub(super) ends: WasmList<u32>,
    pub(super) data: WasmList<u8>,
}

/// `strings` on their way into a guest.
#[derive(Debug, Default, ComponentType, Lower)]
#[component(record)]
pub(super) struct StringsIn {
    pub(super) ends: Vec<u32>,
    pub(super) data: Vec<u8>,
}

/// `found`.
#[derive(Debug, Default, ComponentType, Lower)]
#[component(record)]
pub(super) struct FoundIn {
    pub(super) values: StringsIn,
    pub(super) missing: Vec<u32>,
}

/// `entries`.
#[derive(Debug, Default, ComponentType, Lower)]
#[component(record)]
pub(super) struct EntriesIn {
    pub(super) keys: StringsIn,
    pub(super) values: StringsIn,
    pub(super) more: bool,
}

/// A `method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "wasmtime makes the cases from what stands in the guest's memory")]
pub(super) enum HttpMethodOut {
    #[component(name = "get")]
    Get,
    #[component(name = "head")]
    Head,
    #[component(name = "post")]
    Post,
    #[component(name = "put")]
    Put,
    #[component(name = "patch")]
    Patch,
    #[component(name = "delete")]
    Delete,
}

/// A `header`, in both directions.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct HttpHeader {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

/// A `request`, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct HttpRequestOut {
    pub(super) endpoint: String,
    pub(super) method: HttpMethodOut,
    pub(super) path: String,
    pub(super) headers: Vec<HttpHeader>,
    pub(super) body: Vec<u8>,
}

/// A `response`.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct HttpResponseIn {
    pub(super) status: u16,
    pub(super) headers: Vec<HttpHeader>,
    pub(super) body: Vec<u8>,
}

/// A `failure`.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
pub(super) enum HttpFailureIn {
    #[component(name = "refused")]
    Refused(String),
    #[component(name = "unavailable")]
    Unavailable(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "too-large")]
    TooLarge(u64),
}

/// A `dialect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum DatabaseDialectIn {
    #[component(name = "mysql")]
    Mysql,
    #[component(name = "postgres")]
    Postgres,
    #[component(name = "impala")]
    Impala,
    #[component(name = "hive")]
    Hive,
    #[component(name = "spark")]
    Spark,
}

/// `cells`, in both directions, unchecked.
#[derive(Debug, Clone, Default, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Cells {
    pub(super) kinds: Vec<u8>,
    pub(super) ends: Vec<u32>,
    pub(super) data: Vec<u8>,
}

/// A `statement`, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct DatabaseStatementOut {
    pub(super) text: String,
    pub(super) rows: u32,
    pub(super) values: Cells,
    pub(super) expected: Option<u64>,
}

/// An `outcome` of a statement.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct DatabaseOutcomeIn {
    pub(super) affected: u64,
    pub(super) columns: Vec<String>,
    pub(super) rows: Cells,
}

/// A `wrong-row`.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct DatabaseWrongRow {
    pub(super) statement: u32,
    pub(super) row: u32,
    pub(super) message: String,
}

/// A `failure` of a transaction.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
pub(super) enum DatabaseFailureIn {
    #[component(name = "refused")]
    Refused(String),
    #[component(name = "unavailable")]
    Unavailable(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "conflict")]
    Conflict(String),
    #[component(name = "unknown")]
    Unknown(String),
    #[component(name = "missing")]
    Missing(String),
    #[component(name = "wrong")]
    Wrong(DatabaseWrongRow),
    #[component(name = "unexpected")]
    Unexpected(u64),
    #[component(name = "too-large")]
    TooLarge(u64),
}

/// A `message`, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct SlackMessageOut {
    pub(super) channel: Option<String>,
    pub(super) text: String,
    pub(super) blocks: Option<String>,
    pub(super) thread: Option<String>,
    pub(super) unfurl: bool,
    pub(super) ids: Vec<String>,
}

/// A `rejection`.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct SlackRejection {
    pub(super) code: String,
    pub(super) details: String,
}

/// A `failure` of a message.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
pub(super) enum SlackFailureIn {
    #[component(name = "refused")]
    Refused(String),
    #[component(name = "rejected")]
    Rejected(SlackRejection),
    #[component(name = "unavailable")]
    Unavailable(String),
}

/// Parameters of `init`, in every world.
pub(super) type InitIn<'a> = (&'a str, Context<'a>);
/// Result of `init` in the world `transform`.
pub(super) type StepInitOut = (Result<DescriptionOut, ConfigError>,);
/// Result of `init` in the world `sink`.
pub(super) type DeliveryInitOut = (Result<(), ConfigError>,);
/// Parameters of `process`.
pub(super) type ProcessIn<'a> = (u32, BatchIn<'a>);
/// Result of `process`.
pub(super) type ProcessOut = (OutcomeOut,);
/// Parameters of `write`.
pub(super) type WriteIn<'a> = (&'a str, BatchIn<'a>, &'a [u32]);
/// Result of `write`.
pub(super) type WriteOut = (Vec<RejectOut>,);
/// Result of `init` in the world `stateful-transform`.
pub(super) type StatefulInitOut = (Result<StatefulDescriptionOut, ConfigError>,);
/// Parameters of `process` there.
pub(super) type StatefulProcessIn<'a> = (u32, BatchIn<'a>, &'a [i64]);
/// Result of `process` there.
pub(super) type StatefulProcessOut = (StatefulOutcomeOut,);
/// Parameters of `advance`.
pub(super) type AdvanceIn = (Option<i64>, i64);
/// Result of `advance`.
pub(super) type AdvanceOut = (AdvancedOut,);
/// Parameters of `migrate`.
pub(super) type MigrateIn = (u32,);
/// Result of `migrate`.
pub(super) type MigrateOut = (Result<bool, String>,);

/// A `column` of a table of Kudu, in both directions.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct KuduColumn {
    pub(super) name: String,
    pub(super) kind: String,
    #[component(name = "is-key")]
    pub(super) is_key: bool,
    #[component(name = "is-nullable")]
    pub(super) is_nullable: bool,
}

/// A `hash` of a new table.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct KuduHashOut {
    pub(super) columns: Vec<String>,
    pub(super) buckets: u16,
}

/// A `new-table`.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct KuduNewTableOut {
    pub(super) columns: Vec<KuduColumn>,
    pub(super) hashes: Vec<KuduHashOut>,
    pub(super) replicas: Option<u8>,
}

/// An `operation`. The guest names it by its number.
#[expect(dead_code, reason = "made by the derive alone")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(super) enum KuduOperationOut {
    #[component(name = "insert")]
    Insert,
    #[component(name = "insert-ignore")]
    InsertIgnore,
    #[component(name = "upsert")]
    Upsert,
    #[component(name = "update")]
    Update,
    #[component(name = "update-ignore")]
    UpdateIgnore,
    #[component(name = "delete")]
    Delete,
    #[component(name = "delete-ignore")]
    DeleteIgnore,
}

/// `rows`, unchecked.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct KuduRowsOut {
    pub(super) operation: KuduOperationOut,
    pub(super) columns: Vec<String>,
    pub(super) values: Cells,
}

/// A `wrong-row`.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct KuduWrongRow {
    pub(super) rows: u32,
    pub(super) row: u32,
    pub(super) message: String,
}

/// A `failure` of a lookup.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
pub(super) enum LookupFailureIn {
    #[component(name = "refused")]
    Refused(String),
    #[component(name = "unavailable")]
    Unavailable(String),
}

/// A `failure` of a cluster.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
pub(super) enum KuduFailureIn {
    #[component(name = "refused")]
    Refused(String),
    #[component(name = "unavailable")]
    Unavailable(String),
    #[component(name = "missing")]
    Missing(String),
}
