//! How keys and values become bytes. Keys sort as bytes in the order in which they sort themselves.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::stateful_transform::exports::weir::plugin::stateful_step as wit;

/// How bytes are to be shown to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Bytes, of which nothing is known.
    Bytes,
    /// UTF-8.
    Text,
    /// JSON in UTF-8.
    Json,
    /// A `u64`.
    Unsigned,
    /// An `i64`.
    Signed,
}

impl From<Format> for wit::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Bytes => wit::Format::Bytes,
            Format::Text => wit::Format::Text,
            Format::Json => wit::Format::Json,
            Format::Unsigned => wit::Format::Unsigned,
            Format::Signed => wit::Format::Signed,
        }
    }
}

/// A key of a table.
///
/// Encoded keys sort as the keys do, and none is the beginning of another that differs from it, so that tuples of them
/// sort as well.
pub trait Key: Sized {
    /// How it is shown.
    const FORMAT: Format;

    /// Appends its bytes. `is_last`: nothing follows, so its length need not be marked.
    fn encode(&self, is_last: bool, out: &mut Vec<u8>);

    /// Reads it from the front of what [`Key::encode`] wrote; `None` where that did not.
    fn decode(bytes: &mut &[u8], is_last: bool) -> Option<Self>;
}

/// A value of a table.
pub trait Value: Sized {
    /// How it is shown.
    const FORMAT: Format;

    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads what [`Value::encode`] wrote; `None` where it did not.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// A value that is stored as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

/// In front of another part a zero byte is written as `0 255`, and `0 0` ends the text: the order of bytes is kept.
fn encode_text(bytes: &[u8], is_last: bool, out: &mut Vec<u8>) {
    if is_last {
        return out.extend_from_slice(bytes);
    }
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(255);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn decode_text(bytes: &mut &[u8], is_last: bool) -> Option<Vec<u8>> {
    if is_last {
        return Some(std::mem::take(bytes).to_vec());
    }
    let mut text = Vec::new();
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if *byte == 0 {
            let (mark, rest) = bytes.split_first()?;
            *bytes = rest;
            if *mark == 0 {
                return Some(text);
            }
        }
        text.push(*byte);
    }
}

fn decode_number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*number))
}

/// Turns the order of signed numbers into that of unsigned ones.
const SIGN: u64 = 1 << 63;

impl Key for u64 {
    const FORMAT: Format = Format::Unsigned;

    fn encode(&self, _: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &mut &[u8], _: bool) -> Option<Self> {
        decode_number(bytes)
    }
}

impl Key for i64 {
    const FORMAT: Format = Format::Signed;

    fn encode(&self, is_last: bool, out: &mut Vec<u8>) {
        Key::encode(&(self.cast_unsigned() ^ SIGN), is_last, out);
    }

    fn decode(bytes: &mut &[u8], _: bool) -> Option<Self> {
        Some((decode_number(bytes)? ^ SIGN).cast_signed())
    }
}

impl Key for String {
    const FORMAT: Format = Format::Text;

    fn encode(&self, is_last: bool, out: &mut Vec<u8>) {
        encode_text(self.as_bytes(), is_last, out);
    }

    fn decode(bytes: &mut &[u8], is_last: bool) -> Option<Self> {
        String::from_utf8(decode_text(bytes, is_last)?).ok()
    }
}

impl Key for Vec<u8> {
    const FORMAT: Format = Format::Bytes;

    fn encode(&self, is_last: bool, out: &mut Vec<u8>) {
        encode_text(self, is_last, out);
    }

    fn decode(bytes: &mut &[u8], is_last: bool) -> Option<Self> {
        decode_text(bytes, is_last)
    }
}

impl Key for () {
    const FORMAT: Format = Format::Bytes;

    fn encode(&self, _: bool, _: &mut Vec<u8>) {}

    fn decode(_: &mut &[u8], _: bool) -> Option<Self> {
        Some(())
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    const FORMAT: Format = Format::Bytes;

    fn encode(&self, is_last: bool, out: &mut Vec<u8>) {
        self.0.encode(false, out);
        self.1.encode(is_last, out);
    }

    fn decode(bytes: &mut &[u8], is_last: bool) -> Option<Self> {
        Some((A::decode(bytes, false)?, B::decode(bytes, is_last)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    const FORMAT: Format = Format::Bytes;

    fn encode(&self, is_last: bool, out: &mut Vec<u8>) {
        self.0.encode(false, out);
        self.1.encode(false, out);
        self.2.encode(is_last, out);
    }

    fn decode(bytes: &mut &[u8], is_last: bool) -> Option<Self> {
        Some((A::decode(bytes, false)?, B::decode(bytes, false)?, C::decode(bytes, is_last)?))
    }
}

macro_rules! value_of_key {
    ($($number:ty),*) => {$(
        impl Value for $number {
            const FORMAT: Format = <$number as Key>::FORMAT;

            fn encode(&self, out: &mut Vec<u8>) {
                Key::encode(self, true, out);
            }

            fn decode(mut bytes: &[u8]) -> Option<Self> {
                <$number as Key>::decode(&mut bytes, true).filter(|_| bytes.is_empty())
            }
        }
    )*};
}

value_of_key!(u64, i64, String, Vec<u8>, ());

impl<A: Key, B: Value> Value for (A, B) {
    const FORMAT: Format = Format::Bytes;

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(false, out);
        self.1.encode(out);
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        Some((A::decode(&mut bytes, false)?, B::decode(bytes)?))
    }
}

impl<T: Serialize + DeserializeOwned> Value for Json<T> {
    const FORMAT: Format = Format::Json;

    /// # Panics
    /// Where the type's `Serialize` fails, as for a map whose keys are no strings.
    #[expect(
        clippy::expect_used,
        reason = "a type that cannot be written is the author's mistake, found by the first test"
    )]
    fn encode(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &self.0).expect("a value of a table can be written as JSON");
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of<K: Key>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(true, &mut out);
        out
    }

    fn read<K: Key>(bytes: &[u8]) -> Option<K> {
        let mut rest = bytes;
        K::decode(&mut rest, true).filter(|_| rest.is_empty())
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..6)
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_bytes(a in (texts(), any::<i64>(), texts()), b in (texts(), any::<i64>(), texts())) {
            prop_assert_eq!(bytes_of(&a).cmp(&bytes_of(&b)), a.cmp(&b));
            prop_assert_eq!(read(&bytes_of(&a)), Some(a));
        }

        #[test]
        fn any_bytes_are_a_key_or_none(bytes in texts()) {
            read::<(Vec<u8>, u64)>(&bytes);
            read::<(String, String)>(&bytes);
        }

        #[test]
        fn values_are_read_as_written(text in ".*", number: i64) {
            let mut out = Vec::new();
            (number, Json(vec![text.clone()])).encode(&mut out);
            prop_assert_eq!(<(i64, Json<Vec<String>>)>::decode(&out), Some((number, Json(vec![text]))));
        }
    }
}
