//! A dead letter as a case: all that it takes to have its plugin refuse it again, elsewhere.
//!
//! Nothing that is secret goes in: a configuration names secrets, and their values are nowhere but in their files.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Id, Letter, Stage};
use crate::case::line::Origin;
use crate::case::{Case, CaseFile, Given, Outcome};
use crate::config::StepLimits;
use crate::record::{Batch, Offset, Partition};

/// A plugin as it is used where a record was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The pipeline or sink, as the plugin is told it.
    pub pipeline: Arc<str>,
    /// The step, as the plugin is told it.
    pub step: Arc<str>,
    /// Its configuration.
    pub config: Value,
    /// Its bounds.
    pub limits: StepLimits,
    /// Its inputs.
    pub inputs: Vec<Arc<str>>,
    /// Its tables.
    pub tables: Vec<Arc<str>>,
    /// The component.
    pub wasm: Vec<u8>,
}

/// A capsule on its way: this as a line of JSON, and behind it the component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    id: String,
    letter: Letter,
    /// The record as it came, as a batch of its own, base64-coded.
    record: String,
    pipeline: String,
    step: String,
    config: Value,
    limits: Limits,
    inputs: Vec<String>,
    tables: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Limits {
    memory_bytes_max: usize,
    batch_time_max_ms: u64,
    output_bytes_max: usize,
    wait_time_max_ms: u64,
    log_rate_max: u32,
    retries: u32,
}

impl Limits {
    fn of(limits: &StepLimits) -> Limits {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let StepLimits { memory_bytes_max, batch_time_max, output_bytes_max, wait_time_max, log_rate_max, retries } =
            *limits;
        let (batch_time_max_ms, wait_time_max_ms) = (ms(batch_time_max), ms(wait_time_max));
        Limits { memory_bytes_max, batch_time_max_ms, output_bytes_max, wait_time_max_ms, log_rate_max, retries }
    }

    fn into_step(self) -> StepLimits {
        StepLimits {
            memory_bytes_max: self.memory_bytes_max,
            batch_time_max: Duration::from_millis(self.batch_time_max_ms),
            output_bytes_max: self.output_bytes_max,
            wait_time_max: Duration::from_millis(self.wait_time_max_ms),
            log_rate_max: self.log_rate_max,
            retries: self.retries,
        }
    }
}

impl Head {
    /// What is to be told of a letter and of who refused it.
    pub fn of(id: Id, letter: &Letter, record: &Batch, used: &Used) -> Head {
        let names = |names: &[Arc<str>]| names.iter().map(|name| name.to_string()).collect();
        Head {
            id: id.to_string(),
            letter: letter.clone(),
            record: BASE64.encode(record.encode()),
            pipeline: used.pipeline.to_string(),
            step: used.step.to_string(),
            config: used.config.clone(),
            limits: Limits::of(&used.limits),
            inputs: names(&used.inputs),
            tables: names(&used.tables),
        }
    }

    /// The case, and what is to be said of it. `None`: the record is damaged.
    pub fn case(self, wasm: Vec<u8>) -> Option<(Case, Vec<String>)> {
        let records = Batch::decode(&BASE64.decode(&self.record).ok()?).ok()?;
        let hash = blake3::hash(&wasm).to_hex().to_string();
        let said = remarks(&self.letter, &hash);
        let settings = self.settings(hash, &said);
        let letter = self.letter;
        let known = letter.input.as_deref().map(|input| input.split('@').next().unwrap_or(input));
        let mut inputs = settings.inputs.iter().chain(&settings.tables);
        let input = inputs.find(|name| Some(&***name) == known).or(settings.inputs.first())?.clone();
        let given = vec![Given { input: input.clone(), records }];
        let mut case = Case { settings, given, expected: None, plugin: Some(wasm) };
        let input = case.has_many_inputs().then(|| input.to_string());
        let of = Origin { input, offset: Offset(letter.offset) };
        case.expected = Some(vec![match letter.stage {
            Some(Stage::Sink) => Outcome::Refused { of, reason: letter.reason, retriable: false },
            _ => Outcome::Reject { of, reason: letter.reason },
        }]);
        Some((case, said))
    }

    fn settings(&self, hash: String, said: &[String]) -> CaseFile {
        let notes = [&[format!("dead letter {}: {}", self.id, self.letter.reason)][..], said].concat().join("; ");
        let names = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect::<Vec<Arc<str>>>();
        CaseFile {
            notes: Some(notes),
            config: self.config.clone(),
            pipeline: self.pipeline.as_str().into(),
            step: self.step.as_str().into(),
            partition: Partition(self.letter.partition),
            inputs: if self.inputs.is_empty() { vec!["input".into()] } else { names(&self.inputs) },
            tables: names(&self.tables),
            limits: self.limits.into_step(),
            clock: None,
            hash: Some(hash),
        }
    }
}

/// What differs from when the record was refused.
fn remarks(letter: &Letter, hash: &str) -> Vec<String> {
    match &letter.plugin_hash {
        Some(then) if then == hash => Vec::new(),
        Some(then) => vec![format!(
            "the plugin that refused the record, {then}, is not there any more: this is the present one, which may do otherwise"
        )],
        None => vec!["which version of the plugin refused the record is not known: this is the present one".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, Timestamp};

    #[test]
    fn a_capsule_is_read_again_as_a_case() {
        let wasm = b"\0asm".to_vec();
        let hash = blake3::hash(&wasm).to_hex().to_string();
        let letter = Letter {
            reason: "no".into(),
            input: Some("owners@enricher/0".into()),
            offset: 7,
            stage: Some(Stage::Step),
            plugin_hash: Some(hash.clone()),
            ..Letter::default()
        };
        let mut record = Batch::default();
        record.push(&Record { offset: Offset(7), ..Record::of(b"\xff\0", Timestamp(5)) });
        let used = Used {
            pipeline: "p".into(),
            step: "enricher".into(),
            config: serde_json::json!({"password": {"secret": "door"}}),
            limits: StepLimits::default(),
            inputs: vec!["in".into()],
            tables: vec!["owners".into()],
            wasm: wasm.clone(),
        };
        let id = "0-3".parse().unwrap();
        let head = Head::of(id, &letter, &record, &used);
        let sent = serde_json::to_string(&head).unwrap();
        let (case, said) = serde_json::from_str::<Head>(&sent).unwrap().case(wasm.clone()).unwrap();
        assert_eq!(said, Vec::<String>::new());
        let directory = tempfile::tempdir().unwrap();
        case.write(directory.path()).unwrap();
        let read = Case::read(directory.path()).unwrap();
        assert_eq!(read, case);
        assert_eq!((read.settings.hash.as_deref(), &*read.given[0].input), (Some(&*hash), "owners"));
        assert_eq!(read.given[0].records, record);
        let of = Origin { input: Some("owners".into()), offset: Offset(7) };
        assert_eq!(read.expected, Some(vec![Outcome::Reject { of, reason: "no".into() }]));

        let (case, said) = Head::of(id, &letter, &record, &used).case(b"another".to_vec()).unwrap();
        assert!(said[0].contains(&hash) && case.settings.notes.unwrap().contains("may do otherwise"), "{said:?}");
    }
}
