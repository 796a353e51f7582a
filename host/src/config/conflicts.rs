//! Settings that are right on their own and cannot hold together: two users of one address, of one file, of stdin.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::build::MAIN_PORT;
use super::report::{Place, Problem};
use super::shape;
use super::yaml::{Entry, Node, Value};

/// Every conflict of a merged file, whose relative paths begin at `base`.
pub fn problems(root: &Node, base: &Path) -> Vec<Problem> {
    let sources = root.get("sources").map(Node::entries).unwrap_or_default();
    let sinks = root.get("sinks").map(Node::entries).unwrap_or_default();
    let mut problems = listeners(root, sources);
    problems.extend(stdin(sources));
    problems.extend(silent_syslog(sources));
    problems.extend(shared_files(sinks, base));
    problems.extend(own_output(sources, sinks, base));
    problems.extend(no_main_port(root));
    problems.extend(tables_of_files(sources, base));
    problems.extend(what_is_no_table(root, sources));
    problems
}

/// The records of the main port have to go somewhere: none is dropped because a file forgot it.
fn no_main_port(root: &Node) -> Vec<Problem> {
    let pipelines = root.get("pipelines").map(Node::entries).unwrap_or_default();
    let outputs = pipelines.iter().filter_map(|entry| entry.value.entry("to"));
    let without = outputs.filter(|to| matches!(to.value.value, Value::Map(_)) && to.value.get(MAIN_PORT).is_none());
    let problem = |to: &Entry| {
        Problem::error("missing-key", format!("`to` does not say where the records of the port `{MAIN_PORT}` go"))
            .at(&to.place, "no `main`")
            .help(format!("add `{MAIN_PORT}: SINK`; records that pass the last step leave it there"))
    };
    without.map(problem).collect()
}

fn of_type<'a>(entries: &'a [Entry], word: &str) -> impl Iterator<Item = &'a Entry> {
    entries.iter().filter(move |entry| entry.value.get("type").and_then(Node::text) == Some(word))
}

/// Where something listens, and by which protocol.
struct Listening<'a> {
    protocol: &'static str,
    address: SocketAddr,
    place: &'a Place,
}

fn listeners(root: &Node, sources: &[Entry]) -> Vec<Problem> {
    let http = root.get("http").and_then(|http| http.get("listen"));
    let http = http.and_then(|node| Some(("TCP", node.text()?.parse().ok()?, &node.place)));
    let http = http.map(|(protocol, address, place)| Listening { protocol, address, place });
    let mut listening: Vec<Listening<'_>> =
        of_type(sources, "syslog").flat_map(|entry| listening(&entry.value)).collect();
    listening.extend(http);
    let mut problems = Vec::new();
    for (at, later) in listening.iter().enumerate() {
        let earlier = listening.iter().take(at).find(|earlier| collide(earlier, later));
        problems.extend(earlier.map(|earlier| {
            Problem::error("address-in-use", format!("two listeners on {} {}", later.protocol, later.address))
                .at(later.place, "cannot listen here too")
                .at(earlier.place, &format!("listens on {}", earlier.address))
        }));
    }
    problems
}

fn listening(source: &Node) -> Vec<Listening<'_>> {
    let tls = source.get("tls").and_then(|tls| tls.get("address"));
    let all = [("UDP", source.get("udp")), ("TCP", source.get("tcp")), ("TCP", tls)];
    let known = all.into_iter().filter_map(|(protocol, node)| Some((protocol, node?)));
    let parsed = known.filter_map(|(protocol, node)| {
        Some(Listening { protocol, address: node.text()?.parse().ok()?, place: &node.place })
    });
    parsed.collect()
}

/// Whether the second `bind` would fail. Port 0 is a new port each time; an address of all interfaces takes in every
/// other, and the one of IPv6 takes in those of IPv4.
fn collide(one: &Listening<'_>, other: &Listening<'_>) -> bool {
    let (a, b) = (one.address.ip(), other.address.ip());
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let same_port = one.address.port() == other.address.port() && one.address.port() != 0;
    one.protocol == other.protocol && same_port && (a == b || covers(a, b) || covers(b, a))
}

fn silent_syslog(sources: &[Entry]) -> Vec<Problem> {
    // A key that is not known may be a misspelt listener: that is told already.
    let clear =
        |entry: &&Entry| entry.value.entries().iter().all(|entry| shape::SYSLOG_SOURCE.key(&entry.key).is_some());
    let silent = of_type(sources, "syslog")
        .filter(|entry| ["udp", "tcp", "tls"].iter().all(|key| entry.value.get(key).is_none()));
    let problem = |entry: &Entry| {
        Problem::error("no-listener", format!("the syslog source `{}` listens nowhere", entry.key))
            .at(&entry.place, "no `udp`, `tcp` or `tls`")
            .help("give it an address: `tcp: 0.0.0.0:514`, `udp: 0.0.0.0:514`, or `tls: {address: ..., certificate: ..., key: ...}`")
    };
    silent.filter(clear).map(problem).collect()
}

fn stdin(sources: &[Entry]) -> Vec<Problem> {
    let mut all = of_type(sources, "stdin");
    let Some(first) = all.next() else { return Vec::new() };
    let problem = |entry: &Entry| {
        Problem::error("stdin-twice", "there is one standard input, so one source can read it")
            .at(&entry.place, "reads it too")
            .at(&first.place, "reads it already")
            .help(format!("let both pipelines read `{}`", first.key))
    };
    all.map(problem).collect()
}

