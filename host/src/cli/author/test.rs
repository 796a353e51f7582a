//! `weir plugin test`: cases in, what is expected out, in the sandbox that `weir run` has.

use std::fs;
use std::path::{Path, PathBuf};

use super::build::{self, Built};
use super::diff::diff;
use super::{EXIT_FAILED, Failed};
use crate::case::run::{Way, run as run_case};
use crate::case::{self, Case, EXPECTED_FILE, Outcome, PLUGIN_FILE};
use crate::cli::{EXIT_CONFIG, EXIT_USAGE, check, say};
use crate::plugin::{Engine, Plugin};

/// Directories below `tests` in which cases are looked for.
const DEPTH_MAX: usize = 4;

/// What `weir plugin test` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct TestArgs {
    /// A crate, which is built and whose cases are in tests/, or one case
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// Take what comes out now for what is expected
    #[arg(long)]
    pub update: bool,
}

/// Runs the cases; gives the exit code: 1 where one fails, or the crate does not compile.
pub async fn run(args: TestArgs) -> u8 {
    super::start_log();
    match test(&args).await {
        Ok(code) => code,
        Err(failed) => failed.tell(),
    }
}

async fn test(args: &TestArgs) -> Result<u8, Failed> {
    let suite = Suite::find(&args.path)?;
    let built = suite.build().await?;
    let engine = Engine::new(built.as_ref().and_then(cache)).map_err(Failed::unavailable)?;
    let mut failed = 0;
    for directory in &suite.cases {
        let name = suite.name_of(directory);
        match one(&engine, directory, built.as_ref(), args.update).await? {
            Verdict::Fine => say(&format!("ok     {name}")),
            Verdict::Written => say(&format!("new    {name}")),
            Verdict::Wrong(why) => {
                failed += 1;
                say(&format!("FAILED {name}: {}", why.trim_end()));
            }
        }
    }
    let (count, s) = (suite.cases.len(), if suite.cases.len() == 1 { "" } else { "s" });
    say(&format!("{count} case{s}, {failed} failed"));
    Ok(if failed > 0 { EXIT_FAILED } else { 0 })
}

/// Where the machine code of a crate's plugin is kept for the next time.
pub(super) fn cache(built: &Built) -> Option<PathBuf> {
    built.path.parent().map(|target| target.join("weir-cache"))
}

/// What is tested.
pub(super) struct Suite {
    /// The crate whose plugin cases run that have none of their own.
    crate_dir: Option<PathBuf>,
    /// Where the names of cases begin.
    base: PathBuf,
    cases: Vec<PathBuf>,
}

impl Suite {
    pub(super) fn find(path: &Path) -> Result<Suite, Failed> {
        if Case::is_at(path) {
            let crate_dir = fs::canonicalize(path)
                .ok()
                .and_then(|path| path.ancestors().find(|directory| build::is_crate(directory)).map(Path::to_path_buf));
            let crate_dir = crate_dir.filter(|_| !path.join(PLUGIN_FILE).is_file());
            if crate_dir.is_none() && !path.join(PLUGIN_FILE).is_file() {
                let wanted = format!("expected a {PLUGIN_FILE} beside it, or a crate around it");
                return Err(Failed::new(EXIT_USAGE, format!("{}: the case has no plugin: {wanted}", path.display())));
            }
            let base = path.parent().unwrap_or(path).to_path_buf();
            return Ok(Suite { crate_dir, base, cases: vec![path.to_path_buf()] });
        }
        if !build::is_crate(path) {
            let problem = format!("{}: it is no crate, and no case (a folder with input.jsonl)", path.display());
            return Err(Failed::new(EXIT_USAGE, problem));
        }
        let (base, mut cases) = (path.join("tests"), Vec::new());
        find_cases(&base, DEPTH_MAX, &mut cases);
        cases.sort();
        match cases.is_empty() {
            true => Err(Failed::new(
                EXIT_USAGE,
                format!("{}: there is no case (a folder with input.jsonl)", base.display()),
            )),
            false => Ok(Suite { crate_dir: Some(path.to_path_buf()), base, cases }),
        }
    }

