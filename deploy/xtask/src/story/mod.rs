//! `cargo xtask story`: a pipeline file of `deploy/examples` with the servers that it speaks to. Brings them up, runs the file,
//! sends it sample records, waits until they are where they belong, and shows them there. Each story is a file here.

mod attacks;
mod events;
mod json;
mod logins;
mod slack;
mod weir;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::build::{self, Profile};
use crate::error::{Context, Error, Result};
use crate::process;
use crate::say;
use crate::services::{self, ForTests};
use crate::workspace::Workspace;

use weir::Weir;

/// What is waited for comes within this time, or not at all.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);
/// How long more than what was waited for may still come, before it is counted for the last time.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// The command line of `cargo xtask story`.
#[derive(Debug, Args)]
pub struct StoryArgs {
    /// Which story.
    name: Name,
    /// Leaves all of it running, to look around, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Runs this program, which carries the stock plugins, and builds none.
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
    /// The directory for files and servers; what is there is removed [default: stories/NAME in the target directory].
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A story, by the name of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Attacks on SSH, from syslog to a channel of Slack.
    SyslogToSlack,
    /// Failed logins, from a log file to a table of MariaDB.
    OsLogToMysql,
    /// Process starts, from RabbitMQ by way of Kafka to a table of Kudu.
    EventsToKudu,
}

