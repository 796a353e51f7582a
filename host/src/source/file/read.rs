//! From bytes of a file to lines in a batch.
//!
//! Owns the inner loop of reading: blocks in, complete lines out, no work per line beyond the copy into the batch. A line
//! that is longer than the limit is never held: its end is looked for block by block, then what is kept of it is read.

use std::fs::File;
use std::io;

use memchr::{memchr, memchr_iter};

use super::identity::{FileKey, read_full_at};
use super::window::{BLOCK_BYTES, Window};
use crate::record::{Batch, Offset, Timestamp};
use crate::source::lines::Line;
use crate::source::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

/// How much is read in one go where no line ends: other files wait meanwhile.
const BLOCKS_MAX: usize = (16 << 20) / BLOCK_BYTES;

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The byte at which the next line begins.
    pub position: u64,
    /// No line ends between the position and here.
    pub scanned: u64,
    /// The last record was taken from a line that had not ended.
    pub unfinished: bool,
}

/// Where reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The batch is full.
    Full,
    /// No line ends in the rest of the file, or the wanted end was reached.
    End,
    /// In a very long line: much was read and nothing came of it yet.
    LongLine,
}

/// How to read a file.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The file.
    pub file: &'a File,
    /// Which file it is.
    pub key: FileKey,
    /// The headers of its records, as a batch holds them.
    pub headers: &'a [u8],
    /// The time of its records.
    pub timestamp: Timestamp,
    /// Longer lines are cut.
    pub line_bytes_max: usize,
    /// A line that begins here or later is left.
    pub end: u64,
}

impl Reading<'_> {
    /// Appends lines to a batch until it is full or the lines are used up.
    pub fn lines(&self, progress: &mut Progress, window: &mut Window, batch: &mut Batch) -> io::Result<Reached> {
        for _ in 0..BLOCKS_MAX {
            if progress.position >= self.end {
                return Ok(Reached::End);
            }
            if self.is_long(progress) {
                self.end_long_line(progress, window, batch)?;
            }
            if !self.is_long(progress) {
                window.move_to(self.key, progress.position);
                self.take_lines(progress, window.bytes(), batch);
            }
            if is_full(batch) {
                return Ok(Reached::Full);
            }
            let from = if self.is_long(progress) { progress.scanned } else { progress.position };
            window.move_to(self.key, from);
            if window.extend(self.file)? == 0 {
                return Ok(Reached::End);
            }
        }
        Ok(if batch.is_empty() { Reached::LongLine } else { Reached::Full })
    }

    /// Takes the bytes behind the last complete line as a record: no more will come. To be called at [`Reached::End`].
    pub fn rest(&self, progress: &mut Progress, batch: &mut Batch) -> io::Result<()> {
        let length = progress.scanned - progress.position;
        if length > 0 && progress.position < self.end {
            self.push_from_file(progress, progress.scanned, batch)?;
            progress.position = progress.scanned;
            progress.unfinished = true;
        }
        Ok(())
    }

    /// Whether the unended line at the position is too long even if its last byte is a CR.
    fn is_long(&self, progress: &Progress) -> bool {
        progress.scanned - progress.position > self.line_bytes_max as u64 + 1
    }

    /// Takes the complete lines of `bytes`, which lie in the file from the position on.
    fn take_lines(&self, progress: &mut Progress, bytes: &[u8], batch: &mut Batch) {
        let (begin, known) = (progress.position, (progress.scanned - progress.position) as usize);
        let Some(unseen) = bytes.get(known..) else { return };
        let mut from = 0;
        for end in memchr_iter(b'\n', unseen) {
            let end = known + end;
            let line = Line::whole(bytes.get(from..end).unwrap_or_default(), self.line_bytes_max);
            self.push(&line, progress, batch);
            from = end + 1;
            progress.position = begin + from as u64;
            if is_full(batch) || progress.position >= self.end {
                progress.scanned = progress.position;
                return;
            }
        }
        progress.scanned = begin + bytes.len() as u64;
    }

    /// Looks for the end of a line that is too long, in the window that begins where the search stands.
    fn end_long_line(&self, progress: &mut Progress, window: &mut Window, batch: &mut Batch) -> io::Result<()> {
        window.move_to(self.key, progress.scanned);
        match memchr(b'\n', window.bytes()) {
            None => progress.scanned += window.bytes().len() as u64,
            Some(at) => {
                let end = progress.scanned + at as u64;
                self.push_from_file(progress, end, batch)?;
                progress.position = end + 1;
                progress.scanned = end + 1;
            }
        }
        Ok(())
    }

    /// Takes the line from the position to `end`, of which only what is kept is read.
    fn push_from_file(&self, progress: &mut Progress, end: u64, batch: &mut Batch) -> io::Result<()> {
        let length = end - progress.position;
        let mut kept = vec![0; length.min(self.line_bytes_max as u64 + 1) as usize];
        let filled = read_full_at(self.file, &mut kept, progress.position)?;
        kept.truncate(filled);
        let mut last = [0];
        let last = (read_full_at(self.file, &mut last, end - 1)? == 1).then_some(last).map(|[byte]| byte);
        self.push(&Line::ended(&kept, length, last, self.line_bytes_max), progress, batch);
        Ok(())
    }

    fn push(&self, line: &Line<'_>, progress: &mut Progress, batch: &mut Batch) {
        let end_of_unfinished = std::mem::take(&mut progress.unfinished) && line.length == 0;
        if !end_of_unfinished {
            line.push_to(batch, self.headers, Offset(progress.position), self.timestamp);
        }
    }
}