    pub(super) fn first_case(&self) -> Option<&Path> {
        self.cases.first().map(PathBuf::as_path)
    }

    pub(super) async fn build(&self) -> Result<Option<Built>, Failed> {
        match &self.crate_dir {
            Some(directory) => build::crate_at(directory).await.map(Some),
            None => Ok(None),
        }
    }

    fn name_of(&self, case: &Path) -> String {
        case.strip_prefix(&self.base).unwrap_or(case).display().to_string()
    }
}

fn find_cases(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if Case::is_at(directory) {
        return found.push(directory.to_path_buf());
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).for_each(|path| find_cases(&path, depth, found));
}

/// What became of a case.
enum Verdict {
    Fine,
    /// What came was written down as expected.
    Written,
    /// It failed.
    Wrong(String),
}

async fn one(engine: &Engine, directory: &Path, built: Option<&Built>, update: bool) -> Result<Verdict, Failed> {
    let case = Case::read(directory).map_err(|error| unreadable(&error))?;
    let plugin = match load(engine, &case, directory, built).await {
        Ok(plugin) => plugin,
        Err(why) => return Ok(Verdict::Wrong(why)),
    };
    let came = run_case(&plugin, &case, Way::Straight).await;
    for way in Way::of(plugin.world()).iter().filter(|way| **way != Way::Straight) {
        let other = run_case(&plugin, &case, *way).await;
        if let Some(text) = diff(&texts(&came), &texts(&other)) {
            let what = format!("what comes {way} (+) differs from what comes {} (-)", Way::Straight);
            return Ok(Verdict::Wrong(format!("{what}\n{text}")));
        }
    }
    judge(&case, came, directory, update)
}

fn judge(case: &Case, came: Vec<Outcome>, directory: &Path, update: bool) -> Result<Verdict, Failed> {
    let difference = match &case.expected {
        None => Some(format!("there is no {EXPECTED_FILE}; `--update` writes what came\n{}", text(&came))),
        Some(expected) => diff(&texts(expected), &texts(&came))
            .map(|text| format!("{EXPECTED_FILE} (-) is not what came (+)\n{text}")),
    };
    match difference {
        None => Ok(Verdict::Fine),
        Some(why) if !update => Ok(Verdict::Wrong(why)),
        Some(_) => {
            let path = directory.join(EXPECTED_FILE);
            let written = fs::write(&path, case::lines(&came));
            written.map_err(|error| Failed::unavailable(format_args!("{}: {error}", path.display())))?;
            Ok(Verdict::Written)
        }
    }
}

/// The plugin of a case: its own, or its crate's.
pub(super) async fn load(
    engine: &Engine,
    case: &Case,
    directory: &Path,
    built: Option<&Built>,
) -> Result<Plugin, String> {
    let (name, wasm) = match (&case.plugin, built) {
        (Some(wasm), _) => ("plugin", wasm.clone()),
        (None, Some(built)) => (built.name.as_str(), built.wasm.clone()),
        (None, None) => return Err(format!("{}: there is no {PLUGIN_FILE}", directory.display())),
    };
    engine.load(name, wasm).await.map_err(|error| error.to_string())
}

/// A case that cannot be read is the author's to mend; the report draws the place.
pub(super) fn unreadable(error: &case::Error) -> Failed {
    match error {
        case::Error::Settings(report) => {
            say(report.render(check::look()).trim_end());
            Failed::new(EXIT_CONFIG, report)
        }
        case::Error::File { .. } => Failed::unavailable(error),
        case::Error::Line { .. } => Failed::new(EXIT_CONFIG, error),
    }
}

fn texts(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(Outcome::line).collect()
}

fn text(outcomes: &[Outcome]) -> String {
    texts(outcomes).iter().map(|line| format!("  {line}\n")).collect()
}
