//! Finds bytes in text, eight at a time.
//!
//! In WebAssembly this matters more than elsewhere: a loop of the guest pays for its interruption point at each turn.

/// How many bytes are looked at together.
pub(crate) const WORD: usize = 8;
pub(crate) const HIGHEST_BITS: u64 = spread(0x80);

/// Finds the first byte that is one of those wanted. Meant for what is near, such as the end of a word: for long texts the
/// crate memchr is faster.
#[inline]
pub fn find_any<const N: usize>(text: &[u8], wanted: [u8; N]) -> Option<usize> {
    find(text, |word| wanted.iter().fold(0, |marks, byte| marks | mark_equal(word, *byte)))
}

/// Finds the first byte for which `mark` sets the highest bit of its place in a word. Bits above the first may be wrong.
#[inline]
pub(crate) fn find(text: &[u8], mark: impl Fn(u64) -> u64) -> Option<usize> {
    let place = |marks: u64| (marks.trailing_zeros() / u8::BITS) as usize;
    let mut at = 0;
    for word in text.as_chunks::<WORD>().0 {
        let marks = mark(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(at + place(marks));
        }
        at += WORD;
    }
    if at == text.len() {
        return None;
    }
    match text.last_chunk::<WORD>() {
        // The bytes that this looks at once more have no mark, or it would not have come to this.
        Some(last) => match mark(u64::from_le_bytes(*last)) {
            0 => None,
            marks => Some(text.len() - WORD + place(marks)),
        },
        None => text.iter().position(|byte| mark(spread(*byte)) != 0),
    }
}

/// Marks the bytes of a word that are equal to one.
#[inline]
pub(crate) fn mark_equal(word: u64, byte: u8) -> u64 {
    let zero_if_equal = word ^ spread(byte);
    zero_if_equal.wrapping_sub(spread(1)) & !zero_if_equal & HIGHEST_BITS
}

/// Marks the bytes of a word that are below one, which is 0x80 at most.
#[inline]
pub(crate) fn mark_below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(spread(bound)) & !word & HIGHEST_BITS
}

/// A word of the same byte eight times.
pub(crate) const fn spread(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for len in 0..40 {
            for at in 0..len {
                let mut text = vec![b'.'; len];
                text[at] = b':';
                assert_eq!(find_any(&text, [b':', b' ']), Some(at), "{len} {at}");
                text[len - 1] = b' ';
                assert_eq!(find_any(&text, [b' ', b':']), Some(at), "{len} {at}");
            }
            assert_eq!(find_any(&vec![b'.'; len], [b':']), None);
        }
    }

    proptest! {
        #[test]
        fn words_find_what_bytes_find(text in prop::collection::vec(any::<u8>(), 0..40), a: u8, b: u8) {
            prop_assert_eq!(find_any(&text, [a, b]), text.iter().position(|byte| *byte == a || *byte == b));
        }

        #[test]
        fn a_neighbour_is_not_taken_for_what_is_wanted(text in prop::collection::vec(0x1eu8..0x24, 0..24)) {
            let found = text.iter().position(|byte| *byte == b' ' || *byte == b'"');
            prop_assert_eq!(find_any(&text, [b' ', b'"']), found);
        }

        #[test]
        fn marks_are_right_up_to_the_first(bytes: [u8; 8], bound in 0u8..=0x80) {
            let word = u64::from_le_bytes(bytes);
            let first = |marks: u64| (marks != 0).then(|| (marks.trailing_zeros() / 8) as usize);
            prop_assert_eq!(first(mark_below(word, bound)), bytes.iter().position(|byte| *byte < bound));
        }
    }
}
