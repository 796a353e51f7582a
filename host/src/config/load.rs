//! From a file or directory to settings, or to a report of all that is wrong. The only reader of pipeline files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::Names;
use super::report::{Place, Problem, Report, SourceFile};
use super::scenario::{self, Test};
use super::yaml::{Entry, Node, Value};
use super::{Config, build, check, conflicts, endpoint, http, kafka, paths, rabbitmq, secret, shape, yaml};

/// Bytes of one pipeline file at most.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Pipeline files of a directory at most.
const FILES_MAX: usize = 1_000;

/// What the command line says over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Instead of `data`.
    pub data: Option<PathBuf>,
    /// Plugin directories, in front of those of the file.
    pub plugins: Vec<PathBuf>,
}

/// A file that was found right.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Problem>,
    /// The tests of its pipelines.
    pub tests: Vec<Test>,
    /// Where the settings come from.
    pub origin: Origin,
}

/// Where the settings of steps stand, for problems that are found later than by reading.
#[derive(Debug, Clone)]
pub struct Origin {
    root: Node,
}

/// Whose step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOwner<'a> {
    /// A step of a pipeline, counted from 0.
    Pipeline(&'a str, usize),
    /// A sink that is a plugin.
    Sink(&'a str),
}

impl Origin {
    /// Where a step names its plugin: its `plugin`, its statement, or the bare name.
    pub fn plugin(&self, owner: StepOwner<'_>) -> Place {
        let Some(step) = self.step(owner) else { return self.root.place.clone() };
        step.get("plugin").or_else(|| step.get("sql")).unwrap_or(step).place.clone()
    }

    /// Where a pipeline says what it reads.
    pub fn from(&self, pipeline: &str) -> Place {
        let pipeline = self.root.get("pipelines").and_then(|pipelines| pipelines.get(pipeline));
        pipeline.and_then(|pipeline| pipeline.get("from")).unwrap_or(&self.root).place.clone()
    }

    /// Where a setting of a step's configuration stands: the deepest part of the path, parts divided by dots, that the
    /// file has.
    pub fn setting(&self, owner: StepOwner<'_>, path: &str) -> Place {
        let Some(step) = self.step(owner) else { return self.root.place.clone() };
        let Some(config) = step.entry("config") else { return self.plugin(owner) };
        let (place, node, _) = follow(config, path);
        // A single value is what is wrong itself; of a group or list, the key that begins it says more.
        if matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null) {
            place.clone()
        } else {
            node.place.clone()
        }
    }

    /// Whether the file has all of a path of a step's configuration, so that its place says which setting is meant.
    pub fn names(&self, owner: StepOwner<'_>, path: &str) -> bool {
        let Some(step) = self.step(owner) else { return false };
        let statement = step.get("sql").is_some() && path == build::SQL_STATEMENT;
        path.is_empty() || statement || step.entry("config").is_some_and(|config| follow(config, path).2)
    }

    /// Where a pipeline names a port in its `to`.
    pub fn port(&self, pipeline: &str, port: &str) -> Place {
        let to = self.section("pipelines", pipeline).and_then(|pipeline| pipeline.entry("to"));
        let entry = to.and_then(|to| to.value.entry(port)).or(to);
        entry.map_or_else(|| self.root.place.clone(), |entry| entry.place.clone())
    }

    /// Where a source or sink stands: `section` is `sources` or `sinks`.
    pub fn named(&self, section: &str, name: &str) -> Place {
        let entry = self.root.get(section).and_then(|section| section.entry(name));
        entry.map_or_else(|| self.root.place.clone(), |entry| entry.place.clone())
    }

    fn step(&self, owner: StepOwner<'_>) -> Option<&Node> {
        match owner {
            StepOwner::Sink(name) => self.section("sinks", name),
            StepOwner::Pipeline(name, at) => self.section("pipelines", name)?.get("steps")?.elements().get(at),
        }
    }

    fn section(&self, key: &str, name: &str) -> Option<&Node> {
        self.root.get(key)?.get(name)
    }
}

/// Follows a path from a configuration as far as the file has it: the place and the node it ends at, and whether that is
/// all of the path.
fn follow<'a>(config: &'a Entry, path: &str) -> (&'a Place, &'a Node, bool) {
    let (mut place, mut node) = (&config.place, &config.value);
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let element = part.parse().ok().and_then(|at: usize| node.elements().get(at));
        (place, node) = match (node.entry(part), element) {
            (Some(entry), _) => (&entry.place, &entry.value),
            (None, Some(element)) => (&element.place, element),
            (None, None) => return (place, node, false),
        };
    }
    (place, node, true)
}

