//! Files that are appended to, renamed, truncated and deleted, and what is read of them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::files::{Files, Step};
use super::table::{entries_of, position_of};
use super::*;
use crate::clock::SystemClock;
use crate::config::FileStart;
use crate::source::Disposition;
use crate::source::{BATCH_RECORDS_MAX, HEADER_PATH};

/// Looks in a row that must find nothing before all is taken to be read: more than a rotated file is watched for.
const QUIET: usize = 12;

/// A record: its place, its offset, its value.
type Line = (String, u64, String);

struct Rig {
    dir: TempDir,
    settings: FileSource,
}

impl Rig {
    fn new(patterns: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = patterns.iter().map(|pattern| dir.path().join(pattern).to_str().unwrap().to_owned()).collect();
        // Every step scans, so that nothing depends on time.
        let settings = FileSource {
            paths,
            exclude: Vec::new(),
            start: FileStart::Beginning,
            line_bytes_max: 1 << 20,
            scan: Duration::ZERO,
        };
        Rig { dir, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn truncate(&self, name: &str) {
        OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    fn try_open(&self, position: Option<&Position>, mode: Mode) -> Result<Files, Error> {
        Files::open("app", &self.settings, position, mode, Arc::new(SystemClock))
    }

    fn follow(&self, position: Option<&Position>) -> Files {
        self.try_open(position, Mode::Follow).unwrap()
    }

    /// Drains the files from a position, and gives the position behind them.
    fn drain(&self, position: Option<&Position>) -> (Vec<Line>, Option<Position>) {
        let mut files = self.try_open(position, Mode::Drain).unwrap();
        let (mut lines, mut position) = (Vec::new(), position.cloned());
        loop {
            match files.step().unwrap() {
                Step::Chunk(chunk) => {
                    lines.extend(lines_of(&chunk));
                    position = Some(chunk.position);
                }
                Step::Finished => return (lines, position),
                Step::Working | Step::Idle => {}
            }
        }
    }
}

fn lines_of(chunk: &Chunk) -> Vec<Line> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line =
        |record: crate::record::Record<'_>| (chunk.source.to_string(), record.offset.0, text(record.value.unwrap()));
    chunk.records.iter().map(line).collect()
}

/// Reads until so many looks in a row found nothing.
fn read_chunks(files: &mut Files, quiet: usize) -> Vec<Chunk> {
    let (mut chunks, mut idle) = (Vec::new(), 0);
    while idle < quiet {
        match files.step().unwrap() {
            Step::Chunk(chunk) => {
                chunks.push(chunk);
                idle = 0;
            }
            Step::Idle => idle += 1,
            Step::Working => {}
            Step::Finished => panic!("a source that is followed does not finish"),
        }
    }
    chunks
}

fn read(files: &mut Files) -> Vec<String> {
    values(&read_chunks(files, 1))
}

fn values(chunks: &[Chunk]) -> Vec<String> {
    chunks.iter().flat_map(lines_of).map(|(_, _, value)| value).collect()
}

#[test]
fn a_drained_file_gives_all_its_lines_and_a_second_time_what_was_added() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n\ntwo\r\nthree");
    let (lines, position) = rig.drain(None);
    let at: Vec<_> = lines.iter().map(|(_, offset, value)| (*offset, value.as_str())).collect();
    assert_eq!(at, [(0, "one"), (4, ""), (5, "two"), (10, "three")]);
    assert_eq!(rig.drain(position.as_ref()).0, []);
    rig.append("a.log", "\nfour\n");
    let (added, _) = rig.drain(position.as_ref());
    assert_eq!(added, [(lines[0].0.clone(), 16, "four".to_owned())]);
}

#[test]
fn nothing_to_drain_is_an_error_that_says_why() {
    let mut rig = Rig::new(&["none*.log", "other.log"]);
    let error = rig.try_open(None, Mode::Drain).err().unwrap();
    assert!(error.message.starts_with("no file matches /") && error.message.contains("none*.log"), "{error}");
    assert_eq!(error.disposition, Disposition::Stop);
    rig.append("none.log", "x\n");
    rig.settings.exclude = vec![rig.path("*").to_str().unwrap().into()];
    let error = rig.try_open(None, Mode::Drain).err().unwrap();
    assert!(error.message.contains("is excluded"), "{error}");
}

#[test]
fn a_bad_pattern_and_a_bad_position_stop_the_source() {
    let error = Rig::new(&["a***"]).try_open(None, Mode::Follow).err().unwrap();
    assert!(error.message.contains("a***") && error.disposition == Disposition::Stop, "{error}");
    let error = Rig::new(&["a"]).try_open(Some(&Position(vec![9])), Mode::Follow).err().unwrap();
    assert_eq!(error.disposition, Disposition::Stop);
}

/// The kernel refuses to open this file for reading, to root as well.
const UNREADABLE: &str = "/sys/bus/cpu/drivers_probe";

#[test]
fn a_file_that_may_not_be_read_stops_a_drain_and_holds_up_nobody_else() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n");
    rig.settings.paths.insert(0, UNREADABLE.into());
    let error = rig.try_open(None, Mode::Drain).err().unwrap();
    assert!(error.message.starts_with(UNREADABLE) && error.message.contains("denied"), "{error}");
    assert_eq!(error.disposition, Disposition::Stop);
    let mut files = rig.follow(None);
    assert_eq!(read(&mut files), ["one"]);
    rig.append("a.log", "two\n");
    assert_eq!(read(&mut files), ["two"]);
}

