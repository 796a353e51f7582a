//! Writes JSON strings. Text comes as bytes from the network: whatever is in it, what is written is valid JSON.

/// How many bytes are looked at together; the compiler makes one vector of them.
const LANES: usize = 16;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends text as a JSON string, quotes included. What is not UTF-8 becomes U+FFFD.
#[inline]
pub fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends text as it stands within the quotes of a JSON string. What is not UTF-8 becomes U+FFFD.
#[inline]
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_ascii() { push_utf8(out, text) } else { push_any(out, text) }
}

fn push_any(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        push_utf8(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Escapes what JSON does not allow in a string: quotes, backslashes and control characters.
#[inline]
fn push_utf8(out: &mut Vec<u8>, mut text: &[u8]) {
    loop {
        let (clean, rest) = text.split_at(clean_len(text));
        out.extend_from_slice(clean);
        let Some((special, rest)) = rest.split_first() else { return };
        push_escape(out, *special);
        text = rest;
    }
}

#[inline]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// How many bytes from the start need no escape.
#[inline]
fn clean_len(text: &[u8]) -> usize {
    let (chunks, tail) = text.as_chunks::<LANES>();
    let has_special = |chunk: &[u8; LANES]| chunk.iter().fold(false, |found, byte| found | is_special(*byte));
    let clean = chunks.iter().take_while(|chunk| !has_special(chunk)).count();
    let rest: &[u8] = chunks.get(clean).map_or(tail, |chunk| chunk);
    clean * LANES + rest.iter().take_while(|byte| !is_special(**byte)).count()
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
    use super::*;
    use proptest::prelude::*;
    use weir_plugin::serde_json;

    fn string(text: &[u8]) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_kind_of_byte_is_escaped_in_its_way() {
        assert_eq!(string(b"a\"b\\c\n\r\t\x08\x0c\0\x1f\x7f"), "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0000\\u001f\x7f\"");
        assert_eq!(string(b"caf\xc3\xa9 \xff!"), "\"caf\u{e9} \u{fffd}!\"");
        assert_eq!(string(b""), "\"\"");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_back_as_their_lossy_text(text in prop::collection::vec(any::<u8>(), 0..80)) {
            let read: String = serde_json::from_str(&string(&text)).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&text));
        }

        #[test]
        fn text_is_read_back(text in "[ -~é\"\\\\\n]{0,80}") {
            let read: String = serde_json::from_str(&string(text.as_bytes())).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