/// The files that sinks write, with the place of the setting.
fn written<'a>(sinks: &'a [Entry], base: &Path) -> Vec<(&'a str, PathBuf, &'a Place)> {
    let path = |entry: &'a Entry| {
        let node = entry.value.get("path")?;
        Some((entry.key.as_str(), super::paths::resolve(base, node.text()?), &node.place))
    };
    of_type(sinks, "file").filter_map(path).collect()
}

fn shared_files(sinks: &[Entry], base: &Path) -> Vec<Problem> {
    let written = written(sinks, base);
    let mut problems = Vec::new();
    for (at, (name, path, place)) in written.iter().enumerate() {
        let earlier = written.iter().take(at).find(|(other, earlier, _)| earlier == path && other != name);
        problems.extend(earlier.map(|(other, _, there)| {
            Problem::error("file-shared", format!("the sinks `{other}` and `{name}` write to one file"))
                .at(place, "the same file")
                .at(there, "written here already")
                .help(format!("let both pipelines write to `{other}`, or give `{name}` a file of its own"))
        }));
    }
    problems
}

/// A source that matches a sink's file would read what it caused to be written.
fn own_output(sources: &[Entry], sinks: &[Entry], base: &Path) -> Vec<Problem> {
    let written = written(sinks, base);
    let mut problems = Vec::new();
    for source in of_type(sources, "file") {
        let matches = |key: &str, path: &Path| {
            let patterns = source.value.get(key).map(Node::texts).unwrap_or_default();
            let found = patterns.into_iter().find(|(text, _)| {
                glob::Pattern::new(&super::paths::resolve_pattern(base, text))
                    .is_ok_and(|pattern| pattern.matches_path(path))
            });
            found.map(|(_, place)| place)
        };
        for (sink, path, place) in &written {
            let Some(read) = matches("path", path).filter(|_| matches("exclude", path).is_none()) else { continue };
            problems.push(
                Problem::warning(
                    "reads-own-output",
                    format!("the source `{}` reads the file that the sink `{sink}` writes", source.key),
                )
                .at(read, "reads it")
                .at(place, "writes it")
                .help("leave the file out by `exclude`, or write it to another directory"),
            );
        }
    }
    problems
}

/// How a file of rows is written, by its extension.
pub fn format_of(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?;
    shape::TABLE_FORMATS.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension)).map(|(_, format)| *format)
}

/// Table sources whose format nobody knows, or whose rows would have no key.
fn tables_of_files(sources: &[Entry], base: &Path) -> Vec<Problem> {
    let problem = |entry: &Entry| {
        let path = entry.value.get("path")?;
        let format = match entry.value.get("format") {
            Some(format) => format.text()?,
            None => match format_of(&super::paths::resolve(base, path.text()?)) {
                Some(format) => format,
                None => {
                    return Some(
                        Problem::error(
                            "unknown-format",
                            format!("how the file of `{}` is written is not known", entry.key),
                        )
                        .at(&path.place, "an extension that tells nothing")
                        .help("say it: `format: csv`, `json`, `ndjson` or `keyed`"),
                    );
                }
            },
        };
        let has_keys = matches!(format, "keyed" | "json") || entry.value.get("key").is_some();
        (!has_keys).then(|| {
            Problem::error("missing-key", format!("the rows of `{}` have no key", entry.key))
                .at(&entry.place, "no `key`")
                .help("say which field is a row's key: `key: FIELD`")
        })
    };
    of_type(sources, "table").filter_map(problem).collect()
}

/// Sources that cannot be read as a table.
fn what_is_no_table(root: &Node, sources: &[Entry]) -> Vec<Problem> {
    let type_of = |name: &str| {
        let entry = sources.iter().find(|entry| entry.key == name)?;
        entry.value.get("type").and_then(Node::text)
    };
    let mut problems = Vec::new();
    let pipelines = root.get("pipelines").map(Node::entries).unwrap_or_default();
    for pipeline in pipelines {
        let steps = pipeline.value.get("steps").map(Node::elements).unwrap_or_default();
        for table in steps.iter().flat_map(|step| step.get("tables").map(Node::one_or_many).unwrap_or_default()) {
            let is_partitioned = table.get("partitioned").is_some();
            for (name, place) in table.get("name").unwrap_or(table).texts() {
                let problem = match (type_of(name), is_partitioned) {
                    (None, _) | (Some("table"), false) | (Some("kafka"), true) => continue,
                    (Some("kafka"), false) => Problem::error("no-table", format!("`{name}` is a source of Kafka, of which a task reads one partition"))
                        .help(format!("let a pipeline copy it into a stream, and name that; or, where `{name}` has the partitions and keys of the pipeline's inputs, write `{{name: {name}, partitioned: true}}`")),
                    (Some("table"), true) => Problem::error("no-table", format!("`{name}` is a file, which has no partitions"))
                        .help(format!("write `tables: {name}`")),
                    (Some(other), _) => Problem::error("no-table", format!("`{name}` is a source of type `{other}`, and no table"))
                        .help(format!("a table is a stream, or a source of `type: table`; let a pipeline write `{name}` into a stream with a `key`, and name that")),
                };
                problems.push(problem.at(place, "no table"));
            }
        }
    }
    problems
}