/// Reads and validates a pipeline file, or all `*.yaml` and `*.yml` files of a directory in the order of their names.
///
/// Nothing but the files themselves is looked at, so that a file can be checked on another machine than it runs on.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, Report> {
    let only = |problem| Report::new(vec![problem]);
    let (base, files) = files(path).map_err(only)?;
    let mut problems = Vec::new();
    let mut roots = Vec::new();
    for file in &files {
        match open(file).and_then(|file| root(&file)) {
            Ok(root) => {
                problems.extend(check::version(&root));
                roots.push(root);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let all_read = roots.len() == files.len();
    let Some(root) = merge(roots) else { return Err(Report::new(problems)) };
    problems.extend(check::shape(&root));
    // A name that seems to be missing may stand in a file that could not be read, or in a section that is misspelt.
    if all_read && root.entries().iter().all(|entry| shape::ROOT.key(&entry.key).is_some()) {
        problems.extend(Names::of(&root).problems());
        problems.extend(Names::no_pipeline(&root));
        problems.extend(secret::unknown(&root));
    }
    problems.extend(conflicts::problems(&root, &base));
    problems.extend(kafka::problems(&root));
    problems.extend(rabbitmq::problems(&root));
    problems.extend(endpoint::problems(&root));
    problems.extend(http::problems(&root));
    finish(root, &base, problems, overrides)
}

fn finish(root: Node, base: &Path, mut problems: Vec<Problem>, overrides: &Overrides) -> Result<Loaded, Report> {
    if problems.iter().any(|problem| !problem.is_warning()) {
        return Err(Report::new(problems));
    }
    problems.extend(Names::of(&root).warnings());
    problems.extend(secret::unused(&root));
    problems.extend(endpoint::unused(&root));
    problems.extend(http::warnings(&root));
    let mut config = build::config(&root, base).map_err(|problem| Report::new(vec![*problem]))?;
    if let Some(data) = &overrides.data {
        config.data = absolute(data);
    }
    config.plugins = overrides.plugins.iter().map(|path| absolute(path)).chain(config.plugins).collect();
    let tests = scenario::tests(&root, &config, base).map_err(|problem| Report::new(vec![problem]))?;
    Ok(Loaded { config, warnings: Report::new(problems).into_problems(), tests, origin: Origin { root } })
}

/// The directory where relative paths begin, and the files to read.
fn files(path: &Path) -> Result<(PathBuf, Vec<PathBuf>), Problem> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_dir() {
        let parent = absolute(path).parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        return Ok((parent, vec![path.to_path_buf()]));
    }
    let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = paths.map_err(|error| unreadable(path, &error))?;
    files.retain(|file| is_pipeline_file(file));
    files.sort();
    if files.is_empty() || files.len() > FILES_MAX {
        let message = format!("{} has {} files that end in .yaml or .yml", path.display(), files.len());
        let help = format!("a directory holds from 1 to {FILES_MAX} pipeline files");
        return Err(Problem::usage("no-pipeline-file", message).help(help));
    }
    Ok((absolute(path), files))
}

/// Hidden files are left out: editors keep their copies there.
fn is_pipeline_file(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && !hidden && !path.is_dir()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let message = format!("cannot read {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Problem::usage("not-found", format!("there is no file or directory {}", path.display()))
        }
        _ => Problem::unavailable("unreadable", message),
    }
}

fn absolute(path: &Path) -> PathBuf {
    // Fails only where the working directory is gone, and then no relative path means anything.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    paths::resolve(Path::new("/"), &absolute.to_string_lossy())
}

/// Reads a file as text.
pub(super) fn open(path: &Path) -> Result<Arc<SourceFile>, Problem> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Problem::error("file-too-large", format!("{name} has more than 4 MiB; is it a pipeline file?")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| Problem::error("not-utf-8", format!("{name} is not UTF-8: {}", error.utf8_error())))?;
    // A byte order mark, as some editors write it, is no part of the text.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(SourceFile::new(&name, text))
}

/// The tree of a file, which is a group of keys.
fn root(file: &Arc<SourceFile>) -> Result<Node, Problem> {
    let root = yaml::parse(file).map_err(|problem| *problem)?;
    let known = root.entries().iter().any(|entry| shape::ROOT.key(&entry.key).is_some());
    match root.value {
        Value::Map(_) if known => Ok(root),
        Value::Null => Err(Problem::error("empty-file", format!("{} is empty", file.name))
            .at(&Place::start_of(file), "nothing here")
            .help("a pipeline file begins with `version: 1`")),
        Value::Map(_) => Err(Problem::error("not-a-pipeline-file", format!("{} is no pipeline file", file.name))
            .at(&root.place, "a key that no pipeline file has")
            .help("a pipeline file begins with `version: 1`")),
        _ => Err(Problem::error(
            "wrong-type",
            format!("a pipeline file is a group of keys, and here is {}", root.describe()),
        )
        .at(&root.place, "expected a key, a colon and a blank")
        .help("a pipeline file begins with `version: 1`")),
    }
}

/// Several files as one: sections are joined, so that a name defined in two of them is there twice.
fn merge(roots: Vec<Node>) -> Option<Node> {
    let mut roots = roots.into_iter();
    let mut merged = roots.next()?;
    for root in roots {
        let Value::Map(entries) = root.value else { continue };
        for entry in entries.into_iter().filter(|entry| entry.key != "version") {
            merge_entry(&mut merged, entry);
        }
    }
    Some(merged)
}

fn merge_entry(merged: &mut Node, mut entry: Entry) {
    let Value::Map(entries) = &mut merged.value else { return };
    if entry.key == "plugins" {
        entries
            .iter_mut()
            .chain([&mut entry])
            .filter(|entry| entry.key == "plugins")
            .for_each(|entry| as_list(&mut entry.value));
    }
    let there = entries.iter_mut().find(|there| there.key == entry.key);
    match (there.map(|there| &mut there.value.value), entry.value.value) {
        (Some(Value::Map(there)), Value::Map(more)) => there.extend(more),
        (Some(Value::List(there)), Value::List(more)) => there.extend(more),
        (Some(there @ Value::Null), more) => *there = more,
        (_, value) => entries.push(Entry { value: Node { value, ..entry.value }, ..entry }),
    }
}

/// One directory as a list of one, so that those of several files can be joined.
fn as_list(node: &mut Node) {
    if matches!(node.value, Value::Text(_)) {
        node.value = Value::List(vec![node.clone()]);
    }
}
