//! Writes JSON strings straight into a value, which is cheaper than a serializer for a plugin that makes many.
//!
//! Bytes are looked at in pieces of a fixed length. In WebAssembly that matters: a loop of the guest pays for its
//! interruption point at each turn, and a copy of a length that is not known when the plugin is compiled is a call.

/// How many bytes are looked at together.
const WORD: usize = 8;
const ONES: u64 = u64::from_le_bytes([1; WORD]);
const SPACES: u64 = u64::from_le_bytes([b' '; WORD]);
const QUOTES: u64 = u64::from_le_bytes([b'"'; WORD]);
const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; WORD]);
const HIGHEST_BITS: u64 = u64::from_le_bytes([0x80; WORD]);
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

/// Finds the first byte, from a place on, that cannot stand in a JSON string as it is: a quote, a backslash or a
/// control character. `None` when there is none.
#[inline]
pub fn find_special(text: &[u8], from: usize) -> Option<usize> {
    let (words, tail) = text.get(from..)?.as_chunks::<WORD>();
    let mut at = from;
    for word in words {
        let marks = special_marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(at + (marks.trailing_zeros() / u8::BITS) as usize);
        }
        at += WORD;
    }
    Some(at + tail.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))?)
}

/// Sets the highest bit of each byte that is special. A borrow may set it above one that is, never below: the lowest
/// bit that is set is right.
#[inline]
fn special_marks(word: u64) -> u64 {
    let (quote, backslash) = (word ^ QUOTES, word ^ BACKSLASHES);
    let zero_if_quote = quote.wrapping_sub(ONES) & !quote;
    let zero_if_backslash = backslash.wrapping_sub(ONES) & !backslash;
    (zero_if_quote | zero_if_backslash | word.wrapping_sub(SPACES) & !word) & HIGHEST_BITS
}

/// Has a byte's highest bit set when any byte of the word is special or beyond ASCII, whichever byte that is.
#[inline]
fn unplain_mark(word: u64) -> u64 {
    word | (word ^ QUOTES).wrapping_sub(ONES) | (word ^ BACKSLASHES).wrapping_sub(ONES) | word.wrapping_sub(SPACES)
}

/// Appends text if it can stand in a JSON string as it is and is ASCII; else appends nothing. Returns which.
#[inline]
fn push_plain(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let start = out.len();
    let marks = if text.len() < WORD { push_short(out, text) } else { push_words(out, text) };
    let is_plain = marks & HIGHEST_BITS == 0;
    if !is_plain {
        out.truncate(start);
    }
    is_plain
}

/// Words from the start, then the last eight bytes, which may overlap the word before them.
#[inline]
fn push_words(out: &mut Vec<u8>, text: &[u8]) -> u64 {
    let end = out.len() + text.len();
    let mut marks = 0;
    for word in text.as_chunks::<WORD>().0 {
        marks |= unplain_mark(u64::from_le_bytes(*word));
        out.extend_from_slice(word);
    }
    if let Some(last) = text.last_chunk::<WORD>() {
        marks |= unplain_mark(u64::from_le_bytes(*last));
        out.truncate(end - WORD);
        out.extend_from_slice(last);
    }
    marks
}

/// The same with what is shorter than a word: two parts that may overlap.
#[inline]
fn push_short(out: &mut Vec<u8>, text: &[u8]) -> u64 {
    let spaces = SPACES.to_le_bytes();
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        out.extend_from_slice(first);
        out.truncate(out.len() + text.len() - 2 * first.len());
        out.extend_from_slice(last);
        let [f1, f2, f3, f4] = *first;
        let [l1, l2, l3, l4] = *last;
        return unplain_mark(u64::from_le_bytes([f1, f2, f3, f4, l1, l2, l3, l4]));
    }
    let mut word = spaces;
    for (place, byte) in word.iter_mut().zip(text) {
        *place = *byte;
        out.push(*byte);
    }
    unplain_mark(u64::from_le_bytes(word))
}

/// Appends UTF-8, escaping what has to be.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some((clean, special, after)) = find_special(rest, 0).and_then(|at| {
        let (clean, from) = rest.split_at_checked(at)?;
        let (special, after) = from.split_first()?;
        Some((clean, *special, after))
    }) {
        out.extend_from_slice(clean);
        push_escape(out, special);
        rest = after;
    }
    out.extend_from_slice(rest);
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
                    assert_eq!(find_special(&text, 0), Some(at));
                    assert_eq!(find_special(&text, at), Some(at));
                    assert_eq!(find_special(&text, at + 1), None);
                    let read: String = serde_json::from_str(&lossy(&text)).unwrap();
                    assert_eq!(read.as_bytes(), text);
                }
            }
        }
        assert_eq!(find_special(b"\"", 2), None);
    }

    fn by_bytes(text: &[u8]) -> Option<usize> {
        text.iter().position(|byte| *byte == b'"' || *byte == b'\\' || *byte < 0x20)
    }

    proptest! {
        #[test]
        fn words_find_what_bytes_find(text in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(find_special(&text, 0), by_bytes(&text));
        }

        #[test]
        fn a_neighbour_of_what_is_special_is_not(text in prop::collection::vec(0x1eu8..0x24, 0..24)) {
            prop_assert_eq!(find_special(&text, 0), by_bytes(&text));
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
