//! LIKE: `%` stands for any text, `_` for one character.
//!
//! A pattern is cut at its `%`s. The first piece has to stand at the start, the last one at the end, and those between are
//! searched from left to right; the leftmost place is always as good as any later one, so there is no going back.

use memchr::memmem::Finder;

/// A pattern that is ready to be matched.
#[derive(Debug)]
pub struct Pattern {
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// `%text%`
    Contains(Box<Finder<'static>>),
    /// `text%`
    Prefix(Vec<u8>),
    /// `%text`
    Suffix(Vec<u8>),
    /// No `%`.
    Whole(Piece),
    /// `first%..%last`
    Pieces { first: Piece, middle: Vec<Piece>, last: Piece },
}

/// What stands between two `%`s.
#[derive(Debug)]
enum Piece {
    /// Text without `_`.
    Text(Box<Finder<'static>>),
    /// Text with `_`: `None` is any one character.
    Characters(Vec<Option<char>>),
}

impl Pattern {
    /// Prepares a pattern. After `escape` the next character stands for itself; an escape at the end does too.
    pub fn new(pattern: &str, escape: Option<char>) -> Pattern {
        let pieces = cut(pattern, escape);
        Pattern { shape: shape(pieces) }
    }

    /// Whether the whole of `text` (in UTF-8) matches.
    #[inline]
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.shape {
            Shape::Contains(finder) => finder.find(text).is_some(),
            Shape::Prefix(prefix) => text.starts_with(prefix),
            Shape::Suffix(suffix) => text.ends_with(suffix),
            Shape::Whole(piece) => piece.at_start(text) == Some(text.len()),
            Shape::Pieces { first, middle, last } => pieces_match(first, middle, last, text),
        }
    }
}

fn pieces_match(first: &Piece, middle: &[Piece], last: &Piece, text: &[u8]) -> bool {
    let Some(mut from) = first.at_start(text) else { return false };
    for piece in middle {
        let Some(rest) = text.get(from..) else { return false };
        match piece.find(rest) {
            Some(end) => from += end,
            None => return false,
        }
    }
    text.get(from..).is_some_and(|rest| last.at_end(rest))
}

/// Cuts a pattern at its `%`s.
fn cut(pattern: &str, escape: Option<char>) -> Vec<Vec<Option<char>>> {
    let mut pieces = vec![Vec::new()];
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let wanted = match letter {
            _ if Some(letter) == escape => Some(letters.next().unwrap_or(letter)),
            '%' => {
                pieces.push(Vec::new());
                continue;
            }
            '_' => None,
            _ => Some(letter),
        };
        if let Some(piece) = pieces.last_mut() {
            piece.push(wanted);
        }
    }
    pieces
}

fn shape(pieces: Vec<Vec<Option<char>>>) -> Shape {
    let mut pieces: Vec<Piece> = pieces.into_iter().map(Piece::new).collect();
    let Some(last) = pieces.pop() else { return Shape::Prefix(Vec::new()) };
    if pieces.is_empty() {
        return Shape::Whole(last);
    }
    let first = pieces.remove(0);
    pieces.retain(|piece| !piece.is_empty());
    match (&first, pieces.as_slice(), &last) {
        (Piece::Text(prefix), [], Piece::Text(suffix)) if suffix.needle().is_empty() => {
            Shape::Prefix(prefix.needle().to_vec())
        }
        (Piece::Text(prefix), [], Piece::Text(suffix)) if prefix.needle().is_empty() => {
            Shape::Suffix(suffix.needle().to_vec())
        }
        (_, [Piece::Text(finder)], _) if first.is_empty() && last.is_empty() => Shape::Contains(finder.clone()),
        _ => Shape::Pieces { first, middle: pieces, last },
    }
}

impl Piece {
    fn new(letters: Vec<Option<char>>) -> Piece {
        match letters.iter().copied().collect::<Option<String>>() {
            Some(text) => Piece::Text(Box::new(Finder::new(&text).into_owned())),
            None => Piece::Characters(letters),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Piece::Text(finder) if finder.needle().is_empty())
    }

