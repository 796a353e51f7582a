//! The same job for all: a file of sshd lines in, every line parsed, those with "Invalid user" out as JSON lines.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::input::{self, Input};
use super::measure::{self, Cost, End};
use super::peers::{Peer, Ready};
use super::{BenchArgs, median, mib, publish, report, weir};
use crate::error::{Context, Error, Result};
use crate::say;
use crate::workspace::Workspace;

/// A program and what its runs cost.
struct Contender {
    name: String,
    costs: Vec<Cost>,
}

/// Runs all programs in turn, as often as asked for, and publishes the medians.
pub fn run(workspace: &Workspace, binary: &Path, arguments: &BenchArgs) -> Result<()> {
    let peers = [Peer::SyslogNg.prepare(workspace)?, Peer::Rsyslog.prepare(workspace)?];
    let directory = workspace.target.join("bench");
    fs::create_dir_all(&directory).context(|| directory.display())?;
    let lines = directory.join("lines.log");
    say::line(format_args!("Writing {} lines to {}.", arguments.lines, lines.display()));
    let input = input::write(&lines, arguments.lines, arguments.input.as_deref())?;
    let mut contenders = vec![Contender { name: "weir".to_owned(), costs: Vec::new() }];
    contenders.extend(peers.iter().map(|ready| Contender { name: title(ready), costs: Vec::new() }));
    for round in 1..=arguments.runs {
        for (index, contender) in contenders.iter_mut().enumerate() {
            let peer = index.checked_sub(1).and_then(|index| peers.get(index));
            let cost = one_run(peer, binary, &lines, &directory, input).context(|| contender.name.clone())?;
            say::line(format_args!(
                "run {round}: {}: {:.2} s CPU, {:.2} s",
                contender.name,
                cost.cpu.as_secs_f64(),
                cost.wall.as_secs_f64()
            ));
            contender.costs.push(cost);
        }
    }
    publish(workspace, "The same job beside others", &page(&contenders, input, arguments))
}

fn title(ready: &Ready) -> String {
    format!("{} {}", ready.peer.name(), ready.version)
}

/// One run in an empty directory. The number of lines that come out has to be right.
fn one_run(peer: Option<&Ready>, binary: &Path, lines: &Path, directory: &Path, input: Input) -> Result<Cost> {
    let directory = fresh(&directory.join("run"))?;
    let output = directory.join("out.jsonl");
    let (mut command, end) = match peer {
        Some(ready) => (ready.job(lines, &output, &directory)?, End::IsTold),
        None => (weir::job(binary, lines, &output, &directory, &["--once"])?, End::Exits),
    };
    let cost = measure::run(&mut command, &directory.join("log"), &output, input::LAST, end)?;
    let written = count_lines(&output)?;
    if written != input.kept {
        return Err(Error::new(format_args!("expected {} lines in the output, got {written}", input.kept)));
    }
    Ok(cost)
}

/// An empty directory in the place of what is there.
pub fn fresh(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory).context(|| directory.display())?;
    }
    fs::create_dir_all(directory).context(|| directory.display())?;
    Ok(directory.to_owned())
}

fn count_lines(path: &Path) -> Result<u64> {
    let file = fs::File::open(path).context(|| path.display())?;
    Ok(BufReader::new(file).split(b'\n').count() as u64)
}

fn page(contenders: &[Contender], input: Input, arguments: &BenchArgs) -> String {
    let of = |contender: &Contender, number: fn(&Cost) -> f64| median(contender.costs.iter().map(number).collect());
    let cpu = |contender: &Contender| of(contender, |cost| cost.cpu.as_secs_f64());
    let ours = contenders.first().map_or(f64::NAN, cpu);
    let row = |contender: &Contender| {
        let cpu = cpu(contender);
        vec![
            contender.name.clone(),
            format!("{:.0}", input.lines as f64 / cpu),
            format!("{cpu:.2}"),
            format!("{:.2}", of(contender, |cost| cost.wall.as_secs_f64())),
            mib(of(contender, |cost| cost.rss_max as f64)),
            format!("{:.2}", cpu / ours),
        ]
    };
    let head = ["program", "records per CPU second", "CPU s", "wall s", "peak RSS MiB", "CPU against weir"];
    let table = report::table(&head, &contenders.iter().map(row).collect::<Vec<_>>());
    let lines = match &arguments.input {
        Some(file) => format!("the lines of `{}`, repeated", file.file_name().unwrap_or_default().display()),
        None => "generated sshd lines, the same every time".to_owned(),
    };
    format!(
        "{} lines ({lines}) are read from a file; every line is parsed; the {} with \"{}\" are written to a file as JSON \
         lines with timestamp, host, appname, procid and message. Each program ran {} times, in turn; these are medians. \
         CPU is user and system time of the whole process, its start and end included. All outputs had the same number of \
         lines.\n\n\
         {table}\n\n\
         The settings are in `deploy/xtask/src/bench/peers.rs`: of those tried, the fastest that parse every line and lose \
         nothing (syslog-ng: one thread, flow control; rsyslog: a direct queue, mmnormalize). Weir commits with fsync before \
         a line counts as read; the others do not sync.",
        input.lines,
        input.kept,
        input::KEPT,
        arguments.runs
    )
}
