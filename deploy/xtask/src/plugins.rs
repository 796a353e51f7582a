//! `cargo xtask plugins`: builds plugin crates to components.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::languages;
use crate::process;
use crate::say;
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::{Guest, Workspace};

/// The crates of the examples.
const EXAMPLES: &str = "deploy/examples/plugins";

/// Which plugins are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The stock plugins of `plugins/`.
    Stock,
    /// Those, the guests of `tests/guests/` and `tests/guests-in-c/`, and the examples in every language.
    StockAndTests,
}

/// Builds the plugins and puts their components into the target directory.
pub fn build(workspace: &Workspace, which: Which) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let stock = workspace.stock_plugins();
    begin(&stock, workspace.guests("plugins")?.iter().map(|guest| guest.name.as_str()))?;
    build_crates(workspace, &toolchain, "plugins", &stock)?;
    if which == Which::StockAndTests {
        build_tests(workspace, &toolchain)?;
    }
    Ok(())
}

fn build_tests(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let (guests, examples) = (workspace.guests("tests/guests")?, workspace.guests(EXAMPLES)?);
    let foreign = languages::all(workspace)?;
    let crates = guests.iter().chain(&examples).map(|guest| guest.name.as_str());
    let destination = workspace.test_plugins();
    begin(&destination, crates.chain(foreign.iter().map(|guest| guest.name.as_str())))?;
    build_crates(workspace, toolchain, "tests/guests", &destination)?;
    build_crates(workspace, toolchain, EXAMPLES, &destination)?;
    for guest in &foreign {
        say::heading(format_args!("plugin {}", guest.name));
        put(&destination, &guest.name, &languages::build(workspace, guest)?)?;
    }
    Ok(())
}

fn build_crates(workspace: &Workspace, toolchain: &Toolchain, crates: &str, destination: &Path) -> Result<()> {
    for guest in workspace.guests(crates)? {
        say::heading(format_args!("plugin {}", guest.name));
        put(destination, &guest.name, &build_one(workspace, toolchain, &guest)?)?;
    }
    Ok(())
}

fn put(destination: &Path, name: &str, component: &[u8]) -> Result<()> {
    let path = destination.join(name).with_added_extension("wasm");
    if kind(component) != Kind::Component {
        return Err(Error::new(format_args!("{name}: expected a component, got {:?}", kind(component))));
    }
    write_if_changed(&path, component)?;
    say::line(format_args!("{} ({} KiB)", path.display(), component.len().div_ceil(1024)));
    Ok(())
}

/// Builds one crate. Each is a build of its own, so that what it becomes does not depend on which others are built
/// beside it: cargo unites the features of shared dependencies within one build.
fn build_one(workspace: &Workspace, toolchain: &Toolchain, guest: &Guest) -> Result<Vec<u8>> {
    let directory = workspace.target.join("guest");
    let mut cargo = toolchain.cargo_build(&workspace.root);
    cargo.args(["--quiet", "--locked", "--lib", "--profile", "guest", "-p", &guest.package]);
    cargo.arg("--target-dir").arg(&directory);
    process::run(&mut cargo)?;
    let file = format!("{}.wasm", guest.package.replace('-', "_"));
    let path = directory.join(TARGET).join("guest").join(file);
    fs::read(&path).context(|| path.display())
}

/// What a file is by its first eight bytes (the component model's binary format: a layer field of 1 after the version).
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Component,
    CoreModule,
    NotWasm,
}

fn kind(bytes: &[u8]) -> Kind {
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Kind::Component,
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => Kind::CoreModule,
        _ => Kind::NotWasm,
    }
}

/// Replaces a file in one step, and leaves an equal one as it is: a running appliance may watch this directory.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let temporary = path.with_extension("wasm.new");
    fs::write(&temporary, bytes).context(|| temporary.display())?;
    fs::rename(&temporary, path).context(|| path.display())
}

/// Makes a directory of components ready for these. Removes those of plugins that are no longer there, so that no program
/// carries them.
fn begin<'a>(destination: &Path, names: impl Iterator<Item = &'a str>) -> Result<()> {
    fs::create_dir_all(destination).context(|| destination.display())?;
    let wanted: BTreeSet<String> = names.map(|name| format!("{name}.wasm")).collect();
    for entry in fs::read_dir(destination).context(|| destination.display())? {
        let entry = entry.context(|| destination.display())?;
        if !wanted.contains(entry.file_name().to_string_lossy().as_ref()) {
            let path = entry.path();
            fs::remove_file(&path).context(|| path.display())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_told_from_core_modules() {
        assert_eq!(kind(b"\0asm\x0d\0\x01\0rest"), Kind::Component);
        assert_eq!(kind(b"\0asm\x01\0\0\0rest"), Kind::CoreModule);
        assert_eq!(kind(b"\x7fELF"), Kind::NotWasm);
        assert_eq!(kind(b""), Kind::NotWasm);
    }
}
