//! `weir plugin bundle`: a copy of this program that carries plugins, so that it runs alone on a bare machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::{EXIT_CONFIG, EXIT_UNAVAILABLE, say};
use crate::plugin::Engine;
use crate::plugin::bundle::{self, Bundle};
use crate::plugin::engine::Code;
use crate::plugin::precompile::Precompiler;

/// What `weir plugin bundle` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct BundleArgs {
    /// Where the program is written; it may be this one
    #[arg(value_name = "PROGRAM")]
    pub output: PathBuf,
    /// A directory of plugins, all of which are carried, and no others
    #[arg(long, value_name = "DIR")]
    pub plugins: PathBuf,
    /// Keep what is compiled here, for the next time
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// Writes the program. Gives the exit code: 69 where something cannot be read or written, 78 where a plugin is none.
pub async fn run(args: BundleArgs) -> u8 {
    match make(&args).await {
        Ok(plugins) => {
            let names: Vec<&str> = plugins.iter().map(|(name, _)| name.as_str()).collect();
            say(&format!("{} carries {}", args.output.display(), names.join(", ")));
            0
        }
        Err(Failure { code, message }) => {
            say(&format!("weir: {message}"));
            code
        }
    }
}

struct Failure {
    code: u8,
    message: String,
}

fn unavailable(message: impl std::fmt::Display) -> Failure {
    Failure { code: EXIT_UNAVAILABLE, message: message.to_string() }
}

async fn make(args: &BundleArgs) -> Result<Vec<(String, Code)>, Failure> {
    let files = components(&args.plugins)?;
    let engine = Engine::new(None).map_err(unavailable)?;
    let compiler = Precompiler::new(args.cache.clone()).map_err(unavailable)?;
    let mut plugins = Vec::with_capacity(files.len());
    for (name, path) in files {
        let refused = |error| Failure { code: EXIT_CONFIG, message: format!("{}: {error}", path.display()) };
        let wasm = fs::read(&path).map_err(|error| unavailable(format_args!("{}: {error}", path.display())))?;
        let code = compiler.compile(&name, wasm).map_err(refused)?;
        // What would not run here is not given to others.
        engine.load(&name, code.clone()).await.map_err(refused)?;
        plugins.push((name, code));
    }
    let written = bundle::write(&Bundle::of_this_program(), &plugins, &args.output);
    written.map_err(|error| unavailable(format_args!("{}: {error}", args.output.display())))?;
    Ok(plugins)
}

/// The plugins of a directory, by name.
fn components(directory: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let unreadable = |error| unavailable(format_args!("{}: {error}", directory.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".wasm"));
        if let Some(name) = name {
            found.push((name.to_owned(), path.clone()));
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(unavailable(format_args!("{}: expected plugins (NAME.wasm), found none", directory.display()))),
        false => Ok(found),
    }
}
