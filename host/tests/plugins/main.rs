//! Plugins on the real engine: what loads, what comes back from a batch, and what hostile ones can do, which is nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod guests;
mod oracle;
mod text;

mod hostile;
mod lies;
mod load;
mod logs;
mod malformed;
mod sinks;
mod stateful;
