//! From start to first record, and memory when nothing comes: Weir beside syslog-ng with the same one job.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::compare::fresh;
use super::input;
use super::measure::Running;
use super::peers::Peer;
use super::{median, mib, publish, report, weir};
use crate::error::{Context, Result};
use crate::say;
use crate::workspace::Workspace;

/// After the first record, until memory is looked at.
const SETTLED: Duration = Duration::from_secs(2);

/// What was measured of one program, once a run.
#[derive(Default)]
struct Samples {
    first_start: Vec<f64>,
    next_start: Vec<f64>,
    rss: Vec<f64>,
}

/// Measures both programs and publishes the medians.
pub fn run(workspace: &Workspace, binary: &Path, runs: usize) -> Result<()> {
    let peer = Peer::SyslogNg.prepare(workspace)?;
    let directory = workspace.target.join("bench/idle");
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for round in 1..=runs {
        one_run(&mut ours, &directory, |input, output, directory| weir::job(binary, input, output, directory, &[]))?;
        one_run(&mut theirs, &directory, |input, output, directory| peer.job(input, output, directory))?;
        say::line(format_args!("run {round} of {runs} done"));
    }
    let name = format!("{} {}", peer.peer.name(), peer.version);
    publish(workspace, "Start and idle memory", &page(&ours, &theirs, &name))
}

/// Starts a program on a file with one line, looks at its memory once that line is through, ends it, adds a line, and
/// starts it again on what it left behind.
fn one_run(
    samples: &mut Samples,
    directory: &Path,
    job: impl Fn(&Path, &Path, &Path) -> Result<Command>,
) -> Result<()> {
    let directory = fresh(directory)?;
    let (lines, output, log) = (directory.join("lines.log"), directory.join("out.jsonl"), directory.join("log"));
    input::write(&lines, 0, None)?;
    let mut running = Running::start(&mut job(&lines, &output, &directory)?, &log)?;
    samples.first_start.push(running.wait_for_tail(&output, input::LAST)?.as_secs_f64());
    std::thread::sleep(SETTLED);
    samples.rss.push(running.rss()? as f64);
    running.tell_to_end()?;
    running.finish(None)?;
    append(&lines, "Dec 10 11:05:00 gate sshd[1]: Invalid user weir-second-start from 192.0.2.1\n")?;
    let mut running = Running::start(&mut job(&lines, &output, &directory)?, &log)?;
    samples.next_start.push(running.wait_for_tail(&output, "weir-second-start")?.as_secs_f64());
    running.tell_to_end()?;
    running.finish(None).map(drop)
}

fn append(path: &Path, line: &str) -> Result<()> {
    let mut file = OpenOptions::new().append(true).open(path).context(|| path.display())?;
    file.write_all(line.as_bytes()).context(|| path.display())
}

fn page(ours: &Samples, theirs: &Samples, peer: &str) -> String {
    let milliseconds = |samples: &[f64]| median(samples.to_vec()) * 1000.0;
    let row = |what: &str, ours: f64, theirs: f64, show: fn(f64) -> String| {
        vec![what.to_owned(), show(ours), show(theirs), format!("{:.2}", ours / theirs)]
    };
    let ms = |number: f64| format!("{number:.0} ms");
    let memory = |bytes: f64| format!("{} MiB", mib(bytes));
    let rows = [
        row("first start to first record", milliseconds(&ours.first_start), milliseconds(&theirs.first_start), ms),
        row("next start to first record", milliseconds(&ours.next_start), milliseconds(&theirs.next_start), ms),
        row("resident memory, idle", median(ours.rss.clone()), median(theirs.rss.clone()), memory),
    ];
    let table = report::table(&["", "weir", peer, "ratio"], &rows);
    format!(
        "The job of the section above on a file with one line: the time from the program's start until its output file holds \
         the record, and the memory two seconds later. The first start is in an empty directory, the next goes on \
         from what the first left there.\n\n{table}"
    )
}
