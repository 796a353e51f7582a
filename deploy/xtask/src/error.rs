//! What went wrong, in words for the person who ran the command.

use std::fmt::Display;

/// A message for a person: what was being done and why it failed.
#[derive(Debug)]
pub struct Error(String);

/// The result of every fallible function here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error of a message.
    pub fn new(message: impl Display) -> Self {
        Error(message.to_string())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds what was being done to an error.
pub trait Context<T> {
    /// Puts `doing` before the error's own words.
    fn context<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Error(format!("{}: {error}", doing())))
    }
}
