//! What `weir run` shows of its work: a line on a terminal that is redrawn, log lines elsewhere, and the summary.
//!
//! Text is made of snapshots by functions that do nothing else; [`Screen`] draws it. Knows nothing of how an appliance
//! works, only what it counts.

use std::collections::VecDeque;
use std::io::{Result, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::api::PipelineStatus;
use crate::appliance::Status;
use crate::store::{PositionKey, Store};

/// How often the line is redrawn.
const DRAW_EVERY: Duration = Duration::from_millis(333);
/// How many drawings the rates look back: about a second.
const RATE_DRAWINGS: usize = 3;
/// How often a log line is written where there is no terminal, if anything has happened.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// What the line fits in.
const COLUMNS: usize = 79;

/// What an appliance has counted by a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Since it began to run.
    pub elapsed: Duration,
    /// The pipelines by name.
    pub pipelines: Vec<PipelineStatus>,
    /// Records that wait in streams and topics for pipelines that read them, counted once for each.
    pub lag: u64,
    /// Records that listeners lost by overflow before they could be made durable (UDP).
    pub dropped: u64,
}

impl Snapshot {
    /// What a running appliance has counted now.
    pub async fn of(status: &Status, begun: Instant) -> Snapshot {
        let pipelines =
            status.pipelines.all().iter().map(|(name, metrics)| PipelineStatus::of(name, metrics)).collect();
        let known = status.known();
        let dropped =
            known.received.values().map(|received| received.dropped.load(std::sync::atomic::Ordering::Relaxed));
        Snapshot {
            elapsed: begun.elapsed(),
            pipelines,
            lag: lag(&*status.store, &known.reads).await + status.lags.total(),
            dropped: dropped.sum(),
        }
    }

    fn total(&self) -> PipelineStatus {
        let sum = |number: fn(&PipelineStatus) -> u64| self.pipelines.iter().map(number).sum();
        PipelineStatus {
            name: "total".into(),
            records_in: sum(|pipeline| pipeline.records_in),
            records_out: sum(|pipeline| pipeline.records_out),
            filtered: sum(|pipeline| pipeline.filtered),
            late: sum(|pipeline| pipeline.late),
            dead: sum(|pipeline| pipeline.dead),
            restarts: sum(|pipeline| pipeline.restarts),
        }
    }
}

/// How many records lie between the committed positions and the ends of the streams. A stream that cannot be read now
/// counts as nothing: whoever needs it will say so.
async fn lag(store: &dyn Store, reads: &[PositionKey]) -> u64 {
    let mut lag = 0;
    for key in reads {
        let Ok(bounds) = store.bounds(&key.input, key.partition).await else { continue };
        let position = store.position(key).await.ok().flatten();
        let next = position.and_then(|position| position.offset()).unwrap_or(bounds.start).max(bounds.start);
        lag += bounds.end.0.saturating_sub(next.0);
    }
    lag
}

/// The progress in one line: rates between two snapshots, what waits, what went wrong, and the sum.
pub fn line(before: &Snapshot, now: &Snapshot) -> String {
    let (earlier, total) = (before.total(), now.total());
    let seconds = now.elapsed.saturating_sub(before.elapsed).as_secs_f64();
    let rate =
        |from: u64, to: u64| if seconds > 0.0 { (to.saturating_sub(from) as f64 / seconds).round() as u64 } else { 0 };
    let (records_in, records_out) =
        (rate(earlier.records_in, total.records_in), rate(earlier.records_out, total.records_out));
    let mut parts = vec![
        clock(now.elapsed),
        format!("{}/s in", short(records_in)),
        format!("{}/s out", short(records_out)),
        format!("lag {}", short(now.lag)),
        format!("dead {}", short(total.dead)),
    ];
    let troubles = [("restarts", total.restarts), ("dropped", now.dropped)];
    parts.extend(
        troubles.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {}", short(*count))),
    );
    parts.push(format!("{} records in all", short(total.records_in)));
    parts.join("  ").chars().take(COLUMNS).collect()
}

