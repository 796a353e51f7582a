//! The file sink against real files: every crash window, full disks, operators, and any order of them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::disk::fault;
use super::*;
use crate::config::Rotate;
use crate::record::{Batch, Record, Timestamp};
use crate::source::Disposition;

/// 2026-03-01T12:00:00Z.
const NOON: i64 = 1_772_366_400_000;

struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A file sink with the store's part played by the test: the committed position, and the bytes that are committed.
struct Rig {
    directory: tempfile::TempDir,
    settings: FileSink,
    clock: Arc<ManualClock>,
    position: Option<Position>,
    expected: Vec<u8>,
    sink: Option<Arc<FileParticipant>>,
}

impl Rig {
    fn closed(rotate: Rotate) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.log");
        let settings = FileSink { path, format: LineFormat::Value, rotate };
        let clock = Arc::new(ManualClock(AtomicI64::new(NOON)));
        Rig { directory, settings, clock, position: None, expected: Vec::new(), sink: None }
    }

    fn new(rotate: Rotate) -> Rig {
        let mut rig = Rig::closed(rotate);
        rig.open().unwrap();
        rig
    }

    fn plain() -> Rig {
        Rig::new(Rotate::default())
    }

    /// Starts again, as after a crash: nothing is remembered but what was committed.
    fn open(&mut self) -> Result<(), Error> {
        self.sink = None;
        self.sink = Some(FileParticipant::open("out", &self.settings, self.position.clone(), self.clock.clone())?);
        Ok(())
    }

    fn sink(&self) -> &FileParticipant {
        self.sink.as_deref().unwrap()
    }

    fn write(&self, text: &str) -> std::io::Result<Position> {
        self.sink().write(text.as_bytes())
    }

    /// A commit group up to the point where it is durable; the sink has not been told yet.
    fn commit_untold(&mut self, texts: &[&str]) -> std::io::Result<()> {
        for text in texts {
            self.write(text)?;
        }
        self.sink().sync()?;
        self.position = Some(self.sink().position());
        texts.iter().for_each(|text| self.expected.extend_from_slice(text.as_bytes()));
        Ok(())
    }

    fn commit(&mut self, texts: &[&str]) {
        self.commit_untold(texts).unwrap();
        self.sink().committed();
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.directory.path().join(format!("out.log{suffix}"))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The rotated files and the current one, in order.
    fn content(&self) -> Vec<u8> {
        let names = names::Names::of(&self.settings.path).unwrap();
        let rotated = names.rotated().unwrap().into_iter().map(|(_, path)| path);
        let current = Some(self.settings.path.clone()).filter(|path| path.exists());
        rotated.chain(current).flat_map(|path| fs::read(path).unwrap()).collect()
    }

    fn check(&self) {
        let (content, expected) = (self.content(), &self.expected);
        assert_eq!(String::from_utf8_lossy(&content), String::from_utf8_lossy(expected), "{:?}", self.names());
        assert!(!self.names().iter().any(|name| name.starts_with('.')), "{:?}", self.names());
    }

    fn reopen_and_check(&mut self) {
        self.open().unwrap();
        self.check();
    }
}

fn by_size(bytes: u64) -> Rotate {
    Rotate { bytes: Some(bytes), ..Rotate::default() }
}

#[test]
fn committed_bytes_are_in_the_file_and_go_on_after_a_restart() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n", "two\n"]);
    rig.check();
    rig.reopen_and_check();
    rig.commit(&["three\n"]);
    rig.check();
    assert_eq!(rig.names(), ["out.log"]);
}

#[test]
fn nothing_is_created_before_the_first_record() {
    let rig = Rig::plain();
    rig.sink().sync().unwrap();
    rig.sink().committed();
    assert_eq!(rig.sink().position(), Position::default());
    assert_eq!(rig.names(), Vec::<String>::new());
}

