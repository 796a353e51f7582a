//! Rules of the boundaries: dependencies point one way, and each foreign library has one room.

use super::tree::{File, Tree};
use super::{Rule, Violation};

/// The rules of this file.
pub const RULES: &[Rule] = &[
    Rule {
        name: "plugins-know-only-the-sdk",
        demands: "a plugin depends on weir-plugin and on no other crate of the workspace",
        check: plugins_know_only_the_sdk,
    },
    Rule { name: "sdk-knows-nobody", demands: "the SDK depends on no crate of the workspace", check: sdk_knows_nobody },
    Rule {
        name: "host-knows-no-plugin",
        demands: "the host depends on no plugin and not on the SDK, outside its tests and benchmarks",
        check: host_knows_no_plugin,
    },
    Rule {
        name: "wasmtime-in-plugin",
        demands: "only host/src/plugin uses wasmtime, and only the host depends on it",
        check: wasmtime_in_plugin,
    },
    Rule {
        name: "rdkafka-in-kafka",
        demands: "only the kafka modules of host/src use rdkafka",
        check: rdkafka_in_kafka,
    },
    Rule { name: "fjall-in-embedded", demands: "only host/src/store/embedded uses fjall", check: fjall_in_embedded },
    Rule {
        name: "clients-know-no-weir",
        demands: "protocol clients in host/clients depend on no crate of the workspace",
        check: clients_know_no_weir,
    },
];

fn plugins_know_only_the_sdk(tree: &Tree) -> Vec<Violation> {
    let manifests = tree.manifests("plugins/").chain(tree.manifests("tests/guests/"));
    manifests.flat_map(|file| own_crates(file, &["weir-plugin"], Section::Any)).collect()
}

fn sdk_knows_nobody(tree: &Tree) -> Vec<Violation> {
    tree.manifests("plugin-sdk/").flat_map(|file| own_crates(file, &[], Section::Any)).collect()
}

fn host_knows_no_plugin(tree: &Tree) -> Vec<Violation> {
    let host = tree.manifests("host/").filter(|file| !file.path.starts_with("host/clients/"));
    host.flat_map(|file| own_crates(file, &[], Section::NotDev)).collect()
}

/// Which dependency tables of a manifest a rule is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Any,
    NotDev,
}

/// Dependencies of a manifest on crates of the workspace: named `weir` or `weir-...`, or given by a path.
fn own_crates(manifest: &File, allowed: &[&str], sections: Section) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in manifest.text.lines().enumerate() {
        if let Some(table) = line.strip_prefix('[') {
            let is_dev = table.contains("dev-dependencies");
            in_dependencies = table.contains("dependencies") && !(is_dev && sections == Section::NotDev);
        }
        let name = line.split(['.', '=', ' ', ']']).next().unwrap_or_default();
        let in_heading = line.strip_prefix('[').and_then(|table| table.rsplit_once("dependencies."));
        let name = in_heading.map_or(name, |(_, name)| name.trim_end_matches(']'));
        let is_own = name == "weir" || name.starts_with("weir-") || (line.contains("path") && line.contains("../"));
        if in_dependencies && is_own && !allowed.contains(&name) {
            found.push(Violation::new(&manifest.path, index + 1, format!("depends on `{name}`")));
        }
    }
    found
}

fn wasmtime_in_plugin(tree: &Tree) -> Vec<Violation> {
    let host = tree.rust(&["host/src/"]).filter(|file| !file.path.starts_with("host/src/plugin/"));
    let code = host.flat_map(|file| uses(file, "wasmtime"));
    let manifests =
        tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml") && file.path != "host/Cargo.toml");
    code.chain(manifests.flat_map(|file| lines_that_begin(file, "wasmtime"))).collect()
}

fn rdkafka_in_kafka(tree: &Tree) -> Vec<Violation> {
    let rooms = ["host/src/kafka/", "host/src/source/kafka/", "host/src/sink/kafka/", "host/src/config/kafka.rs"];
    let outside = tree.rust(&["host/src/"]).filter(move |file| !rooms.iter().any(|room| file.path.starts_with(room)));
    outside.flat_map(|file| uses(file, "rdkafka")).collect()
}

fn fjall_in_embedded(tree: &Tree) -> Vec<Violation> {
    let host = tree.rust(&["host/src/"]).filter(|file| !file.path.starts_with("host/src/store/embedded"));
    host.flat_map(|file| uses(file, "fjall")).collect()
}

fn clients_know_no_weir(tree: &Tree) -> Vec<Violation> {
    tree.manifests("host/clients/").flat_map(|file| own_crates(file, &[], Section::Any)).collect()
}

