//! A directory, a pipeline file, a `weir` process, and ways to wait for what it does.

use std::env;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
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

/// What a test that failed was working on is kept, to be looked at.
impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            tell(format_args!("its directory is kept: {}", self.dir.path().display()));
        }
    }
}

impl Bench {
    /// An empty directory.
    pub fn new() -> Self {
        Bench { dir: TempDir::new().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The lines of a file, as far as they are written whole; none where it does not exist.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read(self.path(name)).unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        String::from_utf8(text[..whole].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The last bytes of a file, some lines of it.
    pub fn end(&self, name: &str) -> String {
        const BYTES: u64 = 4 * 1024;
        let Ok(mut file) = fs::File::open(self.path(name)) else { return String::new() };
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(self.size(name).saturating_sub(BYTES))).unwrap();
        file.read_to_end(&mut end).unwrap();
        String::from_utf8_lossy(&end).into_owned()
    }

    /// The size of a file; 0 where it does not exist.
    pub fn size(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).map_or(0, |metadata| metadata.len())
    }

    /// `weir` with arguments, in this directory.
    pub fn weir(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
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

/// The program as users have it: with the stock plugins inside. It is made once for all tests of a process; what a
/// development build compiles for it in half a minute is kept for the next.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let plugins = env::var_os("WEIR_STOCK_PLUGINS").expect("`cargo xtask test` builds the plugins and names them");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = directory.join("weir");
        let mut bundle = Command::new(env!("CARGO_BIN_EXE_weir"));
        bundle.args(["plugin", "bundle"]).arg(&program).arg("--plugins").arg(plugins);
        let output = bundle.arg("--cache").arg(directory.join("machine-code")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        program
    })
}

/// A `weir` process; killed when it is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn kill(mut self) {
        self.assert_runs();
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

    /// Waits until it ends by itself; returns its exit code, or nothing where it did not end in time and was killed.
    pub fn end_within(mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().expect("weir ended by a signal"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Panics where it has ended.
    pub fn assert_runs(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "weir ended by itself: {}", self.said());
    }

    /// The memory that it holds, in bytes.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The exit code, once it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().expect("weir ended by a signal"))
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

/// Says what a test has measured, also when it passes: the test runner keeps what macros print to itself.
pub fn tell(line: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let mut err = std::io::stderr();
    writeln!(err, "{line}").unwrap();
}
