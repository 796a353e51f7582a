//! `weir check`: says what is wrong with a pipeline file without running it; with a network only where it is told to use it.

mod accepted;
mod connect;
mod inputs;
mod plugins;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::say;
use crate::accept::Consent;
use crate::config::{self, Config, Loaded, Look, Overrides, Problem, Report};
use crate::plugin::Engine;
use crate::store::DEAD_LETTERS;

pub use accepted::{judge, keep};
pub use plugins::{Plugins, UsedPlugin, plugins};

/// Columns of a report where no terminal tells, and at most: longer lines are hard to read.
const WIDTH_MAX: usize = 100;
/// Columns of a report at least; in a narrower terminal it could only be one word a line.
const WIDTH_MIN: usize = 40;

/// What `weir check` is told.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// A pipeline file, or a directory of them
    pub path: PathBuf,
    /// A directory with plugins, searched before those of the file; may be given again
    #[arg(long = "plugins", value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
    /// Also connect to every broker that the file names, and look for what it needs there
    #[arg(long)]
    pub connect: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What a command prints, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// The exit code: 0, 64 (usage), 69 (something is unavailable) or 78 (configuration).
    pub code: u8,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

/// Checks, prints and gives the exit code.
pub async fn run(args: CheckArgs) -> u8 {
    let printed = check(&args, look()).await;
    // Whoever closed the pipe wants no more; the exit code still tells.
    let _ = io::stdout().write_all(printed.stdout.as_bytes());
    let _ = io::stderr().write_all(printed.stderr.as_bytes());
    printed.code
}

/// How a report looks on standard error.
pub fn look() -> Look {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let width = size.map_or(WIDTH_MAX, |size| usize::from(size.ws_col).clamp(WIDTH_MIN, WIDTH_MAX));
    Look { color: io::stderr().is_terminal() && config::color_wanted(), width }
}

/// Prints what there is to say of a pipeline file, for a command that goes on where nothing is wrong; gives its exit code.
pub(super) fn tell(report: &Report) -> u8 {
    let text = report.render(look());
    if !text.is_empty() {
        say(text.trim_end());
    }
    if report.exit_code() != 0 {
        say(&report.to_string());
    }
    report.exit_code()
}

/// Checks, and gives what is to be printed.
pub async fn check(args: &CheckArgs, look: Look) -> Printed {
    let overrides = Overrides { data: None, plugins: args.plugins.clone() };
    let (config, report) = match config::load(&args.path, &overrides) {
        Ok(loaded) => {
            let mut problems = plugin_problems(&args.path, &loaded).await;
            if args.connect {
                problems.extend(connect::problems(&loaded).await);
            }
            problems.extend(loaded.warnings);
            (Some(loaded.config), Report::new(problems))
        }
        Err(report) => (None, report),
    };
    let counts = config.filter(|_| report.exit_code() == 0).as_ref().map(Counts::of);
    if args.json { json(&report, counts) } else { text(&report, counts, look) }
}

async fn plugin_problems(path: &Path, loaded: &Loaded) -> Vec<Problem> {
    if !loaded.config.uses_plugins() {
        return Vec::new();
    }
    // What an appliance has compiled is used, but a check makes no directory.
    let cache = loaded.config.plugin_cache();
    match Engine::new(cache.is_dir().then_some(cache)) {
        Ok(engine) => {
            let mut found = plugins(loaded, &engine).await;
            judge(loaded, path, &mut found, Consent::Needed);
            found.problems
        }
        Err(error) => vec![Problem::unavailable("no-engine", error.to_string())],
    }
}

fn json(report: &Report, counts: Option<Counts>) -> Printed {
    let mut object = report.to_json();
    if let (Some(counts), Some(fields)) = (counts, object.as_object_mut()) {
        fields.extend(counts.0.map(|(name, count)| (format!("{name}s"), count.into())));
    }
    Printed { code: report.exit_code(), stdout: format!("{object}\n"), stderr: String::new() }
}

fn text(report: &Report, counts: Option<Counts>, look: Look) -> Printed {
    let stdout = counts.map(|counts| counts.line()).unwrap_or_default();
    let mut stderr = report.render(look);
    if report.exit_code() != 0 {
        stderr.push_str(&format!("{report}\n"));
    }
    Printed { code: report.exit_code(), stdout, stderr }
}

/// How many there are of each.
struct Counts([(&'static str, usize); 5]);

impl Counts {
    fn of(config: &Config) -> Self {
        let own = |name: &str| name != DEAD_LETTERS && !config.sources.contains_key(name);
        Counts([
            ("source", config.sources.len()),
            ("pipeline", config.pipelines.len()),
            ("step", config.pipelines.values().map(|pipeline| pipeline.steps.len()).sum()),
            ("stream", config.streams.keys().filter(|name| own(name)).count()),
            ("sink", config.sinks.len()),
        ])
    }

    fn line(&self) -> String {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let words = self.0.map(|(name, count)| format!("{count} {name}{}", plural(count)));
        format!("ok: {}\n", words.join(", "))
    }
}
