//! `cargo xtask build`: the binary with the stock plugins inside.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::error::{Context, Result};
use crate::plugins::{self, Which};
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// How the host is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Dev,
    /// Quick to run.
    Release,
}

/// Builds the plugins and the program, and puts the one into the other. Returns the path of the result.
pub fn build(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    plugins::build(workspace, Which::Stock)?;
    let (directory, flags): (_, &[&str]) = match profile {
        Profile::Dev => ("debug", &[]),
        Profile::Release => ("release", &["--release"]),
    };
    say::heading("weir");
    let mut cargo = process::cargo(&workspace.root);
    process::run(cargo.args(["build", "--locked", "--package", "weir", "--bin", "weir"]).args(flags))?;
    let bundles = workspace.target.join("bundle");
    let output = bundles.join(directory).join("weir");
    fs::create_dir_all(bundles.join(directory)).context(|| bundles.display())?;
    say::line("Compiling the plugins to machine code, which the program carries beside them.");
    let mut weir = Command::new(workspace.target.join(directory).join("weir"));
    weir.args(["plugin", "bundle"]).arg(&output).arg("--plugins").arg(workspace.stock_plugins());
    process::run(weir.arg("--cache").arg(bundles.join("machine-code")))?;
    Ok(output)
}
