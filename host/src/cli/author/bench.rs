//! `weir plugin bench`: what a record costs in a plugin, beside what it costs in one that does nothing.
//!
//! The two take turns, so that what else the machine does befalls both. Time is that which this process had of a processor.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::test::{Suite, load, unreadable};
use super::{EXIT_FAILED, Failed};
use crate::case::run::Bench;
use crate::case::{Case, Given};
use crate::cli::EXIT_USAGE;
use crate::clock::SystemClock;
use crate::config::DemoSource;
use crate::plugin::{Engine, Plugin, World};
use crate::record::{Batch, Offset, Record, Timestamp};
use crate::source::demo::DemoReader;
use crate::source::{Mode, Reader as _};

/// A plugin that lets every record go on as it came; its text is that of `host/tests/plugins/step.wat.in`.
const STEP: &[u8] = include_bytes!("baseline/step.wasm");
/// A sink that takes every record and delivers none; its text is that of `host/tests/plugins/sink.wat.in`.
const SINK: &[u8] = include_bytes!("baseline/sink.wasm");
/// Records of a batch, as a task that has enough to read gives them.
const BATCH_RECORDS: usize = 1_000;
/// How long each of the two runs before the other does.
const TURN: Duration = Duration::from_millis(100);
/// Where Linux says how long each thread ran.
const THREADS: &str = "/proc/self/task";

/// What `weir plugin bench` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// A crate, whose first case gives configuration and records, or one case
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Give it made-up log lines, and of the case the configuration alone
    #[arg(long)]
    pub demo: bool,
}

/// Measures; gives the exit code.
pub async fn run(args: BenchArgs) -> u8 {
    super::start_log();
    match measure(&args).await {
        Ok(text) => {
            use std::io::Write as _;
            // Where nobody reads it, nobody misses it.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            0
        }
        Err(failed) => failed.tell(),
    }
}

async fn measure(args: &BenchArgs) -> Result<String, Failed> {
    let suite = Suite::find(&args.path)?;
    let built = suite.build().await?;
    let directory = suite.first_case().ok_or_else(|| Failed::new(EXIT_USAGE, "there is no case"))?;
    let mut case = Case::read(directory).map_err(|error| unreadable(&error))?;
    if args.demo {
        case.given = demo(&case).await?;
    }
    let engine = Engine::new(built.as_ref().and_then(super::test::cache)).map_err(Failed::unavailable)?;
    let failed = |why| Failed::new(EXIT_FAILED, why);
    let plugin = load(&engine, &case, directory, built.as_ref()).await.map_err(failed)?;
    let nothing = baseline(&engine, plugin.world()).await?;
    let empty = Case {
        settings: crate::case::CaseFile { config: serde_json::json!({}), ..case.settings.clone() },
        ..case.clone()
    };
    let mut sides = [Side::start(&plugin, &case).await?, Side::start(&nothing, &empty).await?];
    let turns = args.seconds * 1_000 / TURN.as_millis() as u64 / 2;
    for _ in 0..turns.max(1) {
        for side in &mut sides {
            side.turn().await?;
        }
    }
    Ok(table(&sides, directory, args.demo))
}

async fn baseline(engine: &Engine, world: World) -> Result<Plugin, Failed> {
    let wasm = if world == World::Sink { SINK } else { STEP };
    engine.load("nothing", wasm).await.map_err(Failed::unavailable)
}

/// Made-up log lines of the case's first input.
async fn demo(case: &Case) -> Result<Vec<Given>, Failed> {
    let settings = DemoSource { seed: 1, rate: None, count: Some(BATCH_RECORDS as u64), start: Some(Timestamp(0)) };
    let opened = DemoReader::open("demo", &settings, None, Mode::Drain, Arc::new(SystemClock));
    let mut reader = opened.map_err(Failed::unavailable)?;
    let input = case.settings.inputs.first().cloned().unwrap_or_else(|| "input".into());
    let mut records = Batch::default();
    while let Some(chunk) = reader.next().await.map_err(Failed::unavailable)? {
        records.append(&chunk.records);
    }
    Ok(vec![Given { input, records }])
}

/// One of the two that are compared.
struct Side {
    bench: Bench,
    /// What is given again and again.
    records: Batch,
    /// How much later the next round is than the first, in milliseconds and in offsets.
    later: (i64, u64),
    given: u64,
    bytes: u64,
    out: u64,
    rejected: u64,
    cpu: Duration,
}

