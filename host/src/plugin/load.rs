//! What a component must be to be a plugin, and what is said of one that is not.

use std::sync::Arc;

use blake3::Hash;
use serde::Serialize;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Linker, Lower};

use super::Factory;
use super::bindings::{
    AdvanceIn, AdvanceOut, MigrateIn, MigrateOut, StatefulInitOut, StatefulProcessIn, StatefulProcessOut,
};
use super::bindings::{DATABASE, DELIVERY, HTTP, KUDU, LOG, LOOKUP, SLACK, STATE, STATEFUL_STEP, STEP, TYPES};
use super::bindings::{DeliveryInitOut, InitIn, ProcessIn, ProcessOut, StepInitOut, WriteIn, WriteOut};
use super::engine::Engine;
use super::instance::{Setup, SinkFactory, StatefulFactory, StepContext, TransformFactory};
use super::limits::{State, cut};
use super::sample::Use;
use super::wasi;
use crate::config::{Grants, StepLimits};
use crate::endpoint::archive::Archive;

/// What a plugin is for; see `wit/worlds.wit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// It turns records into records: a step.
    Transform,
    /// It turns records into records and remembers: a step with state.
    StatefulTransform,
    /// It delivers records: a sink.
    Sink,
}

impl World {
    /// Whether it can be a step of a pipeline.
    pub fn is_step(self) -> bool {
        matches!(self, World::Transform | World::StatefulTransform)
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            World::Transform => "transform",
            World::StatefulTransform => "stateful transform",
            World::Sink => "sink",
        })
    }
}

/// Why a plugin cannot be used. An operator has to act: trying again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin}: {problem}")]
pub struct LoadError {
    /// Its name.
    pub plugin: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with something that should be a plugin, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not WebAssembly.
    #[error("it is not WebAssembly: expected a component, a file that begins with the bytes 00 61 73 6d")]
    NotWasm,
    /// WebAssembly, but no component.
    #[error(
        "it is a core module, expected a component: build it for wasm32-unknown-unknown with `-C linker=wasm-component-ld`, \
         or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// A component that is broken, or uses what this version does not know.
    #[error("it is not a valid component: {0}; it has to be built anew, or copied again if it was cut short")]
    Invalid(String),
    /// The compiler did not come to an end with it.
    #[error(
        "compiling it takes more than {cpu_seconds} s of processor time or {} MiB of memory, or ends the compiler ({how}): \
         make it smaller, or split it",
        memory_bytes >> 20
    )]
    NotCompiled {
        /// The processor time that it had.
        cpu_seconds: u64,
        /// The memory that it had.
        memory_bytes: u64,
        /// How the compiler ended.
        how: String,
    },
    /// A component for something else.
    #[error(
        "it has no world of Weir: expected the export {STEP} or {STATEFUL_STEP} (a step) or {DELIVERY} (a sink), found {}",
        list(exports)
    )]
    NoWorld {
        /// What it exports.
        exports: Vec<String>,
    },
    /// A plugin for another version of the contract.
    #[error(
        "it was built for {found}, and this version of Weir runs {expected}: build it with the SDK of this version"
    )]
    Version {
        /// What it exports.
        found: String,
        /// What is expected.
        expected: &'static str,
    },
    /// Several of them.
    #[error(
        "it exports more than one of {STEP}, {STATEFUL_STEP} (steps) and {DELIVERY} (a sink): make two plugins of it"
    )]
    TwoWorlds,
    /// It wants what it was not granted.
    #[error("it imports {}, which it was not granted{}", list(imports), advice(imports))]
    NotGranted {
        /// What it wants.
        imports: Vec<String>,
    },
    /// A function of its world has other parameters or results.
    #[error(
        "its function {function} does not have the type that this version of Weir expects: {detail}; build it with the SDK, \
         or the WIT, of this version"
    )]
    Type {
        /// Interface and function.
        function: String,
        /// What was expected and what came.
        detail: String,
    },
    /// A sink used as a step, or the other way around.
    #[error("it is a {found}, expected a {expected}: name it {}", place(*found))]
    WrongWorld {
        /// What it is.
        found: World,
        /// What it is used as.
        expected: World,
    },
}

/// Where in the pipeline file a plugin is used.
fn place(world: World) -> &'static str {
    if world.is_step() { "among the `steps` of a pipeline" } else { "under `sinks`, as the `plugin` of one" }
}

