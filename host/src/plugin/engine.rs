//! The one engine of the process: its settings, its ticker, and how a component becomes a [`Plugin`].
//!
//! Knows nothing of pipelines. What a plugin must look like stands in `load.rs`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{Hash as _, Hasher};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};

use blake3::Hash;
use tokio::sync::Mutex;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Inlining, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::bundle::Bundle;
use super::cache::Cache;
use super::compile::Compiler;
use super::limits::{CALL_STACK_BYTES, PARTS_MAX, STACK_BYTES_MAX, State, TABLE_ELEMENTS_MAX, TICK, Ticks, link_log};
use super::load::{Compiled, LoadError, Plugin, Problem, check_kind};
use super::sample::Sampler;
use super::{database, http, kudu, lookup, slack, tables};
use crate::config::Grants;
use crate::endpoint::archive::Archive;
use crate::endpoint::{self, Granted};

/// Instances of plugins that may run at once: (step, partition) pairs. Costs address space, not memory.
pub const INSTANCES_MAX: u32 = 1_000;
/// Address space of each linear memory: all of a 32-bit memory, so no access needs a check.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Unmapped space behind each memory, which catches accesses with an offset.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;
/// Slots of ended instances that are kept ready for the same plugin.
const WARM_SLOTS_MAX: u32 = 16;

/// Why the engine could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the plugin engine cannot start on this machine: {0}")]
pub struct EngineError(pub(super) String);

/// The code of a plugin.
#[derive(Debug, Clone)]
pub struct Code {
    /// The component.
    pub wasm: Cow<'static, [u8]>,
    /// Machine code that a [`super::precompile::Precompiler`] made of it. It is run as it is: only what a bundle or a
    /// compiler gave may stand here.
    pub(super) machine_code: Option<MachineCode>,
}

/// Machine code that was made before.
#[derive(Debug, Clone)]
pub(super) enum MachineCode {
    /// Just made.
    Made(Arc<[u8]>),
    /// Of the plugin with this name in a bundle, from which it is not taken before it is needed.
    Carried(Arc<Bundle>, String),
}

impl MachineCode {
    /// Writes it, in pieces.
    pub(super) fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            MachineCode::Made(bytes) => out.write_all(bytes),
            MachineCode::Carried(bundle, name) => bundle.write_machine_code(name, out),
        }
    }

    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }
}

impl<T: Into<Cow<'static, [u8]>>> From<T> for Code {
    fn from(wasm: T) -> Self {
        Code { wasm: wasm.into(), machine_code: None }
    }
}

/// Compiles and runs plugins. Clones are the same engine; a process needs one.
#[derive(Clone)]
pub struct Engine(Arc<EngineInner>, Option<Arc<Sampler>>);

struct EngineInner {
    wasmtime: wasmtime::Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
    compiler: Option<Compiler>,
    ticks: Ticks,
    clients: endpoint::Clients,
    /// Plugins in use, so that steps of the same plugin share its code. Held while one is compiled: two tasks that want
    /// the same plugin wait for one compilation.
    loaded: Mutex<HashMap<Hash, Weak<Compiled>>>,
    /// The ticker ends when this is dropped.
    _ticker: mpsc::Sender<()>,
}

