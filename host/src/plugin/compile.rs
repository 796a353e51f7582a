//! Compiling in a process of its own: a component that the compiler chokes on takes that process with it, and nothing else.
//!
//! The process is this program again. It is given the component on its standard input, bounds itself, and answers with
//! machine code on its standard output, or with what is wrong on its standard error.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use tokio::time::Instant;
use wasmtime::InstanceAllocationStrategy;

use super::catalog::PLUGIN_BYTES_MAX;
use super::engine::settings;
use super::load::Problem;

/// The command by which the program compiles and does nothing else.
pub const COMMAND: &str = "compile-plugin";
/// The exit code for what is no valid component.
pub const INVALID: u8 = 78;

/// How much longer than its processor time a compiler may take.
const TIMES_THE_CPU: u32 = 3;

/// The processor time that compiling may take, in seconds, unless told.
const CPU_SECONDS: u64 = 120;
/// The memory that it may take, unless told.
const MEMORY_BYTES: u64 = 2 << 30;

/// What compiling may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Bounds {
    /// Processor time, in seconds, of all threads together
    #[arg(long, default_value_t = CPU_SECONDS)]
    pub cpu_seconds: u64,
    /// Memory that is written to, in bytes
    #[arg(long, default_value_t = MEMORY_BYTES)]
    pub memory_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { cpu_seconds: CPU_SECONDS, memory_bytes: MEMORY_BYTES }
    }
}

/// Compiles elsewhere.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: PathBuf,
    bounds: Bounds,
}

impl Compiler {
    /// Has this program compile, as it is now: it may be replaced on disk while it runs.
    pub fn this_program() -> Self {
        Compiler::new("/proc/self/exe".into(), Bounds::default())
    }

    /// Has a `weir` compile.
    pub fn new(program: PathBuf, bounds: Bounds) -> Self {
        Compiler { program, bounds }
    }

    /// The machine code of a component, made for this machine.
    pub(super) fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, Problem> {
        let Bounds { cpu_seconds, memory_bytes } = self.bounds;
        let failed = |how: String| Problem::NotCompiled { cpu_seconds, memory_bytes, how };
        let mut command = Command::new(&self.program);
        command.arg(COMMAND).args(["--cpu-seconds", &cpu_seconds.to_string()]);
        command.args(["--memory-bytes", &memory_bytes.to_string()]);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| failed(format!("the compiler does not start: {error}")))?;
        let deadline = Instant::now() + TIMES_THE_CPU * Duration::from_secs(cpu_seconds);
        let (given, killer) = (child.stdin.take(), Pid::from_child(&child));
        let (done, is_done) = mpsc::channel::<()>();
        let output = std::thread::scope(|scope| {
            // Where it ends before it has read all, its exit code says why.
            scope.spawn(move || given.map(|mut given| given.write_all(wasm)));
            // One that waits for ever takes no processor time.
            scope.spawn(move || {
                let left = deadline.saturating_duration_since(Instant::now());
                if is_done.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                    let _ = kill_process(killer, Signal::KILL);
                }
            });
            let output = child.wait_with_output();
            drop(done);
            output
        });
        let output = output.map_err(|error| failed(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(output.stdout),
            Some(code) if code == i32::from(INVALID) => Err(Problem::Invalid(said.trim().to_owned())),
            _ => {
                let last = said.lines().last().map_or_else(String::new, |line| format!(", {line}"));
                Err(failed(format!("{}{last}", output.status)))
            }
        }
    }
}

/// Why the other side has no machine code.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It is no valid component.
    #[error("{0}")]
    Invalid(String),
    /// It could not be compiled here.
    #[error("{0}")]
    Unable(String),
}

/// The other side: compiles what comes on standard input, within bounds.
pub fn serve(bounds: Bounds) -> Result<(), Failed> {
    let unable = |error: &dyn std::fmt::Display| Failed::Unable(error.to_string());
    let mut settings = settings();
    // Nothing runs here, and the pool of instances would count as memory.
    settings.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    let engine = wasmtime::Engine::new(&settings).map_err(|error| unable(&format_args!("{error:#}")))?;
    let mut wasm = Vec::new();
    io::stdin().lock().take(PLUGIN_BYTES_MAX).read_to_end(&mut wasm).map_err(|error| unable(&error))?;
    bound(bounds).map_err(|error| unable(&format_args!("the compiler cannot be bounded: {error}")))?;
    let invalid = |error: wasmtime::Error| Failed::Invalid(error.root_cause().to_string());
    let machine_code = engine.precompile_component(&wasm).map_err(invalid)?;
    io::stdout().lock().write_all(&machine_code).map_err(|error| unable(&error))
}

fn bound(bounds: Bounds) -> rustix::io::Result<()> {
    let limit = |of: Resource, to: u64| setrlimit(of, Rlimit { current: Some(to), maximum: Some(to) });
    limit(Resource::Core, 0)?;
    limit(Resource::Cpu, bounds.cpu_seconds)?;
    limit(Resource::Data, bounds.memory_bytes)
}
