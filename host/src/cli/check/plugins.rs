//! Starts every plugin that a pipeline file uses, once, to see whether it is there and takes its configuration.
//!
//! `weir run` does the same before it starts, so that what `weir check` finds right does start.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inputs;
use crate::accept::Used;
use crate::config::{Loaded, Pipeline, Place, Problem, Sink, Step, StepOwner, listed, nearest};
use crate::plugin::catalog::CatalogError;
use crate::plugin::load::Problem as LoadProblem;
use crate::plugin::{Catalog, Description, Engine, LoadError, Plugin, StartError, StepContext, World};
use crate::record::Partition;

/// The plugins of a pipeline file.
#[derive(Debug, Default)]
pub struct Plugins {
    /// Those that can be used, by name.
    pub loaded: BTreeMap<Arc<str>, Plugin>,
    /// Errors and warnings. Without an error all plugins were loaded and took their configuration.
    pub problems: Vec<Problem>,
    /// The pipelines that cannot run with them, and why.
    pub broken: BTreeMap<Arc<str>, String>,
    /// How they are used.
    pub uses: Vec<UsedPlugin>,
}

/// One use of a plugin that started.
#[derive(Debug)]
pub struct UsedPlugin {
    /// `PIPELINE/STEP`, or the name of a sink.
    pub name: String,
    /// What it is and may.
    pub used: Used,
    /// The pipelines that need it.
    pub pipelines: Vec<Arc<str>>,
    /// Where the file names it.
    pub place: Place,
}

impl Plugins {
    /// Keeps a problem of some pipelines.
    pub(super) fn add<'a>(&mut self, problem: Problem, pipelines: impl IntoIterator<Item = &'a Arc<str>>) {
        if !problem.is_warning() {
            for name in pipelines {
                self.broken.entry(name.clone()).or_insert_with(|| problem.to_string());
            }
        }
        self.problems.push(problem);
    }
}

/// Loads and starts the plugins of all steps and sinks.
pub async fn plugins(loaded: &Loaded, engine: &Engine) -> Plugins {
    let uses = uses(loaded);
    let catalog = Catalog::new(loaded.config.plugins.clone());
    let mut plugins = Plugins::default();
    for name in uses.iter().map(|used| &used.step.plugin).collect::<std::collections::BTreeSet<_>>() {
        let users: Vec<&Use<'_>> = uses.iter().filter(|used| used.step.plugin == *name).collect();
        match load(&catalog, engine, name).await {
            Ok(plugin) => drop(plugins.loaded.insert(name.clone(), plugin)),
            Err(problem) => {
                let of = users.iter().flat_map(|used| used.pipelines(loaded)).collect::<Vec<_>>();
                plugins.add(mark(problem, loaded, &users), of);
            }
        }
    }
    let mut described = Vec::new();
    for used in &uses {
        let Some(plugin) = plugins.loaded.get(&used.step.plugin) else { continue };
        match used.start(plugin).await {
            Ok(description) => {
                let used_plugin = used.as_it_is(loaded, plugin);
                described.push((used, description));
                plugins.uses.push(used_plugin);
            }
            Err(failure) => plugins.add(used.problem(loaded, failure), used.pipelines(loaded)),
        }
    }
    for (name, pipeline) in &loaded.config.pipelines {
        let of_this = |used: &Use<'_>| matches!(used.owner, StepOwner::Pipeline(owner, _) if owner == &**name);
        let steps: Vec<_> = described.iter().filter(|(used, _)| of_this(used)).collect();
        // A step that did not start has not said which ports it has.
        if steps.len() == pipeline.steps.len() {
            let ports: Vec<_> = steps.iter().map(|(used, description)| (used.step, description)).collect();
            let described: Vec<_> = steps.iter().map(|(_, description)| description).collect();
            let found = ports_problems(loaded, name, pipeline, &ports).into_iter();
            found
                .chain(inputs::problems(loaded, name, pipeline, &described))
                .for_each(|problem| plugins.add(problem, [name]));
        }
    }
    plugins
}

/// One use of a plugin.
struct Use<'a> {
    owner: StepOwner<'a>,
    step: &'a Step,
    world: World,
    context: StepContext,
}

