//! Why bytes are not the JSON that was expected.

use std::fmt;

/// A fault in JSON, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed JSON at byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Malformed {}