#[test]
fn a_line_waits_for_its_end() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\ntw");
    let mut files = rig.follow(None);
    assert_eq!(read(&mut files), ["one"]);
    rig.append("a.log", "o");
    assert_eq!(values(&read_chunks(&mut files, QUIET)), [""; 0]);
    rig.append("a.log", "\r\nthree\n");
    assert_eq!(read(&mut files), ["two", "three"]);
}

#[test]
fn new_files_are_found_and_bear_their_paths() {
    let rig = Rig::new(&["*.log"]);
    let mut files = rig.follow(None);
    assert_eq!(read(&mut files), [""; 0]);
    rig.append("a.log", "one\n");
    rig.append("b.txt", "not this\n");
    let chunks = read_chunks(&mut files, 1);
    assert_eq!(values(&chunks), ["one"]);
    let record = chunks[0].records.get(0).unwrap();
    let path = rig.path("a.log");
    assert_eq!(record.headers().collect::<Vec<_>>(), [(HEADER_PATH, Some(path.to_str().unwrap().as_bytes()))]);
    assert_eq!(record.key, None);
    assert!(chunks[0].source.starts_with("app/"));
}

#[test]
fn a_single_path_costs_no_header() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n");
    assert_eq!(read_chunks(&mut rig.follow(None), 1)[0].records.get(0).unwrap().headers_raw, b"");
}

#[test]
fn from_the_end_means_what_is_added_and_whole_lines() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.start = FileStart::End;
    rig.append("a.log", "old\nbeg");
    let mut files = rig.follow(None);
    let first = read_chunks(&mut files, 1);
    assert_eq!(first.len(), 1, "a chunk without records tells where the end was");
    assert!(first[0].records.is_empty());
    rig.append("a.log", "un\nnew\n");
    rig.append("b.log", "first\n");
    let mut restarted = rig.follow(Some(&first[0].position));
    for files in [&mut files, &mut restarted] {
        let mut lines = read(files);
        lines.sort();
        assert_eq!(lines, ["begun", "first", "new"]);
    }
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    for pattern in ["a.log", "a.log*"] {
        let rig = Rig::new(&[pattern]);
        rig.append("a.log", "1\n");
        let mut files = rig.follow(None);
        assert_eq!(read(&mut files), ["1"]);
        rig.append("a.log", "2\n");
        rig.rename("a.log", "a.log.1");
        rig.append("a.log", "4\n");
        rig.append("a.log.1", "3\n");
        assert_eq!(read(&mut files), ["2", "3", "4"], "{pattern}");
        rig.append("a.log.1", "late\n");
        rig.append("a.log", "5\n");
        let mut lines = read(&mut files);
        lines.sort();
        assert_eq!(lines, ["5", "late"], "whoever writes to the old file is heard");
    }
}

