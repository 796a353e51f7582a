//! One frame of `weir top` as text: made of two samples, by functions that do nothing else.

use std::collections::BTreeMap;

use super::Sample;
use crate::api::{PipelineStatus, Status, StepCounts};

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Plain,
    Bold,
    Dim,
    Bad,
}

/// Lines, the first of which is a title.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame(Vec<(Look, String)>);

/// What the rates of a frame are made of.
struct Rates<'a> {
    before: BTreeMap<&'a str, &'a PipelineStatus>,
    steps: BTreeMap<(&'a str, &'a str), &'a StepCounts>,
    seconds: f64,
}

impl Frame {
    /// What happened between two samples.
    pub fn of(before: &Sample, now: &Sample) -> Self {
        Frame::between(&before.status, &now.status, now.at.duration_since(before.at).as_secs_f64())
    }

    fn between(before: &Status, now: &Status, seconds: f64) -> Self {
        let rates = Rates {
            before: before.pipelines.iter().map(|of| (of.name.as_str(), of)).collect(),
            steps: before.steps.iter().map(|of| ((of.pipeline.as_str(), of.step.as_str()), of)).collect(),
            seconds,
        };
        let title = format!(
            "weir {}  pid {}  {} on disk, {} of it remembered",
            now.version,
            now.pid,
            bytes(now.disk.bytes),
            bytes(now.disk.state_bytes)
        );
        let heads =
            row("pipeline / step", ["in/s", "out/s", "filtered/s", "dead", "lag", "p99", "memory"].map(Into::into));
        let mut lines = vec![(Look::Bold, title), (Look::Plain, String::new()), (Look::Dim, heads)];
        for pipeline in &now.pipelines {
            lines.push(rates.pipeline(pipeline, now));
            let mut steps: Vec<_> = now.steps.iter().filter(|step| step.pipeline == pipeline.name).collect();
            // As records meet them.
            let order = now.versions.iter().find(|of| of.pipeline == pipeline.name);
            steps.sort_by_key(|step| order.and_then(|of| of.steps.iter().position(|at| at.step == step.step)));
            lines.extend(steps.into_iter().map(|step| rates.step(step)));
        }
        let streams = now.streams.iter().map(|stream| {
            let held: u64 = stream.partitions.iter().map(|of| of.bytes).sum();
            let records: u64 = stream.partitions.iter().map(|of| of.end.saturating_sub(of.start)).sum();
            (
                Look::Plain,
                format!(
                    "{:<28}{:>10}{:>12}{:>12}",
                    stream.name,
                    short(records as f64),
                    bytes(held),
                    stream.partitions.len()
                ),
            )
        });
        lines.push((Look::Plain, String::new()));
        lines.push((Look::Dim, format!("{:<28}{:>10}{:>12}{:>12}", "stream", "records", "bytes", "partitions")));
        lines.extend(streams);
        Frame(lines)
    }

    /// As text without colours.
    pub fn plain(&self) -> String {
        self.0.iter().map(|(_, line)| format!("{}\n", line.trim_end())).collect()
    }

    /// As a terminal draws it, from its upper left corner on.
    pub fn drawn(&self, columns: usize, rows: usize) -> String {
        let mut text = String::from("\x1b[H");
        for (look, line) in self.0.iter().take(rows.saturating_sub(1)) {
            let begin = match look {
                Look::Plain => "",
                Look::Bold => "\x1b[1m",
                Look::Dim => "\x1b[2m",
                Look::Bad => "\x1b[31m",
            };
            let line: String = line.chars().take(columns).collect();
            text.push_str(&format!("{begin}{line}\x1b[0m\x1b[K\r\n"));
        }
        text + "\x1b[2mq: quit\x1b[0m\x1b[J"
    }
}

