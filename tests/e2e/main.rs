//! Runs the `weir` command as a user does, and kills it as no user should.
//!
//! The program carries the stock plugins that `WEIR_STOCK_PLUGINS` names; the servers that it talks to are those of
//! `WEIR_SERVICES`. `cargo xtask test` builds the plugins, starts the servers, and sets both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod accept;
mod author;
mod brokers;
mod canary;
mod crash;
mod deploy;
mod dlq;
mod harness;
mod health;
mod image;
mod impala;
mod kafka;
mod kudu;
mod lookup;
mod migrate;
mod mounted;
mod operate;
mod proxy;
mod rabbitmq;
mod reload;
mod run;
mod services;
mod slack;
mod sql;
mod state;
mod stories;
