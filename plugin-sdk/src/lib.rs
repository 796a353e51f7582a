//! What the author of a Weir plugin uses.
//!
//! A plugin is a crate of type `cdylib` with one type in it: a [`Transform`], which turns records into records, a [`Stateful`]
//! one, which remembers as well, or a [`Sink`], which delivers them to a system outside. This is a whole plugin:
//!
//! ```
//! use weir_plugin::{ConfigError, Context, Output, Record, Result, Transform, serde};
//! # #[derive(serde::Deserialize)] #[serde(crate = "weir_plugin::serde")] struct Config { needle: String }
//!
//! struct Grep(Config); // #[derive(serde::Deserialize)] struct Config { needle: String }
//! impl Transform for Grep {
//!     type Config = Config;
//!     fn new(config: Config, _: &Context) -> Result<Self, ConfigError> { Ok(Grep(config)) }
//!     fn process(&mut self, record: Record<'_>, out: &mut Output) -> Result<()> {
//!         if record.text()?.contains(&self.0.needle) { out.keep(record) }
//!         Ok(()) // an error would reject this record alone
//!     }
//! }
//! weir_plugin::export!(Grep);
//! ```
//!
//! What is kept goes on as it came and is not copied; [`Output::emit`] makes records with a new value, and
//! [`Output::build`] others. The host is told in the cheapest way what became of a batch. Plugins are tested with plain
//! `cargo test`, by the fake host in [`testing`].
//!
//! The crate knows the contract in `wit/` and nothing of the host.

#[doc(hidden)]
pub mod bindings;
mod cells;
mod config;
pub mod database;
pub mod http;
pub mod json;
pub mod kudu;
pub mod log;
pub mod lookup;
mod output;
mod record;
mod reject;
pub mod rows;
pub mod scan;
#[doc(hidden)]
pub mod sink;
pub mod slack;
pub mod state;
#[doc(hidden)]
pub mod stateful;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod time;
#[doc(hidden)]
pub mod transform;

pub use bindings::types::Context;
pub use config::{Duration, FromPipelineFile, NoConfig};
pub use output::{Draft, Output, Port};
pub use record::{Batch, Headers, Record, Records};
pub use reject::{ConfigError, Reject, Rejects, Result};
pub use sink::{Deliveries, Delivery, RecordId, Sink};
pub use stateful::{Event, Migration, Stateful};
pub use transform::Transform;

pub use {serde, serde_json};
