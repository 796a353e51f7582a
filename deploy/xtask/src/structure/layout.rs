//! Rules of the layout: what lies where, how files open, how long they may be, what the contract documents.

use std::collections::BTreeSet;

use super::tree::{File, Tree};
use super::{Rule, Violation};

/// The rules of this file.
pub const RULES: &[Rule] = &[
    Rule { name: "top-level", demands: "the root holds exactly the agreed entries", check: top_level },
    Rule {
        name: "file-header",
        demands: "every Rust file that is written by hand opens with `//!`: what it owns, what it must not know",
        check: header,
    },
    Rule { name: "file-length", demands: "a file has fewer than 600 lines before its tests", check: length },
    Rule {
        name: "wit-documented",
        demands: "every item and case of the contract has a doc comment",
        check: wit_documented,
    },
];

const TOP_LEVEL: [&str; 18] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "host",
    "plugin-sdk",
    "plugins",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tests",
];
const WIT: &str = "wit";

const LINES_MAX: usize = 600;

/// Written by a program from the contract, so their form is not ours to choose.
const GENERATED: &str = "plugin-sdk/src/bindings/";

fn top_level(tree: &Tree) -> Vec<Violation> {
    let present: BTreeSet<&str> = tree.files.iter().filter_map(|file| file.path.split('/').next()).collect();
    let allowed: BTreeSet<&str> = TOP_LEVEL.into_iter().chain([WIT]).collect();
    let extra = present.difference(&allowed).map(|name| Violation::new(name, 0, "is not one of the agreed entries"));
    let missing = allowed.difference(&present).map(|name| Violation::new(name, 0, "is missing"));
    extra.chain(missing).collect()
}

fn header(tree: &Tree) -> Vec<Violation> {
    let own = tree.rust(&[""]).filter(|file| !file.path.starts_with(GENERATED));
    let headless = own.filter(|file| !file.text.starts_with("//!"));
    headless.map(|file| Violation::new(&file.path, 1, "does not open with `//!`")).collect()
}

fn length(tree: &Tree) -> Vec<Violation> {
    let own = tree.rust(&[""]).filter(|file| !file.path.starts_with(GENERATED));
    let lengths = own.map(|file| (file, file.code().len()));
    let long = lengths.filter(|(_, lines)| *lines >= LINES_MAX);
    long.map(|(file, lines)| Violation::new(&file.path, 0, format!("has {lines} lines before its tests"))).collect()
}

fn wit_documented(tree: &Tree) -> Vec<Violation> {
    tree.files.iter().filter(|file| file.path.ends_with(".wit")).flat_map(undocumented).collect()
}

/// Items without a doc comment on the line above. Fields of a record may be explained by the record.
fn undocumented(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut documented = false;
    let mut in_cases = false;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if !documented && (is_item(line) || (in_cases && is_case(line))) {
            found.push(Violation::new(&file.path, index + 1, format!("`{line}` has no doc comment")));
        }
        in_cases = begins_cases(line) || (in_cases && !line.starts_with('}'));
        documented = line.starts_with("///") || (documented && line.starts_with('@'));
    }
    found
}

fn is_item(line: &str) -> bool {
    let keywords = ["interface ", "world ", "record ", "variant ", "enum ", "flags ", "resource ", "type "];
    keywords.iter().any(|keyword| line.starts_with(keyword)) || line.contains(": func(") && !line.starts_with("//")
}

fn begins_cases(line: &str) -> bool {
    ["variant ", "enum ", "flags "].iter().any(|keyword| line.starts_with(keyword))
}

fn is_case(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_rule, violations};
    use super::*;

    #[test]
    fn the_root_holds_the_agreed_entries_and_no_others() {
        let mut files: Vec<(String, &str)> =
            TOP_LEVEL.iter().chain([&WIT]).map(|name| ((*name).to_owned(), "")).collect();
        let as_given = |files: &[(String, &'static str)]| {
            let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            violations(RULES, "top-level", &files)
        };
        assert_eq!(as_given(&files), []);
        files.push(("scripts/build.sh".to_owned(), ""));
        assert_eq!(as_given(&files), [Violation::new("scripts", 0, "is not one of the agreed entries")]);
        files.pop();
        files.retain(|(path, _)| path != "LICENSE");
        assert_eq!(as_given(&files), [Violation::new("LICENSE", 0, "is missing")]);
    }

    #[test]
    fn a_file_says_what_it_owns() {
        let fine = [("host/src/a.rs", "//! Owns a.\n"), ("wit/a.wit", "interface")];
        assert_rule(RULES, "file-header", &fine, &[("host/src/b.rs", "use a;\n"), ("tests/c.rs", "// Owns c.\n")]);
    }

    #[test]
    fn a_file_is_short_before_its_tests() {
        let code = "a();\n".repeat(LINES_MAX - 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    b();\n".repeat(LINES_MAX));
        let fine = format!("{code}{tests}");
        let long = format!("{code}a();\n{tests}");
        assert_rule(RULES, "file-length", &[("host/src/a.rs", &fine)], &[("host/src/a.rs", &long)]);
        assert_eq!(violations(RULES, "file-length", &[("plugin-sdk/src/bindings/sink.rs", &long)]), []);
    }

    #[test]
    fn the_contract_is_documented() {
        let fine = "package a:b;\n\n/// A.\ninterface a {\n    use types.{b};\n    /// B.\n    enum b {\n        /// C.\n        c,\n    }\n    /// R.\n    record r {\n        field: u32,\n    }\n    /// F.\n    f: func(a: u32);\n}\n";
        let case = "/// B.\nenum b {\n    /// C.\n    c,\n    d,\n}\n";
        let function = "/// A.\ninterface a {\n    f: func(a: u32);\n}\n";
        let record = "/// A.\ninterface a {\n    record r { field: u32 }\n}\n";
        let broken = [("wit/a.wit", case), ("wit/a.wit", function), ("wit/a.wit", record)];
        assert_rule(RULES, "wit-documented", &[("wit/a.wit", fine)], &broken);
    }
}