#[test]
fn an_empty_position_is_none() {
    let mut rig = Rig::closed(Rotate::default());
    rig.position = Some(Position::default());
    rig.open().unwrap();
    rig.commit(&["a\n"]);
    rig.reopen_and_check();
}

#[test]
fn bytes_that_were_not_committed_are_cut_off_on_restart() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    rig.write("lost\n").unwrap();
    rig.reopen_and_check();
    rig.commit(&["two\n"]);
    rig.check();
}

#[test]
fn the_first_bytes_of_a_file_are_cut_off_too() {
    let mut rig = Rig::plain();
    rig.write("lost\n").unwrap();
    assert_eq!(rig.names(), [".out.log.uncommitted-0"]);
    rig.reopen_and_check();
    rig.commit(&["one\n"]);
    rig.reopen_and_check();
}

#[test]
fn a_file_that_was_committed_but_not_named_gets_its_name() {
    let mut rig = Rig::plain();
    rig.commit_untold(&["one\n"]).unwrap();
    assert_eq!(rig.names(), [".out.log.uncommitted-0"]);
    rig.reopen_and_check();
    assert_eq!(rig.names(), ["out.log"]);
}

#[test]
fn a_file_that_was_there_is_gone_on_with_and_kept_whatever_happens() {
    let mut rig = Rig::closed(Rotate::default());
    fs::write(rig.path(""), "old\nhalf").unwrap();
    rig.expected = b"old\nhalf".to_vec();
    rig.open().unwrap();
    rig.write("lost\n").unwrap();
    assert_eq!(rig.names(), [".out.log.uncommitted-8"]);
    rig.reopen_and_check();
    rig.expected.push(b'\n');
    rig.commit_untold(&["new\n"]).unwrap();
    rig.reopen_and_check();
    rig.commit(&["more\n"]);
    rig.check();
}

#[test]
fn it_rotates_by_size_between_commits_only() {
    let mut rig = Rig::new(by_size(8));
    rig.commit(&["1234\n"]);
    rig.commit(&["56\n", "78\n", "9\n"]);
    assert_eq!(rig.names(), ["out.log.20260301T120000Z"]);
    rig.commit(&["abcdefgh\n"]);
    rig.commit(&["i\n"]);
    assert_eq!(rig.names(), ["out.log", "out.log.20260301T120000Z", "out.log.20260301T120000Z.1"]);
    rig.check();
    assert_eq!(fs::read(rig.path(".20260301T120000Z")).unwrap(), b"1234\n56\n78\n9\n");
    rig.reopen_and_check();
}

#[test]
fn it_rotates_by_time_since_the_file_was_begun_also_across_a_restart() {
    let mut rig = Rig::new(Rotate { every: Some(Duration::from_secs(60)), ..Rotate::default() });
    rig.commit(&["a\n"]);
    rig.clock.0.fetch_add(59_999, Ordering::Relaxed);
    rig.open().unwrap();
    rig.commit(&["b\n"]);
    assert_eq!(rig.names(), ["out.log"]);
    rig.clock.0.fetch_add(1, Ordering::Relaxed);
    rig.commit(&["c\n"]);
    assert_eq!(fs::read(rig.path(".20260301T120100Z")).unwrap(), b"a\nb\n");
    assert_eq!(fs::read(rig.path("")).unwrap(), b"c\n");
    rig.check();
}

#[test]
fn the_oldest_rotated_files_are_deleted_and_nothing_else() {
    let mut rig = Rig::new(Rotate { bytes: Some(1), keep: Some(2), every: None });
    fs::write(rig.path(".20200101T000000Z.gz"), "").unwrap();
    for text in ["a\n", "b\n", "c\n", "d\n"] {
        rig.commit(&[text]);
    }
    rig.expected = b"c\nd\n".to_vec();
    assert_eq!(rig.content(), rig.expected);
    assert!(rig.path(".20200101T000000Z.gz").exists());
    rig.reopen_and_check();
    rig.settings.rotate.keep = Some(0);
    rig.open().unwrap();
    rig.commit(&["e\n"]);
    assert_eq!(rig.names(), ["out.log.20200101T000000Z.gz"]);
    rig.expected.clear();
    rig.reopen_and_check();
}

