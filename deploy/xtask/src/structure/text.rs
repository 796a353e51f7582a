//! Tells code from comments and strings in Rust text, as far as the rules need it. Knows nothing of files.

/// What a character of a Rust file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Code, with the quotes of its literals.
    Code,
    /// A comment of any form, documentation included.
    Comment,
    /// The inside of a string or character literal.
    Literal,
}

/// The text with everything but one class blanked. Lines stay where they are.
pub fn only(text: &str, wanted: Class) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut word_before = false;
    while let Some(first) = rest.chars().next() {
        let (class, length) = token(rest, first, word_before);
        let (taken, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.extend(taken.chars().map(|c| if class == wanted || c == '\n' { c } else { ' ' }));
        word_before = class == Class::Code && (first.is_alphanumeric() || first == '_');
        rest = after;
    }
    out
}

/// The class of what the text begins with, and its length in bytes.
fn token(text: &str, first: char, word_before: bool) -> (Class, usize) {
    if text.starts_with("//") {
        return (Class::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Class::Comment, block_comment(text));
    }
    if !word_before && let Some(length) = raw_string(text) {
        return (Class::Literal, length);
    }
    match first {
        '"' => (Class::Literal, string(text)),
        '\'' => character(text).map_or((Class::Code, 1), |length| (Class::Literal, length)),
        other => (Class::Code, other.len_utf8()),
    }
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of a string literal, quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw string literal, where the text begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let after_prefix =
        text.strip_prefix("br").or_else(|| text.strip_prefix("cr")).or_else(|| text.strip_prefix('r'))?;
    let after_hashes = after_prefix.trim_start_matches('#');
    let body = after_hashes.strip_prefix('"')?;
    let hashes = after_prefix.len() - after_hashes.len();
    let end = format!("\"{}", "#".repeat(hashes));
    let opened = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| opened + at + end.len()))
}

/// The length of a character literal; nothing where the quote begins a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut inside = text.char_indices().skip(1);
    let (_, first) = inside.next()?;
    if first == '\\' {
        inside.next()?;
        return inside.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    inside.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

/// Leaves out modules under `#[cfg(test)]`. Relies on rustfmt: such a module ends with a brace in its own column.
pub fn without_tests(lines: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let mut kept = Vec::with_capacity(lines.len());
    let mut lines = lines.into_iter();
    while let Some((number, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push((number, line));
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        for (_, inner) in lines.by_ref() {
            let one_line = inner.trim_end().ends_with(';') && inner.len() - inner.trim_start().len() == indent;
            if inner.trim_end() == closing || one_line {
                break;
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_literals_are_told_apart() {
        let text = "let a = \"// no\"; // yes \"x\"\nlet b = '\"'; /* c /* d */ e */ f::<'a>(r#\"g\"h\"#)";
        assert_eq!(
            only(text, Class::Code).split_whitespace().collect::<Vec<_>>(),
            ["let", "a", "=", ";", "let", "b", "=", ";", "f::<'a>(", ")"]
        );
        let comments = only(text, Class::Comment);
        assert_eq!(
            comments.split_whitespace().collect::<Vec<_>>(),
            ["//", "yes", "\"x\"", "/*", "c", "/*", "d", "*/", "e", "*/"]
        );
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "a\n\"b\nc\"\n/* d\n*/ e\n";
        let code = only(text, Class::Code);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.lines().last().unwrap().trim(), "e");
    }

    #[test]
    fn escapes_do_not_end_literals() {
        assert_eq!(
            only(r#"a("\"b\\", '\'', '\u{7f}', b'"') c"#, Class::Code).split_whitespace().collect::<String>(),
            "a(,,,b)c"
        );
    }

    #[test]
    fn an_identifier_that_ends_in_r_begins_no_raw_string() {
        assert_eq!(only("for\"x\"", Class::Literal).trim(), "\"x\"");
    }

    #[test]
    fn test_modules_are_left_out_and_what_follows_them_is_not() {
        let text = "a\n#[cfg(test)]\nmod tests {\n    b\n    }\n}\nc\n#[cfg(test)]\nmod more;\nd\n";
        let lines = text.lines().enumerate().map(|(index, line)| (index, line.to_owned())).collect();
        let kept: Vec<String> = without_tests(lines).into_iter().map(|(_, line)| line).collect();
        assert_eq!(kept, ["a", "c", "d"]);
    }
}
