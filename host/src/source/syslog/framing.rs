//! Where messages begin and end in a syslog stream (RFC 6587), whatever bytes come.
//!
//! A message that begins with a digit is octet-counted: `MSG-LEN SP MSG`. Any other ends with LF or NUL. Which of the
//! two it is, is decided for each message, since senders mix them. Of a message, line ends and NULs at its end are
//! not kept, and one without any other byte is none.

use crate::source::lines::{Ends, Line, Splitter};

/// Digits that a count may have. More would announce a message of more than 100 MB: that is no count.
const COUNT_DIGITS_MAX: u32 = 8;

/// What makes a stream unreadable: where the next message begins cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The count is not made of digits, or does not end with a space.
    #[error("expected digits and a space before the message, but after {digits} digits came the byte {byte:#04x}")]
    Count {
        /// How many digits there were.
        digits: u32,
        /// What came then.
        byte: u8,
    },
    /// The count begins with 0, which RFC 6587 rules out.
    #[error("expected the length of a message, which does not begin with 0")]
    Zero,
    /// The count has too many digits.
    #[error("expected the length of a message, of at most {COUNT_DIGITS_MAX} digits")]
    TooLong,
}

/// Finds messages in a stream that comes in pieces. Holds at most one message, up to the limit.
#[derive(Debug)]
pub struct Framer {
    bytes_max: usize,
    state: State,
    lines: Splitter,
    /// The beginning of a counted message that came in several pieces.
    partial: Vec<u8>,
    /// `partial` was given out; it goes when the next message begins.
    given: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two messages.
    Start,
    /// In a message that ends with LF or NUL.
    Line,
    /// In the count.
    Count { digits: u32, value: u64 },
    /// In a counted message.
    Counted { length: u64, left: u64 },
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new(bytes_max: usize) -> Self {
        let lines = Splitter::new(Ends::NewlineOrNul, bytes_max);
        Framer { bytes_max, state: State::Start, lines, partial: Vec::new(), given: false }
    }

    /// The next message that ends in `input`, which is moved past it. `None`: the input is used up.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Line<'a>>, Malformed> {
        while let Some(first) = input.first().copied() {
            match self.state {
                State::Start => self.begin(first, input)?,
                State::Count { digits, value } => self.count(digits, value, first, input)?,
                State::Line => {
                    if !self.skip_line(input) {
                        self.state = State::Start;
                        return Ok(self.lines.next(input));
                    }
                }
                State::Counted { length, left } => {
                    let Some(whole) = self.counted(length, left, input) else { continue };
                    let bytes_max = self.bytes_max;
                    let bytes = whole.unwrap_or(&self.partial);
                    if message(bytes, length, bytes_max).is_some() {
                        return Ok(message(whole.unwrap_or(&self.partial), length, bytes_max));
                    }
                }
            }
        }
        Ok(None)
    }

    /// What is left of a message when the stream ends: of one that was to end with LF or NUL, the message; of a counted
    /// one the part that came, with the length that was announced.
    pub fn finish(&mut self) -> Option<Line<'_>> {
        match self.state {
            State::Line => self.lines.finish().filter(|line| line.length > 0),
            State::Counted { length, .. } if !self.partial.is_empty() && !self.given => {
                Some(Line { bytes: self.partial.get(..self.bytes_max).unwrap_or(&self.partial), length })
            }
            State::Start | State::Count { .. } | State::Counted { .. } => None,
        }
    }

    fn begin(&mut self, first: u8, input: &mut &[u8]) -> Result<(), Malformed> {
        if std::mem::take(&mut self.given) {
            self.partial.clear();
        }
        match first {
            b'\n' | b'\r' | 0 => advance(input, 1),
            b'0' => return Err(Malformed::Zero),
            b'1'..=b'9' => self.state = State::Count { digits: 0, value: 0 },
            _ => self.state = State::Line,
        }
        Ok(())
    }

    fn count(&mut self, digits: u32, value: u64, byte: u8, input: &mut &[u8]) -> Result<(), Malformed> {
        self.state = match byte {
            b'0'..=b'9' if digits == COUNT_DIGITS_MAX => return Err(Malformed::TooLong),
            b'0'..=b'9' => State::Count { digits: digits + 1, value: value * 10 + u64::from(byte - b'0') },
            b' ' => State::Counted { length: value, left: value },
            _ => return Err(Malformed::Count { digits, byte }),
        };
        advance(input, 1);
        Ok(())
    }

    /// Uses up the input if the line does not end in it. The line that ends is left to be taken by the caller.
    fn skip_line(&mut self, input: &mut &[u8]) -> bool {
        let ends = memchr::memchr2(b'\n', 0, input).is_some();
        if !ends {
            let _ = self.lines.next(input);
        }
        !ends
    }

    /// Takes what there is of a counted message. Once all came: its bytes, if they lie in the input alone, or `None`
    /// for those in `partial`.
    fn counted<'i>(&mut self, length: u64, left: u64, input: &mut &'i [u8]) -> Option<Option<&'i [u8]>> {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at_checked(here)?;
        *input = rest;
        if left == length && here as u64 == length {
            self.state = State::Start;
            return Some(Some(bytes));
        }
        let room = (self.bytes_max + 1).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let left = left - here as u64;
        self.given = left == 0;
        self.state = if self.given { State::Start } else { State::Counted { length, left } };
        self.given.then_some(None)
    }
}

