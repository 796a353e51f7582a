//! What the names of a file refer to: each exists, once, and the graph of pipelines and streams has no cycle.
//!
//! Works on the tree, not on settings, so that it speaks of all names even where other parts of the file are wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Place, Problem};
use super::suggest::{listed, nearest, nearest_name};
use super::yaml::{Node, Value};
use crate::store::DEAD_LETTERS;

/// A name and where it stands.
type Named<'a> = (&'a str, &'a Place);

/// The names of a file.
pub struct Names<'a> {
    sources: Vec<Named<'a>>,
    streams: Vec<Named<'a>>,
    sinks: Vec<Named<'a>>,
    pipelines: Vec<Pipeline<'a>>,
    /// Where dead letters go as well.
    handed_on: Vec<Named<'a>>,
}

struct Pipeline<'a> {
    name: Named<'a>,
    /// What it reads, its tables among that.
    from: Vec<Named<'a>>,
    to: Vec<Named<'a>>,
}

impl<'a> Names<'a> {
    /// Collects them from a merged file.
    pub fn of(root: &'a Node) -> Self {
        let section = |key: &str| -> Vec<Named<'a>> {
            let entries = root.get(key).map(Node::entries).unwrap_or_default();
            entries.iter().map(|entry| (entry.key.as_str(), &entry.place)).collect()
        };
        let pipelines = root.get("pipelines").map(Node::entries).unwrap_or_default();
        let handed_on = root.get("dead_letters").and_then(|of| of.entry("to"));
        let handed_on = handed_on.into_iter().flat_map(|entry| entry.value.texts()).collect();
        Names {
            sources: section("sources"),
            streams: section("streams"),
            sinks: section("sinks"),
            pipelines: pipelines.iter().map(|entry| Pipeline::of((&entry.key, &entry.place), &entry.value)).collect(),
            handed_on,
        }
    }

    /// Every name that is wrong.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.shared();
        problems.extend(self.reserved());
        problems.extend(self.sources_written());
        problems.extend(self.handed_on_to_themselves());
        problems.extend(self.unknown_inputs());
        problems.extend(self.cycle());
        problems
    }

    /// What is allowed and probably not meant. Worth telling only where nothing is wrong.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut warnings = self.near_streams();
        warnings.extend(self.unused());
        warnings.extend(self.dead_letter_loops());
        warnings
    }

    /// A pipeline file without a pipeline does nothing.
    pub fn no_pipeline(root: &Node) -> Option<Problem> {
        let entry = root.entry("pipelines")?;
        let empty = matches!(&entry.value.value, Value::Map(entries) if entries.is_empty());
        empty.then(|| {
            Problem::error("no-pipeline", "there is no pipeline, so nothing would run")
                .at(&entry.place, "empty")
                .help("a pipeline is `NAME: {from: SOURCE, steps: [...], to: SINK}`")
        })
    }

    /// Sources, streams and sinks are named in `from` and `to`, so a name may stand for one of them only.
    fn shared(&self) -> Vec<Problem> {
        let mut first: BTreeMap<&str, (&str, &Place)> = BTreeMap::new();
        let mut problems = Vec::new();
        for (what, names) in [("source", &self.sources), ("stream", &self.streams), ("sink", &self.sinks)] {
            for (name, place) in names {
                match first.get(name) {
                    Some((other, at)) if *other != what => problems.push(
                        Problem::error("duplicate-name", format!("`{name}` is the name of a {other} and of a {what}"))
                            .at(place, &format!("a {what}"))
                            .at(at, &format!("a {other}"))
                            .help(
                                "sources, streams and sinks share their names: `from` and `to` have to tell them apart",
                            ),
                    ),
                    Some(_) => {} // Twice in one section: told by the check of the shape.
                    None => drop(first.insert(name, (what, place))),
                }
            }
        }
        problems
    }

    fn reserved(&self) -> Vec<Problem> {
        let taken = |what: &str, names: &[Named<'_>]| -> Vec<Problem> {
            let same = names.iter().filter(|(name, _)| *name == DEAD_LETTERS);
            let problem = |place| {
                Problem::error("reserved-name", format!("a {what} cannot be named `{DEAD_LETTERS}`"))
                    .at(place, "reserved")
                    .help("it is the stream that holds every dead letter")
            };
            same.map(|(_, place)| problem(*place)).collect()
        };
        let pipelines: Vec<_> = self.pipelines.iter().map(|pipeline| pipeline.name).collect();
        [taken("source", &self.sources), taken("sink", &self.sinks), taken("pipeline", &pipelines)].concat()
    }

    fn sources_written(&self) -> Vec<Problem> {
        let written = self.outputs().filter(|(name, _)| has(&self.sources, name));
        let problem = |(name, place): Named<'_>| {
            Problem::error("writes-to-source", format!("`{name}` is a source; a pipeline writes to streams and sinks"))
                .at(place, "a source")
        };
        written.map(problem).collect()
    }

    fn handed_on_to_themselves(&self) -> Vec<Problem> {
        let same = self.handed_on.iter().filter(|(name, _)| *name == DEAD_LETTERS);
        let problem = |(_, place): &Named<'_>| {
            Problem::error("dead-letters-to-themselves", "dead letters are in this stream already")
                .at(place, "comes round again")
                .help("name a sink or another stream, or leave `to` out")
        };
        same.map(problem).collect()
    }

    fn unknown_inputs(&self) -> Vec<Problem> {
        let readable = self.readable();
        let unknown = self.inputs().filter(|(name, _)| !readable.contains(name));
        unknown.map(|input| self.unknown_input(input, &readable)).collect()
    }

    fn unknown_input(&self, (name, place): Named<'_>, readable: &BTreeSet<&str>) -> Problem {
        if has(&self.sinks, name) {
            return Problem::error(
                "reads-from-sink",
                format!("`{name}` is a sink; a pipeline reads sources and streams"),
            )
            .at(place, "a sink")
            .help("to read what goes there, let the other pipeline write to a stream too");
        }
        let problem =
            Problem::error("unknown-name", format!("there is no source or stream `{name}`")).at(place, "unknown");
        if self.pipelines.iter().any(|pipeline| pipeline.name.0 == name) {
            return problem.help(format!("`{name}` is a pipeline; name the stream that it writes `to`"));
        }
        let usual = readable.iter().copied().filter(|name| *name != DEAD_LETTERS);
        match (nearest(name, readable.iter().copied()), usual.clone().next()) {
            (Some(near), _) => problem.help(format!("did you mean `{near}`?")),
            (None, Some(_)) => problem.help(format!("sources and streams: {}", listed(usual))),
            (None, None) => problem.help("name a source under `sources`, or let a pipeline write to this stream"),
        }
    }

    /// A record that comes round again would go round for ever.
    fn cycle(&self) -> Option<Problem> {
        let mut done = BTreeSet::new();
        let path = self.pipelines.iter().find_map(|start| self.cycle_from(start, &mut Vec::new(), &mut done))?;
        let (_, place) = path.first()?.name;
        let mut words: Vec<String> = path.iter().flat_map(|pipeline| self.hop(pipeline, &path)).collect();
        words.push(path.first()?.name.0.to_owned());
        Some(
            Problem::error("cycle", format!("records would go round for ever: {}", words.join(" -> ")))
                .at(place, "begins and ends here")
                .help("let one of these pipelines write somewhere else"),
        )
    }

    fn cycle_from<'s>(
        &'s self,
        at: &'s Pipeline<'a>,
        path: &mut Vec<&'s Pipeline<'a>>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'s Pipeline<'a>>> {
        if let Some(begin) = path.iter().position(|pipeline| pipeline.name.0 == at.name.0) {
            return path.get(begin..).map(<[_]>::to_vec);
        }
        if !done.insert(at.name.0) {
            return None;
        }
        path.push(at);
        let found = self
            .pipelines
            .iter()
            .filter(|next| self.feeds(at, next).is_some())
            .find_map(|next| self.cycle_from(next, path, done));
        path.pop();
        found
    }

    /// A pipeline of a cycle and the stream behind it.
    fn hop(&self, pipeline: &Pipeline<'a>, path: &[&Pipeline<'a>]) -> Vec<String> {
        let at = path.iter().position(|other| other.name.0 == pipeline.name.0).unwrap_or(0);
        let next = path.get(at + 1).or(path.first());
        let stream = next.and_then(|next| self.feeds(pipeline, next)).unwrap_or_default();
        vec![pipeline.name.0.into(), stream.into()]
    }

    /// The stream by which one pipeline's records reach another.
    fn feeds(&self, writer: &Pipeline<'a>, reader: &Pipeline<'_>) -> Option<&'a str> {
        let is_stream = |name: &str| !has(&self.sources, name) && !has(&self.sinks, name);
        writer.to.iter().map(|(name, _)| *name).find(|name| is_stream(name) && has(&reader.from, name))
    }

    /// Streams that come to be by their name in a `to` alone, and whose name looks like one that exists.
    fn near_streams(&self) -> Vec<Problem> {
        let known: BTreeSet<&str> = self
            .sinks
            .iter()
            .chain(&self.streams)
            .map(|(name, _)| *name)
            .chain(self.inputs().map(|(name, _)| name))
            .collect();
        let new = self.outputs().filter(|(name, _)| !known.contains(name) && *name != DEAD_LETTERS);
        let warning = |(name, place): Named<'_>| {
            let near = nearest_name(name, known.iter().copied())?;
            let what = if has(&self.sinks, near) { "sink" } else { "stream" };
            let problem = Problem::warning("new-stream", format!("`{name}` is a new stream, and nothing reads it"));
            Some(problem.at(place, "a new stream").help(format!("did you mean the {what} `{near}`?")))
        };
        new.filter_map(warning).collect()
    }

    fn unused(&self) -> Vec<Problem> {
        let read: BTreeSet<&str> = self.inputs().map(|(name, _)| name).collect();
        let written: BTreeSet<&str> = self.outputs().map(|(name, _)| name).collect();
        let unread = self.sources.iter().filter(|(name, _)| !read.contains(name));
        let unwritten = self.sinks.iter().filter(|(name, _)| !written.contains(name));
        let idle = self.streams.iter().filter(|(name, _)| !written.contains(name) && *name != DEAD_LETTERS);
        let tell = |code, what: &str, (name, place): &Named<'_>, why: &str| {
            Problem::warning(code, format!("the {what} `{name}` {why}")).at(place, "not used")
        };
        let mut warnings: Vec<Problem> = Vec::new();
        warnings.extend(unread.map(|named| tell("unused-source", "source", named, "is read by no pipeline")));
        warnings.extend(unwritten.map(|named| tell("unused-sink", "sink", named, "is written by no pipeline")));
        warnings.extend(idle.map(|named| tell("unused-stream", "stream", named, "is written by no pipeline")));
        warnings
    }

    fn dead_letter_loops(&self) -> Vec<Problem> {
        let reading = self.inputs().filter(|(name, _)| *name == DEAD_LETTERS);
        let warning = |(_, place): Named<'_>| {
            Problem::warning(
                "dead-letter-loop",
                "a dead letter that fails again comes back to this pipeline, again and again",
            )
            .at(place, "reads what it may write")
            .help("let the steps of this pipeline reject nothing")
        };
        reading.map(warning).collect()
    }

    /// What a pipeline may read: sources, declared streams, and streams that a `to` creates.
    fn readable(&self) -> BTreeSet<&str> {
        let declared = self.sources.iter().chain(&self.streams).map(|(name, _)| *name);
        let created = self.outputs().map(|(name, _)| name).filter(|name| !has(&self.sinks, name));
        declared.chain(created).chain([DEAD_LETTERS]).collect()
    }

    fn inputs(&self) -> impl Iterator<Item = Named<'a>> {
        self.pipelines.iter().flat_map(|pipeline| pipeline.from.iter().copied())
    }

    fn outputs(&self) -> impl Iterator<Item = Named<'a>> {
        self.pipelines.iter().flat_map(|pipeline| pipeline.to.iter().copied()).chain(self.handed_on.iter().copied())
    }
}

impl<'a> Pipeline<'a> {
    fn of(name: Named<'a>, node: &'a Node) -> Self {
        let texts = |key| node.get(key).map(Node::texts).unwrap_or_default();
        let ports = node.get("to").map(Node::entries).unwrap_or_default();
        let by_port = ports.iter().flat_map(|entry| entry.value.texts());
        let tables = node.get("steps").map(Node::elements).unwrap_or_default().iter().flat_map(|step| {
            let tables = step.get("tables").map(Node::one_or_many).unwrap_or_default();
            tables.iter().flat_map(|table| table.get("name").unwrap_or(table).texts())
        });
        let from = texts("from").into_iter().chain(tables).collect();
        Pipeline { name, from, to: texts("to").into_iter().chain(by_port).collect() }
    }
}

fn has(names: &[Named<'_>], name: &str) -> bool {
    names.iter().any(|(known, _)| *known == name)
}
