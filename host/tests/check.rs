//! `weir check` on one file for each rule: what it prints is kept beside the file.
//!
//! `WEIR_UPDATE_GOLDENS=1 cargo test -p weir --test check` writes what is printed now; read the difference before it is
//! committed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use weir::cli::check::{CheckArgs, Printed, check};
use weir::config::{Look, Overrides, load};

/// From the directory of the crate, where tests run: so the names that are printed are the same on every machine.
const DIRECTORY: &str = "tests/check";
const LOOK: Look = Look { color: false, width: 100 };

fn run(path: &Path, json: bool) -> Printed {
    let args = CheckArgs { path: path.into(), plugins: Vec::new(), json };
    tokio::runtime::Runtime::new().unwrap().block_on(check(&args, LOOK))
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(DIRECTORY).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.extension().is_none_or(|e| e == "yaml")).collect();
    cases.sort();
    cases
}

#[test]
fn every_rule_prints_its_golden() {
    let update = std::env::var_os("WEIR_UPDATE_GOLDENS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let Printed { code, stdout, stderr } = run(&case, false);
        let printed = format!("exit {code}\n{stdout}{stderr}");
        let golden = case.with_extension("txt");
        if update {
            std::fs::write(&golden, &printed).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != printed {
            wrong.push(format!("{}:\n{printed}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of the goldens differ:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_case_whose_name_says_ok_or_warn_passes_and_every_other_is_refused() {
    for case in cases() {
        let name = case.file_stem().unwrap().to_str().unwrap().to_owned();
        let fine = ["ok-", "warn-", "dir-ok"].iter().any(|prefix| name.starts_with(prefix));
        let code = run(&case, false).code;
        assert_eq!(code == 0, fine, "{name} ended with {code}");
    }
}

#[test]
fn json_has_the_same_problems_with_their_places() {
    let mut rules = BTreeSet::new();
    for case in cases() {
        let (text, json) = (run(&case, false), run(&case, true));
        assert_eq!(text.code, json.code, "{}", case.display());
        let object: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(object["ok"], json.code == 0);
        for problem in ["errors", "warnings"].iter().flat_map(|key| object[key].as_array().unwrap()) {
            rules.insert(problem["code"].as_str().unwrap().to_owned());
            let Some(file) = problem["file"].as_str() else { continue };
            let place = format!("{file}:{}:{}", problem["line"], problem["column"]);
            assert!(text.stderr.contains(&place), "{place} is not in:\n{}", text.stderr);
        }
    }
    assert!(rules.len() > 35, "only {} rules have a case: {rules:?}", rules.len());
}

#[test]
fn settings_are_what_the_file_says() {
    let overrides = Overrides { data: Some("elsewhere".into()), plugins: vec!["first".into()] };
    let config = load(Path::new("tests/check/ok-everything.yaml"), &overrides).unwrap().config;
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.data, here.join("elsewhere"));
    let plugins = [here.join("first"), here.join("tests/check/plugins"), "/usr/lib/weir/plugins".into()];
    assert_eq!(config.plugins, plugins);
    let text = format!("{config:#?}").replace(here.to_str().unwrap(), "/HERE");
    let golden = Path::new("tests/check/ok-everything.debug");
    if std::env::var_os("WEIR_UPDATE_GOLDENS").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(golden).unwrap(), text);
}
