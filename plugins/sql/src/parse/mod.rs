//! Reads a statement. Knows the shape of `SELECT .. FROM .. WHERE ..` and of expressions, and not what they mean.
//!
//! sqlparser reads tokens and expressions, in the [`Dialect`] of ksqlDB; the clauses are taken apart here, so that a clause
//! which this version does not have is refused by its name and at its place.

mod dialect;

pub use dialect::Dialect;
use sqlparser::ast::{Expr, Ident, SelectItem};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::error::StatementError;

/// The longest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 << 10;
/// The most tokens of a statement, without white space: a bound for the depth of what is made of it.
const TOKENS_MAX: usize = 4_096;
/// How deep expressions may be nested in brackets.
const DEPTH_MAX: usize = 50;

/// A statement, taken apart.
#[derive(Debug)]
pub struct Select {
    /// What stands between SELECT and FROM.
    pub items: Vec<SelectItem>,
    /// The source that it reads.
    pub source: Ident,
    /// What the source is called in the statement.
    pub alias: Option<Ident>,
    /// What stands behind WHERE.
    pub filter: Option<Expr>,
}

/// Reads a statement.
pub fn parse(statement: &str) -> Result<Select, StatementError> {
    if statement.len() > STATEMENT_BYTES_MAX {
        return Err(StatementError::new(Location::empty(), "the statement is longer than 64 KiB"));
    }
    let dialect = Dialect;
    let tokens = Tokenizer::new(&dialect, statement)
        .tokenize_with_location()
        .map_err(|e| StatementError::new(e.location, plain(&e.message)))?;
    if tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).count() > TOKENS_MAX {
        return Err(StatementError::new(
            Location::empty(),
            format!("the statement has more than {TOKENS_MAX} words and signs"),
        ));
    }
    let parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
    Reader { parser }.select().map_err(|e| at_the_end(e, statement))
}

/// Gives a fault at the end of the statement its place: sqlparser's last token has none.
fn at_the_end(error: StatementError, statement: &str) -> StatementError {
    if error.line > 0 {
        return error;
    }
    let lines = statement.split('\n').count();
    let column = statement.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    StatementError { line: lines, column, ..error }
}

struct Reader<'a> {
    parser: Parser<'a>,
}

impl Reader<'_> {
    fn select(mut self) -> Result<Select, StatementError> {
        self.expect_select()?;
        let items = self.items()?;
        if !self.parser.parse_keyword(Keyword::FROM) {
            return Err(self.unexpected("FROM"));
        }
        let source = self.name("the name of a source: input")?;
        let alias = self.alias()?;
        let filter = match self.parser.parse_keyword(Keyword::WHERE) {
            true => Some(self.expression()?),
            false => None,
        };
        self.end()?;
        Ok(Select { items, source, alias, filter })
    }

    fn expect_select(&mut self) -> Result<(), StatementError> {
        if !self.parser.parse_keyword(Keyword::SELECT) {
            let token = self.parser.peek_token_ref();
            let message = match &token.token {
                Token::EOF => "expected a statement: SELECT .. FROM input [WHERE ..]".to_owned(),
                other => format!("expected SELECT and found {other}; this version runs one SELECT statement"),
            };
            return Err(StatementError::new(token.span.start, message));
        }
        if self.next_is("DISTINCT") {
            return Err(self.unsupported("SELECT DISTINCT"));
        }
        Ok(())
    }

    fn items(&mut self) -> Result<Vec<SelectItem>, StatementError> {
        let mut items = Vec::new();
        loop {
            if self.parser.peek_token_ref().token == Token::EOF || self.next_is("FROM") {
                return Err(self.unexpected("something to select"));
            }
            let here = self.here();
            items.push(self.parser.parse_select_item().map_err(|e| fault(e, here))?);
            if !self.parser.consume_token(&Token::Comma) {
                return Ok(items);
            }
        }
    }

    fn expression(&mut self) -> Result<Expr, StatementError> {
        let here = self.here();
        self.parser.parse_expr().map_err(|e| fault(e, here))
    }

    fn name(&mut self, wanted: &str) -> Result<Ident, StatementError> {
        if !matches!(self.parser.peek_token_ref().token, Token::Word(_)) {
            return Err(self.unexpected(wanted));
        }
        let here = self.here();
        self.parser.parse_identifier().map_err(|e| fault(e, here))
    }

    fn alias(&mut self) -> Result<Option<Ident>, StatementError> {
        if self.parser.parse_keyword(Keyword::AS) {
            return self.name("a name").map(Some);
        }
        let is_name = match &self.parser.peek_token_ref().token {
            Token::Word(word) => word.quote_style.is_some() || clause(&word.value.to_uppercase()).is_none(),
            _ => false,
        };
        if is_name { self.name("a name").map(Some) } else { Ok(None) }
    }

    /// `EMIT CHANGES` and a semicolon may end the statement; every other clause is refused by its name.
    fn end(&mut self) -> Result<(), StatementError> {
        if self.next_is("EMIT") {
            let here = self.here();
            self.parser.advance_token();
            if !self.next_is("CHANGES") {
                return Err(StatementError::new(here, "only EMIT CHANGES is supported by this version"));
            }
            self.parser.advance_token();
        }
        while self.parser.consume_token(&Token::SemiColon) {}
        let token = self.parser.peek_token_ref();
        let name = match &token.token {
            Token::EOF => return Ok(()),
            Token::Comma => Some("more than one source in FROM"),
            Token::Word(word) if word.quote_style.is_none() => clause(&word.value.to_uppercase()),
            _ => None,
        };
        Err(match name {
            Some("WHERE") | None => self.unexpected("the end of the statement"),
            Some(name) => self.unsupported(name),
        })
    }

    fn here(&self) -> Location {
        self.parser.peek_token_ref().span.start
    }

    fn next_is(&self, word: &str) -> bool {
        is_word(self.parser.peek_token_ref(), word)
    }

    fn unexpected(&self, wanted: &str) -> StatementError {
        let token = self.parser.peek_token_ref();
        let found = match &token.token {
            Token::EOF => "the end of the statement".to_owned(),
            other => other.to_string(),
        };
        StatementError::new(token.span.start, format!("expected {wanted} and found {found}"))
    }

    fn unsupported(&self, what: &str) -> StatementError {
        StatementError::new(self.here(), format!("{what} is not supported by this version"))
    }
}