fn list(names: &[String]) -> String {
    const SHOWN_MAX: usize = 12;
    let more = names.len().saturating_sub(SHOWN_MAX);
    let shown = names.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (shown.is_empty(), more) {
        (true, _) => "nothing".into(),
        (false, 0) => shown,
        (false, more) => format!("{shown} and {more} more"),
    }
}

fn advice(imports: &[String]) -> &'static str {
    let wants = |prefix: &str| imports.iter().any(|name| name.starts_with(prefix));
    if wants("wasi:") {
        ": of WASI plugins have version 0.2 of cli, clocks, filesystem, io, random and sockets, with nothing of the host \
         behind it; build it without what uses the rest, or for wasm32-unknown-unknown"
    } else if wants("weir:plugin/state@") {
        ": keyed state is for plugins of the world stateful-transform"
    } else if wants(HTTP) {
        ": name a web service under `endpoints`, and add `grants: {http: NAME}` to the step"
    } else if wants(DATABASE) {
        ": name a database under `endpoints`, and add `grants: {database: NAME}` to the step"
    } else if wants(KUDU) {
        ": name a Kudu cluster under `endpoints`, and add `grants: {kudu: NAME}` to the step"
    } else if wants(SLACK) {
        ": name a workspace of Slack under `endpoints`, and add `grants: {slack: NAME}` to the step"
    } else if wants("weir:plugin/") {
        ": this version of Weir does not have it; build the plugin with the SDK of this version"
    } else {
        ": a plugin may import the interfaces of weir:plugin@0.1.0 alone"
    }
}

/// Refuses what is no component, by its first bytes: after the magic, a version and a layer, 0 for a core module and 1 for
/// a component.
pub(super) fn check_kind(bytes: &[u8]) -> Result<(), Problem> {
    match bytes.first_chunk::<8>() {
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => Err(Problem::CoreModule),
        _ => Err(Problem::NotWasm),
    }
}

/// The names of a component's imports and exports.
pub(super) struct Names {
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

impl Names {
    pub(super) fn of(engine: &wasmtime::Engine, component: &Component) -> Self {
        let ty = component.component_type();
        let name = |name: &str| cut(name).to_owned();
        let imports = ty.imports(engine).map(|(import, _)| name(import)).collect();
        let exports = ty.exports(engine).map(|(export, _)| name(export)).collect();
        Names { imports, exports }
    }

    /// The world that the exports make.
    pub(super) fn world(&self) -> Result<World, Problem> {
        let exports = |name: &str| self.exports.iter().any(|export| export == name);
        let worlds = [(STEP, World::Transform), (STATEFUL_STEP, World::StatefulTransform), (DELIVERY, World::Sink)];
        let mut found = worlds.into_iter().filter(|(export, _)| exports(export)).map(|(_, world)| world);
        match (found.next(), found.next()) {
            (Some(world), None) => Ok(world),
            (Some(_), Some(_)) => Err(Problem::TwoWorlds),
            (None, _) => Err(self.other_version().unwrap_or(Problem::NoWorld { exports: self.exports.clone() })),
        }
    }

    fn other_version(&self) -> Option<Problem> {
        let interface = |name: &'static str| name.split_once('@').map_or(name, |(interface, _)| interface);
        [STEP, STATEFUL_STEP, DELIVERY].into_iter().find_map(|expected| {
            let found = self.exports.iter().find(|name| name.split('@').next() == Some(interface(expected)))?;
            Some(Problem::Version { found: found.clone(), expected })
        })
    }

    /// Refuses what no plugin of its world can be granted.
    pub(super) fn grantable(&self, world: World) -> Result<(), Problem> {
        let is_granted = |name: &str| match name {
            LOG | TYPES | HTTP | DATABASE | KUDU | SLACK | LOOKUP => true,
            STATE => world == World::StatefulTransform,
            _ => wasi::interface(name).is_some(),
        };
        let wanted = self.imports.iter().filter(|name| !is_granted(name));
        let imports: Vec<String> = wanted.cloned().collect();
        if imports.is_empty() { Ok(()) } else { Err(Problem::NotGranted { imports }) }
    }

