//! The task loop: read, process, deliver, commit, acknowledge.
//!
//! A task is one partition of one pipeline. It reads a chunk of records from its inputs, runs it through its steps,
//! sends the outputs to its sinks and, once they have confirmed, makes one atomic commit of everything that the chunk
//! brought about. Only then may the source forget. Several chunks are on their way at a time; they are committed in
//! order. Whatever fails, the task begins again from its last commit, so nothing is lost, and what is repeated bears
//! the ids that it had before.
//!
//! This file knows sources, steps, sinks and the store by their traits alone: the simulation runs it as it is.

mod ahead;
pub(crate) mod chain;
mod deliver;
mod flight;
mod follow;
mod input;
mod replay;
mod spec;
pub(crate) mod time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt, TryFutureExt, try_join_all};
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::time::Instant;

pub use chain::{Chain, Route};
pub use spec::{Destination, StreamTarget, TableInput, TaskInput, TaskSpec};

use ahead::Ahead;
use chain::{Arrival, Now, Processed};
use deliver::{Confirmed, Outlet};
use flight::{Cause, Committed, Delivered, InFlight, Read, Tally};
use input::{Incoming, Inputs, Opened};
use replay::Replays;
use time::EventTime;

use crate::clock::Clock;
use crate::dlq::desk::{Desk, Seat};
use crate::metrics::PipelineMetrics;
use crate::metrics::vitals::Vitals;
use crate::plugin::{StartError, step};
use crate::record::{Output, Partition, Position, Timestamp};
use crate::sink::Sink;
use crate::source::{self, Disposition, Mode, Reader};
use crate::stop::Stop;
use crate::store::committer::{Commit, CommitError, Committer, Lane};
use crate::store::{self, Changes, StateChange, Store};

/// The pause before a failed task begins again; doubled each time, until a commit succeeds.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);

/// A step that asks for it is not called by the clock more often than this.
const CLOCK_CALLS_EVERY: Duration = Duration::from_millis(10);

/// Opens what a task works with. The appliance does it from the pipeline file, the simulation from a seed.
#[async_trait]
pub trait Wiring: Send + Sync + 'static {
    /// Opens an input at a committed position.
    async fn reader(
        &self,
        task: &TaskSpec,
        input: &TaskInput,
        at: Option<&Position>,
    ) -> Result<Box<dyn Reader>, source::Error>;

    /// Starts the steps.
    async fn chain(&self, task: &TaskSpec) -> Result<Chain, step::Error>;

    /// Opens a sink.
    async fn sink(&self, task: &TaskSpec, name: &str) -> Result<Box<dyn Sink>, source::Error>;
}

/// Why a task stopped, or began again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input could not be read.
    #[error("{name}: {error}")]
    Source {
        /// The source or stream.
        name: Arc<str>,
        /// What happened.
        error: source::Error,
    },
    /// A sink could not be written to.
    #[error("{name}: {error}")]
    Sink {
        /// The sink.
        name: Arc<str>,
        /// What happened.
        error: source::Error,
    },
    /// A step could not be started.
    #[error("step {0}")]
    Plugin(#[from] StartError),
    /// A step cannot go on for now.
    #[error("{step}: {why}")]
    Step {
        /// The step.
        step: Arc<str>,
        /// In its words.
        why: String,
    },
    /// A commit did not happen.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The steps are to run another version, from the last commit.
    #[error("another version of the steps is to run")]
    Superseded,
}

impl From<step::Error> for Error {
    fn from(error: step::Error) -> Self {
        match error {
            step::Error::Superseded => Error::Superseded,
            step::Error::Again { step, why } => Error::Step { step, why },
            step::Error::Start(error) => Error::Plugin(error),
            step::Error::Store(error) => Error::Store(error),
        }
    }
}

