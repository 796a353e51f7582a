//! The bindings of each world, generated from `wit/` by `cargo run -p weir-bindgen` and committed.
//!
//! Nothing here is written by hand, and nothing here is for authors: the traits and types of the crate are.

#[allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated: it moves pointers across the boundary, as the canonical ABI asks"
)]
#[rustfmt::skip]
pub mod capabilities;

#[allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated: it moves pointers across the boundary, as the canonical ABI asks"
)]
#[rustfmt::skip]
pub mod transform;

#[allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated: it moves pointers across the boundary, as the canonical ABI asks"
)]
#[rustfmt::skip]
pub mod sink;

#[allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated: it moves pointers across the boundary, as the canonical ABI asks"
)]
#[rustfmt::skip]
pub mod stateful_transform;

pub use capabilities::weir::plugin::{database, http, kudu, lookup, slack};
pub use stateful_transform::weir::plugin::state;
pub use transform::weir::plugin::{log, types};
