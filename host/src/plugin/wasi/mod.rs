//! WASI 0.2 for plugins that were built against it: an empty world, in which nothing is the host's and all can be replayed.
//!
//! There are no files, sockets, arguments or variables. What is written to standard output goes to the plugin's log. The
//! clocks and randomness are functions of the call's place in its input, so that a call gives the same answer when it is
//! repeated. Waiting moves the guest's clock and takes no time. Our own and not crate `wasmtime-wasi`, whose clocks wait on
//! the host's and whose files and sockets are real ones that have to be closed off.

mod link;

use wasmtime::Result;

pub(super) use link::link;

use super::bindings::Level;
use super::limits::{Log, TEXT_BYTES_MAX};
use super::load::World;
use crate::record::{Batch, Partition, Timestamp};

/// The packages of WASI whose interfaces are linked, in any release of 0.2.
const PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
/// Handles that an instance may hold at once: streams, pollables, networks.
const HANDLES_MAX: usize = 1_024;
/// Bytes that one call may write, as `check-write` tells.
const WRITE_BYTES_MAX: usize = 64 << 10;
/// Random bytes that one call may ask for.
const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// How far the monotonic clock goes on each time that it is looked at, in nanoseconds.
const READING_NS: u64 = 1_000;
const NS_PER_MS: u64 = 1_000_000;

/// The interface of WASI that an import names, as `io/streams`, where it is one that is linked.
pub(super) fn interface(import: &str) -> Option<&str> {
    let (interface, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    let (package, _) = interface.split_once('/')?;
    (PACKAGES.contains(&package) && version.starts_with("0.2.")).then_some(interface)
}

/// A guest that was ended by what it asked of WASI. Shown as the cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Ended(String);

fn ended<T>(why: impl Into<String>) -> Result<T> {
    Err(Ended(why.into()).into())
}

/// Where a call stands in the input: all that it may learn of time and chance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    /// What the wall clock shows.
    now: Timestamp,
    world: World,
    /// Which input.
    input: u32,
    /// What the input is called, for a sink.
    source: &'a str,
    /// The first record: its offset, and for a sink which output of its input record it is.
    at: (i64, u32),
}

impl<'a> Moment<'a> {
    /// Of a batch from an input. The clock shows the watermark, or the time of the last record where there is none.
    pub(super) fn of_batch(world: World, input: u32, batch: &Batch, watermarks: &[Timestamp]) -> Self {
        let (_, meta, _) = batch.columns();
        let last = Timestamp(meta.last().copied().unwrap_or(0));
        let now = watermarks.last().copied().unwrap_or(last);
        Moment { now, world, input, source: "", at: (meta.first().copied().unwrap_or(0), 0) }
    }

    /// Of a batch that a sink delivers.
    pub(super) fn of_delivery(source: &'a str, batch: &Batch, ordinals: &[u32]) -> Self {
        let moment = Moment::of_batch(World::Sink, 0, batch, &[]);
        Moment { source, at: (moment.at.0, ordinals.first().copied().unwrap_or(0)), ..moment }
    }

    /// Of the passing of time.
    pub(super) fn of_time(watermark: Option<Timestamp>) -> Self {
        let now = watermark.unwrap_or(Timestamp(0));
        Moment { now, world: World::StatefulTransform, input: u32::MAX, source: "", at: (now.0, 0) }
    }
}

/// What WASI is for one instance.
pub(super) struct Wasi {
    clock: Clock,
    chance: Chance,
    handles: Handles,
    stdout: Line,
    stderr: Line,
}

impl Wasi {
    /// Before its first batch an instance sees the epoch.
    pub(super) fn new(pipeline: &str, step: &str, partition: Partition, log: Log) -> Self {
        Wasi {
            clock: Clock::default(),
            chance: Chance::new(pipeline, step, partition),
            handles: Handles::default(),
            stdout: Line::new(Level::Info, log.clone()),
            stderr: Line::new(Level::Warn, log),
        }
    }

    /// Begins a call.
    pub(super) fn begin(&mut self, moment: Moment<'_>) {
        self.clock.set(moment.now);
        self.chance.set(moment);
    }

    /// Ends a call: what was written without a line break is a line now.
    pub(super) fn end(&mut self) {
        self.stdout.end();
        self.stderr.end();
    }
}

