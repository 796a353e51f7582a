//! Walks JSON without decoding it: where a value ends, what the members of an object and the elements of an array are.
//!
//! What is checked on the way: strings are terminated and hold no control characters, numbers and the words `true`,
//! `false` and `null` are well formed, members are divided by commas and names by colons, brackets are balanced
//! and of the right kind, nesting is bounded. Not checked in what is stepped over: escapes, UTF-8, and the order of
//! tokens inside nested objects and arrays. Those are checked where they are decoded or copied.

use std::ops::Range;

use super::{Malformed, find_special};

/// How deep objects and arrays may be nested: what serde_json and most parsers hold to.
pub const DEPTH_MAX: u32 = 128;

/// Steps over white space.
#[inline]
pub fn skip_space(doc: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = doc.get(at) {
        at += 1;
    }
    at
}

/// Finds the end of a string: `at` is the byte after the opening quote. Returns the place of the closing quote and
/// whether an escape stands before it.
#[inline]
pub fn string_end(doc: &[u8], mut at: usize) -> Result<(usize, bool), Malformed> {
    let mut escaped = false;
    loop {
        at += doc.get(at..).and_then(find_special).unwrap_or_else(|| doc.len().saturating_sub(at));
        match doc.get(at) {
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => {
                escaped = true;
                at += 2;
            }
            Some(_) => return Err(Malformed::new(at, "a control character in a string has to be escaped")),
            None => return Err(Malformed::new(doc.len(), "the string does not end")),
        }
    }
}

/// Steps over one value, which begins at `at`, and returns where it ends.
#[inline]
pub fn skip_value(doc: &[u8], at: usize) -> Result<usize, Malformed> {
    match doc.get(at) {
        Some(b'"') => Ok(string_end(doc, at + 1)?.0 + 1),
        Some(b'-' | b'0'..=b'9') => skip_number(doc, at),
        Some(b'{' | b'[') => skip_container(doc, at),
        Some(b't') => skip_word(doc, at, b"true"),
        Some(b'f') => skip_word(doc, at, b"false"),
        Some(b'n') => skip_word(doc, at, b"null"),
        Some(_) => Err(Malformed::new(at, "expected a value")),
        None => Err(Malformed::new(at, "the document ends where a value was expected")),
    }
}

/// Steps over `true`, `false` or `null`.
fn skip_word(doc: &[u8], at: usize, word: &'static [u8]) -> Result<usize, Malformed> {
    let end = at + word.len();
    if doc.get(at..end) == Some(word) {
        return Ok(end);
    }
    Err(Malformed::new(at, "expected true, false or null"))
}

/// Steps over a number, and checks it.
#[inline]
pub fn skip_number(doc: &[u8], at: usize) -> Result<usize, Malformed> {
    let start = if doc.get(at) == Some(&b'-') { at + 1 } else { at };
    let mut end = digits(doc, start);
    if end == start {
        return Err(Malformed::new(start, "expected a digit"));
    }
    if end > start + 1 && doc.get(start) == Some(&b'0') {
        return Err(Malformed::new(start, "a number has no leading zeros"));
    }
    if doc.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits(doc, fraction);
        if end == fraction {
            return Err(Malformed::new(fraction, "expected a digit"));
        }
    }
    if let Some(b'e' | b'E') = doc.get(end) {
        let sign = end + 1;
        let exponent = if let Some(b'+' | b'-') = doc.get(sign) { sign + 1 } else { sign };
        end = digits(doc, exponent);
        if end == exponent {
            return Err(Malformed::new(exponent, "expected a digit"));
        }
    }
    Ok(end)
}

#[inline]
fn digits(doc: &[u8], mut at: usize) -> usize {
    while let Some(b'0'..=b'9') = doc.get(at) {
        at += 1;
    }
    at
}