#[test]
fn a_file_renamed_while_nobody_looked_is_found_by_its_inode() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "1\n");
    let position = read_chunks(&mut rig.follow(None), 1).pop().unwrap().position;
    rig.append("a.log", "2\n");
    rig.rename("a.log", "old-a");
    rig.append("a.log", "3\n");
    assert_eq!(read(&mut rig.follow(Some(&position))), ["2", "3"]);
    let (drained, _) = rig.drain(Some(&position));
    assert_eq!(drained.iter().map(|line| line.2.as_str()).collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn the_unended_line_of_a_rotated_file_is_a_record_in_the_end() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "1\nhalf");
    let mut files = rig.follow(None);
    assert_eq!(read(&mut files), ["1"]);
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "2\n");
    assert_eq!(read(&mut files), ["2"]);
    rig.append("a.log.1", " and more");
    assert_eq!(values(&read_chunks(&mut files, QUIET)), ["half and more"]);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_then_forgotten() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "1\n");
    let mut files = rig.follow(None);
    assert_eq!(read(&mut files), ["1"]);
    rig.append("a.log", "2\nrest");
    rig.remove("a.log");
    assert_eq!(values(&read_chunks(&mut files, QUIET)), ["2", "rest"]);
    rig.append("a.log", "3\n");
    let last = read_chunks(&mut files, 1).pop().unwrap();
    assert_eq!(values(std::slice::from_ref(&last)), ["3"]);
    assert_eq!(entries_of(&last.position).unwrap().len(), 1, "the deleted file's entry is dropped");
}

#[test]
fn a_truncated_file_begins_again_as_another_place() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "header\n1\n");
    let mut files = rig.follow(None);
    let before = read_chunks(&mut files, 1);
    rig.truncate("a.log");
    rig.append("a.log", "header\n");
    let after = read_chunks(&mut files, 1);
    assert_eq!(values(&after), ["header"]);
    assert_ne!(before[0].source, after[0].source, "the same offset of another generation is another record");
}

#[test]
fn a_file_that_grew_past_the_position_after_a_truncation_begins_again() {
    let rig = Rig::new(&["a.log"]);
    let header = format!("{}\n", "h".repeat(300));
    rig.append("a.log", format!("{header}1\n"));
    let mut files = rig.follow(None);
    let position = read_chunks(&mut files, 1).pop().unwrap().position;
    rig.truncate("a.log");
    rig.append("a.log", format!("{header}2\n3\n"));
    for files in [&mut files, &mut rig.follow(Some(&position))] {
        assert_eq!(read(files)[1..], ["2", "3"]);
    }
}

#[test]
fn a_new_file_with_a_used_inode_is_a_new_file() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "1\n2\n");
    let chunk = read_chunks(&mut rig.follow(None), 1).pop().unwrap();
    // Whether the file system gives the inode again or not: as if it had.
    rig.remove("a.log");
    rig.append("a.log", "3\n4\n5\n");
    let mut entries = entries_of(&chunk.position).unwrap();
    entries[0].key = identity::FileKey::of(&fs::metadata(rig.path("a.log")).unwrap());
    let position = position_of([entries[0].encode().as_slice()].into_iter());
    let chunks = read_chunks(&mut rig.follow(Some(&position)), 1);
    assert_eq!(values(&chunks), ["3", "4", "5"]);
    assert_ne!(chunks[0].source, chunk.source);
}

#[test]
fn a_device_with_another_number_is_the_same_place() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "1\n");
    let chunk = read_chunks(&mut rig.follow(None), 1).pop().unwrap();
    let mut entries = entries_of(&chunk.position).unwrap();
    entries[0].key.device += 1;
    let position = position_of([entries[0].encode().as_slice()].into_iter());
    rig.append("a.log", "2\n");
    let chunks = read_chunks(&mut rig.follow(Some(&position)), 1);
    assert_eq!(values(&chunks), ["2"]);
    assert_eq!(chunks[0].source, chunk.source);
}