/// Why a plugin does not start in one place.
enum Failure {
    Load(LoadError),
    Start(StartError),
}

fn uses(loaded: &Loaded) -> Vec<Use<'_>> {
    let context = |pipeline: &Arc<str>, step: &Step, inputs: &[Arc<str>]| StepContext {
        pipeline: pipeline.clone(),
        step: step.name.clone(),
        partition: Partition(0),
        inputs: inputs.to_vec(),
        tables: step.table_names(),
    };
    let mut uses = Vec::new();
    for (name, pipeline) in &loaded.config.pipelines {
        for (at, step) in pipeline.steps.iter().enumerate() {
            let context = context(name, step, &pipeline.from);
            uses.push(Use { owner: StepOwner::Pipeline(name, at), step, world: World::Transform, context });
        }
    }
    for (name, sink) in &loaded.config.sinks {
        if let Sink::Plugin(step) = sink {
            let writers: Vec<_> = loaded.config.pipelines.iter().filter(|(_, writer)| writer.writes(name)).collect();
            let writers: Vec<Arc<str>> = writers.into_iter().map(|(name, _)| name.clone()).collect();
            let context = context(name, step, &writers);
            uses.push(Use { owner: StepOwner::Sink(name), step, world: World::Sink, context });
        }
    }
    uses
}

async fn load(catalog: &Catalog, engine: &Engine, name: &str) -> Result<Plugin, Problem> {
    let found = catalog.find(name).map_err(|error| not_found(catalog, error))?;
    let refused = |error: LoadError| {
        Problem::unavailable("plugin-refused", format!("`{name}` cannot be used as a plugin: {}", error.problem))
    };
    engine.load(name, found.code).await.map_err(refused)
}

fn not_found(catalog: &Catalog, error: CatalogError) -> Problem {
    let CatalogError::NotFound { name, directories, stock, .. } = error else {
        return Problem::unavailable("plugin-unreadable", error.to_string());
    };
    let names = catalog.names();
    let near = nearest(&name, names.iter().map(String::as_str));
    let mut help = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    for directory in &directories {
        help.push_str(&format!("there is no {}.wasm; ", directory.join(&name).display()));
    }
    help.push_str(&match stock {
        0 => "this build carries no stock plugins (`cargo xtask build` makes one that does)".into(),
        _ if directories.is_empty() => "say by `plugins` or --plugins where your plugins are".into(),
        _ => "it is no stock plugin either".to_owned(),
    });
    Problem::error("plugin-not-found", format!("there is no plugin `{name}`")).help(help)
}

