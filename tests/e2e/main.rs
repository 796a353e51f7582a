//! Runs the `weir` command as a user does, and kills it as no user should.
//!
//! The program carries the stock plugins that `WEIR_STOCK_PLUGINS` names: `cargo xtask test` builds them and sets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod crash;
mod harness;
mod rabbitmq;
mod run;