#[test]
fn a_participant_that_fails_beside_it_takes_its_bytes_back() {
    let mut rig = Rig::plain();
    let before = rig.sink().position();
    rig.write("lost\n").unwrap();
    rig.sink().cut_back(&before).unwrap();
    rig.commit(&["one\n"]);
    let before = rig.sink().position();
    rig.write("two\n").unwrap();
    let between = rig.sink().position();
    rig.write("lost\n").unwrap();
    rig.sink().cut_back(&between).unwrap();
    assert_eq!(rig.sink().position(), between);
    rig.expected.extend_from_slice(b"two\n");
    rig.commit(&["three\n"]);
    rig.check();
    rig.write("lost\n").unwrap();
    rig.sink().cut_back(&before).unwrap();
    rig.check();
}

#[test]
fn a_full_disk_changes_nothing_and_heals() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    fault::full_after(Some(2));
    let error = rig.write("more than fits\n").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    rig.check();
    fault::full_after(None);
    rig.commit(&["two\n"]);
    rig.check();
}

#[test]
fn a_failed_write_that_could_not_be_cut_is_cut_before_the_next() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    fault::crash_after(Some(1));
    rig.write("more than fits\n").unwrap_err();
    fault::crash_after(None);
    assert_eq!(rig.content(), b"one\nmore th");
    rig.commit(&["two\n"]);
    rig.check();
}

#[test]
fn a_file_that_was_moved_while_running_is_left_and_a_new_one_begun() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    fs::rename(rig.path(""), rig.path(".1")).unwrap();
    rig.commit(&["two\n"]);
    assert_eq!(fs::read(rig.path(".1")).unwrap(), b"one\n");
    rig.expected = b"two\n".to_vec();
    rig.check();
    fs::remove_file(rig.path("")).unwrap();
    rig.write("lost\n").unwrap();
    rig.expected.clear();
    rig.reopen_and_check();
    rig.commit(&["three\n"]);
    rig.check();
}

#[test]
fn a_file_that_logrotate_made_is_taken_over() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    fs::rename(rig.path(""), rig.path(".1")).unwrap();
    fs::write(rig.path(""), "").unwrap();
    fs::set_permissions(rig.path(""), fs::Permissions::from_mode(0o600)).unwrap();
    rig.commit(&["two\n"]);
    assert_eq!(fs::read(rig.path("")).unwrap(), b"two\n");
    assert_eq!(fs::metadata(rig.path("")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_was_moved_after_the_crash_is_cut_back_where_it_is() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    rig.write("lost\n").unwrap();
    fs::rename(rig.path(""), rig.path(".1")).unwrap();
    fs::write(rig.path(""), "of somebody else\n").unwrap();
    rig.open().unwrap();
    assert_eq!(fs::read(rig.path(".1")).unwrap(), b"one\n");
    rig.expected = b"of somebody else\n".to_vec();
    rig.check();
    rig.commit(&["two\n"]);
    rig.reopen_and_check();
}

#[test]
fn a_copy_on_another_disk_is_known_by_its_content() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n", "two\n"]);
    rig.write("lost\n").unwrap();
    let bytes = fs::read(rig.path("")).unwrap();
    fs::remove_file(rig.path("")).unwrap();
    fs::write(rig.path(""), bytes).unwrap();
    rig.reopen_and_check();
}

#[test]
fn a_file_that_comes_to_the_path_during_a_commit_is_rotated_away() {
    let mut rig = Rig::plain();
    rig.commit_untold(&["two\n"]).unwrap();
    fs::write(rig.path(""), "one\n").unwrap();
    rig.expected = b"one\ntwo\n".to_vec();
    rig.sink().committed();
    rig.check();
    assert_eq!(rig.names(), ["out.log", "out.log.20260301T120000Z"]);
}

