//! Rules of hygiene: who may read the clock and the environment, and what no file may contain.

use super::tree::{File, Tree};
use super::{Rule, Violation};

/// The rules of this file.
pub const RULES: &[Rule] = &[
    Rule {
        name: "one-clock",
        demands: "only host/src/clock.rs reads the wall clock; others take a Clock, or tokio's time",
        check: one_clock,
    },
    Rule {
        name: "one-environment",
        demands: "only host/src/config reads environment variables",
        check: one_environment,
    },
    Rule {
        name: "no-printing",
        demands: "nothing prints by macro: the command line writes to the handles it holds, all else logs",
        check: no_printing,
    },
    Rule { name: "no-ignored-tests", demands: "no test is ignored", check: no_ignored_tests },
    Rule {
        name: "nothing-unfinished",
        demands: "no unfinished code, and no note that something is still to do",
        check: nothing_unfinished,
    },
    Rule {
        name: "no-silenced-lints",
        demands: "unused code is removed; where it cannot be, `expect` says why, which fails once it is needless",
        check: no_silenced_lints,
    },
    Rule {
        name: "unsafe-where-wasmtime-needs-it",
        demands: "only host/src/plugin allows unsafe code, where wasmtime's interface needs it",
        check: unsafe_in_plugin,
    },
];

/// What the appliance and the plugins are made of. Developer commands are not under the rules of clock and environment.
const PRODUCT: &[&str] = &["host/src/", "host/clients/", "plugin-sdk/src/", "plugins/"];
const GENERATED: &str = "plugin-sdk/src/bindings/";

fn one_clock(tree: &Tree) -> Vec<Violation> {
    let allowed = ["host/src/clock.rs", "host/src/cli/progress.rs"];
    let files = tree.rust(PRODUCT).filter(|file| !allowed.contains(&file.path.as_str()));
    files.flat_map(|file| containing(file, file.code(), &clock_calls(file))).collect()
}

/// The calls that read a clock in this file. Under tokio's `Instant` time can be paused, so it is not a wall clock.
fn clock_calls(file: &File) -> Vec<&'static str> {
    let mut calls = vec![
        "SystemTime::now",
        "std::time::Instant::now",
        "Timestamp::now(",
        "Zoned::now(",
        "Utc::now(",
        "Local::now(",
    ];
    let code = file.code();
    let imports =
        |path: &str| code.iter().any(|(_, line)| line.trim_start().starts_with(path) && line.contains("Instant"));
    if imports("use std::time::") {
        calls.push("Instant::now");
    }
    calls
}

fn one_environment(tree: &Tree) -> Vec<Violation> {
    let files = tree.rust(PRODUCT).filter(|file| !file.path.starts_with("host/src/config"));
    let calls = ["env::var(", "env::var_os(", "env::vars(", "env::vars_os(", "env::set_var(", "use std::env::"];
    files.flat_map(|file| containing(file, file.code(), &calls)).collect()
}

fn no_printing(tree: &Tree) -> Vec<Violation> {
    let macros = ["println!", "print!", "dbg!", "clippy::print_stdout", "clippy::print_stderr"];
    tree.rust(&["host/src/", "host/clients/", "plugin-sdk/src/", "plugins/", "deploy/"])
        .flat_map(|file| containing(file, file.code(), &macros))
        .collect()
}

fn no_ignored_tests(tree: &Tree) -> Vec<Violation> {
    tree.rust(&[""]).flat_map(|file| containing(file, file.all_code(), &["#[ignore"])).collect()
}

fn nothing_unfinished(tree: &Tree) -> Vec<Violation> {
    let in_code = |file| containing(file, File::all_code(file), &["todo!", "unimplemented!"]);
    let in_comments = |file| containing(file, File::comments(file), &["TODO", "FIXME", "XXX"]);
    tree.rust(&[""]).flat_map(|file| in_code(file).into_iter().chain(in_comments(file))).collect()
}

/// Helpers that several test files share may be unused in one of them.
fn no_silenced_lints(tree: &Tree) -> Vec<Violation> {
    let own = tree.rust(&[""]).filter(|file| !file.path.starts_with(GENERATED));
    let allows = |file| containing(file, File::code(file), &["allow(dead_code", "allow(unused"]);
    let expects = |file| {
        let lines = File::all_code(file).into_iter().filter(|(_, line)| !line.contains("reason ="));
        containing(file, lines.collect(), &["expect(dead_code", "expect(unused"])
    };
    own.flat_map(|file| allows(file).into_iter().chain(expects(file))).collect()
}

