//! A directory, a pipeline file, a `weir` process, and ways to wait for what it does.

use std::env;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
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
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let plugins = env::var_os("WEIR_STOCK_PLUGINS").expect("`cargo xtask test` builds the plugins and names them");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("weir");
        let mut bundle = Command::new(env!("CARGO_BIN_EXE_weir"));
        bundle.args(["plugin", "bundle"]).arg(&program).arg("--plugins").arg(plugins);
        let output = bundle.arg("--cache").arg(machine_code()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        program
    })
}

/// Where the machine code of plugins is kept for the next time.
pub fn machine_code() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine-code")
}

/// A `weir` process; killed when it is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// A process whose output goes to a file.
    pub fn of(child: Child, log: PathBuf) -> Self {
        Running { child, log }
    }

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

    /// Waits until it has started a process of its own, as it does to compile plugins.
    pub fn until_has_child(&mut self) {
        let id = self.child.id();
        self.until("a process of its own", || has_child(id));
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

/// Whether a process that it has started runs.
fn has_child(id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let mut children = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    children.any(|children| !children.trim().is_empty())
}

/// A port of the loopback interface that nobody has now. Below those that the kernel gives to connections, and those that
/// `cargo xtask services` gives to its servers: so nobody takes it before it is used.
pub fn free_port() -> u16 {
    const FIRST: u32 = 5_000;
    const COUNT: u32 = 10_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(131);
    let mut next = || (FIRST + begin.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT) as u16;
    let mut ports = std::iter::repeat_with(&mut next).take(COUNT as usize);
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// Says what a test has measured, also when it passes: the test runner keeps what macros print to itself.
pub fn tell(line: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let mut err = std::io::stderr();
    writeln!(err, "{line}").unwrap();
}