/// A number in at most four digits.
fn short(number: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    match UNITS.iter().find(|(unit, _)| number >= *unit) {
        _ if number < 10_000 => number.to_string(),
        None => number.to_string(),
        Some((unit, name)) if number / unit >= 100 => format!("{}{name}", number / unit),
        Some((unit, name)) => format!("{}.{}{name}", number / unit, number % unit * 10 / unit),
    }
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The summary for people: a row for each pipeline and, where there are several, their sum.
pub fn summary(at_end: &Snapshot) -> String {
    let mut rows = at_end.pipelines.clone();
    if rows.len() > 1 {
        rows.push(at_end.total());
    }
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default().max("pipeline".len());
    let mut text = format!("{:<width$} {:>12} {:>12} {:>12} {:>12}\n", "pipeline", "in", "out", "filtered", "dead");
    for PipelineStatus { name, records_in, records_out, filtered, dead, .. } in &rows {
        text.push_str(&format!("{name:<width$} {records_in:>12} {records_out:>12} {filtered:>12} {dead:>12}\n"));
    }
    let total = at_end.total();
    text.push_str(&format!("{:.2} s", at_end.elapsed.as_secs_f64()));
    for (name, count) in
        [("restarts", total.restarts), ("records dropped", at_end.dropped), ("records waiting", at_end.lag)]
    {
        if count > 0 {
            text.push_str(&format!(", {count} {name}"));
        }
    }
    text.push('\n');
    text
}

/// The summary for programs.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    seconds: f64,
    pipelines: &'a [PipelineStatus],
    total: PipelineStatus,
    lag: u64,
    dropped: u64,
}

/// The summary as one line of JSON.
pub fn summary_json(at_end: &Snapshot) -> String {
    let summary = Summary {
        seconds: at_end.elapsed.as_secs_f64(),
        pipelines: &at_end.pipelines,
        total: at_end.total(),
        lag: at_end.lag,
        dropped: at_end.dropped,
    };
    // Text and numbers have a JSON form.
    serde_json::to_string(&summary).unwrap_or_default() + "\n"
}

/// Shows the progress for as long as the future is polled; what is drawn goes when it is dropped.
pub async fn show(screen: &Screen, status: &Status, begun: Instant) {
    if screen.draws() { draw(screen, status, begun).await } else { log(status, begun).await }
}

async fn draw(screen: &Screen, status: &Status, begun: Instant) {
    let _cleared = Cleared(screen);
    let mut snapshots = VecDeque::from([Snapshot::of(status, begun).await]);
    loop {
        tokio::time::sleep(DRAW_EVERY).await;
        let now = Snapshot::of(status, begun).await;
        screen.draw(line(snapshots.front().unwrap_or(&now), &now));
        snapshots.push_back(now);
        if snapshots.len() > RATE_DRAWINGS {
            snapshots.pop_front();
        }
    }
}

async fn log(status: &Status, begun: Instant) {
    let mut before = Snapshot::of(status, begun).await;
    loop {
        tokio::time::sleep(LOG_EVERY).await;
        let now = Snapshot::of(status, begun).await;
        if now.pipelines != before.pipelines || now.lag != before.lag || now.dropped != before.dropped {
            tracing::info!("{}", line(&before, &now));
        }
        before = now;
    }
}

/// Takes the line away when the progress ends.
struct Cleared<'a>(&'a Screen);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.draw(String::new());
    }
}

/// Standard error, with a line at its end that is redrawn. The log is written through it, so that it comes above the
/// line. Clones are the same screen.
#[derive(Clone)]
pub struct Screen(Arc<Mutex<Inner>>);

struct Inner {
    to: Box<dyn Write + Send>,
    draws: bool,
    line: String,
}

impl Screen {
    /// A screen. Where `draws` is false (no terminal, or records go to the same one) it passes the log on and no more.
    pub fn new(to: Box<dyn Write + Send>, draws: bool) -> Screen {
        Screen(Arc::new(Mutex::new(Inner { to, draws, line: String::new() })))
    }

