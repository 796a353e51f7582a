//! JSON as bytes: what the SDK finds, checks and decodes, and numbers. Knows nothing of SQL.

pub mod number;

pub use weir_plugin::json::{Malformed, check, scan, text};
