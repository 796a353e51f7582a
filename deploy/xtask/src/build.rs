//! `cargo xtask build`: the binary with the stock plugins inside.

use std::fs;
use std::path::{Path, PathBuf};
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
    let program = program(workspace, profile)?;
    let output = bundles(workspace).join(profile.directory()).join("weir");
    bundle(workspace, &program, &output, &machine_code(workspace))?;
    Ok(output)
}

/// Builds the program, which carries no plugins. Returns its path.
pub fn program(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    say::heading("weir");
    let mut cargo = process::cargo(&workspace.root);
    cargo.args(["build", "--locked", "--package", "weir", "--bin", "weir"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    Ok(workspace.target.join(profile.directory()).join("weir"))
}

/// Writes a copy of a program that carries the stock plugins, which were built. Their machine code is kept in `cache`.
pub fn bundle(workspace: &Workspace, program: &Path, output: &Path, cache: &Path) -> Result<()> {
    if let Some(directory) = output.parent() {
        fs::create_dir_all(directory).context(|| directory.display())?;
    }
    say::line("Compiling the plugins to machine code, which the program carries beside them.");
    let mut weir = Command::new(program);
    weir.args(["plugin", "bundle"]).arg(output).arg("--plugins").arg(workspace.stock_plugins());
    process::run(weir.arg("--cache").arg(cache))
}

/// Where the machine code of plugins is kept for the next time.
pub fn machine_code(workspace: &Workspace) -> PathBuf {
    bundles(workspace).join("machine-code")
}

fn bundles(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bundle")
}

impl Profile {
    /// The directory that Cargo names after it.
    fn directory(self) -> &'static str {
        match self {
            Profile::Dev => "debug",
            Profile::Release => "release",
        }
    }
}