/// What is particular about a story. The calls come in this order.
trait Story {
    /// What goes where, and what it shows, for someone who has not seen it.
    fn about(&self) -> &'static str;
    /// The servers that it needs.
    fn servers(&self) -> &'static [services::Name];
    /// Prepares the servers. Returns what the pipeline file has to be told.
    fn prepare(&mut self, stage: &Stage<'_>) -> Result<Settings>;
    /// Sends the sample records, and says so.
    fn feed(&self, stage: &Stage<'_>, weir: &mut Weir) -> Result<()>;
    /// How many records have to arrive.
    fn expected(&self) -> u64;
    /// How many have.
    fn arrived(&self, stage: &Stage<'_>) -> Result<u64>;
    /// Shows what has arrived.
    fn show(&self, stage: &Stage<'_>) -> Result<()>;
    /// Whether what arrives can be counted; where it cannot, the story runs until Ctrl-C.
    fn is_counted(&self) -> bool {
        true
    }
}

/// Where a story runs.
struct Stage<'a> {
    /// The clone.
    root: PathBuf,
    directory: PathBuf,
    servers: ForTests<'a>,
    interrupt: Interrupt,
}

/// What this machine's servers change in a pipeline file.
#[derive(Debug, Default)]
struct Settings {
    /// What stands in the file, and what stands in the copy.
    replaced: Vec<(&'static str, String)>,
    /// Variables with secrets.
    secrets: Vec<(&'static str, String)>,
}

/// Runs a story from its beginning to its end.
pub fn run(workspace: &Workspace, arguments: &StoryArgs) -> Result<()> {
    let mut story = arguments.name.story();
    say::line(story.about());
    say::heading("1 of 4: build");
    let binary = binary(workspace, arguments)?;
    say::heading("2 of 4: servers");
    let stage = Stage::open(workspace, arguments, story.servers())?;
    let settings = story.prepare(&stage)?;
    say::heading("3 of 4: run");
    let file = stage.write(arguments.name, &settings)?;
    let mut weir = Weir::start(&binary, &file, &settings.secrets)?;
    story.feed(&stage, &mut weir)?;
    if story.is_counted() {
        wait(story.as_ref(), &stage, &mut weir)?;
        say::heading("4 of 4: what arrived");
        story.show(&stage)?;
    }
    if arguments.keep || !story.is_counted() {
        keep(&stage, &mut weir)?;
    }
    weir.end()?;
    stage.close()
}

fn binary(workspace: &Workspace, arguments: &StoryArgs) -> Result<PathBuf> {
    if let Some(program) = &arguments.weir {
        say::line(format_args!("Uses {}.", program.display()));
        return std::path::absolute(program).context(|| program.display());
    }
    say::line("Some ten minutes on two cores, once.");
    build::build(workspace, Profile::Release)
}

/// Waits until as many records have arrived as have to, and no more come.
fn wait(story: &dyn Story, stage: &Stage<'_>, weir: &mut Weir) -> Result<()> {
    let (begun, expected) = (Instant::now(), story.expected());
    loop {
        let arrived = story.arrived(stage)?;
        if arrived >= expected {
            break;
        }
        stage.interrupt.check()?;
        weir.check()?;
        if begun.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(weir.error(format_args!("expected {expected} records within {seconds} s, got {arrived}")));
        }
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(AFTERWARDS);
    let arrived = story.arrived(stage)?;
    if arrived == expected {
        return Ok(());
    }
    Err(weir.error(format_args!("expected {expected} records and no more, got {arrived}")))
}

/// Lets all run until Ctrl-C.
fn keep(stage: &Stage<'_>, weir: &mut Weir) -> Result<()> {
    say::line(format_args!(
        "\nAll of it runs on in {}; services/services.json there says where the servers are. Ctrl-C ends it.",
        stage.directory.display()
    ));
    while stage.interrupt.check().is_ok() {
        weir.check()?;
        std::thread::sleep(LOOK);
    }
    Ok(())
}

impl Name {
    fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn story(self) -> Box<dyn Story> {
        match self {
            Name::SyslogToSlack => Box::new(attacks::Attacks::new()),
            Name::OsLogToMysql => Box::new(logins::Logins),
            Name::EventsToKudu => Box::new(events::Events),
        }
    }
}

impl<'a> Stage<'a> {
    /// An empty directory with a copy of the story's folder, and servers.
    fn open(workspace: &'a Workspace, arguments: &StoryArgs, servers: &[services::Name]) -> Result<Self> {
        let interrupt = Interrupt::listen()?;
        let name = arguments.name.text();
        let directory = arguments.dir.clone().unwrap_or_else(|| workspace.target.join("stories").join(&name));
        let directory = std::path::absolute(&directory).context(|| directory.display())?;
        let below = directory.join("services");
        fs::create_dir_all(&below).context(|| below.display())?;
        if servers.is_empty() {
            say::line("None are needed.");
        } else {
            say::line(format_args!("They are started on 127.0.0.1, with empty data in {}.", below.display()));
        }
        let servers = ForTests::within(workspace, &below, servers)?;
        forget(&directory.join("weir-data"))?;
        copy(&workspace.root.join("deploy/examples").join(&name), &directory)?;
        Ok(Stage { root: workspace.root.clone(), directory, servers, interrupt })
    }

    /// Puts into the pipeline file where the servers are. Returns its path.
    fn write(&self, name: Name, settings: &Settings) -> Result<PathBuf> {
        let path = self.directory.join(name.text()).with_added_extension("yaml");
        let mut text = fs::read_to_string(&path).context(|| path.display())?;
        say::line(format_args!("The pipeline file is a copy of deploy/examples/{0}/{0}.yaml.", name.text()));
        for (from, to) in &settings.replaced {
            if !text.contains(from) {
                return Err(Error::new(format_args!("{} lacks `{from}`, which is to be replaced", path.display())));
            }
            text = text.replace(from, to);
            say::line(format_args!("In it `{from}` is replaced by `{to}`."));
        }
        fs::write(&path, text).context(|| path.display())?;
        Ok(path)
    }

    /// A file of the story's folder.
    fn read(&self, name: &str) -> Result<String> {
        let path = self.directory.join(name);
        fs::read_to_string(&path).context(|| path.display())
    }

    fn close(self) -> Result<()> {
        let directory = self.directory.clone();
        drop(self);
        say::line(format_args!("\nAll that was started has ended. Files are in {}.", directory.display()));
        Ok(())
    }
}

fn forget(directory: &Path) -> Result<()> {
    if directory.exists() { fs::remove_dir_all(directory).context(|| directory.display()) } else { Ok(()) }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).context(|| from.display())? {
        let path = entry.context(|| from.display())?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        fs::copy(&path, target).context(|| path.display())?;
    }
    Ok(())
}

/// Shows a command, runs it, and shows what it prints.
fn show(command: &mut Command) -> Result<()> {
    say::command(process::show(command));
    say::line(process::output(command)?.trim_end());
    Ok(())
}

/// Ctrl-C, or a word to end: noticed, so that what was started can be ended.
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn listen() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, flag.clone()).context(|| "listening for Ctrl-C")?;
        }
        Ok(Interrupt(flag))
    }

    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::new("interrupted")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: Name) -> PathBuf {
        Workspace::find().unwrap().root.join("deploy/examples").join(name.text())
    }

    #[test]
    fn every_story_has_a_folder_that_says_its_command() {
        for name in Name::value_variants() {
            let readme = fs::read_to_string(folder(*name).join("README.md")).unwrap();
            assert!(readme.contains(&format!("    cargo xtask story {}\n", name.text())), "{name:?}");
            assert!(folder(*name).join(name.text()).with_added_extension("yaml").is_file(), "{name:?}");
        }
    }

    #[test]
    fn as_many_records_are_expected_as_the_samples_hold() {
        let read = |name: Name, file: &str| fs::read_to_string(folder(name).join(file)).unwrap();
        let count = |text: &str, words: &[&str]| {
            text.lines().filter(|line| words.iter().any(|word| line.contains(word))).count() as u64
        };
        let attacks = read(Name::SyslogToSlack, "syslog.log");
        assert_eq!(Name::SyslogToSlack.story().expected(), count(&attacks, &["Invalid user"]));
        let logins = read(Name::OsLogToMysql, "sshd.log");
        assert_eq!(Name::OsLogToMysql.story().expected(), count(&logins, &["]: Failed password", "]: Invalid user"]));
        let events = read(Name::EventsToKudu, "events.ndjson");
        let mut starts: Vec<&str> = events.lines().filter(|event| event.contains("procstart")).collect();
        assert_eq!(starts.len(), 26);
        // Those that come twice differ in their first two fields, which are no part of the row.
        starts.iter_mut().for_each(|event| *event = event.split_once("\"type\"").unwrap().1);
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(Name::EventsToKudu.story().expected(), starts.len() as u64);
    }
}
