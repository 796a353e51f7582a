//! Makes the SDK's Rust bindings from `wit/`, so that an author's first build needs no generator.
//!
//! The result is committed. This crate knows the WIT and the generator; it must not know the SDK beyond where its
//! bindings lie.

pub mod component;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

/// Where the bindings lie, from the root of the repository.
const BINDINGS_DIR: &str = "plugin-sdk/src/bindings";
/// The worlds that a plugin of the SDK can have, of which the first one's bindings hold what all of them share; and what it may import
/// beside them.
const WORLDS: [&str; 4] = ["transform", "sink", "stateful-transform", "capabilities"];
/// The version of the WIT package.
const WIT_VERSION: &str = "0.1.0";
/// The interfaces that the worlds share.
const SHARED: [&str; 2] = ["log", "types"];

/// One file of bindings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its path, from the root of the repository.
    pub path: PathBuf,
    /// What has to stand in it.
    pub content: String,
}

impl Binding {
    /// Tells whether the file in the repository is what the WIT asks for.
    pub fn is_fresh(&self, root: &Path) -> bool {
        std::fs::read_to_string(root.join(&self.path)).is_ok_and(|present| present == self.content)
    }

    /// Writes the file into the repository.
    pub fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(&self.path);
        std::fs::write(&path, &self.content).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Generates the bindings of every world, from the WIT of the repository at `root`.
pub fn generate(root: &Path) -> Result<Vec<Binding>> {
    WORLDS.iter().map(|world| generate_world(root, world)).collect()
}

fn generate_world(root: &Path, world: &str) -> Result<Binding> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root.join("wit"))?;
    let id = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    options(world).build().generate(&mut resolve, id, &mut files)?;
    let (_, content) = files.iter().next().context("the generator made no file")?;
    let content = std::str::from_utf8(content).context("the generator made a file that is not text")?;
    Ok(Binding { path: Path::new(BINDINGS_DIR).join(format!("{}.rs", module(world))), content: content.to_owned() })
}

/// The module that holds the bindings of a world.
fn module(world: &str) -> String {
    world.replace('-', "_")
}

/// The export macro is public because the plugin's crate calls it, not the SDK; it only takes effect there.
fn options(world: &str) -> Opts {
    Opts {
        format: true,
        generate_all: true,
        pub_export_macro: true,
        default_bindings_module: Some(format!("weir_plugin::bindings::{}", module(world))),
        with: match world {
            "transform" => Vec::new(),
            "capabilities" => vec![shared("types")],
            _ => SHARED.map(shared).to_vec(),
        },
        ..Opts::default()
    }
}

fn shared(interface: &str) -> (String, WithOption) {
    let path = format!("crate::bindings::{}::weir::plugin::{interface}", WORLDS[0]);
    (format!("weir:plugin/{interface}@{WIT_VERSION}"), WithOption::Path(path))
}
