//! Runs a program once and says what it cost: processor time, wall time, memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4;

use crate::error::{Context, Error, Result};
use crate::process;

/// What a run cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// User and system time of the process and of those it waited for, from start to end.
    pub cpu: Duration,
    /// From the start until the last line was in the output.
    pub wall: Duration,
    /// The largest resident set, in bytes.
    pub rss_max: u64,
}

/// How a program is known to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It ends by itself.
    Exits,
    /// It goes on waiting, and is told to end when its output holds the last line.
    IsTold,
}

/// How long any run may take.
const RUN_MAX: Duration = Duration::from_secs(300);

/// Between two looks at the output.
const LOOK: Duration = Duration::from_millis(1);

/// A running program that is ended when this is dropped.
pub struct Running {
    child: Option<Child>,
    begun: Instant,
    log: PathBuf,
}

impl Running {
    /// Starts a program. What it says goes to a log file.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).context(|| log.display())?;
        let errors = file.try_clone().context(|| log.display())?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let shown = process::show(command);
        let begun = Instant::now();
        let child = command.spawn().context(|| format!("cannot start `{shown}`"))?;
        Ok(Running { child: Some(child), begun, log: log.to_owned() })
    }

    /// Waits until the end of a file contains a text. Returns the time since the start.
    pub fn wait_for_tail(&mut self, output: &Path, text: &str) -> Result<Duration> {
        while !tail_contains(output, text) {
            if self.begun.elapsed() > RUN_MAX {
                return Err(self.error(&format!("no `{text}` at the end of {} in time", output.display())));
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(self.error(&format!("ended early: {status}")));
            }
            std::thread::sleep(LOOK);
        }
        Ok(self.begun.elapsed())
    }

    /// The resident set now, in bytes.
    pub fn rss(&self) -> Result<u64> {
        let pid = self.pid()?;
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
        Ok(kib.ok_or_else(|| Error::new(format_args!("{path}: no VmRSS")))? * 1024)
    }

    /// Tells the program to end (SIGTERM).
    pub fn tell_to_end(&self) -> Result<()> {
        process::output(Command::new("kill").arg(self.pid()?.to_string())).map(drop)
    }

    /// Waits for the end and returns what the run cost. `wall`: where it is not the time of the end.
    pub fn finish(mut self, wall: Option<Duration>) -> Result<Cost> {
        let child = self.child.take().ok_or_else(|| Error::new("the program was waited for already"))?;
        let used = child.wait4().context(|| "waiting for the program")?;
        let wall = wall.unwrap_or_else(|| self.begun.elapsed());
        if !used.status.success() {
            return Err(self.error(&used.status.to_string()));
        }
        Ok(Cost { cpu: used.rusage.utime + used.rusage.stime, wall, rss_max: used.rusage.maxrss })
    }

    fn pid(&self) -> Result<u32> {
        self.child.as_ref().map(Child::id).ok_or_else(|| Error::new("the program has ended"))
    }

    /// An error with what the program said.
    fn error(&self, message: &str) -> Error {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        Error::new(format_args!("{message}\n{}", said.trim_end()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a program until its output ends with a line that contains `last`.
pub fn run(command: &mut Command, log: &Path, output: &Path, last: &str, end: End) -> Result<Cost> {
    let mut running = Running::start(command, log)?;
    let wall = match end {
        End::Exits => None,
        End::IsTold => {
            let wall = running.wait_for_tail(output, last)?;
            running.tell_to_end()?;
            Some(wall)
        }
    };
    running.finish(wall)
}

/// Whether the last bytes of a file contain a text. A file that is not there does not.
fn tail_contains(path: &Path, text: &str) -> bool {
    const TAIL: u64 = 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_cost_is_measured_whether_it_exits_or_is_told_to() {
        let directory = std::env::temp_dir().join(format!("weir-measure-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (output, log) = (directory.join("out"), directory.join("log"));
        let script = format!("echo the last line > {}; ", output.display());
        let once = run(Command::new("sh").arg("-c").arg(&script), &log, &output, "last", End::Exits).unwrap();
        assert!(once.rss_max > 100_000 && once.cpu < once.wall + Duration::from_secs(1), "{once:?}");
        // The trap comes first, and the line of the run before goes: the signal comes as soon as a line is there.
        std::fs::remove_file(&output).unwrap();
        let waits = format!("trap 'exit 0' TERM; {script} while :; do sleep 0.01; done");
        run(Command::new("sh").arg("-c").arg(&waits), &log, &output, "last", End::IsTold).unwrap();
        let fails = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), &log, &output, "last", End::Exits);
        let message = fails.unwrap_err().to_string();
        assert!(message.contains("why") && message.contains('3'), "{message}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
