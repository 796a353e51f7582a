//! Functions over regular expressions, and Java's syntax for them.
//!
//! Patterns run in time linear in the text (crate `regex`), so what needs going back is refused with a reason:
//! look-around, back references and possessive or atomic groups. As in Java, `\w`, `\d`, `\s` and `\b` are ASCII.

use std::rc::Rc;

use regex::{Captures, Regex, RegexBuilder};

use super::{Function, Kind, Returns, take, text, whole};
use crate::expr::{Compiled, Memo};
use crate::value::{Outcome, Value};

/// The most memory that a compiled pattern may take, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// The functions of this module.
pub const FUNCTIONS: &[Function] = &[
    Function::new(
        "REGEXP_EXTRACT",
        &[Kind::Text, Kind::Text],
        Returns::Varchar,
        "The first match of a pattern (first argument) in a text, or of one of its groups.",
        extract,
    )
    .optional(&[Kind::Whole])
    .checked(|literals| good(literals.first())),
    Function::new(
        "REGEXP_EXTRACT_ALL",
        &[Kind::Text, Kind::Text],
        Returns::Array,
        "All matches of a pattern (first argument) in a text, or of one of its groups.",
        extract_all,
    )
    .optional(&[Kind::Whole])
    .checked(|literals| good(literals.first())),
    Function::new(
        "REGEXP_REPLACE",
        &[Kind::Text, Kind::Text, Kind::Text],
        Returns::Varchar,
        "The text with every match of a pattern replaced; $1 stands for the first group.",
        replace,
    )
    .checked(|literals| good(literals.get(1))),
    Function::new(
        "REGEXP_SPLIT_TO_ARRAY",
        &[Kind::Text, Kind::Text],
        Returns::Array,
        "The parts of a text between the matches of a pattern.",
        split,
    )
    .checked(|literals| good(literals.get(1))),
];

fn good(literal: Option<&Option<&str>>) -> Result<(), String> {
    match literal.copied().flatten() {
        Some(pattern) => compile(pattern).map(|_| ()),
        None => Ok(()),
    }
}

/// Compiles a pattern in Java's syntax. The error says what is wrong, for a person.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated).size_limit(REGEX_BYTES_MAX).build().map_err(|e| {
        let reason = match &e {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            // The last line of the crate's message says what is wrong; those before draw the pattern.
            other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        };
        format!("the regular expression '{pattern}' cannot be used: {reason}")
    })
}

/// Rewrites what Java writes differently.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut letters = pattern.chars().peekable();
    let (mut in_class, mut repeated) = (0u32, false);
    while let Some(letter) = letters.next() {
        let mut repeats = false;
        match letter {
            '\\' => escape(&mut letters, &mut out, in_class > 0)?,
            '[' => {
                in_class += 1;
                out.push(letter);
            }
            ']' => {
                in_class = in_class.saturating_sub(1);
                out.push(letter);
            }
            '+' if repeated && in_class == 0 => return Err(refused(pattern, "possessive quantifiers (like *+)")),
            '*' | '+' | '?' | '}' if in_class == 0 => {
                // A question mark after a quantifier makes it lazy, and no quantifier may follow that.
                repeats = !(repeated && letter == '?');
                out.push(letter);
            }
            '(' if in_class == 0 => {
                out.push(letter);
                group(pattern, &letters)?;
            }
            _ => out.push(letter),
        }
        repeated = repeats;
    }
    Ok(out)
}

/// Refuses the groups that need going back.
fn group(pattern: &str, letters: &std::iter::Peekable<std::str::Chars<'_>>) -> Result<(), String> {
    let ahead: String = letters.clone().take(3).collect();
    let is = |start: &str| ahead.starts_with(start);
    if is("?=") || is("?!") || is("?<=") || is("?<!") {
        return Err(refused(pattern, "look-ahead and look-behind"));
    }
    if is("?>") {
        return Err(refused(pattern, "atomic groups"));
    }
    Ok(())
}

fn refused(pattern: &str, what: &str) -> String {
    format!(
        "the regular expression '{pattern}' cannot be used: {what} are not supported, because they can take forever"
    )
}