fn is_full(batch: &Batch) -> bool {
    batch.len() >= BATCH_RECORDS_MAX || batch.bytes() >= BATCH_BYTES_MAX
}

/// Where the last line of a file begins that has not ended; its end, if all have. Looks back over `bytes_max` bytes at
/// most: a longer line is taken to begin at the end.
pub fn last_line_start(file: &File, len: u64, bytes_max: usize) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES.min(bytes_max.max(1))];
    let mut end = len;
    while end > 0 && len - end <= bytes_max as u64 {
        let start = end.saturating_sub(block.len() as u64);
        let wanted = block.get_mut(..(end - start) as usize).unwrap_or_default();
        let filled = read_full_at(file, wanted, start)?;
        if let Some(at) = memchr::memrchr(b'\n', wanted.get(..filled).unwrap_or_default()) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(if end == 0 { 0 } else { len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::HEADER_TRUNCATED;
    use proptest::prelude::*;
    use std::io::Write;

    const KEY: FileKey = FileKey { device: 1, inode: 2 };

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn reading(file: &File, line_bytes_max: usize) -> Reading<'_> {
        Reading { file, key: KEY, headers: &[], timestamp: Timestamp(1), line_bytes_max, end: u64::MAX }
    }

    type Lines = Vec<(u64, Vec<u8>, Option<String>)>;

    fn lines_of(batch: &Batch) -> Lines {
        let cut = |record: &crate::record::Record<'_>| {
            record
                .headers()
                .find(|(name, _)| *name == HEADER_TRUNCATED)
                .map(|(_, v)| String::from_utf8(v.unwrap().into()).unwrap())
        };
        batch.iter().map(|record| (record.offset.0, record.value.unwrap().to_vec(), cut(&record))).collect()
    }

    fn read_all(reading: &Reading<'_>, progress: &mut Progress) -> Lines {
        let (mut window, mut lines) = (Window::default(), Vec::new());
        loop {
            let mut batch = Batch::default();
            let reached = reading.lines(progress, &mut window, &mut batch).unwrap();
            assert!(batch.len() <= BATCH_RECORDS_MAX);
            lines.extend(lines_of(&batch));
            assert!(window.bytes().len() <= reading.line_bytes_max + 2 + BLOCK_BYTES);
            if reached == Reached::End {
                return lines;
            }
        }
    }

    /// What the lines of these bytes are, by a slower way; the unended rest last, if it is wanted.
    fn expected(bytes: &[u8], max: usize, with_rest: bool) -> Lines {
        let (mut lines, mut at) = (Vec::new(), 0);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = piece.ends_with(b"\n");
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if ended || with_rest {
                let cut = (line.len() > max).then(|| line.len().to_string());
                lines.push((at, line[..line.len().min(max)].to_vec(), cut));
            }
            at += piece.len() as u64;
        }
        lines
    }

    #[test]
    fn lines_of_all_kinds_are_read() {
        let mut bytes = b"a\n\nb\r\n\xff\xfe\0\n".to_vec();
        bytes.extend(vec![b'm'; 1 << 20]);
        bytes.extend(b"\r\n");
        bytes.extend(vec![b'l'; (1 << 20) + 1]);
        bytes.extend(b"\r\n");
        bytes.extend(vec![b'x'; 3 << 20]);
        bytes.extend(b"\nafter\nrest");
        let (file, mut progress) = (file_of(&bytes), Progress::default());
        let reading = reading(&file, 1 << 20);
        let mut lines = read_all(&reading, &mut progress);
        assert_eq!(progress.position, bytes.len() as u64 - 4);
        let mut batch = Batch::default();
        reading.rest(&mut progress, &mut batch).unwrap();
        lines.extend(lines_of(&batch));
        assert!(lines == expected(&bytes, 1 << 20, true));
        assert_eq!(lines.iter().filter(|(_, _, cut)| cut.is_some()).count(), 2);
    }

    #[test]
    fn an_endless_line_is_not_held_and_goes_on_where_the_search_stands() {
        let (mut file, mut progress) = (file_of(&vec![b'x'; 20 << 20]), Progress::default());
        let (mut window, mut batch) = (Window::default(), Batch::default());
        let first = reading(&file, 100).lines(&mut progress, &mut window, &mut batch).unwrap();
        assert_eq!((first, batch.len()), (Reached::LongLine, 0));
        assert!(progress.scanned >= 15 << 20);
        assert_eq!(read_all(&reading(&file, 100), &mut progress), []);
        assert_eq!((progress.position, progress.scanned), (0, 20 << 20));
        file.write_all(b"\nnext\n").unwrap();
        let lines = read_all(&reading(&file, 100), &mut progress);
        assert_eq!(lines[0].2, Some((20 << 20).to_string()));
        assert_eq!(lines[1], ((20 << 20) + 1, b"next".to_vec(), None));
    }

    #[test]
    fn the_end_of_a_line_that_was_taken_unended_is_no_line() {
        for (rest, expected) in
            [(&b"\nb\n"[..], vec![&b"b"[..]]), (b"\r\nb\n", vec![b"b"]), (b"x\n\n", vec![b"x", b""])]
        {
            let (mut file, mut progress) = (file_of(b"a"), Progress::default());
            let mut batch = Batch::default();
            reading(&file, 9).lines(&mut progress, &mut Window::default(), &mut batch).unwrap();
            reading(&file, 9).rest(&mut progress, &mut batch).unwrap();
            assert_eq!(lines_of(&batch), [(0, b"a".to_vec(), None)]);
            file.write_all(rest).unwrap();
            let lines: Vec<_> = read_all(&reading(&file, 9), &mut progress).into_iter().map(|line| line.1).collect();
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn no_line_is_begun_past_the_wanted_end() {
        let (file, mut progress) = (file_of(b"one\ntwo\nthree\nfour"), Progress::default());
        let to = |end| Reading { end, ..reading(&file, 9) };
        assert_eq!(read_all(&to(5), &mut progress).len(), 2);
        let mut batch = Batch::default();
        to(5).rest(&mut progress, &mut batch).unwrap();
        assert_eq!((batch.len(), progress.position), (0, 8));
    }

    #[test]
    fn the_start_of_the_last_line_is_found_from_behind() {
        let start = |bytes: &[u8], max| last_line_start(&file_of(bytes), bytes.len() as u64, max).unwrap();
        assert_eq!(start(b"", 10), 0);
        assert_eq!(start(b"abc", 10), 0);
        assert_eq!(start(b"ab\nc", 10), 3);
        assert_eq!(start(b"ab\n", 10), 3);
        assert_eq!(start(b"a\nbcdefghijklmnopqrstuvwxyz", 4), 27);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_give_the_lines_that_they_hold(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"\r".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..12),
                    (BLOCK_BYTES - 3..BLOCK_BYTES + 3).prop_map(|len| vec![b'x'; len]),
                ], 0..30),
            max in prop_oneof![1usize..20, Just(1 << 20)],
        ) {
            let bytes = pieces.concat();
            let (file, mut progress) = (file_of(&bytes), Progress::default());
            let reading = reading(&file, max);
            let mut lines = read_all(&reading, &mut progress);
            prop_assert!(lines == expected(&bytes, max, false));
            let mut batch = Batch::default();
            reading.rest(&mut progress, &mut batch).unwrap();
            lines.extend(lines_of(&batch));
            prop_assert!(lines == expected(&bytes, max, true));
        }
    }
}
