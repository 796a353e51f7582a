//! Lines: where they end, what is cut off, and the marks that say so.
//!
//! Owns the one rule for all line-like sources. A line ends with LF or CRLF, and neither is part of it; a line without
//! bytes is a line; its bytes are kept as they are, UTF-8 or not, NUL included; a line that is too long is cut, and
//! the record says how long it was. Knows nothing of where the bytes come from.

use memchr::{memchr, memchr2};

use super::HEADER_TRUNCATED;
use crate::record::{Batch, Offset, Record, Timestamp, push_header};

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// LF, with or without a CR before it.
    Newline,
    /// LF as above, or NUL: the two trailers of syslog over TCP (RFC 6587, 3.4.2).
    NewlineOrNul,
}

impl Ends {
    fn find(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Ends::Newline => memchr(b'\n', bytes),
            Ends::NewlineOrNul => memchr2(b'\n', 0, bytes),
        }
    }
}

/// A line, or what was kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes, without its end; no more than the limit.
    pub bytes: &'a [u8],
    /// How many bytes it had before it was cut.
    pub length: u64,
}

impl<'a> Line<'a> {
    /// A line of which the first bytes are known, one more than `bytes_max` where it has so many, and its length
    /// together with a CR, if `last`, its last byte, is one.
    pub fn ended(bytes: &'a [u8], length: u64, last: Option<u8>, bytes_max: usize) -> Self {
        let length = if last == Some(b'\r') { length.saturating_sub(1) } else { length };
        let kept = usize::try_from(length).unwrap_or(usize::MAX).min(bytes_max);
        Line { bytes: bytes.get(..kept).unwrap_or(bytes), length }
    }

    /// A line that lies whole in memory, up to its LF.
    pub fn whole(bytes: &'a [u8], bytes_max: usize) -> Self {
        Line::ended(bytes, bytes.len() as u64, bytes.last().copied(), bytes_max)
    }

    /// Whether bytes were cut off.
    pub fn is_cut(&self) -> bool {
        self.length > self.bytes.len() as u64
    }

    /// Appends it to a batch as a record without a key; where it was cut, with a header that says so.
    pub fn push_to(&self, batch: &mut Batch, headers_raw: &[u8], offset: Offset, timestamp: Timestamp) {
        if self.is_cut() {
            let mut headers = headers_raw.to_vec();
            push_header(&mut headers, HEADER_TRUNCATED, Some(self.length.to_string().as_bytes()));
            batch.push(&Record { headers_raw: &headers, offset, ..Record::of(self.bytes, timestamp) });
        } else {
            batch.push(&Record { headers_raw, offset, ..Record::of(self.bytes, timestamp) });
        }
    }
}

/// Finds lines in a stream of bytes that comes in pieces. Holds at most one line, up to the limit.
#[derive(Debug)]
pub struct Splitter {
    ends: Ends,
    bytes_max: usize,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// How long that line is so far, with the bytes that were not kept.
    length: u64,
    last: Option<u8>,
    /// The line in `partial` was given out; it goes when the next one is asked for.
    given: bool,
}

impl Splitter {
    /// A splitter at the beginning of a line.
    pub fn new(ends: Ends, bytes_max: usize) -> Self {
        Splitter { ends, bytes_max, partial: Vec::new(), length: 0, last: None, given: false }
    }