impl Engine {
    /// Sets up the engine. Compiled plugins are kept in `cache_dir`, where one is given, for the next start. They are compiled
    /// in this process.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        Engine::compiling_by(None, cache_dir)
    }

    /// As [`Engine::new`], and has plugins compiled by another process, so that none can harm this one.
    pub fn compiling_aside(compiler: Compiler, cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        Engine::compiling_by(Some(compiler), cache_dir)
    }

    fn compiling_by(compiler: Option<Compiler>, cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let wasmtime = wasmtime::Engine::new(&settings()).map_err(failed)?;
        let mut linker = Linker::new(&wasmtime);
        link_log(&mut linker).map_err(failed)?;
        tables::link(&mut linker).map_err(failed)?;
        http::link(&mut linker).map_err(failed)?;
        database::link(&mut linker).map_err(failed)?;
        kudu::link(&mut linker).map_err(failed)?;
        slack::link(&mut linker).map_err(failed)?;
        lookup::link(&mut linker).map_err(failed)?;
        let ticks = Ticks::default();
        let ticker = start_ticker(wasmtime.clone(), ticks.clone())?;
        let cache = cache_dir.map(|directory| Cache::new(directory, settings_hash(&wasmtime)));
        let loaded = Mutex::default();
        let clients = endpoint::Clients::default();
        let inner = EngineInner { wasmtime, linker, cache, compiler, ticks, clients, loaded, _ticker: ticker };
        Ok(Engine(Arc::new(inner), None))
    }

    /// The same engine, which keeps samples of what steps are given.
    #[must_use]
    pub fn sampling(self, sampler: Arc<Sampler>) -> Self {
        Engine(self.0, Some(sampler))
    }

    /// Who keeps samples of what steps are given.
    pub(super) fn sampler(&self) -> Option<&Arc<Sampler>> {
        self.1.as_ref()
    }

    /// Makes a plugin of its code: of what the cache has, of machine code that came with it, or compiled on a thread of its
    /// own. `name` is for errors.
    pub async fn load(&self, name: &str, code: impl Into<Code>) -> Result<Plugin, LoadError> {
        let refused = |problem| LoadError { plugin: name.to_owned(), problem };
        let code = code.into();
        let hash = blake3::hash(&code.wasm);
        let mut loaded = self.0.loaded.lock().await;
        let compiled = match loaded.get(&hash).and_then(Weak::upgrade) {
            Some(compiled) => compiled,
            None => Arc::new(self.prepare(name, code, hash).await.map_err(refused)?),
        };
        loaded.retain(|_, other| other.strong_count() > 0);
        loaded.insert(hash, Arc::downgrade(&compiled));
        Ok(Plugin::new(name, self.clone(), compiled))
    }

    /// The component with this hash, in hexadecimal, where it was loaded from a file and is still kept.
    pub fn component_with(&self, hash: &str) -> Option<Vec<u8>> {
        let cache = self.0.cache.as_ref()?;
        let told = |error: &io::Error| tracing::warn!(hash, "a component that was kept cannot be read: {error}");
        cache.component(hash).inspect_err(told).ok()?
    }

    async fn prepare(&self, name: &str, code: Code, hash: Hash) -> Result<Compiled, Problem> {
        let size = code.wasm.len();
        // Those that the program carries are there anyway.
        if let (Some(cache), None) = (&self.0.cache, &code.machine_code)
            && let Err(error) = cache.keep_component(&hash, &code.wasm)
        {
            tracing::warn!(plugin = name, "the component cannot be kept for who looks into its dead letters: {error}");
        }
        let (component, is_precompiled) = self.component(name, code, hash).await?;
        let mut compiled = self.check(component, hash, size)?;
        compiled.is_precompiled = is_precompiled;
        Ok(compiled)
    }

    /// Checks that a component is a plugin.
    pub(super) fn check(&self, component: Component, hash: Hash, size: usize) -> Result<Compiled, Problem> {
        Compiled::check(&self.0.wasmtime, &self.0.linker, component, hash, size)
    }

    /// The component, and whether its machine code was there before.
    pub(super) async fn component(&self, name: &str, code: Code, hash: Hash) -> Result<(Component, bool), Problem> {
        check_kind(&code.wasm)?;
        let (engine, name) = (self.clone(), name.to_owned());
        let compiling = tokio::task::spawn_blocking(move || engine.find_or_compile(&name, code, hash));
        compiling.await.map_err(|error| Problem::Invalid(format!("the compiler failed: {error}")))?
    }

    fn find_or_compile(&self, name: &str, code: Code, hash: Hash) -> Result<(Component, bool), Problem> {
        if let Some(component) = self.read_cache(name, &hash).or_else(|| self.take_carried(name, &code, &hash)) {
            return Ok((component, true));
        }
        if let Some(compiler) = &self.0.compiler {
            let machine_code = MachineCode::Made(compiler.compile(&code.wasm)?.into());
            let lost = |error| Problem::Invalid(format!("its machine code cannot be used: {error}"));
            return Ok((self.take(name, &machine_code, &hash).map_err(lost)?, false));
        }
        let component = Component::from_binary(&self.0.wasmtime, &code.wasm)
            .map_err(|error| Problem::Invalid(error.root_cause().to_string()))?;
        if self.0.cache.is_some() {
            let machine_code = component.serialize().map_err(|error| Problem::Invalid(format!("{error:#}")))?;
            self.write_cache(name, &hash, &MachineCode::Made(machine_code.into()));
        }
        Ok((component, false))
    }

    fn read_cache(&self, name: &str, hash: &Hash) -> Option<Component> {
        let cache = self.0.cache.as_ref()?;
        let key = cache.key(hash);
        let passed_over = |error: &dyn std::fmt::Display| {
            tracing::warn!(plugin = name, file = %cache.path(key).display(), "compiled again: {error}");
        };
        let file = cache.find(key).inspect_err(|error| passed_over(error)).ok()??;
        self.map(&file).inspect_err(|error| passed_over(error)).ok()
    }

    fn take_carried(&self, name: &str, code: &Code, hash: &Hash) -> Option<Component> {
        let passed_over = |error: &String| {
            tracing::info!(plugin = name, "its machine code is not for this machine, so it is compiled: {error}");
        };
        self.take(name, code.machine_code.as_ref()?, hash).inspect_err(passed_over).ok()
    }

    /// The component of machine code. Where there is a cache it goes there and is mapped from there: it is large, and little
    /// of it ever runs. Where files of the cache may not be executed, as on a volume that is mounted so, it is held in memory.
    fn take(&self, name: &str, machine_code: &MachineCode, hash: &Hash) -> Result<Component, String> {
        if self.write_cache(name, hash, machine_code)
            && let Some(component) = self.read_cache(name, hash)
        {
            return Ok(component);
        }
        let machine_code = machine_code.bytes().map_err(|error| error.to_string())?;
        // SAFETY: as in `map`; these bytes come from the program's own file, or from the compiler that it has started.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize(&self.0.wasmtime, &machine_code) };
        component.map_err(|error| format!("{error:#}"))
    }

    /// Keeps machine code for the next start. Returns whether it could: there is a cache, and it took it.
    fn write_cache(&self, name: &str, hash: &Hash, machine_code: &MachineCode) -> bool {
        let Some(cache) = &self.0.cache else { return false };
        let told = |error: &io::Error| {
            tracing::warn!(plugin = name, "the compiled plugin cannot be kept for the next start: {error}");
        };
        cache.write(cache.key(hash), |out| machine_code.write_to(out)).inspect_err(told).is_ok()
    }

    /// Makes the machine code of a file of the cache executable.
    fn map(&self, file: &File) -> wasmtime::Result<Component> {
        // The file that was checked, and not the one that may be at its path by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: wasmtime asks that these bytes were made by `Component::serialize` or `precompile_component`, and that
        // nobody changes them. The cache gives only a file that holds what its hash says was written under this key, that
        // no other user can write to, and that we never write to again. Wasmtime itself checks that the code was made by
        // its version, for these settings, and for a processor that can do no more than this one.
        #[allow(unsafe_code)]
        unsafe {
            Component::deserialize_file(&self.0.wasmtime, path)
        }
    }

    /// What wasmtime calls the engine.
    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }

    /// The clients of the services that a step was granted.
    pub(super) fn clients(&self, grants: &Grants) -> Granted {
        self.0.clients.of(grants)
    }

    /// Has clients of services keep there what they want to know at the next start.
    pub(super) fn keep_in(&self, archive: Archive) {
        self.0.clients.keep_in(archive);
    }

    /// The clock of all instances.
    pub(super) fn ticks(&self) -> Ticks {
        self.0.ticks.clone()
    }
}