impl Error {
    /// Whether to begin again, or to give up.
    pub fn disposition(&self) -> Disposition {
        match self {
            Error::Source { error, .. } | Error::Sink { error, .. } => error.disposition,
            Error::Plugin(StartError::Failed(_))
            | Error::Superseded
            | Error::Step { .. }
            | Error::Commit(CommitError::Sink { .. } | CommitError::Lane) => Disposition::Retry,
            Error::Plugin(_) | Error::Commit(CommitError::Refused(_) | CommitError::Fatal(_)) | Error::Store(_) => {
                Disposition::Stop
            }
        }
    }
}

/// One partition of one pipeline.
pub struct Task {
    /// What it is.
    pub spec: TaskSpec,
    /// Opens what it works with.
    pub wiring: Arc<dyn Wiring>,
    /// Where its positions are.
    pub store: Arc<dyn Store>,
    /// Where its commits go.
    pub committer: Committer,
    /// What it counts.
    pub metrics: Arc<PipelineMetrics>,
    /// The time, for steps that want to be called at one.
    pub clock: Arc<dyn Clock>,
    /// Where it is asked to replay dead letters.
    pub desk: Desk,
}

impl Task {
    /// Runs until told to stop, or until the inputs end. What is on its way then is committed first.
    pub async fn run(&self, stop: Stop) -> Result<(), Error> {
        let vitals = self.metrics.task(self.spec.partition.0);
        let result = self.run_and_tell(stop, &vitals).await;
        vitals.ended();
        result
    }