#[test]
fn a_file_that_comes_to_the_path_after_a_crash_does_not_cost_the_one_that_was_there() {
    let mut rig = Rig::closed(Rotate::default());
    fs::write(rig.path(""), "one\n").unwrap();
    rig.open().unwrap();
    rig.write("lost\n").unwrap();
    fs::write(rig.path(""), "two\n").unwrap();
    rig.expected = b"one\ntwo\n".to_vec();
    rig.reopen_and_check();
}

#[test]
fn a_large_file_that_is_being_taken_over_is_not_rotated_before_its_first_commit() {
    let mut rig = Rig::closed(by_size(4));
    fs::write(rig.path(""), "was there\n").unwrap();
    rig.open().unwrap();
    let before = rig.sink().position();
    rig.write("lost\n").unwrap();
    rig.sink().cut_back(&before).unwrap();
    fs::write(rig.path(""), "new\n").unwrap();
    rig.write("one\n").unwrap();
    assert_eq!(rig.names(), [".out.log.uncommitted-10", "out.log"]);
}

#[test]
fn committed_bytes_that_are_gone_stop_the_appliance() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n", "two\n"]);
    fs::OpenOptions::new().write(true).open(rig.path("")).unwrap().set_len(3).unwrap();
    let error = rig.open().unwrap_err();
    assert_eq!(error.disposition, Disposition::Stop);
    assert!(
        error.message.contains("holds 3 bytes, expected the 8 that were committed: the last 5 are gone"),
        "{error}"
    );
    fs::rename(rig.path(""), rig.path(".damaged")).unwrap();
    rig.open().unwrap();
    rig.commit(&["three\n"]);
    assert_eq!(fs::read(rig.path("")).unwrap(), b"three\n");
}

#[tokio::test]
async fn committed_bytes_that_go_while_running_stop_the_appliance() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    fs::OpenOptions::new().write(true).open(rig.path("")).unwrap().set_len(0).unwrap();
    rig.write("two\n").unwrap_err();
    rig.write("two\n").unwrap_err();
    assert_eq!(fs::read(rig.path("")).unwrap(), b"");
    let error = rig.sink.as_ref().unwrap().sink().send(output(&[])).await.err().unwrap();
    assert_eq!(error.disposition, Disposition::Stop);
    assert!(error.message.starts_with(&*rig.path("").to_string_lossy()), "{error}");
    assert!(error.message.contains("the last 4 are gone"), "{error}");
}

#[test]
fn bytes_that_others_append_are_cut_off() {
    use std::io::Write;
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    fs::OpenOptions::new().append(true).open(rig.path("")).unwrap().write_all(b"foreign\n").unwrap();
    rig.commit(&["two\n"]);
    rig.check();
}

