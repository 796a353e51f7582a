//! Plugins on the real engine: what loads, what comes back from a batch, and what hostile ones can do, which is nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod guests;
mod oracle;
mod text;

mod conformance;
mod hostile;
mod hostile_files;
mod hostile_neighbours;
mod hostile_state;
mod http;
mod lies;
mod load;
mod logs;
mod malformed;
mod sinks;
mod stateful;
mod wasi;
