//! Tools that the tests need: those that cargo can install are kept in the cache, one directory a version; others are Debian's.

use std::fs;
use std::path::PathBuf;

use crate::apt;
use crate::error::{Context, Result};
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// The version of cargo-deny that the tests use.
const CARGO_DENY: &str = "0.20.2";

/// Installs what runs the container image in tests, and what checks the unit of systemd, where they are missing.
pub fn containers(workspace: &Workspace) -> Result<()> {
    let _lock = workspace.lock("apt")?;
    let wanted = [("podman", "podman"), ("runc", "runc"), ("systemd-analyze", "systemd")];
    let missing = wanted.iter().filter(|(program, _)| process::on_path(program).is_none());
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    apt::install_named(&packages, "what runs containers in tests, and checks the unit of systemd")
}

/// The path of cargo-deny, installed when it is not there yet.
pub fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.cache.join("tools").join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    say::line("Installing cargo-deny, which checks the dependencies: some minutes, once.");
    let build = root.join("build");
    let mut cargo = process::cargo(&workspace.root);
    // It runs for a second, so it is built the quick way: without optimisation and debug information.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.args(["install", "cargo-deny", "--quiet", "--locked", "--debug", "--version", CARGO_DENY]);
    cargo.arg("--root").arg(&root).arg("--target-dir").arg(&build);
    process::run(&mut cargo)?;
    fs::remove_dir_all(&build).context(|| build.display())?;
    Ok(program)
}
