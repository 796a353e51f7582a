//! Runs a SQL statement over a stream of JSON records: `SELECT .. FROM input [WHERE ..]`, in the dialect of ksqlDB.
//!
//! A record meets the modules in this order: [`parse`] reads the statement, [`plan`] checks it and turns it into
//! expressions ([`expr`]); then for each record [`row`] finds the fields that are asked for, [`eval`] computes, and
//! [`query`] writes the new value. [`json`], [`time`], [`like`], [`decimal`] and [`functions`] are what they stand on. Only
//! [`plugin`] knows that there is a plugin.
//!
//! # What becomes of a record
//!
//! - `SELECT * FROM input WHERE ..` lets records go on as they came, or filters them out: nothing is copied.
//! - `SELECT * FROM input` looks at nothing and lets everything go on.
//! - A projection writes a new JSON object. Key, headers and timestamp are those of the record. Values that are selected
//!   as they are go over byte by byte.
//! - A record without a value (a tombstone) does not pass a WHERE; without one it goes on as it is.
//! - A record whose value cannot be read is rejected for good, with the reason and the byte.
//!
//! # Names
//!
//! A name without quotes finds a field whose letters match in either case (ASCII), the first of several; a name in
//! backquotes or double quotes finds it only when it is written the same. `a->b` reaches into an object, `a[1]` into an
//! array (from 1, or from the end with -1), `a['x']` into a map. What is missing is NULL. In the new value a name is
//! spelled as in the statement; after `*` as in the record. `SELECT *, UCASE(host) AS host` replaces `host`. A value without a
//! name becomes `KSQL_COL_0`, and so on.
//!
//! `ROWTIME` (milliseconds), `ROWOFFSET`, `ROWPARTITION` and `ROWKEY` (the key as text) are known of every record.
//!
//! # Types
//!
//! A field of JSON has no declared type: it takes the type of what it meets. Where text is wanted, a field gives its text,
//! a number as it is written, an object or array as JSON. Where a number is wanted, text that is a number counts as one. In
//! a comparison of text and number the text is read as a number; when it is none, they are not equal, and neither is less.
//! `+` joins when either side is text. By itself a JSON number is BIGINT, or DECIMAL when it is too large for that, or
//! DOUBLE when it has a point or an exponent. So `10 / 4` is 2 and `10.0 / 4` is 2.5: CAST says what is meant.
//!
//! Literals have types (`1` INTEGER, `1.5` DECIMAL, `1e3` DOUBLE), and so have functions; where both sides are known and do
//! not go together, the statement is refused before any record comes.
//!
//! # Where this is not ksqlDB
//!
//! An overflow and a division by zero are NULL (ksqlDB wraps around, or logs an error). Lengths and places count
//! characters, not UTF-16 units. An object or array as text is JSON, not what Java prints. Doubles that are not finite are
//! NULL, because JSON has no word for them. `NULL` can be selected without a CAST. Joining with `+` and `||` takes numbers too. Two
//! letters of case are compared in ASCII. There is no clock and no randomness: `UNIX_TIMESTAMP()`, `NOW()`, `UUID()` and
//! `RANDOM()` are refused, so that a replay gives the same answer.
//!
//! # What is checked of a record's JSON
//!
//! The scan stops at the last field that is needed. Up to there: brackets, commas, colons, the end of strings, control
//! characters, numbers and words. Escapes and UTF-8 are checked in what is decoded or copied, and objects and arrays that
//! are copied are checked as a whole, so that a new value is always valid. Every value has to begin and end as an object.

pub mod bytes;
pub mod decimal;
pub mod error;
pub mod eval;
pub mod expr;
pub mod functions;
pub mod json;
pub mod like;
pub mod parse;
pub mod plan;
pub mod plugin;
pub mod query;
pub mod row;
pub mod time;
pub mod types;
pub mod value;

weir_plugin::export!(plugin::Sql);
