//! Records enriched from a large table: what the table costs to load and to keep, how soon an appliance that holds it is at
//! work again, and what a lookup costs.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use super::compare::fresh;
use super::measure::{Cost, End, Running, run as measure};
use super::{BenchArgs, mib, publish, report};
use crate::error::{Context, Result};
use crate::say;
use crate::workspace::Workspace;

/// The rows of the table, where no other number is asked for.
const ROWS: u64 = 10_000_000;
/// The last record of a run.
const LAST: &str = "the-last-one";

/// Measures, and publishes the results.
pub fn run(workspace: &Workspace, binary: &Path, arguments: &BenchArgs) -> Result<()> {
    let rows = if arguments.rows == 0 { ROWS } else { arguments.rows };
    let bench =
        Bench { directory: fresh(&workspace.target.join("bench/tables"))?, binary, rows, records: arguments.lines };
    say::line(format_args!("{rows} rows, {} records", bench.records));
    bench.write_rows()?;
    bench.write_records("first.ndjson", 0)?;
    bench.write_records("records.ndjson", bench.records)?;
    // Compiles the plugins, which is no part of what follows.
    bench.once("warm", &bench.pipelines("warm", "first.ndjson", false), "warm.ndjson")?;
    let copied = bench.once("copy", &bench.copy("records.ndjson"), "copied.ndjson")?;
    let loaded = bench.once("load", &bench.pipelines("data", "first.ndjson", true), "out.ndjson")?;
    let disk = size(&bench.directory.join("data"))?;
    let (restart, idle) = bench.restart()?;
    let enriched = bench.once("enrich", &bench.pipelines("data", "records.ndjson", true), "out.ndjson")?;
    let page = page(&bench, &[copied, loaded, enriched], disk, restart.as_secs_f64(), idle);
    publish(workspace, "Enriching by a large table", &page)
}

struct Bench<'a> {
    directory: std::path::PathBuf,
    binary: &'a Path,
    rows: u64,
    records: u64,
}