    /// Where the piece ends when it stands at the start of `text`.
    fn at_start(&self, text: &[u8]) -> Option<usize> {
        match self {
            Piece::Text(finder) => text.starts_with(finder.needle()).then_some(finder.needle().len()),
            Piece::Characters(wanted) => {
                let mut at = 0;
                for want in wanted {
                    at += step(*want, text.get(at..)?)?;
                }
                Some(at)
            }
        }
    }

    /// Where the piece ends in the leftmost place where it stands.
    fn find(&self, text: &[u8]) -> Option<usize> {
        match self {
            Piece::Text(finder) => finder.find(text).map(|start| start + finder.needle().len()),
            Piece::Characters(_) => {
                let mut from = 0;
                loop {
                    let rest = text.get(from..)?;
                    if let Some(end) = self.at_start(rest) {
                        return Some(from + end);
                    }
                    from += width(rest)?;
                }
            }
        }
    }

    /// Whether the piece stands at the end of `text`.
    fn at_end(&self, text: &[u8]) -> bool {
        match self {
            Piece::Text(finder) => text.ends_with(finder.needle()),
            Piece::Characters(wanted) => {
                let mut end = text.len();
                for want in wanted.iter().rev() {
                    let start = start_of_last(text.get(..end).unwrap_or_default());
                    let Some(letter) = start.and_then(|start| text.get(start..end)) else { return false };
                    if step(*want, letter) != Some(letter.len()) {
                        return false;
                    }
                    end -= letter.len();
                }
                true
            }
        }
    }
}

/// The length of the first character when it is the wanted one.
fn step(wanted: Option<char>, text: &[u8]) -> Option<usize> {
    match wanted {
        None => width(text),
        Some(letter) => {
            let mut buffer = [0; 4];
            let encoded = letter.encode_utf8(&mut buffer).as_bytes();
            text.starts_with(encoded).then_some(encoded.len())
        }
    }
}

/// The length of the first character; bytes that are no UTF-8 count one each.
fn width(text: &[u8]) -> Option<usize> {
    let length = match text.first()? {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    Some(length.min(text.len()))
}

/// Where the last character begins.
fn start_of_last(text: &[u8]) -> Option<usize> {
    let back = text.iter().rev().take(4).position(|byte| byte & 0xC0 != 0x80);
    text.len().checked_sub(back.unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without any thought of speed.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some(('_', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((letter, rest)) => text.first() == Some(letter) && naive(rest, &text[1..]),
        }
    }

    fn like(text: &str, pattern: &str) -> bool {
        Pattern::new(pattern, None).matches(text.as_bytes())
    }

    #[test]
    fn the_usual_shapes() {
        assert!(like("Invalid user admin", "%Invalid user%") && !like("invalid user", "%Invalid user%"));
        assert!(like("foo", "f%") && like("f", "f%") && !like("of", "f%"));
        assert!(like("foo", "%oo") && like("foo", "foo") && !like("foo", "fo"));
        assert!(like("", "%") && like("", "") && !like("", "_"));
        assert!(like("größe", "gr__e") && like("größe", "%_e") && like("aXbYc", "a%b%c"));
        assert!(!like("aba", "ab%ba"), "the pieces may not overlap");
    }

    #[test]
    fn escapes() {
        assert!(Pattern::new("!%", Some('!')).matches(b"%") && !Pattern::new("!%", Some('!')).matches(b"x"));
        assert!(Pattern::new("a!", Some('!')).matches(b"a!"));
        assert!(Pattern::new("%!_x%", Some('!')).matches(b"1_x2"));
    }

    #[test]
    fn many_wildcards_do_not_blow_up() {
        let text = "a".repeat(10_000);
        assert!(!like(&text, &format!("{}b", "%a_".repeat(200))));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(text in "[abä_]{0,12}", pattern in "[abä%_]{0,8}") {
            let (letters, wanted): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
            prop_assert_eq!(like(&text, &pattern), naive(&wanted, &letters));
        }

        #[test]
        fn bytes_that_are_no_text_never_panic(text in prop::collection::vec(any::<u8>(), 0..40), pattern in "[ab%_]{0,8}") {
            Pattern::new(&pattern, None).matches(&text);
        }
    }
}
