//! What a task is: its inputs and where its records go.

use std::sync::Arc;

use crate::config::StreamKey;
use crate::record::Partition;
use crate::source::Mode;
use crate::state::Home;
use crate::store::committer::StreamRead;
use crate::store::{PositionKey, Store, StreamName};

/// Where records go.
#[derive(Debug, Clone)]
pub enum Destination {
    /// An embedded stream.
    Stream(StreamTarget),
    /// A sink, by name.
    Sink(Arc<str>),
}

/// An embedded stream to append to.
#[derive(Debug, Clone)]
pub struct StreamTarget {
    /// Its name.
    pub name: StreamName,
    /// How many partitions it has.
    pub partitions: u32,
    /// What becomes the key of its records; `None`: they keep theirs.
    pub key: Option<StreamKey>,
}

/// What a task is.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The partition of its inputs.
    pub partition: Partition,
    /// What it reads: first what `from` names, then the tables of its steps.
    pub inputs: Vec<TaskInput>,
    /// The destinations of each route; route 0 is the main one.
    pub routes: Vec<Vec<Destination>>,
    /// Bytes of records that may be on their way between reading and commit.
    pub bytes_in_flight_max: usize,
    /// Whether to go on for ever or to the end of what there is.
    pub mode: Mode,
}

/// One input of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskInput {
    /// Its number among the inputs that steps are told of: the place in `from`, or behind all of these that in the tables of
    /// the step.
    pub number: u32,
    /// The source or stream.
    pub name: Arc<str>,
    /// Which partition of it.
    pub partition: Partition,
    /// Who reads it as a table; `None`: it goes through all steps.
    pub table: Option<TableInput>,
}

/// An input that is the table of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInput {
    /// The step's place.
    pub step: usize,
    /// Its name.
    pub step_name: Arc<str>,
    /// Whether every task reads all partitions, before anything else.
    pub is_global: bool,
}

impl TaskInput {
    /// An input that `from` names.
    pub fn of(number: u32, name: Arc<str>, partition: Partition) -> Self {
        TaskInput { number, name, partition, table: None }
    }

    /// By which its position is known among those of a pipeline. A name in `from` is its own; no other name has an `@`.
    pub fn key(&self) -> Arc<str> {
        match &self.table {
            None => self.name.clone(),
            Some(table) if table.is_global => format!("{}@{}/{}", self.name, table.step_name, self.partition).into(),
            Some(table) => format!("{}@{}", self.name, table.step_name).into(),
        }
    }
}

impl TaskSpec {
    /// The names of the sinks on all routes, each once.
    pub(super) fn sinks(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for destination in self.routes.iter().flatten() {
            if let Destination::Sink(name) = destination
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        }
        names
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = (&StreamName, u32)> {
        self.routes.iter().flatten().filter_map(|destination| match destination {
            Destination::Stream(stream) => Some((&stream.name, stream.partitions)),
            Destination::Sink(_) => None,
        })
    }

    /// Where its state lies.
    pub fn home(&self, store: &Arc<dyn Store>) -> Home {
        Home { store: store.clone(), pipeline: self.pipeline.clone(), partition: self.partition }
    }

    /// Where the position of an input is kept.
    pub fn position_key(&self, input: &TaskInput) -> PositionKey {
        PositionKey { owner: self.pipeline.clone(), input: input.key(), partition: self.partition }
    }

    /// Its inputs that are partitions of embedded streams, tables among them; `is_stream` says which names are streams.
    pub fn reads<'a>(&'a self, is_stream: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = StreamRead> + 'a {
        let read = |input: &TaskInput| StreamRead {
            position: self.position_key(input),
            stream: input.name.clone(),
            partition: input.partition,
        };
        self.inputs.iter().filter(move |input| is_stream(&input.name)).map(read)
    }

    pub(super) fn input_name(&self, input: usize) -> Arc<str> {
        self.inputs.get(input).map_or_else(|| "".into(), |input| input.name.clone())
    }
}
