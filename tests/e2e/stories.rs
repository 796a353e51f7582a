//! The stories of deploy/examples, each by its one command, as someone runs it who has just cloned the repository: what it prints, and
//! that nothing of it runs on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::program;
use crate::services::xtask;

/// Runs a story to its end with the program of these tests. Returns what it printed.
fn tell(name: &str) -> String {
    let dir = TempDir::new().unwrap();
    let mut story = story(name, dir.path());
    let output = story.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!runs_in(dir.path()), "something runs on in {}", dir.path().display());
    said
}

fn story(name: &str, dir: &Path) -> Command {
    let mut story = xtask();
    story.args(["story", name, "--weir"]).arg(program()).arg("--dir").arg(dir);
    story.env_remove("SLACK_TOKEN").stdin(Stdio::null());
    story
}

/// Whether a process has to do with this directory: its command line, or the variable that marks servers, names it.
fn runs_in(dir: &Path) -> bool {
    let dir = dir.to_str().unwrap();
    let names_it =
        |path: std::path::PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).contains(dir);
    let mut processes = fs::read_dir("/proc").unwrap().flatten();
    processes.any(|process| names_it(process.path().join("cmdline")) || names_it(process.path().join("environ")))
}

fn rows<'a>(said: &'a str, begin: &'a str) -> Vec<&'a str> {
    said.lines().filter(|line| line.starts_with(begin)).collect()
}

#[test]
fn attacks_are_told_in_slack() {
    let said = tell("syslog-to-slack");
    let messages = rows(&said, "Slack ");
    let more = |line: &&&str| line.contains(": and ");
    let told =
        |line: &&str| line.split_once(": and ").map_or(1, |(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
    assert_eq!(messages.iter().map(told).sum::<u32>(), 14, "{said}");
    // Each host has a thread.
    assert_eq!(messages.iter().filter(|line| !line.contains("in the thread of")).count(), 2, "{said}");
    assert!(messages.iter().filter(|line| !more(line)).all(|line| line.contains("Invalid user ")), "{said}");
    assert!(said.contains(&format!("14 attacks were told of in {} messages.", messages.len())), "{said}");
}

#[test]
fn failed_logins_are_in_a_table() {
    let said = tell("os-log-to-mysql");
    let rows = rows(&said, "| 2");
    assert_eq!(rows.len(), 16, "{said}");
    assert_eq!(rows.iter().filter(|row| row.contains("| Invalid user ")).count(), 4, "{said}");
    assert!(rows.iter().all(|row| row.contains("| gate | sshd    |")), "{said}");
    // As grep counts, and the database.
    assert_eq!(said.lines().filter(|line| *line == "16").count(), 2, "{said}");
}

#[test]
fn process_starts_are_in_kudu() {
    let said = tell("events-to-kudu");
    assert_eq!(rows(&said, "(int64 TS_PROCSTART=").len(), 24, "{said}");
    assert!(said.contains("Total count 24 "), "{said}");
    assert!(said.contains("read by kcat, holds 26 process starts"), "{said}");
    assert!(said.contains("PRIMARY KEY (TS_PROCSTART, MOD_MD5, E_PROCESS_GUID, PROC_MD5, P_COMPUTER_NAME)"), "{said}");
    assert!(!said.contains("ROWKEY") && !said.contains("ROWTIME"), "{said}");
}

/// What is kept runs until Ctrl-C, and then all of it ends.
#[test]
fn what_is_kept_ends_by_ctrl_c() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("story.log");
    let output = fs::File::create(&log).unwrap();
    let mut story = story("os-log-to-mysql", dir.path());
    let child = story.arg("--keep").stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    let id = child.id().to_string();
    let mut running = crate::harness::Running::of(child, log.clone());
    let said = || fs::read_to_string(&log).unwrap();
    running.until("the word that it runs on", || said().contains("Ctrl-C ends it."));
    assert!(runs_in(&dir.path().join("services")), "{}", said());
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(running.end_within(crate::harness::PATIENCE), Some(0));
    assert!(said().contains("All that was started has ended."), "{}", said());
    assert!(!runs_in(dir.path()), "something runs on in {}", dir.path().display());
}