/// Points a problem of a plugin at all of its uses, up to a few.
fn mark(problem: Problem, loaded: &Loaded, users: &[&Use<'_>]) -> Problem {
    const SHOWN_MAX: usize = 4;
    users
        .iter()
        .take(SHOWN_MAX)
        .fold(problem, |problem, used| problem.at(&loaded.origin.plugin(used.owner), "used here"))
}

impl Use<'_> {
    /// The pipelines that need it.
    fn pipelines<'a>(&self, loaded: &'a Loaded) -> Vec<&'a Arc<str>> {
        let needs = |(name, pipeline): &(&'a Arc<str>, &'a Pipeline)| match self.owner {
            StepOwner::Pipeline(owner, _) => ***name == *owner,
            StepOwner::Sink(sink) => pipeline.writes(sink),
        };
        loaded.config.pipelines.iter().filter(needs).map(|(name, _)| name).collect()
    }

    /// What it is and may.
    fn as_it_is(&self, loaded: &Loaded, plugin: &Plugin) -> UsedPlugin {
        UsedPlugin {
            name: match self.owner {
                StepOwner::Pipeline(pipeline, _) => format!("{pipeline}/{}", self.step.name),
                StepOwner::Sink(sink) => sink.to_owned(),
            },
            used: Used::of(self.step, plugin.hash(), plugin.imports()),
            pipelines: self.pipelines(loaded).into_iter().cloned().collect(),
            place: loaded.origin.plugin(self.owner),
        }
    }

    async fn start(&self, plugin: &Plugin) -> Result<Description, Failure> {
        let plugin = plugin.granted(&self.step.grants);
        let (context, config, limits) = (self.context.clone(), self.step.config.clone(), self.step.limits.clone());
        match self.world {
            World::Transform | World::StatefulTransform => {
                let factory = plugin.step(context, config, limits).map_err(Failure::Load)?;
                factory.start().await.map(|(_, description)| description).map_err(Failure::Start)
            }
            World::Sink => {
                let factory = plugin.sink(context, config, limits).map_err(Failure::Load)?;
                factory.start().await.map(|_| Description::default()).map_err(Failure::Start)
            }
        }
    }

    fn problem(&self, loaded: &Loaded, failure: Failure) -> Problem {
        let plugin = &self.step.plugin;
        let here = loaded.origin.plugin(self.owner);
        match failure {
            Failure::Load(LoadError { problem: LoadProblem::WrongWorld { found, .. }, .. }) => {
                self.wrong_world(found).at(&here, "used here")
            }
            Failure::Load(error) => Problem::unavailable("plugin-refused", error.to_string()).at(&here, "used here"),
            Failure::Start(StartError::Config { path, message }) => {
                let place = loaded.origin.setting(self.owner, &path);
                let told =
                    if loaded.origin.names(self.owner, &path) { message } else { format!("config.{path}: {message}") };
                Problem::error("plugin-config", format!("`{plugin}` refuses its configuration: {told}"))
                    .at(&place, "refused")
            }
            Failure::Start(failure @ (StartError::Failed(_) | StartError::Full { .. })) => {
                // What can be done about it is the help.
                let told = match failure {
                    StartError::Failed(failure) => failure.to_string(),
                    other => other.to_string(),
                };
                Problem::unavailable("plugin-failed", format!("`{plugin}` does not start: {told}"))
                    .at(&here, "used here")
                    .help("this is a defect of the plugin, or its `limits` are too low")
            }
        }
    }

    fn wrong_world(&self, found: World) -> Problem {
        let plugin = &self.step.plugin;
        match found {
            World::Sink => {
                Problem::error("plugin-kind", format!("the plugin `{plugin}` is a sink, and a step is expected"))
                    .help(format!("name it under `sinks`, as `NAME: {{plugin: {plugin}}}`, and NAME in `to`"))
            }
            World::Transform | World::StatefulTransform => {
                Problem::error("plugin-kind", format!("the plugin `{plugin}` is a step, and a sink is expected"))
                    .help("name it in the `steps` of a pipeline")
            }
        }
    }
}

/// Ports that `to` names and no step has, and ports of steps that lead nowhere.
fn ports_problems(
    loaded: &Loaded,
    name: &Arc<str>,
    pipeline: &Pipeline,
    steps: &[(&Step, &Description)],
) -> Vec<Problem> {
    let known: Vec<&str> = steps.iter().flat_map(|(_, described)| described.ports.iter().map(String::as_str)).collect();
    let unknown = pipeline.ports.keys().filter(|port| !known.contains(&&***port));
    let mut problems: Vec<Problem> = unknown.map(|port| unknown_port(loaded, name, port, &known)).collect();
    for (at, (step, described)) in steps.iter().enumerate() {
        for port in described.ports.iter().filter(|port| !pipeline.ports.contains_key(port.as_str())) {
            let message = format!("records that leave `{}` by its port `{port}` go nowhere", step.name);
            problems.push(
                Problem::warning("port-unused", message)
                    .at(&loaded.origin.plugin(StepOwner::Pipeline(name, at)), &format!("has a port `{port}`"))
                    .help(format!("say where they go: `to: {{main: ..., {port}: STREAM}}`")),
            );
        }
    }
    problems
}

fn unknown_port(loaded: &Loaded, pipeline: &str, port: &str, known: &[&str]) -> Problem {
    let problem = Problem::error("unknown-port", format!("no step of `{pipeline}` has a port `{port}`"))
        .at(&loaded.origin.port(pipeline, port), "unknown port");
    match nearest(port, known.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("ports of its steps, beside `main`: {}", listed(known.iter().copied()))),
    }
}