    /// Refuses what a step was not granted.
    fn granted(&self, grants: &Grants) -> Result<(), Problem> {
        let is_missing = |name: &&String| match name.as_str() {
            HTTP => grants.http.is_empty(),
            DATABASE => grants.database.is_empty(),
            KUDU => grants.kudu.is_empty(),
            SLACK => grants.slack.is_empty(),
            _ => false,
        };
        let imports: Vec<String> = self.imports.iter().filter(is_missing).cloned().collect();
        if imports.is_empty() { Ok(()) } else { Err(Problem::NotGranted { imports }) }
    }
}

/// A component that was found to be a plugin.
pub(super) struct Compiled {
    pub(super) pre: InstancePre<State>,
    pub(super) world: World,
    pub(super) init: ComponentExportIndex,
    /// `process` of a transform, `write` of a sink.
    pub(super) work: ComponentExportIndex,
    /// `advance` of a stateful transform.
    pub(super) advance: Option<ComponentExportIndex>,
    /// `migrate` of a stateful transform.
    pub(super) migrate: Option<ComponentExportIndex>,
    /// Whether it was built against WASI.
    pub(super) uses_wasi: bool,
    pub(super) is_precompiled: bool,
    names: Names,
    hash: Hash,
    size: usize,
}

impl Compiled {
    /// Checks all that can be checked before an instance is started.
    pub(super) fn check(
        engine: &wasmtime::Engine,
        linker: &Linker<State>,
        component: Component,
        hash: Hash,
        size: usize,
    ) -> Result<Self, Problem> {
        let names = Names::of(engine, &component);
        let world = names.world()?;
        names.grantable(world)?;
        let exported = Exported { engine, component: &component };
        let (init, work) = match world {
            World::Transform => (
                exported.function::<InitIn<'_>, StepInitOut>(STEP, "init")?,
                exported.function::<ProcessIn<'_>, ProcessOut>(STEP, "process")?,
            ),
            World::StatefulTransform => (
                exported.function::<InitIn<'_>, StatefulInitOut>(STATEFUL_STEP, "init")?,
                exported.function::<StatefulProcessIn<'_>, StatefulProcessOut>(STATEFUL_STEP, "process")?,
            ),
            World::Sink => (
                exported.function::<InitIn<'_>, DeliveryInitOut>(DELIVERY, "init")?,
                exported.function::<WriteIn<'_>, WriteOut>(DELIVERY, "write")?,
            ),
        };
        let (advance, migrate) = match world {
            World::StatefulTransform => (
                Some(exported.function::<AdvanceIn, AdvanceOut>(STATEFUL_STEP, "advance")?),
                Some(exported.function::<MigrateIn, MigrateOut>(STATEFUL_STEP, "migrate")?),
            ),
            World::Transform | World::Sink => (None, None),
        };
        let uses_wasi = names.imports.iter().any(|import| wasi::interface(import).is_some());
        let pre = link(engine, linker, &component, uses_wasi).map_err(|error| Problem::Type {
            function: names.imports.join(", "),
            detail: cut(&format!("{error:#}")).to_owned(),
        })?;
        Ok(Compiled { pre, world, init, work, advance, migrate, uses_wasi, is_precompiled: false, names, hash, size })
    }
}

/// Links a component: with WASI where it wants that, in the versions that it names.
fn link(
    engine: &wasmtime::Engine,
    linker: &Linker<State>,
    component: &Component,
    uses_wasi: bool,
) -> wasmtime::Result<InstancePre<State>> {
    if !uses_wasi {
        return linker.instantiate_pre(component);
    }
    let mut linker = linker.clone();
    wasi::link(&mut linker, engine, component)?;
    linker.instantiate_pre(component)
}

/// The exports of a component.
struct Exported<'a> {
    engine: &'a wasmtime::Engine,
    component: &'a Component,
}

impl Exported<'_> {
    fn function<P, R>(&self, interface: &str, name: &str) -> Result<ComponentExportIndex, Problem>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let problem = |detail: String| Problem::Type { function: format!("{interface}#{name}"), detail };
        let ty = self.component.component_type();
        let instance: ComponentInstance = match ty.get_export(self.engine, interface).map(|export| export.ty) {
            Some(ComponentItem::ComponentInstance(instance)) => instance,
            _ => return Err(problem("the export is not an interface".into())),
        };
        let function: ComponentFunc = match instance.get_export(self.engine, name).map(|export| export.ty) {
            Some(ComponentItem::ComponentFunc(function)) => function,
            _ => return Err(problem("it is missing".into())),
        };
        function.typecheck::<P, R>(&ty.instance_type()).map_err(|error| problem(format!("{error:#}")))?;
        let interface = self.component.get_export_index(None, interface);
        let index = interface.and_then(|interface| self.component.get_export_index(Some(&interface), name));
        index.ok_or_else(|| problem("it is missing".into()))
    }
}

