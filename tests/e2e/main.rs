//! Runs the `weir` command as a user does, and kills it as no user should.
//!
//! The binary carries the stock plugins only when it was built with them: `cargo xtask test` does that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod crash;
mod harness;
mod run;
