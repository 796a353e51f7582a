//! `weir lock`: pins the plugins of a pipeline file as they are now.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use super::{EXIT_UNAVAILABLE, check, say};
use crate::accept::{Accepted, Error, Used, lock_file};
use crate::config::{self, Overrides, Report};
use crate::plugin::Engine;

/// What `weir lock` is told.
#[derive(Debug, clap::Args)]
pub struct LockArgs {
    /// A pipeline file, or a directory of them
    pub path: PathBuf,
    /// A directory with plugins, searched before those of the file; may be given again
    #[arg(long = "plugins", value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
}

/// Writes `weir.lock` and prints what has changed in it; gives the exit code.
pub async fn run(args: LockArgs) -> u8 {
    let overrides = Overrides { data: None, plugins: args.plugins.clone() };
    let loaded = match config::load(&args.path, &overrides) {
        Ok(loaded) => loaded,
        Err(report) => return check::tell(&report),
    };
    let cache = loaded.config.plugin_cache();
    let engine = match Engine::new(cache.is_dir().then_some(cache)) {
        Ok(engine) => engine,
        Err(error) => {
            say(&format!("weir: {error}"));
            return EXIT_UNAVAILABLE;
        }
    };
    let found = check::plugins(&loaded, &engine).await;
    let report = Report::new(found.problems);
    if report.exit_code() != 0 {
        return check::tell(&report);
    }
    let uses = found.uses.into_iter().map(|of| (of.name, of.used)).collect();
    match write(&args, uses) {
        Ok(told) => {
            let _ = std::io::stdout().lock().write_all(told.as_bytes());
            0
        }
        Err(error) => {
            say(&format!("weir: {error}"));
            EXIT_UNAVAILABLE
        }
    }
}

/// Writes the file, and says how it differs from the one before.
fn write(args: &LockArgs, uses: BTreeMap<String, Used>) -> Result<String, Error> {
    let path = lock_file(&args.path);
    let before = Accepted::read(&path)?.map(|before| before.uses).unwrap_or_default();
    let mut now = Accepted::new(uses);
    let told = told(&before, &now.uses, args.path.is_dir());
    if !args.path.is_dir() {
        // The file may pin what another pipeline file of the directory uses.
        for (name, used) in before {
            now.uses.entry(name).or_insert(used);
        }
    }
    now.write(&path)?;
    Ok(told)
}

fn told(before: &BTreeMap<String, Used>, now: &BTreeMap<String, Used>, is_all: bool) -> String {
    let mut text = String::new();
    for (name, used) in now {
        let plugin = &used.plugin;
        match before.get(name) {
            None => text.push_str(&format!("{name}: new, {plugin} {}\n", used.short())),
            Some(earlier) if earlier == used => {
                text.push_str(&format!("{name}: as before, {plugin} {}\n", used.short()))
            }
            Some(earlier) => {
                text.push_str(&format!("{name}: changed, {plugin} {}\n", used.short()));
                used.difference(earlier).iter().for_each(|line| text.push_str(&format!("  {line}\n")));
            }
        }
    }
    let gone = before.keys().filter(|name| is_all && !now.contains_key(*name));
    gone.for_each(|name| text.push_str(&format!("{name}: gone\n")));
    text
}
