//! Dates, times and moments: text to numbers and back, by Java's patterns and in ISO form. Knows nothing of SQL.
//!
//! There is no clock here: a plugin sees none, so that a replay gives the same answer.

pub mod civil;
pub mod format;
pub mod iso;
mod names;
pub mod parse;
pub mod pattern;
pub mod zone;

/// The milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
