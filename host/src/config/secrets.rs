//! Which secrets sources and sinks name, held against those that the file has. Knows nothing of what they are.

use std::collections::BTreeSet;

use super::report::{Place, Problem};
use super::suggest::{listed, nearest};
use super::yaml::{Entry, Node};

/// The key by which a secret is named.
const SECRET: &str = "secret";

/// Every name of a secret that the file does not have.
pub fn unknown(root: &Node) -> Vec<Problem> {
    let known: Vec<&str> = secrets(root).iter().map(|entry| entry.key.as_str()).collect();
    let unknown = named(root).into_iter().filter(|(name, _)| !known.contains(name));
    let problem = |(name, place): (&str, &Place)| {
        let problem = Problem::error("unknown-secret", format!("there is no secret `{name}`")).at(place, "unknown");
        match (nearest(name, known.iter().copied()), known.is_empty()) {
            (Some(near), _) => problem.help(format!("did you mean `{near}`?")),
            (None, false) => problem.help(format!("secrets: {}", listed(known.iter().copied()))),
            (None, true) => {
                problem.help(format!("say where it is kept: `secrets: {{{name}: {{file: /run/secrets/{name}}}}}`"))
            }
        }
    };
    unknown.map(problem).collect()
}

/// Every secret that nothing uses: whoever writes one expects that it is used.
pub fn unused(root: &Node) -> Vec<Problem> {
    let used: BTreeSet<&str> = named(root).into_iter().map(|(name, _)| name).collect();
    let idle = secrets(root).iter().filter(|entry| !used.contains(entry.key.as_str()));
    let warning = |entry: &Entry| {
        Problem::warning("unused-secret", format!("nothing uses the secret `{}`", entry.key))
            .at(&entry.place, "not used")
    };
    idle.map(warning).collect()
}

fn secrets(root: &Node) -> &[Entry] {
    root.get("secrets").map(Node::entries).unwrap_or_default()
}

/// The names of secrets in sources and sinks. What stands under `config` is a plugin's own.
fn named(root: &Node) -> Vec<(&str, &Place)> {
    let mut found = Vec::new();
    for section in ["sources", "sinks"] {
        let entries = root.get(section).map(Node::entries).unwrap_or_default();
        entries.iter().for_each(|entry| collect(&entry.value, &mut found));
    }
    found
}

fn collect<'a>(node: &'a Node, found: &mut Vec<(&'a str, &'a Place)>) {
    for entry in node.entries() {
        match entry.value.text() {
            Some(name) if entry.key == SECRET => found.push((name, &entry.value.place)),
            _ if entry.key == "config" => {}
            _ => collect(&entry.value, found),
        }
    }
}
