//! `case.yaml`, read as strictly as a pipeline file, and written.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::report::{Place, Problem, Report};
use super::shape::case::CASE;
use super::view::View;
use super::yaml::{self, Node};
use super::{StepLimits, build, check, load, shape, units};
use crate::record::{Partition, Timestamp};

/// What `case.yaml` says.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseFile {
    /// What the case is about.
    pub notes: Option<String>,
    /// The plugin's configuration.
    pub config: Value,
    /// The pipeline, or the sink.
    pub pipeline: Arc<str>,
    /// The step in it.
    pub step: Arc<str>,
    /// The partition.
    pub partition: Partition,
    /// The names of the inputs, at least one.
    pub inputs: Vec<Arc<str>>,
    /// The names of the tables.
    pub tables: Vec<Arc<str>>,
    /// Bounds of the instance.
    pub limits: StepLimits,
    /// What the clock shows once all records have come.
    pub clock: Option<Timestamp>,
    /// The blake3 hash of the plugin that the case was made with.
    pub hash: Option<String>,
}

impl Default for CaseFile {
    fn default() -> Self {
        CaseFile {
            notes: None,
            config: json!({}),
            pipeline: "case".into(),
            step: "step".into(),
            partition: Partition(0),
            inputs: vec!["input".into()],
            tables: Vec::new(),
            limits: StepLimits::default(),
            clock: None,
            hash: None,
        }
    }
}

impl Default for StepLimits {
    /// The defaults of a pipeline file.
    fn default() -> Self {
        let view = View { node: None, shape: &shape::STEP_LIMITS, base: Path::new("/") };
        // A test holds that every default can be read.
        build::step_limits(view).unwrap_or(StepLimits {
            memory_bytes_max: 0,
            batch_time_max: std::time::Duration::ZERO,
            output_bytes_max: 0,
            log_rate_max: 0,
            wait_time_max: std::time::Duration::ZERO,
            retries: 0,
        })
    }
}

impl CaseFile {
    /// Reads and checks the file. A file that is not there says nothing: the defaults hold.
    pub fn read(path: &Path) -> Result<CaseFile, Report> {
        if !path.exists() {
            return Ok(CaseFile::default());
        }
        let only = |problem: Problem| Report::new(vec![problem]);
        let file = load::open(path).map_err(only)?;
        if file.text.trim().is_empty() {
            return Ok(CaseFile::default());
        }
        let root = yaml::parse(&file).map_err(|problem| only(*problem))?;
        if !matches!(root.value, yaml::Value::Map(_)) {
            let message = format!("{} is no group of keys, and here is {}", file.name, root.describe());
            return Err(only(Problem::error("not-a-case", message).at(&Place::start_of(&file), "here")));
        }
        let problems = check::group(&CASE, &root);
        if !problems.is_empty() {
            return Err(Report::new(problems));
        }
        build(&root).map_err(|problem| only(*problem))
    }

    /// The text of the file: what differs from the defaults.
    pub fn to_yaml(&self) -> String {
        let mut keys = Map::new();
        let default = CaseFile::default();
        let mut put = |key: &str, value: Value, differs: bool| {
            if differs {
                keys.insert(key.into(), value);
            }
        };
        put("notes", json!(self.notes), self.notes.as_ref().is_some_and(|notes| !notes.trim().is_empty()));
        put("config", self.config.clone(), self.config != default.config);
        put("pipeline", json!(&*self.pipeline), self.pipeline != default.pipeline);
        put("step", json!(&*self.step), self.step != default.step);
        put("partition", json!(self.partition.0), self.partition != default.partition);
        put("inputs", names(&self.inputs), self.inputs != default.inputs);
        put("tables", names(&self.tables), !self.tables.is_empty());
        put("limits", limits(&self.limits), self.limits != default.limits);
        put("clock", json!(self.clock.and_then(crate::sink::lines::iso)), self.clock.is_some());
        put("hash", json!(self.hash), self.hash.is_some());
        // Text always can be written. An empty file would be as good.
        if keys.is_empty() { "{}\n".into() } else { serde_saphyr::to_string(&keys).unwrap_or_default() }
    }
}

fn build(root: &Node) -> super::view::Result<CaseFile> {
    let view = View { node: Some(root), shape: &CASE, base: Path::new("/") };
    let text = |key: &str| view.has(key).then(|| view.text(key)).transpose();
    let inputs = view.names("inputs");
    Ok(CaseFile {
        notes: text("notes")?,
        config: root.get("config").map_or_else(|| json!({}), Node::to_json),
        pipeline: view.text("pipeline")?.into(),
        step: view.text("step")?.into(),
        partition: Partition(view.number("partition")?),
        inputs: if inputs.is_empty() { CaseFile::default().inputs } else { inputs },
        tables: view.names("tables"),
        limits: build::step_limits(view.group("limits", &shape::STEP_LIMITS))?,
        clock: view.time_or_none("clock")?,
        hash: text("hash")?,
    })
}

fn names(names: &[Arc<str>]) -> Value {
    names.iter().map(|name| json!(&**name)).collect()
}

/// Bytes with a unit where one leaves no rest.
fn size(bytes: usize) -> Value {
    if bytes.is_multiple_of(1 << 10) { json!(units::show_size(bytes as u64)) } else { json!(bytes) }
}

fn limits(limits: &StepLimits) -> Value {
    json!({
        "memory_bytes_max": size(limits.memory_bytes_max),
        "batch_time_max": format!("{}ms", limits.batch_time_max.as_millis()),
        "output_bytes_max": size(limits.output_bytes_max),
        "wait_time_max": format!("{}ms", limits.wait_time_max.as_millis()),
        "log_rate_max": limits.log_rate_max,
        "retries": limits.retries,
    })
}
