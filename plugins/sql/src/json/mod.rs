//! JSON as bytes: finds, checks and decodes it. Knows nothing of SQL.
//!
//! Reading is lazy. [`scan`] walks the members of an object and steps over what nobody asked for; [`text`] and
//! [`number`] decode one scalar; [`check`] proves that a slice is whole and valid before it is copied to an output.

pub mod check;
pub mod number;
pub mod scan;
pub mod text;

/// Why some bytes are not the JSON that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON at byte {at}: {what}")]
pub struct Malformed {
    /// The place in the document, in bytes from 0.
    pub at: usize,
    /// What was expected there, or what came.
    pub what: &'static str,
}

impl Malformed {
    /// Names a fault and its place.
    pub fn new(at: usize, what: &'static str) -> Malformed {
        Malformed { at, what }
    }

    /// Moves the place of a fault that was found in a part of a document.
    pub fn within(self, start: usize) -> Malformed {
        Malformed { at: self.at.saturating_add(start), what: self.what }
    }
}

/// How deep objects and arrays may be nested: what serde_json and most parsers hold to.
pub const DEPTH_MAX: u32 = 128;