#[test]
fn a_file_that_is_no_longer_asked_for_is_left() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "1\n");
    let position = read_chunks(&mut rig.follow(None), 1).pop().unwrap().position;
    rig.append("a.log", "2\n");
    rig.append("b.log", "3\n");
    rig.settings.exclude = vec![rig.path("a.*").to_str().unwrap().into()];
    assert_eq!(read(&mut rig.follow(Some(&position))), ["3"]);
}

#[test]
fn the_place_does_not_change_as_the_file_grows() {
    let rig = Rig::new(&["a.log"]);
    rig.append("a.log", "1\n");
    let first = read_chunks(&mut rig.follow(None), 1).pop().unwrap();
    for n in 0..200 {
        rig.append("a.log", format!("more {n}\n"));
    }
    let replayed = read_chunks(&mut rig.follow(None), 1).pop().unwrap();
    let resumed = read_chunks(&mut rig.follow(Some(&first.position)), 1).pop().unwrap();
    assert_eq!([&replayed.source, &resumed.source], [&first.source; 2]);
    assert_eq!(resumed.records.first_offset().unwrap().0, 2);
}

#[test]
fn a_large_file_leaves_the_others_their_turn() {
    let rig = Rig::new(&["*.log"]);
    rig.append("big.log", "x".repeat(99).to_string() + "\n");
    for _ in 0..8 {
        let so_far = fs::read(rig.path("big.log")).unwrap();
        rig.append("big.log", so_far.repeat(4));
    }
    rig.append("small.log", "small\n");
    let chunks = read_chunks(&mut rig.follow(None), 1);
    assert!(chunks.iter().all(|chunk| chunk.records.len() <= BATCH_RECORDS_MAX));
    let lines: usize = chunks.iter().map(|chunk| chunk.records.len()).sum();
    assert_eq!(lines, 390_625 + 1);
    let small = chunks.iter().position(|chunk| values(std::slice::from_ref(chunk)) == ["small"]).unwrap();
    assert!(small < 70, "the small file waited for {small} chunks");
}

#[test]
fn more_files_than_may_be_open_are_followed_all_the_same() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.scan = Duration::from_millis(200);
    let name = |n: usize| format!("{n}.log");
    (0..600).for_each(|n| rig.append(&name(n), "first\n"));
    let mut files = rig.follow(None);
    assert_eq!(read(&mut files).len(), 600);
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let in_dir = |link: PathBuf| link.starts_with(rig.dir.path());
    assert!(open.filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(in_dir)).count() <= 512);
    (0..600).for_each(|n| rig.append(&name(n), "second\n"));
    rig.rename("7.log", "7.old");
    rig.append("7.old", "third\n");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut lines = Vec::new();
    while lines.len() < 601 && Instant::now() < deadline {
        lines.extend(read(&mut files));
    }
    lines.sort();
    assert_eq!((lines.len(), lines.last().unwrap().as_str()), (601, "third"));
}

#[derive(Debug, Clone)]
enum Event {
    /// A line is written, after so many bytes of filling.
    Line(usize),
    /// The first half of a line is written.
    Half,
    Rename,
    /// The file is read to its end, then cut back to nothing.
    Truncate,
    /// A last line is written and the file deleted, while the reader has it open.
    Delete,
    /// The reader takes so many steps.
    Steps(usize),
    /// All that was read is committed.
    Commit,
    /// The reader ends and begins again at what is committed.
    Restart,
    /// The writer puts the same first line into each file from now on.
    Header,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => prop_oneof![0usize..30, 200usize..300].prop_map(Event::Line),
        2 => Just(Event::Half),
        2 => Just(Event::Rename),
        1 => Just(Event::Truncate),
        1 => Just(Event::Delete),
        4 => (1usize..8).prop_map(Event::Steps),
        3 => Just(Event::Commit),
        2 => Just(Event::Restart),
        1 => Just(Event::Header),
    ]
}

/// A writer, a reader and a pipeline that commits: what was written must be committed, each line once.
struct World {
    rig: Rig,
    reader: Files,
    committed: Option<Position>,
    read: Vec<Chunk>,
    taken: Vec<Line>,
    /// Every record that was ever read, by its id.
    ids: BTreeMap<(String, u64), String>,
    expected: Vec<String>,
    half: String,
    /// The first whole line of the file that is written.
    first_line: Option<String>,
    numbers: usize,
    header: bool,
}

