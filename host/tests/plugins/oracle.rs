//! What DuckDB computes for the same records: `oracle.py` beside this file gets all cases at once, and says what has to come out
//! in the form in which the cases' outputs are written here.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// What came out, or has to, of all cases: a line for each output, by case, input, place and ordinal.
pub type Lines = String;

/// Cases, and what has to come out of them.
#[derive(Default)]
pub struct Oracle {
    cases: String,
    records: String,
}

impl Oracle {
    /// Takes a case: the guest's configuration, and the records of each input by key and time. One without a key moves time
    /// alone.
    pub fn add<'a>(&mut self, seed: u64, config: &Value, inputs: &[impl AsRef<[(Option<&'a str>, i64)]>]) {
        let (kind, lengths) = match (config.get("windows"), config.get("sessions")) {
            (Some(lengths), _) => ("windows", lengths),
            (_, Some(lengths)) => ("sessions", lengths),
            _ => ("asof", config),
        };
        let mut case = json!({"seed": seed, "kind": kind});
        case.as_object_mut().unwrap().extend(lengths.as_object().unwrap().clone());
        self.cases += &format!("{case}\n");
        for (input, records) in inputs.iter().enumerate() {
            for (place, (key, time)) in records.as_ref().iter().enumerate() {
                let record = json!({"seed": seed, "input": input, "place": place, "key": key, "time": time});
                self.records += &format!("{record}\n");
            }
        }
    }

    /// Asks DuckDB.
    pub fn expected(&self) -> Lines {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("cases.ndjson"), &self.cases).unwrap();
        fs::write(directory.path().join("records.ndjson"), &self.records).unwrap();
        let output =
            Command::new(python()).args(["-c", include_str!("oracle.py")]).arg(directory.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "oracle.py: {}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The Python that has DuckDB.
fn python() -> String {
    let facts =
        env::var_os("WEIR_SERVICES").expect("`cargo xtask test` installs DuckDB and names the Python that has it");
    let facts: Value = serde_json::from_slice(&fs::read(facts).unwrap()).unwrap();
    facts["clients"]["python"].as_str().expect("the clients are installed").to_owned()
}

/// Writes down what came out of a case, by input, place and ordinal.
pub fn write(lines: &mut Lines, seed: u64, out: &BTreeMap<(usize, u64, u32), String>) {
    for ((input, place, ordinal), value) in out {
        *lines += &format!("{seed} {input} {place} {ordinal} {value}\n");
    }
}

/// Fails with the seed and the first difference, where there is one.
pub fn assert_same(way: &str, out: &str, expected: &str) {
    if out == expected {
        return;
    }
    let (mut out, mut expected) = (out.lines(), expected.lines());
    while let (out, expected) = (out.next(), expected.next())
        && (out.is_some() || expected.is_some())
    {
        let seed = out.into_iter().chain(expected).filter_map(|line| line.split(' ').next()?.parse::<u64>().ok()).min();
        assert_eq!(out, expected, "{way}, seed {seed:?}: left came out, right is what DuckDB computes");
    }
    panic!("{way}: the last line does not end alike");
}
