//! `weir check` on one file for each rule: what it prints is kept beside the file.
//!
//! `WEIR_UPDATE_GOLDENS=1 cargo test -p weir --test check` writes what is printed now; read the difference before it is
//! committed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "plugins/text.rs"]
mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::prelude::*;
use text::answering;
use weir::cli::check::{CheckArgs, Printed, check};
use weir::config::{Look, Overrides, json_schema, load};

/// From the directory of the crate, where tests run: so the names that are printed are the same on every machine.
const DIRECTORY: &str = "tests/check";
/// So wide that no line is wrapped: where one would be depends on the length of the paths of this machine.
const LOOK: Look = Look { color: false, width: 1_000 };
/// Plugins that do one thing each when they start. The program that tests run in carries none.
fn plugins() -> &'static Path {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, wasm: &[u8]| {
            std::fs::write(directory.path().join(name).with_extension("wasm"), wasm).unwrap();
        };
        put("syslog-parser", &answering(""));
        put(
            "ports",
            &starting("(data (i32.const 4096) \"failed\")", &format!("{}{}", ok_ports(8192), text_at(8192, 4096, 6))),
        );
        put("sql", &refusing("statement", "line 2, column 6: there is no function FROOM"));
        put("refuses-setting", &refusing("fields.1.name", "expected a text, found 5"));
        put("refuses-missing", &refusing("fields.7.kind", "is missing"));
        put("refuses-all", &refusing("", "unknown field `a`, expected `b`"));
        put("traps", &starting("", "unreachable"));
        put("no-component", b"\0asm\x01\0\0\0");
        put("no-wasm", b"hello");
        let guests = std::env::var_os("WEIR_TEST_PLUGINS").expect("WEIR_TEST_PLUGINS: `cargo xtask test` sets it");
        put("remembers", &std::fs::read(Path::new(&guests).join("windows.wasm")).unwrap());
        put("soc-notifier", &wat::parse_file("tests/check/delivery.wat").unwrap());
        std::fs::create_dir(directory.path().join("a-directory.wasm")).unwrap();
        directory
    });
    directory.path()
}

/// A step that runs these instructions when it starts.
fn starting(code: &str, init: &str) -> Vec<u8> {
    text::Text { code, init, ..text::Text::default() }.component()
}

/// A step that refuses its configuration.
fn refusing(path: &str, message: &str) -> Vec<u8> {
    let code = format!("(data (i32.const 4096) {path:?}) (data (i32.const 5120) {message:?})");
    let fail = "(i32.store8 (i32.const 1024) (i32.const 1))";
    starting(&code, &format!("{fail}{}{}", text_at(1028, 4096, path.len()), text_at(1036, 5120, message.len())))
}

/// The answer of `init` that a step has one port, whose name is described at this address.
fn ok_ports(at: usize) -> String {
    format!("(i32.store (i32.const 1028) (i32.const {at})) (i32.store (i32.const 1032) (i32.const 1))")
}

/// Instructions that describe a text to the host: where it is and how long.
fn text_at(at: usize, text: usize, len: usize) -> String {
    format!("(i32.store (i32.const {at}) (i32.const {text})) (i32.store (i32.const {}) (i32.const {len}))", at + 4)
}

/// Checks a file with the plugins above; what the machine adds is replaced.
fn run(path: &Path, json: bool) -> Printed {
    let args = CheckArgs { path: path.into(), plugins: vec![plugins().into()], json, connect: false };
    let mut printed = tokio::runtime::Runtime::new().unwrap().block_on(check(&args, LOOK));
    for text in [&mut printed.stdout, &mut printed.stderr] {
        *text = text.replace(plugins().to_str().unwrap(), "PLUGINS");
    }
    printed
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

#[test]
fn the_published_schema_is_that_of_this_version() {
    let path = "../deploy/weir.schema.json";
    let schema = format!("{:#}\n", json_schema());
    if std::env::var_os("WEIR_UPDATE_GOLDENS").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == schema, "{path} is not the schema of this version");
}

#[test]
fn every_example_is_right() {
    let examples: Vec<_> = ["../deploy/examples/*.yaml", "../deploy/examples/*/*.yaml"]
        .into_iter()
        .flat_map(|pattern| glob::glob(pattern).unwrap().map(Result::unwrap))
        .collect();
    for name in ["kafka.yaml", "events-to-kudu.yaml"] {
        assert!(examples.iter().any(|example| example.ends_with(name)), "{examples:?}");
    }
    for example in examples {
        let loaded = load(&example, &Overrides::default()).unwrap_or_else(|report| panic!("{}", report.render(LOOK)));
        assert!(loaded.warnings.is_empty(), "{}: {:?}", example.display(), loaded.warnings);
    }
}

/// Changes to a text: at a place, so many characters go and others come.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    let hostile = prop_oneof![
        Just(String::new()),
        Just("\n".into()),
        Just(": ".into()),
        Just("\t".into()),
        Just("[".into()),
        Just("- ".into()),
        Just("*a".into()),
        Just("&a ".into()),
        Just("null".into()),
        Just("-1".into()),
        Just("1e999".into()),
        Just(".nan".into()),
        Just("\"\\u0000ü\"".into()),
        ".{0,8}",
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, hostile), 1..6)
}

proptest! {
    #[test]
    fn no_text_makes_loading_panic(edits in edits()) {
        let mut text: Vec<char> = include_str!("check/ok-everything.yaml").chars().collect();
        for (at, gone, come) in edits {
            let begin = at.index(text.len() + 1);
            let end = (begin + gone).min(text.len());
            text.splice(begin..end, come.chars());
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipeline.yaml");
        std::fs::write(&path, text.iter().collect::<String>()).unwrap();
        if let Err(report) = load(&path, &Overrides::default()) {
            prop_assert!(matches!(report.exit_code(), 64 | 69 | 78));
            // That the check let something through which building could not read, or that a place is none.
            prop_assert!(report.problems().iter().all(|problem| problem.rule() != "unread"), "{:?}", report);
            prop_assert!(!report.render(LOOK).is_empty());
        }
    }
}

#[test]
fn a_file_with_endless_problems_tells_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipeline.yaml");
    let wrong: String = (0..2_000).map(|n| format!("wrong{n}: 1\n")).collect();
    std::fs::write(&path, format!("version: 1\n{wrong}")).unwrap();
    let report = load(&path, &Overrides::default()).unwrap_err();
    assert_eq!(report.problems().len(), 50);
    // One more is the missing `pipelines`.
    assert_eq!(report.to_string(), "2001 errors");
    assert_eq!(report.to_json()["left_out"], 1951);
}
