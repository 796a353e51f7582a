//! What a pipeline file describes, as boxes and arrows.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, Pipeline, Sink, Source};
use crate::store::DEAD_LETTERS;

/// Boxes and arrows.
#[derive(Debug, Default)]
pub struct Graph {
    /// The boxes. Arrows name them by their places.
    pub nodes: Vec<Node>,
    /// The arrows.
    pub edges: Vec<Edge>,
}

/// A box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// More about it: its type, its plugin.
    pub detail: String,
    /// The pipeline that it is a part of.
    pub pipeline: Option<String>,
}

/// What a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Where records enter.
    Source,
    /// A durable log.
    Stream,
    /// A step of a pipeline, or a pipeline without steps.
    Step,
    /// Where records leave.
    Sink,
}

/// An arrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Where it begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
    /// What goes there, where it is not all: a port, a table.
    pub label: String,
    /// Whether it is another way than the main one.
    pub is_aside: bool,
}

impl Graph {
    /// What a configuration describes. Dead letters are drawn where a pipeline reads them.
    pub fn of(config: &Config) -> Self {
        let mut graph = Graph::default();
        let mut places = BTreeMap::new();
        let read: BTreeSet<&str> = config.pipelines.values().flat_map(Pipeline::inputs).map(|name| &**name).collect();
        for (name, source) in &config.sources {
            places.insert(name.to_string(), graph.add(Kind::Source, name, source_type(source), None));
        }
        let own = |name: &str| !config.sources.contains_key(name) && (name != DEAD_LETTERS || read.contains(name));
        for (name, spec) in config.streams.iter().filter(|(name, _)| own(name)) {
            let detail = if spec.partitions > 1 { format!("{} partitions", spec.partitions) } else { String::new() };
            places.insert(name.to_string(), graph.add(Kind::Stream, name, &detail, None));
        }
        for (name, sink) in &config.sinks {
            places.insert(name.to_string(), graph.add(Kind::Sink, name, &sink_type(sink), None));
        }
        for (name, pipeline) in &config.pipelines {
            graph.add_pipeline(name, pipeline, &places);
        }
        graph
    }

    fn add(&mut self, kind: Kind, name: &str, detail: &str, pipeline: Option<&str>) -> usize {
        let pipeline = pipeline.map(str::to_owned);
        self.nodes.push(Node { kind, name: name.into(), detail: detail.into(), pipeline });
        self.nodes.len() - 1
    }

    fn connect(&mut self, from: Option<&usize>, to: Option<&usize>, label: &str, is_aside: bool) {
        if let (Some(from), Some(to)) = (from, to) {
            self.edges.push(Edge { from: *from, to: *to, label: label.into(), is_aside });
        }
    }

    fn add_pipeline(&mut self, name: &str, pipeline: &Pipeline, places: &BTreeMap<String, usize>) {
        let mut steps = Vec::new();
        for step in &pipeline.steps {
            let detail = if step.name == step.plugin { "" } else { &step.plugin };
            let at = self.add(Kind::Step, &step.name, detail, Some(name));
            self.connect(steps.last(), Some(&at), "", false);
            for table in &step.tables {
                self.connect(places.get(&*table.name), Some(&at), "table", true);
            }
            steps.push(at);
        }
        if steps.is_empty() {
            steps.push(self.add(Kind::Step, name, "no steps", Some(name)));
        }
        for input in &pipeline.from {
            self.connect(places.get(&**input), steps.first(), "", false);
        }
        for output in &pipeline.to {
            self.connect(steps.last(), places.get(&**output), "", false);
        }
        for (port, outputs) in &pipeline.ports {
            for output in outputs {
                self.connect(steps.last(), places.get(&**output), port, true);
            }
        }
        if !pipeline.inputs().any(|input| &**input == DEAD_LETTERS) {
            self.connect(steps.last(), places.get(DEAD_LETTERS), "dead letters", true);
        }
    }
}

fn source_type(source: &Source) -> &'static str {
    match source {
        Source::File(_) => "file",
        Source::Stdin(_) => "stdin",
        Source::Syslog(_) => "syslog",
        Source::Rabbitmq(_) => "rabbitmq",
        Source::Demo(_) => "demo",
        Source::Kafka(_) => "kafka",
        Source::Table(_) => "table",
    }
}

fn sink_type(sink: &Sink) -> String {
    match sink {
        Sink::Stdout(_) => "stdout".into(),
        Sink::File(_) => "file".into(),
        Sink::Kafka(_) => "kafka".into(),
        Sink::Rabbitmq(_) => "rabbitmq".into(),
        Sink::Plugin(step) => format!("plugin {}", step.plugin),
    }
}