fn unsafe_in_plugin(tree: &Tree) -> Vec<Violation> {
    let rooms = ["host/src/plugin/", GENERATED];
    let outside = tree.rust(PRODUCT).filter(move |file| !rooms.iter().any(|room| file.path.starts_with(room)));
    outside.flat_map(|file| containing(file, file.code(), &["allow(unsafe_code", "expect(unsafe_code"])).collect()
}

/// The lines that contain one of some texts.
fn containing(file: &File, lines: Vec<(usize, String)>, needles: &[&str]) -> Vec<Violation> {
    let guilty = lines.into_iter().filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
    guilty.map(|(number, line)| Violation::new(&file.path, number, format!("`{}`", line.trim()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_rule;
    use super::*;

    #[test]
    fn the_clock_is_read_in_one_place() {
        let fine = [
            ("host/src/clock.rs", "std::time::SystemTime::now();\n"),
            ("host/src/a.rs", "use tokio::time::Instant;\nlet a = Instant::now();\n"),
            ("host/src/b.rs", "// SystemTime::now()\n#[cfg(test)]\nmod tests {\n    SystemTime::now();\n}\n"),
            ("host/benches/c.rs", "std::time::Instant::now();\n"),
            ("host/src/d.rs", "let now = clock.now();\nlet end = tokio::time::Instant::now() + PAUSE;\n"),
        ];
        let broken = [
            ("host/src/a.rs", "let a = SystemTime::now();\n"),
            ("host/src/a.rs", "use std::time::{Duration, Instant};\nlet a = Instant::now();\n"),
            ("host/src/a.rs", "let a = std::time::Instant::now();\n"),
            ("plugins/sql/src/lib.rs", "let a = jiff::Timestamp::now();\n"),
        ];
        assert_rule(RULES, "one-clock", &fine, &broken);
    }

    #[test]
    fn the_environment_is_read_in_one_place() {
        let fine = [
            ("host/src/config/secrets.rs", "std::env::var(name)\n"),
            ("host/src/a.rs", "env!(\"CARGO_PKG_VERSION\")\n"),
        ];
        let broken =
            [("host/src/a.rs", "std::env::var_os(name)\n"), ("host/src/cli/mod.rs", "for v in env::vars() {}\n")];
        assert_rule(RULES, "one-environment", &fine, &broken);
    }

    #[test]
    fn nothing_prints_by_macro() {
        let fine = [("host/src/a.rs", "writeln!(out, \"println!\");\n"), ("host/tests/a.rs", "println!(\"x\");\n")];
        let broken = [("host/src/a.rs", "eprintln!(\"x\");\n"), ("host/src/a.rs", "#[allow(clippy::print_stdout)]\n")];
        assert_rule(RULES, "no-printing", &fine, &broken);
    }

    #[test]
    fn no_test_is_ignored() {
        let fine = [("host/tests/a.rs", "// #[ignore]\n#[test]\nfn a() {}\n")];
        assert_rule(
            RULES,
            "no-ignored-tests",
            &fine,
            &[("host/tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n")],
        );
    }

    #[test]
    fn nothing_is_left_for_later() {
        let fine = [("host/src/a.rs", "// All is done.\nlet a = \"TODO\";\n")];
        let broken = [("host/src/a.rs", "fn a() { todo!() }\n"), ("host/tests/a.rs", "//! A test.\n// TODO: more\n")];
        assert_rule(RULES, "nothing-unfinished", &fine, &broken);
    }

    #[test]
    fn unused_code_is_not_silenced() {
        let fine = [
            ("plugin-sdk/src/bindings/sink.rs", "#![allow(unused_imports)]\n"),
            ("host/src/b.rs", "#[expect(dead_code, reason = \"made by the guest\")]\nenum B {}\n"),
            ("host/tests/shared.rs", "#![allow(dead_code)]\n"),
        ];
        let broken = [("host/src/a.rs", "#[allow(dead_code)]\nfn a() {}\n"), ("host/src/a.rs", "#[expect(unused)]\n")];
        assert_rule(RULES, "no-silenced-lints", &fine, &broken);
    }

    #[test]
    fn unsafe_code_stays_with_wasmtime() {
        let fine = [("host/src/plugin/cache.rs", "#[expect(unsafe_code, reason = \"mapped code\")]\n")];
        assert_rule(
            RULES,
            "unsafe-where-wasmtime-needs-it",
            &fine,
            &[("host/src/store/mod.rs", "#[allow(unsafe_code)]\n")],
        );
    }
}