    async fn run_and_tell(&self, mut stop: Stop, vitals: &Vitals) -> Result<(), Error> {
        let mut pause = RESTART_PAUSE;
        let seat = self.desk.join(&self.spec.pipeline, self.spec.partition);
        loop {
            let committed_before = self.metrics.commits.get();
            let Err(error) = self.attempt(&seat, stop.clone()).await else { return Ok(()) };
            if error.disposition() == Disposition::Stop {
                return Err(error);
            }
            if self.metrics.commits.get() > committed_before {
                pause = RESTART_PAUSE;
            }
            if matches!(error, Error::Superseded) {
                continue;
            }
            let (pipeline, partition) = (&self.spec.pipeline, self.spec.partition.0);
            tracing::warn!(%pipeline, partition, "{error}; beginning again from the last commit in {pause:?}");
            self.metrics.restarts.add(1);
            vitals.failed(error.to_string());
            tokio::select! { biased;
                () = stop.stopped() => {
                                return Ok(());
                }
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RESTART_PAUSE_MAX),
            }
        }
    }

    /// Opens everything at the last commit and works until an error, the end of the inputs, or the signal to stop.
    async fn attempt(&self, seat: &Seat, stop: Stop) -> Result<(), Error> {
        let mut run = self.open(seat).await?;
        let result = self.work(&mut run, stop).await;
        run.settle().await;
        result
    }

    async fn work(&self, run: &mut Run<'_>, mut stop: Stop) -> Result<(), Error> {
        let (mut reading, mut stopped) = (true, false);
        if run.time.is_some() {
            run.let_time_pass().await?;
        }
        loop {
            let alarm = self.alarm(run.chain.clock_alarm(), run.called_at);
            // One that runs to the end of what there is replays what it is asked first or last.
            let replaying = run.replays.is_ready() && !stopped && (reading || self.spec.mode == Mode::Drain);
            tokio::select! { biased;
                Some(committed) = run.commits.next() => run.acknowledge(committed?),
                Some(delivered) = run.deliveries.next() => run.commit(delivered?).await?,
                () = stop.stopped(), if reading || replaying => (reading, stopped) = (false, true),
                next = run.chain.next_version(), if reading => run.chain.replace(next)?,
                called = alarm, if reading && !run.is_calling => {
                    called?;
                    run.let_time_pass().await?;
                }
                wave = self.next_wave(&mut run.replays), if replaying => match wave? {
                    Some(wave) => run.replay(wave).await?,
                    None => run.replays.end(),
                },
                incoming = self.next(&mut run.inputs), if reading => match incoming? {
                    Some(incoming) => run.process(incoming).await?,
                    None => reading = false,
                },
                else => return Ok(()),
            }
        }
    }

    /// Step 1: reads the next chunk, once there is room in the streams that the task writes to. Dropping the future loses
    /// nothing.
    async fn next(&self, inputs: &mut Inputs) -> Result<Option<Incoming>, Error> {
        self.room().await?;
        let failed = |(input, error)| Error::Source { name: self.spec.input_name(input), error };
        inputs.next().await.map_err(failed)
    }

    /// Step 1 for dead letters that are to be replayed. Dropping the future loses nothing.
    async fn next_wave(&self, replays: &mut Replays) -> Result<Option<replay::Wave>, Error> {
        self.room().await?;
        replays.next().await
    }

    /// Waits until there is room in all streams that the task writes to.
    async fn room(&self) -> Result<(), Error> {
        for (stream, partitions) in self.spec.streams() {
            for partition in 0..partitions {
                self.committer.room(stream, Partition(partition)).await?;
            }
        }
        Ok(())
    }

    /// Waits until a step wants to be called by the clock, a while has passed since it was, and there is room for what it
    /// makes.
    async fn alarm(&self, at: Option<Timestamp>, called_at: Instant) -> Result<(), Error> {
        let Some(at) = at else { return std::future::pending().await };
        let ms = u64::try_from(at.0.saturating_sub(self.clock.now().0)).unwrap_or(0);
        let due = Instant::now().checked_add(Duration::from_millis(ms));
        let Some(due) = due else { return std::future::pending().await };
        tokio::time::sleep_until(due.max(called_at + CLOCK_CALLS_EVERY)).await;
        self.room().await
    }

    async fn open(&self, seat: &Seat) -> Result<Run<'_>, Error> {
        let spec = &self.spec;
        let mut chain = self.wiring.chain(spec).await?;
        chain.count_in(&self.metrics);
        let mut outlets = Vec::new();
        for name in spec.sinks() {
            let failed = |error| Error::Sink { name: name.clone(), error };
            outlets.push(Outlet { name: name.clone(), sink: self.wiring.sink(spec, &name).await.map_err(failed)? });
        }
        let home = spec.home(&self.store);
        let streams = spec.inputs.iter().filter(|input| input.table.is_none());
        let time = if chain.is_stateful() {
            Some(EventTime::open(&home, streams.map(|input| &input.name)).await?)
        } else {
            None
        };
        let mut opened = Vec::new();
        for input in &spec.inputs {
            let position = self.store.position(&spec.position_key(input)).await?;
            let ahead = Ahead::open(&home, &input.key(), position.as_ref()).await?;
            let failed = |error| Error::Source { name: input.name.clone(), error };
            let reader = self.wiring.reader(spec, input, position.as_ref()).await.map_err(failed)?;
            let is_first = input.table.as_ref().is_some_and(|table| table.is_global);
            opened.push(Opened { reader, ahead, is_first });
        }
        let vitals = self.metrics.task(spec.partition.0);
        vitals.opened();
        Ok(Run {
            task: self,
            vitals,
            inputs: Inputs::start(opened, spec.bytes_in_flight_max, spec.mode, time.is_some()),
            replays: Replays::open(&home, seat, spec, &chain),
            time,
            called_at: Instant::now(),
            is_calling: false,
            described: chain.describe(&home),
            chain,
            outlets,
            lane: Lane::default(),
            deliveries: FuturesOrdered::new(),
            commits: FuturesOrdered::new(),
        })
    }
}

/// What goes to sinks, by their numbers in the task.
type BySink = BTreeMap<usize, Vec<Arc<Output>>>;

/// A task at work, from one start to the next.
struct Run<'a> {
    task: &'a Task,
    vitals: Arc<Vitals>,
    inputs: Inputs,
    replays: Replays,
    /// Where a step asks for it.
    time: Option<EventTime>,
    /// When steps were last called by the clock.
    called_at: Instant,
    /// Whether what they made then is still on its way. One at a time bounds it.
    is_calling: bool,
    chain: Chain,
    /// What its tables are, for the first commit.
    described: Vec<StateChange>,
    outlets: Vec<Outlet>,
    lane: Lane,
    deliveries: FuturesOrdered<BoxFuture<'static, Result<Delivered, Error>>>,
    commits: FuturesOrdered<BoxFuture<'static, Result<Committed, CommitError>>>,
}

