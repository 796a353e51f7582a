//! A client of Apache Kudu, over its native protocol: tables, writes, scans.
//!
//! ```no_run
//! # async fn example() -> kudu_client::Result<()> {
//! use kudu_client::{Client, Column, ColumnType, NewTable, Operation, Options, Schema};
//!
//! let client = Client::connect(Options::new(["master-1:7051", "master-2:7051"])).await?;
//! let schema = Schema::new(vec![
//!     Column::key("host", ColumnType::String),
//!     Column::nullable("load", ColumnType::Double),
//! ])?;
//! let table = client.create_table(&NewTable::new("hosts", schema).hash(["host"], 4)).await?;
//!
//! let mut batch = table.batch();
//! let mut row = table.row();
//! row.set("host", "alpha")?.set("load", 0.5)?;
//! batch.push(Operation::Upsert, &row)?;
//! let report = table.session().write(batch).await;
//! assert!(report.is_complete());
//!
//! let mut scanner = table.scan().columns(["load"])?.open().await?;
//! while let Some(rows) = scanner.next().await? {
//!     for row in rows.iter() {
//!         let load = row.get(0)?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it does by itself: it finds the leader among the masters and follows it, knows where tablets are and learns when they
//! move, encrypts where servers ask for it, tries again what may succeed later, within the time of [`Options::timeout`], and
//! gives writes names by which servers know repetitions. What it leaves to the caller: a table that was changed has to be
//! opened again, and a scan that fails midway has to be begun again.
//!
//! What it does not know: Kerberos and JSON web tokens, so a cluster has to take SASL PLAIN or ANONYMOUS; transactions; and the
//! places of rows in tables whose ranges have hash buckets of their own, which can be read and not written.

mod batch;
mod cell;
mod client;
mod definition;
mod error;
mod locations;
mod masters;
mod options;
mod partition;
mod proto;
mod retry;
mod rows;
mod rpc;
mod scan;
mod schema;
mod session;
mod table;
mod tracker;
mod value;

pub use batch::{Batch, Operation, Row};
pub use client::Client;
pub use definition::{Alteration, NewTable, RangeBounds};
pub use error::{Code, Error, Result, Status};
pub use options::{Encryption, Options};
pub use rows::{RowRef, Rows};
pub use scan::{Predicate, Scan, Scanner};
pub use schema::{Column, ColumnType, Schema};
pub use session::{RowError, Session, WriteReport};
pub use table::Table;
pub use value::{Date, Decimal, Value, ValueRef};
