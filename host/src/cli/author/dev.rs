//! `weir dev`: a pipeline runs, and its plugins' sources are followed. What is saved is built, compared with what runs on records
//! that lately came, and put in its place.
//!
//! The appliance is that of `weir run --watch`, with a plugin directory of its own in front: what is built is put there, and is
//! taken up as any other plugin that changes. So a version that fails goes by itself, and one that does not compile never comes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::build::{self, Built};
use super::{Failed, diff::diff};
use crate::case::run::{Way, run as run_case};
use crate::case::{Case, CaseFile, Given, Outcome, line};
use crate::cli::run::{RunArgs, run_sampled};
use crate::cli::watch::{self, Followed, Seen, Watch};
use crate::cli::{EXIT_USAGE, check, say};
use crate::config::{self, Config, Overrides};
use crate::plugin::sample::{Sample, Sampler};
use crate::plugin::{Engine, Plugin};

/// Where plugins are put that are built here, in the data directory.
const PLUGINS: &str = "dev-plugins";

/// What `weir dev` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct DevArgs {
    /// A pipeline file, or a directory of them
    pub path: PathBuf,
    /// The crate of a plugin; may be given again. Without it, those in, beside and below the file's directory are found by name
    #[arg(long = "crate", value_name = "DIR")]
    pub crates: Vec<PathBuf>,
    /// A directory with plugins, searched before those of the file; may be given again
    #[arg(long = "plugins", value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
    /// Where streams and positions are kept, instead of the file's `data`
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What the log says: error, warn, info, debug, or a filter
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,
}

/// Runs until told to stop; gives the exit code.
pub async fn run(args: DevArgs) -> u8 {
    let sampler = Arc::new(Sampler::default());
    let directory = match begin(&args, &sampler).await {
        Ok(directory) => directory,
        Err(failed) => return failed.tell(),
    };
    let plugins = [directory].into_iter().chain(args.plugins).collect();
    let DevArgs { path, data, log, .. } = args;
    run_sampled(
        RunArgs { path, once: false, watch: true, accept: true, plugins, data, json: false, log },
        Some(sampler),
    )
    .await
}

/// Builds what there is, and begins to follow it; gives the directory of what is built.
async fn begin(args: &DevArgs, sampler: &Arc<Sampler>) -> Result<PathBuf, Failed> {
    let overrides = Overrides { data: args.data.clone(), plugins: args.plugins.clone() };
    let loaded = config::load(&args.path, &overrides).map_err(|report| {
        say(report.render(check::look()).trim_end());
        Failed::new(report.exit_code(), &report)
    })?;
    let crates = crates(args, &loaded.config);
    if crates.is_empty() {
        let names: Vec<&str> = loaded.config.plugins_used().into_iter().collect();
        let wanted = format!("looked for {} in, beside and below its directory", config::listed(names));
        let problem =
            format!("{}: no crate of its plugins was found: {wanted}; `--crate DIR` says where", args.path.display());
        return Err(Failed::new(EXIT_USAGE, problem));
    }
    let directory = loaded.config.data.join(PLUGINS);
    let unwritable = |error| Failed::unavailable(format_args!("{}: {error}", directory.display()));
    fs::create_dir_all(&directory).map_err(unwritable)?;
    let engine = Engine::new(Some(loaded.config.plugin_cache())).map_err(Failed::unavailable)?;
    for (name, crate_dir) in crates {
        say(&format!("{name}: {}", crate_dir.display()));
        let place = directory.join(format!("{name}.wasm"));
        let seen = seen(&crate_dir);
        match build::crate_at(&crate_dir).await {
            Ok(built) => build::put(&place, &built.wasm).map_err(unwritable)?,
            // What was built before goes on, where there is something.
            Err(failed) if place.is_file() => drop(failed.tell()),
            Err(failed) => return Err(failed),
        }
        let follow = Follow { name, crate_dir, place, engine: engine.clone(), sampler: sampler.clone() };
        tokio::spawn(follow.run(seen));
    }
    Ok(directory)
}

/// The crates of the plugins that a configuration uses, by the plugin's name.
fn crates(args: &DevArgs, config: &Config) -> BTreeMap<String, PathBuf> {
    let file = fs::canonicalize(&args.path).unwrap_or_else(|_| args.path.clone());
    let home = if file.is_dir() { file.as_path() } else { file.parent().unwrap_or(&file) };
    let below = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        found.sort();
        found
    };
    let beside = home.parent().map(below).unwrap_or_default();
    let nearby = [vec![home.to_path_buf()], below(home), beside].concat();
    let (wanted, mut found) = (config.plugins_used(), BTreeMap::new());
    for directory in args.crates.iter().cloned().chain(nearby) {
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
        if let Some(name) = build::package(&manifest).filter(|name| wanted.contains(name.as_str())) {
            found.entry(name).or_insert(directory);
        }
    }
    found
}

