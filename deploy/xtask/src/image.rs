//! `cargo xtask image`: Weir as a container image, made of the program and the libraries that it needs and of nothing else.
//!
//! No base image is pulled and no container tool is needed: the layer and the settings are written here, as the archive
//! that `docker load`, `podman load` and `skopeo` read. The same program gives the same bytes. deploy/container/Containerfile
//! takes the same file system, by `--root`. Knows nothing of how containers are run.

mod archive;
mod root;
mod tar;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::build::{self, Profile};
use crate::error::{Context, Result};
use crate::plugins::{self, Which};
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// What is made, and of what.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// Where the archive is written; weir-image.tar in the target directory, unless told.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// The image's name and tag; `weir:` and the version of Weir, unless told.
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Writes the files of the image into this directory, and no archive.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "tag"])]
    root: Option<PathBuf>,
    /// A `weir` that was built already, instead of building one, with the stock plugins that were built already.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where machine code of plugins is kept for the next time; beside the programs with plugins, unless told.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Makes the image and says what has become of it.
pub fn run(workspace: &Workspace, arguments: &ImageArgs) -> Result<()> {
    let work = workspace.target.join("image");
    fs::create_dir_all(&work).context(|| work.display())?;
    let program = program(workspace, arguments, &work)?;
    let files = root::files(&program)?;
    if let Some(directory) = &arguments.root {
        root::write(&files, directory)?;
        say::line(format_args!("{} holds the files of the image", directory.display()));
        return Ok(());
    }
    let version = env!("CARGO_PKG_VERSION");
    let to = arguments.to.clone().unwrap_or_else(|| workspace.target.join("weir-image.tar"));
    let tag = arguments.tag.clone().unwrap_or_else(|| format!("weir:{version}"));
    let settings = archive::Settings { tag, version, revision: revision(workspace) };
    let made = archive::write(&files, &settings, &work, &to)?;
    tell(&to, &settings.tag, &made);
    Ok(())
}

/// The program without its symbols, and with the stock plugins behind it.
fn program(workspace: &Workspace, arguments: &ImageArgs, work: &Path) -> Result<PathBuf> {
    let built = match &arguments.program {
        Some(program) => program.clone(),
        None => {
            plugins::build(workspace, Which::Stock)?;
            build::program(workspace, Profile::Release)?
        }
    };
    say::heading("image");
    let (stripped, carrying) = (work.join("weir-stripped"), work.join("weir"));
    // The plugins lie behind the program, where stripping would cut them off: so they are put there afterwards.
    process::run(Command::new("strip").args(["--strip-all", "-o"]).arg(&stripped).arg(&built))?;
    let cache = arguments.cache.clone().unwrap_or_else(|| build::machine_code(workspace));
    build::bundle(workspace, &stripped, &carrying, &cache)?;
    Ok(carrying)
}

/// The commit that the clone is at; nothing where there is no git, as in a build of the Containerfile.
fn revision(workspace: &Workspace) -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root).args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]);
    process::output(&mut git).ok().map(|text| text.trim().to_owned())
}

fn tell(to: &Path, tag: &str, made: &archive::Made) {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    say::line(format_args!(
        "{}: image {tag}, {:.1} MB compressed, {:.1} MB unpacked\nid sha256:{}\n\
         podman load --input {0}    # or docker load --input, or skopeo copy docker-archive:{0} docker://...",
        to.display(),
        mb(made.bytes_compressed),
        mb(made.bytes_unpacked),
        made.id,
    ));
}