/// The guest's clocks.
#[derive(Debug, Default)]
struct Clock {
    wall_ms: u64,
    monotonic_ns: u64,
}

impl Clock {
    /// Both clocks follow the records' time, so what a call sees does not depend on those before it. The monotonic one so
    /// goes back between two calls where the records do.
    fn set(&mut self, now: Timestamp) {
        self.wall_ms = u64::try_from(now.0).unwrap_or(0);
        self.monotonic_ns = self.wall_ms.saturating_mul(NS_PER_MS);
    }

    /// The monotonic clock, which counts how often it is looked at.
    fn read(&mut self) -> u64 {
        self.monotonic_ns = self.monotonic_ns.saturating_add(READING_NS);
        self.monotonic_ns
    }

    fn wait_until(&mut self, deadline_ns: u64) {
        self.monotonic_ns = self.monotonic_ns.max(deadline_ns);
    }
}

/// Numbers that look random and are the same for the same call.
struct Chance {
    /// Of what does not change: pipeline, step and partition.
    base: blake3::Hasher,
    stream: blake3::OutputReader,
}

impl Chance {
    fn new(pipeline: &str, step: &str, partition: Partition) -> Self {
        let mut base = blake3::Hasher::new_derive_key("Weir 2026 randomness of plugins");
        for name in [pipeline, step] {
            base.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        }
        base.update(&partition.0.to_le_bytes());
        let stream = base.finalize_xof();
        Chance { base, stream }
    }