/// A loaded plugin, ready to be used by any number of steps and sinks. Clones share the code.
#[derive(Clone)]
pub struct Plugin {
    name: Arc<str>,
    engine: Engine,
    compiled: Arc<Compiled>,
    grants: Grants,
}

impl Plugin {
    pub(super) fn new(name: &str, engine: Engine, compiled: Arc<Compiled>) -> Self {
        Plugin { name: name.into(), engine, compiled, grants: Grants::default() }
    }

    /// The plugin as it may be used by a step that was granted this.
    pub fn granted(&self, grants: &Grants) -> Self {
        Plugin { grants: grants.clone(), ..self.clone() }
    }

    /// Has clients of services keep there what they want to know at the next start.
    pub fn keep_in(&self, archive: Archive) {
        self.engine.keep_in(archive);
    }

    /// The name under which it was loaded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    pub fn world(&self) -> World {
        self.compiled.world
    }

    /// The interfaces that it imports.
    pub fn imports(&self) -> &[String] {
        &self.compiled.names.imports
    }

    /// The interfaces that it exports.
    pub fn exports(&self) -> &[String] {
        &self.compiled.names.exports
    }

    /// The blake3 hash of the component, in hexadecimal.
    pub fn hash(&self) -> String {
        self.compiled.hash.to_hex().to_string()
    }

    /// The bytes of the component.
    pub fn size(&self) -> usize {
        self.compiled.size
    }

    /// Whether an earlier process had compiled it.
    pub fn is_precompiled(&self) -> bool {
        self.compiled.is_precompiled
    }

    /// Uses it as a transform without state. Fails with [`Problem::WrongWorld`] where it is none.
    pub fn transform(
        &self,
        context: StepContext,
        config: serde_json::Value,
        limits: StepLimits,
    ) -> Result<TransformFactory, LoadError> {
        Ok(TransformFactory::new(self.set_up(World::Transform, context, config, limits)?))
    }

    /// Uses it as a step, with state or without. Fails with [`Problem::WrongWorld`] where it is none.
    pub fn step(
        &self,
        context: StepContext,
        config: serde_json::Value,
        limits: StepLimits,
    ) -> Result<Arc<dyn Factory>, LoadError> {
        let sampled = self.engine.sampler().map(|sampler| {
            let use_of = Use {
                plugin: self.name.clone(),
                context: context.clone(),
                config: config.clone(),
                limits: limits.clone(),
            };
            (sampler, use_of)
        });
        let factory: Arc<dyn Factory> = match self.world() {
            World::StatefulTransform => {
                Arc::new(StatefulFactory::new(self.set_up(World::StatefulTransform, context, config, limits)?))
            }
            World::Transform | World::Sink => Arc::new(self.transform(context, config, limits)?),
        };
        Ok(match sampled {
            Some((sampler, use_of)) => sampler.watch(use_of, factory),
            None => factory,
        })
    }

    /// Uses it as a sink. Fails with [`Problem::WrongWorld`] where it is none.
    pub fn sink(
        &self,
        context: StepContext,
        config: serde_json::Value,
        limits: StepLimits,
    ) -> Result<SinkFactory, LoadError> {
        Ok(SinkFactory::new(self.set_up(World::Sink, context, config, limits)?))
    }

    fn set_up(
        &self,
        expected: World,
        context: StepContext,
        config: serde_json::Value,
        limits: StepLimits,
    ) -> Result<Setup, LoadError> {
        let refused = |problem| LoadError { plugin: self.name.to_string(), problem };
        let found = self.world();
        if found != expected {
            return Err(refused(Problem::WrongWorld { found, expected }));
        }
        self.compiled.names.granted(&self.grants).map_err(refused)?;
        Ok(Setup::new(&self.engine, self.compiled.clone(), context, &config, limits, &self.grants))
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).field("world", &self.world()).finish_non_exhaustive()
    }
}
