//! Values and names in the text of a statement. The protocol has no parameters, so what is written here is all that stands between a
//! value and the statement around it.

use std::fmt::Write as _;

/// Whose SQL a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Apache Impala.
    Impala,
    /// Apache Hive.
    Hive,
    /// Apache Spark.
    Spark,
}

/// A value that is put into a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literal<'a> {
    /// NULL.
    Null,
    /// A text. Databases make numbers and times of it where `CAST(? AS ...)` says so.
    Text(&'a str),
    /// Bytes. In Impala these are a STRING: `CAST(? AS BINARY)` where they shall be one.
    Bytes(&'a [u8]),
}

/// Why a statement was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// There are more or fewer placeholders than values.
    #[error("expected {placeholders} values, one for each `?`, got {values}")]
    Count {
        /// How many `?` stand outside of quotes and comments.
        placeholders: usize,
        /// How many values were given.
        values: usize,
    },
    /// A quote or a comment has no end.
    #[error("expected an end of the {0}")]
    Open(&'static str),
    /// Servers differ in where this ends.
    #[error("expected no {0}, as servers differ in where that ends")]
    Unclear(&'static str),
    /// A name that cannot be quoted.
    #[error("expected a name {0}")]
    Name(&'static str),
}

/// Puts values in place of `?`, in their order. What stands in quotes ('..', "..", `..`) or in comments is no placeholder.
///
/// # Errors
/// Statements whose values are not as many as its placeholders, and those in which it is not clear to all servers where a quote or a
/// comment ends.
pub fn bind(dialect: Dialect, text: &str, values: &[Literal<'_>]) -> Result<String, BindError> {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut placeholders) = (text, 0);
    while let Some(first) = rest.chars().next() {
        if first == '?' {
            if let Some(value) = values.get(placeholders) {
                value.write(dialect, &mut out);
            }
            placeholders += 1;
        }
        let (token, behind) = rest.split_at(token(rest)?);
        if first != '?' {
            out.push_str(token);
        }
        rest = behind;
    }
    if placeholders == values.len() { Ok(out) } else { Err(BindError::Count { placeholders, values: values.len() }) }
}

/// The length of the quote, the comment, the word or the character that a text begins with.
fn token(text: &str) -> Result<usize, BindError> {
    let mut chars = text.chars();
    let first = chars.next().unwrap_or_default();
    match (first, chars.next()) {
        ('\'' | '"', _) => quoted(text, first),
        ('`', _) => {
            let size = quoted(text, '`')?;
            // An escape in Impala, a character elsewhere.
            if text.get(..size).unwrap_or_default().contains('\\') {
                Err(BindError::Unclear("`\\` in backticks"))
            } else {
                Ok(size)
            }
        }
        ('-', Some('-')) => line_comment(text),
        ('/', Some('*')) => comment(text),
        // In Spark's r'..' a backslash is a character.
        ('r' | 'R', Some('\'' | '"')) => Err(BindError::Unclear("r before a quote")),
        _ if is_of_word(first) => Ok(text.find(|c| !is_of_word(c)).unwrap_or(text.len())),
        _ => Ok(first.len_utf8()),
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn quoted(text: &str, quote: char) -> Result<usize, BindError> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(BindError::Open("quote"))
}

fn line_comment(text: &str) -> Result<usize, BindError> {
    let size = text.find(['\n', '\r']).unwrap_or(text.len());
    // Spark's comment goes on behind it.
    let is_unclear = text.get(..size).is_some_and(|comment| comment.ends_with('\\')) && size < text.len();
    if is_unclear { Err(BindError::Unclear("`\\` at the end of a comment")) } else { Ok(size) }
}

fn comment(text: &str) -> Result<usize, BindError> {
    let inside = text.get(2..).unwrap_or_default();
    let size = inside.find("*/").ok_or(BindError::Open("comment"))?;
    // Spark's comments can be nested. That of `/*/` is one that has begun.
    let is_unclear = inside
        .get(..size)
        .is_some_and(|inside| inside.contains("/*") || inside.starts_with('/') || inside.ends_with('/'));
    if is_unclear { Err(BindError::Unclear("`/` beside `*` in a comment")) } else { Ok(size + 4) }
}

impl Literal<'_> {
    fn write(&self, dialect: Dialect, out: &mut String) {
        match self {
            Literal::Null => out.push_str("NULL"),
            Literal::Text(text) => {
                out.push('\'');
                text.chars().for_each(|c| write_char(dialect, c, out));
                out.push('\'');
            }
            Literal::Bytes(bytes) => {
                let (begin, end) = if dialect == Dialect::Spark { ("X'", "'") } else { ("unhex('", "')") };
                out.push_str(begin);
                for byte in *bytes {
                    // Writing to a string does not fail.
                    let _ = write!(out, "{byte:02X}");
                }
                out.push_str(end);
            }
        }
    }
}

/// Writes a character of a text. `''` is no quote in Spark up to 3.5, `\'` is one everywhere; escapes of three octal digits are known
/// to all three, and end whatever comes behind them.
fn write_char(dialect: Dialect, c: char, out: &mut String) {
    match c {
        '\'' => out.push_str(r"\'"),
        '\\' => out.push_str(r"\\"),
        '\0' => out.push_str(r"\000"),
        '\n' => out.push_str(r"\n"),
        '\r' => out.push_str(r"\r"),
        '\u{1a}' => out.push_str(r"\032"),
        // `${env:HOME}` and the like are substituted before a statement is read, in quotes too.
        '$' if dialect != Dialect::Impala => out.push_str(r"\044"),
        other => out.push(other),
    }
}

/// The longest name of a table or a database in Hive's catalogue, which all three use.
const NAME_CHARS_MAX: usize = 128;

/// Quotes the name of a table, a column or a database: one part of it, without dots between.
///
/// # Errors
/// Names that are empty, too long, or hold what the server would read as something else.
pub fn quote(dialect: Dialect, name: &str) -> Result<String, BindError> {
    let wrong = if name.is_empty() {
        "that is not empty"
    } else if name.chars().count() > NAME_CHARS_MAX {
        "of at most 128 characters"
    } else if name.contains(char::is_control) {
        "without control characters"
    } else if name.contains("${") {
        "without `${`, which is substituted"
    } else if dialect == Dialect::Impala && name.contains(['`', '\\']) {
        "without backticks and backslashes, which Impala does not allow"
    } else if name.contains('\\') {
        "without backslashes"
    } else {
        return Ok(format!("`{}`", name.replace('`', "``")));
    };
    Err(BindError::Name(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Impala, Dialect::Hive, Dialect::Spark];

    /// A reader of literals as the servers have it, by their documentation: substitution on the raw text first, then escapes.
    fn read(dialect: Dialect, statement: &str) -> Vec<String> {
        assert!(dialect == Dialect::Impala || !statement.contains("${"), "{statement}");
        let bytes: Vec<char> = statement.chars().collect();
        let (mut texts, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            assert_eq!(bytes[at], '\'', "{statement}");
            at += 1;
            let mut text = String::new();
            while bytes[at] != '\'' {
                let octal: String = bytes[at + 1..].iter().take(3).collect();
                let (c, size) = match (bytes[at], bytes.get(at + 1)) {
                    ('\\', Some('0' | '1')) if octal.len() == 3 && octal.bytes().all(|c| (b'0'..b'8').contains(&c)) => {
                        (char::from(u8::from_str_radix(&octal, 8).unwrap()), 4)
                    }
                    ('\\', Some('0')) => ('\0', 2),
                    ('\\', Some('n')) => ('\n', 2),
                    ('\\', Some('r')) => ('\r', 2),
                    ('\\', Some('u')) => panic!("a number of a character"),
                    ('\\', Some(c)) => (*c, 2),
                    (c, _) => (c, 1),
                };
                text.push(c);
                at += size;
            }
            texts.push(text);
            at += 1;
            if at < bytes.len() {
                assert_eq!(bytes[at..at + 2], [',', ' '], "{statement}");
                at += 2;
            }
        }
        texts
    }

    fn hostile(seed: usize) -> String {
        let parts = [
            "'",
            "\\",
            "\0",
            "0",
            "12",
            "$",
            "{",
            "}",
            "${env:HOME}",
            "\n",
            "\r",
            "\u{1a}",
            "?",
            "\"",
            "`",
            "--",
            "/*",
            "u0027",
            "é",
            "🦀",
            "n",
        ];
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut text = String::new();
        for _ in 0..seed % 12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(parts[(state >> 33) % parts.len()]);
        }
        text
    }

    #[test]
    fn hostile_texts_stay_in_their_quotes() {
        for dialect in ALL {
            for seed in 0..1000 {
                let texts = [hostile(seed), hostile(seed + 1), hostile(seed + 2)];
                let values = texts.each_ref().map(|text| Literal::Text(text));
                let statement = bind(dialect, "?, ?, ?", &values).unwrap();
                assert_eq!(read(dialect, &statement), texts, "{statement}");
                // What was put in holds no placeholder for another round.
                assert_eq!(bind(dialect, &statement, &[]).as_deref(), Ok(statement.as_str()));
            }
        }
    }

    #[test]
    fn placeholders_stand_outside_of_quotes_and_comments() {
        for (text, expected) in [
            ("?", "NULL"),
            ("a=?", "a=NULL"),
            ("'?' = ?", "'?' = NULL"),
            ("'it''s ?' ?", "'it''s ?' NULL"),
            (r"'\'?' ?", r"'\'?' NULL"),
            (r#""\"?" ?"#, r#""\"?" NULL"#),
            ("`a?``?` ?", "`a?``?` NULL"),
            ("-- it's ?\n?", "-- it's ?\nNULL"),
            ("--?\r?", "--?\rNULL"),
            ("/* ' ? */ ?", "/* ' ? */ NULL"),
            ("/**/?/* **/", "/**/NULL/* **/"),
            ("a - -?", "a - -NULL"),
            ("or'x?' ?", "or'x?' NULL"),
            ("日?本", "日NULL本"),
        ] {
            assert_eq!(bind(Dialect::Spark, text, &[Literal::Null]).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for text in [
            "'?",
            "\"",
            "`x",
            "/* ?",
            "/*",
            "'\\'",
            "/*/ ?",
            "/* /* ? */ */",
            "/*//*/",
            "`\\` ?",
            "r'\\' ?",
            "R\"x\"",
            "-- \\\n?",
        ] {
            assert!(
                matches!(bind(Dialect::Spark, text, &[]), Err(BindError::Open(_) | BindError::Unclear(_))),
                "{text}"
            );
        }
        for (text, values) in [("?", 0), ("? ?", 1), ("", 1), ("'?'", 1), ("?", 2)] {
            let error = bind(Dialect::Hive, text, &vec![Literal::Null; values]).unwrap_err();
            assert!(matches!(error, BindError::Count { .. }), "{text}");
        }
    }

    #[test]
    fn bytes_are_written_in_hex() {
        let value = [Literal::Bytes(&[0, 0xab, b'\''])];
        assert_eq!(bind(Dialect::Spark, "?", &value).unwrap(), "X'00AB27'");
        assert_eq!(bind(Dialect::Hive, "?", &value).unwrap(), "unhex('00AB27')");
        assert_eq!(bind(Dialect::Impala, "?", &[Literal::Bytes(&[])]).unwrap(), "unhex('')");
    }

    #[test]
    fn names_are_quoted_or_refused() {
        for dialect in ALL {
            assert_eq!(quote(dialect, "Größe 1").unwrap(), "`Größe 1`");
            for wrong in ["", "a\0", "a\nb", "${x}", "a\\", &"x".repeat(129)] {
                assert!(quote(dialect, wrong).is_err(), "{wrong:?}");
            }
        }
        assert_eq!(quote(Dialect::Spark, "a`b").unwrap(), "`a``b`");
        assert!(quote(Dialect::Impala, "a`b").is_err());
    }
}