/// What a crate is built of.
fn seen(crate_dir: &Path) -> Seen {
    let mut seen = watch::files_below(&crate_dir.join("src"));
    seen.extend(watch::file(&crate_dir.join("Cargo.toml")));
    seen
}

/// A plugin whose sources are followed.
struct Follow {
    name: String,
    crate_dir: PathBuf,
    /// Where the appliance finds it.
    place: PathBuf,
    engine: Engine,
    sampler: Arc<Sampler>,
}

#[async_trait]
impl Followed for Follow {
    type Seen = Seen;

    async fn places(&self) -> Vec<PathBuf> {
        vec![self.crate_dir.join("src")]
    }

    async fn see(&self) -> Seen {
        seen(&self.crate_dir)
    }
}

impl Follow {
    async fn run(self, mut before: Seen) {
        let mut watch = Watch::deep();
        loop {
            before = watch.changed(&self, &before).await;
            self.rebuild().await;
        }
    }

    async fn rebuild(&self) {
        let name = &self.name;
        let built = match build::crate_at(&self.crate_dir).await {
            Ok(built) => built,
            Err(failed) => {
                failed.tell();
                return say(&format!("{name}: does not build; what ran before runs on"));
            }
        };
        let running = fs::read(&self.place).unwrap_or_default();
        if running == built.wasm {
            return say(&format!("{name}: built, and nothing has changed"));
        }
        if let Err(why) = self.compare(running, &built).await {
            say(&format!("{name}: cannot be compared with what ran before: {why}"));
        }
        match build::put(&self.place, &built.wasm) {
            Ok(()) => say(&format!("{name}: built, goes into its place")),
            Err(error) => say(&format!("{name}: {}: {error}", self.place.display())),
        }
    }

    /// Shows what becomes of the sampled records of each step in both versions.
    async fn compare(&self, running: Vec<u8>, built: &Built) -> Result<(), String> {
        let load = async |wasm: Vec<u8>| self.engine.load(&self.name, wasm).await.map_err(|error| error.to_string());
        let (old, new) = (load(running).await?, load(built.wasm.clone()).await?);
        for sample in self.sampler.of(&self.name) {
            let case = case_of(&sample);
            let title = format!("{}/{}", sample.used.context.pipeline, sample.used.context.step);
            say(differences(&title, &old, &new, &case).await.trim_end());
        }
        Ok(())
    }
}

/// What a step was given lately, as a case.
fn case_of(sample: &Sample) -> Case {
    let used = &sample.used;
    let settings = CaseFile {
        config: used.config.clone(),
        pipeline: used.context.pipeline.clone(),
        step: used.context.step.clone(),
        partition: used.context.partition,
        inputs: used.context.inputs.clone(),
        tables: used.context.tables.clone(),
        limits: used.limits.clone(),
        ..CaseFile::default()
    };
    let names: Vec<_> = settings.inputs.iter().chain(&settings.tables).cloned().collect();
    let given = sample.records.iter().filter_map(|(input, records)| {
        Some(Given { input: names.get(*input as usize)?.clone(), records: records.clone() })
    });
    Case { given: given.collect(), settings, ..Case::default() }
}

/// Each record of which another thing comes now: what it is, what came of it (-), and what comes of it (+). Both versions begin
/// with nothing in their tables.
async fn differences(title: &str, old: &Plugin, new: &Plugin, case: &Case) -> String {
    let (before, after) = (run_case(old, case, Way::Straight).await, run_case(new, case, Way::Straight).await);
    let (mut text, mut count, mut differ) = (String::new(), 0, 0);
    for given in &case.given {
        let label = case.has_many_inputs().then(|| given.input.to_string());
        for record in given.records.iter() {
            count += 1;
            let of = line::Origin { input: label.clone(), offset: record.offset };
            let came = |outcomes: &[Outcome]| -> Vec<String> {
                outcomes.iter().filter(|outcome| outcome.origin() == Some(&of)).map(Outcome::line).collect()
            };
            if let Some(difference) = diff(&came(&before), &came(&after)) {
                differ += 1;
                let mut shown = Vec::new();
                line::push_given(&mut shown, label.as_deref(), &record);
                text.push_str(&format!("           {}{difference}", String::from_utf8_lossy(&shown)));
            }
        }
    }
    let rest = |outcomes: &[Outcome]| -> Vec<String> {
        outcomes.iter().filter(|outcome| outcome.origin().is_none()).map(Outcome::line).collect()
    };
    text.push_str(&diff(&rest(&before), &rest(&after)).unwrap_or_default());
    format!("{title}: of {count} records that came last, {differ} become something else\n{text}")
}