impl World {
    fn new(pattern: &str) -> Self {
        let rig = Rig::new(&[pattern]);
        let reader = rig.follow(None);
        let (expected, half) = (Vec::new(), String::new());
        let (read, taken, ids) = (Vec::new(), Vec::new(), BTreeMap::new());
        World {
            rig,
            reader,
            committed: None,
            read,
            taken,
            ids,
            expected,
            half,
            first_line: None,
            numbers: 0,
            header: false,
        }
    }

    fn write(&mut self, text: &str) {
        let is_new = fs::metadata(self.rig.path("app.log")).map_or(true, |metadata| metadata.len() == 0);
        if is_new {
            self.first_line = None;
        }
        if is_new && self.header {
            self.rig.append("app.log", "# a header\n");
            self.expected.push("# a header".into());
        }
        self.rig.append("app.log", text);
    }

    fn line(&mut self, filling: usize) {
        self.numbers += 1;
        let text = format!("{} {}", self.numbers, "f".repeat(filling));
        self.write(&format!("{text}\n"));
        let half = std::mem::take(&mut self.half);
        self.first_line.get_or_insert_with(|| format!("{half}{text}"));
        self.expected.push(format!("{half}{text}"));
    }

    /// What was written of a line when its file went away is all that there will be of it.
    fn end_half(&mut self) {
        let half = std::mem::take(&mut self.half);
        if !half.is_empty() {
            self.expected.push(half);
        }
    }

    fn steps(&mut self, quiet: usize, max: usize) {
        let mut idle = 0;
        for _ in 0..max {
            match self.reader.step().unwrap() {
                Step::Chunk(chunk) => {
                    idle = 0;
                    for (source, offset, value) in lines_of(&chunk) {
                        let before = self.ids.insert((source, offset), value.clone());
                        assert!(before.is_none_or(|before| before == value), "an id has two values");
                    }
                    self.read.push(chunk);
                }
                Step::Idle => idle += 1,
                Step::Working => {}
                Step::Finished => panic!("a source that is followed does not finish"),
            }
            if idle >= quiet {
                return;
            }
        }
    }

    fn commit(&mut self) {
        for chunk in self.read.drain(..) {
            self.taken.extend(lines_of(&chunk));
            self.committed = Some(chunk.position);
        }
    }

    fn restart(&mut self) {
        self.read.clear();
        self.reader = self.rig.follow(self.committed.as_ref());
    }

    fn read_all_and_commit(&mut self) {
        self.steps(1, usize::MAX);
        self.commit();
    }

    fn is_there(&self) -> bool {
        self.rig.path("app.log").exists()
    }

    /// Whether the committed position knows the file: one that was never committed and is renamed out of the pattern
    /// while the reader is away cannot be found.
    fn is_known(&self) -> bool {
        let first = self.first_line.as_ref();
        first.is_some_and(|first| self.taken.iter().any(|(_, _, value)| value == first))
    }

    fn apply(&mut self, event: &Event, is_renamed_within: bool) {
        match event {
            Event::Line(filling) => self.line(*filling),
            Event::Half => {
                self.numbers += 1;
                let half = format!("{}-", self.numbers);
                self.write(&half);
                self.half += &half;
            }
            Event::Rename if self.is_there() && (is_renamed_within || self.is_known()) => {
                // Of a file that was renamed before it was known, nobody can tell that its last line will not end.
                if !self.half.is_empty() && !self.is_known() {
                    self.line(0);
                }
                self.numbers += 1;
                self.rig.rename("app.log", &format!("app.log.{}", self.numbers));
                self.end_half();
            }
            Event::Truncate if self.is_there() => {
                self.line(1);
                self.read_all_and_commit();
                self.rig.truncate("app.log");
            }
            Event::Delete if self.is_there() => {
                self.steps(1, usize::MAX);
                self.line(1);
                self.rig.remove("app.log");
                self.read_all_and_commit();
            }
            Event::Steps(steps) => self.steps(usize::MAX, *steps),
            Event::Commit => self.commit(),
            Event::Restart => self.restart(),
            Event::Header => self.header = true,
            Event::Rename | Event::Truncate | Event::Delete => {}
        }
    }

