//! Tools that the tests need and cargo can install: kept in the cache, one directory a version.

use std::fs;
use std::path::PathBuf;

use crate::error::{Context, Result};
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// The version of cargo-deny that the tests use.
const CARGO_DENY: &str = "0.20.2";

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
