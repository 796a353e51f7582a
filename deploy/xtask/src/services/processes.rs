//! The processes of one server: found by a variable that is theirs alone and that their children inherit, so that neither a
//! pid that was given to somebody else nor a helper that outlives its parent is mistaken.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::LOOK;
use crate::error::{Context, Error, Result};
use crate::process;

/// Holds the server's folder.
const MARK: &str = "WEIR_SERVICE";

/// Says which of the server's processes it is.
const MARK_PART: &str = "WEIR_SERVICE_PART";

/// How long the kernel may take to end a process that cannot refuse.
const KILLED_MAX: Duration = Duration::from_secs(20);

/// After so many looks that found nothing, there is nothing.
const LOOKS_FOR_GONE: u32 = 5;

/// The processes of the server in one folder, or one of them and its children.
pub struct Processes {
    dir: PathBuf,
    part: Option<&'static str>,
}

impl Processes {
    /// Those of the server in this folder.
    pub fn of(dir: &Path) -> Self {
        Processes { dir: dir.to_owned(), part: None }
    }

    /// One of them alone.
    pub fn part(&self, part: &'static str) -> Self {
        Processes { dir: self.dir.clone(), part: Some(part) }
    }

    /// Starts the server so that it outlives this process: in a group of its own, with no descriptor of the caller's.
    pub fn start(&self, command: &mut Command, log: &Path) -> Result<()> {
        let file = File::options().create(true).append(true).open(log).context(|| log.display())?;
        let errors = file.try_clone().context(|| log.display())?;
        command.env(MARK, &self.dir).env(MARK_PART, self.part.unwrap_or_default());
        command.process_group(0).stdin(Stdio::null()).stdout(file).stderr(errors);
        // Who waits for it is whoever inherits it; a dead one is no longer counted as running.
        command.spawn().map(drop).context(|| format!("cannot start `{}`", process::show(command)))
    }

    /// Those that run, the oldest first.
    pub fn running(&self) -> Result<Vec<u32>> {
        let mut wanted = vec![[MARK.as_bytes(), b"=", self.dir.as_os_str().as_encoded_bytes()].concat()];
        wanted.extend(self.part.map(|part| format!("{MARK_PART}={part}").into_bytes()));
        let mut found: Vec<u32> = Vec::new();
        for entry in fs::read_dir("/proc").context(|| "/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // That of a process which ended, but was not waited for, is empty; that of another user cannot be read.
            let variables = fs::read(entry.path().join("environ")).unwrap_or_default();
            let has = |wanted: &Vec<u8>| variables.split(|byte| *byte == 0).any(|variable| variable == wanted);
            if wanted.iter().all(has) {
                found.push(pid);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Whether there are none, and were none for a few looks: a process that is just running another program (`exec`) shows no
    /// variables for a moment.
    pub fn are_gone(&self) -> Result<bool> {
        for look in 0..LOOKS_FOR_GONE {
            if look > 0 {
                std::thread::sleep(LOOK);
            }
            if !self.running()?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends them at once (SIGKILL), and waits until they are gone.
    pub fn kill(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            if self.are_gone()? {
                return Ok(());
            }
            let running = self.running()?;
            if begun.elapsed() > KILLED_MAX {
                let dir = self.dir.display();
                return Err(Error::new(format_args!("the server in {dir} outlived SIGKILL: processes {running:?}")));
            }
            signal("KILL", &running);
            std::thread::sleep(LOOK);
        }
    }

    /// Tells them to end (SIGTERM).
    pub fn terminate(&self) -> Result<()> {
        signal("TERM", &self.running()?);
        Ok(())
    }

    /// Waits until they have ended; kills those that have not in time.
    pub fn end_within(&self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if self.are_gone()? {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        self.kill()
    }
}

/// Sends a signal. A process that ended meanwhile is none to complain about.
fn signal(name: &str, pids: &[u32]) {
    if !pids.is_empty() {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).args(pids.iter().map(u32::to_string));
        let _ = process::output(&mut kill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("weir-processes-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_server_and_its_children_are_found_and_killed() {
        let scratch = Scratch::new("kill");
        let processes = Processes::of(&scratch.0).part("shell");
        assert_eq!(processes.running().unwrap(), []);
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' TERM; sleep 600 & echo up; wait; wait"]);
        processes.start(&mut shell, &scratch.0.join("log")).unwrap();
        while fs::read_to_string(scratch.0.join("log")).unwrap_or_default() != "up\n" {
            std::thread::sleep(LOOK);
        }
        assert_eq!(processes.running().unwrap().len(), 2);
        assert_eq!(processes.part("other").running().unwrap(), []);
        assert_eq!(Processes::of(&scratch.0).running().unwrap().len(), 2);
        assert_eq!(Processes::of(&scratch.0.join("other")).running().unwrap(), []);
        processes.terminate().unwrap();
        processes.end_within(Duration::from_millis(100)).unwrap();
        assert_eq!(processes.running().unwrap(), []);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let scratch = Scratch::new("missing");
        let mut command = Command::new("/no/such/program");
        let error = Processes::of(&scratch.0).start(&mut command, &scratch.0.join("log")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
