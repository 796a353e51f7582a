//! Weir's engine: sources, plugins, streams and sinks, tied together by one atomic commit per batch.
//!
//! Modules in the order in which a record meets them. `pipeline.rs` is the place to start reading.

pub mod accept;
pub mod clock;
pub mod metrics;
pub mod record;
pub mod stop;

pub mod config;
mod field;

mod endpoint;
pub mod kafka;
mod rabbitmq;
mod tls;

pub mod source;

pub mod plugin;

pub mod state;

pub mod sink;

pub mod store;

pub mod dlq;

pub mod pipeline;

pub mod appliance;

pub mod api;

pub mod case;

pub mod cli;
