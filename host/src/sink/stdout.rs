//! Standard output: lines for a person or the next command in a shell pipe.
//!
//! One thread writes for all tasks, so lines of several tasks never mix and a slow reader never blocks the runtime. A
//! batch is one write, and it is confirmed once it is written: after a crash the batches that were not committed are
//! written again (at least once; the record format bears the ids that tell a repetition).
//!
//! Knows nothing of pipelines; it gets the file to write to from whoever starts it.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::lines::encode;
use super::{Confirm, Delivery, Error, Sink};
use crate::config::{LineFormat, StdoutSink};
use crate::record::Output;

/// Batches that may wait for the writer; tasks wait behind them. The tasks' own budgets bound their bytes.
const QUEUE_BATCHES_MAX: usize = 16;
/// How long to wait before trying again where standard output takes nothing now, because somebody made it non-blocking.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

type Answer = Result<(), Error>;

struct Lines {
    bytes: Vec<u8>,
    written: oneshot::Sender<Answer>,
}

/// The writer of standard output. Clones share it; it ends when the last clone and the last sink of it are gone.
#[derive(Clone)]
pub struct Stdout {
    queue: mpsc::Sender<Lines>,
    reader_is_gone: Arc<AtomicBool>,
}

impl Stdout {
    /// Starts the writer of this process's standard output. One is enough for all sinks.
    pub fn process() -> std::io::Result<Stdout> {
        let own = std::io::stdout().as_fd().try_clone_to_owned()?;
        Stdout::start(Box::new(std::fs::File::from(own)))
    }

    /// Starts a writer to anything.
    pub fn start(to: Box<dyn Write + Send>) -> std::io::Result<Stdout> {
        let (queue, waiting) = mpsc::channel(QUEUE_BATCHES_MAX);
        let reader_is_gone = Arc::new(AtomicBool::new(false));
        let gone = reader_is_gone.clone();
        std::thread::Builder::new().name("stdout".into()).spawn(move || write_all(to, waiting, &gone))?;
        Ok(Stdout { queue, reader_is_gone })
    }

    /// A task's connection.
    pub fn open(&self, settings: &StdoutSink) -> StdoutTask {
        StdoutTask { stdout: self.clone(), format: settings.format }
    }

    /// Whether whoever read standard output has gone, as `| head` does when it has enough. The sinks then ask the
    /// appliance to stop; that is an end like any other, not an error to print.
    pub fn reader_is_gone(&self) -> bool {
        self.reader_is_gone.load(Ordering::Acquire)
    }
}

fn write_all(mut to: Box<dyn Write + Send>, mut waiting: mpsc::Receiver<Lines>, gone: &AtomicBool) {
    while let Some(lines) = waiting.blocking_recv() {
        let answer = write_batch(&mut *to, &lines.bytes).map_err(|error| {
            gone.fetch_or(error.kind() == ErrorKind::BrokenPipe, Ordering::AcqRel);
            Error::stop(format!("standard output: {error}"))
        });
        // A task that no longer waits has been stopped; its batch is not committed and comes again.
        let _ = lines.written.send(answer);
    }
}

fn write_batch(to: &mut dyn Write, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(BUSY_PAUSE),
            Err(error) => return Err(error),
        }
    }
    to.flush()
}

/// A task's connection to standard output.
pub struct StdoutTask {
    stdout: Stdout,
    format: LineFormat,
}

#[async_trait]
impl Sink for StdoutTask {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let (written, answer) = oneshot::channel();
        let lines = Lines { bytes: encode(self.format, &output), written };
        self.stdout.queue.send(lines).await.map_err(|_| closed())?;
        Ok(async move { answer.await.unwrap_or_else(|_| Err(closed())).map(|()| Delivery::default()) }.boxed())
    }
}

