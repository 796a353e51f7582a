//! A directory, a pipeline file, a `weir` process, and ways to wait for what it does.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a test waits for comes within this time, or not at all.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of one test.
pub struct Bench {
    dir: TempDir,
}

impl Bench {
    /// A directory in which the stock plugins are already compiled, as they are from the second start on.
    pub fn new() -> Self {
        let bench = Bench { dir: TempDir::new().unwrap() };
        let compiled = compiled_plugins();
        let cache = bench.path("weir-data").join("plugin-cache");
        fs::create_dir_all(&cache).unwrap();
        for entry in fs::read_dir(compiled).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), cache.join(entry.file_name())).unwrap();
        }
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The lines of a file; none where it does not exist.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }

    /// The size of a file; 0 where it does not exist.
    pub fn size(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).map_or(0, |metadata| metadata.len())
    }

    /// `weir` with arguments, in this directory.
    pub fn weir(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.current_dir(self.dir.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `weir` to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.weir(arguments).output().unwrap()
    }

    /// Starts `weir run` with what it says going to a file.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.path("weir.log")).unwrap();
        let mut command = self.weir(&[&["run"], arguments].concat());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Running { child, log: self.path("weir.log") }
    }
}

/// The cache of an appliance that has used both stock plugins. Compiling them takes a development build half a minute,
/// so it is done once for all tests of a process.
fn compiled_plugins() -> PathBuf {
    static FIRST: OnceLock<TempDir> = OnceLock::new();
    let first = FIRST.get_or_init(|| {
        let bench = Bench { dir: TempDir::new().unwrap() };
        bench.write(
            "weir.yaml",
            "
version: 1
sources: { in: { type: stdin } }
pipelines: { p: { from: in, steps: [syslog-parser, { sql: 'SELECT * FROM input' }], to: out } }
sinks: { out: { type: stdout } }
",
        );
        let output = bench.run(&["run", "--once", "weir.yaml"]);
        assert!(output.status.success(), "{output:?}");
        bench.dir
    });
    first.path().join("weir-data").join("plugin-cache")
}

/// A `weir` process; killed when it is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "weir ended by itself: {}", self.said());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it by SIGTERM; returns its exit code.
    pub fn terminate(mut self) -> i32 {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code().expect("weir ended by a signal")
    }

    /// Waits until something is so, while `weir` is running.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(self.child.try_wait().unwrap().is_none(), "weir ended before {what}: {}", self.said());
            assert!(Instant::now() < deadline, "{what} did not come in {PATIENCE:?}; weir said: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of the loopback interface that nobody has now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
