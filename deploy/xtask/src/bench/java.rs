//! Peers that are Java programs: their libraries are fetched once, their source in this clone is compiled for each run.

use std::path::Path;
use std::process::Command;

use crate::apt;
use crate::error::Result;
use crate::maven::{Libraries, Library};
use crate::process;
use crate::workspace::Workspace;

/// A program, and what it stands on.
pub struct Program {
    /// The name of the libraries' directory in the cache.
    pub name: &'static str,
    /// Their version.
    pub version: &'static str,
    /// What they are, and how large.
    pub what: &'static str,
    /// Which.
    pub libraries: &'static [Library],
    /// The source, in the clone.
    pub source: &'static str,
}

impl Program {
    /// Compiles it into a directory. Returns its class path, with that of its libraries.
    pub fn compile(&self, workspace: &Workspace, directory: &Path) -> Result<String> {
        let _lock = workspace.lock(self.name)?;
        if process::on_path("javac").is_none() {
            apt::install_named(&["openjdk-17-jdk-headless"], "Java's compiler, for the peers that are Java programs")?;
        }
        let libraries = workspace.cache.join(self.name).join(self.version);
        let what = &format!("{} {}: {}", self.name, self.version, self.what);
        Libraries { what, directory: libraries.clone(), wanted: self.libraries }.fetch()?;
        let classes = directory.join("classes");
        let libraries = libraries.join("*");
        let mut javac = Command::new("javac");
        javac.arg("-cp").arg(&libraries).arg("-d").arg(&classes).arg(workspace.root.join(self.source));
        process::run(&mut javac)?;
        Ok(format!("{}:{}", libraries.display(), classes.display()))
    }
}
