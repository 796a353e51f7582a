//! Running plugins: one store per step and partition, and every call within its limits.
//!
//! A failed or abandoned call leaves an instance in an unknown state, so it is never called again: whoever has it starts
//! a fresh one. Knows nothing of why a batch is run.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

use super::bindings::{
    AdvanceIn, AdvanceOut, DescriptionOut, MigrateIn, MigrateOut, StatefulDescriptionOut, StatefulInitOut,
};
use super::bindings::{BatchIn, ConfigError, Context, DeliveryInitOut, InitIn, ProcessIn, ProcessOut, StepInitOut};
use super::bindings::{StatefulProcessIn, StatefulProcessOut};
use super::bindings::{WriteIn, WriteOut};
use super::engine::{Engine, INSTANCES_MAX};
use super::limits::{Log, State, cut, on_tick, one_line};
use super::load::{Compiled, World};
use super::reach::Ending;
use super::turn::Turns;
use super::validate;
use super::wasi::{Ended, Moment, Wasi};
use super::{Advanced, Description, Factory, Failure, Given, Instance, Outcome, StartError};
use crate::config::{Grants, StepLimits};
use crate::endpoint::Granted;
use crate::record::{Batch, Partition, Reject, Timestamp};
use crate::state::Tables;

/// Where a plugin is being used.
#[derive(Debug, Clone)]
pub struct StepContext {
    /// The pipeline, or the sink.
    pub pipeline: Arc<str>,
    /// The step in it.
    pub step: Arc<str>,
    /// The partition that it serves.
    pub partition: Partition,
    /// The names of the pipeline's inputs, in the order of `from`.
    pub inputs: Vec<Arc<str>>,
    /// The names of the step's tables.
    pub tables: Vec<Arc<str>>,
}

/// All that it takes to start an instance.
pub(super) struct Setup {
    engine: Engine,
    compiled: Arc<Compiled>,
    context: StepContext,
    inputs: Vec<String>,
    tables: Vec<String>,
    config: String,
    limits: StepLimits,
    clients: Granted,
    log: Log,
    turns: Arc<Turns>,
}

impl Setup {
    pub(super) fn new(
        engine: &Engine,
        compiled: Arc<Compiled>,
        context: StepContext,
        config: &serde_json::Value,
        limits: StepLimits,
        grants: &Grants,
    ) -> Self {
        let log = Log::new(
            context.pipeline.clone(),
            context.step.clone(),
            context.partition,
            limits.log_rate_max,
            engine.ticks(),
        );
        let config = if config.is_null() { "{}".into() } else { config.to_string() };
        let owned = |names: &[Arc<str>]| names.iter().map(|name| name.to_string()).collect();
        let (inputs, tables) = (owned(&context.inputs), owned(&context.tables));
        let clients = engine.clients(grants);
        let turns = Arc::default();
        Setup { engine: engine.clone(), compiled, context, inputs, tables, config, limits, clients, log, turns }
    }

    /// Starts an instance, which is not configured yet.
    async fn start(&self) -> Result<Guest, StartError> {
        let StepContext { pipeline, step, partition, .. } = &self.context;
        let wasi = || Box::new(Wasi::new(pipeline, step, *partition, self.log.clone()));
        let wasi = self.compiled.uses_wasi.then(wasi);
        let mut state = State::new(self.limits.memory_bytes_max, self.log.clone(), wasi);
        state.lookups.tell(&self.clients.lookup);
        let mut store = Store::new(self.engine.wasmtime(), state);
        store.limiter(|state| &mut state.budget);
        store.epoch_deadline_callback(on_tick);
        store.set_hostcall_fuel(self.limits.output_bytes_max);
        let (limits, turns) = (self.limits.clone(), self.turns.clone());
        let mut guest = Guest { store, instance: None, limits, is_spent: false, turns, used: Duration::ZERO };
        guest.begin();
        let (instantiated, used) = self.turns.take(self.compiled.pre.instantiate_async(&mut guest.store)).await;
        guest.used += used;
        guest.end();
        match instantiated {
            Ok(instance) => guest.instance = Some(instance),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {
                return Err(StartError::Full { max: INSTANCES_MAX });
            }
            Err(error) => return Err(guest.failure_of_start(&error).into()),
        }
        Ok(guest)
    }