impl Side {
    async fn start(plugin: &Plugin, case: &Case) -> Result<Side, Failed> {
        let bench = Bench::start(plugin, case).await.map_err(|why| Failed::new(EXIT_FAILED, why))?;
        let first = case.settings.inputs.first();
        let of_first = case.given.iter().filter(|given| Some(&given.input) == first);
        let mut once = Batch::default();
        of_first.for_each(|given| once.append(&given.records));
        if once.is_empty() {
            return Err(Failed::new(EXIT_USAGE, "the case has no records to measure with; `--demo` makes some up"));
        }
        let mut side = Side {
            bench,
            records: Batch::default(),
            later: (0, 0),
            given: 0,
            bytes: 0,
            out: 0,
            rejected: 0,
            cpu: Duration::ZERO,
        };
        while side.records.len() < BATCH_RECORDS {
            let round = side.round(&once);
            side.records.append(&round);
        }
        side.later = (0, 0);
        Ok(side)
    }

    /// The same records, later than those before: a plugin that goes by time sees it go on.
    fn round(&mut self, records: &Batch) -> Batch {
        let mut round = Batch::with_capacity(records.len(), records.bytes());
        let (ms, offsets) = self.later;
        for (record, offset) in records.iter().zip(offsets..) {
            let timestamp = Timestamp(record.timestamp.0.saturating_add(ms));
            round.push(&Record { offset: Offset(offset), timestamp, ..record });
        }
        let times = || records.iter().map(|record| record.timestamp.0);
        let span = times().max().unwrap_or(0).saturating_sub(times().min().unwrap_or(0));
        self.later = (ms.saturating_add(span + 1), offsets + records.len() as u64);
        round
    }

    /// Runs batches for a while.
    async fn turn(&mut self) -> Result<(), Failed> {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < TURN {
            let records = self.records.clone();
            let batch = self.round(&records);
            let before = cpu_time()?;
            let (out, rejected) = self.bench.give(&batch).await.map_err(|why| Failed::new(EXIT_FAILED, why))?;
            self.cpu += cpu_time()?.saturating_sub(before);
            self.given += batch.len() as u64;
            self.bytes += batch.iter().map(|record| record.data_len() as u64).sum::<u64>();
            (self.out, self.rejected) = (self.out + out, self.rejected + rejected);
        }
        Ok(())
    }
}

/// How long the threads of this process have run.
fn cpu_time() -> Result<Duration, Failed> {
    let failed = |error: std::io::Error| Failed::unavailable(format_args!("{THREADS}: {error}"));
    let mut ns = 0;
    for thread in std::fs::read_dir(THREADS).map_err(failed)? {
        // One that has just ended is no more to be asked.
        let text = std::fs::read_to_string(thread.map_err(failed)?.path().join("schedstat")).unwrap_or_default();
        ns += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(ns))
}

fn table(sides: &[Side; 2], case: &Path, demo: bool) -> String {
    let input = if demo { "made-up log lines".to_owned() } else { format!("the records of {}", case.display()) };
    let mut text = format!("batches of {BATCH_RECORDS} records: {input}\n");
    text.push_str(&format!(
        "{:<14}{:>18}{:>14}{:>14}{:>10}{:>10}{:>14}\n",
        "", "records/s of CPU", "ns a record", "MB/s of CPU", "out", "rejected", "memory KiB"
    ));
    for (name, side) in ["the plugin", "does nothing"].iter().zip(sides) {
        let seconds = side.cpu.as_secs_f64().max(1e-9);
        let percent = |count: u64| format!("{:.1} %", 100.0 * count as f64 / side.given.max(1) as f64);
        text.push_str(&format!(
            "{name:<14}{:>18.0}{:>14.0}{:>14.1}{:>10}{:>10}{:>14}\n",
            side.given as f64 / seconds,
            1e9 * seconds / side.given.max(1) as f64,
            side.bytes as f64 / 1e6 / seconds,
            percent(side.out),
            percent(side.rejected),
            side.bench.memory_bytes().map_or_else(|| "-".to_owned(), |bytes| (bytes / 1024).to_string()),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The components are kept as bytes, as the program has no assembler for their text.
    #[tokio::test]
    async fn the_baselines_do_nothing() {
        let engine = Engine::new(None).unwrap();
        let mut records = Batch::default();
        (0..3).for_each(|_| records.push(&Record::of(b"a", Timestamp(0))));
        let case = Case { given: vec![Given { input: "input".into(), records }], ..Case::default() };
        for world in [World::Transform, World::StatefulTransform, World::Sink] {
            let plugin = baseline(&engine, world).await.unwrap();
            let mut side = Side::start(&plugin, &case).await.unwrap();
            side.turn().await.unwrap();
            let out = if world == World::Sink { 0 } else { side.given };
            assert!(side.given >= 1_000 && side.out == out && side.rejected == 0, "{world}");
        }
    }
}
