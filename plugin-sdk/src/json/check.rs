//! Proves that a slice is one valid JSON value, so that it can be copied to an output as it stands.

use super::scan::{self, Brackets};
use super::{Malformed, text};

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    CommaOrEnd,
}

/// Checks that `slice` is one whole value without white space around it.
pub fn value(slice: &[u8]) -> Result<(), Malformed> {
    let mut brackets = Brackets::default();
    let mut expect = Expect::Value;
    let mut at = 0;
    loop {
        at = scan::skip_space(slice, at);
        let byte = *slice.get(at).ok_or(Malformed::new(at, "the value does not end"))?;
        (at, expect) = match (expect, byte) {
            (Expect::Value | Expect::ValueOrEnd, b'{' | b'[') => {
                brackets.open(byte, at)?;
                (at + 1, if byte == b'{' { Expect::NameOrEnd } else { Expect::ValueOrEnd })
            }
            (Expect::NameOrEnd | Expect::CommaOrEnd, b'}') | (Expect::ValueOrEnd | Expect::CommaOrEnd, b']') => {
                brackets.close(byte, at)?;
                (at + 1, Expect::CommaOrEnd)
            }
            (Expect::Value | Expect::ValueOrEnd, _) => (scalar(slice, at)?, Expect::CommaOrEnd),
            (Expect::Name | Expect::NameOrEnd, b'"') => (name(slice, at)?, Expect::Value),
            (Expect::CommaOrEnd, b',') => {
                (at + 1, if brackets.in_object() == Some(true) { Expect::Name } else { Expect::Value })
            }
            (Expect::Name | Expect::NameOrEnd, _) => return Err(Malformed::new(at, "expected the name of a member")),
            (Expect::CommaOrEnd, _) => return Err(Malformed::new(at, "expected a comma or a closing bracket")),
        };
        if expect == Expect::CommaOrEnd && brackets.in_object().is_none() {
            return if at == slice.len() { Ok(()) } else { Err(Malformed::new(at, "nothing may follow the value")) };
        }
    }
}

/// Checks a scalar at `at` and returns where it ends.
fn scalar(slice: &[u8], at: usize) -> Result<usize, Malformed> {
    let end = scan::skip_value(slice, at)?;
    if slice.get(at) == Some(&b'"') {
        string(slice.get(at + 1..end - 1).unwrap_or_default()).map_err(|e| e.within(at + 1))?;
    }
    Ok(end)
}

/// Checks a member's name and its colon, and returns what follows.
fn name(slice: &[u8], at: usize) -> Result<usize, Malformed> {
    let end = scalar(slice, at)?;
    let colon = scan::skip_space(slice, end);
    if slice.get(colon) == Some(&b':') { Ok(colon + 1) } else { Err(Malformed::new(colon, "expected a colon")) }
}

/// Checks what stands between the quotes of a string: UTF-8 and escapes.
pub fn string(inner: &[u8]) -> Result<(), Malformed> {
    if let Err(e) = std::str::from_utf8(inner) {
        return Err(Malformed::new(e.valid_up_to(), "the string is not UTF-8"));
    }
    let mut from = 0;
    while let Some(ahead) = memchr::memchr(b'\\', inner.get(from..).unwrap_or_default()) {
        from = text::escape(inner, from + ahead)?.1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in "[{}\\[\\]\",:ab01.eE+\\-\\\\untrfalse ]{0,16}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let ours = value(text.trim_ascii().as_bytes());
            // serde_json refuses doubles that are too large; JSON has no such bound.
            let too_large = theirs.as_ref().is_err_and(|e| e.to_string().contains("number out of range"));
            prop_assert!(too_large || ours.is_ok() == theirs.is_ok(), "{}: {:?} {:?}", text, ours, theirs);
        }

        #[test]
        fn bytes_that_are_no_json_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = value(&bytes);
        }
    }
}