    /// Lets a guest that is configured reach what its step was granted.
    fn grant(&self, guest: &mut Guest) {
        let state = guest.store.data_mut();
        state.web.grant(&self.clients.http);
        state.databases.grant(&self.clients.database);
        state.clusters.grant(&self.clients.kudu);
        state.workspaces.grant(&self.clients.slack);
        state.lookups.grant(&self.clients.lookup);
    }

    /// The parameters of `init`.
    fn init(&self) -> InitIn<'_> {
        let StepContext { pipeline, step, partition, .. } = &self.context;
        let context = Context { pipeline, step, partition: partition.0, inputs: &self.inputs, tables: &self.tables };
        (&self.config, context)
    }
}

/// A running guest and what its calls may use.
struct Guest {
    store: Store<State>,
    instance: Option<wasmtime::component::Instance>,
    limits: StepLimits,
    /// A call failed, or was abandoned while it ran.
    is_spent: bool,
    turns: Arc<Turns>,
    /// The processor time of its calls.
    used: Duration,
}

impl Guest {
    /// One of its functions. Their types were checked when the plugin was loaded.
    fn function<P, R>(&mut self, index: Option<ComponentExportIndex>) -> Result<TypedFunc<P, R>, StartError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let missing = |detail: String| StartError::Failed(Failure::Answer(detail));
        let (Some(instance), Some(index)) = (self.instance, index) else {
            return Err(missing("a function of its world is missing".into()));
        };
        instance.get_typed_func(&mut self.store, index).map_err(|error| missing(format!("{error:#}")))
    }

    /// Calls a function that may use the tables.
    async fn call_with<P, R>(&mut self, tables: &mut Tables, function: TypedFunc<P, R>, params: P) -> Result<R, Failure>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        tables.allow(self.limits.output_bytes_max);
        std::mem::swap(tables, &mut self.store.data_mut().tables);
        let answer = self.call(function, params).await;
        std::mem::swap(tables, &mut self.store.data_mut().tables);
        answer
    }

    /// Calls a function. On an error, and where the future is dropped before it is done, the guest is spent.
    async fn call<P, R>(&mut self, function: TypedFunc<P, R>, params: P) -> Result<R, Failure>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        if self.is_spent {
            return Err(Failure::Trap("an earlier call into this instance failed".into()));
        }
        self.is_spent = true;
        self.begin();
        let (answer, used) = self.turns.take(function.call_async(&mut self.store, params)).await;
        self.used += used;
        self.end();
        let answer = answer.map_err(|error| self.failure(&error))?;
        self.is_spent = false;
        Ok(answer)
    }

    /// Passes on a judged answer. A guest that broke the contract is spent.
    fn judged<T>(&mut self, judged: Result<T, Failure>) -> Result<T, Failure> {
        self.is_spent = judged.is_err();
        judged
    }

    fn begin(&mut self) {
        let state = self.store.data_mut();
        state.budget.begin(self.limits.batch_time_max);
        state.web.begin(self.limits.wait_time_max);
        state.databases.begin(self.limits.wait_time_max);
        state.clusters.begin(self.limits.wait_time_max);
        state.workspaces.begin(self.limits.wait_time_max);
        state.lookups.begin(self.limits.wait_time_max);
        self.store.set_epoch_deadline(1);
    }

    /// Says where the next call stands in the input, to a guest that asks for the time.
    fn at<'a>(&mut self, moment: impl FnOnce() -> Moment<'a>) {
        if let Some(wasi) = &mut self.store.data_mut().wasi {
            wasi.begin(moment());
        }
    }

    fn end(&mut self) {
        if let Some(wasi) = &mut self.store.data_mut().wasi {
            wasi.end();
        }
    }

    /// Instantiation fails without a trap where the memory that the component begins with is too much already.
    fn failure_of_start(&self, error: &wasmtime::Error) -> Failure {
        let budget = &self.store.data().budget;
        if budget.memory_refused() && !budget.time_is_up() {
            return Failure::Memory { limit_bytes: self.limits.memory_bytes_max, trap: describe(error) };
        }
        match self.failure(error) {
            // No answer was given yet, so none can be wrong.
            Failure::Answer(text) => Failure::Trap(text),
            failure => failure,
        }
    }

    fn failure(&self, error: &wasmtime::Error) -> Failure {
        let budget = &self.store.data().budget;
        if budget.time_is_up() {
            return Failure::Time { limit_ms: self.limits.batch_time_max.as_millis() as u64 };
        }
        match error.root_cause().downcast_ref() {
            Some(Ending::Again(why)) => return Failure::Again(why.clone()),
            Some(Ending::Stop(why)) => return Failure::Stop(why.clone()),
            None => {}
        }
        let is_trap = error.is::<Trap>() || error.root_cause().is::<Ended>();
        match (is_trap, budget.memory_refused()) {
            (true, true) => Failure::Memory { limit_bytes: self.limits.memory_bytes_max, trap: describe(error) },
            (true, false) => Failure::Trap(describe(error)),
            (false, _) if is_output_exhausted(error) => Failure::Output { limit_bytes: self.limits.output_bytes_max },
            (false, _) => Failure::Answer(describe(error)),
        }
    }
}

