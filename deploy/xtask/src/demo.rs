//! `cargo xtask demo`: the first look at Weir, for someone who has just cloned it. Says what happens at every step.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build::{self, Profile};
use crate::error::{Context, Error, Result};
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// How many records are shown as they come, and how many of the last ones.
const FIRST: usize = 8;
const LAST: usize = 3;

/// Builds all, runs the example, and explains it.
pub fn run(workspace: &Workspace) -> Result<()> {
    say::line(
        "This builds Weir with its stock plugins and runs an example: made-up auth logs of a few hosts go in, a plugin\n\
         parses every line, an SQL statement keeps the break-in attempts, and they come out here and in a file.\n\
         The first build takes some minutes; the example itself takes a few seconds.",
    );
    say::heading("1 of 4: build");
    say::line("Plugins are compiled to WebAssembly, then the program that runs them and carries them inside.");
    let binary = build::build(workspace, Profile::Release)?;
    let directory = lay_out(workspace)?;
    say::heading("2 of 4: the pipeline file");
    let file = directory.join("demo.yaml");
    say::line(fs::read_to_string(&file).context(|| file.display())?);
    say::heading("3 of 4: run");
    say::line("Each line below is a record that passed both steps. The logs are made up at 5,000 lines a second.\n");
    let shown = run_once(&binary, &file)?;
    say::heading("4 of 4: what happened");
    conclude(&binary, &file, shown)
}

/// A fresh directory in the target directory with a copy of the example: nothing is written beside the original.
fn lay_out(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("demo");
    if directory.exists() {
        fs::remove_dir_all(&directory).context(|| directory.display())?;
    }
    fs::create_dir_all(&directory).context(|| directory.display())?;
    let example = workspace.root.join("deploy/examples/demo.yaml");
    fs::copy(&example, directory.join("demo.yaml")).context(|| example.display())?;
    Ok(directory)
}

/// Runs the file until its source is drained; shows the first records and the last. Returns how many came.
fn run_once(binary: &Path, file: &Path) -> Result<usize> {
    let mut command = Command::new(binary);
    command.arg("run").arg(file).arg("--once");
    say::command(process::show(&command));
    let log = file.with_file_name("weir.log");
    let errors = fs::File::create(&log).context(|| log.display())?;
    let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().context(|| binary.display())?;
    let output = child.stdout.take().ok_or_else(|| Error::new("weir has no standard output"))?;
    let count = show_some(output)?;
    let status = child.wait().context(|| binary.display())?;
    say::line(format_args!("\n{}", fs::read_to_string(&log).context(|| log.display())?.trim_end()));
    if status.success() { Ok(count) } else { Err(Error::new(format_args!("weir run failed: {status}"))) }
}

fn show_some(output: impl Read) -> Result<usize> {
    let mut count = 0;
    let mut last = VecDeque::with_capacity(LAST + 1);
    for line in BufReader::new(output).lines() {
        let line = line.context(|| "reading what weir prints")?;
        count += 1;
        if count <= FIRST {
            say::line(line);
            continue;
        }
        if count == FIRST + 1 {
            say::line("... (more of them)");
        }
        last.push_back(line);
        if last.len() > LAST {
            last.pop_front();
        }
    }
    last.into_iter().for_each(say::line);
    Ok(count)
}

fn conclude(binary: &Path, file: &Path, shown: usize) -> Result<()> {
    let report = file.with_file_name("attempts.jsonl");
    let written = fs::read_to_string(&report).context(|| report.display())?.lines().count();
    if written != shown || written == 0 {
        let wrong =
            format_args!("expected the same records twice, got {shown} on the screen and {written} in the file");
        return Err(Error::new(wrong));
    }
    let (binary, file, report) = (binary.display(), file.display(), report.display());
    say::line(format_args!(
        "Of 20,000 lines {written} were attempts. They are in\n  {report}\n\
         With every batch Weir noted durably how far it had read and how much it had written, so a crash at any moment\n\
         loses no line of that file and writes none twice.\n\n\
         What to try next:\n\
         \x20 {binary} run {file} --once    runs it again: all was read, so nothing is added\n\
         \x20 {binary} check {file}         change the SQL in the file first, or misspell a key\n\
         \x20 less README.md                your own log files, the network, plugins of your own"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_records_are_counted_though_some_are_shown() {
        assert_eq!(show_some("a\n".repeat(100).as_bytes()).unwrap(), 100);
        assert_eq!(show_some("".as_bytes()).unwrap(), 0);
    }

    #[test]
    fn the_example_says_what_the_words_say() {
        let example = include_str!("../../examples/demo.yaml");
        for said in ["count: 20000", "rate: 5000", "path: attempts.jsonl", "syslog-parser", "sql:"] {
            assert!(example.contains(said), "the example lacks `{said}`, which the demo speaks of");
        }
    }
}
