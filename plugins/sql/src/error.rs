//! What is wrong with a statement, and where.

use sqlparser::tokenizer::Location;

/// The most characters of a line that are shown around a fault.
const EXCERPT_MAX: usize = 100;

/// A fault in a statement. The message is for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}:{column}: {message}")]
pub struct StatementError {
    /// The line, from 1; 0 when the fault is nowhere in particular.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong: what was expected and what came.
    pub message: String,
}

impl StatementError {
    /// A fault at a place.
    pub fn new(at: Location, message: impl Into<String>) -> StatementError {
        let (line, column) = (usize::try_from(at.line), usize::try_from(at.column));
        StatementError { line: line.unwrap_or(0), column: column.unwrap_or(0), message: message.into() }
    }

    /// The fault with the line of the statement and a mark under the place.
    pub fn excerpt(&self, statement: &str) -> String {
        let Some(line) = self.line.checked_sub(1).and_then(|line| statement.lines().nth(line)) else {
            return self.message.clone();
        };
        let letters: Vec<char> = line.chars().collect();
        let at = self.column.saturating_sub(1).min(letters.len());
        let from = if letters.len() <= EXCERPT_MAX { 0 } else { at.saturating_sub(EXCERPT_MAX / 2) };
        let shown: String = letters.iter().skip(from).take(EXCERPT_MAX).collect();
        // A tab is as wide in the mark's line as in the line above it.
        let indent: String =
            letters.iter().take(at).skip(from).map(|letter| if *letter == '\t' { '\t' } else { ' ' }).collect();
        format!("{self}\n  {shown}\n  {indent}^")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_the_place() {
        let error = StatementError::new(Location { line: 2, column: 3 }, "no such thing");
        assert_eq!(error.excerpt("SELECT\n\tabc"), "line 2:3: no such thing\n  \tabc\n  \t ^");
        assert_eq!(StatementError::new(Location { line: 0, column: 0 }, "x").excerpt("y"), "x");
        assert!(error.excerpt(&format!("\n{}", "é".repeat(1000))).lines().nth(1).unwrap().chars().count() < 110);
    }
}
