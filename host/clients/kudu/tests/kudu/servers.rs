//! Kudu's servers, brought up for tests, and its own command line, by which tests see what the client has done.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use kudu_client::{Client, Options};
use serde_json::Value;
use tempfile::TempDir;

/// The servers of a test, taken down when this is dropped.
pub struct Servers {
    dir: TempDir,
    name: &'static str,
    facts: Value,
}

static SHARED: Mutex<Weak<Servers>> = Mutex::new(Weak::new());

impl Servers {
    /// Brings servers up: `kudu` is one master and one tablet server, `kudu3` three of each.
    pub fn up(name: &'static str) -> Self {
        let mut servers = Servers { dir: TempDir::new().unwrap(), name, facts: Value::Null };
        let facts: Value = serde_json::from_str(&run(&mut servers.xtask("up"))).unwrap();
        servers.facts = facts[name].clone();
        servers
    }

    /// One master and one tablet server for all tests that kill nothing, while any of them runs.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let servers = Arc::new(Servers::up("kudu"));
            *shared = Arc::downgrade(&servers);
            servers
        })
    }

    pub fn text(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.facts))
    }

    pub fn options(&self) -> Options {
        Options::new(self.text("masters").split(',')).user("weir", "").timeout(Duration::from_secs(60))
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.options()).await.unwrap()
    }

    /// The address at which a process listens.
    pub fn address(&self, part: &str) -> &str {
        self.facts["parts"][part].as_str().unwrap()
    }

    /// The process that listens at an address.
    pub fn part_at(&self, address: &str) -> String {
        let parts = self.facts["parts"].as_object().unwrap();
        parts.iter().find(|(_, at)| at.as_str() == Some(address)).map(|(part, _)| part.clone()).unwrap()
    }

    /// Ends a process with SIGKILL.
    pub fn kill(&self, part: &str) {
        run(self.xtask("kill").args(["--part", part]));
    }

    /// Starts a process and waits until it is ready.
    pub fn start(&self, part: &str) {
        run(self.xtask("start").args(["--part", part]));
    }

    /// Stops a process without ending it (SIGSTOP), or lets it go on (SIGCONT).
    pub fn signal(&self, part: &str, signal: &str) {
        let marks = [format!("WEIR_SERVICE={}", self.text("dir")), format!("WEIR_SERVICE_PART={part}")];
        let is_it = |pid: &u32| {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let has = |mark: &String| variables.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
            marks.iter().all(has)
        };
        let names = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let pid = names.filter_map(|name| name.parse().ok()).find(is_it).unwrap();
        run(Command::new("kill").args([format!("-{signal}"), pid.to_string()]));
    }

    /// Adds flags to all processes and starts them again.
    pub fn restart_with(&self, flags: &[String]) {
        self.add_flags("", flags);
        self.restart();
    }

    /// Kills all processes and starts them again.
    pub fn restart(&self) {
        run(&mut self.xtask("kill"));
        run(&mut self.xtask("start"));
    }

    /// Adds flags to the processes whose names begin so. They hold from their next start on.
    pub fn add_flags(&self, begin: &str, flags: &[String]) {
        let parts = self.facts["parts"].as_object().unwrap();
        for part in parts.keys().filter(|part| part.starts_with(begin)) {
            let path = PathBuf::from(self.text("dir")).join(format!("{part}.flags"));
            let old = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{old}{}\n", flags.join("\n"))).unwrap();
        }
    }

    /// What a process has logged.
    pub fn log(&self, part: &str) -> String {
        fs::read_to_string(PathBuf::from(self.text("dir")).join(format!("{part}.log"))).unwrap()
    }

    /// Runs `kudu`, with the masters behind the first two arguments, and returns what it prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.text("cli"));
        for (name, value) in self.facts["cli_env"].as_object().unwrap() {
            command.env(name, value.as_str().unwrap());
        }
        let (what, rest) = arguments.split_at(2);
        run(command.args(what).arg(self.text("masters")).args(rest))
    }

    fn xtask(&self, command: &str) -> Command {
        let program = env::var_os("WEIR_XTASK").expect("WEIR_XTASK names the program of `cargo xtask`");
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
        let root = root.ancestors().nth(3).unwrap();
        // Relative to the clone, as cargo runs tests elsewhere.
        let mut xtask = Command::new(root.join(program));
        xtask.env("CARGO_MANIFEST_DIR", root.join("deploy/xtask"));
        xtask.args(["services", command, self.name, "--dir"]).arg(self.dir.path());
        xtask
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.xtask("down").stderr(Stdio::null()).status();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8(output.stdout).unwrap()
}