fn escape(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    out: &mut String,
    in_class: bool,
) -> Result<(), String> {
    let Some(letter) = letters.next() else {
        return Err("a regular expression cannot end with a backslash".to_owned());
    };
    match letter {
        'd' => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
        'w' => out.push_str(if in_class { "a-zA-Z0-9_" } else { "[a-zA-Z0-9_]" }),
        's' => out.push_str(if in_class { r" \t\n\x0B\f\r" } else { r"[ \t\n\x0B\f\r]" }),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^a-zA-Z0-9_]"),
        'S' => out.push_str(r"[^ \t\n\x0B\f\r]"),
        'h' => out.push_str(if in_class { r" \t\x{A0}" } else { r"[ \t\x{A0}]" }),
        'R' => out.push_str(r"(?:\r\n|[\n\r\x0B\f\x{85}\x{2028}\x{2029}])"),
        'b' | 'B' => out.push_str(&format!(r"(?-u:\{letter})")),
        'e' => out.push_str(r"\x1B"),
        'Z' => out.push_str(r"(?:\n?\z)"),
        'Q' => quoted(letters, out),
        '1'..='9' | 'k' => return Err("back references are not supported in regular expressions".to_owned()),
        'p' | 'P' => property(letters, out, letter, in_class),
        _ => {
            out.push('\\');
            out.push(letter);
        }
    }
    Ok(())
}

/// `\Q..\E`: text that stands for itself.
fn quoted(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        if letter == '\\' && letters.next_if_eq(&'E').is_some() {
            break;
        }
        text.push(letter);
    }
    out.push_str(&regex::escape(&text));
}

/// `\p{Alpha}` and the other POSIX classes of Java; what is none is left to the crate.
fn property(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String, sign: char, in_class: bool) {
    let rest: String = letters.clone().collect();
    let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(name, _)| name);
    let known = inside.and_then(|name| {
        const NAMES: [&str; 12] = [
            "Lower", "Upper", "ASCII", "Alpha", "Digit", "Alnum", "Punct", "Graph", "Print", "Blank", "Cntrl", "Space",
        ];
        NAMES.iter().chain(&["XDigit"]).find(|known| **known == name)
    });
    let Some(name) = known else {
        out.push('\\');
        out.push(sign);
        return;
    };
    let negated = if sign == 'P' { "^" } else { "" };
    let class = format!("[:{negated}{}:]", name.to_ascii_lowercase());
    out.push_str(&if in_class { class } else { format!("[{class}]") });
    letters.by_ref().take(name.len() + 2).for_each(drop);
}

fn compiled(memo: &Memo, pattern: &str) -> Option<Rc<Regex>> {
    let compile = |pattern: &str| compile(pattern).map_or(Compiled::Broken, |regex| Compiled::Regex(Rc::new(regex)));
    match memo.get(pattern, compile) {
        Compiled::Regex(regex) => Some(regex),
        _ => None,
    }
}

fn extract<'v>(arguments: &mut [Value<'v>], memo: &Memo) -> Outcome<'v> {
    let group = usize::try_from(whole(arguments, 2).unwrap_or(0)).ok();
    let (Some(regex), Some(group)) = (compiled(memo, &text(arguments, 0)), group) else { return Ok(Value::Null) };
    let subject = text(arguments, 1);
    let found = regex.captures(&subject).and_then(|captures| captures.get(group));
    Ok(Value::or_null(found.map(|found| Value::text_of(found.as_str()))))
}

fn extract_all<'v>(arguments: &mut [Value<'v>], memo: &Memo) -> Outcome<'v> {
    let group = usize::try_from(whole(arguments, 2).unwrap_or(0)).ok();
    let (Some(regex), Some(group)) = (compiled(memo, &text(arguments, 0)), group) else { return Ok(Value::Null) };
    if group >= regex.captures_len() {
        return Ok(Value::Null);
    }
    let subject = text(arguments, 1);
    let all = regex
        .captures_iter(&subject)
        .map(|captures| Value::or_null(captures.get(group).map(|found| Value::text_of(found.as_str()))));
    Ok(Value::Array(all.collect()))
}

