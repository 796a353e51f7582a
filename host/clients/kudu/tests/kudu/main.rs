//! The client against real servers. `cargo xtask test` starts them: its program is named by `WEIR_XTASK`. To run them alone:
//! `cargo build -p xtask && WEIR_XTASK=target/debug/xtask cargo test -p kudu-client`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod addresses;
mod faults;
mod lost;
mod partitions;
mod servers;
mod tables;
mod tls;
mod types;
mod writes;
