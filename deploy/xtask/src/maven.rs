//! Java's libraries: fetched once by Maven, with those that they need, into a directory of the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::error::{Context, Result};
use crate::process;
use crate::say;

/// A library: group, name and version.
pub type Library = (&'static str, &'static str, &'static str);

/// Written last: a directory without it was left half made.
const COMPLETE: &str = "complete";

/// Libraries under a name in the cache. The caller holds a lock.
pub struct Libraries<'a> {
    /// What they are for, and how large.
    pub what: &'a str,
    /// The directory, in the cache.
    pub directory: PathBuf,
    /// Which.
    pub wanted: &'a [Library],
}

impl Libraries<'_> {
    /// Fetches what is not there yet.
    pub fn fetch(&self) -> Result<()> {
        if self.directory.join(COMPLETE).is_file() {
            return Ok(());
        }
        need_maven()?;
        say::aside(format_args!("Fetching {} from Maven Central, once.", self.what));
        let work = self.directory.with_added_extension("work");
        for directory in [&work, &self.directory] {
            if directory.exists() {
                fs::remove_dir_all(directory).context(|| directory.display())?;
            }
        }
        let lib = work.join("lib");
        fs::create_dir_all(&lib).context(|| lib.display())?;
        let project = work.join("pom.xml");
        fs::write(&project, pom(self.wanted)).context(|| project.display())?;
        process::run_aside(&mut maven(&project, &work.join("repository"), &lib))?;
        let complete = lib.join(COMPLETE);
        fs::write(&complete, "").context(|| complete.display())?;
        fs::rename(&lib, &self.directory).context(|| self.directory.display())?;
        fs::remove_dir_all(&work).context(|| work.display())
    }
}

/// Fetches one file by its coordinates (group, name, version, kind and classifier) into a directory. `what` says what it is,
/// and how large.
pub fn fetch_file(coordinates: &str, what: &str, destination: &Path) -> Result<()> {
    need_maven()?;
    say::aside(format_args!("Fetching {what} from Maven Central, once."));
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q", "-ntp"]).arg(format!("-Dmaven.repo.local={}", destination.join("repository").display()));
    maven.current_dir(destination).arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy");
    maven.arg(format!("-Dartifact={coordinates}")).arg(format!("-DoutputDirectory={}", destination.display()));
    process::run_aside(&mut maven)
}

fn need_maven() -> Result<()> {
    if process::on_path("mvn").is_none() {
        apt::install_named(&["maven"], "Maven, which fetches Java's libraries")?;
    }
    Ok(())
}

fn maven(project: &Path, repository: &Path, destination: &Path) -> Command {
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q", "-ntp", "-f"]).arg(project);
    maven.arg(format!("-Dmaven.repo.local={}", repository.display()));
    maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies");
    maven.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", destination.display()));
    maven
}

fn pom(libraries: &[Library]) -> String {
    let dependency = |(group, name, version): &Library| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>\n"
        )
    };
    format!(
        "<project><modelVersion>4.0.0</modelVersion>\n\
         <groupId>weir</groupId><artifactId>libraries</artifactId><version>1</version>\n\
         <dependencies>\n{}</dependencies></project>\n",
        libraries.iter().map(dependency).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_names_each_library() {
        let text = pom(&[("a.b", "c", "1"), ("a.b", "d", "2")]);
        assert_eq!(text.matches("<groupId>a.b</groupId>").count(), 2);
        assert!(
            text.contains("<artifactId>d</artifactId><version>2</version></dependency>\n</dependencies>"),
            "{text}"
        );
    }
}
