//! The text forms of BYTES: base64 (what JSON holds), hex, ASCII and UTF-8.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let sextet = (group >> (18 - 6 * place)) & 0x3f;
            let letter = ALPHABET.get(sextet as usize).copied().unwrap_or(b'=');
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Reads base64, padded or not; `None` when it is none.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3 + 2);
    for chunk in body.as_bytes().chunks(4) {
        let mut group = 0u32;
        for &letter in chunk {
            group = group << 6 | u32::try_from(ALPHABET.iter().position(|&known| known == letter)?).ok()?;
        }
        group <<= 6 * (4 - chunk.len());
        let count = match chunk.len() {
            1 => return None,
            length => length - 1,
        };
        bytes.extend_from_slice(group.to_be_bytes().get(1..=count)?);
    }
    Some(bytes)
}

/// Writes hexadecimal digits, in upper case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Reads hexadecimal digits: plain, `0x..` or `X'..'`. A missing first digit is 0, but not between quotes.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let quoted = text.strip_prefix(['X', 'x']).and_then(|rest| rest.strip_prefix('\''));
    let body = match quoted {
        Some(quoted) => quoted.strip_suffix('\'').filter(|body| body.len() % 2 == 0)?,
        None => text.strip_prefix("0x").unwrap_or(text),
    };
    let mut digits = Vec::with_capacity(body.len() + 1);
    if body.len() % 2 == 1 {
        digits.push(0);
    }
    for letter in body.chars() {
        digits.push(u8::try_from(letter.to_digit(16)?).ok()?);
    }
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// Encodes bytes as text: `hex`, `utf8`, `ascii` or `base64`; `None` when the encoding is unknown.
pub fn encode(bytes: &[u8], encoding: &str) -> Option<String> {
    match encoding.to_ascii_lowercase().as_str() {
        "hex" => Some(hex(bytes)),
        "base64" => Some(base64(bytes)),
        // As in Java, what is no text shows as U+FFFD.
        "utf8" => Some(String::from_utf8_lossy(bytes).into_owned()),
        "ascii" => {
            let letter = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER };
            Some(bytes.iter().map(letter).collect())
        }
        _ => None,
    }
}

/// Decodes text to bytes; the inverse of [`encode`].
pub fn decode(text: &str, encoding: &str) -> Option<Vec<u8>> {
    match encoding.to_ascii_lowercase().as_str() {
        "hex" => from_hex(text),
        "base64" => from_base64(text),
        "utf8" => Some(text.as_bytes().to_vec()),
        "ascii" => text.is_ascii().then(|| text.as_bytes().to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_round_trip() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded).unwrap(), plain.as_bytes());
        }
        assert!(from_base64("Z").is_none() && from_base64("Z!==").is_none());
    }

    #[test]
    fn hex_forms() {
        assert_eq!(from_hex("0x4a4B"), Some(vec![0x4a, 0x4b]));
        assert_eq!(from_hex("X'4a4B'"), Some(vec![0x4a, 0x4b]));
        assert_eq!(from_hex("abc"), Some(vec![0x0a, 0xbc]));
        assert!(from_hex("xy").is_none() && from_hex("X'abc'").is_none());
        assert_eq!(hex(&[0x4a, 0x0b]), "4A0B");
    }
}
