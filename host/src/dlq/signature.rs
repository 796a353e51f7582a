//! What tells errors of one kind from others: the reason without what differs from record to record, and who gave it.

use super::Letter;

/// Characters of a reason that count. What comes behind them hardly tells kinds apart.
const CHARS_MAX: usize = 300;

/// A kind of errors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    /// A short name for it, which lasts: eight hexadecimal digits.
    pub id: String,
    /// The reason without its variable parts: `#` for numbers, hashes and positions, `'*'` for quoted text.
    pub pattern: String,
}

impl Signature {
    /// The kind of a letter.
    pub fn of(letter: &Letter) -> Signature {
        let pattern = pattern(&letter.reason);
        let mut hasher = blake3::Hasher::new();
        for part in [&pattern, &letter.step, letter.plugin.as_deref().unwrap_or_default()] {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        let id = hasher.finalize().to_hex().chars().take(8).collect();
        Signature { id, pattern }
    }
}

/// A reason without its variable parts.
pub fn pattern(reason: &str) -> String {
    let mut out = String::new();
    let mut rest: &str = reason;
    while let Some(first) = rest.chars().next().filter(|_| out.len() < CHARS_MAX) {
        let taken = if is_quote(first, &out)
            && let Some(len) = quoted(rest, first)
        {
            out.extend([first, '*', first]);
            len
        } else if first.is_ascii_alphanumeric() {
            push_word(&mut out, rest)
        } else {
            out.push(first);
            first.len_utf8()
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Whether text in quotes may begin: an apostrophe within a word is none.
fn is_quote(first: char, before: &str) -> bool {
    matches!(first, '"' | '`' | '\'') && !(first == '\'' && before.ends_with(char::is_alphanumeric))
}

/// The bytes up to the closing quote, with both, where there is one.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if char == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Appends a word, or what stands for it; says how many bytes of the text it is.
fn push_word(out: &mut String, text: &str) -> usize {
    let end = |part: &str| part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
    if is_uuid(text) {
        push_number(out);
        return UUID.iter().sum::<usize>() + UUID.len() - 1;
    }
    let word = text.get(..end(text)).unwrap_or_default();
    let hex = word.strip_prefix("0x").unwrap_or(word);
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && (has_digit || hex.len() >= 8) {
        push_number(out);
        return word.len();
    }
    let mut was_digit = false;
    for char in word.chars() {
        match char.is_ascii_digit() {
            true if was_digit => {}
            true => push_number(out),
            false => out.push(char),
        }
        was_digit = char.is_ascii_digit();
    }
    word.len()
}

/// Appends what stands for a number. With what numbers are put together from, as times and addresses are, it is one.
fn push_number(out: &mut String) {
    if out.strip_suffix(['.', ':', '-', '/', ',', '+', 'T']).is_some_and(|before| before.ends_with('#')) {
        out.pop();
        return;
    }
    let sign = out.strip_suffix('-').filter(|before| !before.ends_with(char::is_alphanumeric)).map(str::len);
    out.truncate(sign.unwrap_or(out.len()));
    if !out.ends_with('#') {
        out.push('#');
    }
}

const UUID: [usize; 5] = [8, 4, 4, 4, 12];

fn is_uuid(text: &str) -> bool {
    let mut parts = text.splitn(5, '-');
    UUID.iter().all(|len| {
        let part = parts.next().unwrap_or_default();
        let hex = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        let is_last = *len == 12;
        let ends = part.as_bytes().get(*len).is_none_or(|byte| is_last && !byte.is_ascii_alphanumeric());
        hex == *len && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_record_to_record_is_taken_out() {
        let cases = [
            ("line 3, column 17: expected `}`, found `x`", "line #, column #: expected `*`, found `*`"),
            ("it isn't 'a \\'quoted\\' text'", "it isn't '*'"),
            ("id 3f2504e0-4f89-11d3-9a0c-0305e82c3301 is unknown", "id # is unknown"),
            ("hash deadbeef and 0x1f, 4f89 and face", "hash # and #, # and face"),
            ("at 2026-03-01T12:00:00.007Z from 10.0.0.7:514", "at #Z from #"),
            ("-5 is less than -0.25", "# is less than #"),
            ("sha256 of utf8 \"unclosed", "sha# of utf# \"unclosed"),
            ("the value has not the field host", "the value has not the field host"),
            ("größe 5", "größe #"),
            ("", ""),
        ];
        for (reason, expected) in cases {
            assert_eq!(pattern(reason), expected, "{reason}");
        }
    }

    #[test]
    fn a_kind_is_told_by_reason_step_and_plugin() {
        let letter = |reason: &str, step: &str, plugin: Option<&str>| {
            let plugin = plugin.map(Into::into);
            Signature::of(&Letter { reason: reason.into(), step: step.into(), plugin, ..Letter::default() }).id
        };
        let first = letter("at 1", "s", Some("p"));
        assert_eq!(first.len(), 8);
        assert_eq!(first, letter("at 22", "s", Some("p")));
        for other in [letter("in 1", "s", Some("p")), letter("at 1", "t", Some("p")), letter("at 1", "s", None)] {
            assert_ne!(first, other);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_reason_has_a_pattern_and_a_pattern_is_bounded(reason in ".{0,400}") {
            proptest::prop_assert!(pattern(&reason).len() <= CHARS_MAX + 400);
        }
    }
}
