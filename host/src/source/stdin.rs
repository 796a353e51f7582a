//! Lines of standard input, as they come.
//!
//! A line is what [`super::lines`] says. The input cannot be read again, so its lines enter the intake stream; its end
//! ends the source. When the appliance is told to stop, a last line without an end is a record too: the input will not
//! give it again.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::lines::{Ends, Splitter};
use super::unconfirmed::{Budget, Unconfirmed};
use super::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Error, Intake, Listener, Received};
use crate::clock::Clock;
use crate::config::StdinSource;
use crate::record::{Batch, Offset};
use crate::stop::Stop;

/// What is read at a time: as much as a pipe holds.
const BLOCK_BYTES: usize = 64 * 1024;
/// Blocks that may wait to be split into lines.
const BLOCKS_MAX: usize = 8;

/// Takes in lines of standard input.
pub struct StdinListener {
    settings: StdinSource,
    clock: Arc<dyn Clock>,
    received: Arc<Received>,
    input: Box<dyn Read + Send>,
}

impl StdinListener {
    /// A listener on the process's standard input. Fails where that is closed.
    pub fn new(settings: &StdinSource, clock: Arc<dyn Clock>, received: Arc<Received>) -> Result<Self, Error> {
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
        Ok(StdinListener::reading(File::from(input), settings, clock, received))
    }

    /// A listener on another input.
    pub fn reading(
        input: impl Read + Send + 'static,
        settings: &StdinSource,
        clock: Arc<dyn Clock>,
        received: Arc<Received>,
    ) -> Self {
        StdinListener { settings: settings.clone(), clock, received, input: Box::new(input) }
    }
}

#[async_trait]
impl Listener for StdinListener {
    async fn run(self: Box<Self>, intake: Intake, mut stop: Stop) -> Result<(), Error> {
        let mut blocks = read_blocks(self.input)?;
        let mut lines = Lines {
            splitter: Splitter::new(Ends::Newline, self.settings.line_bytes_max),
            batch: Batch::default(),
            clock: self.clock,
            unconfirmed: Unconfirmed::new(intake, self.received, Budget::default()),
            failed: None,
        };
        loop {
            tokio::select! { biased;
                confirmed = lines.unconfirmed.confirmed() => confirmed?,
                () = stop.stopped(), if !blocks.is_closed() => blocks.close(),
                block = blocks.recv() => match block {
                    Some(block) => lines.take(block, &mut blocks).await?,
                    None => break,
                },
            }
            // Closed by the signal to stop: what was read before that still comes.
            if lines.failed.is_some() || blocks.is_closed() && blocks.is_empty() {
                break;
            }
        }
        lines.finish().await
    }
}

/// The lines of the input on their way to the intake.
struct Lines {
    splitter: Splitter,
    batch: Batch,
    clock: Arc<dyn Clock>,
    unconfirmed: Unconfirmed,
    /// Why there will be no more.
    failed: Option<Error>,
}

type Block = Result<Vec<u8>, Error>;
type Blocks = mpsc::Receiver<Block>;

impl Lines {
    /// Takes in a block, and those that wait behind it, in batches as large as they allow without waiting for more.
    async fn take(&mut self, first: Block, blocks: &mut Blocks) -> Result<(), Error> {
        let mut next = Some(first);
        while let Some(block) = next {
            match block {
                Ok(bytes) => self.split(&bytes).await?,
                Err(error) => self.failed = Some(error),
            }
            next = blocks.try_recv().ok();
        }
        self.send().await
    }

