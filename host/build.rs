//! Puts the SDK's sources into the program, so that `weir plugin new` needs no registry that has them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let host = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let root = host.parent().ok_or("the host lies in no workspace")?;
    let sdk = root.join("plugin-sdk");
    let mut out = String::from("/// The files of the SDK, by path.\npub static FILES: &[(&str, &str)] = &[\n");
    out.push_str(&format!("    (\"Cargo.toml\", {:?}),\n", manifest(root, &sdk)?));
    let mut files = Vec::new();
    sources(&sdk.join("src"), &mut files)?;
    files.sort();
    for file in files {
        let name = file.strip_prefix(&sdk)?.display().to_string();
        out.push_str(&format!("    ({name:?}, include_str!({:?})),\n", file.display().to_string()));
    }
    out.push_str("];\n");
    fs::write(Path::new(&std::env::var("OUT_DIR")?).join("sdk.rs"), out)?;
    let mut say = std::io::stdout();
    for changes in ["plugin-sdk/src", "plugin-sdk/Cargo.toml", "Cargo.toml"] {
        writeln!(say, "cargo::rerun-if-changed={}", root.join(changes).display())?;
    }
    Ok(())
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => sources(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

/// The SDK's manifest as it has to be outside the workspace: what it inherits is written out, and what only its own tests and
/// checks need is left out.
fn manifest(root: &Path, sdk: &Path) -> Result<String> {
    let workspace = tables(&fs::read_to_string(root.join("Cargo.toml"))?);
    let own = tables(&fs::read_to_string(sdk.join("Cargo.toml"))?);
    let mut text = String::new();
    for (name, inherited) in [("package", "workspace.package"), ("dependencies", "workspace.dependencies")] {
        text.push_str(&format!("[{name}]\n"));
        for (key, value) in own.get(name).ok_or("the SDK's manifest lacks a table")? {
            let (key, value) = match key.strip_suffix(".workspace") {
                None => (key.as_str(), value),
                Some(key) => {
                    let found = workspace.get(inherited).and_then(|table| table.get(key));
                    (key, found.ok_or_else(|| format!("the workspace has no {key} in {inherited}"))?)
                }
            };
            if value.contains("workspace") {
                return Err(format!("{key} = {value}: write it as `{key}.workspace = true`").into());
            }
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    Ok(text)
}

type Tables = BTreeMap<String, BTreeMap<String, String>>;

/// The tables of a manifest whose values are on one line each, as all of ours are.
fn tables(text: &str) -> Tables {
    let mut tables = Tables::new();
    let mut current = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = name.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            tables.entry(current.clone()).or_default().insert(key.to_owned(), value.to_owned());
        }
    }
    tables
}