impl Bench<'_> {
    fn write_rows(&self) -> Result<()> {
        let rows = (0..self.rows)
            .map(|n| format!(r#"{{"host":"{}","owner":"team-{}","site":"site-{}"}}"#, host(n), n % 97, n % 13));
        self.write("rows.ndjson", rows)
    }

    /// Records of hosts anywhere in the table, and a last one.
    fn write_records(&self, name: &str, count: u64) -> Result<()> {
        let message = "Failed password for invalid user admin from 192.0.2.17 port 52113 ssh2";
        let record = |n: u64| {
            let host = host(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.rows);
            format!(r#"{{"host":"{host}","n":{n},"message":"{message}"}}"#)
        };
        let last = format!(r#"{{"host":"{}","n":0,"message":"{LAST} of {name}"}}"#, host(self.rows - 1));
        self.write(name, (0..count).map(record).chain([last]))
    }

    fn write(&self, name: &str, lines: impl Iterator<Item = String>) -> Result<()> {
        let path = self.directory.join(name);
        let mut file = BufWriter::new(File::create(&path).context(|| path.display())?);
        for line in lines {
            writeln!(file, "{line}").context(|| path.display())?;
        }
        file.flush().context(|| path.display())
    }

    /// Records enriched from the table, which is a stream.
    fn pipelines(&self, data: &str, records: &str, with_rows: bool) -> String {
        let output = if with_rows { "out" } else { data };
        let rows = if with_rows { "rows.ndjson" } else { "first.ndjson" };
        format!(
            "version: 1
data: {data}
sources:
  rows: {{ type: file, path: {rows} }}
  records: {{ type: file, path: {records} }}
pipelines:
  load: {{ from: rows, to: hosts }}
  enrich:
    from: records
    steps:
      - plugin: enricher
        tables: [hosts]
        config: {{ lookups: [ {{ table: hosts, key: {{ field: host }}, take: {{ owner: owner, site: site }} }} ] }}
    to: out
streams: {{ hosts: {{ key: host, retention: {{ bytes: 16GiB }} }} }}
sinks: {{ out: {{ type: file, path: {output}.ndjson }} }}
"
        )
    }

    /// The same records, taken and given without a lookup.
    fn copy(&self, records: &str) -> String {
        format!(
            "version: 1
data: copied-data
sources: {{ records: {{ type: file, path: {records} }} }}
pipelines: {{ copy: {{ from: records, to: out }} }}
sinks: {{ out: {{ type: file, path: copied.ndjson }} }}
"
        )
    }

    fn command(&self, name: &str, pipelines: &str, flags: &[&str]) -> Result<Command> {
        let config = self.directory.join(format!("{name}.yaml"));
        fs::write(&config, pipelines).context(|| config.display())?;
        let mut command = Command::new(self.binary);
        command.current_dir(&self.directory).arg("run").arg(config).args(flags);
        Ok(command)
    }

    fn once(&self, name: &str, pipelines: &str, output: &str) -> Result<Cost> {
        let log = self.directory.join(format!("{name}.log"));
        let mut command = self.command(name, pipelines, &["--once"])?;
        let cost = measure(&mut command, &log, &self.directory.join(output), LAST, End::Exits)?;
        say::line(format_args!(
            "{name}: {:.1} s, {:.1} CPU s, {} MiB",
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            mib(cost.rss_max as f64)
        ));
        Ok(cost)
    }

    /// From a start on the table until a record is enriched, and the memory that is in use then.
    fn restart(&self) -> Result<(std::time::Duration, u64)> {
        self.write_records("again.ndjson", 1)?;
        let log = self.directory.join("restart.log");
        let mut command = self.command("restart", &self.pipelines("data", "again.ndjson", true), &[])?;
        let mut running = Running::start(&mut command, &log)?;
        let restart = running.wait_for_tail(&self.directory.join("out.ndjson"), "of again.ndjson")?;
        let idle = running.rss()?;
        running.tell_to_end()?;
        running.finish(None)?;
        Ok((restart, idle))
    }
}

fn host(n: u64) -> String {
    format!("host-{n:08}.example.net")
}

/// The bytes that a directory takes on disk.
fn size(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(directory).context(|| directory.display())? {
        let entry = entry.context(|| directory.display())?;
        let path = entry.path();
        let about = entry.metadata().context(|| path.display())?;
        bytes += if about.is_dir() { size(&path)? } else { about.blocks() * 512 };
    }
    Ok(bytes)
}

fn page(bench: &Bench<'_>, costs: &[Cost; 3], disk: u64, restart: f64, idle: u64) -> String {
    let [copied, loaded, enriched] = costs;
    let per_cpu = |count: u64, cost: &Cost| count as f64 / cost.cpu.as_secs_f64();
    let base = per_cpu(bench.records, copied);
    let row = |what: &str, count: u64, cost: &Cost| {
        let rate = per_cpu(count, cost);
        vec![
            what.to_owned(),
            format!("{rate:.0}"),
            format!("{:.1}", cost.cpu.as_secs_f64()),
            format!("{:.1}", cost.wall.as_secs_f64()),
            mib(cost.rss_max as f64),
            format!("{:.2}", base / rate),
        ]
    };
    let rows = [
        row("baseline: records copied", bench.records, copied),
        row("rows into a stream and into the table", bench.rows, loaded),
        row("records enriched", bench.records, enriched),
    ];
    let head = ["", "per CPU second", "CPU s", "wall s", "peak RSS MiB", "CPU for one, against the copy"];
    format!(
        "{} rows of a file go into a stream with a key, and from there into the table of a step; then {} records of hosts \
         anywhere in the table are enriched with two fields of it. Measured once.\n\n{}\n\nOn disk the stream and the table \
         take {} MiB together, {:.0} bytes a row. With the table in place it takes {:.0} ms from the start of the appliance \
         until a record is enriched, and {} MiB of memory are in use then.",
        bench.rows,
        bench.records,
        report::table(&head, &rows),
        mib(disk as f64),
        disk as f64 / bench.rows as f64,
        restart * 1000.0,
        mib(idle as f64),
    )
}