    fn draws(&self) -> bool {
        self.inner().draws
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another line in the place of the last one; an empty one: none.
    fn draw(&self, line: String) {
        // Where the terminal is gone, nobody misses the line.
        let _ = self.inner().draw(line);
    }
}

impl Inner {
    fn draw(&mut self, line: String) -> Result<()> {
        if !self.draws || (line.is_empty() && self.line.is_empty()) {
            return Ok(());
        }
        self.line = line;
        // Back to the first column, the line, and nothing behind it.
        write!(self.to, "\r{}\x1b[K", self.line)?;
        self.to.flush()
    }

    /// Writes whole lines above the drawn one.
    fn write_above(&mut self, bytes: &[u8]) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.to.write_all(b"\r\x1b[K")?;
        }
        self.to.write_all(bytes)?;
        if line.is_empty() { self.to.flush() } else { self.draw(line) }
    }
}

/// A writer of log lines.
pub struct ScreenWriter(Screen);

impl Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.inner().write_above(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.0.inner().to.flush()
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = ScreenWriter;

    fn make_writer(&'a self) -> ScreenWriter {
        ScreenWriter(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::Known;
    use crate::record::{Batch, Offset, Partition, Position, Record, Timestamp};
    use crate::store::committer::Committer;
    use crate::store::memory::MemoryStore;
    use crate::store::{Append, Changes, Retention, StreamSpec};

    fn pipeline(name: &str, records_in: u64, records_out: u64, filtered: u64, dead: u64) -> PipelineStatus {
        PipelineStatus { name: name.into(), records_in, records_out, filtered, late: 0, dead, restarts: 0 }
    }

    fn snapshot(seconds: u64, pipelines: &[PipelineStatus]) -> Snapshot {
        Snapshot { elapsed: Duration::from_secs(seconds), pipelines: pipelines.to_vec(), ..Snapshot::default() }
    }

    #[test]
    fn the_line_tells_rates_and_sums() {
        let before = snapshot(10, &[pipeline("parse", 1000, 1000, 0, 0)]);
        let now = snapshot(12, &[pipeline("parse", 25_690, 25_000, 0, 3), pipeline("keep", 10, 4, 6, 0)]);
        let now = Snapshot { lag: 1234, ..now };
        assert_eq!(line(&before, &now), "00:00:12  12.3k/s in  12.0k/s out  lag 1234  dead 3  25.7k records in all");
        assert!(line(&now, &now).contains("  0/s in  0/s out  "));
    }

    #[test]
    fn troubles_are_told_only_when_there_are_some_and_the_line_fits() {
        let mut worst = pipeline("p", u64::MAX, u64::MAX, 0, u64::MAX);
        worst.restarts = u64::MAX;
        let now = Snapshot { lag: u64::MAX, dropped: 12, ..snapshot(360_000, &[worst]) };
        let line = line(&Snapshot::default(), &now);
        assert!(line.contains("restarts") && line.chars().count() <= COLUMNS, "{line}");
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (99_999, "99.9k"),
            (100_000, "100k"),
            (1_250_000, "1.2M"),
            (999_999_999, "999M"),
            (1_000_000_000, "1.0G"),
            (2_000_000_000_000, "2.0T"),
        ];
        cases.iter().for_each(|(number, text)| assert_eq!(short(*number), *text));
    }

    #[test]
    fn the_summary_has_a_row_for_each_pipeline_and_a_sum() {
        let at_end = snapshot(2, &[pipeline("keep", 2000, 113, 1887, 0), pipeline("parse", 2000, 1999, 0, 1)]);
        let expected = "\
pipeline           in          out     filtered         dead
keep             2000          113         1887            0
parse            2000         1999            0            1
total            4000         2112         1887            1
2.00 s
";
        assert_eq!(summary(&at_end), expected);
    }

    #[test]
    fn the_summary_of_one_pipeline_needs_no_sum_and_tells_troubles() {
        let mut one = pipeline("a-pipeline-with-a-name", 1, 1, 0, 0);
        one.restarts = 2;
        let at_end = Snapshot { dropped: 3, lag: 4, ..snapshot(1, &[one]) };
        let expected = "\
pipeline                         in          out     filtered         dead
a-pipeline-with-a-name            1            1            0            0
1.00 s, 2 restarts, 3 records dropped, 4 records waiting
";
        assert_eq!(summary(&at_end), expected);
    }

    #[test]
    fn the_summary_for_programs_is_one_line() {
        let at_end = snapshot(2, &[pipeline("keep", 2000, 113, 1887, 0)]);
        let expected = "{\"seconds\":2.0,\"pipelines\":[{\"name\":\"keep\",\"records_in\":2000,\"records_out\":113,\
            \"filtered\":1887,\"late\":0,\"dead\":0,\"restarts\":0}],\"total\":{\"name\":\"total\",\"records_in\":2000,\
            \"records_out\":113,\"filtered\":1887,\"late\":0,\"dead\":0,\"restarts\":0},\"lag\":0,\"dropped\":0}\n";
        assert_eq!(summary_json(&at_end), expected);
    }

    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    impl Terminal {
        fn text(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    #[test]
    fn log_lines_come_above_the_drawn_line() {
        let terminal = Terminal::default();
        let screen = Screen::new(Box::new(terminal.clone()), true);
        screen.make_writer().write_all(b"first\n").unwrap();
        assert_eq!(terminal.text(), "first\n");
        screen.draw("50%".into());
        screen.make_writer().write_all(b"second\n").unwrap();
        assert_eq!(terminal.text(), "\r50%\x1b[K\r\x1b[Ksecond\n\r50%\x1b[K");
        screen.draw(String::new());
        screen.draw(String::new());
        assert_eq!(terminal.text(), "\r\x1b[K");
    }

    #[test]
    fn nothing_is_drawn_where_there_is_no_terminal() {
        let terminal = Terminal::default();
        let screen = Screen::new(Box::new(terminal.clone()), false);
        screen.draw("50%".into());
        screen.make_writer().write_all(b"line\n").unwrap();
        assert_eq!(terminal.text(), "line\n");
    }

    /// An appliance that has read 3 of the 5 records of a stream.
    async fn status() -> Status {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let retention = Retention { age_ms: None, bytes_max: 1 << 30, compact: false };
        store.create_stream(&StreamSpec { name: "s".into(), partitions: 1, retention }).await.unwrap();
        let mut records = Batch::default();
        (0..5).for_each(|_| records.push(&Record::of(b"x", Timestamp(0))));
        let key = PositionKey { owner: "p".into(), input: "s".into(), partition: Partition(0) };
        let append = Append { stream: "s".into(), partition: Partition(0), records };
        let position = (key.clone(), Position::at(Offset(3)));
        let changes = Changes { positions: vec![position], appends: vec![append], ..Changes::default() };
        store.commit(&[changes], Timestamp(0)).await.unwrap();
        let unread = PositionKey { owner: "q".into(), ..key.clone() };
        let gone = PositionKey { input: "gone".into(), ..key.clone() };
        let clock = Arc::new(crate::clock::SystemClock);
        let (committer, _) = Committer::new(store.clone(), clock, Default::default());
        let status = Status::new(store, committer);
        status.pipelines.set_names([&"p".into()].into_iter());
        status.pipelines.of("p").records_in.add(3);
        status.set_known(Known { reads: vec![key, unread, gone], ..Known::default() });
        status
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_drawn_and_taken_away() {
        let (status, terminal) = (status().await, Terminal::default());
        let screen = Screen::new(Box::new(terminal.clone()), true);
        let shown = tokio::time::timeout(DRAW_EVERY * 2, show(&screen, &status, Instant::now())).await;
        assert!(shown.is_err());
        let text = terminal.text();
        assert!(text.starts_with("\r00:00:00  0/s in  0/s out  lag 7  dead 0  3 records in all\x1b[K"), "{text:?}");
        assert!(text.ends_with("\r\x1b[K"), "{text:?}");
    }
}