/// The settings that were measured to matter.
pub(super) fn settings() -> Config {
    let mut config = Config::new();
    // A call is 3.4 to 4.5 times cheaper without the machinery of concurrent guests, which no plugin uses.
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.cranelift_opt_level(OptLevel::Speed);
    // Also within a module, though its compiler did so before: the same job in 1.36 s of processor time and not 1.85, for
    // 22 MB of machine code (of the SQL plugin) and not 8.
    config.compiler_inlining(Inlining::Yes);
    // Half of the machine code's bytes, for nothing that a plugin's operator or author sees: places in the component in
    // backtraces, symbols and unwinding for a debugger of the host. Names of functions in backtraces remain.
    config.generate_address_map(false);
    config.debug_symbols(false);
    config.native_unwind_info(false);
    // Nothing of a computation may differ between machines: replays rest on that.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    config.wasm_memory64(false);
    config.max_wasm_stack(STACK_BYTES_MAX);
    config.async_stack_size(CALL_STACK_BYTES);
    config.memory_reservation(MEMORY_RESERVATION_BYTES);
    config.memory_guard_size(MEMORY_GUARD_BYTES);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_stacks(INSTANCES_MAX)
        .total_memories(INSTANCES_MAX)
        // A component is its own module and a few small ones that tie it together, each with a table or two.
        .total_core_instances(INSTANCES_MAX.saturating_mul(4))
        .total_tables(INSTANCES_MAX.saturating_mul(4))
        .max_core_instances_per_component(PARTS_MAX as u32)
        .max_memories_per_component(PARTS_MAX as u32)
        .max_tables_per_component(PARTS_MAX as u32)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_RESERVATION_BYTES as usize)
        .max_unused_warm_slots(WARM_SLOTS_MAX);
    pool
}

/// Interrupts running guests at each tick, until the other end of the channel is dropped.
fn start_ticker(engine: wasmtime::Engine, ticks: Ticks) -> Result<mpsc::Sender<()>, EngineError> {
    let (alive, ended) = mpsc::channel();
    let tick = move || {
        while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            ticks.advance();
            engine.increment_epoch();
        }
    };
    std::thread::Builder::new()
        .name("weir-ticker".into())
        .spawn(tick)
        .map_err(|error| EngineError(format!("its ticker thread does not start: {error}")))?;
    Ok(alive)
}

/// A hash of all that code depends on beside the plugin: wasmtime's version, these settings, the processor.
pub(super) fn settings_hash(engine: &wasmtime::Engine) -> Hash {
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize()
}

/// Lets std's hashing feed blake3, whose result is the same in the next process.
struct Blake(blake3::Hasher);

impl Hasher for Blake {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}