    fn check(mut self) {
        self.steps(QUIET, usize::MAX);
        self.commit();
        let mut ids: Vec<_> = self.taken.iter().map(|(source, offset, _)| (source, offset)).collect();
        ids.sort();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "an id was committed twice");
        let mut values: Vec<_> = self.taken.iter().map(|(_, _, value)| value.clone()).collect();
        values.sort();
        self.expected.sort();
        assert_eq!(values, self.expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_line_is_committed_once(
        events in proptest::collection::vec(event(), 0..40),
        is_renamed_within in any::<bool>(),
    ) {
        let mut world = World::new(if is_renamed_within { "app.log*" } else { "app.log" });
        events.iter().for_each(|event| world.apply(event, is_renamed_within));
        world.check();
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// A restart at every position gives the same records with the same ids.
    #[test]
    fn from_every_position_the_rest_is_the_same(lens in proptest::collection::vec(0usize..3_000, 1..2_500)) {
        let rig = Rig::new(&["a.log"]);
        let text: String = lens.iter().map(|len| "x".repeat(len % 300) + "\n").collect();
        rig.append("a.log", text);
        let chunks = read_chunks(&mut rig.follow(None), 1);
        for nth in 0..chunks.len() {
            let rest: Vec<_> = read_chunks(&mut rig.follow(Some(&chunks[nth].position)), 1).iter().flat_map(lines_of).collect();
            let expected: Vec<_> = chunks[nth + 1..].iter().flat_map(lines_of).collect();
            prop_assert!(rest == expected);
        }
    }
}

fn reader(rig: &Rig, mode: Mode) -> FileReader {
    FileReader::open("app", &rig.settings, None, mode, Arc::new(SystemClock)).unwrap()
}

#[tokio::test]
async fn a_reader_that_drains_ends_and_one_that_follows_goes_on() {
    let mut rig = Rig::new(&["a.log"]);
    rig.settings.scan = Duration::from_millis(5);
    rig.append("a.log", "one\n".repeat(2_500) + "last");
    let mut draining = reader(&rig, Mode::Drain);
    let mut lines = Vec::new();
    while let Some(chunk) = draining.next().await.unwrap() {
        lines.extend(values(&[chunk]));
    }
    assert_eq!((lines.len(), lines.last().unwrap().as_str()), (2_501, "last"));
    assert!(draining.next().await.unwrap().is_none());

    let mut following = reader(&rig, Mode::Follow);
    let mut count = 0;
    while count < 2_500 {
        count += following.next().await.unwrap().unwrap().records.len();
    }
    let (next, ()) = tokio::join!(following.next(), async { rig.append("a.log", " line\n") });
    assert_eq!(values(&[next.unwrap().unwrap()]), ["last line"]);
}

#[tokio::test]
async fn a_call_that_is_given_up_loses_nothing() {
    let rig = Rig::new(&["a.log"]);
    let lines: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
    rig.append("a.log", lines.join("\n"));
    let mut reader = reader(&rig, Mode::Drain);
    let mut got = Vec::new();
    loop {
        // The future is polled once and dropped.
        let polled =
            tokio::select! { biased; chunk = reader.next() => Some(chunk), () = std::future::ready(()) => None };
        match polled {
            None => tokio::task::yield_now().await,
            Some(chunk) => match chunk.unwrap() {
                Some(chunk) => got.extend(values(&[chunk])),
                None => break,
            },
        }
    }
    assert!(got == lines);
}

#[tokio::test]
async fn what_was_read_before_an_error_comes_before_it() {
    let rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\n");
    let mut files = rig.try_open(None, Mode::Drain).unwrap();
    rig.append("b.log", "two\n");
    let before = read_ahead(&mut files);
    assert_eq!(values(&before.0.into_iter().collect::<Vec<_>>()), ["one"]);
    assert!(matches!(before.1, Last::Finished), "what came after the beginning is left");
}