/// The lines of a file's code, tests included, that name a crate as the beginning of a path.
fn uses(file: &File, name: &str) -> Vec<Violation> {
    let path = format!("{name}::");
    let statement = format!("use {name};");
    let lines = file.all_code().into_iter().filter(|(_, line)| {
        let at_start = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
        line.contains(&statement) || line.match_indices(&path).any(|(at, _)| at_start(at))
    });
    lines.map(|(number, line)| Violation::new(&file.path, number, format!("uses {name}: `{}`", line.trim()))).collect()
}

fn lines_that_begin(file: &File, name: &str) -> Vec<Violation> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| line.starts_with(name));
    lines.map(|(index, _)| Violation::new(&file.path, index + 1, format!("depends on {name}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_rule;
    use super::*;

    #[test]
    fn a_plugin_depends_on_the_sdk_alone() {
        let fine =
            "[package]\nname = \"weir-sql\"\n[dependencies]\nserde.workspace = true\nweir-plugin.workspace = true\n";
        let broken = [
            ("plugins/sql/Cargo.toml", "[dependencies]\nweir.workspace = true\n"),
            ("plugins/sql/Cargo.toml", "[dev-dependencies]\nweir-syslog-parser = { path = \"../syslog-parser\" }\n"),
            ("plugins/sql/Cargo.toml", "[dependencies]\nother = { path = \"../../host\" }\n"),
            ("plugins/sql/Cargo.toml", "[dependencies.weir]\nworkspace = true\n"),
            ("tests/guests/hostile/Cargo.toml", "[dependencies]\nweir = { workspace = true }\n"),
        ];
        assert_rule(RULES, "plugins-know-only-the-sdk", &[("plugins/sql/Cargo.toml", fine)], &broken);
    }

    #[test]
    fn the_sdk_depends_on_nobody_here() {
        let fine = [("plugin-sdk/Cargo.toml", "[package]\nname = \"weir-plugin\"\n[dependencies]\nserde = \"1\"\n")];
        assert_rule(
            RULES,
            "sdk-knows-nobody",
            &fine,
            &[("plugin-sdk/Cargo.toml", "[dependencies]\nweir.workspace = true\n")],
        );
    }

    #[test]
    fn the_host_depends_on_plugins_in_benchmarks_alone() {
        let fine = [(
            "host/Cargo.toml",
            "[package]\nname = \"weir\"\n[dev-dependencies]\nweir-sql = { path = \"../plugins/sql\" }\n",
        )];
        let broken = [
            ("host/Cargo.toml", "[dependencies]\nweir-plugin.workspace = true\n"),
            ("host/Cargo.toml", "[build-dependencies]\nweir-sql = { path = \"../plugins/sql\" }\n"),
        ];
        assert_rule(RULES, "host-knows-no-plugin", &fine, &broken);
    }

    #[test]
    fn wasmtime_stays_in_its_room() {
        let fine = [
            ("host/src/plugin/engine.rs", "use wasmtime::Engine;\n"),
            ("host/src/pipeline.rs", "// wasmtime::Engine runs it\nlet a = \"wasmtime::x\"; my_wasmtime::x();\n"),
            ("host/Cargo.toml", "wasmtime.workspace = true\n"),
        ];
        let broken = [
            ("host/src/pipeline.rs", "use wasmtime::Engine;\n"),
            ("host/src/pipeline.rs", "fn a() -> wasmtime::Result<()> {}\n"),
            ("deploy/xtask/Cargo.toml", "wasmtime.workspace = true\n"),
        ];
        assert_rule(RULES, "wasmtime-in-plugin", &fine, &broken);
    }

    #[test]
    fn rdkafka_stays_in_its_rooms() {
        let fine = [
            ("host/src/sink/kafka/producer.rs", "use rdkafka::ClientConfig;\n"),
            ("host/src/pipeline.rs", "// rdkafka::x\n"),
        ];
        assert_rule(RULES, "rdkafka-in-kafka", &fine, &[("host/src/sink/plugin.rs", "use rdkafka::ClientConfig;\n")]);
    }

    #[test]
    fn fjall_stays_in_its_room() {
        let fine = [
            ("host/src/store/embedded/mod.rs", "use fjall::Database;\n"),
            ("host/src/store/embedded.rs", "fjall::x();\n"),
        ];
        assert_rule(RULES, "fjall-in-embedded", &fine, &[("host/src/store/mod.rs", "use fjall::Database;\n")]);
    }

    #[test]
    fn clients_are_on_their_own() {
        let fine = [("host/clients/kudu/Cargo.toml", "[dependencies]\nprost.workspace = true\n")];
        let broken = [
            ("host/clients/kudu/Cargo.toml", "[dependencies]\nweir.workspace = true\n"),
            ("host/clients/kudu/Cargo.toml", "[dev-dependencies]\nweir-plugin.workspace = true\n"),
        ];
        assert_rule(RULES, "clients-know-no-weir", &fine, &broken);
    }
}
