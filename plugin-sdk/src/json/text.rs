//! Decodes JSON strings, borrowing where nothing has to be unescaped.

use std::borrow::Cow;

use super::Malformed;

/// Decodes what stands between the quotes of a string. Places in errors count from the start of `inner`.
///
/// A lone surrogate becomes U+FFFD: Java keeps it, and UTF-8 has no room for it.
#[inline]
pub fn decode(inner: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    match memchr::memchr(b'\\', inner) {
        None => utf8(inner, 0).map(Cow::Borrowed),
        Some(first) => unescape(inner, first).map(Cow::Owned),
    }
}

fn utf8(bytes: &[u8], start: usize) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|e| Malformed::new(start + e.valid_up_to(), "the string is not UTF-8"))
}

fn unescape(inner: &[u8], first: usize) -> Result<String, Malformed> {
    let mut text = String::with_capacity(inner.len());
    let (mut run, mut next) = (0, Some(first));
    while let Some(at) = next {
        text.push_str(utf8(inner.get(run..at).unwrap_or_default(), run)?);
        let (decoded, end) = escape(inner, at)?;
        text.push(decoded);
        run = end;
        let rest = inner.get(run..).unwrap_or_default();
        next = memchr::memchr(b'\\', rest).map(|ahead| run + ahead);
    }
    text.push_str(utf8(inner.get(run..).unwrap_or_default(), run)?);
    Ok(text)
}

/// Decodes the escape that begins at `at`, and says where it ends.
pub(super) fn escape(inner: &[u8], at: usize) -> Result<(char, usize), Malformed> {
    let decoded = match inner.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(inner, at),
        _ => return Err(Malformed::new(at, "not an escape that JSON knows")),
    };
    Ok((decoded, at + 2))
}

fn unicode(inner: &[u8], at: usize) -> Result<(char, usize), Malformed> {
    let high = hex4(inner, at + 2)?;
    let end = at + 6;
    if let Some(plain) = char::from_u32(high) {
        return Ok((plain, end));
    }
    let pair = high < 0xDC00 && inner.get(end..end + 2) == Some(b"\\u");
    if pair {
        let low = hex4(inner, end + 2)?;
        if (0xDC00..0xE000).contains(&low) {
            let joined = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
            return Ok((char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER), end + 6));
        }
    }
    Ok((char::REPLACEMENT_CHARACTER, end))
}

fn hex4(inner: &[u8], at: usize) -> Result<u32, Malformed> {
    let wrong = Malformed::new(at, "expected four hexadecimal digits");
    let digits = inner.get(at..at + 4).ok_or(wrong)?;
    digits.iter().try_fold(0, |sum, &digit| char::from(digit).to_digit(16).map(|value| sum * 16 + value).ok_or(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(decode(br#"a\"\\\/\b\f\n\r\tz"#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\tz");
        assert_eq!(decode(br"\u00e9\ud83d\ude00").unwrap(), "é😀");
        assert_eq!(decode(br"\ud83dx\ude00\ud83d\u0041").unwrap(), "\u{fffd}x\u{fffd}\u{fffd}A");
        assert!(matches!(decode("größe".as_bytes()), Ok(Cow::Borrowed("größe"))));
    }

    #[test]
    fn faults_have_a_place() {
        assert_eq!(decode(br"ab\x").unwrap_err().at, 2);
        assert_eq!(decode(br"ab\u12g4").unwrap_err().at, 4);
        assert_eq!(decode(b"a\\n\xff").unwrap_err().at, 3);
        assert_eq!(decode(br"a\").unwrap_err().at, 1);
    }
}
