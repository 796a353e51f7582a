//! Puts the stock plugins into the binary: every component in the directory that `WEIR_STOCK_PLUGINS` names.
//!
//! Without the variable the binary carries none, so `cargo build` alone needs no WebAssembly toolchain. `cargo xtask
//! build` sets it. Writes `stock.rs` to the output directory; `src/plugin/catalog.rs` includes it.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=WEIR_STOCK_PLUGINS");
    let directory = env::var_os("WEIR_STOCK_PLUGINS").filter(|value| !value.is_empty()).map(PathBuf::from);
    let plugins = match &directory {
        Some(directory) => {
            println!("cargo::rerun-if-changed={}", directory.display());
            components(directory).map_err(|error| format!("WEIR_STOCK_PLUGINS={}: {error}", directory.display()))?
        }
        None => Vec::new(),
    };
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("stock.rs"), table(&plugins)?)?;
    Ok(())
}

/// The components of a directory, by name.
fn components(directory: &Path) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
    let mut plugins = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = fs::canonicalize(entry?.path())?;
        if path.extension().is_some_and(|extension| extension == "wasm") {
            println!("cargo::rerun-if-changed={}", path.display());
            let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or("a file name is not UTF-8")?;
            plugins.push((name.to_owned(), path));
        }
    }
    plugins.sort();
    if plugins.is_empty() { Err("it holds no .wasm file".into()) } else { Ok(plugins) }
}

fn table(plugins: &[(String, PathBuf)]) -> Result<String, Box<dyn Error>> {
    let mut text =
        String::from("/// The stock plugins in this binary, by name.\nstatic STOCK: &[(&str, &[u8])] = &[\n");
    for (name, path) in plugins {
        let path = path.to_str().ok_or("a path is not UTF-8")?;
        writeln!(text, "    ({name:?}, include_bytes!({path:?})),")?;
    }
    text.push_str("];\n");
    Ok(text)
}