/// Whether the guest handed over more bytes than its allowance. wasmtime keeps the error's type to itself, so it is known
/// by its words; a test holds them.
fn is_output_exhausted(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}

/// The cause, and where in the guest it happened as far as the guest has names.
fn describe(error: &wasmtime::Error) -> String {
    const FRAMES_MAX: usize = 5;
    let cause = error.root_cause().to_string();
    let mut text = cause.strip_prefix("wasm trap: ").unwrap_or(&cause).to_owned();
    if let Some(trace) = error.downcast_ref::<WasmBacktrace>() {
        let names = trace.frames().iter().filter_map(|frame| frame.func_name());
        for (n, name) in names.take(FRAMES_MAX).enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{}", if n == 0 { ", in " } else { " < " }, cut(name));
        }
    }
    cut(&one_line(&text)).to_owned()
}

fn columns(batch: &Batch) -> BatchIn<'_> {
    let (index, meta, data) = batch.columns();
    BatchIn { index, meta, data }
}

fn config_error(error: ConfigError) -> StartError {
    StartError::Config { path: cut(&error.path).to_owned(), message: cut(&error.message).to_owned() }
}

/// Starts instances of a transform for one step and partition.
pub struct TransformFactory(Setup);

impl TransformFactory {
    pub(super) fn new(setup: Setup) -> Self {
        TransformFactory(setup)
    }

    /// How many log messages of its instances were dropped because there were too many.
    pub fn log_dropped(&self) -> u64 {
        self.0.log.dropped()
    }

    /// Starts an instance, as [`Factory::start`] does, with its own type.
    pub async fn start_transform(&self) -> Result<(TransformInstance, Description), StartError> {
        let mut guest = self.0.start().await?;
        let init = guest.function::<InitIn<'_>, StepInitOut>(Some(self.0.compiled.init))?;
        let (described,) = guest.call(init, self.0.init()).await?;
        let DescriptionOut { ports, sets_time } = described.map_err(config_error)?;
        let ports = validate::ports(ports)?;
        self.0.grant(&mut guest);
        let process = guest.function(Some(self.0.compiled.work))?;
        let instance = TransformInstance { guest, process, ports: ports.len() };
        Ok((instance, Description { ports, sets_time, ..Description::default() }))
    }
}

#[async_trait]
impl Factory for TransformFactory {
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
        let (instance, description) = self.start_transform().await?;
        Ok((Box::new(instance), description))
    }
}

/// A running transform.
pub struct TransformInstance {
    guest: Guest,
    process: TypedFunc<ProcessIn<'static>, ProcessOut>,
    ports: usize,
}

#[async_trait]
impl Instance for TransformInstance {
    fn processor_time(&self) -> Duration {
        self.guest.used
    }

    fn memory_bytes(&self) -> u64 {
        self.guest.store.data().budget.memory_bytes()
    }

    async fn process(&mut self, given: Given<'_>, _: &mut Tables) -> Result<Outcome, Failure> {
        self.guest.at(|| Moment::of_batch(World::Transform, given.input, given.batch, given.watermarks));
        let (raw,) = self.guest.call(self.process, (given.input, columns(given.batch))).await?;
        self.guest.judged(validate::outcome(raw, given.batch, self.ports))
    }
}

/// Starts instances of a stateful transform for one step and partition.
pub struct StatefulFactory(Setup);

impl StatefulFactory {
    pub(super) fn new(setup: Setup) -> Self {
        StatefulFactory(setup)
    }
}