impl Run<'_> {
    /// Steps 2 and 3: runs a chunk through the plugins, and sends the outputs to the sinks.
    async fn process(&mut self, incoming: Incoming) -> Result<(), Error> {
        let Incoming { input, source, records, position, ahead, idle, budget } = incoming;
        let of = self.task.spec.inputs.get(input);
        let (number, table) = of.map_or((0, None), |of| (of.number, of.table.as_ref()));
        let (records_in, bytes_in) = (records.len() as u64, records.bytes() as u64);
        self.vitals.took();
        let time = self.time.as_mut();
        let observe = |times: &[_]| match (time, table) {
            (None, _) => Vec::new(),
            (Some(time), None) => time.observe(input, times, &idle),
            (Some(time), Some(_)) => vec![time.reached(); times.len()],
        };
        let arrival =
            Arrival { input: number, table_of: table.map(|table| table.step), source: source.clone(), batch: records };
        let mut done = self.chain.process(arrival, observe).await?;
        done.state.extend(self.time.iter().flat_map(|time| time.changes_of(input)));
        done.state.extend(ahead);
        let tally = Tally { records_in, bytes_in, ..Tally::of(&mut done) };
        let in_flight = InFlight::new(Cause::Read(Read { input, position, budget }), source, tally);
        self.deliver(in_flight, done, BTreeMap::new()).await
    }

    /// Lets the steps do what time alone asks of them.
    async fn let_time_pass(&mut self) -> Result<(), Error> {
        let Some(time) = &mut self.time else { return Ok(()) };
        let spec = &self.task.spec;
        let source: Arc<str> = format!("{}/{}@time", spec.pipeline, spec.partition).into();
        let now = Now { watermark: time.watermark(), clock: self.task.clock.now() };
        let (number, counted) = time.count_call(now.clock);
        let mut done = self.chain.advance(&source, number, now).await?;
        self.called_at = Instant::now();
        if done.outputs.is_empty() && done.refused.is_empty() && done.state.is_empty() {
            self.chain.nothing_to_commit();
            return Ok(());
        }
        done.state.push(counted);
        self.is_calling = true;
        let tally = Tally::of(&mut done);
        self.deliver(InFlight::new(Cause::Time, source, tally), done, BTreeMap::new()).await
    }

    /// Sends to the sinks what the steps have made, beside what is theirs already.
    async fn deliver(&mut self, mut in_flight: InFlight, done: Processed, mut by_sink: BySink) -> Result<(), Error> {
        in_flight.state.extend(done.state);
        in_flight.state.append(&mut self.described);
        for refused in &done.refused {
            in_flight.bury(&self.task.spec, self.task.clock.now(), refused);
        }
        for (route, output) in done.outputs {
            self.dispatch(route, &Arc::new(output), &mut in_flight, &mut by_sink);
        }
        let mut sent = Vec::new();
        for (at, outputs) in by_sink {
            sent.extend(self.send(at, outputs).await?);
        }
        let delivered = async move { Ok(Delivered { chunk: in_flight, confirmed: try_join_all(sent).await? }) };
        self.deliveries.push_back(delivered.boxed());
        Ok(())
    }

    /// Sorts what leaves by a route: appends to streams, and what goes to sinks, by the sink's number.
    fn dispatch(&self, route: Route, output: &Arc<Output>, in_flight: &mut InFlight, by_sink: &mut BySink) {
        for destination in self.task.spec.routes.get(route).into_iter().flatten() {
            self.dispatch_to(destination, output, in_flight, by_sink);
        }
    }

    fn dispatch_to(&self, to: &Destination, output: &Arc<Output>, in_flight: &mut InFlight, by_sink: &mut BySink) {
        match to {
            Destination::Stream(stream) => {
                let (records, refused) = deliver::keyed(stream, &output.records);
                if let Some(refused) = refused {
                    in_flight.bury(&self.task.spec, self.task.clock.now(), &refused);
                }
                in_flight.tally.records_out += records.len() as u64;
                in_flight.tally.bytes_out += records.bytes() as u64;
                in_flight.appends.extend(deliver::append(&stream.name, stream.partitions, &records));
            }
            Destination::Sink(name) => {
                let Some(at) = self.outlets.iter().position(|outlet| outlet.name == *name) else { return };
                by_sink.entry(at).or_default().push(output.clone());
            }
        }
    }

    /// Sends all that a chunk has for one sink.
    async fn send(
        &mut self,
        at: usize,
        outputs: Vec<Arc<Output>>,
    ) -> Result<Option<BoxFuture<'static, Result<Confirmed, Error>>>, Error> {
        let (Some(outlet), Some(output)) = (self.outlets.get_mut(at), Output::joined(outputs)) else {
            return Ok(None);
        };
        let name = outlet.name.clone();
        let failed = move |error| Error::Sink { name: name.clone(), error };
        let confirmed = outlet.send(at, output).await.map_err(&failed)?.confirmed();
        Ok(Some(confirmed.map_err(failed).boxed()))
    }

    /// Step 4: hands over the commit of the oldest chunk: position, appends, dead letters and staged bytes, all or nothing.
    async fn commit(&mut self, delivered: Delivered) -> Result<(), Error> {
        let Delivered { mut chunk, confirmed } = delivered;
        let spec = &self.task.spec;
        let (mut staged, mut positions) = (Vec::new(), Vec::new());
        for confirmed in confirmed {
            let Some(outlet) = self.outlets.get_mut(confirmed.outlet) else { continue };
            let name = outlet.name.clone();
            let bytes = confirmed.output.records.bytes();
            let mut settled = outlet.settle(confirmed).await.map_err(|error| Error::Sink { name, error })?;
            let refused = settled.refused.as_ref().map_or(0, |refused| refused.records.bytes());
            chunk.tally.records_out += settled.delivered;
            chunk.tally.bytes_out += bytes.saturating_sub(refused) as u64;
            staged.append(&mut settled.staged);
            positions.append(&mut settled.positions);
            if let Some(refused) = settled.refused {
                chunk.bury(spec, self.task.clock.now(), &refused);
            }
        }
        let InFlight { cause, appends, mut state, tally, again, .. } = chunk;
        match &cause {
            Cause::Read(read) => {
                let of = |input| Some((spec.position_key(input), read.position.clone()?));
                positions.extend(spec.inputs.get(read.input).and_then(of));
            }
            Cause::Replay(wave) => state.extend(wave.settled(|offset| again.contains(offset))),
            Cause::Time => {}
        }
        let changes = Changes { positions, appends, state };
        let begun = Instant::now();
        let pending = self.task.committer.submit(&self.lane, Commit { changes, staged }).await;
        let committed = async move {
            pending.await?;
            let took = begun.elapsed();
            Ok(Committed { cause, tally, took })
        };
        self.commits.push_back(committed.boxed());
        Ok(())
    }

    /// After an error: waits for the commits that were handed over, which nothing can take back. The task begins again at
    /// the positions that they leave behind; before, it would do again what they are about to make durable.
    async fn settle(&mut self) {
        while let Some(committed) = self.commits.next().await {
            if let Ok(committed) = committed {
                self.acknowledge(committed);
            }
        }
    }

    /// Step 5: lets the source forget what is committed.
    fn acknowledge(&mut self, committed: Committed) {
        match committed.cause {
            Cause::Read(Read { input, position, budget }) => {
                drop(budget);
                position.iter().for_each(|position| self.inputs.committed(input, position));
                self.vitals.committed(self.time.as_ref().and_then(EventTime::watermark));
            }
            Cause::Time => self.is_calling = false,
            Cause::Replay(_) => self.replays.committed(),
        }
        self.chain.committed();
        self.task.metrics.commit_time.observe(committed.took);
        committed.tally.add_to(&self.task.metrics, &self.chain);
    }
}