/// Steps over an object or an array by its brackets.
fn skip_container(doc: &[u8], mut at: usize) -> Result<usize, Malformed> {
    let mut brackets = Brackets::default();
    while let Some(&byte) = doc.get(at) {
        match byte {
            b'"' => at = string_end(doc, at + 1)?.0,
            b'{' | b'[' => brackets.open(byte, at)?,
            b'}' | b']' => {
                brackets.close(byte, at)?;
                if brackets.depth == 0 {
                    return Ok(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    Err(Malformed::new(doc.len(), "the object or array does not end"))
}

/// The brackets that are open, one bit each: set for an object.
#[derive(Default)]
pub(super) struct Brackets {
    open: u128,
    depth: u32,
}

impl Brackets {
    /// Opens an object or an array.
    pub(super) fn open(&mut self, byte: u8, at: usize) -> Result<(), Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(Malformed::new(at, "nested deeper than 128 levels"));
        }
        self.open = self.open << 1 | u128::from(byte == b'{');
        self.depth += 1;
        Ok(())
    }

    /// Closes what was opened last.
    pub(super) fn close(&mut self, byte: u8, at: usize) -> Result<(), Malformed> {
        if self.depth == 0 || (self.open & 1 == 1) != (byte == b'}') {
            return Err(Malformed::new(at, "a closing bracket of the other kind was expected"));
        }
        self.open >>= 1;
        self.depth -= 1;
        Ok(())
    }

    /// Whether what was opened last is an object; `None` when nothing is open.
    pub(super) fn in_object(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.open & 1 == 1)
    }
}

/// One member of an object: places in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name between its quotes.
    pub name: Range<usize>,
    /// Whether the name holds escapes.
    pub escaped: bool,
    /// The value.
    pub value: Range<usize>,
}

/// Walks the members of an object, one at a time.
#[derive(Clone, Debug)]
pub struct Members {
    at: usize,
    first: bool,
}

impl Members {
    /// Begins with the object whose opening bracket is the first byte at or after `at` that is not white space.
    pub fn begin(doc: &[u8], at: usize) -> Result<Members, Malformed> {
        let at = skip_space(doc, at);
        match doc.get(at) {
            Some(b'{') => Ok(Members { at: at + 1, first: true }),
            Some(_) => Err(Malformed::new(at, "expected a JSON object")),
            None => Err(Malformed::new(at, "expected a JSON object, and nothing came")),
        }
    }

    /// The next member, or `None` at the end of the object.
    #[inline]
    pub fn next(&mut self, doc: &[u8]) -> Result<Option<Member>, Malformed> {
        let mut at = skip_space(doc, self.at);
        match doc.get(at) {
            Some(b'}') => {
                self.at = at;
                return Ok(None);
            }
            Some(b',') if !self.first => at = skip_space(doc, at + 1),
            _ if self.first => {}
            _ => return Err(Malformed::new(at, "expected a comma or the end of the object")),
        }
        self.first = false;
        if doc.get(at) != Some(&b'"') {
            return Err(Malformed::new(at, "expected the name of a member"));
        }
        let start = at + 1;
        let (end, escaped) = string_end(doc, start)?;
        at = skip_space(doc, end + 1);
        if doc.get(at) != Some(&b':') {
            return Err(Malformed::new(at, "expected a colon"));
        }
        let value = skip_space(doc, at + 1);
        self.at = skip_value(doc, value)?;
        Ok(Some(Member { name: start..end, escaped, value: value..self.at }))
    }

    /// Where the walk stands: once `next` has said `None`, at the object's closing bracket.
    pub fn place(&self) -> usize {
        self.at
    }

    /// Checks that nothing but white space follows the object. Call it once `next` has said `None`.
    pub fn end(&self, doc: &[u8]) -> Result<(), Malformed> {
        let at = skip_space(doc, self.at + 1);
        if at < doc.len() { Err(Malformed::new(at, "nothing may follow the object")) } else { Ok(()) }
    }
}

/// Walks the elements of an array.
#[derive(Clone, Debug)]
pub struct Elements {
    at: usize,
    first: bool,
}

impl Elements {
    /// Begins with the array whose opening bracket is at `at`.
    pub fn begin(doc: &[u8], at: usize) -> Result<Elements, Malformed> {
        match doc.get(at) {
            Some(b'[') => Ok(Elements { at: at + 1, first: true }),
            _ => Err(Malformed::new(at, "expected an array")),
        }
    }

    /// The place of the next element, or `None` at the end of the array.
    pub fn next(&mut self, doc: &[u8]) -> Result<Option<Range<usize>>, Malformed> {
        let mut at = skip_space(doc, self.at);
        match doc.get(at) {
            Some(b']') => {
                self.at = at;
                return Ok(None);
            }
            Some(b',') if !self.first => at = skip_space(doc, at + 1),
            _ if self.first => {}
            _ => return Err(Malformed::new(at, "expected a comma or the end of the array")),
        }
        self.first = false;
        self.at = skip_value(doc, at)?;
        Ok(Some(at..self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_one_by_one() {
        let doc = br#" { "a" : 1 , "b\n":[{}, "]"], "":null} "#;
        let mut walk = Members::begin(doc, 0).unwrap();
        let mut found = Vec::new();
        while let Some(member) = walk.next(doc).unwrap() {
            let text = |range: Range<usize>| String::from_utf8_lossy(&doc[range]).into_owned();
            found.push((text(member.name), member.escaped, text(member.value)));
        }
        let wanted = [("a", false, "1"), ("b\\n", true, "[{}, \"]\"]"), ("", false, "null")];
        assert_eq!(found, wanted.map(|(name, escaped, value)| (name.to_owned(), escaped, value.to_owned())));
        assert_eq!(doc.get(walk.place()), Some(&b'}'));
        walk.end(doc).unwrap();
    }

    #[test]
    fn numbers_are_checked() {
        for good in ["0", "-0", "10", "1.5", "-1.5e+10", "0E0"] {
            assert_eq!(skip_number(good.as_bytes(), 0), Ok(good.len()), "{good}");
        }
        for bad in ["-", "01", "1.", ".5", "1e", "1e+", "+1"] {
            assert!(skip_number(bad.as_bytes(), 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(skip_value(deep(128).as_bytes(), 0), Ok(256));
        assert_eq!(skip_value(deep(129).as_bytes(), 0).unwrap_err().what, "nested deeper than 128 levels");
        assert!(skip_value(b"[[]", 0).is_err() && skip_value(b"[}", 0).is_err());
    }
}
