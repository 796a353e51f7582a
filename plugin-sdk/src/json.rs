//! JSON as bytes, which is cheaper than trees for a plugin that sees many values.
//!
//! Reading is lazy: [`scan`] walks the members of an object and steps over what nobody asked for, [`Path`] leads to one of
//! them, [`text`] decodes a string, and [`check`] proves that a slice is whole and valid before it is copied to an output.
//! [`push_string`] and [`push_lossy`] write strings straight into a value.
//!
//! Bytes are looked at in pieces of a fixed length (see [`crate::scan`]), and copied so: in WebAssembly a copy of a
//! length that is not known when the plugin is compiled is a call.

pub mod check;
mod malformed;
mod path;
pub mod scan;
pub mod text;

pub use malformed::Malformed;
pub use path::{Path, find_in};

use crate::scan::{HIGHEST_BITS, WORD, find, mark_below, mark_equal, spread};

const HEX: &[u8; 16] = b"0123456789abcdef";
/// What stands for bytes that are no text.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Appends text as a JSON string, quotes included.
#[inline]
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if !push_plain(out, text.as_bytes()) {
        push_escaped(out, text.as_bytes());
    }
    out.push(b'"');
}

/// Appends bytes that should be text as a JSON string, quotes included. What is not UTF-8 becomes U+FFFD.
#[inline]
pub fn push_lossy(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if !push_plain(out, bytes) {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => push_escaped(out, text.as_bytes()),
            Err(_) => push_invalid(out, bytes),
        }
    }
    out.push(b'"');
}

/// Finds the first byte that cannot stand in a JSON string as it is: a quote, a backslash or a control character.
#[inline]
pub fn find_special(text: &[u8]) -> Option<usize> {
    find(text, mark_special)
}

#[inline]
fn mark_special(word: u64) -> u64 {
    mark_equal(word, b'"') | mark_equal(word, b'\\') | mark_below(word, b' ')
}

/// Not 0 when any byte of a word is special or not ASCII. Without the care for which byte it is, this is cheaper: among
/// bytes that are all ASCII, the first that a subtraction borrows for is one that is special.
#[inline]
fn mark_unplain(word: u64) -> u64 {
    let zero_if_quote = (word ^ spread(b'"')).wrapping_sub(spread(1));
    let zero_if_backslash = (word ^ spread(b'\\')).wrapping_sub(spread(1));
    let control = word.wrapping_sub(spread(b' '));
    (word | zero_if_quote | zero_if_backslash | control) & HIGHEST_BITS
}

/// Appends text if it can stand in a JSON string as it is and is ASCII; else appends nothing. Returns which.
#[inline]
fn push_plain(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let start = out.len();
    let marks = if text.len() < 2 * WORD { push_short(out, text) } else { push_long(out, text) };
    if marks != 0 {
        out.truncate(start);
    }
    marks == 0
}

/// Pairs of words from the start, then the last two, which may overlap those before them. Returns marks.
#[inline]
fn push_long(out: &mut Vec<u8>, text: &[u8]) -> u64 {
    let end = out.len() + text.len();
    let mut marks = 0;
    for pair in text.as_chunks().0 {
        marks |= mark_pair(pair);
        out.extend_from_slice(pair);
    }
    if let Some(last) = text.last_chunk() {
        marks |= mark_pair(last);
        out.truncate(end - last.len());
        out.extend_from_slice(last);
    }
    marks
}

#[inline]
fn mark_pair(pair: &[u8; 2 * WORD]) -> u64 {
    let (words, _) = pair.as_chunks();
    words.iter().fold(0, |marks, word| marks | mark_unplain(u64::from_le_bytes(*word)))
}

/// Text of less than two words: its beginning and its end, which may overlap.
#[inline]
fn push_short(out: &mut Vec<u8>, text: &[u8]) -> u64 {
    let end = out.len() + text.len();
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        out.extend_from_slice(first);
        out.truncate(end - WORD);
        out.extend_from_slice(last);
        mark_unplain(u64::from_le_bytes(*first)) | mark_unplain(u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        out.extend_from_slice(first);
        out.truncate(end - first.len());
        out.extend_from_slice(last);
        let half = |bytes: &[u8; WORD / 2]| u64::from(u32::from_le_bytes(*bytes));
        mark_unplain(half(first) << 32 | half(last))
    } else {
        text.iter().fold(0, |marks, byte| {
            out.push(*byte);
            marks | mark_unplain(spread(*byte))
        })
    }
}

/// Appends UTF-8, escaping what has to be.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some((clean, special, after)) = up_to_special(rest) {
        out.extend_from_slice(clean);
        push_escape(out, special);
        rest = after;
    }
    out.extend_from_slice(rest);
}

fn up_to_special(text: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (clean, rest) = text.split_at_checked(find_special(text)?)?;
    let (special, after) = rest.split_first()?;
    Some((clean, *special, after))
}

fn push_invalid(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        push_escaped(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
        }
    }
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn lossy(bytes: &[u8]) -> String {
        let mut out = b"before".to_vec();
        push_lossy(&mut out, bytes);
        String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    #[test]
    fn each_kind_of_byte_is_escaped_in_its_way() {
        let escaped = "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0000\\u001f\x7f\"";
        assert_eq!(string("a\"b\\c\n\r\t\x08\x0c\0\x1f\x7f"), escaped);
        assert_eq!(lossy(b"a\"b\\c\n\r\t\x08\x0c\0\x1f\x7f"), escaped);
        assert_eq!(string("caf\u{e9}"), "\"caf\u{e9}\"");
        assert_eq!(lossy(b"caf\xc3\xa9 \xff!"), "\"caf\u{e9} \u{fffd}!\"");
        assert_eq!(string(""), "\"\"");
    }

    #[test]
    fn plain_text_of_any_length_is_copied() {
        let text = "the quick brown fox jumps over the lazy dog, and again";
        for len in 0..=text.len() {
            assert_eq!(string(&text[..len]), format!("\"{}\"", &text[..len]));
        }
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_stands() {
        for len in 1..50 {
            for at in 0..len {
                for special in [b'"', b'\\', 0, 0x1f] {
                    let mut text = vec![b'~'; len];
                    text[at] = special;
                    assert_eq!(find_special(&text), Some(at));
                    let read: String = serde_json::from_str(&lossy(&text)).unwrap();
                    assert_eq!(read.as_bytes(), text);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn words_find_what_bytes_find(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
            prop_assert_eq!(find_special(&text), text.iter().position(special));
        }

        #[test]
        fn any_bytes_are_read_back_as_their_lossy_text(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let read: String = serde_json::from_str(&lossy(&bytes)).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn text_is_read_back(text in "[ -~é\"\\\\\n]{0,80}") {
            prop_assert_eq!(&serde_json::from_str::<String>(&string(&text)).unwrap(), &text);
            prop_assert_eq!(serde_json::from_str::<String>(&lossy(text.as_bytes())).unwrap(), text);
        }
    }
}