    async fn split(&mut self, block: &[u8]) -> Result<(), Error> {
        let now = self.clock.now();
        let mut input = block;
        while let Some(line) = self.splitter.next(&mut input) {
            line.push_to(&mut self.batch, &[], Offset(0), now);
            if self.batch.len() >= BATCH_RECORDS_MAX || self.batch.bytes() >= BATCH_BYTES_MAX {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Error> {
        self.unconfirmed.send(std::mem::take(&mut self.batch)).await
    }

    async fn finish(mut self) -> Result<(), Error> {
        let now = self.clock.now();
        if let Some(line) = self.splitter.finish() {
            line.push_to(&mut self.batch, &[], Offset(0), now);
        }
        self.send().await?;
        self.unconfirmed.finish().await?;
        self.failed.map_or(Ok(()), Err)
    }
}

/// Reads on a thread of its own: a read that waits for a terminal can be neither given up nor waited for at the end, and
/// the process may end while it waits.
fn read_blocks(mut input: Box<dyn Read + Send>) -> Result<Blocks, Error> {
    let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
    let read = move || {
        loop {
            let mut block = vec![0; BLOCK_BYTES];
            let block = match input.read(&mut block) {
                Ok(0) => return,
                Ok(n) => {
                    block.truncate(n);
                    Ok(block)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(failed(&error)),
            };
            let is_over = block.is_err();
            if sender.blocking_send(block).is_err() || is_over {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("weir-stdin".into()).spawn(read);
    thread.map(|_| blocks).map_err(|error| failed(&error))
}

fn failed(error: &io::Error) -> Error {
    Error::stop(format!("standard input cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::source::Disposition;
    use crate::source::HEADER_TRUNCATED;
    use crate::source::intake::Request;
    use crate::stop::stop_signal;
    use std::io::Write;
    use std::sync::atomic::Ordering;
    use tokio::task::JoinHandle;

    struct Rig {
        received: Arc<Received>,
        requests: mpsc::Receiver<Request>,
        stopper: crate::stop::Stopper,
        run: JoinHandle<Result<(), Error>>,
    }

    fn start(input: impl Read + Send + 'static) -> Rig {
        let (intake, requests) = Intake::channel();
        let (stopper, stop) = stop_signal();
        let received = Arc::new(Received::default());
        let settings = StdinSource { line_bytes_max: 100 };
        let listener = StdinListener::reading(input, &settings, Arc::new(SystemClock), received.clone());
        Rig { received, requests, stopper, run: tokio::spawn(Box::new(listener).run(intake, stop)) }
    }

    impl Rig {
        /// The next batch's lines, made durable.
        async fn next(&mut self) -> Option<Vec<Vec<u8>>> {
            let request = self.requests.recv().await?;
            let lines = request.records.iter().map(|record| record.value.unwrap().to_vec()).collect();
            request.durable.send(Ok(())).unwrap();
            Some(lines)
        }

        async fn rest(mut self) -> Vec<Vec<u8>> {
            let mut lines = Vec::new();
            while let Some(mut batch) = self.next().await {
                assert!(batch.len() <= BATCH_RECORDS_MAX);
                lines.append(&mut batch);
            }
            self.run.await.unwrap().unwrap();
            assert_eq!(self.received.records.load(Ordering::Relaxed), lines.len() as u64);
            lines
        }
    }

    #[tokio::test]
    async fn all_lines_are_taken_in_and_the_end_of_input_ends_it() {
        let input: Vec<u8> =
            (0..25_000).flat_map(|n| format!("line {n}\r\n").into_bytes()).chain(*b"\n\xff\0").collect();
        let lines = start(io::Cursor::new(input)).rest().await;
        assert_eq!(lines.len(), 25_002);
        assert_eq!(lines[24_999], b"line 24999");
        assert_eq!(lines[25_000..], [b"".to_vec(), b"\xff\0".to_vec()]);
    }

    #[tokio::test]
    async fn a_line_does_not_wait_for_the_next_and_a_stop_takes_in_what_was_read() {
        let (input, mut writer) = io::pipe().unwrap();
        let mut rig = start(input);
        writer.write_all(b"one\ntwo\nthr").unwrap();
        let mut lines = Vec::new();
        while lines.len() < 2 {
            lines.extend(rig.next().await.unwrap());
        }
        assert_eq!(lines, [b"one", b"two"]);
        rig.stopper.stop();
        // The writer goes on holding the pipe open.
        assert_eq!(rig.next().await.unwrap(), [b"thr"]);
        assert!(rig.next().await.is_none());
        rig.run.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_long_line_is_cut() {
        let mut rig = start(io::Cursor::new(vec![b'x'; 300_000]));
        let request = rig.requests.recv().await.unwrap();
        let record = request.records.get(0).unwrap();
        assert_eq!(record.value.unwrap().len(), 100);
        assert_eq!(record.headers().collect::<Vec<_>>(), [(HEADER_TRUNCATED, Some(&b"300000"[..]))]);
    }

    #[tokio::test]
    async fn an_input_that_fails_is_an_error_after_what_came_before() {
        struct Failing(bool);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("the cable is loose"));
                }
                buffer[..4].copy_from_slice(b"one\n");
                Ok(4)
            }
        }
        let mut rig = start(Failing(false));
        assert_eq!(rig.next().await.unwrap(), [b"one"]);
        let error = rig.run.await.unwrap().unwrap_err();
        assert!(error.message.contains("the cable is loose"), "{error}");
        assert_eq!(error.disposition, Disposition::Stop);
    }
}