#[async_trait]
impl Factory for StatefulFactory {
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
        let mut guest = self.0.start().await?;
        let init = guest.function::<InitIn<'_>, StatefulInitOut>(Some(self.0.compiled.init))?;
        let (described,) = guest.call(init, self.0.init()).await?;
        let StatefulDescriptionOut { ports, sets_time, tables, schema } = described.map_err(config_error)?;
        let (ports, tables) = (validate::ports(ports)?, validate::tables(tables)?);
        self.0.grant(&mut guest);
        let process = guest.function(Some(self.0.compiled.work))?;
        let advance = guest.function(self.0.compiled.advance)?;
        let migrate = guest.function(self.0.compiled.migrate)?;
        let instance = StatefulInstance { guest, process, advance, migrate, ports: ports.len() };
        Ok((Box::new(instance), Description { ports, sets_time, tables: Some(tables), schema }))
    }
}

/// A running stateful transform.
struct StatefulInstance {
    guest: Guest,
    process: TypedFunc<StatefulProcessIn<'static>, StatefulProcessOut>,
    advance: TypedFunc<AdvanceIn, AdvanceOut>,
    migrate: TypedFunc<MigrateIn, MigrateOut>,
    ports: usize,
}

#[async_trait]
impl Instance for StatefulInstance {
    fn processor_time(&self) -> Duration {
        self.guest.used
    }

    fn memory_bytes(&self) -> u64 {
        self.guest.store.data().budget.memory_bytes()
    }

    async fn process(&mut self, given: Given<'_>, tables: &mut Tables) -> Result<Outcome, Failure> {
        let watermarks: Vec<i64> = given.watermarks.iter().map(|watermark| watermark.0).collect();
        let params = (given.input, columns(given.batch), watermarks.as_slice());
        self.guest.at(|| Moment::of_batch(World::StatefulTransform, given.input, given.batch, given.watermarks));
        let (raw,) = self.guest.call_with(tables, self.process, params).await?;
        self.guest.judged(validate::stateful_outcome(raw, &given, self.ports))
    }

    async fn advance(
        &mut self,
        watermark: Option<Timestamp>,
        clock: Timestamp,
        tables: &mut Tables,
    ) -> Result<Advanced, Failure> {
        let params = (watermark.map(|watermark| watermark.0), clock.0);
        self.guest.at(|| Moment::of_time(watermark));
        let (raw,) = self.guest.call_with(tables, self.advance, params).await?;
        self.guest.judged(validate::advanced(raw, watermark, self.ports))
    }

    async fn migrate(&mut self, from: u32, tables: &mut Tables) -> Result<Result<bool, String>, Failure> {
        self.guest.at(|| Moment::of_time(None));
        let (migrated,) = self.guest.call_with(tables, self.migrate, (from,)).await?;
        Ok(migrated.map_err(|why| cut(&one_line(&why)).to_owned()))
    }
}

/// Starts instances of a sink plugin for one sink and partition.
pub struct SinkFactory(Setup);

impl SinkFactory {
    pub(super) fn new(setup: Setup) -> Self {
        SinkFactory(setup)
    }

    /// How many log messages of its instances were dropped because there were too many.
    pub fn log_dropped(&self) -> u64 {
        self.0.log.dropped()
    }

    /// A fresh instance, configured.
    pub async fn start(&self) -> Result<SinkInstance, StartError> {
        let mut guest = self.0.start().await?;
        let init = guest.function::<InitIn<'_>, DeliveryInitOut>(Some(self.0.compiled.init))?;
        let (configured,) = guest.call(init, self.0.init()).await?;
        configured.map_err(config_error)?;
        self.0.grant(&mut guest);
        let write = guest.function(Some(self.0.compiled.work))?;
        Ok(SinkInstance { guest, write })
    }
}

/// A running sink plugin.
pub struct SinkInstance {
    guest: Guest,
    write: TypedFunc<WriteIn<'static>, WriteOut>,
}

impl SinkInstance {
    /// Delivers a batch that was read from `source`; the ordinals say which of its input record's outputs each record
    /// is. Returns the records that were refused, by ascending index, once all others are confirmed.
    pub async fn write(&mut self, source: &str, batch: &Batch, ordinals: &[u32]) -> Result<Vec<Reject>, Failure> {
        self.guest.at(|| Moment::of_delivery(source, batch, ordinals));
        let (raw,) = self.guest.call(self.write, (source, columns(batch), ordinals)).await?;
        self.guest.judged(validate::rejects(raw, batch.len()))
    }
}
