//! `cargo xtask build`: the binary with the stock plugins inside.

use std::path::PathBuf;

use crate::error::Result;
use crate::plugins::{self, Which};
use crate::process;
use crate::workspace::Workspace;

/// How the host is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Dev,
    /// Quick to run.
    Release,
}

/// Builds the plugins, then the binary that carries them. Returns its path.
pub fn build(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    plugins::build(workspace, Which::Stock)?;
    host(workspace, profile)
}

fn host(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let mut cargo = process::cargo(&workspace.root);
    cargo.env("WEIR_STOCK_PLUGINS", workspace.stock_plugins());
    cargo.args(["build", "--locked", "--package", "weir", "--bin", "weir"]);
    let directory = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
    };
    process::run(&mut cargo)?;
    Ok(workspace.target.join(directory).join("weir"))
}
