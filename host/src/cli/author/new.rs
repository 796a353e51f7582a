//! `weir plugin new`: a crate that builds, passes its tests and does something with the demo's records.

use std::fs;
use std::io;
use std::path::Path;

use super::{Failed, sdk};
use crate::cli::{EXIT_UNAVAILABLE, EXIT_USAGE, say};
use crate::config;

/// What `weir plugin new` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct NewArgs {
    /// The plugin's name, and that of its directory: small letters, digits, - and _
    pub name: String,
    /// What it is to be
    #[arg(long, value_enum, default_value_t = Kind::Transform)]
    pub kind: Kind,
}

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Turns records into records
    Transform,
    /// Does so, and remembers
    Stateful,
    /// Delivers records
    Sink,
}

/// Writes the crate; gives the exit code.
pub async fn run(args: NewArgs) -> u8 {
    match make(Path::new("."), &args) {
        Ok(()) => {
            let name = &args.name;
            say(&format!("{name}/ is a plugin; `cd {name}`, then `weir plugin test` and `weir run demo.yaml`"));
            0
        }
        Err(failed) => failed.tell(),
    }
}

fn make(parent: &Path, args: &NewArgs) -> Result<(), Failed> {
    check(&args.name).map_err(|problem| Failed::new(EXIT_USAGE, problem))?;
    let directory = parent.join(&args.name);
    if directory.exists() {
        let problem = format!("{} exists already: expected a name that is free here", directory.display());
        return Err(Failed::new(EXIT_USAGE, problem));
    }
    write(&directory, args).map_err(|error| Failed::new(EXIT_UNAVAILABLE, format!("{}: {error}", directory.display())))
}

/// Words that cargo or Rust take for themselves, or that would be two crates of one name.
const TAKEN: [&str; 12] = [
    "test",
    "core",
    "std",
    "alloc",
    "proc-macro",
    "proc_macro",
    "weir-plugin",
    "weir_plugin",
    "build",
    "deps",
    "examples",
    "incremental",
];
/// Rust's keywords, which no crate can be called by.
const KEYWORDS: [&str; 50] = [
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern", "false", "fn",
    "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "type", "unsafe", "use", "where", "while", "abstract", "become", "box", "do",
    "final", "gen", "macro", "override", "priv", "try", "typeof", "unsized", "virtual",
];

/// Says what is wrong with a name: it becomes that of a plugin, a crate and a directory.
fn check(name: &str) -> Result<(), String> {
    config::plugin_name(name)?;
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(format!("{name:?} cannot be a crate's name: expected one that begins with a letter"));
    }
    if TAKEN.contains(&name) || KEYWORDS.contains(&name) {
        return Err(format!("{name:?} cannot be a crate's name: Rust, cargo or Weir use the word themselves"));
    }
    Ok(())
}

fn write(directory: &Path, args: &NewArgs) -> io::Result<()> {
    let name = &args.name;
    let put = |file: &str, text: &str| {
        let path = directory.join(file);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text.replace("{{name}}", name).replace("{{what}}", args.kind.what()))
    };
    for (file, text) in COMMON.into_iter().chain(args.kind.files()) {
        put(file, text)?;
    }
    sdk::put(directory)
}

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("template/", $name, ".in"))
    };
}

/// A file of the crate, and what is in it.
type Template = (&'static str, &'static str);

const COMMON: [Template; 5] = [
    ("Cargo.toml", template!("Cargo.toml")),
    ("rust-toolchain.toml", template!("rust-toolchain.toml")),
    (".cargo/config.toml", template!("cargo-config.toml")),
    (".gitignore", template!("gitignore")),
    ("README.md", template!("README.md")),
];

impl Kind {
    fn what(self) -> &'static str {
        match self {
            Kind::Transform => "it turns records into records",
            Kind::Stateful => "it turns records into records, and remembers",
            Kind::Sink => "it delivers records",
        }
    }

    fn files(self) -> [Template; 5] {
        let (lib, demo, case, input, expected) = match self {
            Kind::Transform => (
                template!("transform.rs"),
                template!("demo-step.yaml"),
                template!("case/step.yaml"),
                template!("case/step.jsonl"),
                template!("case/step-expected.jsonl"),
            ),
            Kind::Stateful => (
                template!("stateful.rs"),
                template!("demo-step.yaml"),
                template!("case/stateful.yaml"),
                template!("case/stateful.jsonl"),
                template!("case/stateful-expected.jsonl"),
            ),
            Kind::Sink => (
                template!("sink.rs"),
                template!("demo-sink.yaml"),
                template!("case/sink.yaml"),
                template!("case/sink.jsonl"),
                template!("case/sink-expected.jsonl"),
            ),
        };
        [
            ("src/lib.rs", lib),
            ("demo.yaml", demo),
            ("tests/first/case.yaml", case),
            ("tests/first/input.jsonl", input),
            ("tests/first/expected.jsonl", expected),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(parent: &Path, name: &str) -> Result<(), String> {
        let args = NewArgs { name: name.into(), kind: Kind::Sink };
        make(parent, &args).map_err(|failed| failed.to_string())
    }

    #[test]
    fn names_that_cannot_be_are_refused_and_nothing_is_written() {
        let parent = tempfile::tempdir().unwrap();
        for (name, says) in [
            ("My-Plugin", "`my-plugin` would do"),
            ("", "name"),
            ("../x", "name"),
            ("9lives", "begins with a letter"),
            ("match", "use the word themselves"),
            ("weir-plugin", "use the word themselves"),
        ] {
            let error = told(parent.path(), name).unwrap_err();
            assert!(error.contains(says), "{name}: {error}");
        }
        fs::create_dir(parent.path().join("there")).unwrap();
        assert!(told(parent.path(), "there").unwrap_err().contains("exists already"));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_toolchain_and_the_case_are_the_projects_own() {
        let parent = tempfile::tempdir().unwrap();
        told(parent.path(), "a-sink").unwrap();
        let root = parent.path().join("a-sink");
        let channel = |text: &str| text.lines().find(|line| line.starts_with("channel")).unwrap().to_owned();
        let own = channel(include_str!("../../../../rust-toolchain.toml"));
        assert_eq!(channel(&fs::read_to_string(root.join("rust-toolchain.toml")).unwrap()), own);
        let case = crate::case::Case::read(&root.join("tests/first")).unwrap();
        assert_eq!((case.given.len(), case.expected.unwrap().len()), (1, 3));
        let lib = fs::read_to_string(root.join("src/lib.rs")).unwrap();
        assert!(lib.starts_with("//! a-sink: ") && !lib.contains("{{"), "{lib}");
        let demo = config::load(&root.join("demo.yaml"), &config::Overrides::default());
        assert!(demo.is_ok(), "{demo:?}");
    }
}