#[test]
fn a_path_that_cannot_be_written_is_refused_with_its_reason() {
    let refused = |prepare: &dyn Fn(&Rig)| {
        let mut rig = Rig::closed(Rotate::default());
        prepare(&rig);
        let error = rig.open().unwrap_err();
        assert_eq!(error.disposition, Disposition::Stop);
        assert!(error.message.starts_with(&format!("{}: ", rig.path("").display())), "{error}");
        error.message
    };
    assert!(refused(&|rig| fs::create_dir(rig.path("")).unwrap()).contains("directory"));
    let pipe = |rig: &Rig| {
        rustix::fs::mknodat(rustix::fs::CWD, rig.path(""), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    };
    assert!(refused(&pipe).contains("not a regular file"));
    let mut rig = Rig::closed(Rotate::default());
    rig.position = Some(Position(vec![9; 3]));
    assert!(rig.open().unwrap_err().message.contains("position"));
}

#[test]
fn two_sinks_on_one_file_are_refused() {
    let mut rig = Rig::plain();
    rig.commit(&["one\n"]);
    let second = FileParticipant::open("second", &rig.settings, None, rig.clock.clone()).err().unwrap();
    assert!(second.message.contains("another process has locked it"), "{second}");
}

#[test]
fn missing_directories_are_made_and_links_are_followed() {
    let mut rig = Rig::closed(Rotate::default());
    rig.settings.path = rig.directory.path().join("a/b/out.log");
    rig.open().unwrap();
    rig.commit(&["one\n"]);
    rig.reopen_and_check();
    let link = rig.directory.path().join("link.log");
    std::os::unix::fs::symlink(&rig.settings.path, &link).unwrap();
    let target = std::mem::replace(&mut rig.settings.path, link.clone());
    rig.open().unwrap();
    rig.commit(&["two\n"]);
    assert_eq!(fs::read(&target).unwrap(), b"one\ntwo\n");
    assert!(link.symlink_metadata().unwrap().is_symlink());
    fs::remove_dir_all(rig.directory.path().join("a")).unwrap();
    rig.commit(&["three\n"]);
    assert_eq!(fs::read(&target).unwrap(), b"three\n");
}

fn output(values: &[Option<&str>]) -> Arc<Output> {
    let mut records = Batch::default();
    for value in values {
        let value = value.map(str::as_bytes);
        records.push(&Record { value, ..Record::of(&[], Timestamp(0)) });
    }
    Arc::new(Output { source: "s".into(), ordinals: vec![0; records.len()], records })
}

#[tokio::test]
async fn a_task_stages_lines_and_nothing_where_there_are_none() {
    let rig = Rig::plain();
    let mut task = rig.sink.as_ref().unwrap().sink();
    let delivery = task.send(output(&[Some("a"), None, Some("b")])).await.unwrap().await.unwrap();
    assert_eq!(delivery.staged.len(), 1);
    assert_eq!(&delivery.staged[0].bytes[..], b"a\nb\n");
    assert_eq!(delivery.staged[0].participant.position_key(), FileParticipant::key("out", &rig.settings));
    let delivery = task.send(output(&[None])).await.unwrap().await.unwrap();
    assert!(delivery.staged.is_empty() && delivery.rejects.is_empty());
}

/// A run through every kind of change on disk: first file, commits, rotations, a full disk, a file taken over.
fn eventful_run(rig: &mut Rig) -> std::io::Result<()> {
    rig.commit_untold(&["one\n"])?;
    rig.sink().committed();
    rig.commit_untold(&["two\n", "and a line that makes it rotate\n"])?;
    rig.sink().committed();
    rig.commit_untold(&["three\n"])?;
    rig.sink().committed();
    let before = rig.sink().position();
    rig.write("lost\n")?;
    rig.sink().cut_back(&before)?;
    rig.commit_untold(&["four\n"])?;
    rig.sink().committed();
    rig.commit_untold(&["five, which makes it rotate a second time\n"])?;
    rig.sink().committed();
    rig.commit_untold(&["six\n"])?;
    rig.sink().committed();
    Ok(())
}

/// Ends the process before each change on disk, and in the midst of each write, and starts it again.
#[test]
fn no_crash_between_two_changes_on_disk_loses_or_doubles_a_byte() {
    for existing in ["", "was there\n"] {
        for steps in 0.. {
            let mut rig = Rig::closed(by_size(30));
            if !existing.is_empty() {
                fs::write(rig.path(""), existing).unwrap();
                rig.expected = existing.as_bytes().to_vec();
            }
            rig.open().unwrap();
            fault::crash_after(Some(steps));
            let survived = eventful_run(&mut rig).is_ok() && fault::steps_left() != Some(0);
            fault::crash_after(None);
            rig.reopen_and_check();
            rig.commit(&["after\n"]);
            rig.reopen_and_check();
            if survived {
                assert!(steps > 30, "the run has only {steps} changes");
                break;
            }
        }
    }
}

/// Ends the process a second time, while it cleans up after the first.
#[test]
fn no_crash_during_recovery_loses_or_doubles_a_byte() {
    for steps in 0..60 {
        for second in 0.. {
            let mut rig = Rig::new(by_size(30));
            fault::crash_after(Some(steps));
            let _ = eventful_run(&mut rig);
            fault::crash_after(Some(second));
            let _ = rig.open();
            let survived = fault::steps_left() != Some(0);
            fault::crash_after(None);
            rig.reopen_and_check();
            if survived {
                break;
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Stage(String),
    Fail(String),
    FullDisk(String, usize),
    Commit { is_told: bool },
    CrashAndReopen,
    CrashWithin { steps: u32, texts: Vec<String> },
    Pass { ms: i64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let text = || "[a-z]{0,20}".prop_map(|text| text + "\n");
    let op = prop_oneof![
        4 => text().prop_map(Op::Stage),
        1 => text().prop_map(Op::Fail),
        1 => (text(), 0usize..10).prop_map(|(text, room)| Op::FullDisk(text, room)),
        3 => prop::bool::weighted(0.9).prop_map(|is_told| Op::Commit { is_told }),
        1 => Just(Op::CrashAndReopen),
        2 => (0u32..12, prop::collection::vec(text(), 1..4)).prop_map(|(steps, texts)| Op::CrashWithin { steps, texts }),
        1 => (-500i64..2000).prop_map(|ms| Op::Pass { ms }),
    ];
    prop::collection::vec(op, 0..40)
}

/// The sink and the store's part of it, driven by operations in any order.
struct Driven {
    rig: Rig,
    staged: Vec<String>,
}

impl Driven {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Stage(text) => {
                self.rig.write(&text).unwrap();
                self.staged.push(text);
            }
            Op::Fail(text) => {
                let before = self.rig.sink().position();
                self.rig.write(&text).unwrap();
                self.rig.sink().cut_back(&before).unwrap();
            }
            Op::FullDisk(text, room) => {
                fault::full_after(Some(room));
                let written = self.rig.write(&text);
                fault::full_after(None);
                self.staged.extend(written.is_ok().then_some(text));
            }
            Op::Commit { is_told } => self.commit(is_told),
            Op::CrashAndReopen => self.reopen(),
            Op::CrashWithin { steps, texts } => {
                fault::crash_after(Some(steps));
                for text in texts {
                    if self.rig.write(&text).is_err() {
                        break;
                    }
                    self.staged.push(text);
                }
                if self.rig.sink().sync().is_ok() {
                    self.rig.position = Some(self.rig.sink().position());
                    self.staged.drain(..).for_each(|text| self.rig.expected.extend_from_slice(text.as_bytes()));
                    self.rig.sink().committed();
                }
                fault::crash_after(None);
                self.reopen();
            }
            Op::Pass { ms } => {
                self.rig.clock.0.fetch_add(ms, Ordering::Relaxed);
            }
        }
    }

    fn commit(&mut self, is_told: bool) {
        self.rig.sink().sync().unwrap();
        self.rig.position = Some(self.rig.sink().position());
        self.staged.drain(..).for_each(|text| self.rig.expected.extend_from_slice(text.as_bytes()));
        if is_told {
            self.rig.sink().committed();
            assert_eq!(self.rig.content(), self.rig.expected);
        } else {
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        self.staged.clear();
        self.rig.reopen_and_check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// In any order of writes, failures, commits, crashes and rotations, the files one after the other hold exactly the
    /// committed bytes.
    #[test]
    fn the_files_hold_exactly_the_committed_bytes(ops in ops(), existing in "([a-z]{0,9}\n){0,2}") {
        let every = Some(Duration::from_secs(1));
        let mut rig = Rig::closed(Rotate { bytes: Some(40), every, keep: None });
        if !existing.is_empty() {
            fs::write(rig.path(""), &existing).unwrap();
            rig.expected = existing.into_bytes();
        }
        rig.open().unwrap();
        let mut driven = Driven { rig, staged: Vec::new() };
        ops.into_iter().for_each(|op| driven.apply(op));
        driven.reopen();
    }
}