fn closed() -> Error {
    Error::stop("standard output: its writer has ended")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Mutex;

    use super::*;
    use crate::record::{Batch, Record, Timestamp};
    use crate::source::Disposition;

    fn output(values: &[&str]) -> Arc<Output> {
        let mut records = Batch::default();
        values.iter().for_each(|value| records.push(&Record::of(value.as_bytes(), Timestamp(0))));
        Arc::new(Output { source: "s".into(), ordinals: vec![0; records.len()], records })
    }

    /// Answers each write as it is told, and keeps what it was given.
    #[derive(Clone, Default)]
    struct Script {
        answers: Arc<Mutex<VecDeque<Result<usize, ErrorKind>>>>,
        writes: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            self.writes.lock().unwrap().push(bytes[..taken].to_vec());
            Ok(taken)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_batch_is_one_write() {
        let script = Script::default();
        let stdout = Stdout::start(Box::new(script.clone())).unwrap();
        let mut task = stdout.open(&StdoutSink::default());
        let first = task.send(output(&["a", "b"])).await.unwrap();
        let second = task.send(output(&["c"])).await.unwrap();
        for confirm in [first, second] {
            let delivery = confirm.await.unwrap();
            assert!(delivery.rejects.is_empty() && delivery.staged.is_empty());
        }
        assert_eq!(*script.writes.lock().unwrap(), [b"a\nb\n".to_vec(), b"c\n".to_vec()]);
    }

    #[tokio::test]
    async fn partial_and_refused_writes_are_gone_on_with() {
        let script = Script::default();
        let answers = [Ok(1), Err(ErrorKind::Interrupted), Err(ErrorKind::WouldBlock), Ok(2)];
        script.answers.lock().unwrap().extend(answers);
        let stdout = Stdout::start(Box::new(script.clone())).unwrap();
        stdout.open(&StdoutSink::default()).send(output(&["abcdef"])).await.unwrap().await.unwrap();
        assert_eq!(script.writes.lock().unwrap().concat(), b"abcdef\n");
    }

    #[tokio::test]
    async fn lines_of_several_tasks_never_mix() {
        let (to, mut reader) = UnixStream::pair().unwrap();
        let stdout = Stdout::start(Box::new(to)).unwrap();
        let tasks = (0..4).map(|task| {
            let mut sink = stdout.open(&StdoutSink::default());
            tokio::spawn(async move {
                for batch in 0..50 {
                    let lines: Vec<_> = (0..20).map(|line| format!("{task}-{batch}-{line}{:>500}", "x")).collect();
                    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
                    sink.send(output(&lines)).await.unwrap().await.unwrap();
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        drop(stdout);
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        for task in tasks {
            task.await.unwrap();
        }
        let text = text.await.unwrap();
        assert_eq!(text.lines().count(), 4 * 50 * 20);
        for task in 0..4 {
            let prefix = format!("{task}-");
            let own: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix(&prefix)).collect();
            let expected = (0..50).flat_map(|batch| (0..20).map(move |line| format!("{batch}-{line}{:>500}", "x")));
            assert!(own.into_iter().eq(expected), "task {task}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_stops_the_appliance_quietly() {
        let (to, reader) = UnixStream::pair().unwrap();
        let stdout = Stdout::start(Box::new(to)).unwrap();
        let mut task = stdout.open(&StdoutSink::default());
        task.send(output(&["a"])).await.unwrap().await.unwrap();
        assert!(!stdout.reader_is_gone());
        drop(reader);
        let error = task.send(output(&["b"])).await.unwrap().await.err().unwrap();
        assert_eq!(error.disposition, Disposition::Stop);
        assert!(stdout.reader_is_gone());
    }

    #[tokio::test]
    async fn another_error_stops_the_appliance_with_its_reason() {
        let script = Script::default();
        script.answers.lock().unwrap().push_back(Err(ErrorKind::StorageFull));
        let stdout = Stdout::start(Box::new(script)).unwrap();
        let error = stdout.open(&StdoutSink::default()).send(output(&["b"])).await.unwrap().await.err().unwrap();
        assert!(error.message.starts_with("standard output: "), "{error}");
        assert!(!stdout.reader_is_gone());
    }

    /// A reader that takes nothing holds back its tasks, never the runtime's only thread.
    #[tokio::test(flavor = "current_thread")]
    async fn a_slow_reader_does_not_block_the_runtime() {
        let (to, mut reader) = UnixStream::pair().unwrap();
        let stdout = Stdout::start(Box::new(to)).unwrap();
        let mut task = stdout.open(&StdoutSink::default());
        let line = "x".repeat(1 << 20);
        let confirm = task.send(output(&[&line])).await.unwrap();
        let mut confirm = std::pin::pin!(confirm);
        assert!(futures_util::poll!(&mut confirm).is_pending());
        let read = std::thread::spawn(move || {
            let mut bytes = vec![0; (1 << 20) + 1];
            reader.read_exact(&mut bytes).unwrap();
        });
        confirm.await.unwrap();
        read.join().unwrap();
    }
}