/// A message of which the first bytes are known, one more than `bytes_max` where it has so many. `None`: it is one of
/// line ends and NULs alone.
pub fn message(bytes: &[u8], length: u64, bytes_max: usize) -> Option<Line<'_>> {
    let fits = length <= bytes_max as u64 + 1;
    let length = if fits { trim(bytes).len() as u64 } else { length };
    let kept = usize::try_from(length).unwrap_or(usize::MAX).min(bytes_max);
    (length > 0).then(|| Line { bytes: bytes.get(..kept).unwrap_or(bytes), length })
}

fn trim(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

fn advance(input: &mut &[u8], n: usize) {
    *input = input.get(n..).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Messages = Vec<(Vec<u8>, u64)>;

    /// The messages of a stream that comes in pieces of these sizes, and how it ended.
    fn frame(stream: &[u8], pieces: &[usize], bytes_max: usize) -> (Messages, Result<(), Malformed>) {
        let mut framer = Framer::new(bytes_max);
        let mut messages = Vec::new();
        let mut rest = stream;
        for size in pieces.iter().copied().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let mut input = piece;
            loop {
                match framer.next(&mut input) {
                    Ok(None) => break,
                    Ok(Some(line)) => messages.push((line.bytes.to_vec(), line.length)),
                    Err(malformed) => return (messages, Err(malformed)),
                }
            }
            assert!(input.is_empty());
            assert!(framer.partial.capacity() <= 2 * (bytes_max + 9));
        }
        messages.extend(framer.finish().map(|line| (line.bytes.to_vec(), line.length)));
        (messages, Ok(()))
    }

    fn texts(stream: &[u8]) -> Vec<String> {
        let (messages, end) = frame(stream, &[], 1_000);
        assert_eq!(end, Ok(()));
        messages.into_iter().map(|(bytes, _)| String::from_utf8(bytes).unwrap()).collect()
    }

    #[test]
    fn both_framings_are_told_apart_message_by_message() {
        assert_eq!(
            texts(b"<1>a\n5 <2>b\n<3>c\r\n<4>d\x004 <5>e\n\n<6>f"),
            ["<1>a", "<2>b", "<3>c", "<4>d", "<5>e", "<6>f"]
        );
        assert_eq!(texts(b"Dec 10 06:55:46 no priority\n"), ["Dec 10 06:55:46 no priority"]);
        assert_eq!(texts(b"10 two\nlines\n3 end"), ["two\nlines", "end"].map(String::from));
        assert_eq!(texts(b"\n\r\n\0\n2 \r\n"), [""; 0]);
    }

    #[test]
    fn what_is_no_count_is_refused_after_what_was_complete() {
        let refused = |stream: &[u8]| {
            let (messages, end) = frame(stream, &[], 100);
            assert_eq!(messages.len(), 1);
            end.unwrap_err()
        };
        assert_eq!(refused(b"<1>a\n2026-11-21 x\n"), Malformed::Count { digits: 4, byte: b'-' });
        assert_eq!(refused(b"4 <1>a12\n"), Malformed::Count { digits: 2, byte: b'\n' });
        assert_eq!(refused(b"<1>a\n0 x"), Malformed::Zero);
        assert_eq!(refused(b"<1>a\n123456789 x"), Malformed::TooLong);
        assert_eq!(frame(b"99999999 x", &[], 5).1, Ok(()));
    }

    #[test]
    fn long_messages_are_cut_and_a_broken_off_one_tells_what_was_announced() {
        let cut = |stream: &[u8]| frame(stream, &[3, 3, 3], 4).0;
        assert_eq!(cut(b"<1>abcdef\nx\n"), [(b"<1>a".to_vec(), 9), (b"x".to_vec(), 1)]);
        assert_eq!(cut(b"9 <1>abcdefx\n"), [(b"<1>a".to_vec(), 9), (b"x".to_vec(), 1)]);
        assert_eq!(cut(b"5 <1>a\n4 <1>b"), [(b"<1>a".to_vec(), 4), (b"<1>b".to_vec(), 4)]);
        assert_eq!(cut(b"3 abc9 de"), [(b"abc".to_vec(), 3), (b"de".to_vec(), 9)]);
        assert_eq!(cut(b"12"), []);
    }

    #[derive(Debug, Clone)]
    struct Sent {
        text: Vec<u8>,
        counted: bool,
        end: &'static [u8],
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let any_bytes = proptest::collection::vec(any::<u8>(), 0..40);
        let end = proptest::sample::select(vec![&b"\n"[..], b"\r\n", b"\0"]);
        (any_bytes, any::<bool>(), end).prop_map(|(text, counted, end)| {
            // What a line cannot carry is sent counted only.
            let line = |byte: &u8| !matches!(byte, b'\n' | b'\r' | 0);
            let text = [&b"<13>"[..], &text].concat();
            let text = if counted { [&text[..], b"."].concat() } else { text.into_iter().filter(line).collect() };
            Sent { text, counted, end }
        })
    }

    fn encode(messages: &[Sent]) -> Vec<u8> {
        let frame = |message: &Sent| match message.counted {
            true => [message.text.len().to_string().as_bytes(), b" ", &message.text].concat(),
            false => [&message.text, message.end].concat(),
        };
        messages.iter().flat_map(frame).collect()
    }

    proptest! {
        #[test]
        fn what_is_sent_is_received_however_it_is_cut(
            messages in proptest::collection::vec(sent(), 0..12),
            pieces in proptest::collection::vec(0usize..30, 0..60),
        ) {
            let (received, end) = frame(&encode(&messages), &pieces, 1_000);
            prop_assert_eq!(end, Ok(()));
            let texts: Vec<_> = received.into_iter().map(|(bytes, _)| bytes).collect();
            prop_assert_eq!(texts, messages.into_iter().map(|message| message.text).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_give_the_same_however_they_are_cut_and_are_not_held(
            stream in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b' '), Just(b'<'), b'0'..=b'9', any::<u8>()], 0..200),
            pieces in proptest::collection::vec(0usize..20, 0..40),
            bytes_max in 1usize..20,
        ) {
            let whole = frame(&stream, &[], bytes_max);
            prop_assert_eq!(frame(&stream, &pieces, bytes_max), whole.clone());
            prop_assert!(whole.0.iter().all(|(bytes, length)| bytes.len() <= bytes_max && bytes.len() as u64 <= *length));
        }
    }
}