fn is_word(token: &TokenWithSpan, wanted: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// The clause that a word begins, by the name by which it is refused.
fn clause(word: &str) -> Option<&'static str> {
    Some(match word {
        "WHERE" => "WHERE",
        "EMIT" => "EMIT",
        "JOIN" | "INNER" | "LEFT" | "RIGHT" | "FULL" | "OUTER" | "CROSS" => "JOIN",
        "WINDOW" => "WINDOW",
        "GROUP" => "GROUP BY",
        "PARTITION" => "PARTITION BY",
        "HAVING" => "HAVING",
        "ORDER" => "ORDER BY",
        "LIMIT" => "LIMIT",
        "UNION" | "INTERSECT" | "EXCEPT" => "a statement of several SELECTs",
        "WITHIN" => "WITHIN",
        "WITH" => "WITH",
        _ => return None,
    })
}

/// Takes the place out of an error of sqlparser's, which carries it in its text.
fn fault(error: ParserError, here: Location) -> StatementError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return StatementError::new(here, format!("the expression is nested deeper than {DEPTH_MAX} levels"));
        }
    };
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return StatementError::new(here, plain(&text));
    };
    let at = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    StatementError::new(at.unwrap_or(here), plain(message))
}

/// Puts a message of sqlparser's into the form of ours.
fn plain(message: &str) -> String {
    let message =
        message.replace("Expected: ", "expected ").replace(", found: EOF", " and found the end of the statement");
    let message = message.replace(", found: ", " and found ");
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(statement: &str) -> String {
        parse(statement).unwrap_err().to_string()
    }

    #[test]
    fn reads_the_clauses() {
        let select = parse("select a, b->c as d from input i where a > 1 emit changes;").unwrap();
        assert_eq!(select.items.len(), 2);
        assert_eq!(select.source.value, "input");
        assert_eq!(select.alias.unwrap().value, "i");
        assert!(select.filter.is_some());
    }

    #[test]
    fn words_that_other_dialects_reserve_are_names() {
        let statement = "SELECT timestamp, date, user, position, interval, map, struct, trim, floor, replace, values, key, \
                         exists, left, end2 FROM input WHERE timestamp > 1 AND limit = 2 AND window IS NULL AND group LIKE 'x'";
        assert!(parse(statement).is_ok(), "{:?}", parse(statement));
    }

    #[test]
    fn clauses_of_later_versions_are_named() {
        for (statement, wanted) in [
            ("SELECT a FROM input GROUP BY a", "line 1:21: GROUP BY is not supported by this version"),
            ("SELECT a FROM input\nLEFT JOIN b ON a = b", "line 2:1: JOIN is not supported by this version"),
            ("SELECT a FROM input WINDOW TUMBLING (SIZE 1 DAY)", "line 1:21: WINDOW is not supported by this version"),
            ("SELECT a FROM input PARTITION BY a", "line 1:21: PARTITION BY is not supported by this version"),
            ("SELECT DISTINCT a FROM input", "line 1:8: SELECT DISTINCT is not supported by this version"),
            ("SELECT a FROM input, b", "line 1:20: more than one source in FROM is not supported by this version"),
            ("SELECT a FROM input LIMIT 1", "line 1:21: LIMIT is not supported by this version"),
            ("SELECT a FROM input EMIT FINAL", "line 1:21: only EMIT CHANGES is supported by this version"),
            (
                "CREATE STREAM x AS SELECT 1",
                "line 1:1: expected SELECT and found CREATE; this version runs one SELECT statement",
            ),
        ] {
            assert_eq!(refused(statement), wanted);
        }
    }

    #[test]
    fn faults_have_a_place() {
        assert_eq!(
            refused("SELECT a FROM input WHERE"),
            "line 1:26: expected an expression and found the end of the statement"
        );
        assert_eq!(refused("SELECT FROM input"), "line 1:8: expected something to select and found FROM");
        assert_eq!(refused("SELECT a input"), "line 1:15: expected FROM and found the end of the statement");
        assert!(refused("SELECT 'a FROM input").starts_with("line 1:8: unterminated string"));
        assert!(
            refused(&format!("SELECT {}1{} FROM input", "(".repeat(500), ")".repeat(500))).contains("nested deeper")
        );
        assert!(refused(&"SELECT ".repeat(20_000)).contains("64 KiB"));
    }

    proptest! {
        #[test]
        fn hostile_statements_never_panic(text in "(SELECT|FROM|WHERE|input|[a-z*]|CASE|WHEN|END|CAST|->|\\(|\\)|\\[|\\]|'|`|[<>=+,.;%0-9]| |NOT|IN|=>|:=|LIKE|AS|ARRAY){0,30}") {
            let _ = parse(&text);
            let _ = parse(&format!("SELECT {text} FROM input"));
        }
    }
}