fn replace<'v>(arguments: &mut [Value<'v>], memo: &Memo) -> Outcome<'v> {
    let Some(regex) = compiled(memo, &text(arguments, 1)) else { return Ok(Value::Null) };
    let (subject, template) = (text(arguments, 0), text(arguments, 2));
    let replaced = regex.replace_all(&subject, |captures: &Captures<'_>| expanded(&template, captures));
    Ok(Value::text_of(replaced))
}

/// Fills a replacement in Java's syntax: `$1`, `${name}`, and a backslash before what stands for itself.
fn expanded(template: &str, captures: &Captures<'_>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut letters = template.chars().peekable();
    let group = |found: Option<regex::Match<'_>>| found.map_or(String::new(), |found| found.as_str().to_owned());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next()),
            '$' if letters.next_if_eq(&'{').is_some() => {
                let name: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                out.push_str(&group(captures.name(&name)));
            }
            '$' => {
                let mut number = 0;
                // As many digits as still name a group, as in Java.
                while let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(10)) {
                    let longer = number * 10 + digit as usize;
                    if number > 0 && longer >= captures.len() {
                        break;
                    }
                    number = longer;
                    letters.next();
                }
                out.push_str(&group(captures.get(number)));
            }
            _ => out.push(letter),
        }
    }
    out
}

fn split<'v>(arguments: &mut [Value<'v>], memo: &Memo) -> Outcome<'v> {
    let Some(regex) = compiled(memo, &text(arguments, 1)) else { return Ok(Value::Null) };
    let subject = take(arguments, 0).into_text()?.unwrap_or_default();
    let mut parts: Vec<Value<'v>> = regex.split(&subject).map(Value::text_of).collect();
    // An empty match at either end splits nothing off.
    if regex.find(&subject).is_some_and(|first| first.is_empty() && first.start() == 0) && parts.len() > 1 {
        parts.remove(0);
        if regex.find_iter(&subject).last().is_some_and(|last| last.is_empty() && last.end() == subject.len()) {
            parts.pop();
        }
    }
    Ok(Value::Array(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(pattern: &str, text: &str) -> Option<String> {
        compile(pattern).unwrap().find(text).map(|found| found.as_str().to_owned())
    }

    #[test]
    fn classes_are_ascii_as_in_java() {
        assert_eq!(first(r"\w+", "äb1_"), Some("b1_".into()));
        assert_eq!(first(r"[\w-]+", "a-1 x"), Some("a-1".into()));
        assert_eq!(first(r"[^\s]+", " ab "), Some("ab".into()));
        assert_eq!(first(r"\bfoo\b", "xfoo foo"), Some("foo".into()));
        assert_eq!(first(r"\p{Upper}\p{Lower}+", "an Apple"), Some("Apple".into()));
        assert_eq!(first(r"\Qa.b\E+", "axb a.bb"), Some("a.bb".into()));
        assert_eq!(first(r"(?i)from (\d{1,3}\.){3}\d{1,3}", "x FROM 10.0.0.1"), Some("FROM 10.0.0.1".into()));
        assert_eq!(first(r"a+?", "aaa"), Some("a".into()));
    }

    #[test]
    fn what_needs_going_back_is_refused() {
        for pattern in ["(?=a)", "(?<!a)b", "(?>a)", "a*+", "a{2}+", r"(a)\1", "(", r"a\"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
        assert!(compile("(?=a)").unwrap_err().contains("look-ahead"));
        assert!(compile("a{1000}{1000}").unwrap_err().contains("too large"));
    }

    #[test]
    fn replacements() {
        let fill = |pattern: &str, text: &str, template: &str| {
            let regex = compile(pattern).unwrap();
            expanded(template, &regex.captures(text).unwrap())
        };
        assert_eq!(fill("(a)(b)", "ab", "$2-$1"), "b-a");
        assert_eq!(fill("(?<x>a)", "a", r"${x}\$1$10"), "a$1a0");
    }
}