    /// The next line that ends in `input`, which is moved past it. `None`: the input is used up.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<Line<'a>> {
        self.forget_given();
        let Some(end) = self.ends.find(input) else {
            self.keep(input);
            *input = &[];
            return None;
        };
        let (head, rest) = input.split_at_checked(end)?;
        *input = rest.get(1..).unwrap_or_default();
        if self.length == 0 {
            return Some(Line::whole(head, self.bytes_max));
        }
        self.keep(head);
        self.given = true;
        Some(Line::ended(&self.partial, self.length, self.last, self.bytes_max))
    }

    /// The last line, where the stream ended without ending it.
    pub fn finish(&mut self) -> Option<Line<'_>> {
        self.forget_given();
        if self.length == 0 {
            return None;
        }
        self.given = true;
        Some(Line::ended(&self.partial, self.length, self.last, self.bytes_max))
    }

    /// Whether the stream stands at the beginning of a line.
    pub fn is_at_start(&self) -> bool {
        self.given || self.length == 0
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One byte more than the limit: it may be the CR of a line that just fits.
        let room = (self.bytes_max + 1).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.length += bytes.len() as u64;
        self.last = bytes.last().copied().or(self.last);
    }

    fn forget_given(&mut self) {
        if self.given {
            self.partial.clear();
            self.length = 0;
            self.last = None;
            self.given = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All lines of a stream that comes in pieces of these sizes.
    fn split(stream: &[u8], pieces: &[usize], ends: Ends, bytes_max: usize) -> Vec<(Vec<u8>, u64)> {
        let mut splitter = Splitter::new(ends, bytes_max);
        let mut lines = Vec::new();
        let mut rest = stream;
        for size in pieces.iter().copied().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let mut input = piece;
            while let Some(line) = splitter.next(&mut input) {
                lines.push((line.bytes.to_vec(), line.length));
            }
            assert!(splitter.partial.len() <= bytes_max + 1);
        }
        lines.extend(splitter.finish().map(|line| (line.bytes.to_vec(), line.length)));
        lines
    }

    fn whole(stream: &[u8]) -> Vec<Vec<u8>> {
        split(stream, &[], Ends::Newline, 1 << 20).into_iter().map(|(bytes, _)| bytes).collect()
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_keep_all_other_bytes() {
        assert_eq!(
            whole(b"a\nb\r\n\n\r\nc\rd\n\xff\0x\nlast"),
            [&b"a"[..], b"b", b"", b"", b"c\rd", b"\xff\0x", b"last"]
        );
        assert_eq!(whole(b""), Vec::<Vec<u8>>::new());
        assert_eq!(whole(b"\n"), [b""]);
    }

    #[test]
    fn nul_ends_a_line_only_where_it_is_said_to() {
        assert_eq!(split(b"a\0b\n", &[], Ends::Newline, 9), [(b"a\0b".to_vec(), 3)]);
        assert_eq!(split(b"a\0b\n", &[], Ends::NewlineOrNul, 9), [(b"a".to_vec(), 1), (b"b".to_vec(), 1)]);
    }

    #[test]
    fn a_long_line_is_cut_and_tells_its_length() {
        assert_eq!(
            split(b"abcd\r\nabcde\r\nabcdef\n", &[], Ends::Newline, 4),
            [(b"abcd".to_vec(), 4), (b"abcd".to_vec(), 5), (b"abcd".to_vec(), 6),]
        );
        let mut batch = Batch::default();
        Line { bytes: b"abcd", length: 6 }.push_to(&mut batch, &[], Offset(7), Timestamp(1));
        let record = batch.get(0).unwrap();
        assert_eq!(record.headers().collect::<Vec<_>>(), [(HEADER_TRUNCATED, Some(&b"6"[..]))]);
        assert_eq!((record.value, record.offset), (Some(&b"abcd"[..]), Offset(7)));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_stream_is_cut_into_pieces(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(0), any::<u8>()], 0..200),
            pieces in proptest::collection::vec(0usize..20, 0..40),
            bytes_max in 1usize..12,
        ) {
            for ends in [Ends::Newline, Ends::NewlineOrNul] {
                let lines = split(&stream, &pieces, ends, bytes_max);
                prop_assert_eq!(&lines, &split(&stream, &[], ends, bytes_max));
                prop_assert!(lines.iter().all(|(bytes, length)| bytes.len() as u64 == (*length).min(bytes_max as u64)));
            }
        }
    }
}