impl Rates<'_> {
    fn rate(&self, before: Option<u64>, now: u64) -> String {
        let grown = now.saturating_sub(before.unwrap_or(now)) as f64;
        short(if self.seconds > 0.0 { grown / self.seconds } else { 0.0 })
    }

    fn pipeline(&self, now: &PipelineStatus, status: &Status) -> (Look, String) {
        let before = self.before.get(now.name.as_str());
        let lag: u64 = status.lag.iter().filter(|lag| lag.pipeline == now.name).map(|lag| lag.records).sum();
        let commits = status.commits.iter().find(|of| of.pipeline == now.name);
        let cells = [
            self.rate(before.map(|of| of.records_in), now.records_in),
            self.rate(before.map(|of| of.records_out), now.records_out),
            self.rate(before.map(|of| of.filtered), now.filtered),
            short(now.dead as f64),
            short(lag as f64),
            commits.map_or_else(String::new, |of| time(of.p99_us)),
            if now.restarts > 0 { format!("{} restarts", now.restarts) } else { String::new() },
        ];
        // Whoever looks is to see what began again since the sample before.
        let restarts = before.is_some_and(|before| before.restarts < now.restarts);
        (if restarts { Look::Bad } else { Look::Bold }, row(&now.name, cells))
    }

    fn step(&self, now: &StepCounts) -> (Look, String) {
        let before = self.steps.get(&(now.pipeline.as_str(), now.step.as_str()));
        let cells = [
            self.rate(before.map(|of| of.records_in), now.records_in),
            self.rate(before.map(|of| of.records_out), now.records_out),
            self.rate(before.map(|of| of.filtered), now.filtered),
            short(now.rejected as f64),
            String::new(),
            time(now.call_p99_us),
            bytes(now.memory_bytes),
        ];
        (Look::Plain, row(&format!("  {}", now.step), cells))
    }
}

fn row(name: &str, cells: [String; 7]) -> String {
    let name: String = name.chars().take(27).collect();
    let mut line = format!("{name:<28}");
    for (cell, width) in cells.iter().zip([10, 10, 12, 9, 9, 10, 12]) {
        line.push_str(&format!("{cell:>width$}"));
    }
    line
}

/// A number in few digits.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1}G", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

fn bytes(number: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", number as f64 / *unit as f64),
        None => format!("{number} B"),
    }
}

/// A time that was not exceeded; 0: there is none.
fn time(us: u64) -> String {
    match us {
        0 => "-".into(),
        us if us < 1_000 => format!("{us} µs"),
        us if us < 1_000_000 => format!("{} ms", us as f64 / 1e3),
        us => format!("{} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(records: u64) -> Status {
        let json = serde_json::json!({
            "version": "1.2.3", "pid": 7, "lag": [
                {"pipeline": "parse", "source": "s", "topic": "t", "partition": 0, "records": 12_345},
                {"pipeline": "other", "source": "s", "topic": "t", "partition": 0, "records": 1},
            ],
            "disk": {"bytes": 5_000_000, "state_bytes": 2048}, "versions": [],
            "pipelines": [{"name": "parse", "records_in": records, "records_out": records / 2, "filtered": 0, "late": 0, "dead": 3, "restarts": 0}],
            "steps": [{"pipeline": "parse", "step": "syslog-parser", "records_in": records, "records_out": records, "filtered": 0,
                "rejected": 3, "failures": 0, "calls": 9, "call_p50_us": 100, "call_p99_us": 2500, "memory_bytes": 1 << 20}],
            "commits": [{"pipeline": "parse", "count": 3, "p50_us": 1000, "p99_us": 5000}],
            "streams": [{"name": "logins", "retention_ms": null, "retention_bytes": 1, "partitions": [
                {"partition": 0, "start": 5, "end": 25, "bytes": 100}, {"partition": 1, "start": 0, "end": 1, "bytes": 50}]}],
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_frame_shows_rates_and_what_waits() {
        let text = Frame::between(&status(1000), &status(41_000), 2.0).plain();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "weir 1.2.3 pid 7 4.8 MiB on disk, 2.0 KiB of it remembered");
        assert_eq!(lines[3], ["parse", "20.0k", "10.0k", "0", "3", "12.3k", "5", "ms"]);
        assert_eq!(lines[4], ["syslog-parser", "20.0k", "20.0k", "0", "3", "2.5", "ms", "1.0", "MiB"]);
        assert_eq!(lines[7], ["logins", "21", "150", "B", "2"]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn a_small_terminal_gets_what_fits() {
        let drawn = Frame::between(&status(0), &status(1), 1.0).drawn(10, 3);
        assert_eq!(drawn.matches("\r\n").count(), 2);
        assert!(drawn.contains("weir 1.2.3") && !drawn.contains("pid"));
    }
}