    fn set(&mut self, moment: Moment<'_>) {
        let mut seed = self.base.clone();
        seed.update(&[moment.world as u8]).update(&moment.input.to_le_bytes());
        seed.update(&moment.at.0.to_le_bytes()).update(&moment.at.1.to_le_bytes());
        seed.update(&moment.now.0.to_le_bytes()).update(moment.source.as_bytes());
        self.stream = seed.finalize_xof();
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        if count > RANDOM_BYTES_MAX {
            return ended(format!("it asked for {count} random bytes at once, expected at most {RANDOM_BYTES_MAX}"));
        }
        let mut bytes = vec![0; count as usize];
        self.stream.fill(&mut bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.stream.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// What a handle of the guest stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handle {
    /// Standard input, which is at its end.
    Stdin,
    Stdout,
    Stderr,
    /// A network on which nobody is reached.
    Network,
    /// A pollable that is ready once the monotonic clock shows this.
    At(u64),
}

/// The handles of an instance, by number.
#[derive(Debug, Default)]
struct Handles {
    all: Vec<Option<Handle>>,
    free: Vec<u32>,
}

impl Handles {
    fn open(&mut self, handle: Handle) -> Result<u32> {
        if let Some(number) = self.free.pop() {
            if let Some(place) = self.all.get_mut(number as usize) {
                *place = Some(handle);
            }
            return Ok(number);
        }
        if self.all.len() >= HANDLES_MAX {
            return ended(format!(
                "it holds {HANDLES_MAX} handles of WASI (streams, pollables) and asked for one more: \
                 it has to drop those that it does not need"
            ));
        }
        self.all.push(Some(handle));
        Ok(self.all.len() as u32 - 1)
    }

    fn get(&self, number: u32) -> Result<Handle> {
        let handle = self.all.get(number as usize).copied().flatten();
        handle.map_or_else(|| ended(format!("there is no handle {number}")), Ok)
    }

    fn close(&mut self, number: u32) {
        if self.all.get_mut(number as usize).and_then(Option::take).is_some() {
            self.free.push(number);
        }
    }
}

/// Lines of an output, on their way to the log.
struct Line {
    level: Level,
    log: Log,
    /// What there is of the line that has not ended, as far as it will be shown.
    begun: Vec<u8>,
}

impl Line {
    fn new(level: Level, log: Log) -> Self {
        Line { level, log, begun: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = TEXT_BYTES_MAX.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(text.get(..room).unwrap_or(text));
            if is_ended {
                self.end();
            }
        }
    }

    /// Empty lines are nothing to tell.
    fn end(&mut self) {
        if !self.begun.is_empty() && self.log.admit() {
            self.log.write(self.level, &String::from_utf8_lossy(&self.begun));
        }
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::limits::Ticks;
    use crate::record::{Offset, Record};

    fn wasi(step: &str) -> Wasi {
        let (pipeline, partition) = ("pipeline", Partition(0));
        let log = Log::new(pipeline.into(), step.into(), partition, 1, Ticks::default());
        Wasi::new(pipeline, step, partition, log)
    }

    fn batch(offsets: &[u64], time: i64) -> Batch {
        let mut batch = Batch::default();
        for offset in offsets {
            batch.push(&Record { offset: Offset(*offset), ..Record::of(b"", Timestamp(time)) });
        }
        batch
    }

    #[test]
    fn linked_interfaces_are_those_of_wasi_0_2_alone() {
        assert_eq!(interface("wasi:io/streams@0.2.0"), Some("io/streams"));
        assert_eq!(interface("wasi:cli/environment@0.2.12"), Some("cli/environment"));
        let others =
            ["wasi:http/types@0.2.0", "wasi:io/streams@0.3.0", "wasi:io/streams", "wasi:io@0.2.0", "own:io/a@0.2.0"];
        assert_eq!(others.map(interface), [None; 5]);
    }

    #[test]
    fn a_moment_gives_the_same_again_and_another_gives_something_else() {
        let sees = |step: &str, moments: &[Moment<'_>]| {
            let mut wasi = wasi(step);
            moments.iter().for_each(|moment| wasi.begin(*moment));
            (wasi.clock.wall_ms, wasi.clock.read(), wasi.chance.number(), wasi.chance.bytes(3).unwrap())
        };
        let (first, second) = (batch(&[1, 2], 5), batch(&[3, 4], 6));
        let moment = |batch: &Batch| Moment::of_batch(World::Transform, 0, batch, &[]);
        let seen = sees("a", &[moment(&second)]);
        assert_eq!((seen.0, seen.1), (6, 6_001_000));
        assert_eq!(sees("a", &[moment(&first), moment(&second)]), seen);
        let others = [
            sees("b", &[moment(&second)]),
            sees("a", &[moment(&first)]),
            sees("a", &[Moment::of_batch(World::Transform, 1, &second, &[])]),
            sees("a", &[Moment::of_delivery("a", &second, &[0])]),
            sees("a", &[Moment::of_delivery("a", &second, &[1])]),
            sees("a", &[Moment::of_delivery("b", &second, &[0])]),
            sees("a", &[Moment::of_time(None)]),
            sees("a", &[]),
        ];
        let numbers: std::collections::BTreeSet<u64> = others.iter().chain([&seen]).map(|seen| seen.2).collect();
        assert_eq!(numbers.len(), others.len() + 1);
    }

    #[test]
    fn a_watermark_goes_before_the_records_time() {
        let moment = Moment::of_batch(World::StatefulTransform, 0, &batch(&[1], 5), &[Timestamp(9)]);
        assert_eq!(moment.now, Timestamp(9));
        let mut clock = Clock::default();
        clock.set(Timestamp(-1));
        assert_eq!(clock.wall_ms, 0);
    }

    #[test]
    fn handles_are_bounded_and_come_back() {
        let mut handles = Handles::default();
        let all: Vec<u32> = (0..HANDLES_MAX).map(|n| handles.open(Handle::At(n as u64)).unwrap()).collect();
        assert!(handles.open(Handle::Stdin).is_err());
        handles.close(all[7]);
        handles.close(all[7]);
        assert_eq!((handles.open(Handle::Network).unwrap(), handles.get(7).unwrap()), (7, Handle::Network));
        assert!(handles.open(Handle::Stdin).is_err() && handles.get(u32::MAX).is_err());
    }

    #[test]
    fn a_line_is_cut_and_not_kept() {
        let mut wasi = wasi("step");
        wasi.stdout.write(&[b'x'; 3 * TEXT_BYTES_MAX]);
        wasi.stdout.write(b"more");
        assert_eq!(wasi.stdout.begun.len(), TEXT_BYTES_MAX);
        wasi.end();
        assert!(wasi.stdout.begun.is_empty());
        wasi.stderr.write(b"\n\n");
        assert_eq!(wasi.stdout.log.dropped(), 0);
        wasi.stderr.write(b"a\nb");
        wasi.end();
        assert_eq!(wasi.stdout.log.dropped(), 2);
    }
}
