//! The `weir` process of a story.

use std::fmt::Display;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};
use crate::process;
use crate::say;

/// It commits what is on its way within 30 s.
const END_MAX: Duration = Duration::from_secs(45);
const LOOK: Duration = Duration::from_millis(50);
/// Lines of its log that an error shows.
const LINES: usize = 20;

/// It runs as long as this is held.
pub struct Weir {
    child: Child,
    log: PathBuf,
}

impl Weir {
    /// Starts it. What Ctrl-C means it is told by this program, once the servers need it no more.
    pub fn start(binary: &Path, file: &Path, secrets: &[(&str, String)]) -> Result<Self> {
        let log = file.with_file_name("weir.log");
        let output = File::create(&log).context(|| log.display())?;
        let errors = output.try_clone().context(|| log.display())?;
        let mut command = Command::new(binary);
        command.arg("run").arg(file).envs(secrets.iter().map(|(name, value)| (name, value)));
        say::command(shown(&command, secrets));
        say::line("What it says goes to weir.log beside the file.");
        command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().context(|| format!("cannot start {}", binary.display()))?;
        Ok(Weir { child, log })
    }

    /// Fails where it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context(|| "weir")? {
            Some(status) => Err(self.error(format_args!("weir ended: {status}"))),
            None => Ok(()),
        }
    }

    /// An error with the end of its log.
    pub fn error(&self, what: impl Display) -> Error {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n");
        Error::new(format_args!("{what}; {} ends with\n{last}", self.log.display()))
    }

    /// Tells it to end, and waits for it.
    pub fn end(mut self) -> Result<()> {
        let mut kill = Command::new("kill");
        process::output(kill.arg("-TERM").arg(self.child.id().to_string()))?;
        let begun = Instant::now();
        while begun.elapsed() < END_MAX {
            if let Some(status) = self.child.try_wait().context(|| "weir")? {
                let error = || self.error(format_args!("weir ended badly: {status}"));
                return if status.success() { Ok(()) } else { Err(error()) };
            }
            std::thread::sleep(LOOK);
        }
        Err(self.error(format_args!("weir did not end within {} s", END_MAX.as_secs())))
    }
}

/// Where something went wrong.
impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command as it would be typed, but for secrets.
fn shown(command: &Command, secrets: &[(&str, String)]) -> String {
    let mut plain = Command::new(command.get_program());
    plain.args(command.get_args());
    let variables: String = secrets.iter().map(|(name, _)| format!("{name}=... ")).collect();
    format!("{variables}{}", process::show(&plain))
}
